"""``mimickit view``: a clip, a set of clips, a character or a policy in the browser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.cli.named import DEFAULT_CHARACTER, find_character, find_clip, model_name, named_value
from mimickit_hydra.cli.overrides import add_overrides
from mimickit_hydra.errors import UserError, suggestion

if TYPE_CHECKING:
    from mimickit_hydra.motion.clip import MotionClip
    from mimickit_hydra.view.browser.show import Show


HERE = {"host": "127.0.0.1", "port": 8080}


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "view",
        help="look at a clip, a set, a character or a policy in the browser",
        description="Prints the address of a page that shows it, until Ctrl-C. "
        "Needs viser: pip install 'mimickit-hydra[view]'.",
    )
    parser.add_argument(
        "what", metavar="WHAT",
        help="a run directory, a checkpoint or model.pt, model=NAME (mimickit models), an exported FILE.onnx; a clip "
        "or set, by its file or name; a character or its MJCF",
    )  # fmt: skip
    add_overrides(parser, "KEY=VALUE", "for a policy: engine=newton, motion=... ")
    parser.add_argument("--character", default="", metavar="NAME", help="of a clip (that of its name, or humanoid)")
    add_address(parser)
    parser.set_defaults(run=run)


def add_address(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the page is."""
    host = "address to listen to; others than this machine's own ask for a token"
    parser.add_argument("--host", default=HERE["host"], help=host)
    parser.add_argument("--port", type=int, default=HERE["port"], help="port, or the next free one (8080)")


def run(args: argparse.Namespace) -> int:
    from mimickit_hydra.checks.machine import check_viewer

    check_viewer("view")
    from mimickit_hydra.view.browser.viewer import open_viewer

    open_viewer(make_show(args), host=args.host, port=args.port)
    return 0


def make_show(args: argparse.Namespace) -> Show:
    """What the arguments ask to see. UserError where there is no such thing."""
    from mimickit_hydra.config.groups import groups

    what, path = args.what, Path(args.what).expanduser()
    if path.suffix == ".onnx":
        return _exported(path)
    models = groups()["model"].option_names()
    name = model_name(what)
    if name is not None or (what in models and what not in groups()["motion"].option_names()):
        return make_policy(what if name is None else name, args.overrides)
    if path.suffix == ".pt" or (path.is_dir() and ((path / "config.yaml").exists() or (path / "model.pt").exists())):
        return make_policy(what, args.overrides)
    if args.overrides:
        raise UserError(f"view {what}: found {args.overrides[0]}; only a policy takes overrides")
    if path.suffix == ".xml" or what in groups()["character"].option_names():
        return _pose(what)
    return _clips(what, args.character)


def make_policy(model: str, overrides: list[str]) -> Show:
    """A policy in the loop, on MuJoCo unless told otherwise: of a run, a checkpoint or ``model.pt``, or by name."""
    from mimickit_hydra.api import load_policy
    from mimickit_hydra.config.overrides import parse
    from mimickit_hydra.training.checkpoint import list_checkpoints
    from mimickit_hydra.training.run import load_model
    from mimickit_hydra.view.browser.policy import PolicyShow, Weights

    given = {parse(text).key for text in overrides}
    usual = [text for text in ("engine=mujoco", "devices=[cpu]") if text.partition("=")[0] not in given]
    policy = load_policy(model, [*usual, *overrides])
    path = Path(model).expanduser()
    folder = path if path.is_dir() else path.parent.parent

    def files() -> dict[str, str]:
        return {file.stem: str(file) for file in list_checkpoints(folder)}

    def load(name: str) -> None:
        load_model(
            policy.parts, files().get(name, list(files().values())[-1] if name == "newest" else model), alone=True
        )

    weights = Weights(lambda: list(files()), load, lambda: next(reversed(files()), None)) if files() else None
    title = f"{policy.run.method.name} · {policy.run.character.name} · {policy.run.motion.name}"
    return PolicyShow(policy.env, policy.parts.agent, policy.parts.scene, title, weights, policy.close)


def _exported(path: Path) -> Show:
    from mimickit_hydra.engines.catalog import importable
    from mimickit_hydra.view.browser.exported import ExportedShow

    if not importable("onnxruntime"):
        raise UserError(f"view {path}: not installed (no module onnxruntime): pip install 'mimickit-hydra[deploy]'")
    from mimickit_hydra.deploy.player import Player

    return ExportedShow(Player(path))


def _pose(name: str) -> Show:
    from mimickit_hydra.view.browser.clips import PoseShow

    character, char_file = find_character(name)
    pose = [] if name.endswith(".xml") else named_value("character", name, "init_pose") or []
    return PoseShow(character, char_file, pose)


def _clips(name: str, character_name: str) -> Show:
    """The clip or the clips that ``name`` means: a file, a set, the name of a bundled one."""
    from mimickit_hydra.cli.motion_edit import symmetry
    from mimickit_hydra.config.groups import groups
    from mimickit_hydra.motion.dataset import clip_files
    from mimickit_hydra.motion.importers import import_clip
    from mimickit_hydra.view.browser.clips import ClipShow

    motions = groups()["motion"].option_names()
    known = Path(name).exists() or any(sign in name for sign in "/.*?[")
    if not known and name not in motions and f"{character_name or DEFAULT_CHARACTER}_{name}" not in motions:
        every = [*groups()["character"].option_names(), *motions]
        raise UserError(f"view {name}: no such file, clip or character{suggestion(name, every)}; see mimickit list")
    if not known and name in motions:
        file = named_value("motion", name, "motion_file")
        character_name = character_name or named_value("motion", name, "character")
    else:
        file = name if known else str(find_clip(name, character_name or DEFAULT_CHARACTER))
    character, char_file = find_character(character_name or DEFAULT_CHARACTER)
    files = clip_files(file)

    def read(number: int) -> MotionClip:
        return import_clip(files[number], character=character)

    pairs = symmetry(character_name or DEFAULT_CHARACTER)
    return ClipShow(character, char_file, [path.stem for path in files], read, pairs)
