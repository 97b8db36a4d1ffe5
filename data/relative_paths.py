# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Relative paths in the cells of a table, made whole."""

import os
from collections import Counter
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, IterableDataset, Value

from mixture_of_transformers.data.folders import list_files
from mixture_of_transformers.data.media_suffixes import MEDIUM_OF_SUFFIX
from mixture_of_transformers.data.split_types import with_columns

MOST_PATHS_LOOKED_FOR = 1000  # of a column, to find the folder of its paths


def folders_of_paths(files: list[str], root: str) -> list[str]:
    """Where the paths in a table may begin: beside it, at the top of the dataset, or in its `data`."""
    beside = [os.path.dirname(name) for name in files]
    return list(dict.fromkeys(folder or "." for folder in (*beside, root, os.path.join(root, "data"))))


def with_whole_paths(split: Dataset | IterableDataset, folders: list[str], root: str):
    """A split in which paths relative to a folder are whole. The folder is the one that most of the files are in."""
    strings = [name for name, kind in split.features.items() if kind in (Value("string"), Value("large_string"))]
    if not strings:
        return split
    whole = split.select_columns(strings)
    rows = whole.with_format("arrow")[:] if isinstance(split, Dataset) else first_rows(whole)
    exists = set(list_files(root)).__contains__ if "://" in root else os.path.isfile
    found = {name: folder_of_paths(rows[name], folders, exists) for name in strings}
    found = {name: folder for name, folder in found.items() if folder is not None}
    if not found:
        return split
    if isinstance(split, IterableDataset):
        names = list(found)
        return split.map(
            lambda *paths: {name: whole_path(path, found[name]) for name, path in zip(names, paths)},
            input_columns=names,
            features=split.features,
        )
    columns = {}
    for name, folder in found.items():
        paths = [whole_path(path, folder) for path in rows[name].to_pylist()]
        columns[name] = pa.array(paths, rows[name].type)
    return with_columns(split, columns)


def first_rows(stream: IterableDataset) -> pa.Table:
    return pa.Table.from_pylist(list(stream.take(MOST_PATHS_LOOKED_FOR)), schema=stream.features.arrow_schema)


def is_relative(path: str | None) -> bool:
    return bool(path) and not os.path.isabs(path) and "://" not in path and not path.startswith("data:")


def whole_path(path: str | None, folder: str) -> str | None:
    if not is_relative(path):
        return path
    whole = os.path.join(folder, path)
    return whole if "://" in folder else os.path.normpath(whole)


def folder_of_paths(cells: pa.ChunkedArray, folders: list[str], exists: Callable[[str], bool]) -> str | None:
    """The folder with most of the files that cells name; if it has none but all look like media, the table's own."""
    paths = [path for path in pc.unique(cells).to_pylist() if is_relative(path) and len(path) < 1000]
    suffixes = Counter(os.path.splitext(path)[1].lower() for path in paths)
    are_media = sum(suffixes[suffix] for suffix in MEDIUM_OF_SUFFIX) > len(paths) / 2
    few = paths[:: max(1, len(paths) // MOST_PATHS_LOOKED_FOR)]
    for sample in (few, paths if are_media else []):
        counts = {folder: sum(exists(os.path.join(folder, path)) for path in sample) for folder in folders}
        if any(counts.values()):
            break
    best = max(folders, key=counts.get)
    if not counts[best] and not are_media:
        return None
    return best if "://" in best else os.path.abspath(best)
