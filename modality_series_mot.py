# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Series: several channels over time (B, T, C), such as those of sensors, a few samples of which become a token.

A reading that a channel lacks is a *gap*: NaN in a series by itself, and masked in a batch. The stem sees a gap as the
channel's mean, which is 0 once readings are standardised, beside an indicator that says that it is one; a sample
without any reading is as if it were not there.

Shapes: B rows, T samples, C channels, N tokens, d width.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn import functional as F

from .cells_mot import Cell, ProcessorCall, RowReading, present_rows
from .decoding_series_mot import Series, SeriesSettings, is_series, learn_series, prepare_series, read_series
from .modality_mot import Modality, MoTModalityConfig
from .positions_mot import as_mask, blank, count_before, real_first, take
from .stem_mot import MoTStemEmbeddings

# What models of transformers call the mask of the readings that there are, (B, T, C).
OBSERVED_NAMES = ("past_observed_mask", "observed_mask")


@strict
class MoTSeriesConfig(MoTModalityConfig):
    r"""
    Series of several channels, or ready features. Beyond [`MoTModalityConfig`]:

    Args:
        num_channels (`int`, *optional*, defaults to 1): Channels of a sample, such as 3 of an accelerometer.
        max_length (`int`, *optional*, defaults to 4096): The longest series in samples.
        sampling_rate (`float`, *optional*):
            Samples in a second, in Hz, by which samples without times have theirs. None: nothing is known of it.
        stem (`str`, *optional*):
            How samples become tokens: `"conv"` (the default), two convolutions as in Whisper (arXiv 2212.04356), or
            `"linear"`, one projection of `stem_stride` samples, the patches of arXiv 2211.14730.
        stem_stride (`int`, *optional*): Samples for one token, 4 by default.
        position_embedding_type (`str`, *optional*, defaults to `"sinusoidal"`):
            `"sinusoidal"`, `"learned"`, or None: a *set*, whose samples have no order, such as the points of a cloud.
            A sample of a set is a token by itself: its stem is `"linear"`, with a stride of 1.
        mask_span (`int`, *optional*, defaults to 12):
            Samples that pretraining hides in a row, as many as a patch of arXiv 2211.14730 has; of a set each by
            itself.
    """

    model_type = "mot_series"
    base_config_key = "series_config"

    num_channels: int = 1
    max_length: int = 4096
    sampling_rate: float | int | None = None
    mask_ratio: float | int = 0.4
    mask_span: int = 12
    stem: Literal["conv", "linear"] | None = None
    stem_stride: int | None = None
    position_embedding_type: Literal["sinusoidal", "learned"] | None = "sinusoidal"

    def __post_init__(self, **kwargs):
        is_set = self.position_embedding_type is None
        if self.stem is None:
            self.stem = "linear" if is_set else "conv"
        if self.stem_stride is None:
            self.stem_stride = 1 if is_set else 4
        super().__post_init__(**kwargs)

    def validate_series(self):
        if self.position_embedding_type is None and (self.stem, self.stem_stride) != ("linear", 1):
            raise ValueError(
                "`position_embedding_type=None` makes a series a set, in which no sample has neighbours, but "
                f'`stem="{self.stem}"` with `stem_stride={self.stem_stride}` joins samples: leave both out, or give '
                'them as "linear" and 1.'
            )
        channels = getattr(self.backbone_config, "num_input_channels", self.num_channels)
        if channels != self.num_channels:
            raise ValueError(
                f"`num_channels` is {self.num_channels}, but the model in front reads {channels} "
                "(`backbone_config.num_input_channels`): give the same number."
            )


class SeriesModality(Modality):
    """Several channels over time."""

    kind, noun = "series", "series"
    cells = (
        Cell(
            name="series",
            argument="series",
            medium=None,
            columns=(),
            synonyms=(),
            example=[[0.1, 9.8], [0.2, 9.7]],
        ),
    )
    config_class = MoTSeriesConfig
    length_field = "max_length"
    drawing = "series"
    sources = "PatchTST"
    settings = SeriesSettings.names()

    def embeddings(self, config: MoTSeriesConfig) -> "MoTSeriesEmbeddings":
        return MoTSeriesEmbeddings(config, self)

    def describe(self, config: MoTSeriesConfig) -> str:
        channels = "1 channel" if config.num_channels == 1 else f"{config.num_channels} channels"
        return f"series of {channels}, {self.describe_limit(config)}"

    def describe_limit(self, config: MoTSeriesConfig) -> str:
        rate = "" if config.sampling_rate is None else f" at {config.sampling_rate:g} Hz"
        return f"up to {config.max_length:,} samples{rate}"

    def example(self, cell: Cell, config: MoTSeriesConfig) -> list:
        """Two samples of as many channels as the model takes."""
        return [[values[i % len(values)] for i in range(config.num_channels)] for values in cell.example]

    # What the processor makes of cells

    def learn(self, cells: Iterable[Any]) -> dict[str, Any]:
        """`num_channels`, the `mean` and `std` of each, and the `sampling_rate` if any series says one."""
        return learn_series(cells, self.name)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        SeriesSettings.of(settings, self.name)

    def config_fields(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        known = SeriesSettings.of(settings, self.name)
        fields = {"num_channels": known.width, "sampling_rate": known.sampling_rate}
        return {name: value for name, value in fields.items() if value is not None}

    def is_one(self, cell: Cell, value: Any) -> bool:
        """
        A list of numbers is one series of one channel, and a list of such lists one of several; a list of arrays is
        several series.
        """
        return is_series(value)

    def collect(self, rows: dict[str, list], call: ProcessorCall) -> dict[str, torch.Tensor]:
        """
        Series to samples (B, T, C), their mask (B, T), or (B, T, C) where single channels have gaps, and, if asked
        for, the times (B, T). Gaps are NaN, so that a row taken out of the batch by itself keeps them.
        """
        ((name, cells),) = rows.items()
        settings = SeriesSettings.of(call.settings, name)
        found: list[Series | None] = [None] * len(cells)
        for i in present_rows(cells):
            series = read_series(cells[i], f"{name}[{i}]", settings.width)
            found[i] = prepare_series(series, settings, f"{name}[{i}]")
        check_widths(found, name)
        values, mask = super().pad([as_tensor(series and series.values) for series in found])
        outputs = {self.names.raw: values, self.names.mask: without_gaps(values, mask)}
        if call.processor.return_times:
            times = [series and times_of(series, f"{name}[{i}]") for i, series in enumerate(found)]
            outputs[self.names.times] = super().pad([as_tensor(row) for row in times])[0]
        elif i_timed := [i for i, series in enumerate(found) if series is not None and series.times is not None]:
            raise ValueError(
                f"{name}[{i_timed[0]}] has `times`, which this processor does not pass on: build it with "
                "`return_times=True` for a model of `time_positions`, or leave them out."
            )
        return outputs

    def check_cell(self, cell: Cell, value: Any, name: str) -> Any:
        read_series(value, name)
        return value

    def decode_cell(self, cell: Cell, value: Any, reading: RowReading) -> dict[str, Any]:
        series = read_series(value, f"{reading.name}{cell.name}")
        return {"array": series.values, "times": series.times, "sampling_rate": series.sampling_rate}

    def cut(self, config: MoTSeriesConfig, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Samples (B, T, C), their mask and their times; segments are each cut as they are read, if at all."""
        if self.names.segments in batch:
            return {}
        own = (self.names.raw, self.names.mask, self.names.times)
        return {name: batch[name][:, : config.max_length] for name in own if name in batch}

    def fit_processor(self, config: MoTSeriesConfig, processor) -> None:
        processor.modalities[self.name]["max_length"] = config.max_length

    # What becomes of rows in a batch

    def pad(
        self, values: Sequence[torch.Tensor | None], multiple: int = 1, fill: float = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Series (T_i, C) with their gaps masked, (B, T), or (B, T, C) where single channels have some."""
        padded, mask = super().pad(values, multiple, fill)
        if padded.ndim != 3:
            return padded, mask
        mask = without_gaps(padded, mask)
        return blank(padded, mask != 0), mask

    def augmentation(self, config: MoTSeriesConfig, processor) -> "SeriesAugmentation":
        """Nothing of a set is blanked, whose samples have no neighbours."""
        return SeriesAugmentation(blanked=0.0) if config.position_embedding_type is None else SeriesAugmentation()

    # What pretraining hides and predicts

    def target_size(self, config: MoTSeriesConfig) -> int:
        return config.num_channels * config.stem_stride

    def mask_span(self, config: MoTSeriesConfig) -> int:
        return 1 if config.position_embedding_type is None else max(1, config.mask_span // config.stem_stride)

    def mask_span_of_features(self, config: MoTSeriesConfig) -> int:
        return 1 if config.position_embedding_type is None else config.mask_span

    # A model of transformers in front of the tower

    def run_backbone(
        self, backbone: nn.Module, config: MoTSeriesConfig, values: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Samples go through a model that patches each channel, such as PatchTST, as its `past_values` of
        `context_length` samples, of which those behind the series count as not observed. Its patches (B, C, P, d) of
        all channels, one channel after another, become the tokens (B, C * P, d); real are those of which anything was
        observed.
        """
        values, observed, _, _ = real_samples_first(values, mask, config, self)
        observed = torch.ones_like(values, dtype=torch.bool) if observed is None else observed
        length, missing = values.shape[1], config.backbone_config.context_length - values.shape[1]
        if missing < 0:
            raise ValueError(
                f"`{self.names.raw}` has a length of {length}, but the model in front reads at most "
                f"{config.backbone_config.context_length} samples (`backbone_config.context_length`): cut the input."
            )
        values, observed = F.pad(values, (0, 0, 0, missing)), F.pad(observed, (0, 0, 0, missing))
        takes = inspect.signature(backbone.forward).parameters
        seen = {name: observed.to(values.dtype) for name in OBSERVED_NAMES if name in takes}
        features = backbone(past_values=values, **seen).last_hidden_state  # (B, C, P, d)
        patches = patched(observed, config.backbone_config)  # (B, C, P')
        extra = features.shape[2] - patches.shape[2]  # a cls token in front of the patches
        patches = torch.cat([patches.any(dim=2, keepdim=True).expand(-1, -1, extra), patches], dim=2)
        return features.flatten(1, 2), None if mask is None and missing == 0 else patches.flatten(1)

    def raw_stand_in(self, config: MoTSeriesConfig, device: torch.device) -> torch.Tensor:
        length = 1 if config.backbone_config is None else config.backbone_config.context_length
        return torch.zeros(1, length, config.num_channels, device=device)

    # What pictures say of the tokens of a row

    def is_moving(self, inputs: dict[str, torch.Tensor]) -> bool:
        return self.names.raw in inputs

    def real_places(self, inputs: dict[str, torch.Tensor], row: int, length: int) -> torch.Tensor:
        mask = inputs.get(self.names.mask)
        if mask is None or mask.ndim == 2:
            return super().real_places(inputs, row, length)
        return (mask[row] != 0).any(dim=-1).cpu().nonzero()[:, 0]

    def readings(self, inputs: dict[str, torch.Tensor], row: int) -> torch.Tensor:
        """The real samples of a row (n, C), with NaN in their gaps."""
        values, mask = inputs[self.names.raw][row].cpu().float(), inputs.get(self.names.mask)
        if mask is not None and mask.ndim == 3:
            values = values.masked_fill(mask[row].cpu() == 0, torch.nan)
        return values[self.real_places(inputs, row, len(values))]

    def sample_times(
        self, config: MoTSeriesConfig, inputs: dict[str, torch.Tensor], row: int
    ) -> tuple[torch.Tensor, str]:
        """When each of a row's real samples is, (n,), and the unit of that."""
        samples = self.real_places(inputs, row, inputs[self.names.raw].shape[1])
        times, unit = self.times_of_places(inputs, row, samples, "sample")
        if unit == "s":
            return times, unit
        counts = torch.arange(len(samples)).float()  # padding takes no time
        return (counts, unit) if config.sampling_rate is None else (counts / config.sampling_rate, "s")

    def token_times(
        self, config: MoTSeriesConfig, inputs: dict[str, torch.Tensor], row: int, number: int
    ) -> tuple[torch.Tensor, str]:
        """A token has the time of its first sample, or counts the samples before it where nothing says when they
        are."""
        times, unit = self.sample_times(config, inputs, row)
        return times[:: config.stem_stride], unit


def as_tensor(values: np.ndarray | None) -> torch.Tensor | None:
    return None if values is None else torch.from_numpy(values).float()


def check_widths(found: Sequence[Series | None], name: str) -> None:
    widths = {i: series.values.shape[1] for i, series in enumerate(found) if series is not None}
    if len(set(widths.values())) > 1:
        raise ValueError(f"The rows of {name} differ in their channels: {widths} (row: channels).")


def times_of(series: Series, name: str) -> np.ndarray:
    """The seconds (T,) of a series: its own, or those of its rate from 0 on."""
    if series.times is not None:
        return series.times
    if series.sampling_rate is None:
        raise ValueError(
            f"{name} does not say when its samples are, which return_times=True needs: pass {{'array': ..., 'times': "
            "...}}, or 'sampling_rate' in Hz."
        )
    return np.arange(len(series.values)) / series.sampling_rate


def without_gaps(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mask (B, T) of series (B, T, C) without what is NaN: (B, T) if whole samples are, else (B, T, C)."""
    observed = ~values.isnan() & (mask != 0)[..., None]
    some, every = observed.any(dim=-1), observed.all(dim=-1)
    return (some if torch.equal(some, every) else observed).long()


def patched(observed: torch.Tensor, backbone) -> torch.Tensor:
    """In which patches of a model that patches each channel (B, T, C) anything was observed, (B, C, P)."""
    length, stride = backbone.patch_length, backbone.patch_stride
    first = (observed.shape[1] - length) % stride  # the last patch ends with the series, as in PatchTST
    return observed[:, first:].unfold(1, length, stride).any(dim=-1).transpose(1, 2)


def check_samples(
    values: torch.Tensor, mask: torch.Tensor | None, config: MoTSeriesConfig, modality: SeriesModality
) -> torch.Tensor | None:
    """Which readings are there, (B, T, C) bool, after checking shapes; None if all are."""
    names, channels = modality.names, config.num_channels
    if values.ndim != 3 or values.shape[-1] != channels or values.shape[1] == 0:
        raise ValueError(
            f"`{names.raw}` has shape {tuple(values.shape)}, expected (batch, samples, {channels}) with at least one "
            "sample, samples before channels."
        )
    if mask is not None and mask.ndim == 3:
        return as_mask(mask, tuple(values.shape), names.mask)
    mask = as_mask(mask, tuple(values.shape[:2]), names.mask)
    return None if mask is None else mask[..., None].expand_as(values)


def real_samples_first(
    values: torch.Tensor,
    mask: torch.Tensor | None,
    config: MoTSeriesConfig,
    modality: SeriesModality,
    times: torch.Tensor | None = None,
):
    """
    The samples of each row (B, T, C) that have any reading first, in order, since a stem must not see where the others
    were, with zeros for what is not there; which readings are (B, T, C), which samples are (B, T), and their times
    (B, T). None of either mask means all.
    """
    observed = check_samples(values, mask, config, modality)
    if observed is None:
        return values, None, None, times
    values, real = blank(values, observed), observed.any(dim=-1)
    order = real_first(real)
    times = None if times is None else take(times, order)
    return take(values, order), take(observed, order), take(real, order), times


class MoTSeriesEmbeddings(MoTStemEmbeddings):
    """
    Samples (B, T, C) beside indicators of their gaps (arXiv 1606.04130): what the stem sees of a sample are 2 * C
    numbers, the readings with 0 for each that is missing, and 1 for each that is missing in a sample that is there.
    """

    def __init__(self, config: MoTSeriesConfig, modality: SeriesModality):
        super().__init__(config, modality, 2 * config.num_channels, config.max_length)
        first = self.projection if config.stem == "linear" else self.conv1
        first.initial_std *= 2**0.5  # half of what it sees, the indicators, is 0 but for gaps

    def embed(self, values: torch.Tensor, mask: torch.Tensor | None, dtype: torch.dtype, times=None, hidden=None):
        stride = self.config.stem_stride
        values, observed, real, times = real_samples_first(values, mask, self.config, self.modality, times)
        self.check_length(values.shape[1])
        gaps = torch.zeros_like(values) if observed is None else (~observed & real[..., None]).to(values.dtype)
        seen = torch.cat([values, gaps], dim=-1).to(dtype)  # (B, T, 2 * C)
        if hidden is not None:
            seen = blank(seen, ~hidden.repeat_interleave(stride, dim=1)[:, : seen.shape[1]])
        tokens = self.through_stem(seen, real)
        times = None if times is None else times[:, ::stride]  # a token has the time of its first sample
        return tokens, self.positions(tokens.shape[1], self.first_frames(real), tokens.device, times)

    def input_mask(self, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        observed = check_samples(values, mask, self.config, self.modality)
        self.check_length(values.shape[1])
        return None if observed is None else self.first_frames(observed.any(dim=-1))

    def targets(self, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        values, observed, _, _ = real_samples_first(values.float(), mask, self.config, self.modality)
        values = values if observed is None else values.masked_fill(~observed, torch.nan)
        return self.grouped(values, torch.nan)  # (B, N, stride * C)

    def usual_times(self, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        """Those of the sampling rate; samples that are not there take no time."""
        if self.config.sampling_rate is None:
            return None
        observed = check_samples(values, mask, self.config, self.modality)
        real = values.new_ones(values.shape[:2], dtype=torch.bool) if observed is None else observed.any(dim=-1)
        return count_before(real) / self.config.sampling_rate


@dataclass
class SeriesAugmentation:
    """
    Changes a series as sensors do (arXiv 1706.00527): noise, and another gain of each channel; and a stretch of it is
    blanked, as in SpecAugment (arXiv 1904.08779). The strengths are shares of a channel's standard deviation, since
    readings are standardised. Gaps stay gaps.

    Args:
        jitter: the standard deviation of the noise.
        scaling: that of the gain of a channel around 1.
        blanked: the largest share of the samples that become their channel's mean, in a row.
    """

    jitter: float = 0.05
    scaling: float = 0.1
    blanked: float = 0.1

    def __call__(self, values: torch.Tensor, random: torch.Generator | None = None) -> torch.Tensor:
        """(T, C) -> (T, C)."""
        length, channels = values.shape
        gain = 1 + self.scaling * torch.randn(channels, generator=random)
        values = values * gain + self.jitter * torch.randn(values.shape, generator=random)
        share, start = torch.rand(2, generator=random).tolist()
        span = int(share * self.blanked * length)
        first = int(start * (length - span + 1))
        stretch = values[first : first + span]
        stretch[~stretch.isnan()] = 0
        return values
