# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Ready features: what a person hands to a learner of fixed numbers, and what hands over frames to one of sequences.

Shapes: N rows, D numbers of all modalities side by side, L steps of one row, d numbers of a step.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
import soundfile
from PIL import Image
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer

from mixture_of_transformers.feature_extraction_mot import MoTFeatureExtractor

from .problems import Problem, Row

MOST_WORDS = 2000
MEL_BINS = 80

# From the cells of training rows, none of them absent, to what turns a cell into numbers (d,).
Learn = Callable[[list], Callable[[object], np.ndarray]]


def pixels(image: bytes) -> np.ndarray:
    """(H, W) grey values from 0 to 1."""
    with Image.open(io.BytesIO(image)) as picture:
        return np.asarray(picture.convert("L"), dtype=np.float32) / 255


def samples(audio: bytes) -> tuple[np.ndarray, int]:
    """Mono samples (T,) and their rate in Hz."""
    values, rate = soundfile.read(io.BytesIO(audio), dtype="float32", always_2d=True)
    return values.mean(axis=1), rate


def log_mel(audio: bytes) -> np.ndarray:
    """(L, MEL_BINS) frames of 10 ms."""
    values, rate = samples(audio)
    extractor = MoTFeatureExtractor(feature_size=MEL_BINS, sampling_rate=rate)
    return extractor([values], sampling_rate=rate, return_tensors="np")["input_features"][0]


def learn_text(texts: list) -> Callable[[object], np.ndarray]:
    """TF-IDF of words and pairs of words."""
    # A numeral is a word, too, which scikit-learn's own pattern passes over where it is a single figure.
    options = {"token_pattern": r"\w+", "ngram_range": (1, 2), "sublinear_tf": True, "max_features": MOST_WORDS}
    vectorizer = TfidfVectorizer(**options).fit(texts)
    return lambda text: vectorizer.transform([text]).toarray()[0]


def learn_image(_: list) -> Callable[[object], np.ndarray]:
    return lambda image: pixels(image).ravel()


def learn_audio(_: list) -> Callable[[object], np.ndarray]:
    """The mean and the standard deviation of each mel bin over the frames."""

    def statistics(audio: object) -> np.ndarray:
        frames = log_mel(audio)
        return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])

    return statistics


def learn_table(rows: list) -> Callable[[object], np.ndarray]:
    """Numbers as they are, and an indicator of each category."""
    vectorizer = DictVectorizer(sparse=False).fit(rows)
    return lambda row: vectorizer.transform([row])[0]


LEARNERS: dict[str, Learn] = {
    "text": learn_text,
    "image": learn_image,
    "audio": learn_audio,
    "table": learn_table,
}


class ReadyFeatures:
    """Rows as (N, D) numbers, NaN where a row lacks a modality, by what the training rows teach."""

    def __init__(self, problem: Problem):
        self.read, self.sizes = {}, {}
        for modality, kind in problem.kinds.items():
            cells = [row[modality] for row in problem.train if row[modality] is not None]
            self.read[modality] = LEARNERS[kind](cells)
            self.sizes[modality] = len(self.read[modality](cells[0]))

    def __call__(self, rows: Sequence[Row]) -> np.ndarray:
        return np.concatenate([self.of_modality(rows, modality) for modality in self.read], axis=1)

    def of_modality(self, rows: Sequence[Row], modality: str) -> np.ndarray:
        """(N, d) of one of the modalities."""
        return np.stack([self.of_cell(row[modality], modality) for row in rows])

    def of_cell(self, cell: object, modality: str) -> np.ndarray:
        return np.full(self.sizes[modality], np.nan) if cell is None else self.read[modality](cell)
