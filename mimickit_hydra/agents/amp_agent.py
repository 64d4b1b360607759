"""AMP: PPO on the reward of a discriminator between the agent's motion and the clips' (Peng et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mimickit_hydra.agents.agent import OBS_CLIP
from mimickit_hydra.agents.discriminator import (
    DiscriminatorLoss,
    DiscriminatorModel,
    discriminator_loss,
    fraction,
    style_reward,
)
from mimickit_hydra.agents.normalizers import DiffNormalizer, ObsNormalizer
from mimickit_hydra.agents.optimizer import HeadOptimizer
from mimickit_hydra.agents.replay import Replay, Ring
from mimickit_hydra.agents.returns import correction
from mimickit_hydra.agents.schema import AMPAgentConfig
from mimickit_hydra.agents.style_agent import StyleAgent
from mimickit_hydra.errors import UserError

# Rows scored at once where the config sets no number: what stays in a processor's cache, or bounds a GPU's memory.
MAX_EVAL_ROWS = {"cpu": 1024, "cuda": 32768}
MAX_BANK_ROWS = 16384  # demonstrations held at a time
BANK_SHARE = 8  # an iteration draws one new demonstration for so many of its samples
FETCH_ROWS = {"cpu": 4096, "cuda": MAX_BANK_ROWS}  # demonstrations asked of the environment at a time


class AdversarialAgent(StyleAgent):
    """What AMP, ASE and ADD share: a discriminator with its optimiser, its replay and its reward."""

    config: AMPAgentConfig

    @property
    def model(self) -> DiscriminatorModel:
        return cast(DiscriminatorModel, self.net._model)

    @property
    def disc_obs_size(self) -> int:
        size = getattr(self.env, "disc_obs_size", 0)
        if not size:
            raise UserError(
                f"agent {self.config.agent_name} needs an env with discriminator observations, such as env=amp"
            )
        return int(size)

    def _build_model(self) -> nn.Module:
        return DiscriminatorModel(
            self.config.model, self._input_size(), self.env.action_low.shape[0], self.disc_obs_size,
            self._own_critic_size,
        )  # fmt: skip

    def _input_size(self) -> int:
        """The input size of actor and critic."""
        return self.env.obs_size

    def _build_optimizers(self) -> dict[str, HeadOptimizer]:
        disc = HeadOptimizer("disc", self.model.disc_parameters(), self.config.disc_optimizer, self.comm)
        return {**super()._build_optimizers(), "disc": disc}

    def _build_buffer(self) -> None:
        super()._build_buffer()
        size = self.disc_obs_size
        self._disc_batch = self._batch_size("disc_batch_size")
        self._rows = torch.arange(self.buffer.num_samples, device=self.device)
        self._replay = Replay(self.config.disc_buffer_size, size, self.device)
        self._disc_inputs = torch.empty(2 * self._disc_batch + self._num_positive(), size, device=self.device)

    def _num_positive(self) -> int:
        """The number of positive rows in a discriminator minibatch."""
        return self._disc_batch

    def _judged_size(self) -> int:
        return self.disc_obs_size

    @torch.no_grad()
    def _build_train_data(self) -> dict[str, Tensor]:
        self._replay.push_rollout(self.buffer.flat("disc_obs"), self.config.disc_replay_samples)
        return super()._build_train_data()

    def _score(self, disc_obs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        chunks = self._chunks(disc_obs, self.config.disc_eval_batch_size)
        style = torch.cat([self._style(self._normalize(rows)) for rows in chunks])
        std, mean = torch.std_mean(style, correction=correction(style))
        return self.config.disc_reward_weight * style, {"disc_reward_mean": mean, "disc_reward_std": std}

    def _style(self, norm_disc_obs: Tensor) -> Tensor:
        return style_reward(self.model.discriminator(norm_disc_obs), self.config.disc_reward_scale)

    def _chunks(self, rows: Tensor, size: int) -> Sequence[Tensor]:
        return rows.split(size or MAX_EVAL_ROWS[self.device.type])

    @property
    def disc_norm(self) -> ObsNormalizer | DiffNormalizer:
        """The normaliser of discriminator observations; its samples count those of rollouts."""
        return cast("ObsNormalizer | DiffNormalizer", self.net._disc_obs_norm)

    def _normalize(self, rows: Tensor, out: Tensor | None = None) -> Tensor:
        """The discriminator's input for raw rows [n, D]."""
        return self.disc_norm.normalize(rows, out=out)

    def _update_normalizers(self) -> None:
        super()._update_normalizers()
        self.disc_norm.record(self.buffer["disc_obs"])
        self.disc_norm.update(self.comm)

    def _update(self) -> dict[str, Tensor]:
        return {**super()._update(), **self._update_disc()}

    def _update_disc(self) -> dict[str, Tensor]:
        return self._run_updates(
            "disc", self._disc_step_loss, {"row": self._rows}, self.config.disc_epochs, self._disc_batch
        )

    def _disc_step_loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Rows of this rollout and of the replay against positives, all gathered into one reused tensor."""
        inputs, size = self._disc_inputs, self._disc_batch
        torch.index_select(self.buffer.flat("disc_obs"), 0, batch["row"], out=inputs[:size])
        self._replay.sample(inputs[size : 2 * size])
        self._fill_positive(inputs[2 * size :])
        return self._disc_loss(self._normalize(inputs, out=inputs), 2 * size)

    def _fill_positive(self, rows: Tensor) -> None:
        """Write raw positive examples into ``rows`` [n, D]."""
        raise NotImplementedError

    def _disc_loss(self, inputs: Tensor, num_negative: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of normalised rows, the negatives first, and its logged parts."""
        config, model = self.config, self.model
        loss = discriminator_loss(
            model._disc_layers,
            model._disc_logits,
            inputs,
            num_negative,
            config.disc_grad_penalty,
            config.disc_logit_reg,
        )
        return loss.total, self._disc_parts(loss)

    def _disc_parts(self, loss: DiscriminatorLoss) -> dict[str, Tensor]:
        """The logged parts of a discriminator loss."""
        raise NotImplementedError

    def _extra_state(self) -> dict[str, Any]:
        return {**super()._extra_state(), "replay": self._replay.state_dict()}

    def _load_extra_state(self, saved: Mapping[str, Any], same_world: bool) -> None:
        super()._load_extra_state(saved, same_world)
        if "replay" in saved:  # older checkpoints do without: the buffer fills again
            self._replay.load_state_dict(saved["replay"], "replay buffer (agent.disc_buffer_size)")


class AMPAgent(AdversarialAgent):
    """Demonstrations come from a bank that is renewed bit by bit: their distribution never changes, so drawing as many
    as there are samples in every iteration would buy nothing."""

    def _build_normalizers(self) -> None:
        super()._build_normalizers()
        self.net._disc_obs_norm = ObsNormalizer(self.disc_obs_size, clip=OBS_CLIP)

    @property
    def disc_norm(self) -> ObsNormalizer:
        return cast(ObsNormalizer, self.net._disc_obs_norm)

    def _build_buffer(self) -> None:
        super()._build_buffer()
        samples = self.buffer.num_samples
        self._bank = Ring(min(samples, MAX_BANK_ROWS), self.disc_obs_size, self.device)
        self._bank_draw = min(self._bank.capacity, math.ceil(samples / BANK_SHARE))

    def _build_train_data(self) -> dict[str, Tensor]:
        self._renew_bank()
        return super()._build_train_data()

    @torch.no_grad()
    def _renew_bank(self) -> None:
        """Draw demonstrations; while statistics are learned they weigh in them as much as the rollout does."""
        draws = self._bank_draw if self._bank.pushed else self._bank.capacity
        fetched = FETCH_ROWS[self.device.type]
        for start in range(0, draws, fetched):
            count = min(fetched, draws - start)
            rows = self.env.fetch_disc_obs_demo(count)  # type: ignore[attr-defined]
            self._bank.push(rows)
            if self.normalizer_open:
                samples = self.buffer.num_samples
                self.disc_norm.record(rows, samples * (start + count) // draws - samples * start // draws)

    def _fill_positive(self, rows: Tensor) -> None:
        self._bank.sample(rows)

    def _disc_parts(self, loss: DiscriminatorLoss) -> dict[str, Tensor]:
        parts = {
            "disc_grad_penalty": loss.grad_penalty,
            "disc_agent_acc": fraction(loss.negative < 0.0),
            "disc_demo_acc": fraction(loss.positive > 0.0),
            "disc_agent_logit": loss.negative.mean(),
            "disc_demo_logit": loss.positive.mean(),
        }
        if self.config.disc_logit_reg != 0.0:
            parts["disc_logit_loss"] = loss.logit
        return parts

    def _extra_state(self) -> dict[str, Any]:
        return {**super()._extra_state(), "demos": self._bank.state_dict()}

    def _load_extra_state(self, saved: Mapping[str, Any], same_world: bool) -> None:
        super()._load_extra_state(saved, same_world)
        if same_world:
            self._bank.load_state_dict(saved["demos"], "bank of demonstrations")
