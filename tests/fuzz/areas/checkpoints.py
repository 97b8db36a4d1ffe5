# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A checkpoint of which one file is odd or gone, asked by `mot predict`. It answers in finite numbers, or names the
file or the field."""

import contextlib
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np

from mixture_of_transformers.__main__ import hand_over

from ..case import Case
from ..odd import mutated, mutated_json, one
from ..world import World

FILES = ("config.json", "config.json", "config.json", "model.safetensors", "model.safetensors", "tokenizer.json")
FILES += ("tokenizer_config.json", "processor_config.json", "processor_config.json")


def checkpoint_case(rng: np.random.Generator, world: World, folder: Path) -> Case:
    target = folder / "model"
    shutil.copytree(world.checkpoint, target)
    file = target / one(rng, FILES)
    content, names = file.read_bytes(), [file.name, "checkpoint", str(target)]
    if file.suffix == ".json" and rng.random() < 0.75:
        content, what = mutated_json(rng, content)
        names.append(what.partition(":")[0])
        file.write_bytes(content)
    elif rng.random() < 0.15:
        file.unlink()
        what = "not there"
    else:
        file.write_bytes(mutated(rng, content))
        what = "its bytes changed"
    (folder / "p.png").write_bytes(world.media["images"]["p.png"])
    (folder / "s.wav").write_bytes(world.media["audio"]["s.wav"])
    asked = ["--text", "red cat", "--image", "p.png", "--audio", "s.wav"]

    def predict():
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            hand_over(["predict", "--model", str(target), *asked])
        return json.loads(printed.getvalue())

    return Case(f"{file.name}, {what}", predict, tuple(names), wrong_answer)


def wrong_answer(found) -> str | None:
    answers = found if isinstance(found, list) else [{"score": found.get("value")}]
    scores = np.asarray([answer["score"] for answer in answers], dtype=float)
    return None if all(map(math.isfinite, scores.ravel())) else f"the scores are {scores.tolist()}"
