# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What people have (paths, URLs, bytes, open files, arrays) is opened, within limits on what one file may cost.

The rooms named `decoding_..._mot.py` decode what is opened here. A file may be anybody's. It is judged by its content,
decoded by the formats that those rooms list and no others, and so that it reads no other file, opens no connection and
starts no program.
"""

import io
import os
import stat
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, BinaryIO

import numpy as np
import torch

from .arguments_mot import is_one_of
from .fetching_mot import fetch, is_url, shown_url


@dataclass(frozen=True)
class DecodingLimits:
    """
    What one file may cost before it is refused. One is raised by `processor.limits =
    DecodingLimits(max_audio_seconds=7200)`.

    Args:
        max_image_pixels: width x height of a picture, which is refused before it is decoded.
        max_image_scans: how often a JPEG file goes over all pixels.
        max_kept_image_pixels: a larger picture is shrunk, by a whole factor, as it is decoded.
        max_frame_pixels: width x height of a video.
        max_kept_frame_pixels: a larger frame is shrunk, by a whole factor, before the next is decoded.
        max_video_seconds, max_video_frames, max_video_pixels: of a whole video; pixels are those of all its frames.
        max_kept_video_pixels: of all the frames that are kept of a video at once, after shrinking.
        max_audio_seconds: of a sound that is not cut (`max_seconds`).
        max_url_bytes, max_url_seconds: of what a URL leads to.
    """

    max_image_pixels: float = 100_000_000
    max_image_scans: float = 100
    max_kept_image_pixels: float = 16_000_000
    max_frame_pixels: float = 36_000_000  # 8K
    max_kept_frame_pixels: float = 1920 * 1088
    max_video_seconds: float = 3600
    max_video_frames: float = 250_000
    max_video_pixels: float = 500_000_000_000  # an hour of 1080p at 60 frames per second
    max_kept_video_pixels: float = 250_000_000
    max_audio_seconds: float = 3600
    max_url_bytes: float = 256 * 2**20
    max_url_seconds: float = 60

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(f"`{field.name}` is {value!r}: expected a number above 0, math.inf for no limit.")

    def check(self, field: str, value: float, name: str, noun: str, advice: str = "") -> None:
        """Raises the error for a file whose `value` is beyond the limit; `noun` says what it has too much of."""
        limit = getattr(self, field)
        if value > limit:
            raise ValueError(
                f"{name} has {noun}, more than the limit of {limit:,}. {advice}Where its source is trusted, raise it: "
                f"`processor.limits = DecodingLimits({field}=...)`."
            )


LIMITS = DecodingLimits()


def open_source(source: Any, name: str, allow_urls: bool | str = True, limits: DecodingLimits = LIMITS) -> BinaryIO:
    """
    Opens a path, an http(s) or data URL, bytes, a file that is open, or a `{"bytes", "path"}` dict; `name` says in
    errors whose it is. What it gives begins at the start and may be closed.

    Args:
        allow_urls: whether an http(s) URL is followed; "public": only to public addresses, for rows of other people.
    """
    if not is_one_of(allow_urls, True, False, "public"):
        raise ValueError(f"`allow_urls` is {allow_urls!r}: expected True, False or 'public'.")
    if isinstance(source, dict) and ("bytes" in source or "path" in source):
        source = source.get("path") if source.get("bytes") is None else source["bytes"]
    source = read_once(source, name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if is_url(source):
        return download(source, name, allow_urls, limits)
    if isinstance(source, str) and source[:5].lower() == "data:":
        return read_data_url(source, name)
    if not isinstance(source, (str, os.PathLike)):
        keys = f" of {', '.join(map(str, source))}" if isinstance(source, dict) else ""
        raise ValueError(
            f"{name} has type {type(source).__name__}{keys}, which is not something that can be read: expected a "
            'path, a URL, bytes, an open file or {"bytes": ..., "path": ...}.'
        )
    return open_path(source, name)


def read_once(source: Any, name: str) -> Any:
    """The bytes of an open file, from its start where it can be gone back to; anything else stays as it was given."""
    if not hasattr(source, "read"):
        return source
    if hasattr(source, "seekable") and source.seekable():
        source.seek(0)
    content = source.read()
    if isinstance(content, str):
        raise ValueError(f'{name} is a file that was opened as text: open it with mode "rb".')
    return content


class Content(io.BufferedReader):
    """A file without its name, by which decoders would judge it."""

    name = ""


def open_path(path: str | os.PathLike, name: str) -> BinaryIO:
    """A regular file, without its name."""
    shown = repr(os.fspath(path)[:200])
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe waits, and devices do not end
            raise OSError("it is no file")
        return Content(io.FileIO(path))
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: there is no file at {shown}.") from None
    except (OSError, ValueError) as error:  # a name that no file can have is most likely content
        hint = " Base64 is given as a data URL, `data:image/png;base64,...`." if len(os.fspath(path)) > 255 else ""
        raise OSError(f"{name}: cannot open {shown}: {reason(error)}.{hint}") from error


def download(url: str, name: str, allow_urls: bool | str, limits: DecodingLimits) -> BinaryIO:
    """What an http(s) URL leads to, if it may be followed."""
    if not allow_urls:
        raise ValueError(
            f"{name} is the URL {shown_url(url)!r}, and URLs are not followed here: give the file itself, or pass "
            "`allow_urls=True` where the row is your own."
        )
    try:
        return io.BytesIO(fetch(url, limits.max_url_bytes, limits.max_url_seconds, public_only=allow_urls == "public"))
    except OSError as error:
        raise OSError(f"{name}: cannot read the URL {shown_url(url)!r}: {error}.") from None


def read_data_url(url: str, name: str) -> BinaryIO:
    """What a `data:` URL holds."""
    try:
        with urllib.request.DataHandler().data_open(urllib.request.Request(url)) as content:  # noqa: S310 (a handler of data URLs opens nothing)
            return io.BytesIO(content.read())
    except ValueError as error:  # no base64, or no comma
        raise OSError(f"{name}: cannot read the URL {url[:80]!r}: {error}") from error


def reason(error: Exception) -> str:
    """What a decoder complains of, without the name that the file happens to have here."""
    return getattr(error, "strerror", None) or str(error)


def is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, torch.Tensor))


def to_numpy(array: np.ndarray | torch.Tensor | Sequence, name: str) -> np.ndarray:
    """An array, a tensor or nested lists as an array of numpy; bfloat16, which numpy lacks, as float32."""
    try:
        if not isinstance(array, torch.Tensor):
            return np.asarray(array)
        array = array.detach().cpu()
        return (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    except (TypeError, ValueError, RuntimeError) as error:  # lists of several lengths; a sparse or empty tensor
        raise ValueError(f"{name} is no array of plain numbers: {error}") from error
