# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Series as people have them, arrays or nested lists with gaps, become samples (T, C) at one rate.

A gap, a reading that a channel lacks, is NaN, or None in a list.

Shapes: T samples, C channels.
"""

import math
import numbers
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

import numpy as np

from .decoding_mot import is_array, to_numpy
from .resampling_mot import MAX_RESAMPLING_TERM, resample

FIELDS = ("array", "times", "sampling_rate")  # of a series that is written as a dict
MOST_UPSAMPLING = 1000  # times: more would fill the memory with samples that were never taken
LEAST_SPREAD = 1e-12  # of a channel that varies, as a share of its mean: rounding alone makes less


@dataclass(frozen=True)
class Series:
    """
    One series.

    Args:
        values: (T, C) float64, NaN where a channel has no reading.
        times: (T,) float64, in seconds; None where nothing says them.
        sampling_rate: in Hz; None where nothing says it.
    """

    values: np.ndarray
    times: np.ndarray | None = None
    sampling_rate: float | None = None


@dataclass(frozen=True)
class SeriesSettings:
    """
    What a processor knows of a series.

    Args:
        num_channels: C; None takes any number.
        mean, std: of each channel, by which readings are standardised; None leaves them as they are.
        sampling_rate: in Hz; series that say another are resampled to it. None leaves all as they are.
        max_length: longer series are cut at so many samples.
    """

    num_channels: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    sampling_rate: float | None = None
    max_length: int | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any], name: str) -> "SeriesSettings":
        """The settings of a modality, beside its `kind`; `name` stands in errors."""
        made = cls(**{key: value for key, value in settings.items() if key != "kind"})
        made.check(name)
        return made

    def check(self, name: str) -> None:
        lists = {key: value for key, value in (("mean", self.mean), ("std", self.std)) if value is not None}
        for key, value in lists.items():
            least = -math.inf if key == "mean" else 0
            if not all(isinstance(one, numbers.Real) and least < one < math.inf for one in value):
                raise ValueError(f"The {key} of {name} is {value!r:.100}: expected a finite number for each channel.")
        lengths = {key: len(value) for key, value in lists.items()}
        lengths |= {} if self.num_channels is None else {"num_channels": self.num_channels}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"The settings of {name} speak of several numbers of channels: {lengths}.")
        if self.sampling_rate is not None:
            check_rate(self.sampling_rate, name)
        if self.max_length is not None and not (isinstance(self.max_length, numbers.Integral) and self.max_length > 0):
            raise ValueError(f"The max_length of {name} is {self.max_length!r}: expected a whole number of samples.")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))

    @property
    def width(self) -> int | None:
        """How many channels a series has; None where nothing says it."""
        known = [len(each) for each in (self.mean, self.std) if each is not None]
        return self.num_channels if self.num_channels is not None else next(iter(known), None)


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


def is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real)


def is_numbers(value: Any) -> bool:
    """Whether it is a list of numbers, with None where one is missing."""
    is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    return is_list and any(map(is_number, value)) and all(one is None or is_number(one) for one in value)


def is_series(value: Any) -> bool:
    """
    Whether a list is one series: numbers, of one channel, or samples that are lists of numbers. A list of arrays, or
    of lists that are each a series of several channels, is several.
    """
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        return False
    first = next((one for one in value if one is not None), None)
    return is_numbers(value) if is_number(first) else is_numbers(first) or is_gap(first)


def is_gap(value: Any) -> bool:
    """Whether it is a sample of which every reading is missing."""
    return isinstance(value, Sequence) and len(value) > 0 and all(one is None for one in value)


def read_series(source: Any, name: str, num_channels: int | None = None) -> Series:
    """
    A series from an array or tensor (T, C), or (T,) of one channel, from such lists, or from a dict of one, its
    `array`, with its `times` (T,) in seconds or its `sampling_rate` in Hz.

    Args:
        name: in errors.
        num_channels: C, where it is known.

    Raises:
        ValueError: naming the series, what came and what was expected.
    """
    parts = {"array": source}
    if isinstance(source, Mapping):
        parts = {key: value for key, value in source.items() if value is not None}
        if "array" not in parts or parts.keys() - set(FIELDS):
            found = ", ".join(map(str, source))
            raise ValueError(f"{name} is a dict of {found}: expected `array`, and `times` or `sampling_rate`.")
        if "times" in parts and "sampling_rate" in parts:
            raise ValueError(f"{name} has both `times` and a `sampling_rate`: give one of them.")
    values = read_values(parts["array"], name, num_channels)
    if "times" in parts:
        return Series(values, times=read_times(parts["times"], len(values), name))
    rate = parts.get("sampling_rate")
    return Series(values, sampling_rate=None if rate is None else check_rate(rate, name))


def read_values(array: Any, name: str, num_channels: int | None) -> np.ndarray:
    """Readings as (T, C) float64, NaN where one is missing."""
    values = to_floats(array, name)
    if values.ndim == 1:
        values = values[:, None]
    if num_channels == 1 and values.ndim == 2 and len(values) == 1:
        values = values.T  # one channel of a batch of one, as lists
    expected = f"(samples, {num_channels or 'channels'})"
    if values.ndim != 2 or num_channels not in (None, values.shape[1]):
        raise ValueError(f"{name} has shape {np.shape(values)}: expected {expected}, samples before channels.")
    if values.size == 0:
        raise ValueError(f"{name} has shape {values.shape}: expected {expected}; pass None for a row without it.")
    if np.isinf(values).any():
        raise ValueError(f"{name} holds infinite values: expected finite ones, and NaN where a reading is missing.")
    if np.isnan(values).all():
        raise ValueError(f"{name} has no reading at all, only gaps: pass None for a row without it.")
    return values


def to_floats(array: Any, name: str) -> np.ndarray:
    """An array, a tensor or nested lists as float64, None as NaN."""
    expected = "numbers, with NaN or None where one is missing"
    if not is_array(array):
        if isinstance(array, str) or not isinstance(array, Sequence):
            raise ValueError(f"{name} has type {type(array).__name__}: expected an array or a list of {expected}.")
        first = next((row for row in array if isinstance(row, Sequence)), None)
        array = list(array) if first is None else [[None] * len(first) if row is None else row for row in array]
    values = to_numpy(array, name)
    if values.dtype == object and all(one is None or is_number(one) for one in values.flat):
        values = values.astype(np.float64)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} holds values of type {values.dtype}: expected {expected}.")
    return values.astype(np.float64)


def read_times(times: Any, length: int, name: str) -> np.ndarray:
    """Seconds (T,) as float64."""
    seconds = to_floats(times, f"The times of {name}")
    if seconds.shape != (length,) or not np.isfinite(seconds).all():
        raise ValueError(
            f"The times of {name} have shape {seconds.shape}: expected ({length},), finite seconds for each sample."
        )
    return seconds


def check_rate(rate: Any, name: str) -> float:
    """A sampling rate in Hz, or a ValueError."""
    if not is_number(rate) or isinstance(rate, bool) or not 0 < rate < math.inf:
        raise ValueError(f"The sampling rate of {name} is {rate!r:.100}: expected Hz, a number above 0.")
    return float(rate)


# ---------------------------------------------------------------------------------------------------------------------
# One scale and one rate
# ---------------------------------------------------------------------------------------------------------------------


def prepare_series(series: Series, settings: SeriesSettings, name: str) -> Series:
    """A series as the model takes it: standardised, at the rate of the settings, cut at their length."""
    values = series.values
    values = values if settings.mean is None else values - np.asarray(settings.mean)
    values = values if settings.std is None else values / np.asarray(settings.std)
    if np.nanmax(np.abs(values)) > np.finfo(np.float32).max:
        raise ValueError(f"{name} holds values beyond those of float32, once standardised: expected smaller ones.")
    series = replace(series, values=values)
    if settings.sampling_rate is not None and series.times is None:
        series = at_rate(series, settings.sampling_rate, name)
    end = settings.max_length
    return replace(series, values=series.values[:end], times=None if series.times is None else series.times[:end])


def at_rate(series: Series, rate: float, name: str) -> Series:
    """A series at another rate; what says none is taken to be at that rate already."""
    if series.sampling_rate is None or series.sampling_rate == rate:
        return replace(series, sampling_rate=rate)
    if rate > MOST_UPSAMPLING * series.sampling_rate:
        raise ValueError(
            f"{name} has a sampling rate of {series.sampling_rate:g} Hz, and the model's is {rate:g} Hz, more than "
            f"{MOST_UPSAMPLING} times that: expected a rate nearer to it."
        )
    ratio = Fraction(rate) / Fraction(series.sampling_rate)
    ratio = ratio.limit_denominator(max(MAX_RESAMPLING_TERM, math.ceil(1 / ratio)))
    channels = [resample_channel(channel, ratio) for channel in series.values.T]
    return replace(series, values=np.stack(channels, axis=1), sampling_rate=rate)


def resample_channel(values: np.ndarray, ratio: Fraction) -> np.ndarray:
    """
    One channel (T,) as (ceil(T * ratio),), band-limited. A sample is a gap where more than half of the readings that
    it stands for were missing. For the others a straight line bridges what is missing, so that a gap changes its
    neighbours as little as can be.
    """
    places, known = np.arange(len(values)), ~np.isnan(values)
    if not known.any():
        return np.full(math.ceil(len(values) * ratio), np.nan)
    bridged = np.interp(places, places[known], values[known])
    # The filter sees zeros beyond the ends: without the line from the first to the last, a level would fall off there.
    slope = (bridged[-1] - bridged[0]) / max(len(bridged) - 1, 1)
    level = bridged - (bridged[0] + slope * places)
    resampled = resample(level.astype(np.float32), ratio.denominator, ratio.numerator).astype(np.float64)
    centres = np.arange(len(resampled)) / float(ratio)  # in samples of the input
    resampled += bridged[0] + slope * centres
    resampled[~half_known(known, centres, max(1.0, 1 / float(ratio)))] = np.nan
    return resampled


def half_known(known: np.ndarray, centres: np.ndarray, width: float) -> np.ndarray:
    """Whether at least half of the readings (T,) that lie within `width` around each centre are known."""
    first = np.ceil(centres - width / 2).astype(int).clip(0, len(known) - 1)
    last = np.ceil(centres + width / 2).astype(int).clip(first + 1, len(known))
    counts = np.concatenate([[0], known.cumsum()])
    return 2 * (counts[last] - counts[first]) >= last - first


# ---------------------------------------------------------------------------------------------------------------------
# What the training split teaches
# ---------------------------------------------------------------------------------------------------------------------


def learn_series(cells: Iterable[Any], name: str) -> dict[str, Any]:
    """
    The number of channels, the mean and standard deviation of the readings of each, and the sampling rate that most
    series say, if any does. One pass in constant memory: the moments of each series join those before it (Chan, Golub
    and LeVeque, 1983). A channel that never changes keeps its scale: its standard deviation counts as 1.

    Raises:
        ValueError: the series differ in their channels, naming the row; or there are none.
    """
    count = mean = squares = np.zeros(0)
    rates: Counter[float] = Counter()
    for row, series in all_series(cells, name):
        if len(count) == 0:
            count = mean = squares = np.zeros(series.values.shape[1])
        if series.values.shape[1] != len(count):
            raise ValueError(
                f"{name}[{row}] has {series.values.shape[1]} channels, and the rows before it {len(count)}: expected "
                "the same channels in every row, NaN where one has no readings."
            )
        if series.sampling_rate is not None:
            rates[series.sampling_rate] += 1
        count, mean, squares = joined_moments((count, mean, squares), moments_of(series.values))
    if len(count) == 0:
        raise ValueError(f"No row has {name}: expected at least one, of which its channels and scale are learnt.")
    std = np.sqrt(squares / np.maximum(count, 1))
    std = np.where(std > LEAST_SPREAD * np.abs(mean), std, 1.0)
    learnt = {"num_channels": len(count), "mean": mean.tolist(), "std": std.tolist()}
    if rates:
        most = max(rates.values())
        learnt["sampling_rate"] = min(rate for rate, number in rates.items() if number == most)
    return learnt


def all_series(cells: Iterable[Any], name: str) -> Iterator[tuple[int, Series]]:
    """Each series of each row that has any, with the number of the row."""
    for row, cell in enumerate(cells):
        if cell is None:
            continue
        is_several = isinstance(cell, Sequence) and not isinstance(cell, (str, bytes)) and not is_series(cell)
        for segment in cell if is_several else [cell]:
            yield row, read_series(segment, f"{name}[{row}]")


def moments_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each channel of (T, C): how many readings, their mean, and the sum of their squared distances to it."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    mean = np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1)
    return count, mean, (np.where(known, values - mean, 0) ** 2).sum(axis=0)


def joined_moments(left: tuple, right: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The moments of two sets of readings together."""
    (n, mean, squares), (m, other, others) = left, right
    total, distance = np.maximum(n + m, 1), other - mean
    return n + m, mean + distance * m / total, squares + others + distance**2 * n * m / total
