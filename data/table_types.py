# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The types of a table's columns: the ones that all their cells fit, and how cells become of another type.

A word such as None or NA is that word, save among numbers.
"""

import functools
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features
from transformers.utils import logging

from mixture_of_transformers.data.dataset_limits import DEFAULT_LIMITS, DatasetLimits
from mixture_of_transformers.data.tables import CSV_SUFFIXES, as_text, read_tables
from mixture_of_transformers.data.text_files import table_suffix

logger = logging.get_logger(__name__)

# What programs write for a missing number.
NOT_A_NUMBER = pa.array(
    ["#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"]
    + ["NULL", "NaN", "None", "n/a", "nan", "null"]
)
# Leading zeros, or more digits than an integer holds, make a code, which would become another one as a number.
INTEGER_PATTERN = r"^[+-]?(0|[1-9]\d{0,17})$"
NUMBER_PATTERN = r"^[+-]?((0|[1-9]\d{0,17})(\.\d*)?|\.\d+)([eE][+-]?\d+)?$|^(?i:[+-]?inf(inity)?)$"
BOOLEAN_PATTERN = r"^(?i:true|false)$"
ONLY_WORDS = "words"  # the kind of a column that holds nothing but words of `NOT_A_NUMBER`


def learn_types(
    files: list[tuple[str, str]], tables_of_each: int | None = None, limits: DatasetLimits = DEFAULT_LIMITS
) -> Features:
    """The types of the columns: what every cell of these files fits, whichever of them it stands in.

    Args:
        files: pairs of where a file is and what it is called.
        tables_of_each: look no further than so many parts of a file.
    """
    kinds: dict[str, dict] = {}  # column -> its kinds, in the order in which they are met, each with a file
    for file, name in files:
        for table in islice(read_tables(file, name, limits), tables_of_each):
            for column in table.column_names:
                kind = csv_kind(table[column]) if table_suffix(name) in CSV_SUFFIXES else table[column].type
                kinds.setdefault(column, {})[kind] = name
    return Features.from_arrow_schema(
        pa.schema({column: common_kind(column, found) for column, found in kinds.items()})
    )


def csv_kind(cells: pa.ChunkedArray):
    """int64, float64, bool, string; null where all are empty, and `ONLY_WORDS`."""
    present = pc.utf8_trim_whitespace(cells.drop_null())
    if len(present) == 0:
        return pa.null()
    numbers = present.filter(pc.invert(pc.is_in(present, NOT_A_NUMBER)))
    if len(numbers) == 0:
        return ONLY_WORDS
    for kind, pattern in ((pa.int64(), INTEGER_PATTERN), (pa.float64(), NUMBER_PATTERN)):
        if pc.all(pc.match_substring_regex(numbers, pattern)).as_py():
            return kind
    return pa.bool_() if pc.all(pc.match_substring_regex(present, BOOLEAN_PATTERN)).as_py() else pa.string()


def common_kind(column: str, kinds: dict) -> pa.DataType:
    """The type that holds them all, and text where there is none."""
    types = [kind for kind in kinds if kind != ONLY_WORDS]
    if all(kind == pa.null() for kind in types):
        return pa.string() if ONLY_WORDS in kinds else pa.null()
    is_number = all(kind in (pa.null(), pa.int64(), pa.float64()) for kind in types)
    if ONLY_WORDS in kinds and not is_number:
        return pa.string()
    try:
        return functools.reduce(unified_type, types)
    except pa.ArrowException:
        names = [name for name in kinds.values() if table_suffix(name) not in CSV_SUFFIXES]
        if names:
            mixed = " and ".join(map(str, types))
            logger.warning_once(f"Column '{column}' of '{names[-1]}' mixes {mixed}: all are read as text.")
        return pa.string()


def unified_type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    schemas = [pa.schema({"cell": kind}) for kind in (first, second)]
    return pa.unify_schemas(schemas, promote_options="permissive").field("cell").type


def cast_cells(cells: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Cells as another type, where that loses nothing: 1 as 1.0 and "1", "1" and 1.0 as 1; NaN is a missing integer.

    Raises:
        pa.ArrowException: a cell cannot become one of this type.
    """
    if cells.type == kind:
        return cells
    if cells.null_count == len(cells):
        return pa.chunked_array([pa.nulls(len(cells), kind)])
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if pa.types.is_floating(cells.type) and (is_text or pa.types.is_integer(kind)):
        cells = pc.if_else(pc.is_finite(cells), cells, pa.scalar(None, cells.type))
        if pc.all(pc.equal(pc.floor(cells), cells)).as_py() is not False:
            cells = cells.cast(pa.int64())
    if is_text and pa.types.is_boolean(cells.type):
        return pc.if_else(cells, "True", "False").cast(kind)
    if is_text and (pa.types.is_nested(cells.type)):
        return pa.chunked_array([[as_text(cell) for cell in cells.to_pylist()]], kind)
    if pa.types.is_string(cells.type) and not is_text:
        cells = pc.replace_substring_regex(pc.utf8_trim_whitespace(cells), r"^\+", "")
    return cells.cast(kind)


def cast_csv(cells: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Strings of a CSV file as the type of their column."""
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        trimmed = pc.utf8_trim_whitespace(cells)
        is_missing = pc.is_in(trimmed, NOT_A_NUMBER)
        cells = pc.if_else(is_missing, pa.scalar(None, cells.type), trimmed)
        if pa.types.is_integer(kind):  # A cell may be "2.0" where the training rows have 2.
            cells = pc.replace_substring_regex(cells, r"^([+-]?\d+)\.0*$", r"\1")
    return cast_cells(cells, kind)
