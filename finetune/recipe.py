# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The processor and the model of a run: built to fit its data, or gone on with from a checkpoint."""

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
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
from mixture_of_transformers.data.extra_columns import FOUND, LEFT_OUT, NO_NAMES, kinds_of_options, read_option
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
from mixture_of_transformers.processing_mot import MoTProcessor, load_processor, tokenizer_without_words
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
# Which part of a processor makes tensors of which modality, and of others of its kind.
PARTS = dict(zip(MODALITIES, ("tokenizer", "image_processor", "feature_extractor"), strict=True))
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
    kinds = kinds_of_options(data.extra_columns or ())
    if config is not None and processor is not None:
        built, processor = grown(train, labels, data, model, config, processor, kinds)
    else:
        processor = build_processor(train, model, data)
        if kinds:
            processor = with_modalities(processor, learned_settings(train, kinds))
        fields = config_fields(train, labels, processor, data, model)
        built = build_model(fields, data, labels, model, len(processor.tokenizer))
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
    """
    The tokenizer that was named, or one that learns the training texts, or knows no words where there are none; None
    where a source has its own.
    """
    if model.tokenizer_name:
        return load_tokenizer(model.tokenizer_name)
    columns = [name for name, cell in CELLS.items() if cell.medium is None and name in train.column_names]
    columns = [name for name in columns if not is_ready_features(train.features[name])]
    columns += [name for name, kind in kinds_of_options(data.extra_columns or ()).items() if kind in STRING_ROLES]
    if any(MODALITY_OF_CELL.get(name) in model.towers for name in columns):
        return None
    if not columns:
        return tokenizer_without_words()
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
    return with_parts(processor, {"modalities": processor.modalities | dict(settings)})


def with_parts(processor: MoTProcessor, parts: Mapping) -> MoTProcessor:
    """The processor with some of its parts in place of its own."""
    own = (*PARTS.values(), "num_frames", "return_times", "modalities")
    return MoTProcessor(**{name: getattr(processor, name) for name in own} | dict(parts))


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
        if not columns_of(kind, train):
            fields[name] = None
            continue
        tower = tower_fields(kind, train, of_source if modality in model.towers and modality not in fronts else raw)
        if modality in fronts:
            tower = fields_behind(model.towers[modality], kind, tower)
            tower["freeze_backbone"] = modality not in (model.train_backbones or ())
        fields[name] = tower | (overrides.get(name) or {})
    for modality in processor.modalities:
        own = further_fields(modality, processor, raw) | (overrides.get(f"{modality}_config") or {})
        fields[f"{modality}_config"] = own
    return fields | {"extra_modalities": list(processor.modalities)}


def columns_of(kind: Modality, train: datasets.Dataset) -> list[str]:
    """The columns of a split that hold a modality in one of its forms."""
    return [cell.name for cell in kind.cells if cell.name in train.column_names]


def tower_fields(kind: Modality, train: datasets.Dataset, raw: dict) -> dict:
    """The config of text, pictures or sound that a split has: of raw input as `raw` says, or of its ready features."""
    column = columns_of(kind, train)[-1]
    if is_ready_features(train.features[column]):
        return {"feature_size": feature_size(train[column])}
    return own_fields(kind, raw)


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
    leave_out_columns(data, config, name, can_grow=True)
    record = Record.read(Path(name)) if Path(name).is_dir() else None
    found = {} if record is None else record.data.get("columns_found", {})
    data.cells_remembered = {cell: column for cell, column in found.items() if cell in CELLS}
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


def leave_out_columns(data: DataArguments, config: MoTConfig, name: str, can_grow: bool = False) -> None:
    """
    Take no columns of modalities that the checkpoint `name` lacks.

    Args:
        can_grow: whether those that a person names become modalities more, with `auto` also those that are found.

    Raises:
        ValueError: a column of such a modality was named, and the model cannot grow.
    """
    if data.extra_columns is None or can_grow:
        add_recorded_extras(data, config, name)
    if can_grow and LEFT_OUT not in data.extra_columns:
        return
    left_out = []
    for column in CELLS:
        if MODALITY_OF_CELL[column] in config.modalities:
            continue
        if getattr(data, f"{column}_column") in (None, LEFT_OUT):
            left_out.append(column)
            setattr(data, f"{column}_column", LEFT_OUT)
        elif not can_grow:
            raise ValueError(f"--{column}_column is given, but {name} takes {', '.join(config.modalities)} alone.")
    if left_out:
        logger.warning(f"{name} takes {', '.join(config.modalities)}: columns of other kinds are left out.")


def add_recorded_extras(data: DataArguments, config: MoTConfig, name: str) -> None:
    """
    Have `data.extra_columns` name the columns of a checkpoint's further modalities, as its run took them, beside those
    that a person named; `none` among these takes no others, `auto` has more found.
    """
    options = data.extra_columns or []
    named = [option for option in options if option not in NO_NAMES]
    names = {read_option(option)[0] for option in named}
    record = Record.read(Path(name)) if Path(name).is_dir() else None
    was = {} if record is None or LEFT_OUT in options else record.data
    recorded = [option for option in was.get("extra_columns") or [] if option not in NO_NAMES]
    recorded = {read_option(option)[0]: option for option in recorded}
    data.extras_remembered = [o for m, o in recorded.items() if m in config.extra_modalities and m not in names]
    if missing := [m for m in config.extra_modalities if m not in names | recorded.keys()]:
        logger.warning(f"{name} takes {', '.join(missing)} as well: name their columns with --extra_columns.")
    data.extra_columns = [*data.extras_remembered, *named] + ([] if FOUND in options else [LEFT_OUT])


def grown(
    train: datasets.Dataset,
    labels: LabelSpec | None,
    data: DataArguments,
    model: ModelArguments,
    config: MoTConfig,
    processor: MoTProcessor,
    kinds: Mapping[str, str],
) -> tuple[PreTrainedModel, MoTProcessor]:
    """
    The model and the processor of a checkpoint, with a modality more for each that the data have beyond its own: the
    processor keeps what it knows and learns the rest of the training split.

    Raises:
        ValueError: a modality of the checkpoint is something else in the data; or adapters alone are to be trained.
    """
    known = {name: kind for name, kind in kinds.items() if name in processor.modalities}
    for name, kind in known.items():
        check_known(name, kind, train, processor, data, model.model_name_or_path)
    fresh = {name: kind for name, kind in kinds.items() if name not in processor.modalities}
    lacking = [m for m, kind in MODALITIES.items() if m not in config.modalities and columns_of(kind, train)]
    if not fresh and not lacking:
        return build_model(None, data, labels, model, config=config), processor
    if model.lora:
        added = ", ".join([*lacking, *fresh])
        raise ValueError(
            f"--lora adapts the layers that {model.model_name_or_path} has, and those of {added} would be new: train "
            "without --lora first, with --freeze for what is to stay, then adapt that checkpoint."
        )
    processor = with_parts_for(lacking, fresh, train, data, model, config, processor)
    processor = with_modalities(processor, learned_settings(train, fresh))
    raw = raw_fields(train, processor, data, model) | geometry_of(config, processor)
    overrides = overrides_of(model)
    built = build_model(None, data, labels, model, config=config)
    for name in (*lacking, *fresh):
        is_first = name in lacking  # text, pictures or sound
        of_data = tower_fields(MODALITIES[name], train, raw) if is_first else further_fields(name, processor, raw)
        built.add_modality(name, of_data | (overrides.get(f"{name}_config") or {}))
    return built, processor


def check_known(
    name: str,
    kind: str,
    train: datasets.Dataset,
    processor: MoTProcessor,
    data: DataArguments,
    checkpoint: str | None,
) -> None:
    """Whether the data have what the checkpoint knows under a name, tried on the first row that has it."""
    known = processor.modalities[name]
    problem = f"its kind is {known['kind']}, and that of the data {kind}" if known["kind"] != kind else None
    cell = next((cell for cell in train[name] if not is_absent_cell(cell)), None)
    if problem is None and cell is not None:
        try:
            processor(**{name: [cell]}, allow_urls=reading_of(data).allow_urls)
        except ValueError as error:
            problem = str(error)
    if problem:
        raise ValueError(
            f"{checkpoint} has a modality '{name}' that is not that of the data ({problem}): name the columns that it "
            f"was trained on, or give these another name, --extra_columns NAME=COLUMN."
        )


def with_parts_for(
    lacking: Iterable[str],
    fresh: Mapping[str, str],
    train: datasets.Dataset,
    data: DataArguments,
    model: ModelArguments,
    config: MoTConfig,
    processor: MoTProcessor,
) -> MoTProcessor:
    """The processor of a checkpoint, with a tokenizer and the like made for the data where it has used none so far."""
    used = {config.modality_config(m).model_type for m in config.modalities}
    of_cells = {MODALITY_OF_CELL[kind] for kind in fresh.values() if kind in CELLS}
    wanted = [m for m in {*lacking, *of_cells} if MODALITIES[m].config_class.model_type not in used]
    if not wanted:
        return processor
    made = build_processor(train, model, data)
    return with_parts(processor, {PARTS[m]: getattr(made, PARTS[m]) for m in wanted})


def geometry_of(config: MoTConfig, processor: MoTProcessor) -> dict:
    """The size of pictures and patches of a checkpoint whose pictures share an image processor; {} without."""
    shared = [m for m in config.modalities if processor.modalities.get(m, {}).keys() <= {"kind"}]
    for tower in map(config.modality_config, shared):
        if tower.takes_raw_input and tower.backbone_config is None and hasattr(tower, "patch_size"):
            return {name: getattr(tower, name) for name in ("image_size", "patch_size")}
    return {}


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
