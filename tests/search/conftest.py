# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the tests of `search/` share: a small model, and an index that each test may change."""

import shutil

import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from small_indices import paint, texts
from word_retriever import WORDS, make_model, make_processor

from mixture_of_transformers.search.building import build_index
from mixture_of_transformers.search.index import Index


@pytest.fixture(scope="module")
def parts():
    return make_model(), make_processor()


@pytest.fixture(scope="module")
def built(parts, tmp_path_factory):
    return build_index(texts(*WORDS[:6]), *parts, tmp_path_factory.mktemp("built"), shard_rows=4).folder


@pytest.fixture
def index(built, parts, tmp_path):
    """One of two shards, to be changed."""
    return Index.load(shutil.copytree(built, tmp_path / "index"), *parts)


@pytest.fixture(scope="module")
def shelf(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shelf")
    picture = paint(folder / "a.png", 10)
    columns = {
        "text": ["red", "blue", None],
        "image": [picture, None, picture],
        "size": [1, 2, None],
        "price": [0.1, 2.0, 0.1],
        "sold": [True, False, None],
        "kind": [0, 1, -1],
        "tags": [["a", "b"], [], None],
    }
    types = {"text": "string", "size": "int64", "price": "float32", "sold": "bool"}
    features = {name: Value(kind) for name, kind in types.items()}
    features |= {"image": Image(), "kind": ClassLabel(names=["cat", "dog"]), "tags": List(Value("string"))}
    return build_index(Dataset.from_dict(columns, features=Features(features)), *parts, folder / "index")
