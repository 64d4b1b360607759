"""The tracking task beside mjlab's own functions: alignment, observations, rewards, terminations, metrics, clips."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from env_test_tools import GOLDEN
from torch import Tensor

from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.envs.track import mdp
from mimickit_hydra.envs.track.frames import ClipFrames, pose_of
from mimickit_hydra.envs.track.mdp import Facts, Moment, Pose
from mimickit_hydra.envs.track.schema import ContactParams, EncoderParams, ErrorParams
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode, MotionClip
from mimickit_hydra.motion.library import MotionLibrary
from mimickit_hydra.motion.rotations import quat_rotate, quat_to_exp_map

G1 = CharacterModel.from_file(bundled_data() / "assets/g1_mjlab/g1_mjlab.xml")
ROBOT, MDP = (dict(np.load(GOLDEN / f"tracking_{name}.npz")) for name in ("g1", "mdp"))
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
ACTOR = ("command", "motion_anchor_pos_b", "motion_anchor_ori_b", "base_lin_vel", "base_ang_vel", "joint_pos",
         "joint_vel", "actions")  # fmt: skip


def tensor(values: Any) -> Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float32))


def facts(anchor: str, bodies: list[str]) -> Facts:
    config = json.loads(str(MDP["shipped/config_json"]))
    return Facts(
        anchor=bodies.index(anchor),
        end_effectors=torch.tensor([bodies.index(name) for name in config["end_effectors"]]),
        default=tensor(ROBOT["default_joint_pos"]),
        balls=torch.zeros(0, dtype=torch.int64),
        low=tensor(ROBOT["joint_soft_range"][:, 0]),
        high=tensor(ROBOT["joint_soft_range"][:, 1]),
        imu_pos=tensor(ROBOT["imu_pos"]),
        substeps=4,
    )


def moment(case: str) -> tuple[Moment, Callable[[str], Tensor]]:
    def read(name: str) -> Tensor:
        return torch.tensor(MDP[f"{case}/in/{name}"])

    config = json.loads(str(MDP[f"{case}/config_json"]))
    rot = read("root_quat")
    robot = Pose(
        read("root_pos"), rot, read("root_lin_vel"), quat_rotate(rot, read("root_ang_vel_body")), read("joint_pos"),
        read("joint_vel"), *(read(f"body_{name}") for name in ("pos", "quat", "lin_vel", "ang_vel")),
    )  # fmt: skip
    bodies = [read(f"ref_body_{name}") for name in ("pos", "quat", "lin_vel", "ang_vel")]
    reference = Pose(*(part[:, 0] for part in bodies), read("ref_joint_pos"), read("ref_joint_vel"), *bodies)
    made = Moment(
        facts(config["anchor"], config["tracked_bodies"]), robot, reference, reference, read("action"),
        read("prev_action"), read("self_force_history").norm(dim=-1), read("encoder_bias"),
        aligned_at=(read("align_anchor_pos"), read("align_anchor_quat")),
    )  # fmt: skip
    return made, lambda name: torch.tensor(MDP[f"{case}/out/{name}"])


CASES = ("shipped", "anchor_pelvis")


@pytest.mark.parametrize("case", CASES)
def test_alignment(case: str) -> None:
    made, out = moment(case)
    torch.testing.assert_close(made.aligned[0], out("aligned_body_pos"), **CLOSE)
    torch.testing.assert_close((made.aligned[1] * out("aligned_body_quat")).sum(-1).abs().min(), torch.tensor(1.0))


@pytest.mark.parametrize("case", CASES)
def test_observations(case: str) -> None:
    made, out = moment(case)

    def observed(names: Any, encoder: bool) -> Tensor:
        params = {"joint_pos": EncoderParams(encoder=encoder)}
        return torch.cat([getattr(mdp, name)(made, params.get(name)) for name in names], dim=-1)

    torch.testing.assert_close(observed(ACTOR, True), out("actor_obs"), **CLOSE)
    torch.testing.assert_close(observed(MDP[f"{case}/critic_terms"], False), out("critic_obs"), **CLOSE)
    if case != "shipped":
        return
    blind = [name for name in ACTOR if name not in ("motion_anchor_pos_b", "base_lin_vel")]
    torch.testing.assert_close(observed(blind, True), out("actor_obs_no_state_estimation"), **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_rewards(case: str) -> None:
    made, out = moment(case)
    given = json.loads(str(MDP[f"{case}/config_json"]))["reward"]
    names = MDP[f"{case}/reward_names"].tolist()
    params = {name: ErrorParams(given[name]["std"]) if "std" in given[name] else ContactParams() for name in names}
    raw = torch.stack([getattr(mdp, name)(made, params[name]) for name in names], dim=-1)
    torch.testing.assert_close(raw, out("reward_raw"), **CLOSE)
    weights = tensor([given[name]["weight"] for name in names])
    torch.testing.assert_close((raw * weights).sum(-1) * 0.02, out("reward"), **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_terminations(case: str) -> None:
    made, out = moment(case)
    given = json.loads(str(MDP[f"{case}/config_json"]))["termination"]
    for column, name in enumerate(MDP[f"{case}/termination_names"].tolist()):
        if name != "time_out":
            found = getattr(mdp, name)(made) > given[name]["threshold"]
            assert torch.equal(found, out("termination")[:, column]), name


@pytest.mark.parametrize("case", CASES)
def test_metrics(case: str) -> None:
    made, out = moment(case)
    found = mdp.metrics(made)
    for column, name in enumerate(mdp.METRICS):
        torch.testing.assert_close(found[:, column], out(f"metric/error_{name}"), atol=1e-5, rtol=1e-5, msg=name)


def test_gradients_are_finite_where_the_robot_is_on_its_reference() -> None:
    made, _ = moment("shipped")
    for name in ("body_pos", "body_rot", "body_vel", "body_ang_vel"):
        setattr(made.robot, name, getattr(made.now, name).clone().requires_grad_())
    made.aligned_at = None
    made.robot.dof_pos = made.robot.dof_pos.clone().requires_grad_()
    total = sum(
        getattr(mdp, name)(made, ErrorParams(0.3)).sum()
        for name in ("motion_global_root_pos", "motion_global_root_ori", "motion_body_pos", "motion_body_ori",
                     "motion_body_lin_vel", "motion_body_ang_vel", "joint_limit")
    ) + mdp.body_ori(made).sum() + mdp.motion_anchor_ori_b(made).sum()  # fmt: skip
    total.backward()
    for name in ("body_pos", "body_rot", "body_vel", "body_ang_vel", "dof_pos"):
        assert torch.isfinite(getattr(made.robot, name).grad).all(), name


def test_kinematics_with_velocities() -> None:
    def read(name: str) -> Tensor:
        return torch.tensor(ROBOT[f"fk/{name}"])

    rot = read("in/root_quat")
    pose = pose_of(
        G1, torch.arange(30), read("in/root_pos"), rot, read("in/root_lin_vel"),
        quat_rotate(rot, read("in/root_ang_vel_body")), read("in/joint_pos"), read("in/joint_vel"),
    )  # fmt: skip
    torch.testing.assert_close(pose.body_pos, read("out/body_pos"), atol=2e-6, rtol=0)
    torch.testing.assert_close(pose.body_vel, read("out/body_lin_vel"), atol=3e-5, rtol=1e-5)
    torch.testing.assert_close(pose.body_ang_vel, read("out/body_ang_vel"), atol=3e-5, rtol=1e-5)
    made, _ = moment("shipped")
    still = Moment(made.facts, pose, pose, pose, *[torch.zeros(16, 29)] * 2, torch.zeros(16, 1), torch.zeros(29))
    torch.testing.assert_close(mdp.base_lin_vel(still), read("out/imu_lin_vel"), atol=3e-5, rtol=1e-5)
    torch.testing.assert_close(mdp.base_ang_vel(still), read("out/imu_ang_vel"), atol=3e-5, rtol=1e-5)


@pytest.mark.parametrize(("case", "atol", "velocity"), [("up", 2e-5, 6e-4), ("down", 2e-5, 6e-4), ("slow", 1e-3, 0.05)])
def test_clips_at_the_control_rate(case: str, atol: float, velocity: float) -> None:
    """Beside mjlab's converter, whose slerp holds rotations that are nearly the same, and whose last row is missing.

    Turns by less than 2e-5 rad count as none here (:data:`rotations.ANGLE_EPS`).
    """
    made = np.load(GOLDEN / "tracking_convert.npz")
    csv = made[f"{case}/in/csv"]
    rows = np.concatenate([csv[:, :3], quat_to_exp_map(torch.tensor(csv[:, 3:7])).numpy(), csv[:, 7:]], axis=1)
    clip = MotionClip(rows.astype(np.float32), float(made[f"{case}/in/input_fps"]), LoopMode.CLAMP, "made")
    frames = ClipFrames(MotionLibrary([clip], [1.0], G1), G1, range(30), 0.02, 10.0)
    found = frames.read(frames.take(torch.arange(int(frames.count[0]))))
    number = len(made[f"{case}/out/time"])
    assert int(frames.count[0]) in (number, number + 1)
    inside = slice(1, number - 1)
    for ours, theirs, close in (
        (found.root_pos, "root_pos", atol), (found.dof_pos, "joint_pos", atol), (found.dof_vel, "joint_vel", velocity),
        (found.root_vel, "root_lin_vel", velocity), (found.root_ang_vel, "root_ang_vel", velocity),
    ):  # fmt: skip
        wanted = torch.tensor(made[f"{case}/out/{theirs}"])[inside]
        torch.testing.assert_close(ours[:number][inside], wanted, atol=close, rtol=1e-5)
    turned = (found.root_rot[:number] * torch.tensor(made[f"{case}/out/root_quat"])).sum(-1).abs()
    assert float(turned.min()) > 1.0 - atol
    if f"{case}/npz/body_pos_w" in made:
        wanted = torch.tensor(made[f"{case}/npz/body_pos_w"])
        torch.testing.assert_close(found.body_pos[:number][inside], wanted[inside], atol=3e-5, rtol=1e-5)
        wanted = torch.tensor(made[f"{case}/npz/body_lin_vel_w"])
        torch.testing.assert_close(found.body_vel[:number][inside], wanted[inside], atol=1e-3, rtol=1e-4)
