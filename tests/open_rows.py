# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Small rows of text, depth pictures, an accelerometer and a table, of which some lack some, and models of them."""

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from PIL import Image

from mixture_of_transformers import MoTConfig, MoTFeatureExtractor, MoTImageProcessor, MoTProcessor
from mixture_of_transformers.data.tokenizers import train_tokenizer

WORDS = ["red", "green", "blue", "one", "two", "three", "four", "five"]
MODALITIES = {
    "depth": {"kind": "image", "num_channels": 1, "size": 8, "mean": [0.5], "std": [0.5], "scale": 1 / 255},
    "imu": {"kind": "series", "num_channels": 2, "mean": [0.0, 1.0], "std": [1.0, 2.0]},
    "vitals": {
        "kind": "table",
        "numbers": {"age": {"mean": 50.0, "std": 20.0}, "bmi": {"mean": 25.0, "std": 4.0}},
        "categories": {"sex": ["f", "m"]},
    },
}
ROWS = 8


def make_processor():
    images = MoTImageProcessor(size={"height": 8, "width": 8}, do_convert_rgb=True)
    tokenizer = train_tokenizer([" ".join(WORDS)] * 5, model_max_length=16)
    return MoTProcessor(images, MoTFeatureExtractor(), tokenizer, modalities=MODALITIES)


def make_config(**fields):
    processor = make_processor()
    towers = {
        f"{name}_config": {"model_type": kind.config_class.model_type, "num_hidden_layers": 1}
        | kind.config_fields(kind.settings_in(processor))
        for name, kind in processor.kinds.items()
        if name in MODALITIES
    }
    towers["depth_config"] |= {"image_size": 8, "patch_size": 4}
    text = {"vocab_size": 256, "max_position_embeddings": 16, "num_hidden_layers": 1}
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "projection_dim": 8}
    closed = {"text_config": text, "image_config": None, "audio_config": None}
    return MoTConfig(**(sizes | closed | towers | {"extra_modalities": list(MODALITIES)} | fields))


def make_model(model_class, **fields):
    torch.manual_seed(0)
    model = model_class(make_config(**fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def cells(number=ROWS):
    """Row number -> name -> cell, as a person has them; what a row lacks is not there."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(number):
        row = {
            "text": WORDS[i % len(WORDS)],
            "depth": Image.fromarray(random.integers(0, 255, (8, 8), dtype=np.uint8)),
            "imu": random.normal(size=(5 + i, 2)).round(3).tolist(),
            "vitals": {"age": 30.0 + 5 * i, "bmi": None if i % 3 else 20.0 + i, "sex": "fm"[i % 2]},
        }
        rows.append({name: cell for number, (name, cell) in enumerate(row.items()) if (i + number) % 4 or i == 0})
    return rows


def write_pictures(rows, folder):
    """The same rows, whose pictures are the paths of files."""
    folder.mkdir(exist_ok=True)
    written = []
    for i, row in enumerate(rows):
        if "depth" in row:
            row["depth"].save(folder / f"{i}.png")
            row = row | {"depth": str(folder / f"{i}.png")}
        written.append(row)
    return written


def as_dataset(rows, folder):
    """A dataset of them with the columns `text`, `depth` (a path), `acc`, `age`, `bmi` and `sex`."""
    columns = {name: [row.get(name) for row in write_pictures(rows, folder)] for name in ("text", "depth")}
    columns["acc"] = [row.get("imu") for row in rows]
    for name in ("age", "bmi", "sex"):
        columns[name] = [row.get("vitals", {}).get(name) for row in rows]
    types = {"text": "string", "depth": "string", "age": "float64", "bmi": "float64", "sex": "string"}
    features = {name: Value(kind) for name, kind in types.items()} | {"acc": List(List(Value("float64")))}
    return Dataset.from_dict(columns, features=Features({name: features[name] for name in columns}))


def inputs_of(subset, number=ROWS):
    """The inputs of a model of the first rows that have something of a subset, with masks for what they lack."""
    rows = [row for row in cells(2 * number) if row.keys() & set(subset)][:number]
    columns = {name: [row.get(name) for row in rows] for name in subset}
    for name in {"imu"} & columns.keys():
        columns[name] = [cell and np.array(cell) for cell in columns[name]]
    return dict(make_processor()(**columns))
