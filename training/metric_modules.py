# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The metrics of training/metrics.py as modules of the library `evaluate`; they need no network."""

import datasets
import evaluate

from mixture_of_transformers.training.metrics import classification_metrics, retrieval_metrics, sentiment_metrics


def metric_info(function, prediction, reference) -> evaluate.MetricInfo:
    """What `evaluate` needs to know of a metric: its text, and the features of one prediction and one reference."""
    features = datasets.Features({"predictions": prediction, "references": reference})
    return evaluate.MetricInfo(description=function.__doc__, citation="", features=features)


class ClassificationMetric(evaluate.Metric):
    """`classification_metrics` of predictions, the logits (N, C), and references, the class ids (N,)."""

    def _info(self):
        logits = datasets.List(datasets.Value("float64"))
        return metric_info(classification_metrics, logits, datasets.Value("int64"))

    def _compute(self, predictions, references):
        return classification_metrics(predictions, references)


class SentimentMetric(evaluate.Metric):
    """`sentiment_metrics` of predictions and references, both scores (N,)."""

    def _info(self):
        return metric_info(sentiment_metrics, datasets.Value("float64"), datasets.Value("float64"))

    def _compute(self, predictions, references):
        return sentiment_metrics(predictions, references)


class RetrievalMetric(evaluate.Metric):
    """
    `retrieval_metrics` of predictions, the queries (N, d), and references, the items (N, d); `compute` also takes its
    other arguments. `evaluate` holds all numbers as Python lists; for large sets call the function.
    """

    def _info(self):
        embedding = datasets.List(datasets.Value("float64"))
        return metric_info(retrieval_metrics, embedding, embedding)

    def _compute(self, predictions, references, **options):
        return retrieval_metrics(predictions, references, **options)
