# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The shards of an index: parquet files of rows with their media and embeddings, checked before they are believed.

Reading takes no lock and needs no right to write: `.cache`, the shards as they lie in memory, is made where it can be,
and may be deleted at any time.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Dataset, Features, LargeList, List
from datasets.table import InMemoryTable, MemoryMappedTable, Table, concat_tables, embed_table_storage
from transformers.utils import logging

from mixture_of_transformers.data.column_types import is_medium
from mixture_of_transformers.search.columns import embedding_column
from mixture_of_transformers.search.description import DESCRIPTION, kinds_in
from mixture_of_transformers.search.files import CACHE, REMEDY, checksum, put_in_place

logger = logging.get_logger(__name__)

ROW_GROUP = 2**26  # bytes of rows that are held before they are written


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.parquet"


def write_shard(folder: Path, number: int, schema: pa.Schema, tables: Iterable[pa.Table]) -> dict[str, Any]:
    """Write a shard whole, with the media of its rows, not their paths; returns what `index.json` says of it."""
    file = folder / shard_name(number)
    partial, rows = file.with_suffix(".partial"), 0
    try:
        with pq.ParquetWriter(partial, schema) as writer:
            for group in grouped(map(embed_table_storage, tables)):
                writer.write_table(group)
                rows += len(group)
        put_in_place(partial, file)
    finally:
        partial.unlink(missing_ok=True)  # It is still there where a row cannot be read.
    return {"file": file.name, "rows": rows, "sha256": checksum(file)}


def grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables joined to groups of at least `ROW_GROUP` bytes, which are worth writing and fit into memory."""
    held = []
    for table in tables:
        held.append(table)
        if sum(part.nbytes for part in held) > ROW_GROUP:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def read_shards(folder: Path, description: dict) -> Dataset:
    """
    All rows of an index, with their embeddings.

    Raises:
        ValueError: a file is missing or damaged, or the build is not finished.
    """
    pending = description.get("pending")
    if not description["shards"]:
        done = sum(shard["rows"] for shard in pending["shards"]) if pending else 0
        total = pending["rows"] if pending else description["rows"]
        raise ValueError(f"{folder} has {done} of {total} rows: `build_index` with the same arguments goes on.")
    kinds = kinds_in(description)
    tables = [open_shard(folder, shard, description["width"], kinds) for shard in description["shards"]]
    for shard, table in zip(description["shards"], tables):
        if not table.schema.equals(tables[-1].schema):
            raise ValueError(f"{folder / shard['file']} has other columns than the last shard. {REMEDY}.")
    if (number := sum(map(len, tables))) != description["rows"]:
        raise ValueError(
            f"{folder} has {number} rows, but `rows` of {DESCRIPTION} is {description['rows']}: it is damaged, or its "
            f"build by an earlier version is not finished. {REMEDY}."
        )
    names = tables[-1].schema.metadata  # New classes come after the others, so the last shard knows all of them.
    table = concat_tables([part.replace_schema_metadata(names) for part in tables])
    fingerprint = hashlib.sha256(json.dumps(description["shards"]).encode()).hexdigest()[:16]
    try:
        dataset = Dataset(table, fingerprint=fingerprint)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"The types of {folder / description['shards'][-1]['file']} cannot be: {error}. {REMEDY}."
        ) from error
    if missing := [name for name in description["columns"].values() if name not in dataset.column_names]:
        raise ValueError(f"{folder / DESCRIPTION} names the column {missing[0]!r}, which the shards lack. {REMEDY}.")
    start = 0
    for shard, part in zip(description["shards"], tables):
        check_holds_media(folder / shard["file"], dataset.features, part, start)
        start += len(part)
    return dataset


def check_holds_media(file: Path, features: Features, table: Table, start: int) -> None:
    """
    Raises:
        ValueError: a picture, video or sound of the rows that begin at number `start` is but a path, which could be
            that of any file of whoever reads it.
    """
    for name, feature in features.items():
        first = start
        for chunk in table.column(name).chunks:
            try:
                outside = [np.asarray(is_path(media)) for media in media_in(feature, chunk)]
            except (pa.ArrowException, KeyError) as error:
                raise ValueError(
                    f"{file} is damaged: {name!r} is not what its type says ({error}). {REMEDY}."
                ) from error
            for where in map(np.flatnonzero, outside):
                if len(where):
                    row = f"row {first + where[0]}" if is_medium(feature) else "a row"
                    raise ValueError(
                        f"{file} holds only the path of {name!r} of {row}, not its content, and an index reads no "
                        "files outside of its folder: build it again."
                    )
            first += len(chunk)


def is_path(media: pa.StructArray) -> pa.BooleanArray:
    """Which cells of pictures, videos or sounds have a path alone."""
    return pc.and_(pc.is_null(pc.struct_field(media, "bytes")), pc.is_valid(pc.struct_field(media, "path")))


def media_in(feature: Any, column: pa.Array) -> Iterator[pa.Array]:
    """The cells of pictures, videos and sounds in a column, also those in lists and dicts."""
    if is_medium(feature):
        yield column
    elif isinstance(feature, dict):
        for key, part in feature.items():
            yield from media_in(part, pc.struct_field(column, key))
    elif isinstance(feature, (List, LargeList)):
        yield from media_in(feature.feature, pc.list_flatten(column))


def open_shard(folder: Path, shard: dict, width: int, kinds: Iterable[str]) -> Table:
    """The rows of a shard, mapped into memory from `.cache`, or read into it where nothing can be written."""
    file = folder / shard["file"]
    try:
        cached = cache_of(file)
    except FileNotFoundError:
        raise ValueError(f"{file} is missing. {REMEDY}.") from None
    table = mapped(cached)
    if table is None:
        check_shard(file, shard, kinds)
        try:
            write_cache(file, cached)
            table = mapped(cached)
        except OSError as error:
            logger.info(f"{folder} is read into memory, since nothing can be written there ({error}).")
    if table is None:
        table = InMemoryTable(pq.read_table(file))
    check_embeddings(file, table, width, kinds)
    return table


def mapped(cached: Path) -> Table | None:
    """
    A file of `.cache`, or None if it is not there or not whole; it is checked before any of its offsets is followed.
    """
    try:
        table = MemoryMappedTable.from_file(str(cached))
        table.validate(full=True)
        return table
    except (FileNotFoundError, pa.ArrowException):
        return None


def cache_of(file: Path) -> Path:
    """The copy of a shard that can be mapped into memory, which knows which file it is of."""
    status = file.stat()
    return file.parent / CACHE / f"{file.stem}-{status.st_size}-{status.st_mtime_ns}.arrow"


def write_cache(file: Path, cached: Path) -> None:
    """Copy a shard into `.cache`, in the form in which it is mapped into memory."""
    cached.parent.mkdir(exist_ok=True)
    descriptor, partial = tempfile.mkstemp(suffix=".partial", dir=cached.parent)  # Readers take no turns.
    os.close(descriptor)
    try:
        with pq.ParquetFile(file) as shard, pa.ipc.new_stream(partial, shard.schema_arrow) as stream:
            for batch in shard.iter_batches():
                stream.write_batch(batch)
        os.replace(partial, cached)
    finally:
        Path(partial).unlink(missing_ok=True)  # It is still there where the disk is full.


def check_shard(file: Path, shard: dict, kinds: Iterable[str]) -> None:
    """
    Raises:
        ValueError: a shard is no parquet file with embeddings, or not the one whose checksum `index.json` has.
    """
    try:
        names = pq.read_schema(file).names
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{file} is damaged: {error}. {REMEDY}.") from None
    check_has_embeddings(file, names, kinds)
    if "sha256" in shard and checksum(file) != shard["sha256"]:
        raise ValueError(f"{file} is not the shard that was written under this name. {REMEDY}.")


def check_has_embeddings(file: Path, names: list[str], kinds: Iterable[str]) -> None:
    """
    Raises:
        ValueError: a column of embeddings is missing among these names.
    """
    if missing := [name for name in map(embedding_column, kinds) if name not in names]:
        raise ValueError(f"{file} is damaged: it has no column {missing[0]}. {REMEDY}.")


def check_embeddings(file: Path, table: Table, width: int, kinds: Iterable[str]) -> None:
    """
    Raises:
        ValueError: embeddings are missing, or are not finite numbers of this width and length 1.
    """
    check_has_embeddings(file, table.column_names, kinds)
    for name in map(embedding_column, kinds):
        kind = table.schema.field(name).type
        if not pa.types.is_list(kind) or kind.value_type != pa.float32():
            raise ValueError(f"{file} holds a {name} of {kind}, expected lists of float32. {REMEDY}.")
        lengths = pc.unique(pc.list_value_length(table.column(name).drop_null())).to_pylist()
        if wrong := [length for length in lengths if length != width]:
            raise ValueError(
                f"{file} holds a {name} of {wrong[0]} numbers, but `width` of {DESCRIPTION} is {width}. {REMEDY}."
            )
        vectors = np.asarray(pc.list_flatten(table.column(name)), dtype=np.float32).reshape(-1, width)
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
        if not (np.abs(lengths - 1) < 0.01).all():  # The length of a vector with NaN is NaN, which fails, too.
            raise ValueError(f"{file} is damaged: a {name} has not the length 1. {REMEDY}.")
