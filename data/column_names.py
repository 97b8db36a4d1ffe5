# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the name and the type of a column say: which modalities it can be, and whether it is a label or a record."""

import re
from collections.abc import Iterable

from datasets import ClassLabel, Features, Json

from mixture_of_transformers.data.column_types import (
    element_of,
    is_file,
    is_ready_features,
    is_samples,
    is_string,
    is_value,
    is_vector,
    media_type,
)
from mixture_of_transformers.modalities_mot import CELLS, MODALITIES

LABEL_NAMES = (
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
)
FEATURE_WORDS = re.compile("features|embeddings?|vectors?")  # such as clip_image_embedding
# A column with one of these words in its name tells what the row is, which is an answer and never an input.
LABEL_WORDS = re.compile(
    "labels?|targets?|class(es)?|cls|categor(y|ies)|emotions?|sentiments?|scores?|ratings?|stars|intents?|polarity"
    "|valence|arousal|genres?|annotations?|gold"
)
# A column whose name ends in one of these words keeps records of the rows.
RECORD_WORDS = re.compile(
    "ids?|idx|index|key|uuid|guid|md|sha|hash|paths?|files?|filename|names?|urls?|uri|speaker|author|user|gender|sex"
    "|age|accent|language|lang|locale|license|date|time|timestamp"
)
# A picture or a series with one of these words in its name shows the answer, as a mask of what is to be found does.
ANSWER_WORDS = re.compile(
    "masks?|segmentations?|bbox(es)?|keypoints?|landmarks?|predictions?|logits?|outcomes?|diagnos[ie]s"
)
# Records that tell something in a table, but in a dataset with sound who speaks.
PERSON_WORDS = re.compile("gender|sex|age|accent|language|lang|locale")
# Numbers of a column whose name ends so describe the file of a medium.
FILE_WORDS = re.compile(
    "(.* )?(durations?|seconds|milliseconds|ms|fps|frames|samples|width|height|bytes|format|codec|start|end|begin"
    "|offset|onset|(sampling|sample|frame|bit) rate)"
)
SPLIT_NAME_WORDS = re.compile("splits?|folds?|mode|set|subset|partition")


def label_candidates(features: Features) -> list[str]:
    """The columns with a well-known name, or else the class labels of any name."""
    labels = {name: kind for name, kind in features.items() if is_label(kind)}
    return with_known_names("label", labels) or [
        name for name, kind in labels.items() if isinstance(element_of(kind), ClassLabel)
    ]


def known_names(role: str) -> tuple[str, ...]:
    """What datasets call a column of this role, the best known first."""
    return LABEL_NAMES if role == "label" else CELLS[role].columns


def with_known_names(role: str, columns: Iterable[str]) -> list[str]:
    """The columns that have a well-known name in any case, or end in one (`json.caption`), the best known first."""
    columns = {name: name.lower() for name in columns}
    return [name for k in known_names(role) for name, low in columns.items() if k in (low, low.rpartition(".")[2])]


def words_of(name: str) -> list[str]:
    """imagePath, image_path and image-path1 are made of `image` and `path`."""
    parts = re.split(r"[\W\d_]+|(?<=[a-z])(?=[A-Z])", name)
    return [part.lower() for part in parts if part]


def is_named_features(role: str, name: str) -> bool:
    *first, last = words_of(name) or [""]
    return bool(FEATURE_WORDS.fullmatch(last)) and any(word in known_names(role) for word in first)


def is_label_name(name: str) -> bool:
    return any(LABEL_WORDS.fullmatch(word) for word in words_of(name))


def is_split_name(name: str) -> bool:
    return bool(SPLIT_NAME_WORDS.fullmatch((words_of(name) or [""])[-1]))


def what_name_says(name: str) -> str | None:
    """What a column keeps that is no input, told by its name."""
    words = words_of(name) or [""]
    if is_label_name(name):
        return "named like a label"
    if is_split_name(name):
        return "named like a split"
    if RECORD_WORDS.fullmatch(words[-1]) or words[0] == "id":
        return "named like an id, a path or another record of the row"
    return None


def what_name_of_values_says(name: str, has_media: bool, has_sound: bool) -> str | None:
    """
    As `what_name_says`, of a column of numbers or categories: which of them are records depends on what there is
    beside them.

    Args:
        has_media: whether the dataset has pictures, sound or videos.
        has_sound: whether sound or videos are among them.
    """
    words = words_of(name)
    if len(words) > 1 and words[-1] == "name":  # that of a category, as in "Division Name"
        words = words[:-1]
        if set(words) & {word for role in CELLS for word in known_names(role)}:
            return what_name_says(name)
    if has_media and FILE_WORDS.fullmatch(" ".join(words)):
        return "named like a record of a file"
    if words and PERSON_WORDS.fullmatch(words[-1]) and not is_label_name(name):
        return "named like a record of who is heard" if has_sound else None
    return what_name_says(" ".join(words))


def serves(role: str, kind) -> bool:
    if is_ready_features(kind) or is_string(kind):
        return True
    if is_vector(kind):
        return role in MODALITIES  # A vector stands for a whole picture, sound or text, but for no frames of a video.
    # Image, Audio and Video are stored alike (bytes and path), so one that is typed wrongly is cast at no cost.
    return CELLS[role].medium is not None and is_file(kind) or CELLS[role].takes_samples and is_samples(kind)


def is_typed_as(role: str, kind) -> bool:
    return isinstance(kind, media_type(role)) or CELLS[role].takes_samples and is_samples(kind)


def is_label(kind) -> bool:
    kind = element_of(kind)
    # `datasets` types mixed kinds of values as Json, which `learn_labels` refuses with an error that shows them.
    return isinstance(kind, ClassLabel | Json) or is_string(kind) or is_value(kind, "int", "uint", "bool", "float")
