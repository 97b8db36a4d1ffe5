# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From what people have (paths, URLs, bytes, arrays, decoders) to pictures, frames of videos and samples of sound.

The file reads in the order of the data: bytes, pictures, videos, sound (decode, mix to mono, resample). soundfile and
PyAV decode; where one is missing that a file needs, the error names it.

A file may be anybody's. It is judged by its content, decoded by the formats that are listed here and no others, and so
that it reads no other file, opens no connection and starts no program; `Limits` says what one may cost.
"""

import functools
import io
import itertools
import math
import os
import re
import stat
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from transformers.image_transforms import convert_to_rgb
from transformers.image_utils import ChannelDimension, infer_channel_dimension_format

from .arguments_mot import is_one_of
from .fetching_mot import fetch, is_url, shown_url

try:
    import soundfile
except (ImportError, OSError):  # OSError: the package is there, the libsndfile it wraps is not
    soundfile = None
try:
    import av
except ImportError:
    av = None

# PIL knows more, among them EPS, for which it starts Ghostscript. HEIF and JXL are there where a package brings them.
PICTURE_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "MPO", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA"),
    *("TIFF", "WEBP"),
)
# FFmpeg knows more, among them playlists, lists of files and descriptions of network sessions.
CONTAINER_FORMATS = (
    *("3gp", "aac", "ac3", "aiff", "amr", "ape", "apng", "asf", "au", "av1", "avi", "caf", "dts", "dv", "eac3"),
    *("flac", "flv", "gif", "h264", "hevc", "ivf", "m4v", "matroska", "mov", "mp3", "mpeg", "mpegts", "mpegvideo"),
    *("mxf", "obu", "ogg", "rm", "tta", "vvc", "w64", "wav", "wv"),
)
PICTURE_BITS = (8, 12, 16)
TILE_SIZE_TAGS = (322, 323)
JPEG_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # the others are coded pixels, or restart their coding
JPEG_SCAN, JPEG_END = b"\xda", b"\xd9"
MAX_SAMPLING_RATE = 2**31
MAX_AUDIO_CHANNELS = 8  # 7.1 surround; more means that a batch was given as one array
LOUDEST_FLOAT = 128.0  # 42 dB over full scale: floats above are integers that lost their type
RESAMPLING_ZERO_CROSSINGS = 32  # per side of the filter: a narrower transition costs more multiplications
RESAMPLING_ROLLOFF = 0.95  # where the filter is at half, as a share of the lower Nyquist frequency
RESAMPLING_KAISER_BETA = 10.0  # about 100 dB of stop-band attenuation
MAX_RESAMPLING_TERM = 200_000  # of the ratio of two rates; odder ones are rounded, by a few millionths
TAPS_AT_ONCE = 2**20
SAMPLES_AT_ONCE = 2**20
FRAME_THREADS_PIXELS = 9_500_000  # 4K; of larger frames no more are decoded at once than must be


@dataclass(frozen=True)
class Limits:
    """
    What one file may cost before it is refused. `processor.limits = Limits(max_audio_seconds=7200)` raises one.

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
                f"`processor.limits = Limits({field}=...)`."
            )


LIMITS = Limits()


# ------------------------------------------------- bytes and arrays -------------------------------------------------
def open_source(source: Any, name: str, allow_urls: bool | str = True, limits: Limits = LIMITS) -> BinaryIO:
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
            f"{name} has type {type(source).__name__}{keys}, which is not something that can be read: expected a path, "
            'a URL, bytes, an open file or {"bytes": ..., "path": ...}.'
        )
    return open_path(source, name)


def read_once(source: Any, name: str) -> Any:
    """The bytes of a file that is open, from its start where it has one that can be gone back to; else what was given."""
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


def download(url: str, name: str, allow_urls: bool | str, limits: Limits) -> BinaryIO:
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
    try:
        if not isinstance(array, torch.Tensor):
            return np.asarray(array)
        array = array.detach().cpu()
        return (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # lists of several lengths; a tensor that is sparse or empty
        raise ValueError(f"{name} is no array of plain numbers: {error}") from error


# ----------------------------------------------------- pictures -----------------------------------------------------
def load_image(
    source: Any, name: str, convert_rgb: bool, allow_urls: bool | str = True, limits: Limits = LIMITS
) -> Image.Image:
    """Decodes one picture, upright and 8 bits deep; of files of many pictures the first. RGB where `convert_rgb`."""
    if is_array(source):
        image = array_to_image(to_numpy(source, name), name)
    elif isinstance(source, Image.Image):
        check_image(source, name, limits)
        image = ImageOps.exif_transpose(shrink(source, limits.max_kept_image_pixels))
    else:
        image = decode_image(source, name, allow_urls, limits)
    image = flatten_depth(image, name)
    return to_rgb(image) if convert_rgb else image


def flatten_depth(image: Image.Image, name: str) -> Image.Image:
    """Greyscale of 12, 16 or 32 bits or floats to 8 bits, which PIL would clip, not scale."""
    if image.mode[0] not in "IF":
        return image
    values, transparent = np.asarray(image), image.info.get("transparency")
    low, high = values.min(), values.max()
    if low < 0 or high >= 2 ** PICTURE_BITS[-1]:  # elevations, densities and the like have no scale but their own
        values = (values.astype(np.float64) - low) / max(float(high) - float(low), 1)
    grey = Image.fromarray(to_uint8(values, name))
    if not isinstance(transparent, int):
        return grey
    return Image.merge("LA", [grey, Image.fromarray((np.asarray(image) != transparent).astype(np.uint8) * 255)])


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of 8 bits to RGB; what is transparent lies on white, as in transformers' image processors."""
    if image.mode in ("La", "RGBa"):  # multiplied by their opacity
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    return Image.fromarray(convert_to_rgb(image, return_numpy=True))


def decode_image(source: Any, name: str, allow_urls: bool | str, limits: Limits) -> Image.Image:
    with open_source(source, name, allow_urls, limits) as file, open_image(file, name, limits) as image:
        try:
            if (factor := shrinking_factor(*image.size, limits.max_kept_image_pixels)) > 1:
                image.draft(None, (image.width // factor, image.height // factor))  # JPEG alone heeds it
            return ImageOps.exif_transpose(shrink(image, limits.max_kept_image_pixels))
        except Exception as error:  # broken bytes make PIL fail in more ways than it documents
            raise undecodable(name, error) from error


def open_image(file: BinaryIO, name: str, limits: Limits = LIMITS) -> Image.Image:
    """A picture of a format that is read and a size that is allowed, not decoded yet: its head alone is read."""
    Image.init()
    try:
        image = Image.open(file, formats=[kind for kind in PICTURE_FORMATS if kind in Image.OPEN])
    except UnidentifiedImageError:  # whose message names the file object, not the file
        raise ValueError(
            f"{name} is not a picture that can be decoded: broken, or of no format that is read "
            f"({', '.join(PICTURE_FORMATS)})."
        ) from None
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name} has too many pixels: {error} Where its source is trusted, raise `PIL.Image.MAX_IMAGE_PIXELS` and "
            "`processor.limits = Limits(max_image_pixels=...)`."
        ) from None
    except Exception as error:
        raise undecodable(name, error) from error
    check_image(image, name, limits)
    if isinstance(image, JpegImageFile):
        scans = count_scans(file)
        limits.check("max_image_scans", scans, name, f"{scans:,} scans, each of which goes over all of its pixels")
    return image


def undecodable(name: str, error: Exception) -> ValueError:
    return ValueError(f"{name} is not a picture that can be decoded: {reason(error) or type(error).__name__}")


def check_image(image: Image.Image, name: str, limits: Limits) -> None:
    width, height = image.size
    if not width or not height:
        raise ValueError(f"{name} is a picture of {width} x {height} pixels: expected at least one.")
    limits.check("max_image_pixels", width * height, name, f"{width} x {height} pixels")
    tags = getattr(image, "tag_v2", {})  # TIFF: a tile is decoded whole, whatever the size of the picture
    width, height = (side if isinstance(side := tags.get(tag, 1), int) else 1 for tag in TILE_SIZE_TAGS)
    limits.check("max_image_pixels", width * height, name, f"tiles of {width} x {height} pixels")


def count_scans(file: BinaryIO) -> int:
    """The scans of a JPEG file that was read up to the first; a few bytes make one, ten or so a progressive picture."""
    begin = file.tell()
    content, position, scans = file.read(), 0, 1
    file.seek(begin)
    while (marker := JPEG_MARKER.search(content, position)) and marker[1] != JPEG_END:
        scans += marker[1] == JPEG_SCAN
        position = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")  # behind its head
    return scans


def shrink(image: Image.Image, most_pixels: float) -> Image.Image:
    """A picture of more than `most_pixels`, smaller by a whole factor."""
    if (factor := shrinking_factor(*image.size, most_pixels)) == 1:
        return image
    image.load()
    if image.mode in ("1", "P", "PA") or (image.mode in ("L", "RGB") and "transparency" in image.info):
        image = image.convert("RGBA")
    elif image.mode.startswith("I;"):
        image = image.convert("I")
    return image.reduce(factor)


def shrinking_factor(width: int, height: int, most_pixels: float) -> int:
    """The least whole number by which both sides are divided so that no more pixels are left."""
    return max(1, math.ceil(math.sqrt(width * height / most_pixels)))


def array_to_image(array: np.ndarray, name: str) -> Image.Image:
    """(H, W), (H, W, C) or (C, H, W) as a picture of 8 bits; `to_uint8` says how values are scaled."""
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: expected (H, W), (H, W, C) or (C, H, W).")
    if array.ndim == 3:
        try:
            channels = infer_channel_dimension_format(array, num_channels=(1, 3, 4))
        except ValueError:
            raise ValueError(f"{name} has shape {array.shape}: expected 1, 3 or 4 channels, first or last.") from None
        array = np.moveaxis(array, 0, -1) if channels == ChannelDimension.FIRST else array
        array = array[..., 0] if array.shape[-1] == 1 else array
    return Image.fromarray(np.ascontiguousarray(to_uint8(array, name)))


def to_uint8(array: np.ndarray, name: str) -> np.ndarray:
    """Values to 0..255: floats and booleans from 0..1, others from the least of 8, 12 and 16 bits that holds them all."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} has values of type {array.dtype}: expected numbers.")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 2 ** PICTURE_BITS[-1] - 1):  # also refuses NaN
        raise ValueError(
            f"{name} has values from {low} to {high}: expected finite ones within 0..1, 0..255, 0..4095 or 0..65535."
        )
    if array.dtype.kind in "fb" and high <= 1:
        return np.round(array.astype(np.float32) * 255).astype(np.uint8)
    bits = next(bits for bits in PICTURE_BITS if high <= 2**bits - 1)
    return (np.round(array).astype(np.int32) >> (bits - 8)).astype(np.uint8)  # the high byte, as PIL takes of colours


# ------------------------------------------------------ videos ------------------------------------------------------
def load_frames(
    source: Any,
    name: str,
    num_frames: int | None,
    fps: float | None,
    allow_urls: bool | str = True,
    limits: Limits = LIMITS,
) -> tuple[list, list[float] | None]:
    """At most `num_frames` frames (None: all), evenly spaced, from a video file, a decoder, an array or a list.

    With them comes each kept frame's own time in seconds. Frames that carry no times are `fps` to a second; without
    `fps` their times are None.
    """
    if hasattr(source, "get_frames_at"):  # torchcodec's VideoDecoder, on the file's clock as its AudioDecoder is
        kept = source.get_frames_at(indices=even_indices(source.metadata.num_frames, num_frames))
        return list(kept.data), kept.pts_seconds.tolist()
    if not is_array(source) and not isinstance(source, (list, tuple)):
        return decode_video(source, name, num_frames, fps, allow_urls, limits)
    if is_array(source) and source.ndim != 4:
        raise ValueError(f"{name} has shape {tuple(source.shape)}: expected (F, H, W, C) or (F, C, H, W).")
    if len(source) == 0:
        raise ValueError(f"{name} has no frames.")
    indices = even_indices(len(source), num_frames)
    if is_array(source):  # one scale for all, else a dark frame would be taken for one from 0 to 1
        return list(to_uint8(to_numpy(source[indices], name), name)), even_times(indices, fps)
    return [source[i] for i in indices], even_times(indices, fps)


def even_indices(total: int, wanted: int | None) -> list[int]:
    """The first, the last and what lies evenly between them; everything where there is no more than wanted."""
    if wanted is None or total <= wanted:
        return list(range(total))
    return np.linspace(0, total - 1, wanted).round().astype(int).tolist()


def even_times(indices: Sequence[int], fps: float | None) -> list[float] | None:
    return [float(i / fps) for i in indices] if fps else None


def decode_video(
    source: Any, name: str, num_frames: int | None, fps: float | None, allow_urls: bool | str, limits: Limits
) -> tuple[list[Image.Image], list[float] | None]:
    if av is None:
        raise ImportError(f"{name}: decoding a video needs PyAV. Install it with `pip install av`.")
    with open_source(source, name, allow_urls, limits) as file:
        try:
            # Frame counts in containers are often absent or wrong, and keeping every frame takes too much memory,
            # so the file is decoded once to count and once to keep.
            timestamps, rate = read_timestamps(file, name, limits)
            wanted = even_indices(len(timestamps), num_frames)
            frames = keep_frames(file, name, set(wanted), limits)
        except (av.FFmpegError, UnicodeError, OverflowError) as error:
            raise ValueError(f"{name} is not a video that can be decoded: {reason(error)}") from error
    if not frames:
        raise ValueError(f"{name} has no video frames.")
    if None in timestamps:
        return frames, even_times(wanted, fps or rate)
    return frames, [timestamps[i] for i in wanted]


def keep_frames(file: BinaryIO, name: str, kept: set[int], limits: Limits) -> list[Image.Image]:
    frames, pixels = [], 0
    for index, frame in enumerate(iterate_frames(file, name, limits)):
        if index in kept:
            frames.append(upright(frame, limits))
            pixels += frames[-1].width * frames[-1].height
            noun = f"{len(kept)} frames to keep, and {len(frames)} of them {pixels:,} pixels"
            limits.check("max_kept_video_pixels", pixels, name, noun, "Keep fewer (`num_frames`). ")
    return frames


def open_container(file: BinaryIO) -> Any:
    """A file of a format that is read, by PyAV; nothing that it names is followed."""
    file.seek(0)
    options = {"format_whitelist": ",".join(CONTAINER_FORMATS), "protocol_whitelist": "none"}
    return av.open(file, container_options=options, metadata_errors="replace")


def read_timestamps(
    file: BinaryIO, name: str = "The video", limits: Limits = LIMITS
) -> tuple[list[float | None], float | None]:
    """Seconds of every frame since the file's start, None where the file does not say, and its frames per second."""
    with open_container(file) as container:
        start = start_seconds(container)
        frames = decode_frames(container, name, limits)
        timestamps = [None if frame.time is None else frame.time - start for frame in frames]
        # Raw streams without timestamps have 25 as their average rate, whatever the true one: the guess knows better.
        return timestamps, container.streams.video[0].guessed_rate if timestamps else None


def iterate_frames(file: BinaryIO, name: str = "The video", limits: Limits = LIMITS) -> Iterator[Any]:
    with open_container(file) as container:
        yield from decode_frames(container, name, limits)


def decode_frames(container: Any, name: str, limits: Limits) -> Iterator[Any]:
    """The frames of an open video, each of them within the limits."""
    if not container.streams.video:
        return
    stream, start, pixels = container.streams.video[0], start_seconds(container), 0
    if (codec := stream.codec_context) is None:
        raise ValueError(f"{name} is a video of a codec that is not known here.")
    check_frame(codec, name, limits)
    codec.options = {"max_pixels": str(int(min(limits.max_frame_pixels, 2**31 - 1)))}
    codec.thread_type = "AUTO" if codec.width * codec.height <= FRAME_THREADS_PIXELS else "SLICE"
    for count, frame in enumerate(container.decode(video=0), 1):
        check_frame(frame, name, limits)
        pixels += frame.width * frame.height
        seconds = 0 if frame.time is None else frame.time - start
        limits.check("max_video_frames", count, name, f"{count:,} frames")
        limits.check("max_video_pixels", pixels, name, f"{pixels:,} pixels in its first {count} frames")
        limits.check("max_video_seconds", seconds, name, f"{seconds:.0f} seconds")
        yield frame


def check_frame(frame: Any, name: str, limits: Limits) -> None:
    noun = f"frames of {frame.width} x {frame.height} pixels"
    limits.check("max_frame_pixels", frame.width * frame.height, name, noun)


def upright(frame: Any, limits: Limits = LIMITS) -> Image.Image:
    """A decoded frame as a picture. Phones store portrait videos lying on their side, with the angle beside them."""
    picture = shrink(frame.to_image(), limits.max_kept_frame_pixels)
    return picture.rotate(getattr(frame, "rotation", 0), expand=True)  # absent before PyAV 14


def start_seconds(container: Any) -> float:
    """When the earliest stream of an open file starts, on the file's own clock.

    That clock is shared by pictures and sound, but it need not begin at 0 (a transport stream runs on from anywhere),
    and the streams need not begin together. Counting from the earliest one, as players do, keeps them aligned;
    counting each stream from its own start would shift one against the other.
    """
    return (container.start_time or 0) / av.time_base  # None: no timestamps at all


# ------------------------------------------------------ sound -------------------------------------------------------
def load_audio(
    source: Any,
    name: str,
    target_rate: int,
    default_rate: int | None,
    max_seconds: float | None = None,
    allow_urls: bool | str = True,
    limits: Limits = LIMITS,
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
    if rate is None:
        raise ValueError(
            f"The sampling rate of {name} is missing. Pass {{'array': ..., 'sampling_rate': ...}} or `sampling_rate=` in Hz."
        )
    is_number = isinstance(rate, (int, float, np.number)) and not isinstance(rate, bool)
    if not is_number or not 1 <= rate <= MAX_SAMPLING_RATE:
        raise ValueError(
            f"The sampling rate of {name} is {rate!r} of type {type(rate).__name__}: expected Hz, a number from 1 to "
            f"{MAX_SAMPLING_RATE}."
        )
    return int(rate)


def read_audio(
    source: Any, name: str, allow_urls: bool | str = True, limits: Limits = LIMITS
) -> tuple[np.ndarray, int | None]:
    """Samples of any shape and the rate they came with, None if they came without."""
    waveform, rate, _ = read_timed_audio(source, name, allow_urls=allow_urls, limits=limits)
    return waveform, rate


def read_timed_audio(
    source: Any, name: str, max_seconds: float | None = None, allow_urls: bool | str = True, limits: Limits = LIMITS
) -> tuple[np.ndarray, int | None, float]:
    """As `read_audio`, and the seconds of the first sample: only sound that lies beside pictures starts late.

    Of a file, what lies beyond `max_seconds` is not decoded.
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
    limits: Limits,
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
    pieces: Iterable[np.ndarray], rate: int, name: str, max_seconds: float | None, limits: Limits
) -> Iterator[np.ndarray]:
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


def joined(pieces: Iterable[np.ndarray]) -> np.ndarray:
    samples = bytearray()  # which grows in place, where joining a list would hold everything twice
    for piece in pieces:
        samples += np.ascontiguousarray(piece, np.float32).data.cast("B")
    return np.frombuffer(samples, np.float32)


def is_rate_and_samples(value: Any) -> bool:
    """Whether it is (Hz, samples), as gradio and `scipy.io.wavfile` give a sound."""
    return isinstance(value, tuple) and len(value) == 2 and not is_array(value[0]) and is_array(value[1])


def is_number_list(value: Sequence) -> bool:
    """By its ends, since it may be long."""
    ends = (value[0], value[-1]) if len(value) else ()
    is_number = [isinstance(end, (int, float, np.number)) and not isinstance(end, bool) for end in ends]
    return len(ends) > 0 and all(is_number)


def read_sound_file(
    source: Any, name: str, take: Callable, allow_urls: bool | str, limits: Limits
) -> tuple[np.ndarray, int, float]:
    """What `take(pieces, rate)` makes of a file's sound, its rate, and the seconds of its first sample.

    soundfile for wav, flac, ogg and mp3; PyAV for the rest, such as mp4, m4a and the sound of a video.
    """
    with open_source(source, name, allow_urls, limits) as file:
        if soundfile is not None:
            try:
                with soundfile.SoundFile(file) as sound:
                    return take(soundfile_pieces(sound), check_rate(sound.samplerate, name)), sound.samplerate, 0.0
            except soundfile.SoundFileError:
                file.seek(0)
        if av is None:
            missing = "`pip install av`" if soundfile is not None else "`pip install soundfile av`"
            raise ImportError(f"{name}: no installed package decodes this audio file. Try again after {missing}.")
        try:
            return decode_audio_with_av(file, name, take)
        except (av.FFmpegError, UnicodeError, OverflowError) as error:
            raise ValueError(f"{name} is not audio that can be decoded: {reason(error)}") from error


def soundfile_pieces(sound: Any) -> Iterator[np.ndarray]:
    """An open file's samples, mixed to one channel, until there are no more, however many its head claims."""
    size = max(1, SAMPLES_AT_ONCE // sound.channels)
    while len(samples := sound.read(size, dtype="float32", always_2d=True)):  # (n, channels)
        yield samples[:, 0] if sound.channels == 1 else samples.mean(axis=1)


def decode_audio_with_av(file: BinaryIO, name: str, take: Callable) -> tuple[np.ndarray, int, float]:
    with open_container(file) as container:
        if not container.streams.audio:
            raise ValueError(f"{name} has no audio track.")
        if container.streams.audio[0].codec_context is None:
            raise ValueError(f"{name} is sound of a codec that is not known here.")
        frames = container.decode(audio=0)
        first = next(frames, None)  # by which some formats know their rate
        rate = check_rate(container.streams.audio[0].rate, name)
        start = 0.0 if first is None or first.time is None else first.time - start_seconds(container)
        frames = itertools.chain(() if first is None else (first,), frames)
        return take(av_pieces(frames), rate), rate, start


def av_pieces(frames: Iterable[Any]) -> Iterator[np.ndarray]:
    """Decoded frames as float samples, mixed to one channel."""
    to_float_planar = av.AudioResampler(format="fltp")
    for frame in itertools.chain(frames, (None,)):  # None flushes the converter
        for chunk in to_float_planar.resample(frame):
            yield chunk.to_ndarray().mean(axis=0)  # of (channels, n)


def has_sound(source: Any, name: str, allow_urls: bool | str = True, limits: Limits = LIMITS) -> bool:
    """
    Whether a video file has a sound track; one that cannot be decoded has none.

    Raises:
        OSError, ValueError: there is no such file, or it is a URL that is not followed.
    """
    if av is None:
        raise ImportError(f"{name}: reading the sound of a video needs PyAV. Install it with `pip install av`.")
    with open_source(source, name, allow_urls, limits) as file:
        try:
            with open_container(file) as container:
                return len(container.streams.audio) > 0
        except (OSError, ValueError):  # of which PyAV's errors are kinds
            return False


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
    held = np.pad(held, (0, max(0, steps * down + 2 * reach - len(held))))
    yield apply_filters(held, filters, down, steps)[: math.ceil(missing)]


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
    """The filters (up, taps) of `resample`: filter p is centred p * down / up samples after an input, less whole ones."""
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
