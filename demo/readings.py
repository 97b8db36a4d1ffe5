# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A visitor's series as numbers: CSV, a line for each sample and a column for each channel, or JSON of the same.

Nothing is read but numbers, and no more of them than a page allows, also once they are at the model's rate.

Shapes: T samples, C channels.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mixture_of_transformers.decoding_series_mot import Series, SeriesSettings, read_series

BYTES_PER_NUMBER = 16  # that a file may have
DELIMITERS = ("\t", ";", ",")
GAPS = ("", "nan", "null", "none", "na")  # how files write that there is no reading
EXPECTED = "a line for each sample, with a number for each channel, as CSV or JSON"


def read_readings(content: bytes, name: str, known: SeriesSettings, most: int) -> Series:
    """
    A series (T, C) of CSV or JSON.

    Args:
        content: text in UTF-8. CSV may have a line of names on top; what is empty is a gap. JSON is a list of samples,
            or `{"array": ..., "sampling_rate": Hz}` or `{"array": ..., "times": seconds}`.
        name: what errors begin with.
        known: the settings of the processor.
        most: how many numbers there may be, T x C.

    Raises:
        ValueError: it is no series of so many numbers, or not with the channels of the model.
    """
    if len(content) > BYTES_PER_NUMBER * most:
        raise ValueError(
            f"{name} has {len(content):,} bytes: this page takes {BYTES_PER_NUMBER * most:,} at most of a series."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{name} is no text in UTF-8: expected {EXPECTED}.") from None
    if not text.strip():
        raise ValueError(f"{name} is empty: expected {EXPECTED}.")
    is_json = text.lstrip()[0] in "[{"
    series = read_series(read_json(text, name) if is_json else read_csv(text, name), name, known.width)
    growth = 1.0
    if series.sampling_rate is not None and known.sampling_rate is not None:
        growth = max(1.0, known.sampling_rate / series.sampling_rate)
    if series.values.size * growth > most:
        raise ValueError(
            f"{name} has {len(series.values):,} samples of {series.values.shape[1]} channels, which are "
            f"{series.values.size * growth:,.0f} numbers at the model's rate: this page takes {most:,} at most."
        )
    return series


def read_json(text: str, name: str) -> Any:
    try:
        return json.loads(text, parse_int=float)  # of any length
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} begins as JSON and is none ({error}): expected {EXPECTED}.") from None


def read_csv(text: str, name: str) -> list[list[float]]:
    """Samples of CSV, whose values are parted by tabs, semicolons, commas or spaces."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    delimiter = next((sign for sign in DELIMITERS if sign in lines[0][1]), None)  # None: any white space
    rows = [(number, [value.strip().strip('"') for value in line.split(delimiter)]) for number, line in lines]
    if len(rows) > 1 and is_header(rows[0][1]):
        rows = rows[1:]
    width, samples = len(rows[0][1]), []
    for number, row in rows:
        if len(row) != width:
            raise ValueError(
                f"{name}: line {number} has {len(row)} values, and line {rows[0][0]} has {width}: expected {EXPECTED}."
            )
        sample = [number_in(value) for value in row]
        if None in sample:
            wrong = row[sample.index(None)]
            raise ValueError(f"{name}: line {number} holds {wrong[:40]!r}, which is no number: expected {EXPECTED}.")
        samples.append(sample)
    return samples


def is_header(row: list[str]) -> bool:
    """Whether a line holds names of channels: some, and no number."""
    found = [number_in(value) for value in row]
    return None in found and all(number is None or math.isnan(number) for number in found)


def number_in(value: str) -> float | None:
    """What a cell of a file says, NaN where it is a gap; None where it is no number."""
    if value.strip().lower() in GAPS:
        return math.nan
    try:
        return float(value)
    except ValueError:
        return None


def written(series: Any) -> str:
    """A series as JSON, as `read_readings` reads it."""
    parts = series if isinstance(series, Mapping) else {"array": series}
    plain = {name: value for name, value in parts.items() if value is not None}
    return json.dumps({name: np.asarray(value, dtype=np.float64).tolist() for name, value in plain.items()})
