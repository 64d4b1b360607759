"""What must fit together: agent and env, motion and character, and numbers that bound each other."""

from __future__ import annotations

from typing import Any

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.config.schema import RunConfig

# What the registries of this version build, kept here so that a config is checked without importing torch.
RUNNABLE_AGENTS = ("PPO", "AWR", "LCP", "AMP", "ASE", "ADD", "SMP", "Dummy")

RUNNABLE_ENVS = (
    "deepmimic", "amp", "ase", "add", "smp", "static_objects",
    "task_location", "task_steering", "task_dodgeball", "char", "view_motion", "char_dof_test",
)  # fmt: skip

_TASKS = ("task_location", "task_steering", "task_dodgeball")
_REWARDED = ("deepmimic", "static_objects", *_TASKS)  # envs that compute a reward themselves
# agent -> the envs it can learn in
AGENT_ENVS: dict[str, tuple[str, ...]] = {
    "PPO": _REWARDED,
    "AWR": _REWARDED,
    "LCP": _REWARDED,
    "AMP": ("amp", *_TASKS),
    "ADD": ("add", *_TASKS),
    "ASE": ("ase", *_TASKS),
    "SMP": ("smp", *_TASKS),
    "Dummy": ("view_motion", "char_dof_test"),
}
_IMITATION_REWARD = ("deepmimic", "static_objects")

# (section, lower, upper)
_ORDERED = (
    ("env", "tar_change_time_min", "tar_change_time_max"),
    ("env", "tar_dist_min", "tar_dist_max"),
    ("env", "tar_speed_min", "tar_speed_max"),
    ("env", "proj_dist_min", "proj_dist_max"),
    ("env", "proj_h_min", "proj_h_max"),
    ("env", "proj_speed_min", "proj_speed_max"),
    ("env", "proj_trigger_time_min", "proj_trigger_time_max"),
    ("agent", "latent_time_min", "latent_time_max"),
    ("agent", "gsi_batch_size", "gsi_regen_num_motions"),
    ("agent", "gsi_regen_num_motions", "gsi_buffer_size"),
)
_BATCHES = ("actor_batch_size", "critic_batch_size", "disc_batch_size", "enc_batch_size")


def check_pairs(run: RunConfig) -> None:
    """Raise UserError for the first two choices or numbers that do not go together."""
    _check_motion(run)
    _check_agent_env(run)
    _check_rewards(run)
    _check_batches(run)
    _check_order(run)
    _check_generated_starts(run)
    if run.resume is not None and run.model_file is not None:
        raise UserError(
            f"resume={run.resume} and model_file={run.model_file}: give one; a resumed run has its own weights"
        )
    if run.resume is not None and run.mode == "test":
        raise UserError(f"resume={run.resume}: mode=test takes model_file={run.resume}; only training is resumed")


def check_runnable(run: RunConfig) -> None:
    """This version has the env and the agent that the config names."""
    for key, name, ready in (
        ("env.env_name", run.env.env_name, RUNNABLE_ENVS),
        ("agent.agent_name", run.agent.agent_name, RUNNABLE_AGENTS),
    ):
        if name not in ready:
            raise UserError(f"{key}: {name} is not part of this version yet; what works: {', '.join(ready)}")


def _check_motion(run: RunConfig) -> None:
    if run.motion.character == run.character.name or not hasattr(run.env, "motion_file"):
        return
    from mimickit_hydra.config.catalog import groups

    character = run.character.name
    others = [name for name in groups()["character"].option_names() if name.startswith(f"{character}_")]
    fitting = [
        name
        for name in groups()["motion"].option_names()
        if name.startswith(f"{character}_") and not name.startswith(tuple(f"{other}_" for other in others))
    ]
    hint = f"; motions for {character}: {', '.join(fitting)}" if fitting else ""
    raise UserError(
        f"motion={run.motion.name}: made for character {run.motion.character}, does not fit character={character}{hint}"
    )


def _check_agent_env(run: RunConfig) -> None:
    from mimickit_hydra.config.one_line import suggestion

    agent, env = run.agent.agent_name, run.env.env_name
    if agent not in AGENT_ENVS:
        names = list(AGENT_ENVS)
        raise UserError(
            f"agent.agent_name: found {agent!r}, must be one of {', '.join(names)}{suggestion(agent, names)}"
        )
    if env not in AGENT_ENVS[agent]:
        raise UserError(f"env={env}: the agent {agent} cannot drive it; it drives {', '.join(AGENT_ENVS[agent])}")


def _check_rewards(run: RunConfig) -> None:
    """Where the reward is DeepMimic's, its ten numbers have to be there."""
    if run.env.env_name not in _IMITATION_REWARD:
        return
    for key, value in vars(run.env).items():
        if key.startswith("reward_") and value is None:
            raise UserError(f"env.{key}: found null, must be a number: env={run.env.env_name} is rewarded with it")


def _check_batches(run: RunConfig) -> None:
    """A batch size multiplies ``num_envs``, and an iteration holds ``steps_per_iter`` times as many samples."""
    for key in _BATCHES:
        size = getattr(run.agent, key, 0)
        if size > run.agent.steps_per_iter:
            raise UserError(
                f"agent.{key}: found {size!r}, must be at most agent.steps_per_iter={run.agent.steps_per_iter} "
                "(both count in num_envs)"
            )


def _check_order(run: RunConfig) -> None:
    for section, low, high in _ORDERED:
        config: Any = getattr(run, section)
        if hasattr(config, low) and hasattr(config, high) and getattr(config, low) > getattr(config, high):
            raise UserError(
                f"{section}.{low}: found {getattr(config, low)!r}, must be at most "
                f"{section}.{high}={getattr(config, high)!r}"
            )


def _check_generated_starts(run: RunConfig) -> None:
    """An episode that begins in motion made up by the prior has no reference to follow."""
    if getattr(run.agent, "enable_gsi", False):
        for key in ("enable_tar_obs", "pose_termination"):
            if getattr(run.env, key, False):
                raise UserError(f"env.{key}: found true, must be false with agent.enable_gsi=true")
