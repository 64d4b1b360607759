"""EMULATED Isaac Gym, for tests: the API of Preview 4 over MuJoCo. Not NVIDIA's simulator; see ../README.md."""

import sys

EMULATED = True
__version__ = "emulated"

if "torch" in sys.modules:
    raise ImportError("torch was imported before isaacgym (the emulated one is as strict as the real one)")
