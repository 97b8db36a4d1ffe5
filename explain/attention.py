# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Who attends to whom: the attention weights of a batch, and what they sum up to.

`attention_maps` computes the weights under any attention implementation; `modality_attention`, `attention_rollout` and
`token_relevance` sum them up.

Shapes: B rows, L tokens of the joint sequence, H heads, M modalities.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import nn

from mixture_of_transformers.attribution_mot import inference, model_inputs
from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.layouts_mot import PaddedTokens, WrittenOut


@dataclass
class AttentionMaps:
    """
    Who attends to whom in a batch; see `attention_maps`.

    Args:
        weights: layer -> (B, H, L, L), queries by keys; the joint layers count from 0, the global ones follow. A real
            query's row sums to 1; where the query or the key is absent, there is 0.
        mask: (B, L) bool, which tokens are real.
        places: modality -> its slice of the joint sequence.
        encoder_weights: on request, modality -> (B, H_m, L_m, L_m) of each layer of its encoder.
        config: that of the model.
        inputs: the batch.
    """

    weights: dict[int, torch.Tensor]
    mask: torch.Tensor
    places: dict[str, slice]
    encoder_weights: dict[str, list[torch.Tensor]]
    config: MoTConfig = field(repr=False)
    inputs: dict[str, torch.Tensor] = field(repr=False)

    def layer(self, layer: int, head: int | None = None) -> torch.Tensor:
        """The weights of one head, or the mean over all heads, (B, L, L); negative layers count from the last."""
        number = self.config.num_hidden_layers
        chosen = layer + number if layer < 0 else layer
        if chosen not in self.weights:
            raise ValueError(
                f"`layer` is {layer}, but these maps hold layers {', '.join(map(str, self.weights)) or 'none'} of "
                f"{number}: name it in `attention_maps(..., layers=...)`."
            )
        weights = self.weights[chosen]
        if head is None:
            return weights.mean(dim=1)
        if not 0 <= head < weights.shape[1]:
            raise ValueError(
                f"`head` is {head}, but there are {weights.shape[1]}: expected 0 to {weights.shape[1] - 1}."
            )
        return weights[:, head]

    def real(self, modality: str, row: int) -> torch.Tensor:
        """The places of a row's real tokens of one modality, (n,), of which it must have some."""
        self.check_row(row)
        part = self.places.get(modality, slice(0, 0))
        real = part.start + self.mask[row, part].nonzero()[:, 0]
        if not len(real):
            raise ValueError(f"Row {row} has no {modality}: it has {', '.join(self.present(row)) or 'nothing'}.")
        return real

    def present(self, row: int) -> list[str]:
        """The modalities that a row has."""
        return [m for m, part in self.places.items() if self.mask[row, part].any()]

    def check_row(self, row: int) -> None:
        """Raise a ValueError for a row that the batch does not have, or that has no token."""
        if not 0 <= row < len(self.mask):
            raise ValueError(
                f"`row` is {row}, but the batch has {len(self.mask)}: expected 0 to {len(self.mask) - 1}."
            )
        if not self.mask[row].any():
            raise ValueError(f"Row {row} has no token of any modality, so there is nothing to show.")


def layer_weights(
    layer: nn.Module, hidden_states: torch.Tensor, masks: dict[str, torch.Tensor], joint: bool
) -> torch.Tensor:
    """(B, H, L, L) of a layer that was given these states (B, L, d); zero where the query or the key is absent."""
    mask = torch.cat(list(masks.values()), dim=1)
    layout = WrittenOut.of(mask, hidden_states, tuple(part.shape[1] for part in masks.values()))
    parts = ({m: PaddedTokens(part) for m, part in masks.items()},) if joint else ()
    _, weights = layer(hidden_states, layout, *parts)
    return weights.float().masked_fill(~(mask[:, None, :, None] & mask[:, None, None, :]), 0)


def attention_maps(
    model: nn.Module, inputs: dict, layers: Iterable[int] | None = None, encoders: bool = False
) -> AttentionMaps:
    """
    The attention weights of the joint and global layers from one forward over a batch. The model may use any attention
    implementation: the chosen layers alone are run once more, from the states that went into them, with their softmax
    written out. The model stays as it was.

    Args:
        model: a `MoTModel`, or any model with a head.
        inputs: a batch of the processor or the collator, on the model's device; `labels` are passed over. What is
            given is attended to together, also in a model for retrieval, as in its `get_fused_features`. Pictures show
            the times of frames, if there are any, also where the model counts tokens.
        layers: which; all by default. The joint layers count from 0, the global ones follow, -1 is the last.
        encoders: whether to have the weights of every layer of the modalities' encoders, too.

    Raises:
        ValueError: if the model has no such layer.
    """
    mot = getattr(model, "mot", model)
    all_layers = [*mot.joint_layers, *mot.global_layers]
    chosen = choose_layers(layers, len(all_layers), encoders)
    inputs = model_inputs(inputs)
    times = () if mot.config.time_positions else {kind.names.times for kind in mot.config.kinds.values()}
    with inference(model):
        encoded = mot.encode(
            **{name: value for name, value in inputs.items() if name not in times},
            output_encoder_hidden_states=encoders,
        )
        states = mot.join(encoded, output_hidden_states=True).hidden_states
        weights = {
            i: layer_weights(all_layers[i], states[i], encoded.masks, joint=i < len(mot.joint_layers)) for i in chosen
        }
        encoder_weights = {
            m: [
                layer_weights(layer, state, {m: encoded.masks[m]}, joint=False)
                for layer, state in zip(mot.encoders[m].layers, found)
            ]
            for m, found in encoded.encoder_hidden_states.items()
        }
    ends = list(itertools.accumulate(mask.shape[1] for mask in encoded.masks.values()))
    places = {m: slice(end - mask.shape[1], end) for end, (m, mask) in zip(ends, encoded.masks.items())}
    mask = torch.cat(list(encoded.masks.values()), dim=1)
    return AttentionMaps(weights, mask, places, encoder_weights, mot.config, inputs)


def choose_layers(layers: Iterable[int] | None, number: int, encoders: bool) -> list[int]:
    """Checked layer numbers from 0, in order."""
    if number == 0 and not (encoders and layers is None):
        raise ValueError(
            "This model has no joint or global layers (`num_joint_layers` and `num_global_layers` are 0), so its "
            "modalities never attend to each other: there are no weights, but those of `encoders=True`."
        )
    if layers is None:
        return list(range(number))
    layers = list(layers)
    for layer in layers:
        if not -number <= layer < number:
            raise ValueError(
                f"`layers` holds {layer}, but the model has {number} joint and global layers: expected 0 to "
                f"{number - 1}, or -{number} to -1 from the last."
            )
    return sorted({layer % number for layer in layers})


def modality_attention(maps: AttentionMaps) -> dict[int, torch.Tensor]:
    """
    How much attention the modalities pay to each other: the mass that the mean query of one modality (first M) puts on
    all keys of another (second M).

    Returns:
        layer -> (B, H, M, M), with the modalities in the order of `maps.places`. Rows sum to 1; those of a modality
        that the batch's row lacks are NaN.
    """
    belongs = torch.stack([torch.zeros_like(maps.mask) for _ in maps.places], dim=1)  # (B, M, L)
    for i, part in enumerate(maps.places.values()):
        belongs[:, i, part] = maps.mask[:, part]
    belongs = belongs.float()
    count = belongs.sum(dim=-1)[:, None, :, None]  # (B, 1, M, 1)
    return {
        layer: torch.einsum("bmq,bhqk,bnk->bhmn", belongs, weights, belongs) / count.masked_fill(count == 0, torch.nan)
        for layer, weights in maps.weights.items()
    }


def attention_rollout(maps: AttentionMaps) -> torch.Tensor:
    """
    How much of what each token became goes back to each token that came in, by attention rollout (arXiv 2005.00928):
    the product over the layers of (A + I) / 2, with A the mean over heads. The residual connection counts for half of
    each layer. The layers are those that the maps hold: `attention_maps(model, inputs, encoders=True)` holds all.

    Returns:
        (B, L, L), outputs by inputs; rows of real tokens sum to 1, what is absent is 0.
    """
    batch_size, length = maps.mask.shape
    identity = torch.eye(length, device=maps.mask.device)
    rollout = identity.repeat(batch_size, 1, 1)
    for m, layers in maps.encoder_weights.items():
        part = maps.places[m]
        for weights in layers:
            own = (weights.mean(dim=1) + identity[part, part]) / 2
            rollout[:, part, part] = own @ rollout[:, part, part]
    for _, weights in sorted(maps.weights.items()):
        rollout = (weights.mean(dim=1) + identity) / 2 @ rollout
    return rollout * (maps.mask[:, :, None] & maps.mask[:, None, :])


def token_relevance(maps: AttentionMaps) -> torch.Tensor:
    """
    How much of the fused vector goes back to each token that came in, by `attention_rollout`, (B, L); rows sum to 1.
    The outputs are read as late fusion reads them, each present modality equally (its cls token, or else the mean of
    its tokens). Other fusions weigh them by what they learned, which no rollout knows.
    """
    reads = torch.zeros(maps.mask.shape, device=maps.mask.device)
    for m, part in maps.places.items():
        pooled = maps.mask[:, part].float()
        tower = maps.config.modality_config(m)
        if tower.use_cls_token:
            pooled[:, 1:] = 0
        else:
            pooled[:, : tower.num_register_tokens] = 0
        reads[:, part] = pooled / pooled.sum(dim=1, keepdim=True).clamp(min=1)
    reads = reads / reads.sum(dim=1, keepdim=True).clamp(min=1)
    return (reads[:, None] @ attention_rollout(maps))[:, 0]
