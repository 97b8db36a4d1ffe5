# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The types of a dataset's columns, and the cells of media as they are stored: bytes or a path."""

import datasets
import fsspec
from datasets import Audio, Features, Image, IterableDataset, Value, Video

from .decoding_mot import has_sound

MEDIA = {"image": Image, "audio": Audio, "video": Video}
# How `datasets` stores a file of any medium.
STORED_FILE = {"bytes": Value("binary"), "path": Value("string")}


def kind_name(kind) -> str:
    if is_list(kind):
        return f"list of {kind_name(kind.feature)}"
    if is_stored_file(kind):
        return "file"
    return kind.dtype if isinstance(kind, Value) else type(kind).__name__


def is_ready_features(kind) -> bool:
    """Whether a column's type is a sequence of vectors of floats, (length, feature_size) for each row."""
    if isinstance(kind, datasets.Array2D):
        return kind.dtype.startswith("float")
    return is_list(kind) and is_list(kind.feature) and is_value(kind.feature.feature, "float")


def is_stored_file(kind) -> bool:
    return isinstance(kind, dict) and kind == STORED_FILE


def is_list(kind) -> bool:
    return isinstance(kind, datasets.List | datasets.LargeList)


def is_string(kind) -> bool:
    return is_value(kind, "string", "large_string")


def is_value(kind, *dtypes: str) -> bool:
    return isinstance(kind, Value) and kind.dtype.startswith(dtypes)


def element_of(kind):
    """The type of a list's members, or the type itself."""
    return kind.feature if is_list(kind) else kind


def cell_has_sound(cell) -> bool:
    return cell is not None and has_sound(cell, "video")


def undecoded_stream(stream: IterableDataset) -> IterableDataset:
    """The stream with its media as bytes and paths.

    They are typed as pictures, whatever they are: files of any kind are stored alike, and the Audio type asks for
    torchcodec even to pass a file on.
    """
    media = tuple(MEDIA.values())
    kinds = {name: Image(decode=False) if isinstance(kind, media) else kind for name, kind in stream.features.items()}
    return stream.cast(Features(kinds))


def stored_file(cell: dict | bytes | str | None) -> dict | None:
    """A cell of a medium, however it came, as bytes or a path that can be opened."""
    if cell is None or isinstance(cell, bytes):
        return cell and {"bytes": cell, "path": None}
    cell = cell if isinstance(cell, dict) else {"bytes": None, "path": cell}
    if cell["bytes"] is None and "://" in (cell["path"] or "") and not cell["path"].startswith("http"):
        with fsspec.open(cell["path"]) as file:  # a file of a folder on the Hub
            return {"bytes": file.read(), "path": cell["path"]}
    return cell
