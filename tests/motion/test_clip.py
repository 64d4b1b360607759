"""Clip files: round trips, MimicKit's pickles with their traps, and everything that must be refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.clip import LoopMode, MotionClip, load_clip, save_clip

FRAMES = np.random.default_rng(1).normal(size=(6, 34)).astype(np.float32)


def write_pickle(tmp_path: Path, content: Any, protocol: int = 4) -> Path:
    path = tmp_path / "clip.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def refused(path: Path, message: str) -> str:
    with pytest.raises(UserError, match=message) as error:
        load_clip(path)
    text = str(error.value)
    assert "\n" not in text
    assert path.name in text
    return text


def test_npz_round_trip(tmp_path: Path) -> None:
    meta = {"source": "a test", "licence": "none"}
    path = tmp_path / "sub" / "clip.npz"
    save_clip(path, MotionClip(FRAMES, 29.97, LoopMode.WRAP, "walk", meta))
    clip = load_clip(path)
    np.testing.assert_array_equal(clip.frames, FRAMES)
    assert clip.frames.dtype == np.float32
    assert (clip.fps, clip.loop_mode, clip.name) == (29.97, LoopMode.WRAP, "walk")
    assert clip.meta == {**meta, "file": str(path)}
    assert clip.length == pytest.approx(5 / 29.97)
    assert [p.name for p in path.parent.iterdir()] == ["clip.npz"]  # no temporary file is left


def test_same_clip_gives_same_bytes(tmp_path: Path) -> None:
    clip = MotionClip(FRAMES, 30.0, LoopMode.CLAMP, "walk")
    for name in "ab":
        save_clip(tmp_path / f"{name}.npz", clip)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["lists", "array", "fortran", "big_endian", "tensor", "rows_of_tensors", "scalars"])
def test_legacy_pickle(tmp_path: Path, kind: str, protocol: int) -> None:
    frames: Any = {
        "lists": FRAMES.tolist(),
        "array": FRAMES,
        "fortran": np.asfortranarray(FRAMES.astype(np.float64)),
        "big_endian": FRAMES.astype(">f4"),
        "tensor": torch.from_numpy(FRAMES.T.copy()).T,  # a view with strides
        "rows_of_tensors": list(torch.from_numpy(FRAMES)),
        "scalars": [[np.float32(x) for x in row] for row in FRAMES],
    }[kind]
    content = {"loop_mode": np.int64(1), "fps": np.float64(29.97), "frames": frames, "extra": {"note": [None, "x"]}}
    clip = load_clip(write_pickle(tmp_path, content, protocol))
    np.testing.assert_array_equal(clip.frames, FRAMES)
    assert (clip.fps, clip.loop_mode, clip.name) == (29.97, LoopMode.WRAP, "clip")


def test_float_fps_and_tensor_fps(tmp_path: Path) -> None:
    content = {"loop_mode": 0, "fps": torch.tensor(29.5), "frames": FRAMES.tolist()}
    assert load_clip(write_pickle(tmp_path, content)).fps == 29.5
    assert load_clip(write_pickle(tmp_path, {**content, "fps": 16})).fps == 16.0


class Touch:
    """A pickle of this object runs a command when it is read carelessly."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("hidden", ["top", "in_frames", "in_extra"])
def test_malicious_pickle_runs_nothing(tmp_path: Path, hidden: str) -> None:
    evidence = tmp_path / "evidence"
    bomb = Touch(f"touch {evidence}")
    content = {"loop_mode": 0, "fps": 30, "frames": FRAMES.tolist()}
    content_by_place = {"top": bomb, "in_frames": {**content, "frames": [bomb]}, "in_extra": {**content, "note": bomb}}
    path = write_pickle(tmp_path, content_by_place[hidden])
    refused(path, "refused, the pickle asks for .*system")
    assert not evidence.exists()
    pickle.loads(path.read_bytes())
    assert evidence.exists()  # the file was a real threat


def test_malicious_storage_inside_a_tensor(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    payload = pickle.dumps(Touch(f"touch {evidence}"))

    class Storage:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch.storage._load_from_bytes, (payload,)

    refused(
        write_pickle(tmp_path, {"frames": Storage(), "fps": 30, "loop_mode": 0}),
        "refused, the pickle asks for .*system",
    )
    assert not evidence.exists()


@pytest.mark.parametrize("call", [b"cbuiltins\neval\n", b"cbuiltins\ngetattr\n", b"cnumpy\nload\n", b"ctorch\nload\n"])
def test_other_names_are_refused(tmp_path: Path, call: bytes) -> None:
    path = tmp_path / "clip.pkl"
    path.write_bytes(call + b"(S'1'\ntR.")
    refused(path, "refused, the pickle asks for")


@pytest.mark.parametrize(
    "program",
    [
        b"c_codecs\nencode\n(N}X\x0c\x00\x00\x00__defaults__)stb.",  # change the stand-in itself
        b"cnumpy\nndarray\n(N}X\x05\x00\x00\x00value)stb.",
        b"cnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\x00\x00\x00f8tRJ\xff\xff\xff\x7ftR.",  # 2 GB of zeros
        b"cnumpy\ndtype\n(X\x01\x00\x00\x00OtR.",
        b"(" * 100000 + b".",
    ],
)
def test_hostile_use_of_allowed_names(tmp_path: Path, program: bytes) -> None:
    path = tmp_path / "clip.pkl"
    path.write_bytes(program)
    refused(path, "truncated or not a pickle|nested too deeply")
    good = write_pickle(tmp_path, {"loop_mode": 0, "fps": 30, "frames": FRAMES}, protocol=2)
    np.testing.assert_array_equal(load_clip(good).frames, FRAMES)  # nothing was left changed


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64, torch.int32, torch.uint8])
def test_tensors_of_every_type(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.arange(2 * 40).reshape(2, 40).to(dtype)[:, 3:37]  # a view with an offset
    clip = load_clip(write_pickle(tmp_path, {"loop_mode": 0, "fps": 30, "frames": tensor}))
    np.testing.assert_array_equal(clip.frames, tensor.to(torch.float32).numpy())


def test_object_arrays_and_strange_dtypes(tmp_path: Path) -> None:
    content = {"loop_mode": 0, "fps": 30, "frames": np.array([[1, None]], dtype=object)}
    refused(write_pickle(tmp_path, content), "truncated or not a pickle")
    path = tmp_path / "clip.npz"
    np.savez(path, frames=np.array([[1, None]], dtype=object), fps=30, loop_mode=0)
    refused(path, "truncated or not a motion archive")


@pytest.mark.parametrize("suffix", [".pkl", ".npz"])
def test_missing_empty_truncated_garbage(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    refused(path, "no such file|is a folder")
    path.write_bytes(b"")
    refused(path, "truncated or not a|is empty")
    path.write_bytes(b"<html>not a motion</html>" * 10)
    refused(path, r"is a web page \(HTML\)")
    good = tmp_path / "good.npz"
    save_clip(good, MotionClip(FRAMES, 30.0, LoopMode.CLAMP, "x"))
    pickled = pickle.dumps({"loop_mode": 0, "fps": 30, "frames": FRAMES.tolist()})
    whole = good.read_bytes() if suffix == ".npz" else pickled
    for part in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * part)])
        refused(path, "truncated or not a")


def test_damaged_archive(tmp_path: Path) -> None:
    path = tmp_path / "clip.npz"
    save_clip(path, MotionClip(FRAMES, 30.0, LoopMode.CLAMP, "x"))
    data = bytearray(path.read_bytes())
    data[200:260] = b"\0" * 60
    path.write_bytes(bytes(data))
    refused(path, "damaged, the checksum of 'frames.npy' does not match")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": None}, "not a table of numbers|frames is"),
        ({"frames": [[1.0] * 34, [1.0] * 33]}, "not a table of numbers with rows of one width"),
        ({"frames": []}, "frames is 0"),
        ({"frames": [[0.0] * 6] * 4}, "expected frames x"),
        ({"frames": [[0.0] * 34]}, "has 1 frame"),
        ({"frames": [[float("nan")] * 34] * 4}, "the root is not finite in 4 of 4 frames, first in frame 0"),
        ({"frames": [[0.0] * 33 + [float("inf")]] * 4}, "frame 0 column 33 is inf"),
        ({"fps": 0}, "fps is 0, expected a number above 0"),
        ({"fps": -30}, "fps is -30"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"fps": "fast"}, "fps is 'fast', expected a number"),
        ({"loop_mode": 2}, r"loop_mode is 2, allowed are 0 \(clamp\) and 1 \(wrap\)"),
        ({"loop_mode": "around"}, "loop_mode is 'around'"),
    ],
)
def test_bad_fields(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    refused(write_pickle(tmp_path, {"loop_mode": 0, "fps": 30, "frames": FRAMES.tolist(), **change}), message)


def test_missing_fields_and_wrong_content(tmp_path: Path) -> None:
    refused(write_pickle(tmp_path, {"frames": [], "rate": 3}), r"lacks fps, loop_mode \(found frames, rate\)")
    refused(write_pickle(tmp_path, [1, 2, 3]), "holds a list")
    other = tmp_path / "clip.bvh"
    refused(other, "a motion is .npz or MimicKit's .pkl, found '.bvh'")


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the motion"):
        save_clip(tmp_path / "file" / "clip.npz", MotionClip(FRAMES, 30.0, LoopMode.CLAMP, "x"))
