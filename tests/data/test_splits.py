# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows that are held out or drawn keep the share of each class."""

import numpy as np
import pytest
from datasets import Dataset
from small_datasets import write_parquet_folder

from mixture_of_transformers.data.splits import cut_validation, draw_rows
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.finetune.rows import load_data


def share(rows, of_class):
    return sum(of_class in label if isinstance(label, list) else label == of_class for label in rows["label"][:])


COMMON_AND_RARE = {
    "strings": (["a"] * 80 + ["b"] * 20, "b"),
    "whole numbers": ([10] * 80 + [9] * 20, 9),
    "booleans": ([True] * 80 + [False] * 20, False),
    "floats": ([1.0] * 80 + [2.0] * 20, 2.0),
    "classes": (Dataset.from_dict({"label": ["a"] * 80 + ["b"] * 20}).class_encode_column("label")["label"][:], 1),
    "lists": ([["a"]] * 60 + [["a", "b"]] * 20 + [["c"]] * 20, "b"),
    "labels that are missing": (["a"] * 70 + [None] * 10 + ["b"] * 20, "b"),
}


@pytest.mark.parametrize("kind", COMMON_AND_RARE)
def test_a_cut_and_a_draw_keep_the_share_of_each_class_for_labels_of_every_type(kind):
    values, rare = COMMON_AND_RARE[kind]
    split = Dataset.from_dict({"label": values})
    for seed in range(5):
        train, validation = cut_validation(split, seed, "label")
        assert (len(train), len(validation)) == (90, 10) and share(validation, rare) == 2
        assert share(draw_rows(split, 50, seed), rare) == 10
    assert (
        len({tuple(cut_validation(split.add_column("row", range(100)), seed, "label")[1]["row"]) for seed in range(5)})
        > 1
    )


def test_vectors_of_zeros_and_ones_keep_the_share_of_each_class():
    vectors = [[1, 0, 0]] * 50 + [[0, 1, 1]] * 30 + [[0, 0, 1]] * 20
    _, validation = cut_validation(Dataset.from_dict({"label": vectors}), 0, "label")
    assert np.sum(validation["label"][:], axis=0).tolist() == [5, 3, 5]


def test_scores_are_cut_and_drawn_by_quantile():
    scores = np.random.default_rng(0).exponential(size=200)
    split = Dataset.from_dict({"label": scores})
    tenths = np.quantile(scores, np.linspace(0.1, 0.9, 9))
    for part in (cut_validation(split, 1, "label")[1], draw_rows(split, 40, 1)):
        counts = np.bincount(np.searchsorted(tenths, part["label"][:]), minlength=10)
        assert counts.tolist() == [len(part) // 10] * 10


@pytest.mark.parametrize("number", (2, 5, 12))
def test_a_few_scores_are_cut_too(number):
    train, validation = cut_validation(Dataset.from_dict({"label": np.arange(number) / 7}), 0, "label")
    assert len(validation) == -(-number // 10) and len(train) == number - len(validation)


@pytest.mark.parametrize("seed", range(5))
def test_the_last_row_of_a_class_stays_in_the_training_split(seed):
    rare = [f"rare {i}" for i in range(12)]
    split = Dataset.from_dict({"label": rare + ["a"] * 10 + ["b", "b"] + [None] * 6})
    train, validation = cut_validation(split, seed, "label")
    assert set(rare) < set(train["label"]) and set(validation["label"]) <= {"a", "b", None}
    assert len(draw_rows(split, 20, seed)) == 20


def test_labels_that_no_two_rows_share_are_no_classes():
    train, validation = cut_validation(Dataset.from_dict({"label": [f"row {i}" for i in range(20)]}), 0, "label")
    assert (len(train), len(validation)) == (18, 2)


def test_a_split_that_can_spare_no_row_is_an_error_that_says_what_to_give():
    with pytest.raises(ValueError, match="of 1 rows, of which none can be spared: give one.*--validation_split"):
        cut_validation(Dataset.from_dict({"label": ["a"]}), 0, "label")


@pytest.mark.parametrize(("number", "message"), [(0, "is 0, expected a number of rows from 1"), (6, "has 5 rows")])
def test_a_draw_of_rows_that_are_not_there_is_an_error_of_our_own(number, message):
    with pytest.raises(ValueError, match=f"--max_train_samples is {number}|{message}"):
        draw_rows(Dataset.from_dict({"label": list("aabbc")}), number, 0)


def test_none_leaves_out_a_split_of_the_dataset(tmp_path):
    rows = {"text": [f"row {i}" for i in range(20)], "label": list("ab") * 10}
    folder = write_parquet_folder(
        {name: Dataset.from_dict(rows) for name in ("train", "validation", "test")}, tmp_path
    )
    splits, _ = load_data(DataArguments(dataset_name=folder, test_split="none"), 0)
    assert {name: len(split) for name, split in splits.items()} == {"train": 20, "validation": 20}
    splits, _ = load_data(DataArguments(dataset_name=folder, validation_split="none"), 0)
    assert {name: len(split) for name, split in splits.items()} == {"train": 18, "validation": 2, "test": 20}


def test_no_label_column_is_an_error_that_says_which_it_may_be(tmp_path):
    rows = {"imu": [f"[{i}, 2]" for i in range(20)], "activity": ["walk", "stand"] * 10}
    Dataset.from_dict(rows).to_csv(tmp_path / "train.csv")
    with pytest.raises(ValueError, match=r"name it with --label_column, such as --label_column activity\. "):
        load_data(DataArguments(dataset_name=str(tmp_path / "train.csv")), 0)


def test_no_label_column_is_an_error_that_lists_every_column(tmp_path):
    Dataset.from_dict({"text": [f"row {i}" for i in range(20)], "n": list(range(20))}).to_csv(tmp_path / "train.csv")
    with pytest.raises(ValueError, match=r"(?s)--label_column.*text: column 'text'.*left out: column 'n' \(int64\)"):
        load_data(DataArguments(dataset_name=str(tmp_path / "train.csv")), 0)
