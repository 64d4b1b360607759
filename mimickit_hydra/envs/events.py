"""Events: what differs from environment to environment and happens to them, at the start, at resets or now and then.

An event is a part of an env, registered under a name and named in ``env.events``::

    plugin.event("tilt", "my_robot.events:Tilt", schema="my_robot.keys:TiltParams", when=("reset", "interval"))

    python train.py env.events.tilt.when=interval env.events.tilt.interval='[2,4]'

It subclasses :class:`Event` and says in :meth:`Event.happen` what happens to some environments. All random numbers come
from torch's default generator, for all environments at once, so that a resumed run goes on with the same. In tests
nothing happens unless the event's ``in_tests`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import ResetState
from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.event_schema import INTERVAL, RESET, STARTUP, EventConfig, read_events
from mimickit_hydra.envs.parts import Part, World
from mimickit_hydra.envs.rows import ALL, Rows
from mimickit_hydra.envs.sensing import DelayLine, spread

_DUE = 1e-6  # s


class Event(Part):
    """Something that happens. ``config`` holds its parameters and its moment, ``on`` whether it has its effect now."""

    imaginable = True  # it shows nothing

    def __init__(self, config: EventConfig, world: World) -> None:
        self.config, self.world = config, world
        self.on = True
        self._dt = world.engine.control_dt
        self._time_left = torch.zeros(world.engine.num_envs, device=world.engine.device)
        self._due = torch.zeros(world.engine.num_envs, dtype=torch.bool, device=world.engine.device)

    @property
    def num_envs(self) -> int:
        return self.world.engine.num_envs

    def happen(self, rows: Rows) -> None:
        """Draw anew for the environments of ``rows``, and let it have its effect there while ``on``."""
        raise NotImplementedError

    def switch(self, on: bool) -> None:
        """Take the effect away, or bring back what was drawn."""
        self.on = on

    def begin(self, rows: Rows) -> None:
        """The environments of ``rows`` have been put to their starts."""
        if self.config.when == RESET:
            self.happen(rows)
        elif self.config.when == INTERVAL:
            rows.put(self._time_left, rows.take(self._interval()))

    def before_physics(self, command: Tensor, time: Tensor) -> None:
        if self.config.when == INTERVAL and self.on:
            self._time_left -= self._dt
            due = Rows(mask=torch.lt(self._time_left, _DUE, out=self._due))
            self.happen(due)
            due.put(self._time_left, self._interval())

    def _interval(self) -> Tensor:
        first, last = self.config.interval
        return first + (last - first) * torch.rand_like(self._time_left)

    def _uniform(self, *shape: int) -> Tensor:
        """Numbers ``[N, ...]`` in [0, 1)."""
        return torch.rand(self.num_envs, *shape, device=self.world.engine.device)

    def kept(self) -> dict[str, Tensor]:
        """Live tensors that an exact continuation needs, besides the time left."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        return {name: tensor.cpu().clone() for name, tensor in {"time": self._time_left, **self.kept()}.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in {"time": self._time_left, **self.kept()}.items():
            tensor.copy_(state[name])


class DrawnEvent(Event):
    """One whose effect is what it has drawn, ``drawn [N, ...]``: kept for a continuation, shown while ``on``."""

    drawn: Tensor

    def _show(self, rows: Rows) -> None:
        """Let what was drawn have its effect in the environments of ``rows``, or nothing while not ``on``."""
        raise NotImplementedError

    def switch(self, on: bool) -> None:
        super().switch(on)
        self._show(ALL)

    def kept(self) -> dict[str, Tensor]:
        return {"drawn": self.drawn}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict(state)
        self._show(ALL)


# -------------------------------------------------------------------------------------------- numbers of the model


class ModelValue(DrawnEvent):
    """Numbers of the model that differ between environments: which, says the fact ``varies`` of the entry.

    Events of the same value share its numbers, of which each writes its own. They reach the engine by :func:`apply`
    or, once an env runs, as they happen.
    """

    per_number = 1  # columns that belong together

    def __init__(self, config: EventConfig, world: World) -> None:
        super().__init__(config, world)
        self.value = str(config.entry.facts["varies"])
        own = world.engine.model_values(self.value)
        shared = own.unsqueeze(0).expand(self.num_envs, *own.shape)
        self._current = world.varied.setdefault(self.value, shared.clone())  # [N, ...], what the engine has
        self._columns = torch.tensor(self._chosen(own), dtype=torch.int64, device=own.device)
        self._own = own.reshape(-1).index_select(0, self._columns)
        self.drawn = self._own.expand(self.num_envs, -1).clone()  # [N, K]
        self.low, self.high = (self._bound(end) for end in (0, 1))  # [N, 1 or K]
        if config.when == STARTUP:
            self._draw(ALL)
        self._show(ALL)

    def _bound(self, end: int) -> Tensor:
        number = torch.tensor(float(self.config.params.range[end]), device=self._own.device)
        return number.expand(self.num_envs, 1).clone()

    def _chosen(self, own: Tensor) -> list[int]:
        """The flat places of the numbers that this event draws."""
        wanted = getattr(self.config.params, "bodies", [])
        names = self.world.character.body_names
        bodies = chosen_bodies(f"env.events.{self.config.name}.bodies", wanted, names)
        if self.value == "friction":
            owners = self.world.engine.shape_bodies()
        elif self.value in ("mass", "com"):
            owners = list(range(len(names)))
        elif self.value == "gravity":
            return list(range(own.numel()))
        else:
            dims = self.world.engine.models[0].dof_dims
            owners = [body for body, dim in enumerate(dims) for _ in range(int(dim))]
        width = own.numel() // max(1, len(owners))
        found = [width * k + axis for k, owner in enumerate(owners) if owner in bodies for axis in range(width)]
        if not found:
            raise EnvError(f"env.events.{self.config.name}.bodies: none of {', '.join(wanted)} has a {self.value}")
        return found

    def _draw(self, rows: Rows) -> None:
        params = self.config.params
        u = self._uniform(1 if getattr(params, "same", False) else len(self._own))
        number = self.low + (self.high - self.low) * u
        how = getattr(params, "how", "add")
        new = number * self._own if how == "scale" else number + self._own if how == "add" else number
        rows.put(self.drawn, rows.take(new.expand_as(self.drawn)))

    def _show(self, rows: Rows) -> None:
        """Write this event's numbers among those of the engine."""
        flat = self._current.view(self.num_envs, -1)
        new = self.drawn if self.on else self._own.expand_as(self.drawn)
        rows.put(flat, rows.take(flat.index_copy(1, self._columns, new)))

    def happen(self, rows: Rows) -> None:
        self._draw(rows)
        if self.on:
            self._show(rows)
            self.world.engine.set_model_values({self.value: self._current}, _mask(rows, self.num_envs))


class Offset(ModelValue):
    """Vectors of the model that are off by up to a number on each axis."""

    def _bound(self, end: int) -> Tensor:
        most = torch.tensor(self.config.params.up_to, device=self._own.device).repeat(len(self._own) // 3)
        return (most if end else -most).expand(self.num_envs, -1).clone()


def apply(world: World) -> None:
    """Give the engine the numbers of all events, at once."""
    if world.varied:
        world.engine.set_model_values(world.varied)


def _mask(rows: Rows, num_envs: int) -> Tensor | None:
    if rows.index is None:
        return rows.mask
    mask = torch.zeros(num_envs, dtype=torch.bool, device=rows.index.device)
    return mask.index_fill_(0, rows.index, True)


def chosen_bodies(key: str, wanted: Sequence[str], names: Sequence[str]) -> list[int]:
    """The indices of the bodies that names or patterns mean, all for none; EnvError for one that means no body."""
    for pattern in wanted:
        if pattern and not any(fnmatchcase(name, pattern) for name in names):
            raise EnvError(f"{key}: no body is called {pattern!r}; bodies: {', '.join(names)}")
    if not wanted:
        return list(range(len(names)))
    patterns = [pattern or names[0] for pattern in wanted]  # an anchor that is not named is the root
    return [k for k, name in enumerate(names) if any(fnmatchcase(name, pattern) for pattern in patterns)]


# ------------------------------------------------------------------------------------ what no simulator need know of


class EncoderBias(DrawnEvent):
    """Encoders that are off: targets are reached beside where they are, and ``joint_pos`` with encoders shows it."""

    def __init__(self, config: EventConfig, world: World) -> None:
        super().__init__(config, world)
        self.drawn = torch.zeros_like(world.bias)
        self.most = torch.full((self.num_envs, 1), float(config.params.up_to), device=self.drawn.device)
        self._acts = world.engine.control_mode in ("pos", "pd_explicit")
        if config.when == STARTUP:
            self.happen(ALL)

    def happen(self, rows: Rows) -> None:
        rows.put(self.drawn, rows.take(spread(self._uniform(self.drawn.shape[1]), self.most)))
        self._show(rows)

    def _show(self, rows: Rows) -> None:
        self.world.bias.copy_(self.drawn if self.on else torch.zeros_like(self.drawn))

    def before_physics(self, command: Tensor, time: Tensor) -> None:
        if self._acts:
            command -= self.world.bias
        super().before_physics(command, time)


class Push(Event):
    """A push adds to the velocity of the root at the beginning of a step: the policy cannot see it before it acts."""

    def __init__(self, config: EventConfig, world: World) -> None:
        super().__init__(config, world)
        most = torch.tensor([*config.params.vel, *config.params.ang_vel], device=world.engine.device)
        self.most = most.expand(self.num_envs, -1).clone()  # [N, 6]
        self.unforeseen = self._due

    def switch(self, on: bool) -> None:
        super().switch(on)
        self._due.zero_()

    def happen(self, rows: Rows) -> None:
        if not self.on:
            return
        push = spread(self._uniform(6), self.most)
        now, mask = self.world.engine.states[0], _mask(rows, self.num_envs)
        if mask is None:
            mask = torch.ones(self.num_envs, dtype=torch.bool, device=push.device)
        self.world.engine.place(0, mask, ResetState(
            now.root_pos, now.root_rot, now.root_vel + push[:, :3], now.root_ang_vel + push[:, 3:], now.dof_pos,
            now.dof_vel,
        ))  # fmt: skip


class Delay(DrawnEvent):
    """A delay ``[N]`` in control steps, drawn from a range."""

    def __init__(self, config: EventConfig, world: World) -> None:
        super().__init__(config, world)
        first, last = config.params.range
        self.low, self.high = (torch.full_like(self._time_left, end / self._dt) for end in (first, last))
        self.longest = last / self._dt
        self.drawn = torch.zeros_like(self._time_left)
        self.steps = torch.zeros_like(self._time_left)
        if config.when == STARTUP:
            self.happen(ALL)

    def happen(self, rows: Rows) -> None:
        rows.put(self.drawn, rows.take(self.low + (self.high - self.low) * torch.rand_like(self.drawn)))
        self._show(rows)

    def _show(self, rows: Rows) -> None:
        self.steps.copy_(self.drawn if self.on else torch.zeros_like(self.drawn))


class SensorDelay(Delay):
    """What is measured is late; what the env tells, such as the reference, is not."""


class ActionDelay(Delay):
    """Commands take effect late; between two of them part of a step is blended. The first of an episode is at once."""

    def __init__(self, config: EventConfig, world: World) -> None:
        super().__init__(config, world)
        self._line = DelayLine(self.num_envs, world.character.num_dofs, self.longest, world.engine.device)
        self._fresh = torch.ones(self.num_envs, dtype=torch.bool, device=world.engine.device)

    def begin(self, rows: Rows) -> None:
        super().begin(rows)
        rows.put(self._fresh, torch.ones_like(rows.take(self._fresh)))

    def before_physics(self, command: Tensor, time: Tensor) -> None:
        super().before_physics(command, time)
        self._line.put(ALL, command, first=False)
        Rows(mask=self._fresh).put(self._line.values, command.unsqueeze(1).expand_as(self._line.values))
        self._fresh.zero_()
        command.copy_(self._line.read(ALL, self.steps))

    def kept(self) -> dict[str, Tensor]:
        return {**super().kept(), "commands": self._line.values, "fresh": self._fresh}


class SensorNoise(Event):
    """Measured observations have noise of their own widths, times ``scale [N, 1]``."""

    def __init__(self, config: EventConfig, world: World) -> None:
        super().__init__(config, world)
        self.scale = torch.full((self.num_envs, 1), float(config.params.scale), device=world.engine.device)

    def happen(self, rows: Rows) -> None:
        """It is there all the time."""


def make_events(config: Any, world: World) -> list[Event]:
    """The events of an env's config, in its order."""
    return [event.entry.load()(event, world) for event in read_events(config)]
