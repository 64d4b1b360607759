"""How the world model is fitted and judged: its own predictions fed back over windows of logged steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from mimickit_hydra.agents.world_model.model import WorldModel
from mimickit_hydra.agents.world_model.trajectories import Trajectories

BETA = 0.1  # units of error below which the loss is quadratic
FAILURE_WEIGHT = 0.1  # of the failures' cross entropy beside the loss of states
CHECK_STEPS = (1, 8, 32)


Step = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def compared(model: WorldModel, scales: Tensor) -> Step:
    """``step(state, command, following)`` -> the state foretold [B, X], its loss [B] and a failure's logit [B].

    The loss is of the tangent from ``following`` in units of ``scales``.
    """

    def step(state: Tensor, command: Tensor, following: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        state, logit = model(state, command)
        error = model.layout.minus(state, following) / scales
        loss = functional.smooth_l1_loss(error, torch.zeros_like(error), beta=BETA, reduction="none").mean(-1)
        return state, loss, logit

    return step


def window_loss(step: Step, data: Trajectories, index: Tensor) -> dict[str, Tensor]:
    """Losses ``state`` and ``failure`` of windows of steps ``index`` [k, B], see :func:`compared`.

    After the end of an episode, and where the simulator had lost the state, a window goes on from what was stored;
    the lost step itself counts nothing.
    """
    states, following = data.take("state", index), data.take("next_state", index)
    commands, valid = data.take("command", index), data.take("valid", index)
    breaks, failed = data.take("ended", index) | ~valid, data.take("failed", index).to(states.dtype)
    weight = valid.to(states.dtype)
    losses, logits = [], []
    state = states[0]
    for k in range(index.shape[0]):
        state, loss, logit = step(state, commands[k], following[k])
        losses.append(torch.where(valid[k], loss, 0.0))
        logits.append(logit)
        if k + 1 < index.shape[0]:
            state = torch.where(breaks[k].unsqueeze(-1), states[k + 1], state)
    total = weight.sum().clamp(min=1.0)
    found = functional.binary_cross_entropy_with_logits(torch.stack(logits), failed, weight=weight, reduction="sum")
    return {"state": torch.stack(losses).sum() / total, "failure": found / total}


@torch.no_grad()
def prediction_errors(model: WorldModel, data: Trajectories, index: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """How far the model is off on windows ``index`` [K, B] of environments that the fit never saw.

    Returns root-mean-square errors of root position (m) and joints (rad) after 1, 8 and 32 steps, and their ratios to
    those of the ballistic predictor; the states foretold [K, B, X]; and what counts [K, B], as 0 and 1: steps before
    which no episode of the window has ended.
    """
    states, following, commands = (data.take(name, index) for name in ("state", "next_state", "command"))
    valid, ended = data.take("valid", index), data.take("ended", index)
    over = torch.cat([torch.zeros_like(ended[:1]), ended[:-1]]) | ~valid
    counted = (over.cumsum(0) == 0).to(states.dtype)
    layout, found, foretold = model.layout, dict[str, Tensor](), []
    mine = other = states[0]
    for k in range(index.shape[0]):
        mine, _ = model(mine, commands[k])
        other = model.ballistic(other)
        foretold.append(mine)
        if k + 1 in CHECK_STEPS:
            weight = counted[k] / counted[k].sum().clamp(min=1.0)
            rms = [_rms(layout.minus(guess, following[k]), weight, layout.config_size) for guess in (mine, other)]
            for name, own, plain in zip(("root", "joint"), *rms, strict=True):
                found[f"world_{name}_error_{k + 1}"] = own
                found[f"world_{name}_ratio_{k + 1}"] = own / plain.clamp(min=1e-9)
    return found, torch.stack(foretold), counted


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """The correlation [] of ``a`` and ``b`` [B]; 0 where one does not vary."""
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / (a.square().sum() * b.square().sum()).sqrt().clamp(min=1e-12)


def _rms(error: Tensor, weight: Tensor, config: int) -> tuple[Tensor, Tensor]:
    squares = torch.nan_to_num(error.square()) * weight.unsqueeze(-1)
    return squares[:, :3].sum().sqrt(), squares[:, 6:config].mean(-1).sum().sqrt()
