# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Learners of fixed numbers on ready features: scikit-learn's with imputed gaps, and boosted trees, which take gaps.

Penalties are chosen on the validation rows, which also say when boosting stops, and how many components a search has.
"""

import itertools
from collections.abc import Callable, Iterable

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from mixture_of_transformers.training.metrics import retrieval_metrics

from .features import ReadyFeatures
from .problems import Problem, Row, labels_of, of_subset, only_modality

Answer = Callable[[list[Row]], np.ndarray]

COMPONENTS = (16, 32, 64, 128, 256)  # how many principal components a side of a search may have
PATIENCE = 10  # rounds of boosting without a better loss on the validation rows


def answer_of(model: BaseEstimator, features: ReadyFeatures, is_classes: bool) -> Answer:
    give = model.predict_proba if is_classes else model.predict
    return lambda rows: give(features(rows))


def best(models: Iterable[BaseEstimator], problem: Problem) -> tuple[Pipeline, ReadyFeatures]:
    """The model that is best on the validation rows, by accuracy or explained variance, with gaps that are imputed."""
    features = ReadyFeatures(problem)
    train, validation = features(problem.train), features(problem.validation)
    fitted = [with_imputed_gaps(model).fit(train, labels_of(problem.train)) for model in models]
    return max(fitted, key=lambda model: model.score(validation, labels_of(problem.validation))), features


def with_imputed_gaps(model: BaseEstimator) -> Pipeline:
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), model)


def linear(problem: Problem, seed: int) -> Answer:
    if problem.classes:
        models = [LogisticRegression(C=c, max_iter=1000) for c in (0.001, 0.01, 0.1, 1.0)]
    else:
        models = [Ridge(alpha=alpha) for alpha in (0.1, 1.0, 10.0, 100.0)]
    model, features = best(models, problem)
    return answer_of(model, features, bool(problem.classes))


def support_vectors(problem: Problem, seed: int) -> Answer:
    penalties = (0.1, 1.0, 10.0, 100.0)
    if problem.classes:
        model, features = best([SVC(C=c, random_state=seed) for c in penalties], problem)
        # Platt's scaling on the validation rows makes probabilities of its distances.
        model = CalibratedClassifierCV(FrozenEstimator(model))
        model.fit(features(problem.validation), labels_of(problem.validation))
    else:  # of numbers of any scale: an error of a tenth of their spread is none, as in SVR's default of scores
        spread = labels_of(problem.train).std()
        model, features = best([SVR(C=c * spread, epsilon=0.1 * spread) for c in penalties], problem)
    return answer_of(model, features, bool(problem.classes))


def boosting(problem: Problem, seed: int) -> Answer:
    kind = HistGradientBoostingClassifier if problem.classes else HistGradientBoostingRegressor
    model = kind(early_stopping=True, n_iter_no_change=PATIENCE, random_state=seed)
    features = ReadyFeatures(problem)
    model.fit(
        features(problem.train),
        labels_of(problem.train),
        X_val=features(problem.validation),
        y_val=labels_of(problem.validation),
    )
    return answer_of(model, features, bool(problem.classes))


def lightgbm(problem: Problem, seed: int) -> Answer:
    from lightgbm import LGBMClassifier, LGBMRegressor, early_stopping

    kind = LGBMClassifier if problem.classes else LGBMRegressor
    model = kind(random_state=seed, n_jobs=1, verbose=-1)
    features = ReadyFeatures(problem)
    model.fit(
        features(problem.train),
        labels_of(problem.train),
        eval_X=features(problem.validation),
        eval_y=labels_of(problem.validation),
        callbacks=[early_stopping(PATIENCE, verbose=False)],
    )
    return answer_of(model, features, bool(problem.classes))


def canonical(problem: Problem, seed: int) -> Answer:
    """
    Canonical correlation between the principal components of two modalities, with each pair of variables weighted by
    its correlation. An imputed gap stands at the mean, and so adds nothing to what the two have in common. How many
    components a side has is what lets most validation rows find their own pair among the first ten.
    """
    features, whitened, (first, second) = ReadyFeatures(problem), {}, problem.modalities
    for modality in (first, second):
        train = features.of_modality(problem.train, modality)
        analysis = PCA(min(max(COMPONENTS), *train.shape), whiten=True, random_state=seed)
        whitened[modality] = make_pipeline(SimpleImputer(keep_empty_features=True), analysis).fit(train)

    def components(rows: list[Row], modality: str) -> np.ndarray:
        return whitened[modality].transform(features.of_modality(rows, modality))

    train = [components(problem.train, modality) for modality in (first, second)]
    validation = [components(of_subset(problem.validation, (first, second)), m) for m in (first, second)]
    candidates = []
    for sizes in itertools.product(COMPONENTS, repeat=2):
        one, other = (values[:, :size] for values, size in zip(train, sizes))
        left, correlations, right = np.linalg.svd(one.T @ other / len(one), full_matrices=False)
        candidates.append((left * correlations, right.T * correlations))

    def found_again(directions: tuple[np.ndarray, np.ndarray]) -> float:
        one, other = (values[:, : len(of)] @ of for values, of in zip(validation, directions))
        return sum(retrieval_metrics(*pair)["recall_at_10"] for pair in ((one, other), (other, one)))

    directions = dict(zip((first, second), max(candidates, key=found_again)))

    def answer(rows: list[Row]) -> np.ndarray:
        modality = only_modality(rows)
        return components(rows, modality)[:, : len(directions[modality])] @ directions[modality]

    return answer
