# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The folder of an index: parquet shards of rows with their embeddings, and `index.json`, which says which shards count.

A change writes new shards beside the others, which are never written again, and then replaces `index.json` in one step.
Whoever reads, even while another process changes the index or after it was killed, has the state before or the state
after. A lock lets changes take turns, and each starts from what the folder says by then. Reading takes no lock and needs
no right to write: `.cache`, the shards as they lie in memory, is made where it can be, and may be deleted at any time.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Audio, ClassLabel, Dataset, Features, Image, LargeList, List, Value, Video
from datasets.table import InMemoryTable, MemoryMappedTable, Table, concat_tables, embed_table_storage, table_cast
from filelock import FileLock, Timeout
from transformers.utils import logging

logger = logging.get_logger(__name__)

KINDS = ("text", "image", "audio", "fused")  # of embeddings; a video's is that of images
MEDIA = (Image, Audio, Video)
EMBEDDINGS = tuple(f"{kind}_embedding" for kind in KINDS)  # columns of the shards
COLUMN_KINDS = ("text", "image", "video", "audio")
DESCRIPTION, LOCK, CACHE = "index.json", ".lock", ".cache"
MERGING = "merging.partial"  # lies in a folder while indices are merged into it
FIELDS = {  # of index.json, whatever version wrote it
    "fingerprint": str,
    "weights": str,
    "rows": int,
    "columns": dict,
    "width": int,
    "model": str,
    "removed": list,
}
ROW_GROUP = 2**26  # bytes that are held before they are written
REMEDY = "Restore it from a copy, or delete the folder and build the index again"


# ---------------------------------------------------------------------------------------------------------------------
# index.json
# ---------------------------------------------------------------------------------------------------------------------


def read_description(folder: Path) -> dict[str, Any]:
    """
    What `index.json` holds: `generation`, which counts the changes; `shards`, the files in order with their rows and
    checksums; `rows`, all of them; `removed`, the ids that are not found any more; `columns`, `width`, `model`, `weights`
    and `settings` of what embedded them; and, while rows are being embedded, `pending`, the shards that are done.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    file = folder / DESCRIPTION
    check_inside(folder)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no index: there is no {DESCRIPTION}. `build_index` makes one.") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged, it holds no JSON ({error}). {REMEDY}.") from None
    check_description(file, found)
    found = found if "shards" in found else of_earlier_version(folder, found)
    check_shards_listed(file, found)
    return found


def check_inside(folder: Path) -> None:
    """
    Raises:
        ValueError: something in the folder is a link to elsewhere, through which other files would be read, or written
            over. Those of the Hub's cache lead to its own copies.
    """
    place = folder.resolve()
    for path in [*folder.glob("*"), *folder.glob(f"{CACHE}/*")]:
        if not path.is_symlink():
            continue
        target = path.resolve()
        is_of_the_hub = target.parent.name == "blobs" and target.parent.parent in place.parents
        if not is_of_the_hub and place not in target.parents:
            raise ValueError(f"{path} is a link to {target}, outside of the index. Delete it, or copy the file there.")


def check_description(file: Path, found: Any) -> None:
    if not isinstance(found, dict):
        raise ValueError(f"{file} is damaged, it holds no table of fields. {REMEDY}.")
    for name, kind in FIELDS.items():
        if type(found.get(name)) is not kind:
            raise ValueError(
                f"{file} is damaged: `{name}` is {found.get(name)!r}, expected {kind.__name__}. {REMEDY}."
            )
    if found["width"] < 1 or found["rows"] < 0:
        raise ValueError(
            f"{file} is damaged: `width` is {found['width']} and `rows` is {found['rows']}, expected 1 and 0 or more. {REMEDY}."
        )
    for kind, name in found["columns"].items():
        if kind not in COLUMN_KINDS or not isinstance(name, str):
            raise ValueError(f"{file} is damaged: `columns` holds {kind!r}: {name!r:.100}. {REMEDY}.")
    if not isinstance(found.get("settings", {}), dict):
        raise ValueError(f"{file} is damaged: `settings` is {found['settings']!r:.100}, expected dict. {REMEDY}.")
    if wrong := [i for i in found["removed"] if type(i) is not int or not 0 <= i < found["rows"]]:
        raise ValueError(f"{file} is damaged: `removed` holds {wrong[0]!r}, no row of {found['rows']}. {REMEDY}.")


def check_shards_listed(file: Path, description: dict) -> None:
    """
    Raises:
        ValueError: what is listed are no shards of this folder, with their numbers of rows and checksums.
    """
    pending = description.get("pending", {"fingerprint": "", "rows": 0, "shards": []})
    is_pending = isinstance(pending, dict) and type(pending.get("fingerprint")) is str
    if not is_pending or type(pending.get("rows")) is not int or type(pending.get("shards")) is not list:
        raise ValueError(f"{file} is damaged: `pending` is {pending!r:.100}. {REMEDY}.")
    if type(description["shards"]) is not list or type(description.get("generation")) is not int:
        raise ValueError(f"{file} is damaged: `shards` is no list, or `generation` no number. {REMEDY}.")
    names = set()
    for shard in listed_shards(description):
        name = shard.get("file") if isinstance(shard, dict) else shard
        if not isinstance(name, str) or not re.fullmatch(r"shard-\d{5,}\.parquet", name):  # another could lie anywhere
            raise ValueError(f"{file} is damaged: {name!r:.100} is the name of no shard. {REMEDY}.")
        if type(shard.get("rows", 0)) is not int or type(shard.get("sha256", "")) is not str or name in names:
            raise ValueError(f"{file} is damaged: what it says of {name} cannot be. {REMEDY}.")
        names.add(name)


def listed_shards(description: dict) -> list[dict]:
    """Those that count, and those of rows that are still being embedded."""
    return description["shards"] + description.get("pending", {}).get("shards", [])


def of_earlier_version(folder: Path, found: dict) -> dict:
    """An `index.json` that does not list the shards: all that are there count."""
    shards = [{"file": file.name} for file in sorted(folder.glob("shard-*.parquet"))]
    return found | {"generation": 0, "shards": shards}


@contextmanager
def merged_into(folder: Path) -> Iterator[None]:
    """
    A folder for an index that is written as one: until it is whole there is none, and a killed run is begun anew.

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


def write_description(folder: Path, description: dict) -> None:
    write_whole(folder / DESCRIPTION, json.dumps(description, indent=1).encode())


def write_whole(file: Path, content: bytes) -> None:
    partial = file.with_suffix(".partial")
    partial.write_bytes(content)
    put_in_place(partial, file)


def put_in_place(partial: Path, file: Path) -> None:
    """Safe on the disk before it has its name, so that no power cut leaves a name with half a file."""
    with open(partial, "rb+") as written:
        os.fsync(written.fileno())
    os.replace(partial, file)


# ---------------------------------------------------------------------------------------------------------------------
# Changes, one after the other
# ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Of those who change a folder, one at a time; the others wait."""
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
            with suppress(OSError):  # what another process has open, where that is forbidden, goes the next time
                file.unlink()
    shutil.rmtree(folder / CACHE / "parquet", ignore_errors=True)  # of an earlier version


def append_rows(
    folder: Path,
    fingerprint: str,
    total: int,
    shard_rows: int,
    schema: pa.Schema,
    tables: Callable[[range], Iterable[pa.Table]],
) -> None:
    """
    Add rows to an index, all or none; those that a killed run embedded are taken over. To be called under the lock.

    Args:
        fingerprint: of the rows, by which the same ones are known again.
        total: how many there are.
        shard_rows: rows to a shard, at most what a killed run loses.
        schema: of the tables.
        tables: from the range of a shard's rows to these rows, in parts.
    """
    description = read_description(folder)
    pending = description.get("pending")
    if pending is None or pending["fingerprint"] != fingerprint:
        pending = {"fingerprint": fingerprint, "rows": total, "shards": []}
    description["pending"] = pending
    write_description(folder, description)
    with logging.tqdm(total=total, desc="Embedding", unit="row") as progress:
        for i, start in enumerate(range(0, total, shard_rows)):
            rows = range(start, min(start + shard_rows, total))
            if i == len(pending["shards"]):
                number = len(description["shards"]) + i
                pending["shards"].append(write_shard(folder, number, schema, tables(rows)))
                write_description(folder, description)
            progress.update(len(rows))
    del description["pending"]
    description["rows"] += total
    description["shards"] += pending["shards"]
    commit(folder, description)


# ---------------------------------------------------------------------------------------------------------------------
# Shards
# ---------------------------------------------------------------------------------------------------------------------


def stored_features(features: Features) -> Features:
    """The columns of a shard: those of the rows, and their embeddings."""
    return Features({**features, **{name: List(Value("float32")) for name in EMBEDDINGS}})


def write_shard(folder: Path, number: int, schema: pa.Schema, tables: Iterable[pa.Table]) -> dict[str, Any]:
    """Write a shard whole, with the media of its rows, not their paths; returns what `index.json` says of it."""
    file = folder / f"shard-{number:05d}.parquet"
    partial, rows = file.with_suffix(".partial"), 0
    try:
        with pq.ParquetWriter(partial, schema) as writer:
            for group in grouped(map(embed_table_storage, tables)):
                writer.write_table(group)
                rows += len(group)
        put_in_place(partial, file)
    finally:
        partial.unlink(missing_ok=True)  # of a row that cannot be read
    return {"file": file.name, "rows": rows, "sha256": checksum(file)}


def grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Joined to some that are worth writing, and fit into memory."""
    held = []
    for table in tables:
        held.append(table)
        if sum(part.nbytes for part in held) > ROW_GROUP:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def checksum(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as content:
        for block in iter(lambda: content.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_rows(folder: Path, description: dict) -> Dataset:
    """
    All rows of an index, with their embeddings.

    Raises:
        ValueError: a file is missing or damaged, or the build is not finished.
    """
    pending = description.get("pending")
    if not description["shards"]:
        done = sum(shard["rows"] for shard in pending["shards"]) if pending else 0
        total = pending["rows"] if pending else description["rows"]
        raise ValueError(f"{folder} has {done} of {total} rows: `build_index` with the same arguments goes on.")
    tables = [open_shard(folder, shard, description["width"]) for shard in description["shards"]]
    for shard, table in zip(description["shards"], tables):
        if not table.schema.equals(tables[-1].schema):
            raise ValueError(f"{folder / shard['file']} has other columns than the last shard. {REMEDY}.")
    if (number := sum(map(len, tables))) != description["rows"]:
        raise ValueError(
            f"{folder} has {number} rows, but `rows` of {DESCRIPTION} is {description['rows']}: it is damaged, or its "
            f"build by an earlier version is not finished. {REMEDY}."
        )
    names = tables[-1].schema.metadata  # classes come at the end, so that the last shard knows all of them
    table = concat_tables([part.replace_schema_metadata(names) for part in tables])
    fingerprint = hashlib.sha256(json.dumps(description["shards"]).encode()).hexdigest()[:16]
    try:
        dataset = Dataset(table, fingerprint=fingerprint)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"The types of {folder / description['shards'][-1]['file']} cannot be: {error}. {REMEDY}."
        ) from error
    if missing := [name for name in description["columns"].values() if name not in dataset.column_names]:
        raise ValueError(f"{folder / DESCRIPTION} names the column {missing[0]!r}, which the shards lack. {REMEDY}.")
    start = 0
    for shard, part in zip(description["shards"], tables):
        check_holds_media(folder / shard["file"], dataset.features, part, start)
        start += len(part)
    return dataset


def check_holds_media(file: Path, features: Features, table: Table, start: int) -> None:
    """
    Raises:
        ValueError: a picture, video or sound of the rows that begin at number `start` is but a path, which could be that
            of any file of whoever reads it.
    """
    for name, feature in features.items():
        first = start
        for chunk in table.column(name).chunks:
            try:
                outside = [np.asarray(is_path(media)) for media in media_in(feature, chunk)]
            except (pa.ArrowException, KeyError) as error:
                raise ValueError(
                    f"{file} is damaged: {name!r} is not what its type says ({error}). {REMEDY}."
                ) from error
            for where in map(np.flatnonzero, outside):
                if len(where):
                    row = f"row {first + where[0]}" if isinstance(feature, MEDIA) else "a row"
                    raise ValueError(
                        f"{file} holds only the path of {name!r} of {row}, not its content, and an index reads no files outside "
                        "of its folder: build it again."
                    )
            first += len(chunk)


def is_path(media: pa.StructArray) -> pa.BooleanArray:
    """Which cells of pictures, videos or sounds have a path alone."""
    return pc.and_(pc.is_null(pc.struct_field(media, "bytes")), pc.is_valid(pc.struct_field(media, "path")))


def media_in(feature: Any, column: pa.Array) -> Iterator[pa.Array]:
    """The cells of pictures, videos and sounds in a column, also those in lists and dicts."""
    if isinstance(feature, MEDIA):
        yield column
    elif isinstance(feature, dict):
        for key, part in feature.items():
            yield from media_in(part, pc.struct_field(column, key))
    elif isinstance(feature, (List, LargeList)):
        yield from media_in(feature.feature, pc.list_flatten(column))


def open_shard(folder: Path, shard: dict, width: int) -> Table:
    """The rows of a shard, mapped into memory from `.cache`, or read into it where nothing can be written."""
    file = folder / shard["file"]
    try:
        cached = cache_of(file)
    except FileNotFoundError:
        raise ValueError(f"{file} is missing. {REMEDY}.") from None
    table = mapped(cached)
    if table is None:
        check_shard(file, shard)
        try:
            write_cache(file, cached)
            table = mapped(cached)
        except OSError as error:
            logger.info(f"{folder} is read into memory, since nothing can be written there ({error}).")
    if table is None:
        table = InMemoryTable(pq.read_table(file))
    check_embeddings(file, table, width)
    return table


def mapped(cached: Path) -> Table | None:
    """A file of `.cache`, if it is there and whole: what it holds is not followed before it is checked."""
    try:
        table = MemoryMappedTable.from_file(str(cached))
        table.validate(full=True)
        return table
    except (FileNotFoundError, pa.ArrowException):
        return None


def cache_of(file: Path) -> Path:
    """The copy of a shard that can be mapped into memory, which knows which file it is of."""
    status = file.stat()
    return file.parent / CACHE / f"{file.stem}-{status.st_size}-{status.st_mtime_ns}.arrow"


def write_cache(file: Path, cached: Path) -> None:
    cached.parent.mkdir(exist_ok=True)
    descriptor, partial = tempfile.mkstemp(suffix=".partial", dir=cached.parent)  # of its own: readers take no turns
    os.close(descriptor)
    try:
        with pq.ParquetFile(file) as shard, pa.ipc.new_stream(partial, shard.schema_arrow) as stream:
            for batch in shard.iter_batches():
                stream.write_batch(batch)
        os.replace(partial, cached)
    finally:
        Path(partial).unlink(missing_ok=True)  # of a disk that is full


def check_shard(file: Path, shard: dict) -> None:
    try:
        names = pq.read_schema(file).names
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{file} is damaged: {error}. {REMEDY}.") from None
    check_named(file, names)
    if "sha256" in shard and checksum(file) != shard["sha256"]:
        raise ValueError(f"{file} is not the shard that was written under this name. {REMEDY}.")


def check_named(file: Path, names: list[str]) -> None:
    if missing := [name for name in EMBEDDINGS if name not in names]:
        raise ValueError(f"{file} is damaged: it has no column {missing[0]}. {REMEDY}.")


def check_embeddings(file: Path, table: Table, width: int) -> None:
    """
    Raises:
        ValueError: embeddings are missing, or are not finite numbers of this width and length 1.
    """
    check_named(file, table.column_names)
    for name in EMBEDDINGS:
        kind = table.schema.field(name).type
        if not pa.types.is_list(kind) or kind.value_type != pa.float32():
            raise ValueError(f"{file} holds a {name} of {kind}, expected lists of float32. {REMEDY}.")
        lengths = pc.unique(pc.list_value_length(table.column(name).drop_null())).to_pylist()
        if wrong := [length for length in lengths if length != width]:
            raise ValueError(
                f"{file} holds a {name} of {wrong[0]} numbers, but `width` of {DESCRIPTION} is {width}. {REMEDY}."
            )
        vectors = np.asarray(pc.list_flatten(table.column(name)), dtype=np.float32).reshape(-1, width)
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
        if not (np.abs(lengths - 1) < 0.01).all():  # NaN neither
            raise ValueError(f"{file} is damaged: a {name} has not the length 1. {REMEDY}.")


# ---------------------------------------------------------------------------------------------------------------------
# Rows that join others
# ---------------------------------------------------------------------------------------------------------------------


def joined_features(features: Features, others: Features, what: str) -> Features:
    """
    The columns of an index that others join. Classes keep their numbers, and new ones come after them.

    Raises:
        ValueError: columns are missing, or come besides, or hold something else.
    """
    if missing := [name for name in features if name not in others]:
        raise ValueError(f"{what} have no column {missing[0]!r}; the index has {', '.join(features)}.")
    if unknown := [name for name in others if name not in features]:
        raise ValueError(
            f"{what} have a column {unknown[0]!r}, but the index has {', '.join(features)}: leave it out, by "
            f"`remove_columns({unknown[0]!r})`."
        )
    return Features({name: joined(feature, others[name], name, what) for name, feature in features.items()})


def joined(feature: Any, other: Any, name: str, what: str) -> Any:
    if isinstance(feature, ClassLabel) and isinstance(other, ClassLabel):
        return ClassLabel(names=[*feature.names, *(n for n in other.names if n not in feature.names)])
    if isinstance(feature, dict) and isinstance(other, dict) and feature.keys() == other.keys():
        return {key: joined(own, other[key], f"{name}.{key}", what) for key, own in feature.items()}
    if isinstance(feature, List) and isinstance(other, List) and feature.length == other.length:
        return List(joined(feature.feature, other.feature, name, what), length=feature.length)
    is_media = isinstance(feature, MEDIA) and type(feature) is type(other)
    is_empty = other == Value("null")  # a column of nothing but None
    if is_media or is_empty or feature == other or is_same_sort(feature, other):
        return feature
    raise ValueError(
        f"The column {name!r} of {what} holds {other}, that of the index {feature}: make them the same by "
        f"`dataset.cast_column({name!r}, ...)`."
    )


def is_same_sort(feature: Any, other: Any) -> bool:
    """Whether cells mean the same in both types of values, such as int32 and int64."""
    if not (type(feature) is type(other) is Value):
        return False
    sorts = (pa.types.is_integer, pa.types.is_floating, lambda t: pa.types.is_string(t) or pa.types.is_large_string(t))
    return any(sort(feature.pa_type) and sort(other.pa_type) for sort in sorts)


def as_joined(table: pa.Table, features: Features) -> pa.Table:
    """A table with these columns, its classes by their names and so perhaps by other numbers."""
    own, columns = Features.from_arrow_schema(table.schema), []
    for name, feature in features.items():
        column = table.column(name)
        if own[name] != feature and classes_of(feature):
            cells = [renumbered(cell, own[name], feature) for cell in column.to_pylist()]
            column = pa.chunked_array([pa.array(cells, features.arrow_schema.field(name).type)])
        columns.append(column)
    return table_cast(pa.Table.from_arrays(columns, names=list(features)), features.arrow_schema)


def copy_shard(folder: Path, shard: dict, features: Features, output_dir: Path, number: int) -> dict[str, Any]:
    """A shard of one index in another, whose columns it takes; returns what `index.json` says of it."""
    with pq.ParquetFile(folder / shard["file"]) as content:
        if not content.schema_arrow.equals(features.arrow_schema, check_metadata=True):
            tables = (as_joined(pa.Table.from_batches([batch]), features) for batch in content.iter_batches())
            return write_shard(output_dir, number, features.arrow_schema, tables)
    file = output_dir / f"shard-{number:05d}.parquet"
    put_in_place(shutil.copy(folder / shard["file"], file.with_suffix(".partial")), file)
    return shard | {"file": file.name}


def classes_of(feature: Any) -> bool:
    """Whether there are classes in a column."""
    if isinstance(feature, dict):
        return any(map(classes_of, feature.values()))
    return isinstance(feature, ClassLabel) or (isinstance(feature, List) and classes_of(feature.feature))


def renumbered(cell: Any, own: Any, feature: Any) -> Any:
    if cell is None:
        return None
    if isinstance(feature, ClassLabel):
        return cell if cell < 0 else feature.names.index(own.names[cell])  # -1 is no class
    if isinstance(feature, dict):
        return {key: renumbered(cell[key], own[key], feature[key]) for key in feature}
    if isinstance(feature, List):
        return [renumbered(item, own.feature, feature.feature) for item in cell]
    return cell
