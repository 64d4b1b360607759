"""One thread for torch, before it is imported: the tests' tensors are small and the machine may be shared."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What a script starts with & ignores Ctrl-C, and so would all that tests start and then interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST_FIRST = ("integration", "benchmarks", "conformance", "mimickit", "cli", "training")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process for each core where the whole suite runs, none besides this one where a few files do."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return 0
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folders with long tests come first: a process that starts on one at the very end would work alone."""
    rooms = [*LONGEST_FIRST, ""]

    def rank(item: pytest.Item) -> int:
        return next(number for number, room in enumerate(rooms) if room in item.path.parts or not room)

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def no_folders_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No config folder of whoever runs the tests; what a test adds is gone after it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no_config"))
    monkeypatch.setenv("MIMICKIT_CONF", "")


@pytest.fixture(autouse=True)
def gradients_are_on() -> Iterator[None]:
    """A fixture that holds ``torch.no_grad`` open would decide what the tests after it measure."""
    yield
    torch = sys.modules.get("torch")
    assert torch is None or torch.is_grad_enabled(), "the test, or a fixture of it, left torch.no_grad() open"


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with an empty file for every bundled clip, for checks that look at names and not at frames."""
    from mimickit_hydra.config.groups import groups

    folder = tmp_path / "data_root" / "motions" / "humanoid"
    folder.mkdir(parents=True)
    for name in groups()["motion"].option_names():
        (folder / f"{name}.npz").touch()
    monkeypatch.setenv("MIMICKIT_DATA", str(tmp_path / "data_root"))
    return tmp_path / "data_root"
