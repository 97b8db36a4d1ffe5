# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Some rows of a split, of each class its share: those that are cut off for validation, those that are drawn to train
on.

Rows are put into a random order that goes class by class (scores: tenth by tenth), of which some are taken that lie
evenly in it. That asks of no class for more than it has.
"""

import math
from collections import Counter

import numpy as np
from datasets import ClassLabel, Dataset, Json

from mixture_of_transformers.data.column_names import is_label
from mixture_of_transformers.data.column_types import element_of, is_list, is_value
from mixture_of_transformers.data.columns import in_any_case
from mixture_of_transformers.data.labels import is_missing, is_multi_hot
from mixture_of_transformers.data.streams import RowStream

HELD_OUT_SHARE = 0.1  # of the training rows


def cut_validation(train: Dataset, seed: int, label_column: str | None) -> tuple[Dataset, Dataset]:
    """A training split and a tenth of it, of each class its share; the last row of a class stays in the training
    split.

    Args:
        seed: decides which rows.
        label_column: of classes, lists of classes, vectors of zeros and ones, or scores; None or an unknown name draws
            from all rows alike.

    Raises:
        ValueError: there is no row to be spared.
    """
    groups, are_classes = groups_of_rows(train, label_column)
    held_out = share_of_each(groups, math.ceil(HELD_OUT_SHARE * len(train)), seed)
    spared = without_last_of_a_class(groups, held_out) if are_classes else held_out
    if not spared or len(spared) == len(train):
        raise ValueError(
            f"Cannot cut a validation split from a training split of {len(train)} rows, of which none can be spared: "
            "give one of your own, named with --validation_split."
        )
    return train.select(sorted(set(range(len(train))) - set(spared))), train.select(sorted(spared))


def draw_rows(train: Dataset | RowStream, number: int, seed: int) -> Dataset | RowStream:
    """`number` rows of a prepared split, of each class its share; of a stream the first.

    Raises:
        ValueError: there are not so many.
    """
    if number <= 0:
        raise ValueError(f"--max_train_samples is {number}, expected a number of rows from 1.")
    if isinstance(train, RowStream):
        return train.take(number)
    if number > len(train):
        raise ValueError(f"--max_train_samples is {number}, but the training split has {len(train)} rows.")
    groups, _ = groups_of_rows(train, "label")
    return train.select(sorted(share_of_each(groups, number, seed)))


def without_last_of_a_class(classes: list[tuple], rows: list[int]) -> list[int]:
    """The rows, but for those without which one of their classes would have no other row."""
    left = Counter(name for row in set(range(len(classes))) - set(rows) for name in classes[row])
    spared = []
    for row in rows:
        if all(left[name] for name in classes[row]):
            spared.append(row)
        else:
            left.update(classes[row])
    return spared


def groups_of_rows(split: Dataset, column: str | None) -> tuple[list[tuple], bool]:
    """The classes of each row, none where its label is missing; of scores their tenth; none of labels that are ids.

    Whether the groups are classes comes second: of a class every split needs a row, of a tenth none does.
    """
    column = in_any_case(column, split.features)
    kind = split.features.get(column)
    if not is_label(kind) or isinstance(kind, Json):
        return [()] * len(split), False
    cells = split.with_format(None)[column][:]
    values = [None if has_missing_member(cell, element_of(kind)) else cell for cell in cells]
    if is_list(kind) and not isinstance(kind.feature, ClassLabel):
        values = classes_of_vectors(values)
    rows = [() if v is None else tuple(dict.fromkeys(v)) if isinstance(v, list) else (v,) for v in values]
    number = Counter(name for row in rows for name in row)
    are_ids = 2 * list(number.values()).count(1) > len(split)
    if is_value(element_of(kind), "int", "uint", "float") and (are_ids or any(name % 1 for name in number)):
        return tenths(rows), False
    return ([()] * len(split), False) if are_ids else (rows, True)


def classes_of_vectors(values: list[list | None]) -> list[list | None]:
    """Where every row is a vector of zeros and ones, the places of the ones; else the lists of classes as they are."""
    present = [value for value in values if value is not None]
    if len({len(value) for value in present}) != 1 or len(present[0]) == 1 or not all(map(is_multi_hot, present)):
        return values
    return [value and [place for place, hot in enumerate(value) if hot] for value in values]


def has_missing_member(cell, element) -> bool:
    return any(is_missing(member, element) for member in (cell if isinstance(cell, list) else [cell]))


def tenths(scores: list[tuple]) -> list[tuple]:
    """Which tenth of all scores, from the lowest, each row's is of."""
    present = [row for row, score in enumerate(scores) if score]
    by_score = sorted(present, key=lambda row: scores[row])
    tenth = {row: (10 * rank // len(present),) for rank, row in enumerate(by_score)}
    return [tenth.get(row, ()) for row in range(len(scores))]


def share_of_each(classes: list[tuple], number: int, seed: int) -> list[int]:
    """So many rows, which lie evenly in a random order that goes class by class."""
    evenly = (np.arange(number) + 0.5) * len(classes) / number
    return class_by_class(classes, seed)[evenly.astype(int)].tolist()


def class_by_class(classes: list[tuple], seed: int) -> np.ndarray:
    """A random order of all rows in which those of a class, of several its rarest, stand together."""
    number = Counter(name for row in classes for name in row)
    several = any(len(row) > 1 for row in classes)

    def place(name) -> tuple:
        return (number[name] if several else 0, isinstance(name, str), name)

    keys = [sorted(map(place, row)) for row in classes]
    ranks = {tuple(key): rank for rank, key in enumerate(sorted(map(tuple, keys)))}
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    rank_of_row = np.array([ranks[tuple(key)] for key in keys], dtype=int)
    return shuffled[np.argsort(rank_of_row[shuffled], kind="stable")]
