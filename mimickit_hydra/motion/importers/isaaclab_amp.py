"""Isaac Lab's AMP clips (``.npz``): ``dof_positions`` and the poses of some bodies, with the names of both."""

from __future__ import annotations

from pathlib import Path

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.clip import read_arrays
from mimickit_hydra.motion.importers.glance import Glance
from mimickit_hydra.motion.importers.recording import WXYZ, Recording, fps_of, names_of, shaped

_KEYS = ("fps", "dof_names", "body_names", "dof_positions", "body_positions", "body_rotations")


def is_isaaclab_amp(file: Glance) -> bool:
    return {"dof_names", "dof_positions", "body_positions"} <= file.members


def read_isaaclab_amp(path: str | Path) -> Recording:
    """Read one file. Raises UserError with one line."""
    path = Path(path)
    fields = read_arrays(path, _KEYS)
    bodies, joints = names_of(fields, "body_names", path), names_of(fields, "dof_names", path)
    pos, quat = shaped(fields, "body_positions", path, 0, 3), shaped(fields, "body_rotations", path, 0, 4)
    values = shaped(fields, "dof_positions", path, 0)
    if not bodies or len(bodies) != pos.shape[1] or pos.shape != (*quat.shape[:2], 3) or len(joints) != values.shape[1]:
        raise UserError(f"{path}: its names are not as many as its bodies and joints")
    return Recording(
        path, fps_of(fields, path, "fps"), pos[:, 0], quat[:, 0], WXYZ, values, joints, triples="", body_names=bodies,
        body_pos=pos, body_rot=quat, assumed=[f"root: body {bodies[0]}, the first"],
    )  # fmt: skip
