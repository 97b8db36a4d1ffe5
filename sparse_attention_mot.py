# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Block-sparse attention: blocks of queries look at a few blocks of keys, the same ones in every backend.

`block_pattern` says which blocks a row keeps. `block_sparse_mask` spells it out token by token for padded batches;
`block_sparse_attention` and `block_sparse_flex_attention` compute only what is kept, for packed tokens on a CPU and
on a GPU. Packed tokens are the real ones alone, row after row, each row modality after modality; their `rows` say how
many tokens each row has of each modality.

Blocks restart with each modality and count the real tokens of their row alone, so a row's pattern never depends on
padding or on its neighbours. A block of queries keeps its own block, the first block of every modality of the row
(so that the modalities always see each other), and others at random.

Shapes: B rows, M modalities, n blocks of a row, L padded and N packed tokens, H heads, D width of a head.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from .positions_mot import seen_by_all

RowLengths = tuple[tuple[int, ...], ...]  # of each row, how many tokens of each modality

WORD = 2**32 - 1  # what is hashed, and hashes, are integers from 0 to this
TILE_SCORES = 2**18  # queries times keys per head that may be held at once: 1 MiB in float32


def send(numbers: Sequence, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Numbers as a tensor on `device`, from memory that an accelerator copies when it comes to it, without a wait."""
    return torch.tensor(numbers, dtype=dtype, pin_memory=device.type == "cuda").to(device, non_blocking=True)


class BlockSparsity(NamedTuple):
    """`config.sparse_attention` as one layer needs it; rows of up to `min_blocks` blocks keep all."""

    block_size: int
    sparsity: float
    seed: int
    layer: int
    min_blocks: int = 0

    @classmethod
    def of(cls, options: dict | None, layer: int, is_encoder: bool = False) -> "BlockSparsity | None":
        """A layer's part of the options of a config, None for None; `layer` counts in an encoder or the joint part."""
        if options is None:
            return None
        min_blocks = options["min_encoder_tokens"] // options["block_size"] if is_encoder else 0
        return cls(options["block_size"], options["sparsity"], options["seed"], layer, min_blocks)

    def applies_to(self, lengths: Sequence[int]) -> bool:
        """Whether a row whose modalities have so many tokens leaves any block out; a shorter row may not."""
        counts = [blocks_of(length, self.block_size) for length in lengths]
        total, fewest = sum(counts), sum(count > 0 for count in counts)  # a first block requires the first ones alone
        return total > self.min_blocks and max(fewest, round((1 - self.sparsity) * total)) < total


# ---------------------------------------------------------------------------------------------------------------------
# The pattern
# ---------------------------------------------------------------------------------------------------------------------


def hashed(total: torch.Tensor, seed: int, layer: int, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """
    Integers below 2**32 that look random, distinct along `key`: a weighted sum, scattered by xorshifts and products.
    All multipliers are odd and below 2**31, so no product leaves int64 and all devices and compilers agree. All
    arguments are added first and scattered once, since a compiler that inlines the function doubles its code with
    every step that reads the word twice.
    """
    word = total * 0x3C6EF373 + query * 0x510E527F + key * 0x6A09E667
    word = (word + (seed * 0x5BE0CD19 & WORD) + layer * 0x1F83D9AB) & WORD
    word = (word ^ (word >> 15)) * 0x2C1B3C6D & WORD
    word = (word ^ (word >> 12)) * 0x297A2D39 & WORD
    return word ^ (word >> 15)


def block_pattern(block_counts: torch.Tensor, num_blocks: int, sparsity: BlockSparsity) -> torch.Tensor:
    """
    Which blocks of keys each block of queries keeps: the required ones (its own, and the first of every modality),
    then others in an order hashed from (blocks of the row, seed, layer, block of queries, block of keys), until
    max(required, round((1 - sparsity) * blocks of the row)) are kept. `round` is Python's: in double precision, halves
    go to the even neighbour.

    Args:
        block_counts: (B, M) integers, the blocks of each modality, 0 for one that the row lacks. A row's blocks are
            numbered modality after modality.
        num_blocks: n, at least the most blocks of a row.

    Returns:
        (B, n, n) booleans, queries by keys. What lies beyond a row's last block keeps nothing and is kept by nothing.
    """
    block = torch.arange(num_blocks, device=block_counts.device)
    total = block_counts.sum(-1, keepdim=True)  # (B, 1)
    exists = block < total  # (B, n)
    starts = (block_counts.cumsum(-1) - block_counts).unsqueeze(-1)  # (B, M, 1)
    is_first = ((block == starts) & (block_counts > 0).unsqueeze(-1)).any(1)  # (B, n)
    required = (is_first.unsqueeze(1) | (block == block.unsqueeze(1))) & exists.unsqueeze(1)  # (B, n, n)

    allowed = (total.double() * (1 - sparsity.sparsity)).round().long()  # (B, 1)
    allowed = torch.where(total > sparsity.min_blocks, allowed, total)
    kept_count = torch.maximum(required.sum(-1), allowed)  # (B, n)
    query, key = block.unsqueeze(-1), block
    rank = hashed(total.unsqueeze(-1), sparsity.seed, sparsity.layer, query, key)  # (B, n, n)
    rank = rank.masked_fill(required, -1).masked_fill(~exists.unsqueeze(1), WORD + 1)
    last_kept = rank.sort(-1).values.gather(-1, (kept_count - 1).clamp(min=0).unsqueeze(-1))
    return (rank <= last_kept) & exists.unsqueeze(1) & exists.unsqueeze(2)


def blocks_of(tokens, block_size: int):
    """How many blocks hold this many tokens: an int or a tensor of them."""
    return (tokens + block_size - 1) // block_size


def block_sparse_mask(masks: Sequence[torch.Tensor], sparsity: BlockSparsity) -> torch.Tensor:
    """
    The pattern token by token, for padded rows: which keys a query may look at. A query that is not real may look at
    every real key (at every key, where the row has no real one): its output is used nowhere, but must not be NaN.

    Args:
        masks: per modality (B, L_m) booleans, True for real tokens; holes and padding on any side are legal.

    Returns:
        (B, L, L) booleans, queries by keys, the modalities joined along both.
    """
    block_size = sparsity.block_size
    counts = [blocks_of(mask.sum(-1), block_size) for mask in masks]  # M times (B,)
    starts = itertools.accumulate(counts[:-1], initial=torch.zeros_like(counts[0]))
    blocks = [
        start.unsqueeze(-1) + (mask.cumsum(-1) - 1).clamp(min=0) // block_size for start, mask in zip(starts, masks)
    ]
    num_blocks = sum(blocks_of(mask.shape[-1], block_size) for mask in masks)
    block = torch.cat(blocks, dim=-1)  # (B, L)
    pattern = block_pattern(torch.stack(counts, dim=-1), num_blocks, sparsity)
    row = torch.arange(block.shape[0], device=block.device).view(-1, 1, 1)
    kept = pattern[row, block.unsqueeze(2), block.unsqueeze(1)]  # (B, L, L)

    real = torch.cat(list(masks), dim=-1)  # (B, L)
    return torch.where(real.unsqueeze(2), kept & real.unsqueeze(1), seen_by_all(real).unsqueeze(1))


# ---------------------------------------------------------------------------------------------------------------------
# Packed tokens on a CPU
# ---------------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def row_pattern(block_counts: tuple[int, ...], sparsity: BlockSparsity) -> tuple[tuple[int, ...], ...]:
    """`block_pattern` of one row as the numbers of the blocks that each block of queries keeps, in order."""
    pattern = block_pattern(torch.tensor([block_counts]), sum(block_counts), sparsity)
    return tuple(tuple(itertools.compress(itertools.count(), kept)) for kept in pattern[0].tolist())


def join_runs(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Joins each (first, last exclusive) with the one before it where they touch."""
    runs = []
    for start, stop in spans:
        if runs and runs[-1][1] == start:
            start, _ = runs.pop()
        runs.append((start, stop))
    return runs


class Tile(NamedTuple):
    """Queries that keep the same keys: their first and last token, and those of each run of keys (last exclusive)."""

    queries: tuple[int, int]
    keys: list[tuple[int, int]]


def attention_tiles(rows: RowLengths, sparsity: BlockSparsity) -> list[Tile]:
    """
    The patterns of all rows as tokens of the packed sequence, in order. Neighbouring blocks of queries that keep the
    same keys, as in rows too short to be sparse, share a tile as long as its scores fit into `TILE_SCORES`.
    """
    tiles, row_start, block_size = [], 0, sparsity.block_size
    for lengths in rows:
        sizes = [min(block_size, length - i) for length in lengths for i in range(0, length, block_size)]
        edges = list(itertools.accumulate(sizes, initial=row_start))
        counts = tuple(blocks_of(length, block_size) for length in lengths)
        for block, kept in enumerate(row_pattern(counts, sparsity)):
            start, stop = edges[block : block + 2]
            keys = join_runs([(edges[i], edges[i + 1]) for i in kept])
            num_keys = sum(end - begin for begin, end in keys)
            if tiles and tiles[-1].keys == keys and (stop - tiles[-1].queries[0]) * num_keys <= TILE_SCORES:
                start, _ = tiles.pop().queries
            tiles.append(Tile((start, stop), keys))
        row_start = edges[-1]
    return tiles


def gather(tokens: torch.Tensor, spans: list[tuple[int, int]]) -> torch.Tensor:
    """(N, H, D) -> (H, tokens in the spans, D)"""
    return torch.cat([tokens[start:stop] for start, stop in spans]).transpose(0, 1)


class PackedBlockSparseAttention(torch.autograd.Function):
    """
    Attention tile by tile over tokens (N, H, D): only what a tile keeps is gathered, so nothing of size N x N exists,
    and partial blocks need no mask. The backward pass gathers again instead of remembering.
    """

    @staticmethod
    def forward(ctx, query, key, value, tiles: list[Tile], scaling: float) -> torch.Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.tiles, ctx.scaling = tiles, scaling
        output = torch.empty_like(query)
        for queries, keys in tiles:
            tile = [gather(tokens, spans) for tokens, spans in ((query, [queries]), (key, keys), (value, keys))]
            # Four dimensions: what has three takes a kernel that holds all scores.
            attended = F.scaled_dot_product_attention(*(part.unsqueeze(0) for part in tile), scale=scaling)
            output[slice(*queries)] = attended.squeeze(0).transpose(0, 1)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: torch.Tensor) -> tuple:
        query, key, value = ctx.saved_tensors
        grad_query = torch.empty_like(query)
        # A modality's first block is kept by all queries: their many small shares would be lost in half precision.
        summed = torch.promote_types(key.dtype, torch.float32)
        grad_key, grad_value = torch.zeros_like(key, dtype=summed), torch.zeros_like(value, dtype=summed)
        for queries, keys in ctx.tiles:
            q = gather(query, [queries]) * ctx.scaling  # (H, tokens, D), as all that follow
            k, v, grad_o = gather(key, keys), gather(value, keys), gather(grad_output, [queries])
            weights = (q @ k.mT).softmax(dim=-1)
            grad_weights = grad_o @ v.mT
            # The softmax's own backward in one pass: weights * (grad_weights - (grad_weights * weights).sum(-1)).
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            grad_query[slice(*queries)] = (grad_scores @ k).mul_(ctx.scaling).transpose(0, 1)
            sizes = [stop - start for start, stop in keys]
            grad_k = (grad_scores.mT @ q).transpose(0, 1).split(sizes)
            grad_v = (weights.mT @ grad_o).transpose(0, 1).split(sizes)
            for (start, stop), run_grad_k, run_grad_v in zip(keys, grad_k, grad_v):
                grad_key[start:stop] += run_grad_k
                grad_value[start:stop] += run_grad_v
        return grad_query, grad_key.to(key.dtype), grad_value.to(value.dtype), None, None


def block_sparse_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: RowLengths,
    sparsity: BlockSparsity,
    scaling: float,
) -> torch.Tensor:
    """
    Attention of packed tokens on a CPU: q, k, v (1, H, N, D) -> (1, N, H, D).

    Args:
        rows: of each the lengths of its modalities, 0 for one that it lacks; they sum to N.
    """
    tiles = attention_tiles(rows, sparsity)
    # Squeezed, not indexed: the backward of an index fills a tensor of zeros first.
    tokens = (states.squeeze(0).transpose(0, 1) for states in (query, key, value))
    return PackedBlockSparseAttention.apply(*tokens, tiles, scaling).unsqueeze(0)


# ---------------------------------------------------------------------------------------------------------------------
# Packed tokens on a GPU
# ---------------------------------------------------------------------------------------------------------------------


class BlockSlots(NamedTuple):
    """Packed tokens spread over rows of whole blocks: where each goes, and who attends to whom there."""

    slots: torch.Tensor | None  # (N,) in the flattened (B, n * block_size); None: all of it, in order
    block_mask: BlockMask


@functools.lru_cache(maxsize=32)  # all layers of a few shapes: these are tensors on the device
@torch.inference_mode(False)  # what is made in inference mode could not serve a backward pass later
def block_slots(rows: RowLengths, sparsity: BlockSparsity, device: torch.device) -> BlockSlots:
    """Every modality of every row begins at a block of its own. Nothing of size N x N is ever made."""
    block_size = sparsity.block_size
    lengths = send(rows, torch.long, device)  # (B, M)
    counts = blocks_of(lengths, block_size)
    num_blocks = max(sum(blocks_of(length, block_size) for length in row) for row in rows)
    row = torch.arange(len(rows), device=device).unsqueeze(-1)
    first_slots = ((row * num_blocks + counts.cumsum(-1) - counts) * block_size).flatten()  # (B * M,)
    first_tokens = lengths.flatten().cumsum(0) - lengths.flatten()
    num_tokens = sum(map(sum, rows))
    shifts = (first_slots - first_tokens).repeat_interleave(lengths.flatten(), output_size=num_tokens)
    slots = torch.arange(num_tokens, device=device) + shifts
    real = torch.zeros(len(rows) * num_blocks * block_size, dtype=torch.bool, device=device)
    real = real.index_fill(0, slots, True).view(len(rows), -1)  # (B, n * block_size)

    pattern = block_pattern(counts, num_blocks, sparsity)  # (B, n, n)
    whole = real.unflatten(-1, (num_blocks, block_size)).all(-1).unsqueeze(1)  # (B, 1, n)

    def look_at(row, head, query, key):
        return pattern[row, query // block_size, key // block_size] & real[row, key]

    block_mask = BlockMask.from_kv_blocks(
        *ordered_blocks(pattern & ~whole), *ordered_blocks(pattern & whole), BLOCK_SIZE=block_size, mask_mod=look_at
    )
    return BlockSlots(None if num_tokens == len(real.flatten()) else slots, block_mask)


def ordered_blocks(kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, n, n) -> for all heads, how many blocks each block of queries keeps (B, 1, n), and which, those first."""
    indices = kept.int().argsort(dim=-1, descending=True, stable=True)
    return kept.sum(-1, dtype=torch.int32).unsqueeze(1), indices.int().unsqueeze(1)


@functools.cache
def compiled_flex_attention(autotune: bool):
    # A function of its own, since torch limits by function how often code is compiled anew, and others compile
    # flex_attention, too.
    def attend(*tensors: torch.Tensor, **options) -> torch.Tensor:
        return flex_attention(*tensors, **options)

    return torch.compile(attend, options={"max_autotune": True} if autotune else None)


def run_flex_attention(query, key, value, block_mask: BlockMask, scaling: float) -> torch.Tensor:
    """
    Compiled on a GPU, as it is on a CPU (slow and for inference only: the reference of what the GPU computes).

    The forward kernel is told its tile, since its default of 128 queries by 128 keys is slow where few blocks are kept
    (on an H200 at half the speed), and does not divide smaller blocks. For those, autotuning, which passes over tiles
    that do not fit, finds one for the backward kernel.
    """
    if query.device.type == "cpu":
        return flex_attention(query, key, value, block_mask=block_mask, scale=scaling)
    block_size = block_mask.BLOCK_SIZE[0]
    if block_size % 32 != 0:
        raise ValueError(
            f"On a GPU the block_size of sparse_attention must be a multiple of 32, got {block_size}: set it to "
            f"{blocks_of(block_size, 32) * 32}, or use attn_implementation='eager', which masks instead."
        )
    divisor = block_size & -block_size  # a power of two
    queries, keys = (128, 64) if divisor >= 128 else (min(divisor, 64), min(divisor, 64))
    options = {
        "FORCE_USE_FLEX_ATTENTION": True,  # not the kernel for a few queries, which wants other tiles
        "fwd_BLOCK_M": queries,
        "fwd_BLOCK_N": keys,
    }
    flex = compiled_flex_attention(autotune=divisor < 128)
    # Widths, single rows, single blocks and training are compiled for by themselves. Beyond the limit, which is 8 by
    # default, flex_attention holds all scores.
    with torch._dynamo.config.patch(recompile_limit=64):
        return flex(query, key, value, block_mask=block_mask, scale=scaling, kernel_options=options)


def block_sparse_flex_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: RowLengths,
    sparsity: BlockSparsity,
    scaling: float,
) -> torch.Tensor:
    """
    Attention of packed tokens on a GPU, by flex_attention: q, k, v (1, H, N, D) -> (1, N, H, D).

    Args:
        rows: of each the lengths of its modalities, 0 for one that it lacks; they sum to N.
    """
    slots, block_mask = block_slots(rows, sparsity, query.device)
    batch_size, _, _, length = block_mask.shape

    def spread(states: torch.Tensor) -> torch.Tensor:
        tokens = states.squeeze(0).transpose(0, 1)  # (N, H, D)
        if slots is not None:
            tokens = tokens.new_zeros(batch_size * length, *tokens.shape[1:]).index_copy(0, slots, tokens)
        return tokens.unflatten(0, (batch_size, length)).transpose(1, 2)  # (B, H, n * block_size, D)

    output = run_flex_attention(spread(query), spread(key), spread(value), block_mask, scaling)
    output = output.transpose(1, 2).flatten(0, 1)
    return (output if slots is None else output.index_select(0, slots)).unsqueeze(0)
