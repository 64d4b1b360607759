"""Engines by name: what is missing is said in one line, and no simulator is imported to find out."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from mimickit_hydra.engines import catalog, registry
from mimickit_hydra.engines.interface import EngineError, SceneSpec


def make(name):
    return registry.make_engine(SimpleNamespace(engine_name=name), SceneSpec(()), 1, "cpu")


@pytest.mark.parametrize(
    ("name", "package", "how"),
    [
        ("newton", "newton", 'pip install "mimickit-hydra[newton]"'),
        ("isaac_lab", "isaaclab", "isaac-sim.github.io"),
        ("isaac_gym", "isaacgym", "developer.nvidia.com"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, name, package, how):
    monkeypatch.setattr(registry, "_importable", lambda module: module.startswith("mimickit_hydra"))
    monkeypatch.setattr(
        registry, "_entry", lambda name: replace(catalog.ENGINES[name], module="mimickit_hydra.engines.mujoco_engine")
    )
    assert package in registry.engine_requirements(name)
    with pytest.raises(EngineError) as error:
        make(name)
    assert f"engine={name} needs" in str(error.value)
    assert package in str(error.value)
    assert how in str(error.value)
    assert "\n" not in str(error.value)


def test_an_installed_simulator_without_engine(monkeypatch):
    known = ("newton", "warp", "mujoco_warp", "mujoco", "mimickit_hydra.engines.mujoco_engine")
    monkeypatch.setattr(registry, "_importable", lambda module: module in known)
    assert registry.engine_requirements("newton") == []
    with pytest.raises(EngineError, match=r"engine=newton: this version .* cannot drive it yet; engines: mujoco$"):
        make("newton")


def test_unknown_names_get_the_nearest():
    with pytest.raises(EngineError, match=r"'mujocco' is unknown; engines: mujoco, .*did you mean mujoco\?"):
        make("mujocco")
    with pytest.raises(EngineError, match="is unknown"):
        registry.engine_requirements("bullet")


def test_mujoco_needs_nothing_more():
    assert registry.engine_requirements("mujoco") == []
    assert registry.engine_problem("mujoco") == ""
    assert registry.engine_names() == ["mujoco", "newton", "isaac_lab", "isaac_gym"]


def test_asking_imports_no_simulator():
    code = (
        "import sys; from mimickit_hydra.engines import registry; "
        "[registry.engine_problem(n) for n in registry.engine_names()]; "
        "print([m for m in ('mujoco', 'newton', 'warp', 'isaaclab', 'isaacgym') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
