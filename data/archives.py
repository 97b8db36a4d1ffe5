# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Tar archives of WebDataset: files of one name are a row, each extension a column.

`ArchiveBuilder` is the builder of `datasets` with types that `webdataset_features` finds out: rows may lack files,
sound stays bytes (the Audio type asks for torchcodec to store it), and a class is a number or a name. Pictures of
several extensions are one column, and so are sounds and videos, where no row has two of them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import BinaryIO

import pyarrow as pa
from datasets import BuilderConfig, Dataset, Features, Image, IterableDataset, Value, Video
from datasets.packaged_modules.webdataset.webdataset import WebDataset, base_plus_ext

from mixture_of_transformers.data.builders import builder_of, built_split
from mixture_of_transformers.data.column_types import undecoded_stream
from mixture_of_transformers.data.dataset_limits import DEFAULT_LIMITS, DatasetLimits
from mixture_of_transformers.data.fingerprints import fingerprint_of_code
from mixture_of_transformers.data.folders import Files, is_litter
from mixture_of_transformers.data.media_suffixes import medium_of
from mixture_of_transformers.data.tables import parse_json
from mixture_of_transformers.data.text_files import decode_text, named, open_bytes
from mixture_of_transformers.data.unpacking import read_member, read_tar

TEXT_EXTENSIONS = ("txt", "text", "transcript")
CLASS_EXTENSIONS = ("cls", "cls2", "index", "inx", "id")
JSON_EXTENSIONS = ("json", "jsn")
DECODED_EXTENSIONS = (*TEXT_EXTENSIONS, *CLASS_EXTENSIONS, *JSON_EXTENSIONS)
FILES_FOR_TYPES = 400
MAX_TEXT_BYTES = 64 << 20  # A text, a class or a JSON object is read as a whole.


def read_archive_splits(files: Files, streaming: bool, limits: DatasetLimits) -> dict[str, Dataset | IterableDataset]:
    """The archives of each split, with the types that the first archive shows."""
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


def extension_of(field: str) -> str:
    return field.rpartition(".")[2].lower()


def decoded_cell(field: str, read: Callable[[], bytes | None], name: str):
    """A file of an archive as its cell; a blank one is None, and one that is too large is empty, so a bad row."""
    content, kind = read(), extension_of(field)
    if kind not in DECODED_EXTENSIONS:
        return content or b""
    if content is None or len(content) > MAX_TEXT_BYTES:
        raise ValueError(
            f"'{name}' has more than {MAX_TEXT_BYTES >> 20} MiB: expected a text, a class or a JSON object."
        )
    text = decode_text(content, name)
    if not text.strip():
        return None
    if kind in TEXT_EXTENSIONS:
        return text
    return text.strip() if kind in CLASS_EXTENSIONS else parse_json(text, f"'{name}'")


@dataclass
class ArchiveConfig(BuilderConfig):
    """
    Args:
        limits: what the archives may unpack to.
    """

    limits: DatasetLimits = DEFAULT_LIMITS


class ArchiveBuilder(WebDataset):
    BUILDER_CONFIG_CLASS = ArchiveConfig
    CODE = fingerprint_of_code("archives", "folders", "tables", "text_files", "unpacking")

    def _get_pipeline_from_tar(self, tar_path: str, tar_iterator) -> Iterator[dict]:
        """The rows of an archive, which is opened here, so that it keeps to the limits."""
        example = {}
        for key, field, content in files_of_rows(tar_path, self.config.limits):
            if example and example["__key__"] != key:
                yield example
                example = {}
            self._add(example, key, field, content, tar_path)
        if example:
            yield example

    def _add(self, example: dict, key: str, field: str, content: Callable[[], bytes | None], shard: str) -> None:
        name, columns = f"{shard}: {key}", self.info.features
        column = field if field in columns else column_of(field, columns) or field
        if column in example:
            refuse_second(column, field, name)
        example |= {"__key__": key, "__url__": shard}
        example[column] = decoded_cell(field, content, f"{name}.{field}")


def files_of_rows(shard: str, limits: DatasetLimits) -> Iterator[tuple[str, str, Callable[[], bytes | None]]]:
    """The row, the column and the content of each file of an archive, which is read when it is called for."""
    with named(shard), open_bytes(shard, "", limits) as file:
        for name, content in read_tar(file, shard, limits):
            key, field = base_plus_ext(name)
            if key is not None and not is_litter(name):
                yield key, field, partial(read_content, content, field, f"{shard}: {name}", limits)


def read_content(content: BinaryIO | None, field: str, name: str, limits: DatasetLimits) -> bytes | None:
    return content and read_member(content, extension_of(field), name, limits)


def slot_of(field: str) -> tuple[str, str | None]:
    """What fields of one column share: the name before the extension, and the medium."""
    return field.rpartition(".")[0], medium_of([f"_.{extension_of(field)}"])


def column_of(field: str, columns: Iterable[str]) -> str | None:
    """The one column of the medium of a field that has none of its own."""
    slot = slot_of(field)
    found = [column for column in columns if slot_of(column) == slot] if slot[1] else []
    return found[0] if len(found) == 1 else None


def refuse_second(column: str, field: str, name: str) -> None:
    if column == field:
        raise ValueError(f"'{name}' has two files .{field}: leave one out.")
    raise ValueError(
        f"'{name}' has the files .{column} and .{field}, which the first files of the archive show to be one column: "
        f"give one of them a name of its own, such as .second.{extension_of(field)}."
    )


def webdataset_features(shard: str, limits: DatasetLimits = DEFAULT_LIMITS) -> Features:
    """The types of the columns, from the first 400 files of a shard.

    Raises:
        ValueError: the shard is not a tar archive, or a file in it is broken; it is named.
    """
    cells = defaultdict(dict)  # field -> row -> cell
    for key, field, read in islice(files_of_rows(shard, limits), FILES_FOR_TYPES):
        cells[field][key] = (
            decoded_cell(field, read, f"{shard}: {key}.{field}") if extension_of(field) in DECODED_EXTENSIONS else b""
        )
    if not cells:
        raise ValueError(f"'{shard}' holds no files of rows (0000.png, 0000.txt, ...): it is empty, or no WebDataset.")
    fields = without_alternatives(cells)
    return Features(
        {name: kind for field in fields for name, kind in feature_of(field, list(cells[field].values())).items()}
    )


def without_alternatives(cells: Mapping[str, Mapping]) -> list[str]:
    """The fields that are columns: one for each medium, the first, where no row has two of its extensions."""
    slots = defaultdict(list)
    for field in cells:
        slots[slot_of(field) if slot_of(field)[1] else field].append(field)
    columns = []
    for fields in slots.values():
        rows = [row for field in fields for row in cells[field]]
        columns += fields[:1] if len(rows) == len(set(rows)) else fields
    return columns


def feature_of(field: str, values: list) -> Features:
    kind = extension_of(field)
    if kind in WebDataset.VIDEO_EXTENSIONS:
        return Features({field: Video()})
    if kind in WebDataset.IMAGE_EXTENSIONS:
        return Features({field: Image()})
    if kind in CLASS_EXTENSIONS:
        is_number = all(value is None or value.isdecimal() for value in values)
        return Features({field: Value("int64" if is_number else "string")})
    return Features.from_arrow_schema(pa.schema({field: pa.array(values).type}))
