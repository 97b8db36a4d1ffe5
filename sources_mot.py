# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Where datasets come from: the Hub, folders and files of the usual formats, read whole or as a stream, as three splits.

`load_splits` finds out what a name or path holds and hands it to `datasets`; what comes back has the dataset's own
columns and is on its way to `data_mot.ModalityColumns.guess`. No media are decoded here, and none needs torchcodec.
"""

import hashlib
import os
import re
import tarfile
from collections import defaultdict
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import datasets
import fsspec
import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, IterableDataset, Value, Video
from datasets.data_files import get_data_patterns
from datasets.packaged_modules.folder_based_builder.folder_based_builder import FolderBasedBuilder
from datasets.packaged_modules.webdataset.webdataset import WebDataset
from huggingface_hub import snapshot_download
from transformers.utils import logging

from .data_mot import label_candidates, stored_file, undecoded_stream
from .mmsa_mot import read_mmsa

logger = logging.get_logger(__name__)

_BUILDER_OF_SUFFIX = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".tar": "webdataset"}
_PICKLES = (".pkl", ".pickle")
_TABLES = (".parquet", ".csv", ".json", ".jsonl")
_VALIDATION_NAMES = ("validation", "valid", "val", "dev", "eval")
_METADATA = ("metadata.jsonl", "metadata.csv")
_PLAIN_KINDS = ("txt", "text", "transcript", "cls", "cls2", "index", "inx", "id", "json", "jsn")
_ROWS_FOR_TYPES = 100  # of a stream or an archive that does not say what its columns are


def load_splits(
    dataset_name: str,
    dataset_config: str | None = None,
    seed: int = 0,
    label_column: str | None = None,
    revision: str | None = None,
    split_names: Mapping[str, str | None] | None = None,
    streaming: bool = False,
    max_eval_rows: int = 2000,
) -> DatasetDict | dict[str, Dataset | IterableDataset]:
    """Load a dataset as exactly three splits: `train`, `validation` and `test`.

    Without a validation split, a tenth of the training rows becomes one (stratified when the label is a ClassLabel).
    Without a test split, the validation split stands for it, with a warning.

    Args:
        dataset_name: an id on the Hub; a folder of parquet, JSON, CSV or WebDataset files, an image folder, files
            listed in `metadata.jsonl` as `image_file_name`, `audio_file_name`, ..., or what `save_to_disk` wrote; or
            one such file, or a pickle of MMSA. Paths in a table are relative to the table.
        dataset_config: the configuration, where the dataset has several.
        seed: decides which rows are cut from train.
        label_column: the column to stratify by; by default the one `ModalityColumns.guess` would take.
        revision: a branch, tag or commit of a dataset on the Hub.
        split_names: what the dataset calls its splits, such as `{"train": "train_clean", "test": "test_other"}`,
            where that is not train, validation (valid, val, dev, eval) and test.
        streaming: give `train` as an `IterableDataset`, which is read as it is trained on and never kept. It needs a
            validation split of the dataset's own.
        max_eval_rows: of a stream, validation and test are read into memory up to so many rows, the first ones.

    Raises:
        ValueError: there is no `train` split, or none of the name given.
    """
    splits = _read_splits(os.path.expanduser(dataset_name), dataset_config, revision, streaming)
    splits = _with_usual_names(splits, split_names or {}, dataset_name)
    if streaming:
        return _stream_splits(splits, dataset_name, max_eval_rows)
    train, validation, test = (splits.get(name) for name in ("train", "validation", "test"))
    if validation is None:
        train, validation = _cut_validation(train, seed, label_column)
    if test is None:
        test = validation
        logger.warning(f"Dataset '{dataset_name}' has no 'test' split: its validation split stands for it.")
    return DatasetDict(train=train, validation=validation, test=test)


def load_split(
    dataset_name: str, split: str = "train", dataset_config: str | None = None, revision: str | None = None
) -> Dataset:
    """One split of a dataset, with all its rows in their order.

    Raises:
        ValueError: there is no such split.
    """
    splits = _read_splits(os.path.expanduser(dataset_name), dataset_config, revision, streaming=False)
    if split not in splits:
        raise ValueError(f"Dataset '{dataset_name}' has no split '{split}'; it has {', '.join(sorted(splits))}.")
    return splits[split]


def _with_usual_names(splits: Mapping, names: Mapping[str, str | None], dataset_name: str) -> dict:
    """The splits that are called, or are said to be called, train, validation and test."""
    usual = {"train": ("train",), "validation": _VALIDATION_NAMES, "test": ("test",)}
    renamed = {}
    for role, candidates in usual.items():
        wanted = names.get(role)
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


def _stream_splits(splits: dict, dataset_name: str, max_eval_rows: int) -> dict[str, Dataset | IterableDataset]:
    if "validation" not in splits:
        raise ValueError(
            f"Dataset '{dataset_name}' has no validation split, and a tenth of a stream cannot be drawn at random. Name "
            f"a split to validate on with --validation_split (there is {sorted(splits)}), or read it without --streaming."
        )
    held_out = {name: _first_rows(splits[name], max_eval_rows, name) for name in splits if name != "train"}
    if "test" not in held_out:
        held_out["test"] = held_out["validation"]
        logger.warning(f"Dataset '{dataset_name}' has no 'test' split: its validation split stands for it.")
    return {"train": with_features(splits["train"]), **held_out}


def _first_rows(stream: IterableDataset, limit: int, name: str) -> Dataset:
    stream = with_features(stream)
    undecoded = undecoded_stream(stream)
    media = [column for column, kind in undecoded.features.items() if isinstance(kind, Image)]
    rows = [row | {column: stored_file(row[column]) for column in media} for row in islice(undecoded, limit + 1)]
    if len(rows) > limit:
        logger.warning(f"Split '{name}' has more rows: the first {limit} of its stream stand for it.")
    return Dataset(pa.Table.from_pylist(rows[:limit], schema=stream.features.arrow_schema))


def with_features(stream: IterableDataset) -> IterableDataset:
    """A stream that knows the types of its columns, from its first rows if nothing else says them."""
    if stream.features is not None:
        return stream
    first = pa.Table.from_pylist(list(stream.take(_ROWS_FOR_TYPES)))
    return stream.cast(Features.from_arrow_schema(first.schema))


# ---- which format ------------------------------------------------------------------------------------------------


def _read_splits(path: str, dataset_config: str | None, revision: str | None, streaming: bool) -> Mapping:
    if local := _read_local(path):
        return {name: split.to_iterable_dataset() for name, split in local.items()} if streaming else local
    if not os.path.exists(path):
        path = _folder_of_files(path, dataset_config, revision, streaming)
    arguments = _loading_arguments(path, dataset_config, revision)
    splits = datasets.load_dataset(**arguments, streaming=streaming)
    if os.path.exists(path) and arguments["path"] in ("json", "csv", "parquet", path):
        folders = [path if os.path.isdir(path) else os.path.dirname(path)]
        folders += [os.path.join(folders[0], "data")]
        splits = {name: _with_whole_paths(split, folders) for name, split in splits.items()}
    if "features" in arguments:  # of a WebDataset
        splits = {name: _with_json_fields(split) for name, split in splits.items()}
    if arguments["path"] == "imagefolder":
        splits = {name: _with_named_medium(split) for name, split in splits.items()}
    return splits


def _folder_of_files(name: str, dataset_config: str | None, revision: str | None, streaming: bool) -> str:
    """Where the Hub's dataset is a folder of pictures, sounds or videos: a copy of the folder, or its address to stream
    from; else the name. `datasets` would type, and download, all files as the medium that most of them are."""
    builder = datasets.load_dataset_builder(name, dataset_config, revision=revision)
    if not isinstance(builder, FolderBasedBuilder):
        return name
    if streaming:
        return f"hf://datasets/{name}" + (f"@{revision}" if revision else "")
    return snapshot_download(name, repo_type="dataset", revision=revision)


def _read_local(path: str) -> DatasetDict | None:
    """What `datasets.load_dataset` does not read: pickles, and what `save_to_disk` wrote."""
    if os.path.isfile(path) and Path(path).suffix.lower() in _PICKLES:
        return read_mmsa(path)
    if any(os.path.isfile(os.path.join(path, name)) for name in ("dataset_dict.json", "state.json")):
        saved = datasets.load_from_disk(path)
        return saved if isinstance(saved, DatasetDict) else DatasetDict(train=saved)
    return None


def _loading_arguments(path: str, dataset_config: str | None, revision: str | None) -> dict:
    """What `datasets.load_dataset` needs to be told about a file, a folder or an id on the Hub."""
    if os.path.isfile(path):
        suffix = Path(path).suffix.lower()
        if suffix not in _BUILDER_OF_SUFFIX:
            known = sorted((*_BUILDER_OF_SUFFIX, *_PICKLES))
            raise ValueError(f"Cannot load '{path}': a file must end in one of {known}.")
        arguments = {"path": _BUILDER_OF_SUFFIX[suffix], "data_files": path}
    elif path.startswith("hf://"):
        patterns = {split: [f"{path}/{p}" for p in found] for split, found in get_data_patterns(path).items()}
        return {"path": "imagefolder", "data_files": patterns}
    elif not os.path.isdir(path):
        arguments = {"path": path, "name": dataset_config, "revision": revision}
    elif _has_metadata(path):
        # `datasets` would take the folder for an audio folder as soon as it has as many sounds as pictures, and its
        # Audio type then asks for torchcodec; as an image folder it needs nothing, and the column names say the rest.
        return {"path": "imagefolder", "data_dir": path}
    elif tables := _tables_beside_media(path):
        return tables
    else:
        arguments = {"path": path, "name": dataset_config, "cache_dir": _cache_of_folder(path)}
    if arguments["path"] in (path, "webdataset"):
        builder = datasets.load_dataset_builder(**arguments)
        if isinstance(builder, WebDataset):
            shards = next(iter(builder.config.data_files.values()))
            arguments["features"] = webdataset_features(str(shards[0]))
    return arguments


def _has_metadata(path: str) -> bool:
    """Whether a folder's metadata has a column `file_name`, or such as `image_file_name` and `audio_file_name`."""
    for name in _METADATA:
        for metadata in Path(path).rglob(name):
            with open(metadata, encoding="utf-8") as lines:
                return "file_name" in lines.readline()
    return False


def _tables_beside_media(path: str) -> dict | None:
    """Tables of a folder that also holds the files they list, by which `datasets` would judge the folder."""
    files = [file for folder in (path, os.path.join(path, "data")) for file in sorted(Path(folder).glob("*.*"))]
    tables = [file for file in files if file.suffix in _TABLES and file.name != "dataset_infos.json"]
    suffixes = {file.suffix for file in Path(path).rglob("*") if file.is_file()} - {"", ".md", ".txt"}
    if not tables or suffixes <= set(_TABLES):
        return None
    data_files = defaultdict(list)
    for table in tables:
        words = re.split(r"[-._ 0-9]+", table.stem)
        split = next((word for word in words if word in ("train", "test", *_VALIDATION_NAMES)), "train")
        data_files[split].append(str(table))
    return {"path": _BUILDER_OF_SUFFIX[tables[0].suffix], "data_files": dict(data_files)}


def _cache_of_folder(path: str) -> str | None:
    """A cache for this state of a local folder, where datasets would not notice a change of its files.

    A README.md with a `configs:` list makes `load_dataset` key its cache by the patterns in that list and not by the
    files they match, and `download_mode="force_redownload"` then fails on the sizes that it remembers.
    """
    if not any(os.path.isfile(os.path.join(path, name)) for name in ("README.md", ".huggingface.yaml")):
        return None
    state = hashlib.sha256(os.path.abspath(path).encode())
    for file in sorted(file for file in Path(path).rglob("*") if file.is_file()):
        status = file.stat()
        state.update(f"{file.relative_to(path)}|{status.st_size}|{status.st_mtime_ns}\n".encode())
    return os.path.join(datasets.config.HF_DATASETS_CACHE, "folders", state.hexdigest()[:16])


# ---- what `datasets` would get wrong -----------------------------------------------------------------------------


def webdataset_features(shard: str) -> Features:
    """The types of a WebDataset's columns, from the first rows of a shard: a column for each extension.

    The builder's own guess refuses rows that lack a file, and types sound as Audio, which asks for torchcodec to store
    it. Here rows may be uneven, and sound is its bytes.
    """
    cells = defaultdict(list)
    with fsspec.open(shard) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in islice((member for member in archive if member.isfile()), 4 * _ROWS_FOR_TYPES):
            name = os.path.basename(member.name).partition(".")[2]
            kind = name.rpartition(".")[2].lower()
            if name:
                decode = WebDataset.DECODERS[kind] if kind in _PLAIN_KINDS else bytes
                cells[name].append(decode(archive.extractfile(member).read()))
    features = Features()
    for name, values in cells.items():
        kind = name.rpartition(".")[2].lower()
        if kind in WebDataset.IMAGE_EXTENSIONS:
            features[name] = Image()
        elif kind in WebDataset.VIDEO_EXTENSIONS:
            features[name] = Video()
        else:
            features |= Features.from_arrow_schema(pa.schema({name: pa.array(values).type}))
    return features


def _with_json_fields(split: Dataset | IterableDataset):
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


def _with_whole_paths(split: Dataset | IterableDataset, folders: list[str]):
    """Paths that a table gives relative to its folder, from the root."""
    if isinstance(split, IterableDataset):
        split = with_features(split)
    strings = [name for name, kind in split.features.items() if kind in (Value("string"), Value("large_string"))]
    if not strings:
        return split
    first = list(islice(split.select_columns(strings), _ROWS_FOR_TYPES))
    for name in strings:
        cell = next((row[name] for row in first if row[name]), None)
        folder = next((f for f in folders if cell and os.path.isfile(os.path.join(f, cell))), None)
        if folder is not None and not os.path.isabs(cell):
            split = _with_folder(split, name, os.path.abspath(folder))
    return split


def _with_folder(split: Dataset | IterableDataset, name: str, folder: str):
    def join(path: str | None) -> str | None:
        return path and os.path.join(folder, path)

    if isinstance(split, IterableDataset):
        return split.map(lambda path: {name: join(path)}, input_columns=name, features=split.features)
    paths = [join(path) for path in split.with_format(None)[name]]
    return split.remove_columns(name).add_column(name, paths)


def _with_named_medium(split: Dataset | IterableDataset):
    """The column of `file_name`, which an image folder calls `image`, under the name of what its files hold."""
    if "audio" in split.features or "image" not in split.features:
        return split
    if isinstance(split, IterableDataset):
        split = undecoded_stream(split)
        cells = islice(split.select_columns("image"), _ROWS_FOR_TYPES)
    else:
        cells = split.select_columns("image").cast_column("image", Image(decode=False))
    paths = (row["image"]["path"] for row in cells if row["image"] is not None)
    suffix = Path(next(paths, "")).suffix.lower()
    for medium, kinds in (("audio", WebDataset.AUDIO_EXTENSIONS), ("video", WebDataset.VIDEO_EXTENSIONS)):
        if suffix.removeprefix(".") in kinds and medium not in split.features:
            return split.rename_column("image", medium)
    return split


# ---- what a dataset lacks ----------------------------------------------------------------------------------------


def _cut_validation(train: Dataset, seed: int, label_column: str | None) -> tuple[Dataset, Dataset]:
    if len(train) < 2:
        raise ValueError(
            f"Cannot cut a validation split from a training split of {len(train)} rows; give one of your own."
        )
    column = label_column or next(iter(label_candidates(train.features)), None)
    shuffled = np.random.default_rng(seed).permutation(len(train))
    if isinstance(train.features.get(column), ClassLabel):
        labels = np.array([-1 if label is None else label for label in train[column][:]])
        shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    # Every tenth row of a random order that goes class by class holds a tenth of each class.
    held_out = shuffled[1::10]
    kept = np.setdiff1d(shuffled, held_out)
    return train.select(kept), train.select(np.sort(held_out))
