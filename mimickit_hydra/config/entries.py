"""Registers the dataclasses of the groups that no other part of the package registers."""

from __future__ import annotations

from mimickit_hydra.plugins import Plugin

_SCHEMAS = (
    ("", "base_run", "RunConfig"),
    ("compute", "base_compute", "ComputeConfig"),
    ("core", "base_native", "CoreConfig"),
    ("character", "base_character", "CharacterConfig"),
    ("motion", "base_motion", "MotionConfig"),
    ("method", "base_method", "MethodConfig"),
    ("logger", "base_logger", "LoggerConfig"),
    ("launch", "base_launch_local", "LaunchConfig"),
)


def register(plugin: Plugin) -> None:
    for group, name, schema in _SCHEMAS:
        plugin.schema(group, name, f"mimickit_hydra.config.schema:{schema}")
