"""A diffusion prior over motion windows (Ho et al. 2020): its losses, its samples, and how badly a window fits it.

Schedules and samplers are those of ``diffusers``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimickit_hydra.agents import state
from mimickit_hydra.agents.denoiser import Denoiser, require_diffusers
from mimickit_hydra.agents.ema import AveragedModel
from mimickit_hydra.agents.normalizers import ObsNormalizer
from mimickit_hydra.agents.prior_config import PriorConfig, WindowSettings, load_prior_config
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_torch

_ALIAS = ("ema_dmodel.model.", "dmodel.")  # the same tensors under two names


class DiffusionPrior(nn.Module):
    """Network, its average if asked for, and the statistics of a frame, named as in MimicKit's prior file.

    Windows are [..., L * C], L frames of C channels; those passed to the diffusion methods are normalised.
    """

    alphas_cumprod: Tensor

    def __init__(self, config: PriorConfig, channels: int) -> None:
        super().__init__()
        require_diffusers()
        self.config = config
        self.channels = channels
        self.dmodel = Denoiser(
            channels,
            config.num_layers,
            config.num_attention_heads,
            config.attention_head_dim,
            config.dropout,
            config.num_class if config.arch_name == "CondDiT" else 0,
            config.cfg_dropout,
        )
        self.ema_dmodel: AveragedModel | None = None
        if config.model_ema:
            self.ema_dmodel = AveragedModel(
                self.dmodel, config.model_ema_decay, config.model_ema_steps, config.model_ema_update_after
            )
        self.obs_normalizer = ObsNormalizer(channels, std_clip=config.normalizer_std_clip)
        self.register_buffer("alphas_cumprod", self._scheduler("ddpm").alphas_cumprod.clone(), persistent=False)

    @property
    def best(self) -> nn.Module:
        """The network to use once trained: the average if there is one."""
        return self.dmodel if self.ema_dmodel is None else self.ema_dmodel.ema_model

    def normalize(self, windows: Tensor) -> Tensor:
        """Raw windows [..., L * C] -> normalised ones, channel by channel, unclamped."""
        return self.obs_normalizer.normalize(windows.unflatten(-1, (-1, self.channels))).flatten(-2)

    def unnormalize(self, windows: Tensor) -> Tensor:
        return self.obs_normalizer.unnormalize(windows.unflatten(-1, (-1, self.channels))).flatten(-2)

    def _noise_levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """√ᾱ and √(1−ᾱ) of diffusion times [G], as [G, 1, 1]."""
        alpha = self.alphas_cumprod[t][:, None, None]
        return alpha.sqrt(), (1.0 - alpha).sqrt()

    def train_loss(self, windows: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Mean error of the network's prediction for windows and noise [B, L * C] at times [B]."""
        signal, spread = self._noise_levels(t)
        x, eps = windows[:, None], noise[:, None]
        predicted = self.dmodel(signal * x + spread * eps, t)
        mode = self.config.estimate_mode
        target = eps if mode == "epsilon" else x if mode == "sample" else signal * eps - spread * x
        loss = F.l1_loss if self.config.loss_type == "l1" else F.mse_loss
        return loss(predicted, target)

    def score_losses(self, windows: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error [B, K] of the noise found in ``windows`` [B, L * C] at the diffusion times ``steps`` [K].

        ``noise`` [K, B, L * C] is what is mixed in. All times go through the network at once.
        """
        signal, spread = self._noise_levels(steps)
        noisy = torch.addcmul(spread * noise, signal, windows)
        predicted = self.best(noisy, steps)
        mode = self.config.estimate_mode
        if mode == "sample":
            predicted = (noisy - signal * predicted) / spread
        elif mode == "v_prediction":
            predicted = (noisy - signal * (signal * noisy - spread * predicted)) / spread
        return (predicted - noise).square().mean(-1).T

    def _scheduler(self, sampler: str) -> Any:
        from diffusers import DDIMScheduler, DDPMScheduler

        kind = DDPMScheduler if sampler == "ddpm" else DDIMScheduler
        try:
            return kind(
                num_train_timesteps=self.config.T,
                beta_schedule=self.config.noise_schedule_mode,
                prediction_type=self.config.estimate_mode,
                clip_sample=False,
            )
        except NotImplementedError:
            raise UserError(
                f"noise_schedule_mode: diffusers has no schedule {self.config.noise_schedule_mode!r}; "
                "MimicKit's is squaredcos_cap_v2"
            ) from None

    @torch.no_grad()
    def sample(
        self, start: Tensor, sampler: str = "ddpm", inference_steps: int = 10, network: nn.Module | None = None
    ) -> Tensor:
        """Normalised windows from noise ``start`` [B, L * C]: the last step's estimate of the clean window.

        ``ddpm`` takes all T steps, ``ddim`` (Song et al. 2021) ``inference_steps`` and no further noise.
        """
        steps = self.config.T if sampler == "ddpm" else inference_steps
        if not 1 <= steps <= self.config.T:
            raise UserError(f"agent.gsi_inference_steps: found {steps}, allowed are 1 to {self.config.T}")
        network = self.best if network is None else network
        scheduler = self._scheduler(sampler)
        scheduler.set_timesteps(steps)
        x = clean = start
        for t in scheduler.timesteps.tolist():
            predicted = network(x[None], torch.full((1,), t, device=x.device))[0]
            result = scheduler.step(predicted, t, x)
            x, clean = result.prev_sample, result.pred_original_sample
        return clean

    def generate(
        self, count: int, frames: int, sampler: str = "ddpm", inference_steps: int = 10, batch: int = 256
    ) -> Tensor:
        """``count`` random windows [count, L, C] in the units of the data, ``batch`` at a time."""
        out = []
        for start in range(0, count, batch):
            size = min(batch, count - start)
            noise = torch.randn(size, frames * self.channels, device=self.alphas_cumprod.device)
            out.append(self.unnormalize(self.sample(noise, sampler, inference_steps)))
        return torch.cat(out).unflatten(-1, (frames, self.channels))


def load_prior(config_file: Path, model_file: Path) -> tuple[DiffusionPrior, WindowSettings]:
    """A prior from its two files, and what its windows show; UserError for what cannot be read or does not fit."""
    config, window = load_prior_config(config_file)
    weights = read_weights(model_file)
    if "dmodel.proj_in.weight" not in weights:
        raise UserError(f"{model_file}: holds no diffusion prior (no dmodel.proj_in.weight in it)")
    shape = list(weights["dmodel.proj_in.weight"].shape)
    width = config.num_attention_heads * config.attention_head_dim
    if len(shape) != 2 or shape[0] != width or config.num_layers > len(weights):
        raise UserError(
            f"{model_file} does not fit its configuration {config_file.name}: num_attention_heads * attention_head_dim "
            f"is {width} and num_layers {config.num_layers}; its dmodel.proj_in.weight is {shape}"
        )
    prior = DiffusionPrior(config, shape[1])
    load_prior_weights(prior, weights, str(model_file))
    return prior, window


def load_prior_weights(prior: DiffusionPrior, weights: Mapping[str, Tensor], where: str) -> None:
    """Load weights strictly, but for the network's second name. UserError naming what does not fit."""
    known = dict(weights)
    wanted = prior.state_dict()
    for name in wanted:
        if name.startswith(_ALIAS[0]) and name not in known:
            source = _ALIAS[1] + name.removeprefix(_ALIAS[0])
            if source in known:
                known[name] = known[source]
    try:
        state.check_names_and_shapes(known, wanted)
    except UserError as error:
        text = str(error).replace("the model does not fit this agent", f"{where} does not fit its configuration")
        raise UserError(text.split("; check")[0]) from None
    prior.load_state_dict(known)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a prior's ``model.pt``, on the CPU."""
    return state.plain_weights(read_torch(path), str(path))


def diffusion_times(steps: Sequence[int], total: int, device: torch.device) -> Tensor:
    """``agent.diffusion_steps`` as int64 [K]; UserError if one is not a time of the prior."""
    if not steps or not all(0 <= step < total for step in steps):
        raise UserError(f"agent.diffusion_steps: found {list(steps)}, needs one or more times from 0 to {total - 1}")
    return torch.tensor(list(steps), dtype=torch.int64, device=device)
