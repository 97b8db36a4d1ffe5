# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What people have (strings, pictures, sounds, videos, ready features) becomes the tensors that the models take.

The file reads in the order of the data: bytes, pictures, videos, sound (decode, mix to mono, resample), then
`MoTProcessor`, which lays each modality out as one row per example with a mask that says which parts are real.
"""

import io
import math
import numbers
import os
import urllib.request
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import BertTokenizer, ViTImageProcessorPil
from transformers.audio_utils import AudioInput
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    ChannelDimension,
    ImageInput,
    infer_channel_dimension_format,
)
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin, Unpack
from transformers.utils import logging
from transformers.video_utils import VideoInput

from .feature_extraction_mot import MoTFeatureExtractor

try:
    import soundfile
except (ImportError, OSError):  # OSError: the package is there, the libsndfile it wraps is not
    soundfile = None
try:
    import av
except ImportError:
    av = None

logger = logging.get_logger(__name__)

URL_PREFIXES = ("http://", "https://", "data:")
URL_TIMEOUT_SECONDS = 30
MAX_AUDIO_CHANNELS = 8  # 7.1 surround; more means that a batch was given as one array
RESAMPLING_ZERO_CROSSINGS = 32  # per side of the filter: a narrower transition costs more multiplications
RESAMPLING_ROLLOFF = 0.95  # where the filter is at half, as a share of the lower Nyquist frequency
RESAMPLING_KAISER_BETA = 10.0  # about 100 dB of stop-band attenuation
WINDOW_ATTRIBUTES = ("frame_length", "win_length", "n_fft")  # what mel extractors call their window, in samples
RAW_OR_READY = (
    ("text", "text_features"),
    ("images", "image_features"),
    ("videos", "image_features"),
    ("audio", "audio_features"),
)
# name of the argument: name of the output, name of its mask
READY_OUTPUTS = {
    "text_features": ("text_features", "attention_mask"),
    "image_features": ("image_features", "pixel_mask"),
    "audio_features": ("input_features", "input_features_mask"),
}
# Flat `padding=`, `max_length=`, ... are about tokens; read as samples they would silently cut a sound short.
TOKEN_LENGTH_OPTIONS = ("padding", "max_length", "truncation", "pad_to_multiple_of")


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
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"{name} is not a picture that can be decoded: {error}") from error


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
            # Phones store portrait videos lying on their side, with the angle beside them.
            frames = [
                frame.to_image().rotate(getattr(frame, "rotation", 0), expand=True)  # absent before PyAV 14
                for index, frame in enumerate(iterate_frames(file))
                if index in kept
            ]
        except av.FFmpegError as error:
            raise ValueError(f"{name} is not a video that can be decoded: {error}") from error
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
        raise ValueError(f"{name} is not audio that can be decoded: {error}") from error


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


# ------------------------------------------------- rows of a batch --------------------------------------------------
def to_rows(name: str, value: Any) -> list | None:
    """One entry per row: a batch is split, a single input becomes a batch of one."""
    if value is None:
        return None
    if is_array(value):
        row_ndim = {"text": 0, "images": 3, "videos": 4, "audio": 2}.get(name, 2)
        return list(value) if value.ndim == row_ndim + 1 else [value]
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes, bytearray, memoryview)):
        return [value]
    rows = [value[i] for i in range(len(value))]  # lists, tuples and columns of `datasets`
    if name == "audio" and is_number_list(rows):
        return [np.asarray(rows)]
    if name == "videos" and any(isinstance(row, Image.Image) or (is_array(row) and row.ndim < 4) for row in rows):
        return [rows]  # a list of frames is one video
    return [unnest_image(row, f"images[{i}]") for i, row in enumerate(rows)] if name == "images" else rows


def unnest_image(row: Any, name: str) -> Any:
    """transformers also writes a batch as [[image], [], [image]]."""
    if not isinstance(row, (list, tuple)):
        return row
    if len(row) > 1:
        raise ValueError(f"{name} is a list of {len(row)} pictures: a row takes one; pass several as `videos`.")
    return row[0] if row else None


def check_rows(rows: dict[str, list]) -> None:
    """Every modality has the same number of rows, every row has something, and nothing is given twice."""
    sizes = {name: len(values) for name, values in rows.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ValueError(f"Batch sizes differ: {listed}. A row that lacks a modality is None in its list.")
    for i in range(max(sizes.values())):
        present = {name for name, values in rows.items() if values[i] is not None}
        if not present:
            raise ValueError(f"Row {i} is empty: {', '.join(rows)} are all None there.")
        if {"images", "videos"} <= present:
            raise ValueError(f"Row {i} has both images and videos: give at most one of them.")


def check_raw_or_ready(rows: dict[str, list]) -> None:
    for raw, ready in RAW_OR_READY:
        if raw in rows and ready in rows:
            raise ValueError(f"Got both {raw} and {ready}: a batch holds one of them.")


def present_rows(rows: list) -> list[int]:
    return [i for i, row in enumerate(rows) if row is not None]


def spread(values: torch.Tensor, indices: list[int], batch_size: int) -> torch.Tensor:
    """(len(indices), ...) to (batch_size, ...): the given rows at their places, zeros elsewhere."""
    spread_values = values.new_zeros(batch_size, *values.shape[1:])
    spread_values[indices] = values
    return spread_values


def pad_features(name: str, rows: list) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (L_i, F) or None to (B, L, F) float32 and its mask (B, L)."""
    arrays = {i: to_numpy(rows[i]) for i in present_rows(rows)}
    for i, array in arrays.items():
        if array.ndim != 2 or len(array) == 0:
            raise ValueError(f"{name}[{i}] has shape {array.shape}: expected (length, feature_size), length >= 1.")
    widths = {i: array.shape[1] for i, array in arrays.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"The rows of {name} differ in feature_size: {widths} (row: width).")
    features = torch.zeros(len(rows), max(map(len, arrays.values())), next(iter(widths.values())))  # (B, L, F)
    mask = torch.zeros(features.shape[:2], dtype=torch.long)
    for i, array in arrays.items():
        features[i, : len(array)] = torch.from_numpy(array.astype(np.float32))
        mask[i, : len(array)] = 1
    return features, mask


def frame_mask(extracted: BatchFeature) -> torch.Tensor | None:
    return extracted.get("input_features_mask", extracted.get("attention_mask"))


# ---------------------------------------------------- processor -----------------------------------------------------
class MoTProcessor(ProcessorMixin):
    """Tokenizer, image processor and mel extractor as one: raw text, pictures, videos and sound in, a batch out.

    Args:
        image_processor: any that returns `pixel_values` (N, C, H, W); default 224x224 RGB, ImageNet mean and std.
            Pictures become RGB unless it has `do_convert_rgb=False`.
        feature_extractor: any mel extractor, frames first or channels first; default 80 mel bins from 16 kHz.
        tokenizer: any; the default has BERT's settings but no vocabulary yet, so that every word is `[UNK]`
            (`tokenizer.train_new_from_iterator` gives it one).
        num_frames (`int`): how many evenly spaced frames a video gives at most; `videos_kwargs={"num_frames": n}`
            overrides it for one call, `{"do_sample_frames": False}` keeps all.
        return_times (`bool`): whether a batch also says when: `pixel_times` and `input_features_times`, on the clock
            that the pictures and the sound of a file share. Videos given as frames then need
            `videos_kwargs={"fps": 25}`, their frames per second, and the feature extractor a `hop_length`.
    """

    text_kwargs = {"padding": True}

    def __init__(self, image_processor=None, feature_extractor=None, tokenizer=None, num_frames=8, return_times=False):
        if not isinstance(num_frames, int) or num_frames < 1:
            raise ValueError(f"num_frames is {num_frames!r}: expected an int of at least 1.")
        if not isinstance(return_times, bool):
            raise ValueError(f"return_times is {return_times!r}: expected True or False.")
        if image_processor is None:
            image_processor = ViTImageProcessorPil(
                image_mean=IMAGENET_DEFAULT_MEAN, image_std=IMAGENET_DEFAULT_STD, do_convert_rgb=True
            )
        if feature_extractor is None:
            feature_extractor = MoTFeatureExtractor()
        if tokenizer is None:
            logger.warning_once("No tokenizer given: the default one has no vocabulary, every word becomes [UNK].")
            tokenizer = BertTokenizer(model_max_length=512, model_input_names=["input_ids", "attention_mask"])
        self.num_frames = num_frames
        self.return_times = return_times
        super().__init__(image_processor, feature_extractor, tokenizer)

    @property
    def model_input_names(self) -> list[str]:
        names = ["input_ids", "attention_mask", "pixel_values", "pixel_mask"]
        times = ["pixel_times", "input_features_times"] if self.return_times else []
        return [*names, "input_features", "input_features_mask", *times]

    @property
    def unused_input_names(self) -> list[str]:
        return ["token_type_ids"]

    def __call__(
        self,
        images: ImageInput | None = None,
        text: str | list[str | None] | None = None,
        videos: VideoInput | None = None,
        audio: AudioInput | None = None,
        text_features: list | np.ndarray | torch.Tensor | None = None,
        image_features: list | np.ndarray | torch.Tensor | None = None,
        audio_features: list | np.ndarray | torch.Tensor | None = None,
        **kwargs: Unpack[ProcessingKwargs],
    ) -> BatchFeature:
        """Turns one example or a batch of B examples into tensors; None in a list is a row without that modality.

        Args:
            images: PIL pictures, arrays (H, W), (H, W, C) or (C, H, W), paths, URLs, bytes, `{"bytes", "path"}`.
            text: strings.
            videos: paths, URLs, bytes, lists of frames, arrays (F, H, W, C) or (F, C, H, W), decoders of
                torchcodec. Beside `images`, each row has at most one of both, and pictures count as one frame.
            audio: arrays (samples,) or stereo, `{"array", "sampling_rate"}`, paths, URLs, bytes,
                `{"bytes", "path"}`, decoders of torchcodec. Bare arrays need `sampling_rate=` in Hz; every rate is
                resampled to that of the feature extractor.
            text_features, image_features, audio_features: ready features, rows (L_i, feature_size) or (B, L, F).
            kwargs: options of the tokenizer and image processor, flat or in `text_kwargs`, `images_kwargs`,
                `audio_kwargs`, `videos_kwargs`, `common_kwargs`. Flat `padding`, `max_length` and `truncation`
                are for text. `return_tensors="np"` gives numpy arrays; the default is torch tensors.

        Returns:
            `BatchFeature` with, for each modality given: `input_ids` or `text_features` and `attention_mask`
            (B, Lt); `pixel_values` (B, C, H, W) or, if there are videos, (B, F, C, H, W), and `pixel_mask` (B,) or
            (B, F), or `image_features` (B, Li, F) and `pixel_mask` (B, Li); `input_features` (B, T, mel) and
            `input_features_mask` (B, T). Masks are int64, 1 = real; a missing row is zeros. With `return_times` also
            `pixel_times` (B, F), if there are videos, and `input_features_times` (B, T): float32 seconds since the
            start of the row's file, zeros where masked. A picture is at 0; ready features have no times.

        Raises:
            ValueError: naming the row, if it cannot be read or is empty, or if batch sizes differ, or if
                `return_times` is set and nothing says when the frames of a video are.
            FileNotFoundError, OSError: naming the row, for a missing file or an unreachable URL.
            ImportError: naming the package to install, if a format needs a decoder that is not there.
        """
        given = {"text": text, "text_features": text_features, "images": images, "videos": videos}
        given |= {"image_features": image_features, "audio": audio, "audio_features": audio_features}
        rows = {name: to_rows(name, value) for name, value in given.items() if value is not None}
        if not any(rows.values()):
            raise ValueError(f"{type(self).__name__} got nothing: give at least one of {', '.join(given)}.")
        check_rows(rows)
        rows = {name: values for name, values in rows.items() if present_rows(values)}
        check_raw_or_ready(rows)

        options = self._merge_kwargs(tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        return_tensors = options["text_kwargs"].pop("return_tensors", None)
        data = {}
        if "text" in rows:
            data |= self._tokenize(rows["text"], options["text_kwargs"])
        if "images" in rows or "videos" in rows:
            data |= self._process_pictures(rows, options)
        if "audio" in rows:
            data |= self._extract_mel(rows["audio"], self._audio_options(options, kwargs.get("audio_kwargs", {})))
        for name, (output, mask_name) in READY_OUTPUTS.items():
            if name in rows:
                data[output], data[mask_name] = pad_features(name, rows[name])
        return BatchFeature(data, tensor_type=return_tensors)

    def _tokenize(self, rows: list, options: dict) -> dict[str, torch.Tensor]:
        """Strings or None to `input_ids` and `attention_mask` (B, Lt)."""
        indices = present_rows(rows)
        for i in indices:
            if not isinstance(rows[i], str):
                raise ValueError(f"text[{i}] has type {type(rows[i]).__name__}: expected a string or None.")
        options = {**options, "return_tensors": "pt", "return_attention_mask": True}
        tokens = self.tokenizer([rows[i] for i in indices], **options)
        for i, mask in zip(indices, tokens["attention_mask"], strict=True):
            if not mask.any():
                raise ValueError(f"text[{i}] is {rows[i]!r}, which gives no tokens; pass None for a row without text.")
        return {
            name: spread(values, indices, len(rows))
            for name, values in tokens.items()
            if name not in self.unused_input_names
        }

    def _process_pictures(self, rows: dict[str, list], options: dict) -> dict[str, torch.Tensor]:
        """Pictures and videos to `pixel_values` (B, C, H, W), or (B, F, C, H, W) and their times (B, F) if videos."""
        image_options = {**options["images_kwargs"], "return_tensors": "pt"}
        convert_rgb = image_options.get("do_convert_rgb", getattr(self.image_processor, "do_convert_rgb", None))
        clips, clip_times = self._load_clips(rows, options["videos_kwargs"], convert_rgb is not False)
        frames = [frame for clip in clips for frame in clip]
        pixels = self._call_image_processor(frames, image_options)  # (all frames, C, H, W)

        mask = torch.zeros(len(clips), max(map(len, clips)), dtype=torch.long)  # (B, F)
        for i, clip in enumerate(clips):
            mask[i, : len(clip)] = 1
        pixel_values = pixels.new_zeros(*mask.shape, *pixels.shape[1:])  # (B, F, C, H, W)
        pixel_values[mask.bool()] = pixels
        if "videos" not in rows:
            return {"pixel_values": pixel_values[:, 0], "pixel_mask": mask[:, 0]}
        outputs = {"pixel_values": pixel_values, "pixel_mask": mask}
        if self.return_times:
            outputs["pixel_times"] = torch.zeros(mask.shape)
            outputs["pixel_times"][mask.bool()] = torch.tensor([time for times in clip_times for time in times])
        return outputs

    def _load_clips(
        self, rows: dict[str, list], options: dict, convert_rgb: bool
    ) -> tuple[list[list[Image.Image]], list[list[float]]]:
        """The frames of each row (those of its video, its one picture, or none) and, if asked for, their seconds."""
        num_frames = options.get("num_frames") or self.num_frames
        if options.get("do_sample_frames") is False:
            num_frames = None
        fps = options.get("fps") if self.return_times else None
        if fps is not None and not (isinstance(fps, numbers.Real) and 0 < fps < math.inf):
            raise ValueError(f"fps is {fps!r}: expected a positive number, the frames per second of the videos given.")
        clips = [[] for _ in next(iter(rows.values()))]
        clip_times = [[] for _ in clips]
        for i, image in enumerate(rows.get("images", ())):
            if image is not None:
                clips[i], clip_times[i] = [load_image(image, f"images[{i}]", convert_rgb)], [0.0]
        for i, video in enumerate(rows.get("videos", ())):
            if video is not None:
                frames, clip_times[i] = load_frames(video, f"videos[{i}]", num_frames, fps)
                if self.return_times and clip_times[i] is None:
                    raise ValueError(
                        f"videos[{i}] does not say when its frames are, which return_times=True needs: pass "
                        'videos_kwargs={"fps": ...}, the number of frames per second.'
                    )
                clips[i] = [load_image(frame, f"videos[{i}]", convert_rgb) for frame in frames]
        return clips, clip_times

    def _call_image_processor(self, frames: list[Image.Image], options: dict) -> torch.Tensor:
        try:
            pixels = self.image_processor(frames, **options)["pixel_values"]
        except ValueError as error:
            sizes = sorted({image.size for image in frames})
            modes = sorted({image.mode for image in frames})
            raise ValueError(
                f"The image processor failed on pictures of sizes (W, H) {sizes} and modes {modes}: it has to give "
                f"every picture the same shape. {error}"
            ) from error
        if pixels.ndim != 4:
            raise ValueError(
                f"The image processor returned pixel_values of shape {tuple(pixels.shape)}: expected (N, C, H, W)."
            )
        return pixels

    def _audio_options(self, options: dict, own: dict) -> dict:
        flat = {key: value for key, value in options["audio_kwargs"].items() if key not in TOKEN_LENGTH_OPTIONS}
        exact = {"padding": "longest", "pad_to_multiple_of": None, "truncation": False}
        return {**flat, **exact, **own}

    def _extract_mel(self, rows: list, options: dict) -> dict[str, torch.Tensor]:
        """Clips or None to `input_features` (B, T, mel), `input_features_mask` (B, T) and, if asked for, the times."""
        extractor, indices = self.feature_extractor, present_rows(rows)
        rate, default_rate = extractor.sampling_rate, options.pop("sampling_rate", None)
        loaded = [load_audio(rows[i], f"audio[{i}]", rate, default_rate) for i in indices]
        clips, starts = zip(*loaded, strict=True)
        window = next((getattr(extractor, name) for name in WINDOW_ATTRIBUTES if hasattr(extractor, name)), 1)
        for i, clip in zip(indices, clips):
            if len(clip) < window:
                raise ValueError(
                    f"audio[{i}] has {len(clip)} samples at {rate} Hz, shorter than one analysis window ({window})."
                )
        options |= {"sampling_rate": rate, "return_attention_mask": True, "return_tensors": "pt"}
        features, mask = self._mel_frames_first(extractor(list(clips), **options), options)
        for i, row_mask in zip(indices, mask):
            if not row_mask.any():
                raise ValueError(f"audio[{i}] gives no frames: it is shorter than the extractor's analysis window.")
        features = features * mask[..., None]  # padding is zero whatever the extractor leaves there
        outputs = {"input_features": features, "input_features_mask": mask}
        if self.return_times:
            outputs["input_features_times"] = self._mel_times(mask, starts)
        return {name: spread(values, indices, len(rows)) for name, values in outputs.items()}

    def _mel_times(self, mask: torch.Tensor, starts: Sequence[float]) -> torch.Tensor:
        """Seconds (N, T) of mel frames with mask (N, T), of clips that start at `starts` (N,) in their files.

        Extractors pad the front by half of their window, so that frame i has its centre, not its left edge, on sample
        i * hop_length, the first of the hop_length samples that it stands for.
        """
        hop_length = getattr(self.feature_extractor, "hop_length", None)
        if hop_length is None:
            raise ValueError(
                f"{type(self.feature_extractor).__name__} has no `hop_length` (samples from one frame to the next), "
                "which return_times=True needs."
            )
        indices = mask.cumsum(1) - 1  # padding, also on the left, takes no time
        seconds = torch.tensor(starts)[:, None] + indices * (hop_length / self.feature_extractor.sampling_rate)
        return seconds.float() * mask

    def _mel_frames_first(self, extracted: BatchFeature, options: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """Any mel extractor's output to features (N, T, mel) and a mask (N, T)."""
        features = extracted.get("input_features", extracted.get("input_values"))
        if features is None or features.ndim != 3:
            shape = None if features is None else tuple(features.shape)
            raise ValueError(
                f"{type(self.feature_extractor).__name__} returned features of shape {shape}: expected a mel "
                "extractor, which gives (N, T, mel) or (N, mel, T)."
            )
        mask = frame_mask(extracted)
        if mask is None:
            mask = torch.ones(features.shape[:2])
        elif self._is_channels_first(features, mask, options):
            features = features.transpose(1, 2)
        return features.contiguous(), (mask != 0).long()

    def _is_channels_first(self, features: torch.Tensor, mask: torch.Tensor, options: dict) -> bool:
        if features.shape[1] == features.shape[2]:  # as many frames as bins: ask again with another length
            silence = np.zeros(2 * self.feature_extractor.sampling_rate, dtype=np.float32)
            extracted = self.feature_extractor([silence], **options)
            features, mask = extracted["input_features"], frame_mask(extracted)
        return features.shape[2] == mask.shape[1]
