"""Sweeps and launchers: expanding, recording, starting and submitting runs."""
