"""Registers the schema of core=mimickit."""

from __future__ import annotations

from mimickit_hydra.plugins import Plugin


def register(plugin: Plugin) -> None:
    plugin.schema("core", "base_mimickit", "mimickit_hydra.mimickit.schema:MimickitCoreConfig")
