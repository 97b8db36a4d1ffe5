# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Some rows of a split, of each class its share: those that are cut off for validation, those that are drawn to train
on.

Rows are put into a random order that goes class by class (scores: tenth by tenth), of which some are taken that lie
evenly in it. That asks of no class for more than it has.
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime

import numpy as np
from datasets import ClassLabel, Dataset, Json

from mixture_of_transformers.data.column_contents import is_gap
from mixture_of_transformers.data.column_names import is_label
from mixture_of_transformers.data.column_types import element_of, is_list, is_value
from mixture_of_transformers.data.columns import in_any_case
from mixture_of_transformers.data.labels import is_missing, is_multi_hot
from mixture_of_transformers.data.streams import RowStream

HELD_OUT_SHARE = 0.1  # of the training rows


def cut_validation(
    train: Dataset,
    seed: int,
    label_column: str | None,
    group_column: str | None = None,
    time_column: str | None = None,
) -> tuple[Dataset, Dataset]:
    """A training split and a tenth of it, of each class its share; the last row of a class stays in the training
    split.

    Args:
        seed: decides which rows.
        label_column: of classes, lists of classes, vectors of zeros and ones, or scores; None or an unknown name draws
            from all rows alike.
        group_column: of what the rows of a group share: whole groups are cut off, at random.
        time_column: of when each row was: the last rows are cut off.

    Raises:
        ValueError: there is no row to be spared.
    """
    classes, are_classes = groups_of_rows(train, label_column)
    number = math.ceil(HELD_OUT_SHARE * len(train))
    if group_column is not None:
        classes = classes if are_classes else [()] * len(train)
        spared = whole_groups(values_in(train, group_column, "group_column"), classes, number, seed)
    elif time_column is not None:
        spared = latest_rows(times_in(train, time_column), number)
    else:
        held_out = share_of_each(classes, number, seed)
        spared = without_last_of_a_class(classes, held_out) if are_classes else held_out
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


# ---------------------------------------------------------------------------------------------------------------------
# Groups and times
# ---------------------------------------------------------------------------------------------------------------------


def values_in(split: Dataset, column: str, option: str) -> list:
    """The cells of a column that an option names.

    Raises:
        ValueError: there is no such column, or a row has no cell in it.
    """
    name = in_any_case(column, split.features)
    if name not in split.features:
        raise ValueError(
            f"There is no column '{column}', which --{option} names; there are {', '.join(split.features)}."
        )
    cells = split.with_format(None)[name][:]
    if (empty := next((row for row, cell in enumerate(cells) if is_gap(cell)), None)) is not None:
        raise ValueError(
            f"Column '{name}', which --{option} names, is empty in row {empty} of a split: fill it, or take "
            "the row out."
        )
    return cells


def whole_groups(groups: list, classes: list[tuple], number: int, seed: int) -> list[int]:
    """
    The rows of whole groups in a random order, about so many, without the last rows of any class.

    Args:
        groups: what the rows of a group share.
        classes: the classes of each row.
    """
    rows_of_group: dict = {}
    for row, group in enumerate(groups):
        rows_of_group.setdefault(group, []).append(row)
    members, left = list(rows_of_group.values()), Counter(name for row in classes for name in row)
    spared: list[int] = []
    for place in np.random.default_rng(seed).permutation(len(members)):
        rows = members[place]
        own = Counter(name for row in rows for name in classes[row])
        # A group that would take far more than its share is passed over, where another was taken.
        fits = len(spared) < number and (not spared or len(spared) + len(rows) <= 1.5 * number)
        if fits and len(rows) <= len(groups) / 2 and all(left[name] > count for name, count in own.items()):
            left.subtract(own)
            spared += rows
    return spared


def times_in(split: Dataset, column: str) -> list[float]:
    """
    When each row was, as numbers in order: those of the column, or the seconds of its dates and times.

    Raises:
        ValueError: a cell is no number and no date in the form 2024-01-31 or 2024-01-31T12:00:00.
    """
    times = []
    for row, cell in enumerate(values_in(split, column, "time_column")):
        try:
            times.append(seconds_of(cell))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Column '{column}', which --time_column names, holds {cell!r} in row {row}: expected a number, a "
                "date or a time in the form 2024-01-31T12:00:00."
            ) from error
    return times


def seconds_of(cell) -> float:
    if isinstance(cell, str):
        cell = datetime.fromisoformat(cell.strip())
    if isinstance(cell, date) and not isinstance(cell, datetime):
        cell = datetime(cell.year, cell.month, cell.day)
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).timestamp()
    return float(cell)


def latest_rows(times: list[float], number: int) -> list[int]:
    """The rows that are later than all others, about so many: those of one time stay together."""
    border = sorted(times)[len(times) - number - 1] if number < len(times) else max(times)
    return [row for row, time in enumerate(times) if time > border]


def check_groups(splits: Mapping[str, Dataset], column: str) -> None:
    """
    Raises:
        ValueError: rows of one group are in two splits.
    """
    names = list(splits)
    groups = {name: set(values_in(splits[name], column, "group_column")) for name in names}
    for first, second in itertools.combinations(names, 2):
        if shared := groups[first] & groups[second]:
            example = next(value for value in values_in(splits[second], column, "group_column") if value in shared)
            raise ValueError(
                f"{len(shared)} of the {len(groups[second])} groups of split '{second}' by column '{column}' are in "
                f"'{first}' too, the first {example!r}: what a model is tested on would be known to it. Make splits "
                "that share none, or have them cut here: --validation_split none --test_split none."
            )


def check_times(splits: Mapping[str, Dataset], column: str) -> None:
    """
    Raises:
        ValueError: rows of another split are earlier than the last of the training split, the first of these splits.
    """
    train, *others = splits
    last = max(times_in(splits[train], column))
    for name in others:
        times = times_in(splits[name], column)
        early = [row for row, time in enumerate(times) if time < last]
        if early:
            raise ValueError(
                f"{len(early)} of {len(times)} rows of split '{name}' are earlier by column '{column}' than the last "
                f"training row, the first row {early[0]}: a model would be tested on the past. Make splits one after "
                "another, or have them cut here: --validation_split none --test_split none."
            )
