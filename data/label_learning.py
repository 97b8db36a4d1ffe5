# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Learns from a training split what its labels mean: classes, several classes at once, or scores."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from datasets import ClassLabel, Dataset, IterableDataset, Json
from transformers.utils import logging

from mixture_of_transformers.data.column_types import element_of, is_list, is_string, is_value, kind_name
from mixture_of_transformers.data.labels import (
    LabelColumn,
    LabelSpec,
    class_name_of,
    is_missing,
    is_multi_hot,
    plain_name,
    shortened,
)

logger = logging.get_logger(__name__)

ROWS_FOR_THE_SCALE = 200  # of a stream of scores, by which the scale is learned
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE)


def learn_labels(splits: Mapping[str, Dataset | IterableDataset], column: str, task: str | None = None) -> LabelSpec:
    """What a label column means, from its training split.

    Args:
        splits: the training split under its name, and others, in which a missing label turns whole numbers into floats
            just as well.
        column: the name of the label column.
        task: "regression" takes whole numbers as numbers, "classification" takes floats that are whole as classes; by
            default whole numbers are classes, and floats are numbers unless they are whole beside a missing label.

    Raises:
        ValueError: the labels are not what the task needs, are of mixed kinds, or do not tell two classes apart.
    """
    split_name, train = next(iter(splits.items()))
    labels = LabelColumn(column, train.features[column], split_name)
    kind, element = labels.kind, labels.element
    if task not in (None, "classification", "regression"):
        raise ValueError(f"`problem_type` may be None, 'classification' or 'regression', got '{task}'.")
    if isinstance(kind, Json):
        raise mixed_kinds(labels, train)
    if isinstance(element, ClassLabel) and task != "regression":
        several = is_list(kind) and getattr(kind, "length", -1) != 1
        return spec_of_classes(list(dict.fromkeys(map(plain_name, element.names))), several, labels)
    rows = list(read_labels(labels, train, task))
    values = [(row, value) for row, value in rows if value is not None]
    if not values and task != "regression":
        raise labels.no_labels()
    is_flat = not is_list(kind) or has_one_each(kind, values)
    if is_flat and is_list(kind):
        values = [(row, value[0]) for row, value in values]
    has_gap = len(values) < len(rows) or any(
        misses_labels(split, column) for name, split in splits.items() if name != split_name
    )
    if is_flat and is_string(element) and task != "classification":
        check_numbers(labels, values)
    if is_regression(labels, is_flat, values, task, has_gap):
        return spec_of_scores([number for _, number in values])
    if not is_flat and not is_string(element) and (names := names_of_vectors(labels, values)):
        return LabelSpec("multi_label_classification", names, multi_hot=True)
    warn_of_written_lists(labels, values)
    number = Counter(member for _, value in values for member in ([value] if is_flat else value))
    # The classes are sorted before they become strings, so that class 10 comes after class 9.
    names = list(dict.fromkeys(class_name_of(member) for member in sorted(number)))
    check_spelling(names, labels)
    hardly_repeats = is_flat and 2 * list(number.values()).count(1) > len(values)
    return replace(spec_of_classes(names, not is_flat, labels), hardly_repeats=hardly_repeats)


def spec_of_scores(numbers: list[float]) -> LabelSpec:
    if not numbers or np.ptp(numbers) == 0:  # There is nothing to scale by.
        return LabelSpec("regression")
    return LabelSpec("regression", mean=float(np.mean(numbers)), std=float(np.std(numbers)))


def spec_of_classes(names: list[str], several: bool, labels: LabelColumn) -> LabelSpec:
    if len(names) < 2 and not several:
        raise ValueError(
            f"A classification needs two classes or more, but the labels of split '{labels.split_name}', column "
            f"'{labels.name}', are all of {list(names)}."
        )
    warn_of_case(names, labels)
    return LabelSpec("multi_label_classification" if several else "single_label_classification", tuple(names))


def read_labels(labels: LabelColumn, train: Dataset | IterableDataset, task: str | None) -> Iterable[tuple]:
    """(row, label) of as many rows as tell what the labels mean: of a stream of scores those up to the first fraction,
    and so many that they tell the scale."""
    is_stream = isinstance(train, IterableDataset)
    column = train.select_columns(labels.name)
    cells = (row[labels.name] for row in column) if is_stream else column.with_format(None)[labels.name][:]
    are_scores = task == "regression"
    for row, cell in enumerate(cells):
        value = labels.read(row, cell)
        yield row, value
        are_scores |= isinstance(value, float) and not value.is_integer()
        if is_stream and are_scores and row + 1 >= ROWS_FOR_THE_SCALE:
            return


def has_one_each(kind, values: list[tuple]) -> bool:
    """Whether lists are the rows of an array (N, 1). Lists of strings that happen to hold one are several classes."""
    return getattr(kind, "length", -1) == 1 or (
        not is_string(element_of(kind)) and all(len(value) == 1 for _, value in values)
    )


def is_regression(labels: LabelColumn, is_flat: bool, values: list[tuple], task: str | None, has_gap: bool) -> bool:
    """Whether labels are numbers to be predicted rather than classes."""
    element, is_float = labels.element, is_value(labels.element, "float")
    if task == "regression":
        if not is_flat or not is_value(element, "int", "uint", "float"):
            raise ValueError(
                f"Regression needs one number for each row, but column '{labels.name}' of split '{labels.split_name}' "
                f"is {kind_name(labels.kind)}: name another with --label_column."
            )
        return True
    if not is_flat or not is_float:
        return False
    fraction = next((row for row, value in values if not value.is_integer()), None)
    if task == "classification":
        if fraction is not None:
            raise labels.error(
                fraction, dict(values)[fraction], "is no class: floats are --task regression, not classification."
            )
        return False
    if fraction is not None:
        return True
    if has_gap:
        logger.warning(
            f"Column '{labels.name}' holds whole numbers, and floats only since labels are missing: they are taken as "
            "classes. --task regression takes them as scores."
        )
    return not has_gap


def misses_labels(split: Dataset, column: str) -> bool:
    if column not in split.features:
        return False
    cells = split.with_format(None)[column][:]
    return any(is_missing(cell[0] if isinstance(cell, list) and cell else cell, None) for cell in cells)


def names_of_vectors(labels: LabelColumn, values: list[tuple]) -> tuple[str, ...] | None:
    """The names "0", "1", ... where every row is a vector of zeros and ones; None where rows are lists of classes."""
    lengths = {len(value) for _, value in values}
    is_whole = len(lengths) == 1
    if is_whole and lengths != {1} and all(is_multi_hot(value) for _, value in values):
        return tuple(map(str, range(*lengths)))
    is_number = is_value(labels.element, "int", "uint")
    for row, value in values:
        if not is_number or (is_whole and len(set(value)) < len(value)):
            raise labels.error(
                row,
                value,
                "is neither a vector of zeros and ones, as long as those of all rows, nor a list of different "
                "classes.",
            )
    return None


def check_spelling(names: list[str], labels: LabelColumn) -> None:
    """Refuses '1' beside '1.0', which some rows of a table with numbers and words can hold."""
    for name in names:
        whole = re.fullmatch(r"([+-]?\d+)\.0+", name)
        if whole and whole[1] in names:
            raise ValueError(
                f"Column '{labels.name}' of split '{labels.split_name}' mixes '{whole[1]}' and '{name}', which are "
                "one number: write each class in one way."
            )


def warn_of_case(names: list[str], labels: LabelColumn) -> None:
    alike = {}
    for name in names:
        alike.setdefault(name.casefold(), []).append(name)
    if several := [group for group in alike.values() if len(group) > 1]:
        logger.warning(
            f"Classes of column '{labels.name}' differ only by case: {shortened(several)}. Each is a class of its "
            "own: write those that are one in one way."
        )


def check_numbers(labels: LabelColumn, values: list[tuple]) -> None:
    """Refuses a few words among numbers with fractions, which would make a class of each number."""
    odd = [(row, value) for row, value in values if not NUMBER.fullmatch(str(value))]
    numbers = [float(value) for _, value in values if NUMBER.fullmatch(str(value))]
    if odd and 10 * len(odd) <= len(values) and any(not number.is_integer() for number in numbers):
        raise labels.error(
            *odd[0],
            f"is no number, as {len(numbers)} of {len(values)} rows have: empty the cell and it counts as missing, or "
            "take each number as a class with --task classification.",
        )


def warn_of_written_lists(labels: LabelColumn, values: list[tuple]) -> None:
    for row, value in values:
        if isinstance(value, str) and re.fullmatch(r"\[.*\]", value, re.DOTALL):
            logger.warning(
                f"Label {value!r} of row {row} of split '{labels.split_name}', column '{labels.name}', is the text of "
                "a list, and taken as the name of one class. JSON lines and parquet hold lists."
            )
            return


def mixed_kinds(labels: LabelColumn, train: Dataset | IterableDataset) -> ValueError:
    kinds = {}
    for row, cells in enumerate(train.select_columns(labels.name)):
        kinds.setdefault(type(cells[labels.name]).__name__, (row, cells[labels.name]))
    kinds.pop("NoneType", None)
    found = " and ".join(f"{value!r} ({kind}, row {row})" for kind, (row, value) in kinds.items())
    if len(kinds) == 1:  # The reader gave `1` and `"1"` both as numbers.
        value = next(iter(kinds.values()))[1]
        found = f"numbers and text, such as {value!r} and '{value}'"
    return ValueError(
        f"Column '{labels.name}' of split '{labels.split_name}' mixes kinds of labels: {found}. Write all in one way."
    )
