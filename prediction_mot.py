# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What predicts a modality's tokens from their hidden states: the layers that pretraining and masked words share.

Shapes: B rows, N tokens, d width.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import nn
from transformers.activations import ACT2FN

from .configuration_mot import MoTConfig
from .modalities_mot import modality_of
from .modeling_mot import MoTModelOutput


class MoTTokenHead(nn.Module):
    """Scores of every word of the vocabulary for each text token, as BERT's head (arXiv 1810.04805)."""

    def __init__(self, config: MoTConfig, vocab_size: int):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACT2FN[config.hidden_act]
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        # It has weights of its own: the word embeddings start at the scale of the positions, too large for logits.
        self.decoder = nn.Linear(config.hidden_size, vocab_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.layernorm(self.activation(self.dense(hidden_states))))


class MoTReconstructionHead(nn.Module):
    """What a token stands for, from its hidden state: the pixels of a patch, mel frames, or a feature."""

    def __init__(self, config: MoTConfig, target_size: int):
        super().__init__()
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, target_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.layernorm(hidden_states))


def prediction_head(config: MoTConfig, modality: str) -> nn.Module:
    """The head that predicts a modality's tokens."""
    tower = config.modality_config(modality)
    kind = modality_of(tower, modality)
    head_class = MoTTokenHead if kind.predicts_ids else MoTReconstructionHead
    return head_class(config, kind.target_size(tower))


def own_tokens(
    config: MoTConfig, output: MoTModelOutput, modality: str, segments: Mapping[str, int] = MappingProxyType({})
) -> torch.Tensor:
    """
    The hidden states of a modality's own tokens, (B, N, d).

    Args:
        segments: modality -> how many segments its tokens are, if they are several.
    """
    hidden_states, prefix = output.modality_hidden_states[modality], config.modality_config(modality).num_prefix_tokens
    if (number := segments.get(modality, 1)) > 1:
        return hidden_states.unflatten(1, (number, -1))[:, :, prefix:].flatten(1, 2)
    return hidden_states[:, prefix:]
