# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Pictures and token names of modalities under names of a user's, of many of them, and of series by themselves."""

import itertools
import re

import numpy as np
import pytest
import torch
from helpers import build

from mixture_of_transformers import MoTConfig, MoTForSequenceClassification
from mixture_of_transformers.attribution_mot import modality_contributions
from mixture_of_transformers.explain.attention import attention_maps
from mixture_of_transformers.explain.pictures import (
    COLORS,
    MOST_SAMPLES,
    plot_contributions,
    plot_modality_attention,
    plot_rollout,
    plot_series,
    words_per_line,
)
from mixture_of_transformers.explain.tokens import frame_attention, token_times

pytest.importorskip("matplotlib")
MANY = tuple(f"sensor_{i}" for i in range(9))
COLUMNS = ["days_since_the_last_admission", "pulse", "ward"]


def many_sensors(number: int = len(MANY)):
    """A classifier of so many series, and a row of each."""
    series = {"model_type": "mot_series", "num_channels": 1, "num_hidden_layers": 0, "stem_stride": 2}
    configs = {f"{name}_config": series for name in MANY[:number]}
    fields = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 32, "num_labels": 3}
    config = MoTConfig(**fields, text_config=None, image_config=None, audio_config=None, **configs)
    generator = torch.Generator().manual_seed(0)
    inputs = {f"{name}_values": torch.randn(2, 6, 1, generator=generator) for name in MANY[:number]}
    return build(MoTForSequenceClassification, config), inputs


def bars_of(figure):
    """The faces of the bars of contributions, without those of nothing and of all."""
    return [(patch.get_facecolor(), patch.get_hatch()) for patch in figure.axes[0].patches][1:-1]


def test_contributions_that_were_sampled_say_their_error_and_exact_ones_none():
    model, inputs = many_sensors()
    sampled = modality_contributions(model, inputs)
    assert sampled.error is not None
    for row in (0, None):
        said = [text.get_text() for text in plot_contributions(sampled, row).axes[0].texts]
        shares = [sampled.error[row] if row is not None else sampled.error.mean(dim=0)][0]
        ends = [re.fullmatch(r"[+-]\d\.\d{3} ± (\d\.\d{3})", text) for text in said[1:-1]]
        assert [float(end[1]) for end in ends] == pytest.approx(shares.tolist(), abs=6e-4)
        assert not any("±" in text for text in (said[0], said[-1]))
    model, inputs = many_sensors(3)
    exact = plot_contributions(modality_contributions(model, inputs), row=0)
    assert not any("±" in text.get_text() for text in exact.axes[0].texts)


def test_no_two_of_many_modalities_look_the_same(tmp_path):
    model, inputs = many_sensors()
    looks = bars_of(plot_contributions(modality_contributions(model, inputs), row=0, save_path=tmp_path / "bars.png"))
    assert len({*looks}) == len(MANY) > len(COLORS)
    figure = plot_modality_attention(attention_maps(model, inputs), row=0, save_path=tmp_path / "who.png")
    numbers = [text for text in figure.axes[0].texts if re.fullmatch(r"\d\.\d\d", text.get_text())]
    boxes = [text.get_window_extent() for text in numbers]
    assert len(boxes) == len(MANY) ** 2
    assert not any(left.overlaps(right) for left, right in itertools.combinations(boxes, 2))


def test_a_series_is_drawn_with_its_gaps_at_its_times():
    values = np.array([[0.0, 1.0], [np.nan, 2.0], [4.0, 3.0]])
    for options, label, expected in (
        ({}, "sample", [0, 1, 2]),
        ({"sampling_rate": 50.0}, "seconds", [0, 0.02, 0.04]),
        ({"times": [0, 1, 5]}, "seconds", [0, 1, 5]),
    ):
        (axis,) = plot_series(values, name="$imu$", **options).axes
        assert axis.get_xlabel() == label
        assert all(np.allclose(line.get_xdata(), expected) for line in axis.lines)
        drawn = np.stack([line.get_ydata() for line in axis.lines], axis=1)
        assert np.array_equal(drawn, values, equal_nan=True)


def test_a_long_series_keeps_its_peaks(tmp_path):
    values = np.zeros((200_000, 9))
    values[123_456, 4], values[77, 8], values[1000:5000, 0] = 7.0, -3.0, np.nan
    (axis,) = plot_series(values, save_path=tmp_path / "long.png").axes
    assert len(axis.lines) == 9 and len({(line.get_color(), line.get_linestyle()) for line in axis.lines}) == 9
    assert all(len(line.get_ydata()) <= 2 * MOST_SAMPLES for line in axis.lines)
    assert axis.lines[4].get_ydata().max() == 7 and axis.lines[8].get_ydata().min() == -3
    assert np.isnan(axis.lines[0].get_ydata()).any()


def table_and_series():
    config = MoTConfig(
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=32,
        text_config=None,
        image_config=None,
        audio_config=None,
        vitals_config={"model_type": "mot_table", "num_numbers": 2, "category_sizes": [3], "column_names": COLUMNS},
        imu_config={"model_type": "mot_series", "num_channels": 2, "stem_stride": 2},
        emg_config={"model_type": "mot_series", "num_channels": 1, "stem_stride": 2},
    )
    values = {"vitals": torch.tensor([[0.5, -1.0, 2.0]]), "imu": torch.randn(1, 6, 2), "emg": torch.randn(1, 4, 1)}
    inputs = {f"{name}_values": value for name, value in values.items()} | {"vitals_mask": torch.tensor([[1, 0, 1]])}
    return build(MoTForSequenceClassification, config), inputs


def test_tokens_of_any_modality_have_times_if_they_have_any():
    model, inputs = table_and_series()
    seconds = torch.tensor([[0.0, 1, 2, 3, 10, 11]])
    maps = attention_maps(model, inputs | {"imu_times": seconds})  # which the model itself does not take
    assert [part.tolist() if i == 0 else part for i, part in enumerate(token_times(maps, "imu"))] == [[0, 2, 10], "s"]
    weights, queries, keys = frame_attention(maps, "emg", "imu")
    assert weights.shape == (2, 3) and queries.tolist() == [0, 2] and keys.tolist() == [0, 2, 10]
    with pytest.raises(ValueError, match="`vitals` has no time: expected imu or emg"):
        token_times(maps, "vitals")


def test_columns_of_a_table_are_drawn_by_their_names_with_room_for_them():
    model, inputs = table_and_series()
    figure = plot_rollout(attention_maps(model, inputs, encoders=True))
    shown = [text.get_text() for text in figure.subfigs[0].axes[0].texts]
    assert shown == [COLUMNS[0], COLUMNS[2]]  # the other cell is empty
    assert words_per_line(shown) == 3 and words_per_line(["a", "word"]) == 8
