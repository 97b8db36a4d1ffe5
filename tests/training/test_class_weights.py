# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rare classes that count as much as frequent ones."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mixture_of_transformers import MoTConfig, MoTForSequenceClassification
from mixture_of_transformers.loss_mot import classification_loss
from mixture_of_transformers.training.objective import balanced_weights, weighted_loss

SUBSETS = [("text",), ("image",), ("text", "image")]


def config_of(problem: str, number: int = 3) -> MoTConfig:
    return MoTConfig(
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=number,
        problem_type=problem,
        audio_config=None,
        text_config={"vocab_size": 9, "num_hidden_layers": 1},
        image_config={"image_size": 8, "patch_size": 4, "num_hidden_layers": 1},
    )


def test_balanced_weights_are_those_of_scikit_learn():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] + [-100])
    weights = balanced_weights(labels, "single_label_classification", 3)
    assert np.allclose(weights, [10 / (3 * 6), 10 / (3 * 3), 10 / (3 * 1)])
    hot = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, torch.nan], [1.0, 0.0]])
    assert np.allclose(balanced_weights(hot, "multi_label_classification", 2), [1 / 3, 2 / 1])


def test_a_class_without_a_row_weighs_one():
    weights = balanced_weights(torch.tensor([0, 0, 1, 1]), "single_label_classification", 3)
    assert weights.tolist() == [1.0, 1.0, 1.0]


def test_weights_are_those_of_pytorch_but_for_the_mean_over_rows():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, -100, 1])
    weights = torch.tensor([0.5, 2.0, 3.0])
    found = classification_loss(logits, labels, config_of("single_label_classification"), weights=weights)
    rows = F.cross_entropy(logits, labels, weights, reduction="none", ignore_index=-100)
    assert torch.allclose(found, rows.sum() / 5)
    hot = (torch.rand(6, 3) > 0.5).float()
    found = classification_loss(logits, hot, config_of("multi_label_classification"), weights=weights)
    assert torch.allclose(found, F.binary_cross_entropy_with_logits(logits, hot, pos_weight=weights))


@pytest.mark.parametrize("subsets", [SUBSETS, None])
def test_weights_of_one_leave_the_loss_of_the_head(subsets):
    torch.manual_seed(0)
    model = MoTForSequenceClassification(config_of("single_label_classification")).eval()
    inputs = {
        "input_ids": torch.randint(1, 9, (4, 5)),
        "attention_mask": torch.tensor([[1] * 5, [1] * 3 + [0] * 2, [0] * 5, [1] * 5]),
        "pixel_values": torch.randn(4, 3, 8, 8),
        "pixel_mask": torch.tensor([1, 0, 1, 1]),
        "labels": torch.tensor([0, 1, 2, -100]),
    }
    asked = {"modality_subsets": subsets} if subsets else {}
    outputs = model(**inputs, **asked)
    found = weighted_loss(outputs.logits, inputs, subsets, model.config, torch.ones(3))
    assert torch.allclose(found, outputs.loss)
    assert not torch.allclose(
        weighted_loss(outputs.logits, inputs, subsets, model.config, torch.tensor([5.0, 1.0, 0.1])), found
    )
