# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The modules of `evaluate` give what the functions give."""

import json

import datasets
import evaluate
import numpy as np
import pytest
import torch

from mixture_of_transformers.training.metric_modules import ClassificationMetric, RetrievalMetric, SentimentMetric
from mixture_of_transformers.training.metrics import classification_metrics, retrieval_metrics, sentiment_metrics


class RowCount(evaluate.Metric):
    """Another metric, to stand beside ours; it takes anything."""

    def __init__(self, features, **kwargs):
        self.given_features = features
        super().__init__(**kwargs)

    def _info(self):
        return evaluate.MetricInfo(description="", citation="", features=self.given_features)

    def _compute(self, predictions, references):
        return {"count": len(predictions)}


def evaluate_cases():
    generator = np.random.default_rng(0)
    matrix, other = generator.normal(size=(2, 11, 6)).astype(np.float32)
    ids, scores = generator.integers(0, 6, 11), generator.normal(size=11)
    ids[3], scores[3] = -100, float("nan")
    return {
        "classification": (ClassificationMetric, classification_metrics, matrix, ids),
        "sentiment": (SentimentMetric, sentiment_metrics, matrix[:, 0], scores),
        "retrieval": (RetrievalMetric, retrieval_metrics, matrix, other),
    }


every_evaluate_module = pytest.mark.parametrize("case", ["classification", "sentiment", "retrieval"])


@every_evaluate_module
def test_modules_of_evaluate_equal_the_functions_whole_or_in_batches(case, tmp_path):
    module, function, predictions, references = evaluate_cases()[case]
    expected, metric = function(predictions, references), module(cache_dir=str(tmp_path))
    assert metric.compute(predictions=predictions, references=references) == expected
    for i in (0, 4, 8):
        metric.add_batch(predictions=torch.as_tensor(predictions[i : i + 4]), references=references[i : i + 4])
    assert metric.compute() == expected
    for prediction, reference in zip(predictions, references):
        metric.add(prediction=prediction, reference=reference)
    assert metric.compute() == expected
    assert json.loads(json.dumps(expected)) == expected


@every_evaluate_module
def test_modules_of_evaluate_combine_with_others(case, tmp_path):
    module, function, predictions, references = evaluate_cases()[case]
    metric = module(cache_dir=str(tmp_path))
    assert isinstance(metric.features, datasets.Features)
    combined = evaluate.combine([metric, RowCount(metric.features, cache_dir=str(tmp_path))])
    expected = function(predictions, references) | {"count": 11}
    assert combined.compute(predictions=predictions, references=references) == expected
    for i in (0, 6):
        combined.add_batch(predictions=predictions[i : i + 6], references=references[i : i + 6])
    assert combined.compute() == expected


def test_the_retrieval_module_takes_labels_and_ranks(tmp_path):
    _, _, queries, items = evaluate_cases()["retrieval"]
    options = {"query_labels": list(range(11)), "item_labels": list(range(11)), "ks": (2,), "chunk_size": 3}
    numbers = RetrievalMetric(cache_dir=str(tmp_path)).compute(predictions=queries, references=items, **options)
    assert numbers == retrieval_metrics(queries, items, **options)
    assert set(numbers) == {"recall_at_2", "median_rank", "rows", "precision_at_1"}
