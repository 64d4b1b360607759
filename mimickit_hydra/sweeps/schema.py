"""Schemas of launch=packed, tmux and slurm."""

from __future__ import annotations

from dataclasses import dataclass, field

from mimickit_hydra.config.fields import Rule, at_least, matching, or_null, setting
from mimickit_hydra.config.schema import LaunchConfig
from mimickit_hydra.errors import UserError


@dataclass(frozen=True)
class PackedLaunchConfig(LaunchConfig):
    """Side by side in the background of this machine."""

    parallel: int = setting(2, at_least(1), help="runs at the same time")


@dataclass(frozen=True)
class TmuxLaunchConfig(LaunchConfig):
    """A tmux session for each run."""

    monitor: str = setting(
        "top", Rule(lambda value: True, "a command"), help="command of the second pane; empty for none"
    )


@dataclass(frozen=True)
class SlurmLaunchConfig(LaunchConfig):
    """An array of Slurm jobs."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: int = setting(1440, at_least(1), "min")
    max_timeouts: int = setting(20, at_least(0), help="times that a run may reach the time limit and go on")
    requeue: bool = setting(True, help="queue again after a preemption or the time limit")
    signal_delay: int = setting(120, at_least(0), "s", "between the signal and the time limit")
    nodes: int = setting(1, at_least(1))
    gpus: int = setting(0, at_least(0), help="of each node")
    gpu_type: str | None = setting(None, help="the cluster's name for it, e.g. a100")
    tasks: int | None = setting(
        None, or_null(Rule(lambda value: value >= 1, "1 or more")),
        help="processes on each node; null: one per GPU, or one without GPUs",
    )  # fmt: skip
    cpus: int = setting(4, at_least(1), help="of each process")
    mem: str = setting("16GB", matching(r"\d+[KMGT]?B?", "a size such as 16GB or 500MB"), help="of each node")
    array_parallelism: int = setting(100, at_least(1), help="jobs of one array at the same time")
    setup: list[str] = setting([], help="shell lines before the run")
    sbatch: dict[str, str] = field(default_factory=dict)  # further options of sbatch

    def check(self) -> None:
        """UserError where the signal to save would come before the run: within its time there has to be a moment."""
        if self.signal_delay >= 60 * self.time:
            raise UserError(
                f"launch.signal_delay: found {self.signal_delay}, must be less than the {60 * self.time} seconds of "
                f"launch.time={self.time}"
            )
