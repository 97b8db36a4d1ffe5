# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What series and tables suffer: gaps, noise and lost values of their shares, and never the loss of all."""

import numpy as np
import pytest

from mixture_of_transformers.evaluation.corruptions_values import CORRUPTIONS_OF_SERIES, CORRUPTIONS_OF_TABLES

DROPOUT, WHITE_NOISE = CORRUPTIONS_OF_SERIES
(LOST_VALUES,) = CORRUPTIONS_OF_TABLES
RECORD = {"age": 40.0, "sex": "f", "ward": "", "pulse": None, "weight": 0, "fever": False, "height": float("nan")}
FILLED = {"age", "sex", "weight", "fever"}


def series(length: int = 400) -> dict:
    """Three channels on levels and scales of their own; the second lacks readings, the third is constant."""
    random = np.random.default_rng(0)
    values = random.standard_normal((length, 3)) * (1, 100, 0) + (9.81, -500, 3)
    values[::7, 1] = np.nan
    return {"array": values, "times": np.arange(length) / 50, "sampling_rate": None}


@pytest.mark.parametrize("corruption", CORRUPTIONS_OF_SERIES, ids=lambda c: c.name)
def test_a_series_keeps_its_times_its_length_and_what_was_given(corruption):
    given = series()
    for severity in range(len(corruption.values) + 1):
        first, again = (corruption.apply(given, severity, seed=1, row=2) for _ in range(2))
        assert np.array_equal(first["array"], again["array"], equal_nan=True)
        assert first["array"].shape == (400, 3) and first["times"] is given["times"]
        assert np.array_equal(given["array"], series()["array"], equal_nan=True)
        assert (first is given) == (severity == 0)
    assert not np.array_equal(first["array"], corruption.apply(given, severity, row=3)["array"], equal_nan=True)


def test_a_dropout_of_a_series_is_one_stretch_of_gaps_of_its_share():
    given = series()
    for severity, share in enumerate(DROPOUT.values, start=1):
        after = DROPOUT.apply(given, severity)["array"]
        (lost,) = np.nonzero(np.isnan(after).all(axis=1))
        assert len(lost) == round(share * 400) and np.all(np.diff(lost) == 1)
        rest = np.setdiff1d(np.arange(400), lost)
        assert np.array_equal(after[rest], given["array"][rest], equal_nan=True)


def test_noise_of_a_series_is_as_many_decibels_below_each_channel_as_is_said_and_gaps_stay():
    given = series(20_000)
    for severity, ratio in enumerate(WHITE_NOISE.values, start=1):
        added = WHITE_NOISE.apply(given, severity)["array"] - given["array"]
        for channel in (0, 1):
            found = np.nanstd(given["array"][:, channel]) / np.nanstd(added[:, channel])
            assert 20 * np.log10(found) == pytest.approx(ratio, abs=0.2)
        assert not added[:, 2].any() and np.array_equal(np.isnan(added), np.isnan(given["array"]))


def test_a_record_loses_its_share_of_the_values_that_it_has_but_never_the_last():
    lost_somewhere = set()
    for severity, share in enumerate(LOST_VALUES.values, start=1):
        for row in range(20):
            after = LOST_VALUES.apply(RECORD, severity, row=row)
            lost = {column for column in FILLED if after[column] is None}
            assert list(after) == list(RECORD) and len(lost) == min(round(share * 4), 3)
            assert all(after[column] is value for column, value in RECORD.items() if column not in lost)
            lost_somewhere |= lost
    assert lost_somewhere == FILLED
    assert LOST_VALUES.apply({"age": 4, "sex": None}, 5) == {"age": 4, "sex": None}


def test_what_is_nearly_nothing_comes_through():
    for values in ([[1.0]], [[np.nan, 2.0]], [[np.nan], [5.0]]):
        for corruption in CORRUPTIONS_OF_SERIES:
            for severity in range(1, len(corruption.values) + 1):
                after = corruption.apply({"array": np.array(values)}, severity)["array"]
                assert after.shape == np.shape(values) and not np.isnan(after).all()
