# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Files of videos and sound are opened by PyAV, the one optional package that reads most of them."""

import functools
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from .decoding_mot import LIMITS, DecodingLimits, open_source, reason

# FFmpeg knows more, among them playlists, lists of files and descriptions of network sessions.
CONTAINER_FORMATS = (
    *("3gp", "aac", "ac3", "aiff", "amr", "ape", "apng", "asf", "au", "av1", "avi", "caf", "dts", "dv", "eac3"),
    *("flac", "flv", "gif", "h264", "hevc", "ivf", "m4v", "matroska", "mov", "mp3", "mpeg", "mpegts", "mpegvideo"),
    *("mxf", "obu", "ogg", "rm", "tta", "vvc", "w64", "wav", "wv"),
)


@functools.cache
def load_av() -> Any:
    """PyAV, imported for the first file that needs it; None where it is not installed."""
    try:
        import av
    except ImportError:
        return None
    return av


def has_av() -> bool:
    """Whether PyAV is installed."""
    return load_av() is not None


def require_av(name: str, what_for: str) -> None:
    """Raise an ImportError where PyAV, which a file is to be read by, is not installed."""
    if not has_av():
        raise ImportError(f"{name}: {what_for} needs PyAV. Install it with `pip install av`.")


@contextmanager
def decoding(name: str, noun: str) -> Iterator[None]:
    """While PyAV decodes: what it complains of becomes a ValueError that says what `name` is not."""
    try:
        yield
    except (load_av().FFmpegError, UnicodeError, OverflowError) as error:
        raise ValueError(f"{name} is not {noun} that can be decoded: {reason(error)}") from error


def open_container(file: BinaryIO) -> Any:
    """A file of a format that is read, by PyAV; nothing that it names is followed."""
    file.seek(0)
    options = {"format_whitelist": ",".join(CONTAINER_FORMATS), "protocol_whitelist": "none"}
    return load_av().open(file, container_options=options, metadata_errors="replace")


def start_seconds(container: Any) -> float:
    """When the earliest stream of an open file starts, on the file's own clock.

    That clock is shared by pictures and sound, but it need not begin at 0 (a transport stream runs on from anywhere),
    and the streams need not begin together. Counting from the earliest one, as players do, keeps them aligned;
    counting each stream from its own start would shift one against the other.
    """
    return (container.start_time or 0) / load_av().time_base  # None: no timestamps at all


def av_pieces(frames: Iterable[Any]) -> Iterator[np.ndarray]:
    """Decoded frames as float samples, mixed to one channel."""
    to_float_planar = load_av().AudioResampler(format="fltp")
    for frame in itertools.chain(frames, (None,)):  # None flushes the converter
        for chunk in to_float_planar.resample(frame):
            yield chunk.to_ndarray().mean(axis=0)  # (channels, n) -> (n,)


def has_sound(source: Any, name: str, allow_urls: bool | str = True, limits: DecodingLimits = LIMITS) -> bool:
    """
    Whether a video file has a sound track; one that cannot be decoded has none.

    Raises:
        OSError, ValueError: there is no such file, or it is a URL that is not followed.
    """
    require_av(name, "reading the sound of a video")
    with open_source(source, name, allow_urls, limits) as file:
        try:
            with open_container(file) as container:
                return len(container.streams.audio) > 0
        except (OSError, ValueError):  # PyAV's errors are kinds of these.
            return False
