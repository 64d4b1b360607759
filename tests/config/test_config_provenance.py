"""``explain``: the history of each value agrees with what is composed."""

from __future__ import annotations

import re

import pytest

from mimickit_hydra.config.compose import compose, flatten
from mimickit_hydra.config.explain import trace
from mimickit_hydra.config.roots import conf_dir

LISTS = [
    [],
    ["engine=newton", "agent.discount=0.5"],
    ["experiment=walk_30min", "debug=smoke", "env={episode_length: 2.0}"],
]


@pytest.mark.parametrize("overrides", LISTS)
def test_the_last_entry_of_every_key_is_the_value_in_force(overrides: list[str]) -> None:
    found = trace(overrides)
    composed = flatten(compose(overrides))
    assert set(composed) == set(found.history)
    for key, value in composed.items():
        assert found.history[key][-1].value == value, key


@pytest.mark.parametrize("overrides", LISTS)
def test_every_line_number_points_at_the_key(overrides: list[str]) -> None:
    for key, history in trace(overrides).history.items():
        for assignment in history:
            match = re.match(r"^conf/(.*):(\d+)$", assignment.source)
            if match:
                line = (conf_dir() / match.group(1)).read_text().splitlines()[int(match.group(2)) - 1]
                assert line.strip().startswith(f"{key.rsplit('.', 1)[-1]}:"), (key, assignment.source, line)


def test_a_value_of_the_cpu_preset() -> None:
    found = trace()
    history = found.history["agent.discount"]
    assert history[0].source.startswith("schema PPOAgentConfig")
    assert [assignment.source.split(":")[0] for assignment in history[1:]] == [
        "conf/recipe/cpu.yaml",
    ]
    assert [assignment.value for assignment in history] == [0.99, 0.95]
    assert found.choices["recipe"].source.startswith("conf/compute/cpu.yaml:")
    assert found.choices["compute"].option == "cpu"
    assert found.choices["compute"].source.startswith("conf/engine/mujoco.yaml:")
    assert found.choices["compute"].replaced[0][0] == "gpu"


def test_an_override_and_what_it_replaced() -> None:
    history = trace(["engine.sim_freq=120"]).history["engine.sim_freq"]
    assert [assignment.value for assignment in history] == [240, 120]
    assert history[0].source.startswith("schema MujocoEngineConfig")
    assert history[-1].source == "command line (engine.sim_freq=120)"


def test_interpolations_are_followed() -> None:
    found = trace(["motion=humanoid_run"])
    assert found.references("env.motion_file") == ["motion.motion_file"]
    assert found.final("env.motion_file") == "data/motions/humanoid/humanoid_run.pkl"
    assert found.choices["motion"].source == "command line"
