"""Parts: the pieces that an env is made of, such as an observation, a discriminator's history or a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import Engine, ResetState
from mimickit_hydra.envs.rows import Rows
from mimickit_hydra.envs.state import View
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.library import MotionLibrary


@dataclass(frozen=True)
class World:
    """The surroundings that tasks and terms are built in.

    Attributes:
        engine: with its live states; object 0 is the character.
        character: its kinematics.
        library: the reference motions, None where the env has none.
        num_keys: how many key bodies a view shows.
        num_tracked: how many bodies its moment tracks; 0 where it shows none.
        objects: the engine's indices of the objects that a task added to the scene.
        default: the joints ``[D]`` of the pose that the character is said to have by default, None for zeros.
        bounds: lowest and highest action ``[D]``, None where actions are not bounded.
        varied: numbers of the model, by name, in which environments differ; live, shared by the events.
    """

    engine: Engine
    character: CharacterModel
    library: MotionLibrary | None = None
    num_keys: int = 0
    num_tracked: int = 0
    objects: Sequence[int] = ()
    default: Tensor | None = None
    bounds: tuple[Tensor, Tensor] | None = None
    varied: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def bias(self) -> Tensor:
        """By how much each encoder is off, ``[N, D]`` rad; live."""
        return torch.zeros(self.engine.num_envs, self.character.num_dofs, device=self.engine.device)


class Part:
    """One piece of an environment; every hook is optional. Called in the order of the env's list."""

    obs_size: int = 0
    privileged: bool = False  # what it observes is for the value function alone
    follows_reference: bool = False  # it looks at the reference in every step
    target_steps: Sequence[int] = ()  # control steps ahead of the reference's frames that it looks at
    targets: Sequence[int] = ()  # where these are in ``View.targets``
    imaginable: bool = False  # it remembers, but what it shows of an imagined state is right
    unforeseen: Tensor | None = None  # [N] bool, what it did in the last step was chance, which no state tells
    of_reference: bool = False  # it shows the reference alone, whatever the state

    def start(self, start: ResetState, rows: Rows) -> ResetState:
        """Where the environments of ``rows`` shall start, ``[n, .]``, given where they would without this part."""
        return start

    def reset_objects(self) -> dict[int, ResetState]:
        """Where the scene's other objects go at a reset, ``[N, .]``, by the engine's index."""
        return {}

    def before_physics(self, command: Tensor, time: Tensor) -> None:
        """Note what the coming step will overwrite, or change the ``command`` ``[N, A]``; ``time`` ``[N]`` is s."""

    def restart(self, view: View, rows: Rows) -> None:
        """The environments of ``rows``, shown by ``view``, are in their start state."""

    def update(self, view: View) -> None:
        """Physics has advanced every environment; observations and reward come next and see what this changes."""

    def observe(self, view: View, rows: Rows) -> list[Tensor]:
        """Blocks of the observation ``[n, .]``, ``obs_size`` numbers together."""
        return []

    def publish(self, view: View, rows: Rows) -> None:
        """Write the rows of the tensors in :meth:`info`."""

    def marks(self) -> dict[str, Tensor]:
        """What a viewer marks, by name: places ``[N, 3]`` m, and arrows ``[N, 2, 3]`` m by their two ends."""
        return {}

    def info(self) -> dict[str, Tensor]:
        """Persistent ``[N, .]`` tensors handed to the agent."""
        return {}

    def failure(self, view: View) -> dict[str, Tensor]:
        """Bool ``[N]`` masks by cause that end an episode in failure."""
        return {}

    def margin(self, view: View) -> Tensor | None:
        """How far ``[n]`` a state is from this part's failure, for those who learn through imagined states.

        Differentiable, 0 where it fails and about 1 where that is near no more; None where the state does not tell.
        """
        return None

    def state_dict(self) -> dict[str, Tensor]:
        """What an exact continuation needs of this part, as CPU tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore :meth:`state_dict`, into the same buffers."""
        pass
