"""launch=packed: runs side by side in the background of this machine, without a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mimickit_hydra.screen import lasting
from mimickit_hydra.sweeps.launcher import environment
from mimickit_hydra.sweeps.schema import PackedLaunchConfig

LOG = "packed.log"


def submit_packed(launch: PackedLaunchConfig, frozen: Sequence[Path], *, cwd: str) -> list[str]:
    """Start the background process; every run's job id is that process's number."""
    folder = Path(os.path.commonpath([str(path.parent) for path in frozen]))
    command = [sys.executable, "-m", "mimickit_hydra.sweeps.packed", str(launch.parallel), *map(str, frozen)]
    with open(folder / LOG, "ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=environment(),
            start_new_session=True,  # no hang-up when the terminal closes
        )
    return [str(process.pid)] * len(frozen)


def main(arguments: Sequence[str]) -> int:
    """The background process: ``PARALLEL FROZEN...``."""
    from mimickit_hydra.runs.manifest import Sweep, SweepRun
    from mimickit_hydra.sweeps.runner import Outcome, run_all

    parallel, files = int(arguments[0]), [Path(text) for text in arguments[1:]]
    folder = Path(os.path.commonpath([str(path.parent) for path in files]))
    runs = []
    for number, path in enumerate(files):
        relative = path.relative_to(folder)
        runs.append(SweepRun(number, str(relative.parent), [], [], str(relative)))

    def report(what: str, outcome: Outcome) -> None:
        print(what, outcome.run.dir, outcome.state, outcome.error or "", flush=True)

    with lasting():
        outcomes = run_all(Sweep(folder, runs, cwd=os.getcwd()), runs, parallel=parallel, report=report)
    return int(any(outcome.error is not None for outcome in outcomes))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
