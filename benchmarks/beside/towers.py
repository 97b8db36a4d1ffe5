# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Late fusion: a transformer of the library for each modality, each trained by itself, whose probabilities are
averaged over what a row has.

A small BERT reads texts, a small ViT pictures, a small audio spectrogram transformer sounds, all of the width and
depth of the MoT's towers, trained by transformers' `Trainer` with the MoT's schedule.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import (
    ASTConfig,
    ASTForAudioClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    set_seed,
)

from mixture_of_transformers.data.tokenizers import train_tokenizer

from .classical import Answer
from .features import MEL_BINS, log_mel, pixels
from .problems import Problem, Row

PATCH_SIZE, AUDIO_PATCH, AUDIO_STRIDE = 4, 16, 10
MOST_TOKENS = 128
Inputs = dict[str, np.ndarray]


def sizes_of(problem: Problem) -> dict[str, int]:
    """The sizes of the MoT's towers by the names that BERT, ViT and AST have for them."""
    names = {"num_encoder_layers": "num_hidden_layers"}
    return {names.get(name, name): size for name, size in problem.network.items()}


def schedule_of(problem: Problem, seed: int) -> dict:
    """The MoT's schedule and rates, as arguments of any trainer of the library's kind."""
    return {
        "num_train_epochs": problem.epochs,
        "per_device_train_batch_size": 64,
        "learning_rate": problem.learning_rate,
        "weight_decay": 0.05,
        "adam_beta2": 0.98,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "seed": seed,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


@dataclass
class Tower:
    """A model of one modality, and what makes its inputs of cells none of which is absent."""

    model: PreTrainedModel
    encode: Callable[[Sequence], Inputs]


def text_tower(texts: list[str], sizes: dict[str, int]) -> Tower:
    tokenizer = train_tokenizer(texts, model_max_length=MOST_TOKENS)
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=MOST_TOKENS, **sizes)

    def encode(cells: Sequence[str]) -> Inputs:
        return dict(tokenizer(list(cells), padding=True, truncation=True, return_tensors="np"))

    return Tower(BertForSequenceClassification(config), encode)


def image_tower(images: list[bytes], sizes: dict[str, int]) -> Tower:
    side = pixels(images[0]).shape[0]
    config = ViTConfig(image_size=side, patch_size=PATCH_SIZE, num_channels=1, **sizes)

    def encode(cells: Sequence[bytes]) -> Inputs:
        return {"pixel_values": 2 * np.stack([pixels(cell) for cell in cells])[:, None] - 1}

    return Tower(ViTForImageClassification(config), encode)


def audio_tower(sounds: list[bytes], sizes: dict[str, int]) -> Tower:
    """Of log-mel frames with mean 0 and standard deviation one half over the training rows, as AST has them."""
    frames = [log_mel(sound) for sound in sounds]
    longest = max(AUDIO_PATCH, *map(len, frames))
    stacked = np.concatenate(frames)
    mean, deviation = stacked.mean(), stacked.std()
    config = ASTConfig(
        max_length=longest,
        num_mel_bins=MEL_BINS,
        patch_size=AUDIO_PATCH,
        frequency_stride=AUDIO_STRIDE,
        time_stride=AUDIO_STRIDE,
        **sizes,
    )

    def encode(cells: Sequence[bytes]) -> Inputs:
        values = np.zeros((len(cells), longest, MEL_BINS), np.float32)  # what follows a sound is its mean
        for place, cell in enumerate(cells):
            heard = log_mel(cell)[:longest]
            values[place, : len(heard)] = (heard - mean) / (2 * deviation)
        return {"input_values": values}

    return Tower(ASTForAudioClassification(config), encode)


TOWERS = {"text": text_tower, "image": image_tower, "audio": audio_tower}


def late_fusion(problem: Problem, seed: int) -> Answer:
    set_seed(seed)
    sizes, towers = sizes_of(problem) | {"num_labels": len(problem.classes)}, {}
    for modality, kind in problem.kinds.items():
        rows = [row for row in problem.train if row[modality] is not None]
        towers[modality] = tower = TOWERS[kind]([row[modality] for row in rows], sizes)
        fit(tower, rows, modality, problem, seed)

    def answer(rows: list[Row]) -> np.ndarray:
        total, count = np.zeros((len(rows), len(problem.classes))), np.zeros((len(rows), 1))
        for modality, tower in towers.items():
            places = [place for place, row in enumerate(rows) if row[modality] is not None]
            if places:
                total[places] += probabilities(tower, [rows[place][modality] for place in places])
                count[places] += 1
        return total / count

    return answer


def fit(tower: Tower, rows: list[Row], modality: str, problem: Problem, seed: int) -> None:
    inputs = {name: torch.as_tensor(values) for name, values in tower.encode([row[modality] for row in rows]).items()}
    examples = [
        {name: values[place] for name, values in inputs.items()} | {"labels": row["label"]}
        for place, row in enumerate(rows)
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, **schedule_of(problem, seed))
        Trainer(tower.model, arguments, train_dataset=examples).train()


@torch.no_grad()
def probabilities(tower: Tower, cells: Sequence) -> np.ndarray:
    """(N, classes)."""
    tower.model.eval()
    found = []
    for start in range(0, len(cells), 64):
        inputs = {name: torch.as_tensor(v) for name, v in tower.encode(cells[start : start + 64]).items()}
        found.append(nn.functional.softmax(tower.model(**inputs).logits.double(), dim=1).numpy())
    return np.concatenate(found)
