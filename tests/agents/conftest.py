"""Golden arrays and one thread for every test of this folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(Path(__file__).parent))


class Golden:
    """One ``.npz`` of golden numbers: arrays by name as tensors, with an optional prefix for its cases."""

    def __init__(self, arrays: dict[str, np.ndarray], prefix: str = "") -> None:
        self._arrays = arrays
        self._prefix = prefix

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(np.array(self._arrays[self._prefix + name]))

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._arrays

    def case(self, name: str) -> Golden:
        return Golden(self._arrays, f"{self._prefix}{name}/")

    def json(self, name: str) -> dict[str, Any]:
        return json.loads(str(self._arrays[self._prefix + name]))

    def strings(self, name: str) -> list[str]:
        return [str(entry) for entry in self._arrays[self._prefix + name]]

    def under(self, folder: str) -> dict[str, torch.Tensor]:
        start = f"{self._prefix}{folder}/"
        return {key[len(start) :]: self[key[len(self._prefix) :]] for key in self._arrays if key.startswith(start)}


def load_golden(name: str) -> Golden:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return Golden(dict(file))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def golden() -> Callable[[str], Golden]:
    """Reads golden files by name."""
    return load_golden
