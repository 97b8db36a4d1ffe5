# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The pickled files in which MMSA gives CMU-MOSI, CMU-MOSEI and CH-SIMS, read without running anything they contain.

    {"train": {"id": [...], "raw_text": [...], "text": (N, length, size), "vision": (N, length, size),
               "audio": (N, length, size), "regression_labels": (N,), ...}, "valid": {...}, "test": {...}}

`data/pickles.py` puts the arrays together without calling anything; they become columns of ready features, each row
without its padding.
"""

from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict

from mixture_of_transformers.data.pickles import read_pickle

FEATURE_COLUMNS = ("text", "vision", "audio")
ROWS_PER_CHUNK = 500  # Arrow counts the numbers in a chunk with 32 bits.


def read_mmsa(path: str) -> DatasetDict:
    """The splits of a file, with its own names of splits and columns.

    `text`, `vision` and `audio` become ready features (length, size). Frames of zeros at their ends are padding and
    taken away, or all beyond `vision_lengths` and `audio_lengths` where the file has these; a row of nothing else
    lacks the modality. An array (N, size), as of sentence embeddings, is a sequence of one. Minus infinity, which
    COVAREP gives for the logarithm of silence, becomes 0, as in MMSA.

    Raises:
        ValueError: the file is no pickle, or asks for anything but numpy arrays; or it has another layout, of which
            the split and the column are named.
    """
    try:
        content = read_pickle(path)
    except UnpicklingError as error:
        raise ValueError(f"Cannot read '{path}': {error} Give a file as MMSA writes it.") from error
    is_known = isinstance(content, dict) and all(isinstance(columns, dict) for columns in content.values())
    if not is_known or not any(name in columns for columns in content.values() for name in FEATURE_COLUMNS):
        raise ValueError(
            f"'{Path(path).name}' does not have the layout of MMSA: a dictionary of splits, each a dictionary with "
            f"{', '.join(FEATURE_COLUMNS)} and labels, one entry for each row."
        )
    return DatasetDict(
        {
            name: Dataset(pa.table(dict(columns_of_split(columns, f"'{path}', split '{name}'"))))
            for name, columns in content.items()
        }
    )


def columns_of_split(columns: dict, place: str) -> Iterator[tuple[str, pa.ChunkedArray]]:
    rows = next((number_of_rows(columns[name]) for name in FEATURE_COLUMNS if name in columns), 0)
    for name, values in columns.items():
        if (number := number_of_rows(values)) != rows or not rows:
            raise ValueError(
                f"{place}: column '{name}' has {number} rows, expected {rows or 'some'} as in the others."
            )
        try:
            if (column := column_of_cells(name, values, columns.get(f"{name}_lengths", [None] * rows))) is not None:
                yield name, column
        except (ValueError, TypeError, IndexError, ArithmeticError, pa.ArrowException) as error:
            raise ValueError(f"{place}: column '{name}' is no column of one kind of cells ({error}).") from error


def number_of_rows(values) -> int:
    is_column = isinstance(values, list | tuple) or (isinstance(values, np.ndarray) and values.ndim > 0)
    return len(values) if is_column else 0


def column_of_cells(name: str, values, lengths) -> pa.ChunkedArray | None:
    if name in FEATURE_COLUMNS and np.ndim(values[0]) in (1, 2):
        # One vector (size,) becomes (1, size).
        return feature_column([np.atleast_2d(frames) for frames in values], lengths)
    if np.ndim(values[0]) == 0 and not name.endswith("_lengths"):
        return pa.chunked_array([pa.array(np.asarray(values).tolist())])
    return None


def feature_column(values, lengths) -> pa.ChunkedArray:
    cells = [without_padding(np.asarray(frames, np.float32), length) for frames, length in zip(values, lengths)]
    chunks = [cells[start : start + ROWS_PER_CHUNK] for start in range(0, len(cells), ROWS_PER_CHUNK)]
    return pa.chunked_array([nested_array(chunk, np.shape(values[0])[-1]) for chunk in chunks])


def nested_array(cells: list[np.ndarray | None], size: int) -> pa.ListArray:
    """Cells (length, size) or None as lists of vectors, without a Python object for each number."""
    lengths = [0 if cell is None else len(cell) for cell in cells]
    frames = [cell for cell in cells if cell is not None]
    numbers = np.concatenate(frames).reshape(-1) if frames else np.zeros(0, np.float32)
    vectors = pa.ListArray.from_arrays(np.arange(0, len(numbers) + 1, size, dtype=np.int32), pa.array(numbers))
    is_missing = pa.array([cell is None for cell in cells])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, vectors, mask=is_missing)


def without_padding(frames: np.ndarray, length: int | None = None) -> np.ndarray | None:
    """(padded length, size) -> (length, size); None where every frame is zero."""
    frames = np.where(np.isneginf(frames), np.float32(0), frames)
    real = np.flatnonzero(frames.any(axis=1))
    if real.size == 0:
        return None
    if length is not None and real[-1] < length:
        return frames[: int(length)]
    return frames[real[0] : real[-1] + 1]
