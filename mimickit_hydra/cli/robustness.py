"""``mimickit robustness RUN``: tests policies under other friction, masses, motors, delays, pushes and noise."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.cli.named import find_policy, make_results_folder, model_name
from mimickit_hydra.cli.text import bold, columns
from mimickit_hydra.config.overrides import parse
from mimickit_hydra.errors import UserError

if TYPE_CHECKING:
    from mimickit_hydra.config.schema import RunConfig

EPISODES = 16


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "robustness",
        help="test policies under other friction, masses, motors, delays, pushes and noise",
        description="Writes robustness.json and robustness.png into the first run directory, of model=NAME into "
        "outputs/NAME, and prints a table. vary=friction,mass tests these alone, engine=A,B on both engines; "
        f"test_episodes (default {EPISODES}) are those of each value. Further overrides hold for every run.",
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="RUN|OVERRIDE",
        help="run directories or model=NAME (mimickit models), and overrides for all",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    policies = [word for word in args.words if _is_policy(word)]
    if not policies:
        raise UserError("mimickit robustness: name a run directory, or model=NAME")
    own: dict[str, str] = {}
    others = []
    for word in args.words:
        if word not in policies:
            key = parse(word).key
            if key in ("engine", "vary"):
                own[key] = ",".join(parse(word).values)
            else:
                others.append(word)
    runs, wanted = _prepare([find_policy(word) for word in policies], own, others)
    folder = make_results_folder(policies[0])
    results, titles = _test(runs, wanted)
    from mimickit_hydra.view.robustness_report import table, write_results

    lines = columns(table(results, titles), indent="")
    print("\n".join([bold(lines[0]), *lines[1:]]))
    for path in write_results(folder, results, titles):
        print(path)
    return 0


def _is_policy(word: str) -> bool:
    return model_name(word) is not None or "=" not in word or Path(word).expanduser().is_dir()


def names_of(folders: Sequence[Path]) -> list[str]:
    """What table and picture call the policies: their folders, with as many of those above as tell them apart."""
    paths = [Path(os.path.abspath(folder.expanduser())).parts for folder in folders]
    for count in range(1, max(map(len, paths)) + 1):
        names = ["/".join(path[-count:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    return names


def _prepare(
    folders: list[Path], own: dict[str, str], others: list[str]
) -> tuple[dict[tuple[str, str], RunConfig], list[str]]:
    """The checked run of each policy, by name, on each engine, and what is varied."""
    from mimickit_hydra.checks.check import validate
    from mimickit_hydra.config.resolved import saved_config

    for folder in folders:
        saved_config(folder)  # what is wrong with it is said before torch is imported
    from mimickit_hydra.training import robustness, sim2sim

    wanted = robustness.parse_axes(own["vary"]) if "vary" in own else list(robustness.AXES)
    words = [f"test_episodes={EPISODES}", *others]
    runs = {}
    for folder, name in zip(folders, names_of(folders), strict=True):
        engines = sim2sim.parse_engines(own.get("engine", sim2sim.trained_engine(str(folder))))
        for engine, run in sim2sim.runs_by_engine(str(folder), engines, words).items():
            able = robustness.axes_of(engine)
            lacking = [axis for axis in wanted if axis not in able]
            if lacking and "vary" in own:
                raise UserError(f"vary: engine={engine} cannot vary {', '.join(lacking)}; it can {', '.join(able)}")
            wanted = [axis for axis in wanted if axis in able]
            runs[name, engine] = run
    for run in runs.values():
        validate(robustness.prepared(run, wanted))
    return runs, wanted


def _test(
    runs: dict[tuple[str, str], RunConfig], wanted: list[str]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """The rows of every series, and the titles of what is varied."""
    from mimickit_hydra.training import robustness

    names, engines = ({key[part] for key in runs} for part in (0, 1))
    results = {}
    for (name, engine), run in runs.items():
        label = " on ".join([name] * (len(names) > 1) + [engine] * (len(engines) > 1)) or name
        print(f"testing {label} on {engine} ..." if " on " not in label else f"testing {label} ...", flush=True)
        results[label] = robustness.test_robustness(run, wanted, max(1, run.test_episodes))
    return results, {name: robustness.AXES[name].title for name in wanted}
