"""Control modes: drives, clamps, external forces."""

from dataclasses import replace

import pytest
import torch

ELBOW = 9  # right elbow, kp 300, kd 30, 70 N m
INERTIA = '<inertial pos="0 0 0" mass="1" diaginertia="0.01 0.01 0.01"/>'
WHEELS = f"""<body name="cart">{INERTIA}
<body name="left" pos="0 0.5 0"><joint axis="0 1 0" damping="0.1"/>{INERTIA}</body>
<body name="right" pos="0 -0.5 0"><joint axis="0 1 0"/>{INERTIA}</body></body>"""


def wheels(lab, **options):
    """Two wheels of 0.01 kg m^2 without stiffness, one with a gain of damping, on a cart that stays in the air."""
    return replace(lab.asset("cart", WHEELS, fix_root=True, start_pos=(0.0, 0.0, 1.0)), articulated=True, **options)


def air(lab, engine, **parts):
    lab.reset_all(engine, lab.rest(engine, height=50.0, **parts))


def test_pd_reaches_its_target(lab):
    engine = lab.make()
    air(lab, engine)
    target = torch.zeros(3, 28)
    target[:, ELBOW] = 1.0
    lab.run(engine, 30, target)
    torch.testing.assert_close(engine.states[0].dof_pos, target, atol=0.05, rtol=0)


def test_pd_holds_a_pose_of_exponential_maps(lab):
    engine = lab.make()
    pose = lab.random(engine, seed=7).dof_pos
    air(lab, engine, dof_pos=pose)
    lab.run(engine, 30, pose)
    torch.testing.assert_close(engine.states[0].dof_pos, pose, atol=1e-3, rtol=0)


def test_pd_reaches_a_pose_of_exponential_maps(lab):
    engine = lab.make()
    pose = 0.6 * lab.random(engine, seed=8).dof_pos
    air(lab, engine)
    lab.run(engine, 60, pose)
    torch.testing.assert_close(engine.states[0].dof_pos, pose, atol=0.03, rtol=0)


def test_the_command_is_held(lab):
    one, two = lab.make(), lab.make()
    pose = 0.5 * lab.random(one, seed=2).dof_pos
    for engine in (one, two):
        air(lab, engine)
        engine.set_command(pose)
    lab.run(one, 5)
    lab.run(two, 5, pose)
    assert torch.equal(one.states[0].body_pos, two.states[0].body_pos)


def test_no_control_ignores_commands(lab):
    engine, silent = lab.make(control_mode="none"), lab.make(control_mode="none")
    for e in (engine, silent):
        air(lab, e)
    lab.run(engine, 5, torch.ones(3, 28))
    lab.run(silent, 5)
    assert torch.equal(engine.states[0].dof_pos, silent.states[0].dof_pos)
    assert engine.states[0].dof_pos.abs().max() < 0.05


def test_velocity_mode(lab):
    engine = lab.make(control_mode="vel")
    air(lab, engine, dof_pos=torch.eye(28)[ELBOW])
    command = torch.zeros(3, 28)
    command[:, ELBOW] = 2.0
    lab.run(engine, 10, command)
    torch.testing.assert_close(engine.states[0].dof_vel, command, atol=0.05, rtol=0)
    torch.testing.assert_close(engine.states[0].dof_pos[:, ELBOW], torch.full((3,), 1 + 2 / 3), atol=0.05, rtol=0)


@pytest.mark.parametrize("dof", [ELBOW, 3, 4, 5])  # a hinge, and the three axes of the neck
def test_torque_mode_pushes_its_own_axis(lab, dof):
    engine = lab.make(control_mode="torque", sim_freq=1200)
    air(lab, engine, dof_pos=torch.eye(28)[ELBOW])
    command = torch.zeros(3, 28)
    command[:, dof] = 1.0
    lab.run(engine, 1, command)
    speed = engine.states[0].dof_vel[0].abs()
    assert engine.states[0].dof_vel[0, dof] > 0.1
    assert int(speed.argmax()) == dof


@pytest.mark.parametrize("dof", [ELBOW, 4])
def test_torques_are_clamped(lab, dof):
    engines = [lab.make(control_mode="torque", sim_freq=1200, control_freq=300) for _ in range(3)]
    limit = float(engines[0].models[0].torque_limits[dof])
    for engine, torque in zip(engines, (limit, 10 * limit, 0.5 * limit), strict=True):
        air(lab, engine, dof_pos=torch.eye(28)[ELBOW])
        command = torch.zeros(3, 28)
        command[:, dof] = torque
        lab.run(engine, 2, command)
    at, above, below = (engine.states[0].dof_vel for engine in engines)
    assert torch.equal(at, above)
    assert not torch.equal(at, below)


def test_drives_are_clamped(lab):
    """Far targets in opposite directions give opposite torques at the limit, whatever the distance."""
    engines = [lab.make(sim_freq=1200, control_freq=1200) for _ in range(2)]
    for engine, target in zip(engines, (2.0, 2.5), strict=True):
        air(lab, engine)
        command = torch.zeros(3, 28)
        command[:, ELBOW] = target
        lab.run(engine, 1, command)
    torch.testing.assert_close(engines[0].states[0].dof_vel, engines[1].states[0].dof_vel, atol=1e-5, rtol=1e-5)


def test_explicit_pd_tends_to_the_implicit_one(lab):
    """Recomputed at every substep and for ball joints too: with short substeps both are the same controller."""
    implicit = lab.make(num_envs=2, sim_freq=6000)
    explicit = lab.make(num_envs=2, sim_freq=6000, control_mode="pd_explicit")
    pose = 0.4 * lab.random(implicit, seed=4).dof_pos
    for engine in (implicit, explicit):
        air(lab, engine)
        lab.run(engine, 4, pose)
    torch.testing.assert_close(explicit.states[0].dof_pos, implicit.states[0].dof_pos, atol=5e-3, rtol=0)
    assert implicit.states[0].dof_pos.abs().max() > 0.2


def test_a_force_changes_momentum_for_one_step(lab):
    engine = lab.make(lab.ball())
    lab.reset_all(engine, lab.rest(engine, height=10.0))
    force = torch.tensor([[4.0, 0.0, 0.0], [0.0, -6.0, 0.0], [0.0, 0.0, 0.0]])
    engine.set_body_force(0, force)
    engine.step()
    gained = force / 2.0 * engine.control_dt  # a ball of 2 kg
    gained[:, 2] -= 9.81 * engine.control_dt
    torch.testing.assert_close(engine.states[0].root_vel, gained, atol=1e-5, rtol=0)
    engine.step()
    gained[:, 2] -= 9.81 * engine.control_dt
    torch.testing.assert_close(engine.states[0].root_vel, gained, atol=1e-5, rtol=0)


def test_a_force_on_a_limb_moves_the_whole_character(lab):
    engine = lab.make()
    air(lab, engine)
    engine.set_command(torch.zeros(3, 28))
    force = torch.tensor([200.0, 0.0, 0.0]).repeat(3, 1)
    for _ in range(3):
        engine.set_body_force(engine.models[0].body_names.index("torso"), force)
        engine.step()
    masses = torch.tensor(engine.models[0].body_masses).float()
    drift = (engine.states[0].body_vel[..., 0] * masses).sum(-1) / masses.sum()
    want = 200.0 / float(masses.sum()) * 3 * engine.control_dt
    assert (drift - want).abs().max() < 0.25 * want  # link origins stand in for centres of mass


def test_torques_need_no_stiffness(lab):
    """An asset without gains has motors all the same: what is not passive damping does not slow them either."""
    engine = lab.make(wheels(lab), control_mode="torque")
    lab.run(engine, 3, torch.tensor([[0.2, -0.1], [0.1, 0.0], [0.0, 0.3]]))
    gained = torch.tensor([[2.0, -1.0], [1.0, 0.0], [0.0, 3.0]])  # 0.1 s of torque / 0.01 kg m^2
    torch.testing.assert_close(engine.states[0].dof_vel, gained, atol=1e-2, rtol=0)


def test_torques_of_disabled_motors_are_none(lab):
    engine = lab.make(wheels(lab, disable_motors=True), control_mode="torque")
    lab.run(engine, 3, torch.full((3, 2), 0.2))
    torch.testing.assert_close(engine.states[0].dof_vel, torch.zeros(3, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("mode", "left"),
    [("pos", (1 + 1 / 12) ** -12), ("vel", (1 + 1 / 12) ** -12), ("pd_explicit", (1 - 1 / 12) ** 12), ("torque", 1.0)],
)
def test_damping_without_stiffness_is_a_gain_too(lab, mode, left):
    """A torque of -0.1 N m s times the speed at 0.01 kg m^2 takes 1/12 of it in a substep."""
    engine = lab.make(wheels(lab), control_mode=mode)
    lab.reset_all(engine, lab.rest(engine, height=1.0, dof_vel=torch.tensor([2.0, 2.0])))
    lab.run(engine, 3, torch.zeros(3, 2))
    torch.testing.assert_close(
        engine.states[0].dof_vel, torch.tensor([2.0 * left, 2.0]).repeat(3, 1), atol=1e-2, rtol=0
    )


def test_disabled_motors_let_go(lab):
    engine = lab.make(replace(lab.humanoid, disable_motors=True))
    air(lab, engine)
    lab.run(engine, 5, torch.ones(3, 28))
    assert engine.states[0].dof_pos.abs().max() < 0.05
