# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which column of a dataset holds what: the text, the pictures, the sound, the videos, the label."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

from datasets import ClassLabel, Dataset, Features, IterableDataset, Video

from .column_types_mot import (
    MEDIA,
    cell_has_sound,
    element_of,
    is_ready_features,
    is_stored_file,
    is_string,
    is_value,
    kind_name,
    undecoded_stream,
)
from .configuration_mot import MODALITIES

_KNOWN_NAMES = {
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
# String columns that are not prose, whatever else the dataset has.
_NOT_PROSE = re.compile(r"(^|_)(ids?|idx|index|key|uuid|md5|paths?|files?|filename|name|url|speaker|split)$", re.I)
_LEFT_OUT = "none"
_VIDEOS_LISTENED_TO = 20


@dataclass(frozen=True)
class ModalityColumns:
    """The names of the columns that hold each modality and the label; None where the dataset has no such column.

    `audio` and `video` may be one column: then the sound is that of the video.
    """

    text: str | None = None
    image: str | None = None
    audio: str | None = None
    video: str | None = None
    label: str | None = None

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
    ) -> "ModalityColumns":
        """Find the columns of a dataset that are not named.

        A well-known name decides first (folder builders type every `*_file_name` column as their own modality, so an
        `image` column may well be typed Audio), then the only column of the right type. A column of sequences of
        vectors, i.e. ready features, serves any modality, and a string column serves a medium as paths of files.

        Args:
            features: the `features` of the training split.
            text, image, audio, video, label: a column's name, None to have it found, or "none" to leave it out.

        Raises:
            ValueError: a named column does not exist, has an unfit type or is named twice; several columns could be
                meant; there is no modality at all.
        """
        named = {"text": text, "image": image, "audio": audio, "video": video, "label": label}
        chosen = {role: None if name == _LEFT_OUT else name for role, name in named.items()}
        check_named(chosen, features)
        # Text comes last: any string column that nothing else wanted may be it.
        for role in ("label", "image", "audio", "video", "text"):
            if named[role] is None:
                free = Features({name: kind for name, kind in features.items() if name not in chosen.values()})
                chosen[role] = _find_label(free) if role == "label" else _find_modality(role, free)
        columns = cls(**chosen)
        if not columns.modalities:
            raise ValueError(f"No column of text, image, audio or video was found. {_describe(features)}")
        return columns

    def lines(self, features: Features) -> list[str]:
        """One line for each modality and the label: which column was taken, and of what type it is."""
        lines = []
        for role in (*MODALITIES, "video", "label"):
            name = getattr(self, role)
            place = f"column '{name}' ({kind_name(features[name])})" if name else "no column"
            lines.append(f"{role}: " + ("sound track of " if role == "audio" and self.has_video_sound else "") + place)
        return lines

    @property
    def has_video_sound(self) -> bool:
        return self.video is not None and self.audio == self.video

    def with_video_sound(self, split: Dataset | IterableDataset) -> "ModalityColumns":
        """The same, with the sound of the videos as audio if no column holds sound and the first videos have a track.

        Raises:
            ImportError: PyAV is not installed.
        """
        if self.audio is not None or self.video is None or is_ready_features(split.features[self.video]):
            return self
        column = split.select_columns(self.video)
        if isinstance(split, IterableDataset):
            column = undecoded_stream(column)
        elif isinstance(split.features[self.video], tuple(MEDIA.values())):
            column = column.cast_column(self.video, Video(decode=False))
        first = (row[self.video] for row in islice(column, _VIDEOS_LISTENED_TO))
        return replace(self, audio=self.video) if any(cell_has_sound(cell) for cell in first) else self


def _describe(features: Features) -> str:
    return "The columns are: " + ", ".join(f"'{name}' ({kind_name(kind)})" for name, kind in features.items()) + "."


def check_named(chosen: dict[str, str | None], features: Features) -> None:
    taken = {}
    for role, name in chosen.items():
        if name is None:
            continue
        if name not in features:
            raise ValueError(f"There is no column '{name}' to take the {role} from. {_describe(features)}")
        if not (_is_label(features[name]) if role == "label" else _serves(role, features[name])):
            raise ValueError(
                f"Column '{name}' ({kind_name(features[name])}) cannot be the {role}. {_describe(features)}"
            )
        if name in taken and (taken[name], role) != ("audio", "video"):  # together, the sound is that of the video
            raise ValueError(f"Column '{name}' is named both as {taken[name]} and as {role}; name another or 'none'.")
        taken[name] = role


def _find_label(features: Features) -> str | None:
    candidates = label_candidates(features)
    if candidates and _with_known_names("label", candidates):
        return candidates[0]
    return _only_one("label", candidates)


def label_candidates(features: Features) -> list[str]:
    """The columns with a well-known name, or else the class labels of any name."""
    labels = {name: kind for name, kind in features.items() if _is_label(kind)}
    return _with_known_names("label", labels) or [
        name for name, kind in labels.items() if isinstance(element_of(kind), ClassLabel)
    ]


def _find_modality(modality: str, features: Features) -> str | None:
    by_name = _with_known_names(modality, [name for name, kind in features.items() if _serves(modality, kind)])
    if by_name:
        return by_name[0]
    if modality == "text":
        return _only_one(
            "text", [name for name in features if is_string(features[name]) and not _NOT_PROSE.search(name)]
        )
    others = [name for other in _KNOWN_NAMES if other != modality for name in _with_known_names(other, features)]
    of_type = [name for name, kind in features.items() if isinstance(kind, MEDIA[modality])]
    return _only_one(modality, [name for name in of_type if name not in others])


def _with_known_names(role: str, columns: Iterable[str]) -> list[str]:
    """The columns that have a well-known name, or end in one (`json.caption`), the best known first."""
    columns = list(columns)
    return [name for known in _KNOWN_NAMES[role] for name in columns if known in (name, name.rpartition(".")[2])]


def _only_one(role: str, candidates: list[str]) -> str | None:
    if len(candidates) > 1:
        raise ValueError(
            f"Several columns could be the {role}: {candidates}. Name the one to take, or 'none' to leave it out."
        )
    return candidates[0] if candidates else None


def _serves(modality: str, kind) -> bool:
    if is_ready_features(kind) or is_string(kind):
        return True
    # Image, Audio and Video are stored alike (bytes and path), so one that is typed wrongly is cast at no cost.
    is_file = isinstance(kind, tuple(MEDIA.values())) or is_stored_file(kind) or is_value(kind, "binary")
    return modality != "text" and is_file


def _is_label(kind) -> bool:
    kind = element_of(kind)
    return isinstance(kind, ClassLabel) or is_string(kind) or is_value(kind, "int", "uint", "bool", "float")
