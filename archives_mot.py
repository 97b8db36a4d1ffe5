# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Tar archives of WebDataset: files of one name are a row, each extension a column.

`ArchiveBuilder` is the builder of `datasets` with types that `webdataset_features` finds out: rows may lack files, sound
stays bytes (the Audio type asks for torchcodec to store it), and a class is a number or a name.
"""

import hashlib
import json
import os
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
from datasets import Features, Image, Value, Video
from datasets.packaged_modules.webdataset.webdataset import WebDataset

from .folders_mot import is_litter
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

    @classmethod
    def _get_pipeline_from_tar(cls, tar_path, tar_iterator) -> Iterator[dict]:
        files = ((name, file) for name, file in tar_iterator if not is_litter(name))
        with named(tar_path):
            for example in super()._get_pipeline_from_tar(tar_path, files):
                for field, content in example.items():
                    if isinstance(content, bytes):
                        example[field] = _decoded(field, content, f"{tar_path}: {example['__key__']}.{field}")
                yield example


def webdataset_features(shard: str) -> Features:
    """The types of the columns, from the first 400 files of a shard.

    Raises:
        ValueError: the shard is not a tar archive, or a file in it is broken; it is named.
    """
    cells = defaultdict(list)
    with named(shard), open_bytes(shard, shard) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
        members = (member for member in archive if member.isfile() and not is_litter(member.name))
        for member in islice(members, _FILES_FOR_TYPES):
            field = os.path.basename(member.name).partition(".")[2]
            if field:
                content = archive.extractfile(member).read()
                cells[field].append(_decoded(field, content, f"{shard}: {member.name}"))
    return Features({name: kind for field, values in cells.items() for name, kind in _feature(field, values).items()})


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
