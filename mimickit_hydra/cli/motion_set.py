"""``mimickit motion set``: makes a set of clips."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.errors import UserError

if TYPE_CHECKING:
    from mimickit_hydra.motion.character import CharacterModel


def add_action(actions: Any, add_character: Any) -> None:
    """Add the parser; ``add_character`` adds the option that names the character."""
    parser = actions.add_parser("set", help="make a set of the clips in folders: check, weigh, split, no clip twice")
    parser.add_argument("files", nargs="+", metavar="IN", help="folders, patterns, lists or clips")
    parser.add_argument("-o", "--out", required=True, metavar="SET.yaml")
    parser.add_argument("--weights", choices=("length", "equal"), default="length", help="what counts alike (length)")
    parser.add_argument(
        "--held-out", type=float, default=0.0, metavar="X", help="share of the clips not trained on (0)"
    )
    parser.add_argument("--licence", default="", help="of clips that do not state their own")
    parser.add_argument("--keep-serious", action="store_true", help="keep clips with serious findings of motion check")
    parser.add_argument("--keep-near", action="store_true", help="keep clips that are nearly the same as others")
    add_character(parser)


def run(args: argparse.Namespace, character: CharacterModel) -> int:
    """Collect the clips, write the set, and print a line for each."""
    from mimickit_hydra.cli.text import columns
    from mimickit_hydra.motion.collect import collect, write_set
    from mimickit_hydra.motion.dataset import HELD_OUT, clip_files

    out = Path(args.out)
    if out.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out {out}: must end in .yaml")
    if not 0 <= args.held_out < 1:
        raise UserError(f"--held-out {args.held_out:g}: must be from 0 to less than 1")
    files = list(dict.fromkeys(file for name in args.files for file in clip_files(name)))
    found = collect(
        [file for file in files if file != out.resolve()], character, weights=args.weights, held_out=args.held_out,
        licence=args.licence, keep_serious=args.keep_serious, keep_near=args.keep_near,
    )  # fmt: skip
    write_set(out, found, character.name)
    kept = [entry for entry in found if not entry.reason]
    rows = [
        (entry.file.name, f"{entry.facts['seconds']:.2f} s, weight {entry.weight:g}, {entry.split}",
         "; ".join(entry.facts.get("notes", [])))
        for entry in kept
    ]  # fmt: skip
    print("\n".join(columns(rows)))
    for entry in found:
        if entry.reason:
            print(f"left out: {entry.file}: {entry.reason}")
    held = sum(entry.split == HELD_OUT for entry in kept)
    minutes = sum(entry.facts["seconds"] for entry in kept) / 60
    print(f"{out}: {len(kept)} of {len(found)} clips, {minutes:.1f} min, {held} held out")
    return 0
