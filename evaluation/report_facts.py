# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a report tells, as `report.py` gathers it.

Shapes: N rows, M modalities.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig
from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.evaluation.markup import Markup
from mixture_of_transformers.finetune.record import Record
from mixture_of_transformers.subsets_mot import MOST_WITH_ALL_SUBSETS, subset_name
from mixture_of_transformers.training.evaluation import SubsetAnswers


@dataclass(frozen=True)
class Mistake:
    """
    A row that was answered wrongly.

    Args:
        row: its number in the split, from 0.
        said, truth: the answer and the label.
        degree: how sure or how far off the answer is.
        cells: what the row has, by the names of the cells.
        contributions: of each modality to the answer.
    """

    row: int
    said: str
    truth: str
    degree: str
    cells: Sequence[tuple[str, Markup]]
    contributions: Mapping[str, float]


@dataclass(frozen=True)
class Shares:
    """
    What each modality contributed to the answers to some rows.

    Args:
        modalities: their names (M).
        values: (N, M) Shapley values.
        present: (N, M) bool, which modalities each row has.
        is_right: (N,) bool, whether its answer is; None for numbers.
        unit: of the values.
    """

    modalities: tuple[str, ...]
    values: np.ndarray
    present: np.ndarray
    is_right: np.ndarray | None
    unit: str


@dataclass(frozen=True)
class Facts:
    """
    What a page tells.

    Args:
        record: which data the run had, and how its model came to be.
        config, architecture, parameters: of the model.
        evaluated: the name of the dataset of the results.
        results: what results.json holds; None without any.
        problem: why no rows could be read; None where they were.
        folder: of the checkpoint, for its samples.
        bad: split of the run -> row -> why it was left out; `unread`, the same of the rows that were to be evaluated.
        log: the history of the training; `best_step`, that of the weights that were kept as the best.
        command, date, machine, versions: how, when, where and with what the page was made.
        intervals: name of a row of the results -> its figure -> the ends of the interval.
        answers: of a model that classifies or regresses.
    """

    record: Record
    config: MoTConfig | MoTCausalConfig
    architecture: str
    parameters: int
    evaluated: str
    results: dict | None
    problem: str | None
    folder: Path
    bad: Mapping[str, Mapping[int, str]]
    log: Sequence[dict]
    best_step: int | None
    samples: Sequence[Mapping[str, str]]
    command: str
    date: str
    machine: str
    versions: Mapping[str, str]
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    answers: SubsetAnswers | None = None
    mistakes: Sequence[Mistake] = ()
    shares: Shares | None = None
    rows_per_second: float | None = None
    unread: Mapping[int, str] = field(default_factory=dict)

    @property
    def task(self) -> str:
        return self.record.data["task"]

    @property
    def has_one_class(self) -> bool:
        """Whether a row has one class among several."""
        return self.task == "classification" and self.config.problem_type != "multi_label_classification"

    @property
    def subsets(self) -> list[str]:
        """Those that any labelled row has all of, the largest last."""
        return [] if self.answers is None else [name for name in self.answers.subsets if len(self.answers.of(name)[1])]

    def called(self, name: str) -> str:
        """
        A subset of the modalities, or a search from one to another, as the page calls it: of more than four
        modalities all, or all but one, would be long names.
        """
        modalities = self.config.modalities
        if len(modalities) <= MOST_WITH_ALL_SUBSETS:
            return name
        shorter = {subset_name(m for m in modalities if m != other): f"all but {other}" for other in modalities}
        shorter[subset_name(modalities)] = "all modalities"
        return " -> ".join(shorter.get(part, part) for part in name.split("->"))
