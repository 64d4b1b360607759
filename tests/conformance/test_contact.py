"""Contact forces: sign, size, ground against everything, visual objects."""

from dataclasses import replace

import torch

G = 9.81


def settle(lab, engine, steps=45):
    pose = lab.standing_pose(engine)
    lab.reset_all(engine, lab.rest(engine, height=0.882416, dof_pos=pose))
    lab.run(engine, steps, pose)


def test_feet_carry_the_weight(lab):
    engine = lab.make()
    settle(lab, engine)
    state, model = engine.states[0], engine.models[0]
    total = torch.zeros(3, 3)
    for _ in range(10):
        engine.step()
        total += state.ground_contact_forces.sum(1) / 10
    weight = G * float(model.body_masses.sum())
    torch.testing.assert_close(total[:, 2], torch.full((3,), weight), atol=0.02 * weight, rtol=0)
    assert total[:, :2].abs().max() < 0.05 * weight
    feet = [model.body_names.index("right_foot"), model.body_names.index("left_foot")]
    others = [b for b in range(15) if b not in feet]
    assert (state.ground_contact_forces[:, feet, 2] > 0.2 * weight).all()
    assert (state.ground_contact_forces[:, others] == 0).all()
    torch.testing.assert_close(state.contact_forces[:, feet], state.ground_contact_forces[:, feet])


def test_nothing_touches_in_the_air(lab):
    engine = lab.make()
    lab.reset_all(engine, lab.rest(engine, height=3.0))
    lab.run(engine, 2, torch.zeros(3, 28))
    assert (engine.states[0].contact_forces == 0).all()
    assert (engine.states[0].ground_contact_forces == 0).all()


def test_reset_clears_contacts_of_its_environments_only(lab):
    engine = lab.make()
    settle(lab, engine, steps=10)
    before = engine.states[0].ground_contact_forces.clone()
    assert (before.abs().sum((1, 2)) > 0).all()
    engine.reset(lab.mask(engine, 1), {0: lab.rest(engine, height=0.882416)})
    for forces in (engine.states[0].ground_contact_forces, engine.states[0].contact_forces):
        assert (forces[1] == 0).all()
    assert torch.equal(engine.states[0].ground_contact_forces[[0, 2]], before[[0, 2]])


def test_total_and_ground_contacts_are_told_apart(lab):
    """A ball of 2 kg lies on a fixed box: it is carried, the box is pressed down, the ground feels nothing of it."""
    engine = lab.make(lab.ball(), lab.box(start_pos=(0.0, 0.0, 0.5)))
    lab.reset_all(engine, lab.rest(engine, height=0.801))
    lab.run(engine, 30)
    ball, box = engine.states
    weight = torch.tensor([0.0, 0.0, 2 * G]).repeat(3, 1)
    torch.testing.assert_close(ball.contact_forces[:, 0], weight, atol=0.3, rtol=0)
    torch.testing.assert_close(box.contact_forces[:, 0], -weight, atol=0.3, rtol=0)
    assert (ball.ground_contact_forces == 0).all()
    assert (box.ground_contact_forces == 0).all()


def test_a_ball_on_the_ground_feels_it_in_both(lab):
    engine = lab.make(lab.ball())
    lab.reset_all(engine, lab.rest(engine, height=0.1))
    lab.run(engine, 30)
    weight = torch.tensor([0.0, 0.0, 2 * G]).repeat(3, 1)
    torch.testing.assert_close(engine.states[0].ground_contact_forces[:, 0], weight, atol=0.3, rtol=0)
    torch.testing.assert_close(engine.states[0].contact_forces[:, 0], weight, atol=0.3, rtol=0)


def test_visual_objects_touch_nothing(lab):
    engine = lab.make(lab.ball(is_visual=True), lab.box(start_pos=(0.0, 0.0, 0.5)))
    lab.reset_all(engine, lab.rest(engine, height=0.9))
    lab.run(engine, 30)
    assert (engine.states[0].root_pos[:, 2] < -1.0).all()
    assert (engine.states[0].contact_forces == 0).all()


def test_self_collisions_can_be_switched_off(lab):
    felt = []
    for enabled in (True, False):
        engine = lab.make(replace(lab.humanoid, enable_self_collisions=enabled))
        pose = torch.zeros(3, 28)
        pose[:, 14], pose[:, 21] = 0.4, -0.4  # the legs cross
        lab.reset_all(engine, lab.rest(engine, height=3.0, dof_pos=pose))
        lab.run(engine, 1, pose)
        felt.append(float(engine.states[0].contact_forces.abs().max()))
    assert felt[0] > 1.0
    assert felt[1] == 0.0


def test_without_self_collisions_the_ground_still_carries(lab):
    engine = lab.make(replace(lab.humanoid, enable_self_collisions=False))
    settle(lab, engine)
    assert (engine.states[0].ground_contact_forces.sum(1)[:, 2] > 300).all()
