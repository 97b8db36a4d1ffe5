# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A run that learns to generate: its documents, the processor and the model that fit them, and its encoded rows.

The training split teaches the tokenizers of text, pictures and sound; its media are encoded once, and its documents,
drawn anew in each epoch, are packed into sequences. A run that goes on takes processor and model from a checkpoint.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
from transformers import AutoConfig, PreTrainedTokenizerBase
from transformers.utils import logging

from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig
from mixture_of_transformers.data.document_columns import MEDIA
from mixture_of_transformers.data.documents import TEXT
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.data.tokenizers import train_writing_tokenizer
from mixture_of_transformers.feature_extraction_mot import MoTFeatureExtractor
from mixture_of_transformers.finetune.batches import augmentation_of
from mixture_of_transformers.finetune.checks import check_lora
from mixture_of_transformers.finetune.documents import Documents, load_documents
from mixture_of_transformers.finetune.media_tokenizers import audio_tokenizer, image_tokenizer
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments, RunArguments
from mixture_of_transformers.finetune.prepared import Prepared
from mixture_of_transformers.finetune.recipe import image_geometry, load_tokenizer, overrides_of, own_fields
from mixture_of_transformers.finetune.record import SETTINGS, check_same_run
from mixture_of_transformers.finetune.rows import reading_of
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.modality_image_mot import ImageAugmentation
from mixture_of_transformers.modeling_causal_mot import MoTForCausalLM
from mixture_of_transformers.processing_causal_mot import MoTCausalProcessor
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.continuation import is_adapter, load_model, read_config
from mixture_of_transformers.training.document_rows import (
    DocumentDataset,
    DocumentEncoder,
    EveryDocumentDataset,
    StreamedDocuments,
)
from mixture_of_transformers.training.media_codes import AS_RECORDED, CodeMaker, SoundVersions, add_codes
from mixture_of_transformers.training.optimization import add_causal_lora
from mixture_of_transformers.training.packing import PackingCollator
from mixture_of_transformers.training.trainer import MoTTrainer

logger = logging.get_logger(__name__)

# The sizes of a new model, by their names.
CAUSAL_SIZES = {
    "tiny": {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 384},
    "small": {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 768},
    "base": {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "intermediate_size": 1408},
}
TOWER_LAYERS, FRAMES_PER_SECOND = 2, 100
LORA_RANK = 8
MAX_TEXT_TOKENS, MAX_AUDIO_SECONDS = 512, 30.0


def prepare_generation(
    data: DataArguments, model_arguments: ModelArguments, training: RunArguments, earlier: Path | None, bad: Path
) -> Prepared:
    """
    All that a run needs that learns to generate.

    Args:
        earlier: the run or the checkpoint to go on with; None for a new one.
        bad: the report of bad rows.
    """
    check_lora(model_arguments, "generation")
    size_of(model_arguments)
    checkpoint = earlier or model_arguments.model_name_or_path
    set_document_limits(data)
    with training.main_process_first():
        splits, documents = load_documents(data, training.seed, bad if training.process_index == 0 else None)
        if data.streaming:  # of which each process reads its own rows
            splits["train"] = splits["train"].checked(data.on_bad_example, bad)
        train = splits["train"].sample() if data.streaming else splits["train"]
        if checkpoint is None:
            processor = new_processor(train, documents, data, model_arguments, training.seed)
        else:
            processor = MoTCausalProcessor.from_pretrained(checkpoint)
    check_processor(processor, documents, checkpoint)
    model = build_model(processor, model_arguments, freezes_text=TEXT in training.freeze)
    if earlier:
        check_same_run(earlier, data, training.seed, model)
    if model_arguments.lora:
        model = add_causal_lora(model, model_arguments.lora_rank or LORA_RANK, model_arguments.lora_experts)
    encoder = document_encoder(processor, model.config, documents, data, model_arguments, training.seed)
    maker = code_maker(processor, documents, data, model_arguments, training.seed)

    def encode(name: str) -> Any:
        return encode_split(splits[name], encoder, maker, documents, name == "train", training.dataloader_num_workers)

    return Prepared(splits, model, processor, encode, {"data_collator": collator_of(model.config, data)})


def collator_of(config: MoTCausalConfig, data: DataArguments) -> PackingCollator:
    return PackingCollator(config.pad_token_id, data.pack_length, tuple(config.placeholder_ids.values()))


# ---------------------------------------------------------------------------------------------------------------------
# A checkpoint that is evaluated
# ---------------------------------------------------------------------------------------------------------------------


def complete_generation(data: DataArguments, split: str | None) -> None:
    """
    Fill in what the evaluation of a model that generates needs to know.

    Args:
        split: the one to evaluate, None for that of the run.

    Raises:
        ValueError: another split than those of a run.
    """
    if split not in (None, "train", "validation", "test"):
        raise ValueError(f"--split is {split!r}: documents are evaluated on 'train', 'validation' or 'test'.")
    data.task, data.evaluate_on = "generation", split or data.evaluate_on
    set_document_limits(data)


def set_document_limits(data: DataArguments) -> None:
    data.max_text_tokens = data.max_text_tokens or MAX_TEXT_TOKENS
    data.max_audio_seconds = data.max_audio_seconds or MAX_AUDIO_SECONDS


def build_generation_trainer(
    folder: Path, output_dir: Path, config: MoTCausalConfig, data: DataArguments, options, processor
) -> MoTTrainer:
    """
    What a run has after its training.

    Args:
        options: the `ComputeArguments`.
    """
    model, _ = load_model(MoTForCausalLM, folder, config, whole=True)
    settings = {name: getattr(options, name) for name in (*SETTINGS, "dataloader_num_workers")}
    return MoTTrainer(
        model=model,
        args=MoTTrainingArguments(str(output_dir), report_to="none", **settings),
        processing_class=processor,
        data_collator=collator_of(config, data),
    )


def documents_to_evaluate(
    data: DataArguments, config: MoTCausalConfig, options, processor: MoTCausalProcessor, bad: Path
) -> tuple[dict, Callable]:
    """The split to evaluate, and what gives its documents by its name."""
    name = data.evaluate_on
    splits, documents = load_documents(data, options.seed, bad, only=name)
    check_processor(processor, documents, "the checkpoint")
    encoder = document_encoder(processor, config, documents, data, ModelArguments(), options.seed)
    maker = code_maker(processor, documents, data, ModelArguments(), options.seed)
    workers = options.dataloader_num_workers
    return splits, lambda split: encode_split(splits[split], encoder, maker, documents, False, workers)


# ---------------------------------------------------------------------------------------------------------------------
# The processor
# ---------------------------------------------------------------------------------------------------------------------


def new_processor(
    train: datasets.Dataset, documents: Documents, data: DataArguments, model: ModelArguments, seed: int
) -> MoTCausalProcessor:
    """A processor whose tokenizers are those that were named, or learn the training split."""
    reading, size = reading_of(data), image_geometry(train, model, data)
    pictures, sounds = documents.of_kind("image"), documents.of_kind("audio")
    parts = {
        "tokenizer": text_tokenizer(train, documents, model),
        "image_tokenizer": image_tokenizer(train, pictures, model, *size, reading, seed) if pictures else None,
        "audio_tokenizer": audio_tokenizer(train, sounds, model, reading, seed) if sounds else None,
        "encoders": encoders_of(documents, data, model, *size),
    }
    processor = MoTCausalProcessor(**parts)
    if model.from_causal_lm is None:
        return processor
    # The ids of media begin behind all rows of the source's table, of which a tokenizer may not use the last.
    rows = AutoConfig.from_pretrained(model.from_causal_lm).vocab_size
    return MoTCausalProcessor(**parts, text_vocab_size=max(rows, len(processor.tokenizer)))


def text_tokenizer(train: datasets.Dataset, documents: Documents, model: ModelArguments) -> PreTrainedTokenizerBase:
    """The tokenizer that was named, that of the language model to begin with, or one that learns the documents."""
    if name := model.tokenizer_name or model.from_causal_lm:
        return load_tokenizer(name)
    return train_writing_tokenizer(texts_of(train, documents))


def texts_of(train: datasets.Dataset, documents: Documents) -> Iterator[str]:
    """The text of the rows, and what the templates say themselves."""
    for template in documents.templates:
        yield from (part for part in template.parts if isinstance(part, str))
    for column in documents.of_kind(TEXT):
        for cell in train[column]:
            yield from cell if isinstance(cell, list) else [cell]


def encoders_of(
    documents: Documents, data: DataArguments, model: ModelArguments, size: int, patch_size: int
) -> dict[str, dict]:
    """The towers that read raw media, as far as a template has any; --config_overrides changes them."""
    known = {
        "image_size": size,
        "patch_size": patch_size,
        "max_frames": round(FRAMES_PER_SECOND * data.max_audio_seconds),
        "stem_stride": 4,
        "mean_normalization": model.audio_kind != "sound",
        "silence_value": MoTFeatureExtractor().silence_value,  # of digital silence, which no mean may count
        "num_hidden_layers": TOWER_LAYERS,
    }
    changes, towers = overrides_of(model).get("encoders", {}), {}
    for m in MEDIA:
        if documents.of_kind(m, is_raw=True):
            kind = MODALITIES[m]
            towers[m] = {"model_type": kind.config_class.model_type} | own_fields(kind, known) | changes.get(m, {})
    return towers


def check_processor(processor: MoTCausalProcessor, documents: Documents, checkpoint: str | Path | None) -> None:
    """
    Raises:
        ValueError: the documents have what the processor of a checkpoint cannot encode.
    """
    for field in documents.fields:
        kind = documents.kinds[field.column]
        known, way = (processor.encoders, "tower") if field.is_raw else (processor.codecs, "tokenizer")
        if kind != TEXT and kind not in known:
            raise ValueError(
                f"Column '{field.column}' of the documents needs a {way} of {kind}, and {checkpoint} has none: use "
                "other templates (--document), or train a new model."
            )


# ---------------------------------------------------------------------------------------------------------------------
# The model
# ---------------------------------------------------------------------------------------------------------------------


def build_model(processor: MoTCausalProcessor, model: ModelArguments, freezes_text: bool) -> MoTForCausalLM:
    """
    A new model, one that begins as a language model, or that of a checkpoint.

    Args:
        freezes_text: whether what it computes of text, its words among that, stays as it is.
    """
    overrides = overrides_of(model)
    if freezes_text:
        overrides.setdefault("freeze_text", True)
    if model.model_name_or_path:
        config = read_config(model.model_name_or_path, overrides, config_class=MoTCausalConfig)
        loaded, _ = load_model(MoTForCausalLM, model.model_name_or_path, config, whole=True)
        return loaded.merge_and_unload() if is_adapter(model.model_name_or_path) else loaded
    overrides.pop("encoders", None)  # which the processor has
    if model.from_causal_lm:
        return MoTForCausalLM.from_causal_lm(
            model.from_causal_lm, init=model.init, **processor.config_fields | overrides
        )
    fields = CAUSAL_SIZES[size_of(model)] | overrides
    return MoTForCausalLM(processor.config_for(**fields))


def size_of(model: ModelArguments) -> str:
    size = model.size or "tiny"
    if size not in CAUSAL_SIZES:
        raise ValueError(f"--size is {size!r}, expected one of {', '.join(CAUSAL_SIZES)}.")
    return size


# ---------------------------------------------------------------------------------------------------------------------
# The rows
# ---------------------------------------------------------------------------------------------------------------------


def document_encoder(
    processor: MoTCausalProcessor,
    config: MoTCausalConfig,
    documents: Documents,
    data: DataArguments,
    model: ModelArguments,
    seed: int,
) -> DocumentEncoder:
    return DocumentEncoder(
        processor,
        documents.templates,
        documents.kinds,
        documents.names,
        seed,
        data.prompt_dropout,
        data.max_text_tokens,
        reading_of(data),
        augmentations_of(config, processor, model),
    )


def augmentations_of(config: MoTCausalConfig, processor: MoTCausalProcessor, model: ModelArguments) -> dict[str, Any]:
    """What changes the raw media of training a little."""
    changes = {}
    for modality in config.encoders:
        tower = config.encoder_config(modality).modality_config(modality)
        change = augmentation_of(tower, modality, processor, model, "generation")
        if change is not None:
            changes[modality] = change
    return changes


def code_maker(
    processor: MoTCausalProcessor, documents: Documents, data: DataArguments, model: ModelArguments, seed: int
) -> CodeMaker:
    columns = {name: kind for kind in processor.codecs for name in documents.of_kind(kind)}
    tokenizers = {name: codec.tokenizer for name, codec in processor.codecs.items()}
    pictures = ImageAugmentation() if model.image_augmentation else None
    sounds = SoundVersions() if model.audio_augmentation else None
    if sounds is not None and model.audio_kind == "sound":
        sounds = replace(sounds, speeds=(AS_RECORDED,))  # a speed changes the pitch, which tells sounds apart
    return CodeMaker(tokenizers, columns, data.media_versions, reading_of(data), pictures, sounds, seed)


def encode_split(
    split: datasets.Dataset | RowStream,
    encoder: DocumentEncoder,
    maker: CodeMaker,
    documents: Documents,
    is_training: bool,
    num_proc: int,
) -> DocumentDataset | EveryDocumentDataset | StreamedDocuments:
    """The documents of a split; its media are encoded once, as they are where it is not for training."""
    if isinstance(split, RowStream):
        return StreamedDocuments(split.read_by(maker.reading), encoder, maker.add_to_row)
    check_texts(split, documents, encoder.processor)
    kept = [
        *documents.of_kind(TEXT),
        *(c for kind in MEDIA for c in documents.of_kind(kind, is_raw=True)),
    ]
    rows = add_codes(split, maker if is_training else maker.plain(), kept, num_proc or None)
    return DocumentDataset(rows, encoder) if is_training else EveryDocumentDataset(rows, encoder)


def check_texts(split: datasets.Dataset, documents: Documents, processor: MoTCausalProcessor) -> None:
    """
    Raises:
        ValueError: a text holds a token that begins or ends a medium.
    """
    marks = processor.tokenizer.convert_ids_to_tokens([token for _, token in processor.layout.marks()])
    for column in documents.of_kind(TEXT):
        for row, cell in enumerate(split[column]):
            if cell is not None and (found := [mark for mark in marks if mark in cell]):
                raise ValueError(
                    f"Row {row}, column '{column}' holds {found[0]}, which begins or ends a medium: take it out of "
                    "the text, and name the column of the medium in --document."
                )
