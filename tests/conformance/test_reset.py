"""Resets by mask: exact, complete, and blind to the past."""

import torch

PARTS = ("pos", "rot", "vel", "ang_vel")
STATE = ("dof_pos", "dof_vel", *("root_" + part for part in PARTS), *("body_" + part for part in PARTS))


def test_partial_reset_leaves_the_others_to_the_bit(lab, snapshot, same):
    engine, twin = lab.make(num_envs=4), lab.make(num_envs=4)
    command = 0.3 * lab.random(engine, seed=9).dof_pos
    for e in (engine, twin):
        lab.reset_all(e, lab.random(e, seed=2, height=1.2))
        lab.run(e, 6, command)
    before = snapshot(engine.states[0])
    new = lab.random(engine, seed=3)
    engine.reset(lab.mask(engine, 1), {0: new})
    after = snapshot(engine.states[0])
    assert same(before, after, [0, 2, 3])
    torch.testing.assert_close(after["root_pos"][1], new.root_pos[1])
    for e in (engine, twin):
        lab.run(e, 6, command)
    assert same(snapshot(engine.states[0]), snapshot(twin.states[0]), [0, 2, 3])


def test_an_empty_mask_changes_nothing(lab, snapshot, same):
    engine = lab.make()
    lab.run(engine, 3, lab.standing_pose(engine))
    before = snapshot(engine.states[0])
    engine.reset(lab.mask(engine), {0: lab.rest(engine)})
    assert same(before, snapshot(engine.states[0]))


def test_a_reset_environment_forgets_its_past(lab, snapshot, same):
    """Warm start, commands and forces of the old episode are gone: it moves as in a new engine."""
    old, new = lab.make(), lab.make()
    lab.reset_all(old, lab.random(old, seed=1, height=1.0))
    lab.run(old, 10, lab.random(old, seed=2).dof_pos)
    old.set_body_force(0, torch.full((3, 3), 500.0))
    start = lab.rest(old, height=0.87)  # the feet touch at once, so that the warm start matters
    for engine in (old, new):
        lab.reset_all(engine, start)
        engine.step()  # no command given: both hold the zero command
    assert same(snapshot(old.states[0]), snapshot(new.states[0]))
    assert same(old.state_dict(), new.state_dict())  # in the simulator's own precision too
    for engine in (old, new):
        lab.run(engine, 8, lab.standing_pose(engine))
    assert same(snapshot(old.states[0]), snapshot(new.states[0]))


def test_objects_that_are_not_named_keep_their_state(lab, snapshot):
    engine = lab.make(lab.humanoid, lab.ball(start_pos=(3.0, 0.0, 2.0)))
    lab.run(engine, 3, torch.zeros(3, 28))
    character, ball = snapshot(engine.states[0]), snapshot(engine.states[1])
    engine.reset(lab.mask(engine, 0, 2), {1: lab.rest(engine, obj=1, height=5.0)})
    after = snapshot(engine.states[0])
    for name in STATE:
        assert torch.equal(after[name], character[name]), name
    assert torch.equal(engine.states[1].root_pos[1], ball["root_pos"][1])
    torch.testing.assert_close(engine.states[1].root_pos[[0, 2]], torch.tensor([[0.0, 0.0, 5.0]]).repeat(2, 1))


def test_a_reset_moves_a_fixed_object_and_its_collisions(lab):
    engine = lab.make(lab.ball(), lab.box(start_pos=(0.0, 0.0, 0.5)))
    everywhere = torch.ones(3, dtype=torch.bool)
    box = lab.rest(engine, obj=1, root_pos=torch.tensor([4.0, 0.0, 1.0]))
    ball = lab.rest(engine, root_pos=torch.tensor([4.0, 0.0, 1.31]))
    engine.reset(everywhere, {0: ball, 1: box})
    torch.testing.assert_close(engine.states[1].root_pos, box.root_pos)
    lab.run(engine, 20)
    torch.testing.assert_close(engine.states[0].root_pos[:, 2], torch.full((3,), 1.3), atol=5e-3, rtol=0)
    torch.testing.assert_close(engine.states[1].root_pos, box.root_pos)
