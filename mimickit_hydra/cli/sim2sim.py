"""``mimickit sim2sim RUN engine=newton,mujoco``: tests one policy on several engines."""

from __future__ import annotations

import argparse
from typing import Any

from mimickit_hydra.cli.named import find_policy, make_results_folder
from mimickit_hydra.cli.text import bold, columns
from mimickit_hydra.config.overrides import parse
from mimickit_hydra.errors import UserError

EPISODES = 32


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "sim2sim",
        help="test a policy on several engines: return, success, position error",
        description="Writes sim2sim.json and sim2sim.png into the run directory, of model=NAME into outputs/NAME, and "
        f"prints a table. Further overrides hold for every engine, e.g. test_episodes=64 (default {EPISODES}) or "
        "num_envs=8.",
    )
    parser.add_argument("run_dir", metavar="RUN", help="a run directory, or model=NAME (mimickit models)")
    parser.add_argument("overrides", nargs="+", metavar="engine=A,B", help="the engines, and overrides for all of them")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    engines = [text for text in args.overrides if parse(text).key == "engine"]
    if len(engines) != 1:
        raise UserError("mimickit sim2sim: name the engines once, such as engine=newton,mujoco")
    from mimickit_hydra.checks.check import validate
    from mimickit_hydra.config.resolved import saved_config

    source = find_policy(args.run_dir)
    saved_config(source)  # what is wrong with it is said before torch is imported
    from mimickit_hydra.training import sim2sim
    from mimickit_hydra.view.sim2sim_report import table, write_results

    names = sim2sim.parse_engines(",".join(parse(engines[0]).values))
    others = [text for text in args.overrides if text not in engines]
    trained_on = sim2sim.trained_engine(str(source))
    results = {}
    runs = sim2sim.runs_by_engine(str(source), names, [f"test_episodes={EPISODES}", *others])
    for run in runs.values():
        validate(run)
    folder = make_results_folder(args.run_dir)
    for name, run in runs.items():
        print(f"testing on {name} ...", flush=True)
        results[name] = sim2sim.test_on(run, folder / "sim2sim" / name)
    lines = columns(table(results, trained_on), indent="")
    print("\n".join([bold(lines[0]), *lines[1:]]))
    for path in write_results(folder, results, trained_on):
        print(path)
    return 0
