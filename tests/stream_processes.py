# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Streams whose files say that they are read, and several processes that train on one; run by test_shares.py."""

import json
import os
from collections import Counter
from datetime import timedelta
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from datasets import Features, IterableDataset, Value
from distributed_steps import free_port
from small_datasets import stream_of
from toy_trainers import model_of

from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import StreamedRows
from mixture_of_transformers.training.trainer import MoTTrainer

BATCH = 2


def read_files(files: list[tuple[str, int, int]], log: Path | None):
    """The rows of files, each of which has so many from a number on; each row that is read is noted."""
    for name, first, rows in files:
        for number in range(first, first + rows):
            if log is not None:
                with log_of(log, os.environ.get("RANK", 0)).open("a") as file:
                    file.write(f"{name}\n")
            yield {"text": str(number), "label": number % 3}


def uneven_stream(sizes: list[int], log: Path | None = None) -> RowStream:
    """Files of so many rows, the rows numbered through them as their texts."""
    firsts = [sum(sizes[:i]) for i in range(len(sizes))]
    files = [(f"file {i}", first, size) for i, (first, size) in enumerate(zip(firsts, sizes))]
    features = Features({"text": Value("string"), "label": Value("int64")})
    arguments = {"files": files, "log": log}
    stream = stream_of(IterableDataset.from_generator(read_files, features, arguments))
    log_of(log, os.environ.get("RANK", 0)).unlink(missing_ok=True)  # what was read to learn the labels
    return stream


def log_of(log: Path | None, rank: int | str) -> Path:
    return Path(f"{log}-{rank}")


def rows_read(log: Path, rank: int = 0) -> Counter:
    """file -> how many rows of it a process has read."""
    path = log_of(log, rank)
    return Counter(path.read_text().split("\n")[:-1]) if path.exists() else Counter()


class NumberedRows(StreamedRows):
    """Rows of text, which keep their number."""

    def __init__(self, stream: RowStream):
        super().__init__(stream, self.as_tensors)

    @staticmethod
    def as_tensors(row: dict) -> dict[str, torch.Tensor]:
        number = torch.tensor(int(row["text"]))
        return {"input_ids": number % 7 + torch.arange(1, 4), "labels": number % 3, "number": number}

    def finished(self, row, share, place):
        return row | {"epoch": torch.tensor(place.epoch)}


class NumberedCollator(MoTCollator):
    def __call__(self, rows):
        numbers = [(row["epoch"].item(), row["number"].item()) for row in rows]
        return super().__call__(rows) | {"numbers": numbers}


class RecordingTrainer(MoTTrainer):
    """Remembers (epoch, number) of each row that it trains on."""

    def training_step(self, model, inputs, *others):
        self.seen = [*getattr(self, "seen", []), *inputs.pop("numbers")]
        return super().training_step(model, inputs, *others)


def stream_trainer(folder: Path, stream: RowStream, **options) -> RecordingTrainer:
    defaults = {
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 100,
    }
    defaults |= {"per_device_train_batch_size": BATCH, "learning_rate": 1e-3}
    return RecordingTrainer(
        model_of(),
        MoTTrainingArguments(str(folder), **defaults | options),
        NumberedCollator(),
        train_dataset=NumberedRows(stream),
    )


def work(rank: int, processes: int, port: int, call) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=120))
    call(rank)
    torch.distributed.destroy_process_group()


def in_processes(processes: int, call) -> None:
    """Calls a function with its rank in each of several processes that know of each other."""
    torch.multiprocessing.start_processes(work, (processes, free_port(), call), processes, start_method="fork")


def train_and_resume(folder: Path, sizes: list[int], steps: int, saved_every: int, buffer_size: int):
    """Each process trains on its share, and goes on from a checkpoint, and from one of the run that went on."""

    def call(rank: int) -> None:
        runs = {"whole": None, "resumed": f"whole/checkpoint-{saved_every}"}
        runs["resumed again"] = f"resumed/checkpoint-{2 * saved_every}"
        for name, checkpoint in runs.items():
            stream = uneven_stream(sizes).shuffle(0, buffer_size)
            options = {"save_strategy": "steps", "save_steps": saved_every, "max_steps": steps}
            trainer = stream_trainer(folder / name, stream, **options)
            trainer.train(checkpoint and str(folder / checkpoint))
            (folder / f"{name}-{rank}.json").write_text(json.dumps(trainer.seen))
            if rank == 0:
                torch.save(trainer.model.state_dict(), folder / f"{name}.pt")

    return call
