"""From a list of overrides to a composed config, and from a composed config to the dataclasses the code consumes."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.paths import conf_dir
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.config.store import register

CONFIG_NAME = "config"
VERSION_BASE = "1.3"
_DOLLAR_BRACE = re.compile(r"(\\*)\$\{")  # with the backslashes before it, which OmegaConf halves


@contextlib.contextmanager
def config_loader() -> Iterator[Any]:
    """Hydra's config loader on our ``conf/``; a Hydra application around it is left as it was."""
    from hydra import version
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.core.utils import setup_globals

    version.setbase(VERSION_BASE)
    setup_globals()
    register()
    yield ConfigLoaderImpl(create_config_search_path(f"file://{conf_dir()}"))


def compose(overrides: Sequence[str] = (), *, with_hydra: bool = False) -> DictConfig:
    """Compose the run's config as ``train.py`` would with these overrides. Interpolations are kept.

    Raises Hydra's exceptions as they are; :func:`mimickit_hydra.config.one_line.one_line` explains them.
    """
    from hydra.types import RunMode

    with config_loader() as loader:
        cfg: DictConfig = loader.load_configuration(CONFIG_NAME, list(overrides), run_mode=RunMode.RUN)
    if not with_hydra:
        drop_hydra(cfg)
    return cfg


def drop_hydra(cfg: DictConfig) -> None:
    """Remove Hydra's own node in place."""
    if "hydra" in cfg:
        OmegaConf.set_struct(cfg, False)
        del cfg["hydra"]
        OmegaConf.set_struct(cfg, True)


def to_run(cfg: DictConfig) -> RunConfig:
    """The composed config as frozen dataclasses, every interpolation resolved."""
    if "hydra" in cfg:
        cfg = cfg.copy()
        drop_hydra(cfg)
    _refuse_added_keys(cfg, "")
    run = OmegaConf.to_object(cfg)
    assert isinstance(run, RunConfig)
    return run


def _refuse_added_keys(node: DictConfig, prefix: str) -> None:
    """``+key=value`` gets past the schema while composing; the dataclasses have no place for it."""
    kind = node._metadata.object_type
    known = (
        [field.name for field in dataclasses.fields(kind)]
        if dataclasses.is_dataclass(kind)
        else [str(key) for key in node]
    )
    for name in node:
        key = str(name)
        if key not in known:
            from mimickit_hydra.config.one_line import suggestion

            full = [f"{prefix}{name}" for name in known]
            raise UserError(f"{prefix}{key}: unknown key{suggestion(f'{prefix}{key}', full)}")
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            _refuse_added_keys(child, f"{prefix}{key}.")


def resolved_yaml(cfg: DictConfig) -> str:
    """The composed config as plain YAML without interpolations."""
    if "hydra" in cfg:
        cfg = cfg.copy()
        drop_hydra(cfg)
    text = OmegaConf.to_yaml(cfg, resolve=True)
    if "${" in text:  # what is left was meant as text
        text = OmegaConf.to_yaml(OmegaConf.create(as_text(OmegaConf.to_container(cfg, resolve=True))))
    return text


def as_text(value: Any) -> Any:
    """``value`` as OmegaConf reads it back unchanged: what looks like an interpolation in it is none."""
    if isinstance(value, dict):
        return {key: as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return _DOLLAR_BRACE.sub(r"\1\1\\${", value) if isinstance(value, str) and "${" in value else value


def flatten(cfg: DictConfig, *, resolve: bool = False) -> dict[str, Any]:
    """``{dotted key: value}`` of every leaf; a list is one leaf. Interpolations are left as text unless resolved."""
    plain = OmegaConf.to_container(cfg, resolve=resolve)
    assert isinstance(plain, dict)
    return dict(_leaves(plain, ""))


def _leaves(node: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
