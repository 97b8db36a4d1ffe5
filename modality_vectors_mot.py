# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Ready features of any modality: vectors (B, N, feature_size) that somebody else's model made, or one in front makes.

`VectorsModality` stands for a modality whose config has a `feature_size`: it has its name, and no pixels, words or
sound.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from .backbones_mot import build_backbone, close_gaps, freeze_unused
from .cells_mot import Cell, present_rows
from .decoding_mot import to_numpy
from .modality_mot import Modality, MoTEmbeddings, MoTModalityConfig, unit_scale
from .positions_mot import as_mask, blank


class VectorsModality(Modality):
    """A modality that arrives as ready features; `raw` is the kind that it would be without."""

    kind = "vectors"

    def __init__(self, raw: Modality):
        super().__init__(raw.name, raw.names)
        self.raw = raw
        self.config_class, self.length_field, self.has_times = raw.config_class, raw.length_field, raw.has_times
        self.cells, self.noun = raw.cells, raw.noun
        self.reconstruction_loss = raw.features_loss or raw.reconstruction_loss
        # A model in front gives a vector for each of its tokens; how many it gives for a second is its own affair.
        is_counted = raw.length_option is not None and not raw.length_option.in_seconds
        self.length_option = raw.length_option if is_counted else None

    def embeddings(self, config: MoTModalityConfig) -> "MoTVectorEmbeddings":
        return MoTVectorEmbeddings(config, self)

    def length_limit(self, config: MoTModalityConfig) -> int | None:
        return self.raw.length_limit(config)

    def describe(self, config: MoTModalityConfig) -> str:
        if config.takes_raw_input:  # it is the model in front that makes the features
            return self.raw.describe(config)
        return f"ready features, vectors of width {config.feature_size}"

    def describe_limit(self, config: MoTModalityConfig) -> str | None:
        return self.raw.describe_limit(config) if config.takes_raw_input else None

    def example(self, cell: Cell, config: MoTModalityConfig) -> Any:
        return self.raw.example(cell, config)

    def fit_processor(self, config: MoTModalityConfig, processor) -> None:
        if config.takes_raw_input:
            self.raw.fit_processor(config, processor)

    def augmentation(self, config: MoTModalityConfig, processor):
        return self.raw.augmentation(config, processor) if config.takes_raw_input else None

    def token_times(
        self, config: MoTModalityConfig, inputs: dict[str, torch.Tensor], row: int, number: int
    ) -> tuple[torch.Tensor, str]:
        """What the model in front makes of raw input is counted, since nothing says when it is."""
        if config.takes_raw_input:
            return torch.arange(number).float(), "token"
        places = self.real_places(inputs, row, inputs[self.names.features].shape[1])
        return self.times_of_places(inputs, row, places, "token")

    def token_labels(
        self, config: MoTModalityConfig, inputs: dict[str, torch.Tensor], row: int, number: int, tokenizer=None
    ) -> list[str]:
        if not self.has_times:
            return [f"token {i}" for i in range(number)]
        return super().token_labels(config, inputs, row, number)

    def target_size(self, config: MoTModalityConfig) -> int:
        return config.feature_size

    def mask_span(self, config: MoTModalityConfig) -> int:
        return self.raw.mask_span_of_features(config)


class MoTVectorEmbeddings(MoTEmbeddings):
    """One linear layer on ready features (B, N, feature_size), or on what the model in front makes of raw input."""

    def __init__(self, config: MoTModalityConfig, modality: VectorsModality):
        super().__init__(config, modality, getattr(config, modality.length_field))
        if config.backbone_config is not None:
            self.set_backbone(build_backbone(config.backbone_config))
        self.projection = unit_scale(nn.Linear(config.feature_size, config.hidden_size))

    def set_backbone(self, backbone: nn.Module) -> None:
        """Put a model in front, frozen if the config says so."""
        close_gaps(backbone)
        self.backbone = backbone
        self.train(self.training)

    def train(self, mode: bool = True):
        super().train(mode)
        if hasattr(self, "backbone"):
            if self.config.freeze_backbone:
                self.backbone.eval()  # without dropout, too
            freeze_unused(self.backbone, everything=self.config.freeze_backbone)  # also after loading makes them anew
        return self

    def takes_floats(self, name: str) -> bool:
        """Ids of words are what a model in front reads, where it reads words."""
        return name != self.names.raw or not self.modality.raw.predicts_ids

    def through_backbone(
        self, inputs: torch.Tensor, mask: torch.Tensor | None, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Raw input as ready features: the last hidden state of the backbone, (B, N, feature_size), and its mask (B, N);
        `dtype` is what the model computes in.
        """
        inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_backbone):
            return self.modality.raw.run_backbone(self.backbone, self.config, inputs, mask)

    def embed(self, features: torch.Tensor, mask: torch.Tensor | None, dtype: torch.dtype, times=None, hidden=None):
        mask = self.input_mask(features, mask)
        tokens = self.projection(blank(features, mask).to(dtype))
        return tokens, self.positions(features.shape[1], mask, features.device, times)

    def input_mask(self, features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        size = self.config.feature_size
        if features.ndim != 3 or features.shape[-1] != size:
            raise ValueError(
                f"`{self.names.features}` has shape {tuple(features.shape)}, expected (batch, length, {size}) "
                f"since `feature_size` is {size}."
            )
        return as_mask(mask, tuple(features.shape[:2]), self.names.mask)

    def targets(self, features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        mask = self.input_mask(features, mask)
        return features.float() if mask is None else features.float().masked_fill(~mask[..., None], torch.nan)

    def stand_in(self, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        if hasattr(self, "backbone") and not self.config.freeze_backbone:
            raw = self.modality.raw.raw_stand_in(self.config, device)
            return self.through_backbone(raw, None, dtype)[0][:, :1]
        return torch.zeros(1, 1, self.config.feature_size, device=device)


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
