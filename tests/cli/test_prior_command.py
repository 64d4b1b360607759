"""``mimickit prior``: the files it writes, what they are good for, and refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from mimickit_hydra.errors import UserError

pytest.importorskip("diffusers")

from mimickit_hydra.cli.main import main

SMALL = [
    "prior.num_attention_heads=2", "prior.attention_head_dim=8", "prior.num_layers=1", "prior.batch_size=8",
    "prior.num_samples_stat=50", "prior.num_iterations=3", "prior.output_iter=2", "prior.device=cpu", "prior.lr=1e-3",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("prior") / "spinkick"
    assert main(["prior", "train", str(folder), "motion=humanoid_spinkick", *SMALL]) == 0
    return folder


def test_files_of_a_prior(folder):
    from mimickit_hydra.agents.prior_config import load_prior_config

    config, window = load_prior_config(folder / "diffusion_config.yaml")
    assert (config.num_layers, config.lr, config.control_freq, config.device) == (1, 1e-3, 30, "cpu")
    assert config.motion_file == "data/motions/humanoid/humanoid_spinkick.pkl"
    assert (window.num_disc_obs_steps, window.root_height_obs, window.disc_dof_vel_obs) == (10, True, False)
    weights = torch.load(folder / "model.pt", weights_only=True)
    assert weights["dmodel.proj_in.weight"].shape == (16, 114)
    assert weights["dmodel.proj_in.weight"].data_ptr() == weights["ema_dmodel.model.proj_in.weight"].data_ptr()
    assert [line.split()[0] for line in (folder / "log.txt").read_text().splitlines()] == ["Iteration", "2", "3"]


def test_sampled_clips(folder, tmp_path, capsys):
    from mimickit_hydra.motion.clip import load_clip

    arguments = ["prior", "sample", str(folder), "-n", "2", "-o", str(tmp_path), "--sampler", "ddim", "--steps", "2"]
    assert main([*arguments, "--device", "cpu"]) == 0
    assert "2 clips of 10 frames at 30 Hz" in capsys.readouterr().out
    clip = load_clip(tmp_path / "motion_001.npz")
    assert clip.frames.shape == (10, 34)
    assert clip.fps == 30.0


def test_an_agent_takes_it(folder):
    from mimickit_hydra.agents.prior import load_prior
    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.config.paths import resolve_data_file
    from mimickit_hydra.training.build import _located

    run = to_run(compose(["method=smp", f"agent.smp_prior_model={folder / 'model.pt'}"]))
    found = _located(run.agent, resolve_data_file)  # the configuration lies beside the model
    with pytest.raises(UserError, match=r"agent.smp_prior_model: nowhere.pt: no such file.*mimickit prior train"):
        _located(dataclasses.replace(run.agent, smp_prior_model="nowhere.pt"), resolve_data_file)
    prior, window = load_prior(Path(found.smp_prior_cfg), Path(found.smp_prior_model))
    assert prior.channels * window.num_disc_obs_steps == 1140


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "{folder}"], "already holds a prior"),
        (["train", "{new}", "prior.lrr=1"], "prior: no key 'lrr'; nearest: lr"),
        (["train", "{new}", "prior.T=many"], "prior: T: found 'many', must be int"),
        (["train", "{new}", "method=deepmimic"], "env.env_name: deepmimic shows no motion windows"),
        (["train", "{new}", "motion=spinkik"], "spinkik"),
        (["sample", "{new}"], "holds no model.pt"),
        (["sample", "{folder}", "-n", "0"], "must be 1 or more"),
    ],
)
def test_refusals_are_one_line(folder, tmp_path, capsys, arguments, line):
    new = tmp_path / "new"
    assert main(["prior", *(entry.format(folder=folder, new=new) for entry in arguments)]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert len(error.strip().splitlines()) == 1
    assert not new.exists()
