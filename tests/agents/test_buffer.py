"""Minibatches: every sample once an epoch, whatever the sizes."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimickit_hydra.agents.buffer import Minibatches, RolloutBuffer, epoch_indices


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4))
def test_a_stream_of_whole_permutations(samples, batch, epochs):
    batch = min(batch, samples)
    stream = torch.cat(list(epoch_indices(samples, batch, epochs, torch.device("cpu"))))
    assert stream.shape[0] == math.ceil(samples / batch) * batch * epochs
    for part in stream.split(samples):
        assert part.unique().shape == part.shape
        if part.shape[0] == samples:
            assert sorted(part.tolist()) == list(range(samples))


def test_minibatches_keep_fields_together():
    batches = Minibatches()
    fields = {"x": torch.arange(12.0)[:, None].expand(12, 3).contiguous(), "y": torch.arange(12)}
    seen = []
    for batch in batches.iterate(fields, 4, 2):
        assert batch["x"].shape == (4, 3)
        assert torch.equal(batch["x"][:, 0].long(), batch["y"])
        seen += batch["y"].tolist()
    assert sorted(seen[:12]) == sorted(seen[12:]) == list(range(12))
    given_order = torch.tensor([[3, 1], [0, 3]])
    assert [batch["y"].tolist() for batch in batches.iterate(fields, 2, 7, given_order)] == [[3, 1], [0, 3]]


def test_gather_buffers_are_reused():
    batches, fields = Minibatches(), {"x": torch.randn(8, 2)}
    places = {batch["x"].untyped_storage().data_ptr() for _ in range(3) for batch in batches.iterate(fields, 4, 2)}
    assert len(places) == 1


def test_flat_index_is_time_major_and_leaves_out_extra_rows():
    buffer = RolloutBuffer(3, 2, torch.device("cpu"))
    buffer.add_field("x", 4, extra_rows=1)
    buffer["x"][2, 1] = 7.0
    assert buffer["x"].shape == (4, 2, 4)
    assert buffer.flat("x").shape == (6, 4)
    assert (buffer.flat("x")[2 * 2 + 1] == 7.0).all()
    assert "x" in buffer
    assert "y" not in buffer
