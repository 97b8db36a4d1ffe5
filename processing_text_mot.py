# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Text of a batch becomes token ids and their mask, by any tokenizer and from several threads at once."""

import numbers
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .rows_mot import present_rows, spread

# What options of text take: the least and the most.
LENGTHS_OF_TEXT = {"max_length": (1, 2**24), "pad_to_multiple_of": (1, 2**24), "stride": (0, 2**24)}
# A tokenizer keeps padding and truncation of the call that it is in, where a call on another thread would find them.
TOKENIZING = threading.Lock()
if hasattr(os, "register_at_fork"):  # a process that is forked meanwhile would find it taken, by nobody, for ever
    os.register_at_fork(
        before=TOKENIZING.acquire, after_in_parent=TOKENIZING.release, after_in_child=TOKENIZING.release
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


def collect_text(cells: list, tokenizer, options: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Strings or None to `input_ids` and `attention_mask` (B, Lt), and what else the options ask the tokenizer for."""
    indices = present_rows(cells)
    texts = [cells[i] for i in indices]
    for i, text in zip(indices, texts):
        if not isinstance(text, str):
            raise ValueError(f"text[{i}] has type {type(text).__name__}: expected a string or None.")
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
            raise ValueError(f"text[{i}] is {text!r}, which gives no tokens; pass None for a row without text.")
    return {name: spread(values, indices, len(cells)) for name, values in tokens.items()}


def check_whole(options: dict[str, Any], bounds: dict[str, tuple[int, int]]) -> None:
    """Raise a ValueError for an option that is given and no whole number within its bounds."""
    for name, (least, most) in bounds.items():
        value = options.get(name)
        if value is not None and not (
            isinstance(value, numbers.Integral) and least <= value <= most and value is not True
        ):
            raise ValueError(f"`{name}` is {value!r:.100}: expected a whole number from {least} to {most}, or None.")
