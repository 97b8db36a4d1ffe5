# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a model's weights cost without the model: a bare loop over them, and the floor of their matrix products.

The loop is plain functions over weight tensors that give what the model gives: each modality's tokens stay a tensor of
their own, a slice of the joint sequence, and every attention is one call of PyTorch's. The floor executes nothing but
the GEMMs and the two batched products of each attention, into buffers that exist before.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional as F

from mixture_of_transformers import MoTConfig, MoTModel
from mixture_of_transformers.embeddings_mot import sinusoids

from .shapes import FEATURES

Pair = tuple[torch.Tensor, torch.Tensor]  # weight and bias


class Weights:
    """A model's parameters by the names that checkpoints rely on."""

    def __init__(self, model: MoTModel):
        self.parameters = dict(model.named_parameters())

    def pair(self, name: str) -> Pair:
        return self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]

    def attention(self, name: str) -> list[Pair]:
        """Queries, keys, values, output."""
        return [self.pair(f"{name}.{projection}_proj") for projection in "qkvo"]

    def layer(self, name: str) -> tuple[Pair, list[Pair], Pair, Pair, Pair]:
        """Norm, attention, norm, and the two layers of the MLP."""
        norms = [self.pair(f"{name}.layernorm_{place}") for place in ("before", "after")]
        return (
            norms[0],
            self.attention(f"{name}.attention"),
            norms[1],
            self.pair(f"{name}.mlp.fc1"),
            self.pair(f"{name}.mlp.fc2"),
        )


# ---------------------------------------------------------------------------------------------------------------------
# The bare loop
# ---------------------------------------------------------------------------------------------------------------------


def normed(tokens: torch.Tensor, norm: Pair) -> torch.Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:], *norm, 1e-5)


def project(tokens: torch.Tensor, pairs: list[Pair], heads: int) -> list[torch.Tensor]:
    """Queries, keys and values, each (B, H, L, D)."""
    return [F.linear(tokens, *pair).unflatten(-1, (heads, -1)).transpose(1, 2) for pair in pairs[:3]]


def attend(query, key, value, mask: torch.Tensor | None) -> torch.Tensor:
    return F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)


def mlp(tokens: torch.Tensor, norm: Pair, first: Pair, second: Pair) -> torch.Tensor:
    return F.linear(F.gelu(F.linear(normed(tokens, norm), *first)), *second)


def encoder_layer(tokens: torch.Tensor, weights, heads: int, mask: torch.Tensor | None) -> torch.Tensor:
    norm, pairs, *after = weights
    attended = attend(*project(normed(tokens, norm), pairs, heads), mask)
    tokens = tokens + F.linear(attended, *pairs[3])
    return tokens + mlp(tokens, *after)


def joint_layer(parts: list[torch.Tensor], experts: list, heads: int, mask: torch.Tensor | None):
    projected = [project(normed(part, norm), pairs, heads) for part, (norm, pairs, *_) in zip(parts, experts)]
    attended = attend(*(torch.cat(tensors, dim=2) for tensors in zip(*projected)), mask)
    attended = attended.split([part.shape[1] for part in parts], dim=1)
    parts = [part + F.linear(seen, *pairs[3]) for part, seen, (_, pairs, *_) in zip(parts, attended, experts)]
    return [part + mlp(part, *after) for part, (_, _, *after) in zip(parts, experts)]


def bare_loop(
    model: MoTModel, tokens: dict[str, int], masks: dict[str, torch.Tensor] | None = None
) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
    """
    The forward of a model of ready features as a function from its inputs to the joint sequence (B, L, d).

    Args:
        tokens: modality -> its (padded) length.
        masks: modality -> (B, length) bool; padded tokens are then computed, but not attended to.
    """
    config, weights = model.config, Weights(model)
    heads, modalities = config.num_attention_heads, list(tokens)
    stems = [weights.pair(f"embeddings.{m}.projection") for m in modalities]
    vectors = [weights.parameters[f"modality_embeddings.{m}"] for m in modalities]
    positions = [sinusoids(length, config.hidden_size) for length in tokens.values()]
    encoders = [
        [weights.layer(f"encoders.{m}.layers.{i}") for i in range(config.modality_config(m).num_hidden_layers)]
        for m in modalities
    ]
    joint = [
        [weights.layer(f"joint_layers.{i}.experts.{m}") for m in modalities] for i in range(config.num_joint_layers)
    ]
    shared = [
        (weights.pair(f"global_layers.{i}.layernorm"), weights.attention(f"global_layers.{i}.attention"))
        for i in range(config.num_global_layers)
    ]
    own, together = [None] * len(modalities), None
    if masks is not None:
        own = [attention_mask(masks[m]) for m in modalities]
        together = attention_mask(torch.cat([masks[m] for m in modalities], dim=1))

    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        parts = []
        for i, modality in enumerate(modalities):
            part = F.linear(inputs[FEATURES[modality]], *stems[i]) + (positions[i] + vectors[i])
            for layer in encoders[i]:
                part = encoder_layer(part, layer, heads, own[i])
            parts.append(part)
        for experts in joint:
            parts = joint_layer(parts, experts, heads, together)
        sequence = torch.cat(parts, dim=1)
        for norm, pairs in shared:
            attended = attend(*project(normed(sequence, norm), pairs, heads), together)
            sequence = sequence + F.linear(attended, *pairs[3])
        # The mean over each modality, then over the modalities: the fused vector, which the model gives as well.
        torch.stack([part.mean(dim=1) for part in sequence.split(list(tokens.values()), dim=1)]).mean(dim=0)
        return sequence

    return forward


def attention_mask(mask: torch.Tensor) -> torch.Tensor:
    """(B, 1, 1, L) bool; a row without any token attends to all, since a softmax over nothing is NaN."""
    return (mask | ~mask.any(dim=1, keepdim=True))[:, None, None]


# ---------------------------------------------------------------------------------------------------------------------
# The floor
# ---------------------------------------------------------------------------------------------------------------------


def floor(model: MoTModel, batch_size: int, tokens: dict[str, int]) -> Callable[[], None]:
    """A function that executes the matrix products of a forward, and nothing else."""
    weights, buffers = Weights(model), {}

    def buffer(name: str, *shape: int) -> torch.Tensor:
        return buffers.setdefault((name, shape), torch.randn(shape))

    def gemm(length: int, pair: Pair) -> Callable:
        weight, bias = (tensor.detach() for tensor in pair)
        inputs, outputs = (buffer(name, batch_size * length, size) for name, size in zip("xy", weight.T.shape))
        return partial(torch.addmm, bias, inputs, weight.T, out=outputs)

    def attention(config: MoTConfig, length: int) -> list[Callable]:
        heads = batch_size * config.num_attention_heads
        sizes = (heads, length, config.hidden_size // config.num_attention_heads)
        query, key, value, output = (buffer(name, *sizes) for name in ("query", "key", "value", "output"))
        scores = buffer("scores", heads, length, length)
        return [
            partial(torch.bmm, query, key.transpose(1, 2), out=scores),
            partial(torch.bmm, scores, value, out=output),
        ]

    def layer(name: str, length: int) -> list[Callable]:
        _, pairs, _, *others = weights.layer(name)
        return [gemm(length, pair) for pair in (*pairs, *others)]

    config, total, products = model.config, sum(tokens.values()), []
    for modality, length in tokens.items():
        products.append(gemm(length, weights.pair(f"embeddings.{modality}.projection")))
        for i in range(config.modality_config(modality).num_hidden_layers):
            products += layer(f"encoders.{modality}.layers.{i}", length)
            products += attention(config, length)
    for i in range(config.num_joint_layers):
        for modality, length in tokens.items():
            products += layer(f"joint_layers.{i}.experts.{modality}", length)
        products += attention(config, total)
    for i in range(config.num_global_layers):
        products += [gemm(total, pair) for pair in weights.attention(f"global_layers.{i}.attention")]
        products += attention(config, total)

    @torch.no_grad()
    def run() -> None:
        for product in products:
            product()

    return run


# ---------------------------------------------------------------------------------------------------------------------
# A step
# ---------------------------------------------------------------------------------------------------------------------


def inference(forward: Callable, inputs: dict[str, torch.Tensor]) -> Callable[[], torch.Tensor]:
    """The forward pass, without gradients."""

    @torch.no_grad()
    def run() -> torch.Tensor:
        return forward(inputs)

    return run


def training(forward: Callable, inputs: dict[str, torch.Tensor], module: torch.nn.Module) -> Callable[[], None]:
    """Forward and backward pass with a given gradient of the joint sequence; no optimizer, which costs all the
    same."""
    with torch.no_grad():
        gradient = torch.randn_like(forward(inputs))

    def run() -> None:
        module.zero_grad(set_to_none=True)
        forward(inputs).backward(gradient)

    return run


def model_forward(model: MoTModel, masks: dict[str, torch.Tensor] | None = None) -> Callable:
    """From a model's inputs to the joint sequence; `masks` under the model's names."""

    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return model(**inputs, **(masks or {})).last_hidden_state

    return forward
