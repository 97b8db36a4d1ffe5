# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""One model learns to answer from every subset of its modalities, with the labels that each subset can answer."""

import pytest
import torch
from toy_trainers import encoded_row, model_of, rows_of, toy_rows, toy_trainer, trainer_of

from mixture_of_transformers import MoTForPreTraining, MoTForRetrieval
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.objective import row_has


def test_row_has_tells_which_rows_have_all_or_any_of_a_subset():
    batch = MoTCollator()([encoded_row(text=3), encoded_row(text=2, audio=4)])
    assert row_has(batch, ("text", "audio"), all).tolist() == [False, True]
    assert row_has(batch, ("text", "audio"), any).tolist() == [True, True]
    assert row_has(batch, ("image",), any).tolist() == [False, False]


@pytest.mark.parametrize("label_smoothing_factor", [0.0, 0.1])
def test_one_model_learns_every_subset_at_once(tmp_path, label_smoothing_factor):
    trainer = toy_trainer(tmp_path, label_smoothing_factor=label_smoothing_factor)
    trainer.train()
    results = trainer.evaluate_subsets(toy_rows(30))
    assert list(results) == ["text", "image", "audio", "text+image", "text+audio", "image+audio", "text+image+audio"]
    assert {name: numbers["accuracy"] for name, numbers in results.items()} == dict.fromkeys(results, 1.0)
    assert results["text+image+audio"]["rows"] == 20  # a third of the rows lacks something
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert label_smoothing_factor or {"loss/text", "loss/image", "loss/audio"} <= set(logged[0])


def test_compute_loss_func_sees_every_subset_with_its_labels(tmp_path):
    seen = []

    def loss(outputs, labels, num_items_in_batch=None):
        seen.append((outputs.logits.shape, labels))
        return torch.nn.functional.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten())

    toy_trainer(tmp_path, compute_loss_func=loss, max_steps=2).train()
    shape, labels = seen[0]
    assert shape == (12, 4, 3)
    assert labels.shape == (12, 4)
    # The rows that lack a modality do not count where it stands alone, and do where the subset is larger.
    assert 0 < (labels[:, :3] == -100).sum() < 12
    assert (labels[:, 3] == -100).sum() == 0


@pytest.mark.training
@pytest.mark.parametrize(
    "fields, labels, problem",
    [
        ({"problem_type": "regression", "num_labels": 1}, torch.tensor(0.5), "regression"),
        ({"problem_type": None, "num_labels": 1}, torch.tensor(0.5), "regression"),
        ({"problem_type": "multi_label_classification"}, torch.ones(3), "multi_label_classification"),
        ({"problem_type": None}, torch.ones(3), "multi_label_classification"),
    ],
)
def test_label_smoothing_without_one_class_a_row_is_an_error(fields, labels, problem, tmp_path):
    rows = [row | {"labels": labels} for row in rows_of(4)]
    model = model_of(**fields)
    with pytest.raises(ValueError, match=f"label_smoothing_factor .* problem_type is {problem}"):
        trainer_of(tmp_path, model, rows, label_smoothing_factor=0.1)


@pytest.mark.training
@pytest.mark.parametrize("head", [MoTForRetrieval, MoTForPreTraining])
def test_label_smoothing_of_a_loss_without_labels_is_an_error(head, tmp_path):
    with pytest.raises(ValueError, match=f"label_smoothing_factor is for classes, and {head.__name__}"):
        trainer_of(tmp_path, model_of(head), label_smoothing_factor=0.1)
