"""A robot, a task, terms, a method and an engine of one's own for mimickit-hydra."""
