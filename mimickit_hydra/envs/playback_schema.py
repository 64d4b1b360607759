"""Schemas of the envs that move the character themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from mimickit_hydra.config.fields import Rule, setting
from mimickit_hydra.envs.schema import CharEnvConfig


def _unread(*values: float, why: str) -> Any:
    """The episode length of MimicKit's file (or of a preset for every env), which nothing reads."""
    return setting(MISSING, Rule(lambda found: found in values, f"{values[0]:g}: {why}"), "s")


@dataclass(frozen=True)
class ViewMotionEnvConfig(CharEnvConfig):
    """Play the reference motion, without physics."""

    motion_file: str = setting(help="clip (.npz, .pkl), or a set of them: .yaml, a folder, a pattern")
    episode_length: float = _unread(20, 10, 1, why="each clip is shown whole, and one that repeats five times")


@dataclass(frozen=True)
class DofTestEnvConfig(CharEnvConfig):
    """Drive one degree of freedom after the other, with the root held."""

    episode_length: float = _unread(20, 1, why="each DoF is driven for four seconds, however many there are")
