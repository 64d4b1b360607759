"""Warns of what is allowed but will disappoint, in settings, robot and clips, in a line each before training."""

from __future__ import annotations

from pathlib import Path

from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.dataset import run_clips
from mimickit_hydra.motion.mjcf import read_robot
from mimickit_hydra.motion.robot import Robot

FRAMES_LOOKED_AT = 20_000  # of a set: a second or two
LEARNS_AT = 240  # Hz, of MuJoCo's solver with implicit PD


def robot_of(run: RunConfig) -> Robot:
    """The run's robot, with the gains that it is given."""
    return read_robot(resolve_data_file(run.env.char_file, run.data_root), run.character.gains)


def advice(run: RunConfig) -> list[str]:
    """Lines of advice about the run, none for most runs; docs/engines says how each was found."""
    engine, robot = run.engine, robot_of(run)
    lines = [f"{run.env.char_file}: {line}" for line in robot.remarks(engine.control_mode)]
    if engine.engine_name.startswith("isaac") and robot.frictionloss.any():
        joints = robot.joints(robot.frictionloss != 0.0)
        lines.append(f"{run.env.char_file}: engine={engine.engine_name} does not simulate the frictionloss of {joints}")
    mujoco_solver = engine.engine_name in ("mujoco", "newton", "mjwarp") or getattr(engine, "physics", "") == "newton"
    if run.mode == "train" and mujoco_solver and engine.sim_freq < LEARNS_AT:
        lines.append(
            f"engine.sim_freq={engine.sim_freq}: with this physics policies hardly learned at 120 Hz where they did at "
            f"engine.sim_freq={LEARNS_AT}"
        )
    return [*lines, *_clips(run, robot)]


def _clips(run: RunConfig, robot: Robot) -> list[str]:
    """A line on the clips that ``mimickit motion check`` calls serious, if there are any."""
    if run.mode != "train" or not hasattr(run.env, "motion_file"):
        return []
    from mimickit_hydra.motion.check import SERIOUS, check_clip
    from mimickit_hydra.motion.geometry import SupportPoints
    from mimickit_hydra.motion.importers import import_clip

    character = CharacterModel.from_robot(robot, resolve_data_file(run.env.char_file, run.data_root))
    points = SupportPoints(character)
    files = [clip.file for clip in run_clips(run)]
    found: list[tuple[Path, str]] = []
    looked = frames = 0
    for file in files:
        if frames > FRAMES_LOOKED_AT:
            break
        looked += 1
        try:
            clip = import_clip(file, character=character)
            frames += clip.num_frames
            findings = check_clip(clip, character, points).findings
        except UserError:  # of another character, say: whoever builds the run tells
            continue
        if serious := [f"{one.check}: {one.detail}" for one in findings if one.status == SERIOUS]:
            found.append((file, "; ".join(serious)))
    if not found:
        return []
    file, what = found[0]
    of = f"the first {looked} of " if len(files) > looked else ""
    count = f"{len(found)} of {of}its {len(files)} clips have serious defects, the first is {file}: " * (len(files) > 1)
    look = f"mimickit motion check {file} --character {run.env.char_file}"
    return [f"{run.env.motion_file}: {count}{what}; see: {look}"]
