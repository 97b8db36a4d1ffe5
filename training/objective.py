# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a step trains where one model is to answer from any subset of its modalities (`objective="subsets"`)."""

from collections.abc import Sequence

import torch
from transformers import Trainer

from mixture_of_transformers.loss_mot import IGNORED_LABEL, problem_type_of
from mixture_of_transformers.subsets_mot import bounded_subsets
from mixture_of_transformers.training.encoded import modalities_of


def draw_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """What a step trains: every modality alone, and one of the larger `bounded_subsets` at random."""
    subsets = bounded_subsets(modalities)
    singles, larger = subsets[: len(modalities)], subsets[len(modalities) :]
    return singles + ([larger[int(torch.randint(len(larger), ()))]] if larger else [])


def row_has(inputs: dict[str, torch.Tensor], subset: tuple[str, ...], how) -> torch.Tensor:
    """(B,) bool: which rows of a batch have all (`how=all`) or any (`how=any`) of a subset's modalities."""
    masks = {modality.name: inputs[modality.names.mask] for modality in modalities_of(inputs)}
    has = {modality: mask.reshape(len(mask), -1).any(dim=1) for modality, mask in masks.items()}
    nowhere = torch.zeros_like(next(iter(has.values())))
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
