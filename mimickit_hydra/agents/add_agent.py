"""ADD: AMP whose discriminator sees the difference from the reference (Zhang et al. 2025)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mimickit_hydra.agents.amp_agent import AdversarialAgent
from mimickit_hydra.agents.discriminator import DiscriminatorLoss, fraction
from mimickit_hydra.agents.normalizers import DiffNormalizer
from mimickit_hydra.agents.ppo_agent import PPOAgent
from mimickit_hydra.agents.schema import AMPAgentConfig
from mimickit_hydra.errors import UserError


class ADDAgent(AdversarialAgent):
    """ADD's agent: the only positive example of its discriminator is zero, the difference of a perfect imitation.

    ``disc_obs`` of the rollout and of the replay are raw differences, demonstration minus agent, both of the moment
    after the step. That is half of what storing the pairs takes, and they are normalised anew whenever they are used.
    """

    config: AMPAgentConfig

    def _build_normalizers(self) -> None:
        super()._build_normalizers()
        if "disc_obs_demo" not in self.env.info:
            raise UserError("agent ADD needs an env that shows the reference beside the agent, such as env=add")
        self.net._disc_obs_norm = DiffNormalizer(self.disc_obs_size)

    def _num_positive(self) -> int:
        return 1

    def _record_step(self, t: int, info: Mapping[str, Tensor]) -> None:
        PPOAgent._record_step(self, t, info)
        torch.sub(info["disc_obs_demo"], info["disc_obs"], out=self.buffer["disc_obs"][t])

    def _fill_positive(self, rows: Tensor) -> None:
        rows.zero_()

    def _disc_parts(self, loss: DiscriminatorLoss) -> dict[str, Tensor]:
        return {
            "disc_grad_penalty": loss.grad_penalty,
            "disc_logit_loss": loss.logit,
            "disc_pos_acc": fraction(loss.positive > 0.0),
            "disc_neg_acc": fraction(loss.negative < 0.0),
            "disc_pos_logit": loss.positive.mean(),
            "disc_neg_logit": loss.negative.mean(),
        }
