"""Config schemas, composition with Hydra, and where each value came from. Imports neither torch nor a simulator."""
