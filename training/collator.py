# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Encoded rows to the batches of a model: augmented, padded, with masks (`MoTCollator`)."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from transformers import DataCollatorForLanguageModeling

from mixture_of_transformers.loss_mot import IGNORED_LABEL
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.modality_audio_mot import AudioAugmentation
from mixture_of_transformers.modality_image_mot import ImageAugmentation
from mixture_of_transformers.modality_mot import Modality
from mixture_of_transformers.training.encoded import modalities_of


@dataclass
class MoTCollator:
    """
    Encoded rows to a batch: augmented (in training), padded, with masks; a modality that a row lacks is zeros with a
    zero mask, one that no row has is left out. A row without a label gets -100, or NaN where labels are numbers.

    What is random depends on the seed, the epoch that a row carries and what the row holds, on nothing else: the batch
    is the same whichever worker makes it, streamed or not, and in a run that was resumed.

    Args:
        pad_token_id: what pads `input_ids`.
        image_augmentation: an `ImageAugmentation`, or None.
        audio_augmentation: an `AudioAugmentation`, or None.
        modality_dropout: the probability with which each modality of a row is hidden, one for all or by their names;
            never a row's last one.
        modality_dropout_warmup: over how many epochs it rises from 0, evenly, for rows that carry their epoch.
        word_masking: hides words and gives them as `text_labels`, for pretraining; or None.
        pad_to_multiple_of: pads tokens, frames and ready features to a multiple of this, so that compiled models see
            few lengths. The model's own limits must allow for it.
        return_loss: asks a head that retrieves or pretrains for its loss, which needs no labels, in evaluation too:
            for a plain `Trainer`, with `label_names=[]`.
        seed: of augmentation, dropout and masking.
        kinds: the model's modalities by their names (`kinds_of(config)`); by default text, image and audio.
        augmentations: what changes the raw input of further modalities, by their names.
    """

    pad_token_id: int = 0
    image_augmentation: ImageAugmentation | None = None
    audio_augmentation: AudioAugmentation | None = None
    modality_dropout: float | dict[str, float] = 0.0
    modality_dropout_warmup: int = 0
    word_masking: DataCollatorForLanguageModeling | None = None
    pad_to_multiple_of: int = 1
    return_loss: bool = False
    seed: int = 0
    kinds: Mapping[str, Modality] = field(default_factory=lambda: MODALITIES)
    augmentations: Mapping[str, Callable[..., torch.Tensor]] = field(default_factory=dict)

    def __call__(self, rows: list[dict[str, torch.Tensor]]) -> dict:
        rows = [self.augment(row) for row in rows]
        batch = {}
        for modality in self.kinds.values():
            batch |= self.pad(modality, rows)
        labels = [row["labels"] for row in rows if "labels" in row]
        if labels:
            missing = torch.full_like(labels[0], torch.nan if labels[0].is_floating_point() else IGNORED_LABEL)
            batch["labels"] = torch.stack([row.get("labels", missing) for row in rows])
        if self.return_loss:
            batch["return_loss"] = True
        return batch

    def augment(self, row: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        random = self.row_generator(row)
        row = self.drop_modalities(row, random)
        for modality in reversed(self.kinds.values()):  # the order in which the random numbers of a row are drawn
            if modality.names.raw not in row:
                continue
            own = self.augmentations.get(modality.name)
            if augmentation := own or getattr(self, f"{modality.name}_augmentation", None):
                row = modality.augment(row, augmentation, random)
            if self.word_masking and modality.predicts_ids:
                row = self.mask_words(modality, row, random)
        return row

    def mask_words(
        self, modality: Modality, row: dict[str, torch.Tensor], random: torch.Generator
    ) -> dict[str, torch.Tensor]:
        self.word_masking.generator = random
        ids, labels = self.word_masking.torch_mask_tokens(row[modality.names.raw][None].clone())
        return row | {modality.names.raw: ids[0], modality.labels_name: labels[0]}

    def row_generator(self, row: dict[str, torch.Tensor]) -> torch.Generator:
        """Random numbers that begin at a hash of the seed and the row, which has its epoch."""
        content = zlib.crc32(str(self.seed).encode())
        for name in sorted(row):
            content = zlib.crc32(row[name].contiguous().reshape(-1).view(torch.uint8).numpy(), content)
        return torch.Generator().manual_seed(content)  # torch takes 32 bits of it.

    def drop_modalities(self, row: dict[str, torch.Tensor], random: torch.Generator) -> dict[str, torch.Tensor]:
        risen = 1.0
        if "epoch" in row and self.modality_dropout_warmup:
            risen = min(1.0, row["epoch"].item() / self.modality_dropout_warmup)
        present = modalities_of(row, self.kinds)
        rates = self.modality_dropout
        rates = [risen * (rates.get(m.name, 0.0) if isinstance(rates, dict) else rates) for m in present]
        if not any(rates):
            return row
        dropped = [m for m, rate in zip(present, rates) if torch.rand((), generator=random) < rate]
        if len(dropped) == len(present):
            dropped.pop(int(torch.randint(len(present), (), generator=random)))
        names = {name for modality in dropped for name in modality.names.of_row}
        return {name: value for name, value in row.items() if name not in names}

    def pad(self, modality: Modality, rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """What the rows have of a modality, (L_i, ...) each, as tensors (B, L, ...) with a mask."""
        fills = dict.fromkeys(modality.names.of_row, 0)
        if modality.predicts_ids:
            fills |= {modality.names.raw: self.pad_token_id, modality.labels_name: IGNORED_LABEL}
        batch = {}
        for name, fill in fills.items():
            values = [row.get(name) for row in rows]
            if any(value is not None for value in values):
                batch[name], mask = modality.pad(values, self.pad_to_multiple_of, fill)
                if name in modality.names.inputs:
                    batch[modality.names.mask] = mask
        return batch
