"""Plays an exported policy in bare MuJoCo: only numpy, mujoco and onnxruntime are needed.

The control loop is that of a robot: what is measured goes into the graph, the targets that come out are held for a
control step, and a PD controller follows them at the rate of the physics.
"""

from __future__ import annotations

import base64
import hashlib
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import onnxruntime

from mimickit_hydra.deploy import format as names
from mimickit_hydra.deploy.onnx_file import MAX_BYTES, read_metadata
from mimickit_hydra.deploy.policy_facts import PolicyFacts, check_facts, check_keys
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import one_line, parse_json, read_bytes
from mimickit_hydra.mj import mujoco

MAX_MODEL = 2**26  # bytes of a scene, and of the graphs beside the policy's own
# Half widths of uniform noise at --noise 1: mjlab's, and for the base what an estimator is off
NOISE = {"base_pos": 0.05, "base_quat": 0.02, "base_lin_vel": 0.2, "base_ang_vel": 0.2, "dof_pos": 0.01, "dof_vel": 0.5}
_FORBIDDEN = ("include", "plugin", "extension", "attach", "model")
_BAD = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADCTRL) + 1)


class Graph:
    """An ONNX graph on one core; ``inputs`` and ``outputs`` are shapes by name."""

    def __init__(self, data: bytes, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of many kinds
            raise UserError(f"{path}: onnxruntime cannot load it ({one_line(error)})") from None
        self._path = path
        self.inputs = {i.name: i.shape for i in self._session.get_inputs()}
        self.outputs = {o.name: o.shape for o in self._session.get_outputs()}
        for one in self._session.get_inputs():
            if one.type != "tensor(float)":
                raise UserError(f"{path}: input {one.name} is of {one.type}, must be of tensor(float)")

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name; of ``inputs`` it takes what it needs."""
        feed = {name: np.asarray(inputs[name], np.float32).reshape(shape) for name, shape in self.inputs.items()}
        try:
            return dict(zip(self.outputs, self._session.run(None, feed), strict=True))
        except Exception as error:  # of many kinds
            raise UserError(f"{self._path}: onnxruntime cannot run it ({one_line(error)})") from None


@dataclass
class Outcome:
    """An episode. ``total`` is the env's return, None where the file has no judge."""

    steps: int = 0
    total: float | None = None
    failed: bool = False
    ended: str = ""  # in: failure, clip_end, time
    poses: list[np.ndarray] = field(default_factory=list)  # qpos of every control step


@dataclass(frozen=True)
class Trouble:
    """What goes wrong on the way: ``delay`` of targets in s, ``noise`` as a factor of :data:`NOISE`."""

    delay: float = 0.0
    noise: float = 0.0
    seed: int = 0


class Player:
    """A policy file and the simulation that it is played in. UserError, in one line, for a file that does not fit."""

    def __init__(self, path: Path) -> None:
        data = read_bytes(path, MAX_BYTES)
        self.path = path
        metadata = read_metadata(data, path)
        if names.FACTS not in metadata:
            raise UserError(f"{path}: has no metadata {names.FACTS!r}: it is no file of mimickit export --to onnx")
        self.facts: PolicyFacts = check_facts(parse_json(metadata[names.FACTS], path), path)
        check_keys(self.facts, metadata, path)
        self._check_hashes(metadata)
        self.policy = Graph(data, path)
        self._check_policy()
        self.observer = self._graph(metadata, names.OBSERVER)
        self.judge = self._graph(metadata, names.JUDGE)
        self._check_beside()
        self.model = self._model(metadata)
        self.data = mujoco.MjData(self.model)
        self._find_parts()
        self.seconds: list[float] = []  # of every inference

    # --------------------------------------------------------------------------------------------------- the file

    def _check_hashes(self, metadata: dict[str, str]) -> None:
        for key in (names.SCENE, names.OBSERVER, names.JUDGE):
            wanted, text = self.facts.sha256.get(key), metadata.get(key)
            if (text is None) != (wanted is None) or (key == names.SCENE and text is None):
                raise UserError(f"{self.path}: its {key} is {'missing' if text is None else 'not of it'}")
            if text is not None and hashlib.sha256(text.encode()).hexdigest() != wanted:
                raise UserError(f"{self.path}: its {key} has changed since it was exported (sha256)")

    def _graph(self, metadata: dict[str, str], key: str) -> Graph | None:
        if key not in metadata:
            return None
        data = _bytes(metadata[key], self.path, key)
        read_metadata(data, self.path)
        return Graph(data, self.path)

    def _check_policy(self) -> None:
        facts, graph = self.facts, self.policy
        wanted = {name: [1, size] for name, size in facts.inputs.items()}
        if graph.inputs != wanted:
            raise UserError(f"{self.path}: its graph takes {graph.inputs}, and it says that it takes {wanted}")
        known = {**names.STATE, **names.OTHERS}
        for name in wanted:
            if name not in known:
                raise UserError(f"{self.path}: input {name!r} is none that can be given; known: {', '.join(known)}")
        for name in ("actions", names.TARGETS):
            if graph.outputs.get(name) != [1, facts.num_dofs]:
                raise UserError(
                    f"{self.path}: output {name} is {graph.outputs.get(name)}, must be [1, {facts.num_dofs}]: one "
                    "number for each of joint_names"
                )

    def _check_beside(self) -> None:
        """The observer gives what the policy takes, and both it and the judge take what there is."""
        if self.facts.form == "obs":
            if self.observer is None:
                raise UserError(f"{self.path}: does not say how its observation is made, so it cannot be played")
            if self.observer.outputs.get("obs") != [1, self.facts.obs_size]:
                given = self.observer.outputs.get("obs")
                raise UserError(
                    f"{self.path}: its {names.OBSERVER} gives {given}, and the policy takes [1, {self.facts.obs_size}]"
                )
        known = {**names.STATE, **names.OTHERS, **names.OF_JUDGE}
        for key, graph in ((names.OBSERVER, self.observer), (names.JUDGE, self.judge)):
            for name in graph.inputs if graph is not None else ():
                if name not in known:
                    raise UserError(f"{self.path}: its {key} takes {name[:60]!r}, which is none that can be given")
        if self.judge is not None and self.facts.command_size:
            given, wanted = self.judge.outputs.get("command"), [1, self.facts.command_size]
            if given != wanted:
                raise UserError(f"{self.path}: its {names.JUDGE} gives the command {given}, must be {wanted}")

    def _model(self, metadata: dict[str, str]) -> Any:
        facts, text = self.facts, metadata[names.SCENE]
        files = {name: _bytes(data, self.path, name) for name, data in facts.scene["files"].items()}
        check_mjcf(text, set(files), self.path)
        try:
            model = mujoco.MjModel.from_xml_string(text, assets=files)
        except ValueError as error:
            raise UserError(f"{self.path}: MuJoCo cannot build its scene ({one_line(error)})") from None
        for name, values in facts.scene["numbers"].items():
            array = getattr(model, name, None)
            if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.size != len(values):
                raise UserError(f"{self.path}: its scene has no {len(values)} numbers {name[:60]!r}")
            array[...] = np.reshape(values, array.shape)
        model.opt.timestep = 1.0 / facts.sim_freq
        return model

    def _find_parts(self) -> None:
        """The places of the character's numbers in the simulation."""
        model, scene = self.model, self.facts.scene
        root = self._id("root", mujoco.mjtObj.mjOBJ_JOINT, scene["root"])
        if model.jnt_type[root] != mujoco.mjtJoint.mjJNT_FREE:
            raise UserError(f"{self.path}: its root {scene['root']!r} does not move freely")
        self.root, self._qvel = int(model.jnt_qposadr[root]), int(model.jnt_dofadr[root])
        kinds = {1: mujoco.mjtJoint.mjJNT_HINGE, 3: mujoco.mjtJoint.mjJNT_BALL}
        self._joints = []
        for name, dim in scene["joints"]:
            joint = self._id("joint", mujoco.mjtObj.mjOBJ_JOINT, name)
            if model.jnt_type[joint] != kinds[dim]:
                raise UserError(f"{self.path}: joint {name!r} of its scene has not {dim} DoFs")
            self._joints.append((int(model.jnt_qposadr[joint]), int(model.jnt_dofadr[joint]), dim))
        self._ctrl = [self._id("actuator", mujoco.mjtObj.mjOBJ_ACTUATOR, name) for name in scene["actuators"]]
        self._sensors = []
        for body, *sensors in scene["sensors"]:
            ids = [self._id("sensor", mujoco.mjtObj.mjOBJ_SENSOR, name) for name in sensors]
            self._sensors.append((body, *(int(model.sensor_adr[sensor]) for sensor in ids)))
        self._dofs = [dof + k for _, dof, dim in self._joints for k in range(dim)]

    def _id(self, what: str, kind: Any, name: str) -> int:
        found = mujoco.mj_name2id(self.model, kind, name)
        if found < 0:
            raise UserError(f"{self.path}: its scene has no {what} {name!r}")
        return int(found)

    # ---------------------------------------------------------------------------------------------------- an episode

    def play(
        self, start: int = 0, trouble: Trouble | None = None, *, command: list[float] | None = None,
        seconds: float | None = None, shown: Callable[[], bool] | None = None,
    ) -> Outcome:  # fmt: skip
        """One episode from start number ``start`` of the file, of ``seconds`` or as the env has it.

        ``shown`` is called after every control step; it ends there where it gives False.
        """
        facts, trouble = self.facts, trouble or Trouble()
        self._random = np.random.default_rng(trouble.seed)
        state = facts.starts[start % len(facts.starts)]
        self._reset(state)
        aims = bool(facts.command_size)
        judged = self.judge is not None and not (aims and command is not None)
        outcome = Outcome(total=0.0 if judged else None)
        none = np.zeros(facts.num_dofs)
        inputs: dict[str, Any] = {"last_actions": none, "previous_actions": none}
        inputs["previous_base_pos"] = state["base_pos"]
        self._goals, self._until = deque(state["goals"] if judged else ()), 0.0
        if aims and judged:
            self._aim(inputs, 0.0)
            self._judge(inputs, state["time_step"])
        elif aims:
            inputs["command"] = np.array(command if command is not None else [math.nan])
            if inputs["command"].shape != (facts.command_size,) or not np.isfinite(inputs["command"]).all():
                raise UserError(f"{self.path}: needs --goal with {facts.command_size} numbers, as its task has it")
        queue = deque([state["dof_pos"]] * round(trouble.delay * facts.sim_freq))  # of targets, one a physics step
        expires, length = 0.0, facts.episode_length if seconds is None else seconds
        dt = np.float32(1.0 / facts.control_freq)
        past = self._past()
        while not outcome.ended:
            inputs["time_step"] = state["time_step"] + outcome.steps
            if facts.latents and np.float32(outcome.steps) * dt >= expires:
                latents = self._random.normal(size=facts.latents)
                inputs["latents"] = latents / np.linalg.norm(latents)
                expires = np.float32(outcome.steps) * dt + self._random.uniform(*facts.latent_time)
            self._measure(inputs, trouble.noise)
            if past and not outcome.steps:
                inputs["history"] = np.zeros(past)
                self._decide(inputs)  # for what is read first, which stands for all that was before
                inputs["history"] = np.resize(self._readings, past)
            targets, actions = self._decide(inputs)
            if past:
                inputs["history"] = np.concatenate([inputs["history"], self._readings])[-past:]
            inputs["previous_base_pos"] = self.data.qpos[self.root : self.root + 3].copy()
            self._advance(targets, queue)
            inputs["previous_actions"], inputs["last_actions"] = inputs["last_actions"], actions
            outcome.steps += 1
            outcome.poses.append(self.data.qpos.copy())
            self._end(outcome, inputs, state, float(np.float32(outcome.steps) * dt), length)
            if shown is not None and not shown():
                outcome.ended = outcome.ended or "stopped"
        return outcome

    def _past(self) -> int:
        """How many numbers of the past the observation is made of."""
        graph = self.observer if self.facts.form == "obs" else self.policy
        shape = graph.inputs.get("history", [1, 0]) if graph is not None else [1, 0]
        return int(shape[1])

    def _reset(self, state: dict[str, Any]) -> None:
        data, q, v = self.data, self.root, self._qvel
        mujoco.mj_resetData(self.model, data)
        data.qpos[q : q + 3], data.qpos[q + 3 : q + 7] = state["base_pos"], state["base_quat"]
        data.qvel[v : v + 3], data.qvel[v + 3 : v + 6] = state["base_lin_vel"], state["base_ang_vel"]
        data.qvel[self._dofs] = state["dof_vel"]
        first = 0
        for place, _, dim in self._joints:
            values = np.array(state["dof_pos"][first : first + dim])
            data.qpos[place : place + (4 if dim == 3 else 1)] = _quat(values) if dim == 3 else values
            first += dim

    def _measure(self, inputs: dict[str, Any], noise: float) -> None:
        """Put the state of the character into ``inputs``."""
        data, q, v = self.data, self.root, self._qvel
        inputs["base_pos"], inputs["base_quat"] = data.qpos[q : q + 3].copy(), data.qpos[q + 3 : q + 7].copy()
        inputs["base_quat"] /= max(np.linalg.norm(inputs["base_quat"]), 1e-9)
        inputs["base_lin_vel"], inputs["base_ang_vel"] = data.qvel[v : v + 3].copy(), data.qvel[v + 3 : v + 6].copy()
        inputs["dof_pos"], inputs["dof_vel"] = self._dof_pos(), data.qvel[self._dofs].copy()
        if noise > 0.0:
            for name, width in NOISE.items():
                inputs[name] = inputs[name] + noise * width * self._random.uniform(-1.0, 1.0, inputs[name].shape)
            inputs["base_quat"] /= np.linalg.norm(inputs["base_quat"])

    def _dof_pos(self) -> np.ndarray:
        qpos = self.data.qpos
        parts = [_exp_map(qpos[place : place + 4]) if dim == 3 else qpos[[place]] for place, _, dim in self._joints]
        return np.concatenate(parts)

    def _decide(self, inputs: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Targets and actions ``[D]`` of what was measured."""
        began, observed = time.perf_counter(), dict[str, np.ndarray]()
        if self.facts.form == "obs":
            assert self.observer is not None
            observed = self.observer.run(inputs)
            inputs["obs"] = observed["obs"]
        found = self.policy.run(inputs)
        self.seconds.append(time.perf_counter() - began)
        self._readings = (observed if self.facts.form == "obs" else found).get("readings", np.zeros((1, 0)))[0]
        targets = found[names.TARGETS][0].astype(np.float64)
        if not np.isfinite(targets).all():
            raise UserError(f"{self.path}: gave targets that are no numbers")
        return targets, found["actions"][0].astype(np.float64)

    def _advance(self, targets: np.ndarray, queue: deque[np.ndarray]) -> None:
        """A control step of physics, with targets as late as the ``queue`` is long."""
        facts, data = self.facts, self.data
        substeps = facts.sim_freq // facts.control_freq
        if facts.control_mode == "pos" and not queue:
            data.ctrl[self._ctrl] = targets
            mujoco.mj_step(self.model, data, substeps)
            return
        for _ in range(substeps):
            queue.append(targets)
            now = queue.popleft()
            if facts.control_mode == "pd_explicit":
                now = facts.kp * (now - self._dof_pos()) - facts.kd * data.qvel[self._dofs]
            data.ctrl[self._ctrl] = now
            mujoco.mj_step(self.model, data)

    def _end(
        self, outcome: Outcome, inputs: dict[str, Any], state: dict[str, Any], passed: float, length: float
    ) -> None:
        """Judge the step, and say whether and why the episode ends with it."""
        facts, data = self.facts, self.data
        lost = bool(data.warning.number[_BAD].any()) or not np.isfinite(data.qpos).all()
        if outcome.total is not None and not lost:
            self._aim(inputs, passed)
            judged = self._judge(inputs, state["time_step"] + outcome.steps)
            outcome.total += float(judged["reward"][0])
            outcome.failed = bool(judged["failed"][0])
        outcome.failed = outcome.failed or lost
        over = facts.clip_end is not None and passed + state["time"] >= facts.clip_end
        if outcome.failed:
            outcome.ended = "failure"
        elif over:
            outcome.ended = "clip_end"
        elif passed >= length:
            outcome.ended = "time"

    def _aim(self, inputs: dict[str, Any], passed: float) -> None:
        """Take the next goal where it is time for it."""
        if self._goals and passed >= self._until:
            self._until, goal = self._goals.popleft()
            about = self.data.qpos[self.root : self.root + 2] if self.facts.goal_about_base else 0.0
            inputs["goal"] = goal + about

    def _judge(self, inputs: dict[str, Any], time_step: float) -> dict[str, np.ndarray]:
        """What the judge says of the present, which goes into ``inputs`` without noise, its command too."""
        assert self.judge is not None
        self._measure(inputs, 0.0)
        inputs["time_step"] = time_step
        for column, name in ((1, "contact_forces"), (2, "ground_contact_forces")):
            forces = np.zeros((len(self.facts.scene["bodies"]), 3))
            for sensor in self._sensors:
                forces[sensor[0]] = -self.data.sensordata[sensor[column] : sensor[column] + 3]
            inputs[name] = forces
        judged = self.judge.run(inputs)
        inputs["command"] = judged.get("command")
        return judged


def check_mjcf(text: str, files: set[str], path: Path) -> None:
    """UserError for MJCF that would read other files or run other code."""
    if "<!" in text.replace("<!--", ""):
        raise UserError(f"{path}: its scene has a document type, which is not supported")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise UserError(f"{path}: its scene is not well-formed XML ({one_line(error)})") from None
    for element in root.iter():
        if element.tag in _FORBIDDEN:
            raise UserError(f"{path}: its scene has <{element.tag}>, which is not supported")
        for key, value in element.attrib.items():
            if (key.startswith("file") or key.endswith("dir")) and value not in files:
                raise UserError(f"{path}: its scene names another file, {value[:60]!r}")


def _bytes(text: str, path: Path, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise UserError(f"{path}: its {what} is not in base64") from None
    if len(data) > MAX_MODEL:
        raise UserError(f"{path}: its {what} has {len(data):,} bytes; at most {MAX_MODEL:,} are read")
    return data


def _quat(exp_map: np.ndarray) -> np.ndarray:
    """The quaternion wxyz of an exponential map ``[3]``."""
    angle = float(np.linalg.norm(exp_map))
    return np.array([math.cos(0.5 * angle), *(0.5 * np.sinc(0.5 * angle / np.pi) * exp_map)])


def _exp_map(quat: np.ndarray) -> np.ndarray:
    """The exponential map ``[3]`` of a quaternion wxyz, of at most half a turn."""
    sine = float(np.linalg.norm(quat[1:]))
    scale = 2.0 if sine < 1e-12 else 2.0 * math.atan2(sine, abs(quat[0])) / sine
    return np.asarray(math.copysign(scale, quat[0]) * quat[1:])
