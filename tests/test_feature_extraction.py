# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The mel extractor: one clip or many, exact lengths, and frames that neither level nor digital silence changes."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, Gemma4AudioFeatureExtractor

from mixture_of_transformers import MoTFeatureExtractor

RATE = 16_000
ABSOLUTE = {"mel_floor": 1e-5, "dynamic_range": None}  # what the library computes, and folders before `dynamic_range`


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


def signals():
    """Clips of many lengths and kinds: one window and less, odd lengths, more frames than are computed at once."""
    rng = np.random.default_rng(1)
    noise = {n: rng.normal(scale=0.1, size=n) for n in (1, 160, 161, 320, 321, 500, 4000, 7001, 60_007)}
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(9000) / RATE)
    kinds = [tone, np.round(tone * 32767) / 32768, 1e-4 * noise[4000], np.zeros(3000), noise[4000] + (tone > 0)[:4000]]
    return [samples.astype(np.float32) for samples in (*noise.values(), *kinds)]


def library(options, waveforms, **call):
    extractor = Gemma4AudioFeatureExtractor(**{"feature_size": 80, "mel_floor": 1e-5} | options)
    defaults = {"pad_to_multiple_of": None, "truncation": False, "max_length": None, "return_tensors": "pt"}
    return extractor([waveform.copy() for waveform in waveforms], **defaults | call)


def assert_equal_to_library(waveforms, options=None, **call):
    """To 1e-6, which is one float32 step of a logarithm below -8; the masks exactly."""
    expected = library(options or {}, waveforms, **call)
    actual = MoTFeatureExtractor(**ABSOLUTE | (options or {}))(waveforms, **{"return_tensors": "pt"} | call)
    assert actual["input_features"].dtype == torch.float32
    assert torch.equal(actual["input_features_mask"], expected["input_features_mask"])
    assert torch.allclose(actual["input_features"], expected["input_features"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("take", [slice(None), slice(8, 9), slice(5, 8), slice(9, None)])
def test_frames_equal_those_of_the_library(take):
    assert_equal_to_library(signals()[take])


@pytest.mark.parametrize(
    "options",
    [
        {"feature_size": 40, "sampling_rate": 8000, "max_frequency": 4000.0},
        {"frame_length_ms": 25.0, "hop_length_ms": 12.5, "fft_overdrive": True},
        {"mel_floor": 1e-3, "min_frequency": 125.0},
        {"preemphasis": 0.97},
        {"input_scale_factor": 0.5, "per_bin_mean": [0.5] * 80, "per_bin_stddev": [2.0] * 80},
        {"padding_side": "left"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_every_setting_means_what_it_means_in_the_library(options):
    assert_equal_to_library(signals()[6:], options)


@pytest.mark.parametrize(
    "call",
    [
        {"padding": True},
        {"padding": "max_length", "max_length": 9000, "truncation": True},
        {"truncation": True, "max_length": 5000},
        {"pad_to_multiple_of": 128},
    ],
    ids=lambda call: next(iter(call)),
)
def test_every_option_of_a_call_means_what_it_means_in_the_library(call):
    assert_equal_to_library(signals()[6:], **call)


@pytest.mark.parametrize("return_tensors", [None, "np"])
def test_arrays_on_request(return_tensors):
    expected = library({}, clips(), return_tensors=return_tensors)
    actual = MoTFeatureExtractor(**ABSOLUTE)(clips(), return_tensors=return_tensors)
    for name in expected:
        assert type(actual[name]) is type(expected[name])
        for left, right in zip(actual[name], expected[name]):
            assert isinstance(left, np.ndarray) and left.dtype == right.dtype
            assert np.allclose(left, right, rtol=0, atol=1e-6)


def test_saved_settings_come_back(tmp_path):
    extractor = MoTFeatureExtractor(feature_size=40, mel_floor=1e-4)
    extractor.save_pretrained(tmp_path)
    loaded = MoTFeatureExtractor.from_pretrained(tmp_path)
    assert loaded.to_dict() == extractor.to_dict()
    frames, again = (e(clips(), return_tensors="pt")["input_features"] for e in (extractor, loaded))
    assert torch.equal(frames, again)


def frames_of(samples, **settings):
    """(T, mel) of one clip."""
    return MoTFeatureExtractor(**settings)(samples.astype(np.float32), return_tensors="pt")["input_features"][0]


def test_a_folder_saved_before_there_was_a_dynamic_range_gives_the_frames_it_gave(tmp_path):
    MoTFeatureExtractor(**ABSOLUTE).save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    assert settings.pop("dynamic_range") is None
    path.write_text(json.dumps(settings))
    for loaded in (MoTFeatureExtractor.from_pretrained(tmp_path), AutoFeatureExtractor.from_pretrained(tmp_path)):
        frames, expected = (e(signals(), return_tensors="pt") for e in (loaded, MoTFeatureExtractor(**ABSOLUTE)))
        assert torch.equal(frames["input_features"], expected["input_features"])
        quiet, loud = (loaded(level * clips()[1], return_tensors="pt")["input_features"] for level in (0.1, 1.0))
        assert (loud - quiet - np.log(10)).abs().max() < 0.01


def test_frames_are_logarithms_relative_to_the_loudest_bin_of_the_clip():
    absolute = np.log(np.exp(frames_of(clips()[0], **ABSOLUTE).double().numpy()) - 1e-5)  # without their floor
    nepers = 40 * np.log(10) / 20
    expected = np.maximum(absolute - absolute.max(), -nepers) + nepers / 2
    frames = frames_of(clips()[0], dynamic_range=40.0)
    assert frames.max() == pytest.approx(nepers / 2) and frames.min() >= -nepers / 2 - 1e-6
    assert np.abs(frames.numpy() - expected).max() < 1e-3  # of magnitudes from 1e-1, whose float32 logs err by 1e-6


@pytest.mark.parametrize("level", [1e-4, 0.01, 0.5, 10.0])
def test_the_level_of_a_recording_changes_no_frame(level):
    """Beyond the share that the floor of magnitudes has in the quietest bin that is heard, and rounding."""
    extractor, clip = MoTFeatureExtractor(), clips()[2]
    loudest = level * frames_of(clip, **ABSOLUTE).max().exp().item()
    quietest = loudest * 10 ** (-extractor.dynamic_range / 20)
    tolerance = extractor.mel_floor / quietest + 1e-5
    assert torch.allclose(frames_of(level * clip), frames_of(clip), rtol=0, atol=tolerance)
    assert tolerance < 0.01


@pytest.mark.parametrize("kind", range(2))
def test_appended_digital_silence_changes_no_frame_of_the_sound(kind):
    hops = 37
    fading = np.hanning(9000)  # so that no frame that overlaps the end is the loudest
    clip = fading * (clips()[2][:9000], np.sin(2 * np.pi * 440 * np.arange(9000) / RATE))[kind]
    frames = frames_of(clip)
    after = frames_of(np.pad(clip, (0, hops * 160)))
    assert torch.allclose(after[: len(frames)], frames, rtol=0, atol=1e-5)
    before = frames_of(np.pad(clip, (hops * 160, 0)))
    assert torch.allclose(before[hops:], frames, rtol=0, atol=1e-5)
    silence = MoTFeatureExtractor().silence_value
    assert (before[: hops - 1] == silence).all() and (after[len(frames) + 2 :] == silence).all()


@pytest.mark.parametrize("call", [{}, {"padding": "max_length", "max_length": 9000}, {"pad_to_multiple_of": 128}])
def test_digital_silence_alone_is_silence(call):
    extractor = MoTFeatureExtractor()
    batch = extractor([np.zeros(4000, np.float32), clips()[1]], return_tensors="pt", **call)
    silent = batch["input_features"][0][batch["input_features_mask"][0]]
    assert len(silent) and (silent == extractor.silence_value).all()


@pytest.mark.parametrize("call", [{"padding": "max_length", "max_length": 16_000}, {"pad_to_multiple_of": 128}])
def test_padding_changes_no_frame(call):
    extractor = MoTFeatureExtractor()
    batch = extractor([1e-3 * clips()[0], clips()[2]], return_tensors="pt", **call)
    for frames, mask, clip in zip(batch["input_features"], batch["input_features_mask"], clips()[::2]):
        assert torch.allclose(frames[mask], frames_of(clip)[: mask.sum()], rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "settings", [{"dynamic_range": 0}, {"dynamic_range": float("nan")}, {"per_bin_mean": [0.0] * 80}]
)
def test_a_dynamic_range_without_meaning_is_refused(settings):
    with pytest.raises(ValueError, match="dynamic_range"):
        MoTFeatureExtractor(**settings)


def test_another_sampling_rate_is_refused():
    with pytest.raises(ValueError, match=r"8000 Hz, expected 16000 Hz"):
        MoTFeatureExtractor()(clips()[0], sampling_rate=8000)


def test_a_clip_has_the_same_bits_in_any_batch():
    """Rows are encoded alone in one run and together in another, which draws its random numbers by what they hold."""
    draw, extractor = np.random.default_rng(0), MoTFeatureExtractor()
    clips = [draw.normal(scale=0.1, size=n).astype(np.float32) for n in (321, 5000, 7777, 48_000)]
    together = extractor(clips, return_tensors="pt")
    for frames, mask, clip in zip(together["input_features"], together["input_features_mask"], clips, strict=True):
        assert torch.equal(frames[mask], extractor([clip], return_tensors="pt")["input_features"][0])
        assert not frames[~mask].any()
