"""What packages of others bring, and the one line that is said of each mistake in them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mimickit_hydra.motion.human  # noqa: F401 - what it loads, numpy and torch, cannot be loaded twice
from mimickit_hydra import plugins
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.importers import import_clip
from mimickit_hydra.plugins import AGENTS, ENGINES, IMPORTERS, REWARDS, Registry, conf_roots, installed
from mimickit_hydra.runs.plugins import refuse_gone

Package = Callable[..., Path]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Makes a package with an entry point, as if it had been installed."""
    registries = [item for item in vars(plugins).values() if isinstance(item, Registry)]
    plugins.load_plugins()
    before = [dict(registry._entries) for registry in registries]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def make(name: str, body: str, point: str = "", value: str = "") -> Path:
        (tmp_path / f"{name}.py").write_text(body)
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{point or name} = {value or f'{name}:register'}\n")
        plugins.installed.cache_clear()
        plugins.load_plugins.cache_clear()
        return tmp_path

    yield make
    monkeypatch.undo()
    plugins.installed.cache_clear()
    plugins.load_plugins.cache_clear()
    for registry, entries in zip(registries, before, strict=True):
        registry._entries = entries


def line_of(action: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        action()
    line = str(error.value)
    assert "\n" not in line
    return line


def test_what_it_brings_is_there(package: Package) -> None:
    folder = package(
        "good",
        "def register(plugin):\n"
        "    plugin.reward('mine', 'good:mine')\n"
        "    plugin.agent('A', 'good:A', schema='mimickit_hydra.agents.schema:PPOAgentConfig', drives=('rewarded',))\n"
        f"    plugin.conf({str(Path(__file__).parent)!r})\n"
        f"    plugin.data({str(Path(__file__).parent)!r})\n"
        "    plugin.importer('words', 'good:read', suffixes=('.txt',), title='words')\n"
        "def mine(view):\n    return 3.0\n"
        "def read(path):\n    return path.name\n",
    )
    assert installed() == (("good", "good:register", "1.2"),)
    assert REWARDS["mine"].load()(None) == 3.0
    assert REWARDS["mine"].plugin == "good"
    assert AGENTS["A"].facts["drives"] == ("rewarded",)
    assert ("good", Path(__file__).parent) in conf_roots()
    assert resolve_data_file(f"data/{Path(__file__).name}") == Path(__file__)
    assert import_clip(folder / "a.txt", "words") == "a.txt"  # type: ignore[comparison-overlap]
    assert line_of(lambda: import_clip("a.txt")) == (
        "a.txt: deepmimic, words read .txt; import it with --format and one of them"
    )
    assert line_of(lambda: import_clip("a.txt", "word")) == (
        f"--format: found 'word', must be one of {', '.join(IMPORTERS)}; nearest: words"
    )


def test_one_that_cannot_be_imported(package: Package) -> None:
    package("bad", "import no_such_package\n")
    assert line_of(plugins.load_plugins) == (
        "plugin bad (bad:register) cannot be loaded: ModuleNotFoundError: No module named 'no_such_package'"
    )


def test_one_that_fails(package: Package) -> None:
    package("bad", "def register(plugin):\n    plugin.engine('x')\n")
    assert line_of(plugins.load_plugins).startswith("plugin bad (bad:register) cannot be loaded: TypeError: ")


def test_an_entry_point_that_is_not_there(package: Package) -> None:
    package("bad", "")
    assert line_of(plugins.load_plugins) == (
        "plugin bad (bad:register): its entry point: nothing at bad:register (module 'bad' has no attribute 'register')"
    )


def test_two_of_one_name(package: Package) -> None:
    package("one", "def register(plugin): pass\n", point="same")
    package("two", "def register(plugin): pass\n", point="same")
    assert line_of(installed) in (
        "plugin same: brought by one:register and by two:register; remove one",
        "plugin same: brought by two:register and by one:register; remove one",
    )


def test_a_name_that_is_taken(package: Package) -> None:
    package("taker", "def register(plugin):\n    plugin.engine('mujoco', 'taker:X', schema='taker:Y', packages=())\n")
    assert line_of(plugins.load_plugins) == (
        "plugin taker (taker:register): engine mujoco: brought by mimickit_hydra and by taker; remove one"
    )


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("nowhere:X", "No module named 'nowhere'"),
        ("odd:X", "module 'odd' has no attribute 'X'"),
        ("odd", "module 'odd' has no attribute ''"),
    ],
)
def test_a_wrong_place(package: Package, place: str, reason: str) -> None:
    package("odd", f"def register(plugin):\n    plugin.engine('e', {place!r}, schema='odd:register', packages=())\n")
    assert line_of(lambda: ENGINES["e"].load()) == f"engine e of odd: nothing at {place} ({reason})"
    assert line_of(lambda: ENGINES["e"].load_schema()) == ("schema of engine e of odd: odd:register is no dataclass")


def test_a_run_says_which_plugin_is_gone(package: Package, tmp_path: Path) -> None:
    text = "# groups: engine=mujoco\n# plugins: here 1.2, gone 0.3\nmode: train\n"
    package("here", "def register(plugin): pass\n")
    run = tmp_path / "run"
    assert line_of(lambda: refuse_gone(text, run / "config.yaml")) == (
        f"plugin gone 0.3, which {run} was made with, is not installed"
    )
    refuse_gone(text.replace(", gone 0.3", ""), run / "config.yaml")
    refuse_gone("mode: train\n# plugins: gone 0.3\n", run)  # below the comments nothing is meant by it
