# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""How everything here is measured: candidates take turns in one process, and what counts is the ratio of their times.

In every round each candidate runs once, in an order that turns around from round to round, so that a slow moment of
the machine hits all of them. A ratio is taken inside each round; the table shows the median over the rounds and the
middle half of them (first to third quartile), which says how far to trust it. One thread is timed by the processor
time of the process, which neighbours disturb least; several threads by the clock on the wall.
"""

import ctypes
import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

SHORTEST_SAMPLE = 0.02  # seconds; what is quicker runs several times for one sample
FEWEST_ROUNDS, MOST_ROUNDS = 6, 100  # even, so that each order comes as often as the other


class NotMeasured(Exception):
    """What a part raises where it cannot run; its text tells the reader why."""


# ---------------------------------------------------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """
    One line of a table.

    Args:
        name: what is compared with what.
        value, low, high: the median and the quartiles.
        bar: what the value must not exceed, or must reach with `at_least`; None for a line of information.
        details: further columns, such as {"time": "12 ms"}.
    """

    name: str
    value: float
    low: float
    high: float
    bar: float | None = None
    at_least: bool = False
    details: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, values: np.ndarray, **fields) -> "Row":
        """From the value of each round."""
        low, median, high = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
        return cls(name, median, low, high, **fields)

    @property
    def passes(self) -> bool | None:
        if self.bar is None:
            return None
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def cells(self) -> dict[str, str]:
        return {
            "value": as_number(self.value),
            "middle half": f"{as_number(self.low)}–{as_number(self.high)}",
            "bar": "" if self.bar is None else f"{'≥' if self.at_least else '≤'} {self.bar:.2f}",
            "verdict": {None: "", True: "pass", False: "**fail**"}[self.passes],
        }


def as_number(value: float) -> str:
    """Two decimals where they tell something, else as many digits as do."""
    return f"{value:.2f}" if 0.1 <= value < 10 else f"{value:.2g}" if value < 0.1 else f"{value:.3g}"


@dataclass
class Table:
    """
    Args:
        title: the heading.
        note: what a reader must know of the arrangement, in Markdown.
        value: what the column of values is called.
        plot: the picture's name under `docs/`, and
        plot_text: what it shows, for those who cannot see it.
    """

    title: str
    rows: list[Row] = field(default_factory=list)
    note: str = ""
    value: str = "ratio"
    plot: str | None = None
    plot_text: str = ""

    def markdown(self) -> str:
        """The rows as a Markdown table whose columns also line up in a terminal."""
        details = list(dict.fromkeys(name for row in self.rows for name in row.details))
        names = ["", self.value, "middle half", "bar", " ", *details]
        lines = [names]
        for row in self.rows:
            lines.append([row.name, *row.cells().values(), *(row.details.get(name, "") for name in details)])
        widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
        lines.insert(1, ["-" * max(width, 1) for width in widths])
        return "\n".join(
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines
        )


# ---------------------------------------------------------------------------------------------------------------------
# Time
# ---------------------------------------------------------------------------------------------------------------------


class Times(dict[str, np.ndarray]):
    """Candidate -> seconds of one call in each round."""

    def row(
        self,
        name: str,
        first: str,
        second: str,
        bar: float | None = None,
        ideal: float = 1.0,
        at_least: bool = False,
        **details: str,
    ) -> Row:
        """The time of `first` over `ideal` times that of `second`, with the median time of `first`."""
        ratios = self[first] / (ideal * self[second])
        details = {"time": as_time(np.median(self[first])), **details, "rounds": str(len(ratios))}
        return Row.of(name, ratios, bar=bar, at_least=at_least, details=details)


def as_time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def wall_clock() -> float:
    """Seconds on the wall, after the accelerator has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def sample(function: Callable[[], object], clock: Callable[[], float], repeats: int) -> float:
    start = clock()
    for _ in range(repeats):
        function()
    return (clock() - start) / repeats


def take_turns(
    candidates: dict[str, Callable[[], object]],
    seconds: float,
    threads: int = 1,
    fewest_rounds: int = FEWEST_ROUNDS,
    clock: Callable[[], float] | None = None,
) -> Times:
    """
    Time the candidates in turns.

    Args:
        candidates: name -> what to time.
        seconds: about how long the whole comparison may take; at least `fewest_rounds` are made. Below 1, two rounds
            alone: a look, not a measurement.
        threads: of torch.
        clock: in seconds; by default the processor time of this process for one thread, and the wall's for several.
    """
    if clock is None:
        clock = time.process_time if threads == 1 and not torch.cuda.is_available() else wall_clock
    fewest_rounds = 2 if seconds < 1 else fewest_rounds
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    gc.collect()
    gc.disable()
    try:
        repeats = {}
        for name, function in candidates.items():
            duration = sample(function, clock, 1)  # the first call allocates, and fills caches
            if duration < 10 * SHORTEST_SAMPLE:
                duration = sample(function, clock, 1)
            repeats[name] = max(1, math.ceil(SHORTEST_SAMPLE / max(duration, 1e-9)))
        times = {name: [] for name in candidates}
        order, end = list(candidates), time.perf_counter() + seconds
        for number in range(MOST_ROUNDS):
            if number >= fewest_rounds and time.perf_counter() > end:
                break
            for name in order:
                times[name].append(sample(candidates[name], clock, repeats[name]))
            order.reverse()
    finally:
        gc.enable()
        torch.set_num_threads(before)
    return Times({name: np.array(values) for name, values in times.items()})


# ---------------------------------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------------------------------


def peak_memory(function: Callable[[], object]) -> float:
    """
    MiB that a call needs at its peak beyond what was in use before it: of the accelerator where there is one, else
    resident memory of the process, which Linux tells. NaN elsewhere. Time it first: what the first call of all keeps
    for good should not count.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # memory that was freed, but not handed back, would hide a peak
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = _status("VmRSS")
        function()
        return _status("VmHWM") - before
    except OSError:
        return math.nan


def _status(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
