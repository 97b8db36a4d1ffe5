# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Models of words, a series and a set: against the equations, row by row; saved and loaded, pretrained, drawn."""

from itertools import chain, combinations

import pytest
import torch
from helpers import VOCAB_SIZE, build, max_difference, outputs_and_gradients, padding_pattern, real_tokens, run
from reference import reference_forward

from mixture_of_transformers import MoTConfig, MoTForPreTraining, MoTForSequenceClassification, MoTModel
from mixture_of_transformers.explain.attention import attention_maps
from mixture_of_transformers.explain.pictures import plot_rollout

TOLERANCE = 1e-5
MODALITIES, CHANNELS, ROWS = ("text", "imu", "cloud"), {"imu": 3, "cloud": 2}, 5
INPUTS = {"text": "input_ids", "imu": "imu_values", "cloud": "cloud_values"}
MASKS = {"text": "attention_mask", "imu": "imu_mask", "cloud": "cloud_mask"}
SUBSETS = tuple(chain.from_iterable(combinations(MODALITIES, size) for size in (1, 2, 3)))
ATTENTIONS = ("eager", "sdpa")


def series_model_config(**fields):
    return MoTConfig(
        **{"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "num_joint_layers": 1} | fields,
        text_config={"vocab_size": VOCAB_SIZE, "max_position_embeddings": 16, "num_hidden_layers": 1},
        image_config=None,
        audio_config=None,
        imu_config={"model_type": "mot_series", "num_channels": 3, "stem_stride": 2, "num_hidden_layers": 1},
        cloud_config={
            "model_type": "mot_series",
            "num_channels": 2,
            "position_embedding_type": None,
            "num_hidden_layers": 1,
        },
    )


def series_inputs(subset=MODALITIES, seed=0):
    """Rows with padding, holes and gaps; row i lacks the i-th of the modalities, but for the last two, which have
    all."""
    generator, inputs = torch.Generator().manual_seed(seed), {}
    for place, name in enumerate(subset):
        length = 7 + place
        mask = torch.stack([padding_pattern(row, length) for row in range(ROWS)])
        if len(subset) > 1:
            mask[place] = 0
        if name == "text":
            inputs[INPUTS[name]] = torch.randint(0, VOCAB_SIZE, (ROWS, length), generator=generator)
        else:
            inputs[INPUTS[name]] = torch.randn(ROWS, length, CHANNELS[name], generator=generator)
            mask = mask[..., None] * (torch.rand(ROWS, length, CHANNELS[name], generator=generator) < 0.7).long()
        inputs[MASKS[name]] = mask
    return inputs


def row_alone(inputs, row):
    """modality -> what a row has of it, with NaN in gaps and without what is not there."""
    found = {}
    for name in MODALITIES:
        if INPUTS[name] in inputs and inputs[MASKS[name]][row].any():
            values, mask = inputs[INPUTS[name]][row], inputs[MASKS[name]][row] != 0
            found[name] = values[mask] if mask.ndim == 1 else values.masked_fill(~mask, torch.nan)[mask.any(-1)]
    return found


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_models_of_series_are_the_equations_for_every_subset_with_padding_and_gaps(subset, attention):
    config, inputs = series_model_config(), series_inputs(subset)
    model = build(MoTModel, config, attention)
    output = run(model, inputs)
    for row in range(ROWS):
        expected = reference_forward(model.state_dict(), config, row_alone(inputs, row))
        assert max_difference(real_tokens(output, row), expected.last_hidden_state) < TOLERANCE
        assert max_difference(output.pooler_output[row], expected.pooler_output) < TOLERANCE


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_what_is_absent_of_a_series_changes_no_output_and_no_gradient(attention, value):
    model, inputs = build(MoTModel, series_model_config(), attention), series_inputs()
    poisoned = {
        name: values.masked_fill(inputs[name.replace("_values", "_mask")] == 0, value)
        if name.endswith("_values")
        else values
        for name, values in inputs.items()
    }
    clean, dirty = outputs_and_gradients(model, inputs), outputs_and_gradients(model, poisoned)
    for left, right in zip([*clean[0], *clean[1].values()], [*dirty[0], *dirty[1].values()]):
        assert torch.equal(left, right)


def test_a_gap_counts_where_no_whole_sample_is_missing():
    """All tokens are real then, and a packed model may not take the mask for one that says nothing."""
    for attention in ATTENTIONS:
        model = build(MoTModel, series_model_config(), attention)
        values, mask = torch.randn(2, 8, 3), torch.ones(2, 8, 3)
        mask[0, 3, 1] = 0
        other = values.clone()
        other[0, 3, 1] = 1e6
        outputs = [run(model, {"imu_values": given, "imu_mask": mask}).last_hidden_state for given in (values, other)]
        assert torch.equal(*outputs)
        assert max_difference(outputs[0], run(model, {"imu_values": values}).last_hidden_state) > 1e-4


@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_every_parameter_has_a_gradient_whatever_a_batch_lacks(subset):
    config = series_model_config(num_labels=2)
    model = build(MoTForSequenceClassification, config).train()
    model(**series_inputs(subset), labels=torch.arange(ROWS) % 2).loss.backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_a_model_of_series_comes_back_as_it_was_saved(tmp_path):
    model, inputs = build(MoTModel, series_model_config()), series_inputs()
    model.save_pretrained(tmp_path)
    loaded = MoTModel.from_pretrained(tmp_path).eval()
    assert loaded.config.modalities == MODALITIES
    assert torch.equal(run(loaded, inputs).last_hidden_state, run(model, inputs).last_hidden_state)


def test_segments_of_a_series_are_encoded_as_series_of_their_own():
    config = series_model_config(num_joint_layers=0, num_global_layers=0)
    model = build(MoTModel, config)
    values, mask = torch.randn(2, 9, 3), (torch.rand(2, 9, 3, generator=torch.Generator().manual_seed(0)) < 0.7).long()
    mask[:, [0, 5]] = 1
    segments = torch.tensor([[0] * 5 + [1] * 4, [0] * 9])
    output = run(model, {"imu_values": values, "imu_mask": mask, "imu_segments": segments})
    parts = [
        run(model, {"imu_values": values[:1, part], "imu_mask": mask[:1, part]}) for part in (slice(5), slice(5, 9))
    ]
    expected = torch.cat([real_tokens(part, 0) for part in parts])
    assert max_difference(real_tokens(output, 0), expected) < TOLERANCE


def test_times_put_samples_on_the_clock_of_the_row():
    config = MoTConfig(
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=48,
        time_positions=True,
        text_config=None,
        image_config=None,
        audio_config=None,
        imu_config={"model_type": "mot_series", "num_channels": 3, "sampling_rate": 20.0, "num_hidden_layers": 1},
    )
    model, values = build(MoTModel, config), torch.randn(1, 9, 3)
    times = torch.arange(9)[None] / 20.0
    usual, given, late = (
        run(model, {"imu_values": values} | extra).last_hidden_state
        for extra in ({}, {"imu_times": times}, {"imu_times": times + 1})
    )
    assert max_difference(usual, given) < TOLERANCE and max_difference(usual, late) > 1e-2
    expected = reference_forward(model.state_dict(), config, {"imu": values[0]}, {"imu": times[0].tolist()})
    assert max_difference(given[0], expected.last_hidden_state) < TOLERANCE


def test_pretraining_predicts_readings_and_reads_nothing_of_gaps():
    model = build(MoTForPreTraining, series_model_config(modality_weights={"text": 0.0})).train()
    inputs, losses = series_inputs(), []
    for value in (0.0, float("nan")):
        given = inputs | {"imu_values": inputs["imu_values"].masked_fill(inputs["imu_mask"] == 0, value)}
        torch.manual_seed(0)
        output = model(**given)
        losses.append(output.losses)
        assert output.modality_predictions["imu"].shape == (ROWS, 4, 2 * 3)  # tokens, stride times channels
    for name in ("imu", "cloud"):
        assert losses[0][name] > 0 and torch.equal(losses[0][name], losses[1][name])
    output.loss.backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_a_rollout_draws_series_as_lines_over_the_relevance_of_their_tokens(tmp_path):
    pytest.importorskip("matplotlib")
    maps = attention_maps(build(MoTModel, series_model_config()), series_inputs(), encoders=True)
    for row in (0, 3):
        figure = plot_rollout(maps, row, save_path=tmp_path / f"{row}.png")
        present = maps.present(row)
        panels = dict(zip(present, figure.subfigs))
        for name in set(present) & set(CHANNELS):
            axis = panels[name].axes[0]
            assert len(axis.lines) == CHANNELS[name]
            shown = axis.collections[0].get_array()
            assert shown.size == len(maps.real(name, row))
            drawn = torch.stack([torch.from_numpy(line.get_ydata()) for line in axis.lines], dim=1)
            expected = row_alone(maps.inputs, row)[name]
            torch.testing.assert_close(drawn, expected, equal_nan=True)
