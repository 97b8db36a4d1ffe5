# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A kind of modality in a file of its own: sweeps of a sonar, distances in all directions, of which an arc is a token.

`docs/own_kind.md` explains it line by line. The file imports torch, numpy and modules of the package by their names,
so that it can go with a checkpoint.
"""

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from mixture_of_transformers.cells_mot import Cell, ProcessorCall, present_rows, spread
from mixture_of_transformers.modality_mot import Modality, MoTEmbeddings, MoTModalityConfig, unit_scale
from mixture_of_transformers.positions_mot import as_mask, blank


@strict
class SonarConfig(MoTModalityConfig):
    """What a model with this modality consists of; the fields are those of every modality and these."""

    model_type = "sonar"  # the name of the kind in configs

    num_directions: int = 24
    arc: int = 4  # directions that make a token
    position_embedding_type: str = "sinusoidal"


class SonarModality(Modality):
    """One sweep for each row, (num_directions,) in metres."""

    kind = noun = "sonar"
    cells = (Cell("sonar", "sonar", None, ("sonar",), (), "[1.0, 2.5, ...]", dimensions=1),)
    config_class = SonarConfig
    length_field = "num_directions"
    has_times = False
    sources = "no other model"

    # The model

    def embeddings(self, config):
        return SonarEmbeddings(config, self)

    def length_limit(self, config):
        return config.num_directions // config.arc

    def describe(self, config):
        return f"sweeps of {config.num_directions} distances"

    def raw_stand_in(self, config, device):
        """The least input that becomes a token: what a batch without sonar trains on."""
        return torch.zeros(1, config.arc, device=device)

    def target_size(self, config):
        """How many numbers pretraining predicts of a hidden token."""
        return config.arc

    # The processor

    def is_one(self, cell, value):
        """A list of numbers is one sweep, a list of lists several."""
        return isinstance(value[0], (int, float))

    def collect(self, rows, call: ProcessorCall):
        """Lists or arrays of distances, None where a row has none, to (B, num_directions) and a mask (B,)."""
        ((name, cells),) = rows.items()
        indices = present_rows(cells)
        sweeps = [np.asarray(cells[i], dtype=np.float32) for i in indices]
        if len({sweep.shape for sweep in sweeps}) > 1 or sweeps[0].ndim != 1:
            raise ValueError(f"{name} has sweeps of shapes {sorted({sweep.shape for sweep in sweeps})}, expected one.")
        values, mask = torch.from_numpy(np.stack(sweeps)), torch.ones(len(sweeps), dtype=torch.long)
        return {
            self.names.raw: spread(values, indices, len(cells)),
            self.names.mask: spread(mask, indices, len(cells)),
        }


class SonarEmbeddings(MoTEmbeddings):
    """Distances (B, num_directions), with a mask (B,), to tokens (B, num_directions / arc, d)."""

    def __init__(self, config, modality):
        super().__init__(config, modality, config.num_directions // config.arc)
        self.projection = unit_scale(nn.Linear(config.arc, config.hidden_size))

    def input_mask(self, sweeps, mask):
        """Which tokens are real, (B, N) bool; None if all are."""
        mask = as_mask(mask, (len(sweeps),), self.names.mask)
        return None if mask is None else mask[:, None].expand(-1, sweeps.shape[1] // self.config.arc)

    def embed(self, sweeps, mask, dtype, times=None, hidden=None):
        """The tokens and their positions. What is not real is blanked, so that even NaN there does no harm."""
        token_mask = self.input_mask(sweeps, mask)
        arcs = blank(sweeps, as_mask(mask, (len(sweeps),), self.names.mask)).unflatten(1, (-1, self.config.arc))
        return self.projection(arcs.to(dtype)), self.positions(arcs.shape[1], token_mask, arcs.device)

    def targets(self, sweeps, mask):
        """What each token stands for, (B, N, arc); NaN where nothing is real."""
        arcs, token_mask = sweeps.unflatten(1, (-1, self.config.arc)).float(), self.input_mask(sweeps, mask)
        return arcs if token_mask is None else arcs.masked_fill(~token_mask[..., None], torch.nan)
