# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The fusion strategies, each held to the invariants of the model: equal to its equation, blind to what is absent.

Batches come from `helpers.make_inputs`: their rows differ in padding and in the modalities that they have.
"""

import functools

import pytest
import torch
from helpers import (
    FEATURE_INPUTS,
    MASKS,
    MODALITIES,
    SUBSETS,
    batch_size_of,
    build,
    compact_inputs,
    in_float64,
    is_key_bias,
    make_inputs,
    max_difference,
    outputs_and_gradients,
    poison,
    presence,
    real_row,
    real_tokens,
    run,
    select_rows,
    subset_name,
    tiny_config,
    without,
)
from reference import FUSIONS as REFERENCES
from reference import reference_forward

from mixture_of_transformers import MoTForSequenceClassification, MoTModel
from mixture_of_transformers.fusion_mot import FUSIONS, CrossModalAttention, MoTHierarchicalFusion

TOLERANCE = 1e-5
EXACT = 1e-6
NUM_LABELS = 4

# The default, "late", is held to all of this by `test_invariants.py`.
every_fusion = pytest.mark.parametrize("fusion_type", [name for name in FUSIONS if name != "late"])
every_subset = pytest.mark.parametrize("subset", SUBSETS, ids=subset_name)
# Mean tokens and cls tokens; the second has joint layers and towers of other widths.
both_poolings = pytest.mark.parametrize("architecture", ["default", "uneven_towers"])
both_kinds = pytest.mark.parametrize("features", [False, True], ids=["raw", "features"])


@functools.cache
def model_for(fusion_type, architecture="default", features=False, attention="sdpa"):
    """A `MoTModel` in eval mode, built once: tests read it and never change it."""
    return build(MoTModel, tiny_config(architecture, features=features, fusion_type=fusion_type), attention)


def classifier_for(fusion_type, architecture="default", **overrides):
    config = tiny_config(architecture, fusion_type=fusion_type, num_labels=NUM_LABELS, **overrides)
    return build(MoTForSequenceClassification, config)


def test_every_strategy_has_a_reference():
    assert set(FUSIONS) == set(REFERENCES)


def test_strategies_differ():
    """Otherwise all that follows would hold for one strategy under four names."""
    inputs = make_inputs(MODALITIES)
    vectors = [run(model_for(fusion_type), inputs).pooler_output for fusion_type in FUSIONS]
    for i, left in enumerate(vectors):
        for right in vectors[i + 1 :]:
            assert (left - right).abs().amax(dim=1).min() > 0.01


# 1. Reference


@both_kinds
@every_subset
@both_poolings
@every_fusion
def test_fused_vector_equals_the_reference(fusion_type, architecture, subset, features):
    model = model_for(fusion_type, architecture, features)
    inputs = make_inputs(subset, features=features)
    output = run(model, inputs)
    for index in range(batch_size_of(inputs)):
        expected = reference_forward(model.state_dict(), model.config, real_row(inputs, index))
        assert max_difference(output.pooler_output[index], expected.pooler_output) < TOLERANCE


@pytest.mark.parametrize("absent", MODALITIES)
@every_fusion
def test_fused_vector_of_a_model_of_two_modalities_equals_the_reference(fusion_type, absent):
    model = build(MoTModel, tiny_config(fusion_type=fusion_type, **{f"{absent}_config": None}))
    inputs = make_inputs(tuple(m for m in MODALITIES if m != absent))
    output = run(model, inputs)
    for index in range(batch_size_of(inputs)):
        expected = reference_forward(model.state_dict(), model.config, real_row(inputs, index))
        assert max_difference(output.pooler_output[index], expected.pooler_output) < TOLERANCE


def test_the_classical_network_on_ready_features_equals_the_reference():
    """Encoders and hierarchical fusion alone, on BERT's 768, 80 mel bins and ResNet's 2048, of ragged lengths."""
    sizes = {"text": 768, "image": 2048, "audio": 80}
    towers = {f"{m}_config": {"feature_size": size} for m, size in sizes.items()}
    model = build(MoTModel, tiny_config(num_global_layers=0, fusion_type="hierarchical", **towers))
    with torch.no_grad():  # such wide projections of 0.2 would give tokens of hundreds, beyond float32 at 1e-5
        for m, size in sizes.items():
            model.embeddings[m].projection.weight.normal_(std=size**-0.5)
    lengths = {"text": (9, 4, 1), "image": (2, 5, 3), "audio": (13, 1, 20)}
    inputs = {}
    for m, counts in lengths.items():
        inputs[FEATURE_INPUTS[m]] = torch.randn(3, max(counts), sizes[m])
        inputs[MASKS[m]] = (torch.arange(max(counts)) < torch.tensor(counts)[:, None]).long()
    output = run(model, inputs)
    for index in range(3):
        row = real_row(inputs, index)
        assert {m: len(tokens) for m, tokens in row.items()} == {m: counts[index] for m, counts in lengths.items()}
        expected = reference_forward(model.state_dict(), model.config, row)
        assert max_difference(output.pooler_output[index], expected.pooler_output) < TOLERANCE


def cross_attention(dropout=0.0):
    config = tiny_config()
    config.attention_dropout = dropout
    module = CrossModalAttention(config)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


@pytest.mark.parametrize("padding", [False, True])
def test_cross_modal_attention_equals_that_of_torch(padding):
    ours = cross_attention()
    width, (num_heads, _) = ours.q_proj.in_features, ours.heads
    theirs = torch.nn.MultiheadAttention(width, num_heads, batch_first=True)
    inputs = [ours.q_proj, ours.k_proj, ours.v_proj]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([projection.weight for projection in inputs]))
        theirs.in_proj_bias.copy_(torch.cat([projection.bias for projection in inputs]))
    theirs.out_proj.load_state_dict(ours.o_proj.state_dict())
    tokens, context = torch.randn(4, 5, width), torch.randn(4, 7, width)
    mask = torch.rand(4, 7) < 0.5 if padding else None
    if padding:
        mask[:, 3] = True
    with torch.no_grad():
        expected, _ = theirs(tokens, context, context, key_padding_mask=~mask if padding else None)
        assert max_difference(ours(tokens, context, mask), expected) < TOLERANCE


def test_cross_modal_attention_without_context_is_zero_and_has_finite_gradients():
    attention = cross_attention()
    width = attention.q_proj.in_features
    tokens, context = (torch.randn(2, length, width, requires_grad=True) for length in (5, 7))
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1] = False
    attended = attention(tokens, context, mask)
    assert (attended[1] == 0).all() and (attended[0] != 0).any()
    attended.square().sum().backward()
    for value in (tokens.grad, context.grad, *(parameter.grad for parameter in attention.parameters())):
        assert value.isfinite().all()
    assert (tokens.grad[1] == 0).all() and (context.grad[1] == 0).all()


def test_cross_modal_attention_drops_weights_in_training_only():
    attention = cross_attention(dropout=0.5)
    tokens, context = torch.randn(2, 5, 32), torch.randn(2, 7, 32)
    assert torch.equal(attention.eval()(tokens, context), attention(tokens, context))
    assert not torch.equal(attention.train()(tokens, context), attention(tokens, context))


def test_the_first_modality_of_a_row_leads():
    masks = {
        "text": [[1, 1], [0, 0], [0, 0], [0, 0], [0, 1]],
        "image": [[1], [1], [0], [0], [0]],
        "audio": [[0, 1], [1, 0], [1, 1], [0, 0], [1, 1]],
    }
    leads = MoTHierarchicalFusion.leads({m: torch.tensor(mask).bool() for m, mask in masks.items()})
    assert leads["text"].flatten().tolist() == [True, False, False, False, True]
    assert leads["image"].flatten().tolist() == [False, True, False, False, False]
    assert leads["audio"].flatten().tolist() == [False, False, True, False, False]


# 2. Absent is absent


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@every_subset
@pytest.mark.parametrize("architecture, features", [("default", False), ("uneven_towers", True)])
@every_fusion
def test_a_row_equals_itself_alone(fusion_type, architecture, features, subset, training):
    """Left padding, holes and absent modalities: the row of the batch is the batch of its real tokens alone."""
    model = model_for(fusion_type, architecture, features)
    inputs = make_inputs(subset, features=features)
    try:
        model.train(training)
        output = run(model, inputs)
        for index in range(batch_size_of(inputs)):
            alone = run(model, compact_inputs(inputs, index))
            assert max_difference(output.pooler_output[index], alone.pooler_output[0]) < TOLERANCE
    finally:
        model.eval()


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("absent", MODALITIES)
@both_poolings
@every_fusion
def test_masking_a_modality_out_equals_leaving_it_out(fusion_type, architecture, absent, training):
    model = build(MoTModel, tiny_config(architecture, fusion_type=fusion_type)).train(training)
    inputs = make_inputs(MODALITIES, masks="ones")
    everything = run(model, inputs).pooler_output
    inputs[MASKS[absent]] = torch.zeros_like(inputs[MASKS[absent]])
    output, expected = run(model, inputs), run(model, without(inputs, absent))
    assert max_difference(output.pooler_output, expected.pooler_output) < TOLERANCE
    assert max_difference(output.pooler_output, everything) > 0.01


@both_kinds
@every_subset
@every_fusion
def test_permuting_rows_permutes_fused_vectors(fusion_type, subset, features):
    model = model_for(fusion_type, features=features)
    inputs = make_inputs(subset, features=features)
    order = torch.randperm(batch_size_of(inputs))
    output, permuted = run(model, inputs), run(model, select_rows(inputs, order))
    assert max_difference(permuted.pooler_output, output.pooler_output[order]) < TOLERANCE


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@both_poolings
@every_fusion
def test_a_row_without_any_token_gives_zeros(fusion_type, architecture, training):
    model = build(MoTModel, tiny_config(architecture, fusion_type=fusion_type)).train(training)
    inputs = make_inputs(MODALITIES)
    expected = run(model, inputs).pooler_output
    for modality in MODALITIES:
        inputs[MASKS[modality]][1] = 0
    fused = run(model, inputs).pooler_output
    assert (fused[1] == 0).all()
    others = [row for row in range(len(fused)) if row != 1]
    assert max_difference(fused[others], expected[others]) < TOLERANCE


@pytest.mark.parametrize("masks", ["padding", None])
@every_subset
@both_poolings
@every_fusion
def test_training_changes_no_value(fusion_type, architecture, subset, masks):
    """In float64, where the stand-ins of absent modalities must show as nothing but rounding."""
    model = build(MoTModel, tiny_config(architecture, fusion_type=fusion_type)).double()
    inputs = in_float64(make_inputs(subset, masks=masks))
    expected = run(model, inputs).pooler_output
    assert max_difference(run(model.train(), inputs).pooler_output, expected) < 1e-12


@every_fusion
def test_logits_of_a_subset_equal_the_call_with_that_subset(fusion_type):
    model = classifier_for(fusion_type)
    inputs = make_inputs(MODALITIES, masks="ones")
    logits = run(model, inputs, modality_subsets=list(SUBSETS)).logits
    for index, subset in enumerate(SUBSETS):
        alone = inputs
        for absent in set(MODALITIES) - set(subset):
            alone = without(alone, absent)
        assert max_difference(logits[:, index], run(model, alone).logits) < TOLERANCE


# 3. Poison


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("rubbish", [float("nan"), 1e30])
@both_kinds
@pytest.mark.parametrize("subset", [("text", "audio"), MODALITIES], ids=subset_name)
@every_fusion
def test_poison_in_masked_positions_changes_nothing(fusion_type, subset, features, rubbish, training):
    model = model_for(fusion_type, "uneven_towers" if training else "default", features)
    inputs = make_inputs(subset, features=features)
    try:
        model.train(training)
        outputs, gradients = outputs_and_gradients(model, inputs)
        poisoned_outputs, poisoned_gradients = outputs_and_gradients(model, poison(inputs, rubbish))
    finally:
        model.eval()
    for actual, expected in zip(poisoned_outputs, outputs):
        assert max_difference(actual, expected) < EXACT
    assert poisoned_gradients.keys() == gradients.keys()
    for name, expected in gradients.items():
        assert poisoned_gradients[name].isfinite().all(), name
        scale = max(1.0, expected.abs().max().item())
        assert max_difference(poisoned_gradients[name], expected) < EXACT * scale, name


# 4. Backends agree


@every_subset
@both_poolings
@every_fusion
def test_eager_and_sdpa_agree(fusion_type, architecture, subset):
    inputs = make_inputs(subset)
    eager, sdpa = (run(model_for(fusion_type, architecture, attention=a), inputs) for a in ("eager", "sdpa"))
    assert max_difference(eager.pooler_output, sdpa.pooler_output) < TOLERANCE


# 5. Round trip


@every_fusion
def test_saved_and_loaded_it_fuses_bit_for_bit_alike(fusion_type, tmp_path):
    model = model_for(fusion_type, "uneven_towers")
    model.save_pretrained(tmp_path)
    loaded = MoTModel.from_pretrained(tmp_path)
    assert loaded.config.fusion_type == fusion_type
    inputs = make_inputs(MODALITIES)
    assert torch.equal(run(loaded, inputs).pooler_output, run(model, inputs).pooler_output)


@every_fusion
def test_fresh_weights_are_small_and_random(fusion_type):
    """Every parameter of a fusion is initialised: nothing is left as it came from memory, nothing that learns is 0."""
    torch.manual_seed(0)
    for name, parameter in MoTModel(tiny_config(fusion_type=fusion_type)).fusion.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        else:
            assert 0.01 < parameter.std() < 0.03, name


# 6. Gradients exist


def learns(name, subset, rows):
    """Whether a parameter of the fusion has any effect on the fused vectors of such rows."""
    _, part, *rest = name.removeprefix("mot.").split(".")
    if part == "missing":
        return any(rest[0] not in row for row in rows)
    if part in ("query_norms", "context_norms", "cross_attentions"):  # a level above a row's first modality
        return any(rest[0] in row[1:] for row in rows)
    return True


@pytest.mark.parametrize("masks", ["padding", None])
@every_subset
@both_poolings
@every_fusion
def test_every_parameter_has_a_gradient_whatever_is_absent(fusion_type, architecture, subset, masks):
    model = classifier_for(fusion_type, architecture).train()
    inputs = make_inputs(subset, masks=masks)
    labels = torch.arange(batch_size_of(inputs)) % NUM_LABELS
    model(**inputs, labels=labels).loss.backward()
    rows = presence(subset) if masks else [subset]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"
        if name.startswith("mot.fusion.") and not is_key_bias(name):
            assert (parameter.grad != 0).any() == learns(name, subset, rows), name


@every_fusion
def test_every_parameter_has_a_gradient_in_a_batch_without_any_token(fusion_type):
    model = classifier_for(fusion_type).train()
    inputs = make_inputs(MODALITIES)
    for modality in MODALITIES:
        inputs[MASKS[modality]].zero_()
    model(**inputs, labels=torch.zeros(batch_size_of(inputs), dtype=torch.int64)).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert name.startswith("classifier.") or (parameter.grad == 0).all(), name


@every_fusion
def test_a_fused_row_passes_gradients_to_all_its_tokens(fusion_type):
    """With mean tokens, nothing that a row has is left unread."""
    model = build(MoTModel, tiny_config("encoders_only", fusion_type=fusion_type))
    inputs = make_inputs(MODALITIES)
    output = model(**inputs)
    parts = [output[f"{m}_hidden_state"] for m in MODALITIES]
    gradients = torch.cat(torch.autograd.grad(output.pooler_output.square().sum(), parts), dim=1)
    for index in range(batch_size_of(inputs)):
        real = output.attention_mask[index] != 0
        assert (gradients[index][real] != 0).any(dim=1).all()
        assert (gradients[index][~real] == 0).all()
        assert len(real_tokens(output, index)) == real.sum()
