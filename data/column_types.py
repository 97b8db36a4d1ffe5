# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The types of a dataset's columns, and the one form in which cells are stored: text, vectors, bytes or a path."""

import io

import datasets
import fsspec
import numpy as np
import soundfile
from datasets import Audio, Features, Image, IterableDataset, Value, Video

from mixture_of_transformers.data.dataset_limits import DEFAULT_LIMITS
from mixture_of_transformers.decoding_container_mot import has_sound
from mixture_of_transformers.modalities_mot import CELLS

MEDIA_TYPES = {kind.__name__.lower(): kind for kind in (Image, Audio, Video)}  # medium -> type
# What a column can be beside the label: files of a medium, or strings.
MEDIA_ROLES = tuple(name for name, cell in CELLS.items() if cell.medium)
STRING_ROLES = tuple(name for name, cell in CELLS.items() if not cell.medium)
# The sound may be a track of the videos, and then one column is both.
SOUND = next(name for name, cell in CELLS.items() if cell.track_of)
VIDEO = next(name for name, cell in CELLS.items() if cell.medium == CELLS[SOUND].track_of)
NUMBERS = ("int", "uint", "float")  # how the types of numbers begin
# How `datasets` stores a file of any medium.
STORED_FILE = {"bytes": Value("binary"), "path": Value("string")}


def kind_name(kind) -> str:
    if is_list(kind):
        return f"list of {kind_name(kind.feature)}"
    if is_stored_file(kind):
        return "file"
    if is_samples(kind):
        return "samples and their rate"
    return kind.dtype if isinstance(kind, Value) else type(kind).__name__


def is_ready_features(kind) -> bool:
    """Whether a column's type is a sequence of vectors of floats, (length, feature_size) for each row."""
    if isinstance(kind, datasets.Array2D):
        return kind.dtype.startswith("float")
    return is_list(kind) and is_list(kind.feature) and is_value(kind.feature.feature, "float")


def is_vector(kind) -> bool:
    """Whether a column's type is one vector of floats for each row, such as an embedding."""
    return is_list(kind) and is_value(kind.feature, "float")


def is_series(kind) -> bool:
    """Whether a column's type is a list of numbers, or of lists of numbers, for each row."""
    if isinstance(kind, datasets.Array2D):
        return kind.dtype.startswith(NUMBERS)
    return is_list(kind) and is_value(element_of(kind.feature), *NUMBERS)


def is_number(kind) -> bool:
    """Whether a column's type is one number for each row."""
    return is_value(kind, *NUMBERS)


def is_single(kind) -> bool:
    """Whether a column's type is a number, a truth or a word for each row."""
    return isinstance(kind, datasets.ClassLabel) or is_string(kind) or is_number(kind) or is_value(kind, "bool")


def is_samples(kind) -> bool:
    """Whether a column's type is `{"array": samples, "sampling_rate": Hz}`, with or without a path."""
    return isinstance(kind, dict) and {"array", "sampling_rate"} <= kind.keys() <= {"array", "sampling_rate", "path"}


def is_stored_file(kind) -> bool:
    return isinstance(kind, dict) and kind == STORED_FILE


def media_type(role: str) -> type | None:
    """The type of a column of this role; None for one of strings."""
    return MEDIA_TYPES.get(CELLS[role].medium)


def is_medium(kind) -> bool:
    """Whether a column's type is that of a medium."""
    return isinstance(kind, tuple(MEDIA_TYPES.values()))


def is_file(kind) -> bool:
    """Whether a column's type is files of a medium: however they are typed, they are stored alike."""
    return is_medium(kind) or is_stored_file(kind) or is_value(kind, "binary")


def is_files(kind) -> bool:
    """Whether a column's type is a list of files of a medium, or of strings that may be their paths, for each row."""
    return is_list(kind) and (is_file(kind.feature) or is_string(kind.feature))


def is_list(kind) -> bool:
    return isinstance(kind, datasets.List | datasets.LargeList)


def is_string(kind) -> bool:
    return is_value(kind, "string", "large_string")


def is_value(kind, *dtypes: str) -> bool:
    return isinstance(kind, Value) and kind.dtype.startswith(dtypes)


def element_of(kind):
    """The type of a list's members, or the type itself."""
    return kind.feature if is_list(kind) else kind


def cell_has_sound(cell, allow_urls: bool | str = True) -> bool:
    """Whether a video has a sound track; one that cannot be opened has none, and its row is a bad one."""
    try:
        return cell is not None and has_sound(cell, VIDEO, allow_urls)
    except (OSError, ValueError):
        return False


def undecoded_stream(stream: IterableDataset) -> IterableDataset:
    """The stream with its media as bytes and paths.

    They are typed as pictures, whatever they are: files of any kind are stored alike, and the Audio type asks for
    torchcodec even to pass a file on.
    """
    kinds = stream.features.items()
    return stream.cast(Features({name: untyped(kind) for name, kind in kinds}))


def untyped(kind):
    """A type of media, or of lists of them, as that of pictures, which is stored alike."""
    if is_list(kind) and is_medium(kind.feature):
        return datasets.List(Image(decode=False))
    return Image(decode=False) if is_medium(kind) else kind


def stored_type(role: str, kind):
    """The type of a column of the text or a medium in its stored form."""
    if is_vector(kind):
        return datasets.List(datasets.List(kind.feature))
    return media_type(role)(decode=False) if role in MEDIA_ROLES and not is_ready_features(kind) else kind


def stored_cell(role: str, kind, cell):
    """A cell in the form of `stored_type`: an embedding is a sequence of one."""
    if is_vector(kind):
        return cell and [cell]
    return stored_file(cell) if role in MEDIA_ROLES and not is_ready_features(kind) else cell


def stored_file(cell: dict | bytes | str | None) -> dict | None:
    """A cell of a medium, however it came, as bytes or a path that can be opened; None where it is empty or blank."""
    if isinstance(cell, str):
        cell = {"bytes": None, "path": cell} if cell.strip() else None
    if cell is None or isinstance(cell, bytes):
        return cell and {"bytes": cell, "path": None}
    if "array" in cell:
        return stored_samples(cell["array"], cell["sampling_rate"])
    if cell["bytes"] is None and is_in_archive_or_hub(cell["path"] or ""):
        with fsspec.open(cell["path"]) as file:
            content = file.read(DEFAULT_LIMITS.max_member_bytes + 1)
        return {"bytes": content if len(content) <= DEFAULT_LIMITS.max_member_bytes else b"", "path": cell["path"]}
    return cell


def is_in_archive_or_hub(path: str) -> bool:
    """Whether a path is `hf://...`, or `zip://file::` of an archive there or here; no other address is opened."""
    *inner, outer = path.split("::")
    is_address = "://" in outer
    return all(hop.startswith("zip://") for hop in inner) and (outer.startswith("hf://") or (inner and not is_address))


def stored_samples(samples: list | None, rate: int | None) -> dict | None:
    """Samples (time,) or (channels, time) as the bytes of a WAV file of floats, which keeps their every bit."""
    if samples is None:
        return None
    if not rate:
        return {"bytes": None, "path": None}  # Such a row is a bad one.
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(samples, np.float32).T, int(rate), format="WAV", subtype="FLOAT")
    return {"bytes": buffer.getvalue(), "path": None}
