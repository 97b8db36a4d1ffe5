# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The same sound gets the same answer: of a model that has learnt the keys of a telephone, and what asks it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import run_finetune
from mixture_of_transformers import MoTConfig, MoTFeatureExtractor, MoTModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import same_sound  # noqa: E402

RATE = 16_000


def strongest_hertz(samples, rate, count=2):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 18))
    found = []
    for _ in range(count):
        peak = int(spectrum.argmax())
        found.append(peak * rate / (1 << 18))
        spectrum[max(0, peak - 400) : peak + 400] = 0
    return sorted(found)


@pytest.mark.parametrize("rate", same_sound.RATES)
def test_a_key_is_two_tones_of_the_telephone_with_zeros_where_asked(rate):
    tone = same_sound.key_tone(5, rate, 0.1, 0.5)
    assert strongest_hertz(tone, rate) == pytest.approx([770, 1336], abs=2)
    assert np.abs(tone).max() == pytest.approx(0.1)
    zeros = int(same_sound.SILENCE_SECONDS * rate)
    around = same_sound.key_tone(5, rate, 0.1, 0.5, "around")
    assert np.array_equal(around, np.pad(tone, zeros))
    twice = same_sound.key_tone(5, rate, 0.1, 0.5, "between two bursts")
    assert np.array_equal(twice, np.concatenate([around[zeros:], tone]))


@pytest.mark.parametrize("name", same_sound.CHANGES)
def test_what_happens_to_a_sound_on_its_way_leaves_its_pitch(name):
    tone = same_sound.key_tone(5, RATE, 0.1, 1.0)
    samples = same_sound.CHANGES[name](tone, RATE)
    assert strongest_hertz(samples, RATE) == pytest.approx([770, 1336], abs=3)


@pytest.mark.parametrize("digit", range(10))
def test_the_matched_filter_finds_a_key_in_noise_and_wherever_it_is(digit):
    tone = same_sound.key_tone(digit, RATE, 0.1, 0.15, "around")
    noise = 0.1 * np.random.default_rng(digit).standard_normal(len(tone))
    assert same_sound.matched_filter(tone + noise, RATE) == digit


def test_digital_silence_does_not_count_in_the_mean_that_is_taken_away():
    extractor = MoTFeatureExtractor(feature_size=20)
    audio = {"num_mel_bins": 20, "mean_normalization": True, "max_frames": 400}
    models = {
        value: MoTModel(MoTConfig.of_size("tiny", audio_config=audio | {"silence_value": value}))
        for value in (extractor.silence_value, None)
    }
    sound = 0.1 * np.hanning(8000) * np.random.default_rng(0).standard_normal(8000)
    clips = [sound, np.pad(sound, (0, 160 * 40)), np.pad(sound, (160 * 60, 0))]
    frames = extractor([clip.astype(np.float32) for clip in clips], return_tensors="pt")
    for value, model in models.items():
        for dtype in (torch.float32, torch.bfloat16):
            clip = frames["input_features"].to(dtype)
            normalized, _, _ = model.embeddings["audio"].as_clip(clip, frames["input_features_mask"])
            alone = normalized[0, : frames["input_features_mask"][0].sum()]
            after, before = normalized[1, : len(alone)], normalized[2, 60 : 60 + len(alone)]
            difference = max((alone - after).abs().max(), (alone - before).abs().max())
            # The few frames that silence overlaps are quiet, and do count.
            assert difference < 0.2 if value is not None else difference > 1


def test_a_clip_of_nothing_but_silence_is_finite():
    audio = {"num_mel_bins": 20, "mean_normalization": True, "silence_value": -1.0}
    model = MoTModel(MoTConfig.of_size("tiny", text_config=None, image_config=None, audio_config=audio))
    assert model(input_features=torch.full((1, 30, 20), -1.0)).pooler_output.isfinite().all()


@pytest.fixture(scope="module")
def listen(tmp_path_factory):
    """What the audio of the embedded digits alone teaches, with the defaults of a run."""
    folder = tmp_path_factory.mktemp("keys")
    options = ["--text_column", "none", "--image_column", "none", "--disable_tqdm", "true"]
    run_finetune.main([*options, "--output_dir", str(folder)])
    return same_sound.Listener(str(folder))


@pytest.mark.slow
def test_a_clean_tone_is_heard_at_any_rate_level_and_length_and_with_zeros_anywhere(listen):
    wrong = {case: share for case, share in same_sound.clean_tones(listen).items() if share < 1}
    assert not wrong


@pytest.mark.slow
def test_neither_level_nor_silence_changes_what_is_heard_in_noise(listen):
    sounds, labels = same_sound.sounds_of(None, "test")
    answers = {
        name: listen((same_sound.CHANGES[name](*sound), sound[1]) for sound in sounds)
        for name in ("as it is", "level / 100", "level x 10", "0.5 s of zeros before", "2 s of zeros around")
    }
    right = {name: np.mean(answer == labels) for name, answer in answers.items()}
    assert right["as it is"] >= 0.83
    assert np.array_equal(answers["level / 100"], answers["as it is"])
    assert np.array_equal(answers["level x 10"], answers["as it is"])
    assert right["0.5 s of zeros before"] >= right["as it is"] - 0.05
    assert right["2 s of zeros around"] >= right["as it is"] - 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", ["noise gate", "MP3, 32 kbit/s", "Opus, 16 kbit/s", "AAC, 32 kbit/s", "telephone"])
def test_a_clean_tone_is_heard_through_codecs_and_lines(listen, name):
    shares = same_sound.clean_tones(listen, same_sound.CHANGES[name], rate=(RATE,), seconds=(0.25, 0.6))
    assert np.mean(list(shares.values())) >= 0.95
