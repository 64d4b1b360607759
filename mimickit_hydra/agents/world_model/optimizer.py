"""The optimiser of one head of the world-model agent: Muon, with a rate that decays and a clip that adapts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.flat_optimizers import Muon
from mimickit_hydra.agents.optimizer import HeadOptimizer
from mimickit_hydra.agents.world_model.schema import WorldOptimizerConfig
from mimickit_hydra.distributed import Comm

FIRST = 10  # steps whose largest norm is usual at first
KEEP = 0.98  # of what is usual, a step


class WorldOptimizer(HeadOptimizer):
    """Steps ``matrices`` with Muon and all other ``parameters`` with Adam, or all with Adam.

    Gradients are clipped to ``grad_clip`` times their usual norm, and numbers that are none are 0.
    """

    config: WorldOptimizerConfig

    def __init__(
        self,
        name: str,
        parameters: Iterable[nn.Parameter],
        matrices: Sequence[nn.Parameter],
        config: WorldOptimizerConfig,
        comm: Comm,
    ) -> None:
        by_muon = list(matrices) if config.type == "Muon" else []
        self._shapes = [matrix.shape for matrix in by_muon]
        ids = {id(matrix) for matrix in by_muon}
        rest = [parameter for parameter in parameters if id(parameter) not in ids]
        self.config = config
        super().__init__(name, [*by_muon, *rest], config, comm)  # type: ignore[arg-type]

    def _make(self, config: WorldOptimizerConfig) -> Muon:  # type: ignore[override]
        muon = Muon(self._flat, float(config.learning_rate), self._shapes)
        muon.moments["usual_norm"] = torch.zeros((), device=self._flat.device)
        self.norm = torch.zeros((), device=self._flat.device)  # of the last gradient
        return muon

    def scale_rate(self, factor: float) -> None:
        """Set the rate to ``factor`` of the config's."""
        assert isinstance(self._optimizer, Muon)
        self._optimizer.rate.fill_(float(self.config.learning_rate) * factor)

    def apply(self, loss: Tensor) -> None:
        self.flat_grad.zero_()
        loss.backward()
        torch.nan_to_num(self.flat_grad, 0.0, 0.0, 0.0, out=self.flat_grad)
        self.average_grad()
        with torch.no_grad():
            self._clip()
        self._optimizer.step()

    def _clip(self) -> None:
        usual, step = self._optimizer.moments["usual_norm"], self._optimizer.moments["step"]
        torch.linalg.vector_norm(self.flat_grad, out=self.norm)
        later = KEEP * usual + (1.0 - KEEP) * torch.minimum(self.norm, 3.0 * usual)
        usual.copy_(torch.where(step < FIRST, torch.maximum(self.norm, usual), later))
        self.flat_grad.mul_((self.grad_clip * usual / (self.norm + 1e-12)).clamp(max=1.0))
