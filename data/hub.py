# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Reads a dataset of the Hub by the readers of our formats, where it is of one of them."""

import dataclasses
import os
from collections.abc import Mapping

import datasets
from datasets.packaged_modules.csv.csv import Csv
from datasets.packaged_modules.folder_based_builder.folder_based_builder import FolderBasedBuilder
from datasets.packaged_modules.json.json import Json
from datasets.packaged_modules.webdataset.webdataset import WebDataset
from huggingface_hub import is_offline_mode, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from mixture_of_transformers.data.archives import read_archive_splits
from mixture_of_transformers.data.dataset_limits import DatasetLimits
from mixture_of_transformers.data.folders import Files, list_files
from mixture_of_transformers.data.formats import check_data_files, read_folder
from mixture_of_transformers.data.table_splits import read_table_splits


def read_from_hub(
    name: str, dataset_config: str | None, revision: str | None, streaming: bool, train: str, limits: DatasetLimits
) -> Mapping:
    """The splits of a dataset by their own names. `train` is what the training split is called."""
    if is_offline_mode() and (folder := downloaded_folder(name, revision)):
        return read_folder(folder, dataset_config, streaming, train, limits)
    builder = datasets.load_dataset_builder(name, dataset_config, revision=revision)
    check_data_files(builder, name, limits)
    files = builder.config.data_files
    if isinstance(builder, FolderBasedBuilder):  # It would type all files as the medium that most of them are.
        return read_folder(media_folder(name, revision, streaming), dataset_config, streaming, train, limits)
    if isinstance(builder, (Csv, Json)) and is_plain_config(builder.config):
        files = files if streaming else downloaded_files(name, revision, files)
        return read_table_splits(files, None, streaming, train, limits)
    if isinstance(builder, WebDataset):
        return read_archive_splits(files, streaming, limits)
    options = {"keep_default_na": False, "na_values": [""]} if isinstance(builder, Csv) else {}
    return datasets.load_dataset(name, dataset_config, revision=revision, streaming=streaming, **options)


def media_folder(name: str, revision: str | None, streaming: bool) -> str:
    """Where the files of a dataset are: on the Hub for a stream, else in a folder here, once they are downloaded."""
    if streaming:
        return f"hf://datasets/{name}" + (f"@{revision}" if revision else "")
    return snapshot_download(name, repo_type="dataset", revision=revision)


def downloaded_files(name: str, revision: str | None, files: Files) -> Files:
    """The files of a dataset on this machine, for their addresses (`hf://datasets/NAME@COMMIT/PATH`) of each split."""
    paths = {file: file.partition("@")[2].partition("/")[2] for part in files.values() for file in part}
    folder = snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=list(paths.values()))
    return {split: [os.path.join(folder, paths[file]) for file in part] for split, part in files.items()}


def downloaded_folder(name: str, revision: str | None) -> str | None:
    """The folder of a dataset of the Hub that an earlier run downloaded; None where none did."""
    try:
        folder = snapshot_download(name, repo_type="dataset", revision=revision, local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    return folder if any(os.path.basename(file) != "README.md" for file in list_files(folder)) else None


def is_plain_config(config: datasets.BuilderConfig) -> bool:
    """Whether a dataset's card says nothing of how its tables are written that they do not say themselves."""
    usual = type(config)()
    said = {"name", "version", "data_dir", "data_files", "description", "sep", "delimiter", "encoding"}
    fields = {field.name for field in dataclasses.fields(config)} - said
    return all(getattr(config, field) == getattr(usual, field) for field in fields)
