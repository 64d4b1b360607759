"""SMP: PPO on how well the motion fits a frozen diffusion prior (score distillation as a reward)."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from mimickit_hydra.agents.normalizers import DiffNormalizer
from mimickit_hydra.agents.prior import DiffusionPrior, diffusion_times, load_prior
from mimickit_hydra.agents.prior_config import WindowSettings
from mimickit_hydra.agents.returns import correction
from mimickit_hydra.agents.schema import SMPAgentConfig
from mimickit_hydra.agents.style_agent import StyleAgent
from mimickit_hydra.errors import UserError


class SMPAgent(StyleAgent):
    """SMP's agent: the reward falls with the prior's error in finding noise that was mixed into the motion.

    ``disc_obs`` are windows [T, N, L * C]. The prior is part of the model and of its checkpoints; it is never trained
    here and always evaluated without dropout.
    """

    config: SMPAgentConfig

    @property
    def prior(self) -> DiffusionPrior:
        return cast(DiffusionPrior, self.net._prior_model)

    @property
    def sds_norm(self) -> DiffNormalizer:
        return cast(DiffNormalizer, self.net._sds_normalizer)

    def _build_normalizers(self) -> None:
        super()._build_normalizers()
        self.net._sds_normalizer = DiffNormalizer(len(self.config.diffusion_steps))

    def _build_networks(self) -> None:
        super()._build_networks()
        prior, window = load_prior(Path(self.config.smp_prior_cfg), Path(self.config.smp_prior_model))
        self._frames = window.num_disc_obs_steps
        self._check_window(prior, window)
        prior.requires_grad_(False)
        self.net._prior_model = prior.eval()
        self._times = diffusion_times(self.config.diffusion_steps, prior.config.T, self.device)

    def _check_window(self, prior: DiffusionPrior, window: WindowSettings) -> None:
        """The prior must have been trained on what this env shows."""
        size = int(getattr(self.env, "disc_obs_size", 0))
        expected = window.num_disc_obs_steps * prior.channels
        if size != expected:
            raise UserError(
                f"agent.smp_prior_model: the prior knows windows of {window.num_disc_obs_steps} frames of "
                f"{prior.channels} numbers, this env shows {size} numbers instead of {expected}; set env's "
                "num_disc_obs_steps, root_height_obs, disc_dof_vel_obs and key_bodies as in the prior's env_config.yaml"
            )
        found, wanted_freq = round(1.0 / self.env.control_dt), prior.config.control_freq
        if found != wanted_freq:
            raise UserError(f"engine.control_freq: found {found} Hz, but the prior's frames are {wanted_freq} Hz")
        shown = getattr(self.env, "window_settings", None) or {}
        for key, value in shown.items():
            wanted = getattr(window, key)
            wanted, value = (len(wanted), len(value)) if key == "key_bodies" else (wanted, value)
            if wanted != value:
                raise UserError(
                    f"env.{key}: found {value}, but the prior was trained with {wanted}; a prior that fits comes from "
                    "mimickit prior train DIR with this run's env=, character= and motion="
                )

    def _build_buffer(self) -> None:
        super()._build_buffer()
        if self.config.enable_gsi:
            if not hasattr(self.env, "init_gsi_buffer"):
                raise UserError("agent.enable_gsi: this env cannot start from generated motion; use env=smp")
            symmetric = self.config.gsi_rotations == "symmetric"
            self.env.init_gsi_buffer(self._generate(self.config.gsi_buffer_size), symmetric=symmetric)

    @torch.no_grad()
    def _generate(self, count: int) -> Tensor:
        """Motion windows [count, L, C] in the units of the data."""
        config = self.config
        return self.prior.generate(
            count, self._frames, config.gsi_sampler, config.gsi_inference_steps, config.gsi_batch_size
        )

    def _judged_size(self) -> int:
        return self._frames * self.prior.channels

    def _score(self, disc_obs: Tensor, noise: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """As described there, of raw windows [S, L * C] under this iteration's loss statistics.

        ``noise`` [K, S, L * C] replaces fresh random numbers.
        """
        losses = self._score_losses(disc_obs, noise)
        relative = self.sds_norm.normalize(losses).mean(-1)
        if self._sds_open:
            self.sds_norm.record(losses)
        reward = self.config.smp_reward_scale * torch.exp(-self.config.sds_loss_scale * relative)
        scalars: dict[str, Tensor] = {}
        for name, values in (("smp_reward", reward), ("sds_loss", losses.mean(-1))):
            std, mean = torch.std_mean(values, correction=correction(values))
            scalars |= {f"{name}_mean": mean, f"{name}_std": std}
        return self.config.smp_reward_weight * reward, {
            name: scalars[name] for name in ("smp_reward_mean", "smp_reward_std", "sds_loss_mean", "sds_loss_std")
        }

    def _score_losses(self, windows: Tensor, noise: Tensor | None = None) -> Tensor:
        """The prior's mean squared error [S, K] in the noise, at each of ``diffusion_steps``.

        On CUDA the prior multiplies in bfloat16: its error moves by a per cent or so, far below the spread of the noise
        drawn here, and an iteration is a sixteenth shorter.
        """
        size, out = self.config.smp_eval_batch_size, []
        for start in range(0, windows.shape[0], size):
            rows = self.prior.normalize(windows[start : start + size])
            if noise is None:
                mixed_in = torch.randn(len(self._times), *rows.shape, device=rows.device)
            else:
                mixed_in = noise[:, start : start + size]
            with torch.autocast("cuda", torch.bfloat16, enabled=rows.is_cuda):
                out.append(self.prior.score_losses(rows, self._times, mixed_in))
        return torch.cat(out)

    @property
    def _sds_open(self) -> bool:
        """Whether the size of the losses is still being learned."""
        return self.samples < self.config.sds_normalizer_samples

    def _update_statistics(self) -> None:
        super()._update_statistics()
        if self._sds_open:
            self.sds_norm.update(self.comm)

    def train_iteration(self) -> dict[str, float]:
        row = super().train_iteration()
        config = self.config
        if config.enable_gsi and (self.iteration - 1) % config.gsi_iters == 0:
            with self._section("update"):
                self.env.add_gsi_samples(self._generate(config.gsi_regen_num_motions))  # type: ignore[attr-defined]
        return row
