"""Exports the policy of a run as one ONNX file that carries all that a controller has to know."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.deploy import format as names
from mimickit_hydra.deploy.card import Compared, model_card
from mimickit_hydra.deploy.facts import default_and_scale, facts_of, goal_size, mjlab_keys
from mimickit_hydra.deploy.graphs import Judge, Moments, Observer, Policy, Whole, check_memory
from mimickit_hydra.deploy.onnx_graph import PRECISIONS, narrowed, session_of, trace
from mimickit_hydra.deploy.scene import scene_of
from mimickit_hydra.distributed import Comm
from mimickit_hydra.engines.mujoco.engine import MujocoEngine
from mimickit_hydra.envs.tasks.task import GoalTask, Task
from mimickit_hydra.errors import UserError, must_be_one_of
from mimickit_hydra.files import write_text_atomic, write_wanted
from mimickit_hydra.training.build import Parts, build
from mimickit_hydra.training.rng import seed_everything
from mimickit_hydra.training.run import load_model
from mimickit_hydra.training.sim2sim import runs_by_engine

FORMS = ("obs", "state")
STATES = 1000  # on which file and torch are compared
# By which they may differ, rad: an observation is rounded before a normaliser that may divide by 1e-4.
AGREEMENT = {"obs": 1e-5, "state": 1e-3}


@dataclass(frozen=True)
class Exported:
    """What was written; ``note`` says what the file lacks, empty if nothing."""

    path: Path
    checkpoint: Path
    compared: Compared
    size: int  # bytes
    note: str


def export_policy(
    run_dir: Path,
    target: Path,
    *,
    form: str = "obs",
    precision: str = "float32",
    clip: str = "",
    words: Sequence[str] = (),
    states: int = STATES,
) -> Exported:
    """Export the policy of ``run_dir``, a run directory or a checkpoint in one, to the file ``target``.

    Args:
        form: ``obs``: the graph begins with the observation, as mjlab's does; ``state``: with what is measured.
        precision: of the network; ``int8`` is onnxruntime's dynamic quantisation.
        clip: the clip of a set that the reference is of; the first one if empty.
        words: overrides of the run's settings.
        states: random inputs on which file and torch are compared.

    Raises:
        UserError: in one line, for what cannot be exported, or does not come out as it is in torch.
    """
    for key, value, allowed in (("--form", form, FORMS), ("--precision", precision, PRECISIONS)):
        if value not in allowed:
            raise must_be_one_of(key, value, list(allowed))
    _needed()
    run = runs_by_engine(str(run_dir), ["mujoco"], ["num_envs=1", *words])["mujoco"]
    torch.set_num_threads(1)
    seed_everything(run.rand_seed or 0)
    with build(run, Comm(), torch.device("cpu"), num_envs=1) as parts:
        checkpoint = load_model(parts, str(run_dir), alone=True, run=run, words=list(words))
        return Export(parts, run, _clip_id(parts, clip), checkpoint).write(target, form, precision, states)


def _needed() -> None:
    for package in ("onnx", "onnxruntime"):
        try:
            __import__(package)
        except ImportError:
            raise UserError(f"--to onnx: needs {package}; pip install 'mimickit-hydra[deploy]'") from None


def _clip_id(parts: Parts, clip: str) -> int:
    library = parts.library
    if library is None or not clip:
        if library is not None and library.num_motions == 0:
            raise UserError("env.motion_file: found no clip")
        return 0
    if clip not in library.names:
        raise must_be_one_of("--clip", clip, list(library.names))
    return library.names.index(clip)


class Export:
    """The graphs and the facts of one policy."""

    @torch.no_grad()
    def __init__(self, parts: Parts, run: RunConfig, clip: int, checkpoint: Path) -> None:
        self.parts, self.run, self.clip, self.checkpoint = parts, run, clip, checkpoint
        env, agent = parts.env, parts.agent
        if not list(agent.net.parameters()):
            raise UserError(f"agent.agent_name: found {run.agent.agent_name}, which has no policy to export")
        if (mode := parts.engine.control_mode) not in ("pos", "pd_explicit"):
            raise UserError(f"engine.control_mode: found {mode}, must be pos: what is exported are angles")
        env.set_mode(True)
        agent.net.eval()
        self.task = next((part for part in env.parts if isinstance(part, Task)), None)
        self.further = dict(agent.policy_inputs)
        self.sizes = self._sizes()
        self.policy = Policy(agent, *default_and_scale(env, getattr(run.env, "init_pose", [])))
        self.moments = Moments(env, clip, self.sizes)

    def _sizes(self) -> dict[str, tuple[int, ...]]:
        dofs, forces = self.parts.character.num_dofs, (self.parts.character.num_bodies, 3)
        frames = self.parts.env.sensing.frames
        past = 0 if frames is None else (frames.shape[1] - 1) * frames.shape[2]
        return {
            "base_pos": (3,), "base_quat": (4,), "base_lin_vel": (3,), "base_ang_vel": (3,), "dof_pos": (dofs,),
            "dof_vel": (dofs,), "time_step": (1,), "last_actions": (dofs,), "previous_actions": (dofs,),
            "history": (past,),
            "obs": (self.parts.env.obs_size,), "command": (self.task.obs_size if self.task else 0,),
            "goal": (goal_size(self.task),), "previous_base_pos": (3,), "contact_forces": forces,
            "ground_contact_forces": forces, **{name: (size,) for name, size in self.further.items()},
        }  # fmt: skip

    @torch.no_grad()
    def write(self, target: Path, form: str, precision: str, states: int) -> Exported:
        observer, seen, note = self._observer()
        if observer is None and form == "state":
            raise UserError(f"--form state: {note}")
        follows = "time_step" in seen or self.moments.aims
        seen += ["time_step"] * (follows and observer is not None and "time_step" not in seen)
        inputs = [*seen, *self.further] if form == "state" else ["obs", *["time_step"] * follows, *self.further]
        module = Whole(
            self.policy, inputs, Observer(self.moments, seen) if form == "state" else None,
            self.moments if follows else None,
        )  # fmt: skip
        outputs = module.outputs
        model = narrowed(self._graph(module, inputs, outputs), precision)
        compared = self._compare(module, model, inputs, states)
        if precision == "float32" and not compared.worst <= AGREEMENT[form]:
            raise UserError(f"{target}: it would be {compared.worst:.2g} rad off torch, so it was not written")
        text, scene = scene_of(cast(MujocoEngine, self.parts.engine), self.run)
        hidden = {names.OBSERVER: observer if form == "obs" else None, names.JUDGE: self._judge(observer)}
        extra = {names.SCENE: text}
        extra |= {key: base64.b64encode(graph.SerializeToString()).decode() for key, graph in hidden.items() if graph}
        facts = facts_of(self.parts, self.run, self.clip, scene, follows)
        meant = {**names.STATE, **names.OTHERS}
        facts |= {
            "form": form, "precision": precision, "follows": follows,
            "action_about": "reference" if self.moments.aims else "default", "outputs": outputs,
            "inputs": {name: {"size": self.sizes[name][0], "is": meant[name]} for name in inputs},
            "sha256": {key: hashlib.sha256(value.encode()).hexdigest() for key, value in extra.items()},
        }  # fmt: skip
        card = model_card(self.run, self.checkpoint, facts, compared)
        extra |= {names.FACTS: json.dumps(facts), names.CARD: card}
        for key, value in {**mjlab_keys(facts, str(self.checkpoint)), **extra}.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value
        data = model.SerializeToString()
        write_wanted(target, lambda file: file.write(data))
        write_text_atomic(target.with_suffix(".md"), card)
        return Exported(target, self.checkpoint, compared, len(data), note)

    def _observer(self) -> tuple[Any, list[str], str]:
        """The graph of the observation and its inputs, or why there is none."""
        try:
            check_memory(self.parts.env)
        except UserError as error:
            return None, [], str(error)
        past = ["history"] * (self.parts.env.sensing.frames is not None)
        inputs = [*names.STATE, "time_step", "last_actions", *["command"] * (self.task is not None), *past]
        module = Observer(self.moments, inputs)
        graph = self._graph(module, inputs, module.outputs, prune=True)
        return graph, [i.name for i in graph.graph.input], ""

    def _judge(self, observer: Any) -> Any:
        task = self.task
        if observer is None or not (task is None or isinstance(task, GoalTask)):
            return None
        inputs = [*names.STATE, "time_step", "last_actions", *names.OF_JUDGE]
        module = Judge(self.moments, inputs, task)
        return self._graph(module, inputs, module.outputs, prune=True)

    def _graph(self, module: nn.Module, inputs: list[str], outputs: list[str], prune: bool = False) -> Any:
        return trace(module, self._states(inputs, 1), inputs, outputs, prune)

    def _compare(self, module: Whole, model: Any, inputs: list[str], count: int) -> Compared:
        """File and torch on ``count`` inputs."""
        values = self._states(inputs, count)
        wanted = module(*values)[module.outputs.index(names.TARGETS)].numpy()
        session, found, seconds = session_of(model.SerializeToString()), np.empty_like(wanted), []
        arrays = [value.numpy() for value in values]
        for row in range(count):
            feed = {name: array[row : row + 1] for name, array in zip(inputs, arrays, strict=True)}
            began = time.perf_counter()
            found[row] = session.run([names.TARGETS], feed)[0]
            seconds.append(time.perf_counter() - began)
        error = np.abs(found - wanted)
        return Compared(float(error.max()), float(error.mean()), float(np.median(seconds)))

    def _states(self, inputs: list[str], count: int) -> tuple[Tensor, ...]:
        """Random inputs ``[count, .]``: observations around their mean, poses and velocities of any kind."""
        generator = torch.Generator().manual_seed(count)
        norm, library = self.parts.agent.obs_norm, self.parts.library
        steps = 1.0 if library is None else float(library.lengths[self.clip]) / self.parts.env.control_dt

        def made(name: str) -> Tensor:
            value = torch.randn(count, *self.sizes[name], generator=generator)
            if name == "latents":
                return functional.normalize(value, dim=-1)
            if name == "base_quat":  # any heading, tilted by about half a radian
                return functional.normalize(value * torch.tensor([1.0, 0.3, 0.3, 1.0]), dim=-1)
            if name == "obs":
                return norm.mean + 2.0 * norm.std * value
            return steps * torch.rand(count, 1, generator=generator) if name == "time_step" else value

        return tuple(made(name) for name in inputs)
