"""Noise, delay and history of observations on worked numbers."""

from __future__ import annotations

import torch

from mimickit_hydra.envs.rows import ALL, Rows
from mimickit_hydra.envs.sensing import Channel, DelayLine, Sensing


def readings(step: float, num_envs: int = 2) -> torch.Tensor:
    """Two terms, of 1 and 2 numbers."""
    return torch.tensor([[step, 10.0 + step, 20.0 + step]]).repeat(num_envs, 1)


def test_history_stands_term_by_term_the_oldest_first_and_begins_with_the_first_reading() -> None:
    sensing = Sensing([Channel("a", 1, history=3), Channel("b", 2, history=2)], 2, "cpu")
    assert sensing.size == 7
    first = sensing(readings(0.0), ALL, True, None, None)
    assert first[0].tolist() == [0, 0, 0, 10, 20, 10, 20]
    sensing(readings(1.0), ALL, False, None, None)
    assert sensing(readings(2.0), ALL, False, None, None)[0].tolist() == [0, 1, 2, 11, 21, 12, 22]
    for rows in (Rows(index=torch.tensor([1])), Rows(mask=torch.tensor([False, True]))):
        new = sensing(readings(5.0)[: 1 if rows.mask is None else 2], rows, True, None, None)
        assert new[-1].tolist() == [5, 5, 5, 15, 25, 15, 25]
        assert sensing.frames is not None
        assert sensing.frames[0, :, 0].tolist() == [0, 1, 2]


def test_noise_is_within_its_width_and_in_its_columns() -> None:
    torch.manual_seed(0)
    sensing = Sensing([Channel("a", 1), Channel("b", 2, noise=torch.tensor([0.5, 0.0]))], 2000, "cpu")
    seen = sensing(readings(0.0, 2000), ALL, False, 1.0, None) - readings(0.0, 2000)
    assert not seen[:, [0, 2]].any()
    assert 0.49 < float(seen[:, 1].max()) <= 0.5
    assert abs(float(seen[:, 1].mean())) < 0.03
    assert torch.equal(sensing(readings(0.0, 2000), ALL, False, None, None), readings(0.0, 2000))
    half = sensing(readings(0.0, 2000), ALL, False, torch.full((2000, 1), 0.5), None) - readings(0.0, 2000)
    assert float(half.abs().max()) <= 0.25


def test_a_delay_reads_between_two_values_each_environment_its_own() -> None:
    line = DelayLine(3, 1, 2.0, "cpu")
    line.put(ALL, torch.zeros(3, 1), first=True)
    for step in (1.0, 2.0, 3.0):
        line.put(ALL, torch.full((3, 1), step), first=False)
    assert line.read(ALL, torch.tensor([0.0, 1.25, 2.0])).flatten().tolist() == [3.0, 1.75, 1.0]


def test_only_what_is_measured_is_late() -> None:
    sensing = Sensing([Channel("a", 1, delayed=True), Channel("b", 2)], 2, "cpu", delay_steps=1.0)
    delay = torch.tensor([0.0, 1.0])
    sensing(readings(0.0), ALL, True, None, delay)
    seen = sensing(readings(1.0), ALL, False, None, delay)
    assert seen.tolist() == [[1, 11, 21], [0, 11, 21]]
