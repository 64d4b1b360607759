"""Environments that differ: what is asked for has its physical effect, in its own environment, and can be undone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mimickit_hydra.engines.interface import MODEL_VALUES, EngineError
from mimickit_hydra.plugins import ENGINES

ELBOW = 9
RIGHT = torch.tensor([1.0, 1.5, 0.5])


@pytest.fixture
def varied(lab):
    """The lab of an engine whose environments may differ."""
    if not ENGINES[lab.name].facts.get("varies"):
        pytest.skip("its environments are all alike")
    return lab


def hanging(lab, **config):
    """The character held by its root, so that only its joints move."""
    body = replace(lab.humanoid, fix_root=True, enable_self_collisions=False, start_pos=(0.0, 0.0, 3.0))
    return lab.make(body, **config)


def test_an_engine_offers_what_it_says(lab) -> None:
    engine = lab.make()
    offered = ENGINES[lab.name].facts.get("varies", ())
    for name in MODEL_VALUES:
        if name in offered:
            assert engine.model_values(name).dtype == torch.float32
        else:
            with pytest.raises(EngineError, match=f"^engine={lab.name}: {name} "):
                engine.model_values(name)


def test_gravity(varied) -> None:
    engine = varied.make(varied.ball())
    engine.set_model_values({"gravity": torch.tensor([[0.0, 0.0, -9.81], [0.0, 0.0, -4.0], [1.0, 0.0, 0.0]])})
    varied.reset_all(engine, varied.rest(engine, height=50.0))
    varied.run(engine, 15)
    wanted = 0.5 * torch.tensor([[0.0, 0.0, -9.81], [0.0, 0.0, -4.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(engine.states[0].root_vel, wanted, atol=1e-3, rtol=1e-3)


def test_mass(varied) -> None:
    """A force accelerates half the mass twice as fast; inertia follows the mass."""
    engine = varied.make(varied.ball())
    mass = engine.model_values("mass")
    assert float(mass) == pytest.approx(2.0)
    engine.set_model_values({"mass": mass * RIGHT[:, None], "gravity": torch.zeros(3, 3)})
    varied.reset_all(engine, varied.rest(engine))
    engine.set_body_force(0, torch.tensor([[6.0, 0.0, 0.0]]).repeat(3, 1))
    varied.run(engine, 1)
    torch.testing.assert_close(engine.states[0].root_vel[:, 0], 6.0 / (2.0 * RIGHT) / 30.0, atol=1e-5, rtol=1e-3)


def test_centre_of_mass(varied) -> None:
    """A force acts at the centre of mass: beside the origin, which then turns about it."""
    body = '<body name="stone"><freejoint/><geom type="sphere" size="0.1" mass="2" pos="0 0 0.02"/></body>'
    engine = varied.make(varied.asset("stone", body))
    com = engine.model_values("com") + torch.tensor([[[0.0, 0.0, 0.0]], [[0.0, 0.05, 0.0]], [[0.0, -0.05, 0.0]]])
    engine.set_model_values({"com": com})
    spin = torch.tensor([0.0, 0.0, 2.0])
    varied.reset_all(engine, varied.rest(engine, height=50.0, root_ang_vel=spin))
    varied.run(engine, 5)
    # Free fall: the centre of mass keeps its velocity, which at the start is that of a point off the resting origin.
    state = engine.states[0]
    arm = torch.linalg.cross(spin.expand(3, 3), com[:, 0])
    drift = state.root_pos[:, :2] - torch.tensor([0.0, 0.0])
    assert float(drift[0].norm()) < 1e-4
    for env in (1, 2):
        turned = 2.0 * 5.0 / 30.0
        c, s = torch.tensor(turned).cos(), torch.tensor(turned).sin()
        x, y = com[env, 0, 0], com[env, 0, 1]
        place = com[env, 0, :2] + arm[env, :2] * (5.0 / 30.0) - torch.stack([c * x - s * y, s * x + c * y])
        torch.testing.assert_close(drift[env], place, atol=2e-3, rtol=0)


def test_friction(varied) -> None:
    """A sliding box comes to rest after v^2 / 2 mu g; that of the others is what it was."""
    box = varied.asset("slider", '<body name="box"><freejoint/><geom type="box" size="0.2 0.2 0.05" mass="3"/></body>')
    engine = varied.make(box, sim_freq=480)
    assert engine.shape_bodies() == [0]
    torch.testing.assert_close(engine.model_values("friction"), torch.ones(1))
    start = varied.rest(engine, height=0.05, root_vel=torch.tensor([1.0, 0.0, 0.0]))
    reached = []
    for values in (None, torch.tensor([[1.0], [0.5], [0.2]]), torch.tensor([[1.0], [1.0], [1.0]])):
        if values is not None:
            engine.set_model_values({"friction": values})
        varied.reset_all(engine, start)
        varied.run(engine, 20)
        reached.append(engine.states[0].root_pos[:, 0].clone())
    torch.testing.assert_close(reached[1], 1.0 / (2.0 * 9.81 * torch.tensor([1.0, 0.5, 0.2])), atol=0.015, rtol=0.1)
    assert torch.equal(reached[0], reached[2])


@pytest.mark.parametrize("name", ["armature", "damping"])
def test_joints_are_slower_to_turn(varied, name) -> None:
    engine = hanging(varied, control_mode="torque")
    own = engine.model_values(name)
    more = own.repeat(3, 1)
    more[1:, ELBOW] += torch.tensor([0.5, 5.0])
    engine.set_model_values({name: more})
    engine.reset(torch.ones(3, dtype=torch.bool), {0: varied.rest(engine, height=3.0)})
    torque = torch.zeros(3, engine.models[0].num_dofs)
    torque[:, ELBOW] = 5.0
    varied.run(engine, 2, torque)
    speed = engine.states[0].dof_vel[:, ELBOW].abs()
    assert speed[0] > 1.2 * speed[1] > 1.2 * 1.2 * speed[2]


def test_dry_friction_holds_a_joint(varied) -> None:
    engine = hanging(varied, control_mode="torque")
    held = engine.model_values("frictionloss").repeat(3, 1)
    held[1, ELBOW] = 20.0
    engine.set_model_values({"frictionloss": held, "gravity": torch.zeros(3, 3)})
    engine.reset(torch.ones(3, dtype=torch.bool), {0: varied.rest(engine, height=3.0)})
    torque = torch.zeros(3, engine.models[0].num_dofs)
    torque[:, ELBOW] = 5.0
    varied.run(engine, 3, torque)
    speed = engine.states[0].dof_vel[:, ELBOW].abs()
    assert speed[1] < 0.05 * speed[0]
    torch.testing.assert_close(speed[0], speed[2])


@pytest.mark.parametrize("mode", ["pos", "pd_explicit"])
def test_gains(varied, mode) -> None:
    """At rest against gravity a joint is off by its torque over its stiffness."""
    asset = """<body name="post"><geom type="box" size="0.1 0.1 0.1" contype="0" conaffinity="0"/>
    <body name="arm"><joint name="hinge" type="hinge" axis="0 1 0" range="-90 90" damping="2" stiffness="50"
    actuatorfrcrange="-100 100"/><geom type="sphere" size="0.05" pos="0.3 0 0" mass="2" contype="0" conaffinity="0"/>
    </body></body>"""
    spec = varied.asset("arm", asset, fix_root=True, start_pos=(0.0, 0.0, 2.0))
    file = Path(spec.asset_file)
    file.write_text(file.read_text().replace("</mujoco>", "<actuator><motor joint='hinge'/></actuator></mujoco>"))
    engine = varied.make(spec, control_mode=mode, sim_freq=480)
    kp = engine.model_values("kp")
    assert float(kp) == pytest.approx(50.0)
    engine.set_model_values(
        {"kp": kp * torch.tensor([[1.0], [2.0], [4.0]]), "kd": engine.model_values("kd") * RIGHT[:, None]}
    )
    engine.reset(torch.ones(3, dtype=torch.bool), {0: varied.rest(engine, height=2.0)})
    varied.run(engine, 90, torch.zeros(3, 1))
    angle = engine.states[0].dof_pos[:, 0]
    torch.testing.assert_close(
        angle, torch.cos(angle) * 2.0 * 9.81 * 0.3 / (50.0 * torch.tensor([1.0, 2.0, 4.0])), atol=4e-3, rtol=0.02
    )


def test_torque_limits(varied) -> None:
    """Both an elbow and an axis of a neck press no harder than their environment's limit."""
    engine = hanging(varied, control_mode="torque")
    limit = engine.model_values("torque_limit")
    engine.set_model_values({"torque_limit": limit * torch.tensor([[1.0], [0.1], [0.0]])})
    engine.reset(torch.ones(3, dtype=torch.bool), {0: varied.rest(engine, height=3.0)})
    rest = engine.states[0].dof_vel.clone()
    for dof in (ELBOW, 4):
        engine.reset(torch.ones(3, dtype=torch.bool), {0: varied.rest(engine, height=3.0)})
        torque = torch.zeros(3, engine.models[0].num_dofs)
        torque[:, dof] = float(limit[dof])
        varied.run(engine, 1, torque)
        speed = (engine.states[0].dof_vel - rest)[:, dof].abs()
        assert speed[0] > 2.0 * speed[1]
        assert speed[2] < 0.6 * speed[1]


def test_environments_alone_and_back_to_the_bit(varied, snapshot, same) -> None:
    """A masked value changes its environment alone, and the file's own values bring back the file's own motion."""
    engine = varied.make()
    start, command = varied.random(engine, height=1.0), 0.3 * torch.ones(3, engine.models[0].num_dofs)

    def moved():
        varied.reset_all(engine, start)
        varied.run(engine, 12, command)
        return snapshot(engine.states[0])

    before = moved()
    names = [
        name for name in ENGINES[varied.name].facts["varies"] if name not in ("gravity", "frictionloss", "torque_limit")
    ]
    own = {name: engine.model_values(name).expand(3, *engine.model_values(name).shape) for name in names}
    engine.set_model_values(own)
    assert same(before, moved())
    engine.set_model_values({name: 1.3 * value for name, value in own.items()}, varied.mask(engine, 1))
    changed = moved()
    others = [0, 2]
    assert same(before, changed, others)
    assert not torch.equal(before["dof_pos"][1], changed["dof_pos"][1])
    engine.set_model_values(own, varied.mask(engine, 1))
    assert same(before, moved())
