"""The directory of one run: may it be used, and what is written down about how the run came to be."""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.runtime.files import write_text_atomic

MARKS = ("log.txt", "config.yaml", "checkpoints", "metrics.json")  # any of these means that a run has been here
PACKAGES = (
    "mimickit-hydra", "torch", "numpy", "mujoco", "hydra-core", "omegaconf", "tensorboard", "newton", "warp-lang",
    "wandb",
)  # fmt: skip


class RunDirError(UserError):
    """The run directory cannot be used; the message is one line."""


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


def write_run_files(path: Path, resolved_config_yaml: str, overrides: Sequence[str]) -> Path:
    """Write config.yaml, overrides.txt, versions.json, git.txt and git.diff; return the folder they are in.

    That is ``path`` itself, or ``path/resumed_<n>`` when the run has been started before: what the first start used
    stays on record.
    """
    path = Path(path)
    if (path / "config.yaml").exists():
        count = 1
        while (path / f"resumed_{count}").exists():
            count += 1
        path = path / f"resumed_{count}"
        path.mkdir()
    revision, diff = git_state()
    write_text_atomic(path / "overrides.txt", "".join(f"{override}\n" for override in overrides))
    write_text_atomic(path / "versions.json", json.dumps(versions(), indent=2) + "\n")
    write_text_atomic(path / "git.txt", revision)
    write_text_atomic(path / "git.diff", diff)
    write_text_atomic(path / "config.yaml", resolved_config_yaml)
    return path


def add_versions(path: Path, key: str, found: Mapping[str, str]) -> None:
    """Add what another interpreter has, such as the one of a hosted engine, to the newest versions.json of a run."""
    resumed = sorted(Path(path).glob("resumed_*/versions.json"), key=lambda file: int(file.parent.name.split("_")[1]))
    file = resumed[-1] if resumed else Path(path) / "versions.json"
    known = json.loads(file.read_text())
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
    found["platform"] = platform.platform()
    found["cpu"] = _cpu_name()
    found["cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
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


__all__ = ["MARKS", "RunDirError", "add_versions", "git_state", "prepare_run_dir", "versions", "write_run_files"]
