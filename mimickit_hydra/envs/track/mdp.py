"""Observations, rewards, terminations and metrics of the tracking task, as functions of one moment.

They follow BeyondMimic (Liao et al. 2025, section III) with mjlab 1.6's numbers. A :class:`Moment` may show what an
engine simulates or what a model imagines: every function here is torch, batched over any leading axes ``...``, and has
gradients wherever the task itself has any. ``K`` tracked bodies, ``D`` DoFs; world frame, m, rad, s, quaternions xyzw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from mimickit_hydra.envs.state import lazy
from mimickit_hydra.envs.track.schema import (
    ContactParams,
    EncoderParams,
    ErrorParams,
)
from mimickit_hydra.motion.rotations import (
    about_z,
    exp_map_to_quat,
    heading,
    quat_conj,
    quat_diff,
    quat_mul,
    quat_rotate,
    quat_rotate_inv,
    quat_to_exp_map,
    quat_to_matrix,
)

NEAR = 0.08  # share of a threshold that counts as near it
_FAR = 3.0  # units beyond which a goal is shown as hardly farther
GOAL_UNITS = tuple(unit / _FAR for unit in (3.0, 1.0, 1.0, 1.0, 0.4))  # per m, of two axes, per m/s, per rad/s


@dataclass
class Pose:
    """Root, joints and tracked bodies of characters, simulated, imagined or of a reference."""

    root_pos: Tensor  # [..., 3]
    root_rot: Tensor  # [..., 4]
    root_vel: Tensor  # [..., 3]
    root_ang_vel: Tensor  # [..., 3]
    dof_pos: Tensor  # [..., D]
    dof_vel: Tensor  # [..., D]
    body_pos: Tensor  # [..., K, 3]
    body_rot: Tensor  # [..., K, 4]
    body_vel: Tensor  # [..., K, 3] of the bodies' origins
    body_ang_vel: Tensor  # [..., K, 3]

    @lazy
    def axes(self) -> Tensor:
        """The root's axes in the world, as columns ``[..., 3, 3]``."""
        return quat_to_matrix(self.root_rot)

    @lazy
    def spin(self) -> Tensor:
        """Angular velocity of the root in its own frame ``[..., 3]``."""
        return self.into_root(self.root_ang_vel)

    def into_root(self, v: Tensor) -> Tensor:
        """World vectors ``[..., 3]`` in the frame of the root."""
        return (self.axes * v.unsqueeze(-1)).sum(-2)


@dataclass(frozen=True)
class Facts:
    """What does not change: indices among the tracked bodies, and tensors over the DoFs."""

    anchor: int
    end_effectors: Tensor  # [E] int64
    default: Tensor  # [D] rad, the pose that actions are offsets from
    balls: Tensor  # [3 J] int64, columns of joints with three DoFs
    low: Tensor  # [D] rad, soft limits; infinite without one
    high: Tensor
    imu_pos: Tensor  # [3] m, in the root's frame
    substeps: int = 1  # of a control step
    # [5] of what is seen of a goal's root, in what is near
    goal_units: Tensor = field(default_factory=lambda: torch.tensor(GOAL_UNITS))


class Coming(Protocol):
    """The reference at later steps of ``n`` environments."""

    def joints(self, steps: Tensor) -> Tensor:
        """Joint angles and velocities ``[n, G, 2 D]`` at ``steps [G]`` beyond the present."""

    def roots(self, steps: Tensor) -> Tensor:
        """Of roots in the world, x, y, z of each, ``[n, G, 3, 5]``: position, two axes, velocity, angular velocity."""


@dataclass
class Moment:
    """The state after a step, the reference that the step was to reach, and the one that the next step is to reach."""

    facts: Facts
    robot: Pose
    now: Pose
    ahead: Pose
    action: Tensor  # [..., D] of the step, in units of the action scale
    last_action: Tensor  # [..., D] of the step before
    self_forces: Tensor  # [..., S] N, the strongest contact of the robot with itself, at S times of the step
    encoder_bias: Tensor  # [D] or [..., D] rad, by which joint angles are measured wrong
    aligned_at: tuple[Tensor, Tensor] | None = None  # where the anchor was when ``now`` was aligned; None: where it is
    later: Coming | None = None  # the reference beyond ``now``
    values: dict[Any, Tensor] = field(default_factory=dict)  # what has been computed of it

    def value(self, function: Callable[..., Tensor], params: Any) -> Tensor:
        """``function(self, params)``, computed once."""
        key = (function, params)
        if key not in self.values:
            self.values[key] = function(self, params)
        return self.values[key]

    @property
    def anchor(self) -> tuple[Tensor, Tensor]:
        """Position and rotation of the robot's anchor."""
        return self.robot.body_pos[..., self.facts.anchor, :], self.robot.body_rot[..., self.facts.anchor, :]

    @lazy
    def aligned(self) -> tuple[Tensor, Tensor]:
        """Positions and rotations of the tracked bodies of ``now``, aligned at the robot's anchor."""
        at = self.anchor if self.aligned_at is None else self.aligned_at
        return align(self.now, self.facts.anchor, *at)


# ------------------------------------------------------------------------------------------------------- rotations


def squared_angle(a: Tensor, b: Tensor) -> Tensor:
    """Squared angle ``[...]`` between rotations ``[..., 4]``."""
    return quat_to_exp_map(quat_diff(b, a), least=0.0).square().sum(-1)


def two_columns(q: Tensor) -> Tensor:
    """The first two columns of the rotation matrix, row by row: ``[..., 6]``."""
    x, y, z, w = q.unbind(-1)
    return torch.stack(
        [
            1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w),
            2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z),
            2.0 * (x * z - y * w), 2.0 * (y * z + x * w),
        ],
        dim=-1,
    )  # fmt: skip


def align(pose: Pose, anchor: int, anchor_pos: Tensor, anchor_rot: Tensor) -> tuple[Tensor, Tensor]:
    """The tracked bodies of a reference, put over the ground where the robot's anchor is and turned as it is.

    They keep their height; the turn is the heading of the rotation from the reference's anchor to the robot's.
    """
    pos, rot = pose.body_pos, pose.body_rot
    turn = about_z(heading(quat_diff(rot[..., anchor, :], anchor_rot))).unsqueeze(-2)
    origin = pos[..., anchor : anchor + 1, :]
    place = torch.cat([anchor_pos[..., :2], origin[..., 0, 2:]], dim=-1).unsqueeze(-2)
    return place + quat_rotate(turn, pos - origin), quat_mul(turn.expand_as(rot), rot)


# ----------------------------------------------------------------------------------------------------- observations


def command(moment: Moment, params: Any = None) -> Tensor:
    """Joint angles and velocities of the reference to reach ``[..., 2 D]``."""
    return torch.cat([moment.ahead.dof_pos, moment.ahead.dof_vel], dim=-1)


def motion_anchor_pos_b(moment: Moment, params: Any = None) -> Tensor:
    """The reference's anchor in the frame of the robot's ``[..., 3]``."""
    pos, rot = moment.anchor
    return quat_rotate_inv(rot, moment.ahead.body_pos[..., moment.facts.anchor, :] - pos)


def motion_anchor_ori_b(moment: Moment, params: Any = None) -> Tensor:
    """The rotation from the robot's anchor to the reference's ``[..., 6]``."""
    return two_columns(quat_mul(quat_conj(moment.anchor[1]), moment.ahead.body_rot[..., moment.facts.anchor, :]))


def body_pos(moment: Moment, params: Any = None) -> Tensor:
    """The robot's tracked bodies in the frame of its anchor ``[..., 3 K]``."""
    pos, rot = moment.anchor
    return quat_rotate_inv(rot.unsqueeze(-2), moment.robot.body_pos - pos.unsqueeze(-2)).flatten(-2)


def body_ori(moment: Moment, params: Any = None) -> Tensor:
    """Their rotations relative to the anchor ``[..., 6 K]``."""
    rot = moment.robot.body_rot
    return two_columns(quat_mul(quat_conj(moment.anchor[1]).unsqueeze(-2).expand_as(rot), rot)).flatten(-2)


def base_lin_vel(moment: Moment, params: Any = None) -> Tensor:
    """Velocity of the place of the IMU in the root's frame ``[..., 3]``."""
    robot = moment.robot
    arm = moment.facts.imu_pos.expand_as(robot.root_pos)
    return robot.into_root(robot.root_vel) + torch.linalg.cross(robot.spin, arm)


def base_ang_vel(moment: Moment, params: Any = None) -> Tensor:
    """Angular velocity of the root in its own frame ``[..., 3]``."""
    return moment.robot.spin


def joint_pos(moment: Moment, params: EncoderParams | None = None) -> Tensor:
    """Joint angles beyond the default pose ``[..., D]``, as the encoders measure them or as they are."""
    facts, measured = moment.facts, moment.robot.dof_pos
    if params is not None and params.encoder:
        measured = measured + moment.encoder_bias
    offset = measured - facts.default
    if facts.balls.numel():
        found, rest = (x.index_select(-1, facts.balls).unflatten(-1, (-1, 3)) for x in (measured, facts.default))
        apart = quat_mul(quat_conj(exp_map_to_quat(rest)), exp_map_to_quat(found))
        turned = quat_to_exp_map(apart, least=0.0)
        offset = offset.index_copy(-1, facts.balls, turned.flatten(-2))
    return offset


def joint_vel(moment: Moment, params: Any = None) -> Tensor:
    """Joint velocities ``[..., D]``."""
    return moment.robot.dof_vel


def actions(moment: Moment, params: Any = None) -> Tensor:
    """The last action ``[..., D]``."""
    return moment.action


def root_height(moment: Moment, params: Any = None) -> Tensor:
    """Height of the root over ground ``[..., 1]``."""
    return moment.robot.root_pos[..., 2:]


def projected_gravity(moment: Moment, params: Any = None) -> Tensor:
    """The direction of gravity in the root's frame ``[..., 3]``."""
    return -moment.robot.axes[..., 2, :]


def goal_joints(moment: Moment, steps: Tensor) -> Tensor:
    """Joint angles and velocities of the reference ``steps [G]`` beyond the present ``[n, G 2 D]``."""
    assert moment.later is not None
    return moment.later.joints(steps).flatten(-2)


def goal_roots(moment: Moment, steps: Tensor) -> Tensor:
    """The reference's root ``steps [G]`` beyond the present as the robot's root sees it ``[n, 15 G]``.

    Position, two columns of its rotation, velocity and angular velocity; what is far is shown as hardly farther.
    """
    assert moment.later is not None
    robot, goals = moment.robot, moment.later.roots(steps)
    apart = goals - functional.pad(robot.root_pos.unsqueeze(-1), (0, 4)).unsqueeze(-3)
    seen = (robot.axes.unsqueeze(-3).unsqueeze(-1) * apart.unsqueeze(-2)).sum(-3)  # [n, G, 3, 5]
    scaled = seen * moment.facts.goal_units
    return (_FAR * torch.tanh(scaled)).flatten(-3)


# ---------------------------------------------------------------------------------------------------------- rewards


def _near(squared: Tensor, params: ErrorParams) -> Tensor:
    return torch.exp(-squared / params.std**2)


def _anchors(moment: Moment, name: str) -> tuple[Tensor, Tensor]:
    index = moment.facts.anchor
    return getattr(moment.now, name)[..., index, :], getattr(moment.robot, name)[..., index, :]


def motion_global_root_pos(moment: Moment, params: ErrorParams) -> Tensor:
    """Closeness of the anchor to the reference's, in the world."""
    wanted, found = _anchors(moment, "body_pos")
    return _near((wanted - found).square().sum(-1), params)


def motion_global_root_ori(moment: Moment, params: ErrorParams) -> Tensor:
    """Closeness of its rotation."""
    return _near(squared_angle(*_anchors(moment, "body_rot")), params)


def motion_body_pos(moment: Moment, params: ErrorParams) -> Tensor:
    """Closeness of the tracked bodies to the aligned reference."""
    return _near((moment.aligned[0] - moment.robot.body_pos).square().sum(-1).mean(-1), params)


def motion_body_ori(moment: Moment, params: ErrorParams) -> Tensor:
    """Closeness of their rotations."""
    return _near(squared_angle(moment.aligned[1], moment.robot.body_rot).mean(-1), params)


def motion_body_lin_vel(moment: Moment, params: ErrorParams) -> Tensor:
    """Closeness of their velocities, in the world."""
    return _near((moment.now.body_vel - moment.robot.body_vel).square().sum(-1).mean(-1), params)


def motion_body_ang_vel(moment: Moment, params: ErrorParams) -> Tensor:
    """Closeness of their angular velocities, in the world."""
    return _near((moment.now.body_ang_vel - moment.robot.body_ang_vel).square().sum(-1).mean(-1), params)


def action_rate_l2(moment: Moment, params: Any = None) -> Tensor:
    """Squared change of the action."""
    return (moment.action - moment.last_action).square().sum(-1)


def joint_limit(moment: Moment, params: Any = None) -> Tensor:
    """How far joints are beyond their soft limits, summed."""
    angles, facts = moment.robot.dof_pos, moment.facts
    return ((facts.low - angles).clamp(min=0.0) + (angles - facts.high).clamp(min=0.0)).sum(-1)


def self_collisions(moment: Moment, params: ContactParams) -> Tensor:
    """In how many substeps the robot pushes on itself; where only some of them are seen, these stand for all."""
    seen = moment.self_forces
    return (seen > params.force).to(seen.dtype).sum(-1) * (moment.facts.substeps / seen.shape[-1])


# ----------------------------------------------------------------------------------------------------- terminations


# How far off a state is; the termination of that name is met beyond its threshold.


def anchor_pos(moment: Moment) -> Tensor:
    """The anchor's height is off (m)."""
    wanted, found = _anchors(moment, "body_pos")
    return (wanted[..., 2] - found[..., 2]).abs()


def anchor_ori(moment: Moment) -> Tensor:
    """The anchor's tilt is off: by this much the vertical components of its upward axis differ."""
    wanted, found = (2.0 * q[..., :2].square().sum(-1) for q in _anchors(moment, "body_rot"))
    return (wanted - found).abs()


def ee_body_pos(moment: Moment) -> Tensor:
    """The height of a hand or foot is off (m)."""
    ends = moment.facts.end_effectors
    wanted, found = (x[..., 2].index_select(-1, ends) for x in (moment.aligned[0], moment.robot.body_pos))
    return (wanted - found).abs().amax(-1)


def root_pos(moment: Moment) -> Tensor:
    """The root's height is off (m)."""
    return (moment.now.root_pos[..., 2] - moment.robot.root_pos[..., 2]).abs()


def root_ori(moment: Moment) -> Tensor:
    """The root's tilt is off, as the anchor's."""
    wanted, found = (2.0 * pose.root_rot[..., :2].square().sum(-1) for pose in (moment.now, moment.robot))
    return (wanted - found).abs()


# ---------------------------------------------------------------------------------------------------------- metrics

METRICS = ("anchor_pos", "anchor_rot", "anchor_lin_vel", "anchor_ang_vel", "body_pos", "body_rot", "body_lin_vel",
           "body_ang_vel", "joint_pos", "joint_vel")  # fmt: skip


def metrics(moment: Moment) -> Tensor:
    """Errors ``[..., 10]`` in the order of :data:`METRICS`: m, rad, m/s, rad/s; of joints the norm over all of them."""
    norm = torch.linalg.vector_norm
    robot, now = moment.robot, moment.now
    apart = [norm(wanted - found, dim=-1) for wanted, found in (
        _anchors(moment, "body_pos"), _anchors(moment, "body_vel"), _anchors(moment, "body_ang_vel"),
        (now.dof_pos, robot.dof_pos), (now.dof_vel, robot.dof_vel),
    )]  # fmt: skip
    bodies = [norm(wanted - found, dim=-1).mean(-1) for wanted, found in (
        (moment.aligned[0], robot.body_pos), (now.body_vel, robot.body_vel), (now.body_ang_vel, robot.body_ang_vel),
    )]  # fmt: skip
    turned = squared_angle(*_anchors(moment, "body_rot")).sqrt()
    bodies_turned = squared_angle(moment.aligned[1], robot.body_rot).sqrt().mean(-1)
    return torch.stack(
        [apart[0], turned, apart[1], apart[2], bodies[0], bodies_turned, bodies[1], bodies[2], apart[3], apart[4]], -1
    )
