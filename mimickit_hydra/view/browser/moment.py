"""Reads one environment out of all: one vector of numbers, copied off the device, from which a frame is made later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.engines.interface import SceneSpec
from mimickit_hydra.envs import tracking
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.envs.state import CharacterState, View
from mimickit_hydra.view.browser.frame import CHARACTER, REFERENCE, Frame
from mimickit_hydra.view.browser.look import Look, read_look

STATE = (
    "root_pos",
    "rotations",
    "root_vel",
    "root_ang_vel",
    "dof_vel",
    "body_pos",
    "body_rot",
    "key_offset",
    "tan_norm",
)
_OWN = ("time", "motion_time", "motion_ids", "reward", "done")


class Moments:
    """The numbers of environment ``row`` that a frame needs."""

    def __init__(self, env: ImitationEnv, row: int = 0) -> None:
        self.env, self.row = env, row
        self._follows = self._reference() is not None
        parts = self._tensors()
        self._shapes = {name: tensor.shape for name, tensor in parts.items()}
        self.size = sum(tensor.numel() for tensor in parts.values())
        self._model = env.engine.models[0]

    def _reference(self) -> CharacterState | None:
        return None if self.env.latest is None else self.env.latest.reference

    def _tensors(self) -> dict[str, Tensor]:
        env, row, engine = self.env, self.row, self.env.engine
        found = {name: getattr(env, name)[row] for name in _OWN}
        state = engine.states[0]
        found |= {"command": env.command[row], "dof_pos": state.dof_pos[row], "dof_vel": state.dof_vel[row]}
        found["forces"] = state.contact_forces[row]
        for number, other in enumerate(engine.states):
            found |= {f"pos/{number}": other.body_pos[row], f"rot/{number}": other.body_rot[row]}
        for part in env.parts:
            found |= {f"mark/{name}": tensor[row] for name, tensor in part.marks().items()}
        reference = self._reference()
        if self._follows and env.latest is not None and reference is not None:
            for side, whole in (("sim", env.latest.character), ("ref", reference)):
                found |= {f"{side}/{name}": getattr(whole, name)[row] for name in STATE}
        return found

    def read(self, out: Tensor) -> bool:
        """Write the numbers of now into ``out [size]`` on the env's device; False where they are not all there."""
        parts = self._tensors()
        if len(parts) != len(self._shapes):
            return False
        torch.cat([tensor.reshape(-1).to(torch.float32) for tensor in parts.values()], out=out)
        return True

    def now(self, title: str = "") -> Frame:
        """The frame of now, at once."""
        numbers = torch.empty(self.size, device=self.env.device)
        self.read(numbers)
        return self.frame(numbers.cpu(), title, everyone=self.env.num_envs == 1)

    def frame(self, numbers: Tensor, title: str = "", *, everyone: bool = False) -> Frame:
        """The frame of a vector that :meth:`read` has written, on the CPU; ``everyone``: no other environment is."""
        values, at = {}, 0
        for name, shape in self._shapes.items():
            values[name] = numbers[at : at + shape.numel()].view(shape)
            at += shape.numel()
        poses = {CHARACTER: (values["pos/0"].numpy(), values["rot/0"].numpy())}
        for number in range(1, len(self.env.engine.states)):
            poses[object_name(number)] = (values[f"pos/{number}"].numpy(), values[f"rot/{number}"].numpy())
        if "ref/body_pos" in values:
            poses[REFERENCE] = (values["ref/body_pos"].numpy(), values["ref/body_rot"].numpy())
        marks = {name[5:]: value.numpy() for name, value in values.items() if name.startswith("mark/")}
        return Frame(
            float(values["time"]),
            poses,
            title=title,
            forces=values["forces"].numpy(),
            bars=self._now if everyone else lambda: self._bars(values),
            curves={"action (rad)": values["command"].numpy(), "torque (N m)": self._torque(values)},
            points={
                "key bodies": poses[CHARACTER][0][self.env._key_bodies.cpu().numpy()],
                **{name: value for name, value in marks.items() if value.shape == (3,)},
            },
            arrows={name: value for name, value in marks.items() if value.shape == (2, 3)},
        )

    def _bars(self, values: dict[str, Tensor]) -> dict[str, float]:
        """The reward, its terms and the tracking errors, from what was copied."""
        found = {"reward": float(values["reward"])}
        if "ref/body_pos" not in values:
            return found
        sim, ref = (
            CharacterState(**{name: values[f"{side}/{name}"][None] for name in STATE}) for side in ("sim", "ref")
        )
        view = View(
            time=values["time"][None], motion_ids=values["motion_ids"][None].long(),
            motion_time=values["motion_time"][None], clip_end=torch.full((1,), torch.inf), character=sim,
            ground_contact_forces=values["forces"][None], reference=ref,
        )  # fmt: skip
        parts = self.env.reward_parts(view, everyone=False) if self.env.device.type == "cpu" else {}
        return found | _named(parts, tracking.tracking_errors(sim, ref)[0])

    def _now(self) -> dict[str, float]:
        """The same of the one environment that there is, as it is now."""
        env = self.env
        found = {"reward": float(env.reward[0])}
        if env.latest is None:
            return found
        return found | _named(env.reward_parts(env.latest), env.info["tracking_error"][0] if self._follows else ())

    def _torque(self, values: dict[str, Tensor]) -> np.ndarray:
        """Torques of the joints' controllers ``[D]``, by their gains and limits; in other modes the command."""
        command = values["command"].numpy()
        if self.env.engine.control_mode not in ("pos", "pd_explicit"):
            return command
        model = self._model
        torque = model.kp * (command - values["dof_pos"].numpy()) - model.kd * values["dof_vel"].numpy()
        return np.clip(torque, -model.torque_limits, model.torque_limits)


def _named(parts: Mapping[str, Tensor], errors: Iterable[Tensor]) -> dict[str, float]:
    values = dict(zip(tracking.NAMES, map(float, errors), strict=False))
    return {name: float(part) for name, part in parts.items()} | values


def object_name(number: int) -> str:
    """How an engine's object other than the character is called among the actors."""
    return f"object {number}"


def looks_of(env: ImitationEnv, scene: SceneSpec) -> dict[str, Look]:
    """What the objects of an env look like, the reference among them."""
    look, *others = (read_look(spec.asset_file) for spec in scene.objects)
    objects = {object_name(number): other for number, other in enumerate(others, 1)}
    return {CHARACTER: look, **({REFERENCE: look} if env.has_goal_pose else {}), **objects}
