# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The rows of a dataset as an index keeps them: all their columns, with media as files."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import pyarrow.compute as pc
from datasets import Audio, Dataset, Features

from mixture_of_transformers.data.allowed_paths import AllowedPaths, paths_of
from mixture_of_transformers.data.checks import Reading
from mixture_of_transformers.data.column_types import SOUND, element_of, is_list, is_medium
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.extra_cells import ExtraCells, untyped
from mixture_of_transformers.data.fingerprints import fingerprint_of_files
from mixture_of_transformers.data.preparation import good_rows, prepare_split, with_stored_cells
from mixture_of_transformers.decoding_mot import open_source
from mixture_of_transformers.fetching_mot import is_url
from mixture_of_transformers.modalities_mot import CELLS
from mixture_of_transformers.search.columns import embedding_column


def rows_to_index(
    split: Dataset,
    columns: ModalityColumns,
    on_bad_example: str = "skip",
    split_name: str | None = None,
    allowed_paths: AllowedPaths | None = None,
    reading: Reading | None = None,
) -> tuple[Dataset, dict[str, str]]:
    """
    The rows of a split that can be read, with all their columns, ready for `build_index`.

    Args:
        columns: which of the columns are to be embedded.
        on_bad_example, split_name: as in `drop_bad_examples`.
        allowed_paths: where the files may lie that the rows name; by default anywhere.
        reading: how media are decoded to see that they can be, and which URLs are fetched.

    Returns:
        The rows, in which media are files, and what is behind a URL is its content; and kind ("text", "image",
        "audio", "video", the name of another modality) -> column. A modality whose cells are made of several columns,
        as a table's are, has one more column.

    Raises:
        ValueError: as `prepare_split` and `drop_bad_examples` do.
    """
    name = split_name or str(split.split or "unnamed")
    prepared, _ = prepare_split(split, replace(columns, label=None), split_name=name, allowed_paths=allowed_paths)
    rows, of_kind = split.with_format(None), {kind: getattr(columns, kind) for kind in columns.cells}
    for kind, column in of_kind.items():
        if not (kind == SOUND and columns.has_video_sound):
            rows = with_stored_cells(rows, kind, column)
    if columns.has_video_sound:
        rows = rows.add_column(SOUND, prepared[SOUND][:], feature=Audio(decode=False))
        of_kind[SOUND] = SOUND
    for kind, extra in columns.extra.items():
        cells = ExtraCells.of(extra, split.features)
        if not cells.are_as_stored:
            of_kind[kind] = next(name for name in column_names(kind) if name not in rows.column_names)
            rows = rows.add_column(of_kind[kind], prepared[kind][:], feature=prepared.features[kind])
            continue
        (of_kind[kind],) = cells.columns
        if cells.kind in CELLS:
            rows = with_stored_cells(rows, cells.kind, of_kind[kind])
    good = good_rows(prepared, on_bad_example, name, reading=reading)
    rows = rows if len(good) == len(rows) else rows.select(good)
    media = [column for column in of_kind.values() if is_medium(element_of(rows.features[column]))]
    return with_downloads(rows, media, reading or Reading()), of_kind


def column_names(kind: str) -> Iterator[str]:
    """What a column that is made for a modality may be called, where the dataset has no such column."""
    yield kind
    yield from (f"{kind}_{number}" for number in itertools.count(2))


def with_downloads(rows: Dataset, names: list[str], reading: Reading) -> Dataset:
    """The rows with the content of URLs in their place, so that nobody fetches them later, by other rules."""

    def content(cell: dict | list | None, name: str) -> dict | list | None:
        if isinstance(cell, list):  # of segments
            return [content(part, name) for part in cell]
        if cell and cell["bytes"] is None and is_url(cell["path"]):
            with open_source(cell, name, **reading.access) as file:
                cell = {"bytes": file.read(), "path": None}
        return cell

    def downloaded(name: str, cell: dict | list | None) -> dict:
        return {name: content(cell, name)}

    for name in names:
        kind, cells = rows.features[name], rows.select_columns(name).with_format("arrow")[:][name]
        paths = paths_of(pc.list_flatten(cells) if is_list(kind) else cells)
        if any(map(is_url, paths.to_pylist())):
            features = Features({**rows.features, name: untyped(kind)})
            rows = rows.map(partial(downloaded, name), input_columns=name, features=features, desc="Fetching")
            rows = rows.cast_column(name, kind)
    return rows


def as_stored(dataset: Dataset) -> Dataset:
    """
    A dataset whose media are files that are not decoded, and which gives its cells as they are, whatever its format.
    """
    dataset = dataset.with_format(None)
    for name, feature in dataset.features.items():
        if is_medium(feature):
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    return dataset


def with_media(dataset: Dataset, kinds: dict[str, type]) -> Dataset:
    """
    A dataset whose columns of paths (column -> type) are media, so that the content of the files goes into the index.
    """
    for name, kind in kinds.items():
        dataset = dataset.cast_column(name, kind(decode=False))
    return dataset


def check_rows(dataset: Dataset, kinds: Iterable[str]) -> None:
    """
    Args:
        kinds: of the embeddings of the index.

    Raises:
        ValueError: it is no dataset, has no rows, or has a column that an index calls its own.
    """
    if not isinstance(dataset, Dataset):
        raise ValueError(f"`dataset` is a {type(dataset).__name__}, expected a `datasets.Dataset`, such as one split.")
    if not len(dataset):
        raise ValueError("The dataset has no rows: there is nothing to embed.")
    if taken := [name for name in map(embedding_column, kinds) if name in dataset.column_names]:
        raise ValueError(f"The dataset has a column {taken[0]!r}, as an index calls its own: rename or remove it.")


def fingerprint_of_rows(dataset: Dataset, columns: dict[str, str], shard_rows: int) -> str:
    """A hash by which a killed build of the same rows, columns and shards is known again."""
    state = [fingerprint_of_files(dataset), len(dataset), columns, shard_rows]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()
