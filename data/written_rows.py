# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A row as a person writes it on the command line: `--row row.json`, or `--row imu=imu.npy title="A walk"`.

Texts are themselves, and media the paths or URLs of their files. Of everything else a value is the path of a file of
JSON or of numpy (.json, .npy), or JSON itself: `vitals='{"age": 71}'`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mixture_of_transformers.rows_mot import RowTable

PAIR = re.compile(r"(?P<name>[A-Za-z]\w*)=(?P<value>.*)", re.DOTALL)
ROW_HELP = (
    "what else the row has: a JSON file with a dict of it, or NAME=VALUE of a modality, a text, or the path of a file "
    "(.json or .npy of numbers), or JSON"
)


def written_row(parts: Iterable[str], named: Mapping[str, str | None], table: RowTable) -> dict[str, Any]:
    """
    A row of what stands behind `--row` and of what options of their own name.

    Args:
        parts: each a JSON file with a dict of the row, or `name=value`.
        named: name of a cell -> what its option says, None where it was not given.
        table: of the processor, which says what a name is.

    Raises:
        ValueError: naming the part that is neither, or whose file cannot be read, or the name that is given twice.
    """
    row: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    for part in parts:
        pair = PAIR.fullmatch(part)
        found = {pair["name"]: pair["value"]} if pair else read_row_file(Path(part))
        if twice := [name for name in found if name in row]:
            raise ValueError(f"--row {part}: `{twice[0]}` is given twice.")
        row |= {name: written_value(value, name, table) for name, value in found.items()}
    return row


def read_row_file(path: Path) -> dict[str, Any]:
    """
    Raises:
        ValueError: the file is not there, or holds no row.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"--row {path} is neither NAME=VALUE nor a JSON file that can be read ({type(error).__name__}: {error})."
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"--row {path} holds a {type(found).__name__}: expected a row, a dict of its modalities.")
    return found


def written_value(value: Any, name: str, table: RowTable) -> Any:
    """A value as the processor takes it; what nobody knows stays as it is, so that the error comes from there."""
    name = table.synonyms.get(name, name)
    if not isinstance(value, str) or name not in table.cells:
        return value
    if table.cells[name].medium is not None or table.modality_of_cell[name].predicts_ids:
        return value
    path = Path(value)
    try:
        if path.suffix == ".npy" and path.is_file():
            return np.load(path, allow_pickle=False)
        return json.loads(path.read_text(encoding="utf-8") if path.suffix == ".json" and path.is_file() else value)
    except (OSError, ValueError, RecursionError) as error:
        if path.suffix in (".npy", ".json"):
            raise ValueError(f"{name}: {value!r:.100} cannot be read ({type(error).__name__}: {error}).") from error
        return value
