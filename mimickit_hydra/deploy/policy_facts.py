"""The table of a policy file, read and checked; needs numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.deploy.format import FORMAT, STATE
from mimickit_hydra.errors import UserError

_VECTORS = ("joint_stiffness", "joint_damping", "torque_limits", "default_joint_pos", "action_scale")
_FASTEST = 100_000  # Hz
_LONGEST = 86_400.0  # s


@dataclass(frozen=True)
class PolicyFacts:
    """What is played by; see :func:`facts.facts_of`."""

    form: str
    control_mode: str
    control_freq: int  # Hz
    sim_freq: int  # Hz
    joint_names: list[str]
    kp: np.ndarray  # [D] N m/rad
    kd: np.ndarray  # [D] N m s/rad
    inputs: dict[str, int]
    obs_size: int
    command_size: int
    goal_about_base: bool  # the goals of the starts are offsets from where the base is when they come
    latents: int
    latent_time: tuple[float, float]  # s
    episode_length: float  # s
    clip_end: float | None  # s
    starts: list[dict[str, Any]]
    scene: dict[str, Any]
    sha256: dict[str, str]

    @property
    def num_dofs(self) -> int:
        return len(self.joint_names)


class _Table:
    """A table in a file from anywhere: each value is of its kind, or a UserError names it."""

    def __init__(self, values: Any, path: Path, where: str = "") -> None:
        self._path, self._where = path, where
        if not isinstance(values, dict):
            raise self.wrong("", "a table")
        self._values: dict[str, Any] = values

    def wrong(self, key: str, must: str) -> UserError:
        found = str(self._values.get(key, "nothing"))[:60] if key else "something else"
        return UserError(f"{self._path}: {self._where}{key}: found {found}, must be {must}")

    def of(self, key: str, kind: type | tuple[type, ...], must: str) -> Any:
        value = self._values.get(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(key, must)
        return value

    def word(self, key: str, *allowed: str) -> str:
        if self._values.get(key) not in allowed:
            raise self.wrong(key, " or ".join(allowed))
        return str(self._values[key])

    def whole(self, key: str, low: int, high: int) -> int:
        if not low <= self.of(key, int, f"a whole number from {low} to {high}") <= high:
            raise self.wrong(key, f"a whole number from {low} to {high}")
        return int(self._values[key])

    def number(self, key: str, low: float, high: float) -> float:
        if not low <= self.of(key, (int, float), f"a number from {low:g} to {high:g}") <= high:
            raise self.wrong(key, f"a number from {low:g} to {high:g}")
        return float(self._values[key])

    def numbers(self, key: str, count: int | None = None) -> np.ndarray:
        must = f"a list of {'' if count is None else f'{count} '}finite numbers"
        value = self.of(key, list, must)
        if not all(type(item) in (int, float) for item in value) or (count is not None and len(value) != count):
            raise UserError(f"{self._path}: {self._where}{key}: found {len(value)} values, must be {must}")
        if not np.isfinite(value).all():
            raise UserError(f"{self._path}: {self._where}{key}: found what is no finite number")
        return np.array(value, dtype=np.float64)

    def texts(self, key: str) -> list[str]:
        value = self.of(key, list, "a list of names")
        if not all(isinstance(item, str) for item in value) or len(set(value)) < len(value):
            raise self.wrong(key, "a list of different names")
        return list(value)


def check_facts(values: Any, path: Path) -> PolicyFacts:
    """The facts of the table in a file. UserError for the first thing that does not fit the others."""
    table = _Table(values, path)
    if table.of("format", int, f"{FORMAT}") != FORMAT:
        raise table.wrong("format", f"{FORMAT}: it was written by another version of mimickit-hydra")
    joints = table.texts("joint_names")
    count = len(joints)
    vectors = {name: table.numbers(name, count) for name in _VECTORS}
    for name in ("joint_stiffness", "joint_damping"):
        if (vectors[name] < 0.0).any():
            raise UserError(f"{path}: {name}: found {vectors[name].min():g}, must be 0 or more")
    if (vectors["action_scale"] == 0.0).any():
        raise UserError(f"{path}: action_scale: found 0, must be other than 0")
    control, sim = table.whole("control_freq", 1, _FASTEST), table.whole("sim_freq", 1, _FASTEST)
    if sim % control:
        raise UserError(f"{path}: sim_freq: found {sim} Hz, must be a multiple of control_freq, {control} Hz")
    size = table.whole("obs_size", 1, 2**24)
    terms = [_Table(term, path, "observations.") for term in table.of("observations", list, "a list of terms")]
    names = [term.of("name", str, "a name") for term in terms]
    sizes = [term.whole("size", 1, size) * term.whole("history", 1, 1000) for term in terms]
    if sum(sizes) != size:
        shown = ", ".join(f"{name} {width}" for name, width in zip(names, sizes, strict=True))
        raise UserError(f"{path}: obs_size: found {size}, but its terms have {sum(sizes)} numbers: {shown}")
    given = table.of("inputs", dict, "a table of inputs")
    inputs = {name: _Table(one, path, f"inputs.{name[:60]}.").whole("size", 1, 2**24) for name, one in given.items()}
    form = table.word("form", "obs", "state")
    if form == "obs" and inputs.get("obs") != size:
        raise UserError(f"{path}: inputs.obs: found {inputs.get('obs')}, must be obs_size, {size}")
    times, goal = table.numbers("latent_time", 2), table.whole("goal_size", 0, size)
    about_base = table.of("goal_about_base", bool, "true or false")
    if about_base and goal != 2:
        raise table.wrong("goal_size", "2, a place on the ground, as goal_about_base is true")
    clip_end = values.get("clip_end")
    return PolicyFacts(
        form=form,
        control_mode=table.word("control_mode", "pos", "pd_explicit"),
        control_freq=control,
        sim_freq=sim,
        joint_names=joints,
        kp=vectors["joint_stiffness"],
        kd=vectors["joint_damping"],
        inputs=inputs,
        obs_size=size,
        command_size=table.whole("command_size", 0, size),
        goal_about_base=about_base,
        latents=table.whole("latents", 0, 2**16),
        latent_time=(float(times[0]), float(max(times))),
        episode_length=table.number("episode_length", 0.0, _LONGEST),
        clip_end=None if clip_end is None else table.number("clip_end", 0.0, _LONGEST),
        starts=_starts(table, count, goal, path),
        scene=_scene(table, count, path),
        sha256=table.of("sha256", dict, "a table of hashes"),
    )


def _starts(table: _Table, count: int, goal: int, path: Path) -> list[dict[str, Any]]:
    widths = {"base_pos": 3, "base_quat": 4, "base_lin_vel": 3, "base_ang_vel": 3, "dof_pos": count, "dof_vel": count}
    found = []
    for number, one in enumerate(table.of("starts", list, "a list of states")):
        start = _Table(one, path, f"starts[{number}].")
        state: dict[str, Any] = {name: start.numbers(name, widths[name]) for name in STATE}
        state |= {name: start.number(name, 0.0, 1e9) for name in ("time", "time_step")}
        given = start.of("goals", list, "a list of goals") if goal else []
        goals = [_Table(one, path, f"starts[{number}].goals.") for one in given]
        if goal and not goals:
            raise start.wrong("goals", "a list of at least one goal")
        state["goals"] = [(one.number("until", 0.0, 1e9), one.numbers("goal", goal)) for one in goals]
        found.append(state)
    if not found:
        raise table.wrong("starts", "a list of at least one state")
    return found


def _scene(table: _Table, count: int, path: Path) -> dict[str, Any]:
    scene = _Table(table.of("scene", dict, "a table"), path, "scene.")
    joints = scene.of("joints", list, "a list of joints")
    for joint in joints:
        if not (isinstance(joint, list) and len(joint) == 2 and isinstance(joint[0], str) and joint[1] in (1, 3)):
            raise scene.wrong("joints", "a list of names, each with 1 or 3 DoFs")
    actuators, bodies = scene.texts("actuators"), scene.texts("bodies")
    for what, found in (("joints of its scene have", sum(dim for _, dim in joints)), ("actuators:", len(actuators))):
        if found != count:
            raise UserError(f"{path}: joint_names: found {count} names, but the {what} {found}")
    for sensor in scene.of("sensors", list, "a list of sensors"):
        fits = isinstance(sensor, list) and [type(item) for item in sensor] == [int, str, str]
        if not fits or not 0 <= sensor[0] < len(bodies):
            raise scene.wrong("sensors", "a list of bodies' numbers, each with two names")
    numbers = scene.of("numbers", dict, "a table of arrays")
    arrays = _Table(numbers, path, "scene.numbers.")
    files = scene.of("files", dict, "a table of files")
    if not all(isinstance(data, str) for data in files.values()):
        raise scene.wrong("files", "a table of texts in base64")
    return {
        "root": scene.of("root", str, "a name"), "joints": joints, "actuators": actuators, "bodies": bodies,
        "sensors": scene.of("sensors", list, "a list"), "numbers": {name: arrays.numbers(name) for name in numbers},
        "files": files,
    }  # fmt: skip


def check_keys(facts: PolicyFacts, metadata: Mapping[str, str], path: Path) -> None:
    """UserError where mjlab's keys, by which others go, say something else than the table."""
    names = metadata.get("joint_names", "").split(",")
    if names != facts.joint_names:
        raise UserError(f"{path}: its metadata joint_names has {len(names)} names that are not those of its table")
    for key, wanted in (("joint_stiffness", facts.kp), ("joint_damping", facts.kd)):
        try:
            found = np.array([float(text) for text in metadata.get(key, "").split(",")])
        except ValueError:
            raise UserError(f"{path}: its metadata {key} is no list of numbers") from None
        if found.shape != wanted.shape or not np.allclose(found, wanted, atol=1e-3, rtol=0.0):
            raise UserError(f"{path}: its metadata {key} is not that of its table")
