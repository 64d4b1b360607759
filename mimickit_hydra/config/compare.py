"""Two configurations side by side: only what differs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimickit_hydra.config.errors import UserError

ABSENT = object()  # the key does not exist on that side
_NOT_COMPARED = ("out_dir",)  # always differs, and means nothing


@dataclass(frozen=True)
class Difference:
    key: str
    left: Any
    right: Any


def differences(left: str, right: str) -> list[Difference]:
    """What differs between two run directories, experiments or quoted override lists, in any mixture.

    Raises:
        UserError: a side is none of these.
    """
    one, other = values_of(left), values_of(right)
    keys = list(dict.fromkeys([*one, *other]))
    return [
        Difference(key, one.get(key, ABSENT), other.get(key, ABSENT))
        for key in keys
        if key not in _NOT_COMPARED and one.get(key, ABSENT) != other.get(key, ABSENT)
    ]


def values_of(side: str) -> dict[str, Any]:
    """``{key: value}`` of one side, interpolations resolved."""
    from mimickit_hydra.config.compose import compose, flatten

    path = Path(side).expanduser()
    if side.strip() and "=" not in side and path.exists():
        from omegaconf import DictConfig, OmegaConf

        from mimickit_hydra.config.repeat import config_of_run

        cfg = OmegaConf.load(config_of_run(path))
        assert isinstance(cfg, DictConfig)
        return flatten(cfg, resolve=True)
    return flatten(compose(overrides_of(side)), resolve=True)


def overrides_of(side: str) -> list[str]:
    """An experiment's name or a quoted override list as overrides; empty is the default run."""
    from mimickit_hydra.config.catalog import groups

    words = shlex.split(side)
    experiments = groups()["experiment"].option_names()
    if len(words) == 1 and "=" not in words[0]:
        if words[0] in experiments:
            return [f"experiment={words[0]}"]
        from mimickit_hydra.config.one_line import suggestion

        raise UserError(
            f"{side}: no run directory, experiment or override list{suggestion(side, experiments)}; "
            f"experiments: {', '.join(experiments)}"
        )
    return words
