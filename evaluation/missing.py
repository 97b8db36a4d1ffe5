# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which modalities rows lose: at a rate alike for all or of each its own, and never the last one of a row.

The protocol of missing modalities follows MissBench (arXiv 2603.09874), which compares equal with unequal rates.
Shapes: N rows, M modalities.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetInfo

from mixture_of_transformers.modalities_mot import MODALITY_OF_CELL

LABEL = "label"
ROWS_AT_ONCE = 1000


def take_away(rows: Dataset, rates: Mapping[str, float] | float, seed: int = 0) -> Dataset:
    """
    The same rows, of which some lack a modality that they had: each that a row has is drawn with the rate of that
    modality, and a row of which all are drawn keeps the one with the lowest rate, of those at the same rate one at
    random. So no rate takes more than M - 1 of M modalities: of three at 0.9 alike, 66 % of the cells are lost.

    What a row loses depends on the seed and its number alone, and at a rate alike for all, what it loses at a low rate
    it loses at a higher one too. Other columns, such as labels, stay as they are, and no medium is decoded.

    Args:
        rows: with the columns that `prepare_split` gives. A modality of several columns, as images and videos are one,
            loses them together.
        rates: from 0 to 1, for all modalities alike, or for each by its name, 0 for those that are not named.
        seed: the same gives the same rows.

    Raises:
        ValueError: a rate is no number from 0 to 1, or of a modality that the rows do not have.
    """
    columns = columns_by_modality(rows)
    absent = draw_absent(present_modalities(rows), rates_of(rates, tuple(columns)), seed)
    lost = {column: absent[:, place] for place, names in enumerate(columns.values()) for column in names}
    tables, start = [], 0
    for table in rows.with_format("arrow").iter(ROWS_AT_ONCE):
        for column, is_lost in lost.items():
            # What is taken from no place is None, of any type.
            places = pa.array(np.arange(len(table)), mask=is_lost[start : start + len(table)])
            table = table.set_column(table.column_names.index(column), column, table[column].take(places))
        tables.append(table)
        start += len(table)
    if not tables:
        return rows
    return Dataset(pa.concat_tables(tables), info=DatasetInfo(features=rows.features), split=rows.split)


def draw_absent(present: np.ndarray, rates: Mapping[str, float], seed: int) -> np.ndarray:
    """
    Which modalities rows lose, by the rule of `take_away`.

    Args:
        present: (N, M) bool, what each row has, in the order of `rates`.
        rates: modality -> rate.

    Returns:
        (N, M) bool.
    """
    chances = np.array(list(rates.values()), dtype=float)
    drawn = np.random.default_rng(seed).random(present.shape)
    absent = present & (drawn < chances)
    # Of the lowest rate the highest number stays, which is the last to be drawn where the rate rises.
    order = np.unique(chances, return_inverse=True)[1]  # 0 for the lowest rate
    stays = np.where(present, drawn - order, -np.inf).argmax(axis=1)
    is_empty = (absent == present).all(axis=1)
    absent[is_empty, stays[is_empty]] = False
    return absent


def rates_of(rates: Mapping[str, float] | float, modalities: tuple[str, ...]) -> dict[str, float]:
    """Every modality's rate, of one for all or of one for each that is named; a ValueError for what is no rate."""
    named = dict(rates) if isinstance(rates, Mapping) else dict.fromkeys(modalities, rates)
    for name, rate in named.items():
        if name not in modalities:
            raise ValueError(f"`rates` has {name!r}; expected modalities of the rows, {', '.join(modalities)}.")
        if not 0 <= rate <= 1:
            raise ValueError(f"The rate of {name} is {rate!r}; expected a share from 0 to 1.")
    return {name: float(named.get(name, 0)) for name in modalities}


def columns_by_modality(rows: Dataset) -> dict[str, list[str]]:
    """Modality -> the columns of prepared rows that hold it, in their order."""
    found: dict[str, list[str]] = {}
    for column in rows.column_names:
        if column != LABEL:
            found.setdefault(MODALITY_OF_CELL.get(column, column), []).append(column)
    return found


def present_modalities(rows: Dataset) -> np.ndarray:
    """(N, M) bool, which modalities each prepared row has, in the order of `columns_by_modality`."""
    columns = columns_by_modality(rows)
    found: list[np.ndarray] = [np.zeros((0, len(columns)), dtype=bool)]
    for table in rows.with_format("arrow").iter(ROWS_AT_ONCE):
        has = [np.any([has_cells(table[column]) for column in names], axis=0) for names in columns.values()]
        found.append(np.stack(has, axis=1))
    return np.concatenate(found)


def has_cells(column: pa.ChunkedArray) -> np.ndarray:
    """(N,) bool, whether each cell is more than None, white space or a list of nothing."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        found = pc.not_equal(pc.utf8_trim_whitespace(column), "")
    elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        found = pc.greater(pc.list_value_length(column), 0)
    else:
        found = column.is_valid()
    return pc.fill_null(found, False).to_numpy()
