"""Prepares the directory of a run, and records in it how the run came to be."""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mimickit_hydra.config.resolved import CONFIG_FILE
from mimickit_hydra.engines.catalog import available_cores
from mimickit_hydra.errors import UserError
from mimickit_hydra.files import TMP_SUFFIX, link_atomic, write_text_atomic
from mimickit_hydra.foreign import read_json, read_text
from mimickit_hydra.plugins import installed
from mimickit_hydra.runs.files import FILES
from mimickit_hydra.runs.manifest import FROZEN
from mimickit_hydra.runs.snapshot import with_launch_of

_MOST = 2**30  # bytes of a record: a diff may be long
STARTS = "starts"  # what earlier starts of a run recorded
MARKS = ("log.txt", CONFIG_FILE, "checkpoints", "metrics.json")  # any of these means that a run has been here
WANDB_ID = "wandb_id.txt"  # the run of Weights & Biases that a directory writes to
PACKAGES = (
    "mimickit-hydra", "torch", "numpy", "mujoco", "hydra-core", "omegaconf", "tensorboard", "newton", "warp-lang",
    "mujoco-warp", "wandb",
)  # fmt: skip


class RunDirError(UserError):
    """A run directory that cannot be used; the message is one line."""


def prepare_run_dir(path: Path | str, *, resume: bool = False, restart: bool = False) -> Path:
    """Create the directory and make sure it can be written to.

    With ``resume`` it must hold a run already, with ``restart`` it may, otherwise it must not. RunDirError says which
    of it failed.
    """
    path = Path(path).expanduser().absolute()
    used = [mark for mark in MARKS if (path / mark).exists()]
    if resume:
        if not path.is_dir():
            raise RunDirError(f"resume={path}: no such directory{_nearest(path)}")
        if "checkpoints" not in used and "config.yaml" not in used:
            raise RunDirError(f"resume={path}: no checkpoints in there; give the directory of a training run")
    elif used and not restart:
        raise RunDirError(
            f"out_dir={path} already holds a run (found {', '.join(used)}); "
            f"continue it with resume={path}, or choose another out_dir"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        key, reason = "resume" if resume else "out_dir", error.strerror or error
        raise RunDirError(f"{key}={path} cannot be written to: {reason}; choose another out_dir") from None
    return path


def wandb_id(run_dir: Path) -> str:
    """The run of Weights & Biases that a directory writes to: the one so far, or ``WANDB_RUN_ID``; empty for a new one.

    UserError where the variable names another one than so far.
    """
    file, wanted = run_dir / WANDB_ID, os.environ.get("WANDB_RUN_ID", "")
    found = (_text(file) or "").strip()
    if found and wanted and found != wanted:
        raise UserError(f"WANDB_RUN_ID: found {wanted}, but {run_dir} writes to {found} ({WANDB_ID}); unset it")
    return found or wanted


def write_run_files(
    path: Path | str,
    resolved_config_yaml: str,
    overrides: Sequence[str],
    files: str = "[]\n",
) -> Path | None:
    """Record what a run is now: its config, words, files, versions and the state of the code.

    What an earlier start recorded, if it was anything else, is kept in ``path/starts/<n>``, which reads like a run
    directory; returned is that folder. ``files`` is the text of ``files.json``.
    """
    path = Path(path)
    revision, diff = git_state()
    texts = {
        "overrides.txt": "".join(f"{override}\n" for override in overrides),
        "versions.json": json.dumps(versions(), indent=2) + "\n",
        "git.txt": revision,
        "git.diff": diff,
        FILES: files,
        CONFIG_FILE: resolved_config_yaml,
    }
    earlier = _keep_earlier(path, texts)
    for name, text in texts.items():  # the config last: it is what marks a run
        write_text_atomic(path / name, text)
    _follow(path / FROZEN, resolved_config_yaml)
    return earlier


def _keep_earlier(path: Path, texts: Mapping[str, str]) -> Path | None:
    """Give the record that is there a second name among the earlier starts, unless the new one is the same."""
    there = [name for name in texts if (path / name).is_file()]
    if CONFIG_FILE not in there or all(_text(path / name) == text for name, text in texts.items()):
        return None
    folder = path / STARTS / str(int(newest_start(path).name) + 1)
    making = folder.with_name(f".{folder.name}{TMP_SUFFIX}")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    for name in there:
        link_atomic(path / name, making / name)
    os.rename(making, folder)
    return folder


def newest_start(path: Path) -> Path:
    """The folder of the last of the earlier starts of a run; ``starts/0``, which is not there, where there is none."""
    numbers = [int(entry.name) for entry in (path / STARTS).glob("*") if entry.name.isdecimal()]
    return path / STARTS / str(max(numbers, default=0))


def _follow(frozen: Path, config_yaml: str) -> None:
    """Let a run that a launcher starts again begin with the newest config; where it is launched stays."""
    before = _text(frozen)
    if before is not None and before != config_yaml:
        write_text_atomic(frozen, with_launch_of(config_yaml, before))


def _text(path: Path) -> str | None:
    try:
        return read_text(path, at_most=_MOST)
    except UserError:
        return None


def add_versions(path: Path, key: str, found: Mapping[str, str]) -> None:
    """Add what another interpreter has, such as the one of a hosted engine, to the versions of a run."""
    file = Path(path) / "versions.json"
    try:
        known = read_json(file)
    except UserError:  # a record for people, and no reason to stop
        known = {}
    known = known if isinstance(known, dict) else {}
    write_text_atomic(file, json.dumps({**known, key: dict(found)}, indent=2) + "\n")


def versions() -> dict[str, object]:
    """Versions of python and the packages that matter, and the machine. Imports nothing heavy."""
    found: dict[str, object] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["mimickit-hydra"] = found.get("mimickit-hydra") or _own_version()
    if plugins := {name: version for name, _, version in installed()}:
        found["plugins"] = plugins
    found["platform"] = platform.platform()
    found["cpu"] = _cpu_name()
    found["cores"] = available_cores()
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = str(torch.__version__)  # with its build, which the package's metadata may leave out
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return found


def git_state() -> tuple[str, str]:
    """Revision with the state of the work tree, and the difference to that revision, of the code that runs.

    That is the repository of this package, or the one of the current directory when the package is installed elsewhere.
    Both texts say so when there is no repository or no git.
    """
    package = Path(__file__).resolve().parent.parent
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
    folder = package if tracked is not None else Path.cwd()
    revision = _git(folder, "rev-parse", "HEAD")
    if revision is None:
        return "no git repository\n", ""
    branch = (_git(folder, "rev-parse", "--abbrev-ref", "HEAD") or "").strip()
    status = _git(folder, "status", "--porcelain") or ""
    state = "with changes:\n" + status if status.strip() else "clean\n"
    diff = _git(folder, "diff", "HEAD", "--no-color", "--no-ext-diff") or ""
    return f"{revision.strip()}\nbranch {branch}\n{state}", diff


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _own_version() -> str:
    import mimickit_hydra

    return str(getattr(mimickit_hydra, "__version__", "unknown"))


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _nearest(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""
