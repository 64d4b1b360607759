"""Where episodes start: what each sampler draws, what it learns, and that a resumed run draws the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from env_test_tools import GOLDEN
from tiny_run import SAMPLES, TINY, assert_same_state
from torch.utils._python_dispatch import TorchDispatchMode

from mimickit_hydra.checks.check import validate
from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.reference import ReferenceMotion
from mimickit_hydra.envs.sampling import ByFailure, ByReturn, ByWeight, LikeMjlab, Setting, StartSampler, Uniform
from mimickit_hydra.envs.sampling_schema import BinParams, MjlabParams
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode, MotionClip
from mimickit_hydra.motion.library import MotionLibrary
from mimickit_hydra.runs.log_table import read_log
from mimickit_hydra.training.run import run

DT = 0.02
PLAIN = BinParams(uniform_share=0.2, look_ahead=1)


def a_set(character: CharacterModel, seconds: list[float], weights: list[float], rate: float = 50.0) -> Setting:
    clips = []
    for number, length in enumerate(seconds):
        frames = np.zeros((round(length * rate) + 1, 6 + character.num_dofs), dtype=np.float32)
        clips.append(MotionClip(frames, rate, LoopMode(number % 2), f"clip{number}"))
    library = MotionLibrary(clips, weights, character)
    return Setting(ReferenceMotion(library, character, torch.tensor([0])), DT, most_reward=1.0)


@pytest.fixture(scope="module")
def character() -> CharacterModel:
    from mimickit_hydra.config.paths import resolve_data_file

    return CharacterModel.from_file(resolve_data_file("data/assets/humanoid/humanoid.xml"))


@pytest.fixture(scope="module")
def three(character: CharacterModel) -> Setting:
    return a_set(character, [2.0, 4.0, 0.4], [1.0, 2.0, 0.0])


def learn(sampler: StartSampler, clip: int, time: float, *, failed: bool, reward: float = 1.0, times: int = 1) -> None:
    ones = torch.ones(times)
    sampler.record(torch.full((times,), clip), time * ones, reward * ones, torch.full((times,), failed))


def test_by_weight_draws_the_numbers_of_the_library(three: Setting) -> None:
    torch.manual_seed(0)
    expected = three.reference.draw(50)
    torch.manual_seed(0)
    for mine, theirs in zip(ByWeight(None, three).draw(50), expected, strict=True):
        assert torch.equal(mine, theirs)


def test_uniform_draws_every_second_alike_and_no_clip_of_weight_0(three: Setting) -> None:
    torch.manual_seed(0)
    ids, times = Uniform(None, three).draw(30000)
    share = torch.bincount(ids, minlength=3) / 30000
    assert torch.allclose(share, torch.tensor([1 / 3, 2 / 3, 0.0]), atol=0.01)
    assert bool((times < three.reference.library.lengths[ids]).all())


def test_bins_are_about_a_second_and_none_is_shared(three: Setting) -> None:
    bins = ByFailure(PLAIN, three).bins
    assert bins.counts.tolist() == [2, 4, 1]
    assert bins.clip.tolist() == [0, 0, 1, 1, 1, 1, 2]
    # A clip that repeats (the second) begins again, one that does not stays in its last bin.
    ids, times = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0.0, 1.5, 9.0, 3.9, 4.5, 0.1])
    assert bins.place(ids, times)[0].tolist() == [0, 1, 1, 5, 2, 6]


def test_draws_lie_in_their_bins_as_often_as_said(three: Setting) -> None:
    sampler = ByFailure(PLAIN, three)
    learn(sampler, 0, 0.5, failed=False, times=1000)
    torch.manual_seed(0)
    ids, times = sampler.draw(40000)
    found = torch.bincount(sampler.bins.place(ids, times)[0], minlength=7) / 40000
    assert torch.allclose(found, sampler.probability(), atol=0.01)
    assert float(sampler.probability()[6]) == 0.0  # a clip of weight 0 is never drawn


def test_failures_are_rates_and_the_uniform_share_is_a_share(three: Setting) -> None:
    sampler = ByFailure(PLAIN, three)
    for bins, clip, time in ((50, 0, 0.5), (50, 0, 1.5), (50, 1, 0.5), (50, 1, 1.5), (50, 1, 2.5), (50, 1, 3.5)):
        learn(sampler, clip, time, failed=False, times=50 * bins)
    learn(sampler, 1, 0.5, failed=True, times=25)  # of 50 visits
    learn(sampler, 0, 0.5, failed=True, times=25)
    learn(sampler, 0, 0.5, failed=False, times=50 * 450)  # ten times the visits, and no failure more
    rates = sampler.worth()
    assert float(rates[2] / rates[0]) == pytest.approx(10.0, rel=0.15)
    p = sampler.probability()
    assert float(p.sum()) == pytest.approx(1.0, abs=1e-6)
    assert torch.all(p[:6] >= 0.2 * sampler.bins.share[:6] - 1e-7)
    assert float(p[2]) == pytest.approx(0.8 * float(rates[2] / rates[:6].sum()) + 0.2 / 6, rel=1e-4)


def test_what_nobody_has_seen_is_worth_a_look_and_what_is_long_past_is_forgotten(three: Setting) -> None:
    sampler = ByFailure(BinParams(memory=10.0), three)
    assert sampler.worth().tolist() == [1.0] * 7
    learn(sampler, 0, 0.5, failed=False, times=500)
    assert float(sampler.worth()[0]) < 0.05
    for _ in range(200):
        learn(sampler, 1, 0.5, failed=False)
    assert float(sampler.worth()[0]) > 0.99


def test_a_failure_counts_for_the_bins_before_it_but_not_for_another_clip(three: Setting) -> None:
    sampler = ByFailure(BinParams(look_ahead=2, uniform_share=0.0), three)
    for clip, time in ((0, 0.5), (0, 1.5), (1, 0.5), (1, 1.5), (1, 2.5), (1, 3.5)):
        learn(sampler, clip, time, failed=False, times=5000)
    learn(sampler, 1, 0.5, failed=True, times=100)
    assert sampler.probability().argmax() == 2
    assert float(sampler.probability()[1]) < 0.01
    learn(sampler, 1, 2.5, failed=True, times=100)
    p = sampler.probability()
    assert float(p[3]) > 10 * float(p[5])


def test_no_bin_takes_more_than_the_cap(character: CharacterModel) -> None:
    sampler = ByFailure(BinParams(most=3.0, uniform_share=0.0), a_set(character, [40.0], [1.0]))
    learn(sampler, 0, 10.5, failed=True, times=100)
    for second in range(40):
        learn(sampler, 0, second + 0.5, failed=False, times=50000)
    p = sampler.probability()
    assert float(p.max()) == pytest.approx(3.0 / 40, rel=0.2)
    assert float(p.sum()) == pytest.approx(1.0, abs=1e-5)


def test_returns_are_shares_of_the_best_and_a_failure_loses_the_rest_of_its_bin(three: Setting) -> None:
    sampler = ByReturn(PLAIN, three)
    learn(sampler, 0, 0.5, failed=False, reward=0.75, times=5000)
    learn(sampler, 0, 1.5, failed=False, reward=0.25, times=5000)
    assert sampler.worth()[:3].tolist() == pytest.approx([0.25, 0.75, 1.0], abs=0.01)
    other = ByReturn(PLAIN, three)
    for passed in np.arange(0.0, 0.5, DT):  # every episode fails in the middle of the bin
        learn(other, 0, float(passed), failed=False, times=100)
    learn(other, 0, 0.5, failed=True, times=100)
    assert float(other.worth()[0]) == pytest.approx(0.5, abs=0.02)


def test_processes_learn_together(three: Setting) -> None:
    class Two(Comm):
        """Another process that has learned the same."""

        def __init__(self) -> None:
            super().__init__()
            self.world_size = 2

        def all_reduce_sum_(self, tensor: torch.Tensor) -> torch.Tensor:
            return tensor.mul_(2)

    alone, joined = ByFailure(PLAIN, three), ByFailure(PLAIN, three)
    learn(joined, 0, 0.5, failed=True, times=3)
    learn(alone, 0, 0.5, failed=True, times=6)
    joined.share(Two())
    assert torch.equal(joined.probability(), alone.probability())
    joined.share(Comm())
    assert torch.equal(joined.probability(), alone.probability())


@pytest.mark.parametrize("kind", ["failure", "return", "mjlab"])
def test_state_goes_into_the_same_buffers(kind: str, three: Setting) -> None:
    from mimickit_hydra.plugins import SAMPLERS

    entry = SAMPLERS[kind]
    first, second = (entry.load()(entry.load_schema()(), three) for _ in range(2))
    for step in range(20):
        learn(first, step % 2, 0.1 * step, failed=step % 3 == 0, reward=0.5, times=4)
    second.load_state_dict(first.state_dict())
    for sampler in (first, second):
        learn(sampler, 0, 0.3, failed=True)
    torch.manual_seed(1)
    drawn = first.draw(20)
    torch.manual_seed(1)
    assert all(torch.equal(a, b) for a, b in zip(drawn, second.draw(20), strict=True))
    assert set(first.diagnostics()) >= {"sampling_entropy", "sampling_top_bin", "sampling_top_clip"}
    clips = first.of_clips()["probability"]
    assert float(clips.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(clips.max()) == pytest.approx(float(first.diagnostics()["sampling_top_clip"]))


@pytest.mark.parametrize("kind", ["weight", "uniform", "failure", "return", "mjlab"])
def test_a_step_waits_for_no_data(kind: str, three: Setting) -> None:
    from mimickit_hydra.plugins import SAMPLERS

    seen = set()

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.add(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    entry = SAMPLERS[kind]
    sampler = entry.load()(entry.load_schema()() if entry.schema else None, three)
    ids, times, failed = torch.zeros(8, dtype=torch.long), torch.rand(8), torch.rand(8) < 0.5
    with Names():
        sampler.record(ids, times, times, failed)
        sampler.draw(8)
    assert not seen & {"_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "index_put_"}
    assert "lift_fresh" not in seen  # numbers of the host become no tensors: a copy to the device waits


# ---------------------------------------------------------------------------------------------- mjlab's, by its numbers

SAMPLING = np.load(GOLDEN / "tracking_sampling.npz")


@pytest.mark.parametrize("case", SAMPLING["cases"].tolist())
def test_like_mjlab(case: str, character: CharacterModel) -> None:
    golden = {key.partition("/")[2]: SAMPLING[key] for key in SAMPLING.files if key.startswith(f"{case}/")}
    alpha = float(golden["in/alpha"])
    params = MjlabParams(
        float(golden["in/uniform_ratio"]), alpha, int(golden["in/kernel_size"]), float(golden["in/lambda"])
    )
    seconds = (int(golden["in/num_frames"]) - 1) * DT
    sampler = LikeMjlab(params, a_set(character, [seconds], [1.0]))
    assert sampler.bins.number == int(golden["out/bin_count"])
    assert sampler._kernel.flatten().tolist() == pytest.approx(golden["out/kernel"].tolist(), rel=1e-6)
    # What is learned in a step is folded in before the next one's, mjlab folds after the draws of the step itself.
    sampler._average.copy_(torch.from_numpy(golden["in/bin_failed_count"]) / (1.0 - alpha))
    for step in range(len(golden["in/frame"])):
        frame, reset = torch.from_numpy(golden["in/frame"][step]), golden["in/reset"][step]
        failed = torch.from_numpy(golden["in/terminated"][step] & reset)
        sampler.record(torch.zeros_like(frame), frame * DT, torch.zeros(len(frame)), failed)
        assert sampler._counts.tolist() == golden["out/step_failures"][step].tolist()
        assert sampler.probability().numpy() == pytest.approx(golden["out/probability"][step], rel=2e-5, abs=1e-7)
        said = sampler.diagnostics()
        assert float(said["sampling_entropy"]) == pytest.approx(float(golden["out/entropy"][step]), abs=1e-5)
        assert float(said["sampling_top_bin"]) == pytest.approx(float(golden["out/top1_prob"][step]), rel=1e-5)
        drawn = golden["in/bins"][step] >= 0
        _, times = sampler.inside(*(torch.from_numpy(golden[key][step][drawn]) for key in ("in/bins", "in/u")))
        assert np.round(times.numpy() / DT).astype(int).tolist() == golden["out/frame"][step][drawn].tolist()


# -------------------------------------------------------------------------------------------------------- in whole runs


def train(out_dir: Path, iterations: int, *overrides: str) -> None:
    words = [*TINY, f"out_dir={out_dir}", f"max_samples={iterations * SAMPLES}", *overrides]
    cfg = compose(words)
    run(to_run(cfg), resolved_yaml=resolved_yaml(cfg), overrides=words, out_dir=str(out_dir))


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_what_was_learned(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole", tmp_path / "run"
    words = ["env.sampling=failure", "env.sampling_params.bin_seconds=0.2"]
    train(whole, 4, *words)
    train(path, 2, *words)
    train(path, 4, *words, f"resume={path}")
    assert_same_state(path, whole)
    assert (path / "sampling.csv").read_text().startswith("clip,probability,worth\nhumanoid_walk,1,")
    entropy = read_log(path / "log.txt")["Sampling_Entropy"]
    assert np.isfinite(entropy).all()
    assert float(entropy[-1]) < 1.0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["env.sampling=failures"], "env.sampling: found 'failures', must be"),
        (["env.sampling=failure", "env.rand_reset=false"], "env.sampling: found failure, must be weight with"),
        (["env.sampling=failure", "env.enable_early_termination=false"], "no episode fails"),
        (["env.sampling=return", "method=amp"], "is not paid for following the clip"),
        (["env.sampling=failure", "env.sampling_params.bins=2"], "sampler failure has no such parameter"),
        (["env.sampling_params.bin_seconds=2"], "sampler weight has no such parameter; it has none"),
        (["env.sampling=failure", "env.sampling_params.bin_seconds=0"], "env.sampling_params.bin_seconds: found 0"),
    ],
)
def test_what_does_not_fit_is_one_line(words: list[str], line: str) -> None:
    with pytest.raises(UserError, match=r"^[^\n]*$") as caught:
        validate(to_run(compose(["engine=mujoco", *words])))
    assert line in str(caught.value)
