"""Events of an env: what is drawn and how it acts, when, what tests leave out, exact resume, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mimickit_hydra.checks.check import validate
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.envs.rows import ALL
from mimickit_hydra.errors import UserError
from mimickit_hydra.training.build import build

SMALL = ["engine.num_threads=1", "engine.iterations=10", "rand_seed=1"]


def made(*words: str, num_envs: int = 8) -> ImitationEnv:
    torch.manual_seed(0)
    run = to_run(compose([*SMALL, f"num_envs={num_envs}", *words]))
    validate(run, machine=False)
    return build(run, Comm(), torch.device("cpu")).env


def event(env: ImitationEnv, name: str) -> Any:
    return next(one for one in env.events if one.config.name == name)


def step(env: ImitationEnv, times: int = 1) -> None:
    for _ in range(times):
        env.step(0.5 * (env.action_low + env.action_high).expand(env.num_envs, -1))


@pytest.fixture(scope="module")
def robot() -> ImitationEnv:
    return made("randomize=robot", "observe=robot", num_envs=16)


def test_every_environment_has_its_own_robot_in_training_and_the_files_in_tests(robot: ImitationEnv) -> None:
    engine, world = robot.engine, robot.events[0].world
    for name, lowest, highest in (("mass", 0.8, 1.2), ("kp", 0.9, 1.1), ("armature", 0.8, 1.2)):
        own, drawn = engine.model_values(name), event(robot, name).drawn
        share = drawn / own
        assert lowest <= float(share.min()) < float(share.max()) <= highest
        assert abs(float(share.mean()) - 1.0) < 0.08
        assert len({round(float(x), 5) for x in share[:, -1]}) > 8
    share = event(robot, "mass").drawn / engine.model_values("mass")
    torch.testing.assert_close(share[:, 0], share[:, 3])
    assert float(world.bias.abs().max()) > 0.005
    robot.set_mode(True)
    for name, current in world.varied.items():
        assert torch.equal(current, engine.model_values(name).expand_as(current)), name
    assert not world.bias.any()
    assert not event(robot, "action_delay").steps.any()
    robot.set_mode(False)
    assert torch.equal(world.varied["kp"], event(robot, "kp").drawn)


def test_a_policy_sees_what_a_robot_measures_and_the_value_function_everything(robot: ImitationEnv) -> None:
    robot.set_mode(True)
    robot.reset()
    names = [channel.name for channel in robot.sensing.channels]
    assert names == ["target", "projected_gravity", "base_ang_vel", "joint_pos", "joint_vel", "actions"]
    assert robot.critic_obs is not None
    character = sum(part.obs_size for part in robot.parts if part.privileged)
    singles = sum(channel.size for channel in robot.sensing.channels)
    assert robot.critic_obs.shape[1] == character + singles
    gravity = robot.sensing.channels[0].size + 9  # the newest of four
    torch.testing.assert_close(robot.obs[:, gravity : gravity + 3].norm(dim=-1), torch.ones(16))
    assert not robot.obs[:, -28:].any()  # the last action: none yet
    command = robot.action_low + 0.75 * (robot.action_high - robot.action_low)
    robot.step(command.expand(16, -1))
    half = 0.5 * (robot.action_high - robot.action_low)
    wanted = (command - robot.events[0].world.default) / half
    torch.testing.assert_close(robot.obs[:, -28:], wanted.expand(16, -1))
    robot.set_mode(False)


def test_a_resumed_env_goes_on_with_the_same_robots_sensors_and_pushes() -> None:
    words = ("randomize=robot", "observe=robot", "env.events.friction.when=reset", "env.events.push.interval=[0.1,0.3]")
    env = made(*words)
    env.reset()
    step(env, 5)
    saved, rng = env.state_dict(), torch.random.get_rng_state()
    runs = []
    for other in (env, made(*words)):
        other.load_state_dict(saved)
        torch.random.set_rng_state(rng)
        seen = []
        for _ in range(10):
            step(other)
            seen.append(other.obs.clone())
            other.reset(torch.arange(8) == 3)
        runs.append(torch.stack(seen))
    assert torch.equal(*runs)


def test_lists_and_masks_of_environments_draw_the_same() -> None:
    words = ("env.events.friction={range: [0.3, 1.2], when: reset}", "env.events.action_delay={range: [0.0, 0.03]}",
             "env.events.encoder_bias={when: reset}")  # fmt: skip
    seen = []
    for by_index in (True, False):
        env = made(*words)
        env._by_index = by_index
        env.reset()
        torch.manual_seed(5)
        env.reset(torch.tensor([True, False] * 4))
        step(env, 2)
        seen.append([env.events[0].world.varied["friction"].clone(), env.events[0].world.bias.clone(), env.obs.clone()])
    for one, other in zip(*seen, strict=True):
        torch.testing.assert_close(one, other)


def test_a_push_changes_the_velocity_of_those_whose_time_has_come() -> None:
    env = made("env.events.push={interval: [0.2, 0.2], vel: [1.0, 0.0, 0.0], ang_vel: [0.0, 0.0, 0.0]}")
    env.reset()
    push = event(env, "push")
    push._time_left[:4] = 10.0
    command = torch.zeros(8, 28)
    for _ in range(6):
        before = env.engine.states[0].root_vel.clone()
        push.before_physics(command, env.time)
    changed = env.engine.states[0].root_vel - before
    assert not changed[:4].any()
    assert not changed[4:, 1:].any()
    assert 0.05 < float(changed[4:, 0].abs().max()) <= 1.0
    assert push.unforeseen.tolist() == [False] * 4 + [True] * 4


def test_a_late_command_is_the_one_before() -> None:
    env = made("env.events.action_delay={range: [0.0333333, 0.0333333]}", num_envs=1)
    env.reset()
    delay = event(env, "action_delay")
    seen = []
    for value in (1.0, 2.0, 3.0):
        command = torch.full((1, 28), value)
        delay.before_physics(command, env.time)
        seen.append(float(command[0, 0]))
    assert seen == pytest.approx([1.0, 1.0, 2.0], abs=1e-4)


def test_encoders_that_are_off_move_the_targets_and_the_readings() -> None:
    env = made("observe=robot", "env.events.encoder_bias={up_to: 0.1}", num_envs=2)
    env.reset()
    bias = env.events[0].world.bias.clone()
    command = torch.zeros(2, 28)
    event(env, "encoder_bias").before_physics(command, env.time)
    torch.testing.assert_close(command, -bias)
    joint_pos = next(part for part in env.parts if getattr(part, "name", "") == "joint_pos")
    seen = joint_pos(env._view(ALL))
    torch.testing.assert_close(
        seen, env.engine.states[0].dof_pos + bias - env.events[0].world.default, atol=1e-5, rtol=0
    )


def test_masses_centres_and_armature_of_each_episode() -> None:
    """Those that start again are drawn anew, in the engine too; the others stay, and after a test they are back."""
    words = ("env.events.mass={range: [0.5, 2.0], when: reset}", "env.events.com={when: reset}",
             "env.events.armature={range: [0.5, 2.0], when: reset}")  # fmt: skip
    env = made(*words)
    ids, times = torch.zeros(8, dtype=torch.int64), torch.zeros(8)
    seen, moved = [], []
    for mask in (None, torch.tensor([True, False] * 4)):
        env.reset_to(ids, times, mask)
        seen.append({name: value.clone() for name, value in env.events[0].world.varied.items()})

        step(env, 3)
        moved.append(env.engine.states[0].root_pos.clone())
    assert set(seen[0]) == {"mass", "com", "armature"}
    for name, before in seen[0].items():
        same = (before == seen[1][name]).flatten(1).all(-1)
        assert same.tolist() == [False, True] * 4, name
    assert len(torch.unique(moved[0], dim=0)) == 8  # the same start and the same targets, and each goes its own way
    env.set_mode(True)
    env.reset_to(ids, times)
    step(env, 3)
    assert len(torch.unique(env.engine.states[0].root_pos, dim=0)) == 1


def test_events_of_one_value_for_different_bodies_keep_apart() -> None:
    env = made("env.events.feet={term: friction, bodies: ['*foot'], range: [0.4, 0.4]}",
               "env.events.hands={term: friction, bodies: ['*hand'], range: [0.1, 0.1]}")  # fmt: skip
    names = env.character.body_names
    shapes, numbers = env.engine.shape_bodies(), env.events[0].world.varied["friction"][0].tolist()
    by_body = {names[body]: number for body, number in zip(shapes, numbers, strict=True)}
    assert by_body["left_foot"] == by_body["right_foot"] == pytest.approx(0.4)
    assert by_body["left_hand"] == pytest.approx(0.1)
    assert by_body["torso"] == 1.0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["env.events.fricton={range: [0, 1]}"], "env.events.fricton"),
        (["env.events.friction={}"], "env.events.friction.range"),
        (["env.events.friction={range: [1, 0]}"], "env.events.friction.range"),
        (["env.events.friction={range: [-1, 0]}"], "env.events.friction.range"),
        (["env.events.friction={range: [0, 1], when: sometimes}"], "env.events.friction.when"),
        (["env.events.mass={range: [0, 1], when: interval}"], "env.events.mass.when"),
        (["env.events.mass={range: [0, 1], when: reset}", "engine=newton"], "env.events.mass.when: found reset"),
        (["env.events.friction={range: [0, 1], interval: [1, 2]}"], "env.events.friction.interval"),
        (["env.events.push={interval: [2, 1]}"], "env.events.push.interval"),
        (["env.events.push={in_tests: 1}"], "env.events.push.in_tests"),
        (["env.events.push=3"], "env.events.push"),
        (["env.events.action_delay={range: [0, 100]}"], "env.events.action_delay.range"),
        (["env.events.friction={range: [0, 1], bodies: [tail]}"], "env.events.friction.bodies"),
        (["env.events.kp={range: [0.9, 1.1]}", "engine.control_mode=torque"], "engine.control_mode"),
        (["randomize=robot", "engine=isaac_gym"], "env.events.friction: engine=isaac_gym"),
        (["env.state_estimation=false"], "env.observations"),
        (["observe=robot", "env.global_obs=true"], "env.global_obs"),
        (["env.observations.joint_pos={history: 0}"], "env.observations.joint_pos.history"),
        (["env.observations.joint_pos={noise: -1}"], "env.observations.joint_pos.noise"),
        (["env.critic_observations.nothing={}"], "env.critic_observations.nothing"),
        (["method=view_motion", "env.events.push={}"], "env.events.push"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: list[str], told: str) -> None:
    with pytest.raises(UserError) as error:
        validate(to_run(compose(words)), machine=False)
    assert str(error.value).startswith(told), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("env", ["deepmimic", "amp", "add", "location", "tracking"])
def test_what_a_robot_has_goes_with_every_method(env: str) -> None:
    method = {"deepmimic": "lcp", "location": "amp"}.get(env, env)
    run = to_run(compose([*SMALL, f"method={method}", f"env={env}", "randomize=robot", "observe=robot"]))
    validate(run, machine=False)
    assert not run.env.state_estimation
