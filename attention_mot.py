# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""How queries attend to keys: multi-head attention of equally long rows, by the implementation that the config names.

Shapes: B rows, L tokens of a row, d width, H heads, D width of a head.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import logging

from .positions_mot import seen_by_all

logger = logging.get_logger(__name__)


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(Q K^T / sqrt(D)) V, written out: q, k, v (B, H, L, D) -> ((B, L, H, D), weights (B, H, L, L))."""
    scores = (query @ key.transpose(-1, -2)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    output = F.dropout(weights, p=dropout, training=module.training) @ value
    return output.transpose(1, 2).contiguous(), weights


def attention_of(module: nn.Module, head_size: int, implementation: str | None = None) -> Callable:
    """
    What attends from queries to keys, (B, H, L, D) -> ((B, L, H, D), weights (B, H, L, L) or None), as `module` says:
    its config is read once for all calls.

    Args:
        implementation: another one than the config names.
    """
    config = module.config
    implementation = implementation or config._attn_implementation
    interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
    dropout = config.attention_dropout if module.training else 0.0
    return partial(interface, module, scaling=head_size**-0.5, dropout=dropout)


def multi_head_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    implementation: str | None = None,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    Attention by the implementation that `module.config` names.

    Args:
        query, key, value: (B, L, d). Keys and values may have fewer heads, each for a group of the queries', if the
            implementation knows the `num_key_value_groups` of `module`.
        attention_mask: what that implementation takes.
        implementation: another one, for this call.
        kwargs: handed to it.

    Returns:
        (B, L, d), and the weights (B, H, L, L) if the implementation forms them.
    """
    head_size = query.shape[-1] // module.config.num_attention_heads
    attention = attention_of(module, head_size, implementation)
    query, key, value = (tokens.unflatten(-1, (-1, head_size)).transpose(1, 2) for tokens in (query, key, value))
    output, weights = attention(query, key, value, attention_mask, **kwargs)
    return output.flatten(2), weights  # (B, L, H, D) -> (B, L, d)


def attention_mask_for(config, hidden_states: torch.Tensor, mask: torch.Tensor | None, is_causal: bool = False):
    """
    The mask that the config's attention implementation takes: every token may attend to every real token, or, if
    causal, to those up to itself.
    """
    if is_causal:
        return create_causal_mask(config, hidden_states, attention_mask=mask, past_key_values=None)
    if mask is None:
        return None
    return create_bidirectional_mask(config=config, inputs_embeds=hidden_states, attention_mask=seen_by_all(mask))


def warn_of_weights(config) -> None:
    """Warn, once, of attention weights under an implementation that is fast because it never forms them."""
    if config._attn_implementation not in (None, "eager") and not torch.compiler.is_compiling():
        logger.warning_once(
            f'`attn_implementation="{config._attn_implementation}"` never forms attention weights: calls that ask for '
            "them are computed with padding and their softmax written out, which takes more time, and memory that "
            "grows with the square of the length."
        )
