"""Trains a diffusion prior on windows that are drawn from the clips as it goes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.prior import DiffusionPrior
from mimickit_hydra.agents.prior_config import PriorConfig
from mimickit_hydra.distributed import Comm
from mimickit_hydra.errors import UserError

WEIGHT_DECAY = 0.01


class PriorTrainer:
    """AdamW on the denoising loss. Statistics are taken once, from windows drawn before the first step."""

    def __init__(
        self, config: PriorConfig, draw: Callable[[int], Tensor], frames: int, device: torch.device | str
    ) -> None:
        """``draw(n)`` gives windows [n, frames * C] in the units of the data."""
        self.config = config
        self.iteration = 0
        self._draw = draw
        windows = draw(config.num_samples_stat)
        self.prior = DiffusionPrior(config, windows.shape[-1] // frames).to(device)
        self.prior.obs_normalizer.record(windows.unflatten(-1, (frames, -1)))
        self.prior.obs_normalizer.update(Comm())
        self._parameters = list(self.prior.dmodel.parameters())
        self._optimizer = torch.optim.AdamW(self._parameters, lr=config.lr, weight_decay=WEIGHT_DECAY)
        self._loss_sum = torch.zeros((), device=device)
        self._losses = 0

    def fit(self, output: Callable[[int, float], None]) -> None:
        """Train to ``num_iterations``; ``output(iteration, loss)`` every ``output_iter`` iterations and at the end.

        The loss is the mean since the last output. UserError if it is not finite.
        """
        while self.iteration < self.config.num_iterations:
            self.step()
            if self.iteration % self.config.output_iter == 0 or self.iteration == self.config.num_iterations:
                output(self.iteration, self._mean_loss())

    def step(self) -> None:
        """Train on one minibatch; nothing is read back from the device."""
        self.prior.train()
        windows = self.prior.normalize(self._draw(self.config.batch_size))
        times = torch.randint(self.config.T, (windows.shape[0],), device=windows.device)
        loss = self.prior.train_loss(windows, torch.randn_like(windows), times)
        self._optimizer.zero_grad()
        loss.backward()
        if self.config.grad_clip_norm > 0.0:
            nn.utils.clip_grad_norm_(self._parameters, self.config.grad_clip_norm)
        self._optimizer.step()
        if self.prior.ema_dmodel is not None:
            self.prior.ema_dmodel.update()
        self._loss_sum += loss.detach()
        self._losses += 1
        self.iteration += 1

    def _mean_loss(self) -> float:
        mean = float(self._loss_sum) / self._losses
        self._loss_sum.zero_()
        self._losses = 0
        if not mean < float("inf"):
            raise UserError(f"the prior's loss is {mean} at iteration {self.iteration}; try a smaller prior.lr")
        self.prior.eval()
        return mean
