"""Compares two configurations key by key and keeps what differs."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import Any

from mimickit_hydra.config.overrides import written_out
from mimickit_hydra.errors import UserError

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
    """The config of one side as ``{key: value}``, interpolations resolved."""
    from mimickit_hydra.config.compose import compose, flatten
    from mimickit_hydra.config.resolved import saved_config

    path = os.path.expanduser(side)
    if side.strip() and os.path.exists(path):  # first of all: a directory may have a name such as lr=1e-3
        return flatten(saved_config(path), resolve=True)
    return flatten(compose(overrides_of(side)), resolve=True)


def overrides_of(side: str) -> list[str]:
    """An experiment's name or a quoted override list as overrides; empty is the default run."""
    from mimickit_hydra.config.groups import groups

    try:
        words = shlex.split(side)
    except ValueError as error:
        raise UserError(f"{side}: not a list of overrides ({str(error).lower()})") from None
    experiments = groups()["experiment"].option_names()
    if len(words) == 1 and "=" not in words[0]:
        if words[0] in experiments:
            return [f"experiment={words[0]}"]
        from mimickit_hydra.errors import suggestion

        raise UserError(
            f"{side}: no run directory, experiment or override list{suggestion(side, experiments)}; "
            f"experiments: {', '.join(experiments)}"
        )
    return [written_out(word) for word in words]
