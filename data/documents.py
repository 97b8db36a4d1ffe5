# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Templates that make documents of the rows of a dataset, as `--document "{image} {text}"` gives them.

A template is text with columns in braces: `{image}` stands for the picture as tokens, which a model can learn to
make, and `{image:raw}` for the picture as a tower reads it. `read_templates` finds its columns among those of the
data, and `DocumentTemplate.segments` makes the document of a row.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mixture_of_transformers.data.extra_cells import is_absent_cell
from mixture_of_transformers.data.extra_columns import column_called

TEXT, RAW = "text", "raw"
PIECES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class Field:
    """A column in a template, and whether its medium goes through a tower and not as tokens."""

    column: str
    is_raw: bool = False


@dataclass(frozen=True)
class DocumentTemplate:
    """
    Args:
        written: as a person gave it.
        parts: text and columns, in the order of the document.
    """

    written: str
    parts: tuple[str | Field, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(part for part in self.parts if isinstance(part, Field))

    @property
    def columns(self) -> tuple[str, ...]:
        """Its columns, each once."""
        return tuple(dict.fromkeys(field.column for field in self.fields))

    def renamed(self, names: Mapping[str, str]) -> "DocumentTemplate":
        """The same with other columns, as far as `names` has them."""
        parts = (
            part if isinstance(part, str) else replace(part, column=names.get(part.column, part.column))
            for part in self.parts
        )
        return replace(self, parts=tuple(parts))

    def fits(self, cells: Mapping[Field, Any]) -> bool:
        """Whether a row, of which these are the cells, has all that the template asks for."""
        return not any(is_absent_cell(cells.get(field)) for field in self.fields)

    def segments(self, cells: Mapping[Field, Any], kinds: Mapping[str, str]) -> list[dict]:
        """
        The document of a row that has all that the template asks for: `[{"image": cell}, {"text": "a seven"}]`, with
        `"raw": True` where a tower reads the medium. Text that stands together is one segment, without the spaces at
        its ends; what a cell has a list of are several media.

        Args:
            kinds: column -> "text", "image" or "audio".
        """
        segments: list[dict] = []
        for kind, value, is_raw in self.pieces(cells, kinds):
            if kind == TEXT and segments and TEXT in segments[-1]:
                segments[-1][TEXT] += value
            else:
                segments.append({kind: value} | ({RAW: True} if is_raw else {}))
        segments = [{TEXT: part[TEXT].strip()} if TEXT in part else part for part in segments]
        return [part for part in segments if part.get(TEXT) != ""]

    def pieces(self, cells: Mapping[Field, Any], kinds: Mapping[str, str]) -> Iterator[tuple[str, Any, bool]]:
        """Kind and value of each part, and whether it is raw."""
        for part in self.parts:
            if isinstance(part, str):
                yield TEXT, part, False
                continue
            kind, cell = kinds[part.column], cells[part]
            if kind == TEXT:
                yield TEXT, " ".join(cell) if isinstance(cell, list) else cell, False
            else:
                for item in cell if isinstance(cell, list) else [cell]:
                    yield kind, item, part.is_raw


def parse_template(written: str, columns: Collection[str]) -> DocumentTemplate:
    """
    Read a template. A column may be written in another case than in the data; `{{` and `}}` are braces.

    Args:
        columns: those of the data.

    Raises:
        ValueError: it names no column, one that the data do not have, or has a brace that stands alone.
    """
    parts, place, there_are = [], 0, f"the columns are {', '.join(columns)}"
    for piece in PIECES.finditer(written):
        parts.append(written[place : piece.start()])
        place = piece.end()
        if piece[0] in ("{{", "}}"):
            parts.append(piece[0][0])
        elif piece[1] is None:
            raise ValueError(
                f"--document {written!r}: the brace at character {piece.start()} stands alone; write columns as "
                "{column}, and a brace that is text twice."
            )
        else:
            parts.append(read_field(written, piece[1], columns))
    parts.append(written[place:])
    template = DocumentTemplate(written, tuple(part for part in parts if part != ""))
    if not template.fields:
        raise ValueError(f"--document {written!r} names no column: write one in braces, {{column}}; {there_are}.")
    return template


def read_field(written: str, name: str, columns: Collection[str]) -> Field:
    if column := column_called(name, columns):
        return Field(column)
    before, colon, how = name.rpartition(":")
    column = column_called(before, columns) if colon else None
    if column is None:
        raise ValueError(f"--document {written!r}: there is no column {name!r}; the columns are {', '.join(columns)}.")
    if how.strip() != RAW:
        raise ValueError(
            f"--document {written!r}: {{{name}}} asks for {how!r} of column '{column}'; expected {{{column}}}, as "
            f"tokens, or {{{column}:{RAW}}}, as a tower reads it."
        )
    return Field(column, is_raw=True)


def read_templates(
    written: Sequence[str], columns: Collection[str], kinds: Mapping[str, str]
) -> tuple[DocumentTemplate, ...]:
    """
    The templates of a run.

    Args:
        columns: those of the data.
        kinds: column -> "text", "image" or "audio", for the columns that can be part of a document.

    Raises:
        ValueError: as of `parse_template`; or a column holds what no document can have, or text that is to be raw.
    """
    templates = tuple(dict.fromkeys(parse_template(each, columns) for each in written))
    for template in templates:
        for field in template.fields:
            kind = kinds.get(field.column)
            if kind is None:
                fit = ", ".join(f"'{column}' ({kind})" for column, kind in kinds.items() if kind) or "none"
                raise ValueError(
                    f"--document {template.written!r}: column '{field.column}' holds neither text nor a picture nor "
                    f"sound; those that do: {fit}."
                )
            if field.is_raw and kind == TEXT:
                raise ValueError(
                    f"--document {template.written!r}: column '{field.column}' is text, which no tower reads: write "
                    f"{{{field.column}}}; ':{RAW}' is for pictures and sound."
                )
    return templates


def default_templates(kinds: Mapping[str, str]) -> list[str]:
    """
    The templates of a run that names none: each two columns of different kinds in both orders, so that one model
    learns to make either from the other; of one kind alone the column by itself.

    Args:
        kinds: column -> "text", "image" or "audio".
    """
    braced = {column: "{" + column + "}" for column in kinds}
    pairs = [(a, b) for a in kinds for b in kinds if kinds[a] != kinds[b]]
    return [f"{braced[a]} {braced[b]}" for a, b in pairs] or list(braced.values())


def without_prompt(segments: Sequence[dict]) -> list[dict]:
    """A document without what stands before its last picture or sound that is tokens; whole where it has none."""
    media = [place for place, part in enumerate(segments) if TEXT not in part and RAW not in part]
    return list(segments[media[-1] if media else 0 :])
