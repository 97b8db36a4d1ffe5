# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Sound of a batch becomes mel frames, their mask and, if asked for, the seconds of each frame."""

import math
import numbers
from collections.abc import Sequence

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature

from .decoding_audio_mot import load_audio
from .rows_mot import present_rows, spread

WINDOW_ATTRIBUTES = ("frame_length", "win_length", "n_fft")  # what mel extractors call their window, in samples
# Flat `padding=`, `max_length=`, ... are about tokens; read as samples they would silently cut a sound short.
TOKEN_LENGTH_OPTIONS = ("padding", "max_length", "truncation", "pad_to_multiple_of")


def collect_sound(
    cells: list, processor, options: dict, max_seconds: float | None, allow_urls: bool | str
) -> dict[str, torch.Tensor]:
    """
    Clips or None to `input_features` (B, T, mel), `input_features_mask` (B, T) and, if asked for, the times (B, T).

    Args:
        processor: the `MoTProcessor`, for its feature extractor, its limits and `return_times`.
        options: those of the extractor, as `audio_options` gives them.
        max_seconds: where longer sound is cut.
        allow_urls: as for the processor.
    """
    if max_seconds is not None and not (isinstance(max_seconds, numbers.Real) and 0 < max_seconds < math.inf):
        raise ValueError(f"`max_audio_seconds` is {max_seconds!r}: expected seconds, a number above 0, or None.")
    extractor, indices = processor.feature_extractor, present_rows(cells)
    default_rate = options.pop("sampling_rate", None)
    access = {"allow_urls": allow_urls, "limits": processor.limits}
    clips, starts = load_sounds(cells, extractor, default_rate, max_seconds, access)
    options |= {"sampling_rate": extractor.sampling_rate, "return_attention_mask": True, "return_tensors": "pt"}
    features, mask = frames_first(extractor, extractor(list(clips), **options), options)
    if max_seconds is not None:
        most = max(1, round(max_seconds * frames_per_second(extractor)))
        features, mask = features[:, :most], mask[:, :most]
    for i, row_mask in zip(indices, mask):
        if not row_mask.any():
            raise ValueError(f"audio[{i}] gives no frames: it is shorter than the extractor's analysis window.")
    features = features * mask[..., None]  # padding is zero whatever the extractor leaves there
    outputs = {"input_features": features, "input_features_mask": mask}
    if processor.return_times:
        outputs["input_features_times"] = frame_times(extractor, mask, starts)
    return {name: spread(values, indices, len(cells)) for name, values in outputs.items()}


def audio_options(flat: dict, own: dict) -> dict:
    """Options of an extractor: flat ones that are not about tokens, exact lengths, and over both those for audio."""
    flat = {name: value for name, value in flat.items() if name not in TOKEN_LENGTH_OPTIONS}
    exact = {"padding": "longest", "pad_to_multiple_of": None, "truncation": False}
    return {**flat, **exact, **own}


def load_sounds(
    cells: list, extractor, default_rate: int | None, max_seconds: float | None, access: dict
) -> tuple[Sequence[np.ndarray], Sequence[float]]:
    """The samples (N_i,) of each row that has sound, at the extractor's rate, and the seconds at which they start."""
    rate, indices = extractor.sampling_rate, present_rows(cells)
    window = next((getattr(extractor, name) for name in WINDOW_ATTRIBUTES if hasattr(extractor, name)), 1)
    # The last frame that is kept sees half of a window beyond; some extractors ask for a sample more.
    heard = None if max_seconds is None else max_seconds + (window + 1) / rate
    loaded = [load_audio(cells[i], f"audio[{i}]", rate, default_rate, heard, **access) for i in indices]
    clips, starts = zip(*loaded, strict=True)
    for i, clip in zip(indices, clips):
        if len(clip) < window:
            raise ValueError(
                f"audio[{i}] has {len(clip)} samples at {rate} Hz, shorter than one analysis window ({window})."
            )
    return clips, starts


def frame_times(extractor, mask: torch.Tensor, starts: Sequence[float]) -> torch.Tensor:
    """Seconds (N, T) of mel frames with mask (N, T), of clips that start at `starts` (N,) in their files.

    Extractors pad the front by half of their window, so that frame i has its centre, not its left edge, on sample
    i * hop_length, the first of the hop_length samples that it stands for.
    """
    hop_length = getattr(extractor, "hop_length", None)
    if hop_length is None:
        raise ValueError(
            f"{type(extractor).__name__} has no `hop_length` (samples from one frame to the next), "
            "which return_times=True needs."
        )
    indices = mask.cumsum(1) - 1  # padding, also on the left, takes no time
    seconds = torch.tensor(starts)[:, None] + indices * (hop_length / extractor.sampling_rate)
    return seconds.float() * mask


def frames_first(extractor, extracted: BatchFeature, options: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Any extractor's output to mel frames (N, T, mel), or samples (N, T, 1), and a mask (N, T)."""
    features = extracted.get("input_features", extracted.get("input_values"))
    if features is not None and features.ndim == 2:
        features = features[..., None]  # waveforms: frames of one sample
    if features is None or features.ndim != 3:
        shape = None if features is None else tuple(features.shape)
        raise ValueError(
            f"{type(extractor).__name__} returned features of shape {shape}: expected "
            "mel frames (N, T, mel) or (N, mel, T), or waveforms (N, samples)."
        )
    mask = frame_mask(extracted)
    if mask is None:
        mask = torch.ones(features.shape[:2])
    elif is_channels_first(extractor, features, mask, options):
        features = features.transpose(1, 2)
    return features.contiguous(), (mask != 0).long()


def is_channels_first(extractor, features: torch.Tensor, mask: torch.Tensor, options: dict) -> bool:
    """Whether an extractor gives (N, mel, T), not (N, T, mel): the mask (N, T) says which axis is time."""
    if features.shape[1] == features.shape[2]:  # as many frames as bins: ask again with another length
        silence = np.zeros(2 * extractor.sampling_rate, dtype=np.float32)
        extracted = extractor([silence], **options)
        features, mask = extracted["input_features"], frame_mask(extracted)
    return features.shape[2] == mask.shape[1]


def frame_mask(extracted: BatchFeature) -> torch.Tensor | None:
    """The mask of what a feature extractor gives, under either of the names that extractors use."""
    return extracted.get("input_features_mask", extracted.get("attention_mask"))


def frames_per_second(extractor) -> float:
    """How many frames a feature extractor gives for a second: mel frames, 100 unless it says otherwise, or samples."""
    if hop_length := getattr(extractor, "hop_length", None):
        return extractor.sampling_rate / hop_length
    gives_samples = getattr(extractor, "feature_size", 80) == 1 and not hasattr(extractor, "num_mel_bins")
    return extractor.sampling_rate if gives_samples else 100.0
