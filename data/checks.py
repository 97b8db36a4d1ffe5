# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows that would stop a training run: what is wrong with one, and the report of all."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Audio, Features, Image, Video
from PIL import Image as PILImage

from mixture_of_transformers.data.column_types import element_of, is_ready_features, is_series, media_type
from mixture_of_transformers.data.extra_cells import is_absent_cell
from mixture_of_transformers.data.labels import shortened
from mixture_of_transformers.data.secrets import printable, without_secrets
from mixture_of_transformers.decoding_audio_mot import read_timed_audio
from mixture_of_transformers.decoding_image_mot import load_image, open_image
from mixture_of_transformers.decoding_mot import LIMITS, DecodingLimits, open_source
from mixture_of_transformers.decoding_video_mot import iterate_frames
from mixture_of_transformers.modalities_mot import CELLS, MODALITIES
from mixture_of_transformers.rows_mot import is_blank

SHORTEST_AUDIO_SECONDS = 0.025  # one window of the mel spectrogram
EDGE_SECONDS = 1.0  # Sound is decoded so far beyond what is kept: further than the window of any extractor reaches.


@dataclass(frozen=True)
class Reading:
    """
    How the media of rows are decoded, alike when they are looked into and when they are encoded.

    Args:
        limits: of one file; those of the processor that encodes the rows.
        allow_urls: as of the processor; `AllowedPaths.follow_urls` says it of a dataset.
        max_audio_seconds: of a sound, what is kept; what lies further beyond is never decoded. None: all of it.
    """

    limits: DecodingLimits = LIMITS
    allow_urls: bool | str = True
    max_audio_seconds: float | None = None

    @property
    def access(self) -> dict:
        """The arguments that every decoder takes."""
        return {"allow_urls": self.allow_urls, "limits": self.limits}


class BadExample(ValueError):
    """What is wrong with a row, as a noun that can be counted ("corrupt image"), with the decoder's own words, but
    without secrets that stood in a URL: these words are logged and kept."""

    def __init__(self, kind: str, details: object):
        super().__init__(printable(without_secrets(str(details))))
        self.kind = kind


class BadRows:
    """The bad rows of one split: kept by kind, and each written to the report; or fatal. `quiet` writes nothing."""

    def __init__(self, split_name: str, on_bad_example: str, report: Path | None, quiet: bool = False):
        self.split_name, self.on_bad_example, self.report = split_name, on_bad_example, None if quiet else report
        self.rows: dict[str, list[int]] = {}
        self.first = ""  # the reason of the first bad row, with its number

    def add(self, row: int, problem: BadExample) -> None:
        if self.on_bad_example == "raise":
            raise ValueError(
                f"Row {row} of split '{self.split_name}' is a bad example, {problem.kind}: {problem} Repair or remove "
                "it, or leave such rows out with on_bad_example='skip'."
            ) from problem
        self.first = self.first or f"row {row}, {problem.kind}: {problem}"
        self.rows.setdefault(problem.kind, []).append(row)
        if self.report:
            line = {"split": self.split_name, "index": row, "reason": f"{problem.kind}: {problem}"}
            self.report.parent.mkdir(parents=True, exist_ok=True)
            with open(self.report, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def count_by_kind(bad: dict[str, list[int]]) -> str:
    """2 corrupt images (rows 4, 17), 1 empty audio clip (row 20)"""
    counts = []
    for kind, rows in bad.items():
        plural = "s" if len(rows) > 1 else ""
        counts.append(f"{len(rows)} {kind}{plural} (row{plural} {shortened(rows)})")
    return ", ".join(counts)


class ExampleCheck:
    """Finds what is wrong with a row; remembers the width of each modality's ready features, (column: width)."""

    def __init__(
        self,
        features: Features,
        feature_sizes: dict[str, int] | None = None,
        max_lengths: dict[str, float] | None = None,
        reading: Reading | None = None,
    ):
        self.features = {name: kind for name, kind in features.items() if name != "label"}
        self.ready = [column for column in CELLS if is_ready_features(features.get(column))]
        self.feature_sizes, self.max_lengths = dict(feature_sizes or {}), max_lengths or {}
        self.reading = reading or Reading()

    def __call__(self, example: dict) -> BadExample | None:
        try:
            self._decode(example)
        except BadExample as problem:
            return problem

    def encoded(self, example: dict, encode: Callable[[dict], dict]) -> tuple[dict | None, BadExample | None]:
        """What `encode` makes of a good example, or what is wrong with it; its media are decoded once."""
        try:
            # A decoded video is too large to be kept, so one that cannot be decoded is found when it is encoded.
            decoded = self._decode(example, put_off=(Video,))
        except BadExample as problem:
            return None, problem
        try:
            return encode(example | decoded), None
        except Exception:
            problem = self(example)
            if problem is None:
                raise
            return None, problem

    def _decode(self, example: dict, put_off: tuple[type, ...] = ()) -> dict:
        """The pictures and sounds, decoded; the media of `put_off` are not looked into. Raises `BadExample`."""
        extras = [name for name in self.features if name not in CELLS and not is_absent_cell(example.get(name))]
        present = [name for name in CELLS if not is_absent(example.get(name))]
        if not present and not extras:
            raise BadExample("empty row", "every modality is None or blank.")
        decoded = {}
        for name in present:
            if name in self.ready:
                check_features(example[name], name, self.feature_sizes, self.max_lengths.get(name, math.inf))
            elif media_type(name) in CHECKS and media_type(name) not in put_off:
                decoded[name] = check_file(example[name], name, media_type(name), self.reading)
        for name in extras:
            medium = type(element_of(self.features[name]))
            if medium in CHECKS and medium not in put_off:
                decoded[name] = check_files(example[name], name, medium, self.reading)
            elif is_series(self.features[name]):
                check_series(example[name], name, self.feature_sizes)
            elif isinstance(example[name], dict):
                check_values(example[name], name)
        return decoded


def is_absent(cell) -> bool:
    return cell is None or is_blank(cell)


def check_features(cell: list, name: str, feature_sizes: dict[str, int], max_length: float) -> None:
    try:
        vectors = np.asarray(cell, dtype=np.float32)  # (length, feature_size)
    except (TypeError, ValueError) as error:  # The widths of the vectors differ, or None is among the numbers.
        raise BadExample(f"ragged {name} feature sequence", f"{error}.") from error
    if vectors.ndim != 2 or vectors.size == 0:
        raise BadExample(f"empty {name} feature sequence", f"its shape is {vectors.shape}.")
    expected = feature_sizes.setdefault(name, vectors.shape[1])
    if vectors.shape[1] != expected:
        raise BadExample(
            f"mismatched {name} feature sequence", f"its width is {vectors.shape[1]}, others' {expected}."
        )
    if len(vectors) > max_length:
        raise BadExample(
            f"too long {name} feature sequence", f"it has {len(vectors)} vectors, the model takes {max_length}."
        )
    if not np.isfinite(vectors).all():
        raise BadExample(f"non-finite {name} feature sequence", "it holds NaN or infinite values.")


def check_series(cell: list, name: str, widths: dict[str, int]) -> None:
    """Moments (time,) or (time, channels), where None or NaN is a gap."""
    try:
        series = np.array(cell, dtype=np.float32)
    except (TypeError, ValueError) as error:  # The moments have different numbers of channels.
        raise BadExample(f"ragged {name} series", f"{error}.") from error
    if series.size == 0 or np.isnan(series).all():
        raise BadExample(f"unreadable {name} series", "it holds no numbers, or its columns differ in length.")
    width = 1 if series.ndim == 1 else series.shape[1]
    if widths.setdefault(name, width) != width:
        raise BadExample(f"mismatched {name} series", f"it has {width} channels, others {widths[name]}.")
    if np.isinf(series).any():
        raise BadExample(f"infinite {name} series", "it holds infinite values, or values beyond float32.")


def check_values(cell: dict, name: str) -> None:
    for column, value in cell.items():
        if isinstance(value, float) and math.isinf(value):
            raise BadExample(f"infinite number of {name}", f"column '{column}' holds {value}.")


def check_files(cell: dict | list, name: str, medium: type, reading: Reading):
    """One file, or several that are segments."""
    if isinstance(cell, list):
        return [check_file(file, name, medium, reading) for file in cell]
    return check_file(cell, name, medium, reading)


def check_file(cell: dict, name: str, medium: type, reading: Reading):
    """
    Args:
        medium: the type of `datasets` that the file is of.
    """
    noun = MODALITIES[name].noun if name in MODALITIES else name
    try:
        return CHECKS[medium](cell, name, reading)
    except (BadExample, ImportError):
        raise
    except FileNotFoundError as error:
        raise BadExample(f"missing {name} file", error) from error
    except (Exception, MemoryError) as error:  # Decoders fail on broken bytes in more ways than they document.
        raise BadExample(f"corrupt {noun}", error) from error


def check_image(cell: dict, name: str, reading: Reading) -> PILImage.Image:
    with open_source(cell, name, **reading.access) as file, open_image(file, name, reading.limits) as image:
        image.verify()  # Decoding does not look at the checksums.
    return load_image(cell, name, convert_rgb=False, **reading.access)  # The processor converts the colours.


@dataclass
class DecodedSound:
    """Decoded sound as torchcodec's decoders give it, which the processor takes."""

    data: np.ndarray
    sample_rate: int
    pts_seconds: float

    def get_all_samples(self) -> "DecodedSound":
        return self


def check_audio(cell: dict, name: str, reading: Reading) -> DecodedSound:
    seconds = None if reading.max_audio_seconds is None else reading.max_audio_seconds + EDGE_SECONDS
    samples, rate, start = read_timed_audio(cell, name, seconds, **reading.access)
    if len(samples) == 0:
        raise BadExample("empty audio clip", "it has no samples.")
    if len(samples) < SHORTEST_AUDIO_SECONDS * rate:
        raise BadExample("too short audio clip", f"it lasts {1000 * len(samples) / rate:.1f} ms, a window is 25 ms.")
    if not np.isfinite(samples).all():
        raise BadExample("non-finite audio clip", "it holds NaN or infinite samples.")
    return DecodedSound(samples, rate, start)


def check_video(cell: dict, name: str, reading: Reading) -> None:
    with open_source(cell, name, **reading.access) as file:
        if not sum(1 for _ in iterate_frames(file, name, reading.limits)):
            raise BadExample("empty video", "it has no frames.")


CHECKS = {Image: check_image, Audio: check_audio, Video: check_video}
