# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a causal model began as, a language model, stays in it: the logits of its ids, bit for bit, and with
`freeze_text` all that text passes, for good, while the rest learns (LMFusion, arXiv 2412.15188).

The weights that text passes take no gradient, so that no optimizer and no weight decay reaches them. The table of
embeddings and the head hold rows of both sorts: the rows that learn are a small parameter of their own beside the
frozen table, and are put back into it where the model is saved, so that a saved folder has the names of a model that
is not frozen.
"""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization

from .configuration_causal_mot import PARTS, SHARED, TEXT, MoTCausalConfig


def learned_ids(config: MoTCausalConfig) -> list[int]:
    """
    The ids whose rows learn although text is frozen: those that begin or end a modality, and all beyond the first,
    which are frozen. In ascending order.
    """
    marks = {token for _, token in config.marks() if token < config.num_first_ids}
    return [*sorted(marks), *range(config.num_first_ids, config.vocab_size)]


class FrozenTable(nn.Module):
    """
    A table (vocab_size, d) of which only some rows learn: `weight` is frozen, and `learned` (n, d) stands in place of
    its rows `row_ids` (n,), in ascending order. What `weight` holds there is as old as the last saving or loading.
    """

    weight: nn.Parameter

    def take_out_rows(self, config: MoTCausalConfig) -> None:
        self.config = config
        ids = torch.tensor(learned_ids(config), device=self.weight.device)
        self.register_buffer("row_ids", ids, persistent=False)
        self.learned = nn.Parameter(self.weight.detach()[ids])

    def initialize(self) -> None:
        """The library's step for what a checkpoint lacks: a saved folder has one table, with all rows."""
        initialization.copy_(self.row_ids, torch.tensor(learned_ids(self.config)))
        # A tied table is still without memory here, and so are its rows, which the library ties with it.
        initialization.copy_(self.learned, self.weight.detach()[self.row_ids.to(self.weight.device)])

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        if f"{prefix}weight" in state_dict and f"{prefix}learned" not in state_dict:  # of a saved folder
            table = state_dict[f"{prefix}weight"]
            state_dict[f"{prefix}learned"] = table[self.row_ids.to(table.device)]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class FrozenEmbedding(FrozenTable, nn.Embedding):
    """A table of embeddings of which only some rows learn."""

    def __init__(self, config: MoTCausalConfig):
        super().__init__(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.take_out_rows(config)

    def forward(self, input_ids: torch.LongTensor) -> torch.Tensor:
        """Ids (B, L) -> (B, L, d)."""
        places = torch.searchsorted(self.row_ids, input_ids.contiguous()).clamp(max=len(self.row_ids) - 1)
        is_learned = self.row_ids[places] == input_ids
        return torch.where(is_learned[..., None], F.embedding(places, self.learned), super().forward(input_ids))


class SplitHead(nn.Linear):
    """
    A head whose first rows are those of a source. They are a product of their own, as they are in the source: how a
    product is rounded depends on its size.
    """

    def __init__(self, config: MoTCausalConfig):
        super().__init__(config.hidden_size, config.vocab_size, bias=False)
        self.num_first = config.num_first_ids

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Tokens (B, L, d) -> logits (B, L, vocab_size)."""
        parts = self.weight[: self.num_first], self.weight[self.num_first :]
        return torch.cat([F.linear(hidden_states, part) for part in parts], dim=-1)


class FrozenHead(FrozenTable, SplitHead):
    """A head of which only some rows learn."""

    def __init__(self, config: MoTCausalConfig):
        super().__init__(config)
        self.take_out_rows(config)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        first = F.linear(hidden_states, self.weight[: self.num_first])
        learned = F.linear(hidden_states, self.learned)
        num_marks = len(self.row_ids) - (self.out_features - self.num_first)
        first.index_copy_(-1, self.row_ids[:num_marks], learned[..., :num_marks])
        return torch.cat([first, learned[..., num_marks:]], dim=-1)


def build_embedding(config: MoTCausalConfig) -> nn.Embedding:
    """The table of embeddings that a config asks for."""
    if config.freeze_text:
        return FrozenEmbedding(config)
    return nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)


def build_head(config: MoTCausalConfig) -> nn.Linear:
    """The head that a config asks for, without a bias."""
    if config.freeze_text:
        return FrozenHead(config)
    if config.num_first_ids < config.vocab_size and config.source_vocab_size is not None:
        return SplitHead(config)
    return nn.Linear(config.hidden_size, config.vocab_size, bias=False)


class FreezingMixin:
    """How a `MoTCausalPreTrainedModel` with frozen text is built, loaded, saved and resized."""

    _keys_to_ignore_on_load_missing = [r"\.learned$"]

    def post_init(self):
        if self.config.freeze_text and self._tied_weights_keys is not None:
            tables = self._tied_weights_keys.items()
            rows = {table.replace("weight", "learned"): of.replace("weight", "learned") for table, of in tables}
            self._tied_weights_keys = self._tied_weights_keys | rows
        if self.config.freeze_text:  # a saved folder has whole tables
            names = (name for name, _ in self.named_parameters(remove_duplicate=False))
            self._keys_to_ignore_on_save = [name for name in names if name.endswith(".learned")]
        super().post_init()
        self.freeze()

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """As in the library; but text stays frozen, if the config says so."""
        found = super().from_pretrained(*args, **kwargs)
        model = found[0] if isinstance(found, tuple) else found
        model.freeze()  # anew, since the parameters of the checkpoint stand in place of those that were built
        return found

    def freeze(self) -> None:
        """Take what text passes out of training, if the config says so."""
        if self.config.freeze_text:
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
        """The tables of which only some rows learn, by their names; none if text is not frozen."""
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
        """The library's own saving, of whole tables."""
        if self.frozen_tables():
            kwargs["state_dict"] = self.whole_state_dict(kwargs.get("state_dict"))
        super().write(save_directory, *args, **kwargs)

    def resize_token_embeddings(self, *args, **kwargs) -> nn.Embedding:
        """As in the library, which knows plain tables only; ids that are added to a frozen vocabulary learn."""
        self.whole_state_dict()
        size = self.config.vocab_size
        embedding = super().resize_token_embeddings(*args, **kwargs)
        if self.config.vocab_size == size:
            return embedding
        if isinstance(embedding, FrozenTable):
            embedding.take_out_rows(self.config)
        if (plain := self.get_output_embeddings()) is not None:
            with torch.device("meta"):
                head = build_head(self.config)
            head.weight = plain.weight
            if isinstance(head, FrozenTable):
                head.take_out_rows(self.config)
            head._is_hf_initialized = True  # as the library says of a head that it makes
            self.set_output_embeddings(head)
            self.tie_weights()
        return embedding

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, FrozenTable):
            module.initialize()


__all__ = ["FreezingMixin", "build_embedding", "build_head"]
