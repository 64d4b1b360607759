"""Action distributions against golden numbers."""

from __future__ import annotations

import math

import pytest
import torch

from mimickit_hydra.agents.distributions import DiagGaussian, GaussianHead, gaussian_log_prob_of_noise


def test_gaussian(golden):
    data = golden("learn_gaussian")
    dist = DiagGaussian(data["in/mean"], data["in/logstd"])
    found = {
        "std": dist.std,
        "mode": dist.mode,
        "sample": dist.sample(data["in/noise"]),
        "log_prob": dist.log_prob(data["in/x"]),
        "entropy": dist.entropy(),
        "param_reg": dist.param_reg(),
    }
    for name, value in found.items():
        torch.testing.assert_close(value, data[f"out/{name}"], rtol=1e-4, atol=5e-4, msg=name)


@pytest.mark.parametrize("std_type", ["FIXED", "CONSTANT", "VARIABLE"])
def test_heads(golden, std_type):
    data = golden("learn_gaussian")
    hidden, case = data["heads/in/hidden"], data.case(f"heads/{std_type}")
    head = GaussianHead(7, 5, std_type, float(data["heads/in/init_std"]), 0.01)
    params = case.under("param")
    assert list(head.state_dict()) == list(params)
    head.load_state_dict(params)
    dist = head(hidden)
    torch.testing.assert_close(dist.mean, case["out/mean"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(dist.logstd.expand_as(dist.mean), case["out/logstd"], rtol=1e-5, atol=1e-6)
    assert [name for name, p in head.named_parameters() if p.requires_grad] == case.strings("out/trainable")


@pytest.mark.parametrize("std_type", ["FIXED", "CONSTANT", "VARIABLE"])
def test_head_starts_near_zero_mean_with_the_asked_deviation(std_type):
    head = GaussianHead(32, 5, std_type, 0.2, 0.0)
    dist = head(torch.randn(3, 32))
    assert torch.equal(dist.mean, torch.zeros(3, 5))
    torch.testing.assert_close(dist.std.expand(3, 5), torch.full((3, 5), 0.2))


def test_log_prob_of_noise_is_the_log_prob_of_the_sample():
    dist = DiagGaussian(torch.randn(6, 4), torch.full((4,), math.log(0.05)))
    noise = torch.randn(6, 4)
    torch.testing.assert_close(
        gaussian_log_prob_of_noise(noise, dist.logstd), dist.log_prob(dist.sample(noise)), rtol=1e-4, atol=5e-4
    )
