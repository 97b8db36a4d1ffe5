# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What people have (strings, pictures, sounds, videos, ready features) becomes the tensors that the models take.

`decoding_mot.py` opens and decodes; `MoTProcessor` lays each modality out as one row per example with a mask that says
which parts are real.
"""

import copy
import difflib
import inspect
import math
import numbers
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor, AutoTokenizer, BertTokenizer
from transformers.audio_utils import AudioInput
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    ImageInput,
)
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin, Unpack
from transformers.utils import logging
from transformers.video_utils import VideoInput

from .conversion_mot import split_revision
from .decoding_audio_mot import is_number_list, is_rate_and_samples, load_audio
from .decoding_image_mot import load_image
from .decoding_mot import DecodingLimits, is_array, to_numpy
from .decoding_video_mot import load_frames
from .feature_extraction_mot import MoTFeatureExtractor
from .image_processing_mot import MoTImageProcessor

logger = logging.get_logger(__name__)

WINDOW_ATTRIBUTES = ("frame_length", "win_length", "n_fft")  # what mel extractors call their window, in samples
RAW_OR_READY = (
    ("text", "text_features"),
    ("images", "image_features"),
    ("videos", "image_features"),
    ("audio", "audio_features"),
)
# name of the argument: name of the output, name of its mask
READY_OUTPUTS = {
    "text_features": ("text_features", "attention_mask"),
    "image_features": ("image_features", "pixel_mask"),
    "audio_features": ("input_features", "input_features_mask"),
}
# Flat `padding=`, `max_length=`, ... are about tokens; read as samples they would silently cut a sound short.
TOKEN_LENGTH_OPTIONS = ("padding", "max_length", "truncation", "pad_to_multiple_of")
# What options of text take: the least and the most.
LENGTHS_OF_TEXT = {"max_length": (1, 2**24), "pad_to_multiple_of": (1, 2**24), "stride": (0, 2**24)}
# Of the options of videos; what becomes of a frame is an option of pictures.
VIDEO_OPTIONS = ("num_frames", "do_sample_frames", "fps", "return_tensors")
# group of options: the part that takes them
OPTION_GROUPS = {
    "text_kwargs": "tokenizer",
    "images_kwargs": "image_processor",
    "audio_kwargs": "feature_extractor",
    "videos_kwargs": "video_processor",  # there is none: frames are pictures
}
# What else people call an input, in the singular as a row has it; each of these can mean nothing else.
SYNONYMS = {
    **dict.fromkeys(("texts", "sentence", "sentences"), "text"),
    **dict.fromkeys(("images", "picture", "pictures"), "image"),
    **dict.fromkeys(("audios", "sound", "sounds"), "audio"),
    "videos": "video",
}
ARGUMENTS = {"image": "images", "video": "videos"}  # the others are called alike in a row and in a call
CALL_SYNONYMS = {name: ARGUMENTS.get(meant, meant) for name, meant in SYNONYMS.items()} | ARGUMENTS
# A tokenizer keeps padding and truncation of the call that it is in, where a call on another thread would find them.
TOKENIZING = threading.Lock()
if hasattr(os, "register_at_fork"):  # a process that is forked meanwhile would find it taken, by nobody, for ever
    os.register_at_fork(
        before=TOKENIZING.acquire, after_in_parent=TOKENIZING.release, after_in_child=TOKENIZING.release
    )


@contextmanager
def tokenizing(tokenizer) -> Iterator[None]:
    """One call at a time, which leaves a fast tokenizer as it was, also if it is refused, and so what it would save."""
    with TOKENIZING:
        backend = getattr(tokenizer, "_tokenizer", None)
        truncation, padding = (getattr(backend, name, None) for name in ("truncation", "padding"))
        try:
            yield
        finally:
            if hasattr(backend, "no_truncation"):
                backend.enable_truncation(**truncation) if truncation else backend.no_truncation()
                backend.enable_padding(**padding) if padding else backend.no_padding()


# ------------------------------------------------------ names ------------------------------------------------------
def unknown_name(name: str, known: Collection[str], what: str) -> ValueError:
    """The error for a name that nobody knows, with the nearest that somebody does."""
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"there are {', '.join(known)}."
    return ValueError(f"Unknown {what} `{name}`: {hint}")


def resolve_synonyms(given: dict[str, Any], names: dict[str, str], row: str = "") -> dict[str, Any]:
    """`given` by the names that are meant; `names` leads from each synonym to its own. Errors begin with `row`."""
    resolved = {}
    for name, value in given.items():
        meant = names.get(name, name)
        if value is not None and resolved.get(meant) is not None:
            other = next(other for other in given if names.get(other, other) == meant)
            raise ValueError(f"{row}Got both `{other}` and `{name}`, which mean the same: give one of them.")
        if value is not None or meant not in resolved:
            resolved[meant] = value
    return resolved


# ------------------------------------------------- rows of a batch --------------------------------------------------
def to_rows(name: str, value: Any) -> list | None:
    """One entry per row: a batch is split, a single input becomes a batch of one."""
    if value is None:
        return None
    if is_array(value):
        row_ndim = {"text": 0, "images": 3, "videos": 4, "audio": 2}.get(name, 2)
        return list(value) if value.ndim == row_ndim + 1 else [value]
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes, bytearray, memoryview)):
        return [value]
    if name == "audio" and is_rate_and_samples(value):
        return [value]
    rows = [value[i] for i in range(len(value))]  # lists, tuples and columns of `datasets`
    if name == "audio" and is_number_list(rows):
        return [np.asarray(rows)]
    if name == "videos" and any(isinstance(row, Image.Image) or (is_array(row) and row.ndim < 4) for row in rows):
        return [rows]  # a list of frames is one video
    return [unnest_image(row, f"images[{i}]") for i, row in enumerate(rows)] if name == "images" else rows


def is_blank(value: Any) -> bool:
    """Whether an input is a string of white space alone, which counts as none, as an empty cell of a table does."""
    return isinstance(value, str) and not value.strip()


def unnest_image(row: Any, name: str) -> Any:
    """transformers also writes a batch as [[image], [], [image]]."""
    if not isinstance(row, (list, tuple)):
        return row
    if len(row) > 1:
        raise ValueError(f"{name} is a list of {len(row)} pictures: a row takes one; pass several as `videos`.")
    return row[0] if row else None


def check_can_be_copied(name: str, value: Any) -> None:
    """Refuse an option that no copy can be made of, as the library does of all: an open file, a view of memory."""
    try:
        copy.deepcopy(value)
    except Exception as error:  # whatever the type's own way to be copied raises
        raise ValueError(f"`{name}` is {value!r:.100}, expected a plain value: {error}.") from error


def check_rows(rows: dict[str, list]) -> None:
    """Every modality has the same number of rows, every row has something, and nothing is given twice."""
    sizes = {name: len(values) for name, values in rows.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ValueError(f"Batch sizes differ: {listed}. A row that lacks a modality is None in its list.")
    for i in range(max(sizes.values())):
        present = {name for name, values in rows.items() if values[i] is not None}
        if not present:
            listed = f"{', '.join(rows)} are all" if len(rows) > 1 else f"{next(iter(rows))} is"
            raise ValueError(f"Row {i} is empty: {listed} None or blank there.")
        if {"images", "videos"} <= present:
            raise ValueError(f"Row {i} has both images and videos: give at most one of them.")


def check_raw_or_ready(rows: dict[str, list]) -> None:
    for raw, ready in RAW_OR_READY:
        if raw in rows and ready in rows:
            raise ValueError(f"Got both {raw} and {ready}: a batch holds one of them.")


def check_array(name: str, value: Any) -> None:
    """Raise a ValueError for an array whose values cannot be had or are no numbers."""
    if not is_array(value):
        return
    is_tensor = isinstance(value, torch.Tensor)
    if is_tensor and (value.is_meta or value.is_nested or value.layout != torch.strided):
        raise ValueError(
            f"{name} is a tensor without values of its own ({value.device}, {value.layout}): expected a dense one."
        )
    if value.is_complex() if is_tensor else value.dtype.kind not in "biufOUS":
        raise ValueError(f"{name} is an array of type {value.dtype}: expected real numbers.")


def check_whole(options: dict[str, Any], bounds: dict[str, tuple[int, int]]) -> None:
    """Raise a ValueError for an option that is given and no whole number within its bounds."""
    for name, (least, most) in bounds.items():
        value = options.get(name)
        if value is not None and not (
            isinstance(value, numbers.Integral) and least <= value <= most and value is not True
        ):
            raise ValueError(f"`{name}` is {value!r:.100}: expected a whole number from {least} to {most}, or None.")


def present_rows(rows: list) -> list[int]:
    return [i for i, row in enumerate(rows) if row is not None]


def spread(values: torch.Tensor, indices: list[int], batch_size: int) -> torch.Tensor:
    """(len(indices), ...) to (batch_size, ...): the given rows at their places, zeros elsewhere."""
    spread_values = values.new_zeros(batch_size, *values.shape[1:])
    spread_values[indices] = values
    return spread_values


def pad_features(name: str, rows: list) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (L_i, F) or None to (B, L, F) float32 and its mask (B, L)."""
    arrays = {i: to_vectors(f"{name}[{i}]", rows[i]) for i in present_rows(rows)}
    widths = {i: array.shape[1] for i, array in arrays.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"The rows of {name} differ in feature_size: {widths} (row: width).")
    features = torch.zeros(len(rows), max(map(len, arrays.values())), next(iter(widths.values())))  # (B, L, F)
    mask = torch.zeros(features.shape[:2], dtype=torch.long)
    for i, array in arrays.items():
        features[i, : len(array)] = torch.from_numpy(array)
        mask[i, : len(array)] = 1
    return features, mask


def to_vectors(name: str, row: Any) -> np.ndarray:
    """Ready features as (L, F) float32."""
    array = to_numpy(row, name)
    if array.ndim != 2 or len(array) == 0:
        raise ValueError(f"{name} has shape {array.shape}: expected (length, feature_size), length >= 1.")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds values of type {array.dtype}: expected numbers.")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN, infinite values, or some beyond float32.")
    return array


def frames_per_second(extractor) -> float:
    """Of what a feature extractor gives: mel frames, 100 unless it says otherwise, or the samples themselves."""
    if hop_length := getattr(extractor, "hop_length", None):
        return extractor.sampling_rate / hop_length
    gives_samples = getattr(extractor, "feature_size", 80) == 1 and not hasattr(extractor, "num_mel_bins")
    return extractor.sampling_rate if gives_samples else 100.0


def frame_mask(extracted: BatchFeature) -> torch.Tensor | None:
    return extracted.get("input_features_mask", extracted.get("attention_mask"))


def whole_pictures(image_processor) -> MoTImageProcessor:
    """Of a processor that cuts patches out of pictures of any shape (SigLIP 2), one that leaves squares whole."""
    side = math.isqrt(image_processor.max_num_patches) * image_processor.patch_size
    settings = ("resample", "image_mean", "image_std", "rescale_factor")
    return MoTImageProcessor(
        size={"height": side, "width": side},
        do_convert_rgb=True,
        **{name: getattr(image_processor, name) for name in settings},
    )


# ----------------------------------------------------- loading ------------------------------------------------------
class UnreadableProcessor(ValueError):
    """A checkpoint's processor cannot be made of its files; the message names the checkpoint and the file."""


@contextmanager
def reading(name: str | os.PathLike, files: str = "processor_config.json") -> Iterator[None]:
    """While files of a processor are read: what damaged ones bring about in the library names none of them."""
    try:
        yield
    except (OSError, ImportError, MemoryError, UnreadableProcessor):
        raise
    except Exception as error:
        raise UnreadableProcessor(
            f"The processor of {name} cannot be made of its {files} ({type(error).__name__}: {error}). If it is damaged, copy "
            "or download it anew."
        ) from error


def load_processor(name: str | os.PathLike, trust_remote_code: bool = False, token: str | bool | None = None):
    """
    The processor of a checkpoint, whose code is run only if it is trusted.

    Raises:
        ValueError: a file of it is damaged. OSError: it is not there.
    """
    with reading(name):
        return AutoProcessor.from_pretrained(name, trust_remote_code=trust_remote_code, token=token)


# ---------------------------------------------------- processor -----------------------------------------------------
class MoTProcessor(ProcessorMixin):
    """Tokenizer, image processor and mel extractor as one: raw text, pictures, videos and sound in, a batch out.

    Args:
        image_processor: any that returns `pixel_values` (N, C, H, W); default 224x224 RGB, ImageNet mean and std.
            Pictures become RGB unless it has `do_convert_rgb=False`.
        feature_extractor: any mel extractor, frames first or channels first; default 80 mel bins from 16 kHz.
        tokenizer: any; the default has BERT's settings but no vocabulary yet, so that every word is `[UNK]`
            (`tokenizer.train_new_from_iterator` gives it one).
        num_frames (`int`): how many evenly spaced frames a video gives at most; `videos_kwargs={"num_frames": n}`
            overrides it for one call, `{"do_sample_frames": False}` keeps all.
        return_times (`bool`): whether a batch also says when: `pixel_times` and `input_features_times`, on the clock
            that the pictures and the sound of a file share. Videos given as frames then need
            `videos_kwargs={"fps": 25}`, their frames per second, and the feature extractor a `hop_length`.

    What one file may cost is in the attribute `limits`, the `DecodingLimits` of `decoding_mot.py`. It is this process's own
    choice and not saved: `processor.limits = DecodingLimits(max_audio_seconds=7200)`.
    """

    text_kwargs = {"padding": True}

    def __init__(self, image_processor=None, feature_extractor=None, tokenizer=None, num_frames=8, return_times=False):
        if not isinstance(num_frames, int) or num_frames < 1:
            raise ValueError(f"num_frames is {num_frames!r}: expected an int of at least 1.")
        if not isinstance(return_times, bool):
            raise ValueError(f"return_times is {return_times!r}: expected True or False.")
        if image_processor is None:
            image_processor = MoTImageProcessor(
                image_mean=IMAGENET_DEFAULT_MEAN, image_std=IMAGENET_DEFAULT_STD, do_convert_rgb=True
            )
        if feature_extractor is None:
            feature_extractor = MoTFeatureExtractor()
        if tokenizer is None:
            logger.warning_once("No tokenizer given: the default one has no vocabulary, every word becomes [UNK].")
            tokenizer = BertTokenizer(model_max_length=512, model_input_names=["input_ids", "attention_mask"])
        self.num_frames = num_frames
        self.return_times = return_times
        self.limits = DecodingLimits()
        super().__init__(image_processor, feature_extractor, tokenizer)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """As in the library; of a damaged file the error, a ValueError, names it and the checkpoint."""
        with reading(pretrained_model_name_or_path):
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    @classmethod
    def _load_tokenizer_from_pretrained(cls, part, pretrained_model_name_or_path, *args, **kwargs):
        with reading(pretrained_model_name_or_path, "tokenizer.json or tokenizer_config.json"):
            return super()._load_tokenizer_from_pretrained(part, pretrained_model_name_or_path, *args, **kwargs)

    @classmethod
    def from_args_and_dict(cls, args, processor_dict, **kwargs):
        """As in the library, which drops what it does not know here: what nearly spells a field is an error."""
        names = list(inspect.signature(cls).parameters)
        for name in kwargs:
            if name not in names and difflib.get_close_matches(name, names, n=1, cutoff=0.85):
                raise unknown_name(name, names, "argument")
        return super().from_args_and_dict(args, processor_dict, **kwargs)

    @classmethod
    def from_unimodal_pretrained(
        cls,
        text: str | os.PathLike | None = None,
        image: str | os.PathLike | None = None,
        audio: str | os.PathLike | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike | None = None,
        local_files_only: bool = False,
        **parts,
    ) -> "MoTProcessor":
        """
        The tokenizer, the image processor and the mel extractor of the checkpoints that a model's towers begin as.

        Args:
            text, image, audio, token, cache_dir, local_files_only: as in `MoTModel.from_unimodal_pretrained`.
            parts: further arguments of the class, also the parts of modalities without a checkpoint.
        """
        hub = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        kinds = {
            "tokenizer": (AutoTokenizer, text, {}),
            "image_processor": (AutoImageProcessor, image, {"backend": "pil"}),
            "feature_extractor": (AutoFeatureExtractor, audio, {}),
        }
        for part, (auto_class, source, options) in kinds.items():
            if source is not None:
                name, revision = split_revision(source)
                options |= {"trust_remote_code": False} | hub | revision
                parts[part] = auto_class.from_pretrained(name, **options)
        if hasattr(parts.get("image_processor"), "max_num_patches"):
            parts["image_processor"] = whole_pictures(parts["image_processor"])
        return cls(**parts)

    @property
    def model_input_names(self) -> list[str]:
        names = ["input_ids", "attention_mask", "pixel_values", "pixel_mask"]
        times = ["pixel_times", "input_features_times"] if self.return_times else []
        return [*names, "input_features", "input_features_mask", *times]

    @property
    def unused_input_names(self) -> list[str]:
        return ["token_type_ids"]

    def __call__(
        self,
        images: ImageInput | None = None,
        text: str | list[str | None] | None = None,
        videos: VideoInput | None = None,
        audio: AudioInput | None = None,
        text_features: list | np.ndarray | torch.Tensor | None = None,
        image_features: list | np.ndarray | torch.Tensor | None = None,
        audio_features: list | np.ndarray | torch.Tensor | None = None,
        allow_urls: bool | str | None = None,
        max_audio_seconds: float | None = None,
        **kwargs: Unpack[ProcessingKwargs],
    ) -> BatchFeature:
        """Turns one example or a batch of B examples into tensors; None in a list is a row without that modality, and so
        is a string of white space alone.

        Args:
            images: PIL pictures, arrays (H, W), (H, W, C) or (C, H, W), paths, URLs, bytes, `{"bytes", "path"}`.
            text: strings.
            videos: paths, URLs, bytes, lists of frames, arrays (F, H, W, C) or (F, C, H, W), decoders of
                torchcodec. Beside `images`, each row has at most one of both, and pictures count as one frame.
            audio: arrays (samples,) or stereo, `{"array", "sampling_rate"}`, tuples (Hz, array), paths, URLs, bytes,
                `{"bytes", "path"}`, decoders of torchcodec. Bare arrays need `sampling_rate=` in Hz; every rate is
                resampled to that of the feature extractor.
            text_features, image_features, audio_features: ready features, rows (L_i, feature_size) or (B, L, F).
            allow_urls: whether URLs are followed, as they are if nothing is said. Rows of other people, which could have
                them lead anywhere, take False, or "public" for URLs of public addresses alone. `data:` URLs hold what they
                mean and are always read.
            max_audio_seconds: where longer sound is cut. What lies beyond is not decoded.
            kwargs: options of the tokenizer and image processor, flat or in `text_kwargs`, `images_kwargs`,
                `audio_kwargs`, `videos_kwargs`, `common_kwargs`. Flat `padding`, `max_length` and `truncation`
                are for text. `return_tensors="np"` gives numpy arrays; the default is torch tensors. The inputs may
                also be called `image`, `video`, `sound` and the like (`SYNONYMS`).

        Returns:
            `BatchFeature` with, for each modality given: `input_ids` or `text_features` and `attention_mask`
            (B, Lt); `pixel_values` (B, C, H, W) or, if there are videos, (B, F, C, H, W), and `pixel_mask` (B,) or
            (B, F), or `image_features` (B, Li, F) and `pixel_mask` (B, Li); `input_features` (B, T, mel) and
            `input_features_mask` (B, T). Masks are int64, 1 = real; a missing row is zeros. With `return_times` also
            `pixel_times` (B, F), if there are videos, and `input_features_times` (B, T): float32 seconds since the
            start of the row's file, zeros where masked. A picture is at 0; ready features have no times.

        Raises:
            ValueError: naming the row, if it cannot be read or is empty, or if batch sizes differ, or if
                `return_times` is set and nothing says when the frames of a video are; or if a keyword is unknown.
            FileNotFoundError, OSError: naming the row, for a missing file or an unreachable URL.
            ImportError: naming the package to install, if a format needs a decoder that is not there.
        """
        allow_urls = True if allow_urls is None else allow_urls
        if not isinstance(allow_urls, bool) and allow_urls != "public":
            raise ValueError(f"`allow_urls` is {allow_urls!r}: expected True, False or 'public'.")
        given = {"text": text, "text_features": text_features, "images": images, "videos": videos}
        given |= {"image_features": image_features, "audio": audio, "audio_features": audio_features}
        others = {name: kwargs.pop(name) for name in CALL_SYNONYMS.keys() & kwargs.keys()}
        given = {name: None if is_blank(value) else value for name, value in (given | others).items()}
        given = resolve_synonyms(given, CALL_SYNONYMS)
        for name, value in given.items():
            check_array(name, value)
        self._check_options(kwargs, given)
        rows = {name: to_rows(name, value) for name, value in given.items() if value is not None}
        if not any(rows.values()):
            raise ValueError(
                f"{type(self).__name__} got nothing, or blank strings: give at least one of {', '.join(given)}."
            )
        rows = {name: [None if is_blank(cell) else cell for cell in cells] for name, cells in rows.items()}
        for name, cells in rows.items():
            for i, cell in enumerate(cells):
                check_array(f"{name}[{i}]", cell)
        check_rows(rows)
        rows = {name: values for name, values in rows.items() if present_rows(values)}
        check_raw_or_ready(rows)

        options = self._merge_kwargs(tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        return_tensors = options["text_kwargs"].pop("return_tensors", None)
        data = {}
        if "text" in rows:
            data |= self._tokenize(rows["text"], options["text_kwargs"])
        if "images" in rows or "videos" in rows:
            data |= self._process_pictures(rows, options, allow_urls)
        if "audio" in rows:
            audio_options = self._audio_options(options, kwargs.get("audio_kwargs", {}))
            data |= self._extract_mel(rows["audio"], audio_options, max_audio_seconds, allow_urls)
        for name, (output, mask_name) in READY_OUTPUTS.items():
            if name in rows:
                data[output], data[mask_name] = pad_features(name, rows[name])
        return BatchFeature(data, tensor_type=return_tensors)

    def _check_options(self, options: dict, inputs: Collection[str]) -> None:
        """No option is unknown; the library would leave it out with a warning, or pass it on to where nobody looks."""
        routed = {group: self._routed_options(group) for group in OPTION_GROUPS} if options else {}
        flat = sorted(set().union(*routed.values()))
        for name, value in options.items():
            check_can_be_copied(name, value)
            if name in routed:
                self._check_group(name, value, {*routed[name], *self._call_options(name)}, routed["images_kwargs"])
            elif name == "common_kwargs":
                self._check_group(name, value, flat, ())
            elif name not in flat:
                raise unknown_name(name, [*inputs, *routed, "common_kwargs", *flat], "argument")

    def _check_group(self, group: str, options: dict, known: Collection[str], of_pictures: Collection[str]) -> None:
        if not isinstance(options, dict):
            raise ValueError(f"`{group}` has type {type(options).__name__}: expected a dict of options.")
        for name in options:
            if group == "videos_kwargs" and name in of_pictures and name not in known:
                raise ValueError(f"`{name}` is an option of pictures, and of frames too: give it in images_kwargs.")
            if name not in known:
                raise unknown_name(name, sorted(known), f"option in {group}:")

    def _routed_options(self, group: str) -> set[str]:
        """What the library takes for an option of this group, also where it stands flat."""
        if group == "videos_kwargs":
            return set(VIDEO_OPTIONS)
        part = getattr(self, OPTION_GROUPS[group])
        valid = getattr(getattr(part, "valid_kwargs", None), "__annotations__", {})
        return {*self.valid_processor_kwargs.__annotations__[group].__annotations__, *valid}

    def _call_options(self, group: str) -> list[str]:
        """What beyond that the part itself takes, such as `return_token_timestamps` of Whisper's extractor."""
        part = getattr(self, OPTION_GROUPS[group], None)
        if part is None:
            return []
        call = part._encode_plus if hasattr(part, "_encode_plus") else part.__call__
        return [p.name for p in inspect.signature(call).parameters.values() if p.kind is not p.VAR_KEYWORD]

    def _tokenize(self, rows: list, options: dict) -> dict[str, torch.Tensor]:
        """Strings or None to `input_ids` and `attention_mask` (B, Lt)."""
        indices = present_rows(rows)
        for i in indices:
            if not isinstance(rows[i], str):
                raise ValueError(f"text[{i}] has type {type(rows[i]).__name__}: expected a string or None.")
        check_whole(options, LENGTHS_OF_TEXT)
        if options.get("padding") and getattr(self.tokenizer, "pad_token", "") is None:
            raise ValueError(
                "The tokenizer has no padding token, which texts of several lengths need: its tokenizer_config.json is missing "
                "or names none. Set `processor.tokenizer.pad_token`."
            )
        options = {**options, "return_tensors": "pt", "return_attention_mask": True}
        with tokenizing(self.tokenizer):
            tokens = self.tokenizer([rows[i] for i in indices], **options)
        if len(tokens["attention_mask"]) != len(indices):
            raise ValueError(
                f"{len(indices)} texts gave {len(tokens['attention_mask'])} rows, which would fit no other input: leave "
                "out return_overflowing_tokens, or pass the parts as rows of their own."
            )
        for i, mask in zip(indices, tokens["attention_mask"], strict=True):
            if not mask.any():
                raise ValueError(f"text[{i}] is {rows[i]!r}, which gives no tokens; pass None for a row without text.")
        return {
            name: spread(values, indices, len(rows))
            for name, values in tokens.items()
            if name not in self.unused_input_names
        }

    def _process_pictures(
        self, rows: dict[str, list], options: dict, allow_urls: bool | str
    ) -> dict[str, torch.Tensor]:
        """Pictures and videos to `pixel_values` (B, C, H, W), or (B, F, C, H, W) and their times (B, F) if videos."""
        image_options = {**options["images_kwargs"], "return_tensors": "pt"}
        convert_rgb = image_options.get("do_convert_rgb", getattr(self.image_processor, "do_convert_rgb", None))
        clips, clip_times = self._load_clips(rows, options["videos_kwargs"], convert_rgb is not False, allow_urls)
        frames = [frame for clip in clips for frame in clip]
        pixels = self._call_image_processor(frames, image_options)  # (all frames, C, H, W)

        mask = torch.zeros(len(clips), max(map(len, clips)), dtype=torch.long)  # (B, F)
        for i, clip in enumerate(clips):
            mask[i, : len(clip)] = 1
        pixel_values = pixels.new_zeros(*mask.shape, *pixels.shape[1:])  # (B, F, C, H, W)
        pixel_values[mask.bool()] = pixels
        if "videos" not in rows:
            return {"pixel_values": pixel_values[:, 0], "pixel_mask": mask[:, 0]}
        outputs = {"pixel_values": pixel_values, "pixel_mask": mask}
        if self.return_times:
            outputs["pixel_times"] = torch.zeros(mask.shape)
            outputs["pixel_times"][mask.bool()] = torch.tensor([time for times in clip_times for time in times])
        return outputs

    def _load_clips(
        self, rows: dict[str, list], options: dict, convert_rgb: bool, allow_urls: bool | str
    ) -> tuple[list[list[Image.Image]], list[list[float]]]:
        """The frames of each row (those of its video, its one picture, or none) and, if asked for, their seconds."""
        num_frames = self.num_frames if options.get("num_frames") is None else options["num_frames"]
        if not isinstance(num_frames, numbers.Integral) or num_frames < 1:
            raise ValueError(f"num_frames is {num_frames!r}: expected a whole number of at least 1.")
        if options.get("do_sample_frames") is False:
            num_frames = None
        fps = options.get("fps") if self.return_times else None
        if fps is not None and not (isinstance(fps, numbers.Real) and 0 < fps < math.inf):
            raise ValueError(f"fps is {fps!r}: expected a positive number, the frames per second of the videos given.")
        clips = [[] for _ in next(iter(rows.values()))]
        clip_times = [[] for _ in clips]
        for i, image in enumerate(rows.get("images", ())):
            if image is not None:
                clips[i] = [load_image(image, f"images[{i}]", convert_rgb, allow_urls, self.limits)]
                clip_times[i] = [0.0]
        for i, video in enumerate(rows.get("videos", ())):
            if video is not None:
                frames, clip_times[i] = load_frames(video, f"videos[{i}]", num_frames, fps, allow_urls, self.limits)
                if self.return_times and clip_times[i] is None:
                    raise ValueError(
                        f"videos[{i}] does not say when its frames are, which return_times=True needs: pass "
                        'videos_kwargs={"fps": ...}, the number of frames per second.'
                    )
                clips[i] = [
                    load_image(frame, f"videos[{i}]", convert_rgb, allow_urls, self.limits) for frame in frames
                ]
        return clips, clip_times

    def _call_image_processor(self, frames: list[Image.Image], options: dict) -> torch.Tensor:
        try:
            pixels = self.image_processor(frames, **options)["pixel_values"]
        except ValueError as error:
            sizes = sorted({image.size for image in frames})
            modes = sorted({image.mode for image in frames})
            raise ValueError(
                f"The image processor failed on pictures of sizes (W, H) {sizes} and modes {modes}: it has to give "
                f"every picture the same shape. {error}"
            ) from error
        if pixels.ndim != 4:
            raise ValueError(
                f"The image processor returned pixel_values of shape {tuple(pixels.shape)}: expected (N, C, H, W)."
            )
        return pixels

    def _audio_options(self, options: dict, own: dict) -> dict:
        flat = {key: value for key, value in options["audio_kwargs"].items() if key not in TOKEN_LENGTH_OPTIONS}
        exact = {"padding": "longest", "pad_to_multiple_of": None, "truncation": False}
        return {**flat, **exact, **own}

    def _extract_mel(
        self, rows: list, options: dict, max_seconds: float | None, allow_urls: bool | str
    ) -> dict[str, torch.Tensor]:
        """Clips or None to `input_features` (B, T, mel), `input_features_mask` (B, T) and, if asked for, the times."""
        if max_seconds is not None and not (isinstance(max_seconds, numbers.Real) and 0 < max_seconds < math.inf):
            raise ValueError(f"`max_audio_seconds` is {max_seconds!r}: expected seconds, a number above 0, or None.")
        extractor, indices = self.feature_extractor, present_rows(rows)
        rate, default_rate = extractor.sampling_rate, options.pop("sampling_rate", None)
        window = next((getattr(extractor, name) for name in WINDOW_ATTRIBUTES if hasattr(extractor, name)), 1)
        # The last frame that is kept sees half of a window beyond; some extractors ask for a sample more.
        heard = None if max_seconds is None else max_seconds + (window + 1) / rate
        cut_and_checked = {"max_seconds": heard, "allow_urls": allow_urls, "limits": self.limits}
        loaded = [load_audio(rows[i], f"audio[{i}]", rate, default_rate, **cut_and_checked) for i in indices]
        clips, starts = zip(*loaded, strict=True)
        for i, clip in zip(indices, clips):
            if len(clip) < window:
                raise ValueError(
                    f"audio[{i}] has {len(clip)} samples at {rate} Hz, shorter than one analysis window ({window})."
                )
        options |= {"sampling_rate": rate, "return_attention_mask": True, "return_tensors": "pt"}
        features, mask = self._mel_frames_first(extractor(list(clips), **options), options)
        if max_seconds is not None:
            most = max(1, round(max_seconds * frames_per_second(extractor)))
            features, mask = features[:, :most], mask[:, :most]
        for i, row_mask in zip(indices, mask):
            if not row_mask.any():
                raise ValueError(f"audio[{i}] gives no frames: it is shorter than the extractor's analysis window.")
        features = features * mask[..., None]  # padding is zero whatever the extractor leaves there
        outputs = {"input_features": features, "input_features_mask": mask}
        if self.return_times:
            outputs["input_features_times"] = self._mel_times(mask, starts)
        return {name: spread(values, indices, len(rows)) for name, values in outputs.items()}

    def _mel_times(self, mask: torch.Tensor, starts: Sequence[float]) -> torch.Tensor:
        """Seconds (N, T) of mel frames with mask (N, T), of clips that start at `starts` (N,) in their files.

        Extractors pad the front by half of their window, so that frame i has its centre, not its left edge, on sample
        i * hop_length, the first of the hop_length samples that it stands for.
        """
        hop_length = getattr(self.feature_extractor, "hop_length", None)
        if hop_length is None:
            raise ValueError(
                f"{type(self.feature_extractor).__name__} has no `hop_length` (samples from one frame to the next), "
                "which return_times=True needs."
            )
        indices = mask.cumsum(1) - 1  # padding, also on the left, takes no time
        seconds = torch.tensor(starts)[:, None] + indices * (hop_length / self.feature_extractor.sampling_rate)
        return seconds.float() * mask

    def _mel_frames_first(self, extracted: BatchFeature, options: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """Any extractor's output to mel frames (N, T, mel), or samples (N, T, 1), and a mask (N, T)."""
        features = extracted.get("input_features", extracted.get("input_values"))
        if features is not None and features.ndim == 2:
            features = features[..., None]  # waveforms: frames of one sample
        if features is None or features.ndim != 3:
            shape = None if features is None else tuple(features.shape)
            raise ValueError(
                f"{type(self.feature_extractor).__name__} returned features of shape {shape}: expected "
                "mel frames (N, T, mel) or (N, mel, T), or waveforms (N, samples)."
            )
        mask = frame_mask(extracted)
        if mask is None:
            mask = torch.ones(features.shape[:2])
        elif self._is_channels_first(features, mask, options):
            features = features.transpose(1, 2)
        return features.contiguous(), (mask != 0).long()

    def _is_channels_first(self, features: torch.Tensor, mask: torch.Tensor, options: dict) -> bool:
        if features.shape[1] == features.shape[2]:  # as many frames as bins: ask again with another length
            silence = np.zeros(2 * self.feature_extractor.sampling_rate, dtype=np.float32)
            extracted = self.feature_extractor([silence], **options)
            features, mask = extracted["input_features"], frame_mask(extracted)
        return features.shape[2] == mask.shape[1]


def encode_rows(
    processor, model, rows: dict[str, list], truncation: bool = False, allow_urls: bool | str = True
) -> dict[str, torch.Tensor]:
    """
    Raw rows as the model takes them, on its device and in its floating-point type.

    Args:
        rows: argument of the processor -> a list with a cell for each row, None where it has none.
        truncation: whether to cut text and sound that are longer than the model takes.
        allow_urls: as for the processor.
    """
    config, options = model.config, {"allow_urls": allow_urls}
    if truncation and "text" in config.modalities and "text" in rows:
        options |= {"truncation": True, "max_length": config.text_config.max_position_embeddings}
    if truncation and "audio" in config.modalities and "audio" in rows:
        frames = config.audio_config.max_frames
        options["max_audio_seconds"] = frames / frames_per_second(processor.feature_extractor)
    batch = processor(**rows, **options)
    if truncation and "audio" in config.modalities:
        heard = {name: values for name, values in batch.items() if name.startswith("input_features")}  # (B, T, ...)
        batch |= {name: values[:, : config.audio_config.max_frames] for name, values in heard.items()}
    return {name: to_model(name, values, model) for name, values in batch.items()}


def to_model(name: str, values: torch.Tensor, model) -> torch.Tensor:
    """An input on the model's device, and in its floating-point type unless it is one that half precision would spoil:
    seconds, of which bfloat16 tells no more than 128 apart from one power of two to the next."""
    is_cast = values.is_floating_point() and not name.endswith("_times")
    return values.to(model.device, model.dtype if is_cast else None)
