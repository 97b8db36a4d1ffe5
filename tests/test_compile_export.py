# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""One model, other ways to run it: compiled, exported, with checkpointed gradients, and with its inner states asked
for.

Each way is held to the plain eager call.
"""

import pytest
import torch
from helpers import (
    ARCHITECTURES,
    MODALITIES,
    RAW_INPUTS,
    SUBSETS,
    VOCAB_SIZE,
    build,
    make_inputs,
    max_difference,
    real_row,
    run,
    subset_name,
    tiny_config,
    without,
)
from open_rows import inputs_of, make_model
from reference import reference_forward
from transformers.utils import logging

from mixture_of_transformers import MoTForSequenceClassification, MoTModel
from mixture_of_transformers.serving.onnx import NamedTensors, dynamic_dimensions

TOLERANCE = 1e-5
TEXT_AND_ALL = pytest.mark.parametrize("subset", [("text",), MODALITIES], ids=subset_name)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def assert_outputs_equal(output, expected):
    for name in ("last_hidden_state", "pooler_output"):
        assert max_difference(output[name], expected[name]) < TOLERANCE, name
    assert torch.equal(output.attention_mask != 0, expected.attention_mask != 0)


def assert_compiled_equals_eager(backend, architecture, inputs):
    model = build(MoTModel, tiny_config(architecture))
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    with torch.no_grad():
        assert_outputs_equal(compiled(**inputs), model(**inputs))


# torch.compile


@pytest.mark.parametrize("masks", ["ones", "padding", None])
@TEXT_AND_ALL
def test_compiled_in_one_graph_equals_eager(subset, masks):
    assert_compiled_equals_eager("eager", "default", make_inputs(subset, masks=masks))


def test_uneven_towers_compiled_in_one_graph_equal_eager():
    assert_compiled_equals_eager("eager", "uneven_towers", make_inputs(MODALITIES))


def test_frames_through_joint_layers_compiled_in_one_graph_equal_eager():
    assert_compiled_equals_eager("eager", "joint_only", make_inputs(MODALITIES, frames=True))


@pytest.mark.slow
@pytest.mark.parametrize("masks", ["ones", "padding", None])
@TEXT_AND_ALL
def test_compiled_by_inductor_equals_eager(subset, masks):
    assert_compiled_equals_eager("inductor", "default", make_inputs(subset, masks=masks))


@pytest.mark.slow
@TEXT_AND_ALL
def test_compiled_training_gives_the_gradients_of_eager(subset):
    """`aot_eager` traces the backward pass too, with the dummy token of an absent modality in it."""
    model = build(MoTForSequenceClassification, tiny_config(num_labels=4)).train()
    inputs = make_inputs(subset)
    inputs["labels"] = torch.arange(len(inputs[RAW_INPUTS[subset[0]]])) % 4
    expected = gradients_of(model, model, inputs)
    actual = gradients_of(model, torch.compile(model, fullgraph=True, backend="aot_eager"), inputs)
    assert_gradients_equal(actual, expected)


# torch.export


class TensorOutputs(torch.nn.Module):
    """The two main outputs as tensors; its arguments are named one by one, as `dynamic_shapes` needs them."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        pixel_values=None,
        pixel_mask=None,
        input_features=None,
        input_features_mask=None,
    ):
        output = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            pixel_mask=pixel_mask,
            input_features=input_features,
            input_features_mask=input_features_mask,
        )
        return output.last_hidden_state, output.pooler_output


def resized(inputs, batch_size, text_length, audio_length):
    """Random inputs of the same kind in other sizes; of each sequence with a mask, two positions are absent."""
    sizes = {"input_ids": text_length, "input_features": audio_length}
    generator = torch.Generator().manual_seed(5)
    new = {}
    for name, value in inputs.items():
        if name == "input_ids":
            new[name] = torch.randint(0, VOCAB_SIZE, (batch_size, text_length), generator=generator)
        elif name in ("pixel_values", "input_features"):
            shape = (batch_size, sizes.get(name, value.shape[1]), *value.shape[2:])
            new[name] = torch.randn(shape, generator=generator)
    for name, sequence in {"attention_mask": "input_ids", "input_features_mask": "input_features"}.items():
        if name in inputs:
            new[name] = torch.ones(batch_size, sizes[sequence], dtype=torch.int64)
            new[name][:, 0] = 0
            new[name][-1, -1] = 0
    if "pixel_mask" in inputs:
        new["pixel_mask"] = torch.ones(batch_size, dtype=torch.int64)
        new["pixel_mask"][-1] = 0
    return new


def dynamic_shapes(inputs):
    batch = torch.export.Dim("batch", min=2, max=64)
    text = torch.export.Dim("text_length", min=2, max=16)
    audio = torch.export.Dim("audio_length", min=4, max=40)
    dimensions = {
        "input_ids": {0: batch, 1: text},
        "attention_mask": {0: batch, 1: text},
        "pixel_values": {0: batch},
        "pixel_mask": {0: batch},
        "input_features": {0: batch, 1: audio},
        "input_features_mask": {0: batch, 1: audio},
    }
    return {name: dimensions[name] for name in inputs}


@pytest.mark.parametrize("masks", ["padding", None])
@TEXT_AND_ALL
def test_exported_with_dynamic_sizes_equals_eager(subset, masks):
    model = TensorOutputs(build(MoTModel, tiny_config())).eval()
    inputs = make_inputs(subset, masks=masks)
    with torch.no_grad():
        exported = torch.export.export(model, (), kwargs=inputs, dynamic_shapes=dynamic_shapes(inputs)).module()
        for sizes in ((4, 7, 11), (3, 12, 20), (6, 5, 7)):
            other = resized(inputs, *sizes)
            for actual, expected in zip(exported(**other), model(**other)):
                assert max_difference(actual, expected) < TOLERANCE


def test_convolutional_audio_stem_exports_with_dynamic_sizes():
    model = TensorOutputs(build(MoTModel, tiny_config(audio_config={"stem": "conv", "stem_stride": 3}))).eval()
    inputs = make_inputs(("text", "audio"))
    with torch.no_grad():
        exported = torch.export.export(model, (), kwargs=inputs, dynamic_shapes=dynamic_shapes(inputs)).module()
        other = resized(inputs, 5, 9, 23)
        for actual, expected in zip(exported(**other), model(**other)):
            assert max_difference(actual, expected) < TOLERANCE


def test_hierarchical_fusion_exports_with_dynamic_sizes():
    model = TensorOutputs(build(MoTModel, tiny_config(fusion_type="hierarchical"))).eval()
    inputs = make_inputs(MODALITIES)
    with torch.no_grad():
        exported = torch.export.export(model, (), kwargs=inputs, dynamic_shapes=dynamic_shapes(inputs)).module()
        for sizes in ((4, 7, 11), (6, 5, 7)):
            other = resized(inputs, *sizes)
            for actual, expected in zip(exported(**other), model(**other)):
                assert max_difference(actual, expected) < TOLERANCE


@pytest.mark.parametrize("subset", [("imu",), ("text", "depth"), ("text", "depth", "imu", "vitals")], ids=subset_name)
def test_declared_modalities_compiled_and_exported_equal_eager(subset):
    model = make_model(MoTModel)
    inputs = inputs_of(subset)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert_outputs_equal(compiled(**inputs), model(**inputs))
        named = NamedTensors(model).eval()
        shapes = {"inputs": {name: dynamic_dimensions(model.config, name, value) for name, value in inputs.items()}}
        exported = torch.export.export(named, (), kwargs={"inputs": inputs}, dynamic_shapes=shapes).module()
        for number in (2, 5):
            other = inputs_of(subset, number)
            expected = named(other)
            for name, value in exported(inputs=other).items():
                assert max_difference(value, expected[name]) < TOLERANCE, name


# Gradient checkpointing


def gradients_of(model, callable_model, inputs):
    model.zero_grad(set_to_none=True)
    callable_model(**inputs).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_gradients_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        assert max_difference(actual[name], gradient) < TOLERANCE * max(1.0, gradient.abs().max().item()), name


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("subset", [("text",), ("image", "audio"), MODALITIES], ids=subset_name)
@pytest.mark.parametrize("architecture", ["uneven_towers", "joint_only"])
def test_checkpointed_gradients_equal_plain_ones(architecture, subset, use_reentrant):
    model = build(MoTForSequenceClassification, tiny_config(architecture, num_labels=4)).train()
    inputs = make_inputs(subset)
    inputs["labels"] = torch.arange(len(inputs[RAW_INPUTS[subset[0]]])) % 4
    expected = gradients_of(model, model, inputs)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
    assert_gradients_equal(gradients_of(model, model, inputs), expected)


# Hidden states and attentions on request


INNER_STATES = {
    "output_hidden_states": True,
    "output_attentions": True,
    "output_encoder_hidden_states": True,
    "output_encoder_attentions": True,
}


def token_counts(subset, config):
    """Tokens of each modality in the batches of `make_inputs`: 7 words, 2 x 3 patches, 11 mel frames."""
    counts = {"text": 7, "image": 2 * 3, "audio": -(-11 // config.audio_config.stem_stride)}
    return {m: counts[m] + int(config.modality_config(m).use_cls_token) for m in subset}


def absent_modalities(subset):
    return [modality for modality in MODALITIES if modality not in subset]


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("subset", SUBSETS, ids=subset_name)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_inner_states_have_their_lengths_and_shapes(architecture, subset, training):
    config = tiny_config(architecture)
    model = build(MoTModel, config, attention="eager").train(training)
    inputs = make_inputs(subset)
    batch_size = len(inputs[RAW_INPUTS[subset[0]]])
    with torch.no_grad():
        output = model(**inputs, **INNER_STATES)
    counts = token_counts(subset, config)
    length = sum(counts.values())
    layers = config.num_joint_layers + config.num_global_layers
    assert output.last_hidden_state.shape == (batch_size, length, config.hidden_size)
    assert output.attention_mask.shape == (batch_size, length)
    assert [state.shape for state in output.hidden_states] == [(batch_size, length, config.hidden_size)] * (layers + 1)
    assert [attention.shape for attention in output.attentions] == [
        (batch_size, config.num_attention_heads, length, length)
    ] * layers
    real = output.attention_mask != 0
    assert max_difference(output.hidden_states[-1][real], output.last_hidden_state[real]) == 0
    assert list(output.encoder_hidden_states) == list(output.encoder_attentions) == list(subset)
    for modality, count in counts.items():
        tower = config.modality_config(modality)
        states, attentions = output.encoder_hidden_states[modality], output.encoder_attentions[modality]
        assert [s.shape for s in states] == [(batch_size, count, tower.hidden_size)] * (tower.num_hidden_layers + 1)
        assert [a.shape for a in attentions] == [
            (batch_size, tower.num_attention_heads, count, count)
        ] * tower.num_hidden_layers


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("subset", SUBSETS, ids=subset_name)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attention_rows_sum_to_one_over_real_tokens(architecture, subset, training):
    model = build(MoTModel, tiny_config(architecture), attention="eager").train(training)
    with torch.no_grad():
        output = model(**make_inputs(subset), output_attentions=True, output_encoder_attentions=True)
    real = output.attention_mask != 0
    groups = [(output.attentions, real)]
    start = 0
    for modality in subset:
        stop = start + getattr(output, f"{modality}_hidden_state").shape[1]
        groups.append((output.encoder_attentions[modality], real[:, start:stop]))
        start = stop
    for attentions, mask in groups:
        for attention in attentions:
            for row, present in enumerate(mask):
                weights = attention[row][:, present]  # (heads, real queries, L)
                assert (weights[:, :, ~present] == 0).all()
                assert max_difference(weights.sum(-1), torch.ones_like(weights.sum(-1))) < TOLERANCE


@pytest.mark.parametrize("fields", [{}, {"sparse_attention": {"block_size": 4, "sparsity": 0.5}}], ids=["", "sparse"])
@pytest.mark.parametrize("attention", ["sdpa", "flex_attention"])
@pytest.mark.parametrize("architecture", ["uneven_towers", "joint_only"])
def test_every_attention_gives_the_weights_of_eager(architecture, attention, fields):
    """Packed, too, which these batches otherwise are."""
    inputs = make_inputs(MODALITIES)
    expected, output = (
        run(build(MoTModel, tiny_config(architecture, **fields), attention=name), inputs, **INNER_STATES)
        for name in ("eager", attention)
    )
    assert max_difference(output.last_hidden_state, expected.last_hidden_state) < TOLERANCE
    assert len(output.attentions) == len(expected.attentions) > 0
    for actual, weights in zip(output.attentions, expected.attentions):
        assert max_difference(actual, weights) < TOLERANCE
    for modality, layers in expected.encoder_attentions.items():
        assert len(output.encoder_attentions[modality]) == len(layers)
        for actual, weights in zip(output.encoder_attentions[modality], layers):
            assert max_difference(actual, weights) < TOLERANCE


def test_weights_of_one_stage_leave_the_other_packed_and_the_answer_as_it_is():
    model = build(MoTModel, tiny_config("uneven_towers"))
    inputs = make_inputs(MODALITIES)
    expected = run(model, inputs).last_hidden_state
    for option in ("output_attentions", "output_encoder_attentions"):
        assert max_difference(run(model, inputs, **{option: True}).last_hidden_state, expected) < TOLERANCE


def test_weights_that_the_attention_never_forms_are_warned_of_once(caplog):
    logging.warning_once.cache_clear()
    model = build(MoTModel, tiny_config())
    for _ in range(2):
        run(model, make_inputs(MODALITIES), output_attentions=True)
    assert caplog.text.count("never forms attention weights") == 1


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_config_may_ask_for_weights_under_any_attention(attention, tmp_path):
    model = build(MoTModel, tiny_config(output_attentions=True), attention=attention)
    model.save_pretrained(tmp_path)
    loaded = MoTModel.from_pretrained(tmp_path, attn_implementation=attention)
    assert loaded.config.output_attentions and loaded.config._attn_implementation == attention
    assert len(run(loaded, make_inputs(MODALITIES)).attentions) == loaded.config.num_hidden_layers


def test_encoder_states_equal_the_reference():
    model = build(MoTModel, tiny_config("uneven_towers"), attention="eager")
    inputs = make_inputs(MODALITIES, masks=None)
    with torch.no_grad():
        output = model(**inputs, **INNER_STATES)
    expected = reference_forward(model.state_dict(), model.config, real_row(inputs, 0))
    for modality, states in expected.encoder_hidden_states.items():
        for actual, state in zip(output.encoder_hidden_states[modality], states):
            assert max_difference(actual[0], state) < TOLERANCE
    for actual, attention in zip(output.attentions, expected.attentions):
        assert max_difference(actual[0], attention) < TOLERANCE


def test_inner_states_are_left_out_unless_asked_for():
    model = build(MoTModel, tiny_config())
    with torch.no_grad():
        output = model(**make_inputs(MODALITIES))
    for name in ("hidden_states", "attentions", "encoder_hidden_states", "encoder_attentions"):
        assert getattr(output, name) is None, name


@pytest.mark.parametrize("absent", MODALITIES)
def test_outputs_come_as_a_tuple_on_request(absent):
    model = build(MoTModel, tiny_config())
    inputs = without(make_inputs(MODALITIES), absent)
    with torch.no_grad():
        output, as_tuple = model(**inputs), model(**inputs, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert torch.equal(as_tuple[0], output.last_hidden_state)
    assert torch.equal(as_tuple[1], output.pooler_output)
