# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Builds an index of a dataset, or goes on with one whose build was killed."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset

from mixture_of_transformers.search.columns import (
    check_columns,
    columns_by_type,
    embedding_kinds,
    extra_modalities,
    media_of_paths,
    stored_features,
    tell_left_out,
)
from mixture_of_transformers.search.description import DESCRIPTION, read_description, write_description
from mixture_of_transformers.search.embedder import check_embedder, check_retrieves, describe_embedder, load
from mixture_of_transformers.search.embedding import embedded_blocks, embedded_tables
from mixture_of_transformers.search.folder import LOCK, append_rows, locked
from mixture_of_transformers.search.index import Index
from mixture_of_transformers.search.rows import as_stored, check_rows, fingerprint_of_rows, with_media
from mixture_of_transformers.training.workers import Answer


def build_index(
    dataset: Dataset,
    model,
    processor,
    output_dir: str | os.PathLike,
    columns: dict[str, str] | None = None,
    batch_size: int = 32,
    shard_rows: int = 1000,
    spread: Callable[[Callable[[], Answer]], Answer] | None = None,
    trust_remote_code: bool = False,
) -> Index:
    """
    Embed every row of a dataset, and keep the rows with their media and embeddings in a folder.

    Args:
        dataset: with columns of text, pictures, videos or sound, and of the model's other modalities; a cell may be
            None.
        model: a `MoTForRetrieval`.
        processor: its `MoTProcessor`.
        output_dir: of the index. If a run was killed there, this one goes on where it stopped.
        columns: kind ("text", "image", "video", "audio", or the name of another modality) -> column; found by their
            types, and those of other modalities by their names, if not given, with a warning that names the columns of
            strings and media that are left out.
        batch_size: rows that are embedded at once.
        shard_rows: rows that are written at once, at most what a killed run loses.
        spread: embeds shards on other processes or machines, such as `training.workers.on_ray`, which open the
            checkpoint that `model.name_or_path` names; by default this model embeds them one after the other.
        trust_remote_code: have these run the code that lies in the checkpoint.

    Raises:
        ValueError: nothing can be embedded, or the folder holds an index of other rows, columns or weights.
    """
    check_retrieves(model)
    extra = extra_modalities(model)
    kinds = embedding_kinds(extra)
    check_rows(dataset, kinds)
    folder, dataset = Path(output_dir), as_stored(dataset)
    is_guessed = columns is None
    columns = columns_by_type(dataset.features, extra) if is_guessed else dict(columns)
    check_columns(columns, dataset, model, processor)
    if spread and not model.name_or_path:
        raise ValueError("`spread` opens the checkpoint of `model`, which was loaded from none: save it and load it.")
    if is_guessed:
        tell_left_out(dataset.features, columns)
    dataset = with_media(dataset, media_of_paths(columns, dataset.features, processor))
    fingerprint = fingerprint_of_rows(dataset, columns, shard_rows)
    begin_index(folder, fingerprint, columns, model, processor)
    with locked(folder):
        if not (description := read_description(folder))["shards"]:
            asked = (dataset, columns, batch_size)
            embed = (
                spread(partial(open_blocks, folder, description, trust_remote_code, *asked))
                if spread
                else embedded_blocks(model, processor, *asked)
            )
            features = stored_features(dataset.features, kinds)
            tables = embedded_tables(dataset, features, embed, batch_size)
            append_rows(folder, fingerprint, len(dataset), shard_rows, features.arrow_schema, tables)
    return Index.load(folder, model, processor).tell_empty()


def open_blocks(
    folder: Path,
    description: dict[str, Any],
    trust_remote_code: bool,
    dataset: Dataset,
    columns: dict[str, str],
    batch_size: int,
) -> Answer:
    """
    `embedded_blocks` by the checkpoint that an index names, loaded wherever this is called.

    Args:
        folder, description: of the index.

    Raises:
        ValueError: what is found here is another checkpoint.
    """
    model, processor = load(description["model"], trust_remote_code)
    check_embedder(folder, description, model, processor)
    return embedded_blocks(model, processor, dataset, columns, batch_size)


def begin_index(folder: Path, fingerprint: str, columns: dict[str, str], model, processor) -> None:
    """
    Write the description of an index without rows into an empty folder, or see that the folder holds this very index,
    however far its build went.

    Raises:
        ValueError: the folder holds something else, or an index of other rows, columns or weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(file.name != LOCK for file in folder.iterdir()) and not (folder / DESCRIPTION).exists():
        raise ValueError(f"{folder} holds something that is not an index: choose an empty output_dir.")
    with locked(folder):
        if not (folder / DESCRIPTION).exists():
            empty = {"generation": 0, "fingerprint": fingerprint, "rows": 0, "columns": columns}
            empty |= {"removed": [], "shards": []}
            write_description(folder, empty | describe_embedder(model, processor))
            return
        found = read_description(folder)
        if found["fingerprint"] != fingerprint:
            raise ValueError(
                f"{folder} holds an index of other rows or columns (of the model {found['model']!r}): choose another "
                "output_dir, or delete it."
            )
        check_embedder(folder, found, model, processor)
