# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The builders of `datasets`, each for one split."""

import datasets
from datasets import Dataset, IterableDataset
from datasets.data_files import DataFilesDict, DataFilesList

from mixture_of_transformers.data.fingerprints import state_of_file


def builder_of(kind: type, split: str, files: list[str], **options) -> datasets.DatasetBuilder:
    """
    A builder of one split. Paths are plain, not patterns. A file that changed is read anew, and so is every file by a
    builder whose code (`CODE`) changed.
    """
    if not isinstance(files, DataFilesList):  # A list that `datasets` made knows the commits of the Hub.
        files = DataFilesList(files, [(state_of_file(name),) for name in files])
    return kind(data_files=DataFilesDict({split: files}), hash=getattr(kind, "CODE", None), **options)


def built_split(builder: datasets.DatasetBuilder, split: str, streaming: bool) -> Dataset | IterableDataset:
    """
    Raises:
        ValueError: the files hold no rows. Those of a stream are not looked into.
    """
    if streaming:
        return builder.as_streaming_dataset(split)
    builder.download_and_prepare()
    if builder.info.splits[split].num_examples == 0:
        raise ValueError(f"Split '{split}' has no rows: {', '.join(map(repr, builder.config.data_files[split]))}.")
    return builder.as_dataset(split)
