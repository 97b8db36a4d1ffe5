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
from mixture_of_transformers.modality_audio_mot import AudioAugmentation
from mixture_of_transformers.modality_image_mot import ImageAugmentation, MoTImageConfig

FLOOR = -3.0
UNCHANGED = {"tempo": 0.0, "tract": 0.0, "noise": 0.0, "gate": 0.0, "band": 0.0, "silence": 0, "silence_value": FLOOR}


def clip(length=50, bins=80):
    """(T, bins) above the floor everywhere, on the extractor's scale: the loudest is as far from 0 as the floor."""
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


def test_a_narrow_band_loses_bins_at_its_ends_in_all_frames_and_what_is_left_is_as_loud_as_any_clip():
    lost = []
    for frames in augmented(band=1.0):
        silent = (frames == FLOOR).all(dim=0)
        heard = (~silent).nonzero().flatten()
        assert not silent[heard[0] : heard[-1]].any()
        left = clip()[:, ~silent]
        assert torch.allclose(frames[:, ~silent], left - left.max() - FLOOR)
        lost.append((heard[0].item(), 79 - heard[-1].item()))
    low, high = zip(*lost)
    assert max(low) in range(12, 16) and max(high) in range(25, 32) and min(low) < 3 and min(high) < 6


def test_noise_adds_waves_of_random_phases_as_loud_as_the_loudest_bin_or_less():
    """The reference adds such waves, of many amplitudes; how widely magnitudes spread tells which noise it was."""
    normal = np.random.default_rng(0).standard_normal((2, 1, 4000)) / np.sqrt(2)
    amplitudes = np.geomspace(0.005, 3, 300)[:, None]
    waves = np.abs(1 + amplitudes * (normal[0] + 1j * normal[1]))
    spreads, coloured = waves.std(axis=1) / waves.mean(axis=1), 0
    for frames in augmented(torch.full((400, 80), -FLOOR), noise=1.0):
        magnitudes = frames.exp().numpy()
        spread = magnitudes.std(axis=0) / magnitudes.mean(axis=0)
        noise = np.interp(spread, spreads, np.log(amplitudes[:, 0]))  # (bins,), in nepers of the sound
        assert -5.1 < noise.mean() < 0.2
        fall = noise[:10].mean() - noise[-10:].mean()
        assert -0.2 < fall < 2.1
        coloured += fall > 0.5
    assert coloured in range(20, 36)  # of forty: as many as are drawn between 0.5 and 2


@pytest.mark.parametrize("change", [{"noise": 1.0}, {"gate": 1.0}, {"band": 1.0}])
def test_silence_stays_silent_and_a_quiet_clip_quiet(change):
    for frames in augmented(torch.full((50, 80), FLOOR), tempo=0.2, silence=5, **change):
        assert (frames == FLOOR).all()
    quiet = clip() - 2  # of a sound so quiet that its extractor does not lift it to the top
    for frames in augmented(quiet, silence=5, **change):
        assert frames.max() == pytest.approx(quiet.max().item(), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_frames_in_half_precision_stay_so(dtype):
    every = {"tempo": 0.2, "noise": 0.5, "gate": 0.25, "band": 0.5, "silence": 10}
    assert {frames.dtype for frames in augmented(clip().to(dtype), **every)} == {dtype}


@pytest.mark.parametrize("settings", [{"silence": 20}, {"gate": 1.0}, {"band": 1.0}, {"noise": 1.0}])
def test_where_the_floor_is_not_known_nothing_is_added(settings):
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


def moved(picture, numbers, grey, degrees, scale, shear, shift):
    """
    A picture (H, W) pixel by pixel: each is what lies, between four pixels, at the place that six numbers from 0 to 1
    send it to. Places go from -1 to 1, at the outer edges of the outer pixels. Beyond these all pixels are grey, or
    with None as the border.
    """
    (height, width), moved = picture.shape, np.zeros(picture.shape)
    angle, scale_x, scale_y, shear, shift_x, shift_y = (2 * np.array(numbers, np.float64) - 1) * (
        np.deg2rad(degrees),
        scale,
        scale,
        shear,
        2 * shift,
        2 * shift,
    )
    for row, column in np.ndindex(height, width):
        x, y = (2 * column + 1) / width - 1, (2 * row + 1) / height - 1
        left = (1 + scale_x) * np.cos(angle) * x + (shear - np.sin(angle)) * y + shift_x
        down = np.sin(angle) * x + (1 + scale_y) * np.cos(angle) * y + shift_y
        place = [((down + 1) * height - 1) / 2, ((left + 1) * width - 1) / 2]
        if grey is None:
            place = np.clip(place, 0, [height - 1, width - 1])
        top, near = np.floor(place).astype(int)
        for y, x in ((top, near), (top, near + 1), (top + 1, near), (top + 1, near + 1)):
            is_inside = 0 <= y < height and 0 <= x < width
            pixel = picture[y, x] if is_inside else grey or 0.0
            moved[row, column] += (1 - abs(place[0] - y)) * (1 - abs(place[1] - x)) * pixel
    return moved


def test_the_random_numbers_of_a_row_move_its_picture_as_a_slow_reference_does():
    """So a run that goes on draws and moves as one that was never interrupted."""
    picture, strengths = torch.rand(1, 7, 9), {"degrees": 30.0, "scale": 0.2, "shear": 0.3, "shift": 0.1}
    borders = 0
    for seed in range(8):
        random = torch.Generator().manual_seed(seed)
        changed = ImageAugmentation(**strengths)(picture, torch.Generator().manual_seed(seed))
        numbers = torch.rand(6, generator=random).tolist()
        beyond, share = torch.rand(2, generator=random).tolist()
        grey = None if beyond < 0.5 else torch.lerp(picture.min(), picture.max(), share).item()
        borders += grey is None
        assert np.allclose(changed[0].numpy(), moved(picture[0].numpy(), numbers, grey, **strengths), atol=1e-5)
    assert 0 < borders < 8


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
