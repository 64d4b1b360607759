"""MimicKit's own numbers of the envs with a discriminator: AMP, ASE, ADD and SMP."""

import pytest
import torch
from env_test_tools import Golden
from golden_driver import CAUSES, EXACT, check_reset, check_step, close, num_steps, reset, step

from mimickit_hydra.envs.generative import GenerativeStart, decode_windows
from mimickit_hydra.envs.starts import DefaultPose

NAMES = ("env_amp_humanoid", "env_amp_humanoid_variants", "env_ase_humanoid", "env_add_humanoid", "env_smp_humanoid")
FILES = {name: Golden(name) for name in NAMES}
CASES = [(file, case) for file, golden in FILES.items() for case in golden.cases if golden.has(case, "in/action")]
SMP = FILES["env_smp_humanoid"]


@pytest.fixture(params=CASES, ids=[f"{file}-{case}" for file, case in CASES])
def driven(request):
    file, case = request.param
    golden = FILES[file]
    env, engine = golden.env(case)
    if golden.has(case, "reset/in/default_reset_u"):
        (start,) = (part for part in env.parts if isinstance(part, DefaultPose))
        start.draw = lambda: golden.case(case, "reset/in/default_reset_u")
    if golden.has(case, "gsi/in/samples"):
        _fill(env)
    reset(golden, case, env)
    return golden, case, env, engine


def test_reset(driven):
    check_reset(*driven)


def test_steps(driven):
    golden, case, env, engine = driven
    # Where MimicKit compares with the reference of the reset, ours compares with the present one.
    causes = tuple(c for c in CAUSES if c != "pose") if str(golden.data[f"{case}/quirk"]) else CAUSES
    for number in range(num_steps(golden, case)):
        step(golden, case, env, engine, number)
        check_step(golden, case, env, engine, number, causes)


def test_sizes(driven):
    golden, case, env, _ = driven
    size = int(golden.case(case, "disc_obs_size"))
    assert env.disc_obs_size == env.info["disc_obs"].shape[1] == size
    assert env.fetch_disc_obs_demo(3).shape == (3, size)
    assert env.window_settings["num_disc_obs_steps"] == golden.raw_config(case)["num_disc_obs_steps"]


def test_training_sees_the_same_as_testing(driven):
    """Outside the test mode the AMP family leaves the reference where it is, and nobody can tell."""
    golden, case, env, engine = driven
    env.set_mode(test=False)
    for number in range(num_steps(golden, case)):
        step(golden, case, env, engine, number)
        check_step(golden, case, env, engine, number, CAUSES[:3])


# --------------------------------------------------------------------------------------------- generated starts


def _fill(env):
    env.init_gsi_buffer(SMP.case("gsi", "gsi/in/samples"))
    env.add_gsi_samples(SMP.case("gsi", "gsi/in/samples_added"))
    (start,) = (part for part in env.parts if isinstance(part, GenerativeStart))
    start.draw = lambda: SMP.case("gsi", "gsi/in/reset_indices")
    return start


def _generative():
    env, engine = SMP.env("gsi", num_envs=4)
    return env, engine, _fill(env)


def test_windows_are_decoded():
    character, samples = SMP.character(), SMP.case("gsi", "gsi/in/samples")
    decoded = decode_windows(samples, character, torch.zeros(0, dtype=torch.int64), 1 / 30)
    get = lambda name: SMP.case("gsi", f"gsi/out/{name}")  # noqa: E731
    close(decoded.state.root_pos, get("frames")[..., :3], EXACT, "root_pos")
    close(decoded.dof_pos, get("frames")[..., 6:], 6e-4, "dof_pos")
    for name in ("root_rot", "joint_rot"):
        found, expected = getattr(decoded.state, name), get(name)
        sign = torch.where((found * expected).sum(-1, keepdim=True) < 0, -1.0, 1.0)
        close(found * sign, expected, 6e-4, name)
    close(decoded.state.body_pos, get("body_pos"), 6e-4, "body_pos")
    for name in ("root_vel", "root_ang_vel", "dof_vel"):
        close(getattr(decoded.state, name), get(name), 3e-2, name)


def test_the_ring_overwrites_its_first_entries():
    _, _, start = _generative()
    expected = SMP.case("gsi", "gsi/out/buffer_dof_pos_newest")
    close(start._buffer["dof_pos"], expected, 6e-4, "dof_pos")


def test_episodes_start_in_the_generated_windows():
    env, engine, _ = _generative()
    env.reset()
    assert torch.equal(env.start_times, torch.zeros(4))
    expected = SMP.case("gsi", "gsi/out/buffer_dof_pos_newest")[SMP.case("gsi", "gsi/in/reset_indices")]
    close(engine.states[0].dof_pos, expected, 6e-4, "dof_pos")


def test_a_full_buffer_resumes_exactly():
    env, *_ = _generative()
    del env._generative.draw  # the stored draws
    env.reset()
    state, rng = env.state_dict(), torch.get_rng_state()
    other, _ = SMP.env("gsi", num_envs=4)
    other.load_state_dict(state)
    for one in (env, other):
        torch.set_rng_state(rng)
        one.reset()
    assert torch.equal(env.obs, other.obs)
    assert torch.equal(env.info["disc_obs"], other.info["disc_obs"])
    assert other._generative._head == 2
