# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From a waveform to log-mel frames with exact lengths: transformers' `Gemma4AudioFeatureExtractor`, called so that a
clip's frames depend on nothing but the clip, and usable in pipelines, which pass one clip at a time.
"""

import numpy as np
from transformers import Gemma4AudioFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature


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

    def __call__(
        self,
        raw_speech,
        sampling_rate: int | None = None,
        padding: bool | str = "longest",
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        **kwargs,
    ) -> BatchFeature:
        """
        Args:
            raw_speech: one waveform (samples,), or a list of them, mono, about -1 to 1.
            sampling_rate: Hz of the waveforms, checked against the extractor's.

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
        return super().__call__(
            [np.asarray(waveform) for waveform in waveforms],
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            **kwargs,
        )


__all__ = ["MoTFeatureExtractor"]
