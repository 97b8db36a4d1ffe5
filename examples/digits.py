# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What all examples train on: the embedded digits, their processor, and the configuration of a tiny model.

For data of your own put `load_splits("user/clips")` in place of `load_digits_dataset()`.
"""

from mixture_of_transformers import MoTConfig, MoTFeatureExtractor, MoTImageProcessor, MoTProcessor
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.labels import LabelSpec
from mixture_of_transformers.data.preparation import prepare_splits
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.training.encoded import EncodedDataset

IMAGE_SIZE = 28


def load() -> tuple[dict[str, EncodedDataset], MoTProcessor, LabelSpec]:
    """The splits as rows of tensors, the processor that makes them, and what the labels mean."""
    splits = load_digits_dataset()
    splits, labels = prepare_splits(splits, ModalityColumns.guess(splits["train"].features))
    image_processor = MoTImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, do_convert_rgb=True)
    processor = MoTProcessor(image_processor, MoTFeatureExtractor(), train_tokenizer(splits["train"]["text"]))
    return {name: EncodedDataset(split, processor) for name, split in splits.items()}, processor, labels


def tiny_config(processor: MoTProcessor, **fields) -> MoTConfig:
    """Of a model for these rows; the keys of a telephone are told apart by pitch, which a clip's mean holds."""
    return MoTConfig.of_size(
        "tiny",
        text_config={"vocab_size": len(processor.tokenizer), "max_position_embeddings": 64},
        image_config={"image_size": IMAGE_SIZE, "patch_size": 4},
        audio_config={"mean_normalization": False},
        **fields,
    )
