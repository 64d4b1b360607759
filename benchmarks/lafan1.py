"""One policy for all clips of LAFAN1 retargeted to the G1: how long until it has learned them, and which it has not.

    python benchmarks/lafan1.py g1/ --method tracking --seeds 0 --minutes 10 --out benchmarks/results/h100_lafan1.json
    python benchmarks/lafan1.py g1/ --method supermimic --keep out/lafan1 --train-only   # evaluate later
    python benchmarks/lafan1.py g1/ --method supermimic --keep out/lafan1
    python benchmarks/lafan1.py g1/ --method supermimic --keep out/lafan1 --engine mujoco --device cpu   # elsewhere
    python benchmarks/lafan1.py g1/ --method supermimic --devices 1,2,4,8 --minutes 3 --keep out/lafan1

The folder holds tables of 36 columns (.csv: root position m, quaternion xyzw, 29 joints rad; 30 rows a second). They
are not part of this package, and a policy that was trained on them is not to be passed on.

A **checkpoint** of the policy is kept every ``--every`` iterations. Afterwards each of them plays every clip once, from
its first frame to its end, deterministic, without noise, pushes or offsets. A clip **fails** where the height of the
pelvis is off by more than 0.25 m, or the vertical component of gravity in its frame by more than 0.8. The **return** of
a clip is the sum of the tracking rewards without penalties until a failure, over the most that the whole clip can pay;
that of a checkpoint is the mean over clips. **first** is the time of the first checkpoint with a return of 0.82,
**strict** that of the third in a row with it and without a failed clip.

The clock is that of training from the first iteration on, graph capture, compilation and checkpoints included; process
start, building (kernels of the simulator, data) and evaluation are not in it, ``build_s`` is printed beside it. With
``--keep`` checkpoints stay in a folder, and a seed whose training is complete there is only evaluated.

With ``--devices`` every seed is trained on that many GPUs, or processes of the CPU, each with ``--num-envs``
environments of its own; after the clock has stopped, it is measured what averaging gradients costs, and whether all
ranks have the same parameters, bit for bit. Evaluation is always on the first device.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import itertools
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import several
from throughput import averages, name_of, wait

FPS = 30.0
WANTED, IN_A_ROW = 0.82, 3
HEIGHT, TILT = 0.25, 0.8  # m, and of the vertical component of gravity, beyond which a clip has failed
METHODS = {"tracking": (), "supermimic": ("env=tracking",)}  # and what each needs besides
SAME = ("method", "seed", "num_envs", "overrides")  # of rows that differ in their devices alone
LOOK = 64  # steps between two looks at whether all clips are over


def main() -> None:
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="mimickit_lafan1_") as folder:
        args.folder = Path(args.keep or folder)
        args.folder.mkdir(parents=True, exist_ok=True)
        args.clips = prepared(Path(args.data), args.folder / "clips")
        rows: list[dict[str, Any]] = []
        for seed, count in itertools.product((int(text) for text in args.seeds.split(",")), args.devices):
            file = args.folder / (f"{args.method}_{seed}" + (f"_{count}_devices.pt" if count > 1 else ".pt"))
            if not file.is_file():
                learn(args, seed, count, file)
            if not args.train_only:
                rows.append(judged(args, seed, count, file))
                several.times_one(rows, SAME, lambda row: row["samples_per_s"])
                write(args, rows)
    if rows:
        print(table(rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of .csv files, or of the clips that they were made into (KEEP/clips)")
    parser.add_argument("--method", default="tracking", choices=METHODS)
    parser.add_argument("--engine", default="mjwarp")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--devices", type=several.counts, default=[1], help="how many, one after the other: 1,2,4,8")
    parser.add_argument("--num-envs", type=int, default=4096, help="per device")
    parser.add_argument("--seeds", default="0", help="e.g. 0,1,2")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, each seed")
    parser.add_argument("--every", type=int, default=100, help="iterations between checkpoints")
    parser.add_argument("--keep", default="", help="folder for checkpoints; by default they are not kept")
    parser.add_argument("--train-only", action="store_true", help="leave the evaluation to a later call with --keep")
    parser.add_argument("--out", default="", help="JSON, written after every seed")
    parser.add_argument("overrides", nargs="*", help="of the run, e.g. env.fuse=true")
    args = parser.parse_intermixed_args()
    several.check_devices(parser, args.device, max(args.devices))
    return args


def prepared(data: Path, folder: Path) -> Path:
    """The folder of clips that the tables become, or became before; a table that is none ends this in one line."""
    from mimickit_hydra.errors import UserError
    from mimickit_hydra.motion.clip import save_clip
    from mimickit_hydra.motion.importers import import_clips
    from mimickit_hydra.motion.importers.recording import Wishes

    files = sorted(data.glob("*.csv"))
    if not files and any(data.glob("*.npz")):
        return data.resolve()
    if not files:
        raise SystemExit(f"{data}: holds no .csv files, must be the folder of LAFAN1's tables for the G1")
    folder.mkdir(parents=True, exist_ok=True)
    character = None
    for file in files:
        if not (folder / f"{file.stem}.npz").is_file():
            character = character or robot()
            try:
                ((clip, _),) = import_clips(file, character=character, wishes=Wishes(fps=FPS, quat="xyzw"))
            except UserError as error:
                raise SystemExit(str(error)) from None
            save_clip(folder / f"{file.stem}.npz", clip)
    return folder.resolve()


def robot() -> Any:
    from mimickit_hydra.config.paths import resolve_data_file
    from mimickit_hydra.motion.character import CharacterModel

    return CharacterModel.from_file(str(resolve_data_file("data/assets/g1_mjlab/g1_mjlab.xml", [])))


def composed(args: argparse.Namespace, seed: int, devices: list[str], recipe: str = "") -> tuple[Any, str]:
    """The run that trains, as its dataclass, and its recipe: the engine's own, unless one is given."""
    from mimickit_hydra.checks.check import validate
    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.errors import UserError

    words = (
        f"method={args.method}", *METHODS[args.method], "character=g1_mjlab", f"engine={args.engine}",
        f"env.motion_file={args.clips}", f"num_envs={args.num_envs}", f"devices=[{','.join(devices)}]",
        f"rand_seed={seed}", *([f"recipe={recipe}"] if recipe else []),
        *args.overrides,
    )  # fmt: skip
    try:
        found = compose(words, with_hydra=True)
        chosen = str(found.hydra.runtime.choices["recipe"])
        run = to_run(found)
        validate(run)
    except UserError as error:
        raise SystemExit(str(error)) from None
    return run, chosen


# ---------------------------------------------------------------------------------------------------------- training


def learn(args: argparse.Namespace, seed: int, count: int, file: Path) -> None:
    """Train on ``count`` devices until the time is over and write the checkpoints to ``file``."""
    from mimickit_hydra.files import write_atomic
    from mimickit_hydra.training.processes import launch

    devices = several.devices_of(args.device, count)
    run, recipe = composed(args, seed, devices)
    found = {**launch(functools.partial(trained, run=run, args=args), devices), "recipe": recipe}
    write_atomic(file, functools.partial(torch.save, found))
    where = f" on {count} devices" if count > 1 else ""
    print(f"seed {seed}{where}: {len(found['checkpoints'])} checkpoints in {found['seconds']:.0f} s", flush=True)


def trained(comm: Any, device: torch.device, *, run: Any, args: argparse.Namespace) -> dict[str, Any]:
    from mimickit_hydra.training.build import build
    from mimickit_hydra.training.rng import seed_everything
    from mimickit_hydra.training.run import SEED_STRIDE

    began = time.perf_counter()
    if device.type == "cpu":
        torch.set_num_threads(1)
    seed_everything(run.rand_seed + SEED_STRIDE * comm.rank)
    parts = build(run, comm, device)
    wait(device)
    built = time.perf_counter() - began
    checkpoints: list[dict[str, Any]] = []
    agent, start = parts.agent, time.perf_counter()
    with parts:
        while True:
            agent.train_iteration()
            wait(device)
            spent = time.perf_counter() - start
            over = several.by_rank(agent, spent)[0] >= 60.0 * args.minutes  # rank 0's clock, so that all end together
            if comm.is_root and (over or agent.iteration % args.every == 0):
                state = agent.model_state_dict()
                checkpoints.append(
                    {"iteration": agent.iteration, "seconds": spent, "samples": agent.samples, "model": state}
                )
            if over:
                break
        more: dict[str, Any] = {}
        if comm.world_size > 1:
            more = several.averaging(agent, agent.train_iteration, functools.partial(wait, device))
            more["parameters"] = several.equality(agent)
    return {"checkpoints": checkpoints, "seconds": spent, "build_s": built, "several": more}


# -------------------------------------------------------------------------------------------------------- evaluation


def judged(args: argparse.Namespace, seed: int, count: int, file: Path) -> dict[str, Any]:
    """The row of a seed: how each checkpoint does, when the target was reached, and how each clip ends."""
    from mimickit_hydra.training.processes import launch

    found = torch.load(file, map_location="cpu", weights_only=True)
    began, one = time.perf_counter(), several.devices_of(args.device, 1)
    # Another engine than the training's would choose other networks than its own.
    run, _ = composed(args, seed, one, found.get("recipe", ""))
    models = [point["model"] for point in found["checkpoints"]]
    names, returns, failures = launch(functools.partial(played, run=run, models=models), one)
    curve = [
        {
            "iteration": point["iteration"], "seconds": point["seconds"], "samples": point["samples"],
            "return": sum(value) / len(value), "failed": sum(time is not None for time in failed),
        }
        for point, value, failed in zip(found["checkpoints"], returns, failures, strict=True)
    ]  # fmt: skip
    first, strict = reached(curve)
    last = [
        {"clip": name, "return": value, "failed_at_s": when}
        for name, value, when in sorted(zip(names, returns[-1], failures[-1], strict=True), key=lambda row: row[1])
    ]
    for row in curve:
        print(json.dumps({"seed": seed, **row}), flush=True)
    return {
        "method": args.method, "seed": seed, "engine": args.engine, "num_envs": args.num_envs,
        "devices": count, "device": name_of(torch.device(args.device)), "overrides": args.overrides,
        "clips": len(names),
        "first_s": first, "strict_s": strict, "seconds": found["seconds"], "build_s": found["build_s"],
        "samples_per_s": curve[-1]["samples"] / found["seconds"], "evaluation_s": time.perf_counter() - began,
        **found.get("several", {}), "curve": curve, "last": last,
    }  # fmt: skip


def reached(curve: list[dict[str, Any]]) -> tuple[float | None, float | None]:
    """Seconds until the first checkpoint with the wanted return, and until the third in a row without a failure."""
    first, strict, row = None, None, 0
    for point in curve:
        good = point["return"] >= WANTED
        first = point["seconds"] if first is None and good else first
        row = row + 1 if good and point["failed"] == 0 else 0
        strict = point["seconds"] if strict is None and row == IN_A_ROW else strict
    return first, strict


@torch.no_grad()
def played(
    comm: Any, device: torch.device, *, run: Any, models: list[Any]
) -> tuple[list[str], list[list[float]], list[list[float | None]]]:
    """All checkpoints at once on every clip: names of the clips, by checkpoint returns and times of failure (s)."""
    from mimickit_hydra.agents.graph import Repeated
    from mimickit_hydra.envs.done import DONE_NULL
    from mimickit_hydra.envs.term_schema import read_terms
    from mimickit_hydra.training.build import build

    weights = {term.name: term.weight for term in read_terms(run.env, "rewards") if term.weight > 0.0}
    paid = {name: run.env.rewards[name] for name in weights}
    env_config = dataclasses.replace(run.env, rewards=paid, terminations={}, sampling="weight", sampling_params={})
    run = dataclasses.replace(run, env=env_config)
    clips = len(list(Path(run.env.motion_file).glob("*.npz")))
    parts = build(run, comm, device, num_envs=len(models) * clips)
    env, policies = parts.env, [of_checkpoint(parts.agent, model) for model in models]
    library = parts.library
    assert library is not None
    ids = torch.arange(clips, device=device).repeat(len(models))
    total, steps, ended = (torch.zeros(env.num_envs, dtype=torch.float64, device=device) for _ in range(3))
    alive = torch.ones(env.num_envs, dtype=torch.bool, device=device)  # neither failed nor over
    failed = torch.zeros_like(alive)

    def step() -> None:
        obs = env.obs.split(clips)
        env.step(torch.cat([policy.act(part, deterministic=True) for policy, part in zip(policies, obs, strict=True)]))
        lost = off_reference(env)
        failed.logical_or_(alive & lost)
        ended.copy_(torch.where(alive & lost, steps, ended))
        alive.logical_and_(~lost)
        total.add_(torch.where(alive, env.reward.double(), 0.0))
        steps.add_(1.0)
        over = env.done != DONE_NULL
        alive.logical_and_(~over)
        env.play(ids, over)

    env.set_mode(True)
    env.play(ids)
    go_on, count = Repeated(step, env, capture=device.type == "cuda"), 0
    while count % LOOK or bool(alive.any()):
        go_on()
        count += 1
    dt = env.control_dt
    most = sum(weights.values()) * (library.lengths[ids] / dt - 1e-3).ceil() * dt
    names = list(library.names)
    returns = (total / most).clamp(max=1.0).view(len(models), clips).tolist()
    when = torch.where(failed, (ended + 1.0) * dt, -1.0).view(len(models), clips).tolist()
    parts.close()
    return names, returns, [[None if time < 0.0 else time for time in row] for row in when]


def off_reference(env: Any) -> torch.Tensor:
    """Environments ``[N]`` whose pelvis is too far from the reference's height or inclination, or that are lost."""
    moment = env.latest.moment
    robot, wanted = moment.robot, moment.now
    tilt = vertical(robot.root_rot) - vertical(wanted.root_rot)
    off = ((robot.root_pos - wanted.root_pos)[:, 2].abs() > HEIGHT) | (tilt.abs() > TILT)
    return off if env.latest.diverged is None else off | env.latest.diverged


def vertical(quat: torch.Tensor) -> torch.Tensor:
    """The vertical component ``[N]`` of gravity's direction in frames ``quat [N, 4]`` (xyzw)."""
    return 2.0 * quat[:, :2].square().sum(-1) - 1.0


def of_checkpoint(agent: Any, model: Any) -> Any:
    """An agent that acts as ``agent`` with other weights."""
    twin = copy.copy(agent)
    twin.net = copy.deepcopy(agent.net)
    twin.load_model_state_dict(model, alone=True)
    return twin


# ------------------------------------------------------------------------------------------------------------- output


def write(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    if args.out:
        path = Path(args.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"torch": torch.__version__, "python": platform.python_version(), "rows": rows}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def table(rows: list[dict[str, Any]]) -> str:
    several_too = any("parameters" in row for row in rows)
    more = ["average, alone", "in iterations", "parameters equal"] if several_too else []
    names = ["method", "devices x envs", "seed", "first", "strict", "minutes", "return", "failed", "samples/s", *more]
    lines = [f"| {' | '.join(names)} |", "| --- " * len(names) + "|"]
    for row in rows:
        last = row["curve"][-1]
        times = [f"{row[key]:.0f} s" if row[key] is not None else "not reached" for key in ("first_s", "strict_s")]
        faster = f" ({row['times_one']:.2f} x one)" if "times_one" in row else ""
        lines.append(
            f"| {row['method']} | {row['devices']} x {row['num_envs']:,} | {row['seed']} | {' | '.join(times)} "
            f"| {row['seconds'] / 60:.1f} | {last['return']:.3f} | {last['failed']} of {row['clips']} "
            f"| {row['samples_per_s']:,.0f}{faster} |" + (averages(row) if several_too else "")
        )
    hardest = ", ".join(row["clip"] for row in rows[-1]["last"][:5])
    return "\n".join([*lines, f"hardest in the end: {hardest}"])


if __name__ == "__main__":
    main()
