# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Where the files lie that a dataset names: below its own folder, unless a person allows more.

A table may be anybody's, and a path in it may lead anywhere. `AllowedPaths.of` knows the folder of a dataset from its
name, and `AllowedPaths.check` looks at every path of the columns that are read as media before the first of these is
opened.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from huggingface_hub import constants

from mixture_of_transformers.data.dataset_limits import DEFAULT_LIMITS, DatasetLimits

ANY_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
WEB_ADDRESS = re.compile(r"(https?|hf)://", re.IGNORECASE)
NO_URLS = "is an address, which a dataset of somebody else may not name: pass --allow_urls where you trust it"
NO_ADDRESS = "is an address of a kind that is not read: download the file, and name it by its path below the dataset"


@dataclass(frozen=True)
class AllowedPaths:
    """The folders that the files of a dataset may lie in, the address of one of the Hub, and what is allowed besides.

    Symbolic links in a folder are followed: whoever made the folder made them.
    """

    roots: tuple[str, ...]
    address: str = ""
    allow_outside_paths: bool = False
    allow_urls: bool = True

    @classmethod
    def of(cls, dataset_name: str, limits: DatasetLimits = DEFAULT_LIMITS) -> "AllowedPaths":
        """What a folder, a file or a dataset of the Hub may name."""
        path = os.path.expanduser(dataset_name)
        unpacked = datasets.config.HF_DATASETS_CACHE
        if not os.path.exists(path):
            roots, address = (constants.HF_HUB_CACHE, unpacked), f"hf://datasets/{dataset_name}"
            return cls(tuple(map(str, roots)), address, limits.allow_outside_paths, limits.allow_urls)
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        return cls((os.path.abspath(folder), str(unpacked)), "", limits.allow_outside_paths)

    @property
    def follow_urls(self) -> bool | str:
        """How `decoding_mot` follows the URLs of these rows: those of other people to public addresses alone."""
        if not self.address:
            return True
        return "public" if self.allow_urls else False

    def objection(self, path: str) -> str | None:
        """Why a path may not be read; None where it may."""
        if path.startswith("zip://"):  # The path of a file in an archive is judged by that of the archive.
            path = path.rpartition("::")[2]
        if path[:5].lower() == "data:":
            return None
        if self.address and re.match(re.escape(self.address) + r"[@/]", path) and ".." not in path.split("/"):
            return None
        if WEB_ADDRESS.match(path):
            return None if self.allow_urls else NO_URLS
        if ANY_ADDRESS.match(path):
            return NO_ADDRESS
        if self.allow_outside_paths or any(is_inside(path, root) for root in self.roots):
            return None
        if not os.path.isabs(path) and not os.path.lexists(path):  # A missing file is a bad row, no error.
            return None
        return (
            f"does not lie in {self.roots[0]}: move the file there, or pass --allow_outside_paths where you trust the "
            "table"
        )

    def check_cell(self, path: str, row: int, column: str, split_name: str) -> None:
        """
        Raises:
            ValueError: the path may not be read; row, column and what would allow it are named.
        """
        if objection := self.objection(path):
            raise ValueError(
                f"Row {row} of split '{split_name}', column '{column}', names {path[:300]!r}, which {objection}."
            )

    def check(self, split: Dataset, columns: Iterable[str], split_name: str) -> None:
        """Every path of these columns, in the order of the rows; raises as `check_cell` does."""
        for column in dict.fromkeys(columns):
            cells, rows = files_of(split.select_columns(column).with_format("arrow")[:][column])
            paths = paths_of(cells)
            wrong = {path for path in pc.unique(paths).to_pylist() if path and path.strip() and self.objection(path)}
            if wrong:
                place, path = next((place, path) for place, path in enumerate(paths.to_pylist()) if path in wrong)
                self.check_cell(path, rows[place], column, split_name)


def is_inside(path: str, root: str) -> bool:
    if "\0" in path:
        return True  # No file has such a name, so its row is a bad one.
    if ".." not in PurePath(path).parts and lies_in(os.path.abspath(path), os.path.abspath(root)):
        return True
    return lies_in(os.path.realpath(path), os.path.realpath(root))


def lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def files_of(cells: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Sequence[int]]:
    """The cells of a column, where rows hold lists of files each of these, and the row of each."""
    if not (pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type)):
        return cells, range(len(cells))
    lists = pa.concat_arrays(cells.chunks) if cells.num_chunks else pa.array([], cells.type)
    return pa.chunked_array([pc.list_flatten(lists)]), pc.list_parent_indices(lists).to_pylist()


def paths_of(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """The paths that cells of a medium are read from: strings, or those of files whose bytes are not there."""
    kind = cells.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return cells
    if pa.types.is_struct(kind) and {"bytes", "path"} <= {field.name for field in kind}:
        has_bytes = pc.is_valid(pc.struct_field(cells, "bytes"))
        return pc.if_else(has_bytes, pa.scalar(None, pa.string()), pc.struct_field(cells, "path").cast(pa.string()))
    return pa.chunked_array([pa.nulls(len(cells), pa.string())])


def path_of_cell(cell) -> str | None:
    """The path that a cell of a row is read from."""
    if isinstance(cell, dict) and "array" not in cell and cell.get("bytes") is None:
        cell = cell.get("path")
    return cell if isinstance(cell, str) and cell.strip() else None
