# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a checkpoint says of the rows of a dataset, batch by batch: a record for each row, and why where there is none.

Rows that cannot be read are found as they are encoded, so that every file is opened once. Batches are of consecutive
rows, whatever their lengths: the model packs the real tokens of a batch, so that padding costs next to nothing, and
the batches do not depend on where a killed run goes on.

Shapes: B rows, d width of an embedding.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

import datasets
import pyarrow as pa
import torch
from torch.utils.data import DataLoader, Dataset

from mixture_of_transformers.attribution_mot import (
    MOST_EXACT,
    Contributions,
    inference,
    modality_contributions,
    model_inputs,
)
from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.checks import BadExample, BadRows, ExampleCheck
from mixture_of_transformers.finetune.predictions import answers
from mixture_of_transformers.head_classification_mot import is_regression
from mixture_of_transformers.processing_mot import to_model
from mixture_of_transformers.training.encoded import RowEncoder

ROW, ERROR, PRIOR, FUSED = "row", "error", "prior", "fused"
CheckedRow = tuple[int, dict[str, torch.Tensor] | BadExample]  # its number, and its tensors or what is wrong with it


class CheckedRows(Dataset):
    """Rows of a prepared split by their numbers: encoded, or what is wrong with them."""

    def __init__(self, split: datasets.Dataset, encoder: RowEncoder, check: ExampleCheck):
        self.split, self.encoder, self.check = split, encoder, check

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, number: int) -> CheckedRow:
        encoded, problem = self.check.encoded(self.split[number], self.encoder.encode)
        return number, encoded if problem is None else problem

    def batches(self, rows: Iterable[int], batch_size: int, workers: int) -> Iterator[list[CheckedRow]]:
        """Batches of these rows, encoded by so many processes; 0 for this one alone."""
        return iter(DataLoader(self, batch_size, sampler=rows, num_workers=workers, collate_fn=list))


class RowAnswers:
    """
    The records of rows: `row`, the number; the answer; and `error`, why there is none.

    The answer of a classifier is `label` (or `labels`, all that are likelier than one half) with the `probabilities`
    of all classes, or with `top_k` the `top` ones; that of a regression is `score`; that of a model that retrieves is
    an embedding of each modality, `{m}_embedding`, and `fused_embedding`, of all that a row has.

    Args:
        model: a head that classifies, regresses or retrieves.
        collate: encoded rows to a batch.
        autocast: the context of mixed precision, if any.
        top_k: how many classes; None for the probabilities of all.
        contributions: whether to add what each modality contributed to the answer (`attribution_mot.py`), of more than
            six modalities with its standard error.
        on_bad_example: "skip" gives a bad row an `error`, "raise" stops at the first one.
        split_name: what the error of "raise" calls the split.

    Raises:
        ValueError: the model does not give what is asked for.
    """

    def __init__(
        self,
        model,
        collate: Callable[[list[dict]], dict],
        autocast: Callable[[], AbstractContextManager],
        top_k: int | None = None,
        contributions: bool = False,
        on_bad_example: str = "skip",
        split_name: str = "train",
    ):
        kind = model.answers_with
        if top_k is not None and kind != "classes":
            raise ValueError(f"--top_k is for models that classify; {type(model).__name__} answers with {kind}.")
        if top_k is not None and top_k < 1:
            raise ValueError(f"--top_k is {top_k}; expected at least 1.")
        if contributions and kind == "embeddings":
            raise ValueError(
                f"--contributions are those to an answer, and {type(model).__name__} answers with embeddings: leave "
                "it out."
            )
        self.model, self.collate, self.autocast = model, collate, autocast
        self.top_k, self.contributions = top_k, contributions
        self.bad = BadRows(split_name, on_bad_example, report=None)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the records."""
        config = self.model.config
        if self.model.answers_with == "embeddings":
            names = [f"{name}_embedding" for name in (*config.modalities, FUSED)]
            found = [pa.field(name, pa.list_(pa.float32())) for name in names]
        else:
            found = answer_fields(config, self.top_k)
        if self.contributions:
            parts = [pa.field(name, pa.float64()) for name in (PRIOR, *config.modalities)]
            found.append(pa.field("contributions", pa.struct(parts)))
            if len(config.modalities) > MOST_EXACT:
                found.append(pa.field("contribution_errors", pa.struct(parts[1:])))
        return pa.schema([pa.field(ROW, pa.int64()), *found, pa.field(ERROR, pa.string())])

    def __call__(self, batch: list[CheckedRow]) -> list[dict]:
        """The records of a batch, in its order."""
        good = [(number, row) for number, row in batch if not isinstance(row, BadExample)]
        found: dict[int, dict | BadExample] = dict(batch)
        if good:
            found |= zip((number for number, _ in good), self.answer([row for _, row in good]), strict=True)
        return [self.record(number, answer) for number, answer in found.items()]

    def record(self, number: int, answer: dict | BadExample) -> dict:
        if not isinstance(answer, BadExample):
            return {ROW: number} | answer
        if self.bad.on_bad_example == "raise":
            self.bad.add(number, answer)
        return {ROW: number, ERROR: f"{answer.kind}: {answer}"}

    def answer(self, rows: list[dict[str, torch.Tensor]]) -> Iterable[dict | BadExample]:
        batch = model_inputs(self.collate(rows))
        batch = {name: to_model(name, value, self.model) for name, value in batch.items()}
        with inference(self.model), self.autocast():
            return self.embed(batch) if self.model.answers_with == "embeddings" else self.classify(batch)

    def classify(self, batch: dict[str, torch.Tensor]) -> list[dict | BadExample]:
        logits = self.model(**batch).logits.float().cpu()
        config = self.model.config
        found: list[dict | BadExample] = [with_top(answer, self.top_k) for answer in answers(logits.numpy(), config)]
        if self.contributions:
            shares = modality_contributions(self.model, batch)
            found = [answer | with_contributions(shares, i) for i, answer in enumerate(found)]
        return only_finite(found, logits)

    def embed(self, batch: dict[str, torch.Tensor]) -> list[dict | BadExample]:
        encoded, modalities = self.model.mot.encode(**batch), self.model.config.modalities
        has = encoded.has(modalities)
        found: list[dict] = [{} for _ in range(encoded.batch_size)]
        for m, present in has.items():
            vectors = self.model.answer(encoded, (m,)).float().cpu().numpy()  # (B, d)
            for i in present.nonzero()[:, 0].tolist():
                found[i][f"{m}_embedding"] = vectors[i]
        fused = self.model.answer(encoded, modalities).float().cpu()
        for i, vector in enumerate(fused.numpy()):
            found[i][f"{FUSED}_embedding"] = vector
        return only_finite(found, fused)


def answer_fields(config: MoTConfig, top_k: int | None) -> list[pa.Field]:
    """The columns of what a classifier or a regression says of a row."""
    number = pa.float64()
    if is_regression(config):
        return [pa.field("score", number if config.num_labels == 1 else pa.list_(number))]
    several = config.problem_type == "multi_label_classification"
    label = pa.field("labels", pa.list_(pa.string())) if several else pa.field("label", pa.string())
    if top_k is not None:
        pair = pa.struct([("label", pa.string()), ("score", number)])
        return [label, pa.field("top", pa.list_(pair))]
    names = [config.id2label[i] for i in range(config.num_labels)]
    return [label, pa.field("probabilities", pa.struct([(name, number) for name in names]))]


def with_top(answer: dict, top_k: int | None) -> dict:
    """An answer with so many of the likeliest classes, as the pipeline gives them, in place of all probabilities."""
    if top_k is None:
        return answer
    order = sorted(answer["probabilities"].items(), key=lambda pair: pair[1], reverse=True)
    top = [{"label": name, "score": score} for name, score in order[:top_k]]
    return {name: value for name, value in answer.items() if name != "probabilities"} | {"top": top}


def with_contributions(shares: Contributions, row: int) -> dict[str, dict[str, float]]:
    """What each modality that a row has contributed to its answer, beside the answer to nothing; where orders were
    drawn, with the standard error of each."""
    found = {"contributions": {PRIOR: shares.prior[row].item()} | shares.of_row(row)}
    return found if shares.error is None else found | {"contribution_errors": shares.errors_of_row(row)}


def only_finite(found: list, numbers: torch.Tensor) -> list:
    """The answers, with what is wrong in place of those whose numbers (B, n) are not finite."""
    problem = BadExample("non-finite answer", "the model answers with NaN or infinite numbers.")
    return [answer if ok else problem for answer, ok in zip(found, numbers.isfinite().all(dim=1).tolist())]
