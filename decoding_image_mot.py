# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Pictures: files, arrays and pictures of PIL become pictures of PIL, upright and 8 bits deep, or the values of all
their channels as they are."""

import io
import math
import re
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from transformers.image_transforms import convert_to_rgb
from transformers.image_utils import ChannelDimension, infer_channel_dimension_format

from .decoding_mot import LIMITS, DecodingLimits, is_array, open_source, reason, to_numpy

# PIL knows more, among them EPS, for which it starts Ghostscript. HEIF and JXL are there where a package brings them.
PICTURE_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "MPO", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA"),
    *("TIFF", "WEBP"),
)
PICTURE_BITS = (8, 12, 16)
TILE_SIZE_TAGS = (322, 323)
JPEG_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # the others are coded pixels, or restart their coding
JPEG_SCAN, JPEG_END = b"\xda", b"\xd9"


def load_image(
    source: Any, name: str, convert_rgb: bool, allow_urls: bool | str = True, limits: DecodingLimits = LIMITS
) -> Image.Image:
    """Decodes one picture, upright and 8 bits deep; of files of many pictures the first. RGB where `convert_rgb`."""
    if is_array(source):
        image = array_to_image(to_numpy(source, name), name)
    elif isinstance(source, Image.Image):
        check_image(source, name, limits)
        image = ImageOps.exif_transpose(shrink(source, limits.max_kept_image_pixels))
    else:
        image = decode_image(source, name, allow_urls, limits)
    image = flatten_depth(image, name)
    return to_rgb(image) if convert_rgb else image


def load_values(
    source: Any, name: str, num_channels: int, allow_urls: bool | str = True, limits: DecodingLimits = LIMITS
) -> np.ndarray:
    """
    The values of one picture as they are, whatever its depth: (H, W, num_channels) float32, upright. An array is
    (H, W), (H, W, C) or (C, H, W); of a picture with a palette they are the numbers of its colours.
    """
    if is_array(source):
        values = to_numpy(source, name)
        if values.ndim == 3 and values.shape[-1] != num_channels:
            values = np.moveaxis(values, 0, -1)
    else:
        if isinstance(source, Image.Image):
            check_image(source, name, limits)
            image = ImageOps.exif_transpose(shrink(source, limits.max_kept_image_pixels))
        else:
            image = decode_image(source, name, allow_urls, limits)
        values = np.asarray(image)
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.size == 0 or values.shape[-1] != num_channels:
        what = "an array" if is_array(source) else f"a picture of mode {image.mode}"
        shape = tuple(source.shape) if is_array(source) else values.shape
        raise ValueError(
            f"{name} is {what} and shape {shape}, expected {num_channels} channels as `num_channels` says: (H, W) for "
            "one, or (H, W, C) or (C, H, W)."
        )
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name} has values of type {values.dtype}: expected numbers.")
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN, infinite values, or some beyond float32: write 0 where nothing is known.")
    return values


def channels_of_values(source: Any, name: str) -> int:
    """
    How many channels a picture has that is no colours but values of its own scale, as greyscale of more than 8 bits
    is, or an array of floats or of other than 1, 3 or 4 channels; 0 for colours.
    """
    if not is_array(source):
        if isinstance(source, Image.Image):
            return int(source.mode[0] in "IF")
        with open_source(source, name) as file, open_image(file, name) as image:
            return int(image.mode[0] in "IF")
    values = to_numpy(source, name)
    channels = 1 if values.ndim == 2 else min(values.shape[0], values.shape[-1])
    if values.dtype == np.uint8:
        return 0 if channels in (1, 3, 4) else channels
    is_colour = channels in (3, 4) and values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1
    return 0 if is_colour else channels


def is_picture(content: bytes) -> bool:
    """Whether the bytes of a file are those of a picture, by its head."""
    Image.init()
    try:
        with Image.open(io.BytesIO(content), formats=[kind for kind in PICTURE_FORMATS if kind in Image.OPEN]):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # one that is broken, or too large
        return True


def flatten_depth(image: Image.Image, name: str) -> Image.Image:
    """Greyscale of 12, 16 or 32 bits or floats to 8 bits, which PIL would clip, not scale."""
    if image.mode[0] not in "IF":
        return image
    values, transparent = np.asarray(image), image.info.get("transparency")
    low, high = values.min(), values.max()
    if low < 0 or high >= 2 ** PICTURE_BITS[-1]:  # elevations, densities and the like have no scale but their own
        values = (values.astype(np.float64) - low) / max(float(high) - float(low), 1)
    grey = Image.fromarray(to_uint8(values, name))
    if not isinstance(transparent, int):
        return grey
    return Image.merge("LA", [grey, Image.fromarray((np.asarray(image) != transparent).astype(np.uint8) * 255)])


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of 8 bits to RGB; what is transparent lies on white, as in transformers' image processors."""
    if image.mode in ("La", "RGBa"):  # multiplied by their opacity
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    return Image.fromarray(convert_to_rgb(image, return_numpy=True))


def decode_image(source: Any, name: str, allow_urls: bool | str, limits: DecodingLimits) -> Image.Image:
    """A picture from a file, upright and shrunk to what the limits let it keep."""
    with open_source(source, name, allow_urls, limits) as file, open_image(file, name, limits) as image:
        try:
            if (factor := shrinking_factor(*image.size, limits.max_kept_image_pixels)) > 1:
                image.draft(None, (image.width // factor, image.height // factor))  # JPEG alone heeds it
            return ImageOps.exif_transpose(shrink(image, limits.max_kept_image_pixels))
        except Exception as error:  # broken bytes make PIL fail in more ways than it documents
            raise undecodable(name, error) from error


def open_image(file: BinaryIO, name: str, limits: DecodingLimits = LIMITS) -> Image.Image:
    """A picture of a format that is read and a size that is allowed, not decoded yet: its head alone is read."""
    Image.init()
    try:
        image = Image.open(file, formats=[kind for kind in PICTURE_FORMATS if kind in Image.OPEN])
    except UnidentifiedImageError:  # whose message names the file object, not the file
        raise ValueError(
            f"{name} is not a picture that can be decoded: broken, or of no format that is read "
            f"({', '.join(PICTURE_FORMATS)})."
        ) from None
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name} has too many pixels: {error} Where its source is trusted, raise `PIL.Image.MAX_IMAGE_PIXELS` and "
            "`processor.limits = DecodingLimits(max_image_pixels=...)`."
        ) from None
    except Exception as error:
        raise undecodable(name, error) from error
    check_image(image, name, limits)
    if isinstance(image, JpegImageFile):
        scans = count_scans(file)
        limits.check("max_image_scans", scans, name, f"{scans:,} scans, each of which goes over all of its pixels")
    return image


def undecodable(name: str, error: Exception) -> ValueError:
    """The error for a file that PIL fails on, without the name that the file happens to have here."""
    return ValueError(f"{name} is not a picture that can be decoded: {reason(error) or type(error).__name__}")


def check_image(image: Image.Image, name: str, limits: DecodingLimits) -> None:
    """Raise a ValueError for a picture without pixels, or with more than the limits allow."""
    width, height = image.size
    if not width or not height:
        raise ValueError(f"{name} is a picture of {width} x {height} pixels: expected at least one.")
    limits.check("max_image_pixels", width * height, name, f"{width} x {height} pixels")
    tags = getattr(image, "tag_v2", {})  # TIFF: a tile is decoded whole, whatever the size of the picture
    width, height = (side if isinstance(side := tags.get(tag, 1), int) else 1 for tag in TILE_SIZE_TAGS)
    limits.check("max_image_pixels", width * height, name, f"tiles of {width} x {height} pixels")


def count_scans(file: BinaryIO) -> int:
    """The scans of a JPEG file that was read up to the first; a few bytes make one, about ten a progressive file."""
    begin = file.tell()
    content, position, scans = file.read(), 0, 1
    file.seek(begin)
    while (marker := JPEG_MARKER.search(content, position)) and marker[1] != JPEG_END:
        scans += marker[1] == JPEG_SCAN
        position = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")  # behind its head
    return scans


def shrink(image: Image.Image, most_pixels: float) -> Image.Image:
    """A picture of more than `most_pixels`, smaller by a whole factor."""
    if (factor := shrinking_factor(*image.size, most_pixels)) == 1:
        return image
    image.load()
    if image.mode in ("1", "P", "PA") or (image.mode in ("L", "RGB") and "transparency" in image.info):
        image = image.convert("RGBA")
    elif image.mode.startswith("I;"):
        image = image.convert("I")
    return image.reduce(factor)


def shrinking_factor(width: int, height: int, most_pixels: float) -> int:
    """The least whole number by which both sides are divided so that no more pixels are left."""
    return max(1, math.ceil(math.sqrt(width * height / most_pixels)))


def array_to_image(array: np.ndarray, name: str) -> Image.Image:
    """(H, W), (H, W, C) or (C, H, W) as a picture of 8 bits; `to_uint8` says how values are scaled."""
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: expected (H, W), (H, W, C) or (C, H, W).")
    if array.ndim == 3:
        try:
            channels = infer_channel_dimension_format(array, num_channels=(1, 3, 4))
        except ValueError:
            raise ValueError(f"{name} has shape {array.shape}: expected 1, 3 or 4 channels, first or last.") from None
        array = np.moveaxis(array, 0, -1) if channels == ChannelDimension.FIRST else array
        array = array[..., 0] if array.shape[-1] == 1 else array
    return Image.fromarray(np.ascontiguousarray(to_uint8(array, name)))


def to_uint8(array: np.ndarray, name: str) -> np.ndarray:
    """Values to 0..255: floats and booleans from 0..1, others from the least of 8, 12 and 16 bits that holds all."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} has values of type {array.dtype}: expected numbers.")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 2 ** PICTURE_BITS[-1] - 1):  # also refuses NaN
        raise ValueError(
            f"{name} has values from {low} to {high}: expected finite ones within 0..1, 0..255, 0..4095 or 0..65535."
        )
    if array.dtype.kind in "fb" and high <= 1:
        return np.round(array.astype(np.float32) * 255).astype(np.uint8)
    bits = next(bits for bits in PICTURE_BITS if high <= 2**bits - 1)
    return (np.round(array).astype(np.int32) >> (bits - 8)).astype(np.uint8)  # the high byte, as PIL takes of colours
