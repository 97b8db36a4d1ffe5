# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The tokenizers of pictures and sound of a run: those that were named, or new ones that learn the training split.

What was learnt is kept in the cache of `datasets`, where the other processes of a run and later runs on the same data
find it.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from datasets.fingerprint import Hasher
from PIL import Image
from transformers import PreTrainedConfig
from transformers.utils import logging

from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig
from mixture_of_transformers.data.checks import Reading
from mixture_of_transformers.data.extra_cells import is_absent_cell
from mixture_of_transformers.data.fingerprints import fingerprint_of_files
from mixture_of_transformers.decoding_audio_mot import load_audio
from mixture_of_transformers.decoding_image_mot import load_image
from mixture_of_transformers.finetune.options import ModelArguments
from mixture_of_transformers.media_causal_mot import CODEC_OF, TOKENIZERS, load_tokenizer
from mixture_of_transformers.tokens_mot import (
    MoTAudioTokenizer,
    MoTAudioTokenizerConfig,
    MoTImageTokenizer,
    MoTImageTokenizerConfig,
)
from mixture_of_transformers.tokens_ready_mot import MoTReadyAudioTokenizer, MoTReadyImageTokenizer
from mixture_of_transformers.training.fit_tokens import fit_audio_tokenizer, fit_image_tokenizer

logger = logging.get_logger(__name__)

MOST_MEDIA = 10_000  # that a tokenizer learns from
SOME_MEDIA = 200  # by which it is known whether pictures have colours
READY = dict(zip(CODEC_OF, (MoTReadyImageTokenizer, MoTReadyAudioTokenizer), strict=True))
GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")


def image_tokenizer(
    train: datasets.Dataset,
    columns: Sequence[str],
    model: ModelArguments,
    size: int,
    patch_size: int,
    reading: Reading,
    seed: int,
) -> Any:
    """
    Args:
        columns: of pictures.
        size, patch_size: of pictures, in pixels.
    """
    given = json.loads(model.image_tokenizer_config or "{}")
    if model.image_tokenizer:
        return named_tokenizer("image", model.image_tokenizer, given)

    def pictures(most: int) -> Iterator[Image.Image]:
        cells = media_of(train, columns, most)
        return (load_image(cell, "image", convert_rgb=False, **reading.access) for cell in cells)

    is_grey = all(picture.mode in GREY_MODES for picture in pictures(SOME_MEDIA))
    fields = {"image_size": size, "patch_size": patch_size, "num_channels": 1 if is_grey else 3}
    config = MoTImageTokenizerConfig(**fields | given)
    return remembered(
        MoTImageTokenizer,
        lambda: fit_image_tokenizer([*pictures(MOST_MEDIA)], config, model.tokenizer_steps, seed=seed),
        [*identity(train, columns), config.to_dict(), model.tokenizer_steps, seed],
    )


def audio_tokenizer(
    train: datasets.Dataset, columns: Sequence[str], model: ModelArguments, reading: Reading, seed: int
) -> Any:
    """
    Args:
        columns: of sound.
    """
    given = json.loads(model.audio_tokenizer_config or "{}")
    if model.audio_tokenizer:
        return named_tokenizer("audio", model.audio_tokenizer, given)
    config = MoTAudioTokenizerConfig(**given)
    rate = config.sampling_rate

    def fit() -> MoTAudioTokenizer:
        cells = media_of(train, columns, MOST_MEDIA)
        sounds = [load_audio(c, "audio", rate, None, reading.max_audio_seconds, **reading.access)[0] for c in cells]
        return fit_audio_tokenizer(sounds, rate, config, model.tokenizer_steps, seed=seed)

    return remembered(
        MoTAudioTokenizer,
        fit,
        [*identity(train, columns), config.to_dict(), model.tokenizer_steps, seed, reading],
    )


def named_tokenizer(modality: str, name: str, fields: Mapping[str, Any]) -> Any:
    """
    The tokenizer that is in a folder or a repository of the Hub, that a checkpoint there has, or a model of
    transformers that can be one.

    Args:
        fields: what such a model is asked for, such as `num_codebooks`.

    Raises:
        OSError: there is none.
    """
    try:
        kind = PreTrainedConfig.get_config_dict(name)[0].get("model_type")
    except OSError as error:
        raise OSError(f"--{modality}_tokenizer {name!r}: nothing could be loaded from there ({error})") from error
    if kind == MoTCausalConfig.model_type:
        return load_tokenizer(name, f"{modality}_tokenizer")
    if kind in {tokenizer.config_class.model_type for tokenizer in TOKENIZERS}:
        return load_tokenizer(name, "")
    return READY[modality].of(name, **fields)


def media_of(train: datasets.Dataset, columns: Sequence[str], most: int) -> Iterator[Any]:
    """The media of some rows, spread evenly, as bytes or paths."""
    rows = np.linspace(0, len(train) - 1, min(most, len(train))).astype(int)
    for column in columns:
        for cell in train.select(rows).with_format(None)[column]:
            if not is_absent_cell(cell):
                yield from cell if isinstance(cell, list) else [cell]


def identity(train: datasets.Dataset, columns: Sequence[str]) -> list[str]:
    """What says which media a tokenizer learns."""
    return [fingerprint_of_files(train.select_columns([*columns])), *columns]


def remembered(tokenizer_class: type, fit: Callable[[], Any], decides: Sequence[Any]) -> Any:
    """
    The tokenizer that an earlier run, or another process of this one, learnt from the same; else a new one.

    Args:
        fit: makes a new one.
        decides: all that decides what it learns.
    """
    hasher = Hasher()
    for part in decides:
        hasher.update(part)
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "features" / f"{hasher.hexdigest()}-tokenizer"
    if folder.is_dir():
        return tokenizer_class.from_pretrained(folder)
    print(f"Training {tokenizer_class.__name__} on the training split ...")
    with torch.random.fork_rng(devices=[]):  # what is drawn next is the same whether it was learnt or found
        tokenizer = fit()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            tokenizer.save_pretrained(unfinished)
            Path(unfinished).rename(folder)
            Path(unfinished).mkdir()  # for the context to remove
    except OSError as error:
        logger.warning(f"The tokenizer cannot be kept ({error}): another run learns it anew.")
    return tokenizer
