# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""How much of a training run passes in waiting for data.

    python benchmarks/data_wait.py --dataset_name path/to/digits3m --num_train_epochs 2 --dataloader_num_workers 2

It is `run_finetune.py` with all its options and a clock around the training data loader. `waiting` is the time for which
the training loop stands still to get its next batch, the start of each epoch's workers included; `training` is all of
`trainer.train()`. `preparing` is what comes before: reading and checking the data, and encoding the rows that no earlier
run has left in the cache.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import run_finetune
from mot.training_mot import MoTTrainer

BAR = 0.15  # of the time of training


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


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure([*arguments, "--output_dir", folder])
    share = seconds["waiting"] / seconds["training"]
    print("\n" + ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items()))
    print(f"waiting / training = {share:.1%}, at most {BAR:.0%}: {'met' if share <= BAR else 'NOT met'}")


if __name__ == "__main__":
    main(sys.argv[1:])
