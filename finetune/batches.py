# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From rows to batches: which rows are encoded once and kept, and what makes the batches, augmented in training."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import datasets
from transformers import DataCollatorForLanguageModeling
from transformers.utils import logging

from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.finetune.limits import encoding_limits
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments
from mixture_of_transformers.finetune.rows import reading_of
from mixture_of_transformers.modalities_mot import MODALITIES, modality_of, words_of
from mixture_of_transformers.modality_audio_mot import AudioAugmentation
from mixture_of_transformers.modality_image_mot import ImageAugmentation
from mixture_of_transformers.modality_mot import MoTModalityConfig
from mixture_of_transformers.processing_mot import MoTProcessor
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EncodedDataset, StreamedDataset, kinds_of
from mixture_of_transformers.training.feature_cache import (
    CANNOT_BE_WRITTEN,
    CachedDataset,
    cache_features,
    encoded_bytes,
)

logger = logging.get_logger(__name__)

CONTRASTIVE = ("retrieval", "pretraining")  # the tasks whose loss compares the rows of a batch


def encode_split(
    name: str,
    split: datasets.Dataset | RowStream,
    processor: MoTProcessor,
    config: MoTConfig,
    data: DataArguments,
    num_proc: int,
) -> EncodedDataset | CachedDataset | StreamedDataset:
    """The rows of a split as tensors: from the disk if they fit there, else encoded whenever they are read."""
    limits: dict[str, Any] = {**encoding_limits(config, data, processor.feature_extractor)}
    limits |= {"allow_urls": reading_of(data).allow_urls, "config": config}
    if isinstance(split, RowStream):
        return StreamedDataset(split, processor, **limits)
    encoded = EncodedDataset(split, processor, **limits)
    if data.cache_gigabytes == 0:
        return encoded
    gigabytes = encoded_bytes(encoded) / 1e9
    if gigabytes > data.cache_gigabytes:
        logger.warning(
            f"Encoded, '{name}' takes about {gigabytes:.1f} GB, more than --cache_gigabytes {data.cache_gigabytes:g}: "
            "its rows are decoded and encoded in every epoch, in parallel to training with --dataloader_num_workers."
        )
        return encoded
    try:
        return cache_features(encoded, num_proc=num_proc or None)
    except OSError as error:
        if error.errno not in CANNOT_BE_WRITTEN:
            raise
        logger.warning(
            f"The encoded rows of '{name}' cannot be kept ({error}; the cache is where HF_DATASETS_CACHE says): they "
            "are decoded and encoded in every epoch."
        )
        return encoded


def build_collators(
    processor: MoTProcessor, config: MoTConfig, data: DataArguments, model: ModelArguments, seed: int
) -> dict[str, MoTCollator]:
    """What makes the batches of evaluation and, augmented, of training, by the names of `MoTTrainer`'s arguments."""
    masking = word_masking(processor, config) if data.task == "pretraining" else None
    common = {"pad_token_id": processor.tokenizer.pad_token_id, "word_masking": masking, "seed": seed}
    common["kinds"] = kinds_of(config)
    return {
        "data_collator": MoTCollator(**common),
        "train_collator": MoTCollator(
            **common,
            **augmentations(processor, config, model, data.task),
            augmentations=further_augmentations(processor, config, model, data.task),
            modality_dropout=dropout_rates(model.modality_dropout, config),
            modality_dropout_warmup=model.modality_dropout_warmup,
        ),
    }


def word_masking(processor: MoTProcessor, config: MoTConfig) -> DataCollatorForLanguageModeling | None:
    """What hides the words that pretraining predicts; None where it predicts none."""
    words = words_of(config)
    if words is None:
        return None
    share = config.modality_config(words).mask_ratio
    return DataCollatorForLanguageModeling(processor.tokenizer, mlm_probability=share)


def dropout_rates(options: list[str], config: MoTConfig) -> float | dict[str, float]:
    """
    The probabilities of --modality_dropout: one for all modalities, or for each by its name.

    Raises:
        ValueError: it is no number from 0 to 1, or not of a modality of the model.
    """
    rates: dict[str, float] = {}
    for option in options:
        name, has_name, number = option.rpartition("=")
        try:
            rate = float(number)
        except ValueError:
            rate = math.nan
        if not 0 <= rate <= 1 or has_name and name not in config.modalities or not has_name and len(options) > 1:
            raise ValueError(
                f"--modality_dropout has {option!r}; expected one number from 0 to 1, or NAME=NUMBER for some of "
                f"{', '.join(config.modalities)}."
            )
        rates[name] = rate
    return rates.get("", rates) or 0.0


def further_augmentations(
    processor: MoTProcessor, config: MoTConfig, model: ModelArguments, task: str
) -> dict[str, Callable]:
    """What changes the raw input of the modalities that a user declared, by their names; the options that switch it
    off are those of their kinds."""
    changes = {
        m: augmentation_of(config.modality_config(m), m, processor, model, task) for m in config.extra_modalities
    }
    return {m: change for m, change in changes.items() if change is not None}


def augmentations(processor: MoTProcessor, config: MoTConfig, model: ModelArguments, task: str) -> dict[str, Callable]:
    """What changes the raw input of training a little, by the names of the options that switch it off."""
    found = {}
    for modality in filter(MODALITIES.__contains__, config.modalities):
        change = augmentation_of(config.modality_config(modality), modality, processor, model, task)
        if change is not None:
            found[f"{modality}_augmentation"] = change
    return found


def augmentation_of(
    tower: MoTModalityConfig, name: str, processor, model: ModelArguments, task: str
) -> Callable | None:
    """
    What changes the raw input of a modality in training a little; None where its kind has no such thing, it arrives
    as ready features, or the option of its kind switches it off.

    Args:
        name: of the modality.
        processor: of a classifier or of a generator.
    """
    kind = modality_of(tower, name)
    change = kind.augmentation(tower, processor)
    if change is None or not getattr(model, f"{kind.kind}_augmentation", True):
        return None
    if isinstance(change, AudioAugmentation) and model.audio_kind == "sound":
        return replace(change, tract=0.0)  # the pitch, which tells sounds apart, stays
    if isinstance(change, ImageAugmentation) and task in CONTRASTIVE:
        # Of a new model the vectors of pictures differ by their light before all else, and where that is drawn at
        # random a contrastive loss begins to learn far later (docs/retrieval.md).
        return replace(change, light=0.0)
    return change
