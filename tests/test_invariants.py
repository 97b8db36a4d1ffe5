# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The invariants of the model: equal to its equations, blind to what is absent, trainable whatever a batch lacks.

Models are tiny with random parameters throughout; batches come from `helpers.make_inputs`, whose rows differ in
padding and in the modalities they have.
"""

import functools
from itertools import chain, cycle, product

import pytest
import torch
from distributed_steps import CASES, learn
from forked import forked
from helpers import (
    ARCHITECTURES,
    DECLARED,
    MASKS,
    MODALITIES,
    OPEN_CASES,
    OPEN_SETS,
    OPEN_SUBSETS,
    OPEN_WHOLES,
    RAW_INPUTS,
    SUBSETS,
    batch_size_of,
    build,
    compact_inputs,
    in_float64,
    input_items,
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
    whole_of,
    without,
)
from reference import reference_forward

from mixture_of_transformers import MoTForSequenceClassification, MoTModel
from mixture_of_transformers.subsets_mot import all_subsets

TOLERANCE = 1e-5
# Where only absent tokens differ, not even rounding should; 1e-6 leaves room for another batch size or layout.
EXACT = 1e-6
INPUT_KINDS = {"raw": {}, "frames": {"frames": True}, "features": {"features": True}}
NUM_LABELS = 4


def name_of(value):
    """Of a case in the name of a test."""
    return value if isinstance(value, str) else subset_name(value)


def every(names, *cases):
    return pytest.mark.parametrize(names, list(chain(*cases)), ids=name_of)


# Each architecture with all subsets of the three modalities, and some of what users declare (see helpers.py).
every_subset = every("architecture, subset", product(ARCHITECTURES, SUBSETS), OPEN_CASES)
every_pair_or_more = every(
    "architecture, subset", ((a, s) for a, s in (*product(ARCHITECTURES, SUBSETS), *OPEN_CASES) if len(s) > 1)
)
every_subset_and_kind = every(
    "architecture, subset, kind",
    product(ARCHITECTURES, SUBSETS, INPUT_KINDS),
    ((*case, "raw") for case in OPEN_CASES),
    ((*case, "features") for case in OPEN_WHOLES),
    [("joint_only", ("depth", "imu"), "frames")],
)
every_subset_of_one_architecture = every("subset", SUBSETS, OPEN_SETS, OPEN_SUBSETS)
every_whole = every("architecture, whole", product(ARCHITECTURES, [MODALITIES]), OPEN_WHOLES)
every_whole_and_kind = every(
    "architecture, whole, kind",
    product(ARCHITECTURES, [MODALITIES], INPUT_KINDS),
    ((*case, "raw") for case in OPEN_WHOLES),
)
every_set = every("whole", [MODALITIES], OPEN_SETS)
every_absent = every(
    "architecture, absent", product(ARCHITECTURES, MODALITIES), zip(cycle(reversed(ARCHITECTURES)), DECLARED)
)


def model_for(architecture, subset=MODALITIES, kind="raw", attention="sdpa", learned=False):
    """A `MoTModel` of the set that a subset is of, in eval mode, built once: tests read it and never change it."""
    return built_model(architecture, whole_of(subset), kind, attention, learned)


@functools.cache
def built_model(architecture, whole, kind, attention, learned):
    every_tower = {"position_embedding_type": "learned"} if learned else None
    features = kind == "features"
    return build(MoTModel, tiny_config(architecture, features, every_tower, modalities=whole), attention)


def classifier_for(architecture, subset=MODALITIES, kind="raw", **overrides):
    fields = {"features": kind == "features", "modalities": whole_of(subset), "num_labels": NUM_LABELS} | overrides
    return build(MoTForSequenceClassification, tiny_config(architecture, **fields))


def labels_for(inputs):
    batch_size = len(next(iter(inputs.values())))
    return torch.arange(batch_size) % NUM_LABELS


def assert_row_equals_reference(model, output, inputs, index):
    row = real_row(inputs, index)
    expected = reference_forward(model.state_dict(), model.config, row)
    assert max_difference(real_tokens(output, index), expected.last_hidden_state) < TOLERANCE
    assert max_difference(output.pooler_output[index], expected.pooler_output) < TOLERANCE
    absent = output.attention_mask[index] == 0
    assert (output.last_hidden_state[index][absent] == 0).all()


# 1. Reference


@every_subset_and_kind
def test_model_equals_the_reference_with_padding(architecture, subset, kind):
    model = model_for(architecture, subset, kind)
    inputs = make_inputs(subset, **INPUT_KINDS[kind])
    output = run(model, inputs)
    for index in range(batch_size_of(inputs)):
        assert_row_equals_reference(model, output, inputs, index)


@every_subset
def test_model_equals_the_reference_without_masks(architecture, subset):
    model = model_for(architecture, subset)
    inputs = make_inputs(subset, masks=None)
    output = run(model, inputs)
    assert output.attention_mask.bool().all()
    assert_row_equals_reference(model, output, inputs, 0)


@every_whole
def test_modality_slices_and_hidden_states_equal_the_reference(architecture, whole):
    model = model_for(architecture, whole)
    inputs = make_inputs(whole, masks=None)
    output = run(model, inputs, output_hidden_states=True)
    expected = reference_forward(model.state_dict(), model.config, real_row(inputs, 1))
    for modality, states in expected.modality_states.items():
        assert max_difference(output.modality_hidden_states[modality][1], states) < TOLERANCE
    assert len(output.hidden_states) == len(expected.hidden_states)
    for actual, states in zip(output.hidden_states, expected.hidden_states):
        assert max_difference(actual[1], states) < TOLERANCE


@pytest.mark.parametrize("frames", [False, True])
def test_convolutional_image_stem_equals_the_reference(frames):
    model = build(MoTModel, tiny_config(image_config={"stem": "conv"}))
    inputs = make_inputs(("text", "image"), frames=frames)
    output = run(model, inputs)
    for index in range(batch_size_of(inputs)):
        assert_row_equals_reference(model, output, inputs, index)


@pytest.mark.parametrize("frames", [False, True])
def test_one_dimensional_positions_of_patches_equal_the_reference(frames):
    model = build(MoTModel, tiny_config(image_config={"position_embedding_type": "sinusoidal"}))
    inputs = make_inputs(("image", "audio"), frames=frames)
    output = run(model, inputs)
    for index in range(batch_size_of(inputs)):
        assert_row_equals_reference(model, output, inputs, index)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("stem", ["linear", "conv"])
def test_audio_stems_of_any_stride_equal_the_reference(stem, stride):
    model = build(MoTModel, tiny_config(audio_config={"stem": stem, "stem_stride": stride}))
    inputs = make_inputs(("audio",))
    output = run(model, inputs)
    for index in range(batch_size_of(inputs)):
        assert_row_equals_reference(model, output, inputs, index)
        num_frames = len(real_row(inputs, index)["audio"])
        assert output.attention_mask[index].sum() == -(-num_frames // stride)


def test_one_frame_equals_a_still_picture():
    model = model_for("default")
    inputs = make_inputs(("image",), masks=None)
    frames = {"pixel_values": inputs["pixel_values"][:, None]}
    assert max_difference(run(model, inputs).last_hidden_state, run(model, frames).last_hidden_state) < EXACT


# 2. Absent is absent


positions = pytest.mark.parametrize("learned", [False, True], ids=["sinusoidal", "learned"])


@positions
@every_subset_and_kind
def test_left_padding_and_holes_equal_the_compact_row(architecture, subset, kind, learned):
    """Every row equals the batch of one with its real tokens alone, without its absent modalities and padding."""
    model = model_for(architecture, subset, kind, learned=learned)
    inputs = make_inputs(subset, **INPUT_KINDS[kind])
    output = run(model, inputs)
    for index in range(batch_size_of(inputs)):
        alone = run(model, compact_inputs(inputs, index))
        assert max_difference(real_tokens(output, index), real_tokens(alone, 0)) < TOLERANCE
        assert max_difference(output.pooler_output[index], alone.pooler_output[0]) < TOLERANCE


@every_subset_and_kind
def test_a_row_does_not_depend_on_other_rows(architecture, subset, kind):
    model = model_for(architecture, subset, kind)
    inputs = make_inputs(subset, **INPUT_KINDS[kind])
    others = make_inputs(subset, **INPUT_KINDS[kind], seed=7)
    expected = run(model, inputs)
    # Row 3 keeps its place; the rows around it change their contents, their padding and their modalities.
    mixed = {name: torch.cat([others[name].flip(0)[:3], value[3:4]]) for name, value in inputs.items()}
    output = run(model, mixed)
    assert max_difference(real_tokens(output, 3), real_tokens(expected, 3)) < TOLERANCE
    assert max_difference(output.pooler_output[3], expected.pooler_output[3]) < TOLERANCE


@pytest.mark.parametrize("kind", INPUT_KINDS)
@every_pair_or_more
def test_masking_a_modality_out_equals_leaving_it_out(architecture, subset, kind):
    model = model_for(architecture, subset, kind)
    for absent in subset:
        inputs = make_inputs(subset, **INPUT_KINDS[kind], masks="ones")
        inputs[MASKS[absent]] = torch.zeros_like(inputs[MASKS[absent]])
        output, expected = run(model, inputs), run(model, without(inputs, absent))
        for index in range(batch_size_of(inputs)):
            assert max_difference(real_tokens(output, index), real_tokens(expected, index)) < TOLERANCE
        assert max_difference(output.pooler_output, expected.pooler_output) < TOLERANCE


@every_subset_and_kind
def test_permuting_rows_permutes_outputs(architecture, subset, kind):
    model = model_for(architecture, subset, kind)
    inputs = make_inputs(subset, **INPUT_KINDS[kind])
    order = torch.randperm(batch_size_of(inputs))
    output, permuted = run(model, inputs), run(model, select_rows(inputs, order))
    for row, source in enumerate(order.tolist()):
        assert max_difference(real_tokens(permuted, row), real_tokens(output, source)) < TOLERANCE
    assert max_difference(permuted.pooler_output, output.pooler_output[order]) < TOLERANCE


@every_whole
def test_a_row_without_any_token_gives_zeros(architecture, whole):
    model = model_for(architecture, whole)
    inputs = make_inputs(whole)
    for modality in whole:
        inputs[MASKS[modality]][1] = 0
    output = run(model, inputs)
    assert (output.attention_mask[1] == 0).all()
    assert (output.last_hidden_state[1] == 0).all()
    assert (output.pooler_output[1] == 0).all()
    assert output.pooler_output.isfinite().all()


@every_whole
def test_a_batch_without_any_token_gives_zeros(architecture, whole):
    inputs = make_inputs(whole)
    for modality in whole:
        inputs[MASKS[modality]].zero_()
    output = run(model_for(architecture, whole), inputs)
    assert (output.last_hidden_state == 0).all()
    assert (output.pooler_output == 0).all()


@pytest.mark.parametrize("convert", [torch.Tensor.bool, torch.Tensor.float, lambda mask: mask * 4, lambda mask: -mask])
@every_set
def test_any_non_zero_mask_value_means_real(whole, convert):
    model = model_for("default", whole)
    inputs = make_inputs(whole)
    converted = inputs | {MASKS[m]: convert(inputs[MASKS[m]]) for m in whole}
    output, expected = run(model, converted), run(model, inputs)
    assert torch.equal(output.last_hidden_state, expected.last_hidden_state)
    assert torch.equal(output.attention_mask != 0, expected.attention_mask != 0)


@pytest.mark.parametrize("absent", [*MODALITIES, *DECLARED])
def test_a_mask_without_its_modality_is_ignored(absent):
    model = model_for("default", (absent,))
    inputs = make_inputs(whole_of((absent,)))
    with_mask = without(inputs, absent) | {MASKS[absent]: torch.zeros(17, 23)}
    expected = run(model, without(inputs, absent))
    assert torch.equal(run(model, with_mask).last_hidden_state, expected.last_hidden_state)


@every_absent
def test_an_absent_modality_costs_nothing_in_inference(architecture, absent):
    whole = whole_of((absent,))
    model = build(MoTModel, tiny_config(architecture, modalities=whole))
    calls = dict.fromkeys(whole, 0)

    def count(modality):
        def hook(*_):
            calls[modality] += 1

        return hook

    for name, module in model.named_modules():
        for modality in whole:
            if modality in name.split("."):
                module.register_forward_hook(count(modality))
    run(model, without(make_inputs(whole), absent))
    assert calls[absent] == 0
    assert all(calls[modality] > 0 for modality in whole if modality != absent)


# 3. Poison


RUBBISH = pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), -float("inf"), 1e30])


@RUBBISH
@every_whole_and_kind
def test_poison_in_masked_positions_changes_nothing(architecture, whole, kind, rubbish):
    model = model_for(architecture, whole, kind)
    inputs = make_inputs(whole, **INPUT_KINDS[kind])
    outputs, gradients = outputs_and_gradients(model, inputs)
    poisoned = poison(inputs, rubbish)
    for (_, _, clean, _), (_, _, dirty, _) in zip(input_items(inputs), input_items(poisoned)):
        assert not torch.equal(clean, dirty)
    poisoned_outputs, poisoned_gradients = outputs_and_gradients(model, poisoned)
    for actual, expected in zip(poisoned_outputs, outputs):
        assert max_difference(actual, expected) < EXACT
    assert poisoned_gradients.keys() == gradients.keys()
    for name, expected in gradients.items():
        assert poisoned_gradients[name].isfinite().all(), name
        scale = max(1.0, expected.abs().max().item())
        assert max_difference(poisoned_gradients[name], expected) < EXACT * scale, name


@RUBBISH
@every_subset_of_one_architecture
def test_poison_changes_nothing_for_any_subset_in_training(subset, rubbish):
    model = build(MoTModel, tiny_config(modalities=whole_of(subset))).train()
    inputs = make_inputs(subset)
    outputs, gradients = outputs_and_gradients(model, inputs)
    poisoned_outputs, poisoned_gradients = outputs_and_gradients(model, poison(inputs, rubbish))
    for actual, expected in zip(poisoned_outputs, outputs):
        assert max_difference(actual, expected) < EXACT
    for name, expected in gradients.items():
        scale = max(1.0, expected.abs().max().item())
        assert max_difference(poisoned_gradients[name], expected) < EXACT * scale, name


@RUBBISH
@every_absent
def test_poison_in_a_wholly_masked_modality_changes_nothing(architecture, absent, rubbish):
    model = model_for(architecture, (absent,))
    inputs = make_inputs(whole_of((absent,)))
    inputs[MASKS[absent]] = torch.zeros_like(inputs[MASKS[absent]])
    poisoned = poison(inputs, rubbish)
    outputs, _ = outputs_and_gradients(model, without(inputs, absent))
    poisoned_outputs, gradients = outputs_and_gradients(model, poisoned)
    assert max_difference(poisoned_outputs[1], outputs[1]) < TOLERANCE
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    for name, gradient in gradients.items():
        if absent in name.split(".") or name == RAW_INPUTS[absent]:
            assert (gradient == 0).all(), name


# 4. Backends agree


@every_subset_and_kind
def test_eager_and_sdpa_agree(architecture, subset, kind):
    inputs = make_inputs(subset, **INPUT_KINDS[kind])
    eager, sdpa = (run(model_for(architecture, subset, kind, name), inputs) for name in ("eager", "sdpa"))
    assert max_difference(eager.last_hidden_state, sdpa.last_hidden_state) < TOLERANCE
    assert max_difference(eager.pooler_output, sdpa.pooler_output) < TOLERANCE


@pytest.mark.parametrize("masks", ["padding", None])
@every_subset
def test_flex_and_sdpa_agree(architecture, subset, masks):
    """Run as plain operations: compiling the kernel for a CPU takes 15 s for each shape and proves nothing more."""
    inputs = make_inputs(subset, masks=masks)
    expected = run(model_for(architecture, subset), inputs)
    with torch.compiler.set_stance("force_eager"):
        output = run(model_for(architecture, subset, attention="flex_attention"), inputs)
    assert max_difference(output.last_hidden_state, expected.last_hidden_state) < TOLERANCE
    assert max_difference(output.pooler_output, expected.pooler_output) < TOLERANCE


# 6. Gradients exist


def backward(model, inputs, **options):
    """The loss, and the gradients by name after one backward pass in training mode."""
    model.train()
    model.zero_grad(set_to_none=True)
    loss = model(**inputs, labels=labels_for(inputs), **options).loss
    loss.backward()
    return loss.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_gradients_of(subset, gradients, whole):
    for name, gradient in gradients.items():
        assert gradient is not None, f"{name} has no gradient"
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"
        absent = [m for m in whole if m in name.split(".") and m not in subset]
        if absent:
            assert (gradient == 0).all(), f"{name} has a gradient without {absent[0]}"
        elif not is_key_bias(name):
            assert gradient.abs().max() > 0, f"{name} learns nothing"


@every_subset_and_kind
def test_every_parameter_has_a_gradient_whatever_is_absent(architecture, subset, kind):
    model = classifier_for(architecture, subset, kind)
    _, gradients = backward(model, make_inputs(subset, **INPUT_KINDS[kind]))
    assert_gradients_of(subset, gradients, whole_of(subset))


@every_subset
def test_every_parameter_has_a_gradient_without_masks(architecture, subset):
    _, gradients = backward(classifier_for(architecture, subset), make_inputs(subset, masks=None))
    assert_gradients_of(subset, gradients, whole_of(subset))


@every_subset_of_one_architecture
def test_every_parameter_has_a_gradient_with_learned_positions(subset):
    model = classifier_for("default", subset, every_tower={"position_embedding_type": "learned"})
    _, gradients = backward(model, make_inputs(subset))
    for name, gradient in gradients.items():
        assert gradient is not None and gradient.isfinite().all(), name
        if any(modality in name.split(".") for modality in whole_of(subset) if modality not in subset):
            assert (gradient == 0).all(), name


@every_subset_of_one_architecture
def test_every_parameter_has_a_gradient_under_dropout(subset):
    rates = dict.fromkeys(("hidden_dropout", "attention_dropout", "drop_path_rate", "classifier_dropout"), 0.3)
    model = classifier_for("uneven_towers", subset, **rates)
    loss, gradients = backward(model, make_inputs(subset))
    assert loss.isfinite()
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())


@every_absent
def test_a_wholly_masked_modality_has_zero_gradients(architecture, absent):
    whole = whole_of((absent,))
    inputs = make_inputs(whole, masks="ones")
    inputs[MASKS[absent]] = torch.zeros_like(inputs[MASKS[absent]])
    _, gradients = backward(classifier_for(architecture, whole), inputs)
    assert_gradients_of([m for m in whole if m != absent], gradients, whole)


@pytest.mark.parametrize("masks", ["padding", None])
@every_subset
def test_training_forward_equals_eval_forward(architecture, subset, masks):
    """In float64, where the dummy token of an absent modality must show as nothing but rounding."""
    model = classifier_for(architecture, subset).double()
    inputs = in_float64(make_inputs(subset, masks=masks))
    expected_logits, expected = run(model, inputs).logits, run(model.mot, inputs)
    model.train()
    output = run(model.mot, inputs)
    assert max_difference(run(model, inputs).logits, expected_logits) < 1e-12
    assert max_difference(output.last_hidden_state, expected.last_hidden_state) < 1e-12
    assert torch.equal(output.attention_mask, expected.attention_mask)
    assert tuple(output.modality_hidden_states) == subset
    for modality in MODALITIES:
        assert (getattr(output, f"{modality}_hidden_state") is None) == (modality not in subset)


ENGINES = ("ddp", "ddp, checkpointing", "fully_shard", "fully_shard, checkpointing", "ddp, chunks")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What two processes, forked from one of their own, say of all engines."""
    return forked(lambda: learn(ENGINES), ["two processes"], tmp_path_factory.mktemp("two_processes"))


@pytest.mark.training
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_two_processes_with_different_modalities_learn_what_one_would(two_processes, engine, case):
    """One has text, the other image and audio, or depth and a series, by turns: no hang, and contrastive losses are
    those of the joined batch."""
    if engine == "ddp, chunks" and "Retrieval" not in case:
        pytest.skip("cached gradients are for models that retrieve")
    report = two_processes.stdout + two_processes.stderr
    for rank in (0, 1):
        assert f"{engine}, {case}, rank {rank}: all parameters equal to one process" in report, report
    assert two_processes.returncode == 0, report


@pytest.mark.training
@pytest.mark.parametrize("case", CASES)
def test_a_sharded_model_is_gathered_into_a_checkpoint_that_one_process_loads(two_processes, case):
    report = two_processes.stdout + two_processes.stderr
    assert f"\n{case}: the gathered checkpoint is what one process learnt" in report, report


# The classification head


@every_whole
def test_classifier_reads_the_pooled_vector(architecture, whole):
    model = classifier_for(architecture, whole)
    inputs = make_inputs(whole)
    output = run(model, inputs, labels=labels_for(inputs))
    pooled = run(model.mot, inputs).pooler_output
    expected = pooled @ model.classifier.weight.T + model.classifier.bias
    assert max_difference(output.logits, expected) < TOLERANCE
    assert max_difference(output.loss, torch.nn.functional.cross_entropy(expected, labels_for(inputs))) < TOLERANCE


@every_whole
def test_logits_of_a_subset_equal_the_call_with_that_subset(architecture, whole):
    model, subsets = classifier_for(architecture, whole), all_subsets(whole)
    inputs = make_inputs(whole, masks="ones")
    output = run(model, inputs, modality_subsets=subsets)
    assert output.logits.shape[1] == len(subsets)
    for index, subset in enumerate(subsets):
        alone = inputs
        for absent in set(whole) - set(subset):
            alone = without(alone, absent)
        assert max_difference(output.logits[:, index], run(model, alone).logits) < TOLERANCE


@every_set
def test_subset_loss_leaves_out_rows_without_the_subset(whole):
    model, subsets = classifier_for("default", whole), all_subsets(whole)
    inputs = make_inputs(whole)
    labels = labels_for(inputs)
    output = run(model, inputs, labels=labels, modality_subsets=subsets)
    rows = presence(whole)
    losses = []
    for index, subset in enumerate(subsets):
        counted = [row_index for row_index, row in enumerate(rows) if set(row) & set(subset)]
        logits = output.logits[counted, index]
        losses.append(torch.nn.functional.cross_entropy(logits, labels[counted]))
    assert list(output.losses) == [subset_name(subset) for subset in subsets]
    assert max_difference(torch.stack(list(output.losses.values())), torch.stack(losses)) < TOLERANCE
    assert max_difference(output.loss, torch.stack(losses).mean()) < TOLERANCE


def test_every_parameter_has_a_gradient_with_modality_subsets():
    model = classifier_for("default")
    _, gradients = backward(model, make_inputs(MODALITIES), modality_subsets=[("text",), ("text", "audio")])
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    assert gradients["mot.embeddings.text.word_embeddings.weight"].abs().max() > 0
