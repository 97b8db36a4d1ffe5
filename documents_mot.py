# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Documents as people give them: a list of parts, or a text with markers where its media stand.

Both ways end in the same: a list of `Part` for each document, in which texts that follow each other are one. Nothing
is opened or decoded here.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from .configuration_causal_mot import TEXT
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
    if isinstance(documents, Sequence) and documents and all(isinstance(part, Mapping) for part in documents):
        documents = [documents]
    if not isinstance(documents, Sequence) or isinstance(documents, (str, bytes)) or not documents:
        raise ValueError(
            f"`documents` is {documents!r:.100}: expected a list of documents, each a list of parts such as "
            '{"text": ...}.'
        )
    rows = []
    for i, document in enumerate(documents):
        if not isinstance(document, (list, tuple)):
            raise ValueError(
                f'documents[{i}] has type {type(document).__name__}: expected a list of parts such as {{"text": ...}}.'
            )
        rows.append(joined([read_part(part, f"documents[{i}][{j}]", modalities) for j, part in enumerate(document)]))
    return rows


def read_part(part: Any, name: str, modalities: Collection[str]) -> Part:
    """One part of a document."""
    keys = [key for key in part if key != RAW] if isinstance(part, Mapping) else []
    if len(keys) != 1:
        raise ValueError(
            f"{name} is {part!r:.100}: expected a dict with one modality, such as "
            '{"text": ...}, and beside it at most "raw".'
        )
    (modality,), is_raw = keys, part.get(RAW)
    if modality not in modalities:
        raise unknown_name(str(modality), list(modalities), f"modality of {name}:")
    if not (is_raw is None or isinstance(is_raw, bool)) or (is_raw is not None and modality == TEXT):
        raise ValueError(f"{name} has `raw` {is_raw!r:.100}: expected True or False, for a medium alone.")
    if part[modality] is None:
        raise ValueError(f"{name} is None: leave a part out of its document where a row has none.")
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
    names = "|".join(map(re.escape, media)) or r"(?!)"
    marker = re.compile(rf"[ \t]*<({names})(:{RAW})?>[ \t]*")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"text[{i}] has type {type(text).__name__}: expected a string.")
    found = [list(marker.finditer(text)) for text in texts]
    waiting = {}
    for name, given in media.items():
        counts = [sum(match[1] == name for match in row) for row in found]
        waiting[name] = [iter(row) for row in media_of_rows(name, given, counts, table)]
    rows = []
    for i, (text, matches) in enumerate(zip(texts, found)):
        parts, start = [], 0
        for match in matches:
            value, name = next(waiting[match[1]][i])
            parts += [Part(TEXT, text[start : match.start()], f"text[{i}]"), Part(match[1], value, name)]
            parts[-1] = replace(parts[-1], is_raw=True if match[2] else None)
            start = match.end()
        rows.append(joined([*parts, Part(TEXT, text[start:], f"text[{i}]")]))
    return rows


def media_of_rows(name: str, given: Any, counts: Sequence[int], table: RowTable) -> list[list[tuple[Any, str]]]:
    """What was given of a modality, and what errors call it, for each text with so many markers."""
    argument = table.kinds[name].cells[0].argument if name in table.kinds else name
    cells = [] if given is None else table.to_rows(argument, given)
    rows = [with_names(argument, i, cell, table) for i, cell in enumerate(cells)]
    is_by_row = len(cells) == len(counts) and all(len(row) == count for row, count in zip(rows, counts))
    if is_by_row:
        return rows
    every = [medium for row in rows for medium in row]
    is_nested = any(cell is None or isinstance(cell, list) for cell in cells) and len(cells) > 1
    if len(every) != sum(counts) or is_nested:
        listed = f"{', '.join(str(len(row)) for row in rows)} by rows" if is_nested else f"{len(every)}"
        raise ValueError(
            f"`{argument}` holds {listed}, but the texts have {', '.join(map(str, counts))} markers <{name}>: "
            "expected one medium for each marker, in their order, and a marker for each medium."
        )
    places = iter(every)
    return [[next(places) for _ in range(count)] for count in counts]


def with_names(argument: str, i: int, cell: Any, table: RowTable) -> list[tuple[Any, str]]:
    """The media of one cell, one or a list of several or None, each with what errors call it."""
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
    for modality, run in groupby(parts, key=lambda part: part.modality):
        run = list(run)
        if modality == TEXT:
            text = "".join(part.value for part in run)
            run = [replace(run[0], value=text)] if text else []
        found += run
    return found
