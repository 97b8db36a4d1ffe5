# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Videos: files, decoders, arrays and lists of frames become a few frames, evenly spaced, and the seconds of each."""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from .decoding_container_mot import decoding, open_container, require_av, start_seconds
from .decoding_image_mot import shrink, to_uint8
from .decoding_mot import LIMITS, DecodingLimits, is_array, open_source, to_numpy

FRAME_THREADS_PIXELS = 9_500_000  # 4K; of larger frames no more are decoded at once than must be


def load_frames(
    source: Any,
    name: str,
    num_frames: int | None,
    fps: float | None,
    allow_urls: bool | str = True,
    limits: DecodingLimits = LIMITS,
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
    """Seconds of frames that come `fps` to a second; None where nobody says how many."""
    return [float(i / fps) for i in indices] if fps else None


def decode_video(
    source: Any, name: str, num_frames: int | None, fps: float | None, allow_urls: bool | str, limits: DecodingLimits
) -> tuple[list[Image.Image], list[float] | None]:
    """The frames and times of a file, as `load_frames` gives them."""
    require_av(name, "decoding a video")
    with open_source(source, name, allow_urls, limits) as file, decoding(name, "a video"):
        # Frame counts in containers are often absent or wrong, and keeping every frame takes too much memory,
        # so the file is decoded once to count and once to keep.
        timestamps, rate = read_timestamps(file, name, limits)
        wanted = even_indices(len(timestamps), num_frames)
        frames = keep_frames(file, name, set(wanted), limits)
    if not frames:
        raise ValueError(f"{name} has no video frames.")
    if None in timestamps:
        return frames, even_times(wanted, fps or rate)
    return frames, [timestamps[i] for i in wanted]


def keep_frames(file: BinaryIO, name: str, kept: set[int], limits: DecodingLimits) -> list[Image.Image]:
    """The frames whose numbers are in `kept`, upright and no larger than the limits allow."""
    frames, pixels = [], 0
    for index, frame in enumerate(iterate_frames(file, name, limits)):
        if index in kept:
            frames.append(upright(frame, limits))
            pixels += frames[-1].width * frames[-1].height
            noun = f"{len(kept)} frames to keep, and {len(frames)} of them {pixels:,} pixels"
            limits.check("max_kept_video_pixels", pixels, name, noun, "Keep fewer (`num_frames`). ")
    return frames


def read_timestamps(
    file: BinaryIO, name: str = "The video", limits: DecodingLimits = LIMITS
) -> tuple[list[float | None], float | None]:
    """Seconds of every frame since the file's start, None where the file does not say, and its frames per second."""
    with open_container(file) as container:
        start = start_seconds(container)
        frames = decode_frames(container, name, limits)
        timestamps = [None if frame.time is None else frame.time - start for frame in frames]
        # Raw streams without timestamps have 25 as their average rate, whatever the true one: the guess knows better.
        return timestamps, container.streams.video[0].guessed_rate if timestamps else None


def iterate_frames(file: BinaryIO, name: str = "The video", limits: DecodingLimits = LIMITS) -> Iterator[Any]:
    """The frames of a video, one by one, each of them within the limits."""
    with open_container(file) as container:
        yield from decode_frames(container, name, limits)


def decode_frames(container: Any, name: str, limits: DecodingLimits) -> Iterator[Any]:
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


def check_frame(frame: Any, name: str, limits: DecodingLimits) -> None:
    noun = f"frames of {frame.width} x {frame.height} pixels"
    limits.check("max_frame_pixels", frame.width * frame.height, name, noun)


def upright(frame: Any, limits: DecodingLimits = LIMITS) -> Image.Image:
    """A decoded frame as a picture. Phones store portrait videos lying on their side, with the angle beside them."""
    picture = shrink(frame.to_image(), limits.max_kept_frame_pixels)
    return picture.rotate(frame.rotation, expand=True)
