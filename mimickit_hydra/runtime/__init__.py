"""Processes and devices, checkpoints, signals, loggers, progress, rendering and video."""
