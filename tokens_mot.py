# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Pictures and sounds become a few whole numbers each, and numbers become pictures and sounds: `MoTImageTokenizer` and
`MoTAudioTokenizer`.

Both are one small autoencoder with finite scalar quantization (arXiv 2309.15505) between its halves. A picture is cut
into patches, the frames of a sound into groups; each becomes one token, whose code is read off a few rounded numbers,
so that there is no codebook to be learnt, and none that collapses. `training/fit_tokens.py` trains them.
"""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from .decoding_image_mot import flatten_depth, to_rgb
from .loading_mot import LoadingMixin
from .resampling_mot import resample
from .spectrogram_mot import MoTSpectrogram

PICTURES_AT_ONCE = 64
MARGIN = 1e-3  # by which a number stays away from where it would round to a level that there is not
MODE_OF_CHANNELS = {1: "L", 3: "RGB"}
MOST_LEVEL = 0.99  # of a decoded sound's samples, which files clip at 1
BELS_OF_DECIBELS = 1 / 20  # of a magnitude
# The most of each number of a config: far above any tokenizer that was built, and below what fills a memory.
MOST = {
    "image_size": 2**14,
    "patch_size": 2**10,
    "hidden_size": 2**12,
    "num_hidden_layers": 2**7,
    "sampling_rate": 2**20,
    "num_mel_bins": 2**12,
    "window_length": 2**16,
    "hop_length": 2**16,
    "frames_per_token": 2**10,
    "dynamic_range": 1000,
}
QUIETEST = -6.0  # decimal logarithm of a bin below which all of a sound is taken for digital silence


# ---------------------------------------------------------------------------------------------------------------------
# The autoencoder
# ---------------------------------------------------------------------------------------------------------------------


class MoTFiniteScalarQuantizer(nn.Module):
    """
    Numbers (..., len(levels)) to the nearest of `levels[i]` values each, and these to a code and back.

    Code = sum of digit_i * basis_i, where digit_i counts the values of number i from below and basis_i is the product
    of the levels before. Gradients pass as if nothing was rounded.
    """

    def __init__(self, levels: Sequence[int]):
        super().__init__()
        self.levels = list(levels)
        self.basis = [math.prod(levels[:i]) for i in range(len(levels))]
        self.num_codes = math.prod(levels)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Values from -1 to 1, rounded."""
        steps = self._steps(latents)
        return self._values(steps + (steps.round() - steps).detach())

    def to_codes(self, latents: torch.Tensor) -> torch.LongTensor:
        digits = self._steps(latents).round().long()
        return (digits * digits.new_tensor(self.basis)).sum(dim=-1)

    def from_codes(self, codes: torch.LongTensor) -> torch.Tensor:
        return self._values(codes[..., None] // codes.new_tensor(self.basis) % codes.new_tensor(self.levels))

    def _steps(self, latents: torch.Tensor) -> torch.Tensor:
        """Numbers of any size to those that round to 0, ..., level - 1, each from an equal share of the sigmoid."""
        levels = latents.new_tensor(self.levels)
        return (latents.sigmoid() - 0.5) * (levels - MARGIN) + (levels - 1) / 2

    def _values(self, steps: torch.Tensor) -> torch.Tensor:
        return steps * 2 / (steps.new_tensor(self.levels) - 1) - 1


class MoTResidualBlock(nn.Module):
    """Two convolutions over the grid of tokens (N, width, rows, columns) beside an identity."""

    def __init__(self, width: int, kernel_size: tuple[int, int]):
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.conv1 = nn.Conv2d(width, width, kernel_size, padding="same")
        self.conv2 = nn.Conv2d(width, width, kernel_size, padding="same")
        self.activation = nn.GELU()

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states + self.conv2(self.activation(self.conv1(self.activation(self.norm(hidden_states)))))


class MoTAutoencoder(nn.Module):
    """
    (N, channels, H, W) to a grid of codes (N, H / patch height, W / patch width), and back.

    Args:
        channels: of what is encoded.
        patch_size: height and width of what becomes one token.
        kernel_size: of the convolutions over tokens, by which neighbours tell each other what they need not repeat.
    """

    def __init__(
        self,
        channels: int,
        patch_size: tuple[int, int],
        kernel_size: tuple[int, int],
        levels: Sequence[int],
        hidden_size: int,
        num_hidden_layers: int,
    ):
        super().__init__()

        def blocks():
            return [MoTResidualBlock(hidden_size, kernel_size) for _ in range(num_hidden_layers)]

        self.encoder = nn.Sequential(
            nn.Conv2d(channels, hidden_size, patch_size, patch_size),
            *blocks(),
            nn.GroupNorm(1, hidden_size),
            nn.Conv2d(hidden_size, len(levels), 1),
        )
        self.quantizer = MoTFiniteScalarQuantizer(levels)
        self.decoder = nn.Sequential(
            nn.Conv2d(len(levels), hidden_size, kernel_size, padding="same"),
            *blocks(),
            nn.GroupNorm(1, hidden_size),
            nn.ConvTranspose2d(hidden_size, channels, patch_size, patch_size),
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """What comes back: (N, channels, H, W)."""
        latents = self.encoder(inputs).movedim(1, -1)  # (N, rows, columns, levels)
        return self.decoder(self.quantizer(latents).movedim(-1, 1))

    def encode(self, inputs: torch.Tensor) -> torch.LongTensor:
        return self.quantizer.to_codes(self.encoder(inputs).movedim(1, -1))

    def decode(self, codes: torch.LongTensor) -> torch.Tensor:
        return self.decoder(self.quantizer.from_codes(codes).movedim(-1, 1))


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------


class MoTImageTokenizerConfig(PreTrainedConfig):
    """
    Args:
        image_size: height and width, in pixels, to which pictures are brought.
        num_channels: 1 for grey pictures, 3 for colours.
        patch_size: side, in pixels, of the square that one token stands for; it divides `image_size`.
        levels: of each number behind a code; their product is the number of codes. (8, 6, 5) has 240, (8, 5, 5, 5) has
            1000, (7, 5, 5, 5, 5) has 4375 (arXiv 2309.15505, table 1).
        hidden_size, num_hidden_layers: width, and residual blocks, of each half of the autoencoder.
    """

    model_type = "mot_image_tokenizer"

    def __init__(
        self,
        image_size: int = 28,
        num_channels: int = 1,
        patch_size: int = 4,
        levels: Sequence[int] = (8, 6, 5),
        hidden_size: int = 64,
        num_hidden_layers: int = 2,
        **kwargs,
    ):
        self.image_size = image_size
        self.num_channels = num_channels
        self.patch_size = patch_size
        self.levels = list(levels)
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        super().__init__(**kwargs)
        check_positive(self, "image_size", "patch_size", "hidden_size", "num_hidden_layers")
        check_levels(self.levels)
        if num_channels not in MODE_OF_CHANNELS:
            raise ValueError(f"`num_channels` is {num_channels!r:.100}: expected one of {list(MODE_OF_CHANNELS)}.")
        if image_size % patch_size:
            raise ValueError(f"`image_size` {image_size} is no multiple of `patch_size` {patch_size}.")


class MoTImageTokenizer(LoadingMixin, PreTrainedModel):
    """Pictures to `num_tokens` codes each, from 0 to `num_codes` - 1, row by row, and codes to pictures."""

    config_class = MoTImageTokenizerConfig
    main_input_name = "pixel_values"

    def __init__(self, config: MoTImageTokenizerConfig):
        super().__init__(config)
        self.autoencoder = MoTAutoencoder(
            config.num_channels,
            (config.patch_size, config.patch_size),
            (3, 3),
            config.levels,
            config.hidden_size,
            config.num_hidden_layers,
        )
        self.post_init()

    @property
    def num_codes(self) -> int:
        return self.autoencoder.quantizer.num_codes

    @property
    def grid_size(self) -> int:
        return self.config.image_size // self.config.patch_size

    @property
    def num_tokens(self) -> int:
        """Of one picture."""
        return self.grid_size**2

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixel values (N, C, H, W) from -1 to 1 as they come back from their codes."""
        return self.autoencoder(pixel_values)

    @torch.no_grad()
    def encode(self, images: Sequence[Image.Image]) -> torch.LongTensor:
        """
        Args:
            images: pictures of any size and mode.

        Returns:
            Codes (N, num_tokens).

        Raises:
            ValueError: if something is no picture of PIL.
        """
        codes = [
            self.autoencoder.encode(self.to_pixel_values(images[first : first + PICTURES_AT_ONCE])).flatten(1)
            for first in range(0, len(images), PICTURES_AT_ONCE)
        ]
        return torch.cat(codes).cpu() if codes else torch.zeros(0, self.num_tokens, dtype=torch.long)

    @torch.no_grad()
    def decode(self, codes: torch.LongTensor) -> list[Image.Image]:
        """
        Args:
            codes: (N, num_tokens).

        Returns:
            N pictures of PIL, `image_size` wide and high, grey or RGB.

        Raises:
            ValueError: if the shape is another, or a code is outside the codebook.
        """
        codes, grid = as_codes(codes, self.num_codes, self.num_tokens).to(self.device), (self.grid_size,) * 2
        parts = [self.autoencoder.decode(part.unflatten(1, grid)) for part in codes.split(PICTURES_AT_ONCE)]
        return [picture for pixel_values in parts for picture in to_pictures(pixel_values)]

    def to_pixel_values(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Pictures of any size and mode to values (N, C, image_size, image_size) from -1 to 1."""
        return to_values(images, self.config.image_size, self.config.num_channels).to(self.device)


def to_values(images: Sequence[Image.Image], image_size: int, num_channels: int) -> torch.Tensor:
    """
    Pictures of any size and mode to values (N, num_channels, image_size, image_size) from -1 to 1.

    Raises:
        ValueError: if something is no picture of PIL.
    """
    size, mode = (image_size, image_size), MODE_OF_CHANNELS[num_channels]
    values = np.zeros((len(images), *size, num_channels), dtype=np.float32)
    for row, image in zip(values, images):
        if not isinstance(image, Image.Image):
            raise ValueError(f"`images` holds a {type(image).__name__}: expected pictures of PIL.")
        picture = flatten_depth(image, "A picture")
        picture = picture if picture.mode == mode else to_rgb(picture).convert(mode)
        picture = picture if picture.size == size else picture.resize(size, Image.Resampling.BICUBIC)
        row[:] = np.asarray(picture, dtype=np.float32).reshape(row.shape)
    return torch.from_numpy(values / 127.5 - 1).movedim(-1, 1).contiguous()


def to_pictures(pixel_values: torch.Tensor) -> list[Image.Image]:
    """Values (N, C, H, W), about -1 to 1, to pictures, grey or RGB."""
    values = ((pixel_values.float() + 1) * 127.5).round().clamp(0, 255).byte().movedim(1, -1).cpu().numpy()
    return [Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array) for array in values]


# ---------------------------------------------------------------------------------------------------------------------
# Sounds
# ---------------------------------------------------------------------------------------------------------------------


class MoTAudioTokenizerConfig(PreTrainedConfig):
    """
    Args:
        sampling_rate: Hz, at which sounds are read and written.
        num_mel_bins, window_length, hop_length, min_frequency, max_frequency: of the log-mel frames (lengths in
            samples, frequencies in Hz); by default those of transformers' vocoder for SpeechT5.
        dynamic_range: dB below a sound's loudest bin at which hearing ends.
        frames_per_token: how many frames become one token.
        levels, hidden_size, num_hidden_layers: as for pictures.
        level: decimal logarithm of the loudest bin of decoded sounds, as fitting found it in the training data.
        vocoder: config of the `SpeechT5HifiGan` that speaks the frames, as `add_vocoder` sets it; None: Griffin-Lim.
    """

    model_type = "mot_audio_tokenizer"

    def __init__(
        self,
        sampling_rate: int = 16_000,
        num_mel_bins: int = 80,
        window_length: int = 1024,
        hop_length: int = 256,
        min_frequency: float = 80.0,
        max_frequency: float = 7600.0,
        dynamic_range: float = 60.0,
        frames_per_token: int = 2,
        levels: Sequence[int] = (8, 5, 5, 5),
        hidden_size: int = 128,
        num_hidden_layers: int = 2,
        level: float = 0.0,
        vocoder: dict[str, Any] | None = None,
        **kwargs,
    ):
        self.sampling_rate = sampling_rate
        self.num_mel_bins = num_mel_bins
        self.window_length = window_length
        self.hop_length = hop_length
        self.min_frequency = min_frequency
        self.max_frequency = max_frequency
        self.dynamic_range = dynamic_range
        self.frames_per_token = frames_per_token
        self.levels = list(levels)
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.level = level
        self.vocoder = vocoder
        super().__init__(**kwargs)
        check_positive(
            self,
            *("sampling_rate", "num_mel_bins", "window_length", "hop_length", "frames_per_token"),
            *("hidden_size", "num_hidden_layers", "dynamic_range"),
        )
        check_levels(self.levels)


class MoTAudioTokenizer(LoadingMixin, PreTrainedModel):
    """Sounds to `tokens_per_second` codes a second, from 0 to `num_codes` - 1, and codes to sounds."""

    config_class = MoTAudioTokenizerConfig
    main_input_name = "input_features"

    def __init__(self, config: MoTAudioTokenizerConfig):
        super().__init__(config)
        self.autoencoder = MoTAutoencoder(
            1,
            (config.num_mel_bins, config.frames_per_token),
            (1, 3),
            config.levels,
            config.hidden_size,
            config.num_hidden_layers,
        )
        self.spectrogram = MoTSpectrogram(
            config.sampling_rate,
            config.num_mel_bins,
            config.window_length,
            config.hop_length,
            config.min_frequency,
            config.max_frequency,
        )
        self.vocoder = None
        if config.vocoder is not None:  # transformers imports the class where it is looked up
            settings = transformers.SpeechT5HifiGanConfig(**config.vocoder)
            self.vocoder = transformers.SpeechT5HifiGan(settings)
        self.post_init()

    def add_vocoder(self, source: str | os.PathLike | PreTrainedModel, **kwargs) -> None:
        """
        Have a ready vocoder speak in place of Griffin-Lim from now on, also after saving and loading.

        Args:
            source: name or folder of a `SpeechT5HifiGan`, such as "microsoft/speecht5_hifigan", or one.
            kwargs: of `from_pretrained`.

        Raises:
            ValueError: if it speaks other frames than this tokenizer writes.
        """
        vocoder_class = transformers.SpeechT5HifiGan
        vocoder = source if isinstance(source, vocoder_class) else vocoder_class.from_pretrained(source, **kwargs)
        theirs, own = vocoder.config, self.config
        frames = (theirs.sampling_rate, theirs.model_in_dim, math.prod(theirs.upsample_rates))
        expected = (own.sampling_rate, own.num_mel_bins, own.hop_length)
        if frames != expected:
            raise ValueError(
                f"The vocoder speaks frames of (sampling_rate, num_mel_bins, hop_length) {frames}: expected "
                f"{expected}."
            )
        own.vocoder = theirs.to_dict()
        self.vocoder = vocoder.to(self.device).eval()

    @property
    def num_codes(self) -> int:
        return self.autoencoder.quantizer.num_codes

    @property
    def sampling_rate(self) -> int:
        """Of decoded sounds, in Hz."""
        return self.config.sampling_rate

    @property
    def tokens_per_second(self) -> float:
        return self.config.sampling_rate / (self.config.hop_length * self.config.frames_per_token)

    def forward(self, input_features: torch.Tensor) -> torch.Tensor:
        """Frames (N, 1, num_mel_bins, T) from -1 to 1 as they come back from their codes."""
        return self.autoencoder(input_features)

    @torch.no_grad()
    def encode(self, waveforms: Sequence[np.ndarray], sampling_rate: int) -> list[torch.LongTensor]:
        """
        Args:
            waveforms: mono, (samples,) each, about -1 to 1; an empty one has no tokens.
            sampling_rate: Hz of all of them.

        Returns:
            Codes (tokens,) of each, which depend on nothing but its own samples, and not on their level.

        Raises:
            ValueError: if a waveform is no row of finite numbers, or the rate is none.
        """
        codes = []
        for waveform in waveforms:
            frames = self.to_input_features(waveform, sampling_rate)[None].to(self.device)  # (1, 1, mel, T)
            codes.append(
                self.autoencoder.encode(frames).flatten().cpu() if frames.shape[-1] else torch.empty(0).long()
            )
        return codes

    @torch.no_grad()
    def decode(self, codes: Sequence[torch.LongTensor]) -> list[np.ndarray]:
        """
        Args:
            codes: (tokens,) of each sound; of no tokens there is no sample.

        Returns:
            Waveforms (samples,) at `sampling_rate`, float32.

        Raises:
            ValueError: if codes stand in no row, or one is outside the codebook.
        """
        waveforms = []
        for row in codes:
            waveform = self.to_waveform(self.to_frames(as_codes(row, self.num_codes)))
            peak = np.abs(waveform).max(initial=0.0)
            waveforms.append(waveform * np.float32(MOST_LEVEL / max(peak, MOST_LEVEL)))
        return waveforms

    def to_waveform(self, frames: torch.Tensor) -> np.ndarray:
        """Log-mel frames (T, num_mel_bins) to samples (T * hop_length,)."""
        if self.vocoder is None or not len(frames):
            return self.spectrogram.to_waveform(frames).numpy()
        return self.vocoder(frames.to(self.device, self.vocoder.dtype)).float().cpu().numpy()

    def to_input_features(self, waveform: np.ndarray, sampling_rate: int) -> torch.Tensor:
        """A waveform to frames (1, num_mel_bins, T) from -1 (not heard) to 1 (its loudest bin), T for whole tokens."""
        frames, loudest = self.to_log_mel(waveform, sampling_rate)
        reach = self.config.dynamic_range * BELS_OF_DECIBELS / 2
        relative = ((frames - loudest + reach) / reach).clamp(min=-1)
        missing = -len(frames) % self.config.frames_per_token
        return nn.functional.pad(relative.T, (0, missing), value=-1.0)[None]

    def to_log_mel(self, waveform: np.ndarray, sampling_rate: int) -> tuple[torch.Tensor, float]:
        """Frames (T, mel) at the tokenizer's rate, and the loudest bin; in digital silence nothing is loud."""
        samples = to_samples(waveform, sampling_rate, self.sampling_rate)
        frames = self.spectrogram.to_frames(torch.from_numpy(samples))
        return frames, max(frames.max().item(), QUIETEST) if len(frames) else QUIETEST

    def to_frames(self, codes: torch.LongTensor) -> torch.Tensor:
        """Codes (tokens,) to log-mel frames (T, num_mel_bins)."""
        if not len(codes):
            return torch.zeros(0, self.config.num_mel_bins)
        return self.from_input_features(self.autoencoder.decode(codes.to(self.device)[None, None])[0])

    def from_input_features(self, input_features: torch.Tensor) -> torch.Tensor:
        """Frames (1, num_mel_bins, T) from -1 to 1 to log-mel frames (T, num_mel_bins), as loud as training was."""
        reach = self.config.dynamic_range * BELS_OF_DECIBELS / 2
        return (input_features[0].T.float().cpu().clamp(-1, 1) - 1) * reach + self.config.level


# ---------------------------------------------------------------------------------------------------------------------
# Checks
# ---------------------------------------------------------------------------------------------------------------------


def as_codes(codes: torch.Tensor, num_codes: int, num_tokens: int | None = None) -> torch.LongTensor:
    """
    Args:
        codes: (tokens,), or (N, num_tokens) where there is such a number.

    Raises:
        ValueError: if `codes` has another shape, or holds anything but whole numbers from 0 to `num_codes` - 1.
    """
    codes = torch.as_tensor(codes)
    if codes.ndim != (1 if num_tokens is None else 2) or num_tokens not in (None, codes.shape[-1]):
        expected = "(tokens,)" if num_tokens is None else f"(pictures, {num_tokens})"
        raise ValueError(f"`codes` has shape {tuple(codes.shape)}: expected {expected}.")
    if codes.numel() and (codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool):
        raise ValueError(f"`codes` has type {codes.dtype}: expected whole numbers.")
    if codes.numel() and not 0 <= codes.min() <= codes.max() < num_codes:
        raise ValueError(
            f"`codes` has values from {codes.min()} to {codes.max()}: expected 0 to {num_codes - 1}. From the token "
            "ids of a model the start of the modality's range is to be subtracted first."
        )
    return codes.long()


def to_samples(waveform: np.ndarray, sampling_rate: int, target_rate: int) -> np.ndarray:
    """
    A waveform (samples,) at another rate, float32.

    Raises:
        ValueError: if it is no row of finite numbers, or the rate is none.
    """
    samples = np.array(waveform, dtype=np.float32)
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise ValueError(
            f"`waveforms` holds an array of shape {samples.shape}: expected rows of finite numbers (samples,)."
        )
    if not sampling_rate > 0:
        raise ValueError(f"`sampling_rate` is {sampling_rate!r:.100}: expected Hz above 0.")
    return np.array(resample(samples, sampling_rate, target_rate)) if len(samples) else samples


def check_positive(config: PreTrainedConfig, *names: str) -> None:
    """Raise a ValueError for a number that is not above 0, or far above any tokenizer that was built."""
    for name in names:
        value, most = getattr(config, name), MOST[name]
        if not isinstance(value, (int, float)) or not 0 < value <= most:
            raise ValueError(f"`{name}` is {value!r:.100}: expected a number above 0 and at most {most}.")


def check_levels(levels: Sequence[int]) -> None:
    if not levels or not all(isinstance(level, int) and level >= 2 for level in levels):
        raise ValueError(f"`levels` is {levels!r:.100}: expected whole numbers of 2 or more, such as [8, 6, 5].")


__all__ = ["MoTAudioTokenizer", "MoTAudioTokenizerConfig", "MoTImageTokenizer", "MoTImageTokenizerConfig"]
