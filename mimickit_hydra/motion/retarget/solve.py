"""Inverse kinematics with mink: joint angles that bring a robot's points to their targets, frame after frame.

mink makes the Jacobians and the quadratic program of each step. The bounds of joints, by their ranges and by their
speed, are bounds of its variables rather than rows of constraints, which the solver DAQP takes in far less time; each
frame starts from the one before, so that a few steps are enough.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from mimickit_hydra.errors import UserError
from mimickit_hydra.mj import mujoco
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import ROOT_COLUMNS
from mimickit_hydra.motion.mjcf import Source, load
from mimickit_hydra.motion.retarget.skeletons import Skeleton
from mimickit_hydra.motion.retarget.targets import Targets

FIRST_STEPS, STEPS = 60, 3
# What a metre, and what a radian, of each point's error costs
_PLACE = {"pelvis": 2.0, "ankle": 12.0, "knee": 0.7, "elbow": 0.8, "wrist": 0.8}
_TURN = {"pelvis": 0.6, "chest": 0.2, "head": 0.1, "ankle": 1.0}
_REST = 0.02  # a radian away from the posture
_DAMPING = 2e-4
_NEAR = 1e-4  # rad and m of a step, less than which ends a frame


class Solver:
    """A robot's model for inverse kinematics, with a mark at each of its points and ball joints for triples."""

    def __init__(self, character: CharacterModel, skeleton: Skeleton, roles: list[str]) -> None:
        """``roles`` are the points with a target. UserError where mink is not installed, in one line."""
        self.mink = need_mink()
        if character.source is None:
            raise UserError(f"{character.name}: has no file; retargeting needs its MJCF")
        self.character = character
        self.model, self._bodies = _ik_model(load(character.source), skeleton)
        self.configuration = self.mink.Configuration(self.model)
        self._columns()
        self.tasks: dict[str, Any] = {}
        for role in roles:
            part = role.rpartition("_")[2]
            place, turn = _PLACE.get(part, 0.0), _TURN.get(part, 0.0)
            if place or turn:
                self.tasks[role] = self.mink.FrameTask(f"{role}*", "site", place, turn)
        cost = np.full(self.model.nv, _REST)
        cost[:6] = 0.0
        self.posture = self.mink.PostureTask(self.model, cost)

    def _columns(self) -> None:
        """Which coordinates of the model and of a clip each joint has; the order is the character's."""
        model, character = self.model, self.character
        hinges: list[tuple[int, int, int]] = []  # qpos, dof, column of the clip
        balls: list[tuple[int, int, int]] = []
        for body, name in enumerate(self._bodies):
            joint = int(model.body_jntadr[model.body(name).id])
            if body and character.dof_dim[body]:
                where = (int(model.jnt_qposadr[joint]), int(model.jnt_dofadr[joint]), character.dof_index[body])
                (balls if character.dof_dim[body] == 3 else hinges).append(where)
        self.hinge_q, self.hinge_v, self.hinge_c = np.array(hinges, dtype=int).reshape(-1, 3).T
        places = np.array(balls, dtype=int).reshape(-1, 3)
        self.ball_q = places[:, :1] + [1, 2, 3, 0]  # [balls, 4] in the order x y z w
        self.ball_c = places[:, 2:] + [0, 1, 2]
        self.is_ball = np.zeros(character.num_dofs, dtype=bool)
        self.is_ball[self.ball_c.ravel()] = True
        self.low, self.high = character.dof_low.astype(float), character.dof_high.astype(float)

    def qpos(self, row: np.ndarray) -> np.ndarray:
        """The model's coordinates of a clip's row ``[6 + D]``."""
        q = self.model.qpos0.copy()
        q[:3] = row[:3]
        q[3:7] = np.roll(Rotation.from_rotvec(row[3:ROOT_COLUMNS]).as_quat(), 1)
        dofs = row[ROOT_COLUMNS:]
        q[self.hinge_q] = dofs[self.hinge_c]
        if self.ball_q.size:
            q[self.ball_q] = Rotation.from_rotvec(dofs[self.ball_c]).as_quat()
        return q

    def row(self, q: np.ndarray) -> np.ndarray:
        """A clip's row of the model's coordinates, float64."""
        dofs = np.zeros(self.character.num_dofs)
        dofs[self.hinge_c] = q[self.hinge_q]
        if self.ball_q.size:
            dofs[self.ball_c] = Rotation.from_quat(q[self.ball_q]).as_rotvec()
        root = Rotation.from_quat(np.roll(q[3:7], -1)).as_rotvec()
        return np.concatenate([q[:3], root, dofs])

    def solve(self, targets: Targets, fps: float, max_speed: float, postures: np.ndarray) -> np.ndarray:
        """Rows ``[T, 6 + D]``. ``postures [T or 1, 6 + D]`` are kept to where the targets leave freedom.

        Where there is one for each frame, it is where the frame starts from.
        """
        poses = {role: self._target(targets, role) for role in self.tasks}
        reach = max_speed / fps
        rows: list[np.ndarray] = []
        row = postures[0].copy()
        if len(postures) == 1:
            row[:ROOT_COLUMNS] = self._root(targets, 0)
        row[ROOT_COLUMNS:] = np.clip(row[ROOT_COLUMNS:], self.low, self.high)
        for frame in range(len(targets.points["pelvis"])):
            posture = postures[min(frame, len(postures) - 1)]
            low, high = self.low, self.high
            if rows:
                last = rows[-1][ROOT_COLUMNS:]
                low = np.where(self.is_ball, low, np.maximum(low, last - reach))
                high = np.where(self.is_ball, high, np.minimum(high, last + reach))
            if len(postures) > 1:
                row = posture.copy()
                row[ROOT_COLUMNS:] = np.clip(row[ROOT_COLUMNS:], low, high)
            goals = {role: pose[frame] for role, pose in poses.items()}
            row = self._frame(row, goals, posture, (low, high), rows[-1][ROOT_COLUMNS:] if rows else None, reach)
            rows.append(row)
        return np.stack(rows)

    def _frame(
        self, row: np.ndarray, poses: dict[str, np.ndarray], posture: np.ndarray, bounds: tuple[np.ndarray, np.ndarray],
        last: np.ndarray | None, reach: float,
    ) -> np.ndarray:  # fmt: skip
        """The row of one frame, from ``row``; ``last [D]`` are the joints one frame before, None in the first."""
        (low, high), configuration = bounds, self.configuration
        configuration.update(self.qpos(row))
        self.posture.set_target(self.qpos(posture))
        for role, task in self.tasks.items():
            task.set_target(self.mink.SE3(poses[role]))
        tasks = [*self.tasks.values(), self.posture]
        for _ in range(FIRST_STEPS if last is None else STEPS):
            step = self._step(tasks, low, high)
            q = configuration.integrate(step, 1.0)
            self._bound_balls(q, last, reach)
            configuration.update(q)
            if np.abs(step).max() < _NEAR:
                break
        out = self.row(configuration.q)
        out[ROOT_COLUMNS:] = np.clip(out[ROOT_COLUMNS:], low, high)
        return out

    def _step(self, tasks: list[Any], low: np.ndarray, high: np.ndarray) -> np.ndarray:
        import qpsolvers

        problem = self.mink.build_ik(self.configuration, tasks, 1.0, _DAMPING, limits=[])
        lower, upper = np.full(self.model.nv, -0.7), np.full(self.model.nv, 0.7)  # rad or m of a step
        angle = self.configuration.q[self.hinge_q]
        lower[self.hinge_v] = np.clip(low[self.hinge_c] - angle, -0.7, 0.0)
        upper[self.hinge_v] = np.clip(high[self.hinge_c] - angle, 0.0, 0.7)
        problem.lb, problem.ub = lower, upper
        found = qpsolvers.solve_problem(problem, solver="daqp")
        if found.x is None or not np.isfinite(found.x).all():
            raise UserError(f"{self.character.name}: inverse kinematics found no step; are its points the right ones?")
        return np.asarray(found.x)

    def _bound_balls(self, q: np.ndarray, last: np.ndarray | None, reach: float) -> None:
        """Keep ball joints in their range and, from the coordinates ``last``, within ``reach`` rad."""
        if not self.ball_q.size:
            return
        turns = Rotation.from_quat(q[self.ball_q])
        if last is not None:
            before = Rotation.from_rotvec(last[self.ball_c])
            way = (before.inv() * turns).as_rotvec()
            turns = before * Rotation.from_rotvec(way / np.maximum(1.0, np.abs(way).max(axis=1, keepdims=True) / reach))
        vectors = np.clip(turns.as_rotvec(), self.low[self.ball_c], self.high[self.ball_c])
        q[self.ball_q] = Rotation.from_rotvec(vectors).as_quat()

    def _target(self, targets: Targets, role: str) -> np.ndarray:
        """Poses ``[T, 7]`` as mink has them: w x y z, then the place."""
        count = len(targets.points["pelvis"])
        turns, points = targets.turns.get(role), targets.points.get(role)
        quats = np.tile([1.0, 0.0, 0.0, 0.0], (count, 1))
        if turns is not None:
            quats = np.roll(Rotation.from_matrix(turns).as_quat(), 1, axis=1)
        return np.concatenate([quats, np.zeros((count, 3)) if points is None else points], axis=1)

    def _root(self, targets: Targets, frame: int) -> np.ndarray:
        """Roughly where the root is: where the pelvis is, turned as it is."""
        turn = Rotation.from_matrix(targets.turns["pelvis"][frame]).as_rotvec()
        return np.concatenate([targets.points["pelvis"][frame], turn])


def need_mink() -> Any:
    """mink, with its solver. UserError with one line where either is not installed."""
    try:
        import daqp  # noqa: F401
        import mink
    except ImportError as error:
        raise UserError(
            f"motion retarget: {error.name or 'mink'} is not installed; pip install 'mimickit-hydra[retarget]'"
        ) from None
    return mink


def _ik_model(source: Source, skeleton: Skeleton) -> tuple[Any, list[str]]:
    """The model of a robot whose root moves freely, and the names of its bodies."""
    spec = source.spec
    names = [body.name for body in source.bodies]
    if not source.root.joints:
        source.root.add_freejoint()
    for body, hinges in zip(source.bodies, source.hinges, strict=True):
        if len(hinges) == 3:
            place = np.array(body.joints[0].pos)
            for joint in list(body.joints):
                _forget(spec, joint.name)
                spec.delete(joint)
            body.add_joint(type=mujoco.mjtJoint.mjJNT_BALL, pos=place, limited=mujoco.mjtLimited.mjLIMITED_FALSE)
        for role, (name, offset) in skeleton.points.items():
            if name == body.name:
                body.add_site(name=f"{role}*", pos=offset)
    return spec.compile(), names


def _forget(spec: Any, joint: str) -> None:
    """Take out the actuators of a joint that goes."""
    for actuator in list(spec.actuators):
        if actuator.target == joint:
            spec.delete(actuator)
