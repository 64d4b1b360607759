"""core=mimickit: drives a MimicKit checkout of the user's with the composed config.

Its code runs as it is, in a process of its own and, if need be, in another interpreter. It gets what its command line
would give it: three YAML files and its flags. What it writes goes into our run directory.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mimickit_hydra.config.overrides import parse
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.files import write_text_atomic
from mimickit_hydra.mimickit.bridge_config import Files, flags, sections, write_sections
from mimickit_hydra.mimickit.bridge_older import in_blocks, older_sections
from mimickit_hydra.mimickit.bridge_process import Outcome, drive
from mimickit_hydra.mimickit.checkout import Checkout, open_checkout

FOLDER = "mimickit"  # in the run directory: what was handed over and what came back
MODEL = "model.pt"
_RESULTS = {"return": "Mean Return", "episode_length": "Mean Episode Length", "episodes": "Episodes"}
_EXIT_CODES = {"SIGINT": 130, "SIGTERM": 143}


def drive_checkout(run: RunConfig, run_dir: Path, overrides: Sequence[str]) -> float | None:
    """Train or test with the checkout's code; returns the last test return, the number a sweep optimises.

    ``run_dir`` has been prepared and ``run.rand_seed`` drawn. UserError, in one line, for what its side reports and for
    what it cannot do; SystemExit when a signal stopped it.
    """
    checkout = open_checkout(run.core)
    folder = run_dir / FOLDER
    folder.mkdir(exist_ok=True)
    command_line = _hand_over(run, checkout, run_dir, folder, overrides)
    age = f", a MimicKit {checkout.age}: the files are written in its form" if checkout.age else ""
    print(f"MimicKit    {checkout.root} ({_record_revision(checkout, folder)}){age}", flush=True)
    outcome = drive(checkout, command_line, folder, max_seconds=60.0 * run.max_minutes)
    return _finish(run, run_dir, outcome)


def _hand_over(run: RunConfig, checkout: Checkout, run_dir: Path, folder: Path, overrides: Sequence[str]) -> list[str]:
    """Write the files that the checkout reads; returns its flags."""
    values = older_sections(sections(run), checkout, run)
    _note_unread(checkout, values, folder, overrides)
    files = Files(checkout, run.data_root, folder)
    values = {name: files.localise(section, name) for name, section in values.items()}
    configs = write_sections(in_blocks(values, checkout) if checkout.blocks else values, folder)
    model = None if run.model_file is None else find_model(run.model_file, folder)
    command_line = flags(run, configs, model, run_dir, checkout)
    shown = " ".join(command_line).replace(" --", "\n--")
    write_text_atomic(folder / "args.txt", f"# flags of {checkout.entry}\n{shown}\n")
    return command_line


def _note_unread(
    checkout: Checkout, values: dict[str, dict[str, object]], folder: Path, overrides: Sequence[str]
) -> None:
    """Refuse an override that the checkout would silently ignore; note our own keys that it does not know."""
    unread = [key for name, section in values.items() for key in checkout.unread(section, f"{name}.")]
    given = [parse(text).key.removeprefix("core.") for text in overrides]
    for key in unread:
        if key in given:
            raise UserError(f"{key}: given, but nothing in {checkout.package} reads a key of that name")
    if unread:
        write_text_atomic(folder / "not_read.txt", "".join(f"{key}\n" for key in unread))
        print(f"note: keys of ours that this checkout does not read: {', '.join(unread)}", flush=True)


def find_model(model_file: str, folder: Path) -> Path:
    """A ``model.pt`` for MimicKit: the file itself, that of a bridged run, or one made from a checkpoint of ours."""
    path = Path(model_file).expanduser().absolute()
    if (path / MODEL).is_file():
        return path / MODEL
    from mimickit_hydra.training.checkpoint import save_model
    from mimickit_hydra.training.weights import whole_weights

    found = whole_weights(path)
    return save_model(folder / "start_model.pt", found.weights) if found.ours else found.path


def _record_revision(checkout: Checkout, folder: Path) -> str:
    """Write the revision of the checkout, and what differs from it, into ``folder``; returns the short revision."""

    def git(*arguments: str) -> str | None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(["git", "-C", str(checkout.root), *arguments], capture_output=True, timeout=20)
            if done.returncode == 0:
                return done.stdout.decode("utf-8", "replace")
        return None

    revision = git("rev-parse", "HEAD")
    if revision is None:
        write_text_atomic(folder / "git.txt", "no git repository\n")
        return "no git repository"
    changes = git("status", "--porcelain", "--untracked-files=no") or ""
    write_text_atomic(folder / "git.txt", f"{revision.strip()}\n{changes}")
    write_text_atomic(folder / "git.diff", git("diff", "HEAD", "--no-color", "--no-ext-diff") or "")
    return revision[:9] + (" with changes" if changes.strip() else "")


def _finish(run: RunConfig, run_dir: Path, outcome: Outcome) -> float | None:
    model = run_dir / MODEL
    if outcome.stopped_by is not None:
        print(f"stopped by {outcome.stopped_by}", flush=True)
    if model.is_file():
        print(f"model       {model}", flush=True)
    if outcome.stopped_by in _EXIT_CODES:
        raise SystemExit(_EXIT_CODES[outcome.stopped_by])
    if run.mode == "test":
        return _test_result(run_dir, outcome.output)
    return _train_result(run_dir)


def _test_result(run_dir: Path, output: Path) -> float | None:
    """Write the figures that MimicKit prints after a test as ``metrics.json``."""
    text = output.read_text(encoding="utf-8", errors="replace")
    found: dict[str, float] = {}
    for key, label in _RESULTS.items():
        matches = re.findall(rf"^{label}:\s*(\S+)\s*$", text, re.MULTILINE)
        with contextlib.suppress(IndexError, ValueError):
            found[key] = float(matches[-1])
    if not found:
        return None
    path = run_dir / "metrics.json"
    write_text_atomic(path, json.dumps(found, indent=2) + "\n")
    print(f"metrics     {path}", flush=True)
    return found.get("return")


def _train_result(run_dir: Path) -> float | None:
    from mimickit_hydra.runs.log_table import read_log
    from mimickit_hydra.view.curves import plot_curves

    log = run_dir / "log.txt"
    if not log.is_file():
        return None
    with contextlib.suppress(UserError):  # no complete row yet
        print(f"curves      {plot_curves(run_dir)}", flush=True)
    returns = read_log(log).get("Test_Return")
    return float(returns[-1]) if returns is not None and len(returns) else None
