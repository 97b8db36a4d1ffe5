# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Evaluation measures every subset, pair and loss over the rows that count, and changes nothing of the training."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers import MODALITIES
from toy_trainers import (
    Rows,
    assert_same_weights,
    encoded_row,
    logged,
    model_of,
    rows_of,
    tiny_model,
    toy_rows,
    toy_trainer,
    trainer_of,
    weights_of,
)

from mixture_of_transformers import (
    MoTConfig,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTProcessor,
)
from mixture_of_transformers.subsets_mot import all_subsets, subset_name
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EncodedDataset
from mixture_of_transformers.training.metrics import retrieval_metrics


def test_evaluating_subsets_equals_evaluating_each_alone(tmp_path):
    trainer, rows = toy_trainer(tmp_path, max_steps=5), toy_rows(30)
    trainer.train()
    results = trainer.evaluate_subsets(rows)
    names = {"text": "input_ids", "image": "pixel_values", "audio": "input_features"}
    for subset in all_subsets(tuple(names)):
        correct = []
        for row in rows:
            if all(names[modality] in row for modality in subset):
                kept = {names[modality]: row[names[modality]][None] for modality in subset}
                with torch.no_grad():
                    correct.append(trainer.model.eval()(**kept).logits.argmax().item() == row["labels"].item())
        assert results["+".join(subset)]["rows"] == len(correct)
        assert results["+".join(subset)]["accuracy"] == pytest.approx(np.mean(correct))


def test_evaluating_retrieval_ranks_over_the_whole_set_and_not_within_batches(tmp_path):
    rows = [encoded_row(text=3 if i % 3 else None, image=True, audio=6, label=i) for i in range(30)]
    trainer = toy_trainer(tmp_path, tiny_model(MoTForRetrieval), per_device_eval_batch_size=4)
    results = trainer.evaluate_retrieval(rows)
    assert list(results)[:2] == ["text->image", "image->text"] and "text+audio->image" in results
    complete = [row for row in rows if {"input_ids", "pixel_values"} <= set(row)]
    with torch.no_grad():
        texts = torch.cat([trainer.model.get_text_features(row["input_ids"][None]).pooler_output for row in complete])
        images = torch.cat(
            [trainer.model.get_image_features(row["pixel_values"][None]).pooler_output for row in complete]
        )
    expected = retrieval_metrics(texts, images)
    found = results["text->image"]
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-4)
    assert found["rows"] == len(complete) == 20


def test_retrieval_and_pretraining_train_and_evaluate_without_labels(tmp_path):
    rows = [{name: value for name, value in row.items() if name != "labels"} for row in toy_rows(36)]
    for model_class in (MoTForRetrieval, MoTForPreTraining):
        trainer = toy_trainer(tmp_path, tiny_model(model_class), max_steps=10, logging_steps=5)
        trainer.train_dataset = rows
        before = trainer.evaluate(rows)["eval_loss"]
        trainer.train()
        assert trainer.evaluate(rows)["eval_loss"] < before
        terms = set(trainer.state.log_history[0])
        assert terms >= ({"loss/text-image"} if model_class is MoTForRetrieval else {"loss/image", "loss/audio"})
    first, second = trainer.evaluate_terms(rows), trainer.evaluate_terms(rows)
    assert first == second and {"image", "audio", "contrastive/text-image"} <= set(first)


def sentiment_rows(number: int, labels: list) -> list[dict]:
    """Ready features of ragged lengths; row 0 has no face, row 1 no label."""
    rows = []
    for i in range(number):
        row = {
            "text_features": torch.randn(2 + i % 4, 768),
            "image_features": torch.randn(1 + i % 3, 2048),
            "input_features": torch.randn(3 + i % 5, 80),
            "labels": torch.tensor(labels[i % len(labels)]),
        }
        rows.append(row)
    del rows[0]["image_features"], rows[1]["labels"]
    return rows


@pytest.mark.parametrize("problem", ["three classes", "regression"])
def test_the_sentiment_recipe_trains_and_its_numbers_equal_those_computed_by_hand(problem, tmp_path):
    """Encoders and hierarchical fusion on features of widths 768, 2048 and 80 (docs/sentiment.md)."""
    is_regression = problem == "regression"
    config = MoTConfig.of_size(
        "tiny",
        num_encoder_layers=1,
        num_global_layers=0,
        fusion_type="hierarchical",
        text_config={"feature_size": 768},
        image_config={"feature_size": 2048},
        audio_config={"feature_size": 80},
        num_labels=1 if is_regression else 3,
        problem_type="regression" if is_regression else "single_label_classification",
    )
    rows = sentiment_rows(12, [-2.5, 0.0, 1.0, 3.0] if is_regression else [0, 1, 2])
    trainer = toy_trainer(tmp_path, MoTForSequenceClassification(config), max_steps=15, learning_rate=1e-3)
    trainer.train_dataset = rows
    before = trainer.evaluate(rows)["eval_loss"]
    trainer.train()
    assert trainer.evaluate(rows)["eval_loss"] < before
    found = trainer.evaluate_subsets(rows)["text+image+audio"]
    counted = rows[2:]  # the others lack a face and a label
    assert found["rows"] == len(counted)
    names = ("text_features", "image_features", "input_features")
    with torch.no_grad():
        answers = [trainer.model(**{name: row[name][None] for name in names}).logits[0] for row in counted]
    if is_regression:
        errors = [abs(answer.item() - row["labels"].item()) for answer, row in zip(answers, counted)]
        assert found["mae"] == pytest.approx(sum(errors) / len(errors), abs=1e-4)
    else:
        correct = [answer.argmax().item() == row["labels"].item() for answer, row in zip(answers, counted)]
        assert found["accuracy"] == pytest.approx(sum(correct) / len(correct))


@pytest.mark.parametrize("labels", [[1, 2, 0, None, None, None], [0.5, 1.0, 2.0, None, None, None]])
def test_a_batch_of_rows_without_labels_trains_and_evaluates(labels, tmp_path):
    """Here every second batch: it has labels none of which counts, rather than none."""
    is_class = isinstance(labels[0], int)
    split = Dataset.from_dict({"text": ["a b", "c", "d"] * 2, "label": labels})
    problem = {} if is_class else {"problem_type": "regression", "num_labels": 1}
    rows = EncodedDataset(split, MoTProcessor())
    assert all("labels" in rows[i] for i in range(6))
    trainer = toy_trainer(tmp_path, max_steps=2, per_device_eval_batch_size=3)
    trainer.model.config.update(problem)
    if not is_class:
        trainer.model.classifier = torch.nn.Linear(16, 1)
    trainer.train_dataset = rows
    trainer.train()
    assert np.isfinite(trainer.evaluate(rows)["eval_loss"])
    assert trainer.evaluate_subsets(rows)["text"]["rows"] == 3


@pytest.mark.training
def test_evaluating_no_rows_gives_no_numbers(tmp_path):
    subsets = {subset_name(subset): {"rows": 0} for subset in all_subsets(MODALITIES)}
    assert trainer_of(tmp_path).evaluate_subsets([]) == subsets
    pairs = trainer_of(tmp_path, model_of(MoTForRetrieval)).evaluate_retrieval([])
    assert set(pairs) >= {"text->image", "text+audio->image"} and all(n == {"rows": 0} for n in pairs.values())
    assert trainer_of(tmp_path, model_of(MoTForPreTraining)).evaluate_terms([]) == {}


@pytest.mark.training
def test_rows_without_labels_do_not_count_in_any_subset(tmp_path):
    unlabelled = rows_of(10, labels=False)
    assert all(numbers == {"rows": 0} for numbers in trainer_of(tmp_path).evaluate_subsets(unlabelled).values())
    some = trainer_of(tmp_path).evaluate_subsets(unlabelled + rows_of(10))
    assert some == trainer_of(tmp_path).evaluate_subsets(rows_of(10))


@pytest.mark.training
@pytest.mark.parametrize("head", [MoTForRetrieval, MoTForPreTraining])
def test_evaluations_of_one_model_are_equal(head, tmp_path):
    """Though what pretraining hides is drawn at random."""
    trainer = trainer_of(tmp_path, model_of(head), Rows(rows_of(labels=False)))
    first, second = ({k: v for k, v in trainer.evaluate().items() if "loss" in k or "recall" in k} for _ in range(2))
    assert first == second and len(first) > 2


@pytest.mark.training
def test_evaluating_the_training_rows_leaves_their_training_as_it_is(tmp_path):
    """Their epoch, what hides modalities by it, and every random number: the weights are bit-equal."""
    weights, losses = [], []
    for options in ({}, {"eval_strategy": "steps", "eval_steps": 3}):
        model = model_of(hidden_dropout=0.1)
        collator = MoTCollator(modality_dropout=0.5)
        trainer = trainer_of(tmp_path, model, Rows(rows_of()), collator=collator, max_steps=10, **options)
        torch.manual_seed(1)
        trainer.train()
        weights.append(weights_of(trainer))
        losses.append(logged(trainer))
    assert losses[0] == losses[1]
    assert_same_weights(*weights)
