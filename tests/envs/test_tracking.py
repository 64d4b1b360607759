import dataclasses

import torch
from random_states import joined, random_state

from mimickit_hydra.envs import tracking
from mimickit_hydra.motion.rotations import axis_angle_to_quat, quat_mul, quat_rotate


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


def test_keypoint_errors_in_the_world_and_from_where_the_character_is():
    ref = random_state(0)
    turn = axis_angle_to_quat(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(0.7)).expand(3, 4)
    moved = torch.tensor([0.6, -0.8, 0.0])
    around = {
        "body_pos": quat_rotate(turn.unsqueeze(-2), ref.body_pos) + moved,
        "body_rot": quat_mul(turn.unsqueeze(-2).expand_as(ref.body_rot), ref.body_rot),
    }
    errors = tracking.keypoint_errors(dataclasses.replace(ref, **around), ref, anchor=2)
    torch.testing.assert_close(errors[:, 1], torch.zeros(3), atol=2e-6, rtol=0)
    assert bool((errors[:, 0] > 0.1).all())
    shifted = dataclasses.replace(ref, body_pos=ref.body_pos + moved)
    torch.testing.assert_close(tracking.keypoint_errors(shifted, ref)[:, 0], torch.ones(3))
    # Heights are the reference's: a character that is 0.3 m too high is 0.3 m off, at its anchor too.
    risen = dataclasses.replace(ref, body_pos=ref.body_pos + torch.tensor([0.0, 0.0, 0.3]))
    chosen = tracking.keypoint_errors(risen, ref, torch.tensor([0, 1]))
    torch.testing.assert_close(chosen, torch.full((3, 2), 0.3))
