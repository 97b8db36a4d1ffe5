# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Losses. They take logits and labels of a batch and return scalars; rows that do not count are left out of the mean."""

import torch
from torch.nn import functional as F

IGNORED_LABEL = -100  # as everywhere in PyTorch and transformers


def problem_type_of(labels: torch.Tensor, num_labels: int) -> str:
    """The kind of problem that labels speak of, by transformers' rule: one output regresses, integers classify."""
    if num_labels == 1:
        return "regression"
    return "multi_label_classification" if labels.is_floating_point() else "single_label_classification"


def check_labels(labels: torch.Tensor, logits: torch.Tensor, problem_type: str) -> None:
    """Raise a ValueError for labels whose shape or values do not fit logits (B, num_labels)."""
    batch_size, num_labels = logits.shape
    if problem_type == "single_label_classification" or num_labels == 1:
        expected = ((batch_size,), (batch_size, 1))
    else:
        expected = ((batch_size, num_labels),)
    if tuple(labels.shape) not in expected:
        raise ValueError(f"`labels` has shape {tuple(labels.shape)}; {problem_type} expects {expected[0]}.")
    # Looking at values waits for an accelerator, so there the loss' own assertion must do.
    if problem_type != "single_label_classification" or labels.device.type != "cpu" or torch.compiler.is_compiling():
        return
    outside = (labels != IGNORED_LABEL) & ((labels < 0) | (labels >= num_labels))
    if outside.any():
        raise ValueError(
            f"`labels` holds {labels[outside][0].item()}, but the model has {num_labels} classes: "
            f"expected 0 to {num_labels - 1}, or {IGNORED_LABEL} for a row without a label."
        )


def classification_loss(
    logits: torch.Tensor, labels: torch.Tensor, config, rows: torch.Tensor | None = None
) -> torch.Tensor:
    """
    Cross-entropy, binary cross-entropy or a regression loss, as `config.problem_type` says; where it says nothing, the
    labels decide, and it is set.

    Args:
        logits: (B, num_labels).
        labels: (B,) class ids, -100 for none; (B, num_labels) zeros and ones; or (B,) or (B, num_labels) numbers.
        config: has `problem_type` and `regression_loss`.
        rows: (B,) bool, the rows that count; all by default.

    Returns:
        A scalar: the mean over the rows that count, 0 if there is none.
    """
    if config.problem_type is None:  # kept, as transformers' own losses do: pipelines answer by it
        config.problem_type = problem_type_of(labels, logits.shape[-1])
    problem_type = config.problem_type
    check_labels(labels, logits, problem_type)
    logits, labels = logits.float(), labels.to(logits.device)
    if problem_type == "single_label_classification":
        labels = labels.reshape(-1).long()
        losses = F.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED_LABEL)  # (B,)
        counted = labels != IGNORED_LABEL
    else:
        regression = F.l1_loss if config.regression_loss == "l1" else F.mse_loss
        loss = regression if problem_type == "regression" else F.binary_cross_entropy_with_logits
        losses = loss(logits, labels.reshape(logits.shape).float(), reduction="none").mean(dim=1)  # (B,)
        counted = torch.ones_like(losses, dtype=torch.bool)
    counted = counted if rows is None else counted & rows
    return losses.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)
