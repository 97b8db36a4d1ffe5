# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Small files of every format that several tests of `data/` write."""

import io
import json
import tarfile
from pathlib import Path

from datasets import Dataset
from PIL import Image

from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.preparation import prepare_splits
from mixture_of_transformers.data.sources import load_splits


def write_png(path: Path, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value,) * 3).save(path)
    return path


def write(path: Path, content: str, encoding: str = "utf-8") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))
    return str(path)


def as_lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_csv(rows: list[dict], delimiter: str = ",") -> str:
    lines = [rows[0], *(row.values() for row in rows)]
    return "".join(delimiter.join("" if cell is None else str(cell) for cell in line) + "\n" for line in lines)


def add_file(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def write_tar(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for index, row in enumerate(rows):
            for suffix, content in row.items():
                if content is not None:
                    add_file(
                        archive, f"{index:04d}.{suffix}", content if isinstance(content, bytes) else content.encode()
                    )


def rows_of(split) -> list[dict]:
    return list(split.with_format(None)) if isinstance(split, Dataset) else list(split)


def prepared(path, **options):
    splits = load_splits(str(path), **options)
    return prepare_splits(splits, ModalityColumns.guess(splits["train"].features))
