# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Packing (invariant 4, "backends agree"): tokens that do not exist are not computed, and nothing else changes.

The reference is the padded model, `attn_implementation="eager"`, which is itself held to the equations.
"""

import copy
from itertools import product

import pytest
import torch
from accelerate.utils import send_to_device
from helpers import (
    ARCHITECTURES,
    MASKS,
    MODALITIES,
    OPEN_CASES,
    RAW_INPUTS,
    SUBSETS,
    make_inputs,
    tiny_config,
    whole_of,
    without,
)
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from mixture_of_transformers import MoTForSequenceClassification, MoTModel, arguments_mot, modality_text_mot
from mixture_of_transformers.layouts_mot import PackedTokens, PaddedTokens, rows_with_tokens

TOLERANCE = 1e-5
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


def models(architecture, cls=MoTModel, **config):
    """The same weights twice: packed, and the padded reference."""
    torch.manual_seed(0)
    packed = cls(tiny_config(architecture, **config))
    with torch.no_grad():
        for parameter in packed.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    padded = copy.deepcopy(packed)
    packed.set_attn_implementation("sdpa")
    padded.set_attn_implementation("eager")
    return packed, padded


def real_tokens(output):
    return output.attention_mask.sum().item()


@pytest.mark.parametrize(
    ("architecture", "subset"),
    [*product(ARCHITECTURES, SUBSETS), *OPEN_CASES],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_packed_equals_padded_forward_and_backward(architecture, subset):
    inputs = make_inputs(subset)
    results = []
    for model in models(architecture, modalities=whole_of(subset)):
        output = model.train()(**inputs, output_hidden_states=True, output_encoder_hidden_states=True)
        weights = torch.linspace(-1, 1, output.last_hidden_state.numel()).reshape(output.last_hidden_state.shape)
        ((output.last_hidden_state * weights).sum() + output.pooler_output.square().sum()).backward()
        results.append((output, {name: parameter.grad for name, parameter in model.named_parameters()}))
    (packed, packed_gradients), (padded, padded_gradients) = results
    assert torch.equal(packed.attention_mask, padded.attention_mask)
    torch.testing.assert_close(packed.pooler_output, padded.pooler_output, atol=TOLERANCE, rtol=0)
    real = padded.attention_mask.bool()
    lengths = [padded.modality_hidden_states[m].shape[1] for m in subset]
    masks = dict(zip(subset, real.split(lengths, dim=1)))
    for ours, reference in zip(packed.hidden_states, padded.hidden_states, strict=True):
        torch.testing.assert_close(ours[real], reference[real], atol=TOLERANCE, rtol=0)
    for m, states in padded.encoder_hidden_states.items():
        for ours, reference in zip(packed.encoder_hidden_states[m], states, strict=True):
            torch.testing.assert_close(ours[masks[m]], reference[masks[m]], atol=TOLERANCE, rtol=0)
    for name, reference in padded_gradients.items():
        scale = max(1.0, reference.abs().max().item())
        torch.testing.assert_close(packed_gradients[name], reference, atol=TOLERANCE * scale, rtol=0, msg=name)


class TokenCounter:
    """How many tokens pass each linear layer below `module`."""

    def __init__(self, module):
        self.counts = {}
        for name, child in module.named_modules():
            if isinstance(child, torch.nn.Linear):
                child.register_forward_hook(lambda _, inputs, output, name=name: self.add(name, inputs[0]))

    def add(self, name, tokens):
        self.counts[name] = self.counts.get(name, 0) + tokens.shape[:-1].numel()


@pytest.mark.parametrize("training", [False, True])
@every_architecture
def test_only_real_tokens_are_computed(architecture, training):
    model = models(architecture)[0].train(training)
    inputs = make_inputs(MODALITIES)
    towers = {m: TokenCounter(model.encoders[m]) for m in MODALITIES}
    joint, shared = TokenCounter(model.joint_layers), TokenCounter(model.global_layers)
    output = model(**inputs)
    assert real_tokens(output) < output.attention_mask.numel()
    masks = dict(
        zip(MODALITIES, output.attention_mask.split([output[f"{m}_hidden_state"].shape[1] for m in MODALITIES], 1))
    )
    for m, tower in towers.items():
        assert set(tower.counts.values()) <= {masks[m].sum().item()}
    for name, count in joint.counts.items():
        assert count == masks[name.split(".")[2]].sum().item()
    assert set(shared.counts.values()) <= {real_tokens(output)}


@pytest.mark.parametrize("modality", MODALITIES)
def test_rows_without_a_modality_do_not_enter_its_stem_or_tower(modality):
    model = models("default")[0].eval()
    inputs = make_inputs((modality, *(m for m in MODALITIES if m != modality)), masks=None)
    rows = len(inputs[RAW_INPUTS[modality]])
    shape = inputs[RAW_INPUTS[modality]].shape[: 1 if modality == "image" else 2]
    mask = torch.ones(shape, dtype=torch.long)
    mask[1::2] = 0
    seen = []
    model.embeddings[modality].register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    model(**inputs, **{MASKS[modality]: mask})
    assert seen == [(rows + 1) // 2]


@pytest.mark.parametrize("masked", SUBSETS[:-1], ids="+".join)
@every_architecture
def test_what_is_masked_out_in_every_row_trains_like_what_is_not_given(architecture, masked):
    """Also where the encoded batch is joined without it, as for every subset of the modalities."""
    packed, padded = models(architecture, MoTForSequenceClassification)
    inputs = make_inputs(MODALITIES, masks="ones")
    inputs |= {MASKS[m]: torch.zeros_like(inputs[MASKS[m]]) for m in masked}
    labels, subsets = torch.arange(len(inputs["input_ids"])) % 2, [*SUBSETS[:3], MODALITIES]
    losses = []
    for model in (packed, padded):
        loss = model.train()(**inputs, labels=labels, modality_subsets=subsets).loss
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(*losses, atol=TOLERANCE, rtol=0)
    for name, parameter in packed.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@every_architecture
def test_masks_that_mask_nothing_cost_nothing(architecture):
    """The very same computation as without them: bit-equal results from tokens in rectangles."""
    model = models(architecture)[0].eval()
    inputs = make_inputs(MODALITIES, masks=None)
    masks = {
        MASKS[m]: torch.ones(value.shape[: 1 if m == "image" else 2], dtype=torch.long)
        for m, value in zip(MODALITIES, inputs.values())
    }
    shapes = []
    for layer in (*model.encoders["text"].layers, *model.global_layers):
        layer.register_forward_pre_hook(lambda _, arguments: shapes.append(arguments[0].shape))
    with torch.no_grad():
        plain = model(**inputs).last_hidden_state
        masked = model(**inputs, **masks).last_hidden_state
    assert torch.equal(plain, masked)
    assert all(shape[0] == len(plain) for shape in shapes)


@every_architecture
def test_a_batch_without_any_token_gives_zeros_and_zero_gradients(architecture):
    model = models(architecture)[0].train()
    inputs = make_inputs(MODALITIES)
    for modality in MODALITIES:
        inputs[MASKS[modality]] = torch.zeros_like(inputs[MASKS[modality]])
    output = model(**inputs)
    assert output.last_hidden_state.abs().sum() == 0 and output.pooler_output.abs().sum() == 0
    output.pooler_output.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and (parameter.grad == 0).all(), name


# The kernels of accelerators


def varlen_reference(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """What FlashAttention's kernel does with rows of many lengths, told by `cu_seq_lens_*`."""
    assert attention_mask is None and len(query) == 1
    starts = kwargs["cu_seq_lens_q"].tolist()
    lengths = [end - start for start, end in zip(starts, starts[1:])]
    assert kwargs["cu_seq_lens_k"].tolist() == starts and kwargs["cu_seq_lens_q"].dtype == torch.int32
    assert kwargs["max_length_q"] == kwargs["max_length_k"] == max(lengths) and starts[-1] == query.shape[2]
    rows = zip(*(tokens.split(lengths, dim=2) for tokens in (query, key, value)))
    attended = [F.scaled_dot_product_attention(*row, scale=scaling) for row in rows]
    return torch.cat(attended, dim=2).transpose(1, 2), None


@every_architecture
def test_flash_attention_is_told_where_each_row_starts(architecture, monkeypatch):
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "flash_reference", varlen_reference)
    model, padded = (model.eval() for model in models(architecture))
    for module in model.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation_internal = "flash_reference"
    inputs = make_inputs(MODALITIES)
    with torch.no_grad():
        output, expected = model(**inputs), padded(**inputs)
    torch.testing.assert_close(output.last_hidden_state, expected.last_hidden_state, atol=TOLERANCE, rtol=0)


@every_architecture
def test_on_an_accelerator_sdpa_pads_the_attention_alone(architecture, monkeypatch):
    def attend(layout, module, *tokens, **kwargs):
        return layout.attend_padded(module, *tokens, **kwargs)

    model, padded = (model.eval() for model in models(architecture))
    monkeypatch.setattr(PackedTokens, "attend_row_by_row", attend)
    inputs = make_inputs(MODALITIES)
    with torch.no_grad():
        output, expected = model(**inputs), padded(**inputs)
    torch.testing.assert_close(output.last_hidden_state, expected.last_hidden_state, atol=TOLERANCE, rtol=0)


class Synchronisations(TorchDispatchMode):
    """Counts the operations whose result an accelerator must hand to the host."""

    waits = ("aten._local_scalar_dense", "aten.nonzero.", "aten.masked_select", "aten._unique", "aten.is_nonzero")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        by_mask = str(operation) == "aten.index.Tensor" and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        if by_mask or str(operation).startswith(self.waits):
            self.found.append(str(operation))
        return operation(*args, **(kwargs or {}))


@every_architecture
def test_packing_waits_for_an_accelerator_once(architecture, monkeypatch):
    calls = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: calls.append(1) or tolist(tensor))
    model = models(architecture, MoTForSequenceClassification)[0].train()
    monkeypatch.setattr(arguments_mot, "can_look_at", lambda values: False)  # as on an accelerator
    monkeypatch.setattr(modality_text_mot, "can_look_at", lambda values: False)
    with Synchronisations() as mode:
        model(**make_inputs(MODALITIES)).logits.sum().backward()
    assert mode.found == [] and len(calls) == 1


def test_stochastic_depth_drops_whole_rows_of_packed_tokens():
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 1]], dtype=torch.bool)
    lengths = mask.sum(dim=1).tolist()
    rows = rows_with_tokens(lengths, mask.device)
    layout = PackedTokens.of(mask, lengths, rows)
    assert rows.tolist() == [0, 2]
    numbers = layout.rand(torch.zeros(1, 5, 8))
    assert numbers.shape == (1, 5, 1)
    assert len(numbers[0, :2].unique()) == 1 and len(numbers[0, 2:].unique()) == 1 and len(numbers.unique()) == 2


def test_layouts_follow_their_layer_to_its_device():
    """As accelerate's hooks move the arguments of a layer under `device_map`; "meta" stands for another device."""
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]], dtype=torch.bool)
    part = PackedTokens.of(mask, [2, 1], None)
    joint = PackedTokens.joint([part, part], mask.device)
    moved = send_to_device({"layout": joint, "parts": {"text": part}}, "meta")
    for layout in (moved["layout"], moved["parts"]["text"], send_to_device(PaddedTokens(mask, mask), "meta")):
        tensors = [value for value in vars(layout).values() if isinstance(value, torch.Tensor)]
        assert tensors and all(tensor.device.type == "meta" for tensor in tensors)
    assert moved["layout"].routes.order.device.type == "meta" and moved["layout"].lengths == joint.lengths
    assert joint.routes.order.device == mask.device


def test_compiled_models_take_the_padded_path():
    """A graph must not depend on how long the rows of one batch happen to be."""
    model = models("joint_only")[0].eval()
    shapes = []

    def backend(graph, example_inputs):
        values = (node.meta.get("example_value") for node in graph.graph.nodes)
        shapes.extend(value.shape for value in values if isinstance(value, torch.Tensor))
        return graph.forward

    inputs = make_inputs(MODALITIES)
    with torch.no_grad():
        expected = model(**inputs)
        output = torch.compile(model, backend=backend, fullgraph=True)(**inputs)
    torch.testing.assert_close(output.last_hidden_state, expected.last_hidden_state, atol=TOLERANCE, rtol=0)
    assert expected.last_hidden_state.shape in shapes
    torch.compiler.reset()


def test_an_empty_modality_equals_leaving_it_out_in_training():
    model = models("uneven_towers")[0].train()
    inputs = make_inputs(MODALITIES)
    inputs[MASKS["audio"]] = torch.zeros_like(inputs[MASKS["audio"]])
    gradients = []
    for batch in (inputs, without(inputs, "audio")):
        model.zero_grad()
        model(**batch).pooler_output.square().sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=TOLERANCE, rtol=0, msg=name)
