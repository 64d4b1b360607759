"""Readers of motion files, registered by name; each turns one file into a clip, a recording or a human's motion.

A :class:`~mimickit_hydra.motion.clip.MotionClip` is ready. A :class:`.recording.Recording` is a robot's motion in the
order of its file, which :mod:`.placing` brings into that of a character. A
:class:`~mimickit_hydra.motion.human.HumanMotion` is a skeleton's, which only a character with the same bodies can have
as it is. A reader of a file with several clips returns a list.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.errors import UserError, must_be_one_of
from mimickit_hydra.motion.importers.glance import Glance
from mimickit_hydra.plugins import IMPORTERS, load_place

if TYPE_CHECKING:
    from mimickit_hydra.motion.character import CharacterModel
    from mimickit_hydra.motion.clip import MotionClip
    from mimickit_hydra.motion.importers.recording import Wishes


def suffixes() -> dict[str, list[str]]:
    """The names of the importers that read each suffix."""
    found: dict[str, list[str]] = {}
    for entry in IMPORTERS.entries():
        for suffix in entry.facts["suffixes"]:
            found.setdefault(suffix, []).append(entry.name)
    return found


def importer_of(path: Path, name: str = "") -> str:
    """The importer called ``name``, else the one that recognises the file, else the one for all files of its suffix.

    UserError with one line where there is none, or where several can read it.
    """
    if name:
        if name not in IMPORTERS:
            raise must_be_one_of("--format", name, list(IMPORTERS))
        return name
    names = suffixes().get(path.suffix, [])
    if not names:
        known = ", ".join(f"{suffix} ({IMPORTERS[who].facts['title']})" for suffix, (who, *_) in suffixes().items())
        raise UserError(f"{path}: cannot import {path.suffix or 'a file without extension'}; known are {known}")
    glance = Glance(path)
    places = {who: IMPORTERS[who].facts["knows"] for who in names}
    known_by = [who for who, place in places.items() if place and load_place(place, f"importer {who}")(glance)]
    found = known_by or [who for who, place in places.items() if not place] or names
    if len(found) > 1:
        raise UserError(f"{path}: {', '.join(found)} read {path.suffix}; import it with --format and one of them")
    return found[0]


def read_motions(path: str | Path, name: str = "") -> tuple[str, list[Any]]:
    """The importer of a file, and what it reads: clips, recordings and human motions. UserError with one line."""
    path = Path(path)
    who = importer_of(path, name)
    found = IMPORTERS[who].load()(path)
    return who, found if isinstance(found, list) else [found]


def import_clips(
    path: str | Path, name: str = "", character: CharacterModel | None = None, wishes: Wishes | None = None
) -> list[tuple[MotionClip, list[str]]]:
    """All clips of a file for ``character``, each with lines that say what was assumed.

    Args:
        path: the file.
        name: of the importer; by default the one that recognises the file.
        character: whose order of joints they get; only clips of this project and MimicKit's do without.
        wishes: what the user says that the file does not.

    Raises:
        UserError: in one line, with the option that answers where something has to be said.
    """
    from mimickit_hydra.motion.human import HumanMotion
    from mimickit_hydra.motion.importers.recording import Recording

    who, found = read_motions(path, name)
    if character is None and any(isinstance(one, Recording | HumanMotion) for one in found):
        title = IMPORTERS[who].facts["title"]
        raise UserError(f"{path}: {title}, of which robot? mimickit motion import {path} --character NAME -o OUT")
    return [_as_clip(one, character, wishes) for one in found]


def import_clip(path: str | Path, name: str = "", character: CharacterModel | None = None) -> MotionClip:
    """The one clip of a file, as :func:`import_clips`; UserError for several."""
    clips = import_clips(path, name, character)
    if len(clips) != 1:
        whom = character.name if character is not None else "NAME"
        raise UserError(
            f"{path}: holds {len(clips)} clips; import them: mimickit motion import {path} --character {whom} -o DIR"
        )
    return clips[0][0]


def _as_clip(found: Any, character: CharacterModel | None, wishes: Wishes | None) -> tuple[MotionClip, list[str]]:
    from mimickit_hydra.motion.human import HumanMotion
    from mimickit_hydra.motion.importers.placing import to_clip
    from mimickit_hydra.motion.importers.recording import Recording

    if isinstance(found, HumanMotion):
        found = Recording.of_human(found)
    if isinstance(found, Recording) and character is not None:
        return to_clip(found, character, wishes)
    clip: MotionClip = found
    if wishes is not None and wishes.fps:
        clip.fps = wishes.fps
    return clip, []
