# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a run does once its checkpoint is safe, and what `mot evaluate` does again: results, predictions and the card.

`save_checkpoint` writes weights, processor and config, `keep_record` writes run.json: which data the run was trained on and
how. Whatever fails once the weights are saved (`rest_of_the_run`) is an error that says where they lie and how to do the
rest again.
"""

import json
import math
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, TrainerState
from transformers.utils import logging

from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.secrets import place_name, without_secrets
from mixture_of_transformers.finetune.card import Run, print_table, save_examples, usage_lines, write_card
from mixture_of_transformers.finetune.limits import bad_rows, row_numbers
from mixture_of_transformers.training.command import RunError
from mixture_of_transformers.training.continuation import is_adapter, labels_of, read_config
from mixture_of_transformers.training.metrics import compute_metrics, sentiment_metrics
from mixture_of_transformers.training.pushing import push_command
from mixture_of_transformers.training.run_folder import STATE, write_whole
from mixture_of_transformers.training.trainer import MoTTrainer

logger = logging.get_logger(__name__)

RECORD, RESULTS, CARD, PREDICTIONS = "run.json", "results.json", "README.md", "predictions.jsonl"
WHOLE_MODEL = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors")
ADAPTER = ("adapter_model.safetensors", "adapter_config.json")
# What of the training's arguments decides the numbers of an evaluation.
SETTINGS = ("seed", "per_device_eval_batch_size", "bf16", "fp16", "bf16_full_eval", "fp16_full_eval")


# ---------------------------------------------------------------------------------------------------------------------
# What a run leaves before anything else can fail
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Record:
    """What run.json holds: the data that a run was trained on, how it evaluates, and how its model came to be."""

    data: dict  # of the run's `DataArguments`
    settings: dict  # SETTINGS
    run: Run

    @classmethod
    def of(cls, data, training, run: Run) -> "Record":
        fields = {name: without_secrets(v) if isinstance(v, str) else v for name, v in asdict(data).items()}
        return cls(fields, {name: getattr(training, name) for name in SETTINGS}, run)

    @classmethod
    def read(cls, folder: Path) -> "Record | None":
        """That of a run's folder, or of the run that a checkpoint within it belongs to; None where there is none."""
        found = next((path for path in (folder / RECORD, folder.parent / RECORD) if path.exists()), None)
        if found is None:
            return None
        fields = json.loads(found.read_text(encoding="utf-8"))
        run = Run(**fields["run"])
        if found.parent != folder and (folder / STATE).is_file():  # the run speaks of its last weights
            step = TrainerState.load_from_json(str(folder / STATE)).global_step
            run = replace(run, weights=f"of step {step}", seconds=0.0)
        return cls(fields["data"], fields["settings"], run)

    def write(self, folder: Path) -> None:
        write_whole(folder / RECORD, json.dumps(asdict(self), indent=2) + "\n")


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


def check_same_run(place: Path, data, seed: int, model: PreTrainedModel | None = None) -> None:
    """
    Args:
        place: the folder of the run, or of its checkpoint, that is to go on.
        data: the `DataArguments` of this run.
        seed: its seed, which decides the order of its rows.
        model: that of this run, as far as it is known.

    Raises:
        ValueError: it is a run on other data, for another task, with another seed or with other classes.
    """
    record = Record.read(place)
    was = asked = ""
    is_same = True
    if record is not None:
        is_same = is_same_dataset(record.data["dataset_name"], data.dataset_name)
        is_same = is_same and record.data.get("dataset_config") == data.dataset_config
        is_same = is_same and data.task in (None, record.data["task"])
        was = f" on {named(record.data)} for {record.data['task']}"
    asked = f"{named(asdict(data))}" + (f" for {data.task}" if data.task else "")
    if record is not None and is_same and record.settings.get("seed", seed) != seed:
        is_same, was, asked = False, f"{was} with seed {record.settings['seed']}", f"{asked} with seed {seed}"
    if model is not None and (place / "config.json").is_file():
        config = read_config(place)
        architecture = next(iter(config.architectures or []), type(model).__name__)
        is_same = is_same and architecture == type(model).__name__ and answers_of(config) == answers_of(model.config)
        was, asked = f"{was} with {answers_of(config)}", f"{asked} with {answers_of(model.config)}"
    if not is_same:
        raise ValueError(
            without_secrets(f"{place} was trained{was}; you ask for {asked}. ")
            + f"Name another --output_dir, and to begin with those weights --model_name_or_path {place}."
        )


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


def answers_of(config: MoTConfig) -> str:
    """What a model takes and tells apart, as text: its modalities, size of the vocabulary, and classes by their names."""
    words = f", {config.text_config.vocab_size:,} tokens" if config.text_config else ""
    names = labels_of(config).names
    return f"{', '.join(config.modalities)}{words}" + (f" and classes {', '.join(names)}" if names else "")


def save_checkpoint(trainer: MoTTrainer) -> None:
    """The weights, the processor and the config; what speaks of other weights than these is taken away before."""
    # Cutting the training texts has set the tokenizer to cut every text, which the processor leaves to its caller.
    if backend := getattr(trainer.processing_class.tokenizer, "backend_tokenizer", None):
        backend.no_truncation()
    folder = Path(trainer.args.output_dir)
    if trainer.is_world_process_zero():
        take_away(folder, [RECORD, PREDICTIONS, *([RESULTS, CARD] if (folder / RESULTS).exists() else [])])
    trainer.save_model(_internal_call=True)  # a push comes later, when the folder is complete


def keep_record(trainer: MoTTrainer, record: Record) -> None:
    """Write run.json beside a saved checkpoint, and take away weights of the other kind, and the training's arguments."""
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


# ---------------------------------------------------------------------------------------------------------------------
# The rest, which may fail
# ---------------------------------------------------------------------------------------------------------------------


def python_command() -> list[str]:
    """The Python that runs this, by its name if a shell finds it by that."""
    return ["python"] if shutil.which("python") == sys.executable else [sys.executable]


def mot_command() -> list[str]:
    """The package's command, as a shell finds it."""
    found = shutil.which("mot")
    is_ours = found is not None and Path(found).parent == Path(sys.executable).parent
    return ["mot"] if is_ours else [*python_command(), "-m", __name__.partition(".")[0]]


@contextmanager
def rest_of_the_run(trainer: MoTTrainer, merges: bool = False) -> Iterator[None]:
    """Whatever fails from here on, the error says that the checkpoint is safe, and how to do the rest again."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not trainer.is_world_process_zero():
            raise
        folder = Path(trainer.args.output_dir).resolve()
        lines = [
            shlex.join([*mot_command(), "evaluate", str(folder), *["--merge_lora"] * (merges and is_adapter(folder))])
        ]
        if trainer.args.push_to_hub:
            lines.append(push_command(folder, trainer.hub_model_id))
        what = "Interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
        what = without_secrets(what)
        message = (
            f"The training is done and its checkpoint is safe in {folder}, but what comes after it failed ({what}). To do "
            "that again:\n\n" + "".join(f"    {line}\n" for line in lines)
        )
        if isinstance(error, KeyboardInterrupt):
            print(f"\n{message}", file=sys.stderr)
            sys.exit(130)
        raise RunError(message) from error


def build_metrics(data, problem_type: str | None) -> Callable | None:
    """What the trainer computes from logits and labels; None where there is neither."""
    if not needs_labels(data.task):
        return None
    if data.sentiment_metrics:
        return lambda p: sentiment_metrics(p.predictions[:, 0], p.label_ids)
    return lambda p: compute_metrics(p.predictions, p.label_ids, problem_type)


def evaluate(trainer: MoTTrainer, dataset, task: str) -> dict:
    """The part of the results that the table shows."""
    if task == "retrieval":
        return {"pairs": trainer.evaluate_retrieval(dataset)}
    if task == "pretraining":
        return {"terms": trainer.evaluate_terms(dataset)}
    return {"subsets": trainer.evaluate_subsets(dataset)}


def is_unlabelled(split: Dataset) -> bool:
    return "label" not in split.column_names or all(label is None for label in split["label"])


def needs_labels(task: str) -> bool:
    return task in ("classification", "regression")


def split_to_evaluate(splits: Mapping[str, Dataset], data: dict) -> str:
    """The split of the final table: the one that was asked for, or validation where that is not there or has no labels."""
    name = data["evaluate_on"]
    if name in splits and not (needs_labels(data["task"]) and is_unlabelled(splits[name])):
        return name
    why = "has no labels" if name in splits else "is left out"
    logger.warning(f"The {name} split {why}: the results are those of the validation split.")
    return "validation"


def finish(
    trainer: MoTTrainer,
    splits: Mapping[str, Dataset],
    encode: Callable,
    record: Record,
    row: dict | None = None,
    report_of_bad_rows: Path | None = None,
    name: str = RESULTS,
    dataset: str | None = None,
) -> dict:
    """
    Evaluate a checkpoint, answer the rows of a test split without labels, and write all that into the trainer's folder.

    Args:
        splits: those that may be evaluated.
        encode: gives the encoded rows of a split, by its name.
        row: of the embedded data, an example for the card.
        report_of_bad_rows: what `drop_bad_examples` wrote.
        name: of the file of the results; there is a card for results.json alone.
        dataset: what is evaluated, where that is not the run's own.

    Returns:
        The results.
    """
    folder, data = Path(trainer.args.output_dir).resolve(), record.data
    split, is_main = split_to_evaluate(splits, data), trainer.is_world_process_zero()
    results = {"task": data["task"], "split": split, "seed": record.settings["seed"], "seconds": record.run.seconds}
    results |= {} if dataset is None else {"dataset": dataset}
    results |= evaluate(trainer, encode(split), data["task"])
    if is_main:
        report(trainer, folder, results, record, row, name)
    if needs_labels(data["task"]) and "test" in splits and is_unlabelled(splits["test"]):
        logits = predict(trainer, encode("test"))
        if is_main:
            bad = bad_rows(report_of_bad_rows, "test")
            write_predictions(folder / PREDICTIONS, logits, trainer.model.config, bad)
    return results


def report(
    trainer: MoTTrainer, folder: Path, results: dict, record: Record, row: dict | None = None, name: str = RESULTS
) -> None:
    """
    Write the results into a file of the folder, print them, and, where that is results.json, write the card.

    Args:
        row: of the embedded data, an example for the card.
    """
    write_whole(folder / name, json.dumps(results, indent=2) + "\n")
    print_table(results)
    if name != RESULTS:
        return
    example = examples_for(folder, record, row)
    own_files = {kind: value if kind == "text" else Path(value).name for kind, value in example.items()}
    config = trainer.model.config
    base = base_of(trainer)
    base = place_name(base) if base and Path(base).exists() else base  # the card may be shared
    usage = usage_lines(record.data["task"], record.run.name, config, own_files, base)
    parameters = sum(parameter.numel() for parameter in trainer.head.parameters())
    write_card(folder, results, usage, record.run, config, parameters, results.get("dataset"))


def examples_for(folder: Path, record: Record, row: dict | None) -> dict[str, str]:
    """A text and paths of files to show how the model is used, as far as the run has any."""
    if row is not None:
        return save_examples(folder, row)
    return {"video": "clip.mp4"} if "video" in record.run.columns else {}


def base_of(trainer: MoTTrainer) -> str | None:
    """The checkpoint under an adapter."""
    return None if trainer.head is trainer.model else trainer.head.name_or_path


def print_usage(trainer: MoTTrainer, folder: Path, record: Record, row: dict | None = None) -> None:
    """Where the checkpoint is, which weights it has, and the lines of Python that use it."""
    base, weights = base_of(trainer), record.run.weights
    base = str(Path(base).resolve()) if base and Path(base).exists() else base
    usage = usage_lines(
        record.data["task"], str(folder), trainer.model.config, examples_for(folder, record, row), base
    )
    print(f"\nThe checkpoint is in {folder}" + (f"; its weights are those {weights}." if weights else "."))
    print(f"To use it, without this package:\n\n{usage}")


# ---------------------------------------------------------------------------------------------------------------------
# Answers, row by row
# ---------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def predict(trainer: MoTTrainer, dataset) -> np.ndarray:
    """The logits (N, num_labels) of every row, in order."""
    logits = []
    for model, inputs in trainer.batches(dataset):
        inputs.pop("labels", None)
        logits.append(trainer.accelerator.gather_for_metrics(model(**inputs).logits).float().cpu().numpy())
    return np.concatenate(logits)


def answers(logits: np.ndarray, config) -> Iterator[dict]:
    """What logits (N, num_labels) say of each row: a label, labels or a score, and the probability of each class."""
    values = torch.from_numpy(logits).double()
    if config.problem_type == "regression":
        for row in values.tolist():
            yield {"score": row[0] if len(row) == 1 else row}
        return
    several = config.problem_type == "multi_label_classification"
    for row in (values.sigmoid() if several else values.softmax(dim=-1)).tolist():
        probabilities = {config.id2label[i]: value for i, value in enumerate(row)}
        if several:
            yield {"labels": [n for n, p in probabilities.items() if p > 0.5], "probabilities": probabilities}
        else:
            yield {"label": max(probabilities, key=probabilities.get), "probabilities": probabilities}


def write_predictions(path: Path, logits: np.ndarray, config, bad: Mapping[int, str]) -> None:
    """
    A line of JSON for each row of the split, in its order: `row`, its number from 0, and the answer; or `error`, why
    the row could not be read.
    """
    lines = {row: {"error": reason} for row, reason in bad.items()}
    lines |= dict(zip(row_numbers(len(logits), bad), answers(logits, config), strict=True))
    if not np.isfinite(logits).all():
        raise ValueError(
            f"{math.prod(logits.shape)} logits were computed and some are NaN or infinite: the model has diverged."
        )
    write_whole(
        path, "".join(json.dumps({"row": row} | lines[row], ensure_ascii=False) + "\n" for row in sorted(lines))
    )
    print(f"{len(lines):,} predictions are in {path}." + (f" {len(bad)} rows could not be read." if bad else ""))
