# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Columns beside the text, the pictures, the sound, the videos and the label: each a modality of its own, of a kind.

`--extra_columns imu=accelerometer vitals=age,sex,bmi` names them; without being named they are known by their types
and by what their cells hold. Numbers and categories are one modality together, a table.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from datasets import ClassLabel, Dataset, Features, IterableDataset

from mixture_of_transformers.configuration_mot import TAKEN_NAMES
from mixture_of_transformers.data.column_contents import CellContents, why_no_inputs
from mixture_of_transformers.data.column_names import (
    ANSWER_WORDS,
    FEATURE_WORDS,
    is_label_name,
    is_split_name,
    what_name_of_values_says,
    what_name_says,
    words_of,
)
from mixture_of_transformers.data.column_types import (
    MEDIA_ROLES,
    MEDIA_TYPES,
    SOUND,
    STRING_ROLES,
    VIDEO,
    element_of,
    is_file,
    is_files,
    is_list,
    is_medium,
    is_number,
    is_samples,
    is_series,
    is_single,
    is_string,
    kind_name,
)
from mixture_of_transformers.modalities_mot import CELLS, forms
from mixture_of_transformers.rows_mot import unknown_name
from mixture_of_transformers.validation_mot import check_modality_name

LEFT_OUT = "none"  # is given in place of a column to leave a role out, and turns off what is found unnamed
FOUND = "auto"  # has others found unnamed where a checkpoint's own columns would be all
NO_NAMES = (LEFT_OUT, FOUND)  # which of the options name no modality
SERIES, TABLE = "series", "table"  # the kinds of lists of numbers, and of numbers and categories
TEXT = STRING_ROLES[0]
OPTION = re.compile(r"(?P<name>[^=:,]+?)(:(?P<kind>[^=:,]*))?=(?P<columns>.+)", re.DOTALL)
# What a modality of a user's cannot be called beside what no model takes.
TAKEN = frozenset({*TAKEN_NAMES, "label"})

Extra = tuple[str, tuple[str, ...]]  # a kind, and the columns of it


# ---------------------------------------------------------------------------------------------------------------------
# Those that are named
# ---------------------------------------------------------------------------------------------------------------------


def read_option(option: str) -> tuple[str, str | None, str]:
    """
    `name=column,column` or `name:kind=column` as the name, the kind (None where nothing says it) and the columns.

    Raises:
        ValueError: it is none of these, or no modality can be called so, or there is no such kind.
    """
    found = OPTION.fullmatch(option)
    if found is None:
        raise ValueError(
            f"--extra_columns has {option!r}; expected name=column, name=column,column or name:kind=column, such as "
            f"imu:{SERIES}=accelerometer, or {LEFT_OUT} or {FOUND}."
        )
    name, kind = found["name"].strip(), found["kind"]
    check_modality_name(name, TAKEN)
    if kind is not None and kind not in forms():
        raise unknown_name(kind, forms(), f"kind in --extra_columns {option}:")
    return name, kind, found["columns"]


def named_extras(
    options: Iterable[str], features: Features, held: Mapping[str, CellContents], taken: Mapping[str, str]
) -> dict[str, Extra]:
    """
    The modalities that a person named, with their kinds.

    Args:
        options: as they stand behind `--extra_columns`.
        held: what string columns hold, where it was looked into.
        taken: column -> what else it is.

    Raises:
        ValueError: a column does not exist, is something else as well, or is not of the kind; or the columns of one
            modality are of several kinds.
    """
    extras: dict[str, Extra] = {}
    taken = dict(taken)
    for option in options:
        if option in NO_NAMES:
            continue
        name, kind, written = read_option(option)
        if name in extras:
            raise ValueError(f"--extra_columns names the modality '{name}' twice: give all its columns in one.")
        columns = columns_of(written, features, option)
        for column in columns:
            if column in taken:
                raise ValueError(f"--extra_columns {option}: column '{column}' is {taken[column]} already.")
            taken[column] = f"of the modality '{name}'"
        kind = kind or kind_of_columns(columns, features, held, option)
        for column in columns:
            if not suits(kind, features[column]):
                raise ValueError(
                    f"--extra_columns {option}: column '{column}' ({kind_name(features[column])}) cannot be of the "
                    f"kind {kind}."
                )
        extras[name] = (kind, columns)
    return extras


def columns_of(written: str, features: Features, option: str) -> tuple[str, ...]:
    """
    The columns of an option, the longest names first: there may be a comma in the name of a column. `fourier_*` stands
    for all columns that begin so, in the order of the dataset.
    """
    parts, columns = written.split(","), []
    while parts:
        if alike := columns_like(parts[0], features):
            columns += [column for column in alike if column not in columns]
            parts = parts[1:]
            continue
        names = [(number, column_called(",".join(parts[:number]), features)) for number in range(len(parts), 0, -1)]
        number, column = next(((number, column) for number, column in names if column), (0, None))
        if column is None:
            raise ValueError(
                f"--extra_columns {option}: there is no column '{parts[0]}'; there are {', '.join(features)}."
            )
        columns.append(column)
        parts = parts[number:]
    if len(set(columns)) < len(columns):
        raise ValueError(f"--extra_columns {option} names a column twice.")
    return tuple(columns)


def columns_like(pattern: str, columns: Iterable[str]) -> list[str]:
    """The columns that a pattern with `*` or `?` means; none where it is the name of one, or has neither."""
    if column_called(pattern, columns) or not set(pattern) & set("*?"):
        return []
    return [column for column in columns if fnmatchcase(column.casefold(), pattern.strip().casefold())]


def has_columns(option: str, features: Features) -> bool:
    """Whether there are the columns of an option that names some."""
    try:
        return bool(columns_of(read_option(option)[2], features, option))
    except ValueError:
        return False


def column_called(name: str, columns: Iterable[str]) -> str | None:
    """The column of that name, or else the only one that has it in another case; None without either."""
    if name in columns:
        return name
    alike = [column for column in columns if column.casefold() == name.strip().casefold()]
    return alike[0] if len(alike) == 1 else None


def kind_of_columns(columns: Sequence[str], features: Features, held: Mapping[str, CellContents], option: str) -> str:
    """The one kind of several columns: words beside numbers are categories."""
    kinds = {column: kind_of(features[column], held.get(column)) for column in columns}
    found = set(kinds.values())
    if found == {TEXT, TABLE}:
        return TABLE
    if len(found) > 1 or None in found:
        told = ", ".join(f"'{column}' {kind or kind_name(features[column])}" for column, kind in kinds.items())
        name = option.partition("=")[0]
        raise ValueError(
            f"--extra_columns {option}: the columns are of no one kind ({told}): give each a modality of its own, or "
            f"say the kind, {name}:KIND=..., of {', '.join(forms())}."
        )
    return found.pop()


def kind_of(kind, held: CellContents | None) -> str | None:
    """The kind of modality that a column's type and cells suggest; None where they suggest none."""
    if is_medium(element_of(kind)):
        return type(element_of(kind)).__name__.lower()
    if is_samples(kind):
        return SOUND
    if is_series(kind):
        return SERIES
    if is_string(kind):
        return kind_of_strings(held or CellContents())
    return TABLE if is_single(kind) else None


def kind_of_strings(held: CellContents) -> str:
    if held.medium:
        return held.medium
    if held.are_series:
        return SERIES
    return TABLE if held.are_categories or held.of_label else TEXT


def suits(kind: str, column) -> bool:
    """Whether a column of this type can be of a kind; of kinds that a person wrote nothing is known."""
    if kind in STRING_ROLES:
        return is_string(element_of(column))
    if kind in MEDIA_ROLES:
        return (
            is_file(column)
            or is_files(column)
            or is_string(column)
            or (CELLS[kind].takes_samples and is_samples(column))
        )
    if kind == SERIES:
        return is_series(column) or is_string(column)
    return kind != TABLE or is_single(column) or is_list(column) and is_number(column.feature)


# ---------------------------------------------------------------------------------------------------------------------
# Those that are found
# ---------------------------------------------------------------------------------------------------------------------


def found_extras(
    rest: Features,
    chosen: Mapping[str, str | None],
    closed: Collection[str],
    features: Features,
    held: Mapping[str, CellContents],
    rows: Dataset | IterableDataset | None,
    names: Collection[str],
) -> tuple[dict[str, Extra], dict[str, str]]:
    """
    The modalities among the columns that are nothing else, and why some of these are none.

    Args:
        rest: these columns.
        chosen: role -> its column, None where it has none.
        closed: the roles that a person left out, of which no column is taken unnamed.
        features: of all columns.
        held: what string columns hold, where `rows` could be looked into.
        rows: the training split, or None.
        names: the modalities that there are already.
    """
    has_sound = any(chosen[role] for role in (SOUND, VIDEO))
    has_media = any(chosen[role] for role in MEDIA_ROLES)
    kinds: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for column, kind in rest.items():
        found = None if is_named_like_features(column, kind) else kind_of(kind, held.get(column))
        if found == TABLE:
            reason = why_no_value(column, kind, has_media, has_sound)
            if not reason and chosen["label"] is None and not is_number(kind):
                reason = (
                    f"classes, and perhaps the label, since no column is: --label_column {column} would learn them, "
                    f"{option_to_take(column)} would take them"
                )
        else:
            reason = found and why_no_modality(column, kind, found, chosen, closed, features, held.get(column))
        if reason:
            reasons[column] = reason
        elif found:
            kinds[column] = found
    values = [column for column, kind in kinds.items() if kind == TABLE]
    if rows is not None:
        reasons |= why_no_inputs(rows, values, chosen["label"])
    extras: dict[str, Extra] = {}
    values = tuple(column for column in values if column not in reasons)
    table = free_name(TABLE, names)
    for column, kind in kinds.items():
        if kind != TABLE:
            extras[free_name(column, {*names, *extras, table})] = (kind, (column,))
    return (extras | {table: (TABLE, values)} if values else extras), reasons


def why_no_value(column: str, kind, has_media: bool, has_sound: bool) -> str | None:
    if says := what_name_of_values_says(column, has_media, has_sound):
        return says
    return "typed as classes, as labels are" if isinstance(kind, ClassLabel) else None


def why_no_modality(
    column: str,
    kind,
    found: str,
    chosen: Mapping[str, str | None],
    closed: Collection[str],
    features: Features,
    held: CellContents | None,
) -> str | None:
    """Why a column of text, of a medium or of lists of numbers is no modality where nobody names it."""
    words = words_of(column)
    if is_label_name(column) or is_split_name(column):
        return what_name_says(column)
    if any(ANSWER_WORDS.fullmatch(word) for word in words):
        return "named like an answer"
    if found in closed:
        return f"--{found}_column is {LEFT_OUT}"
    if found in MEDIA_TYPES and is_string(kind):
        other = chosen[found]
        if other is not None and not is_string(features[other]):  # most likely these are the paths of its files
            return f"paths of files of {found}, and the {found} is column '{other}'"
        return what_name_says(column) if set(words) & {"url", "urls", "uri"} else None
    if found in MEDIA_TYPES:
        return None
    return what_name_says(column) or (held.reason if held and found == TEXT else None)


def is_named_like_features(column: str, kind) -> bool:
    """Whether a list of numbers is what a model made of an input, such as an embedding."""
    words = words_of(column)
    return is_series(kind) and bool(words) and bool(FEATURE_WORDS.fullmatch(words[-1]))


def option_to_take(column: str) -> str:
    return f"--extra_columns {free_name(column, ())}={column}"


def free_name(column: str, names: Collection[str]) -> str:
    """What a modality is called after a column: an identifier that means nothing else, with a number where need be."""
    plain = unicodedata.normalize("NFKD", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column)).encode("ascii", "ignore")
    name = re.sub(r"\W+|_+", "_", plain.decode()).strip("_").lower()[:50] or "column"
    name = name if name[0].isalpha() else f"column_{name}"
    for number in range(1, 10_000):
        candidate = name if number == 1 else f"{name}_{number}"
        if candidate not in names and is_allowed(candidate):
            return candidate
    raise ValueError(f"No modality can be called after column '{column}': name it with --extra_columns.")


def is_allowed(name: str) -> bool:
    try:
        check_modality_name(name, TAKEN)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------------------------
# As options again
# ---------------------------------------------------------------------------------------------------------------------


def as_options(extras: Mapping[str, Extra]) -> list[str]:
    """The options that name these modalities and no others."""
    return [f"{name}:{kind}={','.join(columns)}" for name, (kind, columns) in extras.items()] + [LEFT_OUT]


def kinds_of_options(options: Iterable[str]) -> dict[str, str]:
    """name -> kind, of what `as_options` gave."""
    read = [read_option(option) for option in options if option not in NO_NAMES]
    return {name: kind for name, kind, _ in read if kind is not None}
