# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""One checkout's side of `epoch.py`: epochs of `run_finetune.py`, each with the processor time of its parts.

    python -m benchmarks.epoch_worker FOLDER [options of run_finetune.py]

For each line `epoch` that it reads it encodes the rows and trains an epoch, and writes one line, the seconds of each
part as JSON; for `products`, what share of forward and backward the matrix products take. It works in FOLDER. The
package is the one that Python finds first.
"""

import contextlib
import functools
import io
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import datasets
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback, set_seed

from mixture_of_transformers import MoTFeatureExtractor, modality_audio_mot, modality_image_mot, run_finetune
from mixture_of_transformers.finetune.options import parse
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.feature_cache import CachedDataset
from mixture_of_transformers.training.trainer import MoTTrainer

REST, ENCODING = "the rest", "encoding: the rest"
PARTS = {
    "encoding: reading and decoding files": [(modality_image_mot, "load_image"), (modality_audio_mot, "load_audio")],
    "encoding: mel": [(MoTFeatureExtractor, "__call__")],
    ENCODING: [],  # the processor, and writing the rows
    "loader: reading encoded rows": [(CachedDataset, "__getitems__")],
    "loader: augmentation of pictures": [(modality_image_mot.ImageAugmentation, "__call__")],
    "loader: augmentation of sound": [(modality_audio_mot.AudioAugmentation, "__call__")],
    "loader: collation": [(MoTCollator, "__call__")],
    "forward": [(MoTTrainer, "compute_loss")],
    "backward": [(Accelerator, "backward")],
    "optimizer": [
        (AcceleratedOptimizer, "step"),
        (AcceleratedOptimizer, "zero_grad"),
        (Accelerator, "clip_grad_norm_"),
    ],
    REST: [],
}
PRODUCTS = {
    "linear layers": ("aten::mm", "aten::addmm", "aten::bmm"),
    "attention": (
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "convolutions": ("aten::mkldnn_convolution", "aten::convolution_backward"),
}
PROFILED_STEPS = 3


class Clock:
    """The processor time of parts; one that calls another stands still while that runs."""

    def __init__(self):
        self.seconds: Counter[str] = Counter()
        self.running: list[str] = []
        self.since = 0.0

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.count()
        self.running.append(name)
        try:
            yield
        finally:
            self.count()
            self.running.pop()

    def count(self) -> None:
        now = time.process_time()
        if self.running:
            self.seconds[self.running[-1]] += now - self.since
        self.since = now

    def watch(self, owner, name: str, part: str) -> None:
        """Has a function or a method count as a part, within what is timed."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args, **kwargs):
            if not self.running:
                return function(*args, **kwargs)
            with self.part(part):
                return function(*args, **kwargs)

        setattr(owner, name, timed)


class TimedTraining(TrainerCallback):
    """Times the steps alone, without what a run does once."""

    def __init__(self, clock: Clock):
        self.clock, self.steps = clock, contextlib.ExitStack()

    def on_train_begin(self, *args, **kwargs):
        self.steps.enter_context(self.clock.part(REST))

    def on_train_end(self, *args, **kwargs):
        self.steps.close()


class Recipe:
    """
    A run of `run_finetune.py`, ready to train.

    Args:
        folder: of what it writes.
        options: those of `run_finetune.py`.
    """

    def __init__(self, folder: Path, options: list[str]):
        self.clock = Clock()
        for part, functions in PARTS.items():
            for owner, name in functions:
                self.clock.watch(owner, name, part)
        self.folder = folder
        datasets.config.HF_DATASETS_CACHE = folder / "cache"
        arguments = [
            "--output_dir",
            str(folder / "run"),
            "--num_train_epochs",
            "1",
            "--disable_tqdm",
            "true",
            *options,
        ]
        data, model, self.training = parse(arguments, "")
        set_seed(self.training.seed)
        self.prepared = run_finetune.prepare(data, model, self.training, None, folder / "bad_rows.jsonl")

    def trainer(self) -> MoTTrainer:
        """A trainer of rows that it encodes anew."""
        datasets.config.HF_DATASETS_CACHE = Path(tempfile.mkdtemp(dir=self.folder))
        with self.clock.part(ENCODING):
            rows = self.prepared.encode("train")
        return MoTTrainer(
            model=self.prepared.model,
            args=self.training,
            train_dataset=rows,
            processing_class=self.prepared.processor,
            callbacks=[TimedTraining(self.clock)],
            **self.prepared.collators,
        )

    def epoch(self) -> dict[str, float]:
        """Seconds of each part, of encoding all rows and training on each once."""
        self.clock.seconds.clear()
        self.trainer().train()
        return {part: self.clock.seconds[part] for part in PARTS}

    def products(self) -> dict[str, float]:
        """The share of forward and backward that each kind of matrix product takes, by torch's profiler."""
        trainer = self.trainer()
        model, batches = trainer.model.train(), list(islice(trainer.get_train_dataloader(), PROFILED_STEPS))
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            for batch in batches:
                trainer.compute_loss(model, batch).backward()
        times = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
        return {
            kind: sum(times.get(name, 0) for name in names) / sum(times.values()) for kind, names in PRODUCTS.items()
        }


def main() -> None:
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    with contextlib.redirect_stdout(io.StringIO()):
        recipe = Recipe(Path(sys.argv[1]), sys.argv[2:])
    answers: dict[str, Callable] = {"epoch": recipe.epoch, "products": recipe.products}
    for line in sys.stdin:
        with contextlib.redirect_stdout(io.StringIO()):
            answer = answers[line.strip()]()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
