# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A kind of modality as a user writes one, in a file of his own: distances in all directions, of which an arc is a
token. It imports nothing but torch and the package, from the modules that define what it needs."""

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from mixture_of_transformers.cells_mot import Cell, ProcessorCall, present_rows, spread
from mixture_of_transformers.modality_mot import Modality, MoTEmbeddings, MoTModalityConfig, unit_scale
from mixture_of_transformers.positions_mot import as_mask, blank


@strict
class SonarConfig(MoTModalityConfig):
    model_type = "sonar"

    num_directions: int = 24
    arc: int = 4
    position_embedding_type: str = "sinusoidal"


class SonarModality(Modality):
    """One sweep of a sonar, (num_directions,) metres."""

    kind = noun = "sonar"
    cells = (Cell("sonar", "sonar", None, ("sonar",), (), "[1.0, 2.5, ...]", dimensions=1),)
    config_class = SonarConfig
    length_field = "num_directions"
    has_times = False
    sources = "no other model"

    def embeddings(self, config):
        return SonarEmbeddings(config, self)

    def describe(self, config):
        return f"sweeps of {config.num_directions} distances"

    def length_limit(self, config):
        return config.num_directions // config.arc

    def target_size(self, config):
        return config.arc

    def is_one(self, cell, value):
        return isinstance(value[0], (int, float))

    def collect(self, rows, call: ProcessorCall):
        (cells,) = rows.values()
        indices = present_rows(cells)
        sweeps = torch.from_numpy(np.stack([np.asarray(cells[i], dtype=np.float32) for i in indices]))
        mask = torch.ones(sweeps.shape[0], dtype=torch.long)
        return {
            self.names.raw: spread(sweeps, indices, len(cells)),
            self.names.mask: spread(mask, indices, len(cells)),
        }

    def raw_stand_in(self, config, device):
        return torch.zeros(1, config.arc, device=device)


class SonarEmbeddings(MoTEmbeddings):
    """Distances (B, num_directions), with a mask (B,): an arc of them is a token."""

    def __init__(self, config, modality):
        super().__init__(config, modality, config.num_directions // config.arc)
        self.projection = unit_scale(nn.Linear(config.arc, config.hidden_size))

    def input_mask(self, sweeps, mask):
        mask = as_mask(mask, (len(sweeps),), self.names.mask)
        return None if mask is None else mask[:, None].expand(-1, sweeps.shape[1] // self.config.arc)

    def embed(self, sweeps, mask, dtype, times=None, hidden=None):
        token_mask = self.input_mask(sweeps, mask)
        arcs = blank(sweeps, as_mask(mask, (len(sweeps),), self.names.mask)).unflatten(1, (-1, self.config.arc))
        return self.projection(arcs.to(dtype)), self.positions(arcs.shape[1], token_mask, arcs.device)

    def targets(self, sweeps, mask):
        arcs = sweeps.unflatten(1, (-1, self.config.arc)).float()
        token_mask = self.input_mask(sweeps, mask)
        return arcs if token_mask is None else arcs.masked_fill(~token_mask[..., None], torch.nan)
