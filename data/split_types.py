# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Splits of one dataset with the same columns and types: those of the training split."""

from collections.abc import Mapping

import datasets
import pyarrow as pa
from datasets import Dataset, Features, IterableDataset, Value
from transformers.utils import logging

from mixture_of_transformers.data.table_types import cast_cells
from mixture_of_transformers.data.tables import without_blanks

logger = logging.get_logger(__name__)

ROWS_FOR_TYPES = 1000  # of a stream that does not say what its columns are


def with_features(stream: IterableDataset) -> IterableDataset:
    """A stream that knows the types of its columns, from its first rows if nothing else says them."""
    if stream.features is not None:
        return stream
    first = pa.Table.from_pylist(list(stream.take(ROWS_FOR_TYPES)))
    return stream.cast(Features.from_arrow_schema(first.schema))


def with_columns(
    split: Dataset, columns: Mapping[str, pa.Array | pa.ChunkedArray], features: Features | None = None
) -> Dataset:
    """The split with these columns in place of its own of the same names, or beside them."""
    kinds = Features({**split.features, **(features or {})})
    order = list(dict.fromkeys((*split.column_names, *columns)))
    if len(split) == 0:  # `concatenate_datasets` would drop a split without rows.
        return Dataset(Features({name: kinds[name] for name in order}).arrow_schema.empty_table(), split=split.split)
    schema = Features({name: kinds[name] for name in columns}).arrow_schema
    new = Dataset(pa.table([columns[name].cast(schema.field(name).type) for name in columns], schema=schema))
    kept = split.remove_columns([name for name in columns if name in split.column_names])
    if not kept.column_names:
        return new
    return datasets.concatenate_datasets([kept, new], split=split.split, axis=1).select_columns(order)


def without_blank_cells(split: Dataset) -> Dataset:
    """Strings of white space alone are empty cells, wherever they come from."""
    changed = {}
    for name, kind in split.features.items():
        if isinstance(kind, Value) and kind.dtype in ("string", "large_string"):
            cells = split.select_columns(name).with_format("arrow")[:][name]
            if (cleaned := without_blanks(cells)) is not cells:
                changed[name] = cleaned
    return with_columns(split, changed) if changed else split


def with_empty_as_strings(split: Dataset) -> Dataset:
    """Columns that are empty in every row, of which a file says no type, as strings, which any kind of input takes: a
    few rows to answer may all lack what the training rows had."""
    empty = [name for name, kind in split.features.items() if is_of_nothing(kind)]
    features = Features(dict.fromkeys(empty, Value("string")))
    return with_columns(split, {name: pa.nulls(len(split), pa.string()) for name in empty}, features)


def is_of_nothing(kind) -> bool:
    """Whether a column holds nothing but gaps, or lists of them."""
    return (
        is_of_nothing(kind.feature) if isinstance(kind, datasets.List | datasets.LargeList) else kind == Value("null")
    )


def with_types_of_training(train: str, splits: dict[str, Dataset | IterableDataset]) -> dict:
    """All splits with the columns and types of the training split."""
    if not isinstance(splits.get(train), Dataset):
        return splits
    features = splits[train].features
    return {name: split if name == train else with_types(features, split, name) for name, split in splits.items()}


def with_types(features: Features, split: Dataset, name: str) -> Dataset:
    """A split with the columns of the training split, each of its type there.

    Class labels and media keep theirs: what they mean does not lie in how they are stored.

    Raises:
        ValueError: a cell cannot become one of that type.
    """
    columns = {}
    for column, kind in features.items():
        found = split.features.get(column)
        if found == kind or kind == Value("null"):
            continue
        stored = Features({column: kind}).arrow_schema.field(column).type
        if found is None:
            logger.warning(f"Split '{name}' has no column '{column}': it is empty there.")
        if found is None or found == Value("null"):
            columns[column] = pa.nulls(len(split), stored)
        elif is_plain_type(kind) and is_plain_type(found):
            try:
                columns[column] = cast_cells(split.select_columns(column).with_format("arrow")[:][column], stored)
            except pa.ArrowException as error:
                raise ValueError(
                    f"Column '{column}' of split '{name}' holds {name_of_type(found)} that cannot become "
                    f"{name_of_type(kind)}, its type in the training split: {error}. Write it alike in both."
                ) from error
    return with_columns(split, columns, features) if columns else split


def is_plain_type(kind) -> bool:
    if isinstance(kind, datasets.List | datasets.LargeList):
        return is_plain_type(kind.feature)
    return isinstance(kind, Value)


def name_of_type(kind) -> str:
    return kind.dtype if isinstance(kind, Value) else f"lists of {name_of_type(kind.feature)}"
