# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The data of a run that learns to generate: which documents its rows make, and the rows that make any."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets
from transformers.utils import logging

from mixture_of_transformers.data.checks import BadExample, BadRows, count_by_kind
from mixture_of_transformers.data.column_types import kind_name
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.document_columns import MEDIA, document_kinds, prepare_documents
from mixture_of_transformers.data.documents import (
    TEXT,
    DocumentTemplate,
    Field,
    default_templates,
    read_templates,
)
from mixture_of_transformers.data.extra_cells import is_absent_cell
from mixture_of_transformers.data.extra_columns import LEFT_OUT
from mixture_of_transformers.data.preparation import drop_bad_examples, find_columns
from mixture_of_transformers.data.secrets import printable
from mixture_of_transformers.data.splits import draw_rows
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.finetune.limits import bad_rows, row_numbers
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.finetune.rows import allowed_paths_of, named_columns, read_splits, reading_of

logger = logging.get_logger(__name__)

ROLES = (TEXT, *MEDIA)


@dataclass(frozen=True)
class Documents:
    """
    What the rows of a dataset become.

    Args:
        templates: of the documents.
        kinds: column -> "text", "image" or "audio", for each column of the templates.
        names: column -> what it is called in the rows.
    """

    templates: tuple[DocumentTemplate, ...]
    kinds: Mapping[str, str]
    names: Mapping[str, str]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns of all templates, each as it is used."""
        return tuple(dict.fromkeys(field for template in self.templates for field in template.fields))

    def of_kind(self, kind: str, is_raw: bool = False) -> list[str]:
        """What the columns of a kind are called in the rows, those that a tower reads or the others."""
        return [self.names[f.column] for f in self.fields if self.kinds[f.column] == kind and f.is_raw == is_raw]

    def has_any(self, row: Mapping) -> bool:
        """Whether a row has all columns of a template."""
        cells = {field: row.get(self.names[field.column]) for field in self.fields}
        return any(template.fits(cells) for template in self.templates)


def load_documents(
    data: DataArguments, seed: int, report: Path | None = None, only: str | None = None
) -> tuple[dict[str, datasets.Dataset | RowStream], Documents]:
    """
    The splits with the columns of the templates, without rows that cannot be read or have all columns of none, which
    `report` names; and what becomes of the rows. Sets `data.document` to the templates, and
    `data.column_lines`.

    Args:
        report: as of `load_data`.
        only: the split that is wanted, all by default.

    Raises:
        ValueError: a template that cannot be, or no row that has all columns of one.
    """
    if data.extra_columns and data.extra_columns != [LEFT_OUT]:
        raise ValueError("--extra_columns are for models that answer: documents name their columns in --document.")
    splits, places = read_splits(data, seed), allowed_paths_of(data)
    train = splits["train"]
    splits = splits if only is None else {only: splits[only]}
    roles, problem = find_roles(data, train)
    kinds = document_kinds(train, {role: column for role, column in roles.items() if role in ROLES})
    aliases = {role: column for role, column in roles.items() if role not in train.features}
    if not data.document and problem is not None:
        raise problem
    written = data.document or default_templates(default_kinds(roles, kinds))
    templates = read_templates(
        written, [*train.features, *aliases], kinds | {a: kinds.get(c) for a, c in aliases.items()}
    )
    templates = tuple(template.renamed(aliases) for template in templates)
    used = {column: kinds[column] for template in templates for column in template.columns}
    prepared, names = prepare_documents(splits, used, places)
    documents = Documents(templates, used, names)
    data.document, data.column_lines = list(written), lines_of(documents, train.features)
    if report is not None:
        report.unlink(missing_ok=True)
        print("\n".join(data.column_lines))
    if data.max_train_samples is not None and only is None:
        prepared["train"] = draw_rows(prepared["train"], data.max_train_samples, seed)
    prepared = {
        name: drop_bad_examples(split, data.on_bad_example, name, report, reading_of(data))
        for name, split in prepared.items()
    }
    prepared = {name: keep_documents(split, documents, name, report) for name, split in prepared.items()}
    if data.streaming and only is None:
        prepared["train"] = prepared["train"].shuffle(seed, data.shuffle_buffer)
    return prepared, documents


def find_roles(
    data: DataArguments, train: datasets.Dataset | datasets.IterableDataset
) -> tuple[dict[str, str], ValueError | None]:
    """
    The columns that are the text, the pictures, the sound and the label, as far as they are named or found; and why
    they could not be found, which matters where no template names others.
    """
    named = named_columns(data) | {"extra": (LEFT_OUT,)}
    try:
        columns, problem = find_columns(train, allowed_paths_of(data), **named), None
    except ValueError as error:
        given = {role: named[role] for role in (*ROLES, "label") if named[role] not in (None, LEFT_OUT)}
        columns, problem = ModalityColumns(**given), error
    found = {role: getattr(columns, role) for role in (*ROLES, "label")}
    return {role: column for role, column in found.items() if column is not None}, problem


def default_kinds(roles: Mapping[str, str], kinds: Mapping[str, str]) -> dict[str, str]:
    """The columns of documents where no template says it: text, or in its place the label, pictures and sound."""
    text = roles.get(TEXT) or roles.get("label")
    columns = [*([text] if text in kinds else []), *(roles[role] for role in MEDIA if role in roles)]
    return {column: kinds[column] for column in columns}


def lines_of(documents: Documents, features: datasets.Features) -> list[str]:
    """One line for each column of the documents and for each template."""
    lines = []
    for field in documents.fields:
        how = "" if documents.kinds[field.column] == TEXT else ", read by a tower" if field.is_raw else ", as tokens"
        place = f"column '{field.column}' ({kind_name(features[field.column])})"
        lines.append(f"{documents.kinds[field.column]}: {place}{how}")
    return [*map(printable, [*lines, *(f"document: {template.written}" for template in documents.templates)])]


def keep_documents(
    split: datasets.Dataset | RowStream, documents: Documents, name: str, report: Path | None
) -> datasets.Dataset | RowStream:
    """
    The rows that have all columns of a template; what becomes of the others is said.

    Raises:
        ValueError: there are none.
    """
    if isinstance(split, RowStream):
        return split
    texts = split.with_format(None).select_columns(documents.of_kind(TEXT))[:]
    present = {column: [not is_absent_cell(cell) for cell in cells] for column, cells in texts.items()}
    for column in {*documents.names.values()} - present.keys():
        present[column] = [
            valid
            for chunk in split.with_format("arrow").select_columns(column).iter(1000)
            for valid in chunk[column].is_valid().to_pylist()
        ]
    rows = [{column: True if has[row] else None for column, has in present.items()} for row in range(len(split))]
    kept = [row for row, cells in enumerate(rows) if documents.has_any(cells)]
    left_out = sorted({*range(len(split))} - {*kept})
    if not left_out:
        return split
    templates = ", ".join(template.written for template in documents.templates)
    bad, numbers = BadRows(name, "skip", report), row_numbers(len(split), bad_rows(report, name))
    for row in left_out:
        lacking = [column for column, own in documents.names.items() if rows[row][own] is None]
        bad.add(numbers[row], BadExample("incomplete row", f"it lacks {', '.join(lacking)}."))
    summary = f"{count_by_kind(bad.rows)} in '{name}': each lacks a column of every template ({templates})"
    if not kept:
        raise ValueError(f"No row is left: {summary}.")
    logger.warning(f"skipped {summary}" + (f"; {report} names each" if report else ""))
    return split.select(kept)
