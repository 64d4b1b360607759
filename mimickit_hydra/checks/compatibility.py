"""Checks what must fit together: agent and env, motion and character, and numbers that bound each other."""

from __future__ import annotations

from mimickit_hydra.config.fields import wrong
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.envs.event_schema import read_events
from mimickit_hydra.envs.term_schema import KINDS, read_terms
from mimickit_hydra.errors import UserError
from mimickit_hydra.plugins import AGENTS, ENVS, Entry, Registry


def fits(agent: Entry, env: Entry) -> bool:
    """Whether the agent can learn in the env: it drives the env itself, or a kind that it is."""
    return bool({env.name, *env.facts["kinds"]} & set(agent.facts["drives"]))


def made_for(character: str) -> list[str]:
    """The options of ``motion`` that were made for ``character``, or for the one whose clips fit it as well."""
    from mimickit_hydra.config.defaults import read
    from mimickit_hydra.config.groups import groups

    known = groups()
    values = next((read(own.path).values for own in known["character"].options if own.name == character), {})
    names = {character, values.get("clips_of", character)}
    return [option.name for option in known["motion"].options if read(option.path).values.get("character") in names]


def entries_of(group: str, registry: Registry) -> dict[str, Entry]:
    """What each option of ``group`` chooses from its registry; options that choose nothing there are left out."""
    from mimickit_hydra.config.defaults import read
    from mimickit_hydra.config.groups import groups

    chosen = {option.name: str(read(option.path).values.get(f"{group}_name")) for option in groups()[group].options}
    return {option: registry[name] for option, name in chosen.items() if name in registry}


def check_pairs(run: RunConfig) -> None:
    """Raise UserError for the first two choices or numbers that do not go together."""
    _check_motion(run)
    _check_agent_env(run)
    _check_generated_starts(run)
    if run.resume is not None and run.model_file is not None:
        raise UserError(
            f"resume={run.resume} and model_file={run.model_file}: give one; a resumed run has its own weights"
        )
    if run.resume is not None and run.mode == "test":
        raise UserError(f"resume={run.resume}: mode=test takes model_file={run.resume}; only training is resumed")


def _check_motion(run: RunConfig) -> None:
    character = run.character.name
    if run.motion.character in (character, run.character.clips_of) or not hasattr(run.env, "motion_file"):
        return
    fitting = made_for(character)
    hint = f"; motions for {character}: {', '.join(fitting)}" if fitting else ""
    raise UserError(
        f"motion={run.motion.name}: made for character {run.motion.character}, does not fit character={character}{hint}"
    )


def _check_agent_env(run: RunConfig) -> None:
    agent, env = AGENTS[run.agent.agent_name], ENVS[run.env.env_name]
    if not fits(agent, env):
        options = entries_of("env", ENVS)
        drives = ", ".join(option for option, other in options.items() if fits(agent, other))
        asked = next((option for option, other in options.items() if other == env), env.name)
        raise UserError(f"env={asked}: the agent {agent.name} cannot drive it; it drives {drives}")
    if run.env.rewards and getattr(run.agent, "task_reward_weight", None) == 0:
        raise wrong("agent.task_reward_weight", 0.0, "more than 0: it weighs env.rewards")
    if getattr(run.agent, "probe_share", 0.0) > 0.0 and not getattr(run.env, "rand_reset", True):
        raise wrong("agent.probe_share", run.agent.probe_share, "0 with env.rand_reset=false: all episodes begin alike")
    if getattr(run.env, "action_about", "default") != "default" and not (run.env.imitates or env.name == "add"):
        raise wrong("env.action_about", run.env.action_about, f"default: env={env.name} follows no frames")
    if "imagined" in agent.facts["drives"]:
        _check_imagined(run)


def _check_imagined(run: RunConfig) -> None:
    """UserError where an agent that learns in a model of the world is shown what no state tells."""
    who = f"agent={run.agent.agent_name} learns in a model of the world, whose states hold no past"
    if getattr(run.env, "action_about", "default") != "default":
        raise wrong("env.action_about", run.env.action_about, "default: a world model sees actions alone")
    for term in read_terms(run.env, "observations"):
        if term.history > 1:
            raise UserError(f"env.observations.{term.name}.history: found {term.history}, must be 1: {who}")
    for event in read_events(run.env):
        if event.entry.name == "sensor_delay" and max(event.params.range) > 0.0:
            raise UserError(f"env.events.{event.name}: found {event.params.range} s, must be null: {who}")


def _check_generated_starts(run: RunConfig) -> None:
    """UserError where a reference is followed in episodes that begin in motion made up by a prior."""
    if getattr(run.agent, "enable_gsi", False):
        for key in ("enable_tar_obs", "pose_termination"):
            if getattr(run.env, key, False):
                raise UserError(f"env.{key}: found true, must be false with agent.enable_gsi=true")
        for kind in KINDS:
            for term in read_terms(run.env, kind):
                if term.uses_reference:
                    raise UserError(f"env.{kind}.{term.name}: agent.enable_gsi=true leaves it no reference to look at")
