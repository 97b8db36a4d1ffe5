# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which column of a dataset holds what: the text, the pictures, the sound, the videos, the label.

A column is known by its name, else by its type, else by what its cells hold. What looks like a label is no input unless a
person names it, and of every column that is left out the reason is kept.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from urllib.parse import urlsplit

from datasets import ClassLabel, Dataset, Features, IterableDataset, Json, Video
from datasets.packaged_modules.webdataset.webdataset import WebDataset
from transformers.utils import logging

from mixture_of_transformers.configuration_mot import MODALITIES
from mixture_of_transformers.data.allowed_paths import AllowedPaths, path_of_cell
from mixture_of_transformers.data.column_types import (
    MEDIA,
    cell_has_sound,
    element_of,
    is_file,
    is_list,
    is_ready_features,
    is_samples,
    is_string,
    is_value,
    is_vector,
    kind_name,
    undecoded_stream,
)
from mixture_of_transformers.data.secrets import printable

logger = logging.get_logger(__name__)

ROLES = ("label", "image", "audio", "video", "text")
KNOWN_NAMES = {
    "text": ("text", "text_features", "sentence", "caption", "transcription", "transcript", "utterance", "txt"),
    "image": ("image", "image_features", "img", "vision", "png", "jpg", "jpeg", "webp"),
    "audio": ("audio", "audio_features", "wav", "flac", "mp3", "ogg", "opus", "m4a"),
    "video": ("video", "mp4", "mov", "avi", "mkv", "webm"),
    "label": (
        "label",
        "labels",
        "target",
        "targets",
        "class",
        "category",
        "sentiment",
        "emotion",
        "score",
        "cls",
        "regression_labels",
    ),
}
FEATURE_WORDS = re.compile("features|embeddings?|vectors?")  # clip_image_embedding
# A column with one of these words in its name tells what the row is: an answer, never an input.
LABEL_WORDS = re.compile(
    "labels?|targets?|class(es)?|cls|categor(y|ies)|emotions?|sentiments?|scores?|ratings?|stars|intents?|polarity|valence"
    "|arousal|genres?|annotations?|gold"
)
# One that ends in one of these keeps books of the rows.
RECORD_WORDS = re.compile(
    "ids?|idx|index|key|uuid|guid|md|sha|hash|paths?|files?|filename|names?|urls?|uri|speaker|author|user|gender|sex|age"
    "|accent|language|lang|locale|license|date|time|timestamp"
)
SPLIT_NAME_WORDS = re.compile("splits?|folds?|mode|set|subset|partition")
MEDIA_EXTENSIONS = {
    "image": set(WebDataset.IMAGE_EXTENSIONS),
    "audio": set(WebDataset.AUDIO_EXTENSIONS),
    "video": set(WebDataset.VIDEO_EXTENSIONS),
}
LEFT_OUT = "none"
VIDEOS_LISTENED_TO = 20
ROWS_READ, ROWS_OF_A_STREAM_READ = 10_000, 200  # to see what columns hold
NEARLY, FEW_ROWS = 0.95, 5  # of the cells; fewer rows tell nothing
NUMBER_OR_DATE = re.compile(
    r"(?=\D*\d)([\d\s.,;:/()\[\]+-]|e[+-]?\d|T(?=\d)|Z$|am|pm|utc|gmt"
    r"|(mon|tues?|wed(nes)?|thu(rs)?|fri|sat(ur)?|sun)(day)?"
    r"|jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?|dec(ember)?)+",
    re.IGNORECASE,
)  # and dates
SINGLE_WORD = re.compile(
    r"[\x21-\x7e\xa1-\u024f]+"
)  # a single word; a sentence in other scripts may have no space either
# Names of classes have few words and stand in many rows: of so many words, at least in so many rows each.
ROWS_OF_A_CLASS = {2: 2, 5: 5}


@dataclass(frozen=True)
class ModalityColumns:
    """The names of the columns that hold each modality and the label; None where the dataset has no such column.

    `audio` and `video` may be one column: then the sound is that of the video. `left_out` has the other columns that
    `guess` saw, each with the reason.
    """

    text: str | None = None
    image: str | None = None
    audio: str | None = None
    video: str | None = None
    label: str | None = None
    left_out: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(name for name in (*MODALITIES, "video") if getattr(self, name) is not None)

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
    ) -> "ModalityColumns":
        """Find the columns of a dataset that are not named.

        A well-known name decides first (folder builders type every `*_file_name` column as their own modality, so an
        `image` column may well be typed Audio), then the only column of the right type. A column of sequences of
        vectors, i.e. ready features, serves any modality, and a string column serves a medium as paths of files.
        A column that is named like a label, an id, a split, ... is no input.

        Args:
            features: the `features` of the training split.
            text, image, audio, video, label: a column's name in any case, None to have it found, or "none" to leave it out.
            rows: the training split. With it, string columns are judged by what they hold, too: paths of files are a
                medium, and what repeats as classes do, or has one value for each class, is no text.

        Raises:
            ValueError: a named column does not exist, has an unfit type or is named twice; several columns could be
                meant; there is no modality at all.
        """
        named = {"text": text, "image": image, "audio": audio, "video": video, "label": label}
        chosen = {role: None if name == LEFT_OUT else in_any_case(name, features) for role, name in named.items()}
        check_named(chosen, features)
        held = {} if rows is None else what_strings_hold(rows, chosen["label"])
        # The text comes last: it may be any string column that is nothing else.
        for role in ROLES:
            if named[role] is None:
                free = Features({name: kind for name, kind in features.items() if name not in chosen.values()})
                chosen[role] = find_label(free) if role == "label" else find_modality(role, free, held)
        rest = {name: kind for name, kind in features.items() if name not in chosen.values()}
        left_out = {name: why_left_out(name, kind, chosen, held.get(name)) for name, kind in rest.items()}
        columns = cls(**chosen, left_out=left_out)
        if not columns.modalities:
            raise ValueError(
                "No column of text, image, audio or video was found:\n"
                + "\n".join(columns.lines(features)[-len(left_out) :])
                + "\nName the one to take, as --text_column, --image_column, --audio_column or --video_column do."
            )
        if text is None and held.get(columns.text, CellContents()).of_label:
            logger.warning(
                f"Column '{columns.text}' has one value for each class of '{held[columns.text].of_label}': a model that "
                "reads it reads the answer. --text_column none leaves it out."
            )
        return columns

    def lines(self, features: Features) -> list[str]:
        """One line for each modality and the label: which column was taken, and of what type it is; and one for each
        other column, with the reason why it was not."""
        lines = []
        for role in (*MODALITIES, "video", "label"):
            name = getattr(self, role)
            place = f"column '{name}' ({kind_name(features[name])})" if name else "no column"
            lines.append(f"{role}: " + ("sound track of " if role == "audio" and self.has_video_sound else "") + place)
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
        elif isinstance(split.features[self.video], tuple(MEDIA.values())):
            column = column.cast_column(self.video, Video(decode=False))
        first = (row[self.video] for row in islice(column, VIDEOS_LISTENED_TO))
        for row, cell in enumerate(first):
            if allowed_paths is not None and (path := path_of_cell(cell)):
                allowed_paths.check_cell(path, row, self.video, str(split.split or "train"))
            if cell_has_sound(cell, allowed_paths is None or allowed_paths.follow_urls):
                return replace(self, audio=self.video)
        return self


def describe_columns(features: Features) -> str:
    return "The columns are: " + ", ".join(f"'{name}' ({kind_name(kind)})" for name, kind in features.items()) + "."


def in_any_case(name: str | None, columns: Iterable[str]) -> str | None:
    """The column of that name, or else the only one that has it in another case; without either the name itself."""
    alike = [column for column in columns if name is not None and column.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 and name not in columns else name


def check_named(chosen: dict[str, str | None], features: Features, split_name: str | None = None) -> None:
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
                f"Column '{name}' ({kind_name(features[name])}) cannot be the {role}{of_split}. {describe_columns(features)}"
            )
        if name in taken and (taken[name], role) != ("audio", "video"):  # together, the sound is that of the video
            raise ValueError(f"Column '{name}' is named both as {taken[name]} and as {role}; name another or 'none'.")
        taken[name] = role


# ---- by name and type --------------------------------------------------------------------------------------------


def find_label(features: Features) -> str | None:
    candidates = label_candidates(features)
    if candidates and with_known_names("label", candidates):
        return candidates[0]
    return only_one("label", candidates)


def label_candidates(features: Features) -> list[str]:
    """The columns with a well-known name, or else the class labels of any name."""
    labels = {name: kind for name, kind in features.items() if is_label(kind)}
    return with_known_names("label", labels) or [
        name for name, kind in labels.items() if isinstance(element_of(kind), ClassLabel)
    ]


def find_modality(modality: str, features: Features, held: "dict[str, CellContents]") -> str | None:
    serving = [name for name, kind in features.items() if serves(modality, kind)]
    by_name = with_known_names(modality, [name for name in serving if not is_vector(features[name])])
    by_name += [name for name in serving if is_named_features(modality, name) and not is_string(features[name])]
    if by_name:
        return by_name[0]
    if modality == "text":
        prose = [name for name, kind in features.items() if is_string(kind) and is_prose(name, held.get(name))]
        return only_one("text", prose)
    others = [name for other in KNOWN_NAMES if other != modality for name in with_known_names(other, features)]
    of_type = [name for name, kind in features.items() if is_typed_as(modality, kind) and not is_label_name(name)]
    if of_type := [name for name in of_type if name not in others]:
        return only_one(modality, of_type)
    paths = [name for name, found in held.items() if name in features and found.medium == modality]
    return only_one(modality, [name for name in paths if set(words_of(name)) & set(KNOWN_NAMES[modality])] or paths)


def with_known_names(role: str, columns: Iterable[str]) -> list[str]:
    """The columns that have a well-known name in any case, or end in one (`json.caption`), the best known first."""
    columns = {name: name.lower() for name in columns}
    return [name for k in KNOWN_NAMES[role] for name, low in columns.items() if k in (low, low.rpartition(".")[2])]


def words_of(name: str) -> list[str]:
    """imagePath, image_path and image-path1 are made of `image` and `path`."""
    parts = re.split(r"[\W\d_]+|(?<=[a-z])(?=[A-Z])", name)
    return [part.lower() for part in parts if part]


def is_named_features(modality: str, name: str) -> bool:
    *first, last = words_of(name) or [""]
    return bool(FEATURE_WORDS.fullmatch(last)) and any(word in KNOWN_NAMES[modality] for word in first)


def is_label_name(name: str) -> bool:
    return any(LABEL_WORDS.fullmatch(word) for word in words_of(name))


def is_prose(name: str, held: "CellContents | None") -> bool:
    return not what_name_says(name) and not (held and held.reason)


def what_name_says(name: str) -> str | None:
    """What a column keeps that is no input, told by its name."""
    words = words_of(name) or [""]
    if is_label_name(name):
        return "named like a label"
    if SPLIT_NAME_WORDS.fullmatch(words[-1]):
        return "named like a split"
    if RECORD_WORDS.fullmatch(words[-1]) or words[0] == "id":
        return "named like an id, a path or another record of the row"
    return None


def only_one(role: str, candidates: list[str]) -> str | None:
    if len(candidates) > 1:
        raise ValueError(
            f"Several columns could be the {role}: {candidates}. Name the one to take, or 'none' to leave it out."
        )
    return candidates[0] if candidates else None


def serves(modality: str, kind) -> bool:
    if is_ready_features(kind) or is_string(kind):
        return True
    if modality != "video" and is_vector(kind):
        return True
    # Image, Audio and Video are stored alike (bytes and path), so one that is typed wrongly is cast at no cost.
    return modality != "text" and is_file(kind) or modality == "audio" and is_samples(kind)


def is_typed_as(modality: str, kind) -> bool:
    return isinstance(kind, MEDIA[modality]) or modality == "audio" and is_samples(kind)


def is_label(kind) -> bool:
    kind = element_of(kind)
    # Json is what `datasets` makes of mixed kinds of values, of which `learn_labels` says more.
    return isinstance(kind, ClassLabel | Json) or is_string(kind) or is_value(kind, "int", "uint", "bool", "float")


# ---- by what the cells hold --------------------------------------------------------------------------------------


@dataclass
class CellContents:
    """What the cells of a string column hold: paths of a medium, one value for each class of another column, or what
    else makes them no text."""

    medium: str | None = None
    of_label: str | None = None
    reason: str | None = None


def what_strings_hold(rows: Dataset | IterableDataset, label: str | None) -> dict[str, CellContents]:
    """Of each string column, from rows that lie evenly in a split, or the first of a stream."""
    strings = [name for name, kind in rows.features.items() if is_string(kind)]
    labels = sorted({label, *label_candidates(rows.features)} - {None})
    columns = sampled_cells(rows, sorted({*strings, *labels})) if strings else {}
    for label in labels if strings else ():
        if isinstance(kind := rows.features[label], ClassLabel):
            columns[label] = [kind.names[i] if i is not None and i >= 0 else None for i in columns[label]]
    return {
        name: what_cells_hold(name, columns[name], {n: columns[n] for n in labels if n != name}) for name in strings
    }


def sampled_cells(rows: Dataset | IterableDataset, columns: list[str]) -> dict[str, list]:
    if isinstance(rows, IterableDataset):
        first = list(islice(undecoded_stream(rows.select_columns(columns)), ROWS_OF_A_STREAM_READ))
        return {name: [row[name] for row in first] for name in columns}
    step = -(-len(rows) // ROWS_READ) or 1
    return rows.with_format(None).select_columns(columns).select(range(0, len(rows), step))[:]


def what_cells_hold(name: str, cells: list[str | None], labels: dict[str, list]) -> CellContents:
    held = what_repeats(cells, labels)
    if held.reason:
        return held
    says = what_nearly_all_are(cells) or next(
        (says for n in labels if (says := names_class(n, cells, labels[n]))), None
    )
    return replace(held, reason=says and f"{says}: --text_column {name} would take it")


def what_nearly_all_are(cells: list[str | None]) -> str | None:
    present = [cell.strip() for cell in cells if cell is not None and cell.strip()]
    for pattern, says in (
        (NUMBER_OR_DATE, "numbers or dates"),
        (SINGLE_WORD, "single words, as codes, names and addresses are"),
    ):
        if len(present) >= FEW_ROWS and sum(map(bool, map(pattern.fullmatch, present))) >= NEARLY * len(present):
            return says
    return None


def names_class(label: str, cells: list[str | None], classes: list) -> str | None:
    """Whether nearly every cell names the class of its row, and hardly one another."""
    rows = [(cell, name) for cell, name in zip(cells, classes) if cell and isinstance(name, str) and name.strip()]
    names = sorted({name for _, name in rows})
    if len(names) < 2 or len(rows) < FEW_ROWS:
        return None
    patterns = {name: re.compile(rf"(?<![^\W_]){re.escape(name.strip())}(?![^\W_])", re.IGNORECASE) for name in names}
    another = dict(zip(names, [*names[1:], names[0]]))
    own = sum(bool(patterns[name].search(cell)) for cell, name in rows)
    others = sum(bool(patterns[another[name]].search(cell)) for cell, name in rows)
    if own >= NEARLY * len(rows) and others <= (1 - NEARLY) * len(rows):
        return f"names the class of '{label}' in nearly every row"
    return None


def what_repeats(cells: list[str | None], labels: dict[str, list]) -> CellContents:
    present = [i for i, cell in enumerate(cells) if cell is not None and cell.strip()]
    values = Counter(cells[i] for i in present)
    media = Counter(medium_of_path(cells[i]) for i in present)
    for medium in MEDIA:
        if 2 * media[medium] > len(present):
            return CellContents(medium, reason=f"paths of files of {medium}")
    if len(present) < 2 * len(values) or not values:  # hardly a value stands twice
        return CellContents()
    if len(values) == 1:
        return CellContents(reason="the same in every row")
    for label, classes in labels.items():
        pairs = {(repr(classes[i]), cells[i]) for i in present}
        if len(pairs) == len({repr(classes[i]) for i in present}) and len(present) >= 2 * len(pairs):
            return CellContents(of_label=label, reason=f"one value for each class of '{label}'")
    words = max(len(value.split()) for value in values)
    if any(words <= most and len(present) >= rows * len(values) for most, rows in ROWS_OF_A_CLASS.items()):
        return CellContents(reason=f"{len(values)} values in {len(present)} rows, as classes have")
    return CellContents()


def medium_of_path(path: str) -> str | None:
    suffix = urlsplit(path.strip()).path.rpartition(".")[2].lower()
    return next((medium for medium, suffixes in MEDIA_EXTENSIONS.items() if suffix in suffixes), None)


def why_left_out(name: str, kind, chosen: dict[str, str | None], held: CellContents | None) -> str:
    text = chosen["text"]
    if says := what_name_says(name):
        return says + (f": --label_column {name} would learn it" if says.endswith("label") and is_label(kind) else "")
    if held and held.reason:
        return held.reason
    if is_string(kind):
        return f"the text is column '{text}'" if text else "--text_column would take it"
    if is_list(kind) and is_file(kind.feature):
        return "several files in each row: give each a column of its own, or store them as a video"
    if is_vector(kind) or is_ready_features(kind):
        return "--text_column, --image_column or --audio_column would take it as ready features"
    if role := next((role for role in MEDIA if serves(role, kind)), None):
        return f"the {role} is column '{chosen[role]}'" if chosen[role] else f"--{role}_column would take it"
    return "a type that is no input"
