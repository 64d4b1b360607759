"""From one of MimicKit's argument files to the overrides that compose to the same values."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimickit_hydra.config.argfile import TRUE, ArgFile, read_arg_file, single
from mimickit_hydra.config.catalog import groups
from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.one_line import suggestion
from mimickit_hydra.config.repeat import quote

_METHOD_OF_AGENT = {
    "PPO": "deepmimic", "AWR": "awr", "LCP": "lcp", "AMP": "amp", "ADD": "add", "ASE": "ase", "SMP": "smp",
}  # fmt: skip
_TO_NUMBER = ("learning_rate", "weight_decay", "grad_clip")  # the keys MimicKit turns into numbers itself
_YAML_TEXT_NUMBER = re.compile(r"^[+-]?\d+(\.\d*)?[eE][+-]?\d+$")
_OURS_ALONE = ("base_env", "default_reset_prob", "default_pose_history", "imitation_reward_w", "task_reward_w")
_DEFAULT_OUT_DIR = "output"


@dataclass
class Conversion:
    """``choices`` are group words, ``values`` what differs from what they compose to."""

    choices: list[str]
    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def words(self) -> list[str]:
        return [*self.choices, *(f"{key}={quote(value)}" for key, value in self.values.items())]


def convert(path: str | Path) -> Conversion:
    """The overrides for a MimicKit argument file; UserError for what neither MimicKit nor we can read."""
    from mimickit_hydra.config.compose import compose, flatten

    args = read_arg_file(path)
    found = Conversion(_choices(args), notes=args.notes)
    cfg = compose(found.choices)
    ours = flatten(cfg, resolve=True)
    for section in ("engine", "env", "agent"):
        theirs = getattr(args, section)
        if theirs is not None and not (section == "agent" and set(theirs) == {"agent_name"}):
            _differences(section, dict(_leaves(theirs, "")), ours, _defaults(cfg[section]), found)
    _run_values(args, ours, found)
    return found


def _leaves(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# -------------------------------------------------------------------------------------------------------- group choices


def _choices(args: ArgFile) -> list[str]:
    agent = (args.agent or {}).get("agent_name", "Dummy")
    env = _option("env", "env_name", args.env.get("env_name"), "env_config: env_name")
    if agent == "Dummy":
        method = env
    elif agent in _METHOD_OF_AGENT:
        method = _METHOD_OF_AGENT[agent]
    else:
        names = list(_METHOD_OF_AGENT)
        raise UserError(f"agent_config: agent_name: found {agent!r}, must be one of {', '.join(names)}")
    if method not in groups()["method"].option_names():
        raise UserError(
            f"{args.path}: without an agent MimicKit acts with zeros; no method here does that in env={env}"
        )
    character = _by_file("character", "char_file", args.env.get("char_file"), args, "humanoid")
    words = [f"engine={_option('engine', 'engine_name', args.engine.get('engine_name'), 'engine_config: engine_name')}"]
    words += [f"method={method}"] * (method != "deepmimic")
    words += [f"env={env}"] * (env != _overridden("method", method, "env"))
    words += [f"character={character}"] * (character != "humanoid")
    default = _overridden("character", character, "motion") or "humanoid_walk"
    if "motion_file" in args.env:
        motion = _by_file("motion", "motion_file", args.env["motion_file"], args, default)
        words += [f"motion={motion}"] * (motion != default)
    return words


def _values_of(path: Path) -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {})


def _option(group: str, key: str, name: Any, where: str) -> str:
    """The option whose YAML states ``key: name``."""
    options = {_values_of(option.path).get(key): option.name for option in groups()[group].options}
    if name not in options:
        names = [str(known) for known in options if known]
        raise UserError(f"{where}: found {name!r}, must be one of {', '.join(names)}{suggestion(str(name), names)}")
    return options[name]


def _by_file(group: str, key: str, file: Any, args: ArgFile, default: str) -> str:
    """The option that names ``file``, or ``default`` and a note; the file itself then becomes an override."""
    for option in groups()[group].options:
        if _values_of(option.path).get(key) == file:
            return option.name
    args.notes.append(f"{group}: no option names {file}; env.{key} does")
    return default


def _overridden(group: str, name: str, other: str) -> str | None:
    """What an option chooses for another group."""
    path = next(option.path for option in groups()[group].options if option.name == name)
    for line in _values_of(path)["defaults"]:
        if isinstance(line, dict):
            for key, value in line.items():
                if key == f"override /{other}@_global_.{other}":
                    return str(value)
    return None


# --------------------------------------------------------------------------------------------------------------- values


def _defaults(node: Any) -> dict[str, Any]:
    """``{dotted key: default}`` of the schema behind a section: what MimicKit's code takes for a missing key."""
    kind = node._metadata.object_type
    return dict(_leaves(_plain_defaults(kind), ""))


def _plain_defaults(kind: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in dataclasses.fields(kind):
        factory = one.default_factory
        value = one.default if factory is dataclasses.MISSING else factory()
        is_config = dataclasses.is_dataclass(value) and not isinstance(value, type)
        found[one.name] = _plain_defaults(type(value)) if is_config else value
    return found


def _differences(
    section: str, theirs: dict[str, Any], ours: dict[str, Any], defaults: dict[str, Any], found: Conversion
) -> None:
    for key, raw in theirs.items():
        full = f"{section}.{key}"
        if full not in ours:
            known = [name for name in ours if name.startswith(f"{section}.")]
            found.notes.append(f"{full}: no such key here{suggestion(full, known)}; left out")
            continue
        value = _number(full, raw)
        if not _same(value, ours[full]):
            found.values[full] = value
    for key, default in defaults.items():
        full = f"{section}.{key}"
        if key in theirs or key in _OURS_ALONE or full not in ours or _same(default, ours[full]):
            continue
        if default == "???":
            raise UserError(f"{section}_config: {key} is missing, which MimicKit needs")
        if not key.startswith("reward_"):  # where a file leaves them out nothing reads them
            found.values[full] = default


def _number(key: str, value: Any) -> Any:
    """``1e-4`` without a point is text to MimicKit's YAML reader; three keys are turned into numbers afterwards."""
    if not isinstance(value, str) or not _YAML_TEXT_NUMBER.match(value):
        return value
    if key.rpartition(".")[2] in _TO_NUMBER:
        return float(value)
    raise UserError(
        f"{key}: found {value}, which YAML takes for text and MimicKit fails on; write {float(value)!r} or 1.0e-4"
    )


def _same(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, bool) != isinstance(ours, bool):
        return False
    if isinstance(theirs, list) and theirs and isinstance(theirs[0], dict) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(
            all(_same(value, b.get(key)) for key, value in a.items()) for a, b in zip(theirs, ours, strict=True)
        )
    return bool(theirs == ours)


# ---------------------------------------------------------------------------------------------------------- run values


def _run_values(args: ArgFile, ours: dict[str, Any], found: Conversion) -> None:
    for name in args.flags:
        if name.endswith("_config"):
            continue
        if name == "devices":
            value: Any = args.flags[name]
        elif name in ("master_port", "arg_file"):
            found.notes.append(f"{args.path.name}: --{name} is not needed here; left out")
            continue
        else:
            value = _flag(args, name)
        if name == "logger":
            if value != "txt":  # ours writes text beside TensorBoard
                found.choices.append(f"logger={value}")
        elif name == "out_dir" and str(value).rstrip("/") == _DEFAULT_OUT_DIR:
            found.notes.append(f"{args.path.name}: --out_dir {value}: every run gets a directory of its own here")
        elif not _same(value, ours.get(name)):
            found.values[name] = value
    if "num_envs" not in args.flags and ours["num_envs"] != 1:
        found.values["num_envs"] = 1  # MimicKit's default
    if "mode" not in args.flags and ours["mode"] != "train" and args.agent is not None:
        found.values["mode"] = "train"


def _flag(args: ArgFile, name: str) -> Any:
    word = single(args, name)
    if name in ("visualize", "video", "save_int_models"):
        return word in TRUE
    if name in ("num_envs", "max_samples", "test_episodes", "rand_seed"):
        try:
            return int(str(word))
        except ValueError:
            raise UserError(f"{args.path}: --{name}: found {word}, must be a whole number") from None
    return word


# --------------------------------------------------------------------------------------------------------- experiment


def experiment_yaml(found: Conversion, source: str) -> str:
    """The file ``--save`` writes: the choices, and only the values that differ."""
    lines = ["# @package _global_", f"# Converted from {source}"]
    words = dict(word.split("=", 1) for word in found.choices)
    lines += ["defaults:", *(f"  - override /{group}: {option}" for group, option in words.items())]
    tree: dict[str, Any] = {}
    for key, value in found.values.items():
        *parents, last = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return "\n".join([*lines, *([""] if tree else []), *_yaml_lines(tree, "")]) + "\n"


def _yaml_lines(tree: dict[str, Any], indent: str) -> Iterator[str]:
    """Mappings as blocks, lists on one line."""
    import yaml

    for key, value in tree.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _yaml_lines(value, f"{indent}  ")
        else:
            text = yaml.safe_dump([value], default_flow_style=True, width=10**6).strip()[1:-1]
            yield f"{indent}{key}: {text}"


def save_experiment(name: str, text: str, folder: Path) -> Path:
    """Write ``experiment/NAME.yaml`` at once or not at all; UserError if it is there."""
    import os

    if not re.fullmatch(r"[A-Za-z0-9_][\w-]*", name):
        raise UserError(f"--save {name}: must be a plain word: letters, digits, _ and -")
    path = folder / f"{name}.yaml"
    if path.exists():
        raise UserError(f"--save {name}: {path} is there already; choose another name or remove it")
    part = path.with_suffix(".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise UserError(f"--save {name}: cannot write {path} ({error.strerror})") from None
    return path


def command_line(words: Sequence[str]) -> str:
    import shlex

    return " ".join(["python train.py", *map(shlex.quote, words)])
