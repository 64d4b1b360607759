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
    assert_close(rot.quat_to_matrix(q), golden["quat/out/matrix"])
    assert_close(rot.quat_to_tan_norm(q), golden["quat/out/tan_norm"])


def test_quat_axis_angle_and_log(golden: dict[str, np.ndarray]) -> None:
    q = tensor(golden, "quat/in/q")
    at_pi = np.isin(golden["quat/in/tag"], ["w_zero", "pi_axis", "below_pi", "above_pi"])
    axis, angle = rot.quat_to_axis_angle(q)
    assert_same_up_to_sign(axis, golden["quat/out/axis"], at_pi)
    assert_close(angle, golden["quat/out/angle"])
    assert_same_up_to_sign(rot.quat_to_exp_map(q), golden["quat/out/exp_map"], at_pi)


def test_quat_euler(golden: dict[str, np.ndarray]) -> None:
    q = tensor(golden, "quat/in/q")
    back = rot.euler_xyz_to_quat(rot.quat_to_euler_xyz(q))
    assert_close(rot.quat_diff_angle(q, back), np.zeros(len(q)), atol=2e-3)
    close = np.abs(np.sin(golden["quat/out/euler_xyz"][:, 1])) < 0.99
    assert_close(rot.wrap_angle(rot.quat_to_euler_xyz(q) - tensor(golden, "quat/out/euler_xyz"))[close],
                 np.zeros((close.sum(), 3)), atol=1e-5)  # fmt: skip


def test_heading(golden: dict[str, np.ndarray]) -> None:
    q = tensor(golden, "quat/in/q")
    difference = rot.wrap_angle(rot.heading(q) - tensor(golden, "quat/out/heading"))
    assert_close(difference, np.zeros(len(q)))
    any_sign = np.ones(len(q), dtype=bool)
    assert_same_up_to_sign(rot.heading_quat(q), golden["quat/out/heading_quat"], any_sign)
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
    finite = golden["expmap/in/tag"] != "nan"
    assert_same_up_to_sign(rot.normalize_exp_map(e)[finite], golden["expmap/out/normalize_exp_map"][finite],
                           at_pi[finite], atol=1e-5)  # fmt: skip


def test_axis_angle(golden: dict[str, np.ndarray]) -> None:
    axis, angle = tensor(golden, "axisangle/in/axis"), tensor(golden, "axisangle/in/angle")
    assert_close(rot.axis_angle_to_quat(axis, angle), golden["axisangle/out/quat"])
    assert_close(rot.wrap_angle(3.0 * angle), golden["axisangle/out/wrap_angle"], atol=1e-5)


def test_euler(golden: dict[str, np.ndarray]) -> None:
    rpy = tensor(golden, "euler/in/rpy")
    q = rot.euler_xyz_to_quat(rpy)
    assert_same_up_to_sign(q, golden["euler/out/quat"], np.ones(len(q), dtype=bool))
    regular = [i for i in range(len(q)) if i not in (1, 2)]  # pitch +-pi/2
    assert_close(rot.quat_to_euler_xyz(q)[regular], golden["euler/out/back_to_rpy"][regular], atol=2e-5)


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


def test_twist(golden: dict[str, np.ndarray]) -> None:
    q, axis = tensor(golden, "twist/in/q"), tensor(golden, "twist/in/axis")
    assert_close(rot.quat_twist(q, axis), golden["twist/out/quat"])
    assert_close(rot.quat_twist_angle(q, axis), golden["twist/out/angle"])


def test_unit(golden: dict[str, np.ndarray]) -> None:
    assert_close(rot.quat_unit(tensor(golden, "vector/in/v")), golden["vector/out/unit"])
