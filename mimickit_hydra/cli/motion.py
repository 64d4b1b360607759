"""``mimickit motion``: imports, checks, renders, describes, edits and collects motion clips."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.cli import motion_edit, motion_retarget, motion_set
from mimickit_hydra.cli.named import DEFAULT_CHARACTER, find_character, find_clip, named_value
from mimickit_hydra.errors import UserError

if TYPE_CHECKING:
    from mimickit_hydra.motion.character import CharacterModel
    from mimickit_hydra.motion.check import Report
    from mimickit_hydra.motion.clip import MotionClip

_MOST_FRAMES = 100_000  # of a video: nearly an hour of it


def add_parser(subparsers: Any) -> None:
    """Add ``motion`` and its actions to the command line."""
    parser = subparsers.add_parser("motion", help="import, check, view, edit and collect motion clips")
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(title="actions", dest="motion_action", metavar="ACTION", required=True)

    add = actions.add_parser("import", help="convert clips of other projects to .npz")
    add.add_argument("files", nargs="+", metavar="IN", help="motion files; mimickit list importers says which")
    add.add_argument("--character", default="", metavar="NAME", help="the robot of a recording, by name or its MJCF")
    add.add_argument("--format", default="", metavar="NAME", help="the importer to read them with (by their content)")
    add.add_argument("-o", "--out", default=".", metavar="OUT", help="a directory (this one), or for one clip a .npz")
    add.add_argument("--fps", type=float, metavar="HZ", help="frames per second, where the file does not say or errs")
    add.add_argument("--order", choices=("mujoco", "isaac"), default="", help="of joints and bodies, where unsaid")
    add.add_argument("--quat", choices=("xyzw", "wxyz"), default="", help="order of quaternions, where unsaid")
    add.add_argument("--loop", choices=("source", "clamp", "wrap"), default="source", help="loop mode (the source's)")
    add.add_argument("--source", default="", help="where the clip comes from, kept in the file")
    add.add_argument("--licence", default="", help="its licence, kept in the file")

    export = actions.add_parser("export", help="write clips in the formats of other projects")
    export.add_argument("files", nargs="+", metavar="CLIP", help="a clip, or the name of a bundled one (walk)")
    export.add_argument(
        "--to", required=True, metavar="FORMAT", help="csv, mjlab_npz, mimickit_pkl: mimickit list exporters"
    )
    export.add_argument("-o", "--out", default=".", metavar="OUT", help="a directory (this one), or one clip's file")
    _add_character(export)

    check = actions.add_parser("check", help="look for jumps, penetration, joint limits, foot skate, swapped sides")
    check.add_argument("files", nargs="+", metavar="FILE", help="a clip, a list, or the name of a bundled clip (walk)")
    check.add_argument("--json", action="store_true", help="print one JSON list instead of tables")
    _add_character(check)

    view = actions.add_parser("view", help="render a clip as a video, or show it in the browser")
    view.add_argument("file", metavar="FILE", help="a clip, or the name of a bundled one (walk)")
    view.add_argument("-o", "--out", metavar="OUT.mp4", help="the video (without one: a page, as mimickit view)")
    view.add_argument("--fps", type=float, default=30.0, help="frames per second of the video (30)")
    view.add_argument("--seconds", type=float, default=0.0, help="length; the default is the clip's own")
    _add_character(view)

    info = actions.add_parser("info", help="print what is in a clip")
    info.add_argument("files", nargs="+", metavar="FILE", help="a clip, or the name of a bundled one (walk)")
    _add_character(info)
    motion_set.add_action(actions, _add_character)
    motion_edit.add_actions(actions, _add_character)
    motion_retarget.add_action(actions, _add_character)


def run(args: argparse.Namespace) -> int:
    """Run the chosen action and return the exit status."""
    if args.motion_action in motion_edit.ACTIONS:
        return run_edit(args)
    actions = {
        "import": run_import,
        "export": run_export,
        "check": run_check,
        "view": run_view,
        "info": run_info,
        "set": run_set,
        "retarget": run_retarget,
    }
    return actions[args.motion_action](args)


def run_set(args: argparse.Namespace) -> int:
    """``set``: write a set of the clips that are found."""
    return motion_set.run(args, _character(args)[0])


def run_retarget(args: argparse.Namespace) -> int:
    """``retarget``: write one ``.npz`` of the character ``--to`` for each motion."""
    init_pose = None if args.to.endswith(".xml") else named_value("character", args.to, "init_pose", "to")
    files = [find_clip(name, args.character) for name in args.files]
    targets = [target for _, target in _import_targets(files, Path(args.out))]

    def character_of(name: str) -> CharacterModel:
        return _character(argparse.Namespace(character=name))[0]

    return motion_retarget.run(args, files, targets, character_of, init_pose)


def run_edit(args: argparse.Namespace) -> int:
    """An operation on clips: write one ``.npz`` for each, for ``join`` one of all."""
    files = [find_clip(name, args.character) for name in args.files]
    targets = _import_targets(files[:1] if args.motion_action == "join" else files, Path(args.out))
    return motion_edit.run(args, _character(args)[0], files, [target for _, target in targets])


def run_import(args: argparse.Namespace) -> int:
    """``import``: write one ``.npz`` for each input."""
    from mimickit_hydra.motion.clip import FPS
    from mimickit_hydra.motion.importers import import_clips
    from mimickit_hydra.motion.importers.recording import Wishes
    from mimickit_hydra.motion.library import check_fits

    if args.fps is not None and not FPS[0] <= args.fps <= FPS[1]:
        raise UserError(f"--fps: found {args.fps:g}, must be from {FPS[0]:g} to {FPS[1]:g}")
    character = _character(args)[0] if args.character else None
    wishes = Wishes(args.fps, args.order, args.quat)
    targets = _import_targets([Path(name) for name in args.files], Path(args.out))
    for path, target in targets:
        clips = import_clips(path, args.format, character, wishes)
        if target is not None and len(clips) > 1:
            raise UserError(f"{target}: the {len(clips)} clips of {path} cannot go into one file; give a directory")
        for clip, notes in clips:
            if character is not None:
                check_fits(clip, character)
            _write_import(args, path, target or Path(args.out) / f"{Path(clip.name).name or 'clip'}.npz", clip)
            for note in notes:
                print(f"  {note}")
    return 0


def _write_import(args: argparse.Namespace, path: Path, out: Path, clip: MotionClip) -> None:
    from mimickit_hydra.motion.clip import LoopMode, save_clip

    if out.exists() and out.samefile(path):
        raise UserError(f"{out}: is the file that is imported; name another with -o")
    if args.loop != "source":
        clip.loop_mode = LoopMode[args.loop.upper()]
    given = {"source": args.source, "licence": args.licence}
    clip.meta.update({key: value for key, value in given.items() if value})
    clip.name = out.stem
    save_clip(out, clip)
    print(f"{out}: {_facts(clip)}")


def run_export(args: argparse.Namespace) -> int:
    """``export``: write each clip as ``--to`` says."""
    from mimickit_hydra.motion.importers import import_clip
    from mimickit_hydra.motion.library import check_fits
    from mimickit_hydra.plugins import EXPORTERS

    exporter = EXPORTERS[args.to]
    (suffix,) = exporter.facts["suffixes"]
    character, _ = _character(args)
    files = [find_clip(name, args.character) for name in args.files]
    for path, target in _import_targets(files, Path(args.out), suffix):
        clip = import_clip(path, character=character)
        check_fits(clip, character)
        out = target or Path(args.out) / f"{Path(clip.name).name or 'clip'}{suffix}"
        if out.exists() and out.samefile(path):
            raise UserError(f"{out}: is the clip itself; name another file with -o")
        note = exporter.load()(out, clip, character)
        print(f"{out}: {_facts(clip)}{f'; {note}' if note else ''}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """``check``: exit status 1 if any clip has a serious finding."""
    from mimickit_hydra.motion.check import check_clip
    from mimickit_hydra.motion.dataset import clip_files
    from mimickit_hydra.motion.geometry import SupportPoints
    from mimickit_hydra.motion.importers import import_clip

    character, _ = _character(args)
    points = SupportPoints(character)
    files = [file for name in args.files for file in clip_files(str(find_clip(name, args.character)))]
    reports = [check_clip(import_clip(file, character=character), character, points) for file in files]
    if args.json:
        print(json.dumps([report.to_json() for report in reports], indent=2))
    else:
        for report in reports:
            _print_report(report)
    return int(any(report.serious for report in reports))


def run_view(args: argparse.Namespace) -> int:
    """``view``: render the clip, resampled to the video's rate, or show it in the browser."""
    if args.out is None:
        from mimickit_hydra.cli import view

        return view.run(argparse.Namespace(what=args.file, overrides=[], character=args.character, **view.HERE))
    if not 0 < args.fps < math.inf or not 0 <= args.seconds < math.inf:
        raise UserError(f"--fps {args.fps:g} --seconds {args.seconds:g}: expected finite numbers above 0")
    out = Path(args.out)
    if out.suffix != ".mp4":
        raise UserError(f"{out}: the video is an .mp4 file")

    import numpy as np
    import torch

    from mimickit_hydra.motion.importers import import_clip
    from mimickit_hydra.motion.library import MotionLibrary
    from mimickit_hydra.motion.trajectory import Trajectory
    from mimickit_hydra.view.video import render_video

    character, char_file = _character(args)
    clip = import_clip(find_clip(args.file, args.character), character=character)
    library = MotionLibrary([clip], [1.0], character)
    wanted = (args.seconds or clip.length) * args.fps
    if wanted > _MOST_FRAMES:
        raise UserError(
            f"--fps {args.fps:g}: {wanted:.3g} frames, at most {_MOST_FRAMES:,} are rendered; see --seconds"
        )
    count = max(2, round(wanted) + 1)
    times = torch.from_numpy(np.arange(count, dtype=np.float32) / np.float32(args.fps))
    pose = library.query(torch.zeros(count, dtype=torch.long), times)
    trajectory = Trajectory(
        root_pos=pose.root_pos.numpy(),
        root_rot=pose.root_rot.numpy(),
        dof_pos=character.rot_to_dof(pose.joint_rot).numpy(),
    )
    render_video(out, char_file, trajectory, None, fps=args.fps, labels=(clip.name, ""))
    print(f"{out}: {count} frames of {clip.name}, {count / args.fps:.2f} s")
    return 0


def run_info(args: argparse.Namespace) -> int:
    """``info``: one block of facts for each clip."""
    import numpy as np

    for name in args.files:
        path = find_clip(name, args.character)
        clip = _clip_of(path, args)
        travel = float(np.linalg.norm(clip.frames[-1, :2] - clip.frames[0, :2]))
        heights = clip.frames[:, 2]
        rows = {
            "file": str(path),
            "motion": _facts(clip),
            "columns": f"{clip.frames.shape[1]} = 6 + {clip.frames.shape[1] - 6} joint coordinates",
            "root": f"height {heights.min():.2f} to {heights.max():.2f} m, travels {travel:.2f} m",
            "source": clip.meta.get("source", "-"),
            "licence": clip.meta.get("licence", "-"),
        }
        print(clip.name)
        for key, value in rows.items():
            print(f"  {key:<8} {value}")
    return 0


def _clip_of(path: Path, args: argparse.Namespace) -> MotionClip:
    """A clip that needs no character, or one of the character."""
    from mimickit_hydra.motion.clip import MotionClip
    from mimickit_hydra.motion.importers import import_clip, read_motions

    found = read_motions(path)[1]
    if len(found) == 1 and isinstance(found[0], MotionClip):
        return found[0]
    return import_clip(path, character=_character(args)[0])


def _add_character(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--character", default=DEFAULT_CHARACTER, help=f"name of a bundled character, or its MJCF ({DEFAULT_CHARACTER})"
    )


def _character(args: argparse.Namespace) -> tuple[CharacterModel, Path]:
    return find_character(args.character)


def _import_targets(files: list[Path], out: Path, suffix: str = ".npz") -> list[tuple[Path, Path | None]]:
    """The inputs, each with the file that it is written to; None where the clip names it."""
    if out.suffix != suffix:
        return [(path, None) for path in files]
    if len(files) > 1:
        raise UserError(f"{out}: {len(files)} clips cannot go into one file; give a directory")
    return [(files[0], out)]


def _facts(clip: MotionClip) -> str:
    mode = clip.loop_mode.name.lower()
    return f"{clip.num_frames} frames at {clip.fps:g} Hz, {clip.length:.2f} s, {mode}"


def _print_report(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())
    table = Table(title=f"{report.file}  ({report.frames} frames at {report.fps:g} Hz, {report.loop_mode})",
                  title_justify="left")  # fmt: skip
    for column in ("check", "result", "what was found", "frames"):
        table.add_column(column, no_wrap=column in ("check", "result"))
    colours = {"ok": "green", "warning": "yellow", "serious": "bold red"}
    for finding in report.findings:
        frames = ", ".join(map(str, finding.frames[:5])) + (" ..." if len(finding.frames) > 5 else "")
        colour = colours[finding.status]
        table.add_row(finding.check, f"[{colour}]{finding.status}[/{colour}]", finding.detail, frames)
    console.print(table)
