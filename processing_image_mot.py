# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Pictures and videos of a batch become pixel values, their mask and, if asked for, the seconds of each frame."""

import math
import numbers

import torch
from PIL import Image

from .decoding_image_mot import load_image
from .decoding_video_mot import load_frames
from .image_processing_mot import MoTImageProcessor


def collect_pictures(
    rows: dict[str, list], processor, options: dict[str, dict], allow_urls: bool | str
) -> dict[str, torch.Tensor]:
    """
    Pictures and videos to `pixel_values` (B, C, H, W), or (B, F, C, H, W) and their times (B, F) if there are videos.

    Args:
        rows: "images", "videos" or both -> a cell for each row, None where it has none.
        processor: the `MoTProcessor`, for its image processor, its limits, `num_frames` and `return_times`.
        options: those of the call, by their group.
        allow_urls: as for the processor.
    """
    image_options = {**options["images_kwargs"], "return_tensors": "pt"}
    convert_rgb = image_options.get("do_convert_rgb", getattr(processor.image_processor, "do_convert_rgb", None))
    clips, clip_times = load_clips(rows, processor, options["videos_kwargs"], convert_rgb is not False, allow_urls)
    frames = [frame for clip in clips for frame in clip]
    pixels = call_image_processor(processor.image_processor, frames, image_options)  # (all frames, C, H, W)

    mask = torch.zeros(len(clips), max(map(len, clips)), dtype=torch.long)  # (B, F)
    for i, clip in enumerate(clips):
        mask[i, : len(clip)] = 1
    pixel_values = pixels.new_zeros(*mask.shape, *pixels.shape[1:])  # (B, F, C, H, W)
    pixel_values[mask.bool()] = pixels
    if "videos" not in rows:
        return {"pixel_values": pixel_values[:, 0], "pixel_mask": mask[:, 0]}
    outputs = {"pixel_values": pixel_values, "pixel_mask": mask}
    if processor.return_times:
        outputs["pixel_times"] = torch.zeros(mask.shape)
        outputs["pixel_times"][mask.bool()] = torch.tensor([time for times in clip_times for time in times])
    return outputs


def load_clips(
    rows: dict[str, list], processor, options: dict, convert_rgb: bool, allow_urls: bool | str
) -> tuple[list[list[Image.Image]], list[list[float]]]:
    """The frames of each row (those of its video, its one picture, or none) and, if asked for, their seconds."""
    num_frames, fps = frame_choice(processor, options)
    access = {"allow_urls": allow_urls, "limits": processor.limits}
    clips = [[] for _ in next(iter(rows.values()))]
    clip_times = [[] for _ in clips]
    for i, image in enumerate(rows.get("images", ())):
        if image is not None:
            clips[i], clip_times[i] = [load_image(image, f"images[{i}]", convert_rgb, **access)], [0.0]
    for i, video in enumerate(rows.get("videos", ())):
        if video is not None:
            frames, clip_times[i] = load_frames(video, f"videos[{i}]", num_frames, fps, **access)
            if processor.return_times and clip_times[i] is None:
                raise ValueError(
                    f"videos[{i}] does not say when its frames are, which return_times=True needs: pass "
                    'videos_kwargs={"fps": ...}, the number of frames per second.'
                )
            clips[i] = [load_image(frame, f"videos[{i}]", convert_rgb, **access) for frame in frames]
    return clips, clip_times


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


def whole_pictures(image_processor) -> MoTImageProcessor:
    """Of a processor that cuts patches out of pictures of any shape (SigLIP 2), one that leaves squares whole."""
    side = math.isqrt(image_processor.max_num_patches) * image_processor.patch_size
    settings = ("resample", "image_mean", "image_std", "rescale_factor")
    return MoTImageProcessor(
        size={"height": side, "width": side},
        do_convert_rgb=True,
        **{name: getattr(image_processor, name) for name in settings},
    )
