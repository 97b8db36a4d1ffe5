# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which options of a model go together, with each other, with the data and with the folder of the run."""

from collections.abc import Sequence
from dataclasses import MISSING
from pathlib import Path

from mixture_of_transformers.finetune.options import DataArguments, ModelArguments, RunArguments
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.training.continuation import is_adapter

# Options of new generators, of all generators, and of no generator.
OF_NEW_GENERATORS = ("from_causal_lm", "init", "image_tokenizer", "audio_tokenizer", "image_tokenizer_config")
OF_NEW_GENERATORS += ("audio_tokenizer_config", "tokenizer_steps")
OF_GENERATION = (
    "document",
    "pack_length",
    "media_versions",
    "prompt_dropout",
    "samples",
    "lora_experts",
    *OF_NEW_GENERATORS,
)
OF_NEW_GENERATORS += ("size", "tokenizer_name", "image_size", "patch_size")
NOT_OF_GENERATION = ("text_model", "image_model", "audio_model", "tower", "train_backbones", "modality_dropout")
NOT_OF_GENERATION += ("modality_dropout_warmup", "video_column", "sentiment_metrics")


def check_base(model: ModelArguments, output_dir: str) -> None:
    if model.model_name_or_path and Path(model.model_name_or_path).resolve() == Path(output_dir).resolve():
        raise ValueError(
            f"This run would overwrite {output_dir}, the checkpoint that it goes on from: name another --output_dir."
        )


def check_pushed_base(model: ModelArguments) -> None:
    if model.lora and not model.merge_lora and Path(model.model_name_or_path or "").is_dir():
        raise ValueError(
            f"An adapter names its model, and {model.model_name_or_path} is a folder of this machine, which nobody "
            "else could load: push that first and give its id as --model_name_or_path, or push both in one with "
            "--merge_lora."
        )


def check_generation(data: DataArguments, model: ModelArguments, training: RunArguments) -> None:
    """
    Raises:
        ValueError: an option of models that generate is given for another task, or the reverse, or cannot be.
    """
    if data.task != "generation":
        if given := first_given(OF_GENERATION, data, model):
            raise ValueError(f"--{given} is for --task generation: leave it out.")
        return
    if given := first_given(NOT_OF_GENERATION, data, model):
        raise ValueError(f"--{given} is for models that answer, not for --task generation: leave it out.")
    if model.model_name_or_path and (given := first_given(OF_NEW_GENERATORS, data, model)):
        raise ValueError(f"--{given} is for a new model; --model_name_or_path goes on with what it names.")
    if training.label_smoothing_factor or training.class_weights:
        name = "label_smoothing_factor" if training.label_smoothing_factor else "class_weights"
        raise ValueError(f"--{name} is for classes, not for --task generation: leave it out.")
    for name in ("pack_length", "media_versions", "tokenizer_steps"):
        if (number := (vars(data) | vars(model))[name]) < 1:
            raise ValueError(f"--{name} is {number}, expected at least 1.")
    if not 0 <= data.prompt_dropout < 1:
        raise ValueError(f"--prompt_dropout is {data.prompt_dropout}, expected a share from 0 to below 1.")
    if model.lora_experts and not model.lora:
        raise ValueError("--lora_experts says what --lora adapts: give both.")


def first_given(names: Sequence[str], *arguments: DataArguments | ModelArguments) -> str | None:
    """The first of these options that has another value than its default."""
    for name in names:
        owner = next(given for given in arguments if hasattr(given, name))
        option = type(owner).__dataclass_fields__[name]
        default = option.default if option.default_factory is MISSING else option.default_factory()
        if getattr(owner, name) != default:
            return name
    return None


def check_towers(model: ModelArguments, columns: list[str]) -> None:
    if model.towers and model.model_name_or_path:
        raise ValueError(
            "--model_name_or_path goes on from a whole model, --text_model and its like begin one: give either."
        )
    if unknown := sorted({*(model.train_backbones or ())} - model.towers.keys()):
        raise ValueError(
            f"--train_backbones names {', '.join(unknown)}, for which no model is named: give one with --text_model "
            "and its like, or with --tower."
        )
    for m in model.towers:
        taken = {cell.name for cell in MODALITIES[m].cells} if m in MODALITIES else {m}
        if taken.isdisjoint(columns):
            raise ValueError(
                f"--{m}_model names a {m} tower, but the dataset has no {m} column; it has {', '.join(columns)}."
            )


def check_lora(model: ModelArguments, task: str) -> None:
    if (model.lora or model.merge_lora) and (not model.model_name_or_path or task == "pretraining"):
        raise ValueError(
            "--lora adapts a trained model to a task: give --model_name_or_path, and a --task other than pretraining."
        )
    if model.merge_lora and not model.lora:
        raise ValueError("--merge_lora merges what --lora trains: give both.")
    if model.lora_rank is not None and not model.lora:
        raise ValueError(f"--lora_rank {model.lora_rank} is of the adapters that --lora trains: give both.")
    if model.lora and not model.merge_lora and is_adapter(model.model_name_or_path):
        raise ValueError(
            f"{model.model_name_or_path} is an adapter, on which another cannot stand: train all parameters, or save "
            "both merged with --merge_lora."
        )
