"""Reads the resolved config that a run directory holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mimickit_hydra.errors import UserError
from mimickit_hydra.files import refuse_cut
from mimickit_hydra.foreign import one_line, parse_json, parse_yaml, read_text

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONFIG_FILE = "config.yaml"


def config_of_run(run_dir: str | Path) -> Path:
    """The resolved config in a run directory."""
    path = Path(run_dir).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{run_dir}: no such run directory")
    if not (path / CONFIG_FILE).is_file():
        raise UserError(f"{run_dir}: no {CONFIG_FILE} in it, so it is not a run directory")
    return path / CONFIG_FILE


def saved_config(run_dir: str | Path) -> DictConfig:
    """The resolved config in a run directory. UserError where it is no such thing."""
    path = config_of_run(run_dir)
    return parse_config(read_text(path), path)


def parse_config(text: str, path: Path) -> DictConfig:
    """The same of a text; ``path`` is what messages name."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from mimickit_hydra.config.loader import yaml_loader

    refuse_cut(text, path)
    found = parse_yaml(text, path, loader=yaml_loader())
    try:
        cfg = OmegaConf.create(found) if isinstance(found, dict) else None
    except (OmegaConfBaseException, ValueError) as error:
        raise UserError(f"{path}: {one_line(error)}") from None
    if not isinstance(cfg, DictConfig) or not isinstance(cfg.get("engine"), DictConfig):
        raise UserError(f"{path}: not the resolved config of a run")
    return cfg


def header(text: str, start: str) -> str | None:
    """The rest of the comment line that begins with ``start``, before the first line that is no comment; else None."""
    for line in text.split("\n"):
        if line.startswith(start):
            return line[len(start) :]
        if not line.startswith("#"):
            break
    return None


def header_words(text: str, start: str, path: Path) -> list[str]:
    """The list of texts in JSON behind ``start``, empty without that line."""
    found = parse_json(header(text, start) or "[]", path)
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise UserError(f"{path}: {start} found {str(found)[:60]}, must be a list of texts")
    return found
