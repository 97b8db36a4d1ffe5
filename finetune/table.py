# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The numbers of results.json as a table.

`results` holds `task`, `split`, `seed`, `seconds`, and one section of rows, each a name with its numbers: `subsets` of
modalities, `pairs` of a search, `terms` of a loss, or `targets` that were predicted.
"""

import math

from mixture_of_transformers.subsets_mot import MOST_WITH_ALL_SUBSETS

SECTIONS = {"subsets": "modalities", "pairs": "search", "terms": "loss term", "targets": "predicted"}
COUNTS = ("rows", "batches", "tokens")


def section_of(results: dict) -> str:
    """The name of the section that holds the numbers."""
    return next(name for name in SECTIONS if name in results)


def subsets_line(results: dict) -> str | None:
    """Which subsets of the modalities the rows are, where these are not all that there are."""
    names = list(results.get("subsets", ()))
    number = names[-1].count("+") + 1 if names else 0
    if number <= MOST_WITH_ALL_SUBSETS:
        return None
    return f"Of {number} modalities: each alone, all but one, and all together."


def table_of(results: dict) -> tuple[str, list[str], list[list[str]]]:
    """The heading of the first column, the other headings, and the cells of each row, its name first."""
    section = section_of(results)
    rows = results[section]
    counts = [name for name in COUNTS if any(name in numbers for numbers in rows.values())]
    metrics = [name for name in dict.fromkeys(n for numbers in rows.values() for n in numbers) if name not in counts]
    cells = [
        [name]
        + [written(numbers.get(metric, math.nan)) for metric in metrics]
        + [str(numbers.get(count, 0)) for count in counts]
        for name, numbers in rows.items()
    ]
    return SECTIONS[section], [*metrics, *counts], cells


def written(number: float) -> str:
    """To four decimals, or with an exponent where these would show nothing or run on."""
    is_plain = number == 0 or not math.isfinite(number) or 5e-5 <= abs(number) < 1e7
    return f"{number:.4f}" if is_plain else f"{number:.4e}"


def print_table(results: dict) -> None:
    """The numbers of every row of the results, one line each."""
    first, headings, rows = table_of(results)
    print(f"\n{results['split']} split, one checkpoint:")
    lines = [[first, *headings], *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines)]
    for name, *cells in lines:
        padded = [f"{cell:>{max(width, 8)}}" for cell, width in zip(cells, widths[1:])]
        print("  ".join([f"{name:<{widths[0]}}", *padded]))
    if line := subsets_line(results):
        print(line)
