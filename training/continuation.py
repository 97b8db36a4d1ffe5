# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Going on from a checkpoint: its config, all of its weights, and its classifier matched to new classes by name.

`read_config`, then `load_model`, which lets no missing or ill-fitting weight pass, then `fit_classifier`. An adapter
(LoRA) is a checkpoint, too: it is put onto the model that it was trained on.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import cached_file, logging
from transformers.utils.peft_utils import find_adapter_config_file

from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig
from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.contrastive_mot import name_scales
from mixture_of_transformers.data.labels import LabelSpec, shortened

logger = logging.get_logger(__name__)

Config = TypeVar("Config", MoTConfig, MoTCausalConfig)
# What to do with a checkpoint of the other of the two kinds of models.
KINDS_OF_MODELS = {
    MoTConfig.model_type: "holds a model that answers, not one that generates (`--task generation`).",
    MoTCausalConfig.model_type: "holds a model that generates: go on with it by `--task generation`, and ask it by "
    "`mot generate`.",
}


# ---------------------------------------------------------------------------------------------------------------------
# Config and weights
# ---------------------------------------------------------------------------------------------------------------------


def is_adapter(name: str | Path) -> bool:
    """Whether a folder or a repository of the Hub holds an adapter, not a whole model."""
    return find_adapter_config_file(str(name)) is not None


def read_model_type(name: str | Path, token: str | bool | None = None) -> str | None:
    """
    What kind of model the config.json of a checkpoint says that it holds.

    Raises:
        ValueError: the file is damaged. OSError: it is not there.
    """
    try:
        return PreTrainedConfig.get_config_dict(name, token=token)[0].get("model_type")
    except (AttributeError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"The config.json of {name} is damaged: it holds no table of fields.") from error
    except OSError as error:
        raise OSError(f"Cannot read the config.json of the model {str(name)!r}: {error}") from error


def generates(name: str | Path, token: str | bool | None = None) -> bool:
    """Whether a checkpoint holds a model that generates, by its config; of one that has none it does not."""
    try:
        return read_model_type(name, token) == MoTCausalConfig.model_type
    except OSError:
        return False


def read_config(
    name: str | Path,
    overrides: dict | None = None,
    token: str | bool | None = None,
    config_class: type[Config] = MoTConfig,
) -> Config:
    """
    The config of a checkpoint, with some of its fields changed; those of a modality are given in a dict of its own.

    Args:
        token: of the Hub; False for none, None for that of whoever is logged in.
        config_class: `MoTCausalConfig` for a model that generates.

    Raises:
        ValueError: the checkpoint is another model's. OSError: it is not there.
    """
    kind = read_model_type(name, token)
    if kind in KINDS_OF_MODELS and kind != config_class.model_type:
        raise ValueError(f"{name} {KINDS_OF_MODELS[kind]}")
    if kind != config_class.model_type:
        raise ValueError(
            f"{name} holds a model of type {kind!r}, not a Mixture-of-Transformers. A tower can begin as another "
            "model: --text_model, --image_model, --audio_model (docs/warm_starts.md)."
        )
    config = config_class.from_pretrained(name, token=token)
    if not overrides:
        return config
    fields = config.to_dict()
    for field, value in overrides.items():
        is_part = isinstance(value, dict) and isinstance(fields.get(field), dict)
        fields[field] = fields[field] | value if is_part else value
    return config_class.from_dict(fields)


def load_model(
    model_class: type[PreTrainedModel],
    name: str | Path,
    config: MoTConfig,
    whole: bool = False,
    token: str | bool | None = None,
) -> tuple[nn.Module, set[str]]:
    """
    The model of a checkpoint, by transformers' own loading, under a head of any class.

    Args:
        whole: whether its head must be there, too.

    Returns:
        The model, a `PeftModel` where the checkpoint is an adapter; and the names of the weights that begin anew.

    Raises:
        ValueError: a weight is missing, or has another shape than the config says.
        OSError: there is no such checkpoint, or not the model under an adapter.
    """
    if is_adapter(name):
        return load_adapter(model_class, name, config), set()
    model, found = model_class.from_pretrained(
        name, config=config, ignore_mismatched_sizes=True, output_loading_info=True, token=token
    )
    shapes = {weight: f" of shape {tuple(old)}, not {tuple(new)}" for weight, old, new in found["mismatched_keys"]}
    absent = {weight: shapes.get(weight, " missing") for weight in found["missing_keys"] | shapes.keys()}
    body = {
        weight: problem
        for weight, problem in absent.items()
        if whole or weight.startswith(f"{model_class.base_model_prefix}.")
    }
    if body:
        some = ", ".join(weight + problem for weight, problem in sorted(body.items())[:3])
        raise ValueError(
            f"{len(body)} weights of {name} do not fit its config ({some}): the checkpoint is damaged, or was "
            "changed, or --config_overrides asks for other layers than it has."
        )
    if found["unexpected_keys"]:
        parts = sorted({".".join(weight.split(".")[:2]) for weight in found["unexpected_keys"]})
        logger.warning(f"Of {name} this run takes no {', '.join(parts)}.")
    return model, set(absent)


def load_adapter(model_class: type[PreTrainedModel], name: str | Path, config: MoTConfig) -> nn.Module:
    """The adapter of a folder on its model, under the adapter's own head and config."""
    try:
        from peft import PeftConfig, PeftModel
        from peft.utils import get_peft_model_state_dict, load_peft_weights
    except ImportError as error:
        raise ImportError("Adapters need peft: pip install 'mixture-of-transformers[peft]'.") from error
    check_adapter(name)
    base = PeftConfig.from_pretrained(name).base_model_name_or_path
    try:
        config.get_config_dict(base)
    except OSError as error:
        raise OSError(
            f"{name} is an adapter of {base}, which is not there: run this from the folder that holds it."
        ) from error
    model, _ = load_model(model_class, base, config)
    weights = load_peft_weights(str(name), device="cpu")
    with named_by_pairs(name, weights) as folder:
        model = PeftModel.from_pretrained(model, folder)
    if missing := get_peft_model_state_dict(model).keys() - name_scales(weights).keys():
        raise ValueError(f"The adapter in {name} lacks {len(missing)} weights, such as {min(missing)}.")
    return model


@contextmanager
def named_by_pairs(name: str | Path, weights: dict[str, torch.Tensor]) -> Iterator[str | Path]:
    """
    Where to load an adapter from. One that an earlier version saved with the scales of retrieval as vectors is written
    anew for as long as it is read, since peft asks its file for each weight by its name.
    """
    named = name_scales(weights)
    if named.keys() == weights.keys():
        yield name
        return
    with TemporaryDirectory() as folder:
        save_file({key: value.contiguous() for key, value in named.items()}, Path(folder, "adapter_model.safetensors"))
        shutil.copy(find_adapter_config_file(str(name)), folder)
        yield folder


def check_adapter(name: str | Path) -> None:
    """
    Raises:
        ValueError: the adapter's weights are pickled or damaged, or are not of the rank that its config names.
    """
    file = cached_file(name, "adapter_model.safetensors", _raise_exceptions_for_missing_entries=False)
    if file is None:
        raise ValueError(
            f"{name} has no adapter_model.safetensors. Adapters are read from safetensors alone, since pickled ones "
            "(adapter_model.bin) can run code: save it anew."
        )
    try:
        with safe_open(file, framework="pt") as tensors:
            parts = map(tensors.get_slice, tensors.keys())
            largest = max((size for part in parts for size in part.get_shape()), default=0)
    except SafetensorError as error:
        raise ValueError(
            f"The adapter_model.safetensors of {name} is damaged, or was not copied to its end ({error}): copy or "
            "download it anew."
        ) from error
    fields = json.loads(Path(find_adapter_config_file(str(name))).read_text(encoding="utf-8"))
    ranks = [fields.get("r") or 0, *(fields.get("rank_pattern") or {}).values()]
    if wrong := [rank for rank in ranks if type(rank) is not int or rank > largest]:
        raise ValueError(
            f"The adapter in {name} is damaged: its config names a rank of {wrong[0]!r}, its weights have none."
        )


# ---------------------------------------------------------------------------------------------------------------------
# Classes, by name
# ---------------------------------------------------------------------------------------------------------------------


def kind_of_labels(config: MoTConfig) -> str:
    """A config's `problem_type`, where it says none that of its number of labels."""
    return config.problem_type or ("regression" if config.num_labels == 1 else "single_label_classification")


def labels_of(config: MoTConfig) -> LabelSpec:
    """What the labels of a checkpoint mean."""
    kind = kind_of_labels(config)
    names = () if kind == "regression" else tuple(config.id2label.values())
    return LabelSpec(kind, names, source="the checkpoint")


def fit_classifier(model: PreTrainedModel, labels: LabelSpec, is_new: bool = False) -> None:
    """
    Have a model that classifies or regresses answer with `labels`. A class that it knows by its name keeps its row of
    the classifier, wherever it stands now; a new one begins anew; one that `labels` lack is left out. What becomes of
    them is said.

    Args:
        is_new: whether the classifier has not learned, so that there is nothing to keep.
    """
    before = labels_of(model.config)
    is_kept = not is_new and before.problem_type == labels.problem_type
    if is_kept and before.names == labels.names:
        if labels.problem_type == "regression":
            model.set_scale(labels.mean, labels.std)
        set_labels(model.config, labels)
        return
    kept = matching_rows(before, labels) if is_kept else {}
    old, new = model.classifier, nn.Linear(model.config.hidden_size, labels.num_labels)
    model._init_weights(new)
    with torch.no_grad():
        for row, source in kept.items():
            new.weight[row], new.bias[row] = old.weight[source], old.bias[source]
    model.classifier, model.num_labels = new.to(old.weight), labels.num_labels
    set_labels(model.config, labels)
    logger.warning(what_became(before, labels, kept, is_new))


def matching_rows(before: LabelSpec, after: LabelSpec) -> dict[int, int]:
    """Row of the classifier -> the row that it had."""
    known = before.plain_label2id | before.label2id
    return {row: known[name] for row, name in enumerate(after.names) if name in known}


def set_labels(config: MoTConfig, labels: LabelSpec) -> None:
    config.problem_type, config.num_labels = labels.problem_type, labels.num_labels
    config.regression_mean, config.regression_std = labels.mean, labels.std
    if labels.names:
        config.id2label, config.label2id = labels.id2label, labels.label2id


def what_became(before: LabelSpec, after: LabelSpec, kept: dict[int, int], is_new: bool) -> str:
    """A sentence on which of a checkpoint's classes go on, are new, or are left out."""
    if is_new:
        return f"The checkpoint has no classifier: one for {described(after)} begins anew."
    if before.problem_type != after.problem_type:
        return (
            f"The checkpoint answers by {before.problem_type}, this run by {after.problem_type}: a classifier for "
            f"{described(after)} begins anew."
        )
    parts = {
        "{goes} on": [name for row, name in enumerate(after.names) if row in kept],
        "{is} new": [name for row, name in enumerate(after.names) if row not in kept],
        "{is} left out, since the data have none of them": [name for name in before.names if name not in after.names],
    }
    one, several = {"goes": "goes", "is": "is"}, {"goes": "go", "is": "are"}
    said = [
        f"{len(names)} {what.format(**one if len(names) == 1 else several)} ({shortened(names, most=20)})"
        for what, names in parts.items()
        if names
    ]
    return f"Of the classes of the checkpoint and the data, {'; '.join(said)}."


def described(labels: LabelSpec) -> str:
    return f"{labels.num_labels} classes" if labels.names else "one number"
