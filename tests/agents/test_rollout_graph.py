"""The staged rollout gives the numbers of the direct one, and is cut where the simulator steps."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from toy_env import FakeGraph, ToyEnv, ToyStyleEnv, toy_config

from mimickit_hydra.agents import graph
from mimickit_hydra.agents.graph import WARM_STEPS, Recording, Repeated, StagedRollout
from mimickit_hydra.agents.ppo_agent import PPOAgent
from mimickit_hydra.agents.registry import make_agent
from mimickit_hydra.agents.schema import AMPAgentConfig, AMPModelConfig


class FakeEngine:
    """Steps are counted; a step inside a capture would be an error."""

    capturable = True

    def __init__(self):
        self.steps = 0

    def step(self):
        self.steps += 1


class CutEnv(ToyEnv):
    """A toy whose physics is an engine's step in the middle of its own, as in the real environment."""

    def __init__(self, num_envs=8):
        super().__init__(num_envs)
        self.engine = FakeEngine()

    def step(self, action):
        self.position += action.clamp(self.action_low, self.action_high)
        self.engine.step()
        return super().step(torch.zeros_like(action))


class HostEngine(FakeEngine):
    """One that works on the host: calls are noted between what graphs do."""

    capturable = False

    def __init__(self):
        super().__init__()
        self.given = []

    def note(self, name, *tensors):
        FakeGraph.log.append(name)
        self.given.append((name, *map(id, tensors)))

    def set_command(self, command):
        self.note("set_command", command)

    def set_body_force(self, body, force, obj=0):
        self.note("set_body_force", force)

    def step(self):
        super().step()
        self.note("step")

    def reset(self, mask, states):
        self.note("reset", mask, *states.values())

    def place(self, obj, mask, state):
        self.note("place", mask, state)


class HostEnv(CutEnv):
    """Calls all that an engine offers, with tensors of its own and with such as a step makes."""

    def __init__(self, num_envs=8):
        super().__init__(num_envs)
        self.engine = HostEngine()

    def reset(self, mask=None):
        obs = super().reset(mask)
        if mask is not None:
            self.engine.reset(mask, {0: self.position})
        return obs

    def step(self, action):
        command = action.clamp(self.action_low, self.action_high)
        self.engine.set_body_force(0, force=command * 2.0)
        self.engine.set_command(command)
        result = super().step(action)
        self.engine.place(1, result[2] > 0, self.target)
        return result


def make(seed=0, env=None, **changes):
    torch.manual_seed(seed)
    return PPOAgent(toy_config(**changes), env or ToyEnv(8), "cpu")


def assert_same(first, second):
    for name, tensor in first.buffer._fields.items():
        assert torch.equal(tensor, second.buffer[name]), name
    for left, right in zip(first.net.state_dict().values(), second.net.state_dict().values(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("changes", [{}, {"exp_prob_beg": 0.5, "exp_anneal_samples": 400}, {"normalizer_samples": 200}])
def test_a_staged_rollout_is_the_direct_one(changes):
    direct, staged = make(**changes), make(**changes)
    staged._staged = StagedRollout(staged, capture=False)
    for agent in (direct, staged):
        torch.manual_seed(5)
        rows = [agent.train_iteration() for _ in range(4)]
    assert len(rows) == 4
    assert_same(direct, staged)
    assert not staged._staged.captured


def test_fields_of_a_method_travel_with_the_rows():
    """ASE fills rows before the rollout, changes them in a step, and reads the environment's info."""
    agents = []
    for stage in (False, True):
        torch.manual_seed(1)
        config = toy_config(
            AMPAgentConfig, agent_name="AMP", disc_buffer_size=256, disc_replay_samples=32,
            disc_batch_size=2, disc_epochs=1, disc_logit_reg=0.01, disc_grad_penalty=1.0, disc_reward_scale=2.0,
            task_reward_weight=0.0, disc_reward_weight=1.0, model=AMPModelConfig(
                "fc_2layers_128units", "fc_2layers_128units", 0.01, "FIXED", 0.2, disc_net="fc_2layers_128units"
            ),
        )  # fmt: skip
        agent = make_agent(config, ToyStyleEnv(8), "cpu", None, None)
        if stage:
            agent._staged = StagedRollout(agent, capture=False)
        for _ in range(3):
            agent.train_iteration()
        agents.append(agent)
    assert_same(*agents)


def test_the_capture_is_cut_at_the_physics():
    """Three ordinary steps, then one capture: graph, physics, graph; replayed ever after."""
    agent = make(env=CutEnv(), steps_per_iter=WARM_STEPS + 3)
    FakeGraph.log.clear()
    agent._staged = StagedRollout(agent, capture=True, make_graph=FakeGraph)
    agent._start()
    agent._rollout()
    assert agent._staged.captured
    assert FakeGraph.log == ["begin", "end", "begin", "end"] + ["replay", "replay"] * 3
    assert agent.env.engine.steps == WARM_STEPS + 3  # none while capturing
    assert "step" not in vars(agent.env.engine)
    assert agent.buffer.steps == WARM_STEPS + 3


def test_with_an_engine_that_works_on_the_host_every_call_is_a_cut():
    agent = make(env=HostEnv(), steps_per_iter=WARM_STEPS + 3)
    agent._staged = StagedRollout(agent, capture=True, make_graph=FakeGraph)
    agent._start()
    FakeGraph.log.clear()
    engine = agent.env.engine
    agent._rollout()
    calls = ["set_body_force", "set_command", "step", "place", "reset"]
    replayed = ["replay", *(word for name in calls for word in (name, "replay"))]
    assert FakeGraph.log == calls * WARM_STEPS + ["begin", "end"] * (len(calls) + 1) + replayed * 3
    assert engine.steps == WARM_STEPS + 3
    assert engine.given[-5:] == engine.given[-10:-5]  # the same tensors at each replay
    assert not set(calls) & set(vars(engine))


def test_what_a_test_repeats_is_cut_at_the_physics_too():
    env = CutEnv()
    env.reset()
    FakeGraph.log.clear()
    action = torch.zeros(8, 2)
    advance = Repeated(lambda: env.step(action), env, capture=True, make_graph=FakeGraph)
    for _ in range(WARM_STEPS + 2):
        advance()
    assert advance.captured
    assert FakeGraph.log == ["begin", "end", "begin", "end"] + ["replay", "replay"] * 2
    assert env.engine.steps == WARM_STEPS + 2


def test_who_watches_is_told_of_each_step_and_of_none_that_is_only_recorded():
    class Told(CutEnv):
        def step(self, action):
            found = super().step(action)
            if self.on_step is not None:
                self.on_step()
            return found

    env, seen = Told(), []
    env.reset()
    advance = Repeated(lambda: env.step(torch.zeros(8, 2)), env, capture=True, make_graph=FakeGraph)
    restart = Repeated(lambda: env.reset(), env, capture=True, make_graph=FakeGraph)
    for number in range(WARM_STEPS + 3):
        env.on_step = None if number == WARM_STEPS + 1 else lambda: seen.append(env.engine.steps)
        advance()
        restart()
    assert advance.captured
    assert seen == [1, 2, 3, 4, WARM_STEPS + 3]


def test_a_test_that_cannot_be_captured_runs_as_it_is(capsys):
    class Broken(FakeGraph):
        def capture_begin(self, capture_error_mode):
            raise RuntimeError("operation not permitted when stream is capturing")

    env = CutEnv()
    env.reset()
    advance = Repeated(lambda: env.step(torch.zeros(8, 2)), env, capture=True, make_graph=Broken)
    for _ in range(WARM_STEPS + 3):
        advance()
    assert env.engine.steps == int(env.steps_total) == WARM_STEPS + 3
    assert capsys.readouterr().err.count("could not be captured") == 1


def test_every_key_is_captured_once():
    agent = make(env=CutEnv(), steps_per_iter=WARM_STEPS + 1, normalizer_samples=1)
    FakeGraph.log.clear()
    agent._staged = StagedRollout(agent, capture=True, make_graph=FakeGraph)
    agent._start()
    agent._rollout()
    agent.samples = 10  # the window of the statistics closes: the step no longer stores raw observations
    agent._rollout()
    agent._rollout()
    assert FakeGraph.log.count("begin") == 4


def test_what_cannot_be_captured_runs_as_it_is(capsys):
    class Broken(FakeGraph):
        def capture_begin(self, capture_error_mode):
            raise RuntimeError("operation not permitted when stream is capturing")

    direct, fallen = make(), make()
    fallen._staged = StagedRollout(fallen, capture=True, make_graph=Broken)
    for agent in (direct, fallen):
        torch.manual_seed(2)
        for _ in range(2):
            agent.train_iteration()
    assert_same(direct, fallen)
    assert "not permitted" in fallen._staged.problem
    assert capsys.readouterr().err.count("could not be captured") == 1


def test_a_broken_capture_is_ended_on_the_stream_that_it_began_on(monkeypatch, capsys):
    """CUDA refuses to end it anywhere else, and with an open capture not even the step as it is could run."""
    log = FakeGraph.log
    log.clear()

    @contextmanager
    def side_stream(device):
        log.append("side")
        try:
            yield
        finally:
            log.append("back")

    monkeypatch.setattr(graph, "_on_side_stream", side_stream)
    agent = make(env=CutEnv(), steps_per_iter=WARM_STEPS + 2)
    agent._staged = StagedRollout(agent, capture=True, make_graph=FakeGraph)
    agent._start()
    step = agent._rollout_step

    def broken(t):
        step(t)
        if log[-1:] == ["begin"]:  # capturing
            raise RuntimeError("no host reads while capturing")

    monkeypatch.setattr(agent, "_rollout_step", broken)
    agent._rollout()
    assert log == ["side", "begin", "end", "begin", "end", "back"]
    assert "no host reads" in agent._staged.problem
    assert "could not be captured" in capsys.readouterr().err


def test_a_recording_that_breaks_is_empty():
    recording = Recording(FakeGraph)

    def broken():
        with recording.capturing():
            recording.cut(lambda: None)()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        broken()
    assert recording.parts == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@pytest.mark.parametrize("how", ["reads on the host", "asks for too much memory"])
def test_a_capture_that_breaks_on_cuda_leaves_a_stream_that_works(how):
    values = torch.ones(4, device="cuda")

    def broken():
        recording = Recording(torch.cuda.CUDAGraph)
        with graph._on_side_stream(values.device), recording.capturing():
            if how == "reads on the host":
                values.sum().item()
            torch.empty(1 << 50, device="cuda")

    with pytest.raises(RuntimeError):
        broken()
    torch.cuda.empty_cache()
    assert float((values + torch.ones(4, device="cuda")).sum()) == 8.0
    good = Recording(torch.cuda.CUDAGraph)
    with graph._on_side_stream(values.device), good.capturing():
        values.add_(1.0)
    good.replay()
    assert float(values.sum()) == 8.0
