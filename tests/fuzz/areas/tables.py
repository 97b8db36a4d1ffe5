# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A small dataset in one of its forms, with its bytes, its columns, one cell or its media made odd, and read as a run
reads it. The bad rows are found, and none is lost without a word."""

import csv
import io
import json
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixture_of_transformers.data.preparation import drop_bad_examples, find_columns, prepare_splits
from mixture_of_transformers.data.sources import load_splits

from ..case import Case
from ..odd import TEXTS, mutated, mutated_json, odd_json, one, show
from ..world import LABELS, WORDS, World

FORMS = ("csv", "tsv", "json", "jsonl", "parquet", "folder", "tar", "pkl")
ROWS = 16
COLUMNS = ("text", "label", "image", "audio", "split", "video", "id")
NAMES = ("text", "", " ", "label", "x" * 300, "id", "Ünï", "bytes", "__index__", "image_file_name", "0")


def sound_rows(world: World, folder: Path) -> list[dict[str, Any]]:
    (folder / "p.png").write_bytes(world.media["images"]["p.png"])
    (folder / "s.wav").write_bytes(world.media["audio"]["s.wav"])
    return [
        {"text": f"{WORDS[i % 6]} {WORDS[i % 5]}", "label": LABELS[i % 2], "image": "p.png", "audio": "s.wav"}
        for i in range(ROWS)
    ]


def write(rows: list[dict], form: str, folder: Path) -> Path:
    """Rows as a file of a form, or as a folder."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = folder / f"table.{form}"
    if form in ("csv", "tsv"):
        text = io.StringIO()
        writer = csv.writer(text, delimiter="," if form == "csv" else "\t")
        writer.writerows([names, *([row.get(name) for name in names] for row in rows)])
        file.write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))
    elif form in ("json", "jsonl"):
        lines = [json.dumps(row) for row in rows]
        file.write_text("\n".join(lines) if form == "jsonl" else f"[{','.join(lines)}]")
    elif form == "parquet":
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), file)
    elif form == "pkl":
        part = {"raw_text": [row.get("text") for row in rows], "regression_labels": np.linspace(-1, 1, len(rows))}
        part |= {"id": [str(i) for i in range(len(rows))], "vision": np.zeros((len(rows), 3, 4), dtype=np.float32)}
        file.write_bytes(pickle.dumps({"train": part, "valid": part, "test": part}))
    else:
        return folders(rows, form, folder)
    return file


def folders(rows: list[dict], form: str, folder: Path) -> Path:
    """Pictures in a folder for each class, or samples of a WebDataset."""
    target = folder / "media"
    for i, row in enumerate(rows):
        place = target / str(row.get("label")).replace("/", "_")[:50] if form == "folder" else target
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "p.png", place / f"{i}.png")
        if form == "tar":
            (place / f"{i}.txt").write_text(str(row.get("text")), errors="replace")
            (place / f"{i}.cls").write_text(str(i % 2))
    if form == "folder":
        return target
    with tarfile.open(folder / "table.tar", "w") as archive:
        for file in sorted(target.iterdir()):
            archive.add(file, file.name)
    return folder / "table.tar"


def odd_rows(rng: np.random.Generator, rows: list[dict]) -> tuple[str, str]:
    """Makes one cell or one column odd; says what, and its name."""
    column, row = one(rng, list(rows[0])), int(rng.integers(ROWS))
    kind = int(rng.integers(5))
    if kind < 2:
        rows[row][column] = odd_json(rng) if rng.random() < 0.6 else one(rng, [t for t in TEXTS if t != "\ud800"])
        return f"row {row}: {column} is {show(rows[row][column])}", column
    if kind == 2:
        for other in rows:
            other[column] = odd_json(rng)
        return f"all of {column} odd", column
    if kind == 3:
        for other in rows:
            del other[column]
        return f"no {column}", column
    name = one(rng, NAMES)
    for other in rows:
        other[name] = other.pop(column)
    return f"{column} called {name!r}", name


def odd_file(rng: np.random.Generator, path: Path) -> str:
    """Makes bytes of a file odd, or of one of a folder."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    file = one(rng, files)
    kind = one(rng, ("bytes", "bytes", "bytes", "empty", "utf-16", "latin-1", "twice", "values"))
    content = file.read_bytes()
    if kind == "values" and file.suffix == ".json":
        content, what = mutated_json(rng, content)
        file.write_bytes(content)
        return f"{file.name}: {what}"
    if kind == "empty":
        content = b""
    elif kind == "utf-16":
        content = content.decode("latin-1").encode("utf-16")
    elif kind == "latin-1":
        content = content.replace(b"red", b"r\xe9d")
    elif kind == "twice":
        content = content + content
    else:
        content = mutated(rng, content)
    file.write_bytes(content)
    return f"{file.name}: {kind}"


def odd_media(rng: np.random.Generator, folder: Path) -> str:
    file = folder / one(rng, ("p.png", "s.wav"))
    if rng.random() < 0.3:
        file.unlink()
        return f"{file.name} is not there"
    file.write_bytes(mutated(rng, file.read_bytes()))
    return f"{file.name} with its bytes changed"


def table_case(rng: np.random.Generator, world: World, folder: Path) -> Case:
    form, rows = one(rng, FORMS), sound_rows(world, folder)
    name, options = None, {}
    kind = one(rng, ("rows", "rows", "bytes", "bytes", "media", "argument", "none"))
    if kind == "rows":
        given, name = odd_rows(rng, rows)
    if kind == "media":
        given = odd_media(rng, folder) if (folder / "p.png").exists() else ""
        if not (folder / "p.png").exists():
            form = one(rng, ("csv", "jsonl", "parquet"))
    try:
        path = write(rows, form, folder)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, AttributeError):
        form = "jsonl"  # a type of column that the form does not know
        path = write(rows, form, folder)
    if kind == "bytes":
        given = odd_file(rng, path)
    elif kind == "none":
        given = "sound"
    elif kind == "argument":
        name = one(rng, ("label_column", "split_column", "dataset_config", "train"))
        value = one(rng, ("nothing", "", "text", "none", "label"))
        options = {"split_names": {"train": value}} if name == "train" else {name: value}
        given = f"{name}={value!r}"

    def read():
        splits = load_splits(str(path), **options)
        columns = find_columns(splits["train"])
        before = {part: len(rows) for part, rows in splits.items()}
        prepared, labels = prepare_splits(splits, columns)
        report = folder / "bad_rows.jsonl"
        good = {part: drop_bad_examples(rows, "skip", part, report) for part, rows in prepared.items()}
        return before, good, report

    names = (path.name, *([name] if name else []), "column", "row")
    return Case(f"{form}: {given}", read, names, lost_rows, must_work=kind == "none")


def lost_rows(result) -> str | None:
    """Whether rows are neither among the good ones nor named as bad ones."""
    before, good, report = result
    named = report.read_text().count("\n") if report.exists() else 0
    kept = sum(len(rows) for rows in good.values())
    if sum(before.values()) != kept + named:
        return f"{sum(before.values())} rows were read, {kept} kept and {named} named as bad"
    return None
