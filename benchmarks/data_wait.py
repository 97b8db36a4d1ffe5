# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Waiting for data

How much of a training run passes in waiting: `run_finetune.py` at its default size, tiny, on digits3m (spoken digits
with their pictures and transcripts) for two epochs with two workers, with a clock around the loader of its batches.
*Waiting* is the time for which the training loop stands still to get its next batch, the start of each epoch's workers
included; *training* is all of `trainer.train()`. *Preparing* is what comes before: reading and checking the data, and
encoding the rows that no earlier run has left in the cache; the first run starts with an empty one.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import datasets

import run_finetune
from mixture_of_transformers.training.trainer import MoTTrainer

from .measure import NotMeasured, Row, Table

DATASET = Path("../shared/data/digits3m")
BAR = 0.15  # of the time of training
OPTIONS = ["--num_train_epochs", "2", "--dataloader_num_workers", "2", "--disable_tqdm", "true"]


class TimedLoader:
    """A data loader that adds up the seconds in which its reader waits."""

    def __init__(self, loader):
        self.loader, self.waiting = loader, 0.0

    def __getattr__(self, name: str):
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self):
        batches, batch = iter(self.loader), True
        while batch is not None:
            before = time.perf_counter()
            batch = next(batches, None)
            self.waiting += time.perf_counter() - before
            if batch is not None:
                yield batch


class TimedTrainer(MoTTrainer):
    """A trainer that leaves its clocks in `seconds`."""

    seconds: dict[str, float] = {}

    def get_train_dataloader(self):
        self.timed_loader = TimedLoader(super().get_train_dataloader())
        return self.timed_loader

    def train(self, *args, **kwargs):
        start = time.perf_counter()
        output = super().train(*args, **kwargs)
        self.seconds |= {"start": start, "training": time.perf_counter() - start, "waiting": self.timed_loader.waiting}
        return output


def measure(arguments: list[str]) -> dict[str, float]:
    """Seconds of one run of `run_finetune.py` with these arguments: `preparing`, `training`, and of that `waiting`."""
    original, run_finetune.MoTTrainer = run_finetune.MoTTrainer, TimedTrainer
    begin = time.perf_counter()
    try:
        run_finetune.main(arguments)
    finally:
        run_finetune.MoTTrainer = original
    seconds = dict(TimedTrainer.seconds)
    return {"preparing": seconds.pop("start") - begin} | seconds


def row(name: str, seconds: dict[str, float]) -> Row:
    share = seconds["waiting"] / seconds["training"]
    details = {name: f"{value:.1f} s" for name, value in seconds.items()}
    return Row(name, share, share, share, BAR, details=details)


def tables(seconds: float) -> Iterator[Table]:
    if not DATASET.is_dir():
        raise NotMeasured(f"the dataset is not at `{DATASET}`")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder, "cache")
        for name in ("first run", "second run, from the cache"):
            arguments = ["--dataset_name", str(DATASET), "--output_dir", f"{folder}/{len(rows)}", *OPTIONS]
            rows.append(row(name, measure(arguments)))
    yield Table("Waiting / training, 2 threads and 2 workers", rows)
