"""The agent that every method extends: rollout, targets, update and statistics of one training iteration."""

from __future__ import annotations

import abc
import contextlib
import copy
import math
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mimickit_hydra.agents import metrics, state
from mimickit_hydra.agents.buffer import Minibatches, RolloutBuffer, orders_of
from mimickit_hydra.agents.evaluation import ShouldStop, TestCallback, no_test, run_test
from mimickit_hydra.agents.graph import LossFunction, StagedRollout, StagedUpdates, in_mixed_precision
from mimickit_hydra.agents.metrics import MetricMeans
from mimickit_hydra.agents.normalizers import ActionNormalizer, ObsNormalizer
from mimickit_hydra.agents.optimizer import HeadOptimizer
from mimickit_hydra.agents.returns import ReturnTracker, mean_episode
from mimickit_hydra.agents.schema import AgentConfig
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.done import DONE_NULL
from mimickit_hydra.envs.env import Env
from mimickit_hydra.timers import Timers

OBS_CLIP = 10.0


class Agent(abc.ABC):
    """Owns the policy, its statistics and its optimisers, and drives one batch of environments.

    ``net`` holds everything that a ``model.pt`` holds, under the same names. Sampling, statistics and metrics stay on
    the device; the host reads one vector an iteration.
    """

    def __init__(
        self,
        config: AgentConfig,
        env: Env,
        device: torch.device | str,
        comm: Comm | None = None,
        timers: Timers | None = None,
        update_threads: int = 1,
    ) -> None:
        self.config = config
        self.env = env
        self.device = torch.device(device)
        self.comm = comm or Comm()
        self.timers = timers
        self.update_threads = update_threads
        self.iteration = 0
        self.samples = 0  # over all processes
        self._started = False
        self._untimed = contextlib.nullcontext()
        self.net = nn.Module()
        self._build_learning()

    def _build_learning(self) -> None:
        """Networks, optimisers, buffers, and what runs the steps."""
        config, env = self.config, self.env
        self._build_networks()
        self.net.to(self.device)
        self.optimizers = self._build_optimizers()
        self._broadcast_state()
        self.buffer = RolloutBuffer(config.steps_per_iter, env.num_envs, self.device)
        self._build_buffer()
        self._minibatches = Minibatches()
        self._train_returns = ReturnTracker(env.num_envs, self.device)
        self._samples_per_iter = self._global_samples_per_iter()
        on_cuda = self.device.type == "cuda"
        self._staged = StagedRollout(self, capture=True) if on_cuda else None
        self._updates = StagedUpdates(self.device, capture=True) if on_cuda else None

    @abc.abstractmethod
    def _build_model(self) -> nn.Module:
        """The networks, registered in the order of a checkpoint."""

    @abc.abstractmethod
    def _build_optimizers(self) -> dict[str, HeadOptimizer]:
        """The optimiser of each head, by name; ``net`` is on its device."""

    @abc.abstractmethod
    def _decide(self, t: int, norm_obs: Tensor) -> Tensor:
        """The environment action [N, A] of rollout row ``t``; stores what the update needs in the buffer."""

    @abc.abstractmethod
    def _mode_action(self, norm_obs: Tensor) -> Tensor:
        """The most likely environment action [N, A]."""

    @abc.abstractmethod
    def _build_train_data(self) -> dict[str, Tensor]:
        """Rewards, targets and weights of the finished rollout; returns scalars to log."""

    @abc.abstractmethod
    def _update(self) -> dict[str, Tensor]:
        """All gradient steps of an iteration; returns scalars to log."""

    def _build_networks(self) -> None:
        self.net._obs_norm = ObsNormalizer(self.env.obs_size, clip=OBS_CLIP)
        self.net._a_norm = ActionNormalizer(self.env.action_low.cpu(), self.env.action_high.cpu())
        self._build_normalizers()
        self.net._model = self._build_model()

    def _build_normalizers(self) -> None:  # noqa: B027
        """Add a method's further statistics as children of ``net``, named as in a checkpoint."""

    def _build_buffer(self) -> None:
        size = self.env.obs_size
        self.buffer.add_field("obs", size)  # raw, for the statistics
        self.buffer.add_field("norm_obs", size, extra_rows=1)  # what the policy saw; the last row follows the rollout
        self.buffer.add_field("final_obs", size)  # raw, after the step and before any reset
        self.buffer.add_field("reward")
        self.buffer.add_field("done", dtype=torch.int32)

    def _begin_rollout(self) -> None:  # noqa: B027
        """Called once before the first step of an iteration."""

    def _record_step(self, t: int, info: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Called after each step and before the resets, to copy further outputs of the environment."""

    def _update_statistics(self) -> None:
        """Called once an iteration, after its gradient steps."""
        if self.normalizer_open:
            self._update_normalizers()

    def _update_normalizers(self) -> None:
        """Update the statistics with this iteration's samples; called while they are still being learned."""
        self.obs_norm.record(self.buffer["obs"])
        self.obs_norm.update(self.comm)

    @property
    def obs_norm(self) -> ObsNormalizer:
        norm = self.net._obs_norm
        assert isinstance(norm, ObsNormalizer)
        return norm

    @property
    def action_norm(self) -> ActionNormalizer:
        norm = self.net._a_norm
        assert isinstance(norm, ActionNormalizer)
        return norm

    @property
    def normalizer_open(self) -> bool:
        """Whether statistics are still being learned (decided by the samples before the iteration)."""
        return self.samples < self.config.normalizer_samples

    @property
    def exploration_prob(self) -> float:
        """Probability that an environment's action is sampled rather than the mode."""
        config = self.config
        if not math.isfinite(config.exp_anneal_samples):
            return config.exp_prob_beg
        blend = min(max(self.samples / max(config.exp_anneal_samples, 1.0), 0.0), 1.0)
        return (1.0 - blend) * config.exp_prob_beg + blend * config.exp_prob_end

    def is_output_iteration(self, iteration: int) -> bool:
        """Whether iteration number ``iteration`` (from 0) is one that is tested, logged and saved."""
        return iteration % max(self.config.iters_per_output, 1) == 0

    def train_iteration(self) -> dict[str, float]:
        """One rollout of ``steps_per_iter`` steps and its update; returns the log row (means over processes).

        ``Train_*`` are means over the episodes that ended since the last output iteration. ``Iteration`` counts from
        0; afterwards ``self.iteration`` is the number of finished iterations.
        """
        self._start()
        if self.iteration > 0 and self.is_output_iteration(self.iteration - 1):
            self._train_returns.reset_statistics()
        exploration = self.exploration_prob
        self._rollout()
        self._use_threads(self.update_threads)
        with self._section("update"):
            self._train_returns.add(self.buffer["reward"], self.buffer["done"])
            data = self._build_train_data()
            losses = self._update()
            self._update_statistics()
            self.samples += self._samples_per_iter
            row = self._row({**losses, **data, **self.env.iteration_over(self.comm)}, exploration)
        self._use_threads(1)
        self.iteration += 1
        return row

    def _start(self) -> None:
        if not self._started:
            self.env.set_mode(False)
            self.env.reset()
            self._started = True

    @torch.no_grad()
    def _rollout(self) -> None:
        self._use_threads(1)
        with self._section("policy"):
            self._begin_rollout()
        step = self._rollout_step if self._staged is None else self._staged.step
        for t in range(self.buffer.steps):
            step(t)
        with self._section("policy"):
            self.obs_norm.normalize(self.env.obs, out=self.buffer["norm_obs"][self.buffer.steps])

    def _rollout_step(self, t: int) -> None:
        """Row ``t``: decide, step, record, reset. On CUDA this is captured, see :mod:`mimickit_hydra.agents.graph`."""
        buffer, env = self.buffer, self.env
        with self._section("policy"):
            if self.normalizer_open:
                buffer["obs"][t].copy_(env.obs)
            action = self._decide(t, self.obs_norm.normalize(env.obs, out=buffer["norm_obs"][t]))
        next_obs, reward, done, info = env.step(action)
        with self._section("policy"):
            buffer["final_obs"][t].copy_(next_obs)
            buffer["reward"][t].copy_(reward)
            buffer["done"][t].copy_(done)
            self._record_step(t, info)
            ended = buffer["done"][t] != DONE_NULL
        env.reset(ended)

    def _graph_key(self) -> tuple[Hashable, ...]:
        """Python values that decide what a rollout step does: each combination is captured once."""
        return (self.normalizer_open, *self.env.graph_key())

    def _run_updates(
        self,
        head: str,
        loss_function: LossFunction,
        fields: Mapping[str, Tensor],
        epochs: int,
        batch: int,
        indices: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Step ``head``'s optimiser over minibatches of ``fields`` [S, ...]; returns the mean of each logged scalar.

        On CUDA a step is captured, see :mod:`mimickit_hydra.agents.graph`: ``fields`` must be tensors that stay.
        """
        optimizer = self.optimizers[head]
        if self.config.use_mixed_precision:
            loss_function = in_mixed_precision(loss_function, self.device.type)
        if self._updates is not None:
            orders = orders_of(fields, batch, epochs, indices)
            return self._updates.run(optimizer, loss_function, fields, batch, orders)
        means = MetricMeans()
        for minibatch in self._minibatches.iterate(fields, batch, epochs, indices):
            loss, parts = loss_function(minibatch)
            optimizer.step(loss)
            means.add({f"{head}_loss": loss, **parts})
        return means.means()

    def _batch_size(self, key: str) -> int:
        """Samples of one minibatch, for a multiple of the number of environments."""
        return math.ceil(getattr(self.config, key) * self.env.num_envs)

    def _row(self, scalars: dict[str, Tensor], exploration: float) -> dict[str, float]:
        scalars["obs_norm_mean"] = self.obs_norm.mean.abs().mean()
        scalars["obs_norm_std"] = self.obs_norm.std.mean()
        means, sums = metrics.read(scalars, self._train_returns.sums, self.comm)
        train_return, train_length, episodes = mean_episode(sums)
        return {
            "Iteration": self.iteration,
            "Samples": self.samples,
            "Train_Return": train_return,
            "Train_Episode_Length": train_length,
            "Train_Episodes": episodes,
            **means,
            "Exp_Prob": exploration,
        }

    @torch.no_grad()
    def act(self, obs: Tensor, deterministic: bool = True) -> Tensor:
        """Environment actions [N, A] for raw observations [N, O]; sampled unless ``deterministic``."""
        norm_obs = self.obs_norm.normalize(obs)
        return self._mode_action(norm_obs) if deterministic else self._sample_action(norm_obs)

    @property
    def policy_inputs(self) -> dict[str, int]:
        """The inputs of :meth:`policy` besides the observation, by name with their widths."""
        return {}

    def policy(self, norm_obs: Tensor, *more: Tensor) -> Tensor:
        """The most likely environment action [1, A], a function of the inputs alone, to be taken out of training."""
        return self._mode_action(norm_obs)

    @abc.abstractmethod
    def _sample_action(self, norm_obs: Tensor) -> Tensor:
        """A random environment action [N, A] outside of training."""

    def test(
        self, episodes: int, callback: TestCallback | None = None, should_stop: ShouldStop | None = None
    ) -> dict[str, float]:
        """Return of the deterministic policy, see :func:`evaluation.run_test`.

        Environments, trackers and torch's random state are left as they were found, so that a run with tests and one
        without are the same run.
        """
        if episodes <= 0:
            return no_test()
        self._start()
        self._use_threads(1)
        with self._section("test"):
            return run_test(self.env, self.act, self.comm, self.device, episodes, callback, should_stop)

    def untrained(self, config: AgentConfig) -> nn.Module:
        """Networks and statistics as they begin with ``config``, from the same random numbers whatever it is."""
        twin = copy.copy(self)
        twin.config, twin.net = config, nn.Module()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            twin._build_networks()
        return twin.net.cpu()

    def model_state_dict(self) -> dict[str, Tensor]:
        """Weights and normaliser statistics under the names of MimicKit's ``model.pt``, as copies on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.net.state_dict().items()}

    def load_model_state_dict(self, model: Mapping[str, Tensor], *, alone: bool = False) -> None:
        """Take weights and statistics; UserError for a name or shape that does not fit. Counters are not touched.

        All processes take those of rank 0, unless this one is ``alone``: the others are not waited for.
        """
        state.check_names_and_shapes(model, self.net.state_dict())
        state.check_constants(model, self.net)
        self.net.load_state_dict(dict(model))
        if not alone:
            self._broadcast_state()

    def state_dict(self) -> dict[str, Any]:
        """All that an exact continuation needs beside the environment's state and the random generators' state.

        Tensors and plain Python values only: ``torch.load(weights_only=True)`` reads it.
        """
        return {
            "agent_name": self.config.agent_name,
            "iteration": self.iteration,
            "samples": self.samples,
            "started": self._started,
            "model": self.model_state_dict(),
            "normalizers": {name: norm.exact_state() for name, norm in self._normalizers().items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "train_returns": self._train_returns.state_dict(),
            "obs": self.env.obs.clone(),
            "extra": self._extra_state(),
        }

    def load_state_dict(self, saved: Mapping[str, Any], *, same_world: bool = True) -> None:
        """Continue from :meth:`state_dict`. Learning rates and loss weights stay those of the config.

        ``same_world``: the env and its clips are those of then. Otherwise what was drawn from them is drawn anew, and
        new episodes begin.
        """
        state.check_agent(saved, self.config.agent_name, tuple(self.env.obs.shape))
        self.load_model_state_dict(saved["model"])
        for name, norm in self._normalizers().items():
            norm.load_exact_state(saved["normalizers"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(saved["optimizers"][name])
        if self._updates is not None:
            self._updates.forget()
        self._train_returns.load_state_dict(saved["train_returns"])
        self.env.obs.copy_(saved["obs"])
        self._load_extra_state(saved["extra"], same_world)
        self.iteration = int(saved["iteration"])
        self.samples = int(saved["samples"])
        self._started = bool(saved["started"]) and same_world

    def _extra_state(self) -> dict[str, Any]:
        """What a method has to remember besides: replay buffers, latents."""
        return {}

    def _load_extra_state(self, saved: Mapping[str, Any], same_world: bool) -> None:  # noqa: B027
        """Put back what :meth:`_extra_state` gave."""

    def _normalizers(self) -> dict[str, Any]:
        return {name: child for name, child in self.net.named_children() if hasattr(child, "exact_state")}

    def check_finite(self, info: Mapping[str, float | Tensor]) -> str | None:
        """None if every number of a log row is finite, otherwise where the first bad ones are, for people to read."""
        bad = [key for key, value in info.items() if not math.isfinite(float(value))]
        if not bad:
            return None
        fields = ("final_obs", "reward", "norm_obs", "action", "disc_obs")
        places = state.non_finite_places(self.buffer, self.net, fields)
        return f"{', '.join(bad)} (non-finite in {', '.join(places)})" if places else ", ".join(bad)

    def _section(self, name: str) -> contextlib.AbstractContextManager[None]:
        return self._untimed if self.timers is None else self.timers.section(name)

    def _use_threads(self, count: int) -> None:
        """Set the number of torch threads: one in a rollout, where the physics wants the cores."""
        if self.device.type == "cpu" and torch.get_num_threads() != count:
            torch.set_num_threads(count)

    def _broadcast_state(self) -> None:
        """Give every process rank 0's weights and statistics, the untrained ones included."""
        if self.comm.world_size > 1:
            for tensor in self.net.state_dict().values():
                self.comm.broadcast_(tensor)
            for module in self.net.modules():
                if isinstance(module, ObsNormalizer):
                    module.rebuild()

    def _global_samples_per_iter(self) -> int:
        count = torch.tensor([self.buffer.num_samples], dtype=torch.int64, device=self.device)
        return int(self.comm.all_reduce_sum_(count))
