"""The engine for Isaac Lab 3.0."""
