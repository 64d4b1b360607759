"""The motion library against golden numbers and invariants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_motion import golden_character, load_golden
from hypothesis import given, settings
from hypothesis import strategies as st

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode, MotionClip, save_clip
from mimickit_hydra.motion.dataset import read_dataset
from mimickit_hydra.motion.library import MotionLibrary

Golden = dict[str, np.ndarray]
INTERPOLATED = 1.5e-3


def golden_clips(golden: Golden) -> tuple[list[MotionClip], list[float]]:
    clips, weights = [], []
    for i, name in enumerate(golden["clips"].tolist()):
        loop_mode = LoopMode(int(golden[f"clip/{i}/loop_mode"]))
        clips.append(MotionClip(golden[f"clip/{i}/frames"], float(golden[f"clip/{i}/fps"]), loop_mode, name))
        weights.append(float(golden[f"clip/{i}/weight"]))
    return clips, weights


@pytest.fixture(scope="module", params=["motion_walk", "motion_spinkick", "motion_multi"])
def case(request: pytest.FixtureRequest) -> tuple[Golden, MotionLibrary]:
    golden = load_golden(request.param)
    return golden, MotionLibrary(*golden_clips(golden), golden_character(golden))


def queries(golden: Golden) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(golden["query/in/motion_id"]), torch.from_numpy(golden["query/in/time"])


def align(actual: torch.Tensor, expected: np.ndarray) -> np.ndarray:
    a = actual.numpy()
    return np.where((a * expected).sum(-1, keepdims=True) < 0, -a, a)


def close(actual: torch.Tensor | np.ndarray, expected: np.ndarray, atol: float, rtol: float = 5e-6) -> None:
    np.testing.assert_allclose(np.asarray(actual), expected, atol=atol, rtol=rtol)


def test_clip_facts(case: tuple[Golden, MotionLibrary]) -> None:
    golden, library = case
    np.testing.assert_array_equal(library.lengths, golden["lib/length"])
    np.testing.assert_array_equal(library.num_frames, golden["lib/num_frames"])
    np.testing.assert_array_equal(library.start_index, golden["lib/start_index"])
    np.testing.assert_array_equal(library.loop_modes, golden["lib/loop_mode"])
    close(library.fps, golden["lib/fps"], 0)
    close(library.weights, golden["lib/weight"], 1e-7)
    close(library.wrap_delta, golden["lib/wrap_delta"], 1e-6)


def test_frames(case: tuple[Golden, MotionLibrary]) -> None:
    golden, library = case
    frames = library.frames()
    velocity_tol = 3e-6 * float(library.fps.max())
    close(frames.root_pos, golden["frame/root_pos"], 1e-6)
    close(align(frames.root_rot, golden["frame/root_rot"]), golden["frame/root_rot"], 5e-6)
    close(frames.root_vel, golden["frame/root_vel"], velocity_tol)
    close(frames.root_ang_vel, golden["frame/root_ang_vel"], velocity_tol)
    close(frames.dof_vel, golden["frame/dof_vel"], velocity_tol)
    if "frame/joint_rot" in golden:
        close(align(frames.joint_rot, golden["frame/joint_rot"]), golden["frame/joint_rot"], 5e-6)


def test_phase_frame_and_blend_are_exact(case: tuple[Golden, MotionLibrary]) -> None:
    golden, library = case
    ids, times = queries(golden)
    np.testing.assert_array_equal(library.phase(ids, times), golden["query/out/phase"])
    position = library.phase(ids, times) * (library.num_frames[ids] - 1)
    np.testing.assert_array_equal(position.long(), golden["query/out/frame0"])
    np.testing.assert_array_equal(position - position.long(), golden["query/out/blend"])


def test_query(case: tuple[Golden, MotionLibrary]) -> None:
    golden, library = case
    out = library.query(*queries(golden))
    velocity_tol = 3e-6 * float(library.fps.max())
    close(out.root_pos, golden["query/out/root_pos"], 3e-5)
    close(align(out.root_rot, golden["query/out/root_rot"]), golden["query/out/root_rot"], INTERPOLATED)
    close(align(out.joint_rot, golden["query/out/joint_rot"]), golden["query/out/joint_rot"], INTERPOLATED)
    close(out.root_vel, golden["query/out/root_vel"], velocity_tol)
    close(out.root_ang_vel, golden["query/out/root_ang_vel"], velocity_tol)
    close(out.dof_vel, golden["query/out/dof_vel"], velocity_tol)
    close(out.joint_rot.norm(dim=-1), np.ones(out.joint_rot.shape[:-1]), 1e-6)


def test_query_without_slerp_quirk_is_close(case: tuple[Golden, MotionLibrary]) -> None:
    golden, library = case
    out = library.query(*queries(golden))
    regular = ~golden["query/out/joint_slerp_quirk"]
    expected = golden["query/out/joint_rot"]
    close(align(out.joint_rot, expected)[regular], expected[regular], 1e-4)


def test_kinematics_of_query(case: tuple[Golden, MotionLibrary]) -> None:
    golden, library = case
    out = library.query(*queries(golden))
    pos, quat = library.character.forward_kinematics(out.root_pos, out.root_rot, out.joint_rot)
    close(pos, golden["query/out/body_pos"], 1.5e-3)
    close(align(quat, golden["query/out/body_rot"]), golden["query/out/body_rot"], 3e-3)
    close(pos[:, golden["query/in/key_body_ids"]], golden["query/out/key_body_pos"], 1.5e-3)
    close(library.character.rot_to_dof(out.joint_rot), golden["query/out/dof_pos"], 2.5e-3)


def test_sample_times(case: tuple[Golden, MotionLibrary]) -> None:
    golden, library = case
    ids, u = torch.from_numpy(golden["sample/in/motion_id"]), torch.from_numpy(golden["sample/in/u"])
    close(library.times_from_uniform(ids, u), golden["sample/out/time"], 1e-6)
    truncated = library.times_from_uniform(ids, u, float(golden["sample/in/truncate_time"]))
    close(truncated, golden["sample/out/time_truncated"], 1e-6)
    times = library.sample_times(ids)
    assert bool(((times >= 0) & (times <= library.lengths[ids])).all())


def test_query_takes_any_axes(case: tuple[Golden, MotionLibrary]) -> None:
    golden, library = case
    ids, times = (x[:60].reshape(4, 3, 5) for x in queries(golden))
    flat, shaped = library.query(ids.flatten(), times.flatten()), library.query(ids, times)
    for a, b in zip(flat, shaped, strict=True):
        torch.testing.assert_close(a, b.flatten(0, 2), atol=0, rtol=0)


def test_sampling_follows_weights(humanoid: CharacterModel) -> None:
    golden = load_golden("motion_multi")
    library = MotionLibrary(golden_clips(golden)[0], [1.0, 3.0, 0.0], humanoid)
    torch.manual_seed(0)
    counts = library.sample_motions(20000).bincount(minlength=3)
    assert counts[2] == 0
    assert float(counts[1]) / 20000 == pytest.approx(0.75, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(st.floats(-20.0, 20.0, width=32), st.integers(-3, 3))
def test_loops_repeat_shifted(time: float, loops: int) -> None:
    """One length later a wrapping clip shows the same pose, moved by the wrap delta."""
    golden = load_golden("motion_walk")
    library = MotionLibrary(*golden_clips(golden), golden_character(golden))
    ids = torch.tensor([0])
    times = torch.tensor([time])
    later = times + loops * library.lengths
    a, b = library.query(ids, times), library.query(ids, later)
    shift = loops * library.wrap_delta
    margin = torch.minimum(library.phase(ids, times), 1 - library.phase(ids, times))
    if float(margin) > 1e-4:
        torch.testing.assert_close(b.root_pos, a.root_pos + shift, atol=1e-3, rtol=0)
        torch.testing.assert_close(b.joint_rot, a.joint_rot, atol=1e-3, rtol=0)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 4.0, width=32))
def test_root_moves_continuously(time: float) -> None:
    golden = load_golden("motion_walk")
    library = MotionLibrary(*golden_clips(golden), golden_character(golden))
    ids, step = torch.tensor([0, 0]), 1e-3
    out = library.query(ids, torch.tensor([time, time + step]))
    speed = float(library.frames().root_vel.norm(dim=-1).max())
    # xy is continuous even where the clip starts again; z does not accumulate.
    assert float((out.root_pos[1] - out.root_pos[0])[:2].norm()) <= speed * step + 1e-4


def write_dataset(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "set.yaml"
    path.write_text(text)
    return path


def test_dataset(tmp_path: Path, humanoid: CharacterModel) -> None:
    for clip in golden_clips(load_golden("motion_multi"))[0]:
        save_clip(tmp_path / f"{clip.name}.npz", clip)
    names = sorted(path.stem for path in tmp_path.glob("*.npz"))
    text = "motions:\n" + "".join(f"  - {{file: {name}.npz, weight: {i}}}\n" for i, name in enumerate(names))
    path = write_dataset(tmp_path, text)
    library = MotionLibrary.from_file(path, humanoid)
    assert library.names == names
    close(library.weights, np.arange(3) / 3, 1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("motions: [", "not valid YAML"),
        ("clips: []", "under the key 'motions'"),
        ("motions: []", "non-empty list"),
        ("motions: [{file: a.npz}]", "needs the keys 'file' and 'weight'"),
        ("motions: [{file: a.npz, weight: -1}]", "expected a number >= 0"),
        ("motions: [{file: a.npz, weight: heavy}]", "expected a number >= 0"),
        ("motions: [{file: b.yaml, weight: 1}]", "dataset inside a dataset is not supported"),
        ("motions: [{file: a.npz, weight: 1, wieght: 2}]", "unknown key 'wieght'"),
        ("motions: [{file: 3, weight: 1}]", "expected a path"),
        ("motions: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_bad_dataset(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_dataset(write_dataset(tmp_path, text))
    assert "\n" not in str(error.value)


def test_weights_all_zero(tmp_path: Path, humanoid: CharacterModel) -> None:
    with pytest.raises(UserError, match="at least one must be above 0"):
        MotionLibrary.from_file(write_dataset(tmp_path, "motions: [{file: a.npz, weight: 0}]"), humanoid)
    with pytest.raises(UserError, match="no such file"):
        MotionLibrary.from_file(tmp_path / "none.yaml", humanoid)


def test_motion_of_another_character(humanoid: CharacterModel) -> None:
    clip = MotionClip(np.zeros((5, 35), np.float32), 30.0, LoopMode.CLAMP, "dog")
    with pytest.raises(UserError, match=r"35 numbers and character 'humanoid' takes 6 \+ 28 = 34.*another character"):
        MotionLibrary([clip], [1.0], humanoid)


def test_nan_joints(humanoid: CharacterModel) -> None:
    frames = np.zeros((5, 34), np.float32)
    frames[:, 9:12] = np.nan  # neck
    library = MotionLibrary([MotionClip(frames, 30.0, LoopMode.CLAMP, "walk")], [1.0], humanoid)
    out = library.query(torch.tensor([0]), torch.tensor([0.05]))
    assert all(bool(x.isfinite().all()) for x in out)
    frames[3, 15] = np.nan  # right elbow
    with pytest.raises(UserError, match=r"hinge 'right_lower_arm' is NaN in frame 3"):
        MotionLibrary([MotionClip(frames, 30.0, LoopMode.CLAMP, "walk")], [1.0], humanoid)
    frames[:, 6:] = np.nan
    with pytest.raises(UserError, match="every joint of every frame is NaN"):
        MotionLibrary([MotionClip(frames, 30.0, LoopMode.CLAMP, "walk")], [1.0], humanoid)
