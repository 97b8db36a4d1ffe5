# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a dataset's labels mean: classes, several classes at once, or scores; learned from the training split."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import datasets
from datasets import ClassLabel, IterableDataset, Value
from transformers.utils import logging

from .column_types_mot import element_of, is_list, is_value, kind_name

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class LabelSpec:
    """What a dataset's labels mean, learned from its training split.

    `problem_type` is transformers' name of it: "single_label_classification", "multi_label_classification" or
    "regression". `names` are the classes in the order of their ids, empty for regression.
    """

    problem_type: str
    names: tuple[str, ...] = ()

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
    def feature(self):
        """The type of a prepared `label` column: class ids, multi-hot vectors (num_labels,), or numbers."""
        if self.problem_type == "single_label_classification":
            return ClassLabel(names=list(self.names))
        if self.problem_type == "multi_label_classification":
            return datasets.List(Value("float32"), length=self.num_labels)
        return Value("float32")


def learn_stream_labels(stream: IterableDataset, column: str, split_name: str, problem_type: str | None) -> LabelSpec:
    kind = stream.features[column]
    is_known = problem_type == "regression" or isinstance(element_of(kind), ClassLabel) or is_value(kind, "float")
    values = [] if is_known else [row[column] for row in stream.select_columns(column)]
    return learn_labels(kind, readable_labels(kind, values, split_name), problem_type)


def readable_labels(kind, values: list, split_name: str) -> list:
    """Labels as strings, numbers or lists of those, with class ids replaced by their names; None for missing ones."""
    readable = [readable_label(value, element_of(kind)) for value in values]
    missing = [row for row, value in enumerate(readable) if value is None]
    if missing and len(missing) == len(values):
        raise ValueError(f"No row of split '{split_name}' has a label: label some, or name another label column.")
    if missing:
        logger.warning(
            f"{len(missing)} of {len(values)} rows of '{split_name}' have no label and do not count "
            f"(rows {shortened(missing)})."
        )
    return readable


def readable_label(value, element):
    members = value if isinstance(value, list) else [value]
    if any(_is_missing(member, element) for member in members):
        return None
    if isinstance(element, ClassLabel):
        members = [element.int2str(member) for member in members]
    return members if isinstance(value, list) else members[0]


def shortened(values: Sequence, most: int = 10) -> str:
    return ", ".join(map(str, values[:most])) + (", ..." if len(values) > most else "")


def _is_missing(label, kind) -> bool:
    if label is None or (isinstance(label, float) and not math.isfinite(label)):
        return True
    return isinstance(kind, ClassLabel) and label == -1  # what the Hub's unlabelled test splits hold


def learn_labels(kind, readable: list, problem_type: str | None) -> LabelSpec:
    readable = [label for label in readable if label is not None]
    element, several = element_of(kind), is_list(kind)
    numeric = is_value(element, "int", "uint", "float")
    if problem_type not in (None, "regression"):
        raise ValueError(f"`problem_type` may be None or 'regression', got '{problem_type}'.")
    if is_value(element, "float") or problem_type == "regression":
        if several or not numeric:
            raise ValueError(
                f"Regression needs one number for each row, got a label column of type {kind_name(kind)}."
            )
        return LabelSpec("regression")
    if isinstance(element, ClassLabel):
        names = element.names
    else:
        # Sorted before they become strings, so that class 10 comes after class 9.
        names = [str(value) for value in sorted({value for row in readable for value in (row if several else [row])})]
    if len(names) < 2 and not several:
        raise ValueError(f"A classification needs two classes or more, the training labels have {list(names)}.")
    return LabelSpec("multi_label_classification" if several else "single_label_classification", tuple(names))


def encode_labels(readable: list, labels: LabelSpec, split_name: str) -> list:
    return [encode_label(value, labels, row, split_name) for row, value in enumerate(readable)]


def encode_label(value, labels: LabelSpec, row: int, split_name: str):
    """A readable label as `LabelSpec.feature` stores it."""
    if value is None:
        return None
    if labels.problem_type == "regression":
        return float(value)
    class_ids, ids = labels.label2id, []
    for name in value if isinstance(value, list) else [value]:
        if str(name) not in class_ids:
            raise ValueError(
                f"Label '{name}' of row {row} of split '{split_name}' is not among the {labels.num_labels} "
                f"classes of the training split: {shortened(labels.names)}."
            )
        ids.append(class_ids[str(name)])
    return [float(index in ids) for index in range(labels.num_labels)] if isinstance(value, list) else ids[0]
