# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The file that `mot predict` writes: part by part beside its place, and under its name once it is whole.

Until then `.NAME.unfinished` holds what was asked and the parts that are done, from which a run that was killed goes
on. Afterwards `.NAME.run.json` keeps what was asked, by which the same command is known again. The parts begin at the
same rows whoever writes them, so that the file does not show whether a run was killed.
"""

import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from mixture_of_transformers.serving.row_answers import ERROR
from mixture_of_transformers.training.run_folder import put_in_place, write_whole

ASKED, LOCK = "asked.json", ".lock"


class PredictionFile:
    """
    A file of records, one for each row of a dataset.

    Args:
        path: whose suffix, .parquet, .csv or .jsonl, says the format.
        schema: of the records.
        asked: name -> what the answers depend on, as JSON keeps it.

    Raises:
        ValueError: the suffix is another, or a format cannot hold a column of the schema.
    """

    def __init__(self, path: Path, schema: pa.Schema, asked: dict[str, Any]):
        check_format(path, schema)
        self.path, self.schema, self.asked = path, schema, json.loads(json.dumps(asked))
        self.work, self.record = path.with_name(f".{path.name}.unfinished"), path.with_name(f".{path.name}.run.json")

    def is_finished(self) -> bool:
        """Whether the file is there as this very command left it."""
        if not (self.record.exists() and self.path.exists()):
            return False
        found = json.loads(self.record.read_text(encoding="utf-8"))
        return found["asked"] == self.asked and found["sha256"] == checksum(self.path)

    @contextmanager
    def owned(self) -> Iterator[None]:
        """
        The unfinished file belongs to this process.

        Raises:
            OSError: another process is writing it.
            ValueError: it was begun by a command that asked for something else.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.work / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise OSError(
                f"Another process is writing {self.path}: wait until it has ended, or name another --output."
            ) from None
        try:
            self.check_asked()
            yield
        finally:
            lock.release()
        shutil.rmtree(self.work)

    def check_asked(self) -> None:
        begun = self.work / ASKED
        if not begun.exists():
            write_whole(begun, json.dumps(self.asked, indent=1) + "\n")
            return
        found = json.loads(begun.read_text(encoding="utf-8"))
        for name in {**found, **self.asked}:
            if found.get(name) != self.asked.get(name):
                raise ValueError(
                    f"{self.path} is unfinished, and was begun with other {name} ({found.get(name)!r}, now "
                    f"{self.asked.get(name)!r}): ask for the same to go on, name another --output, or delete "
                    f"{self.work} to begin anew."
                )

    def part(self, number: int) -> Path:
        return self.work / f"part-{number:06d}.parquet"

    def write_part(self, number: int, table: pa.Table) -> None:
        """Keep a part that is done, whole or not at all."""
        partial = self.work / "partial"
        pq.write_table(table, partial)
        put_in_place(partial, self.part(number))

    def finish(self, parts: int) -> Counter:
        """Join the parts to the file; returns how many rows have an error, by its kind, and None -> all others."""
        counts: Counter = Counter()

        def tables() -> Iterator[pa.Table]:
            for number in range(parts):
                table = pq.ParquetFile(self.part(number)).read()
                kinds = (error and error.partition(":")[0] for error in table[ERROR].to_pylist())
                counts.update(kinds)
                yield table

        whole = self.work / "whole"
        WRITERS[self.path.suffix.lower()](whole, self.schema, tables())
        found = {"asked": self.asked, "sha256": checksum(whole)}
        put_in_place(whole, self.path)
        write_whole(self.record, json.dumps(found, indent=1) + "\n")
        return counts


# ---------------------------------------------------------------------------------------------------------------------
# Formats
# ---------------------------------------------------------------------------------------------------------------------


def write_parquet(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    with pq.ParquetWriter(path, schema) as writer:
        for table in tables:
            writer.write_table(table)


def write_lines(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    """JSON lines; what an answer lacks is left out, and so is the error of a row that has none."""
    with open(path, "w", encoding="utf-8") as file:
        for table in tables:
            for record in table.to_pylist():
                file.write(json.dumps(without_none(record), ensure_ascii=False, default=str) + "\n")


def write_csv(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    """A column for each part of a record, `probabilities.yes`; a cell that holds several things is JSON."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(flat(schema.empty_table()).column_names)
        for table in map(flat, tables):
            for record in zip(*(column.to_pylist() for column in table.columns)):
                writer.writerow(map(csv_cell, record))


WRITERS: dict[str, Callable[[Path, pa.Schema, Iterator[pa.Table]], None]] = {
    ".parquet": write_parquet,
    ".csv": write_csv,
    ".jsonl": write_lines,
}


def check_format(path: Path, schema: pa.Schema) -> None:
    if path.suffix.lower() not in WRITERS:
        raise ValueError(f"--output {path}: expected a file of the suffix {', '.join(WRITERS)}.")
    for field in schema:
        if path.suffix.lower() != ".parquet" and holds_bytes(field.type):
            raise ValueError(
                f"Column '{field.name}' holds files, which {path.suffix} cannot keep: write a .parquet, or leave it "
                "out of --keep_columns."
            )


def holds_bytes(kind: pa.DataType) -> bool:
    parts = [kind.field(i).type for i in range(kind.num_fields)]
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or any(map(holds_bytes, parts))


def flat(table: pa.Table) -> pa.Table:
    """A table whose columns are no structures."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def csv_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value


def without_none(record: dict) -> dict:
    """A record without the fields that are None, at every depth of structures."""
    return {k: without_none(v) if isinstance(v, dict) else v for k, v in record.items() if v is not None}


def checksum(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
