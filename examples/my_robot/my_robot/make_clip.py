"""Makes the walk that the robot imitates: python -m my_robot.make_clip OUT.npz

A clip is a table of poses: root position (m), root rotation (exponential map, rad), then the joints in the order in
which the MJCF names them. Here the feet go round half ellipses and inverse kinematics gives the joints.
"""

import sys

import numpy as np

from mimickit_hydra.motion.clip import LoopMode, MotionClip, save_clip

FPS = 30
PERIOD = 0.8  # s, two steps
STEP = 0.16  # m, how far a foot gets while it is on the ground
LIFT = 0.04  # m
SWAY = 0.02  # m, to the side of the foot that stands
LINK = 0.2  # m, of the thigh and of the shin
HIP, SOLE = 0.37, 0.05  # m, from the ankle that stands to the hip, from the ground to that ankle


def leg(phase: np.ndarray, sway: np.ndarray) -> np.ndarray:
    """Hip roll, hip pitch, knee and ankle ``[T, 4]`` (rad); the foot stands for the first half of the phase."""
    turn = np.where(phase < 0.5, 0.0, 2.0 * np.pi * (phase - 0.5))
    x = np.where(phase < 0.5, STEP * (0.5 - 2.0 * phase), -0.5 * STEP * np.cos(turn))
    roll = np.arctan2(-sway, HIP)
    down = (HIP - LIFT * np.sin(turn)) / np.cos(roll)
    knee = 2.0 * np.arccos(np.hypot(x, down) / (2.0 * LINK))
    pitch = np.arctan2(-x, down) - 0.5 * knee
    return np.stack([roll, pitch, knee, -pitch - knee], axis=-1)  # the ankle keeps the sole level


def walk() -> MotionClip:
    time = np.arange(round(PERIOD * FPS) + 1) / FPS  # the last frame is the first one, further on
    phase = time / PERIOD
    sway = SWAY * np.sin(2.0 * np.pi * phase)
    root = np.zeros((len(time), 6))
    root[:, 0] = 2.0 * STEP * phase
    root[:, 1] = -sway
    root[:, 2] = HIP + SOLE
    frames = np.concatenate([root, leg(phase % 1.0, -sway), leg((phase + 0.5) % 1.0, -sway)], axis=-1)
    return MotionClip(frames, FPS, LoopMode.WRAP, "biped_walk", {"source": "my_robot.make_clip"})


if __name__ == "__main__":
    save_clip(sys.argv[1], walk())
