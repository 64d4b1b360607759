"""Stepping some environments alone: they move as with the others, and the others stay where they are."""

import torch


def test_some_environments_alone(lab, snapshot, same):
    engine, twin = lab.make(num_envs=4), lab.make(num_envs=4)
    command = 0.3 * lab.random(engine, seed=9).dof_pos
    for e in (engine, twin):
        lab.reset_all(e, lab.random(e, seed=2, height=1.0))
        lab.run(e, 3, command)
    before = snapshot(engine.states[0])
    if not engine.step_only(lab.mask(engine, 1, 3)):  # there all of them go on
        lab.run(engine, 2, command)
        lab.run(twin, 2, command)
        assert same(snapshot(engine.states[0]), snapshot(twin.states[0]))
        return
    lab.run(engine, 8, command)
    lab.run(twin, 8, command)
    after = snapshot(engine.states[0])
    assert same(before, after, [0, 2])
    assert same(after, snapshot(twin.states[0]), [1, 3])
    assert not torch.equal(before["root_pos"][1], after["root_pos"][1])

    # Who rests is put into a new state all the same, and goes on with the others when they are asked again.
    new = lab.random(engine, seed=3)
    for e in (engine, twin):
        e.reset(lab.mask(e, 0, 2), {0: new})
    assert engine.step_only(None)
    for e in (engine, twin):
        lab.run(e, 4, command)
    assert same(snapshot(engine.states[0]), snapshot(twin.states[0]))


def test_a_world_that_explodes_is_noticed_among_some(lab):
    engine = lab.make(num_envs=3)
    if not engine.step_only(lab.mask(engine, 1)):
        return
    wild = lab.random(engine, seed=3, height=1.2)
    wild.dof_vel[1] = 1e8  # rad/s
    lab.reset_all(engine, wild)
    engine.step()
    assert engine.diverged.tolist() == [False, True, False]
