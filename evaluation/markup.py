# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""HTML and SVG by elements, in which every text is escaped, whoever wrote it."""

from collections.abc import Iterator
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
