# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The transformer layers: of one modality, of several with weights of their own, and of all with the same weights.

They take the tokens of a batch in a layout of `layouts_mot.py`, padded (B, L, d) or packed (1, N, d), and leave them
in it. Everything but the attention acts token by token.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_mot import MoTConfig
from .layouts_mot import Layout, PaddedTokens
from .sparse_attention_mot import BlockSparsity


def with_zero_gradients(value: torch.Tensor, *unused: torch.Tensor) -> torch.Tensor:
    """
    `value` as it is, but with a gradient of zero for every parameter that `unused` (tensors of at least one element)
    was computed with.

    Every parameter takes part in every training step, whatever a batch lacks. Distributed training (DDP, FSDP, ZeRO)
    needs it: each process waits until all have a gradient for a parameter, so a process that skipped one would keep
    the others waiting forever. What the loss does not need is therefore computed by the layers' usual `forward`, and
    added times zero; adding the parameters themselves would pass by FSDP, which gathers them in that `forward`.
    """
    return value + 0.0 * sum(tensor.mean() for tensor in unused)


class MoTVectors(nn.Module):
    """
    Learned vectors, one for each modality, of `shapes`. Like every parameter they are read in the `forward` of the
    module that owns them and nowhere else, because that is where whatever moves, splits or adapts a model puts them in
    place. (torch's own ParameterDict has no `forward`.)
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]]):
        super().__init__()
        for modality, shape in sorted(shapes.items()):  # by name, an order that saved optimizers rely on
            self.register_parameter(modality, nn.Parameter(torch.zeros(shape)))

    def forward(self, modality: str) -> torch.Tensor:
        return getattr(self, modality)


class MoTAttention(nn.Module):
    """The four projections of a multi-head attention; the layer that owns them decides who attends to whom."""

    def __init__(self, config, key_bias: bool = True):
        super().__init__()
        width = config.hidden_size
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=key_bias)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def forward(self, hidden_states: torch.Tensor) -> list[torch.Tensor]:
        """Queries, keys and values of tokens (..., d), each (..., d)."""
        return [projection(hidden_states) for projection in (self.q_proj, self.k_proj, self.v_proj)]


class MoTMLP(nn.Module):
    """act(X W1 + b1) W2 + b2."""

    def __init__(self, config):
        super().__init__()
        self.activation = ACT2FN[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation(self.fc1(hidden_states)))


class MoTResidual(nn.Module):
    """X + what a sublayer made of X, with dropout and stochastic depth (arXiv 1603.09382) in training."""

    def __init__(self, config, drop_path: float):
        super().__init__()
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.drop_path = drop_path

    def forward(self, hidden_states: torch.Tensor, update: torch.Tensor, layout: Layout) -> torch.Tensor:
        update = self.dropout(update)
        if self.training and self.drop_path > 0:
            keep = 1 - self.drop_path
            kept = layout.rand(update) < keep  # whole rows are dropped
            update = update * kept.to(update.dtype) / keep
        return hidden_states + update


class MoTBlock(nn.Module):
    """
    The parts of a pre-norm transformer layer, with the attention itself left to whoever owns the block: first
    `project`, then attention over any set of tokens, then `update`.
    """

    def __init__(self, config, key_bias: bool, drop_path: float):
        super().__init__()
        self.config = config
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = MoTAttention(config, key_bias)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = MoTMLP(config)
        self.residual = MoTResidual(config, drop_path)

    def project(self, hidden_states: torch.Tensor) -> list[torch.Tensor]:
        return self.attention(self.layernorm_before(hidden_states))

    def update(self, hidden_states: torch.Tensor, attended: torch.Tensor, layout: Layout) -> torch.Tensor:
        hidden_states = self.residual(hidden_states, self.attention.o_proj(attended), layout)
        return self.residual(hidden_states, self.mlp(self.layernorm_after(hidden_states)), layout)


class MoTEncoderLayer(MoTBlock, GradientCheckpointingLayer):
    """A layer of one modality's encoder: X' = X + MultiHead(LN(X)); X'' = X' + FFN(LN(X'))."""

    is_causal = False

    def __init__(self, config, layer: int, drop_path: float):
        super().__init__(config, config.key_bias, drop_path)
        self.block_sparsity = BlockSparsity.of(config.sparse_attention, layer, is_encoder=True)

    def forward(self, hidden_states: torch.Tensor, layout: Layout, **kwargs):
        attended, weights = layout.attend(self, *self.project(hidden_states), **kwargs)
        return self.update(hidden_states, attended, layout), weights


def start_as_identity(layer: nn.Module) -> None:
    """Mark the last projections of a layer's residual branches: their initial weights are zero."""
    for name, module in layer.named_modules():
        if name.endswith(("attention.o_proj", "mlp.fc2")):
            module.initial_std = 0.0


class MoTJointLayer(GradientCheckpointingLayer):
    """
    A layer of arXiv 2411.04996: each modality has norms, projections and a feed-forward layer of its own (its expert),
    and one attention goes over the tokens of all modalities.
    """

    is_causal = False

    def __init__(self, config: MoTConfig, layer: int, drop_path: float):
        super().__init__()
        self.config = config
        self.block_sparsity = BlockSparsity.of(config.sparse_attention, layer)
        self.experts = nn.ModuleDict(
            {m: MoTBlock(config, config.modality_config(m).key_bias, drop_path) for m in config.modalities}
        )
        if config.zero_init_new_layers:
            start_as_identity(self)

    def forward(
        self,
        hidden_states: torch.Tensor,
        layout: Layout,
        parts: dict[str, Layout],
        stand_ins: torch.Tensor | None = None,
        unseen: Sequence[str] = (),
        **kwargs,
    ):
        """
        Args:
            parts: the layout of each modality, in this order.
            stand_ins: (1, len(unseen), d) one token of each modality of `unseen`, which the batch lacks.

        The stand-ins pass their experts, but nothing attends to them; they reach the sequence times zero.
        """
        experts = [self.experts[m] for m in parts]
        own = layout.by_modality(hidden_states)
        projected = [expert.project(part) for expert, part in zip(experts, own)]
        attended, weights = layout.attend(self, *(layout.by_row(list(part)) for part in zip(*projected)), **kwargs)
        updated = [
            expert.update(*states)
            for expert, *states in zip(experts, own, layout.by_modality(attended), parts.values())
        ]
        hidden_states = layout.by_row(updated)
        if unseen:
            tokens = stand_ins.split(1, dim=1)
            alone = [self.run_alone(self.experts[m], token) for m, token in zip(unseen, tokens)]
            hidden_states = with_zero_gradients(hidden_states, *alone)
        return hidden_states, weights

    @staticmethod
    def run_alone(expert: MoTBlock, token: torch.Tensor) -> torch.Tensor:
        """What an expert makes of one token (1, 1, d): it depends on all of the expert's parameters."""
        query, key, value = expert.project(token)
        # Attention over one token is its value.
        return expert.update(token, with_zero_gradients(value, query, key), PaddedTokens())


class MoTGlobalLayer(GradientCheckpointingLayer):
    """A layer that all modalities share: X + GlobalMultiHead(LN(X)), and a feed-forward layer if the config asks."""

    is_causal = False

    def __init__(self, config: MoTConfig, layer: int):
        super().__init__()
        self.config = config
        self.block_sparsity = BlockSparsity.of(config.sparse_attention, layer)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = MoTAttention(config)
        if config.global_mlp:
            self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
            self.mlp = MoTMLP(config)
        self.residual = MoTResidual(config, drop_path=0.0)
        if config.zero_init_new_layers:
            start_as_identity(self)

    def forward(self, hidden_states: torch.Tensor, layout: Layout, **kwargs):
        attended, weights = layout.attend(self, *self.attention(self.layernorm(hidden_states)), **kwargs)
        hidden_states = self.residual(hidden_states, self.attention.o_proj(attended), layout)
        if self.config.global_mlp:
            hidden_states = self.residual(hidden_states, self.mlp(self.layernorm_after(hidden_states)), layout)
        return hidden_states, weights


def run_layers(
    layers: Iterable[nn.Module], hidden_states: torch.Tensor, *args, keep_states: bool, keep_weights: bool, **kwargs
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """
    Run layers one after another.

    Returns:
        The tokens; on request the states before the first layer and after each, and each layer's attention weights.
    """
    states, weights = [hidden_states] if keep_states else [], []
    for layer in layers:
        # Tensors go by position: reentrant gradient checkpointing tracks no others.
        hidden_states, layer_weights = layer(hidden_states, *args, **kwargs)
        if keep_states:
            states.append(hidden_states)
        if keep_weights:
            weights.append(layer_weights)
    return hidden_states, states, weights


def drop_path_rates(rate: float, num_layers: int) -> list[float]:
    """Stochastic depth grows linearly from 0 at the first layer to `rate` at the last."""
    return [rate * i / max(num_layers - 1, 1) for i in range(num_layers)]
