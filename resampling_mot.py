# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Samples at one rate become samples at another, piece by piece, by a band-limited polyphase filter."""

import functools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np

RESAMPLING_ZERO_CROSSINGS = 32  # per side of the filter: a narrower transition costs more multiplications
RESAMPLING_ROLLOFF = 0.95  # where the filter is at half, as a share of the lower Nyquist frequency
RESAMPLING_KAISER_BETA = 10.0  # about 100 dB of stop-band attenuation
MAX_RESAMPLING_TERM = 200_000  # of the ratio of two rates; odder ones are rounded, by a few millionths
TAPS_AT_ONCE = 2**20
SAMPLES_AT_ONCE = 2**20


def resample(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Band-limited resampling of (N,) samples to ceil(N * to_rate / from_rate), by a Kaiser-windowed sinc."""
    return joined(resample_pieces([waveform], from_rate, to_rate))


def resample_pieces(pieces: Iterable[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """The resampled samples of all the pieces, as they come.

    Output n lies at input position n * down / up. Its distance to the nearest input repeats every `up` outputs, so
    there are `up` filters (a polyphase bank), and each one makes every `up`-th output, moving `down` inputs a step.
    """
    if from_rate == to_rate:
        yield from pieces
        return
    ratio = Fraction(to_rate, from_rate).limit_denominator(max(MAX_RESAMPLING_TERM, -(-from_rate // to_rate)))
    up, down = ratio.numerator, ratio.denominator
    filters = filter_bank(up, down)  # (up, taps)
    reach = filters.shape[1] // 2
    held, missing = np.zeros(reach, np.float32), 0  # inputs from `reach` before the next output on
    for piece in gathered(pieces, SAMPLES_AT_ONCE):
        held, missing = np.concatenate([held, piece]), missing + len(piece) * ratio
        if len(held) > SAMPLES_AT_ONCE + 2 * reach:
            steps = (len(held) - 2 * reach) // down
            yield apply_filters(held, filters, down, steps)
            held, missing = held[steps * down :], missing - steps * up
    steps = math.ceil(missing / up)
    if steps:  # of no samples there is nothing to hear
        held = np.pad(held, (0, max(0, steps * down + 2 * reach - len(held))))
        yield apply_filters(held, filters, down, steps)[: math.ceil(missing)]


def joined(pieces: Iterable[np.ndarray]) -> np.ndarray:
    """All pieces (n,) as one array (N,)."""
    samples = bytearray()  # it grows in place, where joining a list would hold everything twice
    for piece in pieces:
        samples += np.ascontiguousarray(piece, np.float32).data.cast("B")
    return np.frombuffer(samples, np.float32)


def gathered(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Pieces joined to some of at least `size` samples, and a rest."""
    parts, count = [], 0
    for piece in pieces:
        parts.append(piece)
        count += len(piece)
        if count >= size:
            yield np.concatenate(parts)
            parts, count = [], 0
    if parts:
        yield np.concatenate(parts)


def apply_filters(held: np.ndarray, filters: np.ndarray, down: int, steps: int) -> np.ndarray:
    """`steps` times one output of each filter, from `held`, whose first window is centred on the first output."""
    output = np.empty((steps, len(filters)), dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(held, filters.shape[1])  # row i is centred on input i
    for phase, taps in enumerate(filters if steps else ()):
        first = phase * down // len(filters)
        output[:, phase] = windows[first : first + (steps - 1) * down + 1 : down] @ taps
    return output.reshape(-1)


@functools.lru_cache(maxsize=4)
def filter_bank(up: int, down: int) -> np.ndarray:
    """The filters (up, taps): filter p is centred p * down / up samples, less the whole ones, after an input."""
    cutoff = RESAMPLING_ROLLOFF * min(1.0, up / down)  # in units of the input's Nyquist frequency
    half_width = math.ceil(RESAMPLING_ZERO_CROSSINGS / cutoff)
    taps = np.arange(-half_width, half_width + 1)
    filters = np.empty((up, len(taps)), dtype=np.float32)
    at_once = max(1, TAPS_AT_ONCE // len(taps))
    for first in range(0, up, at_once):  # rates without a common divisor have a filter for every sample
        phases = np.arange(first, min(first + at_once, up))[:, None]
        offsets = taps - phases * down % up / up
        inside = 1 - (offsets / half_width) ** 2  # negative beyond the filter's end
        taper = np.i0(RESAMPLING_KAISER_BETA * np.sqrt(np.maximum(inside, 0))) / np.i0(RESAMPLING_KAISER_BETA)
        filters[first : first + len(phases)] = cutoff * np.sinc(cutoff * offsets) * np.where(inside >= 0, taper, 0)
    return filters
