# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Where datasets come from: the Hub, folders and files of the usual formats, read whole or as a stream, as three
splits.

`load_splits` finds out what a name or path holds and hands it to a builder of `datasets`; what comes back has the
dataset's own columns, of the types that `train` has, and is on its way to `ModalityColumns.guess`. No media are
decoded here, and none needs torchcodec.
"""

import os
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import PurePath

import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, Image, IterableDataset
from datasets.exceptions import DatasetGenerationError
from transformers.utils import logging

from mixture_of_transformers.data.column_names import label_candidates
from mixture_of_transformers.data.column_types import is_medium, stored_file, undecoded_stream
from mixture_of_transformers.data.columns import LEFT_OUT
from mixture_of_transformers.data.dataset_limits import DEFAULT_LIMITS, DatasetLimits
from mixture_of_transformers.data.folders import TABLE_SUFFIXES
from mixture_of_transformers.data.formats import PICKLE_SUFFIXES, read_file, read_folder
from mixture_of_transformers.data.hub import read_from_hub
from mixture_of_transformers.data.split_column import split_by_column
from mixture_of_transformers.data.split_names import SPLIT_WORDS
from mixture_of_transformers.data.split_types import (
    with_features,
    with_types,
    with_types_of_training,
    without_blank_cells,
)
from mixture_of_transformers.data.splits import check_groups, check_times, cut_validation

logger = logging.get_logger(__name__)


def load_splits(
    dataset_name: str,
    dataset_config: str | None = None,
    seed: int = 0,
    label_column: str | None = None,
    revision: str | None = None,
    split_names: Mapping[str, str | None] | None = None,
    streaming: bool = False,
    max_eval_rows: int = 2000,
    split_column: str | None = None,
    limits: DatasetLimits = DEFAULT_LIMITS,
    group_column: str | None = None,
    time_column: str | None = None,
) -> DatasetDict | dict[str, Dataset | IterableDataset]:
    """Load a dataset as exactly three splits: `train`, `validation` and `test`, or without `test` where it is left
    out.

    Without a validation split, a tenth of the training rows becomes one, of each class its share.
    Without a test split, the validation split stands for it, with a warning.

    Args:
        dataset_name: an id on the Hub; a folder of parquet, JSON, CSV or WebDataset files, pictures, sounds or videos
            in a folder for each class, files listed in `metadata.jsonl` as `image_file_name`, `audio_file_name`, ...,
            or what `save_to_disk` wrote; or one such file, or a pickle of MMSA. Paths in a table are relative to it.
        dataset_config: the configuration, where the dataset has several.
        seed: decides which rows are cut from train.
        label_column: the column to stratify by; by default the one `ModalityColumns.guess` would take.
        revision: a branch, tag or commit of a dataset on the Hub.
        split_names: what the dataset calls its splits, such as `{"train": "train_clean", "test": "test_other"}`,
            where that is not train, validation (valid, val, dev, eval) and test; "none" leaves validation or test out.
        streaming: give `train` as an `IterableDataset`, which is read as it is trained on and never kept. It needs a
            validation split of the dataset's own.
        max_eval_rows: of a stream, validation and test are read into memory up to so many rows, the first ones.
        split_column: the column of a single table that says which split a row belongs to; by default one that is
            called `split`, `mode` or the like and holds such words; "none" keeps the rows together.
        limits: what the dataset may do. Paths in its rows are looked at where they are read: `prepare_splits(...,
            allowed_paths=AllowedPaths.of(dataset_name, limits))`.
        group_column: of what the rows of a group share, such as a patient: no group is in two splits. Where a
            validation split is cut, whole groups are.
        time_column: of when each row was, a number, a date or a time: the rows of the other splits are not earlier
            than those of `train`. Where a validation split is cut, it is the last tenth.

    Raises:
        ValueError: there is no `train` split, or none of the name given; a file cannot be read; a column of another
            split cannot have the type that it has in the training split; splits share groups or times, or a stream
            would have to be searched for them. The file or column is named.
    """
    train_name = (split_names or {}).get("train")
    path = os.path.expanduser(dataset_name)
    splits = read_named_splits(path, dataset_config, revision, streaming, train_name, split_column, limits)
    splits = with_usual_names(splits, split_names or {}, dataset_name)
    is_tested = (split_names or {}).get("test") != LEFT_OUT
    if group_column is not None and time_column is not None:
        raise ValueError("--group_column and --time_column cut a split in two ways: give one of them.")
    if streaming and (group_column or time_column):
        raise ValueError(
            "--group_column and --time_column compare all rows, which --streaming does not keep: leave it out, or "
            "them."
        )
    if streaming:
        return stream_splits(splits, dataset_name, max_eval_rows, is_tested)
    train, validation, test = (splits.get(name) for name in ("train", "validation", "test"))
    if validation is None:
        column = label_column or next(iter(label_candidates(train.features)), None)
        train, validation = cut_validation(train, seed, column, group_column, time_column)
    own = {"train": train, "validation": validation} | ({"test": test} if is_tested and test is not None else {})
    if group_column is not None:
        check_groups(own, group_column)
    if time_column is not None:
        check_times(own, time_column)
    if not is_tested:
        return DatasetDict(train=train, validation=validation)
    if test is None:
        test = validation
        logger.warning(f"Dataset '{dataset_name}' has no 'test' split: its validation split stands for it.")
    return DatasetDict(train=train, validation=validation, test=test)


def load_split(
    dataset_name: str,
    split: str = "train",
    dataset_config: str | None = None,
    revision: str | None = None,
    limits: DatasetLimits = DEFAULT_LIMITS,
) -> Dataset:
    """One split of a dataset, with all its rows in their order.

    Raises:
        ValueError: there is no such split.
    """
    splits = read_named_splits(os.path.expanduser(dataset_name), dataset_config, revision, limits=limits)
    if split not in splits:
        raise ValueError(f"Dataset '{dataset_name}' has no split '{split}'; it has {', '.join(sorted(splits))}.")
    return splits[split]


def with_usual_names(splits: Mapping, names: Mapping[str, str | None], dataset_name: str) -> dict:
    """The splits that are called, or are said to be called, train, validation and test."""
    usual = {"train": ("train",), "validation": SPLIT_WORDS["validation"], "test": SPLIT_WORDS["test"]}
    renamed = {}
    for role, candidates in usual.items():
        wanted = names.get(role)
        if wanted == LEFT_OUT and role != "train":
            continue
        if wanted is not None and wanted not in splits:
            raise ValueError(f"Dataset '{dataset_name}' has no split '{wanted}' for {role}; it has {sorted(splits)}.")
        found = wanted or next((name for name in candidates if name in splits), None)
        if found is not None:
            renamed[role] = splits[found]
    if "train" not in renamed:
        raise ValueError(
            f"Dataset '{dataset_name}' has no 'train' split; it has {sorted(splits)}. "
            "Say which one to train on with --train_split."
        )
    return renamed


def stream_splits(
    splits: dict, dataset_name: str, max_eval_rows: int, is_tested: bool
) -> dict[str, Dataset | IterableDataset]:
    """The three splits of streams: `train` as it is, the others as the first rows of theirs, which are kept."""
    if "validation" not in splits:
        raise ValueError(
            f"Dataset '{dataset_name}' has no validation split, and a tenth of a stream cannot be drawn at random. "
            f"Name a split to validate on with --validation_split (there is {sorted(splits)}), or read it without "
            "--streaming."
        )
    splits["train"] = with_features(splits["train"])
    held_out = {name: held_out_rows(splits[name], max_eval_rows, name) for name in splits if name != "train"}
    held_out = {name: with_types(splits["train"].features, split, name) for name, split in held_out.items()}
    if "test" not in held_out and is_tested:
        held_out["test"] = held_out["validation"]
        logger.warning(f"Dataset '{dataset_name}' has no 'test' split: its validation split stands for it.")
    return {"train": splits["train"], **held_out}


def held_out_rows(stream: IterableDataset, limit: int, name: str) -> Dataset:
    """The first rows of a stream, with media as files."""
    stream = with_features(stream)
    undecoded = undecoded_stream(stream)
    rows = list(islice(undecoded, limit + 1))
    if len(rows) > limit:
        logger.warning(f"Split '{name}' has more rows: the first {limit} of its stream stand for it.")
    features = Features({column: stored_kind(kind, column, rows) for column, kind in stream.features.items()})
    media = [column for column, kind in features.items() if is_medium(kind)]
    rows = [row | {column: stored_file(row[column]) for column in media} for row in rows[:limit]]
    return without_blank_cells(Dataset(pa.Table.from_pylist(rows, schema=features.arrow_schema)))


def stored_kind(kind, column: str, rows: list[dict]):
    """The type of a column that is kept: files, where it names files of the Hub."""
    names_files = any(isinstance(row[column], str) and row[column].startswith("hf://") for row in rows)
    return Image() if names_files else kind


def read_named_splits(
    path: str,
    dataset_config: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
    train: str | None = None,
    split_column: str | None = None,
    limits: DatasetLimits = DEFAULT_LIMITS,
) -> dict[str, Dataset | IterableDataset]:
    """The splits by their own names, with the types that the training split has."""
    with saying_what_failed(path):
        splits = dict(read_source(path, dataset_config, revision, streaming, train or "train", limits))
    check_names(splits, path)
    splits = {name: split if streaming else without_blank_cells(split) for name, split in splits.items()}
    splits = split_by_column(splits, split_column, path)
    return with_types_of_training(train or "train", splits)


def read_source(
    path: str, dataset_config: str | None, revision: str | None, streaming: bool, train: str, limits: DatasetLimits
) -> Mapping:
    """The splits of a folder, a file or a dataset of the Hub, as they are; `train` names the one for training."""
    if os.path.isdir(path):
        return read_folder(path, dataset_config, streaming, train, limits)
    if os.path.isfile(path):
        return read_file(path, streaming, limits)
    if PurePath(path).suffix.lower() in (*TABLE_SUFFIXES, *PICKLE_SUFFIXES, ".tar") or path.startswith((".", os.sep)):
        raise FileNotFoundError(f"There is no file or folder '{path}'.")
    return read_from_hub(path, dataset_config, revision, streaming, train, limits)


def check_names(splits: Mapping[str, Dataset | IterableDataset], path: str) -> None:
    """
    Raises:
        ValueError: a name of a split or column holds control characters, which would command the terminal.
    """
    columns = [column for split in splits.values() for column in split.features or {}]
    for name in (*splits, *columns):
        if any(unicodedata.category(letter) == "Cc" and not letter.isspace() for letter in str(name)):
            raise ValueError(f"A split or column of '{path}' is called {name!r}, with control characters: rename it.")


@contextmanager
def saying_what_failed(path: str) -> Iterator[None]:
    """Have an error of a reader, whichever library it comes from, name what was read."""
    try:
        yield
    except Exception as error:
        # An error of these kinds names the package, or the file, by itself.
        if isinstance(error, ImportError) or getattr(error, "errno", None):
            raise
        cause = error.__cause__ or error if isinstance(error, DatasetGenerationError) else error
        if cause is error and os.path.basename(path) in str(error):
            raise
        is_named = os.path.basename(path) in str(cause)
        words = str(cause) or type(cause).__name__
        raise ValueError(words if is_named else f"Cannot read '{path}': {words}") from error
