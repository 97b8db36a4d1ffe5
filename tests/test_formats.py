# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""One small tri-modal dataset in every format: the same rows come out, whole or streamed, and the same loss."""

import csv
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import datasets
import pytest
import torch
from datasets import Audio, ClassLabel, DatasetDict, Image
from safetensors.torch import load_file

from mot.data_mot import ModalityColumns, drop_bad_examples, load_digits_dataset, prepare_splits
from mot.decoding_mot import open_source
from mot.run_finetune import main
from mot.sources_mot import load_splits

TESTS = Path(__file__).resolve().parent
ROWS = {"train": 60, "validation": 10, "test": 10}
FILES = {"image": "png", "audio": "wav"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets_cache"))


@pytest.fixture(scope="module")
def digits() -> DatasetDict:
    """Three in ten of the training rows lack something. Classes are called by their ids, as a `.cls` file would."""
    splits = load_digits_dataset()
    names = ClassLabel(names=[str(digit) for digit in range(10)])
    return DatasetDict(
        {name: splits[name].select(range(count)).cast_column("label", names) for name, count in ROWS.items()}
    )


def undecoded(split):
    return split.cast_column("image", Image(decode=False)).cast_column("audio", Audio(decode=False))


def write_media(split, folder: Path) -> list[dict]:
    """Each row's files beside each other; the rows with `image` and `audio` as file names."""
    folder.mkdir(parents=True)
    rows = []
    for index, row in enumerate(undecoded(split)):
        for column, suffix in FILES.items():
            if row[column] is not None:
                name = f"{index:04d}.{suffix}"
                (folder / name).write_bytes(row[column]["bytes"])
                row[column] = name
        rows.append(row)
    return rows


def write_parquet(splits, folder: Path) -> str:
    (folder / "data").mkdir(parents=True)
    for name, split in splits.items():
        split.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return str(folder)


def write_image_folder(splits, folder: Path) -> str:
    for name, split in splits.items():
        rows = write_media(split, folder / name)
        with open(folder / name / "metadata.jsonl", "w", encoding="utf-8") as lines:
            for row in rows:
                files = {f"{column}_file_name": row.pop(column) for column in FILES}
                lines.write(json.dumps(files | row) + "\n")
    return str(folder)


def write_webdataset(splits, folder: Path) -> str:
    """Two shards of each split; a modality that a row lacks is a file that is not there."""
    folder.mkdir()
    for name, split in splits.items():
        for shard in range(2):
            with tarfile.open(folder / f"{name}-{shard:04d}.tar", "w") as archive:
                half = len(split) // 2
                for index in range(shard * half, (shard + 1) * half):
                    add_row(archive, f"{index:04d}", undecoded(split)[index])
    return str(folder)


def add_row(archive: tarfile.TarFile, key: str, row: dict) -> None:
    cells = {suffix: row[column] and row[column]["bytes"] for column, suffix in FILES.items()}
    cells |= {"txt": row["text"] and row["text"].encode(), "cls": str(row["label"]).encode()}
    for suffix, content in cells.items():
        if content is not None:
            member = tarfile.TarInfo(f"{key}.{suffix}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_table(splits, folder: Path, suffix: str) -> str:
    """train.csv, ... with paths that are relative to the folder of the table."""
    for name, split in splits.items():
        rows = write_media(split, folder / "media" / name)
        for row in rows:
            row |= {column: row[column] and f"media/{name}/{row[column]}" for column in FILES}
        with open(folder / f"{name}.{suffix}", "w", newline="", encoding="utf-8") as file:
            if suffix == "jsonl":
                file.writelines(json.dumps(row) + "\n" for row in rows)
            else:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
    return str(folder)


def write_saved(splits, folder: Path) -> str:
    splits.save_to_disk(folder)
    return str(folder)


FORMATS = {
    "parquet": write_parquet,
    "imagefolder": write_image_folder,
    "webdataset": write_webdataset,
    "jsonl": lambda splits, folder: write_table(splits, folder, "jsonl"),
    "csv": lambda splits, folder: write_table(splits, folder, "csv"),
    "save_to_disk": write_saved,
}


@pytest.fixture(scope="module")
def folders(digits, tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("formats")
    return {name: write(digits, root / name) for name, write in FORMATS.items()}


def prepared(source: str, **options):
    splits = load_splits(source, **options)
    splits, labels = prepare_splits(splits, ModalityColumns.guess(splits["train"].features))
    return {name: drop_bad_examples(split, "raise", name) for name, split in splits.items()}, labels


def read(cell):
    if cell is None:
        return None
    with open_source(cell, "cell") as file:
        return file.read()


def content(split) -> list[dict]:
    return [row | {column: read(row[column]) for column in FILES} for row in split]


@pytest.fixture(scope="module")
def expected(digits) -> dict[str, list[dict]]:
    splits, _ = prepare_splits(digits, ModalityColumns.guess(digits["train"].features))
    return {name: content(split) for name, split in splits.items()}


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(name, streaming, folders, expected):
    splits, labels = prepared(folders[name], streaming=streaming)
    assert labels.names == tuple("0123456789")
    for split, rows in expected.items():
        assert content(splits[split]) == rows


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_a_single_file_and_a_folder_of_sounds_are_read_as_what_they_hold(streaming, folders, digits, tmp_path):
    validation = {"split_names": {"validation": "train"}} if streaming else {}
    splits, _ = prepared(os.path.join(folders["csv"], "train.csv"), streaming=streaming, **validation)
    assert read(next(iter(splits["train"]))["audio"]) is not None
    for name in ("train", "test"):
        rows = write_media(digits[name], tmp_path / "sounds" / name)
        lines = [{"file_name": row["audio"], "label": row["label"]} for row in rows if row["audio"]]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "sounds" / name / "metadata.jsonl").write_text(text)
    splits, _ = prepared(str(tmp_path / "sounds"), streaming=streaming, split_names={"validation": "test"})
    row = next(iter(splits["train"]))
    assert set(row) == {"audio", "label"} and read(row["audio"])[:4] == b"RIFF"


def test_splits_of_other_names_are_named_and_a_wrong_name_is_an_error(digits, tmp_path):
    DatasetDict(clean=digits["train"], other=digits["test"]).save_to_disk(tmp_path / "saved")
    names = {"train": "clean", "validation": "other"}
    splits = load_splits(str(tmp_path / "saved"), split_names=names)
    assert len(splits["train"]) == ROWS["train"] and len(splits["validation"]) == ROWS["test"]
    with pytest.raises(ValueError, match=r"no split 'dirty' for train; it has \['clean', 'other'\]"):
        load_splits(str(tmp_path / "saved"), split_names={"train": "dirty"})
    with pytest.raises(ValueError, match="Say which one to train on with --train_split"):
        load_splits(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match="Name a split to validate on with --validation_split"):
        load_splits(str(tmp_path / "saved"), split_names={"train": "clean"}, streaming=True)


# ------------------------------------------------- the command line -------------------------------------------------

SMALL = '{"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}'


def final_weights(source: str, out: Path, *options: str) -> dict[str, torch.Tensor]:
    """Train on rows in their order for two epochs and a half, augmented; what the last loss leaves."""
    main(
        ["--dataset_name", source, "--output_dir", str(out), "--max_steps", "15", "--use_cpu"]
        + ["--per_device_train_batch_size", "10", "--train_sampling_strategy", "sequential", "--shuffle_buffer", "0"]
        + ["--config_overrides", SMALL, "--disable_tqdm", "true", *options]
    )
    return load_file(out / "model.safetensors")


@pytest.fixture(scope="module")
def weights(folders, tmp_path_factory) -> dict[str, torch.Tensor]:
    return final_weights(folders["parquet"], tmp_path_factory.mktemp("parquet"))


def assert_same_weights(found, expected):
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.training
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_trains_to_the_same_weights_streamed_too(name, folders, weights, tmp_path):
    if name != "parquet":
        assert_same_weights(final_weights(folders[name], tmp_path / "whole"), weights)
    assert_same_weights(final_weights(folders[name], tmp_path / "streamed", "--streaming"), weights)


@pytest.mark.training
def test_a_dataset_of_the_hub_trains_to_the_same_weights_streamed_too(folders, weights, hub, tmp_path):
    script = f"""
import conftest
from datasets import load_from_disk
load_from_disk({folders["save_to_disk"]!r}).push_to_hub("user/digits", private=True)
from pathlib import Path
from test_formats import final_weights
final_weights("user/digits", Path("whole"), "--dataset_revision", "main")
final_weights("user/digits", Path("streamed"), "--streaming")
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "hf")} | hub
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("whole", "streamed"):
        assert_same_weights(load_file(tmp_path / name / "model.safetensors"), weights)
