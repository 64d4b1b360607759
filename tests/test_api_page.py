"""The page about the Python interface holds: its blocks run, in order, in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mimickit_hydra import api

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIMICKIT_CONF", "")
    names: dict[str, object] = {}
    for block in re.finditer(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        line = PAGE.read_text(encoding="utf-8")[: block.start(1)].count("\n")
        exec(compile("\n" * line + block.group(1), str(PAGE), "exec"), names)
    assert (tmp_path / "my_run" / "starts" / "1").is_dir()
    assert (tmp_path / "my_run_again" / "metrics.json").is_file()


def test_it_is_light() -> None:
    code = "import sys; from mimickit_hydra import api; api.compose(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_wrong_width_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    run = api.compose(["num_envs=2", "rand_seed=1", "engine.num_threads=1"])
    with api.build(run) as parts:
        policy = api.Policy(run, parts)
        with pytest.raises(api.UserError, match="obs: found 3 numbers, must be"):
            policy.act(torch.zeros(2, 3))


def test_a_policy_answers_in_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import torch

    monkeypatch.chdir(tmp_path)
    run = api.compose(["num_envs=2", "rand_seed=1", "engine.num_threads=1"])
    with api.build(run) as parts:
        policy = api.Policy(run, parts)
        obs = parts.env.reset().clone()
        action = policy.act(obs)
        assert isinstance(action, torch.Tensor)
        assert torch.equal(action, parts.agent.act(obs))
        one = policy.act(obs[0].numpy().astype(np.float64))
        assert isinstance(one, np.ndarray)
        np.testing.assert_allclose(one, action[0].numpy(), atol=1e-6)


def test_what_is_listed() -> None:
    assert "humanoid_walk" in api.options()["motion"]
    assert "mujoco" in api.registered()["engine"]
