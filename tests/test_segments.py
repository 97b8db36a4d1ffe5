# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Segments: an encoder reads each by itself, the layers behind it see all, and what a segment is does not depend on
how a batch holds it.

The reference is the model itself, called with each segment as a row of its own, and `segment_layers`, which attends
with a dense mask.
"""

import functools

import pytest
import torch
from helpers import build, make_inputs, max_difference, poison, run, tiny_config

from mixture_of_transformers import (
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTModel,
)
from mixture_of_transformers.segments_mot import find_segments

TOLERANCE, EXACT = 1e-5, 1e-6
ARCHITECTURES = ("default", "joint_only", "uneven_towers", "encoders_only")
FUSIONS = ("late", "early", "hierarchical", "attention")
every_attention = pytest.mark.parametrize("attention", ["sdpa", "eager"])
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


@functools.cache
def model_for(architecture="default", attention="sdpa", **fields):
    return build(MoTModel, tiny_config(architecture, **fields), attention)


def several(seed=1):
    """Four rows: two texts, three pictures (one of them twice, as a video of two frames) and two sounds, with gaps."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "input_ids": torch.randint(0, 50, (4, 7), generator=generator),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 1, 1, 0], [1] * 3 + [0] * 4, [0] * 7]),
        "input_segments": torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0, 1, 0, 9, 1, 0, 0], [2, 2, 0, 0, 0, 0, 0], [5] * 7]),
        "pixel_values": torch.randn(4, 4, 3, 8, 12, generator=generator),
        "pixel_mask": torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]),
        "pixel_segments": torch.tensor([[0, 1, 2, 2], [0, 0, 1, 1], [0, 1, 2, 3], [3, 2, 1, 0]]),
        "input_features": torch.randn(4, 11, 6, generator=generator),
        "input_features_mask": torch.tensor([[1] * 11, [1] * 4 + [0] * 3 + [1] * 4, [0] * 11, [1] + [0] * 10]),
        "input_features_segments": torch.tensor([[0] * 4 + [1] * 7, [0] * 4 + [1] * 7, [0] * 11, [1] * 11]),
    }


NAMES = {
    "text": ("input_ids", "attention_mask", "input_segments"),
    "image": ("pixel_values", "pixel_mask", "pixel_segments"),
    "audio": ("input_features", "input_features_mask", "input_features_segments"),
}


def segments_of(inputs, modality, row):
    """The real inputs of each segment of a row, in the order of their numbers."""
    value, mask, segments = (inputs[name][row] for name in NAMES[modality])
    real = mask != 0
    numbers = sorted(set(segments[real].tolist()))
    return [value[real & (segments == number)] for number in numbers]


@every_attention
@every_architecture
def test_an_encoder_reads_each_segment_as_a_row_of_its_own(architecture, attention):
    model, inputs = model_for(architecture, attention), several()
    with torch.no_grad():
        encoded = model.encode(**inputs)
    for modality, names in NAMES.items():
        tokens = encoded.layouts[modality].unpack(encoded.hidden_states[modality])
        for row in range(4):
            parts = segments_of(inputs, modality, row)
            found = tokens[row][encoded.masks[modality][row]]
            with torch.no_grad():
                alone = [model.encode(**{names[0]: part[None]}).hidden_states[modality][0] for part in parts]
            expected = torch.cat(alone) if alone else found[:0]
            assert max_difference(found, expected) < TOLERANCE


@every_architecture
@pytest.mark.parametrize("modality", NAMES)
def test_one_segment_is_bit_equal_to_none(architecture, modality):
    model, inputs = model_for(architecture), make_inputs(("text", "image", "audio"), frames=True)
    value, _, segments = NAMES[modality]
    with_segments = inputs | {segments: torch.zeros(inputs[value].shape[:2], dtype=torch.int64)}
    output, expected = run(model, with_segments), run(model, inputs)
    assert torch.equal(output.last_hidden_state, expected.last_hidden_state)
    assert torch.equal(output.pooler_output, expected.pooler_output)


@every_attention
@pytest.mark.parametrize("fusion", FUSIONS)
@every_architecture
def test_permuting_segments_without_times_changes_nothing(architecture, fusion, attention):
    model, inputs = model_for(architecture, attention, fusion_type=fusion), several()
    expected = run(model, inputs).pooler_output
    for _, _, segments in NAMES.values():
        inputs[segments] = 3 - inputs[segments].clamp(max=3)
    assert max_difference(run(model, inputs).pooler_output, expected) < TOLERANCE


@every_architecture
def test_what_a_segment_is_does_not_depend_on_its_neighbours(architecture):
    model, inputs = model_for(architecture), several()
    other = several(seed=5)
    is_first = (inputs["input_segments"] == 0)[0]
    mixed = inputs | {"input_ids": torch.where(is_first, inputs["input_ids"], other["input_ids"])}
    with torch.no_grad():
        (one, two) = (model.encode(**{n: b[n][:1] for n in NAMES["text"]}) for b in (inputs, mixed))
    one, two = (e.layouts["text"].unpack(e.hidden_states["text"])[0].unflatten(0, (2, -1)) for e in (one, two))
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[1], two[1])


@every_attention
@every_architecture
def test_a_row_without_real_segments_lacks_the_modality(architecture, attention):
    model, inputs = model_for(architecture, attention), several()
    output = run(model, inputs)
    # Row 2 has one text and nothing else.
    alone = run(model, {"input_ids": inputs["input_ids"][2:3, :3], "input_segments": torch.tensor([[1, 1, 0]])})
    assert max_difference(output.pooler_output[2], alone.pooler_output[0]) < TOLERANCE
    # Row 3 has one picture and one frame of sound.
    row = {"pixel_values": inputs["pixel_values"][3:, 3], "input_features": inputs["input_features"][3:, :1]}
    assert max_difference(output.pooler_output[3], run(model, row).pooler_output[0]) < TOLERANCE


@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), 1e30])
@every_architecture
def test_poison_between_segments_changes_nothing(architecture, rubbish):
    model, inputs = model_for(architecture), several()
    poisoned = poison(inputs, rubbish)
    for _, mask, segments in NAMES.values():
        poisoned[segments] = torch.where(inputs[mask] != 0, inputs[segments], -77)
    output, expected = run(model, poisoned), run(model, inputs)
    assert max_difference(output.last_hidden_state, expected.last_hidden_state) < EXACT


def test_joint_and_global_layers_see_all_segments():
    """Equal to one call in which the encoder attends by a dense mask: here encoders have no layers, so that segments
    differ from one long row by their positions alone, and those are left out."""
    fields = {"num_hidden_layers": 0}
    config = tiny_config("joint_only", text_config=fields, image_config=None, audio_config=None)
    model = build(MoTModel, config)
    ids = torch.randint(0, 50, (2, 6))
    segments = torch.tensor([[0, 1, 2, 3, 4, 5]] * 2)
    found = run(model, {"input_ids": ids, "input_segments": segments})
    with torch.no_grad():  # every token at position 0
        tokens = model.embeddings.text(ids.flatten()[:, None], None, model.modality_embeddings("text"))
        encoded = model.encode(input_ids=ids)
        encoded.hidden_states["text"] = tokens.reshape(2, 6, -1)
        expected = model.join(encoded)
    assert max_difference(found.last_hidden_state, expected.last_hidden_state) < TOLERANCE


def test_places_put_segments_on_one_clock():
    model = model_for("joint_only")
    ids, segments = torch.randint(0, 50, (1, 4)), torch.tensor([[0, 0, 1, 1]])
    early, late = (torch.tensor([[0.0, 0.0, place, place]]) for place in (1.0, 2.0))
    base = {"input_ids": ids, "input_segments": segments}
    at = [run(model, base | {"input_times": times}).pooler_output for times in (early, late)]
    assert max_difference(*at) > 1e-3
    # At 0 nothing is added: a document of one part is that part.
    first = run(model, {"input_ids": ids, "input_segments": segments * 0, "input_times": torch.zeros(1, 4)})
    assert max_difference(first.pooler_output, run(model, {"input_ids": ids}).pooler_output) < EXACT
    # The numbers of segments mean nothing where their places are given.
    swapped = run(model, base | {"input_segments": 1 - segments, "input_times": early})
    assert max_difference(swapped.pooler_output, at[0]) < TOLERANCE


def test_attention_within_encoders_is_block_diagonal_and_rows_of_weights_sum_to_one():
    model, inputs = model_for("uneven_towers"), several()
    output = run(model, inputs, output_encoder_attentions=True, output_encoder_hidden_states=True)
    for modality in NAMES:
        states, weights = output.encoder_hidden_states[modality], output.encoder_attentions[modality]
        hidden = output.modality_hidden_states[modality]
        assert states[0].shape[:2] == hidden.shape[:2]
        for weight in weights:
            assert weight.shape[-1] == weight.shape[-2] == hidden.shape[1]
    number = 3  # texts of row 2 reach number 2
    blocks = output.encoder_attentions["text"][0].unflatten(3, (number, -1)).unflatten(2, (number, -1))
    for i in range(number):
        for j in range(number):
            assert bool(blocks[0, :, i, :, j].any()) <= (i == j)


@pytest.mark.parametrize("architecture", ["default", "joint_only"])
@pytest.mark.parametrize("head", [MoTForSequenceClassification, MoTForRetrieval, MoTForPreTraining])
def test_every_parameter_gets_a_gradient_from_segments(architecture, head):
    model, inputs = build(head, tiny_config(architecture, num_labels=3)).train(), several()
    labels = {"labels": torch.tensor([0, 1, 2, 0])} if head is MoTForSequenceClassification else {}
    model(**inputs, **labels).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_masked_words_of_segments_are_scored_where_their_labels_are():
    model, inputs = build(MoTForMaskedLM, tiny_config()), several()
    labels = torch.where(inputs["attention_mask"] != 0, inputs["input_ids"], -100)
    found = run(model, inputs, labels=labels).loss
    total, number = 0.0, 0
    for row in range(3):
        for part in segments_of(inputs, "text", row):
            number += len(part)
    with torch.no_grad():
        output = model.mot(**inputs)
        hidden = output.text_hidden_state  # (4, 3 segments * longest, d)
        scores = model.prediction_heads["text"](hidden).log_softmax(dim=-1)
        for row in range(3):
            real = scores[row][output.attention_mask[row, : hidden.shape[1]] != 0]
            words = torch.cat(segments_of(inputs, "text", row))
            total -= real.gather(1, words[:, None]).sum()
    assert max_difference(found, total / number) < TOLERANCE


def test_pretraining_counts_labels_of_segments_as_those_of_rows():
    config = tiny_config(image_config={"num_hidden_layers": 1}, modality_weights={"contrastive": 0})
    model = build(MoTForPreTraining, config)
    pixels = torch.randn(2, 3, 3, 8, 12)
    inputs = {"pixel_values": pixels, "pixel_segments": torch.tensor([[0, 1, 2]] * 2)}
    found = run(model, inputs, image_labels=pixels)
    rows = pixels.flatten(0, 1)
    with torch.no_grad():
        encoded = model.mot.encode(**inputs)
        assert encoded.segments == {"image": 3}
    assert found.image_predictions.shape[1] == 3 * run(model, {"pixel_values": rows}).image_predictions.shape[1]
    assert found.losses["image"].isfinite()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_segments": torch.zeros(4, 6, dtype=torch.long)}, r"`input_segments` has shape \(4, 6\)"),
        ({"input_segments": torch.zeros(4, 7)}, "`input_segments` .*float32, expected whole numbers"),
        ({"input_segments": torch.full((4, 7), -1)}, "`input_segments` holds -1 to -1, expected 0 to 6"),
        ({"input_segments": torch.full((4, 7), 7)}, "`input_segments` holds 7 to 7, expected 0 to 6"),
        ({"input_times": torch.zeros(4, 6)}, r"`input_times` has shape \(4, 6\)"),
        ({"pixel_values": torch.randn(4, 3, 8, 12), "pixel_mask": torch.ones(4)}, "give several pictures as"),
    ],
)
def test_segments_that_do_not_fit_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        model_for()(**(several() | change))


def test_columns_of_a_table_keep_their_places_in_each_segment():
    """Where every input of a segment means what its place says, gaps do not close."""
    segments, mask = torch.tensor([[0, 0, 0, 1, 1, 1]]), torch.tensor([[1, 0, 1, 0, 0, 1]])
    found = find_segments(segments, mask, (1, 6), "vitals_segments", width=3)
    values = torch.tensor([[10.0, 11.0, 12.0, 20.0, 21.0, 22.0]])
    assert found.split(values).tolist() == [[10.0, 0.0, 12.0], [0.0, 0.0, 22.0]]
    assert found.real().tolist() == [[1, 0, 1], [0, 0, 1]]
