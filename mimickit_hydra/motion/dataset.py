"""Sets of clips: a YAML that names clips and weighs them, a folder of clips, or a pattern such as ``clips/*.npz``.

Training, checks and records find the clips here.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mimickit_hydra.config.paths import find_data_folder, matching_data_files, resolve_data_file, with_npz
from mimickit_hydra.errors import UserError, suggestion
from mimickit_hydra.foreign import read_yaml, sha256_of
from mimickit_hydra.motion.importers import suffixes

DATASET_SUFFIXES = (".yaml", ".yml")
TRAIN, HELD_OUT, ALL = "train", "held_out", "all"
_KEYS = ("motions", "root_path", "description")
_ENTRY_KEYS = ("file", "weight", "description", "split", "sha256", "licence", "facts")
_TEXTS = (".txt", ".json")  # clips in a folder that holds no others; elsewhere notes and the like


class SetClip(NamedTuple):
    """A clip of a set, found. ``split`` is ``train`` or ``held_out``; ``sha256`` is that of its file, "" if unsaid."""

    file: Path
    weight: float
    split: str = TRAIN
    sha256: str = ""


class DatasetEntry(NamedTuple):
    """One line of a dataset. ``split`` and ``sha256`` are empty where it does not say."""

    file: str
    weight: float
    split: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Dataset:
    """A list of clips. ``root`` is the folder that its ``root_path`` names, "" if it has none."""

    path: Path
    root: str
    entries: list[DatasetEntry]

    def find(self, file: str, data_root: Sequence[str] = ()) -> Path:
        """The clip of an entry: in the list's ``root_path``, beside the list, else as for any file that a config names.

        A relative ``root_path`` starts where the list lies, or where configs' paths do. UserError if there is none.
        """
        inside = os.path.join(os.path.expanduser(self.root), os.path.expanduser(file))
        for place in (self.path.parent / inside, self.path.parent / file):
            for candidate in with_npz(place):
                if os.path.isfile(candidate):
                    return candidate.resolve()
        try:
            return resolve_data_file(inside, data_root)
        except UserError:
            try:
                return resolve_data_file(file, data_root)
            except UserError as error:
                raise UserError(f"{self.path}: {error}") from None


def read_dataset(path: Path) -> Dataset:
    """Read a list: ``motions:`` with ``file`` and ``weight`` each. Raises UserError with one line."""
    content = read_yaml(path)
    motions = content.get("motions") if isinstance(content, Mapping) else None
    if not isinstance(motions, list) or not motions:
        raise UserError(f"{path}: a dataset is a non-empty list under the key 'motions'")
    _refuse_unknown(content, _KEYS, str(path))
    root = content.get("root_path") or ""
    if not isinstance(root, str):
        raise UserError(f"{path}: root_path is {root!r}, expected a folder")
    entries = [_entry(f"{path}: motions[{number}]", item) for number, item in enumerate(motions)]
    if not any(entry.weight > 0 for entry in entries):
        raise UserError(f"{path}: the weights of all motions are 0; at least one must be above 0")
    return Dataset(path, root, entries)


def clips_of(
    name: str, data_root: Sequence[str] = (), *, split: str = ALL, held_out: float = 0.0, key: str = "env.motion_split"
) -> list[SetClip]:
    """The clips of what a config calls ``motion_file``: one, or a list's, a folder's or a pattern's.

    Args:
        name: as the config has it.
        data_root: where files are looked for.
        split: ``train``, ``held_out`` or ``all``.
        held_out: the share of the clips that are held out, chosen by the hash of their files, where no list says which.
        key: of ``split``, for messages.

    Raises:
        UserError: a clip is missing, or none is left.
    """
    clips = [_with_split(clip, held_out) for clip in _found(name, data_root)]
    chosen = clips if split == ALL else [clip for clip in clips if clip.split == split]
    if not chosen:
        other = HELD_OUT if split == TRAIN else TRAIN
        raise UserError(
            f"{key}: found {split}, but all {len(clips)} clips of {name} are {other}; must be {other}, {ALL}"
        )
    return chosen


def run_clips(run: Any) -> list[SetClip]:
    """The clips of a run, a ``RunConfig``: of a set those to train on, and all in a test, unless it says which."""
    env = run.env
    split = getattr(env, "motion_split", None) or (ALL if run.mode == "test" else TRAIN)
    return clips_of(env.motion_file, run.data_root, split=split, held_out=getattr(env, "held_out", 0.0))


def clip_files(path: str, data_root: Sequence[str] = ()) -> list[Path]:
    """The files of :func:`clips_of`."""
    return [clip.file for clip in clips_of(path, data_root)]


def _found(name: str, data_root: Sequence[str]) -> list[SetClip]:
    try:
        file = resolve_data_file(name, data_root)
    except UserError:
        if files := files_of_set(name, data_root):
            return [SetClip(file, 1.0, "") for file in files]
        raise
    if file.suffix not in DATASET_SUFFIXES:
        return [SetClip(file, 1.0, "")]
    dataset = read_dataset(file)
    return [SetClip(dataset.find(entry.file, data_root), *entry[1:]) for entry in dataset.entries]


def files_of_set(name: str, data_root: Sequence[str] = ()) -> list[Path]:
    """The clips below the folder ``name``, or those that match it as a pattern, sorted; none for any other name.

    UserError for a folder without clips, or a pattern that nothing matches.
    """
    if (folder := find_data_folder(name, data_root)) is not None:
        clips = [file for file in sorted(folder.rglob("*")) if file.suffix in suffixes() and _is_shown(file, folder)]
        clips = [file for file in clips if file.suffix not in _TEXTS] or clips
        if not clips:
            raise UserError(f"{name}: no clip in this folder; clips end in {', '.join(suffixes())}")
        return clips
    if not any(sign in name for sign in "*?["):
        return []
    if not (clips := [file for file in matching_data_files(name, data_root) if file.suffix in suffixes()]):
        raise UserError(f"{name}: no clip matches this pattern; clips end in {', '.join(suffixes())}")
    return clips


def _is_shown(file: Path, folder: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)


def _with_split(clip: SetClip, held_out: float) -> SetClip:
    if clip.split:
        return clip
    return clip._replace(split=split_of(clip.sha256 or sha256_of(clip.file), held_out) if held_out > 0 else TRAIN)


def split_of(sha256: str, held_out: float) -> str:
    """The split of a clip by the hash of its file: the same on every machine, whatever other clips there are."""
    return HELD_OUT if int(sha256[:13], 16) < held_out * 16**13 else TRAIN


def _entry(where: str, item: Any) -> DatasetEntry:
    if not isinstance(item, Mapping) or "file" not in item or "weight" not in item:
        raise UserError(f"{where} needs the keys 'file' and 'weight'")
    _refuse_unknown(item, _ENTRY_KEYS, where)
    if not isinstance(item["file"], str):
        raise UserError(f"{where}.file is {item['file']!r}, expected a path")
    if item["file"].endswith(DATASET_SUFFIXES):
        raise UserError(f"{where}.file is {item['file']!r}: a dataset inside a dataset is not supported")
    split = item.get("split", "")
    if split not in ("", TRAIN, HELD_OUT):
        raise UserError(f"{where}.split is {split!r}, expected {TRAIN} or {HELD_OUT}")
    sha256 = item.get("sha256", "")
    if sha256 and not (isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256)):
        raise UserError(f"{where}.sha256 is {str(sha256)[:80]!r}, expected 64 hexadecimal digits")
    return DatasetEntry(item["file"], _weight(item["weight"], where), split, sha256)


def _refuse_unknown(item: Mapping[Any, Any], allowed: Sequence[str], where: str) -> None:
    for key in item:
        if key not in allowed:
            hint = suggestion(str(key), list(allowed))
            raise UserError(f"{where} has the unknown key {key!r}{hint}; allowed are {', '.join(allowed)}")


def _weight(value: Any, where: str) -> float:
    try:
        weight = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        weight = float("nan")
    if not (math.isfinite(weight) and weight >= 0):
        raise UserError(f"{where}.weight is {value!r}, expected a number >= 0")
    return weight
