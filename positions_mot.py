# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Where tokens stand, and which of them are real: sinusoids, grids of learned positions, masks.

Shapes: B rows, L or N tokens, T frames of audio.
"""

import math

import torch
from torch.nn import functional as F

POSITIONS_PER_SECOND = 50  # the clock of `time_positions`: that of Whisper's tokens (arXiv 2212.04356)


def sinusoids_at(positions: torch.Tensor, width: int) -> torch.Tensor:
    """
    E_pos(pos, 2i) = sin(pos / 10000^(2i / width)), E_pos(pos, 2i + 1) = cos(same): (...) -> (..., width), float32.
    """
    frequencies = torch.exp(torch.arange(0, width, 2, device=positions.device) * (-math.log(10000.0) / width))
    angles = positions[..., None] * frequencies  # (..., width / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def sinusoids(length: int, width: int, device: torch.device | None = None) -> torch.Tensor:
    """E_pos of 0, 1, ..., length - 1: (length, width)."""
    return sinusoids_at(torch.arange(length, device=device), width)


def sinusoids_2d(rows: int, columns: int, width: int, device: torch.device | None = None) -> torch.Tensor:
    """Half of the width for the row, half for the column of each cell of a grid: (rows * columns, width)."""
    by_row = sinusoids(rows, width // 2, device)[:, None].expand(-1, columns, -1)
    by_column = sinusoids(columns, width // 2, device)[None].expand(rows, -1, -1)
    return torch.cat([by_row, by_column], dim=-1).flatten(0, 1)


def resize_grid(grid: torch.Tensor, rows: int, columns: int, interpolation: str = "bicubic") -> torch.Tensor:
    """A square grid of positions (1, g * g, d) at another size, (rows * columns, d)."""
    side, antialias = round(grid.shape[1] ** 0.5), interpolation.startswith("antialiased_")
    resized = grid.transpose(1, 2).unflatten(2, (side, side)).float()  # (1, d, g, g)
    mode = interpolation.removeprefix("antialiased_")
    resized = F.interpolate(resized, (rows, columns), mode=mode, align_corners=False, antialias=antialias)
    return resized.flatten(2)[0].T.to(grid.dtype)


def as_mask(mask: torch.Tensor | None, shape: tuple[int, ...], name: str) -> torch.Tensor | None:
    """`mask` as booleans, True = real, after checking its shape; None stays None and means that all is real."""
    if mask is None:
        return None
    if tuple(mask.shape) != shape:
        raise ValueError(f"`{name}` has shape {tuple(mask.shape)}, expected {shape}.")
    return mask != 0


def blank(inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Zeros wherever `mask` (over the leading dimensions) is not real, so that even NaN there does no harm."""
    if mask is None:
        return inputs
    return inputs.masked_fill(~mask.reshape(mask.shape + (1,) * (inputs.ndim - mask.ndim)), 0)


def seen_by_all(mask: torch.Tensor) -> torch.Tensor:
    """
    The tokens (B, L) that may be attended to: the real ones, and in a row without any, whose output nobody reads, all,
    since a softmax over nothing is NaN.
    """
    return mask | ~mask.any(dim=1, keepdim=True)


def count_before(mask: torch.Tensor) -> torch.Tensor:
    """(B, L): how many real tokens stand before each token."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)


def real_first(mask: torch.Tensor) -> torch.Tensor:
    """(B, T) indices that put each row's real frames to its front, in order."""
    places = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, places, places + mask.shape[1]).argsort(dim=1)  # ONNX has no stable sort


def take(inputs: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """`inputs` (B, T) or (B, T, n), each row in the order of its `indices` (B, T)."""
    return inputs.gather(1, indices if inputs.ndim == 2 else indices[..., None].expand_as(inputs))
