# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Sound rows for the pipeline with one odd part, row or option. A sound row is answered as it is alone."""

from pathlib import Path

import numpy as np
import torch

from mixture_of_transformers.modalities_mot import CELLS
from mixture_of_transformers.pipeline_mot import OPTIONS

from ..case import Case
from ..odd import odd_number, odd_object, one, show
from ..world import LABELS, World
from .processors import odd_cell, sound_cell

ARGUMENT = {"text": "text", "image": "images", "audio": "audio", "video": "videos"}
ODD_NAMES = ("tetx", "label", "", "images", "Image", "0", "sound", "pixel_values")


def pipeline_case(rng: np.random.Generator, world: World, folder: Path) -> Case:
    rows = [sound_row(rng, world) for _ in range(3)]
    row, options = int(rng.integers(3)), {"batch_size": int(rng.integers(1, 4))}
    kind = one(rng, ("part", "part", "part", "row", "option", "name", "all"))
    key = one(rng, list(CELLS))
    names = (f"rows[{row}]",)
    inputs = rows
    if kind == "part":
        what, rows[row][key] = odd_cell(rng, world, ARGUMENT[key], folder)
        given = f"rows[{row}][{key!r}] is {what}"
        if key in ("image", "video"):
            rows[row].pop("video" if key == "image" else "image", None)
    elif kind == "row":
        rows[row] = odd_object(rng, folder)
        given = f"rows[{row}] is {show(rows[row])}"
    elif kind == "name":
        name = one(rng, ODD_NAMES)
        rows[row][name] = "a"
        given = f"rows[{row}][{name!r}]"
    elif kind == "option":
        name = one(rng, (*OPTIONS, "topk", "nonsense"))
        options[name] = odd_number(rng) if rng.random() < 0.6 else odd_object(rng, folder)
        if name == "num_workers" and isinstance(options[name], int):
            options[name] = -1  # processes of processes tell nothing new
        given, names = f"{name}={show(options[name])}", (name,)
        row = None
    else:
        inputs = odd_object(rng, folder)
        given, names, row = f"all is {show(inputs)}", ("row", "inputs"), None

    def check(answers) -> str | None:
        if inputs is not rows:
            return None
        others = [i for i in range(3) if i != row] if "top_k" not in options else []
        for i in range(3):
            if wrong := wrong_answer(answers[i], options):
                return f"rows[{i}]: {wrong}"
        return next(
            (f"row {i} is answered otherwise alone" for i in others if differs(world, rows[i], answers[i])), None
        )

    def call():
        answers = world.pipeline(inputs, **options)
        return answers if isinstance(answers, (list, dict)) else list(answers)

    return Case(given, call, names, check)


def sound_row(rng: np.random.Generator, world: World) -> dict:
    keys = [key for key in ("text", one(rng, ("image", "video")), "audio") if rng.random() < 0.6] or ["text"]
    return {key: sound_cell(rng, world, ARGUMENT[key]) for key in keys}


def wrong_answer(answer, options: dict) -> str | None:
    labels = answer["labels"] if isinstance(answer, dict) else answer
    scores = torch.tensor([found["score"] for found in labels])
    if not torch.isfinite(scores).all():
        return "scores are not finite"
    if "top_k" not in options and (len(labels) != len(LABELS) or abs(scores.sum() - 1) > 1e-4):
        return "the scores do not add up to 1"
    return None


def differs(world: World, row: dict, answer) -> bool:
    labels = answer["labels"] if isinstance(answer, dict) else answer
    alone = {found["label"]: found["score"] for found in world.pipeline(row)}
    return any(abs(alone[found["label"]] - found["score"]) > 1e-4 for found in labels)
