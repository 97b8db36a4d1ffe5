# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Seeing why: who attends to whom, and what each modality contributed to an answer.

`attention_maps` computes the attention weights of a batch, under any attention implementation; `attention_rollout` and
`modality_attention` sum them up; `modality_contributions` asks what the answer would be without each modality.

Shapes: B rows, L tokens of the joint sequence, H heads, M modalities, D width of an embedding.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F

from .attention_mot import PaddedTokens, eager_attention_forward
from .configuration_mot import MoTConfig

# ---------------------------------------------------------------------------------------------------------------------
# Attention weights
# ---------------------------------------------------------------------------------------------------------------------


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
        if not 0 <= row < len(self.mask):
            raise ValueError(
                f"`row` is {row}, but the batch has {len(self.mask)}: expected 0 to {len(self.mask) - 1}."
            )


class WrittenOut(PaddedTokens):
    """Padded tokens whose attention is written out, and so forms its weights, whatever the model's implementation."""

    def attend(self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **kwargs):
        attention_mask, sparsity = self.attention_mask, module.block_sparsity
        if sparsity is not None and sparsity.applies_to(self.lengths):
            attention_mask = self.sparse_mask(query, sparsity)
        heads = (module.config.num_attention_heads, -1)
        query, key, value = (tokens.unflatten(-1, heads).transpose(1, 2) for tokens in (query, key, value))
        scaling = query.shape[-1] ** -0.5
        output, weights = eager_attention_forward(module, query, key, value, attention_mask, scaling)
        return output.flatten(2), weights


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module is in the mode that it was in."""
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in was_training.items():
            module.training = training


def model_inputs(inputs: dict) -> dict[str, torch.Tensor]:
    """A batch as a collator or a processor gives it, without its labels."""
    return {name: value for name, value in inputs.items() if name != "labels" and value is not None}


@torch.no_grad()
def layer_weights(
    layer: nn.Module, hidden_states: torch.Tensor, masks: dict[str, torch.Tensor], joint: bool
) -> torch.Tensor:
    """(B, H, L, L) of a layer that was given these states (B, L, d); zero where the query or the key is absent."""
    mask = torch.cat(list(masks.values()), dim=1)
    hidden_keys = hidden_states.new_zeros(mask.shape).masked_fill(~mask, torch.finfo(hidden_states.dtype).min)
    layout = WrittenOut(mask, hidden_keys[:, None, None], tuple(part.shape[1] for part in masks.values()))
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
        inputs: a batch of the processor or the collator, on the model's device; `labels` are passed over. What is given
            is attended to together, also in a model for retrieval, as in its `get_fused_features`.
        layers: which; all by default. The joint layers count from 0, the global ones follow, -1 is the last.
        encoders: whether to have the weights of every layer of the modalities' encoders, too.

    Raises:
        ValueError: if the model has no such layer.
    """
    mot = getattr(model, "mot", model)
    all_layers = [*mot.joint_layers, *mot.global_layers]
    chosen = choose_layers(layers, len(all_layers), encoders)
    inputs = model_inputs(inputs)
    with inference(model):
        encoded = mot.encode(**inputs, output_encoder_hidden_states=encoders)
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
        layer -> (B, H, M, M), with the modalities in the order of `maps.places`. Rows sum to 1; those of a modality that
        the batch's row lacks are NaN.
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
    the product over the layers of (A + I) / 2 with A the mean over heads, which takes the residual connection for half.
    Over the layers that the maps hold: `attention_maps(model, inputs, encoders=True)` holds all.

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
    How much of the fused vector goes back to each token that came in, by `attention_rollout`, (B, L); rows sum to 1. The
    outputs are read as late fusion reads them, each present modality equally (its cls token, or else the mean of its
    tokens); other fusions weigh them by what they learned, which no rollout knows.
    """
    reads = torch.zeros(maps.mask.shape, device=maps.mask.device)
    for m, part in maps.places.items():
        pooled = maps.mask[:, part].float()
        if maps.config.modality_config(m).use_cls_token:
            pooled[:, 1:] = 0
        reads[:, part] = pooled / pooled.sum(dim=1, keepdim=True).clamp(min=1)
    reads = reads / reads.sum(dim=1, keepdim=True).clamp(min=1)
    return (reads[:, None] @ attention_rollout(maps))[:, 0]


# ---------------------------------------------------------------------------------------------------------------------
# What each modality contributed
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Contributions:
    """
    What each modality added to an answer; see `modality_contributions`.

    Args:
        modalities: the model's, in their order.
        values: (B, M) Shapley values; 0 for a modality that the row lacks. They sum to `answer` - `prior`.
        present: (B, M) bool, which modalities each row has.
        prior: (B,) the answer to nothing.
        answer: (B,) the answer to all that the row has.
        target: what was asked for: (B,) classes or output numbers, or (B, D) embeddings.
        unit: what the numbers are: "probability", "logit", "value" or "cosine similarity".
    """

    modalities: tuple[str, ...]
    values: torch.Tensor
    present: torch.Tensor
    prior: torch.Tensor
    answer: torch.Tensor
    target: torch.Tensor
    unit: str

    def of(self, modality: str) -> torch.Tensor:
        """(B,) the contribution of one modality."""
        if modality not in self.modalities:
            raise ValueError(f"`modality` is {modality!r}, expected one of {', '.join(self.modalities)}.")
        return self.values[:, self.modalities.index(modality)]


def modality_contributions(
    model: nn.Module,
    inputs: dict,
    target: int | torch.Tensor | None = None,
    output: str = "probability",
    reference: dict | None = None,
) -> Contributions:
    """
    The Shapley value of each modality of each row: what it adds to the answer, averaged over all orders in which the
    row's modalities may come. Exact, from the answers to all their subsets; the encoders run once.

    The answer to nothing is the prior, what the model says of a row without any token: its head applied to the zero
    fused vector (for a retrieval model, a similarity of 0). With `reference` it is the mean answer over those rows.

    Args:
        model: one that classifies, regresses or retrieves.
        inputs: as of `attention_maps`; rows may have any modalities.
        target: the class to explain, or the number of a regression's output, for all rows or (B,) one for each; by
            default the class that the model chooses from all that the row has, or the first output. For retrieval, the
            embeddings of the items whose cosine similarity with the row is explained, (D,) or (B, D).
        output: "probability" or "logit" of a class; regression and retrieval have but one answer.
        reference: inputs of other rows, for the prior.

    Raises:
        ValueError: if the model gives no such answer, or `target` does not fit it.

    Source: Shapley, "A value for n-person games" (1953), with modalities for persons.
    """
    if output not in ("probability", "logit"):
        raise ValueError(f'`output` is {output!r}, expected "probability" or "logit".')
    modalities = model.config.modalities
    subsets = [tuple(m for i, m in enumerate(modalities) if bits >> i & 1) for bits in range(2 ** len(modalities))]
    with inference(model):
        encoded = model_of(model).encode(**model_inputs(inputs))
        has = encoded.has(modalities)
        absent = torch.zeros(encoded.batch_size, dtype=torch.bool, device=next(iter(has.values())).device)
        present = torch.stack([has.get(m, absent) for m in modalities], dim=1)  # (B, M)
        answers = {bits: read_answers(model, encoded, s, output) for bits, s in enumerate(subsets) if {*s} <= {*has}}
        if reference is not None:
            others = model_of(model).encode(**model_inputs(reference))
            answers[0] = read_answers(model, others, others.given, output).mean(dim=0).expand_as(answers[0])
        target, pick = choose_target(model, answers[max(answers)], target)

    # An absent modality changes nothing: a row's answer to a subset is that to what it has of the subset.
    weight = 2 ** torch.arange(len(modalities), device=present.device)
    owned = (present * weight).sum(dim=1)[:, None] & torch.arange(len(subsets), device=present.device)  # (B, 2^M)
    values = torch.zeros(owned.shape, dtype=torch.float64, device=present.device)
    for bits, found in answers.items():
        values[:, bits] = pick(found).double()
    values = values.gather(1, owned)
    shapley = torch.stack([shapley_value(values, i, len(modalities)) for i in range(len(modalities))], dim=1)
    return Contributions(
        modalities,
        shapley.float(),
        present,
        values[:, 0].float(),
        values[:, -1].float(),
        target,
        unit_of(model, output),
    )


def model_of(model: nn.Module) -> nn.Module:
    if not hasattr(model, "classifier") and not (hasattr(model, "contrastive") and hasattr(model, "embed")):
        raise ValueError(
            f"{type(model).__name__} gives no answer that modalities could contribute to: expected a model that "
            "classifies, regresses or retrieves."
        )
    return model.mot


def unit_of(model: nn.Module, output: str) -> str:
    if not hasattr(model, "classifier"):
        return "cosine similarity"
    return "value" if is_regression(model) else output


def is_regression(model: nn.Module) -> bool:
    return model.config.problem_type == "regression" or model.config.num_labels == 1


def read_answers(model: nn.Module, encoded, subset: tuple[str, ...], output: str) -> torch.Tensor:
    """The answers of a model from a subset of the modalities: (B, classes) or embeddings (B, D)."""
    if not hasattr(model, "classifier"):
        return model.embed(encoded, subset).vectors
    if subset:
        fused = model.mot.join(encoded, subset).pooler_output
    else:
        fused = next(iter(encoded.hidden_states.values())).new_zeros(encoded.batch_size, model.config.hidden_size)
    logits = model.classifier(fused).float()
    if output == "logit" or is_regression(model):
        return logits
    return logits.sigmoid() if model.config.problem_type == "multi_label_classification" else logits.softmax(dim=-1)


def choose_target(model: nn.Module, answers: torch.Tensor, target):
    """The target of each row, and the function that takes its value (B,) from the answers (B, n) to a subset."""
    batch_size, number = answers.shape
    if not hasattr(model, "classifier"):
        if not isinstance(target, torch.Tensor) or target.shape not in ((number,), (batch_size, number)):
            found = tuple(target.shape) if isinstance(target, torch.Tensor) else repr(target)
            raise ValueError(
                f"`target` is {found}; a model that retrieves needs the embeddings of the items whose similarity is to "
                f"be explained, of shape ({number},) or ({batch_size}, {number})."
            )
        target = F.normalize(target.to(answers), dim=-1).expand(batch_size, -1)
        return target, lambda found: (found * target).sum(dim=-1)
    if target is None:
        target = 0 if is_regression(model) else answers.argmax(dim=-1)
    target = torch.as_tensor(target, device=answers.device)
    if target.is_floating_point() or target.shape not in ((), (batch_size,)):
        raise ValueError(
            f"`target` has shape {tuple(target.shape)} and type {target.dtype}, expected one class for all rows or "
            f"integers of shape ({batch_size},)."
        )
    if ((target < 0) | (target >= number)).any():
        raise ValueError(
            f"`target` is {target.tolist()}, but the model has {number} outputs: expected 0 to {number - 1}."
        )
    target = target.expand(batch_size)
    return target, lambda found: found.gather(1, target[:, None])[:, 0]


def shapley_value(values: torch.Tensor, player: int, players: int) -> torch.Tensor:
    """(B,) of one player, from the value (B, 2^M) of each set of players, whose bits say who is in."""
    total = torch.zeros_like(values[:, 0])
    for bits in range(2**players):
        if not bits >> player & 1:
            others = bits.bit_count()
            orders = math.factorial(others) * math.factorial(players - others - 1) / math.factorial(players)
            total += orders * (values[:, bits | 1 << player] - values[:, bits])
    return total


def dataset_contributions(model: nn.Module, batches: Iterable[dict], **options) -> Contributions:
    """
    The contributions in all rows of a dataset, given in batches; `plot_contributions` shows their mean.

    Args:
        batches: inputs, as a DataLoader gives them; moved to the model's device.
        options: those of `modality_contributions`, the same for every batch.
    """
    device = next(model.parameters()).device
    parts = [
        modality_contributions(
            model, {name: value.to(device) for name, value in model_inputs(batch).items()}, **options
        )
        for batch in batches
    ]
    if not parts:
        raise ValueError("`batches` holds nothing: expected at least one batch.")
    fields = ("values", "present", "prior", "answer", "target")
    return Contributions(
        parts[0].modalities,
        **{name: torch.cat([getattr(part, name) for part in parts]) for name in fields},
        unit=parts[0].unit,
    )
