# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The cells of modalities of a user's, made of one column or several, in the one form in which rows hold them.

A table is a dict of its columns' values, a series lists of numbers, and of text and media several columns, or one of
lists, are a list: segments of one row. What a row lacks is None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import datasets
from datasets import ClassLabel, Dataset, Features, Value

from mixture_of_transformers.data.column_contents import is_gap, series_of
from mixture_of_transformers.data.column_types import (
    MEDIA_ROLES,
    element_of,
    is_files,
    is_series,
    stored_cell,
    stored_type,
    untyped,
)
from mixture_of_transformers.data.extra_columns import SERIES, TABLE, Extra
from mixture_of_transformers.modalities_mot import CELLS

UNREADABLE: list[list] = [[]]  # stands for what is written as no series, or as several that do not fit together


@dataclass(frozen=True)
class ExtraCells:
    """
    How the cells of one modality are made of those of its columns.

    Args:
        kind: of the modality.
        columns: their names.
        types: what `datasets` says that each holds.
    """

    kind: str
    columns: tuple[str, ...]
    types: tuple

    @classmethod
    def of(cls, extra: Extra, features: Mapping) -> "ExtraCells":
        kind, columns = extra
        return cls(kind, columns, tuple(features[column] for column in columns))

    @property
    def is_media(self) -> bool:
        return self.kind in MEDIA_ROLES

    @property
    def are_segments(self) -> bool:
        """Whether a row has a list: of what several columns hold, or of what one holds that has lists itself."""
        return self.kind in CELLS and (len(self.columns) > 1 or any(map(is_files, self.types)))

    @property
    def are_as_stored(self) -> bool:
        """Whether the one column holds the cells as they are, or `stored_cell` makes them."""
        if len(self.columns) > 1 or self.kind == TABLE or self.are_segments:
            return False
        return self.kind != SERIES or is_series(self.types[0])

    @property
    def feature(self):
        """The type of the cells."""
        if self.kind == SERIES and not self.are_as_stored:
            return datasets.List(datasets.List(Value("float64")))
        if self.kind == SERIES:
            return self.types[0]
        stored = [self.stored_type(kind) for kind in self.types]
        if self.kind in CELLS:
            return datasets.List(stored[0]) if self.are_segments else stored[0]
        return dict(zip(self.columns, stored)) if self.kind == TABLE or len(stored) > 1 else stored[0]

    def stored_type(self, kind):
        if isinstance(kind, ClassLabel):  # of a table: the names say what they mean
            return Value("string")
        return stored_type(self.kind, element_of(kind) if is_files(kind) else kind) if self.kind in CELLS else kind

    def cell(self, cells: Sequence):
        """The cell of a row of which these are the cells of the columns."""
        if self.kind == SERIES:
            return self.series(cells)
        if self.kind in CELLS:
            stored = [cell for kind, cell in zip(self.types, cells) for cell in self.segments(kind, cell)]
            present = [cell for cell in stored if not is_gap(cell)]
            return (present or None) if self.are_segments else next(iter(present), None)
        if self.kind != TABLE and len(cells) == 1:
            return cells[0]
        named = [name_of_class(kind, cell) for kind, cell in zip(self.types, cells)]
        values = {column: None if is_gap(cell) else cell for column, cell in zip(self.columns, named)}
        return values if any(value is not None for value in values.values()) else None

    def segments(self, kind, cell) -> list:
        """What a column of text or a medium holds of a row: one cell, or each of a list."""
        if is_files(kind):
            return [stored_cell(self.kind, kind.feature, part) for part in cell or ()]
        return [stored_cell(self.kind, kind, cell)]

    def series(self, cells: Sequence) -> list | None:
        """A series as it is, or several columns of numbers of the same moments as its channels, an empty one a gap."""
        parts = [read_series(cell) for cell in cells]
        present = [part for part in parts if part is not None]
        if len(cells) == 1 or not present:
            return next(iter(present), None)
        if len({len(part) for part in present}) > 1:
            return UNREADABLE
        moments = range(len(present[0]))
        parts = [[None] * len(moments) if part is None else part for part in parts]
        return [[value for part in parts for value in channels_of(part[moment])] for moment in moments]


def read_series(cell) -> list | None:
    if is_gap(cell):
        return None
    if isinstance(cell, str):
        cell = series_of(cell)
        return UNREADABLE if cell is None else cell or None
    return cell or None


def channels_of(moment) -> list:
    return moment if isinstance(moment, list) else [moment]


def name_of_class(kind, cell):
    if isinstance(kind, ClassLabel) and cell is not None:
        return kind.int2str(cell) if cell >= 0 else None
    return cell


def with_made_cells(split: Dataset, extras: Mapping[str, ExtraCells], places: Mapping[str, str]) -> Dataset:
    """
    A split with the cells of modalities that are made of several columns, or of one that has another form, in place of
    these columns.

    Args:
        places: column of the dataset -> what it is called in this split.
    """
    made = {name: cells for name, cells in extras.items() if not cells.are_as_stored}
    if not made:
        return split
    # However files are typed, they are stored alike, and the type Audio asks for torchcodec even to pass a file on.
    kinds = {column: untyped(kind) for column, kind in split.features.items()}
    used = [places[column] for cells in made.values() for column in cells.columns]
    kept = {column: kind for column, kind in kinds.items() if column not in used}
    split = split.cast(Features(kinds)).map(
        lambda columns: {name: cells_of(columns, cells, places) for name, cells in made.items()},
        batched=True,
        batch_size=100 if any(cells.is_media for cells in made.values()) else 1000,
        remove_columns=used,
        features=Features(kept | {name: untyped(cells.feature) for name, cells in made.items()}),
        desc=f"Reading {', '.join(made)}",
    )
    for name, cells in made.items():
        if split.features[name] != cells.feature:
            split = split.cast_column(name, cells.feature)
    return split


def cells_of(columns: Mapping[str, list], cells: ExtraCells, places: Mapping[str, str]) -> list:
    return [cells.cell(row) for row in zip(*(columns[places[column]] for column in cells.columns))]


def is_absent_cell(cell) -> bool:
    """Whether a row lacks a modality of a user's: its cell is empty, or a list of nothing."""
    return is_gap(cell) or isinstance(cell, list) and not cell
