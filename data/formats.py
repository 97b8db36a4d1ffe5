# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Reads a folder or a file by the reader of its format."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import PurePath

import datasets
from datasets import Dataset, DatasetDict, IterableDataset
from datasets.data_files import EmptyDatasetError
from datasets.exceptions import DataFilesNotFoundError

from mixture_of_transformers.data.allowed_paths import AllowedPaths
from mixture_of_transformers.data.archives import read_archive_splits
from mixture_of_transformers.data.column_names import label_candidates
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.dataset_limits import DatasetLimits
from mixture_of_transformers.data.fingerprints import paths_in, state_of_file
from mixture_of_transformers.data.folders import TABLE_SUFFIXES, list_files, look_into, say_left_out
from mixture_of_transformers.data.media_folders import read_media_splits, read_metadata_splits
from mixture_of_transformers.data.mmsa import read_mmsa
from mixture_of_transformers.data.table_splits import read_table_splits
from mixture_of_transformers.data.text_files import table_suffix
from mixture_of_transformers.data.unpacking import check_zip

PICKLE_SUFFIXES = (".pkl", ".pickle")
# What `datasets` may read where the files are of none of our formats. Others of its readers, such as that of HDF5,
# follow links to other files or start other packages.
OTHER_BUILDERS = ("Text", "Xml", "Arrow", "Csv", "Json", "Parquet", "ImageFolder", "AudioFolder", "VideoFolder")


def read_file(path: str, streaming: bool, limits: DatasetLimits) -> Mapping:
    """
    One file as the split `train`, or all splits of a pickle of MMSA.

    Raises:
        ValueError: the file is of no format that is known.
    """
    suffix, files = table_suffix(path), {"train": [path]}
    if suffix in PICKLE_SUFFIXES:
        return as_streams(read_mmsa(path)) if streaming else read_mmsa(path)
    if suffix in TABLE_SUFFIXES:
        return read_table_splits(files, os.path.dirname(path), streaming, "train", limits)
    if suffix == ".tar":
        return read_archive_splits(files, streaming, limits)
    known = sorted((*TABLE_SUFFIXES, *PICKLE_SUFFIXES, ".tar"))
    raise ValueError(f"Cannot load '{path}': a file must end in one of {known}.")


def read_folder(path: str, dataset_config: str | None, streaming: bool, train: str, limits: DatasetLimits) -> Mapping:
    """
    The splits of a folder here, or at an address that begins with `hf://`, by their own names. `train` is what the
    training split is called, which decides the types of the others.
    """
    if any(os.path.isfile(os.path.join(path, name)) for name in ("dataset_dict.json", "state.json")):
        saved = datasets.load_from_disk(path)
        saved = saved if isinstance(saved, DatasetDict) else DatasetDict(train=saved)
        return as_streams(saved) if streaming else saved
    kind, files, media = look_into(path, dataset_config, limits=limits)
    if kind == "tables":
        splits = read_table_splits(files, path, streaming, train, limits)
        if media and (classes := classes_instead(splits, path, dataset_config, limits)):
            say_left_out(
                chain.from_iterable(files.values()), "no column is an input or a label, while folders are classes"
            )
            return as_streams(classes) if streaming else classes
        say_unnamed(media, splits)
        return splits
    if kind == "archives":
        return read_archive_splits(files, streaming, limits)
    if kind is None:  # The files are text, zipped pictures or others that `datasets` reads.
        return read_other_folder(path, dataset_config, streaming, limits)
    splits = read_media_splits(files) if kind == "media" else read_metadata_splits(files, path, train, limits)
    say_unnamed(media, splits)
    return as_streams(splits) if streaming else splits


def read_other_folder(path: str, dataset_config: str | None, streaming: bool, limits: DatasetLimits) -> Mapping:
    """
    The splits of a folder of none of our formats, read by `datasets`.

    Raises:
        ValueError: it holds nothing that can be read, or an archive that must not be unpacked.
    """
    for name in list_files(path):
        if name.lower().endswith(".zip"):
            check_zip(name, limits)
    try:
        builder = datasets.load_dataset_builder(path, dataset_config, cache_dir=cache_of_folder(path))
        check_data_files(builder, path, limits)
        if type(builder).__name__ not in OTHER_BUILDERS:
            raise EmptyDatasetError(f"{type(builder).__name__} is not read")
        if streaming:
            return builder.as_streaming_dataset()
        builder.download_and_prepare()
        return builder.as_dataset()
    except (DataFilesNotFoundError, EmptyDatasetError) as error:
        counts = Counter(PurePath(name).suffix or PurePath(name).name for name in list_files(path))
        found = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(10)) or "no files"
        raise ValueError(
            f"Folder '{path}' has no data that can be read: it holds {found}. Expected tables "
            f"({', '.join(TABLE_SUFFIXES)}), .tar archives of WebDataset, pictures, sounds or videos, or text; save "
            "others, such as sheets, as CSV."
        ) from error


def check_data_files(builder: datasets.DatasetBuilder, dataset_name: str, limits: DatasetLimits) -> None:
    """
    Raises:
        ValueError: a dataset's card lists files that are not its own.
    """
    allowed_paths = AllowedPaths.of(dataset_name, limits)
    for file in dict.fromkeys(file for part in (builder.config.data_files or {}).values() for file in part):
        if objection := allowed_paths.objection(file):
            raise ValueError(f"README.md of '{dataset_name}' lists {file!r} among its data, which {objection}.")


def as_streams(splits: Mapping[str, Dataset]) -> dict[str, IterableDataset]:
    return {name: split.to_iterable_dataset() for name, split in splits.items()}


def cache_of_folder(path: str) -> str | None:
    """A cache for this state of a local folder, where datasets would not notice a change of its files.

    A README.md with a `configs:` list makes `load_dataset` key its cache by the patterns in that list and not by the
    files they match, and `download_mode="force_redownload"` then fails on the sizes that it remembers.
    """
    if not any(os.path.isfile(os.path.join(path, name)) for name in ("README.md", ".huggingface.yaml")):
        return None
    state = hashlib.sha256(os.path.abspath(path).encode())
    for file in list_files(path):
        state.update(f"{file}|{state_of_file(file)}\n".encode())
    return os.path.join(datasets.config.HF_DATASETS_CACHE, "folders", state.hexdigest()[:16])


def classes_instead(
    splits: Mapping, path: str, dataset_config: str | None, limits: DatasetLimits
) -> dict[str, Dataset] | None:
    """The splits of media in a folder for each class, where the tables beside them say nothing of rows; else None."""
    split = next(iter(splits.values()))
    if label_candidates(split.features):
        return None
    try:
        ModalityColumns.guess(split.features, rows=split)
    except ValueError:
        kind, files, _ = look_into(path, dataset_config, with_tables=False, limits=limits)
        classes = read_media_splits(files) if kind == "media" else {}
        return classes if all("label" in part.features for part in classes.values()) else None
    return None


def say_unnamed(media: Iterable[str], splits: Mapping[str, Dataset | IterableDataset]) -> None:
    """Warn of media on this machine, beside tables, that are in no row. The rows of a stream are not known."""
    is_here = not any("://" in name for name in media)
    if media and is_here and all(isinstance(split, Dataset) for split in splits.values()):
        cells = [column for split in splits.values() for column in split.data.columns]
        is_named = {os.path.normpath(path) for column in cells for path in paths_in(column)}
        say_left_out([name for name in media if os.path.abspath(name) not in is_named], "no table names them")
