"""Terms: pieces of the observation, the reward and the terminations that a configuration adds to any env by name.

A term is a function of the state, ``View`` (see ``envs.state``), and of its parameters::

    @dataclass(frozen=True)
    class HeightParams:  # in a module that does not import torch
        target: float = setting(0.9, POSITIVE, "m")

    def height(view: View, params: HeightParams) -> Tensor:  # [n]
        return torch.exp(-10.0 * torch.square(view.character.root_pos[:, 2] - params.target))

It is registered by the package that brings it, and then is one line of any configuration::

    plugin.reward("height", "my_robot.terms:height", schema="my_robot.keys:HeightParams")

    python train.py env.rewards.height.weight=0.1 env.rewards.height.target=0.8

* A reward gives ``[n]``; ``weight`` times that is added to what the env pays.
* An observation gives ``[n, size]`` (``[n]`` for size 1), appended to the env's own; ``size`` is said where it is
  registered: ``plugin.observation("height", ..., size=1)``.
* A termination gives bool ``[n]`` and ends episodes in failure, under its own name.

Tests log what each reward gives in a step (``Reward_NAME``) and in which share of the episodes a termination was met at
the end (``End_NAME``). Without parameters a term needs no schema, and gets None; it may as well take the view alone.
One that looks at ``view.reference`` is registered with ``follows_reference=True``, as elsewhere nobody looks it up.

What needs more than the moment - indices of bodies, the last action - is a class, registered in the same way::

    class Effort(Term):
        def __init__(self, params: EffortParams, world: World) -> None:
            self.params = params
            self.command = torch.zeros(world.engine.num_envs, world.character.num_dofs, device=world.engine.device)

        def before_physics(self, command: Tensor, time: Tensor) -> None:
            self.command.copy_(command)

        def restart(self, view: View, rows: Rows) -> None:  # the environments of rows begin a new episode
            rows.put(self.command, torch.zeros_like(rows.take(self.command)))

        def __call__(self, view: View) -> Tensor:
            return -view.rows.take(self.command).square().sum(-1)

        def state_dict(self) -> dict[str, Tensor]:
            return {"command": self.command.cpu().clone()}

        def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
            self.command.copy_(state["command"])

Inside a step there is no host read and no shape that depends on data, so that a term runs inside the captured rollout
too. ``term: NAME`` in a term's table uses it again under another name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.events import make_events
from mimickit_hydra.envs.parts import Part, World
from mimickit_hydra.envs.rows import Rows
from mimickit_hydra.envs.state import View
from mimickit_hydra.envs.term_schema import KINDS, TermConfig, read_table, read_terms
from mimickit_hydra.envs.tracking import RunningMeans


class Term(Part):
    """A term with something to prepare or to remember; it has all hooks of a :class:`Part`."""

    size: int = 1  # numbers of an observation
    role: str = ""  # what it is used as: observations, rewards, terminations
    name: str = ""  # in the configuration
    logged: bool = False  # tests log how many episodes this termination ends
    noise: float | None = None  # half width of the noise of an observation; None: as events have it
    history: int = 1  # readings that an observation shows
    measured: bool = False  # by a robot's sensors, so that it may be late
    sensor_noise: float | Tensor = 0.0  # half width where events ask for noise, or one for each number

    def __init__(self, params: Any, world: World) -> None:
        """``params`` is the dataclass of the term's schema, or None."""

    def __call__(self, view: View) -> Tensor | list[Tensor]:
        """Its value ``[n]`` or ``[n, size]``, also in blocks to be joined along the last axis."""
        raise NotImplementedError

    def used_as(self, role: str, name: str) -> Term:
        """Take its place in an env: ``role`` is one of the keys of ``term_schema.KINDS``."""
        self.role, self.name = role, name
        self.obs_size = self.size if role == "observations" else 0
        return self

    def each(self, view: View) -> Tensor:
        """Its value ``[n]``; EnvError where it gives anything else, which would be broadcast to nonsense."""
        value = self(view)
        if not isinstance(value, Tensor) or value.shape != view.time.shape:
            found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise EnvError(f"env.{self.role}.{self.name}: gives {found}, must give {list(view.time.shape)}")
        return value

    def observe(self, view: View, rows: Rows) -> list[Tensor]:
        if self.role != "observations":
            return []
        value = self(view)
        blocks = value if isinstance(value, list) else [value if value.dim() > 1 else value.unsqueeze(-1)]
        if (found := sum(block.shape[-1] for block in blocks)) != self.size:
            raise EnvError(
                f"env.observations.{self.name}: gives {found} numbers, but is registered with size={self.size}"
            )
        return blocks

    def failure(self, view: View) -> dict[str, Tensor]:
        return {self.name: self.each(view).bool()} if self.role == "terminations" else {}


class FunctionTerm(Term):
    """A term that is a function of the state alone."""

    def __init__(self, function: Callable[..., Tensor], params: Any, size: int) -> None:
        self._function = function if len(inspect.signature(function).parameters) > 1 else lambda view, _: function(view)
        self._params = params
        self.size = size

    def __call__(self, view: View) -> Tensor:
        return self._function(view, self._params)


class Rewards:
    """The reward of an env and the weighted terms added to it; while ``recording``, with the mean of each."""

    def __init__(self, own: Callable[[View], Tensor] | None, terms: Sequence[tuple[float, Term]], device: Any) -> None:
        self._own = own
        self._terms = list(terms)
        self.means = RunningMeans(device, [f"reward_{term.name}" for _, term in terms])
        self.recording = False

    @property
    def terms(self) -> list[Term]:
        return [term for _, term in self._terms]

    def without(self, left_out: Sequence[Term]) -> Rewards:
        """The same without these terms."""
        kept = [(weight, term) for weight, term in self._terms if term not in left_out]
        return Rewards(self._own, kept, self.means.means.device)

    def __call__(self, view: View) -> Tensor:
        if not self._terms:
            return torch.zeros_like(view.time) if self._own is None else self._own(view)
        given = torch.stack([weight * term.each(view) for weight, term in self._terms], dim=-1)
        if self.recording:
            counted = given if view.diverged is None else given.masked_fill(view.diverged.unsqueeze(-1), 0.0)
            self.means.record(counted, None if view.resting is None else (~view.resting).to(given.dtype))
        total = given.sum(-1)
        return total if self._own is None else self._own(view) + total

    def parts(self, view: View, everyone: bool) -> dict[str, Tensor]:
        """What each term gives, ``[n]`` by name; without ``everyone`` those of the env's own reward alone."""
        own = getattr(self._own, "parts", None)
        found: dict[str, Tensor] = {} if own is None else own(view, everyone)
        return found | ({term.name: weight * term.each(view) for weight, term in self._terms} if everyone else {})


def with_terms(
    config: Any, world: World, parts: Sequence[Part], reward: Callable[[View], Tensor] | None, share: float = 1.0,
    acting: Sequence[Part] = (),
) -> tuple[list[Part], Callable[[View], Tensor] | None]:  # fmt: skip
    """The parts and the reward of an env, with the terms and the events that its configuration adds.

    ``share`` of their weights is paid in a step. ``acting`` are parts that change commands, once all terms have seen
    them as the policy gave them.
    """
    found = {kind: [(one, _built(one, world, kind)) for one in read_terms(config, kind)] for kind in KINDS}
    added = [term for built in found.values() for _, term in built]
    for term in added:
        term.logged = term.role == "terminations"
    if found["rewards"]:
        weighted = [(share * one.weight, term) for one, term in found["rewards"]]
        reward = Rewards(reward, weighted, world.engine.device)
    return [*parts, *added, *acting, *make_events(config, world)], reward


def registered(world: World, role: str, called: str, params: Mapping[str, Any], name: str = "") -> Any:
    """Build the term that is registered as ``called``; ``name`` is that of a termination's cause."""
    entry = KINDS[role][called]
    return _built(TermConfig(name or called, entry, entry.load_schema()(**params)), world, role)


def observed(config: Any, world: World, key: str) -> list[Term]:
    """The observation terms that the table ``env.<key>`` names, in its order; only the value function sees them."""
    found = [_built(one, world, "observations") for one in read_table(config, key, "observations")]
    for term in found:
        term.privileged = True
    return found


def _built(config: TermConfig, world: World, role: str) -> Term:
    code, facts = config.entry.load(), config.entry.facts
    term: Term
    if inspect.isclass(code):
        try:
            term = cast("type[Term]", code)(config.params, world)
        except EnvError as error:
            raise EnvError(f"env.{role}.{config.name}.{error}") from None
    else:
        term = FunctionTerm(code, config.params, int(facts.get("size", 1)))
    term.follows_reference = term.follows_reference or bool(facts.get("follows_reference"))
    term.measured = term.measured or bool(facts.get("measured"))
    term.sensor_noise = facts.get("noise", term.sensor_noise)
    term.noise, term.history = config.noise, config.history
    return term.used_as(role, config.name)
