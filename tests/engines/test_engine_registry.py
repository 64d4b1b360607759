"""Engines by name: what is missing is said in one line, and no simulator is imported to find out."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from mimickit_hydra.engines import catalog, registry
from mimickit_hydra.engines.interface import EngineError, SceneSpec
from mimickit_hydra.errors import UserError
from mimickit_hydra.plugins import ENGINES


def make(name):
    return registry.make_engine(SimpleNamespace(engine_name=name), SceneSpec(()), 1, "cpu")


@pytest.mark.parametrize(
    ("name", "package", "how"),
    [
        ("newton", "newton", 'pip install "mimickit-hydra[newton]"'),
        ("mjwarp", "mujoco_warp", 'pip install "mimickit-hydra[mjwarp]"'),
        ("isaac_lab", "isaaclab", "isaac-sim.github.io"),
        ("isaac_gym", "isaacgym", "developer.nvidia.com"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, name, package, how):
    monkeypatch.setattr(catalog, "importable", lambda module: False)
    assert package in registry.engine_requirements(name)
    with pytest.raises(EngineError) as error:
        make(name)
    assert f"engine={name} needs" in str(error.value)
    assert package in str(error.value)
    assert how in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_names_get_the_nearest():
    line = r"engine.engine_name: found 'mujocco', must be one of mujoco, .*; nearest: mujoco$"
    with pytest.raises(UserError, match=line):
        make("mujocco")
    with pytest.raises(UserError, match="found 'bullet', must be one of"):
        registry.engine_requirements("bullet")


def test_mujoco_needs_nothing_more():
    assert registry.engine_requirements("mujoco") == []
    assert registry.engine_problem("mujoco") == ""
    assert list(ENGINES) == ["mujoco", "newton", "mjwarp", "isaac_lab", "isaac_gym"]


def test_asking_imports_no_simulator():
    code = (
        "import sys; from mimickit_hydra.engines import registry; "
        "[registry.engine_problem(n) for n in registry.ENGINES]; "
        "print([m for m in ('mujoco', 'newton', 'warp', 'isaaclab', 'isaacgym') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
