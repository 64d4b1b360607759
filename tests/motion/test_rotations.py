"""Rotation helpers against golden numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from golden_motion import load_golden

from mimickit_hydra.motion import rotations as rot

torch.set_num_threads(1)


TOL = {"atol": 5e-6, "rtol": 5e-6}
SLERP_TOL = {"atol": 1.5e-3, "rtol": 0.0}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return load_golden("rotations")


def tensor(golden: dict[str, np.ndarray], key: str) -> torch.Tensor:
    return torch.from_numpy(golden[key])


def assert_close(actual: torch.Tensor, expected: np.ndarray, **tol: float) -> None:
    np.testing.assert_allclose(actual.numpy(), expected, **(tol or TOL))


def assert_same_up_to_sign(actual: torch.Tensor, expected: np.ndarray, at_pi: np.ndarray, **tol: float) -> None:
    """Compare rows; the rows ``at_pi`` may have the opposite sign."""
    actual_np = actual.numpy()
    flip = at_pi & ((actual_np * expected).sum(-1) < 0)
    np.testing.assert_allclose(np.where(flip[:, None], -actual_np, actual_np), expected, **(tol or TOL))


def test_quat_unary(golden: dict[str, np.ndarray]) -> None:
    q, v = tensor(golden, "quat/in/q"), tensor(golden, "quat/in/v")
    scaled = 1.7 * q
    at_pi = np.isin(golden["quat/in/tag"], ["w_zero", "pi_axis"])
    assert_close(rot.quat_conj(q), golden["quat/out/conjugate"])
    assert_same_up_to_sign(rot.quat_pos(q), golden["quat/out/pos"], at_pi)
    assert_same_up_to_sign(rot.quat_normalize(scaled), golden["quat/out/normalize"], at_pi)
    assert_close(rot.quat_unit(scaled), golden["quat/out/unit"])
    assert_close(rot.quat_rotate(q, v), golden["quat/out/rotate_v"])
    assert_close(rot.quat_rotate_inv(q, rot.quat_rotate(q, v)), golden["quat/in/v"])
    assert_close(rot.quat_to_tan_norm(q), golden["quat/out/tan_norm"])


def test_quat_log(golden: dict[str, np.ndarray]) -> None:
    q = tensor(golden, "quat/in/q")
    at_pi = np.isin(golden["quat/in/tag"], ["w_zero", "pi_axis", "below_pi", "above_pi"])
    assert_same_up_to_sign(rot.quat_to_exp_map(q), golden["quat/out/exp_map"], at_pi)


def test_heading(golden: dict[str, np.ndarray]) -> None:
    q = tensor(golden, "quat/in/q")
    difference = rot.heading(q) - tensor(golden, "quat/out/heading")
    assert_close(torch.atan2(difference.sin(), difference.cos()), np.zeros(len(q)))
    any_sign = np.ones(len(q), dtype=bool)
    assert_same_up_to_sign(rot.heading_quat_inv(q), golden["quat/out/heading_quat_inv"], any_sign)
    removed = rot.quat_mul(rot.heading_quat_inv(q), q)
    assert_same_up_to_sign(removed, golden["quat/out/heading_removed"], any_sign)
    assert_close(rot.quat_to_tan_norm(removed), golden["quat/out/heading_removed_tan_norm"])


def test_pairs(golden: dict[str, np.ndarray]) -> None:
    a, b = tensor(golden, "pair/in/a"), tensor(golden, "pair/in/b")
    assert_close(rot.quat_mul(a, b), golden["pair/out/mul"])
    assert_close(rot.quat_diff(a, b), golden["pair/out/diff"])
    assert_close(rot.quat_diff_angle(a, b), golden["pair/out/diff_angle"])


def test_slerp(golden: dict[str, np.ndarray]) -> None:
    a, b, t = (tensor(golden, f"pair/in/{k}") for k in "abt")
    out = rot.slerp(a[:, None], b[:, None], t)
    assert_close(out, golden["pair/out/slerp"], **SLERP_TOL)
    assert_close(out.norm(dim=-1), np.ones(out.shape[:-1]), atol=1e-6)


def test_slerp_is_exact_for_close_frames() -> None:
    axis = torch.tensor([0.6, 0.0, 0.8])
    for angle in (1e-7, 1e-5, 9e-4, 1.1e-3, 4e-3, 0.037, 1.0, 3.1):
        turned = rot.exp_map_to_quat(axis * angle)
        t = torch.linspace(0.0, 1.0, 11)
        part = rot.quat_to_exp_map(rot.slerp(torch.tensor([0.0, 0.0, 0.0, 1.0]), turned, t))
        expected = torch.where(2 * (t * angle / 2).sin() > 2e-5, t * angle, 0.0).unsqueeze(-1) * axis
        assert_close(part, expected.numpy(), atol=2e-6)


def test_exp_map(golden: dict[str, np.ndarray]) -> None:
    e = tensor(golden, "expmap/in/e")
    at_pi = golden["expmap/in/tag"] == "around_or_above_pi"
    q = rot.exp_map_to_quat(e)
    assert_same_up_to_sign(q, golden["expmap/out/quat"], at_pi)
    assert_same_up_to_sign(rot.quat_to_exp_map(q), golden["expmap/out/roundtrip"], at_pi)


def test_exponential_and_logarithm_are_inverse_and_smooth_at_zero() -> None:
    v = torch.tensor([[0.0, 0, 0], [1e-9, 0, 0], [1e-4, -2e-4, 0], [0.5, 1, -2], [0, 3.1, 0]], dtype=torch.float64)
    for sign in (1.0, -1.0):
        torch.testing.assert_close(rot.quat_to_exp_map(sign * rot.exp_map_to_quat(v), least=0.0), v)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: rot.quat_to_exp_map(rot.exp_map_to_quat(x), least=0.0), torch.zeros(3)
    )
    torch.testing.assert_close(jacobian, torch.eye(3))


def test_axis_angle(golden: dict[str, np.ndarray]) -> None:
    axis, angle = tensor(golden, "axisangle/in/axis"), tensor(golden, "axisangle/in/angle")
    assert_close(rot.axis_angle_to_quat(axis, angle), golden["axisangle/out/quat"])


def test_tan_norm_decode(golden: dict[str, np.ndarray]) -> None:
    encoded = tensor(golden, "tannorm/in/tan_norm")
    q = rot.tan_norm_to_quat(encoded)
    tags, expected = golden["tannorm/in/tag"], golden["tannorm/out/quat"]
    assert_same_up_to_sign(q[tags == "random"], expected[tags == "random"], np.zeros((tags == "random").sum(), bool))
    assert_close(q[tags == "near_zero"], expected[tags == "near_zero"], atol=6e-4)
    turned = (tags == "near_pi") | (tags == "exactly_pi")  # where MimicKit's arc cosine is clipped, or finds no axis
    assert_close(rot.quat_to_tan_norm(q[turned]), golden["tannorm/in/tan_norm"][turned], atol=1e-6)
    made_up = (tags == "not_orthonormal") & (golden["tannorm/out/angle"] < math.acos(rot.HALF_TURN_COS))
    assert made_up.sum() >= 4
    assert_close(q[made_up], expected[made_up])


def test_noise_near_half_a_turn_leaves_the_axis_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    axis = rot.quat_unit(torch.randn(500, 3, generator=generator))
    for angle in (2.7, 2.9, 3.1, math.pi):
        q = rot.axis_angle_to_quat(axis, torch.full((500,), angle))
        noisy = rot.quat_to_tan_norm(q) + 0.01 * torch.randn(500, 6, generator=generator)
        assert float(rot.quat_diff_angle(q, rot.tan_norm_to_quat(noisy)).max()) < 0.15


def test_mimickits_way_of_reading_six_numbers(golden: dict[str, np.ndarray]) -> None:
    made_up = golden["tannorm/in/tag"] == "not_orthonormal"
    q = rot.tan_norm_to_quat(tensor(golden, "tannorm/in/tan_norm"), symmetric=False)
    assert_close(q[made_up], golden["tannorm/out/quat"][made_up])


@pytest.mark.parametrize(("degrees", "apart"), [(150, 0.0), (165, 2.6), (170, 4.0), (175, 7.7)])
def test_how_far_the_two_ways_are_apart(degrees: float, apart: float) -> None:
    """The figures of docs/differences.md: the median over axes, with noise of 0.01; ours is within a degree."""
    generator = torch.Generator().manual_seed(0)
    axis = rot.quat_unit(torch.randn(20_000, 3, generator=generator))
    q = rot.axis_angle_to_quat(axis, torch.full((20_000,), math.radians(degrees)))
    noisy = rot.quat_to_tan_norm(q) + 0.01 * torch.randn(20_000, 6, generator=generator)
    ours, theirs = rot.tan_norm_to_quat(noisy), rot.tan_norm_to_quat(noisy, symmetric=False)
    assert math.degrees(float(rot.quat_diff_angle(ours, theirs).median())) == pytest.approx(apart, abs=0.2)
    assert math.degrees(float(rot.quat_diff_angle(ours, q).median())) < (1.6 if degrees == 150 else 1.0)


def test_unit(golden: dict[str, np.ndarray]) -> None:
    assert_close(rot.quat_unit(tensor(golden, "vector/in/v")), golden["vector/out/unit"])
