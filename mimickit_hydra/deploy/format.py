"""The names in an exported file, for those who write it and those who read it; imports nothing.

Beside mjlab's keys the file has one of ours, ``mimickit``: a table in JSON with every number in full. Positions are in
m, angles in rad, times in s, the world has z up, and quaternions are w, x, y, z, as MuJoCo's and mjlab's are.
"""

from __future__ import annotations

FORMAT = 1
FACTS = "mimickit"  # the table in JSON
SCENE = "mimickit_mjcf"  # the character on its ground, with its drives, as MJCF
OBSERVER = "mimickit_observer"  # a graph in base64: raw state -> obs, for a file whose own graph begins with obs
JUDGE = "mimickit_judge"  # likewise: raw state after a step -> reward, failure, and where there is a goal the command
CARD = "mimickit_card"  # the model card in Markdown

# What is measured of a robot, or read from a simulator: name -> what it is; D is the number of joint coordinates.
STATE = {
    "base_pos": "position of the base in the world, m",
    "base_quat": "rotation of the base in the world, w x y z",
    "base_lin_vel": "velocity of the base's origin in the world, m/s",
    "base_ang_vel": "angular velocity of the base in its own frame, as a gyroscope has it, rad/s",
    "dof_pos": "joint coordinates, rad; a joint of three DoFs is an exponential map",
    "dof_vel": "joint velocities, rad/s",
}
OTHERS = {
    "obs": "the observation: its terms one after the other",
    "time_step": "control steps since the clip began; a number that need not be whole",
    "latents": "the skill to follow, a vector of length one",
    "command": "where to go, as the env's task has it",
    "last_actions": "the output actions of the step before, 0 at first",
    "history": "the output readings of the steps before, the oldest first; at first those of the present, repeated",
}
OF_JUDGE = {
    "previous_actions": "the output actions of the step before the last, 0 at first",
    "contact_forces": "net force on each body from all that it touches, N",
    "ground_contact_forces": "the part of it that the ground exerts, N",
    "previous_base_pos": "base_pos before the step, m",
    "goal": "the goal of the task in the world: of location a place, m; of steering two directions and a speed, m/s",
}
REFERENCE = ("joint_pos", "joint_vel", "body_pos_w", "body_quat_w", "body_lin_vel_w", "body_ang_vel_w")
TARGETS = "joint_targets"  # what the joints' controllers are given, rad
