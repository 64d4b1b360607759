"""``mimickit completion bash``: completion of commands, groups, options and keys in the shell."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from mimickit_hydra.cli.folders import take_from

# Bash splits words at = and :, so the word under the cursor is cut out of the line here, and what stands before the
# last = or : in it is taken off the candidates again.
BASH = r"""# bash completion for mimickit; load it with: eval "$(mimickit completion bash)"
_mimickit_candidates() {
    local line="${COMP_LINE:0:COMP_POINT}" candidate word prefix=""
    word="${line##*[[:space:]]}"
    if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then prefix="${word%"${word##*=}"}"; fi
    if [[ "$word" == *:* && "$COMP_WORDBREAKS" == *:* ]]; then prefix="${word%"${word##*:}"}"; fi
    COMPREPLY=()
    while IFS= read -r candidate; do
        if [[ -n "$candidate" ]]; then COMPREPLY+=("${candidate#"$prefix"}"); fi
    done < <("$@" completion query -- "$line" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[=.] ]]; then compopt -o nospace 2>/dev/null; fi
    return 0
}
_mimickit_command() { _mimickit_candidates "${COMP_WORDS[0]}"; }
_mimickit_python() {
    COMPREPLY=()
    if [[ "${COMP_WORDS[1]}" == *train.py ]]; then
        _mimickit_candidates "${COMP_WORDS[0]}" -m mimickit_hydra.cli.main
    fi
}
complete -o default -F _mimickit_command mimickit
complete -o default -F _mimickit_python python python3
"""

_TRAIN_FLAGS = ("--cfg", "--resolve", "--info", "--from", "--multirun", "--help", "--version")
_FLAG_VALUES = {
    "--cfg": ("job", "hydra", "all"),
    "-c": ("job", "hydra", "all"),
    "--info": ("defaults", "defaults-tree", "config", "plugins", "searchpath", "all"),
    "-i": ("defaults", "defaults-tree", "config", "plugins", "searchpath", "all"),
}


def add_parser(subparsers: Any, whole: argparse.ArgumentParser) -> None:
    parser = subparsers.add_parser(
        "completion",
        help='shell completion: eval "$(mimickit completion bash)"',
        description='Prints the script that makes the tab key work: eval "$(mimickit completion bash)"',
    )
    parser.add_argument("shell", choices=["bash", "query"], metavar="bash", help="the shell")
    parser.add_argument("line", nargs="?", default="", help=argparse.SUPPRESS)
    parser.set_defaults(run=lambda args: run(args, whole))


def run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if args.shell == "bash":
        print(BASH, end="")
    else:
        print("\n".join(candidates(args.line, parser)))
    return 0


def candidates(line: str, parser: argparse.ArgumentParser) -> list[str]:
    """The words that may stand in the place of the last word of ``line``, which ends at the cursor."""
    words = line.split()
    current = "" if not line or line[-1].isspace() else words.pop()
    words = take_from(words)
    if len(words) > 1 and words[1].endswith("train.py"):  # python train.py ...
        words = [words[0], "train", *words[2:]]
    if len(words) < 2:
        return _starting(list(_choices(parser)), current)
    return _starting(_arguments(parser, words[1], words[2:], current), current)


def _starting(options: Sequence[str], current: str) -> list[str]:
    return [option for option in options if option.startswith(current)]


def _choices(parser: argparse.ArgumentParser) -> dict[str, Any]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _arguments(parser: argparse.ArgumentParser, command: str, before: Sequence[str], current: str) -> list[str]:
    from mimickit_hydra.config.groups import groups

    if command == "train":
        if before and before[-1] in _FLAG_VALUES:
            return list(_FLAG_VALUES[before[-1]])
        if before and before[-1] == "--from":
            return []  # bash completes directories
        return list(_TRAIN_FLAGS) if current.startswith("-") else _overrides(current, before)
    if command == "list":
        from mimickit_hydra.cli.listing import REGISTERED

        return [*groups(), "pairs", *REGISTERED] if not before else []
    if command == "explain":
        return _overrides(current, before) if before else [text.rstrip("=") for text in _overrides(current)]
    if command == "doctor" and not current.startswith("-"):
        return _overrides(current, before)
    if command == "diff":
        return groups()["experiment"].option_names() if len(before) < 2 else []
    if command == "completion":
        return ["bash"]
    return _of_parser(_choices(parser).get(command), current) if not before or current.startswith("-") else []


def _of_parser(parser: argparse.ArgumentParser | None, current: str) -> list[str]:
    """Subcommands or flags of a command other than train, read from its parser."""
    if parser is None:
        return []
    if current.startswith("-"):
        return [text for action in parser._actions for text in action.option_strings]
    return list(_choices(parser))


def _overrides(current: str, before: Sequence[str] = ()) -> list[str]:
    """Options after ``group=``, values after a key with a fixed choice, else groups and keys, a level at a time."""
    key, equals, value = current.partition("=")
    if not equals:
        return _keys(current, before)
    done = value.rpartition(",")[0]
    start = f"{key}={done}," if done else f"{key}="
    return [start + option for option in _values(key, before)]


def _values(key: str, before: Sequence[str]) -> Sequence[str]:
    from mimickit_hydra.config.groups import groups

    if key in groups():
        return groups()[key].option_names()
    from omegaconf import OmegaConf

    from mimickit_hydra.config.fields import declared

    cfg = _composed(before)
    if (found := declared(cfg, key)) and (rule := found[1].metadata.get("rule")):
        return list(rule.names)
    return ("true", "false") if isinstance(OmegaConf.select(cfg, key), bool) else ()


def _keys(current: str, before: Sequence[str]) -> list[str]:
    from mimickit_hydra.config.compose import flatten
    from mimickit_hydra.config.groups import groups
    from mimickit_hydra.config.overrides import ALIASES
    from mimickit_hydra.config.schema import RunConfig
    from mimickit_hydra.envs.term_schema import KINDS, TABLES
    from mimickit_hydra.plugins import EVENTS

    parent = current.rpartition(".")[0]
    if not parent:
        names = [field.name for field in dataclasses.fields(RunConfig)]
        found = [f"{name}=" for name in dict.fromkeys([*groups(), *names, *ALIASES])]
        return [*found, *(f"{current}." for name in groups() if name == current)]
    prefix = f"{parent}."
    leaves = [key for key in flatten(_composed(before), resolve=True) if key.removeprefix("env.") not in TABLES]
    named = {**KINDS, "critic_observations": KINDS["observations"], "events": EVENTS}
    leaves += [f"env.{table}.{name}.term" for table, registry in named.items() for name in registry]
    steps = [key[len(prefix) :].partition(".") for key in leaves if key.startswith(prefix)]
    return list(dict.fromkeys(f"{prefix}{name}{'.' if dot else '='}" for name, dot, _ in steps))


def _composed(before: Sequence[str]) -> Any:
    """The config of the options that are chosen on the line already."""
    from mimickit_hydra.config.compose import compose
    from mimickit_hydra.config.groups import groups

    words = [(word.partition("=")[0], word.partition("=")[2], word) for word in before]
    return compose([word for key, value, word in words if key in groups() and value in groups()[key].option_names()])
