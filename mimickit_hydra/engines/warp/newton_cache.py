"""A cache of converted scenes on disk, so that a start neither imports Newton nor converts again.

A file holds MuJoCo's binary model and the numbers of the MuJoCo Warp model that Newton changed. Its name is a hash of
all that went in: assets, options, versions, and the code that converts. A scene is kept only if reading it back gives
the same model to the bit; a file that cannot be read is made anew.
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import mujoco_warp as mjw
import numpy as np
import warp as wp

from mimickit_hydra.engines.interface import SceneSpec
from mimickit_hydra.engines.mujoco.model import Asset
from mimickit_hydra.engines.warp.converted import Converted
from mimickit_hydra.mj import mujoco
from mimickit_hydra.motion.plain import plain_mjcf

_OPTIONS = ("control_mode", "iterations", "ls_iterations", "tolerance", "ls_tolerance", "jacobian", "impratio", "njmax",
            "nconmax")  # fmt: skip
_PACKAGES = ("newton", "mujoco", "mujoco-warp", "warp-lang")


def cached(config: Any, scene: SceneSpec, assets: List[Asset], device: Any) -> Converted:
    """The converted scene from the cache; otherwise it is converted by Newton and put there."""
    path = _path(config, scene, assets)
    found = None if path is None else _read(path)
    if found is not None:
        return found
    from mimickit_hydra.engines.warp.newton_convert import convert

    made = convert(config, scene, assets, device)
    if path is not None:
        _keep(path, made)
    return made


def folder() -> Path:
    """The folder of converted scenes; it may be deleted at any time."""
    return Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")) / "mimickit-hydra" / "newton"


def _path(config: Any, scene: SceneSpec, assets: List[Asset]) -> Optional[Path]:
    """The file of a scene; None where a hash cannot cover it: packages without versions."""
    digest = hashlib.sha256()
    for part in (Path(__file__), Path(__file__).with_name("newton_convert.py")):
        digest.update(part.read_bytes())
    try:
        facts: Dict[str, Any] = {name: importlib.metadata.version(name) for name in _PACKAGES}
    except importlib.metadata.PackageNotFoundError:
        return None
    facts.update({name: getattr(config, name, None) for name in _OPTIONS})
    digest.update(repr(sorted(facts.items())).encode())
    for obj, asset in zip(scene.objects, assets):
        values = {key: value for key, value in dataclasses.asdict(obj).items() if key != "asset_file"}
        gains = asset.robot.kp.tolist(), asset.robot.kd.tolist()
        text = plain_mjcf(asset.source, asset.robot)
        digest.update(repr((sorted(values.items(), key=str), gains, text)).encode())
    return folder() / (digest.hexdigest()[:32] + ".npz")


def _read(path: Path) -> Optional[Converted]:
    try:
        with np.load(str(path), allow_pickle=False) as file:
            model = mujoco.MjModel.from_binary_path("scene.mjb", {"scene.mjb": file["mjb"].tobytes()})
            warp_model = mjw.put_model(model)
            for name, array in _arrays(warp_model):
                if name in file:
                    array.assign(file[name])
            return Converted(model, warp_model, *(int(value) for value in file["sizes"]))
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile):
        return None


def _keep(path: Path, made: Converted) -> None:
    """Write the scene if it reads back the same to the bit; a cache that cannot be written is done without."""
    buffer = np.zeros(mujoco.mj_sizeModel(made.mujoco), np.uint8)
    mujoco.mj_saveModel(made.mujoco, None, buffer)
    plain = dict(_arrays(mjw.put_model(made.mujoco)))
    changed = {
        name: array.numpy() for name, array in _arrays(made.warp)
        if name in plain and plain[name].shape == array.shape and not _equal(plain[name], array)
    }  # fmt: skip
    sizes = np.array([made.contacts, made.rows, made.nonzeros])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(".part", dir=str(path.parent))
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, mjb=buffer, sizes=sizes, **changed)
            file.flush()
            os.fsync(file.fileno())
        found = _read(Path(part))
        if found is not None and _same(found, made):
            os.replace(part, str(path))
    except OSError:
        pass  # as a full disk
    finally:
        with contextlib.suppress(OSError):  # where it became the scene's file there is none left
            os.remove(part)


def _leaves(model: Any, prefix: str = "") -> Iterator[Tuple[str, Any]]:
    """The values of a MuJoCo Warp model by dotted name, those of its options too."""
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if dataclasses.is_dataclass(value):
            for item in _leaves(value, prefix + field.name + "."):
                yield item
        else:
            yield prefix + field.name, value


def _arrays(model: Any) -> Iterator[Tuple[str, Any]]:
    """The arrays among the leaves."""
    for name, value in _leaves(model):
        if isinstance(value, wp.array) and value.size and isinstance(value.dtype, type):
            yield name, value


def _plain(model: Any) -> Iterator[Tuple[str, Any]]:
    """The leaves other than arrays, as far as they can be compared."""
    for name, value in _leaves(model):
        if isinstance(value, (int, float, bool, str)):
            yield name, value


def _equal(one: Any, other: Any) -> bool:
    return one.shape == other.shape and one.numpy().tobytes() == other.numpy().tobytes()


def _same(one: Converted, other: Converted) -> bool:
    mine, theirs = dict(_arrays(one.warp)), dict(_arrays(other.warp))
    return (
        one[2:] == other[2:]
        and dict(_plain(one.warp)) == dict(_plain(other.warp))
        and mine.keys() == theirs.keys()
        and all(_equal(mine[name], theirs[name]) for name in mine)
    )
