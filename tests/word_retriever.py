# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A tiny model for retrieval of texts and pictures, and its processor, whose tokenizer knows a few words."""

import torch

from mixture_of_transformers import MoTConfig, MoTForRetrieval, MoTImageProcessor, MoTProcessor
from mixture_of_transformers.data.tokenizers import train_tokenizer

WORDS = ["red", "green", "blue", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "cat", "dog"]
WORDS += ["horse"]
WIDTH = 8


def make_model(seed=0, **fields):
    torch.manual_seed(seed)
    fields = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_encoder_layers": 1} | fields
    text = {"vocab_size": 256, "max_position_embeddings": 32}
    image = {"image_size": 8, "patch_size": 4}
    config = MoTConfig.of_size(
        "tiny", **{"projection_dim": WIDTH, "text_config": text, "image_config": image, "audio_config": None} | fields
    )
    return MoTForRetrieval(config).eval()


def make_processor(words=WORDS, **options):
    images = MoTImageProcessor(size={"height": 8, "width": 8}, do_convert_rgb=True, **options)
    return MoTProcessor(images, tokenizer=train_tokenizer([" ".join(words)] * 5, model_max_length=32))
