# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Cached gradients are those of the plain step, whatever the chunks, and take the memory of a chunk."""

import copy

import pytest
import torch
from helpers import MODALITIES, build, make_inputs, tiny_config

from mixture_of_transformers import MoTForPreTraining, MoTForRetrieval
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.gradient_cache import cached_step
from mixture_of_transformers.training.trainer import MoTTrainer

VARIANTS = {
    "rows": {},
    "labels": {"contrastive_positives": "label"},
    "sigmoid": {"contrastive_loss": "sigmoid"},
    "joint": {"num_joint_layers": 1, "num_global_layers": 1, "fusion_type": "attention"},
}


def retrieval_model(**fields):
    return build(MoTForRetrieval, tiny_config(**fields)).train()


def batch():
    """Ten rows, of which six lack something: a chunk may have none of a modality."""
    inputs = make_inputs(MODALITIES)
    return inputs | {"labels": torch.arange(len(inputs["input_ids"])) % 4}


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_equal_gradients(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        scale = max(1.0, gradient.abs().max().item())
        torch.testing.assert_close(found[name], gradient, atol=1e-5 * scale, rtol=0, msg=name)


@pytest.mark.parametrize("chunk_size", [1, 3, 5, 64])
@pytest.mark.parametrize("variant", VARIANTS)
def test_chunks_give_the_gradients_of_the_plain_step(variant, chunk_size):
    plain = retrieval_model(**VARIANTS[variant])
    cached = copy.deepcopy(plain)
    output = plain(**batch())
    output.loss.backward()
    loss, terms = cached_step(cached, cached.contrastive, batch(), chunk_size)
    torch.testing.assert_close(loss, output.loss.detach(), atol=1e-5, rtol=1e-5)
    assert terms.keys() == output.losses.keys()
    assert_equal_gradients(gradients(cached), gradients(plain))


def test_chunks_are_replayed_from_their_random_state():
    """With dropout, the reference keeps the graph of every chunk: the same draws, the same gradients."""
    fields = {"hidden_dropout": 0.2, "drop_path_rate": 0.3, "every_tower": {"hidden_dropout": 0.2}}
    cached = retrieval_model(**fields)
    kept = copy.deepcopy(cached)
    torch.manual_seed(0)
    cached_step(cached, cached.contrastive, batch(), 4)
    after = torch.rand(3)

    torch.manual_seed(0)
    sides, inputs = [], batch()
    labels = inputs.pop("labels")
    kept.contrastive.losses_override = lambda embeddings, *_: sides.append(embeddings) or {}
    for start in range(0, len(labels), 4):
        kept(**{name: value[start : start + 4] for name, value in inputs.items()})
    kept.contrastive.losses_override = None
    assert torch.equal(torch.rand(3), after)  # and what is drawn next is the same too
    joined = {
        name: type(side)(
            torch.cat([part[name].vectors for part in sides]), torch.cat([part[name].present for part in sides])
        )
        for name, side in sides[0].items()
    }
    kept.contrastive.mean(kept.contrastive.losses(joined, MODALITIES, labels), joined).backward()
    assert_equal_gradients(gradients(cached), gradients(kept))


def trainer_of(folder, model, rows, **options):
    defaults = {"max_steps": 2, "learning_rate": 0.1, "optim": "sgd", "report_to": "none", "save_strategy": "no"}
    arguments = MoTTrainingArguments(str(folder), logging_steps=1, use_cpu=True, **defaults | options)
    return MoTTrainer(model, arguments, MoTCollator(), rows)


def test_a_trainer_with_chunks_ends_at_the_weights_of_one_without(tmp_path):
    inputs = make_inputs(MODALITIES, masks=None)
    names = ("input_ids", "pixel_values", "input_features")
    rows = [{name: inputs[name][i % len(inputs[name])] + 0 for name in names} for i in range(8)]
    rows[1].pop("input_ids"), rows[4].pop("pixel_values")
    ends, logs = [], []
    for options in ({}, {"contrastive_chunk_size": 3}):
        options |= {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
        trainer = trainer_of(tmp_path, retrieval_model(), rows, **options)
        trainer.train()
        ends.append(trainer.model.state_dict())
        logs.append(trainer.state.log_history[0])
    assert_equal_gradients(ends[1], ends[0])
    assert {name for name in logs[0] if "loss" in name} == {name for name in logs[1] if "loss" in name}
    assert logs[1]["loss"] == pytest.approx(logs[0]["loss"], abs=1e-4)


def test_chunks_of_another_task_are_refused(tmp_path):
    model = build(MoTForPreTraining, tiny_config())
    with pytest.raises(ValueError, match="models that retrieve, not for MoTForPreTraining"):
        trainer_of(tmp_path, model, [], contrastive_chunk_size=2)
