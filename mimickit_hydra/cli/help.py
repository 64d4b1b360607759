"""Prints the help of ``train.py``, read from ``conf/`` without composing anything."""

from __future__ import annotations

from pathlib import Path

from mimickit_hydra.cli.text import bold, columns, dim
from mimickit_hydra.config.groups import Group, groups
from mimickit_hydra.config.overrides import ALIASES
from mimickit_hydra.files import relative

_RUN_KEYS = (
    ("mode", "train | test"),
    ("num_envs", "environments per process"),
    ("devices", "one process per entry: [cpu], [cuda:0,cuda:1]"),
    ("max_samples", "stop after so many environment steps"),
    ("max_minutes", "stop after so much time"),
    ("rand_seed", "same seed, same numbers"),
    ("resume", "a run directory to continue"),
    ("model_file", "a checkpoint or run directory to start from"),
    ("out_dir", "the run directory"),
)
_FLAGS = (
    ("--cfg job", "print the composed config instead of running; add --resolve to follow interpolations"),
    ("--info defaults", "print which files it is composed from, in order"),
    ("--from RUN_DIR", "repeat a run from its saved config; overrides go on top"),
    ("-m, --multirun", "run every combination of comma-separated values"),
    ("--hydra-help", "Hydra's own flags"),
    ("--version", "print the version"),
)
_EXAMPLES = (
    ("motion=humanoid_spinkick", "another clip"),
    ("agent.actor_optimizer.learning_rate=1e-4", "one value"),
    ("engine=newton", "on a GPU, with MimicKit's settings"),
    ("-m rand_seed=1,2,3", "three seeds"),
    ("mode=test model_file=RUN_DIR", "measure and film a trained policy"),
)


def command_name(prog: str) -> str:
    """The command as it is typed: ``python train.py`` for a script, the bare name for an installed command."""
    return f"python {relative(prog)}" if prog.endswith(".py") else prog


def train_help(prog: str) -> str:
    command = command_name(prog)
    lines = [
        f"{bold('Train')} a policy that imitates a motion; without arguments a humanoid learns to walk here",
        "",
        f"  {command} [GROUP=OPTION ...] [KEY=VALUE ...] [FLAGS]",
    ]
    lines += ["", f"{bold('Groups')} {dim('(* is the default)')}"]
    for group in groups().values():
        lines += group_lines(group)
    lines += ["", f"{bold('Keys')} {dim('(all of them: --cfg job; where one comes from: mimickit explain KEY)')}"]
    lines += columns(_RUN_KEYS)
    lines += ["", f"{bold('Short keys')} {dim('(for the ones typed most)')}", *columns(list(ALIASES.items()))]
    lines += ["", bold("Flags"), *columns(_FLAGS)]
    lines += ["", bold("Examples"), *columns([(f"{command} {text}", dim(f"# {note}")) for text, note in _EXAMPLES])]
    return "\n".join(lines)


def group_lines(group: Group, notes: dict[str, str] | None = None) -> list[str]:
    """A group's heading and one line per option, the default marked. ``notes`` adds a middle column."""
    rows = []
    for option in group.options:
        mark = "* " if option.name == group.default else "  "
        middle = [notes.get(option.name, "")] if notes else []
        rows.append((mark + option.name, *middle, option.help))
    return [f"  {bold(group.name)}: {group.help}", *columns(rows, indent="    ")]


def file_of(path: Path) -> str:
    """A path as text, as short as possible."""
    text = relative(path)
    return str(path) if text.startswith("..") else text
