"""Ctrl-C while a command starts, also where somebody swallows the KeyboardInterrupt."""

from __future__ import annotations

import contextlib
import importlib
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mimickit_hydra.cli import main as mimickit
from mimickit_hydra.cli import train
from mimickit_hydra.training.interrupt import EXIT_CODE, Interrupts, check_interrupt
from mimickit_hydra.training.signals import StopSignal

ROOT = Path(__file__).resolve().parents[2]


def swallowed() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def turned_into_another() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise AttributeError("'NoneType' object has no attribute '_invalidate_flags_cache'") from None


def raised() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def _listening() -> Iterator[None]:
    """As in a shell's foreground; what is started with & hears no Ctrl-C, and the tests may be."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path) -> list[Any]:
    """What reaches the adapter."""
    calls: list[Any] = []
    module = types.ModuleType("mimickit_hydra.training.run")
    module.run = lambda run, **_: calls.append(run)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mimickit_hydra.training.run", module)
    monkeypatch.chdir(tmp_path)
    return calls


PLACES = ["mimickit_hydra.checks.check.validate", "mimickit_hydra.runs.saved.choices_header"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("interrupt", [raised, swallowed, turned_into_another])
def test_no_run_begins_after_ctrl_c(
    started: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    interrupt: Callable[[], None],
) -> None:
    module, _, name = place.rpartition(".")
    before = getattr(importlib.import_module(module), name)

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        interrupt()
        return before(*args, **kwargs)

    monkeypatch.setattr(place, interrupted)
    assert train.main([]) == EXIT_CODE == 130
    assert started == []
    assert capsys.readouterr().err == ""
    assert Path("outputs").exists() == (place == PLACES[1])  # checked before the directory is made
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("interrupt", [raised, turned_into_another])
def test_every_command_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], interrupt: Callable[[], None]
) -> None:
    monkeypatch.setattr("mimickit_hydra.cli.listing.run", lambda _: interrupt())
    assert mimickit.main(["list"]) == 130
    assert capsys.readouterr().err == ""


def test_the_runs_own_handler_takes_over_and_hears_of_an_earlier_signal() -> None:
    with Interrupts():
        with StopSignal() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.name == "SIGINT"
        check_interrupt()  # that one was the run's
        swallowed()
        with StopSignal() as stop:
            assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            check_interrupt()
    check_interrupt()


def test_an_ignored_signal_stays_ignored() -> None:
    for handler in (signal.SIG_IGN, lambda *_: None):
        before = signal.signal(signal.SIGINT, handler)
        try:
            with Interrupts():
                assert signal.getsignal(signal.SIGINT) is handler
        finally:
            signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_nothing_is_touched() -> None:
    found: list[Any] = []

    def work() -> None:
        with Interrupts():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


def test_a_real_process(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from mimickit_hydra.cli import listing, main\n"
        "def run(args):\n    print('here', flush=True)\n    time.sleep(30)\n"
        "listing.run = run\n"
        "sys.exit(main.main(['list']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (130, "")
    assert time.monotonic() - began < 10
