# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Embeds the rows of a dataset: each modality by itself, and all that a row has together.

Shapes: B rows, d width of the embeddings.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features

from mixture_of_transformers.attribution_mot import inference
from mixture_of_transformers.cells_mot import RowReading
from mixture_of_transformers.processing_mot import encode_rows
from mixture_of_transformers.rows_mot import dimensions
from mixture_of_transformers.search.columns import FUSED, embedding_column, embedding_kinds, extra_modalities
from mixture_of_transformers.search.folder import Tables
from mixture_of_transformers.search.joining import as_joined
from mixture_of_transformers.training.workers import Answer


def embed_rows(model, processor, rows: dict[str, list]) -> dict[str, np.ndarray]:
    """
    Embed each modality of some rows by itself, and all that a row has together.

    Args:
        rows: kind ("text", "image", "video", "audio", or the name of another modality) -> a cell for each of B rows,
            None where a row has none.

    Returns:
        kind of embedding -> (B, d) float32, NaN where a row has none; "fused" only where a row has several modalities.

    Raises:
        ValueError, OSError: a cell cannot be read, or an embedding is not finite.
    """
    number = len(next(iter(rows.values())))
    count: np.ndarray = np.zeros(number, dtype=int)
    found: dict[str, np.ndarray] = {}
    for kind, cells in rows.items():
        present = [i for i, cell in enumerate(cells) if cell is not None]
        count[present] += 1
        name = processor.rows.modality_of_cell[kind].name
        found[name] = np.full((number, model.config.projection_dim), np.nan, dtype=np.float32)
        if present:
            found[name][present] = embed_as(model, processor, {kind: [cells[i] for i in present]}, name)
    if several := np.flatnonzero(count > 1).tolist():
        given = {kind: [cells[i] for i in several] for kind, cells in rows.items()}
        given = {kind: cells for kind, cells in given.items() if any(cell is not None for cell in cells)}
        found[FUSED] = np.full((number, model.config.projection_dim), np.nan, dtype=np.float32)
        found[FUSED][several] = embed_as(model, processor, given, FUSED)
    return found


def embed_as(model, processor, rows: dict[str, list], embedding_kind: str) -> np.ndarray:
    """
    The embeddings of all that rows have, (B, d) float32, as `embed_rows` takes them.

    Args:
        embedding_kind: what errors call them. A row of one modality has the embedding of that.

    Raises:
        ValueError, OSError: a row has nothing, a cell cannot be read, or an embedding is not finite.
    """
    arguments = {}
    for kind, cells in rows.items():
        if takes_raw(model, processor, kind):
            arguments[processor.rows.cells[kind].argument] = [as_cell(processor, kind, value) for value in cells]
        else:
            arguments[processor.rows.modality_of_cell[kind].features_argument] = cells
    batch = encode_rows(processor, model, arguments, truncation=True)
    with inference(model):
        vectors = model.get_fused_features(**batch).pooler_output.float().cpu().numpy()
    if not np.isfinite(vectors).all():
        raise ValueError(f"the model's {embedding_kind} embedding is not finite; try it in float32.")
    return vectors


def takes_raw(model, processor, kind: str) -> bool:
    """Whether a model takes a cell as it is, not as ready features."""
    return model.config.modality_config(processor.rows.modality_of_cell[kind].name).takes_raw_input


def queries_in(model, processor, kind: str, value: Any) -> list | None:
    """The queries of a list of them, which are cells of one kind; None for what is one query."""
    cell, modality = processor.rows.cells[kind], processor.rows.modality_of_cell[kind]
    if not isinstance(value, (list, tuple)):
        return None
    if not takes_raw(model, processor, kind):
        return None if dimensions(value) == 2 else list(value)
    return None if modality.is_one(cell, value) else list(value)


def holds(processor, kind: str, value: Any) -> bool:
    """Whether a cell is more than None, white space, an empty list or a table of empty cells."""
    return bool(processor.rows.segments_of(processor.rows.cells[kind].argument, value, kind))


def as_cell(processor, kind: str, value: Any) -> Any:
    """A cell in a form that cannot be taken for a batch of them, as a list of numbers is that may be one series."""
    cell, modality = processor.rows.cells[kind], processor.rows.modality_of_cell[kind]
    if not isinstance(value, list) or not modality.is_one(cell, value):
        return value
    return modality.decode_cell(cell, value, RowReading(processor, (modality.name,), allow_urls=True))


def embed_from(model, processor, rows: dict[str, list], start: int) -> dict[str, np.ndarray]:
    """
    `embed_rows` for rows that begin at number `start` of a dataset, whose blank cells are empty.

    Raises:
        ValueError: a row cannot be embedded; its number is named.
    """
    rows = {kind: [cell if holds(processor, kind, cell) else None for cell in cells] for kind, cells in rows.items()}
    try:
        return embed_rows(model, processor, rows)
    except (ValueError, OSError):
        for i in range(len(next(iter(rows.values())))):
            try:
                embed_rows(model, processor, {kind: cells[i : i + 1] for kind, cells in rows.items()})
            except (ValueError, OSError) as error:
                raise ValueError(f"Row {start + i} of the dataset cannot be embedded: {error}") from error
        raise


# ---------------------------------------------------------------------------------------------------------------------
# Blocks of rows
# ---------------------------------------------------------------------------------------------------------------------


def embedded_blocks(model, processor, dataset: Dataset, columns: dict[str, str], batch_size: int) -> Answer:
    """
    What embeds blocks of the dataset's rows, `batch_size` at once: number -> a table of the embeddings of these rows.

    Args:
        columns: kind -> column of the dataset, as `build_index` takes them.
    """
    kinds = embedding_kinds(extra_modalities(model))

    def part_of(rows: range) -> pa.Table:
        cells = dataset.select(rows).select_columns(list(columns.values()))[:]
        found = embed_from(model, processor, {kind: cells[name] for kind, name in columns.items()}, rows.start)
        return embedding_table(found, len(rows), kinds)

    def answer(blocks: Mapping[int, range]) -> Iterator[tuple[int, pa.Table]]:
        for number, rows in blocks.items():
            yield number, pa.concat_tables(map(part_of, parts_of(rows, batch_size)))

    return answer


def embedding_table(found: dict[str, np.ndarray], rows: int, kinds: Sequence[str]) -> pa.Table:
    """What `embed_rows` found, as the columns of an index, null where a row has no embedding."""
    columns = {}
    for kind in kinds:
        vectors = found.get(kind, [[np.nan]] * rows)
        cells = [None if np.isnan(vector[0]) else vector for vector in vectors]
        columns[embedding_column(kind)] = pa.array(cells, pa.list_(pa.float32()))
    return pa.table(columns)


def embedded_tables(dataset: Dataset, features: Features, embed: Answer, batch_size: int) -> Tables:
    """
    What `append_rows` asks for the shards that are not there: the rows of each with their embeddings, in parts of
    `batch_size`.

    Args:
        features: the columns of the tables, which are those of the index, the embeddings among them.
        embed: what `embedded_blocks` gives, of this process or on other machines.
    """

    def with_rows(rows: range, embeddings: pa.Table) -> Iterator[pa.Table]:
        names = embeddings.column_names
        own = Features({**dataset.features, **{name: features[name] for name in names}})
        for part in parts_of(rows, batch_size):
            table = dataset.select(part).with_format("arrow")[:]
            found = embeddings.slice(part.start - rows.start, len(part))
            for name in names:
                table = table.append_column(name, found[name])
            yield as_joined(table.replace_schema_metadata(own.arrow_schema.metadata), features)

    def tables(shards: Mapping[int, range]) -> Iterator[tuple[int, Iterator[pa.Table]]]:
        for number, embeddings in embed(shards):
            yield number, with_rows(shards[number], embeddings)

    return tables


def parts_of(rows: range, size: int) -> Iterator[range]:
    """Consecutive rows, so many at once."""
    return (rows[start : start + size] for start in range(0, len(rows), size))
