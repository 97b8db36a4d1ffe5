# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Block-sparse attention

One row of three modalities (an eighth text, three eighths image, half audio), 8 heads of width 64, blocks of 64,
against dense attention (`F.scaled_dot_product_attention`); against the same with the pattern as a mask (*masked
SDPA*); and against attention written out, whose scores are masked before the softmax, as sparse attention is often
published (*masked, written out*). The *density* is the share of blocks that is kept, required ones among them, so the
ideal ratio. Memory is what a call needs at its peak beyond its inputs.
"""

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional as F

from mixture_of_transformers.sparse_attention_mot import (
    BlockSparsity,
    block_pattern,
    block_sparse_attention,
    block_sparse_mask,
)

from .measure import Row, Table, peak_memory, take_turns

HEADS, WIDTH, BLOCK_SIZE = 8, 64, 64
SCALING = WIDTH**-0.5


def segments_of(length: int) -> tuple[int, ...]:
    return length // 8, length * 3 // 8, length // 2


def density(length: int, options: BlockSparsity) -> float:
    counts = [tokens // BLOCK_SIZE for tokens in segments_of(length)]
    return block_pattern(torch.tensor([counts]), sum(counts), options).float().mean().item()


def candidates(length: int, options: BlockSparsity) -> dict[str, Callable]:
    """Each from q, k, v (1, H, N, D) to what was attended to; the plain ones in that order of dimensions."""
    segments = segments_of(length)
    mask = block_sparse_mask([torch.ones(1, tokens, dtype=torch.bool) for tokens in segments], options)[0]

    def written_out(query, key, value):
        scores = (query @ key.transpose(-1, -2) * SCALING).masked_fill(~mask, -torch.inf)
        return scores.softmax(dim=-1) @ value

    return {
        "block-sparse": lambda *tokens: block_sparse_attention(*tokens, (segments,), options, SCALING),
        "dense SDPA": F.scaled_dot_product_attention,
        "masked SDPA": lambda *tokens: F.scaled_dot_product_attention(*tokens, mask),
        "masked, written out": written_out,
    }


def forward_step(attention: Callable, tokens: list[torch.Tensor]) -> Callable:
    @torch.no_grad()
    def step():
        return attention(*tokens)

    return step


def training_step(attention: Callable, tokens: list[torch.Tensor]) -> Callable:
    def step():
        output = attention(*tokens)
        return torch.autograd.grad(output, tokens, torch.ones_like(output))

    return step


def compare(length: int, sparsity: float, bars: dict, seconds: float) -> Iterator[Row]:
    """`bars`: (whether training, the other) -> how many times as fast as it."""
    options = BlockSparsity(BLOCK_SIZE, sparsity, seed=0, layer=0)
    kept = f"{density(length, options):.3f}"
    tokens = [torch.randn(1, length, HEADS, WIDTH).transpose(1, 2).requires_grad_() for _ in range(3)]
    for train in (False, True):
        make = training_step if train else forward_step
        steps = {name: make(attention, tokens) for name, attention in candidates(length, options).items()}
        if length > 4096:
            steps.pop("masked, written out")  # its scores alone are gigabytes
        times = take_turns(steps, seconds)
        kind = "training" if train else "forward"
        for other in list(steps)[1:]:
            bar = bars.get((train, other))
            yield times.row(f"{kind}: {other} / block-sparse", other, "block-sparse", bar, at_least=True, density=kept)
        memory = {name: peak_memory(step) for name, step in steps.items()}
        for other in list(steps)[1:]:
            ratio = memory["block-sparse"] / memory[other]
            bar = 2.5 if not train and other == "dense SDPA" and length == 4096 else None
            details = {"density": kept, "memory": f"{memory['block-sparse']:.0f} / {memory[other]:.0f} MiB"}
            yield Row(f"{kind}: memory of block-sparse / {other}", ratio, ratio, ratio, bar, details=details)


def tables(seconds: float) -> Iterator[Table]:
    bars = {(False, "dense SDPA"): 5.0, (True, "dense SDPA"): 4.0, (False, "masked, written out"): 15.0}
    yield Table(
        "4096 tokens, sparsity 0.9, 1 thread", list(compare(4096, 0.9, bars, seconds)), value="times as fast, or ratio"
    )
    bars = {(False, "dense SDPA"): 2.5}
    yield Table(
        "8192 tokens, sparsity 0.8, 1 thread", list(compare(8192, 0.8, bars, seconds)), value="times as fast, or ratio"
    )
