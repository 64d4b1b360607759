"""The state of a run in its directory."""

from __future__ import annotations

from pathlib import Path

from mimickit_hydra.runs.state import FAILED, QUEUED, RunState, read_state, update_state, write_state


def test_a_folder_in_its_place_is_kept_under_another_name(tmp_path: Path) -> None:
    folder = tmp_path / "state.json"
    folder.mkdir()
    (folder / "note.txt").write_text("somebody's")
    assert read_state(tmp_path) is None
    write_state(tmp_path, RunState(QUEUED, samples=7))
    update_state(tmp_path, state=FAILED, error="no card")
    found = read_state(tmp_path)
    assert found is not None
    assert (found.state, found.error, found.samples) == (FAILED, "no card", 7)
    [kept] = tmp_path.glob("state.json.*/note.txt")
    assert kept.read_text() == "somebody's"


def test_what_is_no_state_counts_as_none(tmp_path: Path) -> None:
    for text in ("", "[]", '{"state": "asleep"}', "{", '{"state": 3}'):
        (tmp_path / "state.json").write_text(text)
        assert read_state(tmp_path) is None, text


def test_values_of_another_kind_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"state": "queued", "samples": "many", "starts": 2, "pid": 1e400}')
    assert read_state(tmp_path) == RunState(QUEUED, starts=2)
