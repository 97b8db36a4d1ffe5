# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The order of the rows in training where rows of like length share a batch."""

from collections.abc import Callable, Iterator, Mapping

import torch
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
