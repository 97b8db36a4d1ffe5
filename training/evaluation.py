# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a model is worth on each subset of its modalities, in search, and by each of its losses.

Each function takes a `MoTTrainer`, whose model, batches and processes it uses and whose methods say what it returns.
"""

import contextlib
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers import EvalPrediction, Trainer

from mixture_of_transformers.loss_mot import IGNORED_LABEL
from mixture_of_transformers.subsets_mot import bounded_subsets, subset_name
from mixture_of_transformers.training.metrics import Ranking, compute_metrics, rank_pairs
from mixture_of_transformers.training.objective import row_has


@contextlib.contextmanager
def random_numbers_of_its_own(seed: int) -> Iterator[None]:
    """Random numbers that begin at `seed` and leave those outside as they are."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.random.default_generator.manual_seed(seed)
        torch.cuda.manual_seed(seed)
        yield


# ---------------------------------------------------------------------------------------------------------------------
# Answers
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SubsetAnswers:
    """
    What a classifier answers to every row from each subset of its modalities.

    Args:
        subsets: their names, such as "text+image", in the order of the model's (S).
        logits: (N, S, num_labels), of all rows, also of those that lack the whole of a subset.
        labels: (N,), or (N, num_labels) where a row has several; -100 or NaN where a row has none.
        complete: (N, S) bool, whether a row has every modality of the subset.
    """

    subsets: tuple[str, ...]
    logits: np.ndarray
    labels: np.ndarray
    complete: np.ndarray

    def labelled(self) -> np.ndarray:
        """(N,) bool, whether a row has a label."""
        found = np.isfinite(self.labels) & (self.labels != IGNORED_LABEL)
        return found.reshape(len(found), -1).any(axis=1)

    def of(self, subset: str) -> tuple[np.ndarray, np.ndarray]:
        """The logits (n, num_labels) and labels of those rows that have a label and all of a subset, by its name."""
        column = self.subsets.index(subset)
        rows = self.labelled() & self.complete[:, column]
        return self.logits[rows, column], self.labels[rows]


@torch.no_grad()
def answer_subsets(trainer: Trainer, dataset) -> SubsetAnswers:
    """What the trainer's model answers to the encoded rows of a dataset, which has at least one, on all processes."""
    subsets = bounded_subsets(trainer.model.config.modalities)
    logits, labels, complete = [], [], []
    for model, inputs in trainer.batches(dataset):
        batch_labels = inputs.pop("labels", None)
        batch_logits = model(**inputs, modality_subsets=subsets).logits  # (B, S, num_labels)
        if batch_labels is None:
            batch_labels = no_labels(batch_logits[:, 0], trainer.head.config.problem_type)
        batch_complete = torch.stack([row_has(inputs, subset, all) for subset in subsets], dim=1)  # (B, S)
        gathered = trainer.accelerator.gather_for_metrics((batch_logits, batch_labels, batch_complete))
        for tensors, tensor in zip((logits, labels, complete), gathered):
            tensors.append(tensor.float().cpu().numpy())
    names = tuple(map(subset_name, subsets))
    return SubsetAnswers(names, np.concatenate(logits), np.concatenate(labels), np.concatenate(complete) > 0)


def evaluate_subsets(trainer: Trainer, dataset) -> dict[str, dict[str, float]]:
    """What `MoTTrainer.evaluate_subsets` returns."""
    if not len(dataset):
        return {subset_name(subset): {"rows": 0} for subset in bounded_subsets(trainer.model.config.modalities)}
    answers = answer_subsets(trainer, dataset)
    return {subset: subset_metrics(trainer, *answers.of(subset)) for subset in answers.subsets}


def no_labels(logits: torch.Tensor, problem_type: str | None) -> torch.Tensor:
    """Labels none of which counts, for logits (B, num_labels) of a batch whose rows have none."""
    shape = logits.shape if problem_type == "multi_label_classification" else logits.shape[:1]
    return logits.new_full(shape, IGNORED_LABEL, dtype=torch.float32)


def subset_metrics(trainer: Trainer, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The metrics of answers (n, num_labels) to rows that have labels, and how many these are."""
    if not len(labels):
        return {"rows": 0}
    if trainer.compute_metrics is None:
        numbers = compute_metrics(logits, labels, trainer.model.config.problem_type)
    else:
        numbers = trainer.compute_metrics(EvalPrediction(predictions=logits, label_ids=labels))
    return numbers | {"rows": len(labels)}


# ---------------------------------------------------------------------------------------------------------------------
# Search
# ---------------------------------------------------------------------------------------------------------------------


def evaluate_retrieval(trainer: Trainer, dataset) -> dict[str, dict[str, float]]:
    """What `MoTTrainer.evaluate_retrieval` returns."""
    return {pair: ranking.metrics() for pair, ranking in rank_dataset(trainer, dataset).items()}


@torch.no_grad()
def rank_dataset(trainer: Trainer, dataset) -> dict[str, Ranking]:
    """Of each pair of `evaluate_retrieval`, where every query finds its item."""
    embeddings, labels = embed(trainer, dataset)
    present = {name: (vectors**2).sum(axis=1) > 0 for name, vectors in embeddings.items()}
    modalities = trainer.model.config.modalities
    pairs = [(a, b) for a, b in itertools.combinations(modalities, 2)]
    if len(modalities) > 2:
        pairs += [(subset_name(other for other in modalities if other != m), m) for m in modalities]
        # A row counts for several modalities only where it has all of them.
        present |= {name: np.all([present[m] for m in name.split("+")], axis=0) for name, _ in pairs}
    return rank_pairs(embeddings, present, labels, pairs)


def embed(trainer: Trainer, dataset) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """
    Embeddings (N, projection_dim) of every modality, and of all but one where that is several, zero for rows that
    have none of it; and the labels (N,), if there are any.
    """
    modalities = trainer.model.config.modalities
    subsets = [subset for subset in bounded_subsets(modalities) if len(subset) in (1, len(modalities) - 1)]
    vectors, labels = defaultdict(list), []
    if not len(dataset):
        width = trainer.model.config.projection_dim
        return {subset_name(subset): np.zeros((0, width)) for subset in subsets}, None
    for model, inputs in trainer.batches(dataset):
        found = {"labels": inputs.pop("labels")} if "labels" in inputs else {}
        encoded = model.mot.encode(**inputs)
        found |= {subset_name(subset): model.embed(encoded, subset).vectors for subset in subsets}
        gathered = trainer.accelerator.gather_for_metrics(found)
        labels.append(gathered.pop("labels", None))
        for name, tensor in gathered.items():
            vectors[name].append(tensor.float().cpu().numpy())
    has_labels = labels[0] is not None
    return (
        {name: np.concatenate(arrays) for name, arrays in vectors.items()},
        torch.cat(labels).cpu().numpy() if has_labels else None,
    )


def mean_over_pairs(pairs: dict[str, dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over the pairs of `evaluate_retrieval` that any row has both sides of."""
    values = defaultdict(list)
    for numbers in pairs.values():
        for name, value in numbers.items():
            values[name].append(value)
    return {name: float(np.mean(found)) for name, found in values.items() if name != "rows"}


# ---------------------------------------------------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def evaluate_terms(trainer: Trainer, dataset) -> dict[str, dict[str, float]]:
    """What `MoTTrainer.evaluate_terms` returns."""
    terms = defaultdict(list)
    with random_numbers_of_its_own(trainer.args.seed):
        for model, inputs in trainer.batches(dataset):
            losses = model(**inputs, return_loss=True).losses
            # As objects, since processes whose batches lack a modality have no such term.
            for found in gather_object([{name: loss.item() for name, loss in losses.items()}]):
                for name, loss in found.items():
                    terms[name].append(loss)
    return {name: {"loss": float(np.mean(losses)), "batches": len(losses)} for name, losses in terms.items()}


@torch.no_grad()
def evaluate_targets(trainer: Trainer, dataset) -> dict[str, dict[str, float]]:
    """What `MoTTrainer.evaluate_targets` returns."""
    config = trainer.model.config
    modalities = config.modalities
    nats, tokens = dict.fromkeys(modalities, 0.0), dict.fromkeys(modalities, 0)
    for model, inputs in trainer.batches(dataset):
        counts = counts_of_targets(inputs["labels"], config)
        losses = {m: loss.item() for m, loss in model(**inputs).losses.items() if counts[m]}
        # As objects, since processes have different modalities.
        for of_process, numbers in gather_object([(losses, counts)]):
            for m, loss in of_process.items():
                nats[m], tokens[m] = nats[m] + loss * numbers[m], tokens[m] + numbers[m]
    means = {m: nats[m] / number for m, number in tokens.items() if number}
    return {m: {"loss": mean, "perplexity": math.exp(mean), "tokens": tokens[m]} for m, mean in means.items()}


def counts_of_targets(labels: torch.Tensor, config) -> dict[str, int]:
    """How many targets of each modality labels (B, L) have."""
    targets = labels[:, 1:]
    counts = {name: int(((targets >= start) & (targets < stop)).sum()) for name, start, stop in config.token_ranges}
    others = int((targets != IGNORED_LABEL).sum()) - sum(counts.values())
    return dict.fromkeys(config.modalities, others) | counts


def means_of_terms(terms: dict[str, tuple[torch.Tensor | float, int]]) -> dict[str, float]:
    """The mean of each loss term over the batches of all processes, from its sum and number on this process."""
    # As objects, since processes whose batches lack a modality have no such term.
    found = gather_object([{name: (float(total), int(number)) for name, (total, number) in terms.items()}])
    names = dict.fromkeys(name for sums in found for name in sums)
    pairs = {name: [sums[name] for sums in found if name in sums] for name in names}
    pairs = {name: sums for name, sums in pairs.items() if any(number for _, number in sums)}
    return {n: sum(total for total, _ in p) / sum(number for _, number in p) for n, p in pairs.items()}
