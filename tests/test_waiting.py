"""Whoever waits says what for; whoever does not is silent."""

from __future__ import annotations

import re
import time

import pytest

from mimickit_hydra.waiting import waiting_for


def test_it_is_said_again_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting_for("the others", first=0.02):
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 4
    assert re.fullmatch(r"waiting for the others \(\d+ s\)", lines[0])


def test_a_short_wait_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting_for("nothing"):
        pass
    assert capsys.readouterr().err == ""
