"""What a diffusion prior was made with: ``diffusion_config.yaml`` and the env config beside it, in MimicKit's form."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimickit_hydra.agents.errors import AgentError
from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.one_line import suggestion
from mimickit_hydra.config.paths import resolve_data_file

NEVER_READ = ("model_name", "master_port")  # stand in MimicKit's files
CONFIG_NAME = "diffusion_config.yaml"
ENV_CONFIG_NAME = "env_config.yaml"
MODEL_NAME = "model.pt"
CHOICES = {
    "arch_name": ("DiT", "CondDiT"),
    "loss_type": ("l1", "l2"),
    "estimate_mode": ("epsilon", "sample", "v_prediction"),
}


@dataclass(frozen=True)
class PriorConfig:
    """A prior over motion windows and its training, with what MimicKit assumes where its file says nothing."""

    arch_name: str = "DiT"
    T: int = 50  # diffusion steps
    loss_type: str = "l1"
    estimate_mode: str = "epsilon"  # what the network predicts
    noise_schedule_mode: str = "squaredcos_cap_v2"
    num_layers: int = 2
    num_attention_heads: int = 4
    attention_head_dim: int = 64
    dropout: float = 0.0
    num_class: int = 0
    cfg_dropout: float = 0.0
    model_ema: bool = False
    model_ema_decay: float = 0.995
    model_ema_steps: int = 10
    model_ema_update_after: int = 5000
    normalizer_std_clip: float = 0.2
    device: str = "auto"
    batch_size: int = 512
    lr: float = 1e-4
    num_iterations: int = 50_000
    num_samples_stat: int = 10_000
    output_iter: int = 2000
    grad_clip_norm: float = 1.0
    env_config: str = ENV_CONFIG_NAME
    motion_file: str = ""
    control_freq: int = 30  # Hz, frames of a window


@dataclass(frozen=True)
class WindowSettings:
    """What one window shows, as the env config of the prior has it (defaults: what MimicKit assumes)."""

    num_disc_obs_steps: int
    global_obs: bool = False
    root_height_obs: bool = False
    enable_tar_obs: bool = False
    disc_dof_vel_obs: bool = False
    key_bodies: tuple[str, ...] = ()


def parse_prior_config(values: dict[str, Any], where: str) -> PriorConfig:
    """Typed and checked; numbers may be text (``1e-4``). AgentError naming ``where`` and the key."""
    types = {field.name: field.type for field in dataclasses.fields(PriorConfig)}
    out: dict[str, Any] = {}
    for key, value in values.items():
        if key in NEVER_READ:
            continue
        if key not in types:
            raise AgentError(f"{where}: no key {key!r}{suggestion(key, list(types))}")
        out[key] = _convert(where, key, value, str(types[key]))
    config = PriorConfig(**out)
    for key, allowed in CHOICES.items():
        found = getattr(config, key)
        if found not in allowed:
            near = suggestion(found, allowed)
            raise AgentError(f"{where}: {key}: found {found!r}, allowed are {', '.join(allowed)}{near}")
    for key in ("T", "num_layers", "num_attention_heads", "attention_head_dim", "batch_size", "output_iter"):
        if getattr(config, key) < 1:
            raise AgentError(f"{where}: {key}: found {getattr(config, key)}, must be 1 or more")
    return config


def _convert(where: str, key: str, value: Any, kind: str) -> Any:
    try:
        if kind == "int" and not isinstance(value, bool):
            number = float(value)
            if number == int(number):
                return int(number)
        elif kind == "float" and not isinstance(value, bool):
            return float(value)
        elif isinstance(value, {"bool": bool, "str": str}.get(kind, ())):
            return value
    except (TypeError, ValueError):
        pass
    raise AgentError(f"{where}: {key}: found {value!r}, must be {kind}")


def load_prior_config(path: Path) -> tuple[PriorConfig, WindowSettings]:
    """Read ``path`` and the env config it names (beside it, from the current directory or in the data)."""
    config = parse_prior_config(read_yaml(path), str(path))
    env_file = path.parent / Path(config.env_config).name
    if not env_file.is_file():
        try:
            env_file = resolve_data_file(config.env_config)
        except UserError as error:
            raise AgentError(f"{path}: env_config: {error}") from None
    return config, parse_window(read_yaml(env_file), str(env_file))


def parse_window(values: dict[str, Any], where: str) -> WindowSettings:
    """The keys of an env config that say what a window shows."""
    if not isinstance(values.get("num_disc_obs_steps"), int):
        raise AgentError(f"{where}: num_disc_obs_steps: found {values.get('num_disc_obs_steps')!r}, must be int")
    found = {field.name: values[field.name] for field in dataclasses.fields(WindowSettings) if field.name in values}
    return WindowSettings(**{**found, "key_bodies": tuple(values.get("key_bodies") or ())})


def read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AgentError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise AgentError(f"{path}: found no keys in it")
    return values
