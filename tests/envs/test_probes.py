"""Probes play the whole set evenly, remember where they fall, and send others to the seconds before."""

from __future__ import annotations

import pytest
import torch
from test_sampling import DT, a_set
from torch.utils._python_dispatch import TorchDispatchMode

from mimickit_hydra.checks.check import validate
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.probes import Probes
from mimickit_hydra.envs.sampling import ByReturn, ByWeight, Setting
from mimickit_hydra.envs.sampling_schema import BinParams
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.character import CharacterModel


@pytest.fixture(scope="module")
def setting() -> Setting:
    """A clip of two seconds, one of four that repeats, and one of weight 0."""
    character = CharacterModel.from_file(resolve_data_file("data/assets/humanoid/humanoid.xml"))
    return a_set(character, [2.0, 4.0, 0.4], [1.0, 2.0, 0.0])


def sent(setting: Setting, num: int = 8, share: float = 0.5, comm: Comm | None = None) -> Probes:
    """Probes 0, 2, 4 and 6 of ``num`` environments, so that each has a second and a half of the six to itself."""
    number = torch.arange(num)
    mask = (number < 8) & (number % 2 == 0)
    return Probes(ByWeight(None, setting), setting.reference, DT, mask, share, 2.0, comm or Comm())


def step(probes: Probes, clips: list[int], times: list[float], failed: list[int] = (), num: int = 8) -> None:  # type: ignore[assignment]
    """A step after which the four probes are there; the other environments fall in clip 0 all the time."""
    ids, when, fell = torch.zeros(num, dtype=torch.int64), torch.zeros(num), torch.ones(num, dtype=torch.bool)
    index = torch.tensor([0, 2, 4, 6])
    ids[index], when[index] = torch.tensor(clips), torch.tensor(times)
    fell[index] = torch.tensor([k in failed for k in range(4)])
    probes.record(ids, when, torch.ones(num), fell)


def starts(probes: Probes) -> list[tuple[int, float]]:
    ids, times = probes.draw(8)
    return [(int(ids[k]), round(float(times[k]), 3)) for k in (0, 2, 4, 6)]


def test_each_plays_its_stretch_from_where_it_was(setting: Setting) -> None:
    probes = sent(setting)
    assert starts(probes) == [(0, 0.0), (0, 1.5), (1, 1.0), (1, 2.5)]
    step(probes, [0, 0, 1, 1], [0.3, 2.0, 1.9, 3.9], failed=[0])
    # One fell at 0.3 s, one came to the end of its clip, whose next one is in its stretch too.
    assert starts(probes) == [(0, 0.3), (1, 0.0), (1, 1.9), (1, 3.9)]
    step(probes, [0, 1, 1, 1], [1.6, 0.9, 2.6, 4.3])
    # Three are beyond their stretches; the last has begun its clip again.
    assert starts(probes) == [(0, 0.0), (1, 0.9), (1, 1.0), (1, 2.5)]


def test_two_processes_share_the_set(setting: Setting) -> None:
    class Second(Comm):
        def __init__(self) -> None:
            super().__init__()
            self.rank, self.world_size = 1, 2

        def all_reduce_sum_(self, tensor: torch.Tensor) -> torch.Tensor:
            return tensor.mul_(2)

    probes = sent(setting, comm=Second())
    assert starts(probes) == [(0, 0.75), (1, 0.25), (1, 1.75), (1, 3.25)]  # between them lie those of the first
    step(probes, [0, 0, 1, 1], [0.8, 1.6, 1.1, 2.6], failed=[2])
    probes.share(Second())
    assert float(probes.bins.of_clips(probes._known)[1]) == pytest.approx(2.0)


def test_others_start_in_the_seconds_before_a_fall(setting: Setting) -> None:
    num = 20000
    probes = sent(setting, num)
    torch.manual_seed(0)
    inner = ByWeight(None, setting).draw(num)
    torch.manual_seed(0)
    before = probes.draw(num)
    others = torch.arange(num) >= 8
    for mine, theirs in zip(before, inner, strict=True):
        assert torch.equal(mine[others], theirs[others])  # nobody has fallen yet
    step(probes, [0, 0, 1, 1], [0.1, 1.6, 1.1, 3.2], failed=[3], num=num)
    probes.share(Comm())
    assert float(probes.share_sent) == pytest.approx(0.5)
    plain = sent(setting, num)
    torch.manual_seed(1)
    ids, times = probes.draw(num)
    torch.manual_seed(1)
    ids_0, times_0 = plain.draw(num)
    moved = ((ids != ids_0) | (times != times_0)) & others
    assert float(moved.float().mean()) == pytest.approx(0.5, abs=0.02)
    # The fall is remembered in the half second from 3.0 s; a start is one to two seconds earlier.
    assert set(ids[moved].tolist()) == {1}
    assert 1.0 <= float(times[moved].min()) < 1.1
    assert 2.4 < float(times[moved].max()) <= 2.5


@pytest.mark.parametrize(("clip", "low", "high"), [(0, 0.0, 0.0), (1, 2.0, 3.5)])
def test_before_its_beginning_a_clip_has_its_end_or_nothing(
    setting: Setting, clip: int, low: float, high: float
) -> None:
    probes = sent(setting, share=1.0)
    step(probes, [clip, 0, 1, 1], [0.2, 1.6, 1.1, 2.6], failed=[0])
    probes.share(Comm())
    drawn = [probes.draw(8) for _ in range(50)]
    times = torch.stack([times for _, times in drawn])[:, 1::2]
    assert {int(i) for ids, _ in drawn for i in ids[1::2]} == {clip}
    assert low <= float(times.min()) <= float(times.max()) <= high


def test_what_is_passed_without_a_fall_is_forgotten(setting: Setting) -> None:
    probes = sent(setting)
    step(probes, [0, 0, 1, 1], [0.1, 1.6, 1.1, 3.2], failed=[3])
    probes.share(Comm())
    for lap in range(1, 4):
        for k in range(25):  # the half second from 3.0 s
            step(probes, [0, 0, 1, 1], [0.1, 1.6, 1.1, 3.0 + k * DT])
        probes.share(Comm())
        assert float(probes.share_sent) == pytest.approx(0.5 * 0.5**lap, rel=1e-4)


def test_falls_an_hour_are_those_of_probes_alone(setting: Setting) -> None:
    probes = sent(setting)
    for k in range(50):
        step(probes, [0, 0, 1, 1], [0.1, 1.6, 1.1, 3.2], failed=[3] if k == 7 else [])
    probes.share(Comm())
    assert float(probes.diagnostics()["probe_falls_per_hour"]) == pytest.approx(3600 / (50 * 4 * DT), rel=1e-4)
    assert probes.of_clips()["falls"].tolist() == [0.0, 1.0, 0.0]
    step(probes, [0, 0, 1, 1], [0.1, 1.6, 1.1, 3.2])
    probes.share(Comm())
    assert float(probes._tally[1]) == pytest.approx(4.0 * 0.9987 + 0.08, abs=1e-3)  # old seconds count less


def test_a_resumed_run_draws_the_same_starts(setting: Setting) -> None:
    def made() -> Probes:
        mask = torch.arange(8) % 2 == 0
        return Probes(ByReturn(BinParams(), setting), setting.reference, DT, mask, 0.5, 2.0, Comm())

    first, second = made(), made()
    step(first, [0, 0, 1, 1], [0.3, 1.7, 1.9, 3.2], failed=[3])
    first.share(Comm())
    step(first, [0, 0, 1, 1], [0.3, 1.7, 1.9, 2.7], failed=[3])
    second.load_state_dict(first.state_dict())
    drawn = []
    for probes in (first, second):
        probes.share(Comm())
        torch.manual_seed(0)
        drawn.append((*probes.draw(8), *probes.diagnostics().values()))
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    other = made()
    other.load_state_dict(first._inner.state_dict())  # of a run without probes
    assert starts(other) == [(0, 0.0), (0, 1.5), (1, 1.0), (1, 2.5)]


def test_a_step_waits_for_no_data(setting: Setting) -> None:
    seen = set()

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.add(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    probes = sent(setting)
    ids, times, failed = torch.zeros(8, dtype=torch.long), torch.rand(8), torch.rand(8) < 0.5
    with Names():
        probes.record(ids, times, times, failed)
        probes.draw(8)
    assert not seen & {"_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "index_put_", "lift_fresh"}


def test_starts_that_are_all_alike_cannot_be_sent() -> None:
    words = ["method=supermimic", "engine=mujoco", "env.rand_reset=false"]
    with pytest.raises(UserError, match=r"agent\.probe_share: found 0.3, must be 0 with env.rand_reset=false"):
        validate(to_run(compose(words)))
    validate(to_run(compose([*words, "agent.probe_share=0"])))
