# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Train a Mixture-of-Transformers on any dataset with text, image, audio and label columns: to classify, to regress,
to retrieve, without labels to pretrain, or to generate text, pictures and sound. Without arguments it learns to
classify the embedded digits.

    python run_finetune.py
    python run_finetune.py --dataset_name user/clips --text_column transcript --audio_column speech --label_column mood
    python run_finetune.py --task retrieval --dataset_name user/captions
    python run_finetune.py --task generation --dataset_name user/captions --document "{image} {text}" "{text} {image}"

It evaluates every subset of the modalities (retrieval: every pair), and leaves a checkpoint with its card. Every
option of transformers' `TrainingArguments` works too; `--help` lists all. `accelerate launch` and `torchrun` start it
on several devices.
"""

import json
import sys
import time
from pathlib import Path

from transformers import PreTrainedModel, set_seed

from mixture_of_transformers.finetune.batches import build_collators, encode_split
from mixture_of_transformers.finetune.checks import check_base, check_generation, check_pushed_base
from mixture_of_transformers.finetune.generation import prepare_generation
from mixture_of_transformers.finetune.limits import BAD_ROWS, check_splits, set_limits
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments, RunArguments, parse
from mixture_of_transformers.finetune.prepared import Prepared
from mixture_of_transformers.finetune.recipe import build, read_checkpoint
from mixture_of_transformers.finetune.record import (
    Record,
    check_same_run,
    describe_run,
    record_checkpoints,
    seconds_before,
)
from mixture_of_transformers.finetune.results import RESULTS, build_metrics, finish
from mixture_of_transformers.finetune.rows import load_data, prepare_to_stream
from mixture_of_transformers.finetune.saving import keep_record, merge_adapter, save_checkpoint
from mixture_of_transformers.finetune.unfinished import rest_of_the_run, stop_well
from mixture_of_transformers.finetune.usage import example_row, print_usage
from mixture_of_transformers.training.command import run
from mixture_of_transformers.training.interruption import check_folder, run_to_go_on
from mixture_of_transformers.training.launch import check_one_device
from mixture_of_transformers.training.optimization import add_lora
from mixture_of_transformers.training.pushing import check_push, push
from mixture_of_transformers.training.run_folder import begin_run, owned
from mixture_of_transformers.training.trainer import MoTTrainer

LORA_RANK = 8


def main(arguments: list[str] | None = None) -> dict:
    """Train, evaluate, save; returns what `results.json` holds."""
    arguments = sys.argv[1:] if arguments is None else arguments
    data, model_arguments, training = parse(arguments, __doc__)
    check_one_device(training.n_gpu)
    check_base(model_arguments, training.output_dir)
    check_generation(data, model_arguments, training)
    if training.process_index != 0:
        return finetune(data, model_arguments, training, arguments)
    check_folder(Path(training.output_dir))  # before the data are read, which may take long
    with owned(Path(training.output_dir)):
        return finetune(data, model_arguments, training, arguments)


def finetune(
    data: DataArguments, model_arguments: ModelArguments, training: RunArguments, arguments: list[str]
) -> dict:
    """The run of one process, in a folder that belongs to it."""
    set_seed(training.seed)
    folder = Path(training.output_dir)
    earlier = begin(data, model_arguments, training)
    make = prepare_generation if data.task == "generation" else prepare
    prepared = make(data, model_arguments, training, earlier, folder / BAD_ROWS)
    splits = prepared.splits
    print(described_size(prepared.model))
    with training.main_process_first():
        encoded = {name: prepared.encode(name) for name in splits}
    trainer = MoTTrainer(
        model=prepared.model,
        args=training,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        processing_class=prepared.processor,
        **prepared.collators,
        compute_metrics=prepared.compute_metrics,
    )
    start = time.time() - seconds_before(earlier)

    def record_after(seconds: float) -> Record:
        return Record.of(data, training, describe_run(trainer, data, splits, arguments, seconds))

    record_checkpoints(trainer, lambda: record_after(time.time() - start))
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    if trainer.is_finished and (folder / RESULTS).exists():
        return json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    seconds = time.time() - start
    if trainer.stop.received:
        stop_well(trainer, arguments)

    save_checkpoint(trainer)
    with rest_of_the_run(trainer, model_arguments.merge_lora):
        record, row = record_after(seconds), example_row(data, splits)
        keep_record(trainer, record)
        if model_arguments.merge_lora:
            merge_adapter(trainer, record)
        results = finish(trainer, splits, encoded.__getitem__, record, row, folder / BAD_ROWS)
    if trainer.is_world_process_zero():
        if training.push_to_hub:
            push(folder.resolve(), trainer)
        print_usage(trainer, folder.resolve(), record, row)
    return results


def begin(data: DataArguments, model_arguments: ModelArguments, training: RunArguments) -> Path | None:
    """Refuse what could not end well, before anything is read; returns the place of the run to go on with, or None."""
    folder = Path(training.output_dir)
    if training.push_to_hub and training.process_index == 0:
        check_pushed_base(model_arguments)
        check_push(training.hub_model_id or folder.name, training)
    if data.streaming:
        prepare_to_stream(data, training)
    earlier = run_to_go_on(training.resume_from_checkpoint, folder)  # an error if it is not there
    if earlier:
        check_same_run(earlier, data, training.seed)
    elif training.process_index == 0:
        begin_run(folder)  # what lies there is of earlier runs from now on
    return earlier


def prepare(
    data: DataArguments, model_arguments: ModelArguments, training: RunArguments, earlier: Path | None, bad: Path
) -> Prepared:
    """
    The splits of the data, and the model and the processor that fit them and their labels.

    Args:
        earlier: the run or the checkpoint to go on with; None for a new one.
        bad: the report of bad rows.
    """
    config, processor = read_checkpoint(model_arguments, data)
    set_limits(data, config, processor and processor.feature_extractor)
    with training.main_process_first():
        splits, labels = load_data(data, training.seed, bad if training.process_index == 0 else None)
    if data.streaming:  # of which each process reads its own rows
        splits["train"] = splits["train"].checked(data.on_bad_example, bad)
    train = splits["train"].sample() if data.streaming else splits["train"]
    model, processor = build(train, labels, data, model_arguments, config, processor)
    if earlier:
        check_same_run(earlier, data, training.seed, model)
    splits = check_splits(splits, model.config, bad)
    if model_arguments.lora:
        model = add_lora(model, LORA_RANK if model_arguments.lora_rank is None else model_arguments.lora_rank)
    return Prepared(
        splits,
        model,
        processor,
        lambda name: encode_split(name, splits[name], processor, model.config, data, training.dataloader_num_workers),
        build_collators(processor, model.config, data, model_arguments, training.seed),
        build_metrics(data, labels and labels.problem_type),
    )


def described_size(model: PreTrainedModel) -> str:
    total = sum(p.numel() for p in model.parameters())
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    size = f"{total:,} parameters for {', '.join(model.config.modalities)}"
    return size if learning == total else f"{size}, {learning:,} learn"


if __name__ == "__main__":
    run(main, sys.argv[1:])
