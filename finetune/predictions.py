# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The answers to the rows of a dataset, in a file: a label, labels or a score for each, with probabilities."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.finetune.limits import row_numbers
from mixture_of_transformers.head_classification_mot import is_regression, scores_of
from mixture_of_transformers.training.run_folder import write_whole
from mixture_of_transformers.training.trainer import MoTTrainer

PREDICTIONS = "predictions.jsonl"


@torch.no_grad()
def predict(trainer: MoTTrainer, dataset) -> np.ndarray:
    """The logits (N, num_labels) of every row, in order."""
    logits = []
    for model, inputs in trainer.batches(dataset):
        inputs.pop("labels", None)
        logits.append(trainer.accelerator.gather_for_metrics(model(**inputs).logits).float().cpu().numpy())
    return np.concatenate(logits)


def answers(logits: np.ndarray, config: MoTConfig) -> Iterator[dict]:
    """What logits (N, num_labels) say of each row: a label, labels or a score, and the probability of each class."""
    several = config.problem_type == "multi_label_classification"
    for row in scores_of(torch.from_numpy(logits).double(), config).tolist():
        if is_regression(config):
            yield {"score": row[0] if len(row) == 1 else row}
            continue
        probabilities = {config.id2label[i]: value for i, value in enumerate(row)}
        if several:
            yield {"labels": [n for n, p in probabilities.items() if p > 0.5], "probabilities": probabilities}
        else:
            yield {"label": max(probabilities, key=probabilities.get), "probabilities": probabilities}


def write_predictions(path: Path, logits: np.ndarray, config: MoTConfig, bad: Mapping[int, str]) -> None:
    """
    A line of JSON for each row of the split, in its order: `row`, its number from 0, and the answer; or `error`, why
    the row could not be read.
    """
    lines = {row: {"error": reason} for row, reason in bad.items()}
    lines |= dict(zip(row_numbers(len(logits), bad), answers(logits, config), strict=True))
    if not np.isfinite(logits).all():
        raise ValueError(
            f"{math.prod(logits.shape)} logits were computed and some are NaN or infinite: the model has diverged."
        )
    write_whole(
        path, "".join(json.dumps({"row": row} | lines[row], ensure_ascii=False) + "\n" for row in sorted(lines))
    )
    print(f"{len(lines):,} predictions are in {path}." + (f" {len(bad)} rows could not be read." if bad else ""))
