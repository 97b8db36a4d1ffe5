# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`MoTFeatureExtractor`: a waveform becomes log-mel frames with exact lengths.

It is transformers' `Gemma4AudioFeatureExtractor`, several times as fast, called so that a clip's frames depend on
nothing but the clip, and usable in pipelines, which pass one clip at a time. Frames are relative to the clip's loudest
bin, so that a model hears no difference between levels of a recording, nor between its silence and digital silence.
"""

import math
import numbers
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Gemma4AudioFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature

FRAMES_AT_ONCE = 256  # whose windows and spectra, half a megabyte each, stay in the processor's cache
MELS_AT_ONCE = 16
LEAST_FLOOR = 1e-30  # the least `mel_floor`
MOST_SETTING = 1e6  # the most of `mel_floor` and of the settings that samples are multiplied by
DECIBELS_PER_NEPER = 20 / math.log(10)


class MoTFeatureExtractor(Gemma4AudioFeatureExtractor):
    """
    Log-mel frames (B, T, feature_size), frames first, with `input_features_mask` (B, T).

    Args:
        feature_size: mel bins.
        sampling_rate: Hz.
        mel_floor: what is added to a bin's magnitude before the logarithm. Only digital silence is near it.
        dynamic_range: dB below a clip's loudest bin at which hearing ends. What is quieter becomes 0, as digital
            silence does, and the loudest bin is `dynamic_range` in nepers (1 neper = 8.7 dB), whatever the level of
            the recording. None: logarithms of magnitudes as in the library, which is what folders mean that were saved
            before this setting.

    Raises:
        ValueError: if a setting is no number that means something, `dynamic_range` is not above 0, or stands beside
            statistics of absolute magnitudes.
    """

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = 16_000,
        mel_floor: float = 1e-8,
        dynamic_range: float | None = 50.0,
        **kwargs,
    ):
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, mel_floor=mel_floor, **kwargs)
        if dynamic_range is not None and not (
            isinstance(dynamic_range, numbers.Real) and 0 < dynamic_range < math.inf
        ):
            raise ValueError(f"`dynamic_range` is {dynamic_range}: expected dB above 0, or None for absolute levels.")
        if dynamic_range is not None and (self.per_bin_mean is not None or self.per_bin_stddev is not None):
            raise ValueError(
                "`per_bin_mean` and `per_bin_stddev` are of absolute levels: pass `dynamic_range=None` with them."
            )
        for name in ("padding_value", "dither", "preemphasis", "input_scale_factor"):
            check_number(name, getattr(self, name), 0)
        check_number("mel_floor", mel_floor, LEAST_FLOOR)
        self.dynamic_range = dynamic_range
        self._bands = list(mel_bands(self.mel_filters))

    @classmethod
    def from_dict(cls, feature_extractor_dict: dict[str, Any], **kwargs):
        return super().from_dict({"dynamic_range": None} | feature_extractor_dict, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        values = super().to_dict()
        return {name: value for name, value in values.items() if name != "_bands"}  # they follow from the rest

    def __call__(
        self,
        raw_speech,
        sampling_rate: int | None = None,
        padding: bool | str = "longest",
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """
        Args:
            raw_speech: one waveform (samples,), or a list of them, mono, about -1 to 1.
            sampling_rate: Hz of the waveforms, checked against the extractor's.
            padding, max_length, truncation, pad_to_multiple_of: as in the library, in samples. By default clips are
                padded to the longest, and the frames of each are those of its own samples.

        Raises:
            ValueError: if there are no waveforms, they have another sampling rate, or one is empty or no row of finite
                numbers.
        """
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise ValueError(
                f"`raw_speech` has a `sampling_rate` of {sampling_rate} Hz, expected {self.sampling_rate} Hz: "
                "resample it first, or use `MoTProcessor`, which does."
            )
        waveforms = as_waveforms(raw_speech)
        if self._is_plain and padding in (True, "longest") and not truncation and not pad_to_multiple_of:
            return self._extract(waveforms, return_tensors)
        return super().__call__(
            waveforms,
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            return_tensors=return_tensors,
            **kwargs,
        )

    def fetch_audio(self, audio, sampling_rate: int | None = None):
        """Sound as it is: pipelines have files read before they call a processor, and those here read them."""
        return audio

    @property
    def silence_value(self) -> float | None:
        """A bin of digital silence, which augmentation adds; None where it is not the same in every clip."""
        return None if self.dynamic_range is None else -self.dynamic_range / DECIBELS_PER_NEPER / 2

    @property
    def _is_plain(self) -> bool:
        """Whether frames are nothing but windowed, as by default; the library has settings that do more."""
        changes_samples = (
            self.dither or self.preemphasis or self.input_scale_factor != 1 or self.padding_side == "left"
        )
        return not changes_samples and self.per_bin_mean is None and self.per_bin_stddev is None

    def _extract(self, waveforms: list[np.ndarray], return_tensors: str | None) -> BatchFeature:
        """
        Each clip's frames, those whose window and the sample after it lie within it. They are the same to the last bit
        whatever other clips there are: rows are encoded alone in one run, and together in another.
        """
        before = self.frame_length // 2  # silence: the first frame is centred on the first sample
        # Buffers that are used again: fresh memory costs more than the transform.
        frames = np.zeros((FRAMES_AT_ONCE, self.fft_length), dtype=np.float32)
        spectrum = np.empty((FRAMES_AT_ONCE, len(self.mel_filters)), dtype=np.complex64)
        clips = []
        for waveform in waveforms:
            length = before + len(waveform)
            samples = np.zeros(-(-length // self.hop_length) * self.hop_length + self.frame_length, dtype=np.float32)
            samples[before:length] = waveform
            count = max(0, (length - self.frame_length - 1) // self.hop_length + 1)
            clips.append(self._relative(self._log_mel(samples, frames, spectrum)[:count]))
        features = pad_sequence(clips, batch_first=True)  # (B, T, mel)
        mask = torch.arange(features.shape[1])[None] < torch.tensor([len(clip) for clip in clips])[:, None]
        outputs = {"input_features": features, "input_features_mask": mask}
        if return_tensors is None:  # lists of arrays, as from the library
            outputs = {name: list(values.numpy()) for name, values in outputs.items()}
        return BatchFeature(outputs, tensor_type=return_tensors)

    def _extract_spectrogram(self, waveform: np.ndarray, attention_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The library's way, for what is not plain: frames (T, mel) of one padded clip, and which of them are real."""
        frames, mask = super()._extract_spectrogram(waveform, attention_mask)
        real = torch.from_numpy(frames[mask]).float()
        frames[mask] = self._relative(real).numpy()
        return frames, mask

    def _relative(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Frames (T, mel) of one clip above the lowest that is heard in it."""
        if self.dynamic_range is None or not log_mel.numel():
            return log_mel
        reach = self.dynamic_range / DECIBELS_PER_NEPER / 2
        # In a clip of digital silence alone the loudest bin is the floor itself: nothing within its double is heard.
        middle = (log_mel.max() - reach).clamp(min=math.log(2 * self.mel_floor) + reach)
        return (log_mel - middle).clamp(min=-reach)

    def _log_mel(self, samples: np.ndarray, frames: np.ndarray, spectrum: np.ndarray) -> torch.Tensor:
        """
        Samples (N,) to one frame for each window that lies within them, (T, mel). `frames` and `spectrum` are buffers
        for FRAMES_AT_ONCE of them.

        The spectrum is numpy's: in float32 it errs less than torch's on a CPU, by a factor of four and more, and it is
        the library's own, whose logarithms of quiet bins would else differ in the third digit.
        """
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.frame_length)[:: self.hop_length]
        mel = torch.zeros(len(windows), self.feature_size)
        for start in range(0, len(windows), FRAMES_AT_ONCE):
            part = windows[start : start + FRAMES_AT_ONCE]
            size = len(part)
            np.multiply(part, self.window, out=frames[:size, : self.frame_length])
            magnitudes = torch.from_numpy(np.abs(np.fft.rfft(frames[:size], out=spectrum[:size])))
            for bins, mels, weights in self._bands:
                torch.mm(magnitudes[:, bins], weights, out=mel[start : start + size, mels])
        return mel.add_(float(self.mel_floor)).log_()


def check_number(name: str, value: Any, least: float) -> None:
    """Raise a ValueError for a setting with which no float32 comes out; of those below 0 the size counts."""
    if not (isinstance(value, numbers.Real) and least <= abs(value) <= MOST_SETTING):  # NaN is neither
        raise ValueError(f"`{name}` is {value!r:.100}: expected a number of {least} to {MOST_SETTING:.0f}.")


def as_waveforms(raw_speech) -> list[np.ndarray]:
    """One waveform or several as a list of arrays (samples,)."""
    is_batch = isinstance(raw_speech, (list, tuple)) and len(raw_speech) > 0 and np.ndim(raw_speech[0]) > 0
    rows = (
        raw_speech
        if is_batch or (isinstance(raw_speech, (np.ndarray, torch.Tensor)) and raw_speech.ndim == 2)
        else [raw_speech]
    )
    waveforms = []
    for row in rows:
        has_values = not isinstance(row, torch.Tensor) or not (row.is_meta or row.layout != torch.strided)
        waveform = np.asarray(row) if has_values else np.asarray(None)
        is_row = waveform.ndim == 1 and waveform.size > 0 and waveform.dtype.kind in "iuf"
        if not is_row or not np.isfinite(waveform).all():
            raise ValueError(
                f"`raw_speech` holds a {type(row).__name__} of shape {waveform.shape} and type {waveform.dtype}: "
                "expected waveforms, each a row of finite numbers (samples,)."
            )
        waveforms.append(waveform)
    if not waveforms:
        raise ValueError("`raw_speech` holds no waveform: expected at least one.")
    return waveforms


def mel_bands(filters: np.ndarray) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Filters (bins, mel) some at a time, each time with all of the spectrum that they see, which is little of it."""
    for first in range(0, filters.shape[1], MELS_AT_ONCE):
        mels = slice(first, first + MELS_AT_ONCE)
        seen = np.flatnonzero(filters[:, mels].any(axis=1))
        if len(seen):
            bins = slice(seen[0], seen[-1] + 1)
            yield bins, mels, torch.from_numpy(filters[bins, mels]).float()


__all__ = ["MoTFeatureExtractor"]
