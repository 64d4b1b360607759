"""Reads MimicKit's argument files, and the YAML files that they name, as MimicKit reads them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimickit_hydra.config.groups import groups
from mimickit_hydra.errors import UserError, suggestion
from mimickit_hydra.foreign import decode, read_bytes, read_yaml
from mimickit_hydra.mimickit.older import OLDER_FLAGS, join_blocks, join_flags, separate_optimizers

FLAGS = (
    "mode", "num_envs", "engine_config", "env_config", "agent_config", "visualize", "video", "logger", "model_file",
    "out_dir", "save_int_models", "max_samples", "test_episodes", "rand_seed", "devices", "master_port", "arg_file",
)  # fmt: skip
SECTIONS = ("engine", "env", "agent")
TRUE = ("true", "True", "1", "T", "t")
FORK = "a fork's own can be driven where it is: core=mimickit core.root=PATH"
# named by an argument file that MimicKit ships, but not shipped itself
NOT_SHIPPED = "smp_dodgeball_humanoid_agent.yaml"


@dataclass
class ArgFile:
    """An argument file: flags as text, YAML as plain values (None where none is named), notes for the reader."""

    path: Path
    flags: dict[str, list[str]]
    engine: dict[str, Any]
    env: dict[str, Any]
    agent: dict[str, Any] | None
    notes: list[str] = field(default_factory=list)


def read_arg_file(path: str | Path) -> ArgFile:
    """Read an argument file and the engine, env and agent YAML it names.

    Raises:
        UserError: a file is missing or unreadable, or holds what MimicKit would stumble over later.

    The older forms of these files (see ``older``) come back in today's.
    """
    file = Path(path).expanduser()
    notes: list[str] = []
    flags = _flags(file, notes)
    engine, env, agent = (_section(file, flags, name, notes) for name in SECTIONS)
    if env is None:
        raise UserError(f"{file}: no --{'engine' if engine is None else 'env'}_config, which MimicKit needs; {FORK}")
    if isinstance(env.get("engine"), dict):  # the env's file may change single keys of the engine's, or be all of it
        engine = {**(engine or {}), **env.pop("engine")}
    if engine is None:
        raise UserError(f"{file}: no --engine_config, which MimicKit needs, and no engine: block in its env file")
    blocks = isinstance(env.get("env"), dict)
    if blocks:
        env, engine = join_blocks(env, engine, notes)
    join_flags(flags, blocks, notes)
    return ArgFile(file, flags, engine, env, None if agent is None else separate_optimizers(agent, notes), notes)


def _flags(file: Path, notes: list[str]) -> dict[str, list[str]]:
    """The flags as ``{flag: words}``. A leading ``#`` comments a line or a word out; the first definition wins."""
    data = read_bytes(file)
    text = decode(data, file)
    if data.startswith(b"\xef\xbb\xbf"):
        raise UserError(
            f"{file}:1: begins with a byte-order mark, so MimicKit drops its first flag; save it without one"
        )
    found: dict[str, list[str]] = {}
    words: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#"):
            continue
        for word in line.split():
            if word.startswith("#"):
                notes.append(f"{file.name}:{number}: MimicKit drops {word!r} but reads the words after it")
            elif word.startswith("--") and len(word) >= 3:
                words = _open_flag(word[2:], f"{file.name}:{number}", found, notes)
            elif words is None:
                raise UserError(f"{file}:{number}: {word[:60]!r} stands before any --flag")
            else:
                _refuse_quotes(word, f"{file}:{number}")
                words.append(word)
    return found


def _open_flag(name: str, where: str, found: dict[str, list[str]], notes: list[str]) -> list[str]:
    if "=" in name:
        raise UserError(f"{where}: --{name}: MimicKit takes the whole word for a flag; write a space instead of =")
    if name in found:
        notes.append(f"{where}: --{name} stands twice; MimicKit takes the first")
        return []
    if name not in FLAGS + OLDER_FLAGS:
        notes.append(f"{where}: --{name} is no flag of MimicKit, which ignores it{suggestion(name, FLAGS)}")
        return []
    found[name] = []
    return found[name]


def _refuse_quotes(word: str, where: str) -> None:
    if any(mark in word for mark in "\"'"):
        raise UserError(f"{where}: {word}: MimicKit takes quotes for part of the value; remove them")


def single(args: ArgFile, name: str) -> str | None:
    """The one word of a flag, None where it is not given."""
    words = args.flags.get(name)
    if words is None:
        return None
    if not words:
        raise UserError(f"{args.path}: --{name} has no value")
    if len(words) > 1:
        args.notes.append(
            f"{args.path.name}: --{name}: MimicKit reads {words[0]!r} and ignores {' '.join(words[1:])!r}"
        )
    return words[0]


def _section(file: Path, flags: dict[str, list[str]], name: str, notes: list[str]) -> dict[str, Any] | None:
    words = flags.get(f"{name}_config")
    if not words:
        return None
    for folder in (Path(), file.parent, *file.parent.absolute().parents):
        if os.path.isfile(folder / words[0]):  # False for a name that is too long, too
            return _load(folder / words[0], notes)
    if Path(words[0]).name == NOT_SHIPPED:
        notes.append(f"{words[0]}: MimicKit names it but does not ship it; its other SMP tasks' agent takes its place")
        return {"agent_name": "SMP"}
    known = file.stem.removesuffix("_args")
    way_out = "run this where the file is, or put it there"
    if known in groups()["experiment"].option_names():
        way_out += f"; experiment={known} has the values that MimicKit ships"
    raise UserError(
        f"{file}: --{name}_config {words[0]}: no such file from here or from the folders above {file.name}; {way_out}"
    )


def _load(path: Path, notes: list[str]) -> dict[str, Any]:
    def twice(key: str, line: int) -> None:
        notes.append(f"{path.name}:{line}: {key} stands twice; MimicKit takes the last")

    loaded = read_yaml(path, repeated=twice)
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: found {type(loaded).__name__}, must be a mapping of keys")
    return {str(key): value for key, value in loaded.items()}
