"""Reads MimicKit's two older forms of files into today's, value by value.

Autumn 2025: the env file holds an ``env:`` and an ``engine:`` block, there is no engine file, and the flags name a log
and a model file. Until 24 February 2026: one ``optimizer`` for all networks, with a weight for the loss of each. What
has no counterpart today is named in a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from mimickit_hydra.config.compose import leaves
from mimickit_hydra.errors import UserError

OLDER_FLAGS = ("log_file", "out_model_file", "int_output_dir", "device", "num_workers")
JOINT = ("optimizer", "update_epochs", "batch_size")  # of one optimiser for all networks
NETWORKS = ("actor", "critic", "disc", "enc")
# what the engine was told in autumn 2025, and what it does unasked since
FIXED: dict[str, float] = {
    "plane.static_friction": 1.0, "plane.dynamic_friction": 1.0, "plane.restitution": 0.0,
    "sim.physx.num_threads": 4, "sim.physx.solver_type": 1, "sim.physx.num_position_iterations": 4,
    "sim.physx.num_velocity_iterations": 0, "sim.physx.contact_offset": 0.02, "sim.physx.rest_offset": 0.0,
    "sim.physx.bounce_threshold_velocity": 0.2, "sim.physx.max_depenetration_velocity": 10.0,
    "sim.physx.default_buffer_size_multiplier": 10.0,
}  # fmt: skip
_REPLAY = {"disc_buffer_size": 200_000, "disc_replay_samples": 1000}  # MimicKit's, since it has a replay buffer


def join_blocks(env: dict[str, Any], engine: dict[str, Any], notes: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The env and engine values of an env file of autumn 2025; ``engine`` is that file's engine block."""
    notes.append("env_config: in MimicKit's form of autumn 2025, with env: and engine: blocks")
    top = {key: value for key, value in env.items() if key != "env"}
    env, engine = {**top, **env["env"]}, dict(engine)
    sim = engine.pop("sim", None) or {}
    substeps = engine.pop("sim_substeps", sim.get("substeps", 1))
    if substeps != 1:
        engine["sim_freq"] = engine.get("sim_freq", 60) * substeps
        notes.append(f"engine.sim_freq: {engine['sim_freq']}, which counts the {substeps} substeps of the file")
    if "termination_height" in env:
        engine["ground_contact_height"] = env.pop("termination_height")
    if engine.get("control_mode") == "pd_1d":
        engine["control_mode"] = "pd_explicit"
    told = dict(leaves({"plane": engine.pop("plane", None) or {}, "sim": sim}, empty=False))
    told.pop("sim.substeps", None)
    for key, value in told.items():
        if not key.startswith("sim.flex.") and value != FIXED.get(key):
            always = f"it is always {FIXED[key]}" if key in FIXED else "there is no such key"
            notes.append(f"engine.{key}: found {value}, but {always} here; left out")
    if told:
        notes.append(
            "engine.plane, engine.sim: the engine sets the rest of these itself here, to the same; flex is unread"
        )
    return env, engine


def join_flags(flags: dict[str, list[str]], blocks: bool, notes: list[str]) -> None:
    """Turn the flags of autumn 2025 into today's, in place; where the files are today's (no ``blocks``), drop them."""
    old = {name: flags.pop(name)[0] for name in OLDER_FLAGS if flags.get(name)}
    if not blocks:
        notes.extend(f"--{name} is a flag of MimicKit's of autumn 2025; today's ignores it" for name in old)
        return
    for name, kept in (("out_model_file", "model.pt"), ("log_file", "log.txt")):
        if name in old:
            flags.setdefault("out_dir", [str(PurePosixPath(old[name]).parent)])
            notes.append(f"--{name} {old[name]}: {kept} in out_dir here")
    if "int_output_dir" in old:
        flags["save_int_models"] = ["true"]
        notes.append(f"--int_output_dir {old['int_output_dir']}: save_int_models=true keeps them in out_dir here")
    if "device" in old or "num_workers" in old:
        device, workers = old.get("device", "cuda:0"), old.get("num_workers", "1")
        if not workers.isdecimal() or int(workers) < 1:
            raise UserError(f"--num_workers: found {workers}, must be a whole number of at least 1")
        many = int(workers) > 1 and "cuda" in device
        flags.setdefault("devices", [f"cuda:{rank}" if many else device for rank in range(int(workers))])


def separate_optimizers(agent: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """The agent's values with an optimiser for each network in place of a joint one.

    Every network takes as many steps with as large batches as before. With SGD, to weigh a loss is to scale the
    learning rate; Adam's steps do not depend on the scale of a loss.
    """
    if not any(key in agent for key in JOINT):
        return agent
    notes.append("agent_config: in MimicKit's form before 24 February 2026, with one optimiser for all networks")
    new = dict(agent)
    joint, epochs, batch = (new.pop(key, None) for key in JOINT)
    nets = new.get("model") or {}
    samples, decay = new.pop("disc_batch_size", None), _number(new.pop("disc_weight_decay", 0.0), "disc_weight_decay")
    for name in NETWORKS:
        weight = _number(new.pop(f"{name}_loss_weight", 1.0), f"{name}_loss_weight")
        if name not in ("actor", "critic") and f"{name}_net" not in nets:
            continue
        if isinstance(joint, dict):
            made = _optimizer(joint, name, weight, decay if name == "disc" else 0.0, notes)
            new.setdefault(f"{name}_optimizer", made)
        for key, value in (("epochs", epochs), ("batch_size", batch)):
            if value is not None:
                new.setdefault(f"{name}_{key}", value)
    if samples is not None:
        notes.append(
            f"agent.disc_batch_size: {samples} samples a step have no counterpart; as all networks, the discriminator "
            f"takes {batch} x num_envs here (core=mimickit: core.agent.disc_batch_size={samples})"
        )
    if "disc_net" in nets:
        if "disc_buffer_size" not in new:
            notes.append(f"agent: that MimicKit had no replay buffer; {_shown(_REPLAY)} here, as MimicKit since")
            new.update(_REPLAY)
        notes.append("agent.disc_grad_penalty: weighs both sides of the discriminator today, one side before")
    return new


def _optimizer(joint: dict[str, Any], name: str, weight: float, decay: float, notes: list[str]) -> dict[str, Any]:
    """One network's share of a joint optimiser; ``decay`` is the weight of its squared weights in the loss."""
    made = dict(joint)
    if weight <= 0:
        raise UserError(f"agent.{name}_loss_weight: found {weight:g}, must be greater than 0 for a counterpart here")
    if joint.get("type") == "SGD":
        made["learning_rate"] = _exact(_number(joint.get("learning_rate"), "optimizer.learning_rate") * weight)
        decay = _exact(_number(joint.get("weight_decay", 0.0), "optimizer.weight_decay") / weight + 2 * decay)
        if decay:
            made["weight_decay"] = decay
    else:
        if weight != 1:
            notes.append(f"agent.{name}_loss_weight: {weight:g} does not change {joint.get('type')}'s steps; left out")
        if decay:
            notes.append(f"agent.{name}_weight_decay: {decay:g} in the loss has no counterpart with Adam; left out")
    if joint.get("grad_clip") and name == "actor":
        notes.append("agent.optimizer.grad_clip: of each network's gradient here, of all together before")
    return made


def _number(value: Any, key: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(f"agent.{key}: found {value!r}, must be a number") from None


def _exact(value: float) -> float:
    return float(f"{value:.12g}")


def _shown(values: Mapping[str, Any]) -> str:
    return " ".join(f"agent.{key}={value}" for key, value in values.items())
