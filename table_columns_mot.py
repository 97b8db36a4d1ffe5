# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The columns of a table: what a training split teaches of them, and how a row of cells becomes numbers for a model.

`learn_columns` says which columns there are, each a number with its quantiles or a category with its values, as plain
JSON; `table_of` reads rows by that. A number becomes its normal score, a category the index of its value.

Shapes: B rows, C columns, the numbers first and then the categories.
"""

import datetime
import decimal
import difflib
import functools
import math
import numbers
import random
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

from .decoding_mot import is_array

logger = logging.get_logger(__name__)

NUM_QUANTILES = 33  # that are learned of a column of numbers
MOST_CATEGORIES = 1000  # values of a category that a model tells apart; rarer ones are unknown
MOST_SAMPLES = 100_000  # numbers of a column that are kept for its quantiles
MOST_COUNTED = 100_000  # values of a column that are counted at a time
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{4}")
DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
ADVICE_OF_DATES = "give what matters of it as numbers, such as the days since another date, or leave the column out."
# Each form of a column of numbers: what its entries are, in words.
SCALES = {
    ("quantiles",): "quantiles: finite numbers in ascending order",
    ("mean", "std"): "mean and std: finite numbers, the second above 0",
}

# ---------------------------------------------------------------------------------------------------------------------
# One cell
# ---------------------------------------------------------------------------------------------------------------------


def plain(value: Any, name: str) -> bool | int | float | str | None:
    """
    What stands in a cell: a bool, a number, a string, or None where it is empty, as None, NaN, "nan" and blank strings
    are.

    Raises:
        ValueError: naming the cell, for a date and for what is no single value.
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # those of pandas
        return None
    if isinstance(value, DATES):
        if value != value:  # numpy's
            return None
        raise ValueError(f"{name} is a date or a time, {value}: {ADVICE_OF_DATES}")
    if isinstance(value, (np.generic, np.ndarray, torch.Tensor)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, str):
        return None if (text := value.strip()).lower() in ("", "nan") else text
    if isinstance(value, (bool, numbers.Real, decimal.Decimal)):
        return None if value != value else value
    raise ValueError(f"{name} has type {type(value).__name__}: expected a number, a string, a bool or None.")


def as_number(value: bool | int | float | str, name: str) -> float:
    """
    A cell of a column of numbers; False and True are 0 and 1.

    Raises:
        ValueError: naming the cell, for a string that is no number, and for what is infinite.
    """
    number = parsed(value)
    if number is None:
        raise ValueError(f"{name} is {value!r:.100}, and the column holds numbers: expected one, or None if empty.")
    if math.isinf(number):
        raise ValueError(f"{name} is {value!r:.100}, beyond all numbers: expected a finite one, or None if empty.")
    return number


def parsed(value: bool | int | float | str) -> float | None:
    """A number, or what a string says; None where that is no number. Infinite is what is beyond a float."""
    if isinstance(value, str) and not NUMBER.fullmatch(value):  # Python would read "1_000" and "infinity" as well
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def category_name(value: bool | int | float | str) -> str:
    """A cell of a column of categories; 1, 1.0 and "1" are the same."""
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole else value)


# ---------------------------------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------------------------------


def check_row(row: Any, name: str) -> Mapping[str, Any]:
    """
    A row as a dict of columns; a vector, such as a list of measurements, has one for each of its places.

    Raises:
        ValueError: it is no dict.
    """
    if not isinstance(row, Mapping):
        raise ValueError(
            f'{name} has type {type(row).__name__}: expected a dict of its columns, such as {{"age": 71, "sex": "f"}}.'
        )
    if not any(is_vector(value) for value in row.values()):
        return row
    return {column: value for given in row.items() for column, value in columns_of(*given)}


def is_vector(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or is_array(value) and value.ndim == 1


def columns_of(column: str, value: Any) -> Iterable[tuple[str, Any]]:
    """The columns of a cell: of a vector `moments` they are `moments_0`, `moments_1`, ..."""
    return ((f"{column}_{i}", one) for i, one in enumerate(value)) if is_vector(value) else [(column, value)]


def is_empty(row: Mapping[str, Any]) -> bool:
    """Whether a row has nothing in any of its columns."""
    return all(plain(value, f"column {column!r}") is None for column, value in check_row(row, "a row").items())


def column_names(settings: Mapping[str, Any]) -> list[str]:
    """The columns in the order of a model's tokens: numbers, then categories, each by name. (JSON keeps no order.)"""
    return [*sorted(settings.get("numbers", {})), *sorted(settings.get("categories", {}))]


def nearest(name: str, known: Collection[str]) -> str:
    """The end of an error for a name that nobody knows: the nearest that is known, or all."""
    match = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {match[0]!r}?" if match else f": expected one of {', '.join(map(repr, known))}."


def table_of(rows: list[Mapping[str, Any] | None], settings: Mapping[str, Any], name: str) -> np.ndarray:
    """
    Rows as values (B, C) float32: the normal scores of numbers, the indices of categories, and NaN where nothing is.

    Args:
        rows: dicts of some of the columns; None where there is nothing.
        settings: those of `learn_columns`.
        name: what errors begin with.

    Raises:
        ValueError: naming the row and the column, for one that there is not and for a value that it does not take.
    """
    scales, categories = settings.get("numbers", {}), settings.get("categories", {})
    names = column_names(settings)
    places = {column: place for place, column in enumerate(names)}
    table = np.full((len(rows), len(names)), np.nan)
    for i, row in enumerate(rows):
        for column, value in check_row(row or {}, f"{name}[{i}]").items():
            cell = f"{name}[{i}][{column!r}]"
            if column not in places:
                raise ValueError(f"{name}[{i}] has a column {column!r:.100}{nearest(column, names)}")
            if (value := plain(value, cell)) is None:
                continue
            is_number = column in scales
            found = as_number(value, cell) if is_number else index_of(value, categories[column], f"{name}: {column!r}")
            table[i, places[column]] = found
    for i in range(len(scales)):
        table[:, i] = scaled(table[:, i], scales[names[i]])
    most = np.finfo(np.float32).max
    return table.clip(-most, most).astype(np.float32)


def index_of(value: bool | int | float | str, values: list[str], name: str) -> int:
    """The index of a category's value, from 1; 0 for one that is unknown."""
    found = category_name(value)
    if found in values:
        return values.index(found) + 1
    logger.warning_once(
        f"{name} has values that the training split did not have, such as {found!r:.100}: they count as unknown."
    )
    return 0


def scaled(values: np.ndarray, scale: Mapping[str, Any]) -> np.ndarray:
    """
    Numbers on the scale on which a model sees them.

    By quantiles they become normal scores, as in arXiv 2106.11959: the number below which a share p of the training
    split lies becomes that of a standard normal distribution. Beyond the quantiles, scores grow with the logarithm of
    the distance, so that no outlier is far from the others, and none is as another.
    """
    if "mean" in scale:
        return (values - scale["mean"]) / scale["std"]
    known, scores, unit = score_table(tuple(scale["quantiles"]))
    beyond = values - np.minimum(np.maximum(values, known[0]), known[-1])
    return np.interp(values, known, scores) + np.arcsinh(beyond / unit)


def shares_below(number: int) -> np.ndarray:
    """Which share of all numbers is below each of so many quantiles, the middles of equal parts."""
    return (np.arange(number) + 0.5) / number


@functools.lru_cache(maxsize=4096)
def score_table(quantiles: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, float]:
    """
    Numbers in order, their normal scores, and how far in numbers a score of 1 is on average. Of quantiles that are
    equal, as where many rows have a 0, the share is their mean.
    """
    known, which, counts = np.unique(np.array(quantiles, dtype=float), return_inverse=True, return_counts=True)
    shares = np.bincount(which, shares_below(len(quantiles))) / counts
    scores = np.array([NormalDist().inv_cdf(share) for share in shares])
    return known, scores, (known[-1] - known[0]) / (scores[-1] - scores[0]) if len(known) > 1 else 1.0


# ---------------------------------------------------------------------------------------------------------------------
# Learning
# ---------------------------------------------------------------------------------------------------------------------


def learn_columns(rows: Iterable[Mapping[str, Any] | None], name: str) -> dict[str, dict[str, Any]]:
    """
    What the rows of the training split say of their columns, in one pass and in a memory that does not grow with them.

    A column holds numbers if all of its values are, or are strings that read as such; bools and other strings make it
    one of categories, of which the most frequent are told apart.

    Args:
        rows: dicts of columns, None where a row has none.
        name: what errors begin with.

    Returns:
        `{"numbers": {column: {"quantiles": [...]}}, "categories": {column: ["f", "m"]}}`.

    Raises:
        ValueError: naming the row and the column, for what is no single value, for dates and infinite numbers; and if
            there is no column.
    """
    columns: dict[str, ColumnSummary] = {}
    for i, row in enumerate(rows):
        for column, value in check_row(row or {}, f"{name}[{i}]").items():
            if column not in columns:
                columns[column] = ColumnSummary(column)
            columns[column].add(value, f"{name}[{i}][{column!r}]")
    if not columns:
        raise ValueError(f"No row has a column of {name}: expected dicts such as {{'age': 71, 'sex': 'f'}}.")
    learned = {column: summary.learned(f"{name}: column {column!r}") for column, summary in columns.items()}
    return {
        "numbers": {column: found for column, found in learned.items() if isinstance(found, dict)},
        "categories": {column: found for column, found in learned.items() if isinstance(found, list)},
    }


class ColumnSummary:
    """What is kept of a column while its cells pass by: a sample of its numbers, and how often it has which values."""

    def __init__(self, column: str):
        self.num_values = self.num_numbers = 0
        self.other: str | None = None  # a value that is no number
        self.sample: list[float] = []
        self.counts: Counter[str] = Counter()
        self.random = random.Random(column)  # noqa: S311 (a sample that is the same in every run)

    def add(self, value: Any, name: str) -> None:
        if (value := plain(value, name)) is None:
            return
        self.num_values += 1
        if isinstance(value, bool) or parsed(value) is None:
            self.other = self.other or category_name(value)
        else:
            self.add_number(as_number(value, name))
        self.counts[category_name(value)] += 1
        if len(self.counts) > MOST_COUNTED:
            self.forget_rare()

    def add_number(self, number: float) -> None:
        """Keep a number with the chance that every other has (reservoir sampling: Vitter, 1985)."""
        self.num_numbers += 1
        if len(self.sample) < MOST_SAMPLES:
            self.sample.append(number)
        elif (place := self.random.randrange(self.num_numbers)) < MOST_SAMPLES:
            self.sample[place] = number

    def forget_rare(self) -> None:
        """Keep the half of the values that are the most frequent so far."""
        self.counts = Counter(dict(self.counts.most_common(MOST_COUNTED // 2)))

    def learned(self, name: str) -> dict[str, list[float]] | list[str]:
        """The quantiles of a column of numbers, or the values of a category in alphabetical order."""
        if self.other is None:
            return {"quantiles": quantiles_of(self.sample)}
        if DATE.fullmatch(self.other):
            raise ValueError(f"{name} holds dates, such as {self.other!r}: {ADVICE_OF_DATES}")
        if self.num_numbers > self.num_values / 2:
            logger.warning(
                f"{name} is one of categories, since {self.other!r:.100} is no number, as {self.num_numbers} of its "
                f"{self.num_values} values are. If it stands for an empty cell, empty it."
            )
        if len(self.counts) > MOST_CATEGORIES:
            logger.warning(
                f"{name} has more than {MOST_CATEGORIES} values, such as {self.other!r:.100}: the most frequent are "
                "told apart, and the others count as unknown."
            )
        return sorted(value for value, _ in self.counts.most_common(MOST_CATEGORIES))


def quantiles_of(sample: list[float]) -> list[float]:
    """Numbers of the sample, each of which stands for an equal share of it; a 0 where a column is empty."""
    shares = shares_below(NUM_QUANTILES)
    return np.quantile(np.array(sample or [0.0]), shares, method="inverted_cdf").tolist()


# ---------------------------------------------------------------------------------------------------------------------
# Settings
# ---------------------------------------------------------------------------------------------------------------------


def check_settings(settings: Mapping[str, Any], name: str) -> None:
    """
    Raises:
        ValueError: naming what of the settings of the table `name` is not as `learn_columns` writes it.
    """
    known = ("kind", "numbers", "categories")
    for option, columns in settings.items():
        if option not in known:
            raise ValueError(f"The settings of {name} have {option!r:.100}{nearest(option, known)}")
        if option != "kind" and not isinstance(columns, Mapping):
            raise ValueError(f"The {option} of {name} have type {type(columns).__name__}: expected a dict of columns.")
    scales, categories = settings.get("numbers", {}), settings.get("categories", {})
    if not scales and not categories:
        raise ValueError(f"The settings of {name} have no columns: expected `numbers`, `categories` or both.")
    if both := scales.keys() & categories.keys():
        raise ValueError(f"{name} has {min(both)!r} among its numbers and its categories: expected it in one of them.")
    for column, scale in scales.items():
        if not is_scale(scale):
            raise ValueError(
                f"The number {column!r} of {name} has the scale {scale!r:.100}: expected "
                f"{' or '.join(SCALES.values())}."
            )
    for column, values in categories.items():
        is_list = isinstance(values, list) and values and all(isinstance(value, str) for value in values)
        if not is_list or len(set(values)) < len(values):
            raise ValueError(
                f"The category {column!r} of {name} has the values {values!r:.100}, expected a list of strings that "
                "differ."
            )


def is_scale(scale: Any) -> bool:
    """Whether a model can see a column of numbers by this."""
    if not isinstance(scale, Mapping) or tuple(sorted(scale)) not in SCALES:
        return False
    values = scale.get("quantiles", list(scale.values()))
    is_finite = (
        isinstance(values, list) and values and all(type(v) in (int, float) and math.isfinite(v) for v in values)
    )
    if not is_finite:
        return False
    return scale["std"] > 0 if "std" in scale else values == sorted(values)
