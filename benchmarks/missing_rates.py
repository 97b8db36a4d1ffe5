# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Modalities that are missing, in training and in testing, crossed: what one recipe learns from the cells that are
left.

    python -m benchmarks.missing_rates                           every run, on the embedded digits
    python -m benchmarks.missing_rates --arms alike-0 alike-0.6
    python -m benchmarks.missing_rates --steps 410 --options="--per_device_train_batch_size 32"
    python -m benchmarks.missing_rates --page                    only docs/missing.md and its picture

Cells are taken away from complete training rows, at a rate alike for all modalities (`alike-0.6`) or unequal
(`rare-image`: 90 % of the pictures, 10 % of the others), and the recipe of `run_finetune.py` learns from the files
that are left; in `balanced-image` rows with pictures are drawn more often. `alone-image` learns the pictures that are
left in `rare-image` and nothing else, in as many steps; `alone-short-image` in a tenth of them, which is as many
epochs; and `balanced-long-image` takes twice the steps, in which it sees pictures about as often. A run leaves a
checkpoint and a file in `--output_dir`, and what has its file is not run again: an interrupted command goes on. The
page is written from these files by `benchmarks/missing_rates_page.py`.
"""

import argparse
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict

from mixture_of_transformers import run_finetune
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.evaluation.missing import take_away
from mixture_of_transformers.finetune.results import RESULTS
from mixture_of_transformers.serving.evaluate import RowsArguments, open_checkpoint, parser_of
from mixture_of_transformers.training.evaluation import answer_subsets

from .miniature import check_settings
from .missing_rates_page import SETTINGS, write_page
from .page import ROOT, conditions

MODALITIES = ("text", "image", "audio")
ALIKE = (0.0, 0.3, 0.6, 0.9)
OFTEN, SELDOM = 0.9, 0.1  # how often the rare modality is missing, and each of the others
SEEDS = (0,)
STEPS = 525  # of `run_finetune.py` on the embedded digits, 25 epochs
BALANCED = ("--train_sampling_strategy", "balance_modalities")
HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class Arm:
    """
    What a run trains on.

    Args:
        rates: modality -> the share of the training rows that it is taken away from.
        alone: the one modality that is learnt, None for all.
        share: of the steps, how many it takes, or how many times as many.
        options: of the recipe, in which it differs from the other arms.
    """

    name: str
    rates: Mapping[str, float]
    alone: str | None = None
    share: float = 1.0
    options: tuple[str, ...] = ()


def arms() -> dict[str, Arm]:
    """Every arm by its name."""
    found = [Arm(f"alike-{rate:g}", dict.fromkeys(MODALITIES, rate)) for rate in ALIKE]
    for rare in MODALITIES:
        rates = {modality: OFTEN if modality == rare else SELDOM for modality in MODALITIES}
        found += [Arm(f"rare-{rare}", rates), Arm(f"balanced-{rare}", rates, options=BALANCED)]
        found += [Arm(f"balanced-long-{rare}", rates, share=2, options=BALANCED)]
        found += [Arm(f"alone-{rare}", rates, rare)]
        found += [Arm(f"alone-short-{rare}", rates, rare, share=1 - OFTEN)]
    return {arm.name: arm for arm in found}


def splits_of(arm: Arm, seed: int) -> DatasetDict:
    """The embedded digits, whose training rows lack what the arm takes away from them; the other rows are complete."""
    splits = load_digits_dataset(missing_rate=0.0)
    splits["train"] = take_away(splits["train"], arm.rates, seed)
    if arm.alone is None:
        return splits
    return DatasetDict({name: only(split, arm.alone) for name, split in splits.items()})


def only(split: Dataset, modality: str) -> Dataset:
    """The rows that have a modality, with nothing else."""
    has = split.with_format("arrow")[modality].is_valid().to_numpy()
    return split.select(np.flatnonzero(has)).select_columns([modality, "label"])


def train(run: "Run") -> None:
    """The recipe on the files of an arm, as a user would call it."""
    data = run.folder / f"{run.name}-data"
    data.mkdir(parents=True, exist_ok=True)
    for name, split in splits_of(run.arm, run.seed).items():
        split.to_parquet(data / f"{name}.parquet")
    options = ["--dataset_name", data, "--output_dir", run.checkpoint, "--seed", run.seed]
    options += ["--max_steps", round(run.arm.share * run.steps)]
    run_finetune.main(
        [*map(str, options), "--audio_kind", "sound", "--disable_tqdm", "true", *run.arm.options, *run.options]
    )


def evaluate(folder: Path, split: str) -> dict:
    """Whether a checkpoint is right in each complete row of a split, from each subset of its modalities."""
    parser = parser_of(RowsArguments, "missing_rates", "CHECKPOINT", None)
    opened = open_checkpoint(parser, [str(folder), "--split", split])
    _, encode = opened.rows()
    answers = answer_subsets(opened.trainer, encode(split))
    right = answers.logits.argmax(axis=-1) == answers.labels[:, None]
    return {subset: right[:, place].tolist() for place, subset in enumerate(answers.subsets)}


@dataclass(frozen=True)
class Run:
    """An arm with a seed, which leaves a checkpoint and a file in `folder`; `options` are those of the recipe."""

    folder: Path
    steps: int
    options: tuple[str, ...]
    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        return f"{self.arm.name}-{self.seed}"

    @property
    def checkpoint(self) -> Path:
        return self.folder / self.name

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.json"


def keep(run: Run) -> None:
    """Train and evaluate, as far as the files of the run do not show that it is done."""
    if run.file.exists():
        return
    torch.set_num_threads(1)
    if not (run.checkpoint / RESULTS).exists():
        train(run)
    record = json.loads((run.checkpoint / "run.json").read_text(encoding="utf-8"))["run"]
    result = {"arm": run.arm.name, "rates": dict(run.arm.rates), "alone": run.arm.alone, "seed": run.seed}
    result |= {"date": date.today().isoformat(), **conditions(), "rows": record["rows"], "seconds": record["seconds"]}
    result |= {split: evaluate(run.checkpoint, split) for split in HELD_OUT}
    run.file.with_suffix(".part").write_text(json.dumps(result), encoding="utf-8")
    run.file.with_suffix(".part").rename(run.file)
    accuracy = ", ".join(f"{subset} {np.mean(right):.3f}" for subset, right in result["test"].items())
    print(f"{run.name}: {accuracy}; {result['seconds']:.0f} s", flush=True)


def main(options: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.missing_rates",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arms", nargs="+", choices=arms(), default=list(arms()))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--options", default="", help="further options of run_finetune.py, as one text")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "outputs" / "missing_rates")
    parser.add_argument("--page", action="store_true", help="only write docs/missing.md of what is there")
    arguments = parser.parse_args(options)
    if arguments.page:
        return write_page(arguments.output_dir, arms())
    folder, steps = arguments.output_dir, arguments.steps
    folder.mkdir(parents=True, exist_ok=True)
    check_settings(folder / SETTINGS, {"steps": steps, "options": arguments.options})
    for seed in arguments.seeds:
        for name in arguments.arms:
            keep(Run(folder, steps, tuple(shlex.split(arguments.options)), arms()[name], seed))


if __name__ == "__main__":
    main()
