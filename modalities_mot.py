# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The table of modalities: which there are, in the order of the joint sequence, of what kind, and what their arguments
are called."""

from .modality_audio_mot import AudioModality
from .modality_image_mot import ImageModality
from .modality_mot import InputNames, Modality, MoTModalityConfig
from .modality_text_mot import TextModality
from .modality_vectors_mot import VectorsModality

TEXT_NAMES = InputNames("input_ids", "text_features", "attention_mask", embeds="inputs_embeds")
IMAGE_NAMES = InputNames("pixel_values", "image_features", "pixel_mask", times="pixel_times")
AUDIO_NAMES = InputNames("input_features", "input_features", "input_features_mask", times="input_features_times")

# The order of the modalities in the joint sequence and in the keys of results.
MODALITIES: dict[str, Modality] = {
    modality.name: modality
    for modality in (
        TextModality("text", TEXT_NAMES),
        ImageModality("image", IMAGE_NAMES),
        AudioModality("audio", AUDIO_NAMES),
    )
}


def modality_of(config: MoTModalityConfig, name: str) -> Modality:
    """What a modality with this config is: its own kind, or vectors where it arrives as ready features."""
    modality = MODALITIES[name]
    return modality if config.feature_size is None else VectorsModality(modality)
