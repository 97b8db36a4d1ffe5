# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Towers that begin with what other models have learned: find a checkpoint, read it, fill a tower, and say what was
done.

Checkpoints come from the Hub, through its cache, or from folders, as safetensors, whole or in shards. They are read
one tensor at a time, so that nothing but the model itself is held. `conversion_mot.py` knows what the tensors are
called.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers.modeling_utils import safe_open  # safetensors', through the library, which remote code may import
from transformers.utils import logging
from transformers.utils.hub import cached_file, get_checkpoint_shard_files

from .backbones_mot import encoder_of, model_class_of, part_of
from .configuration_mot import MoTConfig
from .conversion_mot import NotATower, convert, describe
from .modalities_mot import KINDS, MODALITIES, raw_modality_of
from .modality_mot import Modality
from .positions_mot import resize_grid

logger = logging.get_logger(__name__)

WEIGHTS = {"safetensors": "model.safetensors", "pickled": "pytorch_model.bin"}


def split_revision(name: str | os.PathLike) -> tuple[str, dict]:
    """`user/model@v1` as a Hub id and the keyword of its revision; the name of a folder as it is."""
    name = str(name)
    if os.path.isdir(name) or "@" not in name:
        return name, {}
    name, _, revision = name.partition("@")
    return name, {"revision": revision}


def read_config(name: str | os.PathLike, **hub) -> PreTrainedConfig:
    """
    The config of a model on the Hub or in a folder.

    Raises:
        ValueError: it is that of a MoT.
    """
    name, revision = split_revision(name)
    config = AutoConfig.from_pretrained(name, trust_remote_code=False, **hub, **revision)
    if config.model_type == "mot":
        raise ValueError(f"{name} is a MoT already: load it with `from_pretrained`.")
    return config


def why_in_front(name: str | os.PathLike, modality: Modality, **hub) -> str | None:
    """
    Why a model cannot be the tower of a modality, so that it has to stand in front of one; None where it can. Its
    config alone is read.
    """
    try:
        describe(read_config(name, **hub), modality)
    except NotATower as refusal:
        return refusal.reason
    return None


def describe_place(modality: str, name: str | os.PathLike, reason: str | None, is_trained: bool = False) -> str:
    """A line of what becomes of a source: the tower itself, or a model in front of it, and why."""
    if reason is None:
        return f"The {modality} tower begins as {name}: it computes exactly what that computes, and learns on."
    state = "learns on" if is_trained else "stays as it is"
    return f"{name} stands in front of the {modality} tower and {state}: it cannot be the tower, since {reason}."


class SourcesOfOthers(NamedTuple):
    """Sources of modalities that a config declares: of their towers, and of models in front of these."""

    towers: dict[str, str | os.PathLike]
    backbones: dict[str, str | os.PathLike]


def sources_of_others(fields: dict[str, Any]) -> SourcesOfOthers:
    """
    The sources among the keywords of `from_unimodal_pretrained` that are no fields of `MoTConfig`, taken out of them:
    those of modalities, `{name}=` or `{name}_backbone=`, which `{name}_config` declares.

    Raises:
        ValueError: a source is named for what no field declares.
    """
    found = SourcesOfOthers({}, {})
    known = {field.name for field in dataclasses.fields(MoTConfig)}
    for key in [key for key, value in fields.items() if isinstance(value, (str, os.PathLike)) and key not in known]:
        name, places = key, found.towers
        if key.endswith("_backbone"):
            name, places = key.removesuffix("_backbone"), found.backbones
        if f"{name}_config" not in fields:
            raise ValueError(
                f"`{key}` is {fields[key]!r}, but nothing says what {name!r} is: give "
                f'`{name}_config={{"model_type": ...}}` with its kind, one of {", ".join(KINDS)}.'
            )
        places[name] = fields.pop(key)
    return found


class Checkpoint:
    """
    The config and the tensors of a model on the Hub or in a folder.

    Args:
        name: a folder, or a Hub id, with `@` and a revision if it is not the newest: `user/model@v1`.
        modality: of the tower that it is for; None where any model may stand, as in front of a tower.
        allow_pickle: whether weights that are not safetensors may be read, by `torch.load(weights_only=True)`.
        hub: `token`, `cache_dir`, `local_files_only`, as in `from_pretrained`.

    Raises:
        ValueError: it cannot be such a tower; or there are no weights, or pickled ones alone, or they are damaged or
            not all there.
        OSError: (of the Hub) there is no such model, or it cannot be reached.
    """

    def __init__(
        self,
        name: str | os.PathLike,
        modality: Modality | None = None,
        allow_pickle: bool = False,
        **hub,
    ):
        self.name, revision = split_revision(name)
        hub |= revision
        self.config = read_config(self.name, **hub)
        # Before its weights are downloaded.
        self.fields = {} if modality is None else describe(self.config, modality)
        files, self.is_pickled = self.find_weights(allow_pickle, hub)
        self.files: dict[str, str] = {}  # tensor -> the file that has it
        for file in files:
            self.files |= dict.fromkeys(self.names_in(file), file)

    def find_weights(self, allow_pickle: bool, hub: dict) -> tuple[list[str], bool]:
        """The files that hold the weights, and whether they are pickled."""
        hub = hub | {"_raise_exceptions_for_missing_entries": False}
        for kind, file_name in WEIGHTS.items():
            whole = cached_file(self.name, file_name, **hub)
            index = None if whole else cached_file(self.name, f"{file_name}.index.json", **hub)
            if (whole or index) and kind == "pickled" and not allow_pickle:
                raise ValueError(
                    f"{self.name} has pickled weights alone ({file_name}), and reading them may run code that is in "
                    "them. Ask its authors for safetensors (huggingface.co/spaces/safetensors/convert makes them), or "
                    "pass allow_pickle=True if you trust them."
                )
            if whole:
                return [whole], kind == "pickled"
            if index:
                return self.find_shards(index, hub), kind == "pickled"
        raise ValueError(f"{self.name} has no weights: neither {' nor '.join(WEIGHTS.values())}, whole or in shards.")

    def find_shards(self, index: str, hub: dict) -> list[str]:
        hub = {name: value for name, value in hub.items() if not name.startswith("_")}
        try:
            files, _ = get_checkpoint_shard_files(self.name, index, **hub)
        except OSError as error:
            raise ValueError(
                f"{self.name} is not all there, since a shard of its weights is missing: {error}"
            ) from None
        if missing := [file for file in files if not os.path.exists(file)]:
            names = ", ".join(Path(file).name for file in missing)
            raise ValueError(f"{self.name} is not all there: {names} of its weights is missing. Download it again.")
        return files

    def names_in(self, file: str) -> list[str]:
        if self.is_pickled:
            return list(unpickled(file))
        try:
            with safe_open(file, framework="pt") as tensors:
                return list(tensors.keys())
        except Exception as error:  # safetensors has one of its own
            raise ValueError(
                f"{Path(file).name} of {self.name} is damaged, or was not downloaded to its end ({error}): delete it "
                "and download it again."
            ) from None

    def read(self, name: str) -> torch.Tensor:
        if self.is_pickled:
            return unpickled(self.files[name])[name]
        # Opened for each tensor: what is mapped of a file that stays open counts as memory in use.
        with safe_open(self.files[name], framework="pt") as tensors:
            return tensors.get_tensor(name)


@lru_cache(maxsize=1)
def unpickled(file: str) -> dict[str, torch.Tensor]:
    return torch.load(file, map_location="cpu", weights_only=True, mmap=True)


# ---------------------------------------------------------------------------------------------------------------------
# The config
# ---------------------------------------------------------------------------------------------------------------------


def joined_config(
    checkpoints: dict[str, Checkpoint], backbones: dict[str, PreTrainedConfig], fields: dict
) -> MoTConfig:
    """
    The config of a model whose towers begin as other models.

    Args:
        checkpoints: modality -> what its tower begins as.
        backbones: modality -> the config of the model in front of its tower.
        fields: of `MoTConfig`; those of a modality stand above what its source says. What the joint part is not told,
            it takes from the towers, where they agree.

    Raises:
        ValueError: the towers differ in width and no `hidden_size` is given.
    """
    fields = dict(fields)
    towers = {m: checkpoint.fields for m, checkpoint in checkpoints.items()}
    fronts = {m: backbone_fields(config, kind_of(m, fields)) for m, config in backbones.items()}
    for m, own in (towers | fronts).items():
        name = f"{m}_config"
        if fields.get(name, {}) is None:
            raise ValueError(f"A checkpoint is named for {m}, but `{name}` is None: leave one of them out.")
        fields[name] = own | dict(fields.get(name, {}))
    widths = {m: fields[f"{m}_config"]["hidden_size"] for m in towers}
    if widths and "hidden_size" not in fields:
        if len(set(widths.values())) > 1:
            listed = ", ".join(f"{m} {width}" for m, width in widths.items())
            raise ValueError(f"The towers differ in width ({listed}): give the joint one as `hidden_size`.")
        fields["hidden_size"] = next(iter(widths.values()))
    width = fields.get("hidden_size", MoTConfig.hidden_size)
    for name, otherwise in (("num_attention_heads", max(1, width // 64)), ("intermediate_size", 4 * width)):
        found = {tower[name] for m, tower in towers.items() if widths[m] == width}
        fields.setdefault(name, found.pop() if len(found) == 1 else otherwise)
    return MoTConfig(**fields)


def backbone_fields(config: PreTrainedConfig, modality: Modality) -> dict:
    """The fields of a modality's config with any model in front of its tower."""
    return {"backbone_config": config.to_dict()} | modality.fields_of_front(config)


def load_backbone(
    name: str | os.PathLike, modality: Modality, allow_pickle: bool, dtype: torch.dtype, **hub
) -> nn.Module:
    """
    A model of transformers to put in front of a tower; of an encoder and a decoder the encoder, and of a model of
    several modalities that of this one, of which nothing else is loaded.

    Raises:
        ValueError: it has no safetensors, and `allow_pickle` is not set; or transformers has no such model by itself.
    """
    whole = read_config(name, **hub)
    part = part_of(whole, modality.part_of_pair)
    if part is not whole:
        return load_part(Checkpoint(name, allow_pickle=allow_pickle, **hub), part, dtype)
    name, revision = split_revision(name)
    try:
        options: dict = {"dtype": dtype, **hub}
        options |= {"use_safetensors": None if allow_pickle else True, "trust_remote_code": False} | revision
        model = AutoModel.from_pretrained(name, **options)
    except OSError as error:
        if "safetensors" not in str(error):
            raise
        raise ValueError(
            f"{name} has no safetensors: pass allow_pickle=True if you trust its authors. {error}"
        ) from None
    return encoder_of(model)


def load_part(checkpoint: Checkpoint, config: PreTrainedConfig, dtype: torch.dtype) -> nn.Module:
    """
    One model out of a checkpoint of several, found by the names of its tensors.

    Raises:
        ValueError: the checkpoint lacks some of them.
    """
    model = model_class_of(config)._from_config(config, dtype=dtype)
    own = model.state_dict()
    prefixes = {name.removesuffix(key) for key in own for name in checkpoint.files if name.endswith(f".{key}")}
    found = {prefix: sum(prefix + key in checkpoint.files for key in own) for prefix in prefixes}
    prefix = max(sorted(found), key=lambda prefix: found[prefix], default="")
    if lacking := [key for key in own if prefix + key not in checkpoint.files]:
        raise ValueError(
            f"{checkpoint.name} lacks {len(lacking)} of the tensors of its {config.model_type}, such as {lacking[0]}: "
            "it is not all there, or saved with names that this version of transformers does not use."
        )
    with torch.no_grad():
        for key, target in own.items():
            target.copy_(checkpoint.read(prefix + key))
    return encoder_of(model.eval())


# ---------------------------------------------------------------------------------------------------------------------
# The weights
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What became of each tensor of one tower, by what was done: lines of (source, tower, shapes)."""

    title: str
    lines: dict[str, list[tuple[str, str, str]]] = field(
        default_factory=lambda: {what: [] for what in ("loaded", "renamed", "resized", "initialised", "left out")}
    )

    def add(self, what: str, source: str = "", tower: str = "", shapes: str = "") -> None:
        line = (without_details(source), without_details(tower), shapes)
        if line not in self.lines[what]:
            self.lines[what].append(line)

    def __str__(self) -> str:
        rows = [(what, *line) for what, lines in self.lines.items() for line in lines]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join([self.title, *("  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)])


def without_details(name: str) -> str:
    """Layers differ in their number alone, and weights and biases go the same way."""
    return re.sub(r"\.(weight|bias)\b", "", re.sub(r"(layers?)\.\d+\.", r"\1.*.", name))


def kind_of(name: str, fields: Mapping[str, Any]) -> Modality:
    """
    The modality of a name, of the kind that the fields of a `MoTConfig` give it.

    Raises:
        ValueError: it is not one of those that there always are, and the fields do not say its kind.
    """
    if name in MODALITIES:
        return MODALITIES[name]
    config = fields.get(f"{name}_config") or {}
    kind = config.get("model_type") if isinstance(config, Mapping) else config.model_type
    if kind not in KINDS:
        raise ValueError(
            f"`{name}` is {'of no kind' if kind is None else f'of kind {kind!r}'}: say what it is, as "
            f'`{name}_config={{"model_type": ...}}` with one of {", ".join(KINDS)}.'
        )
    return KINDS[kind].called(name)


def fill_tower(model: nn.Module, modality: str, checkpoint: Checkpoint) -> Report:
    """
    Give a tower the weights of its source.

    Args:
        model: a MoT model, with or without a head, whose config `joined_config` made.

    Raises:
        ValueError: a tensor does not fit, naming both shapes, or the source lacks some.
    """
    model = getattr(model, "mot", model)
    parts = (f"embeddings.{modality}.", f"encoders.{modality}.", f"modality_embeddings.{modality}")
    targets = {name: p for name, p in model.named_parameters() if name.startswith(parts)}
    report = Report(f"The {modality} tower begins as {checkpoint.name} ({checkpoint.config.model_type}):")
    unused = set(checkpoint.files)
    config = model.config.modality_config(modality)
    with torch.no_grad():
        for name, theirs, make in convert(
            checkpoint.files, checkpoint.read, checkpoint.config, raw_modality_of(config, modality)
        ):
            if name not in targets:
                continue
            unused -= set(theirs)
            target, tensor = targets.pop(name), make()
            if tensor.shape != target.shape:
                shapes = f"{tuple(tensor.shape)} -> {tuple(target.shape)}"
                tensor = resized(tensor, target, name, config, checkpoint)
                report.add("resized", theirs[0], name, shapes)
            else:
                is_same = len(theirs) == 1 and theirs[0].endswith(name.split(".", 2)[2])
                report.add("loaded" if is_same else "renamed", " + ".join(theirs), name)
            target.copy_(tensor)
        lacking = []
        for name, target in targets.items():
            if name.endswith(".bias") or name.startswith("modality_embeddings"):
                target.zero_()  # what a source does not add
            elif not name.endswith((".frame_position_embeddings", f"encoders.{modality}.projection.weight")):
                lacking.append(name)
                continue
            report.add("initialised", "", name)
    if lacking:
        raise ValueError(
            f"{checkpoint.name} lacks {len(lacking)} of the tensors of its tower ({modality}), such as {lacking[0]}: "
            f"it is not all there, or its config ({checkpoint.config.model_type}) is that of another model."
        )
    for name in sorted(unused):
        report.add("left out", name)
    return report


def resized(tensor: torch.Tensor, target: torch.Tensor, name: str, config, checkpoint: Checkpoint) -> torch.Tensor:
    """A table of another size than its source's: positions of pictures, fewer positions, or more words."""
    same_width = tensor.ndim == target.ndim and tensor.shape[-1] == target.shape[-1]
    if same_width and name.endswith(".position_embeddings"):  # a grid, and no table
        side = round(target.shape[1] ** 0.5)
        return resize_grid(tensor, side, side, config.position_interpolation)[None]
    if same_width and name.endswith("position_embeddings.weight") and len(tensor) > len(target):
        return tensor[: len(target)]
    if same_width and name.endswith("word_embeddings.weight") and len(tensor) < len(target):
        return torch.cat([tensor.to(target.dtype), target[len(tensor) :]])
    raise ValueError(
        f"{name} has shape {tuple(target.shape)} in the model, but {tuple(tensor.shape)} in {checkpoint.name}: the "
        "config that was given does not fit this checkpoint."
    )


__all__ = [
    "Checkpoint",
    "describe_place",
    "fill_tower",
    "joined_config",
    "kind_of",
    "load_backbone",
    "sources_of_others",
    "why_in_front",
]
