"""The pieces an imitation env is made of. A discriminator's history or a task is one more :class:`Part`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import ResetState
from mimickit_hydra.envs import observations, rewards, terminations
from mimickit_hydra.envs.rows import Rows
from mimickit_hydra.envs.state import View
from mimickit_hydra.motion.library import MotionLibrary


class Part:
    """One piece of an environment; every hook is optional. Called in the order of the env's list."""

    obs_size: int = 0

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

    def info(self) -> dict[str, Tensor]:
        """Persistent ``[N, .]`` tensors handed to the agent."""
        return {}

    def failure(self, view: View) -> dict[str, Tensor]:
        """Bool ``[N]`` masks by cause that end an episode in failure."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        pass


class CharacterObs(Part):
    """The character's own state."""

    def __init__(self, num_joints: int, num_dofs: int, num_keys: int, *, global_obs: bool, root_height: bool) -> None:
        self.obs_size = observations.char_obs_size(num_joints, num_dofs, num_keys, root_height)
        self._global_obs = global_obs
        self._root_height = root_height

    def observe(self, view: View, rows: Rows) -> list[Tensor]:
        return observations.char_obs(view.character, local=not self._global_obs, root_height=self._root_height)


class PhaseObs(Part):
    """How far into its clip the reference is."""

    def __init__(self, library: MotionLibrary, num_encodings: int, device: torch.device) -> None:
        self.obs_size = observations.phase_obs_size(num_encodings)
        self._library = library
        self._frequencies = observations.phase_frequencies(num_encodings, device)

    def observe(self, view: View, rows: Rows) -> list[Tensor]:
        return observations.phase_obs(self._library.phase(view.motion_ids, view.motion_time), self._frequencies)


class TargetObs(Part):
    """The reference's next frames."""

    def __init__(self, num_steps: int, num_joints: int, num_keys: int, *, global_obs: bool, root_height: bool) -> None:
        self.obs_size = observations.target_obs_size(num_steps, num_joints, num_keys, root_height)
        self._global_obs = global_obs
        self._root_height = root_height

    def observe(self, view: View, rows: Rows) -> list[Tensor]:
        return observations.target_obs(
            view.character.root_pos, view.targets, global_obs=self._global_obs, root_height=self._root_height
        )


class ImitationReward:
    """DeepMimic's five terms; weights and scales ``[5]`` in the order of ``rewards.TERMS``."""

    def __init__(
        self,
        weights: Sequence[float],
        scales: Sequence[float],
        joint_weights: Tensor,
        dof_weights: Tensor,
        *,
        track_root: bool,
        root_height: bool,
    ) -> None:
        device = joint_weights.device
        self._weights = torch.tensor([float(w) for w in weights], device=device)
        self._scales = torch.tensor([float(s) for s in scales], device=device)
        self._joint_weights = joint_weights
        self._dof_weights = dof_weights
        self._root_axes = torch.tensor([float(track_root), float(track_root), float(root_height)], device=device)
        self._heading_frame = not track_root

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


class Fall(Part):
    """Failure when a body that must not touch the ground does. ``forbidden`` ``[B]`` bool."""

    def __init__(self, forbidden: Tensor) -> None:
        self._forbidden = forbidden

    def failure(self, view: View) -> dict[str, Tensor]:
        return {"fall": terminations.fallen(view.ground_contact_forces, self._forbidden)}


class PoseLost(Part):
    """Failure when the character has left its reference by ``max_dist`` (m)."""

    def __init__(self, max_dist: float, *, track_root: bool, global_obs: bool) -> None:
        self._max_dist = max_dist
        self._track_root = track_root
        self._global_obs = global_obs

    def failure(self, view: View) -> dict[str, Tensor]:
        sim, ref = view.character, view.reference
        assert ref is not None
        lost = terminations.pose_lost(
            sim.body_pos, sim.root_rot, ref.body_pos, ref.root_rot,
            max_dist=self._max_dist, track_root=self._track_root, global_obs=self._global_obs,
        )  # fmt: skip
        return {"pose": lost}
