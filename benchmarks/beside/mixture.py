# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The MoT as `run_finetune.py` trains it, and the same model trained as others train theirs.

All have the sizes, the input and the schedule of the recipe. They differ in what a step learns, in what stands for a
modality that a row lacks, and in whether training changes pictures and sounds a little.
"""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Audio, ClassLabel, Features, Image, Value
from transformers import set_seed

from mixture_of_transformers.finetune.limits import encoding_limits
from mixture_of_transformers.finetune.options import parse
from mixture_of_transformers.finetune.predictions import predict
from mixture_of_transformers.head_classification_mot import scores_of
from mixture_of_transformers.modality_mot import Modality
from mixture_of_transformers.run_finetune import prepare
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EncodedDataset, modalities_of
from mixture_of_transformers.training.evaluation import embed
from mixture_of_transformers.training.trainer import MoTTrainer

from .classical import Answer
from .problems import SETTINGS, Problem, Row, labels_of, only_modality

TYPES = {"text": Value("string"), "image": Image(), "audio": Audio()}


def mot(problem: Problem, seed: int) -> Answer:
    """Every modality alone and a larger subset in the same step; what is absent is masked."""
    return train(problem, seed)


def no_augmentation(problem: Problem, seed: int) -> Answer:
    """As the other learners see the rows: pictures and sounds as they are."""
    return train(problem, seed, ("--image_augmentation", "false", "--audio_augmentation", "false"))


def modality_dropout(problem: Problem, seed: int) -> Answer:
    """The loss of what each row has, of which modalities are hidden at random; what is absent is masked."""
    return train(problem, seed, ("--objective", "given", "--modality_dropout", "0.5"))


def zero_filling(problem: Problem, seed: int) -> Answer:
    """The loss of whole rows, in which zeros that count as real stand for what is absent."""
    return train(problem, seed, ("--objective", "given"), ZeroFilling)


def chosen(problem: Problem, seed: int) -> Answer:
    """The one of several settings that is best on the validation rows; `chosen` of the answer is its name."""
    fitted = {name: train(dataclasses.replace(problem, **changes), seed) for name, changes in SETTINGS.items()}
    labels = labels_of(problem.validation)

    def loss(name: str) -> float:
        answers = fitted[name](problem.validation)
        if not problem.classes:
            return float(np.abs(answers - labels).mean())
        return float(-np.log(answers[np.arange(len(labels)), labels]).mean())

    best = min(fitted, key=loss)
    fitted[best].chosen = best
    return fitted[best]


def train(
    problem: Problem, seed: int, options: Sequence[str] = (), wrap: Callable[..., Callable] | None = None
) -> Answer:
    """
    Args:
        options: of `run_finetune.py`, beyond those of the problem.
        wrap: makes another collator of one, and of an encoded row that has all modalities.
    """
    with tempfile.TemporaryDirectory() as folder:
        write(problem, Path(folder) / "data")
        arguments = ["--dataset_name", f"{folder}/data", "--output_dir", f"{folder}/run", "--test_split", "none"]
        arguments += ["--seed", str(seed), "--num_train_epochs", str(problem.epochs), "--disable_tqdm", "true"]
        arguments += ["--learning_rate", str(problem.learning_rate), "--cache_gigabytes", "0"]
        if problem.searches:
            arguments += ["--task", "retrieval", "--label_column", "none"]
        arguments += ["--config_overrides", json.dumps(problem.network), *problem.options, *options]
        data, model_arguments, training = parse(arguments, "")
        set_seed(training.seed)
        prepared = prepare(data, model_arguments, training, None, Path(folder) / "bad_rows.jsonl")
        encoded, collators = prepared.encode("train"), prepared.collators
        if wrap is not None:
            whole = whole_row(encoded, len(problem.modalities))
            collators = {name: wrap(collator, whole) for name, collator in collators.items()}
        trainer = MoTTrainer(
            model=prepared.model,
            args=training,
            train_dataset=encoded,
            processing_class=prepared.processor,
            **collators,
            compute_metrics=prepared.compute_metrics,
        )
        trainer.train()
    config, processor = prepared.model.config, prepared.processor
    limits = encoding_limits(config, data, processor.feature_extractor)

    def answer(rows: list[Row]) -> np.ndarray:
        cells = [{name: cell for name, cell in row.items() if name != "label"} for row in rows]
        dataset = EncodedDataset(cells, processor, config=config, **limits)
        if problem.searches:
            with torch.no_grad():
                return embed(trainer, dataset)[0][only_modality(rows)]
        logits = predict(trainer, dataset)
        scores = scores_of(torch.from_numpy(logits).double(), config).numpy()
        return scores[:, [config.label2id[name] for name in problem.classes]] if problem.classes else scores[:, 0]

    return answer


def write(problem: Problem, folder: Path) -> None:
    """The rows to train and to validate as a person has them: a folder of parquet files."""
    folder.mkdir(parents=True)
    types = {name: TYPES[kind] for name, kind in problem.kinds.items() if kind in TYPES}
    for split in ("train", "validation"):
        rows = [flat(row, problem) for row in getattr(problem, split)]
        label = ClassLabel(names=list(problem.classes)) if problem.classes else Value("float64")
        others = {name: type_of(rows, name) for name in rows[0] if name not in types and name != "label"}
        schema = Features(types | others | {"label": label}).arrow_schema
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / f"{split}.parquet")


def flat(row: Row, problem: Problem) -> Row:
    """A row with the columns of its tables beside its other cells."""
    cells = {"label": row["label"]}
    for name, kind in problem.kinds.items():
        if kind == "table":
            cells |= row[name]
        else:
            cells[name] = row[name] if kind == "text" or row[name] is None else {"bytes": row[name], "path": None}
    return cells


def type_of(rows: list[Row], column: str) -> datasets.Value:
    is_words = any(isinstance(row[column], str) for row in rows)
    return Value("string" if is_words else "float64")


# ---------------------------------------------------------------------------------------------------------------------
# Zeros in place of what a row lacks
# ---------------------------------------------------------------------------------------------------------------------


def whole_row(encoded: EncodedDataset, number: int) -> dict[str, torch.Tensor]:
    """The first encoded row that has all modalities."""
    rows, kinds = map(encoded.__getitem__, range(len(encoded))), encoded.encoder.kinds
    return next(row for row in rows if len(modalities_of(row, kinds)) == number)


class ZeroFilling:
    """
    Batches of a `MoTCollator` in which what a row lacks is zeros that no mask tells from real input; what no row has
    is as long as it is in `whole`, an encoded row.
    """

    def __init__(self, collator: MoTCollator, whole: dict[str, torch.Tensor]):
        self.collator, self.whole = collator, whole

    def __call__(self, rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        batch = self.collator(rows)
        for modality in self.collator.kinds.values():
            if modality.names.raw in self.whole:
                self.fill(batch, modality, len(rows))
        return batch

    def fill(self, batch: dict[str, torch.Tensor], modality: Modality, number: int) -> None:
        names = modality.names
        if names.raw not in batch:
            zeros = torch.zeros_like(self.whole[names.raw])
            batch[names.raw], batch[names.mask] = modality.pad([zeros] * number)
            return
        mask = batch[names.mask]
        absent = ~mask.reshape(number, -1).any(dim=1)
        batch[names.mask] = mask.masked_fill(absent.reshape(-1, *[1] * (mask.ndim - 1)), 1)
