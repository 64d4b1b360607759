"""Files in MimicKit's two older forms become override lines with the same values, and what has none is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from mimickit_rows import ROWS

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.errors import UserError
from mimickit_hydra.mimickit.convert import Conversion, convert

MIMICKIT: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "mimickit_configs.json").read_text())
PHYSX = {"num_position_iterations": 4, "contact_offset": 0.02}
PLANE = {"static_friction": 1.0, "dynamic_friction": 1.0, "restitution": 0.0}


def autumn(name: str) -> dict[str, Any]:
    """The env file of a shipped argument file, in the form of autumn 2025."""
    entry = MIMICKIT[name]
    env, engine = dict(entry["env"]), {**entry["engine"], **entry["env"].get("engine", {})}
    env.pop("engine", None)
    height = engine.pop("ground_contact_height", 0.3)
    engine.update(sim_freq=engine["sim_freq"] // 2, plane=PLANE, sim={"substeps": 2, "physx": PHYSX})
    return {"env_name": env.pop("env_name"), "env": {**env, "termination_height": height}, "engine": engine}


def winter(name: str, **more: Any) -> dict[str, Any]:
    """The agent file of a shipped argument file, with one optimiser for all networks."""
    agent = {
        key: value
        for key, value in MIMICKIT[name]["agent"].items()
        if not key.endswith(("_optimizer", "_epochs", "_batch_size"))
    }
    return {**agent, "optimizer": {"type": "SGD", "learning_rate": "5e-5"}, "update_epochs": 5, "batch_size": 4, **more}


def written(folder: Path, flags: str, **sections: dict[str, Any]) -> Path:
    for name, values in sections.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    path = folder / "args.txt"
    path.write_text("".join(f"--{name}_config {name}.yaml\n" for name in sections) + flags)
    return path


def said(found: Conversion, text: str) -> bool:
    return any(text in note for note in found.notes)


FLAGS = "--num_envs 256\n--log_file output/a/log.txt\n--out_model_file output/a/model.pt\n"


def test_blocks_of_an_env_file(tmp_path: Path) -> None:
    name = "amp_go2_args"
    found = convert(written(tmp_path, FLAGS, env=autumn(name), agent=MIMICKIT[name]["agent"]))
    assert tuple(found.choices) == ROWS[name]
    assert found.values == {"num_envs": 256, "out_dir": "output/a"}  # 0.15 m and 120 Hz as today's preset
    assert said(found, "form of autumn 2025")
    assert said(found, "engine.sim_freq: 120, which counts the 2 substeps")


@pytest.mark.slow
def test_every_shipped_file_as_it_was_in_autumn(tmp_path: Path) -> None:
    for name, entry in MIMICKIT.items():
        if entry["engine"]["engine_name"] != "isaac_gym" or not entry["agent"]:
            continue
        found = convert(
            written(tmp_path, f"--num_envs {entry['args']['num_envs']}\n", env=autumn(name), agent=entry["agent"])
        )
        assert (tuple(found.choices), found.values) == (ROWS[name], {}), name


def test_an_engine_file_beside_an_engine_block(tmp_path: Path) -> None:
    env = autumn("deepmimic_g1_ppo_args")
    engine = {"engine_name": "newton", "env_spacing": 7, **dict.fromkeys(("control_freq", "sim_freq"), 240)}
    path = written(tmp_path, FLAGS, engine=engine, env=env, agent=MIMICKIT["deepmimic_g1_ppo_args"]["agent"])
    found = convert(path)
    assert found.choices[0] == "engine=isaac_gym"
    assert found.values["num_envs"] == 256
    assert "engine.sim_freq" not in found.values


def test_an_engine_block_beside_flat_values_is_engine_enough(tmp_path: Path) -> None:
    entry = MIMICKIT["deepmimic_g1_ppo_args"]
    env = {**entry["env"], "engine": {**entry["engine"], **entry["env"].get("engine", {})}}
    found = convert(written(tmp_path, "--num_envs 8\n", env=env, agent=entry["agent"]))
    assert (found.choices[0], found.values) == ("engine=isaac_gym", {"num_envs": 8})


def test_what_an_older_engine_has_and_ours_has_not(tmp_path: Path) -> None:
    env = autumn("deepmimic_g1_ppo_args")
    env["engine"]["control_mode"] = "pd_1d"
    env["engine"]["plane"] = {**PLANE, "static_friction": 0.7}
    env["engine"]["sim"]["physx"] = {**PHYSX, "new": 3}
    del env["engine"]["sim"]["substeps"]
    env["engine"]["sim_substeps"] = 4
    found = convert(written(tmp_path, FLAGS, env=env, agent=MIMICKIT["deepmimic_g1_ppo_args"]["agent"]))
    assert found.values["engine.control_mode"] == "pd_explicit"
    assert found.values["engine.sim_freq"] == 240
    assert said(found, "engine.plane.static_friction: found 0.7, but it is always 1.0 here; left out")
    assert said(found, "engine.sim.physx.new: found 3, but there is no such key here; left out")
    assert not said(found, "num_position_iterations")


def test_older_flags(tmp_path: Path) -> None:
    name = "deepmimic_g1_ppo_args"
    flags = "--log_file a/l.txt\n--out_model_file b/model.pt\n--int_output_dir int\n--num_workers 2\n--device cuda:0\n"
    found = convert(written(tmp_path, flags, env=autumn(name), agent=MIMICKIT[name]["agent"]))
    expected = {"num_envs": 1, "out_dir": "b", "save_int_models": True, "devices": ["cuda:0", "cuda:1"]}
    assert found.values == expected
    assert said(found, "--log_file a/l.txt: log.txt in out_dir here")
    assert said(found, "--int_output_dir int: save_int_models=true")
    today = MIMICKIT[name]
    found = convert(written(tmp_path, flags, engine=today["engine"], env=today["env"], agent=today["agent"]))
    assert found.values == {"num_envs": 1}
    assert said(found, "--out_model_file is a flag of MimicKit's of autumn 2025; today's ignores it")


def agent_of(tmp_path: Path, name: str, agent: dict[str, Any]) -> tuple[Conversion, Any]:
    entry = MIMICKIT[name]
    found = convert(written(tmp_path, "--num_envs 4096\n", engine=entry["engine"], env=entry["env"], agent=agent))
    return found, to_run(compose(found.words())).agent


def test_one_optimiser_becomes_one_for_each_network(tmp_path: Path) -> None:
    old = winter("amp_humanoid_args", critic_loss_weight=0.5, disc_loss_weight=5, disc_weight_decay=1e-4)
    found, agent = agent_of(tmp_path, "amp_humanoid_args", {**old, "disc_batch_size": 2048})
    rates = [getattr(agent, f"{net}_optimizer").learning_rate for net in ("actor", "critic", "disc")]
    assert rates == [5e-5, 2.5e-5, 2.5e-4]
    assert agent.disc_optimizer.weight_decay == 2e-4  # of the squared weights in the loss: their gradient is 2 w
    assert agent.actor_optimizer.weight_decay == 0
    for net in ("actor", "critic", "disc"):
        assert (getattr(agent, f"{net}_epochs"), getattr(agent, f"{net}_batch_size")) == (5, 4)
    assert said(found, "one optimiser for all networks")
    assert said(found, "agent.disc_batch_size: 2048 samples a step have no counterpart")
    assert not said(found, "no such key here")


def test_the_decay_of_one_optimiser_is_that_of_each(tmp_path: Path) -> None:
    sgd = {"type": "SGD", "learning_rate": 1e-4, "weight_decay": 1e-3}
    old = winter("amp_humanoid_args", optimizer=sgd, critic_loss_weight=0.5, disc_loss_weight=5, disc_weight_decay=1e-4)
    _, agent = agent_of(tmp_path, "amp_humanoid_args", old)
    decays = [getattr(agent, f"{net}_optimizer").weight_decay for net in ("actor", "critic", "disc")]
    assert decays == [1e-3, 2e-3, 4e-4]  # rate x decay stays what it was


def test_with_adam_the_weight_of_a_loss_changes_nothing(tmp_path: Path) -> None:
    adam = {"type": "Adam", "learning_rate": "2e-5", "grad_clip": 1.0}
    old = winter("ase_humanoid_args", optimizer=adam, disc_loss_weight=5.0, enc_loss_weight=5.0, disc_weight_decay=1e-4)
    found, agent = agent_of(tmp_path, "ase_humanoid_args", old)
    for net in ("actor", "critic", "disc", "enc"):
        optimizer = getattr(agent, f"{net}_optimizer")
        assert (optimizer.type, optimizer.learning_rate, optimizer.grad_clip) == ("Adam", 2e-5, 1.0)
        assert getattr(agent, f"{net}_epochs") == 5
    assert agent.disc_optimizer.weight_decay == 0
    assert said(found, "agent.enc_loss_weight: 5 does not change Adam's steps; left out")
    assert said(found, "agent.disc_weight_decay: 0.0001 in the loss has no counterpart with Adam")
    assert said(found, "agent.optimizer.grad_clip: of each network's gradient here")


def test_before_there_was_a_replay_buffer(tmp_path: Path) -> None:
    old = {
        key: value
        for key, value in winter("add_g1_args").items()
        if key not in ("disc_buffer_size", "disc_replay_samples")
    }
    found, agent = agent_of(tmp_path, "add_g1_args", old)
    assert (agent.disc_buffer_size, agent.disc_replay_samples) == (200_000, 1000)
    assert said(found, "that MimicKit had no replay buffer; agent.disc_buffer_size=200000")


def test_an_agent_where_nothing_acts_is_left_out(tmp_path: Path) -> None:
    flags = "--mode test\n--num_envs 4\n"
    found = convert(written(tmp_path, flags, env=autumn("view_motion_g1_args"), agent=winter("deepmimic_g1_ppo_args")))
    assert tuple(found.choices) == ROWS["view_motion_g1_args"]
    assert said(found, "agent_config: in env=view_motion nothing acts or learns, whatever the agent; left out")
    assert not any(key.startswith("agent.") for key in found.values)


@pytest.mark.parametrize(
    ("agent", "flags", "expected"),
    [
        ({"critic_loss_weight": 0}, "", "agent.critic_loss_weight: found 0, must be greater than 0"),
        (
            {"optimizer": {"type": "SGD", "learning_rate": "fast"}},
            "",
            "agent.optimizer.learning_rate: found 'fast', must",
        ),
        ({}, "--num_workers two\n", "--num_workers: found two, must be a whole number"),
        ({"agent_name": "StyleImp"}, "", "found 'StyleImp', must be one of PPO, AWR"),
    ],
)
def test_mistakes_in_older_files_are_one_line(tmp_path: Path, agent: dict[str, Any], flags: str, expected: str) -> None:
    name = "deepmimic_g1_ppo_args"
    with pytest.raises(UserError) as caught:
        convert(written(tmp_path, flags, env=autumn(name), agent=winter(name, **agent)))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing_names_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "amp_g1_args.txt"
    path.write_text("--env_config data/envs/amp_g1_env.yaml\n")
    with pytest.raises(
        UserError, match="run this where the file is, or put it there; experiment=amp_g1 has the values"
    ):
        convert(path)
    path.write_text("--engine_config e.yaml\n--curriculum_config data/curricula/a.yaml\n")
    (tmp_path / "e.yaml").write_text("engine_name: newton\n")
    with pytest.raises(UserError, match="no --env_config, which MimicKit needs; a fork's own can be driven"):
        convert(path)
