# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Filters of a search: which rows hold the values that `where` asks for."""

import difflib
import numbers
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset

from mixture_of_transformers.data.column_types import is_medium


def matches(rows: Dataset, name: str, value: Any) -> np.ndarray:
    """
    In which of N rows the cell of the column `name` is this value, (N,) bool; None asks for empty cells.

    Raises:
        ValueError: there is no such column, it holds media, or none of its cells can be this value.
    """
    if name not in rows.column_names:
        nearest = difflib.get_close_matches(str(name), rows.column_names, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"`where` names {name!r}, but the rows have {', '.join(rows.column_names)}.{hint}")
    column, feature = rows.data.column(name), rows.features[name]
    if value is None:
        return np.asarray(column.is_null())
    if is_medium(feature):
        raise ValueError(
            f"`where` cannot compare {name!r}, a column of {type(feature).__name__.lower()}s, with {value!r}: it "
            "matches values alone, or None. Name another column, or give a function of the row."
        )
    if isinstance(feature, ClassLabel):
        value = class_number(feature, name, value)
    cell = as_cell(column.type, name, value)
    if pa.types.is_nested(column.type):
        return np.array([own == cell.as_py() for own in column.to_pylist()], dtype=bool)
    return np.asarray(pc.fill_null(pc.equal(column, cell), False))


def class_number(feature: ClassLabel, name: str, value: Any) -> Any:
    """
    The number of a class, which may be given by its name. The number -1 means no class.

    Raises:
        ValueError: there is no such class.
    """
    if isinstance(value, str):
        if value not in feature.names:
            nearest = difflib.get_close_matches(value, feature.names, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"they are {', '.join(feature.names[:20])}."
            raise ValueError(f"`where` asks for the class {value!r} of {name!r}, which is none of its classes: {hint}")
        return feature.names.index(value)
    if isinstance(value, numbers.Integral) and not -1 <= value < feature.num_classes:
        raise ValueError(f"`where` asks for class {value} of {name!r}, which has 0 to {feature.num_classes - 1}.")
    return value


def as_cell(kind: pa.DataType, name: str, value: Any) -> pa.Scalar:
    """
    A value as a cell of a column of type `kind`.

    Raises:
        ValueError: no cell of this type can be this value.
    """
    value = value.item() if isinstance(value, np.generic) else value
    is_bool = isinstance(value, bool) == pa.types.is_boolean(kind) or pa.types.is_nested(kind)
    try:
        cell = pa.scalar(value, kind)
        if is_bool and (pa.types.is_floating(kind) or cell.as_py() == value):
            return cell
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    raise ValueError(
        f"`where` asks for {value!r} ({type(value).__name__}) in {name!r}, whose cells are {kind}, so that nothing "
        "matches: give a value of that type, or a function of the row."
    )
