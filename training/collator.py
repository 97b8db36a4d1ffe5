# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Encoded rows to the batches of a model: augmented, padded, with masks (`MoTCollator`)."""

import zlib
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from transformers import DataCollatorForLanguageModeling

from mixture_of_transformers.loss_mot import IGNORED_LABEL
from mixture_of_transformers.modality_audio_mot import AudioAugmentation
from mixture_of_transformers.modality_image_mot import ImageAugmentation
from mixture_of_transformers.training.encoded import INPUTS, TIMES, is_picture


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
        modality_dropout: the probability with which each modality of a row is hidden; never a row's last one.
        modality_dropout_warmup: over how many epochs it rises from 0, evenly, for rows that carry their epoch.
        word_masking: hides words and gives them as `text_labels`, for pretraining; or None.
        pad_to_multiple_of: pads tokens, frames and ready features to a multiple of this, so that compiled models see
            few lengths. The model's own limits must allow for it.
        return_loss: asks a head that retrieves or pretrains for its loss, which needs no labels, in evaluation too:
            for a plain `Trainer`, with `label_names=[]`.
        seed: of augmentation, dropout and masking.
    """

    pad_token_id: int = 0
    image_augmentation: ImageAugmentation | None = None
    audio_augmentation: AudioAugmentation | None = None
    modality_dropout: float = 0.0
    modality_dropout_warmup: int = 0
    word_masking: DataCollatorForLanguageModeling | None = None
    pad_to_multiple_of: int = 1
    return_loss: bool = False
    seed: int = 0

    def __call__(self, rows: list[dict[str, torch.Tensor]]) -> dict:
        rows = [self.augment(row) for row in rows]
        batch = {}
        for name, (mask_name, _) in INPUTS.items():
            values = [row.get(name) for row in rows]
            if any(value is not None for value in values):
                batch[name], batch[mask_name] = self.pad(name, values)
        for name in (*TIMES.values(), "text_labels"):
            values = [row.get(name) for row in rows]
            if any(value is not None for value in values):
                batch[name], _ = self.pad(name, values)
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
        if self.audio_augmentation and "input_features" in row:
            row = self.augment_audio(row, random)
        if self.image_augmentation and "pixel_values" in row:
            row = row | {"pixel_values": self.image_augmentation(row["pixel_values"], random)}
        if self.word_masking and "input_ids" in row:
            self.word_masking.generator = random
            ids, labels = self.word_masking.torch_mask_tokens(row["input_ids"][None].clone())
            row = row | {"input_ids": ids[0], "text_labels": labels[0]}
        return row

    def row_generator(self, row: dict[str, torch.Tensor]) -> torch.Generator:
        """Its state is a hash of the seed and the row, of which the epoch is a part."""
        content = zlib.crc32(str(self.seed).encode())
        for name in sorted(row):
            content = zlib.crc32(row[name].contiguous().reshape(-1).view(torch.uint8).numpy(), content)
        return torch.Generator().manual_seed(content)  # of which torch takes 32 bits

    def drop_modalities(self, row: dict[str, torch.Tensor], random: torch.Generator) -> dict[str, torch.Tensor]:
        rate = self.modality_dropout
        if "epoch" in row and self.modality_dropout_warmup:
            rate *= min(1.0, row["epoch"].item() / self.modality_dropout_warmup)
        if not rate:
            return row
        names = [name for name in INPUTS if name in row]
        dropped = [name for name in names if torch.rand((), generator=random) < rate]
        if len(dropped) == len(names):
            dropped.pop(int(torch.randint(len(names), (), generator=random)))
        dropped += [TIMES[name] for name in dropped if name in TIMES]
        return {name: value for name, value in row.items() if name not in dropped}

    def augment_audio(self, row: dict[str, torch.Tensor], random: torch.Generator) -> dict[str, torch.Tensor]:
        """Another tempo gives other frames over the same seconds, so that what happened together stays together."""
        row = row | {"input_features": self.audio_augmentation(row["input_features"], random)}
        if "input_features_times" in row:
            times, length = row["input_features_times"], len(row["input_features"])
            row["input_features_times"] = F.interpolate(times[None, None], size=length, mode="linear")[0, 0]
        return row

    def pad(self, name: str, values: list[torch.Tensor | None]) -> tuple[torch.Tensor, torch.Tensor]:
        """Values (L_i, ...) with their own lengths, or single images (C, H, W), to one tensor and its mask."""
        example = next(value for value in values if value is not None)
        if is_picture(name, example):
            mask = torch.tensor([value is not None for value in values]).long()
            return torch.stack([torch.zeros_like(example) if value is None else value for value in values]), mask
        lengths = [0 if value is None else len(value) for value in values]
        fill = {"input_ids": self.pad_token_id, "text_labels": IGNORED_LABEL}.get(name, 0)
        longest = -(-max(lengths) // self.pad_to_multiple_of) * self.pad_to_multiple_of
        padded = example.new_full((len(values), longest, *example.shape[1:]), fill)
        for row, value, length in zip(padded, values, lengths):
            if value is not None:
                row[:length] = value
        mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
        return padded, mask.long()
