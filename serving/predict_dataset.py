# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Have a checkpoint answer every row of a dataset, into a file.

    mot predict --model outputs/clips --dataset rows.csv --output predictions.parquet
    mot predict --model outputs/clips --dataset user/others --split train --output predictions.csv --keep_columns id

The data are read as `run_finetune.py` reads them, but for the labels, which are no input. The folder of a run
remembers which columns it was trained on, and these are taken first. A row that cannot be read stands in the file with
the reason, as `error`. A run that was killed goes on when it is started again.
"""

import hashlib
import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from datasets import Dataset, IterableDataset
from transformers.utils.logging import tqdm

from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.checks import ExampleCheck
from mixture_of_transformers.data.column_names import is_label
from mixture_of_transformers.data.columns import LEFT_OUT, ModalityColumns, in_any_case, option_of
from mixture_of_transformers.data.fingerprints import fingerprint_of_files
from mixture_of_transformers.data.preparation import find_columns, prepare_split
from mixture_of_transformers.data.secrets import printable, without_secrets
from mixture_of_transformers.data.sources import read_named_splits
from mixture_of_transformers.data.split_types import with_empty_as_strings
from mixture_of_transformers.finetune.limits import LENGTH_OPTIONS, encoding_limits, feature_limits
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.finetune.record import Record
from mixture_of_transformers.finetune.rows import (
    LIMIT_OPTIONS,
    allowed_paths_of,
    limits_of,
    named_columns,
    read_splits,
    reading_of,
)
from mixture_of_transformers.modalities_mot import CELLS, MODALITY_OF_CELL
from mixture_of_transformers.processing_mot import MoTProcessor, load_processor
from mixture_of_transformers.serving.evaluate import (
    ROLES,
    ComputeArguments,
    build_trainer,
    check_data,
    complete,
    local_folder,
    name_extra_columns,
    parse,
    parser_of,
)
from mixture_of_transformers.serving.prediction_file import PredictionFile
from mixture_of_transformers.serving.row_answers import ERROR, CheckedRows, RowAnswers
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.command import peek
from mixture_of_transformers.training.continuation import read_config
from mixture_of_transformers.training.encoded import RowEncoder, kinds_of
from mixture_of_transformers.training.workers import Answer, RayArguments, on_ray

PART_ROWS = 1024  # about so many rows are what a killed run loses at most
GIVEN = "given_"  # what a kept column's name begins with where an answer has the name
WEIGHTS = "weights or settings of the model"
HELD_IN = {"bf16_full_eval": torch.bfloat16, "fp16_full_eval": torch.float16}


@dataclass
class PredictArguments(RayArguments, ComputeArguments):
    """What to answer."""

    _argument_group_name = "the predictions"

    model: str | None = field(
        default=None, metadata={"help": "The checkpoint that answers, on the Hub or in a folder; it must be given."}
    )
    split: str | None = field(
        default=None,
        metadata={
            "help": "The split to answer: one of the dataset by its own name, or 'train', 'validation' or 'test' as "
            "the run took them; 'test' or else the only one if not given."
        },
    )
    output: str = field(
        default="predictions.jsonl",
        metadata={"help": "The file to write, .parquet, .csv or .jsonl, with a record for each row of the split."},
    )
    keep_columns: list[str] = field(
        default_factory=list, metadata={"help": "Columns of the dataset that the file has as well, such as an id."}
    )
    top_k: int | None = field(
        default=None, metadata={"help": "So many of the likeliest classes; the probabilities of all if not given."}
    )
    contributions: bool = field(
        default=False,
        metadata={"help": "Also what each modality contributed to the answer, its Shapley value (docs/attention.md)."},
    )


def main(arguments: list[str]) -> None:
    """Answer every row of a split, into a file."""
    parser = parser_of(PredictArguments, "mot predict", "--dataset NAME --model NAME", __doc__)
    name = peek(parser, arguments).model
    if name is None:
        parser.error("--model is required")
    folder, path = local_folder(name), Path(peek(parser, arguments).output)
    options, data, record = parse(parser, arguments, folder)
    config = read_config(folder)
    complete(data, config, name)
    if data.task == "pretraining":
        raise ValueError(f"{name} is for {data.task}, and has no answer to a row: train a task on it first.")
    check_place(path, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    split, rows = split_to_answer(data, options, check_data(data, record))
    processor = load_processor(folder, options.trust_remote_code)
    name_extra_columns(data, record, config, processor, rows.features)
    columns = input_columns(data, rows, record, config)
    kept = kept_columns(options.keep_columns, rows)
    print("\n".join(columns.lines(rows.features)))

    answers = answers_of(folder, config, data, options, processor, split)
    schema, kept = schema_of(rows, kept, answers)
    asked = asked_of(options, data, rows, columns, answers.model, processor) | {"split": split}
    file = PredictionFile(path, schema, asked)
    if file.is_finished():
        print(f"{path} is finished: {len(rows):,} rows were answered by this very command.")
        return
    prepared, _ = prepare_split(rows, columns, split_name=split, allowed_paths=allowed_paths_of(data))
    if options.ray:
        elsewhere = partial(open_blocks, name, data, options, prepared, split, asked[WEIGHTS])
        cores = 1 + options.dataloader_num_workers
        answer = on_ray(elsewhere, options.ray_address, options.ray_workers, cores)
    else:
        answer = answered_blocks(answers, config, data, options, processor, prepared, split)
    print_summary(path, write(file, answer, rows, kept, options.per_device_eval_batch_size))


# ---------------------------------------------------------------------------------------------------------------------
# What is answered
# ---------------------------------------------------------------------------------------------------------------------


def check_place(path: Path, data: DataArguments) -> None:
    """
    Raises:
        ValueError: the output would lie among the data, and be read as such the next time, or replace them.
    """
    source = Path(data.dataset_name).expanduser() if data.dataset_name else None
    if source is None or not source.exists():
        return
    place = path.resolve()
    if place == source.resolve() or (source.is_dir() and source.resolve() in place.parents):
        raise ValueError(f"--output {path} lies in the dataset {source}, where it would be read as data: move it.")


def split_to_answer(data: DataArguments, options: PredictArguments, is_own: bool) -> tuple[str, Dataset]:
    """The name of the split that is asked for, and its rows with all their columns."""
    if data.dataset_name is None or (is_own and options.split in (None, *ROLES)):
        splits = read_splits(data, options.seed)
    else:
        splits = read_named_splits(
            os.path.expanduser(data.dataset_name),
            data.dataset_config,
            data.dataset_revision,
            split_column=data.split_column,
            limits=limits_of(data),
        )
    split = options.split or ("test" if "test" in splits or len(splits) > 1 else next(iter(splits)))
    if split not in splits:
        raise ValueError(
            f"Dataset '{data.dataset_name}' has no split '{split}'; it has {', '.join(sorted(splits))}: name one with "
            "--split."
        )
    if isinstance(splits[split], IterableDataset):
        raise ValueError(f"The rows of '{split}' are a stream: leave out --streaming (--streaming false).")
    return split, with_empty_as_strings(splits[split])


def input_columns(data: DataArguments, rows: Dataset, record: Record | None, config: MoTConfig) -> ModalityColumns:
    """
    Which columns are answered: those that are named, else those that the run was trained on, else those that are
    found. The label is no input, whichever column it is.
    """
    named = named_columns(data)
    trained_on = {} if record is None else record.data.get("columns_found", {})
    for role, name in trained_on.items():
        if role in named and named[role] is None and in_any_case(name, rows.column_names) in rows.column_names:
            named[role] = name
    inputs = [name for role, name in named.items() if role in CELLS]
    label = in_any_case(named["label"], rows.column_names)
    is_there = label in rows.column_names and is_label(rows.features[label]) and label not in inputs
    named["label"] = label if is_there else LEFT_OUT
    there = {
        name: why for name, why in named["set_aside"].items() if in_any_case(name, rows.column_names) in rows.features
    }
    columns = find_columns(rows, allowed_paths_of(data), **named | {"set_aside": there})
    lacking = [role for role in CELLS if MODALITY_OF_CELL[role] not in config.modalities]
    reasons = {f"{option_of(role)} would take it": f"the model has no {MODALITY_OF_CELL[role]}" for role in lacking}
    left_out = {name: reasons.get(reason, reason) for name, reason in columns.left_out.items()}
    if columns.label is not None:
        left_out[columns.label] = "the label, which is no input"
    return replace(columns, label=None, left_out=left_out)


def kept_columns(names: list[str], rows: Dataset) -> list[str]:
    """
    Raises:
        ValueError: there is no such column, or it is named twice.
    """
    found = [in_any_case(name, rows.column_names) for name in names]
    for name in found:
        if name not in rows.column_names:
            known = ", ".join(rows.column_names)
            raise ValueError(f"--keep_columns {name}: there is no such column; there are {known}.")
        if found.count(name) > 1:
            raise ValueError(f"--keep_columns names {name} twice.")
    return found


def schema_of(rows: Dataset, kept: list[str], answers: RowAnswers) -> tuple[pa.Schema, dict[str, str]]:
    """The columns of the file, and its name -> the dataset's name for those that are kept."""
    own = set(answers.schema.names)
    names = {GIVEN + name if name in own else name: name for name in kept}
    if len(names) < len(kept) or own & names.keys():
        raise ValueError(f"--keep_columns {' '.join(kept)}: two would have one name in the file; rename one of them.")
    types = rows.select_columns(kept).features.arrow_schema if kept else {}
    fields = [pa.field(new, types.field(old).type) for new, old in names.items()]
    return pa.schema([answers.schema.field(0), *fields, *list(answers.schema)[1:]]), names


def asked_of(
    options: PredictArguments, data: DataArguments, rows: Dataset, columns: ModalityColumns, model, processor
) -> dict[str, Any]:
    """What the answers depend on, by the names that errors give it."""
    inputs = {role: getattr(columns, role) for role in columns.cells} | columns.extra
    settings = asdict(options)
    names = ("keep_columns", "top_k", "contributions", "per_device_eval_batch_size", "bf16", "fp16", *HELD_IN)
    limits = {name: getattr(data, name) for name in (*LENGTH_OPTIONS, *LIMIT_OPTIONS)}
    return {
        "model": options.model,
        WEIGHTS: fingerprint_of_model(model, processor),
        "dataset": without_secrets(data.dataset_name or "digits"),
        "rows": f"{len(rows)} of state {fingerprint_of_files(rows)}",
        "columns": inputs,
        **{f"--{name}": settings[name] for name in names},
        **{f"--{name}": value for name, value in limits.items()},
    }


def fingerprint_of_model(model, processor) -> str:
    """A hash of the weights of a model, its config and its processor."""
    digest = hashlib.sha256((model.config.to_json_string(use_diff=False) + processor.to_json_string()).encode())
    digest.update(repr(sorted(processor.tokenizer.get_vocab().items())).encode())
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# The answers
# ---------------------------------------------------------------------------------------------------------------------


def answers_of(
    folder: Path,
    config: MoTConfig,
    data: DataArguments,
    options: PredictArguments,
    processor: MoTProcessor,
    split: str,
) -> RowAnswers:
    """A checkpoint that is ready to answer batches."""
    trainer = build_trainer(folder, Path(options.output).parent, config, data, options, processor)
    for option, dtype in HELD_IN.items():
        if getattr(options, option):
            trainer.head.to(dtype)
    return RowAnswers(
        trainer.head,
        MoTCollator(pad_token_id=processor.tokenizer.pad_token_id, kinds=kinds_of(config)),
        trainer.accelerator.autocast,
        options.top_k,
        options.contributions,
        data.on_bad_example,
        split,
    )


def open_blocks(
    name: str, data: DataArguments, options: PredictArguments, prepared: Dataset, split: str, fingerprint: str
) -> Answer:
    """
    `answered_blocks` by a checkpoint that is loaded wherever this is called.

    Args:
        fingerprint: `fingerprint_of_model` of the checkpoint.

    Raises:
        ValueError: what is found here is another checkpoint.
    """
    folder = local_folder(name)
    config, processor = read_config(folder), load_processor(folder, options.trust_remote_code)
    answers = answers_of(folder, config, data, options, processor, split)
    if fingerprint_of_model(answers.model, processor) != fingerprint:
        raise ValueError(
            f"The checkpoint {name} on {platform.node()} is another than where the command was started: give all "
            "machines the same, such as in a folder that they share."
        )
    return answered_blocks(answers, config, data, options, processor, prepared, split)


def answered_blocks(
    answers: RowAnswers,
    config: MoTConfig,
    data: DataArguments,
    options: PredictArguments,
    processor: MoTProcessor,
    prepared: Dataset,
    split: str,
) -> Answer:
    """
    What answers blocks of the rows of a prepared split: number -> a table of the records of these rows. Every block
    but the last is of whole batches.
    """
    limits = encoding_limits(config, data, processor.feature_extractor) | {"allow_urls": reading_of(data).allow_urls}
    encoder = RowEncoder(processor, prepared.features, **limits, config=config)
    check = ExampleCheck(prepared.features, *feature_limits(split, prepared.features, config), encoder.reading)
    checked, batch_size = CheckedRows(prepared, encoder, check), options.per_device_eval_batch_size

    def answer(blocks: Mapping[int, range]) -> Iterator[tuple[int, pa.Table]]:
        rows = chain.from_iterable(blocks.values())
        batches = checked.batches(rows, batch_size, options.dataloader_num_workers)
        for number, block in blocks.items():
            records: list[dict] = []
            while len(records) < len(block):
                records += answers(next(batches))
            yield number, pa.Table.from_pylist(records, schema=answers.schema)

    return answer


def write(file: PredictionFile, answer: Answer, rows: Dataset, kept: dict[str, str], batch_size: int) -> Counter:
    """
    Answer the rows that have no answer yet, and finish the file.

    Args:
        answer: a part of the file from the range of its rows.
        rows: all columns of the dataset.
        kept: name in the file -> column of the rows.
    """
    part_rows = max(1, PART_ROWS // batch_size) * batch_size  # whole batches, so that they are always the same
    starts = range(0, len(rows), part_rows)
    parts = {number: range(start, min(start + part_rows, len(rows))) for number, start in enumerate(starts)}
    with file.owned():
        missing = {number: part for number, part in parts.items() if not file.part(number).exists()}
        done = len(rows) - sum(map(len, missing.values()))
        if done:
            print(f"{done:,} rows were answered before: going on.")
        with tqdm(total=len(rows), initial=done, desc="Answering", unit="row") as progress:
            for number, records in answer(missing):
                file.write_part(number, with_kept(records, file.schema, rows, kept, parts[number]))
                progress.update(len(parts[number]))
        return file.finish(len(parts))


def with_kept(records: pa.Table, schema: pa.Schema, rows: Dataset, kept: dict[str, str], part: range) -> pa.Table:
    """The records of some rows, with the columns that are kept."""
    if not kept:
        return records
    cells = rows.select_columns(list(kept.values())).with_format("arrow")[part.start : part.stop]
    columns = [cells[kept[name]] if name in kept else records[name] for name in schema.names]
    return pa.table([column.cast(field.type) for column, field in zip(columns, schema)], schema=schema)


def print_summary(path: Path, counts: Counter) -> None:
    bad = {kind: number for kind, number in counts.items() if kind is not None}
    print(f"{sum(counts.values()):,} predictions are in {path}.", end="")
    if bad:
        kinds = ", ".join(f"{number} {printable(kind)}" for kind, number in sorted(bad.items()))
        print(f" {sum(bad.values())} rows could not be answered; their `{ERROR}` says why: {kinds}.", end="")
    print()
