# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Images and video frames: pixels (B, C, H, W) or (B, F, C, H, W), of which a square patch becomes a token.

Shapes: B rows, F frames of a video, C channels, d width.
"""

import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from PIL import Image
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig
from transformers import initialization as init

from .cells_mot import Cell, ProcessorCall, RowReading
from .convolution_mot import MoTConv2d
from .decoding_image_mot import channels_of_values, is_picture, load_image, load_values
from .decoding_mot import is_array
from .decoding_video_mot import load_frames
from .fronts_mot import picture_side, see
from .image_processing_mot import MOST_PIXELS_OF_A_SIDE, MoTImageProcessor
from .modality_mot import Modality, MoTEmbeddings, MoTModalityConfig, unit_scale
from .positions_mot import (
    POSITIONS_PER_SECOND,
    as_mask,
    blank,
    count_before,
    resize_grid,
    sinusoids,
    sinusoids_2d,
    sinusoids_at,
)

USUAL_SIDE = 224  # pixels
LEAST_LIGHT = 0.1  # of a picture's own, that is left in training
MERGES = ("merge_size", "pooling_kernel_size")  # how image processors call the sides of patches that become one token


@strict
class MoTImageConfig(MoTModalityConfig):
    r"""
    Images and video frames, or ready features (one per frame or region). Beyond [`MoTModalityConfig`]:

    Args:
        image_size (`int`, *optional*, defaults to 224):
            The size that learned positions are made for; the model takes any size that `patch_size` divides.
        patch_size (`int`, *optional*, defaults to 16): Side of a square patch in pixels.
        num_channels (`int`, *optional*, defaults to 3): Colour channels.
        num_frames (`int`, *optional*, defaults to 8):
            Rows of the learned time table, and so the most frames (or ready features) of learned positions.
        stem (`str`, *optional*, defaults to `"conv"`):
            How pixels become patch tokens: `"conv"`, a few small strided convolutions (arXiv 2106.14881), which learn
            better on small data (see `docs/training.md`), or `"linear"` as in ViT.
        position_embedding_type (`str`, *optional*):
            `"sinusoidal_2d"` (the default), `"sinusoidal"` or `"learned"`. Ready features are a sequence without rows
            and columns: theirs is `"sinusoidal"` (the default) or `"learned"`.
        position_interpolation (`str`, *optional*, defaults to `"bicubic"`):
            How learned positions come to another size: `"bicubic"` as in ViT, `"antialiased_bicubic"` as in DINOv2
            with registers, or `"antialiased_bilinear"` as in SigLIP 2.
    """

    model_type = "mot_image"
    base_config_key = "image_config"

    image_size: int = 224
    patch_size: int = 16
    num_channels: int = 3
    num_frames: int = 8
    mask_ratio: float | int = 0.6
    stem: Literal["conv", "linear"] = "conv"
    position_embedding_type: Literal["sinusoidal_2d", "sinusoidal", "learned"] | None = None
    position_interpolation: Literal["bicubic", "antialiased_bicubic", "antialiased_bilinear"] = "bicubic"

    def __post_init__(self, **kwargs):
        if self.position_embedding_type is None:
            is_sequence = self.feature_size is not None or self.backbone_config is not None
            self.position_embedding_type = "sinusoidal" if is_sequence else "sinusoidal_2d"
        super().__post_init__(**kwargs)

    def validate_image(self):
        if self.image_size % self.patch_size:
            raise ValueError(f"`patch_size` ({self.patch_size}) must divide `image_size` ({self.image_size}).")
        if self.feature_size is not None and self.position_embedding_type == "sinusoidal_2d":
            raise ValueError(
                '`position_embedding_type="sinusoidal_2d"` needs a grid of patches, but `feature_size` '
                f'({self.feature_size}) says that images arrive as a sequence: use "sinusoidal" or "learned".'
            )


class ImageModality(Modality):
    """Pictures, and the frames of videos."""

    kind = noun = "image"
    cells = (
        Cell(
            name="image",
            argument="images",
            medium="image",
            columns=("image", "image_features", "img", "vision", "png", "jpg", "jpeg", "webp"),
            synonyms=("images", "picture", "pictures"),
            example="picture.png",
            dimensions=3,
        ),
        Cell(
            name="video",
            argument="videos",
            medium="video",
            columns=("video", "mp4", "mov", "avi", "mkv", "webm"),
            synonyms=("videos",),
            example="clip.mp4",
            dimensions=4,
            suffixes=("mpg", "webm", "m4v", "wmv", "flv"),
        ),
    )
    config_class = MoTImageConfig
    length_field = "num_frames"
    timed_positions = "sinusoidal_2d"
    drawing, moments = "frames", "video frames"
    sources, part_of_pair = "ViT, DeiT, DINOv2, CLIP or SigLIP", "vision_config"
    option_groups = ("images_kwargs", "videos_kwargs")
    settings = ("size", "mean", "std", "num_channels", "scale")

    def embeddings(self, config: MoTImageConfig) -> "MoTImageEmbeddings":
        return MoTImageEmbeddings(config, self)

    def length_limit(self, config: MoTImageConfig) -> int | None:
        """Sinusoids reach any length; only a learned table ends."""
        return config.num_frames if config.position_embedding_type == "learned" else None

    def describe(self, config: MoTImageConfig) -> str:
        return f"pictures or video frames of {config.image_size} x {config.image_size} pixels"

    def fit_processor(self, config: MoTImageConfig, processor) -> None:
        if limit := self.length_limit(config):
            processor.num_frames = min(processor.num_frames, limit)

    def augmentation(self, config: MoTImageConfig, processor) -> "ImageAugmentation":
        """Values that are no colours know no black."""
        is_colour = not keeps_values(self.settings_in(processor))
        return ImageAugmentation(black=black_of(self.image_processor_in(processor)) if is_colour else None)

    def is_moving(self, inputs: dict[str, torch.Tensor]) -> bool:
        return self.names.raw in inputs and is_video(inputs[self.names.raw])

    def token_times(
        self, config: MoTImageConfig, inputs: dict[str, torch.Tensor], row: int, number: int
    ) -> tuple[torch.Tensor, str]:
        """A patch has the time of its frame."""
        pixels = inputs[self.names.raw]
        frames = self.real_places(inputs, row, pixels.shape[1] if is_video(pixels) else 1)
        times, unit = self.times_of_places(inputs, row, frames, "frame")
        return times.repeat_interleave(math.prod(patch_grid(pixels, config))), unit

    def token_labels(
        self, config: MoTImageConfig, inputs: dict[str, torch.Tensor], row: int, number: int, tokenizer=None
    ) -> list[str]:
        """The place in the picture, in a video behind the frame: "0.10 s, patch row 0, column 1"."""
        pixels = inputs[self.names.raw]
        frames = super().token_labels(config, inputs, row, number)
        rows, columns = patch_grid(pixels, config)
        return [
            (f"{frame}, " if is_video(pixels) else "") + f"patch row {i // columns % rows}, column {i % columns}"
            for i, frame in enumerate(frames)
        ]

    def pad(
        self, values: Sequence[torch.Tensor | None], multiple: int = 1, fill: float = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Frames (F_i, C, H, W) as everything else, and a picture among them as one; pictures (C, H, W) alone as
        (B, C, H, W), with a mask (B,).
        """
        present = [value for value in values if value is not None]
        if any(value.ndim != 3 for value in present):
            values = [value[None] if value is not None and value.ndim == 3 else value for value in values]
            return super().pad(values, multiple, fill)
        mask = torch.tensor([value is not None for value in values]).long()
        return torch.stack([torch.zeros_like(present[0]) if value is None else value for value in values]), mask

    def length_of(self, value: torch.Tensor) -> int:
        return 0 if value.ndim == 3 else len(value)

    def split(self, cell: Cell, values: list) -> list:
        """A list of frames is one video."""
        is_frame = [isinstance(value, Image.Image) or (is_array(value) and value.ndim < 4) for value in values]
        return [values] if cell.medium == "video" and any(is_frame) else values

    def segments_of(self, cell: Cell, value: Any) -> list:
        """
        A list of frames is one video, a list of videos several. Of pictures every list is one of segments, as those
        that transformers writes as [[picture], [], [picture]].
        """
        if cell.medium == "video" and isinstance(value, (list, tuple)) and not any(map(is_video_source, value)):
            return [value]
        return super().segments_of(cell, value)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        check_picture_settings(settings)

    def learn(self, cells: Iterable[Any]) -> dict[str, Any]:
        """
        Of colours nothing. Where the first picture is none (`channels_of_values`), `num_channels`, and the `mean` and
        `std` of each over all pixels.
        """
        (cell, *_), channels, count, total, squares = self.cells, None, 0, 0.0, 0.0
        for i, value in enumerate(cells if cell.medium == "image" else ()):
            for picture in () if value is None else self.segments_of(cell, value):
                channels = channels_of_values(picture, f"{self.name}[{i}]") if channels is None else channels
                if channels == 0:
                    return {}
                values = load_values(picture, f"{self.name}[{i}]", channels).reshape(-1, channels).astype(np.float64)
                count, total, squares = count + len(values), total + values.sum(0), squares + (values**2).sum(0)
        if not count:
            return {}
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 0))
        return {"num_channels": channels, "mean": mean.tolist(), "std": np.where(std > 0, std, 1.0).tolist()}

    def config_fields(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        fields = {"num_channels": settings.get("num_channels", 1)} if keeps_values(settings) else {}
        if "size" in settings:
            fields["image_size"] = max(sides(settings["size"]))
        return fields

    def collect(self, rows: dict[str, list], call: ProcessorCall) -> dict[str, torch.Tensor]:
        """
        Pictures and videos to pixels (B, C, H, W) and their mask (B,), or (B, F, C, H, W) with a mask (B, F) and, if
        asked for, times (B, F) if there are videos.
        """
        own = {**call.options["images_kwargs"], "return_tensors": "pt"}
        image_processor = self.image_processor_in(call.processor)
        convert_rgb = own.get("do_convert_rgb", getattr(image_processor, "do_convert_rgb", None)) is not False
        clips, times = load_clips(rows, self.cells, call, self.loading(call.settings, convert_rgb))
        frames = [frame for clip in clips for frame in clip]
        if keeps_values(call.settings):
            pixels = scale_values(frames, call.settings, image_processor)
        else:
            pixels = call_image_processor(image_processor, frames, own)
        pixel_values, mask = batch_clips(clips, pixels)
        if not any(cell.medium == "video" and cell.argument in rows for cell in self.cells):
            return {self.names.raw: pixel_values[:, 0], self.names.mask: mask[:, 0]}
        outputs = {self.names.raw: pixel_values, self.names.mask: mask}
        if call.processor.return_times:
            outputs[self.names.times] = torch.zeros(mask.shape)
            outputs[self.names.times][mask.bool()] = torch.tensor([second for clip in times for second in clip])
        return outputs

    def join_segments(
        self,
        outputs: Mapping[str, torch.Tensor],
        counts: Sequence[int],
        call: ProcessorCall,
        places: Sequence[float] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Pictures that share a row lie as frames do, (B, F, C, H, W), each at 0 seconds as a picture is."""
        if self.names.raw in outputs and not is_video(outputs[self.names.raw]):
            outputs = {name: values[:, None] for name, values in outputs.items()}
            if call.processor.return_times:
                outputs[self.names.times] = torch.zeros(outputs[self.names.mask].shape)
        return super().join_segments(outputs, counts, call, places)

    def image_processor_in(self, processor):
        """The one that all pictures share, or one with the settings of this modality, whose others are as there."""
        shared, settings = processor.image_processor, self.settings_in(processor)
        if not settings or keeps_values(settings):
            return shared
        height, width = sides(settings.get("size", getattr(shared, "size", None)))
        return MoTImageProcessor(
            size={"height": height, "width": width},
            image_mean=settings.get("mean", getattr(shared, "image_mean", None)),
            image_std=settings.get("std", getattr(shared, "image_std", None)),
            do_convert_rgb=True,
        )

    @staticmethod
    def loading(settings: Mapping[str, Any], convert_rgb: bool = True) -> Callable:
        """What reads one picture: its colours, or its values as they are."""
        if keeps_values(settings):
            return partial(load_values, num_channels=settings.get("num_channels", 1))
        return partial(load_image, convert_rgb=convert_rgb)

    def decode(self, row: Mapping[str, Any], reading: RowReading) -> dict[str, Any]:
        """A model without pictures takes no frames, but the video may be there for its sound."""
        if self.name not in reading.modalities:
            videos = [cell.name for cell in self.cells if cell.medium == "video"]
            row = {name: value for name, value in row.items() if name not in videos}
        return super().decode(row, reading)

    def decode_cell(self, cell: Cell, value: Any, reading: RowReading) -> Any:
        name, settings = f"{reading.name}{cell.name}", self.settings_in(reading.processor)
        load = partial(self.loading(settings), name=name, **reading.access)
        if cell.medium != "video":
            return load(value)
        frames, _ = load_frames(
            as_frame_list(value, settings),
            name,
            reading.num_frames or reading.processor.num_frames,
            None,
            **reading.access,
        )
        return [load(frame) for frame in frames]

    def target_size(self, config: MoTImageConfig) -> int:
        return config.num_channels * config.patch_size**2

    def scale_targets(self, targets: torch.Tensor) -> torch.Tensor:
        return normalize_patches(targets)

    def run_backbone(
        self, backbone: nn.Module, config: MoTImageConfig, pixel_values: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        check_channels(pixel_values, config, self.names.raw)
        pixels, mask = as_frames(pixel_values, mask, self.names.mask)
        features = see(backbone, pixels.flatten(0, 1))  # of each frame
        per_frame = features.shape[1]
        features = features.unflatten(0, pixels.shape[:2]).flatten(1, 2)  # (B, F * tokens of a frame, w)
        return features, None if mask is None else mask.repeat_interleave(per_frame, dim=1)

    def fields_of_front(self, front: PreTrainedConfig) -> dict[str, Any]:
        channels = getattr(front, "num_channels", None) or getattr(front, "in_channels", None) or 3
        return {"num_channels": channels}

    def raw_stand_in(self, config: MoTImageConfig, device: torch.device) -> torch.Tensor:
        side = config.patch_size
        if config.backbone_config is not None:
            side = picture_side(config.backbone_config)
        return torch.zeros(1, config.num_channels, side, side, device=device)


def normalize_patches(patches: torch.Tensor) -> torch.Tensor:
    """Each patch (..., n) with mean 0 and variance 1, which teaches more than plain pixels (arXiv 2111.06377)."""
    mean, variance = patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()


def keeps_values(settings: Mapping[str, Any]) -> bool:
    """
    Whether a modality's pictures are values as they are, not colours: `num_channels` or `scale` says so. One has
    `num_channels` channels (1), and what the model sees is (value * `scale` - `mean`) / `std` (1, 0 and 1), a number
    for all channels or one for each.
    """
    return "num_channels" in settings or "scale" in settings


def black_of(image_processor) -> list[float]:
    """What a black pixel is among the `pixel_values` of an image processor, for each channel or for all of them."""
    if not getattr(image_processor, "do_normalize", False):
        return [0.0]
    mean, std = (np.ravel(getattr(image_processor, name)) for name in ("image_mean", "image_std"))
    return (-mean / std).tolist()


def sides(size: Any) -> tuple[int, int]:
    """Height and width in pixels, of a size that is one number or says both."""
    if size is not None and not isinstance(size, numbers.Integral):
        size = dict(size)
        if {size.get("height"), size.get("width")} & {None}:
            size = None
    if size is None:
        raise ValueError(
            "The image processor gives pictures no fixed height and width: the modality needs a `size` of its own."
        )
    return (size, size) if isinstance(size, numbers.Integral) else (size["height"], size["width"])


def check_picture_settings(settings: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: naming the setting that no picture can be processed with.
    """
    if "size" in settings:
        size = settings["size"]
        lengths = list(size.values()) if isinstance(size, dict) and set(size) == {"height", "width"} else [size]
        if not all(type(length) is int and 1 <= length <= MOST_PIXELS_OF_A_SIDE for length in lengths):
            raise ValueError(
                f'`size` is {size!r:.100}, expected 1 to {MOST_PIXELS_OF_A_SIDE} pixels or {{"height", "width"}}.'
            )
    channels = settings.get("num_channels", 1 if "scale" in settings else 3)
    if not (type(channels) is int and channels >= 1):
        raise ValueError(f"`num_channels` is {channels!r:.100}, expected a whole number of at least 1.")
    for name in ("scale", "mean", "std"):
        value = settings.get(name, 1.0)
        values = value if isinstance(value, list) else [value]
        is_number = [isinstance(v, numbers.Real) and not isinstance(v, bool) and math.isfinite(v) for v in values]
        if not all(is_number) or len(values) not in (1, channels) or (name != "mean" and not all(values)):
            raise ValueError(
                f"`{name}` is {value!r:.100}, expected a finite number{'' if name == 'mean' else ' other than 0'}, or "
                f"one for each of {channels} channels."
            )


def scale_values(frames: list[np.ndarray], settings: Mapping[str, Any], image_processor) -> torch.Tensor:
    """Pictures (H_i, W_i, C) as they were read to (N, C, H, W), scaled as `keeps_values` says, and resized at need."""
    size = sides(settings.get("size", getattr(image_processor, "size", None)))
    pixels = torch.empty(len(frames), frames[0].shape[-1], *size)
    for row, frame in zip(pixels, frames):
        values = torch.from_numpy(frame).permute(2, 0, 1)  # (C, H, W)
        if values.shape[1:] != size:
            values = F.interpolate(values[None], size, mode="bilinear", antialias=True)[0]
        row.copy_(values)
    scale, mean, std = (
        torch.tensor(settings.get(name, default), dtype=torch.float32).view(-1, 1, 1)
        for name, default in (("scale", 1.0), ("mean", 0.0), ("std", 1.0))
    )
    return (pixels * scale - mean) / std


def is_video_source(value: Any) -> bool:
    """
    Whether a value in a list is a video of its own, not a frame of one: a list of frames, an array of four dimensions,
    a decoder; a file by its name, or, if it is given as bytes, by not being a picture.
    """
    if isinstance(value, (list, tuple)) or hasattr(value, "get_frames_at"):
        return True
    if is_array(value):
        return value.ndim == 4
    if isinstance(value, dict):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return not is_picture(bytes(value))
    if not isinstance(value, (str, os.PathLike)):
        return False
    path = os.fspath(value).partition("?")[0].lower()
    _, video = ImageModality.cells
    return path.startswith("data:video/") or path.rpartition(".")[2] in (*video.columns, *video.suffixes)


def as_frame_list(video: Any, settings: Mapping[str, Any]) -> Any:
    """A video of which values are kept: an array (F, ...) as its frames, which are scaled to colours otherwise."""
    return list(video) if keeps_values(settings) and is_array(video) and video.ndim == 4 else video


def load_clips(
    rows: dict[str, list], cells: Sequence[Cell], call: ProcessorCall, load: Callable
) -> tuple[list[list], list[list[float]]]:
    """
    The frames of each row (those of its video, its one picture, or none), as `load` reads one, and, if asked for,
    their seconds.
    """
    processor = call.processor
    num_frames, fps = frame_choice(processor, call.options["videos_kwargs"])
    access = {"allow_urls": call.allow_urls, "limits": processor.limits}
    clips = [[] for _ in next(iter(rows.values()))]
    clip_times = [[] for _ in clips]
    for cell in cells:
        for i, value in enumerate(rows.get(cell.argument, ())):
            name = f"{cell.argument}[{i}]"
            if value is not None and cell.medium != "video":
                clips[i], clip_times[i] = [load(value, name, **access)], [0.0]
            elif value is not None:
                value = as_frame_list(value, call.settings)
                frames, clip_times[i] = load_frames(value, name, num_frames, fps, **access)
                if processor.return_times and clip_times[i] is None:
                    raise ValueError(
                        f"{name} does not say when its frames are, which return_times=True needs: pass "
                        'videos_kwargs={"fps": ...}, the number of frames per second.'
                    )
                clips[i] = [load(frame, name, **access) for frame in frames]
    return clips, clip_times


def batch_clips(clips: list[list], pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The pixels of all frames (N, C, H, W) as (B, F, C, H, W), and the mask (B, F) of those that there are."""
    mask = torch.zeros(len(clips), max(map(len, clips)), dtype=torch.long)
    for i, clip in enumerate(clips):
        mask[i, : len(clip)] = 1
    pixel_values = pixels.new_zeros(*mask.shape, *pixels.shape[1:])
    pixel_values[mask.bool()] = pixels
    return pixel_values, mask


def frame_choice(processor, options: dict) -> tuple[int | None, float | None]:
    """How many frames of a video are kept, None for all, and how many come in a second where it does not say."""
    num_frames = processor.num_frames if options.get("num_frames") is None else options["num_frames"]
    if not isinstance(num_frames, numbers.Integral) or num_frames < 1:
        raise ValueError(f"num_frames is {num_frames!r}: expected a whole number of at least 1.")
    fps = options.get("fps") if processor.return_times else None
    if fps is not None and not (isinstance(fps, numbers.Real) and 0 < fps < math.inf):
        raise ValueError(f"fps is {fps!r}: expected a positive number, the frames per second of the videos given.")
    return None if options.get("do_sample_frames") is False else num_frames, fps


def call_image_processor(image_processor, frames: list[Image.Image], options: dict) -> torch.Tensor:
    """Pictures to pixel values (N, C, H, W) of one shape."""
    try:
        pixels = image_processor(frames, **options)["pixel_values"]
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


def takes_any_shape(image_processor) -> bool:
    """Whether a processor cuts pictures of any shape into patches, which a model of transformers takes as they are."""
    return any(hasattr(image_processor, name) for name in ("max_num_patches", *MERGES))


def whole_pictures(image_processor) -> MoTImageProcessor:
    """
    A processor that leaves squares whole, with the settings of one that cuts patches out of pictures of any shape, as
    those of SigLIP 2, Gemma 4 and Qwen-VL do. Where it names no number of patches, the side is 224 pixels, or a few
    more, so that whole tokens fit.
    """
    if hasattr(image_processor, "max_num_patches"):
        side = math.isqrt(image_processor.max_num_patches) * image_processor.patch_size
    else:
        merged = next(getattr(image_processor, name) for name in MERGES if hasattr(image_processor, name))
        unit = image_processor.patch_size * merged
        side = -(-USUAL_SIDE // unit) * unit
    settings = ("resample", "image_mean", "image_std", "rescale_factor")
    return MoTImageProcessor(
        size={"height": side, "width": side},
        do_convert_rgb=True,
        **{name: getattr(image_processor, name) for name in settings},
    )


def check_channels(pixel_values: torch.Tensor, config: MoTImageConfig, name: str) -> None:
    """Raise a ValueError unless `pixel_values` are pictures or frames with the channels of the config."""
    shape, channels = tuple(pixel_values.shape), config.num_channels
    if len(shape) not in (4, 5) or shape[-3] != channels:
        raise ValueError(
            f"`{name}` has shape {shape}, expected (batch, {channels}, height, width) or "
            f"(batch, frames, {channels}, height, width)."
        )


def frame_mask(pixel_values: torch.Tensor, mask: torch.Tensor | None, name: str) -> torch.Tensor | None:
    """Which frames are real, (B, F), given a mask called `name`; a picture is one frame."""
    is_video = pixel_values.ndim == 5
    mask = as_mask(mask, tuple(pixel_values.shape[: 2 if is_video else 1]), name)
    return mask if is_video or mask is None else mask[:, None]


def as_frames(
    pixel_values: torch.Tensor, mask: torch.Tensor | None, name: str
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Frames (B, F, C, H, W), blank where not real, and their mask (B, F)."""
    mask = frame_mask(pixel_values, mask, name)
    return blank(pixel_values if pixel_values.ndim == 5 else pixel_values[:, None], mask), mask


def is_video(pixel_values: torch.Tensor) -> bool:
    """Whether the pictures of a batch are frames of videos."""
    return pixel_values.ndim == 5


def patch_grid(pixel_values: torch.Tensor, config: MoTImageConfig) -> tuple[int, int]:
    """The rows and columns of patches in a picture."""
    rows, columns = (side // config.patch_size for side in pixel_values.shape[-2:])
    return rows, columns


class MoTImageEmbeddings(MoTEmbeddings):
    """Images (B, C, H, W) or video frames (B, F, C, H, W)."""

    def __init__(self, config: MoTImageConfig, modality: ImageModality):
        super().__init__(config, modality, None)
        self.stem, channels, patch_size = self.build_stem(config)
        self.projection = unit_scale(MoTConv2d(channels, config.hidden_size, patch_size, patch_size))
        if config.position_embedding_type == "learned":
            self.grid_size = config.image_size // config.patch_size
            self.position_embeddings = nn.Parameter(torch.zeros(1, self.grid_size**2, config.hidden_size))
            self.frame_position_embeddings = nn.Parameter(torch.zeros(config.num_frames, config.hidden_size))

    def init_positions(self) -> None:
        """A learned grid begins as the 2-D sinusoid, and a learned time as the sinusoid of that."""
        if self.config.position_embedding_type == "learned":
            place, time = self.fixed_positions(self.config.num_frames, self.grid_size, self.grid_size)
            init.copy_(self.position_embeddings, place[None])
            init.copy_(self.frame_position_embeddings, time)

    @staticmethod
    def build_stem(config: MoTImageConfig) -> tuple[nn.Sequential, int, int]:
        """The stem, the channels it gives and the patch size it leaves: each convolution halves a patch's side."""
        layers, channels, patch_size = [], config.num_channels, config.patch_size
        halvings = (patch_size & -patch_size).bit_length() - 1 if config.stem == "conv" else 0
        for i in range(halvings):
            width = config.hidden_size >> (halvings - i)
            layers += [unit_scale(MoTConv2d(channels, width, kernel_size=3, stride=2, padding=1)), nn.GELU()]
            channels, patch_size = width, patch_size // 2
        return nn.Sequential(*layers), channels, patch_size

    def check_pixels(self, pixel_values: torch.Tensor) -> None:
        check_channels(pixel_values, self.config, self.names.raw)
        (height, width), patch_size = pixel_values.shape[-2:], self.config.patch_size
        if height % patch_size or width % patch_size:
            raise ValueError(
                f"`{self.names.raw}` are {height} x {width} pixels, but `patch_size` ({patch_size}) must divide both."
            )

    def embed(
        self, pixel_values: torch.Tensor, mask: torch.Tensor | None, dtype: torch.dtype, times=None, hidden=None
    ):
        pixels, mask = self.as_frames(pixel_values, mask)
        pixels = pixels.to(dtype)
        if hidden is not None:
            pixels = self.hide_patches(pixels, hidden)
        batch_size, num_frames = pixels.shape[:2]
        patches = self.projection(self.stem(pixels.flatten(0, 1)))  # (B * F, d, rows, columns)
        rows, columns = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)  # (B * F, rows * columns, d)
        tokens = tokens.unflatten(0, (batch_size, num_frames)).flatten(1, 2)  # (B, F * rows * columns, d)
        return tokens, self.frame_positions(num_frames, rows, columns, mask, tokens.device, times)

    def as_frames(self, pixel_values: torch.Tensor, mask: torch.Tensor | None):
        self.check_pixels(pixel_values)
        return as_frames(pixel_values, mask, self.names.mask)

    def input_mask(self, pixel_values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        self.check_pixels(pixel_values)
        mask = frame_mask(pixel_values, mask, self.names.mask)
        if mask is None:
            return None
        rows, columns = (side // self.config.patch_size for side in pixel_values.shape[-2:])
        return mask.repeat_interleave(rows * columns, dim=1)

    def hide_patches(self, pixels: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Blank the pixels of hidden patches, since a convolutional stem looks over a patch's edge."""
        side = self.config.patch_size
        rows, columns = pixels.shape[-2] // side, pixels.shape[-1] // side
        hidden = hidden.reshape(*pixels.shape[:2], 1, rows, columns)
        return pixels.masked_fill(hidden.repeat_interleave(side, dim=3).repeat_interleave(side, dim=4), 0)

    def targets(self, pixel_values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        pixels, mask = self.as_frames(pixel_values, mask)
        side = self.config.patch_size
        patches = pixels.unfold(3, side, side).unfold(4, side, side)  # (B, F, C, rows, columns, side, side)
        patches = patches.permute(0, 1, 3, 4, 5, 6, 2).flatten(4).float()  # (B, F, rows, columns, side * side * C)
        if mask is not None:
            patches = patches.masked_fill(~mask[:, :, None, None, None], torch.nan)
        return patches.flatten(1, 3)

    def usual_times(self, pixel_values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        return pixel_values.new_zeros(pixel_values.shape[0], 1) if pixel_values.ndim == 4 else None

    def number_of_times(self, pixel_values: torch.Tensor) -> int:
        return 1 if pixel_values.ndim == 4 else pixel_values.shape[1]

    def frame_positions(
        self,
        num_frames: int,
        rows: int,
        columns: int,
        mask: torch.Tensor | None,
        device: torch.device,
        times: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        E_pos of the patches of all frames, (1 or B, F * rows * columns, d): that of the place plus that of the time.
        """
        if self.config.position_embedding_type == "sinusoidal":
            token_mask = None if mask is None else mask.repeat_interleave(rows * columns, dim=1)
            return self.positions(num_frames * rows * columns, token_mask, device)
        if self.config.position_embedding_type == "learned":
            self.check_length(num_frames)
            place, time = self.interpolated_grid(rows, columns), self.frame_position_embeddings[:num_frames]
        else:
            place, time = self.fixed_positions(num_frames, rows, columns, device)
        if times is not None:
            width = self.config.hidden_size
            time = sinusoids_at(blank(times, mask) * POSITIONS_PER_SECOND, width) - sinusoids(1, width, device)
        else:
            time = time[None] if mask is None else F.embedding(count_before(mask), time)  # (1 or B, F, d)
        return (time[:, :, None] + place).flatten(1, 2)

    def fixed_positions(self, num_frames: int, rows: int, columns: int, device: torch.device | None = None):
        """Sinusoids of the place (rows * columns, d) and of the time (F, d); a first frame equals a still picture."""
        width = self.config.hidden_size
        time = sinusoids(num_frames, width, device)
        return sinusoids_2d(rows, columns, width, device), time - time[:1]

    def interpolated_grid(self, rows: int, columns: int) -> torch.Tensor:
        """The learned grid at another size, (rows * columns, d)."""
        if rows == columns == self.grid_size:
            return self.position_embeddings[0]
        return resize_grid(self.position_embeddings, rows, columns, self.config.position_interpolation)


@dataclass
class ImageAugmentation:
    """
    Small random rotations, scalings, shears and shifts of whole pictures (all frames of a video alike), which leave
    what a picture shows readable, and less light. Beyond the borders of half of the pictures these are repeated, of
    the others there is one colour between the darkest and the brightest, as programs that turn pictures leave it.

    Args:
        degrees: the largest rotation.
        scale, shear, shift: the largest change, as a share of the picture.
        light: the share of pictures that lose light; of their distance to black between all and a tenth is left, any
            ratio as likely as another.
        black: a black pixel, one value for each channel or one for all. None: not known, and the light stays.
    """

    degrees: float = 16.0
    scale: float = 0.12
    shear: float = 0.12
    shift: float = 0.08
    light: float = 0.5
    black: Sequence[float] | None = None

    def __call__(self, pixel_values: torch.Tensor, random: torch.Generator | None = None) -> torch.Tensor:
        """One picture (C, H, W) or the frames of one video (F, C, H, W) -> the same shape."""
        pixels = pixel_values.reshape(-1, *pixel_values.shape[-3:])
        transforms = self.random_transform(random).expand(len(pixels), 2, 3)
        grid = F.affine_grid(transforms, list(pixels.shape), align_corners=False)
        filled, share = torch.rand(2, generator=random).tolist()
        if filled < 0.5:
            pixels = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        else:
            darkest, brightest = pixels.amin(dim=(0, 2, 3)), pixels.amax(dim=(0, 2, 3))  # of each channel
            colour = torch.lerp(darkest, brightest, share).view(-1, 1, 1)
            pixels = colour + F.grid_sample(pixels - colour, grid, padding_mode="zeros", align_corners=False)
        if self.black is not None and torch.rand((), generator=random) < self.light:
            pixels = self.darken(pixels, random)
        return pixels.reshape(pixel_values.shape)

    def darken(self, pixels: torch.Tensor, random: torch.Generator | None) -> torch.Tensor:
        left = LEAST_LIGHT ** torch.rand((), generator=random).item()
        return torch.lerp(torch.tensor(self.black).view(-1, 1, 1), pixels, left)

    def random_transform(self, random: torch.Generator | None) -> torch.Tensor:
        """(2, 3), an affine map from places of the result to places of the picture."""
        limits = (math.radians(self.degrees), self.scale, self.scale, self.shear, 2 * self.shift, 2 * self.shift)
        drawn = torch.rand(len(limits), generator=random).tolist()
        # Of six numbers torch's own operations would cost more than moving a small picture.
        angle, scale_x, scale_y, shear, shift_x, shift_y = (
            (2 * number - 1) * limit for number, limit in zip(drawn, limits)
        )
        cos, sin = math.cos(angle), math.sin(angle)
        return torch.tensor([[(1 + scale_x) * cos, shear - sin, shift_x], [sin, (1 + scale_y) * cos, shift_y]])
