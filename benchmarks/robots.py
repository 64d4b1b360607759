"""Adds every robot file below a folder, trains each for a moment, and prints the table of docs/robots.md.

    python benchmarks/robots.py FOLDER... [--train] > table.md

Nothing of the user's is touched: the characters go into a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="robot files, or folders with them")
    parser.add_argument("--train", action="store_true", help="train each for two iterations")
    args = parser.parse_args()
    files = [file for given in args.files for file in (sorted(given.rglob("*.xml")) if given.is_dir() else [given])]
    print("| file | what came of it | add, s | training, s |\n|---|---|---|---|", flush=True)
    counts = {"added": 0, "trained": 0, "refused": 0}
    with tempfile.TemporaryDirectory() as folder:
        for k, file in enumerate(files):
            name = re.sub(r"[^a-z0-9]+", "_", f"{file.parent.name}_{file.stem}_{k}".lower()).strip("_")
            row = one(file.resolve(), f"r_{name}", Path(folder), args.train)
            counts["added"] += row[1].startswith("added")
            counts["trained"] += row[3] not in ("", "-")
            counts["refused"] += row[1].startswith("refused")
            print("| " + " | ".join(row) + " |", flush=True)
    print(f"\n{len(files)} files: {', '.join(f'{value} {key}' for key, value in counts.items())}")
    return 0


def one(file: Path, name: str, folder: Path, train: bool) -> list[str]:
    """A row of the table."""
    label = f"{file.parent.name}/{file.name}"
    begin = time.monotonic()
    code, out, errors = run(["-m", "mimickit_hydra", "character", "add", str(file), "--name", name], folder)
    took = f"{time.monotonic() - begin:.1f}"
    if code == 2:
        return [label, f"refused: {errors.splitlines()[-1].replace(str(file), file.name)}", took, "-"]
    if code:
        return [label, f"failed: {(errors.splitlines() or ['?'])[-1]}", took, "-"]
    size = re.search(r"size\W+(.*?DoFs)", re.sub(r"[│\s]+", " ", out))
    what = f"added: {size.group(1) if size else ''}"
    if not train:
        return [label, what, took, ""]
    begin = time.monotonic()
    words = [f"character={name}", "engine=mujoco", "num_envs=16", "max_samples=512", "test_episodes=0", "video=false"]
    code, out, errors = run([str(HERE / "train.py"), *words], folder)
    if code:
        return [label, f"{what}; training failed: {(errors.splitlines() or ['?'])[-1]}", took, "-"]
    return [label, what, took, f"{time.monotonic() - begin:.1f}"]


def run(words: list[str], folder: Path) -> tuple[int, str, str]:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(folder / "config"), "PYTHONPATH": str(HERE), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


if __name__ == "__main__":
    raise SystemExit(main())
