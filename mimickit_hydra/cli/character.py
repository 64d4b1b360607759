"""``mimickit character add``: makes a character of a robot's file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.errors import UserError

if TYPE_CHECKING:
    from mimickit_hydra.assets.add import Added
    from mimickit_hydra.assets.trial import Trial


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("character", help="make a character of a robot's file (MJCF or URDF)")
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="derive what a run needs to know of a robot, try it out, and write its YAML")
    add.add_argument("file", metavar="ROBOT", help="an MJCF (.xml) or a URDF (.urdf)")
    add.add_argument("--name", default="", metavar="NAME", help="what to call it (after its file)")
    add.add_argument("--like", default="", metavar="CHARACTER", help="take pose, action and agent settings from it")
    add.add_argument("--force", action="store_true", help="replace the character of this name that was added before")
    add.add_argument("--no-trial", action="store_true", help="do not simulate it, do not draw it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """``add``: exit status 1 where the trial shows something wrong."""
    from mimickit_hydra.assets.add import add

    added = add(Path(args.file), args.name, args.like, args.force)
    trial, picture = None, ""
    if not args.no_trial:
        from mimickit_hydra.assets.trial import try_out

        trial = try_out(added.char_file, added.posed.values, added.gains, added.anatomy.height)
        picture = _draw(added)
    _print(added, trial, picture)
    return 0


def _draw(added: Added) -> str:
    """Draw the robot with the names of its key bodies; the file, or why there is none."""
    from mimickit_hydra.view.portrait import draw

    out = added.written[-1].parent / f"{added.name}.png"
    try:
        by = draw(
            out, added.char_file, added.character, added.posed.values, added.anatomy.key_bodies, added.anatomy.extent
        )
    except UserError as error:
        return f"none: {error}"
    return f"{out} ({by})"


def _print(added: Added, trial: Trial | None, picture: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from mimickit_hydra.config.schema import CharacterConfig

    console = Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())
    robot, anatomy, values = added.robot, added.anatomy, added.values
    table = Table(title=f"{added.name}: {added.char_file}", title_justify="left", show_header=False)
    table.add_column("what", no_wrap=True)
    table.add_column("value")
    stated = int((robot.kp > 0).sum())
    signs = sum(sign < 0 for _, _, sign in anatomy.signs)
    rows = {
        "size": f"{robot.masses.sum():.2f} kg, {anatomy.height:.2f} m high, {len(robot.body_names)} bodies, "
                f"{robot.num_dofs} DoFs",
        "root": f"{robot.body_names[0]}, at {added.posed.values[2]:.3f} m: its lowest shape touches the ground",
        "initial pose": added.posed.source,
        "feet": f"{', '.join(anatomy.feet)} (ends of the tree that stand on the ground)",
        "hands": ", ".join(anatomy.hands) or "none",
        "head": anatomy.head or "none",
        "anchor": f"{anatomy.anchor} (both arms hang on it)" if anatomy.anchor else f"{robot.body_names[0]} (the root)",
        "contact bodies": ", ".join(anatomy.contact_bodies),
        "joint weights": "1 near the trunk, 0.6 and 0.5 towards hands and feet, 0.2 fingers, 0 what does not move",
        "gains": f"{stated} of {robot.num_dofs} joints have gains in the file"
                 + (f"; the others {added.gains} (10 Hz, damping ratio 2)" if added.gains else ""),
        "actions": "around zero" if values.get("zero_center_action") else "around the middle of each joint's range",
        "symmetry": f"{len(anatomy.symmetry)} pairs of bodies; {signs} of {len(anatomy.signs)} hinges change sign",
        "self-collision": "as the file says: all but neighbours and what it excludes",
        "pose termination": f"{values.get('pose_termination_dist', CharacterConfig.pose_termination_dist):g} m",
    }  # fmt: skip
    for key, text in rows.items():
        table.add_row(key, text)
    if trial:
        for line in trial.seen:
            table.add_row("trial", line)
        table.add_row("picture", picture)
    console.print(table)
    for line in added.notes:
        console.print(f"note: {line}", markup=False)
    for line in trial.wrong if trial else ():
        console.print(f"looks wrong: {line}", markup=False)
    for path in added.written:
        console.print(f"wrote {path}", markup=False)
    console.print(f"try it: python train.py character={added.name}   or   env.motion_file=CLIP with it", markup=False)
