"""The ring of trajectories, the optimiser, the bound on adjoints, the policy's start, and the objective."""

import math

import pytest
import torch
from torch import nn

from mimickit_hydra.agents.flat_optimizers import Muon
from mimickit_hydra.agents.world_model.adjoint import bounded
from mimickit_hydra.agents.world_model.networks import Policy, SmoothMLP, follow
from mimickit_hydra.agents.world_model.optimizer import WorldOptimizer
from mimickit_hydra.agents.world_model.rollout import Imagined, changes, lambda_targets, objective, outside, windows_of
from mimickit_hydra.agents.world_model.schema import WorldOptimizerConfig
from mimickit_hydra.agents.world_model.trajectories import Trajectories
from mimickit_hydra.distributed import Comm
from mimickit_hydra.errors import UserError

FIELDS = {"time": ((), torch.float32), "state": ((2,), torch.float32)}


def ring(pushed, steps=8, envs=3):
    found = Trajectories(steps, envs, FIELDS, torch.device("cpu"))
    for t in range(pushed):
        time = torch.full((1, envs), float(t))
        found.push(
            {"time": time, "state": time.unsqueeze(-1).expand(1, envs, 2) + torch.arange(envs)[None, :, None]}, 1
        )
    return found


@pytest.mark.parametrize("pushed", [4, 8, 13])
def test_windows_are_steps_in_a_row_of_one_environment(pushed):
    found = ring(pushed)
    index = found.windows(500, 4, 1, 3)
    time, env = found.take("time", index), found.take("state", index)[..., 0] - found.take("time", index)
    assert torch.equal(time - time[0], torch.arange(4.0).unsqueeze(-1).expand(4, 500))
    assert set(env.unique().tolist()) == {1.0, 2.0}
    assert torch.equal(env, env[:1].expand_as(env))
    oldest = max(0, pushed - 8)
    assert set(time[0].unique().tolist()) == set(range(oldest, pushed - 3))


def test_a_ring_goes_on_from_its_state_and_refuses_that_of_another_size():
    first, second = ring(11), ring(0)
    second.load_state_dict(first.state_dict(), "ring")
    torch.manual_seed(0)
    index = first.windows(20, 3, 0, 3)
    torch.manual_seed(0)
    assert torch.equal(first.take("state", index), second.take("state", second.windows(20, 3, 0, 3)))
    with pytest.raises(UserError, match="the checkpoint's ring holds 8 steps, this run's 16"):
        ring(0, steps=16).load_state_dict(first.state_dict(), "ring")


def test_muon_makes_the_singular_values_of_a_step_alike():
    torch.manual_seed(0)
    flat = nn.Parameter(torch.zeros(12 * 20 + 5))
    flat.grad = torch.randn(12 * 20 + 5)
    Muon(flat, 0.1, [torch.Size((12, 20))]).step()
    step = torch.linalg.svdvals(flat.data[:240].view(12, 20)) / (0.1 * 0.2 * math.sqrt(20))
    assert step.min() > 0.6
    assert step.max() < 1.3
    torch.testing.assert_close(flat.data[240:].abs(), torch.full((5,), 0.1), rtol=1e-4, atol=0)  # Adam's first step
    assert torch.equal(flat.data[240:].sign(), -flat.grad[240:].sign())


@pytest.mark.parametrize("kind", ["Muon", "Adam"])
def test_the_optimiser_learns_clips_what_is_unusual_and_goes_on_from_its_state(kind):
    torch.manual_seed(0)

    def make():
        torch.manual_seed(1)
        net = SmoothMLP(6, [16, 16], 2, 1.0)
        return net, WorldOptimizer("x", net.parameters(), net.matrices(), WorldOptimizerConfig(kind, 1e-2), Comm())

    net, optimizer = make()
    x = torch.randn(64, 6)
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2].sin()], -1)
    losses = []
    for k in range(60):
        loss = (net(x) - y).square().mean()
        losses.append(loss.item())
        optimizer.step(loss * (1e6 if k == 20 else 1.0))
        if k == 20:
            usual = optimizer.state_dict()["moments"]["usual_norm"]
            assert torch.linalg.vector_norm(optimizer.flat_grad) < 2.1 * usual
        assert losses[-1] < 1.5 * losses[0]
    assert losses[-1] < 0.3 * losses[0]
    other, again = make()
    other.load_state_dict(net.state_dict())
    again.load_state_dict(optimizer.state_dict())
    for one, its in ((net, optimizer), (other, again)):
        its.scale_rate(0.5)
        its.step((one(x) - y).square().mean())
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_a_gradient_that_is_no_number_changes_nothing():
    net = SmoothMLP(2, [4], 1, 1.0)
    optimizer = WorldOptimizer("x", net.parameters(), [], WorldOptimizerConfig("Adam", 1e-2), Comm())
    before = [p.clone() for p in net.parameters()]
    optimizer.step(net(torch.ones(1, 2)).sum() * torch.nan)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_adjoints_are_bounded_and_counted():
    state = torch.zeros(3, 2, requires_grad=True)
    seen = torch.zeros(2)
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4], [torch.nan, 1.0]])
    (bounded(state, 1.0, seen) * weight).sum().backward()
    torch.testing.assert_close(state.grad, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 1.0]]))
    torch.testing.assert_close(seen, torch.tensor([1 / 3, 1.0]))


def test_a_policy_starts_as_the_regression_of_what_it_is_shown():
    torch.manual_seed(0)
    policy = Policy(5, [8], 2)
    with torch.no_grad():
        policy.net.out.weight.zero_()
    x = torch.randn(400, 5) * torch.tensor([1, 2, 3, 1, 0.0]) + 1.0
    truth = torch.randn(2, 5) * torch.tensor([1, 1, 1, 0, 0])
    columns = [torch.tensor(chosen) for chosen in ([0], [0, 1, 2], [0, 1, 2, 3, 4])]
    policy.start_from(x, x @ truth.T + 0.3, columns)
    torch.testing.assert_close(policy(x), x @ truth.T + 0.3, atol=0.01, rtol=0.01)
    assert not policy.base_weight[:, 3:].any()  # of what it is not to look at


def test_a_policy_in_two_parts_is_the_policy():
    torch.manual_seed(0)
    policy, x = Policy(6, [8, 8], 2), torch.randn(4, 6)
    nn.init.normal_(policy.base_weight)
    mine, shown = torch.tensor([0, 2, 5]), torch.tensor([1, 3, 4])
    parts = [
        policy.first(x.index_select(1, columns), policy.weights(columns), bias)
        for columns, bias in ((mine, False), (shown, True))
    ]
    torch.testing.assert_close(policy.onward(parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]), policy(x))


def test_an_average_follows():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    expected = a.weight + 0.25 * (b.weight - a.weight)
    follow(a, b, 0.25)
    torch.testing.assert_close(a.weight, expected)


def test_the_objective_is_one_where_every_reward_is_and_ends_are_worth_nothing():
    steps, rollouts = 5, 2
    found = Imagined(
        torch.zeros(6, 2, 1), torch.zeros(5, 2, 3), torch.zeros(5, 2, 3), torch.ones(steps, rollouts),
        torch.zeros(steps, rollouts),
    )  # fmt: skip
    value = torch.ones(rollouts)
    torch.testing.assert_close(objective(found, value, 0.9), torch.ones(()))
    found.alive[2] = -1e4  # the third step is the last before an end
    torch.testing.assert_close(objective(found, value, 0.9), torch.tensor(0.1 * (1 + 0.9)))
    target = lambda_targets(found.rewards, found.alive, torch.full((6, 2), 0.5), 0.9, 1.0)
    torch.testing.assert_close(target[:3, 0], torch.tensor([0.19, 0.1, 0.0]))
    torch.testing.assert_close(target[4, 0], torch.tensor(0.1 + 0.9 * 0.5))
    target = lambda_targets(found.rewards, found.alive, torch.full((6, 2), 0.5), 0.9, 0.0)
    torch.testing.assert_close(target[0, 0], torch.tensor(0.1 + 0.9 * 0.5))


def test_penalties_of_actions():
    actions = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[1.0, 2.0]]])
    assert changes(actions) == 2.5
    assert changes(actions[:1]) == 0
    torch.testing.assert_close(outside(actions), torch.tensor(1 / 3))


def test_windows_double_until_they_are_whole():
    assert windows_of(8, 24, 300) == [(0, 8), (150, 16), (300, 24)]
    assert windows_of(8, 8, 300) == [(0, 8)]
    assert windows_of(4, 32, 0) == [(0, 4), (0, 8), (0, 16), (0, 32)]
