"""Drives an env through a case of a golden file: the reset, then stored states instead of physics."""

from __future__ import annotations

import torch
from env_test_tools import Golden

STATE_FIELDS = ("root_pos", "root_rot", "root_vel", "root_ang_vel", "dof_pos", "dof_vel", "body_pos", "body_rot",
                "body_vel", "ground_contact_forces")  # fmt: skip
EXACT = 2e-5  # outputs computed from given numbers
INTERPOLATED = 1.5e-3  # outputs that hold slerped rotations, where MimicKit's slerp is not exact
CAUSES = ("time", "clip_end", "fall", "pose", "hit")


def close(actual, expected, atol, what):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=atol, msg=lambda m: f"{what}: {m}")


def reset(golden: Golden, case: str, env) -> None:
    env.set_mode(test=True)
    env.reset_to(golden.case(case, "motion_ids"), golden.case(case, "start_times"))


def num_steps(golden: Golden, case: str) -> int:
    return len(golden.case(case, "in/action"))


def step(golden: Golden, case: str, env, engine, number: int):
    """One step of the env onto the case's next state."""
    if number == 0 and golden.has(case, "init_timestep"):
        env.fast_forward(golden.case(case, "init_timestep"))
    get = lambda name: golden.case(case, f"in/{name}")[number]  # noqa: E731
    engine.upcoming = [{f: get(f) for f in STATE_FIELDS if golden.has(case, f"in/{f}")}]
    if golden.has(case, "in/ball_pos"):
        engine.upcoming_balls = [(get("ball_pos"), get("ball_vel"), get("ball_contact_force"))]
    return env.step(get("action"))


def held_rows(golden: Golden, case: str, until: int) -> torch.Tensor:
    """Rows whose queries so far were not so near to a frame that rounding decides which frame's velocity is held."""
    margin = golden.case(case, "frame_margin")[: until + 1].amin(0)
    return (margin > 1e-3) | golden.has(case, "gsi/in/reset_indices")  # generated starts ask no clip


def check_reset(golden: Golden, case: str, env, engine) -> None:
    """States, observations and discriminator observations after the reset."""
    get = lambda name: golden.case(case, f"reset/out/{name}")  # noqa: E731
    held = held_rows(golden, case, 0)
    loose = 3e-2 if golden.has(case, "gsi/in/reset_indices") else 1e-4  # differences of decoded rotations
    state = engine.states[0]
    close(state.root_pos, get("root_pos"), 3e-5, "root_pos")
    close(state.dof_pos, get("dof_pos"), INTERPOLATED, "dof_pos")
    close(state.body_pos, get("body_pos"), INTERPOLATED, "body_pos")
    for name in ("root_vel", "root_ang_vel", "dof_vel"):
        close(getattr(state, name)[held], get(name)[held], loose, name)
    close(env.obs[held], get("obs")[held], max(loose, INTERPOLATED), "obs")
    for name in ("disc_obs", "disc_obs_demo"):
        if golden.has(case, f"reset/out/{name}"):
            close(env.info[name][held], get(name)[held], max(loose, INTERPOLATED), name)


def check_step(golden: Golden, case: str, env, engine, number: int, causes=CAUSES) -> None:
    """Everything a step gives."""
    get = lambda name: golden.case(case, f"out/{name}")[number]  # noqa: E731
    assert torch.equal(engine.commands[-1], get("command"))
    assert torch.equal(env.time, get("time"))
    close(env.obs, get("obs"), INTERPOLATED, "obs")
    close(env.reward, get("reward"), EXACT, "reward")
    held = held_rows(golden, case, number + 1)
    for name in ("disc_obs", "disc_obs_demo"):
        if golden.has(case, f"out/{name}"):
            atol = 3e-2 if golden.has(case, "gsi/in/reset_indices") else INTERPOLATED
            close(env.info[name][held], get(name)[held], atol, name)
    for cause in causes:
        if golden.has(case, f"out/cause_{cause}"):
            expected = get(f"cause_{cause}")
            assert torch.equal(env.causes.get(cause, torch.zeros_like(expected)), expected), cause
    if causes == CAUSES:
        assert torch.equal(env.done, get("done"))
