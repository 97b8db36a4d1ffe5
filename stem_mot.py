# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Frames of sound, or samples of a series: a few of them in a row become a token, by convolutions or one projection.

Shapes: B rows, T frames or samples, C numbers of each, N tokens, d width.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .convolution_mot import MoTConv1d
from .modality_mot import Modality, MoTEmbeddings, MoTModalityConfig, unit_scale
from .positions_mot import blank


class MoTStemEmbeddings(MoTEmbeddings):
    """
    The embeddings of a kind whose config has a `stem`: `"conv"`, two convolutions as in Whisper (arXiv 2212.04356), or
    `"linear"`, one projection of `stem_stride` frames. The real frames stand first in each row, and all else is zero.

    Args:
        num_channels: C.
        max_frames: the longest T.
    """

    def __init__(self, config: MoTModalityConfig, modality: Modality, num_channels: int, max_frames: int):
        stride, width = config.stem_stride, config.hidden_size
        super().__init__(config, modality, -(-max_frames // stride))
        if config.stem == "linear":
            self.projection = unit_scale(nn.Linear(stride * num_channels, width))
        else:
            kernel_size = max(3, 2 * stride - 1)
            self.conv1 = unit_scale(nn.Conv1d(num_channels, width, kernel_size=3, padding=1))
            self.conv2 = unit_scale(MoTConv1d(width, width, kernel_size, stride, (kernel_size - 1) // 2))

    def num_tokens(self, num_frames: int) -> int:
        """
        num_frames / stem_stride, rounded up, in the words of each stem: an exporter must see that the sizes agree.
        """
        stride = self.config.stem_stride
        return (num_frames + stride - 1) // stride if self.config.stem == "linear" else (num_frames - 1) // stride + 1

    def first_frames(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """
        From frames (B, T) to tokens (B, N): a token is real where its first frame is, once the real ones stand first.
        """
        if mask is None:
            return None
        first_frames = torch.arange(self.num_tokens(mask.shape[1]), device=mask.device) * self.config.stem_stride
        return first_frames < mask.sum(dim=1, keepdim=True)

    def through_stem(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Frames (B, T, C), zero where `mask` (B, T) is, to tokens (B, N, d)."""
        return self.embed_linear(frames) if self.config.stem == "linear" else self.embed_conv(frames, mask)

    def embed_linear(self, frames: torch.Tensor) -> torch.Tensor:
        stride = self.config.stem_stride
        num_tokens = self.num_tokens(frames.shape[1])
        indices = torch.arange(num_tokens * stride, device=frames.device)
        frames = F.pad(frames, (0, 0, 0, stride - 1)).index_select(1, indices)  # zeros fill the last token
        return self.projection(frames.reshape(frames.shape[0], num_tokens, stride * frames.shape[2]))

    def embed_conv(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        hidden_states = F.gelu(self.conv1(frames.transpose(1, 2))).transpose(1, 2)  # (B, T, d)
        # Padding is zero again, just as what a convolution sees beyond the end of a clip.
        hidden_states = blank(hidden_states, mask)
        tokens = F.gelu(self.conv2(hidden_states.transpose(1, 2))).transpose(1, 2)  # (B, ceil(T / stride), d)
        return tokens.contiguous()

    def grouped(self, frames: torch.Tensor, fill: float) -> torch.Tensor:
        """The frames (B, T, C) of each token, (B, N, stride * C), with `fill` where the last one has less."""
        stride = self.config.stem_stride
        frames = F.pad(frames, (0, 0, 0, -frames.shape[1] % stride), value=fill)
        return frames.unflatten(1, (-1, stride)).flatten(2)
