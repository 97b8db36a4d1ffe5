# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the cells of columns hold. Strings: paths of media, lists of numbers, values that repeat as classes do, or
text. Single values: what a model can learn from, or the label again, the number of the row, or always the same."""

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, IterableDataset

from mixture_of_transformers.data.column_names import label_candidates
from mixture_of_transformers.data.column_types import (
    MEDIA_TYPES,
    element_of,
    is_string,
    is_value,
    undecoded_stream,
)
from mixture_of_transformers.data.media_suffixes import medium_of_path

ROWS_READ, ROWS_OF_A_STREAM_READ = 10_000, 200  # at most, to see what columns hold
NEARLY_ALL = 0.95  # This share of the cells counts as nearly all of them.
FEWEST_ROWS = 5  # Fewer rows tell nothing.
FEWEST_ROWS_OF_IDS = 10  # Whole numbers that all differ in so many rows are hardly anything but ids.
LEAST_CORRELATION = 1 - 1e-9  # of numbers that say a score in another unit
NUMBER_OR_DATE = re.compile(
    r"(?=\D*\d)([\d\s.,;:/()\[\]+-]|e[+-]?\d|T(?=\d)|Z$|am|pm|utc|gmt"
    r"|(mon|tues?|wed(nes)?|thu(rs)?|fri|sat(ur)?|sun)(day)?"
    r"|jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?"
    r"|dec(ember)?)+",
    re.IGNORECASE,
)
SINGLE_WORD = re.compile(r"[\x21-\x7e\xa1-\u024f]+")
# Names of classes have few words and stand in many rows: the most words of a name -> the fewest rows of such a name.
ROWS_OF_A_CLASS = {2: 2, 5: 5}


@dataclass
class CellContents:
    """What the cells of a string column hold.

    Args:
        medium: the medium that they are paths of.
        of_label: the column of labels, for each class of which they have one value.
        reason: why they are no text; None where they may be one.
        are_categories: whether few values stand in many rows, without saying the label.
        are_series: whether they are lists of numbers, as JSON.
    """

    medium: str | None = None
    of_label: str | None = None
    reason: str | None = None
    are_categories: bool = False
    are_series: bool = False


def what_strings_hold(rows: Dataset | IterableDataset, label: str | None) -> dict[str, CellContents]:
    """
    What each string column holds, by rows that lie evenly in a split, or the first rows of a stream.

    Args:
        label: the column that was named as the label; columns that look like labels are compared with, too.
    """
    strings = [name for name, kind in rows.features.items() if is_string(kind)]
    columns, labels = cells_beside_labels(rows, strings, label)
    return {
        name: what_cells_hold(name, columns[name], {n: columns[n] for n in labels if n != name}) for name in strings
    }


def why_no_inputs(rows: Dataset | IterableDataset, names: list[str], label: str | None) -> dict[str, str]:
    """
    Which columns of single values tell a model nothing, or the label itself; with the reason.

    Args:
        names: the columns to look into.
        label: as for `what_strings_hold`.
    """
    columns, labels = cells_beside_labels(rows, names, label)
    reasons = {
        name: why_no_input(columns[name], {n: columns[n] for n in labels if n != name}, rows.features[name])
        for name in names
    }
    return {name: reason for name, reason in reasons.items() if reason}


def cells_beside_labels(
    rows: Dataset | IterableDataset, names: list[str], label: str | None
) -> tuple[dict[str, list], list[str]]:
    """Cells of these columns and of those that are or look like labels, and the names of the latter."""
    labels = sorted({label, *label_candidates(rows.features)} - {None}) if names else []
    columns = sampled_cells(rows, sorted({*names, *labels})) if names else {}
    for label in labels:
        if isinstance(kind := rows.features[label], ClassLabel):
            columns[label] = [kind.names[i] if i is not None and i >= 0 else None for i in columns[label]]
    return columns, labels


def sampled_cells(rows: Dataset | IterableDataset, columns: list[str]) -> dict[str, list]:
    if isinstance(rows, IterableDataset):
        first = list(islice(undecoded_stream(rows.select_columns(columns)), ROWS_OF_A_STREAM_READ))
        return {name: [row[name] for row in first] for name in columns}
    step = -(-len(rows) // ROWS_READ) or 1
    return rows.with_format(None).select_columns(columns).select(range(0, len(rows), step))[:]


def what_cells_hold(name: str, cells: list[str | None], labels: dict[str, list]) -> CellContents:
    held = what_repeats(cells, labels)
    if held.reason:
        return held
    if are_series(cells):
        return CellContents(reason="lists of numbers", are_series=True)
    if are_json(cells):
        return CellContents(reason=f"lists or objects as JSON, no text: --text_column {name} would take it")
    says = what_nearly_all_are(cells) or next(
        (says for n in labels if (says := names_class(n, cells, labels[n]))), None
    )
    return replace(held, reason=says and f"{says}: --text_column {name} would take it")


def what_nearly_all_are(cells: list[str | None]) -> str | None:
    present = [cell.strip() for cell in cells if cell is not None and cell.strip()]
    if len(present) < FEWEST_ROWS:
        return None
    for pattern, says in (
        (NUMBER_OR_DATE, "numbers or dates"),
        (SINGLE_WORD, "single words, as codes, names and addresses are"),
    ):
        if sum(bool(pattern.fullmatch(cell)) for cell in present) >= NEARLY_ALL * len(present):
            return says
    return None


def names_class(label: str, cells: list[str | None], classes: list) -> str | None:
    """Whether nearly every cell names the class of its row, and hardly one another."""
    rows = [(cell, name) for cell, name in zip(cells, classes) if cell and isinstance(name, str) and name.strip()]
    names = sorted({name for _, name in rows})
    if len(names) < 2 or len(rows) < FEWEST_ROWS:
        return None
    patterns = {name: re.compile(rf"(?<![^\W_]){re.escape(name.strip())}(?![^\W_])", re.IGNORECASE) for name in names}
    another = dict(zip(names, [*names[1:], names[0]]))
    own = sum(bool(patterns[name].search(cell)) for cell, name in rows)
    others = sum(bool(patterns[another[name]].search(cell)) for cell, name in rows)
    if own >= NEARLY_ALL * len(rows) and others <= (1 - NEARLY_ALL) * len(rows):
        return f"names the class of '{label}' in nearly every row"
    return None


def what_repeats(cells: list[str | None], labels: dict[str, list]) -> CellContents:
    present = [i for i, cell in enumerate(cells) if cell is not None and cell.strip()]
    values = Counter(cells[i] for i in present)
    media = Counter(medium_of_path(cells[i]) for i in present)
    for medium in MEDIA_TYPES:
        if 2 * media[medium] > len(present):
            return CellContents(medium, reason=f"paths of files of {medium}")
    if len(present) < 2 * len(values) or not values:  # Hardly any value stands twice.
        return CellContents()
    if len(values) == 1:
        return CellContents(reason="the same in every row")
    for label, classes in labels.items():
        pairs = {(repr(classes[i]), cells[i]) for i in present}
        if len(pairs) == len({repr(classes[i]) for i in present}) and len(present) >= 2 * len(pairs):
            return CellContents(of_label=label, reason=f"one value for each class of '{label}'")
    words = max(len(value.split()) for value in values)
    if any(words <= most and len(present) >= rows * len(values) for most, rows in ROWS_OF_A_CLASS.items()):
        reason = f"{len(values)} values in {len(present)} rows, as classes have"
        are_dates = all(NUMBER_OR_DATE.fullmatch(value.strip()) for value in values)
        return CellContents(reason=reason, are_categories=not are_dates)
    return CellContents()


def are_series(cells: list[str | None]) -> bool:
    """Whether nearly all cells are lists of numbers, or of lists of numbers, written as JSON; a list of nothing is
    none of them, and no sign of another kind."""
    read = [series_of(cell) for cell in spread(cells)]
    present = [series for series in read if series != []]
    return bool(present) and sum(series is not None for series in present) >= NEARLY_ALL * len(present)


def are_json(cells: list[str | None]) -> bool:
    """Whether nearly all cells are lists or objects that were written as JSON."""
    some = spread(cells)
    return bool(some) and sum(isinstance(json_of(cell), list | dict) for cell in some) >= NEARLY_ALL * len(some)


def spread(cells: list[str | None]) -> list[str]:
    """Some hundred of the cells that are not empty; one of them may be long."""
    present = [cell for cell in cells if cell is not None and cell.strip()]
    return present[:: max(1, len(present) // 100)]


def json_of(cell: str) -> Any:
    """What a list or an object was written of as JSON; None where a string is no such thing."""
    if not cell.lstrip().startswith(("[", "{")):
        return None
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return None


def series_of(cell: str) -> list[list[float | None]] | None:
    """
    A series of moments, each with its channels, that was written as JSON: `[[0.1, 2], [0.3, null]]`, or `[0.1, 0.3]`
    where it has one channel; `[]` has no moment. None where a string is no such thing.
    """
    moments = json_of(cell)
    if not isinstance(moments, list):
        return None
    moments = [moment if isinstance(moment, list) else [moment] for moment in moments]
    is_number = all(type(value) in (int, float, type(None)) for moment in moments for value in moment)
    return moments if is_number else None


def why_no_input(cells: list, labels: dict[str, list], kind) -> str | None:
    present = [i for i, cell in enumerate(cells) if not is_gap(cell)]
    values = Counter(cells[i] for i in present)
    if not values:
        return "empty in every row"
    if len(values) == 1:
        return "the same in every row that has it"
    for label, classes in labels.items():
        both = [i for i in present if not is_gap(classes[i])]
        if not both or isinstance(classes[both[0]], list):
            continue
        pairs = {(repr(classes[i]), cells[i]) for i in both}
        if len(pairs) == len({repr(classes[i]) for i in both}) and len(both) >= 2 * len(pairs):
            return f"one value for each class of '{label}'"
        if says_a_score([cells[i] for i in both], [classes[i] for i in both]):
            return f"says '{label}' in another unit"
    is_whole = is_value(element_of(kind), "int", "uint") or all(is_whole_float(v) for v in values)
    if is_whole and len(values) == len(present) >= FEWEST_ROWS_OF_IDS:
        return "another whole number in each row, as ids have"
    return None


def is_whole_float(value: Any) -> bool:
    """Whether this is a float without a fraction, of those that could have one."""
    return type(value) is float and value.is_integer() and abs(value) < 2**52


def is_gap(cell) -> bool:
    """Whether a cell is empty: None, NaN or white space alone."""
    return cell is None or cell != cell or isinstance(cell, str) and not cell.strip()


def says_a_score(cells: list, scores: list) -> bool:
    """Whether numbers lie on one line with the scores of their rows."""
    if len(cells) < FEWEST_ROWS or not all(type(value) in (int, float) for value in (*cells, *scores)):
        return False
    pairs = np.array([pair for pair in zip(cells, scores) if all(map(math.isfinite, pair))], dtype=float)
    if len(pairs) < FEWEST_ROWS:
        return False
    pairs /= np.maximum(np.abs(pairs).max(axis=0), np.finfo(float).tiny)  # The squares of large ones are no numbers.
    if not pairs.std(axis=0).all():
        return False
    return abs(np.corrcoef(pairs.T)[0, 1]) >= LEAST_CORRELATION
