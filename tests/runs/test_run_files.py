"""The files of a run: recorded with it, and found again or refused by whoever reads it later."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.directory import write_run_files
from mimickit_hydra.runs.files import FILES, files_of, parse_files, read_files, record_files, refuse_changed
from mimickit_hydra.runs.repeat import expand
from mimickit_hydra.runs.snapshot import freeze
from mimickit_hydra.training.sim2sim import runs_by_engine

WALK, RUN = (bundled_data() / "motions/humanoid" / name for name in ("humanoid_walk.npz", "humanoid_run.npz"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the run was started, with a clip."""
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    shutil.copy(WALK, "clip.npz")
    return tmp_path / "here"


def saved(folder: Path, *words: str) -> str:
    """A run directory as a run with these words leaves it."""
    folder.mkdir(exist_ok=True)
    cfg = compose([*words, f"out_dir={folder}"], with_hydra=True)
    run = to_run(cfg)
    write_run_files(folder, freeze(run, cfg.hydra.runtime.choices, list(words)).text, words, record_files(run))
    return str(folder)


def clip_of(words: list[str]) -> str:
    return next(str(file.found) for file in files_of(to_run(compose(words))) if file.key == "env.motion_file")


def _on_mujoco(run: str, words: list[str]) -> list[str]:
    """The clip that ``sim2sim`` takes, as a word."""
    found = runs_by_engine(run, ["mujoco"], words)["mujoco"]
    return [f"env.motion_file={found.env.motion_file}"]


READERS = {
    "repeated": lambda run, words: expand(words, run),
    "tested": lambda run, words: expand(["mode=test", f"model_file={run}", *words]),
    "on_another_engine": lambda run, words: _on_mujoco(run, words),
    "resumed": lambda run, words: expand([f"resume={run}", *words]),
}
reads = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@reads
def test_another_file_of_the_same_name_is_not_taken(here: Path, monkeypatch, capsys, read) -> None:
    run = saved(here / "run", "env.motion_file=clip.npz")
    monkeypatch.chdir(here.parent / "elsewhere")
    assert clip_of(read(run, [])) == str(here / "clip.npz")  # nothing of that name here
    shutil.copy(RUN, "clip.npz")
    assert clip_of(read(run, [])) == str(here / "clip.npz")
    assert capsys.readouterr().err == ""
    assert clip_of(read(run, ["env.motion_file=clip.npz"])) == str(Path("clip.npz").absolute())  # the user's choice


@reads
def test_the_same_content_elsewhere_is_used_with_a_note(here: Path, monkeypatch, capsys, read) -> None:
    run = saved(here / "run", "env.motion_file=clip.npz")
    monkeypatch.chdir(here.parent / "elsewhere")
    shutil.move(here / "clip.npz", "clip.npz")
    assert clip_of(read(run, [])) == str(Path("clip.npz").absolute())
    note = f"note: env.motion_file: {here / 'clip.npz'} is now {Path('clip.npz').absolute()}, with the same content\n"
    assert capsys.readouterr().err == note


@reads
def test_another_content_is_refused(here: Path, monkeypatch, read) -> None:
    run = saved(here / "run", "env.motion_file=clip.npz")
    shutil.copy(RUN, "clip.npz")
    with pytest.raises(UserError, match=r"clip.npz, which has changed; to use another one: env.motion_file=FILE$"):
        read(run, [])
    monkeypatch.chdir(here.parent / "elsewhere")
    (here / "clip.npz").unlink()
    shutil.copy(RUN, "clip.npz")
    with pytest.raises(UserError, match=r"which is gone and .*elsewhere/clip.npz has other content"):
        read(run, [])
    assert clip_of(read(run, ["motion=humanoid_run"])) == str(RUN)  # another clip by a word


def test_the_clips_of_a_list_count_too(here: Path, monkeypatch) -> None:
    Path("list.yaml").write_text("motions:\n- {file: clip.npz, weight: 1.0}\n")
    run = saved(here / "run", "env.motion_file=list.yaml")
    assert [record.key for record in read_files(run)][1:] == ["env.motion_file", "list.yaml"]
    expand([], run)
    shutil.copy(RUN, "clip.npz")
    with pytest.raises(UserError, match=r"list.yaml: the run has read .*clip.npz, which has changed"):
        expand([], run)
    expand(["env.motion_file=list.yaml"], run)
    with pytest.raises(UserError, match=r"clip.npz, which has changed"):
        refuse_changed(Path(run), to_run(compose(["env.motion_file=list.yaml"])))


def test_a_robot_counts_with_its_meshes_and_includes(here: Path) -> None:
    for name in ("part", "inner"):
        Path(f"{name}.stl").write_bytes(b"solid")
    Path("inner.xml").write_text('<mujoco><asset><mesh file="inner.stl"/></asset></mujoco>')
    Path("bot.xml").write_text('<mujoco><include file="inner.xml"/><asset><mesh file="part.stl"/></asset></mujoco>')
    run = saved(here / "run", "env.char_file=bot.xml")
    assert {record.name for record in read_files(run)} >= {"bot.xml", "part.stl", "inner.xml", "inner.stl"}
    Path("inner.stl").write_bytes(b"liquid")
    with pytest.raises(UserError, match=r"inner.xml: the run has read .*inner.stl, which has changed"):
        expand([], run)


def test_touched_but_equal_is_equal(here: Path, capsys) -> None:
    run = saved(here / "run", "env.motion_file=clip.npz")
    Path("clip.npz").touch()
    expand([], run)
    assert capsys.readouterr().err == ""


def test_a_sweep_over_clips(here: Path) -> None:
    run = saved(here / "run", "env.motion_file=clip.npz")
    shutil.copy(RUN, "clip.npz")
    expand(["env.motion_file=clip.npz,other.npz"], run, sweep=True)
    with pytest.raises(UserError, match=r"clip.npz, which has changed"):
        expand(["rand_seed=1,2"], run, sweep=True)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_a_damaged_record_is_one_line(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / FILES).write_text(json.dumps(content))
    if content in ([], {}, ""):
        assert read_files(folder) == []
        return
    with pytest.raises(UserError, match=rf"^[^\n]*{FILES}: not a record of files [^\n]*$"):
        read_files(folder)


def test_the_record_is_read_back(here: Path) -> None:
    run = to_run(compose(["env.motion_file=clip.npz"]))
    records = parse_files(record_files(run))
    assert all(record.is_at(Path(record.path)) for record in records)
    np.savez("clip.npz", a=np.zeros(3))
    assert [record.is_at(Path(record.path)) for record in records] == [True, False]
