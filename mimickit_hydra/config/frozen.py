"""A config frozen when its run was submitted: plain YAML that needs neither ``conf/`` nor Hydra to be read again.

The YAML is the resolved config. Comment lines before it name the dataclasses that the config was built from, so that a
job in a queue starts with the values of its submission whatever happens to ``conf/`` meanwhile.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimickit_hydra.config import schema
from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.schema import RunConfig

_SCHEMA_LINE = "# schema:"
_OVERRIDES_LINE = "# overrides:"
_NUMBER = re.compile(r"^[-+.]?[\d._]+(e[-+]?\d+)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Frozen:
    """What a frozen config says: the run, the overrides that led to it, and the text itself."""

    run: RunConfig
    overrides: list[str]
    text: str


def freeze(cfg: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str], run: RunConfig | None = None) -> str:
    """The composed config (without Hydra's node) as a text that :func:`read_frozen` turns into a ``RunConfig``.

    ``choices`` are the group choices; with them ``--from`` can repeat the run with other groups too. ``run`` saves the
    time to resolve ``cfg`` again where that has been done.
    """
    from mimickit_hydra.config.compose import to_run
    from mimickit_hydra.config.repeat import choices_header

    classes = " ".join(f"{path}={name}" for path, name in _classes(cfg, ""))
    header = f"{_SCHEMA_LINE} {classes}\n{_OVERRIDES_LINE} {json.dumps(list(overrides))}\n"
    return f"{choices_header(choices)}{header}{_to_yaml(dataclasses.asdict(run or to_run(cfg)))}"


def _to_yaml(content: dict[str, Any]) -> str:
    """YAML by the C library where it is there; ten times as fast as OmegaConf's, and a sweep has many."""
    import yaml

    from mimickit_hydra.config.compose import as_text

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        """Quotes text that OmegaConf would read as a number and YAML would not, such as 1e5, and escapes ``${``."""

    def text(dumper: Any, value: str) -> Any:
        style = "'" if _NUMBER.match(value) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", as_text(value), style=style)

    Dumper.add_representer(str, text)
    return str(yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000))


def read_frozen(path: Path | str) -> Frozen:
    """Read what :func:`freeze` wrote.

    Raises:
        UserError: no such file, not YAML, or values that this version's schema does not take.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable ({getattr(error, 'strerror', None) or error})") from None
    return Frozen(_to_run(path, text), list(json.loads(_header(text, _OVERRIDES_LINE) or "[]")), text)


def _to_run(path: Path, text: str) -> RunConfig:
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    cfg = _node(RunConfig)
    try:
        for place, name in _recorded(path, text):
            OmegaConf.update(cfg, place, _node(_schema_class(path, name)), merge=False, force_add=True)
        merged = OmegaConf.merge(cfg, OmegaConf.create(text))
        run = OmegaConf.to_object(merged)
    except YAMLError as error:
        raise UserError(f"{path}: not readable as YAML ({str(error).splitlines()[0]})") from None
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: {reason}; it was frozen by another version of mimickit-hydra") from None
    assert isinstance(run, RunConfig)
    return run


def _classes(node: DictConfig, prefix: str) -> Iterator[tuple[str, str]]:
    """Path and class name of every dataclass below ``node``, parents first."""
    for key in node:
        name = str(key)
        child = node._get_node(name)
        if not isinstance(child, DictConfig) or child._is_none() or child._is_missing():
            continue
        kind = child._metadata.object_type
        if dataclasses.is_dataclass(kind):
            yield f"{prefix}{name}", getattr(kind, "__name__", "")
            yield from _classes(child, f"{prefix}{name}.")


def _recorded(path: Path, text: str) -> list[tuple[str, str]]:
    line = _header(text, _SCHEMA_LINE)
    if line is None:
        raise UserError(f"{path}: not a frozen config (no line '{_SCHEMA_LINE} ...'); start it with --from {path}")
    pairs = (word.partition("=") for word in line.split())
    return [(place, name) for place, _, name in pairs]


def _header(text: str, start: str) -> str | None:
    for line in text.splitlines():
        if line.startswith(start):
            return line[len(start) :]
        if not line.startswith("#"):
            break
    return None


def _schema_class(path: Path, name: str) -> type:
    cls = getattr(schema, name, None)
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        raise UserError(f"{path}: {name}: unknown schema; it was frozen by another version of mimickit-hydra")
    return cls


def _node(cls: type) -> DictConfig:
    from mimickit_hydra.config.store import prepare

    node: DictConfig = OmegaConf.structured(cls)
    prepare(node)
    return node
