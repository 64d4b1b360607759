"""Scripts of ``benchmarks/`` as modules."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest


@pytest.fixture
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file that the test module names as ``SCRIPT``, loaded anew, with its neighbours to import."""
    path = request.module.SCRIPT
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(f"{path.stem}_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
