# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Where datasets come from: the Hub, folders and files of the usual formats, read whole or as a stream, as three splits.

`load_splits` finds out what a name or path holds and hands it to a builder of `datasets`; what comes back has the
dataset's own columns, of the types that `train` has, and is on its way to `ModalityColumns.guess`. No media are
decoded here, and none needs torchcodec.
"""

import dataclasses
import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import PurePath

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Image, IterableDataset, Value, Video
from datasets.data_files import DataFilesDict, DataFilesList, EmptyDatasetError
from datasets.exceptions import DataFilesNotFoundError, DatasetGenerationError
from datasets.fingerprint import Hasher
from datasets.packaged_modules.csv.csv import Csv
from datasets.packaged_modules.folder_based_builder.folder_based_builder import FolderBasedBuilder
from datasets.packaged_modules.json.json import Json
from datasets.packaged_modules.parquet.parquet import Parquet
from datasets.packaged_modules.webdataset.webdataset import WebDataset
from huggingface_hub import is_offline_mode, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers.utils import logging

from mixture_of_transformers.data.allowed_paths import AllowedPaths
from mixture_of_transformers.data.archives import ArchiveBuilder, webdataset_features
from mixture_of_transformers.data.column_types import stored_file, undecoded_stream
from mixture_of_transformers.data.columns import LEFT_OUT, ModalityColumns, label_candidates
from mixture_of_transformers.data.dataset_limits import DEFAULT_LIMITS, DatasetLimits
from mixture_of_transformers.data.folders import (
    MEDIA_SUFFIXES,
    SPLIT_WORDS,
    TABLES,
    Files,
    list_files,
    look_into,
    medium_of,
    say_left_out,
    split_of_path,
    split_of_word,
)
from mixture_of_transformers.data.mmsa import read_mmsa
from mixture_of_transformers.data.splits import cut_validation
from mixture_of_transformers.data.tables import TableBuilder, cast_cells, named, table_suffix, without_blanks
from mixture_of_transformers.data.unpacking import check_zip

logger = logging.get_logger(__name__)

PICKLE_SUFFIXES = (".pkl", ".pickle")
# What `datasets` may read where the files are of none of our formats. Others of its readers, such as that of HDF5, follow
# links to other files or start other packages.
OTHER_BUILDERS = ("Text", "Xml", "Arrow", "Csv", "Json", "Parquet", "ImageFolder", "AudioFolder", "VideoFolder")
VALIDATION_NAMES = SPLIT_WORDS["validation"]
ROWS_FOR_TYPES = 1000  # of a stream that does not say what its columns are, and to find the folder of its paths
MEDIA = {"image": Image, "audio": Audio, "video": Video}
SPLIT_COLUMN = re.compile(r"(data_?)?(split|subset|set|mode|partition|fold|phase|usage)", re.IGNORECASE)


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
) -> DatasetDict | dict[str, Dataset | IterableDataset]:
    """Load a dataset as exactly three splits: `train`, `validation` and `test`, or without `test` where it is left out.

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

    Raises:
        ValueError: there is no `train` split, or none of the name given; a file cannot be read; a column of another
            split cannot have the type that it has in the training split. The file or column is named.
    """
    train_name = (split_names or {}).get("train")
    path = os.path.expanduser(dataset_name)
    splits = read_named_splits(path, dataset_config, revision, streaming, train_name, split_column, limits)
    splits = with_usual_names(splits, split_names or {}, dataset_name)
    is_tested = (split_names or {}).get("test") != LEFT_OUT
    if streaming:
        return stream_splits(splits, dataset_name, max_eval_rows, is_tested)
    train, validation, test = (splits.get(name) for name in ("train", "validation", "test"))
    if validation is None:
        column = label_column or next(iter(label_candidates(train.features)), None)
        train, validation = cut_validation(train, seed, column)
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
    usual = {"train": ("train",), "validation": VALIDATION_NAMES, "test": SPLIT_WORDS["test"]}
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
    if "validation" not in splits:
        raise ValueError(
            f"Dataset '{dataset_name}' has no validation split, and a tenth of a stream cannot be drawn at random. Name "
            f"a split to validate on with --validation_split (there is {sorted(splits)}), or read it without --streaming."
        )
    splits["train"] = with_features(splits["train"])
    held_out = {name: held_out_rows(splits[name], max_eval_rows, name) for name in splits if name != "train"}
    held_out = {name: with_types(splits["train"].features, split, name) for name, split in held_out.items()}
    if "test" not in held_out and is_tested:
        held_out["test"] = held_out["validation"]
        logger.warning(f"Dataset '{dataset_name}' has no 'test' split: its validation split stands for it.")
    return {"train": splits["train"], **held_out}


def held_out_rows(stream: IterableDataset, limit: int, name: str) -> Dataset:
    stream = with_features(stream)
    undecoded = undecoded_stream(stream)
    rows = list(islice(undecoded, limit + 1))
    if len(rows) > limit:
        logger.warning(f"Split '{name}' has more rows: the first {limit} of its stream stand for it.")
    features = Features({column: stored_kind(kind, column, rows) for column, kind in stream.features.items()})
    media = [column for column, kind in features.items() if isinstance(kind, tuple(MEDIA.values()))]
    rows = [row | {column: stored_file(row[column]) for column in media} for row in rows[:limit]]
    return without_blank_cells(Dataset(pa.Table.from_pylist(rows, schema=features.arrow_schema)))


def stored_kind(kind, column: str, rows: list[dict]):
    """The type of a column that is kept: files, where it names files of the Hub."""
    names_files = any(isinstance(row[column], str) and row[column].startswith("hf://") for row in rows)
    return Image() if names_files else kind


def with_features(stream: IterableDataset) -> IterableDataset:
    """A stream that knows the types of its columns, from its first rows if nothing else says them."""
    if stream.features is not None:
        return stream
    first = pa.Table.from_pylist(list(stream.take(ROWS_FOR_TYPES)))
    return stream.cast(Features.from_arrow_schema(first.schema))


# ---- which format ------------------------------------------------------------------------------------------------


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


def check_names(splits: Mapping[str, Dataset | IterableDataset], path: str) -> None:
    """Whether the names of splits and columns can be shown: control characters would command the terminal."""
    columns = [column for split in splits.values() for column in split.features or {}]
    for name in (*splits, *columns):
        if any(unicodedata.category(letter) == "Cc" and not letter.isspace() for letter in str(name)):
            raise ValueError(f"A split or column of '{path}' is called {name!r}, with control characters: rename it.")


@contextmanager
def saying_what_failed(path: str) -> Iterator[None]:
    """An error of a reader, whichever library it comes from, as one that names what was read."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ImportError) or getattr(error, "errno", None):  # which names the package, or the file
            raise
        cause = error.__cause__ or error if isinstance(error, DatasetGenerationError) else error
        if cause is error and os.path.basename(path) in str(error):
            raise
        is_named = os.path.basename(path) in str(cause)
        words = str(cause) or type(cause).__name__
        raise ValueError(words if is_named else f"Cannot read '{path}': {words}") from error


def read_source(
    path: str, dataset_config: str | None, revision: str | None, streaming: bool, train: str, limits: DatasetLimits
) -> Mapping:
    if os.path.isdir(path):
        return read_folder(path, dataset_config, streaming, train, limits)
    if os.path.isfile(path):
        return read_file(path, streaming, limits)
    if PurePath(path).suffix.lower() in (*TABLES, *PICKLE_SUFFIXES, ".tar") or path.startswith((".", os.sep)):
        raise FileNotFoundError(f"There is no file or folder '{path}'.")
    return read_from_hub(path, dataset_config, revision, streaming, train, limits)


def read_file(path: str, streaming: bool, limits: DatasetLimits) -> Mapping:
    suffix, files = table_suffix(path), {"train": [path]}
    if suffix in PICKLE_SUFFIXES:
        return as_streams(read_mmsa(path)) if streaming else read_mmsa(path)
    if suffix in TABLES:
        return read_tables(files, os.path.dirname(path), streaming, "train", limits)
    if suffix == ".tar":
        return read_archives(files, streaming, limits)
    known = sorted((*TABLES, *PICKLE_SUFFIXES, ".tar"))
    raise ValueError(f"Cannot load '{path}': a file must end in one of {known}.")


def read_folder(path: str, dataset_config: str | None, streaming: bool, train: str, limits: DatasetLimits) -> Mapping:
    """A folder here, or at an address that begins with `hf://`."""
    if any(os.path.isfile(os.path.join(path, name)) for name in ("dataset_dict.json", "state.json")):
        saved = datasets.load_from_disk(path)
        saved = saved if isinstance(saved, DatasetDict) else DatasetDict(train=saved)
        return as_streams(saved) if streaming else saved
    kind, files, media = look_into(path, dataset_config, limits=limits)
    if kind == "tables":
        splits = read_tables(files, path, streaming, train, limits)
        if media and (classes := classes_instead(splits, path, dataset_config, limits)):
            say_left_out(
                chain.from_iterable(files.values()), "no column is an input or a label, while folders are classes"
            )
            return as_streams(classes) if streaming else classes
        say_unnamed(media, splits)
        return splits
    if kind == "archives":
        return read_archives(files, streaming, limits)
    if kind is None:  # text files, zipped pictures and others that `datasets` reads
        return read_other_folder(path, dataset_config, streaming, limits)
    splits = read_media(files) if kind == "media" else read_metadata(files, path, train, limits)
    say_unnamed(media, splits)
    return as_streams(splits) if streaming else splits


def read_other_folder(path: str, dataset_config: str | None, streaming: bool, limits: DatasetLimits) -> Mapping:
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
            f"Folder '{path}' has no data that can be read: it holds {found}. Expected tables ({', '.join(TABLES)}), "
            ".tar archives of WebDataset, pictures, sounds or videos, or text; save others, such as sheets, as CSV."
        ) from error


def check_data_files(builder: datasets.DatasetBuilder, dataset_name: str, limits: DatasetLimits) -> None:
    """Whether the files that a dataset's card lists are its own."""
    allowed_paths = AllowedPaths.of(dataset_name, limits)
    for file in dict.fromkeys(file for part in (builder.config.data_files or {}).values() for file in part):
        if objection := allowed_paths.objection(file):
            raise ValueError(f"README.md of '{dataset_name}' lists {file!r} among its data, which {objection}.")


def as_streams(splits: Mapping[str, Dataset]) -> dict[str, IterableDataset]:
    return {name: split.to_iterable_dataset() for name, split in splits.items()}


def read_from_hub(
    name: str, dataset_config: str | None, revision: str | None, streaming: bool, train: str, limits: DatasetLimits
) -> Mapping:
    if is_offline_mode() and (folder := downloaded_folder(name, revision)):
        return read_folder(folder, dataset_config, streaming, train, limits)
    builder = datasets.load_dataset_builder(name, dataset_config, revision=revision)
    check_data_files(builder, name, limits)
    files = builder.config.data_files
    if isinstance(builder, FolderBasedBuilder):
        # `datasets` would type, and download, all files as the medium that most of them are.
        if streaming:
            address = f"hf://datasets/{name}" + (f"@{revision}" if revision else "")
            return read_folder(address, dataset_config, streaming, train, limits)
        folder = snapshot_download(name, repo_type="dataset", revision=revision)
        return read_folder(folder, dataset_config, False, train, limits)
    if isinstance(builder, (Csv, Json)) and is_plain_config(builder.config):
        if streaming:
            return read_tables(files, None, streaming, train, limits)
        names = {file: file.partition("@")[2].partition("/")[2] for part in files.values() for file in part}
        folder = snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=list(names.values()))
        files = {split: [os.path.join(folder, names[file]) for file in part] for split, part in files.items()}
        return read_tables(files, None, streaming, train, limits)
    if isinstance(builder, WebDataset):
        return read_archives(files, streaming, limits)
    options = {"keep_default_na": False, "na_values": [""]} if isinstance(builder, Csv) else {}
    return datasets.load_dataset(name, dataset_config, revision=revision, streaming=streaming, **options)


def downloaded_folder(name: str, revision: str | None) -> str | None:
    """The folder of a dataset of the Hub that an earlier run downloaded."""
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


# ---- tables ------------------------------------------------------------------------------------------------------


def read_tables(
    files: Files, root: str | None, streaming: bool, train: str, limits: DatasetLimits
) -> dict[str, Dataset | IterableDataset]:
    """Tables of any form, each split of one; the training split is read first and decides the types of the others.

    Paths in them are relative to `root` or to the table; where `root` is None, they are taken as they are.
    """
    splits, features = {}, None
    for split in sorted(files, key=lambda name: name != train):
        is_parquet = table_suffix(files[split][0]) == ".parquet"
        if is_parquet:
            builder = builder_of(Parquet, split, files[split], features=parquet_features(files[split]))
        else:
            builder = builder_of(TableBuilder, split, files[split], features=features, limits=limits)
        found = built_split(builder, split, streaming)
        if features is None and not is_parquet:
            features = found.features
        splits[split] = found if root is None else with_whole_paths(found, folders_of_paths(files[split], root), root)
    return splits


def builder_of(kind: type, split: str, files: list[str], **options) -> datasets.DatasetBuilder:
    """A builder of one split. Paths are plain, not patterns, and a file that changed is another one."""
    if not isinstance(files, DataFilesList):  # which `datasets` made, with the commits of the Hub
        files = DataFilesList(files, [(state_of_file(name),) for name in files])
    return kind(data_files=DataFilesDict({split: files}), hash=getattr(kind, "CODE", None), **options)


def built_split(builder: datasets.DatasetBuilder, split: str, streaming: bool) -> Dataset | IterableDataset:
    if streaming:
        return builder.as_streaming_dataset(split)
    builder.download_and_prepare()
    if builder.info.splits[split].num_examples == 0:
        raise ValueError(f"Split '{split}' has no rows: {', '.join(map(repr, builder.config.data_files[split]))}.")
    return builder.as_dataset(split)


def parquet_features(files: list[str]) -> Features | None:
    """The types that the cells of all files fit, where they differ; None leaves it to the first file.

    Raises:
        ValueError: the class ids of two files mean different names.
    """
    if any("://" in name for name in files):
        return None
    schemas = []
    for name in files:
        with named(name):
            schemas.append(pq.read_schema(name))
    check_class_names(files, list(map(Features.from_arrow_schema, schemas)))
    first = schemas[0]
    if all(schema.equals(first) for schema in schemas):
        return None
    with named(f"{files[0]}' and '{files[-1]}"):
        unified = pa.unify_schemas([schema.remove_metadata() for schema in schemas], promote_options="permissive")
    known = Features.from_arrow_schema(first)
    kinds = Features.from_arrow_schema(unified)
    # A type such as Image is known to the metadata alone.
    return Features(
        {
            n: kind if n not in known or first.field(n).type != unified.field(n).type else known[n]
            for n, kind in kinds.items()
        }
    )


def check_class_names(files: list[str], features: list[Features]) -> None:
    """Whether a class id means one name in all files, which the types that Arrow compares do not say."""
    first: dict[str, tuple[str, list]] = {}  # column: the first file that names its classes, and their names
    for file, kinds in zip(files, features):
        for column, kind in kinds.items():
            if not (names := class_names(kind)):
                continue
            other, expected = first.setdefault(column, (file, names))
            if names != expected:
                raise ValueError(
                    f"Column '{column}' has the classes {shown_names(expected)} in '{other}', and {shown_names(names)} in '{file}': "
                    "one id would mean two classes. Write the files with one list of names, or the labels as names."
                )


def class_names(kind) -> list[list[str]]:
    """The names of a ClassLabel, and of those within lists and dictionaries."""
    if isinstance(kind, ClassLabel):
        return [kind.names]
    parts = kind.values() if isinstance(kind, dict) else [kind.feature] if hasattr(kind, "feature") else []
    return [names for part in parts for names in class_names(part)]


def shown_names(several: list[list[str]]) -> str:
    return " and ".join(f"{names[:20]}{', ...' if len(names) > 20 else ''}" for names in several)


def folders_of_paths(files: list[str], root: str) -> list[str]:
    """Where the paths in a table may begin: beside it, at the top of the dataset, or in its `data`."""
    beside = [os.path.dirname(name) for name in files]
    return list(dict.fromkeys(folder or "." for folder in (*beside, root, os.path.join(root, "data"))))


def with_whole_paths(split: Dataset | IterableDataset, folders: list[str], root: str):
    """Paths that a table gives relative to a folder, whole. The folder is the one that most of the files are in."""
    strings = [name for name, kind in split.features.items() if kind in (Value("string"), Value("large_string"))]
    if not strings:
        return split
    whole = split.select_columns(strings)
    rows = whole.with_format("arrow")[:] if isinstance(split, Dataset) else rows_for_types(whole, ROWS_FOR_TYPES)
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
    return with_columns(
        split,
        {
            n: pa.array([whole_path(path, folder) for path in rows[n].to_pylist()], rows[n].type)
            for n, folder in found.items()
        },
    )


def rows_for_types(stream: IterableDataset, limit: int) -> pa.Table:
    return pa.Table.from_pylist(list(stream.take(limit)), schema=stream.features.arrow_schema)


def is_relative(path: str | None) -> bool:
    return bool(path) and not os.path.isabs(path) and "://" not in path and not path.startswith("data:")


def whole_path(path: str | None, folder: str) -> str | None:
    if not is_relative(path):
        return path
    whole = os.path.join(folder, path)
    return whole if "://" in folder else os.path.normpath(whole)


def folder_of_paths(cells: pa.ChunkedArray, folders: list[str], exists: Callable[[str], bool]) -> str | None:
    """The folder that most cells are files of; beside the table, where none is there but all are called like media."""
    paths = [path for path in pc.unique(cells).to_pylist() if is_relative(path) and len(path) < 1000]
    suffixes = Counter(os.path.splitext(path)[1].lower() for path in paths)
    are_media = sum(suffixes[kind] for kinds in MEDIA_SUFFIXES.values() for kind in kinds) > len(paths) / 2
    few = paths[:: max(1, len(paths) // ROWS_FOR_TYPES)]
    for sample in (few, paths if are_media else []):
        counts = {folder: sum(exists(os.path.join(folder, path)) for path in sample) for folder in folders}
        if any(counts.values()):
            break
    best = max(folders, key=counts.get)
    if not counts[best] and not are_media:
        return None
    return best if "://" in best else os.path.abspath(best)


# ---- folders of media --------------------------------------------------------------------------------------------


def read_metadata(files: Files, root: str, train: str, limits: DatasetLimits) -> dict[str, Dataset]:
    """Tables called `metadata`, whose `file_name` or `image_file_name`, ... are relative to the table's own folder."""
    splits = {}
    for split in sorted(files, key=lambda name: name != train):
        parts = []
        for name in files[split]:
            part = read_tables({split: [name]}, os.path.dirname(name), False, split, limits)[split]
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
        medium = medium_of(filter(None, split[name][:])) or "image"
        wanted = name.removesuffix("file_name").removesuffix("_") or medium
        wanted = name if wanted in split.column_names else wanted
        split = split.rename_column(name, wanted).cast_column(wanted, MEDIA[medium]())
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


def classes_instead(
    splits: Mapping, path: str, dataset_config: str | None, limits: DatasetLimits
) -> dict[str, Dataset] | None:
    """Media in a folder for each class, beside tables that say nothing of rows, such as the names of the classes."""
    split = next(iter(splits.values()))
    if label_candidates(split.features):
        return None
    try:
        ModalityColumns.guess(split.features, rows=split)
    except ValueError:
        kind, files, _ = look_into(path, dataset_config, with_tables=False, limits=limits)
        classes = read_media(files) if kind == "media" else {}
        return classes if all("label" in part.features for part in classes.values()) else None
    return None


def say_unnamed(media: Iterable[str], splits: Mapping[str, Dataset | IterableDataset]) -> None:
    """Which media on this machine, beside tables, are in no row. The rows of a stream are not known."""
    is_here = not any("://" in name for name in media)
    if media and is_here and all(isinstance(split, Dataset) for split in splits.values()):
        cells = [column for split in splits.values() for column in split.data.columns]
        is_named = {os.path.normpath(path) for column in cells for path in paths_in(column)}
        say_left_out([name for name in media if os.path.abspath(name) not in is_named], "no table names them")


def media_columns(split: Dataset) -> list[str]:
    return [name for name, kind in split.features.items() if isinstance(kind, tuple(MEDIA.values()))]


def read_media(files: Files) -> dict[str, Dataset]:
    """Files alone; where they lie in several folders at one depth, these are their classes."""
    names = list(chain.from_iterable(files.values()))
    medium = medium_of(names)
    classes = sorted({os.path.basename(os.path.dirname(name)) for name in names})
    depths = {name.count("/") for name in names}
    features = Features({medium: MEDIA[medium]()})
    if len(classes) > 1 and len(depths) == 1:
        features["label"] = ClassLabel(names=classes)
    elif len(classes) > 1:
        least, most = min(names, key=lambda name: name.count("/")), max(names, key=lambda name: name.count("/"))
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


# ---- archives ----------------------------------------------------------------------------------------------------


def read_archives(files: Files, streaming: bool, limits: DatasetLimits) -> dict[str, Dataset | IterableDataset]:
    features = webdataset_features(str(next(iter(files.values()))[0]), limits)
    splits = {}
    for split, names in files.items():
        builder = builder_of(ArchiveBuilder, split, names, features=features, limits=limits)
        splits[split] = with_json_fields(built_split(builder, split, streaming))
    return splits


def with_json_fields(split: Dataset | IterableDataset):
    """Columns `json.caption`, `json.label`, ... in place of one column of dictionaries."""
    if not isinstance(split.features.get("json"), dict):
        return split
    if isinstance(split, Dataset):
        return split.flatten()
    split = undecoded_stream(split)
    fields = {f"json.{name}": kind for name, kind in split.features["json"].items()}
    features = Features({name: kind for name, kind in split.features.items() if name != "json"} | fields)
    missing = dict.fromkeys(fields)
    return split.map(
        lambda row: missing | {f"json.{name}": value for name, value in (row or {}).items()},
        input_columns="json",
        remove_columns="json",
        features=features,
    )


# ---- the same data in every form ---------------------------------------------------------------------------------


def with_columns(
    split: Dataset, columns: Mapping[str, pa.Array | pa.ChunkedArray], features: Features | None = None
) -> Dataset:
    """The split with these columns in place of its own of the same names, or beside them."""
    kinds = Features({**split.features, **(features or {})})
    order = list(dict.fromkeys((*split.column_names, *columns)))
    if len(split) == 0:  # which `concatenate_datasets` would drop
        return Dataset(Features({name: kinds[name] for name in order}).arrow_schema.empty_table(), split=split.split)
    schema = Features({name: kinds[name] for name in columns}).arrow_schema
    new = Dataset(pa.table([columns[name].cast(schema.field(name).type) for name in columns], schema=schema))
    kept = split.remove_columns([name for name in columns if name in split.column_names])
    if not kept.column_names:
        return new
    return datasets.concatenate_datasets([kept, new], split=split.split, axis=1).select_columns(order)


def without_blank_cells(split: Dataset) -> Dataset:
    """Strings of white space alone are empty cells, wherever they come from."""
    changed = {}
    for name, kind in split.features.items():
        if isinstance(kind, Value) and kind.dtype in ("string", "large_string"):
            cells = split.select_columns(name).with_format("arrow")[:][name]
            if (cleaned := without_blanks(cells)) is not cells:
                changed[name] = cleaned
    return with_columns(split, changed) if changed else split


def with_types_of_training(train: str, splits: dict[str, Dataset | IterableDataset]) -> dict:
    """All splits with the columns and types of the training split."""
    if not isinstance(splits.get(train), Dataset):
        return splits
    features = splits[train].features
    return {name: split if name == train else with_types(features, split, name) for name, split in splits.items()}


def with_types(features: Features, split: Dataset, name: str) -> Dataset:
    """A split with the columns of the training split, each of its type there.

    Class labels and media keep theirs: what they mean does not lie in how they are stored.

    Raises:
        ValueError: a cell cannot become one of that type.
    """
    columns = {}
    for column, kind in features.items():
        found = split.features.get(column)
        if found == kind or kind == Value("null"):
            continue
        stored = Features({column: kind}).arrow_schema.field(column).type
        if found is None:
            logger.warning(f"Split '{name}' has no column '{column}': it is empty there.")
        if found is None or found == Value("null"):
            columns[column] = pa.nulls(len(split), stored)
        elif is_plain_type(kind) and is_plain_type(found):
            try:
                columns[column] = cast_cells(split.select_columns(column).with_format("arrow")[:][column], stored)
            except pa.ArrowException as error:
                raise ValueError(
                    f"Column '{column}' of split '{name}' holds {name_of_type(found)} that cannot become "
                    f"{name_of_type(kind)}, its type in the training split: {error}. Write it alike in both."
                ) from error
    return with_columns(split, columns, features) if columns else split


def is_plain_type(kind) -> bool:
    if isinstance(kind, datasets.List | datasets.LargeList):
        return is_plain_type(kind.feature)
    return isinstance(kind, Value)


def name_of_type(kind) -> str:
    return kind.dtype if isinstance(kind, Value) else f"lists of {name_of_type(kind.feature)}"


# ---- a column that says the split --------------------------------------------------------------------------------


def split_by_column(splits: dict, column: str | None, path: str) -> dict:
    """One table, cut by what its column `split`, `mode`, ... says of each row; others stay as they are.

    Raises:
        ValueError: there is no column of the name given, the dataset has splits already, or a column of splits holds
            words that name none.
    """
    if column == LEFT_OUT or (column is None and len(splits) != 1):
        return splits
    if len(splits) != 1:
        raise ValueError(f"Dataset '{path}' has the splits {sorted(splits)}: --split_column is for a single table.")
    (split,) = splits.values()
    split = with_features(split) if isinstance(split, IterableDataset) else split
    if column is not None:
        if column not in split.features:
            raise ValueError(f"There is no column '{column}' to split by; there are {', '.join(split.features)}.")
        values = [split_named(value) for value in values_of(split, column)]
        return select_by(split, values, f"column '{column}'", column)
    for name in filter(SPLIT_COLUMN.fullmatch, split.features):
        values = [split_named(value) for value in values_of(split, name)]
        known = set(values) & set(SPLIT_WORDS)
        if "train" not in known or len(known) == 1:
            continue
        if unknown := set(values) - known - {None}:
            raise ValueError(
                f"Column '{name}' of '{path}' says {listed_words(known)} of some rows, and {listed_words(unknown)} of others, which "
                f"name no split. Rename these, or empty the cells to leave their rows out; --split_column {name} takes "
                "each word for a split of its own, and --split_column none keeps all rows together."
            )
        return select_by(split, values, f"column '{name}'", name)
    return splits


def listed_words(words: set[str]) -> str:
    return ", ".join(map(repr, sorted(words)[:10])) + (", ..." if len(words) > 10 else "")


def values_of(split: Dataset | IterableDataset, column: str) -> list:
    kind, rows = split.features[column], split.select_columns(column)
    values = rows[column][:] if isinstance(rows, Dataset) else [row[column] for row in rows]
    return [kind.int2str(value) if isinstance(kind, ClassLabel) and value is not None else value for value in values]


def split_named(value) -> str | None:
    return None if value is None or not str(value).strip() else split_of_word(str(value)) or str(value).strip()


def select_by(
    split: Dataset | IterableDataset, names: list[str | None], reason: str, column: str | None = None
) -> dict[str, Dataset | IterableDataset]:
    """The rows of each name, without the column that said so, and a word on how many there are."""
    counts = Counter(names)
    lost = f"; {counts.pop(None)} rows are left out, for which it says nothing" if None in counts else ""
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    hint = " (--split_column none keeps them together)" if column else ""
    logger.warning(f"The rows are split by {reason}: {told}{lost}{hint}.")
    return {name: rows_of(split, names, name, column) for name in counts}


def rows_of(split: Dataset | IterableDataset, names: list[str | None], name: str, column: str | None):
    if isinstance(split, Dataset):
        chosen = split.select([row for row, found in enumerate(names) if found == name])
        return chosen.remove_columns(column) if column else chosen
    kept = {k: kind for k, kind in split.features.items() if k != column}
    chosen = undecoded_stream(split).filter(lambda value: split_named(value) == name, input_columns=column)
    return chosen.remove_columns(column).cast(Features(kept))


# ---- the state of files ------------------------------------------------------------------------------------------


def fingerprint_of_files(dataset: Dataset) -> str:
    """A hash of the rows and of the state of every file that they name: path, size and time of change; not of URLs."""
    hasher = Hasher()
    hasher.update(dataset._fingerprint)
    for cells in dataset.data.columns:
        for path in dict.fromkeys(paths_in(cells)):
            hasher.update(f"{path}|{state_of_file(path)}")
    return hasher.hexdigest()


def paths_in(cells: pa.ChunkedArray) -> Iterator[str]:
    """The files on this machine that cells name: strings that are whole paths, media without their bytes, lists of these."""
    for chunk in cells.chunks:
        yield from paths_in_chunk(chunk)


def paths_in_chunk(cells: pa.Array) -> Iterator[str]:
    kind = cells.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from paths_in_chunk(cells.flatten())
    elif pa.types.is_struct(kind) and {"bytes", "path"} <= {field.name for field in kind}:
        paths = cells.field("path").filter(pc.is_null(cells.field("bytes")))
        yield from (path for path in paths.to_pylist() if path and "://" not in path)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield from cells.filter(pc.match_substring_regex(cells, r"^(/|[A-Za-z]:[\\/]).*\S$")).to_pylist()


def state_of_file(path: str) -> str:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return "missing"
    return f"{status.st_size}|{status.st_mtime_ns}"
