# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Sound: files, decoders and arrays become mono samples at one rate.

soundfile decodes wav, flac, ogg and mp3, and PyAV the rest. What they give is mixed to one channel and resampled piece
by piece. Where a package is missing that a file needs, the error names it.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from .decoding_container_mot import av_pieces, decoding, has_av, open_container, start_seconds
from .decoding_mot import LIMITS, DecodingLimits, is_array, open_source, to_numpy
from .resampling_mot import SAMPLES_AT_ONCE, joined, resample_pieces

try:
    import soundfile
except (ImportError, OSError):  # OSError: the package is there, the libsndfile it wraps is not
    soundfile = None

MAX_SAMPLING_RATE = 2**31
MAX_AUDIO_CHANNELS = 8  # 7.1 surround; more means that a batch was given as one array
LOUDEST_FLOAT = 128.0  # 42 dB over full scale: floats above are integers that lost their type


def load_audio(
    source: Any,
    name: str,
    target_rate: int,
    default_rate: int | None,
    max_seconds: float | None = None,
    allow_urls: bool | str = True,
    limits: DecodingLimits = LIMITS,
) -> tuple[np.ndarray, float]:
    """One clip as mono float32 samples (N,) at `target_rate` Hz, and the seconds at which it starts in its file.

    `default_rate` is that of arrays without one. What lies beyond `max_seconds` is cut, and of a file not decoded.
    """
    given = given_samples(source, name)
    if given is None:
        take = functools.partial(
            take_samples, name=name, max_seconds=max_seconds, limits=limits, target_rate=target_rate
        )
        waveform, _, start = read_sound_file(source, name, take, allow_urls, limits)
    else:
        waveform, rate, start = given
        rate = check_rate(default_rate if rate is None else rate, name)
        waveform = take_samples([to_mono(waveform, name)], rate, name, max_seconds, limits, target_rate)
    if waveform.size == 0:
        raise ValueError(f"{name} has zero length; pass None for a row without audio.")
    return waveform, start


def check_rate(rate: Any, name: str) -> int:
    """A sampling rate as whole Hz, or a ValueError."""
    if rate is None:
        raise ValueError(
            f"The sampling rate of {name} is missing. Pass {{'array': ..., 'sampling_rate': ...}} or `sampling_rate=` "
            "in Hz."
        )
    is_number = isinstance(rate, (int, float, np.number)) and not isinstance(rate, bool)
    if not is_number or not 1 <= rate <= MAX_SAMPLING_RATE:
        raise ValueError(
            f"The sampling rate of {name} is {rate!r} of type {type(rate).__name__}: expected Hz, a number from 1 to "
            f"{MAX_SAMPLING_RATE}."
        )
    return int(rate)


def read_audio(
    source: Any, name: str, allow_urls: bool | str = True, limits: DecodingLimits = LIMITS
) -> tuple[np.ndarray, int | None]:
    """Samples of any shape and the rate they came with, None if they came without."""
    waveform, rate, _ = read_timed_audio(source, name, allow_urls=allow_urls, limits=limits)
    return waveform, rate


def read_timed_audio(
    source: Any,
    name: str,
    max_seconds: float | None = None,
    allow_urls: bool | str = True,
    limits: DecodingLimits = LIMITS,
) -> tuple[np.ndarray, int | None, float]:
    """As `read_audio`, and the seconds of the first sample: only sound that lies beside pictures starts late.

    What lies beyond `max_seconds` in a file is not decoded.
    """
    if (given := given_samples(source, name)) is not None:
        return given
    take = functools.partial(take_samples, name=name, max_seconds=max_seconds, limits=limits)
    return read_sound_file(source, name, take, allow_urls, limits)


def given_samples(source: Any, name: str) -> tuple[np.ndarray, int | None, float] | None:
    """Samples that are no file: those samples, their rate if they have one, and the seconds of the first."""
    if hasattr(source, "get_all_samples"):  # torchcodec's AudioDecoder, also that of `datasets`
        samples = source.get_all_samples()
        return to_numpy(samples.data, name), samples.sample_rate, samples.pts_seconds
    samples = source.get("array", source.get("raw")) if isinstance(source, dict) else None
    if samples is not None:  # "raw" is what transformers' pipelines for speech call it
        return to_numpy(samples, name), source.get("sampling_rate"), 0.0
    if is_rate_and_samples(source):
        return to_numpy(source[1], name), source[0], 0.0
    if is_array(source) or (isinstance(source, (list, tuple)) and is_number_list(source)):
        return to_numpy(source, name), None, 0.0
    return None


def take_samples(
    pieces: Iterable[np.ndarray],
    rate: int,
    name: str,
    max_seconds: float | None,
    limits: DecodingLimits,
    target_rate: int | None = None,
) -> np.ndarray:
    """Mono pieces (n,) joined to (N,), as they come: cut at `max_seconds`, else refused beyond the limit.

    With a `target_rate` they are also resampled, and scaled where they are integers that lost their type.
    """
    pieces = within_seconds(pieces, rate, name, max_seconds, limits)
    if target_rate is None:
        return joined(pieces)
    peaks = [0.0]
    waveform = joined(resample_pieces(finite_pieces(pieces, name, peaks), rate, target_rate))
    return waveform if peaks[0] <= LOUDEST_FLOAT else waveform / np.float32(integer_scale(peaks[0], name))


def within_seconds(
    pieces: Iterable[np.ndarray], rate: int, name: str, max_seconds: float | None, limits: DecodingLimits
) -> Iterator[np.ndarray]:
    """The pieces up to `max_seconds`, or all of them, refused beyond the limit."""
    count, most = 0, math.inf if max_seconds is None else math.ceil(max_seconds * rate)
    for piece in pieces:
        piece = piece[: min(len(piece), most - count)]
        count += len(piece)
        advice = "Cut it with `max_audio_seconds=`. "
        limits.check("max_audio_seconds", count / rate, name, f"{count / rate:,.0f} seconds of sound or more", advice)
        yield piece
        if count >= most:
            return


def finite_pieces(pieces: Iterable[np.ndarray], name: str, peaks: list[float]) -> Iterator[np.ndarray]:
    """The pieces, after a look at each; `peaks[0]` becomes the largest magnitude in them."""
    for piece in pieces:
        peak = float(np.abs(piece).max(initial=0.0))
        if not math.isfinite(peak):
            raise ValueError(f"{name} holds NaN or infinite samples.")
        peaks[0] = max(peaks[0], peak)
        yield piece


def is_rate_and_samples(value: Any) -> bool:
    """Whether it is (Hz, samples), as gradio and `scipy.io.wavfile` give a sound."""
    return isinstance(value, tuple) and len(value) == 2 and not is_array(value[0]) and is_array(value[1])


def is_number_list(value: Sequence) -> bool:
    """Whether a list is one of numbers. Its ends tell, since it may be long."""
    ends = (value[0], value[-1]) if len(value) else ()
    is_number = [isinstance(end, (int, float, np.number)) and not isinstance(end, bool) for end in ends]
    return len(ends) > 0 and all(is_number)


def read_sound_file(
    source: Any, name: str, take: Callable, allow_urls: bool | str, limits: DecodingLimits
) -> tuple[np.ndarray, int, float]:
    """What `take(pieces, rate)` makes of a file's sound, its rate, and the seconds of its first sample.

    soundfile reads wav, flac, ogg and mp3; PyAV reads the rest, such as mp4, m4a and the sound of a video.
    """
    with open_source(source, name, allow_urls, limits) as file:
        if soundfile is not None:
            try:
                with soundfile.SoundFile(file) as sound:
                    return take(soundfile_pieces(sound), check_rate(sound.samplerate, name)), sound.samplerate, 0.0
            except soundfile.SoundFileError:
                file.seek(0)
        if not has_av():
            missing = "`pip install av`" if soundfile is not None else "`pip install soundfile av`"
            raise ImportError(f"{name}: no installed package decodes this audio file. Try again after {missing}.")
        with decoding(name, "audio"):
            return decode_audio_with_av(file, name, take)


def soundfile_pieces(sound: Any) -> Iterator[np.ndarray]:
    """An open file's samples, mixed to one channel, until there are no more, however many its head claims."""
    size = max(1, SAMPLES_AT_ONCE // sound.channels)
    while len(samples := sound.read(size, dtype="float32", always_2d=True)):  # (n, channels)
        yield samples[:, 0] if sound.channels == 1 else samples.mean(axis=1)


def decode_audio_with_av(file: BinaryIO, name: str, take: Callable) -> tuple[np.ndarray, int, float]:
    """As `read_sound_file`, of an open file, by PyAV."""
    with open_container(file) as container:
        if not container.streams.audio:
            raise ValueError(f"{name} has no audio track.")
        if container.streams.audio[0].codec_context is None:
            raise ValueError(f"{name} is sound of a codec that is not known here.")
        frames = container.decode(audio=0)
        first = next(frames, None)  # Some formats know their rate only then.
        rate = check_rate(container.streams.audio[0].rate, name)
        start = 0.0 if first is None or first.time is None else first.time - start_seconds(container)
        frames = itertools.chain(() if first is None else (first,), frames)
        return take(av_pieces(frames), rate), rate, start


def to_mono(waveform: np.ndarray, name: str) -> np.ndarray:
    """(N,), (channels, N) or (N, channels) to float32 (N,), about -1 to 1."""
    if waveform.dtype.kind not in "fi" and waveform.dtype != np.uint8:
        raise ValueError(f"{name} has samples of type {waveform.dtype}: expected floats, signed integers or uint8.")
    zero, full = (128.0, 128.0) if waveform.dtype == np.uint8 else (0.0, full_scale(waveform, name))
    if waveform.ndim == 2 and min(waveform.shape) <= MAX_AUDIO_CHANNELS:
        waveform = waveform.mean(axis=int(np.argmin(waveform.shape)))
    if waveform.ndim != 1:
        raise ValueError(
            f"{name} has shape {waveform.shape}: expected (samples,), (channels, samples) or (samples, channels) "
            f"with at most {MAX_AUDIO_CHANNELS} channels. A batch is a list of clips."
        )
    return ((waveform - zero) / full).astype(np.float32)


def full_scale(waveform: np.ndarray, name: str) -> float:
    """What is 1 in samples: the range of int8 and int16, else of the least of 16 and 32 bits that holds them.

    Lists of whole numbers are 64 bits wide here, and floats may be the integers of a file.
    """
    if waveform.dtype in (np.int8, np.int16):
        return 2.0 ** (8 * waveform.dtype.itemsize - 1)
    # Without NaN, which is refused by name later; as float, since the least integer has no positive twin.
    low, high = (float(extreme(waveform, axis=None, initial=0)) for extreme in (np.fmin.reduce, np.fmax.reduce))
    peak = max(-low, high)
    if waveform.dtype.kind == "f" and (peak <= LOUDEST_FLOAT or np.isinf(peak)):
        return 1.0
    return integer_scale(peak, name)


def integer_scale(peak: float, name: str) -> float:
    """What is 1 in integers up to `peak`."""
    if peak > 2**31:
        raise ValueError(f"{name} has samples up to {peak:g}: expected floats about -1 to 1, or at most 32 bits.")
    return 2.0**15 if peak <= 2**15 else 2.0**31
