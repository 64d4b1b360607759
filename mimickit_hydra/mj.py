"""MuJoCo, imported also where MUJOCO_GL names a renderer that it does not know or this machine does not have.

Only the worker that draws videos renders, in a process of its own: whatever that variable says, the physics is there.
"""

from __future__ import annotations

import os
import sys

try:
    import mujoco
except ImportError as error:
    if error.name == "mujoco":
        raise
    mujoco = None
except Exception:  # MuJoCo's import ends with that of its renderer
    mujoco = None

if mujoco is None:
    _asked = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        import mujoco
    finally:
        os.environ.pop("MUJOCO_GL")
        if _asked is not None:
            os.environ["MUJOCO_GL"] = _asked


def _keep_no_log() -> None:
    """Let MuJoCo's warnings go to standard error alone: by itself it writes MUJOCO_LOG.TXT into the current folder."""
    if hasattr(mujoco, "MjLogConfig"):  # MuJoCo 4
        config = mujoco.MjLogConfig.get()
        config.logto_file = False
        mujoco.MjLogConfig.set(config)
    else:
        mujoco.set_mju_user_warning(lambda text: print(f"WARNING: {text}", file=sys.stderr))


_keep_no_log()

__all__ = ["mujoco"]
