import dataclasses
import math

import numpy as np
import pytest
import torch
from env_test_tools import Golden, StoredStateEngine

from mimickit_hydra.envs.errors import EnvError
from mimickit_hydra.envs.registry import make_env
from mimickit_hydra.envs.scene import build_scene
from mimickit_hydra.errors import UserError

GOLDEN = Golden("env_deepmimic_humanoid")
CHARACTER = GOLDEN.character()
LIBRARY = GOLDEN.library(CHARACTER)


def _make(model=None, **changes):
    engine = StoredStateEngine(CHARACTER, model or GOLDEN.model(), 2)
    return make_env(dataclasses.replace(GOLDEN.config("shipped"), **changes), engine, CHARACTER, LIBRARY)


def test_env_has_the_contracts_facts():
    env = _make()
    assert (env.num_envs, env.obs_size, env.control_dt) == (2, 464, 1 / 30)
    assert env.action_low.shape == env.action_high.shape == (28,)
    assert env.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"env_name": "deepmimik"},
            r"env\.env_name: found 'deepmimik', must be one of .*; nearest: deepmimic",
        ),
        (
            {"key_bodies": ["haed"]},
            r"env\.key_bodies: .*no body 'haed' \(did you mean 'head'\?\); bodies: pelvis, torso",
        ),
        ({"contact_bodies": ["rightfoot"]}, r"env\.terminations\.fall\.allowed: .*did you mean 'right_foot'"),
        ({"joint_err_w": [1.0] * 13}, r"joint_weights: found 13 numbers, this character needs 14"),
        ({"init_pose": [0.0] * 7}, r"env\.init_pose: found 7 numbers, this character needs 0 or 3 or 34"),
    ],
)
def test_bad_values_are_one_line(changes, message):
    with pytest.raises(UserError, match=message) as error:
        _make(**changes)
    assert "\n" not in str(error.value)


def test_the_imitation_reward_needs_key_bodies_and_numbers():
    config = dataclasses.replace(GOLDEN.config("shipped"), key_bodies=[])
    with pytest.raises(UserError, match=r"env\.key_bodies: found \[\], must be at least one body"):
        config.check()
    with pytest.raises(UserError, match=r"env\.reward_vel_w: found null, must be a number: env=deepmimic is rewarded"):
        dataclasses.replace(config, reward_vel_w=None).check()
    dataclasses.replace(config, env_name="amp", reward_vel_w=None).check()


def test_no_joint_weights_means_ones():
    env = _make(joint_err_w=None)
    assert torch.equal(env._reward._dof_weights, torch.ones(28))


def test_body_names_are_compared_to_the_last():
    model = GOLDEN.model()
    model.body_names[6] = "left_arm"
    with pytest.raises(EnvError, match="body 6 is 'left_upper_arm' in the character but 'left_arm' in the engine"):
        _make(model)
    model = GOLDEN.model()
    model.body_names.pop()
    with pytest.raises(EnvError, match="body 14 is 'left_foot' in the character but 'nothing'"):
        _make(model)
    model = GOLDEN.model()
    model.dof_dims = np.array([*model.dof_dims[:-1], 1])
    with pytest.raises(EnvError, match="body 'left_foot' has 3 DoFs in the character but 1"):
        _make(model)


def test_scene_starts_in_the_init_pose():
    config = dataclasses.replace(
        GOLDEN.config("shipped"), init_pose=[1.0, 2.0, 3.0, 0.0, 0.0, math.pi / 2] + [0.0] * 28
    )
    (character,) = build_scene(config, "/assets/humanoid.xml").objects
    assert character.asset_file == "/assets/humanoid.xml"
    assert character.start_pos == (1.0, 2.0, 3.0)
    assert character.start_rot == pytest.approx((0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)))
    assert character.articulated
    assert not character.fix_root
    assert not character.is_visual


@pytest.mark.parametrize(("pose", "start"), [([], (0.0, 0.0, 0.0)), ([0.0, 0.0, 0.9], (0.0, 0.0, 0.9))])
def test_short_init_pose(pose, start):
    (character,) = build_scene(dataclasses.replace(GOLDEN.config("shipped"), init_pose=pose), "/a.xml").objects
    assert character.start_pos == start
    assert character.start_rot == (0.0, 0.0, 0.0, 1.0)


def test_too_short_init_pose_is_refused():
    with pytest.raises(EnvError, match="found 2 numbers"):
        build_scene(dataclasses.replace(GOLDEN.config("shipped"), init_pose=[0.0, 0.0]), "/a.xml")
