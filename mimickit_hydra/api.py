"""The Python interface: compose a run, build it, train it, ask its policy for actions. ``docs/api.md`` has examples.

Everything that can be typed after ``train.py`` can be given to :func:`compose`. Importing this module imports neither
torch nor a simulator.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from mimickit_hydra.envs.imitation import ImitationEnv
    from mimickit_hydra.training.build import Parts


def compose(
    overrides: Sequence[str] = (), *, from_run: str | Path | None = None, config_dirs: Sequence[str | Path] = ()
) -> RunConfig:
    """The run that ``train.py`` would start with these overrides, as frozen dataclasses: checked, and with a seed.

    Args:
        overrides: such as ``["method=amp", "motion=humanoid_run", "num_envs=64"]``, or ``["resume=RUN_DIR"]``.
        from_run: a run directory; the run is the one saved there, with the overrides on top.
        config_dirs: folders laid out as ``conf/``, as after ``--config-dir``; this process goes on knowing them.

    Raises:
        UserError: in one line that names the key, for whatever cannot work.
    """
    from mimickit_hydra.checks.check import validate
    from mimickit_hydra.config import roots
    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.config.messages import one_line
    from mimickit_hydra.runs.repeat import expand

    roots.add(config_dirs)
    words = list(overrides)
    try:
        words = expand(words, None if from_run is None else str(from_run))
        run = to_run(compose(words))
    except Exception as error:
        line = one_line(error, words)
        if line is None or isinstance(error, UserError):
            raise
        raise UserError(line) from None
    validate(run)
    return run if run.rand_seed is not None else dataclasses.replace(run, rand_seed=time.time_ns() % 2**31)


def build(run: RunConfig, num_envs: int | None = None) -> Parts:
    """Build character, motions, engine, env and agent in this process, on the first of ``run.devices``.

    The env is ``parts.env``, the agent ``parts.agent``. ``num_envs`` replaces the run's number of environments. torch's
    random generators are seeded with ``run.rand_seed``. Close the parts, or use them in a ``with`` statement: some
    engines hold a process or a GPU context.
    """
    import torch

    from mimickit_hydra.distributed import Comm
    from mimickit_hydra.training.build import build
    from mimickit_hydra.training.rng import seed_everything

    seed_everything(run.rand_seed or 0)
    return build(run, Comm(), torch.device(run.devices[0]), num_envs=num_envs)


def train(run: RunConfig) -> Path:
    """Train, or with ``mode=test`` test, as the command line does, and return the run directory.

    ``metrics.json`` in it has the results of the closing test. With several ``devices`` the other processes import the
    script that calls this, so it needs ``if __name__ == "__main__":``.

    Raises:
        UserError: in one line, for whatever the user can put right.
        SystemExit: with code 75 when a signal stopped the run and everything is saved.
    """
    from mimickit_hydra.runs.snapshot import freeze
    from mimickit_hydra.sweeps.start import start

    run_dir = Path(run.resume or str(run.out_dir)).expanduser().absolute()
    run = dataclasses.replace(run, out_dir=str(run_dir))
    start(freeze(run, {}, []))
    return run_dir


def load_policy(
    model_file: str | Path, overrides: Sequence[str] = (), *, num_envs: int = 1, from_run: str | Path | None = None
) -> Policy:
    """The policy that ``mode=test model_file=...`` would test, with an env to try it in.

    Args:
        model_file: a run directory (its best checkpoint, or else its newest), a checkpoint, a MimicKit ``model.pt``, or
            the name of a trained policy, as ``mimickit models`` lists them.
        overrides: on top of the config that it was trained with, such as ``["engine=newton"]``; its networks stay.
        num_envs: the number of environments of ``policy.env``.
        from_run: the run directory whose config to take, where the file does not lie in one.
    """
    from mimickit_hydra.config.models import models
    from mimickit_hydra.config.overrides import quote
    from mimickit_hydra.training.run import load_model

    named = next((model for model in models() if model.name == str(model_file)), None)
    words = named.words if named is not None else ["mode=test", f"model_file={quote(str(model_file))}"]
    run = compose([*overrides, *words, f"num_envs={num_envs}"], from_run=from_run)
    parts = build(run)
    load_model(parts, str(run.model_file), alone=True, run=run, words=list(overrides))
    return Policy(run, parts)


class Policy:
    """A trained policy and an env of its kind. Close it, or use it in a ``with`` statement."""

    def __init__(self, run: RunConfig, parts: Parts) -> None:
        self.run = run
        self.parts = parts

    @property
    def env(self) -> ImitationEnv:
        """``num_envs`` environments that make the observations this policy takes."""
        return self.parts.env

    def act(self, obs: Any, deterministic: bool = True) -> Any:
        """Actions ``[N, A]``, or ``[A]``, for raw observations ``[N, O]``, or ``[O]``.

        ``obs`` is a numpy array or a torch tensor, and what comes back is of the same kind, on the same device. Actions
        are what the engine's controllers take (rad for position targets), unclipped; ``env.action_low`` and
        ``env.action_high`` are their bounds. A method with latents (ASE) wants one row for each environment.

        Raises:
            UserError: observations of another width.
        """
        import torch

        given = torch.as_tensor(obs)
        if given.shape[-1] != self.env.obs_size:
            raise UserError(f"obs: found {given.shape[-1]} numbers, must be {self.env.obs_size}")
        rows = given.reshape(-1, self.env.obs_size).to(self.env.device, torch.float32)
        action: Tensor = self.parts.agent.act(rows, deterministic)
        action = action.reshape(*given.shape[:-1], -1).to(given.device)
        return action if isinstance(obs, torch.Tensor) else action.numpy()

    def close(self) -> None:
        """Let go of the engine."""
        self.parts.close()

    def __enter__(self) -> Policy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def options() -> dict[str, list[str]]:
    """The names that each config group takes: what ``mimickit list`` prints."""
    from mimickit_hydra.config.groups import groups

    return {name: group.option_names() for name, group in groups().items()}


def registered() -> dict[str, list[str]]:
    """The names registered in code by this package and by plugins: engines, agents, envs, terms, readers, writers."""
    from mimickit_hydra import plugins

    kinds = (
        plugins.ENGINES, plugins.AGENTS, plugins.ENVS, plugins.OBSERVATIONS, plugins.REWARDS, plugins.TERMINATIONS,
        plugins.IMPORTERS, plugins.EXPORTERS,
    )  # fmt: skip
    return {registry.kind: list(registry) for registry in kinds}
