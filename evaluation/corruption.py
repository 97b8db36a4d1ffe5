# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""One way in which a cell of a row suffers, at several severities: what the corruptions of sound, pictures and text
have in common."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Corruption:
    """
    A way in which a cell suffers.

    Args:
        name: what it is called in options and results.
        change: (cell, value, random) -> the cell as it then is; `random` is all of its chance. With `needs_others` it
            takes the cells of other rows as a fourth argument.
        values: from the mildest to the worst, in the unit; severity 1 is the first.
        unit: of the values; empty where there is one way alone.
        needs_codec: whether PyAV has to encode.
        needs_others: whether other rows take part in what the cell suffers.
    """

    name: str
    change: Callable[..., Any]
    values: tuple[float, ...]
    unit: str = ""
    needs_codec: bool = False
    needs_others: bool = False

    def apply(self, cell: Any, severity: int, seed: int = 0, row: int = 0, others: Sequence[Any] = ()) -> Any:
        """
        The cell at a severity, 0 being the cell as it is. The seed, the row's number and the corruption decide what is
        random, so that a row is hit alike at every severity.

        Args:
            others: the cells of the rows beside this one, of which a corruption that needs them takes some.

        Raises:
            ValueError: there is no such severity.
        """
        if not 0 <= severity <= len(self.values):
            raise ValueError(f"The severity of {self.name} is {severity}; expected 0 to {len(self.values)}.")
        if severity == 0:
            return cell
        random = np.random.default_rng([seed, row, zlib.crc32(self.name.encode())])
        further = (others,) if self.needs_others else ()
        return self.change(cell, self.values[severity - 1], random, *further)
