"""engine=isaac_lab beside the conformance suite: conversions by value, configurations, several engines in a process."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("isaaclab", reason="isaaclab is not installed")

import torch

from mimickit_hydra.engines.interface import EngineError, ObjectSpec, ResetState, SceneSpec
from mimickit_hydra.engines.isaac_lab import physics as isaac_lab_physics
from mimickit_hydra.engines.isaac_lab.engine import IsaacLabEngine
from mimickit_hydra.engines.isaac_lab.object import rotate, shortest
from mimickit_hydra.engines.isaac_lab.physics import IsaacSimPhysics, make_physics
from mimickit_hydra.engines.isaac_lab.process import Turn
from mimickit_hydra.engines.isaac_lab.scene import plan_scene
from mimickit_hydra.motion.rotations import exp_map_to_quat, quat_diff_angle, quat_rotate

ASSETS = Path(__file__).parents[2] / "mimickit_hydra" / "data" / "assets"


def settings(**changes):
    values = {"engine_name": "isaac_lab", "control_mode": "pos", "control_freq": 30, "sim_freq": 120}
    return SimpleNamespace(**{**values, "env_spacing": 5.0, "physics": "newton", **changes})


def humanoid(**options):
    return ObjectSpec("humanoid", str(ASSETS / "humanoid" / "humanoid.xml"), start_pos=(0.0, 0.0, 0.9), **options)


def ball(**options):
    return ObjectSpec("ball", str(ASSETS / "objects" / "dodgeball.xml"), articulated=False, **options)


# ------------------------------------------------------------------------------------------------ conversions


def test_rotation_by_exponential_maps():
    torch.manual_seed(0)
    exp_map, vector = torch.randn(50, 6) * 1.5, torch.randn(50, 6)
    exp_map[0], exp_map[1, :3] = 0.0, 1e-7
    want = quat_rotate(exp_map_to_quat(exp_map.view(50, 2, 3)), vector.view(50, 2, 3)).view(50, 6)
    torch.testing.assert_close(rotate(exp_map, vector), want, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(rotate(-exp_map, rotate(exp_map, vector)), vector, atol=3e-6, rtol=1e-5)


def test_joint_velocities_of_newton_are_the_parents():
    """A joint turned 90 degrees about z that turns about the parent's x turns about the child's -y."""
    quarter = torch.tensor([[0.0, 0.0, torch.pi / 2]])
    in_parent = torch.tensor([[1.0, 0.0, 0.0]])
    torch.testing.assert_close(rotate(-quarter, in_parent), torch.tensor([[0.0, -1.0, 0.0]]), atol=1e-6, rtol=0)


def test_the_shortest_rotation_vector():
    torch.manual_seed(1)
    axis = torch.nn.functional.normalize(torch.randn(40, 3), dim=-1)
    long = axis * torch.linspace(0.0, 9.0, 40).unsqueeze(1)
    short = shortest(long)
    assert (short.norm(dim=-1) <= torch.pi + 1e-5).all()
    assert quat_diff_angle(exp_map_to_quat(short), exp_map_to_quat(long)).abs().max() < 2e-3
    torch.testing.assert_close(short[:13], long[:13])  # what was short stays


# ------------------------------------------------------------------------------------------------ configurations


@pytest.mark.parametrize(("name", "words"), [("ovphysx", "isaaclab[ovphysx]"), ("isaacsim", "isaaclab[isaacsim]")])
def test_a_physics_that_is_not_installed_says_how(name, words, monkeypatch):
    monkeypatch.setattr(isaac_lab_physics.Physics, "missing", lambda self: [self.modules[-1]])
    with pytest.raises(EngineError) as error:
        IsaacLabEngine(settings(physics=name), SceneSpec((humanoid(),)), 2)
    assert f"engine.physics={name} needs the Python package {name}" in str(error.value)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_isaac_sim_is_configured_and_would_be_started():
    """All of it but the start: Isaac Sim is not here."""
    from isaaclab.app import validate_launch

    physics = IsaacSimPhysics()
    scene = SceneSpec((humanoid(), ball(start_pos=(1.0, 0.0, 0.5))))
    plan = plan_scene(settings(physics="isaacsim", env_spacing=4.0), scene, 3, "cuda:0", physics)
    assert type(plan.sim.physics).__name__ == "PhysxCfg"
    assert plan.scene.env_spacing == 4.0
    assert plan.scene.contact_0.filter_prim_paths_expr == ["/World/ground/plane"]
    _, needs_kit = validate_launch(plan.sim, {})
    assert any("PhysxCfg" in reason for reason in needs_kit)


def test_newton_is_configured_and_starts_nothing():
    from isaaclab.app import validate_launch

    config = settings(iterations=7, ls_iterations=9, impratio=3.0, njmax=50, nconmax=11)
    plan = plan_scene(config, SceneSpec((humanoid(),)), 3, "cpu", make_physics("newton"))
    solver = plan.sim.physics.solver_cfg
    assert (solver.iterations, solver.ls_iterations, solver.impratio) == (7, 9, 3.0)
    assert (solver.njmax, solver.nconmax) == (50, 11)
    assert validate_launch(plan.sim, {})[1] == ()
    assert plan.scene.env_spacing == 0.0  # worlds do not meet, and stand at the same place to the bit
    roomy = plan_scene(settings(), SceneSpec((humanoid(),)), 3, "cpu", make_physics("newton")).sim.physics.solver_cfg
    assert (roomy.njmax, roomy.nconmax) == (126, 39)  # by 18 colliding shapes


@pytest.mark.parametrize(
    ("mode", "stiffness", "damping"), [("pos", 1000.0, 100.0), ("vel", 0.0, 100.0), ("torque", 0.0, 0.0)]
)
def test_drives_have_the_gains_of_the_asset(mode, stiffness, damping):
    plan = plan_scene(settings(control_mode=mode), SceneSpec((humanoid(),)), 1, "cpu", make_physics("newton"))
    drives = plan.scene.object_0.actuators["all"]
    assert drives.stiffness["joint_torso:1"] == stiffness
    assert drives.damping["joint_torso:1"] == damping
    assert drives.joint_effort_limit["joint_torso:1"] == 200.0
    assert drives.armature["joint_right_lower_arm"] == pytest.approx(0.01)


# ------------------------------------------------------------------------------------------------ in one process


def state_of(engine, height):
    n = engine.num_envs
    upright = torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(n, 1)
    zeros = torch.zeros(n, 3)
    position = torch.tensor([0.0, 0.0, height]).repeat(n, 1)
    return ResetState(position, upright, zeros, zeros, torch.zeros(n, 0), torch.zeros(n, 0))


def test_two_engines_of_one_process_take_turns():
    engines = [IsaacLabEngine(settings(), SceneSpec((ball(start_pos=(0.0, 0.0, h)),)), 2) for h in (3.0, 5.0)]
    try:
        for _ in range(3):
            for engine in engines:
                engine.step()
        fall = 9.81 * 0.1 * (0.1 + 1 / 120) / 2
        for engine, height in zip(engines, (3.0, 5.0), strict=True):
            torch.testing.assert_close(
                engine.states[0].root_pos[:, 2], torch.full((2,), height - fall), atol=1e-4, rtol=0
            )
        engines[0].close()
        engines[1].reset(torch.ones(2, dtype=torch.bool), {0: state_of(engines[1], 7.0)})
        engines[1].step()
        assert (engines[1].states[0].root_pos[:, 2] > 6.9).all()
    finally:
        for engine in engines:
            engine.close()


def test_physx_does_not_share_its_process():
    alone = Turn([], exclusive=True)
    try:
        with pytest.raises(EngineError, match=r"PhysX runs one simulation in a process; .*engine\.python"):
            Turn([], exclusive=False)
    finally:
        alone.end()
    Turn([], exclusive=False).end()


@pytest.mark.slow  # its kernels take a minute to compile
def test_the_characters_of_the_package_are_read():
    """SMPL and the one with sword and shield, in one scene, as a mirror of their models."""
    files = ("smpl/smpl.xml", "sword_shield/humanoid_sword_shield.xml")
    specs = [ObjectSpec(f"c{k}", str(ASSETS / f), start_pos=(2.0 * k, 0.0, 2.0)) for k, f in enumerate(files)]
    engine = IsaacLabEngine(settings(), SceneSpec(tuple(specs)), 2)
    try:
        assert [model.num_dofs for model in engine.models] == [69, 31]
        engine.step()
        for k, state in enumerate(engine.states):
            assert not engine.diverged.any()
            assert state.body_pos.shape == (2, engine.models[k].num_bodies, 3)
            torch.testing.assert_close(state.root_pos[:, 0], torch.full((2,), 2.0 * k), atol=2e-2, rtol=0)
    finally:
        engine.close()
