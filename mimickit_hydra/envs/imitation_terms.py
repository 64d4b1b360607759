"""The terms that MimicKit's envs are made of; any other env can take them by name."""

from __future__ import annotations

import torch
from torch import Tensor

from mimickit_hydra.envs import observations, rewards, terminations
from mimickit_hydra.envs.checks import body_indices, check_length
from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.parts import World
from mimickit_hydra.envs.state import View
from mimickit_hydra.envs.term_schema import (
    FallParams,
    FrameErrorParams,
    FrameParams,
    ImitationParams,
    JointErrorParams,
    PhaseParams,
    PoseLostParams,
    TargetParams,
)
from mimickit_hydra.envs.terms import Term

NEAR = 0.08  # share of a limit that counts as near it
# Half widths where events ask for noise: height (m), root's rotation, its velocities, joints, theirs, key bodies (m)
NOISE = (0.02, 0.05, 0.5, 0.2, 0.01, 0.5, 0.02)


class CharacterObs(Term):
    """Observation of the character's own state."""

    def __init__(self, params: FrameParams, world: World) -> None:
        body = world.character
        self.size = observations.char_obs_size(body.num_joints, body.num_dofs, world.num_keys, params.root_height)
        self._params = params
        counts = (int(params.root_height), 6, 3, 3, 6 * body.num_joints, body.num_dofs, 3 * world.num_keys)
        self.sensor_noise = torch.cat([torch.full((n,), w) for n, w in zip(counts, NOISE, strict=True)])

    def __call__(self, view: View) -> list[Tensor]:
        params = self._params
        return observations.char_obs(view.character, local=not params.global_obs, root_height=params.root_height)


class PhaseObs(Term):
    """Observation of the phase: how far into its clip the reference is."""

    def __init__(self, params: PhaseParams, world: World) -> None:
        self.size = observations.phase_obs_size(params.num_encodings)
        self._library = world.library
        self._frequencies = observations.phase_frequencies(params.num_encodings, world.engine.device)

    def __call__(self, view: View) -> list[Tensor]:
        assert self._library is not None
        return observations.phase_obs(self._library.phase(view.motion_ids, view.motion_time), self._frequencies)


class TargetObs(Term):
    """Observation of the reference's next frames."""

    def __init__(self, params: TargetParams, world: World) -> None:
        self.target_steps = list(params.steps)
        self.size = observations.target_obs_size(
            len(params.steps), world.character.num_joints, world.num_keys, params.root_height
        )
        self._params = params

    def __call__(self, view: View) -> list[Tensor]:
        params, frames = self._params, [view.targets[i] for i in self.targets]
        return observations.target_obs(
            view.character.root_pos, frames, global_obs=params.global_obs, root_height=params.root_height
        )


class ImitationReward(Term):
    """Reward of DeepMimic: five terms together."""

    def __init__(self, params: ImitationParams, world: World) -> None:
        device, body = torch.device(world.engine.device), world.character
        joints = torch.ones(body.num_joints)
        if params.joint_weights is not None:
            check_length("joint_weights", params.joint_weights, (body.num_joints,), "(one per body without the root)")
            joints = torch.tensor(list(params.joint_weights))
        widths = torch.as_tensor(body.dof_dim, dtype=torch.int64).cpu()[1:]
        self._weights = torch.tensor([float(w) for w in params.weights], device=device)
        self._scales = torch.tensor([float(s) for s in params.scales], device=device)
        self._joint_weights = joints.to(device)
        self._dof_weights = torch.repeat_interleave(joints, widths).to(device)
        track, height = float(params.track_root), float(params.root_height)
        self._root_axes = torch.tensor([track, track, height], device=device)
        self._heading_frame = not params.track_root

    def terms(self, view: View) -> Tensor:
        """The five terms ``[n, 5]`` without weights."""
        assert view.reference is not None
        errors = rewards.imitation_errors(
            view.character, view.reference, joint_weights=self._joint_weights, dof_weights=self._dof_weights,
            root_axes=self._root_axes, heading_frame=self._heading_frame,
        )  # fmt: skip
        return rewards.reward_terms(errors, self._scales)

    def __call__(self, view: View) -> Tensor:
        return rewards.weighted_reward(self.terms(view), self._weights)

    def parts(self, view: View, everyone: bool) -> dict[str, Tensor]:
        """What each of the five gives, ``[n]`` by name."""
        return dict(zip(rewards.TERMS, (self._weights * self.terms(view)).unbind(-1), strict=True))


class OneOfFive(ImitationReward):
    """Reward by one of DeepMimic's five terms alone."""

    which = ""

    def __init__(self, params: JointErrorParams | FrameErrorParams, world: World) -> None:
        values = dict(vars(params))
        super().__init__(ImitationParams(scales=[values.pop("scale")] * len(rewards.TERMS), **values), world)
        self._column = rewards.TERMS.index(self.which)

    def __call__(self, view: View) -> Tensor:
        return self.terms(view)[..., self._column]


class Pose(OneOfFive):
    """Reward for the rotations of the joints."""

    which = "pose"


class Velocity(OneOfFive):
    """Reward for the velocities of the DoFs."""

    which = "vel"


class RootPose(OneOfFive):
    """Reward for the position and rotation of the root."""

    which = "root_pose"


class RootVelocity(OneOfFive):
    """Reward for the linear and angular velocity of the root."""

    which = "root_vel"


class KeyPositions(OneOfFive):
    """Reward for the positions of the key bodies relative to the root."""

    which = "key_pos"

    def __init__(self, params: FrameErrorParams, world: World) -> None:
        super().__init__(params, world)
        if world.num_keys == 0:
            raise EnvError("weight: env.key_bodies names no body to compare")


class Fall(Term):
    """Termination when the ground pushes on a body that must not touch it."""

    def __init__(self, params: FallParams, world: World) -> None:
        bodies = world.character.body_names
        self._forbidden = torch.ones(len(bodies), dtype=torch.bool, device=world.engine.device)
        self._forbidden[body_indices("allowed", params.allowed, bodies)] = False

    def __call__(self, view: View) -> Tensor:
        return terminations.fallen(view.ground_contact_forces, self._forbidden)


class PoseLost(Term):
    """Termination when the character has left its reference."""

    def __init__(self, params: PoseLostParams, world: World) -> None:
        self._params = params

    def __call__(self, view: View) -> Tensor:
        sim, ref, params = view.character, view.reference, self._params
        assert ref is not None
        return terminations.pose_lost(
            sim.body_pos, sim.root_rot, ref.body_pos, ref.root_rot,
            max_dist=params.max_dist, track_root=params.track_root, global_obs=params.global_obs,
        )  # fmt: skip

    def margin(self, view: View) -> Tensor:
        sim, ref, params = view.character, view.reference, self._params
        assert ref is not None
        squared = terminations.furthest_squared(
            sim.body_pos, sim.root_rot, ref.body_pos, ref.root_rot,
            track_root=params.track_root, global_obs=params.global_obs,
        )  # fmt: skip
        return (params.max_dist - (squared + 1e-12).sqrt()) / (NEAR * params.max_dist)
