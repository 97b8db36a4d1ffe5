# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which column of a dataset holds what: the text, the pictures, the sound, the videos, the label.

A column is known by its name, else by its type, else by what its cells hold. What looks like a label is no input
unless a person names it, and of every column that is left out the reason is kept. Further columns can be modalities of
their own (`data/extra_columns.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice

from datasets import Dataset, Features, IterableDataset, Video
from transformers.utils import logging

from mixture_of_transformers.data.allowed_paths import AllowedPaths, path_of_cell
from mixture_of_transformers.data.column_contents import CellContents, what_strings_hold
from mixture_of_transformers.data.column_names import (
    is_label,
    is_label_name,
    is_named_features,
    is_typed_as,
    known_names,
    label_candidates,
    serves,
    what_name_says,
    with_known_names,
    words_of,
)
from mixture_of_transformers.data.column_types import (
    MEDIA_ROLES,
    SOUND,
    STRING_ROLES,
    VIDEO,
    cell_has_sound,
    is_file,
    is_files,
    is_list,
    is_medium,
    is_ready_features,
    is_series,
    is_single,
    is_string,
    is_vector,
    kind_name,
    undecoded_stream,
)
from mixture_of_transformers.data.extra_columns import (
    LEFT_OUT,
    Extra,
    column_called,
    found_extras,
    named_extras,
    option_to_take,
)
from mixture_of_transformers.data.secrets import printable
from mixture_of_transformers.modalities_mot import CELLS, MODALITIES

logger = logging.get_logger(__name__)

# In the order in which their columns are looked for: the text comes last, since any string column may be it.
SEARCH_ORDER = ("label", *MEDIA_ROLES, *STRING_ROLES)
LONG_RUN = 12  # columns whose names differ by numbers that follow each other, which are listed as from one to another
VIDEOS_LISTENED_TO = 20  # to find out whether videos have sound


@dataclass(frozen=True)
class ModalityColumns:
    """The names of the columns that hold each modality and the label; None where the dataset has no such column.

    `audio` and `video` may be one column: then the sound is that of the video. `extra` has the modalities beside
    these, name -> (kind, its columns). `left_out` has the other columns that `guess` saw, each with the reason.
    """

    text: str | None = None
    image: str | None = None
    audio: str | None = None
    video: str | None = None
    label: str | None = None
    extra: dict[str, Extra] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def cells(self) -> tuple[str, ...]:
        """What there is of text, image, audio and video."""
        return tuple(name for name in CELLS if getattr(self, name) is not None)

    @property
    def modalities(self) -> tuple[str, ...]:
        return (*self.cells, *self.extra)

    @classmethod
    def guess(
        cls,
        features: Features,
        text: str | None = None,
        image: str | None = None,
        audio: str | None = None,
        video: str | None = None,
        label: str | None = None,
        rows: Dataset | IterableDataset | None = None,
        extra: Sequence[str] = (LEFT_OUT,),
        set_aside: Mapping[str, str] | None = None,
    ) -> "ModalityColumns":
        """Find the columns of a dataset that are not named.

        A well-known name decides first (folder builders type every `*_file_name` column as their own modality, so an
        `image` column may well be typed Audio), then the only column of the right type. A column of sequences of
        vectors, i.e. ready features, serves any modality, and a string column serves a medium as paths of files.
        A column that is named like a label, an id, a split, ... is no input.

        Args:
            features: the `features` of the training split.
            text, image, audio, video, label: a column's name in any case, None to have it found, or "none" to leave it
                out.
            rows: the training split. With it, string columns are judged by what they hold, too: paths of files are a
                medium, and what repeats as classes do, or has one value for each class, is no text.
            extra: modalities beside these, as `--extra_columns` takes them: "name=column,column" or
                "name:kind=column". Without "none" among them the other columns become modalities, too, as far as
                their types and cells say what they are; of several that could be one role the best is taken.
            set_aside: column -> why it is neither an input nor the label.

        Raises:
            ValueError: a named column does not exist, has an unfit type or is named twice; several columns could be
                meant; there is no modality at all.
        """
        given = cls(text, image, audio, video, label)
        named = {role: getattr(given, role) for role in (*CELLS, "label")}
        chosen = {role: None if name == LEFT_OUT else in_any_case(name, features) for role, name in named.items()}
        check_named(chosen, features)
        set_aside = checked_set_aside(set_aside or {}, chosen, features)
        held = {} if rows is None else what_strings_hold(rows, chosen["label"])
        taken = set_aside | {name: f"the {role}" for role, name in chosen.items() if name}
        extras = named_extras(extra, features, held, taken)
        taken |= {column: name for name, (_, columns) in extras.items() for column in columns}
        finds_extras = LEFT_OUT not in extra
        for role in SEARCH_ORDER:
            if named[role] is None:
                free = {name: kind for name, kind in features.items() if name not in taken}
                free = Features({name: kind for name, kind in free.items() if name not in chosen.values()})
                if role == "label":
                    chosen[role] = find_label(free)
                else:
                    chosen[role] = find_modality(role, free, held, takes_best=finds_extras)
        rest = {name: kind for name, kind in features.items() if name not in {*taken, *chosen.values()}}
        reasons = {}
        if finds_extras:
            closed = [role for role in CELLS if named[role] == LEFT_OUT]
            found, reasons = found_extras(rest, chosen, closed, features, held, rows, extras)
            extras |= found
            rest = {n: kind for n, kind in rest.items() if all(n not in columns for _, columns in found.values())}
        left_out = {n: why_left_out(n, kind, chosen, held.get(n), reasons.get(n)) for n, kind in rest.items()}
        columns = cls(**chosen, extra=extras, left_out=set_aside | left_out)
        if not columns.modalities:
            raise ValueError(
                f"No column of {any_of(CELLS)} was found:\n"
                + "\n".join(columns.lines(features)[-len(columns.left_out) :])
                + f"\nName the one to take, as {any_of(map(option_of, CELLS))} do."
            )
        for role in STRING_ROLES:
            label = held.get(chosen[role], CellContents()).of_label
            if named[role] is None and label is not None:
                logger.warning(
                    f"Column '{chosen[role]}' has one value for each class of '{label}': a model that reads it reads "
                    f"the answer. {option_of(role)} none leaves it out."
                )
        return columns

    def lines(self, features: Features) -> list[str]:
        """One line for each modality and the label: which columns were taken, and of what type they are; and one for
        each other column, with the reason why it was not."""
        lines = []
        for role in (*CELLS, "label"):
            name = getattr(self, role)
            place = f"column '{name}' ({kind_name(features[name])})" if name else "no column"
            lines.append(f"{role}: " + ("sound track of " if role == SOUND and self.has_video_sound else "") + place)
        for name, (kind, several) in self.extra.items():
            lines.append(f"{name}: {listed(several, features)}, of kind {kind}")
        lines += [
            f"left out: column '{name}' ({kind_name(features[name])}), {reason}"
            for name, reason in self.left_out.items()
        ]
        return [*map(printable, lines)]

    @property
    def has_video_sound(self) -> bool:
        return self.video is not None and self.audio == self.video

    def with_video_sound(
        self, split: Dataset | IterableDataset, allowed_paths: AllowedPaths | None = None
    ) -> "ModalityColumns":
        """The same, with the sound of the videos as audio if no column holds sound and the first videos have a track.

        Raises:
            ImportError: PyAV is not installed.
            ValueError: one of these videos lies nowhere in `allowed_paths`.
        """
        if self.audio is not None or self.video is None or is_ready_features(split.features[self.video]):
            return self
        column = split.select_columns(self.video)
        if isinstance(split, IterableDataset):
            column = undecoded_stream(column)
        elif is_medium(split.features[self.video]):
            column = column.cast_column(self.video, Video(decode=False))
        first = (row[self.video] for row in islice(column, VIDEOS_LISTENED_TO))
        for row, cell in enumerate(first):
            if allowed_paths is not None and (path := path_of_cell(cell)):
                allowed_paths.check_cell(path, row, self.video, str(split.split or "train"))
            if cell_has_sound(cell, allowed_paths is None or allowed_paths.follow_urls):
                return replace(self, audio=self.video)
        return self


def listed(columns: Sequence[str], features: Features) -> str:
    """These columns and their types, each by its name but for long runs of numbers: 'c0' to 'c75' (76 of float64)."""
    places = []
    for _, members in groupby(enumerate(columns), key=lambda member: run_of(member[0], member[1], features)):
        run = [column for _, column in members]
        if len(run) >= LONG_RUN:
            places.append(f"'{run[0]}' to '{run[-1]}' ({len(run)} of {kind_name(features[run[0]])})")
        else:
            places += [f"'{column}' ({kind_name(features[column])})" for column in run]
    return f"column{'s' if len(columns) > 1 else ''} {', '.join(places)}"


def run_of(place: int, column: str, features: Features) -> tuple[str, str, int | None]:
    """What the columns of a run have in common: what stands before their numbers, their type, and where 0 would be."""
    stem = column.rstrip("0123456789")
    number = column.removeprefix(stem)
    return (stem, kind_name(features[column]), place - int(number) if number else None)


def option_of(role: str) -> str:
    """The option of a command that names the column of a role."""
    return f"--{role}_column"


def any_of(words: Iterable[str]) -> str:
    """`text, image or audio`"""
    *others, last = words
    return f"{', '.join(others)} or {last}"


def describe_columns(features: Features) -> str:
    return "The columns are: " + ", ".join(f"'{name}' ({kind_name(kind)})" for name, kind in features.items()) + "."


def in_any_case(name: str | None, columns: Iterable[str]) -> str | None:
    """The column of that name, or else the only one that has it in another case; without either the name itself."""
    return name if name is None else column_called(name, columns) or name


def checked_set_aside(
    set_aside: Mapping[str, str], chosen: Mapping[str, str | None], features: Features
) -> dict[str, str]:
    """The columns that are no inputs, as the dataset calls them.

    Raises:
        ValueError: there is no such column, or it was named as something.
    """
    found = {}
    for name, reason in set_aside.items():
        column = in_any_case(name, features)
        if column not in features:
            raise ValueError(f"There is no column '{name}' ({reason}). {describe_columns(features)}")
        if role := next((role for role, taken in chosen.items() if taken == column), None):
            raise ValueError(f"Column '{column}' is named as the {role}, but it is left out: {reason}.")
        found[column] = reason
    return found


def check_named(chosen: dict[str, str | None], features: Features, split_name: str | None = None) -> None:
    """
    Args:
        chosen: role ("text", ..., "label") -> the column that was named for it.

    Raises:
        ValueError: a column does not exist, cannot have its role, or has two roles.
    """
    of_split = f" in split '{split_name}'" if split_name else ""
    taken = {}
    for role, name in chosen.items():
        if name is None:
            continue
        if name not in features:
            raise ValueError(
                f"There is no column '{name}' to take the {role} from{of_split}. {describe_columns(features)}"
            )
        if not (is_label(features[name]) if role == "label" else serves(role, features[name])):
            raise ValueError(
                f"Column '{name}' ({kind_name(features[name])}) cannot be the {role}{of_split}. "
                f"{describe_columns(features)}"
            )
        # Videos with their sound are one column for both.
        if name in taken and (taken[name], role) != (SOUND, VIDEO):
            raise ValueError(f"Column '{name}' is named both as {taken[name]} and as {role}; name another or 'none'.")
        taken[name] = role


def find_label(features: Features) -> str | None:
    candidates = label_candidates(features)
    if candidates and with_known_names("label", candidates):
        return candidates[0]
    return only_one("label", candidates)


def find_modality(
    role: str, features: Features, held: dict[str, CellContents], takes_best: bool = False
) -> str | None:
    """
    Args:
        takes_best: of several columns that could be meant, take the one with the best name, or else the first; without
            it they are an error.
    """
    serving = [name for name, kind in features.items() if serves(role, kind)]
    by_name = with_known_names(role, [name for name in serving if not is_vector(features[name])])
    by_name += [name for name in serving if is_named_features(role, name) and not is_string(features[name])]
    if by_name:
        return by_name[0]
    if role in STRING_ROLES:
        prose = [name for name, kind in features.items() if is_string(kind) and is_prose(name, held.get(name))]
        return best_or_only(role, prose, takes_best)
    others = [name for other in SEARCH_ORDER if other != role for name in with_known_names(other, features)]
    of_type = [name for name, kind in features.items() if is_typed_as(role, kind) and not is_label_name(name)]
    if of_type := [name for name in of_type if name not in others]:
        return best_or_only(role, of_type, takes_best)
    paths = [name for name, found in held.items() if name in features and found.medium == CELLS[role].medium]
    return best_or_only(role, best_named(role, paths), takes_best)


def best_named(role: str, candidates: list[str]) -> list[str]:
    """Those with a known name for a word, or else all."""
    return [name for name in candidates if set(words_of(name)) & set(known_names(role))] or candidates


def best_or_only(role: str, candidates: list[str], takes_best: bool) -> str | None:
    return next(iter(best_named(role, candidates)), None) if takes_best else only_one(role, candidates)


def is_prose(name: str, held: CellContents | None) -> bool:
    return not what_name_says(name) and not (held and held.reason)


def only_one(role: str, candidates: list[str]) -> str | None:
    if len(candidates) > 1:
        raise ValueError(
            f"Several columns could be the {role}: {candidates}. Name the one to take, or 'none' to leave it out."
        )
    return candidates[0] if candidates else None


def why_left_out(
    name: str, kind, chosen: dict[str, str | None], held: CellContents | None, reason: str | None = None
) -> str:
    """
    Args:
        reason: why it is no modality of its own, where such were looked for.
    """
    if reason and not reason.endswith("label"):
        return reason if "--" in reason else f"{reason}: {option_to_take(name)} would take it"
    if says := what_name_says(name):
        return says + (f": --label_column {name} would learn it" if says.endswith("label") and is_label(kind) else "")
    if held and held.reason:
        return held.reason
    if is_list(kind) and is_file(kind.feature):
        return f"several files in each row: {option_to_take(name)} would take it"
    if is_vector(kind) or is_ready_features(kind):
        return f"{any_of(map(option_of, MODALITIES))} would take it as ready features"
    roles = STRING_ROLES if is_string(kind) else MEDIA_ROLES
    if role := next((role for role in roles if serves(role, kind)), None):
        return f"the {role} is column '{chosen[role]}'" if chosen[role] else f"{option_of(role)} would take it"
    if is_files(kind):  # of strings, which may be texts or paths
        option = option_to_take(name).replace("=", ":KIND=")
        return f"several strings in each row: {option} would take it, where KIND is {any_of(CELLS)}"
    if is_single(kind) or is_series(kind):
        return f"{option_to_take(name)} would take it"
    return "a type that is no input"
