"""Reads what an ONNX file says of itself, without a package for it, and refuses what no policy of ours holds.

A file may come from anywhere. Before onnxruntime sees it, it is walked once: nothing in it may name another file, an
operator that is not ONNX's own, or a graph inside a node, which could loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mimickit_hydra.errors import UserError

MAX_BYTES = 2**28  # of a file
_DOMAINS = (b"", b"ai.onnx")
# Fields of the messages of onnx.proto that are looked at
_GRAPH, _METADATA, _FUNCTIONS, _OPSETS = 7, 14, 25, 8
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15
_NODE_TYPE, _ATTRIBUTE, _DOMAIN = 4, 5, 7
_TENSOR, _INNER, _TENSORS, _INNERS = 5, 6, 10, 11
_EXTERNAL, _LOCATION = 13, 14


def read_metadata(data: bytes, path: Path) -> dict[str, str]:
    """The metadata of a model, which is checked. UserError for what is none, or holds more than a policy of ours."""
    try:
        return _model(memoryview(data), path)
    except (IndexError, ValueError, RecursionError):
        raise UserError(f"{path}: is damaged, or no ONNX file") from None


def _model(data: memoryview, path: Path) -> dict[str, str]:
    found, graphs, opsets = dict[str, str](), 0, 0
    for field, value in _fields(data):
        if field == _GRAPH:
            graphs += 1
            _check_graph(value, path)
        elif field == _FUNCTIONS:
            raise UserError(f"{path}: brings functions of its own, which are not run")
        elif field == _METADATA:
            entry = dict(_fields(value))
            key, text = (bytes(entry.get(number, b"")).decode("utf-8") for number in (1, 2))
            if key in found:
                raise UserError(f"{path}: says {key[:60]!r} twice")
            found[key] = text
        opsets += field == _OPSETS
    if graphs != 1 or not opsets:
        raise ValueError
    return found


def _check_graph(data: memoryview, path: Path) -> None:
    for field, value in _fields(data):
        if field == _NODE:
            _check_node(value, path)
        elif field == _INITIALIZER:
            _check_tensor(value, path)
        elif field == _SPARSE:
            raise UserError(f"{path}: holds sparse weights, which no policy of ours does")


def _check_node(data: memoryview, path: Path) -> None:
    kind = b""
    for field, value in _fields(data):
        if field == _NODE_TYPE:
            kind = bytes(value)
        if field == _DOMAIN and bytes(value) not in _DOMAINS:
            raise UserError(f"{path}: has an operator of {_text(value)!r}; only ONNX's own are run")
        if field == _ATTRIBUTE:
            for inner, part in _fields(value):
                if inner in (_INNER, _INNERS):
                    raise UserError(f"{path}: has a graph inside a node ({_text(kind)}), which could run for ever")
                if inner in (_TENSOR, _TENSORS):
                    _check_tensor(part, path)


def _check_tensor(data: memoryview, path: Path) -> None:
    for field, value in _fields(data):
        if field == _EXTERNAL or (field == _LOCATION and value != 0):
            raise UserError(f"{path}: keeps weights in another file, which is not read; a policy is one file")


def _text(value: Any) -> str:
    return bytes(value)[:60].decode("utf-8", "replace")


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """The fields of a message: numbers, and the bytes of everything else. ValueError where it is none."""
    if not isinstance(data, memoryview):
        raise ValueError
    place, end = 0, len(data)
    while place < end:
        key, place = _varint(data, place)
        field, kind = key >> 3, key & 7
        if not field:
            raise ValueError
        if kind == 0:
            value: Any
            value, place = _varint(data, place)
            yield field, value
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError
        if place + size > end:
            raise ValueError
        yield field, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError
