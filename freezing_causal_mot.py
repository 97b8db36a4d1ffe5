# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a causal model knows of text stays as it is, while the rest of it learns (LMFusion, arXiv 2412.15188).

`frozen_vocab_size` of the config asks for it. The weights that text passes take no gradient, so that no optimizer and
no weight decay reaches them. The table of embeddings and the head hold rows of both sorts: the rows that learn are a
small parameter of their own beside the frozen table, and are put back into it where the model is saved, so that a
saved folder has the names of a model that is not frozen.
"""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization

from .configuration_causal_mot import PARTS, SHARED, TEXT, MoTCausalConfig


def learned_ids(config: MoTCausalConfig) -> list[int]:
    """
    The ids whose rows learn although text is frozen: those that begin or end a modality, and all that the vocabulary
    has beyond the frozen ones. In ascending order.
    """
    frozen = range(config.frozen_vocab_size)
    marks = {token for _, token in config.marks() if token in frozen}
    return [*sorted(marks), *range(len(frozen), config.vocab_size)]


class FrozenTable(nn.Module):
    """
    A table (vocab_size, d) of which only some rows learn: `weight` is frozen, and `learned` (n, d) stands in place of
    its rows `row_ids` (n,), in ascending order. What `weight` holds there is as old as the last saving or loading.
    """

    weight: nn.Parameter

    def take_out_rows(self, config: MoTCausalConfig) -> None:
        self.config = config
        ids = torch.tensor(learned_ids(config), dtype=torch.long, device=self.weight.device)
        self.register_buffer("row_ids", ids, persistent=False)
        self.learned = nn.Parameter(self.weight.detach()[ids])
        self.weight.requires_grad_(False)

    def initialize(self) -> None:
        """The library's step for what a checkpoint lacks: a saved folder has one table, with all rows."""
        initialization.copy_(self.row_ids, torch.tensor(learned_ids(self.config)))
        # A tied table is still without memory here, and so are its rows, which the library ties with it.
        initialization.copy_(self.learned, self.weight.detach()[self.row_ids.to(self.weight.device)])

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        if f"{prefix}weight" in state_dict and f"{prefix}learned" not in state_dict:  # of a saved folder
            rows = state_dict[f"{prefix}weight"][self.row_ids.to(state_dict[f"{prefix}weight"].device)]
            state_dict[f"{prefix}learned"] = rows
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class FrozenEmbedding(FrozenTable, nn.Embedding):
    def __init__(self, config: MoTCausalConfig):
        super().__init__(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.take_out_rows(config)

    def forward(self, input_ids: torch.LongTensor) -> torch.Tensor:
        """Ids (B, L) -> (B, L, d)."""
        places = torch.searchsorted(self.row_ids, input_ids).clamp(max=len(self.row_ids) - 1)
        is_learned = self.row_ids[places] == input_ids
        return torch.where(is_learned[..., None], F.embedding(places, self.learned), super().forward(input_ids))


class FrozenHead(FrozenTable, nn.Linear):
    def __init__(self, config: MoTCausalConfig):
        super().__init__(config.hidden_size, config.vocab_size, bias=False)
        self.take_out_rows(config)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Tokens (B, L, d) -> logits (B, L, vocab_size)."""
        logits = super().forward(hidden_states)
        return logits.index_copy_(-1, self.row_ids, F.linear(hidden_states, self.learned))


def build_embedding(config: MoTCausalConfig) -> nn.Embedding:
    """The table of embeddings that a config asks for."""
    if config.frozen_vocab_size is not None:
        return FrozenEmbedding(config)
    return nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)


def build_head(config: MoTCausalConfig) -> nn.Linear:
    """The head that a config asks for, without a bias."""
    if config.frozen_vocab_size is not None:
        return FrozenHead(config)
    return nn.Linear(config.hidden_size, config.vocab_size, bias=False)


class FreezingMixin:
    """How a `MoTCausalPreTrainedModel` whose config has a `frozen_vocab_size` is built, loaded, saved and resized."""

    # A saved folder has whole tables.
    _keys_to_ignore_on_save = ["embed_tokens.learned", "model.embed_tokens.learned", "lm_head.learned"]
    _keys_to_ignore_on_load_missing = [r"\.learned$"]

    def post_init(self):
        if self.config.frozen_vocab_size is not None and self._tied_weights_keys is not None:
            tied = {tuple(name.replace("weight", "learned") for name in pair) for pair in self._tied_weights_keys.items()}
            self._tied_weights_keys = self._tied_weights_keys | dict(tied)
        super().post_init()
        self.freeze_text()

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """As in the library; but text stays frozen, if the config says so."""
        found = super().from_pretrained(*args, **kwargs)
        model = found[0] if isinstance(found, tuple) else found
        model.freeze_text()  # anew, since the parameters of the checkpoint stand in place of those that were built
        return found

    def freeze_text(self) -> None:
        """Take what text passes out of training, if the config says so."""
        if self.config.frozen_vocab_size is not None:
            for module in self.text_modules():
                module.requires_grad_(False)
            for table in self.frozen_tables().values():
                table.weight.requires_grad_(False)

    def text_modules(self) -> Iterator[nn.Module]:
        """What a text token passes between the table of embeddings and the head."""
        base, text = self.base_model, self.config.expert_of(TEXT)
        for layer in base.layers:
            yield from (layer.block(part, text) for part in PARTS)
        yield base.norms[text if text in base.norms else SHARED]

    def frozen_tables(self) -> dict[str, FrozenTable]:
        return {name: module for name, module in self.named_modules() if isinstance(module, FrozenTable)}

    def whole_state_dict(self, state_dict: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
        """The state dict of this model, or one that was gathered of it, with all rows in the tables themselves."""
        state_dict = self.state_dict() if state_dict is None else state_dict
        for name, table in self.frozen_tables().items():
            if f"{name}.learned" in state_dict:
                whole, rows = state_dict[f"{name}.weight"].data, state_dict[f"{name}.learned"].data
                whole[table.row_ids.to(whole.device)] = rows
        return state_dict

    def write(self, save_directory, *args, **kwargs) -> None:
        if self.frozen_tables():
            kwargs["state_dict"] = self.whole_state_dict(kwargs.get("state_dict"))
        super().write(save_directory, *args, **kwargs)

    def resize_token_embeddings(self, *args, **kwargs) -> nn.Embedding:
        """As in the library; ids that are added to a frozen vocabulary learn."""
        self.whole_state_dict()
        resized = super().resize_token_embeddings(*args, **kwargs)
        if isinstance(resized, FrozenEmbedding):
            resized.take_out_rows(self.config)
            if (head := self.get_output_embeddings()) is not None:
                frozen = FrozenHead(self.config)
                frozen.weight = head.weight
                frozen.take_out_rows(self.config)
                self.set_output_embeddings(frozen)
                self.tie_weights()
        return resized

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, FrozenTable):
            module.initialize()


__all__ = ["FreezingMixin", "build_embedding", "build_head"]
