"""A simulator that, like Isaac Gym, insists on being imported before torch."""

import sys

if "torch" in sys.modules:
    raise ImportError("torch was imported before simulator_first")
