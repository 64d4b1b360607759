"""Kill what writes a sweep's manifest again and again: ``kill_sweeps.py FOLDER KILLS SEED``. A JSON line per kill."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest
from dying import die_at
from kill_points import forked
from tiny_run import SAMPLES, TINY

from mimickit_hydra.cli.sweep import prepare
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.manifest import FILE, Sweep, add_runs, create_sweep, locked, read_sweep, write_sweep
from mimickit_hydra.runs.snapshot import read_frozen

SEEDS = (1, 2, 3)


def start_over(folder: Path) -> None:
    """The same command once more, after whatever became of the one before."""
    words = [*TINY, f"rand_seed={','.join(map(str, SEEDS))}", f"max_samples={4 * SAMPLES}", f"out_dir={folder}"]
    if (folder / FILE).exists():
        with pytest.raises(UserError, match="already holds a sweep"):
            prepare(words)
    else:
        prepare(words)


def add_one(folder: Path) -> None:
    """What a search does for each of its trials."""
    with locked(folder):
        number = len(read_sweep(folder).runs)
        add_runs(read_sweep(folder), [(f"run_{number}", [f"rand_seed={number}"], [], f"number: {number}\n")])


def dies(draw: random.Random, body: object, folder: Path, most: int) -> bool:
    """Whether ``body`` died at a random file operation, and did not end before that, as it may."""
    number, moment = draw.randint(1, most), draw.choice([0.0, draw.uniform(0.0, 0.001)])

    def dying() -> None:
        die_at(str(folder), number, moment)
        body(folder)  # type: ignore[operator]

    _, status = os.waitpid(forked(dying), 0)
    assert os.WIFSIGNALED(status) or status == 0
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def check(folder: Path, seen: int, most: int) -> int:
    """The manifest is whole, names all that it did before, and every run in it has its config; how many there are."""
    if not (folder / FILE).exists():
        assert seen == 0
        return 0
    sweep = read_sweep(folder)
    assert [run.number for run in sweep.runs] == list(range(len(sweep.runs)))
    assert seen <= len(sweep.runs) <= seen + most
    assert all((folder / run.config).stat().st_size for run in sweep.runs)
    return len(sweep.runs)


def main() -> None:
    root, kills, draw = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    searched = root / "search"
    write_sweep(create_sweep(searched, [], sweeper="optuna", trials=1000))
    count = 0
    while kills:
        folder = root / f"sweep_{kills}"
        if draw.random() < 0.5:
            killed = dies(draw, start_over, folder, 14)
            written = check(folder, 0, len(SEEDS))
            start_over(folder)
            sweep: Sweep = read_sweep(folder)
            assert [read_frozen(folder / run.config).run.rand_seed for run in sweep.runs] == list(SEEDS)
            row = {"killed": killed, "what": "the command", "written": written}
        else:
            killed = dies(draw, add_one, searched, 8)
            count = check(searched, count, 1)
            row = {"killed": killed, "what": "a search", "runs": count}
        if killed:
            kills -= 1
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
