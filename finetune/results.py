# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a run finds out once its checkpoint is safe, and `mot evaluate` again: results, predictions and the card."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from datasets import Dataset
from transformers.utils import logging

from mixture_of_transformers.data.secrets import place_name
from mixture_of_transformers.finetune.card import write_card
from mixture_of_transformers.finetune.limits import bad_rows
from mixture_of_transformers.finetune.options import DataArguments, needs_labels
from mixture_of_transformers.finetune.predictions import PREDICTIONS, predict, write_predictions
from mixture_of_transformers.finetune.record import Record
from mixture_of_transformers.finetune.samples import sample_lines, write_samples
from mixture_of_transformers.finetune.table import print_table
from mixture_of_transformers.finetune.usage import base_of, examples_for, usage_lines
from mixture_of_transformers.training.document_rows import EveryDocumentDataset
from mixture_of_transformers.training.metrics import compute_metrics, sentiment_metrics
from mixture_of_transformers.training.run_folder import write_whole
from mixture_of_transformers.training.trainer import MoTTrainer

logger = logging.get_logger(__name__)

RESULTS = "results.json"
REPORT = "report.html"  # which `mot report` writes


def build_metrics(data: DataArguments, problem_type: str | None) -> Callable | None:
    """What the trainer computes from logits and labels; None where there is neither."""
    if not needs_labels(data.task):
        return None
    if data.sentiment_metrics:
        return lambda p: sentiment_metrics(p.predictions[:, 0], p.label_ids)
    return lambda p: compute_metrics(p.predictions, p.label_ids, problem_type)


def evaluate(trainer: MoTTrainer, dataset, task: str) -> dict:
    """The part of the results that the table shows."""
    if task == "retrieval":
        return {"pairs": trainer.evaluate_retrieval(dataset)}
    if task == "generation":
        return {"targets": trainer.evaluate_targets(dataset)}
    if task == "pretraining":
        return {"terms": trainer.evaluate_terms(dataset)}
    return {"subsets": trainer.evaluate_subsets(dataset)}


def is_unlabelled(split: Dataset) -> bool:
    return "label" not in split.column_names or all(label is None for label in split["label"])


def split_to_evaluate(splits: Mapping[str, Dataset], data: dict) -> str:
    """The split of the final table: the one asked for, or validation where that is not there or has no labels."""
    name = data["evaluate_on"]
    if name in splits and not (needs_labels(data["task"]) and is_unlabelled(splits[name])):
        return name
    why = "has no labels" if name in splits else "is left out"
    logger.warning(f"The {name} split {why}: the results are those of the validation split.")
    return "validation"


def finish(
    trainer: MoTTrainer,
    splits: Mapping[str, Dataset],
    encode: Callable,
    record: Record,
    row: dict | None = None,
    report_of_bad_rows: Path | None = None,
    name: str = RESULTS,
    dataset: str | None = None,
) -> dict:
    """
    Evaluate a checkpoint, answer the rows of a test split without labels, and write all that into the trainer's
    folder.

    Args:
        splits: those that may be evaluated.
        encode: gives the encoded rows of a split, by its name.
        row: of the embedded data, an example for the card.
        report_of_bad_rows: what `drop_bad_examples` wrote.
        name: of the file of the results; there is a card for results.json alone.
        dataset: what is evaluated, where that is not the run's own.

    Returns:
        The results.
    """
    folder, data = Path(trainer.args.output_dir).resolve(), record.data
    split, is_main = split_to_evaluate(splits, data), trainer.is_world_process_zero()
    results = {"task": data["task"], "split": split, "seed": record.settings["seed"], "seconds": record.run.seconds}
    results |= {} if dataset is None else {"dataset": dataset}
    results |= evaluate(trainer, encode(split), data["task"])
    samples = samples_of(trainer, encode(split), record) if is_main else []
    if is_main:
        report(trainer, folder, results, record, row, name, samples)
    if needs_labels(data["task"]) and "test" in splits and is_unlabelled(splits["test"]):
        logits = predict(trainer, encode("test"))
        if is_main:
            bad = bad_rows(report_of_bad_rows, "test")
            write_predictions(folder / PREDICTIONS, logits, trainer.model.config, bad)
    return results


def samples_of(trainer: MoTTrainer, documents: EveryDocumentDataset, record: Record) -> list[dict[str, str]]:
    """What a model that generates makes of some documents; its weights must be whole on this process."""
    number = record.data.get("samples") or 0
    is_whole = not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)
    if record.data["task"] != "generation" or not number or not is_whole:
        return []
    folder, seed = Path(trainer.args.output_dir).resolve(), record.settings["seed"]
    return write_samples(trainer.model.eval(), trainer.processing_class, documents, folder, number, seed)


def report(
    trainer: MoTTrainer,
    folder: Path,
    results: dict,
    record: Record,
    row: dict | None = None,
    name: str = RESULTS,
    samples: Sequence[dict[str, str]] = (),
) -> None:
    """
    Write the results into a file of the folder, print them, and, where that is results.json, write the card.

    Args:
        row: of the embedded data, an example for the card.
        samples: what the model has generated.
    """
    write_whole(folder / name, json.dumps(results, indent=2) + "\n")
    print_table(results)
    if samples:
        print("\n".join(["\nSamples:", *sample_lines(samples)]))
    if name != RESULTS:
        return
    example = examples_for(folder, record, row)
    own_files = {name: value.removeprefix(f"{folder}/") for name, value in example.items()}
    config = trainer.model.config
    base = base_of(trainer)
    base = place_name(base) if base and Path(base).exists() else base  # the card may be shared
    usage = usage_lines(record.data["task"], record.run.name, config, own_files, base)
    parameters = sum(parameter.numel() for parameter in trainer.head.parameters())
    write_card(folder, results, usage, record.run, config, parameters, results.get("dataset"), samples)
