# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""HTML and SVG by elements, in which every text is escaped, whoever wrote it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from mixture_of_transformers.data.secrets import printable

VOID = ("img", "meta")  # elements without an end


class Markup(str):
    """Text that is HTML already. Any other is escaped where it is put into some."""


def element(tag: str, /, *children: Any, **attributes: Any) -> Markup:
    """
    An element of HTML or SVG.

    Args:
        children: `Markup` as it is, other values as text, lists of these, and None for nothing.
        attributes: their names with `_` for `-`, and `class_` for `class`; True for one without a value, None or False
            for none at all.
    """
    named = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    given = [(key, value) for key, value in named if value is not None and value is not False]
    start = "".join(f" {key}" if value is True else f' {key}="{text(value)}"' for key, value in given)
    end = "" if tag in VOID else f"</{tag}>"
    return Markup(f"<{tag}{start}>{joined(*children)}{end}")


def joined(*children: Any) -> Markup:
    """Children one behind the other."""
    return Markup("".join(flat(children)))


def flat(children: Any) -> Iterator[str]:
    for child in children:
        if isinstance(child, (list, tuple)):
            yield from flat(child)
        elif child is not None:
            yield child if isinstance(child, Markup) else text(child)


def text(value: Any) -> str:
    """A value as text on one line that shows as it is: neither markup, nor what would turn its direction."""
    return escape(printable(" ".join(str(value).split())))


def pairs(rows: Mapping[str, object]) -> Markup:
    """Names with what they are, without those that are None."""
    return element("dl", [[element("dt", name), element("dd", v)] for name, v in rows.items() if v is not None])


def table(headings: Sequence[str], rows: Sequence[Sequence], class_: str | None = None) -> Markup:
    """A table that can be moved where it is too wide; all but the first column are numbers unless they are text."""
    numeric = [all(not isinstance(row[i], str) or is_number(row[i]) for row in rows) for i in range(len(headings))]
    kinds = ["number" if i and is_numeric else None for i, is_numeric in enumerate(numeric)]
    head = element("tr", [element("th", name, class_=kind) for name, kind in zip(headings, kinds)])
    lines = [element("tr", [element("td", cell, class_=kind) for cell, kind in zip(row, kinds)]) for row in rows]
    inner = element("table", element("thead", head), element("tbody", lines), class_=class_)
    return element("div", inner, class_="wide")


def is_number(cell: str) -> bool:
    """Whether a cell is a figure: those that bring an interval are."""
    return isinstance(cell, Markup) or re.fullmatch(r"-?[\d,.]+(e[+-]\d+)?", cell) is not None
