# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A page of HTML as a reader sees it: its elements, its words, and its tables by sections."""

import base64
from collections import defaultdict
from html.parser import HTMLParser

VOID = ("img", "meta")


class PageReader(HTMLParser):
    """
    A page that is well formed, which this asserts.

    Args:
        html: of the page.
    """

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[list[str]]]] = defaultdict(list)  # section -> its tables, of rows, of cells
        self.cards: list[str] = []  # the words of each
        self.words, self.scripts, self.styles = "", [], []
        self.open: list[str] = []
        self.section, self.level = "", 0
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = dict(attrs).get("id", "left-out")
        elif tag == "table":
            self.tables[self.section].append([])
        elif tag == "tr":
            self.tables[self.section][-1].append([])
        elif tag in ("td", "th"):
            self.tables[self.section][-1][-1].append("")
        elif tag == "article":
            self.cards.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            (self.scripts if self.open[-1] == "script" else self.styles).append(data)
            return
        self.words += f" {data}"
        if {"td", "th"} & set(self.open):
            row = self.tables[self.section][-1][-1]
            row[-1] = f"{row[-1]} {data}".strip()
        if "article" in self.open:
            self.cards[-1] += f"{data}\n"

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attributes[name] for found, attributes in self.elements if found == tag and name in attributes]

    def media(self, kind: str) -> list[bytes]:
        """The files of one type that stand in the page."""
        addresses = [address for tag in ("img", "audio") for address in self.attributes(tag, "src")]
        return [
            base64.b64decode(address.partition(",")[2]) for address in addresses if address.startswith(f"data:{kind}")
        ]
