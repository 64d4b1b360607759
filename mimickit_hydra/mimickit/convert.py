"""Converts MimicKit's argument files into overrides that compose to the same values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimickit_hydra.config.compose import leaves
from mimickit_hydra.config.groups import groups
from mimickit_hydra.config.overrides import quote
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.roots import conf_dir
from mimickit_hydra.errors import UserError, suggestion
from mimickit_hydra.files import write_text_atomic
from mimickit_hydra.foreign import read_yaml, sha256_of
from mimickit_hydra.mimickit.argfile import FORK, TRUE, ArgFile, read_arg_file, single

_METHOD_OF_AGENT = {
    "PPO": "deepmimic", "AWR": "awr", "LCP": "lcp", "AMP": "amp", "ADD": "add", "ASE": "ase", "SMP": "smp",
}  # fmt: skip
_TO_NUMBER = ("learning_rate", "weight_decay", "grad_clip")  # the keys MimicKit turns into numbers itself
_YAML_TEXT_NUMBER = re.compile(r"^[+-]?\d+(\.\d*)?[eE][+-]?\d+$")
_OURS_ALONE = ("base_env", "default_reset_prob", "default_pose_history", "imitation_reward_w", "task_reward_w")
_DEFAULT_OUT_DIR = "output"
_DATA_SUFFIXES = (".xml", ".pkl", ".npz", ".yaml", ".pt")


@dataclass
class Conversion:
    """The result of converting: group ``choices``, and ``values`` that differ from what those compose to."""

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
            _differences(section, dict(leaves(theirs, empty=False)), ours, _defaults(cfg[section]), found)
    _run_values(args, ours, found)
    _name_what_is_new(args, ours, found)
    _find_files(args, found)
    return found


def _name_what_is_new(args: ArgFile, ours: dict[str, Any], found: Conversion) -> None:
    """Name a robot and a clip of the user's own, which would otherwise go by the name of what they stand in for."""
    for group, key in (("character", "char_file"), ("motion", "motion_file")):
        file = str(found.values.get(f"env.{key}") or "")
        stem = re.sub(r"[^\w-]+", "_", re.split(r"[/\\]", file)[-1].rpartition(".")[0])
        if stem:
            taken = stem in groups()[group].option_names()
            found.values[f"{group}.name"] = name = f"own_{stem}" if taken else stem
            if group == "character" and "motion.name" in ours:
                found.values["motion.character"] = name


def _find_files(args: ArgFile, found: Conversion) -> None:
    """Let what the files name be found from here: where it stands beside the argument file, that folder comes first."""
    folders = list(Path(os.path.abspath(args.path)).parents)
    roots: list[str] = []
    for name in [value for section in (args.env, args.agent or {}) for _, value in leaves(section, empty=False)]:
        path = Path(name) if isinstance(name, str) and Path(name).suffix in _DATA_SUFFIXES else None
        if path is None or path.is_absolute():
            continue
        theirs = next((folder for folder in folders if (folder / path).is_file()), None)
        if theirs is not None and not _is_same_file(theirs / path, str(path)):
            roots.append(str(theirs / "data" if path.parts[0] == "data" else theirs))
    if roots:
        found.values["data_root"] = list(dict.fromkeys(roots))
    model = found.values.get("model_file")
    if isinstance(model, str) and not Path(model).exists():
        found.values["model_file"] = next((str(root / model) for root in folders if (root / model).exists()), model)


def _is_same_file(file: Path, name: str) -> bool:
    """Whether ``name`` is found from here without a word, with the content of ``file``."""
    try:
        return sha256_of(resolve_data_file(name)) == sha256_of(file)
    except (UserError, OSError):
        return False


def _choices(args: ArgFile) -> list[str]:
    env = _option("env", "env_name", args.env.get("env_name"), "env_config: env_name")
    methods = groups()["method"].option_names()
    if args.agent is not None and env in methods and _overridden("method", env, "agent") == "dummy":
        args.notes.append(f"agent_config: in env={env} nothing acts or learns, whatever the agent; left out")
        args.agent = None
    agent = (args.agent or {}).get("agent_name", "Dummy")
    if agent == "Dummy":
        method = env
    elif isinstance(agent, str) and agent in _METHOD_OF_AGENT:
        method = _METHOD_OF_AGENT[agent]
    else:
        names = list(_METHOD_OF_AGENT)
        raise UserError(f"agent_config: agent_name: found {agent!r}, must be one of {', '.join(names)}; {FORK}")
    if method not in methods:
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
    return dict(read_yaml(path) or {})


def _option(group: str, key: str, name: Any, where: str) -> str:
    """The option whose YAML states ``key: name``."""
    options = {_values_of(option.path).get(key): option.name for option in groups()[group].options}
    if not isinstance(name, str) or name not in options:
        names = [str(known) for known in options if known]
        raise UserError(f"{where}: found {name!r}, must be one of {', '.join(names)}{suggestion(str(name), names)}")
    return options[name]


def _by_file(group: str, key: str, file: Any, args: ArgFile, default: str) -> str:
    """The option that names ``file``, or ``default`` and a note: the file itself then becomes an override."""
    for option in groups()[group].options:
        if _values_of(option.path).get(key) == file:
            return option.name
    args.notes.append(f"{group}: no option names {file}; env.{key} does")
    return default


def _overridden(group: str, name: str, other: str) -> str | None:
    """The options of other groups that an option chooses."""
    path = next(option.path for option in groups()[group].options if option.name == name)
    for line in _values_of(path)["defaults"]:
        if isinstance(line, dict):
            for key, value in line.items():
                if key == f"override /{other}@_global_.{other}":
                    return str(value)
    return None


def _defaults(node: Any) -> dict[str, Any]:
    """The defaults of the schema behind a section, by dotted key: what MimicKit's code takes for a missing key."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(OmegaConf.structured(node._metadata.object_type))
    return dict(leaves(plain, empty=False))


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
            raise UserError(f"{section}_config: {key} is missing, which MimicKit needs today; {FORK}")
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


def experiment_yaml(found: Conversion, source: str) -> str:
    """The experiment that ``--save`` writes: the choices, and only the values that differ."""
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
    """YAML lines of ``value``, with mappings as blocks and lists on one line."""
    import yaml

    for key, value in tree.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _yaml_lines(value, f"{indent}  ")
        else:
            text = yaml.safe_dump([value], default_flow_style=True, width=10**6).strip()[1:-1]
            yield f"{indent}{key}: {text}"


def save_experiment(name: str, text: str, folder: Path) -> Path:
    """Write ``experiment/NAME.yaml`` atomically; UserError if it exists."""
    if not re.fullmatch(r"[A-Za-z0-9_][\w-]*", name):
        raise UserError(f"--save {name}: must be a plain word: letters, digits, _ and -")
    path = folder / f"{name}.yaml"
    there = next((option.path for option in groups()["experiment"].options if option.name == name), path)
    if there.exists():
        raise UserError(f"--save {name}: {there} is there already; choose another name or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(path, text)
    except OSError as error:
        raise UserError(f"--save {name}: cannot write {path} ({error.strerror})") from None
    return path


def command_line(words: Sequence[str]) -> str:
    """The command as it is typed here: with ``train.py`` in a clone, with ``mimickit train`` once installed."""
    import shlex

    clone = (conf_dir().parent / "train.py").is_file()
    return " ".join(["python train.py" if clone else "mimickit train", *map(shlex.quote, words)])
