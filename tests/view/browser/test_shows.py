"""What the viewer shows: clips, policies, and runs, without a browser."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mimickit_hydra import api
from mimickit_hydra.cli import view
from mimickit_hydra.cli.main import make_parser
from mimickit_hydra.errors import UserError
from mimickit_hydra.motion.clip import load_clip
from mimickit_hydra.training.build import Parts
from mimickit_hydra.view.browser.frame import CHARACTER, REFERENCE
from mimickit_hydra.view.browser.policy import PolicyShow, Weights
from mimickit_hydra.view.browser.show import Show
from mimickit_hydra.view.browser.watch import RunShow, Watch


def shown(*words: str) -> Show:
    return view.make_show(make_parser().parse_args(["view", *words]))


def test_a_clip_is_shown_by_its_name_and_goes_where_the_slider_is() -> None:
    show = shown("walk")
    first = show.frame()
    assert (show.title, first.time, show.length) == ("humanoid_walk", 0.0, pytest.approx(1.2667, abs=1e-3))
    show.seek(0.5)
    assert show.frame().time == 0.5
    assert np.linalg.norm(show.frame().poses[CHARACTER][0] - first.poses[CHARACTER][0], axis=1).max() > 0.3
    show.step()
    assert show.frame().time == pytest.approx(0.5 + show.dt)
    show.advance(show.length)
    assert show.frame().time < show.length


def test_a_set_has_a_chooser_of_its_clips(tmp_path: Path) -> None:
    show = shown("humanoid_fifteen")
    assert len(show.clips) == 15
    number = next(number for number, name in enumerate(show.clips) if "spinkick" in name)
    show.restart(number, 0.2)
    assert (show.clip, show.frame().time) == (number, 0.2)
    assert "spinkick" in show.title


def test_a_character_stands_on_the_ground_at_rest() -> None:
    show = shown("humanoid")
    assert show.title == "humanoid"
    assert show.frame().poses[CHARACTER][0].shape == (15, 3)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["wlak"], "view wlak: no such file, clip or character"),
        (["walk", "engine=newton"], "view walk: found engine=newton; only a policy takes overrides"),
        (["nothing.npz"], "nothing.npz"),
        (["nothing.pt"], "nothing.pt"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(words: list[str], line: str) -> None:
    with pytest.raises(UserError) as refused:
        shown(*words)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_demo_of_an_unknown_policy_is_refused_in_one_line() -> None:
    args = make_parser().parse_args(["demo", "humanoid_wlak"])
    with pytest.raises(UserError, match=r"^model: found 'humanoid_wlak', must be .*nearest: humanoid_walk"):
        args.run(args)


def test_a_policy_is_shown_by_its_name_and_walks() -> None:
    show = shown("model=humanoid_walk")
    show.advance(0.1)
    for _ in range(100):
        show.step()
    assert show.frame().poses[CHARACTER][0][0, 2] > 0.7
    assert show.title == "deepmimic · humanoid · humanoid_walk"
    show.close()


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    words = ["engine=mujoco", "devices=[cpu]", "num_envs=2", "mode=test", "motion=humanoid_walk", "rand_seed=1"]
    with api.build(api.compose(words)) as built:
        yield built


def test_a_policy_is_pushed_and_starts_again(parts: Parts) -> None:
    show = PolicyShow(parts.env, parts.agent, parts.scene, "test")
    show.falls = False
    show.restart(0, 0.5)
    assert show.frame().time == pytest.approx(0.5)
    places = []
    for strength in (0.0, 1.0):
        show.restart(0, 0.0)
        show.push(np.array([0.0, strength * 450.0, 0.0]))
        show.advance(0.3)
        places.append(show.frame().poses[CHARACTER][0][0].copy())
    assert places[1][1] - places[0][1] > 0.1
    frame = show.frame()
    assert REFERENCE in frame.poses
    assert {"reward", "pose", "root_pos_err"} <= set(frame.bars())
    assert frame.curves["torque (N m)"].shape == frame.curves["action (rad)"].shape == (28,)


def test_the_mouse_pulls_a_body_to_where_it_is(parts: Parts) -> None:
    show = PolicyShow(parts.env, parts.agent, parts.scene, "test")
    show.falls = False
    head = parts.character.body_names.index("head")
    goal = show.frame().poses[CHARACTER][0][head] + np.array([0.0, 1.0, 0.0])
    for _ in range(20):
        show.grab("head", goal)
        show.step()
    assert np.linalg.norm(show.frame().poses[CHARACTER][0][head] - goal) < 0.8
    assert show.frame().arrows["push"].shape == (2, 3)
    show.grab("head", None)
    show.step()
    assert "push" not in show.frame().arrows


def test_the_newest_checkpoint_is_taken_once_there_is_another(parts: Parts) -> None:
    there, loaded = ["a"], []
    show = PolicyShow(
        parts.env, parts.agent, parts.scene, "t", Weights(lambda: there, loaded.append, lambda: there[-1])
    )
    show.choose("newest")
    show.tidy()
    assert loaded == ["newest"]
    there.append("b")
    show.tidy()
    show.tidy()
    assert loaded == ["newest", "newest"]


@pytest.mark.parametrize("task", ["location", "steering"])
def test_a_task_goes_where_somebody_points(task: str) -> None:
    words = ["engine=mujoco", "devices=[cpu]", "num_envs=1", "method=amp", f"env={task}", "mode=test"]
    with api.build(api.compose(words)) as built:
        show = PolicyShow(built.env, built.agent, built.scene, "t")
        goal = show.goal()
        assert goal is not None
        goal.steer(built.env.engine.states[0].root_pos[:, :2] + torch.tensor([[0.0, 3.0]]))
        show.step()
        frame = show.frame()
        if task == "location":
            assert frame.points["target"][1] > 2.0
        else:
            assert frame.arrows["goal"][1, 1] > frame.arrows["goal"][0, 1] + 0.5


def test_a_run_is_copied_only_while_somebody_looks(parts: Parts) -> None:
    env, agent = parts.env, parts.agent
    show = RunShow(env, parts.scene, lambda: "run")
    env.set_mode(False)
    env.on_step = show.look
    try:
        agent.train_iteration()
        assert (show.copied, show.frame()) == (0, None)
        show.advance(0.0)
        times = []
        for _ in range(3):
            agent.train_iteration()
            while len(show.waiting):
                show.advance(show.dt)
                times.append(show.frame().time)
        assert {"reward", "pose"} <= set(show.frame().bars())
        assert REFERENCE in show.frame().poses
        steps = np.round(np.diff(times) / show.dt)
        assert (steps[steps > 0] == 1).mean() > 0.8  # one after the other, but where an episode begins
        show.rest()
        before = show.copied
        agent.train_iteration()
        assert show.copied == before
    finally:
        env.on_step = None


def test_a_clip_is_edited_beside_what_it_was_and_saved(tmp_path: Path) -> None:
    show = shown("walk")
    before = show.motion
    show.edit("mirror")
    assert {CHARACTER, REFERENCE} == set(show.frame().poses)
    show.edit("mirror")
    assert np.allclose(show.motion.frames, before.frames, atol=1e-5)
    show.edit("cut", 0.2, 0.7)
    assert show.length == pytest.approx(0.5, abs=0.02)
    show.edit("resample", 60.0)
    assert show.motion.fps == 60.0
    line = show.save(str(tmp_path / "part.npz"))
    assert line.startswith(f"{tmp_path / 'part.npz'}: ")
    again = load_clip(tmp_path / "part.npz")
    assert (again.name, again.num_frames) == ("part", show.motion.num_frames)
    with pytest.raises(UserError, match="must be a number above 0"):
        show.edit("resample", 0.0)
    assert show.motion.fps == 60.0


def test_what_a_check_finds_is_drawn_where_it_is() -> None:
    show = shown("walk")
    assert "c23b3b" not in show.timeline()
    frames = show.motion.frames.copy()
    frames[10:, 0] += 0.5
    show.put(dataclasses.replace(show.motion, frames=frames))
    marks = re.findall(r'<rect x="([\d.]+)"[^>]*c23b3b', show.timeline())
    assert 9 in [round(float(x) / 100 * len(frames)) for x in marks]


def test_two_clips_stand_beside_each_other() -> None:
    show = shown("humanoid_fifteen")
    show.compare(show._clip_of(show.clips[3]))
    show.seek(0.3)
    poses = show.frame().poses
    assert np.abs(poses[CHARACTER][0] - poses[REFERENCE][0]).max() > 0.1


def test_a_test_waits_for_whoever_looks(parts: Parts) -> None:
    env = parts.env
    show = RunShow(env, parts.scene, lambda: "test", paced=True)
    env.set_mode(True)
    env.reset()
    env.on_step = show.look
    action, made = torch.zeros_like(env.command), []

    def run() -> None:
        for _ in range(200):
            env.step(action)
            made.append(env.on_step)

    try:
        show.advance(0.0)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(timeout=2.0)
        assert thread.is_alive()
        assert len(made) < 200
        show.rest()  # nobody looks any more
        thread.join(timeout=30.0)
        assert len(made) == 200
    finally:
        env.on_step = None


def test_a_viewer_ends_with_its_run(parts: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(threading.enumerate())
    with Watch(parts.env, parts.scene, lambda: "run", port=18400) as watch:
        assert parts.env.on_step is not None
        assert capsys.readouterr().out.startswith(f"viewer      {watch.server.url} ")
        parts.env.step(torch.zeros_like(parts.env.command))
    assert parts.env.on_step is None
    assert watch.show.copied == 0  # nobody looked
    assert set(threading.enumerate()) <= before
