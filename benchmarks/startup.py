"""How long the configuration commands take, against a bare Hydra application that prints the same config.

    python benchmarks/startup.py

Two bare applications are timed: one that reads the composed config from a single YAML, and one that composes it from
the same groups. All commands take turns within each round, so that the machine's other work hits them alike; the table
gives medians of wall-clock and of processor seconds, and their ratios to the single-YAML application. The last line is
composing in a process that has composed before, the median of 30 compositions of several runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BARE = """
import hydra

{register}

@hydra.main(config_path={conf!r}, config_name="config", version_base="1.3")
def main(cfg):
    pass

main()
"""
WARM = """
import statistics, time
from mimickit_hydra.config.compose import compose
RUNS = [[], ["motion=humanoid_run"], ["engine=newton"],
        ["method=amp", "agent.discount=0.9"], ["experiment=ase_humanoid"]]
seconds = []
for turn in range(7):
    for run in RUNS:
        start = time.perf_counter()
        compose(run)
        seconds.append(time.perf_counter() - start)
print(f"{1000 * statistics.median(seconds[len(RUNS):]):.0f}")
"""
REGISTER = "from mimickit_hydra.config.store import register; register()"


def commands(folder: Path) -> dict[str, list[str]]:
    """Name -> command line; the first is what the others are measured against."""
    train = [sys.executable, str(ROOT / "train.py")]
    composed = subprocess.run([*train, "--cfg", "job"], check=True, capture_output=True, text=True, cwd=folder).stdout
    (folder / "config.yaml").write_text(composed, encoding="utf-8")
    (folder / "single.py").write_text(BARE.format(register="", conf=str(folder)), encoding="utf-8")
    (folder / "groups.py").write_text(BARE.format(register=REGISTER, conf=str(ROOT / "conf")), encoding="utf-8")
    mimickit = [sys.executable, "-m", "mimickit_hydra.cli.main"]
    return {
        "bare Hydra, one YAML: --cfg job": [sys.executable, str(folder / "single.py"), "--cfg", "job"],
        "bare Hydra, our groups: --cfg job": [sys.executable, str(folder / "groups.py"), "--cfg", "job"],
        "train.py --cfg job": [*train, "--cfg", "job"],
        "train.py --info defaults": [*train, "--info", "defaults"],
        "train.py --help": [*train, "--help"],
        "mimickit list": [*mimickit, "list"],
        "mimickit explain agent.actor_epochs": [*mimickit, "explain", "agent.actor_epochs"],
    }


def measure(rounds: int) -> dict[str, tuple[float, float]]:
    """Median wall-clock and processor seconds of each command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        table = commands(folder)
        seconds: dict[str, list[tuple[float, float]]] = {label: [] for label in table}
        for turn in range(rounds + 1):
            for label, command in table.items():
                start, used = time.perf_counter(), os.times()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, env=env)
                wall, now = time.perf_counter() - start, os.times()
                processor = now.children_user + now.children_system - used.children_user - used.children_system
                if turn > 0:  # the first round fills the caches
                    seconds[label].append((wall, processor))
        return {label: _medians(values) for label, values in seconds.items()}


def _medians(values: list[tuple[float, float]]) -> tuple[float, float]:
    walls, processors = zip(*values, strict=True)
    return statistics.median(walls), statistics.median(processors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    medians = measure(parser.parse_args().rounds)
    base_wall, base_processor = next(iter(medians.values()))
    print(f"{'command':38} {'wall s':>8} {'ratio':>6} {'cpu s':>8} {'ratio':>6}")
    for label, (wall, processor) in medians.items():
        print(f"{label:38} {wall:8.3f} {wall / base_wall:6.2f} {processor:8.3f} {processor / base_processor:6.2f}")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    warm = subprocess.run([sys.executable, "-c", WARM], check=True, capture_output=True, text=True, env=env).stdout
    print(f"compose in one process, warm: {warm.strip()} ms")


if __name__ == "__main__":
    main()
