"""No rollout step and no gradient step of any method asks what is in a tensor: otherwise no graph could hold it.

The masked path of the environment is taken, as on CUDA; the simulator itself, which is not part of the graph, may do
what it likes.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mimickit_hydra.agents.graph import StagedRollout, StagedUpdates
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.distributed import Comm
from mimickit_hydra.training.build import build

SMALL = ["engine=mujoco", "num_envs=3", "compute=cpu", "agent.steps_per_iter=4", "engine.num_threads=1"]
# Results of a size, or Python values, that depend on data; and tensors made of Python values, which are copied over.
FORBIDDEN = {
    f"aten.{name}"
    for name in (
        "_local_scalar_dense", "is_nonzero", "item", "equal", "nonzero", "argwhere", "masked_select", "_unique2",
        "unique_dim", "unique_consecutive", "bincount", "repeat_interleave", "lift_fresh",
    )
}  # fmt: skip
BY_MASK = {"aten.index", "aten.index_put", "aten.index_put_", "aten._index_put_impl_", "aten._unsafe_index"}


class NoHostReads(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func.overloadpacket)
        assert name not in FORBIDDEN, f"{func} needs the data"
        if name in BY_MASK:
            kinds = {index.dtype for index in args[1] if index is not None}
            assert not kinds & {torch.bool, torch.uint8}, f"{func} by a mask has a size that depends on the data"
        return func(*args, **(kwargs or {}))


def under(mode, function):
    """``function`` with every operation seen by ``mode``."""

    def watched(*args, **kwargs):
        with mode:
            return function(*args, **kwargs)

    return watched


def unseen(function):
    """``function`` with the modes around it switched off."""

    def free(*args, **kwargs):
        with torch.utils._python_dispatch._disable_current_modes():
            return function(*args, **kwargs)

    return free


SUPERMIMIC = [
    "method=supermimic", "agent.warmup_steps=4", "agent.world_warmup=1", "agent.first_window=2", "agent.window=2",
    "agent.horizon=2",
]  # fmt: skip
CASES = {
    "deepmimic": ["method=deepmimic"],
    "deepmimic_mode_actions": ["method=deepmimic", "agent.exp_prob_beg=0.5", "agent.exp_anneal_samples=1e9"],
    "awr": ["method=awr"],
    "lcp": ["method=lcp"],
    "amp": ["method=amp"],
    "add": ["method=add"],
    "ase": ["method=ase"],
    "smp": ["method=smp"],
    "amp_location": ["method=amp", "env=location"],
    "ase_steering": ["method=ase", "env=steering"],
    "amp_dodgeball": ["method=amp", "env=dodgeball"],
    "supermimic": SUPERMIMIC,
    "supermimic_tracking": [*SUPERMIMIC, "env=tracking"],
    "deepmimic_vault": ["method=deepmimic", "env=vault"],
}


@pytest.fixture
def agent(request, tmp_path):
    overrides = CASES[request.param]
    if "method=smp" in overrides:
        pytest.importorskip("diffusers")
        from mimickit_hydra.cli.main import main

        quick = ["num_iterations=1", "num_samples_stat=16", "batch_size=4", "device=cpu", "num_layers=1"]
        assert main(["prior", "train", str(tmp_path / "prior"), *(f"prior.{text}" for text in quick)]) == 0
        more = ["gsi_buffer_size=8", "gsi_regen_num_motions=4", "gsi_batch_size=4", "gsi_inference_steps=2"]
        more += ["enable_gsi=true", "gsi_sampler=ddim", f"smp_prior_model={tmp_path / 'prior' / 'model.pt'}"]
        overrides = [*overrides, *(f"agent.{text}" for text in more)]
    parts = build(to_run(compose([*SMALL, *overrides])), Comm(), torch.device("cpu"))
    yield parts.agent
    parts.close()


@pytest.mark.parametrize("agent", CASES, indirect=True)
def test_steps_look_at_no_data(agent, monkeypatch):
    env, mode = agent.env, NoHostReads()
    env._by_index = False
    for method in ("step", "reset", "place", "set_command", "set_body_force"):
        monkeypatch.setattr(env.engine, method, unseen(getattr(env.engine, method)))
    agent._staged = StagedRollout(agent, capture=False)
    agent._updates = StagedUpdates(agent.device, capture=False)
    agent._start()
    monkeypatch.setattr(agent, "_rollout_step", under(mode, agent._rollout_step))
    for optimizer in agent.optimizers.values():
        monkeypatch.setattr(optimizer, "apply", under(mode, optimizer.apply))
    for name in [name for name in dir(agent) if name.startswith("_") and name.endswith("_loss")]:
        monkeypatch.setattr(agent, name, under(mode, getattr(agent, name)))
    agent.train_iteration()


def test_the_watch_sees_what_it_should():
    x = torch.randn(4)
    for forbidden in (lambda: x.sum().item(), lambda: x[x > 0], lambda: bool(x[0] > 1), lambda: torch.tensor([1.0])):
        with pytest.raises(AssertionError), NoHostReads():
            forbidden()
    with NoHostReads():
        torch.where(x > 0, x, 0.0).sum()
