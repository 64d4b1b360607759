"""Schemas of events, and their checks before torch is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mimickit_hydra.config.fields import Rule, at_least, one_of, setting, wrong
from mimickit_hydra.envs.term_schema import read_entry, read_params
from mimickit_hydra.errors import UserError, must_be_one_of
from mimickit_hydra.plugins import ENGINES, ENVS, EVENTS, Entry

STARTUP, RESET, INTERVAL = "startup", "reset", "interval"
DEFAULT_INTERVAL = (5.0, 10.0)  # s


@dataclass(frozen=True)
class EventConfig:
    """An event that ``env.events`` names, with its parameters."""

    name: str
    entry: Entry
    params: Any  # the dataclass of its schema, None where it has none
    when: str
    interval: tuple[float, float]  # s, from one to the next
    in_tests: bool


def read_events(env: Any) -> list[EventConfig]:
    """The events that ``env.events`` names, but for those that are null.

    UserError in one line for what is not registered or has a wrong value.
    """
    return [_read(f"env.events.{name}", name, given) for name, given in env.events.items() if given is not None]


def _read(key: str, name: str, given: Any) -> EventConfig:
    entry, values = read_entry(key, name, given, EVENTS)
    moments = entry.facts["when"]
    when = values.pop("when", moments[0])
    if when not in moments:
        raise must_be_one_of(f"{key}.when", str(when), list(moments))
    interval = values.pop("interval", None)
    if interval is not None:
        if when != INTERVAL:
            raise UserError(f"{key}.interval: does nothing with {key}.when={when}; must be left out")
        if not _is_interval(interval):
            raise wrong(f"{key}.interval", interval, "two numbers of seconds, more than 0, the first not the larger")
    in_tests = values.pop("in_tests", False)
    if not isinstance(in_tests, bool):
        raise wrong(f"{key}.in_tests", in_tests, "true or false")
    first, last = DEFAULT_INTERVAL if interval is None else interval
    params = read_params(key, entry, values, "term", "when", "interval", "in_tests")
    if hasattr(params, "check"):
        try:
            params.check()
        except UserError as error:
            raise UserError(f"{key}.{error}") from None
    return EventConfig(name, entry, params, when, (float(first), float(last)), in_tests)


def _is_interval(value: Any) -> bool:
    try:
        first, last = value
        return 0 < first <= last < math.inf
    except (TypeError, ValueError):
        return False


def check_events(run: Any) -> None:
    """UserError for the first event of a run that cannot be, or that its engine does not have."""
    engine, events = ENGINES[run.engine.engine_name], read_events(run.env)
    if events and "unlearned" in ENVS[run.env.env_name].facts["kinds"]:
        raise UserError(
            f"env.events.{events[0].name}: env={run.env.env_name} only shows a character; nothing happens to it"
        )
    for event in events:
        value, key = event.entry.facts.get("varies"), f"env.events.{event.name}"
        if value and value not in engine.facts.get("varies", ()):
            able = ", ".join(entry.name for entry in ENGINES.entries() if value in entry.facts.get("varies", ()))
            raise UserError(
                f"{key}: engine={engine.name} has the same {value} in all environments; use an engine of {able}, or "
                f"leave it out: {key}=null"
            )
        if event.when != STARTUP and value in engine.facts.get("varies_at_start", ()):
            raise UserError(
                f"{key}.when: found {event.when}, must be {STARTUP}: engine={engine.name} draws a {value} once"
            )
        modes = event.entry.facts.get("control_modes")
        if modes and run.engine.control_mode not in modes:
            raise wrong("engine.control_mode", run.engine.control_mode, f"{' or '.join(modes)}, which {key} changes")


# ------------------------------------------------------------------- the parameters of this package's own events

_RANGE = Rule(
    lambda value: len(value) == 2 and -math.inf < value[0] <= value[1] < math.inf,
    "two numbers, the first not the larger",
)
_SECONDS = Rule(
    lambda value: len(value) == 2 and 0 <= value[0] <= value[1] < 10, "two numbers from 0 to 10, the first not larger"
)
UP_TO = Rule(
    lambda value: len(value) == 3 and all(0 <= number < math.inf for number in value), "three numbers, each 0 or more"
)
_HOW = one_of("scale", "add", "set")


@dataclass(frozen=True)
class ValueParams:
    """Numbers of the model, drawn uniformly."""

    range: list[float] = setting(help="lowest and highest", rule=_RANGE)
    how: str = setting("scale", _HOW, help="the file's number is multiplied, added to, or replaced")
    bodies: list[str] = setting([], help="names or patterns, of joints the bodies that they move; empty: all")
    same: bool = setting(False, help="one number for all of them instead of one each")

    def check(self) -> None:
        """UserError where a number that cannot be less than 0 might be."""
        if self.how != "add" and self.range[0] < 0:
            raise wrong("range", list(self.range), "0 or more: there is no less than nothing of it")


@dataclass(frozen=True)
class FrictionParams(ValueParams):
    how: str = setting("set", _HOW, help="the file's number is multiplied, added to, or replaced")
    same: bool = setting(True, help="one number for all of them instead of one each")


@dataclass(frozen=True)
class ComParams:
    """The centre of mass of bodies."""

    up_to: list[float] = setting([0.02, 0.02, 0.02], UP_TO, "m", "by which it is off, x y z of the body's frame")
    bodies: list[str] = setting([], help="names or patterns; empty: all")


@dataclass(frozen=True)
class GravityParams:
    up_to: list[float] = setting([0.0, 0.0, 0.3], UP_TO, "m/s^2", "by which it is off, x y z")


@dataclass(frozen=True)
class EncoderBiasParams:
    up_to: float = setting(0.01, at_least(0), "rad", "by which encoders are off")


@dataclass(frozen=True)
class PushParams:
    """A push adds to the velocity of the root."""

    vel: list[float] = setting([0.5, 0.5, 0.2], UP_TO, "m/s", "up to which it adds, x y z")
    ang_vel: list[float] = setting([0.52, 0.52, 0.78], UP_TO, "rad/s", "likewise")


@dataclass(frozen=True)
class DelayParams:
    range: list[float] = setting([0.0, 0.02], _SECONDS, "s", "shortest and longest; parts of a step are blended")


@dataclass(frozen=True)
class SensorNoiseParams:
    scale: float = setting(1.0, at_least(0), help="of the noise that each observation has; see randomization.md")
