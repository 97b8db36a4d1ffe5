# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Reading the data of a run: from its options to splits whose rows have one form, can be decoded and fit the task."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import datasets
from transformers.utils import logging

from mixture_of_transformers.data.allowed_paths import AllowedPaths
from mixture_of_transformers.data.checks import Reading
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.dataset_limits import DatasetLimits
from mixture_of_transformers.data.digits import CLEAR_DB, load_digits_dataset
from mixture_of_transformers.data.extra_columns import LEFT_OUT, as_options, has_columns
from mixture_of_transformers.data.labels import LabelSpec
from mixture_of_transformers.data.preparation import (
    check_classes_left,
    check_labels_left,
    drop_bad_examples,
    find_columns,
    prepare_splits,
)
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.data.splits import draw_rows
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.finetune.options import DataArguments, RunArguments, needs_labels
from mixture_of_transformers.modalities_mot import CELLS

logger = logging.get_logger(__name__)

LIMIT_OPTIONS = tuple(option.name for option in fields(DatasetLimits))


def load_data(
    data: DataArguments, seed: int, report: Path | None = None
) -> tuple[dict[str, datasets.Dataset | RowStream], LabelSpec | None]:
    """
    The splits (no `test` under --test_split none) with columns `text`, `image`, `audio`, `video`, `label`, without
    rows that cannot be read, which `report` names; and what the labels mean. A test split without labels has no
    `label`. Sets `data.task` where it was not given, `data.columns_found`, `data.column_lines`, and
    `data.extra_columns` to the further modalities that were found; says of every column what becomes of it.

    Args:
        report: the bad_rows.jsonl to write, on one process of several; None on the others, which say nothing.
    """
    splits, places = read_splits(data, seed), allowed_paths_of(data)
    take_remembered(data, splits["train"].features)
    columns = find_columns(splits["train"], places, **named_columns(data))
    data.extra_columns = as_options(columns.extra)
    roles = (*columns.cells, "label")
    data.columns_found = {role: getattr(columns, role) for role in roles if getattr(columns, role) is not None}
    lines = data.column_lines = columns.lines(splits["train"].features)
    if report is not None:
        report.unlink(missing_ok=True)
        print("\n".join(lines))
        print("Name another with --text_column, --image_column, ...; 'none' leaves one out, and so does")
        print("--exclude_columns. --extra_columns names further modalities; 'none' takes no others.")
    if columns.label is None and data.task not in ("retrieval", "pretraining"):
        named = [f"--label_column {name}" for name, reason in columns.left_out.items() if "--label_column" in reason]
        such = f", such as {' or '.join(named)}" if named else ""
        raise ValueError(f"No label column was found: name it with --label_column{such}. " + "; ".join(lines))
    splits, labels = prepare_splits(splits, columns, data.task if needs_labels(data.task) else None, places)
    check_task(data, columns, labels)
    if data.max_train_samples is not None:
        splits["train"] = draw_rows(splits["train"], data.max_train_samples, seed)
    reading = reading_of(data)
    splits = {
        name: drop_bad_examples(split, data.on_bad_example, name, report, reading) for name, split in splits.items()
    }
    if labels is not None and data.task != "retrieval":
        check_labels_left(splits)
        check_classes_left(splits["train"], labels)
    if data.streaming:
        splits["train"] = splits["train"].shuffle(seed, data.shuffle_buffer)
    return splits, labels


def read_splits(data: DataArguments, seed: int) -> dict[str, datasets.Dataset | datasets.IterableDataset]:
    """The splits with the columns of the dataset."""
    if data.dataset_name is None:
        loudness = {"signal_to_noise_db": CLEAR_DB} if data.task == "generation" else {}
        splits = load_digits_dataset(seed, **loudness)
        if data.task == "regression":  # the digit is the number
            splits = splits.cast_column("label", datasets.Value("int64"))
        return splits
    return load_splits(
        data.dataset_name,
        data.dataset_config,
        seed,
        data.label_column,
        revision=data.dataset_revision,
        split_names={name: getattr(data, f"{name}_split") for name in ("train", "validation", "test")},
        streaming=data.streaming,
        max_eval_rows=data.max_eval_samples,
        split_column=data.split_column,
        limits=limits_of(data),
        group_column=data.group_column,
        time_column=data.time_column,
    )


def named_columns(data: DataArguments) -> dict[str, Any]:
    """
    The arguments of `find_columns`: role -> the column that was named for it, "none" for one that is left out, None
    for one that is to be found; and what is to become of the other columns.
    """
    names: dict[str, Any] = {role: getattr(data, f"{role}_column") for role in (*CELLS, "label")}
    if data.task == "pretraining":
        names["label"] = LEFT_OUT
    return names | {"extra": data.extra_columns or (), "set_aside": columns_set_aside(data)}


def take_remembered(data: DataArguments, features: datasets.Features) -> None:
    """Name the columns that a checkpoint's run had, as far as the data have them and no person named others."""
    for cell, column in data.cells_remembered.items():
        if getattr(data, f"{cell}_column") is None and column in features:
            setattr(data, f"{cell}_column", column)
    options = data.extra_columns or ()
    lacking = [o for o in options if o in data.extras_remembered and not has_columns(o, features)]
    if lacking:
        data.extra_columns = [option for option in options if option not in lacking]
        logger.warning(
            f"The data lack columns that the checkpoint was trained on ({', '.join(lacking)}): name others with "
            "--extra_columns, or no row has these modalities."
        )


def columns_set_aside(data: DataArguments) -> dict[str, str]:
    """column -> why it is neither an input nor the label."""
    found = dict.fromkeys(data.exclude_columns, "named by --exclude_columns")
    if data.group_column is not None:
        found[data.group_column] = "the group of a row, by --group_column"
    if data.time_column is not None:
        found[data.time_column] = "when a row was, by --time_column"
    return found


def limits_of(data: DataArguments) -> DatasetLimits:
    return DatasetLimits(**{name: getattr(data, name) for name in LIMIT_OPTIONS})


def allowed_paths_of(data: DataArguments) -> AllowedPaths | None:
    """Where the files of the rows may lie; None of the embedded digits, which have none."""
    return None if data.dataset_name is None else AllowedPaths.of(data.dataset_name, limits_of(data))


def reading_of(data: DataArguments) -> Reading:
    """How the rows are decoded, alike before the training and in it."""
    places = allowed_paths_of(data)
    return Reading(allow_urls=places is None or places.follow_urls, max_audio_seconds=data.max_audio_seconds)


def prepare_to_stream(data: DataArguments, training: RunArguments) -> None:
    """Refuses what a stream cannot do."""
    if data.dataset_name is None:
        raise ValueError("--streaming is for a dataset that is named with --dataset_name; the digits fit into memory.")
    if training.max_steps <= 0:
        raise ValueError(
            "--streaming needs --max_steps, since the length of a stream is not known: rows x epochs / "
            "(--per_device_train_batch_size x --gradient_accumulation_steps x number of processes), rounded up."
        )


def check_task(data: DataArguments, columns: ModalityColumns, labels: LabelSpec | None) -> None:
    """Whether the labels are what the task needs; where it was not given, they decide."""
    kind = None if labels is None else labels.problem_type
    if data.task is None:
        data.task = "regression" if kind == "regression" else "classification"
    if data.sentiment_metrics and data.task != "regression":
        raise ValueError(f"--sentiment_metrics are for --task regression, not {data.task}.")
    if data.task == "retrieval" and kind not in (None, "single_label_classification"):
        raise ValueError(
            f"Retrieval matches rows with the same label, but column '{columns.label}' is for {kind}: name one with a "
            "class or an id for each row, or train on the rows alone with --label_column none."
        )
    if data.task == "retrieval" and len(columns.modalities) < 2:
        raise ValueError(f"Retrieval needs two modalities or more; found {', '.join(columns.modalities)}.")
