# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Audio: log-mel frames (B, T, num_mel_bins), a few of which become a token.

Shapes: B rows, T frames, N tokens, d width.
"""

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig
from transformers.feature_extraction_utils import BatchFeature

from .cells_mot import Cell, ProcessorCall, RowReading, present_rows, spread
from .decoding_audio_mot import is_number_list, is_rate_and_samples, load_audio
from .decoding_container_mot import has_sound
from .feature_extraction_mot import MoTFeatureExtractor
from .fronts_mot import hear, mel_bins, stand_in_length
from .modality_mot import LengthOption, Modality, MoTModalityConfig
from .positions_mot import as_mask, blank, count_before, real_first, take
from .stem_mot import MoTStemEmbeddings

SECONDS_PER_FRAME = 0.01  # the step of mel frames that come without times
WINDOW_ATTRIBUTES = ("frame_length", "win_length", "n_fft")  # what mel extractors call their window, in samples
# Flat `padding=`, `max_length=`, ... are about tokens; read as samples they would silently cut a sound short.
TOKEN_LENGTH_OPTIONS = ("padding", "max_length", "truncation", "pad_to_multiple_of")
SILENCE_MARGIN = 0.05  # nepers above silence that half precision may round it to
# Of augmentation: how far the least noise lies below the loudest bin, and how far the steepest falls over the bins, in
# nepers; the most of the bins that is lost, from the lowest and from the highest.
LEAST_NOISE, STEEPEST_NOISE, LOST_BAND = 5.0, 2.0, (0.2, 0.4)


@strict
class MoTAudioConfig(MoTModalityConfig):
    r"""
    Audio: log-mel frames, or ready features. Beyond [`MoTModalityConfig`]:

    Args:
        num_mel_bins (`int`, *optional*, defaults to 80): Mel bins of a frame.
        max_frames (`int`, *optional*, defaults to 3000): The longest clip in frames (30 s at 100 frames a second).
        stem (`str`, *optional*, defaults to `"conv"`):
            How frames become tokens: `"conv"`, two convolutions as in Whisper (arXiv 2212.04356), or `"linear"`, one
            projection of `stem_stride` frames.
        stem_stride (`int`, *optional*, defaults to 2): Frames for one token.
        position_embedding_type (`str`, *optional*, defaults to `"sinusoidal"`): `"sinusoidal"` or `"learned"`.
        mask_span (`int`, *optional*, defaults to 20): Frames that pretraining hides in a row.
        mean_normalization (`bool`, *optional*, defaults to `False`):
            Subtract each bin's mean over the clip's real frames (cepstral mean normalisation), which takes away the
            colour of a microphone and much of a speaker's.
        silence_value (`float`, *optional*):
            What every bin of a frame of digital silence is (`MoTFeatureExtractor.silence_value`). Such frames do not
            count in the mean, which else would depend on how much silence there is. None: all frames count.
    """

    model_type = "mot_audio"
    base_config_key = "audio_config"

    num_mel_bins: int = 80
    max_frames: int = 3000
    mask_ratio: float | int = 0.5
    mask_span: int = 20
    stem: Literal["conv", "linear"] = "conv"
    stem_stride: int = 2
    mean_normalization: bool = False
    silence_value: float | None = None
    position_embedding_type: Literal["sinusoidal", "learned"] = "sinusoidal"

    def validate_audio(self):
        if self.silence_value is not None and not math.isfinite(self.silence_value):
            raise ValueError(f"`silence_value` is a finite number or None, got {self.silence_value}.")


class AudioModality(Modality):
    """Sound, as log-mel frames."""

    kind, noun = "audio", "audio clip"
    cells = (
        Cell(
            name="audio",
            argument="audio",
            medium="audio",
            columns=("audio", "audio_features", "wav", "flac", "mp3", "ogg", "opus", "m4a"),
            synonyms=("audios", "sound", "sounds"),
            example="sound.wav",
            takes_samples=True,
            suffixes=("m4a", "aac", "wma", "aif"),
            track_of="video",
        ),
    )
    config_class = MoTAudioConfig
    length_field = "max_frames"
    reconstruction_loss = "l1"
    length_option = LengthOption("max_audio_seconds", default=30.0, in_seconds=True)
    drawing = "spectrogram"
    sources, part_of_pair = "Whisper", "audio_config"
    option_groups, call_options = ("audio_kwargs",), ("max_audio_seconds",)
    settings = ("sampling_rate", "num_mel_bins", "min_frequency", "max_frequency", "dynamic_range")

    def embeddings(self, config: MoTAudioConfig) -> "MoTAudioEmbeddings":
        return MoTAudioEmbeddings(config, self)

    def describe(self, config: MoTAudioConfig) -> str:
        return f"sound of {self.describe_limit(config)}, as {config.num_mel_bins} log-mel bins"

    def describe_limit(self, config: MoTAudioConfig) -> str:
        return f"up to {config.max_frames * SECONDS_PER_FRAME:g} seconds"

    def augment(
        self, row: dict[str, torch.Tensor], change: Callable[..., torch.Tensor], random: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Another tempo gives other frames over the same seconds, so that what happened together stays together."""
        row = super().augment(row, change, random)
        if (times := row.get(self.names.times)) is not None:
            length = len(row[self.names.raw])
            row[self.names.times] = F.interpolate(times[None, None], size=length, mode="linear")[0, 0]
        return row

    def is_one(self, cell: Cell, value: Any) -> bool:
        """(Hz, array) is one sound."""
        return is_rate_and_samples(value)

    def split(self, cell: Cell, values: list) -> list:
        """A list of numbers is one sound."""
        return [np.asarray(values)] if is_number_list(values) else values

    def segments_of(self, cell: Cell, value: Any) -> list:
        """A list of numbers is one sound here too, and what else holds a number is meant as one."""
        has_number = isinstance(value, (list, tuple)) and any(isinstance(part, numbers.Real) for part in value[:2])
        return [value] if has_number else super().segments_of(cell, value)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        build_extractor(settings)

    def config_fields(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {name: settings[name] for name in ("num_mel_bins",) if name in settings}

    def extractor_in(self, processor):
        """The one that all sounds share, or one with the settings of this modality."""
        settings = self.settings_in(processor)
        return build_extractor(settings) if settings else processor.feature_extractor

    def collect(self, rows: dict[str, list], call: ProcessorCall) -> dict[str, torch.Tensor]:
        """Sounds to mel frames (B, T, mel), their mask (B, T) and, if asked for, the times (B, T)."""
        ((name, cells),) = rows.items()
        seconds, extractor, indices = call.max_audio_seconds, self.extractor_in(call.processor), present_rows(cells)
        if seconds is not None and not (isinstance(seconds, numbers.Real) and 0 < seconds < math.inf):
            raise ValueError(f"`max_audio_seconds` is {seconds!r}: expected seconds, a number above 0, or None.")
        options = audio_options(call.options["audio_kwargs"], call.given.get("audio_kwargs", {}))
        access = {"allow_urls": call.allow_urls, "limits": call.processor.limits}
        clips, starts = load_sounds(cells, name, extractor, options.pop("sampling_rate", None), seconds, access)
        options |= {"sampling_rate": extractor.sampling_rate, "return_attention_mask": True, "return_tensors": "pt"}
        features, mask = frames_first(extractor, extractor(list(clips), **options), options)
        if seconds is not None:
            most = max(1, round(seconds * frames_per_second(extractor)))
            features, mask = features[:, :most], mask[:, :most]
        for i, row_mask in zip(indices, mask):
            if not row_mask.any():
                raise ValueError(f"{name}[{i}] gives no frames: it is shorter than the extractor's analysis window.")
        features = features * mask[..., None]  # padding is zero whatever the extractor leaves there
        outputs = {self.names.raw: features, self.names.mask: mask}
        if call.processor.return_times:
            outputs[self.names.times] = frame_times(extractor, mask, starts)
        return {name: spread(values, indices, len(cells)) for name, values in outputs.items()}

    def decode(self, row: Mapping[str, Any], reading: RowReading) -> dict[str, Any]:
        """The row's sound, or that of its video where it has no other."""
        (cell,), video = self.cells, row.get(self.cells[0].track_of)
        is_wanted = cell.name not in row and self.name in reading.modalities and may_have_sound(video)
        if is_wanted and has_sound(video, f"{reading.name}{cell.track_of}", **reading.access):
            row = {cell.name: video}
        return super().decode(row, reading)

    def decode_cell(self, cell: Cell, value: Any, reading: RowReading) -> dict[str, Any]:
        rate, name = self.extractor_in(reading.processor).sampling_rate, f"{reading.name}{cell.name}"
        samples, _ = load_audio(value, name, rate, reading.sampling_rate, reading.max_seconds, **reading.access)
        return {"array": samples, "sampling_rate": rate}

    def cut_options(self, config: MoTAudioConfig, processor: Any) -> dict[str, Any]:
        return {"max_audio_seconds": config.max_frames / frames_per_second(self.extractor_in(processor))}

    def cut(self, config: MoTAudioConfig, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Frames (B, T, ...), their mask and their times; of segments each was cut as it was read."""
        if self.names.segments in batch:
            return {}
        own = (self.names.raw, self.names.mask, self.names.times)
        return {name: batch[name][:, : config.max_frames] for name in own if name in batch}

    def target_size(self, config: MoTAudioConfig) -> int:
        return config.num_mel_bins * config.stem_stride

    def mask_span(self, config: MoTAudioConfig) -> int:
        return max(1, config.mask_span // config.stem_stride)

    def mask_span_of_features(self, config: MoTAudioConfig) -> int:
        return config.mask_span

    def augmentation(self, config: MoTAudioConfig, processor) -> "AudioAugmentation | None":
        """None for a model in front, which may hear waveforms."""
        if config.backbone_config is not None:
            return None
        silence_value = getattr(self.extractor_in(processor), "silence_value", None)
        return AudioAugmentation(silence_value=silence_value, max_frames=config.max_frames)

    def is_moving(self, inputs: dict[str, torch.Tensor]) -> bool:
        return self.names.raw in inputs

    def token_times(
        self, config: MoTAudioConfig, inputs: dict[str, torch.Tensor], row: int, number: int
    ) -> tuple[torch.Tensor, str]:
        """A token has the time of its first frame; frames that come without times follow each other, since padding
        takes no time."""
        frames = self.real_places(inputs, row, inputs[self.names.raw].shape[1])
        times, unit = self.times_of_places(inputs, row, frames, "frame")
        if unit != "s":
            times = torch.arange(len(frames)) * SECONDS_PER_FRAME
        return times[:: config.stem_stride], "s"

    def run_backbone(
        self, backbone: nn.Module, config: MoTAudioConfig, frames: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Frames (B, T, num_mel_bins) go through as they are, and waveforms (B, S, 1) as the `input_values` (B, S) that
        other models read.
        """
        bins = mel_bins(config.backbone_config)
        if frames.ndim != 3 or frames.shape[-1] != bins:
            raise ValueError(
                f"`{self.names.raw}` has shape {tuple(frames.shape)}, expected (batch, frames, {bins}) for the "
                f"model in front ({config.backbone_config.model_type})"
                + (", which reads samples." if bins == 1 else ", frames before mel bins.")
            )
        mask = as_mask(mask, tuple(frames.shape[:2]), self.names.mask)
        return hear(backbone, blank(frames, mask), mask)

    def fields_of_front(self, front: PreTrainedConfig) -> dict[str, Any]:
        return {"num_mel_bins": mel_bins(front)}

    def raw_stand_in(self, config: MoTAudioConfig, device: torch.device) -> torch.Tensor:
        if config.backbone_config is None:
            return torch.zeros(1, 1, config.num_mel_bins, device=device)
        front = config.backbone_config
        return torch.zeros(1, stand_in_length(front), mel_bins(front), device=device)


def build_extractor(settings: Mapping[str, Any]) -> MoTFeatureExtractor:
    """The extractor of sounds with these settings; what they leave out is as in `MoTFeatureExtractor`."""
    settings = {"feature_size" if name == "num_mel_bins" else name: value for name, value in settings.items()}
    for name in ("sampling_rate", "feature_size"):
        if name in settings and not (type(settings[name]) is int and settings[name] >= 1):
            raise ValueError(f"`{name}` is {settings[name]!r:.100}, expected a whole number of at least 1.")
    highest = settings.get("sampling_rate", 16_000) / 2  # the Nyquist frequency
    return MoTFeatureExtractor(**{"max_frequency": min(8000.0, highest), **settings})


def may_have_sound(video: Any) -> bool:
    """Whether frames and sound may come in one: not an array or a list of frames."""
    return video is not None and not isinstance(video, (list, tuple, np.ndarray, torch.Tensor))


def audio_options(flat: dict, own: dict) -> dict:
    """Options of an extractor: flat ones that are not about tokens, exact lengths, and over both those for audio."""
    flat = {name: value for name, value in flat.items() if name not in TOKEN_LENGTH_OPTIONS}
    exact = {"padding": "longest", "pad_to_multiple_of": None, "truncation": False}
    return {**flat, **exact, **own}


def load_sounds(
    cells: list, name: str, extractor, default_rate: int | None, max_seconds: float | None, access: dict
) -> tuple[Sequence[np.ndarray], Sequence[float]]:
    """The samples (N_i,) of each row that has sound, at the extractor's rate, and the seconds at which they start."""
    rate, indices = extractor.sampling_rate, present_rows(cells)
    window = next((getattr(extractor, name) for name in WINDOW_ATTRIBUTES if hasattr(extractor, name)), 1)
    # The last frame that is kept sees half of a window beyond; some extractors ask for a sample more.
    heard = None if max_seconds is None else max_seconds + (window + 1) / rate
    loaded = [load_audio(cells[i], f"{name}[{i}]", rate, default_rate, heard, **access) for i in indices]
    clips, starts = zip(*loaded, strict=True)
    for i, clip in zip(indices, clips):
        if len(clip) < window:
            raise ValueError(
                f"{name}[{i}] has {len(clip)} samples at {rate} Hz, shorter than one analysis window ({window})."
            )
    return clips, starts


def frame_times(extractor, mask: torch.Tensor, starts: Sequence[float]) -> torch.Tensor:
    """Seconds (N, T) of mel frames with mask (N, T), of clips that start at `starts` (N,) in their files.

    Extractors pad the front by half of their window, so that frame i has its centre, not its left edge, on sample
    i * hop_length, the first of the hop_length samples that it stands for.
    """
    hop_length = getattr(extractor, "hop_length", None)
    if hop_length is None:
        raise ValueError(
            f"{type(extractor).__name__} has no `hop_length` (samples from one frame to the next), "
            "which return_times=True needs."
        )
    indices = mask.cumsum(1) - 1  # padding, also on the left, takes no time
    seconds = torch.tensor(starts)[:, None] + indices * (hop_length / extractor.sampling_rate)
    return seconds.float() * mask


def frames_first(extractor, extracted: BatchFeature, options: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Any extractor's output to mel frames (N, T, mel), or samples (N, T, 1), and a mask (N, T)."""
    features = extracted.get("input_features", extracted.get("input_values"))
    if features is not None and features.ndim == 2:
        features = features[..., None]  # waveforms: frames of one sample
    if features is None or features.ndim != 3:
        shape = None if features is None else tuple(features.shape)
        raise ValueError(
            f"{type(extractor).__name__} returned features of shape {shape}: expected "
            "mel frames (N, T, mel) or (N, mel, T), or waveforms (N, samples)."
        )
    mask = frame_mask(extracted)
    if mask is None:
        mask = torch.ones(features.shape[:2])
    elif is_channels_first(extractor, features, mask, options):
        features = features.transpose(1, 2)
    return features.contiguous(), (mask != 0).long()


def is_channels_first(extractor, features: torch.Tensor, mask: torch.Tensor, options: dict) -> bool:
    """Whether an extractor gives (N, mel, T), not (N, T, mel): the mask (N, T) says which axis is time."""
    if features.shape[1] == features.shape[2]:  # as many frames as bins: ask again with another length
        silence = np.zeros(2 * extractor.sampling_rate, dtype=np.float32)
        extracted = extractor([silence], **options)
        features, mask = extracted["input_features"], frame_mask(extracted)
    return features.shape[2] == mask.shape[1]


def frame_mask(extracted: BatchFeature) -> torch.Tensor | None:
    """The mask of what a feature extractor gives, under either of the names that extractors use."""
    return extracted.get("input_features_mask", extracted.get("attention_mask"))


def frames_per_second(extractor) -> float:
    """How many frames a feature extractor gives for a second: mel frames, 100 unless it says otherwise, or samples."""
    if hop_length := getattr(extractor, "hop_length", None):
        return extractor.sampling_rate / hop_length
    gives_samples = getattr(extractor, "feature_size", 80) == 1 and not hasattr(extractor, "num_mel_bins")
    return extractor.sampling_rate if gives_samples else 100.0


class MoTAudioEmbeddings(MoTStemEmbeddings):
    """Log-mel frames (B, T, num_mel_bins)."""

    def __init__(self, config: MoTAudioConfig, modality: AudioModality):
        super().__init__(config, modality, config.num_mel_bins, config.max_frames)

    def embed(self, frames: torch.Tensor, mask: torch.Tensor | None, dtype: torch.dtype, times=None, hidden=None):
        stride = self.config.stem_stride
        if hidden is not None:
            hidden = hidden.repeat_interleave(stride, dim=1)[:, : frames.shape[1]]  # (B, T)
        frames, mask, times = self.as_clip(frames, mask, times, hidden)
        tokens = self.through_stem(frames.to(dtype), mask)
        times = None if times is None else times[:, ::stride]  # a token has the time of its first frame
        return tokens, self.positions(tokens.shape[1], self.first_frames(mask), tokens.device, times)

    def input_mask(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        return self.first_frames(self.check_frames(frames, mask))

    def check_frames(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        num_mel_bins = self.config.num_mel_bins
        if frames.ndim != 3 or frames.shape[-1] != num_mel_bins or frames.shape[1] == 0:
            raise ValueError(
                f"`{self.names.raw}` has shape {tuple(frames.shape)}, expected (batch, frames, {num_mel_bins}) "
                "with at least one frame, frames before mel bins."
            )
        self.check_length(frames.shape[1])
        return as_mask(mask, tuple(frames.shape[:2]), self.names.mask)

    def as_clip(
        self,
        frames: torch.Tensor,
        mask: torch.Tensor | None,
        times: torch.Tensor | None = None,
        hidden: torch.Tensor | None = None,
    ):
        """
        The real frames of each row first, in order, since a strided stem must not see where the padding was; blank
        behind them and where `hidden` (B, T); mean-normalised if the config asks. And their mask and times (B, T),
        None if they were.
        """
        mask = self.check_frames(frames, mask)
        frames = blank(frames, mask)
        if mask is not None:
            order = real_first(mask)
            frames, mask = take(frames, order), take(mask, order)
            times = None if times is None else take(times, order)
        seen = mask
        if hidden is not None:
            seen = ~hidden if mask is None else mask & ~hidden
        if self.config.mean_normalization:
            frames = self.subtract_mean(frames, seen)
        return blank(frames, seen), mask, times

    def subtract_mean(self, frames: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
        """Cepstral mean normalisation: the mean is that of the frames that may be seen, without silence and NaN."""
        known = frames.isfinite() if seen is None else frames.isfinite() & seen[..., None]
        if self.config.silence_value is not None:
            known = known & (frames > self.config.silence_value + SILENCE_MARGIN).any(dim=-1, keepdim=True)
        total = frames.masked_fill(~known, 0).sum(dim=1, keepdim=True)
        return frames - total / known.sum(dim=1, keepdim=True).clamp(min=1)

    def targets(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        frames, mask, _ = self.as_clip(frames.float(), mask)
        if mask is not None:
            frames = frames.masked_fill(~mask[..., None], torch.nan)
        return self.grouped(frames, torch.nan)  # (B, N, stride * num_mel_bins)

    def usual_times(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        mask = as_mask(mask, tuple(frames.shape[:2]), self.names.mask)
        if mask is not None:
            return count_before(mask) * SECONDS_PER_FRAME
        return (torch.arange(frames.shape[1], device=frames.device) * SECONDS_PER_FRAME).expand(frames.shape[0], -1)


@dataclass
class AudioAugmentation:
    """
    Changes log-mel frames: another tempo, another length of the vocal tract (mel bins stretched, as in VTLP: Jaitly
    and Hinton, 2013), and what happens to sound on its way: noise or a gate, a narrow band, digital silence. The
    loudest bin of a clip is as loud afterwards as it was, since extractors make frames relative to it.

    Args:
        tempo, tract: the largest stretch of time and of the mel axis, as a share.
        noise: the share of clips with noise, of any colour from white to one that falls by two nepers (1 neper =
            8.7 dB) from the lowest bin to the highest, and as loud as the loudest bin or up to five nepers below.
        gate: the share of clips whose quiet bins become silent, as at noise gates and in codecs; what is quiet is
            drawn between half a neper below the loudest bin and all that is heard. Noise and gates exclude each other.
        band: the share of clips that lose the lowest bins, up to a fifth, and the highest, up to two fifths.
        silence: the most frames of digital silence put before a clip, after it and within it, each into every third.
        silence_value: a bin of digital silence, that of `MoTFeatureExtractor`. None: the scale of the frames is not
            known, and they are stretched alone.
        max_frames: no clip is stretched beyond.
    """

    tempo: float = 0.2
    tract: float = 0.12
    noise: float = 0.5
    gate: float = 0.25
    band: float = 0.5
    silence: int = 60
    silence_value: float | None = None
    max_frames: int | None = None

    def __call__(self, frames: torch.Tensor, random: torch.Generator | None = None) -> torch.Tensor:
        """(T, bins) -> (another T, bins)."""
        loudest = frames.max()
        frames = self.stretch(frames, random)
        if self.silence_value is None:
            return frames
        gate_or_noise, band = torch.rand(2, generator=random).tolist()
        if loudest > self.silence_value:  # nothing has neither noise nor a band
            if gate_or_noise < self.gate:
                frames = self.close_gate(frames, random)
            elif gate_or_noise < self.gate + self.noise:
                frames = self.add_noise(frames, random)
            if band < self.band:
                frames = self.narrow(frames, random)
            frames = self.as_loud_as(loudest, frames)
        return self.add_silence(frames, random)

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

    def add_noise(self, frames: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
        """Magnitudes of the sum of the sound and Gaussian noise, whose phases to each other are random."""
        below, colour = torch.rand(2, generator=random).tolist()
        tilt = torch.linspace(0.5, -0.5, frames.shape[1]) * STEEPEST_NOISE * colour
        noise = (frames.max() - LEAST_NOISE * below + tilt).exp() / math.sqrt(2)
        in_phase, across = noise * torch.randn(2, *frames.shape, generator=random)
        noisy = torch.hypot(frames.exp() + in_phase, across).log().clamp(min=self.silence_value)
        return noisy.to(frames.dtype)

    def narrow(self, frames: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
        bins = frames.shape[1]
        low, high = (torch.rand(2, generator=random) * torch.tensor(LOST_BAND) * bins).int().tolist()
        frames = frames.clone()
        frames[:, :low] = frames[:, bins - high :] = self.silence_value
        return frames

    def as_loud_as(self, loudest: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """The sound, whose loudest bin is as it was; silence stays what it is."""
        louder = frames + (loudest - frames.max())
        return louder.clamp(min=self.silence_value).masked_fill(frames <= self.silence_value, self.silence_value)

    def add_silence(self, frames: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
        drawn = torch.rand(4, generator=random)
        room = max(0, (self.max_frames or math.inf) - len(frames))
        before, within, after = ((drawn[:3] * 3 - 2).clamp(min=0) * self.silence).int().tolist()
        cut = int(drawn[3] * len(frames))
        silent = [frames.new_full((n, frames.shape[1]), self.silence_value) for n in (before, within, after)]
        parts = [silent[0], frames[:cut], silent[1], frames[cut:], silent[2]]
        return torch.cat(parts) if before + within + after <= room else frames
