# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows that join those of an index: the same columns, with classes by their names."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Features, List, Value
from datasets.table import table_cast

from mixture_of_transformers.data.column_types import is_medium
from mixture_of_transformers.search.files import put_in_place
from mixture_of_transformers.search.shards import shard_name, write_shard


def joined_features(features: Features, others: Features, what: str) -> Features:
    """
    The columns of an index that others join. Classes keep their numbers, and new ones come after them.

    Raises:
        ValueError: columns are missing, or come besides, or hold something else.
    """
    if missing := [name for name in features if name not in others]:
        raise ValueError(f"{what} have no column {missing[0]!r}; the index has {', '.join(features)}.")
    if unknown := [name for name in others if name not in features]:
        raise ValueError(
            f"{what} have a column {unknown[0]!r}, but the index has {', '.join(features)}: leave it out, by "
            f"`remove_columns({unknown[0]!r})`."
        )
    return Features({name: joined(feature, others[name], name, what) for name, feature in features.items()})


def joined(feature: Any, other: Any, name: str, what: str) -> Any:
    """
    The type of an index's column (or part of one, called `name`) that cells of another type join.

    Raises:
        ValueError: they hold something else.
    """
    if isinstance(feature, ClassLabel) and isinstance(other, ClassLabel):
        return ClassLabel(names=[*feature.names, *(n for n in other.names if n not in feature.names)])
    if isinstance(feature, dict) and isinstance(other, dict) and feature.keys() == other.keys():
        return {key: joined(own, other[key], f"{name}.{key}", what) for key, own in feature.items()}
    if isinstance(feature, List) and isinstance(other, List) and feature.length == other.length:
        return List(joined(feature.feature, other.feature, name, what), length=feature.length)
    is_media = is_medium(feature) and type(feature) is type(other)
    is_empty = other == Value("null")  # The column holds nothing but None.
    if is_media or is_empty or feature == other or is_same_sort(feature, other):
        return feature
    raise ValueError(
        f"The column {name!r} of {what} holds {other}, that of the index {feature}: make them the same by "
        f"`dataset.cast_column({name!r}, ...)`."
    )


def is_same_sort(feature: Any, other: Any) -> bool:
    """Whether cells mean the same in both types of values, such as int32 and int64."""
    if not (type(feature) is type(other) is Value):
        return False
    sorts = (pa.types.is_integer, pa.types.is_floating, lambda t: pa.types.is_string(t) or pa.types.is_large_string(t))
    return any(sort(feature.pa_type) and sort(other.pa_type) for sort in sorts)


def as_joined(table: pa.Table, features: Features) -> pa.Table:
    """A table with these columns. Its classes go by their names, so their numbers may become others."""
    own, columns = Features.from_arrow_schema(table.schema), []
    for name, feature in features.items():
        column = table.column(name)
        if own[name] != feature and has_classes(feature):
            cells = [renumbered(cell, own[name], feature) for cell in column.to_pylist()]
            column = pa.chunked_array([pa.array(cells, features.arrow_schema.field(name).type)])
        columns.append(column)
    return table_cast(pa.Table.from_arrays(columns, names=list(features)), features.arrow_schema)


def copy_shard(folder: Path, shard: dict, features: Features, output_dir: Path, number: int) -> dict[str, Any]:
    """A shard of one index in another, whose columns it takes; returns what `index.json` says of it."""
    with pq.ParquetFile(folder / shard["file"]) as content:
        if not content.schema_arrow.equals(features.arrow_schema, check_metadata=True):
            tables = (as_joined(pa.Table.from_batches([batch]), features) for batch in content.iter_batches())
            return write_shard(output_dir, number, features.arrow_schema, tables)
    file = output_dir / shard_name(number)
    partial = file.with_suffix(".partial")
    shutil.copy(folder / shard["file"], partial)
    put_in_place(partial, file)
    return shard | {"file": file.name}


def has_classes(feature: Any) -> bool:
    """Whether there are classes in a column."""
    if isinstance(feature, dict):
        return any(map(has_classes, feature.values()))
    return isinstance(feature, ClassLabel) or (isinstance(feature, List) and has_classes(feature.feature))


def renumbered(cell: Any, own: Any, feature: Any) -> Any:
    """A cell of type `own` as one of type `feature`, in which the same classes may have other numbers."""
    if cell is None:
        return None
    if isinstance(feature, ClassLabel):
        return cell if cell < 0 else feature.names.index(own.names[cell])  # The number -1 means no class.
    if isinstance(feature, dict):
        return {key: renumbered(cell[key], own[key], feature[key]) for key in feature}
    if isinstance(feature, List):
        return [renumbered(item, own.feature, feature.feature) for item in cell]
    return cell
