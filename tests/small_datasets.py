# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Small datasets that several tests of `data/` are made of."""

import json
from pathlib import Path

import datasets
import numpy as np
from datasets import Audio, ClassLabel, Dataset, Features, Image, List, Value
from small_media import png_bytes, sound_bytes

from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.preparation import prepare_split

TESTS = Path(__file__).resolve().parent
MODALITIES = ("text", "image", "audio")


def noise_png(seed=128):
    """A picture of grey noise, 8 by 6 pixels."""
    return png_bytes(np.random.default_rng(seed).integers(0, 256, (6, 8), dtype=np.uint8))


def tri_modal_dataset(rows, label=None):
    """Rows of (text, image bytes, audio bytes) without the torchcodec that an Audio feature asks for."""
    columns = {"text": [], "image": [], "audio": []}
    for text, image, audio in rows:
        columns["text"].append(text)
        columns["image"].append(image and {"bytes": image, "path": None})
        columns["audio"].append(audio and {"bytes": audio, "path": None})
    features = Features({"text": Value("string"), "image": Image(decode=False), "audio": Audio(decode=False)})
    return Dataset(datasets.table.pa.Table.from_pydict(columns, schema=features.arrow_schema))


def write_parquet_folder(splits, folder):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, split in splits.items():
        split.to_parquet(str(folder / "data" / f"{name}-00000-of-00001.parquet"))
    return str(folder)


VECTORS = List(List(Value("float32")))
CLASSES = ClassLabel(names=["no", "yes"])
GOOD_IMAGE, GOOD_AUDIO = noise_png(), sound_bytes(np.zeros(800))


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def shards(number, of_rows):
    """A streamed dataset; each row's text is its number."""
    rows = [{"text": str(i), "label": i % 2} for i in range(number * of_rows)]
    return Dataset.from_list(rows).to_iterable_dataset(num_shards=number)


def stream_of(source):
    return prepare_split(source, ModalityColumns.guess(source.features))[0]


def texts(rows):
    return [row["text"] for row in rows]
