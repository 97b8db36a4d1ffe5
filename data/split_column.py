# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A table that is cut into splits by a column that says the split of each row."""

import re
from collections import Counter

from datasets import ClassLabel, Dataset, Features, IterableDataset
from transformers.utils import logging

from mixture_of_transformers.data.column_types import undecoded_stream
from mixture_of_transformers.data.columns import LEFT_OUT
from mixture_of_transformers.data.split_names import SPLIT_WORDS, split_of_word
from mixture_of_transformers.data.split_types import with_features

logger = logging.get_logger(__name__)

SPLIT_COLUMN = re.compile(r"(data_?)?(split|subset|set|mode|partition|fold|phase|usage)", re.IGNORECASE)


def split_by_column(splits: dict, column: str | None, path: str) -> dict:
    """One table, cut by what its column `split`, `mode`, ... says of each row; others stay as they are.

    Raises:
        ValueError: there is no column of the name given, the dataset has splits already, or a column of splits holds
            words that name none.
    """
    if column == LEFT_OUT or (column is None and len(splits) != 1):
        return splits
    if len(splits) != 1:
        raise ValueError(f"Dataset '{path}' has the splits {sorted(splits)}: --split_column is for a single table.")
    (split,) = splits.values()
    split = with_features(split) if isinstance(split, IterableDataset) else split
    if column is not None:
        if column not in split.features:
            raise ValueError(f"There is no column '{column}' to split by; there are {', '.join(split.features)}.")
        values = [split_named(value) for value in values_of(split, column)]
        return select_by(split, values, f"column '{column}'", column)
    for name in filter(SPLIT_COLUMN.fullmatch, split.features):
        values = [split_named(value) for value in values_of(split, name)]
        known = set(values) & set(SPLIT_WORDS)
        if "train" not in known or len(known) == 1:
            continue
        if unknown := set(values) - known - {None}:
            raise ValueError(
                f"Column '{name}' of '{path}' says {listed_words(known)} of some rows, and {listed_words(unknown)} of "
                "others, which name no split. Rename these, or empty the cells to leave their rows out; "
                f"--split_column {name} takes each word for a split of its own, and --split_column none keeps all "
                "rows together."
            )
        return select_by(split, values, f"column '{name}'", name)
    return splits


def listed_words(words: set[str]) -> str:
    return ", ".join(map(repr, sorted(words)[:10])) + (", ..." if len(words) > 10 else "")


def values_of(split: Dataset | IterableDataset, column: str) -> list:
    kind, rows = split.features[column], split.select_columns(column)
    values = rows[column][:] if isinstance(rows, Dataset) else [row[column] for row in rows]
    return [kind.int2str(value) if isinstance(kind, ClassLabel) and value is not None else value for value in values]


def split_named(value) -> str | None:
    return None if value is None or not str(value).strip() else split_of_word(str(value)) or str(value).strip()


def select_by(
    split: Dataset | IterableDataset, names: list[str | None], reason: str, column: str | None = None
) -> dict[str, Dataset | IterableDataset]:
    """The rows of each name, without the column that said so, and a word on how many there are."""
    counts = Counter(names)
    lost = f"; {counts.pop(None)} rows are left out, for which it says nothing" if None in counts else ""
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    hint = " (--split_column none keeps them together)" if column else ""
    logger.warning(f"The rows are split by {reason}: {told}{lost}{hint}.")
    return {name: rows_of(split, names, name, column) for name in counts}


def rows_of(split: Dataset | IterableDataset, names: list[str | None], name: str, column: str | None):
    if isinstance(split, Dataset):
        chosen = split.select([row for row, found in enumerate(names) if found == name])
        return chosen.remove_columns(column) if column else chosen
    kept = {k: kind for k, kind in split.features.items() if k != column}
    chosen = undecoded_stream(split).filter(lambda value: split_named(value) == name, input_columns=column)
    return chosen.remove_columns(column).cast(Features(kept))
