# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From a waveform to log-mel frames with exact lengths: transformers' `Gemma4AudioFeatureExtractor`, several times as
fast, called so that a clip's frames depend on nothing but the clip, and usable in pipelines, which pass one clip at a
time.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from transformers import Gemma4AudioFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature

FRAMES_AT_ONCE = 256  # whose windows and spectra, half a megabyte each, stay in the processor's cache
MELS_AT_ONCE = 16


class MoTFeatureExtractor(Gemma4AudioFeatureExtractor):
    """
    Log-mel frames (B, T, feature_size), frames first, with `input_features_mask` (B, T).

    Args:
        feature_size: mel bins.
        sampling_rate: Hz.
        mel_floor: what is added before the logarithm. It is low, so that a quiet recording differs from a loud one by
            a constant, which mean normalisation takes away.
    """

    def __init__(self, feature_size: int = 80, sampling_rate: int = 16_000, mel_floor: float = 1e-5, **kwargs):
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, mel_floor=mel_floor, **kwargs)
        self._bands = list(mel_bands(self.mel_filters))

    def to_dict(self) -> dict[str, Any]:
        return {
            name: value for name, value in super().to_dict().items() if name != "_bands"
        }  # they follow from the rest

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
            ValueError: if the waveforms have another sampling rate.
        """
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise ValueError(
                f"`raw_speech` has a `sampling_rate` of {sampling_rate} Hz, expected {self.sampling_rate} Hz: "
                "resample it first, or use `MoTProcessor`, which does."
            )
        is_batch = isinstance(raw_speech, (list, tuple)) and np.ndim(raw_speech[0]) > 0
        waveforms = raw_speech if is_batch or np.ndim(raw_speech) == 2 else [raw_speech]
        waveforms = [np.asarray(waveform) for waveform in waveforms]
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

    @property
    def _is_plain(self) -> bool:
        """Whether frames are nothing but windowed, as by default; the library has settings that do more."""
        changes_samples = (
            self.dither or self.preemphasis or self.input_scale_factor != 1 or self.padding_side == "left"
        )
        return not changes_samples and self.per_bin_mean is None and self.per_bin_stddev is None

    def _extract(self, waveforms: list[np.ndarray], return_tensors: str | None) -> BatchFeature:
        """Each clip's frames (those whose window and the sample after it lie within it), computed for all at once."""
        before = self.frame_length // 2  # silence: the first frame is centred on the first sample
        lengths = [before + len(waveform) for waveform in waveforms]
        counts = [max(0, (length - self.frame_length - 1) // self.hop_length + 1) for length in lengths]
        starts = np.cumsum([0] + [math.ceil(length / self.hop_length) for length in lengths])  # in frames
        samples = np.zeros(starts[-1] * self.hop_length + self.frame_length, dtype=np.float32)
        for waveform, start in zip(waveforms, starts * self.hop_length + before):
            samples[start : start + len(waveform)] = waveform
        frames = self._log_mel(samples)  # with a few between the clips that belong to none

        features = torch.zeros(len(waveforms), max(counts), self.feature_size)  # (B, T, mel)
        mask = torch.zeros(features.shape[:2], dtype=torch.bool)
        for row, (start, count) in enumerate(zip(starts, counts)):
            features[row, :count] = frames[start : start + count]
            mask[row, :count] = True
        outputs = {"input_features": features, "input_features_mask": mask}
        if return_tensors is None:  # lists of arrays, as from the library
            outputs = {name: list(values.numpy()) for name, values in outputs.items()}
        return BatchFeature(outputs, tensor_type=return_tensors)

    def _log_mel(self, samples: np.ndarray) -> torch.Tensor:
        """Samples (N,) to one frame for each window that lies within them, (T, mel).

        The spectrum is numpy's: in float32 it errs less than torch's on a CPU, by a factor of four and more, and it is
        the library's own, whose logarithms of quiet bins would else differ in the third digit.
        """
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.frame_length)[:: self.hop_length]
        mel = torch.zeros(len(windows), self.feature_size)
        # Buffers that are used again: fresh memory costs more than the transform.
        frames = np.zeros((min(len(windows), FRAMES_AT_ONCE), self.fft_length), dtype=np.float32)
        spectrum = np.empty((len(frames), len(self.mel_filters)), dtype=np.complex64)
        for start in range(0, len(windows), FRAMES_AT_ONCE):
            part = windows[start : start + FRAMES_AT_ONCE]
            size = len(part)
            np.multiply(part, self.window, out=frames[:size, : self.frame_length])
            magnitudes = torch.from_numpy(np.abs(np.fft.rfft(frames[:size], out=spectrum[:size])))
            for bins, mels, weights in self._bands:
                torch.mm(magnitudes[:, bins], weights, out=mel[start : start + size, mels])
        return mel.add_(float(self.mel_floor)).log_()


def mel_bands(filters: np.ndarray) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """Filters (bins, mel) some at a time, each time with all of the spectrum that they see, which is little of it."""
    for first in range(0, filters.shape[1], MELS_AT_ONCE):
        mels = slice(first, first + MELS_AT_ONCE)
        seen = np.flatnonzero(filters[:, mels].any(axis=1))
        if len(seen):
            bins = slice(seen[0], seen[-1] + 1)
            yield bins, mels, torch.from_numpy(filters[bins, mels]).float()


__all__ = ["MoTFeatureExtractor"]
