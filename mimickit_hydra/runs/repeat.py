"""Overrides that repeat, resume or test a saved run, with further overrides on top."""

from __future__ import annotations

import os
import sys

from mimickit_hydra.config.overrides import value_of, values_of, written_out
from mimickit_hydra.config.paths import find_model
from mimickit_hydra.config.resolved import CONFIG_FILE
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.files import as_recorded


def expand(overrides: list[str], from_run: str | None = None, *, sweep: bool = False) -> list[str]:
    """Put the config of the run that is repeated, resumed or tested before the overrides given by hand.

    ``from_run`` is the run directory to repeat; ``resume=`` and, in test mode, ``model_file=`` name one among the
    overrides. UserError where there is none, or where the overrides cannot go with it.
    """
    overrides = [written_out(text) for text in overrides]
    resume = os.path.expanduser(value_of("resume", overrides))
    tests = "test" in values_of("mode", overrides) or "smoke" in values_of("debug", overrides)
    model = os.path.expanduser(value_of("model_file", overrides)) if tests else ""
    if resume:
        return _resumed(resume, from_run, overrides, sweep=sweep)
    if model and len(values_of("model_file", overrides)) > 1:
        raise UserError(
            f"model_file={model}: each policy is tested with its own config, so start one command for each; "
            "one policy on several engines: mimickit sim2sim RUN_DIR engine=newton,mujoco"
        )
    if from_run:
        return _on_top_of(from_run, overrides, tested=bool(model))
    if model:  # a policy only fits the config that it was trained with
        found = find_model(model)
        for folder in (found, found.parent, found.parent.parent):
            if (folder / CONFIG_FILE).is_file():
                return _on_top_of(str(folder), overrides, tested=True)
    return overrides


def _resumed(run_dir: str, from_run: str | None, overrides: list[str], *, sweep: bool) -> list[str]:
    if from_run:
        raise UserError(f"--from {from_run}: cannot be combined with resume={run_dir}")
    if sweep:
        raise UserError(f"resume={run_dir}: a sweep is continued with: mimickit sweep resume DIR")
    if not os.path.isdir(run_dir):
        raise UserError(f"resume={run_dir}: no such run directory")
    from mimickit_hydra.runs.rebase import refuse_other, regroup
    from mimickit_hydra.runs.saved import read_run

    saved = read_run(run_dir)
    refuse_other(run_dir, saved.choices, overrides)
    before, _ = regroup(run_dir, saved.choices, saved.values, overrides, keep=tuple(saved.choices))
    return [*before, *as_recorded(run_dir, before, overrides), *overrides]


def _on_top_of(run_dir: str, overrides: list[str], *, tested: bool) -> list[str]:
    """The saved run, as far as it goes with ``overrides``, and then these. A tested policy keeps its networks."""
    from mimickit_hydra.runs.rebase import derived, on_its_machine, rates_of_training, regroup
    from mimickit_hydra.runs.saved import read_run

    saved = read_run(run_dir)
    choices = saved.choices
    for group in ("compute", "recipe") if tested else ():
        if group not in choices and (option := derived(group, choices)):
            choices = {**choices, group: option}
    before, dropped = regroup(run_dir, choices, saved.values, overrides, keep=("compute", "recipe") if tested else ())
    if tested:
        before += [*rates_of_training(saved.engine, overrides), *on_its_machine(choices, saved.values, overrides)]
    if dropped := [text for text in dropped if text not in before]:
        print(f"note: values of {run_dir} that have no place here: {' '.join(dropped)}", file=sys.stderr)
    return [*before, *as_recorded(run_dir, before, overrides), *overrides]
