# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From rows to batches: which rows are encoded once and kept, and what makes the batches, augmented in training."""

from collections.abc import Callable
from dataclasses import replace

import datasets
from transformers import DataCollatorForLanguageModeling
from transformers.utils import logging

from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.finetune.limits import encoding_limits
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments
from mixture_of_transformers.finetune.rows import reading_of
from mixture_of_transformers.modalities_mot import modality_of, words_of
from mixture_of_transformers.modality_audio_mot import AudioAugmentation
from mixture_of_transformers.processing_mot import MoTProcessor
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EncodedDataset, StreamedDataset
from mixture_of_transformers.training.feature_cache import (
    CANNOT_BE_WRITTEN,
    CachedDataset,
    cache_features,
    encoded_bytes,
)

logger = logging.get_logger(__name__)


def encode_split(
    name: str,
    split: datasets.Dataset | RowStream,
    processor: MoTProcessor,
    config: MoTConfig,
    data: DataArguments,
    num_proc: int,
) -> EncodedDataset | CachedDataset | StreamedDataset:
    """The rows of a split as tensors: from the disk if they fit there, else encoded whenever they are read."""
    limits = encoding_limits(config, data, processor.feature_extractor)
    limits["allow_urls"] = reading_of(data).allow_urls
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
    return {
        "data_collator": MoTCollator(**common),
        "train_collator": MoTCollator(
            **common,
            **augmentations(processor, config, model),
            modality_dropout=model.modality_dropout,
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


def augmentations(processor: MoTProcessor, config: MoTConfig, model: ModelArguments) -> dict[str, Callable]:
    """What changes the raw input of training a little, by the names of the options that switch it off."""
    found = {}
    for modality in config.modalities:
        tower, option = config.modality_config(modality), f"{modality}_augmentation"
        change = modality_of(tower, modality).augmentation(tower, processor)
        if change is None or not getattr(model, option, False):
            continue
        if isinstance(change, AudioAugmentation) and model.audio_kind == "sound":
            change = replace(change, tract=0.0)  # the pitch, which tells sounds apart, stays
        found[option] = change
    return found
