# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows of like length share a batch in training; evaluation keeps the order of the rows."""

import numpy as np
import pytest
import torch
from helpers import MODALITIES
from toy_trainers import (
    NAMES,
    SAVING,
    Rows,
    accuracy,
    assert_same_weights,
    encoded_row,
    model_of,
    rows_of,
    toy_trainer,
    trainer_of,
    weights_of,
)

from mixture_of_transformers import MoTForPreTraining, MoTForRetrieval
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.samplers import ModalitySampler


def test_rows_of_like_length_share_a_batch(tmp_path):
    """Whatever they lack: the library's own sampler asks every row for its words."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(1, 40, (400,), generator=generator).tolist()
    rows = [encoded_row(text=None if n % 3 else 3, image=True, audio=n) for n in frames]
    padding = {}
    for strategy in ("random", "group_by_length"):
        trainer = toy_trainer(tmp_path, train_sampling_strategy=strategy)
        trainer.train_dataset = rows
        batches = list(trainer.get_train_dataloader())
        assert sum(len(batch["labels"]) for batch in batches) == 400
        padding[strategy] = sum((batch["input_features_mask"] == 0).sum().item() for batch in batches)
    assert padding["group_by_length"] < 0.4 * padding["random"]


@pytest.mark.training
@pytest.mark.parametrize("strategy", ["random", "group_by_length", "batch_rebalance"])
def test_evaluation_keeps_the_rows_in_their_order_however_training_samples_them(strategy, tmp_path):
    """Also where rows lack the text that the library measures them by."""
    rows = Rows(rows_of())
    trainer = trainer_of(tmp_path, rows=rows, train_sampling_strategy=strategy, max_steps=1, metrics=accuracy)
    trainer.train()
    predicted = trainer.predict(rows)
    assert predicted.label_ids.tolist() == [row["labels"].item() for row in rows.rows]
    batch = MoTCollator()([rows[i] for i in range(len(rows))])
    with torch.no_grad():
        expected = trainer.model.eval()(**batch).logits
    np.testing.assert_allclose(predicted.predictions, expected.numpy(), atol=1e-5)
    found = trainer.evaluate({"a": rows.rows, "b": rows})
    assert found["eval_a_accuracy"] == found["eval_b_accuracy"] == predicted.metrics["test_accuracy"]
    complete = [sum(name in row for row in rows.rows) for name in NAMES]
    found = trainer.evaluate_subsets(rows)
    assert [found[modality]["rows"] for modality in MODALITIES] == complete and min(complete) < len(rows)


@pytest.mark.training
@pytest.mark.parametrize("head", [MoTForRetrieval, MoTForPreTraining])
def test_rows_grouped_by_length_are_evaluated_by_every_head(head, tmp_path):
    rows = Rows(rows_of(labels=False))
    grouped = trainer_of(tmp_path, model_of(head), rows, train_sampling_strategy="group_by_length", max_steps=1)
    plain = trainer_of(tmp_path, grouped.model, rows)
    grouped.train()
    evaluate = "evaluate_retrieval" if head is MoTForRetrieval else "evaluate_terms"
    assert getattr(grouped, evaluate)(rows) == getattr(plain, evaluate)(rows)
    keys = {key for key in grouped.evaluate() if key.startswith("eval_loss/")}
    assert "eval_loss/text-image" in keys or "eval_loss/image" in keys


@pytest.mark.training
def test_rows_grouped_by_length_come_in_the_same_order_in_a_resumed_run(tmp_path):
    options = SAVING | {"train_sampling_strategy": "group_by_length", "max_steps": 10}
    whole = trainer_of(tmp_path, **options)
    whole.train()
    torch.rand(3)
    resumed = trainer_of(tmp_path / "resumed", **options)
    resumed.train(str(tmp_path / "checkpoint-6"))  # in the second epoch of four steps
    assert_same_weights(weights_of(resumed), weights_of(whole))


def test_rows_of_a_modality_that_many_lack_come_as_often_as_it_is_rare():
    """Of 100 rows 10 have audio, and 95 text, 5 of them both."""
    present = torch.zeros(100, 3, dtype=torch.bool)
    present[:90, 0] = present[85:95, 2] = True
    present[95:, 0] = True
    sampler = ModalitySampler(present, seed=0, epoch=lambda: 0)
    drawn = torch.bincount(torch.tensor(list(sampler)), minlength=100)
    assert drawn.sum() == len(sampler) == 100
    total = 10 * 10 + 90 * 100 / 95
    expected = torch.where(present[:, 2], 100 * 10 / total, 100 * (100 / 95) / total)
    assert ((drawn - expected).abs() < 1).all()


def test_rows_that_lack_nothing_come_once_each_in_another_order_in_each_epoch():
    epoch = 0
    sampler = ModalitySampler(torch.ones(257, 3, dtype=torch.bool), seed=3, epoch=lambda: epoch)
    first, again = list(sampler), list(sampler)
    epoch = 1
    assert sorted(first) == list(range(257)) and first == again and first != list(sampler)


@pytest.mark.training
def test_a_trainer_that_balances_modalities_knows_what_its_rows_have_and_resumes_in_the_same_order(tmp_path):
    rows = [encoded_row(text=3, audio=6 if n % 10 == 0 else None, label=n % 3) for n in range(60)]
    trainer = toy_trainer(tmp_path, train_sampling_strategy="balance_modalities")
    trainer.train_dataset = rows
    with_audio = sum("input_features" in rows[i] for i in trainer._get_train_sampler())
    assert with_audio == pytest.approx(60 * 60 / (60 + 54), abs=6)  # 6 of 60 rows, each ten times as often as others
    options = SAVING | {"train_sampling_strategy": "balance_modalities", "max_steps": 10}
    whole = trainer_of(tmp_path / "whole", **options)
    whole.train()
    resumed = trainer_of(tmp_path / "resumed", **options)
    resumed.train(str(tmp_path / "whole" / "checkpoint-6"))  # in the second epoch of four steps
    assert_same_weights(weights_of(resumed), weights_of(whole))
