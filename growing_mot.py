# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A trained model takes one more modality.

The weights of the new one are put beside those that there are, in the modules where they belong; nothing that was
learnt moves. What a row without the new modality is answered stays the same, since absent tokens reach nothing.
"""

from typing import Any

import torch
from torch import nn
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import logging

from .fusion_mot import MoTEarlyFusion
from .modalities_mot import MODALITIES

logger = logging.get_logger(__name__)


class GrowingMixin:
    """How a `MoTPreTrainedModel` grows."""

    def add_modality(self, name: str, config: PreTrainedConfig | dict) -> list[str]:
        """
        Add a modality to this model, in place, with fresh weights. Its modality embedding begins at zero.

        Args:
            name: "text", "image" or "audio" where the model lacks it, or any other name.
            config: of the modality, as `MoTConfig({name}_config=...)` takes it. Of a dict that does not say how many
                layers its encoder has, it gets as many as the deepest of the others.

        Returns:
            The names of the parameters that were added, which an optimizer that was made before does not know.

        Raises:
            ValueError: the model has it already, or the config of a model with it cannot be.
        """
        if name in self.config.modalities:
            raise ValueError(
                f"This model has a modality {name!r} already: its modalities are {', '.join(self.config.modalities)}."
            )
        if config is None:
            raise ValueError(
                f"The modality {name!r} needs a config, as `MoTConfig({name}_config=...)` takes it; got None."
            )
        if isinstance(config, dict):
            config = {"num_hidden_layers": max(own.num_hidden_layers for _, own in towers_of(self.config))} | config
        content = self.config.to_dict() | {f"{name}_config": config}
        if name not in MODALITIES:
            content["extra_modalities"] = [*self.config.extra_modalities, name]
        grown = type(self.config).from_dict(content)
        # The library keeps with each config how its layers attend, and writes that to no file.
        grown._attn_implementation = {f"{m}_config": own._attn_implementation for m, own in towers_of(self.config)} | {
            "": self.config._attn_implementation,
            f"{name}_config": self.config._attn_implementation,
        }
        model_class: type[Any] = type(self)
        fresh = model_class(grown).to(device=self.device, dtype=self.dtype)
        known, modalities = {key for key, _ in self.named_parameters()}, self.config.modalities
        graft(self, fresh)
        for module in self.modules():
            if isinstance(module, MoTEarlyFusion):
                module.make_room(modalities)
        added = [key for key, _ in self.named_parameters() if key not in known]
        with torch.no_grad():
            for key in added:
                if key.endswith(f"modality_embeddings.{name}"):
                    self.get_parameter(key).zero_()
        self.train(self.training)
        numbers = sum(self.get_parameter(key).numel() for key in added)
        logger.warning(
            f"Added the modality {name!r}: {numbers:,} fresh weights, to be trained. Answers to rows without it are "
            "as they were."
        )
        return added


def towers_of(config) -> list[tuple[str, PreTrainedConfig]]:
    """The names and configs of a model's modalities."""
    return [(m, config.modality_config(m)) for m in config.modalities]


def graft(module: nn.Module, fresh: nn.Module) -> None:
    """
    Have a module take what another of its class has beyond it: modules, parameters, and the attributes that say what
    it consists of. What is wrapped, as by an adapter, is of another class and stays as it is.
    """
    if type(module) is not type(fresh):
        return
    for name, value in vars(fresh).items():
        if not name.startswith("_") and name != "training":
            setattr(module, name, value)
    for name, parameter in fresh.named_parameters(recurse=False):
        if name not in module._parameters:
            module.register_parameter(name, parameter)
    for name, child in fresh.named_children():
        if name in module._modules:
            graft(module._modules[name], child)
        else:
            module.add_module(name, child)
    # In the order in which a model is built that had it from the start.
    module._modules = {name: module._modules[name] for name in (*fresh._modules, *module._modules)}
    module._parameters = {name: module._parameters[name] for name in (*fresh._parameters, *module._parameters)}


__all__ = ["GrowingMixin"]
