"""Names, types and shapes of the tensors that a hosted engine and its host share."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

import torch

from mimickit_hydra.engines.interface import ObjectModel, ObjectState, ResetState
from mimickit_hydra.engines.subprocess.memory import Row

STATE_FIELDS = tuple(ObjectState.__dataclass_fields__)
RESET_FIELDS = tuple(ResetState.__dataclass_fields__)


def table(num_envs: int, models: Sequence[ObjectModel]) -> List[Row]:
    """The shared tensors: states and ``diverged`` from the worker; commands, resets and a body force to it."""
    rows: List[Row] = [
        ("diverged", "bool", (num_envs,)),
        ("mask", "bool", (num_envs,)),
        ("force", "float32", (num_envs, 3)),
    ]
    for k, model in enumerate(models):
        state = ObjectState.zeros(1, model.num_bodies, model.num_dofs)
        for field in STATE_FIELDS:
            rows.append(("state.{}.{}".format(k, field), "float32", (num_envs, *getattr(state, field).shape[1:])))
        for field in RESET_FIELDS:
            rows.append(("reset.{}.{}".format(k, field), "float32", (num_envs, *getattr(state, field).shape[1:])))
        rows.append(("command.{}".format(k), "float32", (num_envs, model.num_dofs)))
    return rows


def object_state(tensors: Mapping[str, torch.Tensor], obj: int) -> ObjectState:
    return ObjectState(**{field: tensors["state.{}.{}".format(obj, field)] for field in STATE_FIELDS})


def reset_state(tensors: Mapping[str, torch.Tensor], obj: int) -> ResetState:
    return ResetState(**{field: tensors["reset.{}.{}".format(obj, field)] for field in RESET_FIELDS})


def describe_model(model: ObjectModel) -> Dict[str, Any]:
    """A model as plain data, and back with ``ObjectModel(**described)``."""
    return dict(vars(model))
