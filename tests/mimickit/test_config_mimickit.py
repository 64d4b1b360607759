"""Every configuration MimicKit ships, composed from the groups and compared value for value.

``data/mimickit_configs.json`` holds MimicKit's values (see ``data/NOTICE``): for each of its 37 argument files the
arguments and the YAML it points to.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from mimickit_rows import ROWS
from omegaconf import OmegaConf

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.groups import groups

MIMICKIT: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "mimickit_configs.json").read_text())
LEFT_OUT = {
    # MimicKit's files name one folder that each run overwrites; ours is made for the run
    "out_dir",
    # the files themselves are what the groups replace
    "engine_config", "env_config", "agent_config",
}  # fmt: skip
# What MimicKit's code takes where a file leaves the key out (its specification, sections 3 of both documents).
CODE_DEFAULTS: dict[str, Any] = {
    # ours: where an engine runs, and which physics Isaac Lab takes
    "engine": {
        "python": None, "worker_timeout": 300.0, "worker_start_timeout": 1800.0,
        "physics": "newton", "iterations": 100, "ls_iterations": 50, "impratio": 10.0, "njmax": 0, "nconmax": 0,
    },
    "env": {
        "zero_center_action": False, "init_pose": [], "key_bodies": [], "root_height_obs": True,
        "enable_phase_obs": True, "num_phase_encoding": 0, "enable_tar_obs": False, "tar_obs_steps": [1],
        "pose_termination": False, "pose_termination_dist": 1.0, "rand_reset": True, "contact_bodies": [],
        "joint_err_w": None, "log_tracking_error": False, "visualize_ref_char": True, "disc_dof_vel_obs": True,
        "tar_dist_min": 0.0, "dist_threshold": 0.5, "pos_err_scale": 0.5, "vel_err_scale": 4.0,
        "pos_reward_w": 0.5, "vel_reward_w": 0.4, "face_reward_w": 0.1,
        "hit_dist": 0.8, "hit_force_threshold": 0.1, "hit_delta_v_threshold": 1.5, "proj_aim_noise_scale": 0.1,
        "proj_h_min": 0.5, "proj_h_max": 2.5,
        # ours: what a task stands on is MimicKit's method, and these are off or for other methods alone
        "sampling": "weight", "fuse": False, "motion_split": None, "held_out": 0.0, "action_about": "default",
        "lift_starts": False,
        "objects": [], "observations": {}, "rewards": {}, "terminations": {},
        "events": {}, "critic_observations": {}, "state_estimation": True,
        "default_reset_prob": 0.0, "default_pose_history": False,
        "imitation_reward_w": 0.7, "task_reward_w": 0.3,
        **{f"reward_{term}_{kind}": None
           for term in ("pose", "vel", "root_pose", "root_vel", "key_pos") for kind in ("w", "scale")},
    },
    "agent": {
        "model.activation": "relu", "critic_eval_batch_size": 0, "disc_eval_batch_size": 0, "enc_eval_batch_size": 0,
        "use_mixed_precision": False,
        "exp_anneal_samples": float("inf"), "exp_prob_beg": 1.0, "exp_prob_end": 1.0, "smp_reward_scale": 1.0,
        "sds_normalizer_samples": float("inf"), "gsi_iters": 50, "gsi_sampler": "ddpm", "gsi_inference_steps": 10,
        "gsi_buffer_size": 4096, "gsi_regen_num_motions": 1024, "gsi_batch_size": 256,
        "gsi_rotations": "symmetric",  # ours; docs/differences.md
        **{f"{head}_optimizer.{key}": 0.0 for head in ("actor", "critic", "disc", "enc")
           for key in ("weight_decay", "grad_clip")},
    },
}  # fmt: skip


@functools.cache
def composed(words: tuple[str, ...]) -> dict[str, Any]:
    cfg = compose(list(words))
    to_run(cfg)
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def leaves(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        found.update(leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found


def theirs(entry: dict[str, Any], section: str) -> dict[str, Any]:
    """The values a section has when MimicKit runs: the env's file may change keys of the engine's."""
    if section == "engine":
        return {**entry["engine"], **entry["env"].get("engine", {})}
    return leaves({key: value for key, value in (entry[section] or {}).items() if key != "engine"})


def ours(words: tuple[str, ...], section: str) -> dict[str, Any]:
    found = leaves(composed(words)[section])
    if "objects" in found:
        assert all(box["rot"] == [0.0, 0.0, 0.0, 1.0] for box in found["objects"])
        found["objects"] = [{key: box[key] for key in ("pos", "file")} for box in found["objects"]]
    return found


def test_there_is_a_row_for_each_of_the_37() -> None:
    assert set(ROWS) == set(MIMICKIT)
    assert len(ROWS) == 37
    assert max(len(words) for words in ROWS.values()) <= 4
    assert len(set(ROWS.values())) == 37


@pytest.mark.parametrize("entry", ROWS)
def test_a_row_has_mimickits_values(entry: str) -> None:
    for section in ("engine", "env", "agent"):
        expected, found = theirs(MIMICKIT[entry], section), ours(ROWS[entry], section)
        assert {key: found.get(key, "absent") for key in expected} == expected, section
        if MIMICKIT[entry][section] is not None:
            added = {key: value for key, value in found.items() if key not in expected}
            added.pop("base_env", None)
            assert added == {key: CODE_DEFAULTS[section].get(key, "no default") for key in added}, section


@pytest.mark.parametrize("entry", ROWS)
def test_a_row_has_mimickits_run_values(entry: str) -> None:
    run = composed(ROWS[entry])
    expected = {key: value for key, value in MIMICKIT[entry]["args"].items() if key not in LEFT_OUT}
    assert {key: str(run[key]).lower() for key in expected} == expected


def test_what_has_no_agent_file_has_mimickits_dummy() -> None:
    """MimicKit's dummy agent takes its numbers from the code."""
    for entry, row in ROWS.items():
        if MIMICKIT[entry]["agent"] is None and "note" not in MIMICKIT[entry]:
            assert composed(row)["agent"] == {
                "agent_name": "Dummy", "discount": 0.99, "steps_per_iter": 32, "iters_per_output": 100,
                "test_episodes": 10, "normalizer_samples": 10000.0,
            }  # fmt: skip


def test_the_dodgeball_agent_that_mimickit_does_not_ship_is_that_of_its_other_tasks() -> None:
    assert "does not ship" in MIMICKIT["smp_dodgeball_humanoid_args"]["note"]
    tasks = [composed(ROWS[f"smp_{task}_humanoid_args"])["agent"] for task in ("dodgeball", "location", "steering")]
    assert tasks[0] == tasks[1] == tasks[2]


@pytest.mark.parametrize("entry", ROWS)
def test_the_experiment_of_that_name_is_the_row(entry: str) -> None:
    name = entry.removesuffix("_args")
    assert name in groups()["experiment"].option_names()
    engine = ROWS[entry][0]
    run, row = composed((engine, f"experiment={name}")), composed(ROWS[entry])
    for section in row.keys() - {"out_dir"}:
        assert run[section] == row[section], section
