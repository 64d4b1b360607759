"""Schemas of what draws where episodes start, and their check before torch is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mimickit_hydra.config.fields import FRACTION, POSITIVE, at_least, setting
from mimickit_hydra.envs.term_schema import read_params
from mimickit_hydra.errors import UserError
from mimickit_hydra.plugins import SAMPLERS

DEFAULT = "weight"


@dataclass(frozen=True)
class BinParams:
    """Parameters of samplers that learn where in the clips starts are worth most."""

    bin_seconds: float = setting(1.0, POSITIVE, "s", "about how long a bin is; 2 to 4 for hours of motion")
    uniform_share: float = setting(0.1, FRACTION, help="of the starts that are drawn by the weights of the clips alone")
    memory: float = setting(1000.0, at_least(1), "control steps", "after which a result counts 1/e")
    look_ahead: int = setting(2, at_least(1), "bins", "what comes within so many counts for a start as well")
    look_ahead_decay: float = setting(0.8, FRACTION, help="and each of them this much less than the one before")
    power: float = setting(
        1.0, POSITIVE, help="of the failure rate or the missing return; above 1 only the worst count"
    )
    most: float = setting(20.0, at_least(1), help="times what the weights alone would give it, a bin's probability")


@dataclass(frozen=True)
class MjlabParams:
    """Parameters of mjlab's sampler, under its names."""

    adaptive_uniform_ratio: float = setting(0.1, at_least(0), help="added to the failures; no share of the starts")
    adaptive_alpha: float = setting(0.001, FRACTION, help="of the newest step in the average")
    adaptive_kernel_size: int = setting(1, at_least(1), "bins", "that a start answers for, its own among them")
    adaptive_lambda: float = setting(0.8, FRACTION, help="each counts this much less than the one before")


def read_sampling(env: Any) -> Any:
    """The parameters of ``env.sampling``, or None. UserError in one line where they or the env do not fit it."""
    entry = SAMPLERS[env.sampling]
    needs, others = entry.facts, f"must be another of {', '.join(SAMPLERS)}"
    if env.sampling != DEFAULT and not env.rand_reset:
        raise UserError(f"env.sampling: found {env.sampling}, must be {DEFAULT} with env.rand_reset=false")
    if needs.get("of_failures") and not env.enable_early_termination:
        raise UserError(
            f"env.sampling: found {env.sampling}, but without env.enable_early_termination no episode fails; {others}"
        )
    if needs.get("of_reward") and not env.imitates:
        raise UserError(
            f"env.sampling: found {env.sampling}, but env={env.env_name} is not paid for following the clip; {others}"
        )
    return read_params("env.sampling_params", entry, env.sampling_params)
