"""Four processes learn through one world model: what is learned is common, trajectories are each its own."""

from __future__ import annotations

import pytest
import torch
from two_processes import run_both

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.training.build import build

WORDS = [
    "method=supermimic", "env=tracking", "engine=mujoco", "num_envs=4", "engine.num_threads=1",
    "agent.warmup_steps=12", "agent.steps_per_iter=4", "agent.buffer_steps=16", "agent.holdout_envs=1",
    "agent.world_warmup=2", "agent.window=3", "agent.first_window=2", "agent.window_iters=4", "agent.horizon=2",
    "agent.iters_per_output=2", "agent.model.actor_net=fc_2layers_128units",
    "agent.model.critic_net=fc_2layers_128units", "agent.model.world_net=[32,32]",
]  # fmt: skip
FOUR = 4


def exercise(rank: int) -> dict[str, object]:
    torch.manual_seed(10 + rank)
    parts = build(to_run(compose(WORDS)), Comm(), torch.device("cpu"))
    agent = parts.agent
    begun = agent.model_state_dict()
    rows = [agent.train_iteration() for _ in range(6)]
    saved = agent.state_dict()
    loaded = saved if rank == 0 else {**saved, "model": begun}
    agent.load_state_dict(loaded)
    after = agent.model_state_dict()
    parts.close()
    return {
        "begun": begun,
        "model": saved["model"],
        "loaded": after,
        "normalizers": {f"{name}.{key}": value for name, part in saved["normalizers"].items() for key, value in
                        part.items() if isinstance(value, torch.Tensor)},
        "moments": {f"{name}.{key}": value for name, head in saved["optimizers"].items() for key, value in
                    head["moments"].items()},
        "steps": {name: head["steps"] for name, head in saved["optimizers"].items()},
        "pushed": saved["extra"]["trajectories"]["pushed"],
        "sampler": {name: value for name, value in parts.env.state_dict().items() if name.startswith("sampler/")},
        "rows": rows,
        "states": saved["extra"]["trajectories"]["fields"]["state"],
    }  # fmt: skip


@pytest.mark.slow
def test_what_is_learned_is_common_and_what_was_lived_is_not(tmp_path_factory: pytest.TempPathFactory) -> None:
    first, *others = run_both(exercise, tmp_path_factory.mktemp("ranks"), FOUR)
    for other in others:
        for part in ("begun", "model", "normalizers", "moments", "sampler"):
            assert list(first[part]) == list(other[part])
            for name, value in first[part].items():
                if name != "sampler/probe_place":  # each process has probes in stretches of its own
                    assert torch.equal(value, other[part][name]), (part, name)
        assert all(torch.equal(other["loaded"][name], value) for name, value in first["model"].items())
        assert first["rows"] == other["rows"]
        assert (first["steps"], first["pushed"]) == (other["steps"], other["pushed"])
        assert not torch.equal(first["states"], other["states"])
        assert not torch.equal(first["sampler"]["sampler/probe_place"], other["sampler"]["sampler/probe_place"])
    assert first["rows"][-1]["World_Loss"] > 0.0
    for head in ("world.", "policy.", "policy_average.", "critic.", "critic_average."):
        names = [name for name in first["model"] if name.startswith(f"_model.{head}")]
        assert any(not torch.equal(first["model"][name], first["begun"][name]) for name in names), head
    # The whole warm-up of all processes: its last iteration too, at whose end the world model is fitted.
    assert int(first["model"]["_obs_norm._count"]) == 12 * 4 * FOUR
