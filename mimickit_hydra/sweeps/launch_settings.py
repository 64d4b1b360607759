"""Changes the ``launch`` settings of a frozen run for its next start."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mimickit_hydra.config.schema import LaunchConfig, RunConfig
from mimickit_hydra.errors import UserError


def change_launch(run: RunConfig, settings: Sequence[str]) -> LaunchConfig:
    """``run.launch`` with ``launch.key=value`` changed, or another one where ``launch=name`` is among ``settings``.

    UserError for anything but the group ``launch``, and for values that cannot work.
    """
    if not settings:
        return run.launch
    from omegaconf import OmegaConf

    from mimickit_hydra.checks.check import validate
    from mimickit_hydra.config.compose import as_text, compose
    from mimickit_hydra.config.overrides import quote

    for text in settings:
        if not text.startswith(("launch=", "launch.")):
            raise UserError(f"{text}: the runs are frozen; only launch=NAME and launch.KEY=VALUE can change")
    before = []
    if not any(text.startswith("launch=") for text in settings):
        kept = dataclasses.asdict(run.launch)
        before = [f"launch={kept.pop('launcher')}"]
        before += [f"launch.{key}={quote(as_text(value))}" for key, value in kept.items() if value is not None]
    launch = OmegaConf.to_object(compose([*before, *settings]).launch)
    assert isinstance(launch, LaunchConfig)
    validate(dataclasses.replace(run, launch=launch), machine=False)
    return launch
