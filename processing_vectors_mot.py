# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Ready features of a batch become padded vectors and their mask."""

from typing import Any

import numpy as np
import torch

from .decoding_mot import to_numpy
from .rows_mot import present_rows

# name of the argument: name of the output, name of its mask
READY_OUTPUTS = {
    "text_features": ("text_features", "attention_mask"),
    "image_features": ("image_features", "pixel_mask"),
    "audio_features": ("input_features", "input_features_mask"),
}


def collect_features(rows: dict[str, list]) -> dict[str, torch.Tensor]:
    """The ready features among the arguments of a batch, by the names that the model gives them, and their masks."""
    data = {}
    for name, (output, mask_name) in READY_OUTPUTS.items():
        if name in rows:
            data[output], data[mask_name] = pad_features(name, rows[name])
    return data


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


def to_vectors(name: str, row: Any) -> np.ndarray:
    """Ready features as (L, F) float32."""
    array = to_numpy(row, name)
    if array.ndim != 2 or len(array) == 0:
        raise ValueError(f"{name} has shape {array.shape}: expected (length, feature_size), length >= 1.")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds values of type {array.dtype}: expected numbers.")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN, infinite values, or some beyond float32.")
    return array
