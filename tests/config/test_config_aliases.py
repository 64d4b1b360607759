"""Short keys stand for the keys that are typed most, in every command."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimickit_hydra.cli.main import main
from mimickit_hydra.cli.train import main as train
from mimickit_hydra.config.compose import compose, flatten
from mimickit_hydra.config.groups import groups
from mimickit_hydra.config.overrides import ALIASES, written_out


def test_each_stands_for_a_key_that_exists_and_is_none_itself() -> None:
    keys = flatten(compose([]))
    assert set(ALIASES.values()) <= set(keys)
    assert not set(ALIASES) & ({key.partition(".")[0] for key in keys} | set(groups()))


def test_a_short_key_is_written_out() -> None:
    assert written_out("lr=1e-4,3e-4") == "agent.actor_optimizer.learning_rate=1e-4,3e-4"
    assert written_out("seed=7") == "rand_seed=7"
    assert written_out("agent.lr=1") == "agent.lr=1"
    assert written_out("lrx=1") == "lrx=1"


def test_a_group_of_ones_own_is_not_taken_for_a_short_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "wide.yaml").write_text("# @package agent.model\nactor_net: fc_2layers_1024units\n")
    monkeypatch.setenv("MIMICKIT_CONF", str(tmp_path))
    assert written_out("net=wide") == "net=wide"


def test_every_command_knows_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert train(["lr=0.5", "seed=7", "--cfg", "job", "--package", "agent.actor_optimizer"]) == 0
    assert "learning_rate: 0.5" in capsys.readouterr().out
    assert main(["explain", "lr", "lr=0.25"]) == 0
    assert capsys.readouterr().out.startswith("agent.actor_optimizer.learning_rate = 0.25")
    assert main(["diff", "lr=0.5", "gamma=0.9 lr=0.5"]) == 0
    out = capsys.readouterr().out
    assert "agent.discount" in out
    assert "learning_rate" not in out
    assert train(["--help"]) == 0
    assert "critic_lr" in capsys.readouterr().out
