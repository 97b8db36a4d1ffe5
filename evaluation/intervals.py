# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""How far a figure of so many rows can be trusted: intervals by the bootstrap."""

from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np

RESAMPLES, COVERAGE = 1000, 0.95


def bootstrap_interval(
    metric: Callable[[np.ndarray], float],
    number: int,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> tuple[float, float]:
    """
    The interval that holds a share `coverage` of a metric's values on rows drawn anew, with replacement, from those
    at hand (the percentile bootstrap: Efron and Tibshirani, 1993). It speaks of other rows of the same kind, not of
    other training runs.

    Args:
        metric: the figure of the rows with such numbers, (N,) integers.
        number: of the rows, at least 1.

    Returns:
        The lower and the upper end; values that are not finite (a correlation of equal numbers) are left out.
    """
    return bootstrap_intervals(lambda rows: {"": metric(rows)}, number, resamples, coverage, seed)[""]


def bootstrap_intervals(
    metrics: Callable[[np.ndarray], Mapping[str, float]],
    number: int,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """`bootstrap_interval` of several figures of the same rows, by their names."""
    if number < 1:
        raise ValueError(f"An interval needs rows, and there are {number}.")
    random, values = np.random.default_rng(seed), defaultdict(list)
    for _ in range(resamples):
        for name, value in metrics(random.integers(0, number, size=number)).items():
            values[name].append(value)
    return {name: middle(np.array(found, dtype=float), coverage) for name, found in values.items()}


def middle(values: np.ndarray, coverage: float) -> tuple[float, float]:
    """The ends between which a share of the values that are finite lies, as much of the rest below as above."""
    outside = (1 - coverage) / 2
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [outside, 1 - outside])
    return float(low), float(high)
