"""MimicKit's own numbers, case by case: the env driven by stored states instead of physics."""

import pytest
import torch
from env_test_tools import Golden

from mimickit_hydra.envs import tracking
from mimickit_hydra.envs.imitation import ImitationEnv
from mimickit_hydra.envs.reference import ReferenceWindow
from mimickit_hydra.envs.rows import ALL
from mimickit_hydra.envs.state import CharacterState
from mimickit_hydra.motion.rotations import quat_to_tan_norm

FILES = {name: Golden(name) for name in ("env_deepmimic_humanoid", "env_deepmimic_humanoid_variants")}
CASES = [(file, case) for file, golden in FILES.items() for case in golden.cases]
STATE_FIELDS = ("root_pos", "root_rot", "root_vel", "root_ang_vel", "dof_pos", "dof_vel", "body_pos", "body_rot",
                "ground_contact_forces")  # fmt: skip
EXACT = 2e-5  # outputs computed from given numbers
INTERPOLATED = 1.5e-3  # outputs that hold slerped rotations, where MimicKit's slerp is not exact
KINEMATICS = 5e-6


def _close(actual, expected, atol, what):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=atol, msg=lambda m: f"{what}: {m}")


def _same_rotations(actual, expected, atol, what):
    sign = torch.where((actual * expected).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    _close(actual * sign, expected, atol, what)


@pytest.fixture(params=CASES, ids=[case for _, case in CASES])
def driven(request):
    """(golden file, case, env after its reset, its engine)."""
    file, case = request.param
    golden = FILES[file]
    env, engine = golden.env(case)
    env.set_mode(test=True)
    env.reset_to(golden.case(case, "motion_ids"), golden.case(case, "start_times"))
    return golden, case, env, engine


def _num_steps(golden, case):
    return len(golden.case(case, "in/action"))


def _step(golden, case, env, engine, step):
    if step == 0:
        env.fast_forward(golden.case(case, "init_timestep"))
    engine.upcoming = [{f: golden.case(case, f"in/{f}")[step] for f in STATE_FIELDS if golden.has(case, f"in/{f}")}]
    return env.step(golden.case(case, "in/action")[step])


def _stored_reference(golden, case, env, step):
    get = lambda name: golden.case(case, f"out/ref_{name}")[step]  # noqa: E731
    root_pos, root_rot, joint_rot = get("root_pos"), get("root_rot"), get("joint_rot")
    _, body_rot = env.character.forward_kinematics(root_pos, root_rot, joint_rot)
    body_pos, rotations = get("body_pos"), torch.cat([root_rot[:, None], joint_rot], 1)
    return CharacterState(
        root_pos, rotations, get("root_vel"), get("root_ang_vel"), get("dof_vel"), body_pos, body_rot,
        body_pos[:, env._key_bodies] - root_pos[:, None],
        quat_to_tan_norm(rotations),
    )  # fmt: skip


def test_reset(driven):
    golden, case, env, engine = driven
    state = engine.states[0]
    margin = golden.case(case, "frame_margin")[0]
    held = margin > 1e-3  # nearer to a frame, rounding decides which frame's velocity is held
    get = lambda name: golden.case(case, f"reset/out/{name}")  # noqa: E731
    _close(state.root_pos, get("root_pos"), 3e-5, "root_pos")
    _same_rotations(state.root_rot, get("root_rot"), INTERPOLATED, "root_rot")
    _close(state.root_vel[held], get("root_vel")[held], 1e-4, "root_vel")
    _close(state.root_ang_vel[held], get("root_ang_vel")[held], 1e-4, "root_ang_vel")
    _close(state.dof_pos, get("dof_pos"), INTERPOLATED, "dof_pos")
    _close(state.dof_vel[held], get("dof_vel")[held], 1e-4, "dof_vel")
    _close(state.body_pos, get("body_pos"), INTERPOLATED, "body_pos")
    _close(env.obs[held], get("obs")[held], INTERPOLATED, "obs")
    assert env.done.tolist() == [0] * env.num_envs
    assert env.time.tolist() == [0.0] * env.num_envs
    if golden.has(case, "reset/out/tracking_error"):
        _close(env.info["tracking_error"], get("tracking_error"), 1e-4, "tracking_error")


def test_steps(driven):
    golden, case, env, engine = driven
    for step in range(_num_steps(golden, case)):
        obs, reward, done, info = _step(golden, case, env, engine, step)
        get = lambda name, step=step: golden.case(case, f"out/{name}")[step]  # noqa: E731
        assert torch.equal(engine.commands[-1], get("command"))
        assert torch.equal(env.time, get("time"))
        _close(env.motion_time, get("motion_time"), 1e-6, "motion_time")
        _close(obs, get("obs"), INTERPOLATED, "obs")
        _close(reward, get("reward"), 3e-4, "reward")
        assert done.dtype == torch.int32
        assert torch.equal(done, get("done"))
        for cause in ("time", "clip_end", "fall", "pose"):
            expected = get(f"cause_{cause}")
            assert torch.equal(env.causes.get(cause, torch.zeros_like(expected)), expected), cause
        if golden.has(case, "out/tracking_error"):
            _close(info["tracking_error"], get("tracking_error"), 2e-4, "tracking_error")
    if golden.has(case, "out/diagnostics"):
        means = torch.stack([env.diagnostics()[name] for name in tracking.NAMES])
        _close(means, golden.case(case, "out/diagnostics"), EXACT, "diagnostics")


def test_reference(driven):
    golden, case, env, _ = driven
    for step in range(_num_steps(golden, case)):
        reference = env.reference.at(env.motion_ids, golden.case(case, "out/motion_time")[step])
        held = golden.case(case, "frame_margin")[step + 1] > 1e-3
        get = lambda name, step=step: golden.case(case, f"out/ref_{name}")[step]  # noqa: E731
        _close(reference.root_pos, get("root_pos"), 3e-5, "root_pos")
        _same_rotations(reference.root_rot, get("root_rot"), INTERPOLATED, "root_rot")
        _same_rotations(reference.joint_rot, get("joint_rot"), INTERPOLATED, "joint_rot")
        _close(reference.body_pos, get("body_pos"), INTERPOLATED, "body_pos")
        for name in ("root_vel", "root_ang_vel", "dof_vel"):
            _close(getattr(reference, name)[held], get(name)[held], 1e-4, name)


def test_steps_given_the_stored_reference(driven, monkeypatch):
    """With interpolation taken out, rewards and errors agree to rounding."""
    golden, case, env, engine = driven
    for step in range(_num_steps(golden, case)):
        stored = _stored_reference(golden, case, env, step)
        monkeypatch.setattr(ReferenceWindow, "now", stored)
        _, reward, _, info = _step(golden, case, env, engine, step)
        view = env._view(ALL)
        view.reference = stored
        _close(env._reward.terms(view), golden.case(case, "out/reward_terms")[step], EXACT, "reward_terms")
        _close(reward, golden.case(case, "out/reward")[step], EXACT, "reward")
        if golden.has(case, "out/tracking_error"):
            _close(info["tracking_error"], golden.case(case, "out/tracking_error")[step], EXACT, "tracking_error")


def test_obs_of_the_character_alone(driven):
    """The part of the observation that no interpolation enters, to rounding."""
    golden, case, env, engine = driven
    for step in range(_num_steps(golden, case)):
        obs, *_ = _step(golden, case, env, engine, step)
        own = env.parts[0].obs_size
        _close(obs[:, :own], golden.case(case, "out/obs")[step][:, :own], EXACT, "obs")


def test_bounds_and_weights(driven):
    golden, case, env, _ = driven
    assert isinstance(env, ImitationEnv)
    _close(env.action_low, golden.case(case, "action_low"), KINEMATICS, "action_low")
    _close(env.action_high, golden.case(case, "action_high"), KINEMATICS, "action_high")
    _close(env._reward._joint_weights, golden.case(case, "out/joint_err_w"), 0.0, "joint_err_w")
    _close(env._reward._dof_weights, golden.case(case, "out/dof_err_w"), 0.0, "dof_err_w")
    assert env.obs_size == golden.case(case, "out/obs").shape[-1]
