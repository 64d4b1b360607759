"""An engine without physics - every DoF goes where its command says - that can get into any kind of trouble."""

# ruff: noqa: B905, UP032  (runs on Python 3.8 too)
from __future__ import annotations

import os
import sys
import time

import numpy as np
import torch

from mimickit_hydra.engines.interface import Engine, EngineError, ObjectModel, ObjectState

DOFS = 3


class FakeEngine(Engine):
    name = "fake"

    def __init__(self, config, scene, num_envs, device="cpu"):
        self.trouble = config.trouble
        print("the simulator greets\non standard output")
        if self.trouble == "build":
            raise ValueError("the asset\nis bad")
        if self.trouble == "refuse":
            raise EngineError("engine.sim_freq: found 7")
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.control_mode = "pos"
        self.control_dt = self.sim_dt = 0.1
        zeros = np.zeros(DOFS)
        self.models = [
            ObjectModel(
                spec.name, ["body"], np.array([-1]), np.ones(1), np.array([0]), zeros, zeros, zeros, zeros, zeros
            )
            for spec in scene.objects
        ]
        self.states = [ObjectState.zeros(num_envs, 1, DOFS, device) for _ in scene.objects]
        self.diverged = torch.zeros(num_envs, dtype=torch.bool, device=device)
        self.commands = [torch.zeros(num_envs, DOFS, device=device) for _ in scene.objects]

    def set_command(self, command, obj=0):
        self.commands[obj].copy_(command)

    def step(self):
        if self.trouble == "step":
            raise RuntimeError("the solver gave up")
        if self.trouble == "crash":
            sys.stderr.write("loading\nPhysX error: out of\nFatal: no memory\n")
            os._exit(3)
        if self.trouble == "hang":
            print("waiting for the licence server")
            time.sleep(1000)
        for state, command in zip(self.states, self.commands):
            state.dof_vel.copy_((command - state.dof_pos) / self.control_dt)
            state.dof_pos.copy_(command)

    def reset(self, mask, states):
        for obj, new in states.items():
            for name, value in vars(new).items():
                own = getattr(self.states[obj], name)
                own.copy_(torch.where(mask.unsqueeze(-1), value, own))
        for command in self.commands:
            command.masked_fill_(mask.unsqueeze(-1), 0.0)

    def place(self, obj, mask, state):
        own = self.states[obj].root_pos
        own.copy_(torch.where(mask.unsqueeze(-1), state.root_pos, own))

    def set_body_force(self, body, force, obj=0):
        self.states[obj].contact_forces[:, body].copy_(force)

    def state_dict(self):
        return {"dof_pos": self.states[0].dof_pos.cpu().clone(), "command": self.commands[0].cpu().clone()}

    def load_state_dict(self, state):
        self.states[0].dof_pos.copy_(state["dof_pos"])
        self.commands[0].copy_(state["command"])

    def warnings(self):
        return ["python {}.{}".format(*sys.version_info[:2]), "pid {}".format(os.getpid())]
