# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""One odd field of a config. What is taken must come back from JSON as it was, build a model and give finite
numbers."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixture_of_transformers import (
    MoTAudioConfig,
    MoTConfig,
    MoTForSequenceClassification,
    MoTImageConfig,
    MoTTextConfig,
)

from ..case import Case
from ..odd import odd_json, odd_number, one, show
from ..world import World, config_for

PARTS = {"": MoTConfig, "text_config": MoTTextConfig, "image_config": MoTImageConfig, "audio_config": MoTAudioConfig}
EXTRA = ("id2label", "num_labels", "problem_type", "dtype", "architectures", "hidden_sizes", "num_hidden_layer")


def config_case(rng: np.random.Generator, world: World, folder: Path) -> Case:
    part = one(rng, list(PARTS))
    fields = [field.name for field in dataclasses.fields(PARTS[part]) if field.init]
    name = one(rng, fields) if rng.random() < 0.9 else one(rng, EXTRA)
    value = odd_json(rng) if rng.random() < 0.5 else odd_number(rng)
    if rng.random() < 0.15:
        value = {one(rng, fields): value}

    def build() -> dict[str, Any]:
        if part:
            whole = config_for(world.processor).to_dict()[part]
            overrides = {part: {k: v for k, v in whole.items() if k in fields} | {name: value}}
        else:
            overrides = {name: value}
        config = config_for(world.processor, **overrides)
        again = MoTConfig(**config.to_dict())
        if config.modalities != again.modalities:
            raise AssertionError("the modalities do not survive a round trip")
        torch.manual_seed(0)
        model = MoTForSequenceClassification(config).eval()
        with torch.no_grad():
            return {"logits": model(**inputs(config)).logits}

    given = f"{PARTS[part].__name__}({name}={show(value)})"
    names = [name, PARTS[name].__name__] if name in PARTS else [name]  # a modality's own field is named by its class
    return Case(given, build, tuple(names), not_finite)


def inputs(config: MoTConfig) -> dict[str, torch.Tensor]:
    """Two rows of what the model says that it takes."""
    made = {}
    for modality in config.modalities:
        tower = config.modality_config(modality)
        raw = {
            "text": (
                "input_ids",
                lambda tower=tower: torch.ones(2, 3, dtype=torch.long).clamp(max=tower.vocab_size - 1),
            ),
            "image": (
                "pixel_values",
                lambda tower=tower: torch.zeros(2, tower.num_channels, *[picture_side(tower)] * 2),
            ),
            "audio": (
                "input_features",
                lambda tower=tower: torch.zeros(2, min(8, tower.max_frames), tower.num_mel_bins),
            ),
        }
        features = {"text": "text_features", "image": "image_features", "audio": "input_features"}
        if tower.feature_size is not None:
            made[features[modality]] = torch.zeros(2, 2, tower.feature_size)
        else:
            argument, values = raw[modality]
            made[argument] = values()
    return made


def picture_side(tower) -> int:
    return tower.image_size if tower.image_size <= 64 else tower.patch_size


def not_finite(result: dict[str, torch.Tensor]) -> str | None:
    return None if torch.isfinite(result["logits"]).all() else "the logits are not finite"
