"""Lines about settings that are allowed but were seen to disappoint."""

from __future__ import annotations

import pytest

from mimickit_hydra.config.advice import advice
from mimickit_hydra.config.compose import compose, to_run


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["engine=newton"],
        ["engine=isaac_gym"],
        ["engine=isaac_lab", "engine.physics=ovphysx"],
        ["engine=isaac_lab", "engine.sim_freq=240"],
        ["mode=test", "engine.sim_freq=120"],
    ],
)
def test_most_runs_need_none(words: list[str]) -> None:
    assert advice(to_run(compose(words))) == []


@pytest.mark.parametrize(
    "words", [["engine.sim_freq=120"], ["engine=newton", "engine.sim_freq=120"], ["engine=isaac_lab"]]
)
def test_large_physics_steps_with_mujocos_solver(words: list[str]) -> None:
    (line,) = advice(to_run(compose(words)))
    assert line.startswith("engine.sim_freq=120: ")
    assert "engine.sim_freq=240" in line
