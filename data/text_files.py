# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Files as text: where their bytes are, how they are packed, and in which encoding they are written."""

import codecs
import csv
import gzip
import io
import lzma
import tarfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pyarrow as pa
from transformers.utils import logging

from mixture_of_transformers.data.dataset_limits import DEFAULT_LIMITS, DatasetLimits
from mixture_of_transformers.data.unpacking import COMPRESSIONS, unpacked

logger = logging.get_logger(__name__)

MAX_LINE_CHARACTERS = 128 << 20  # A row of JSON lines is no longer.
READ_ERRORS = (pa.ArrowException, UnicodeError, csv.Error, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)
READ_ERRORS += (tarfile.TarError,)


def table_suffix(name: str) -> str:
    """The extension that says what a file holds: `.csv` of `rows.CSV.gz`."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in COMPRESSIONS else path.suffix


@contextmanager
def named(file: str):
    """Give errors of the libraries that read files the name of the file."""
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


@contextmanager
def open_text(file: str, name: str, encoding: str, limits: DatasetLimits, newline: str | None = None):
    with open_bytes(file, name, limits) as raw:
        yield io.TextIOWrapper(raw, encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline=newline)


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
    # The mark of UTF-32 begins with the one of UTF-16.
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
        f"'{name}' is not UTF-8 and is read as cp1252 (Western European), by which line {line} is {shown!r}. If that "
        "is wrong, save the file as UTF-8."
    )
    return text
