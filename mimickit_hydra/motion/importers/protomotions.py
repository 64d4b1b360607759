"""ProtoMotions' ``.motion`` files, saved by torch: ``dof_pos`` and the poses of all bodies, quaternions xyzw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_torch
from mimickit_hydra.motion.clip import MAX_NUMBERS
from mimickit_hydra.motion.importers.recording import MUJOCO, XYZW, Recording, fps_of, names_of, shaped

_ORDERS = "protomotions.simulator.base_simulator.simulator_state.StateConversion"


def read_protomotions(path: str | Path) -> Recording:
    """Read one file. Raises UserError with one line; never runs code of the file."""
    path = Path(path)
    content = read_torch(path, enums=[_ORDERS])
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, a motion holds dof_pos and rigid_body_pos")
    fields = {str(key): _plain(value, path) for key, value in content.items()}
    if fields.get("state_conversion", "common") != "common":
        raise UserError(
            f"{path}: found state_conversion {fields['state_conversion']!r}, the order of one simulator, must be common"
        )
    pos, quat = shaped(fields, "rigid_body_pos", path, 0, 3), shaped(fields, "rigid_body_rot", path, 0, 4)
    return Recording(
        path, fps_of(fields, path, "fps"), pos[:, 0], quat[:, 0], XYZW, shaped(fields, "dof_pos", path, 0),
        order=MUJOCO, triples="", body_names=names_of(fields, "body_names", path), body_pos=pos, body_rot=quat,
        made_by="ProtoMotions writes it",
    )  # fmt: skip


def _plain(value: Any, path: Path) -> Any:
    """The numbers of a tensor. UserError for one that numpy has no array for, or that unfolds to too many."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.layout != torch.strided or value.is_nested or value.is_quantized or value.device.type != "cpu":
        raise UserError(f"{path}: holds a tensor that is no plain table of numbers")
    if value.numel() > MAX_NUMBERS:
        raise UserError(f"{path}: holds a tensor of {value.numel():,} numbers; at most {MAX_NUMBERS:,} are read")
    return value.detach().resolve_conj().resolve_neg().numpy() if value.dtype in _NUMPY else None


_NUMPY = (torch.float16, torch.float32, torch.float64, torch.int32, torch.int64, torch.uint8, torch.bool)
