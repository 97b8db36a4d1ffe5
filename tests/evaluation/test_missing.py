# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What rows lose: as often as the rates say, never everything, the same for the same seed, and nothing else."""

import numpy as np
import pytest
from datasets import Dataset
from small_datasets import GOOD_AUDIO, GOOD_IMAGE, MODALITIES, tri_modal_dataset

from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.extra_cells import is_absent_cell
from mixture_of_transformers.evaluation.missing import (
    columns_by_modality,
    draw_absent,
    present_modalities,
    take_away,
)


def whole_rows(number: int) -> Dataset:
    rows = tri_modal_dataset([(f"row {i}", GOOD_IMAGE, GOOD_AUDIO) for i in range(number)])
    return rows.add_column("label", list(range(number)))


def present(rows: Dataset) -> np.ndarray:
    """(N, 3), by looking at each cell."""
    return np.array([[not is_absent_cell(row[m]) for m in MODALITIES] for row in rows.to_list()])


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_cells_are_lost_as_often_as_the_rate_says_but_for_those_that_a_row_would_be_empty_without(rate):
    has = present(take_away(whole_rows(3000), rate))
    expected = rate - rate**3 / 3  # of a row that would be empty one of three stays
    assert (~has).mean(axis=0) == pytest.approx(expected, abs=3 * (0.25 / 3000) ** 0.5)
    assert has.any(axis=1).all()


def test_no_rate_takes_the_last_modality_of_a_row():
    rows = whole_rows(400)
    for rates in (1.0, {"text": 1.0, "image": 1.0, "audio": 1.0}, 0.9):
        assert present(take_away(rows, rates)).any(axis=1).all()
    has = present(take_away(rows, 1.0))
    assert (has.sum(axis=1) == 1).all() and has.mean(axis=0) == pytest.approx(1 / 3, abs=0.08)


def test_a_row_that_would_be_empty_keeps_what_has_the_lowest_rate():
    has = present(take_away(whole_rows(300), {"text": 1.0, "image": 0.99, "audio": 1.0}))
    assert has[:, 1].all() and not has[:, [0, 2]].any()


def test_unequal_rates_are_those_of_each_modality():
    has = present(take_away(whole_rows(3000), {"text": 0.9, "audio": 0.1}))
    assert (~has).mean(axis=0) == pytest.approx([0.9, 0.0, 0.1], abs=0.02)


def test_what_is_lost_at_a_low_rate_is_lost_at_a_higher_one():
    rows, lost = whole_rows(500), None
    for rate in (0.0, 0.1, 0.5, 0.9, 1.0):
        now = ~present(take_away(rows, rate))
        assert lost is None or (now[lost]).all()
        lost = now


def test_the_same_seed_takes_the_same_cells_and_another_seed_others():
    rows = whole_rows(100)
    first, again, other = (present(take_away(rows, 0.5, seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_what_stays_is_as_it_was_with_its_label_and_its_type():
    rows = load_digits_dataset()["train"].select(range(1297))  # through a mapping of indices, and more than one batch
    rows = rows.shuffle(seed=3).cast_column("image", rows.features["image"].__class__(decode=False))
    rows = rows.cast_column("audio", rows.features["audio"].__class__(decode=False))
    fewer = take_away(rows, {"image": 0.6, "text": 0.3})
    assert fewer.features == rows.features and len(fewer) == len(rows) and fewer.split == rows.split
    for before, after in zip(rows, fewer):
        assert after["label"] == before["label"] and after["audio"] == before["audio"]
        assert all(after[m] in (before[m], None) for m in ("text", "image"))
        assert any(after[m] is not None for m in MODALITIES)


def test_a_rate_of_nothing_and_rows_that_have_one_modality_leave_all_as_it_was():
    rows = whole_rows(50)
    assert take_away(rows, 0.0).to_list() == rows.to_list()
    alone = tri_modal_dataset([("a", None, None), (None, GOOD_IMAGE, None), (None, None, GOOD_AUDIO)])
    assert take_away(alone, 0.99).to_list() == alone.to_list()
    assert len(take_away(rows.select([]), 0.5)) == 0


def test_columns_of_one_modality_are_lost_together_and_blank_cells_were_lost_before():
    rows = Dataset.from_dict(
        {
            "text": ["a", "  ", None, "b"],
            "image": ["1.png", None, "2.png", None],
            "video": [None, "3.mp4", "4.mp4", None],
            "imu": [[[0.5]], [], [[1.0]], [[2.0]]],
            "label": [0, 1, 0, 1],
        }
    )
    assert columns_by_modality(rows) == {"text": ["text"], "image": ["image", "video"], "imu": ["imu"]}
    expected = [[True, True, True], [False, True, False], [False, True, True], [True, False, True]]
    assert present_modalities(rows).tolist() == expected
    fewer = take_away(rows, {"image": 1.0})
    assert fewer["image"][:] == [None] * 4 and fewer["video"][:] == [None, "3.mp4", None, None]


def test_a_row_without_anything_stays_without_anything():
    nothing = np.zeros((2, 3), dtype=bool)
    assert not draw_absent(nothing, dict.fromkeys(MODALITIES, 1.0), 0).any()


@pytest.mark.parametrize(
    "rates, message",
    [
        (1.5, "rate of text is 1.5; expected a share from 0 to 1"),
        (float("nan"), "rate of text is nan"),
        ({"audio": -0.1}, "rate of audio is -0.1"),
        ({"sound": 0.1}, "'sound'; expected modalities of the rows, text, image, audio"),
    ],
)
def test_bad_input_what_is_no_rate_of_a_modality_is_named(rates, message):
    with pytest.raises(ValueError, match=message):
        take_away(whole_rows(2), rates)
