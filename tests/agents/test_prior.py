"""The diffusion prior by golden numbers: names, schedule, network, losses, samples, average."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

from mimickit_hydra.agents.ema import AveragedModel
from mimickit_hydra.agents.prior import DiffusionPrior, diffusion_times, load_prior_weights
from mimickit_hydra.agents.prior_config import PriorConfig, load_prior_config, parse_prior_config
from mimickit_hydra.errors import UserError

FRAMES = 4


def golden_prior(data, **changes):
    """The prior of the golden file, in evaluation mode."""
    values = data.json("prior/config_json")
    config = parse_prior_config({**{k: v for k, v in values.items() if k not in ("input_dim",)}, **changes}, "golden")
    params = data.under("prior/param")
    prior = DiffusionPrior(config, params["dmodel.proj_in.weight"].shape[1])
    load_prior_weights(prior, params, "golden")
    return prior.eval()


@pytest.fixture
def data(golden):
    return golden("learn_smp")


def test_schedule(data):
    prior = golden_prior(data)
    torch.testing.assert_close(prior.alphas_cumprod, data["prior/out/alphas_cumprod"], rtol=1e-5, atol=1e-7)
    full = DiffusionPrior(PriorConfig(attention_head_dim=4), 6).alphas_cumprod
    for step, value in {0: 0.99825, 8: 0.91674, 15: 0.76084, 22: 0.55607}.items():
        assert abs(float(full[step]) - value) < 1e-5


def test_network(data):
    prior = golden_prior(data)
    x, t = data["prior/in/x"], data["prior/in/t"]
    with torch.no_grad():
        torch.testing.assert_close(prior.dmodel(x[:, None], t)[:, 0], data["prior/out/denoiser"], rtol=5e-5, atol=5e-5)
        expected = data["prior/out/denoiser_ema"]
        torch.testing.assert_close(prior.best(x[:, None], t)[:, 0], expected, rtol=5e-5, atol=5e-5)
        together = prior.best(x[None].expand(5, -1, -1), t).diagonal().T
        torch.testing.assert_close(together, expected, rtol=5e-5, atol=5e-5)


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_train_loss(data, loss):
    prior = golden_prior(data, loss_type=loss)
    found = prior.train_loss(*(data[f"prior/in/train_{name}"] for name in ("x", "noise", "t")))
    torch.testing.assert_close(found, data[f"prior/out/train_loss_{loss}"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("average", [True, False])
def test_samples(data, average, monkeypatch):
    import diffusers.schedulers.scheduling_ddpm as ddpm

    prior = golden_prior(data)
    start, noise = data["prior/in/sample_x_T"], iter(data["prior/in/sample_noise"])
    monkeypatch.setattr(ddpm, "randn_tensor", lambda *_, **__: next(noise))
    network, suffix = (prior.best, "_ema") if average else (prior.dmodel, "")
    found = prior.sample(start, "ddpm", network=network)
    torch.testing.assert_close(found, data[f"prior/out/ddpm_sample{suffix}"], rtol=1e-2, atol=1e-2)
    assert next(noise, None) is None
    found = prior.sample(start, "ddim", 10, network=network)
    torch.testing.assert_close(found, data[f"prior/out/ddim10_sample{suffix}"], rtol=1e-4, atol=1e-4)


def test_statistics(data):
    prior = golden_prior(data)
    raw = data["prior/in/raw_windows"].flatten(-2)
    found = prior.normalize(raw)
    torch.testing.assert_close(
        found.unflatten(-1, (FRAMES, -1)), data["prior/out/normalized_windows"], rtol=2e-5, atol=2e-5
    )
    torch.testing.assert_close(prior.unnormalize(found), raw, rtol=2e-5, atol=2e-5)
    found = prior.unnormalize(raw).unflatten(-1, (FRAMES, -1))
    torch.testing.assert_close(found, data["prior/out/unnormalized_windows"], rtol=2e-5, atol=2e-5)


def test_average(data):
    case = data.case("ema")
    values = case.json("in/params_json")
    model = torch.nn.Linear(3, 2, bias=False)
    average = AveragedModel(model, values["decay"], values["update_every"], values["update_after"])
    for weight, expected in zip(case["in/weight"], case["out/weight"], strict=True):
        with torch.no_grad():
            model.weight.copy_(weight)
        average.update()
        torch.testing.assert_close(average.ema_model.weight, expected, rtol=1e-5, atol=1e-6)
    other = AveragedModel(torch.nn.Linear(3, 2, bias=False), 0.9, 2, 4)
    other.load_state_dict(average.state_dict())
    assert other._calls == 10


@pytest.mark.parametrize("mode", ["epsilon", "sample", "v_prediction"])
def test_the_three_predictions_mean_the_same(data, mode):
    prior = golden_prior(data, estimate_mode=mode)
    steps = torch.tensor([8, 22])
    windows, noise = torch.randn(3, 24), torch.randn(2, 3, 24)
    signal, spread = prior._noise_levels(steps)
    right = {"epsilon": noise, "sample": windows.expand(2, 3, 24), "v_prediction": signal * noise - spread * windows}
    prior.ema_dmodel.ema_model.forward = lambda *_: right[mode]
    assert prior.score_losses(windows, steps, noise).shape == (3, 2)
    assert prior.score_losses(windows, steps, noise).max() < 1e-9


@pytest.mark.parametrize("mode", ["epsilon", "sample", "v_prediction"])
def test_scores_in_half_precision_are_nearly_those_in_full(data, mode):
    """What a GPU does with rewards, here with the CPU's bfloat16."""
    prior, generator = golden_prior(data, estimate_mode=mode), torch.Generator().manual_seed(0)
    windows = torch.randn(256, 24, generator=generator)
    noise = torch.randn(3, 256, 24, generator=generator)
    with torch.no_grad():
        full = prior.score_losses(windows, torch.tensor([8, 15, 22]), noise)
        with torch.autocast("cpu", torch.bfloat16):
            half = prior.score_losses(windows, torch.tensor([8, 15, 22]), noise)
    assert half.dtype == torch.float32
    apart = (half - full).abs() / full
    assert apart.mean() < 0.01
    assert apart.max() < 0.1


def test_names_and_size_are_those_of_mimickit():
    prior = DiffusionPrior(PriorConfig(model_ema=True), 114)
    names = list(prior.state_dict())
    block = [name.removeprefix("dmodel.") for name in names if name.startswith("dmodel.")]
    blocks = [f"transformer_blocks.0.{name}" for name in ("scale_shift_table", "attn1.to_q.weight")]
    assert block[:3] == ["scale_shift_table", *blocks]
    layers = ("preprocess_conv", "proj_in", "proj_out", "postprocess_conv")
    assert block[-5:] == [*(f"{layer}.weight" for layer in layers), "sequence_pos_encoder.pe"]
    expected = [f"dmodel.{name}" for name in block] + ["ema_dmodel.step"]
    expected += [f"ema_dmodel.{which}.{name}" for which in ("model", "ema_model") for name in block]
    assert names == [*expected, "obs_normalizer._count", "obs_normalizer._mean", "obs_normalizer._std"]
    assert sum(parameter.numel() for parameter in prior.dmodel.parameters()) == 2_716_552
    plain = DiffusionPrior(PriorConfig(), 6)
    assert not any(name.startswith("ema") for name in plain.state_dict())
    classes = DiffusionPrior(PriorConfig(arch_name="CondDiT", num_class=3, cfg_dropout=0.1), 6)
    assert classes.dmodel.adaln_single.emb["class_embedder"].embedding_table.weight.shape == (4, 256)


def test_generated_windows(data):
    prior = golden_prior(data)
    windows = prior.generate(5, FRAMES, "ddim", 5, batch=2)
    assert windows.shape == (5, FRAMES, 6)
    assert torch.isfinite(windows).all()


def test_bad_values_are_one_line(data, tmp_path):
    prior = golden_prior(data)
    with pytest.raises(UserError, match=r"gsi_inference_steps: found 51"):
        prior.sample(torch.zeros(1, 24), "ddim", 51)
    with pytest.raises(UserError, match=r"diffusion_steps: found \[50\], needs one or more times from 0 to 49"):
        diffusion_times([50], 50, torch.device("cpu"))
    with pytest.raises(UserError, match="golden does not fit its configuration: it lacks dmodel"):
        load_prior_weights(prior, {}, "golden")
    with pytest.raises(UserError, match=r"no key 'lrr'.*nearest: lr"):
        parse_prior_config({"lrr": 1}, "x.yaml")
    with pytest.raises(UserError, match=r"x.yaml: T: found 'many', must be int"):
        parse_prior_config({"T": "many"}, "x.yaml")
    with pytest.raises(UserError, match=r"arch_name: found 'dit', must be one of DiT, CondDiT"):
        parse_prior_config({"arch_name": "dit"}, "x.yaml")
    (tmp_path / "c.yaml").write_text("T: 50\nlr: 1e-4\nmodel_name: tiny\nenv_config: nowhere/e.yaml\n")
    with pytest.raises(UserError, match=r"c.yaml: env_config: nowhere/e.yaml: no such file"):
        load_prior_config(tmp_path / "c.yaml")
    (tmp_path / "e.yaml").write_text("num_disc_obs_steps: 10\nroot_height_obs: true\nkey_bodies: [head]\n")
    config, window = load_prior_config(tmp_path / "c.yaml")
    assert config.lr == 1e-4
    assert (window.num_disc_obs_steps, window.root_height_obs, window.key_bodies) == (10, True, ("head",))
