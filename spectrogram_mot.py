# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Waveforms to log-mel frames and back: what a tokenizer of sounds reads, and what it writes.

The frames are those that transformers' speech synthesis speaks (`SpeechT5FeatureExtractor`: decimal logarithms of
magnitudes in 80 bands of mel), so that a vocoder made for them fits. Without one, phases are found by the fast
Griffin-Lim algorithm: every word can be understood, but it sounds as through a pipe.
"""

import functools

import numpy as np
import torch
from transformers.audio_utils import mel_filter_bank, window_function

MEL_FLOOR = 1e-10  # of a magnitude, before its logarithm
MAGNITUDE_STEPS = 30  # of multiplicative updates from mel bands to the bins of the spectrum
GRIFFIN_LIM_STEPS = 48
GRIFFIN_LIM_MOMENTUM = 0.99  # Perraudin, Balazs and Sondergaard, "A fast Griffin-Lim algorithm", 2013


class MoTSpectrogram:
    """
    Log-mel frames of mono waveforms, one for every `hop_length` samples that have begun.

    Args:
        sampling_rate: Hz.
        num_mel_bins: bands from `min_frequency` to `max_frequency`, in Hz.
        window_length, hop_length: in samples.
    """

    def __init__(
        self,
        sampling_rate: int,
        num_mel_bins: int,
        window_length: int,
        hop_length: int,
        min_frequency: float,
        max_frequency: float,
    ):
        self.window_length, self.hop_length = window_length, hop_length
        self.window = torch.from_numpy(window_function(window_length, "hann").astype(np.float32))
        self.filters = mel_filters(window_length // 2 + 1, num_mel_bins, min_frequency, max_frequency, sampling_rate)

    def to_frames(self, waveform: torch.Tensor) -> torch.Tensor:
        """(samples,) to (ceil(samples / hop_length), num_mel_bins); frame t is centred on sample t * hop_length."""
        if not len(waveform):
            return torch.zeros(0, self.filters.shape[1])
        frames = self._stft(waveform).abs().T[: -(-len(waveform) // self.hop_length)]  # (T, bins)
        return (frames @ self.filters).clamp(min=MEL_FLOOR).log10()

    def to_waveform(self, frames: torch.Tensor) -> torch.Tensor:
        """(T, num_mel_bins) to (T * hop_length,), by Griffin-Lim: the same frames give the same samples."""
        if not len(frames):
            return torch.zeros(0)
        magnitudes = self._magnitudes(10**frames).T  # (bins, T)
        magnitudes = torch.nn.functional.pad(magnitudes, (0, 1))  # the frame that is centred on the end
        angles = torch.rand(magnitudes.shape, generator=torch.Generator().manual_seed(0)) * 2 * torch.pi
        spectrum, before = torch.polar(magnitudes, angles), torch.zeros(())
        for _ in range(GRIFFIN_LIM_STEPS):
            consistent = self._stft(self._istft(spectrum))
            ahead = consistent + GRIFFIN_LIM_MOMENTUM * (consistent - before)
            spectrum, before = torch.polar(magnitudes, ahead.angle()), consistent
        return self._istft(spectrum)

    def _magnitudes(self, mel: torch.Tensor) -> torch.Tensor:
        """Bands (T, mel) to the bins (T, bins) without negative values whose bands they are, by least squares.

        The updates are those of Lee and Seung, "Algorithms for non-negative matrix factorization", 2000.
        """
        bins = mel @ self.filters.T
        goal = mel @ self.filters.T
        gram = self.filters @ self.filters.T  # (bins, bins)
        for _ in range(MAGNITUDE_STEPS):
            bins = bins * goal / (bins @ gram).clamp(min=MEL_FLOOR)
        return bins

    def _stft(self, waveform: torch.Tensor) -> torch.Tensor:
        return torch.stft(
            waveform,
            self.window_length,
            self.hop_length,
            window=self.window,
            pad_mode="constant",
            return_complex=True,
        )

    def _istft(self, spectrum: torch.Tensor) -> torch.Tensor:
        length = (spectrum.shape[1] - 1) * self.hop_length
        return torch.istft(spectrum, self.window_length, self.hop_length, window=self.window, length=length)


@functools.lru_cache(maxsize=4)
def mel_filters(bins: int, num_mel_bins: int, low: float, high: float, sampling_rate: int) -> torch.Tensor:
    """(bins, num_mel_bins), of equal area."""
    filters = mel_filter_bank(bins, num_mel_bins, low, high, sampling_rate, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(filters.astype(np.float32))


__all__ = ["MoTSpectrogram"]
