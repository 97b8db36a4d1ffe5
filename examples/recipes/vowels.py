# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""JapaneseVowels: which of nine men says /ae/, from series of very different lengths.

    python -m examples.recipes.vowels

The data are in the package sktime 1.2.0 (BSD-3-Clause), `sktime/datasets/data/JapaneseVowels`, from UCI (CC BY 4.0;
Kudo, Toyama and Shimbo, Multidimensional curve classification using passing-through regions, 1999): 270 rows for
training and 370 for testing, each 7 to 29 frames of 12 cepstral coefficients. They become parquet with the columns
`cepstrum`, a list of frames, and `speaker`, a class.
"""

from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Features, List, Value

from .floors import Floor, logistic_regression, print_floors, random_forest, statistics
from .folders import options, write_parquet
from .packaged import PackagedFile
from .series_files import read_ts

FILES = {
    split: PackagedFile(
        "sktime", "1.2.0", f"sktime/datasets/data/JapaneseVowels/JapaneseVowels_{split.upper()}.ts", sha256
    )
    for split, sha256 in {
        "train": "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
        "test": "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
    }.items()
}


def load(data: Path) -> dict[str, Dataset]:
    """The name of a split -> its rows."""
    splits = {}
    for split, file in FILES.items():
        series, speakers, names = read_ts(file.read(data))
        features = Features({"cepstrum": List(List(Value("float32"))), "speaker": ClassLabel(names=names)})
        splits[split] = Dataset.from_dict({"cepstrum": series, "speaker": speakers}, features)
    return splits


def floors(splits: dict[str, Dataset]) -> list[Floor]:
    inputs = {split: statistics([np.array(cell) for cell in rows["cepstrum"]]) for split, rows in splits.items()}
    return [
        Floor("statistics, logistic regression", inputs, logistic_regression),
        Floor("statistics, random forest", inputs, random_forest, is_random=True),
    ]


def main() -> None:
    chosen = options(__doc__, "outputs/recipes/vowels")
    splits = load(chosen.data)
    write_parquet(splits, chosen.output)
    print_floors(floors(splits), {split: np.array(rows["speaker"]) for split, rows in splits.items()})


if __name__ == "__main__":
    main()
