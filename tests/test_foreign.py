"""Files that are damaged, of another kind or made to harm are one line that names them, soon and in little memory."""

from __future__ import annotations

import io
import os
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mimickit_hydra import foreign
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.clip import load_clip

LAUGHS = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9 if n else ['x'] * 9)}]\n" for n in range(9))
MERGES = "".join(f"m{n}: &m{n} {{<<: [{f'*m{n - 1}, *m{n - 1}' if n else ''}], k{n}: 1}}\n" for n in range(30))


def refused(path: Path, read: Any, message: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=message) as error:
        read(path)
    assert time.monotonic() - began < 5.0
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system ['true']", ":1: not valid YAML: could not determine a constructor"),
        ("a: !!timestamp x", "not valid YAML"),
        ("a: !!int ''", "not valid YAML"),
        ("a: !!bool maybe", "not valid YAML: maybe|not valid YAML: 'maybe'"),
        ("a: 2001-13-45", "not valid YAML: month must be in 1..12"),
        ("a: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
        ("a: 1\nb: 2\na: 3", ":3: not valid YAML: found duplicate key a"),
        ("a: &x [*x]", ":1: contains itself"),
        ("a: &x {b: *x}", ":1: contains itself"),
        (LAUGHS, "its aliases .* unfold to"),
        (MERGES, "its aliases .* unfold to"),
        ("[" * 500 + "]" * 500, "is nested more than 64 deep|nested too deeply|not valid YAML"),
        ("[" * 100_000, "not valid YAML|nested"),
    ],
)
def test_yaml(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    refused(path, foreign.read_yaml, message)


def test_yaml_that_is_good(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("\ufeffa: &x [1, 2]\r\nb: *x\r\nc: {<<: {d: ü}, e: 1e-3}\r\n".encode())
    assert foreign.read_yaml(path) == {"a": [1, 2], "b": [1, 2], "c": {"d": "ü", "e": "1e-3"}}
    twice: list[tuple[str, int]] = []
    path.write_text("a: 1\na: {b: 1, b: 2}\n")
    assert foreign.read_yaml(path, repeated=lambda *told: twice.append(told)) == {"a": {"b": 2}}
    assert twice == [("a.b", 2), ("a", 2)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer of Git LFS.*git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html></html>", r"a web page \(HTML\)"),
        (b"a: 1\nb: \xff\n", "line 2 is not text in UTF-8"),
        ("a".encode("utf-16"), "line 1 is not text in UTF-8"),
    ],
)
def test_another_file_in_its_place(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    refused(path, foreign.read_text, message)


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    kinds = {
        "folder": "is a folder",
        "pipe": "is no plain file",
        "device": "is no plain file",
        "circle": "cannot be read",
    }
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to("circle")
    for name, message in {**kinds, "nothing": "no such file", "x" * 300: "cannot be read"}.items():
        for read in (
            foreign.read_bytes,
            foreign.open_plain,
            foreign.sha256_of,
            foreign.check_archive,
            foreign.read_torch,
            foreign.read_xml,
        ):
            refused(tmp_path / name, read, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<a>", "not well-formed XML"),
        ('<?xml version="1.0" encoding="x"?><a/>', "cannot be read .*unknown encoding"),
        ('<?xml version="1.0" encoding="gbk"?><a/>', "cannot be read .*multi-byte"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "document type .* is not supported"),
        ("<a>" * 65 + "</a>" * 65, "nested more than 64 deep"),
        ("<a>" * 100_000, "nested more than 64 deep"),
    ],
)
def test_xml(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text)
    refused(path, foreign.read_xml, message)


@pytest.mark.parametrize("text", ["nan", "inf", "1_0", "1e400", "٣", "0x1p3", "", "1,5", " 1", "1.2.3"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="is not a finite number"):
        foreign.number(text)


def test_numbers() -> None:
    assert [foreign.number(text) for text in ("1", "-.5", "+2.", "1e-3", "1E+2")] == [1.0, -0.5, 2.0, 1e-3, 100.0]


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text, message in (
        ("{", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "not valid JSON"),
    ):
        path.write_text(text)
        refused(path, foreign.read_json, message)


def test_a_zip_bomb_is_not_unfolded(tmp_path: Path) -> None:
    path = tmp_path / "clip.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("frames.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(600):
            member.write(bytes(2**20))
    refused(path, load_clip, "unfold to 629,145,600, more than expected")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"\x80\x02]r\xff\xff\xff\x0f.", "a memo of 268,435,455 entries"),
        (b"\x80\x02]p268435455\n.", "a memo of 268,435,455 entries"),
        (b"\x80\x04})" + b"\x85" * 200_000 + b"Ns.", "more than 50,000 tuples"),
    ],
)
def test_pickles_that_would_take_the_interpreter_down(tmp_path: Path, program: bytes, message: str) -> None:
    path = tmp_path / "clip.pkl"
    path.write_bytes(program)
    refused(path, load_clip, message)
    model = tmp_path / "model.pt"
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3")
    refused(model, foreign.read_torch, message)


def test_a_pickle_of_shared_lists_does_not_unfold(tmp_path: Path) -> None:
    laugh: list[Any] = [0.0]
    for _ in range(40):
        laugh = [laugh, laugh]
    path = tmp_path / "clip.pkl"
    path.write_bytes(pickle.dumps({"frames": laugh, "fps": 30, "loop_mode": 0}))
    refused(path, load_clip, "frames is not a table of numbers")
    row = [0.0] * 10_000
    path.write_bytes(pickle.dumps({"frames": [row] * 10_000, "fps": 30, "loop_mode": 0}))
    refused(path, load_clip, "at most 30,000,000")
    wide = torch.zeros(1).expand(10**9)
    path.write_bytes(pickle.dumps({"frames": wide, "fps": 30, "loop_mode": 0}))
    refused(path, load_clip, "a tensor of 1000000000 numbers")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 1e300}, r"fps is 1e\+300, expected a number above 0 and at most"),
        ({"fps": 10**400}, "fps is a int, expected a number"),
        ({"fps": [[30]]}, "fps is a list, expected a number"),
        ({"frames": np.zeros((3, 9), dtype=np.complex64)}, "frames is not a table|truncated or not a pickle"),
        ({"frames": [[10**400] * 9] * 3}, "frames is not a table"),
        ({"frames": [["0"] * 9] * 2 + [[[0]] * 9]}, "frames is not a table"),
    ],
)
def test_numbers_of_a_clip(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "clip.pkl"
    path.write_bytes(pickle.dumps({"frames": [[0.0] * 9] * 3, "fps": 30, "loop_mode": 0, **change}))
    refused(path, load_clip, message)


def test_headers_of_arrays(tmp_path: Path) -> None:
    """Whatever numpy and Python's own parser raise about a header is one line."""
    out = io.BytesIO()
    np.save(out, np.zeros((3, 9)))
    good = out.getvalue()
    for text in (b"(3, 9", b"((((", b"(3, 9.0)", b"(99999999999999999999,)", b"None", b"(-1, 9)"):
        path = tmp_path / "clip.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("frames.npy", good.replace(b"(3, 9)", text.ljust(6)[:40], 1))
            archive.writestr("fps.npy", good)
        refused(path, load_clip, "truncated or not a motion archive|lacks|frames is")


def test_a_tensor_without_numbers_is_refused_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"a": [1, {"b": torch.empty(3, device="meta")}]}, path)
    refused(path, foreign.read_torch, "it holds a tensor without numbers")
