# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Tiny causal configurations and rows of interleaved tokens, for the tests of the model that generates.

Text has ids below and above the other ranges, as a vocabulary has that was resized. Heads are no `hidden_size /
num_attention_heads` wide, and several queries share a key, so that nothing can be confused.
"""

import torch

from mixture_of_transformers import MoTCausalConfig

TEXT_IDS = (*range(20), 38, 39)
RANGES = [["image", 20, 30], ["audio", 30, 38]]
IDS = {"text": TEXT_IDS, "image": range(20, 30), "audio": range(30, 38)}
VOCAB_SIZE = 40

# What each setting changes in the tiny default.
SETTINGS = {
    "all untied": {},
    "attention untied": {"untied": ["attention"]},
    "feed-forward untied": {"untied": ["mlp"]},
    "norms untied": {"untied": ["norm"]},
    "nothing untied": {"untied": []},
    "dense twin": {"experts": {"image": "text", "audio": "text"}},
    "audio left out": {"experts": {"audio": "text"}, "untied": ["mlp", "attention"]},
    "crossed experts": {"experts": {"image": "second", "audio": "second", "text": "first"}},
    "biases, tied head": {
        "qk_norm": False,
        "attention_bias": True,
        "attention_output_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
    },
    "four modalities": {"token_ranges": [["depth", 10, 13], *RANGES], "num_key_value_heads": 4},
    "text alone": {"token_ranges": []},
}


def causal_config(setting="all untied", **overrides):
    fields = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "max_position_embeddings": 64,
        "token_ranges": RANGES,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return MoTCausalConfig(**fields | SETTINGS[setting] | overrides)


def tokens_of(modalities, seed=0):
    """An id of each of these modalities: a row, as a list."""
    generator = torch.Generator().manual_seed(seed)
    return [IDS[m][torch.randint(len(IDS[m]), (), generator=generator)] for m in modalities]


def interleaved(lengths, seed=0):
    """A row for each length, of segments of one to four tokens of any modality: lists of ids."""
    generator, names, rows = torch.Generator().manual_seed(seed), list(IDS), []
    for row, length in enumerate(lengths):
        modalities = []
        while len(modalities) < length:
            name, size = (
                torch.randint(len(names), (), generator=generator),
                torch.randint(1, 5, (), generator=generator),
            )
            modalities += [names[name]] * int(size)
        rows.append(tokens_of(modalities[:length], seed=seed + row))
    return rows


def padded(rows, side="left"):
    """Rows of any lengths as `input_ids` and `attention_mask`, padded with the id 0."""
    length = max(map(len, rows))
    fill = [[0] * (length - len(row)) for row in rows]
    ones = [[1] * len(row) for row in rows]
    join = (lambda a, b: a + b) if side == "left" else (lambda a, b: b + a)
    return {
        "input_ids": torch.tensor([join(blank, row) for blank, row in zip(fill, rows)]),
        "attention_mask": torch.tensor([join(blank, one) for blank, one in zip(fill, ones)]),
    }
