"""Lines about settings that are allowed but were seen to disappoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.fields import check_fields
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.clip import load_clip, save_clip
from mimickit_hydra.training.advice import advice


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


MOTORS = str(Path(__file__).parents[1] / "engines" / "data" / "mjcf" / "motor_gear.xml")


def test_a_robot_without_gains_is_told_and_offered_some() -> None:
    words = [f"character.char_file={MOTORS}"]
    (line,) = advice(to_run(compose(words)))
    assert "4 of 4 joints have no gains" in line
    assert "character.gains=from_armature, from_inertia or a number" in line
    assert advice(to_run(compose([*words, "character.gains=from_inertia"]))) == []
    for wrong in ("character.gains=from_nothing", "character.gains=-1", "character.gains=true"):
        with pytest.raises(
            UserError, match=r"character\.gains: found .*, must be from_armature, from_inertia, a number"
        ):
            check_fields(to_run(compose([*words, wrong])))


def test_serious_defects_of_clips_are_one_line(tmp_path: Path) -> None:
    clip = load_clip(bundled_data() / "motions/humanoid/humanoid_walk.npz")
    save_clip(tmp_path / "good.npz", clip)
    clip.frames[:, 2] -= 0.4
    save_clip(tmp_path / "sunk.npz", clip)
    (tmp_path / "set.yaml").write_text("motions: [{file: good.npz, weight: 1}, {file: sunk.npz, weight: 1}]")
    assert advice(to_run(compose([f"env.motion_file={tmp_path}/good.npz"]))) == []
    (line,) = advice(to_run(compose([f"env.motion_file={tmp_path}/sunk.npz"])))
    assert "sunk.npz: ground: lowest right_foot at -0.40" in line
    assert "mimickit motion check" in line
    (line,) = advice(to_run(compose([f"env.motion_file={tmp_path}/set.yaml"])))
    assert "set.yaml: 1 of its 2 clips have serious defects, the first is" in line
    assert advice(to_run(compose([f"env.motion_file={tmp_path}/set.yaml", "mode=test"]))) == []
