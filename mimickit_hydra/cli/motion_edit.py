"""``mimickit motion cut|resample|mirror|loop|join|ground|smooth``: operations on clips."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.errors import UserError

if TYPE_CHECKING:
    from mimickit_hydra.motion.character import CharacterModel
    from mimickit_hydra.motion.clip import MotionClip

# name: help, and its options as name, default, help
ACTIONS: dict[str, tuple[str, tuple[tuple[str, float, str], ...]]] = {
    "cut": ("keep a part of a clip", (("start", 0.0, "s (0)"), ("end", math.inf, "s (its end)"))),
    "resample": ("change a clip's rate", (("fps", math.nan, "frames per second"),)),
    "mirror": ("exchange left and right", ()),
    "loop": ("make a clip repeat", (("blend", 0.3, "s at its end that turn into its first pose (0.3)"),)),
    "join": ("put clips one after the other", (("blend", 0.3, "s that are faded into each other (0.3)"),)),
    "ground": ("put a clip on the ground", (("below", 0.0, "share of the frames that may be lower (0)"),)),
    "smooth": ("take out what is fast", (("cutoff", 8.0, "Hz, of a filter that delays nothing (8)"),)),
}


def add_actions(actions: Any, add_character: Any) -> None:
    """Add a parser for each operation; ``add_character`` adds the option that names the character."""
    for name, (text, options) in ACTIONS.items():
        parser = actions.add_parser(name, help=text)
        parser.add_argument("files", nargs="+", metavar="FILE", help="a clip, or the name of a bundled one (walk)")
        parser.add_argument(
            "-o", "--out", required=True, metavar="OUT", help="a directory, or for one clip a .npz file"
        )
        for option, default, what in options:
            required = math.isnan(default)
            parser.add_argument(f"--{option}", type=float, default=default, required=required, metavar="X", help=what)
        add_character(parser)


def run(args: argparse.Namespace, character: CharacterModel, files: list[Path], targets: list[Path | None]) -> int:
    """Run an operation on ``files`` and write the results to ``targets``, or below ``args.out`` where one is None."""
    import numpy as np

    from mimickit_hydra.motion.clip import save_clip
    from mimickit_hydra.motion.importers import import_clip

    values = [getattr(args, option) for option, _, _ in ACTIONS[args.motion_action][1]]
    clips = [import_clip(file, character=character) for file in files]
    pairs: list[tuple[MotionClip, MotionClip]]
    if args.motion_action == "join":
        from mimickit_hydra.motion.edit import join

        if len(clips) < 2:
            raise UserError("motion join: found one clip, must be two or more")
        pairs = [(clips[0], join(clips, character, *values))]
    else:
        pairs = [(clip, _edited(args.motion_action, clip, character, values, args.character)) for clip in clips]
    for (before, after), target in zip(pairs, targets, strict=False):
        out = target or Path(args.out) / f"{before.name}.npz"
        after.name = out.stem
        save_clip(out, after)
        same = np.array_equal(before.frames, after.frames, equal_nan=True)
        mode = after.loop_mode.name.lower()
        unchanged = ", every number as it was" if same else ""
        print(f"{out}: {after.num_frames} frames at {after.fps:g} Hz, {after.length:.2f} s, {mode}{unchanged}")
    return 0


def _edited(action: str, clip: MotionClip, character: CharacterModel, values: list[Any], name: str) -> MotionClip:
    from mimickit_hydra.motion import edit

    if action == "mirror":
        values = [symmetry(name)]
    if action == "cut":
        return edit.cut(clip, *values)
    operation: Any = getattr(edit, action)
    edited: MotionClip = operation(clip, character, *values)
    return edited


def symmetry(name: str) -> dict[str, str]:
    """The pairs that a character's YAML states; none where it is a file of its own."""
    from mimickit_hydra.config.groups import groups
    from mimickit_hydra.foreign import read_yaml

    path = {option.name: option.path for option in groups()["character"].options}.get(name)
    stated: dict[str, str] = read_yaml(path).get("symmetry") or {} if path else {}
    return stated
