# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Preprocessing

What it costs to make tensors of sound and pictures, against the ready processors of transformers and librosa: log-mel
of eight clips of 10 s (80 bins every 10 ms), in milliseconds for a second of audio, and a decoded picture of 640 x 480
to 224 x 224 normalised values, in milliseconds. The bars are those of the time itself or, where the machine is slower,
0.6 of the library's with the same output.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image
from transformers import Gemma4AudioFeatureExtractor, ViTImageProcessorPil, WhisperFeatureExtractor

from mixture_of_transformers import MoTFeatureExtractor, MoTImageProcessor

from .measure import Row, Table, Times, take_turns

try:
    import librosa
except ImportError:
    librosa = None

RATE, CLIPS, SECONDS = 16_000, 8, 10
MEL_BAR, IMAGE_BAR = 0.3, 3.0  # milliseconds for a second of audio, for a picture
MEL_LIBRARY, IMAGE_LIBRARY = "Gemma4AudioFeatureExtractor", "ViTImageProcessorPil"
RATIO_BAR = 0.6  # of the time of the library's processor with the same output
MOT = "MoT"


def mel_candidates() -> dict[str, Callable[[], object]]:
    """Name -> log-mel of the same clips, 80 bins every 10 ms."""
    rng = np.random.default_rng(0)
    clips = [rng.normal(scale=0.1, size=SECONDS * RATE).astype(np.float32) for _ in range(CLIPS)]
    ours, whisper = MoTFeatureExtractor(), WhisperFeatureExtractor(feature_size=80)
    gemma = Gemma4AudioFeatureExtractor(feature_size=80, mel_floor=float(ours.mel_floor))
    exact = {"max_length": None, "truncation": False, "pad_to_multiple_of": None, "return_tensors": "pt"}
    rated = {"sampling_rate": RATE, "return_tensors": "pt"}
    candidates = {
        MOT: lambda: ours(clips, **rated),
        MEL_LIBRARY: lambda: gemma(clips, **exact),
        "WhisperFeatureExtractor, padded to 30 s": lambda: whisper(clips, **rated),
        "WhisperFeatureExtractor, padding=longest": lambda: whisper(clips, padding="longest", **rated),
    }
    if librosa is not None:
        options = {"sr": RATE, "n_fft": 512, "win_length": 320, "hop_length": 160, "n_mels": 80, "power": 1.0}
        candidates["librosa"] = lambda: [
            np.log(librosa.feature.melspectrogram(y=clip, **options) + 1e-5) for clip in clips
        ]
    return candidates


def image_candidates() -> dict[str, Callable[[], object]]:
    """Name -> the pixel values of one picture."""
    colours = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(colours).resize((640, 480), Image.Resampling.BICUBIC)
    ours, library = (processor(do_convert_rgb=True) for processor in (MoTImageProcessor, ViTImageProcessorPil))
    return {
        MOT: lambda: ours(picture, return_tensors="pt"),
        IMAGE_LIBRARY: lambda: library(picture, return_tensors="pt"),
    }


def rows_of(times: Times, calls: int, bar: float, library: str) -> Iterator[Row]:
    """`calls`: how many seconds of audio or pictures one call takes."""
    time = Row.of("MoT, ms", 1e3 * times[MOT] / calls, bar=bar)
    ratio = times.row(f"MoT / {library}", MOT, library, None if time.passes else RATIO_BAR)
    yield time if time.passes else dataclasses.replace(time, bar=None)
    yield ratio
    for other in times:
        if other not in (MOT, library):
            yield times.row(f"MoT / {other}", MOT, other)


def tables(seconds: float) -> Iterator[Table]:
    times = take_turns(mel_candidates(), seconds)
    rows = list(rows_of(times, CLIPS * SECONDS, MEL_BAR, MEL_LIBRARY))
    yield Table("Log-mel, for a second of audio, 1 thread", rows, value="ratio or ms")
    times = take_turns(image_candidates(), seconds)
    yield Table("A picture, 1 thread", list(rows_of(times, 1, IMAGE_BAR, IMAGE_LIBRARY)), value="ratio or ms")
