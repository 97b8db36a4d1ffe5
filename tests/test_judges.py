# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The judges of generated digits are right about real ones, and what is said of captions is what they say."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.generate_digits import SAMPLING_RATE, media, share_naming  # noqa: E402
from benchmarks.judges import MOST_BLANKED, PictureJudge, SoundJudge, changed, share_right  # noqa: E402
from benchmarks.tokens import KMeans  # noqa: E402
from mixture_of_transformers.data.digits import load_digits_dataset  # noqa: E402


@pytest.fixture(scope="module")
def digits():
    return load_digits_dataset(missing_rate=0)


def test_a_caption_names_the_digit_if_it_names_no_other():
    texts = ["a seven", "7", "seven or one", "a picture", "seventy"]
    assert share_naming(texts, [7] * 5) == pytest.approx(2 / 5)


def test_a_picture_is_unchanged_where_nothing_may_change():
    pictures = torch.rand(3, 1, 8, 12, generator=torch.Generator().manual_seed(0))
    still = dict.fromkeys(("height", "width", "up", "aside", "turn"), 0.0)
    torch.testing.assert_close(changed(pictures, still, {}), pictures)
    torch.manual_seed(0)
    is_blank = changed(torch.ones_like(pictures), still, MOST_BLANKED)[:, 0] == 0  # (3, 8, 12)
    rows, columns = is_blank.all(dim=2, keepdim=True), is_blank.all(dim=1, keepdim=True)
    assert is_blank.any() and torch.equal(is_blank, rows | columns)


def test_means_of_blocks_stand_where_the_blocks_stood():
    inputs = torch.arange(48.0).reshape(2, 4, 6)
    means = KMeans([inputs], (2, 3), num_codes=4)  # as many as there are blocks
    means.means.cluster_centers_ = means.blocks(inputs).flatten(0, 1).numpy()
    torch.testing.assert_close(means(inputs), inputs)


@pytest.mark.training
def test_a_judge_of_pictures_is_right_about_pictures_that_it_has_not_seen(digits):
    judge = PictureJudge(media(digits["train"], "image"), digits["train"]["label"], steps=200)
    assert share_right(judge(media(digits["test"], "image")), digits["test"]["label"]) > 0.9


@pytest.mark.training
def test_a_judge_of_sounds_tells_keys_apart_and_takes_sounds_of_any_length(digits):
    rng, time = np.random.default_rng(0), np.arange(6000) / SAMPLING_RATE
    sounds = [np.sin(2 * np.pi * hertz * time) + rng.normal(0, 0.1, 6000) for hertz in (500, 1500) for _ in range(8)]
    judge = SoundJudge([sound.astype(np.float32) for sound in sounds], SAMPLING_RATE, [0] * 8 + [1] * 8, steps=40)
    later = [np.sin(2 * np.pi * hertz * time[:3000]).astype(np.float32) for hertz in (500, 1500)]
    assert judge(later).tolist() == [0, 1]
    assert judge([np.zeros(0, np.float32), np.tile(later[0], 10)]).shape == (2,)
