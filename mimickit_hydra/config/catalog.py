"""The config groups, their options and one line of help each, read from ``conf/`` without composing anything."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.config.paths import conf_dir

GROUP_HELP = {
    "engine": "the simulator",
    "method": "how to learn; chooses the env and the agent that belong together",
    "character": "who moves",
    "motion": "what to imitate",
    "env": "observations, rewards and terminations",
    "agent": "the learning algorithm",
    "core": "whose code runs: ours, or a MimicKit checkout of your own",
    "compute": "what the machine can carry; chosen by the engine",
    "logger": "where the numbers go",
    "launch": "where the run starts",
    "experiment": "a whole run by name",
    "debug": "a run cut short",
    "sweep": "the values that -m goes through, by name",
}

_DEFAULT = re.compile(r"^\s*-\s+(\w+):\s*(\S+)")
_OVERRIDE = re.compile(r"^\s*-\s+override\s+/(\w+)(?:@\S+)?:\s*(\S+)", re.MULTILINE)
_SCHEMA_FIELD = re.compile(r"^    (\w+): [^#]*(?:#\s*(.*))?$")
_SCHEMA_CLASS = re.compile(r"^class (\w+)(?:\((\w+)\))?:")


@dataclass(frozen=True)
class Option:
    """One YAML of a group: ``name`` is what stands on the command line."""

    name: str
    help: str
    path: Path


@dataclass(frozen=True)
class Group:
    name: str
    help: str
    default: str | None  # the option when nothing is said, None where it is empty
    options: tuple[Option, ...]

    def option_names(self) -> list[str]:
        return [option.name for option in self.options]


def help_line(path: Path) -> str:
    """The first comment of a YAML that is not a directive to Hydra."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return ""
        text = line.lstrip("#").strip()
        if text and not text.startswith("@"):
            return text
    return ""


@functools.cache
def default_choices() -> dict[str, str]:
    """The option of each group when nothing is said, without those that are empty.

    ``conf/config.yaml`` names one for each, and what it names may choose others, as engine=mujoco chooses compute=cpu.
    """
    choices = {}
    for line in (conf_dir() / "config.yaml").read_text(encoding="utf-8").splitlines():
        match = _DEFAULT.match(line)
        if match and match.group(2) != "null":
            choices[match.group(1)] = match.group(2)
    for group in list(choices):
        path = conf_dir() / group / f"{choices[group]}.yaml"
        if path.is_file():
            choices.update(_OVERRIDE.findall(path.read_text(encoding="utf-8")))
    return choices


@functools.cache
def groups() -> dict[str, Group]:
    """All groups in the order of ``GROUP_HELP``, then any other folder of ``conf/`` by name."""
    folders = {
        path.name: path for path in conf_dir().iterdir() if path.is_dir() and not path.name.startswith((".", "_"))
    }
    names = [name for name in GROUP_HELP if name in folders] + sorted(set(folders) - set(GROUP_HELP))
    found = {}
    for name in names:
        options = tuple(Option(path.stem, help_line(path), path) for path in sorted(folders[name].glob("*.yaml")))
        found[name] = Group(name, GROUP_HELP.get(name, ""), default_choices().get(name), options)
    return found


@functools.cache
def schema_fields() -> dict[str, dict[str, tuple[str, int]]]:
    """``{class: {field: (comment, line)}}`` from the source of the schema, inherited fields included."""
    path = Path(__file__).with_name("schema.py")
    found: dict[str, dict[str, tuple[str, int]]] = {}
    current: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if match := _SCHEMA_CLASS.match(line):
            current = dict(found.get(match.group(2) or "", {}))
            found[match.group(1)] = current
        elif match := _SCHEMA_FIELD.match(line):
            current[match.group(1)] = (match.group(2) or "", number)
    return found
