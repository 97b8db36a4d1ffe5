# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Raw pictures and sounds for a causal model: towers read them, projectors bring them to its width, and their tokens
take the places of placeholder ids.

A tower is a `MoTModel` of one modality: the embeddings and the encoder that this project has for a kind. The
placeholders lie within the modality's range of ids, so that its expert sees the tokens of a tower as it sees those of
a tokenizer.

Shapes: N pictures or sounds of all rows of a batch, L tokens of one, w the tower's width, d the decoder's.
"""

import functools
import json
from collections.abc import Mapping, Sequence

import torch

from .configuration_causal_mot import tower_config
from .modalities_mot import modality_of
from .modality_mot import MoTEmbeddings


def num_tower_tokens(modality: str, encoder: Mapping, shape: Sequence[int]) -> int:
    """
    How many tokens a tower makes of one raw input, which is how many placeholders it needs.

    Args:
        modality: its name.
        encoder: its entry of `MoTCausalConfig.encoders`.
        shape: of the input without padding: a picture (C, H, W), a video (F, C, H, W), a sound (T, num_mel_bins).

    Raises:
        ValueError: the tower takes no input of this shape.
    """
    embeddings = shapes_of(modality, json.dumps(encoder, sort_keys=True))
    config = embeddings.config
    with torch.device("meta"):  # where there are shapes, and nothing is computed
        inputs, vector = torch.zeros(1, *shape), torch.zeros(1, config.hidden_size)
        if config.backbone_config is not None:
            inputs, _ = embeddings.through_backbone(inputs, None, inputs.dtype)
        return embeddings(inputs, None, vector).shape[1]


@functools.lru_cache(maxsize=16)
def shapes_of(modality: str, encoder: str) -> MoTEmbeddings:
    """The embeddings of a tower without weights; `encoder` is an entry of `MoTCausalConfig.encoders` as JSON."""
    config = tower_config(modality, json.loads(encoder), width=64).modality_config(modality)
    with torch.device("meta"):
        return modality_of(config, modality).embeddings(config).eval()


__all__ = ["num_tower_tokens"]
