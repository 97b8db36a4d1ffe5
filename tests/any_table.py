# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A table as a person has it: texts, pictures, a sound, an accelerometer, numbers and categories, all with gaps, in
every form in which people keep tables."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from small_media import png_bytes, sound_bytes

NUMBERS = tuple(f"n{i}" for i in range(9))
CATEGORIES = ("city", "plan", "make", "size")
PICTURES = ("front", "back", "side")
FORMS = ("csv", "jsonl", "parquet")
WORDS = "the cat sat on a mat and every dog ran far away from home in the rain".split()  # noqa: SIM905


def any_table(folder: Path, number: int = 40, seed: int = 0) -> list[dict]:
    """
    Rows of two texts, three pictures, a sound, an accelerometer, nine numbers and four categories, each cell empty in
    a tenth of the rows, and of a label, an id, a day, and columns that say nothing; the files lie in `folder`.
    """
    draw, rows = random.Random(seed), []
    write_media(folder)
    for i in range(number):
        row = {"Review Text": f"{' '.join(draw.sample(WORDS, 5))} {i}", "Title": f"{' '.join(draw.sample(WORDS, 3))}!"}
        row |= {name: f"{draw.choice('ab')}.png" for name in PICTURES} | {"recording": f"{draw.choice('ab')}.wav"}
        row["accelerometer"] = [[draw.randint(0, 9) / 4, 1.5, -2.0] for _ in range(draw.randint(2, 5))]
        row |= {name: draw.randint(0, 9) if place % 2 else draw.random() for place, name in enumerate(NUMBERS)}
        row |= {name: draw.choice(["red", "blue", "green"]) for name in CATEGORIES}
        row = {name: None if i and draw.random() < 0.1 else cell for name, cell in row.items()}
        row |= {"label": draw.choice(["yes", "no"]), "row_id": i, "visit_date": f"2024-01-{1 + i // 3:02}"}
        rows.append(row | {"serial": 500 + i, "constant": 7, "code": {"yes": 5, "no": 6}[row["label"]]})
    return rows


def write_media(folder: Path) -> None:
    """Two pictures and two sounds of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0)
    for name in "ab":
        (folder / f"{name}.png").write_bytes(png_bytes(noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)))
        (folder / f"{name}.wav").write_bytes(sound_bytes(noise.normal(0, 0.1, 1600)))


def write_table(path: Path, rows: list[dict]) -> str:
    """The rows in the form that the file's name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            for row in rows:
                texts = {n: json.dumps(c) if isinstance(c, list) else c for n, c in row.items()}
                writer.writerow({name: "" if cell is None else cell for name, cell in texts.items()})
    return str(path)
