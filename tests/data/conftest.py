# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the tests of `data/` share: the embedded dataset, and a cache of their own."""

import datasets
import pytest

from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.preparation import prepare_splits


@pytest.fixture(scope="module")
def digits():
    return load_digits_dataset()


@pytest.fixture(scope="module")
def prepared_digits(digits):
    return prepare_splits(digits, ModalityColumns.guess(digits["train"].features))[0]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets_cache")))
