"""Writes the composed config as a checkout of an older MimicKit reads it; the other way round than ``older``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.mimickit.checkout import Checkout
from mimickit_hydra.mimickit.older import FIXED, JOINT, NETWORKS

Sections = dict[str, dict[str, Any]]
_OPTIMIZER = {"type": "SGD", "weight_decay": 0.0, "grad_clip": 0.0}


def older_sections(values: Sections, checkout: Checkout, run: RunConfig) -> Sections:
    """``values`` of engine, env and agent under the names that ``checkout`` reads, which are today's for most.

    UserError, with what to do, where a value cannot be said to it.
    """
    if checkout.joint:
        values = {**values, "agent": _join_optimizers(values["agent"], checkout, run)}
    if checkout.blocks:
        engine, env = _older_engine(values["engine"], values["env"], checkout)
        values = {**values, "engine": engine, "env": env}
    return values


def in_blocks(values: Sections, checkout: Checkout) -> Sections:
    """The sections with ``engine`` and ``env`` as blocks of the env file; no agent file is what asks for a dummy."""
    engine, env = dict(values["engine"]), dict(values["env"])
    if "sim_substeps" in checkout.words:
        engine["sim_substeps"] = 1  # sim_freq counts them
    elif "sim" in checkout.words:
        engine["sim"] = {"substeps": 1, "physx": _fixed("sim.physx.")}
    if "plane" in checkout.words:
        engine["plane"] = _fixed("plane.")
    block = {"env_name": env.pop("env_name"), "env": env, "engine": engine}
    agent = values["agent"]
    return {"env": block} if agent.get("agent_name") == "Dummy" else {"env": block, "agent": agent}


def older_flags(values: Mapping[str, Any], checkout: Checkout) -> dict[str, Any]:
    """The flags of the command line as a checkout of autumn 2025 names them."""
    found = dict(values)
    out = Path(found.pop("out_dir"))
    found.update(log_file=out / "log.txt", out_model_file=out / "model.pt")
    if found.pop("save_int_models"):
        found["int_output_dir"] = out / "int_models"
    if found.pop("video"):
        raise UserError(f"video: found true, but {_which(checkout)} has no video, must be false")
    if found["logger"] == "txt":
        found["logger"] = "tb"  # which writes the text beside it
    if "num_workers" in checkout.words or "devices" not in checkout.words:
        devices = found.pop("devices")
        if len(devices) > 1 and list(devices) not in (
            [f"cuda:{i}" for i in range(len(devices))],
            ["cpu"] * len(devices),
        ):
            raise UserError(f"devices: found {devices}, but {_which(checkout)} takes cuda:0, cuda:1, ... in a row")
        found.update(device=devices[0], num_workers=len(devices))
    return found


def _which(checkout: Checkout) -> str:
    return f"{checkout.root} is a MimicKit {checkout.age} and"


def _older_engine(
    engine: Mapping[str, Any], env: Mapping[str, Any], checkout: Checkout
) -> tuple[dict[str, Any], dict[str, Any]]:
    engine, env = dict(engine), dict(env)
    if "ground_contact_height" not in checkout.words:
        if "ground_contact_height" in engine:
            env["termination_height"] = engine.pop("ground_contact_height")
        if engine.get("control_mode") == "pd_explicit":
            engine["control_mode"] = "pd_1d"
    return engine, env


def _fixed(prefix: str) -> dict[str, float]:
    return {key.removeprefix(prefix): value for key, value in FIXED.items() if key.startswith(prefix)}


class ArrayFrames:
    """Frames that a pickle gives back as a float32 array, whatever the numpy that reads it."""

    def __init__(self, frames: list[list[float]]) -> None:
        self._frames = frames

    def __reduce__(self) -> tuple[Any, ...]:
        import numpy as np

        return np.array, (self._frames, "float32")


def _join_optimizers(agent: Mapping[str, Any], checkout: Checkout, run: RunConfig) -> dict[str, Any]:
    """The agent's values with one optimiser for all networks; UserError with the words that make it possible."""
    nets = [net for net in NETWORKS if f"{net}_optimizer" in agent]
    if not nets or JOINT[0] in agent:
        return dict(agent)
    new, must = dict(agent), []
    own = {net: {**_OPTIMIZER, **new.pop(f"{net}_optimizer")} for net in nets}
    steps = {net: (new.pop(f"{net}_epochs"), new.pop(f"{net}_batch_size")) for net in nets}
    samples = run.core.agent.get("disc_batch_size")  # in its own unit
    epochs, batch = steps["actor"]
    if batch != int(batch):
        batch = math.ceil(batch)
        must.append(f"agent.actor_batch_size={batch}")
    for net in nets[1:]:
        must += _unlike(net, "epochs", steps[net][0], epochs)
        if net != "disc" or samples is None:
            must += _unlike(net, "batch_size", steps[net][1], batch)
        must += _weigh(net, own[net], own["actor"], new)
    if must:
        raise UserError(
            f"core.root: {_which(checkout)} trains all networks with one optimiser: add {' '.join(must)}, "
            "or take a newer checkout"
        )
    if "disc" in nets and "disc_batch_size" in checkout.words:
        new["disc_batch_size"] = samples or int(batch * run.num_envs)
    return {**new, "optimizer": own["actor"], "update_epochs": epochs, "batch_size": int(batch)}


def _weigh(net: str, own: Mapping[str, Any], actor: Mapping[str, Any], agent: dict[str, Any]) -> Sequence[str]:
    """Put the weight of a network's loss into ``agent``; returns the words for what no weight can say."""
    must = [*_unlike(net, "optimizer.type", own["type"], actor["type"])]
    must += _unlike(net, "optimizer.grad_clip", own["grad_clip"], actor["grad_clip"])
    weight, decay = 1.0, float(actor["weight_decay"])
    if actor["type"] == "SGD":
        weight = float(f"{own['learning_rate'] / actor['learning_rate']:.12g}")
        decay /= weight
    else:
        must += _unlike(net, "optimizer.learning_rate", own["learning_rate"], actor["learning_rate"])
    if net == "disc" and actor["type"] == "SGD" and own["weight_decay"] >= decay:
        agent.setdefault("disc_weight_decay", float(f"{(own['weight_decay'] - decay) / 2:.12g}"))
    else:
        must += _unlike(net, "optimizer.weight_decay", own["weight_decay"], decay)
        if net == "disc":
            agent.setdefault("disc_weight_decay", 0.0)
    agent.setdefault(f"{net}_loss_weight", weight)
    return must


def _unlike(net: str, key: str, found: Any, actors: Any) -> list[str]:
    return [] if found == actors else [f"agent.{net}_{key}={actors}"]
