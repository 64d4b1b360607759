"""``launch=packed``, ``tmux`` or ``slurm``: freeze the config, submit, print what was submitted, return at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mimickit_hydra.config.schema import LaunchConfig


def submit_one(cfg: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Submit the run that ``cfg`` describes; its directory, ``cfg.out_dir``, exists."""
    from omegaconf import OmegaConf

    from mimickit_hydra.config.compose import drop_hydra, to_run
    from mimickit_hydra.config.frozen import freeze
    from mimickit_hydra.runtime.files import write_text_atomic
    from mimickit_hydra.runtime.sweep_file import FROZEN

    cfg = cfg.copy()
    drop_hydra(cfg)
    OmegaConf.update(cfg, "resume", None)  # a run goes on in its own directory wherever it has a checkpoint
    run_dir = Path(cfg.out_dir)
    frozen = run_dir / FROZEN
    write_text_atomic(frozen, freeze(cfg, choices, overrides))
    submit_and_say(to_run(cfg).launch, [frozen], name=run_dir.name, cwd=os.getcwd())


def submit_and_say(launch: LaunchConfig, frozen: Sequence[Path], *, name: str, cwd: str) -> None:
    """Submit, and print a line with the job and the directory of each run."""
    from mimickit_hydra.cli.sweep import shown
    from mimickit_hydra.launch import submit

    submitted = submit(launch, frozen, name=name, cwd=cwd)
    word = {"slurm": "job", "tmux": "session", "packed": "process"}[launch.launcher]
    for entry in submitted:
        print(f"submitted   {word} {entry.job_id}  {shown(entry.run_dir)}")
    folder = shown(Path(os.path.commonpath([str(entry.run_dir) for entry in submitted])))
    print(f"look at it with: mimickit status {folder}", flush=True)
