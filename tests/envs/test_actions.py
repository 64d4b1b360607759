import math

import numpy as np
import pytest
import torch

from mimickit_hydra.engines.interface import ObjectModel
from mimickit_hydra.envs.actions import action_bounds
from mimickit_hydra.envs.errors import EnvError


def _model(low, high, dims, torque=None):
    num_dofs = len(low)
    return ObjectModel(
        name="toy", body_names=[f"b{i}" for i in range(len(dims))], parents=np.arange(len(dims)) - 1,
        body_masses=np.ones(len(dims)), dof_dims=np.array(dims), dof_low=np.array(low), dof_high=np.array(high),
        torque_limits=np.array(torque or [1.0] * num_dofs), kp=np.ones(num_dofs), kd=np.ones(num_dofs),
    )  # fmt: skip


HINGE = _model([0.0], [2.7925], [0, 0, 1], [70.0])
ARM = _model([-1.0472, -1.0472, -1.2217, 0.0], [1.0472, 1.5708, 1.2217, 2.0], [0, 3, 1], [1.0, 2.0, 3.0, 4.0])


def test_hinge_keeps_its_centre():
    low, high = action_bounds(HINGE, "pos")
    torch.testing.assert_close(low, torch.tensor([-0.5585]))
    torch.testing.assert_close(high, torch.tensor([3.3510]))
    assert torch.equal(torch.stack(action_bounds(HINGE, "pd_explicit")), torch.stack([low, high]))


def test_hinge_can_be_centred_on_zero():
    low, high = action_bounds(HINGE, "pos", zero_center=True)
    torch.testing.assert_close(high, torch.tensor([1.4 * 2.7925]))
    torch.testing.assert_close(low, -high)


def test_three_dof_joint_is_bounded_by_its_widest_axis():
    low, high = action_bounds(ARM, "pos", zero_center=True)
    torch.testing.assert_close(high[:3], torch.full((3,), 1.2 * 1.5708))
    torch.testing.assert_close(low[:3], -high[:3])


@pytest.mark.parametrize(("mode", "reach"), [("vel", [2 * math.pi] * 4), ("torque", [1, 2, 3, 4]), ("none", [1] * 4)])
def test_other_modes_are_symmetric(mode, reach):
    low, high = action_bounds(ARM, mode)
    torch.testing.assert_close(high, torch.tensor(reach, dtype=torch.float32))
    assert torch.equal(low, -high)


def test_explicit_pd_refuses_three_dof_joints():
    with pytest.raises(EnvError, match=r"pd_explicit.*'b1'.*3 DoFs; use 'pos'"):
        action_bounds(ARM, "pd_explicit")


def test_unknown_mode_names_the_nearest():
    with pytest.raises(EnvError, match=r"'torqe'.*did you mean 'torque'"):
        action_bounds(ARM, "torqe")


def test_no_action_means_more_than_the_joint_can_take():
    endless = _model([-1e10, -1e10, -1e10, -1e10], [1e10] * 4, [0, 3, 1])
    low, high = action_bounds(endless, "pos")
    torch.testing.assert_close(high, torch.full((4,), math.pi))
    torch.testing.assert_close(low, -high)
    with pytest.raises(EnvError, match="torque needs joints with torque limits"):
        action_bounds(_model([0.0], [1.0], [0, 1], [1e6]), "torque")
    hinged = _model([0.0], [2.0], [0, 1])
    hinged.target_low, hinged.target_high = np.array([0.5]), np.array([np.inf])
    low, high = action_bounds(hinged, "pos")
    assert (float(low), float(high)) == pytest.approx((0.5, 2.4))
    hinged.target_low = np.array([3.0])
    with pytest.raises(EnvError, match="no angle in common"):
        action_bounds(hinged, "pos")
