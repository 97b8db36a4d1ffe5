# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What each modality contributed to an answer: exact Shapley values over the subsets of the modalities that a row has.

A model that answers from any subset can be asked all of them: the encoders run once, and the joint part once for each.

Shapes: B rows, M modalities, D width of an embedding.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from .subsets_mot import all_subsets


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
    # The number of a subset has a bit for each of its modalities, so that 0 is nothing and the highest number all.
    subsets = {sum(1 << modalities.index(m) for m in subset): subset for subset in [(), *all_subsets(modalities)]}
    with inference(model):
        encoded = model_of(model).encode(**model_inputs(inputs))
        has = encoded.has(modalities)
        absent = torch.zeros(encoded.batch_size, dtype=torch.bool, device=next(iter(has.values())).device)
        present = torch.stack([has.get(m, absent) for m in modalities], dim=1)  # (B, M)
        answers = {bits: read_answers(model, encoded, s, output) for bits, s in subsets.items() if {*s} <= {*has}}
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
    if getattr(model, "answers_with", None) is None:
        raise ValueError(
            f"{type(model).__name__} gives no answer that modalities could contribute to: expected a model that "
            "classifies, regresses or retrieves."
        )
    return model.mot


def unit_of(model: nn.Module, output: str) -> str:
    return {"embeddings": "cosine similarity", "numbers": "value", "classes": output}[model.answers_with]


def read_answers(model: nn.Module, encoded, subset: tuple[str, ...], output: str) -> torch.Tensor:
    """The answers of a model from a subset of the modalities: (B, classes) or embeddings (B, D)."""
    answers = model.answer(encoded, subset).float()
    return answers if output == "logit" else model.score(answers)


def choose_target(model: nn.Module, answers: torch.Tensor, target):
    """The target of each row, and the function that takes its value (B,) from the answers (B, n) to a subset."""
    batch_size, number = answers.shape
    if model.answers_with == "embeddings":
        if not isinstance(target, torch.Tensor) or target.shape not in ((number,), (batch_size, number)):
            found = tuple(target.shape) if isinstance(target, torch.Tensor) else repr(target)
            raise ValueError(
                f"`target` is {found}; a model that retrieves needs the embeddings of the items whose similarity is "
                f"to be explained, of shape ({number},) or ({batch_size}, {number})."
            )
        target = F.normalize(target.to(answers), dim=-1).expand(batch_size, -1)
        return target, lambda found: (found * target).sum(dim=-1)
    if target is None:
        target = 0 if model.answers_with == "numbers" else answers.argmax(dim=-1)
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


__all__ = ["Contributions", "dataset_contributions", "modality_contributions"]
