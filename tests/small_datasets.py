# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Small datasets that several tests of `data/` are made of."""

import io
import json
from pathlib import Path

import datasets
import numpy as np
import soundfile
from datasets import Audio, ClassLabel, Dataset, Features, Image, List, Value
from PIL import Image as PILImage

from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.preparation import prepare_split

TESTS = Path(__file__).resolve().parent
MODALITIES = ("text", "image", "audio")


def png_bytes(level=128, size=(8, 6)):
    buffer = io.BytesIO()
    noise = np.random.default_rng(level).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    PILImage.fromarray(noise).save(buffer, format="PNG")
    return buffer.getvalue()


def wav_bytes(samples, rate=16000, subtype="PCM_16"):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(samples, dtype=np.float32), rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


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
GOOD_IMAGE, GOOD_AUDIO = png_bytes(), wav_bytes(np.zeros(800))


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
