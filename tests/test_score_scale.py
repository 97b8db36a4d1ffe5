# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Scores of any scale: learnt as numbers of mean 0 and standard deviation 1, answered in their own unit."""

import copy

import numpy as np
import pytest
import torch
from datasets import Dataset, Value
from helpers import MODALITIES, build, make_inputs, tiny_config
from huggingface_hub.errors import StrictDataclassClassValidationError
from peft import PeftModel

from mixture_of_transformers import MoTConfig, MoTForSequenceClassification, MoTProcessor
from mixture_of_transformers.attribution_mot import modality_contributions
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.labels import LabelSpec
from mixture_of_transformers.data.preparation import prepare_split
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments
from mixture_of_transformers.finetune.recipe import build_model, task_fields
from mixture_of_transformers.loss_mot import classification_loss
from mixture_of_transformers.pipeline_mot import MultimodalClassificationPipeline
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.optimization import add_lora
from mixture_of_transformers.training.trainer import MoTTrainer

MEAN, STD = 250_000.0, 80_000.0  # prices of houses
NAMES = ("input_ids", "pixel_values", "input_features")


def model_of(mean=0.0, std=1.0, head=MoTForSequenceClassification, **fields):
    scale = {"problem_type": "regression", "num_labels": 1, "regression_mean": mean, "regression_std": std}
    return build(head, tiny_config(**scale | fields))


def rows_of(labels: list[float]) -> list[dict]:
    inputs = make_inputs(MODALITIES, masks=None)
    rows = [{name: inputs[name][i % len(inputs[name])] for name in NAMES} for i in range(len(labels))]
    del rows[0]["input_ids"], rows[1]["pixel_values"]
    return [row | {"labels": torch.tensor(label)} for row, label in zip(rows, labels)]


def train(model, labels, folder, **options) -> MoTTrainer:
    defaults = {"max_steps": 8, "learning_rate": 1e-2, "save_strategy": "no", "logging_steps": 1, "report_to": "none"}
    arguments = MoTTrainingArguments(
        str(folder), use_cpu=True, disable_tqdm=True, per_device_train_batch_size=6, **defaults | options
    )
    torch.manual_seed(0)
    trainer = MoTTrainer(model, arguments, MoTCollator(), rows_of(labels), rows_of(labels))
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    "loss, objective, fusion",
    [("mse", "subsets", "early"), ("mse", "given", "hierarchical"), ("l1", "subsets", "attention")],
)
def test_prices_train_as_the_same_scores_from_minus_three_to_three(loss, objective, fusion, tmp_path):
    """Step for step the same losses, and answers that are those of the scores in the unit of the prices."""
    scores = torch.linspace(-3, 3, 12).tolist()
    prices = [MEAN + STD * score for score in scores]
    fields = {"regression_loss": loss, "fusion_type": fusion}
    trained = [
        train(model_of(*scale, **fields), labels, tmp_path, objective=objective)
        for scale, labels in (((0.0, 1.0), scores), ((MEAN, STD), prices))
    ]
    logs = [[entry["loss"] for entry in trainer.state.log_history if "loss" in entry] for trainer in trained]
    assert logs[1] == pytest.approx(logs[0], rel=1e-2) and len(logs[0]) == 8 and min(logs[0]) < logs[0][0]
    answers, in_prices = (trainer.predict(rows_of(scores)).predictions for trainer in trained)
    np.testing.assert_allclose((in_prices - MEAN) / STD, answers, atol=0.05)
    numbers = [trainer.evaluate_subsets(trainer.eval_dataset)["text"]["mae"] for trainer in trained]
    assert numbers[1] == pytest.approx(STD * numbers[0], rel=0.05)


def test_without_a_scale_nothing_is_changed():
    """So are the checkpoints of earlier versions, whose config says nothing of it."""
    fields = {k: v for k, v in model_of().config.to_dict().items() if k not in ("regression_mean", "regression_std")}
    model = model_of()
    old = MoTForSequenceClassification(MoTConfig(**fields))
    old.load_state_dict(model.state_dict())
    inputs = make_inputs(MODALITIES)
    with torch.no_grad():
        assert torch.equal(old.eval()(**inputs).logits, model(**inputs).logits)
    logits, labels = torch.randn(5, 1), torch.randn(5)
    expected = torch.nn.functional.mse_loss(logits[:, 0], labels)
    assert torch.equal(classification_loss(logits, labels, old.config), expected)


def test_answers_in_half_precision_reach_any_price():
    model = model_of(MEAN, STD).to(torch.bfloat16)
    inputs = make_inputs(MODALITIES)
    inputs = {n: v.to(torch.bfloat16) if v.is_floating_point() else v for n, v in inputs.items()}
    with torch.no_grad():
        logits = model(**inputs).logits
    assert logits.dtype == torch.float32 and logits.isfinite().all() and len(set(logits.flatten().tolist())) > 1


def test_another_scale_leaves_the_answers_as_they_are():
    model = model_of(MEAN, STD)
    inputs, before = make_inputs(MODALITIES), copy.deepcopy(model)
    model.set_scale(5.0, 0.5)
    assert (model.config.regression_mean, model.config.regression_std) == (5.0, 0.5)
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, before(**inputs).logits, rtol=1e-5, atol=0)


def test_the_scale_is_saved_and_every_way_of_asking_answers_in_the_unit(tmp_path):
    processor = MoTProcessor()
    text = {"vocab_size": len(processor.tokenizer)}
    model = model_of(MEAN, STD, text_config=text, image_config=None, audio_config=None)
    with torch.no_grad():
        expected = model(**processor(text="a house")).logits.item()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = MoTForSequenceClassification.from_pretrained(tmp_path)
    assert loaded(**processor(text="a house")).logits.item() == expected
    assert abs(expected - MEAN) < 30 * STD
    classify = MultimodalClassificationPipeline(model=loaded, processor=processor)
    assert classify({"text": "a house"})["value"] == pytest.approx(expected)
    found = modality_contributions(loaded, dict(processor(text="a house")))
    assert found.prior.item() + found.values.sum().item() == pytest.approx(expected)
    by_subset = loaded(**processor(text="a house"), modality_subsets=[("text",)]).logits
    assert by_subset.item() == pytest.approx(expected)


def test_the_scale_is_that_of_the_training_labels():
    labels = [100_000.5, None, 300_000.5, 200_000.5]
    split = Dataset.from_dict({"text": list("abcd"), "label": labels})
    columns = ModalityColumns.guess(split.features)
    for source in (split, split.to_iterable_dataset()):
        _, spec = prepare_split(source, columns)
        assert (spec.mean, spec.std) == pytest.approx((200_000.5, np.std([1e5, 2e5, 3e5])))
        fields = task_fields("regression", spec)
        assert fields["regression_mean"] == spec.mean and fields["regression_std"] == spec.std


@pytest.mark.parametrize("labels", [[7.5, 7.5, 7.5], [None] * 300 + [1.5, 2.5]])
def test_labels_that_do_not_vary_or_come_late_give_no_scale(labels):
    """A stream's first rows may have none, which is no error of the stream."""
    split = Dataset.from_dict({"text": ["a"] * len(labels), "label": labels}).cast_column("label", Value("float32"))
    columns = ModalityColumns.guess(split.features)
    sources = [split.to_iterable_dataset()] + [split] * (labels[0] is not None)
    for source in sources:
        _, spec = prepare_split(source, columns)
        assert (spec.mean, spec.std) == (0.0, 1.0)


@pytest.mark.parametrize("std", [0.0, -1.0, float("inf"), float("nan")])
def test_a_scale_that_is_none_is_an_error(std):
    with pytest.raises(StrictDataclassClassValidationError, match="`regression_mean` and `regression_std`"):
        MoTConfig(regression_std=std)


PRICES = LabelSpec("regression", mean=MEAN, std=STD)


def test_going_on_from_a_regression_keeps_its_answers_and_learns_on_the_new_scale(tmp_path):
    old = model_of(3.0, 2.0)
    old.save_pretrained(tmp_path)
    model = build_model(None, DataArguments(task="regression"), PRICES, ModelArguments(str(tmp_path))).eval()
    assert (model.config.regression_mean, model.config.regression_std) == (MEAN, STD)
    inputs = make_inputs(MODALITIES)
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, old(**inputs).logits, rtol=0, atol=0.1)  # of 80 000


def test_going_on_from_another_head_begins_at_the_mean(tmp_path):
    old = model_of(problem_type="single_label_classification", num_labels=3)
    old.save_pretrained(tmp_path)
    model = build_model(None, DataArguments(task="regression"), PRICES, ModelArguments(str(tmp_path))).eval()
    with torch.no_grad():
        answers = model(**make_inputs(MODALITIES)).logits
    assert ((answers - MEAN).abs() < 2 * STD).all()


def test_an_adapter_of_a_regression_answers_in_its_unit_when_it_is_loaded(tmp_path):
    """By the config that lies beside it."""
    model_of(problem_type="single_label_classification", num_labels=3).save_pretrained(tmp_path / "base")
    model = build_model(None, DataArguments(task="regression"), PRICES, ModelArguments(str(tmp_path / "base")))
    prices = [MEAN + STD * score for score in torch.linspace(-2, 2, 12).tolist()]
    trainer = train(add_lora(model, rank=2), prices, tmp_path / "run", max_steps=2)
    trainer.save_model(tmp_path / "adapter")
    config = MoTConfig.from_pretrained(tmp_path / "adapter")
    base = MoTForSequenceClassification.from_pretrained(tmp_path / "base", config=config, ignore_mismatched_sizes=True)
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    inputs = make_inputs(MODALITIES)
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs).logits, trainer.model.eval()(**inputs).logits)
