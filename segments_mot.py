# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Segments: several pictures, sounds or texts of one row, which an encoder reads one by one.

What a row has of a modality may fall into segments, 0 to S - 1. Before the encoder each becomes a row of its own, so
that nothing is shared between them and positions begin anew in each; behind it they stand one after another in their
row again, for layers that see all. S segments cost what a batch of S rows costs.

Shapes: B rows, S segments of a row, L tokens of a row, T of the longest segment.
"""

from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class Segments:
    """
    Where the inputs of a batch go when each segment becomes a row.

    Args:
        shape: (B, L).
        number: S, of the row that has most.
        length: T.
        source: (N,) the places of what is real among the B * L inputs.
        target: (N,) their places among the B * S * T.
    """

    shape: tuple[int, int]
    number: int
    length: int
    source: torch.Tensor
    target: torch.Tensor

    @cached_property
    def stands(self) -> bool:
        """Whether everything is real and in its place already: full segments of one length, one after another."""
        size = self.shape[0] * self.shape[1]
        is_full = len(self.source) == size == self.shape[0] * self.number * self.length
        return is_full and torch.equal(self.source, self.target)

    def split(self, values: torch.Tensor, fill: float = 0, name: str = "values") -> torch.Tensor:
        """(B, L, ...) -> (B * S, T, ...), with `fill` where nothing is real; `name` is that of errors."""
        if tuple(values.shape[:2]) != self.shape:
            raise ValueError(f"`{name}` has shape {tuple(values.shape)}, expected {self.shape}, one for each input.")
        rows = self.shape[0] * self.number
        if self.stands:
            return values.reshape(rows, self.length, *values.shape[2:])
        found = values.new_full((rows * self.length, *values.shape[2:]), fill)
        found[self.target] = values.flatten(0, 1)[self.source]
        return found.unflatten(0, (rows, self.length))

    def real(self) -> torch.Tensor | None:
        """(B * S, T) int64, 1 where something is real; None where everything is."""
        if self.stands:
            return None
        rows = self.shape[0] * self.number
        return self.source.new_zeros(rows * self.length).index_fill(0, self.target, 1).reshape(rows, self.length)


def find_segments(
    segments: torch.Tensor, mask: torch.Tensor | None, shape: tuple[int, int], name: str, width: int | None = None
) -> Segments:
    """
    Args:
        segments: (B, L) whole numbers, the segment of each input; what stands where nothing is real is not read.
        mask: (B, L) or (B, L, ...), non-zero where something is real; None means everywhere.
        shape: (B, L).
        name: of the argument, for errors.
        width: how many inputs every segment has, each of which means what its place says, as the columns of a table
            do. None: the real inputs of a segment follow each other.

    Raises:
        ValueError: `segments` has another shape, or numbers below 0 or above L - 1.
    """
    if segments.is_floating_point() or tuple(segments.shape) != shape:
        raise ValueError(
            f"`{name}` has shape {tuple(segments.shape)} and type {segments.dtype}, expected whole numbers of shape "
            f"{shape}: the segment, from 0 on, that each input belongs to."
        )
    real = torch.ones_like(segments, dtype=torch.bool) if mask is None else mask.reshape(*shape, -1).any(dim=-1)
    source = real.flatten().nonzero()[:, 0]
    number_of = segments.flatten()[source].long()
    if len(number_of) and not (number_of.min() >= 0 and number_of.max() < shape[1]):
        raise ValueError(
            f"`{name}` holds {number_of.min().item()} to {number_of.max().item()}, expected 0 to {shape[1] - 1}: a "
            "row has no more segments than inputs."
        )
    number = int(number_of.max()) + 1 if len(number_of) else 1
    row = source // shape[1] * number + number_of  # among the B * S
    if width is None:
        counts = torch.bincount(row, minlength=shape[0] * number)
        length = max(1, int(counts.max()))
        order = row.argsort(stable=True)
        source, row = source[order], row[order]
        place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    else:
        length, place = width, source % shape[1] % width
    return Segments(shape, number, length, source, row * length + place)


def check_one_axis(values: torch.Tensor, name: str, segments: str) -> tuple[int, int]:
    """(B, L) of inputs that can have segments; a ValueError for those without a second axis to number."""
    if values.ndim < 2 or values.ndim == 4:
        raise ValueError(
            f"`{segments}` numbers what `{name}` has along its second axis, but that has shape {tuple(values.shape)}: "
            "give several pictures as (batch, pictures, channels, height, width)."
        )
    return tuple(values.shape[:2])


def split_mask(found: Segments, mask: torch.Tensor | None) -> torch.Tensor | None:
    """The mask of the rows that segments become, (B * S, T) or, where it tells more apart, (B * S, T, ...)."""
    return found.real() if mask is None or mask.ndim == 2 else found.split(mask)


__all__ = ["Segments", "find_segments"]
