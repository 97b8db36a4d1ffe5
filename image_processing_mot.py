# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`MoTImageProcessor`: pictures become pixel values, as by transformers' `ViTImageProcessorPil`, in half of its time.

PIL resizes each picture as it comes, and torch normalises all of them at once, where the library takes every picture
to an array, back to a picture, and in float64 to its values. What is beyond that goes the way of the library.
"""

import numbers

import numpy as np
import torch
from PIL import Image
from transformers import ViTImageProcessorPil
from transformers.feature_extraction_utils import BatchFeature

from .decoding_image_mot import flatten_depth, to_rgb
from .decoding_mot import to_numpy

MOST_PIXELS_OF_A_SIDE = 2**14  # to which pictures are resized
# Bounds of `image_mean`, `image_std` and `rescale_factor`, beyond which no float32 is left that means a colour.
LEAST_STD, MOST_SCALE = 1e-6, 1e6


class MoTImageProcessor(ViTImageProcessorPil):
    """
    `pixel_values` (N, C, H, W), with the settings and options of `ViTImageProcessor` and its values to 1e-6.

    Fast are RGB pictures of PIL (any, where `do_convert_rgb`) that are resized to one height and width, rescaled and
    normalised: the default.
    """

    def _preprocess_image_like_inputs(self, images, *args, **options) -> BatchFeature:
        try:
            pictures = self._prepare_images_structure(images)
        except TypeError as error:
            raise ValueError(
                f"`images` has type {type(images).__name__}: expected pictures or arrays. {error}"
            ) from error
        check_settings(**options)
        check_pictures(pictures)
        if not all(isinstance(picture, Image.Image) for picture in pictures):
            try:
                return super()._preprocess_image_like_inputs(pictures, *args, **options)
            except (ValueError, TypeError, RuntimeError) as error:
                raise ValueError(f"`images` holds what cannot be processed: {error}") from error
        if options.get("do_convert_rgb"):
            pictures = [to_rgb(flatten_depth(picture, "A picture")) for picture in pictures]
        if not args and is_covered(**options) and all(picture.mode == "RGB" for picture in pictures):
            return to_pixel_values(pictures, **options)
        return super()._preprocess_image_like_inputs(pictures, *args, **options)


def check_pictures(pictures: list) -> None:
    """
    Raises:
        ValueError: there is none, or one has no pixels or, an array, no finite numbers.
    """
    if not pictures:
        raise ValueError("`images` holds no picture: expected at least one.")
    for picture in pictures:
        if isinstance(picture, Image.Image):
            if 0 in picture.size:
                raise ValueError(f"`images` holds a picture of {picture.width} x {picture.height} pixels.")
            continue
        has_values = not isinstance(picture, torch.Tensor) or not (picture.is_meta or picture.layout != torch.strided)
        values = to_numpy(picture, "`images`") if has_values else np.asarray(None)
        if values.size == 0 or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise ValueError(
                f"`images` holds a {type(picture).__name__} of shape {values.shape} and type {values.dtype}: "
                "expected arrays of finite numbers, (H, W, C) or (C, H, W)."
            )


def check_settings(size, image_mean, image_std, rescale_factor, **options) -> None:
    """
    Raises:
        ValueError: naming the setting that no picture can be processed with.
    """
    for side, length in dict(size or {}).items():
        if length is not None and not (type(length) is int and 1 <= length <= MOST_PIXELS_OF_A_SIDE):
            raise ValueError(f"`size` has a {side} of {length!r:.100}, expected 1 to {MOST_PIXELS_OF_A_SIDE} pixels.")
    for name, value in {"image_mean": image_mean, "image_std": image_std, "rescale_factor": rescale_factor}.items():
        values = np.asarray(1.0 if value is None else value, dtype=object).ravel().tolist()
        least = LEAST_STD if name == "image_std" else 0
        if not values or not all(isinstance(v, numbers.Real) and least <= abs(v) <= MOST_SCALE for v in values):
            raise ValueError(
                f"`{name}` is {value!r:.100}, expected numbers of {least} to {MOST_SCALE} beside the sign."
            )


def is_covered(
    do_resize, size, resample, do_rescale, do_normalize, image_mean, image_std, do_center_crop, do_pad, **options
) -> bool:
    """Whether the options ask for nothing but resizing to (height, width), rescaling and normalising RGB."""
    return (
        bool(do_resize and do_rescale and do_normalize)
        and not (do_center_crop or do_pad)
        and set(dict(size)) == {"height", "width"}
        and isinstance(resample, int)
        and all(np.shape(value) in ((), (3,)) for value in (image_mean, image_std))
    )


def to_pixel_values(
    pictures: list[Image.Image], size, resample, rescale_factor, image_mean, image_std, return_tensors, **options
) -> BatchFeature:
    """RGB pictures of any size to `pixel_values` (N, 3, H, W) float32."""
    pixels = torch.empty(len(pictures), 3, size.height, size.width)
    for row, picture in zip(pixels, pictures):
        resized = picture.resize((size.width, size.height), resample)
        row.copy_(torch.from_numpy(np.array(resized)).permute(2, 0, 1))
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (image_mean, image_std))
    pixels.mul_(rescale_factor).sub_(mean).div_(std)
    outputs = pixels if return_tensors else list(pixels.numpy())  # a list of arrays, as from the library
    return BatchFeature({"pixel_values": outputs}, tensor_type=return_tensors)


__all__ = ["MoTImageProcessor"]
