"""The composed config in the form a MimicKit checkout reads: three YAML files, the motions, and its flags."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mimickit_hydra.config.checkout import Checkout
from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.runtime.files import write_atomic, write_text_atomic

SECTIONS = ("engine", "env", "agent")
_FILE_SUFFIXES = (".xml", ".urdf", ".usd", ".obj", ".stl", ".pkl", ".npz", ".yaml", ".pt")
_COUNTS = ("_batch_size", "_samples", "_buffer_size")  # whole numbers on their side


def sections(run: RunConfig) -> dict[str, dict[str, Any]]:
    """The values of engine, env and agent as plain containers, the open tables of ``core`` laid over them.

    A key without a value is left out, as MimicKit's own files do.
    """
    found = {}
    for name in SECTIONS:
        composed = _plain(dataclasses.asdict(getattr(run, name)))
        found[name] = _laid_over(composed, getattr(run.core, name))
    return found


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            plain[key] = _plain(value)
        elif isinstance(value, (list, tuple)):
            plain[key] = [_plain(item) if isinstance(item, Mapping) else item for item in value]
        elif isinstance(value, float) and key.endswith(_COUNTS) and math.isfinite(value) and value == int(value):
            plain[key] = int(value)
        elif value is not None:
            plain[key] = value
    return plain


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _laid_over(merged[key], value)
        else:
            merged[key] = value
    return merged


# -------------------------------------------------------------------------------------------------------------- files


class Files:
    """Finds the files that a config names, the checkout's own first, and puts what needs another form in ``folder``."""

    def __init__(self, checkout: Checkout, data_root: Sequence[str], folder: Path) -> None:
        self._checkout = checkout
        self._roots = [str(checkout.data), *data_root]
        self._folder = folder

    def localise(self, values: Any, key: str) -> Any:
        """``values`` with every file name replaced by an absolute path that the checkout can read."""
        if isinstance(values, Mapping):
            return {name: self.localise(value, f"{key}.{name}") for name, value in values.items()}
        if isinstance(values, list):
            return [self.localise(value, f"{key}[{index}]") for index, value in enumerate(values)]
        if not (isinstance(values, str) and values.endswith(_FILE_SUFFIXES)):
            return values
        path = self._find(values, key)
        leaf = key.rpartition(".")[2]
        if path.suffix == ".yaml" and leaf == "motion_file":
            return str(self._dataset(path, key))
        if leaf == "smp_prior_cfg":
            return str(self._prior_config(path))
        if path.suffix in (".pkl", ".npz"):
            return str(self._motion(path))
        return str(path)

    def _find(self, name: str, key: str) -> Path:
        own = self._checkout.root / name  # an absolute name stays itself
        if own.is_file():
            return own
        try:
            return resolve_data_file(name, self._roots)
        except UserError as error:
            raise UserError(f"{key}: {error}") from None

    def _motion(self, path: Path) -> Path:
        """MimicKit reads ``.pkl`` alone: another file is written out as one."""
        if path.suffix == ".pkl":
            return path
        from mimickit_hydra.motion.clip import load_clip

        clip = load_clip(path)
        fields = {
            "loop_mode": int(clip.loop_mode),
            "fps": int(clip.fps) if float(clip.fps).is_integer() else float(clip.fps),
            "frames": clip.frames.tolist(),
        }
        target = self._folder / "motions" / f"{path.stem}.pkl"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, lambda file: pickle.dump(fields, file, protocol=4))
        return target

    def _prior_config(self, path: Path) -> Path:
        """A prior's config names its env config, which a prior trained here has beside it, not in the checkout."""
        import yaml

        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            beside = path.parent / str(values["env_config"])
            if (self._checkout.root / str(values["env_config"])).is_file() or not beside.is_file():
                return path
        except (yaml.YAMLError, KeyError, TypeError):
            return path  # its own code says what is wrong with it
        target = self._folder / path.name
        write_text_atomic(target, yaml.safe_dump({**values, "env_config": str(beside)}, sort_keys=False))
        return target

    def _dataset(self, path: Path, key: str) -> Path:
        """A list of motions, each of them found and in the right form."""
        import yaml

        try:
            listed = yaml.safe_load(path.read_text(encoding="utf-8"))["motions"]
            entries = [
                {
                    "file": str(self._motion(self._find(str(entry["file"]), f"{key}: {path}"))),
                    "weight": float(entry.get("weight", 1.0)),
                }
                for entry in listed
            ]
        except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
            raise UserError(f"{key}: {path} is no list of motions, each with file and weight") from None
        target = self._folder / "motions" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(target, yaml.safe_dump({"motions": entries}, sort_keys=False))
        return target


def write_sections(values: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, Path]:
    """``engine_config.yaml``, ``env_config.yaml`` and ``agent_config.yaml`` in ``folder``."""
    import yaml

    paths = {}
    for name, section in values.items():
        paths[name] = folder / f"{name}_config.yaml"
        write_text_atomic(paths[name], yaml.dump(dict(section), Dumper=_dumper(), sort_keys=False))
    return paths


def _dumper() -> Any:
    """PyYAML writes 1e-05 so that it reads it back as text unless it has a point; lists of numbers go on one line."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def number_list(dumper: Any, data: list[Any]) -> Any:
        flat = all(not isinstance(item, (list, dict)) for item in data)
        return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flat)

    Dumper.add_representer(list, number_list)
    return Dumper


# -------------------------------------------------------------------------------------------------------------- flags


def flags(run: RunConfig, configs: Mapping[str, Path], model_file: Path | None, out_dir: Path) -> list[str]:
    """Its command line. What ``core.args`` names replaces ours; the first definition of a flag is the one it reads."""
    values: dict[str, Any] = {
        "mode": run.mode,
        "num_envs": run.num_envs,
        "devices": list(run.devices),
        "rand_seed": run.rand_seed,
        **{f"{name}_config": path for name, path in configs.items()},
        "out_dir": out_dir,
        "visualize": run.visualize,
        "video": run.video,
        "logger": "wandb" if run.logger.wandb else "tb" if run.logger.tb else "txt",
        "save_int_models": run.save_int_models,
        "model_file": model_file,
        "max_samples": int(run.max_samples) if math.isfinite(run.max_samples) else None,
        "test_episodes": max(1, run.test_episodes) if run.mode == "test" else None,
    }
    values.update(run.core.args)
    found = []
    for name, value in values.items():
        if value is None or value == "":
            continue
        words = value if isinstance(value, (list, tuple)) else [value]
        texts = [str(word).lower() if isinstance(word, bool) else str(word) for word in words]
        bad = [text for text in texts if text.startswith(("#", "--"))]
        if bad:
            raise UserError(
                f"{name}: found {bad[0]!r}, but MimicKit takes a word that begins with # or -- for no value"
            )
        found += [f"--{name}", *texts]
    return found
