"""Numbers of a MuJoCo Warp model in which environments differ, one row of a field for each of them."""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
import warp as wp

from mimickit_hydra.engines.mujoco.values import DERIVED, Deriver, ModelNumbers, Place, field_of, free_friction
from mimickit_hydra.engines.warp.scene import WarpScene

_INERTIAL = ("body_mass", "body_inertia", "body_ipos", "dof_armature")


class VariedModel:
    """The model of a scene; fields that :meth:`expand` has seen have a row for each of ``num_envs`` environments."""

    def __init__(self, scene: WarpScene, num_envs: int) -> None:
        self._scene, self._num_envs = scene, num_envs
        self._numbers: Dict[int, ModelNumbers] = {}
        self._fields: Dict[str, torch.Tensor] = {}  # [N, size], views of the model's arrays
        self._places: Dict[Tuple[int, str], List[Tuple[Place, Any, Any, torch.Tensor, torch.Tensor]]] = {}
        self._deriver: Optional[Deriver] = None
        self._derived: Optional[Tuple[np.ndarray, np.ndarray]] = None  # from which numbers what was derived last

    def numbers(self, obj: int, control_mode: str, own: Sequence[str]) -> ModelNumbers:
        """The values of an object."""
        if obj not in self._numbers:
            first = 1 + self._scene.bodies[obj].start
            facts = self._scene.models[obj]
            self._numbers[obj] = ModelNumbers(self._scene.mujoco_model, first, facts, control_mode, own)
        return self._numbers[obj]

    def expand(self, numbers: ModelNumbers, name: str) -> bool:
        """Give each environment its own numbers of a value; whether the model has other arrays than before."""
        key = (id(numbers), name)
        if key in self._places:
            return False
        grown = [self._expand(place.field) for place in numbers.places[name]]
        if name == "friction" and grown[0]:
            index, sliding = free_friction(self._scene.mujoco_model)
            field = self._fields["geom_friction"]
            field[:, torch.as_tensor(index)] = torch.as_tensor(sliding, dtype=field.dtype, device=field.device)
        self._places[key] = [self._on_device(numbers, name, place) for place in numbers.places[name]]
        return any(grown)

    def _on_device(self, numbers: ModelNumbers, name: str, place: Place) -> Tuple[Place, Any, Any, Any, Any]:
        """A place with its index and columns, factors, the value's own numbers and the field's, as tensors."""
        field = self._fields[place.field]
        index, column, factor = (torch.as_tensor(part, device=field.device) for part in place[1:])
        nominal = torch.as_tensor(numbers.nominal[name].reshape(-1)[place.column], device=field.device).float()
        return place, index, column, torch.stack([factor.float(), nominal]), field[0].index_select(0, index)

    def _expand(self, name: str) -> bool:
        if name in self._fields:
            return False
        owner, last = self._scene.warp_model, name.rpartition(".")[2]
        if "." in name:
            owner = field_of(owner, name.rpartition(".")[0])
        array = getattr(owner, last)
        live = wp.to_torch(array)[:1].expand(self._num_envs, *wp.to_torch(array).shape[1:]).contiguous().clone()
        setattr(owner, last, wp.from_torch(live, dtype=array.dtype))
        self._fields[name] = live.view(self._num_envs, -1)
        return True

    def write(self, numbers: ModelNumbers, name: str, values: torch.Tensor, mask: Optional[torch.Tensor]) -> None:
        """Write ``values`` ``[N, ...]`` where ``mask`` is set. Only launches work."""
        flat = values.reshape(self._num_envs, -1)
        for place, index, column, facts, own in self._places[id(numbers), name]:
            field, wanted = self._fields[place.field], flat.index_select(1, column)
            new = torch.where(wanted == facts[1], own, wanted * facts[0])
            if mask is not None:
                new = torch.where(mask[:, None], new, field.index_select(1, index))
            field.index_copy_(1, index, new)

    def derive(self, mask: Optional[torch.Tensor]) -> None:
        """Make what follows from masses and inertias follow them where ``mask`` is set. Works on the host.

        An environment of the model's own numbers has the model's own; what was last derived is remembered, because
        tests switch between the two.
        """
        compiled, names = self._scene.mujoco_model, [n for n in DERIVED if hasattr(self._scene.warp_model, n)]
        for name in (*names, *_INERTIAL):
            self._expand(name)
        if self._deriver is None:
            self._deriver = Deriver(compiled)
        given = np.concatenate([self._fields[name].cpu().numpy() for name in _INERTIAL], axis=1)
        own = np.concatenate([field_of(compiled, name).reshape(-1) for name in _INERTIAL])
        nominal = np.concatenate([field_of(compiled, name).reshape(-1) for name in names])
        result = torch.cat([self._fields[name] for name in names], dim=1).cpu().numpy()
        chosen = np.ones(len(given), dtype=bool) if mask is None else mask.cpu().numpy()
        alike = (given == own.astype(np.float32)).all(axis=1)
        result[chosen & alike] = nominal
        todo = chosen & ~alike
        if self._derived is not None:
            known = todo & (given == self._derived[0]).all(axis=1)
            result[known] = self._derived[1][known]
            todo &= ~known
        ends = np.cumsum([field_of(compiled, name).size for name in _INERTIAL])[:-1]
        for row in np.flatnonzero(todo):
            exact = np.where(given[row] == own.astype(np.float32), own, given[row])
            for name, numbers in zip(_INERTIAL, np.split(exact, ends)):
                field_of(self._deriver.model, name).reshape(-1)[:] = numbers
            self._deriver.derive()
            result[row] = np.concatenate([field_of(self._deriver.model, name).reshape(-1) for name in names])
        if (chosen & ~alike).any():
            self._derived = (given, result.copy())
        sizes = [field_of(compiled, name).size for name in names]
        for name, part in zip(names, torch.from_numpy(result).split(sizes, dim=1)):
            self._fields[name].copy_(part)
