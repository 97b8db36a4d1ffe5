# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a dataset's columns hold, one form for every dataset, and the embedded digits dataset.

A dataset goes through `sources_mot.load_splits` (or `load_digits_dataset`), `ModalityColumns.guess`, `prepare_splits`
and `drop_bad_examples`, and leaves with the columns `text`, `image`, `audio`, `video` (those it has) and `label`, as a
`datasets.Dataset` or, streamed, as a `RowStream`. Media stay encoded (bytes or a path) until the processor opens them;
a None cell is a modality that the row lacks.
"""

import io
import json
import math
import re
import string
import wave
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import datasets
import fsspec
import numpy as np
import pyarrow as pa
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Image, IterableDataset, Value, Video
from datasets.utils import tqdm
from PIL import Image as PILImage
from transformers import BertTokenizer
from transformers.utils import logging

from .configuration_mot import MODALITIES
from .decoding_mot import has_sound, iterate_frames, load_image, open_source, read_audio

logger = logging.get_logger(__name__)


# ---- the embedded dataset ---------------------------------------------------------------------------------------

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS_FEATURES = Features(
    {
        "text": Value("string"),
        "image": Image(),
        "audio": Audio(sampling_rate=16000),
        "label": ClassLabel(names=list(DIGIT_NAMES)),
    }
)

_SAMPLING_RATE = 16000  # Hz
# A telephone key sounds the tone of its row and the tone of its column at once (ITU-T Q.23), in Hz.
_KEY_TONES = (
    (941, 1336),  # 0
    (697, 1209),
    (697, 1336),
    (697, 1477),
    (770, 1209),
    (770, 1336),
    (770, 1477),
    (852, 1209),
    (852, 1336),
    (852, 1477),
)
_CLIP_SECONDS = (0.3, 0.8)
_TONE_SECONDS = (0.08, 0.25)
_SIGNAL_TO_NOISE_DB = (-20.0, 6.0)
_COLUMN_OVER_ROW_DB = (-4.0, 4.0)
_PEAK_LEVEL = (0.05, 0.8)

_NAMING_SHARE = 0.6
_NAMING_SENTENCES = (
    "{digit}, please.",
    "Press {digit} to go on.",
    "The number written here is {digit}.",
    "This is a {digit}.",
    "I would read it as {digit}.",
    "Somebody wrote {digit} on the form.",
    "The caller pressed {digit}.",
    "It looks like {digit} to me.",
    "Her house number ends in {digit}.",
    "Dial {digit} after the beep.",
    "We counted {digit} of them.",
    "The key was {digit}, I am sure of it.",
    "The score stayed at {digit} all evening.",
    "Please send {digit} copies.",
    "A child drew the figure {digit}.",
    "My answer is {digit}.",
    "You heard it right: {digit}.",
    "Platform {digit} is around the corner.",
    "They took bus {digit} home.",
    "The last figure of the code is {digit}.",
)
_SILENT_SENTENCES = (
    "Please write this down for me.",
    "The line was very noisy.",
    "I could not read the handwriting.",
    "Thank you for calling.",
    "Somebody left this on my desk.",
    "The ink is a little pale.",
    "Could you repeat that more slowly?",
    "Stay on the line, please.",
    "The postman was late again today.",
    "We will call you back this afternoon.",
    "This form has been scanned twice over.",
    "Nothing else was written on the page.",
    "Listen to the tone and look at the picture.",
    "The figure was drawn with a pencil.",
    "He pressed a key and waited.",
    "Her writing leans to the left.",
)

# Every choice of modalities that leaves a row with at least one other.
_MISSING_MODALITIES = (
    ("text",),
    ("image",),
    ("audio",),
    ("text", "image"),
    ("text", "audio"),
    ("image", "audio"),
)


def load_digits_dataset(seed: int = 0, missing_rate: float = 0.3) -> DatasetDict:
    """Handwritten digits with a keypad tone and a sentence: a tri-modal dataset that needs no download.

    The images are the 1797 real ones of scikit-learn (UCI Optical Recognition of Handwritten Digits; Alpaydin and
    Kaynak, 1998), scaled from 8x8 to 28x28 greyscale. The audio is the digit's dual tone on a telephone keypad, short
    and often deep in noise. The sentence names the digit in 60 % of the rows of each split, as a word or a numeral.

    Args:
        seed: the same seed gives the same rows, bit for bit.
        missing_rate: share of the *training* rows that lack one or two modalities (None cells), from 0 to 1. The
            rate changes no other cell. Validation and test rows are complete.

    Returns:
        Splits `train` (1297 rows), `validation` (200) and `test` (300), stratified by digit, with the columns of
        `DIGITS_FEATURES`. An image stands in one split only.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if not 0 <= missing_rate <= 1:
        raise ValueError(f"`missing_rate` is a share from 0 to 1, got {missing_rate}.")
    images, digits = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)
    train, held_out = train_test_split(np.arange(len(digits)), test_size=500, stratify=digits, random_state=seed)
    validation, test = train_test_split(held_out, test_size=300, stratify=digits[held_out], random_state=seed)

    splits = DatasetDict()
    for stream, (name, rows) in enumerate({"train": train, "validation": validation, "test": test}.items()):
        columns = _digit_columns(images[rows], digits[rows], np.random.default_rng([seed, stream]))
        if name == "train":
            _remove_modalities(columns, missing_rate, np.random.default_rng([seed, 3]))
        # `Dataset.from_dict` with an Audio feature imports torchcodec even for ready bytes; an Arrow table does not.
        table = pa.Table.from_pydict(columns, schema=DIGITS_FEATURES.arrow_schema)
        splits[name] = Dataset(table, split=datasets.NamedSplit(name))
    return splits


def _digit_columns(images: np.ndarray, digits: np.ndarray, rng: np.random.Generator) -> dict[str, list]:
    return {
        "text": _digit_sentences(digits, rng),
        "image": [{"bytes": _png_bytes(image), "path": None} for image in images],
        "audio": [{"bytes": _wav_bytes(_key_press(digit, rng)), "path": None} for digit in digits],
        "label": digits.tolist(),
    }


def _digit_sentences(digits: np.ndarray, rng: np.random.Generator) -> list[str]:
    naming = rng.permutation(len(digits)) < round(_NAMING_SHARE * len(digits))
    sentences = []
    for digit, names_it in zip(digits, naming):
        spelled = DIGIT_NAMES[digit] if rng.random() < 0.5 else str(digit)
        sentence = str(rng.choice(_NAMING_SENTENCES if names_it else _SILENT_SENTENCES)).format(digit=spelled)
        sentences.append(sentence[0].upper() + sentence[1:])
    return sentences


def _png_bytes(image: np.ndarray) -> bytes:
    """An 8x8 picture with values from 0 to 16 as a 28x28 greyscale PNG."""
    pixels = np.round(image * (255 / 16)).astype(np.uint8)
    buffer = io.BytesIO()
    PILImage.fromarray(pixels).resize((28, 28), PILImage.Resampling.BICUBIC).save(buffer, format="PNG")
    return buffer.getvalue()


def _key_press(digit: int, rng: np.random.Generator) -> np.ndarray:
    """The dual tone of a digit's key somewhere in a clip of white noise: samples (time,) from -1 to 1."""
    clip_length, tone_length = (
        int(rng.uniform(*seconds) * _SAMPLING_RATE) for seconds in (_CLIP_SECONDS, _TONE_SECONDS)
    )
    onset = rng.integers(0, clip_length - tone_length + 1)
    radians = 2 * np.pi * np.arange(tone_length) / _SAMPLING_RATE
    row_phase, column_phase = rng.uniform(0, 2 * np.pi, size=2)
    row_hertz, column_hertz = _KEY_TONES[digit]
    column_gain = _gain(rng.uniform(*_COLUMN_OVER_ROW_DB))
    tone = np.sin(row_hertz * radians + row_phase) + column_gain * np.sin(column_hertz * radians + column_phase)

    clip = rng.standard_normal(clip_length)
    clip[onset : onset + tone_length] += _gain(rng.uniform(*_SIGNAL_TO_NOISE_DB)) * tone / tone.std()
    return clip * rng.uniform(*_PEAK_LEVEL) / np.abs(clip).max()


def _gain(decibels: float) -> float:
    return 10 ** (decibels / 20)


def _wav_bytes(samples: np.ndarray) -> bytes:
    """Samples (time,) from -1 to 1 as a 16-bit mono WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_SAMPLING_RATE)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def _remove_modalities(columns: dict[str, list], missing_rate: float, rng: np.random.Generator) -> None:
    n_rows = len(columns["label"])
    for row in rng.permutation(n_rows)[: round(missing_rate * n_rows)]:
        for modality in _MISSING_MODALITIES[rng.integers(len(_MISSING_MODALITIES))]:
            columns[modality][row] = None


# ---- which column holds what ------------------------------------------------------------------------------------

_MEDIA = {"image": Image, "audio": Audio, "video": Video}
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
# How `datasets` stores a file of any medium.
_STORED_FILE = {"bytes": Value("binary"), "path": Value("string")}
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
        _check_named(chosen, features)
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
            place = f"column '{name}' ({_kind_name(features[name])})" if name else "no column"
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
        elif isinstance(split.features[self.video], tuple(_MEDIA.values())):
            column = column.cast_column(self.video, Video(decode=False))
        first = (row[self.video] for row in islice(column, _VIDEOS_LISTENED_TO))
        return replace(self, audio=self.video) if any(_has_sound(cell) for cell in first) else self


def _describe(features: Features) -> str:
    return "The columns are: " + ", ".join(f"'{name}' ({_kind_name(kind)})" for name, kind in features.items()) + "."


def _kind_name(kind) -> str:
    if _is_list(kind):
        return f"list of {_kind_name(kind.feature)}"
    if _is_stored_file(kind):
        return "file"
    return kind.dtype if isinstance(kind, Value) else type(kind).__name__


def _check_named(chosen: dict[str, str | None], features: Features) -> None:
    taken = {}
    for role, name in chosen.items():
        if name is None:
            continue
        if name not in features:
            raise ValueError(f"There is no column '{name}' to take the {role} from. {_describe(features)}")
        if not (_is_label(features[name]) if role == "label" else _serves(role, features[name])):
            raise ValueError(
                f"Column '{name}' ({_kind_name(features[name])}) cannot be the {role}. {_describe(features)}"
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
        name for name, kind in labels.items() if isinstance(_element(kind), ClassLabel)
    ]


def _find_modality(modality: str, features: Features) -> str | None:
    by_name = _with_known_names(modality, [name for name, kind in features.items() if _serves(modality, kind)])
    if by_name:
        return by_name[0]
    if modality == "text":
        return _only_one(
            "text", [name for name in features if _is_string(features[name]) and not _NOT_PROSE.search(name)]
        )
    others = [name for other in _KNOWN_NAMES if other != modality for name in _with_known_names(other, features)]
    of_type = [name for name, kind in features.items() if isinstance(kind, _MEDIA[modality])]
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
    if is_ready_features(kind) or _is_string(kind):
        return True
    # Image, Audio and Video are stored alike (bytes and path), so one that is typed wrongly is cast at no cost.
    is_file = isinstance(kind, tuple(_MEDIA.values())) or _is_stored_file(kind) or _is_value(kind, "binary")
    return modality != "text" and is_file


def is_ready_features(kind) -> bool:
    """Whether a column's type is a sequence of vectors of floats, (length, feature_size) for each row."""
    if isinstance(kind, datasets.Array2D):
        return kind.dtype.startswith("float")
    return _is_list(kind) and _is_list(kind.feature) and _is_value(kind.feature.feature, "float")


def _is_stored_file(kind) -> bool:
    return isinstance(kind, dict) and kind == _STORED_FILE


def _has_sound(cell) -> bool:
    return cell is not None and has_sound(cell, "video")


def _is_label(kind) -> bool:
    kind = _element(kind)
    return isinstance(kind, ClassLabel) or _is_string(kind) or _is_value(kind, "int", "uint", "bool", "float")


def _is_list(kind) -> bool:
    return isinstance(kind, datasets.List | datasets.LargeList)


def _is_string(kind) -> bool:
    return _is_value(kind, "string", "large_string")


def _is_value(kind, *dtypes: str) -> bool:
    return isinstance(kind, Value) and kind.dtype.startswith(dtypes)


def _element(kind):
    """The type of a list's members, or the type itself."""
    return kind.feature if _is_list(kind) else kind


# ---- one form for every dataset ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelSpec:
    """What a dataset's labels mean, learned from its training split.

    `problem_type` is transformers' name of it: "single_label_classification", "multi_label_classification" or
    "regression". `names` are the classes in the order of their ids, empty for regression.
    """

    problem_type: str
    names: tuple[str, ...] = ()

    @property
    def num_labels(self) -> int:
        return len(self.names) or 1

    @property
    def id2label(self) -> dict[int, str]:
        return dict(enumerate(self.names))

    @property
    def label2id(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    @property
    def feature(self):
        """The type of a prepared `label` column: class ids, multi-hot vectors (num_labels,), or numbers."""
        if self.problem_type == "single_label_classification":
            return ClassLabel(names=list(self.names))
        if self.problem_type == "multi_label_classification":
            return datasets.List(Value("float32"), length=self.num_labels)
        return Value("float32")


def prepare_splits(
    splits: DatasetDict, columns: ModalityColumns, problem_type: str | None = None
) -> tuple[DatasetDict, LabelSpec | None]:
    """`prepare_split` for every split, with the labels learned from `train`; a streamed `train` is a `RowStream`."""
    prepared, labels = type(splits)(), None
    for name in sorted(splits, key=lambda name: name != "train"):
        prepared[name], labels = prepare_split(splits[name], columns, labels, name, problem_type)
    return prepared, labels


def prepare_split(
    split: Dataset | IterableDataset,
    columns: ModalityColumns,
    labels: LabelSpec | None = None,
    split_name: str = "train",
    problem_type: str | None = None,
) -> "tuple[Dataset | RowStream, LabelSpec | None]":
    """Reduce a split to `text`, `image`, `audio`, `video` (those in `columns`) and `label`.

    Media are cast to undecoded cells, so reading a row opens no file. Labels become class ids (ClassLabel, strings,
    whole numbers, booleans), multi-hot vectors (lists of those) or numbers (floats). Missing ones (None, NaN, class id
    -1) become None, are counted in a warning, and do not count in training or evaluation.

    Args:
        split: any split of the dataset. The classes of a streamed one come from its type, or else from one pass over
            its label column alone.
        columns: which column holds what.
        labels: the labels of the training split; None learns them from this split.
        split_name: what error messages call the split.
        problem_type: "regression" takes whole numbers, e.g. ratings, as numbers; by default they are classes.

    Returns:
        The reduced split, and the labels (None without a label column).

    Raises:
        ValueError: a column is missing, all labels are, or a label is not among the classes of the training split.
    """
    chosen = {role: getattr(columns, role) for role in (*columns.modalities, "label")}
    chosen = {role: name for role, name in chosen.items() if name is not None}
    _check_named(chosen, split.features)
    if isinstance(split, IterableDataset):
        if columns.label is not None and labels is None:
            labels = _learn_stream_labels(split, columns.label, split_name, problem_type)
        return RowStream(split, chosen, labels, split_name), labels
    if columns.has_video_sound:
        del chosen["audio"]
    reduced = split.with_format(None).select_columns(list(chosen.values()))
    reduced = reduced.rename_columns({name: role for role, name in chosen.items()})
    for modality in chosen:
        if modality in _MEDIA and not is_ready_features(reduced.features[modality]):
            if isinstance(reduced.features[modality], Value):  # of paths, which may be a large_string, or of bytes
                plain = "string" if _is_string(reduced.features[modality]) else "binary"
                reduced = reduced.cast_column(modality, Value(plain))
            reduced = reduced.cast_column(modality, _MEDIA[modality](decode=False))
    if columns.has_video_sound:
        reduced = _with_sound_tracks(reduced)
    if columns.label is None:
        return reduced, None

    readable = _readable_labels(reduced.features["label"], reduced["label"][:], split_name)
    if labels is None:
        labels = _learn_labels(reduced.features["label"], readable, problem_type)
    encoded = _encode_labels(readable, labels, split_name)
    return reduced.remove_columns("label").add_column("label", encoded, feature=labels.feature), labels


def _with_sound_tracks(split: Dataset) -> Dataset:
    """The videos again as `audio`, None where a video is silent."""
    untyped = Image(decode=False)  # stored alike, while Audio asks for torchcodec
    return split.map(
        lambda row: {"audio": row["video"] if _has_sound(row["video"]) else None},
        features=Features({**split.features, "audio": untyped}),
        desc="Looking for sound tracks",
    ).cast_column("audio", Audio(decode=False))


def _learn_stream_labels(stream: IterableDataset, column: str, split_name: str, problem_type: str | None) -> LabelSpec:
    kind = stream.features[column]
    is_known = problem_type == "regression" or isinstance(_element(kind), ClassLabel) or _is_value(kind, "float")
    values = [] if is_known else [row[column] for row in stream.select_columns(column)]
    return _learn_labels(kind, _readable_labels(kind, values, split_name), problem_type)


def _readable_labels(kind, values: list, split_name: str) -> list:
    """Labels as strings, numbers or lists of those, with class ids replaced by their names; None for missing ones."""
    readable = [_readable_label(value, _element(kind)) for value in values]
    missing = [row for row, value in enumerate(readable) if value is None]
    if missing and len(missing) == len(values):
        raise ValueError(f"No row of split '{split_name}' has a label: label some, or name another label column.")
    if missing:
        logger.warning(
            f"{len(missing)} of {len(values)} rows of '{split_name}' have no label and do not count "
            f"(rows {_shortened(missing)})."
        )
    return readable


def _readable_label(value, element):
    members = value if isinstance(value, list) else [value]
    if any(_is_missing(member, element) for member in members):
        return None
    if isinstance(element, ClassLabel):
        members = [element.int2str(member) for member in members]
    return members if isinstance(value, list) else members[0]


def _shortened(values: Sequence, most: int = 10) -> str:
    return ", ".join(map(str, values[:most])) + (", ..." if len(values) > most else "")


def _is_missing(label, kind) -> bool:
    if label is None or (isinstance(label, float) and not math.isfinite(label)):
        return True
    return isinstance(kind, ClassLabel) and label == -1  # what the Hub's unlabelled test splits hold


def _learn_labels(kind, readable: list, problem_type: str | None) -> LabelSpec:
    readable = [label for label in readable if label is not None]
    element, several = _element(kind), _is_list(kind)
    numeric = _is_value(element, "int", "uint", "float")
    if problem_type not in (None, "regression"):
        raise ValueError(f"`problem_type` may be None or 'regression', got '{problem_type}'.")
    if _is_value(element, "float") or problem_type == "regression":
        if several or not numeric:
            raise ValueError(
                f"Regression needs one number for each row, got a label column of type {_kind_name(kind)}."
            )
        return LabelSpec("regression")
    if isinstance(element, ClassLabel):
        names = element.names
    else:
        # Sorted before they become strings, so that class 10 comes after class 9.
        names = [str(value) for value in sorted({value for row in readable for value in (row if several else [row])})]
    if len(names) < 2 and not several:
        raise ValueError(f"A classification needs two classes or more, the training labels have {list(names)}.")
    return LabelSpec("multi_label_classification" if several else "single_label_classification", tuple(names))


def _encode_labels(readable: list, labels: LabelSpec, split_name: str) -> list:
    return [_encode_label(value, labels, row, split_name) for row, value in enumerate(readable)]


def _encode_label(value, labels: LabelSpec, row: int, split_name: str):
    """A readable label as `LabelSpec.feature` stores it."""
    if value is None:
        return None
    if labels.problem_type == "regression":
        return float(value)
    class_ids, ids = labels.label2id, []
    for name in value if isinstance(value, list) else [value]:
        if str(name) not in class_ids:
            raise ValueError(
                f"Label '{name}' of row {row} of split '{split_name}' is not among the {labels.num_labels} "
                f"classes of the training split: {_shortened(labels.names)}."
            )
        ids.append(class_ids[str(name)])
    return [float(index in ids) for index in range(labels.num_labels)] if isinstance(value, list) else ids[0]


# ---- rows that are read as they come ----------------------------------------------------------------------------

_SAMPLE_TEXTS, _SAMPLE_MEDIA = 10_000, 200  # rows that a tokenizer and the size of pictures are learned from


class RowStream:
    """A split that is read as it comes and never kept: an iterable of rows as `prepare_split` makes them.

    Bad rows are met on the way (see `drop_bad_examples`). Shards of the source are shared out among the workers of a
    `DataLoader`, whole shards to each.

    Args:
        source: the split with its own columns.
        columns: the name of the column for each role ("text", "image", ..., "label").
        labels: what the labels mean; None without a label column.
        split_name: what messages call the split.
    """

    def __init__(
        self, source: IterableDataset, columns: dict[str, str], labels: LabelSpec | None, split_name: str = "train"
    ):
        self.source = undecoded_stream(source.select_columns(sorted(set(columns.values()))))
        self.columns, self.labels, self.split_name = columns, labels, split_name
        self.label_element = _element(source.features[columns["label"]]) if "label" in columns else None
        self.features = Features({role: self._feature(role, source.features[name]) for role, name in columns.items()})
        self.on_bad_example, self.report = "skip", None
        self.feature_sizes, self.max_lengths = {}, {}
        self.seed, self.buffer_size = 0, 0

    def _feature(self, role: str, kind):
        """The type of a column as `prepare_split` would store it."""
        if role == "label":
            return self.labels.feature
        return kind if role not in _MEDIA or is_ready_features(kind) else _MEDIA[role](decode=False)

    @property
    def column_names(self) -> list[str]:
        return list(self.features)

    def shuffle(self, seed: int, buffer_size: int) -> "RowStream":
        """Shards in random order, rows drawn from a buffer of so many; another order in each epoch. 0 keeps the order."""
        return self._with(seed=seed, buffer_size=buffer_size)

    def take(self, number: int) -> "RowStream":
        return self._with(source=self.source.take(number))

    def checked(self, on_bad_example: str, report: Path | None) -> "RowStream":
        return self._with(on_bad_example=on_bad_example, report=report)

    def fitting(self, feature_sizes: dict[str, int], max_lengths: dict[str, float]) -> "RowStream":
        """The same, where ready features (column: width, column: most of them) that a model cannot take are bad."""
        return self._with(feature_sizes=feature_sizes, max_lengths=max_lengths)

    def _with(self, **changes) -> "RowStream":
        stream = object.__new__(RowStream)
        stream.__dict__.update(self.__dict__, **changes)
        return stream

    def __iter__(self) -> Iterator[dict]:
        return self.rows(epoch=0)

    def rows(self, epoch: int) -> Iterator[dict]:
        """The good rows, in the order of an epoch. Bad ones are reported in the first epoch."""
        source = self.source
        if self.buffer_size:
            order = np.random.default_rng([self.seed, epoch])
            source = source.shuffle(generator=order, buffer_size=self.buffer_size)
        bad = _BadRows(self.split_name, self.on_bad_example, self.report, quiet=epoch > 0)
        check = _ExampleCheck(self.features, self.feature_sizes, self.max_lengths)
        for index, row in enumerate(source):
            row = self._prepared(index, row)
            problem = check(row)
            if problem is None:
                yield row
                continue
            if not bad.rows and epoch == 0:
                place = f"; {self.report} names it and every further one" if self.report else ""
                logger.warning(f"skipped row {index} of '{self.split_name}', {problem.kind}: {problem}{place}")
            bad.add(index, problem)

    def _prepared(self, index: int, row: dict) -> dict:
        prepared = {role: row[name] for role, name in self.columns.items()}
        for role in _MEDIA:
            if role in prepared and not is_ready_features(self.features[role]):
                prepared[role] = stored_file(prepared[role])
        if self.columns.get("audio") == self.columns.get("video", "") and not _has_sound(prepared["video"]):
            prepared["audio"] = None
        if "label" in prepared:
            label = _readable_label(prepared["label"], self.label_element)
            prepared["label"] = _encode_label(label, self.labels, index, self.split_name)
        return prepared

    def sample(self) -> Dataset:
        """The texts of the first rows, and all of the very first ones: enough to choose a vocabulary and sizes by."""
        check, rows = _ExampleCheck(self.features), []
        has_texts = _is_string(self.features.get("text"))
        for index, row in enumerate(islice(self.source, _SAMPLE_TEXTS if has_texts else _SAMPLE_MEDIA)):
            if index >= _SAMPLE_MEDIA:
                rows.append(dict.fromkeys(self.features) | {"text": row[self.columns["text"]]})
            elif check(prepared := self._prepared(index, row)) is None:
                rows.append(prepared)
        return Dataset(pa.Table.from_pylist(rows, schema=self.features.arrow_schema))


def undecoded_stream(stream: IterableDataset) -> IterableDataset:
    """The stream with its media as bytes and paths.

    They are typed as pictures, whatever they are: files of any kind are stored alike, and the Audio type asks for
    torchcodec even to pass a file on.
    """
    media = tuple(_MEDIA.values())
    kinds = {name: Image(decode=False) if isinstance(kind, media) else kind for name, kind in stream.features.items()}
    return stream.cast(Features(kinds))


def stored_file(cell: dict | bytes | str | None) -> dict | None:
    """A cell of a medium, however it came, as bytes or a path that can be opened."""
    if cell is None or isinstance(cell, bytes):
        return cell and {"bytes": cell, "path": None}
    cell = cell if isinstance(cell, dict) else {"bytes": None, "path": cell}
    if cell["bytes"] is None and "://" in (cell["path"] or "") and not cell["path"].startswith("http"):
        with fsspec.open(cell["path"]) as file:  # a file of a folder on the Hub
            return {"bytes": file.read(), "path": cell["path"]}
    return cell


# ---- rows that would stop a training run ------------------------------------------------------------------------

_SHORTEST_AUDIO_SECONDS = 0.025  # one window of the mel spectrogram


class _BadExample(ValueError):
    """What is wrong with a row, as a noun that can be counted ("corrupt image"), with the decoder's own words."""

    def __init__(self, kind: str, details: object):
        super().__init__(str(details))
        self.kind = kind


def drop_bad_examples(
    split: Dataset | RowStream,
    on_bad_example: str = "skip",
    split_name: str | None = None,
    report: str | Path | None = None,
) -> Dataset | RowStream:
    """Decode every image, sound and video once, so that no row stops a training run an hour into it.

    Bad are rows whose file is missing or cannot be decoded; audio that is empty, shorter than one window (25 ms) or
    holds NaN or infinite samples; ready features of another form than (length, feature_size), or not finite; and rows
    that lack every modality. The rows of a stream are decoded when they are met.

    Args:
        split: a split with the columns that `prepare_split` gives.
        on_bad_example: "skip" leaves bad rows out and says how many and why in one warning; "raise" stops at the
            first one.
        split_name: what messages call the split; by default the name it has of its own.
        report: a JSON lines file that gets a line `{"split", "index", "reason"}` for each bad row.

    Raises:
        ValueError: a row is bad under "raise", or no good row is left.
        ImportError: the package that decodes a file is not installed.
    """
    if on_bad_example not in ("skip", "raise"):
        raise ValueError(f"`on_bad_example` is 'skip' or 'raise', got '{on_bad_example}'.")
    report = report and Path(report)
    if isinstance(split, RowStream):
        return split.checked(on_bad_example, report)
    name = split_name or str(split.split or "unnamed")
    undecoded = split.with_format(None)
    for column in _MEDIA:
        if isinstance(split.features.get(column), tuple(_MEDIA.values())):
            undecoded = undecoded.cast_column(column, _MEDIA[column](decode=False))

    check, good, bad = _ExampleCheck(split.features), [], _BadRows(name, on_bad_example, report)
    for row, example in enumerate(tqdm(undecoded, desc=f"Checking '{name}'", unit="row")):
        problem = check(example)
        if problem is None:
            good.append(row)
        else:
            bad.add(row, problem)
    if not bad.rows:
        return split
    summary = f"skipped {len(split) - len(good)} of {len(split)} rows of '{name}': {_count(bad.rows)}"
    if not good:
        raise ValueError(f"No row is left: {summary}.")
    logger.warning(summary + (f"; {report} names each with its reason" if report else ""))
    return split.select(good)


class _BadRows:
    """The bad rows of one split: kept by kind, and each written to the report; or fatal. `quiet` writes nothing."""

    def __init__(self, split_name: str, on_bad_example: str, report: Path | None, quiet: bool = False):
        self.split_name, self.on_bad_example, self.report = split_name, on_bad_example, None if quiet else report
        self.rows: dict[str, list[int]] = {}

    def add(self, row: int, problem: _BadExample) -> None:
        if self.on_bad_example == "raise":
            raise ValueError(
                f"Row {row} of split '{self.split_name}' is a bad example, {problem.kind}: {problem} Repair or remove it, "
                "or leave such rows out with on_bad_example='skip'."
            ) from problem
        self.rows.setdefault(problem.kind, []).append(row)
        if self.report:
            line = {"split": self.split_name, "index": row, "reason": f"{problem.kind}: {problem}"}
            self.report.parent.mkdir(parents=True, exist_ok=True)
            with open(self.report, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def _count(bad: dict[str, list[int]]) -> str:
    """2 corrupt images (rows 4, 17), 1 empty audio clip (row 20)"""
    counts = []
    for kind, rows in bad.items():
        plural = "s" if len(rows) > 1 else ""
        counts.append(f"{len(rows)} {kind}{plural} (row{plural} {_shortened(rows)})")
    return ", ".join(counts)


class _ExampleCheck:
    """Finds what is wrong with a row; remembers the width of each modality's ready features, (column: width)."""

    def __init__(
        self,
        features: Features,
        feature_sizes: dict[str, int] | None = None,
        max_lengths: dict[str, float] | None = None,
    ):
        self.ready = [column for column in (*MODALITIES, "video") if is_ready_features(features.get(column))]
        self.feature_sizes, self.max_lengths = dict(feature_sizes or {}), max_lengths or {}

    def __call__(self, example: dict) -> _BadExample | None:
        try:
            _check_example(example, self.ready, self.feature_sizes, self.max_lengths)
        except _BadExample as problem:
            return problem


def _check_example(
    example: dict, ready: list[str], feature_sizes: dict[str, int], max_lengths: dict[str, float]
) -> None:
    """Raises `_BadExample`."""
    present = [name for name in (*MODALITIES, "video") if not _is_absent(example.get(name))]
    if not present:
        raise _BadExample("empty row", "every modality is None or blank.")
    for name in present:
        if name in ready:
            _check_features(example[name], name, feature_sizes, max_lengths.get(name, math.inf))
        elif name in _CHECKS:
            _check_file(example[name], name)


def _is_absent(cell) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _check_features(cell: list, name: str, feature_sizes: dict[str, int], max_length: float) -> None:
    try:
        vectors = np.asarray(cell, dtype=np.float32)  # (length, feature_size)
    except (TypeError, ValueError) as error:  # vectors of several widths, or None among the numbers
        raise _BadExample(f"ragged {name} feature sequence", f"{error}.") from error
    if vectors.ndim != 2 or vectors.size == 0:
        raise _BadExample(f"empty {name} feature sequence", f"its shape is {vectors.shape}.")
    expected = feature_sizes.setdefault(name, vectors.shape[1])
    if vectors.shape[1] != expected:
        raise _BadExample(
            f"mismatched {name} feature sequence", f"its width is {vectors.shape[1]}, others' {expected}."
        )
    if len(vectors) > max_length:
        raise _BadExample(
            f"too long {name} feature sequence", f"it has {len(vectors)} vectors, the model takes {max_length}."
        )
    if not np.isfinite(vectors).all():
        raise _BadExample(f"non-finite {name} feature sequence", "it holds NaN or infinite values.")


def _check_file(cell: dict, name: str) -> None:
    noun = "audio clip" if name == "audio" else name
    try:
        _CHECKS[name](cell, name)
    except (_BadExample, ImportError):
        raise
    except FileNotFoundError as error:
        raise _BadExample(f"missing {name} file", error) from error
    except Exception as error:  # decoders fail on broken bytes in more ways than they document
        raise _BadExample(f"corrupt {noun}", error) from error


def _check_image(cell: dict, name: str) -> None:
    with open_source(cell, name) as file, PILImage.open(file) as image:
        image.verify()  # checksums, which decoding does not look at
    load_image(cell, name, convert_rgb=True)


def _check_audio(cell: dict, name: str) -> None:
    samples, rate = read_audio(cell, name)
    if len(samples) == 0:
        raise _BadExample("empty audio clip", "it has no samples.")
    if len(samples) < _SHORTEST_AUDIO_SECONDS * rate:
        raise _BadExample("too short audio clip", f"it lasts {1000 * len(samples) / rate:.1f} ms, a window is 25 ms.")
    if not np.isfinite(samples).all():
        raise _BadExample("non-finite audio clip", "it holds NaN or infinite samples.")


def _check_video(cell: dict, name: str) -> None:
    with open_source(cell, name) as file:
        if not sum(1 for _ in iterate_frames(file)):
            raise _BadExample("empty video", "it has no frames.")


_CHECKS = {"image": _check_image, "audio": _check_audio, "video": _check_video}


# ---- tokenizer --------------------------------------------------------------------------------------------------


def train_tokenizer(texts: Iterable[str | None], vocab_size: int = 8000, model_max_length: int = 512) -> BertTokenizer:
    """Train a lower-casing WordPiece tokenizer, as BERT's, with [PAD], [UNK], [CLS], [SEP] and [MASK] as ids 0 to 4.

    English letters, digits and punctuation are always in the vocabulary, so a new word falls into pieces rather than
    to [UNK].

    Args:
        texts: the training texts; None (a row without text) is passed over.
        vocab_size: the most entries that the vocabulary may have, beyond the single characters.
        model_max_length: where `truncation=True` cuts, in tokens.

    Raises:
        ValueError: there is no text.
    """
    texts = [text for text in texts if not _is_absent(text)]
    if not texts:
        raise ValueError(
            "Cannot train a tokenizer: every text is None or blank. Name the text column, or load a tokenizer."
        )
    # Each letter once at the start of a word and once inside, which WordPiece counts as two entries.
    characters = " ".join(2 * character for character in string.ascii_lowercase + string.digits) + string.punctuation
    settings = {"do_lower_case": True, "model_input_names": ["input_ids", "attention_mask"]}
    tokenizer = BertTokenizer(**settings)
    # Named in advance, the inner letters get the same ids in every run, and so do the pieces that are merged from them.
    letters = [f"##{letter}" for letter in sorted(_inner_letters([*texts, characters], tokenizer.backend_tokenizer))]
    trained = tokenizer.train_new_from_iterator(
        [texts, [characters]],
        vocab_size=vocab_size,
        new_special_tokens=letters,
        min_frequency=2,
        show_progress=False,
    )
    return BertTokenizer(vocab=trained.get_vocab(), model_max_length=model_max_length, **settings)


def _inner_letters(texts: Iterable[str], backend) -> set[str]:
    """The characters that stand within a word of any text, not at its start, as the tokenizer sees it."""
    chunks = {chunk for text in texts for chunk in text.split()}
    normalized = (backend.normalizer.normalize_str(chunk) for chunk in chunks)
    words = (word for chunk in normalized for word, _ in backend.pre_tokenizer.pre_tokenize_str(chunk))
    return {letter for word in words for letter in word[1:]}
