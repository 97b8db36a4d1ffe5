# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The recipes read what their packages hold and nothing else, split fairly, and write folders that mean the same."""

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PILImage

from mixture_of_transformers.data.sources import load_splits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from examples.recipes import digit_views, motions, reviews, vowels  # noqa: E402
from examples.recipes.floors import Floor, channel_statistics, classification, print_floors, statistics  # noqa: E402
from examples.recipes.folders import split_rows, write_parquet  # noqa: E402
from examples.recipes.packaged import PackagedFile  # noqa: E402
from examples.recipes.series_files import read_ts  # noqa: E402

# ---------------------------------------------------------------------------------------------------------------------
# Files in packages
# ---------------------------------------------------------------------------------------------------------------------

CONTENT = b"1,2,3\n"
FILE = PackagedFile("some-data", "1.0", "some_data/rows.csv", hashlib.sha256(CONTENT).hexdigest())


def write_wheel(folder: Path, path: str = FILE.path, content: bytes = CONTENT) -> None:
    with zipfile.ZipFile(folder / "some_data-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(path, content)


def test_a_wheel_that_is_there_is_read_without_a_download(tmp_path, monkeypatch):
    write_wheel(tmp_path)
    monkeypatch.setattr(subprocess, "run", None)
    assert FILE.read(tmp_path) == CONTENT


def test_a_file_of_other_bytes_is_refused(tmp_path):
    write_wheel(tmp_path, content=b"1,2,4\n")
    with pytest.raises(ValueError, match="has the SHA-256 .*, expected"):
        FILE.read(tmp_path)


def test_a_wheel_without_the_file_is_an_error_that_names_both(tmp_path):
    write_wheel(tmp_path, path="some_data/other.csv")
    with pytest.raises(ValueError, match="some_data/rows.csv; expected the wheel of some-data==1.0"):
        FILE.read(tmp_path)


def test_a_wheel_that_cannot_be_had_is_an_error_that_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FileNotFoundError, match="some-data==1.0 is not in .* --data"):
        FILE.read(tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# Series
# ---------------------------------------------------------------------------------------------------------------------

HEADER = "# Two channels.\n@problemName tiny\n@timeStamps false\n@dimensions 2\n@classLabel true up down\n@data\n"


def test_a_ts_file_is_read_as_rows_of_samples_by_channels():
    series, labels, names = read_ts(f"{HEADER}1,2,3:4,5,6:up\n7,?:9.5,-1e2:down\n".encode())
    np.testing.assert_array_equal(series[0], [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(series[1], [[7, 9.5], [np.nan, -100]])
    assert (labels, names) == (["up", "down"], ["up", "down"])


@pytest.mark.parametrize("row", ["1,2:up", "1,2:3,4:5,6:up", "1,2:3:up", "1,2:3,4:left"])
def test_a_row_of_another_form_is_an_error_that_says_which(row):
    with pytest.raises(ValueError, match="Row 1 of the .ts file"):
        read_ts(f"{HEADER}1,2:3,4:up\n{row}\n".encode())


@pytest.mark.parametrize("change", [("timeStamps false", "timeStamps true"), ("true up down", "false"), ("@data", "")])
def test_a_ts_file_of_another_kind_is_refused(change):
    with pytest.raises(ValueError, match="with classes and without time stamps"):
        read_ts(f"{HEADER.replace(*change)}1,2:3,4:up\n".encode())


def test_statistics_have_one_width_for_series_of_every_length_and_are_those_of_each_channel():
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(length, 3)) for length in (4, 7, 29, 100)]
    found = statistics(series)
    assert found.shape[0] == 4 and np.isfinite(found).all()
    np.testing.assert_array_equal(found[:, 0], [4, 7, 29, 100])
    width = (found.shape[1] - 1) // 3
    values = series[2][:, 1]
    own = found[2, 1 + width : 1 + 2 * width]
    assert own[:4] == pytest.approx([values.mean(), values.std(), values.min(), values.max()])
    assert own[6] == pytest.approx(np.median(values))


def test_the_spectrum_of_a_tone_is_highest_at_its_frequency():
    spectrum = channel_statistics(np.sin(2 * np.pi * 0.5 * np.arange(700) * 3 / 7))[-8:]
    assert spectrum.argmax() == 3


# ---------------------------------------------------------------------------------------------------------------------
# Splits and floors
# ---------------------------------------------------------------------------------------------------------------------


def test_a_split_takes_every_row_once_and_of_each_class_its_share():
    classes = np.repeat(["a", "b"], [100, 300])
    splits = split_rows(classes)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 280, "validation": 40, "test": 80}
    assert sorted(np.concatenate(list(splits.values()))) == list(range(400))
    for rows in splits.values():
        assert (classes[rows] == "a").mean() == 0.25
    assert all((rows == split_rows(classes)[name]).all() for name, rows in splits.items())


class Majority:
    """An estimator that answers with the class that most rows have, or by chance where it has a seed."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def fit(self, inputs, targets):
        self.classes, counts = np.unique(targets, return_counts=True)
        self.most = self.classes[counts.argmax()]
        return self

    def predict(self, inputs):
        return np.full(len(inputs), self.most)


def test_a_floor_learns_from_training_rows_and_is_measured_on_all_others(capsys):
    targets = {"train": np.array([1, 1, 0]), "test": np.array([1, 0, 0, 0])}
    inputs = {split: np.zeros((len(values), 2)) for split, values in targets.items()}
    print_floors([Floor("always one", inputs, Majority, is_random=True)], targets, classification)
    lines = capsys.readouterr().out.split("\n")
    assert lines[1:4] == [
        "| floor | test accuracy | test f1_macro |",
        "|---|---|---|",
        "| always one | 0.250 ± 0.000 | 0.200 ± 0.000 |",
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Folders
# ---------------------------------------------------------------------------------------------------------------------


def ts_file(num_channels: int, classes: str, lengths: list[int]) -> bytes:
    rng = np.random.default_rng(0)
    header = f"@timeStamps false\n@dimensions {num_channels}\n@classLabel true {classes}\n@data\n"
    names = classes.split()
    rows = [
        ":".join([",".join(f"{x:.6f}" for x in rng.normal(size=length)) for _ in range(num_channels)] + [names[i % 2]])
        for i, length in enumerate(lengths)
    ]
    return (header + "\n".join(rows) + "\n").encode()


@pytest.fixture
def packages(monkeypatch):
    """Small files in the place of those that the packages hold, in the same forms."""
    rng = np.random.default_rng(0)
    frame = {
        "Clothing ID": range(200),
        "Age": rng.integers(18, 99, 200),
        "Title": ["Great", None, 'Say "no", twice', ""] * 50,
        "Review Text": ["Fits well,\nand soft.", "None", None, "nan"] * 50,
        "Rating": [5, 4, 2, 1] * 50,
        "Recommended IND": [1, 1, 0, 0] * 50,
        "Positive Feedback Count": rng.integers(0, 9, 200),
        "Division Name": ["General", "Petite", None, "General"] * 50,
        "Department Name": ["Tops", None, "Tops", "Trend"] * 50,
        "Class Name": ["Knits", "Knits", None, "Trend"] * 50,
    }
    parquet = io.BytesIO()
    pd.DataFrame(frame).to_parquet(parquet, compression="brotli")
    contents = {reviews.FILE: parquet.getvalue()}
    for recipe, channels, classes in ((motions, 6, "Standing Walking"), (vowels, 12, "1 2")):
        contents |= {file: ts_file(channels, classes, [9, 7, 12, 8] * 5) for file in recipe.FILES.values()}
    for name, file in digit_views.VIEWS.items():
        width = 240 if name == "image" else 3
        values = np.hstack([rng.integers(0, 7, (100, width)), np.repeat(range(10), 10)[:, None]])
        lines = [range(width + 1), *values.tolist()]
        contents[file] = "".join(",".join(map(str, line)) + "\n" for line in lines).encode()
    monkeypatch.setattr(PackagedFile, "read", lambda file, folder: contents[file])
    return contents


def test_motions_are_json_lines_with_two_series_of_three_channels(packages, tmp_path):
    motions.write(motions.load(tmp_path), tmp_path / "motions")
    splits = load_splits(str(tmp_path / "motions"))
    series, activities, _ = read_ts(packages[motions.FILES["test"]])
    assert splits["test"]["activity"] == activities
    for row, values in zip(splits["test"], series):
        found = np.hstack([row["acceleration"], row["rotation"]])
        np.testing.assert_array_equal(found.astype(np.float32), values)


def test_vowels_are_parquet_with_a_series_of_any_length(packages, tmp_path):
    write_parquet(vowels.load(tmp_path), tmp_path / "vowels")
    test = load_splits(str(tmp_path / "vowels"))["test"]
    series, speakers, names = read_ts(packages[vowels.FILES["test"]])
    assert test.features["speaker"].names == names
    assert [names[speaker] for speaker in test["speaker"]] == speakers
    for cell, values in zip(test["cepstrum"], series):
        np.testing.assert_array_equal(np.array(cell, dtype=np.float32), values)


def test_reviews_are_csv_that_means_what_the_package_holds(packages, tmp_path):
    splits = reviews.load(tmp_path)
    reviews.write(splits, tmp_path / "reviews")
    found = load_splits(str(tmp_path / "reviews"))
    for name, rows in splits.items():
        expected = rows.astype(object).where(rows.notna(), None)
        expected = expected.replace({"": None})  # an empty cell is a missing one
        assert found[name].to_list() == expected.to_dict("records")


def test_the_table_of_reviews_has_what_training_never_saw_as_missing():
    rows = {"Age": [30], "Positive Feedback Count": [2], "Division Name": ["a"], "Class Name": ["c"]}
    train = pd.DataFrame(rows | {"Department Name": ["b"]})
    found = reviews.columns({"train": train, "test": train.assign(**{"Department Name": "new"})})
    assert found["train"].notna().all(axis=None)
    assert found["test"].columns[found["test"].isna().any()].to_list() == ["Department Name"]


def test_a_digit_is_the_same_in_a_table_and_in_views(packages, tmp_path):
    views, digits = digit_views.load(tmp_path)
    rows = np.arange(0, 100, 7)
    write_parquet({"train": digit_views.one_table(views, digits).select(rows)}, tmp_path / "one_table")
    write_parquet({"train": digit_views.six_views(views, digits).select(rows)}, tmp_path / "six_views")
    tables = load_splits(str(tmp_path / "one_table"))
    vectors = load_splits(str(tmp_path / "six_views"))
    assert tables["train"]["digit"] == vectors["train"]["digit"]
    for flat, nested in zip(tables["train"], vectors["train"]):
        assert flat["image"] == nested["image"]
        assert [flat[f"zernike_{i}"] for i in range(3)] == nested["zernike"]


def test_a_picture_has_its_pixels_black_on_white_and_row_by_row():
    pixels = np.zeros(240)
    pixels[:15], pixels[15] = 6, 3  # the first row black, and the first pixel of the second grey
    picture = np.array(PILImage.open(io.BytesIO(digit_views.png(pixels)["bytes"])))
    assert picture.shape == (16, 15)
    assert (picture[0] == 0).all() and picture[1, 0] == 128 and (picture[1, 1:] == 255).all()


def test_views_in_different_orders_are_an_error(packages, tmp_path):
    file = digit_views.VIEWS["zernike"]
    header, *lines = packages[file].splitlines(keepends=True)
    packages[file] = header + b"".join(reversed(lines))
    with pytest.raises(ValueError, match="not in one order"):
        digit_views.load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["motions", "vowels"])
def test_a_recipe_runs_on_its_package_and_prints_its_floors(recipe, tmp_path):
    """Needs the package index; the two small recipes stand for all."""
    try:
        motions.FILES["train"].read(tmp_path)
    except FileNotFoundError:
        pytest.skip("the package index cannot be reached")
    command = [sys.executable, "-m", f"examples.recipes.{recipe}", "--data", str(tmp_path), "--output", str(tmp_path)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "| floor | test accuracy | test f1_macro |" in done.stdout
