"""Schemas of terms, and their checks before torch is imported."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mimickit_hydra.config.fields import POSITIVE, Rule, at_least, check_fields, setting, whole_numbers, wrong
from mimickit_hydra.errors import UserError, must_be_one_of, suggestion
from mimickit_hydra.plugins import OBSERVATIONS, REWARDS, TERMINATIONS, Entry, Registry

KINDS = {"observations": OBSERVATIONS, "rewards": REWARDS, "terminations": TERMINATIONS}
TABLES = (*KINDS, "critic_observations", "events", "sampling_params")  # of an env, whose keys are names
OTHER_ENDS = ("time", "clip_end", "diverged")  # of an episode, beside its terminations


@dataclass(frozen=True)
class TermConfig:
    """A term that ``env.observations``, ``env.rewards`` or ``env.terminations`` names, with its parameters."""

    name: str
    entry: Entry
    params: Any  # the dataclass of the term's schema, None where it has none
    weight: float = 1.0  # of a reward
    noise: float | None = None  # half width of the noise of an observation; None: as events have it
    history: int = 1  # readings of an observation

    @property
    def uses_reference(self) -> bool:
        """Whether it means nothing without a reference motion."""
        return bool(self.entry.facts.get("follows_reference") or self.entry.facts.get("needs_reference"))


def read_terms(env: Any, kind: str) -> list[TermConfig]:
    """The terms that ``env.<kind>`` names, with their parameters.

    UserError in one line for a term that is not registered, a parameter that it does not have, or a wrong value.
    """
    return read_table(env, kind, kind)


def read_table(env: Any, key: str, kind: str) -> list[TermConfig]:
    """The terms of a kind that ``env.<key>`` names, null ones left out; UserError as :func:`read_terms`."""
    table = {name: given for name, given in getattr(env, key).items() if given is not None}
    found = [_read(f"env.{key}.{name}", name, given, KINDS[kind]) for name, given in table.items()]
    for term in found:
        if term.uses_reference and not hasattr(env, "motion_file"):
            raise UserError(f"env.{key}.{term.name}: {env.env_name} has no reference motion, which it looks at")
        if term.entry.facts.get("tracked") and not hasattr(env, "tracked_bodies"):
            raise UserError(
                f"env.{key}.{term.name}: {env.env_name} tracks no bodies, which it looks at; use env=tracking"
            )
        if kind == "terminations" and term.name in OTHER_ENDS:
            raise UserError(f"env.{kind}.{term.name}: every env has an end of this name; use another key, with term=")
    return found


def _read(key: str, name: str, given: Any, registry: Registry) -> TermConfig:
    entry, values = read_entry(key, name, given, registry)
    weight = values.pop("weight", 1.0) if registry is REWARDS else 1.0
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise wrong(f"{key}.weight", weight, "a number")
    if registry is not OBSERVATIONS:
        others = ["weight"] if registry is REWARDS else []
        return TermConfig(name, entry, read_params(key, entry, values, "term", *others), float(weight))
    noise, history = values.pop("noise", None), values.pop("history", 1)
    if noise is not None and (type(noise) not in (int, float) or not 0 <= noise < math.inf):
        raise wrong(f"{key}.noise", noise, "a number, 0 or more")
    if type(history) is not int or not 1 <= history <= 100:
        raise wrong(f"{key}.history", history, "a whole number from 1 to 100")
    params = read_params(key, entry, values, "term", "noise", "history")
    return TermConfig(name, entry, params, 1.0, None if noise is None else float(noise), history)


def read_entry(key: str, name: str, given: Any, registry: Registry) -> tuple[Entry, dict[str, Any]]:
    """The entry that ``term`` in the table ``given`` names, or else ``name``, and the rest of the table.

    With ``term`` the same entry is there twice, under two names. UserError, naming ``key``, for what is no table or is
    not registered.
    """
    if not isinstance(given, Mapping):
        raise wrong(key, given, "a table of parameters, {} for none, or null to leave it out")
    values = dict(given)
    called = str(values.pop("term", name))
    if called not in registry:
        raise must_be_one_of(key, called, list(registry))
    return registry[called], values


def read_params(key: str, entry: Entry, values: Mapping[str, Any], *others: str) -> Any:
    """The dataclass of an entry's schema with ``values``, None where it has none; UserError for what it cannot be.

    ``others``: what the table of ``key`` may hold besides, for the message.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    schema = entry.load_schema() if entry.schema else None
    known = [field.name for field in dataclasses.fields(schema)] if schema is not None else []
    for name in values:
        if name not in known:
            every = [*known, *others]
            near = suggestion(name, every)
            raise UserError(
                f"{key}.{name}: {entry.kind} {entry.name} has no such parameter{near}; it has "
                f"{', '.join(every) or 'none'}"
            )
    if schema is None:
        return None
    params = OmegaConf.structured(schema)
    OmegaConf.set_readonly(params, False)
    for name, value in values.items():
        try:
            params[name] = value
        except OmegaConfBaseException:
            kind = next(field.type for field in dataclasses.fields(schema) if field.name == name)
            raise wrong(f"{key}.{name}", value, f"of type {getattr(kind, '__name__', kind)}") from None
    if missing := [name for name in known if OmegaConf.is_missing(params, name)]:
        raise UserError(f"{key}.{missing[0]}: has no value; set it on the command line")
    found = OmegaConf.to_object(params)
    check_fields(found, f"{key}.")
    return found


def check_terms(env: Any) -> None:
    """UserError for the first term of an env's config that cannot be built."""
    for kind in KINDS:
        read_terms(env, kind)


# --------------------------------------------------------------------------- the parameters of this package's own terms


@dataclass(frozen=True)
class FrameParams:
    """The frame in which positions, rotations and velocities are observed."""

    global_obs: bool = setting(False, help="in world axes instead of the character's heading")
    root_height: bool = setting(True, help="with the root's height")


@dataclass(frozen=True)
class PhaseParams:
    num_encodings: int = setting(0, at_least(0), help="frequencies that the phase is encoded in")


@dataclass(frozen=True)
class TargetParams(FrameParams):
    steps: list[int] = setting([1], whole_numbers(1), "control steps", "how far ahead the frames are")


@dataclass(frozen=True)
class JointErrorParams:
    """The form of an imitation reward, ``exp(-scale * error)``, and how much each joint counts in it."""

    scale: float = setting(1.0, at_least(0))
    joint_weights: list[float] | None = setting(None, help="of each body but the root; null: all the same")


@dataclass(frozen=True)
class FrameErrorParams:
    """The form of an imitation reward, ``exp(-scale * error)``, and the frame that it compares in."""

    scale: float = setting(1.0, at_least(0))
    track_root: bool = setting(False, help="where the reference is counts, not only how it moves")


@dataclass(frozen=True)
class RootErrorParams(FrameErrorParams):
    root_height: bool = setting(True, help="with its height")


_FIVE = Rule(lambda value: len(value) == 5 and min(value) >= 0, "five numbers, each 0 or more")


@dataclass(frozen=True)
class ImitationParams:
    """DeepMimic's five terms together; lists in the order pose, vel, root_pose, root_vel, key_pos."""

    weights: list[float] = setting([0.5, 0.1, 0.15, 0.1, 0.15], _FIVE)
    scales: list[float] = setting([0.25, 0.01, 5.0, 1.0, 10.0], _FIVE)
    joint_weights: list[float] | None = setting(None, help="of each body but the root; null: all the same")
    track_root: bool = setting(False, help="where the reference is counts, not only how it moves")
    root_height: bool = setting(True, help="with its height")


@dataclass(frozen=True)
class FallParams:
    allowed: list[str] = setting(help="bodies that may touch the ground")


@dataclass(frozen=True)
class PoseLostParams:
    max_dist: float = setting(1.0, POSITIVE, "m", "of any body from where the reference has it")
    track_root: bool = setting(False, help="where the reference is counts, not only its pose")
    global_obs: bool = setting(False, help="in world axes instead of the root's frame")
