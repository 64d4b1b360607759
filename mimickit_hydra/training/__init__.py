"""Training and testing: building the parts of a run, the loop, metrics and checkpoints."""
