# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The columns of a dataset that documents are made of: text, pictures and sound, in the one form of all rows.

`document_kinds` says what each column can be in a document; labels and numbers are text, written as their names.
`prepare_documents` reduces the splits to the columns that the templates use; rows then have each column's cell, media
as bytes or a path, None where there is nothing.
"""

from collections.abc import Iterable, Mapping

from datasets import ClassLabel, Dataset, Features, IterableDataset, Value

from mixture_of_transformers.data.allowed_paths import AllowedPaths
from mixture_of_transformers.data.column_contents import is_gap, what_strings_hold
from mixture_of_transformers.data.column_types import is_list, is_number, is_single, is_string, undecoded_stream
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.documents import TEXT
from mixture_of_transformers.data.extra_columns import free_name, kind_of
from mixture_of_transformers.data.preparation import prepare_split
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.media_causal_mot import CODEC_OF
from mixture_of_transformers.modalities_mot import CELLS

MEDIA = tuple(CODEC_OF)  # what a document can have beside text


def document_kinds(train: Dataset | IterableDataset, roles: Mapping[str, str]) -> dict[str, str]:
    """
    What each column of the training split is in a document, "text", "image" or "audio"; without those that can be none
    of these, such as videos and lists of numbers.

    Args:
        roles: "text", "image" or "audio" -> the column that has this role.
    """
    held, kinds = what_strings_hold(train, None), {}
    for column, kind in train.features.items():
        found = held[column].medium if is_string(kind) else kind_of(kind, None)
        if found in MEDIA:
            kinds[column] = found
        elif is_written(kind):
            kinds[column] = TEXT
    return kinds | {column: role for role, column in roles.items()}


def is_written(kind) -> bool:
    """Whether the cells of a type can stand in a text: strings, labels, numbers, and lists of strings or labels."""
    return is_single(kind) or is_list(kind) and (is_string(kind.feature) or isinstance(kind.feature, ClassLabel))


def prepare_documents(
    splits: Mapping[str, Dataset | IterableDataset], kinds: Mapping[str, str], places: AllowedPaths | None = None
) -> tuple[dict[str, Dataset | RowStream], dict[str, str]]:
    """
    The splits with the columns of the documents alone.

    Args:
        kinds: column -> what it is, for the columns that are used.
        places: where the files may lie that the rows name.

    Returns:
        The splits, and column -> what it is called in them.

    Raises:
        ValueError: a split lacks a column, or names a file that lies elsewhere.
    """
    names = dict(zip(kinds, cell_names(kinds), strict=True))
    columns = ModalityColumns(extra={names[column]: (kind, (column,)) for column, kind in kinds.items()})
    texts = [column for column, kind in kinds.items() if kind == TEXT]
    written = {name: with_texts(split, texts) for name, split in splits.items()}
    return {
        name: prepare_split(split, columns, None, name, allowed_paths=places)[0] for name, split in written.items()
    }, names


def cell_names(kinds: Mapping[str, str]) -> Iterable[str]:
    """A name for the cells of each column: its own, unless it means another kind of cell to those that check rows."""
    for column, kind in kinds.items():
        means_other = column == "label" or column in CELLS and column != kind
        yield free_name(column, kinds) if means_other else column


def with_texts(split: Dataset | IterableDataset, columns: Iterable[str]) -> Dataset | IterableDataset:
    """The split with those of the columns as strings that are labels, numbers or lists."""
    kinds = {column: split.features.get(column) for column in columns}
    kinds = {column: kind for column, kind in kinds.items() if kind is not None and not is_string(kind)}
    if not kinds:
        return split
    if isinstance(split, IterableDataset):
        split = undecoded_stream(split)
        features = Features(dict(split.features) | dict.fromkeys(kinds, Value("string")))
        return split.map(
            lambda row: {column: text_of(row[column], kinds[column]) for column in kinds}, features=features
        )
    for column, kind in kinds.items():
        texts = [text_of(cell, kind) for cell in split.with_format(None)[column][:]]
        split = split.remove_columns(column).add_column(column, texts, feature=Value("string"))
    return split


def text_of(cell, kind) -> str | None:
    """A label by its name, a number in few digits, a list with commas; None where there is none."""
    if is_list(kind):
        parts = [text_of(part, kind.feature) for part in cell or ()]
        return ", ".join(part for part in parts if part) or None
    if is_gap(cell):
        return None
    if isinstance(kind, ClassLabel):
        return kind.int2str(cell) if cell >= 0 else None
    return f"{cell:.6g}" if is_number(kind) and isinstance(cell, float) else str(cell)
