"""Operations on clips: cut, resample, mirror, loop, join, put on the ground, smooth.

Each returns a new clip of the same character and leaves every number as it is that does not have to change. Rotations
are interpolated on the sphere; joints that were not captured (NaN) stay so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel, JointType
from mimickit_hydra.motion.clip import ROOT_COLUMNS, LoopMode, MotionClip
from mimickit_hydra.motion.geometry import lowest_heights
from mimickit_hydra.motion.library import check_fits
from mimickit_hydra.motion.symmetry import Mirror

_SAME = 1e-6  # m or rad: less than this is no difference
_ON_FRAME = 1e-6  # of a frame: a time this near to one is on it
CLOSED = 0.1  # m or rad: a seam no wider than this is one that a motion goes on over
LEVEL = 1e-3  # m: a clip that stands this well is left where it is


def cut(clip: MotionClip, start: float = 0.0, end: float = math.inf) -> MotionClip:
    """The frames from ``start`` to ``end`` s, at the nearest frames; a part of a clip does not repeat.

    UserError where fewer than two frames are left.
    """
    if not (start <= end) or start < 0:
        raise UserError(f"{clip.label}: cut from {start:g} to {end:g} s; must be 0 <= start < end")
    first = round(start * clip.fps)
    last = clip.num_frames - 1 if end * clip.fps >= clip.num_frames - 1 else round(end * clip.fps)
    if last - first < 1:
        raise UserError(f"{clip.label}: no two frames from {start:g} to {end:g} s; it is {clip.length:g} s long")
    whole = last - first == clip.num_frames - 1
    return _with(clip, clip.frames[first : last + 1], loop_mode=clip.loop_mode if whole else LoopMode.CLAMP)


def resample(clip: MotionClip, character: CharacterModel, fps: float) -> MotionClip:
    """The clip at ``fps`` frames per second; frames that fall on frames of the clip are those.

    The length of a clip that repeats is kept, by the nearest rate that divides it; of another one what remains after
    its last whole frame, less than 1 / ``fps``, is dropped.
    """
    check_fits(clip, character)
    if not 0 < fps < math.inf:
        raise UserError(f"{clip.label}: {fps:g} frames per second; must be a number above 0")
    steps = clip.length * fps
    count = round(steps) if clip.loop_mode is LoopMode.WRAP or abs(steps - round(steps)) < 1e-3 else math.floor(steps)
    if count < 1:
        raise UserError(f"{clip.label}: is {clip.length:g} s long, less than a frame at {fps:g} Hz")
    rate = count / clip.length if clip.loop_mode is LoopMode.WRAP else fps
    if abs(rate - fps) < 1e-6 * fps:
        rate = fps
    if rate == clip.fps:
        return _with(clip, clip.frames)
    place = np.arange(count + 1) * (clip.fps / rate)
    place = np.where(np.abs(place - np.round(place)) < _ON_FRAME * (1 + place), np.round(place), place)
    place = place.clip(0, clip.num_frames - 1)
    before = np.floor(place).astype(int)
    after = np.minimum(before + 1, clip.num_frames - 1)
    return _with(clip, _blend(clip.frames[before], clip.frames[after], place - before, character), fps=rate)


def mirror(clip: MotionClip, character: CharacterModel, pairs: Mapping[str, str] | None = None) -> MotionClip:
    """The clip in the mirror of x and z, left and right exchanged. UserError where the character's sides differ.

    ``pairs`` as for :class:`.symmetry.Mirror`: what bodies are each other's image, where their names do not say so.
    """
    check_fits(clip, character)
    return _with(clip, Mirror(character, pairs or None).frames(clip.frames))


def loop(clip: MotionClip, character: CharacterModel, blend: float) -> MotionClip:
    """The clip, made to repeat: over its last ``blend`` s it turns into its first pose, wherever that is by then.

    UserError where the clip is shorter than that.
    """
    check_fits(clip, character)
    first, last = clip.frames[:1], clip.frames[-1:].copy()
    goal = first.copy()
    goal[:, :2] = last[:, :2]
    if _apart(last, goal, character) < _SAME:
        return _with(clip, clip.frames, loop_mode=LoopMode.WRAP)
    count = max(1, round(blend * clip.fps))
    if not blend >= 0 or count >= clip.num_frames:
        raise UserError(f"{clip.label}: a blend of {blend:g} s; must be less than its {clip.length:g} s")
    part = np.arange(1, count + 1) / count
    weights = part * part * (3.0 - 2.0 * part)  # smooth at both ends
    frames = clip.frames.copy()
    frames[-count:] = _shifted(clip.frames[-count:], last, goal, weights, character)
    frames[-1] = goal[0]
    return _with(clip, frames, loop_mode=LoopMode.WRAP)


def join(clips: Sequence[MotionClip], character: CharacterModel, blend: float = 0.0) -> MotionClip:
    """The clips one after the other, at the rate of the first, each where and as the one before it has ended.

    Each is moved over the ground and turned about the vertical, and ``blend`` s of both are faded into each other. A
    pose that both share is there once.
    """
    joined = clips[0]
    check_fits(joined, character)
    for clip in clips[1:]:
        following = resample(_with(clip, clip.frames, loop_mode=LoopMode.CLAMP), character, joined.fps)
        count = round(blend * joined.fps)
        if not blend >= 0 or count >= min(joined.num_frames, following.num_frames):
            raise UserError(f"{clip.label}: a blend of {blend:g} s; must be less than the length of both clips")
        start = joined.num_frames - max(count, 1)
        moved = _moved_to(following.frames, joined.frames[start])
        if count == 0:
            shared = _apart(joined.frames[-1:], moved[:1], character) < 10 * _SAME
            parts = [joined.frames, moved[int(shared) :]]
        else:
            weights = np.arange(1, count + 1) / (count + 1)
            parts = [joined.frames[:-count], _blend(joined.frames[-count:], moved[:count], weights, character)]
            parts.append(moved[count:])
        joined = _with(joined, np.concatenate(parts), loop_mode=LoopMode.CLAMP)
    return joined


def ground(clip: MotionClip, character: CharacterModel, below: float = 0.0) -> MotionClip:
    """The clip at the height where its lowest point stands on the ground, but for the share ``below`` of its frames.

    UserError where nothing of the character can touch it.
    """
    height = -ground_height(clip, character, below)
    if abs(height) < LEVEL:
        return _with(clip, clip.frames)
    frames = clip.frames.copy()
    frames[:, 2] += np.float32(height)
    return _with(clip, frames)


def ground_height(clip: MotionClip, character: CharacterModel, below: float = 0.0) -> float:
    """The height (m) of the lowest point of all frames, or of all but the share ``below`` of them."""
    check_fits(clip, character)
    frames = torch.from_numpy(clip.frames)
    joint_rot = character.to("cpu").dof_to_rot(frames[:, ROOT_COLUMNS:])
    lowest = lowest_heights(character, frames[:, :3], rot.exp_map_to_quat(frames[:, 3:ROOT_COLUMNS]), joint_rot)
    if lowest is None:
        raise UserError(f"{character.name}: nothing of it can touch the ground")
    return float(np.quantile(lowest.numpy(), below))


def smooth(clip: MotionClip, character: CharacterModel, cutoff: float) -> MotionClip:
    """The clip without what is faster than ``cutoff`` Hz: a Butterworth filter runs both ways, so it delays nothing.

    A clip that repeats is smoothed over its seam, where that is closed. Nothing changes where its rate is too low to
    hold anything so fast.
    """
    check_fits(clip, character)
    if not cutoff > 0:
        raise UserError(f"{clip.label}: a cutoff of {cutoff:g} Hz; must be above 0")
    if cutoff >= 0.5 * clip.fps:
        return _with(clip, clip.frames)
    from scipy.signal import butter, sosfiltfilt

    goal = clip.frames[:1].copy()
    goal[:, :2] = clip.frames[-1:, :2]
    closed = clip.loop_mode is LoopMode.WRAP and _apart(clip.frames[-1:], goal, character) < CLOSED
    around = clip.num_frames - 1 if closed else 0
    signals = _signals(_repeated(clip) if around else clip.frames, character)
    bad = np.isnan(signals)
    filtered = sosfiltfilt(
        butter(2, cutoff, fs=clip.fps, output="sos"), np.nan_to_num(signals), axis=0, padlen=min(15, len(signals) - 1)
    )
    rows = slice(around, around + clip.num_frames)
    frames = _of_signals(np.where(bad, np.nan, filtered)[rows], character)
    if around:  # the last pose is the first one again
        frames[-1, 2:] = frames[0, 2:]
    return _with(clip, frames)


# --------------------------------------------------------------------------------------------------------------- pieces


def _with(clip: MotionClip, frames: np.ndarray, **changes: object) -> MotionClip:
    own = {"frames": np.ascontiguousarray(frames, dtype=np.float32).copy(), "meta": dict(clip.meta), **changes}
    return dataclasses.replace(clip, **own)  # type: ignore[arg-type]


def _turns(character: CharacterModel) -> list[slice]:
    """The columns of every rotation vector: the root's and those of the spherical joints."""
    balls = [
        slice(ROOT_COLUMNS + character.dof_index[body], ROOT_COLUMNS + character.dof_index[body] + 3)
        for body, kind in enumerate(character.joint_types)
        if kind is JointType.SPHERICAL
    ]
    return [slice(3, ROOT_COLUMNS), *balls]


def _quats(rows: np.ndarray, turn: slice) -> Tensor:
    return rot.exp_map_to_quat(torch.from_numpy(np.asarray(rows[:, turn], dtype=np.float64)))


def _blend(a: np.ndarray, b: np.ndarray, weights: np.ndarray, character: CharacterModel) -> np.ndarray:
    """Poses between rows ``a`` and ``b`` ``[n, 6 + D]``, those themselves at weights ``[n]`` of 0 and 1."""
    column = weights[:, None]
    out = a + column * (b.astype(np.float64) - a)
    for turn in _turns(character):
        between = rot.slerp(_quats(a, turn), _quats(b, turn), torch.from_numpy(weights.astype(np.float64)))
        missing = np.isnan(a[:, turn]) | np.isnan(b[:, turn])
        out[:, turn] = np.where(missing, np.nan, rot.quat_to_exp_map(rot.quat_pos(between)).numpy())
    out = np.where(column == 0.0, a, np.where(column == 1.0, b, out))
    return out.astype(np.float32)


def _shifted(
    rows: np.ndarray, start: np.ndarray, goal: np.ndarray, weights: np.ndarray, character: CharacterModel
) -> np.ndarray:
    """``rows`` with the parts ``weights [n]`` of what leads from the pose ``start`` to the pose ``goal`` added."""
    out = rows + weights[:, None] * (goal.astype(np.float64) - start)
    for turn in _turns(character):
        whole = rot.quat_to_exp_map(rot.quat_pos(rot.quat_diff(_quats(start, turn), _quats(goal, turn))))
        parts = rot.exp_map_to_quat(torch.from_numpy(weights).unsqueeze(-1) * whole)
        turned = rot.quat_to_exp_map(rot.quat_pos(rot.quat_mul(parts, _quats(rows, turn))))
        out[:, turn] = np.where(np.isnan(rows[:, turn]), np.nan, turned.numpy())
    return out.astype(np.float32)


def _apart(a: np.ndarray, b: np.ndarray, character: CharacterModel) -> float:
    """The largest difference of two rows of poses, m or rad."""
    turns = _turns(character)
    angles = [float(rot.quat_diff_angle(_quats(a, turn), _quats(b, turn)).max()) for turn in turns]
    plain = np.ones(a.shape[1], dtype=bool)
    for turn in turns:
        plain[turn] = False
    return max(*angles, float(np.nanmax(np.abs(a[:, plain] - b[:, plain]))))


def _moved_to(frames: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """``frames`` moved over the ground and turned about the vertical so that the first has the place of ``pose``."""
    root = slice(3, ROOT_COLUMNS)
    turns = _quats(frames, root)
    angle = float(rot.heading(rot.quat_diff(turns[:1], _quats(pose[None], root)))[0])
    if abs(angle) < _SAME and np.abs(frames[0, :2] - pose[:2]).max() < _SAME:
        return frames
    about = torch.tensor([0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2)], dtype=torch.float64)
    out = frames.astype(np.float64)
    offset = torch.from_numpy(np.concatenate([out[:, :2] - out[0, :2], np.zeros((len(out), 1))], axis=1))
    out[:, :2] = pose[:2] + rot.quat_rotate(about, offset).numpy()[:, :2]
    out[:, root] = rot.quat_to_exp_map(rot.quat_pos(rot.quat_mul(about.expand_as(turns), turns))).numpy()
    return out.astype(np.float32)


def _repeated(clip: MotionClip) -> np.ndarray:
    """The clip three times, as it repeats."""
    step = np.zeros(clip.frames.shape[1])
    step[:2] = clip.frames[-1, :2] - clip.frames[0, :2]
    frames = clip.frames.astype(np.float64)
    return np.concatenate([frames[:-1] - step, frames, frames[1:] + step])


def _signals(frames: np.ndarray, character: CharacterModel) -> np.ndarray:
    """Columns that can be averaged: places and angles as they are, rotations as quaternions without sudden signs."""
    columns, at = [], 0
    for turn in _turns(character):
        quats = _quats(frames, turn).numpy()
        signs = np.sign((quats[1:] * quats[:-1]).sum(axis=1))
        quats[1:] *= np.cumprod(np.where(signs < 0, -1.0, 1.0))[:, None]
        missing = np.isnan(frames[:, turn]).any(axis=1, keepdims=True)
        columns += [frames[:, at : turn.start], np.where(missing, np.nan, quats)]
        at = turn.stop
    return np.concatenate([*columns, frames[:, at:]], axis=1)


def _of_signals(signals: np.ndarray, character: CharacterModel) -> np.ndarray:
    columns, at, behind = [], 0, 0
    for number, turn in enumerate(_turns(character)):
        start = turn.start + number  # every rotation before it has a column more
        quats = rot.quat_normalize(torch.from_numpy(signals[:, start : start + 4]))
        columns += [signals[:, at:start], rot.quat_to_exp_map(quats).numpy()]
        at = behind = start + 4
    return np.concatenate([*columns, signals[:, behind:]], axis=1).astype(np.float32)
