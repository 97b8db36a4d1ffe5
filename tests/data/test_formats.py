# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""One small tri-modal dataset in every format: the same rows come out, whole or streamed, and the same loss."""

import csv
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Audio, ClassLabel, DatasetDict, Image
from safetensors.torch import load_file

from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.mmsa import without_padding
from mixture_of_transformers.data.preparation import drop_bad_examples, prepare_splits
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.decoding_mot import open_source
from mixture_of_transformers.run_finetune import main

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
ROWS = {"train": 60, "validation": 10, "test": 10}
FILES = {"image": "png", "audio": "wav"}


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
            add_file(archive, f"{key}.{suffix}", content)


def add_file(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
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
    return content_of(split, *FILES)


def content_of(split, *files: str) -> list[dict]:
    return [row | {column: read(row[column]) for column in files} for row in split]


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


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_the_json_of_a_webdataset_gives_a_column_for_each_of_its_fields(streaming, digits, tmp_path):
    (folder := tmp_path / "clips").mkdir()
    for name in ("train", "validation"):
        with tarfile.open(folder / f"{name}-0.tar", "w") as archive:
            for index, row in enumerate(undecoded(digits[name])):
                content = json.dumps({"caption": f"row {index}", "label": row["label"], "size": [28, 28]}).encode()
                add_file(archive, f"{index:04d}.json", content)
                if row["image"] is not None:
                    add_file(archive, f"{index:04d}.png", row["image"]["bytes"])
    splits, labels = prepared(str(folder), streaming=streaming)
    rows = content_of(splits["train"], "image")
    assert [(row["text"], row["label"]) for row in rows] == [
        (f"row {i}", digits["train"]["label"][i]) for i in range(60)
    ]
    assert [row["image"] for row in rows] == [
        row["image"] and row["image"]["bytes"] for row in undecoded(digits["train"])
    ]


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


# ---------------------------------------------------------------------------------------------------------------------
# The pickles of MMSA
# ---------------------------------------------------------------------------------------------------------------------


def mmsa_split(rows: int, rng: np.random.Generator) -> dict:
    """As in the unaligned file of CMU-MOSI, with features of random lengths, padded with zeros."""
    split = {"raw_text": [f"clip {i}" for i in range(rows)], "id": [f"video${i}" for i in range(rows)]}
    for name, size in (("text", 6), ("vision", 4), ("audio", 3)):
        padded = np.zeros((rows, 8, size), np.float32)
        lengths = rng.integers(2, 8, rows)
        for frames, length in zip(padded, lengths):
            frames[:length] = rng.normal(size=(length, size))
        split |= {name: padded, f"{name}_lengths": lengths.tolist()}
    split["text_bert"] = rng.normal(size=(rows, 3, 8)).astype(np.float32)
    split["annotations"] = np.array(["Negative", "Positive"] * (rows // 2))
    split["regression_labels"] = rng.uniform(-3, 3, rows).astype(np.float32)
    return split


@pytest.fixture(scope="module")
def mmsa() -> dict:
    rng = np.random.default_rng(0)
    return {name: mmsa_split(rows, rng) for name, rows in (("train", 20), ("valid", 4), ("test", 4))}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_pickle_of_mmsa_is_read_without_its_padding(protocol, mmsa, tmp_path):
    (tmp_path / "mosi.pkl").write_bytes(pickle.dumps(mmsa, protocol))
    splits, labels = prepared(str(tmp_path / "mosi.pkl"))
    assert labels.problem_type == "regression" and len(splits["validation"]) == 4
    for i, row in enumerate(splits["train"]):
        for role, name in (("text", "text"), ("image", "vision"), ("audio", "audio")):
            length = mmsa["train"][f"{name}_lengths"][i]
            assert np.array_equal(np.float32(row[role]), mmsa["train"][name][i][:length])
        assert np.float32(row["label"]) == mmsa["train"]["regression_labels"][i]


def test_padding_is_zero_frames_at_the_ends_unless_a_length_says_more():
    clip = np.float32([[0, 0], [1, 2], [0, 0], [-np.inf, 3], [0, 0], [0, 0]])
    assert without_padding(clip).tolist() == [[1, 2], [0, 0], [0, 3]]
    assert without_padding(clip, length=5).tolist() == [[0, 0], [1, 2], [0, 0], [0, 3], [0, 0]]
    assert without_padding(np.zeros((4, 2), np.float32), length=1) is None


def test_a_clip_that_is_all_padding_lacks_the_modality(mmsa, tmp_path):
    changed = {name: dict(columns) for name, columns in mmsa.items()}
    changed["train"]["vision"] = changed["train"]["vision"] * (np.arange(20) != 3)[:, None, None]
    (tmp_path / "mosi.pkl").write_bytes(pickle.dumps(changed))
    splits, _ = prepared(str(tmp_path / "mosi.pkl"))
    assert [row["image"] is None for row in splits["train"]] == [i == 3 for i in range(20)]


class Malicious:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_does_not(mmsa, tmp_path):
    content = {**mmsa, "extra": Malicious(tmp_path / "was_run")}
    (tmp_path / "mosi.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"asks for 'posix.mkdir'.*it was not called"):
        load_splits(str(tmp_path / "mosi.pkl"))
    assert not (tmp_path / "was_run").exists()
    pickle.loads((tmp_path / "mosi.pkl").read_bytes())  # noqa: S301 (which the test has written)
    assert (tmp_path / "was_run").exists()  # so it would have been


def test_a_pickle_of_another_layout_is_an_error(tmp_path):
    (tmp_path / "rows.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="does not have the layout of MMSA: a dictionary of splits"):
        load_splits(str(tmp_path / "rows.pkl"))


# ---------------------------------------------------------------------------------------------------------------------
# The command line
# ---------------------------------------------------------------------------------------------------------------------

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
@pytest.mark.parametrize("options", [[], ["--streaming", "--dataloader_num_workers", "1"]], ids=["whole", "streamed"])
def test_a_resumed_run_sees_the_data_that_it_would_have_seen(options, folders, weights, tmp_path):
    """It stops in the second epoch."""
    final_weights(folders["parquet"], tmp_path / "first", "--save_strategy", "steps", "--save_steps", "8", *options)
    options = [*options, "--resume_from_checkpoint", str(tmp_path / "first" / "checkpoint-8")]
    assert_same_weights(final_weights(folders["parquet"], tmp_path / "second", *options), weights)


def run_beside_hub(script: str, hub: dict[str, str], folder: Path) -> None:
    """In a process of its own, since the address of the Hub is read when its client is imported."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "hf")} | hub
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS), str(HERE), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.training
def test_folders_of_files_on_the_hub_give_the_same_rows(folders, hub, tmp_path):
    chosen = {name: folders[name] for name in ("imagefolder", "webdataset", "csv")}
    script = f"""
import conftest
from pathlib import Path
from huggingface_hub import HfApi
from test_formats import content, prepared
for name, folder in {chosen!r}.items():
    HfApi().create_repo(f"user/{{name}}", repo_type="dataset")
    HfApi().upload_folder(repo_id=f"user/{{name}}", folder_path=folder, repo_type="dataset")
    here, _ = prepared(folder)
    for streaming in (False, True):
        there, _ = prepared(f"user/{{name}}", streaming=streaming)
        for split in here:
            assert content(there[split]) == content(here[split]), (name, streaming, split)
Path("texts").mkdir()
for name in ("train", "validation"):
    Path("texts", name + ".csv").write_text("text,label\\n" + "null,None\\nNA,happy\\n" * 5)
HfApi().create_repo("user/texts", repo_type="dataset")
HfApi().upload_folder(repo_id="user/texts", folder_path="texts", repo_type="dataset")
for streaming in (False, True):
    there, labels = prepared("user/texts", streaming=streaming)
    assert labels.names == ("None", "happy"), labels
    assert [row["text"] for row in there["train"]] == ["null", "NA"] * 5
"""
    run_beside_hub(script, hub, tmp_path)


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
    run_beside_hub(script, hub, tmp_path)
    for name in ("whole", "streamed"):
        assert_same_weights(load_file(tmp_path / name / "model.safetensors"), weights)
