"""Tests a policy in worlds that are not the one it was trained in: friction, mass, motors, delay, pushes, noise.

All conditions are tested side by side, each in environments of its own, so that a simulator starts once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL
from mimickit_hydra.envs.events import Delay, Event, ModelValue
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.envs.tracking import NAMES, tracking_errors
from mimickit_hydra.errors import must_be_one_of
from mimickit_hydra.plugins import ENGINES, EVENTS

LONGEST_DELAY = 0.04  # s
PUSH_SHAPE = (1.0, 1.0, 0.4, 1.04, 1.04, 1.56)  # m/s and rad/s a m/s of push, as in mjlab's tracking task


def _set(event: Any, rows: slice, values: Tensor) -> None:
    event.drawn[rows] = values


def _scale(event: Any, rows: slice, values: Tensor) -> None:
    event.drawn[rows] = event.drawn[rows] * values


def _delay(event: Any, rows: slice, values: Tensor) -> None:
    event.drawn[rows] = values[:, 0] / event.world.engine.control_dt


def _push(event: Any, rows: slice, values: Tensor) -> None:
    event.most[rows] = values * torch.tensor(PUSH_SHAPE, device=values.device)


def _noise(event: Any, rows: slice, values: Tensor) -> None:
    event.scale[rows] = values


@dataclass(frozen=True)
class Axis:
    """One way in which worlds differ: by the events of which kind, at which values, and where the plain one is."""

    title: str
    events: Mapping[str, Mapping[str, Any]]  # with parameters that change nothing
    values: tuple[float, ...]
    write: Callable[[Any, slice, Tensor], None]
    together: tuple[float, float]  # between which the last test, of all at once, draws


_NOTHING = {"range": [1.0, 1.0], "how": "scale"}
AXES = {
    "friction": Axis("friction", {"friction": _NOTHING}, (0.2, 0.4, 0.6, 0.8, 1.0, 1.2), _set, (0.4, 1.2)),
    "mass": Axis("mass, times", {"mass": _NOTHING}, (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3), _scale, (0.8, 1.2)),
    "strength": Axis(
        "motor strength, times", {"kp": _NOTHING, "kd": _NOTHING, "torque_limit": _NOTHING},
        (0.5, 0.7, 0.8, 0.9, 1.0, 1.1), _scale, (1.0, 1.0),
    ),
    "delay": Axis(
        "delay of actions (s)", {"action_delay": {"range": [0.0, LONGEST_DELAY]}},
        (0.0, 0.01, 0.02, 0.03, LONGEST_DELAY),
        _delay, (0.02, 0.02),
    ),
    "push": Axis(
        "pushes up to (m/s)", {"push": {"interval": [1.0, 3.0], "vel": [0.0] * 3, "ang_vel": [0.0] * 3}},
        (0.0, 0.25, 0.5, 0.75, 1.0), _push, (0.5, 0.5),
    ),
    "noise": Axis(
        "noise of sensors, times", {"sensor_noise": {"scale": 0.0}}, (0.0, 0.5, 1.0, 2.0, 3.0), _noise, (0.0, 0.0)
    ),
}  # fmt: skip
TOGETHER = "together"  # friction 0.4-1.2, mass +-20 %, 20 ms and pushes of 0.5 m/s at once


def parse_axes(text: str) -> list[str]:
    """``friction,mass`` as a list; UserError for what is unknown."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    for name in found:
        if name not in AXES:
            raise must_be_one_of("vary", name, list(AXES))
    return found


def axes_of(engine: str) -> list[str]:
    """What can be varied on an engine."""
    able = ENGINES[engine].facts.get("varies", ())
    needs = {name: {EVENTS[event].facts.get("varies") for event in axis.events} for name, axis in AXES.items()}
    return [name for name, values in needs.items() if values - {None} <= set(able)]


def prepared(run: RunConfig, axes: Sequence[str]) -> RunConfig:
    """The run with the events that the test of ``axes`` drives, instead of its own."""
    events = {
        f"{axis}_{name}": {"term": name, "in_tests": True, **params, **({} if name == "push" else {"when": "startup"})}
        for axis in axes
        for name, params in AXES[axis].events.items()
    }
    return dataclasses.replace(run, env=dataclasses.replace(run.env, events=events))


@dataclass(frozen=True)
class Condition:
    axis: str
    value: float  # nan for all at once


def conditions_of(axes: Sequence[str]) -> list[Condition]:
    """The tests, in order."""
    found = [Condition(axis, value) for axis in axes for value in AXES[axis].values]
    return [*found, Condition(TOGETHER, float("nan"))] if len(axes) > 1 else found


def test_robustness(run: RunConfig, axes: Sequence[str], episodes: int) -> list[dict[str, Any]]:
    """Test the policy of ``run.model_file`` in every condition for ``episodes`` each; a row of figures for each."""
    from mimickit_hydra.distributed import Comm
    from mimickit_hydra.training.build import build
    from mimickit_hydra.training.rng import seed_everything
    from mimickit_hydra.training.run import load_model

    conditions = conditions_of(axes)
    device = torch.device(run.devices[0])
    if device.type == "cpu":
        torch.set_num_threads(1)
    seed_everything(run.rand_seed or 0)
    each = max(1, min(episodes, 4096 // len(conditions)))
    with build(prepared(run, axes), Comm(), device, num_envs=each * len(conditions)) as parts:
        assert run.model_file is not None
        load_model(parts, run.model_file)
        events = {event.config.name: event for event in parts.env.events}
        for event in events.values():
            if isinstance(event, Delay):
                event.drawn.zero_()
        for k, condition in enumerate(conditions):
            _arrange(events, axes, condition, slice(k * each, (k + 1) * each), device)
        figures = _roll(parts.agent, parts.env, -(-episodes // each))
    rows = []
    for k, condition in enumerate(conditions):
        own = {name: float(values[k * each : (k + 1) * each].mean()) for name, values in figures.items()}
        rows.append({"axis": condition.axis, "value": condition.value, "episodes": each * -(-episodes // each), **own})
    return rows


def _arrange(
    events: Mapping[str, Event], axes: Sequence[str], condition: Condition, rows: slice, device: torch.device
) -> None:
    """Make the environments of ``rows`` those of a condition."""
    for axis in axes:
        if condition.axis not in (axis, TOGETHER):
            continue
        about = AXES[axis]
        low, high = about.together if condition.axis == TOGETHER else (condition.value, condition.value)
        values = low + (high - low) * torch.rand(rows.stop - rows.start, 1, device=device)
        for name in about.events:
            event = events[f"{axis}_{name}"]
            if isinstance(event, ModelValue) and about.write is _scale and low == high == 1.0:
                continue
            about.write(event, rows, values)


@torch.no_grad()
def _roll(agent: Agent, env: ImitationEnv, share: int) -> dict[str, Tensor]:
    """Let every environment finish ``share`` episodes; means ``[N]`` over these by name."""
    env.set_mode(True)
    try:
        return _means(env, _episodes(agent, env, share), share)
    finally:
        env.set_mode(False)


def _episodes(agent: Agent, env: ImitationEnv, share: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Reward, error of the bodies' positions, done and whether it counts, ``[N]`` each, of one step after another."""
    finished = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    env.reset()
    while int(finished.min()) < share:
        _, reward, done, _ = env.step(agent.act(env.obs, deterministic=True))
        view = env.latest
        assert view is not None
        error = torch.zeros_like(reward)
        if view.reference is not None:
            errors = tracking_errors(view.character, view.reference)[:, NAMES.index("body_pos_err")]
            error = torch.nan_to_num(errors)
        yield reward, error, done, finished < share
        finished += done != DONE_NULL
        env.reset(done != DONE_NULL)


def _means(env: ImitationEnv, steps: Iterator[tuple[Tensor, ...]], share: int) -> dict[str, Tensor]:
    total, length, off, failed = (torch.zeros(env.num_envs, device=env.device) for _ in range(4))
    for reward, error, done, counts in steps:
        total += reward * counts
        length += counts
        off += error * counts
        failed += (done == DONE_FAIL) & counts
    return {
        "success_rate": 1.0 - failed / share, "return": total / share, "episode_length": length / share,
        "body_pos_err": off / length,
    }  # fmt: skip
