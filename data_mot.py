# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""One form for every dataset.

A dataset goes through `sources_mot.load_splits` (or `load_digits_dataset`), `ModalityColumns.guess`, `prepare_splits`
and `drop_bad_examples`, and leaves with the columns `text`, `image`, `audio`, `video` (those it has) and `label`, as a
`datasets.Dataset` or, streamed, as a `RowStream`. Media stay encoded (bytes or a path) until the processor opens them;
a None cell is a modality that the row lacks. What the columns hold is decided in `columns_mot`, what the labels mean in
`labels_mot`, what is wrong with a row in `checks_mot`.
"""

from pathlib import Path

from datasets import Audio, Dataset, DatasetDict, Features, Image, IterableDataset, Value
from datasets.utils import tqdm
from transformers.utils import logging

from .checks_mot import BadRows, ExampleCheck, count_by_kind
from .column_types_mot import MEDIA, cell_has_sound, is_ready_features, is_string, stored_file, undecoded_stream
from .columns_mot import ModalityColumns, check_named, label_candidates
from .digits_mot import DIGIT_NAMES, DIGITS_FEATURES, load_digits_dataset
from .labels_mot import LabelSpec, encode_labels, learn_labels, learn_stream_labels, readable_labels
from .streams_mot import RowStream
from .tokenizer_mot import train_tokenizer

logger = logging.get_logger(__name__)


def prepare_splits(
    splits: DatasetDict, columns: ModalityColumns, problem_type: str | None = None
) -> tuple[DatasetDict, LabelSpec | None]:
    """`prepare_split` for every split, with the labels learned from `train`; a streamed `train` is a `RowStream`."""
    prepared, labels = type(splits)(), None
    for name in sorted(splits, key=lambda name: name != "train"):
        prepared[name], labels = prepare_split(splits[name], columns, labels, name, problem_type)
    return prepared, labels


def prepare_split(
    split: Dataset | IterableDataset,
    columns: ModalityColumns,
    labels: LabelSpec | None = None,
    split_name: str = "train",
    problem_type: str | None = None,
) -> "tuple[Dataset | RowStream, LabelSpec | None]":
    """Reduce a split to `text`, `image`, `audio`, `video` (those in `columns`) and `label`.

    Media are cast to undecoded cells, so reading a row opens no file. Labels become class ids (ClassLabel, strings,
    whole numbers, booleans), multi-hot vectors (lists of those) or numbers (floats). Missing ones (None, NaN, class id
    -1) become None, are counted in a warning, and do not count in training or evaluation.

    Args:
        split: any split of the dataset. The classes of a streamed one come from its type, or else from one pass over
            its label column alone.
        columns: which column holds what.
        labels: the labels of the training split; None learns them from this split.
        split_name: what error messages call the split.
        problem_type: "regression" takes whole numbers, e.g. ratings, as numbers; by default they are classes.

    Returns:
        The reduced split, and the labels (None without a label column).

    Raises:
        ValueError: a column is missing, all labels are, or a label is not among the classes of the training split.
    """
    chosen = {role: getattr(columns, role) for role in (*columns.modalities, "label")}
    chosen = {role: name for role, name in chosen.items() if name is not None}
    check_named(chosen, split.features)
    if isinstance(split, IterableDataset):
        if columns.label is not None and labels is None:
            labels = learn_stream_labels(split, columns.label, split_name, problem_type)
        return RowStream(split, chosen, labels, split_name), labels
    if columns.has_video_sound:
        del chosen["audio"]
    reduced = split.with_format(None).select_columns(list(chosen.values()))
    reduced = reduced.rename_columns({name: role for role, name in chosen.items()})
    for modality in chosen:
        if modality in MEDIA and not is_ready_features(reduced.features[modality]):
            if isinstance(reduced.features[modality], Value):  # of paths, which may be a large_string, or of bytes
                plain = "string" if is_string(reduced.features[modality]) else "binary"
                reduced = reduced.cast_column(modality, Value(plain))
            reduced = reduced.cast_column(modality, MEDIA[modality](decode=False))
    if columns.has_video_sound:
        reduced = _with_sound_tracks(reduced)
    if columns.label is None:
        return reduced, None

    readable = readable_labels(reduced.features["label"], reduced["label"][:], split_name)
    if labels is None:
        labels = learn_labels(reduced.features["label"], readable, problem_type)
    encoded = encode_labels(readable, labels, split_name)
    return reduced.remove_columns("label").add_column("label", encoded, feature=labels.feature), labels


def _with_sound_tracks(split: Dataset) -> Dataset:
    """The videos again as `audio`, None where a video is silent."""
    untyped = Image(decode=False)  # stored alike, while Audio asks for torchcodec
    return split.map(
        lambda row: {"audio": row["video"] if cell_has_sound(row["video"]) else None},
        features=Features({**split.features, "audio": untyped}),
        desc="Looking for sound tracks",
    ).cast_column("audio", Audio(decode=False))


def drop_bad_examples(
    split: Dataset | RowStream,
    on_bad_example: str = "skip",
    split_name: str | None = None,
    report: str | Path | None = None,
) -> Dataset | RowStream:
    """Decode every image, sound and video once, so that no row stops a training run an hour into it.

    Bad are rows whose file is missing or cannot be decoded; audio that is empty, shorter than one window (25 ms) or
    holds NaN or infinite samples; ready features of another form than (length, feature_size), or not finite; and rows
    that lack every modality. The rows of a stream are decoded when they are met.

    Args:
        split: a split with the columns that `prepare_split` gives.
        on_bad_example: "skip" leaves bad rows out and says how many and why in one warning; "raise" stops at the
            first one.
        split_name: what messages call the split; by default the name it has of its own.
        report: a JSON lines file that gets a line `{"split", "index", "reason"}` for each bad row.

    Raises:
        ValueError: a row is bad under "raise", or no good row is left.
        ImportError: the package that decodes a file is not installed.
    """
    if on_bad_example not in ("skip", "raise"):
        raise ValueError(f"`on_bad_example` is 'skip' or 'raise', got '{on_bad_example}'.")
    report = report and Path(report)
    if isinstance(split, RowStream):
        return split.checked(on_bad_example, report)
    name = split_name or str(split.split or "unnamed")
    undecoded = split.with_format(None)
    for column in MEDIA:
        if isinstance(split.features.get(column), tuple(MEDIA.values())):
            undecoded = undecoded.cast_column(column, MEDIA[column](decode=False))

    check, good, bad = ExampleCheck(split.features), [], BadRows(name, on_bad_example, report)
    for row, example in enumerate(tqdm(undecoded, desc=f"Checking '{name}'", unit="row")):
        problem = check(example)
        if problem is None:
            good.append(row)
        else:
            bad.add(row, problem)
    if not bad.rows:
        return split
    summary = f"skipped {len(split) - len(good)} of {len(split)} rows of '{name}': {count_by_kind(bad.rows)}"
    if not good:
        raise ValueError(f"No row is left: {summary}.")
    logger.warning(summary + (f"; {report} names each with its reason" if report else ""))
    return split.select(good)


__all__ = [
    "DIGITS_FEATURES",
    "DIGIT_NAMES",
    "LabelSpec",
    "ModalityColumns",
    "RowStream",
    "drop_bad_examples",
    "is_ready_features",
    "label_candidates",
    "load_digits_dataset",
    "prepare_split",
    "prepare_splits",
    "stored_file",
    "train_tokenizer",
    "undecoded_stream",
]
