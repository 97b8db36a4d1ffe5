# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows of a batch as people give them: what inputs are called, and which cell of which input belongs to which row."""

import difflib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from .decoding_audio_mot import is_number_list, is_rate_and_samples
from .decoding_mot import is_array

# What else people call an input, in the singular as a row has it; each of these can mean nothing else.
SYNONYMS = {
    **dict.fromkeys(("texts", "sentence", "sentences"), "text"),
    **dict.fromkeys(("images", "picture", "pictures"), "image"),
    **dict.fromkeys(("audios", "sound", "sounds"), "audio"),
    "videos": "video",
}
ARGUMENTS = {"image": "images", "video": "videos"}  # the others are called alike in a row and in a call
CALL_SYNONYMS = {name: ARGUMENTS.get(meant, meant) for name, meant in SYNONYMS.items()} | ARGUMENTS
RAW_OR_READY = (
    ("text", "text_features"),
    ("images", "image_features"),
    ("videos", "image_features"),
    ("audio", "audio_features"),
)
# The dimensions of an array that is one row of the argument; sound and ready features have 2.
ROW_DIMENSIONS = {"text": 0, "images": 3, "videos": 4}


def unknown_name(name: str, known: Collection[str], what: str) -> ValueError:
    """The error for a name that nobody knows, with the nearest that somebody does."""
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"there are {', '.join(known)}."
    return ValueError(f"Unknown {what} `{name}`: {hint}")


def resolve_synonyms(given: dict[str, Any], names: dict[str, str], row: str = "") -> dict[str, Any]:
    """`given` by the names that are meant; `names` leads from each synonym to its own. Errors begin with `row`."""
    resolved = {}
    for name, value in given.items():
        meant = names.get(name, name)
        if value is not None and resolved.get(meant) is not None:
            other = next(other for other in given if names.get(other, other) == meant)
            raise ValueError(f"{row}Got both `{other}` and `{name}`, which mean the same: give one of them.")
        if value is not None or meant not in resolved:
            resolved[meant] = value
    return resolved


def batch_rows(given: dict[str, Any]) -> dict[str, list]:
    """
    The cells of each argument, one for each row of the batch, None where the row has none.

    Args:
        given: argument -> what was passed, a batch or a single input; None where nothing was.

    Returns:
        The arguments of which a row has something; {} if there is nothing at all.

    Raises:
        ValueError: naming the row, if it is empty or has two inputs of one kind; or if batch sizes differ.
    """
    for name, value in given.items():
        check_array(name, value)
    rows = {name: to_rows(name, value) for name, value in given.items() if value is not None}
    if not any(rows.values()):
        return {}
    rows = {name: [None if is_blank(cell) else cell for cell in cells] for name, cells in rows.items()}
    for name, cells in rows.items():
        for i, cell in enumerate(cells):
            check_array(f"{name}[{i}]", cell)
    check_rows(rows)
    rows = {name: cells for name, cells in rows.items() if present_rows(cells)}
    check_raw_or_ready(rows)
    return rows


def to_rows(name: str, value: Any) -> list:
    """One cell for each row: a batch is split, a single input becomes a batch of one."""
    if is_array(value):
        return list(value) if value.ndim == ROW_DIMENSIONS.get(name, 2) + 1 else [value]
    is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview))
    if not is_list or (name == "audio" and is_rate_and_samples(value)):
        return [value]
    cells = [value[i] for i in range(len(value))]  # lists, tuples and columns of `datasets`
    return SPLITTERS[name](cells) if name in SPLITTERS else cells


def image_rows(cells: list) -> list:
    """Each cell's one picture."""
    return [unnest_image(cell, f"images[{i}]") for i, cell in enumerate(cells)]


def video_rows(cells: list) -> list:
    """A list of frames is one video."""
    is_one_video = any(isinstance(cell, Image.Image) or (is_array(cell) and cell.ndim < 4) for cell in cells)
    return [cells] if is_one_video else cells


def audio_rows(cells: list) -> list:
    """A list of numbers is one sound."""
    return [np.asarray(cells)] if is_number_list(cells) else cells


SPLITTERS = {"images": image_rows, "videos": video_rows, "audio": audio_rows}


def unnest_image(row: Any, name: str) -> Any:
    """transformers also writes a batch as [[image], [], [image]]."""
    if not isinstance(row, (list, tuple)):
        return row
    if len(row) > 1:
        raise ValueError(f"{name} is a list of {len(row)} pictures: a row takes one; pass several as `videos`.")
    return row[0] if row else None


def is_blank(value: Any) -> bool:
    """Whether an input is a string of white space alone, which counts as none, as an empty cell of a table does."""
    return isinstance(value, str) and not value.strip()


def check_array(name: str, value: Any) -> None:
    """Raise a ValueError for an array whose values cannot be had or are no numbers."""
    if not is_array(value):
        return
    is_tensor = isinstance(value, torch.Tensor)
    if is_tensor and (value.is_meta or value.is_nested or value.layout != torch.strided):
        raise ValueError(
            f"{name} is a tensor without values of its own ({value.device}, {value.layout}): expected a dense one."
        )
    if value.is_complex() if is_tensor else value.dtype.kind not in "biufOUS":
        raise ValueError(f"{name} is an array of type {value.dtype}: expected real numbers.")


def check_rows(rows: dict[str, list]) -> None:
    """Every modality has the same number of rows, every row has something, and nothing is given twice."""
    sizes = {name: len(values) for name, values in rows.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ValueError(f"Batch sizes differ: {listed}. A row that lacks a modality is None in its list.")
    for i in range(max(sizes.values())):
        present = {name for name, values in rows.items() if values[i] is not None}
        if not present:
            listed = f"{', '.join(rows)} are all" if len(rows) > 1 else f"{next(iter(rows))} is"
            raise ValueError(f"Row {i} is empty: {listed} None or blank there.")
        if {"images", "videos"} <= present:
            raise ValueError(f"Row {i} has both images and videos: give at most one of them.")


def check_raw_or_ready(rows: dict[str, list]) -> None:
    """Raise a ValueError if an input is given both raw and as ready features."""
    for raw, ready in RAW_OR_READY:
        if raw in rows and ready in rows:
            raise ValueError(f"Got both {raw} and {ready}: a batch holds one of them.")


def present_rows(cells: list) -> list[int]:
    """The numbers of the rows that have a cell."""
    return [i for i, cell in enumerate(cells) if cell is not None]


def spread(values: torch.Tensor, indices: list[int], batch_size: int) -> torch.Tensor:
    """(len(indices), ...) to (batch_size, ...): the given rows at their places, zeros elsewhere."""
    spread_values = values.new_zeros(batch_size, *values.shape[1:])
    spread_values[indices] = values
    return spread_values
