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
    Hinton, 2013), and what happens to sound on its way: a steady noise floor or a gate, a narrow band, digital
    silence.

    Args:
        tempo, tract: the largest stretch of time and of the mel axis, as a share.
        noise: how far below a clip's loudest bin the loudest noise lies, in nepers (1 neper = 8.7 dB); the level is
            drawn between that and three times as far. 0 adds none.
        gate: the share of clips whose quiet bins become silent, as at noise gates and in codecs; what is quiet is
            drawn between half a neper below the loudest bin and all that is heard.
        band: the share of clips that lose the lowest or the highest bins or both, up to a third of them at each end.
        silence: the most frames of digital silence put before a clip, after it and within it, each into every third.
        silence_value: a bin of digital silence, that of `MoTFeatureExtractor`. None: not known, and none is made.
        max_frames: no clip is stretched beyond.
    """

    tempo: float = 0.2
    tract: float = 0.12
    noise: float = 3.0
    gate: float = 0.25
    band: float = 0.25
    silence: int = 60
    silence_value: float | None = None
    max_frames: int | None = None

    def __call__(self, frames: torch.Tensor, random: torch.Generator | None = None) -> torch.Tensor:
        """(T, bins) -> (another T, bins)."""
        frames = self.stretch(frames, random)
        if self.silence_value is not None and self.chance(self.gate, random):
            frames = self.close_gate(frames, random)
        elif self.noise:
            level = frames.max() - self.noise * (1 + 2 * torch.rand((), generator=random))
            frames = torch.logaddexp(frames, level.expand_as(frames))
        if self.silence_value is None:
            return frames
        if self.chance(self.band, random):
            frames = self.narrow(frames, random)
        return self.add_silence(frames, random)

    @staticmethod
    def chance(share: float, random: torch.Generator | None) -> bool:
        return torch.rand((), generator=random).item() < share

    def stretch(self, frames: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
        length, bins = frames.shape
        tempo, tract = ((torch.rand(2, generator=random) * 2 - 1) * torch.tensor([self.tempo, self.tract])).tolist()
        limit = max(length, self.max_frames or math.inf)
        size = (min(limit, max(1, round(length * (1 + tempo)))), max(2, round(bins * (1 + tract))))
        stretched = F.interpolate(frames[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        # Narrower than before, the last bin is repeated upward; wider, the top is cut.
        missing = max(0, bins - size[1])
        return torch.cat([stretched[:, :bins], stretched[:, -1:].expand(-1, missing)], dim=1)

    def close_gate(self, frames: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
        loudest, nearest = frames.max(), 0.5
        below = nearest + (loudest - self.silence_value - nearest) * torch.rand((), generator=random)
        return frames.masked_fill(frames < loudest - below, self.silence_value)

    def narrow(self, frames: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
        bins = frames.shape[1]
        low, high = (torch.rand(2, generator=random) * 2 - 1).clamp(min=0).mul(bins / 3).int().tolist()
        frames = frames.clone()
        frames[:, :low] = frames[:, bins - high :] = self.silence_value
        return frames

    def add_silence(self, frames: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
        drawn = torch.rand(4, generator=random)
        room = max(0, (self.max_frames or math.inf) - len(frames))
        before, within, after = ((drawn[:3] * 3 - 2).clamp(min=0) * self.silence).int().tolist()
        cut = int(drawn[3] * len(frames))
        silent = [frames.new_full((n, frames.shape[1]), self.silence_value) for n in (before, within, after)]
        parts = [silent[0], frames[:cut], silent[1], frames[cut:], silent[2]]
        return torch.cat(parts) if before + within + after <= room else frames
