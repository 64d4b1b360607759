"""``mimickit play FILE.onnx``; ``python -m mimickit_hydra.deploy.play FILE.onnx`` where torch and Hydra are missing."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.errors import UserError

FPS = 50  # of a video, at most
SIZE = (640, 480)
BUDGET = 1e-3  # s that an inference may take on one core


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.onnx", help="written by mimickit export RUN --to onnx")
    parser.add_argument("--episodes", type=int, default=1, metavar="N", help="from the first N starts of the file")
    parser.add_argument("--seconds", type=float, help="the longest episode (default: the env's)")
    parser.add_argument("--delay", type=float, default=0.0, metavar="MS", help="of the joint targets, in ms")
    parser.add_argument("--noise", type=float, default=0.0, metavar="X", help="of what is measured; 1: as in training")
    parser.add_argument("--seed", type=int, default=0, help="of noise and skills")
    parser.add_argument("--goal", metavar="A,B,...", help="where to go, for a policy with a task")
    parser.add_argument("--video", metavar="OUT.mp4", help="film the first episode")
    parser.add_argument("--show", action="store_true", help="show it in MuJoCo's window, in real time")


def play(args: argparse.Namespace) -> int:
    """Play the episodes and print how they went."""
    if args.video and sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")  # before MuJoCo is imported
    try:
        from mimickit_hydra.deploy.player import Player, Trouble
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise UserError("mimickit play needs onnxruntime; pip install onnxruntime") from None
    for name, low, high in (("episodes", 1, 10_000), ("delay", 0.0, 1000.0), ("noise", 0.0, 100.0)):
        if not low <= getattr(args, name) <= high:
            raise UserError(f"--{name}: found {getattr(args, name):g}, must be from {low:g} to {high:g}")
    if args.seconds is not None and not 0.0 < args.seconds <= 86_400.0:
        raise UserError(f"--seconds: found {args.seconds:g}, must be above 0 and at most a day")
    try:
        command = [float(text) for text in args.goal.split(",")] if args.goal else None
    except ValueError:
        raise UserError(f"--goal: found {args.goal!r}, must be numbers with commas between them") from None
    player = Player(Path(args.file).expanduser())
    show = _window(player) if args.show else None
    outcomes = []
    for number in range(args.episodes):
        trouble = Trouble(args.delay / 1e3, args.noise, args.seed + number)
        outcomes.append(player.play(number, trouble, command=command, seconds=args.seconds, shown=show))
        if outcomes[-1].ended == "stopped":
            break
    _report(player, outcomes)
    if args.video:
        print(film(player, outcomes[0].poses, Path(args.video).expanduser()))
    return 0


def _report(player: Any, outcomes: list[Any]) -> None:
    facts = player.facts
    print(
        f"{player.path}: {len(facts.joint_names)} joints, {facts.control_freq} Hz control, {facts.sim_freq} Hz physics"
    )
    print("start   steps  seconds   return  ended")
    for number, one in enumerate(outcomes):
        total = "-" if one.total is None else f"{one.total:.3f}"
        print(f"{number:5d}  {one.steps:6d}  {one.steps / facts.control_freq:7.2f}  {total:>7}  {one.ended}")
    success = np.mean([not one.failed for one in outcomes])
    judged = [one.total for one in outcomes if one.total is not None]
    mean = f"return {np.mean(judged):.3f}, " if judged else ""
    print(f"{mean}success {100 * success:.0f} %" + ("" if judged else " (nothing in the file judges a failure)"))
    usual, worst = 1e3 * np.median(player.seconds), 1e3 * np.quantile(player.seconds, 0.99)
    over = "" if usual <= 1e3 * BUDGET else f"; more than {1e3 * BUDGET:g} ms"
    print(f"inference {usual:.3f} ms on one core, {worst:.3f} ms in 99 of 100{over}")


def _window(player: Any) -> Callable[[], bool]:
    """Show every control step in a window, not faster than real time; False once it is closed."""
    from mimickit_hydra.mj import mujoco

    try:
        import mujoco.viewer as viewer

        window = viewer.launch_passive(player.model, player.data)
    except Exception as error:  # of whatever opens windows here
        raise UserError(f"--show: no window can be opened here ({error}); use --video") from None
    began = [time.perf_counter() - float(player.data.time)]

    def step() -> bool:
        if player.data.time < 1.5 / player.facts.control_freq:
            began[0] = time.perf_counter()
        time.sleep(max(0.0, began[0] + player.data.time - time.perf_counter()))
        window.sync()
        return bool(window.is_running())

    assert mujoco is not None
    return step


def film(player: Any, poses: Sequence[np.ndarray], out: Path) -> Path:
    """Draw ``poses``, qpos of every control step, into an mp4; the camera follows."""
    from mimickit_hydra.mj import mujoco

    try:
        import imageio_ffmpeg
    except ImportError:
        raise UserError("--video: needs imageio-ffmpeg; pip install imageio-ffmpeg") from None
    model, data = player.model, mujoco.MjData(player.model)
    skip = max(1, round(player.facts.control_freq / FPS))
    try:
        renderer = mujoco.Renderer(model, SIZE[1], SIZE[0])
    except Exception as error:  # of whatever draws here
        raise UserError(f"--video: nothing can be drawn here ({error}); set MUJOCO_GL=egl or osmesa") from None
    camera = mujoco.MjvCamera()
    camera.distance, camera.elevation, camera.azimuth = 3.5, -15.0, 120.0
    out.parent.mkdir(parents=True, exist_ok=True)
    tmp = out.with_name(f".{out.stem}.{os.getpid()}.tmp.mp4")
    writer = imageio_ffmpeg.write_frames(str(tmp), SIZE, fps=player.facts.control_freq / skip, macro_block_size=2)
    writer.send(None)
    try:
        for pose in poses[::skip]:
            data.qpos[:] = pose
            mujoco.mj_kinematics(model, data)
            camera.lookat[:] = [*data.qpos[player.root : player.root + 2], 0.8]
            renderer.update_scene(data, camera)
            writer.send(np.ascontiguousarray(renderer.render()))
        writer.close()
        os.replace(tmp, out)
    finally:
        renderer.close()
        tmp.unlink(missing_ok=True)
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """The command by itself: 0 done, 2 for what the user can put right, 130 Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m mimickit_hydra.deploy.play", description=__doc__)
    add_arguments(parser)
    try:
        return play(parser.parse_args(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
