"""Every env on real physics: a few steps, resets, and exact continuation from its saved state."""

import dataclasses

import pytest
import torch
from env_test_tools import CONFIGS, Golden

from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.config.schema import StaticObjectConfig
from mimickit_hydra.engines.registry import make_engine
from mimickit_hydra.engines.schema import MujocoEngineConfig
from mimickit_hydra.envs.playback_schema import DofTestEnvConfig, ViewMotionEnvConfig
from mimickit_hydra.envs.registry import make_env
from mimickit_hydra.envs.scene import build_scene
from mimickit_hydra.envs.schema import CharEnvConfig, StaticObjectsEnvConfig
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.library import MotionLibrary
from mimickit_hydra.training.evaluate import evaluate

pytest.importorskip("mujoco")
N, STEPS = 4, 20
CHAR_FILE = bundled_data() / "assets/humanoid/humanoid.xml"
CHARACTER = CharacterModel.from_file(CHAR_FILE)
LIBRARY = MotionLibrary.from_file(bundled_data() / "motions/humanoid/humanoid_walk.npz", CHARACTER)
ENGINE = MujocoEngineConfig(engine_name="mujoco", sim_freq=120, num_threads=1)
SOURCES = {
    "deepmimic": ("env_deepmimic_humanoid", "shipped"),
    "amp": ("env_amp_humanoid", "shipped"),
    "ase": ("env_ase_humanoid", "shipped"),
    "add": ("env_add_humanoid", "shipped"),
    "smp": ("env_smp_humanoid", "shipped"),
    "task_location": ("env_location", "amp_location"),
    "task_steering": ("env_steering", "amp_steering"),
    "task_dodgeball": ("env_dodgeball", "smp_dodgeball"),
}
PLAIN = {
    "char_file": "", "episode_length": 20.0, "global_obs": False, "init_pose": [0.0, 0.0, 1.2],
    "key_bodies": ["head", "right_foot"],
}  # fmt: skip
BOXES = [StaticObjectConfig(file="data/assets/objects/vault_box.xml", pos=[1.0, 0.0, 0.2])]
GOLDEN = {file: Golden(file) for file in {file for file, _ in SOURCES.values()}}
REWARDS = {
    f"reward_{term}_{kind}": 1.0
    for term in ("pose", "vel", "root_pose", "root_vel", "key_pos")
    for kind in ("w", "scale")
}


def config_of(name, **changes):
    if name in SOURCES:
        file, case = SOURCES[name]
        return dataclasses.replace(GOLDEN[file].config(case), **changes)
    if name == "static_objects":
        raw = GOLDEN["env_deepmimic_humanoid"].raw_config("shipped")
        return StaticObjectsEnvConfig(**{**raw, "env_name": name, "objects": BOXES, **changes})
    if name == "view_motion":
        return ViewMotionEnvConfig(**{**PLAIN, "env_name": name, "motion_file": "", **changes})
    schema = DofTestEnvConfig if name == "char_dof_test" else CharEnvConfig
    return schema(**{**PLAIN, "env_name": name, **changes})


def make(config, seed=0, num_envs=N, library=LIBRARY):
    torch.manual_seed(seed)
    engine = make_engine(ENGINE, build_scene(config, str(CHAR_FILE)), num_envs, "cpu")
    return make_env(config, engine, CHARACTER, library)


def roll(env, steps, seed=5):
    """Observations, rewards, flags and infos of ``steps`` random steps with resets."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for _ in range(steps):
        noise = torch.rand(env.num_envs, len(env.action_low), generator=generator)
        obs, reward, done, info = env.step(env.action_low + noise * (env.action_high - env.action_low))
        out.append({"obs": obs.clone(), "reward": reward.clone(), "done": done.clone()})
        out[-1].update({name: value.clone() for name, value in info.items()})
        env.reset(done > 0)
    return out


@pytest.mark.parametrize("name", [*CONFIGS, "static_objects", "view_motion", "char", "char_dof_test"])
def test_steps_and_continues_to_the_bit(name):
    config = config_of(name)
    library = None if name.startswith("char") else LIBRARY
    env = make(config, library=library)
    assert env.reset().shape == (N, env.obs_size)
    before = roll(env, STEPS // 2)
    state, rng = env.state_dict(), torch.get_rng_state()
    after = roll(env, STEPS // 2, seed=6)
    for step in before + after:
        for key, value in step.items():
            assert torch.isfinite(value.float()).all(), key
    other = make(config, seed=1, library=library)
    other.reset()
    other.load_state_dict(state)
    torch.set_rng_state(rng)
    for one, two in zip(after, roll(other, STEPS // 2, seed=6), strict=True):
        for key in one:
            assert torch.equal(one[key], two[key]), key


@pytest.mark.parametrize("task", ["task_location", "task_steering", "task_dodgeball"])
@pytest.mark.parametrize("base", ["deepmimic", "amp", "ase", "add", "smp"])
def test_a_task_works_with_every_method(task, base):
    config = config_of(task, base_env=base, default_reset_prob=0.5, **REWARDS)
    env = make(config)
    env.reset()
    rolled = roll(env, 3)
    assert all(torch.isfinite(step["reward"]).all() for step in rolled)
    assert any((step["reward"] != 0).any() for step in rolled)
    assert ("disc_obs" in env.info) == (base != "deepmimic")
    assert ("disc_obs_demo" in env.info) == (base == "add")


@pytest.mark.parametrize("name", ["amp", "add"])
def test_boxes_stand_in_the_way_of_every_method(name):
    env = make(config_of(name, objects=BOXES))
    env.reset()
    place = env.engine.states[1].root_pos.clone()
    roll(env, 3)
    assert torch.equal(env.engine.states[1].root_pos, place)
    torch.testing.assert_close(place, torch.tensor(BOXES[0].pos).expand(N, 3))


def test_balls_fly_at_the_target():
    config = config_of("task_dodgeball", proj_trigger_time_min=0.1, proj_trigger_time_max=0.1, contact_bodies=[],
                       proj_aim_noise_scale=0.0, hit_dist=0.0)  # fmt: skip
    env = make(config)
    env.reset()
    ball, body = env.engine.states[1], env.engine.states[0]
    torch.testing.assert_close(ball.root_pos, torch.tensor([[10.0, 10.0, 0.1]]).expand(N, 3))
    nearest = torch.full((N,), 100.0)
    for _ in range(4):
        env.step(torch.zeros(N, 28))
    speed = ball.root_vel[:, :2].norm(dim=-1)
    assert ((speed > 11.9) & (speed < 15.1)).all()
    target = body.body_pos[:, CHARACTER.body_names.index("torso")].clone()
    env.parts[1].trigger_time.fill_(100.0)
    for _ in range(25):
        env.step(torch.zeros(N, 28))
        nearest = torch.minimum(nearest, (ball.root_pos[:, :2] - target[:, :2]).norm(dim=-1))
    assert nearest.max() < 0.8  # it was aimed at where a walking body would be


def test_a_ball_that_hits_ends_the_episode():
    # More than a metre above the ground the torso is hit from 1 m away before it falls.
    config = config_of("task_dodgeball", proj_trigger_time_min=0.0, proj_trigger_time_max=0.0, contact_bodies=[],
                       proj_dist_min=1.0, proj_dist_max=1.0, proj_h_min=1.0, proj_h_max=1.2, proj_aim_noise_scale=0.0,
                       )  # fmt: skip
    env = make(config)
    env.reset()
    hit = torch.zeros(N, dtype=torch.bool)
    env.step(torch.zeros(N, 28))
    env.parts[1].trigger_time.fill_(100.0)
    for _ in range(6):
        env.step(torch.zeros(N, 28))
        hit |= env.causes["hit"]
    assert hit.all()


def test_a_ball_that_lands_beside_the_character_is_no_hit():
    config = config_of("task_dodgeball", contact_bodies=[], hit_dist=100.0, proj_trigger_time_min=99.0,
                       proj_trigger_time_max=99.0)  # fmt: skip
    env = make(config)
    env.reset()
    state = env.parts[1]._rest[0]
    thrown = dataclasses.replace(state, root_pos=state.root_pos + torch.tensor([0.0, 0.0, 1.0]),
                                 root_vel=torch.tensor([[2.0, 0.0, -3.0]]).repeat(N, 1))  # fmt: skip
    env.engine.place(1, torch.ones(N, dtype=torch.bool), thrown)
    for _ in range(30):
        env.step(torch.zeros(N, 28))
        assert not env.causes["hit"].any()


def test_the_motion_plays_without_physics():
    env = make(config_of("view_motion"))
    env.reset()
    for _ in range(10):
        _, reward, done, _ = env.step(torch.ones(N, 28))
    expected = env.reference.at(env.motion_ids, torch.full((N,), 10 / 30))
    torch.testing.assert_close(env.engine.states[0].body_pos, expected.body_pos, atol=1e-4, rtol=0)
    assert reward.tolist() == [1.0] * N
    assert done.tolist() == [0] * N
    assert env._episode_length.tolist() == pytest.approx([5.0 * float(LIBRARY.lengths[0])] * N)


def test_one_dof_is_driven_after_the_other():
    env = make(config_of("char_dof_test"))
    env.reset()
    env.fast_forward(torch.full((N,), 150))  # 5 s: one second into the second DoF
    env.step(torch.zeros(N, 28))
    expected = torch.zeros(N, 28)
    for i in range(N):
        expected[i, i + 1] = env.action_high[i + 1]
    torch.testing.assert_close(env.command, expected, atol=1e-5, rtol=1e-5)
    assert env._episode_length == 4.0 * 28
    torch.testing.assert_close(env.engine.states[0].root_pos, torch.tensor([[0.0, 0.0, 1.2]]).expand(N, 3))


@pytest.mark.parametrize("name", ["view_motion", "char_dof_test", "amp"])
def test_every_env_can_be_measured(name, tmp_path):
    """The test of a policy compares with the reference where there is one, and only there."""

    class Parts:
        char_file = str(CHAR_FILE)

        class agent:  # noqa: N801
            samples = iteration = 0

            @staticmethod
            def act(obs, deterministic):
                return torch.zeros(N, 28)

    parts = Parts()
    parts.env = make(config_of(name), library=None if name == "char_dof_test" else LIBRARY)
    parts.env._episode_length = 0.2
    metrics = evaluate(parts, tmp_path, episodes=N, video=False)
    assert metrics["episodes"] >= N
    assert ("root_pos_err" in metrics) == (name == "amp")
    if name != "amp":
        assert metrics["return"] == metrics["episode_length"] == 6.0
