# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The pickled files in which MMSA gives CMU-MOSI, CMU-MOSEI and CH-SIMS, read without running anything they contain.

    {"train": {"id": [...], "raw_text": [...], "text": (N, length, size), "vision": (N, length, size),
               "audio": (N, length, size), "regression_labels": (N,), ...}, "valid": {...}, "test": {...}}

A pickle is a program. `SafeUnpickler` refuses every function that is not needed to put arrays together; the arrays
become columns of ready features, each row without its padding.
"""

import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict

_FEATURES = ("text", "vision", "audio")
_ROWS_PER_CHUNK = 500  # Arrow counts the numbers in a chunk with 32 bits


def _from_buffer(buffer: bytes, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _latin1(text: str, encoding: str) -> bytes:
    """How pickles of Python 2 and of protocol 2 write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are encoded as '{encoding}', expected latin1.")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): OrderedDict,
}
for _module in ("numpy.core", "numpy._core"):  # before and since numpy 2
    _ALLOWED |= {
        (f"{_module}.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
        (f"{_module}.multiarray", "scalar"): np.float32(0).__reduce__()[0],
        (f"{_module}.numeric", "_frombuffer"): _from_buffer,
    }


class SafeUnpickler(pickle.Unpickler):
    """Reads arrays, strings, numbers and containers of them, and nothing that could run code."""

    def find_class(self, module: str, name: str):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"The pickle asks for '{module}.{name}', which is not part of a numpy array: it was not called, since a "
                "pickle can run any code. Convert the file, where you trust it, to parquet."
            )
        return _ALLOWED[module, name]


def read_mmsa(path: str) -> DatasetDict:
    """The splits of a file, with its own names of splits and columns.

    `text`, `vision` and `audio` become ready features (length, size). Frames of zeros at their ends are padding and
    taken away, or all beyond `vision_lengths` and `audio_lengths` where the file has these; a row of nothing else lacks
    the modality. An array (N, size), as of sentence embeddings, is a sequence of one. Minus infinity, which COVAREP gives
    for the logarithm of silence, becomes 0, as in MMSA.

    Raises:
        pickle.UnpicklingError: the file is no pickle, or asks for anything but numpy arrays.
        ValueError: it has another layout.
    """
    try:
        with open(path, "rb") as file:
            content = SafeUnpickler(file, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError) as error:
        raise pickle.UnpicklingError(f"Cannot read '{path}': {error} Give a file as MMSA writes it.") from error
    is_known = isinstance(content, dict) and all(isinstance(columns, dict) for columns in content.values())
    if not is_known or not any(name in columns for columns in content.values() for name in _FEATURES):
        raise ValueError(
            f"'{Path(path).name}' does not have the layout of MMSA: a dictionary of splits, each a dictionary with "
            f"{', '.join(_FEATURES)} and labels, one entry for each row."
        )
    return DatasetDict({name: Dataset(pa.table(dict(_columns(columns)))) for name, columns in content.items()})


def _columns(columns: dict) -> Iterator[tuple[str, pa.ChunkedArray]]:
    rows = next(len(columns[name]) for name in _FEATURES if name in columns)
    for name, values in columns.items():
        if len(values) != rows:
            raise ValueError(f"Column '{name}' has {len(values)} rows, expected {rows} as in the others.")
        if name in _FEATURES and np.ndim(values[0]) in (1, 2):
            values = [np.atleast_2d(frames) for frames in values]  # (size,) is (1, size)
            yield name, _feature_column(values, columns.get(f"{name}_lengths", [None] * rows))
        elif np.ndim(values[0]) == 0 and not name.endswith("_lengths"):
            yield name, pa.chunked_array([pa.array(np.asarray(values).tolist())])


def _feature_column(values, lengths) -> pa.ChunkedArray:
    cells = [without_padding(np.asarray(frames, np.float32), length) for frames, length in zip(values, lengths)]
    chunks = [cells[start : start + _ROWS_PER_CHUNK] for start in range(0, len(cells), _ROWS_PER_CHUNK)]
    return pa.chunked_array([_nested_array(chunk, np.shape(values[0])[-1]) for chunk in chunks])


def _nested_array(cells: list[np.ndarray | None], size: int) -> pa.ListArray:
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
