"""Tries a new robot out in MuJoCo: drops it, lets its joints hold a pose, and turns each joint through its range."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mimickit_hydra.engines.interface import ObjectSpec, SceneSpec
from mimickit_hydra.engines.mujoco.model import CompiledScene, build_model, exp_map_to_quat_wxyz
from mimickit_hydra.mj import mujoco

HZ = 240
SECONDS = 2.0
DROP = 0.1  # of its height
DEEP = 0.01  # m, that one part may be in another
FALLEN = 0.3  # of the height of its root
UPRIGHT = 0.8  # cosine of the angle that its root may turn


@dataclass
class Trial:
    """What was seen: lines of what happened, and lines of what looks wrong."""

    seen: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def try_out(char_file: Path, pose: np.ndarray, gains: Any, height: float) -> Trial:
    """Try a robot of ``height`` m out from its pose ``[6 + D]``. UserError where it cannot be simulated."""
    trial = Trial()
    _drop(_build(char_file, gains, "none"), pose, height, trial)
    scene = _build(char_file, gains, "pos")
    _hold(scene, pose, height, trial)
    _turn(scene, pose, trial)
    return trial


def overlaps(char_file: Path, pose: np.ndarray, gains: Any) -> dict[tuple[str, str], float]:
    """The pairs of bodies that are inside each other in a pose ``[6 + D]``, and how far, m."""
    scene = _build(char_file, gains, "none")
    return _touching(scene, _put(scene, _above(pose)))


def settle(char_file: Path, pose: np.ndarray, gains: Any) -> np.ndarray | None:
    """The pose ``[6 + D]`` that a robot has come to after it was held in ``pose``; None where it does not stand."""
    scene = _build(char_file, gains, "pos")
    data, layout = _put(scene, pose), scene.layouts[0]
    if _run(scene, data) < np.inf or _fell(scene, data, pose):
        return None
    out, root = pose.copy(), layout.root_qpos
    mujoco.mju_quat2Vel(out[3:6], data.qpos[root + 3 : root + 7], 1.0)
    out[6:][layout.hinge_cols] = data.qpos[layout.hinge_qpos]
    out[6:] = np.clip(out[6:], layout.model.dof_low, layout.model.dof_high)
    return out


def _build(char_file: Path, gains: Any, mode: str) -> CompiledScene:
    return build_model(SceneSpec((ObjectSpec("robot", str(char_file), gains=gains),)), mode, 1.0 / HZ)


def _put(scene: CompiledScene, pose: np.ndarray) -> Any:
    layout, data = scene.layouts[0], mujoco.MjData(scene.model)
    root = layout.root_qpos
    data.qpos[root : root + 3] = pose[:3]
    data.qpos[root + 3 : root + 7] = exp_map_to_quat_wxyz(pose[3:6])
    dofs = pose[6:]
    data.qpos[layout.hinge_qpos] = dofs[layout.hinge_cols]
    data.qpos[layout.ball_qpos] = exp_map_to_quat_wxyz(dofs[layout.ball_cols].reshape(-1, 3)).reshape(-1)
    if scene.model.nu:
        data.ctrl[layout.ctrl] = dofs
    mujoco.mj_forward(scene.model, data)
    return data


def _run(scene: CompiledScene, data: Any) -> float:
    """Simulate; the time at which it exploded, or infinity."""
    for step in range(round(SECONDS * HZ)):
        mujoco.mj_step(scene.model, data)
        if data.warning[int(mujoco.mjtWarning.mjWARN_BADQACC)].number or not np.isfinite(data.qpos).all():
            return step / HZ
    return np.inf


def _drop(scene: CompiledScene, pose: np.ndarray, height: float, trial: Trial) -> None:
    high = pose.copy()
    high[2] += DROP * height
    data = _put(scene, high)
    end = _run(scene, data)
    if end < np.inf:
        trial.wrong.append(f"dropped without control it explodes after {end:.2f} s")
        return
    layout = scene.layouts[0]
    low, speed = float(data.xpos[layout.body_ids, 2].min()), float(np.abs(data.qvel).max())
    if low < -0.1 * height:
        trial.wrong.append(f"dropped, it falls through the ground (a body at {low:.2f} m)")
    trial.seen.append(f"drop from {DROP * height:.2f} m, no control: root at {data.qpos[2]:.2f} m after {SECONDS:g} s, "
                      f"largest speed {speed:.2g}")  # fmt: skip


def _hold(scene: CompiledScene, pose: np.ndarray, height: float, trial: Trial) -> None:
    data = _put(scene, pose)
    end = _run(scene, data)
    if end < np.inf:
        trial.wrong.append(f"holding its pose it explodes after {end:.2f} s: gains too high for its inertia at {HZ} Hz")
        return
    layout, model = scene.layouts[0], scene.model
    sunk = float(pose[2] - data.qpos[layout.root_qpos + 2])
    names = [model.body(int(b)).name.partition("/")[2] for b in layout.body_ids]
    joints = [names[k] for k, dim in enumerate(layout.model.dof_dims) for _ in range(int(dim))]
    if len(layout.hinge_cols):
        off = np.abs(data.qpos[layout.hinge_qpos] - pose[6:][layout.hinge_cols])
        worst = int(off.argmax())
        text = f", joints off by {off[worst]:.2f} rad at most ({joints[layout.hinge_cols[worst]]})"
    else:
        text = ""
    fell = _fell(scene, data, pose)
    what = "it falls over, as most do without a policy" if fell else f"it stands, {sunk * 100:.1f} cm lower"
    trial.seen.append(f"PD hold: after {SECONDS:g} s {what}{text}")
    limits = layout.model.torque_limits
    force = np.abs(data.actuator_force[layout.ctrl])
    full = [joints[k] for k in np.flatnonzero((force >= 0.999 * limits) & (limits > 0))]
    if full and not fell:
        trial.wrong.append(f"holding its pose takes all the torque of {', '.join(full[:6])}")


def _fell(scene: CompiledScene, data: Any, pose: np.ndarray) -> bool:
    """Whether the root has sunk far or leans far from where it was in ``pose``."""
    root, turns = scene.layouts[0].root_qpos, np.zeros((2, 9))
    mujoco.mju_quat2Mat(turns[0], data.qpos[root + 3 : root + 7])
    mujoco.mju_quat2Mat(turns[1], exp_map_to_quat_wxyz(pose[3:6]))
    cosine = float(turns[0, [2, 5, 8]] @ turns[1, [2, 5, 8]])
    return pose[2] - data.qpos[root + 2] > FALLEN * pose[2] or cosine < UPRIGHT


def _above(pose: np.ndarray) -> np.ndarray:
    """The pose, far from the ground."""
    high = pose.copy()
    high[2] += 10.0
    return high


def _turn(scene: CompiledScene, pose: np.ndarray, trial: Trial) -> None:
    """Turn each hinge to both ends, high above the ground, and look for parts inside each other."""
    layout = scene.layouts[0]
    high = _above(pose)
    rest = _touching(scene, _put(scene, high))
    for pair, depth in rest.items():
        trial.wrong.append(f"in its initial pose {' and '.join(pair)} are {depth * 1000:.0f} mm inside each other: "
                           "exclude the pair in the file")  # fmt: skip
    found: dict[tuple[str, str], int] = {}
    turned = 0
    for dof in layout.hinge_cols:
        for end in (layout.model.dof_low[dof], layout.model.dof_high[dof]):
            if abs(end) > 1e3:
                continue
            turned += 1
            other = high.copy()
            other[6 + dof] = end
            for pair in _touching(scene, _put(scene, other)):
                if pair not in rest:
                    found[pair] = found.get(pair, 0) + 1
    pairs = (
        f"; at the ends {len(found)} pairs of parts meet: {', '.join(' and '.join(pair) for pair in list(found)[:4])}"
        if found
        else ""
    )
    trial.seen.append(f"turned {turned} ends of ranges{pairs}")


def _touching(scene: CompiledScene, data: Any) -> dict[tuple[str, str], float]:
    """The pairs of bodies that are more than DEEP inside each other, with how much, m."""
    model = scene.model
    found: dict[tuple[str, str], float] = {}
    for contact in data.contact[: data.ncon]:
        if contact.dist < -DEEP:
            first, second = sorted(model.body(int(model.geom_bodyid[g])).name.partition("/")[2] for g in contact.geom)
            found[first, second] = max(found.get((first, second), 0.0), -float(contact.dist))
    return found


__all__ = ["SECONDS", "Trial", "overlaps", "settle", "try_out"]
