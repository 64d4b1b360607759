"""A prior learns a small distribution of windows: its loss falls, and it tells them from windows of another kind."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

from mimickit_hydra.agents.prior_config import PriorConfig
from mimickit_hydra.agents.prior_training import PriorTrainer
from mimickit_hydra.errors import UserError

FRAMES, CHANNELS = 3, 2


def draw(count):
    """Straight lines: a position and the same step from frame to frame."""
    start, step = 5.0 + torch.randn(count, 1, CHANNELS), 0.5 * torch.randn(count, 1, CHANNELS)
    return (start + step * torch.arange(float(FRAMES))[:, None]).flatten(1)


def config(**changes):
    values = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 1, "T": 20, "lr": 3e-3}
    values |= {"batch_size": 64, "num_samples_stat": 500, "num_iterations": 250, "output_iter": 100}
    return PriorConfig(**{**values, "model_ema": True, "model_ema_update_after": 50, **changes})


def test_learns_the_windows():
    torch.manual_seed(0)
    trainer = PriorTrainer(config(), draw, FRAMES, "cpu")
    torch.testing.assert_close(trainer.prior.obs_normalizer.mean, torch.full((2,), 5.0), atol=0.3, rtol=0.0)
    seen = []
    trainer.fit(lambda iteration, loss: seen.append((iteration, loss)))
    assert [iteration for iteration, _ in seen] == [100, 200, 250]
    assert seen[-1][1] < seen[0][1]
    prior = trainer.prior.eval()
    assert abs(float(prior.generate(300, FRAMES).median()) - 5.0) < 0.4
    steps, noise = torch.tensor([10, 4]), torch.randn(2, 200, FRAMES * CHANNELS)
    known = prior.score_losses(prior.normalize(draw(200)), steps, noise).mean()
    strange = prior.score_losses(prior.normalize(5.0 + 2.0 * torch.randn(200, 6)), steps, noise).mean()
    assert strange > 1.5 * known


def test_a_loss_that_explodes_is_one_line():
    trainer = PriorTrainer(config(num_iterations=1), lambda n: draw(n), FRAMES, "cpu")
    trainer._draw = lambda n: draw(n) * torch.nan
    with pytest.raises(UserError, match=r"loss is nan at iteration 1; try a smaller prior.lr"):
        trainer.fit(lambda *_: None)
