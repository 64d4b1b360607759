"""Clips of the Laikago, carried over to the Go2."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mimickit_hydra.assets.laikago import read_laikago
from mimickit_hydra.errors import UserError

STANDING = [0.0, 0.0, 0.43, 0.5, 0.5, 0.5, 0.5, *[0.0, 0.7, -1.2] * 4]


def text(step: Any) -> str:
    return json.dumps({"LoopMode": "Wrap", "FrameDuration": step, "Frames": [STANDING] * 5})


@pytest.mark.parametrize(("step", "fps"), [(0.01667, 60.0), (0.021, 1 / 0.021), (2.5, 0.4), (0.8, 1.25)])
def test_the_rate_need_not_be_a_whole_number(step: float, fps: float) -> None:
    clip = read_laikago(text(step), "dog")
    assert clip.fps == pytest.approx(fps)
    assert clip.length == pytest.approx(4 * step, rel=1e-3)


@pytest.mark.parametrize("step", [0, -0.1, "x", float("nan"), float("inf"), 1e-320])
def test_a_step_that_is_none_is_refused(step: Any) -> None:
    with pytest.raises(UserError, match=r"dog: (not a Laikago clip|FrameDuration: found)"):
        read_laikago(text(step), "dog")
