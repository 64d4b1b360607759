"""``mimickit motion retarget``: the motion of a person or a robot as a clip of another robot."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.errors import UserError

if TYPE_CHECKING:
    from mimickit_hydra.motion.character import CharacterModel
    from mimickit_hydra.motion.retarget.quality import Quality
    from mimickit_hydra.motion.retarget.source import SourceMotion


def add_action(actions: Any, add_character: Any) -> None:
    """Add ``retarget``; ``add_character`` adds the option that names the source's character."""
    parser = actions.add_parser("retarget", help="turn a motion of a person or a robot into a clip of another robot")
    parser.add_argument("files", nargs="+", metavar="FILE", help="BVH, AMASS or SMPL, a robot's clip, a bundled one")
    parser.add_argument("--to", required=True, metavar="CHARACTER", help="the robot: a character, or its MJCF")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="a directory, or for one clip a .npz file")
    parser.add_argument(
        "--format", default="", metavar="NAME", help="the importer to read them with (by their content)"
    )
    limbs = "which joints of the source are its limbs: a name or a YAML"
    parser.add_argument("--skeleton", default="", metavar="NAME", help=limbs)
    parser.add_argument("--to-skeleton", default="", metavar="NAME", help="likewise, of the robot")
    parser.add_argument("--scale", type=float, metavar="X", help="of the way and the steps (by the length of the legs)")
    parser.add_argument("--max-speed", type=float, metavar="X", help="rad/s that no joint exceeds (the robot's)")
    other = "another clip of the robot with the same motion, to measure"
    parser.add_argument("--compare", default="", metavar="CLIP", help=other)
    parser.add_argument("--report", default="", metavar="FILE", help="a .json file for the figures")
    add_character(parser)


def run(
    args: argparse.Namespace,
    files: list[Path],
    targets: list[Path | None],
    character_of: Callable[[str], CharacterModel],
    init_pose: list[float] | None,
) -> int:
    """Retarget ``files`` and write the clips to ``targets``, or below ``args.out`` where one is None."""
    import numpy as np

    from mimickit_hydra.files import write_wanted
    from mimickit_hydra.motion.clip import save_clip
    from mimickit_hydra.motion.importers import import_clip
    from mimickit_hydra.motion.retarget.run import retarget
    from mimickit_hydra.motion.retarget.solve import need_mink

    need_mink()
    if args.compare and len(files) > 1:
        raise UserError(f"--compare {args.compare}: found {len(files)} clips, must be one")
    character = character_of(args.to)
    posture = None if init_pose is None else np.asarray(init_pose, dtype=float)
    figures: dict[str, Any] = {}
    for path, target in zip(files, targets, strict=True):
        source = _source(path, args, character_of)
        done = retarget(source, character, args.to_skeleton, args.scale, args.max_speed, posture)
        out = target or Path(args.out) / f"{Path(done.clip.name).name or 'clip'}.npz"
        if out.exists() and out.samefile(path):
            raise UserError(f"{out}: is the file that is retargeted; name another with -o")
        done.clip.name = out.stem
        save_clip(out, done.clip)
        rate = done.clip.num_frames / max(done.seconds, 1e-9)
        print(
            f"{out}: {done.clip.num_frames} frames at {done.clip.fps:g} Hz, scale {done.scale:.3f}, {rate:.0f} frames/s"
        )
        for line in [*source.assumed, *done.skeleton.assumed]:
            print(f"  {line}")
        measured = {out.name: done.quality}
        if args.compare:
            measured[Path(args.compare).name] = done.measure(import_clip(args.compare, character=character))
        for name, quality in measured.items():
            print(f"  {name}: {_line(quality, done.max_speed)}")
        figures[str(out)] = {
            "source": str(path), "scale": done.scale, "frames_per_second": rate, "max_speed": done.max_speed,
            "quality": {name: quality.to_json() for name, quality in measured.items()},
        }  # fmt: skip
    if args.report:
        text = json.dumps(figures, indent=2) + "\n"
        write_wanted(Path(args.report), lambda file: file.write(text.encode()))
    return 0


def _source(path: Path, args: argparse.Namespace, character_of: Callable[[str], CharacterModel]) -> SourceMotion:
    from mimickit_hydra.motion.clip import MotionClip
    from mimickit_hydra.motion.human import HumanMotion
    from mimickit_hydra.motion.importers import import_clip, read_motions
    from mimickit_hydra.motion.retarget.source import of_clip, of_human

    found = read_motions(path, args.format)[1]
    if len(found) == 1 and not isinstance(found[0], MotionClip):
        human = found[0] if isinstance(found[0], HumanMotion) else found[0].human()
        if human is not None:
            return of_human(human, args.skeleton)
    character = character_of(args.character)
    return of_clip(import_clip(path, args.format, character), character, args.skeleton)


def _line(quality: Quality, max_speed: float) -> str:
    return (
        f"standing feet move at {quality.skate:.3f} m/s, {100 * quality.penetration:.1f} cm in the ground at worst "
        f"({quality.deep:.0%} of frames above 1 cm), beyond limits in {quality.limits:.1%} of frames, faster than "
        f"{max_speed:g} rad/s in {quality.speed:.1%} (fastest {quality.fastest:.1f}), "
        f"{100 * quality.tracking:.1f} cm from where it should be"
    )
