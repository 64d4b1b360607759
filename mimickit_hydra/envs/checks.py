"""Checks of config values against the character, shared by the builders of envs."""

from __future__ import annotations

from collections.abc import Sequence

from mimickit_hydra.envs.errors import EnvError, nearest


def body_indices(key: str, names: Sequence[str], bodies: Sequence[str]) -> list[int]:
    """Indices of ``names`` among ``bodies``; EnvError naming the config ``key`` for one that is not there."""
    for name in names:
        if name not in bodies:
            raise EnvError(
                f"{key}: the character has no body {name!r}{nearest(name, bodies)}; bodies: {', '.join(bodies)}"
            )
    return [list(bodies).index(name) for name in names]


def check_length(key: str, values: Sequence[float], allowed: Sequence[int], meaning: str) -> None:
    """EnvError naming ``key`` unless ``values`` has one of the ``allowed`` lengths."""
    if len(values) not in allowed:
        lengths = " or ".join(str(n) for n in allowed)
        raise EnvError(f"{key}: found {len(values)} numbers, this character needs {lengths} {meaning}")
