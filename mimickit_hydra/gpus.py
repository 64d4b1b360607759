"""The number of GPUs that this machine shows, told without importing torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def gpu_count() -> int | None:
    """The number of CUDA devices that a process may see; None where only the driver could tell."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1", "NoDevFiles"):
        return 0
    if not sys.platform.startswith("linux") or Path("/dev/dxg").exists() or Path("/dev/kfd").exists():
        return 0 if sys.platform == "darwin" else None
    count = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return min(count, len(visible.split(","))) if visible else count
