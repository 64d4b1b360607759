"""Finds out whether this machine is fit for runs: interpreter, GPU, off-screen rendering, video, disk space.

Whatever may crash or hang is tried in a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimickit_hydra.doctor.trial import last_line, run_python

OK, WARN, FAIL, ABSENT = "ok", "warn", "fail", "-"  # ABSENT: not there, and not needed
LOW_DISK = 2.0  # GB; a long run keeps a few checkpoints of up to a gigabyte
GPU_TIMEOUT = 60.0  # s
PACKAGES = ("mimickit-hydra", "torch", "numpy", "mujoco", "hydra-core", "omegaconf")

_CUDA = """
import json, torch
found = {"torch": torch.__version__, "cuda": torch.version.cuda, "available": torch.cuda.is_available(), "devices": []}
if found["available"]:
    for i in range(torch.cuda.device_count()):
        value = float((torch.ones(64, 64, device=f"cuda:{i}") @ torch.ones(64, 64, device=f"cuda:{i}")).sum())
        assert value == 64.0 ** 3, value
        found["devices"].append(torch.cuda.get_device_name(i))
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Finding:
    """The result of one check: what was found, in a line, and what to do about it."""

    topic: str
    state: str  # ok | warn | fail | - (not there, and not needed)
    text: str
    next: str = ""  # a command, or what to do
    details: Mapping[str, Any] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------------ this machine


def check_machine(out_dir: str | None) -> list[Finding]:
    """Check everything but the engines."""
    return [check_python(), check_gpu(), check_rendering(), check_video(), check_room(out_dir)]


def version_of(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_python() -> Finding:
    from mimickit_hydra import __version__

    found = {name: version_of(name) for name in PACKAGES}
    found["mimickit-hydra"] = __version__
    listed = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    missing = [name for name, version in found.items() if version is None]
    text = f"{platform.python_version()} ({sys.executable}), {listed}"
    details = {"python": platform.python_version(), "executable": sys.executable, "packages": found}
    if missing:
        return Finding("python", FAIL, f"{text}; missing: {', '.join(missing)}", "pip install mimickit-hydra", details)
    return Finding("python", OK, text, details=details)


def check_gpu() -> Finding:
    """Find the GPUs that the driver shows, and whether torch can use them."""
    cards, torch = _nvidia_smi(), run_python(["-c", _CUDA], GPU_TIMEOUT)
    details = {"driver": cards, "torch": torch}
    if "error" in torch:
        fix = "reinstall torch, or hide the GPU with CUDA_VISIBLE_DEVICES="
        return Finding("gpu", FAIL, f"torch on the GPU: {torch['error']}", fix, details)
    if torch["available"]:
        names = ", ".join(f"cuda:{i} {name}" for i, name in enumerate(torch["devices"]))
        driver = f", driver {cards[0]['driver']}" if cards else ""
        return Finding("gpu", OK, f"{names}{driver}, CUDA {torch['cuda']} in torch", details=details)
    if not cards:
        return Finding("gpu", ABSENT, "no NVIDIA GPU; engine=mujoco needs none", details=details)
    found = ", ".join(f"{card['name']} (driver {card['driver']})" for card in cards)
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return Finding("gpu", WARN, f"{found}, hidden by CUDA_VISIBLE_DEVICES", "unset CUDA_VISIBLE_DEVICES", details)
    if torch["cuda"] is None:
        text = f"{found}, but torch {torch['torch']} is built for the CPU alone"
        return Finding("gpu", WARN, text, "install a CUDA build of torch, as PyTorch's own page says", details)
    text = f"{found}, but torch {torch['torch']} cannot use it: it is built for CUDA {torch['cuda']}"
    return Finding("gpu", WARN, text, "update the driver, or install a torch built for an older CUDA", details)


def _nvidia_smi() -> list[dict[str, str]]:
    """Name, driver and memory of each card that the driver knows; empty without one."""
    fields = ("name", "driver_version", "memory.total", "memory.used")
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=GPU_TIMEOUT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    keys = ("name", "driver", "memory", "used")
    return [dict(zip(keys, row, strict=True)) for row in rows if len(row) == len(keys)] if done.returncode == 0 else []


def check_rendering() -> Finding:
    from mimickit_hydra.view import render

    tried = render.backends()
    backend = render.choose_backend()
    details = {"tried": list(tried), "backend": backend}
    if backend is None:
        why = f"none of {', '.join(tried)} works" if tried else "switched off by MUJOCO_GL"
        fix = "apt-get install libegl1 libgl1 (or libosmesa6)" if tried else "unset MUJOCO_GL"
        return Finding("rendering", WARN, f"{why}: videos show a skeleton", fix, details)
    how = "on the CPU" if render.is_software(backend) else "on the GPU"
    return Finding("rendering", OK, f"{backend}, {how} ({render.probe(backend)})", details=details)


def check_video() -> Finding:
    """Write a film of a few frames."""
    import numpy as np

    from mimickit_hydra.view.video import write_video

    notes: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="mimickit_doctor_") as folder:
            pictures = (np.full((48, 64, 3), shade, dtype=np.uint8) for shade in (0, 120, 240))
            path = write_video(Path(folder) / "film.mp4", pictures, 30, (64, 48), notes.append)
            kind, size = path.suffix[1:], path.stat().st_size
    except Exception as error:  # whatever the encoder does
        return Finding("video", WARN, f"no film can be written: {last_line(str(error))}", "pip install imageio-ffmpeg")
    if kind != "mp4":
        return Finding("video", WARN, "no ffmpeg: films are GIFs", "pip install imageio-ffmpeg", {"format": kind})
    return Finding("video", OK, "ffmpeg writes mp4", details={"format": kind, "bytes": size})


def check_room(out_dir: str | None) -> Finding:
    """Check that a run directory can be made at ``out_dir``, or in ``outputs`` of the current directory."""
    wanted = Path(out_dir or "outputs").expanduser().absolute()
    folder = wanted
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        text = f"{wanted}: nothing can be written in {folder} ({error.strerror or error})"
        return Finding("run directory", FAIL, text, "choose another place with out_dir=", {"folder": str(folder)})
    details = {"folder": str(folder), "free_gb": round(free, 1)}
    if free < LOW_DISK:
        text = f"{wanted}: {free:.1f} GB free, checkpoints may not fit"
        return Finding("run directory", WARN, text, "choose another place with out_dir=", details)
    return Finding("run directory", OK, f"{wanted}: {free:.0f} GB free", details=details)
