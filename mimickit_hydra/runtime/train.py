"""The training loop of one process: iterate, test, log, save, and stop when asked."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.agents.comm import Comm
from mimickit_hydra.config.errors import UserError
from mimickit_hydra.envs.env import Env
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.runtime.loggers import LoggerGroup
from mimickit_hydra.runtime.pose_error import PoseError
from mimickit_hydra.runtime.progress import Progress
from mimickit_hydra.runtime.rng import rng_state, set_rng_state
from mimickit_hydra.runtime.saver import CheckpointSaver
from mimickit_hydra.runtime.signals import StopSignal
from mimickit_hydra.runtime.state_file import StateReporter
from mimickit_hydra.runtime.timers import Timers


@dataclass(frozen=True)
class TrainSettings:
    """When to stop, how often to look, what to keep."""

    run_dir: Path
    max_samples: float
    max_minutes: float
    iters_per_output: int
    test_episodes: int
    save_int_models: bool
    config_yaml: str


@dataclass
class TrainState:
    """What the loop itself has to remember across a resume."""

    wall_time: float = 0.0  # s spent training in earlier processes of this run
    best_return: float = -math.inf
    test_row: dict[str, float] = field(default_factory=dict)
    pending_row: dict[str, float] | None = None  # of the last iteration, whose test and log line are still owed


def is_signal(end_reason: str | None) -> bool:
    """Whether a signal ended the loop, not a budget."""
    return end_reason not in (None, "max_samples", "max_minutes")


class Trainer:
    """Runs :meth:`Agent.train_iteration` until a budget is spent or a signal comes. One instance per process."""

    def __init__(
        self,
        agent: Agent,
        env: Env,
        comm: Comm,
        timers: Timers,
        settings: TrainSettings,
        stop: StopSignal,
    ) -> None:
        self.agent = agent
        self.env = env
        self.comm = comm
        self.timers = timers
        self.settings = settings
        self.stop = stop
        self.logger: LoggerGroup | None = None
        self.progress: Progress | None = None
        self.state_reporter: StateReporter | None = None
        self.state = TrainState()
        self.saver = CheckpointSaver(settings.run_dir, comm)
        self._seconds: dict[str, float] = {}  # per section since the last output
        self._restored = False

    # ------------------------------------------------------------------------------------------------------------ loop

    def run(
        self,
        logger: LoggerGroup | None = None,
        progress: Progress | None = None,
        state_reporter: StateReporter | None = None,
    ) -> str:
        """Train and return why the loop ended: ``max_samples``, ``max_minutes`` or a signal's name."""
        self.logger, self.progress, self.state_reporter = logger, progress, state_reporter
        with self.saver:
            return self._loop()

    def _loop(self) -> str:
        start = time.monotonic() - self.state.wall_time
        end_reason = self._resume() if self._restored else None
        while end_reason is None:
            row = self._iterate()
            self.saver.check()
            self.state.wall_time = time.monotonic() - start
            end_reason = self._end_reason()
            due = self._is_output_iteration() or self._budget_spent()
            if is_signal(end_reason):
                self._stop_here(row, due)
            elif due or end_reason is not None:
                end_reason = self._output(row, end_reason)
            else:
                self._report({**row, **self.state.test_row}, output=False)
        return end_reason

    def _resume(self) -> str | None:
        """Pay the output that a signal cut short; returns why to end at once, if the budget is spent already."""
        end_reason = self._end_reason()
        if self.state.pending_row is not None and not is_signal(end_reason):
            return self._output(self.state.pending_row, end_reason)
        return end_reason

    def _output(self, row: dict[str, float], end_reason: str | None) -> str | None:
        """Test, log and save; returns why to end. A signal ends the test early, and the next start repeats it."""
        with self.timers.section("test"):
            result = self._test()
        reason = self._end_reason()  # anew: all processes have to agree whether the test was cut short
        if is_signal(reason):
            self._stop_here(row, due=True)
            return reason
        self.state.pending_row = None
        self.state.test_row = {key: float(value) for key, value in result.items()}
        row = {**row, **self.state.test_row}
        self._report(row, output=True)
        # A reward that the agent makes moves with its adversary: without another one, the newest policy is the best.
        self._save(row.get("Test_Return") if self.env.has_reward else None)
        return end_reason

    def _test(self) -> dict[str, float]:
        compared = PoseError(self.env) if isinstance(self.env, ImitationEnv) and self.env.has_goal_pose else None
        result = self.agent.test(
            self.settings.test_episodes,
            callback=None if compared is None else lambda _step, _obs, _action, _reward, done: compared.record(done),
            should_stop=lambda: self.stop.requested,
        )
        return result if compared is None else {**result, "Dtw_Pose_Err": compared.result()}

    def _stop_here(self, row: dict[str, float], due: bool) -> None:
        """A signal leaves no time for a test: keep the row, so that the next start goes on exactly here."""
        self.state.pending_row = dict(row) if due else None
        self._report({**row, **self.state.test_row}, output=False)
        self._save(None, wait=True)

    def _iterate(self) -> dict[str, float]:
        began = time.monotonic()
        before = self.agent.samples
        row = {key: float(value) for key, value in self.agent.train_iteration().items()}
        where = self.agent.check_finite(row)
        if where is not None:
            raise UserError(self._dump_non_finite(where))
        elapsed = time.monotonic() - began
        row["Wall_Time"] = self.state.wall_time / 3600.0
        row["Samples_Per_Second"] = (self.agent.samples - before) / max(elapsed, 1e-9)
        return row

    def _is_output_iteration(self) -> bool:
        return (self.agent.iteration - 1) % self.settings.iters_per_output == 0

    def _budget_spent(self) -> bool:
        return self.agent.samples >= self.settings.max_samples

    def _end_reason(self) -> str | None:
        """Why to stop now, or None. All processes agree: the root's clock and any process's signal count."""
        flags = torch.tensor(
            [float(self.stop.requested), float(self.state.wall_time >= 60.0 * self.settings.max_minutes)],
            device=self.agent.device if self.comm.world_size > 1 else "cpu",
        )
        if self.comm.world_size > 1:
            self.comm.all_reduce_sum_(flags)
        signalled, late = (bool(flag) for flag in flags.tolist())
        if signalled:
            return self.stop.name or "signal"
        if self._budget_spent():
            return "max_samples"
        return "max_minutes" if late else None

    # --------------------------------------------------------------------------------------------------- logs and files

    def _report(self, row: Mapping[str, float], output: bool) -> None:
        if not self.comm.is_root:
            return
        if output:
            for line in self._engine_warnings():
                print(f"warning: {line}", file=sys.stderr, flush=True)
        for name, seconds in self.timers.snapshot_and_reset().items():
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        if self.progress is not None:
            self.progress.update(row, self._seconds, row["Samples_Per_Second"], self._eta(), output=output)
        if self.state_reporter is not None:
            self.state_reporter.progress(self.agent.samples, row["Samples_Per_Second"], self._eta())
        if output:
            self._seconds.clear()
        if output and self.logger is not None:
            self.logger.write(dict(row), step=self.agent.samples)

    def _engine_warnings(self) -> list[str]:
        engine = getattr(self.env, "engine", None)
        return [] if engine is None else list(engine.warnings())

    def _eta(self) -> float:
        """Seconds left until the nearer of the two budgets; infinite when there is none."""
        done, spent = self.agent.samples, max(self.state.wall_time, 1e-9)
        by_samples = (self.settings.max_samples - done) * spent / max(done, 1)
        by_clock = 60.0 * self.settings.max_minutes - spent
        return max(0.0, min(by_samples, by_clock))

    def _save(self, metric: float | None, *, wait: bool = False) -> None:
        if metric is not None:
            self.state.best_return = max(self.state.best_return, metric)
        self.saver.save(
            self.payload(),
            iteration=self.agent.iteration,
            metric=metric,
            keep_int=self.settings.save_int_models,
            wait=wait,
        )

    def payload(self) -> dict[str, Any]:
        """Everything needed to continue as if nothing had happened (tensors, numbers, strings only)."""
        return {
            "format": 1,
            "agent": self.agent.state_dict(),
            "env": self.env.state_dict(),
            "rng": rng_state(),
            "trainer": {
                "wall_time": self.state.wall_time,
                "best_return": self.state.best_return,
                "test_row": dict(self.state.test_row),
                "pending_row": self.state.pending_row,
            },
            "world_size": self.comm.world_size,
            "rank": self.comm.rank,
            "config": self.settings.config_yaml,
        }

    def restore(self, payload: Mapping[str, Any], path: Path) -> None:
        """Continue from :meth:`payload`; the following iterations equal those of the uninterrupted run on the CPU."""
        if payload["world_size"] != self.comm.world_size:
            raise UserError(
                f"the checkpoint was written by {payload['world_size']} processes and cannot be resumed by "
                f"{self.comm.world_size}; use the same devices, or start anew with model_file="
            )
        self.agent.load_state_dict(payload["agent"])
        self.env.load_state_dict(payload["env"])
        self.state = TrainState(**payload["trainer"])
        set_rng_state(payload["rng"])
        self.saver.last = path
        self._restored = True

    @property
    def last_checkpoint(self) -> Path | None:
        """The newest that is complete."""
        return self.saver.last

    def _dump_non_finite(self, where: str) -> str:
        """Keep what is needed to look into the failure, and say where it happened."""
        folder = self.settings.run_dir / "non_finite"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"iteration_{self.agent.iteration:010d}_rank{self.comm.rank}.pt"
        torch.save(self.payload(), path)
        last = f"; the last good checkpoint is {self.last_checkpoint}" if self.last_checkpoint else ""
        return (
            f"training stopped at iteration {self.agent.iteration}: {where} is not finite. "
            f"State dumped to {path}{last}. "
            "A lower agent.actor_optimizer.learning_rate or agent.critic_optimizer.learning_rate may help"
        )
