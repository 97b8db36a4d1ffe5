# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a dataset's labels mean, and how the cells of a split become labels.

A `LabelColumn` reads the cells of one split and encodes them as the `LabelSpec` of the training split says. Whatever
the file made of them (whole numbers that a gap turned into floats, arrays of shape (N, 1), vectors of zeros and ones),
the same labels mean the same.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np
from datasets import ClassLabel, Dataset, IterableDataset, Value
from transformers.utils import logging

from mixture_of_transformers.data.column_types import element_of, is_value
from mixture_of_transformers.data.secrets import printable

logger = logging.get_logger(__name__)

LARGEST_SCORE = float(np.finfo(np.float32).max)  # The model computes scores in float32.
INVISIBLE_ENDS = re.compile(r"^[\s\u200b-\u200f\u2060\ufeff]+|[\s\u200b-\u200f\u2060\ufeff]+$")
TRAINING_SPLIT = "the training split"
ADVICE = (
    "A model cannot learn a class that no training row shows: add such rows to the training split, take these out, or "
    "name other splits (--test_split none leaves the test split out)."
)
HARDLY_REPEATS = (
    "Most training rows have a label that no other has, so they hardly are classes: name another column with "
    "--label_column, or match the rows without labels (--task retrieval --label_column none). Otherwise: "
)


@dataclass(frozen=True)
class LabelSpec:
    """What a dataset's labels mean, learned from its training split.

    `problem_type` is transformers' name of it: "single_label_classification", "multi_label_classification" or
    "regression". `names` are the classes in the order of their ids, empty for regression, which has the `mean` and the
    standard deviation, `std`, of the numbers instead. `multi_hot` says that the dataset gives several classes as a
    vector of zeros and ones, not as a list of classes. `hardly_repeats` says that most rows have a label of their own,
    and `source` what error messages call where the labels come from.
    """

    problem_type: str
    names: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    multi_hot: bool = False
    hardly_repeats: bool = field(default=False, compare=False)
    source: str = field(default=TRAINING_SPLIT, compare=False)

    @property
    def num_labels(self) -> int:
        return len(self.names) or 1

    @property
    def id2label(self) -> dict[int, str]:
        return dict(enumerate(self.names))

    @property
    def label2id(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    @property
    def plain_label2id(self) -> dict[str, int]:
        return {plain_name(name): index for index, name in enumerate(self.names)}

    @property
    def advice(self) -> str:
        """What to do about a class that is not among these."""
        if self.source != TRAINING_SPLIT:
            return "It answers with these alone: take such rows out, or write their labels as its classes."
        return HARDLY_REPEATS + ADVICE if self.hardly_repeats else ADVICE

    @property
    def feature(self):
        """The type of a prepared `label` column: class ids, multi-hot vectors (num_labels,), or numbers."""
        if self.problem_type == "single_label_classification":
            return ClassLabel(names=list(self.names))
        if self.problem_type == "multi_label_classification":
            return datasets.List(Value("float32"), length=self.num_labels)
        return Value("float32")


class LabelColumn:
    """The label column of one split, one cell at a time; errors name the column, the split and the row.

    Args:
        name: what the dataset calls it.
        kind: its type.
        split_name: what messages call the split.
    """

    def __init__(self, name: str, kind, split_name: str):
        self.name, self.kind, self.split_name = name, kind, split_name
        self.element = element_of(kind)

    def read(self, row: int, cell):
        """
        A cell as a string, a number or a list of those, class ids replaced by their names; None where it is missing.
        """
        members = cell if isinstance(cell, list) else [cell]
        if any(is_missing(member, self.element) for member in members):
            return None
        if isinstance(self.element, ClassLabel):
            members = [self._class_name(row, member) for member in members]
        members = [plain_name(member) if isinstance(member, str) else member for member in members]
        return members if isinstance(cell, list) else members[0]

    def _class_name(self, row: int, class_id: int) -> str:
        names = self.element.names
        if not 0 <= class_id < len(names):
            raise self.error(row, class_id, f"is not the id of one of the {len(names)} classes {shortened(names)}.")
        return names[class_id]

    def read_all(self, cells: list) -> list:
        readable = [self.read(row, cell) for row, cell in enumerate(cells)]
        missing = [row for row, value in enumerate(readable) if value is None]
        if missing and len(missing) == len(cells):
            raise self.no_labels()
        if missing:
            logger.warning(
                f"{len(missing)} of {len(cells)} rows of '{self.split_name}' have no label and do not count "
                f"(rows {shortened(missing)})."
            )
        if infinite := [row for row in missing if isinstance(cells[row], float) and abs(cells[row]) > LARGEST_SCORE]:
            logger.warning(
                f"{len(infinite)} of these are infinite or beyond float32, such as {cells[infinite[0]]} in row "
                f"{infinite[0]}."
            )
        return readable

    def encode(self, row: int, value, labels: LabelSpec):
        """A label that was read, as `LabelSpec.feature` stores it."""
        if value is None:
            return None
        if labels.problem_type == "multi_label_classification":
            value = value if isinstance(value, list) else [value]
            return self._vector(row, value, labels) if labels.multi_hot else self._hot(row, value, labels)
        if isinstance(value, list):
            if len(value) != 1:
                raise self.error(row, value, f"is not one label, as each row of {labels.source} has.")
            value = value[0]
        return (
            self._number(row, value, labels) if labels.problem_type == "regression" else self._id(row, value, labels)
        )

    def _number(self, row: int, value, labels: LabelSpec) -> float:
        if isinstance(value, bool | str):
            raise self.error(row, value, f"is not a number, as each of {labels.source} is.")
        return float(value)

    def _id(self, row: int, value, labels: LabelSpec) -> int:
        class_id = labels.label2id.get(class_name_of(value))
        if class_id is None:  # A checkpoint may know a name as it was written.
            class_id = labels.plain_label2id.get(class_name_of(value))
        if class_id is None:
            raise self.error(
                row,
                class_name_of(value),
                f"is not among the {labels.num_labels} classes of {labels.source}: {shortened(labels.names)}. "
                f"{labels.advice}",
            )
        return class_id

    def _hot(self, row: int, classes: list, labels: LabelSpec) -> list[float]:
        ids = {self._id(row, name, labels) for name in classes}
        return [float(index in ids) for index in range(labels.num_labels)]

    def _vector(self, row: int, vector: list, labels: LabelSpec) -> list[float]:
        if len(vector) != labels.num_labels or not is_multi_hot(vector):
            raise self.error(
                row, vector, f"is not a vector of {labels.num_labels} zeros and ones as in {labels.source}."
            )
        return [float(member) for member in vector]

    def error(self, row: int, label, problem: str) -> ValueError:
        return ValueError(
            f"Label {label!r} of row {row} of split '{self.split_name}', column '{self.name}', {problem}"
        )

    def no_labels(self) -> ValueError:
        return ValueError(
            f"No row of split '{self.split_name}' has a label in column '{self.name}': label some, name another "
            "column with --label_column, or another split."
        )


def plain_name(name: str) -> str:
    """The name of a class without what cannot be seen: white space and zero-width characters around it, the kind and
    number of spaces in it, and whether its accents are characters of their own (NFC)."""
    return unicodedata.normalize("NFC", " ".join(INVISIBLE_ENDS.sub("", name).split()))


def class_name_of(value) -> str:
    """The name of a class; a whole number is one, be it 2 or 2.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def is_multi_hot(vector: list) -> bool:
    return all(not isinstance(member, str) and member in (0, 1) for member in vector)


def shortened(values: Sequence, most: int = 10) -> str:
    return ", ".join(printable(str(value)) for value in values[:most]) + (", ..." if len(values) > most else "")


def is_missing(label, element) -> bool:
    if label is None or (isinstance(label, float) and not abs(label) <= LARGEST_SCORE):
        return True
    if isinstance(label, str):
        return not plain_name(label)
    return isinstance(element, ClassLabel) and label == -1  # Unlabelled test splits on the Hub hold -1.


def has_no_labels(split: Dataset | IterableDataset, column: str, labels: LabelSpec) -> bool:
    """Whether a split is unlabelled: without the column, or with none but missing labels and the class -1."""
    if column not in split.features:
        return True
    if isinstance(split, IterableDataset):
        return False
    element = element_of(split.features[column])
    cells = split.with_format(None)[column][:]
    is_unknown = "-1" not in labels.names and is_value(element, "int", "float") and labels.problem_type != "regression"
    return all(cell == -1 and is_unknown or not isinstance(cell, list) and is_missing(cell, element) for cell in cells)
