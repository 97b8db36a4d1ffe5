# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Series: their stem against a slow one row by row, what gaps and padding may not change, and what the processor and
the training split make of arrays."""

import copy
import math

import numpy as np
import pytest
import torch
from helpers import max_difference, randomize
from huggingface_hub.errors import StrictDataclassError
from reference import embed_audio, sinusoid

from mixture_of_transformers import MoTProcessor, MoTSeriesConfig
from mixture_of_transformers.cells_mot import ProcessorCall
from mixture_of_transformers.decoding_series_mot import Series, SeriesSettings, at_rate, prepare_series, read_series
from mixture_of_transformers.modalities_mot import modality_of
from mixture_of_transformers.modality_series_mot import SeriesAugmentation, SeriesModality
from mixture_of_transformers.positions_mot import POSITIONS_PER_SECOND

IMU = SeriesModality.called("imu")
CHANNELS, WIDTH, TOLERANCE = 3, 16, 1e-5
STEMS = [("conv", 1), ("conv", 2), ("conv", 3), ("linear", 1), ("linear", 2), ("linear", 3)]
every_stem = pytest.mark.parametrize("stem, stride", STEMS)
NAN = math.nan


def series_config(**fields):
    fields = {"num_channels": CHANNELS, "max_length": 64, "num_hidden_layers": 0} | fields
    return MoTSeriesConfig(hidden_size=WIDTH, num_attention_heads=2, layer_norm_eps=1e-5, hidden_dropout=0.0, **fields)


def build_embeddings(**fields):
    config = series_config(**fields)
    torch.manual_seed(0)
    return randomize(modality_of(config, "imu").embeddings(config)).double().eval()


def embedded(embeddings, values, mask=None, **options):
    return embeddings(values, mask, torch.zeros(1, WIDTH, dtype=values.dtype), **options)


def random_batch(length=11, rows=6, seed=0):
    """Series, and a mask (B, T, C) with right and left padding, holes, single gaps, and a row that has nothing."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, length, CHANNELS, generator=generator, dtype=torch.float64)
    mask = torch.ones(rows, length, CHANNELS, dtype=torch.long)
    mask[1, length // 2 :] = 0
    mask[2, : length // 2] = 0
    mask[3, [1, length // 2]] = 0
    mask[3:5] *= (torch.rand(2, length, CHANNELS, generator=generator) < 0.6).long()
    mask[5] = 0
    return values, mask


def reference_tokens(embeddings, values, observed, times=None):
    """The tokens of one row (T, C), one after another, from the samples that have any reading."""
    weights = {f"imu.{name}": value for name, value in embeddings.state_dict().items()}
    rows = [
        torch.cat([torch.where(there == 1, sample, 0), 1.0 - there])
        for sample, there in zip(values, observed)
        if there.any()
    ]
    times = None if times is None else [time for time, there in zip(times.tolist(), observed) if there.any()]
    return embed_audio(torch.stack(rows), weights, "imu", embeddings.config, times)


def compare_with_reference(embeddings, values, mask, times=None):
    full = mask if mask.ndim == 3 else mask[..., None].expand_as(values)
    tokens, real = embedded(embeddings, values, mask, times=times), embeddings.token_mask(values, mask)
    for row in range(len(values)):
        if not full[row].any():
            assert not real[row].any()
            continue
        expected = reference_tokens(embeddings, values[row], full[row], None if times is None else times[row])
        assert max_difference(tokens[row][real[row]], expected) < TOLERANCE


# The stem


@every_stem
def test_tokens_are_those_of_the_real_samples_of_each_row_alone(stem, stride):
    embeddings = build_embeddings(stem=stem, stem_stride=stride)
    compare_with_reference(embeddings, *random_batch())
    values, mask = random_batch()
    compare_with_reference(embeddings, values, mask[..., 0])


@every_stem
def test_every_length_from_one_sample_on_makes_tokens(stem, stride):
    embeddings = build_embeddings(stem=stem, stem_stride=stride)
    for length in range(1, 2 * stride + 2):
        values = torch.randn(2, length, CHANNELS, dtype=torch.float64)
        tokens = embedded(embeddings, values)
        assert tokens.shape[1] == -(-length // stride) == embeddings.num_tokens(length)
        for row, alone in zip(tokens, values):
            assert max_difference(row, reference_tokens(embeddings, alone, torch.ones_like(alone))) < TOLERANCE
        compare_with_reference(embeddings, *random_batch(length=max(length, 3)))


@every_stem
@pytest.mark.parametrize("value", [NAN, math.inf, 1e30])
def test_what_is_absent_changes_no_token_and_no_gradient(stem, stride, value):
    embeddings = build_embeddings(stem=stem, stem_stride=stride)
    values, mask = random_batch()
    results = []
    for given in (values, values.masked_fill(mask == 0, value)):
        given = given.clone().requires_grad_()
        tokens = embedded(embeddings, given, mask)[embeddings.token_mask(given, mask)]
        gradients = torch.autograd.grad(tokens.square().sum(), [*embeddings.parameters(), given])
        results.append([tokens, *gradients])
    for clean, poisoned in zip(*results):
        assert torch.equal(clean, poisoned)


def test_a_gap_is_not_a_reading_of_zero():
    embeddings, values = build_embeddings(), torch.zeros(1, 8, CHANNELS, dtype=torch.float64)
    mask = torch.ones_like(values)
    mask[0, 2, 1] = 0
    assert max_difference(embedded(embeddings, values, mask), embedded(embeddings, values)) > 1e-3


def test_a_mask_of_readings_that_are_all_there_is_no_mask():
    embeddings, (values, _) = build_embeddings(), random_batch()
    expected = embedded(embeddings, values)
    for mask in (torch.ones_like(values), torch.ones(values.shape[:2])):
        assert torch.equal(embedded(embeddings, values, mask), expected)


@every_stem
def test_every_parameter_has_a_gradient_without_any_gap(stem, stride):
    embeddings = build_embeddings(stem=stem, stem_stride=stride)
    embedded(embeddings, random_batch()[0]).square().sum().backward()
    assert all(parameter.grad is not None for parameter in embeddings.parameters())


def test_the_stem_of_a_new_model_gives_tokens_of_scale_one():
    """As that of every kind, so that positions are not many times larger than the content (arXiv 1502.01852)."""
    config = series_config(stem="linear", num_channels=64)
    embeddings = modality_of(config, "imu").embeddings(config)
    layer = embeddings.projection
    torch.nn.init.normal_(layer.weight, std=layer.initial_std)
    torch.nn.init.zeros_(layer.bias)
    values = torch.randn(50, 40, 64)
    tokens = embeddings(values, None, torch.zeros(1, WIDTH)) - embeddings.positions(10, None, values.device)
    assert 1.2 < tokens.std() < 1.7  # sqrt(2), as He's formula has it for a rectifier


# Positions and times


def test_positions_count_the_real_samples_before():
    embeddings = build_embeddings(stem="linear", stem_stride=1)
    (weight, bias), (values, mask) = embeddings.projection.parameters(), random_batch()
    torch.nn.init.zeros_(weight), torch.nn.init.zeros_(bias)
    tokens, real = embedded(embeddings, values, mask), embeddings.token_mask(values, mask)
    for row in range(len(values)):
        expected = [sinusoid(position, WIDTH) for position in range(int(mask[row].any(dim=-1).sum()))]
        assert real[row].sum() == len(expected)
        if expected:
            assert max_difference(tokens[row][real[row]], torch.stack(expected)) < TOLERANCE


@every_stem
def test_tokens_stand_at_the_irregular_times_of_their_first_samples(stem, stride):
    embeddings, (values, mask) = build_embeddings(stem=stem, stem_stride=stride), random_batch()
    times = 0.2 * torch.rand(values.shape[:2], generator=torch.Generator().manual_seed(1)).cumsum(1)
    times = times.masked_fill(~mask.bool().any(-1), NAN)
    compare_with_reference(embeddings, values, mask, embeddings.fill_times(values, mask, times))


def test_samples_without_times_have_those_of_the_sampling_rate():
    embeddings, (values, mask) = build_embeddings(sampling_rate=8.0, stem="linear", stem_stride=1), random_batch()
    times = embeddings.fill_times(values, mask, None)
    left_padded = embedded(embeddings, values, mask, times=times)[2]
    alone = values[2][mask[2].any(-1)][None]
    expected = embedded(embeddings, alone, None, times=torch.arange(alone.shape[1])[None] / 8.0)[0]
    assert max_difference(left_padded[: alone.shape[1]], expected) < TOLERANCE
    positions = embeddings.positions(3, None, values.device, torch.tensor([[0.0, 0.25, 1.0]]))
    places = [0.25 * k * POSITIONS_PER_SECOND for k in (0, 1, 4)]
    assert max_difference(positions[0], torch.stack([sinusoid(place, WIDTH) for place in places])) < TOLERANCE


def test_samples_without_rate_and_times_have_no_seconds():
    with pytest.raises(ValueError, match="needs the seconds of `imu_values` as `imu_times`"):
        build_embeddings().fill_times(random_batch()[0], None, None)


def test_a_set_has_no_order():
    embeddings, (values, _) = build_embeddings(position_embedding_type=None), random_batch()
    order = torch.randperm(values.shape[1])
    tokens = embedded(embeddings, values)
    assert tokens.shape[1] == values.shape[1]
    assert max_difference(embedded(embeddings, values[:, order]), tokens[:, order]) < 1e-12


@pytest.mark.parametrize("fields", [{"stem": "conv"}, {"stem_stride": 2}])
def test_a_set_joins_no_samples(fields):
    with pytest.raises(StrictDataclassError, match="makes a series a set"):
        series_config(position_embedding_type=None, **fields)


def test_learned_positions_reach_as_far_as_the_longest_series():
    embeddings = build_embeddings(position_embedding_type="learned", max_length=11, stem_stride=4)
    assert embedded(embeddings, random_batch()[0]).shape[1] == len(embeddings.position_embeddings.weight) == 3


def test_a_config_comes_back_as_it_was_saved(tmp_path):
    for fields in ({}, {"sampling_rate": 12.5, "stem": "linear"}, {"position_embedding_type": None}):
        config = series_config(**fields)
        config.save_pretrained(tmp_path)
        assert MoTSeriesConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    "fields",
    [{"num_channels": 0}, {"max_length": 0}, {"sampling_rate": 0.0}, {"sampling_rate": NAN}, {"stem_stride": 0}],
)
def test_fields_out_of_bounds_are_named(fields):
    with pytest.raises(ValueError, match=f"MoTSeriesConfig.{next(iter(fields))}"):
        series_config(**fields)


@pytest.mark.parametrize(
    "values, mask, message",
    [
        (torch.zeros(2, 5), None, r"shape \(2, 5\), expected \(batch, samples, 3\)"),
        (torch.zeros(2, 3, 5), None, r"shape \(2, 3, 5\), expected \(batch, samples, 3\)"),
        (torch.zeros(2, 5, 3), torch.ones(2, 4), r"`imu_mask` has shape \(2, 4\), expected \(2, 5\)"),
        (torch.zeros(2, 5, 3), torch.ones(2, 5, 1), r"`imu_mask` has shape \(2, 5, 1\), expected \(2, 5, 3\)"),
        (torch.zeros(2, 65, 3), None, "length of 65, but the model takes at most 64"),
    ],
)
def test_wrong_shapes_are_named(values, mask, message):
    embeddings = build_embeddings()
    for call in (embeddings.token_mask, lambda *given: embedded(embeddings, *given)):
        with pytest.raises(ValueError, match=message):
            call(values, mask)


# Pretraining


@every_stem
def test_targets_are_the_readings_of_each_token_in_order_without_gaps(stem, stride):
    embeddings, (values, mask) = build_embeddings(stem=stem, stem_stride=stride), random_batch()
    targets = embeddings.targets(values, mask)
    assert targets.shape[2] == IMU.target_size(embeddings.config)
    for row in range(len(values)):
        real = [torch.where(m == 1, v, NAN) for v, m in zip(values[row], mask[row]) if m.any()]
        padded = real + [torch.full((CHANNELS,), NAN)] * (targets.shape[1] * stride - len(real))
        expected = torch.stack(padded).reshape(-1, stride * CHANNELS).float()
        torch.testing.assert_close(targets[row], expected, equal_nan=True)


@every_stem
def test_nothing_of_a_hidden_token_is_seen(stem, stride):
    embeddings, (values, mask) = build_embeddings(stem=stem, stem_stride=stride), random_batch()
    mask = mask[3:5]  # with gaps
    values, number = values[3:5], embeddings.num_tokens(values.shape[1])
    hidden = torch.zeros(2, number, dtype=torch.bool)
    hidden[:, 1] = True
    token = torch.randn(WIDTH, dtype=torch.float64)
    tokens = embedded(embeddings, values, mask, hidden=hidden, mask_token=token)
    for row in range(2):
        real = mask[row].any(-1).nonzero()[:, 0]
        of_hidden = real[stride : 2 * stride]
        other_values, other_mask = values.clone(), mask.clone()
        other_values[row, of_hidden] += 100
        other_mask[row, of_hidden] = torch.tensor([0, 1, 0])
        other = embedded(embeddings, other_values, other_mask, hidden=hidden, mask_token=token)
        assert torch.equal(other[row], tokens[row])


def test_a_set_is_hidden_sample_by_sample():
    assert IMU.mask_span(series_config(mask_span=12, stem_stride=4)) == 3
    assert IMU.mask_span(series_config(position_embedding_type=None)) == 1


# The processor


@pytest.fixture(scope="module")
def processor():
    return MoTProcessor()


def collect(processor, cells, settings=None, return_times=False):
    processor = copy.copy(processor)
    processor.return_times = return_times
    return IMU.collect({"imu": cells}, ProcessorCall(processor, {}, {}, True, None, settings or {}))


FORMS = [
    np.array([[1, 2], [NAN, 4], [5, 6]]),
    torch.tensor([[1, 2], [NAN, 4], [5, 6]]),
    [[1, 2], [None, 4], [5.0, 6]],
    {"array": [[1, 2], [None, 4], [5, 6]], "sampling_rate": 50},
    {"array": np.array([[1, 2], [NAN, 4], [5, 6]]), "times": None, "sampling_rate": None},
]


@pytest.mark.parametrize("cell", FORMS, ids=range(len(FORMS)))
def test_every_form_of_a_series_means_the_same(processor, cell):
    settings = {"kind": "series", "num_channels": 2, "mean": [1.0, 2.0], "std": [2.0, 4.0]}
    batch = collect(processor, [None, cell], settings)
    expected = torch.tensor([[[0, 0]] * 3, [[0, 0], [NAN, 0.5], [2, 1]]])
    torch.testing.assert_close(batch["imu_values"], expected, equal_nan=True, check_dtype=False)
    assert batch["imu_values"].dtype == torch.float32
    assert batch["imu_mask"].tolist() == [[[0, 0]] * 3, [[1, 1], [0, 1], [1, 1]]]


def test_samples_that_are_missing_altogether_need_no_mask_of_channels(processor):
    batch = collect(processor, [[[1, 2], None, [5, 6]], [[1, 2]]])
    assert batch["imu_mask"].tolist() == [[1, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("cell", [[1, None, 3], [[1, None, 3]], np.array([1, NAN, 3]), np.array([[1], [NAN], [3]])])
def test_one_channel_needs_no_axis_of_its_own(processor, cell):
    assert collect(processor, [cell], {"num_channels": 1})["imu_mask"].tolist() == [[1, 0, 1]]


def test_a_row_taken_out_of_its_batch_and_padded_anew_is_as_it_was(processor):
    cells = [np.array([[1, 2], [NAN, 4], [NAN, NAN], [5, 6]]), np.array([[1.0, 2.0]]), None]
    batch = collect(processor, cells)
    rows = [collect(processor, [cell])["imu_values"][0] for cell in cells[:2]] + [None]
    values, mask = IMU.pad(rows)
    assert torch.equal(mask, batch["imu_mask"])
    assert torch.equal(values, batch["imu_values"].nan_to_num())
    assert IMU.pad(rows, multiple=8)[0].shape[1] == 8


def test_times_are_those_given_or_those_of_the_rate(processor):
    cells = [
        {"array": np.ones((3, 1)), "times": [0.0, 0.5, 3.0]},
        {"array": np.ones((2, 1)), "sampling_rate": 4},
        None,
    ]
    batch = collect(processor, cells, return_times=True)
    assert batch["imu_times"].tolist() == [[0.0, 0.5, 3.0], [0.0, 0.25, 0.0], [0.0] * 3]
    batch = collect(processor, [np.ones((2, 1))], {"sampling_rate": 10.0}, return_times=True)
    torch.testing.assert_close(batch["imu_times"], torch.tensor([[0.0, 0.1]]))


def test_longer_series_are_cut_where_the_settings_say(processor):
    cell = {"array": np.arange(9.0), "times": np.arange(9.0)}
    batch = collect(processor, [cell], {"max_length": 4}, return_times=True)
    assert batch["imu_values"].shape == (1, 4, 1) and batch["imu_times"].shape == (1, 4)


def test_cutting_a_batch_cuts_all_that_goes_with_the_samples():
    batch = {f"imu_{name}": torch.zeros(2, 9) for name in ("mask", "times")}
    cut = IMU.cut(series_config(max_length=4), batch | {"imu_values": torch.zeros(2, 9, 3), "other": torch.zeros(9)})
    assert {name: value.shape[1] for name, value in cut.items()} == dict.fromkeys(["imu_values", *batch], 4)
    assert IMU.cut(series_config(max_length=4), batch | {"imu_segments": torch.zeros(2, 9)}) == {}


@pytest.mark.parametrize(
    "cell, settings, message",
    [
        (np.ones((3, 4)), {"num_channels": 2}, r"imu\[0\] has shape \(3, 4\): expected \(samples, 2\)"),
        (np.ones((2, 3, 4)), {}, r"imu\[0\] has shape \(2, 3, 4\)"),
        (np.ones((0, 2)), {}, "pass None for a row without it"),
        (np.full((3, 2), NAN), {}, "no reading at all"),
        (np.array([[1.0, math.inf]]), {}, "infinite"),
        ([["a", "b"]], {}, "expected numbers"),
        ([["1", None]], {}, "expected numbers"),
        ("1 2 3", {}, "has type str"),
        ([[1, 2], [3]], {}, "no array of plain numbers"),
        (np.array([1e300]), {}, "beyond those of float32"),
        ({"values": [1]}, {}, "is a dict of values: expected `array`"),
        ({"array": [1], "times": [0], "sampling_rate": 2}, {}, "has both `times` and a `sampling_rate`"),
        ({"array": [1, 2], "times": [0]}, {}, r"times of imu\[0\] have shape \(1,\): expected \(2,\)"),
        ({"array": [1], "sampling_rate": 0}, {}, r"sampling rate of imu\[0\] is 0"),
        ({"array": [1], "sampling_rate": 1}, {"sampling_rate": 1e6}, "more than 1000 times that"),
        ({"array": [1, 2], "times": [0, 1]}, {}, "has `times`, which this processor does not pass on"),
        ([1], {"mean": [0.0, 1.0], "std": [1.0]}, "several numbers of channels"),
        ([1], {"std": [0.0]}, "The std of imu is"),
    ],
)
def test_bad_series_and_settings_are_named(processor, cell, settings, message):
    with pytest.raises(ValueError, match=message):
        collect(processor, [cell], settings)


def test_rows_of_several_widths_are_named(processor):
    with pytest.raises(ValueError, match=r"differ in their channels: \{0: 2, 2: 3\}"):
        collect(processor, [np.ones((4, 2)), None, np.ones((4, 3))])


def test_times_that_nothing_says_are_asked_for(processor):
    with pytest.raises(ValueError, match=r"imu\[0\] does not say when its samples are"):
        collect(processor, [np.ones((4, 2))], return_times=True)


@pytest.mark.parametrize(
    "value, is_one",
    [
        ([1, 2, 3], True),
        ([None, 2.5], True),
        ([[1, 2], [3, 4]], True),
        ([[None, None], [3, 4]], True),
        ([None, [3, 4]], True),
        ([[[1, 2], [3, 4]], [[5, 6]]], False),
        ([np.ones((3, 2)), None], False),
        ([np.ones(3)], False),
        ([{"array": [1, 2]}], False),
        ([], False),
        ([None], False),
        ("12", False),
    ],
)
def test_a_list_of_numbers_or_of_lists_of_numbers_is_one_series(value, is_one):
    assert IMU.is_one(IMU.cells[0], value) == is_one


def test_a_decoded_cell_is_read_as_the_cell_itself(processor):
    class Reading:
        name = "row 3: "

    cell = {"array": [[1, 2], [None, 4]], "sampling_rate": 50}
    decoded = IMU.decode_cell(IMU.cells[0], cell, Reading)
    assert torch.equal(
        collect(processor, [decoded])["imu_values"].nan_to_num(7),
        collect(processor, [cell])["imu_values"].nan_to_num(7),
    )
    with pytest.raises(ValueError, match="row 3: imu has type int"):
        IMU.decode_cell(IMU.cells[0], 3, Reading)


# Another rate


def sine(length, rate, frequency=3.0):
    return 5 + np.sin(2 * np.pi * frequency * np.arange(length) / rate + 0.4)


@pytest.mark.parametrize("from_rate, to_rate", [(100, 50), (100, 250), (50, 49.9), (12.5, 100), (128, 100)])
def test_a_slow_wave_is_the_same_wave_at_another_rate(from_rate, to_rate):
    series = at_rate(Series(sine(400, from_rate)[:, None], sampling_rate=from_rate), to_rate, "imu")
    resampled = series.values[:, 0]
    assert len(resampled) == math.ceil(400 * to_rate / from_rate - 1e-6) and series.sampling_rate == to_rate
    inner = slice(len(resampled) // 5, -len(resampled) // 5)
    assert np.abs(resampled - sine(len(resampled), to_rate))[inner].max() < 2e-3


@pytest.mark.parametrize("from_rate, to_rate", [(100, 30), (30, 100)])
def test_a_level_and_a_steady_rise_are_kept_to_their_ends(from_rate, to_rate):
    for slope in (0.0, 2.0):
        values = 1000 + slope * np.arange(50) / from_rate
        resampled = at_rate(Series(values[:, None], sampling_rate=from_rate), to_rate, "imu").values[:, 0]
        np.testing.assert_allclose(resampled, 1000 + slope * np.arange(len(resampled)) / to_rate, rtol=1e-6)


@pytest.mark.parametrize("from_rate, to_rate", [(100, 50), (50, 100), (100, 33)])
def test_resampled_gaps_are_where_half_of_the_readings_were_missing(from_rate, to_rate):
    values = np.stack([sine(200, from_rate)] * 2, axis=1)
    values[60:101, 0] = NAN
    resampled = at_rate(Series(values, sampling_rate=from_rate), to_rate, "imu").values
    missing, width = np.isnan(resampled[:, 0]), max(1, from_rate / to_rate)
    for n, is_missing in enumerate(missing):
        centre = n * from_rate / to_rate
        near = [np.isnan(values[i, 0]) for i in range(200) if centre - width / 2 <= i < centre + width / 2]
        assert is_missing == (2 * sum(near) > len(near))
    assert missing.any() and not np.isnan(resampled[:, 1]).any()
    assert np.abs(resampled[~missing, 0]).max() < 8  # nothing of the gap spreads


def test_a_series_that_says_no_rate_is_at_that_of_the_settings():
    values = np.random.default_rng(0).normal(size=(9, 2))
    prepared = prepare_series(read_series(values, "imu"), SeriesSettings(sampling_rate=20.0), "imu")
    assert np.array_equal(prepared.values, values) and prepared.sampling_rate == 20


# What the training split teaches


def test_learnt_moments_are_those_of_all_readings_together():
    generator = np.random.default_rng(0)
    arrays = [generator.normal([1e6, -3, 0], [1, 20, 1e-3], size=(length, 3)) for length in (1, 40, 3, 17)]
    arrays[1][generator.random((40, 3)) < 0.3] = NAN
    cells = [arrays[0], None, arrays[1].tolist(), {"array": arrays[2], "sampling_rate": 50}, [arrays[3]]]
    learnt = IMU.learn(iter(cells))
    together = np.concatenate(arrays)
    assert learnt["num_channels"] == 3 and learnt["sampling_rate"] == 50
    np.testing.assert_allclose(learnt["mean"], np.nanmean(together, axis=0), rtol=1e-9)
    np.testing.assert_allclose(learnt["std"], np.nanstd(together, axis=0), rtol=1e-6)


def test_a_channel_that_never_changes_keeps_its_scale():
    cells = [np.full((7, 3), [0.1, 5e9, NAN]) for _ in range(5)]
    assert IMU.learn(cells)["std"] == [1.0, 1.0, 1.0]


def test_the_rate_is_that_of_most_series():
    cells = [{"array": [1.0, 2.0], "sampling_rate": rate} for rate in (100, 50, 50)]
    assert IMU.learn(cells)["sampling_rate"] == 50
    assert "sampling_rate" not in IMU.learn([[1.0, 2.0]])


def test_rows_that_differ_in_their_channels_teach_nothing():
    with pytest.raises(ValueError, match=r"imu\[2\] has 3 channels, and the rows before it 2"):
        IMU.learn([np.ones((4, 2)), None, np.ones((4, 3))])
    with pytest.raises(ValueError, match="No row has imu"):
        IMU.learn([None])


def test_what_is_learnt_standardises_and_says_the_fields_of_a_config(processor):
    arrays = [np.random.default_rng(i).normal([3, -8], [2, 5], size=(30, 2)) for i in range(4)]
    settings = IMU.learn([{"array": array, "sampling_rate": 10} for array in arrays])
    values = collect(processor, arrays, settings)["imu_values"]
    assert values.mean(dim=(0, 1)).abs().max() < 1e-6
    torch.testing.assert_close(values.std(dim=(0, 1), correction=0), torch.ones(2))
    config = series_config(**IMU.config_fields(settings))
    assert (config.num_channels, config.sampling_rate) == (2, 10)


# Augmentation


def test_augmented_series_keep_their_gaps_and_their_scale():
    values = torch.randn(400, CHANNELS, generator=torch.Generator().manual_seed(0))
    values[5:9, 1] = NAN
    for seed in range(20):
        changed = SeriesAugmentation()(values, torch.Generator().manual_seed(seed))
        assert torch.equal(changed.isnan(), values.isnan())
        assert not torch.equal(changed, values) and 0.5 < changed.nan_to_num().std() < 1.5
        assert (changed == 0).all(dim=1).sum() <= 40
        again = SeriesAugmentation()(values, torch.Generator().manual_seed(seed))
        assert torch.equal(again.nan_to_num(), changed.nan_to_num())


def test_an_augmentation_of_no_strength_changes_nothing():
    values = torch.randn(30, CHANNELS)
    assert torch.equal(SeriesAugmentation(jitter=0.0, scaling=0.0, blanked=0.0)(values), values)


# What pictures say


def test_tokens_are_called_by_the_time_of_their_first_sample():
    values, mask = random_batch(length=12)
    inputs = {"imu_values": values, "imu_mask": mask}
    labels = lambda **fields: IMU.token_labels(series_config(**fields), inputs, 2, 2)  # noqa: E731
    assert labels() == ["sample 0", "sample 4"]
    assert labels(sampling_rate=8.0) == ["0.00 s", "0.50 s"]
    inputs["imu_times"] = torch.arange(12.0).expand(6, -1)
    assert labels() == ["6.00 s", "10.00 s"]


# A model of transformers in front


@pytest.fixture(scope="module")
def patchers():
    from transformers import PatchTSMixerConfig, PatchTSTConfig

    shared = {"num_input_channels": CHANNELS, "context_length": 20, "patch_length": 4, "patch_stride": 4, "d_model": 8}
    tst = {"num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 8, "use_cls_token": False}
    return {
        "patchtst": PatchTSTConfig(**shared, **tst),
        "patchtst_cls": PatchTSTConfig(**shared, **tst | {"use_cls_token": True}),
        "patchtsmixer": PatchTSMixerConfig(**shared, num_layers=1),
    }


@pytest.mark.parametrize("name", ["patchtst", "patchtst_cls", "patchtsmixer"])
def test_a_model_that_patches_each_channel_stands_in_front(patchers, name):
    embeddings = build_embeddings(backbone_config=patchers[name])
    values, mask = random_batch()
    features, real = embeddings.through_backbone(values, mask, torch.float64)
    per_channel = 5 + name.endswith("cls")
    assert features.shape == (6, CHANNELS * per_channel, 8) and real.shape == features.shape[:2]
    poisoned, _ = embeddings.through_backbone(values.masked_fill(mask == 0, NAN), mask, torch.float64)
    assert torch.equal(features, poisoned)
    assert not real[5].any() and features[:5].isfinite().all()
    alone, real_alone = embeddings.through_backbone(values[2:3, 5:], None, torch.float64)  # without its left padding
    assert max_difference(alone[0], features[2]) < TOLERANCE and torch.equal(real_alone[0], real[2])
    assert embeddings.stand_in(values.device, torch.float64).shape == (1, 1, 8)


def test_what_is_longer_than_the_model_in_front_reads_is_an_error(patchers):
    embeddings = build_embeddings(backbone_config=patchers["patchtst"])
    with pytest.raises(ValueError, match="reads at most 20 samples"):
        embeddings.through_backbone(torch.zeros(1, 21, CHANNELS).double(), None, torch.float64)
    with pytest.raises(StrictDataclassError, match="the model in front reads 3"):
        series_config(num_channels=2, backbone_config=patchers["patchtst"])
