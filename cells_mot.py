# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Cells of rows: in which forms people have a modality, how a row or a batch of them is read, and how the segments of
a cell that is a list of cells become one row.

Shapes: B rows, N segments of all of them, L tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Cell:
    """
    One form in which people have a modality: a cell of a row, a column of a dataset, an argument of the processor.

    Args:
        name: of the cell in a row, `{"image": ...}`.
        argument: of `MoTProcessor`, which takes a list with a cell for each row.
        medium: the type of `datasets` that holds it, "image", "audio" or "video"; None where strings do.
        columns: what datasets call a column of it, the best known first.
        synonyms: what else people call it; each of these can mean nothing else.
        example: what a person would give.
        takes_samples: whether a list of numbers is one.
        dimensions: those of an array that is one cell.
        suffixes: of its files, in lower case and without a dot, beside those that `datasets` lists of the medium.
        track_of: the medium whose files may hold one of it as well, as a video holds its sound.
    """

    name: str
    argument: str
    medium: str | None
    columns: tuple[str, ...]
    synonyms: tuple[str, ...]
    example: Any
    takes_samples: bool = False
    dimensions: int = 2
    suffixes: tuple[str, ...] = ()
    track_of: str | None = None


@dataclass(frozen=True)
class ProcessorCall:
    """
    One call of the `MoTProcessor`, of which each modality takes what concerns it.

    Args:
        processor: for its parts, its limits, `num_frames` and `return_times`.
        options: group of options ("text_kwargs", ...) -> all of them, with their defaults.
        given: the groups as they were given.
        allow_urls, max_audio_seconds: as for the processor.
        settings: what the processor was told of the modality; {} for those with historic names.
    """

    processor: Any
    options: dict[str, dict]
    given: dict[str, dict]
    allow_urls: bool | str
    max_audio_seconds: float | None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RowReading:
    """
    How a row is decoded before it is known in which batch it comes.

    Args:
        processor: the `MoTProcessor`, for its limits, `num_frames` and the rate of its feature extractor.
        modalities: those of the model.
        allow_urls: as for the processor.
        name: what errors begin with.
        num_frames: of a video, where the processor's are not wanted.
        sampling_rate: in Hz, of sound that does not say.
        max_seconds: where longer sound is cut.
    """

    processor: Any
    modalities: tuple[str, ...]
    allow_urls: bool | str
    name: str = ""
    num_frames: int | None = None
    sampling_rate: int | None = None
    max_seconds: float | None = None

    @property
    def access(self) -> dict[str, Any]:
        """What may be opened, and how large it may be."""
        return {"allow_urls": self.allow_urls, "limits": self.processor.limits}


def present_rows(cells: list) -> list[int]:
    """The numbers of the rows that have a cell."""
    return [i for i, cell in enumerate(cells) if cell is not None]


def spread(values: torch.Tensor, indices: list[int], batch_size: int) -> torch.Tensor:
    """(len(indices), ...) to (batch_size, ...): the given rows at their places, zeros elsewhere."""
    spread_values = values.new_zeros(batch_size, *values.shape[1:])
    spread_values[indices] = values
    return spread_values


def join_rows(
    outputs: Mapping[str, torch.Tensor], kept: torch.Tensor, counts: Sequence[int]
) -> dict[str, torch.Tensor]:
    """
    Segments that were encoded as rows of their own (N, L, ...), one after another in the row that they belong to.

    Args:
        kept: (N, L) bool, what of each segment is more than padding.
        counts: (B,) how many segments each row has, of which N is the sum.

    Returns:
        The same tensors as (B, longest row, ...), zeros behind the end of a row.
    """
    lengths = torch.tensor([int(segments.sum()) for segments in kept.split(list(counts))])  # (B,)
    filled = torch.arange(int(lengths.max()))[None] < lengths[:, None]  # (B, longest row)
    joined = {name: values.new_zeros(*filled.shape, *values.shape[2:]) for name, values in outputs.items()}
    for name, values in outputs.items():
        joined[name][filled] = values[kept]  # both in the order of rows, of their segments, of the tokens in these
    return joined
