"""Determinism, independence of environments, checkpoints, and recovery from numbers that are not numbers."""

from dataclasses import replace

import pytest
import torch

from mimickit_hydra.engines.interface import EngineError


def play(lab, engine, steps=8, seed=6):
    """Rough treatment near the ground."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        lab.run(engine, 1, torch.randn(engine.num_envs, 28, generator=generator) * 0.3)


def test_two_engines_agree_to_the_bit(lab, snapshot, same):
    engines = [lab.make(num_envs=5) for _ in range(2)]
    for engine in engines:
        lab.reset_all(engine, lab.random(engine, height=1.1))
        play(lab, engine)
    assert same(*(snapshot(engine.states[0]) for engine in engines))


def test_the_number_of_threads_changes_nothing(lab, snapshot, same):
    engines = [lab.make(num_envs=5, num_threads=n) for n in (1, 2, 4)]
    for engine in engines:
        lab.reset_all(engine, lab.random(engine, height=1.1))
        play(lab, engine)
    first, second, third = (snapshot(engine.states[0]) for engine in engines)
    assert same(first, second)
    assert same(first, third)


def test_environments_do_not_feel_each_other(lab, snapshot, same):
    """Three environments with equal starts and commands, one of them kicked."""
    engine = lab.make()
    start = lab.rest(engine, height=1.0)
    start.root_vel[1] = torch.tensor([5.0, 3.0, 2.0])
    lab.reset_all(engine, start)
    lab.run(engine, 10, lab.standing_pose(engine))
    state = snapshot(engine.states[0])
    first, second, third = ({name: tensor[row] for name, tensor in state.items()} for row in range(3))
    assert same(first, third)
    assert not same(first, second)


@pytest.mark.parametrize("poison", ["command", "state"])
def test_an_environment_that_is_lost_harms_no_other_and_recovers(lab, snapshot, poison, same):
    engine, healthy = lab.make(), lab.make()
    start = lab.rest(engine, height=0.9)
    for e in (engine, healthy):
        lab.reset_all(e, start)
    command = lab.standing_pose(engine)
    bad = command.clone()
    if poison == "command":
        bad[1] = torch.nan
    else:
        broken = lab.rest(engine, height=0.9)
        broken.dof_vel[1] = torch.nan
        engine.reset(lab.mask(engine, 1), {0: broken})
        healthy.reset(lab.mask(healthy, 1), {0: start})
    engine.set_command(bad)
    healthy.set_command(command)
    engine.step()
    healthy.step()
    assert engine.diverged.tolist() == [False, True, False]
    assert torch.isnan(engine.states[0].root_pos[1]).all()
    lab.run(engine, 3, command)
    lab.run(healthy, 3, command)
    assert engine.diverged.tolist() == [False, True, False]
    assert same(snapshot(engine.states[0]), snapshot(healthy.states[0]), [0, 2])
    for e in (engine, healthy):
        e.reset(lab.mask(e, 1), {0: start})
        lab.run(e, 6, command)
    assert not engine.diverged.any()
    assert same(snapshot(engine.states[0]), snapshot(healthy.states[0]))


@pytest.mark.parametrize("control_mode", ["pos", "pd_explicit"])
def test_every_blow_up_is_noticed(lab, control_mode, snapshot, same):
    """Of one environment several times in a row, by whatever, and none of it in the one beside it."""
    engine, healthy = (lab.make(num_envs=2, control_mode=control_mode) for _ in range(2))
    start = lab.rest(engine, height=1.5)
    command = torch.zeros(2, engine.models[0].num_dofs)
    everyone = torch.ones(2, dtype=torch.bool)
    for cause in ("speed", "speed", "command", "command", "state", "state", "speed"):
        bad, bad_command = lab.rest(engine, height=1.5), command.clone()
        if cause == "command":
            bad_command[1] = torch.nan
        else:
            bad.dof_vel[1] = 1e8 if cause == "speed" else torch.nan  # rad/s
        engine.reset(everyone, {0: bad})
        healthy.reset(everyone, {0: start})
        engine.set_command(bad_command)
        healthy.set_command(command)
        engine.step()
        healthy.step()
        assert engine.diverged.tolist() == [False, True], cause
        for name, tensor in vars(engine.states[0]).items():
            assert torch.isnan(tensor[1]).all(), (cause, name)
        assert same(snapshot(engine.states[0]), snapshot(healthy.states[0]), [0]), cause
    engine.reset(everyone, {0: start})
    lab.run(engine, 2, command)
    assert not engine.diverged.any()


def test_an_object_placed_nowhere_loses_its_environment_only(lab):
    engine = lab.make(lab.ball(start_pos=(0.0, 0.0, 1.0)), replace(lab.ball(start_pos=(3.0, 0.0, 1.0)), name="other"))
    nowhere = lab.rest(engine, obj=1)
    nowhere.root_vel[1] = torch.nan
    engine.place(1, lab.mask(engine, 1), nowhere)
    engine.step()
    assert engine.diverged.tolist() == [False, True, False]
    assert all(torch.isnan(state.root_pos[1]).all() for state in engine.states)
    fallen = torch.tensor([3.0, 0.0, 1.0]).repeat(2, 1)
    torch.testing.assert_close(engine.states[1].root_pos[[0, 2]], fallen, atol=0.01, rtol=0)
    engine.reset(lab.mask(engine, 1), {k: lab.rest(engine, obj=k, height=1.0 + k) for k in (0, 1)})
    engine.step()
    assert not engine.diverged.any()
    torch.testing.assert_close(engine.states[1].root_pos[1], torch.tensor([0.0, 0.0, 2.0]), atol=0.01, rtol=0)


@pytest.mark.parametrize("control_mode", ["pos", "pd_explicit"])
def test_a_saved_engine_continues_to_the_bit(lab, snapshot, control_mode, same):
    engine = lab.make(lab.humanoid, lab.ball(start_pos=(0.5, 0.0, 1.0)), control_mode=control_mode)
    lab.reset_all(engine, lab.random(engine, height=1.0))
    play(lab, engine)
    engine.set_body_force(2, torch.full((3, 3), 30.0))  # pending: part of the state
    saved = {name: tensor.clone() for name, tensor in engine.state_dict().items()}
    assert all(tensor.device.type == "cpu" for tensor in saved.values())
    at_save = [snapshot(state) for state in engine.states]

    def go_on(one):
        one.step()  # the command is part of the state too
        if lab.exact:  # where contacts add up in any order, two runs part while they go on
            play(lab, one, seed=11)
        return [snapshot(state) for state in one.states]

    want = go_on(engine)
    fresh = lab.make(lab.humanoid, lab.ball(start_pos=(0.5, 0.0, 1.0)), control_mode=control_mode)
    for restored in (engine, fresh):
        restored.load_state_dict(saved)
        assert all(same(a, snapshot(b)) for a, b in zip(at_save, restored.states, strict=True))
        assert all(same(a, b) for a, b in zip(want, go_on(restored), strict=True))


def test_a_saved_engine_of_another_size_is_refused(lab):
    saved = lab.make(num_envs=2).state_dict()
    with pytest.raises(EngineError, match="saved engine state does not fit"):
        lab.make(num_envs=3).load_state_dict(saved)
    with pytest.raises(EngineError, match="saved engine state does not fit"):
        lab.make(num_envs=3).load_state_dict({})
