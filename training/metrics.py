# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a model's answers are worth: numbers for classes, several labels, regression, sentiment scores and retrieval.

Every function takes arrays, tensors or lists over a whole evaluation set and returns a dict that fits a JSON file.
Answers whose label is -100 or NaN are left out, and so is from the dict what their rest does not define: a correlation
with a constant, say. (training/metric_modules.py has some of them as modules of the library `evaluate`.)

Shapes: N rows, C classes, M items, d width.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mixture_of_transformers.loss_mot import IGNORED_LABEL

SENTIMENT_LIMIT = 3  # CMU-MOSI and CMU-MOSEI score from -3, highly negative, to 3, highly positive

# Whether more is better, for every metric that a run reports.
GREATER_IS_BETTER = {
    "accuracy": True,
    "f1_macro": True,
    "f1_weighted": True,
    "f1_micro": True,
    "mae": False,
    "mse": False,
    "pearson": True,
    "accuracy_7": True,
    "accuracy_2": True,
    "f1_2": True,
    "accuracy_2_nonzero": True,
    "f1_2_nonzero": True,
    "recall_at_{k}": True,
    "precision_at_1": True,
    "median_rank": False,
    "loss": False,
    "loss/{term}": False,
}
# What some answers or labels leave undefined, where the other numbers of regression are defined.
NOT_ALWAYS_DEFINED = ("pearson", "accuracy_2_nonzero", "f1_2_nonzero")


def greater_is_better(metric: str) -> bool:
    """
    Args:
        metric: a name of `GREATER_IS_BETTER`, with or without `eval_` before it; or any that ends in `_loss`.

    Raises:
        ValueError: no such metric is known.
    """
    name = metric.removeprefix("eval_")
    name = "loss" if name.endswith("_loss") else name
    name = re.sub(r"^recall_at_[1-9]\d*$", "recall_at_{k}", re.sub("^loss/.+$", "loss/{term}", name))
    if name not in GREATER_IS_BETTER:
        raise ValueError(
            f"metric_for_best_model is {metric!r}, of which it is not known whether more is better: set "
            f"greater_is_better, or take one of {', '.join(GREATER_IS_BETTER)}."
        )
    return GREATER_IS_BETTER[name]


# ---------------------------------------------------------------------------------------------------------------------
# Arrays
# ---------------------------------------------------------------------------------------------------------------------


def as_array(values) -> np.ndarray:
    """A tensor, array or (nested) list as an array on the CPU; floating-point numbers as float64."""
    if torch.is_tensor(values):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    values = np.asarray(values)
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def has_label(labels: np.ndarray) -> np.ndarray:
    """Where labels are neither -100 nor NaN: bool of the same shape."""
    return ~(np.isnan(labels) | (labels == IGNORED_LABEL))


def check_shape(name: str, values: np.ndarray, expected: tuple[int, ...], meaning: str) -> None:
    if values.shape != expected:
        raise ValueError(f"`{name}` has shape {values.shape}; expected {expected}, {meaning}.")


def check_values(name: str, values: np.ndarray, allowed: np.ndarray, expected: str) -> None:
    """Raise a ValueError that tells the first of `values` that is not `allowed` (bool, same shape), and its row."""
    if not allowed.all():
        where = tuple(np.argwhere(~allowed)[0])
        raise ValueError(f"`{name}` holds {values[where]} in row {where[0]}; expected {expected}.")


# ---------------------------------------------------------------------------------------------------------------------
# Classes and numbers
# ---------------------------------------------------------------------------------------------------------------------


def classification_metrics(logits, labels) -> dict:
    """
    Args:
        logits: (N, C); the largest of a row is its answer.
        labels: (N,) or (N, 1) class ids.

    Returns:
        `accuracy`, `f1_macro` and `f1_weighted`, both over the classes that occur among labels or answers; and
        `per_class`: a list whose entry i holds `precision`, `recall`, `f1` and `support`, the number of labels, of
        class i. A precision or recall of nothing is 0. `{}` if no row has a label.

    Raises:
        ValueError: shapes that do not fit, a class id that is not below C, or a logit that is not a number.
    """
    logits, labels = as_array(logits), as_array(labels)
    if logits.ndim != 2:
        raise ValueError(f"`logits` has shape {logits.shape}; expected (N, C): rows, classes.")
    labels = labels[:, 0] if labels.shape[1:] == (1,) else labels
    check_shape("labels", labels, logits.shape[:1], "one class id per row of `logits`")
    num_classes, rows = logits.shape[1], has_label(labels)
    in_range = (labels >= 0) & (labels < num_classes) & (labels % 1 == 0)
    check_values("labels", labels, in_range | ~rows, f"class ids from 0 to {num_classes - 1}, or {IGNORED_LABEL}")
    check_values("logits", logits, ~(np.isnan(logits) & rows[:, None]), "numbers wherever there is a label")
    if not rows.any():
        return {}
    labels, predicted = labels[rows].astype(np.int64), logits[rows].argmax(axis=1)
    hits = np.bincount(labels[labels == predicted], minlength=num_classes)
    answered, support = (np.bincount(ids, minlength=num_classes) for ids in (predicted, labels))
    precision, recall, f1 = scores_of_counts(hits, answered, support)
    return {
        "accuracy": float(hits.sum() / len(labels)),
        "f1_macro": float(f1[answered + support > 0].mean()),
        "f1_weighted": float(np.average(f1, weights=support)),
        "per_class": [
            {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for p, r, f, s in zip(precision, recall, f1, support)
        ],
    }


def scores_of_counts(
    hits: np.ndarray, answered: np.ndarray, support: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of each class (C,), of how often it was answered rightly, answered, and the label; 0 of
    nothing."""
    pairs = (hits, answered), (hits, support), (2 * hits, answered + support)
    precision, recall, f1 = (part / np.maximum(whole, 1) for part, whole in pairs)
    return precision, recall, f1


def multi_label_metrics(logits, labels) -> dict[str, float]:
    """
    Args:
        logits: (N, C); a row's answers are the classes above 0.
        labels: (N, C) zeros and ones. A row with one label missing is left out whole.

    Returns:
        `accuracy`: the share of rows answered exactly; `f1_micro`; and `f1_macro`, over the classes that occur among
        labels or answers. Both F1 are left out where no class occurs, and all where no row has labels.

    Raises:
        ValueError: shapes that do not fit, or a logit that is not a number.
    """
    logits, labels = as_array(logits), as_array(labels)
    if logits.ndim != 2:
        raise ValueError(f"`logits` has shape {logits.shape}; expected (N, C): rows, classes.")
    check_shape("labels", labels, logits.shape, "the shape of `logits`")
    rows = has_label(labels).all(axis=1)
    check_values("logits", logits, ~(np.isnan(logits) & rows[:, None]), "numbers wherever there are labels")
    if not rows.any():
        return {}
    predicted, labels = logits[rows] > 0, labels[rows] > 0.5
    numbers = {"accuracy": float((predicted == labels).all(axis=1).mean())}
    hits, answered, support = (found.sum(axis=0) for found in (predicted & labels, predicted, labels))  # (C,)
    occur = answered + support > 0
    if occur.any():
        micro = 2 * hits.sum() / (answered.sum() + support.sum())
        numbers |= {
            "f1_micro": float(micro),
            "f1_macro": float(scores_of_counts(hits, answered, support)[2][occur].mean()),
        }
    return numbers


def labelled_numbers(predictions, labels) -> tuple[np.ndarray, np.ndarray]:
    """Flat predictions and labels, those without a label left out; a ValueError where sizes or values do not fit."""
    predictions, labels = as_array(predictions), as_array(labels)
    if predictions.size != labels.size or predictions.shape[:1] != labels.shape[:1]:
        raise ValueError(f"`labels` has shape {labels.shape}; expected {predictions.shape}, that of `predictions`.")
    predictions, labels = predictions.ravel(), labels.ravel()
    labelled = has_label(labels)
    allowed = np.isfinite(predictions) | ~labelled
    check_values("predictions", predictions, allowed, "finite numbers wherever there is a label")
    check_values("labels", labels, ~np.isinf(labels), "finite numbers, NaN or -100")
    return predictions[labelled], labels[labelled]


def pearson(predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Pearson's correlation of (N,) and (N,) as `pearson`; nothing where either is constant but for rounding."""
    rounding = 4 * np.finfo(np.float32).eps  # Models answer in float32, and equal answers may differ by a few steps.
    if any(np.ptp(values) <= rounding * np.abs(values).max() for values in (predictions, labels)):
        return {}
    return {"pearson": float(np.corrcoef(predictions, labels)[0, 1])}


def regression_metrics(predictions, labels) -> dict[str, float]:
    """
    Args:
        predictions: (N,) or (N, outputs).
        labels: as many numbers; (N,) also fits predictions (N, 1). Each that is missing is left out alone.

    Returns:
        `mae`, `mse` and, unless either is constant, `pearson`, over all outputs together. `{}` without any label.

    Raises:
        ValueError: shapes that do not fit, or numbers that are not finite.
    """
    predictions, labels = labelled_numbers(predictions, labels)
    if not len(labels):
        return {}
    return {
        "mae": float(np.abs(predictions - labels).mean()),
        "mse": float(((predictions - labels) ** 2).mean()),
        **pearson(predictions, labels),
    }


def sentiment_metrics(predictions, labels) -> dict[str, float]:
    """
    Sentiment scores from -3 to 3, measured as the field measures them on CMU-MOSI (Zadeh et al., arXiv 1606.06259) and
    CMU-MOSEI (Zadeh et al., ACL 2018, P18-1208); the rules are those of `metricsTop.py` in MMSA
    (github.com/thuiar/MMSA; Mao et al., arXiv 2203.12441), unrounded.

    Args:
        predictions: (N,) or (N, 1).
        labels: (N,) or (N, 1).

    Returns:
        - `mae` and, unless either is constant, `pearson`;
        - `accuracy_7`: both clipped to [-3, 3] and rounded, halves to the even number;
        - `accuracy_2`, `f1_2`: negative against non-negative;
        - `accuracy_2_nonzero`, `f1_2_nonzero`: not positive against positive, without the rows whose label is 0.

        F1 is weighted by the labels of each class. `{}` if no row has a label.

    Raises:
        ValueError: shapes that do not fit, or numbers that are not finite.
    """
    predictions, labels = labelled_numbers(predictions, labels)
    if not len(labels):
        return {}
    predicted, expected = (
        np.clip(scores, -SENTIMENT_LIMIT, SENTIMENT_LIMIT).round() for scores in (predictions, labels)
    )
    numbers = {
        "mae": float(np.abs(predictions - labels).mean()),
        **pearson(predictions, labels),
        "accuracy_7": float((predicted == expected).mean()),
        **two_class_metrics(predictions >= 0, labels >= 0, suffix=""),
    }
    polar = labels != 0
    if polar.any():
        numbers |= two_class_metrics(predictions[polar] > 0, labels[polar] > 0, suffix="_nonzero")
    return numbers


def two_class_metrics(predicted: np.ndarray, labels: np.ndarray, suffix: str) -> dict[str, float]:
    """Accuracy and F1, weighted by the labels of each class, of bool arrays (N,)."""
    logits = np.stack([~predicted, predicted], axis=1).astype(float)
    numbers = classification_metrics(logits, labels.astype(np.int64))
    return {f"accuracy_2{suffix}": numbers["accuracy"], f"f1_2{suffix}": numbers["f1_weighted"]}


def compute_metrics(logits, labels, problem_type: str | None) -> dict[str, float]:
    """
    The flat numbers that `Trainer` logs, for logits (N, num_labels): those of `regression_metrics`,
    `multi_label_metrics`, or else `classification_metrics` without `per_class`.
    """
    if problem_type == "regression":
        return regression_metrics(logits, labels)
    if problem_type == "multi_label_classification":
        return multi_label_metrics(logits, labels)
    numbers = classification_metrics(logits, labels)
    return {name: number for name, number in numbers.items() if name != "per_class"}


# ---------------------------------------------------------------------------------------------------------------------
# Retrieval
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranking:
    """
    Where each query finds its item among all items.

    Args:
        ahead: (N,) how many items are more similar to a query than its own.
        equal: (N,) how many are as similar, its own among them.
        precision: (N,) the share of a query's best items that has its label, NaN for a query without one; None
            without labels.
    """

    ahead: np.ndarray
    equal: np.ndarray
    precision: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ahead)

    def of(self, queries: np.ndarray) -> "Ranking":
        """That of the queries with such numbers, (n,) integers, among the same items."""
        precision = None if self.precision is None else self.precision[queries]
        return Ranking(self.ahead[queries], self.equal[queries], precision)

    def metrics(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """What `retrieval_metrics` returns; `{"rows": 0}` of no query."""
        if not len(self):
            return {"rows": 0}
        numbers = {f"recall_at_{k}": float(((k - self.ahead) / self.equal).clip(0, 1).mean()) for k in ks}
        numbers |= {"median_rank": float(np.median(self.ahead + (self.equal + 1) / 2)), "rows": len(self)}
        if self.precision is not None and np.isfinite(self.precision).any():
            numbers["precision_at_1"] = float(np.nanmean(self.precision))
        return numbers


def retrieval_metrics(
    queries,
    items,
    matches=None,
    query_labels=None,
    item_labels=None,
    ks: Sequence[int] = (1, 5, 10),
    chunk_size: int = 1024,
) -> dict[str, float]:
    """
    How well each query finds its item among all items, by cosine similarity in float64.

    Items of equal similarity, to rounding error, stand in random order: recall and precision are the expectation over
    that order, and the rank of an item is its mean. So duplicates do not flatter: if all items are alike, recall at k
    is k / M and the median rank (M + 1) / 2.

    Args:
        queries: (N, d) embeddings of any length.
        items: (M, d).
        matches: (N,) int, the index of each query's item; by default query i's item is item i, and N must be M.
        query_labels, item_labels: (N,) and (M,) class ids, both or neither.
        ks: the ranks up to which an item counts as found.
        chunk_size: so many queries are compared at a time; memory grows with chunk_size * M, never with N * M.

    Returns:
        `recall_at_{k}` for each of `ks`: the share of queries whose item is among the first k; `median_rank`, 1 is the
        best; `rows`: N; and with labels `precision_at_1`: the share of labelled queries whose first item has their
        label.

    Raises:
        ValueError: shapes that do not fit, empty sets, embeddings that are not finite, or indices out of range.
    """
    check_ranks(ks)
    return rank_items(queries, items, matches, query_labels, item_labels, chunk_size).metrics(ks)


def rank_items(queries, items, matches=None, query_labels=None, item_labels=None, chunk_size: int = 1024) -> Ranking:
    """The ranking whose figures `retrieval_metrics` returns, with its arguments and errors."""
    queries, items = unit_embeddings("queries", queries), unit_embeddings("items", items)
    check_shape("items", items, (len(items), queries.shape[1]), "as wide as `queries`")
    matches = checked_matches(matches, len(queries), len(items))
    labels = checked_labels(query_labels, item_labels, len(queries), len(items))
    if chunk_size < 1:
        raise ValueError(f"`chunk_size` is {chunk_size}; expected a number from 1 on.")
    tolerance = 4 * queries.shape[1] * np.finfo(np.float64).eps  # the rounding error of two scores
    ahead, equal, precisions = [], [], []
    for start in range(0, len(queries), chunk_size):
        rows = slice(start, start + chunk_size)
        scores = queries[rows] @ items.T  # (rows, M)
        own = np.take_along_axis(scores, matches[rows, None], axis=1)  # (rows, 1)
        ahead.append((scores > own + tolerance).sum(axis=1))
        equal.append((scores >= own - tolerance).sum(axis=1) - ahead[-1])  # the item itself among them
        if labels is not None:
            precisions.append(first_item_precision(scores, labels[0][rows], labels[1], tolerance))
    precision = None if labels is None else np.where(has_label(labels[0]), np.concatenate(precisions), np.nan)
    return Ranking(np.concatenate(ahead), np.concatenate(equal), precision)


def check_ranks(ks: Sequence[int]) -> None:
    if min(ks, default=0) < 1:
        raise ValueError(f"`ks` is {ks}; expected numbers from 1 on.")


def first_item_precision(scores: np.ndarray, query_labels: np.ndarray, item_labels: np.ndarray, tolerance: float):
    """The share of each query's best items, of scores (N, M), that has the query's label: (N,)."""
    best = scores >= scores.max(axis=1, keepdims=True) - tolerance
    return (best & (query_labels[:, None] == item_labels)).sum(axis=1) / best.sum(axis=1)


def unit_embeddings(name: str, embeddings) -> np.ndarray:
    """Embeddings (N, d) at length 1, those of length 0 as they are; a ValueError if they are empty or not finite."""
    embeddings = as_array(embeddings)
    if embeddings.ndim != 2 or not embeddings.size:
        raise ValueError(f"`{name}` has shape {embeddings.shape}; expected (rows, width), neither of them 0.")
    check_values(name, embeddings, np.isfinite(embeddings), "finite numbers")
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.where(lengths > 0, lengths, 1)


def checked_matches(matches, num_queries: int, num_items: int) -> np.ndarray:
    """(num_queries,) int, the index of each query's item; its own by default."""
    if matches is None:
        if num_queries != num_items:
            raise ValueError(
                f"`items` has {num_items} rows for {num_queries} `queries`; expected as many, "
                f"or `matches` with the index of each query's item."
            )
        return np.arange(num_queries)
    matches = as_array(matches)
    check_shape("matches", matches, (num_queries,), "one index per row of `queries`")
    allowed = (matches >= 0) & (matches < num_items) & (matches % 1 == 0)
    check_values("matches", matches, allowed, f"indices from 0 to {num_items - 1}")
    return matches.astype(np.int64)


def checked_labels(query_labels, item_labels, num_queries: int, num_items: int):
    """Both as arrays (num_queries,) and (num_items,), or None where neither is given."""
    if query_labels is None and item_labels is None:
        return None
    if query_labels is None or item_labels is None:
        missing = "query_labels" if query_labels is None else "item_labels"
        raise ValueError(f"`{missing}` is None; expected `query_labels` and `item_labels`, or neither.")
    query_labels, item_labels = as_array(query_labels), as_array(item_labels)
    check_shape("query_labels", query_labels, (num_queries,), "one class id per row of `queries`")
    check_shape("item_labels", item_labels, (num_items,), "one class id per row of `items`")
    return query_labels, item_labels


def pairwise_retrieval_metrics(
    embeddings: dict,
    present: dict,
    labels=None,
    pairs: Iterable[tuple[str, str]] | None = None,
    ks: Sequence[int] = (1, 5, 10),
    chunk_size: int = 1024,
) -> dict[str, dict[str, float]]:
    """
    `retrieval_metrics` between modalities, each pair in both directions over the rows that have both of them.

    Args:
        embeddings: `{name: (N, d)}`; what stands in rows that lack a modality does not matter.
        present: `{name: (N,) bool}`, which rows have it.
        labels: (N,) class ids of the rows.
        pairs: the pairs of names; by default every pair, in the order of `embeddings`.
        ks, chunk_size: as of `retrieval_metrics`.

    Returns:
        `{"text->image": {…}, "image->text": {…}, …}`, queries before the arrow; `{"rows": 0}` where no row has both.

    Raises:
        ValueError: an unknown name, shapes that do not fit, or embeddings of present rows that are not finite.
    """
    check_ranks(ks)
    rankings = rank_pairs(embeddings, present, labels, pairs, chunk_size)
    return {name: ranking.metrics(ks) for name, ranking in rankings.items()}


def rank_pairs(
    embeddings: dict,
    present: dict,
    labels=None,
    pairs: Iterable[tuple[str, str]] | None = None,
    chunk_size: int = 1024,
) -> dict[str, Ranking]:
    """The rankings whose figures `pairwise_retrieval_metrics` returns, with its arguments and errors."""
    embeddings = {name: as_array(values) for name, values in embeddings.items()}
    present = {name: as_array(values).astype(bool) for name, values in present.items()}
    labels = None if labels is None else as_array(labels)
    pairs = list(itertools.combinations(embeddings, 2) if pairs is None else pairs)
    check_modalities(embeddings, present, labels, pairs)
    rankings = {}
    for first, second in pairs:
        rows = present[first] & present[second]
        row_labels = None if labels is None else labels[rows]
        for query, item in ((first, second), (second, first)):
            queries, items = embeddings[query][rows], embeddings[item][rows]
            rankings[f"{query}->{item}"] = (
                rank_items(queries, items, None, row_labels, row_labels, chunk_size)
                if rows.any()
                else Ranking(np.zeros(0), np.zeros(0))
            )
    return rankings


def check_modalities(embeddings: dict, present: dict, labels: np.ndarray | None, pairs: list) -> None:
    """Raise a ValueError where the arguments of `pairwise_retrieval_metrics` do not fit each other."""
    if not set(embeddings) <= set(present):
        raise ValueError(f"`present` has {list(present)}; expected the names of `embeddings`, {list(embeddings)}.")
    unknown = {name for pair in pairs for name in pair} - set(embeddings)
    if unknown:
        raise ValueError(f"`pairs` holds {sorted(unknown)}; expected names of `embeddings`, {list(embeddings)}.")
    for name, values in embeddings.items():
        check_shape(f"embeddings[{name!r}]", values, next(iter(embeddings.values())).shape, "as the first of them")
        check_shape(f"present[{name!r}]", present[name], values.shape[:1], "one per row of the embeddings")
        if labels is not None:
            check_shape("labels", labels, values.shape[:1], "one class id per row of the embeddings")
