# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the fields of a config may be: bounds of numbers, names that exist, labels that fit.

A file that asks for more is damaged, or was made to fill the memory of whoever loads it.
"""

import difflib
import keyword
from collections.abc import Collection
from dataclasses import fields
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import logging

logger = logging.get_logger(__name__)

# The least and the most of each number. The most are far above any model that was built.
BOUNDS = {
    "hidden_size": (1, 2**17),
    "intermediate_size": (1, 2**20),
    "projection_dim": (1, 2**17),
    "num_attention_heads": (1, 2**12),
    "num_key_value_heads": (1, 2**12),
    "head_dim": (1, 2**12),
    "num_hidden_layers": (0, 1000),
    "num_joint_layers": (0, 1000),
    "num_global_layers": (0, 1000),
    "num_register_tokens": (0, 2**12),
    "feature_size": (1, 2**20),
    "vocab_size": (1, 2**24),
    "max_position_embeddings": (1, 2**24),
    "image_size": (1, 2**16),
    "patch_size": (1, 2**12),
    "num_channels": (1, 2**12),
    "num_frames": (1, 2**20),
    "num_mel_bins": (1, 2**12),
    "max_frames": (1, 2**27),
    "max_length": (1, 2**27),
    "sampling_rate": (1e-12, 2**31),
    "stem_stride": (1, 2**12),
    "mask_span": (1, 2**20),
    "num_numbers": (0, 2**16),
    "hidden_dropout": (0, 1),
    "attention_dropout": (0, 1),
    "classifier_dropout": (0, 1),
    "drop_path_rate": (0, 0.99),  # of what is kept, the inverse is taken
    "initializer_range": (0, 1000),
    "layer_norm_eps": (0, 1),
    "rms_norm_eps": (0, 1),
}
MOST_UNNAMED_LABELS = 2**16  # labels that `num_labels` asks for; those that `id2label` names may be more
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")


# What a modality cannot be called: its arguments would be those of others, its config one of the library's, its
# parameters those of another part of the model, or its share of an answer that of nothing.
RESERVED_NAMES = frozenset(
    {
        "self",
        "none",
        "all",
        "auto",
        "input",
        "inputs",
        "pixel",
        "attention",
        "label",
        "labels",
        "loss",
        "id",
        "fused",
        "prior",
        "contrastive",
        "modality",
        "document",
        "documents",
        "embeddings",
        "encoders",
        "modality_embeddings",
        "joint_layers",
        "global_layers",
        "layers",
        "heads",
        "experts",
        "fusion",
        "mot",
        "classifier",
        "projections",
        "prediction_heads",
        "mask_tokens",
        "backbone",
        "vision",
        "quantization",
        "compression",
        "generation",
        "distributed",
        "per_layer",
        "sub",
        "common",
        "images",
        "videos",
    }
)
# How the arguments of modalities end, so that no name may.
ARGUMENT_ENDS = ("values", "features", "mask", "times", "segments", "labels", "config", "column", "model", "kwargs")


def check_modality_name(name: Any, taken: Collection[str] = ()) -> None:
    """
    Args:
        taken: what else names that a user gives may not be, such as what pictures are called in a row.

    Raises:
        ValueError: a modality cannot be called so, with the reason.
    """
    reason = None
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        reason = "it is no identifier of letters, digits and underscores that begins with a letter"
    elif name.startswith("_") or "__" in name or len(name) > 64:
        reason = "it begins with an underscore, has two in a row, or is longer than 64 characters"
    elif name in RESERVED_NAMES or name in taken or hasattr(nn.ModuleDict, name) or hasattr(nn.Module(), name):
        reason = "that name means something else"
    elif name.rsplit("_", 1)[-1] in ARGUMENT_ENDS:
        reason = f"arguments of modalities end in _{name.rsplit('_', 1)[-1]}"
    if reason:
        match = difflib.get_close_matches(str(name), set(taken) - {name}, n=1, cutoff=0.8)
        hint = f" Did you mean {match[0]!r}?" if match else ""
        raise ValueError(f"A modality cannot be called {shown(name)!r}: {reason}. Give it another name.{hint}")


def check_fields(config: PreTrainedConfig) -> None:
    """
    Raises:
        ValueError: a field is a number out of its bounds or an unknown name, naming it and what it takes.
    """
    for name, (least, most) in BOUNDS.items():
        value = getattr(config, name, None) if name in config.__dataclass_fields__ else None
        if value is not None and not least <= value <= most:  # NaN is neither
            raise ValueError(f"`{type(config).__name__}.{name}` is {shown(value)}, expected {least} to {most}.")
    if config.hidden_act is not None and config.hidden_act not in ACT2FN:
        match = difflib.get_close_matches(config.hidden_act, ACT2FN, n=1)
        hint = f"did you mean {match[0]!r}?" if match else f"there are {', '.join(ACT2FN)}."
        raise ValueError(f"`{type(config).__name__}.hidden_act` is {shown(config.hidden_act)}: {hint}")


def check_library_fields(config: PreTrainedConfig, unknown: dict) -> None:
    """
    What the library takes from a config unchecked.

    Raises:
        ValueError: naming the field, what came and what is expected.
    """
    owner = type(config).__name__
    for name in unknown:
        own = getattr(type(config), name, None)
        if callable(own) or (isinstance(own, property) and own.fset is None):
            raise ValueError(f"{owner} has no field `{shown(name)}`, which is something it computes.")
    for name in ("_attn_implementation", "_experts_implementation"):  # code of the Hub, if the name is one of there
        if name in unknown:
            raise ValueError(
                f"A config does not say how to compute, and it has a `{name}`: pass it to `from_pretrained`."
            )
    for name in ("return_dict", "output_hidden_states"):
        if not isinstance(getattr(config, name), (bool, type(None))):
            raise ValueError(f"`{owner}.{name}` is {shown(getattr(config, name))}, expected true or false.")
    classes = config.architectures or []
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"`{owner}.architectures` is {shown(classes)}, expected a list of the names of classes.")
    for dtype in (config.dtype, unknown.get("torch_dtype")):
        known = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        if known is not None and not isinstance(known, torch.dtype) or (known is None and dtype is not None):
            raise ValueError(
                f"`{owner}.dtype` is {shown(dtype)}, expected the name of a type of torch, such as 'float32'."
            )
    count = unknown.get("num_labels")
    if count is not None and (type(count) is not int or not 1 <= count <= MOST_UNNAMED_LABELS):
        raise ValueError(
            f"`{owner}.num_labels` is {shown(count)}, expected a whole number from 1 to {MOST_UNNAMED_LABELS}; of "
            "more, `id2label` gives the names."
        )
    check_labels(config)


def check_labels(config: PreTrainedConfig) -> None:
    owner = type(config).__name__
    if config.problem_type is not None and config.problem_type not in PROBLEM_TYPES:
        raise ValueError(
            f"`{owner}.problem_type` is {shown(config.problem_type)}, expected one of {', '.join(PROBLEM_TYPES)}, or "
            "None."
        )
    names, ids = config.id2label, config.label2id
    if names is not None:
        if not isinstance(names, dict) or not names or sorted(map(str, range(len(names)))) != sorted(map(str, names)):
            raise ValueError(
                f"`{owner}.id2label` is {shown(names)}, expected a name for each number from 0 on, such as "
                f"{{0: 'no', 1: 'yes'}}."
            )
        if wrong := [name for name in names.values() if not isinstance(name, (str, int, float))]:
            raise ValueError(f"`{owner}.id2label` names a label {shown(wrong[0])}, expected a string.")
    if ids is not None and not isinstance(ids, dict):
        raise ValueError(
            f"`{owner}.label2id` is {shown(ids)}, expected a number for each name, such as {{'no': 0, 'yes': 1}}."
        )
    for name, number in (ids or {}).items():
        if not str(number).isdecimal():
            raise ValueError(
                f"`{owner}.label2id` gives the number {shown(number)} to the label {shown(name)}, expected a whole "
                "number."
            )


def shown(value: Any, most: int = 100) -> str:
    """A value in an error, which it may not fill."""
    try:
        text = str(value) if isinstance(value, str) else repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= most else f"{text[:most]}..."


def warn_of_near_misses(config: PreTrainedConfig, unknown: dict) -> None:
    """Unknown keys are kept, but one that nearly spells a field is most likely a typing error."""
    names = [f.name for f in fields(config) if not f.name.startswith("_")]
    for key in unknown:
        match = difflib.get_close_matches(key, names, n=1, cutoff=0.85)
        if match and not hasattr(type(config), key):
            logger.warning(
                f"{type(config).__name__} has no field `{key}`; did you mean `{match[0]}`? It is kept unused."
            )


def check_heads(owner: str, hidden_size: int | None, num_attention_heads: int | None) -> None:
    if hidden_size and num_attention_heads and hidden_size % num_attention_heads:
        raise ValueError(
            f"`{owner}.hidden_size` ({hidden_size}) must be a multiple of `{owner}.num_attention_heads` "
            f"({num_attention_heads})."
        )


# What `sparse_attention` takes: each option's default, what it may be in words, and whether a value is that.
SPARSE_ATTENTION = {
    "block_size": (
        64,
        "an int of at least 1 and at most 2**16",
        lambda value: type(value) is int and 1 <= value <= 2**16,
    ),
    "sparsity": (0.8, "a number from 0 to below 1", lambda value: type(value) in (int, float) and 0 <= value < 1),
    "seed": (0, "an int from 0 to below 2**32", lambda value: type(value) is int and 0 <= value < 2**32),
    "min_encoder_tokens": (1024, "an int of at least 0", lambda value: type(value) is int and value >= 0),
}


def complete_sparse_attention(options: dict) -> dict:
    """The options with defaults for those that are left out, after checking them."""
    for name, value in options.items():
        if name not in SPARSE_ATTENTION:
            raise ValueError(f"`sparse_attention` has no option {name!r}; it takes {', '.join(SPARSE_ATTENTION)}.")
        _, expected, is_valid = SPARSE_ATTENTION[name]
        if not is_valid(value):
            raise ValueError(f"`sparse_attention[{name!r}]` must be {expected}, got {value!r}.")
    return {name: default for name, (default, *_) in SPARSE_ATTENTION.items()} | options
