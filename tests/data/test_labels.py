# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Labels of every form mean what the training split says."""

import json
import re

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from small_datasets import CLASSES, write_rows

from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.labels import LabelColumn, LabelSpec
from mixture_of_transformers.data.preparation import prepare_split, prepare_splits
from mixture_of_transformers.data.split_types import with_features
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.finetune.rows import load_data


def prepare_labels(train, test=None, kind=None, **options):
    features = Features({"text": Value("string"), "target": kind}) if kind else None
    splits = DatasetDict(
        {
            name: Dataset.from_dict({"text": ["x"] * len(values), "target": values}, features=features)
            for name, values in (("test", test if test is not None else train), ("train", train))
        }
    )
    prepared, labels = prepare_splits(splits, ModalityColumns("text", label="target"), **options)
    assert (
        prepared["train"].column_names == ["text", "label"] and prepared["train"].features["label"] == labels.feature
    )
    return labels, prepared["train"]["label"][:], prepared["test"]["label"][:]


@pytest.mark.parametrize(
    ("values", "kind", "names", "ids"),
    [
        ([1, 0, 1], CLASSES, ("no", "yes"), [1, 0, 1]),
        (["dog", "cat", "dog"], None, ("cat", "dog"), [1, 0, 1]),
        ([9, 10, 9], None, ("9", "10"), [0, 1, 0]),
        ([True, False], None, ("False", "True"), [1, 0]),
    ],
)
def test_classes_become_ids(values, kind, names, ids):
    labels, train, _ = prepare_labels(values, kind=kind)
    assert labels == LabelSpec("single_label_classification", names)
    assert labels.id2label == dict(enumerate(names)) and labels.num_labels == len(names)
    assert train == ids


@pytest.mark.parametrize(
    ("values", "kind"),
    [([["b", "a"], [], ["b"]], List(Value("string"))), ([[1, 0], [], [1]], List(ClassLabel(names=["a", "b"])))],
)
def test_lists_of_classes_become_multi_hot(values, kind):
    labels, train, _ = prepare_labels(values, kind=kind)
    assert labels == LabelSpec("multi_label_classification", ("a", "b"))
    assert train == [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]


GAP = float("nan")
ARRAYS = {
    "integers": [[1, 0, 1], [0, 0, 0], [0, 1, 0]],
    "booleans": [[True, False, True], [False] * 3, [False, True, False]],
    "floats": [[1.0, 0.0, 1.0], [0.0] * 3, [0.0, 1.0, 0.0]],
}


def encoded_whole_and_streamed(values, **options):
    """The labels and the encoded rows, the same for a split that is kept and one that is streamed."""
    split = Dataset.from_dict({"text": ["x"] * len(values), "target": values})
    columns = ModalityColumns("text", label="target")
    whole, labels = prepare_split(split, columns, **options)
    stream, of_stream = prepare_split(split.to_iterable_dataset(), columns, **options)
    assert of_stream == labels
    assert [row["label"] for row in stream] == whole["label"][:]
    return labels, whole["label"][:]


@pytest.mark.parametrize("kind", ARRAYS)
def test_vectors_of_zeros_and_ones_are_multi_hot_of_any_type(kind):
    labels, encoded = encoded_whole_and_streamed([*ARRAYS[kind], None])
    assert labels == LabelSpec("multi_label_classification", ("0", "1", "2"), multi_hot=True)
    assert encoded == [[float(member) for member in vector] for vector in ARRAYS["integers"]] + [None]


def test_lists_of_whole_numbers_that_are_no_vectors_are_classes():
    labels, encoded = encoded_whole_and_streamed([[0, 1], [1], []])
    assert labels.names == ("0", "1") and encoded == [[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize("values", [[[0.3, 0.7], [1.0, 0.0]], [[0, 0, 2], [0, 1, 0]], [[True, False], [True]]])
def test_vectors_of_anything_else_are_an_error_that_names_the_row(values):
    with pytest.raises(
        ValueError, match="of row 0 of split 'train', column 'target', is neither a vector of zeros and ones"
    ):
        encoded_whole_and_streamed(values)


def test_a_vector_of_another_length_in_another_split_is_an_error_that_names_it():
    with pytest.raises(
        ValueError, match=r"Label \[1, 0\] of row 1 of split 'test', column 'target', is not a vector of 3 zeros"
    ):
        prepare_labels(ARRAYS["integers"], [[1, 0, 0], [1, 0]])


@pytest.mark.parametrize(
    ("values", "expected", "encoded"),
    [
        ([[3], [5], [3]], LabelSpec("single_label_classification", ("3", "5")), [0, 1, 0]),
        ([[True], [False], [True]], LabelSpec("single_label_classification", ("False", "True")), [1, 0, 1]),
    ],
)
def test_labels_of_shape_n_1_are_labels(values, expected, encoded):
    assert encoded_whole_and_streamed(values) == (expected, encoded)


def test_scores_of_shape_n_1_are_scores():
    labels, encoded = encoded_whole_and_streamed([[0.5], [2.0], [1.25]])
    assert labels.problem_type == "regression" and encoded == [0.5, 2.0, 1.25]


def test_whole_numbers_that_a_gap_turned_into_floats_are_classes(caplog):
    labels, encoded = encoded_whole_and_streamed([10.0, 9.0, GAP, 10.0])
    assert labels == LabelSpec("single_label_classification", ("9", "10")) and encoded == [1, 0, None, 1]
    assert "Column 'target' holds whole numbers" in caplog.text and "--task regression" in caplog.text


def test_a_gap_in_any_split_or_a_task_says_what_whole_floats_are():
    assert prepare_labels([1.0, 2.0], [1.0, GAP])[0].names == ("1", "2")
    assert prepare_labels([1, 2], [2.0, GAP])[2] == [1, None]
    assert prepare_labels([1.0, 2.0])[0].problem_type == "regression"
    assert prepare_labels([1.0, GAP, 2.0], problem_type="regression")[0].problem_type == "regression"
    assert prepare_labels([1.0, 2.0], problem_type="classification")[0].names == ("1", "2")
    with pytest.raises(ValueError, match="Label 0.5 of row 1 of split 'train', column 'target', .*--task regression"):
        prepare_labels([1.0, 0.5], problem_type="classification")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "a"], r"column 'label' of split 'train' mixes kinds of labels: 1 \(int, row 0\) and 'a' \(str, row 1\)"),
        ([1, "1"], "column 'label' of split 'train' mixes kinds of labels: numbers and text, such as 1 and '1'"),
        (["a", "1", "1.0"], "column 'label' of split 'train' mixes '1' and '1.0', which are one number"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_mixed_kinds_of_labels_are_an_error_that_says_what_is_mixed(values, message, streaming, tmp_path):
    lines = [json.dumps({"text": "x", "label": value}) + "\n" for value in values * 3]
    (tmp_path / "train.jsonl").write_text("".join(lines))
    split = datasets.load_dataset("json", data_files=str(tmp_path / "train.jsonl"), split="train", streaming=streaming)
    with pytest.raises(ValueError, match=f"(?i){message}"):
        prepare_split(with_features(split) if streaming else split, ModalityColumns.guess(split.features))


@pytest.mark.parametrize(
    ("train", "test", "kind"),
    [
        (["a", "b"], ["b", "c"], None),
        ([0, 1], [1, 2], ClassLabel(names=["a", "b", "c"])),
        ([["a"], ["b"]], [["b"], ["a", "c"]], List(ClassLabel(names=["a", "b", "c"]))),
    ],
)
def test_a_class_that_only_the_test_split_has_is_an_error_with_advice_however_it_is_typed(train, test, kind):
    if isinstance(kind, List):
        train, test = ([[kind.feature.str2int(name) for name in row] for row in rows] for rows in (train, test))
    with pytest.raises(
        ValueError, match="(?s)Label 'c' of row 1 of split 'test', column 'target', .*--test_split none"
    ):
        prepare_labels(train, test, kind)


@pytest.mark.parametrize(
    ("train", "unlabelled", "kind"),
    [
        ([0, 1], [-1, -1], CLASSES),
        ([0, 1], [-1, -1], Value("int64")),
        (["a", "b"], [None, " "], Value("string")),
        ([0.5, 1.5], [GAP, None], Value("float32")),
        (["a", "b"], None, Value("string")),
    ],
)
def test_a_test_split_without_labels_is_kept_without_them(train, unlabelled, kind, caplog):
    kinds = Features({"text": Value("string"), "target": kind})
    splits = DatasetDict(train=Dataset.from_dict({"text": ["x", "y"], "target": train}, features=kinds))
    splits["test"] = Dataset.from_dict({"text": ["z", "w"]})
    if unlabelled is not None:
        splits["test"] = Dataset.from_dict({"text": ["z", "w"], "target": unlabelled}, features=kinds)
    prepared, labels = prepare_splits(splits, ModalityColumns("text", label="target"))
    assert prepared["test"].column_names == ["text"] and prepared["train"].features["label"] == labels.feature
    assert "Split 'test' has no labels in column 'target'" in caplog.text
    with pytest.raises(ValueError, match="'validation'"):
        prepare_splits(
            DatasetDict(train=splits["train"], validation=splits["test"]), ModalityColumns("text", label="target")
        )


def test_an_id_beyond_the_names_of_a_class_label_is_an_error_that_names_the_row():
    with pytest.raises(
        ValueError, match="Label 7 of row 1 of split 'test', column 'label', is not the id of one of the 2"
    ):
        column = LabelColumn("label", CLASSES, "test")
        [column.read(row, cell) for row, cell in enumerate([0, 7])]


def test_floats_are_regression_and_whole_numbers_are_on_request():
    labels, train, _ = prepare_labels([0.5, 2.0])
    assert labels == LabelSpec("regression", mean=1.25, std=0.75) and labels.num_labels == 1 and train == [0.5, 2.0]
    labels, train, _ = prepare_labels([1, 5], problem_type="regression")
    assert labels.problem_type == "regression" and train == [1.0, 5.0]


def test_ids_follow_the_names_of_train_in_every_split():
    train = Dataset.from_dict({"text": ["x", "y"], "label": [0, 1]}).cast_column("label", CLASSES)
    test = Dataset.from_dict({"text": ["x"], "label": [0]}).cast_column("label", ClassLabel(names=["yes", "no"]))
    prepared, _ = prepare_splits(DatasetDict(test=test, train=train), ModalityColumns("text", label="label"))
    assert prepared["test"]["label"][:] == [1]


@pytest.mark.parametrize(
    ("train", "test", "kind", "message"),
    [
        (
            ["a", "b"],
            ["a", "c"],
            None,
            "Label 'c' of row 1 of split 'test', column 'target', is not among the 2 classes.*: a, b",
        ),
        ([["a", "b"]], [["a"], ["d"]], None, "Label 'd' of row 1 of split 'test'"),
        ([-1, -1], [0, 1], CLASSES, "No row of split 'train' has a label"),
        (["a", "a"], ["a"], None, "two classes or more"),
    ],
)
def test_an_unknown_label_or_a_split_without_any_is_an_error_that_names_it(train, test, kind, message):
    with pytest.raises(ValueError, match=message):
        prepare_labels(train, test, kind)


@pytest.mark.parametrize(
    ("values", "kind", "prepared"),
    [
        (["b", None, "a"], None, [1, None, 0]),
        (["b", "  ", "a"], None, [1, None, 0]),
        ([0.5, float("nan"), 1.5], None, [0.5, None, 1.5]),
        ([1, -1, 0], CLASSES, [1, None, 0]),
        ([["a"], None, ["b"]], None, [[1.0, 0.0], None, [0.0, 1.0]]),
    ],
)
def test_missing_labels_are_counted_and_left_empty(values, kind, prepared, caplog):
    assert prepare_labels(values, values, kind)[1] == prepared
    assert "1 of 3 rows of 'train' have no label and do not count (rows 1)." in caplog.text


def test_preparing_renames_even_where_names_change_places():
    swapped = Dataset.from_dict({"label": ["prose", "more"], "text": ["a", "b"], "other": [1, 2]})
    prepared, labels = prepare_split(swapped, ModalityColumns(text="label", label="text"))
    assert prepared[0] == {"text": "prose", "label": 0} and labels.names == ("a", "b")


@pytest.mark.parametrize("other", [" pos", "pos\t", "pos\u200b", "\ufeffpos"])
@pytest.mark.parametrize("is_typed", [True, False])
def test_classes_that_differ_only_invisibly_are_one(other, is_typed):
    names = ["pos", other, "neg"]
    values, kind = ([0, 1, 2], ClassLabel(names=names)) if is_typed else (names, None)
    labels, train, _ = prepare_labels(values, kind=kind)
    assert set(labels.names) == {"pos", "neg"}
    assert train[0] == train[1] == labels.label2id["pos"] and train[2] == labels.label2id["neg"]
    assert prepare_labels(["caf\u00e9", "cafe\u0301", "b c", "b\u00a0c"])[0].names == ("b c", "caf\u00e9")


def test_labels_of_a_checkpoint_are_found_by_the_names_it_has():
    split = Dataset.from_dict({"text": ["a", "b"], "label": [" pos", "neg"]})
    known = LabelSpec("single_label_classification", (" pos", "neg"))
    assert prepare_split(split, ModalityColumns("text", label="label"), known)[0]["label"][:] == [0, 1]


def test_classes_that_differ_only_by_case_are_named(caplog):
    assert prepare_labels(["no", "No", "yes"])[0].num_labels == 3
    assert "Classes of column 'target' differ only by case: ['No', 'no']" in caplog.text


@pytest.mark.parametrize("odd", ["-", "?"])
def test_a_word_among_numbers_is_an_error_that_names_its_row(odd):
    values = [str(i / 2) for i in range(19)]
    message = re.escape(f"Label '{odd}' of row 3 of split 'train', column 'target', is no number, as 19 of 20")
    mixed = [*values[:3], odd, *values[3:]]
    with pytest.raises(ValueError, match=message):
        prepare_labels(mixed)
    assert prepare_labels(mixed, problem_type="classification")[0].num_labels == 20


def test_scores_beyond_float32_are_missing_and_named(caplog):
    labels, train, _ = prepare_labels([0.5, 1e39, 1.5, float("-inf")])
    assert train == [0.5, None, 1.5, None] and (labels.mean, labels.std) == (1.0, 0.5)
    assert "2 of these are infinite or beyond float32, such as 1e+39 in row 1" in caplog.text


def test_the_text_of_a_list_is_one_class_with_a_warning(caplog):
    assert prepare_labels(["c", "['a','b']"])[0].names == ("['a','b']", "c")
    assert "row 1 of split 'train', column 'target', is the text of a list" in caplog.text


@pytest.mark.parametrize("kind", [str, int])
def test_labels_that_hardly_repeat_are_an_error_that_says_so(kind, tmp_path):
    rows = [{"text": f"row {i}", "label": kind(i)} for i in range(20)]
    with pytest.raises(ValueError, match="Most training rows have a label that no other has.*--label_column"):
        load_data(DataArguments(dataset_name=write_rows(tmp_path / "train.jsonl", rows)), 0)


def test_ready_features_pass_as_they_are():
    split = Dataset.from_dict({"image_features": [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]], "text": ["a", "b"]})
    prepared, labels = prepare_split(split, ModalityColumns.guess(split.features))
    assert labels is None and prepared["image"][:] == split["image_features"][:]
