# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`MoTProcessor`: what people have (strings, pictures, sounds, videos, ready features, and what else a user declares)
becomes the tensors of a batch.

`rows_mot.py` says which cell belongs to which row, and the rooms of the kinds (`modality_..._mot.py`) lay the cells of
one modality out as one row per example, with a mask that says which parts are real. Several cells in one row are
encoded as rows of their own and joined.
"""

import copy
import difflib
import inspect
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor, AutoTokenizer, BertTokenizer
from transformers.audio_utils import AudioInput
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, ImageInput
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin, Unpack
from transformers.utils import logging
from transformers.video_utils import VideoInput

from .carrying_mot import carry
from .cells_mot import ProcessorCall
from .decoding_mot import DecodingLimits
from .feature_extraction_mot import MoTFeatureExtractor
from .image_processing_mot import MoTImageProcessor
from .modalities_mot import MODALITIES, forms
from .modality_image_mot import takes_any_shape, whole_pictures
from .modality_mot import Modality
from .modality_vectors_mot import pad_features
from .rows_mot import (
    HISTORIC,
    RowTable,
    Segment,
    are_documents,
    is_blank,
    naming,
    resolve_synonyms,
    unknown_name,
)
from .validation_mot import check_modality_name
from .warm_start_mot import split_revision

logger = logging.get_logger(__name__)

# The options of videos that are taken; what becomes of a frame is an option of pictures.
VIDEO_OPTIONS = ("num_frames", "do_sample_frames", "fps", "return_tensors")
# group of options: the part that takes them
OPTION_GROUPS = {
    "text_kwargs": "tokenizer",
    "images_kwargs": "image_processor",
    "audio_kwargs": "feature_extractor",
    "videos_kwargs": "video_processor",  # there is none: frames are pictures
}


def check_can_be_copied(name: str, value: Any) -> None:
    """Refuse an option that no copy can be made of, as the library does of all: an open file, a view of memory."""
    try:
        copy.deepcopy(value)
    except Exception as error:  # whatever the type's own way to be copied raises
        raise ValueError(f"`{name}` is {value!r:.100}, expected a plain value: {error}.") from error


def read_modalities(modalities: Any) -> tuple[dict[str, dict], dict[str, Modality]]:
    """
    The modalities that a user declares, as plain JSON in the order of their names, and what each of them is.

    Raises:
        ValueError: naming the modality and what of it is not known or cannot be.
    """
    if not isinstance(modalities, Mapping):
        raise ValueError(
            f'`modalities` is {modalities!r:.100}: expected a dict such as {{"imu": {{"kind": "series"}}}}.'
        )
    try:
        declared = json.loads(json.dumps(dict(modalities), allow_nan=False, sort_keys=True))  # as a folder has them
    except (TypeError, ValueError) as error:
        raise ValueError(f"`modalities` holds what JSON cannot keep, and so no folder: {error}.") from error
    known, kinds, taken = forms(), {}, {*HISTORIC.cells, *HISTORIC.arguments}
    for name, settings in declared.items():
        check_modality_name(name, taken)
        if not isinstance(settings, dict) or "kind" not in settings:
            raise ValueError(
                f"The modality `{name}` is {settings!r:.100}: expected a dict with a `kind` ({', '.join(known)})."
            )
        word = str(settings["kind"]).removeprefix("mot_")
        if word not in known:
            raise unknown_name(word, list(known), f"kind of the modality `{name}`:")
        settings["kind"] = word
        kind, form = known[word]
        modality = kinds[name] = kind.called(name, form)
        own = {key: value for key, value in settings.items() if key != "kind"}
        for key in own:
            if key not in modality.settings:
                raise unknown_name(key, ["kind", *modality.settings], f"setting of the modality `{name}`:")
        try:
            modality.check_settings(own)
        except ValueError as error:
            raise ValueError(f"The modality `{name}` ({word}): {error}") from error
    return declared, kinds


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
            f"The processor of {name} cannot be made of its {files} ({type(error).__name__}: {error}). If it is "
            "damaged, copy or download it anew."
        ) from error


def load_processor(name: str | os.PathLike, trust_remote_code: bool = False, token: str | bool | None = None):
    """
    The processor of a checkpoint, whose code is run only if it is trusted.

    Raises:
        ValueError: a file of it is damaged. OSError: it is not there.
    """
    with reading(name):
        return AutoProcessor.from_pretrained(name, trust_remote_code=trust_remote_code, token=token)


def tokenizer_without_words() -> BertTokenizer:
    """The tokenizer of a processor that reads no text."""
    return BertTokenizer(model_max_length=512, model_input_names=["input_ids", "attention_mask"])


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
        modalities (`dict`): name -> {"kind": ..., settings of that kind} of what there is beyond text, images and
            audio. The kinds are those of the configs of a model, "video" is that of images with frames. Settings are
            plain JSON. A text shares the tokenizer; its `max_length` says where it is cut if it is (`truncation`).
            Pictures share the image processor, but for a `size` (pixels, or {"height", "width"}), `mean` and `std` of
            their own. With `num_channels` (1) or `scale` (1) they are no colours but values, such as a depth in
            millimetres: read at their full depth, (value * scale - mean) / std, at their own resolution where that is
            the `size`. Sounds share the feature extractor, unless they have settings for a `MoTFeatureExtractor`:
            `sampling_rate`, `num_mel_bins`, `min_frequency`, `max_frequency`, `dynamic_range`.

    `processor.kinds` says what each modality is, by its name. What one file may cost is in the attribute `limits`, the
    `DecodingLimits` of `decoding_mot.py`. It is the choice of this process and not saved: `processor.limits =
    DecodingLimits(max_audio_seconds=7200)`.
    """

    text_kwargs = {"padding": True}

    def __init__(
        self,
        image_processor=None,
        feature_extractor=None,
        tokenizer=None,
        num_frames=8,
        return_times=False,
        modalities=None,
    ):
        if not isinstance(num_frames, int) or num_frames < 1:
            raise ValueError(f"num_frames is {num_frames!r}: expected an int of at least 1.")
        if not isinstance(return_times, bool):
            raise ValueError(f"return_times is {return_times!r}: expected True or False.")
        self.modalities, kinds = read_modalities({} if modalities is None else modalities)
        self.rows = RowTable(MODALITIES | kinds)
        if image_processor is None:
            image_processor = MoTImageProcessor(
                image_mean=IMAGENET_DEFAULT_MEAN, image_std=IMAGENET_DEFAULT_STD, do_convert_rgb=True
            )
        if feature_extractor is None:
            feature_extractor = MoTFeatureExtractor()
        if tokenizer is None:
            logger.warning_once("No tokenizer given: the default one has no vocabulary, every word becomes [UNK].")
            tokenizer = tokenizer_without_words()
        self.num_frames = num_frames
        self.return_times = return_times
        self.limits = DecodingLimits()
        super().__init__(image_processor, feature_extractor, tokenizer)
        self._check_names()

    @property
    def kinds(self) -> dict[str, Modality]:
        """What each modality is, raw: text, images and audio, and behind them those of `modalities`."""
        return self.rows.kinds

    def _check_names(self) -> None:
        """No modality is called like an option of a call."""
        if self.modalities:
            options = set().union(*map(self._routed_options, OPTION_GROUPS))
            for name in self.modalities:
                check_modality_name(name, {*options, *inspect.signature(self.__call__).parameters})

    def save_pretrained(self, save_directory, push_to_hub: bool = False, **kwargs):
        """As in the library, and with the kinds that the user has registered; it is pushed when all of it is there."""
        files = super().save_pretrained(save_directory)
        carry(save_directory)
        if push_to_hub:
            name, options = (
                kwargs.pop("repo_id", Path(save_directory).name),
                inspect.signature(self.push_to_hub).parameters,
            )
            self.push_to_hub(name, **{option: kwargs[option] for option in options if option in kwargs})
        return files

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
        *,
        text_backbone: str | os.PathLike | None = None,
        image_backbone: str | os.PathLike | None = None,
        audio_backbone: str | os.PathLike | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike | None = None,
        local_files_only: bool = False,
        **parts,
    ) -> "MoTProcessor":
        """
        The tokenizer, the image processor and the extractor of the checkpoints that a model's towers begin as, or
        that stand in front of these. One that cuts pictures of any shape into patches, as that of Qwen-VL does, gives
        its settings to one that makes squares of them.

        Args:
            text, image, audio, text_backbone, image_backbone, audio_backbone: as in `MoTModel`'s.
            token, cache_dir, local_files_only: as in `from_pretrained`.
            parts: further arguments of the class, also the parts of modalities without a checkpoint.
        """
        hub = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        kinds = {
            "tokenizer": (AutoTokenizer, text or text_backbone, {}),
            "image_processor": (AutoImageProcessor, image or image_backbone, {"backend": "pil"}),
            "feature_extractor": (AutoFeatureExtractor, audio or audio_backbone, {}),
        }
        for part, (auto_class, source, options) in kinds.items():
            if source is not None:
                name, revision = split_revision(source)
                options |= {"trust_remote_code": False} | hub | revision
                parts[part] = auto_class.from_pretrained(name, **options)
        if takes_any_shape(parts.get("image_processor")):
            parts["image_processor"] = whole_pictures(parts["image_processor"])
        return cls(**parts)

    @property
    def model_input_names(self) -> list[str]:
        every = [modality.names for modality in self.kinds.values()]
        times = [modality.names.times for modality in self.kinds.values() if modality.has_times and self.return_times]
        return [name for names in every for name in (names.raw, names.mask)] + times

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
        documents: list | None = None,
        modality_kwargs: dict[str, dict] | None = None,
        **kwargs: Unpack[ProcessingKwargs],
    ) -> BatchFeature:
        """Turns one example or a batch of B examples into tensors; None in a list is a row without that modality, and
        so is a string of white space alone. A cell may be a list of cells, the *segments* of its row: `images=[[front,
        back], side, None]`; an empty one is None. A list of frames is one video, a list of videos several; a list of
        numbers is one sound.

        Args:
            images: PIL pictures, arrays (H, W), (H, W, C) or (C, H, W), paths, URLs, bytes, `{"bytes", "path"}`.
            text: strings.
            videos: paths, URLs, bytes, lists of frames, arrays (F, H, W, C) or (F, C, H, W), decoders of
                torchcodec. Beside `images`, each row has at most one of both, and pictures count as one frame.
            audio: arrays (samples,) or stereo, `{"array", "sampling_rate"}`, tuples (Hz, array), paths, URLs, bytes,
                `{"bytes", "path"}`, decoders of torchcodec. Bare arrays need `sampling_rate=` in Hz; every rate is
                resampled to that of the feature extractor.
            text_features, image_features, audio_features: ready features, rows (L_i, feature_size) or (B, L, F).
            allow_urls: whether URLs are followed, as they are if nothing is said. Rows of other people, which could
                have them lead anywhere, take False, or "public" for URLs of public addresses alone. `data:` URLs hold
                what they mean and are always read.
            max_audio_seconds: where longer sound is cut. What lies beyond is not decoded.
            documents: in the place of all inputs by name, a list of parts {name: cell} for each row, in their order:
                `[[{"text": "Before"}, {"image": picture}, {"text": "after"}], ...]`; also as the first argument.
            modality_kwargs: options of one modality, {its name: {option: value}}, over those for all of its kind.
            kwargs: those of `modalities` by their names, as lists of what their kind takes, and as ready features
                (`imu=...` or `imu_features=...`); and options of the tokenizer and image processor, flat or in
                `text_kwargs`, `images_kwargs`, `audio_kwargs`, `videos_kwargs`, `common_kwargs`. Flat `padding`,
                `max_length` and `truncation` are for text. `return_tensors="np"` gives numpy arrays; the default is
                torch tensors. The inputs may also be called `image`, `video`, `sound` and the like.

        Returns:
            `BatchFeature` with, for each modality given (those of `modalities` are `{name}_values` or
            `{name}_features`, and `{name}_mask`): `input_ids` or `text_features` and `attention_mask` (B, Lt);
            `pixel_values` (B, C, H, W) or, if there are videos, (B, F, C, H, W), and `pixel_mask` (B,) or (B, F), or
            `image_features` (B, Li, F) and `pixel_mask` (B, Li); `input_features` (B, T, mel) and
            `input_features_mask` (B, T). Masks are int64, 1 = real; a missing row is zeros. With `return_times` also
            `pixel_times` (B, F), if there are videos, and `input_features_times` (B, T): float32 seconds since the
            start of the row's file, zeros where masked. A picture is at 0; ready features have no times.

            Where a row has several segments of a modality they follow each other, pictures as frames do (B, F, C, H,
            W), and int64 of the mask's shape say whose each is, from 0: `input_segments`, `pixel_segments`,
            `input_features_segments`, `{name}_segments`. Of documents these are always there, and the times of every
            modality (`input_times`, `pixel_times`, ...) are the place of the part, 0, 1, 2, ...

        Raises:
            ValueError: naming the row, if it cannot be read or is empty, or if batch sizes differ, or if
                `return_times` is set and nothing says when the frames of a video are; or if a keyword is unknown.
            FileNotFoundError, OSError: naming the row, for a missing file or an unreachable URL.
            ImportError: naming the package to install, if a format needs a decoder that is not there.
        """
        allow_urls = True if allow_urls is None else allow_urls
        if not isinstance(allow_urls, bool) and allow_urls != "public":
            raise ValueError(f"`allow_urls` is {allow_urls!r}: expected True, False or 'public'.")
        if documents is None and are_documents(images):
            images, documents = None, images
        given = {"text": text, "text_features": text_features, "images": images, "videos": videos}
        given |= {"image_features": image_features, "audio": audio, "audio_features": audio_features}
        given |= {name: kwargs.pop(name, None) for name in self.rows.arguments if name not in given}
        others = {name: kwargs.pop(name) for name in self.rows.call_synonyms.keys() & kwargs.keys()}
        given = {name: None if is_blank(value) else value for name, value in (given | others).items()}
        given = resolve_synonyms(given, self.rows.call_synonyms)
        self._check_options(kwargs, [*given, "documents", "modality_kwargs"])
        own = self._own_options(modality_kwargs or {})
        if documents is None:
            rows = self.rows.read_call(given)
        else:
            if named := [name for name, value in given.items() if value is not None]:
                raise ValueError(f"Got `documents` and {', '.join(named)}: documents hold all inputs of a batch.")
            rows = self.rows.read_documents(documents)
        if not rows:
            raise ValueError(
                f"{type(self).__name__} got nothing, or blank strings: give at least one of {', '.join(given)}."
            )
        options = self._merge_kwargs(tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        return_tensors = options["text_kwargs"].pop("return_tensors", None)
        call = ProcessorCall(self, options, kwargs, allow_urls, max_audio_seconds)
        data: dict[str, torch.Tensor] = {}
        for name, modality_rows in rows.items():
            modality = self.kinds[name]
            data |= self._collect(modality, modality_rows, self._call_of(modality, call, own.get(name, {})))
        return BatchFeature(data, tensor_type=return_tensors)

    def _collect(self, modality: Modality, rows: list[list[Segment]], call: ProcessorCall) -> dict[str, torch.Tensor]:
        """The tensors of one modality; as they always were where no row has several segments, or a document."""
        segments = [segment for row in rows for segment in row]
        places = [segment.place for segment in segments if segment.place is not None]
        if not places and all(len(row) <= 1 for row in rows):
            return self._collect_rows(modality, [row[0] if row else None for row in rows], call)
        with naming(segments):
            outputs = self._collect_rows(modality, segments, call)
        return modality.join_segments(outputs, [len(row) for row in rows], call, places or None)

    def _collect_rows(
        self, modality: Modality, rows: list[Segment | None], call: ProcessorCall
    ) -> dict[str, torch.Tensor]:
        """The same of rows with one segment each, or none."""
        present = {row.argument for row in rows if row is not None}
        cells = {
            argument: [row.value if row is not None and row.argument == argument else None for row in rows]
            for argument in self.rows.arguments_of(modality)
            if argument in present
        }
        if (features := cells.get(modality.features_argument)) is not None:
            padded = pad_features(modality.features_argument, features)
            return dict(zip((modality.names.features, modality.names.mask), padded))
        return modality.collect(cells, call)

    def _call_of(self, modality: Modality, call: ProcessorCall, own: dict[str, Any]) -> ProcessorCall:
        """A call as one modality sees it: with its settings, and with its own options over those of its groups."""
        of_call = {name: own[name] for name in modality.call_options if name in own}
        options, given = dict(call.options), dict(call.given)
        for group in modality.option_groups if own else ():
            known = {*self._routed_options(group), *self._call_options(group)}
            of_group = {name: value for name, value in own.items() if name in known}
            options[group] = {**options[group], **of_group}
            given[group] = {**given.get(group, {}), **of_group}
        settings = modality.settings_in(self)
        return replace(call, options=options, given=given, settings=settings, **of_call)

    def _own_options(self, options: Any) -> dict[str, dict[str, Any]]:
        """The options of single modalities, each of them known."""
        if not isinstance(options, dict):
            raise ValueError(f"`modality_kwargs` has type {type(options).__name__}: expected a dict of dicts.")
        for name, own in options.items():
            if name not in self.kinds:
                raise unknown_name(str(name), list(self.kinds), "modality in modality_kwargs:")
            modality = self.kinds[name]
            routed = [option for g in modality.option_groups for option in self._routed_options(g)]
            called = [option for g in modality.option_groups for option in self._call_options(g)]
            known = {*routed, *called, *modality.call_options}
            self._check_group(f"modality_kwargs[{name!r}]", own, known, ())
        return options

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


def kind_in(processor: MoTProcessor, name: str) -> Modality:
    """What a processor knows a modality of a model as."""
    if name not in processor.kinds:
        raise ValueError(
            f"The model takes the modality `{name}`, of which the processor knows nothing (it knows "
            f'{", ".join(processor.kinds)}): build it with `modalities={{{name!r}: {{"kind": ...}}}}`.'
        )
    return processor.kinds[name]


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
    towers = {m: model.config.modality_config(m) for m in model.config.modalities} if truncation else {}
    kinds = {m: kind_in(processor, m) for m in towers}
    own = {m: kinds[m].cut_options(tower, processor) for m, tower in towers.items()}
    batch = processor(**rows, allow_urls=allow_urls, modality_kwargs=own)
    for m, tower in towers.items():
        batch |= kinds[m].cut(tower, batch)
    return {name: to_model(name, values, model) for name, values in batch.items()}


def to_model(name: str, values: torch.Tensor, model) -> torch.Tensor:
    """An input on the model's device, and in its floating-point type unless it is one that half precision would spoil:
    the cells of a table, and seconds, of which bfloat16 tells no more than 128 apart from one power of two to the
    next."""
    exact = {kind.names.raw for kind in model.config.kinds.values() if kind.is_exact}
    is_cast = values.is_floating_point() and not name.endswith("_times") and name not in exact
    return values.to(model.device, model.dtype if is_cast else None)
