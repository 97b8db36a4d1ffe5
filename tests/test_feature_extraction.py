# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The mel extractor: one clip or many, exact lengths, and what a quiet recording differs by."""

import numpy as np
import pytest
import torch
from transformers import Gemma4AudioFeatureExtractor

from mot import MoTFeatureExtractor

RATE = 16_000


def clips():
    rng = np.random.default_rng(0)
    return [rng.normal(scale=0.1, size=length).astype(np.float32) for length in (4000, 7001, 12345)]


def test_one_clip_is_a_batch_of_one():
    extractor, clip = MoTFeatureExtractor(), clips()[0]
    alone = extractor(clip, sampling_rate=RATE, return_tensors="pt")
    # Windows of 321 samples every 160, after half a window of silence; all that fit.
    assert alone["input_features"].shape == (1, 1 + (160 + 4000 - 321) // 160, 80)
    for given in ([clip], clip[None], clip.tolist(), [clip.tolist()]):
        batch = extractor(given, sampling_rate=RATE, return_tensors="pt")
        assert torch.equal(batch["input_features"], alone["input_features"])


def test_a_clip_gives_the_same_frames_whatever_stands_beside_it():
    extractor = MoTFeatureExtractor()
    batch = extractor(clips(), sampling_rate=RATE, return_tensors="pt")
    for frames, mask, clip in zip(batch["input_features"], batch["input_features_mask"], clips()):
        alone = extractor(clip, return_tensors="pt")
        assert torch.allclose(frames[mask], alone["input_features"][0][alone["input_features_mask"][0]], atol=1e-6)


def test_frames_equal_those_of_the_library():
    options = {"pad_to_multiple_of": None, "truncation": False, "return_tensors": "pt"}
    expected = Gemma4AudioFeatureExtractor(feature_size=80, mel_floor=1e-5)(clips(), **options)
    actual = MoTFeatureExtractor()(clips(), return_tensors="pt")
    assert torch.equal(actual["input_features"], expected["input_features"])
    assert torch.equal(actual["input_features_mask"], expected["input_features_mask"])


def test_a_quiet_recording_differs_from_a_loud_one_by_a_constant():
    extractor, clip = MoTFeatureExtractor(), clips()[1]
    loud, quiet = (extractor(level * clip, return_tensors="pt")["input_features"] for level in (1.0, 0.1))
    assert (loud - quiet - np.log(10)).abs().max() < 0.01


def test_another_sampling_rate_is_refused():
    with pytest.raises(ValueError, match=r"8000 Hz, expected 16000 Hz"):
        MoTFeatureExtractor()(clips()[0], sampling_rate=8000)
