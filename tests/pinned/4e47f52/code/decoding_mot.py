# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From what people have (paths, URLs, bytes, arrays, decoders) to pictures, frames of videos and samples of sound.

The file reads in the order of the data: bytes, pictures, videos, sound (decode, mix to mono, resample). soundfile and
PyAV decode; where one is missing that a file needs, the error names it.
"""

import io
import math
import os
import urllib.request
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from transformers.image_utils import ChannelDimension, infer_channel_dimension_format

try:
    import soundfile
except (ImportError, OSError):  # OSError: the package is there, the libsndfile it wraps is not
    soundfile = None
try:
    import av
except ImportError:
    av = None

URL_PREFIXES = ("http://", "https://", "data:")
URL_TIMEOUT_SECONDS = 30
MAX_AUDIO_CHANNELS = 8  # 7.1 surround; more means that a batch was given as one array
RESAMPLING_ZERO_CROSSINGS = 32  # per side of the filter: a narrower transition costs more multiplications
RESAMPLING_ROLLOFF = 0.95  # where the filter is at half, as a share of the lower Nyquist frequency
RESAMPLING_KAISER_BETA = 10.0  # about 100 dB of stop-band attenuation


# ------------------------------------------------- bytes and arrays -------------------------------------------------
def open_source(source: Any, name: str) -> BinaryIO:
    """Opens a path, an http(s) or data URL, bytes, or a `{"bytes", "path"}` dict; `name` says in errors whose it is."""
    if isinstance(source, dict) and ("bytes" in source or "path" in source):
        source = source.get("path") if source.get("bytes") is None else source["bytes"]
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if isinstance(source, str) and source.startswith(URL_PREFIXES):
        return download(source, name)
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(f"{name} has type {type(source).__name__}, which is not something that can be read.")
    try:
        return open(source, "rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: there is no file at {os.fspath(source)!r}.") from None


def download(url: str, name: str) -> BinaryIO:
    request = urllib.request.Request(url, headers={"User-Agent": "mot-processor"})
    try:
        with urllib.request.urlopen(request, timeout=URL_TIMEOUT_SECONDS) as response:
            return io.BytesIO(response.read())
    except (OSError, ValueError) as error:  # ValueError: a data URL that is not valid base64
        raise OSError(f"{name}: cannot read the URL {url[:80]!r}: {error}") from error


def reason(error: Exception) -> str:
    """What a decoder complains of, without the name that the file happens to have here."""
    return getattr(error, "strerror", None) or str(error)


def is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, torch.Tensor))


def to_numpy(array: np.ndarray | torch.Tensor | Sequence) -> np.ndarray:
    if not isinstance(array, torch.Tensor):
        return np.asarray(array)
    array = array.detach().cpu()
    return (array.float() if array.dtype == torch.bfloat16 else array).numpy()


# ----------------------------------------------------- pictures -----------------------------------------------------
def load_image(source: Any, name: str, convert_rgb: bool) -> Image.Image:
    """Decodes one picture, upright; greyscale, palette and transparent ones become RGB where `convert_rgb`."""
    if is_array(source):
        image = array_to_image(to_numpy(source), name)
    elif isinstance(source, Image.Image):
        image = ImageOps.exif_transpose(source)
    else:
        image = decode_image(source, name)
    if image.mode.startswith("I;16"):  # PIL would clip 16-bit greyscale instead of scaling it
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB") if convert_rgb else image


def decode_image(source: Any, name: str) -> Image.Image:
    with open_source(source, name) as file:
        try:
            return ImageOps.exif_transpose(Image.open(file))
        except UnidentifiedImageError:  # whose message names the file object, not the file
            raise ValueError(
                f"{name} is not a picture that can be decoded: broken, or of no format that PIL knows."
            ) from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"{name} is not a picture that can be decoded: {reason(error)}") from error


def array_to_image(array: np.ndarray, name: str) -> Image.Image:
    """(H, W), (H, W, C) or (C, H, W) as a picture; values are 0..255, or 0..1 and then stretched to 0..255."""
    if array.ndim not in (2, 3):
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
    if array.dtype == np.uint8:
        return array
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if not (low >= 0 and high <= 255):  # also refuses NaN
        raise ValueError(f"{name} has values from {low} to {high}: expected finite values within 0..255 or 0..1.")
    in_unit_range = array.dtype.kind in "fb" and high <= 1
    return np.round(array.astype(np.float32) * (255 if in_unit_range else 1)).astype(np.uint8)


# ------------------------------------------------------ videos ------------------------------------------------------
def load_frames(source: Any, name: str, num_frames: int | None, fps: float | None) -> tuple[list, list[float] | None]:
    """At most `num_frames` frames (None: all), evenly spaced, from a video file, a decoder, an array or a list.

    With them comes each kept frame's own time in seconds. Frames that carry no times are `fps` to a second; without
    `fps` their times are None.
    """
    if hasattr(source, "get_frames_at"):  # torchcodec's VideoDecoder, on the file's clock as its AudioDecoder is
        kept = source.get_frames_at(indices=even_indices(source.metadata.num_frames, num_frames))
        return list(kept.data), kept.pts_seconds.tolist()
    if not is_array(source) and not isinstance(source, (list, tuple)):
        return decode_video(source, name, num_frames, fps)
    if is_array(source) and source.ndim != 4:
        raise ValueError(f"{name} has shape {tuple(source.shape)}: expected (F, H, W, C) or (F, C, H, W).")
    if len(source) == 0:
        raise ValueError(f"{name} has no frames.")
    indices = even_indices(len(source), num_frames)
    return [source[i] for i in indices], even_times(indices, fps)


def even_indices(total: int, wanted: int | None) -> list[int]:
    """The first, the last and what lies evenly between them; everything where there is no more than wanted."""
    if wanted is None or total <= wanted:
        return list(range(total))
    return np.linspace(0, total - 1, wanted).round().astype(int).tolist()


def even_times(indices: Sequence[int], fps: float | None) -> list[float] | None:
    return [float(i / fps) for i in indices] if fps else None


def decode_video(
    source: Any, name: str, num_frames: int | None, fps: float | None
) -> tuple[list[Image.Image], list[float] | None]:
    if av is None:
        raise ImportError(f"{name}: decoding a video needs PyAV. Install it with `pip install av`.")
    with open_source(source, name) as file:
        try:
            # Frame counts in containers are often absent or wrong, and keeping every frame takes too much memory,
            # so the file is decoded once to count and once to keep.
            timestamps, rate = read_timestamps(file)
            wanted = even_indices(len(timestamps), num_frames)
            kept = set(wanted)
            frames = [upright(frame) for index, frame in enumerate(iterate_frames(file)) if index in kept]
        except av.FFmpegError as error:
            raise ValueError(f"{name} is not a video that can be decoded: {reason(error)}") from error
    if not frames:
        raise ValueError(f"{name} has no video frames.")
    if None in timestamps:
        return frames, even_times(wanted, fps or rate)
    return frames, [timestamps[i] for i in wanted]


def read_timestamps(file: BinaryIO) -> tuple[list[float | None], float | None]:
    """Seconds of every frame since the file's start, None where the file does not say, and its frames per second."""
    file.seek(0)
    with av.open(file) as container:
        start = start_seconds(container)
        timestamps = [None if frame.time is None else frame.time - start for frame in decode_frames(container)]
        # Raw streams without timestamps have 25 as their average rate, whatever the true one: the guess knows better.
        return timestamps, container.streams.video[0].guessed_rate if timestamps else None


def iterate_frames(file: BinaryIO):
    file.seek(0)
    with av.open(file) as container:
        yield from decode_frames(container)


def decode_frames(container: Any):
    if container.streams.video:
        container.streams.video[0].thread_type = "AUTO"
        yield from container.decode(video=0)


def upright(frame: Any) -> Image.Image:
    """A decoded frame as a picture. Phones store portrait videos lying on their side, with the angle beside them."""
    return frame.to_image().rotate(getattr(frame, "rotation", 0), expand=True)  # absent before PyAV 14


def start_seconds(container: Any) -> float:
    """When the earliest stream of an open file starts, on the file's own clock.

    That clock is shared by pictures and sound, but it need not begin at 0 (a transport stream runs on from anywhere),
    and the streams need not begin together. Counting from the earliest one, as players do, keeps them aligned;
    counting each stream from its own start would shift one against the other.
    """
    return (container.start_time or 0) / av.time_base  # None: no timestamps at all


# ------------------------------------------------------ sound -------------------------------------------------------
def load_audio(source: Any, name: str, target_rate: int, default_rate: int | None) -> tuple[np.ndarray, float]:
    """One clip as mono float32 samples (N,) at `target_rate` Hz, and the seconds at which it starts in its file.

    `default_rate` is that of arrays without one.
    """
    waveform, rate, start = read_timed_audio(source, name)
    rate = default_rate if rate is None else rate
    if rate is None or rate <= 0:
        raise ValueError(
            f"The sampling rate of {name} is missing (got {rate}). Pass {{'array': ..., 'sampling_rate': ...}} or "
            "`sampling_rate=` in Hz."
        )
    waveform = to_mono(waveform, name)
    if waveform.size == 0:
        raise ValueError(f"{name} has zero length; pass None for a row without audio.")
    if not np.isfinite(waveform).all():
        raise ValueError(f"{name} holds NaN or infinite samples.")
    return resample(waveform, int(rate), target_rate), start


def read_audio(source: Any, name: str) -> tuple[np.ndarray, int | None]:
    """Samples of any shape and the rate they came with, None if they came without."""
    waveform, rate, _ = read_timed_audio(source, name)
    return waveform, rate


def read_timed_audio(source: Any, name: str) -> tuple[np.ndarray, int | None, float]:
    """As `read_audio`, and the seconds of the first sample: only sound that lies beside pictures starts late."""
    if hasattr(source, "get_all_samples"):  # torchcodec's AudioDecoder, also that of `datasets`
        samples = source.get_all_samples()
        return to_numpy(samples.data), samples.sample_rate, samples.pts_seconds
    if isinstance(source, dict) and source.get("array") is not None:
        return to_numpy(source["array"]), source.get("sampling_rate"), 0.0
    if is_array(source) or (isinstance(source, (list, tuple)) and is_number_list(source)):
        return to_numpy(source), None, 0.0
    with open_source(source, name) as file:
        return decode_audio(file, name)


def is_number_list(value: Sequence) -> bool:
    return len(value) > 0 and isinstance(value[0], (int, float, np.number)) and not isinstance(value[0], bool)


def decode_audio(file: BinaryIO, name: str) -> tuple[np.ndarray, int, float]:
    """soundfile for wav, flac, ogg and mp3; PyAV for the rest, such as mp4, m4a and the sound of a video."""
    if soundfile is not None:
        try:
            samples, rate = soundfile.read(file, dtype="float32", always_2d=True)  # (N, channels)
            return samples.mean(axis=1), rate, 0.0
        except soundfile.SoundFileError:
            file.seek(0)
    if av is None:
        missing = "`pip install av`" if soundfile is not None else "`pip install soundfile av`"
        raise ImportError(f"{name}: no installed package decodes this audio file. Try again after {missing}.")
    try:
        return decode_audio_with_av(file, name)
    except av.FFmpegError as error:
        raise ValueError(f"{name} is not audio that can be decoded: {reason(error)}") from error


def decode_audio_with_av(file: BinaryIO, name: str) -> tuple[np.ndarray, int, float]:
    with av.open(file) as container:
        if not container.streams.audio:
            raise ValueError(f"{name} has no audio track.")
        to_float_planar = av.AudioResampler(format="fltp")
        decoded = (*container.decode(audio=0), None)  # None flushes the converter
        chunks = [chunk.to_ndarray() for frame in decoded for chunk in to_float_planar.resample(frame)]
        rate = container.streams.audio[0].rate
        first = decoded[0]
        start = 0.0 if first is None or first.time is None else first.time - start_seconds(container)
    samples = np.concatenate(chunks, axis=1) if chunks else np.zeros((1, 0), np.float32)  # (channels, N)
    return samples.mean(axis=0), rate, start


def has_sound(source: Any, name: str) -> bool:
    """Whether a video file has a sound track; a file that cannot be opened has none."""
    if av is None:
        raise ImportError(f"{name}: reading the sound of a video needs PyAV. Install it with `pip install av`.")
    try:
        with open_source(source, name) as file, av.open(file) as container:
            return len(container.streams.audio) > 0
    except (OSError, ValueError):  # of which PyAV's errors are kinds
        return False


def to_mono(waveform: np.ndarray, name: str) -> np.ndarray:
    """(N,), (channels, N) or (N, channels) to float32 (N,); integer samples are scaled to -1..1."""
    if waveform.dtype.kind not in "fi":
        raise ValueError(f"{name} has samples of type {waveform.dtype}: expected floats or signed integers.")
    scale = 2.0 ** (8 * waveform.dtype.itemsize - 1) if waveform.dtype.kind == "i" else 1.0
    if waveform.ndim == 2 and min(waveform.shape) <= MAX_AUDIO_CHANNELS:
        waveform = waveform.mean(axis=int(np.argmin(waveform.shape)))
    if waveform.ndim != 1:
        raise ValueError(
            f"{name} has shape {waveform.shape}: expected (samples,), (channels, samples) or (samples, channels) "
            f"with at most {MAX_AUDIO_CHANNELS} channels. A batch is a list of clips."
        )
    return (waveform / scale).astype(np.float32)


def resample(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Band-limited resampling of (N,) samples to ceil(N * to_rate / from_rate), by a Kaiser-windowed sinc.

    Output n lies at input position n * down / up. Its distance to the nearest input repeats every `up` outputs, so
    there are `up` filters (a polyphase bank), and each one makes every `up`-th output, moving `down` inputs a step.
    """
    if from_rate == to_rate:
        return waveform
    divisor = math.gcd(from_rate, to_rate)
    up, down = to_rate // divisor, from_rate // divisor
    cutoff = RESAMPLING_ROLLOFF * min(1.0, up / down)  # in units of the input's Nyquist frequency
    half_width = math.ceil(RESAMPLING_ZERO_CROSSINGS / cutoff)
    taps = np.arange(-half_width, half_width + 1)
    output = np.empty(math.ceil(len(waveform) * up / down), dtype=np.float32)
    padded = np.pad(waveform, half_width)
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(taps))  # row i is centred on input i
    for phase in range(min(up, len(output))):
        first, remainder = divmod(phase * down, up)
        offsets = taps - remainder / up
        inside = 1 - (offsets / half_width) ** 2  # negative beyond the filter's end
        taper = np.i0(RESAMPLING_KAISER_BETA * np.sqrt(np.maximum(inside, 0))) / np.i0(RESAMPLING_KAISER_BETA)
        kernel = cutoff * np.sinc(cutoff * offsets) * np.where(inside >= 0, taper, 0)
        output[phase::up] = windows[first::down] @ kernel.astype(np.float32)
    return output
