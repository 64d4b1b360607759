"""The files that a config names, and the preset it is nearest to."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimickit_hydra.checks.reading import named_files
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.presets import compare_with_preset, nearest_preset

BODY = """<mujoco><compiler meshdir="meshes"/><asset><mesh name="a" file="a.stl"/><mesh name="b" file="b.stl"/></asset>
<worldbody><body name="pelvis"/></worldbody></mujoco>"""


def test_every_clip_of_a_dataset_and_every_mesh(tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "a.stl").touch()
    (tmp_path / "one.npz").touch()
    (tmp_path / "body.xml").write_text(BODY)
    (tmp_path / "set.yaml").write_text(
        f"motions:\n  - {{file: {tmp_path}/one.pkl, weight: 1}}\n  - {{file: {tmp_path}/two.pkl, weight: 1}}\n"
    )
    overrides = [f"env.char_file={tmp_path}/body.xml", f"env.motion_file={tmp_path}/set.yaml"]
    overrides += [f"model_file={tmp_path}/none.pt", f"data_root=[{tmp_path}]"]
    files = named_files(to_run(compose(overrides)))
    assert [(file.key, Path(file.path).name, file.found is not None) for file in files] == [
        ("env.char_file", "body.xml", True),
        ("body.xml", "a.stl", True),
        ("body.xml", "b.stl", False),
        ("env.motion_file", "set.yaml", True),
        ("set.yaml", "one.pkl", True),
        ("set.yaml", "two.pkl", False),
        ("model_file", "none.pt", False),
        ("data_root[0]", tmp_path.name, True),
    ]


@pytest.mark.parametrize(
    ("overrides", "key", "hint"),
    [
        (["character=g1"], "env.char_file", "mimickit assets fetch g1"),
        (["character=pi_plus"], "env.char_file", "MimicKit's README"),
        (["character=go2"], "env.motion_file", "mimickit assets fetch go2"),
        (["method=smp"], "agent.smp_prior_model", "mimickit prior train DIR motion=humanoid_walk"),
    ],
)
def test_where_to_get_what_is_missing(
    overrides: list[str], key: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MIMICKIT_DATA", raising=False)
    (file,) = [file for file in named_files(to_run(compose(overrides))) if file.key == key]
    assert file.found is None
    assert hint in file.hint


@pytest.mark.parametrize(
    ("choices", "name"),
    [
        ({"method": "amp", "character": "g1"}, "amp_g1"),
        ({"method": "amp", "character": "humanoid", "env": "steering"}, "amp_steering_humanoid"),
        ({"method": "amp", "character": "humanoid", "env": "amp"}, "amp_humanoid"),
        (
            {"method": "deepmimic", "character": "humanoid", "motion": "humanoid_walk"},
            "deepmimic_humanoid_walk",
        ),
        ({"method": "ase", "character": "go2"}, None),
    ],
)
def test_the_nearest_preset(choices: dict[str, str], name: str | None) -> None:
    assert nearest_preset(choices) == name


def test_the_machine_is_no_difference() -> None:
    overrides = ["experiment=amp_g1", "engine=newton", "agent.discount=0.5"]
    choices = {"method": "amp", "character": "g1", "engine": "newton", "compute": "gpu"}
    found = compare_with_preset(overrides, to_run(compose(overrides)), choices)
    assert found is not None
    assert (found.name, found.named) == ("amp_g1", True)
    assert [(one.key, one.right) for one in found.differences] == [("agent.discount", 0.5)]
