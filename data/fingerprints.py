# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Fingerprints that notice a change: of rows, of the files that they name, and of the code that read them."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from datasets.fingerprint import Hasher


def fingerprint_of_files(dataset: Dataset) -> str:
    """A hash of the rows and of the state of every file that they name: path, size and time of change; not of URLs."""
    hasher = Hasher()
    hasher.update(dataset._fingerprint)
    for cells in dataset.data.columns:
        for path in dict.fromkeys(paths_in(cells)):
            hasher.update(f"{path}|{state_of_file(path)}")
    return hasher.hexdigest()


def paths_in(cells: pa.ChunkedArray) -> Iterator[str]:
    """
    The files on this machine that cells name: strings that are whole paths, media without their bytes, lists of these.
    """
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


def fingerprint_of_code(*modules: str) -> str:
    """A hash of modules of this folder, for a cache that holds nothing that another version of them read."""
    content = b"".join(Path(__file__).with_name(f"{module}.py").read_bytes() for module in modules)
    return hashlib.sha256(content).hexdigest()[:16]
