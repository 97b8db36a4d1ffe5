# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Whether a classifier is right as often as it is sure, and the temperature that makes it so.

Shapes: N rows, C classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

BINS = 15
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0


@dataclass(frozen=True)
class Reliability:
    """
    How sure and how often right a classifier is, in bins of equal width of its confidence.

    Args:
        rows, confidence, accuracy: (bins,) the number of rows in each bin, the mean probability of their likeliest
            class, and the share whose likeliest class is right; NaN in a bin without rows.
    """

    rows: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def expected_calibration_error(self) -> float:
        """The mean over the rows of how far their bin's confidence is from its accuracy (Guo et al., 2017)."""
        some = self.rows > 0
        gaps = np.abs(self.confidence[some] - self.accuracy[some])
        return float((gaps * self.rows[some]).sum() / self.rows.sum())


def reliability(logits: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Reliability:
    """
    Args:
        logits: (N, C) of one class among C.
        labels: (N,) class ids, of at least one row.
    """
    check(logits, labels)
    probabilities = torch.from_numpy(logits).double().softmax(dim=-1).numpy()
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    of_row = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # a bin has its upper end
    rows = np.bincount(of_row, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(of_row, weights=values, minlength=bins) / rows for values in (confidence, right)]
    return Reliability(rows, *means)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """
    The temperature T by which softmax(logits / T) gives labels the highest likelihood (Guo et al., 2017): above 1, the
    classifier is too sure. Fit it on rows that it was not trained on.

    Args:
        logits: (N, C) of one class among C.
        labels: (N,) class ids, of at least one row.

    Returns:
        A number between 0.05 and 20.
    """
    check(logits, labels)
    scores, targets = torch.from_numpy(logits).double(), torch.from_numpy(labels).long()

    def loss_at(log_temperature: float) -> float:
        return F.cross_entropy(scores / np.exp(log_temperature), targets).item()

    # In 1 / T the loss is convex, so that it has one valley in log T too, which a golden-section search closes in on.
    low, high = np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE)
    ratio = (5**0.5 - 1) / 2
    while high - low > 1e-5:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss_at(left) <= loss_at(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def check(logits: np.ndarray, labels: np.ndarray) -> None:
    if logits.ndim != 2 or logits.shape[1] < 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"Calibration is of one class among several: `logits` are {logits.shape}, expected (N, C) with at least 2 "
            f"classes, and `labels` {labels.shape}, expected (N,) with at least 1 row."
        )
    if not np.isfinite(logits).all():
        raise ValueError("Some `logits` are NaN or infinite, so that they say nothing: the model has diverged.")
