# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Judges of generated digits: classifiers that learn real training digits alone, one of pictures, one of sounds.

Both are one small network, which looks at a picture, or at the log-mel frames of a sound as at a picture, in training
each time a little stretched and shifted. How often a judge is right about real digits of the test split stands beside
whatever it says of generated ones.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from mixture_of_transformers.feature_extraction_mot import MoTFeatureExtractor
from mixture_of_transformers.resampling_mot import resample

BATCH_SIZE = 64
PICTURE_SIZE = 28  # pixels
MEL_BINS, FRAMES = 40, 80  # of 10 ms, from the middle of longer sounds
SPEEDS = (16, 18, 20, 22, 24)  # of training sounds, in twentieths: faster voices are higher ones
# The most by which what is looked at is stretched (a factor is 1 more or less), and shifted (a share of the whole).
PICTURE_CHANGES = {"height": 0.15, "width": 0.15, "up": 0.1, "aside": 0.1, "turn": 0.25}
SOUND_CHANGES = {"height": 0.08, "width": 0.25, "up": 0.04, "aside": 0.15, "turn": 0.0}
MOST_BLANKED = {"height": 6, "width": 8}  # bands and frames that a sound in training lacks


class Judge(nn.Module):
    """Log-probabilities of the classes of pictures (N, 1, H, W), from what stands in their columns, in order."""

    def __init__(self, height: int, num_classes: int):
        super().__init__()

        def convolution(width: int, out: int, stride: int | tuple[int, int]) -> list[nn.Module]:
            return [nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]

        def along_columns(width: int, out: int) -> list[nn.Module]:
            return [nn.Conv1d(width, out, 5, padding=2, bias=False), nn.BatchNorm1d(out), nn.ReLU()]

        self.columns = nn.Sequential(
            *convolution(1, 16, 2), *convolution(16, 32, 2), *convolution(32, 48, (2, 1)), nn.Flatten(1, 2)
        )
        self.row = nn.Sequential(*along_columns(48 * -(-height // 8), 96), nn.Dropout(0.2), *along_columns(96, 96))
        self.classifier = nn.Linear(2 * 96, num_classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        row = self.row(self.columns(pictures))  # (N, 96, W / 4)
        seen = torch.cat([row.mean(dim=2), row.amax(dim=2)], dim=1)
        return self.classifier(F.dropout(seen, 0.3, self.training)).log_softmax(dim=1)


class PictureJudge:
    """Which class pictures of any size are of."""

    def __init__(self, images: Sequence[Image.Image], labels: Sequence[int], steps: int = 900, seed: int = 0):
        self.judge = trained(self.look(images)[:, None], labels, steps, seed, PICTURE_CHANGES, {})

    @torch.no_grad()
    def __call__(self, images: Sequence[Image.Image]) -> torch.LongTensor:
        return self.judge(self.look(images)).argmax(dim=1)

    def look(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """(N, 1, PICTURE_SIZE, PICTURE_SIZE), from 0 to 1."""
        size = (PICTURE_SIZE, PICTURE_SIZE)
        pictures = [np.asarray(image.convert("L").resize(size, Image.Resampling.BICUBIC)) for image in images]
        return torch.from_numpy(np.stack(pictures)).float()[:, None] / 255


class SoundJudge:
    """Which class sounds are of, all at one sampling rate."""

    def __init__(
        self,
        waveforms: Sequence[np.ndarray],
        sampling_rate: int,
        labels: Sequence[int],
        steps: int = 1500,
        seed: int = 0,
    ):
        self.extractor = MoTFeatureExtractor(feature_size=MEL_BINS, sampling_rate=sampling_rate)
        versions = [self.look([resample(each, 20, speed) for each in waveforms]) for speed in SPEEDS]
        pictures = torch.stack(versions, dim=1)  # (N, versions, 1, mel, frames)
        self.judge = trained(pictures, labels, steps, seed, SOUND_CHANGES, MOST_BLANKED)

    @torch.no_grad()
    def __call__(self, waveforms: Sequence[np.ndarray]) -> torch.LongTensor:
        return self.judge(self.look(waveforms)).argmax(dim=1)

    def look(self, waveforms: Sequence[np.ndarray]) -> torch.Tensor:
        """Log-mel frames (N, 1, MEL_BINS, FRAMES), high bands above, in the middle of silence, which is 0."""
        sounds = [np.pad(waveform, (0, max(0, self.extractor.frame_length - len(waveform)))) for waveform in waveforms]
        frames = self.extractor(sounds, sampling_rate=self.extractor.sampling_rate, return_tensors="pt")
        pictures = torch.zeros(len(sounds), 1, MEL_BINS, FRAMES)
        for picture, values, mask in zip(pictures, frames["input_features"], frames["input_features_mask"]):
            heard = (values[mask] - self.extractor.silence_value).T.flip(0)  # (mel, T)
            first = max(0, (heard.shape[1] - FRAMES) // 2)
            heard = heard[:, first : first + FRAMES]
            place = (FRAMES - heard.shape[1]) // 2
            picture[0, :, place : place + heard.shape[1]] = heard / -self.extractor.silence_value
        return pictures


def trained(
    pictures: torch.Tensor, labels: Sequence[int], steps: int, seed: int, changes: dict, blanked: dict
) -> Judge:
    """
    Args:
        pictures: (N, versions, 1, H, W), of which each step draws one.
        labels: N classes from 0.
        changes, blanked: see `changed`.
    """
    torch.manual_seed(seed)
    labels = torch.as_tensor(labels)
    judge = Judge(pictures.shape[-2], int(labels.max()) + 1)
    optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(labels), (BATCH_SIZE,))
        drawn = pictures[rows, torch.randint(pictures.shape[1], (BATCH_SIZE,))]
        F.cross_entropy(judge(changed(drawn, changes, blanked)), labels[rows], label_smoothing=0.05).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return judge.eval()


def changed(pictures: torch.Tensor, changes: dict[str, float], blanked: dict[str, int]) -> torch.Tensor:
    """Pictures (N, 1, H, W), each stretched, shifted and turned by chance, and without a few rows and columns."""
    number = len(pictures)
    draws = {name: (2 * torch.rand(number) - 1) * most for name, most in changes.items()}
    cosine, sine = draws["turn"].cos(), draws["turn"].sin()
    affine = torch.stack(
        [
            torch.stack([cosine / (1 + draws["width"]), -sine, 2 * draws["aside"]], dim=1),
            torch.stack([sine, cosine / (1 + draws["height"]), 2 * draws["up"]], dim=1),
        ],
        dim=1,
    )  # (N, 2, 3)
    grid = F.affine_grid(affine, pictures.shape, align_corners=False)
    pictures = F.grid_sample(pictures, grid, align_corners=False)
    for dim, name in ((2, "height"), (3, "width")):
        places = torch.arange(pictures.shape[dim])
        first = torch.rand(number, 1) * len(places)
        length = torch.rand(number, 1) * blanked.get(name, 0)
        is_blank = (places >= first) & (places < first + length)  # (N, H) or (N, W)
        pictures = pictures.masked_fill(is_blank[:, None, :, None] if dim == 2 else is_blank[:, None, None], 0)
    return pictures


def share_right(said: torch.Tensor, labels: Sequence[int]) -> float:
    return (said == torch.as_tensor(labels)).float().mean().item()
