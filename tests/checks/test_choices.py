"""What another choice would change: the keys, or the line that refuses it; and which choices go together."""

from __future__ import annotations

from mimickit_hydra.checks.choices import ABSENT, alternatives, pairs


def test_a_choice_says_what_it_changes() -> None:
    found = {one.option: one for one in alternatives("engine", ["motion=humanoid_run"])}
    assert found["mujoco"].changes == ()
    changes = {key: (now, then) for key, now, then in found["newton"].changes}
    assert changes["num_envs"] == (256, 4096)
    assert changes["engine.num_threads"] == (0, ABSENT)
    assert "motion.motion_file" not in changes
    assert found["newton"].help
    assert not found["newton"].problem


def test_what_does_not_fit_says_why() -> None:
    env = {one.option: one.problem for one in alternatives("env", ["method=amp"])}
    assert env["deepmimic"].startswith("env=deepmimic: the agent AMP cannot drive it")
    assert not env["steering"]
    compute = {one.option: one for one in alternatives("engine", ["engine.num_threads=1"])}
    assert compute["newton"].problem.startswith("engine.num_threads: unknown key")
    assert compute["newton"].changes == ()


def test_the_chosen_word_gives_way() -> None:
    found = {one.option: one for one in alternatives("compute", ["compute=gpu"])}
    assert found["gpu"].changes == ()
    assert ("num_envs", 4096, 256) in found["cpu"].changes


def test_pairs() -> None:
    methods, characters = pairs()
    assert {option: own for option, _, own in methods.rows}["amp"] == "amp"
    rows = {option: names for option, names, _ in characters.rows}
    assert "g1_humanoid_walk" in rows["g1_mjlab"]
    assert "humanoid_walk" not in rows["g1_mjlab"]
