# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From many tokens to one vector: each modality's tokens are pooled, and the present modalities' vectors are fused.

A fusion takes, for each modality, its part of the joint sequence and the mask of its real tokens, and returns one
vector for each row.
"""

import torch
from torch import nn


def pool(hidden_states: torch.Tensor, mask: torch.Tensor, use_cls_token: bool) -> torch.Tensor:
    """
    One modality's vector: its cls token, or else the mean of its real tokens (zero where a row has none).

    Args:
        hidden_states: (B, L, d), finite everywhere.
        mask: (B, L) bool, True = real.
        use_cls_token: whether the first token stands for the modality.

    Returns:
        (B, d).
    """
    if use_cls_token:
        return hidden_states[:, 0] * mask[:, :1]
    # Summed in float32: half precision overflows over long sequences.
    total = (hidden_states * mask[..., None]).sum(dim=1, dtype=torch.float32)  # (B, d)
    return (total / mask.sum(dim=1, keepdim=True).clamp(min=1)).to(hidden_states.dtype)


class MoTMeanFusion(nn.Module):
    """The mean of the present modalities' pooled vectors; a row without any token gets zeros."""

    def __init__(self, config):
        super().__init__()
        self.use_cls_token = {m: config.modality_config(m).use_cls_token for m in config.modalities}

    def forward(self, hidden_states: dict[str, torch.Tensor], masks: dict[str, torch.Tensor]) -> torch.Tensor:
        """hidden_states: modality -> (B, L_m, d); masks: modality -> (B, L_m) bool. Returns (B, d)."""
        pooled = [pool(hidden_states[m], masks[m], self.use_cls_token[m]) for m in hidden_states]
        present = torch.stack([masks[m].any(dim=1) for m in hidden_states], dim=1)  # (B, M)
        return torch.stack(pooled, dim=1).sum(dim=1) / present.sum(dim=1, keepdim=True).clamp(min=1)


FUSIONS = {"mean": MoTMeanFusion}
