"""Discriminator observations: a window of ``H`` motion frames, as pure functions of tensors.

A window is made in two steps. ``features`` turns one frame into a row of numbers that does not depend on the rest of
the window, so a history computes and keeps one row a step. ``observe`` joins ``H`` rows, oldest first, into the
observation of the window. Lengths in m, angles in rad; world axes until stated otherwise.
"""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from mimickit_hydra.envs.reference import ReferenceMotion
from mimickit_hydra.envs.state import CharacterState
from mimickit_hydra.motion.rotations import quat_mul, quat_rotate, quat_to_tan_norm

# Frames of forward kinematics in one go: what stays in a processor's cache, or fills a GPU without taking gigabytes.
DEMO_FRAMES_AT_ONCE = {"cpu": 4096, "cuda": 131072}


class DiscObs(abc.ABC):
    """How frames become observations. ``feature_size`` F, ``step_size`` S (one step of an observation)."""

    feature_size: int
    step_size: int

    @abc.abstractmethod
    def features(self, state: CharacterState) -> Tensor:
        """Rows ``[..., F]`` of the frames ``[...]``."""

    @abc.abstractmethod
    def observe(self, features: Tensor) -> Tensor:
        """Windows ``[..., H, F]``, oldest frame first, to observations ``[..., H * S]``, time-major."""


class AMPDiscObs(DiscObs):
    """AMP (Peng et al. 2021, section 6.2), in MimicKit's layout; ASE's and SMP's too.

    A step: root position 3 (2 without ``root_height``), tangent and normal of the root 6 and of every joint 6 J, key
    bodies relative to that step's own root 3 K, linear and angular velocity of the root 3 + 3, DoF velocities D (with
    ``dof_vel``). Positions are relative to the root of the newest step, but heights are heights above the ground; with
    ``heading_frame`` everything is turned by the inverse heading of the newest step. With ``track_root`` positions are
    those of the world.
    """

    def __init__(
        self,
        num_joints: int,
        num_dofs: int,
        num_keys: int,
        *,
        heading_frame: bool,
        track_root: bool = False,
        root_height: bool = True,
        dof_vel: bool = True,
    ) -> None:
        self._heading_frame = heading_frame and not track_root
        self._track_root = track_root
        self._dof_vel = dof_vel
        self._num_vectors = 5 + num_keys  # position, tangent, normal, velocity, angular velocity, key offsets
        self._position_size = 3 if root_height else 2
        self._joint_size = 6 * num_joints
        self.feature_size = 3 * self._num_vectors + self._joint_size + (num_dofs if dof_vel else 0)
        self.step_size = self.feature_size - 3 + self._position_size

    def features(self, state: CharacterState) -> Tensor:
        blocks = [state.root_pos, state.tan_norm[..., 0, :], state.root_vel, state.root_ang_vel]
        blocks += [state.key_offset.flatten(-2), state.tan_norm[..., 1:, :].flatten(-2)]
        if self._dof_vel:
            blocks.append(state.dof_vel)
        return torch.cat(blocks, dim=-1)

    def observe(self, features: Tensor) -> Tensor:
        end = 3 * self._num_vectors
        vectors, joints, dof_vel = torch.split(
            features, [end, self._joint_size, features.shape[-1] - end - self._joint_size], dim=-1
        )
        if not self._track_root:
            vectors = _seen_from_newest(vectors.unflatten(-1, (-1, 3)), self._heading_frame).flatten(-2)
        position, root, velocities, keys = torch.split(vectors, [3, 6, 6, end - 15], dim=-1)
        blocks = [position[..., : self._position_size], root, joints, keys, velocities, dof_vel]
        return torch.cat(blocks, dim=-1).flatten(-2)


def _seen_from_newest(vectors: Tensor, heading_frame: bool) -> Tensor:
    """Vectors ``[..., H, V, 3]`` of which the first is the root position and the second the root's x axis.

    Positions become relative to the newest root over the ground, and everything is turned into its heading frame if
    asked. The heading is read off the x axis, so no quaternion is needed.
    """
    x, y, z = vectors.unbind(-1)
    origin_x, origin_y = x[..., -1:, :1], y[..., -1:, :1]
    x = torch.cat([x[..., :1] - origin_x, x[..., 1:]], dim=-1)
    y = torch.cat([y[..., :1] - origin_y, y[..., 1:]], dim=-1)
    if heading_frame:
        heading = torch.atan2(y[..., -1:, 1:2], x[..., -1:, 1:2])
        cos, sin = heading.cos(), heading.sin()
        x, y = torch.addcmul(cos * x, sin, y), torch.addcmul(cos * y, sin, x, value=-1.0)
    return torch.stack([x, y, z], dim=-1)


class ADDDiscObs(DiscObs):
    """ADD (Zhang et al. 2025) compares character and reference frame by frame, in MimicKit's layout.

    A step: root position 3, tangent and normal of the root 6 and of every joint 6 J, all bodies relative to the root
    3 B, linear and angular velocity of the root 3 + 3, DoF velocities D. With ``heading_frame`` each step is turned by
    its own inverse heading and its root stands at (0, 0, z).
    """

    def __init__(self, num_joints: int, num_dofs: int, num_bodies: int, *, heading_frame: bool) -> None:
        self._heading_frame = heading_frame
        self.step_size = 15 + 6 * num_joints + 3 * num_bodies + num_dofs
        self.feature_size = self.step_size

    def features(self, state: CharacterState) -> Tensor:
        root, position = state.tan_norm[..., 0, :], state.root_pos
        velocities = torch.stack([state.root_vel, state.root_ang_vel], dim=-2)
        vectors = torch.cat([velocities, state.body_pos - state.root_pos.unsqueeze(-2)], dim=-2)
        if self._heading_frame:
            position = torch.cat([torch.zeros_like(position[..., :2]), position[..., 2:]], dim=-1)
            root = quat_to_tan_norm(quat_mul(state.heading_inv, state.root_rot))
            vectors = quat_rotate(state.heading_inv.unsqueeze(-2), vectors)
        joints = state.tan_norm[..., 1:, :].flatten(-2)
        velocities, offsets = vectors[..., :2, :].flatten(-2), vectors[..., 2:, :].flatten(-2)
        return torch.cat([position, root, joints, offsets, velocities, state.dof_vel], dim=-1)

    def observe(self, features: Tensor) -> Tensor:
        return features.flatten(-2)


class DemoSampler:
    """Observations of windows of the reference motion: demonstrations, and the data set of a diffusion prior."""

    def __init__(self, reference: ReferenceMotion, disc_obs: DiscObs, num_steps: int, control_dt: float) -> None:
        """Windows of ``num_steps`` H frames, ``control_dt`` s apart."""
        self._reference = reference
        self._disc_obs = disc_obs
        device = reference.clip_end.device
        self._offsets = torch.arange(1 - num_steps, 1, device=device) * control_dt
        self.obs_size = num_steps * disc_obs.step_size
        self._chunk = max(1, DEMO_FRAMES_AT_ONCE.get(device.type, 4096) // num_steps)

    @torch.no_grad()
    def at(self, motion_ids: Tensor, times: Tensor) -> Tensor:
        """Windows ``[n, H * S]`` of clips ``[n]`` whose newest frame is at ``times`` (s) ``[n]``."""
        windows = times.unsqueeze(-1) + self._offsets
        state = self._reference.at(motion_ids.unsqueeze(-1).expand_as(windows), windows)
        return self._disc_obs.observe(self._disc_obs.features(state))

    @torch.no_grad()
    def draw(self, num: int) -> Tensor:
        """``num`` windows ``[num, H * S]``, their newest frames uniform over the clips, in bounded working memory."""
        library = self._reference.library
        motion_ids = library.sample_motions(num)
        times = library.sample_times(motion_ids)
        if num <= self._chunk:
            return self.at(motion_ids, times)
        out = times.new_empty(num, self.obs_size)
        for start in range(0, num, self._chunk):
            part = slice(start, start + self._chunk)
            out[part] = self.at(motion_ids[part], times[part])
        return out
