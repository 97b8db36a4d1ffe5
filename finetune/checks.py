# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which options of a model go together, with each other, with the data and with the folder of the run."""

from pathlib import Path

from mixture_of_transformers.finetune.options import ModelArguments
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.training.continuation import is_adapter


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
