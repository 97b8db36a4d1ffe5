# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows that a checkpoint brings to be tried: those of `examples.jsonl` in its folder, and of the embedded digits."""

import json
from pathlib import Path
from typing import Any

from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.rows_mot import RowTable, unknown_name
from mixture_of_transformers.search.rows import as_stored

EXAMPLES = "examples.jsonl"
MOST_EXAMPLES = 5


def digits() -> list[dict[str, Any]]:
    """Rows of the embedded digits that no training saw."""
    return list(as_stored(load_digits_dataset()["test"].select(range(MOST_EXAMPLES))))


def examples_in(folder: str | Path, table: RowTable) -> list[dict[str, Any]]:
    """
    The first rows of `examples.jsonl`, a row in each line as the pipeline takes it, with files by their paths in the
    folder; none where there is no such file.

    Args:
        table: that of the processor.

    Raises:
        ValueError: a line holds no row, or names a file that does not lie in the folder.
    """
    file = Path(folder) / EXAMPLES
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").splitlines()
    rows = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    return [
        read_example(line, file.parent, f"{EXAMPLES}, line {number}", table) for number, line in rows[:MOST_EXAMPLES]
    ]


def read_example(line: str, folder: Path, name: str, table: RowTable) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} holds no JSON: {error}.") from None
    if not isinstance(row, dict):
        raise ValueError(f'{name} is {line!r:.40}: expected a row, such as {{"text": "...", "image": "one.png"}}.')
    for key in row:
        if key not in table.cells:
            raise unknown_name(key, table.cells, f"part of {name}:")
    media = [key for key in row if table.cells[key].medium is not None]
    return row | {key: read_file(row[key], folder, name) for key in media}


def read_file(path: Any, folder: Path, name: str) -> bytes | None:
    """What lies at a path in the folder, links followed."""
    if path is None:
        return None
    place = (folder / str(path)).resolve()
    if folder.resolve() not in place.parents or not place.is_file():
        raise ValueError(f"{name} names {path!r:.100}, which is no file in its folder.")
    return place.read_bytes()
