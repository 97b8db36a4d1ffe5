# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Whether a classifier hears the same in the same sound: at any level, rate and length, with digital silence around
it, and from the containers and lines that sound travels through.

    python run_finetune.py
    python -m benchmarks.same_sound outputs/digits                              clean key tones, then the test split
    python -m benchmarks.same_sound outputs/digits3m path/to/digits3m           the test split alone

The accuracy is that of the audio alone. Beside it stands that of a matched filter which was told the tones of every
key, and listens for the pair with the most power: about what can be heard at all. Needs PyAV, which encodes.
"""

import argparse
import itertools
from collections.abc import Callable, Iterable

import numpy as np
import torch

from mixture_of_transformers import MoTForSequenceClassification, MoTProcessor
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import KEY_TONES, load_digits_dataset
from mixture_of_transformers.data.preparation import prepare_splits
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.decoding_audio_mot import load_audio
from mixture_of_transformers.evaluation.corruptions_audio import gated, telephone, through_codec, white_noise

RATES = (8_000, 16_000, 44_100, 48_000)
PEAKS = (0.01, 0.1, 0.9)
SECONDS = (0.1, 0.25, 0.6, 2.0)
SILENCE_SECONDS = 0.3
SILENCES = ("none", "before", "after", "around", "between two bursts")
FILTER_SECONDS = 0.125  # of the matched filter, between the shortest tone of the embedded digits and the longest


def key_tone(digit: int, rate: int, peak: float, seconds: float, silence: str = "none") -> np.ndarray:
    """The clean dual tone of a key, samples (N,), with zeros as `silence` says."""
    radians = 2 * np.pi * np.arange(int(seconds * rate)) / rate
    tone = sum(np.sin(hertz * radians) for hertz in KEY_TONES[digit])
    tone = (peak * tone / np.abs(tone).max()).astype(np.float32)
    zeros = np.zeros(int(SILENCE_SECONDS * rate), np.float32)
    parts = {
        "none": [tone],
        "before": [zeros, tone],
        "after": [tone, zeros],
        "around": [zeros, tone, zeros],
        "between two bursts": [tone, zeros, tone],
    }
    return np.concatenate(parts[silence])


# ---------------------------------------------------------------------------------------------------------------------
# What happens to sound on its way
# ---------------------------------------------------------------------------------------------------------------------
def silenced(before: float, after: float) -> Callable:
    return lambda samples, rate: np.pad(samples, (int(before * rate), int(after * rate)))


def through(codec: str, container: str, kilobits: float) -> Callable:
    return lambda samples, rate: through_codec(samples, rate, codec, container, kilobits)


def noisy(decibels: float) -> Callable:
    return lambda samples, rate: white_noise(samples, rate, decibels, np.random.default_rng(0))


# What each makes of samples (N,) and their rate in Hz, which stays.
CHANGES: dict[str, Callable] = {
    "as it is": lambda samples, rate: samples,
    "level / 100": lambda samples, rate: samples / 100,
    "level x 10": lambda samples, rate: samples * 10,
    "0.5 s of zeros before": silenced(0.5, 0),
    "0.5 s of zeros after": silenced(0, 0.5),
    "2 s of zeros around": silenced(1, 1),
    "noise gate": gated,
    "MP3, 32 kbit/s": through("libmp3lame", "mp3", 32),
    "Opus, 16 kbit/s": through("libopus", "ogg", 16),
    "AAC, 32 kbit/s": through("aac", "adts", 32),
    "telephone": telephone,
    "white noise, 5 dB": noisy(5),
    "white noise, 0 dB": noisy(0),
}


# ---------------------------------------------------------------------------------------------------------------------
# What is heard
# ---------------------------------------------------------------------------------------------------------------------
class Listener:
    """A checkpoint that answers sounds, (samples, rate) each, with class indices."""

    def __init__(self, checkpoint: str):
        self.model = MoTForSequenceClassification.from_pretrained(checkpoint).eval()
        self.processor = MoTProcessor.from_pretrained(checkpoint)

    @torch.no_grad()
    def __call__(self, sounds: Iterable[tuple[np.ndarray, int]]) -> np.ndarray:
        answers, sounds = [], iter(sounds)
        while batch := list(itertools.islice(sounds, 60)):
            inputs = self.processor(audio=[{"array": samples, "sampling_rate": rate} for samples, rate in batch])
            answers.append(self.model(**inputs).logits.argmax(-1).numpy())
        return np.concatenate(answers)


def matched_filter(samples: np.ndarray, rate: int) -> int:
    """The key whose two tones have the most power together, within the window where they have most."""
    window, radians = int(FILTER_SECONDS * rate), 2j * np.pi * np.arange(len(samples)) / rate
    power = {}
    for hertz in {hertz for pair in KEY_TONES for hertz in pair}:
        summed = np.cumsum(np.append(0, samples * np.exp(-radians * hertz)))
        power[hertz] = np.abs(summed[window:] - summed[:-window]) ** 2
    return int(np.argmax([max(power[row] + power[column]) for row, column in KEY_TONES]))


def clean_tones(listen: Listener, change: Callable = CHANGES["as it is"], **fixed: tuple) -> dict[tuple, float]:
    """(rate, peak, seconds, silence) -> the share of the ten keys that are right."""
    axes = {"rate": RATES, "peak": PEAKS, "seconds": SECONDS, "silence": SILENCES} | fixed
    cases = list(itertools.product(*axes.values()))
    sounds = [(change(key_tone(digit, *case), case[0]), case[0]) for case in cases for digit in range(10)]
    right = listen(sounds).reshape(-1, 10) == np.arange(10)
    return dict(zip(cases, right.mean(axis=1)))


def sounds_of(dataset: str | None, split: str) -> tuple[list, np.ndarray]:
    """Sounds (samples, rate) of a split, and their labels."""
    splits = load_digits_dataset() if dataset is None else load_splits(dataset)
    splits, _ = prepare_splits(splits, ModalityColumns.guess(splits["train"].features))
    rows = [row for row in splits[split] if row["audio"] is not None]
    sounds = [(load_audio(row["audio"], f"row {i}", 16_000, None)[0], 16_000) for i, row in enumerate(rows)]
    return sounds, np.array([row["label"] for row in rows])


def print_clean_tones(listen: Listener) -> None:
    shares = clean_tones(listen)
    print(f"clean key tones: {np.mean(list(shares.values())):.3f} of {10 * len(shares)} right")
    for position, name in enumerate(("rate", "peak", "seconds", "silence")):
        values = {case[position]: [] for case in shares}
        for case, share in shares.items():
            values[case[position]].append(share)
        print(f"  by {name}: " + ", ".join(f"{value} {np.mean(found):.3f}" for value, found in values.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    listen = Listener(arguments.checkpoint)
    if arguments.dataset is None:
        print_clean_tones(listen)
    sounds, labels = sounds_of(arguments.dataset, arguments.split)
    columns = ["accuracy"] if arguments.dataset else ["accuracy", "matched filter", "clean key tones"]
    print(
        f"\n| {arguments.split} split, {len(labels)} sounds | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}"
    )
    for name, change in CHANGES.items():
        changed = [(change(*sound), sound[1]) for sound in sounds]
        found = [np.mean(listen(changed) == labels)]
        if arguments.dataset is None:
            found.append(np.mean([matched_filter(*sound) for sound in changed] == labels))
            tones = clean_tones(listen, change, rate=(16_000,), seconds=(0.25, 0.6), silence=("none", "around"))
            found.append(np.mean(list(tones.values())))
        print(f"| {name} | {' | '.join(f'{each:.3f}' for each in found)} |", flush=True)


if __name__ == "__main__":
    main()
