# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Changes of the folder of an index, one after the other, of which each counts as a whole.

A change writes new shards beside the others, which are never written again, and then replaces `index.json` in one
step. Whoever reads, even while another process changes the index or after it was killed, has the state before or the
state after. A lock lets changes take turns, and each starts from what the folder says by then.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
from filelock import FileLock, Timeout
from transformers.utils import logging

from mixture_of_transformers.search.description import DESCRIPTION, listed_shards, read_description, write_description
from mixture_of_transformers.search.files import CACHE, check_inside
from mixture_of_transformers.search.shards import cache_of, shard_name, write_shard

logger = logging.get_logger(__name__)

LOCK = ".lock"
MERGING = "merging.partial"  # lies in a folder while indices are merged into it

# From the numbers of shards and the rows of each, to the number of one after the other and its rows, in parts.
Tables = Callable[[Mapping[int, range]], Iterator[tuple[int, Iterable[pa.Table]]]]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A lock under which one process at a time changes a folder, while the others wait for their turn."""
    check_inside(folder)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning(f"{folder} is being changed by another process: waiting until it is done.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def commit(folder: Path, description: dict) -> None:
    """Make a change count, and delete what nobody needs any more."""
    description["generation"] += 1
    write_description(folder, description)
    current = {folder / shard["file"] for shard in listed_shards(description)}
    current |= {cache_of(file) for file in current}
    for pattern in ("shard-*.parquet", "*.partial", "*.faiss*", f"{CACHE}/*.arrow", f"{CACHE}/*.partial"):
        for file in set(folder.glob(pattern)) - current:
            with suppress(OSError):  # Windows deletes no file that another process has open: it goes the next time.
                file.unlink()
    shutil.rmtree(folder / CACHE / "parquet", ignore_errors=True)  # An earlier version kept its copies there.


def append_rows(
    folder: Path, fingerprint: str, total: int, shard_rows: int, schema: pa.Schema, tables: Tables
) -> None:
    """
    Add rows to an index, all or none; those that a killed run embedded are taken over. The caller holds the lock.

    Args:
        fingerprint: of the rows, by which the same rows are known again.
        total: how many rows there are.
        shard_rows: how many rows a shard has, which is the most that a killed run loses.
        schema: of the tables.
        tables: is asked once for all shards that are not there, and gives them in whatever order they are done.
    """
    description = read_description(folder)
    pending = description.get("pending")
    if pending is None or pending["fingerprint"] != fingerprint:
        pending = {"fingerprint": fingerprint, "rows": total, "shards": []}
    description["pending"] = pending
    write_description(folder, description)
    starts, first = range(0, total, shard_rows), len(description["shards"])
    shards = {first + i: range(start, min(start + shard_rows, total)) for i, start in enumerate(starts)}
    done = {shard["file"]: shard for shard in pending["shards"]}
    missing = {number: rows for number, rows in shards.items() if shard_name(number) not in done}
    taken_over = total - sum(map(len, missing.values()))
    with logging.tqdm(total=total, initial=taken_over, desc="Embedding", unit="row") as progress:
        for number, parts in tables(missing):
            shard = done[shard_name(number)] = write_shard(folder, number, schema, parts)
            pending["shards"].append(shard)
            write_description(folder, description)
            progress.update(shard["rows"])
    del description["pending"]
    description["rows"] += total
    description["shards"] += [done[shard_name(number)] for number in shards]
    commit(folder, description)


@contextmanager
def merged_into(folder: Path) -> Iterator[None]:
    """
    A folder into which an index is written as one: until it is whole there is no index, and a killed run begins anew.

    Raises:
        ValueError: the folder holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        is_ours = (folder / MERGING).exists() and not (folder / DESCRIPTION).exists()
        if not is_ours and any(file.name not in (LOCK, MERGING) for file in folder.iterdir()):
            raise ValueError(f"{folder} is not empty: choose another output_dir.")
        (folder / MERGING).touch()
        for pattern in ("shard-*.parquet", "shard-*.partial", "index.partial"):
            for file in folder.glob(pattern):
                file.unlink()
        yield
        (folder / MERGING).unlink()
