"""``mimickit motion``: import, check, look at and describe motion clips."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.config.errors import UserError

if TYPE_CHECKING:
    from mimickit_hydra.motion.character import CharacterModel
    from mimickit_hydra.motion.check import Report
    from mimickit_hydra.motion.clip import MotionClip

DEFAULT_CHARACTER = "humanoid"
_MOST_FRAMES = 100_000  # of a video: nearly an hour of it


def add_parser(subparsers: Any) -> None:
    """Add ``motion`` and its actions to the command line."""
    parser = subparsers.add_parser("motion", help="import, check, view and describe motion clips")
    actions = parser.add_subparsers(title="actions", dest="motion_action", metavar="ACTION", required=True)

    add = actions.add_parser("import", help="convert clips of other projects to .npz")
    add.add_argument("files", nargs="+", metavar="IN", help="DeepMimic .txt, MimicKit .pkl or our .npz")
    add.add_argument("-o", "--out", required=True, metavar="OUT", help="a directory, or for one clip a .npz file")
    add.add_argument("--loop", choices=("source", "clamp", "wrap"), default="source", help="loop mode (the source's)")
    add.add_argument("--source", default="", help="where the clip comes from, kept in the file")
    add.add_argument("--licence", default="", help="its licence, kept in the file")

    check = actions.add_parser("check", help="look for jumps, penetration, joint limits, foot skate, swapped sides")
    check.add_argument("files", nargs="+", metavar="FILE", help="a clip, or the name of a bundled one (walk)")
    check.add_argument("--json", action="store_true", help="print one JSON list instead of tables")
    _add_character(check)

    view = actions.add_parser("view", help="render a clip as a video")
    view.add_argument("file", metavar="FILE", help="a clip, or the name of a bundled one (walk)")
    view.add_argument("-o", "--out", required=True, metavar="OUT.mp4")
    view.add_argument("--fps", type=float, default=30.0, help="frames per second of the video (30)")
    view.add_argument("--seconds", type=float, default=0.0, help="length; the default is the clip's own")
    _add_character(view)

    info = actions.add_parser("info", help="print what is in a clip")
    info.add_argument("files", nargs="+", metavar="FILE", help="a clip, or the name of a bundled one (walk)")
    _add_character(info)


def run(args: argparse.Namespace) -> int:
    """Run the chosen action and return the exit status."""
    actions = {"import": run_import, "check": run_check, "view": run_view, "info": run_info}
    return actions[args.motion_action](args)


def run_import(args: argparse.Namespace) -> int:
    """``import``: write one ``.npz`` for each input."""
    from mimickit_hydra.motion.clip import LoopMode, save_clip
    from mimickit_hydra.motion.importers import import_clip

    targets = _import_targets([Path(name) for name in args.files], Path(args.out))
    for path, target in targets:
        clip = import_clip(path)
        if args.loop != "source":
            clip.loop_mode = LoopMode[args.loop.upper()]
        given = {"source": args.source, "licence": args.licence}
        clip.meta.update({key: value for key, value in given.items() if value})
        out = target or Path(args.out) / f"{clip.name}.npz"
        clip.name = out.stem
        save_clip(out, clip)
        print(f"{out}: {_facts(clip)}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """``check``: exit status 1 if any clip has a serious finding."""
    from mimickit_hydra.motion.check import check_clip
    from mimickit_hydra.motion.clip import load_clip

    character, _ = _character(args)
    reports = [check_clip(load_clip(_find(name, args.character)), character) for name in args.files]
    if args.json:
        print(json.dumps([report.to_json() for report in reports], indent=2))
    else:
        for report in reports:
            _print_report(report)
    return int(any(report.serious for report in reports))


def run_view(args: argparse.Namespace) -> int:
    """``view``: render the clip, resampled to the video's rate."""
    if not 0 < args.fps < math.inf or not 0 <= args.seconds < math.inf:
        raise UserError(f"--fps {args.fps:g} --seconds {args.seconds:g}: expected finite numbers above 0")
    out = Path(args.out)
    if out.suffix != ".mp4":
        raise UserError(f"{out}: the video is an .mp4 file")

    import numpy as np
    import torch

    from mimickit_hydra.motion.clip import load_clip
    from mimickit_hydra.motion.library import MotionLibrary
    from mimickit_hydra.runtime.trajectory import Trajectory
    from mimickit_hydra.runtime.video import render_video

    character, char_file = _character(args)
    clip = load_clip(_find(args.file, args.character))
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

    from mimickit_hydra.motion.clip import load_clip

    for name in args.files:
        path = _find(name, args.character)
        clip = load_clip(path)
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


def _add_character(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--character", default=DEFAULT_CHARACTER, help=f"name of a bundled character, or its MJCF ({DEFAULT_CHARACTER})"
    )


def _character(args: argparse.Namespace) -> tuple[CharacterModel, Path]:
    from mimickit_hydra.config.paths import resolve_data_file
    from mimickit_hydra.motion.character import CharacterModel

    name = args.character
    try:
        path = resolve_data_file(name if name.endswith(".xml") else _named_file("character", name, "char_file"))
    except UserError as error:
        from mimickit_hydra.config.fetch import PACKAGES

        raise UserError(f"{error}; mimickit assets fetch {name}" if name in PACKAGES else str(error)) from None
    return CharacterModel.from_file(path), path


def _named_file(group: str, name: str, key: str) -> str:
    """The file that an option of ``conf/`` names. UserError where there is no such option."""
    import yaml

    from mimickit_hydra.config.catalog import groups
    from mimickit_hydra.config.one_line import suggestion

    options = {option.name: option.path for option in groups()[group].options}
    if name not in options:
        hint = f"{suggestion(name, list(options))}; allowed: {', '.join(options)}, or an MJCF ending in .xml"
        raise UserError(f"--{group} {name}: no such {group}{hint}")
    return str(yaml.safe_load(options[name].read_text(encoding="utf-8"))[key])


def _find(name: str, character: str) -> Path:
    """A clip by path, by a path as configs write it, or a bundled one by its bare name."""
    from mimickit_hydra.config.paths import resolve_data_file

    if Path(name).exists():
        return Path(name)
    if Path(name).name == name and not Path(name).suffix and not character.endswith(".xml"):
        from mimickit_hydra.config.catalog import groups

        _named_file("character", character, "char_file")  # there is such a character
        name = name if name.startswith(f"{character}_") else f"{character}_{name}"
        file = f"data/motions/{character}/{name}.pkl"
        if name in groups()["motion"].option_names():
            file = _named_file("motion", name, "motion_file")
        if Path(file).suffix == ".yaml":
            raise UserError(f"{name}: a dataset ({file}); name one of its clips")
        return resolve_data_file(file)
    return resolve_data_file(name)


def _import_targets(files: list[Path], out: Path) -> list[tuple[Path, Path | None]]:
    """Inputs with the file each is written to; None where the clip names it."""
    if out.suffix != ".npz":
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
