"""SuperMimic: a policy trained by back-propagation through a learned model of the dynamics (Liao et al. 2026).

An iteration collects a few control steps in all environments, fits the world model on windows of logged steps with its
own predictions fed back, and improves the policy along the analytic gradient of the reward over rollouts imagined in
that model, which start at logged states. The env's own terms observe and judge imagined states.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.agents.graph import OwnStep, StagedUpdates
from mimickit_hydra.agents.optimizer import HeadOptimizer
from mimickit_hydra.agents.world_model.fit import (
    CHECK_STEPS,
    FAILURE_WEIGHT,
    compared,
    correlation,
    prediction_errors,
    window_loss,
)
from mimickit_hydra.agents.world_model.imagination import Imagination, engine_state
from mimickit_hydra.agents.world_model.model import WorldModel, error_scales
from mimickit_hydra.agents.world_model.networks import follow
from mimickit_hydra.agents.world_model.optimizer import WorldOptimizer
from mimickit_hydra.agents.world_model.parts import WorldModelActorCritic
from mimickit_hydra.agents.world_model.rollout import (
    Dream,
    changes,
    frozen,
    lambda_targets,
    objective,
    outside,
    windows_of,
)
from mimickit_hydra.agents.world_model.schema import SuperMimicAgentConfig
from mimickit_hydra.agents.world_model.tangent import StateLayout
from mimickit_hydra.agents.world_model.trajectories import Trajectories
from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL
from mimickit_hydra.envs.imitation import CHARACTER, ImitationEnv

FASTEST = 200.0  # m/s or rad/s beyond which the simulator has lost a character
LEAST_STD = 0.02  # of an observation: what hardly varies in the warm-up must not be a hundred units away later
QUIET = 8  # every so many environments collect without noise
CHECK_WINDOWS = 1024  # at most, of a validation


class SuperMimicAgent(Agent):
    """The policy acts on the env's observation alone, as that of any other method.

    Rollout fields besides the base's: ``state``, ``next_state`` [T, N, X], ``command``, ``noise`` [T, N, A],
    ``motion_id``, ``motion_time`` [T, N] before the step; ``valid`` [T, N]: the simulator knew what it did.
    """

    config: SuperMimicAgentConfig  # type: ignore[assignment]
    env: ImitationEnv

    # ------------------------------------------------------------------------------------------------- building

    def _build_learning(self) -> None:
        config, env = self.config, self.env
        self._layout = StateLayout(env.character)
        self._imagination = Imagination(env, self._layout)
        self._pd_targets = env.engine.control_mode in ("pos", "pd_explicit")
        self._fitted = False  # ``model.fitted`` for the host
        self._begun = False  # whether the world model has been warmed up
        super()._build_learning()
        self._held_out = min(config.holdout_envs, env.num_envs // 4)
        self._ring = Trajectories(
            config.buffer_steps,
            env.num_envs,
            {name: (tuple(self.buffer[name].shape[2:]), self.buffer[name].dtype) for name in _LOGGED},
            self.device,
        )
        quiet = torch.arange(env.num_envs, device=self.device) % QUIET == 0
        self._sigma = self._noise_levels(quiet)
        if config.probe_share > 0.0:
            env.send_probes(quiet, config.probe_share, config.probe_lead, self.comm)
        compared_step = compared(self.model.world, error_scales(self._layout))
        self._compared = torch.compile(compared_step, dynamic=False) if config.compile else compared_step
        self._cut = torch.zeros(2, device=self.device)
        model = env.engine.models[CHARACTER]
        damping = torch.as_tensor(model.kd / model.kp.clip(min=1e-6), dtype=torch.float32, device=self.device)
        self._lead = damping.clamp(max=0.5)  # s: a target so far ahead undoes the damping of a PD controller
        rollouts = self._batch_size("actor_batch_size")
        shape = (config.horizon, rollouts)
        self._imagined_obs = torch.zeros(config.horizon + 1, rollouts, env.obs_size, device=self.device)
        self._imagined_reward, self._imagined_alive = (torch.zeros(shape, device=self.device) for _ in range(2))
        self._dream = Dream(
            self._imagination, self.model.world, self.obs_norm, self._command, self.model.reward_scale,
            config.failure_head and not self._imagination.margins, self._cut, config.compile,
        )  # fmt: skip
        self._updates = StagedUpdates(self.device, capture=self.device.type == "cuda")
        self._windows = windows_of(config.first_window, config.window, config.window_iters)
        self._steps: dict[Hashable, OwnStep] = {}
        self._logged = {name: torch.zeros((), device=self.device) for name in self._names()}

    def _build_normalizers(self) -> None:
        self.obs_norm.std_clip = LEAST_STD

    def _build_model(self) -> nn.Module:
        config, env = self.config.model, self.env
        actions = env.action_low.shape[0]
        world = WorldModel(self._layout, actions, config.world_net, env.control_dt, self._pd_targets)
        return WorldModelActorCritic(config, env.obs_size, actions, world)

    def _build_optimizers(self) -> dict[str, HeadOptimizer]:
        config, model = self.config, self.model
        heads = {"world": config.world_optimizer, "policy": config.actor_optimizer, "critic": config.critic_optimizer}
        return {
            name: WorldOptimizer(name, getattr(model, name).parameters(), model.matrices(name), settings, self.comm)
            for name, settings in heads.items()
        }

    def _build_buffer(self) -> None:
        super()._build_buffer()
        actions, size = self.env.action_low.shape[0], self._layout.size
        for name, width in (
            ("state", size), ("next_state", size), ("command", actions), ("before", actions), ("noise", actions),
        ):  # fmt: skip
            self.buffer.add_field(name, width)
        self.buffer.add_field("motion_id", dtype=torch.int64)
        self.buffer.add_field("motion_time")
        for name in ("ended", "failed", "valid"):
            self.buffer.add_field(name, dtype=torch.bool)

    @property
    def model(self) -> WorldModelActorCritic:
        return cast(WorldModelActorCritic, self.net._model)

    @property
    def normalizer_open(self) -> bool:
        """Observations' statistics are those of the warm-up."""
        return self._warming and not self._fitted

    @property
    def exploration_prob(self) -> float:
        return 1.0

    @property
    def _warming(self) -> bool:
        """Whether data is still being collected for the first fit."""
        return self._ring.pushed < min(self.config.warmup_steps, self.config.buffer_steps)

    def _noise_levels(self, quiet: Tensor) -> Tensor:
        """The noise of each environment [N, 1], from 0 to twice the mean, and none in those of ``quiet [N]``."""
        number = torch.arange(len(quiet), device=self.device)
        share = (number * 0.6180339887).frac()  # spread evenly, however many are looked at
        return torch.where(quiet, 0.0, 2.0 * self.config.model.action_std * share).unsqueeze(-1)

    # ----------------------------------------------------------------------------------------------- collecting

    def _begin_rollout(self) -> None:
        self.buffer["noise"].normal_()

    def _graph_key(self) -> tuple[Hashable, ...]:
        return (*super()._graph_key(), self._warming, self._fitted)

    def _decide(self, t: int, norm_obs: Tensor) -> Tensor:
        buffer, env = self.buffer, self.env
        buffer["state"][t].copy_(engine_state(env, self._layout))
        buffer["before"][t].copy_(env.last_command)
        buffer["motion_id"][t].copy_(env.motion_ids)
        buffer["motion_time"][t].copy_(env.motion_time)
        if self._warming and not self._fitted and self._plays_reference:
            action = self._reference_action(env.motion_ids, env.motion_time)
        else:
            action = self.model.policy_average(norm_obs)
        command = self._command(torch.addcmul(action, self._sigma, buffer["noise"][t]))
        return buffer["command"][t].copy_(command)

    def _command(self, action: Tensor) -> Tensor:
        """The env's action of a normalised one, inside its bounds if it has any."""
        command = self.action_norm.unnormalize(action)
        if not self.env.bounded:
            return command
        return torch.minimum(torch.maximum(command, self.env.action_low), self.env.action_high)

    @property
    def _plays_reference(self) -> bool:
        return self.config.follow_reference and self._pd_targets

    def _reference_action(self, motion_ids: Tensor, motion_time: Tensor) -> Tensor:
        """The normalised action that asks for the reference's pose at the end of the coming step."""
        assert self.env.reference is not None
        frame = self.env.reference.library.query(motion_ids, motion_time + self.env.control_dt)
        pose = self.env.character.rot_to_dof(frame.joint_rot)
        return self.action_norm.normalize(torch.addcmul(pose, self._lead, frame.dof_vel))

    def _record_step(self, t: int, info: Mapping[str, Tensor]) -> None:
        buffer, done = self.buffer, self.buffer["done"][t]
        following = engine_state(self.env, self._layout)
        speed = following[:, self._layout.size - self._layout.config_size :]
        lost = ~torch.isfinite(following).all(-1) | (speed.abs().amax(-1) > FASTEST)
        diverged = self.env.latest.diverged if self.env.latest is not None else None
        lost = lost if diverged is None else lost | diverged
        buffer["next_state"][t].copy_(torch.where(lost.unsqueeze(-1), buffer["state"][t], following))
        torch.eq(done, DONE_FAIL, out=buffer["failed"][t])
        torch.ne(done, DONE_NULL, out=buffer["ended"][t])
        for part in self.env.parts:
            lost = lost if part.unforeseen is None else lost | part.unforeseen
        torch.logical_not(lost, out=buffer["valid"][t])

    @torch.no_grad()
    def _build_train_data(self) -> dict[str, Tensor]:
        self._ring.push({name: self.buffer[name] for name in _LOGGED}, self.buffer.steps)
        return {"real_reward": self.buffer["reward"].mean() * self.model.reward_scale}

    # ------------------------------------------------------------------------------------------------- learning

    def _update(self) -> dict[str, Tensor]:
        config = self.config
        policy_loss: Any = self._policy_loss
        if config.use_mixed_precision:
            policy_loss = partial(_in_bfloat16, self._policy_loss, self.device.type)
        if not self._warming:
            self._scale_rates()
            if not self._begun:
                self._begin()
            with self._section("world_model"):
                self._logged.update(self._updates_of("world", self._world_loss, config.world_epochs, self._window()))
            for _ in range(config.actor_epochs):
                with self._section("imagination"):
                    self._logged.update(self._updates_of("policy", policy_loss, 1))
                    follow(self.model.policy_average, self.model.policy, 1.0 - config.policy_average)
                self._logged.update(self._updates_of("critic", self._critic_loss, config.critic_epochs))
                follow(self.model.critic_average, self.model.critic, 1.0 - config.critic_average)
            self._logged["adjoint_cut"] = self._cut[0] / self._cut[1].clamp(min=1.0)
            self._cut.zero_()
            if self._held_out and self.is_output_iteration(self.iteration):
                self._logged.update(self._check())
        return dict(self._logged)

    def _updates_of(self, head: str, loss: Any, times: int, *args: int) -> dict[str, Tensor]:
        """Steps of one head's optimiser, each kind captured once."""
        assert self._updates is not None
        key = (head, *args)
        if key not in self._steps:
            self._steps[key] = OwnStep(self.optimizers[head], lambda: loss(*args))
        return {name: value.clone() for name, value in self._updates.own(self._steps[key], times).items()}

    def _scale_rates(self) -> None:
        config, factor = self.config, 1.0
        if self.samples > config.decay_begin:
            done = (self.samples - config.decay_begin) / max(config.decay_end - config.decay_begin, 1.0)
            factor = 1.0 - (1.0 - config.decay_to) * min(done, 1.0)
        for optimizer in self.optimizers.values():
            cast(WorldOptimizer, optimizer).scale_rate(factor)

    def _window(self) -> int:
        """How many steps the world model is fitted over now."""
        length = [length for begin, length in self._windows if self.iteration >= begin][-1]
        return min(length, self._ring.fill)

    def _begin(self) -> None:
        """Take the statistics of the warm-up's data, begin near the reference's poses, and warm the world model up."""
        if not self._fitted:
            self._update_normalizers()  # of the iteration that ended the warm-up
            self._take_statistics()
            self.model.fitted.fill_(1)
            self._broadcast_state()
            self._fitted = True
        self._begun = True
        length = min(self.config.first_window, self._ring.fill)
        self._updates_of("world", self._world_loss, self.config.world_warmup, length)

    @torch.no_grad()
    def _take_statistics(self) -> None:
        ring, model = self._ring, self.model
        state, command, following, valid = (ring.filled(k) for k in ("state", "command", "next_state", "valid"))
        model.world.take_statistics(state, command, following, valid.to(state.dtype))
        model.reward_scale.copy_(1.0 / ring.filled("reward").max().clamp(min=1e-6))
        if self._plays_reference:
            fields = (ring.filled(name).split(8192) for name in ("state", "before", "motion_id", "motion_time"))
            pairs = [
                (self._observation(*part), self._reference_action(*part[2:])) for part in zip(*fields, strict=True)
            ]
            norm_obs, actions = (torch.cat(column) for column in zip(*pairs, strict=True))
            model.policy.start_from(norm_obs, actions, self._imagination.of_reference)
            model.policy_average.load_state_dict(model.policy.state_dict())

    def _observation(self, state: Tensor, before: Tensor, motion_ids: Tensor, motion_time: Tensor) -> Tensor:
        """The normalised observation [B, O] of states [B, X] that commands [B, A] led to."""
        glimpse = self._imagination.glimpses(motion_ids, motion_time, 1)(0, 1)
        view = self._imagination.view(state, motion_ids, motion_time, glimpse, before, before)
        own, shown = (self._imagination.observe(view, of_reference=kind) for kind in (False, True))
        return self.obs_norm.normalize(self._imagination.joined(own, shown))

    def _world_loss(self, length: int) -> tuple[Tensor, dict[str, Tensor]]:
        index = self._ring.windows(self._batch_size("world_batch_size"), length, 0, self._trained)
        losses = window_loss(self._compared, self._ring, index)
        total = losses["state"] + FAILURE_WEIGHT * losses["failure"]
        return total, {"state_loss": losses["state"], "failure_loss": losses["failure"]}

    @property
    def _trained(self) -> int:
        """How many environments the world model is fitted to."""
        return self.env.num_envs - self._held_out

    def _policy_loss(self) -> tuple[Tensor, dict[str, Tensor]]:
        config, model, ring = self.config, self.model, self._ring
        rollouts = self._batch_size("actor_batch_size")
        index = ring.windows(rollouts, 1, 0, self.env.num_envs)[0]
        state, before, ids, time = (ring.take(name, index) for name in ("state", "before", "motion_id", "motion_time"))
        noise = torch.randn(config.horizon, rollouts, self.env.action_low.shape[0], device=self.device)
        clip = config.adjoint_clip * (1.0 - config.discount) / rollouts
        with frozen(model.world, model.critic_average):
            found = self._dream.roll(model.policy, state, before, ids, time, noise * config.imagined_std, clip)
            value = model.critic_average(found.norm_obs[-1]).squeeze(-1) * float(config.bootstrap)
            gain = objective(found, value, config.discount)
        rate, bound = changes(found.actions), outside(found.means)
        penalty = config.action_rate_weight * rate
        if self.env.bounded:
            penalty = penalty + config.action_bound_weight * bound
        penalty = penalty + config.action_reg_weight * found.means.square().sum(-1).mean()
        horizon = (1.0 - config.discount) * config.horizon  # a penalty is paid at every step, as a reward is
        with torch.no_grad():
            self._imagined_obs.copy_(found.norm_obs)
            self._imagined_reward.copy_(found.rewards)
            self._imagined_alive.copy_(found.alive)
        return horizon * penalty - gain, {
            "imagined_reward": found.rewards.mean(),
            "imagined_alive": found.alive.sum(0).exp().mean(),
            "action_rate": rate,
            "action_bound": bound,
        }

    def _critic_loss(self) -> tuple[Tensor, dict[str, Tensor]]:
        config, model = self.config, self.model
        rollouts = min(self._batch_size("critic_batch_size"), self._imagined_reward.shape[1])
        obs = self._imagined_obs[:, :rollouts]
        with torch.no_grad():
            values = model.critic_average(obs).squeeze(-1)
            target = lambda_targets(
                self._imagined_reward[:, :rollouts], self._imagined_alive[:, :rollouts], values, config.discount,
                config.td_lambda,
            )  # fmt: skip
        value = model.critic(obs[:-1]).squeeze(-1)
        return functional.smooth_l1_loss(value, target, beta=0.1), {"value": value.mean()}

    # ----------------------------------------------------------------------------------------------- validation

    def _names(self) -> list[str]:
        """What is logged besides the environment's numbers, in every iteration."""
        heads = ("world_loss", "state_loss", "failure_loss", "policy_loss", "critic_loss")
        health = ("imagined_reward", "imagined_alive", "action_rate", "action_bound", "value", "adjoint_cut")
        steps = [k for k in CHECK_STEPS if k <= self._check_length and self._held_out]
        checks = [
            f"world_{what}_{kind}_{k}" for k in steps for what in ("root", "joint") for kind in ("error", "ratio")
        ]
        rewards = ["reward_foretold", "reward_logged", "reward_correlation"] if self._held_out else []
        return [*heads, *health, *checks, *rewards]

    @property
    def _check_length(self) -> int:
        return min(max(CHECK_STEPS), self.config.warmup_steps, self.config.buffer_steps)

    @torch.no_grad()
    def _check(self) -> dict[str, Tensor]:
        """How well the world model foretells states and rewards of environments that it was not fitted to."""
        ring, length = self._ring, self._check_length
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            count = min(CHECK_WINDOWS, 16 * self._held_out)
            index = ring.windows(count, length, self._trained, self.env.num_envs)
        found, states, counted = prediction_errors(self.model.world, ring, index)
        ids, time, commands = (
            ring.take("motion_id", index[0]),
            ring.take("motion_time", index[0]),
            ring.take("command", index),
        )
        before = torch.cat([ring.take("before", index[:1]), commands[:-1]])
        rewards = self._dream.rewards(states, commands, before, ids, time)
        share = self.model.reward_scale * counted / counted.sum(0).clamp(min=1.0)  # means over the steps that count
        foretold = (torch.nan_to_num(rewards) * share).sum(0)
        logged = (ring.take("reward", index) * share).sum(0)
        return {
            **found,
            "reward_foretold": foretold.mean(),
            "reward_logged": logged.mean(),
            "reward_correlation": correlation(foretold, logged),
        }

    # -------------------------------------------------------------------------------------------- acting, saving

    def _mode_action(self, norm_obs: Tensor) -> Tensor:
        return self._command(self.model.policy_average(norm_obs))

    def _sample_action(self, norm_obs: Tensor) -> Tensor:
        action = self.model.policy_average(norm_obs)
        return self._command(action + self.config.model.action_std * torch.randn_like(action))

    def load_model_state_dict(self, model: Mapping[str, Tensor], *, alone: bool = False) -> None:
        super().load_model_state_dict(model, alone=alone)
        self._fitted = bool(int(self.model.fitted))

    def _extra_state(self) -> dict[str, Any]:
        return {
            "trajectories": self._ring.state_dict(),
            "begun": self._begun,
            "logged": {name: value.cpu().clone() for name, value in self._logged.items()},
        }

    def _load_extra_state(self, saved: Mapping[str, Any], same_world: bool) -> None:
        if same_world:
            self._ring.load_state_dict(saved["trajectories"], "buffer of trajectories")
            self._begun = bool(saved["begun"])
        self._logged = {name: value.to(self.device) for name, value in saved["logged"].items()}


def _in_bfloat16(loss: Any, device_type: str) -> Any:
    with torch.autocast(device_type, dtype=torch.bfloat16, cache_enabled=False):  # a kept weight would be stale
        return loss()


_LOGGED = ("state", "next_state", "command", "before", "motion_id", "motion_time", "reward", "ended", "failed", "valid")
