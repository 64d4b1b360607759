"""Where the numbers that environments may differ in stand in a compiled MuJoCo model, whoever compiled it.

A value of the interface, such as the mass of each body, is a number or several in one or two fields of the model. Each
is that value times a factor: the inertia of a body follows its mass, the bias of an actuator is its gain turned round.
"""

from __future__ import annotations

import copy
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from mimickit_hydra.engines.interface import EngineError, ObjectModel
from mimickit_hydra.mj import mujoco

# What MuJoCo derives from masses and inertias, as far as one of the engines reads it.
DERIVED = ("body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0", "tendon_invweight0", "actuator_acc0")
OF_INERTIA = ("mass", "com", "armature")  # what the derived fields depend on


class Place(NamedTuple):
    """Some numbers of one field: ``field.reshape(-1)[at] = factor * value.reshape(-1)[column]``."""

    field: str  # of MjModel; "opt.gravity" of its options
    at: np.ndarray  # [K]
    column: np.ndarray  # [K]
    factor: np.ndarray  # [K]


def field_of(model: Any, name: str) -> Any:
    """The field of a model, MuJoCo's or MuJoCo Warp's, that a place names."""
    for part in name.split("."):
        model = getattr(model, part)
    return model


class ModelNumbers:
    """The values of one object and their places. ``nominal`` are the model's own, float64."""

    def __init__(
        self, model: mujoco.MjModel, first: int, facts: ObjectModel, control_mode: str, own: Sequence[str] = ()
    ) -> None:
        """``first`` is the model's index of the object's root; its bodies follow one another.

        ``own``: what of ``kp``, ``kd`` and ``torque_limit`` the engine itself applies.
        """
        self._model = model
        self._bodies = np.arange(first, first + facts.num_bodies)
        self._dofs = self._addresses(facts)
        self.nominal: Dict[str, np.ndarray] = {}
        self.places: Dict[str, List[Place]] = {}
        self.shape_bodies: List[int] = []
        self._add_shapes()
        self._add("mass", [("body_mass", self._bodies, None)], model.body_mass[self._bodies])
        self._scale_inertia()
        if not model.body_simple[self._bodies].any():  # whose inertia matrix is compiled as diagonal
            self._add("com", [("body_ipos", _flat(self._bodies, 3), None)], model.body_ipos[self._bodies])
        for name in ("armature", "damping", "frictionloss"):
            field = "dof_" + name
            self._add(name, [(field, self._dofs, None)], field_of(model, field)[self._dofs])
        self._add("gravity", [("opt.gravity", np.arange(3), None)], np.array(model.opt.gravity))
        self._add_drives(facts, control_mode, own)

    def _addresses(self, facts: ObjectModel) -> np.ndarray:
        """The model's indices of the object's DoFs ``[D]``."""
        found: List[int] = []
        for body, dim in zip(self._bodies[1:], facts.dof_dims[1:]):  # noqa: B905
            start = int(self._model.body_dofadr[body])
            found += range(start, start + int(dim))
        return np.array(found, dtype=np.int64)

    def _add(self, name: str, where: Sequence[Tuple[str, np.ndarray, Any]], nominal: np.ndarray) -> None:
        """Take in a value that each of ``where`` (field, index, factors or None for 1) repeats, number for number."""
        size = nominal.size
        self.nominal[name] = np.array(nominal, dtype=np.float64)
        self.places[name] = [
            Place(field, index, np.arange(size), np.ones(size) if factor is None else factor)
            for field, index, factor in where
        ]

    def _add_shapes(self) -> None:
        """The friction that the ground's contacts have: the larger of the two, unless a shape has priority."""
        model, ground = self._model, ground_of(self._model)
        owned = np.isin(model.geom_bodyid, self._bodies) & ((model.geom_contype | model.geom_conaffinity) != 0)
        shapes = np.flatnonzero(owned)
        self.shape_bodies = (model.geom_bodyid[shapes] - self._bodies[0]).tolist()
        own = model.geom_friction[shapes, 0]
        first = model.geom_priority[shapes] > model.geom_priority[ground]
        self._add("friction", [("geom_friction", 3 * shapes, None)], np.where(
            first, own, np.maximum(own, model.geom_friction[ground, 0])
        ))  # fmt: skip

    def _scale_inertia(self) -> None:
        """Inertias go with masses, as those of a body of another density."""
        masses = self.nominal["mass"]
        column = np.repeat(np.arange(masses.size), 3)
        per_mass = self._model.body_inertia[self._bodies] / np.maximum(masses, 1e-12)[:, None]
        self.places["mass"].append(Place("body_inertia", _flat(self._bodies, 3), column, per_mass.reshape(-1)))

    def _add_drives(self, facts: ObjectModel, mode: str, own: Sequence[str]) -> None:
        """Gains and torque limits, where actuators of the model have them."""
        model = self._model
        drives: Dict[str, List[Place]] = {"kp": [], "kd": [], "torque_limit": []}
        position = {int(dof): k for k, dof in enumerate(self._dofs)}
        for actuator in range(model.nu):
            joint = int(model.actuator_trnid[actuator, 0])
            axis = int(np.argmax(np.abs(model.actuator_gear[actuator, :3])))
            column = position.get(int(model.jnt_dofadr[joint]) + axis)
            if column is None or model.actuator_trntype[actuator] != mujoco.mjtTrn.mjTRN_JOINT:
                continue
            gain, bias = model.actuator_gainprm[actuator], model.actuator_biasprm[actuator]
            for name, value, number in (("kp", facts.kp[column], 1), ("kd", facts.kd[column], 2)):
                if bias[number] and value:
                    drives[name].append(_one("actuator_biasprm", 10 * actuator + number, column, bias[number] / value))
            name = "kp" if mode == "pos" else "kd"
            value = float(getattr(facts, name)[column])
            if mode in ("pos", "vel") and value and np.isclose(gain[0], value):
                drives[name].append(_one("actuator_gainprm", 10 * actuator, column, gain[0] / value))
            limit = float(facts.torque_limits[column])
            for field, limited, row in (
                ("jnt_actfrcrange", model.jnt_actfrclimited[joint], joint),
                ("actuator_forcerange", model.actuator_forcelimited[actuator], actuator),
            ):
                if limited and limit:
                    for end, number in enumerate(field_of(model, field)[row]):
                        drives["torque_limit"].append(_one(field, 2 * row + end, column, number / limit))
        for name, nominal in (("kp", facts.kp), ("kd", facts.kd), ("torque_limit", facts.torque_limits)):
            if drives[name] or name in own:
                self.nominal[name] = np.array(nominal, dtype=np.float64)
                self.places[name] = _joined(drives[name])

    def of(self, engine: str, name: str) -> np.ndarray:
        """The model's own values; EngineError for what it has none of."""
        if name not in self.nominal:
            raise EngineError(
                "engine={}: {} cannot differ between environments here; what can: {}".format(
                    engine, name, ", ".join(sorted(self.nominal))
                )
            )
        return self.nominal[name]

    def exact(self, name: str, values: np.ndarray) -> np.ndarray:
        """``values`` in float64; what equals the model's own in float32 is the model's own, to the bit."""
        own = self.nominal[name]
        return np.where(values.astype(np.float32) == own.astype(np.float32), own, values.astype(np.float64))


def frame_flags(model: mujoco.MjModel) -> List[Tuple[str, int]]:
    """The fields that say what coincides with centres of mass, with their sizes: they must be 0 once these move."""
    return [(name, getattr(model, name).size) for name in ("body_sameframe", "geom_sameframe", "site_sameframe")]


def ground_of(model: mujoco.MjModel) -> int:
    """The geom of the ground plane."""
    return int(np.flatnonzero(model.geom_bodyid == 0)[0])


def free_friction(model: mujoco.MjModel) -> Tuple[np.ndarray, np.ndarray]:
    """Indices and values of ``geom_friction`` with which the ground leaves friction to whoever stands on it.

    A contact takes the larger friction of its two shapes. So the ground's becomes 0, and all others at least what the
    ground's was: on the ground nothing changes by that.
    """
    ground = ground_of(model)
    sliding = np.where(
        model.geom_priority > model.geom_priority[ground], model.geom_friction[:, 0],
        np.maximum(model.geom_friction[:, 0], model.geom_friction[ground, 0]),
    )  # fmt: skip
    sliding[ground] = 0.0
    return 3 * np.arange(model.ngeom), sliding


class Deriver:
    """Derives from one environment's masses and inertias what MuJoCo derives from them, on the host."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = copy.copy(model)
        for name, _ in frame_flags(model):
            getattr(self.model, name)[:] = 0
        self._data = mujoco.MjData(self.model)

    def derive(self) -> None:
        """Make the derived fields of :attr:`model` follow the others."""
        mujoco.mj_setConst(self.model, self._data)


def _flat(rows: np.ndarray, width: int) -> np.ndarray:
    """Places of whole rows in a flattened field of ``width`` columns."""
    return (width * rows[:, None] + np.arange(width)).reshape(-1)


def _one(field: str, index: int, column: int, factor: float) -> Place:
    return Place(field, np.array([index]), np.array([column]), np.array([float(factor)]))


def _joined(places: List[Place]) -> List[Place]:
    """One place for each field."""
    fields = {place.field: [other for other in places if other.field == place.field] for place in places}
    return [
        Place(field, *(np.concatenate([getattr(place, part) for place in group]) for part in Place._fields[1:]))
        for field, group in fields.items()
    ]
