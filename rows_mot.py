# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows of a batch as people give them: what inputs are called, and which cell of which input belongs to which row."""

import difflib
from collections.abc import Collection, Sequence
from typing import Any

import torch

from .cells_mot import present_rows
from .decoding_mot import is_array
from .modalities_mot import CELLS, MODALITIES, MODALITY_OF_CELL

# What else people call an input, in the singular as a row has it; each of these can mean nothing else.
SYNONYMS = {synonym: cell.name for cell in CELLS.values() for synonym in cell.synonyms}
# What is called otherwise in a call than in a row.
ARGUMENTS = {cell.name: cell.argument for cell in CELLS.values() if cell.argument != cell.name}
CALL_SYNONYMS = {name: ARGUMENTS.get(meant, meant) for name, meant in SYNONYMS.items()} | ARGUMENTS
# argument -> its cell and the modality of that
CELLS_OF_ARGUMENTS = {cell.argument: (cell, MODALITIES[MODALITY_OF_CELL[cell.name]]) for cell in CELLS.values()}


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
    cell, modality = CELLS_OF_ARGUMENTS.get(name, (None, None))  # none for ready features
    if is_array(value):
        return list(value) if value.ndim == (cell.dimensions if cell else 2) + 1 else [value]
    is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview))
    if not is_list or (cell and modality.is_one(cell, value)):
        return [value]
    cells = [value[i] for i in range(len(value))]  # lists, tuples and columns of `datasets`
    return modality.split(cell, cells) if cell else cells


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
        for modality in MODALITIES.values():
            forms = [cell.argument for cell in modality.cells if cell.argument in present]
            if len(forms) > 1:
                raise ValueError(f"Row {i} has both {' and '.join(forms)}: give at most one of them.")


def check_raw_or_ready(rows: dict[str, list]) -> None:
    """Raise a ValueError if an input is given both raw and as ready features."""
    for cell, modality in CELLS_OF_ARGUMENTS.values():
        if cell.argument in rows and modality.features_argument in rows:
            raise ValueError(f"Got both {cell.argument} and {modality.features_argument}: a batch holds one of them.")
