"""Samples per second of training, where the time goes, and the bare physics rate of the same engine in the same run.

    python benchmarks/throughput.py --engine newton --method all --num-envs 4096 --cells deepmimic:16384 --limit 28
    python benchmarks/throughput.py --engine newton --devices 1,2,4,8
    python benchmarks/throughput.py --cells deepmimic:4096,tracking:4096:character=g1_mjlab --devices 1,2
    python benchmarks/throughput.py --engine mujoco --device cpu --num-envs 16 --devices 1,2,4
    python benchmarks/throughput.py --table benchmarks/results/h200_methods.json

For every row: build time (s, with imports; by part in the JSON), memory (GB), one warm-up of several iterations
(kernels, graphs), then the median of
``--iterations`` training iterations. "bare" steps the engine alone with noisy targets around the start pose and resets
everything every 30 steps. With ``--devices`` every row is measured on that many GPUs, or processes of the CPU, each
with ``--num-envs`` environments of its own, and says what averaging gradients costs and whether all ranks ended with
the same parameters, bit for bit. Prints a table and writes a JSON after every row. A row that takes longer than
``--limit`` seconds measures fewer iterations, and gives up after twice that time.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import io
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import several

SPLIT = ("physics", "env", "reset", "policy", "update")
METHODS = ("deepmimic", "amp", "add", "ase", "awr", "lcp", "smp")
SAME = ("engine", "method", "num_envs", "overrides")  # of rows that differ in their devices alone
FEWEST = 2  # iterations that are measured whatever the limit says


def main() -> None:
    args = arguments()
    if args.table:
        print(table([row for file in args.table for row in json.loads(Path(file).read_text(encoding="utf-8"))["rows"]]))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="mimickit_throughput_") as folder:
        args.folder = folder
        for engine in args.engine.split(","):
            for method, num_envs, words in cells(args):
                for count in args.devices:
                    devices = several.devices_of(args.device, count)
                    rows.append(attempt(args, engine, method, num_envs, words, devices))
                    several.times_one(rows, SAME, lambda row: row.get("samples_per_s"))
                    print(json.dumps(rows[-1]), flush=True)
                    write(args, rows)
    print(table(rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="newton")
    parser.add_argument("--method", default="", help=f"all = {','.join(METHODS)}; deepmimic if there are no --cells")
    parser.add_argument("--num-envs", default="4096", help="per device")
    parser.add_argument("--cells", default="", help="further rows METHOD:NUM_ENVS[:OVERRIDE ...]")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--devices", type=several.counts, default=[1], help="how many, one after the other: 1,2,4,8")
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--warm", type=int, default=3, help="iterations before the measured ones")
    parser.add_argument("--bare-steps", type=int, default=90)
    parser.add_argument("--limit", type=float, default=0.0, help="seconds a row, 0 = none")
    parser.add_argument("--eager", action="store_true", help="without graphs of rollout and update")
    parser.add_argument("--split", action="store_true", help="add an eager pass that waits after every part")
    parser.add_argument("--out", default="")
    parser.add_argument("--table", nargs="+", default=[], metavar="JSON", help="print the table of these files")
    parser.add_argument("overrides", nargs="*", help="further overrides of the run, e.g. engine.sim_freq=120")
    args = parser.parse_args()
    if not args.table:
        several.check_devices(parser, args.device, max(args.devices))
    return args


def cells(args: argparse.Namespace) -> list[tuple[str, int, list[str]]]:
    """(method, number of environments, overrides of its own) of every row."""
    given = args.method or ("" if args.cells else "deepmimic")
    methods = METHODS if given == "all" else [method for method in given.split(",") if method]
    found = [(method, int(count), []) for count in args.num_envs.split(",") for method in methods]
    for text in filter(None, args.cells.split(",")):
        method, count, *words = text.split(":")
        found.append((method, int(count), words))
    return found


def attempt(
    args: argparse.Namespace, engine: str, method: str, num_envs: int, words: list[str], devices: list[str]
) -> dict[str, Any]:
    """A measured row, or one that says what went wrong: one row that fails must not cost the others."""
    from mimickit_hydra.training.processes import launch

    overrides = [*words, *args.overrides]
    head = {"engine": engine, "method": method, "num_envs": num_envs, "devices": len(devices), "overrides": overrides}
    try:
        with time_limit(2.0 * args.limit):
            more = prior(args, engine) if method == "smp" else ()
            row = launch(functools.partial(measure, args=args, more=more, **{**head, "devices": devices}), devices)
    except Exception as error:
        row = {**head, "error": " ".join(f"{type(error).__name__}: {error}".split())[:500]}
    gc.collect()
    if devices[0].startswith("cuda"):
        torch.cuda.empty_cache()
    return row


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """TimeoutError in the main thread after ``seconds`` (0 = never)."""
    if not seconds:
        yield
        return

    def give_up(*_: Any) -> None:
        raise TimeoutError(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def prior(args: argparse.Namespace, engine: str) -> tuple[str, ...]:
    """Overrides that name a barely trained diffusion prior of the default size: it costs what a good one does."""
    from mimickit_hydra.cli.main import main as command

    folder = Path(args.folder) / f"prior_{engine}"
    if not folder.exists():
        quick = ("num_iterations=1", "num_samples_stat=256", "batch_size=16", "device=cpu")
        words = ["prior", "train", str(folder), f"engine={engine}", *(f"prior.{text}" for text in quick)]
        with contextlib.redirect_stdout(io.StringIO()):
            command(words)
    return (f"agent.smp_prior_model={folder / 'model.pt'}",)


def measure(
    comm: Any,
    device: torch.device,
    *,
    args: argparse.Namespace,
    more: tuple[str, ...],
    engine: str,
    method: str,
    num_envs: int,
    overrides: list[str],
    devices: list[str],
) -> dict[str, Any]:
    """One row, in every process of it."""
    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.training.build import build
    from mimickit_hydra.training.rng import seed_everything

    if device.type == "cpu":
        torch.set_num_threads(1)
    words = [f"engine={engine}", f"method={method}", f"devices=[{','.join(devices)}]", f"num_envs={num_envs}"]
    run = to_run(compose([*words, *more, *overrides]))
    seed_everything(comm.rank)
    before = memory(device)
    began = time.perf_counter()
    import_engine(engine)
    build_parts = {"imports": time.perf_counter() - began}
    parts = build(run, comm, device)
    wait(device)
    build_s = time.perf_counter() - began
    build_parts |= getattr(parts.engine, "build_seconds", {})
    build_parts["env and agent"] = build_s - sum(build_parts.values())
    agent = parts.agent
    if args.eager:
        agent._staged = agent._updates = None
    seconds = iterations(args, agent, device, began)
    measured = seconds[args.warm :]
    train = statistics.median(measured)
    samples = agent.buffer.num_samples * comm.world_size
    rollout = statistics.median(timed(agent._rollout, device) for _ in range(3))
    problems = [staged.problem for staged in (agent._staged, agent._updates) if staged is not None and staged.problem]
    row = {
        "engine": engine, "method": method, "num_envs": num_envs, "devices": comm.world_size, "device": name_of(device),
        "overrides": overrides, "steps_per_iter": agent.buffer.steps, "iterations": len(measured),
        "samples_per_s": samples / train, "iteration_s": train, "rollout_s": rollout, "update_s": train - rollout,
        "first_iteration_s": seconds[0], "build_s": build_s, "build_parts_s": build_parts,
        "memory_gb": memory(device) - before,
        "rollout_is_graph": bool(agent._staged and agent._staged.captured),
        "update_is_graph": bool(agent._updates and agent._updates.captured),
        "graph_problem": "; ".join(problems),
    }  # fmt: skip
    if comm.world_size > 1:
        row["rollout_by_rank_s"] = several.by_rank(agent, rollout)
        row |= several.averaging(agent, agent.train_iteration, functools.partial(wait, device))
        row["parameters"] = several.equality(agent)
    else:
        row["bare_samples_per_s"] = bare(parts.engine, device, args.bare_steps)
        row["ratio"] = row["samples_per_s"] / row["bare_samples_per_s"]
        if args.split:
            row["split_s"] = split(parts, device)
    warnings = getattr(parts.engine, "warnings", list)()
    if warnings:
        row["warnings"] = warnings
    parts.close()
    return row


def iterations(args: argparse.Namespace, agent: Any, device: torch.device, began: float) -> list[float]:
    """Seconds of each training iteration; with a limit, as many as fit into it and at least a few."""
    seconds: list[float] = []
    while len(seconds) < args.warm + args.iterations:
        late = float(bool(args.limit) and time.perf_counter() - began > args.limit)
        if max(several.by_rank(agent, late)) and len(seconds) >= args.warm + FEWEST:
            break
        seconds.append(timed(agent.train_iteration, device))
    return seconds


def import_engine(name: str) -> None:
    """Import the engine's module and its simulator, as building a run would, so that it can be timed."""
    gc.disable()
    from mimickit_hydra.plugins import ENGINES

    ENGINES[name].load()
    gc.enable()


def bare(engine: Any, device: torch.device, steps: int) -> float:
    """Environment steps per second of the engine alone."""
    from mimickit_hydra.engines.interface import ResetState

    state, n = engine.states[0], engine.num_envs
    everyone = torch.ones(n, dtype=torch.bool, device=device)
    zeros = torch.zeros_like
    start = ResetState(
        root_pos=zeros(state.root_pos) + torch.tensor([0.0, 0.0, 0.9], device=device),
        root_rot=zeros(state.root_rot) + torch.tensor([0.0, 0.0, 0.0, 1.0], device=device),
        root_vel=zeros(state.root_vel), root_ang_vel=zeros(state.root_ang_vel),
        dof_pos=zeros(state.dof_pos), dof_vel=zeros(state.dof_vel),
    )  # fmt: skip

    def play() -> None:
        for step in range(steps):
            if step % 30 == 0:
                engine.reset(everyone, {0: start})
            engine.set_command(0.1 * torch.randn_like(state.dof_pos))
            engine.step()

    play()
    return n * steps / statistics.median(timed(play, device) for _ in range(3))


def split(parts: Any, device: torch.device) -> dict[str, float]:
    """Seconds of one iteration by part, run eagerly and waiting for the device after each: shares, not a speed."""
    agent, env, engine = parts.agent, parts.env, parts.engine
    spent = dict.fromkeys(SPLIT, 0.0)

    def watch(owner: Any, method: str, part: str) -> Callable[[], None]:
        original = getattr(owner, method)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            wait(device)
            began = time.perf_counter()
            result = original(*args, **kwargs)
            wait(device)
            spent[part] += time.perf_counter() - began
            return result

        setattr(owner, method, wrapped)
        return lambda: delattr(owner, method)

    staged, agent._staged = agent._staged, None
    updates, agent._updates = agent._updates, None
    undo = [watch(engine, "step", "physics"), watch(env, "step", "env"), watch(env, "reset", "reset")]
    began = time.perf_counter()
    agent._rollout()
    wait(device)
    rollout = time.perf_counter() - began
    for back in undo:
        back()
    agent._staged, agent._updates = staged, updates
    spent["env"] -= spent["physics"]
    spent["policy"] = rollout - spent["physics"] - spent["env"] - spent["reset"]
    spent["update"] = max(0.0, timed(agent.train_iteration, device) - timed(agent._rollout, device))
    return spent


def timed(function: Callable[[], Any], device: torch.device) -> float:
    wait(device)
    began = time.perf_counter()
    function()
    wait(device)
    return time.perf_counter() - began


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory(device: torch.device) -> float:
    """GB in use: of the whole GPU (the simulator allocates outside torch), or of this process."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return (total - free) / 1e9
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE") / 1e9


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, one line a row."""
    several_too = any("parameters" in row for row in rows)
    more = ["average, alone", "in iterations", "parameters equal"] if several_too else []
    names = [
        "engine",
        "method",
        "devices x envs",
        "samples/s",
        "bare physics",
        "ratio",
        "rollout s",
        "update s",
        "build s",
    ]
    names += ["GB", *more]
    lines = [f"| {' | '.join(names)} |", "| --- " * len(names) + "|"]
    for row in rows:
        count, words = row.get("devices", 1), "".join(f" {word}" for word in row.get("overrides", []))
        head = f"| {row['engine']} | {row['method']}{words} | {f'{count} x ' if count > 1 else ''}{row['num_envs']:,} |"
        if "error" in row:
            lines.append(f"{head} {row['error']} |")
            continue
        physics = f"{row['bare_samples_per_s']:,.0f} | {row['ratio']:.2f}" if "ratio" in row else " | "
        times = f" ({row['times_one']:.2f} x one)" if "times_one" in row else ""
        lines.append(
            f"{head} {row['samples_per_s']:,.0f}{times} | {physics} | "
            f"{row['rollout_s']:.3f} | {row['update_s']:.3f} | {row['build_s']:.1f} | {row['memory_gb']:.1f} |"
            + (averages(row) if several_too else "")
        )
    return "\n".join(lines)


def averages(row: dict[str, Any]) -> str:
    """The end of a row: what averaging takes of an iteration, and whether all ranks ended equal."""
    if "parameters" not in row:
        return "  |  |  |"
    shares = f" {1e3 * row['average_s']:.1f} ms ({row['average_share']:.1%}) | {row['in_iteration_share']:.1%} |"
    return f"{shares} {'yes' if row['parameters']['equal'] else 'NO'}, {len(row['parameters']['sha256'])} ranks |"


def write(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    if args.out:
        path = Path(args.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
