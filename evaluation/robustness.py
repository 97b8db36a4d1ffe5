# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Measure what a classifier is worth when things go wrong.

    mot robustness outputs/clips
    mot robustness outputs/clips --dataset_name user/others --split test --corruptions jpeg white_noise

Accuracy and expected calibration error for every subset of the modalities: as the data are, with modalities missing at
rates alike for all and unequal between them, and with sounds, pictures, videos, texts, series and tables that have
suffered. The data are read as `mot evaluate` reads them. robustness.json, a page (robustness.md) and its curves go
into the output folder.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from datasets.utils import tqdm

from mixture_of_transformers.cells_mot import Cell
from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.secrets import place_name
from mixture_of_transformers.decoding_container_mot import has_av
from mixture_of_transformers.decoding_image_mot import load_image, to_rgb
from mixture_of_transformers.evaluation import (
    corruptions_audio,
    corruptions_image,
    corruptions_text,
    corruptions_values,
)
from mixture_of_transformers.evaluation.calibration import reliability
from mixture_of_transformers.evaluation.corruption import Corruption
from mixture_of_transformers.evaluation.intervals import bootstrap_interval
from mixture_of_transformers.evaluation.missing import columns_by_modality, draw_absent, present_modalities
from mixture_of_transformers.evaluation.robustness_page import PAGE, write_page
from mixture_of_transformers.finetune.batches import encode_split
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.finetune.results import split_to_evaluate
from mixture_of_transformers.finetune.rows import reading_of
from mixture_of_transformers.modalities_mot import (
    AudioModality,
    ImageModality,
    SeriesModality,
    TableModality,
    TextModality,
)
from mixture_of_transformers.modality_image_mot import keeps_values
from mixture_of_transformers.modality_mot import Modality, RowReading
from mixture_of_transformers.processing_mot import MoTProcessor
from mixture_of_transformers.serving.evaluate import EMBEDDED, Opened, RowsArguments, open_checkpoint, parser_of
from mixture_of_transformers.subsets_mot import bounded_subsets, subset_name
from mixture_of_transformers.training.continuation import labels_of
from mixture_of_transformers.training.encoded import kinds_of
from mixture_of_transformers.training.evaluation import answer_subsets
from mixture_of_transformers.training.trainer import MoTTrainer

OF_KIND: dict[type[Modality], tuple[Corruption, ...]] = {
    TextModality: corruptions_text.CORRUPTIONS,
    ImageModality: corruptions_image.CORRUPTIONS,
    AudioModality: corruptions_audio.CORRUPTIONS,
    SeriesModality: corruptions_values.CORRUPTIONS_OF_SERIES,
    TableModality: corruptions_values.CORRUPTIONS_OF_TABLES,
}
NAMES = tuple(dict.fromkeys(corruption.name for several in OF_KIND.values() for corruption in several))
NONE = "none"  # of the option that names corruptions
RATES = tuple(round(0.1 * step, 1) for step in range(1, 10))
RARE, COMMON = 0.9, 0.1  # the unequal rates: of one modality, and of each other


@dataclass
class RobustnessArguments(RowsArguments):
    """What to measure."""

    _argument_group_name = "the measurement"

    corruptions: list[str] | None = field(
        default=None,
        metadata={
            "help": f"What cells suffer, each of its modality: some of {', '.join(NAMES)}; all of them if not given, "
            "'none' for none."
        },
    )


def robustness(arguments: list[str]) -> dict:
    """Measure a checkpoint and write robustness.json, its page and its curves; returns what was measured."""
    opened = open_checkpoint(parser_of(RobustnessArguments, "mot robustness", "CHECKPOINT", __doc__), arguments)
    check_task(opened)
    check_corruptions(opened.options.corruptions)
    bench, split = bench_of(opened)
    trainer, names = opened.trainer, opened.options.corruptions
    found = {
        "checkpoint": opened.record.run.name,
        "dataset": place_name(opened.data.dataset_name or EMBEDDED),
        "split": split,
        "rows": len(bench.rows),
        "seed": bench.seed,
        "modalities": list(bench.modalities),
    }
    found |= bench.measure(corruptions_of(trainer.model.config, trainer.processing_class, bench.rows, names))
    if trainer.is_world_process_zero():
        write_page(found, opened.out)
        print(f"\nThe figures and the curves: {opened.out / PAGE}")
    return found


def bench_of(opened: Opened) -> tuple["Bench", str]:
    """What measures a checkpoint on the rows of one split, and the name of the split."""
    trainer, data = opened.trainer, opened.data
    splits, encode = opened.rows()
    split = split_to_evaluate(splits, opened.record.data)
    config, processor = trainer.model.config, trainer.processing_class
    reading = RowReading(processor, config.modalities, reading_of(data).allow_urls, max_seconds=data.max_audio_seconds)
    # Rows that have suffered are encoded once: nobody finds them again.
    return Bench(
        trainer, splits[split], encode(split), replace(data, cache_gigabytes=0), reading, opened.options.seed
    ), split


# ---------------------------------------------------------------------------------------------------------------------
# What can be measured
# ---------------------------------------------------------------------------------------------------------------------


def check_task(opened: Opened) -> None:
    """Raise a ValueError where the checkpoint does not choose one class among several."""
    task = opened.data.task
    kind = labels_of(opened.trainer.model.config).problem_type if task == "classification" else task
    if kind != "single_label_classification":
        raise ValueError(
            "mot robustness measures the accuracy and the calibration of one class among several, and "
            f"{opened.folder} is for {kind.replace('_', ' ')}: `mot evaluate` measures it."
        )


def check_corruptions(names: Sequence[str] | None) -> None:
    """Raise an error for a name that no corruption has, or for one that needs a package that is not installed."""
    if names == [NONE]:
        return
    if unknown := [name for name in names or () if name not in NAMES]:
        raise ValueError(f"--corruptions has {unknown[0]!r}; expected some of {', '.join(NAMES)}, or 'none' alone.")
    coded = [c.name for several in OF_KIND.values() for c in several if c.needs_codec]
    if not has_av() and (wanted := [name for name in coded if names is None or name in names]):
        raise ImportError(
            f"{' and '.join(wanted)} need PyAV, which encodes: `pip install 'mixture-of-transformers[video]'`, or "
            "name other --corruptions."
        )


def corruptions_of(
    config: MoTConfig, processor: MoTProcessor, rows: Dataset, names: Sequence[str] | None
) -> dict[str, tuple[Corruption, ...]]:
    """
    Modality -> what its cells suffer, of those that are named, or of all.

    Pictures that are values of a scale of their own, and what arrives as ready features, suffer nothing here, nor do
    videos of a model that asks when their frames are, which frames that have suffered do not say, and pictures beside
    them.
    """
    found, kinds = {}, kinds_of(processor)
    for m in config.modalities:
        kind = kinds[m]
        is_raw = config.modality_config(m).takes_raw_input and bool(columns := columns_of(kind, rows))
        has_colours = not (isinstance(kind, ImageModality) and keeps_values(kind.settings_in(processor)))
        is_timed = processor.return_times and any(cell.medium == "video" for cell in columns.values())
        several = OF_KIND.get(type(kind), ()) if is_raw and has_colours and not is_timed else ()
        if chosen := tuple(c for c in several if names is None or c.name in names):
            found[m] = chosen
    return found


def columns_of(kind: Modality, rows: Dataset) -> dict[str, Cell]:
    """The columns of rows that hold a modality, each with its form: of pictures the stills and the videos."""
    return {cell.name: cell for cell in kind.cells if cell.name in rows.column_names}


# ---------------------------------------------------------------------------------------------------------------------
# The measurement
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """
    Measures a classifier on the same rows in many states.

    Args:
        trainer: computes its answers.
        rows: prepared; `encoded`, the same as tensors.
        data: how rows are encoded, and that they are not kept.
        reading: how cells are decoded.
        seed: of what is drawn.
    """

    trainer: MoTTrainer
    rows: Dataset
    encoded: torch.utils.data.Dataset
    data: DataArguments
    reading: RowReading
    seed: int

    def __post_init__(self):
        columns, present = columns_by_modality(self.rows), present_modalities(self.rows)
        nowhere = np.zeros(len(self.rows), dtype=bool)
        of_modality = dict(zip(columns, present.T))
        self.modalities = self.trainer.model.config.modalities
        self.kinds = kinds_of(self.trainer.processing_class)
        # (N, M) bool, which modalities each row has, in the model's order
        self.present = np.stack([of_modality.get(m, nowhere) for m in self.modalities], axis=1)

    def measure(self, corruptions: Mapping[str, Sequence[Corruption]]) -> dict:
        """What the page shows, but for what was measured: see `robustness_page.py`."""
        self.check_others(corruptions)
        answers = answer_subsets(self.trainer, self.encoded)
        found = {"as_is": {subset: numbers(*answers.of(subset), interval=True) for subset in answers.subsets}}
        if len(self.modalities) > 1:
            found["missing"] = self.missing()
        found["corruptions"] = {m: self.suffering(m, several) for m, several in corruptions.items()}
        return found

    def suffering(self, modality: str, corruptions: Sequence[Corruption]) -> dict[str, dict]:
        """Of each corruption, the numbers at every severity of the subsets that have the modality."""
        subsets = [subset_name(s) for s in bounded_subsets(self.modalities) if modality in s]
        found: dict[str, dict] = {c.name: {"unit": c.unit, "severities": []} for c in corruptions}
        steps = [(c, severity) for c in corruptions for severity in range(1, len(c.values) + 1)]
        for corruption, severity in tqdm(steps, desc=f"Changing '{modality}'"):
            answers = answer_subsets(self.trainer, self.corrupted(modality, corruption, severity))
            at_severity = {subset: numbers(*answers.of(subset)) for subset in subsets}
            found[corruption.name]["severities"].append(
                {"value": corruption.values[severity - 1], "subsets": at_severity}
            )
        return found

    # Missing modalities

    def missing(self) -> dict:
        """Rows as they are at each rate, and how far it matters which modality is the rare one."""
        steps = tqdm(RATES, desc="Taking modalities away")
        alike = [{"rate": rate} | self.at_rates(dict.fromkeys(self.modalities, rate)) for rate in steps]
        unequal = []
        for rare in self.modalities:
            rates = dict.fromkeys(self.modalities, COMMON) | {rare: RARE}
            unequal.append({"rare": rare, "rates": rates} | self.at_rates(rates))
        accuracies = [found["accuracy"] for found in unequal]
        return {"alike": alike, "unequal": unequal, "spread": max(accuracies) - min(accuracies)}

    def at_rates(self, rates: dict[str, float]) -> dict:
        """The numbers of rows from which modalities are taken, and the share of rows that then lack each."""
        absent = draw_absent(self.present, rates, self.seed)
        answers = answer_subsets(self.trainer, self.without(absent))
        rows, lost = answers.labelled(), absent | ~self.present
        shares = dict(zip(self.modalities, lost[rows].mean(axis=0).tolist()))
        # The last subset is all that a row has.
        return {"absent": shares} | numbers(answers.logits[rows, -1], answers.labels[rows], interval=True)

    def without(self, absent: np.ndarray) -> "ChangedRows":
        """The encoded rows without modalities (N, M), which is what encodes rows without their cells."""
        names = [self.kinds[m].names.of_row for m in self.modalities]

        def change(index: int, row: dict) -> dict:
            lost = {name for of_row, is_lost in zip(names, absent[index]) if is_lost for name in of_row}
            return {name: value for name, value in row.items() if name not in lost}

        return ChangedRows(self.encoded, change)

    # Corruptions

    def check_others(self, corruptions: Mapping[str, Sequence[Corruption]]) -> None:
        """Raise a ValueError where a corruption needs other rows, and there are none that have the modality."""
        for m, number in zip(self.modalities, self.present.sum(axis=0).tolist()):
            needing = [c.name for c in corruptions.get(m, ()) if c.needs_others]
            if needing and number < 2:
                raise ValueError(
                    f"{needing[0]} is made of the {m} of other rows, and {number} of these rows has any; expected two "
                    "or more. Name other --corruptions."
                )

    def corrupted(self, modality: str, corruption: Corruption, severity: int) -> "ChangedRows":
        """The encoded rows with the cells of one modality at a severity; only these are encoded again."""
        kind = self.kinds[modality]
        names, has = kind.names.of_row, self.present[:, self.modalities.index(modality)]
        cells = CorruptedCells(self.rows, kind, self.reading, corruption, severity, self.seed)
        processor, config = self.trainer.processing_class, self.trainer.model.config
        encoded = encode_split(modality, cells, processor, config, self.data, num_proc=0)

        def change(index: int, row: dict) -> dict:
            if not has[index]:
                return row
            others = {name: value for name, value in row.items() if name not in names}
            return others | {name: value for name, value in encoded[index].items() if name in names}

        return ChangedRows(self.encoded, change)


class ChangedRows(torch.utils.data.Dataset):
    """Encoded rows after `change(index, row)`."""

    def __init__(self, rows: torch.utils.data.Dataset, change: Callable[[int, dict], dict]):
        self.rows, self.change = rows, change

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        return self.change(index, self.rows[index])


class CorruptedCells(torch.utils.data.Dataset):
    """
    Rows of one modality whose cells have suffered.

    Args:
        rows: of which the columns of the modality are read alone.
        severity, seed: as of `Corruption.apply`.
    """

    def __init__(
        self,
        rows: Dataset,
        kind: Modality,
        reading: RowReading,
        corruption: Corruption,
        severity: int,
        seed: int,
    ):
        self.columns = columns_of(kind, rows)
        self.rows, self.kind, self.reading = rows.select_columns(list(self.columns)), kind, reading
        self.corruption, self.severity, self.seed = corruption, severity, seed
        self.filled = np.flatnonzero(present_modalities(self.rows)[:, 0])  # the numbers of the rows that have a cell

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        others = OtherCells(self, index)
        suffer = partial(self.corruption.apply, severity=self.severity, seed=self.seed, row=index, others=others)
        found = {}
        for column, value in self.rows[index].items():
            if value is not None:
                # All frames of a video are hit alike, as they are by a camera that is turned or a lens that is dirty.
                changed = [
                    [suffer(frame) for frame in cell] if isinstance(cell, list) else suffer(cell)
                    for cell in self.decoded(index, column, value)
                ]
                found[column] = changed if isinstance(value, list) else changed[0]
        return found

    def decoded(self, index: int, column: str, value: Any) -> Iterator[Any]:
        """The segments of a row's cell, decoded one by one."""
        cell, reading = self.columns[column], replace(self.reading, name=f"row {index}: ")
        return (decoded(self.kind, cell, segment, reading) for segment in self.kind.segments_of(cell, value))


class OtherCells(Sequence):
    """Of every row but one that has a cell, the first segment, decoded when it is asked for."""

    def __init__(self, cells: CorruptedCells, row: int):
        self.cells, self.numbers = cells, cells.filled[cells.filled != row]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place):
        row = int(self.numbers[place])
        column, value = next((c, v) for c, v in self.cells.rows[row].items() if v is not None)
        return next(self.cells.decoded(row, column, value))


def decoded(kind: Modality, cell: Cell, segment: Any, reading: RowReading) -> Any:
    """
    One segment of a cell, decoded; a picture in mode L where it has no colours, else in RGB; a video as the list of
    the frames that the model gets.
    """
    if not isinstance(kind, ImageModality) or cell.medium == "video":
        return kind.decode_cell(cell, segment, reading)
    picture = load_image(segment, f"{reading.name}{cell.name}", convert_rgb=False, **reading.access)
    return picture if picture.mode == "L" and "transparency" not in picture.info else to_rgb(picture)


def numbers(logits: np.ndarray, labels: np.ndarray, interval: bool = False) -> dict:
    """
    The accuracy and the expected calibration error of rows that have labels, and how many these are.

    Args:
        logits, labels: (n, C) and (n,).
        interval: whether to add where the accuracy of other rows of the same kind lies, at 95 %.
    """
    if not len(labels):
        return {"rows": 0}
    right = logits.argmax(axis=1) == labels
    found: dict[str, Any] = {
        "accuracy": float(right.mean()),
        "expected_calibration_error": reliability(logits, labels).expected_calibration_error,
        "rows": len(labels),
    }
    if interval:
        found["accuracy_interval"] = list(bootstrap_interval(lambda rows: right[rows].mean(), len(right)))
    return found
