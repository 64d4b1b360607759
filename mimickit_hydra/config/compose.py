"""Composes overrides into a config, and turns a composed config into the dataclasses that the code reads."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimickit_hydra.config.roots import conf_dir, roots
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.config.store import register
from mimickit_hydra.errors import UserError

CONFIG_NAME = "config"
_DOLLAR_BRACE = re.compile(r"(\\*)\$\{")  # with the backslashes before it, which OmegaConf halves


def version_base() -> dict[str, str]:
    """The ``version_base`` to give to Hydra: 1.3 wants it, later versions warn of it."""
    from hydra import __version__

    return {"version_base": "1.3"} if __version__.startswith("1.3.") else {}


@dataclasses.dataclass(frozen=True)
class Source:
    """Where composing starts: our config folder and primary config, or those of ``-cp`` and ``-cn``."""

    folder: str | None = None
    name: str = CONFIG_NAME


OURS = Source()


@contextlib.contextmanager
def config_loader(source: Source = OURS) -> Iterator[Any]:
    """Hydra's config loader; a Hydra application around it is left as it was."""
    from hydra import version
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.utils import JobRuntime, setup_globals

    from mimickit_hydra.config.loader import Loader

    for told in version_base().values():
        version.setbase(told)
    if not os.environ.get("WANDB_PROJECT", "-").strip():  # none, as for wandb
        del os.environ["WANDB_PROJECT"]
    setup_globals()
    register()
    JobRuntime.instance().set("name", "train")  # hydra.job.name
    search_path = create_config_search_path(f"file://{source.folder or conf_dir()}")
    for root in roots()[1:]:
        search_path.prepend(root.name, f"file://{root.path}", SearchPathQuery(provider="schema"))
    yield Loader(search_path)


def compose(overrides: Sequence[str] = (), *, with_hydra: bool = False, source: Source = OURS) -> DictConfig:
    """Compose the run's config as ``train.py`` would with these overrides. Interpolations are kept.

    Raises Hydra's exceptions as they are; :func:`mimickit_hydra.config.messages.one_line` explains them.
    """
    with config_loader(source) as loader:
        cfg = load(loader, overrides, source)
    if not with_hydra:
        drop_hydra(cfg)
    return cfg


def load(loader: Any, overrides: Sequence[str], source: Source = OURS) -> DictConfig:
    """Compose with a loader that exists already, and keep Hydra's node."""
    from hydra.types import RunMode

    cfg: DictConfig = loader.load_configuration(source.name, list(overrides), run_mode=RunMode.RUN)
    return cfg


def sets(key: str, overrides: Sequence[str], source: Source = OURS) -> bool:
    """Whether one of the YAML files that the overrides choose gives ``key`` a value."""
    from hydra.types import RunMode

    with config_loader(source) as loader:
        for default in loader.compute_defaults_list(source.name, list(overrides), RunMode.RUN).defaults:
            file = loader.repository.load_config(default.config_path) if default.config_path else None
            if file is not None and not file.is_schema_source:
                config = loader._embed_result_config(file, default.package).config
                if OmegaConf.select(config, key, throw_on_resolution_failure=False) is not None:
                    return True
    return False


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
    if not isinstance(run, RunConfig):
        raise UserError("not the config of a run: its defaults list must begin with base_run")
    return run


def _refuse_added_keys(node: DictConfig, prefix: str) -> None:
    """UserError for a key that ``+key=value`` carried past the schema: the dataclasses have no place for it."""
    kind = node._metadata.object_type
    known = (
        [field.name for field in dataclasses.fields(kind)]
        if dataclasses.is_dataclass(kind)
        else [str(key) for key in node]
    )
    for name in node:
        key = str(name)
        if key not in known:
            from mimickit_hydra.errors import suggestion

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
    """``value`` with ``${`` escaped, so that OmegaConf reads it back unchanged."""
    if isinstance(value, dict):
        return {key: as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return _DOLLAR_BRACE.sub(r"\1\1\\${", value) if isinstance(value, str) and "${" in value else value


def flatten(cfg: DictConfig, *, resolve: bool = False) -> dict[str, Any]:
    """``{dotted key: value}`` of every leaf; a list is one leaf. Interpolations are left as text unless resolved."""
    plain = OmegaConf.to_container(cfg, resolve=resolve)
    assert isinstance(plain, dict)
    return dict(leaves(plain))


def leaves(node: Mapping[Any, Any], prefix: str = "", *, empty: bool = True) -> Iterator[tuple[str, Any]]:
    """The values of a tree of tables by dotted key; ``empty``: a table with nothing in it counts as a value."""
    for key, value in node.items():
        if not isinstance(value, Mapping) or (empty and not value):
            yield f"{prefix}{key}", value
        else:
            yield from leaves(value, f"{prefix}{key}.", empty=empty)
