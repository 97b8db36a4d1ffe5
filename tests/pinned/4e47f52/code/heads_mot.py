# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the heads of retrieval and pretraining are made of: the common space of all modalities, and the layers that
predict what was hidden.

Shapes: B rows, N tokens, d width.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional as F
from transformers.activations import ACT2FN

from .configuration_mot import MoTConfig
from .loss_mot import Embeddings, clamped, contrastive_loss, gather_batch, several_processes, sigmoid_loss


def contrastive_pairs(modalities: tuple[str, ...]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """
    What a contrastive loss compares: every two modalities, then each modality with all others fused (where these are
    two or more), then each with itself in other rows.
    """
    pairs = [((first,), (second,)) for first, second in itertools.combinations(modalities, 2)]
    if len(modalities) > 2:
        pairs += [(tuple(other for other in modalities if other != m), (m,)) for m in modalities]
    return pairs + [((m,), (m,)) for m in modalities]


def pair_name(first: tuple[str, ...], second: tuple[str, ...]) -> str:
    return f"{'+'.join(first)}-{'+'.join(second)}"


class MoTContrastive(nn.Module):
    """
    The common space of all modalities: a projection head (norm and linear layer) for each modality and one for rows
    that mix several, and the learned scale and bias of each pair that a contrastive loss compares.
    """

    def __init__(self, config: MoTConfig):
        super().__init__()
        self.config = config
        self.projections = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps),
                    nn.Linear(config.hidden_size, config.projection_dim, bias=False),
                )
                for name in (*config.modalities, "fused")
            }
        )
        self.pairs = contrastive_pairs(config.modalities)
        self.log_scale = nn.Parameter(torch.zeros(len(self.pairs)))  # ln(1 / temperature)
        self.bias = nn.Parameter(torch.zeros(len(self.pairs)))  # of the sigmoid loss
        self.stand_in = None  # what cached gradients compute in place of the losses, see `gradient_cache_mot.py`

    def embed(self, pooled: torch.Tensor, has: dict[str, torch.Tensor]) -> Embeddings:
        """
        Fused vectors (B, d) to embeddings (B, projection_dim) of length 1: by the head of the only modality that a row
        has, or by the head for several; zero for a row that has none.
        """
        number = torch.stack(list(has.values())).sum(dim=0)  # (B,)
        chosen = {m: has[m] & (number == 1) for m in has} | {"fused": number > 1}
        vectors = pooled.new_zeros(pooled.shape[0], self.config.projection_dim)
        for name, projection in self.projections.items():
            # Heads that no row chooses run too, so that every parameter takes part in every step.
            rows = chosen.get(name, torch.zeros_like(number, dtype=torch.bool))
            vectors = vectors + projection(pooled).masked_fill(~rows[:, None], 0)
        return Embeddings(F.normalize(vectors.float(), dim=-1), number > 0)

    def logits(self, first: torch.Tensor, second: torch.Tensor, pair: int) -> torch.Tensor:
        """Scaled similarities (N, M) of embeddings (N, d) and (M, d)."""
        logits = clamped(self.log_scale[pair]).exp() * (first @ second.T)
        return logits + self.bias[pair] if self.config.contrastive_loss == "sigmoid" else logits

    def losses(
        self,
        embeddings: dict[tuple[str, ...], Embeddings],
        given: tuple[str, ...],
        labels: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """
        The loss of each pair of which the batch has both sides, and of a fused side at least two modalities. In training
        on several processes the batch is that of all of them.
        """
        if self.stand_in is not None:
            return self.stand_in(embeddings, given, labels)
        if self.training and several_processes():
            flags = [m in given for m in self.config.modalities]
            embeddings, flags, labels = gather_batch(embeddings, flags, labels)
            given = tuple(m for m, flag in zip(self.config.modalities, flags) if flag)
        losses = {}
        for i, (first, second) in enumerate(self.pairs):
            same = first == second
            if same and self.config.contrastive_positives != "label":
                continue
            if first not in embeddings or second[0] not in given or len(set(first) & set(given)) < min(2, len(first)):
                continue
            arguments = (labels, self.config.contrastive_positives, same)
            sides = (embeddings[first], embeddings[second])
            if self.config.contrastive_loss == "sigmoid":
                loss = sigmoid_loss(*sides, self.log_scale[i], self.bias[i], *arguments)
            else:
                loss = contrastive_loss(*sides, self.log_scale[i], *arguments)
            losses[pair_name(first, second)] = loss
        return losses

    def mean(self, losses: dict[str, torch.Tensor], embeddings: dict[tuple[str, ...], Embeddings]) -> torch.Tensor:
        """The mean loss, 0 if there is none; all embeddings, scales and biases take part, some of them times zero."""
        zero = 0.0 * (self.log_scale.sum() + self.bias.sum() + sum(side.vectors.sum() for side in embeddings.values()))
        return sum(losses.values()) / max(len(losses), 1) + zero


def draw_hidden(real: torch.Tensor, ratio: float, span: int) -> torch.Tensor:
    """
    Which of the real tokens (B, N) bool to hide: `ratio` of each row's single tokens, or spans that start anywhere
    (arXiv 2006.11477) and cover that share on average.
    """
    if span == 1:
        order = torch.rand(real.shape, device=real.device).masked_fill(~real, 2.0).argsort(dim=1)
        return order.argsort(dim=1) < (ratio * real.sum(dim=1, keepdim=True)).round()
    rows, length = real.shape
    starts = torch.rand(rows, length + span - 1, device=real.device)  # also before the first token
    starts = starts < 1 - (1 - ratio) ** (1 / span)
    covered = F.max_pool1d(starts.float()[:, None], span, stride=1)[:, 0] > 0
    return covered & real


class MoTTokenHead(nn.Module):
    """Scores of every word of the vocabulary for each text token, as BERT's head (arXiv 1810.04805)."""

    def __init__(self, config: MoTConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = ACT2FN[config.hidden_act]
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        # With weights of its own: the word embeddings start at the scale of the positions, too large for logits.
        self.decoder = nn.Linear(config.hidden_size, config.text_config.vocab_size)

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
    if tower.feature_size is not None:
        return MoTReconstructionHead(config, tower.feature_size)
    if modality == "text":
        return MoTTokenHead(config)
    if modality == "image":
        return MoTReconstructionHead(config, tower.num_channels * tower.patch_size**2)
    return MoTReconstructionHead(config, tower.num_mel_bins * tower.stem_stride)
