# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From what people have (paths, URLs, bytes, arrays, decoders) to pictures, frames of videos and samples of sound.

The file reads in the order of the data: bytes, pictures, videos, sound (decode, mix to mono, resample). soundfile and
PyAV decode; where one is missing that a file needs, the error names it.
"""

import functools
import io
import math
import os
import urllib.request
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from transformers.image_transforms import convert_to_rgb
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
PICTURE_BITS = (8, 12, 16)
MAX_AUDIO_CHANNELS = 8  # 7.1 surround; more means that a batch was given as one array
LOUDEST_FLOAT = 128.0  # 42 dB over full scale: floats above are integers that lost their type
RESAMPLING_ZERO_CROSSINGS = 32  # per side of the filter: a narrower transition costs more multiplications
RESAMPLING_ROLLOFF = 0.95  # where the filter is at half, as a share of the lower Nyquist frequency
RESAMPLING_KAISER_BETA = 10.0  # about 100 dB of stop-band attenuation
FILTERS_AT_ONCE = 256


# ------------------------------------------------- bytes and arrays -------------------------------------------------
def open_source(source: Any, name: str) -> BinaryIO:
    """
    Opens a path, an http(s) or data URL, bytes, a file that is open, or a `{"bytes", "path"}` dict; `name` says in
    errors whose it is. What it gives begins at the start and may be closed.
    """
    if isinstance(source, dict) and ("bytes" in source or "path" in source):
        source = source.get("path") if source.get("bytes") is None else source["bytes"]
    source = read_once(source, name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if isinstance(source, str) and source[:8].lower().startswith(URL_PREFIXES):
        return download(source, name)
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


def open_path(path: str | os.PathLike, name: str) -> BinaryIO:
    shown = repr(os.fspath(path)[:200])
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: there is no file at {shown}.") from None
    except (OSError, ValueError) as error:  # a name that no file can have is most likely content
        hint = " Base64 is given as a data URL, `data:image/png;base64,...`." if len(os.fspath(path)) > 255 else ""
        raise OSError(f"{name}: cannot open {shown}: {reason(error)}.{hint}") from error


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
    """Decodes one picture, upright and 8 bits deep; of files of many pictures the first. RGB where `convert_rgb`."""
    if is_array(source):
        image = array_to_image(to_numpy(source), name)
    elif isinstance(source, Image.Image):
        image = ImageOps.exif_transpose(source)
    else:
        image = decode_image(source, name)
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
    if is_array(source):  # one scale for all, else a dark frame would be taken for one from 0 to 1
        return list(to_uint8(to_numpy(source[indices]), name)), even_times(indices, fps)
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
    if rate is None:
        raise ValueError(
            f"The sampling rate of {name} is missing. Pass {{'array': ..., 'sampling_rate': ...}} or `sampling_rate=` in Hz."
        )
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)) or not 1 <= rate < math.inf:
        raise ValueError(
            f"The sampling rate of {name} is {rate!r} of type {type(rate).__name__}: expected Hz, a number of at least 1."
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
    samples = source.get("array", source.get("raw")) if isinstance(source, dict) else None
    if samples is not None:  # "raw" is what transformers' pipelines for speech call it
        return to_numpy(samples), source.get("sampling_rate"), 0.0
    if is_rate_and_samples(source):
        return to_numpy(source[1]), source[0], 0.0
    if is_array(source) or (isinstance(source, (list, tuple)) and is_number_list(source)):
        return to_numpy(source), None, 0.0
    with open_source(source, name) as file:
        return decode_audio(file, name)


def is_rate_and_samples(value: Any) -> bool:
    """Whether it is (Hz, samples), as gradio and `scipy.io.wavfile` give a sound."""
    return isinstance(value, tuple) and len(value) == 2 and not is_array(value[0]) and is_array(value[1])


def is_number_list(value: Sequence) -> bool:
    """By its ends, since it may be long."""
    ends = (value[0], value[-1]) if len(value) else ()
    is_number = [isinstance(end, (int, float, np.number)) and not isinstance(end, bool) for end in ends]
    return len(ends) > 0 and all(is_number)


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
    peak = float(np.nanmax(np.abs(waveform.astype(np.float64)), initial=0.0))
    if waveform.dtype.kind == "f" and (peak <= LOUDEST_FLOAT or np.isinf(peak)):
        return 1.0
    if peak > 2**31:
        raise ValueError(f"{name} has samples up to {peak:g}: expected floats about -1 to 1, or at most 32 bits.")
    return 2.0**15 if peak <= 2**15 else 2.0**31


def resample(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Band-limited resampling of (N,) samples to ceil(N * to_rate / from_rate), by a Kaiser-windowed sinc.

    Output n lies at input position n * down / up. Its distance to the nearest input repeats every `up` outputs, so
    there are `up` filters (a polyphase bank), and each one makes every `up`-th output, moving `down` inputs a step.
    """
    if from_rate == to_rate:
        return waveform
    divisor = math.gcd(from_rate, to_rate)
    up, down = to_rate // divisor, from_rate // divisor
    filters = filter_bank(up, down)  # (up, taps)
    output = np.empty(math.ceil(len(waveform) * up / down), dtype=np.float32)
    padded = np.pad(waveform, filters.shape[1] // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, filters.shape[1])  # row i is centred on input i
    for phase in range(min(up, len(output))):
        output[phase::up] = windows[phase * down // up :: down] @ filters[phase]
    return output


@functools.lru_cache(maxsize=4)
def filter_bank(up: int, down: int) -> np.ndarray:
    """The filters (up, taps) of `resample`: filter p is centred p * down / up samples after an input, less whole ones."""
    cutoff = RESAMPLING_ROLLOFF * min(1.0, up / down)  # in units of the input's Nyquist frequency
    half_width = math.ceil(RESAMPLING_ZERO_CROSSINGS / cutoff)
    taps = np.arange(-half_width, half_width + 1)
    filters = np.empty((up, len(taps)), dtype=np.float32)
    for first in range(0, up, FILTERS_AT_ONCE):  # rates without a common divisor have a filter for every sample
        phases = np.arange(first, min(first + FILTERS_AT_ONCE, up))[:, None]
        offsets = taps - phases * down % up / up
        inside = 1 - (offsets / half_width) ** 2  # negative beyond the filter's end
        taper = np.i0(RESAMPLING_KAISER_BETA * np.sqrt(np.maximum(inside, 0))) / np.i0(RESAMPLING_KAISER_BETA)
        filters[first : first + len(phases)] = cutoff * np.sinc(cutoff * offsets) * np.where(inside >= 0, taper, 0)
    return filters
