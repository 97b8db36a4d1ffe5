# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The inputs are written once: what callers, the library and `help` see of them in every head."""

import inspect

import pytest
import torch
from helpers import MODALITIES, build, make_inputs, tiny_config
from transformers.utils.generic import can_return_loss, find_labels

from mixture_of_transformers import (
    MoTConfig,
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTModel,
    modeling_mot,
)

NAMES = (
    "input_ids",
    "attention_mask",
    "pixel_values",
    "pixel_mask",
    "input_features",
    "input_features_mask",
    "text_features",
    "image_features",
    "pixel_times",
    "input_features_times",
)
OWN = {
    MoTModel: (),
    MoTForSequenceClassification: ("labels", "modality_subsets"),
    MoTForRetrieval: ("labels", "return_loss"),
    MoTForPreTraining: ("text_labels", "image_labels", "audio_labels", "return_loss"),
    MoTForMaskedLM: ("labels",),
}
ALONE = {
    "text": ("input_ids", "attention_mask", "text_features"),
    "image": ("pixel_values", "pixel_mask", "image_features", "pixel_times"),
    "audio": ("input_features", "input_features_mask", "input_features_times"),
}


def names_by_position(method):
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)


@pytest.mark.parametrize("head", OWN, ids=lambda head: head.__name__)
def test_the_signature_of_every_head_shows_each_input_and_then_its_own_arguments(head):
    assert names_by_position(head.forward) == NAMES + OWN[head]
    parameters = inspect.signature(head.forward).parameters
    assert parameters["inputs_embeds"].kind is inspect.Parameter.KEYWORD_ONLY
    assert all(parameters[name].default is None for name in NAMES)


@pytest.mark.parametrize("modality", ALONE)
def test_the_features_of_one_modality_take_its_inputs_alone(modality):
    method = getattr(MoTForRetrieval, f"get_{modality}_features")
    assert names_by_position(method) == ALONE[modality]


def test_the_library_finds_the_labels_and_the_loss_of_every_head():
    assert find_labels(MoTForSequenceClassification) == ["labels"] == find_labels(MoTForMaskedLM)
    assert find_labels(MoTForPreTraining) == ["text_labels", "image_labels", "audio_labels"]
    assert [head for head in OWN if can_return_loss(head)] == []  # by default; both ask for it in the trainer
    assert "return_loss" in inspect.signature(MoTForRetrieval.forward).parameters


@pytest.mark.parametrize("head", OWN, ids=lambda head: head.__name__)
def test_help_shows_the_shapes_of_the_inputs_and_the_own_arguments(head):
    text = inspect.getdoc(head.forward)
    assert [name for name in (*NAMES, "inputs_embeds", *OWN[head]) if name not in text] == []
    assert "pixel_values: (B, C, H, W) images" in text


def test_inputs_by_position_are_those_by_name():
    model, inputs = build(MoTForSequenceClassification, tiny_config()).eval(), make_inputs(MODALITIES)
    labels = torch.zeros(len(inputs["input_ids"]), dtype=torch.long)
    with torch.no_grad():
        named = model(**inputs, labels=labels)
        placed = model(*(inputs.get(name) for name in NAMES), labels)
    assert torch.equal(placed.logits, named.logits) and torch.equal(placed.loss, named.loss)


def test_an_argument_that_is_given_twice_or_has_no_place_is_a_type_error():
    model, inputs = build(MoTModel, tiny_config()), make_inputs(("text",))
    with pytest.raises(TypeError, match="multiple values for argument 'input_ids'"):
        model(inputs["input_ids"], input_ids=inputs["input_ids"])
    with pytest.raises(TypeError, match="takes 10 arguments by position, got 11"):
        model(*[None] * 11)


@pytest.mark.parametrize("head", OWN, ids=lambda head: head.__name__)
def test_a_forward_collects_its_inputs_once(head, monkeypatch):
    calls, collect = [], modeling_mot.collect_inputs
    monkeypatch.setattr(modeling_mot, "collect_inputs", lambda *args: calls.append(args) or collect(*args))
    build(head, tiny_config()).train()(**make_inputs(MODALITIES))
    assert len(calls) == 1


def test_a_forward_leaves_what_it_is_given_as_it_was():
    inputs = make_inputs(MODALITIES)
    before = {name: value.clone() for name, value in inputs.items()}
    build(MoTModel, tiny_config())(**inputs)
    assert inputs.keys() == before.keys()
    assert all(torch.equal(inputs[name], value) for name, value in before.items())


def test_a_config_of_text_image_or_audio_is_of_no_other_kind():
    for name in MODALITIES:
        assert MoTConfig(**{f"{name}_config": {"model_type": f"mot_{name}"}}).modality_config(name) is not None
        with pytest.raises(
            ValueError, match=f"`{name}_config` is of the kind mot_{name}, got `model_type` mot_series"
        ):
            MoTConfig(**{f"{name}_config": {"model_type": "mot_series"}})
