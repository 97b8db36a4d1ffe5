# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows of a batch as people give them: what inputs are called, and which cell of which input belongs to which row.

A `RowTable` knows the names of all inputs of a processor. What a person gives, a list for each input or a list of
documents, becomes for each modality the segments of every row.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from .cells_mot import Cell
from .decoding_mot import is_array
from .modalities_mot import MODALITIES
from .modality_mot import Modality

FILE_KEYS = ("bytes", "path", "array", "url")  # of a dict that is one cell, not a part of a document


@dataclass(frozen=True)
class Segment:
    """
    One cell of a row, or one of several of a modality that a row has.

    Args:
        argument: of the processor, which says in what form it is.
        name: what errors call it.
        place: the number of its part in a document; None elsewhere.
    """

    argument: str
    value: Any
    name: str
    place: int | None = None


class RowTable:
    """
    What the inputs of a processor are called.

    Args:
        kinds: name -> modality, raw, in the order of the joint sequence.
    """

    def __init__(self, kinds: Mapping[str, Modality]):
        self.kinds = dict(kinds)
        first = [modality.cells[0] for modality in kinds.values()]
        others = [cell for modality in kinds.values() for cell in modality.cells[1:]]
        # name in a row -> cell
        self.cells: dict[str, Cell] = {cell.name: cell for cell in first + others}
        self.modality_of_cell = {cell.name: modality for modality in kinds.values() for cell in modality.cells}
        # argument -> its cell and the modality of that
        self.raw = {cell.argument: (cell, self.modality_of_cell[cell.name]) for cell in self.cells.values()}
        self.ready = {modality.features_argument: modality for modality in kinds.values()}
        # What else people call an input, in the singular as a row has it; each of these can mean nothing else, but a
        # name that a user gave means what it names.
        synonyms = {synonym: cell.name for cell in self.cells.values() for synonym in cell.synonyms}
        self.synonyms = {name: meant for name, meant in synonyms.items() if name not in self.cells}
        # What is called otherwise in a call than in a row.
        renamed = {cell.name: cell.argument for cell in self.cells.values() if cell.argument != cell.name}
        self.call_synonyms = {name: renamed.get(meant, meant) for name, meant in self.synonyms.items()} | renamed

    @property
    def arguments(self) -> list[str]:
        """All that a call of the processor takes as inputs."""
        return [name for modality in self.kinds.values() for name in self.arguments_of(modality)]

    @staticmethod
    def arguments_of(modality: Modality) -> list[str]:
        """The arguments that take a modality: raw in each of its forms, and ready."""
        return [*(cell.argument for cell in modality.cells), modality.features_argument]

    def read_call(self, given: dict[str, Any]) -> dict[str, list[list[Segment]]]:
        """
        The segments of each modality, in a list for each row of the batch, empty where the row has none.

        Args:
            given: argument -> what was passed, a batch or a single input; None where nothing was.

        Returns:
            The modalities of which a row has something; {} if there is nothing at all.

        Raises:
            ValueError: naming the row, if it is empty or has two inputs of one kind; or if batch sizes differ.
        """
        for name, value in given.items():
            check_array(name, value)
        cells = {name: self.to_rows(name, value) for name, value in given.items() if value is not None}
        if not any(cells.values()):
            return {}
        rows = {
            name: [self.segments_of(name, value, f"{name}[{i}]") for i, value in enumerate(values)]
            for name, values in cells.items()
        }
        self.check_rows(rows)
        self.check_raw_or_ready({name for name, cells in rows.items() if any(cells)})
        return self.by_modality(list(rows.values()))

    def read_documents(self, documents: Any) -> dict[str, list[list[Segment]]]:
        """
        The same of documents, each a list of parts {name of an input: one or several cells} in their order. The place
        of a part is how many parts stand before it; what is None or blank is none.
        """
        documents = [documents] if is_document(documents) else documents
        if not isinstance(documents, Sequence) or isinstance(documents, (str, bytes)) or not documents:
            raise ValueError(
                f"`documents` is {documents!r:.100}: expected a list with a document for each row, which is a list of "
                'parts such as {"text": ...}.'
            )
        rows = []
        for i, document in enumerate(documents):
            if not isinstance(document, (list, tuple)):
                raise ValueError(
                    f"documents[{i}] has type {type(document).__name__}: expected a list of parts, dicts with one key."
                )
            parts = []
            for j, part in enumerate(document):
                if segments := self.read_part(part, f"documents[{i}][{j}]", place=len(parts)):
                    parts.append(segments)
            if not parts:
                raise ValueError(f"Row {i} is empty: documents[{i}] has no part that is more than None or blank.")
            rows.append([segment for segments in parts for segment in segments])
        self.check_raw_or_ready({segment.argument for row in rows for segment in row})
        return self.by_modality([rows])

    def read_part(self, part: Any, name: str, place: int) -> list[Segment]:
        """The segments of one part of a document."""
        if not isinstance(part, Mapping) or len(part) != 1:
            raise ValueError(f"{name} is {part!r:.100}: expected a dict with one key, an input such as `text`.")
        ((key, value),) = part.items()
        argument = self.call_synonyms.get(key, key)
        if argument not in self.arguments:
            raise unknown_name(str(key), [*self.cells, *self.ready], f"part {name}:")
        check_array(name, value)
        return self.segments_of(argument, value, name, place)

    def by_modality(self, inputs: list[list[list[Segment]]]) -> dict[str, list[list[Segment]]]:
        """Rows of segments of several inputs, by the modality that each is of."""
        found = {}
        for name, modality in self.kinds.items():
            own = self.arguments_of(modality)
            rows = [[s for cells in row for s in cells if s.argument in own] for row in zip(*inputs, strict=True)]
            if any(rows):
                found[name] = rows
        return found

    def to_rows(self, name: str, value: Any) -> list:
        """One cell for each row: a batch is split, a single input becomes a batch of one."""
        cell, modality = self.raw.get(name, (None, None))  # none for ready features
        if is_array(value):
            return list(value) if value.ndim == (cell.dimensions if cell else 2) + 1 else [value]
        is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview))
        if not is_list or (cell and modality.is_one(cell, value)):
            return [value]
        cells = [value[i] for i in range(len(value))]  # lists, tuples and columns of `datasets`
        return modality.split(cell, cells) if cell else cells

    def segments_of(self, argument: str, value: Any, name: str, place: int | None = None) -> list[Segment]:
        """The segments of a cell, without those that are None or blank."""
        if value is None:
            return []
        cell, modality = self.raw.get(argument, (None, None))
        values = modality.segments_of(cell, value) if cell else segments_of_features(value)
        names = [name] if len(values) == 1 else [f"{name}[{i}]" for i in range(len(values))]
        for inner_name, inner in zip(names, values):
            check_array(inner_name, inner)
        return [
            Segment(argument, inner, inner_name, place)
            for inner_name, inner in zip(names, values)
            if inner is not None and not is_blank(inner)
        ]

    def check_rows(self, rows: dict[str, list[list[Segment]]]) -> None:
        """Every modality has the same number of rows, every row has something, and nothing is given twice."""
        sizes = {name: len(values) for name, values in rows.items()}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
            raise ValueError(f"Batch sizes differ: {listed}. A row that lacks a modality is None in its list.")
        for i in range(max(sizes.values())):
            present = {name for name, values in rows.items() if values[i]}
            if not present:
                listed = f"{', '.join(rows)} are all" if len(rows) > 1 else f"{next(iter(rows))} is"
                raise ValueError(f"Row {i} is empty: {listed} None or blank there.")
            for modality in self.kinds.values():
                forms = [cell.argument for cell in modality.cells if cell.argument in present]
                if len(forms) > 1:
                    raise ValueError(f"Row {i} has both {' and '.join(forms)}: give at most one of them.")

    def check_raw_or_ready(self, arguments: Collection[str]) -> None:
        """Raise a ValueError if an input is given both raw and as ready features."""
        for raw, (_, modality) in self.raw.items():
            if raw in arguments and modality.features_argument in arguments:
                raise ValueError(f"Got both {raw} and {modality.features_argument}: a batch holds one of them.")


HISTORIC = RowTable(MODALITIES)


def unknown_name(name: str, known: Collection[str], what: str) -> ValueError:
    """The error for a name that nobody knows, with the nearest that somebody does."""
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"there are {', '.join(known)}."
    return ValueError(f"Unknown {what} `{name}`: {hint}")


def resolve_synonyms(given: dict[str, Any], names: dict[str, str], row: str = "") -> dict[str, Any]:
    """`given` by the names that are meant; `names` leads from each synonym to its own. Errors begin with `row`."""
    resolved = {}
    for name, value in given.items():
        meant = names.get(name, name)
        if value is not None and resolved.get(meant) is not None:
            other = next(other for other in given if names.get(other, other) == meant)
            raise ValueError(f"{row}Got both `{other}` and `{name}`, which mean the same: give one of them.")
        if value is not None or meant not in resolved:
            resolved[meant] = value
    return resolved


def is_document(value: Any) -> bool:
    """Whether it is a list of dicts with one key, none of which is that of a file."""
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(part, Mapping) and len(part) == 1 and not part.keys() & {*FILE_KEYS} for part in value)
    )


def are_documents(value: Any) -> bool:
    """Whether it is a document or a list of them."""
    return is_document(value) or (isinstance(value, (list, tuple)) and len(value) > 0 and all(map(is_document, value)))


def segments_of_features(value: Any) -> list:
    """Ready features (L, F) of one segment, or a list of several."""
    is_list = isinstance(value, (list, tuple)) and len(value) > 0
    return list(value) if is_list and dimensions(value[0]) == 2 else [value]


def dimensions(value: Any) -> int:
    """Those of an array or of nested lists, whose first members tell."""
    if is_array(value):
        return value.ndim
    return 1 + (dimensions(value[0]) if value else 0) if isinstance(value, (list, tuple)) else 0


@contextmanager
def naming(segments: Sequence[Segment]) -> Iterator[None]:
    """While segments are read as rows of their own: errors say where in the batch they stand."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        names = {f"{segment.argument}[{i}]": segment.name for i, segment in enumerate(segments)}
        if error.args and isinstance(error.args[0], str):
            found = re.sub(r"\b\w+\[\d+\]", lambda match: names.get(match[0], match[0]), error.args[0])
            error.args = (found, *error.args[1:])
        raise


def is_blank(value: Any) -> bool:
    """Whether an input is a string of white space alone, which counts as none, as an empty cell of a table does."""
    return isinstance(value, str) and not value.strip()


def check_array(name: str, value: Any) -> None:
    """Raise a ValueError for an array whose values cannot be had or are no numbers."""
    if not is_array(value):
        return
    is_tensor = isinstance(value, torch.Tensor)
    if is_tensor and (value.is_meta or value.is_nested or value.layout != torch.strided):
        raise ValueError(
            f"{name} is a tensor without values of its own ({value.device}, {value.layout}): expected a dense one."
        )
    if value.is_complex() if is_tensor else value.dtype.kind not in "biufOUS":
        raise ValueError(f"{name} is an array of type {value.dtype}: expected real numbers.")
