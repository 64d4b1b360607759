"""The config of a diffusion prior in MimicKit's form: ``diffusion_config.yaml`` and the env config beside it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimickit_hydra import foreign
from mimickit_hydra.config.fields import FRACTION, at_least, between, check_fields, one_of, setting
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.errors import UserError, suggestion

NEVER_READ = ("model_name", "master_port")  # stand in MimicKit's files
CONFIG_NAME = "diffusion_config.yaml"
ENV_CONFIG_NAME = "env_config.yaml"
MODEL_NAME = "model.pt"


@dataclass(frozen=True)
class PriorConfig:
    """A prior over motion windows and its training, with what MimicKit assumes where its file says nothing."""

    arch_name: str = setting("DiT", one_of("DiT", "CondDiT"))
    T: int = setting(50, between(1, 10_000), "diffusion steps")
    loss_type: str = setting("l1", one_of("l1", "l2"))
    estimate_mode: str = setting(
        "epsilon", one_of("epsilon", "sample", "v_prediction"), help="what the network predicts"
    )
    noise_schedule_mode: str = "squaredcos_cap_v2"
    num_layers: int = setting(2, between(1, 1000))
    num_attention_heads: int = setting(4, at_least(1))
    attention_head_dim: int = setting(64, at_least(1))
    dropout: float = setting(0.0, FRACTION)
    num_class: int = setting(0, between(0, 10_000))
    cfg_dropout: float = setting(0.0, FRACTION)
    model_ema: bool = False
    model_ema_decay: float = setting(0.995, FRACTION)
    model_ema_steps: int = 10
    model_ema_update_after: int = 5000
    normalizer_std_clip: float = 0.2
    device: str = "auto"
    batch_size: int = setting(512, at_least(1))
    lr: float = 1e-4
    num_iterations: int = 50_000
    num_samples_stat: int = 10_000
    output_iter: int = setting(2000, at_least(1))
    grad_clip_norm: float = 1.0
    env_config: str = ENV_CONFIG_NAME
    motion_file: str = ""
    control_freq: int = 30  # Hz, frames of a window


@dataclass(frozen=True)
class WindowSettings:
    """The content of a window, as the prior's env config states it (defaults: what MimicKit assumes)."""

    num_disc_obs_steps: int
    global_obs: bool = False
    root_height_obs: bool = False
    enable_tar_obs: bool = False
    disc_dof_vel_obs: bool = False
    key_bodies: tuple[str, ...] = ()


def parse_prior_config(values: dict[str, Any], where: str) -> PriorConfig:
    """Typed and checked; numbers may be text (``1e-4``). UserError naming ``where`` and the key."""
    types = {field.name: field.type for field in dataclasses.fields(PriorConfig)}
    out: dict[str, Any] = {}
    for key, value in values.items():
        if key in NEVER_READ:
            continue
        if key not in types:
            raise UserError(f"{where}: no key {key!r}{suggestion(str(key), list(types))}")
        out[key] = _convert(where, key, value, str(types[key]))
    config = PriorConfig(**out)
    check_fields(config, f"{where}: ")
    return config


def _convert(where: str, key: str, value: Any, kind: str) -> Any:
    try:
        if kind == "int" and not isinstance(value, bool):
            number = foreign.number(str(value))
            if number == int(number):
                return int(number)
        elif kind == "float" and not isinstance(value, bool):
            return foreign.number(str(value))
        elif isinstance(value, {"bool": bool, "str": str}.get(kind, ())):
            return value
    except (TypeError, ValueError):
        pass
    raise UserError(f"{where}: {key}: found {str(value)[:60]!r}, must be {kind}")


def load_prior_config(path: Path) -> tuple[PriorConfig, WindowSettings]:
    """Read ``path`` and the env config it names (beside it, from the current directory or in the data)."""
    config = parse_prior_config(read_yaml(path), str(path))
    env_file = path.parent / Path(config.env_config).name
    if not env_file.is_file():
        try:
            env_file = resolve_data_file(config.env_config)
        except UserError as error:
            raise UserError(f"{path}: env_config: {error}") from None
    return config, parse_window(read_yaml(env_file), str(env_file))


def parse_window(values: dict[str, Any], where: str) -> WindowSettings:
    """The settings of a window from the keys of an env config."""
    steps = _convert(where, "num_disc_obs_steps", values.get("num_disc_obs_steps"), "int")
    bodies = values.get("key_bodies") or []
    if not isinstance(bodies, list) or not all(isinstance(name, str) for name in bodies):
        raise UserError(f"{where}: key_bodies: found {str(bodies)[:60]!r}, must be a list of names")
    switches = [field.name for field in dataclasses.fields(WindowSettings) if field.type == "bool"]
    found = {key: _convert(where, key, values[key], "bool") for key in switches if key in values}
    return WindowSettings(steps, key_bodies=tuple(bodies), **found)


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys of a YAML file."""
    values = foreign.read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: found no keys in it")
    return values
