"""Samples per second of training, where the time goes, and the bare physics rate of the same engine in the same run.

    python benchmarks/throughput.py --engine newton --device cuda:0 --method deepmimic,amp --num-envs 4096,16384

For every row: build time (s), memory (GB), one warm-up of several iterations (kernels, graphs), then the median of
``--iterations`` training iterations. "bare" steps the engine alone with noisy targets around the start pose and resets
everything every 30 steps. Prints a table and writes a JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
SPLIT = ("physics", "env", "reset", "policy", "update")


def main() -> None:
    args = arguments()
    rows = []
    for engine in args.engine.split(","):
        for method in args.method.split(","):
            for num_envs in (int(text) for text in args.num_envs.split(",")):
                try:
                    rows.append(measure(args, engine, method, num_envs))
                except Exception as error:  # one row that fails must not cost the others
                    rows.append({"engine": engine, "method": method, "num_envs": num_envs, "error": repr(error)[:500]})
                print(json.dumps(rows[-1]), flush=True)
                write(args, rows)
                if args.device.startswith("cuda"):
                    torch.cuda.empty_cache()
    print(table(rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="newton")
    parser.add_argument("--method", default="deepmimic")
    parser.add_argument("--num-envs", default="4096")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--warm", type=int, default=3, help="iterations before the measured ones")
    parser.add_argument("--bare-steps", type=int, default=90)
    parser.add_argument("--eager", action="store_true", help="without graphs of the rollout")
    parser.add_argument("--split", action="store_true", help="add an eager pass that waits after every part")
    parser.add_argument("--out", default="")
    parser.add_argument("overrides", nargs="*", help="further overrides of the run, e.g. engine.sim_freq=120")
    return parser.parse_args()


def measure(args: argparse.Namespace, engine: str, method: str, num_envs: int) -> dict[str, Any]:
    from mimickit_hydra.adapter.build import build
    from mimickit_hydra.agents.comm import Comm
    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.runtime.processes import _use
    from mimickit_hydra.runtime.rng import seed_everything

    device = torch.device(args.device)
    _use(device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    overrides = [f"engine={engine}", f"method={method}", f"devices=[{device}]", f"num_envs={num_envs}"]
    run = to_run(compose([*overrides, *args.overrides]))
    seed_everything(0)
    before = memory(device)
    began = time.perf_counter()
    parts = build(run, Comm(), device)
    wait(device)
    build_s = time.perf_counter() - began
    agent = parts.agent
    if args.eager:
        agent._staged = None
    seconds = [timed(agent.train_iteration, device) for _ in range(args.warm + args.iterations)]
    train = statistics.median(seconds[args.warm :])
    samples = agent.buffer.num_samples
    rollout = statistics.median(timed(agent._rollout, device) for _ in range(3))
    row = {
        "engine": engine, "method": method, "num_envs": num_envs, "device": name_of(device),
        "overrides": args.overrides, "steps_per_iter": agent.buffer.steps,
        "samples_per_s": samples / train, "iteration_s": train, "rollout_s": rollout, "update_s": train - rollout,
        "first_iteration_s": seconds[0], "build_s": build_s, "memory_gb": memory(device) - before,
        "rollout_is_graph": bool(agent._staged and agent._staged.captured),
        "graph_problem": agent._staged.problem if agent._staged else "",
    }  # fmt: skip
    row["bare_samples_per_s"] = bare(parts.engine, device, args.bare_steps)
    row["ratio"] = row["samples_per_s"] / row["bare_samples_per_s"]
    if args.split:
        row["split_s"] = split(parts, device)
    problems = getattr(parts.engine, "warnings", list)()
    if problems:
        row["warnings"] = problems
    parts.close()
    return row


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
    undo = [watch(engine, "step", "physics"), watch(env, "step", "env"), watch(env, "reset", "reset")]
    began = time.perf_counter()
    agent._rollout()
    wait(device)
    rollout = time.perf_counter() - began
    for back in undo:
        back()
    agent._staged = staged
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
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e9


def name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| engine | method | envs | samples/s | bare physics | ratio | rollout s | update s | build s | GB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        head = f"| {row['engine']} | {row['method']} | {row['num_envs']:,} |"
        if "error" in row:
            lines.append(f"{head} {row['error']} |")
            continue
        lines.append(
            f"{head} {row['samples_per_s']:,.0f} | {row['bare_samples_per_s']:,.0f} | {row['ratio']:.2f} | "
            f"{row['rollout_s']:.3f} | {row['update_s']:.3f} | {row['build_s']:.1f} | {row['memory_gb']:.1f} |"
        )
    return "\n".join(lines)


def write(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    if args.out:
        path = Path(args.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
