# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Documents of different lengths to batches of a causal model: several in each sequence, hardly any padding.

The documents of a batch are shared out over sequences of about the same length; positions begin anew in each
document, by which the model knows that attention stays within it (`PackingCollator`).
"""

import heapq
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from mixture_of_transformers.loss_mot import IGNORED_LABEL


def pack(lengths: Sequence[int], pack_length: int) -> list[list[int]]:
    """
    Share documents out over as few sequences of at most `pack_length` tokens as make them all about as long; one that
    is longer by itself has a sequence of its own length.

    Args:
        lengths: of the documents, in tokens.

    Returns:
        The documents of each sequence, by their numbers, in their order.
    """
    longest = max([pack_length, *lengths])
    number = math.ceil(sum(lengths) / longest)
    while any(sum(lengths[document] for document in row) > longest for row in shared_out(lengths, number)):
        number += 1
    return sorted(sorted(row) for row in shared_out(lengths, number))


def shared_out(lengths: Sequence[int], number: int) -> list[list[int]]:
    """The longest documents first, each to the sequence with the fewest tokens so far (Graham, 1969)."""
    rows: list[list[int]] = [[] for _ in range(number)]
    filled = [(0, row) for row in range(number)]
    for document in sorted(range(len(lengths)), key=lambda document: -lengths[document]):
        tokens, row = heapq.heappop(filled)
        rows[row].append(document)
        heapq.heappush(filled, (tokens + lengths[document], row))
    return [row for row in rows if row]


@dataclass
class PackingCollator:
    """
    Documents to a batch of packed sequences.

    A document is a dict with `input_ids` (L,) and, where towers read pictures or sounds of it, `pixel_values`
    (N, C, H, W) and `input_features`, a list of N tensors (T_i, mel). The batch has `input_ids`, `position_ids` and
    `labels` (B, L), and the raw media in the order in which their places are read. What is no target is labelled -100:
    the first token of each document, placeholders of towers, and padding.

    Args:
        pad_token_id: what fills the shorter sequences.
        pack_length: the tokens of a sequence, at most.
        placeholder_ids: the ids that stand for a tower's tokens.
    """

    pad_token_id: int
    pack_length: int = 1024
    placeholder_ids: Collection[int] = ()

    def __call__(self, documents: Sequence[dict]) -> dict[str, torch.Tensor]:
        rows = pack([len(document["input_ids"]) for document in documents], self.pack_length)
        rows = [[documents[number] for number in row] for row in rows]
        ids = [torch.cat([document["input_ids"] for document in row]) for row in rows]
        positions = [torch.cat([torch.arange(len(document["input_ids"])) for document in row]) for row in rows]
        padding = [torch.arange(max(map(len, ids)) - len(row)) for row in ids]
        batch = {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_token_id),  # (B, L)
            "labels": pad_sequence([*map(self.labels, ids, positions)], batch_first=True, padding_value=IGNORED_LABEL),
            "position_ids": torch.stack([torch.cat(parts) for parts in zip(positions, padding)]),
        }
        return batch | raw_media([document for row in rows for document in row])

    def labels(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """The targets (L,) of a sequence, before the model shifts them."""
        is_none = (positions == 0) | torch.isin(ids, torch.tensor([*self.placeholder_ids], dtype=ids.dtype))
        return ids.masked_fill(is_none, IGNORED_LABEL)


def raw_media(documents: Sequence[dict]) -> dict[str, torch.Tensor]:
    """What towers read of documents: the pictures (N, C, H, W), and the sounds (N, T, mel) with a mask (N, T)."""
    pictures = [document["pixel_values"] for document in documents if "pixel_values" in document]
    sounds = [sound for document in documents for sound in document.get("input_features", ())]
    batch = {"pixel_values": torch.cat(pictures)} if pictures else {}
    if sounds:
        batch["input_features"] = pad_sequence(sounds, batch_first=True)
        masks = [torch.ones(len(sound), dtype=torch.long) for sound in sounds]
        batch["input_features_mask"] = pad_sequence(masks, batch_first=True)
    return batch
