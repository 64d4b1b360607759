"""How tests host the fake engine of ``fakes/``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mimickit_hydra.engines import catalog
from mimickit_hydra.engines.interface import ObjectSpec, SceneSpec
from mimickit_hydra.engines.registry import make_engine
from mimickit_hydra.plugins import ENGINES, Entry, load_plugins

load_plugins()

ENTRY = catalog.Entry("fake_engine:FakeEngine", ("fake_engine",), "it comes with the tests")
FAKES = Path(__file__).parent / "fakes"
SCENE = SceneSpec((ObjectSpec("one", "/one.xml"), ObjectSpec("two", "/two.xml")))


def add_fake_engine(entry: catalog.Entry = ENTRY) -> None:
    """Let this process know ``engine_name=fake``, and find it here and in the workers it starts."""
    facts = {key: value for key, value in vars(entry).items() if key != "place"}
    ENGINES._entries["fake"] = Entry("engine", "fake", entry.place, plugin="tests", facts=facts)
    os.environ[catalog.variable("fake", "PYTHONPATH")] = str(FAKES)
    if str(FAKES) not in sys.path:
        sys.path.insert(0, str(FAKES))


def make(trouble: str = "", device: str = "cpu", num_envs: int = 4, **keys: Any) -> Any:
    config = {"engine_name": "fake", "trouble": trouble, "python": sys.executable, "worker_timeout": 60.0} | keys
    return make_engine(SimpleNamespace(**config), SCENE, num_envs, device)


def remove_fake_engine() -> None:
    ENGINES._entries.pop("fake", None)
    os.environ.pop(catalog.variable("fake", "PYTHONPATH"), None)
    sys.path[:] = [folder for folder in sys.path if folder != str(FAKES)]
