"""Writes clips for other projects; each is read back without loss by :mod:`.importers`.

Every writer takes the file, the clip and its character, and returns what the file cannot hold, for the user.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch

from mimickit_hydra.errors import UserError
from mimickit_hydra.files import write_wanted
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel, JointType
from mimickit_hydra.motion.clip import CANNOT_WRITE, LoopMode, MotionClip


def write_csv(path: Path, clip: MotionClip, character: CharacterModel) -> str:
    """A table as of LAFAN1: metres, quaternion xyzw, radians, without a header."""
    _refuse(path, clip, character)
    rows = np.hstack([clip.frames[:, :3].astype(np.float64), _root(clip).numpy(), clip.frames[:, 6:]])
    text = "".join(",".join(f"{value:.9g}" for value in row) + "\n" for row in rows)
    write_wanted(path, lambda file: file.write(text.encode()), CANNOT_WRITE)
    lost = [f"its rate, --fps {clip.fps:g}"] * (clip.fps != 30.0) + _loop(clip)
    return f"say when it is imported: {', '.join(lost)}" if lost else ""


def write_mimickit(path: Path, clip: MotionClip, character: CharacterModel) -> str:
    """MimicKit's own pickle."""
    fps = int(clip.fps) if float(clip.fps).is_integer() else float(clip.fps)
    fields = {"loop_mode": int(clip.loop_mode), "fps": fps, "frames": clip.frames.tolist()}
    write_wanted(path, lambda file: pickle.dump(fields, file, protocol=4), CANNOT_WRITE)
    return ""


def write_mjlab(path: Path, clip: MotionClip, character: CharacterModel) -> str:
    """The ``.npz`` that mjlab tracks: joints and bodies in MuJoCo's order, with velocities of the bodies' origins.

    Joint velocities are central differences, one-sided at the ends; those of bodies are the rigid bodies' with them.
    """
    _refuse(path, clip, character)
    pos, quat, lin, ang, joint_vel = _kinematics(clip, character)
    fields = {
        "fps": np.array([clip.fps]),
        "joint_pos": clip.frames[:, 6:],
        "joint_vel": joint_vel,
        "body_pos_w": pos,
        "body_quat_w": np.roll(quat, 1, axis=-1),
        "body_lin_vel_w": lin,
        "body_ang_vel_w": ang,
    }
    names = {"joint_names": np.array(character.dof_columns()), "body_names": np.array(character.body_names)}
    arrays = {key: value if key == "fps" else value.astype(np.float32) for key, value in fields.items()}
    write_wanted(path, lambda file: np.savez(file, allow_pickle=False, **arrays, **names), CANNOT_WRITE)
    return f"say when it is imported: {', '.join(_loop(clip))}" if _loop(clip) else ""


def _kinematics(clip: MotionClip, character: CharacterModel) -> tuple[np.ndarray, ...]:
    """Positions, rotations, linear and angular velocities of all bodies in the world, and joint velocities."""
    character = character.to("cpu")
    frames = torch.from_numpy(clip.frames)
    root = _root(clip)
    pos, quat = character.forward_kinematics(frames[:, :3], root.float(), character.dof_to_rot(frames[:, 6:]))
    joint_vel, root_vel = _differences(frames[:, 6:].double(), clip.fps), _differences(frames[:, :3].double(), clip.fps)
    turned = clip.fps * rot.quat_to_exp_map(rot.quat_mul(root[2:], rot.quat_conj(root[:-2]))) / 2.0
    turned = turned if len(turned) else clip.fps * rot.quat_to_exp_map(rot.quat_diff(root[:1], root[1:2]))
    spin = torch.cat([turned[:1], turned, turned[-1:]])[: len(frames)]
    lin, ang = character.body_velocities(pos, quat, root_vel.float(), spin.float(), joint_vel.float())
    return pos.numpy(), rot.quat_unit(quat.double()).numpy(), lin.numpy(), ang.numpy(), joint_vel.numpy()


def _differences(x: torch.Tensor, fps: float) -> torch.Tensor:
    step = (x[1:] - x[:-1]) * fps
    return torch.cat([step[:1], (step[1:] + step[:-1]) / 2.0, step[-1:]])


def _root(clip: MotionClip) -> torch.Tensor:
    """Root rotations ``[T, 4]`` xyzw, float64."""
    return rot.exp_map_to_quat(torch.from_numpy(clip.frames[:, 3:6]).double())


def _loop(clip: MotionClip) -> list[str]:
    return ["that it repeats, --loop wrap"] * (clip.loop_mode is LoopMode.WRAP)


def _refuse(path: Path, clip: MotionClip, character: CharacterModel) -> None:
    """UserError for what the format has no place for."""
    if JointType.SPHERICAL in character.joint_types:
        raise UserError(
            f"{path}: this format has hinges only, and {character.name} has joints of three DoFs; --to mimickit_pkl"
        )
    if np.isnan(clip.frames).any():
        raise UserError(f"{path}: {clip.label} has joints without values (NaN), which this format has no place for")
