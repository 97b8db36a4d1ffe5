# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""run.json: which data a run was trained on and how, so that it can be evaluated again and is not mixed with another.

`Record` is what the file holds, `Run` the part of it that the model card tells. `check_same_run` compares the run that
lies in a folder with the one that is to go on there.
"""

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
import transformers
from datasets import Dataset
from transformers import PreTrainedModel, TrainerState

from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig
from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.secrets import place_name, without_secrets
from mixture_of_transformers.finetune.commands import line_to_repeat
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.continuation import labels_of, read_config
from mixture_of_transformers.training.run_folder import STATE, write_whole
from mixture_of_transformers.training.trainer import MoTTrainer

RECORD = "run.json"
# The arguments of the training that decide the numbers of an evaluation.
SETTINGS = ("seed", "per_device_eval_batch_size", "bf16", "fp16", "bf16_full_eval", "fp16_full_eval")


@dataclass
class Run:
    """
    How a model came to be, for its card.

    Args:
        name: by which the model is loaded.
        dataset: its name as the card shows it.
        hub_dataset: the dataset's id on the Hub, None for one that is not there.
    """

    name: str
    dataset: str
    hub_dataset: str | None = None
    rows: dict[str, int] = field(default_factory=dict)  # split -> rows that were used
    columns: list[str] = field(default_factory=list)  # "text", "image", "video", ...
    seed: int = 0
    command: str | None = None  # None where it is not known how the model was trained
    seconds: float = 0.0  # how long it was trained
    versions: str = f"torch {torch.__version__} and\ntransformers {transformers.__version__}"
    machine: str = ""  # on what; empty where it is not known
    weights: str = ""  # which weights of its training it has, as in "the weights are those of ..."


@dataclass
class Record:
    """What run.json holds: the data that a run was trained on, how it evaluates, and how its model came to be."""

    data: dict  # the fields of the run's `DataArguments`
    settings: dict  # the fields of its training arguments that SETTINGS names
    run: Run

    @classmethod
    def of(cls, data: DataArguments, training: MoTTrainingArguments, run: Run) -> "Record":
        fields = {name: without_secrets(v) if isinstance(v, str) else v for name, v in asdict(data).items()}
        return cls(fields, {name: getattr(training, name) for name in SETTINGS}, run)

    @classmethod
    def read(cls, folder: Path) -> "Record | None":
        """The record in a run's folder, also for a checkpoint within that; None where there is none."""
        found = next((path for path in (folder / RECORD, folder.parent / RECORD) if path.exists()), None)
        if found is None:
            return None
        fields = json.loads(found.read_text(encoding="utf-8"))
        run = Run(**fields["run"])
        if found.parent != folder and (folder / STATE).is_file():  # the record is that of the last weights
            step = TrainerState.load_from_json(str(folder / STATE)).global_step
            run = replace(run, weights=f"of step {step}", seconds=0.0)
        return cls(fields["data"], fields["settings"], run)

    def write(self, folder: Path) -> None:
        write_whole(folder / RECORD, json.dumps(asdict(self), indent=2) + "\n")


def seconds_before(earlier: Path | None) -> float:
    """How long the run whose folder or checkpoint is given has trained; 0 for none, and where that is not known."""
    return Record.read(earlier).run.seconds if earlier and (earlier / RECORD).exists() else 0.0


def record_checkpoints(trainer: MoTTrainer, record: Callable[[], Record]) -> None:
    """
    Have each checkpoint say itself which run it is of.

    Args:
        record: gives the run's record at this moment.
    """

    def write(checkpoint: Path) -> None:
        now, step = record(), trainer.state.global_step
        replace(now, run=replace(now.run, weights=f"of step {step}")).write(checkpoint)

    trainer.add_to_checkpoint = write


def check_same_run(place: Path, data: DataArguments, seed: int, model: PreTrainedModel | None = None) -> None:
    """
    Compare the run that is to go on with this one.

    Args:
        place: the folder of the run, or of its checkpoint, that is to go on.
        data: what this run learns.
        seed: the seed of this run, which decides the order of its rows.
        model: the model of this run, None as long as it is not built.

    Raises:
        ValueError: it is a run on other data, for another task, with another seed or with other classes.
    """
    record, is_same, was = Record.read(place), True, ""
    asked = f"{named(asdict(data))} for {data.task}" if data.task else named(asdict(data))
    if record is not None:
        is_same = is_same_data(record.data, data)
        was = f" on {named(record.data)} for {record.data['task']}"
    if record is not None and is_same and record.settings.get("seed", seed) != seed:
        is_same, was, asked = False, f"{was} with seed {record.settings['seed']}", f"{asked} with seed {seed}"
    if model is not None and (place / "config.json").is_file():
        config = read_config(place, config_class=type(model.config))
        architecture = next(iter(config.architectures or []), type(model).__name__)
        is_same = is_same and architecture == type(model).__name__ and answers_of(config) == answers_of(model.config)
        was, asked = f"{was} with {answers_of(config)}", f"{asked} with {answers_of(model.config)}"
    if not is_same:
        raise ValueError(
            without_secrets(f"{place} was trained{was}; you ask for {asked}. ")
            + f"Name another --output_dir, and to begin with those weights --model_name_or_path {place}."
        )


def is_same_data(was: dict, asked: DataArguments) -> bool:
    """Whether the `DataArguments` of a record ask for the same data and task as others."""
    is_same_source = is_same_dataset(was["dataset_name"], asked.dataset_name)
    is_same_source = is_same_source and was.get("dataset_config") == asked.dataset_config
    return is_same_source and asked.task in (None, was["task"])


def is_same_dataset(was: str | None, asked: str | None) -> bool:
    """Whether two names are of the same data, which may have moved since."""
    asked = asked and without_secrets(asked)
    if was == asked or was is None or asked is None:
        return was == asked
    old, new = Path(was).expanduser(), Path(asked).expanduser()
    return new.exists() and (old.resolve() == new.resolve() or (not old.exists() and old.name == new.name))


def named(data: dict) -> str:
    """The dataset of `DataArguments`, with its configuration."""
    parts = [data["dataset_name"] or "the embedded digits", data.get("dataset_config")]
    return " ".join(part for part in parts if part)


def answers_of(config: MoTConfig | MoTCausalConfig) -> str:
    """What a model takes and tells apart, as text: its modalities, the size of its vocabulary, and its classes."""
    words = f", {config.vocab_size:,} tokens" if hasattr(config, "vocab_size") else ""
    names = labels_of(config).names if isinstance(config, MoTConfig) else ()
    classes = f" and classes {', '.join(names)}" if names else ""
    return f"{', '.join(config.modalities)}{words}{classes}"


def describe_run(trainer: MoTTrainer, data: DataArguments, splits: dict, arguments: list[str], seconds: float) -> Run:
    """What the card says of the data and of how the model came to be."""
    name = data.dataset_name or "embedded digits"
    is_path = data.dataset_name is None or "://" in name or Path(data.dataset_name).expanduser().exists()
    return Run(
        name=trainer.args.hub_model_id or Path(trainer.args.output_dir).resolve().name,
        dataset=place_name(name) if is_path else name,
        hub_dataset=None if is_path else name,
        rows={split: len(part) for split, part in splits.items() if isinstance(part, Dataset)},
        columns=splits["train"].column_names,
        seed=trainer.args.seed,
        command=line_to_repeat(arguments, trainer.args),
        seconds=round(seconds, 1),
        machine=describe_machine(),
        weights=weights_kept(trainer),
    )


def describe_machine() -> str:
    """What computes here, as in "2 cores of x86_64, 1 thread, no GPU"."""
    cores, threads, cards = os.cpu_count(), torch.get_num_threads(), torch.cuda.device_count()
    names = sorted({torch.cuda.get_device_name(number) for number in range(cards)})
    accelerators = f"{cards} x {', '.join(names)}" if cards else "no GPU"
    plural = "" if threads == 1 else "s"
    return f"{cores} cores of {platform.machine()}, {threads} thread{plural}, {accelerators}"


def weights_kept(trainer: MoTTrainer) -> str:
    """Which of the weights that training went through the model has now, as in "the weights are those ..."."""
    state, args = trainer.state, trainer.args
    last = f"of the last step, {state.global_step}"
    if not args.load_best_model_at_end:
        return last
    if state.best_model_checkpoint is None:
        return f"{last}, since no evaluation was reached"
    if not Path(state.best_model_checkpoint).exists():
        return f"{last}, since the best checkpoint, {Path(state.best_model_checkpoint).name}, is gone"
    metric = args.metric_for_best_model.removeprefix("eval_")
    return f"of step {state.best_global_step}, the best of the evaluations by {metric} ({state.best_metric:.4g})"
