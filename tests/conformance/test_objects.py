"""Scenes with fixed roots and several objects."""

from dataclasses import replace

import torch

# What a file for looking at a model has around it: a floor, and a block above it where the object is.
SURROUNDINGS = """<geom name="floor" type="plane" size="0 0 1"/>
<geom name="block" type="box" size="0.5 0.5 0.05" pos="0 0 -0.2"/>"""


def test_a_fixed_root_stays_and_its_joints_are_driven(lab):
    engine = lab.make(replace(lab.humanoid, fix_root=True, enable_self_collisions=False, start_pos=(0.0, 0.0, 2.0)))
    target = torch.zeros(3, 28)
    target[:, 9] = 1.0
    lab.run(engine, 45, target)
    state = engine.states[0]
    torch.testing.assert_close(state.root_pos, torch.tensor([0.0, 0.0, 2.0]).repeat(3, 1))
    torch.testing.assert_close(state.dof_pos[:, 9], torch.ones(3), atol=0.05, rtol=0)
    assert state.dof_pos.abs().sum(-1).max() > 1.0
    assert (state.root_vel == 0).all()


def test_a_fixed_character_does_not_fight_itself(lab):
    """Neighbouring links overlap by design and must not collide, whether the root floats or not."""
    engine = lab.make(replace(lab.humanoid, fix_root=True, start_pos=(0.0, 0.0, 2.0)))
    lab.run(engine, 3, torch.zeros(3, 28))
    assert (engine.states[0].contact_forces == 0).all()


def test_a_scene_of_everything(lab):
    engine = lab.make(
        lab.humanoid,
        replace(lab.humanoid, name="reference", is_visual=True, disable_motors=True, start_pos=(2.0, 0.0, 0.9)),
        lab.ball(start_pos=(5.0, 0.0, 0.1)),
        lab.box(start_pos=(-3.0, 0.0, 0.2)),
    )
    assert [model.name for model in engine.models] == ["humanoid", "reference", "ball", "box"]
    assert [model.num_bodies for model in engine.models] == [15, 15, 1, 1]
    assert [model.num_dofs for model in engine.models] == [28, 28, 0, 0]
    lab.run(engine, 30, lab.standing_pose(engine))
    assert (engine.states[0].root_pos[:, 2] > 0.8).all()
    torch.testing.assert_close(
        engine.states[2].root_pos, torch.tensor([[5.0, 0.0, 0.1]]).repeat(3, 1), atol=2e-3, rtol=0
    )
    torch.testing.assert_close(engine.states[3].root_pos, torch.tensor([[-3.0, 0.0, 0.2]]).repeat(3, 1))


def test_objects_meet(lab):
    """A ball thrown at the standing character hits it, and the character moves."""
    engine = lab.make(lab.humanoid, lab.ball())
    pose = lab.standing_pose(engine)
    lab.reset_all(engine, lab.rest(engine, height=0.882416, dof_pos=pose))
    ball = lab.rest(engine, obj=1, root_pos=torch.tensor([1.0, 0.0, 1.25]), root_vel=torch.tensor([-10.0, 0.0, 0.5]))
    lab.reset_all(engine, ball, obj=1)
    hit = torch.zeros(3)
    for _ in range(6):
        lab.run(engine, 1, pose)
        hit = torch.maximum(hit, engine.states[1].contact_forces[:, 0].norm(dim=-1))
    assert (hit > 10).all()
    assert (engine.states[0].root_vel[:, 0] < -0.05).all()
    assert (engine.states[1].root_vel[:, 0] > -5).all()


def test_an_object_is_placed_within_an_episode(lab):
    """Only that object of those environments moves; contacts and commands of the character stay."""
    engine = lab.make(lab.humanoid, lab.ball(start_pos=(5.0, 0.0, 0.1)))
    pose = lab.standing_pose(engine)
    lab.reset_all(engine, lab.rest(engine, height=0.882416, dof_pos=pose))
    lab.run(engine, 10, pose)
    before = [{k: v.clone() for k, v in vars(state).items()} for state in engine.states]
    ball = lab.rest(engine, obj=1, root_pos=torch.tensor([4.0, 3.0, 2.0]), root_vel=torch.tensor([1.0, 0.0, 0.0]))
    engine.place(1, torch.tensor([True, False, True]), ball)
    moved, kept = torch.tensor([0, 2]), 1
    torch.testing.assert_close(engine.states[1].root_pos[moved], torch.tensor([[4.0, 3.0, 2.0]]).repeat(2, 1))
    torch.testing.assert_close(engine.states[1].root_vel[moved], torch.tensor([[1.0, 0.0, 0.0]]).repeat(2, 1))
    for name, expected in before[0].items():
        torch.testing.assert_close(getattr(engine.states[0], name), expected, atol=1e-6, rtol=1e-6)
    assert engine.states[0].ground_contact_forces.abs().max() > 0.0
    for name, expected in before[1].items():
        assert torch.equal(getattr(engine.states[1], name)[kept], expected[kept])
    lab.run(engine, 3, pose)
    torch.testing.assert_close(engine.states[1].root_pos[moved, 0], torch.full((2,), 4.1), atol=1e-3, rtol=0)


def test_what_an_asset_puts_around_its_body_is_left_out(lab):
    """It would stand in the air, at the height the object starts at."""
    alone = lab.make(lab.ball(start_pos=(0.0, 0.0, 0.5)))
    surrounded = lab.make(lab.ball(SURROUNDINGS, start_pos=(0.0, 0.0, 0.5)))
    for _ in range(30):
        alone.step()
        surrounded.step()
    state, expected = surrounded.states[0], vars(alone.states[0])
    for name in expected:
        torch.testing.assert_close(getattr(state, name), expected[name], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(state.root_pos[:, 2], torch.full((3,), 0.1), atol=5e-3, rtol=0)
    assert state.ground_contact_forces[:, 0, 2].min() > 1.0


def test_a_fixed_object_leaves_its_surroundings_out(lab):
    """Another object falls through them."""
    engine = lab.make(lab.ball(start_pos=(0.0, 0.0, 2.5)), lab.box(SURROUNDINGS, start_pos=(3.0, 0.0, 2.0)))
    for _ in range(15):
        engine.step()
    torch.testing.assert_close(engine.states[0].root_pos[:, 2], torch.full((3,), 2.5 - 4.905 / 4), atol=0.05, rtol=0)
    assert (engine.states[0].contact_forces == 0).all()
