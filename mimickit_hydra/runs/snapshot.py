"""Frozen configs: the plain YAML from which a submitted run starts, without ``conf/`` and without Hydra.

The YAML is the resolved config. Comment lines before it name the dataclasses that the config was built from, so that a
job in a queue starts with the values of its submission whatever happens to ``conf/`` meanwhile.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mimickit_hydra.config.resolved import header, header_words, parse_config
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.files import END, WHOLE, refuse_cut
from mimickit_hydra.foreign import one_line, parse_json, read_text
from mimickit_hydra.plugins import SCHEMAS
from mimickit_hydra.runs.plugins import plugins_header, refuse_gone

_SCHEMA_LINE = "# schema:"
_OVERRIDES_LINE = "# overrides:"
_JOB_LINE = "# process:"
_LAUNCH_SCHEMA = re.compile(r"(?<=\blaunch=)\S+")
_LAUNCH = re.compile(r"^launch:.*\n(?:[ -].*\n)*", re.MULTILINE)
_NUMBER = re.compile(r"^[-+.]?[\d._]+(e[-+]?\d+)?$", re.IGNORECASE)


@dataclass(frozen=True)
class JobSettings:
    """The settings of Hydra that concern the process a run starts in."""

    env: dict[str, str] = field(default_factory=dict)  # hydra.job.env_set
    env_copy: list[str] = field(default_factory=list)  # hydra.job.env_copy: names alone, for a value may be a secret
    chdir: bool = False  # hydra.job.chdir
    verbose: Any = False  # hydra.verbose: true, or the names of loggers


@dataclass(frozen=True)
class Frozen:
    """A frozen config: the run, the overrides that led to it, and the text itself."""

    run: RunConfig
    overrides: list[str]
    text: str
    job: JobSettings = JobSettings()


def freeze(
    run: RunConfig, choices: Mapping[str, Any], overrides: Sequence[str], job: JobSettings = JobSettings()
) -> Frozen:
    """The run with the text that :func:`read_frozen` reads back; with the group choices ``--from`` can vary it too."""
    from mimickit_hydra.runs.saved import choices_header

    head = f"{_SCHEMA_LINE} {_schemas(run)}\n{_OVERRIDES_LINE} {json.dumps(list(overrides))}\n"
    if job != JobSettings():
        head += f"{_JOB_LINE} {json.dumps(dataclasses.asdict(job))}\n"
    head += plugins_header(run, choices)
    text = WHOLE + choices_header(choices) + head + _to_yaml(dataclasses.asdict(run)) + END
    return Frozen(run, list(overrides), text, job)


def _to_yaml(content: dict[str, Any]) -> str:
    """YAML text by the C library where it is installed: ten times as fast as OmegaConf's, and a sweep has many."""
    import yaml

    from mimickit_hydra.config.compose import as_text

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        """Quotes text that OmegaConf would read as a number and YAML would not, such as 1e5, and escapes ``${``."""

    def text(dumper: Any, value: str) -> Any:
        style = "'" if _NUMBER.match(value) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", as_text(value), style=style)

    Dumper.add_representer(str, text)
    return str(yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000))


def with_launch_of(text: str, other: str) -> str:
    """The frozen config ``text``, launched as ``other`` is; both are as :func:`freeze` writes them."""
    for part in (_LAUNCH_SCHEMA, _LAUNCH):
        found = part.search(other)
        if found is not None:
            text = part.sub(lambda _, found=found: found[0], text, count=1)  # type: ignore[misc]
    return text


def read_frozen(path: Path | str) -> Frozen:
    """Read the file that :func:`freeze` wrote.

    Raises:
        UserError: no such file, not YAML, or values that this version's schema does not take.
    """
    path = Path(path)
    return parse_frozen(read_text(path), path)


def parse_frozen(text: str, path: Path) -> Frozen:
    """The same for a text; ``path`` is what messages name."""
    refuse_cut(text, path)
    refuse_gone(text, path)
    return Frozen(_to_run(path, text), frozen_words(text, path), text, _job(text, path))


def frozen_words(text: str, path: Path) -> list[str]:
    """The overrides that a frozen config says it was made from."""
    return header_words(text, _OVERRIDES_LINE, path)


def _job(text: str, path: Path) -> JobSettings:
    found = parse_json(header(text, _JOB_LINE) or "{}", path)
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(JobSettings), found))  # type: ignore[return-value]
    except (OmegaConfBaseException, ValueError) as error:
        raise UserError(f"{path}: {_JOB_LINE} {one_line(error)}") from None


def _to_run(path: Path, text: str) -> RunConfig:
    cfg = _node(RunConfig)
    try:
        for place, name in _recorded(path, text):
            OmegaConf.update(cfg, place, _node(_schema_class(path, name)), merge=False, force_add=True)
        run = OmegaConf.to_object(OmegaConf.merge(cfg, parse_config(text, path)))
    except (OmegaConfBaseException, ValueError, TypeError, OverflowError) as error:
        reason = one_line(Exception(str(error).split("\n")[0]))
        raise UserError(f"{path}: {reason}; it was frozen by another version of mimickit-hydra") from None
    if not isinstance(run, RunConfig):
        raise UserError(f"{path}: not the config of a run")
    return run


def _schemas(run: RunConfig) -> str:
    """Each group and the registered name of the dataclass of its keys."""
    names = {entry.place: entry.name for entry in reversed(SCHEMAS.entries())}  # the first one of a dataclass
    parts = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
    kinds = {key: type(part) for key, part in parts.items() if dataclasses.is_dataclass(part)}
    return " ".join(f"{key}={names[f'{kind.__module__}:{kind.__qualname__}']}" for key, kind in kinds.items())


def _recorded(path: Path, text: str) -> list[tuple[str, str]]:
    line = header(text, _SCHEMA_LINE)
    if line is None:
        raise UserError(f"{path}: not a frozen config (no line '{_SCHEMA_LINE} ...'); start it with --from {path}")
    pairs = (word.partition("=") for word in line.split())
    found = [(place, name) for place, _, name in pairs]
    known = {field.name for field in dataclasses.fields(RunConfig)}
    if wrong := [place for place, _ in found if place not in known]:
        raise UserError(f"{path}: {_SCHEMA_LINE} {wrong[0][:60]!r}: a run has no such part")
    return found


def _schema_class(path: Path, name: str) -> type:
    if name not in SCHEMAS:
        raise UserError(
            f"{path}: {name}: unknown schema; it was frozen by another version, or with a plugin now missing"
        )
    return SCHEMAS[name].load_schema()


def _node(cls: type) -> DictConfig:
    from mimickit_hydra.config.store import prepare

    node: DictConfig = OmegaConf.structured(cls)
    prepare(node)
    return node
