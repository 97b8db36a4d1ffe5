# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Calibration against sums written out and against a temperature that is known."""

import numpy as np
import pytest

from mixture_of_transformers.evaluation.calibration import fit_temperature, reliability


def drawn(rows: int, temperature: float, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax at `temperature` says how likely each class is, and labels drawn by that."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, classes)) * 3
    weights = np.exp(logits / temperature)
    labels = [random.choice(classes, p=row / row.sum()) for row in weights]
    return logits, np.array(labels)


def test_the_error_of_calibration_equals_a_sum_written_out():
    logits = np.log([[0.6, 0.4], [0.62, 0.38], [0.1, 0.9], [0.2, 0.8]])
    found = reliability(logits, np.array([0, 1, 1, 0]), bins=5)
    assert found.rows.tolist() == [0, 0, 1, 2, 1]  # 0.6 | 0.62, 0.8 | 0.9: a bin has its upper end
    expected = (abs(0.6 - 1) * 1 + abs(0.71 - 0) * 2 + abs(0.9 - 1) * 1) / 4
    assert found.expected_calibration_error == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_by_which_labels_were_drawn_is_found(temperature):
    logits, labels = drawn(20_000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


def test_a_fitted_temperature_lowers_the_error_of_calibration():
    logits, labels = drawn(5_000, 2.0)
    before = reliability(logits, labels).expected_calibration_error
    after = reliability(logits / fit_temperature(logits, labels), labels).expected_calibration_error
    assert after < 0.02 < 0.1 < before


def test_a_classifier_that_is_always_right_gets_the_lowest_temperature_and_no_error():
    logits = np.eye(3) * 1000
    assert fit_temperature(logits, np.arange(3)) < 0.06
    assert reliability(logits, np.arange(3)).expected_calibration_error == 0


@pytest.mark.parametrize("shape", [(4,), (4, 1), (0, 3)])
def test_bad_input_what_is_no_choice_of_one_class_is_named(shape):
    with pytest.raises(ValueError, match="one class among several"):
        reliability(np.zeros(shape), np.zeros(shape[0], dtype=int))


def test_bad_input_logits_that_are_not_finite_are_named():
    with pytest.raises(ValueError, match="NaN or infinite"):
        fit_temperature(np.array([[0.0, np.nan], [1.0, 2.0]]), np.array([0, 1]))
