# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Adding a modality to a trained model changes no answer of rows without it, for all heads and fusions."""

import pytest
import torch
from helpers import build, make_inputs, max_difference, run, tiny_config

from mixture_of_transformers import (
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTModel,
)

HEADS = (MoTModel, MoTForSequenceClassification, MoTForRetrieval, MoTForPreTraining, MoTForMaskedLM)
FUSIONS = ("late", "early", "hierarchical", "attention")
DEPTH = {"model_type": "mot_image", "num_channels": 1, "image_size": 8, "patch_size": 4, "num_hidden_layers": 1}
IMAGE = {"image_size": 8, "patch_size": 4, "num_hidden_layers": 1}
ADDED = {"depth": DEPTH, "image": IMAGE}  # a name of the user's, and one in the middle of the fixed order
NEW_INPUTS = {
    "depth": ("depth_values", (5, 1, 8, 8), "depth_mask"),
    "image": ("pixel_values", (5, 3, 8, 8), "pixel_mask"),
}


def answers(model, inputs):
    """All that a model says of a batch, by name."""
    output = run(model, inputs)
    names = ("last_hidden_state", "pooler_output", "logits", "text_embeds", "audio_embeds", "logits_per_text")
    found = {n: output[n] for n in (*names, "text_predictions", "audio_predictions") if n in output}
    if isinstance(model, MoTForRetrieval):
        with torch.no_grad():
            found["fused"] = model.get_fused_features(**inputs).pooler_output
    return found


@pytest.mark.parametrize("name", ADDED)
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("head", HEADS)
def test_answers_of_rows_without_it_stay(head, fusion, name):
    config = tiny_config("uneven_towers", fusion_type=fusion, image_config=None, num_labels=3)
    model, inputs = build(head, config), make_inputs(("text", "audio"))
    expected, weights = answers(model, inputs), {n: p.clone() for n, p in model.named_parameters()}
    added = model.add_modality(name, ADDED[name])
    found = answers(model, inputs)
    assert found.keys() == expected.keys()
    for part in expected:
        assert max_difference(found[part], expected[part]) < 1e-6, part
    # What was learnt is there, and all else is new.
    now = dict(model.named_parameters())
    assert set(now) == {*weights, *added}
    for part, weight in weights.items():
        if "fusion.projection.weight" not in part:
            assert torch.equal(now[part], weight), part
    # A model that had it from the start has the same parameters in the same order.
    fresh = head(model.config)
    assert [(n, p.shape) for n, p in fresh.named_parameters()] == [(n, p.shape) for n, p in model.named_parameters()]


@pytest.mark.parametrize("name", ADDED)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_rows_that_lack_it_are_answered_as_before_beside_rows_that_have_it(fusion, name):
    config = tiny_config(fusion_type=fusion, image_config=None, num_labels=3)
    model, inputs = build(MoTForSequenceClassification, config), make_inputs(("text", "audio"))
    inputs = {key: value[:5] for key, value in inputs.items()}
    expected = run(model, inputs).logits
    model.add_modality(name, ADDED[name])
    value, shape, mask = NEW_INPUTS[name]
    has = torch.tensor([1, 0, 1, 0, 0])
    found = run(model, inputs | {value: torch.randn(shape), mask: has}).logits
    assert max_difference(found[has == 0], expected[has == 0]) < 1e-5


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("head", HEADS[1:])
def test_a_grown_model_trains_all_of_it_and_is_saved_and_loaded(head, fusion, tmp_path):
    config = tiny_config(fusion_type=fusion, image_config=None, num_labels=3)
    model, inputs = build(head, config), make_inputs(("text", "audio"))
    model.add_modality("depth", DEPTH)
    inputs = {key: value[:5] for key, value in inputs.items()} | {"depth_values": torch.randn(5, 1, 8, 8)}
    labels = {
        MoTForSequenceClassification: {"labels": torch.tensor([0, 1, 2, 0, 1])},
        MoTForMaskedLM: {"labels": inputs["input_ids"]},
    }.get(head, {})
    model.train()
    model(**inputs, **labels).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    model.eval().save_pretrained(tmp_path)
    loaded = head.from_pretrained(tmp_path)
    assert loaded.config.modalities == model.config.modalities == ("text", "audio", "depth")
    for part, value in answers(model, inputs).items():
        assert torch.equal(answers(loaded, inputs)[part], value), part


def test_what_is_frozen_half_precision_or_eager_stays_so():
    model = build(MoTModel, tiny_config(image_config=None), attention="eager").to(torch.bfloat16)
    for parameter in model.encoders.text.parameters():
        parameter.requires_grad_(False)
    added = model.add_modality("depth", DEPTH)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in model.encoders.text.parameters())
    assert all(model.get_parameter(name).requires_grad for name in added)
    assert model.config._attn_implementation == model.config.depth_config._attn_implementation == "eager"
    assert not model.get_parameter("modality_embeddings.depth").any()


def test_a_modality_that_is_there_or_cannot_be_is_refused_and_nothing_changes():
    model = build(MoTModel, tiny_config())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="has a modality 'text' already"):
        model.add_modality("text", {})
    with pytest.raises(ValueError, match="cannot be called 'pixel'"):
        model.add_modality("pixel", DEPTH)
    with pytest.raises(ValueError, match="needs a config"):
        model.add_modality("depth", None)
    with pytest.raises(ValueError, match="needs a `model_type`"):
        model.add_modality("depth", {"num_channels": 1})
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_an_encoder_of_which_no_depth_is_said_is_as_deep_as_the_others():
    model = build(MoTModel, tiny_config("uneven_towers", image_config=None))
    model.add_modality("depth", {key: value for key, value in DEPTH.items() if key != "num_hidden_layers"})
    assert len(model.encoders.depth.layers) == len(model.encoders.audio.layers) == 3
