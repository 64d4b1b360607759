"""Writes the composed config as a MimicKit checkout reads it: three YAML files, the motions, and flags."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.files import write_atomic, write_text_atomic
from mimickit_hydra.foreign import read_yaml
from mimickit_hydra.mimickit.bridge_older import ArrayFrames, older_flags
from mimickit_hydra.mimickit.checkout import Checkout
from mimickit_hydra.motion.dataset import DATASET_SUFFIXES, HELD_OUT, files_of_set, read_dataset
from mimickit_hydra.motion.importers import import_clip

SECTIONS = ("engine", "env", "agent")
_FILE_SUFFIXES = (".xml", ".urdf", ".usd", ".obj", ".stl", ".pkl", ".npz", ".yaml", ".pt")
_COUNTS = ("_batch_size", "_samples", "_buffer_size")  # whole numbers on their side


OURS = (
    "observations", "rewards", "terminations", "events", "critic_observations", "state_estimation", "action_about",
    "sampling", "sampling_params", "motion_split", "held_out",
)  # fmt: skip


def sections(run: RunConfig) -> dict[str, dict[str, Any]]:
    """The values of engine, env and agent as plain containers, with the open tables of ``core`` laid over them.

    A key without a value is left out, as MimicKit's own files do.
    """
    found = {}
    for name in SECTIONS:
        composed = _plain(dataclasses.asdict(getattr(run, name)))
        for key in OURS:  # not there, see checks; of a set it gets the clips to train on
            composed.pop(key, None)
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


class Files:
    """Finds the files that a config names, the checkout's own first, and puts what needs another form in ``folder``."""

    def __init__(self, checkout: Checkout, data_root: Sequence[str], folder: Path) -> None:
        self._checkout = checkout
        self._roots = [str(checkout.data), *data_root]
        self._folder = folder
        self._written: dict[Path, Path] = {}  # the clip that a file of ours holds

    def localise(self, values: Any, key: str) -> Any:
        """``values`` with every file name replaced by an absolute path that the checkout can read."""
        if isinstance(values, Mapping):
            return {name: self.localise(value, f"{key}.{name}") for name, value in values.items()}
        if isinstance(values, list):
            return [self.localise(value, f"{key}[{index}]") for index, value in enumerate(values)]
        leaf = key.rpartition(".")[2]
        if not isinstance(values, str) or not (leaf == "motion_file" or values.endswith(_FILE_SUFFIXES)):
            return values
        if leaf == "motion_file" and (several := files_of_set(values, self._roots)):
            return str(self._list("clips.yaml", [(clip, 1.0) for clip in several]))
        path = self._find(values, key)
        if leaf == "motion_file":
            return str(self._dataset(path, key) if path.suffix in DATASET_SUFFIXES else self._motion(path))
        if leaf == "smp_prior_cfg":
            return str(self._prior_config(path))
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
        """The path of a motion as ``.pkl``, which is all that MimicKit reads: another file is written out as one."""
        if path.suffix == ".pkl":
            return path
        clip = import_clip(path)
        frames = clip.frames.tolist()
        fields = {
            "loop_mode": int(clip.loop_mode),
            "fps": int(clip.fps) if float(clip.fps).is_integer() else float(clip.fps),
            "frames": ArrayFrames(frames) if self._checkout.array_frames else frames,
        }
        target = self._folder / "motions" / f"{path.stem}.pkl"
        while self._written.setdefault(target, path) != path:  # clips of one name in two folders
            target = target.with_stem(f"{target.stem}_")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, lambda file: pickle.dump(fields, file, protocol=4))
        return target

    def _prior_config(self, path: Path) -> Path:
        """A prior's config whose env config is found beside it, where a prior trained here has it."""
        import yaml

        try:
            values = read_yaml(path)
            beside = path.parent / str(values["env_config"])
            if (self._checkout.root / str(values["env_config"])).is_file() or not beside.is_file():
                return path
        except (UserError, KeyError, TypeError, OSError, ValueError):
            return path  # its own code says what is wrong with it
        target = self._folder / path.name
        write_text_atomic(target, yaml.safe_dump({**values, "env_config": str(beside)}, sort_keys=False))
        return target

    def _dataset(self, path: Path, key: str) -> Path:
        """A dataset with each of its motions found and in the right form, without those that are held out."""
        try:
            dataset = read_dataset(path)
            roots = [str(self._checkout.root), *self._roots]
            found = [(dataset.find(entry.file, roots), entry) for entry in dataset.entries]
        except UserError as error:
            raise UserError(f"{key}: {error}") from None
        return self._list(path.name, [(clip, entry.weight) for clip, entry in found if entry.split != HELD_OUT])

    def _list(self, name: str, clips: Sequence[tuple[Path, float]]) -> Path:
        import yaml

        entries = [{"file": str(self._motion(clip)), "weight": weight} for clip, weight in clips]
        target = self._folder / "motions" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(target, yaml.safe_dump({"motions": entries}, sort_keys=False))
        return target


def write_sections(values: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, Path]:
    """Write ``engine_config.yaml``, ``env_config.yaml`` and ``agent_config.yaml`` into ``folder``."""
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


def flags(
    run: RunConfig,
    configs: Mapping[str, Path],
    model_file: Path | None,
    out_dir: Path,
    checkout: Checkout | None = None,
) -> list[str]:
    """The flags of the checkout's command line; those in ``core.args`` replace ours."""
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
    if checkout is not None and checkout.blocks:
        values = older_flags(values, checkout)
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
