# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The rows that all learners of a comparison share: what is known of each row, what is to be told, and the splits.

A row is a dict with a cell for each modality, None where it is absent, and its `label`: a text is a string, a picture
and a sound are the bytes of a file, a table is a dict of its columns. A seed decides which rows are in which split,
but of digits3m, whose test split is a speaker's of its own. Where rows are to be found, no learner sees their labels,
by which what it finds is judged.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Audio, DatasetDict, Image
from sklearn import datasets as tables
from sklearn.model_selection import train_test_split

from mixture_of_transformers.configuration_mot import SIZES
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.subsets_mot import all_subsets

Row = dict[str, Any]
SPLITS = ("train", "validation", "test")
DIGIT_KINDS = {"text": "text", "image": "image", "audio": "audio"}
NARROW = SIZES["tiny"] | {"hidden_size": 64, "intermediate_size": 128, "num_encoder_layers": 1}
# Of all networks on the digits, a part of the time of the defaults: the sizes and the rate of docs/recipes.md.
QUICK = {"epochs": 12, "learning_rate": 2e-3, "network": NARROW}

# Changes of what all networks have alike, from which a MoT may choose on the validation rows of a table.
SETTINGS = {
    "the defaults": {},
    "a third of the epochs": {"epochs": 13},
    "narrow": {"network": NARROW, "learning_rate": 2e-3},
    "narrow, a third of the epochs": {"network": NARROW, "learning_rate": 2e-3, "epochs": 13},
    "narrow, dropout": {"network": NARROW | {"hidden_dropout": 0.3, "classifier_dropout": 0.3}, "learning_rate": 2e-3},
}


@dataclass(frozen=True)
class Problem:
    """
    Args:
        name: what results are filed under.
        kinds: the kind of each modality, by its name: text, image, audio or table.
        classes: the names of the classes, of which a row's label is the number; empty where it is a number.
        train, validation, test: the rows.
        epochs, learning_rate, network: how often a neural network sees the training rows, its peak rate, and what it
            has of the sizes of `MoTConfig`, the same for all of them.
        options: what a MoT is told of the data on the command line.
        searches: the modality that asks and the one that is found, of each search; empty where labels are to be told.
    """

    name: str
    kinds: dict[str, str]
    classes: tuple[str, ...]
    train: list[Row]
    validation: list[Row]
    test: list[Row]
    epochs: int = 40
    learning_rate: float = 1e-3
    network: Mapping[str, int] = field(default_factory=lambda: SIZES["tiny"])
    options: tuple[str, ...] = ()
    searches: tuple[tuple[str, str], ...] = ()

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.kinds)

    @property
    def subsets(self) -> list[tuple[str, ...]]:
        return all_subsets(self.modalities)

    @property
    def recipe(self) -> dict[str, Any]:
        """What all networks have alike."""
        return {"epochs": self.epochs, "learning_rate": self.learning_rate, "network": dict(self.network)}

    def digest(self) -> str:
        """A hash of all rows in their order, by which runs on other rows are told apart."""
        content = hashlib.sha256()
        for split in SPLITS:
            for row in getattr(self, split):
                content.update(json.dumps([split, row], sort_keys=True, default=bytes.hex).encode())
        return content.hexdigest()[:16]


def labels_of(rows: Sequence[Row]) -> np.ndarray:
    """(N,) class numbers, or the numbers to be told."""
    return np.array([row["label"] for row in rows])


def of_subset(rows: Sequence[Row], subset: Sequence[str]) -> list[Row]:
    """The rows that have all modalities of a subset, with these alone."""
    kept = [row for row in rows if all(row[modality] is not None for modality in subset)]
    return [{name: cell if name in (*subset, "label") else None for name, cell in row.items()} for row in kept]


def only_modality(rows: Sequence[Row]) -> str:
    """The modality of rows that all have the same one and no other."""
    (modality,) = {name for row in rows for name, cell in row.items() if name != "label" and cell is not None}
    return modality


# ---------------------------------------------------------------------------------------------------------------------
# Digits that are written, spoken of and heard
# ---------------------------------------------------------------------------------------------------------------------


def embedded_digits(seed: int) -> Problem:
    """Pictures with a tone of a telephone key and a sentence; three in ten training rows lack one or two of them."""
    # The keys of a telephone are told apart by their pitch: the setting that `run_finetune.py` has for these rows.
    return of_digits("digits", load_digits_dataset(seed), epochs=25, options=("--audio_kind", "sound"))


def digits3m(folder: str) -> Problem:
    """MNIST pictures with spoken digits and sentences; training rows are complete, and the test speaker is unheard."""
    return of_digits("digits3m", load_splits(folder), epochs=40)


def of_digits(name: str, splits: DatasetDict, epochs: int, options: tuple[str, ...] = ()) -> Problem:
    classes = tuple(splits["train"].features["label"].names)
    raw = splits.cast_column("image", Image(decode=False)).cast_column("audio", Audio(decode=False))
    rows = {split: [row_of_digits(row) for row in raw[split]] for split in SPLITS}
    return Problem(name, DIGIT_KINDS, classes, **rows, epochs=epochs, options=options)


def row_of_digits(row: Row) -> Row:
    media = {name: row[name] and row[name]["bytes"] for name in ("image", "audio")}
    return {"text": row["text"], **media, "label": row["label"]}


def of_search(problem: Problem) -> Problem:
    """To find the picture for a sentence and the sentence for a picture, in the rows that have one of them or both."""
    kinds = {name: kind for name, kind in problem.kinds.items() if kind in ("text", "image")}
    first, second = kinds
    rows = {split: with_any(getattr(problem, split), kinds) for split in SPLITS}
    return dataclasses.replace(
        problem,
        name=f"{problem.name}_search",
        kinds=kinds,
        **rows,
        searches=((first, second), (second, first)),
        options=(),
    )


def with_any(rows: Sequence[Row], modalities: Collection[str]) -> list[Row]:
    """The rows that have at least one of some modalities, with these alone."""
    cells = [{name: row[name] for name in (*modalities, "label")} for row in rows]
    return [row for row in cells if any(row[name] is not None for name in modalities)]


# ---------------------------------------------------------------------------------------------------------------------
# Tables of scikit-learn
# ---------------------------------------------------------------------------------------------------------------------


def of_table(name: str, load: Callable[..., Any], is_classes: bool, seed: int) -> Problem:
    """Three fifths of the rows to train on, one to validate, one to test; classes have their share of each."""
    bunch = load()
    labels = bunch.target if is_classes else bunch.target.astype(float)
    columns = [str(column) for column in bunch.feature_names]
    numbers = np.arange(len(labels))
    train, held_out = train_test_split(
        numbers, test_size=0.4, random_state=seed, stratify=labels if is_classes else None
    )
    validation, test = train_test_split(
        held_out, test_size=0.5, random_state=seed, stratify=labels[held_out] if is_classes else None
    )
    rows = {
        split: [{"table": dict(zip(columns, bunch.data[i].tolist())), "label": labels[i].item()} for i in places]
        for split, places in zip(SPLITS, (train, validation, test))
    }
    classes = tuple(map(str, bunch.target_names)) if is_classes else ()
    return Problem(name, {"table": "table"}, classes, **rows)


PROBLEMS: dict[str, Callable[[int, str | None], Problem]] = {
    "digits": lambda seed, folder: embedded_digits(seed),
    "digits3m": lambda seed, folder: digits3m(folder),
    "digits_search": lambda seed, folder: of_search(embedded_digits(seed)),
    "digits3m_search": lambda seed, folder: of_search(digits3m(folder)),
    "breast_cancer": lambda seed, folder: of_table("breast_cancer", tables.load_breast_cancer, True, seed),
    "wine": lambda seed, folder: of_table("wine", tables.load_wine, True, seed),
    "diabetes": lambda seed, folder: of_table(
        "diabetes", lambda: tables.load_diabetes(scaled=False), is_classes=False, seed=seed
    ),
}
NEEDS_FOLDER = {"digits3m", "digits3m_search"}
SEARCHES = {"digits_search", "digits3m_search"}


def load(name: str, seed: int, folder: str | None = None, is_quick: bool = False) -> Problem:
    """
    Args:
        seed: of the splits.
        folder: of digits3m.
        is_quick: whether networks on the digits have a small part of the time.
    """
    if name in NEEDS_FOLDER and (folder is None or not Path(folder).is_dir()):
        raise ValueError(f"{name} is read from a folder, got {folder!r}: name it with `--dataset_name`.")
    problem = PROBLEMS[name](seed, folder)
    return dataclasses.replace(problem, **QUICK) if is_quick and "image" in problem.kinds else problem
