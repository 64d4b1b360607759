"""mimickit-hydra: Hydra composition for motion imitation."""

__version__ = "0.1.0"
