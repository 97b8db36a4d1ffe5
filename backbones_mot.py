# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Any model of transformers in front of a tower: how it is built, and what is set so that it can train."""

from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from .validation_mot import BOUNDS, shown

# These settings would leave parameters of a backbone out of some steps, and processes would wait for each other.
WITHOUT_GAPS = {"layerdrop": 0.0, "encoder_layerdrop": 0.0, "apply_spec_augment": False}
UNUSED = {"pooler", "mask_token", "masked_spec_embed"}  # parameters that no `last_hidden_state` depends on


def backbone_config(config: PreTrainedConfig | dict) -> PreTrainedConfig:
    """The config of any model; a dict names the model by its `model_type`.

    Raises:
        ValueError: a dict has no `model_type`, names code on the Hub, or asks for more layers than any model has.
    """
    if isinstance(config, PreTrainedConfig):
        return config
    if not isinstance(config.get("model_type"), str):
        raise ValueError("`backbone_config` needs the `model_type` of its model, such as 'bert'.")
    for name, value in config.items():
        if name.endswith(("attn_implementation", "experts_implementation")) and "/" in str(value):
            raise ValueError(f"`backbone_config.{name}` names code on the Hub, {shown(value)}: leave it out.")
        if "layer" in name and isinstance(value, int) and value > BOUNDS["num_hidden_layers"][1]:
            raise ValueError(f"`backbone_config.{name}` is {shown(value)}, expected at most 1000 layers.")
    return AutoConfig.for_model(**config)


def output_width(config: PreTrainedConfig) -> int:
    """The width of a model's `last_hidden_state`."""
    if sizes := getattr(config, "hidden_sizes", None):
        return sizes[-1]
    return config.hidden_size


def build_backbone(config: PreTrainedConfig) -> nn.Module:
    """A model of transformers with fresh weights; of an encoder and a decoder the encoder."""
    try:
        model = AutoModel.from_config(config, add_pooling_layer=False)  # Nothing would ever use it.
    except TypeError:
        model = AutoModel.from_config(config)
    return encoder_of(model)


def encoder_of(model: PreTrainedModel) -> nn.Module:
    return model.get_encoder() if model.config.is_encoder_decoder else model


def close_gaps(backbone: nn.Module) -> None:
    """Set what would leave parameters out of some steps."""
    for name in WITHOUT_GAPS.keys() & set(vars(backbone.config)):
        setattr(backbone.config, name, WITHOUT_GAPS[name])


def freeze_unused(backbone: nn.Module, everything: bool) -> None:
    """Take the parameters that no `last_hidden_state` depends on out of training, or all of them."""
    for name, parameter in backbone.named_parameters():
        if everything or not UNUSED.isdisjoint(name.split(".")):
            parameter.requires_grad_(False)
