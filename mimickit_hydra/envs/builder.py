"""Builds the envs that imitate: a base for the method, with a task if there is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimickit_hydra.engines.interface import Engine
from mimickit_hydra.envs.actions import AboutReference, action_bounds
from mimickit_hydra.envs.checks import body_indices
from mimickit_hydra.envs.disc_obs import ADDDiscObs, AMPDiscObs, DemoSampler, DiscObs
from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.generative import GenerativeStart
from mimickit_hydra.envs.history import History
from mimickit_hydra.envs.imitation import CHARACTER, ImitationEnv
from mimickit_hydra.envs.parts import Part, World
from mimickit_hydra.envs.reference import ReferenceMotion
from mimickit_hydra.envs.rewards import TERMS
from mimickit_hydra.envs.sampling import Setting, StartSampler
from mimickit_hydra.envs.sampling_schema import read_sampling
from mimickit_hydra.envs.schema import AMPEnvConfig, ASEEnvConfig, CharEnvConfig, DeepMimicEnvConfig
from mimickit_hydra.envs.starts import DefaultPose, Lift, Start, default_pose
from mimickit_hydra.envs.state import View
from mimickit_hydra.envs.tasks.schema import TaskEnvConfig
from mimickit_hydra.envs.tasks.task import MixedReward, Task
from mimickit_hydra.envs.terms import observed, registered, with_terms
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.library import MotionLibrary
from mimickit_hydra.plugins import ENVS, SAMPLERS

WINDOW_KEYS = (
    "num_disc_obs_steps", "global_obs", "root_height_obs", "enable_tar_obs", "disc_dof_vel_obs", "key_bodies",
)  # fmt: skip


def build_imitation(
    config: DeepMimicEnvConfig, engine: Engine, character: CharacterModel, library: MotionLibrary | None, timers: Any
) -> ImitationEnv:
    """Build an env that imitates a reference motion, with or without a task."""
    return ImitationBuilder(config, engine, character, needed(config, library), timers).build()


def needed(config: CharEnvConfig, library: MotionLibrary | None) -> MotionLibrary:
    """The motion library; EnvError where there is none."""
    if library is None:
        raise EnvError(f"env.motion_file: env {config.env_name} needs a reference motion")
    return library


def seen_by_critic(config: CharEnvConfig, parts: Sequence[Part]) -> Sequence[Part] | None:
    """What the value function sees: everything, or None where that is what the policy sees."""
    return parts if config.critic_observations or not config.state_estimation else None


def make_sampler(config: DeepMimicEnvConfig, setting: Setting) -> StartSampler:
    """Build what draws where training episodes start, ``env.sampling``."""
    sampler: StartSampler = SAMPLERS[config.sampling].load()(read_sampling(config), setting)
    return sampler


class ImitationBuilder:
    """Joins the parts of one env."""

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
        keys = body_indices("env.key_bodies", config.key_bodies, character.body_names)
        self.key_bodies = torch.tensor(keys, dtype=torch.int64, device=self.device)
        self.bounds = action_bounds(engine.models[CHARACTER], engine.control_mode, config.zero_center_action)
        default = default_pose(config.init_pose, character.num_dofs, self.device).dof_pos[0]
        self.world = World(engine, character, library, len(keys), default=default, bounds=self.bounds)

    def build(self) -> ImitationEnv:
        config, engine = self.config, self.engine
        reference = ReferenceMotion(self.library, self.character, self.key_bodies, config.rand_reset)
        task = self._task()
        disc_obs = self._disc_obs()
        parts = [*self._observations(), *([] if task is None else [task])]
        acting = []
        if config.action_about == "reference" and engine.control_mode in ("pos", "pd_explicit"):
            acting.append(AboutReference(self.world, 0.5 * (self.bounds[0] + self.bounds[1])))
        demos = None
        if isinstance(config, AMPEnvConfig) and disc_obs is not None:
            demos = DemoSampler(reference, disc_obs, config.num_disc_obs_steps, engine.control_dt)
            parts += self._histories(config, disc_obs)
        if config.enable_early_termination:
            parts += self._failures()
        parts, reward = with_terms(config, self.world, parts, self._reward(task), acting=acting)
        critic = observed(config, self.world, "critic_observations")
        return ImitationEnv(
            engine, self.character, reference, self.key_bodies,
            self.bounds,
            [*parts, *critic],
            reward,
            critic=seen_by_critic(config, [*parts, *critic]),
            past_frames=1 if demos is None else config.num_disc_obs_steps,  # type: ignore[attr-defined]
            follow_reference=self._follows(),
            sampler=make_sampler(config, Setting(reference, engine.control_dt, self._most_reward())),
            lift=Lift(self.library, self.character) if config.lift_starts else None,
            demos=demos,
            window_settings={key: getattr(config, key) for key in WINDOW_KEYS} if demos is not None else None,
            episode_length=config.episode_length,
            clip_end="success" if self.base in ("deepmimic", "add") else None,
            tests_each_clip=self.base in ("deepmimic", "add") and task is None,
            log_tracking_error=config.log_tracking_error,
            timers=self.timers,
            fuse=config.fuse,
        )  # fmt: skip

    # ---------------------------------------------------------------------------------------------------------- parts

    def _observations(self) -> list[Part]:
        config, world = self.config, self.world
        frame = {"global_obs": config.global_obs, "root_height": config.root_height_obs}
        found: list[Part] = [registered(world, "observations", "character", frame)]
        found[0].privileged = not config.state_estimation
        if config.enable_phase_obs:
            found.append(registered(world, "observations", "phase", {"num_encodings": config.num_phase_encoding}))
        if config.enable_tar_obs:
            found.append(registered(world, "observations", "target", {"steps": config.tar_obs_steps, **frame}))
        return found

    def _failures(self) -> list[Part]:
        config, world, parts = self.config, self.world, list[Part]()
        if config.contact_bodies:
            parts.append(registered(world, "terminations", "fall", {"allowed": config.contact_bodies}))
        if config.pose_termination:
            frame = {"track_root": self.track_root, "global_obs": config.global_obs}
            params = {"max_dist": config.pose_termination_dist, **frame}
            parts.append(registered(world, "terminations", "pose_lost", params, "pose"))
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
        entry = ENVS[self.config.env_name]
        if not entry.facts.get("task"):
            return None
        task: type[Task] = entry.load()
        if task.says_where_to_go:
            self._check_free_root()
        first = 1 + len(self.config.objects)
        own = range(first, first + len(task.scene(self.config, Path)))
        return task.build(self.config, dataclasses.replace(self.world, objects=own))

    def _reward(self, task: Task | None) -> Callable[[View], Tensor] | None:
        imitation = self._imitation_reward() if self.config.imitates else None
        if task is None:
            return imitation
        if imitation is None:
            return task.reward
        config = self.config
        assert isinstance(config, TaskEnvConfig)
        return MixedReward(imitation, task, config.imitation_reward_w, config.task_reward_w)

    def _imitation_reward(self) -> Callable[[View], Tensor]:
        config = self.config
        params = {
            "weights": [getattr(config, f"reward_{term}_w") for term in TERMS],
            "scales": [getattr(config, f"reward_{term}_scale") for term in TERMS],
            "joint_weights": config.joint_err_w,
            "track_root": self.track_root,
            "root_height": config.root_height_obs,
        }
        return registered(self.world, "rewards", "imitation", params)  # type: ignore[no-any-return]

    def _most_reward(self) -> float | None:
        """The largest reward of a step, known where DeepMimic's terms are all there is."""
        config = self.config
        if not config.imitates or config.rewards or isinstance(config, TaskEnvConfig):
            return None
        return sum(getattr(config, f"reward_{term}_w") for term in TERMS)

    def _follows(self) -> bool:
        """Whether reward, histories or what is logged need the reference in every step; parts say so themselves."""
        return self.base in ("deepmimic", "add") or self.config.log_tracking_error

    def _check_free_root(self) -> None:
        """EnvError where both the task and the reference say where the character goes."""
        if self.track_root or (self.base == "add" and self.config.global_obs):
            raise EnvError(
                f"env.env_name={self.config.env_name} decides where the character goes, but with env.global_obs=true "
                f"the base {self.base} asks it to be where the reference is; set env.global_obs=false"
            )


def _base(config: DeepMimicEnvConfig) -> str:
    """The name of the imitation env that the env is built on."""
    if config.env_name == "static_objects":
        return "deepmimic"
    return config.base_env if isinstance(config, TaskEnvConfig) else config.env_name
