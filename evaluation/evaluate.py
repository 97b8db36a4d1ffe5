# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Evaluate a checkpoint.

    mot evaluate outputs/clips
    mot evaluate outputs/clips --dataset_name user/others --split test
    mot evaluate outputs/clips --calibrate

The data are read as `run_finetune.py` reads them. The folder of a run remembers what the run was given, its data among
that; this holds wherever an option is not given. Labels are matched to the checkpoint's classes by their names.
"""

import copy
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from transformers import EvalPrediction
from transformers.utils import CONFIG_NAME

from mixture_of_transformers.data.secrets import place_name
from mixture_of_transformers.evaluation.calibration import fit_temperature, reliability
from mixture_of_transformers.finetune.results import RESULTS, finish, split_to_evaluate
from mixture_of_transformers.finetune.saving import merge_adapter
from mixture_of_transformers.finetune.usage import example_row, print_usage
from mixture_of_transformers.serving.evaluate import (
    BAD_ROWS,
    EMBEDDED,
    ROLES,
    Opened,
    RowsArguments,
    open_checkpoint,
    parser_of,
    rows_to_evaluate,
)
from mixture_of_transformers.training.command import peek
from mixture_of_transformers.training.continuation import labels_of
from mixture_of_transformers.training.evaluation import answer_subsets
from mixture_of_transformers.training.run_folder import write_whole
from mixture_of_transformers.training.trainer import MoTTrainer

HELD_OUT, BAD_HELD_OUT = "validation", "bad_rows_calibration.jsonl"


@dataclass
class EvaluateArguments(RowsArguments):
    """What to evaluate."""

    _argument_group_name = "the evaluation"

    merge_lora: bool = field(
        default=False, metadata={"help": "First save the model with its adapter merged, in place of the adapter."}
    )
    calibrate: bool = field(
        default=False,
        metadata={
            "help": "Fit a temperature to the validation split, by which a classifier's probabilities say how often "
            "it is right, and write it into the checkpoint's config; the results are of another split, with the "
            "expected calibration error before and after."
        },
    )


def evaluate(arguments: list[str]) -> dict:
    """Evaluate a checkpoint and write results.json and the card; returns the results."""
    parser = parser_of(EvaluateArguments, "mot evaluate", "CHECKPOINT", __doc__)
    opened = open_checkpoint(parser, arguments)
    trainer, data, out, record = opened.trainer, opened.data, opened.out, opened.record
    if opened.options.calibrate:
        check_can_be_calibrated(opened, peek(parser, arguments).checkpoint)
    if opened.options.merge_lora:
        if trainer.model is trainer.head:
            raise ValueError(f"{opened.folder} is no adapter: leave out --merge_lora.")
        merge_adapter(trainer, record)
    splits, encode = opened.rows()
    if opened.options.calibrate:
        calibrate(opened, split_to_evaluate(splits, record.data))
    row, evaluated = example_row(data, splits), place_name(data.dataset_name or EMBEDDED)
    file = results_file(out, evaluated, data.evaluate_on) if opened.is_other else RESULTS
    found = finish(trainer, splits, encode, record, row, out / BAD_ROWS, file, None if opened.is_own else evaluated)
    print_usage(trainer, out.resolve(), record, row)
    return found


def results_file(folder: Path, dataset: str, split: str) -> str:
    """The file for the results on other data than the run's own, of which results.json speaks if it is there."""
    return f"results-{dataset}-{split}.json" if (folder / RESULTS).exists() else RESULTS


# ---------------------------------------------------------------------------------------------------------------------
# Calibration
# ---------------------------------------------------------------------------------------------------------------------


def check_can_be_calibrated(opened: Opened, name: str) -> None:
    """
    Args:
        name: of the checkpoint, as it was given.

    Raises:
        ValueError: the checkpoint does not choose one class among several, or lies in no folder of the user's.
    """
    task = opened.data.task
    kind = labels_of(opened.trainer.head.config).problem_type if task == "classification" else task
    if kind != "single_label_classification":
        raise ValueError(
            f"--calibrate is for checkpoints that choose one class among several, and {name} is for {kind}: leave it "
            "out."
        )
    if not Path(name).is_dir():
        raise ValueError(
            f"--calibrate writes into the config of a checkpoint, and {name} is on the Hub: bring it into a folder by "
            f"`hf download {name} --local-dir FOLDER`, and evaluate that."
        )


def calibrate(opened: Opened, reported: str) -> None:
    """
    Fit the temperature of a checkpoint on its validation split, whose rows count once for each subset of the
    modalities that they have whole; write it into the config; and have the trainer measure the expected calibration
    error with it and with the one before.

    Args:
        reported: the split of the results, which has to be another.

    Raises:
        ValueError: it may be the same one, or the model is right in every answer.
    """
    trainer, config = opened.trainer, opened.trainer.head.config
    if reported == HELD_OUT or (opened.is_own and reported not in ROLES):
        raise ValueError(
            "--calibrate fits a temperature to the validation split, whose results would flatter it, and "
            f"{reported!r} may be the same rows: name another split with labels as the run took it, such as --split "
            "test."
        )
    before, config.logit_temperature = config.logit_temperature, 1.0
    logits, labels = held_out_answers(opened)
    right = logits.argmax(axis=1) == labels
    if right.all():
        raise ValueError(
            f"The model is right in all of its {len(right):,} answers to the validation split, which say nothing of "
            "how sure it may be: leave out --calibrate, or bring more rows."
        )
    config.logit_temperature = fit_temperature(logits, labels)
    trainer.compute_metrics = with_calibration_errors(trainer, config.logit_temperature / before)
    if trainer.is_world_process_zero():
        file = (opened.out if opened.options.merge_lora else opened.folder) / CONFIG_NAME
        fields = json.loads(file.read_text(encoding="utf-8")) | {"logit_temperature": config.logit_temperature}
        write_whole(file, json.dumps(fields, indent=2, sort_keys=True) + "\n")
        print(
            f"The temperature of the logits is {config.logit_temperature:.4g}, by {len(right):,} answers to rows of "
            f"the validation split; it is in {file}."
        )


def held_out_answers(opened: Opened) -> tuple[np.ndarray, np.ndarray]:
    """The logits (N, num_labels) and labels (N,) of the validation split, of all subsets in one."""
    data, options = copy.copy(opened.data), replace(opened.options, split=HELD_OUT)
    bad = opened.out / BAD_HELD_OUT
    _, encode = rows_to_evaluate(
        data, opened.trainer.head.config, options, opened.is_own, bad, opened.trained, opened.trainer
    )
    answers = answer_subsets(opened.trainer, encode(HELD_OUT))
    logits, labels = zip(*map(answers.of, answers.subsets))
    return np.concatenate(logits), np.concatenate(labels)


def with_calibration_errors(trainer: MoTTrainer, ratio: float):
    """
    The trainer's metrics, and the expected calibration error now and before.

    Args:
        ratio: of the temperature to the one before.
    """
    compute = trainer.compute_metrics

    def metrics(answers: EvalPrediction) -> dict[str, float]:
        logits, labels = answers.predictions, answers.label_ids
        return compute(answers) | {
            "calibration_error_before": reliability(logits * ratio, labels).expected_calibration_error,
            "calibration_error": reliability(logits, labels).expected_calibration_error,
        }

    return metrics
