# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""One odd cell, or one odd option, among sound rows. Each sound row must come out as it does alone."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..case import Case
from ..odd import mutated, odd_array, odd_number, odd_object, odd_picture, odd_tensor, one, show
from ..world import RATE, WORDS, World

MASKS = {
    "input_ids": "attention_mask",
    "text_features": "attention_mask",
    "pixel_values": "pixel_mask",
    "image_features": "pixel_mask",
    "input_features": "input_features_mask",
}
OPTIONS = (
    "padding",
    "max_length",
    "truncation",
    "sampling_rate",
    "return_tensors",
    "num_frames",
    "fps",
    "do_resize",
    "size",
)
OPTIONS += ("text_kwargs", "images_kwargs", "audio_kwargs", "videos_kwargs", "common_kwargs", "nonsense", "do_rescale")
ARGUMENTS = ("text", "images", "audio", "videos", "text_features", "image_features", "audio_features")


def sound_cell(rng: np.random.Generator, world: World, argument: str) -> Any:
    """What anybody would pass."""
    if argument == "text":
        return " ".join(rng.choice(WORDS, size=3))
    if argument == "images":
        return Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    if argument == "audio":
        return {"array": rng.normal(0, 0.1, RATE // 4).astype(np.float32), "sampling_rate": RATE}
    if argument == "videos":
        return rng.integers(0, 256, (5, 20, 24, 3), dtype=np.uint8)
    return rng.normal(size=(4, 6)).astype(np.float32)


def odd_cell(rng: np.random.Generator, world: World, argument: str, folder: Path) -> tuple[str, Any]:
    """What somebody might, and how to call it."""
    files = world.media.get(argument, {})
    if files and rng.random() < 0.5:
        name = one(rng, sorted(files))
        content = mutated(rng, files[name])
        if rng.random() < 0.5:
            return f"{name} with its bytes changed", content
        file = folder / name
        file.write_bytes(content)
        return f"{name} with its bytes changed, on the disk", str(file)
    if argument == "images" and rng.random() < 0.3:
        value = odd_picture(rng)
    elif argument != "text" and rng.random() < 0.5:
        value = odd_array(rng) if rng.random() < 0.6 else odd_tensor(rng)
    else:
        value = odd_object(rng, folder)
    return show(value), value


def odd_option(rng: np.random.Generator, folder: Path) -> tuple[str, Any]:
    name, value = one(rng, OPTIONS), odd_number(rng) if rng.random() < 0.5 else odd_object(rng, folder)
    if name.endswith("_kwargs") and rng.random() < 0.7:
        value = {one(rng, OPTIONS): value}
    return name, value


def processor_case(rng: np.random.Generator, world: World, folder: Path) -> Case:
    arguments = [one(rng, ARGUMENTS)]
    if rng.random() < 0.4:
        arguments += [a for a in [one(rng, ARGUMENTS)] if a not in arguments]
    batch = {argument: [sound_cell(rng, world, argument) for _ in range(3)] for argument in arguments}
    options: dict[str, Any] = {}
    odd = arguments[0]
    row = int(rng.integers(3))
    names = (f"{odd}[{row}]", f"row {row}", odd)
    if rng.random() < 0.25:
        name, value = odd_option(rng, folder)
        options, given, row = {name: value}, f"{name}={show(value)}", None
        names = (name, *([str(key) for key in value] if isinstance(value, dict) else []))
    elif rng.random() < 0.15:
        what, value = odd_cell(rng, world, odd, folder)
        batch[odd], given, row, names = value, f"{odd}={what}", None, (odd, "batch sizes", "got nothing")
    else:
        what, batch[odd][row] = odd_cell(rng, world, odd, folder)
        given = f"{odd}[{row}] is {what}"
    both = {"text", "text_features"} <= set(batch) or {"audio", "audio_features"} <= set(batch)
    pictures = {"images", "videos", "image_features"} & set(batch)
    if both or len(pictures) > 1:  # which is an error of its own
        names = (*names, *batch)

    def check(result) -> str | None:
        return wrong_tensor(result) or (row is not None and differs_alone(world, batch, result, row)) or None

    if len(batch) > 1:
        given += f", beside {', '.join(name for name in batch if name != odd)}"
    return Case(given, lambda: world.processor(**batch, **options), names, check)


def wrong_tensor(result: dict) -> str | None:
    for name, values in result.items():
        if isinstance(values, torch.Tensor) and not torch.isfinite(values.float()).all():
            return f"{name} is not finite"
        if isinstance(values, torch.Tensor) and values.dim() and not len(values):
            return f"{name} has no rows"
    return None


def differs_alone(world: World, batch: dict[str, list], result: dict, row: int) -> str | None:
    """Whether a row that is sound comes out otherwise than by itself."""
    for other in {0, 1, 2} - {row}:
        alone = world.processor(**{name: [cells[other]] for name, cells in batch.items()})
        for name in alone:
            if name in MASKS and not torch.equal(real(result, name, other), real(alone, name, 0)):
                return f"{name} of the sound row {other} is not what it is alone"
    return None


def real(result: dict, name: str, row: int) -> torch.Tensor:
    """What of a row is no padding."""
    values, mask = result[name][row], result[MASKS[name]][row]
    return values[mask != 0] if mask.dim() else values
