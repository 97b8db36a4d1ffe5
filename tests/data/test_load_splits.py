# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Datasets are loaded as three splits, whatever form they are kept in."""

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from small_datasets import noise_png, write_parquet_folder
from small_media import sound_bytes

from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.preparation import drop_bad_examples, prepare_splits
from mixture_of_transformers.data.sources import load_splits


def assert_same_splits(loaded, expected):
    assert set(loaded) == set(expected)
    for name, split in expected.items():
        assert loaded[name].features == split.features
        assert loaded[name].data.table.to_pylist() == split.data.table.to_pylist()


def test_parquet_folder_round_trip(digits, tmp_path):
    assert_same_splits(load_splits(write_parquet_folder(digits, tmp_path / "digits")), digits)


def test_save_to_disk_round_trip(digits, tmp_path):
    digits.save_to_disk(tmp_path / "saved")
    assert_same_splits(load_splits(str(tmp_path / "saved")), digits)


def test_validation_is_cut_from_train_with_a_tenth_of_each_class(digits, tmp_path, caplog):
    folder = write_parquet_folder({"train": digits["train"]}, tmp_path / "train_only")
    splits = load_splits(folder)
    assert (len(splits["train"]), len(splits["validation"])) == (1167, 130)
    of_all, held_out = (np.bincount(part["label"][:]) for part in (digits["train"], splits["validation"]))
    assert np.abs(held_out - of_all / 10).max() < 1
    assert splits["test"] is splits["validation"] and "stands for it" in caplog.text
    assert load_splits(folder)["validation"]["label"][:] == splits["validation"]["label"][:]
    assert load_splits(folder, seed=1)["validation"]["label"][:] != splits["validation"]["label"][:]


def test_a_changed_folder_with_a_configs_card_is_read_anew(tmp_path):
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n---\n"
    for rows in (["a", "b"], ["c", "d", "e"]):
        folder = write_parquet_folder({"train": Dataset.from_dict({"text": rows})}, tmp_path / "carded")
        (tmp_path / "carded" / "README.md").write_text(card)
        splits = load_splits(folder)
        assert sorted([*splits["train"]["text"], *splits["validation"]["text"]]) == rows


def test_a_csv_file_of_paths_loads_and_reads_its_files(tmp_path):
    (tmp_path / "a.png").write_bytes(noise_png())
    (tmp_path / "a.wav").write_bytes(sound_bytes(np.zeros(800)))
    lines = ["caption,image,audio,label"] + [f"hello,{tmp_path}/a.png,{tmp_path}/a.wav,{i % 2}" for i in range(20)]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    splits = load_splits(str(tmp_path / "rows.csv"))
    splits, labels = prepare_splits(splits, ModalityColumns.guess(splits["train"].features))
    assert splits["train"].column_names == ["text", "image", "audio", "label"] and labels.names == ("0", "1")
    assert len(drop_bad_examples(splits["train"], "raise")) == 18


def test_no_train_split_is_an_error_that_names_the_splits(tmp_path):
    DatasetDict(test=Dataset.from_dict({"text": ["a"]})).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"no 'train' split; it has \['test'\]"):
        load_splits(str(tmp_path / "saved"))
