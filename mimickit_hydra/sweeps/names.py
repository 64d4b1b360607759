"""Names the directories of a sweep's runs, by ``hydra.sweep.subdir`` or by a short name of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError

_UNNAMED = ("out_dir",)  # names the sweep's directory, not that of one of its runs


def short_name(run: RunConfig, number: str) -> str:
    return f"{number}_{run.method.name}_{run.character.name}_{run.engine.engine_name}"


def resolved(key: str, hydra: DictConfig, cfg: DictConfig, values: Mapping[str, Any], number: int, parsed: Any) -> str:
    """What ``hydra.KEY`` is for one run, as in the job that Hydra would start for it; empty where it is null.

    Args:
        hydra: Hydra's own node, as composed.
        cfg: the config of the run; ``values`` of leaves are laid over it.
        number: of the run in its sweep.
        parsed: its overrides, parsed.
    """
    full = cfg.copy()
    for name, value in values.items():
        OmegaConf.update(full, name, value)
    OmegaConf.set_struct(full, False)
    full["hydra"] = hydra.copy()
    node = full["hydra"]
    OmegaConf.set_readonly(node, False)
    OmegaConf.set_struct(node, False)
    node.job.num = number
    node.job.id = str(number)
    node.job.override_dirname = _override_dirname(node, parsed)
    found = OmegaConf.select(node, key)
    return "" if found is None else str(found)


def _override_dirname(hydra: DictConfig, parsed: Sequence[Any]) -> str:
    """What Hydra makes of the overrides, by a function of its own that has another place in each of its versions."""
    style = hydra.job.config.override_dirname
    left_out = {*style.exclude_keys, *_UNNAMED}
    named = [item for item in parsed if not item.is_hydra_override() and item.key_or_group not in left_out]
    text: str = style.item_sep.join(sorted(item.input_line for item in named))
    return text.replace("=", style.kv_sep)


class Names:
    """The names of a sweep's runs so far: each is below the sweep's directory, and no two are the same."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def take(self, name: str, number: int, given: str) -> str:
        """``name`` of run ``number``; UserError where it cannot be. ``given``: the text of hydra.sweep.subdir."""
        where = os.path.normpath(name)
        if os.path.isabs(where) or where.split(os.sep)[0] in (os.curdir, os.pardir):
            raise UserError(f"hydra.sweep.subdir: found {given!r}, must be a directory below that of the sweep")
        if where in self._taken:
            raise UserError(
                f"hydra.sweep.subdir: found {given!r}, must be another directory for each run, but runs "
                f"{self._taken[where]} and {number} would both be in {where}; "
                "add ${hydra.job.num} or ${hydra.job.override_dirname}"
            )
        self._taken[where] = number
        return where
