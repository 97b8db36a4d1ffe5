# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the tokens of attention maps are called and when they are, and attention from frame to frame by those times."""

import torch

from mixture_of_transformers.explain.attention import AttentionMaps
from mixture_of_transformers.modalities_mot import modality_of
from mixture_of_transformers.modality_mot import Modality


def kind_of(maps: AttentionMaps, modality: str) -> Modality:
    """What a modality of these maps is."""
    return modality_of(maps.config.modality_config(modality), modality)


def token_times(maps: AttentionMaps, modality: str, row: int = 0) -> tuple[torch.Tensor, str]:
    """
    When each of a row's real tokens is, (n,), without cls and register tokens, such as those of frames or of audio.

    Returns:
        The times, and their unit: "s" (those of `pixel_times`, `input_features_times`, `{name}_times`; mel frames that
        come without are 10 ms apart, samples of a series as its rate says), or "frame", "sample" or "token", which are
        counted, where nothing says when they are.

    Raises:
        ValueError: if the row lacks the modality, or the modality has no time.
    """
    places, config = maps.real(modality, row), maps.config.modality_config(modality)
    kind = kind_of(maps, modality)
    if not kind.has_times:
        timed = [kind for kind in maps.config.kinds.values() if kind.has_times]
        expected = " or ".join(kind.name + (f" ({kind.moments})" if kind.moments else "") for kind in timed)
        raise ValueError(f"`{modality}` has no time: expected {expected or 'one that has, of which there is none'}.")
    return kind.token_times(config, maps.inputs, row, len(places) - config.num_prefix_tokens)


def token_labels(maps: AttentionMaps, modality: str, row: int = 0, tokenizer=None) -> list[str]:
    """
    What a row's real tokens of one modality are called, in order: words (ids without a tokenizer), "patch row 1,
    column 2", "0.12 s" of audio; a cls token is "cls", and those behind it are "register 0" and so on.
    """
    places, config = maps.real(modality, row), maps.config.modality_config(modality)
    prefix = ["cls"] * config.use_cls_token + [f"register {i}" for i in range(config.num_register_tokens)]
    number = len(places) - len(prefix)
    return prefix + kind_of(maps, modality).token_labels(config, maps.inputs, row, number, tokenizer)


def frame_attention(
    maps: AttentionMaps, queries: str, keys: str, row: int = 0, layer: int = -1, head: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Attention between two modalities over time: what the mean token of each video frame (or moment of sound) puts on
    all tokens of each moment of the other.

    Args:
        queries, keys: modalities that have times, such as "image" (video frames) and "audio".
        head: the mean over all heads by default.

    Returns:
        (moments of queries, moments of keys), whose rows sum to at most 1; and the times of both, see `token_times`.
    """
    groups, moments = [], []
    for modality in (queries, keys):
        times, _ = token_times(maps, modality, row)
        places = maps.real(modality, row)[-len(times) :]  # without cls and register tokens
        found, index = times.unique(return_inverse=True)
        group = torch.zeros(len(found), maps.mask.shape[1], device=places.device)
        group[index.to(places.device), places] = 1
        groups.append(group)
        moments.append(found)
    mean = groups[0] / groups[0].sum(dim=1, keepdim=True)
    return mean @ maps.layer(layer, head)[row] @ groups[1].T, *moments
