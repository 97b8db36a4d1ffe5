# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Text: token ids (B, L), and what the word embeddings make of them."""

import numbers
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedConfig

from .arguments_mot import can_look_at
from .cells_mot import Cell, ProcessorCall, RowReading, present_rows, spread
from .fronts_mot import longest_text, real_tokens_first
from .modality_mot import InputNames, LengthOption, Modality, MoTEmbeddings, MoTModalityConfig, unit_scale
from .positions_mot import as_mask, blank, seen_by_all

# What options of text take: the least and the most.
LENGTHS_OF_TEXT = {"max_length": (1, 2**24), "pad_to_multiple_of": (1, 2**24), "stride": (0, 2**24)}
# A tokenizer keeps padding and truncation of the call that it is in, where a call on another thread would find them.
TOKENIZING = threading.Lock()
if hasattr(os, "register_at_fork"):  # a process that is forked meanwhile would find it taken, by nobody, for ever
    os.register_at_fork(
        before=TOKENIZING.acquire, after_in_parent=TOKENIZING.release, after_in_child=TOKENIZING.release
    )


@strict
class MoTTextConfig(MoTModalityConfig):
    r"""
    Text: token ids, or ready features. Beyond [`MoTModalityConfig`]:

    Args:
        vocab_size (`int`, *optional*, defaults to 30522): Number of token ids.
        max_position_embeddings (`int`, *optional*, defaults to 512): The longest text in tokens.
        pad_token_id (`int`, *optional*, defaults to 0): The id of padding, whose embedding stays zero.
        position_embedding_type (`str`, *optional*, defaults to `"sinusoidal"`): `"sinusoidal"` or `"learned"`.
    """

    model_type = "mot_text"
    base_config_key = "text_config"

    vocab_size: int = 30522
    max_position_embeddings: int = 512
    pad_token_id: int | None = 0
    position_embedding_type: Literal["sinusoidal", "learned"] = "sinusoidal"

    def validate_text(self):
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(
                f"`pad_token_id` ({self.pad_token_id}) must lie in the vocabulary, 0 to {self.vocab_size - 1}."
            )


class TextModality(Modality):
    """Words of a vocabulary."""

    kind = noun = "text"
    cells = (
        Cell(
            name="text",
            argument="text",
            medium=None,
            columns=(
                "text",
                "text_features",
                "sentence",
                "caption",
                "transcription",
                "transcript",
                "utterance",
                "txt",
            ),
            synonyms=("texts", "sentence", "sentences"),
            example="a sentence",
            dimensions=0,
        ),
    )
    config_class = MoTTextConfig
    length_field = "max_position_embeddings"
    predicts_ids, has_times = True, False
    length_option = LengthOption("max_text_tokens", default=128)
    sources, part_of_pair = "SigLIP or RoBERTa-PreLayerNorm", "text_config"
    option_groups, settings = ("text_kwargs",), ("max_length",)  # tokens, where text is cut if it is asked to be

    def embeddings(self, config: MoTTextConfig) -> "MoTTextEmbeddings":
        return MoTTextEmbeddings(config, self)

    def describe(self, config: MoTTextConfig) -> str:
        return f"{self.describe_limit(config)} of a vocabulary of {config.vocab_size:,}"

    def describe_limit(self, config: MoTTextConfig) -> str:
        return f"up to {config.max_position_embeddings} tokens"

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        check_whole(settings, LENGTHS_OF_TEXT)

    def config_fields(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {"max_position_embeddings": settings["max_length"]} if "max_length" in settings else {}

    def collect(self, rows: dict[str, list], call: ProcessorCall) -> dict[str, torch.Tensor]:
        """
        Strings to ids (B, L) and their mask (B, L), and what else the options ask the tokenizer for, which under a
        user's name follows that name.
        """
        ((name, cells),) = rows.items()
        options = dict(call.options["text_kwargs"])
        if options.get("truncation") and options.get("max_length") is None and "max_length" in call.settings:
            options["max_length"] = call.settings["max_length"]
        tokens = collect_text(cells, name, call.processor.tokenizer, options)
        names = {"input_ids": self.names.raw, "attention_mask": self.names.mask}
        prefix = f"{self.name}_" if self.name in call.processor.modalities else ""
        unused = call.processor.unused_input_names
        return {names.get(key, prefix + key): values for key, values in tokens.items() if key not in unused}

    def check_cell(self, cell: Cell, value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{name} has type {type(value).__name__}: expected a string.")
        return value

    def decode_cell(self, cell: Cell, value: str, reading: RowReading) -> str:
        return value

    def cut_options(self, config: MoTTextConfig, processor: Any) -> dict[str, Any]:
        return {"truncation": True, "max_length": config.max_position_embeddings}

    def target_size(self, config: MoTTextConfig) -> int:
        return config.vocab_size

    def run_backbone(
        self, backbone: nn.Module, config: MoTTextConfig, input_ids: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        mask = mask_of_ids(input_ids, mask, self.names)
        if mask is None:
            return backbone(input_ids=input_ids).last_hidden_state, None
        input_ids, mask = real_tokens_first(input_ids, mask)
        input_ids = input_ids.masked_fill(~mask, config.pad_token_id or 0)
        return backbone(input_ids=input_ids, attention_mask=seen_by_all(mask).long()).last_hidden_state, mask

    def fields_of_front(self, front: PreTrainedConfig) -> dict[str, Any]:
        words = {name: getattr(front, name, None) for name in ("vocab_size", "pad_token_id")}
        return {name: value for name, value in words.items() if value is not None} | longest_text(front)

    def raw_stand_in(self, config: MoTTextConfig, device: torch.device) -> torch.Tensor:
        return torch.zeros(1, 1, dtype=torch.long, device=device)

    def fit_processor(self, config: MoTTextConfig, processor) -> None:
        """The tokenizer, which all texts share, is for the one with the historic name; others have settings."""
        if self.name in processor.modalities:
            processor.modalities[self.name]["max_length"] = config.max_position_embeddings
        else:
            processor.tokenizer.model_max_length = config.max_position_embeddings

    def token_labels(
        self, config: MoTTextConfig, inputs: dict[str, torch.Tensor], row: int, number: int, tokenizer=None
    ) -> list[str]:
        """The words, or their ids without a tokenizer."""
        ids = inputs[self.names.raw][row]
        ids = ids[self.real_places(inputs, row, len(ids)).to(ids.device)].tolist()
        return list(map(str, ids)) if tokenizer is None else tokenizer.convert_ids_to_tokens(ids)


def mask_of_ids(input_ids: torch.Tensor, mask: torch.Tensor | None, names: InputNames) -> torch.Tensor | None:
    """Which ids are real, (B, L) bool, after checking shapes; None if all are."""
    if input_ids.ndim != 2 or input_ids.is_floating_point():
        raise ValueError(
            f"`{names.raw}` has shape {tuple(input_ids.shape)} and type {input_ids.dtype}, "
            "expected integers of shape (batch, length)."
        )
    return as_mask(mask, tuple(input_ids.shape), names.mask)


class MoTTextEmbeddings(MoTEmbeddings):
    """Token ids (B, L), or what the word embeddings make of them (B, L, d)."""

    def __init__(self, config: MoTTextConfig, modality: TextModality):
        super().__init__(config, modality, config.max_position_embeddings)
        self.word_embeddings = unit_scale(nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id))

    def input_mask(self, input_ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        if self.is_embedded(input_ids):
            return as_mask(mask, tuple(input_ids.shape[:2]), self.names.mask)
        return mask_of_ids(input_ids, mask, self.names)

    def embed(self, input_ids: torch.Tensor, mask: torch.Tensor | None, dtype: torch.dtype, times=None, hidden=None):
        mask = self.input_mask(input_ids, mask)
        positions = self.positions(input_ids.shape[1], mask, input_ids.device)
        if self.is_embedded(input_ids):
            return blank(input_ids, mask).to(dtype), positions
        if mask is not None:
            input_ids = input_ids.masked_fill(~mask, self.config.pad_token_id or 0)
        self.check_ids(input_ids)
        return self.word_embeddings(input_ids), positions

    def takes_floats(self, name: str) -> bool:
        return name != self.names.raw

    def is_embedded(self, values: torch.Tensor) -> bool:
        return values.is_floating_point() and values.ndim == 3 and values.shape[-1] == self.config.hidden_size

    def check_embeds(self, values: torch.Tensor) -> None:
        if not self.is_embedded(values):
            raise ValueError(
                f"`{self.names.embeds}` has shape {tuple(values.shape)} and type {values.dtype}, expected floats of "
                f"shape (batch, length, {self.config.hidden_size})."
            )

    def check_ids(self, input_ids: torch.Tensor) -> None:
        if not can_look_at(input_ids):
            return
        vocab_size = self.config.vocab_size
        outside = input_ids[(input_ids < 0) | (input_ids >= vocab_size)]
        if len(outside):
            raise ValueError(
                f"`{self.names.raw}` holds {outside[0].item()}, outside the vocabulary of {vocab_size} (0 to "
                f"{vocab_size - 1}): is this the model's own tokenizer?"
            )


@contextmanager
def tokenizing(tokenizer) -> Iterator[None]:
    """One call at a time, which leaves a fast tokenizer, and so what it saves, as it was, also if the call fails."""
    with TOKENIZING:
        backend = getattr(tokenizer, "_tokenizer", None)
        truncation, padding = (getattr(backend, name, None) for name in ("truncation", "padding"))
        try:
            yield
        finally:
            if hasattr(backend, "no_truncation"):
                backend.enable_truncation(**truncation) if truncation else backend.no_truncation()
                backend.enable_padding(**padding) if padding else backend.no_padding()


def collect_text(cells: list, name: str, tokenizer, options: dict[str, Any]) -> dict[str, torch.Tensor]:
    """
    Strings or None, which `name` was given, to `input_ids` and `attention_mask` (B, L), and what else the options ask
    the tokenizer for.
    """
    indices = present_rows(cells)
    texts = [cells[i] for i in indices]
    for i, text in zip(indices, texts):
        if not isinstance(text, str):
            raise ValueError(f"{name}[{i}] has type {type(text).__name__}: expected a string or None.")
    check_whole(options, LENGTHS_OF_TEXT)
    if options.get("padding") and getattr(tokenizer, "pad_token", "") is None:
        raise ValueError(
            "The tokenizer has no padding token, which texts of several lengths need: its tokenizer_config.json is "
            "missing or names none. Set `processor.tokenizer.pad_token`."
        )
    with tokenizing(tokenizer):
        tokens = tokenizer(texts, **{**options, "return_tensors": "pt", "return_attention_mask": True})
    if len(tokens["attention_mask"]) != len(indices):
        raise ValueError(
            f"{len(indices)} texts gave {len(tokens['attention_mask'])} rows, which would fit no other input: leave "
            "out return_overflowing_tokens, or pass the parts as rows of their own."
        )
    for i, text, mask in zip(indices, texts, tokens["attention_mask"], strict=True):
        if not mask.any():
            raise ValueError(f"{name}[{i}] is {text!r}, which gives no tokens; pass None for a row without it.")
    return {name: spread(values, indices, len(cells)) for name, values in tokens.items()}


def check_whole(options: dict[str, Any], bounds: dict[str, tuple[int, int]]) -> None:
    """Raise a ValueError for an option that is given and no whole number within its bounds."""
    for name, (least, most) in bounds.items():
        value = options.get(name)
        if value is not None and not (
            isinstance(value, numbers.Integral) and least <= value <= most and value is not True
        ):
            raise ValueError(f"`{name}` is {value!r:.100}: expected a whole number from {least} to {most}, or None.")
