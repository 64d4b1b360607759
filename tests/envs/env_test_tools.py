"""A stand-in engine that only stores states, and small builders, shared by the tests of this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mimickit_hydra.engines.interface import Engine, ObjectModel, ObjectState
from mimickit_hydra.envs.registry import make_env
from mimickit_hydra.envs.schema import AMPEnvConfig, ASEEnvConfig, DeepMimicEnvConfig
from mimickit_hydra.envs.tasks.dodgeball_schema import DodgeballEnvConfig
from mimickit_hydra.envs.tasks.location_schema import LocationEnvConfig
from mimickit_hydra.envs.tasks.steering_schema import SteeringEnvConfig
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode, MotionClip
from mimickit_hydra.motion.library import MotionLibrary

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CONFIGS = {
    "deepmimic": DeepMimicEnvConfig,
    "amp": AMPEnvConfig,
    "ase": ASEEnvConfig,
    "add": AMPEnvConfig,
    "smp": AMPEnvConfig,
    "task_location": LocationEnvConfig,
    "task_steering": SteeringEnvConfig,
    "task_dodgeball": DodgeballEnvConfig,
}


class StoredStateEngine(Engine):
    """Keeps whatever a test writes: ``step`` shows the next state of ``upcoming``, ``reset`` poses by FK."""

    name = "stored"

    def __init__(self, character, model, num_envs, control_freq=30, sim_freq=120, control_mode="pos", balls=0):
        self.character = character
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.control_mode = control_mode
        self.control_dt = 1.0 / control_freq
        self.sim_dt = 1.0 / sim_freq
        self.models = [model]
        self.diverged = torch.zeros(num_envs, dtype=torch.bool)
        self.states = [ObjectState.zeros(num_envs, model.num_bodies, model.num_dofs)]
        self.states += [ObjectState.zeros(num_envs, 1, 0) for _ in range(balls)]
        self.commands: list[torch.Tensor] = []
        self.upcoming: list[dict[str, torch.Tensor]] = []
        self.upcoming_balls: list[tuple[torch.Tensor, ...]] = []
        self.resets: list[torch.Tensor] = []

    def set_command(self, command, obj=0):
        self.commands.append(command.clone())

    def step(self):
        if self.upcoming:
            self.write(**self.upcoming.pop(0))
        if self.upcoming_balls:
            self.write_balls(*self.upcoming_balls.pop(0))

    def reset(self, mask, states):
        self.resets.append(mask.clone())
        rows = mask.nonzero().squeeze(-1)
        for obj, new in states.items():
            old = self.states[obj]
            self._set(old, rows, new)
            if obj > 0:
                continue
            old.contact_forces[rows] = 0.0
            old.ground_contact_forces[rows] = 0.0
            old.body_vel[rows] = old.root_vel[rows].unsqueeze(1)
            pos, rot = self._pose(rows)
            old.body_pos[rows], old.body_rot[rows] = pos, rot

    @staticmethod
    def _set(old, rows, new):
        for field in ("root_pos", "root_rot", "root_vel", "root_ang_vel", "dof_pos", "dof_vel"):
            getattr(old, field)[rows] = getattr(new, field)[rows]

    def place(self, obj, mask, state):
        self._set(self.states[obj], mask.nonzero().squeeze(-1), state)

    def write_balls(self, pos, vel, contact_force):
        """Overwrite position, velocity and contact force ``[N, balls, 3]`` of all balls."""
        for i, state in enumerate(self.states[1:]):
            state.root_pos.copy_(pos[:, i])
            state.root_vel.copy_(vel[:, i])
            state.contact_forces.copy_(contact_force[:, i : i + 1])

    def write(self, **fields):
        """Overwrite fields of the state; body poses follow from the DoFs unless given."""
        for field, value in fields.items():
            getattr(self.states[0], field).copy_(torch.as_tensor(value))
        pos, rot = self._pose(torch.arange(self.num_envs))
        if "body_pos" not in fields:
            self.states[0].body_pos.copy_(pos)
        if "body_rot" not in fields:
            self.states[0].body_rot.copy_(rot)

    def _pose(self, rows):
        s = self.states[0]
        joint_rot = self.character.dof_to_rot(s.dof_pos[rows])
        return self.character.forward_kinematics(s.root_pos[rows], s.root_rot[rows], joint_rot)

    def set_body_force(self, body, force, obj=0):
        raise NotImplementedError

    def state_dict(self):
        return {f"{i}.{k}": v.clone() for i, s in enumerate(self.states) for k, v in vars(s).items()}

    def load_state_dict(self, state):
        for i, s in enumerate(self.states):
            for k, v in vars(s).items():
                v.copy_(state[f"{i}.{k}"])


class Golden:
    """One golden file: arrays by name, the character, the clips and the cases."""

    def __init__(self, name: str) -> None:
        self.data = dict(np.load(GOLDEN / f"{name}.npz"))
        self.cases = [str(c) for c in self.data["cases"]]
        self.sensitivity = json.loads(str(self.data["interp_sensitivity_json"]))

    def case(self, case: str, name: str) -> torch.Tensor:
        return torch.as_tensor(self.data[f"{case}/{name}"])

    def has(self, case: str, name: str) -> bool:
        return f"{case}/{name}" in self.data

    def raw_config(self, case: str) -> dict[str, Any]:
        return json.loads(str(self.data[f"{case}/config_json"]))

    def config(self, case: str) -> Any:
        raw = self.raw_config(case)
        return CONFIGS[raw["env_name"]](**raw)

    def engine_config(self, case: str) -> dict[str, Any]:
        return json.loads(str(self.data[f"{case}/engine_json"]))

    def character(self) -> CharacterModel:
        c = {k.split("/", 1)[1]: v for k, v in self.data.items() if k.startswith("char/")}
        return make_character(c)

    def model(self) -> ObjectModel:
        d = self.data
        num_dofs = len(d["char/dof_low"])
        return ObjectModel(
            name=str(d["char/name"]),
            body_names=[str(n) for n in d["char/body_names"]],
            parents=d["char/parent"],
            body_masses=np.ones(len(d["char/parent"])),
            dof_dims=d["char/dof_dim"],
            dof_low=d["char/dof_low"],
            dof_high=d["char/dof_high"],
            torque_limits=d["char/torque_limit"],
            kp=np.ones(num_dofs),
            kd=np.ones(num_dofs),
        )

    def library(self, character: CharacterModel) -> MotionLibrary:
        clips, weights = [], []
        for i, name in enumerate(self.data["clips"]):
            get = lambda key, i=i: self.data[f"clip/{i}/{key}"]  # noqa: E731
            clips.append(MotionClip(get("frames"), float(get("fps")), LoopMode(int(get("loop_mode"))), str(name), {}))
            weights.append(float(get("weight")))
        return MotionLibrary(clips, weights, character, "cpu")

    def env(self, case: str, num_envs: int | None = None, config: Any = None, **engine: Any):
        """(env, engine) of one case."""
        character = self.character()
        settings = {**self.engine_config(case), **engine}
        n = len(self.case(case, "motion_ids")) if num_envs is None else num_envs
        settings["balls"] = getattr(config or self.config(case), "num_projectiles", 0)
        stored = StoredStateEngine(character, self.model(), n, **settings)
        return make_env(config or self.config(case), stored, character, self.library(character)), stored


def make_character(c: dict[str, np.ndarray]) -> CharacterModel:
    """A character from a golden file's ``char/`` arrays."""
    return CharacterModel(
        str(c["name"]), [str(n) for n in c["body_names"]], [int(p) for p in c["parent"]], c["local_pos"],
        c["local_rot"], [int(t) for t in c["joint_type"]], c["joint_axis"],
        dof_low=c["dof_low"], dof_high=c["dof_high"],
    )  # fmt: skip
