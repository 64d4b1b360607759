"""Terms that a configuration adds to an env, by value and by message."""

import dataclasses
import subprocess
import sys

import own_terms
import pytest
import torch
from env_test_tools import Golden
from golden_driver import num_steps, reset, step
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from mimickit_hydra.envs.done import DONE_FAIL
from mimickit_hydra.envs.rewards import TERMS
from mimickit_hydra.envs.schema import CharEnvConfig
from mimickit_hydra.envs.term_schema import check_terms, read_terms
from mimickit_hydra.errors import UserError

own_terms.register()
GOLDEN = {name: Golden(name) for name in ("env_deepmimic_humanoid", "env_amp_humanoid")}
SYNCS = {"_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "index_put_", "equal"}
ALL_KINDS = {
    "rewards": {"own_height": {"weight": 0.1}, "own_behind": {"weight": -0.2}, "own_change": {"weight": -0.01}},
    "observations": {"own_sway": {}, "own_change": {}, "ahead": {"term": "target", "steps": [3, 9]}},
    "terminations": {"own_low": {"below": 0.7}},
}


def driven(terms, steps=1, file="env_deepmimic_humanoid"):
    """The env with and without the terms, after the same steps of the golden file."""
    golden, envs = GOLDEN[file], []
    case = golden.cases[0]
    for added in (terms, {}):
        torch.manual_seed(0)
        env, engine = golden.env(case, config=dataclasses.replace(golden.config(case), **added))
        reset(golden, case, env)
        for number in range(min(steps, num_steps(golden, case))):
            step(golden, case, env, engine, number)
        envs.append(env)
    return envs


def test_a_reward_is_added_with_its_weight():
    env, plain = driven({"rewards": {"own_height": {"weight": 0.5, "target": 0.8}}})
    given = torch.exp(-10.0 * torch.square(env.engine.states[0].root_pos[:, 2] - 0.8))
    torch.testing.assert_close(env.reward, plain.reward + 0.5 * given)
    torch.testing.assert_close(env.diagnostics()["reward_own_height"], 0.5 * given.mean())
    assert "reward_own_height" not in plain.diagnostics()


def test_where_only_the_agent_pays_the_added_reward_is_the_envs():
    env, plain = driven({"rewards": {"own_height": {}}}, file="env_amp_humanoid")
    assert (env.has_reward, plain.has_reward) == (True, False)
    torch.testing.assert_close(env.reward, torch.exp(-10.0 * (env.engine.states[0].root_pos[:, 2] - 0.9) ** 2))


@given(st.dictionaries(st.sampled_from(TERMS), st.floats(-3, 3), min_size=1))
@settings(max_examples=15, deadline=None)
def test_the_weighted_sum_of_single_terms_is_that_of_the_five(weights):
    golden = GOLDEN["env_deepmimic_humanoid"]
    config = golden.config("shipped")
    track = {"track_root": config.enable_tar_obs and config.global_obs}
    own = {
        "pose": {"joint_weights": config.joint_err_w}, "vel": {"joint_weights": config.joint_err_w},
        "root_pose": {**track, "root_height": config.root_height_obs}, "root_vel": track, "key_pos": track,
    }  # fmt: skip
    added = {
        name: {"weight": weight, "scale": getattr(config, f"reward_{name}_scale"), **own[name]}
        for name, weight in weights.items()
    }
    env, plain = driven({"rewards": added})
    five = golden.case("shipped", "out/reward_terms")[0]
    expected = sum(weight * five[:, TERMS.index(name)] for name, weight in weights.items())
    torch.testing.assert_close(env.reward - plain.reward, expected, atol=2e-3, rtol=2e-3)


def test_the_five_together_are_the_envs_own_reward():
    config = GOLDEN["env_deepmimic_humanoid"].config("shipped")
    params = {
        "weights": [getattr(config, f"reward_{name}_w") for name in TERMS],
        "scales": [getattr(config, f"reward_{name}_scale") for name in TERMS],
        "joint_weights": config.joint_err_w, "root_height": config.root_height_obs,
        "track_root": config.enable_tar_obs and config.global_obs,
    }  # fmt: skip
    env, plain = driven({"rewards": {"imitation": params}})
    assert torch.equal(env.reward, 2.0 * plain.reward)


def test_observations_are_appended():
    added = {"own_sway": {}, "again": {"term": "own_sway"}, "own_height": {"target": 1.0}}
    env, plain = driven({"observations": added})
    state = env.engine.states[0]
    assert env.obs_size == plain.obs_size + 5
    assert torch.equal(env.obs[:, : plain.obs_size], plain.obs)
    height = torch.exp(-10.0 * torch.square(state.root_pos[:, 2:] - 1.0))
    sway = state.root_ang_vel[:, :2]
    torch.testing.assert_close(env.obs[:, plain.obs_size :], torch.cat([sway, sway, height], -1))


def test_added_targets_stand_beside_the_envs_own():
    """Each looks at its own steps, wherever these are in the window."""
    env, plain = driven({"observations": {"ahead": {"term": "target", "steps": [5]}}}, steps=2)
    assert torch.equal(env.obs[:, : plain.obs_size], plain.obs)
    other, _ = driven({"enable_tar_obs": True, "tar_obs_steps": [5], "global_obs": False}, steps=2)
    size = env.obs_size - plain.obs_size
    torch.testing.assert_close(env.obs[:, -size:], other.obs[:, -size:])


def test_a_termination_fails_under_its_own_name():
    height = driven({})[0].engine.states[0].root_pos[:, 2]
    below = float(height.median()) + 1e-4
    env, plain = driven({"terminations": {"own_low": {"below": below}}})
    lower = height < below
    assert lower.any()
    assert torch.equal(env.causes["own_low"], lower)
    assert torch.equal(env.done, torch.where(lower, DONE_FAIL, plain.done))
    ended = env.done != 0
    torch.testing.assert_close(env.diagnostics()["end_own_low"], (lower & ended).float().sum() / ended.sum())


def test_a_cause_that_the_env_has_already_is_widened():
    env, plain = driven({"terminations": {"fall": {"allowed": []}}})
    touching = (env.engine.states[0].ground_contact_forces.abs() > 0.1).any(-1).any(-1)
    assert torch.equal(env.causes["fall"], plain.causes["fall"] | touching)


@pytest.mark.parametrize("file", list(GOLDEN))
def test_state_is_saved_and_restarts_by_mask_as_by_list(file):
    golden, states = GOLDEN[file], []
    case = golden.cases[0]
    config = dataclasses.replace(golden.config(case), **ALL_KINDS)
    for by_index in (True, False):
        torch.manual_seed(0)
        env, _ = golden.env(case, config=config)
        env._by_index = by_index
        env.reset()
        env.step(torch.full((env.num_envs, 28), 0.1))
        env.reset(torch.arange(env.num_envs) == 1)
        states.append(env.state_dict())
    for name, expected in states[0].items():
        torch.testing.assert_close(states[1][name], expected, atol=1e-6, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    again, _ = golden.env(case, config=config)
    again.load_state_dict(states[0])
    changes = [part.change for part in again.parts if isinstance(part, own_terms.Change)]
    assert len(changes) == 2
    for change in changes:
        assert change[1] == 0.0  # it has restarted
        torch.testing.assert_close(change[0], again.command[0].square().sum())  # the command before it was 0
    torch.manual_seed(3)
    first = [tensor.clone() for tensor in env.step(torch.zeros(env.num_envs, 28))[:3]]
    for one, other in zip(first, again.step(torch.zeros(env.num_envs, 28))[:3], strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("file", list(GOLDEN))
def test_nothing_waits_for_data(file):
    class Names(TorchDispatchMode):
        seen = frozenset()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.seen |= {func.overloadpacket.__name__}
            return func(*args, **(kwargs or {}))

    golden = GOLDEN[file]
    env, engine = golden.env(golden.cases[0], config=dataclasses.replace(golden.config(golden.cases[0]), **ALL_KINDS))
    engine.reset = lambda *_: None  # the stand-in's own would be seen
    env._by_index = False
    env.set_mode(test=True)
    action, mask = torch.zeros(env.num_envs, 28), torch.ones(env.num_envs, dtype=torch.bool)
    with Names() as mode:
        env.step(action)
        env.reset(mask)
    assert not mode.seen & SYNCS


# ------------------------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("kind", "terms", "message"),
    [
        ("rewards", {"own_heigth": {}}, r"env\.rewards\.own_heigth: found 'own_heigth', must be one of .*nearest: own"),
        ("rewards", {"a": {"term": "velo"}}, r"env\.rewards\.a: found 'velo', must be one of .*; nearest: vel"),
        ("rewards", {"own_sway": {}}, r"env\.rewards\.own_sway: found 'own_sway', must be one of"),
        ("rewards", {"own_height": {"targt": 1}}, r"own_height\.targt: .* has no such parameter; nearest: target"),
        ("rewards", {"own_height": {"target": "a"}}, r"own_height\.target: found 'a', must be of type float$"),
        ("rewards", {"own_height": {"target": -1.0}}, r"own_height\.target: found -1\.0, must be more than 0"),
        ("rewards", {"own_height": {"weight": "much"}}, r"own_height\.weight: found 'much', must be a number"),
        ("rewards", {"own_height": {"weight": float("nan")}}, r"own_height\.weight: found nan, must be a number"),
        ("rewards", {"own_height": 0.1}, r"own_height: found 0\.1, must be a table of parameters"),
        ("rewards", {"imitation": {"weights": [1.0]}}, r"imitation\.weights: found \[1\.0\], must be five numbers"),
        ("observations", {"own_sway": {"weight": 1.0}}, r"own_sway\.weight: .* own_sway has no such parameter"),
        ("terminations", {"own_low": {}}, r"own_low\.below: has no value"),
        ("terminations", {"time": {"term": "own_low", "below": 1}}, r"terminations\.time: every env has an end"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(kind, terms, message):
    config = dataclasses.replace(GOLDEN["env_deepmimic_humanoid"].config("shipped"), **{kind: terms})
    with pytest.raises(UserError, match=message) as error:
        check_terms(config)
    assert "\n" not in str(error.value)


def test_without_a_reference_nothing_looks_at_it():
    plain = CharEnvConfig("char", "a.xml", 1.0, False, observations={"own_sway": {}})
    check_terms(plain)
    for kind, name in (("observations", "phase"), ("rewards", "own_behind"), ("rewards", "imitation")):
        with pytest.raises(UserError, match=rf"env\.{kind}\.{name}: char has no reference motion"):
            check_terms(dataclasses.replace(plain, **{kind: {name: {}}}))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"rewards": {"own_wide": {}}}, r"env\.rewards\.own_wide: gives \[\d+, 1\], must give \[\d+\]"),
        ({"observations": {"own_wide": {}}}, r"env\.observations\.own_wide: gives 1 numbers, .* with size=3"),
        ({"terminations": {"fall": {"allowed": ["foot"]}}}, r"env\.terminations\.fall\.allowed: .*no body 'foot'"),
        ({"rewards": {"pose": {"joint_weights": [1.0]}}}, r"env\.rewards\.pose\.joint_weights: found 1 numbers"),
    ],
)  # fmt: skip
def test_what_only_the_character_shows_is_one_line_too(terms, message):
    with pytest.raises(UserError, match=message):
        driven(terms)


def test_parameters_are_of_the_schemas_types():
    tall = {"term": "own_height", "target": 2, "weight": 3}
    config = dataclasses.replace(GOLDEN["env_deepmimic_humanoid"].config("shipped"), rewards={"tall": tall})
    (term,) = read_terms(config, "rewards")
    assert (term.name, term.entry.name, term.weight) == ("tall", "own_height", 3.0)
    assert term.params == own_terms.HeightParams(2.0)
    assert isinstance(term.params.target, float)


def test_torch_is_not_imported_to_check_them():
    code = """
import sys
from mimickit_hydra.checks.check import validate
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.errors import UserError
validate(to_run(compose(["env.rewards.vel.weight=0.1", "env.terminations.pose_lost={}"])), machine=False)
try:
    validate(to_run(compose(["env.rewards.vle.weight=0.1"])), machine=False)
except UserError as error:
    print(error, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("env.rewards.vle: found 'vle', must be one of")
    assert done.stdout.strip().endswith("nearest: vel False")
