# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a trained model has to reach: scikit-learn on hand-made features, fitted and measured on the same splits.

A floor fits an estimator to the training rows and is measured on all other splits. Settings are chosen by
cross-validation on the training rows alone; estimators that draw at random are fitted with three seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEEDS = (0, 1, 2)
PENALTIES = {"logisticregression__C": [0.01, 0.1, 1.0, 10.0]}
NUM_PARTS = 4
FREQUENCIES = np.linspace(0, 1, 8)  # of the highest that a series has

Metrics = Callable[[np.ndarray, np.ndarray], Mapping[str, float]]


@dataclass(frozen=True)
class Floor:
    """
    Args:
        name: what it sees and what it is, as the table shows it.
        inputs: the name of a split -> features (N, d), dense or sparse, of its rows.
        make: a seed -> an estimator that has not been fitted.
        is_random: whether the seed changes anything.
    """

    name: str
    inputs: Mapping[str, object]
    make: Callable[[int], BaseEstimator]
    is_random: bool = False

    def measure(self, targets: Mapping[str, np.ndarray], metrics: Metrics) -> dict[str, dict[str, list[float]]]:
        """The name of a split other than `train` -> the name of a metric -> its value for each seed."""
        found = {split: {} for split in targets if split != "train"}
        for seed in SEEDS if self.is_random else SEEDS[:1]:
            estimator = self.make(seed).fit(self.inputs["train"], targets["train"])
            for split, numbers in found.items():
                values = metrics(targets[split], estimator.predict(self.inputs[split]))
                for name, value in values.items():
                    numbers.setdefault(name, []).append(float(value))
        return found


def classification(targets: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """The first two numbers of `training.metrics.classification_metrics`, of answers rather than logits."""
    return {
        "accuracy": accuracy_score(targets, predicted),
        "f1_macro": f1_score(targets, predicted, average="macro", zero_division=0),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Estimators
# ---------------------------------------------------------------------------------------------------------------------
def logistic_regression(seed: int) -> BaseEstimator:
    """On standardised features; its penalty is chosen by five-fold cross-validation."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    return GridSearchCV(pipeline, PENALTIES, cv=StratifiedKFold(5, shuffle=True, random_state=seed))


def random_forest(seed: int) -> BaseEstimator:
    return RandomForestClassifier(500, random_state=seed)


def gradient_boosting(seed: int, **options) -> BaseEstimator:
    """It stops when a tenth of the training rows, drawn by the seed, gets no better."""
    return HistGradientBoostingClassifier(early_stopping=True, random_state=seed, **options)


# ---------------------------------------------------------------------------------------------------------------------
# Features of series
# ---------------------------------------------------------------------------------------------------------------------
def statistics(series: Sequence[np.ndarray]) -> np.ndarray:
    """Features (N, d) of N series (T, C) of any lengths: their length, and of each channel its mean, standard
    deviation, lowest and highest value, mean step, quartiles, mean in each quarter of the time, and spectrum."""
    return np.stack([np.concatenate([[len(values)], *map(channel_statistics, values.T)]) for values in series])


def channel_statistics(values: np.ndarray) -> np.ndarray:
    """Features (d,) of the samples (T,) of one channel, T being at least `NUM_PARTS`."""
    power = np.log(np.abs(np.fft.rfft(values - values.mean())) ** 2 / len(values) + 1e-6)
    return np.concatenate(
        [
            [values.mean(), values.std(), values.min(), values.max(), np.abs(np.diff(values)).mean()],
            np.quantile(values, [0.25, 0.5, 0.75]),
            [part.mean() for part in np.array_split(values, NUM_PARTS)],
            np.interp(FREQUENCIES, np.linspace(0, 1, len(power)), power),
        ]
    )


# ---------------------------------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------------------------------
def print_floors(
    floors: Sequence[Floor], targets: Mapping[str, np.ndarray], metrics: Metrics = classification
) -> None:
    """A line of Markdown for each floor, as it is measured; of several seeds the mean and the standard deviation."""
    for number, floor in enumerate(floors):
        found = floor.measure(targets, metrics)
        names = [f"{split} {metric}" for split, numbers in found.items() for metric in numbers]
        values = [written(seeds) for numbers in found.values() for seeds in numbers.values()]
        if number == 0:
            print(f"\n| floor | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
        print(f"| {floor.name} | {' | '.join(values)} |", flush=True)


def written(seeds: Sequence[float]) -> str:
    return f"{np.mean(seeds):.3f}" + (f" ± {np.std(seeds, ddof=1):.3f}" if len(seeds) > 1 else "")
