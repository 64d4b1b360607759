"""The training loop of one process: iterate, test, log, save, and stop when asked."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mimickit_hydra.config.resolved import CONFIG_FILE
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.distributed import Comm
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import one_line
from mimickit_hydra.runs.files import parse_files
from mimickit_hydra.runs.lock import refuse_if_taken_over
from mimickit_hydra.runs.state import StateReporter
from mimickit_hydra.training.build import Parts
from mimickit_hydra.training.conditions import conditions, config_of, differing, refuse_overruled
from mimickit_hydra.training.each_clip import SAMPLING_FILE, write_sampling
from mimickit_hydra.training.loggers import LoggerGroup
from mimickit_hydra.training.pose_error import PoseError
from mimickit_hydra.training.progress import Progress
from mimickit_hydra.training.rng import rng_state, set_rng_state
from mimickit_hydra.training.saver import CheckpointSaver
from mimickit_hydra.training.signals import StopSignal


@dataclass
class TrainState:
    """The state of the loop itself that a resumed run needs."""

    wall_time: float = 0.0  # s spent training in earlier processes of this run
    best_return: float = -math.inf
    test_row: dict[str, float] = field(default_factory=dict)
    pending_row: dict[str, float] | None = None  # of the last iteration, whose test and log line are still owed
    log: str = ""  # the rows of log.txt


def is_signal(end_reason: str | None) -> bool:
    """Whether a signal ended the loop, not a budget."""
    return end_reason not in (None, "max_samples", "max_minutes")


class Trainer:
    """Runs :meth:`Agent.train_iteration` until a budget is spent or a signal comes. One instance per process."""

    def __init__(
        self,
        parts: Parts,
        run: RunConfig,
        run_dir: Path,
        comm: Comm,
        stop: StopSignal,
        config_yaml: str,
        files: str = "[]",
        record: Callable[[], object] | None = None,
    ) -> None:
        self.agent, self.env, self.timers = parts.agent, parts.env, parts.timers
        self.config = run
        self.run_dir = run_dir
        self.config_yaml = config_yaml
        self._record = record  # writes down what the run is
        self.comm = comm
        self.stop = stop
        self.logger: LoggerGroup | None = None
        self.progress: Progress | None = None
        self.state_reporter: StateReporter | None = None
        self.state = TrainState()
        self.under = conditions(run, parse_files(files))
        self.saver = CheckpointSaver(run_dir, comm, self.under)
        self._seconds: dict[str, float] = {}  # per section since the last output
        self._restored = False

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
            due = self.agent.is_output_iteration(self.agent.iteration - 1) or self._budget_spent()
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
        self._refuse_if_taken_over()
        self.state.pending_row = None
        self.state.test_row = {key: float(value) for key, value in result.items()}
        row = {**row, **self.state.test_row}
        self._report(row, output=True)
        # A reward that the agent makes moves with its adversary: without another one, the newest policy is the best.
        self._save(row.get("Test_Return") if self.env.has_reward else None)
        return end_reason

    def _test(self) -> dict[str, float]:
        compared = PoseError(self.env) if self.env.has_goal_pose else None
        result = self.agent.test(
            self.config.agent.test_episodes,
            callback=None if compared is None else lambda _step, _obs, _action, _reward, done: compared.record(done),
            should_stop=lambda: self.stop.requested,
        )
        return result if compared is None else {**result, "Dtw_Pose_Err": compared.result()}

    def _stop_here(self, row: dict[str, float], due: bool) -> None:
        """Save without a test, for which a signal leaves no time, so that the next start goes on exactly here."""
        self._refuse_if_taken_over()
        self.state.pending_row = dict(row) if due else None
        self._report({**row, **self.state.test_row}, output=False)
        self._save(None, wait=True)

    def _refuse_if_taken_over(self) -> None:
        if self.comm.is_root:
            refuse_if_taken_over(self.run_dir)

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

    def _budget_spent(self) -> bool:
        return self.agent.samples >= self.config.max_samples

    def _end_reason(self) -> str | None:
        """Why to stop now, or None. All processes agree: the root's clock and any process's signal count."""
        flags = torch.tensor(
            [float(self.stop.requested), float(self.state.wall_time >= 60.0 * self.config.max_minutes)],
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

    def _report(self, row: Mapping[str, float], output: bool) -> None:
        if not self.comm.is_root:
            return
        if output:
            for line in self.env.engine.warnings():
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
            write_sampling(self.run_dir / SAMPLING_FILE, self.env)

    def _eta(self) -> float:
        """Seconds left until the nearer of the two budgets; infinite when there is none."""
        done, spent = self.agent.samples, max(self.state.wall_time, 1e-9)
        by_samples = (self.config.max_samples - done) * spent / max(done, 1)
        by_clock = 60.0 * self.config.max_minutes - spent
        return max(0.0, min(by_samples, by_clock))

    def _save(self, metric: float | None, *, wait: bool = False) -> None:
        self.record_if_removed()
        if metric is not None:
            self.state.best_return = max(self.state.best_return, metric)
        self.saver.save(
            self.payload(),
            iteration=self.agent.iteration,
            metric=metric,
            keep_int=self.config.save_int_models,
            wait=wait,
        )

    def record_if_removed(self) -> None:
        """Write down again what the run is, where somebody has removed its directory while it was training."""
        if self._record is None or not self.comm.is_root or (self.run_dir / CONFIG_FILE).is_file():
            return
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            self._record()
        except OSError as error:
            raise UserError(f"{self.run_dir} has been removed, and cannot be made again: {error.strerror}") from None
        line = "its config is written again, logs and checkpoints begin anew"
        print(f"warning: {self.run_dir} has been removed: {line}", file=sys.stderr, flush=True)

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
                "log": self.logger.text() if self.logger is not None else self.state.log,
            },
            "world_size": self.comm.world_size,
            "rank": self.comm.rank,
            "config": self.config_yaml,
            "under": self.under,
        }

    def restore(self, payload: Mapping[str, Any], path: Path) -> list[str]:
        """Continue from :meth:`payload`; the following iterations equal those of the uninterrupted run on the CPU.

        Where the env or its clips are no longer those of the checkpoint, its episodes end here and new ones begin.
        Returns the keys of the conditions that have changed. UserError for what cannot go on together.
        """
        if not isinstance(payload.get("world_size"), int):
            raise UserError(f"{path}: holds no training state; use model_file= to load weights alone")
        try:
            changed = self._take(payload)
        except UserError as error:
            named = str(error).startswith("resume=")
            raise error if named else UserError(f"{path}: {error}") from None
        except Exception as error:  # whatever another version, or a hand that changed it, has left out of it
            raise UserError(f"{path}: is no state of this run ({type(error).__name__}: {one_line(error)})") from None
        self.saver.last = path
        self._restored = True
        return changed

    def _take(self, payload: Mapping[str, Any]) -> list[str]:
        """Put the parts of a checkpoint in place; the keys of the conditions that have changed."""
        self._refuse_overruled(payload)
        before = payload.get("under")
        other = differing(before if isinstance(before, Mapping) else self.under, self.under)
        changed = [key for key in other if key != "agent.test_episodes"]
        self.agent.load_state_dict(payload["agent"], same_world=not changed)
        if not changed:
            self.env.load_state_dict(payload["env"])
        self.state = TrainState(**payload["trainer"])
        if other:
            self.state.best_return = -math.inf
        set_rng_state(payload["rng"])
        return changed

    def _refuse_overruled(self, payload: Mapping[str, Any]) -> None:
        """UserError for a word on top of a resume that the checkpoint would overrule."""
        trained, run = config_of(payload.get("config")), self.config
        if trained is None:
            return
        where = f"resume={self.run_dir}"
        if trained.rand_seed != run.rand_seed:
            raise UserError(
                f"{where}: rand_seed: found {run.rand_seed}, but those of {trained.rand_seed} go on; leave it out, "
                f"or train anew: --from {self.run_dir} rand_seed={run.rand_seed}"
            )
        refuse_overruled(where, self.agent, payload["agent"]["model"], run, trained, None)

    def _dump_non_finite(self, where: str) -> str:
        """Save what is needed to look into a failure by non-finite numbers, and say where they were."""
        folder = self.run_dir / "non_finite"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"iteration_{self.agent.iteration:010d}_rank{self.comm.rank}.pt"
        torch.save(self.payload(), path)
        last = f"; the last good checkpoint is {self.saver.last}" if self.saver.last else ""
        return (
            f"training stopped at iteration {self.agent.iteration}: {where} is not finite. "
            f"State dumped to {path}{last}. "
            "A lower agent.actor_optimizer.learning_rate or agent.critic_optimizer.learning_rate may help"
        )
