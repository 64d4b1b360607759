"""What engine=isaac_gym takes of a file: the facts of MuJoCo's own reading, and one line for what it would lose."""

import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from mimickit_hydra.engines.interface import EngineError, ObjectSpec
from mimickit_hydra.engines.isaac_gym.asset import edited_copy, has_world_geoms, is_plain, read_asset
from mimickit_hydra.engines.isaac_gym.kinematics import Kinematics, exp_map_to_quat, quat_to_exp_map
from mimickit_hydra.engines.mujoco.model import read_object, read_values
from mimickit_hydra.engines.subprocess import wire
from mimickit_hydra.motion.robot import Robot

# g1_mjlab excludes contacts between four pairs of bodies, which this engine refuses by name.
ASSETS = [
    path
    for path in sorted((Path(__file__).parents[2] / "mimickit_hydra" / "data" / "assets").rglob("*.xml"))
    if path.stem != "g1_mjlab"
]


@pytest.mark.parametrize("path", ASSETS, ids=[path.stem for path in ASSETS])
def test_it_reads_what_mujoco_reads(path: Path) -> None:
    spec = ObjectSpec(path.stem, str(path))
    ours, theirs = read_asset(spec), read_object(spec)
    model = ours.model(spec, theirs.body_masses)
    assert model.body_names == theirs.body_names
    for name in ("parents", "dof_dims", "dof_low", "dof_high", "torque_limits", "kp", "kd"):
        np.testing.assert_allclose(getattr(model, name), getattr(theirs, name), rtol=1e-12, atol=1e-12, err_msg=name)
    source = mujoco.MjModel.from_xml_path(str(path))
    np.testing.assert_allclose(ours.local_pos[1:], source.body_pos[2:], atol=1e-12)
    np.testing.assert_allclose(ours.local_rot[1:], source.body_quat[2:][:, [1, 2, 3, 0]], atol=1e-12)


ODD = """<mujoco><compiler angle="degree"/>
<default><joint damping="3"/>
<default class="leg"><joint stiffness="7" range="-90 45" armature="0.1"/></default></default>
<worldbody><body name="root"><freejoint/><geom size="0.1"/>
  <body name="a" pos="0 0 0.3" quat="1 1 0 0" childclass="leg">
    <joint name="hinge" axis="0 0 2" pos="0.1 0 0"/><geom size="0.1"/>
    <body name="b" pos="0.2 0 0"><joint name="free" class="main" limited="false" range="-1 1"/><geom size="0.1"/></body>
  </body></body></worldbody></mujoco>"""


def test_degrees_classes_and_anchors(tmp_path: Path) -> None:
    path = tmp_path / "odd.xml"
    path.write_text(ODD)
    spec = ObjectSpec("odd", str(path))
    asset, theirs = read_asset(spec), read_object(spec)
    assert asset.dof_names == ["hinge", "free"]
    np.testing.assert_allclose(asset.dof_low, theirs.dof_low, rtol=1e-12)
    np.testing.assert_allclose(asset.dof_high, theirs.dof_high, rtol=1e-12)
    np.testing.assert_allclose(asset.kp, [7, 0])
    np.testing.assert_allclose(asset.kd, [3, 3])
    np.testing.assert_allclose(asset.armature, [0.1, 0])
    model, data = mujoco.MjModel.from_xml_path(str(path)), None
    data = mujoco.MjData(model)
    data.qpos[7:], data.qvel[:] = [0.4, -0.3], [0.1, 0.2, 0.3, 0, 0, 0.5, 1.5, -2.0]
    mujoco.mj_forward(model, data)
    row = lambda *values: torch.tensor([values])  # noqa: E731
    motion = Kinematics(asset)(
        row(0.0, 0.0, 0.0), row(0.0, 0.0, 0.0, 1.0), row(0.1, 0.2, 0.3), row(0.0, 0.0, 0.5), row(0.4, -0.3),
        row(1.5, -2.0),
    )  # fmt: skip
    np.testing.assert_allclose(motion.pos[0], data.xpos[1:], atol=1e-6)
    np.testing.assert_allclose(motion.rot[0], data.xquat[1:][:, [1, 2, 3, 0]], atol=1e-6)
    velocity = np.zeros(6)
    for body in range(3):
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body + 1, velocity, 0)
        np.testing.assert_allclose(motion.ang_vel[0, body], velocity[:3], atol=1e-6)
        np.testing.assert_allclose(motion.vel[0, body], velocity[3:], atol=1e-6)


def test_exponential_maps_there_and_back() -> None:
    maps = 3.0 * torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) - 1.5
    maps[0] = 0.0
    torch.testing.assert_close(quat_to_exp_map(exp_map_to_quat(maps)), maps, atol=1e-5, rtol=1e-5)
    beyond = torch.tensor([[0.0, 0.0, 4.0]])
    torch.testing.assert_close(quat_to_exp_map(exp_map_to_quat(beyond)), beyond - beyond / 4.0 * 2 * torch.pi)


def test_values_do_instead_of_the_file(tmp_path: Path) -> None:
    """As they arrive in another interpreter: plain data, and no MuJoCo to read the file again."""
    path = tmp_path / "odd.xml"
    path.write_text(ODD)
    spec = ObjectSpec("odd", str(path), gains=20.0)
    values = dataclasses.asdict(read_values(spec))
    path.write_text("nothing")
    sent = read_asset(dataclasses.replace(spec, robot=Robot.from_values(wire.unpack(wire.pack(values)))))
    np.testing.assert_allclose(sent.kp, [7, 20])
    np.testing.assert_allclose(mujoco.MjModel.from_xml_string(sent.plain).body_pos[2], [0, 0, 0.3])


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (ODD, True),
        (ODD.replace("quat=", "euler="), False),
        (ODD.replace("<geom", "<!-- a -- b --><geom"), False),
        (ODD.replace('axis="0 0 2"', 'axis="0 0 2" ref="1"'), False),
        (ODD.replace('angle="degree"', 'angle="degree" settotalmass="3"'), False),
        (ODD.replace("<worldbody>", "<worldbody/><worldbody>"), False),
    ],
)
def test_a_file_its_importer_may_misread_is_written_anew(tmp_path: Path, text: str, plain: bool) -> None:
    path = tmp_path / "odd.xml"
    path.write_text(text)
    assert is_plain(str(path)) is plain


def test_what_it_would_lose_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "odd.xml"
    path.write_text(ODD.replace("</mujoco>", '<equality><weld name="w" body1="root" body2="b"/></equality></mujoco>'))
    with pytest.raises(
        EngineError, match=r"odd\.xml: engine=isaac_gym does not simulate its equality w; use engine=mujo"
    ):
        read_asset(ObjectSpec("bad", str(path)))


def test_an_edited_copy_finds_its_meshes(tmp_path: Path) -> None:
    robot = tmp_path / "robot"
    (robot / "xml").mkdir(parents=True)
    (robot / "meshes").mkdir()
    (robot / "meshes" / "part.stl").write_text("solid")
    path = robot / "xml" / "robot.xml"
    path.write_text(
        "<mujoco><compiler meshdir='../meshes'/><asset><mesh file='part.stl'/></asset><worldbody><body>"
        "<geom size='1'/><geom type='mesh' mesh='part' contype='1'/></body></worldbody></mujoco>"
    )
    copy = Path(edited_copy(str(path), str(tmp_path / "out"), is_visual=True))
    geoms = list(ET.parse(copy).getroot().iter("geom"))
    assert [(geom.get("contype"), geom.get("conaffinity")) for geom in geoms] == [("0", "0")] * 2
    assert (copy.parent / "../meshes/part.stl").read_text() == "solid"


def test_a_copy_without_what_is_around_the_body(tmp_path: Path) -> None:
    path = tmp_path / "ball.xml"
    path.write_text("<mujoco><worldbody><geom type='plane'/><body><geom size='1'/></body></worldbody></mujoco>")
    assert has_world_geoms(str(path))
    copy = edited_copy(str(path), str(tmp_path / "out"), is_visual=False)
    assert not has_world_geoms(copy)
    assert [geom.attrib for geom in ET.parse(copy).getroot().iter("geom")] == [{"size": "1"}]
