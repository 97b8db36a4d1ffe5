# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What embeds the rows and queries of an index: a model and its processor, known again by weights and settings."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.modeling import get_state_dict_offloaded_model

from mixture_of_transformers.head_retrieval_mot import MoTForRetrieval
from mixture_of_transformers.processing_mot import load_processor
from mixture_of_transformers.search.columns import extra_modalities
from mixture_of_transformers.search.description import EXTRA
from mixture_of_transformers.training.continuation import read_config
from mixture_of_transformers.training.loading import load_checkpoint

CLASSES = ("id2label", "label2id")  # tables of settings on which none depends either
# Parts of the names of settings on which no embedding depends, but other weights or training alone.
CHANGE_NO_EMBEDDING = (
    "_name_or_path",
    "architectures",
    "auto_map",
    "custom_pipelines",
    "processor_class",
    "dtype",
    "transformers_version",
    *CLASSES,
    "problem_type",
    "output_",
    "return_dict",
    "use_cache",
    "keys_to_ignore_at_inference",
    "initializer",
    "dropout",
    "drop_path",
    "mask_",
    "freeze",
    "contrastive",
    "loss",
)


def load(name: str, trust_remote_code: bool = False):
    """
    The model of a retrieval checkpoint, on the GPU if there is one, and its processor.

    Raises:
        ValueError: the checkpoint has no retrieval head.
    """
    classes = read_config(name).architectures or []
    if classes and MoTForRetrieval.__name__ not in classes and not trust_remote_code:
        raise ValueError(f"{name} holds {classes[0]}, which has no retrieval head: an index takes a MoTForRetrieval.")
    model = load_checkpoint(name, MoTForRetrieval, trust_remote_code)
    if torch.accelerator.is_available() and not hasattr(model, "hf_device_map"):  # which says where its parts are
        model.to(torch.accelerator.current_accelerator())
    return model, load_processor(name, trust_remote_code)


def fingerprint_of_weights(model, dtype: torch.dtype = torch.bfloat16) -> str:
    """A hash of the weights rounded to `dtype`, by default to one that float32 and bfloat16 have in common."""
    parameters = dict(model.named_parameters())
    if any(parameter.is_meta for parameter in parameters.values()):  # The weights lie elsewhere, such as on a disk.
        parameters = {
            name: value for name, value in get_state_dict_offloaded_model(model).items() if name in parameters
        }
    digest = hashlib.sha256()
    for name, parameter in parameters.items():
        digest.update(name.encode())
        digest.update(parameter.detach().to(dtype).cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def embedding_settings(model, processor) -> dict[str, Any]:
    """What embeddings depend on beside the weights, by dotted names, as JSON keeps it."""
    found = {"config": json.loads(model.config.to_json_string(use_diff=False))}
    found["processor"] = json.loads(processor.to_json_string())
    # Each as a whole, since names that a user gave to modalities and columns may be those of settings.
    modalities = found["processor"].pop("modalities", {})
    tokenizer = processor.tokenizer
    words = tokenizer.get_vocab()
    if hasattr(tokenizer, "backend_tokenizer"):  # It remembers how the last texts were cut and padded.
        words = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
    found["processor"]["tokenizer"] = hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()
    return dict(flattened(found)) | {f"processor.modalities.{name}": own for name, own in modalities.items()}


def flattened(settings: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of a dotted name and a value, of the settings within settings on which embeddings depend."""
    for name, value in settings.items():
        if isinstance(value, dict) and name not in CLASSES:
            yield from flattened(value, f"{prefix}{name}.")
        elif not any(part in name for part in CHANGE_NO_EMBEDDING):
            yield prefix + name, value


def difference(built: dict, given: dict) -> str:
    """
    What differs between two descriptions of what embeds, "" if nothing does; settings that one lacks do not count.
    """
    for name in ("width", "weights"):
        if built[name] != given[name]:
            return f"{name} ({built[name]!s:.12} and {given[name]!s:.12})"
    own, other = built.get("settings", {}), given.get("settings", {})
    found = [name for name in own if name in other and own[name] != other[name]]
    return f"{found[0]} ({own[found[0]]!r} and {other[found[0]]!r})" if found else ""


def check_retrieves(model) -> None:
    """
    Raises:
        ValueError: the model has no retrieval head.
    """
    if not hasattr(model, "get_fused_features"):
        raise ValueError(f"{type(model).__name__} has no retrieval head: an index takes a MoTForRetrieval as `model`.")


def describe_embedder(model, processor) -> dict[str, Any]:
    """What `index.json` says of a model and its processor, by which they are known again."""
    return {
        "weights": fingerprint_of_weights(model),
        "width": model.config.projection_dim,
        "model": model.config._name_or_path,
        "settings": embedding_settings(model, processor),
        EXTRA: list(extra_modalities(model)),
    }


def check_embedder(folder: Path, description: dict, model, processor) -> None:
    """
    Raises:
        ValueError: not this model and processor made the embeddings of an index.
    """
    given = describe_embedder(model, processor)
    if "settings" not in description:  # An earlier version took the weights as they are.
        given["weights"] = fingerprint_of_weights(model, torch.float32)
    if found := difference(description, given):
        names = [part["model"] or "a model without a name" for part in (description, given)]
        raise ValueError(
            f"{folder} holds embeddings of {names[0]!r}, with which those of {names[1]!r} cannot be compared: the two "
            f"differ in {found}. Pass the model and the processor that the index was built with, or build another "
            "index."
        )
