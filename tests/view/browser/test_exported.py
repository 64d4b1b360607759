"""An exported policy in the page goes step by step, as the player plays it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from mimickit_hydra.cli.main import main
from mimickit_hydra.config.models import find
from mimickit_hydra.view.browser.exported import ExportedShow
from mimickit_hydra.view.browser.frame import CHARACTER

pytestmark = pytest.mark.slow
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("exported") / "walk.onnx"
    assert main(["export", str(find("humanoid_walk").folder), "--to", "onnx", "-o", str(file)]) == 0
    return file


def test_steps_are_the_players_and_nothing_is_left(exported: Path) -> None:
    from mimickit_hydra.deploy.player import Player

    before = set(threading.enumerate())
    show = ExportedShow(Player(exported))
    for _ in range(20):
        show.step()
    played = Player(exported).play(0, seconds=1.0)
    assert np.array_equal(show._player.data.qpos, played.poses[20])
    assert show.frame().poses[CHARACTER][0].shape == (15, 3)
    show.restart(0, 0.0)
    assert np.array_equal(show._player.data.qpos, played.poses[0])
    show.close()
    assert set(threading.enumerate()) <= before
