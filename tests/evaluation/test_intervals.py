# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Intervals against the normal approximation of a share, and how often they hold the truth."""

import numpy as np
import pytest

from mixture_of_transformers.evaluation.intervals import bootstrap_interval, bootstrap_intervals


def test_the_interval_of_a_share_is_that_of_the_normal_approximation():
    right = np.arange(500) < 400
    low, high = bootstrap_interval(lambda rows: right[rows].mean(), len(right))
    half = 1.96 * (0.8 * 0.2 / 500) ** 0.5
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.006)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    random, held = np.random.default_rng(1), 0
    for seed in range(200):
        values = random.normal(size=60)
        low, high = bootstrap_interval(lambda rows, values=values: values[rows].mean(), 60, resamples=200, seed=seed)
        held += low <= 0 <= high
    assert 0.88 <= held / 200 <= 0.99


def test_values_that_are_not_defined_are_left_out():
    low, high = bootstrap_interval(lambda rows: np.nan if rows[0] == 0 else 2.0, 3)
    assert (low, high) == (2.0, 2.0)
    assert np.isnan(bootstrap_interval(lambda rows: np.nan, 3)).all()


def test_several_figures_of_the_same_rows_have_the_intervals_that_each_has_alone():
    values = np.random.default_rng(0).normal(size=50)
    figures = {"mean": lambda rows: values[rows].mean(), "most": lambda rows: values[rows].max()}
    found = bootstrap_intervals(lambda rows: {name: figure(rows) for name, figure in figures.items()}, 50)
    assert found == {name: bootstrap_interval(figure, 50) for name, figure in figures.items()}


def test_bad_input_no_rows_have_no_interval():
    with pytest.raises(ValueError, match="needs rows"):
        bootstrap_interval(lambda rows: 0.0, 0)
