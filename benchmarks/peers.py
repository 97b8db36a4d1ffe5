# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What others would run in the same arrangement, with random weights: one stack of layers per modality on top of a
projection and positions, then one attention over all tokens; and the routing of joint layers, and of the causal
model's, by boolean masks.

PyTorch's layers are `nn.TransformerEncoderLayer` (pre-norm, GELU) and `nn.MultiheadAttention`; ViT, BERT and FLAVA are
transformers' own layers. ViT and BERT attend through scaled_dot_product_attention; FLAVA has only an attention that is
written out. BERT is post-norm, as it always was.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, FlavaMultimodalConfig, ViTConfig
from transformers.models.bert.modeling_bert import BertAttention, BertLayer
from transformers.models.flava.modeling_flava import FlavaAttention, FlavaLayer
from transformers.models.vit.modeling_vit import ViTAttention, ViTLayer

from mixture_of_transformers import MoTModel
from mixture_of_transformers.modeling_causal_mot import MoTForCausalLM
from mixture_of_transformers.positions_mot import sinusoids

from .bare import Weights, attend, mlp, normed
from .shapes import FEATURES, Shape


class GlobalAttention(nn.Module):
    """X + Attention(LayerNorm(X)), around whatever attends."""

    def __init__(self, width: int, attention: Callable[[torch.Tensor], torch.Tensor], module: nn.Module):
        super().__init__()
        self.layernorm = nn.LayerNorm(width)
        self.module, self.attention = module, attention

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states + self.attention(self.layernorm(hidden_states))


class Arrangement(nn.Module):
    """Projections and positions, a stack of layers for each modality, one global attention: ready features in."""

    def __init__(self, shape: Shape, tokens: dict[str, int], make_layer: Callable, shared: nn.Module):
        super().__init__()
        width = shape.hidden_size
        self.stems = nn.ModuleDict({m: nn.Linear(width, width) for m in tokens})
        self.vectors = nn.ParameterDict({m: nn.Parameter(torch.zeros(1, width)) for m in tokens})
        self.stacks = nn.ModuleDict({m: nn.ModuleList([make_layer() for _ in range(shape.layers)]) for m in tokens})
        self.shared = shared
        self.positions = {m: sinusoids(length, width) for m, length in tokens.items()}

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        parts = []
        for modality, stack in self.stacks.items():
            hidden_states = self.stems[modality](inputs[FEATURES[modality]])
            hidden_states = hidden_states + (self.positions[modality] + self.vectors[modality])
            for layer in stack:
                hidden_states = first(layer(hidden_states))
            parts.append(hidden_states)
        return first(self.shared(torch.cat(parts, dim=1)))


def first(output: torch.Tensor | tuple) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


def pytorch(shape: Shape, tokens: dict[str, int]) -> Arrangement:
    width, heads = shape.hidden_size, shape.heads

    def make_layer() -> nn.Module:
        return nn.TransformerEncoderLayer(
            width, heads, shape.intermediate_size, 0.0, "gelu", batch_first=True, norm_first=True
        )

    attention = nn.MultiheadAttention(width, heads, batch_first=True)
    shared = GlobalAttention(width, lambda x: attention(x, x, x, need_weights=False)[0], attention)
    return Arrangement(shape, tokens, make_layer, shared)


def settings(shape: Shape) -> dict:
    """The fields that transformers' configs share."""
    return shape.joint | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "layer_norm_eps": 1e-5}


def vit(shape: Shape, tokens: dict[str, int]) -> Arrangement:
    config = ViTConfig(**settings(shape), attn_implementation="sdpa")
    attention = ViTAttention(config)
    shared = GlobalAttention(shape.hidden_size, lambda x: attention(x)[0], attention)
    return Arrangement(shape, tokens, lambda: ViTLayer(config), shared)


def bert(shape: Shape, tokens: dict[str, int]) -> Arrangement:
    config = BertConfig(**settings(shape), attn_implementation="sdpa")
    return Arrangement(shape, tokens, lambda: BertLayer(config), BertAttention(config))


def flava(shape: Shape, tokens: dict[str, int]) -> Arrangement:
    config = FlavaMultimodalConfig(**settings(shape))
    attention = FlavaAttention(config)
    shared = GlobalAttention(shape.hidden_size, lambda x: attention(x)[0], attention)
    return Arrangement(shape, tokens, lambda: FlavaLayer(config), shared)


PEERS = {"nn.TransformerEncoder": pytorch, "ViT": vit, "BERT": bert, "FLAVA": flava}


# ---------------------------------------------------------------------------------------------------------------------
# Joint layers that find a modality's tokens by boolean masks
# ---------------------------------------------------------------------------------------------------------------------


def merge(parts: list[torch.Tensor], where: list[torch.Tensor]) -> torch.Tensor:
    """Scatter each modality's tokens (n, d) to where its mask (B, L) says."""
    output = parts[0].new_empty(*where[0].shape, parts[0].shape[-1])
    for part, mask in zip(parts, where):
        output[mask] = part
    return output


def routed_loop(model: MoTModel, tokens: dict[str, int]) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
    """
    The joint layers of a model of ready features, with its weights, by Algorithm 1 of arXiv 2411.04996 as its code
    arranges it: masks say which token of the sequence belongs to which modality, and attention and feed-forward layer
    each gather their tokens and scatter their results.
    """
    config, weights = model.config, Weights(model)
    heads, modalities = config.num_attention_heads, list(tokens)
    kinds = torch.repeat_interleave(torch.arange(len(tokens)), torch.tensor(list(tokens.values())))  # (L,)
    vectors = [weights.parameters[f"modality_embeddings.{m}"] for m in modalities]
    stems = [weights.pair(f"embeddings.{m}.projection") for m in modalities]
    positions = [sinusoids(length, config.hidden_size) for length in tokens.values()]
    layers = [
        [weights.layer(f"joint_layers.{i}.experts.{m}") for m in modalities] for i in range(config.num_joint_layers)
    ]

    def layer(hidden_states: torch.Tensor, experts: list, where: list[torch.Tensor]) -> torch.Tensor:
        parts = [normed(hidden_states[mask], norm) for mask, (norm, *_) in zip(where, experts)]
        projected = [[F.linear(part, *pair) for pair in pairs[:3]] for part, (_, pairs, *_) in zip(parts, experts)]
        merged = [merge(tensors, where).unflatten(-1, (heads, -1)).transpose(1, 2) for tensors in zip(*projected)]
        attended = attend(*merged, None)
        updates = [F.linear(attended[mask], *pairs[3]) for mask, (_, pairs, *_) in zip(where, experts)]
        hidden_states = hidden_states + merge(updates, where)
        return hidden_states + merge(
            [mlp(hidden_states[mask], *after) for mask, (_, _, *after) in zip(where, experts)], where
        )

    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        hidden_states = torch.cat(
            [F.linear(inputs[FEATURES[m]], *stems[i]) + (positions[i] + vectors[i]) for i, m in enumerate(modalities)],
            dim=1,
        )
        where = [(kinds == i).expand(hidden_states.shape[:2]) for i in range(len(modalities))]
        for experts in layers:
            hidden_states = layer(hidden_states, experts, where)
        return hidden_states

    return forward


def routed_decoder(model: MoTForCausalLM) -> Callable[..., torch.Tensor]:
    """The loss of a causal model, with its weights and its attention, routed in the same way."""
    config, decoder = model.config, model.model
    ranges = {name: (start, stop) for name, start, stop in config.token_ranges}

    def layer(block, hidden_states: torch.Tensor, where: dict[str, torch.Tensor], positions: tuple) -> torch.Tensor:
        masks, experts = list(where.values()), [(e, block.experts[e]) for e in where]
        projected = [block.project(e, hidden_states[where[e]]) for e, _ in experts]
        merged = [merge(tensors, masks) for tensors in zip(*projected)]
        attended, _ = block.attention(*merged, positions, None, None, None)
        updates = [own.self_attn.o_proj(attended[where[e]]) for e, own in experts]
        hidden_states = hidden_states + merge(updates, masks)
        updates = [own.mlp(own.post_attention_layernorm(hidden_states[where[e]])) for e, own in experts]
        return hidden_states + merge(updates, masks)

    def forward(input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        where = {m: (input_ids >= start) & (input_ids < stop) for m, (start, stop) in ranges.items()}
        where = {"text": ~torch.stack(list(where.values())).any(dim=0)} | where  # each (B, L)
        hidden_states = decoder.embed_tokens(input_ids)
        positions = decoder.rotary_emb(hidden_states, torch.arange(input_ids.shape[1])[None])
        for block in decoder.layers:
            hidden_states = layer(block, hidden_states, where, positions)
        normed = [decoder.norms[e](hidden_states[mask]) for e, mask in where.items()]
        logits = model.lm_head(merge(normed, list(where.values())))
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    return forward
