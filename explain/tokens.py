# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the tokens of attention maps are called and when they are, and attention from frame to frame by those times."""

import math

import torch

from mixture_of_transformers.explain.attention import AttentionMaps
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.modality_audio_mot import SECONDS_PER_FRAME


def token_times(maps: AttentionMaps, modality: str, row: int = 0) -> tuple[torch.Tensor, str]:
    """
    When each of a row's real tokens of images, video frames or audio is, (n,), without a cls token.

    Returns:
        The times, and their unit: "s" (those of `pixel_times` or `input_features_times`; mel frames that come without
        are 10 ms apart), or "frame" or "token", which are counted, where nothing says when they are.

    Raises:
        ValueError: if the row lacks the modality, or the modality has no time.
    """
    maps.real(modality, row)
    names, config = MODALITIES[modality].names, maps.config.modality_config(modality)
    if names.times is None:
        raise ValueError(f"`{modality}` has no time: expected image (video frames) or audio.")
    is_raw = config.feature_size is None
    values = maps.inputs[names.raw if is_raw else names.features][row]
    mask = maps.inputs.get(names.mask)
    is_still = is_raw and modality == "image" and values.ndim == 3
    steps = torch.arange(1 if is_still else len(values))
    if mask is not None:
        steps = steps[mask[row].reshape(-1).cpu() != 0]
    is_mel = is_raw and modality == "audio"
    times, unit = steps.float(), "frame" if is_raw else "token"
    if (given := maps.inputs.get(names.times)) is not None:
        times, unit = given[row].cpu().float()[steps], "s"
    elif is_mel:
        times, unit = torch.arange(len(steps)) * SECONDS_PER_FRAME, "s"  # padding takes no time
    if is_mel:
        return times[:: config.stem_stride], unit  # a token has the time of its first frame
    return times.repeat_interleave(math.prod(patch_grid(maps))) if is_raw else times, unit


def is_video(maps: AttentionMaps) -> bool:
    """Whether the pictures of a batch are frames of videos."""
    return maps.inputs["pixel_values"].ndim == 5


def patch_grid(maps: AttentionMaps) -> tuple[int, int]:
    """The rows and columns of patches in a picture."""
    rows, columns = (side // maps.config.image_config.patch_size for side in maps.inputs["pixel_values"].shape[-2:])
    return rows, columns


def token_labels(maps: AttentionMaps, modality: str, row: int = 0, tokenizer=None) -> list[str]:
    """
    What a row's real tokens of one modality are called, in order: words (ids without a tokenizer), "patch row 1,
    column 2", "0.12 s" of audio; a cls token is "cls".
    """
    places = maps.real(modality, row)
    config = maps.config.modality_config(modality)
    first = ["cls"] if config.use_cls_token else []
    if modality == "text":
        if config.feature_size is not None:
            return first + [f"token {i}" for i in range(len(places) - len(first))]
        own = places[len(first) :] - maps.places["text"].start - len(first)
        ids = maps.inputs["input_ids"][row][own].tolist()
        return first + (list(map(str, ids)) if tokenizer is None else tokenizer.convert_ids_to_tokens(ids))
    times, unit = token_times(maps, modality, row)
    labels = [f"{time:.2f} s" if unit == "s" else f"{unit} {time:.0f}" for time in times.tolist()]
    if modality == "image" and config.feature_size is None:
        rows, columns = patch_grid(maps)
        labels = [
            (f"{label}, " if is_video(maps) else "") + f"patch row {i // columns % rows}, column {i % columns}"
            for i, label in enumerate(labels)
        ]
    return first + labels


def frame_attention(
    maps: AttentionMaps, queries: str, keys: str, row: int = 0, layer: int = -1, head: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Attention between two modalities over time: what the mean token of each video frame (or moment of sound) puts on
    all tokens of each moment of the other.

    Args:
        queries, keys: "image" (video frames) or "audio".
        head: the mean over all heads by default.

    Returns:
        (moments of queries, moments of keys), whose rows sum to at most 1; and the times of both, see `token_times`.
    """
    groups, moments = [], []
    for modality in (queries, keys):
        times, _ = token_times(maps, modality, row)
        places = maps.real(modality, row)[-len(times) :]  # without the cls token
        found, index = times.unique(return_inverse=True)
        group = torch.zeros(len(found), maps.mask.shape[1], device=places.device)
        group[index.to(places.device), places] = 1
        groups.append(group)
        moments.append(found)
    mean = groups[0] / groups[0].sum(dim=1, keepdim=True)
    return mean @ maps.layer(layer, head)[row] @ groups[1].T, *moments
