# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The models and batches that the benchmarks run on: two shapes, ready features or raw input, full or ragged rows."""

import copy
from dataclasses import dataclass

import numpy as np
import torch

from mixture_of_transformers import MoTConfig, MoTModel

TOKENS = {"text": 64, "image": 197, "audio": 300}
FEATURES = {"text": "text_features", "image": "image_features", "audio": "input_features"}
MASKS = {"text": "attention_mask", "image": "pixel_mask", "audio": "input_features_mask"}

Rows = list[dict[str, int]]  # for each row of a batch: modality -> its real tokens
# How rows are ragged -> the arguments `lengths` and `missing` of `ragged_rows`.
RAGGED = {"lengths": (True, False), "missing": (False, True), "lengths and missing": (True, True)}


@dataclass(frozen=True)
class Shape:
    """Widths and depth; `layers` is those of each modality's encoder, or of the joint stack."""

    hidden_size: int
    heads: int
    intermediate_size: int
    layers: int

    @property
    def joint(self) -> dict:
        return {
            "hidden_size": self.hidden_size,
            "num_attention_heads": self.heads,
            "intermediate_size": self.intermediate_size,
        }


REAL = Shape(hidden_size=512, heads=8, intermediate_size=2048, layers=4)
SMALL = Shape(hidden_size=128, heads=4, intermediate_size=512, layers=2)
BASE = Shape(hidden_size=768, heads=12, intermediate_size=3072, layers=12)


def feature_config(shape: Shape, tokens: dict[str, int] = TOKENS, joint_layers: bool = False, **fields) -> MoTConfig:
    """
    Ready features of the model's own width in `tokens`' modalities: encoders and one global layer, or, with
    `joint_layers`, joint layers alone.
    """
    tower = {"num_hidden_layers": 0 if joint_layers else shape.layers, "feature_size": shape.hidden_size}
    longest = max(512, *tokens.values())
    limits = {"text": {"max_position_embeddings": longest}, "image": {}, "audio": {"max_frames": longest}}
    fields |= {f"{m}_config": tower | limits[m] if m in tokens else None for m in limits}
    if joint_layers:
        fields |= {"num_joint_layers": shape.layers, "num_global_layers": 0}
    return MoTConfig(**shape.joint, **fields)


def build(config: MoTConfig, attention: str = "sdpa") -> MoTModel:
    """A model with random weights, the same ones for the same config, ready for inference."""
    torch.manual_seed(0)
    config = copy.deepcopy(config)  # two models of one config may differ in their attention
    config._attn_implementation = attention
    return MoTModel(config).eval()


def feature_inputs(config: MoTConfig, batch_size: int, tokens: dict[str, int] = TOKENS) -> dict[str, torch.Tensor]:
    """Random features, (batch_size, tokens, feature_size) for each modality."""
    generator = torch.Generator().manual_seed(0)
    return {
        FEATURES[m]: torch.randn(batch_size, length, config.modality_config(m).feature_size, generator=generator)
        for m, length in tokens.items()
    }


def raw_inputs(config: MoTConfig, batch_size: int, tokens: dict[str, int] = TOKENS) -> dict[str, torch.Tensor]:
    """Token ids, a picture of the config's size and mel frames for `tokens` tokens of text and audio."""
    generator = torch.Generator().manual_seed(0)
    image, audio = config.image_config, config.audio_config
    frames = tokens["audio"] * audio.stem_stride
    return {
        "input_ids": torch.randint(
            1, config.text_config.vocab_size, (batch_size, tokens["text"]), generator=generator
        ),
        "pixel_values": torch.randn(
            batch_size, image.num_channels, image.image_size, image.image_size, generator=generator
        ),
        "input_features": torch.randn(batch_size, frames, audio.num_mel_bins, generator=generator),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Ragged batches
# ---------------------------------------------------------------------------------------------------------------------


def full_rows(batch_size: int, tokens: dict[str, int] = TOKENS) -> Rows:
    return [dict(tokens) for _ in range(batch_size)]


def ragged_rows(
    batch_size: int, tokens: dict[str, int] = TOKENS, lengths: bool = True, missing: bool = True, seed: int = 0
) -> Rows:
    """
    Rows that share a modality's padded length, but not its real one.

    Args:
        lengths: spread evenly from 20 to 100 % of the longest over the rows that have the modality, in random order.
        missing: a row lacks each modality with probability 0.5; rows that would lack all are drawn again.
    """
    random = np.random.default_rng(seed)
    present = np.ones((batch_size, len(tokens)), dtype=bool)
    if missing:
        present = random.random(present.shape) < 0.5
    while not (having := present.any(axis=1)).all():
        present[~having] = random.random(present[~having].shape) < 0.5
    rows = [{} for _ in range(batch_size)]
    for column, (modality, longest) in enumerate(tokens.items()):
        having = np.flatnonzero(present[:, column])
        shares = random.permutation(np.linspace(1.0, 0.2, len(having))) if lengths else np.ones(len(having))
        for row, share in zip(having, shares):
            rows[row][modality] = max(1, round(share * longest))
    return rows


def fill(rows: Rows, tokens: dict[str, int] = TOKENS) -> float:
    """The share of the padded batch's tokens that are real."""
    return sum(sum(row.values()) for row in rows) / (len(rows) * sum(tokens.values()))


def masks_for(rows: Rows, tokens: dict[str, int] = TOKENS) -> dict[str, torch.Tensor]:
    """modality -> (B, tokens) bool."""
    counts = {m: torch.tensor([row.get(m, 0) for row in rows]) for m in tokens}
    return {m: torch.arange(length) < counts[m][:, None] for m, length in tokens.items()}


def feature_masks(rows: Rows, tokens: dict[str, int] = TOKENS) -> dict[str, torch.Tensor]:
    """The masks of ready features, under the model's names."""
    return {MASKS[m]: mask.long() for m, mask in masks_for(rows, tokens).items()}


def raw_masks(config: MoTConfig, rows: Rows, tokens: dict[str, int] = TOKENS) -> dict[str, torch.Tensor]:
    """The masks of raw input, under the model's names: a picture is there or not, an audio token is some frames."""
    masks = masks_for(rows, tokens)
    frames = masks["audio"].repeat_interleave(config.audio_config.stem_stride, dim=1)
    return {
        "attention_mask": masks["text"].long(),
        "pixel_mask": masks["image"].any(dim=1).long(),
        "input_features_mask": frames.long(),
    }
