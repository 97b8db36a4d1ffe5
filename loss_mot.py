# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Losses in which each row counts by itself: of classification, regression, and the prediction of what was hidden.

They take what a model says of a batch and return scalars. What does not count (a row without a label, NaN in a target)
is left out of the mean, and a loss of which nothing is left is 0 with zero gradients. (`contrastive_mot.py` has those
that compare rows.)

Shapes: B rows, L or N tokens.
"""

import torch
from torch.nn import functional as F

from .arguments_mot import can_look_at, check_device, check_tensor, check_whole_numbers

IGNORED_LABEL = -100  # as everywhere in PyTorch and transformers

# ---------------------------------------------------------------------------------------------------------------------
# Classification and regression
# ---------------------------------------------------------------------------------------------------------------------


def problem_type_of(labels: torch.Tensor, num_labels: int) -> str:
    """
    The kind of problem that labels speak of, by transformers' rule: one output regresses, whole numbers are classes; a
    number for each output, or any float, marks several classes at once.
    """
    if num_labels == 1:
        return "regression"
    is_multi_label = labels.is_floating_point() or labels.shape[1:] == (num_labels,)
    return "multi_label_classification" if is_multi_label else "single_label_classification"


def check_labels(labels: torch.Tensor, logits: torch.Tensor, problem_type: str) -> None:
    """Raise a ValueError for labels whose shape or values do not fit logits (B, num_labels)."""
    batch_size, num_labels = logits.shape
    if problem_type == "single_label_classification" or num_labels == 1:
        expected: list[tuple[int, ...]] = [(batch_size,), (batch_size, 1)]
    else:
        expected = [(batch_size, num_labels)]
    if tuple(labels.shape) not in expected:
        raise ValueError(
            f"`labels` has shape {tuple(labels.shape)} and type {labels.dtype}; {problem_type} with {num_labels} "
            f"outputs expects {expected[0]}. (Classes are whole numbers ({batch_size},); numbers to be predicted need "
            '`problem_type="regression"` in the config.)'
        )
    if problem_type == "single_label_classification":
        check_classes(labels, num_labels)
    elif problem_type == "multi_label_classification":
        check_shares(labels)


def check_shares(labels: torch.Tensor) -> None:
    """Raise a ValueError for labels of many classes that are no zeros, ones or shares of one."""
    outside = ((labels < 0) | (labels > 1)) & (labels != IGNORED_LABEL)  # NaN is on neither side
    if can_look_at(labels) and outside.any():
        raise ValueError(
            f"`labels` holds {labels[outside][0].item()}; multi_label_classification expects numbers from 0 to 1, or "
            f'{IGNORED_LABEL} where a label is missing. Numbers to be predicted need `problem_type="regression"`.'
        )


def check_classes(labels: torch.Tensor, num_labels: int) -> None:
    """Raise a ValueError for labels of one class each that are no class ids."""
    if labels.is_floating_point():
        raise ValueError(
            f"`labels` has type {labels.dtype}, but classes are whole numbers: pass `labels.long()`, with "
            f'{IGNORED_LABEL} for a row without a label, or set `problem_type="regression"` in the config if they are '
            "numbers to be predicted."
        )
    check_whole_numbers(labels, "labels")
    outside = (labels != IGNORED_LABEL) & ((labels < 0) | (labels >= num_labels))
    if can_look_at(labels) and outside.any():
        raise ValueError(
            f"`labels` holds {labels[outside][0].item()}, but the model has {num_labels} classes: "
            f"expected 0 to {num_labels - 1}, or {IGNORED_LABEL} for a row without a label. (`num_labels` in the "
            "config is the number of classes: 2 for yes and no.)"
        )


def classification_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    config,
    rows: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    Cross-entropy, binary cross-entropy or a regression loss, as `config.problem_type` says; where it says nothing, the
    labels decide, and it is set once there is a loss.

    Args:
        logits: (B, num_labels).
        labels: (B,) class ids; (B, num_labels) numbers from 0 to 1; or (B,) or (B, num_labels) numbers. -100 and NaN
            are left out.
        config: has `problem_type`, `regression_loss` and `regression_std`, the unit that the loss of a regression
            counts in.
        rows: (B,) bool, the rows that count; all by default.
        weights: (num_labels,) how much a row counts by its class, or of many classes each one that it has; all by 1 if
            none are given. The mean is over rows, not over weights.

    Returns:
        A scalar: the mean over the rows that count, 0 if there is none.
    """
    check_tensor(labels)
    if labels.is_meta or logits.is_meta:  # from any other device they are moved
        check_device(labels, "labels", logits.device)
    problem_type = config.problem_type or problem_type_of(labels, logits.shape[-1])
    check_labels(labels, logits, problem_type)
    logits, labels = logits.float(), labels.to(logits.device)
    if problem_type == "single_label_classification":
        labels = labels.reshape(-1).long()
        losses = F.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED_LABEL)  # (B,)
        counted = labels != IGNORED_LABEL
        if weights is not None:
            losses = losses * weights[labels.clamp(min=0)]
    else:
        regression = F.l1_loss if config.regression_loss == "l1" else F.mse_loss
        loss = regression if problem_type == "regression" else F.binary_cross_entropy_with_logits
        labels = labels.reshape(logits.shape).float()
        given = labels.isfinite() & (labels != IGNORED_LABEL)  # (B, num_labels)
        labels = labels.masked_fill(~given, 0)
        if problem_type == "regression":  # The mean of standardised numbers cancels out.
            logits, labels = logits / config.regression_std, labels / config.regression_std
        losses = loss(logits, labels, reduction="none").masked_fill(~given, 0)
        if weights is not None and problem_type != "regression":
            losses = losses * (1 + (weights - 1) * labels)  # as `pos_weight`, for labels of 0 and 1
        losses = losses.sum(dim=1) / given.sum(dim=1).clamp(min=1)  # (B,)
        counted = given.any(dim=1)
    counted = counted if rows is None else counted & rows
    loss = losses.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)
    config.problem_type = problem_type  # kept, as transformers' own losses do: pipelines answer by it
    return loss


# ---------------------------------------------------------------------------------------------------------------------
# Reconstruction: what was hidden, or other targets for each token
# ---------------------------------------------------------------------------------------------------------------------


def token_loss(logits: torch.Tensor, labels: torch.Tensor, name: str = "text_labels") -> torch.Tensor:
    """
    Cross-entropy over the tokens whose label (B, L) is not -100; logits (B, L, vocab_size). 0 if there is none. `name`
    is what the caller calls the labels.
    """
    check_whole_numbers(labels, name)
    check_device(labels, name, logits.device)
    if labels.shape != logits.shape[:2]:
        raise ValueError(f"`{name}` has shape {tuple(labels.shape)}, expected {tuple(logits.shape[:2])}.")
    if can_look_at(labels):
        outside = (labels != IGNORED_LABEL) & ((labels < 0) | (labels >= logits.shape[-1]))
        if outside.any():
            raise ValueError(
                f"`{name}` holds {labels[outside][0].item()}, outside the vocabulary of {logits.shape[-1]}: expected "
                f"ids, or {IGNORED_LABEL} for a token that does not count."
            )
    total = F.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten().long(), ignore_index=IGNORED_LABEL, reduction="sum"
    )
    return total / (labels != IGNORED_LABEL).sum().clamp(min=1)


def reconstruction_loss(
    predictions: torch.Tensor, targets: torch.Tensor, kind: str, tokens: torch.Tensor | None = None
) -> torch.Tensor:
    """
    Mean squared ("mse") or absolute ("l1") error over the finite targets, or `mixed_loss` ("mixed"). 0 if there is
    none.

    Args:
        predictions: (B, N, n).
        targets: (B, N, n); NaN is left out.
        tokens: (B, N) bool, the tokens that count; all by default.
    """
    if kind == "mixed":
        return mixed_loss(predictions, targets, tokens)
    counted = targets.isfinite()
    if tokens is not None:
        counted = counted & tokens[..., None]
    targets = targets.detach().masked_fill(~counted, 0)  # features may come from a model that trains, too
    differences = (predictions.float() - targets).masked_fill(~counted, 0)
    losses = differences.square() if kind == "mse" else differences.abs()
    return losses.sum() / counted.sum().clamp(min=1)


def mixed_loss(predictions: torch.Tensor, targets: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
    """
    The mean over tokens of which each is a number, with a squared error, or one of several classes, with a
    cross-entropy. 0 if there is none.

    Args:
        predictions: (B, N, 1 + n) a number, and scores of the classes of all tokens.
        targets: the same shape: a number and NaN, or NaN and the shares of the token's own classes, of which those of
            other tokens are NaN.
        tokens: (B, N) bool, the tokens that count; all by default.
    """
    given = targets.isfinite()
    counted = given.any(dim=-1) if tokens is None else given.any(dim=-1) & tokens
    predictions, targets = predictions.float(), targets.detach().masked_fill(~given, 0)
    squared = (predictions[..., 0] - targets[..., 0]).masked_fill(~given[..., 0], 0).square()
    classes = given[..., 1:]
    is_number = ~classes.any(dim=-1, keepdim=True)  # its scores stay as they are, since a softmax over nothing is NaN
    scores = predictions[..., 1:].masked_fill(~(classes | is_number), -torch.inf).log_softmax(dim=-1)
    entropies = -(targets[..., 1:] * scores.masked_fill(~classes, 0)).sum(dim=-1)
    return (squared + entropies).masked_fill(~counted, 0).sum() / counted.sum().clamp(min=1)
