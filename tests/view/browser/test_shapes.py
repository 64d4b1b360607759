"""The unit shapes: closed, facing outwards, of the right volume."""

from __future__ import annotations

import numpy as np
import pytest

from mimickit_hydra.view.browser import shapes


def volume(shape: shapes.Shape) -> float:
    """Sum of the signed volumes between faces and origin: right only if all turn outwards and none is missing."""
    vertices, faces = shape
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.einsum("fi,fi->f", a, np.cross(b, c)).sum() / 6.0)


@pytest.mark.parametrize(
    ("shape", "wanted", "near"),
    [(shapes.sphere(), 4.0 / 3.0 * np.pi, 0.03), (shapes.cylinder(), 2.0 * np.pi, 0.02), (shapes.box(), 8.0, 1e-9)],
)
def test_volume_and_size(shape: shapes.Shape, wanted: float, near: float) -> None:
    assert volume(shape) == pytest.approx(wanted, rel=near)
    np.testing.assert_allclose(shape[0].min(0), -1.0, atol=1e-9)
    np.testing.assert_allclose(shape[0].max(0), 1.0, atol=1e-9)


@pytest.mark.parametrize("shape", [shapes.sphere(), shapes.cylinder(), shapes.box()])
def test_every_edge_is_between_two_faces(shape: shapes.Shape) -> None:
    vertices, faces = np.round(shape[0], 9) + 0.0, shape[1]  # + 0: there is a zero with a minus
    _, same = np.unique(vertices, axis=0, return_inverse=True)
    edges = np.concatenate([same.reshape(-1)[faces][:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    there = {tuple(edge) for edge in edges}
    assert len(there) == len(edges)
    assert there == {(b, a) for a, b in there}
    assert (edges[:, 0] != edges[:, 1]).all()
