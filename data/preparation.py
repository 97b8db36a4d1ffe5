# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""One form for every dataset.

A dataset goes through `data.sources.load_splits` (or `load_digits_dataset`), `ModalityColumns.guess`, `prepare_splits`
and `drop_bad_examples`, and leaves with the columns `text`, `image`, `audio`, `video` (those it has), those of further
modalities by their names, and `label`, as a `datasets.Dataset` or, streamed, as a `RowStream`. Media stay encoded
(bytes or a path) until the processor opens them; a None cell is a modality that the row lacks. What the columns hold
is decided in `data/columns.py`, what the labels mean in `data/labels.py`, what is wrong with a row in
`data/checks.py`.
"""

from dataclasses import replace
from pathlib import Path

from datasets import Audio, Dataset, DatasetDict, Features, Image, IterableDataset, Value
from datasets.utils import tqdm
from transformers.utils import logging

from mixture_of_transformers.data.allowed_paths import AllowedPaths
from mixture_of_transformers.data.checks import BadRows, ExampleCheck, Reading, count_by_kind
from mixture_of_transformers.data.column_types import (
    MEDIA_ROLES,
    SOUND,
    VIDEO,
    cell_has_sound,
    is_medium,
    is_ready_features,
    is_samples,
    is_string,
    is_vector,
    stored_cell,
    stored_type,
)
from mixture_of_transformers.data.columns import ModalityColumns, check_named, describe_columns
from mixture_of_transformers.data.extra_cells import ExtraCells, with_made_cells
from mixture_of_transformers.data.label_learning import learn_labels
from mixture_of_transformers.data.labels import LabelColumn, LabelSpec, has_no_labels, shortened
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.modalities_mot import CELLS

logger = logging.get_logger(__name__)


def find_columns(
    split: Dataset | IterableDataset, allowed_paths: AllowedPaths | None = None, **named
) -> ModalityColumns:
    """Which column of a training split is what (`ModalityColumns.guess`, whose arguments `named` are), the sound of
    its videos among them unless the `audio` is named or "none". `allowed_paths` says where these videos may lie."""
    columns = ModalityColumns.guess(split.features, **named, rows=split)
    return columns if named.get(SOUND) else columns.with_video_sound(split, allowed_paths)


def prepare_splits(
    splits: DatasetDict,
    columns: ModalityColumns,
    problem_type: str | None = None,
    allowed_paths: AllowedPaths | None = None,
) -> tuple[DatasetDict, LabelSpec | None]:
    """`prepare_split` for every split, with the labels learned from `train`; a streamed `train` is a `RowStream`.

    A test split without any label loses its label column, with a warning: it can be predicted.

    Raises:
        ValueError: a split other than `train` has a class that no row of `train` has.
    """
    train_first = {name: splits[name] for name in sorted(splits, key=lambda name: name != "train")}
    prepared, labels = type(splits)(), None
    if columns.label is not None:
        train_name, train = next(iter(train_first.items()))
        check_named({"label": columns.label}, train.features, train_name)
        labels = learn_labels(train_first, columns.label, problem_type)
    for name, split in train_first.items():
        of_split = columns
        if name == "test" and labels is not None and has_no_labels(split, columns.label, labels):
            logger.warning(f"Split '{name}' has no labels in column '{columns.label}': it can only be predicted.")
            of_split = replace(columns, label=None)
        prepared[name], _ = prepare_split(split, of_split, labels, name, allowed_paths=allowed_paths)
    if labels is not None:
        check_classes(prepared, labels, columns.label)
    return prepared, labels


def check_classes(prepared: DatasetDict, labels: LabelSpec, column: str) -> None:
    """Whether each class of a held-out split stands in a training row, for those that only a type declares, too."""
    train, *others = prepared
    if labels.problem_type == "regression" or isinstance(prepared[train], RowStream):
        return
    known = classes_shown(prepared[train]["label"][:], labels).keys()
    for name in others:
        if "label" not in prepared[name].features:
            continue
        for index, row in classes_shown(prepared[name]["label"][:], labels).items():
            if index not in known:
                raise ValueError(
                    f"Label '{labels.names[index]}' of row {row} of split '{name}', column '{column}', is not among "
                    f"the classes that rows of the training split have. {labels.advice}"
                )


def check_labels_left(splits: dict[str, Dataset | RowStream]) -> None:
    """Whether every split that has a label column kept a label when bad rows were left out and rows were drawn.

    Raises:
        ValueError: none of a split's rows has a label any more.
    """
    for name, split in splits.items():
        is_kept = isinstance(split, Dataset) and "label" in split.features
        if is_kept and all(label is None for label in split["label"][:]):
            raise ValueError(
                f"None of the {len(split)} rows that are left of split '{name}' has a label: the rows with one are "
                "bad or were not drawn. A row needs its label beside its text, picture or sound; of a file of labels "
                "alone no row is left."
            )


def check_classes_left(train: Dataset | RowStream, labels: LabelSpec) -> None:
    """Whether the training rows that are left still tell classes apart; a warning names the classes without a row.

    Raises:
        ValueError: the rows are all of one class.
    """
    if labels.problem_type == "regression" or isinstance(train, RowStream):
        return
    shown = classes_shown(train["label"][:], labels)
    lost = shortened([name for index, name in enumerate(labels.names) if index not in shown])
    if len(shown) < 2 and labels.problem_type == "single_label_classification":
        raise ValueError(
            "A classification needs two classes or more with readable training rows, but the rows that are left are "
            f"all of {[labels.names[index] for index in shown]}, none of {lost}. Repair the bad rows, or draw more "
            "with --max_train_samples."
        )
    if lost:
        logger.warning(
            f"{labels.num_labels - len(shown)} of {labels.num_labels} classes have no training row: {lost}."
        )


def classes_shown(encoded: list, labels: LabelSpec) -> dict[int, int]:
    """Class id -> the first row that has it."""
    rows = {}
    several = labels.problem_type == "multi_label_classification"
    for row, label in enumerate(encoded):
        if label is not None:
            for index in [i for i, hot in enumerate(label) if hot] if several else [label]:
                rows.setdefault(index, row)
    return rows


def prepare_split(
    split: Dataset | IterableDataset,
    columns: ModalityColumns,
    labels: LabelSpec | None = None,
    split_name: str = "train",
    problem_type: str | None = None,
    allowed_paths: AllowedPaths | None = None,
) -> "tuple[Dataset | RowStream, LabelSpec | None]":
    """Reduce a split to `text`, `image`, `audio`, `video` (those in `columns`) and `label`.

    Media are cast to undecoded cells, so reading a row opens no file. Labels become class ids (ClassLabel, strings,
    whole numbers, booleans), multi-hot vectors (lists of those, or vectors of zeros and ones) or numbers (floats).
    Missing ones (None, NaN, blank, class id -1) become None, are counted in a warning, and do not count in training or
    evaluation.

    Args:
        split: any split of the dataset. The classes of a streamed one come from its type, or else from one pass over
            its label column alone.
        columns: which column holds what.
        labels: the labels of the training split; None learns them from this split.
        split_name: what error messages call the split.
        problem_type: "regression" takes whole numbers, e.g. ratings, as numbers; "classification" takes whole floats
            as classes; `data.label_learning.learn_labels` says what holds by default.
        allowed_paths: where the files may lie that the rows name, `AllowedPaths.of(dataset_name)`; by default
            anywhere.

    Returns:
        The reduced split, and the labels (None without a label column).

    Raises:
        ValueError: a column is missing, all labels are, a label is not among the classes of the training split, or a
            row names a file that lies nowhere in `allowed_paths`.
    """
    chosen = {role: getattr(columns, role) for role in (*columns.cells, "label")}
    chosen = {role: name for role, name in chosen.items() if name is not None}
    check_named(chosen, split.features, split_name)
    extras = extra_cells_of(columns, split.features, split_name)
    if columns.label is None:
        labels = None
    elif labels is None:
        labels = learn_labels({split_name: split}, columns.label, problem_type)
    if isinstance(split, IterableDataset):
        return RowStream(split, chosen, labels, split_name, allowed_paths, extras), labels
    if allowed_paths is not None:
        media = [chosen[role] for role in MEDIA_ROLES if role in chosen]
        media += [column for cells in extras.values() if cells.is_media for column in cells.columns]
        allowed_paths.check(split, media, split_name)
    if columns.has_video_sound:
        del chosen[SOUND]
    used = [*chosen.values(), *(column for cells in extras.values() for column in cells.columns)]
    places = {column: f"column {number}" for number, column in enumerate(used)}  # no modality is called so
    reduced = split.with_format(None).select_columns(used).rename_columns(places)
    reduced = with_made_cells(reduced, extras, places)
    stored = {name: cells for name, cells in extras.items() if cells.are_as_stored}
    names = {places[column]: role for role, column in chosen.items()}
    names |= {places[cells.columns[0]]: name for name, cells in stored.items()}
    reduced = reduced.rename_columns(names) if names else reduced
    for role in columns.cells:
        if role in chosen:
            reduced = with_stored_cells(reduced, role, role)
    for name, cells in stored.items():
        if cells.kind in CELLS:
            reduced = with_stored_cells(reduced, cells.kind, name)
    if columns.has_video_sound:
        reduced = with_sound_tracks(reduced, allowed_paths is None or allowed_paths.follow_urls)
    if columns.label is None:
        return reduced, None
    column = LabelColumn(columns.label, reduced.features["label"], split_name)
    readable = column.read_all(reduced["label"][:])
    encoded = [column.encode(row, value, labels) for row, value in enumerate(readable)]
    return reduced.remove_columns("label").add_column("label", encoded, feature=labels.feature), labels


def extra_cells_of(columns: ModalityColumns, features: Features, split_name: str) -> dict[str, ExtraCells]:
    """How the cells of each modality of a user's are made in a split.

    Raises:
        ValueError: the split lacks one of their columns.
    """
    for name, (_, several) in columns.extra.items():
        if missing := [column for column in several if column not in features]:
            raise ValueError(
                f"There is no column '{missing[0]}' to take {name} from in split '{split_name}'. "
                f"{describe_columns(features)}"
            )
    return {name: ExtraCells.of(extra, features) for name, extra in columns.extra.items()}


def with_stored_cells(split: Dataset, role: str, name: str) -> Dataset:
    """A column of the text or a medium in its stored form (`data.column_types.stored_type`), under its own name."""
    kind = split.features[name]
    stored = stored_type(role, kind)
    has_blanks = (
        role in MEDIA_ROLES and is_string(kind) and any(cell is not None and not cell.strip() for cell in split[name])
    )
    if is_vector(kind) or is_samples(kind) or has_blanks:
        untyped = Image(decode=False) if role in MEDIA_ROLES and not is_ready_features(stored) else stored
        split = split.map(
            lambda cell: {name: stored_cell(role, kind, cell)},
            input_columns=name,
            features=Features({**split.features, name: untyped}),
            desc=f"Reading '{name}'",
        )
    # The column holds paths, which may be of type large_string, or bytes.
    elif isinstance(kind, Value) and role in MEDIA_ROLES:
        split = split.cast_column(name, Value("string" if is_string(kind) else "binary"))
    return split if split.features[name] == stored else split.cast_column(name, stored)


def with_sound_tracks(split: Dataset, allow_urls: bool | str) -> Dataset:
    """The videos again as `audio`, None where a video is silent."""
    untyped = Image(decode=False)  # The type Audio, which is stored alike, asks for torchcodec.
    return split.map(
        lambda row: {SOUND: row[VIDEO] if cell_has_sound(row[VIDEO], allow_urls) else None},
        load_from_cache_file=False,  # A video may have changed under its name.
        features=Features({**split.features, SOUND: untyped}),
        desc="Looking for sound tracks",
    ).cast_column(SOUND, Audio(decode=False))


def drop_bad_examples(
    split: Dataset | RowStream,
    on_bad_example: str = "skip",
    split_name: str | None = None,
    report: str | Path | None = None,
    reading: Reading | None = None,
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
        reading: how the rows will be decoded: within which limits, by which URLs, and how much of their sound. By
            default within those of a new processor, by all URLs, and the whole of it; a stream knows its own.

    Raises:
        ValueError: a row is bad under "raise", or no good row is left.
        ImportError: the package that decodes a file is not installed.
    """
    if on_bad_example not in ("skip", "raise"):
        raise ValueError(f"`on_bad_example` is 'skip' or 'raise', got '{on_bad_example}'.")
    report = report and Path(report)
    if isinstance(split, RowStream):
        split = split.checked(on_bad_example, report)
        return split if reading is None else split.read_by(reading)
    good = good_rows(split, on_bad_example, split_name or str(split.split or "unnamed"), report, reading)
    return split if len(good) == len(split) else split.select(good)


def good_rows(
    split: Dataset,
    on_bad_example: str,
    split_name: str,
    report: Path | None = None,
    reading: Reading | None = None,
) -> list[int]:
    """The numbers of the rows that `drop_bad_examples` keeps."""
    undecoded = split.with_format(None)
    for column, kind in split.features.items():
        if is_medium(kind):
            undecoded = undecoded.cast_column(column, type(kind)(decode=False))

    check, good, bad = ExampleCheck(split.features, reading=reading), [], BadRows(split_name, on_bad_example, report)
    for row, example in enumerate(tqdm(undecoded, desc=f"Checking '{split_name}'", unit="row")):
        problem = check(example)
        if problem is None:
            good.append(row)
        else:
            bad.add(row, problem)
    if bad.rows:
        summary = f"skipped {len(split) - len(good)} of {len(split)} rows of '{split_name}': {count_by_kind(bad.rows)}"
        place = f"; {report} names each with its reason" if report else ""
        if not good:
            raise ValueError(f"No row is left: {summary}. The first is {bad.first}{place}")
        logger.warning(summary + place)
    return good
