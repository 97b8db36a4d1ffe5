# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""How the tokens of a batch lie in memory: padded or packed.

Rows of a multimodal batch are uneven: texts differ in length, modalities are missing. *Padded*, every row is as long
as the longest, (B, L, d), and a mask hides what is not real. *Packed*, the real tokens of all rows stand one after
another, (1, N, d), and nothing else is computed; each row attends to itself alone. Layers work on either: what acts
token by token need not know, and attention goes through the layout (`layout.attend`).

Shapes: B rows, L tokens of a padded row, N real tokens of all rows, d width, H heads, D width of a head.
"""

import itertools

import torch
from torch import nn
from transformers.utils.generic import is_flash_attention_requested
from transformers.utils.import_utils import is_tracing

from .attention_mot import attention_mask_for, attention_of, multi_head_attention
from .positions_mot import seen_by_all
from .routing_mot import Movable, Routes, concatenate
from .sparse_attention_mot import (
    BlockSparsity,
    block_sparse_attention,
    block_sparse_flex_attention,
    block_sparse_mask,
    send,
)


def can_pack(config, tensor: torch.Tensor) -> bool:
    """
    Whether rows may be packed: where attention takes rows of any length, and outside of compiled code, which needs
    shapes that do not depend on values. Eager attention stays padded, since it returns its weights.
    """
    is_ragged = config._attn_implementation in ("sdpa", "flex_attention") or is_flash_attention_requested(config)
    return is_ragged and not is_tracing(tensor)


def varlen_runs(module: nn.Module, query: torch.Tensor) -> bool:
    """Whether torch's own FlashAttention for rows of many lengths takes these queries (..., d)."""
    head_size = query.shape[-1] // module.config.num_attention_heads
    return (
        query.dtype in (torch.float16, torch.bfloat16)
        and head_size % 8 == 0
        and head_size <= 256
        and query.is_cuda
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


# flex_attention over packed rows: whole blocks of each row, none of which is left out.
WHOLE_ROWS = BlockSparsity(block_size=128, sparsity=0.0, seed=0, layer=0)


class PaddedTokens(Movable):
    """
    Tokens in a rectangle, (B, L, d).

    Args:
        mask: (B, L) bool, which tokens are real; None means all.
        attention_mask: the same as the attention implementation takes it.
        lengths: how many tokens each of several modalities takes of a row.
    """

    def __init__(
        self,
        mask: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        lengths: tuple[int, ...] = (),
    ):
        self.mask, self.attention_mask, self.lengths = mask, attention_mask, lengths

    def joining(self, number: int) -> "PaddedTokens":
        """The layout once every `number` rows, which are segments, stand side by side as one."""
        return PaddedTokens(None if self.mask is None else self.mask.reshape(len(self.mask) // number, -1))

    def pack(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Padded tokens (B, L, d) in this layout."""
        return hidden_states

    def unpack(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Tokens in this layout as (B, L, d); what is not real there is to be blanked by `mask`."""
        return hidden_states

    def attend(self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **kwargs):
        """Attention within each row, by `multi_head_attention`."""
        attention_mask, sparsity = self.attention_mask, module.block_sparsity
        if sparsity is not None and sparsity.applies_to(self.lengths or query.shape[1:2]):
            attention_mask = self.sparse_mask(query, sparsity)
        return multi_head_attention(module, query, key, value, attention_mask, **kwargs)

    def sparse_mask(self, query: torch.Tensor, sparsity: BlockSparsity) -> torch.Tensor:
        """The mask of block-sparse attention, (B, 1, L, L), to be added to the scores: the reference, not faster."""
        mask = query.new_ones(query.shape[:2], dtype=torch.bool) if self.mask is None else self.mask
        kept = block_sparse_mask(mask.split(self.lengths or mask.shape[1], dim=1), sparsity)
        return query.new_zeros(kept.shape).masked_fill(~kept, torch.finfo(query.dtype).min)[:, None]

    def rand(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """A random number from 0 to 1 for each row, to be multiplied with tokens in this layout."""
        return torch.rand(hidden_states.shape[0], 1, 1, device=hidden_states.device)

    # A joint sequence is in the order of its rows; weights of their own want each modality by itself.

    def by_row(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Parts (B, L_m, d) -> (B, L, d)."""
        return concatenate(parts, dim=1)

    def by_modality(self, hidden_states: torch.Tensor) -> list[torch.Tensor]:
        """(B, L, d) -> parts (B, L_m, d)."""
        parts = hidden_states.split(self.lengths, dim=1)
        return [part.contiguous() for part in parts]  # Linear layers are fastest so.


class WrittenOut(PaddedTokens):
    """Padded tokens whose attention is written out, and so forms its weights, whatever the model's implementation."""

    @classmethod
    def of(cls, mask: torch.Tensor | None, hidden_states: torch.Tensor, lengths: tuple[int, ...] = ()) -> "WrittenOut":
        """The layout of tokens with `mask` (B, L), to be added to scores of the type of `hidden_states`."""
        if mask is None:
            return cls(lengths=lengths)
        hidden = ~seen_by_all(mask)[:, None, None]  # (B, 1, 1, L)
        scores = hidden_states.new_zeros(hidden.shape).masked_fill(hidden, torch.finfo(hidden_states.dtype).min)
        return cls(mask, scores, lengths)

    def attend(self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **kwargs):
        return super().attend(module, query, key, value, **(kwargs | {"implementation": "eager"}))


class PackedTokens(Movable):
    """
    Real tokens alone, row after row, (1, N, d).

    Args:
        shape: (B, L) of the padded form.
        lengths: how many real tokens each of the B rows has.
        indices: (N,) where in the padded form, flattened to B * L, the tokens stand; None: everywhere.
        source: (N,) where they stand among the rows that have any token, which is all that `pack` is given.
    """

    mask = None  # what it unpacks is blank already

    def __init__(
        self,
        shape: tuple[int, int],
        lengths: list[int],
        indices: torch.Tensor | None = None,
        source: torch.Tensor | None = None,
    ):
        self.shape, self.lengths, self.indices, self.source = shape, lengths, indices, source
        self.modality_lengths = [(length,) for length in lengths]  # of each row, how many tokens of each modality
        self.routes: Routes | None = None  # from a joint sequence to its modalities and back
        self.starts = None  # made when an attention first asks

    @classmethod
    def of(cls, mask: torch.Tensor, lengths: list[int], rows: torch.Tensor | None) -> "PackedTokens":
        """
        The layout of tokens with `mask` (B, L).

        Args:
            lengths: how many real tokens each row has.
            rows: their `rows_with_tokens`.
        """
        found = mask if rows is None else mask[rows]
        # The number is known, so that an accelerator need not be waited for.
        source = torch.nonzero_static(found.flatten(), size=sum(lengths))[:, 0]
        width = mask.shape[1]
        indices = source if rows is None else rows[source // width] * width + source % width
        return cls(tuple(mask.shape), lengths, indices, source)

    @classmethod
    def full(cls, layout: "PaddedTokens | PackedTokens", shape: tuple[int, int]) -> "PackedTokens":
        """A layout whose tokens are packed or all real, as one of packed tokens."""
        return layout if isinstance(layout, cls) else cls(tuple(shape), [shape[1]] * shape[0])

    def joining(self, number: int) -> "PackedTokens":
        """The layout once every `number` rows, which are segments, follow each other as one: no token moves."""
        shape = (self.shape[0] // number, self.shape[1] * number)
        lengths = [sum(row) for row in zip(*[iter(self.lengths)] * number)]
        return PackedTokens(shape, lengths, self.indices)

    @classmethod
    def joint(cls, parts: list["PackedTokens"], device: torch.device) -> "PackedTokens":
        """The layout of several modalities of the same rows, joined."""
        if len(parts) == 1:
            layout = parts[0]
            joint = cls(layout.shape, layout.lengths, layout.indices)
            order = None
        else:
            width = sum(part.shape[1] for part in parts)
            indices, offset = [], 0
            for part in parts:
                own = part.all_indices(device)
                indices.append(own // part.shape[1] * width + own % part.shape[1] + offset)
                offset += part.shape[1]
            joint = cls((parts[0].shape[0], width), [sum(lengths) for lengths in zip(*(p.lengths for p in parts))])
            joint.indices, sources = torch.cat(indices).sort()
            order = sources.argsort()
        joint.modality_lengths = list(zip(*(part.lengths for part in parts)))
        joint.routes = Routes(range(len(parts)), [sum(part.lengths) for part in parts], order)
        return joint

    def all_indices(self, device: torch.device) -> torch.Tensor:
        return torch.arange(self.shape[0] * self.shape[1], device=device) if self.indices is None else self.indices

    def pack(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Padded tokens (B', L, d) of the rows that have any -> (1, N, d)."""
        hidden_states = hidden_states.flatten(0, 1)
        return (hidden_states if self.source is None else hidden_states.index_select(0, self.source))[None]

    def unpack(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(1, N, d) -> (B, L, d), zero where nothing is real."""
        if self.indices is not None:
            padded = hidden_states.new_zeros(self.shape[0] * self.shape[1], hidden_states.shape[-1])
            hidden_states = padded.index_copy(0, self.indices, hidden_states[0])
        return hidden_states.reshape(*self.shape, -1)

    @torch.compiler.disable
    def attend(self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **kwargs):
        """Attention within each row, by the kernel for rows of many lengths that the implementation has."""
        config = module.config
        if query.shape[1] == 0:  # a modality that is given, and masked out in every row
            return query + key + value, None
        sparsity = module.block_sparsity
        if sparsity is not None and any(map(sparsity.applies_to, self.modality_lengths)):
            rows = self.modality_lengths
            return self.attend_to_blocks(module, query, key, value, rows=rows, sparsity=sparsity), None
        if is_flash_attention_requested(config):
            kwargs |= self.flash_arguments(query.device)
        elif config._attn_implementation == "flex_attention":
            rows = [(length,) for length in self.lengths]
            return self.attend_to_blocks(module, query, key, value, rows=rows, sparsity=WHOLE_ROWS), None
        elif query.device.type == "cpu" or len(set(filter(None, self.lengths))) == 1:
            return self.attend_row_by_row(module, query, key, value, **kwargs), None
        elif varlen_runs(module, query):
            return self.attend_varlen(module, query, key, value), None
        else:  # a kernel for each row would cost more to start than padding costs
            return self.attend_padded(module, query, key, value, **kwargs), None
        return multi_head_attention(module, query, key, value, **kwargs)

    def attend_row_by_row(self, module: nn.Module, *tokens: torch.Tensor, **kwargs) -> torch.Tensor:
        """
        One call for each run of rows of the same length. There are many of them, so that all that can be is done once,
        and what is left to a run is views.
        """
        runs = [(len(list(run)), length) for length, run in itertools.groupby(filter(None, self.lengths))]
        sizes = [rows * length for rows, length in runs]
        head_size = tokens[0].shape[-1] // module.config.num_attention_heads
        attention = attention_of(module, head_size)
        heads = [states.unflatten(-1, (-1, head_size)).split(sizes, dim=1) for states in tokens]  # (1, size, H, D)
        attended = []
        for (rows, length), *run in zip(runs, *heads):
            if rows > 1:
                run = [states[0].unflatten(0, (rows, length)) for states in run]
            output, _ = attention(*(states.transpose(1, 2) for states in run), None, **kwargs)  # (rows, length, H, D)
            attended.append(output if rows == 1 else output.flatten(0, 1)[None])
        return concatenate(attended, dim=1).flatten(2)

    def attend_varlen(self, module: nn.Module, *tokens: torch.Tensor) -> torch.Tensor:
        """
        Attention by torch's own FlashAttention for rows of many lengths. This is the operator below
        `torch.nn.attention.varlen`: it knows dropout, and its backward pass is not slowed by Python.
        """
        config = module.config
        head_size = tokens[0].shape[-1] // config.num_attention_heads
        query, key, value = (states[0].unflatten(-1, (-1, head_size)) for states in tokens)  # (N, H, D)
        starts, longest = self.row_starts(query.device), max(self.lengths)
        dropout = config.attention_dropout if module.training else 0.0
        rows = (starts, starts, longest, longest)
        output, *_ = torch.ops.aten._flash_attention_forward(
            query, key, value, *rows, dropout, module.is_causal, False
        )
        return output.flatten(1)[None]  # (N, H, D) -> (1, N, d)

    def attend_padded(self, module: nn.Module, *tokens: torch.Tensor, **kwargs) -> torch.Tensor:
        """Attention of the padded form, where all else stays packed."""
        mask = torch.zeros(self.shape, dtype=torch.bool, device=tokens[0].device)
        mask = mask.flatten().index_fill(0, self.all_indices(mask.device), True).reshape(self.shape)
        query, key, value = (self.unpack(states) for states in tokens)
        attention_mask = attention_mask_for(module.config, query, mask, module.is_causal)
        output, _ = multi_head_attention(module, query, key, value, attention_mask, **kwargs)
        return output.flatten(0, 1).index_select(0, self.all_indices(mask.device))[None]

    def attend_to_blocks(
        self, module: nn.Module, *tokens: torch.Tensor, rows: list[tuple[int, ...]], sparsity: BlockSparsity
    ) -> torch.Tensor:
        """
        Block-sparse attention, in chunks on a CPU, by flex_attention elsewhere and where it is asked for.

        Args:
            rows: of each, how many tokens of each modality.
        """
        in_chunks = tokens[0].device.type == "cpu" and module.config._attn_implementation == "sdpa"
        attention = block_sparse_attention if in_chunks else block_sparse_flex_attention
        heads = module.config.num_attention_heads
        query, key, value = (states.unflatten(-1, (heads, -1)).transpose(1, 2) for states in tokens)
        rows = tuple(row for row in rows if any(row))
        output = attention(query, key, value, rows, sparsity, query.shape[-1] ** -0.5)
        return output.flatten(2)

    def flash_arguments(self, device: torch.device) -> dict:
        """What FlashAttention's kernel for rows of many lengths wants to know."""
        starts, longest = self.row_starts(device), max(self.lengths)
        return {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": longest, "max_length_k": longest}

    def row_starts(self, device: torch.device) -> torch.Tensor:
        """Where each row that has tokens begins, and where the last one ends; made once for all layers."""
        if self.starts is None:
            edges = itertools.accumulate(filter(None, self.lengths), initial=0)
            self.starts = send(list(edges), torch.int32, device)
        return self.starts

    def rand(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """A random number from 0 to 1 for each row, (1, N, 1)."""
        numbers = torch.rand(self.shape[0], device=hidden_states.device)
        return numbers[self.all_indices(hidden_states.device) // self.shape[1]][None, :, None]

    def by_row(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """Parts (1, N_m, d) -> (1, N, d), row after row."""
        return self.routes.join([part[0] for part in parts])[None]

    def by_modality(self, hidden_states: torch.Tensor) -> list[torch.Tensor]:
        """(1, N, d), row after row -> parts (1, N_m, d)."""
        return [part[None] for part in self.routes.split(hidden_states[0])]


Layout = PaddedTokens | PackedTokens


def rows_with_tokens(lengths: list[int], device: torch.device) -> torch.Tensor | None:
    """The rows that have any tokens, (B',); None if all do."""
    present = [i for i, length in enumerate(lengths) if length]
    return None if len(present) == len(lengths) else send(present, torch.long, device)
