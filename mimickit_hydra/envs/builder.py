"""Joins the parts of the envs that imitate: a base for the method, and a task if there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.config.schema import (
    AMPEnvConfig,
    ASEEnvConfig,
    DeepMimicEnvConfig,
    DodgeballEnvConfig,
    LocationEnvConfig,
    SteeringEnvConfig,
    TaskEnvConfig,
)
from mimickit_hydra.engines.interface import Engine
from mimickit_hydra.envs.actions import action_bounds
from mimickit_hydra.envs.checks import body_indices, check_length
from mimickit_hydra.envs.disc_obs import ADDDiscObs, AMPDiscObs, DemoSampler, DiscObs
from mimickit_hydra.envs.errors import EnvError, nearest
from mimickit_hydra.envs.generative import GenerativeStart
from mimickit_hydra.envs.history import History
from mimickit_hydra.envs.imitation import CHARACTER, ImitationEnv
from mimickit_hydra.envs.parts import CharacterObs, Fall, ImitationReward, Part, PhaseObs, PoseLost, TargetObs
from mimickit_hydra.envs.reference import ReferenceMotion
from mimickit_hydra.envs.rewards import TERMS
from mimickit_hydra.envs.scene import first_ball
from mimickit_hydra.envs.starts import DefaultPose, Start, default_pose
from mimickit_hydra.envs.state import View
from mimickit_hydra.envs.tasks.dodgeball import Dodgeball
from mimickit_hydra.envs.tasks.location import Location
from mimickit_hydra.envs.tasks.steering import Steering
from mimickit_hydra.envs.tasks.task import MixedReward, Task
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.library import MotionLibrary

IMITATION = ("deepmimic", "amp", "ase", "add", "smp")
TASKS = ("task_location", "task_steering", "task_dodgeball")
WINDOW_KEYS = (
    "num_disc_obs_steps", "global_obs", "root_height_obs", "enable_tar_obs", "disc_dof_vel_obs", "key_bodies",
)  # fmt: skip
BASES = {**{name: name for name in IMITATION}, "awr": "deepmimic", "lcp": "deepmimic"}  # method: env it is made for


class ImitationBuilder:
    """Builds one env of the names in :data:`IMITATION` and :data:`TASKS`, or ``static_objects``."""

    def __init__(
        self, config: DeepMimicEnvConfig, engine: Engine, character: CharacterModel, library: MotionLibrary, timers: Any
    ) -> None:
        self.config = config
        self.base = _base(config)
        self.engine = engine
        self.character = character
        self.library = library
        self.timers = timers
        self.device = torch.device(engine.device)
        # Only an agent that sees where the reference goes can be asked to be there.
        self.track_root = config.enable_tar_obs and config.global_obs
        self._check()
        keys = body_indices("env.key_bodies", config.key_bodies, character.body_names)
        self.key_bodies = torch.tensor(keys, dtype=torch.int64, device=self.device)

    def build(self) -> ImitationEnv:
        config, engine = self.config, self.engine
        reference = ReferenceMotion(self.library, self.character, self.key_bodies, config.rand_reset)
        task = self._task()
        disc_obs = self._disc_obs()
        parts = [*self._observations(), *([] if task is None else [task])]
        demos = None
        if isinstance(config, AMPEnvConfig) and disc_obs is not None:
            demos = DemoSampler(reference, disc_obs, config.num_disc_obs_steps, engine.control_dt)
            parts += self._histories(config, disc_obs)
        if config.enable_early_termination:
            parts += self._failures()
        return ImitationEnv(
            engine, self.character, reference, self.key_bodies,
            action_bounds(engine.models[CHARACTER], engine.control_mode, config.zero_center_action),
            parts,
            self._reward(task),
            target_steps=list(config.tar_obs_steps) if config.enable_tar_obs else [],
            past_frames=1 if demos is None else config.num_disc_obs_steps,  # type: ignore[attr-defined]
            follow_reference=self._follows(),
            demos=demos,
            window_settings={key: getattr(config, key) for key in WINDOW_KEYS} if demos is not None else None,
            episode_length=config.episode_length,
            clip_end_is_success=self.base in ("deepmimic", "add"),
            log_tracking_error=config.log_tracking_error,
            timers=self.timers,
        )  # fmt: skip

    # ---------------------------------------------------------------------------------------------------------- parts

    def _observations(self) -> list[Part]:
        config, character = self.config, self.character
        joints, keys = character.num_joints, len(config.key_bodies)
        frame = {"global_obs": config.global_obs, "root_height": config.root_height_obs}
        parts: list[Part] = [CharacterObs(joints, character.num_dofs, keys, **frame)]
        if config.enable_phase_obs:
            parts.append(PhaseObs(self.library, config.num_phase_encoding, self.device))
        if config.enable_tar_obs:
            parts.append(TargetObs(len(config.tar_obs_steps), joints, keys, **frame))
        return parts

    def _failures(self) -> list[Part]:
        config, bodies = self.config, self.character.body_names
        parts: list[Part] = []
        if config.contact_bodies:
            forbidden = torch.ones(len(bodies), dtype=torch.bool, device=self.device)
            forbidden[body_indices("env.contact_bodies", config.contact_bodies, bodies)] = False
            parts.append(Fall(forbidden))
        if config.pose_termination:
            parts.append(
                PoseLost(config.pose_termination_dist, track_root=self.track_root, global_obs=config.global_obs)
            )
        return parts

    def _disc_obs(self) -> DiscObs | None:
        config, character = self.config, self.character
        if self.base == "deepmimic" or not isinstance(config, AMPEnvConfig):
            return None
        joints, dofs, local = character.num_joints, character.num_dofs, not config.global_obs
        if self.base == "add":
            return ADDDiscObs(joints, dofs, character.num_bodies, heading_frame=local)
        return AMPDiscObs(
            joints, dofs, len(config.key_bodies), heading_frame=local, track_root=self.track_root,
            root_height=config.root_height_obs, dof_vel=config.disc_dof_vel_obs,
        )  # fmt: skip

    def _histories(self, config: AMPEnvConfig, disc_obs: DiscObs) -> list[Part]:
        num_envs, steps = self.engine.num_envs, config.num_disc_obs_steps
        starts = self._starts(config, disc_obs)
        parts: list[Part] = [*starts, History("disc_obs", disc_obs, steps, num_envs, self.device, starts=starts)]
        if self.base == "add":
            parts.append(History("disc_obs_demo", disc_obs, steps, num_envs, self.device, of_reference=True))
        return parts

    def _starts(self, config: AMPEnvConfig, disc_obs: DiscObs) -> list[Start]:
        num_envs = self.engine.num_envs
        if self.base == "ase" and isinstance(config, ASEEnvConfig | TaskEnvConfig):
            pose = default_pose(config.init_pose, self.character.num_dofs, self.device)
            still = config.default_pose_history
            return [DefaultPose(pose, num_envs, config.default_reset_prob, still_history=still)]
        if self.base == "smp" and isinstance(disc_obs, AMPDiscObs) and config.root_height_obs:
            dt = self.engine.control_dt
            steps = config.num_disc_obs_steps
            return [GenerativeStart(self.character, self.key_bodies, disc_obs, num_envs, steps, dt)]
        return []

    # ------------------------------------------------------------------------------------------------- task and reward

    def _task(self) -> Task | None:
        config, engine = self.config, self.engine
        state = engine.states[CHARACTER]
        if isinstance(config, LocationEnvConfig):
            return Location(config, state, engine.control_dt)
        if isinstance(config, SteeringEnvConfig):
            return Steering(config, state, engine.control_dt)
        if isinstance(config, DodgeballEnvConfig):
            (body,) = body_indices("env.proj_target_body", [config.proj_target_body], self.character.body_names)
            first = first_ball(config)
            balls = list(range(first, first + config.num_projectiles))
            return Dodgeball(config, engine, body, balls, ends_on_hit=config.enable_early_termination)
        return None

    def _reward(self, task: Task | None) -> Callable[[View], Tensor] | None:
        imitation = self._imitation_reward() if self._imitates() else None
        if task is None:
            return imitation
        if imitation is None:
            return task.reward
        config = self.config
        assert isinstance(config, TaskEnvConfig)
        return MixedReward(imitation, task, config.imitation_reward_w, config.task_reward_w)

    def _imitates(self) -> bool:
        """Whether the reward has an imitation part; elsewhere that part comes from the agent."""
        config = self.config
        return self.base == "deepmimic" and not (isinstance(config, TaskEnvConfig) and config.imitation_reward_w == 0.0)

    def _imitation_reward(self) -> ImitationReward:
        config, character = self.config, self.character
        joints = torch.ones(character.num_joints)
        if config.joint_err_w is not None:
            joints = torch.tensor(list(config.joint_err_w))
        widths = torch.as_tensor(character.dof_dim, dtype=torch.int64).cpu()[1:]
        return ImitationReward(
            [getattr(config, f"reward_{term}_w") for term in TERMS],
            [getattr(config, f"reward_{term}_scale") for term in TERMS],
            joints.to(self.device),
            torch.repeat_interleave(joints, widths).to(self.device),
            track_root=self.track_root,
            root_height=config.root_height_obs,
        )

    def _follows(self) -> bool:
        """Whether some part looks at the reference in every step."""
        config = self.config
        lost = config.enable_early_termination and config.pose_termination
        return self.base in ("deepmimic", "add") or config.enable_tar_obs or lost or config.log_tracking_error

    # --------------------------------------------------------------------------------------------------------- checks

    def _check(self) -> None:
        config = self.config
        if config.enable_tar_obs and not config.tar_obs_steps:
            raise EnvError("env.tar_obs_steps: found none, but env.enable_tar_obs asks for at least one")
        if config.joint_err_w is not None:
            joints = self.character.num_joints
            check_length("env.joint_err_w", config.joint_err_w, (joints,), "(one per body without the root)")
        if self.base == "deepmimic":
            if self._imitates():
                self._check_reward()
        elif not isinstance(config, AMPEnvConfig) or config.num_disc_obs_steps < 1:
            raise EnvError(f"env.num_disc_obs_steps: env {config.env_name} needs a number from 1")
        if config.env_name in ("task_location", "task_steering"):
            self._check_free_root()

    def _check_reward(self) -> None:
        if not self.config.key_bodies:
            raise EnvError("env.key_bodies: found none, but the imitation reward compares at least one key body")
        for term in TERMS:
            for kind in ("w", "scale"):
                if not isinstance(getattr(self.config, f"reward_{term}_{kind}"), float | int):
                    raise EnvError(f"env.reward_{term}_{kind}: missing, and the imitation reward needs it")

    def _check_free_root(self) -> None:
        """A task that says where to go leaves no room for a reference that says so too."""
        if self.track_root or (self.base == "add" and self.config.global_obs):
            raise EnvError(
                f"env.env_name={self.config.env_name} decides where the character goes, but with env.global_obs=true "
                f"the base {self.base} asks it to be where the reference is; set env.global_obs=false"
            )


def _base(config: DeepMimicEnvConfig) -> str:
    """Which of :data:`IMITATION` the env is built on."""
    if config.env_name == "static_objects":
        return "deepmimic"
    if not isinstance(config, TaskEnvConfig):
        return config.env_name
    if config.base_env not in BASES:
        hint = nearest(config.base_env, list(BASES))
        raise EnvError(f"env.base_env: found {config.base_env!r}, allowed are {', '.join(BASES)}{hint}")
    return BASES[config.base_env]
