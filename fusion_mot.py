# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From many tokens to one vector: how the modalities of a row become what a head reads (`config.fusion_type`).

A fusion takes, for each modality, its part of the joint sequence and the mask of its real tokens, and returns one
vector for each row. Rows may lack any of the modalities; a row that lacks all gets zeros.

Shapes: B rows, L or K tokens, d width, H heads, D width of a head, M modalities.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional as F
from transformers.activations import ACT2FN

from .layers_mot import MoTVectors


def pool(
    hidden_states: torch.Tensor,
    mask: torch.Tensor,
    use_cls_token: bool,
    num_registers: int = 0,
    num_segments: int = 1,
) -> torch.Tensor:
    """
    One modality's vector: its cls token (of several segments their mean), or else the mean of its real tokens (zero
    where a row has none).

    Args:
        hidden_states: (B, L, d), finite everywhere.
        mask: (B, L) bool, True = real.
        use_cls_token: whether the first token stands for the modality.
        num_registers: the first tokens, of each segment, that are left out of a mean.
        num_segments: how many segments of the same length the L tokens are.

    Returns:
        (B, d).
    """
    if use_cls_token and num_segments == 1:
        return hidden_states[:, 0] * mask[:, :1]
    if num_segments > 1:
        kept = slice(0, 1) if use_cls_token else slice(num_registers, None)
        hidden_states, mask = (part.unflatten(1, (num_segments, -1))[:, :, kept] for part in (hidden_states, mask))
        hidden_states, mask = hidden_states.flatten(1, 2), mask.flatten(1, 2)
    else:
        hidden_states, mask = hidden_states[:, num_registers:], mask[:, num_registers:]
    # Summed in float32 at least: half precision overflows over long sequences.
    dtype = torch.promote_types(hidden_states.dtype, torch.float32)
    total = (hidden_states * mask[..., None]).sum(dim=1, dtype=dtype)  # (B, d)
    return (total / mask.sum(dim=1, keepdim=True).clamp(min=1)).to(hidden_states.dtype)


class CrossModalAttention(nn.Module):
    """
    Multi-head attention (arXiv 1706.03762) whose queries come from one modality and whose keys and values come from
    another, with projections of its own.

    Args:
        config: has `hidden_size`, `num_attention_heads` and `attention_dropout`.
    """

    def __init__(self, config):
        super().__init__()
        width = config.hidden_size
        self.heads = (config.num_attention_heads, width // config.num_attention_heads)
        self.dropout = config.attention_dropout
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def forward(
        self, hidden_states: torch.Tensor, context: torch.Tensor, context_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        Args:
            hidden_states: (B, L, d), where the queries come from.
            context: (B, K, d), what they look at; finite everywhere.
            context_mask: (B, K) bool, True = real; None means that all is.

        Returns:
            (B, L, d); zero in rows whose context has no real token.
        """
        query, key, value = (
            projection(tokens).unflatten(-1, self.heads).transpose(1, 2)  # (B, H, L or K, D)
            for projection, tokens in (
                (self.q_proj, hidden_states),
                (self.k_proj, context),
                (self.v_proj, context),
            )
        )
        if context_mask is None:
            context_mask = context.new_ones(context.shape[:2], dtype=torch.bool)
        has_context = context_mask.any(dim=1)[:, None, None]  # (B, 1, 1)
        # A softmax over nothing is NaN: without a context a row looks at all, and what it sees is dropped below.
        attention_mask = (context_mask[:, None] | ~has_context)[:, None]  # (B, 1, 1, K)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, attention_mask, dropout)
        return self.o_proj(attended.transpose(1, 2).flatten(2)).masked_fill(~has_context, 0)


class MoTFusion(nn.Module):
    """What all strategies share: each modality's pooled vector, and in training a stand-in for each one missing."""

    def __init__(self, config):
        super().__init__()
        self.modalities = config.modalities
        configs = {m: config.modality_config(m) for m in config.modalities}
        self.pooling: dict[str, tuple[bool, int]] = {
            m: (c.use_cls_token, c.num_register_tokens) for m, c in configs.items()
        }

    def forward(
        self,
        hidden_states: dict[str, torch.Tensor],
        masks: dict[str, torch.Tensor],
        segments: Mapping[str, int] = MappingProxyType({}),
    ) -> torch.Tensor:
        """
        Args:
            hidden_states: modality -> (B, L_m, d), finite everywhere; any of the model's modalities, in their order.
            masks: modality -> (B, L_m) bool, True = real.
            segments: modality -> how many segments its tokens are, if they are several.

        Returns:
            (B, d); zero for a row without any token.
        """
        has_any = torch.stack([mask.any(dim=1) for mask in masks.values()]).any(dim=0)  # (B,)
        if self.training:
            hidden_states, masks = self.with_stand_ins(hidden_states, masks)
        return self.fuse(hidden_states, masks, segments).masked_fill(~has_any[:, None], 0)

    def with_stand_ins(self, hidden_states: dict[str, torch.Tensor], masks: dict[str, torch.Tensor]):
        """One absent token for each modality that is not given, so that every parameter takes part in every step."""
        some, some_mask = next(iter(hidden_states.values())), next(iter(masks.values()))
        token, absent = torch.zeros_like(some[:, :1]), torch.zeros_like(some_mask[:, :1])
        return (
            {m: hidden_states.get(m, token) for m in self.modalities},
            {m: masks.get(m, absent) for m in self.modalities},
        )

    def pooled(
        self, hidden_states: dict[str, torch.Tensor], masks: dict[str, torch.Tensor], segments: Mapping[str, int]
    ) -> dict[str, torch.Tensor]:
        return {  # (B, d)
            m: pool(tokens, masks[m], *self.pooling[m], num_segments=segments.get(m, 1))
            for m, tokens in hidden_states.items()
        }


class MoTLateFusion(MoTFusion):
    """The mean of the present modalities' pooled vectors."""

    def fuse(
        self, hidden_states: dict[str, torch.Tensor], masks: dict[str, torch.Tensor], segments: Mapping[str, int]
    ) -> torch.Tensor:
        present = torch.stack([mask.any(dim=1) for mask in masks.values()], dim=1)  # (B, M)
        total = torch.stack(list(self.pooled(hidden_states, masks, segments).values())).sum(dim=0)  # (B, d)
        return total / present.sum(dim=1, keepdim=True).clamp(min=1)


class MoTEarlyFusion(MoTFusion):
    """The modalities' pooled vectors side by side, a learned vector for each missing one; linear, norm, activation."""

    def __init__(self, config):
        super().__init__(config)
        width = config.hidden_size
        self.missing = MoTVectors(dict.fromkeys(config.modalities, (1, width)))
        self.projection = nn.Linear(len(config.modalities) * width, width)
        self.layernorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.activation = ACT2FN[config.hidden_act]

    @torch.no_grad()
    def make_room(self, known: tuple[str, ...]) -> None:
        """
        Widen the projection for modalities that were added. What it makes of their vectors, and of the ones that stand
        for them where they are missing, begins as nothing.

        Args:
            known: the modalities that it was made for.
        """
        weight, width = self.projection.weight, self.projection.out_features
        if weight.shape[1] == len(self.modalities) * width:
            return
        wide = weight.new_zeros(width, len(self.modalities), width)
        places = [self.modalities.index(m) for m in known]
        wide[:, places] = weight.unflatten(1, (len(known), width))
        self.projection.weight = nn.Parameter(wide.flatten(1), requires_grad=weight.requires_grad)
        self.projection.in_features = len(self.modalities) * width

    def fuse(
        self, hidden_states: dict[str, torch.Tensor], masks: dict[str, torch.Tensor], segments: Mapping[str, int]
    ) -> torch.Tensor:
        pooled = self.pooled(hidden_states, masks, segments)
        batch_size = next(iter(pooled.values())).shape[0]
        vectors = [
            torch.where(masks[m].any(dim=1, keepdim=True), pooled[m], self.missing(m).to(pooled[m].dtype))
            if m in pooled
            else self.missing(m).expand(batch_size, -1)
            for m in self.modalities
        ]
        return self.activation(self.layernorm(self.projection(torch.cat(vectors, dim=1))))


class MoTHierarchicalFusion(MoTFusion):
    """
    The text attends to the image, the result to the audio and so on, then to itself, and is pooled.

    A level that a row lacks is passed over. A row without text is led by the next modality that it has: the image,
    which then attends to the audio, or the audio alone.
    """

    def __init__(self, config):
        super().__init__(config)
        levels = config.modalities[1:]
        norm = {"normalized_shape": config.hidden_size, "eps": config.layer_norm_eps}
        self.query_norms = nn.ModuleDict({m: nn.LayerNorm(**norm) for m in levels})
        self.context_norms = nn.ModuleDict({m: nn.LayerNorm(**norm) for m in levels})
        self.cross_attentions = nn.ModuleDict({m: CrossModalAttention(config) for m in levels})
        self.layernorm = nn.LayerNorm(**norm)
        self.self_attention = CrossModalAttention(config)

    def fuse(
        self, hidden_states: dict[str, torch.Tensor], masks: dict[str, torch.Tensor], segments: Mapping[str, int]
    ) -> torch.Tensor:
        first, *levels = hidden_states
        leading = hidden_states[first]  # (B, L, d), which grows: whichever modality leads a row climbs the levels
        for m in levels:
            query, context = self.query_norms[m](leading), self.context_norms[m](hidden_states[m])
            leading = leading + self.cross_attentions[m](query, context, masks[m])
            leading = torch.cat([leading, hidden_states[m]], dim=1)

        leads = self.leads(masks)
        lead_mask = torch.cat([masks[m] & leads[m] for m in masks], dim=1)  # (B, L)
        normed = self.layernorm(leading)
        leading = leading + self.self_attention(normed, normed, lead_mask)
        parts = leading.split([tokens.shape[1] for tokens in hidden_states.values()], dim=1)
        own = {m: masks[m] & leads[m] for m in masks}
        pooled = self.pooled(dict(zip(hidden_states, parts)), own, segments)
        return torch.stack(list(pooled.values())).sum(dim=0)

    @staticmethod
    def leads(masks: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """modality -> (B, 1) bool: whether it is the first that the row has."""
        leads: dict[str, torch.Tensor] = {}
        taken = False
        for m, mask in masks.items():
            has = mask.any(dim=1, keepdim=True)
            leads[m] = has & ~taken if leads else has
            taken = taken | has
        return leads


class MoTAttentionFusion(MoTFusion):
    """A learned query looks at all tokens of the joint sequence (attention pooling, arXiv 1810.00825)."""

    def __init__(self, config):
        super().__init__(config)
        self.query = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = CrossModalAttention(config)

    def fuse(
        self, hidden_states: dict[str, torch.Tensor], masks: dict[str, torch.Tensor], segments: Mapping[str, int]
    ) -> torch.Tensor:
        tokens = self.layernorm(torch.cat(list(hidden_states.values()), dim=1))  # (B, L, d)
        query = self.query.expand(tokens.shape[0], -1, -1)
        return self.attention(query, tokens, torch.cat(list(masks.values()), dim=1))[:, 0]


FUSIONS = {
    "early": MoTEarlyFusion,
    "late": MoTLateFusion,
    "hierarchical": MoTHierarchicalFusion,
    "attention": MoTAttentionFusion,
}
