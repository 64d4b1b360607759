"""Normalisers against golden numbers, and where float32 sums would fail."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimickit_hydra.agents.normalizers import ActionNormalizer, DiffNormalizer, ObsNormalizer
from mimickit_hydra.distributed import Comm
from mimickit_hydra.errors import UserError

STAT = {"rtol": 5e-3, "atol": 5e-3}


@pytest.mark.parametrize("name", ["clip10", "no_clip", "std_clip", "init_stats"])
def test_observation_normalizer(golden, name):
    case = golden("learn_normalizer").case(name)
    norm = ObsNormalizer(case["in/x"].shape[-1], float(case["in/clip"]), float(case["in/std_clip"]))
    if "in/init_mean" in case:
        norm._mean.copy_(case["in/init_mean"])
        norm._std.copy_(case["in/init_std"])
        norm.rebuild()
    torch.testing.assert_close(norm.normalize(case["in/x"]), case["out/normalized_before"], rtol=2e-5, atol=2e-5)
    for update in range(3):
        for record in range(2):
            if f"in/update{update}_record{record}" in case:
                norm.record(case[f"in/update{update}_record{record}"])
        norm.update(Comm())
        torch.testing.assert_close(norm.mean, case[f"out/update{update}_mean"], rtol=2e-5, atol=2e-5)
        torch.testing.assert_close(norm.std, case[f"out/update{update}_std"], **STAT)
        assert torch.equal(norm._count, case[f"out/update{update}_count"])

    stored = {"_count": norm._count, "_mean": case["out/update2_mean"], "_std": case["out/update2_std"]}
    loaded = ObsNormalizer(case["in/x"].shape[-1], float(case["in/clip"]), float(case["in/std_clip"]))
    loaded.load_state_dict(stored)
    torch.testing.assert_close(loaded.normalize(case["in/x"]), case["out/normalized"], rtol=2e-4, atol=2e-4)
    torch.testing.assert_close(loaded.unnormalize(case["in/x"]), case["out/unnormalized"], rtol=2e-5, atol=2e-5)
    loaded.record(case["in/after_load_record"])
    loaded.update(Comm())
    torch.testing.assert_close(loaded.mean, case["out/after_load_mean"], rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(loaded.std, case["out/after_load_std"], **STAT)
    assert torch.equal(loaded._count, case["out/after_load_count"])


def test_difference_normalizer(golden):
    data = golden("learn_diff_normalizer")
    norm = DiffNormalizer(6, float(data["in/min_diff"]))
    torch.testing.assert_close(norm.normalize(data["in/x"]), data["out/normalized_before"])
    for update in range(3):
        for record in range(2):
            if f"in/update{update}_record{record}" in data:
                norm.record(data[f"in/update{update}_record{record}"])
        norm.update(Comm())
        torch.testing.assert_close(norm._mean_abs, data[f"out/update{update}_mean_abs"], rtol=2e-5, atol=2e-6)
        assert torch.equal(norm._count, data[f"out/update{update}_count"])
    torch.testing.assert_close(norm.normalize(data["in/x"]), data["out/normalized"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.unnormalize(data["in/x"]), data["out/unnormalized"], rtol=1e-4, atol=1e-5)


def test_a_large_offset_costs_no_digits():
    x = 1000.0 + 0.01 * torch.randn(5000, 2)
    norm = ObsNormalizer(2)
    for chunk in x.split(1000):
        norm.record(chunk)
        norm.update(Comm())
    torch.testing.assert_close(norm.std, x.double().std(0, correction=0).float(), rtol=1e-4, atol=0.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=3), min_size=1, max_size=4), st.integers(0, 999))
def test_any_split_gives_the_statistics_of_everything_seen(updates, seed):
    generator = torch.Generator().manual_seed(seed)
    norm, seen = ObsNormalizer(3), []
    for records in updates:
        for rows in records:
            seen.append(torch.randn(rows, 3, generator=generator) * 3.0 + 5.0)
            norm.record(seen[-1])
        norm.update(Comm())
    everything = torch.cat(seen).double()
    torch.testing.assert_close(norm.mean.double(), everything.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.std.double(), everything.std(0, correction=0).clamp_min(1e-4), rtol=1e-5, atol=1e-5)
    assert int(norm._count) == len(everything)


def test_an_update_without_records_changes_nothing():
    norm, diff = ObsNormalizer(3), DiffNormalizer(3)
    for _ in range(2):
        norm.update(Comm())
        diff.update(Comm())
    assert torch.equal(norm.mean, torch.zeros(3))
    assert torch.equal(norm.std, torch.ones(3))
    assert torch.equal(diff._mean_abs, torch.ones(3))


def test_exact_state_continues_bit_for_bit():
    norm, other = ObsNormalizer(3), ObsNormalizer(3)
    norm.record(torch.randn(10, 3))
    norm.update(Comm())
    norm.record(torch.randn(4, 3))
    other.load_state_dict(norm.state_dict())
    other.load_exact_state(norm.exact_state())
    x = torch.randn(5, 3)
    for each in (norm, other):
        each.record(x)
        each.update(Comm())
    assert torch.equal(norm.mean, other.mean)
    assert torch.equal(norm.std, other.std)


def test_in_place_normalisation():
    norm = ObsNormalizer(3, clip=2.0)
    norm.record(torch.randn(10, 3))
    norm.update(Comm())
    x, out = 10.0 * torch.randn(4, 3), torch.empty(4, 3)
    norm.normalize(x, out=out)
    assert torch.equal(out, norm.normalize(x))
    assert float(out.abs().max()) == 2.0


def test_action_bounds():
    norm = ActionNormalizer(torch.tensor([-1.0, 0.0, -torch.inf]), torch.tensor([3.0, 0.5, torch.inf]))
    torch.testing.assert_close(norm.unnormalize(torch.tensor([1.0, -1.0, 0.3])), torch.tensor([3.0, 0.0, 0.3]))
    torch.testing.assert_close(norm.normalize(torch.tensor([1.0, 0.25, 0.3])), torch.tensor([0.0, 0.0, 0.3]))
    with pytest.raises(UserError, match="dimension 1"):
        ActionNormalizer(torch.tensor([-1.0, 2.0]), torch.tensor([1.0, 2.0]))
