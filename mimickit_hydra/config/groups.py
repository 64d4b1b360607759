"""Lists the config groups, their options and a line of help for each, without composing anything."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.config.defaults import read
from mimickit_hydra.config.roots import Root, conf_dir, roots

GROUP_HELP = {
    "engine": "the simulator",
    "method": "how to learn; chooses the env and the agent that belong together",
    "character": "who moves",
    "motion": "what to imitate",
    "env": "observations, rewards and terminations",
    "agent": "the learning algorithm",
    "core": "whose code runs: ours, or a MimicKit checkout of your own",
    "randomize": "what differs between environments and what happens to them: robots, sensors, pushes",
    "observe": "what the policy sees: the whole state, or what a robot measures",
    "recipe": "optimisers, networks and horizons for the time at hand; chosen by compute",
    "compute": "what the machine can carry; chosen by the engine",
    "logger": "where the numbers go",
    "launch": "where the run starts",
    "model": "a trained policy by name: its weights, with what they were trained for",
    "experiment": "a whole run by name",
    "debug": "a run cut short",
    "sweep": "the values that -m goes through, by name",
}


@dataclass(frozen=True)
class Option:
    """An option of a group, one YAML; ``name`` is what stands on the command line."""

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


def first_defaults() -> dict[str, str]:
    """The option of each group that ``conf/config.yaml`` itself names, before any of them chooses another."""
    listed = read(conf_dir() / "config.yaml").defaults
    return {entry.group: entry.option for entry in listed if entry.group and entry.option and not entry.is_override}


@functools.cache
def default_choices() -> dict[str, str]:
    """The option of each group when nothing is said, without those that are empty.

    ``conf/config.yaml`` names one for each, and what it names may choose others, as engine=mujoco chooses compute=cpu.
    """
    choices = {group: option for group, option in first_defaults().items() if "/" not in group}
    for group in list(choices):
        choices.update(read(conf_dir() / group / f"{choices[group]}.yaml").chosen)
    return choices


def groups() -> dict[str, Group]:
    """All groups of all config folders, in the order of ``GROUP_HELP`` and then by name."""
    return _groups(roots())


@functools.lru_cache(maxsize=16)
def _groups(found: tuple[Root, ...]) -> dict[str, Group]:
    options: dict[str, dict[str, Option]] = {}
    parts = set()  # folders of ours inside a group: what lies in them is no option
    for root in found:
        for file in root.files():
            group, *inner = file.parent.parts or ("",)
            if root is found[0] and inner:
                parts.add(file.parent)
            elif group and file.parent not in parts:
                name = file.relative_to(group).with_suffix("").as_posix()
                options.setdefault(group, {})[name] = Option(name, read(root.path / file).help, root.path / file)
    names = [name for name in GROUP_HELP if name in options] + sorted(set(options) - set(GROUP_HELP))
    ordered = {name: tuple(option for _, option in sorted(options[name].items())) for name in names}
    return {name: Group(name, GROUP_HELP.get(name, ""), default_choices().get(name), ordered[name]) for name in names}
