"""Registers the engines, agents, envs, configs and importers of this package, as a plugin would."""

from __future__ import annotations

from mimickit_hydra.agents import entries as agents
from mimickit_hydra.config import entries as config
from mimickit_hydra.engines import entries as engines
from mimickit_hydra.envs import entries as envs
from mimickit_hydra.mimickit import entries as mimickit
from mimickit_hydra.motion import entries as motion
from mimickit_hydra.plugins import Plugin
from mimickit_hydra.sweeps import entries as sweeps


def register(plugin: Plugin) -> None:
    """Register everything; imports neither torch nor a simulator."""
    for part in (config, motion, engines, envs, agents, mimickit, sweeps):
        part.register(plugin)
