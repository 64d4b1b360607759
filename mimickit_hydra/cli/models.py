"""``mimickit models``: lists the trained policies, shows the card of one, and packs one of your own."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mimickit_hydra.cli.overrides import add_overrides
from mimickit_hydra.cli.text import bold, columns, dim
from mimickit_hydra.errors import UserError

EPISODES = 256
_OWN = "folder that gets conf/model/NAME.yaml and data/models/NAME (the one of your own options, which needs no flag)"


def add_parser(subparsers: Any) -> None:
    """Add ``models`` and its actions to the command line."""
    parser = subparsers.add_parser(
        "models",
        help="trained policies: list them, or pack one of your own",
        description="Trained policies by name. Test or film one: mimickit train mode=test model=NAME",
    )
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(title="actions", dest="models_action", metavar="ACTION")
    show = actions.add_parser("show", help="the card of a policy: how it was made, and its metrics")
    show.add_argument("name", metavar="NAME")
    pack = actions.add_parser(
        "pack",
        help="make a policy of your own one that can be chosen by name",
        description="Writes what decides the actions (16 bits), the config, and a card with the metrics of a test on "
        f"each engine. Overrides hold for every test, e.g. test_episodes=64 ({EPISODES}).",
    )
    pack.add_argument("run_dir", metavar="RUN", help="a run directory")
    pack.add_argument("name", metavar="NAME", help="a new name, for model=NAME")
    add_overrides(pack, "engine=A,B", "engines to test on (mujoco), and overrides")
    pack.add_argument("--root", metavar="DIR", help=_OWN)
    pack.add_argument("--replace", action="store_true", help="NAME may be taken; below this --root it goes")
    pack.add_argument("--licence", default="", metavar="TEXT", help="under which others may use it")


def run(args: argparse.Namespace) -> int:
    if args.models_action == "pack":
        return _pack(args)
    if args.models_action == "show":
        from mimickit_hydra.config.models import find, read_card

        print(json.dumps(read_card(find(args.name).folder), indent=2))
        return 0
    from mimickit_hydra.config.models import models

    print("\n".join(columns([(bold(model.name), model.help, dim(str(model.folder))) for model in models()], indent="")))
    return 0


def _pack(args: argparse.Namespace) -> int:
    from mimickit_hydra.checks.check import validate
    from mimickit_hydra.config.models import models
    from mimickit_hydra.config.overrides import parse
    from mimickit_hydra.config.resolved import saved_config
    from mimickit_hydra.config.roots import user_dir

    root = user_dir().parent if args.root is None else Path(args.root).expanduser()
    if not args.name.isidentifier():
        raise UserError(f"NAME: found {args.name!r}, must be letters, digits and _, beginning with a letter")
    taken = args.name in [model.name for model in models()] or (root / "data" / "models" / args.name).exists()
    if taken and not args.replace:
        raise UserError(f"NAME: {args.name}: there is a model of that name; choose another, or say --replace")
    saved_config(args.run_dir)  # what is wrong with it is said before torch is imported
    from mimickit_hydra.training import policies, sim2sim

    engines = [text for text in args.overrides if parse(text).key == "engine"] or ["engine=mujoco"]
    if len(engines) > 1:
        raise UserError("mimickit models pack: name the engines once, such as engine=newton,mujoco")
    names = sim2sim.parse_engines(",".join(parse(engines[0]).values))
    others = [f"test_episodes={EPISODES}", *(text for text in args.overrides if text not in engines)]
    tests = sim2sim.runs_by_engine(args.run_dir, names, others)
    for test in tests.values():
        validate(test)
    for line in policies.pack(Path(args.run_dir).expanduser(), args.name, root, tests, args.licence):
        print(line, flush=True)
    return 0
