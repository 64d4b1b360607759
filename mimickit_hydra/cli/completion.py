"""``mimickit completion bash``: commands, groups, options and keys complete with the tab key."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

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


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "completion",
        help='shell completion: eval "$(mimickit completion bash)"',
        description='Prints the script that makes the tab key work: eval "$(mimickit completion bash)"',
    )
    parser.add_argument("shell", choices=["bash", "query"], metavar="bash", help="the shell")
    parser.add_argument("line", nargs="?", default="", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.shell == "bash":
        print(BASH, end="")
    else:
        print("\n".join(candidates(args.line)))
    return 0


def candidates(line: str) -> list[str]:
    """What may stand in the place of the last word of ``line``, which ends at the cursor."""
    words = line.split()
    current = "" if not line or line[-1].isspace() else words.pop()
    if len(words) > 1 and words[1].endswith("train.py"):  # python train.py ...
        words = [words[0], "train", *words[2:]]
    if len(words) < 2:
        return _starting(_commands(), current)
    return _starting(_arguments(words[1], words[2:], current), current)


def _starting(options: Sequence[str], current: str) -> list[str]:
    return [option for option in options if option.startswith(current)]


def _commands() -> list[str]:
    from mimickit_hydra.cli.main import make_parser

    return list(_choices(make_parser()))


def _choices(parser: argparse.ArgumentParser) -> dict[str, Any]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _arguments(command: str, before: Sequence[str], current: str) -> list[str]:
    from mimickit_hydra.config.catalog import groups

    if command == "train":
        if before and before[-1] in _FLAG_VALUES:
            return list(_FLAG_VALUES[before[-1]])
        if before and before[-1] == "--from":
            return []  # bash completes directories
        return list(_TRAIN_FLAGS) if current.startswith("-") else _overrides(current)
    if command == "list":
        return list(groups()) if not before else []
    if command == "explain":
        return _overrides(current) if before else [text.rstrip("=") for text in _overrides(current)]
    if command == "doctor" and not current.startswith("-"):
        return _overrides(current)
    if command == "diff":
        return groups()["experiment"].option_names() if len(before) < 2 else []
    if command == "completion":
        return ["bash"]
    return _of_parser(command, current) if not before or current.startswith("-") else []


def _of_parser(command: str, current: str) -> list[str]:
    """Subcommands or flags of any other command, as its parser has them."""
    from mimickit_hydra.cli.main import make_parser

    parser = _choices(make_parser()).get(command)
    if parser is None:
        return []
    if current.startswith("-"):
        return [text for action in parser._actions for text in action.option_strings]
    return list(_choices(parser))


def _overrides(current: str) -> list[str]:
    """Options after ``group=``, values after a key with a fixed choice, else groups and keys one level at a time."""
    key, equals, value = current.partition("=")
    if not equals:
        return _keys(current)
    done = value.rpartition(",")[0]
    start = f"{key}={done}," if done else f"{key}="
    return [start + option for option in _values(key)]


def _values(key: str) -> Sequence[str]:
    from mimickit_hydra.config.catalog import groups

    if key in groups():
        return groups()[key].option_names()
    from mimickit_hydra.config.rules import RULES

    if key in RULES:
        return RULES[key].names
    value = _leaves().get(key)
    return ("true", "false") if isinstance(value, bool) else ()


def _keys(current: str) -> list[str]:
    from mimickit_hydra.config.catalog import groups, schema_fields

    parent = current.rpartition(".")[0]
    if not parent:
        names = list(schema_fields()["RunConfig"])
        found = [f"{name}=" for name in dict.fromkeys([*groups(), *names])]
        return [*found, *(f"{current}." for name in groups() if name == current)]
    prefix = f"{parent}."
    steps = [key[len(prefix) :].partition(".") for key in _leaves() if key.startswith(prefix)]
    return list(dict.fromkeys(f"{prefix}{name}{'.' if dot else '='}" for name, dot, _ in steps))


def _leaves() -> dict[str, Any]:
    from mimickit_hydra.config.compose import compose, flatten

    return flatten(compose([]), resolve=True)
