# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""CSV, TSV, JSON lines and JSON files as tables of strings, or of JSON's own types.

An empty or blank cell is the only missing one; a word such as None or NA is that word.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sized
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
from transformers.utils import logging

from mixture_of_transformers.data.dataset_limits import DEFAULT_LIMITS, DatasetLimits
from mixture_of_transformers.data.text_files import (
    MAX_LINE_CHARACTERS,
    find_encoding,
    named,
    open_bytes,
    open_text,
    table_suffix,
)

logger = logging.get_logger(__name__)

JSON_LINES_SUFFIXES = (".jsonl", ".ndjson")
CSV_SUFFIXES = (".csv", ".tsv")
TEXT_TABLE_SUFFIXES = (*JSON_LINES_SUFFIXES, *CSV_SUFFIXES, ".json")
DELIMITERS = ",;\t|"
SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?\r?\n')  # Excel may say the delimiter in the first line.
SAMPLE_CHARACTERS, SAMPLE_ROWS = 1 << 16, 50  # of a file, to find its delimiter by
BLOCK_BYTES = 16 << 20  # A CSV file is read in such blocks, and no row of it may be longer.
CHUNK_CHARACTERS = 8 << 20  # of JSON, which become one table
CHUNK_CELLS = 4 << 20  # of such a table at most, since each row may have columns of its own
MAX_COLUMNS = 2_000
MAX_DOCUMENT_CHARACTERS = 1 << 30  # A .json file is read as a whole.


def read_tables(file: str, name: str, limits: DatasetLimits = DEFAULT_LIMITS) -> Iterator[pa.Table]:
    """The tables of a file, part by part. Cells of CSV are strings, those of JSON have its types, blank ones are null.

    Args:
        file: where its bytes are.
        name: what it is called, which says what it holds.

    Raises:
        ValueError: the file cannot be read; it is named.
    """
    with named(name):
        tables = csv_tables if table_suffix(name) in CSV_SUFFIXES else json_tables
        for table in tables(file, name, limits):
            yield pa.table({column: without_blanks(table[column]) for column in table.column_names})


def without_blanks(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Strings, of which those of white space alone are null."""
    if not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
        return cells
    is_blank = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(cells)), 0)
    if not pc.any(is_blank).as_py():
        return cells
    return pc.if_else(is_blank, pa.scalar(None, cells.type), cells)


def csv_tables(file: str, name: str, limits: DatasetLimits) -> Iterator[pa.Table]:
    encoding = find_encoding(file, name, limits)
    with open_text(file, name, encoding, limits, newline="") as text:
        delimiter, header, skipped = find_dialect(text.read(SAMPLE_CHARACTERS), name)
    columns = column_names(header, name)
    with open_bytes(file, name, limits) as raw:
        batches = arrow_csv.open_csv(
            raw,
            arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, encoding=encoding, skip_rows=skipped),
            arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            arrow_csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False),
        )
        is_empty = True
        for batch in batches:
            is_empty = False
            cells = [with_points(column) for column in batch.columns] if delimiter == ";" else batch.columns
            yield pa.Table.from_arrays(cells, columns)
        if is_empty:
            yield pa.table(dict.fromkeys(columns, pa.array([], pa.string())))


def with_points(cells: pa.Array) -> pa.Array:
    """Numbers with decimal commas, which stand in files where the comma separates nothing, with points."""
    if pc.all(pc.match_substring_regex(cells, r"^\s*([+-]?\d+(,\d+)?([eE][+-]?\d+)?)?\s*$")).as_py():
        return pc.replace_substring(cells, ",", ".")
    return cells


def find_dialect(sample: str, name: str) -> tuple[str, list[str], int]:
    """What stands between the cells, the first row, and how many lines stand above it."""
    if said := SEPARATOR_LINE.match(sample):
        rows = sample_rows(sample[said.end() :], said[1])
        if rows:
            return said[1], rows[0], 1
    first = "\t" if table_suffix(name) == ".tsv" else ","
    candidates = [first, *DELIMITERS.replace(first, "")]
    rows = {delimiter: sample_rows(sample, delimiter) for delimiter in candidates}
    if not rows[first]:
        raise ValueError(f"'{name}' is empty: expected a row of column names, and a row for each example.")
    widths = {delimiter: {len(row) for row in found} for delimiter, found in rows.items()}
    regular = [delimiter for delimiter in candidates if len(widths[delimiter]) == 1 and widths[delimiter] != {1}]
    # Where no delimiter gives rows of one length, some row is broken, and the most columns are the best guess.
    chosen = regular[0] if regular else max(candidates, key=lambda delimiter: len(rows[delimiter][0]))
    return chosen, rows[chosen][0], 0


def sample_rows(sample: str, delimiter: str) -> list[list[str]]:
    lines = io.StringIO(sample if len(sample) < SAMPLE_CHARACTERS else sample[: sample.rfind("\n") + 1], newline="")
    return list(islice((row for row in csv.reader(lines, delimiter=delimiter) if row), SAMPLE_ROWS))


def column_names(header: list[str], name: str) -> list[str]:
    names = [cell.strip() or f"Unnamed: {place}" for place, cell in enumerate(header)]
    check_columns(names, name)
    if twice := sorted(cell for cell, count in Counter(names).items() if count > 1):
        raise ValueError(f"'{name}' has several columns called {', '.join(map(repr, twice))}: rename them in line 1.")
    return names


def check_columns(names: Sized, name: str) -> None:
    if len(names) > MAX_COLUMNS:
        raise ValueError(f"'{name}' has more than {MAX_COLUMNS} columns: keep those that a model is to read.")


def json_tables(file: str, name: str, limits: DatasetLimits = DEFAULT_LIMITS) -> Iterator[pa.Table]:
    encoding, warned = find_encoding(file, name, limits), set()
    with open_text(file, name, encoding, limits) as text:
        rows = json_lines(text, name) if is_lines(file, name, encoding, limits) else json_document(text, name)
        chunk, columns, size = [], set(), 0
        for row, characters in rows:
            chunk.append(row)
            columns.update(row)
            check_columns(columns, name)
            size += characters
            if size > CHUNK_CHARACTERS or len(chunk) * len(columns) > CHUNK_CELLS:
                yield json_table(chunk, name, warned)
                chunk, size = [], 0
        if chunk:
            yield json_table(chunk, name, warned)


def is_lines(file: str, name: str, encoding: str, limits: DatasetLimits) -> bool:
    """Whether each line is a row; a file `.json` may also be one list, or one object."""
    if table_suffix(name) in JSON_LINES_SUFFIXES:
        return True
    with open_text(file, name, encoding, limits) as text:
        first = next(filter(str.strip, lines_of(text)), "")
        has_second = len(first) <= MAX_LINE_CHARACTERS and any(map(str.strip, lines_of(text)))
    try:
        return has_second and isinstance(parse_json(first, name), dict)
    except ValueError:
        return False


def lines_of(text: io.TextIOBase) -> Iterator[str]:
    """The lines of a file; of one that is too long, its beginning."""
    return iter(lambda: text.readline(MAX_LINE_CHARACTERS + 1), "")


def parse_json(text: str, place: str, advice: str = ""):
    """
    Raises:
        ValueError: it is not JSON, or lists within lists are too deep to be read; the place is named.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = "" if place.endswith(",") else f", line {error.lineno},"
        raise ValueError(f"{place}{line} is not JSON: {error.msg} at character {error.colno - 1}.{advice}") from error
    except (RecursionError, ValueError) as error:  # Python refuses numbers of thousands of digits.
        raise ValueError(f"{place} is JSON that cannot be read: {error}.{advice}") from error


def json_lines(text: io.TextIOBase, name: str) -> Iterator[tuple[dict, int]]:
    advice = " Each line holds one object, or the file is called .json and holds one list of objects."
    for number, line in enumerate(lines_of(text), 1):
        if len(line) > MAX_LINE_CHARACTERS:
            raise ValueError(f"'{name}', line {number}: a row may have {MAX_LINE_CHARACTERS >> 20} MiB, it has more.")
        if line.strip():
            row = parse_json(line, f"'{name}', line {number},", advice)
            if not isinstance(row, dict):
                raise ValueError(f"'{name}', line {number}: expected an object, got {line.strip()[:80]}.")
            yield row, len(line)


def json_document(text: io.TextIOBase, name: str) -> Iterator[tuple[dict, int]]:
    content = text.read(MAX_DOCUMENT_CHARACTERS + 1)
    if len(content) > MAX_DOCUMENT_CHARACTERS:
        raise ValueError(
            f"'{name}' has more than {MAX_DOCUMENT_CHARACTERS >> 20} MiB, and is read as a whole: write one object a "
            "line into a file that ends in .jsonl."
        )
    content = parse_json(content, f"'{name}'")
    for row in rows_of_document(content, name):
        yield row, 1000  # The document is in memory as a whole, so any number of characters does.


def rows_of_document(content, name: str) -> list[dict]:
    """The rows of a list of objects, of an object with one such list, or of an object of columns of equal length.

    Raises:
        ValueError: it is something else.
    """
    if are_rows(content):
        return content
    parts = content if isinstance(content, dict) else {}
    lists = {key: part for key, part in parts.items() if are_rows(part)}
    if len(lists) == 1:
        return next(iter(lists.values()))
    columns = [cells_of_column(part) for part in parts.values()]
    if columns and not lists and None not in columns and len({len(column) for column in columns}) == 1:
        return [dict(zip(parts, cells)) for cells in zip(*columns)]
    found = f"the keys {', '.join(map(repr, islice(parts, 10)))}" if parts else type(content).__name__
    several = f", of which {', '.join(map(repr, lists))} hold rows each" if lists else ""
    raise ValueError(
        f"'{name}' has no single list of rows: it holds {found}{several}. Write the rows as a list of objects "
        '([{"text": "...", "label": "..."}, ...]), or one object a line in a file that ends in .jsonl.'
    )


def is_table_of_rows(file: str) -> bool:
    """Whether a JSON file holds rows, and not settings."""
    try:
        return next(json_tables(file, file), None) is not None
    except ValueError:
        return False


def are_rows(part) -> bool:
    return isinstance(part, list) and len(part) > 0 and all(isinstance(row, dict) for row in part)


def cells_of_column(part) -> list | None:
    """A column as pandas writes it: a list, or an object from row numbers to cells."""
    if isinstance(part, dict) and list(part) == [str(row) for row in range(len(part))]:
        return list(part.values())
    return part if isinstance(part, list) else None


def json_table(rows: list[dict], name: str, warned: set[str]) -> pa.Table:
    columns = {}
    for column in dict.fromkeys(key for row in rows for key in row):
        cells = [row.get(column) for row in rows]
        try:
            columns[column] = pa.array(cells)
        except (pa.ArrowException, OverflowError):
            columns[column] = pa.array([as_text(cell) for cell in cells], pa.string())
            warn_of_mixture(column, cells, name, warned)
    return pa.table(columns)


def as_text(cell) -> str | None:
    return cell if cell is None or isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)


def warn_of_mixture(column: str, cells: list, name: str, warned: set[str]) -> None:
    if column not in warned:
        examples = {type(cell): json.dumps(cell)[:40] for cell in reversed(cells) if cell is not None}
        logger.warning_once(
            f"Column '{column}' of '{name}' mixes {' and '.join(examples.values())}: all are read as text."
        )
        warned.add(column)
