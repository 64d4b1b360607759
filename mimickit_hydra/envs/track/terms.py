"""The terms of the tracking task, as :mod:`.mdp` has them, under the names by which configurations take them.

Those that a robot's sensors measure serve any other env as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.parts import World
from mimickit_hydra.envs.rows import Rows
from mimickit_hydra.envs.state import View
from mimickit_hydra.envs.terms import Term
from mimickit_hydra.envs.track import mdp
from mimickit_hydra.envs.track.schema import GoalParams
from mimickit_hydra.motion.rotations import quat_rotate_inv


class TrackedTerm(Term):
    """A function of the moment that an env of tracked bodies shows."""

    _function: Callable[..., Tensor]
    _per_dof, _per_body = 0, 0
    plain: ClassVar[Callable[[Any, View], Tensor] | None] = None  # the same where no bodies are tracked

    def __init__(self, params: Any, world: World) -> None:
        if not world.num_tracked and self.plain is None:
            raise EnvError("term: this env tracks no bodies; use env=tracking")
        self._params, self._world = params, world
        self.size = type(self).size + self._per_dof * world.character.num_dofs + self._per_body * world.num_tracked

    def __call__(self, view: View) -> Tensor:
        if view.moment is None:
            function = type(self).plain
            assert function is not None
            return function(self, view)
        return view.moment.value(type(self)._function, self._params)


class GoalTerm(TrackedTerm):
    """A term that shows the reference at coming steps."""

    def __init__(self, params: GoalParams, world: World) -> None:
        super().__init__(params, world)
        self.size *= len(params.steps)
        self._steps = torch.tensor(params.steps, device=world.engine.device)

    def __call__(self, view: View) -> Tensor:
        assert view.moment is not None
        return type(self)._function(view.moment, self._steps)


class OffTerm(TrackedTerm):
    """A termination: a number is beyond its threshold."""

    def __call__(self, view: View) -> Tensor:
        return self._off(view) > self._params.threshold

    def margin(self, view: View) -> Tensor:
        return (self._params.threshold - self._off(view)) / (mdp.NEAR * self._params.threshold)

    def _off(self, view: View) -> Tensor:
        assert view.moment is not None
        return type(self)._function(view.moment)


def _term(
    function: Callable[..., Tensor], size: int = 0, per_dof: int = 0, per_body: int = 0,
    plain: Callable[[Any, View], Tensor] | None = None, base: type[TrackedTerm] = TrackedTerm,
    of_reference: bool = False,
) -> type[TrackedTerm]:  # fmt: skip
    values = {"_function": staticmethod(function), "size": size, "_per_dof": per_dof, "_per_body": per_body}
    values = {**values, "__doc__": function.__doc__, "plain": plain or base.plain, "of_reference": of_reference}
    return type(function.__name__, (base,), values)


def _plain_lin_vel(term: TrackedTerm, view: View) -> Tensor:
    return quat_rotate_inv(view.character.root_rot, view.character.root_vel)


def _plain_ang_vel(term: TrackedTerm, view: View) -> Tensor:
    return quat_rotate_inv(view.character.root_rot, view.character.root_ang_vel)


def _plain_joint_pos(term: TrackedTerm, view: View) -> Tensor:
    world = term._world
    angles = world.character.rot_to_dof(view.character.joint_rot)
    if term._params is not None and term._params.encoder:
        angles = angles + view.rows.take(world.bias)
    return angles if world.default is None else angles - world.default


class LastAction(TrackedTerm):
    """The last action; outside of tracking in units of the action's half range, 0 after a reset.

    It is counted from the default pose, as angles are: a controller has one such pose.
    """

    def __init__(self, params: Any, world: World) -> None:
        super().__init__(params, world)
        self.imaginable = bool(world.num_tracked)  # there the moment has it
        self._taken = torch.zeros(world.engine.num_envs, self.size, device=world.engine.device)
        low, high = world.bounds or (-torch.ones_like(self._taken[0]), torch.ones_like(self._taken[0]))
        middle = 0.5 * (low + high) if world.default is None else world.default
        self._middle, self._half = (x.to(self._taken.device) for x in (middle, 0.5 * (high - low)))

    def before_physics(self, command: Tensor, time: Tensor) -> None:
        if not self.imaginable:
            torch.sub(command, self._middle, out=self._taken)
            self._taken.div_(self._half)

    def restart(self, view: View, rows: Rows) -> None:
        rows.put(self._taken, torch.zeros_like(rows.take(self._taken)))

    def _plain(self, view: View) -> Tensor:
        return view.rows.take(self._taken)

    plain = _plain

    def state_dict(self) -> dict[str, Tensor]:
        return {"taken": self._taken.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._taken.copy_(state["taken"])


def _plain_gravity(term: TrackedTerm, view: View) -> Tensor:
    down = torch.zeros_like(view.character.root_pos)
    down[..., 2] = -1.0
    return quat_rotate_inv(view.character.root_rot, down)


command = _term(mdp.command, per_dof=2, of_reference=True)
goal_joints = _term(mdp.goal_joints, per_dof=2, base=GoalTerm, of_reference=True)
goal_roots = _term(mdp.goal_roots, 15, base=GoalTerm)
root_height = _term(mdp.root_height, 1)
projected_gravity = _term(mdp.projected_gravity, 3, plain=_plain_gravity)
motion_anchor_pos_b = _term(mdp.motion_anchor_pos_b, 3)
motion_anchor_ori_b = _term(mdp.motion_anchor_ori_b, 6)
body_pos = _term(mdp.body_pos, per_body=3)
body_ori = _term(mdp.body_ori, per_body=6)
base_lin_vel = _term(mdp.base_lin_vel, 3, plain=_plain_lin_vel)
base_ang_vel = _term(mdp.base_ang_vel, 3, plain=_plain_ang_vel)
joint_pos = _term(mdp.joint_pos, per_dof=1, plain=_plain_joint_pos)
joint_vel = _term(mdp.joint_vel, per_dof=1, plain=lambda term, view: view.character.dof_vel)
actions = _term(mdp.actions, per_dof=1, base=LastAction)

motion_global_root_pos = _term(mdp.motion_global_root_pos)
motion_global_root_ori = _term(mdp.motion_global_root_ori)
motion_body_pos = _term(mdp.motion_body_pos)
motion_body_ori = _term(mdp.motion_body_ori)
motion_body_lin_vel = _term(mdp.motion_body_lin_vel)
motion_body_ang_vel = _term(mdp.motion_body_ang_vel)
action_rate_l2 = _term(mdp.action_rate_l2)
joint_limit = _term(mdp.joint_limit)
self_collisions = _term(mdp.self_collisions)

anchor_pos = _term(mdp.anchor_pos, base=OffTerm)
anchor_ori = _term(mdp.anchor_ori, base=OffTerm)
ee_body_pos = _term(mdp.ee_body_pos, base=OffTerm)
root_pos = _term(mdp.root_pos, base=OffTerm)
root_ori = _term(mdp.root_ori, base=OffTerm)
