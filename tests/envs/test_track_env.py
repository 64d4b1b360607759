"""The tracking env: starts and learning rates beside mjlab's, one moment seen and imagined, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from env_test_tools import GOLDEN

from mimickit_hydra.agents.adaptive_ppo_agent import adapted
from mimickit_hydra.checks.check import validate
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.done import DONE_FAIL, DONE_NULL
from mimickit_hydra.envs.rows import ALL
from mimickit_hydra.envs.sensing import spread
from mimickit_hydra.envs.track.frames import pose_of
from mimickit_hydra.envs.track.mdp import Facts, Moment, Pose
from mimickit_hydra.envs.track.starts import beside, soft_limits
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.rotations import quat_rotate_inv
from mimickit_hydra.training.build import Parts, build

WORDS = ["method=tracking", "character=humanoid", "num_envs=4", "rand_seed=1", "engine.num_threads=1"]
WORDS += ["env.lift_starts=false"]  # test_lift.py


@pytest.fixture(scope="module")
def parts() -> Parts:
    torch.manual_seed(0)
    return build(to_run(compose(WORDS)), Comm(), torch.device("cpu"))


def test_starts_are_mjlabs() -> None:
    made, robot = np.load(GOLDEN / "tracking_reset.npz"), np.load(GOLDEN / "tracking_g1.npz")

    def read(name: str) -> torch.Tensor:
        return torch.tensor(made[f"reset/{name}"])

    low, high = soft_limits(robot["joint_range"][:, 0], robot["joint_range"][:, 1], 0.9)
    np.testing.assert_allclose(low, robot["joint_soft_range"][:, 0], atol=1e-6)
    none = torch.zeros(0, dtype=torch.int64)
    facts = Facts(0, none, torch.tensor(robot["default_joint_pos"]), none, low, high, torch.zeros(3))
    root = [read(f"in/ref_body_{name}") for name in ("pos", "quat", "lin_vel", "ang_vel")]
    pose = Pose(*root, read("in/ref_joint_pos"), read("in/ref_joint_vel"), *(part.unsqueeze(1) for part in root))
    start = beside(
        pose, facts,
        spread(read("in/u_pose"), torch.tensor([0.05, 0.05, 0.01, 0.1, 0.1, 0.2])),
        spread(read("in/u_velocity"), torch.tensor([0.5, 0.5, 0.2, 0.52, 0.52, 0.78])),
        spread(read("in/u_joint"), torch.tensor(0.1)),
    )  # fmt: skip
    spin = quat_rotate_inv(start.root_rot, start.root_ang_vel)
    for ours, theirs in (
        (start.root_pos, "root_pos"), (start.root_vel, "root_lin_vel"), (spin, "root_ang_vel_body"),
        (start.dof_pos, "joint_pos"), (start.dof_vel, "joint_vel"),
    ):  # fmt: skip
        torch.testing.assert_close(ours, read(f"out/{theirs}"), atol=1e-5, rtol=1e-5)
    assert float((start.root_rot * read("out/root_quat")).sum(-1).abs().min()) == pytest.approx(1.0, abs=1e-6)


def test_learning_rates_are_rsl_rls() -> None:
    made = np.load(GOLDEN / "tracking_ppo.npz")
    rate = torch.tensor(float(made["in/learning_rate"]))
    for kl, wanted in zip(made["out/kl"], made["out/learning_rate"], strict=True):
        rate = adapted(rate, torch.tensor(kl), 0.01, 1e-5, 1e-2)
        assert float(rate) == pytest.approx(float(wanted), rel=1e-5)


def test_an_imagined_moment_is_observed_and_paid_as_the_engines(parts: Parts) -> None:
    env = parts.env
    env.set_mode(False)
    env.reset()
    for _ in range(3):
        env.step(env.facts.default + 0.3 * env._scale * torch.randn(env.num_envs, parts.character.num_dofs))
    seen = env._moment(ALL)
    robot = seen.robot
    imagined = pose_of(
        parts.character, env._bodies, robot.root_pos, robot.root_rot, robot.root_vel, robot.root_ang_vel, robot.dof_pos,
        robot.dof_vel,
    )  # fmt: skip
    twin = Moment(
        seen.facts, imagined, seen.now, seen.ahead, seen.action, seen.last_action, seen.self_forces, seen.encoder_bias
    )
    for term in [*env.critic_parts, *(term for _, term in env._reward._terms)]:
        function = type(term)._function
        torch.testing.assert_close(
            function(twin, term._params), function(seen, term._params), atol=1e-5, rtol=1e-5, msg=term.name
        )


def test_tests_start_on_the_reference_and_reward_it(parts: Parts) -> None:
    env = parts.env
    env.set_mode(True)
    env.reset()
    moment = env._moment(ALL)
    assert float((moment.now.root_pos - moment.robot.root_pos).abs().max()) < 1e-5
    _, reward, done, _ = env.step(moment.ahead.dof_pos)
    assert not bool((done == DONE_FAIL).any())
    assert float(reward.min()) > 0.05  # of 0.1
    assert not env.world.bias.any()
    env.set_mode(False)
    assert env.world.bias.any()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("env.anchor_body=chest", "env.anchor_body"),
        ("env.end_effectors=[hand]", "env.end_effectors"),
        ("env.tracked_bodies=[pelvis,tail]", "env.tracked_bodies"),
        ("env.compatible=isaac", "env.compatible"),
        ("env.rewards.motion_body_pos.std=0", "env.rewards.motion_body_pos.std"),
        ("env.events.push.interval=[3,1]", "env.events.push.interval"),
        ("motion=g1_walk", "motion=g1_walk"),
        ("agent.critic_epochs=2", "agent.critic_epochs"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(word: str, told: str) -> None:
    with pytest.raises(UserError, match="^" + told.replace("[", r"\[")) as error:
        validate(to_run(compose([*WORDS, word])), machine=False)
    assert "\n" not in str(error.value)


def test_its_terms_are_refused_where_nothing_is_tracked() -> None:
    with pytest.raises(UserError, match=r"env\.rewards\.motion_body_pos: deepmimic tracks no bodies"):
        validate(to_run(compose(["env.rewards.motion_body_pos={std: 0.3}"])), machine=False)


@pytest.mark.parametrize("method", ["tracking", "deepmimic"])
def test_actions_about_the_reference_aim_at_its_next_frame(method: str) -> None:
    words = [f"method={method}", *WORDS[1:], "env.action_about=reference"]
    env = build(to_run(compose(words)), Comm(), torch.device("cpu")).env
    middle = 0.5 * (env.action_low + env.action_high).expand(env.num_envs, -1)
    env.set_mode(True)
    env.reset()
    for _ in range(3):
        ahead = env.reference.library.query(env.motion_ids, env.motion_time + env.control_dt)
        env.step(middle)
        torch.testing.assert_close(env.command, env.character.rot_to_dof(ahead.joint_rot), atol=1e-4, rtol=0.0)
        env.reset(env.done != DONE_NULL)
    saved = env.state_dict()
    env.step(middle + 0.1)
    first = env.command.clone()
    env.step(middle)
    env.load_state_dict(saved)
    env.step(middle + 0.1)
    assert torch.equal(env.command, first)


def test_only_who_follows_a_clip_acts_about_it() -> None:
    with pytest.raises(UserError, match=r"env\.action_about: found 'reference', must be default: env=amp"):
        validate(to_run(compose(["method=amp", "env.action_about=reference"])), machine=False)
    with pytest.raises(UserError, match=r"env\.action_about: found 'reference', must be default: a world model"):
        validate(to_run(compose(["method=supermimic", "env.action_about=reference"])), machine=False)


@pytest.mark.parametrize(
    ("words", "about"),
    [
        ([], "reference"),
        (["engine=newton", "compute=gpu_fast"], "reference"),
        (["engine=newton"], "default"),
        (["recipe=mimickit"], "default"),
        (["core=mimickit"], "default"),
        (["method=supermimic"], "default"),
    ],
)
def test_fast_recipes_begin_near_the_reference(words: list[str], about: str) -> None:
    assert to_run(compose(words)).env.action_about == about
