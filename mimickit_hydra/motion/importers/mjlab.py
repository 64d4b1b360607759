"""The ``.npz`` of mjlab and of BeyondMimic: ``joint_pos`` and the poses of all bodies in the world, quaternions wxyz.

Neither says its order. mjlab writes MuJoCo's; BeyondMimic's converter, which runs in Isaac Lab, writes PhysX's under
the same names. The body poses tell them apart. Files of some forks carry ``joint_names`` and ``body_names``.
"""

from __future__ import annotations

from pathlib import Path

from mimickit_hydra.motion.clip import read_arrays
from mimickit_hydra.motion.importers.glance import Glance
from mimickit_hydra.motion.importers.recording import WXYZ, Recording, fps_of, names_of, shaped

_KEYS = ("fps", "joint_pos", "body_pos_w", "body_quat_w", "joint_names", "body_names")


def is_mjlab(file: Glance) -> bool:
    return {"joint_pos", "body_pos_w", "body_quat_w"} <= file.members


def read_mjlab(path: str | Path) -> Recording:
    """Read one file. Raises UserError with one line."""
    path = Path(path)
    fields = read_arrays(path, _KEYS)
    pos, quat = shaped(fields, "body_pos_w", path, 0, 3), shaped(fields, "body_quat_w", path, 0, 4)
    return Recording(
        path, fps_of(fields, path, "fps"), pos[:, 0], quat[:, 0], WXYZ, shaped(fields, "joint_pos", path, 0),
        names_of(fields, "joint_names", path), triples="hinges", body_names=names_of(fields, "body_names", path),
        body_pos=pos, body_rot=quat,
    )  # fmt: skip
