# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""CSV, TSV, JSON lines and JSON files as typed tables that mean the same, whichever of these forms they come in.

`TableBuilder` gives them to `datasets`, whole or as a stream. A file goes from bytes to text, from text to tables (of
strings, or of JSON's own types), and each column to the type that the training files decide, for all splits. An empty or
blank cell is the only missing one; a word such as None or NA is that word, save among numbers.
"""

import codecs
import csv
import functools
import gzip
import hashlib
import io
import json
import lzma
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import datasets
import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
from datasets import Features
from datasets.builder import Key
from datasets.download.streaming_download_manager import StreamingDownloadManager
from transformers.utils import logging

from mixture_of_transformers.data.dataset_limits import DEFAULT_LIMITS, DatasetLimits
from mixture_of_transformers.data.unpacking import unpacked

logger = logging.get_logger(__name__)

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
JSON_LINES_SUFFIXES = (".jsonl", ".ndjson")
SUFFIXES = (*JSON_LINES_SUFFIXES, ".csv", ".tsv", ".json")
CSV_SUFFIXES = (".csv", ".tsv")
DELIMITERS = ",;\t|"
SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?\r?\n')  # by which Excel says the delimiter in the first line
SAMPLE_CHARACTERS, SAMPLE_ROWS = 1 << 16, 50  # that a delimiter is found by
BLOCK_BYTES = 16 << 20  # of a CSV file; no row may be longer
CHUNK_CHARACTERS = 8 << 20  # of JSON that become a table at once
CHUNK_CELLS = 4 << 20  # likewise; rows may all have columns of their own
MAX_COLUMNS = 2_000
MAX_LINE_CHARACTERS = 128 << 20  # of JSON lines; a longer row is no row
MAX_DOCUMENT_CHARACTERS = 1 << 30  # of a .json file, which is read as a whole
FIRST_FILES = 10  # of a stream, whose first parts say what its columns are

READ_ERRORS = (pa.ArrowException, UnicodeError, csv.Error, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)
READ_ERRORS += (tarfile.TarError,)

# What programs write for a missing number.
NOT_A_NUMBER = pa.array(
    ["#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"]
    + ["NULL", "NaN", "None", "n/a", "nan", "null"]
)
# Leading zeros and more digits than an integer holds are codes, which as numbers would be others.
INTEGER_PATTERN = r"^[+-]?(0|[1-9]\d{0,17})$"
NUMBER_PATTERN = r"^[+-]?((0|[1-9]\d{0,17})(\.\d*)?|\.\d+)([eE][+-]?\d+)?$|^(?i:[+-]?inf(inity)?)$"
BOOLEAN_PATTERN = r"^(?i:true|false)$"
ONLY_WORDS = "words"  # the kind of a column of nothing but `NOT_A_NUMBER`


# ---- files to text ----------------------------------------------------------------------------------------------


def table_suffix(name: str) -> str:
    """The extension that says what a file holds: `.csv` of `rows.CSV.gz`."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in COMPRESSIONS else path.suffix


@contextmanager
def named(file: str):
    """Errors of the libraries that read files, with the file's name."""
    try:
        yield
    except (*READ_ERRORS, RecursionError) as error:
        raise ValueError(f"Cannot read '{file}': {error}. Repair the file, or leave it out.") from error


@contextmanager
def open_bytes(file: str, name: str, limits: DatasetLimits = DEFAULT_LIMITS):
    """A file here or at an address, unpacked as the name says; no character of a path is a pattern."""
    with fsspec.open(file, "rb") if "://" in file else open(file, "rb") as raw:
        kind = COMPRESSIONS.get(Path(name.lower()).suffix)
        yield raw if kind is None else unpacked(raw, kind, name, limits)


def find_encoding(file: str, name: str, limits: DatasetLimits = DEFAULT_LIMITS) -> str:
    """UTF-8, UTF-16 with a mark, or, with a warning, cp1252, which Excel writes in Western Europe.

    Raises:
        ValueError: it is none of these.
    """
    with open_bytes(file, name, limits) as raw:
        decoder, first = codecs.getincrementaldecoder("utf-8")(), raw.read(1 << 20)
        if is_utf16(first):
            return "utf-16"
        try:
            decoder.decode(without_nul(first, name))
            for chunk in iter(lambda: raw.read(1 << 20), b"") if "://" not in file else ():
                decoder.decode(without_nul(chunk, name))
        except UnicodeDecodeError:
            pass
        else:
            return "utf-8"
    with open_bytes(file, name, limits) as raw:
        decode_text(raw.read(MAX_LINE_CHARACTERS), name)
    return "cp1252"


def is_utf16(content: bytes) -> bool:
    # The mark of UTF-32 begins like one of UTF-16.
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return content.startswith(marks) and not content.startswith(codecs.BOM_UTF32_LE)


def without_nul(content: bytes, name: str) -> bytes:
    """The bytes, of which none is NUL: every second one is in UTF-16, which is valid UTF-8 for plain letters."""
    if b"\0" in content:
        raise ValueError(
            f"'{name}' holds NUL bytes, as UTF-32 and UTF-16 without a mark do: save the file as UTF-8 "
            "(`iconv -f UTF-16LE -t UTF-8`)."
        )
    return content


def decode_text(content: bytes, name: str) -> str:
    """UTF-8, UTF-16 with a mark, or else cp1252 with a warning that shows the line.

    Raises:
        ValueError: it is none of these.
    """
    if is_utf16(content):
        return content.decode("utf-16")
    try:
        return without_nul(content, name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    shown = content.split(b"\n")[line - 1]
    try:
        text, shown = content.decode("cp1252"), shown.decode("cp1252").strip()[:100]
    except UnicodeDecodeError:
        raise ValueError(
            f"'{name}', line {line}, is not UTF-8: save the file as UTF-8 (`iconv -f ENCODING -t UTF-8`)."
        ) from None
    logger.warning_once(
        f"'{name}' is not UTF-8 and is read as cp1252 (Western European), by which line {line} is {shown!r}. If that is "
        "wrong, save the file as UTF-8."
    )
    return text


@contextmanager
def open_text(file: str, name: str, encoding: str, limits: DatasetLimits, newline: str | None = None):
    with open_bytes(file, name, limits) as raw:
        yield io.TextIOWrapper(raw, encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline=newline)


# ---- text to tables ---------------------------------------------------------------------------------------------


def read_tables(file: str, name: str, limits: DatasetLimits = DEFAULT_LIMITS) -> Iterator[pa.Table]:
    """A file in parts, the cells of CSV as strings, those of JSON of JSON's types; blank ones are null.

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
    # Where no delimiter gives rows of one length, some row is broken; the one of the most columns names them best.
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
    except (RecursionError, ValueError) as error:  # numbers of thousands of digits
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
            f"'{name}' has more than {MAX_DOCUMENT_CHARACTERS >> 20} MiB, and is read as a whole: write one object a line "
            "into a file that ends in .jsonl."
        )
    content = parse_json(content, f"'{name}'")
    for row in rows_of_document(content, name):
        yield row, 1000  # characters; it is in memory as a whole


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


# ---- types ------------------------------------------------------------------------------------------------------


def learn_types(
    files: list[tuple[str, str]], tables_of_each: int | None = None, limits: DatasetLimits = DEFAULT_LIMITS
) -> Features:
    """The types of the columns: what every cell of these files fits, whichever of them it stands in.

    Args:
        files: pairs of where a file is and what it is called.
        tables_of_each: look no further than so many parts of a file.
    """
    kinds: dict[str, dict] = {}  # column: its kinds, in the order in which they are met
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
        if pa.types.is_integer(kind):  # "2.0" where the training rows have 2
            cells = pc.replace_substring_regex(cells, r"^([+-]?\d+)\.0*$", r"\1")
    return cast_cells(cells, kind)


# ---- tables to `datasets` ---------------------------------------------------------------------------------------


@dataclass
class TableConfig(datasets.BuilderConfig):
    """`features`: the types of the columns, by default what the files themselves say. `limits`: see `DatasetLimits`."""

    features: Features | None = None
    limits: DatasetLimits = DEFAULT_LIMITS


class TableBuilder(datasets.ArrowBasedBuilder):
    """One split of CSV, TSV, JSON lines and JSON files, for `datasets` to keep in its cache or to stream."""

    BUILDER_CONFIG_CLASS = TableConfig
    CODE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]  # what another reader cached is not read

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=self.config.features)

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        generators = []
        for split, names in self.config.data_files.items():
            files = list(zip(dl_manager.download(list(names)), names))
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs={"files": files}))
            if self.info.features is None:
                is_stream = isinstance(dl_manager, StreamingDownloadManager)
                files, parts = (files[:FIRST_FILES], 1) if is_stream else (files, None)
                self.info.features = learn_types(files, parts, self.config.limits)
        return generators

    def _generate_shards(self, files: list[tuple[str, str]]) -> Iterator[str]:
        yield from (name for _, name in files)

    def _generate_tables(self, files: list[tuple[str, str]]) -> Iterator[tuple[Key, pa.Table]]:
        for number, (file, name) in enumerate(files):
            for part, table in enumerate(read_tables(file, name, self.config.limits)):
                yield Key(number, part), self._typed(table, name)

    def _typed(self, table: pa.Table, name: str) -> pa.Table:
        schema = self.info.features.arrow_schema
        columns = {}
        for field in schema:
            is_unknown = (
                pa.types.is_null(field.type) and self.config.features is not None
            )  # empty in the training rows
            if is_unknown or field.name not in table.column_names:
                columns[field.name] = pa.nulls(len(table), field.type)
                continue
            cells = table[field.name]
            try:
                cast = cast_csv if table_suffix(name) in CSV_SUFFIXES else cast_cells
                columns[field.name] = cast(cells, field.type)
            except pa.ArrowException as error:
                raise ValueError(
                    f"Column '{field.name}' of split '{next(iter(self.config.data_files))}' ('{name}') holds {cells.type} that "
                    f"cannot become {field.type}, its type in the training rows: {error}. Write it alike in every file."
                ) from error
        return pa.table(columns, schema=schema)
