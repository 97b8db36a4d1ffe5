# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a run has when its data are read and its model is built, before it trains."""

from collections.abc import Callable
from dataclasses import dataclass, field

from transformers import PreTrainedModel

from mixture_of_transformers.processing_mot import MoTProcessor


@dataclass
class Prepared:
    """
    Args:
        splits: split -> its rows.
        model, processor: those that fit the data.
        encode: gives the encoded rows of a split, by its name.
        collators: what makes the batches, by the names of `MoTTrainer`'s arguments.
        compute_metrics: what the trainer computes from logits and labels, if anything.
    """

    splits: dict
    model: PreTrainedModel
    processor: MoTProcessor
    encode: Callable
    collators: dict[str, Callable] = field(default_factory=dict)
    compute_metrics: Callable | None = None
