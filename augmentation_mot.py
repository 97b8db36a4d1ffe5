# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the collator changes at random in training rows, on tensors: pictures as pixels, sound as log-mel frames.

Each augmentation takes the random numbers of the row's own generator, so a row is changed alike wherever it is read.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F


@dataclass
class ImageAugmentation:
    """
    Small random rotations, scalings, shears and shifts of whole pictures (all frames of a video alike), which leave
    what a picture shows readable. Borders are repeated outward.

    Args:
        degrees: the largest rotation. scale, shear, shift: the largest change as a share of the picture.
    """

    degrees: float = 12.0
    scale: float = 0.12
    shear: float = 0.12
    shift: float = 0.08

    def __call__(self, pixel_values: torch.Tensor, random: torch.Generator | None = None) -> torch.Tensor:
        """One picture (C, H, W) or the frames of one video (F, C, H, W) -> the same shape."""
        pixels = pixel_values.reshape(-1, *pixel_values.shape[-3:])
        transforms = self.random_transform(random).expand(len(pixels), 2, 3)
        grid = F.affine_grid(transforms, list(pixels.shape), align_corners=False)
        return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False).reshape(pixel_values.shape)

    def random_transform(self, random: torch.Generator | None) -> torch.Tensor:
        """(2, 3), an affine map from places of the result to places of the picture."""
        limits = [self.degrees * np.pi / 180, self.scale, self.scale, self.shear, 2 * self.shift, 2 * self.shift]
        drawn = (torch.rand(len(limits), generator=random) * 2 - 1) * torch.tensor(limits)
        angle, scale_x, scale_y, shear, shift_x, shift_y = drawn
        return torch.stack(
            [
                torch.stack([(1 + scale_x) * angle.cos(), shear - angle.sin(), shift_x]),
                torch.stack([angle.sin(), (1 + scale_y) * angle.cos(), shift_y]),
            ]
        )


@dataclass
class AudioAugmentation:
    """
    On log-mel frames: another tempo, another length of the vocal tract (mel bins stretched, as in VTLP: Jaitly and
    Hinton, 2013), and a steady noise floor.

    Args:
        tempo, tract: the largest stretch of time and of the mel axis, as a share.
        noise: how far below a clip's loudest bin the loudest noise lies, in nepers (1 neper = 8.7 dB); the level is
            drawn between that and three times as far. 0 adds none.
        max_frames: no clip is stretched beyond.
    """

    tempo: float = 0.2
    tract: float = 0.12
    noise: float = 3.0
    max_frames: int | None = None

    def __call__(self, frames: torch.Tensor, random: torch.Generator | None = None) -> torch.Tensor:
        """(T, bins) -> (another T, bins)."""
        frames = self.stretch(frames, random)
        if not self.noise:
            return frames
        level = frames.max() - self.noise * (1 + 2 * torch.rand((), generator=random))
        return torch.logaddexp(frames, level.expand_as(frames))

    def stretch(self, frames: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
        length, bins = frames.shape
        tempo, tract = ((torch.rand(2, generator=random) * 2 - 1) * torch.tensor([self.tempo, self.tract])).tolist()
        limit = max(length, self.max_frames or math.inf)
        size = (min(limit, max(1, round(length * (1 + tempo)))), max(2, round(bins * (1 + tract))))
        stretched = F.interpolate(frames[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        # Narrower than before, the last bin is repeated upward; wider, the top is cut.
        missing = max(0, bins - size[1])
        return torch.cat([stretched[:, :bins], stretched[:, -1:].expand(-1, missing)], dim=1)
