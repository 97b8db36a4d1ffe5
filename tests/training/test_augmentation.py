# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Augmentations of pictures and of mel frames: each kind of change alone, and only where it can be made."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mixture_of_transformers import MoTConfig, MoTFeatureExtractor, MoTImageProcessor, MoTProcessor
from mixture_of_transformers.finetune.batches import build_collators
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.modality_audio_mot import NOISE_RANGE, WHITE_SLOPE, AudioAugmentation
from mixture_of_transformers.modality_image_mot import ImageAugmentation, MoTImageConfig

FLOOR = -3.0
UNCHANGED = {"tempo": 0.0, "tract": 0.0, "noise": 0.0, "gate": 0.0, "band": 0.0, "silence": 0, "silence_value": FLOOR}


def clip(length=50, bins=80):
    """(T, bins) above the floor everywhere, whose loudest bin is as far above 0 as silence is below."""
    frames = torch.randn(length, bins, generator=torch.Generator().manual_seed(0))
    return (frames - frames.max() - FLOOR).clamp(min=FLOOR + 0.1)


def augmented(frames=None, **settings):
    """One clip in forty random ways."""
    frames = clip() if frames is None else frames
    augmentation = AudioAugmentation(**UNCHANGED | settings)
    return [augmentation(frames.clone(), torch.Generator().manual_seed(seed)) for seed in range(40)]


def test_an_augmentation_of_nothing_is_the_identity():
    assert all(torch.equal(frames, clip()) for frames in augmented())


def test_silence_comes_before_after_and_within_and_leaves_the_sound_as_it_is():
    places = set()
    for frames in augmented(silence=20):
        silent = (frames == FLOOR).all(dim=1)
        assert torch.equal(frames[~silent], clip())
        assert len(frames) <= 50 + 3 * 20
        sounding = (~silent).nonzero().flatten()
        places |= {"before"} if silent[0] else set()
        places |= {"after"} if silent[-1] else set()
        places |= {"within"} if silent[sounding[0] : sounding[-1]].any() else set()
        places |= {"nowhere"} if not silent.any() else set()
    assert places == {"before", "after", "within", "nowhere"}


def test_silence_makes_no_clip_longer_than_the_model_takes():
    lengths = {len(frames) for frames in augmented(silence=20, max_frames=60)}
    assert max(lengths) <= 60 and len(lengths) > 3


def test_a_gate_silences_what_is_below_a_level_and_nothing_above():
    for frames in augmented(gate=1.0):
        is_gated = frames == FLOOR
        assert torch.equal(frames[~is_gated], clip()[~is_gated])
        assert clip()[is_gated].amax() < clip()[~is_gated].amin() if is_gated.any() else True
        assert frames.max() == clip().max()
    assert sum((frames == FLOOR).any().item() for frames in augmented(gate=0.5)) in range(8, 33)


def test_a_narrow_band_loses_bins_at_its_ends_in_all_frames():
    lost = []
    for frames in augmented(band=1.0):
        silent = (frames == FLOOR).all(dim=0)
        kept = clip()[:, ~silent]
        assert torch.allclose(frames[:, ~silent], kept - kept.max() - FLOOR)
        heard = (~silent).nonzero().flatten()
        assert not silent[heard[0] : heard[-1]].any()
        lost.append((heard[0].item(), 79 - heard[-1].item()))
    assert max(low for low, _ in lost) in range(10, 17) and max(high for _, high in lost) in range(20, 33)
    assert any(low == 0 and high > 0 for low, high in lost) and any(low > 0 and high == 0 for low, high in lost)


def rise(frames):
    """Nepers from the lowest to the highest bin (T, bins), of a line through their means."""
    return np.polyfit(np.linspace(0, 1, frames.shape[1]), frames.mean(dim=0).numpy(), 1)[0]


def test_noise_has_the_colours_from_pink_to_white_and_any_level_that_is_heard():
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(5 * 16_000))
    hertz = np.maximum(np.fft.rfftfreq(5 * 16_000, 1 / 16_000), 20)
    waves = {"white": np.fft.irfft(spectrum), "pink": np.fft.irfft(spectrum / np.sqrt(hertz))}
    rises = {
        name: rise(MoTFeatureExtractor()([wave], return_tensors="pt")["input_features"][0])
        for name, wave in waves.items()
    }
    assert rises["pink"] == pytest.approx(0, abs=0.5) and rises["white"] == pytest.approx(WHITE_SLOPE, abs=0.5)

    quiet = torch.full((300, 80), -20.0)
    quiet[0, 0] = -FLOOR
    noises = [frames[1:] for frames in augmented(quiet, noise=1.0, silence_value=None)]
    drawn = [rise(noise) for noise in noises]
    assert -0.2 < min(drawn) < 0.4 and WHITE_SLOPE - 0.4 < max(drawn) < WHITE_SLOPE + 0.2
    below = [-FLOOR - noise[:, -10:].exp().square().mean().log().item() / 2 for noise in noises]
    assert -0.2 < min(below) < 0.6 and NOISE_RANGE - 0.6 < max(below) < NOISE_RANGE + 0.5


def test_the_powers_of_sound_and_noise_add():
    sound = torch.linspace(-1, 1, 80).expand(2000, 80)
    both = torch.cat([sound, torch.full((2000, 80), -20.0)])
    for frames in augmented(both, noise=1.0, silence_value=None)[:10]:
        power = frames.exp().square()
        loud, noise = power[:2000].mean(dim=0), power[2000:].mean(dim=0)
        assert torch.allclose(loud, sound[0].exp().square() + noise, rtol=0.2)
    assert sum(not torch.equal(frames, clip()) for frames in augmented(noise=0.5)) in range(8, 33)


def test_whatever_became_of_a_clip_it_is_relative_to_its_loudest_bin_and_its_silence_is_silent():
    everything = {"tempo": 0.3, "tract": 0.2, "band": 0.5, "noise": 0.5, "gate": 0.3, "silence": 20}
    sound = clip()
    sound[10:20] = FLOOR
    for frames in augmented(sound, **everything):
        assert frames.max().item() == pytest.approx(-FLOOR) and frames.min() >= FLOOR
    for frames in augmented(sound, band=1.0, gate=0.5):
        assert (frames[10:20] == FLOOR).all()
    assert all(
        (frames == FLOOR).all() for frames in augmented(torch.full((30, 80), FLOOR), **everything | {"noise": 0.0})
    )


@pytest.mark.parametrize("settings", [{"silence": 20}, {"gate": 1.0}, {"band": 1.0}])
def test_where_the_floor_is_not_known_no_silence_is_made(settings):
    assert all(torch.equal(frames, clip()) for frames in augmented(silence_value=None, **settings))


@pytest.mark.parametrize("dynamic_range", [50.0, None])
def test_a_run_adds_the_silence_of_its_feature_extractor(dynamic_range):
    """None: a checkpoint from before, which was trained without."""
    extractor = MoTFeatureExtractor(dynamic_range=dynamic_range)
    arguments = (DataArguments(task="classification"), ModelArguments(), 0)
    collators = build_collators(MoTProcessor(feature_extractor=extractor), MoTConfig(), *arguments)
    augmentation = collators["train_collator"].audio_augmentation
    assert augmentation.silence_value == extractor.silence_value
    assert (augmentation.silence_value is None) == (dynamic_range is None)
    silence = extractor(torch.zeros(4000).numpy(), return_tensors="pt")["input_features"]
    assert dynamic_range is None or (silence == augmentation.silence_value).all()


def test_augmentations_change_values_but_neither_shape_nor_scale():
    pixels = torch.rand(4, 3, 28, 28)
    augmented = ImageAugmentation()(pixels)
    assert augmented.shape == pixels.shape
    assert not torch.equal(augmented, pixels)
    assert augmented.min() >= 0
    assert augmented.max() <= 1
    frames = torch.rand(50, 80)
    shapes = {tuple(AudioAugmentation()(frames.clone()).shape) for _ in range(50)}
    assert {bins for _, bins in shapes} == {80}
    assert len(shapes) > 5
    assert all(40 <= length <= 60 for length, _ in shapes)


def test_no_clip_is_stretched_beyond_what_the_model_takes():
    augmentation = AudioAugmentation(tempo=0.5, max_frames=100)
    lengths = {len(augmentation(torch.randn(90, 20), torch.Generator().manual_seed(seed))) for seed in range(40)}
    assert max(lengths) == 100 and min(lengths) < 80


def test_image_augmentation_without_strength_is_the_identity():
    pixels = torch.rand(2, 3, 3, 12, 12)
    for black in (None, [0.0]):
        assert torch.allclose(ImageAugmentation(0, 0, 0, 0, light=0, black=black)(pixels), pixels, atol=1e-5)


def test_a_picture_that_loses_light_is_what_its_processor_makes_of_the_darker_picture():
    """The reference darkens colours before they are processed."""
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    image_processor = MoTImageProcessor(size={"height": 8, "width": 8}, image_mean=mean, image_std=std)
    processor = MoTProcessor(image_processor=image_processor)
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.float32)

    def processed(values):
        return torch.from_numpy((values / 255 - mean) / std).float().permute(2, 0, 1)

    modality = MODALITIES["image"]
    augmentation = replace(modality.augmentation(MoTImageConfig(), processor), degrees=0, scale=0, shear=0, shift=0)
    shares = []
    for seed in range(60):
        changed = augmentation(processed(colours), torch.Generator().manual_seed(seed))
        share = ((changed[0, 0, 0] * std[0] + mean[0]) * 255 / colours[0, 0, 0]).item()
        assert torch.allclose(changed, processed(colours * share), atol=1e-4)
        shares.append(share)
    assert 0.1 <= min(shares) < 0.2 and max(shares) == pytest.approx(1, abs=1e-4)
    assert sum(share < 0.999 for share in shares) in range(18, 43)
    frames = augmentation(processed(colours).expand(4, 3, 8, 8), torch.Generator().manual_seed(0))
    assert torch.equal(frames, frames[:1].expand_as(frames))


def test_values_that_are_no_colours_keep_their_light():
    processor = MoTProcessor(modalities={"depth": {"kind": "image", "scale": 0.001, "size": 8}})
    modality = processor.kinds["depth"]
    assert modality.augmentation(MoTImageConfig(num_channels=1), processor).black is None
    plain = MoTImageProcessor(do_normalize=False)
    assert MODALITIES["image"].augmentation(MoTImageConfig(), MoTProcessor(image_processor=plain)).black == [0.0]
