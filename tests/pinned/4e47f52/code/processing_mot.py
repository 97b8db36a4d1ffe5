# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What people have (strings, pictures, sounds, videos, ready features) becomes the tensors that the models take.

`decoding_mot.py` opens and decodes; `MoTProcessor` lays each modality out as one row per example with a mask that says
which parts are real.
"""

import math
import numbers
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer, BertTokenizer
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
from .decoding_mot import is_array, is_number_list, load_audio, load_frames, load_image, to_numpy
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
    rows = [value[i] for i in range(len(value))]  # lists, tuples and columns of `datasets`
    if name == "audio" and is_number_list(rows):
        return [np.asarray(rows)]
    if name == "videos" and any(isinstance(row, Image.Image) or (is_array(row) and row.ndim < 4) for row in rows):
        return [rows]  # a list of frames is one video
    return [unnest_image(row, f"images[{i}]") for i, row in enumerate(rows)] if name == "images" else rows


def unnest_image(row: Any, name: str) -> Any:
    """transformers also writes a batch as [[image], [], [image]]."""
    if not isinstance(row, (list, tuple)):
        return row
    if len(row) > 1:
        raise ValueError(f"{name} is a list of {len(row)} pictures: a row takes one; pass several as `videos`.")
    return row[0] if row else None


def check_rows(rows: dict[str, list]) -> None:
    """Every modality has the same number of rows, every row has something, and nothing is given twice."""
    sizes = {name: len(values) for name, values in rows.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ValueError(f"Batch sizes differ: {listed}. A row that lacks a modality is None in its list.")
    for i in range(max(sizes.values())):
        present = {name for name, values in rows.items() if values[i] is not None}
        if not present:
            raise ValueError(f"Row {i} is empty: {', '.join(rows)} are all None there.")
        if {"images", "videos"} <= present:
            raise ValueError(f"Row {i} has both images and videos: give at most one of them.")


def check_raw_or_ready(rows: dict[str, list]) -> None:
    for raw, ready in RAW_OR_READY:
        if raw in rows and ready in rows:
            raise ValueError(f"Got both {raw} and {ready}: a batch holds one of them.")


def present_rows(rows: list) -> list[int]:
    return [i for i, row in enumerate(rows) if row is not None]


def spread(values: torch.Tensor, indices: list[int], batch_size: int) -> torch.Tensor:
    """(len(indices), ...) to (batch_size, ...): the given rows at their places, zeros elsewhere."""
    spread_values = values.new_zeros(batch_size, *values.shape[1:])
    spread_values[indices] = values
    return spread_values


def pad_features(name: str, rows: list) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (L_i, F) or None to (B, L, F) float32 and its mask (B, L)."""
    arrays = {i: to_numpy(rows[i]) for i in present_rows(rows)}
    for i, array in arrays.items():
        if array.ndim != 2 or len(array) == 0:
            raise ValueError(f"{name}[{i}] has shape {array.shape}: expected (length, feature_size), length >= 1.")
    widths = {i: array.shape[1] for i, array in arrays.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"The rows of {name} differ in feature_size: {widths} (row: width).")
    features = torch.zeros(len(rows), max(map(len, arrays.values())), next(iter(widths.values())))  # (B, L, F)
    mask = torch.zeros(features.shape[:2], dtype=torch.long)
    for i, array in arrays.items():
        features[i, : len(array)] = torch.from_numpy(array.astype(np.float32))
        mask[i, : len(array)] = 1
    return features, mask


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
        super().__init__(image_processor, feature_extractor, tokenizer)

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
                parts[part] = auto_class.from_pretrained(name, **hub, **revision, **options)
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
        **kwargs: Unpack[ProcessingKwargs],
    ) -> BatchFeature:
        """Turns one example or a batch of B examples into tensors; None in a list is a row without that modality.

        Args:
            images: PIL pictures, arrays (H, W), (H, W, C) or (C, H, W), paths, URLs, bytes, `{"bytes", "path"}`.
            text: strings.
            videos: paths, URLs, bytes, lists of frames, arrays (F, H, W, C) or (F, C, H, W), decoders of
                torchcodec. Beside `images`, each row has at most one of both, and pictures count as one frame.
            audio: arrays (samples,) or stereo, `{"array", "sampling_rate"}`, paths, URLs, bytes,
                `{"bytes", "path"}`, decoders of torchcodec. Bare arrays need `sampling_rate=` in Hz; every rate is
                resampled to that of the feature extractor.
            text_features, image_features, audio_features: ready features, rows (L_i, feature_size) or (B, L, F).
            kwargs: options of the tokenizer and image processor, flat or in `text_kwargs`, `images_kwargs`,
                `audio_kwargs`, `videos_kwargs`, `common_kwargs`. Flat `padding`, `max_length` and `truncation`
                are for text. `return_tensors="np"` gives numpy arrays; the default is torch tensors.

        Returns:
            `BatchFeature` with, for each modality given: `input_ids` or `text_features` and `attention_mask`
            (B, Lt); `pixel_values` (B, C, H, W) or, if there are videos, (B, F, C, H, W), and `pixel_mask` (B,) or
            (B, F), or `image_features` (B, Li, F) and `pixel_mask` (B, Li); `input_features` (B, T, mel) and
            `input_features_mask` (B, T). Masks are int64, 1 = real; a missing row is zeros. With `return_times` also
            `pixel_times` (B, F), if there are videos, and `input_features_times` (B, T): float32 seconds since the
            start of the row's file, zeros where masked. A picture is at 0; ready features have no times.

        Raises:
            ValueError: naming the row, if it cannot be read or is empty, or if batch sizes differ, or if
                `return_times` is set and nothing says when the frames of a video are.
            FileNotFoundError, OSError: naming the row, for a missing file or an unreachable URL.
            ImportError: naming the package to install, if a format needs a decoder that is not there.
        """
        given = {"text": text, "text_features": text_features, "images": images, "videos": videos}
        given |= {"image_features": image_features, "audio": audio, "audio_features": audio_features}
        rows = {name: to_rows(name, value) for name, value in given.items() if value is not None}
        if not any(rows.values()):
            raise ValueError(f"{type(self).__name__} got nothing: give at least one of {', '.join(given)}.")
        check_rows(rows)
        rows = {name: values for name, values in rows.items() if present_rows(values)}
        check_raw_or_ready(rows)

        options = self._merge_kwargs(tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        return_tensors = options["text_kwargs"].pop("return_tensors", None)
        data = {}
        if "text" in rows:
            data |= self._tokenize(rows["text"], options["text_kwargs"])
        if "images" in rows or "videos" in rows:
            data |= self._process_pictures(rows, options)
        if "audio" in rows:
            data |= self._extract_mel(rows["audio"], self._audio_options(options, kwargs.get("audio_kwargs", {})))
        for name, (output, mask_name) in READY_OUTPUTS.items():
            if name in rows:
                data[output], data[mask_name] = pad_features(name, rows[name])
        return BatchFeature(data, tensor_type=return_tensors)

    def _tokenize(self, rows: list, options: dict) -> dict[str, torch.Tensor]:
        """Strings or None to `input_ids` and `attention_mask` (B, Lt)."""
        indices = present_rows(rows)
        for i in indices:
            if not isinstance(rows[i], str):
                raise ValueError(f"text[{i}] has type {type(rows[i]).__name__}: expected a string or None.")
        options = {**options, "return_tensors": "pt", "return_attention_mask": True}
        tokens = self.tokenizer([rows[i] for i in indices], **options)
        for i, mask in zip(indices, tokens["attention_mask"], strict=True):
            if not mask.any():
                raise ValueError(f"text[{i}] is {rows[i]!r}, which gives no tokens; pass None for a row without text.")
        return {
            name: spread(values, indices, len(rows))
            for name, values in tokens.items()
            if name not in self.unused_input_names
        }

    def _process_pictures(self, rows: dict[str, list], options: dict) -> dict[str, torch.Tensor]:
        """Pictures and videos to `pixel_values` (B, C, H, W), or (B, F, C, H, W) and their times (B, F) if videos."""
        image_options = {**options["images_kwargs"], "return_tensors": "pt"}
        convert_rgb = image_options.get("do_convert_rgb", getattr(self.image_processor, "do_convert_rgb", None))
        clips, clip_times = self._load_clips(rows, options["videos_kwargs"], convert_rgb is not False)
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
        self, rows: dict[str, list], options: dict, convert_rgb: bool
    ) -> tuple[list[list[Image.Image]], list[list[float]]]:
        """The frames of each row (those of its video, its one picture, or none) and, if asked for, their seconds."""
        num_frames = options.get("num_frames") or self.num_frames
        if options.get("do_sample_frames") is False:
            num_frames = None
        fps = options.get("fps") if self.return_times else None
        if fps is not None and not (isinstance(fps, numbers.Real) and 0 < fps < math.inf):
            raise ValueError(f"fps is {fps!r}: expected a positive number, the frames per second of the videos given.")
        clips = [[] for _ in next(iter(rows.values()))]
        clip_times = [[] for _ in clips]
        for i, image in enumerate(rows.get("images", ())):
            if image is not None:
                clips[i], clip_times[i] = [load_image(image, f"images[{i}]", convert_rgb)], [0.0]
        for i, video in enumerate(rows.get("videos", ())):
            if video is not None:
                frames, clip_times[i] = load_frames(video, f"videos[{i}]", num_frames, fps)
                if self.return_times and clip_times[i] is None:
                    raise ValueError(
                        f"videos[{i}] does not say when its frames are, which return_times=True needs: pass "
                        'videos_kwargs={"fps": ...}, the number of frames per second.'
                    )
                clips[i] = [load_image(frame, f"videos[{i}]", convert_rgb) for frame in frames]
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

    def _extract_mel(self, rows: list, options: dict) -> dict[str, torch.Tensor]:
        """Clips or None to `input_features` (B, T, mel), `input_features_mask` (B, T) and, if asked for, the times."""
        extractor, indices = self.feature_extractor, present_rows(rows)
        rate, default_rate = extractor.sampling_rate, options.pop("sampling_rate", None)
        loaded = [load_audio(rows[i], f"audio[{i}]", rate, default_rate) for i in indices]
        clips, starts = zip(*loaded, strict=True)
        window = next((getattr(extractor, name) for name in WINDOW_ATTRIBUTES if hasattr(extractor, name)), 1)
        for i, clip in zip(indices, clips):
            if len(clip) < window:
                raise ValueError(
                    f"audio[{i}] has {len(clip)} samples at {rate} Hz, shorter than one analysis window ({window})."
                )
        options |= {"sampling_rate": rate, "return_attention_mask": True, "return_tensors": "pt"}
        features, mask = self._mel_frames_first(extractor(list(clips), **options), options)
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


def encode_rows(processor, model, rows: dict[str, list], truncation: bool = False) -> dict[str, torch.Tensor]:
    """
    Raw rows as the model takes them, on its device and in its floating-point type.

    Args:
        rows: argument of the processor -> a list with a cell for each row, None where it has none.
        truncation: whether to cut text and sound that are longer than the model takes.
    """
    config, options = model.config, {}
    if truncation and "text" in config.modalities and "text" in rows:
        options = {"truncation": True, "max_length": config.text_config.max_position_embeddings}
    batch = processor(**rows, **options)
    if truncation and "audio" in config.modalities:
        heard = {name: values for name, values in batch.items() if name.startswith("input_features")}  # (B, T, ...)
        batch |= {name: values[:, : config.audio_config.max_frames] for name, values in heard.items()}
    batch = {name: values.to(model.device) for name, values in batch.items()}
    return {n: v.to(model.dtype) if v.is_floating_point() else v for n, v in batch.items()}
