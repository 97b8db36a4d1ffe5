# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""How long and how wide the rows may be that a model takes, and which rows of a dataset are not.

Text and sound are cut to these limits (`encoding_limits`). Ready features are not, since a part of a sequence is not
what its maker measured: those that do not fit are an error before the training (`check_splits`), and in a stream bad
rows.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features
from transformers.utils import logging

from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.column_types import is_ready_features
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.modalities_mot import MODALITIES, MODALITY_OF_CELL, modality_of
from mixture_of_transformers.modality_audio_mot import frames_per_second
from mixture_of_transformers.modality_mot import LengthOption, MoTModalityConfig
from mixture_of_transformers.processing_mot import MoTProcessor

logger = logging.get_logger(__name__)

BAD_ROWS = "bad_rows.jsonl"  # in the folder of a run
# The options that cut raw input, by their names; the limits of a new model are their defaults.
LENGTH_OPTIONS = {kind.length_option.name: kind.length_option for kind in MODALITIES.values() if kind.length_option}


# ---------------------------------------------------------------------------------------------------------------------
# Text and sound are cut
# ---------------------------------------------------------------------------------------------------------------------


def set_limits(data: DataArguments, config: MoTConfig | None = None, extractor=None) -> None:
    """
    Fill in `data.max_text_tokens` and `data.max_audio_seconds` where they were not given: with what the checkpoint of
    `config` takes, or with the limits of a new model. A checkpoint whose positions are sinusoids is extended to what
    was given.

    Raises:
        ValueError: more was given than the checkpoint can take, or nothing.
    """
    for name in LENGTH_OPTIONS:
        if getattr(data, name) is not None and getattr(data, name) <= 0:
            raise ValueError(f"--{name} is {getattr(data, name)}; expected more than 0.")
    for name, option in LENGTH_OPTIONS.items():
        asked = getattr(data, name)
        steps = None if asked is None else steps_of(option, asked, extractor)
        taken = [extended(tower, field, steps, f"--{name}") for tower, field in towers_cut_by(option, config)]
        if taken:
            asked = units_of(option, min(taken), extractor)
        setattr(data, name, option.default if asked is None else asked)


def towers_cut_by(option: LengthOption, config: MoTConfig | None) -> list[tuple[MoTModalityConfig, str]]:
    """The configs of the modalities whose raw input an option cuts, each with the name of the field that limits it."""
    towers = {m: config.modality_config(m) for m in config.modalities} if config else {}
    kinds = {m: modality_of(tower, m) for m, tower in towers.items() if tower.takes_raw_input}
    return [(towers[m], kind.length_field) for m, kind in kinds.items() if kind.length_option == option]


def steps_of(option: LengthOption, units: float, extractor) -> int:
    """What an option counts, tokens or seconds, as what the field of a config counts, tokens or frames."""
    return round(units * frames_per_second(extractor)) if option.in_seconds else units


def units_of(option: LengthOption, steps: int, extractor) -> float:
    """The inverse of `steps_of`."""
    return steps / frames_per_second(extractor) if option.in_seconds else steps


def extended(tower: MoTModalityConfig, field: str, asked: int | None, option: str) -> int:
    """The length that was asked for, or what the tower takes; the tower is extended to more where it can be."""
    limit = getattr(tower, field)
    if asked is None or asked <= limit:
        return limit if asked is None else asked
    if tower.position_embedding_type == "learned" or tower.backbone_config is not None:
        raise ValueError(
            f"{option} asks for a `{field}` of {asked}, but the checkpoint was built for {limit} and cannot take "
            f"more: give {option} at most that, or leave it out."
        )
    logger.warning(f"{option} extends the checkpoint's `{field}` from {limit} to {asked}.")
    setattr(tower, field, asked)
    return asked


def encoding_limits(config: MoTConfig, data: DataArguments, extractor) -> dict[str, float]:
    """Where longer text and sound are cut: at what was asked for, and never beyond what the model takes."""
    limits = {}
    for name, option in LENGTH_OPTIONS.items():
        taken = [units_of(option, getattr(tower, field), extractor) for tower, field in towers_cut_by(option, config)]
        limits[name] = min([getattr(data, name), *taken])
    return limits


def fit_processor(processor: MoTProcessor, config: MoTConfig) -> None:
    """Have the processor give no more frames of a video, and cut text at no more tokens, than the model takes."""
    for modality in config.modalities:
        tower = config.modality_config(modality)
        modality_of(tower, modality).fit_processor(tower, processor)


# ---------------------------------------------------------------------------------------------------------------------
# Ready features are compared
# ---------------------------------------------------------------------------------------------------------------------


def check_splits(splits: Mapping[str, Dataset | RowStream], config: MoTConfig, report: Path | None = None) -> dict:
    """
    The splits, after comparing every modality of every row with what the model takes. A stream is given the limits, by
    which a row that breaks them is a bad one.

    Args:
        report: the `bad_rows.jsonl` of `drop_bad_examples`, so that rows are counted as in the dataset.

    Raises:
        ValueError: naming the split, the row and both numbers.
    """
    checked = {}
    for name, split in splits.items():
        sizes, lengths = feature_limits(name, split.features, config)
        if isinstance(split, RowStream):
            split = split.fitting(sizes, lengths)
        else:
            for column in sizes:
                check_column(name, split, column, sizes[column], lengths[column], report)
        checked[name] = split
    return checked


def feature_limits(split_name: str, features: Features, config: MoTConfig) -> tuple[dict[str, int], dict[str, float]]:
    """
    Column -> the width, and column -> the most vectors, that the model takes of those that hold ready features.

    Raises:
        ValueError: the model takes nothing of a column, or raw input where this holds features, or the reverse.
    """
    ready = [column for column in MODALITY_OF_CELL if column in features]
    ready = [column for column in ready if check_kind(split_name, column, features[column], config)]
    towers = {column: config.modality_config(MODALITY_OF_CELL[column]) for column in ready}
    lengths = {c: modality_of(tower, MODALITY_OF_CELL[c]).length_limit(tower) for c, tower in towers.items()}
    sizes = {column: tower.feature_size for column, tower in towers.items()}
    return sizes, {column: length or math.inf for column, length in lengths.items()}


def check_kind(split_name: str, column: str, kind, config: MoTConfig) -> bool:
    """Whether a column holds ready features; a ValueError where the model does not take what it holds."""
    tower, is_ready = config.modality_config(MODALITY_OF_CELL[column]), is_ready_features(kind)
    if tower is None:
        taken = ", ".join(config.modalities)
        raise ValueError(f"The model takes {taken}, and no {column}: leave it out with --{column}_column none.")
    if is_ready == tower.takes_raw_input:
        found, expected = ("ready features", f"raw {column}") if is_ready else (f"raw {column}", "ready features")
        raise ValueError(
            f"The {column} column of split '{split_name}' holds {found}, but the model takes {expected}: name another "
            f"with --{column}_column, or leave it out with 'none'."
        )
    return is_ready


def check_column(split_name: str, split: Dataset, column: str, size: int, longest: float, report: Path | None) -> None:
    lengths, widths = feature_shapes(split, column)
    modality = MODALITY_OF_CELL[column]
    for row in np.flatnonzero((lengths > longest) | ((lengths > 0) & (widths != size)))[:1].tolist():
        place = f"Row {row_numbers(len(split), bad_rows(report, split_name))[row]} of split '{split_name}'"
        if widths[row] != size:
            raise ValueError(
                f"{place} has {column} features of width {widths[row]}, but the model takes a width of {size} "
                f"(`{modality}_config.feature_size`): make all splits by the same extractor."
            )
        field = MODALITIES[modality].length_field
        override = json.dumps({f"{modality}_config": {field: int(lengths.max())}})
        raise ValueError(
            f"{place} has {lengths[row]} {column} features, but the model takes {longest} "
            f"(`{modality}_config.{field}`): shorten the row, or build the model for more with --config_overrides "
            f"'{override}'."
        )


def feature_shapes(split: Dataset, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Of each row, how many ready features it has and how wide the first is; 0 and 0 where it has none."""
    lengths, widths = [], []
    for batch in split.select_columns(column).with_format("arrow").iter(1000):
        vectors = batch[column].combine_chunks()
        vectors = vectors.combine_chunks() if isinstance(vectors, pa.ChunkedArray) else vectors
        vectors = vectors.storage if isinstance(vectors, pa.ExtensionArray) else vectors
        length = pc.fill_null(pc.list_value_length(vectors), 0).to_numpy(zero_copy_only=False)
        width = pc.fill_null(pc.list_value_length(pc.list_flatten(vectors)), 0).to_numpy(zero_copy_only=False)
        first = np.cumsum(length) - length
        lengths.append(length)
        widths.append(np.where(length > 0, np.append(width, 0)[np.minimum(first, len(width))], 0))
    return np.concatenate(lengths or [[]]), np.concatenate(widths or [[]])


def bad_rows(report: Path | None, split_name: str) -> dict[int, str]:
    """The rows of a split that `drop_bad_examples` left out, each with its reason, from its report."""
    if report is None or not report.exists():
        return {}
    lines = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    return {line["index"]: line["reason"] for line in lines if line["split"] == split_name}


def row_numbers(number: int, bad: Mapping[int, str]) -> list[int]:
    """The places that the `number` rows left have in their split, counted with the bad ones."""
    return [row for row in range(number + len(bad)) if row not in bad]
