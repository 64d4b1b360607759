"""Discriminator observations: MimicKit's demonstrations by value, and what must not change them."""

import pytest
import torch
from env_test_tools import Golden
from random_states import BODIES, DOFS, JOINTS, KEYS, moved, random_state

from mimickit_hydra.envs.disc_obs import ADDDiscObs, AMPDiscObs, DemoSampler
from mimickit_hydra.envs.reference import ReferenceMotion

FILES = {
    name: Golden(name)
    for name in ("env_amp_humanoid", "env_amp_humanoid_variants", "env_ase_humanoid", "env_add_humanoid")
}
CASES = [(file, case) for file, golden in FILES.items() for case in golden.cases if golden.has(case, "demo/in/times")]


def _sampler(golden, case):
    character, config = golden.character(), golden.raw_config(case)
    keys = torch.tensor([character.body_names.index(name) for name in config["key_bodies"]], dtype=torch.int64)
    reference = ReferenceMotion(golden.library(character), character, keys)
    joints, dofs, local = character.num_joints, character.num_dofs, not config["global_obs"]
    if config["env_name"] == "add":
        disc_obs = ADDDiscObs(joints, dofs, character.num_bodies, heading_frame=local)
    else:
        disc_obs = AMPDiscObs(
            joints, dofs, len(keys), heading_frame=local, track_root=config["global_obs"] and config["enable_tar_obs"],
            root_height=config["root_height_obs"], dof_vel=config.get("disc_dof_vel_obs", True),
        )  # fmt: skip
    return DemoSampler(reference, disc_obs, config["num_disc_obs_steps"], 1 / 30)


@pytest.mark.parametrize(("file", "case"), CASES, ids=[f"{f}-{c}" for f, c in CASES])
def test_demonstrations(file, case):
    golden = FILES[file]
    sampler = _sampler(golden, case)
    demo = sampler.at(golden.case(case, "demo/in/motion_ids"), golden.case(case, "demo/in/times"))
    assert demo.shape[1] == sampler.obs_size == int(golden.case(case, "disc_obs_size"))
    torch.testing.assert_close(demo, golden.case(case, "demo/out/disc_obs"), atol=1.5e-3, rtol=1.5e-3)


def test_drawing_in_chunks_is_drawing_at_once(monkeypatch):
    golden = FILES["env_amp_humanoid"]
    torch.manual_seed(3)
    expected = _sampler(golden, "shipped").draw(7)
    monkeypatch.setattr("mimickit_hydra.envs.disc_obs.DEMO_FRAMES_AT_ONCE", {"cpu": 30})
    torch.manual_seed(3)
    torch.testing.assert_close(_sampler(golden, "shipped").draw(7), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("local", [True, False])
def test_amp_does_not_see_where_the_window_is(local):
    disc_obs = AMPDiscObs(JOINTS, DOFS, KEYS, heading_frame=local)
    window = [random_state(seed) for seed in range(3)]
    seen = disc_obs.observe(torch.stack([disc_obs.features(s) for s in window], 1))
    angle = 1.2 if local else 0.0
    other = disc_obs.observe(torch.stack([disc_obs.features(moved(s, angle, (3.0, -2.0))) for s in window], 1))
    assert seen.shape == (3, 3 * disc_obs.step_size)
    torch.testing.assert_close(seen, other, atol=2e-5, rtol=2e-5)
    newest = seen.unflatten(-1, (3, -1))[:, -1]
    torch.testing.assert_close(newest[:, :2], torch.zeros(3, 2))
    torch.testing.assert_close(newest[:, 2], window[-1].root_pos[:, 2])


def test_add_local_does_not_see_where_each_frame_is():
    disc_obs = ADDDiscObs(JOINTS, DOFS, BODIES, heading_frame=True)
    state = random_state(1)
    torch.testing.assert_close(
        disc_obs.features(state), disc_obs.features(moved(state, -0.7, (1.0, 4.0))), atol=1e-5, rtol=1e-5
    )
    assert disc_obs.features(state).shape == (3, disc_obs.step_size)


def test_a_frame_without_a_height_keeps_two_position_components():
    with_height = AMPDiscObs(JOINTS, DOFS, KEYS, heading_frame=True)
    without = AMPDiscObs(JOINTS, DOFS, KEYS, heading_frame=True, root_height=False)
    features = with_height.features(random_state(2)).unsqueeze(1)
    expected = with_height.observe(features)
    torch.testing.assert_close(without.observe(features), torch.cat([expected[:, :2], expected[:, 3:]], -1))
    assert without.step_size == with_height.step_size - 1
