"""Collects clips into a set: looks at each, leaves out what is broken or there already, weighs and splits the rest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.errors import UserError
from mimickit_hydra.files import write_wanted
from mimickit_hydra.foreign import sha256_of
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.check import OK, SERIOUS, check_clip
from mimickit_hydra.motion.clip import MotionClip
from mimickit_hydra.motion.dataset import HELD_OUT, split_of
from mimickit_hydra.motion.geometry import SupportPoints
from mimickit_hydra.motion.importers import import_clip
from mimickit_hydra.motion.library import check_fits

SAMPLES = 32  # poses by which two clips are compared
NEAR = 0.03  # rad or m, the largest difference of any of them in clips that are the same
NEAR_LENGTH = 0.01  # of the length
WEIGHTS = ("length", "equal")


@dataclass
class Collected:
    """A clip that was looked at. ``reason`` says why it is left out; "" if it is not."""

    file: Path
    reason: str = ""
    sha256: str = ""
    licence: str = ""
    weight: float = 0.0
    split: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    poses: np.ndarray | None = None  # [SAMPLES, 1 + D]


def collect(
    files: Sequence[Path],
    character: CharacterModel,
    *,
    weights: str = "length",
    held_out: float = 0.0,
    licence: str = "",
    keep_serious: bool = False,
    keep_near: bool = False,
) -> list[Collected]:
    """Look at every file, in order; of clips that are the same the first stays.

    Args:
        files: of clips.
        character: whose clips they are; those of another one are left out.
        weights: ``length``, so that every second of the set counts the same, or ``equal``, so that every clip does.
        held_out: the share of the clips that is held out, chosen by the hash of their files.
        licence: of clips that do not state their own.
        keep_serious: keep clips that ``motion check`` calls serious.
        keep_near: keep clips that are nearly the same as others.
    """
    points = SupportPoints(character)
    found: list[Collected] = []
    for file in files:
        entry = _look(file, character, points, keep_serious)
        if not entry.reason:
            entry.reason = _there_already(entry, (other for other in found if not other.reason), keep_near)
        if not entry.reason:
            entry.weight = round(entry.facts["seconds"], 3) if weights == "length" else 1.0
            entry.split = split_of(entry.sha256, held_out)
            entry.licence = entry.licence or licence
        found.append(entry)
    return found


def _look(file: Path, character: CharacterModel, points: SupportPoints, keep_serious: bool) -> Collected:
    try:
        clip = import_clip(file, character=character)
        check_fits(clip, character)
        findings = check_clip(clip, character, points).findings
        entry = Collected(file, sha256=sha256_of(file), licence=clip.meta.get("licence", ""))
    except UserError as error:
        return Collected(file, reason=str(error).removeprefix(f"{file}: "))
    serious = [f"{one.check}: {one.detail}" for one in findings if one.status == SERIOUS]
    if serious and not keep_serious:
        entry.reason = "; ".join(serious)
    entry.facts = {
        "frames": clip.num_frames, "fps": round(clip.fps, 6), "seconds": round(clip.length, 6),
        "loop": clip.loop_mode.name.lower(),
    }  # fmt: skip
    if notes := [f"{one.check}: {one.detail}" for one in findings if one.status != OK]:
        entry.facts["notes"] = notes
    entry.poses = _poses(clip)
    return entry


def _poses(clip: MotionClip) -> np.ndarray:
    """Height and joints at even times: what does not depend on where a clip begins, or on its rate."""
    place = np.linspace(0, clip.num_frames - 1, SAMPLES)
    before = np.minimum(place.astype(int), clip.num_frames - 2)
    rows = np.nan_to_num(clip.frames[:, [2, *range(6, clip.frames.shape[1])]])
    part = (place - before)[:, None]
    return ((1 - part) * rows[before] + part * rows[before + 1]).astype(np.float32)


def _there_already(entry: Collected, others: Iterable[Collected], keep_near: bool) -> str:
    for other in others:
        if other.sha256 == entry.sha256:
            return f"the same file as {other.file}"
        if keep_near or other.poses is None or entry.poses is None:
            continue
        longer = max(other.facts["seconds"], entry.facts["seconds"])
        if abs(other.facts["seconds"] - entry.facts["seconds"]) > NEAR_LENGTH * longer:
            continue
        off = float(np.abs(other.poses - entry.poses).max())
        if off < NEAR:
            return f"nearly the same motion as {other.file} (never {max(off, 0.001):.3f} rad or m apart)"
    return ""


def write_set(path: Path, found: Sequence[Collected], character: str) -> None:
    """Write the set as YAML, files relative to it, with what was left out and why as comments above.

    UserError where no clip is left.
    """
    import yaml

    kept = [entry for entry in found if not entry.reason]
    if not kept:
        first = f"; the first is {found[0].file}: {found[0].reason}" if found else ""
        raise UserError(f"{path}: none of {len(found)} clips can be used{first}")
    seconds = sum(entry.facts["seconds"] for entry in kept)
    held = sum(entry.split == HELD_OUT for entry in kept)
    motions = []
    for entry in kept:
        row = {"file": os.path.relpath(entry.file.resolve(), path.resolve().parent), "weight": entry.weight}
        row |= {"split": entry.split, "sha256": entry.sha256}
        motions.append({**row, **({"licence": entry.licence} if entry.licence else {}), "facts": entry.facts})
    left_out = [" ".join(f"{entry.file}: {entry.reason}".split()) for entry in found if entry.reason]
    comments = [f"{len(kept)} clips of {character}, {seconds / 60:.1f} min, {held} held out; {len(left_out)} left out:"]
    about = "".join(f"# {line}\n" for line in [*comments, *left_out])
    text = yaml.safe_dump({"motions": motions}, sort_keys=False, allow_unicode=True, width=1000)
    write_wanted(path, lambda file: file.write((about + text).encode()))
