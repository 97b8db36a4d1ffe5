# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Evaluate a checkpoint.

    mot evaluate outputs/clips
    mot evaluate outputs/clips --dataset_name user/others --split test

The data are read as `run_finetune.py` reads them. The folder of a run remembers what the run was given, its data among
that; this holds wherever an option is not given. Labels are matched to the checkpoint's classes by their names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, IterableDataset
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from transformers import HfArgumentParser

from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig
from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.allowed_paths import AllowedPaths
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.labels import LabelSpec, has_no_labels
from mixture_of_transformers.data.model_columns import options_of_model
from mixture_of_transformers.data.preparation import check_labels_left, drop_bad_examples, find_columns, prepare_split
from mixture_of_transformers.data.secrets import place_name
from mixture_of_transformers.data.sources import load_split
from mixture_of_transformers.data.split_types import with_empty_as_strings
from mixture_of_transformers.finetune.batches import build_collators, encode_split
from mixture_of_transformers.finetune.generation import (
    build_generation_trainer,
    complete_generation,
    documents_to_evaluate,
)
from mixture_of_transformers.finetune.limits import LENGTH_OPTIONS, check_splits, fit_processor, set_limits
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments, OptionHelp, needs_labels
from mixture_of_transformers.finetune.recipe import MODEL_CLASSES, leave_out_columns
from mixture_of_transformers.finetune.record import SETTINGS, Record, Run
from mixture_of_transformers.finetune.results import RESULTS, build_metrics, finish
from mixture_of_transformers.finetune.rows import (
    LIMIT_OPTIONS,
    allowed_paths_of,
    limits_of,
    named_columns,
    read_splits,
    reading_of,
)
from mixture_of_transformers.finetune.saving import merge_adapter
from mixture_of_transformers.finetune.usage import example_row, print_usage
from mixture_of_transformers.processing_causal_mot import MoTCausalProcessor
from mixture_of_transformers.processing_mot import MoTProcessor, load_processor
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.command import peek
from mixture_of_transformers.training.continuation import generates, labels_of, load_model, read_config
from mixture_of_transformers.training.trainer import MoTTrainer

EMBEDDED, ROLES, BAD_ROWS = "digits", ("train", "validation", "test"), "bad_rows_evaluated.jsonl"
# The data arguments of a run that hold for other data as well.
OF_THE_MODEL = ("task", "sentiment_metrics", "on_bad_example", "extra_columns", *LENGTH_OPTIONS)
TASK_OF_CLASS = {"MoTForRetrieval": "retrieval", "MoTForPreTraining": "pretraining"}


@dataclass
class ComputeArguments:
    """How to compute, for evaluation and predictions."""

    per_device_eval_batch_size: int = field(
        default=64,
        metadata={"aliases": ["--batch_size"], "help": "The number of rows that a device computes at once."},
    )
    dataloader_num_workers: int = field(
        default=0, metadata={"help": "The number of processes that decode and encode rows; 0 for this process alone."}
    )
    seed: int = field(
        default=0,
        metadata={"help": "The seed of what pretraining hides, and of a validation split that is cut from the data."},
    )
    bf16: bool = field(default=False, metadata={"help": "Compute in mixed precision of bfloat16."})
    fp16: bool = field(default=False, metadata={"help": "Compute in mixed precision of float16."})
    bf16_full_eval: bool = field(default=False, metadata={"help": "Hold the whole model in bfloat16."})
    fp16_full_eval: bool = field(default=False, metadata={"help": "Hold the whole model in float16."})
    trust_remote_code: bool = field(
        default=False,
        metadata={"help": "Run the code that comes with the checkpoint's processor; none is run if not given."},
    )


@dataclass
class RowsArguments(ComputeArguments):
    """Which rows to evaluate, and where to write what is found out."""

    _argument_group_name = "the evaluation"

    split: str | None = field(
        default=None,
        metadata={
            "help": "The split to evaluate: one of the dataset by its own name, or 'train', 'validation' or 'test' as "
            "the run took them; that of the run's own results, or 'test', if not given."
        },
    )
    output_dir: str | None = field(
        default=None,
        metadata={"help": "The folder for the results and the card; the checkpoint's own folder if not given."},
    )


@dataclass
class EvaluateArguments(RowsArguments):
    """What to evaluate."""

    _argument_group_name = "the evaluation"

    merge_lora: bool = field(
        default=False, metadata={"help": "First save the model with its adapter merged, in place of the adapter."}
    )


# ---------------------------------------------------------------------------------------------------------------------
# The checkpoint, and what it remembers
# ---------------------------------------------------------------------------------------------------------------------


def local_folder(name: str) -> Path:
    """The folder of a checkpoint, for one of the Hub its copy."""
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name))
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise OSError(
            f"There is no folder {name}, and no such model could be loaded from the Hub ({reason})"
        ) from error


def parser_of(options: type, command: str, needed: str, description: str | None) -> HfArgumentParser:
    """
    The parser of a command that takes a checkpoint to data.

    Args:
        options: the dataclass of its own options.
        needed: what it cannot do without, for the line of usage.
    """
    return HfArgumentParser(
        (options, DataArguments),
        prog=command,
        usage=f"%(prog)s {needed} [OPTIONS]",
        description=description,
        formatter_class=OptionHelp,
    )


def parse(parser: HfArgumentParser, arguments: list[str], folder: Path):
    """The parsed dataclasses, whose defaults are what the run remembers, and its record, if there is one."""
    record = Record.read(folder)
    if record is not None:
        name = parser.parse_known_args(arguments)[0].dataset_name
        is_own = name in (None, record.data["dataset_name"])
        remembered = record.data if is_own else {option: record.data.get(option) for option in OF_THE_MODEL}
        # A run.json may be anybody's, so that it does not decide what a dataset may do.
        options = {option.name for option in fields(DataArguments) if option.init} - {*LIMIT_OPTIONS}
        remembered = {name: value for name, value in remembered.items() if name in options}
        parser.set_defaults(**remembered, **record.settings)
    options, data, *_ = parser.parse_args_into_dataclasses(arguments)
    if record is None and data.dataset_name is None:
        raise ValueError(
            f"{folder} has no run.json, which says what it was trained on: name the data with --dataset_name "
            "('digits' for the embedded ones)."
        )
    if data.dataset_name == EMBEDDED and not Path(EMBEDDED).exists():
        data.dataset_name = None
    return options, data, record


def are_of_run(data: DataArguments, record: Record | None) -> bool:
    """Whether the data are the run's own."""
    return record is not None and data.dataset_name == record.data["dataset_name"]


def check_data(data: DataArguments, record: Record | None) -> bool:
    """Whether the data are the run's own; an OSError where these lie in a folder that is not there."""
    is_own = are_of_run(data, record)
    if (
        is_own
        and data.dataset_name
        and record.run.hub_dataset is None
        and not Path(data.dataset_name).expanduser().exists()
    ):
        raise OSError(
            f"The run was trained on {data.dataset_name}, which is not there: start this where the run was started, "
            "or say where the data are with --dataset_name."
        )
    return is_own


def complete(data: DataArguments, config: MoTConfig, name: str) -> None:
    """Fill in what the checkpoint says itself: its task, and its modalities."""
    if data.task is None:
        architecture = next(iter(config.architectures or []), "")
        kind = "regression" if labels_of(config).problem_type == "regression" else "classification"
        data.task = TASK_OF_CLASS.get(architecture, kind)
    data.extra_columns = data.extra_columns or []  # `name_extra_columns` finds the others
    leave_out_columns(data, config, name)


def name_extra_columns(
    data: DataArguments, record: Record | None, config: MoTConfig, processor: MoTProcessor, features: Features
) -> None:
    """
    Have `data.extra_columns` name the columns of the model's modalities beside text, images and audio: those that the
    command names, and those that the run remembers, as far as the dataset has them.
    """
    remembered = (record.data.get("extra_columns") if record else None) or []
    named = [] if data.extra_columns == remembered else data.extra_columns
    data.extra_columns = options_of_model(config.modalities, processor, features, named or [], remembered)


def build_trainer(
    folder: Path,
    output_dir: Path,
    config: MoTConfig,
    data: DataArguments,
    options: ComputeArguments,
    processor: MoTProcessor,
) -> MoTTrainer:
    """What a run has after its training."""
    set_limits(data, config, processor.feature_extractor)
    fit_processor(processor, config)
    model, _ = load_model(MODEL_CLASSES[data.task], folder, config, whole=True)
    settings = {name: getattr(options, name) for name in (*SETTINGS, "dataloader_num_workers")}
    training = MoTTrainingArguments(str(output_dir), report_to="none", **settings)
    collators = build_collators(processor, config, data, ModelArguments(), options.seed)
    return MoTTrainer(
        model=model,
        args=training,
        processing_class=processor,
        data_collator=collators["data_collator"],
        compute_metrics=build_metrics(data, labels_of(config).problem_type),
    )


# ---------------------------------------------------------------------------------------------------------------------
# The data
# ---------------------------------------------------------------------------------------------------------------------


def read(
    data: DataArguments,
    config: MoTConfig,
    seed: int,
    split: str | None,
    is_own: bool,
    bad: Path,
    record: Record | None,
    processor: MoTProcessor,
) -> dict[str, Dataset]:
    """
    The splits that are asked for, in one form and without bad rows, by the names that the results give them.

    Args:
        split: see `EvaluateArguments`.
        is_own: whether the data are those of the run, whose splits have the names that it gave them.
        bad: the file for the bad rows.
        record: of the run, if there is one.
    """
    bad.unlink(missing_ok=True)
    labels, bounds = labels_of(config) if needs_labels(data.task) else None, limits_of(data)
    places, reading = allowed_paths_of(data), reading_of(data)
    if data.dataset_name is None or (is_own and split in (None, *ROLES)):
        raw = read_splits(data, seed)
        name_extra_columns(data, record, config, processor, raw["train"].features)
        columns = columns_of(data, raw["train"], places)
        chosen = [split] if split else held_out(raw, columns, data, labels)
    else:
        split = split or "test"
        rows = load_split(data.dataset_name, split, data.dataset_config, data.dataset_revision, bounds)
        raw = {split: rows if isinstance(rows, IterableDataset) else with_empty_as_strings(rows)}
        name_extra_columns(data, record, config, processor, raw[split].features)
        columns, chosen = columns_of(data, raw[split], places), [split]
    if isinstance(raw[chosen[0]], IterableDataset):
        raise ValueError(f"The rows of '{chosen[0]}' are a stream: leave out --streaming (--streaming false).")
    prepared = {name: prepare(raw[name], columns, labels, name, places) for name in chosen}
    good = {name: drop_bad_examples(part, data.on_bad_example, name, bad, reading) for name, part in prepared.items()}
    if labels is not None:
        check_labels_left(good)
    return good


def columns_of(data: DataArguments, split: Dataset, places: AllowedPaths | None = None) -> ModalityColumns:
    columns = find_columns(split, places, **named_columns(data))
    if needs_labels(data.task) and columns.label is None:
        raise ValueError(
            f"No label column was found among {', '.join(split.column_names)}: name it with --label_column. (`mot "
            "predict` answers rows without labels.)"
        )
    return columns


def held_out(
    raw: Mapping[str, Dataset], columns: ModalityColumns, data: DataArguments, labels: LabelSpec | None
) -> list[str]:
    """The splits that a run evaluates and answers after its training."""
    if needs_labels(data.task) and "test" in raw and has_no_labels(raw["test"], columns.label, labels):
        return ["validation", "test"]
    return [data.evaluate_on if data.evaluate_on in raw else "validation"]


def prepare(
    split: Dataset, columns: ModalityColumns, labels: LabelSpec | None, name: str, places: AllowedPaths | None = None
) -> Dataset:
    if labels is not None and columns.label is not None and has_no_labels(split, columns.label, labels):
        columns = replace(columns, label=None)
    return prepare_split(split, columns, labels, name, allowed_paths=places)[0]


# ---------------------------------------------------------------------------------------------------------------------
# The commands
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Opened:
    """
    A checkpoint that is ready to be evaluated, and which rows it is for.

    Args:
        folder: where it lies, for one of the Hub its copy; `out`, the folder for what is found out.
        trainer: computes its answers.
        options, data: of the command, completed by what the checkpoint says itself.
        record: what is remembered of it, with the data of the command; `trained`, what its run remembers, if it does.
        is_own: whether the data are those of the run.
        is_other: whether the rows are others than those of the run's own results.
    """

    folder: Path
    out: Path
    trainer: MoTTrainer
    options: RowsArguments
    data: DataArguments
    record: Record
    trained: Record | None
    is_own: bool
    is_other: bool

    def rows(self) -> tuple[dict[str, Dataset], Callable]:
        """
        The rows to evaluate, in one form and without bad ones, by the names that the results give them, and what gives
        the encoded rows of one by its name.
        """
        config, data, options, bad = self.trainer.model.config, self.data, self.options, self.out / BAD_ROWS
        if isinstance(config, MoTCausalConfig):
            rows = documents_to_evaluate(data, config, options, self.trainer.processing_class, bad)
        else:
            rows = rows_to_evaluate(data, config, options, self.is_own, bad, self.trained, self.trainer)
        self.record.data["evaluate_on"] = data.evaluate_on
        return rows


def open_checkpoint(parser: HfArgumentParser, arguments: list[str], needs_data: bool = True) -> Opened:
    """
    The checkpoint that the arguments of a command name.

    Args:
        parser: by `parser_of`, of options that are `RowsArguments`; this adds the checkpoint.
        needs_data: whether it is an error at once that the data of the run are not there.
    """
    parser.add_argument("checkpoint", help="the checkpoint to evaluate, on the Hub or in a folder")
    name = peek(parser, arguments).checkpoint
    folder = local_folder(name)
    options, data, trained = parse(parser, arguments, folder)
    is_generator = generates(folder)
    config: Any = read_config(folder, config_class=MoTCausalConfig) if is_generator else read_config(folder)
    if is_generator:
        complete_generation(data, options.split)
    else:
        complete(data, config, name)
    is_own = check_data(data, trained) if needs_data else are_of_run(data, trained)
    is_other = trained is not None and (not is_own or options.split not in (None, data.evaluate_on))
    out = Path(options.output_dir or (folder if folder == Path(name) else Path("outputs") / Path(name).name))
    out.mkdir(parents=True, exist_ok=True)

    processor = processor_of(folder, options, is_generator)
    build = build_generation_trainer if is_generator else build_trainer
    trainer = build(folder, out, config, data, options, processor)
    run = trained.run if trained else Run(Path(name).resolve().name, place_name(data.dataset_name or EMBEDDED))
    record = Record.of(data, trainer.args, run)
    return Opened(folder, out, trainer, options, data, record, trained, is_own, is_other)


def evaluate(arguments: list[str]) -> dict:
    """Evaluate a checkpoint and write results.json and the card; returns the results."""
    opened = open_checkpoint(parser_of(EvaluateArguments, "mot evaluate", "CHECKPOINT", __doc__), arguments)
    trainer, data, out, record = opened.trainer, opened.data, opened.out, opened.record
    if opened.options.merge_lora:
        if trainer.model is trainer.head:
            raise ValueError(f"{opened.folder} is no adapter: leave out --merge_lora.")
        merge_adapter(trainer, record)
    splits, encode = opened.rows()
    row, evaluated = example_row(data, splits), place_name(data.dataset_name or EMBEDDED)
    file = results_file(out, evaluated, data.evaluate_on) if opened.is_other else RESULTS
    found = finish(trainer, splits, encode, record, row, out / BAD_ROWS, file, None if opened.is_own else evaluated)
    print_usage(trainer, out.resolve(), record, row)
    return found


def processor_of(folder: Path, options: RowsArguments, is_generator: bool) -> MoTProcessor:
    if is_generator:
        return MoTCausalProcessor.from_pretrained(folder)
    return load_processor(folder, options.trust_remote_code)


def rows_to_evaluate(
    data: DataArguments,
    config: MoTConfig,
    options: RowsArguments,
    is_own: bool,
    bad: Path,
    record: Record | None,
    trainer: MoTTrainer,
) -> tuple[dict[str, Dataset], Callable]:
    """The splits to evaluate, and what gives the encoded rows of one by its name."""
    processor = trainer.processing_class
    splits = read(data, config, options.seed, options.split, is_own, bad, record, processor)
    if len(splits) == 1:  # the results have the name of this split, whichever was to be evaluated
        data.evaluate_on = next(iter(splits))
    check_labels(splits, data)
    splits = check_splits(splits, config, bad)
    workers = options.dataloader_num_workers
    return splits, lambda split: encode_split(split, splits[split], processor, config, data, workers)


def results_file(folder: Path, dataset: str, split: str) -> str:
    """The file for the results on other data than the run's own, of which results.json speaks if it is there."""
    return f"results-{dataset}-{split}.json" if (folder / RESULTS).exists() else RESULTS


def check_labels(splits: Mapping[str, Dataset], data: DataArguments) -> None:
    if len(splits) == 1 and needs_labels(data.task) and "label" not in next(iter(splits.values())).column_names:
        raise ValueError(
            f"No row of split '{data.evaluate_on}' has a label, so there is nothing to compare with: `mot predict` "
            "answers its rows."
        )
