"""Registers the schemas of the launchers."""

from __future__ import annotations

from mimickit_hydra.plugins import Plugin


def register(plugin: Plugin) -> None:
    for name in ("packed", "tmux", "slurm"):
        schema = f"mimickit_hydra.sweeps.schema:{name.capitalize()}LaunchConfig"
        plugin.schema("launch", f"base_launch_{name}", schema)
