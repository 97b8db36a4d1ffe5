# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which files of a folder are its data, of what kind they are, and to which split each belongs.

A folder is tables (with or without the media that they list), archives of WebDataset, media with a `metadata` table,
or media in a folder for each class. Names alone decide, so the same rules hold for a folder on this disk and on the
Hub; all characters of names are plain ones. What is left out is said.
"""

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import NamedTuple

import fsspec
from datasets.data_files import resolve_pattern, sanitize_patterns
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard
from transformers.utils import logging

from mixture_of_transformers.data.allowed_paths import AllowedPaths
from mixture_of_transformers.data.dataset_limits import DEFAULT_LIMITS, DatasetLimits
from mixture_of_transformers.data.media_suffixes import medium_of
from mixture_of_transformers.data.split_names import order_of_split, split_of_name
from mixture_of_transformers.data.tables import TEXT_TABLE_SUFFIXES, is_table_of_rows
from mixture_of_transformers.data.text_files import table_suffix

logger = logging.get_logger(__name__)

Files = dict[str, list[str]]  # the files of each split
SHARD_NAME = re.compile(r"data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}.*\.[^/]*$")
# The forms of tables. Where several of them stand side by side, the first is read.
TABLE_SUFFIXES = (".parquet", *TEXT_TABLE_SUFFIXES)
DESCRIPTION_FILES = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"}
MAX_FOLDERS = 200_000
NO_ADDRESS = "is an address: download the file, and list it by its path in the folder"
# What the card's `configs:` may say. How a table is written is found out from the table.
CONFIG_FIELDS = {"data_files", "data_dir", "default", "description", "version", "sep", "delimiter", "encoding"}


class Folder(NamedTuple):
    """The kind of a folder's data ("tables", "archives", "metadata", "media", or None for another), their files, and
    the media beside tables."""

    kind: str | None
    files: Files
    media: tuple[str, ...] = ()


def is_litter(name: str) -> bool:
    """Whether a path of a folder or an archive is a hidden file, or one of those that macOS adds."""
    *folders, file = (part for part in PurePath(name).parts if part not in (".", ".."))
    return file.startswith(".") or any(part.startswith((".", "__")) for part in folders)


def look_into(
    root: str, dataset_config: str | None = None, with_tables: bool = True, limits: DatasetLimits = DEFAULT_LIMITS
) -> Folder:
    """What a folder holds, here or at an address such as `hf://datasets/user/name`; without its tables, its media.

    Raises:
        ValueError: its card has no such configuration, asks for what is not supported, or lists files that `limits`
            do not allow.
    """
    configured = None if "://" in root else configured_files(root, dataset_config, limits)
    if configured is None and dataset_config is not None:
        raise ValueError(f"'{root}' has no configuration '{dataset_config}': its README.md lists none.")
    names = list_files(root) if configured is None else sorted(name for part in configured.values() for name in part)

    def chosen(kind: str | None, data: list[str]) -> Folder:
        if configured is None:
            return Folder(kind, by_split(root, data))
        return Folder(
            kind, {split: [name for name in part if name in set(data)] for split, part in configured.items()}
        )

    metadata = [name for name in names if PurePath(name).stem == "metadata" and table_suffix(name) in TABLE_SUFFIXES]
    archives = [name for name in names if name.lower().endswith(".tar")]
    media = [name for name in names if medium_of([name])]
    zipped = any(name.lower().endswith(".zip") for name in names)  # Only `datasets` looks into these.
    if metadata and (media or zipped):
        return of_one_form(chosen("metadata", metadata), media) if media else Folder(None, {})
    tables = data_tables(root, names, beside_media=bool(media)) if with_tables else []
    if tables and (not archives or are_data_beside_archives(tables, archives)):
        return of_one_form(chosen("tables", tables), media)
    if archives:
        return chosen("archives", archives)
    if media and not zipped:
        medium = medium_of(media)
        of_medium = [name for name in media if medium_of([name]) == medium]
        say_left_out(set(media) - set(of_medium), f"most files of the folder are of another medium, {medium}")
        return chosen("media", of_medium)
    return Folder(None, {})


def list_files(root: str) -> list[str]:
    """All files of a folder and its subfolders but hidden ones, sorted."""
    if "://" in root:
        system, path = fsspec.url_to_fs(root)
        found = [root + name.removeprefix(path) for name in system.find(path)]
    else:
        found = list(walk_files(root))
    return sorted(name for name in found if not is_litter(path_within(root, name)))


def walk_files(root: str) -> Iterator[str]:
    """The files of a folder; links are followed, but none back to a folder that it lies in."""
    above = {root: (os.path.realpath(root),)}  # folder -> the real paths of itself and of those it was reached through
    for number, (folder, folders, names) in enumerate(os.walk(root, followlinks=True)):
        if number > MAX_FOLDERS:
            raise ValueError(f"'{root}' holds more than {MAX_FOLDERS:,} folders, counting those that links lead to.")
        way, whole = above.pop(folder), {name: os.path.join(folder, name) for name in folders}
        real = {name: os.path.realpath(path) for name, path in whole.items()}
        folders[:] = [name for name in folders if real[name] not in way]
        above |= {whole[name]: (*way, real[name]) for name in folders}
        yield from (os.path.join(folder, name) for name in names)


def path_within(root: str, name: str) -> str:
    """The path of a file relative to a folder, with slashes."""
    return name.removeprefix(root).replace(os.sep, "/").lstrip("/")


def by_split(root: str, names: list[str]) -> Files:
    """
    The files of each split, told by shards called `data/SPLIT-00000-of-00001`, by folders, or by names; all are of
    `train` where nothing says.
    """
    within = {name: path_within(root, name) for name in names}
    rules = (
        lambda path: (found := SHARD_NAME.match(path)) and found[1],
        lambda path: next(filter(None, map(split_of_name, PurePath(path).parts[:-1])), None),
        lambda path: split_of_name(PurePath(path).name),
    )
    for rule in rules:
        files = defaultdict(list)
        for name, path in within.items():
            files[rule(path) or ""].append(name)
        if set(files) != {""} and files:
            say_left_out(files.pop("", []), "other files name the split that they belong to")
            return {split: files[split] for split in sorted(files, key=order_of_split)}
    return {"train": names}


def data_tables(root: str, names: list[str], beside_media: bool) -> list[str]:
    tables = [
        name for name in names if table_suffix(name) in TABLE_SUFFIXES and PurePath(name).name not in DESCRIPTION_FILES
    ]
    if not beside_media:
        return tables
    # The media may have tables of their own, such as the words of each sound, and a file of settings is no table.
    outer = [name for name in tables if path_within(root, name).removeprefix("data/").count("/") == 0]
    others = [name for name in outer or tables if table_suffix(name) != ".json"]
    return others or [name for name in outer or tables if "://" not in name and is_table_of_rows(name)]


def are_data_beside_archives(tables: list[str], archives: list[str]) -> bool:
    """
    Whether tables name a split, while not each of them describes an archive (`train-0000.tar`, `train-0000.json`).
    """
    stems = tuple(PurePath(name).stem for name in archives)
    own = [PurePath(name).name for name in tables if not PurePath(name).name.startswith(stems)]
    return any(split_of_name(name) for name in own if table_suffix(name) != ".json")


def of_one_form(folder: Folder, media: list[str]) -> Folder:
    """A folder with one form of table for each split, where a table may lie there in several forms."""
    files = {}
    for split, names in folder.files.items():
        best = min((table_suffix(name) for name in names), key=TABLE_SUFFIXES.index)
        files[split] = [name for name in names if table_suffix(name) == best]
        say_left_out(set(names) - set(files[split]), f"'{split}' is read from its {best} files")
    return Folder(folder.kind, files, tuple(media))


def say_left_out(names: Iterable[str], reason: str) -> None:
    """Warn of files that are not read: how many, which, and why. Without such files nothing is said."""
    if names := sorted(names):
        shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
        logger.warning(f"Left out ({len(names)}), since {reason}: {shown}")


def configured_files(root: str, dataset_config: str | None, limits: DatasetLimits) -> Files | None:
    """
    The files that the `configs:` of a README.md list for each split; None where there are no `configs:`.

    Raises:
        ValueError: the configuration is not there or not supported, or lists files that are not allowed.
    """
    card = os.path.join(root, "README.md")
    configs = MetadataConfigs.from_dataset_card_data(DatasetCard.load(card).data) if os.path.isfile(card) else {}
    if not configs:
        return None
    name = dataset_config or configs.get_default_config_name()
    if name not in configs:
        asked = f"no configuration '{name}'" if name else "several configurations"
        raise ValueError(f"'{root}' has {asked}: name one of {sorted(configs)} with --dataset_config.")
    if unknown := set(configs[name]) - CONFIG_FIELDS:
        raise ValueError(
            f"README.md of '{root}' sets {sorted(unknown)} for '{name}', which is not supported for a local folder: "
            "take it out, and let the first row of each table name its columns."
        )
    base = os.path.join(root, configs[name].get("data_dir") or "")
    check_listed([base], root, limits)
    if "data_files" not in configs[name]:
        return by_split(base, list_files(base))
    patterns = sanitize_patterns(configs[name]["data_files"])
    check_listed((os.path.join(base, pattern) for several in patterns.values() for pattern in several), root, limits)
    files = {
        split: sorted({file for pattern in several for file in resolve_pattern(pattern, glob.escape(base))})
        for split, several in patterns.items()
    }
    check_listed((file for part in files.values() for file in part), root, limits)
    return files


def check_listed(files: Iterable[str], root: str, limits: DatasetLimits) -> None:
    """
    Whether what a README.md lists lies in its folder: it may have come with the data from anywhere.

    Raises:
        ValueError: it does not.
    """
    allowed_paths = AllowedPaths.of(root, limits)
    for file in files:
        objection = NO_ADDRESS if "://" in file else allowed_paths.objection(file)
        if objection:
            raise ValueError(f"README.md of '{root}' lists {file!r} among its data, which {objection}.")
