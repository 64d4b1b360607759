"""A sweep in a failing world: ``chaos.py FOLDER LAUNCHER SECONDS SEED [RUNS]``.

Starts a sweep with ``launch=packed`` or ``launch=slurm`` and, for so many seconds and at random from a seed, kills its
processes, sets its nodes down and up again, fills its disk, and cuts, removes or garbles its files, or puts a folder in
their place. Somebody who looks after it says ``mimickit sweep resume`` again and again. Then nothing fails any more,
the folders are taken away, and the sweep is resumed until nothing is left to do. Checkpoints are written every second
or so, so that a minute stands for hours.

What has to hold then: every run has finished with the curve and the weights of one that was left alone, bit by bit, or
says in one line why it cannot; only one whose config is gone may do that. No run printed a traceback. Prints one JSON
line per failure and one for each run, and exits with 1 if anything does not hold.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest_tools import ROOT, state_of, submit
from tiny_run import SAMPLES, TINY, assert_same_run

from mimickit_hydra.cli.main import main as cli

ITERATIONS = 240
WORDS = [*TINY, "agent.iters_per_output=4", f"max_samples={ITERATIONS * SAMPLES}"]
LAUNCH = {
    "packed": ["launch=packed", "launch.parallel=2"],
    "slurm": ["launch=slurm", "launch.cpus=1", "launch.mem=500MB", "launch.time=60", "launch.max_timeouts=0"],
}
OF_A_RUN = (
    "log.txt", "state.json", "run.lock", "versions.json", "overrides.txt", "output.log", "config.yaml", "frozen.yaml",
    "result.json", "checkpoints/last.pt", "checkpoints/best.pt", "checkpoints/best.json", "checkpoints/ckpt_*.pt",
)  # fmt: skip
OF_A_SWEEP = ("runner.json", "packed.log", ".sweep.lock")
NEEDED = ("frozen.yaml", "config.yaml")  # a run that lost them may say so


class World:
    """The sweep, and what can happen to it. Each method returns a word on what it did, or None where it could not."""

    def __init__(self, folder: Path, launcher: str, seed: int, runs: int) -> None:
        self.folder, self.launcher, self.draw = folder, launcher, random.Random(seed)
        self.sweep = folder / "disk" / "s"
        self.seeds = list(range(1, runs + 1))
        self.damaged: set[Path] = set()  # runs that lost a file that they need
        self.folders: list[Path] = []  # put in the place of files
        (folder / "disk").mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "chaos", str(folder / "disk")]
        self.own_disk = subprocess.run(mount, capture_output=True).returncode == 0

    def runs(self) -> list[Path]:
        return sorted(path for path in self.sweep.glob("[0-9]*") if path.is_dir())

    def processes(self) -> list[int]:
        """Everything that works for the sweep, the runs and what starts them."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                text = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if str(self.sweep) in text and "mimickit_hydra.cli" not in text and "chaos.py" not in text:
                    found.append(int(entry.parent.name))
        return sorted(found)

    # ------------------------------------------------------------------------------------------------- what can happen

    def kill(self) -> str | None:
        found = self.processes()
        if not found:
            return None
        number = self.draw.choice([9, 9, 15])
        victims = found if self.draw.random() < 0.2 else [self.draw.choice(found)]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return f"signal {number} to {len(victims)} of {len(found)}"

    def damage(self) -> str | None:
        if not self.runs():
            return None
        folder = self.draw.choice(self.runs())
        name = self.draw.choice(OF_A_RUN)
        if self.draw.random() < 0.1:
            folder, name = self.sweep, self.draw.choice(OF_A_SWEEP)
        found = sorted(folder.glob(name))
        if not found:
            return None
        path = found[-1]
        how = self.draw.choice(["cut", "removed", "emptied", "garbled", "a folder"])
        try:
            content = path.read_bytes()
            path.unlink()  # another name of the same content, as best.pt is, keeps it
            if how == "a folder":
                path.mkdir()
                self.folders.append(path)
            elif how != "removed":
                size = self.draw.randint(0, max(0, len(content) - 1)) if how == "cut" else 0
                path.write_bytes(self.draw.randbytes(len(content)) if how == "garbled" else content[:size])
        except OSError as error:
            return f"{path.name}: {error}"
        if name in NEEDED:
            self.damaged.add(folder)
        return f"{path.relative_to(self.sweep)} {how}"

    def fill(self) -> str | None:
        """The disk is full for some seconds; where it cannot be filled, the processes may write only short files."""
        if not self.own_disk:
            for pid in self.processes():
                with contextlib.suppress(OSError):
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (self.draw.randint(0, 400_000), -1))
            return "files of at most 400 kB"
        filler = self.folder / "disk" / "filler"
        free = shutil.disk_usage(self.folder / "disk").free
        with contextlib.suppress(OSError):
            filler.write_bytes(bytes(max(0, free - self.draw.choice([0, 2000, 300_000]))))
        time.sleep(self.draw.uniform(0.5, 4.0))
        filler.unlink()
        return "disk full"

    def node(self) -> str | None:
        if self.launcher != "slurm":
            return None
        node, state = self.draw.choice(["one", "two"]), self.draw.choice(["down", "drain"])
        self._scontrol("update", f"nodename={node}", f"state={state}", "reason=chaos")
        time.sleep(self.draw.uniform(0.5, 3.0))
        self._scontrol("update", f"nodename={node}", "state=resume")
        return f"node {node} {state}, then up again"

    def requeue(self) -> str | None:
        jobs = [state.job_id for state in map(state_of, self.runs()) if state.job_id and state.state == "running"]
        if self.launcher != "slurm" or not jobs:
            return None
        job = self.draw.choice(jobs)
        self._scontrol("requeue", str(job))
        return f"job {job} queued again"

    def _scontrol(self, *arguments: str) -> None:
        subprocess.run(["scontrol", *arguments], capture_output=True, timeout=30)

    def resume(self) -> str:
        code, said = command("sweep", "resume", str(self.sweep))
        return said.strip().splitlines()[-1 if code else 0]

    # ------------------------------------------------------------------------------------------------------ its course

    def begin(self) -> None:
        seeds = ",".join(map(str, self.seeds))
        submit("-m", *WORDS, *LAUNCH[self.launcher], f"rand_seed={seeds}", f"out_dir={self.sweep}", cwd=self.folder)

    def rage(self, seconds: float) -> None:
        events: list[Callable[[], str | None]] = [
            self.kill, self.kill, self.damage, self.damage, self.damage, self.fill, self.node, self.requeue,
            self.resume,
        ]  # fmt: skip
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self.draw.uniform(0.2, 2.5))
            event = self.draw.choice(events)
            said = event()
            if said is not None:
                print(json.dumps({"event": event.__name__, "said": said}), flush=True)

    def calm(self, seconds: float) -> None:
        """Look after it until all have finished, or those that have not say the same as the time before.

        Slurm holds a job, and drains its node, where it could not start it; somebody who says ``resume`` again lets the
        job go on, whoever runs the cluster the node.
        """
        for path in self.folders:
            with contextlib.suppress(OSError):
                path.rmdir()
        end = time.monotonic() + seconds
        before: Any = None
        while time.monotonic() < end:
            self._look_after()
            looked = time.monotonic()
            while self.statuses("running", "queued", "preempted") and time.monotonic() < end:
                if time.monotonic() > looked + 15.0:
                    self._look_after()
                    looked = time.monotonic()
                time.sleep(1.0)
            now = [(run.name, state_of(run).state, state_of(run).error) for run in self.runs()]
            if now == before or all(state == "finished" for _, state, _ in now):
                return
            before = now

    def _look_after(self) -> None:
        if self.launcher == "slurm":
            self._scontrol("update", "nodename=one,two", "state=resume")
        print(json.dumps({"event": "resume", "said": self.resume(), "waits": self._waits()}), flush=True)

    def _waits(self) -> list[str]:
        """The jobs that Slurm has, each with its state and the reason for it."""
        if self.launcher != "slurm":
            return []
        ask = ["squeue", "--noheader", "--format=%i %T %r"]
        return subprocess.run(ask, capture_output=True, text=True, timeout=30).stdout.splitlines()

    def statuses(self, *wanted: str) -> list[str]:
        code, said = command("status", str(self.sweep), "--json")
        assert code == 0, said
        return [entry["run"] for entry in json.loads(said) if entry["state"] in wanted]

    def verdict(self) -> bool:
        good = len(self.runs()) == len(self.seeds)
        for seed, run in zip(self.seeds, self.runs(), strict=False):
            state, problem = state_of(run), ""
            if state.state == "finished":
                problem = self._differs(run, seed)
            elif run not in self.damaged or not state.error or len(state.error.splitlines()) != 1:
                problem = "has not finished and may not, or does not say why"
            log = run / "output.log"
            said = log.read_text(errors="replace") if log.is_file() else ""
            if "Traceback" in said:
                problem = f"{problem} a traceback in its output".strip()
            good = good and not problem
            row = {"run": run.name, "state": state.state, "starts": state.starts, "error": state.error}
            print(json.dumps({**row, "problem": problem}), flush=True)
            print("".join(dict.fromkeys(tracebacks(said))) if problem else "", end="", flush=True)
            print(said[-2000:] if problem and "Traceback" not in said else "", end="", flush=True)
        return good

    def _differs(self, run: Path, seed: int) -> str:
        alone = self.folder / f"alone_{seed}"
        submit(*WORDS, f"rand_seed={seed}", f"out_dir={alone}", cwd=self.folder)
        try:
            assert_same_run(run, alone)
            assert json.loads((run / "result.json").read_text())["value"] is not None
        except (AssertionError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"[:300]
        return ""

    def end(self) -> None:
        if self.launcher == "slurm":
            subprocess.run(["scancel", "--full", "--signal=KILL", "--user=root"], capture_output=True)
            subprocess.run(["scancel", "--user=root"], capture_output=True)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        if self.own_disk:
            time.sleep(0.5)
            subprocess.run(["umount", "-l", str(self.folder / "disk")], check=True)


def tracebacks(text: str) -> list[str]:
    """The tracebacks in an output, each to the line that names the error."""
    return re.findall(r"Traceback \(most recent call last\):\n(?:[ \t].*\n|\n)*.*\n", text)


def command(*arguments: str) -> tuple[int, str]:
    """``mimickit`` in this process: its exit code and what it said, which is no traceback."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli(list(arguments))
    return code, said.getvalue()


def main() -> int:
    folder, launcher, seconds, seed = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    os.environ.update(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    world = World(folder.absolute(), launcher, seed, int(sys.argv[5]) if len(sys.argv) > 5 else 3)
    try:
        world.begin()
        world.rage(seconds)
        world.calm(300 + 2 * seconds)  # Slurm may hold a job for two minutes before it starts again
        return int(not world.verdict())
    finally:
        if "MIMICKIT_KEEP" in os.environ:
            shutil.copytree(world.sweep, folder / "kept")
        world.end()


if __name__ == "__main__":
    raise SystemExit(main())
