# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The processor and the model of a run: built to fit its data, or gone on with from a checkpoint."""

import dataclasses
import itertools
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from mixture_of_transformers.backbones_mot import part_of
from mixture_of_transformers.configuration_mot import SIZES, MoTConfig, is_modality_config
from mixture_of_transformers.data.column_types import STRING_ROLES, is_ready_features
from mixture_of_transformers.data.extra_cells import is_absent_cell
from mixture_of_transformers.data.extra_columns import LEFT_OUT, kinds_of_options, read_option
from mixture_of_transformers.data.labels import LabelSpec
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.decoding_image_mot import load_image
from mixture_of_transformers.feature_extraction_mot import MoTFeatureExtractor
from mixture_of_transformers.finetune.checks import check_lora, check_towers
from mixture_of_transformers.finetune.limits import fit_processor, steps_of
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments
from mixture_of_transformers.finetune.record import Record
from mixture_of_transformers.finetune.rows import reading_of
from mixture_of_transformers.head_classification_mot import MoTForSequenceClassification
from mixture_of_transformers.head_pretraining_mot import MoTForPreTraining
from mixture_of_transformers.head_retrieval_mot import MoTForRetrieval
from mixture_of_transformers.image_processing_mot import MoTImageProcessor
from mixture_of_transformers.modalities_mot import CELLS, KINDS, MODALITIES, MODALITY_OF_CELL, words_of
from mixture_of_transformers.modality_mot import Modality
from mixture_of_transformers.processing_mot import MoTProcessor, load_processor
from mixture_of_transformers.training.continuation import fit_classifier, is_adapter, load_model, read_config
from mixture_of_transformers.warm_start_mot import describe_place, kind_of, why_in_front
from mixture_of_transformers.warm_start_mot import read_config as read_source

logger = logging.get_logger(__name__)

MODEL_CLASSES = {
    "classification": MoTForSequenceClassification,
    "regression": MoTForSequenceClassification,
    "retrieval": MoTForRetrieval,
    "pretraining": MoTForPreTraining,
}
MEL_BINS = 80
SMALL_IMAGE = 64  # pictures up to this side keep their size and get small patches


def read_checkpoint(model: ModelArguments, data: DataArguments) -> tuple[MoTConfig | None, MoTProcessor | None]:
    """The config and the processor of the checkpoint to go on from; None and None for a new model."""
    if model.model_name_or_path is None:
        return None, None
    return checkpoint_config(model, data), load_processor(model.model_name_or_path)


def build(
    train: datasets.Dataset,
    labels: LabelSpec | None,
    data: DataArguments,
    model: ModelArguments,
    config: MoTConfig | None,
    processor: MoTProcessor | None,
) -> tuple[PreTrainedModel, MoTProcessor]:
    """
    The model and the processor of a run.

    Args:
        train: rows of the training split.
        config, processor: those of the checkpoint to go on from; None for a new model.
    """
    check_lora(model, data.task)
    check_towers(model, train.column_names)
    processor = processor or build_processor(train, model, data)
    kinds = kinds_of_options(data.extra_columns or ())
    fresh = {name: kind for name, kind in kinds.items() if name not in processor.modalities}
    if fresh:
        processor = with_modalities(processor, learned_settings(train, fresh))
    fields = config_fields(train, labels, processor, data, model) if config is None else None
    built = build_model(fields, data, labels, model, len(processor.tokenizer), config)
    for name in fresh if config is not None else ():
        built.add_modality(name, further_fields(name, processor, raw_fields(train, processor, data, model)))
    fit_processor(processor, built.config)
    return built, processor


# ---------------------------------------------------------------------------------------------------------------------
# A new model is built for the training split
# ---------------------------------------------------------------------------------------------------------------------


def build_processor(train: datasets.Dataset, model: ModelArguments, data: DataArguments) -> MoTProcessor:
    """The processor of a new model; what the sources of its towers have themselves is taken from these."""
    tokenizer = new_tokenizer(train, model, data)
    size, _ = image_geometry(train, model, data)
    half = [0.5, 0.5, 0.5]
    image_processor = MoTImageProcessor(
        size={"height": size, "width": size}, image_mean=half, image_std=half, do_convert_rgb=True
    )
    processor = MoTProcessor.from_unimodal_pretrained(
        **{m: name for m, name in model.towers.items() if m in MODALITIES},
        tokenizer=tokenizer,
        feature_extractor=MoTFeatureExtractor(feature_size=MEL_BINS),
        image_processor=image_processor,
        return_times=overrides_of(model).get("time_positions", False),
    )
    if model.image_model and model.image_size:
        processor.image_processor.size = type(processor.image_processor.size)(
            height=model.image_size, width=model.image_size
        )
    return processor


def image_geometry(train: datasets.Dataset, model: ModelArguments, data: DataArguments) -> tuple[int, int]:
    """Image and patch size: small pictures keep their size, rounded up to whole patches, others become 224."""
    size, patch = model.image_size, model.patch_size
    if size is None:
        columns = [name for name, feature in train.features.items() if holds_pictures(feature)]
        some, access = train.select(range(min(len(train), 200))), reading_of(data).access
        cells = ((cell, name) for name in columns for cell in segments_of(some[name]) if cell is not None)
        sides = [max(load_image(cell, name, convert_rgb=True, **access).size) for cell, name in cells]
        side = int(np.median(sides)) if sides else 224
        size = side if side <= SMALL_IMAGE else 224
    patch = patch or (4 if size <= SMALL_IMAGE else 16)
    return -(-size // patch) * patch, patch


def new_tokenizer(
    train: datasets.Dataset, model: ModelArguments, data: DataArguments
) -> PreTrainedTokenizerBase | None:
    """The tokenizer that was named, or one that learns the training texts; None where these need none of the run's."""
    if model.tokenizer_name:
        return load_tokenizer(model.tokenizer_name)
    columns = [name for name, cell in CELLS.items() if cell.medium is None and name in train.column_names]
    columns = [name for name in columns if not is_ready_features(train.features[name])]
    columns += [name for name, kind in kinds_of_options(data.extra_columns or ()).items() if kind in STRING_ROLES]
    if any(MODALITY_OF_CELL.get(name) in model.towers for name in columns) or not columns:
        return None
    texts = itertools.chain.from_iterable(segments_of(train[name]) for name in columns)
    return train_tokenizer(texts, model_max_length=data.max_text_tokens)


def holds_pictures(feature) -> bool:
    """Whether each cell of a column is a picture, or several."""
    return isinstance(feature.feature if isinstance(feature, datasets.List) else feature, datasets.Image)


def segments_of(cells: Iterable) -> Iterator[Any]:
    """The texts or pictures of cells, of which some may be several segments."""
    for cell in cells:
        yield from cell if isinstance(cell, list) else [cell]


def learned_settings(train: datasets.Dataset, kinds: Mapping[str, str]) -> dict[str, dict]:
    """
    What the training split teaches the processor of each further modality: its settings, by their names.

    Args:
        kinds: name -> kind.
    """
    settings = {}
    for name, kind in kinds.items():
        cells = (None if is_absent_cell(cell) else cell for cell in train[name])
        settings[name] = {"kind": kind} | (KINDS[f"mot_{kind}"].called(name).learn(cells) if kind not in CELLS else {})
    return settings


def with_modalities(processor: MoTProcessor, settings: Mapping[str, dict]) -> MoTProcessor:
    """The processor, for further modalities as well."""
    parts = {name: getattr(processor, name) for name in ("image_processor", "feature_extractor", "tokenizer")}
    options = {"num_frames": processor.num_frames, "return_times": processor.return_times}
    return MoTProcessor(**parts, **options, modalities=processor.modalities | dict(settings))


def further_fields(name: str, processor: MoTProcessor, raw: dict) -> dict:
    """The config of a modality beside the three, as the data and the processor's settings say."""
    kind = processor.kinds[name]
    settings = {key: value for key, value in processor.modalities[name].items() if key != "kind"}
    return {"model_type": kind.config_class.model_type} | own_fields(kind, raw) | kind.config_fields(settings)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise OSError(f"--tokenizer_name {name!r}: there is no tokenizer that could be loaded ({error})") from error


def config_fields(
    train: datasets.Dataset,
    labels: LabelSpec | None,
    processor: MoTProcessor,
    data: DataArguments,
    model: ModelArguments,
) -> dict:
    """The fields of a new model's config, beyond its size, for the modalities that the training split has."""
    raw, overrides = raw_fields(train, processor, data, model), overrides_of(model)
    fronts = sources_in_front(model, overrides)
    if not_in_front := sorted({*(model.train_backbones or ())} - fronts.keys()):
        raise ValueError(
            f"--train_backbones names {', '.join(not_in_front)}, whose model is the tower itself, which learns in any "
            "case: leave it out."
        )
    # A tower that begins as another model is what that is, but for the size of its pictures.
    of_source = {"image_size": raw["image_size"]} if model.image_size else {}
    fields = {"drop_path_rate": 0.1} | task_fields(data.task, labels) | overrides
    for modality, kind in MODALITIES.items():
        name = f"{modality}_config"
        columns = [cell.name for cell in kind.cells if cell.name in train.column_names]
        if not columns:
            fields[name] = None
            continue
        tower = own_fields(kind, of_source if modality in model.towers and modality not in fronts else raw)
        if modality in fronts:
            tower = fields_behind(model.towers[modality], kind, tower)
            tower["freeze_backbone"] = modality not in (model.train_backbones or ())
        if is_ready_features(train.features[columns[-1]]):
            tower = {"feature_size": feature_size(train[columns[-1]])}
        fields[name] = tower | (overrides.get(name) or {})
    for modality in processor.modalities:
        own = further_fields(modality, processor, raw) | (overrides.get(f"{modality}_config") or {})
        fields[f"{modality}_config"] = own
    return fields | {"extra_modalities": list(processor.modalities)}


def sources_in_front(model: ModelArguments, fields: dict) -> dict[str, str]:
    """The modalities whose source cannot be the tower and stands in front of it, each with the reason."""
    reasons = {m: why_in_front(name, kind_of(m, fields)) for m, name in model.towers.items()}
    return {m: reason for m, reason in reasons.items() if reason is not None}


def fields_behind(source: str, kind: Modality, fields: dict) -> dict:
    """The fields of a tower behind a model in front, which says itself what it reads, and how much at most."""
    known = kind.fields_of_front(part_of(read_source(source), kind.part_of_pair))
    rest = {name: value for name, value in fields.items() if name not in known}
    if kind.length_field in known:
        rest[kind.length_field] = min(known[kind.length_field], fields.get(kind.length_field, math.inf))
    return rest


def raw_fields(train: datasets.Dataset, processor: MoTProcessor, data: DataArguments, model: ModelArguments) -> dict:
    """The fields of the configs of all towers that take raw input; a tower has those that its kind knows."""
    size, patch_size = image_geometry(train, model, data)
    fields = {
        "vocab_size": len(processor.tokenizer),
        "pad_token_id": processor.tokenizer.pad_token_id,
        "image_size": size,
        "patch_size": patch_size,
        "num_mel_bins": MEL_BINS,
        "stem_stride": 4,
        "mean_normalization": model.audio_kind != "sound",
        "silence_value": getattr(processor.feature_extractor, "silence_value", None),
    }
    for kind in MODALITIES.values():
        if option := kind.length_option:
            longest = getattr(data, option.name) or option.default
            fields[kind.length_field] = steps_of(option, longest, processor.feature_extractor)
    return fields


def own_fields(kind: Modality, known: dict) -> dict:
    """Those of the known fields that the config of a kind has."""
    names = {field.name for field in dataclasses.fields(kind.config_class)}
    return {name: value for name, value in known.items() if name in names}


def task_fields(task: str, labels: LabelSpec | None) -> dict:
    """The fields of a config that the task decides."""
    if task == "retrieval":
        return {"contrastive_positives": positives_of(labels)}
    if labels is None:
        return {}
    fields = {"problem_type": labels.problem_type, "num_labels": labels.num_labels}
    if task == "regression":
        fields |= {"regression_mean": labels.mean, "regression_std": labels.std}
    if labels.names:
        fields |= {"id2label": labels.id2label, "label2id": labels.label2id}
    return fields


def positives_of(labels: LabelSpec | None) -> str:
    """What matches in retrieval: rows with the same label, or where there are no labels each row with itself."""
    return "row" if labels is None else "label"


def feature_size(column) -> int:
    """The width of ready features."""
    return len(next(cell for cell in column if cell is not None)[0])


def overrides_of(model: ModelArguments) -> dict:
    """The fields of --config_overrides."""
    return json.loads(model.config_overrides or "{}")


# ---------------------------------------------------------------------------------------------------------------------
# A checkpoint to go on from fixes what it was built for
# ---------------------------------------------------------------------------------------------------------------------


def checkpoint_config(model: ModelArguments, data: DataArguments) -> MoTConfig:
    """
    The config of the checkpoint to go on from, changed as --config_overrides asks. What it fixes is taken from it: the
    modalities, of which the data's others are left out, and the kind of audio.

    Raises:
        ValueError: an option asks for something else.
    """
    name = model.model_name_or_path
    if given := [o for o in ("size", "tokenizer_name", "image_size", "patch_size") if getattr(model, o) is not None]:
        raise ValueError(f"--{given[0]} is for a new model; --model_name_or_path goes on with what {name} has.")
    config = read_config(name, overrides_of(model))
    leave_out_columns(data, config, name)
    for modality in config.modalities:
        is_normalized = getattr(config.modality_config(modality), "mean_normalization", None)
        if is_normalized is None:  # a kind that is no sound
            continue
        kind = "speech" if is_normalized else "sound"
        if model.audio_kind not in (None, kind):
            raise ValueError(
                f"--audio_kind is {model.audio_kind}, but {name} is one for {kind} (its "
                f"`{modality}_config.mean_normalization` is {is_normalized}): leave it out."
            )
        model.audio_kind = kind
    return config


def leave_out_columns(data: DataArguments, config: MoTConfig, name: str) -> None:
    """Take no columns of modalities that the checkpoint `name` lacks; a ValueError where one was given."""
    for column in CELLS:
        if MODALITY_OF_CELL[column] in config.modalities:
            continue
        if getattr(data, f"{column}_column") not in (None, "none"):
            raise ValueError(f"--{column}_column is given, but {name} takes {', '.join(config.modalities)} alone.")
        setattr(data, f"{column}_column", "none")
    if LEFT_OUT not in (given := data.extra_columns or []):
        named = {read_option(option)[0] for option in given}
        recorded = [option for option in recorded_extras(config, name, named) if read_option(option)[0] not in named]
        data.extra_columns = [*recorded, *given, LEFT_OUT]  # what is found is for a model that is made for it
    if any(modality not in config.modalities for modality in MODALITIES):
        logger.warning(f"{name} takes {', '.join(config.modalities)}: columns of other kinds are left out.")


def recorded_extras(config: MoTConfig, name: str, named: Collection[str]) -> list[str]:
    """
    The options that name the columns of a checkpoint's further modalities, as its run took them.

    Args:
        named: the modalities of which a person names the columns.
    """
    record = Record.read(Path(name)) if Path(name).is_dir() else None
    options = (record.data.get("extra_columns") if record else None) or []
    options = [option for option in options if option != LEFT_OUT and read_option(option)[0] in config.modalities]
    found = {*kinds_of_options(options), *named}
    if missing := [modality for modality in config.extra_modalities if modality not in found]:
        logger.warning(f"{name} takes {', '.join(missing)} as well: name their columns with --extra_columns.")
    return options


def go_on(
    data: DataArguments, labels: LabelSpec | None, model: ModelArguments, config: MoTConfig | None = None
) -> PreTrainedModel:
    """The model of a checkpoint of any task, with a head for this task: its own, as far as it has one."""
    name, model_class = model.model_name_or_path, MODEL_CLASSES[data.task]
    config = config or read_config(name, overrides_of(model))
    if data.task == "retrieval":
        config.contrastive_positives = positives_of(labels)
    found, fresh = load_model(model_class, name, config)
    if is_adapter(name):
        found = found.merge_and_unload()
    if labels is not None and model_class is MoTForSequenceClassification:
        fit_classifier(found, labels, is_new=bool(fresh))
    elif fresh:
        parts = sorted({weight.partition(".")[0] for weight in fresh})
        logger.warning(f"What {name} lacks for this task begins anew: {', '.join(parts)}.")
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The model, new or not
# ---------------------------------------------------------------------------------------------------------------------


def build_model(
    fields: dict | None,
    data: DataArguments,
    labels: LabelSpec | None,
    model: ModelArguments,
    number_of_words: int = 0,
    config: MoTConfig | None = None,
) -> PreTrainedModel:
    """A new model, one whose towers begin as others, or one that goes on from a checkpoint (of `config`)."""
    model_class, size = MODEL_CLASSES[data.task], model.size or "tiny"
    if model.model_name_or_path:
        return go_on(data, labels, model, config)
    if not model.towers:
        return model_class(MoTConfig.of_size(size, **fields))
    fronts = sources_in_front(model, fields)
    for m, name in model.towers.items():
        print(describe_place(m, name, fronts.get(m), m in (model.train_backbones or ())))
    begun = {m: name for m, name in model.towers.items() if m not in fronts}
    new_layers = {"num_hidden_layers": SIZES[size]["num_encoder_layers"]}
    for name in [name for name in fields if is_modality_config(name) and name.removesuffix("_config") not in begun]:
        fields[name] = None if fields[name] is None else new_layers | fields[name]
    if not begun:  # no tower says how wide the joint part is
        fields = {name: value for name, value in SIZES[size].items() if name != "num_encoder_layers"} | fields
    sources = begun | {f"{m}_backbone": model.towers[m] for m in fronts}
    built = model_class.from_unimodal_pretrained(**sources, **fields)
    if source := model.towers.get(words_of(built.config) or ""):
        check_vocabulary(source, built.config.vocab_size, number_of_words)
    return built


def check_vocabulary(text_model: str, known: int, number_of_words: int) -> None:
    if number_of_words > known:
        raise ValueError(
            f"The tokenizer has {number_of_words} tokens, {text_model} knows {known}: leave --tokenizer_name out, or "
            f'add new words with --config_overrides \'{{"text_config": {{"vocab_size": {number_of_words}}}}}\'.'
        )
