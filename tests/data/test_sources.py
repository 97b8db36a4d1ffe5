# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Files and folders: a changed file is read anew, which files are data, and to which split each row belongs."""

import json
import os
import pickle
import sys
import tarfile
import wave
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from datasets import Audio, Dataset, Video
from small_files import add_file, as_csv, as_lines, prepared, rows_of, write, write_png, write_tar

from mixture_of_transformers import MoTImageProcessor, MoTProcessor
from mixture_of_transformers.data.column_types import undecoded_stream
from mixture_of_transformers.data.fingerprints import fingerprint_of_files
from mixture_of_transformers.data.preparation import drop_bad_examples
from mixture_of_transformers.data.sources import load_split, load_splits
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.finetune.rows import read_splits
from mixture_of_transformers.training.encoded import EncodedDataset
from mixture_of_transformers.training.feature_cache import cache_features


def write_wav(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.arange(3200, dtype="<i2").tobytes())
    return path


def write_listed(kind: str, folder: Path) -> str:
    """20 dark pictures, listed in a table of this kind."""
    names = [f"m/{i}.png" for i in range(20)]
    rows = [{"image": name, "label": "ab"[i % 2]} for i, name in enumerate(names)]
    for name in names:
        write_png(folder / name, 40)
    if kind == "metadata":
        return str(Path(write(folder / "metadata.csv", as_csv(rows).replace("image", "file_name", 1))).parent)
    if kind == "classes":
        for i, name in enumerate(names):
            write_png(folder / "classes" / "ab"[i % 2] / Path(name).name, 40)
        return str(folder / "classes")
    if kind == "saved":
        whole = [row | {"image": str(folder / row["image"])} for row in rows]
        Dataset.from_list(whole).save_to_disk(folder / "saved")
        return str(folder / "saved")
    if kind == "parquet":
        pd.DataFrame(rows).to_parquet(folder / "train.parquet")
    else:
        write(folder / f"train.{kind}", as_lines(rows) if kind == "jsonl" else as_csv(rows))
    return str(folder / f"train.{kind}")


def mean_pixel(path: str) -> float:
    half = [0.5] * 3
    processor = MoTProcessor(
        image_processor=MoTImageProcessor(
            size={"height": 8, "width": 8}, do_convert_rgb=True, image_mean=half, image_std=half
        )
    )
    return cache_features(EncodedDataset(prepared(path)[0]["train"], processor))[0]["pixel_values"].mean().item()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "metadata", "classes", "saved"])
def test_a_changed_picture_is_encoded_anew(kind, tmp_path):
    path = write_listed(kind, tmp_path)
    assert mean_pixel(path) == pytest.approx(2 * 40 / 255 - 1, abs=0.01)
    for picture in tmp_path.rglob("*.png"):
        write_png(picture, 220)
    assert mean_pixel(path) == pytest.approx(2 * 220 / 255 - 1, abs=0.01)


@pytest.mark.parametrize("column", ["image", "audio", "video"])
@pytest.mark.parametrize("change", ["content", "time", "removal"])
def test_the_fingerprint_knows_path_size_and_time_of_every_file(column, change, tmp_path):
    files = [tmp_path / f"{i}.bin" for i in range(300)]
    for file in files:
        file.write_bytes(b"old")
    rows = Dataset.from_dict({"text": ["x"] * 300, column: [str(file) for file in files]})
    kinds = {"image": datasets.Image(decode=False), "audio": Audio(decode=False), "video": Video(decode=False)}
    rows = rows.cast_column(column, kinds[column])
    before = fingerprint_of_files(rows)
    assert fingerprint_of_files(rows) == before
    if change == "content":
        status = files[-1].stat()
        files[-1].write_bytes(b"newer")
        os.utime(files[-1], ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "time":
        os.utime(files[-1], ns=(0, files[-1].stat().st_mtime_ns + 1_000_000))
    else:
        files[-1].unlink()
    assert fingerprint_of_files(rows) != before


def test_the_fingerprint_asks_for_no_url_and_no_file_whose_bytes_are_there(tmp_path):
    file = tmp_path / "a.png"
    cells = [{"bytes": b"here", "path": str(file)}, {"bytes": None, "path": "https://localhost:1/a.png"}, None]
    rows = Dataset.from_dict({"image": cells}, features=datasets.Features(image=datasets.Image(decode=False)))
    before = fingerprint_of_files(rows)
    file.write_bytes(b"new")
    assert fingerprint_of_files(rows) == before


def test_a_changed_table_or_archive_is_read_anew(tmp_path):
    card = "---\nconfigs:\n- config_name: default\n  data_files: rows.csv\n---\n"
    write(tmp_path / "carded" / "README.md", card)
    write_png(tmp_path / "folder" / "0.png")
    write_png(tmp_path / "folder" / "1.png")
    for word in ("first", "other"):
        rows = [{"text": f"{word} {i}", "label": "ab"[i]} for i in range(2)]
        write(tmp_path / "rows.csv", as_csv(rows))
        write(tmp_path / "carded" / "rows.csv", as_csv(rows))
        write(tmp_path / "rows.jsonl", as_lines(rows))
        write(tmp_path / "folder" / "metadata.jsonl", as_lines([{"file_name": "0.png"} | row for row in rows]))
        write_tar(tmp_path / "rows.tar", [{"txt": row["text"], "cls": row["label"]} for row in rows])
        for name in ("rows.csv", "rows.jsonl", "carded", "folder", "rows.tar"):
            row = rows_of(load_split(str(tmp_path / name)))[1]
            assert word in (row.get("text"), row.get("txt"), "") or f"{word} 1" in row.values(), name


def test_a_file_that_joins_a_class_folder_is_read(tmp_path):
    for name in ("a/0.png", "b/0.png"):
        write_png(tmp_path / name)
    assert len(load_split(str(tmp_path))) == 2
    write_png(tmp_path / "a" / "1.png")
    assert len(load_split(str(tmp_path))) == 3


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("missing", [range(1), range(25), range(29, 30), range(0, 30, 2)])
def test_one_missing_file_is_one_bad_row_wherever_it_stands(missing, streaming, tmp_path):
    rows = [{"image": f"media/{i}.png", "text": f"row {i}", "label": "ab"[i // 2 % 2]} for i in range(30)]
    for i in set(range(30)) - set(missing):
        write_png(tmp_path / f"media/{i}.png")
    path = write(tmp_path / "train.csv", as_csv(rows))
    splits, _ = prepared(path, streaming=streaming, split_names={"validation": "train"})
    for split in (splits["train"], splits["validation"]):
        kept = [row["text"] for row in drop_bad_examples(split, split_name="x") if row["image"] is not None]
        assert kept == [f"row {i}" for i in range(30) if i not in missing]


def test_paths_are_relative_to_the_folder_that_most_of_them_are_in(tmp_path):
    for i in range(9):
        write_png(tmp_path / "data" / "media" / f"{i}.png")
    write_png(tmp_path / "tables" / "media" / "0.png")
    rows = [{"image": f"media/{i}.png", "text": "media", "label": i % 2} for i in range(9)]
    write(tmp_path / "tables" / "train.jsonl", as_lines(rows))
    split = load_split(str(tmp_path))
    assert split["image"][:] == [str(tmp_path / "data" / "media" / f"{i}.png") for i in range(9)]
    assert split["text"][:] == ["media"] * 9 and split.column_names == ["image", "text", "label"]


def test_characters_of_patterns_in_paths_are_plain_characters(tmp_path):
    root = tmp_path / "data [v1] *?"
    names = [f"m [x]/a[{i}]*.png" for i in range(4)]
    rows = [{"image": name, "label": "ab"[i % 2]} for i, name in enumerate(names)]
    for name in names:
        write_png(root / "table" / name)
        write_png(root / "classes" / "c[1]" / Path(name).name)
        write_png(root / "classes" / "c[2]" / Path(name).name)
        write_png(root / "files" / name)
    write(root / "table" / "train[0].jsonl", as_lines(rows))
    write(root / "files" / "metadata.csv", as_csv([{"file_name": row["image"], "label": "a"} for row in rows]))
    write(root / "carded" / "x[1]" / "rows.csv", as_csv([{"text": "t", "label": "a"}] * 4))
    write(root / "carded" / "README.md", "---\nconfigs:\n- config_name: default\n  data_files: x*/*.csv\n---\n")
    write_tar(root / "tars" / "train[0].tar", [{"txt": "t"}] * 4)
    (root / "parquet").mkdir()
    pd.DataFrame({"text": ["t"] * 4}).to_parquet(root / "parquet" / "train[0].parquet")
    for place in ("table", "table/train[0].jsonl", "files", "carded", "tars", "tars/train[0].tar", "parquet"):
        assert len(load_split(str(root / place))) == 4, place
    classes = load_split(str(root / "classes"))
    assert classes.features["label"].names == ["c[1]", "c[2]"] and len(classes) == 8
    found = load_split(str(root / "table"))["image"][:]
    assert [Path(path).is_file() for path in found] == [True] * 4


@pytest.mark.parametrize("beside_media", [False, True])
def test_other_json_files_beside_a_table_are_no_data(beside_media, tmp_path):
    for split in ("train", "test"):
        image = "m/0.png" if beside_media else "none"
        write(tmp_path / f"{split}.csv", as_csv([{"text": split, "image": image, "label": i % 2} for i in range(4)]))
    if beside_media:
        write_png(tmp_path / "m" / "0.png")
        write(tmp_path / "m" / "0.json", '[{"box": 1}]')
    write(tmp_path / "notes.json", '[{"note": "x"}]')
    write(tmp_path / "dataset_infos.json", '{"default": {}}')
    for split in ("train", "test"):
        rows = load_split(str(tmp_path), split)
        assert rows.column_names == ["text", "image", "label"] and rows["text"][:] == [split] * 4


def test_each_table_is_read_by_its_own_extension(tmp_path, caplog):
    rows = [{"text": "x", "score": i + 0.5} for i in range(3)]
    write(tmp_path / "train.jsonl", as_lines(rows))
    write(tmp_path / "train.csv", as_csv(rows[:1]))
    write(tmp_path / "test.tsv", as_csv(rows, "\t"))
    pd.DataFrame(rows).to_parquet(tmp_path / "validation.parquet")
    splits = load_splits(str(tmp_path))
    assert [rows_of(splits[name]) for name in ("train", "validation", "test")] == [rows] * 3
    assert "'train' is read from its .jsonl files" in caplog.text and "train.csv" in caplog.text


def test_settings_beside_folders_of_classes_are_no_table(tmp_path):
    for name in ("cat/0.png", "dog/0.png"):
        write_png(tmp_path / name)
    write(tmp_path / "class_indices.json", '{"cat": 0, "dog": 1}')
    assert load_split(str(tmp_path)).features["label"].names == ["cat", "dog"]


@pytest.mark.parametrize(
    ("medium", "suffix"), [("audio", "wav"), ("audio", "M4A"), ("video", "mp4"), ("image", "png")]
)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_folders_of_files_are_classes_of_any_medium_without_torchcodec(
    medium, suffix, streaming, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torchcodec", None)  # importing it fails
    for split in ("train", "validation", "test"):
        for name in ("cat/0", "dog/0", "dog/1"):
            write(tmp_path / split / f"{name}.{suffix}", "content")
    splits = load_splits(str(tmp_path), streaming=streaming)
    for split in ("train", "validation", "test"):
        assert splits[split].features["label"].names == ["cat", "dog"]
        undecoded = undecoded_stream if split == "train" and streaming else undecoded_rows
        rows = rows_of(undecoded(splits[split]))
        assert [row["label"] for row in rows] == [0, 1, 1]
        assert rows[2][medium]["path"] == str(tmp_path / split / f"dog/1.{suffix}")
    _, labels = prepared(tmp_path, streaming=streaming)
    assert labels.names == ("cat", "dog")


def undecoded_rows(split: Dataset) -> Dataset:
    for name, kind in split.features.items():
        if isinstance(kind, datasets.Image | Audio | Video):
            split = split.cast_column(name, type(kind)(decode=False))
    return split


def test_folders_at_different_depths_are_said_not_to_be_classes(tmp_path, caplog):
    for name in ("cat/0.png", "dog/0.png", "dog/more/1.png"):
        write_png(tmp_path / name)
    assert load_split(str(tmp_path)).column_names == ["image"]
    assert "not read as classes" in caplog.text and "dog/more/1.png" in caplog.text


def test_files_that_macos_adds_are_none(tmp_path):
    for name in ("cat/0.wav", "dog/0.wav"):
        write_wav(tmp_path / "folder" / name)
        for litter in (f"__MACOSX/{name}", f"{name[:4]}._0.wav", f"{name[:4]}.DS_Store"):
            write(tmp_path / "folder" / litter, "no sound")
    assert load_split(str(tmp_path / "folder")).features["label"].names == ["cat", "dog"]
    assert len(load_split(str(tmp_path / "folder"))) == 2
    write(tmp_path / "table" / "train.csv", "text,label\na,b\n")
    write(tmp_path / "table" / "._train.csv", "no table")
    assert len(load_split(str(tmp_path / "table"))) == 1
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        for i in range(3):
            for folder in ("./", "__MACOSX/"):
                add_file(archive, f"{folder}._{i}.png", b"no picture")
            add_file(archive, f"./{i}.png", b"picture")
            add_file(archive, f"./{i}.cls", b"1")
    for streaming in (False, True):
        splits = load_splits(str(tmp_path / "train.tar"), streaming=streaming, split_names={"validation": "train"})
        rows = rows_of(splits["validation"].cast_column("png", datasets.Image(decode=False)))
        assert [row["png"]["bytes"] for row in rows] == [b"picture"] * 3 and rows[0]["cls"] == 1


def test_names_in_cls_files_are_classes_and_numbers_are_numbers(tmp_path):
    for kind, cells in (("names", ["cat\n", "dog", "7"]), ("numbers", ["10\n", "2", "7"])):
        write_tar(tmp_path / f"{kind}.tar", [{"txt": cell, "cls": cell} for cell in cells])
        splits, labels = prepared(tmp_path / f"{kind}.tar", split_names={"validation": "train"})
        assert labels.names == {"names": ("7", "cat", "dog"), "numbers": ("2", "7", "10")}[kind]
        assert [labels.names[row["label"]] for row in splits["train"]] == [cell.strip() for cell in cells]


def cells_of(split, column: str) -> list[str | None]:
    rows = rows_of(undecoded_rows(split) if isinstance(split, Dataset) else undecoded_stream(split))
    cells = [row[column]["bytes"] if isinstance(row[column], dict) else row[column] for row in rows]
    return [cell and cell.decode() for cell in cells]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "fields", [("jpg", "png", "JPEG"), ("wav", "flac", "mp3"), ("a.jpg", "a.png"), ("mp4", "webm")]
)
def test_files_of_several_extensions_of_one_medium_are_one_column_of_an_archive(fields, streaming, tmp_path):
    late = [*fields[:2] * 250, fields[-1]]  # the last one is met after the files that the types are learned from
    write_tar(tmp_path / "train-0.tar", [{field: f"{i}.{field}", "cls": "ab"[i % 2]} for i, field in enumerate(late)])
    write_tar(tmp_path / "validation-0.tar", [{fields[-1]: "held out", "cls": "a"}])
    splits = load_splits(str(tmp_path), streaming=streaming)
    assert set(splits["train"].features) == {fields[0], "cls"}
    assert cells_of(splits["train"], fields[0]) == [f"{i}.{field}" for i, field in enumerate(late)]
    assert cells_of(splits["validation"], fields[0]) == ["held out"]


def test_two_pictures_of_a_row_of_an_archive_stay_two_columns(tmp_path):
    write_tar(tmp_path / "rows.tar", [{"jpg": "a", "png": "b", "x.jpg": "c"}, {"jpg": "a"}, {"png": "b"}])
    split = load_split(str(tmp_path / "rows.tar"))
    assert (cells_of(split, "jpg"), cells_of(split, "png")) == (["a", "a", None], ["b", None, "b"])
    assert cells_of(split, "x.jpg") == ["c", None, None]


def test_a_second_picture_in_a_late_row_of_an_archive_is_an_error_that_names_it(tmp_path):
    write_tar(tmp_path / "rows.tar", [{"jpg": "a"}] * 500 + [{"jpg": "a", "png": "b"}])
    with pytest.raises(ValueError, match=r"rows.tar: 0500' has the files .jpg and .png"):
        load_split(str(tmp_path / "rows.tar"))


def test_rows_of_one_table_belong_to_the_split_of_the_folder_of_their_files(tmp_path):
    rows = [{"file_name": f"{split}/{i}.png", "label": "ab"[i % 2]} for split in ("train", "test") for i in range(3)]
    for row in rows:
        write_png(tmp_path / row["file_name"])
    write(tmp_path / "metadata.csv", as_csv(rows))
    for split in ("train", "test"):
        paths = [
            cell["path"]
            for cell in load_split(str(tmp_path), split).cast_column("image", datasets.Image(decode=False))["image"]
        ]
        assert paths == [str(tmp_path / split / f"{i}.png") for i in range(3)]


def test_metadata_without_file_names_is_a_table_of_paths(tmp_path):
    write_png(tmp_path / "m" / "0.png")
    write(tmp_path / "metadata.csv", "image,label\nm/0.png,NA\n")
    assert rows_of(load_split(str(tmp_path))) == [{"image": str(tmp_path / "m" / "0.png"), "label": "NA"}]


def test_metadata_may_be_parquet_and_lie_in_several_folders(tmp_path):
    for folder, label in (("a", 1), ("b", None)):
        write_png(tmp_path / "train" / folder / "0.png")
        rows = pd.DataFrame([{"file_name": "0.png", "label": label, "text": folder}])
        rows.to_parquet(tmp_path / "train" / folder / "metadata.parquet")
    rows = rows_of(undecoded_rows(load_split(str(tmp_path))))
    assert [(row["label"], row["text"]) for row in rows] == [(1, "a"), (None, "b")]
    assert [row["image"]["path"] for row in rows] == [str(tmp_path / "train" / name / "0.png") for name in "ab"]


def test_files_of_another_medium_among_classes_are_said_to_be_left_out(tmp_path, caplog):
    for name in ("cat/0.wav", "dog/0.wav", "dog/1.wav", "dog/cover.png"):
        write(tmp_path / name, "content")
    assert load_split(str(tmp_path)).column_names == ["audio", "label"]
    assert "cover.png" in caplog.text and "audio" in caplog.text


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("table", ["classes.csv", "classes.json"])
def test_a_table_that_says_nothing_of_rows_is_left_out_beside_folders_of_classes(table, streaming, tmp_path, caplog):
    for split in ("train", "validation", "test"):
        for name in ("cat/0.png", "dog/0.png"):
            write_png(tmp_path / split / name)
    rows = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    write(tmp_path / table, as_csv(rows) if table.endswith("csv") else json.dumps(rows))
    splits = load_splits(str(tmp_path), streaming=streaming)
    assert [splits[split].features["label"].names for split in splits] == [["cat", "dog"]] * 3
    assert len(rows_of(undecoded_stream(splits["train"]) if streaming else splits["train"])) == 2
    assert "Left out (1), since no column is an input or a label" in caplog.text and table in caplog.text


def test_a_table_of_rows_beside_folders_of_classes_is_read_and_the_media_are_said_to_be_left_out(tmp_path, caplog):
    for name in ("cat/0.png", "dog/0.png"):
        write_png(tmp_path / name)
    write(tmp_path / "rows.csv", as_csv([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]))
    assert load_split(str(tmp_path)).column_names == ["text", "label"]
    assert "Left out (2), since no table names them" in caplog.text and "dog/0.png" in caplog.text


@pytest.mark.parametrize("form", ["metadata.csv", "metadata.jsonl", "train.csv", "train.parquet"])
def test_media_that_no_table_names_are_said_to_be_left_out(form, tmp_path, caplog):
    for name in ("train/0.png", "train/1.png", "valid/0.png", "valid/1.png"):
        write_png(tmp_path / name)
    folder = tmp_path / "train" if form.startswith("metadata") else tmp_path
    column, prefix = ("file_name", "") if form.startswith("metadata") else ("image", "./train/")
    rows = [{column: f"{prefix}0.png", "label": "a"}, {column: None, "label": "b"}]
    if form.endswith("parquet"):
        pd.DataFrame(rows).to_parquet(folder / form)
    else:
        write(folder / form, as_lines(rows) if form.endswith("jsonl") else as_csv(rows))
    assert len(load_split(str(tmp_path))) == 2
    (warning,) = [record.getMessage() for record in caplog.records if "no table names them" in record.getMessage()]
    assert warning.startswith("Left out (3), since no table names them: ") and "train/0.png" not in warning
    assert all(name in warning for name in ("train/1.png", "valid/0.png", "valid/1.png"))


def test_nothing_is_said_to_be_left_out_where_tables_name_all_media(tmp_path, caplog, monkeypatch):
    path = write_listed("metadata", tmp_path / "metadata")
    load_split(path)
    monkeypatch.chdir(tmp_path)
    load_split(os.path.basename(path))
    write_listed("csv", tmp_path / "table")
    load_split("table")
    assert "no table names them" not in caplog.text


def test_vectors_of_an_mmsa_pickle_are_sequences_of_one(tmp_path):
    rng = np.random.default_rng(0)
    vectors = {name: rng.normal(size=(4, 5)).astype(np.float32) for name in ("text", "vision", "audio")}
    vectors["vision"][1] = 0
    labels = {"regression_labels": np.arange(4, dtype=np.float32)}
    (tmp_path / "rows.pkl").write_bytes(pickle.dumps(dict.fromkeys(("train", "valid", "test"), vectors | labels)))
    splits, _ = prepared(tmp_path / "rows.pkl")
    for i, row in enumerate(splits["train"]):
        assert np.array_equal(np.float32(row["text"]), vectors["text"][i : i + 1])
        assert (row["image"] is None) == (i == 1)


MODES = ["train", "train", "Valid", "test", None] * 4


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ["split", "mode", "Set", "fold", "subset", "partition"])
def test_a_column_of_splits_splits_the_rows_of_a_table_and_says_so(name, streaming, tmp_path, caplog):
    rows = [{"text": f"t{i}", name: mode, "label": "ab"[i % 2]} for i, mode in enumerate(MODES)]
    splits = load_splits(write(tmp_path / "rows.csv", as_csv(rows)), streaming=streaming)
    for split, word in (("train", "train"), ("validation", "Valid"), ("test", "test")):
        found = rows_of(splits[split])
        assert [row["text"] for row in found] == [f"t{i}" for i, mode in enumerate(MODES) if mode == word]
        assert set(found[0]) == {"text", "label"}
    assert f"split by column '{name}': 8 train, 4 validation, 4 test; 4 rows are left out" in caplog.text


def test_another_column_of_splits_is_named_and_none_keeps_the_rows_together(tmp_path):
    rows = [{"text": f"t{i}", "mode": mode, "part": "xyz"[i % 3]} for i, mode in enumerate(MODES)]
    path = write(tmp_path / "rows.csv", as_csv(rows))
    together = read_splits(DataArguments(dataset_name=path, split_column="none"), seed=0)
    assert len(together["train"]) + len(together["validation"]) == 20 and "mode" in together["train"].column_names
    named = DataArguments(
        dataset_name=path, split_column="part", train_split="x", validation_split="y", test_split="z"
    )
    assert [len(split) for split in read_splits(named, seed=0).values()] == [7, 7, 6]
    with pytest.raises(ValueError, match="no column 'kind' to split by; there are text, mode, part"):
        load_splits(path, split_column="kind")
    write(tmp_path / "folder" / "train.csv", as_csv(rows))
    write(tmp_path / "folder" / "test.csv", as_csv(rows))
    assert len(load_splits(str(tmp_path / "folder"))["test"]) == 20
    with pytest.raises(ValueError, match="--split_column is for a single table"):
        load_splits(str(tmp_path / "folder"), split_column="mode")


@pytest.mark.parametrize("words", [("train", "walk", "tram"), ("train", "train", "tram"), ("dev", "test", "prod")])
def test_a_column_of_other_words_splits_nothing(words, tmp_path):
    rows = [{"text": f"t{i}", "mode": words[i % 3]} for i in range(20)]
    assert "mode" in load_splits(write(tmp_path / "rows.csv", as_csv(rows)))["train"].column_names


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_a_column_of_splits_with_a_word_that_names_none_is_an_error_with_the_ways_out(streaming, tmp_path):
    rows = [{"text": f"t{i}", "part": "x", "split": ("train", "Val", "unlabeled")[i % 3]} for i in range(20)]
    path = write(tmp_path / "rows.csv", as_csv(rows))
    with pytest.raises(
        ValueError, match="'split' .* says 'train', 'validation' .* and 'unlabeled' .*--split_column none"
    ):
        load_splits(path, streaming=streaming)
    by_word = load_splits(path, streaming=streaming, split_column="split")
    assert [row["text"] for row in rows_of(by_word["train"])] == [f"t{i}" for i in range(0, 20, 3)]
    assert sum(map(len, load_splits(path, split_column="none", split_names={"test": "none"}).values())) == 20


@pytest.mark.parametrize(
    ("validation", "test"),
    [
        ("PublicTest", "PrivateTest"),
        ("public_test", "private_test"),
        ("devel", "holdout"),
        ("Development", "held_out"),
    ],
)
def test_usual_words_for_a_held_out_split_are_known_in_columns_folders_and_names(validation, test, tmp_path):
    words = {"train": "train", "validation": validation, "test": test}
    rows = [{"text": f"{split}{i}", "split": word} for split, word in words.items() for i in range(3)]
    write(tmp_path / "column.csv", as_csv(rows))
    for word in words.values():
        part = as_csv([{"text": row["text"]} for row in rows if row["split"] == word])
        write(tmp_path / "names" / f"{word}.csv", part)
        write(tmp_path / "folders" / word / "rows.csv", part)
    for path in ("column.csv", "names", "folders"):
        splits = load_splits(str(tmp_path / path))
        for split in words:
            assert splits[split]["text"][:] == [f"{split}{i}" for i in range(3)]
