# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Models of the package MMSA (Mao et al., 2022) on sequences of ready features: tensor fusion and MulT.

The models, their settings for CMU-MOSI and their trainers are the package's; only the number of classes is ours. What
a row lacks is zeros, as in the package's own rows. Self-MM is not among them: it tells scores around 0 and no classes,
and begins with a BERT of the Hub.
"""

import importlib
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from mixture_of_transformers.data.tokenizers import train_tokenizer

from .classical import Answer
from .features import log_mel, pixels
from .problems import Problem, Row

WORD_SIZE, MOST_TOKENS, MOST_FRAMES = 64, 32, 100
NAMES = {"text": "text", "image": "vision", "audio": "audio"}  # kind -> what MMSA calls it


class Sequences:
    """
    Rows as what MMSA takes: a vector of each word piece, the rows of a picture's pixels, log-mel frames of 10 ms, all
    of one length. No word vectors can be had without a download, so that those of the pieces are drawn by the seed.
    """

    def __init__(self, problem: Problem, seed: int, is_averaged: bool):
        """
        Args:
            is_averaged: whether a sound becomes the mean of its frames, and a picture a single vector, as the
                package's `need_normalized` has them.
        """
        self.kinds, self.is_averaged = problem.kinds, is_averaged
        (text,) = (name for name, kind in problem.kinds.items() if kind == "text")
        self.tokenizer = train_tokenizer([row[text] for row in problem.train], model_max_length=MOST_TOKENS)
        words = np.random.default_rng(seed).standard_normal((len(self.tokenizer), WORD_SIZE)) / WORD_SIZE**0.5
        self.words = words.astype(np.float32)
        # Of the first row that has it, each kind's shape.
        self.shapes = {
            name: next(self.read(row[name], kind) for row in problem.train if row[name] is not None).shape
            for name, kind in problem.kinds.items()
        }

    def read(self, cell: object, kind: str) -> np.ndarray:
        """(L, d)."""
        if kind == "text":
            return fitted(self.words[self.tokenizer(cell)["input_ids"][:MOST_TOKENS]], MOST_TOKENS)
        if kind == "image":
            return pixels(cell).reshape(1, -1) if self.is_averaged else pixels(cell)
        frames = log_mel(cell) / 10
        return frames.mean(axis=0, keepdims=True) if self.is_averaged else fitted(frames, MOST_FRAMES)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """MMSA's name of a modality -> (L, d)."""
        return {NAMES[self.kinds[name]]: shape for name, shape in self.shapes.items()}

    def __call__(self, rows: list[Row]) -> list[dict]:
        return [self.of_row(row, place) for place, row in enumerate(rows)]

    def of_row(self, row: Row, place: int) -> dict:
        cells = {
            NAMES[kind]: np.zeros(self.shapes[name], np.float32) if row[name] is None else self.read(row[name], kind)
            for name, kind in self.kinds.items()
        }
        return cells | {"labels": {"M": torch.tensor([float(row["label"])])}, "index": place, "id": str(place)}


def fitted(frames: np.ndarray, length: int) -> np.ndarray:
    """(length, d): cut, or with zeros at the end."""
    return np.pad(frames[:length], ((0, max(0, length - len(frames))), (0, 0)))


def tensor_fusion(problem: Problem, seed: int) -> Answer:
    return train("tfn", problem, seed)


def mult(problem: Problem, seed: int) -> Answer:
    return train("mult", problem, seed)


def train(name: str, problem: Problem, seed: int) -> Answer:
    from MMSA.config import get_config_regression
    from MMSA.models.AMIO import AMIO
    from MMSA.trains import ATIO
    from MMSA.utils import setup_seed

    # MulT's trainer names an option that torch has no more, `verbose`.
    trainer = importlib.import_module("MMSA.trains.singleTask.MULT")
    trainer.ReduceLROnPlateau = lambda *given, verbose, **named: ReduceLROnPlateau(*given, **named)
    setup_seed(seed)
    arguments = get_config_regression(name, "mosi")
    sequences = Sequences(problem, seed, is_averaged=bool(arguments.get("need_normalized")))
    sizes = sequences.sizes()
    arguments.seq_lens, arguments.feature_dims = zip(*(sizes[m] for m in ("text", "audio", "vision")))
    arguments.train_mode, arguments.num_classes = "classification", len(problem.classes)
    arguments.device, arguments.cur_seed, arguments.train_samples = torch.device("cpu"), seed, len(problem.train)
    model = AMIO(arguments)
    batches = {
        split: DataLoader(sequences(rows), batch_size=arguments.batch_size, shuffle=split == "train")
        for split, rows in (("train", problem.train), ("valid", problem.validation))
    }
    with tempfile.TemporaryDirectory() as folder:
        arguments.model_save_path = Path(folder) / "best.pth"
        ATIO().getTrain(arguments).do_train(model, batches)
        model.load_state_dict(torch.load(arguments.model_save_path, weights_only=True))

    @torch.no_grad()
    def answer(rows: list[Row]) -> np.ndarray:
        model.eval()
        found = []
        for batch in DataLoader(sequences(rows), batch_size=64):
            logits = model(batch["text"], batch["audio"], batch["vision"])["M"]
            found.append(logits.double().softmax(dim=1).numpy())
        return np.concatenate(found)

    return answer
