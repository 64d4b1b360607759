"""The env on real physics: the walk clip played as PD targets."""

import dataclasses

import pytest
import torch
from env_test_tools import Golden

from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.engines.registry import make_engine
from mimickit_hydra.engines.schema import MujocoEngineConfig
from mimickit_hydra.envs.registry import make_env
from mimickit_hydra.envs.scene import build_scene
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.library import MotionLibrary

pytest.importorskip("mujoco")
N = 8
CHAR_FILE = bundled_data() / "assets/humanoid/humanoid.xml"
CHARACTER = CharacterModel.from_file(CHAR_FILE)
LIBRARY = MotionLibrary.from_file(bundled_data() / "motions/humanoid/humanoid_walk.npz", CHARACTER)


def _env(seed=0, **changes):
    torch.manual_seed(seed)
    config = dataclasses.replace(Golden("env_deepmimic_humanoid").config("shipped"), **changes)
    engine = make_engine(
        MujocoEngineConfig(engine_name="mujoco", sim_freq=240, num_threads=1),
        build_scene(config, str(CHAR_FILE)),
        N,
        "cpu",
    )
    return make_env(config, engine, CHARACTER, LIBRARY)


def _target(env):
    """The pose the reference has at the end of the coming step."""
    return CHARACTER.rot_to_dof(env.window.targets[0].joint_rot)


def test_reset_puts_the_engine_on_the_reference():
    env = _env()
    env.set_mode(test=True)
    env.reset()
    state, now = env.engine.states[0], env.window.now
    # Inside the joint limits of the simulator only; the clip's joints are.
    torch.testing.assert_close(state.body_pos, now.body_pos, atol=1e-4, rtol=0)
    torch.testing.assert_close(state.root_vel, now.root_vel, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(state.root_ang_vel, now.root_ang_vel, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(state.dof_vel, now.dof_vel, atol=1e-3, rtol=1e-3)
    assert env.info["tracking_error"].max() < 1e-3


def test_body_velocities_are_right_at_the_start():
    """They are zero there in MimicKit; here the engine works them out from the joint velocities."""
    env = _env()
    env.reset()
    feet = [CHARACTER.body_names.index("right_foot"), CHARACTER.body_names.index("left_foot")]
    dt = 1e-3
    before, after = (env.reference.at(env.motion_ids, env.start_times + s) for s in (0.0, dt))
    speed = env.engine.states[0].body_vel[:, feet].norm(dim=-1)
    expected = ((after.body_pos - before.body_pos) / dt)[:, feet].norm(dim=-1)
    assert expected.max() > 0.5
    # The clip's velocities are held between its frames, so finite differences of its poses agree only roughly.
    assert (speed - expected).abs().mean() < 0.3
    assert torch.equal(env.engine.states[0].ground_contact_forces, torch.zeros(N, 15, 3))


def test_playing_the_clip_as_targets_tracks_it_for_a_while():
    env = _env()
    env.reset()
    rewards = []
    for _ in range(10):
        _, reward, done, _ = env.step(_target(env))
        rewards.append(reward.clone())
    rewards = torch.stack(rewards)
    assert rewards[0].min() > 0.7
    assert rewards[:5].mean() > 0.6
    assert torch.isfinite(env.obs).all()
    assert (env.time - 10 / 30).abs().max() < 1e-6
    assert (done[env.causes["fall"]] == 1).all()


def test_a_character_that_falls_ends_and_starts_again():
    env = _env(pose_termination=False)
    env.reset()
    action = env.action_high.expand(N, -1).clone()
    fell = torch.zeros(N, dtype=torch.bool)
    for _ in range(60):
        fell |= env.step(action)[2] == 1
        env.reset(env.done > 0)
    assert fell.all()


def test_saved_state_continues_to_the_bit():
    env = _env()
    env.reset()

    def roll(env, steps):
        out = []
        for _ in range(steps):
            obs, reward, done, _ = env.step(_target(env))
            out.append((obs.clone(), reward.clone(), done.clone()))
            env.reset(done > 0)
        return out

    roll(env, 5)
    state, rng = env.state_dict(), torch.get_rng_state()
    expected = roll(env, 15)
    other = _env(seed=1)
    other.reset()
    other.load_state_dict(state)
    torch.set_rng_state(rng)
    for one, two in zip(expected, roll(other, 15), strict=True):
        for a, b in zip(one, two, strict=True):
            assert torch.equal(a, b)
