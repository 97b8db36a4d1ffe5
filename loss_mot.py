# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Losses of heads that classify, retrieve and pretrain.

They take what a model says of a batch and return scalars. What does not count (a row without a label or without the
modality, NaN in a target) is left out of the mean, and a loss of which nothing is left is 0 with zero gradients.

Shapes: B or N rows, L tokens, d width.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

IGNORED_LABEL = -100  # as everywhere in PyTorch and transformers
MAX_LOG_SCALE = math.log(100)

# ---------------------------------------------------------------------------------------------------------------------
# Classification and regression
# ---------------------------------------------------------------------------------------------------------------------


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
        labels: (B,) class ids; (B, num_labels) zeros and ones; or (B,) or (B, num_labels) numbers. -100 and NaN are
            left out.
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
        labels = labels.reshape(-1).nan_to_num(IGNORED_LABEL).long()
        losses = F.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED_LABEL)  # (B,)
        counted = labels != IGNORED_LABEL
    else:
        regression = F.l1_loss if config.regression_loss == "l1" else F.mse_loss
        loss = regression if problem_type == "regression" else F.binary_cross_entropy_with_logits
        labels = labels.reshape(logits.shape).float()
        given = labels.isfinite() & (labels != IGNORED_LABEL)  # (B, num_labels)
        losses = loss(logits, labels.masked_fill(~given, 0), reduction="none").masked_fill(~given, 0)
        losses = losses.sum(dim=1) / given.sum(dim=1).clamp(min=1)  # (B,)
        counted = given.any(dim=1)
    counted = counted if rows is None else counted & rows
    return losses.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)


# ---------------------------------------------------------------------------------------------------------------------
# Contrastive losses: what belongs together is drawn together, the rest of the batch is pushed apart
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Embeddings:
    """One side of a contrastive loss."""

    vectors: torch.Tensor  # (N, d), of length 1
    present: torch.Tensor  # (N,) bool: which rows have it


def matches(
    first: Embeddings, second: Embeddings, labels: torch.Tensor | None, positives: str, same: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Which pairs of rows are positive, and which count at all, both (N, N) bool.

    The parts of one row match. Rows with the same label (a class, or the id of a caption; -100 for none) match too if
    `positives` is "label", and count neither as positive nor as negative if it is "row". With `same`, both sides are
    the same vectors, and none is compared with itself.
    """
    number = first.vectors.shape[0]
    counted = first.present[:, None] & second.present[None]
    itself = torch.eye(number, dtype=torch.bool, device=counted.device)
    positive = itself
    if labels is not None:
        alike = (labels[:, None] == labels[None]) & (labels != IGNORED_LABEL)[:, None]
        if positives == "label":
            positive = itself | alike
        else:
            counted = counted & (itself | ~alike)
    if same:
        counted = counted & ~itself
    return positive & counted, counted


def info_nce(logits: torch.Tensor, positive: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """
    The mean over the rows that have a positive of -log softmax, averaged over a row's positives (InfoNCE, arXiv
    1807.03748; with several positives, arXiv 2004.11362). 0 if no row has any.

    Args:
        logits: (N, M) similarities divided by the temperature.
        positive: (N, M) bool.
        counted: (N, M) bool, the pairs that count: positives and negatives.
    """
    log_probabilities = logits.masked_fill(~counted, torch.finfo(logits.dtype).min).log_softmax(dim=1)
    number = positive.sum(dim=1)  # (N,)
    losses = -log_probabilities.masked_fill(~positive, 0).sum(dim=1) / number.clamp(min=1)
    return losses.sum() / (number > 0).sum().clamp(min=1)


def contrastive_loss(
    first: Embeddings,
    second: Embeddings,
    log_scale: torch.Tensor,
    labels: torch.Tensor | None = None,
    positives: str = "row",
    same: bool = False,
) -> torch.Tensor:
    """
    Symmetric InfoNCE between two modalities of the same N rows (CLIP, arXiv 2103.00020), a scalar in float32. A row
    that lacks one of them is no positive; what it has is still a negative for the others. 0 with zero gradients if no
    row has both.

    Args:
        log_scale: a scalar, the logarithm of 1 / temperature (see `clamped`).
        labels, positives, same: see `matches`.
    """
    logits = clamped(log_scale).exp() * (first.vectors.float() @ second.vectors.float().T)
    positive, counted = matches(first, second, labels, positives, same)
    return (info_nce(logits, positive, counted) + info_nce(logits.T, positive.T, counted.T)) / 2


def sigmoid_loss(
    first: Embeddings,
    second: Embeddings,
    log_scale: torch.Tensor,
    bias: torch.Tensor,
    labels: torch.Tensor | None = None,
    positives: str = "row",
    same: bool = False,
) -> torch.Tensor:
    """
    The sigmoid loss of SigLIP (arXiv 2303.15343): each pair of rows by itself is a match or not. Arguments as in
    `contrastive_loss`, and `bias`, a scalar added to the logits.
    """
    logits = clamped(log_scale).exp() * (first.vectors.float() @ second.vectors.float().T) + bias
    positive, counted = matches(first, second, labels, positives, same)
    losses = -F.logsigmoid(torch.where(positive, logits, -logits)).masked_fill(~counted, 0)
    return losses.sum() / counted.any(dim=1).sum().clamp(min=1)


def clamped(log_scale: torch.Tensor) -> torch.Tensor:
    """`log_scale` between 0 and ln 100, as in CLIP; the gradient passes, so that a value beyond comes back."""
    return log_scale + (log_scale.clamp(0, MAX_LOG_SCALE) - log_scale).detach()


# ---------------------------------------------------------------------------------------------------------------------
# Reconstruction: what was hidden, or other targets for each token
# ---------------------------------------------------------------------------------------------------------------------


def token_loss(logits: torch.Tensor, labels: torch.Tensor, name: str = "text_labels") -> torch.Tensor:
    """
    Cross-entropy over the tokens whose label (B, L) is not -100; logits (B, L, vocab_size). 0 if there is none. `name`
    is what the caller calls the labels.
    """
    if labels.shape != logits.shape[:2]:
        raise ValueError(f"`{name}` has shape {tuple(labels.shape)}, expected {tuple(logits.shape[:2])}.")
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        outside = (labels != IGNORED_LABEL) & ((labels < 0) | (labels >= logits.shape[-1]))
        if outside.any():
            raise ValueError(
                f"`{name}` holds {labels[outside][0].item()}, outside the vocabulary of {logits.shape[-1]}: expected ids, "
                f"or {IGNORED_LABEL} for a token that does not count."
            )
    total = F.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten().long(), ignore_index=IGNORED_LABEL, reduction="sum"
    )
    return total / (labels != IGNORED_LABEL).sum().clamp(min=1)


def reconstruction_loss(
    predictions: torch.Tensor, targets: torch.Tensor, kind: str, tokens: torch.Tensor | None = None
) -> torch.Tensor:
    """
    Mean squared ("mse") or absolute ("l1") error over the finite targets. 0 if there is none.

    Args:
        predictions: (B, N, n).
        targets: (B, N, n); NaN is left out.
        tokens: (B, N) bool, the tokens that count; all by default.
    """
    counted = targets.isfinite()
    if tokens is not None:
        counted = counted & tokens[..., None]
    targets = targets.detach().masked_fill(~counted, 0)  # features may come from a model that trains, too
    differences = (predictions.float() - targets).masked_fill(~counted, 0)
    losses = differences.square() if kind == "mse" else differences.abs()
    return losses.sum() / counted.sum().clamp(min=1)


def normalize_patches(patches: torch.Tensor) -> torch.Tensor:
    """Each patch (..., n) with mean 0 and variance 1, which teaches more than plain pixels (arXiv 2111.06377)."""
    mean, variance = patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()
