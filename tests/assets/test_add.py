"""A character out of a robot's file: what is derived, what is written, what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mimickit_hydra.assets.add import add, derive
from mimickit_hydra.assets.trial import try_out
from mimickit_hydra.cli.main import main
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_yaml
from mimickit_hydra.motion.mjcf import read_robot

LEG = """<body name="{s}_thigh" pos="0 {y} 0"><joint name="{s}_hip" axis="{x} 0 0" range="-1 1" armature="0.01"/>
 <geom type="capsule" size="0.03" fromto="0 0 0 0 0 -0.3"/>
 <body name="{s}_shin" pos="0 0 -0.3"><joint name="{s}_knee" axis="0 1 0" range="0 2" armature="0.01"/>
  <geom type="capsule" size="0.03" fromto="0 0 0 0 0 -0.3"/>
  <body name="{s}_foot" pos="0 0 -0.3"><joint name="{s}_ankle" axis="0 1 0" range="-1 1" armature="0.01"/>
   <geom type="box" size="0.1 0.04 0.02" pos="0.04 0 -0.02"/></body></body></body>"""
BIPED = """<mujoco model="b"><compiler angle="radian"/><worldbody><body name="trunk" pos="0 0 2"><freejoint/>
 <geom type="box" size="0.1 0.1 0.1" mass="5"/>{legs}</body></worldbody>{more}</mujoco>"""


def biped(more="", x=1):
    return BIPED.format(legs=LEG.format(s="l", y=0.1, x=x) + LEG.format(s="r", y=-0.1, x=x), more=more)


@pytest.fixture
def conf(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("MIMICKIT_CONF", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "config" / "mimickit-hydra" / "conf"


def write(tmp_path, text, name="bot.xml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_biped_by_value(tmp_path, conf):
    added = add(write(tmp_path, biped()))
    values = read_yaml(conf / "character" / "bot.yaml")
    assert values["init_pose"][2] == pytest.approx(0.64)  # 0.3 + 0.3 + a foot that reaches 0.04 below its ankle
    assert values["key_bodies"] == values["end_effectors"] == values["contact_bodies"] == ["l_foot", "r_foot"]
    assert values["symmetry"] == {"l_thigh": "r_thigh", "l_shin": "r_shin", "l_foot": "r_foot"}
    assert values["gains"] == "from_armature"
    assert values["joint_err_w"] == [1, 0.6, 0.5] * 2
    signs = {joint: (partner, sign) for joint, partner, sign in added.anatomy.signs}
    assert (signs["l_hip"], signs["l_knee"]) == (("r_hip", -1), ("r_knee", 1))
    clip = np.load(conf.parent / "data" / "motions" / "bot" / "bot_stand.npz")
    np.testing.assert_allclose(clip["frames"][[0, -1]], np.tile(values["init_pose"], (2, 1)), atol=1e-4)


def test_a_key_frame_is_the_initial_pose(tmp_path, conf):
    qpos = "0 0 9 1 0 0 0  0 0.6 -0.3  0 0.6 -0.3"
    more = f'<keyframe><key name="zero" qpos="{"0 " * 3}1 {"0 " * 9}"/><key name="home" qpos="{qpos}"/></keyframe>'
    added = add(write(tmp_path, biped(more)))
    np.testing.assert_allclose(added.posed.values[6:], [0, 0.6, -0.3] * 2)
    assert "home" in added.posed.source
    assert 0.55 < added.posed.values[2] < 0.64


def test_bundled_characters_are_derived_as_they_are_written():
    for name, file, feet in (
        ("humanoid", "humanoid/humanoid.xml", ["right_foot", "left_foot"]),
        ("g1_mjlab", "g1_mjlab/g1_mjlab.xml", ["left_ankle_roll_link", "right_ankle_roll_link"]),
    ):
        path = bundled_data() / "assets" / file
        added = derive(path, name, str(path))
        stated = read_yaml(bundled_data().parents[1] / "conf" / "character" / f"{name}.yaml")
        assert added.anatomy.feet == feet
        assert added.values["anchor_body"] == stated["anchor_body"]
        assert set(added.values["end_effectors"]) == set(stated["end_effectors"])
        assert added.anatomy.notes == []


def test_a_urdf(tmp_path, conf):
    def link(name, size):
        return (
            f'<link name="{name}"><inertial><mass value="1"/><inertia ixx=".01" iyy=".01" izz=".01" ixy="0" ixz="0" '
            f'iyz="0"/></inertial><visual><geometry><mesh filename="package://no/where.dae"/></geometry></visual>'
            f'<collision><geometry><box size="{size}"/></geometry></collision></link>'
        )

    def joint(parent, child, place):
        return (
            f'<joint name="{child}_j" type="revolute"><parent link="{parent}"/><child link="{child}"/><origin '
            f'xyz="{place}"/><axis xyz="0 1 0"/><limit lower="-1" upper="1" effort="30" velocity="5"/></joint>'
        )

    text = (
        '<robot name="u">' + link("base", "0.2 0.3 0.2") + link("l_leg", "0.1 0.1 0.4") + link("r_leg", "0.1 0.1 0.4")
        + joint("base", "l_leg", "0 0.1 -0.3") + joint("base", "r_leg", "0 -0.1 -0.3") + "</robot>"
    )  # fmt: skip
    added = add(write(tmp_path, text, "u.urdf"))
    assert added.char_file == (conf.parent / "data" / "assets" / "u" / "u.xml").resolve()
    assert added.posed.values[2] == pytest.approx(0.5)
    np.testing.assert_allclose(added.robot.torque_limits, 30)
    assert added.gains == "from_inertia"
    assert any("free joint" in note for note in added.notes)
    bad = write(tmp_path, text.replace('<box size="0.1 0.1 0.4"/>', '<mesh filename="package://m/a.stl"/>'), "v.urdf")
    with pytest.raises(UserError, match="collides and is not there"):
        add(bad)
    assert not (conf / "character" / "v.yaml").exists()


REFUSED = {
    "no suffix": ("bot.txt", biped(), "must be an MJCF"),
    "lfs": ("bot.xml", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
    "no robot": ("bot.xml", "<mujoco/>", "needs exactly one body at the top level, found 0"),
    "no legs": ("bot.xml", BIPED.format(legs=LEG.format(s="l", y=0, x=1), more=""), "found 1 legs"),
    "no urdf": ("bot.urdf", "<sdf/>", "must be a URDF"),
    "taken": ("humanoid.xml", biped(), "but there is conf/character/humanoid.yaml"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_is_refused_is_one_line_and_writes_nothing(tmp_path, conf, case):
    name, text, message = REFUSED[case]
    with pytest.raises(UserError) as error:
        add(write(tmp_path, text, name))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(conf.rglob("*.yaml"))


def test_the_command_says_what_it_found_and_the_character_composes(tmp_path, conf, capfd):
    file = write(tmp_path, biped())
    assert main(["character", "add", str(file), "--name", "mybot", "--no-trial"]) == 0
    out = capfd.readouterr().out
    assert all(text in out for text in ("l_foot, r_foot", "from_armature", "character=mybot"))
    assert main(["train", "character=mybot", "--cfg", "job"]) == 0
    assert "mybot_stand" in capfd.readouterr().out
    assert main(["character", "add", str(file), "--name", "mybot"]) == 2
    assert main(["character", "add", str(file), "--name", "mybot", "--no-trial", "--force"]) == 0
    assert not (tmp_path / "MUJOCO_LOG.TXT").exists()


def test_the_trial_tells_what_is_wrong(tmp_path):
    path = write(tmp_path, biped())
    added = derive(path, "bot", str(path))
    good = try_out(path, added.posed.values, 50.0, added.anatomy.height)
    assert (len(good.seen), good.wrong) == (3, [])
    crossed = biped().replace('pos="0 0.1 0"', 'pos="0 0.01 0"').replace('pos="0 -0.1 0"', 'pos="0 -0.01 0"')
    path = write(tmp_path, crossed, "crossed.xml")
    wrong = try_out(path, added.posed.values, 50.0, added.anatomy.height).wrong
    assert any("l_foot and r_foot are" in line and "inside each other" in line for line in wrong)


def test_motion_mirror_takes_the_pairs_of_the_yaml(tmp_path, conf, capfd):
    file = write(tmp_path, biped().replace("l_", "one_").replace("r_", "two_"))
    add(file)
    words = ["motion", "mirror", "bot_stand", "--character", "bot", "-o", str(tmp_path / "m.npz")]
    assert main(words) == 0
    yaml = conf / "character" / "bot.yaml"
    yaml.write_text(yaml.read_text().replace("one_foot: two_foot", "one_foot: two_fot"))
    assert main(words) == 2
    assert "character.symmetry: found 'two_fot', must be a body of bot" in capfd.readouterr().err


POSITIONS = """<actuator><position joint="{0}_hip" kp="80" kv="4" forcerange="-50 50"/>
 <position joint="{0}_knee" kp="70" kv="3" forcerange="-40 40"/>
 <position joint="{0}_ankle" kp="60" kv="2" forcerange="-30 30"/></actuator>"""
HOME = '<keyframe><key name="home" qpos="0 0 9 1 0 0 0  0.1 0.6 -0.3  -0.1 0.6 -0.3"/></keyframe>'


def test_like_takes_angles_gains_and_settings_of_the_same_joints(tmp_path, conf):
    add(write(tmp_path, biped(HOME + POSITIONS.format("l") + POSITIONS.format("r")), "first.xml"))
    first = conf / "character" / "first.yaml"
    first.write_text(first.read_text().replace("zero_center_action: true", "") + "action_std: 0.2\n")
    bare = biped().replace('armature="0.01"/>\n <geom', 'armature="0"/>\n <geom')  # the hips
    text = bare.replace('name="r_ankle" axis="0 1 0"', 'name="r_ankle" axis="0 -1 0"')  # turns the other way
    motors = '<default><motor ctrlrange="-9 9"/></default><actuator><motor joint="l_knee"/></actuator>'
    for name, body in (("second", text), ("third", text.replace("</mujoco>", f"{motors}</mujoco>"))):
        path = write(tmp_path, body, f"{name}.xml")
        before = path.read_text()
        added = add(path, like="first")
        values = read_yaml(conf / "character" / f"{name}.yaml")
        np.testing.assert_allclose(values["init_pose"][6:], [0.1, 0.6, -0.3, -0.1, 0.6, 0.0], atol=1e-9)
        assert added.posed.source.startswith("5 of 6 joints as first's")
        assert (values["action_std"], values.get("zero_center_action")) == (0.2, None)
        assert path.read_text() == before
        if name == "third":  # one motor: the other joints are not driven, as the file says
            assert values["char_file"] == "data/assets/third/third.xml"
            np.testing.assert_allclose(added.robot.kp, [0, 70, 0, 0, 0, 0])
            np.testing.assert_allclose(added.robot.torque_limits[1], 9)  # the file's own limit
            continue
        robot = read_robot(conf.parent / values["char_file"])
        assert "gains" not in values
        np.testing.assert_allclose(robot.kp, [80, 70, 60] * 2)
        np.testing.assert_allclose(robot.kd, [4, 3, 2] * 2)
        np.testing.assert_allclose(robot.torque_high, [50, 40, 30] * 2)
        np.testing.assert_allclose(robot.armature, 0.01)  # the example's hips, its own elsewhere
    with pytest.raises(UserError, match="found 'firts', must be a character; nearest: first"):
        add(write(tmp_path, text, "fourth.xml"), like="firts")


def test_parts_inside_each_other_do_not_touch(tmp_path, conf):
    crossed = biped().replace('pos="0 0.1 0"', 'pos="0 0.026 0"').replace('pos="0 -0.1 0"', 'pos="0 -0.026 0"')
    added = add(write(tmp_path, crossed))
    pairs = [f"{side_a} and {side_b}" for side_a, side_b in (("l_foot", "r_foot"), ("l_shin", "r_shin"))]
    assert [any(pair in note and "do not touch" in note for note in added.notes) for pair in pairs] == [True, False]
    values = read_yaml(conf / "character" / "bot.yaml")
    own = conf.parent / values["char_file"]
    assert set(read_robot(own).parts["contact excludes"]) == {
        "l_foot and r_foot",
        "l_shin and r_foot",
        "l_foot and r_shin",
    }
    assert try_out(own, added.posed.values, added.gains, added.anatomy.height).wrong == []


def test_a_robot_without_a_key_frame_settles_where_it_stands(tmp_path, conf):
    legs = "".join(
        f"""<body name="{n}_leg" pos="{x} {y} 0"><joint name="{n}" axis="0 1 0" range="-1.2 0.4" armature="0.02"/>
        <geom type="capsule" size="0.03" fromto="0 0 0 0 0 -0.3"/></body>"""
        for n, x, y in (("fl", 0.2, 0.15), ("fr", 0.2, -0.15), ("rl", -0.2, 0.15), ("rr", -0.2, -0.15))
    )
    added = add(write(tmp_path, BIPED.format(legs=legs, more=""), "dog.xml"))
    assert added.posed.source.startswith("at the angles nearest to zero")
    assert "held for 2 s, after which it stands so" in added.posed.source
    np.testing.assert_allclose(added.posed.values[6:], 0.0, atol=0.02)
    assert added.posed.values[2] == pytest.approx(0.33, abs=0.005)
    falling = add(write(tmp_path, biped().replace('size="0.1 0.04 0.02" pos="0.04', 'size="0.01 0.01 0.02" pos="0.06')))
    assert falling.posed.source == "at the angles nearest to zero that the ranges allow (it has no key frame)"


def test_a_refusal_names_the_users_urdf(tmp_path, conf):
    text = """<robot name="u"><link name="a"/><link name="b"/><joint name="j" type="prismatic"><parent link="a"/>
    <child link="b"/><limit lower="0" upper="1" effort="1" velocity="1"/></joint></robot>"""
    with pytest.raises(UserError) as error:
        add(write(tmp_path, text, "u.urdf"))
    assert str(error.value) == f"{tmp_path / 'u.urdf'}: body 'b' must have no joint or hinges, found slide"
    assert not (conf.parent / "data" / "assets" / "u" / "u.xml").exists()


def test_the_root_is_turned_as_the_file_turns_it(tmp_path, conf):
    text = biped().replace('pos="0 0 2"', 'pos="0 0 2" quat="0.5 0.5 0.5 0.5"')  # y up, and headed somewhere else
    text = text.replace("<freejoint/>", '<freejoint/><body name="hips" quat="0.70710678 -0.70710678 0 0">')
    added = derive(write(tmp_path, text.replace("</worldbody>", "</body></worldbody>")), "bot", "bot.xml")
    np.testing.assert_allclose(added.posed.values[3:6], [np.pi / 2, 0, 0], atol=1e-6)
    assert added.posed.values[2] == pytest.approx(0.64, abs=1e-5)
    assert added.anatomy.feet == ["l_foot", "r_foot"]


def test_the_examples_character_is_what_the_command_writes(tmp_path, monkeypatch):
    example = Path(__file__).parents[2] / "examples" / "my_robot" / "my_robot"
    shutil.copytree(example / "data", tmp_path / "data")
    (tmp_path / "conf").mkdir()
    monkeypatch.setenv("MIMICKIT_CONF", str(tmp_path / "conf"))
    add(tmp_path / "data" / "assets" / "biped" / "biped.xml")
    written = (tmp_path / "conf" / "character" / "biped.yaml").read_text()
    assert written.replace("biped_stand", "biped_walk") == (example / "conf" / "character" / "biped.yaml").read_text()
