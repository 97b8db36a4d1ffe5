# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What it costs to make tensors of sound and pictures, beside the ready processors of transformers and librosa.

    python benchmarks/preprocessing.py

Log-mel of eight clips of 10 s, in milliseconds per second of audio, and a decoded picture of 640x480 to 224x224, in
milliseconds. One thread, timed by the processor time of the process; the candidates take turns, and medians are shown.
librosa is left out where it is not installed.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import Gemma4AudioFeatureExtractor, ViTImageProcessorPil, WhisperFeatureExtractor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mot import MoTFeatureExtractor, MoTImageProcessor

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


def median_milliseconds(candidates: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Name -> median time of a call, the candidates taking turns, forwards and backwards."""
    times = {name: [] for name in candidates}
    order = list(candidates)
    for function in candidates.values():
        function()
    for _ in range(rounds):
        for name in order:
            start = time.process_time()
            candidates[name]()
            times[name].append(time.process_time() - start)
        order.reverse()
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


def print_table(title: str, milliseconds: dict[str, float], bar: float, library: str) -> None:
    ratio = milliseconds[MOT] / milliseconds[library]
    met = "met" if milliseconds[MOT] <= bar or ratio <= RATIO_BAR else "NOT met"
    print(f"\n{title}\n")
    for name, value in milliseconds.items():
        print(f"{name:42} {value:6.3f}   {value / milliseconds[MOT]:5.2f} times MoT")
    print(f"bar: {bar} or {RATIO_BAR} of {library}: {met} ({milliseconds[MOT]:.3f}, {ratio:.2f})")


def main() -> None:
    torch.set_num_threads(1)
    mel = median_milliseconds(mel_candidates(), rounds=20)
    per_second = {name: value / (CLIPS * SECONDS) for name, value in mel.items()}
    print_table("log-mel, ms for a second of audio", per_second, MEL_BAR, MEL_LIBRARY)
    images = median_milliseconds(image_candidates(), rounds=100)
    print_table("picture 640x480 to 224x224, ms", images, IMAGE_BAR, IMAGE_LIBRARY)


if __name__ == "__main__":
    main()
