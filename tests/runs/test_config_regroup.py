"""A saved run under other groups: the new words decide what follows from them, the rest of the run stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mimickit_hydra.config.compose import compose, drop_hydra, flatten, resolved_yaml, to_run
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.runs.repeat import expand
from mimickit_hydra.runs.saved import choices_header


def save(folder: Path, *overrides: str) -> str:
    """A run directory as a run with these overrides would leave it."""
    folder.mkdir(exist_ok=True)
    cfg = compose(overrides, with_hydra=True)
    header = choices_header(cfg.hydra.runtime.choices)
    drop_hydra(cfg)
    (folder / "config.yaml").write_text(header + resolved_yaml(cfg))
    return str(folder)


def from_run(run_dir: str, *words: str) -> RunConfig:
    return to_run(compose(expand(list(words), run_dir)))


def values(overrides: list[str]) -> dict[str, Any]:
    found = flatten(compose(overrides), resolve=True)
    del found["out_dir"]
    return found


# (the saved run, the words on top, a fresh run that is the same)
SAME = [
    (["method=amp"], ["method=deepmimic"], ["method=deepmimic"]),
    (["method=deepmimic"], ["method=amp"], ["method=amp"]),
    (["method=amp", "num_envs=8"], ["method=ase"], ["method=ase", "num_envs=8"]),
    ([], ["engine=newton"], ["engine=newton"]),
    (["engine=newton"], ["engine=mujoco"], []),
    (["engine=newton", "devices=[cuda:1]", "num_envs=64"], ["engine=mujoco"], ["num_envs=64"]),
    ([], ["experiment=amp_humanoid"], ["experiment=amp_humanoid"]),
    (["method=amp", "env=location"], ["experiment=amp_humanoid"], ["experiment=amp_humanoid"]),
    (["max_minutes=3", "rand_seed=5"], ["experiment=walk_30min"], ["experiment=walk_30min", "rand_seed=5"]),
    ([], ["experiment=amp_humanoid", "method=add"], ["experiment=amp_humanoid", "method=add"]),
    (["character=g1"], ["character=go2"], ["character=go2"]),
    (["method=amp", "env=location"], ["method=ase"], ["method=ase", "env=location"]),
    (["method=amp"], ["env=location"], ["method=amp", "env=location"]),
    (["motion.motion_file=my.npz"], ["motion=humanoid_run"], ["motion=humanoid_run"]),
    (["env.motion_file=my.npz"], ["motion=humanoid_run"], ["motion=humanoid_run"]),
    (["compute=gpu", "devices=[cpu]"], ["method=amp"], ["method=amp", "compute=gpu", "devices=[cpu]"]),
    (["agent.discount=0.5"], ["method=amp"], ["method=amp", "agent.discount=0.5"]),
    (["engine=newton", "engine.njmax=5", "engine.sim_freq=120"], ["engine=mujoco"], ["engine.sim_freq=120"]),
    (["method=amp", "agent.disc_reward_scale=3"], ["method=deepmimic"], []),
    (["core=mimickit", "core.root=/x", "core.env.key=3"], ["core=native"], []),
    (["agent.actor_epochs=3"], ["debug=tiny"], ["debug=tiny"]),
    (["method=amp", "agent.discount=0.5"], ["rand_seed=4"], ["method=amp", "agent.discount=0.5", "rand_seed=4"]),
]  # fmt: skip


@pytest.mark.parametrize(("saved", "words", "fresh"), SAME)
def test_a_word_on_top_of_a_run_does_what_it_does_alone(
    tmp_path: Path, saved: list[str], words: list[str], fresh: list[str]
) -> None:
    assert values(expand(words, save(tmp_path / "run", *saved))) == values(fresh)


def test_values_without_a_place_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = save(tmp_path / "run", "method=amp", "agent.disc_reward_scale=3", "agent.discount=0.5")
    run = from_run(run_dir, "method=deepmimic")
    assert (run.method.name, run.env.env_name, run.agent.agent_name) == ("deepmimic", "deepmimic", "PPO")
    assert run.agent.discount == 0.5
    note = f"note: values of {run_dir} that have no place here: agent.disc_reward_scale=3.0\n"
    assert capsys.readouterr().err == note


def test_a_device_that_is_the_same_again_is_not_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = save(tmp_path / "run", "engine=newton", "devices=[cpu]")
    assert policy_of(run_dir, "engine=mujoco").devices == ["cpu"]
    assert capsys.readouterr().err == ""


def test_several_options_of_a_sweep(tmp_path: Path) -> None:
    run_dir = save(tmp_path / "run", "agent.discount=0.5", "agent.actor_epochs=3")
    words = expand(["method=deepmimic,lcp"], run_dir)
    assert [text for text in words if text.startswith(("env=", "agent="))] == []
    assert {"agent.discount=0.5", "agent.actor_epochs=3"} <= set(words)
    run_dir = save(tmp_path / "other", "method=amp", "agent.disc_reward_scale=3")
    with pytest.raises(UserError, match=r"agent.disc_reward_scale=3.0: set in .*, but not every one of method=amp,awr"):
        expand(["method=amp,awr"], run_dir)


@pytest.mark.parametrize(
    "word", ["engine=newton", "method=deepmimic", "env=location", "agent=ppo", "++character=g1", "experiment=add_g1"]
)
def test_a_resumed_run_stays_what_it_is(tmp_path: Path, word: str) -> None:
    run_dir = save(tmp_path / "run", "method=amp")
    with pytest.raises(UserError, match=r"differs from the run's \w+=\w+, which cannot change") as caught:
        expand([f"resume={run_dir}", word])
    assert "\n" not in str(caught.value)


def test_a_resumed_run_takes_the_words_it_was_started_with(tmp_path: Path) -> None:
    run_dir = save(tmp_path / "run", "experiment=amp_humanoid", "num_envs=8")
    run = to_run(compose(expand([f"resume={run_dir}", "experiment=amp_humanoid", "method=amp", "max_samples=9"])))
    assert (run.num_envs, run.max_samples, run.motion.name) == (8, 9, "humanoid_spinkick")


# --------------------------------------------------------------------------------------- a policy on another engine


def policy_of(run_dir: str, *words: str) -> RunConfig:
    return to_run(compose(expand(["mode=test", f"model_file={run_dir}", *words])))


def test_a_newton_run_is_tested_on_mujoco(tmp_path: Path) -> None:
    run_dir = save(tmp_path / "run", "engine=newton", "engine.njmax=9", "agent.model.actor_init_output_scale=0.02")
    trained, run = from_run(run_dir), policy_of(run_dir, "engine=mujoco")
    assert (run.engine.engine_name, run.devices, run.num_envs) == ("mujoco", ["cpu"], 256)
    assert run.agent == trained.agent
    assert run.agent.model.actor_net == "fc_2layers_1024units"
    assert policy_of(run_dir, "engine=isaac_gym").engine.sim_freq == 240  # its own is 120
    assert policy_of(run_dir, "engine=isaac_gym", "engine.sim_freq=60").engine.sim_freq == 60
    assert policy_of(run_dir, "engine=mujoco", "num_envs=3").num_envs == 3
    assert policy_of(run_dir, "engine=mujoco", "debug=smoke").num_envs == 1
    assert policy_of(run_dir, "engine=mujoco", "devices=['cuda:0']").devices == ["cuda:0"]
    assert policy_of(run_dir).devices == ["cuda:0"]


def test_a_mujoco_run_is_tested_on_newton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = save(tmp_path / "run")
    for gpus, devices in ((0, ["cpu"]), (1, ["cuda:0"]), (None, ["cuda:0"])):
        monkeypatch.setattr("mimickit_hydra.gpus.gpu_count", lambda gpus=gpus: gpus)
        run = policy_of(run_dir, "engine=newton")
        assert (run.engine.engine_name, run.devices) == ("newton", devices)
        assert run.agent == from_run(run_dir).agent
        assert run.agent.model.actor_net == "fc_2layers_256units"


def test_a_policy_in_a_sweep_of_engines_is_tested_where_all_can_run(tmp_path: Path) -> None:
    run_dir = save(tmp_path / "run", "engine=newton")
    words = expand(["mode=test", f"model_file={run_dir}", "engine=mujoco,newton"])
    assert {"devices=[cpu]", "num_envs=256", "compute=gpu"} <= set(words)


def test_without_the_header_the_networks_stay_too(tmp_path: Path) -> None:
    run_dir = save(tmp_path / "run", "engine=newton")
    path = Path(run_dir, "config.yaml")
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("#")))
    run = policy_of(run_dir, "engine=mujoco")
    assert (run.devices, run.agent.model.actor_net) == (["cpu"], "fc_2layers_1024units")
