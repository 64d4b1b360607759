"""Rotations of batched torch tensors.

Quaternions are ``[..., 4]`` in the order x, y, z, w; exponential maps and axes are ``[..., 3]``; angles are radians
without a trailing axis. Leading axes broadcast. Unit quaternions are assumed and never silently normalised, except
where a docstring says so. No function synchronises with the host or has data-dependent shapes, and none uses a matrix
product, so that TF32 never touches a rotation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

UNIT_EPS = 1e-9  # smallest norm that a vector is divided by
TINY = 1e-24  # keeps the gradient of a norm finite at zero
ANGLE_EPS = 1e-5  # half-angle sine below which a rotation has no axis
HALF_TURN_COS = -0.95  # cosine of the angle (162 degrees) below which its sine says too little about the axis
SLERP_MIN_ANGLE = 1e-3  # rad; below it sin(t a) / sin(a) equals t in float32, so slerp is a lerp of that angle


def quat_unit(v: Tensor) -> Tensor:
    """Divide by the norm of the last axis, guarded at 1e-9: ``[..., n] -> [..., n]``."""
    return v / torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp(min=UNIT_EPS)


def quat_mul(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product: apply ``b`` first, then ``a``."""
    # Parts of a split are joined again in one kernel on a gradient's way back, those of slices in five.
    av, aw = a.split([3, 1], dim=-1)
    bv, bw = b.split([3, 1], dim=-1)
    xyz = torch.addcmul(aw * bv, bw, av) + _cross(av, bv)
    w = aw * bw - (av * bv).sum(-1, keepdim=True)
    return torch.cat([xyz, w], dim=-1)


def quat_conj(q: Tensor) -> Tensor:
    """Conjugate, the inverse of a unit quaternion."""
    xyz, w = q.split([3, 1], dim=-1)
    return torch.cat([-xyz, w], dim=-1)


def quat_rotate(q: Tensor, v: Tensor) -> Tensor:
    """Rotate vectors ``v [..., 3]`` by ``q``."""
    p, w = q.split([3, 1], dim=-1)
    t = 2.0 * _cross(p, v)
    return torch.addcmul(v, w, t) + _cross(p, t)


def quat_rotate_inv(q: Tensor, v: Tensor) -> Tensor:
    """Rotate vectors ``v [..., 3]`` by the inverse of ``q``."""
    p, w = q.split([3, 1], dim=-1)
    t = 2.0 * _cross(v, p)
    return torch.addcmul(v, w, t) + _cross(t, p)


def quat_pos(q: Tensor) -> Tensor:
    """The same rotation with w >= 0; w = 0 is left alone."""
    return torch.where(q[..., 3:] < 0, -q, q)


def quat_normalize(q: Tensor) -> Tensor:
    """Unit quaternion with w >= 0."""
    return quat_unit(quat_pos(q))


def axis_angle_to_quat(axis: Tensor, angle: Tensor) -> Tensor:
    """Rotation by ``angle [...]`` about ``axis [..., 3]``, which is normalised first; a zero axis gives identity."""
    half = (0.5 * angle).unsqueeze(-1)
    xyz = quat_unit(axis) * half.sin()
    w = half.cos().expand(*xyz.shape[:-1], 1)
    return quat_unit(torch.cat([xyz, w], dim=-1))


def quat_to_matrix(q: Tensor) -> Tensor:
    """Rotation matrix ``[..., 3, 3]``; its columns are the turned axes."""
    x, z = quat_to_tan_norm(q).split(3, dim=-1)
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=-1)


def quat_to_exp_map(q: Tensor, least: float = ANGLE_EPS) -> Tensor:
    """Exponential map of norm <= pi of ``q`` of either sign; at exactly pi the sign is arbitrary.

    Half-angles below ``least`` give zero, as what rounding leaves of none. With ``least=0`` none does, and there is a
    gradient at the identity too.
    """
    xyz, w = q.split([3, 1], dim=-1)
    if least > 0.0:
        length = torch.linalg.vector_norm(xyz, dim=-1, keepdim=True)
        # atan instead of atan2: for w < 0 it is negative and so turns the axis of the same rotation with w > 0.
        return xyz * torch.where(length > least, 2.0 * torch.atan(length / w) / length, 0.0)
    length = (xyz.square().sum(-1, keepdim=True) + TINY).sqrt()
    scale = 2.0 * torch.atan2(length, w.abs()) / length
    return xyz * torch.where(w < 0, -scale, scale)


def exp_map_to_quat(e: Tensor) -> Tensor:
    """Quaternion with w >= 0 of an exponential map of any norm; a NaN component gives the identity."""
    norm = torch.linalg.vector_norm(e, dim=-1, keepdim=True)
    e = torch.where(norm.isnan(), 0.0, e)
    half = 0.5 * norm.nan_to_num(0.0)
    xyz = e * (0.5 * torch.sinc(half * (1.0 / math.pi)))
    return quat_pos(torch.cat([xyz, half.cos()], dim=-1))


def quat_diff(q0: Tensor, q1: Tensor) -> Tensor:
    """World-frame rotation that turns ``q0`` into ``q1``: q1 q0*."""
    return quat_mul(q1, quat_conj(q0))


def quat_diff_angle(q0: Tensor, q1: Tensor) -> Tensor:
    """Angle ``[...]`` in [0, pi] between two rotations."""
    d = quat_diff(q0, q1)
    length = torch.linalg.vector_norm(d[..., :3], dim=-1)
    return torch.where(length > ANGLE_EPS, 2.0 * torch.atan2(length, d[..., 3].abs()), 0.0)


def heading(q: Tensor) -> Tensor:
    """Angle ``[...]`` of the rotated x axis in the ground plane."""
    x, y, z, w = q.unbind(-1)
    # First column of the rotation matrix of p x v + ...; kept un-normalised like quat_rotate.
    return torch.atan2(2.0 * (x * y + w * z), 1.0 - 2.0 * (y * y + z * z))


def heading_quat_inv(q: Tensor) -> Tensor:
    """Rotation ``[..., 4]`` about z by minus the heading."""
    return about_z(-heading(q))


def about_z(angle: Tensor) -> Tensor:
    """Rotation ``[..., 4]`` about z by ``angle [...]``."""
    half = 0.5 * angle
    zero = torch.zeros_like(half)
    return torch.stack([zero, zero, half.sin(), half.cos()], dim=-1)


def quat_to_tan_norm(q: Tensor) -> Tensor:
    """The rotated x and z axes, ``[..., 6]``: a continuous six-number code of a rotation."""
    x, y, z, w = q.unbind(-1)
    x2, y2, z2 = x + x, y + y, z + z
    xz, yw, wx, yz = x * z2, w * y2, w * x2, y * z2
    xx, yy = x * x2, y * y2
    return torch.stack(
        [1.0 - torch.addcmul(yy, z, z2), torch.addcmul(w * z2, x, y2), xz - yw, xz + yw, yz - wx, 1.0 - (xx + yy)],
        dim=-1,
    )


def tan_norm_to_quat(tan_norm: Tensor, *, symmetric: bool = True) -> Tensor:
    """Inverse of :func:`quat_to_tan_norm` by way of axis and angle, also for six numbers that a network made up.

    They are not made orthonormal first: so MimicKit reads what its priors make up. Beyond 162 degrees, where that way
    loses the axis and at half a turn ends at the identity, they are, and the axis comes from the ``symmetric`` part,
    unless MimicKit's way is asked for at every angle.
    """
    t, n = tan_norm[..., :3], tan_norm[..., 3:]
    m = torch.stack([t, _cross(n, t), n], dim=-1)
    if not symmetric:
        return _matrix_to_quat(m)
    cos = 0.5 * (m.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) - 1.0)
    return torch.where(cos < HALF_TURN_COS, _half_turn_to_quat(quat_unit(t), n), _matrix_to_quat(m))


def slerp(q0: Tensor, q1: Tensor, t: Tensor) -> Tensor:
    """Shortest spherical interpolation; ``t [...]`` broadcasts against the leading axes. Result has unit norm."""
    cos = (q0 * q1).sum(-1, keepdim=True)
    # Both weights come from the same angle, so its rounding error near zero cancels.
    angle = torch.acos(cos.abs().clamp(max=math.cos(SLERP_MIN_ANGLE)))
    t = t.unsqueeze(-1)
    inv_sin = angle.sin().reciprocal()
    w0 = ((1.0 - t) * angle).sin() * inv_sin
    w1 = (t * angle).sin() * torch.copysign(inv_sin, cos)
    return torch.addcmul(w0 * q0, w1, q1)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    if a.dim() != b.dim():  # torch broadcasts sizes here, but not the number of axes
        a, b = torch.broadcast_tensors(a, b)
    return torch.linalg.cross(a, b)


def _matrix_to_quat(m: Tensor) -> Tensor:
    """Quaternion of a (nearly) orthonormal matrix ``[..., 3, 3]`` from its trace and antisymmetric part."""
    cos = 0.5 * (m.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0)
    angle = torch.acos(cos.clamp(-1.0 + 1e-7, 1.0 - 1e-7))
    axis = torch.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], dim=-1)
    return axis_angle_to_quat(axis, angle)


def _half_turn_to_quat(t: Tensor, n: Tensor) -> Tensor:
    """Quaternion of the rotation, by more than a right angle, with tangent ``t`` (unit) and normal ``n`` (any).

    The row of 4 q qT with the largest diagonal, normalised (Shepperd, *Quaternion from rotation matrix*, 1978).
    """
    n = quat_unit(n - (n * t).sum(-1, keepdim=True) * t)
    m = torch.stack([t, _cross(n, t), n], dim=-1)
    twice = m + m.transpose(-1, -2)
    turn = torch.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], dim=-1)
    trace = m.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    squares = twice + (1.0 - trace) * torch.eye(3, dtype=m.dtype, device=m.device)  # 4 v vT of the vector part
    rows = torch.cat([squares, turn.unsqueeze(-1)], dim=-1)  # [..., 3, 4]
    largest = squares.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*rows.shape[:-2], 1, 4)
    return quat_normalize(rows.gather(-2, largest).squeeze(-2))
