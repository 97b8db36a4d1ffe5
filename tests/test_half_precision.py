# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Half precision gives what float32 gives, rounded: outputs and gradients, of any size, whatever a batch lacks.

The reference is the same model, or torch's own layer, in float32 with weights and inputs that half precision holds.
"""

import contextlib
import functools

import pytest
import torch
from helpers import MODALITIES, NUM_CHANNELS, NUM_MEL_BINS, PATCH_SIZE, build, make_inputs, subset_name, tiny_config
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mixture_of_transformers import (
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTModel,
)
from mixture_of_transformers.convolution_mot import MoTConv1d, MoTConv2d

# How a model may be in half precision: whole, or with weights in float32 and autocast around them.
PRECISIONS = {
    "float32": (torch.float32, None),
    "float16": (torch.float16, None),
    "bfloat16": (torch.bfloat16, None),
    "autocast to float16": (torch.float32, torch.float16),
    "autocast to bfloat16": (torch.float32, torch.bfloat16),
}
every_precision = pytest.mark.parametrize("precision", PRECISIONS)
HEADS = (MoTForSequenceClassification, MoTForRetrieval, MoTForPreTraining, MoTForMaskedLM)
CONVOLUTIONS = {"audio_config": {"stem": "conv"}, "image_config": {"stem": "conv"}}
# Rounding to 8 bits, several times; garbage is larger by many powers of ten.
CLOSE = 0.05


def autocast(dtype):
    return contextlib.nullcontext() if dtype is None else torch.autocast("cpu", dtype)


def fill_free_memory():
    """What a layer forgets to write then shows as 1e30."""
    junk = [torch.full((size,), 1e30).bfloat16() for size in (64, 512, 3072, 12288) for _ in range(4)]
    del junk


def distance(actual, expected):
    """Relative to the size of what is expected; infinite where anything is."""
    actual, expected = actual.detach().float(), expected.detach().float()
    return ((actual - expected).norm() / expected.norm().clamp(min=1e-3)).nan_to_num(torch.inf).item()


# ---------------------------------------------------------------------------------------------------------------------
# Convolutions
# ---------------------------------------------------------------------------------------------------------------------


def results(layer, inputs, output_gradient, dtype=None):
    """The output of a layer, and the gradients of its input and its parameters."""
    layer.zero_grad()
    inputs = inputs.detach().requires_grad_()
    fill_free_memory()
    with autocast(dtype):
        output = layer(inputs)
    output.backward(output_gradient.to(output.dtype))
    return [output, inputs.grad, layer.weight.grad, layer.bias.grad]


def assert_as_torch_in_float32(layer, inputs, precision):
    """`layer` in a precision against torch's own class with the same weights in float32."""
    dtype, cast_to = PRECISIONS[precision]
    kind = nn.Conv1d if isinstance(layer, nn.Conv1d) else nn.Conv2d
    own = kind(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
    rounded = layer.to(cast_to or dtype).float()
    own.load_state_dict(rounded.state_dict())
    inputs = inputs.to(cast_to or dtype).float()
    output_gradient = torch.randn_like(own(inputs))
    expected = results(own, inputs, output_gradient)
    actual = results(rounded.to(dtype), inputs.to(dtype), output_gradient, cast_to)
    for name, ours, theirs in zip(("output", "input", "weight", "bias"), actual, expected, strict=True):
        assert ours.shape == theirs.shape, name
        assert distance(ours, theirs) < CLOSE, f"{name} of {tuple(inputs.shape)}"


@every_precision
@pytest.mark.parametrize("kernel, stride", [(3, 1), (3, 2), (5, 3), (7, 4)])
def test_a_convolution_over_time_is_right_for_every_length(kernel, stride, precision):
    torch.manual_seed(0)
    for length in range(1, 41):
        layer = MoTConv1d(6, 16, kernel, stride, (kernel - 1) // 2)
        assert_as_torch_in_float32(layer, torch.randn(1 + length % 3, 6, length), precision)


@every_precision
@pytest.mark.parametrize("kernel, stride, padding", [(4, 4, 0), (3, 2, 1), (2, 2, 0)])
def test_a_convolution_over_pictures_is_right_for_every_size(kernel, stride, padding, precision):
    torch.manual_seed(0)
    for height in range(kernel - padding, 17, max(kernel - 1, 2)):
        for width in range(kernel - padding, 17, 3):
            layer = MoTConv2d(3, 16, kernel, stride, padding)
            assert_as_torch_in_float32(layer, torch.randn(2, 3, height, width), precision)


class StridedConvolutions(TorchDispatchMode):
    """Notes the type of each strided convolution that torch is asked for."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.convolution.default and max(args[3]) > 1:
            self.noted.append(args[0].dtype)
        return output


def tokens_in(precision, **inputs):
    """The strided convolutions that embedding these inputs takes, and the tokens."""
    dtype, cast_to = PRECISIONS[precision]
    model = build(MoTModel, tiny_config(**CONVOLUTIONS)).to(dtype)
    with StridedConvolutions() as convolutions, autocast(cast_to):
        output = model(**inputs)
    return convolutions.noted, output.last_hidden_state


@every_precision
@pytest.mark.parametrize("frames", [1, 2, 3, 25])
def test_a_short_sound_and_a_narrow_picture_take_no_strided_convolution_in_bfloat16(frames, precision):
    """Whose results torch gets wrong on some processors, where they are one position wide."""
    inputs = {"input_features": torch.randn(2, frames, NUM_MEL_BINS)}
    inputs["pixel_values"] = torch.randn(2, NUM_CHANNELS, 2 * PATCH_SIZE, PATCH_SIZE * (1 + frames // 10))
    noted, tokens = tokens_in(precision, **inputs)
    assert torch.bfloat16 not in noted
    assert noted or "bfloat16" in precision, "the test has seen no convolution at all"
    assert distance(tokens, tokens_in("float32", **inputs)[1]) < 0.15


@pytest.mark.parametrize("precision", ["bfloat16", "autocast to bfloat16"])
def test_the_convolutions_compile_into_one_graph(precision):
    dtype, cast_to = PRECISIONS[precision]
    model = build(MoTModel, tiny_config(**CONVOLUTIONS)).to(dtype)
    inputs = make_inputs(("image", "audio"), masks=None)
    torch.compiler.reset()
    with torch.no_grad(), autocast(cast_to):
        compiled = torch.compile(model, fullgraph=True, backend="eager")(**inputs).last_hidden_state
        assert distance(compiled, model(**inputs).last_hidden_state) < 0.02


# ---------------------------------------------------------------------------------------------------------------------
# Gradients of what a batch lacks
# ---------------------------------------------------------------------------------------------------------------------


def labels_of(head, inputs):
    rows = len(next(iter(inputs.values())))
    if head is MoTForSequenceClassification:
        return {"labels": torch.arange(rows) % 4}
    if head is MoTForMaskedLM:
        return {"labels": inputs["input_ids"]}
    return {"text_labels": inputs["input_ids"]} if head is MoTForPreTraining and "input_ids" in inputs else {}


@functools.cache
def model_in(head, precision):
    learned = {"position_embedding_type": "learned", "use_cls_token": True}
    config = tiny_config(every_tower=learned, num_joint_layers=1, num_labels=4, **CONVOLUTIONS)
    return build(head, config).to(PRECISIONS[precision][0]).train()


def gradients(head, precision, inputs):
    dtype, cast_to = PRECISIONS[precision]
    model = model_in(head, precision)
    model.zero_grad()
    inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    fill_free_memory()
    torch.manual_seed(0)  # pretraining draws what it hides
    with autocast(cast_to):
        loss = model(**inputs, **labels_of(head, inputs)).loss
    fill_free_memory()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@every_precision
@pytest.mark.parametrize(
    "subset", [("text", "image"), ("text", "audio"), ("text",), ("image", "audio")], ids=subset_name
)
@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.__name__)
def test_what_a_batch_lacks_has_gradients_of_zero_and_the_rest_those_of_float32(head, subset, precision):
    if head is MoTForMaskedLM and "text" not in subset:
        return
    inputs = make_inputs(subset, masks=None)
    expected, actual = (gradients(head, kind, inputs) for kind in ("float32", precision))
    for name, gradient in actual.items():
        assert gradient.isfinite().all(), name
        lacking = [m for m in MODALITIES if m not in subset and f".{m}." in f".{name}."]
        if lacking and not name.startswith("contrastive"):
            assert not gradient.any(), f"{name}: {gradient.abs().max()}"
    joined = [torch.cat([gradient.float().flatten() for gradient in kind.values()]) for kind in (actual, expected)]
    assert distance(*joined) < 0.2
