import dataclasses

import torch
from random_states import joined, random_state

from mimickit_hydra.envs import tracking
from mimickit_hydra.motion.rotations import axis_angle_to_quat, quat_mul


def test_no_errors_on_the_reference():
    state = random_state(0)
    torch.testing.assert_close(tracking.tracking_errors(state, state), torch.zeros(3, 7), atol=1e-6, rtol=0)


def test_each_error_has_its_own_unit():
    ref = random_state(0)
    turn = axis_angle_to_quat(torch.tensor([0.0, 1.0, 0.0]), torch.tensor(0.2)).expand(3, 4)
    body_rot = ref.body_rot.clone()
    body_rot[:, 1] = quat_mul(turn, body_rot[:, 1])
    step = torch.tensor([0.3, 0.0, 0.4])
    cases = {
        0: ({"root_pos": ref.root_pos + step, "body_pos": ref.body_pos + step}, 0.5),
        1: ({"rotations": joined(quat_mul(turn, ref.root_rot), ref.joint_rot)}, 0.2),
        2: ({"body_pos": ref.body_pos + step}, 0.5),
        3: ({"body_rot": body_rot}, 0.2 / 5),
        4: ({"dof_vel": ref.dof_vel - 2.0}, 2.0),
        5: ({"root_vel": ref.root_vel + step}, 0.7 / 3),
        6: ({"root_ang_vel": ref.root_ang_vel - step}, 0.7 / 3),
    }
    for column, (change, error) in cases.items():
        errors = tracking.tracking_errors(dataclasses.replace(ref, **change), ref)
        expected = torch.zeros(3, 7)
        expected[:, column] = error
        torch.testing.assert_close(errors, expected, atol=2e-6, rtol=1e-5)


def test_running_means_weigh_samples_not_calls():
    means = tracking.RunningMeans()
    live = means.as_dict()
    assert all(float(v) == 0.0 for v in live.values())
    first, second = torch.rand(5, 7), torch.rand(2, 7)
    means.record(first)
    means.record(second, torch.tensor([0.0, 1.0]))  # the first row does not count
    expected = torch.cat([first, second[1:]]).mean(0)
    torch.testing.assert_close(torch.stack(list(live.values())), expected)
    again = tracking.RunningMeans()
    again.load_state_dict(means.state_dict())
    again.record(first)
    means.record(first)
    assert torch.equal(again.means, means.means)
    means.restart()
    means.record(second, torch.zeros(2))
    assert torch.equal(means.means, torch.zeros(7))
