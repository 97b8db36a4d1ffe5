# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What happens to measurements on their way: readings of a series and values of a table that are missing, and noise.

A change of a series takes and gives {"array": (T, C) with NaN in gaps, ...}, one of a table a dict of a row's values.
Neither loses all that it has.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mixture_of_transformers.evaluation.corruption import Corruption
from mixture_of_transformers.table_columns_mot import plain


def dropout(series: dict, share: float, random: np.random.Generator) -> dict:
    """One stretch of this share of the samples, at a random moment, is a gap of all channels."""
    values = series["array"].copy()
    length = round(share * len(values))
    start = int(random.random() * (len(values) - length + 1))
    values[start : start + length] = np.nan
    return series if np.isnan(values).all() else series | {"array": values}


def white_noise(series: dict, ratio: float, random: np.random.Generator) -> dict:
    """Noise of all frequencies alike, the variance of each channel being so many dB above that of the noise in it."""
    values = series["array"]
    spread = np.ma.masked_invalid(values).std(axis=0).filled(0)
    return series | {"array": values + random.standard_normal(values.shape) * spread * 10 ** (-ratio / 20)}


def lost_values(record: Mapping[str, Any], share: float, random: np.random.Generator) -> dict[str, Any]:
    """This share of the values that the row has is left out, but never the last one."""
    filled = [column for column, value in record.items() if plain(value, column) is not None]
    number = min(round(share * len(filled)), len(filled) - 1)
    lost = {filled[place] for place in random.permutation(len(filled))[:number].tolist()}
    return {column: None if column in lost else value for column, value in record.items()}


SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
CORRUPTIONS_OF_SERIES = (
    Corruption("dropout", dropout, SHARES, "share"),
    Corruption("white_noise", white_noise, (20, 10, 5, 0, -5), "dB"),
)
CORRUPTIONS_OF_TABLES = (Corruption("lost_values", lost_values, SHARES, "share of the values"),)
