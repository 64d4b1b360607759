"""MimicKit's argument files and the YAML they name, read as MimicKit reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.one_line import suggestion

FLAGS = (
    "mode", "num_envs", "engine_config", "env_config", "agent_config", "visualize", "video", "logger", "model_file",
    "out_dir", "save_int_models", "max_samples", "test_episodes", "rand_seed", "devices", "master_port", "arg_file",
)  # fmt: skip
SECTIONS = ("engine", "env", "agent")
TRUE = ("true", "True", "1", "T", "t")
# named by an argument file that MimicKit ships, but not shipped itself
NOT_SHIPPED = "smp_dodgeball_humanoid_agent.yaml"


@dataclass
class ArgFile:
    """The flags as text, the YAML as plain values (None where none is named), and what a reader should know."""

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
    """
    file = Path(path).expanduser()
    notes: list[str] = []
    flags = _flags(file, notes)
    sections = {name: _section(file, flags, name, notes) for name in SECTIONS}
    for name in ("engine", "env"):
        if sections[name] is None:
            raise UserError(f"{file}: no --{name}_config, which MimicKit needs")
    engine, env = sections["engine"] or {}, sections["env"] or {}
    if isinstance(env.get("engine"), dict):  # the env's file may change single keys of the engine's
        engine = {**engine, **env["engine"]}
    env = {key: value for key, value in env.items() if key != "engine"}
    return ArgFile(file, flags, engine, env, sections["agent"], notes)


def _flags(file: Path, notes: list[str]) -> dict[str, list[str]]:
    """``{flag: words}``. Comments are lines or single words with a leading ``#``; the first definition wins."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: {'no such file' if not file.exists() else error}") from None
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
                raise UserError(f"{file}:{number}: {word!r} stands before any --flag")
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
    if name not in FLAGS:
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


# ---------------------------------------------------------------------------------------------------------------- YAML


def _section(file: Path, flags: dict[str, list[str]], name: str, notes: list[str]) -> dict[str, Any] | None:
    words = flags.get(f"{name}_config")
    if not words:
        return None
    for folder in (Path(), file.parent, *file.parent.absolute().parents):
        if (folder / words[0]).is_file():
            return _load(folder / words[0], notes)
    if Path(words[0]).name == NOT_SHIPPED:
        notes.append(f"{words[0]}: MimicKit names it but does not ship it; its other SMP tasks' agent takes its place")
        return {"agent_name": "SMP"}
    raise UserError(f"{file}: --{name}_config {words[0]}: no such file from here or from the folders above {file.name}")


def _load(path: Path, notes: list[str]) -> dict[str, Any]:
    import yaml

    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not readable as YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: found {type(loaded).__name__}, must be a mapping of keys")
    for key, line in _duplicates(node, ""):
        notes.append(f"{path.name}:{line}: {key} stands twice; MimicKit takes the last")
    return {str(key): value for key, value in loaded.items()}


def _duplicates(node: Any, prefix: str) -> Iterator[tuple[str, int]]:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if name in seen:
            yield name, key.start_mark.line + 1
        seen.add(name)
        yield from _duplicates(value, f"{name}.")
