# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Reads folders of pictures, sounds or videos: with a metadata table, or in a folder for each class."""

import os
import re
from itertools import chain

import datasets
import pyarrow as pa
from datasets import ClassLabel, Dataset, Features
from transformers.utils import logging

from mixture_of_transformers.data.column_types import MEDIA_TYPES, is_medium
from mixture_of_transformers.data.dataset_limits import DatasetLimits
from mixture_of_transformers.data.folders import Files
from mixture_of_transformers.data.media_suffixes import medium_of
from mixture_of_transformers.data.relative_paths import whole_path
from mixture_of_transformers.data.split_column import select_by
from mixture_of_transformers.data.split_names import split_of_path
from mixture_of_transformers.data.split_types import with_columns, with_types
from mixture_of_transformers.data.table_splits import read_table_splits

logger = logging.get_logger(__name__)


def read_metadata_splits(files: Files, root: str, train: str, limits: DatasetLimits) -> dict[str, Dataset]:
    """Tables called `metadata`, whose `file_name` or `image_file_name`, ... are relative to the table's own folder."""
    splits = {}
    for split in sorted(files, key=lambda name: name != train):
        parts = []
        for name in files[split]:
            part = read_table_splits({split: [name]}, os.path.dirname(name), False, split, limits)[split]
            parts.append(with_files_beside(part, os.path.dirname(name)))
        first, *others = parts
        splits[split] = datasets.concatenate_datasets(
            [first, *(with_types(first.features, part, split) for part in others)]
        )
    splits = {name: with_named_media(split) for name, split in splits.items()}
    return split_by_folder(splits, root)


def file_columns(split: Dataset) -> list[str]:
    return [name for name in split.column_names if re.search(r"(^|_)file_name$", name)]


def with_files_beside(split: Dataset, folder: str) -> Dataset:
    if not file_columns(split):
        return split
    table = split.select_columns(file_columns(split)).with_format("arrow")[:]
    folder = folder if "://" in folder else os.path.abspath(folder)
    whole = {name: [whole_path(path, folder) for path in table[name].to_pylist()] for name in table.column_names}
    return with_columns(split, {name: pa.array(paths, pa.string()) for name, paths in whole.items()})


def with_named_media(split: Dataset) -> Dataset:
    """The columns of files typed as the medium that most of them are, and `file_name` called so."""
    for name in file_columns(split):
        # Files whose names say nothing are taken for the first medium, pictures.
        medium = medium_of(filter(None, split[name][:])) or next(iter(MEDIA_TYPES))
        wanted = name.removesuffix("file_name").removesuffix("_") or medium
        wanted = name if wanted in split.column_names else wanted
        split = split.rename_column(name, wanted).cast_column(wanted, MEDIA_TYPES[medium]())
    return split


def split_by_folder(splits: dict[str, Dataset], root: str) -> dict[str, Dataset]:
    """One table at the top of folders called train, test, ...: its rows belong where their files lie."""
    split = splits.get("train")
    if list(splits) != ["train"] or not (media := media_columns(split)):
        return splits
    cells = split.select_columns(media).with_format("arrow")[:]
    paths = [next((cell["path"] for cell in row.values() if cell is not None), "") for row in cells.to_pylist()]
    prefix = root if "://" in root else os.path.abspath(root)
    found = [
        split_of_path(os.path.join(os.path.dirname(path.removeprefix(prefix).lstrip("/")), "_")) for path in paths
    ]
    has_others = "train" in found and len(set(found) - {None}) > 1
    return select_by(split, found, "the folder of their files") if has_others else splits


def media_columns(split: Dataset) -> list[str]:
    return [name for name, kind in split.features.items() if is_medium(kind)]


def read_media_splits(files: Files) -> dict[str, Dataset]:
    """Files alone; where they lie in several folders at one depth, these are their classes."""
    names = list(chain.from_iterable(files.values()))
    medium = medium_of(names)
    classes = sorted({os.path.basename(os.path.dirname(name)) for name in names})
    depths = {name.count("/") for name in names}
    features = Features({medium: MEDIA_TYPES[medium]()})
    if len(classes) > 1 and len(depths) == 1:
        features["label"] = ClassLabel(names=classes)
    elif len(classes) > 1:
        least = min(names, key=lambda name: name.count("/"))
        most = max(names, key=lambda name: name.count("/"))
        logger.warning(f"The folders are not read as classes, since '{least}' and '{most}' lie at different depths.")
    splits = {}
    for split, part in files.items():
        columns = {
            medium: [{"bytes": None, "path": name if "://" in name else os.path.abspath(name)} for name in part]
        }
        if "label" in features:
            columns["label"] = [classes.index(os.path.basename(os.path.dirname(name))) for name in part]
        splits[split] = Dataset(pa.Table.from_pydict(columns, schema=features.arrow_schema))
    return splits
