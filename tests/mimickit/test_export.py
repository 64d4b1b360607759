"""Policies to MimicKit and back: its agent classes, run once on exported weights, chose these actions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from agent_stubs import METHODS, agent_of

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.agents.ase_agent import ASEAgent
from mimickit_hydra.cli.main import main
from mimickit_hydra.training.checkpoint import load_file, save_checkpoint, save_model
from mimickit_hydra.training.weights import model_weights

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "bridge_actions.npz")
SCALE = 64.0  # the weights are whole numbers of 1/64


def weights_of(method: str, agent: Agent) -> dict[str, torch.Tensor]:
    """The weights MimicKit was given. The action bounds are those of the env; no action depends on SMP's prior."""
    own = ("_a_norm.", "_prior_model.")
    weights = {name: tensor for name, tensor in agent.model_state_dict().items() if name.startswith(own)}
    prefix = f"{method}/w:"
    for key in GOLDEN.files:
        if key.startswith(prefix):
            value = torch.from_numpy(GOLDEN[key])
            weights[key[len(prefix) :]] = value.float() / SCALE if value.dtype == torch.int8 else value
    return weights


def loaded(method: str, folder: Path) -> Agent:
    if method == "SMP":
        pytest.importorskip("diffusers")
    agent = agent_of(method, folder)
    agent.load_model_state_dict(weights_of(method, agent))
    return agent


def act(method: str, agent: Agent) -> np.ndarray:
    obs = torch.from_numpy(GOLDEN[f"{method}/obs"])
    if isinstance(agent, ASEAgent):
        return agent.act_with_latents(obs, torch.from_numpy(GOLDEN[f"{method}/latents"])).numpy()
    return agent.act(obs, deterministic=True).numpy()


@pytest.mark.parametrize("method", [*METHODS, "SMP"])
def test_actions_agree_with_mimickits_agent(method: str, tmp_path: Path) -> None:
    agent = loaded(method, tmp_path)
    np.testing.assert_allclose(act(method, agent), GOLDEN[f"{method}/actions"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", [*METHODS, "SMP"])
def test_an_export_has_mimickits_names_in_its_order(method: str, tmp_path: Path) -> None:
    agent = loaded(method, tmp_path)
    save_checkpoint(tmp_path / "run", {"agent": agent.state_dict()}, iteration=1, metric=1.0)
    out = tmp_path / "out.pt"
    assert main(["export", str(tmp_path / "run"), "--to", "mimickit", "-o", str(out)]) == 0
    exported = load_file(out)
    assert list(exported) == list(GOLDEN[f"{method}/names"])
    assert all(isinstance(value, torch.Tensor) for value in exported.values())
    again = agent_of(method, tmp_path)
    again.load_model_state_dict(exported)
    np.testing.assert_array_equal(act(method, again), act(method, agent))


def test_export_takes_the_best_checkpoint_and_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = agent_of("PPO")
    for iteration, metric in ((1, 5.0), (2, 1.0)):
        save_checkpoint(tmp_path, {"agent": agent.state_dict()}, iteration=iteration, metric=metric)
    (tmp_path / "there").mkdir()
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "there")]) == 0
    assert (tmp_path / "there" / "model.pt").is_file()
    assert "best.pt" in capsys.readouterr().out


def test_a_checkouts_run_directory_holds_a_bare_model(tmp_path: Path) -> None:
    save_model(tmp_path / "model.pt", agent_of("PPO").model_state_dict())
    found = model_weights(tmp_path)
    assert found.path == tmp_path / "model.pt"
    assert not found.ours


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["/no/such/run"], "/no/such/run does not exist"),
        (["."], "has no checkpoints"),
        ([".", "--to", "tflite"], "allowed: mimickit, onnx"),
    ],
)
def test_what_cannot_be_exported(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", *words]) == 2
    assert expected in capsys.readouterr().err
