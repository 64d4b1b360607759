"""Checks that types cannot express. Every failure is one line; nothing here imports torch or a simulator."""

from __future__ import annotations

from mimickit_hydra.config.schema import RunConfig


def validate(run: RunConfig, *, machine: bool = True) -> None:
    """Raise UserError for the first thing in ``run`` that cannot work."""
