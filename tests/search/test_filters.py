# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A filter lets through the rows with these values, and says where it can match none."""

import numpy as np
import pytest
import torch
from word_retriever import WIDTH


@pytest.mark.parametrize(
    "where, ids",
    [
        ({"text": "red"}, {0}),
        ({"text": None}, {2}),
        ({"image": None}, {1}),
        ({"size": 1}, {0}),
        ({"size": 1.0}, {0}),
        ({"size": np.int64(2)}, {1}),
        ({"size": None}, {2}),
        ({"price": 0.1}, {0, 2}),
        ({"price": 2}, {1}),
        ({"sold": False}, {1}),
        ({"kind": "dog"}, {1}),
        ({"kind": 0}, {0}),
        ({"kind": -1}, {2}),
        ({"tags": ["a", "b"]}, {0}),
        ({"tags": []}, {1}),
        ({"tags": None}, {2}),
        ({"price": 0.1, "kind": "cat"}, {0}),
        ({}, {0, 1, 2}),
    ],
)
def test_a_filter_lets_through_the_rows_with_these_values(where, ids, shelf):
    assert {hit["id"] for hit in shelf.search(embedding=torch.ones(WIDTH), where=where)} == ids


@pytest.mark.parametrize(
    "where, message",
    [
        ({"image": "a.png"}, "cannot compare 'image', a column of images, with 'a.png'.*a function of the row"),
        ({"pries": 1}, "names 'pries', but the rows have .*Did you mean 'price'"),
        ({"text_embedding": [1.0]}, "names 'text_embedding', but the rows have text, image, "),
        ({"kind": "dogs"}, "the class 'dogs' of 'kind', which is none of its classes: did you mean 'dog'"),
        ({"kind": 2}, "class 2 of 'kind', which has 0 to 1"),
        ({"size": "1"}, r"'1' \(str\) in 'size', whose cells are int64, so that nothing matches"),
        ({"size": 1.5}, r"1.5 \(float\) in 'size'"),
        ({"size": True}, r"True \(bool\) in 'size'"),
        ({"price": True}, r"True \(bool\) in 'price'"),
        ({"sold": 1}, r"1 \(int\) in 'sold'"),
        ({"text": 3}, r"3 \(int\) in 'text'"),
        ({"text": ["red", "blue"]}, r"\(list\) in 'text'"),
        ({"tags": "a"}, r"'a' \(str\) in 'tags'"),
        ("size == 1", "expected a dict from columns to values, or a function"),
    ],
)
def test_a_filter_that_can_match_nothing_is_an_error(where, message, shelf):
    with pytest.raises(ValueError, match=message):
        shelf.search(embedding=torch.ones(WIDTH), where=where)
