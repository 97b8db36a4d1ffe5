# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Write one page with what a run is worth, to be sent on.

    mot report outputs/clips
    mot report outputs/clips --dataset_name user/others --split test --output clips.html

The page is one file of HTML that needs no other and asks no one for anything: the figures with their intervals, the
most confident mistakes with what the rows hold, what each modality contributed, the curves of the training, the data,
the model, and the commands. The data are read as `mot evaluate` reads them. The page holds rows of the data: send it
to those who may see these.
"""

import json
import platform
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainerState
from transformers.utils import logging

import mixture_of_transformers
from mixture_of_transformers.attribution_mot import modality_contributions, model_inputs
from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.secrets import place_name, without_places
from mixture_of_transformers.evaluation.intervals import bootstrap_intervals
from mixture_of_transformers.evaluation.report_charts import thinned
from mixture_of_transformers.evaluation.report_facts import Facts, Mistake, Shares
from mixture_of_transformers.evaluation.report_page import page
from mixture_of_transformers.evaluation.report_rows import cells_of_row
from mixture_of_transformers.finetune.limits import BAD_ROWS, bad_rows, row_numbers
from mixture_of_transformers.finetune.record import describe_machine
from mixture_of_transformers.finetune.results import REPORT, RESULTS, split_to_evaluate
from mixture_of_transformers.finetune.results import evaluate as evaluate_task
from mixture_of_transformers.finetune.rows import reading_of
from mixture_of_transformers.finetune.samples import read_samples
from mixture_of_transformers.head_classification_mot import is_regression, scores_of
from mixture_of_transformers.processing_mot import to_model
from mixture_of_transformers.serving.evaluate import BAD_ROWS as BAD_ROWS_EVALUATED
from mixture_of_transformers.serving.evaluate import (
    EMBEDDED,
    Opened,
    RowsArguments,
    check_data,
    open_checkpoint,
    parser_of,
)
from mixture_of_transformers.training.evaluation import SubsetAnswers, answer_subsets, rank_dataset, subset_metrics
from mixture_of_transformers.training.metrics import Ranking
from mixture_of_transformers.training.run_folder import STATE, write_whole
from mixture_of_transformers.training.trainer import MoTTrainer

logger = logging.get_logger(__name__)

ENDINGS = (".html", ".htm")
MOST_MISTAKES = 8
MOST_EXPLAINED = 200  # rows whose contributions are computed: for each, the joint part runs once for each subset
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "numpy")
NO_DATA = "The data could not be read when this page was made."


@dataclass
class ReportArguments(RowsArguments):
    """What to report on."""

    _argument_group_name = "the report"

    output: str | None = field(
        default=None,
        metadata={"help": "The file to write; report.html in the folder of --output_dir if not given."},
    )
    output_dir: str | None = field(
        default=None,
        metadata={"help": "The folder for the page and the list of bad rows; the checkpoint's own if not given."},
    )


def report(arguments: list[str]) -> Path:
    """Write the page of a checkpoint; returns its place."""
    parser = parser_of(ReportArguments, "mot report", "CHECKPOINT", __doc__)
    opened = open_checkpoint(parser, arguments, needs_data=False)
    path = Path(opened.options.output or opened.out / REPORT)
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"--output {path} is to be a page: name a file that ends with {' or '.join(ENDINGS)}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page(gather(opened, ["mot", "report", *arguments])))
    print(f"The report is in {path} ({path.stat().st_size / 1e6:.1f} MB), one file that needs no other.")
    print("It holds rows of the data: send it to those who may see these.")
    return path


def gather(opened: Opened, command: Sequence[str]) -> Facts:
    """All that the page of a checkpoint tells."""
    folder, trainer, record = opened.folder, opened.trainer, opened.record
    problem, found = None, {}
    try:
        check_data(opened.data, opened.trained)
        splits, encode = opened.rows()
    except OSError as error:
        if not opened.is_own:
            raise
        logger.warning(f"What needs the data is left out: {error}")
        problem, results = NO_DATA, results_of_run(folder)
    else:
        split = split_to_evaluate(splits, record.data)
        results = {"task": record.data["task"], "split": split}
        found = evaluate(opened, split, splits[split], encode(split))
        results |= found.pop("results")
        found["unread"] = bad_rows(opened.out / BAD_ROWS_EVALUATED, split)
    state = TrainerState.load_from_json(str(folder / STATE)) if (folder / STATE).is_file() else TrainerState()
    own = place_name(opened.data.dataset_name or EMBEDDED)
    return Facts(
        record=opened.trained or record,
        config=trainer.head.config,
        architecture=type(trainer.head).__name__,
        parameters=sum(parameter.numel() for parameter in trainer.head.parameters()),
        evaluated=(results or {}).get("dataset", record.run.dataset if opened.is_own else own),
        results=results,
        problem=problem,
        folder=folder,
        bad={split: bad_rows(folder / BAD_ROWS, split) for split in record.run.rows},
        log=state.log_history,
        best_step=state.best_global_step if state.best_model_checkpoint else None,
        samples=read_samples(folder),
        command=shlex.join(without_places([*command])),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=describe_machine(),
        versions={
            "mixture-of-transformers": mixture_of_transformers.__version__,
            "Python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        **found,
    )


def results_of_run(folder: Path) -> dict | None:
    """What the run has found out itself; None where it left nothing."""
    file = folder / RESULTS
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


# ---------------------------------------------------------------------------------------------------------------------
# What needs the rows
# ---------------------------------------------------------------------------------------------------------------------


def evaluate(opened: Opened, name: str, split: Dataset, encoded) -> dict:
    """
    The facts that the rows of a split tell, by their names among `Facts`, and the section of the results.

    Args:
        encoded: the rows of the split as tensors, in their order.
    """
    trainer, task, start = opened.trainer, opened.record.data["task"], time.perf_counter()
    if trainer.retrieves:
        rankings = rank_dataset(trainer, encoded)
        seconds = time.perf_counter() - start
        return {
            "results": {"pairs": {pair: ranking.metrics() for pair, ranking in rankings.items()}},
            "intervals": intervals_of_search(rankings),
            "rows_per_second": len(encoded) / seconds,
        }
    if not trainer.takes_subsets:
        results = evaluate_task(trainer, encoded, task)
        return {"results": results, "rows_per_second": len(encoded) / (time.perf_counter() - start)}
    answers = answer_subsets(trainer, encoded)
    seconds = time.perf_counter() - start
    figures = {subset: subset_metrics(trainer, *answers.of(subset)) for subset in answers.subsets}
    wrong, degrees = wrong_answers(answers, trainer.head.config)
    labelled = np.flatnonzero(answers.labelled())
    order = np.flatnonzero(wrong)[np.argsort(-degrees[wrong], kind="stable")][:MOST_MISTAKES].tolist()
    return {
        "results": {"subsets": figures},
        "answers": answers,
        "intervals": intervals_of(trainer, answers),
        "mistakes": mistakes_of(opened, name, split, encoded, answers, order, degrees),
        "shares": shares_of(trainer, encoded, thinned(labelled.tolist(), MOST_EXPLAINED), wrong),
        "rows_per_second": len(split) / seconds,
    }


def intervals_of(trainer: MoTTrainer, answers: SubsetAnswers) -> dict[str, dict[str, tuple[float, float]]]:
    """The intervals of each subset's figures, without those of subsets that no row has."""
    found = {}
    for subset in answers.subsets:
        logits, labels = answers.of(subset)
        if len(labels):
            found[subset] = without_rows(bootstrap_intervals(of_rows(trainer, logits, labels), len(labels)))
    return found


def intervals_of_search(rankings: Mapping[str, Ranking]) -> dict[str, dict[str, tuple[float, float]]]:
    """The intervals of each pair's figures on queries drawn anew, without those of pairs that no row has."""
    return {
        pair: without_rows(bootstrap_intervals(lambda queries, of=ranking: of.of(queries).metrics(), len(ranking)))
        for pair, ranking in rankings.items()
        if len(ranking)
    }


def without_rows(ends: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """All intervals but that of the number of rows, which is always the same."""
    return {figure: pair for figure, pair in ends.items() if figure != "rows"}


def of_rows(trainer: MoTTrainer, logits: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], dict[str, float]]:
    """The figures of the rows with such numbers."""
    return lambda rows: subset_metrics(trainer, logits[rows], labels[rows])


def wrong_answers(answers: SubsetAnswers, config: MoTConfig) -> tuple[np.ndarray, np.ndarray]:
    """
    Which rows with a label are answered wrongly from all that they have, and how sure or how far off each answer is:
    (N,) bool and (N,). Of numbers every answer is a little wrong.
    """
    logits, labels = answers.logits[:, -1], answers.labels
    scores = scores_of(torch.from_numpy(logits).double(), config).numpy()
    has_several = config.problem_type == "multi_label_classification"
    if not has_several and not is_regression(config):
        return answers.labelled() & (scores.argmax(axis=1) != labels.reshape(len(labels))), scores.max(axis=1)
    off = np.nan_to_num(np.abs(scores - labels.reshape(scores.shape)))  # (N, outputs)
    if has_several:
        off[off < 0.5] = 0
    return answers.labelled() & (off.max(axis=1) > 0), off.max(axis=1)


def mistakes_of(
    opened: Opened,
    name: str,
    split: Dataset,
    encoded,
    answers: SubsetAnswers,
    rows: list[int],
    degrees: np.ndarray,
) -> list[Mistake]:
    """These rows as the page shows them."""
    trainer, reading = opened.trainer, reading_of(opened.data)
    config, numbers = trainer.head.config, row_numbers(len(split), bad_rows(opened.out / BAD_ROWS_EVALUATED, name))
    shares = shares_of(trainer, encoded, rows)
    found = []
    for place, row in enumerate(rows):
        what = "off by" if opened.record.data["task"] == "regression" else "confidence"
        own = {} if shares is None else dict(zip(shares.modalities, shares.values[place].tolist()))
        found.append(
            Mistake(
                numbers[row],
                named(answers.logits[row, -1], config, is_label=False),
                named(answers.labels[row], config, is_label=True),
                f"{what} {degrees[row]:.3f}",
                cells_of_row(split[row], split.features, config, reading),
                {m: value for m, value in own.items() if shares.present[place][shares.modalities.index(m)]},
            )
        )
    return found


def named(answer: np.ndarray, config: MoTConfig, is_label: bool) -> str:
    """Logits (num_labels,) of a row, or its label, in words."""
    if is_regression(config):
        return ", ".join(f"{number:.3g}" for number in answer.reshape(-1))
    if config.problem_type == "multi_label_classification":
        chosen = np.flatnonzero(answer > (0.5 if is_label else 0))
        return ", ".join(config.id2label[i] for i in chosen.tolist()) or "none"
    return config.id2label[int(answer.reshape(-1)[0]) if is_label else int(answer.argmax())]


def shares_of(trainer: MoTTrainer, encoded, rows: list[int], wrong: np.ndarray | None = None) -> Shares | None:
    """
    What each modality contributed to the answers to these rows; None without rows, or without a choice.

    Args:
        wrong: (N,) which of all rows were answered wrongly.
    """
    model, size = trainer.head, trainer.args.per_device_eval_batch_size
    if not rows or len(model.config.modalities) < 2:
        return None
    found = []
    for start in range(0, len(rows), size):
        batch = model_inputs(trainer.data_collator([encoded[row] for row in rows[start : start + size]]))
        batch = {name: to_model(name, value, model) for name, value in batch.items()}
        with trainer.accelerator.autocast():
            found.append(modality_contributions(model, batch))
    has_classes = model.answers_with == "classes"
    return Shares(
        found[0].modalities,
        torch.cat([part.values for part in found]).cpu().numpy(),
        torch.cat([part.present for part in found]).cpu().numpy(),
        ~wrong[rows] if has_classes and wrong is not None else None,
        found[0].unit,
    )
