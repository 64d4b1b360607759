"""Joint coordinates and forward kinematics against golden numbers and invariants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_motion import golden_character, load_golden
from hypothesis import given, settings
from hypothesis import strategies as st

from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel

TOL = 5e-6
Golden = dict[str, np.ndarray]


def align(actual: torch.Tensor, expected: np.ndarray) -> np.ndarray:
    """Flip quaternions ``[..., 4]`` to the sign of the expected ones."""
    a = actual.numpy()
    return np.where((a * expected).sum(-1, keepdims=True) < 0, -a, a)


def close(actual: torch.Tensor | np.ndarray, expected: np.ndarray, atol: float = TOL) -> None:
    np.testing.assert_allclose(np.asarray(actual), expected, atol=atol, rtol=TOL)


def test_layout(humanoid: CharacterModel, kinematics: Golden) -> None:
    assert (humanoid.num_bodies, humanoid.num_joints, humanoid.num_dofs) == (15, 14, 28)
    assert humanoid.dof_index == kinematics["char/dof_index"].tolist()
    assert humanoid.dof_dim == kinematics["char/dof_dim"].tolist()
    assert humanoid.body_names.index("left_foot") == 14


def test_dof_to_rot_and_back(humanoid: CharacterModel, kinematics: Golden) -> None:
    joint_rot = humanoid.dof_to_rot(torch.from_numpy(kinematics["dof/in/dof"]))
    close(align(joint_rot, kinematics["dof/out/joint_rot"]), kinematics["dof/out/joint_rot"])
    close(humanoid.rot_to_dof(joint_rot), kinematics["dof/out/dof_roundtrip"], atol=2e-5)


def test_forward_kinematics(humanoid: CharacterModel, kinematics: Golden) -> None:
    body_pos, body_rot = humanoid.forward_kinematics(
        torch.from_numpy(kinematics["dof/in/root_pos"]),
        torch.from_numpy(kinematics["dof/in/root_rot"]),
        humanoid.dof_to_rot(torch.from_numpy(kinematics["dof/in/dof"])),
    )
    close(body_pos, kinematics["dof/out/body_pos"])
    close(align(body_rot, kinematics["dof/out/body_rot"]), kinematics["dof/out/body_rot"])


def test_arbitrary_rotations_to_dof(humanoid: CharacterModel, kinematics: Golden) -> None:
    close(humanoid.rot_to_dof(torch.from_numpy(kinematics["rot/in/joint_rot"])), kinematics["rot/out/dof"], atol=2e-5)


def test_dof_velocity(humanoid: CharacterModel, kinematics: Golden) -> None:
    rot0, rot1, dt = (torch.from_numpy(kinematics[f"vel/in/{k}"]) for k in ("joint_rot0", "joint_rot1", "dt"))
    velocity = humanoid.dof_velocity(rot0, rot1, dt).numpy()
    error = np.abs(velocity - kinematics["vel/out/dof_vel"])
    assert (error <= 3e-6 / kinematics["vel/in/dt"][:, None] + 5e-6 * np.abs(velocity)).all()


def test_rest_rotations_and_leading_axes(humanoid: CharacterModel) -> None:
    """A tree with rest rotations equals the same tree with them moved into the joints."""
    generator = torch.Generator().manual_seed(3)
    rest = rot.quat_unit(torch.randn(15, 4, generator=generator))
    rest[0] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    turned = CharacterModel(
        "turned", humanoid.body_names, humanoid.parents, humanoid.local_pos.numpy(), rest.numpy(),
        humanoid.joint_types, humanoid.joint_axes.numpy(),
    )  # fmt: skip
    joint_rot = rot.quat_unit(torch.randn(2, 3, 14, 4, generator=generator))
    root_pos, root_rot = torch.randn(2, 3, 3, generator=generator), rot.quat_unit(torch.randn(2, 3, 4))
    actual = turned.forward_kinematics(root_pos, root_rot, joint_rot)
    expected = humanoid.forward_kinematics(root_pos, root_rot, rot.quat_mul(rest[1:], joint_rot))
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, atol=TOL, rtol=TOL)


vectors = st.lists(st.floats(-3.0, 3.0, width=32), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(vectors)
def test_exp_log_round_trip(values: list[float]) -> None:
    e = torch.tensor(values)
    q = rot.exp_map_to_quat(e)
    again = rot.exp_map_to_quat(rot.quat_to_exp_map(q))
    assert q[3] >= 0
    assert float(q.norm()) == pytest.approx(1.0, abs=1e-6)
    assert float(rot.quat_diff_angle(q, again)) < 3e-5
    if float(e.norm()) < 3.1:
        torch.testing.assert_close(rot.quat_to_exp_map(q), e, atol=3e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(vectors, vectors, st.integers(0, 2**31))
def test_fk_follows_rigid_motion(shift: list[float], turn: list[float], seed: int) -> None:
    character = golden_character(load_golden("kinematics_humanoid"))
    generator = torch.Generator().manual_seed(seed)
    joint_rot = character.dof_to_rot(torch.randn(28, generator=generator))
    root_rot = rot.quat_unit(torch.randn(4, generator=generator))
    g, t = rot.exp_map_to_quat(torch.tensor(turn)), torch.tensor(shift)
    pos, quat = character.forward_kinematics(torch.zeros(3), root_rot, joint_rot)
    pos2, quat2 = character.forward_kinematics(t, rot.quat_mul(g, root_rot), joint_rot)
    torch.testing.assert_close(pos2, rot.quat_rotate(g, pos) + t, atol=TOL, rtol=TOL)
    assert float(rot.quat_diff_angle(rot.quat_mul(g, quat), quat2).max()) < 1e-4


MJCF = """<mujoco model="toy"><compiler angle="radian"/>
<default><joint type="hinge" limited="true"/><geom type="capsule" size="0.05"/></default>
<worldbody><body name="base"><freejoint/><geom type="sphere" size="0.1"/>
  <body name="arm" pos="0 0 1" quat="0 0 0 2">{joints}<geom fromto="0 0 0 0.4 0 0"/>
    <body name="hand" pos="0.4 0 0"><geom type="box" size=".1 .2 .3"/></body></body>
</body></worldbody></mujoco>"""
XYZ = "".join(f'<joint name="shoulder_{a}" axis="{v}" range="-1 1.5"/>'
              for a, v in zip("xyz", ("1 0 0", "0 1 0", "0 0 1"), strict=True))  # fmt: skip


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "toy.xml"
    path.write_text(text)
    return path


def test_mjcf(tmp_path: Path) -> None:
    model = CharacterModel.from_file(write(tmp_path, MJCF.format(joints=XYZ)))
    assert model.body_names == ["base", "arm", "hand"]
    assert model.joint_types == [0, 2, 3]
    assert model.joint_names[1:] == ["shoulder", "hand"]
    close(model.local_rot[1], np.array([0.0, 0.0, 1.0, 0.0]))
    assert model.dof_low.tolist() == [-1.0] * 3
    assert model.dof_high.tolist() == [1.5] * 3
    assert model.dof_columns() == ["shoulder_x", "shoulder_y", "shoulder_z"]
    assert [geom.kind for geom in model.geoms] == ["sphere", "capsule", "box"]
    close(model.geoms[1].size, np.array([0.05, 0.2]))


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        ('<joint name="a" type="slide" range="0 1"/>', "must have no joint or hinges, found slide"),
        ('<joint name="a" axis="0 0 nought"/>', "not a valid MJCF"),
        ('<joint name="a" class="nothing"/>', "nothing"),
        ('<include file="x.xml"/>', "x.xml"),
        ('<body name="hand"/>', "repeated name 'hand'"),
        ("<body>", "not a valid MJCF"),
    ],
)
def test_bad_mjcf(tmp_path: Path, joints: str, message: str) -> None:
    path = write(tmp_path, MJCF.format(joints=joints))
    with pytest.raises(UserError, match=message) as error:
        CharacterModel.from_file(path)
    assert "\n" not in str(error.value)
    assert "toy.xml" in str(error.value)


def test_missing_and_wrong_type(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        CharacterModel.from_file(tmp_path / "nothing.xml")
    with pytest.raises(UserError, match="must be MJCF"):
        CharacterModel.from_file(tmp_path / "robot.urdf")


def test_bundled_humanoid_is_the_golden_one(kinematics: Golden) -> None:
    model = CharacterModel.from_file(bundled_data() / "assets" / "humanoid" / "humanoid.xml")
    assert model.name == str(kinematics["char/name"])
    assert model.body_names == kinematics["char/body_names"].tolist()
    assert model.joint_names[1:] == kinematics["char/joint_names"].tolist()[1:]
    assert model.parents == kinematics["char/parent"].tolist()
    assert model.joint_types == kinematics["char/joint_type"].tolist()
    close(model.local_pos, kinematics["char/local_pos"])
    close(model.local_rot, kinematics["char/local_rot"])
    close(model.joint_axes, kinematics["char/joint_axis"])
    close(model.dof_low, kinematics["char/dof_low"], atol=1e-4)
    close(model.dof_high, kinematics["char/dof_high"], atol=1e-4)
