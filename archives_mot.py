# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Tar archives of WebDataset: files of one name are a row, each extension a column.

`ArchiveBuilder` is the builder of `datasets` with types that `webdataset_features` finds out: rows may lack files, sound
stays bytes (the Audio type asks for torchcodec to store it), and a class is a number or a name. Pictures of several
extensions are one column, and so are sounds and videos, where no row has two of them.
"""

import hashlib
import json
import os
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import pyarrow as pa
from datasets import Features, Image, Value, Video
from datasets.packaged_modules.webdataset.webdataset import WebDataset

from .folders_mot import is_litter, medium_of
from .tables_mot import decode_text, named, open_bytes

_TEXTS = ("txt", "text", "transcript")
_CLASSES = ("cls", "cls2", "index", "inx", "id")
_JSON = ("json", "jsn")
_DECODED = (*_TEXTS, *_CLASSES, *_JSON)
_FILES_FOR_TYPES = 400


def _kind(field: str) -> str:
    return field.rpartition(".")[2].lower()


def _decoded(field: str, content: bytes, name: str):
    """A file of an archive as its cell; a blank one is None."""
    if _kind(field) not in _DECODED:
        return content
    text = decode_text(content, name)
    if not text.strip():
        return None
    if _kind(field) in _TEXTS:
        return text
    if _kind(field) in _CLASSES:
        return text.strip()
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"'{name}', line {error.lineno}, is not JSON: {error.msg}.") from error


class ArchiveBuilder(WebDataset):
    CODE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]  # what another reader cached is not read
    DECODERS = {kind: decode for kind, decode in WebDataset.DECODERS.items() if kind not in _DECODED}

    def _get_pipeline_from_tar(self, tar_path, tar_iterator) -> Iterator[dict]:
        files = ((name, file) for name, file in tar_iterator if not is_litter(name))
        columns = self.info.features
        with named(tar_path):
            for example in super()._get_pipeline_from_tar(tar_path, files):
                key = example["__key__"]
                for field in [field for field in example if field not in ("__key__", "__url__")]:
                    if isinstance(example[field], bytes):
                        example[field] = _decoded(field, example[field], f"{tar_path}: {key}.{field}")
                    if field not in columns and (column := _column_of(field, columns)):
                        _check_single(example, column, field, f"{tar_path}: {key}")
                        example[column] = example.pop(field)
                yield example


def _slot(field: str) -> tuple[str, str | None]:
    """What fields of one column share: the name before the extension, and the medium."""
    return field.rpartition(".")[0], medium_of([f"_.{_kind(field)}"])


def _column_of(field: str, columns: Iterable[str]) -> str | None:
    """The one column of the medium of a field that has none of its own."""
    slot = _slot(field)
    found = [column for column in columns if _slot(column) == slot] if slot[1] else []
    return found[0] if len(found) == 1 else None


def _check_single(example: dict, column: str, field: str, name: str) -> None:
    if column in example:
        raise ValueError(
            f"'{name}' has the files .{column} and .{field}, which the first files of the archive show to be one column: "
            f"give one of them a name of its own, such as .second.{_kind(field)}."
        )


def webdataset_features(shard: str) -> Features:
    """The types of the columns, from the first 400 files of a shard.

    Raises:
        ValueError: the shard is not a tar archive, or a file in it is broken; it is named.
    """
    cells = defaultdict(dict)  # field: the cell of each row that has it
    with named(shard), open_bytes(shard, shard) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
        members = (member for member in archive if member.isfile() and not is_litter(member.name))
        for member in islice(members, _FILES_FOR_TYPES):
            folder, name = os.path.split(member.name)
            row, _, field = name.partition(".")
            if field:
                content = archive.extractfile(member).read()
                cells[field][folder, row] = _decoded(field, content, f"{shard}: {member.name}")
    fields = _without_alternatives(cells)
    return Features(
        {name: kind for field in fields for name, kind in _feature(field, list(cells[field].values())).items()}
    )


def _without_alternatives(cells: Mapping[str, Mapping]) -> list[str]:
    """The fields that are columns: one for each medium, the first, where no row has two of its extensions."""
    slots = defaultdict(list)
    for field in cells:
        slots[_slot(field) if _slot(field)[1] else field].append(field)
    columns = []
    for fields in slots.values():
        rows = [row for field in fields for row in cells[field]]
        columns += fields[:1] if len(rows) == len(set(rows)) else fields
    return columns


def _feature(field: str, values: list) -> Features:
    kind = _kind(field)
    if kind in WebDataset.VIDEO_EXTENSIONS:
        return Features({field: Video()})
    if kind in WebDataset.IMAGE_EXTENSIONS:
        return Features({field: Image()})
    if kind in _CLASSES:
        is_number = all(value is None or value.isdecimal() for value in values)
        return Features({field: Value("int64" if is_number else "string")})
    return Features.from_arrow_schema(pa.schema({field: pa.array(values).type}))
