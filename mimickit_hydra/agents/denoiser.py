"""The network of the diffusion prior: a small transformer over the frames of a motion window (Peebles & Xie 2023).

Attention, feed-forward layers and embeddings are those of ``diffusers``; what joins them follows MimicKit's prior, and
so do the names of all parameters.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimickit_hydra.errors import UserError

MAX_FRAMES = 32
TIME_CHANNELS = 256
LAYER_NORM_EPS = 1e-5
GATED_LINEAR = "swiglu"


def require_diffusers() -> None:
    """UserError saying how to install it if it is missing."""
    import importlib.util

    if importlib.util.find_spec("diffusers") is None:
        raise UserError("the diffusion prior of SMP needs the package diffusers: pip install 'mimickit-hydra[smp]'")


class Denoiser(nn.Module):
    """The network of the prior: predicts from noisy windows and their diffusion times.

    Inputs come in G groups that share a diffusion time, so that several times cost one pass and the conditioning is
    computed once a group.
    """

    def __init__(
        self,
        channels: int,
        num_layers: int,
        num_heads: int,
        head_dim: int,
        dropout: float = 0.0,
        num_class: int = 0,
        class_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_diffusers()
        from diffusers.models.embeddings import SinusoidalPositionalEmbedding

        self.channels = channels
        width = num_heads * head_dim
        self.scale_shift_table = nn.Parameter(torch.randn(1, 1, 2, width) / width**0.5)  # in MimicKit's files; unused
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(width, num_heads, head_dim, dropout) for _ in range(num_layers)
        )
        self.adaln_single = Conditioning(width, num_class, class_dropout)
        self.preprocess_conv = nn.Conv1d(channels, channels, 1, bias=False)
        self.proj_in = nn.Linear(channels, width, bias=False)
        self.proj_out = nn.Linear(width, channels, bias=False)
        self.postprocess_conv = nn.Conv1d(channels, channels, 1, bias=False)
        self.sequence_pos_encoder = SinusoidalPositionalEmbedding(width, MAX_FRAMES)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """``x`` [G, B, L * C] and int64 ``t`` [G] -> [G, B, L * C]; ``labels`` [G] are classes, where there are any."""
        frames = x.unflatten(-1, (-1, self.channels))
        if frames.shape[-2] > MAX_FRAMES:
            raise UserError(f"the diffusion prior takes windows of at most {MAX_FRAMES} frames, not {frames.shape[-2]}")
        conditioning = self.adaln_single(t, labels)[:, None, None]  # [G, 1, 1, 6, W]
        h = self.proj_in(_residual_mix(self.preprocess_conv, frames))
        h = h + self._positions()[:, : h.shape[-2]]
        for block in self.transformer_blocks:
            h = block(h, conditioning)
        return _residual_mix(self.postprocess_conv, self.proj_out(h)).flatten(-2)

    def _positions(self) -> Tensor:
        """Positional embeddings of the frames, [1, 32, W]."""
        return cast(Tensor, self.sequence_pos_encoder.pe)


def _residual_mix(conv: nn.Conv1d, frames: Tensor) -> Tensor:
    """x + conv(x) for a convolution of width one: a matrix product on every frame [..., C]."""
    return frames + F.linear(frames, conv.weight.squeeze(-1))


class Conditioning(nn.Module):
    """Diffusion time (and class) -> six vectors that shift, scale and gate the two halves of every block."""

    def __init__(self, width: int, num_class: int, class_dropout: float) -> None:
        super().__init__()
        from diffusers.models.embeddings import LabelEmbedding, TimestepEmbedding, Timesteps

        self.emb = nn.ModuleDict({"timestep_embedder": TimestepEmbedding(TIME_CHANNELS, width)})
        if num_class > 0:
            self.emb["class_embedder"] = LabelEmbedding(num_class, width, class_dropout)
        self._frequencies = Timesteps(TIME_CHANNELS, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.linear = nn.Linear(width, 6 * width)

    def forward(self, t: Tensor, labels: Tensor | None) -> Tensor:
        """Modulation [G, 6, W] of diffusion times, and labels where there are any, [G]."""
        embedding: Tensor = self.emb["timestep_embedder"](self._frequencies(t))
        if labels is not None:
            embedding = embedding + self.emb["class_embedder"](labels)
        six: Tensor = self.linear(F.silu(embedding))
        return six.unflatten(-1, (6, -1))


class TransformerBlock(nn.Module):
    """Self-attention and a gated feed-forward layer, each modulated by the conditioning (adaptive layer norm)."""

    def __init__(self, width: int, num_heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        from diffusers.models.attention import FeedForward
        from diffusers.models.attention_processor import Attention

        self.scale_shift_table = nn.Parameter(torch.randn(1, 1, 6, width) / width**0.5)
        self.attn1 = Attention(width, heads=num_heads, dim_head=head_dim, dropout=dropout, bias=False, out_bias=True)
        self.ff = FeedForward(width, dropout=dropout, activation_fn=GATED_LINEAR)

    def forward(self, h: Tensor, conditioning: Tensor) -> Tensor:
        """``h`` [G, B, L, W], ``conditioning`` [G, 1, 1, 6, W]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (conditioning + self.scale_shift_table).unbind(-2)
        attended = self.attn1(_modulate(h, shift1, scale1).flatten(0, 1)).view_as(h)
        h = torch.addcmul(h, gate1, attended)
        return torch.addcmul(h, gate2, self.ff(_modulate(h, shift2, scale2)))


def _modulate(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(h, h.shape[-1:], eps=LAYER_NORM_EPS), 1.0 + scale)
