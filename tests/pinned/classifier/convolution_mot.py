# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Convolutions with a stride that are right in bfloat16 on a CPU.

There torch leaves them to oneDNN, whose results are wrong where one position comes out: a picture as wide as a patch,
or a clip as long as a stride (of a forward pass pytorch/pytorch#169688 tells). As a product of matrices, which is what
every linear layer is, they are right for any size. Everywhere else these are torch's own, of the same parameters.
"""

import torch
from torch import nn
from torch.nn import functional as F


def is_bfloat16_on_cpu(inputs: torch.Tensor) -> bool:
    """Whether a layer would compute in bfloat16 on a CPU, where autocast has the last word."""
    if inputs.device.type != "cpu":
        return False
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else inputs.dtype
    return dtype == torch.bfloat16


def as_product(inputs: torch.Tensor, convolution: nn.Conv2d) -> torch.Tensor:
    """A convolution of (B, C, H, W) as one product of its weights with what it sees at each position."""
    sides = zip(inputs.shape[2:], convolution.kernel_size, convolution.stride, convolution.padding)
    rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side, kernel, stride, padding in sides)
    seen = F.unfold(inputs.bfloat16(), convolution.kernel_size, 1, convolution.padding, convolution.stride)
    weight = convolution.weight.flatten(1)  # (out, C * kernel)
    return F.linear(seen.mT, weight, convolution.bias).mT.unflatten(2, (rows, columns))


class MoTConv2d(nn.Conv2d):
    """(B, C, H, W) to (B, out, rows, columns)."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return as_product(inputs, self) if is_bfloat16_on_cpu(inputs) else super().forward(inputs)


class MoTConv1d(nn.Conv1d):
    """(B, C, T) to (B, out, frames)."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not is_bfloat16_on_cpu(inputs):
            return super().forward(inputs)
        (kernel,), (stride,), (padding,) = self.kernel_size, self.stride, self.padding
        before = F.pad(inputs.bfloat16(), (padding, padding))  # (B, C, T + 2 * padding)
        seen = before.unfold(2, kernel, stride).transpose(1, 2).flatten(2)  # (B, frames, C * kernel)
        return F.linear(seen, self.weight.flatten(1), self.bias).transpose(1, 2)
