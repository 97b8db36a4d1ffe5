# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What happens to pictures on their way: compression, blur, turning, cropping, bad light, noise and lost parts.

A change takes a picture of PIL in mode L or RGB, a value and random numbers, and gives one of the same mode and size.
"""

import io

import numpy as np
from PIL import Image, ImageFilter

from mixture_of_transformers.evaluation.corruption import Corruption

WHITE = 255.0


def jpeg(picture: Image.Image, quality: float, random: np.random.Generator) -> Image.Image:
    """Written as a JPEG file of this quality, and read again."""
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=int(quality))
    return Image.open(file).convert(picture.mode)


def blur(picture: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    """A Gaussian blur with a standard deviation of this share of the shorter side."""
    return picture.filter(ImageFilter.GaussianBlur(share * min(picture.size)))


def rotation(picture: Image.Image, degrees: float, random: np.random.Generator) -> Image.Image:
    """Turned by so many degrees to the left or to the right; the corners get the mean colour of the border."""
    angle = degrees if random.random() < 0.5 else -degrees
    return picture.rotate(angle, Image.Resampling.BILINEAR, fillcolor=border_color(picture))


def crop(picture: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    """A part with this share of both sides, somewhere in the picture, as large as the picture was."""
    width, height = picture.size
    left, top = random.random(2) * (1 - share) * (width, height)
    box = (left, top, left + share * width, top + share * height)
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box=box)


def darkness(picture: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    """This share of the light is left."""
    return picture.point(lambda value: round(value * share))


def grey(picture: Image.Image, value: float, random: np.random.Generator) -> Image.Image:
    """Without colours."""
    return picture.convert("L").convert(picture.mode)


def low_resolution(picture: Image.Image, factor: float, random: np.random.Generator) -> Image.Image:
    """Both sides divided by a factor, and scaled up again."""
    small = [max(1, round(side / factor)) for side in picture.size]
    return picture.resize(small, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BICUBIC)


def sensor_noise(picture: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    """Gaussian noise of each value, with a standard deviation of this share of the whole range, clipped to it."""
    values = np.asarray(picture, dtype=np.float64)
    values = values + random.standard_normal(values.shape) * share * WHITE
    return Image.fromarray(np.clip(np.round(values), 0, WHITE).astype(np.uint8), picture.mode)


def occlusion(picture: Image.Image, share: float, random: np.random.Generator) -> Image.Image:
    """A rectangle of this share of the area, somewhere in the picture, gets the mean colour of the border."""
    width, height = (max(1, round(side * share**0.5)) for side in picture.size)
    left, top = (int(random.integers(0, side - part + 1)) for side, part in zip(picture.size, (width, height)))
    picture = picture.copy()
    picture.paste(border_color(picture), (left, top, left + width, top + height))
    return picture


def border_color(picture: Image.Image) -> int | tuple[int, ...]:
    """The mean colour of the outermost pixels, which for a picture on a ground is that ground."""
    values = np.asarray(picture)
    border = np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])
    mean = np.round(border.mean(axis=0)).astype(int)
    return int(mean) if picture.mode == "L" else tuple(mean.tolist())


ONE_OF_28 = 0.036  # of the side: one pixel of a picture of 28, which many small data sets have
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
CORRUPTIONS = (
    Corruption("jpeg", jpeg, (90, 50, 30, 10), "quality"),
    Corruption("blur", blur, (0.02, ONE_OF_28, 0.05, 0.1), "share of the side"),
    Corruption("rotation", rotation, (10, 15, 20, 40), "degrees"),
    Corruption("crop", crop, (0.9, 0.8, 0.6), "share of the side"),
    Corruption("darkness", darkness, (0.5, 0.25, 0.1), "share of the light"),
    Corruption("grey", grey, (1,)),
    Corruption("low_resolution", low_resolution, (2, 4, 8), "times fewer pixels a side"),
    Corruption("sensor_noise", sensor_noise, (0.05, 0.1, 0.2, 0.4), "share of the range"),
    Corruption("occlusion", occlusion, SHARES, "share of the area"),
)
