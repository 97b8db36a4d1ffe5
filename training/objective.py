# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a step trains where one model is to answer from any subset of its modalities (`objective="subsets"`)."""

from collections.abc import Sequence

import torch
from transformers import Trainer

from mixture_of_transformers.loss_mot import IGNORED_LABEL, classification_loss, problem_type_of
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.modality_mot import InputNames
from mixture_of_transformers.subsets_mot import bounded_subsets


def draw_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """What a step trains: every modality alone, and one of the larger `bounded_subsets` at random."""
    subsets = bounded_subsets(modalities)
    singles, larger = subsets[: len(modalities)], subsets[len(modalities) :]
    return singles + ([larger[int(torch.randint(len(larger), ()))]] if larger else [])


def row_has(inputs: dict[str, torch.Tensor], subset: tuple[str, ...], how) -> torch.Tensor:
    """(B,) bool: which rows of a batch have all (`how=all`) or any (`how=any`) of a subset's modalities."""
    names = {name: MODALITIES[name].names if name in MODALITIES else InputNames.called(name) for name in subset}
    given = {name for name, value in inputs.items() if value is not None}
    masks = {name: inputs[own.mask] for name, own in names.items() if given.intersection(own.inputs)}
    has = {modality: mask.reshape(len(mask), -1).any(dim=1) for modality, mask in masks.items()}
    batch = next(value for value in inputs.values() if isinstance(value, torch.Tensor) and value.ndim)
    nowhere = torch.zeros(len(batch), dtype=torch.bool, device=batch.device)
    stacked = torch.stack([has.get(modality, nowhere) for modality in subset])
    return stacked.all(dim=0) if how is all else stacked.any(dim=0)


def labels_of_subsets(inputs: dict[str, torch.Tensor], subsets: list[tuple[str, ...]]) -> torch.Tensor:
    """
    Labels (B, S, ...) for logits (B, S, num_labels): each subset gets the labels of the rows that have any of it.
    """
    labels = inputs["labels"][:, None].expand(-1, len(subsets), *inputs["labels"].shape[1:])
    nothing = ~torch.stack([row_has(inputs, subset, any) for subset in subsets], dim=1)
    missing = float("nan") if labels.is_floating_point() else IGNORED_LABEL
    return labels.masked_fill(nothing.reshape(nothing.shape + (1,) * (labels.ndim - 2)), missing)


def weighted_loss(
    logits: torch.Tensor, inputs: dict[str, torch.Tensor], subsets: list[tuple[str, ...]] | None, config, weights
) -> torch.Tensor:
    """
    The loss of a head that classifies, as it computes it itself, with a weight for each class.

    Args:
        logits: (B, num_labels), or of S subsets (B, S, num_labels).
        inputs: the batch with its `labels`.
        subsets: those of the logits; None for the modalities that each row has.
        weights: as of `classification_loss`.
    """
    labels = inputs["labels"]
    if subsets is None:
        return classification_loss(logits, labels, config, weights=weights)
    losses = [
        classification_loss(logits[:, place], labels, config, row_has(inputs, subset, any), weights)
        for place, subset in enumerate(subsets)
    ]
    return torch.stack(losses).mean()


def balanced_weights(labels: torch.Tensor, problem: str, num_labels: int) -> torch.Tensor:
    """
    A weight for each class by which all count alike. Of one class for each row: rows / (classes * rows of the class),
    as scikit-learn's "balanced". Of several: how many rows lack the class for each that has it. A class without a row
    weighs 1.

    Args:
        labels: (N,) class ids or (N, num_labels) zeros and ones; -100 and NaN do not count.

    Returns:
        (num_labels,) float32.
    """
    if problem == "single_label_classification":
        labels = labels.reshape(-1).long()
        counts = torch.bincount(labels[labels != IGNORED_LABEL], minlength=num_labels).float()
        weights = counts.sum() / ((counts > 0).sum() * counts)
    else:
        labels = labels.float()
        given = labels.isfinite() & (labels != IGNORED_LABEL)
        counts = labels.masked_fill(~given, 0).sum(dim=0)
        weights = (given.sum(dim=0) - counts) / counts
    return torch.where((counts > 0) & (weights > 0), weights, torch.ones_like(counts))


def class_weights(trainer: Trainer) -> torch.Tensor:
    """
    The `balanced_weights` of a trainer's rows.

    Raises:
        ValueError: the model does not learn classes, label smoothing is asked for as well, or the rows are a stream,
            whose classes cannot be counted.
    """
    problem = problem_type(trainer) if trainer.takes_subsets else None
    if problem not in ("single_label_classification", "multi_label_classification"):
        raise ValueError(
            f"class_weights are for classes, which {type(trainer.head).__name__} with problem_type {problem} does not "
            "learn: leave it out."
        )
    if trainer.args.label_smoothing_factor:
        raise ValueError("class_weights and label_smoothing_factor both change what a label counts: give one of them.")
    rows = trainer.train_dataset
    if not hasattr(rows, "__len__"):
        raise ValueError("class_weights count the classes of all rows, and a stream has no end: leave them out.")
    labels = [rows[place]["labels"] for place in range(len(rows))]
    return balanced_weights(torch.stack([*map(torch.as_tensor, labels)]), problem, trainer.head.config.num_labels)


def check_label_smoothing(trainer: Trainer) -> None:
    """
    Args:
        trainer: a `MoTTrainer` that was asked for label smoothing.

    Raises:
        ValueError: the model does not learn one class for each row.
    """
    if trainer.can_return_loss:
        raise ValueError(
            f"label_smoothing_factor is for classes, and {type(trainer.head).__name__} learns without: leave it out."
        )
    problem = problem_type(trainer)
    if trainer.takes_subsets and problem != "single_label_classification":
        raise ValueError(
            "label_smoothing_factor spreads a label over the classes of single_label_classification; this model's "
            f"problem_type is {problem}: leave it out."
        )


def problem_type(trainer: Trainer) -> str:
    """The config's problem type, or what the labels of the first row say where the config says nothing."""
    config, rows = trainer.head.config, trainer.train_dataset
    if config.problem_type is not None:
        return config.problem_type
    row = rows[0] if hasattr(rows, "__getitem__") and len(rows) else {}
    return problem_type_of(torch.as_tensor(row.get("labels", 0)), config.num_labels)
