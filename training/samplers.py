# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The order of the rows in training where rows of like length share a batch, or those of rare modalities come more
often."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import BatchRebalanceSampler, LengthGroupedSampler

from mixture_of_transformers.modality_mot import Modality
from mixture_of_transformers.training.encoded import modalities_of


class LengthSampler(LengthGroupedSampler):
    """
    Rows of like length together, in an order that seed and epoch decide, so that a resumed run has the same.

    Args:
        rows_of_a_step: among how many of these batches' rows the order is drawn.
        lengths: of each row.
        seed: of the order.
        epoch: gives the number of the epoch when it begins.
    """

    def __init__(self, rows_of_a_step: int, lengths: list[int], seed: int, epoch: Callable[[], int]):
        super().__init__(rows_of_a_step, lengths=lengths)
        self.seed, self.epoch = seed, epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self.seed + self.epoch())
        return super().__iter__()


class RebalanceSampler(BatchRebalanceSampler):
    """
    As the library's, in another order in each epoch, also on one process, where nothing tells the library's its epoch
    unless the run was resumed.

    Args:
        epoch: gives the number of the epoch when it begins.
    """

    def __init__(self, *args, epoch: Callable[[], int], **kwargs):
        super().__init__(*args, **kwargs)
        self.epoch_now = epoch

    def __iter__(self) -> Iterator[list[int]]:
        self.epoch = self.epoch_now()
        return super().__iter__()


class ModalitySampler(Sampler[int]):
    """
    As many rows as there are, in an order that seed and epoch decide, and those of a rare modality more often than
    others: a row stands for its rarest modality and comes by 1 / the share of rows that have that one. Its number in
    an epoch is within 1 of what it is to be on average (systematic sampling), so that rows which lack nothing come
    once each.

    Args:
        present: (N, M) bool, which of the modalities each row has.
        seed: of the order.
        epoch: gives the number of the epoch when it begins.
    """

    def __init__(self, present: torch.Tensor, seed: int, epoch: Callable[[], int]):
        rarity = torch.where(present, 1 / present.double().mean(dim=0), 0.0).amax(
            dim=1
        )  # (N,), 0 for a row of nothing
        self.weights = torch.where(rarity > 0, rarity, 1.0)
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        return len(self.weights)

    def __iter__(self) -> Iterator[int]:
        generator, number = torch.Generator().manual_seed(self.seed + self.epoch()), len(self)
        rows = torch.randperm(number, generator=generator)
        ends = self.weights[rows].cumsum(dim=0)
        places = (torch.arange(number) + torch.rand((), generator=generator)) / number * ends[-1]
        drawn = rows[torch.searchsorted(ends, places, right=True).clamp(max=number - 1)]
        return iter(drawn[torch.randperm(number, generator=generator)].tolist())


def length_of(row: dict[str, torch.Tensor], kinds: Mapping[str, Modality] | None = None) -> int:
    """
    How much of an encoded row is padded in a batch: its tokens, frames and ready features.

    Args:
        kinds: of the model's modalities, as for `modalities_of`.
    """
    return sum(
        modality.length_of(row[name])
        for modality in modalities_of(row, kinds)
        for name in modality.names.inputs
        if name in row
    )
