# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which parameters learn, and how fast: selectors of parameters, freezing, learning rates, and adapters.

A *selector* names some of a model's parameters: those of a modality (`text`), of a part (`encoders`), or of both
(`text.encoders`). Learning rates and freezing go by selectors; where two fit a parameter, the longer one decides, and
of two as long the one that was given last.
"""

import math
import re
from collections.abc import Iterable, Sequence

import torch
from torch import nn
from transformers import TrainingArguments
from transformers.utils import logging

from mixture_of_transformers.configuration_causal_mot import SHARED, MoTCausalConfig
from mixture_of_transformers.configuration_mot import MoTConfig

logger = logging.get_logger(__name__)

# Behind which words of a parameter's name its modality stands; anywhere else a word means no modality, whatever users
# call theirs.
BEFORE_MODALITY = ("embeddings", "modality_embeddings", "encoders", "experts", "missing")
BEFORE_MODALITY_IN_HEADS = ("prediction_heads", "mask_tokens", "projections")
PARTS = ("embeddings", "encoders", "joint_layers", "global_layers", "fusion", "heads")
# Those of a causal model, whose parameters stand under these names; a tower and its projector are one part.
CAUSAL_PARTS = ("embed_tokens", "towers", "layers", "norms", "lm_head")
# Weight decay leaves out these parameters beside norms and biases: each is a number or a vector of its own, or a table
# of such vectors, and not a product's matrix, so that decay would draw it to zero and nothing else.
WITHOUT_DECAY = ("modality_embeddings", "position_embeddings", "word_embeddings", "cls_token", "register_tokens")
WITHOUT_DECAY += ("category_embeddings", "mask_tokens", "fusion.missing", "fusion.query", "log_scale")
WITHOUT_DECAY += ("embed_tokens", "norms.")  # of a causal model


def place_of(name: str) -> tuple[str, str | None, int | None]:
    """
    Where a parameter belongs, from its name: its part, its modality (None if it serves all), and the number of its
    layer in an encoder or among the joint or global layers (None outside of layers).
    """
    # Without what wrappers put between: `modules_to_save.default` of peft, `_orig_mod` of torch.compile.
    name = re.sub(r"\b(original_module|modules_to_save\.[^.]+|_[^.]+)\.", "", name)
    words = name.split(".")
    if (place := causal_place_of(words)) is not None:
        return place
    # The first of these is the model's own part: a modality may be called like any of them, but stands behind one.
    known = (*PARTS, "modality_embeddings", *BEFORE_MODALITY_IN_HEADS)
    start = next((i for i, word in enumerate(words) if word in known), None)
    if start is None:
        return "heads", None, None
    if words[start] in BEFORE_MODALITY_IN_HEADS:
        modality = words[start + 1]
        return "heads", None if modality == "fused" else modality, None
    part = "embeddings" if words[start] == "modality_embeddings" else words[start]
    inner = words[start:]
    before = {"joint_layers": 2, "fusion": 1}.get(part, 0)  # joint_layers.1.experts.text, fusion.missing.text
    is_of_one = len(inner) > before + 1 and inner[before] in BEFORE_MODALITY
    modality = inner[before + 1] if is_of_one else None
    place = 3 if part == "encoders" else 1  # encoders.text.layers.0, joint_layers.0, global_layers.0
    has_layer = part.endswith("_layers") or (part == "encoders" and inner[2] == "layers")
    return part, modality, int(inner[place]) if has_layer else None


def causal_place_of(words: Sequence[str]) -> tuple[str, str | None, int | None] | None:
    """`place_of` a parameter of a causal model, whose modality is its expert; None for one of another model."""
    start = next((i for i, word in enumerate(words) if word in CAUSAL_PARTS), None)
    if start is None or not {*words[:start]} <= {"model", "base_model", "module"}:
        return None
    part, *inner = words[start:]
    if part == "layers":
        return part, inner[2] if inner[1] == "experts" else None, int(inner[0])
    if part == "norms":
        return part, None if inner[0] == SHARED else inner[0], None
    return part, inner[1] if part == "towers" else None, None


def parts_of(config: MoTConfig | MoTCausalConfig) -> tuple[str, ...]:
    return CAUSAL_PARTS if isinstance(config, MoTCausalConfig) else PARTS


def check_selectors(selectors: Iterable[str], config: MoTConfig | MoTCausalConfig) -> None:
    """Raises ValueError for a selector that names neither a modality of the model, nor a part, nor both."""
    modalities, parts = config.modalities, parts_of(config)
    known = {*modalities, *parts, *(f"{modality}.{part}" for modality in modalities for part in parts)}
    if unknown := [selector for selector in selectors if selector not in known]:
        raise ValueError(
            f"{', '.join(map(repr, unknown))} names no parameters of this model: give a modality "
            f"({', '.join(modalities)}), a part ({', '.join(parts)}), or both, as in '{modalities[0]}.{parts[1]}'."
        )


def is_selected(name: str, selector: str) -> bool:
    """Whether a selector names the parameter `name`."""
    part, modality, _ = place_of(name)
    return all(word in (part, modality) for word in selector.split("."))


def freeze(model: nn.Module, selectors: Iterable[str]) -> None:
    """
    Take parameters out of training; dropout and stochastic depth stay as they are.

    Raises:
        ValueError: a selector names nothing, or nothing is left to train.
    """
    selectors = list(selectors)
    check_selectors(selectors, model.config)
    for name, parameter in model.named_parameters():
        if any(is_selected(name, selector) for selector in selectors):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"Freezing {', '.join(selectors)} leaves nothing to train.")


def layers_above(name: str, config: MoTConfig | MoTCausalConfig) -> int:
    """How many layers lie between a parameter and the head: 0 for the head itself, the fusion and final norms."""
    part, modality, layer = place_of(name)
    if isinstance(config, MoTCausalConfig):
        if part in ("norms", "lm_head"):
            return 0
        return config.num_hidden_layers - layer if part == "layers" else config.num_hidden_layers + 1
    if part in ("fusion", "heads"):
        return 0
    if part == "global_layers":
        return config.num_global_layers - layer
    joint_part = config.num_global_layers + (
        config.num_joint_layers - layer if part == "joint_layers" else config.num_joint_layers
    )
    if part == "joint_layers":
        return joint_part
    depth = config.modality_config(modality).num_hidden_layers
    if part == "embeddings":
        return joint_part + depth + 1
    return joint_part + (depth - layer if layer is not None else 0)


def learning_rate_of(
    name: str,
    config: MoTConfig | MoTCausalConfig,
    learning_rate: float,
    learning_rates: dict[str, float],
    layer_decay: float,
) -> float:
    """
    The peak learning rate of a parameter: that of the selector that fits it best, or `learning_rate`, times
    `layer_decay` for each layer above it (arXiv 2003.10555).
    """
    fitting = [selector for selector in learning_rates if is_selected(name, selector)]
    if fitting:
        longest = max(selector.count(".") for selector in fitting)
        learning_rate = learning_rates[[selector for selector in fitting if selector.count(".") == longest][-1]]
    return learning_rate * layer_decay ** layers_above(name, config)


def split_by_learning_rate(
    optimizer: torch.optim.Optimizer, model: nn.Module, learning_rates: dict[str, float], layer_decay: float = 1.0
) -> None:
    """
    Split the groups of an optimizer that has not stepped yet, so that each parameter has its learning rate.

    Args:
        optimizer: over parameters of `model`; a group's own learning rate is that of what no selector fits.
        learning_rates: selector -> peak learning rate.
        layer_decay: see `learning_rate_of`; 1 for none.

    Raises:
        ValueError: a selector names nothing.
    """
    check_selectors(learning_rates, model.config)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        by_rate: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            rate = learning_rate_of(names[parameter], model.config, group["lr"], learning_rates, layer_decay)
            by_rate.setdefault(rate, []).append(parameter)
        groups += [{**group, "params": parameters, "lr": rate} for rate, parameters in by_rate.items()]
    optimizer.param_groups = groups


def settings_of(optimizer) -> dict[str, float]:
    """
    What an optimizer was made with, by the names of the arguments: the highest of its groups' peak rates, and likewise
    the highest weight decay and betas.
    """
    groups = optimizer.param_groups
    found = {
        "learning_rate": [group.get("initial_lr", group["lr"]) for group in groups],
        "weight_decay": [group["weight_decay"] for group in groups if "weight_decay" in group],
    }
    for i, name in enumerate(("adam_beta1", "adam_beta2")):
        found[name] = [group["betas"][i] for group in groups if "betas" in group]
    return {name: float(max(values)) for name, values in found.items() if values}


def keep_settings(args: TrainingArguments, asked: dict[str, float], optimizer: torch.optim.Optimizer) -> None:
    """
    Where the optimizer of a checkpoint, which goes on, does not have what the arguments ask for, say so and let the
    arguments be those that hold.

    Args:
        asked: `settings_of` the optimizer as the arguments had it made.
    """
    for name, old in settings_of(optimizer).items():
        new = asked.get(name, old)
        if math.isclose(old, new, rel_tol=1e-9):
            continue
        wanted = getattr(args, name)
        # The highest rate is a multiple of the argument where --learning_rates has one.
        setattr(args, name, wanted * old / new if name == "learning_rate" and new else old)
        logger.warning(
            f"--{name} stays {getattr(args, name):g}, that of the checkpoint, whose schedule goes on; {wanted:g} is "
            "not taken. To train with it, begin a run with the checkpoint's weights (--model_name_or_path)."
        )


def add_lora(model: nn.Module, rank: int = 8, train_words: bool | None = None) -> nn.Module:
    """
    A model whose layers learn through low-rank adapters (LoRA, arXiv 2106.09685; `peft`) on all their projections, and
    whose head learns as it is. Of a model in front of a tower that learns (`freeze_backbone=False`) all linear layers
    are adapted, and none of one that stays as it is. `save_pretrained` writes the adapter and the head alone,
    `merge_and_unload` gives the model back with both inside. For heads that classify, regress or retrieve.

    Args:
        rank: of the adapters; they are scaled by 2.
        train_words: whether the word embeddings learn as they are and are saved with the adapter, as words need that
            the model under it does not have; by default if there are more or fewer than in the checkpoint that the
            model was loaded from.

    Raises:
        ImportError: `peft` is not installed.
    """
    others = (name.partition(".")[0] for name, _ in model.named_parameters())
    heads = list(dict.fromkeys(name for name in others if name != model.base_model_prefix))
    if has_other_words(model) if train_words is None else train_words:
        heads.append("word_embeddings")
    projections = ["q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"]
    in_front = {name: layer for name, layer in model.named_modules() if ".backbone." in name}
    in_front = {name: layer for name, layer in in_front.items() if isinstance(layer, nn.Linear)}
    learning = [name for name, layer in in_front.items() if layer.weight.requires_grad]
    return with_adapters(model, rank, [*projections, *learning], heads, without=in_front.keys() - {*learning})


def add_causal_lora(model: nn.Module, rank: int = 8, experts: Sequence[str] | None = None) -> nn.Module:
    """
    `add_lora` for a model that generates, whose table of embeddings and head stay as they are.

    Args:
        experts: those whose layers are adapted; by default all, with what experts share and the towers.

    Raises:
        ImportError: `peft` is not installed.
        ValueError: the model has no such expert, or its experts share all projections.
    """
    projections = r"(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|fc1|fc2)"
    if experts is None:
        return with_adapters(model, rank, rf".*\.{projections}")
    known = model.config.expert_names
    if unknown := [expert for expert in experts if expert not in known]:
        raise ValueError(f"--lora_experts names {unknown[0]!r}; the experts of this model are {', '.join(known)}.")
    if not {"attention", "mlp"} & {*model.config.untied}:
        raise ValueError("--lora_experts: the experts of this model share all projections (`untied`): leave it out.")
    return with_adapters(model, rank, rf"model\.layers\.\d+\.experts\.({'|'.join(experts)})\..*\.{projections}")


def with_adapters(
    model: nn.Module,
    rank: int,
    projections: str | list[str],
    whole: Sequence[str] = (),
    without: Iterable[str] = (),
) -> nn.Module:
    """
    The model with adapters in place of its projections.

    Args:
        projections: their names, or one expression for the whole names.
        whole: the parts that learn as they are.
        without: the whole names of projections that have none.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ImportError("Adapters need peft: pip install 'mixture-of-transformers[peft]'.") from error
    parts = {"target_modules": projections, "exclude_modules": [*without] or None, "modules_to_save": [*whole] or None}
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, **parts))


def has_other_words(model: nn.Module) -> bool:
    """Whether the vocabulary has another size than in the checkpoint that the model was loaded from, if from any."""
    words = model.config.text_config
    if not model.name_or_path or not any(name.endswith("word_embeddings") for name, _ in model.named_modules()):
        return False
    try:
        saved = type(model.config).from_pretrained(model.name_or_path).text_config
    except OSError:
        logger.warning(
            f"{model.name_or_path}, where this model comes from, cannot be read: in case words were added since, the "
            "word embeddings learn too and are saved with the adapter (train_words=False leaves them as they are)."
        )
        return True
    return saved is None or saved.vocab_size != words.vocab_size
