# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a run leaves before anything else can fail: its weights, processor and config, and run.json beside them."""

from pathlib import Path

from mixture_of_transformers.finetune.card import CARD
from mixture_of_transformers.finetune.predictions import PREDICTIONS
from mixture_of_transformers.finetune.record import RECORD, Record
from mixture_of_transformers.finetune.results import REPORT, RESULTS
from mixture_of_transformers.training.trainer import MoTTrainer

WHOLE_MODEL = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors")
ADAPTER = ("adapter_model.safetensors", "adapter_config.json")


def save_checkpoint(trainer: MoTTrainer) -> None:
    """The weights, the processor and the config; what speaks of other weights than these is taken away before."""
    # Cutting the training texts has set the tokenizer to cut every text, which the processor leaves to its caller.
    if backend := getattr(trainer.processing_class.tokenizer, "backend_tokenizer", None):
        backend.no_truncation()
    folder = Path(trainer.args.output_dir)
    if trainer.is_world_process_zero():
        take_away(folder, [RECORD, PREDICTIONS, REPORT])
        if (folder / RESULTS).exists():  # without it, a README.md is not the card of a run
            take_away(folder, [RESULTS, CARD])
    trainer.save_model(_internal_call=True)  # a push comes later, when the folder is complete


def keep_record(trainer: MoTTrainer, record: Record) -> None:
    """Write run.json beside a checkpoint, and take away weights of the other kind and the training's arguments."""
    if not trainer.is_world_process_zero():
        return
    folder = Path(trainer.args.output_dir)
    others = ADAPTER if trainer.head is trainer.model else WHOLE_MODEL
    take_away(folder, [*others, "training_args.bin"])  # a pickle, which a checkpoint must not need
    record.write(folder)


def take_away(folder: Path, patterns: list[str]) -> None:
    for path in (path for pattern in patterns for path in folder.glob(pattern) if path.is_file()):
        path.unlink()


def merge_adapter(trainer: MoTTrainer, record: Record) -> None:
    """Save the model with its adapter merged, in place of the adapter."""
    trainer.model = trainer.model.merge_and_unload()
    save_checkpoint(trainer)
    keep_record(trainer, record)
