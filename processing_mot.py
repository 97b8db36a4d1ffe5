# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What people have (strings, pictures, sounds, videos, ready features) becomes the tensors that the models take.

`decoding_mot.py` opens and decodes; `MoTProcessor` lays each modality out as one row per example with a mask that says
which parts are real.
"""

import difflib
import inspect
import math
import numbers
import os
import threading
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer, BertTokenizer
from transformers.audio_utils import AudioInput
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    ImageInput,
)
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin, Unpack
from transformers.utils import logging
from transformers.video_utils import VideoInput

from .conversion_mot import split_revision
from .decoding_mot import (
    Limits,
    is_array,
    is_number_list,
    is_rate_and_samples,
    load_audio,
    load_frames,
    load_image,
    to_numpy,
)
from .feature_extraction_mot import MoTFeatureExtractor
from .image_processing_mot import MoTImageProcessor

logger = logging.get_logger(__name__)

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
# Of the options of videos; what becomes of a frame is an option of pictures.
VIDEO_OPTIONS = ("num_frames", "do_sample_frames", "fps", "return_tensors")
# group of options: the part that takes them
OPTION_GROUPS = {
    "text_kwargs": "tokenizer",
    "images_kwargs": "image_processor",
    "audio_kwargs": "feature_extractor",
    "videos_kwargs": "video_processor",  # there is none: frames are pictures
}
# What else people call an input, in the singular as a row has it; each of these can mean nothing else.
SYNONYMS = {
    **dict.fromkeys(("texts", "sentence", "sentences"), "text"),
    **dict.fromkeys(("images", "picture", "pictures"), "image"),
    **dict.fromkeys(("audios", "sound", "sounds"), "audio"),
    "videos": "video",
}
ARGUMENTS = {"image": "images", "video": "videos"}  # the others are called alike in a row and in a call
CALL_SYNONYMS = {name: ARGUMENTS.get(meant, meant) for name, meant in SYNONYMS.items()} | ARGUMENTS
# A tokenizer keeps padding and truncation of the call that it is in, where a call on another thread would find them.
TOKENIZING = threading.Lock()


# ------------------------------------------------------ names ------------------------------------------------------
def unknown_name(name: str, known: Collection[str], what: str) -> ValueError:
    """The error for a name that nobody knows, with the nearest that somebody does."""
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"there are {', '.join(known)}."
    return ValueError(f"Unknown {what} `{name}`: {hint}")


def resolve_synonyms(given: dict[str, Any], names: dict[str, str], row: str = "") -> dict[str, Any]:
    """`given` by the names that are meant; `names` leads from each synonym to its own. Errors begin with `row`."""
    resolved = {}
    for name, value in given.items():
        meant = names.get(name, name)
        if value is not None and resolved.get(meant) is not None:
            other = next(other for other in given if names.get(other, other) == meant)
            raise ValueError(f"{row}Got both `{other}` and `{name}`, which mean the same: give one of them.")
        if value is not None or meant not in resolved:
            resolved[meant] = value
    return resolved


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
    if name == "audio" and is_rate_and_samples(value):
        return [value]
    rows = [value[i] for i in range(len(value))]  # lists, tuples and columns of `datasets`
    if name == "audio" and is_number_list(rows):
        return [np.asarray(rows)]
    if name == "videos" and any(isinstance(row, Image.Image) or (is_array(row) and row.ndim < 4) for row in rows):
        return [rows]  # a list of frames is one video
    return [unnest_image(row, f"images[{i}]") for i, row in enumerate(rows)] if name == "images" else rows


def is_blank(value: Any) -> bool:
    """Whether an input is a string of white space alone, which counts as none, as an empty cell of a table does."""
    return isinstance(value, str) and not value.strip()


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
            listed = f"{', '.join(rows)} are all" if len(rows) > 1 else f"{next(iter(rows))} is"
            raise ValueError(f"Row {i} is empty: {listed} None or blank there.")
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
    arrays = {i: to_vectors(f"{name}[{i}]", rows[i]) for i in present_rows(rows)}
    widths = {i: array.shape[1] for i, array in arrays.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"The rows of {name} differ in feature_size: {widths} (row: width).")
    features = torch.zeros(len(rows), max(map(len, arrays.values())), next(iter(widths.values())))  # (B, L, F)
    mask = torch.zeros(features.shape[:2], dtype=torch.long)
    for i, array in arrays.items():
        features[i, : len(array)] = torch.from_numpy(array)
        mask[i, : len(array)] = 1
    return features, mask


def frames_per_second(extractor) -> float:
    """Of what a feature extractor gives: mel frames, 100 unless it says otherwise, or the samples themselves."""
    if hop_length := getattr(extractor, "hop_length", None):
        return extractor.sampling_rate / hop_length
    gives_samples = getattr(extractor, "feature_size", 80) == 1 and not hasattr(extractor, "num_mel_bins")
    return extractor.sampling_rate if gives_samples else 100.0
