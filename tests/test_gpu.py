# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A GPU computes what a CPU does (invariant 4, "backends agree"). Skipped where there is none.

The reference is the padded model in float32 on the CPU, `attn_implementation="eager"`. Distances are relative: the
norm of the difference over that of the reference, for outputs and for all gradients together. In half precision the
yardstick is how far the same eager model in that precision is from it.
"""

import pytest
import torch
from causal_helpers import causal_config, interleaved, padded
from helpers import ARCHITECTURES, MODALITIES, build, make_inputs, tiny_config, without
from torch.nn import functional as F

from mixture_of_transformers import MoTForCausalLM, MoTForSequenceClassification, MoTModel
from mixture_of_transformers.contrastive_mot import Side, contrastive_loss
from mixture_of_transformers.layouts_mot import PackedTokens

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

TOLERANCE, AS_EAGER = 1e-4, 1.5
WIDTHS = {
    "hidden_size": 64,
    "num_attention_heads": 2,
    "intermediate_size": 96,
}  # flex_attention wants heads of 16 or more
every_implementation = pytest.mark.parametrize("implementation", ["sdpa", "flex_attention"])
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


def on_gpu(values, dtype):
    return {n: v.to("cuda", dtype if v.is_floating_point() else None) for n, v in values.items()}


def outputs_and_gradients(model, inputs):
    """Real tokens and pooled rows in one vector, and all gradients in another, in double precision on the CPU."""
    output = model(**inputs)
    found = [output.last_hidden_state[output.attention_mask.bool()], output.pooler_output]
    found = torch.cat([values.flatten().double().cpu() for values in found])
    (found * torch.linspace(-1, 1, len(found), dtype=torch.double).sin()).sum().backward()
    gradients = [p.grad.flatten().double().cpu() for p in model.parameters() if p.grad is not None]
    return found.detach(), torch.cat(gradients)


def distance(found, reference):
    return ((found - reference).norm() / reference.norm()).item()


def assert_near_the_reference(config, inputs, implementation, dtype, wrap=lambda model: model):
    reference = outputs_and_gradients(build(MoTModel, config, "eager"), inputs)

    def distances(attention, wrap):
        model = wrap(build(MoTModel, config, attention).to("cuda", dtype))
        return [distance(*pair) for pair in zip(outputs_and_gradients(model, on_gpu(inputs, dtype)), reference)]

    for found, eager in zip(distances(implementation, wrap), distances("eager", lambda model: model)):
        assert found < max(TOLERANCE, AS_EAGER * eager)


def shared_widths(architecture):
    """The tiny configuration, but for towers of widths of their own, whose heads are too narrow."""
    towers = {f"{m}_config": WIDTHS for m in MODALITIES} if architecture == "uneven_towers" else {}
    return tiny_config(architecture, **WIDTHS, **towers)


@every_dtype
@every_implementation
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_equals_padded(architecture, implementation, dtype):
    assert_near_the_reference(shared_widths(architecture), make_inputs(MODALITIES), implementation, dtype)


def test_half_precision_attends_to_rows_of_any_length(monkeypatch):
    """By FlashAttention over packed rows; padded for the attention, it would cost what it was meant to save."""
    attended = []

    def counted(layout, module, query, *others):
        attended.append(query.shape[1])
        return attend_varlen(layout, module, query, *others)

    attend_varlen = PackedTokens.attend_varlen
    monkeypatch.setattr(PackedTokens, "attend_varlen", counted)
    model = build(MoTModel, shared_widths("default")).to("cuda", torch.bfloat16)
    inputs = on_gpu(make_inputs(MODALITIES), torch.bfloat16)
    with torch.no_grad():
        output = model(**inputs)
    assert len(attended) == 2 * 2 + 1  # of text, audio and both with pictures, which by themselves are all of a length
    assert attended[-1] == output.attention_mask.sum().item()


def test_attention_dropout_over_packed_rows():
    """Differs from draw to draw, and on average does what that of the padded model does."""
    inputs, means = on_gpu(make_inputs(MODALITIES), torch.bfloat16), []
    for attention in ("eager", "sdpa"):
        model = build(MoTModel, shared_widths("default"), attention).to("cuda", torch.bfloat16)
        for part in (model.config, *(model.config.modality_config(m) for m in MODALITIES)):
            part.attention_dropout = 0.1
        with torch.no_grad():
            drawn = torch.stack([model.train()(**inputs).pooler_output.float() for _ in range(200)])
            means.append(drawn.mean(0))
    spread = distance(drawn[0], means[1])
    assert distance(*means) < 0.25 * spread
    assert distance(model.eval()(**inputs).pooler_output.float(), means[1]) < spread


@every_dtype
@every_implementation
@pytest.mark.parametrize("block_size", [32, 128])
def test_block_sparse_attention_equals_dense_under_its_mask(block_size, implementation, dtype):
    sizes = {"text": 5 * block_size, "image": 3 * block_size, "audio": 7 * block_size + 5}
    config = tiny_config(
        features=True,
        **WIDTHS,
        sparse_attention={"block_size": block_size, "sparsity": 0.8, "seed": 0},
        text_config={"max_position_embeddings": sizes["text"]},
        audio_config={"max_frames": sizes["audio"]},
    )
    generator, inputs = torch.Generator().manual_seed(0), {}
    names = {"text": "text_features", "image": "image_features", "audio": "input_features"}
    masks = {"text": "attention_mask", "image": "pixel_mask", "audio": "input_features_mask"}
    for i, (m, size) in enumerate(sizes.items()):
        inputs[names[m]] = torch.randn(3, size, config.modality_config(m).feature_size, generator=generator)
        lengths = torch.tensor([size, (size // 2 + 3) * (i > 0), size - 1])
        inputs[masks[m]] = (torch.arange(size) < lengths[:, None]).long()
    assert_near_the_reference(config, inputs, implementation, dtype)


def test_compiled_equals_eager():
    config = shared_widths("default")
    assert_near_the_reference(config, make_inputs(MODALITIES), "sdpa", torch.float32, wrap=torch.compile)


@pytest.mark.parametrize("missing", [None, *MODALITIES])
@every_implementation
def test_mixed_precision_gives_every_parameter_a_gradient(implementation, missing):
    config = shared_widths("default")
    config.num_labels = 3
    model = build(MoTForSequenceClassification, config, implementation).train().to("cuda")
    inputs = on_gpu(without(make_inputs(MODALITIES), missing) if missing else make_inputs(MODALITIES), torch.float32)
    rows = len(next(iter(inputs.values())))
    with torch.autocast("cuda", torch.bfloat16):
        loss = model(**inputs, labels=torch.arange(rows, device="cuda") % 3).loss
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_the_chunked_contrastive_loss_equals_the_naive_one():
    generator = torch.Generator().manual_seed(0)
    embeddings = [F.normalize(torch.randn(3000, 64, generator=generator), dim=-1) for _ in range(2)]
    scale = torch.tensor(2.5)

    def gradients(loss, *inputs):
        inputs = [tensor.requires_grad_() for tensor in inputs]
        return [gradient.double().cpu() for gradient in torch.autograd.grad(loss(*inputs), inputs)]

    def naive(first, second, log_scale):
        logits, labels = log_scale.exp() * first @ second.T, torch.arange(len(first))
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2

    def chunked(first, second, log_scale):
        present = torch.ones(len(first), dtype=torch.bool, device=first.device)
        return contrastive_loss(Side(first, present), Side(second, present), log_scale)

    reference = gradients(naive, *(tensor.double() for tensor in (*embeddings, scale)))
    found = gradients(chunked, *(tensor.cuda() for tensor in (*embeddings, scale)))
    for ours, wanted in zip(found, reference):
        assert distance(ours, wanted) < 1e-5


# The causal model


def causal_inputs(kind):
    """Rows of interleaved ids and their labels: padded, or of several documents each, which are packed."""
    if kind == "padded":
        inputs = padded(interleaved([40, 7, 25]), side="right")
        return inputs | {"labels": inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)}
    ids = torch.tensor(interleaved([30, 30]))
    positions = [[*range(11), *range(19)], [*range(4), *range(1), *range(25)]]
    return {"input_ids": ids, "position_ids": torch.tensor(positions), "labels": ids}


def causal_logits_and_gradients(model, inputs):
    """Logits of real tokens in one vector, and all gradients in another, in double precision on the CPU."""
    output = model(**inputs)
    output.loss.backward()
    real = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
    gradients = [parameter.grad.flatten().double().cpu() for parameter in model.parameters()]
    return output.logits[real].detach().flatten().double().cpu(), torch.cat(gradients)


@every_dtype
@every_implementation
@pytest.mark.parametrize("kind", ["padded", "packed"])
@pytest.mark.parametrize("setting", ["all untied", "feed-forward untied", "biases, tied head"])
def test_causal_logits_and_gradients_equal_those_of_a_cpu(setting, kind, implementation, dtype):
    config, inputs = causal_config(setting, head_dim=16), causal_inputs(kind)
    reference = causal_logits_and_gradients(build(MoTForCausalLM, config, "eager").train(), inputs)

    def distances(attention):
        model = build(MoTForCausalLM, config, attention).train().to("cuda", dtype)
        found = causal_logits_and_gradients(model, on_gpu(inputs, dtype))
        return [distance(*pair) for pair in zip(found, reference)]

    for found, eager in zip(distances(implementation), distances("eager")):
        assert found < max(TOLERANCE, AS_EAGER * eager)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_causal_generation_writes_what_a_cpu_writes(cache):
    """With a static cache the library compiles the decoding."""
    config = causal_config(begin_ids={"image": 3}, end_ids={"image": 4}, num_tokens={"image": 5})
    inputs = padded(interleaved([12, 5, 9]))
    inputs["input_ids"] %= 3  # no picture is left open
    options = {"max_new_tokens": 16, "do_sample": False, "cache_implementation": cache}
    for mode in ("text", "image"):
        expected = build(MoTForCausalLM, config).generate(**inputs, **options, generation_mode=mode)
        model = build(MoTForCausalLM, config).to("cuda")
        found = model.generate(**on_gpu(inputs, torch.float32), **options, generation_mode=mode)
        assert torch.equal(found.cpu(), expected)
