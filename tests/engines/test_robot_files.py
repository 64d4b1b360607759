"""What a robot's file says is what is simulated: MuJoCo's own simulation of the plain file is the judge."""

from pathlib import Path
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
import torch

from mimickit_hydra.engines.interface import ObjectSpec, ResetState, SceneSpec
from mimickit_hydra.engines.mujoco.engine import MujocoEngine
from mimickit_hydra.engines.mujoco.model import read_object
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.mjcf import read_robot

FILES = Path(__file__).parent / "data" / "mjcf"
REFUSED = {  # the first two by MuJoCo itself
    "autolimits_false": "joint has `range` but not `limited`",
    "default_named_top": "top-level default class 'main' cannot be renamed",
    "contact_pair": "repeated name 'l_leg'",
    "root_slides": "the root, 'trunk', may have a free joint or none, found slide, slide, hinge",
    "slide": "must have no joint or hinges, found slide",
}
USABLE = sorted(path.stem for path in FILES.glob("*.xml") if path.stem not in REFUSED)
SPLIT = ("two_hinges", "zyx_hinges")
HZ = 240


def engine_of(file, mode="pos", num_envs=2, **options):
    config = SimpleNamespace(
        control_mode=mode, control_freq=30, sim_freq=HZ, iterations=100, ls_iterations=50, impratio=10.0, num_threads=1
    )
    return MujocoEngine(config, SceneSpec((ObjectSpec("robot", str(file), **options),)), num_envs)


class Plain:
    """MuJoCo's simulation of the file as it is, on our ground and with our solver's settings."""

    def __init__(self, file):
        spec = mujoco.MjSpec.from_file(str(file))
        for element in [*spec.worldbody.geoms, *spec.keys]:
            spec.delete(element)
        spec.worldbody.add_geom(
            name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], condim=3, friction=[1, 0.005, 0.0001],
            contype=1, conaffinity=0x7FFFFFFF,
        )  # fmt: skip
        spec.compiler.balanceinertia = True
        self.model = spec.compile()
        option = self.model.opt
        option.integrator, option.solver = mujoco.mjtIntegrator.mjINT_IMPLICITFAST, mujoco.mjtSolver.mjSOL_NEWTON
        option.cone, option.iterations, option.ls_iterations = mujoco.mjtCone.mjCONE_PYRAMIDAL, 100, 50
        option.impratio, option.tolerance, option.timestep = 10.0, 1e-8, 1.0 / HZ
        self.data = mujoco.MjData(self.model)

    def put(self, root_pos, quat_wxyz, dof_pos):
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:7] = [*root_pos, *quat_wxyz]
        self.data.qpos[7:] = dof_pos
        mujoco.mj_forward(self.model, self.data)

    def body_pos(self, names):
        return np.stack([self.data.body(name).xpos for name in names])


def named(robot, plain):
    """The robot's body names as the plain model knows them: ids of unnamed bodies."""
    first = plain.model.body_rootid[plain.model.jnt_bodyid[0]]
    ids = [b for b in range(1, plain.model.nbody) if plain.model.body_rootid[b] == first]
    assert len(ids) == len(own(robot))
    return ids


def own(robot):
    """The bodies that the file has itself: all but those that give each of several hinges a body of its own."""
    split = {name.partition("/")[0] for name in robot.body_names} if robot.name in SPLIT else set()
    return [k for k, name in enumerate(robot.body_names) if "/" not in name or name.partition("/")[0] not in split]


def put(engine, root_pos, quat_wxyz, dof_pos):
    n, d = engine.num_envs, engine.models[0].num_dofs
    rows = [torch.tensor(np.asarray(x), dtype=torch.float32).repeat(n, 1) for x in (root_pos, np.roll(quat_wxyz, -1))]
    pos = torch.tensor(np.asarray(dof_pos), dtype=torch.float32).repeat(n, 1)
    zeros = [torch.zeros(n, 3), torch.zeros(n, 3)]
    engine.reset(torch.ones(n, dtype=torch.bool), {0: ResetState(*rows, *zeros, pos, torch.zeros(n, d))})


def random_pose(seed, dofs):
    rng = np.random.default_rng(seed)
    quat = rng.normal(size=4)
    return (
        np.float32([0.1, 0.2, 3.0]),
        np.float32(quat / np.linalg.norm(quat)),
        np.float32(rng.uniform(-0.7, 0.3, dofs)),
    )


@pytest.mark.parametrize("name", USABLE)
def test_bodies_are_where_mujoco_has_them(name):
    file = FILES / f"{name}.xml"
    plain, robot, engine = Plain(file), read_robot(file), engine_of(file)
    ids, rows = named(robot, plain), own(robot)
    character = CharacterModel.from_robot(robot)
    for seed in range(3):
        pose = random_pose(seed, robot.num_dofs)
        plain.put(*pose)
        want = plain.data.xpos[ids]
        put(engine, *pose)
        np.testing.assert_allclose(engine.states[0].body_pos[0, rows], want, atol=1e-5)
        root, quat, dof = (torch.tensor(part) for part in pose)
        got, _ = character.forward_kinematics(root, quat[[1, 2, 3, 0]], character.dof_to_rot(dof))
        np.testing.assert_allclose(got[rows], want, atol=1e-5)
    np.testing.assert_allclose(engine.models[0].body_masses[rows], plain.model.body_mass[ids], rtol=1e-12)
    compiled = engine.scene.model
    for field in ("body_mass", "body_inertia", "body_ipos", "body_gravcomp"):
        ours = getattr(compiled, field)[engine.scene.layouts[0].body_ids[rows]]
        np.testing.assert_allclose(ours, getattr(plain.model, field)[ids], rtol=1e-9, err_msg=field)
    hinges = plain.model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
    limited = plain.model.jnt_limited[hinges].astype(bool)
    low, high = plain.model.jnt_range[hinges].T
    np.testing.assert_allclose(robot.dof_low, np.where(limited, low, -1e10))
    np.testing.assert_allclose(robot.dof_high, np.where(limited, high, 1e10))


def follow(engine, plain, ids, steps, atol, command=None, ctrl=None, rows=slice(None)):
    """Step both, and compare where the bodies are."""
    engine.set_command(torch.zeros(2, engine.models[0].num_dofs) if command is None else command)
    if ctrl is not None:
        plain.data.ctrl[:] = ctrl
    for _ in range(steps):
        engine.step()
        for _ in range(HZ // 30):
            mujoco.mj_step(plain.model, plain.data)
        mujoco.mj_kinematics(plain.model, plain.data)
        np.testing.assert_allclose(engine.states[0].body_pos[0, rows], plain.data.xpos[ids], atol=atol)


@pytest.mark.parametrize("name", [name for name in USABLE if name != "zyx_hinges"])  # MuJoCo's own explodes, undamped
def test_a_file_moves_as_mujoco_moves_it(name):
    """In the air and then onto the ground, with its controls at zero: a spring of the file is then a drive to zero."""
    file = FILES / f"{name}.xml"
    plain, engine = Plain(file), engine_of(file)
    robot = read_robot(file)
    ids = named(robot, plain)
    for height, steps in ((3.0, 10), (0.5, 12)):
        _, quat, dof = random_pose(1, engine.models[0].num_dofs)
        pose = (np.float32([0, 0, height]), quat, dof)
        plain.put(*pose)
        put(engine, *pose)
        follow(engine, plain, ids, steps, rows=own(robot), atol=1e-4)


def test_a_simulators_settings_are_the_engines(tmp_path, capfd):
    world = '<option gravity="0 0 -1" density="1.2" timestep="0.01" iterations="3" cone="elliptic"/><size njmax="9"/>'
    file = legs(tmp_path, joint='stiffness="20"', top=world)
    assert read_robot(file).notes == [
        'its <option gravity="0 0 -1"/> is not simulated', 'its <option density="1.2"/> is not simulated',
    ]  # fmt: skip
    model = engine_of(file).scene.model
    assert (model.opt.gravity[2], model.opt.density, model.opt.iterations) == (-9.81, 0.0, 100)
    assert "WARNING" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_simulated_is_refused_by_name(name):
    for read in (read_robot, lambda file: read_object(ObjectSpec("robot", str(file)))):
        with pytest.raises(UserError) as error:
            read(FILES / f"{name}.xml")
        assert REFUSED[name] in str(error.value)
        assert "\n" not in str(error.value)


LEGS = """<mujoco><compiler angle="radian"/>{top}<worldbody>
<body name="trunk" pos="0 0 0.65"><freejoint/><geom name="trunk" type="box" size="0.1 0.12 0.08" mass="5" {geom}/>
<body name="l_thigh" pos="0 0.1 0"><joint name="l_hip" axis="0 1 0" range="-1 1" {joint}/>
<geom type="capsule" size="0.03" fromto="0 0 0 0 0 -0.3" {geom}/>
<body name="l_shin" pos="0 0 -0.3"><joint name="l_knee" axis="0 1 0" range="-2 0.4" {joint}/>
<geom name="l_foot" type="capsule" size="0.03" fromto="0 0 0 0 0 -0.3" {geom}/>
<site name="l" pos="0 0 -0.3"/></body></body>
<body name="r_thigh" pos="0 -0.1 0"><joint name="r_hip" axis="0 1 0" range="-1 1" {joint}/>
<geom type="capsule" size="0.03" fromto="0 0 0 0 0 -0.3" {geom}/>
<body name="r_shin" pos="0 0 -0.3"><joint name="r_knee" axis="0 1 0" range="-2 0.4" {joint}/>
<geom name="r_foot" type="capsule" size="0.03" fromto="0 0 0 0 0 -0.3" {geom}/>
<site name="r" pos="0 0 -0.3"/></body></body>
</body>{world}</worldbody>{bottom}</mujoco>"""
JOINTS = ("l_hip", "l_knee", "r_hip", "r_knee")


def legs(tmp_path, bottom="", joint="", geom="", top="", world=""):
    path = tmp_path / "legs.xml"
    path.write_text(LEGS.format(bottom=bottom, joint=joint, geom=geom, top=top, world=world))
    return path


def each(kind, options):
    """An actuator of this kind for every joint."""
    return "<actuator>" + "".join(f'<{kind} name="{j}" joint="{j}" {options}/>' for j in JOINTS) + "</actuator>"


# name: (actuator, joint's own attributes, stiffness, damping, spring, damper, torque range) of every joint
STATED = {
    "position": (("position", 'kp="60" kv="2" forcerange="-40 40"'), "", 60, 2, 0, 0, (-40, 40)),
    "position, damped joint": (("position", 'kp="60"'), 'damping="2"', 60, 0, 0, 2, (-1e6, 1e6)),
    "position, gear": (("position", 'kp="60" kv="2" gear="-2"'), "", 240, 8, 0, 0, (-1e6, 1e6)),
    "position, both limits": (
        ("position", 'kp="60" forcerange="-40 30"'), 'actuatorfrcrange="-35 35"', 60, 0, 0, 0, (-35, 30),
    ),
    "position, forcelimited off": (
        ("position", 'kp="60" forcelimited="false" forcerange="-4 4"'), "", 60, 0, 0, 0, (-1e6, 1e6),
    ),
    "general": (
        ("general", 'gainprm="60" biastype="affine" biasprm="0 -60 -2" forcerange="-20 40"'), "",
        60, 2, 0, 0, (-20, 40),
    ),
    "general of another scale": (
        ("general", 'gainprm="30" biastype="affine" biasprm="3 -60 -2"'), "", 60, 2, 0, 0, (-1e6, 1e6),
    ),
    "a spring besides": (
        ("position", 'kp="60" kv="1"'), 'stiffness="5" springref="0.2" damping="1" frictionloss="0.3"',
        60, 1, 5, 1, (-1e6, 1e6),
    ),
    "motor": (("motor", 'gear="40" ctrlrange="-1 0.5"'), 'damping="1" armature="0.01"', 0, 0, 0, 1, (-40, 20)),
    "motor, MimicKit's joint": (
        ("motor", 'gear="1" ctrlrange="-1 1"'), 'stiffness="50" damping="3" actuatorfrcrange="-40 40"',
        50, 3, 0, 0, (-40, 40),
    ),
    "velocity": (("velocity", 'kv="4" forcerange="-9 9"'), "", 0, 4, 0, 0, (-9, 9)),
    "none": (None, 'stiffness="50" damping="3"', 50, 3, 0, 0, (-1e6, 1e6)),
}  # fmt: skip


@pytest.mark.parametrize("name", STATED)
def test_gains_and_limits_are_those_of_the_file(tmp_path, name):
    actuator, joint, kp, kd, stiffness, damping, torques = STATED[name]
    file = legs(tmp_path, each(*actuator) if actuator else "", joint)
    robot, plain, engine = read_robot(file), Plain(file), engine_of(file)
    for field, value in (("kp", kp), ("kd", kd), ("stiffness", stiffness), ("damping", damping)):
        np.testing.assert_allclose(getattr(robot, field), value, err_msg=field)
    np.testing.assert_allclose((robot.torque_low[0], robot.torque_high[0]), torques)
    facts = engine.models[0]
    np.testing.assert_allclose((facts.kp, facts.kd), ([kp] * 4, [kd] * 4))
    np.testing.assert_allclose(facts.torque_limits, max(map(abs, torques)))
    # Targets far enough away that the drives reach their limits.
    ids, pose = (
        named(robot, plain),
        (np.float32([0, 0, 3]), np.float32([1, 0, 0, 0]), np.float32([0.3, -0.5, -0.2, 0.1])),
    )
    target = (
        np.float32([-0.8, -1.8, 0.9, 0.3]) if kp and name != "motor, MimicKit's joint" and actuator else np.zeros(4)
    )
    gear, gain, bias = plain.model.actuator_gear[:, 0], plain.model.actuator_gainprm[:, 0], plain.model.actuator_biasprm
    ctrl = (-bias[:, 1] * gear * target - bias[:, 0]) / gain if actuator and target.any() else None
    plain.put(*pose)
    put(engine, *pose)
    follow(engine, plain, ids, 10, 1e-4, torch.tensor(target).float().repeat(2, 1), ctrl)


def test_torques_are_those_of_motors(tmp_path):
    file = legs(tmp_path, each("motor", 'gear="40" ctrlrange="-1 0.5"'), 'damping="1" frictionloss="0.2"')
    robot, plain, engine = read_robot(file), Plain(file), engine_of(file, "torque")
    pose = (np.float32([0, 0, 3]), np.float32([1, 0, 0, 0]), np.float32([0.3, -0.5, -0.2, 0.1]))
    plain.put(*pose)
    put(engine, *pose)
    torque = np.array([3.0, -100.0, 100.0, -4.0])
    follow(engine, plain, named(robot, plain), 5, 1e-4, torch.tensor(torque).float().repeat(2, 1), torque / 40.0)


KEPT = {
    "equality of joints": {
        "bottom": '<equality><joint joint1="l_hip" joint2="r_hip" polycoef="0.1 -1 0 0 0"/></equality>',
    },
    "equality of bodies": {
        "bottom": '<equality><connect body1="l_shin" body2="r_shin" anchor="0 -0.1 -0.3"/></equality>',
    },
    "equality of sites": {"bottom": '<equality><connect site1="l" site2="r"/></equality>'},
    "fixed tendon": {
        "bottom": '<tendon><fixed stiffness="40" springlength="0.3" damping="1"><joint joint="l_hip" coef="1"/>'
        '<joint joint="r_knee" coef="-2"/></fixed></tendon>',
    },
    "spatial tendon": {
        "bottom": '<tendon><spatial stiffness="200" springlength="0.1"><site site="l"/><site site="r"/></spatial>'
        "</tendon>",
    },
    "exclude": {
        "bottom": '<contact><exclude body1="trunk" body2="l_shin"/><exclude body1="l_thigh" body2="r_shin"/></contact>',
    },
    "exclude of the world": {"bottom": '<contact><exclude body1="world" body2="trunk"/></contact>'},
    "pair of its own": {
        "geom": 'contype="2" conaffinity="0"',
        "bottom": '<contact><pair geom1="l_foot" geom2="trunk" condim="1"/></contact>',
    },
    "pairs with a floor": {
        "geom": 'contype="0" conaffinity="0"', "world": '<geom name="floor" type="plane" size="5 5 1"/>',
        "bottom": '<contact><pair geom1="l_foot" geom2="floor" friction="0.4 0.4 0.01 0.001 0.001"/>'
        '<pair geom1="floor" geom2="r_foot" solref="0.01 1"/><pair geom1="trunk" geom2="floor" condim="1"/></contact>',
    },
    "degrees, classes, another axis": {
        "top": '<compiler angle="degree"/><default><default class="a"><joint damping="1"/></default></default>',
        "joint": 'class="a" frictionloss="0.1"',
    },
    "ref and place of joints": {"joint": 'ref="0.2" pos="0.02 0 -0.05"'},
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_no_part_of_a_file_vanishes(tmp_path, name):
    parts = {"joint": "", **KEPT[name]}
    parts["joint"] += ' stiffness="20"'
    file = legs(tmp_path, **parts)
    text = file.read_text()
    robot, engine = read_robot(file), engine_of(file)
    file.write_text(text.replace('<geom name="floor" type="plane" size="5 5 1"/>', ""))  # ours is called so there
    plain = Plain(file)
    ids = named(robot, plain)
    pose = (np.float32([0, 0, 0.5]), np.float32([1, 0, 0.1, 0]), np.float32([0.9, -1.9, -0.7, -0.3]))
    plain.put(*pose)
    put(engine, *pose)
    character = CharacterModel.from_robot(robot)
    root, quat, dof = (torch.tensor(part) for part in pose)
    got, _ = character.forward_kinematics(root, quat[[1, 2, 3, 0]] / quat.norm(), character.dof_to_rot(dof))
    np.testing.assert_allclose(got, plain.data.xpos[ids], atol=1e-5)
    put(engine, *pose)
    follow(engine, plain, ids, 12, atol=1e-3)


# ------------------------------------------------------------------------------------------- gains that a file lacks


def test_gains_by_natural_frequency_and_damping_ratio(tmp_path):
    """k = I w^2, d = 2 z I w with 10 Hz and z = 2, for joints without gains alone; their damper stays."""
    omega = 2 * np.pi * 10
    motors = each("motor", 'gear="40" ctrlrange="-1 1"')
    file = legs(tmp_path, motors, 'damping="1" armature="0.01"')
    from_armature = read_robot(file, "from_armature")
    np.testing.assert_allclose(from_armature.kp, 0.01 * omega**2)
    np.testing.assert_allclose(from_armature.kd, 2 * 2 * 0.01 * omega)
    np.testing.assert_allclose(from_armature.damping, 1)
    np.testing.assert_allclose(from_armature.torque_limits, 40)
    from_inertia = read_robot(file, "from_inertia")
    inertia = Plain(file).model.dof_M0[6:]
    np.testing.assert_allclose(from_inertia.kp, inertia * omega**2)
    by_number = read_robot(file, 50)
    np.testing.assert_allclose((by_number.kp, by_number.kd), ([50] * 4, [4 * 50 / omega] * 4))
    facts = engine_of(file, gains=50).models[0]
    np.testing.assert_allclose((facts.kp, facts.kd), (by_number.kp, by_number.kd))
    stated = legs(tmp_path, each("position", 'kp="60" kv="2"'))
    np.testing.assert_allclose(read_robot(stated, 50).kp, 60)
    with pytest.raises(UserError, match=r"character\.gains: found from_armature, but joint 'l_hip' .* has no armature"):
        read_robot(legs(tmp_path, motors), "from_armature")


def test_the_user_is_told_what_will_not_do(tmp_path):
    def said(mode="pos", gains=None, **parts):
        return "\n".join(read_robot(legs(tmp_path, **parts), gains).remarks(mode))

    motors = each("motor", "")
    assert "4 of 4 joints have no gains" in said(bottom=motors)
    assert "l_hip, l_knee, r_hip, r_knee; give them some: character.gains=" in said(bottom=motors)
    assert said(bottom=motors, gains=5.0) == said(bottom=motors, mode="torque") == ""
    assert said(joint='stiffness="5"') == ""
    one = '<actuator><position joint="l_hip" kp="4"/></actuator>'
    assert "no actuator of the file drives swing freely: l_knee, r_hip, r_knee" in said(bottom=one)
    assert "nothing of it can touch the ground" in said(joint='stiffness="5"', geom='contype="0" conaffinity="0"')
    assert "nothing of it can touch the ground" in said(joint='stiffness="5"', geom='contype="0" conaffinity="2"')
    lasting = each("position", 'kp="4" timeconst="0.1"')
    assert "the delay of actuators l_hip, l_knee, r_hip, r_knee" in said(bottom=lasting)
    marker = '<body name="target" mocap="true"><geom size="0.1" contype="0" conaffinity="0"/></body>'
    assert "body 'target' beside the robot" in said(joint='stiffness="5"', world=marker)
    endless = legs(tmp_path, joint='stiffness="5"').read_text().replace('range="-1 1"', "")
    (tmp_path / "legs.xml").write_text(endless)
    assert "l_hip, r_hip" in read_robot(tmp_path / "legs.xml").remarks("pos")[0]


SIX = "".join(
    f'<joint name="t{a}" type="slide" axis="{v}"/>' for a, v in zip("xyz", ("1 0 0", "0 1 0", "0 0 1"), strict=True)
)
SIX += "".join(f'<joint name="r{a}" axis="{v}"/>' for a, v in zip("xyz", ("1 0 0", "0 1 0", "0 0 1"), strict=True))


def test_six_joints_of_the_root_are_a_free_one(tmp_path):
    free = read_robot(legs(tmp_path, bottom=each("position", 'kp="60"')))
    path = legs(tmp_path, bottom=each("position", 'kp="60"'))
    text = path.read_text()
    path.write_text(text.replace("<freejoint/>", SIX))
    robot = read_robot(path)
    assert robot.dof_names == list(JOINTS)
    for name in ("masses", "inertia", "local_pos", "kp", "dof_low"):
        np.testing.assert_array_equal(getattr(robot, name), getattr(free, name))
    assert robot.notes == ["its root, 'trunk', has a free joint for tx, ty, tz, rx, ry, rz"]
    flat = SIX.replace('name="tz" type="slide" axis="0 0 1"', 'name="tz" type="slide" axis="1 1 0"')
    driven = text.replace("<freejoint/>", SIX).replace("<actuator>", '<actuator><motor joint="tx"/>')
    for other in (text.replace("<freejoint/>", flat), driven):
        path.write_text(other)
        with pytest.raises(UserError, match="may have a free joint or none, found slide, slide, slide, hinge, hinge"):
            read_robot(path)


def test_bodies_that_hold_a_motors_place_are_left_out(tmp_path):
    place = '<body name="no_wrist"><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/><joint name="wrist"/></body>'
    motors = each("position", 'kp="60"').replace("<actuator>", '<actuator><motor name="wrist" joint="wrist"/>')
    robot = read_robot(legs(tmp_path, bottom=motors, world=place))
    assert robot.dof_names == list(JOINTS)
    assert robot.masses.sum() == pytest.approx(read_robot(legs(tmp_path)).masses.sum())
    assert robot.notes == ["body 'no_wrist' beside the robot touches nothing and is left out"]
    many = "".join(f'<body name="b{k}"><geom size="1"/></body>' for k in range(99))
    with pytest.raises(UserError, match=r"found 100 \('trunk', 'b0', .*'b6', \.\.\.\)"):
        read_robot(legs(tmp_path, world=many))


def test_what_only_a_scene_shows_need_not_be_there(tmp_path):
    top = """<asset><hfield name="hills" file="no.png" size="1 1 1 1"/><texture name="wood" type="2d" file="no.png"/>
    <material name="wood" texture="wood"/></asset>"""
    shown = legs(tmp_path, top=top, world='<geom type="hfield" hfield="hills"/>', geom='material="wood"')
    assert read_robot(shown).dof_names == list(JOINTS)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"world": '<body name="table"><geom size="1"/></body>'}, "found 2 ('trunk', 'table')"),
        ({"bottom": '<actuator><muscle name="m" joint="l_hip"/></actuator>'}, "actuator 'm' is of type muscle"),
        (
            {"bottom": '<tendon><spatial name="t"><site site="l"/><site site="r"/></spatial></tendon>'
             '<actuator><motor name="pull" tendon="t"/></actuator>'}, "actuator 'pull' drives tendon",
        ),
        (
            {"bottom": '<actuator><general name="g" joint="l_hip" biastype="affine" biasprm="0 5 0"/></actuator>'},
            "actuator 'g' has gains -5 and 0",
        ),
        ({"bottom": each("position", 'kp="nan"')}, "actuator 'l_hip' has gains nan and 0"),
        ({"bottom": each("motor", 'gear="inf" ctrlrange="-1 1"')}, "actuator gear: found what is no finite number"),
    ],
)  # fmt: skip
def test_what_else_is_refused_by_name(tmp_path, parts, message):
    with pytest.raises(UserError) as error:
        read_robot(legs(tmp_path, **parts))
    assert message in str(error.value)


def test_scenery_does_not_stop_a_file(tmp_path):
    """Whatever of it could not be compiled: a key frame for another model, a sensor of what is not there."""
    file = legs(
        tmp_path, joint='stiffness="20"',
        world='<light/><camera name="c"/><geom name="floor" type="plane" size="1 1 1"/>',
        bottom='<sensor><framepos objtype="site" objname="nowhere"/></sensor><keyframe><key qpos="1 2 3"/></keyframe>'
        '<contact><pair geom1="l_foot" geom2="another_floor"/><exclude body1="trunk" body2="cart"/></contact>',
    )  # fmt: skip
    robot = read_robot(file)
    assert robot.notes == []
    engine_of(file).step()


def test_what_a_file_includes_is_read(tmp_path):
    whole = legs(tmp_path, joint='stiffness="20" damping="1"').read_text()
    before, start, rest = whole.partition('<body name="r_thigh"')
    leg, end, after = rest.partition("</body></body>")
    (tmp_path / "leg.xml").write_text(f"<mujocoinclude>{start}{leg}{end}</mujocoinclude>")
    (tmp_path / "legs.xml").write_text(f'{before}<include file="leg.xml"/>{after}')
    assert read_robot(tmp_path / "legs.xml").body_names == ["trunk", "l_thigh", "l_shin", "r_thigh", "r_shin"]


def test_meshes_that_only_show_need_not_be_there(tmp_path):
    """Neither seen by the physics nor weighed; one that is weighed, or collides, is missed by its name."""
    shown = '<geom type="mesh" mesh="shell" contype="0" conaffinity="0" {}/>'
    inertial = '<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>'
    top = '<asset><mesh name="shell" file="shell.stl"/></asset>'

    def write(geom, extra=""):
        path = legs(tmp_path, joint='stiffness="5"', top=top)
        path.write_text(path.read_text().replace('<site name="l"', f'{extra}{geom}<site name="l"'))
        return path

    assert read_robot(write(shown.format('mass="0"'))).notes == []
    assert read_robot(write(shown.format('density="0"'))).notes == []
    robot = read_robot(write(shown.format(""), inertial))
    assert robot.masses[2] == 1.0
    for needed in (write(shown.format("")), write('<geom type="mesh" mesh="shell"/>', inertial)):
        with pytest.raises(UserError, match=r"MuJoCo cannot build it: .*shell\.stl"):
            read_robot(needed)
