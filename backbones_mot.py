# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Any model of transformers in front of a tower: which part of a checkpoint it is, how it is built, and what is set so
that it can train. `fronts_mot.py` knows how it is called."""

import importlib

from torch import nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from .validation_mot import BOUNDS, shown

# These settings would leave parameters of a backbone out of some steps, and processes would wait for each other.
WITHOUT_GAPS = {"layerdrop": 0.0, "encoder_layerdrop": 0.0, "apply_spec_augment": False, "do_mask_input": False}
# Parameters that nothing depends on of what a model in front gives.
UNUSED = {"pooler", "mask_token", "masked_spec_embed", "deepstack_merger_list", "merger_list", "audio_bos_eos_token"}
# Where a config of several models has that which reads: Qwen-Omni's thinker, ColQwen's model, T5Gemma 2's encoder.
READERS = ("thinker_config", "vlm_config", "encoder")
# Vision models that take pictures as a row of patches, and give what they merge of these: Qwen-VL and its kin.
TAKES_PATCHES = {
    "qwen2_vl_vision",
    "qwen2_5_vl_vision",
    "qwen2_5_omni_vision_encoder",
    "qwen3_vl_vision",
    "qwen3_vl_moe_vision",
    "qwen3_omni_moe_vision_encoder",
    "qwen3_5_vision",
    "qwen3_5_moe_vision",
    "qwen4_exp_vision",
}
# The field that says how wide the output of a model is, where that is not `hidden_size`.
WIDTHS = {
    **dict.fromkeys(TAKES_PATCHES - {"qwen2_vl_vision"}, "out_hidden_size"),
    "gemma4_audio": "output_proj_dims",
    "qwen2_5_omni_audio_encoder": "output_dim",
    "qwen3_omni_moe_audio_encoder": "output_dim",
}


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


def part_of(config: PreTrainedConfig, name: str) -> PreTrainedConfig:
    """The config of the model of one modality, called `name`, in that of a model of several; or the config itself."""
    for place in (config, *(getattr(config, reader, None) for reader in READERS)):
        part = getattr(place, name, None) if name else None
        if isinstance(part, PreTrainedConfig):
            return part
    return config


def output_width(config: PreTrainedConfig) -> int:
    """The width of what a model in front gives."""
    if config.model_type in WIDTHS:
        return getattr(config, WIDTHS[config.model_type])
    if sizes := getattr(config, "hidden_sizes", None):
        return sizes[-1]
    return config.hidden_size


def model_class_of(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """
    The bare model of a config; of parts of larger models, which the Auto classes do not know, that which stands beside
    these.

    Raises:
        ValueError: transformers has no such model by itself.
    """
    if type(config) in MODEL_MAPPING:
        found = MODEL_MAPPING[type(config)]
        return found[0] if isinstance(found, tuple) else found
    module = importlib.import_module(type(config).__module__.replace("configuration_", "modeling_"))
    for found in vars(module).values():
        is_model = isinstance(found, type) and issubclass(found, PreTrainedModel)
        if is_model and getattr(found, "config_class", None) is type(config):
            return found
    raise ValueError(f"transformers has no model of type {config.model_type!r} by itself, which could stand in front.")


def build_backbone(config: PreTrainedConfig) -> nn.Module:
    """A model of transformers with fresh weights; of an encoder and a decoder the encoder."""
    if type(config) not in MODEL_MAPPING:
        return model_class_of(config)._from_config(config)
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
    """Take the parameters that nothing in the output depends on out of training, or all of them."""
    for name, parameter in backbone.named_parameters():
        # SigLIP pools by what it calls its head.
        if everything or name.startswith("head.") or not UNUSED.isdisjoint(name.split(".")):
            parameter.requires_grad_(False)
