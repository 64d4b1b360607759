"""The world-model agent on the MuJoCo engine: it resumes to the bit, and its gradient is that of what it imagines."""

import math

import pytest
import torch

from mimickit_hydra.agents.world_model.imagination import Imagination, engine_state
from mimickit_hydra.agents.world_model.rollout import frozen, objective
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.terms import Term
from mimickit_hydra.errors import UserError
from mimickit_hydra.training.build import build

SMALL = [
    "method=supermimic", "engine=mujoco", "motion=humanoid_walk", "num_envs=8", "engine.num_threads=1",
    "agent.warmup_steps=40", "agent.steps_per_iter=8", "agent.buffer_steps=48", "agent.holdout_envs=2",
    "agent.world_warmup=80", "agent.window=6", "agent.first_window=3", "agent.window_iters=4", "agent.horizon=4",
    "agent.actor_batch_size=2", "agent.critic_batch_size=1", "agent.world_batch_size=4", "agent.iters_per_output=2",
    "agent.model.actor_net=fc_2layers_128units", "agent.model.critic_net=fc_2layers_128units",
    "agent.model.world_net=[64,64]",
]  # fmt: skip


@pytest.fixture(scope="module")
def make():
    made = []

    def make(*overrides):
        torch.manual_seed(3)
        made.append(build(to_run(compose([*SMALL, *overrides])), Comm(), torch.device("cpu")))
        return made[-1].agent

    yield make
    for parts in made:
        parts.close()


@pytest.fixture(scope="module")
def trained(make):
    agent = make()
    rows = [agent.train_iteration() for _ in range(8)]
    return agent, rows


def test_it_learns_something_and_all_numbers_are_finite(trained):
    agent, rows = trained
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert rows[3]["World_Loss"] == 0.0  # the warm-up goes on
    assert rows[4]["World_Loss"] > 0.0
    assert int(agent.obs_norm._count) == 40 * 8  # of the whole warm-up, and of nothing else
    # Eighty updates of a tiny model: better than the ballistic predictor, which knows nothing of what pulls the joints.
    assert 0.0 < rows[6]["World_Joint_Ratio_1"] < 0.97
    assert 0.0 < rows[6]["World_Joint_Ratio_8"] < 0.95
    assert 0.5 < rows[6]["Reward_Foretold"] / rows[6]["Reward_Logged"] < 2.0
    assert agent.act(agent.env.obs).shape == (8, 28)


@pytest.mark.parametrize("env", ["deepmimic", "tracking"])
def test_a_resumed_run_is_the_same_run(make, trained, env):
    agent = trained[0] if env == "deepmimic" else make("env=tracking")
    while agent.iteration < 8:
        agent.train_iteration()
    saved, world, rng = agent.state_dict(), agent.env.state_dict(), torch.get_rng_state()
    expected = [agent.train_iteration() for _ in range(3)]
    again = make(f"env={env}")
    again.load_state_dict(saved)
    again.env.load_state_dict(world)
    again.env.obs.copy_(saved["obs"])
    torch.set_rng_state(rng)
    assert [again.train_iteration() for _ in range(3)] == expected
    ends = [one.model_state_dict() for one in (agent, again)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_weights_alone_go_on_with_their_statistics(make, trained):
    agent, _ = trained
    again = make()
    again.load_model_state_dict(agent.model_state_dict())
    again.train_iteration()
    assert torch.equal(again.model.world.scale, agent.model.world.scale)
    assert torch.equal(again.obs_norm.mean, agent.obs_norm.mean)


@pytest.mark.parametrize("env", ["deepmimic", "tracking"])
def test_imagined_moments_are_what_the_env_shows_and_pays(make, env):
    """Observation, reward and failures of the simulator's states, by way of the agent's vectors."""
    agent = make(f"env={env}")
    env, layout, imagination = agent.env, agent._layout, agent._imagination
    agent._start()
    env.set_mode(True)  # without noise
    env.reset()
    obs = env.obs.clone()
    state, ids, time = engine_state(env, layout), env.motion_ids.clone(), env.motion_time.clone()
    glimpse, actions = imagination.glimpses(ids, time, 6), [env.last_command.clone()]
    view = imagination.view(state, ids, time, glimpse(0, 1), actions[0], actions[0])
    torch.testing.assert_close(imagination.observe(view), obs, atol=1e-5, rtol=1e-5)
    parts = [imagination.observe(view, of_reference=kind) for kind in (False, True)]
    torch.testing.assert_close(imagination.joined(*parts), obs, atol=1e-5, rtol=1e-5)
    for k in range(1, 6):
        actions.append(env.action_low + torch.rand(8, len(env.action_low)) * (env.action_high - env.action_low))
        _, reward, _, _ = env.step(actions[-1])
        when = time + k * env.control_dt
        view = imagination.view(engine_state(env, layout), ids, when, glimpse(k, 1), actions[-1], actions[-2])
        found, alive = imagination.judge(view)
        torch.testing.assert_close(imagination.observe(view), env.obs, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found, reward, atol=1e-5, rtol=1e-5)
        for part in imagination._failing:
            margin = part.margin(view)
            if margin is not None:
                assert torch.equal(margin < 0, part.failure(env.latest)[part.name])
        assert bool((alive <= 0).all())


def test_probes_have_no_noise_and_start_on_the_reference(make):
    agent = make("env=tracking", "num_envs=32")
    quiet = torch.arange(32) % 8 == 0
    assert torch.equal(agent._sigma.squeeze(-1) == 0.0, quiet)
    agent._start()
    env = agent.env
    off = (env.engine.states[0].dof_pos - env._now[:, 13 : 13 + env.character.num_dofs]).abs().amax(-1)
    assert torch.equal(off < 1e-5, quiet)
    row = agent.train_iteration()
    assert row["Probe_Falls_Per_Hour"] >= 0.0
    assert 0.0 <= row["Probe_Starts"] <= 0.3


def test_what_is_looked_ahead_at_is_what_comes(make):
    """A glimpse of several steps is those of its steps, and a rollout sees what the env's own observation holds."""
    agent = make("env=tracking")
    env, imagination = agent.env, agent._imagination
    ids, time = torch.zeros(3, dtype=torch.int64), torch.tensor([0.0, 0.2, 100.0])
    glimpse = imagination.glimpses(ids, time, 4)
    state = engine_state(env, agent._layout)[:3]
    shown = agent._dream._shown(state, env.last_command[:3], ids, time, glimpse, 4)
    for k in range(4):
        view = imagination.view(state, ids, time + k * env.control_dt, glimpse(k, 1), *[env.last_command[:3]] * 2)
        raw = imagination.observe(view, of_reference=True)
        torch.testing.assert_close(shown[k], agent.obs_norm.normalize_columns(raw, imagination.shown))


def test_the_gradient_through_the_model_is_that_of_differences(trained):
    agent, _ = trained
    torch.manual_seed(0)
    index = agent._ring.windows(4, 1, 0, 8)[0]
    starts = [agent._ring.take(name, index) for name in ("state", "before", "motion_id", "motion_time")]
    way = torch.randn(4, 4, agent.env.action_low.shape[0])
    way[0] = 0.1 * torch.randn(4, way.shape[-1])

    def total(step):
        with frozen(agent.model.world, agent.model.policy):
            found = agent._dream.roll(agent.model.policy, *starts, step * way, 1e9)
        return objective(found, found.norm_obs[-1].tanh().mean(-1), 0.9)

    step = torch.zeros((), requires_grad=True)
    (slope,) = torch.autograd.grad(total(step), step)
    with torch.no_grad():
        differences = (total(torch.tensor(1e-3)) - total(torch.tensor(-1e-3))).item() / 2e-3
    assert slope.item() == pytest.approx(differences, rel=5e-3)


class Remembering(Term):
    def restart(self, view, rows):
        pass


class Pushed(Term):
    def __call__(self, view):
        return view.ground_contact_forces.sum((-1, -2))


@pytest.mark.parametrize(("term", "message"), [(Remembering, "remembers more"), (Pushed, "looks at contact forces")])
def test_what_cannot_be_imagined_is_refused_in_one_line(make, term, message):
    agent = make()
    agent.env.parts.append(term(None, None).used_as("observations", "mine"))
    with pytest.raises(UserError, match=message) as error:
        Imagination(agent.env, agent._layout)
    assert "\n" not in str(error.value)
    agent.env.parts.pop()


def test_an_env_that_shows_the_past_is_refused(make):
    with pytest.raises(UserError, match="this one shows the past"):
        make("env=tracking", "randomize=robot")


def test_the_policy_is_updated_in_bfloat16(make):
    agent = make("env=tracking", "agent.use_mixed_precision=true", "agent.world_warmup=2")
    rows = [agent.train_iteration() for _ in range(6)]
    assert rows[-1]["Policy_Loss"] != 0.0
    assert all(math.isfinite(value) for value in rows[-1].values())
    assert all(parameter.dtype == torch.float32 for parameter in agent.model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("env", ["deepmimic", "tracking"])
def test_what_is_compiled_is_one_graph_and_gives_the_same(make, env, monkeypatch):
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **_: compiled(f, backend="eager", fullgraph=True, dynamic=False))
    ends = []
    for wanted in ("true", "false"):
        agent = make(f"env={env}", f"agent.compile={wanted}", "agent.world_warmup=1", "agent.horizon=2",
                     "agent.window=2", "agent.first_window=2")  # fmt: skip
        for _ in range(7):
            agent.train_iteration()
        ends.append(agent.model_state_dict())
    for name in ends[0]:
        torch.testing.assert_close(ends[0][name], ends[1][name], atol=1e-4, rtol=1e-3)
