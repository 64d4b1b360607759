"""The env's own behaviour: buffers, resets, modes, saved state. Numbers are in test_golden_deepmimic.py."""

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from env_test_tools import Golden
from torch.utils._python_dispatch import TorchDispatchMode

from mimickit_hydra.envs import tracking
from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL, DONE_SUCC, DONE_TIME
from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.parts import Part
from mimickit_hydra.training.metrics import ERRORS, TestMetrics

GOLDEN = Golden("env_deepmimic_humanoid")
VARIANTS = Golden("env_deepmimic_humanoid_variants")
N = 6


def _env(case="shipped", golden=GOLDEN, seed=0, **changes):
    torch.manual_seed(seed)
    config = dataclasses.replace(golden.config(case), **changes)
    return golden.env(case, num_envs=N, config=config)


def _mask(*rows):
    mask = torch.zeros(N, dtype=torch.bool)
    mask[list(rows)] = True
    return mask


def _noise(env, seed):
    return 0.3 * torch.randn(N, env.character.num_dofs, generator=torch.Generator().manual_seed(seed))


def _snapshot(env):
    return {name: tensor.clone() for name, tensor in env._buffers().items()}


def test_buffers_are_the_same_objects_forever():
    env, _ = _env()
    kept = (env.obs, env.reward, env.done, env.info["tracking_error"])
    obs = env.reset()
    stepped = env.step(torch.zeros(N, 28))
    env.reset(_mask(1))
    assert obs is stepped[0] is kept[0] is env.obs
    assert stepped[1] is kept[1] is env.reward
    assert stepped[2] is kept[2] is env.done
    assert stepped[3] is env.info
    assert env.info["tracking_error"] is kept[3]


@pytest.mark.parametrize(("golden", "case"), [(GOLDEN, "shipped"), (VARIANTS, "local_no_height_long_targets"),
                                              (VARIANTS, "local_phase_only")])  # fmt: skip
def test_reset_by_mask_equals_reset_by_list(golden, case):
    states = []
    for by_index in (True, False):
        env, engine = _env(case, golden)
        env._by_index = env.window._rotate = by_index  # the ways of the CPU, then those of a GPU
        env.set_mode(test=True)
        env.reset()
        for step in range(4):
            engine.upcoming = [{"dof_pos": _noise(env, step)}]
            env.step(torch.zeros(N, 28))
            env.reset(_mask(step, 5))
        states.append(env.state_dict())
    for name, expected in states[0].items():
        torch.testing.assert_close(states[1][name], expected, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_reset_leaves_other_environments_alone():
    env, engine = _env()
    env.reset()
    env.step(_noise(env, 0))
    before, roots = _snapshot(env), engine.states[0].root_pos.clone()
    window = [frame.root_pos.clone() for frame in env.window.frames]
    env.reset(_mask(2, 3))
    rest = ~_mask(2, 3)
    for name, tensor in _snapshot(env).items():
        assert torch.equal(tensor[rest], before[name][rest]), name
    assert torch.equal(engine.states[0].root_pos[rest], roots[rest])
    for old, new in zip(window, env.window.frames, strict=True):
        assert torch.equal(new.root_pos[rest], old[rest])
    assert env.timestep.tolist() == [1, 1, 0, 0, 1, 1]


def test_empty_reset_does_nothing_not_even_to_the_generator():
    env, engine = _env()
    env.reset()
    before, rng, resets = _snapshot(env), torch.get_rng_state(), len(engine.resets)
    env.reset(_mask())
    assert len(engine.resets) == resets
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(tensor, before[name]) for name, tensor in _snapshot(env).items())


def test_first_observation_is_of_the_reference_state():
    env, engine = _env()
    env.set_mode(test=True)
    env.reset()
    state, now = engine.states[0], env.window.now
    torch.testing.assert_close(state.root_pos, now.root_pos)
    torch.testing.assert_close(state.body_pos, now.body_pos, atol=1e-5, rtol=0)
    assert env.info["tracking_error"].max() < 1e-4
    assert torch.equal(state.ground_contact_forces, torch.zeros_like(state.ground_contact_forces))


def test_starts_are_random_only_if_asked():
    env, _ = _env(rand_reset=False)
    env.reset()
    assert torch.equal(env.start_times, torch.zeros(N))
    env, _ = _env()
    env.reset()
    assert (env.start_times > 0).all()
    assert (env.start_times <= env.reference.library.lengths[env.motion_ids]).all()


def test_a_window_frame_is_what_the_library_shows_at_its_time():
    env, _ = _env(tar_obs_steps=[1, 4])
    env.reset()
    for step in range(7):
        env.step(torch.zeros(N, 28))
        if step == 3:
            env.reset(_mask(0, 4))
    for ahead, frame in ((0, env.window.now), (1, env.window.targets[0]), (4, env.window.targets[1])):
        times = (env.timestep + ahead) * env.control_dt + env.start_times
        for name, expected in env.reference.at(env.motion_ids, times).tensors().items():
            torch.testing.assert_close(getattr(frame, name), expected, atol=1e-5, rtol=1e-5)


def test_targets_may_lie_in_the_past():
    env, _ = _env(tar_obs_steps=[-2, 0])
    env.reset()
    env.step(torch.zeros(N, 28))
    past = env.reference.at(env.motion_ids, (env.timestep - 2) * env.control_dt + env.start_times)
    torch.testing.assert_close(env.window.targets[0].root_pos, past.root_pos)
    assert env.window.targets[1] is env.window.now


def test_clamped_clip_succeeds_on_its_last_step():
    env, _ = _env(enable_early_termination=False)
    ids = torch.zeros(N, dtype=torch.int64)
    clamped = [i for i, mode in enumerate(env.reference.library.loop_modes.tolist()) if mode == 0]
    ids[:] = clamped[0]
    length = float(env.reference.library.lengths[clamped[0]])
    env.reset_to(ids, torch.full((N,), length - 2.5 * env.control_dt))
    flags = [env.step(torch.zeros(N, 28))[2].tolist()[0] for _ in range(3)]
    assert flags == [DONE_NULL, DONE_NULL, DONE_SUCC]


def test_time_limit_on_a_clip_that_repeats():
    env, _ = _env(enable_early_termination=False, episode_length=0.1)
    wraps = [i for i, mode in enumerate(env.reference.library.loop_modes.tolist()) if mode == 1]
    env.reset_to(torch.full((N,), wraps[0]), torch.zeros(N))
    assert [env.step(torch.zeros(N, 28))[2].tolist()[0] for _ in range(3)] == [DONE_NULL, DONE_NULL, DONE_TIME]


def test_actions_are_clipped_to_the_bounds():
    env, engine = _env()
    env.reset()
    env.step(torch.full((N, 28), 100.0))
    env.step(torch.full((N, 28), -100.0))
    assert torch.equal(engine.commands[0], env.action_high.expand(N, 28))
    assert torch.equal(engine.commands[1], env.action_low.expand(N, 28))


def test_saved_state_continues_to_the_bit():
    env, engine = _env()
    env.reset()
    for step in range(3):
        engine.upcoming = [{"dof_pos": _noise(env, step)}]
        env.step(torch.zeros(N, 28))
    state, rng = env.state_dict(), torch.get_rng_state()

    def go_on(env, engine):
        engine.upcoming = [{"dof_pos": _noise(env, 10)}, {"dof_pos": _noise(env, 11)}]
        env.step(torch.zeros(N, 28))
        env.reset(_mask(1))
        env.step(torch.zeros(N, 28))
        return env.state_dict()

    expected = go_on(env, engine)
    other, other_engine = _env(seed=99)
    other.reset()
    other.load_state_dict(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in other.state_dict().items())
    torch.set_rng_state(rng)
    actual = go_on(other, other_engine)
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_state_of_another_size_is_refused_in_one_line():
    env, _ = _env()
    other, _ = GOLDEN.env("shipped", num_envs=N + 1)
    with pytest.raises(EnvError, match=r"obs has shape \[7, 464\], this env needs \[6, 464\]"):
        env.load_state_dict(other.state_dict())
    with pytest.raises(EnvError, match="no 'obs'"):
        env.load_state_dict({})


def test_errors_are_recorded_in_test_mode_only_and_kept_after_it():
    env, engine = _env()
    env.reset()
    engine.upcoming = [{"dof_pos": _noise(env, 0)}, {"dof_pos": _noise(env, 1)}]
    env.step(torch.zeros(N, 28))
    live = env.diagnostics()
    assert list(live) == list(tracking.NAMES)
    assert all(float(v) == 0 for v in live.values())
    saved = env.state_dict()
    env.set_mode(test=True)
    env.step(torch.zeros(N, 28))
    env.set_mode(test=False)
    measured = float(live["body_pos_err"])
    assert measured > 0
    torch.testing.assert_close(live["body_pos_err"], env.info["tracking_error"][:, 2].mean())
    env.load_state_dict(saved)  # the training state comes back, the test's result stays
    assert float(live["body_pos_err"]) == measured
    env.set_mode(test=True)
    assert float(live["body_pos_err"]) == 0
    quiet, _ = _env(log_tracking_error=False)
    assert quiet.diagnostics() == {}


@pytest.mark.parametrize("early", [True, False])
def test_diverged_simulation_ends_and_poisons_nothing(early):
    env, engine = _env(enable_early_termination=early, pose_termination=False)
    env.set_mode(test=True)
    env.reset()
    bad = {"root_pos": engine.states[0].root_pos.clone(), "dof_pos": engine.states[0].dof_pos.clone()}
    bad["root_pos"][3] = bad["dof_pos"][3] = float("nan")
    engine.upcoming = [bad]
    obs, reward, done, info = env.step(torch.zeros(N, 28))
    assert (done == 1).tolist() == _mask(3).tolist() == env.causes["diverged"].tolist()
    assert torch.isfinite(obs).all()
    assert float(reward[3]) == 0.0
    assert (reward[~_mask(3)] > 0).all()
    assert torch.isfinite(info["tracking_error"]).all()
    assert all(torch.isfinite(v) for v in env.diagnostics().values())
    env.reset(done > 0)
    assert env.obs[3].abs().sum() > 0
    env.step(torch.zeros(N, 28))
    assert "diverged" not in env.causes


@pytest.mark.parametrize("sign", ["flag", "root_pos", "dof_vel"])
def test_a_diverged_episode_is_never_a_success(sign):
    """Whichever way the engine shows it, and also in the very step that ends the episode in time."""
    env, engine = _env(enable_early_termination=False, pose_termination=False, episode_length=1.0 / 30.0)
    metrics = TestMetrics(N, env.control_dt)
    env.set_mode(test=True)
    for _ in range(3):
        env.reset()
        engine.diverged.zero_()
        if sign == "flag":
            engine.diverged[3] = True
        else:
            bad = getattr(engine.states[0], sign).clone()
            bad[3, 0] = float("nan")
            engine.upcoming = [{sign: bad}]
        _, reward, done, _ = env.step(torch.zeros(N, 28))
        assert (done == DONE_FAIL).tolist() == _mask(3).tolist()
        assert float(reward[3]) == 0.0
        metrics.record(torch.zeros(N, 28), reward, done, env.latest.character, env.latest.reference)
    result = metrics.result()
    assert result["success_rate"] == pytest.approx(1.0 - 1.0 / N)
    assert all(np.isfinite(result[name]) for name in ("return", *ERRORS))


def test_reference_pose_is_the_reference_now():
    env, _ = _env()
    env.reset()
    env.step(torch.zeros(N, 28))
    root_pos, _, dof_pos = env.reference_pose()
    torch.testing.assert_close(root_pos, env.window.now.root_pos)
    torch.testing.assert_close(
        env.character.dof_to_rot(dof_pos).abs(), env.window.now.joint_rot.abs(), atol=1e-4, rtol=0
    )


def test_timers_wrap_physics_and_the_rest():
    class Timers:
        def __init__(self):
            self.names = []

        def section(self, name):
            self.names.append(name)
            return contextlib.nullcontext()

    env, _ = _env()
    env._timers = Timers()
    env.reset()
    env.step(torch.zeros(N, 28))
    assert env._timers.names == ["env", "physics", "env"]


def test_observing_needs_no_gradient():
    env, _ = _env()
    env.reset()
    action = torch.zeros(N, 28, requires_grad=True)
    obs, reward, *_ = env.step(action)
    assert not obs.requires_grad
    assert not reward.requires_grad


class Kernels(TorchDispatchMode):
    """Counts the operations that compute something; views are free on a GPU and nearly so on a CPU."""

    VIEWS = ("view", "unsqueeze", "select", "slice", "expand", "split", "unbind", "alias", "detach", "squeeze")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.overloadpacket.__name__.startswith(self.VIEWS)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("case", "golden", "allowed"), [("shipped", GOLDEN, 240), ("local", VARIANTS, 380)])
def test_a_step_and_a_reset_are_few_kernels(case, golden, allowed):
    """MimicKit issues about 3,400 for a step and 6,000 for a reset of two; every one costs a launch."""
    env, engine = _env(case, golden)
    env.reset()
    engine.reset = lambda mask, states: None  # not the env's work
    for call in (lambda: env.step(torch.zeros(N, 28)), lambda: env.reset(_mask(1, 2))):
        with Kernels() as kernels:
            call()
        assert kernels.count <= allowed


def test_by_mask_nothing_waits_for_data():
    """No host sync and no data-dependent shape, so that a GPU never stalls and a CUDA graph can hold it all."""

    class Names(TorchDispatchMode):
        seen = frozenset()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.seen |= {func.overloadpacket.__name__}
            return func(*args, **(kwargs or {}))

    env, engine = _env()
    env._by_index = False
    env.set_mode(test=True)
    env.reset()
    engine.reset = lambda mask, states: None
    with Names() as names:
        env.step(torch.zeros(N, 28))
        env.reset(env.done > 0)
    assert not names.seen & {"_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "index_put_", "equal"}


class Waypoint(Part):
    """A task in miniature: one more number to see, a failure of its own, a state to save."""

    obs_size = 1

    def __init__(self):
        self.goal = torch.zeros(N, 1)
        self.calls = []

    def before_physics(self, command, time):
        self.calls.append("before_physics")

    def restart(self, view, rows):
        self.calls.append("restart")
        rows.put(self.goal, view.character.root_pos[:, :1] + 1.0)

    def update(self, view):
        self.calls.append("update")
        self.goal += 1.0

    def observe(self, view, rows):
        self.calls.append("observe")
        return [rows.take(self.goal)]

    def info(self):
        return {"goal": self.goal}

    def failure(self, view):
        return {"goal": self.goal[:, 0] > 1e6}

    def state_dict(self):
        return {"goal": self.goal.clone()}

    def load_state_dict(self, state):
        self.goal.copy_(state["goal"])


@pytest.mark.parametrize("by_index", [True, False])
def test_a_part_adds_observation_failure_info_and_state(by_index):
    from mimickit_hydra.envs.imitation import ImitationEnv

    base, engine = _env()
    part = Waypoint()
    env = ImitationEnv(
        engine, base.character, base.reference, base._key_bodies, (base.action_low, base.action_high),
        [base.parts[0], part], None, episode_length=10.0, clip_end=None, reset_by_index=by_index,
    )  # fmt: skip
    env.reset()
    assert torch.equal(env.obs[:, -1], engine.states[0].root_pos[:, 0] + 1.0)
    before = env.obs[:, -1].clone()
    _, reward, _, info = env.step(torch.zeros(N, 28))
    assert part.calls == ["restart", "observe", "before_physics", "update", "observe"]
    assert torch.equal(env.obs[:, -1], before + 1.0)
    assert torch.equal(reward, torch.zeros(N))
    assert info["goal"] is part.goal
    state = env.state_dict()
    part.goal[2] = 2e6
    assert env.step(torch.zeros(N, 28))[2].tolist() == [0, 0, 1, 0, 0, 0]
    env.load_state_dict(state)
    assert torch.equal(part.goal, state["parts/1/goal"])
    env.reset(_mask(2))
    assert float(part.goal[2]) == float(engine.states[0].root_pos[2, 0]) + 1.0
