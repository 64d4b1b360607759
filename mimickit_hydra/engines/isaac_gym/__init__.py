"""The engine for NVIDIA Isaac Gym (Preview 4)."""
