# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The image processor: equal to the library's on every way that a picture can come and for every option."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, ViTImageProcessorPil

import mixture_of_transformers.image_processing_mot
from mixture_of_transformers import MoTImageProcessor

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def picture(mode="RGB", size=(640, 480), seed=0):
    """Smooth, as photographs are, with something in every channel."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (9, 12, 4), dtype=np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).convert(mode)


@pytest.fixture
def fast_calls(monkeypatch):
    """A list that grows with every batch that takes the fast way."""
    calls, original = [], mixture_of_transformers.image_processing_mot.to_pixel_values

    def counted(pictures, **options):
        calls.append(len(pictures))
        return original(pictures, **options)

    monkeypatch.setattr(mixture_of_transformers.image_processing_mot, "to_pixel_values", counted)
    return calls


def assert_equal_to_library(images, settings=None, **options):
    options = {"return_tensors": "pt"} | options
    expected = ViTImageProcessorPil(**settings or {})(images, **options)["pixel_values"]
    actual = MoTImageProcessor(**settings or {})(images, **options)["pixel_values"]
    assert type(actual) is type(expected)
    for left, right in zip(actual, expected, strict=True):
        left, right = torch.as_tensor(left), torch.as_tensor(right)
        assert left.dtype == right.dtype and left.shape == right.shape
        assert torch.allclose(left, right, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(640, 480), (28, 28), (225, 31), (1, 1), (224, 224)])
@pytest.mark.parametrize("settings", [{}, {"size": {"height": 30, "width": 44}, "resample": 3} | IMAGENET])
def test_default_way_is_fast_and_equal(size, settings, fast_calls):
    assert_equal_to_library(picture(size=size), settings)
    assert_equal_to_library([picture(size=size), picture(size=(50, 40), seed=1)], settings)
    assert fast_calls == [1, 2]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "LA", "1", "CMYK"])
def test_pictures_of_any_mode_become_rgb_as_in_the_library(mode, fast_calls):
    assert_equal_to_library([picture(mode), picture()], {"do_convert_rgb": True})
    assert fast_calls == [2]


def test_a_transparent_colour_becomes_white_as_in_the_library():
    image = picture(size=(20, 20))
    image.info["transparency"] = image.getpixel((3, 3))
    assert_equal_to_library(image, {"do_convert_rgb": True})


@pytest.mark.parametrize(
    "options",
    [
        {"do_resize": False},
        {"do_rescale": False},
        {"do_normalize": False},
        {"do_rescale": False, "do_normalize": False},
        {"size": {"shortest_edge": 40}},
        {"size": {"shortest_edge": 40, "longest_edge": 60}},
        {"do_center_crop": True, "crop_size": {"height": 100, "width": 90}},
        {"do_pad": True, "pad_size": {"height": 300, "width": 300}},
        {"size": 32},
        {"resample": Image.Resampling.NEAREST},
        {"rescale_factor": 1 / 127.5, "image_mean": 1.0, "image_std": 0.3},
        {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.2, 0.3, 0.4]},
        {"return_tensors": None},
        {"return_tensors": "np"},
    ],
    ids=lambda options: "+".join(options),
)
def test_every_option_means_what_it_means_in_the_library(options):
    assert_equal_to_library([picture(), picture(seed=1)], **options)


def test_arrays_and_tensors_are_processed_as_in_the_library(fast_calls):
    channels_last = np.asarray(picture())
    channels_first = torch.from_numpy(channels_last.copy()).permute(2, 0, 1)
    for image in (channels_last, channels_first, channels_last / 255.0, [channels_last, channels_last]):
        assert_equal_to_library(image, {"do_convert_rgb": True})
    assert_equal_to_library(picture("L"), image_mean=0.5, image_std=0.5)
    assert not fast_calls


def test_wrong_number_of_channels_is_an_error_as_in_the_library():
    for processor_class in (ViTImageProcessorPil, MoTImageProcessor):
        with pytest.raises(ValueError, match="mean must have 3 elements"):
            processor_class(image_mean=[0.5], image_std=[0.5])(picture())


def test_saved_settings_come_back_by_auto_class(tmp_path):
    processor = MoTImageProcessor(size={"height": 32, "width": 48}, do_convert_rgb=True, **IMAGENET)
    processor.save_pretrained(tmp_path)
    for loaded in (MoTImageProcessor.from_pretrained(tmp_path), AutoImageProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is MoTImageProcessor
        assert loaded.to_dict() == processor.to_dict()


def test_a_folder_of_the_librarys_processor_still_loads_as_such(tmp_path):
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is ViTImageProcessorPil
    assert_equal_to_library(picture(), MoTImageProcessor.from_pretrained(tmp_path).to_dict())
