# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A checkpoint that is to answer, loaded whole and with nothing of it run."""

from pathlib import Path

import transformers
from transformers import PreTrainedModel

from mixture_of_transformers.heads_mot import AUTO_CLASSES
from mixture_of_transformers.training.continuation import is_adapter, load_model, read_config


def load_checkpoint(
    name: str | Path,
    model_class: type[PreTrainedModel],
    trust_remote_code: bool = False,
    token: str | bool | None = None,
) -> PreTrainedModel:
    """
    A checkpoint of the Hub or of a folder with all of its weights, or an adapter on its model, from safetensors and by
    the classes of this package.

    Args:
        model_class: of what it is to be, such as `MoTForRetrieval`.
        trust_remote_code: run the code that lies in the checkpoint in their place.
        token: of the Hub; False for none, None for that of whoever is logged in.

    Raises:
        ValueError: it is another model's, or a weight is missing or has another shape than the config says. OSError:
            there is no such checkpoint, or it has no safetensors.
    """
    if trust_remote_code:
        auto_class = next((auto for auto, own in AUTO_CLASSES.items() if own is model_class), "AutoModel")
        model, found = getattr(transformers, auto_class).from_pretrained(
            name, trust_remote_code=True, use_safetensors=True, output_loading_info=True, token=token
        )
        if lacking := sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]])):
            raise ValueError(f"{name} lacks {len(lacking)} weights of its model, such as {lacking[0]}: it is damaged.")
        return model
    model, _ = load_model(
        model_class,
        name,
        read_config(name, token=token, config_class=model_class.config_class),
        whole=True,
        token=token,
    )
    return model.get_base_model() if is_adapter(name) else model
