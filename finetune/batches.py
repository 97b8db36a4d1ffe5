# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From rows to batches: which rows are encoded once and kept, and what makes the batches, augmented in training."""

from dataclasses import replace

import datasets
from transformers import DataCollatorForLanguageModeling
from transformers.utils import logging

from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.finetune.limits import encoding_limits
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments
from mixture_of_transformers.finetune.rows import reading_of
from mixture_of_transformers.modality_audio_mot import AudioAugmentation
from mixture_of_transformers.modality_image_mot import ImageAugmentation
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

AUDIO_AUGMENTATIONS = {"speech": AudioAugmentation(), "sound": AudioAugmentation(tract=0.0)}


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
    pad_token_id, word_masking = processor.tokenizer.pad_token_id, None
    if data.task == "pretraining" and config.text_config and config.text_config.feature_size is None:
        share = config.text_config.mask_ratio
        word_masking = DataCollatorForLanguageModeling(processor.tokenizer, mlm_probability=share)
    return {
        "data_collator": MoTCollator(pad_token_id, word_masking=word_masking, seed=seed),
        "train_collator": MoTCollator(
            pad_token_id,
            ImageAugmentation() if model.image_augmentation else None,
            audio_augmentation(processor, config, model),
            model.modality_dropout,
            model.modality_dropout_warmup,
            word_masking,
            seed=seed,
        ),
    }


def audio_augmentation(processor: MoTProcessor, config: MoTConfig, model: ModelArguments) -> AudioAugmentation | None:
    """How the audio of training is augmented; None where it is not, or where there is none."""
    if not model.audio_augmentation or config.audio_config is None or config.audio_config.feature_size is not None:
        return None
    return replace(
        AUDIO_AUGMENTATIONS[model.audio_kind or "speech"],
        silence_value=getattr(processor.feature_extractor, "silence_value", None),
        max_frames=config.audio_config.max_frames,
    )
