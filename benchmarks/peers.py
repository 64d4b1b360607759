"""This package and mjlab on the same robot file, rates, solver caps and card, in one run.

    python benchmarks/peers.py --num-envs 4096,16384 --out benchmarks/results/h100_peers.json
    python benchmarks/peers.py --parts bare --num-envs 16384
    python benchmarks/peers.py --parts race --race-seconds 300

Parts: **bare** steps one MJCF file without a policy, with the same noisy commands and a reset every 30 control steps:
by ``newton``, by ``mjwarp``, by the graph of MuJoCo Warp's steps alone (what an engine adds is the difference), and by
mjlab's own simulation, which is given the very model of ``mjwarp``. **training** trains: mjlab its tracking task with
its PPO, we what ``--ours`` says, both on one made-up clip of a swaying G1 (``--clip`` names another). **race** trains
both until no episode of a test from the first frame fails. mjlab's rows are left out where it is not installed. Prints
a table and writes a JSON after every row.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import throughput
from throughput import memory, name_of, timed, wait

ROBOT = Path(__file__).resolve().parents[1] / "mimickit_hydra" / "data" / "assets" / "g1_mjlab" / "g1_mjlab.xml"
HEIGHT = 0.8  # m, of the root at every reset
OURS = "method=tracking character=g1_mjlab"
CLIP_FPS, CLIP_FRAMES = 50, 500


def main() -> None:
    args = arguments()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="mimickit_peers_") as folder:
        args.folder = Path(folder)
        for num_envs in (int(text) for text in args.num_envs.split(",")):
            for part in args.parts.split(","):
                for name, measure in PARTS[part](args).items():
                    rows.append(attempt(args, part, name, num_envs, measure))
                    compare(rows)
                    print(json.dumps(rows[-1]), flush=True)
                    throughput.write(args, rows)
    print(table(rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="bare,training", help="some of bare, training, race")
    parser.add_argument("--num-envs", default="4096")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--engines", default="newton,mjwarp", help="ours")
    parser.add_argument("--asset", default=str(ROBOT), help="MJCF file of the bare physics")
    parser.add_argument("--ours", default=OURS, help="overrides of our training")
    parser.add_argument("--clip", default="", help="clip of the G1 to train on instead, .npz or .pkl")
    parser.add_argument("--control-freq", type=int, default=50)
    parser.add_argument("--sim-freq", type=int, default=200)
    parser.add_argument("--solver-iterations", type=int, default=10)
    parser.add_argument("--ls-iterations", type=int, default=20)
    parser.add_argument("--impratio", type=float, default=1.0)
    parser.add_argument("--nconmax", type=int, default=35)
    parser.add_argument("--njmax", type=int, default=250)
    parser.add_argument("--steps", type=int, default=90, help="control steps of a pass of the bare physics")
    parser.add_argument("--iterations", type=int, default=5, help="measured training iterations, after as many others")
    parser.add_argument("--race-seconds", type=float, default=300.0)
    parser.add_argument("--race-check", type=float, default=20.0, help="seconds of training between tests")
    parser.add_argument("--race-episodes", type=int, default=256, help="of each test")
    parser.add_argument("--out", default="")
    return parser.parse_args()


def attempt(args: argparse.Namespace, part: str, name: str, num_envs: int, measure: Callable[[int], Any]) -> Any:
    """A measured row, or one that says what went wrong."""
    head = {"part": part, "who": name, "num_envs": num_envs}
    before = memory(torch.device(args.device))
    try:
        row = {**head, **measure(num_envs)}
    except Exception as error:
        row = {**head, "error": " ".join(f"{type(error).__name__}: {error}".split())[:500]}
    row["memory_gb"] = memory(torch.device(args.device)) - before
    gc.collect()
    if args.device.startswith("cuda"):
        torch.cuda.empty_cache()
    return {**row, "device": name_of(torch.device(args.device))}


@functools.cache
def has_mjlab() -> bool:
    """Whether mjlab is there; one that cannot be imported ends this before anything is measured."""
    if importlib.util.find_spec("mjlab") is None:
        return False
    # in a process of its own, so that ours are measured without it
    words = [sys.executable, "-c", "import mjlab.tasks, mjlab.envs, mjlab.rl, mjlab.sim"]
    found = subprocess.run(words, capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(f"mjlab is installed but cannot be imported: {found.stderr.strip().splitlines()[-1]}")
    return True


# ----------------------------------------------------------------------------------------------------- bare physics


def bare_rows(args: argparse.Namespace) -> dict[str, Callable[[int], Any]]:
    rows: dict[str, Callable[[int], Any]] = {
        name: lambda num_envs, name=name: bare_engine(args, name, num_envs) for name in args.engines.split(",")
    }
    rows["mjwarp, steps alone"] = lambda num_envs: bare_alone(args, num_envs)
    if has_mjlab():
        rows["mjlab"] = lambda num_envs: bare_mjlab(args, num_envs)
    return rows


def make(args: argparse.Namespace, name: str, num_envs: int) -> Any:
    """Engine ``name`` with the file."""
    from mimickit_hydra.engines.interface import ObjectSpec, SceneSpec
    from mimickit_hydra.engines.registry import make_engine

    config = SimpleNamespace(
        engine_name=name, control_mode="pos", control_freq=args.control_freq, sim_freq=args.sim_freq, env_spacing=5.0,
        iterations=args.solver_iterations, ls_iterations=args.ls_iterations, impratio=args.impratio,
        njmax=args.njmax, nconmax=args.nconmax,
    )  # fmt: skip
    scene = SceneSpec((ObjectSpec("robot", args.asset, start_pos=(0.0, 0.0, HEIGHT)),))
    return make_engine(config, scene, num_envs, args.device)


def rate(args: argparse.Namespace, num_envs: int, dofs: int, reset: Any, command: Any, step: Any) -> dict[str, float]:
    """Control steps per second of all environments: noisy targets around zero, a reset every 30 steps."""
    device = torch.device(args.device)
    torch.manual_seed(0)
    noise = 0.1 * torch.randn(args.steps, num_envs, dofs, device=device)

    def play() -> None:
        for index in range(args.steps):
            if index % 30 == 0:
                reset()
            command(noise[index])
            step()

    play()
    seconds = statistics.median(timed(play, device) for _ in range(5))
    found = num_envs * args.steps / seconds
    return {"samples_per_s": found, "sim_seconds_per_s": found / args.control_freq}


def solver_facts(data: Any, num_envs: int) -> dict[str, float]:
    """What the last substep was like, so that rows can be seen to have done the same work."""
    niter, rows = data.solver_niter.numpy(), data.nefc.numpy()
    return {
        "solver_iterations": float(niter.mean()), "constraints": float(rows.mean()),
        "contacts": float(data.nacon.numpy()[0]) / num_envs,
    }  # fmt: skip


def bare_engine(args: argparse.Namespace, name: str, num_envs: int) -> dict[str, Any]:
    from mimickit_hydra.engines.interface import ResetState

    began = time.perf_counter()
    engine = make(args, name, num_envs)
    built = time.perf_counter() - began
    state, everyone = engine.states[0], torch.ones(num_envs, dtype=torch.bool, device=engine.device)
    start = ResetState(**{field: getattr(state, field).clone() for field in ResetState.__dataclass_fields__})
    start.dof_pos.zero_()
    found = rate(
        args, num_envs, engine.models[0].num_dofs, lambda: engine.reset(everyone, {0: start}), engine.set_command,
        engine.step,
    )  # fmt: skip
    found |= {"build_s": built, **solver_facts(engine.scene.data, num_envs), "warnings": engine.warnings()}
    engine.close()
    return found


def bare_alone(args: argparse.Namespace, num_envs: int) -> dict[str, Any]:
    """MuJoCo Warp's steps as one graph, on the model of ``mjwarp``."""
    import mujoco_warp as mjw
    import warp as wp

    engine = make(args, "mjwarp", num_envs)
    model, data = engine.scene.warp_model, engine.scene.data
    with wp.ScopedDevice(engine._wp_device), wp.ScopedCapture() as capture:
        for _ in range(args.sim_freq // args.control_freq):
            mjw.step(model, data)
    found = play_arrays(args, num_envs, engine.scene.mujoco_model, data, lambda: wp.capture_launch(capture.graph))
    engine.close()
    return found


def bare_mjlab(args: argparse.Namespace, num_envs: int) -> dict[str, Any]:
    """mjlab's simulation on the model of ``mjwarp``, as its environments step it; sensors rest there too."""
    from mjlab.sim import MujocoCfg, Simulation, SimulationCfg

    one = make(args, "mjwarp", 1)
    model = one.scene.mujoco_model
    one.close()
    solver = MujocoCfg(
        timestep=1.0 / args.sim_freq, iterations=args.solver_iterations, ls_iterations=args.ls_iterations,
        impratio=args.impratio, disableflags=("sensor",),
    )  # fmt: skip
    began = time.perf_counter()
    cfg = SimulationCfg(nconmax=args.nconmax, njmax=args.njmax, mujoco=solver)
    simulation = Simulation(num_envs, cfg, model, args.device)
    wait(torch.device(args.device))
    built = time.perf_counter() - began

    def step() -> None:
        for _ in range(args.sim_freq // args.control_freq):
            simulation.step()

    return {**play_arrays(args, num_envs, model, simulation.wp_data, step), "build_s": built}


def play_arrays(args: argparse.Namespace, num_envs: int, model: Any, data: Any, step: Any) -> dict[str, Any]:
    import warp as wp

    start = torch.as_tensor(model.qpos0, dtype=torch.float32, device=args.device)
    qpos, qvel, warm, ctrl = (wp.to_torch(getattr(data, name)) for name in ("qpos", "qvel", "qacc_warmstart", "ctrl"))

    def reset() -> None:
        qpos.copy_(start)
        qvel.zero_()
        warm.zero_()

    found = rate(args, num_envs, model.nu, reset, ctrl.copy_, step)
    return {**found, **solver_facts(data, num_envs)}


# ---------------------------------------------------------------------------------------------------------- training


def training_rows(args: argparse.Namespace) -> dict[str, Callable[[int], Any]]:
    rows: dict[str, Callable[[int], Any]] = {
        name: lambda num_envs, name=name: train_ours(args, name, num_envs) for name in args.engines.split(",")
    }
    if has_mjlab():
        from peer_mjlab import train

        rows["mjlab"] = lambda num_envs: train(num_envs, args.device, clip(args), args.iterations, args.folder)
    return rows


def overrides(args: argparse.Namespace) -> list[str]:
    engine = {
        "control_freq": args.control_freq, "sim_freq": args.sim_freq, "iterations": args.solver_iterations,
        "ls_iterations": args.ls_iterations, "impratio": args.impratio, "njmax": args.njmax, "nconmax": args.nconmax,
    }  # fmt: skip
    return [*args.ours.split(), f"env.motion_file={clip(args)}", *(f"engine.{key}={engine[key]}" for key in engine)]


def train_ours(args: argparse.Namespace, name: str, num_envs: int) -> dict[str, Any]:
    from mimickit_hydra.training.processes import launch

    words = overrides(args)
    methods = [word.partition("=")[2] for word in words if word.startswith("method=")]
    if not methods:
        raise SystemExit("--ours: names no method, such as method=tracking")
    options = argparse.Namespace(
        eager=False, warm=args.iterations, iterations=args.iterations, limit=0.0, bare_steps=args.steps, split=False,
    )  # fmt: skip
    measure = functools.partial(
        throughput.measure, args=options, more=(), engine=name, method=methods[-1], num_envs=num_envs,
        devices=[args.device], overrides=[word for word in words if not word.startswith("method=")],
    )  # fmt: skip
    row = launch(measure, [args.device])
    keep = ("samples_per_s", "bare_samples_per_s", "ratio", "iteration_s", "update_s", "steps_per_iter", "build_s")
    found = {key: row[key] for key in (*keep, "rollout_is_graph", "graph_problem")}
    return {**found, "sim_seconds_per_s": row["samples_per_s"] / args.control_freq, "overrides": words}


def clip(args: argparse.Namespace) -> Path:
    """The clip both train on: the G1 stands and sways its arms, unless the user names one."""
    from mimickit_hydra.motion.clip import LoopMode, MotionClip, save_clip
    from mimickit_hydra.motion.mjcf import read_robot

    if args.clip:
        return Path(args.clip).resolve()
    path: Path = args.folder / "sway.npz"
    if not path.exists():
        robot = read_robot(ROBOT)
        seconds = np.arange(CLIP_FRAMES) / CLIP_FPS
        frames = np.zeros((CLIP_FRAMES, 6 + robot.num_dofs), np.float32)
        frames[:, 2] = HEIGHT
        for dof, name in enumerate(robot.dof_names):
            if "shoulder_pitch" in name or "elbow" in name:
                frames[:, 6 + dof] = 0.2 * np.sin(np.pi * seconds)
        save_clip(path, MotionClip(frames, float(CLIP_FPS), LoopMode.CLAMP, "sway"))
    return path


# -------------------------------------------------------------------------------------------------------------- race


def race_rows(args: argparse.Namespace) -> dict[str, Callable[[int], Any]]:
    rows: dict[str, Callable[[int], Any]] = {
        name: lambda num_envs, name=name: race_ours(args, name, num_envs) for name in args.engines.split(",")
    }
    if has_mjlab():
        from peer_mjlab import race

        rows["mjlab"] = lambda num_envs: race(
            num_envs, args.device, clip(args), racer(args), args.race_episodes, args.folder
        )
    return rows


def racer(args: argparse.Namespace) -> Callable[..., dict[str, Any]]:
    """Runs ``iterate`` and, every so many seconds of it, ``test``, which is not counted and returns failures."""
    device = torch.device(args.device)

    def run(iterate: Callable[[], Any], test: Callable[[], float], samples: int) -> dict[str, Any]:
        curve: list[dict[str, float]] = []
        spent, due, count = 0.0, args.race_check, 0
        while spent < args.race_seconds:
            spent += timed(iterate, device)
            count += 1
            if spent >= due:
                due = spent + args.race_check
                curve.append({"seconds": spent, "samples": float(count * samples), "failed": test()})
                if curve[-1]["failed"] == 0:
                    break
        reached = bool(curve) and curve[-1]["failed"] == 0
        return {"reached": reached, "seconds": spent, "samples_per_s": count * samples / spent, "curve": curve}

    return run


def race_ours(args: argparse.Namespace, name: str, num_envs: int) -> dict[str, Any]:
    from mimickit_hydra.training.processes import launch

    words = [f"engine={name}", *overrides(args), f"devices=[{args.device}]", f"num_envs={num_envs}"]
    return {**launch(functools.partial(run_race, args=args, words=words), [args.device]), "overrides": words}


def run_race(comm: Any, device: torch.device, *, args: argparse.Namespace, words: list[str]) -> dict[str, Any]:
    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.training.build import build
    from mimickit_hydra.training.rng import seed_everything

    seed_everything(0)
    parts = build(to_run(compose(words)), comm, device)

    def test() -> float:
        found = failures(parts.agent, parts.env)[: args.race_episodes]
        return args.race_episodes * float(found.double().mean())

    try:
        return racer(args)(parts.agent.train_iteration, test, parts.agent.buffer.num_samples)
    finally:
        parts.close()


@torch.no_grad()
def failures(agent: Any, env: Any) -> torch.Tensor:
    """Which environments ``[N]`` fail to play the first clip from its first frame to its end."""
    from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL

    first = torch.zeros_like(env.motion_ids)
    failed, over = (torch.zeros(env.num_envs, dtype=torch.bool, device=env.device) for _ in range(2))
    env.set_mode(True)
    env.play(first)
    while not bool(over.all()):
        _, _, done, _ = env.step(agent.act(env.obs, deterministic=True))
        failed |= ~over & (done == DONE_FAIL)
        over |= done != DONE_NULL
        env.play(first, done != DONE_NULL)
    env.set_mode(False)
    env.reset()
    return failed


# ------------------------------------------------------------------------------------------------------------- output

PARTS = {"bare": bare_rows, "training": training_rows, "race": race_rows}


def compare(rows: list[dict[str, Any]]) -> None:
    """How many times as fast as mjlab each row of ours is, once mjlab's of the same part and size is there."""
    last = rows[-1]
    if last["who"] != "mjlab" or "error" in last:
        return
    for row in rows[:-1]:
        if (row["part"], row["num_envs"]) == (last["part"], last["num_envs"]) and "error" not in row:
            row["times_mjlab"] = row["samples_per_s"] / last["samples_per_s"]


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| part | who | environments | samples/s | simulated s/s | bare physics | ratio | times mjlab |"]
    lines.append("| --- " * 8 + "|")
    for row in rows:
        head = f"| {row['part']} | {row['who']} | {row['num_envs']:,} |"
        if "error" in row:
            lines.append(f"{head} {row['error']} |")
            continue
        cells = [f"{row[key]:,.{digits}f}" if key in row else "" for key, digits in COLUMNS.items()]
        lines.append(f"{head} {' | '.join(cells)} |")
    return "\n".join(lines)


COLUMNS = {"samples_per_s": 0, "sim_seconds_per_s": 0, "bare_samples_per_s": 0, "ratio": 2, "times_mjlab": 2}


if __name__ == "__main__":
    main()
