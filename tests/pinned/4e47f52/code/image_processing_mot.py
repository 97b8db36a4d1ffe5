# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From pictures to pixel values: transformers' `ViTImageProcessorPil`, in about half of its time.

PIL resizes each picture as it comes, and torch normalises all of them at once, where the library takes every picture to
an array, back to a picture, and in float64 to its values. What is beyond that goes the way of the library.
"""

import numpy as np
import torch
from PIL import Image
from transformers import ViTImageProcessorPil
from transformers.feature_extraction_utils import BatchFeature


class MoTImageProcessor(ViTImageProcessorPil):
    """
    `pixel_values` (N, C, H, W), with the settings and options of `ViTImageProcessor` and its values to 1e-6.

    Fast are RGB pictures of PIL (any, where `do_convert_rgb`) that are resized to one height and width, rescaled and
    normalised: the default.
    """

    def _preprocess_image_like_inputs(self, images, *args, **options) -> BatchFeature:
        pictures = self._prepare_images_structure(images)
        if all(isinstance(picture, Image.Image) for picture in pictures) and not args and is_covered(**options):
            if options["do_convert_rgb"]:
                pictures = [self._to_rgb(picture) for picture in pictures]
            if all(picture.mode == "RGB" for picture in pictures):
                return to_pixel_values(pictures, **options)
        return super()._preprocess_image_like_inputs(pictures, *args, **options)

    def _to_rgb(self, picture: Image.Image) -> Image.Image:
        is_opaque_rgb = picture.mode == "RGB" and "transparency" not in picture.info
        return picture if is_opaque_rgb else Image.fromarray(self.convert_to_rgb(picture))


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
