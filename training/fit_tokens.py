# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Tokenizers of pictures and sounds are trained on a user's own data, in minutes on a CPU.

What is to be learnt is to give back what came in, through the few codes between; nothing but the squared error counts.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import get_cosine_schedule_with_warmup

from mixture_of_transformers.tokens_mot import (
    MoTAudioTokenizer,
    MoTAudioTokenizerConfig,
    MoTImageTokenizer,
    MoTImageTokenizerConfig,
)

LEARNING_RATE = 2e-3
WARMUP_STEPS = 50
FRAMES_OF_A_CROP = 32  # which training sees of a sound at once


def fit_image_tokenizer(
    images: Sequence[Image.Image],
    config: MoTImageTokenizerConfig | None = None,
    steps: int = 2000,
    batch_size: int = 64,
    seed: int = 0,
) -> MoTImageTokenizer:
    """
    Args:
        images: pictures of any size and mode, at best all of a training split.
        config: of the tokenizer; None: the default.
        steps, batch_size: of training, each step on pictures drawn at random.

    Raises:
        ValueError: if there is no picture.
    """
    if not len(images):
        raise ValueError("`images` is empty: expected pictures to train a tokenizer on.")
    torch.manual_seed(seed)
    tokenizer = MoTImageTokenizer(config or MoTImageTokenizerConfig())
    pixel_values = tokenizer.to_pixel_values(images)
    rows = torch.Generator().manual_seed(seed)

    def batch() -> torch.Tensor:
        return pixel_values[torch.randint(len(pixel_values), (batch_size,), generator=rows)]

    return fitted(tokenizer, batch, steps)


def fit_audio_tokenizer(
    waveforms: Sequence[np.ndarray],
    sampling_rate: int,
    config: MoTAudioTokenizerConfig | None = None,
    steps: int = 2000,
    batch_size: int = 64,
    seed: int = 0,
) -> MoTAudioTokenizer:
    """
    Args:
        waveforms: mono, (samples,) each, of any length, at best all of a training split.
        sampling_rate: Hz of all of them.
        config: of the tokenizer; None: the default. Its `level` is set to what the sounds have in the middle.
        steps, batch_size: of training, each step on pieces of sounds drawn at random.

    Raises:
        ValueError: if there is no sound.
    """
    torch.manual_seed(seed)
    tokenizer = MoTAudioTokenizer(config or MoTAudioTokenizerConfig())
    features = [tokenizer.to_input_features(waveform, sampling_rate) for waveform in waveforms if len(waveform)]
    if not features:
        raise ValueError("`waveforms` holds no sample: expected sounds to train a tokenizer on.")
    levels = [tokenizer.to_log_mel(waveform, sampling_rate)[1] for waveform in waveforms if len(waveform)]
    tokenizer.config.level = float(np.median(levels))
    rng = np.random.default_rng(seed)

    def batch() -> torch.Tensor:
        return torch.stack([crop(features[row], rng) for row in rng.integers(len(features), size=batch_size)])

    return fitted(tokenizer, batch, steps)


def crop(features: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """A piece (1, mel, FRAMES_OF_A_CROP) of a sound (1, mel, T), with silence where it is shorter."""
    first = int(rng.integers(max(0, features.shape[-1] - FRAMES_OF_A_CROP) + 1))
    piece = features[..., first : first + FRAMES_OF_A_CROP]
    return F.pad(piece, (0, FRAMES_OF_A_CROP - piece.shape[-1]), value=-1.0)


def fitted(tokenizer: MoTImageTokenizer | MoTAudioTokenizer, batch: Callable[[], torch.Tensor], steps: int):
    """The tokenizer after `steps` batches, ready for use."""
    optimizer = torch.optim.AdamW(tokenizer.parameters(), LEARNING_RATE)
    schedule = get_cosine_schedule_with_warmup(optimizer, min(WARMUP_STEPS, steps), steps)
    tokenizer.train()
    for _ in range(steps):
        inputs = batch()
        F.mse_loss(tokenizer(inputs), inputs).backward()
        torch.nn.utils.clip_grad_norm_(tokenizer.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return tokenizer.eval()
