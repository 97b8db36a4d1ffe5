# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""BasicMotions: standing, walking, running or badminton from the accelerometer and the gyroscope of a smart watch.

    python -m examples.recipes.motions

The data are in the package sktime 1.2.0 (BSD-3-Clause), `sktime/datasets/data/BasicMotions`, from the UEA archive: 40
rows for training and 40 for testing, of ten seconds at 10 Hz. They become JSON lines with two series of three channels
each:

    {"acceleration": [[x, y, z], ...], "rotation": [[x, y, z], ...], "activity": "Walking"}
"""

import json
from pathlib import Path

import numpy as np

from .floors import Floor, logistic_regression, print_floors, random_forest, statistics
from .folders import announce, options
from .packaged import PackagedFile
from .series_files import read_ts

FILES = {
    split: PackagedFile(
        "sktime", "1.2.0", f"sktime/datasets/data/BasicMotions/BasicMotions_{split.upper()}.ts", sha256
    )
    for split, sha256 in {
        "train": "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
        "test": "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
    }.items()
}
CHANNELS = {"acceleration": slice(0, 3), "rotation": slice(3, 6)}


def load(data: Path) -> dict[str, list[dict]]:
    """The name of a split -> its rows."""
    splits = {}
    for split, file in FILES.items():
        series, activities, _ = read_ts(file.read(data))
        splits[split] = [
            {name: rounded(values[:, channels]) for name, channels in CHANNELS.items()} | {"activity": activity}
            for values, activity in zip(series, activities)
        ]
    return splits


def rounded(values: np.ndarray) -> list:
    """With the six decimals that the archive has, as nested lists."""
    return values.astype(np.float64).round(6).tolist()


def write(splits: dict[str, list[dict]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    announce(splits, folder)


def floors(splits: dict[str, list[dict]]) -> list[Floor]:
    found = {
        name: {split: statistics([np.array(row[name]) for row in rows]) for split, rows in splits.items()}
        for name in CHANNELS
    }
    both = {split: np.hstack([inputs[split] for inputs in found.values()]) for split in splits}
    return [
        Floor(f"{name}: statistics, {kind}", inputs, make, is_random)
        for name, inputs in (found | {"+".join(CHANNELS): both}).items()
        for kind, make, is_random in (
            ("logistic regression", logistic_regression, False),
            ("random forest", random_forest, True),
        )
    ]


def main() -> None:
    chosen = options(__doc__, "outputs/recipes/motions")
    splits = load(chosen.data)
    write(splits, chosen.output)
    print_floors(
        floors(splits), {split: np.array([row["activity"] for row in rows]) for split, rows in splits.items()}
    )


if __name__ == "__main__":
    main()
