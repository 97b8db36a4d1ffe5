# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Documents as people give them, a list of parts or a text with markers where its media stand, and documents as they
are found again in token ids.

What people give becomes a list of `Part` for each document, in which texts that follow each other are one. Token ids
become a list of `Found`. Nothing is opened, encoded or decoded here.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from .configuration_causal_mot import TEXT, MoTCausalConfig
from .rows_mot import RowTable, unknown_name

RAW = "raw"  # the key of a part that goes through the model's tower, and what a marker says of it


@dataclass(frozen=True)
class Part:
    """
    One text or one medium of a document.

    Args:
        value: as it was given.
        name: what errors call it.
        is_raw: whether it goes through the model's tower, not through a tokenizer; None where nobody said.
    """

    modality: str
    value: Any
    name: str
    is_raw: bool | None = None


def read_documents(documents: Any, modalities: Collection[str]) -> list[list[Part]]:
    """
    The parts of documents, each of which is a list of dicts such as `{"text": ...}` or `{"image": ..., "raw": True}`.

    Raises:
        ValueError: naming the document and the part that is none, or is of no known modality.
    """
    is_list = isinstance(documents, (list, tuple)) and len(documents) > 0
    if is_list and all(isinstance(part, Mapping) for part in documents):
        documents = [documents]
    if not is_list or not all(isinstance(document, (list, tuple)) for document in documents):
        raise ValueError(
            f"`documents` is {documents!r:.100}: expected a list of documents, each a list of parts such as "
            '{"text": ...}.'
        )
    return [
        joined([read_part(part, f"documents[{i}][{j}]", modalities) for j, part in enumerate(document)])
        for i, document in enumerate(documents)
    ]


def read_part(part: Any, name: str, modalities: Collection[str]) -> Part:
    """One part of a document."""
    keys = [key for key in part if key != RAW] if isinstance(part, Mapping) else []
    if len(keys) != 1:
        raise ValueError(
            f'{name} is {part!r:.100}: expected a dict with one modality, such as {{"text": ...}}, and at most "raw" '
            "beside it."
        )
    (modality,), is_raw = keys, part.get(RAW)
    if modality not in modalities:
        raise unknown_name(str(modality), list(modalities), f"modality of {name}:")
    if is_raw is not None and (modality == TEXT or not isinstance(is_raw, bool)):
        raise ValueError(f"{name} has `raw` {is_raw!r:.100}: expected True or False, beside a medium alone.")
    if part[modality] is None:
        raise ValueError(f"{name} is None: leave the part out of a document that lacks it.")
    return Part(modality, part[modality], name, is_raw)


def read_marked(texts: Sequence[str], media: Mapping[str, Any], table: RowTable) -> list[list[Part]]:
    """
    The parts of texts in which a marker such as `<image>`, or `<image:raw>`, stands for each medium. Spaces beside a
    marker do not count.

    Args:
        media: modality -> what was given of it: one medium, a list of them in the order of all markers, or a list for
            each text; None where nothing was. Its keys are the modalities whose markers are known.
        table: which knows one medium from a list of several.

    Raises:
        ValueError: a text is none, or there are more or fewer markers than media.
    """
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"text[{i}] has type {type(text).__name__}: expected a string.")
    names = "|".join(map(re.escape, media)) or r"(?!)"
    pattern = re.compile(rf"[ \t]*<({names})(:{RAW})?>[ \t]*")
    markers = [list(pattern.finditer(text)) for text in texts]
    waiting = {}
    for name, given in media.items():
        counts = [sum(marker[1] == name for marker in row) for row in markers]
        waiting[name] = iter(media_of_markers(name, given, counts, table))
    rows = []
    for i, (text, row) in enumerate(zip(texts, markers)):
        parts, start = [], 0
        for marker in row:
            value, name = next(waiting[marker[1]])
            parts.append(Part(TEXT, text[start : marker.start()], f"text[{i}]"))
            parts.append(Part(marker[1], value, name, True if marker[2] else None))
            start = marker.end()
        rows.append(joined([*parts, Part(TEXT, text[start:], f"text[{i}]")]))
    return rows


def media_of_markers(name: str, given: Any, counts: Sequence[int], table: RowTable) -> list[tuple[Any, str]]:
    """
    The media of a modality in the order of its markers, each with what errors call it.

    Args:
        counts: how many markers each text has.
    """
    argument = table.kinds[name].cells[0].argument if name in table.kinds else name
    cells = [] if given is None else table.to_rows(argument, given)
    rows = [media_of_cell(argument, i, cell, table) for i, cell in enumerate(cells)]
    is_one = [len(row) == 1 and row[0][0] is cell for row, cell in zip(rows, cells)]
    is_by_row = len(cells) > 1 and not all(is_one)
    fits = [len(row) for row in rows] == list(counts) if is_by_row else sum(map(len, rows)) == sum(counts)
    if not fits:
        found = f"{[len(row) for row in rows]} media of the rows" if is_by_row else f"{sum(map(len, rows))} media"
        raise ValueError(
            f"`{argument}` has {found}, but the texts have {list(counts)} markers <{name}>: expected one medium for "
            "each marker, in their order, and a marker for each medium."
        )
    return [medium for row in rows for medium in row]


def media_of_cell(argument: str, i: int, cell: Any, table: RowTable) -> list[tuple[Any, str]]:
    """The media of one cell, which is one, or a list of several, or None, each with what errors call it."""
    if argument in table.raw:
        return [(segment.value, segment.name) for segment in table.segments_of(argument, cell, f"{argument}[{i}]")]
    values = [] if cell is None else cell if isinstance(cell, list) else [cell]
    return [(value, f"{argument}[{i}]") for value in values]


def joined(parts: list[Part]) -> list[Part]:
    """Parts of which those texts are one that follow each other, and none is empty."""
    for part in parts:
        if part.modality == TEXT and not isinstance(part.value, str):
            raise ValueError(f"{part.name} has a text of type {type(part.value).__name__}: expected a string.")
    found = []
    for modality, group in groupby(parts, key=lambda part: part.modality):
        run = list(group)
        if modality == TEXT:
            text = "".join(part.value for part in run)
            run = [replace(run[0], value=text)] if text else []
        found += run
    return found


@dataclass
class Found:
    """
    A text or a medium in a row of ids.

    Args:
        ids: without those that begin and end it.
        has_begun: whether the one that begins it is there.
        value: what it is decoded to; None where it cannot be.
    """

    modality: str
    ids: list[int] = field(default_factory=list)
    has_begun: bool = False
    value: Any = None

    def if_any(self) -> Iterator["Found"]:
        """Itself, unless there is nothing of it."""
        if self.ids or self.has_begun:
            yield self


def find_in(ids: Sequence[int], layout: MoTCausalConfig) -> Iterator[Found]:
    """
    The texts and the media of a row of ids, in their order. A medium goes on until its end, or until an id of another
    modality.
    """
    begins, ends = ({token: name for name, token in marks.items()} for marks in (layout.begin_ids, layout.end_ids))
    current = Found(TEXT)
    for token in ids:
        modality = begins.get(token) or ends.get(token) or layout.modality_of(token)
        if token in begins or modality != current.modality:
            yield from current.if_any()
            current = Found(modality, has_begun=token in begins)
        if token in ends:
            yield from current.if_any()
            current = Found(TEXT)
        elif token not in begins:
            current.ids.append(token)
    yield from current.if_any()
