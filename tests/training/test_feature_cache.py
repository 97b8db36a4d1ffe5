# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Encoded rows on disk are found again, by what they were made from, and made anew where that or the file changed."""

import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import datasets
import pytest
import torch

from mixture_of_transformers import MoTConfig, MoTProcessor
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.finetune.batches import encode_split
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EncodedDataset
from mixture_of_transformers.training.feature_cache import cache_features, encoded_bytes


class CountedRows(EncodedDataset):
    """Writes down every row that it encodes, also in another process."""

    def __init__(self, *args, log, **kwargs):
        super().__init__(*args, **kwargs)
        self.log = log

    def encode_rows(self, rows):
        with open(self.log, "a") as log:
            log.write("x" * len(rows))
        return super().encode_rows(rows)


@pytest.fixture(scope="module")
def some_digits():
    """Twelve rows with a sentence, some of them without picture or sound."""
    train = load_digits_dataset()["train"]
    return train.select([i for i, text in enumerate(train["text"][:30]) if text is not None][:12])


@pytest.fixture
def cached(some_digits, tmp_path):
    """A function that caches digits with a processor; it returns the rows, how many were encoded, and their source."""

    def cache(processor, split=some_digits, num_proc=None, **options):
        (log := tmp_path / "log").write_text("")
        source = CountedRows(split, processor, log=log, **options)
        rows = cache_features(source, num_proc=num_proc, folder=str(tmp_path / "features"))
        return rows, len(log.read_text()), source

    return cache


def assert_same_rows(left, right):
    assert len(left) == len(right)
    for a, b in zip((left[i] for i in range(len(left))), (right[i] for i in range(len(right)))):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


def test_cached_rows_equal_encoded_ones_and_are_not_encoded_again(cached):
    rows, encoded, source = cached(MoTProcessor())
    assert encoded == len(source) == 12
    assert_same_rows(rows, source)
    batches = torch.utils.data.DataLoader(rows, batch_size=5, collate_fn=MoTCollator())
    for batch, start in zip(batches, (0, 5, 10)):
        expected = MoTCollator()([source[i] for i in range(start, min(start + 5, 12))])
        assert all(torch.equal(batch[name], expected[name]) for name in expected)
    again, encoded, _ = cached(MoTProcessor())
    assert encoded == 0
    assert_same_rows(again, rows)


@pytest.mark.parametrize("bytes_left", [0, 10, 0.5, -9], ids=["none", "ten", "half", "all but nine"])
def test_a_cache_of_features_that_was_cut_short_is_made_again(bytes_left, cached, tmp_path, caplog):
    source = cached(MoTProcessor())[2]
    (file,) = (tmp_path / "features").glob("*.arrow")
    content = file.read_bytes()
    file.unlink()  # in a file of its own, for the first one may still be mapped into memory
    file.write_bytes(content[: bytes_left if isinstance(bytes_left, int) else int(len(content) * bytes_left)])
    with caplog.at_level("WARNING"):
        rows, encoded, _ = cached(MoTProcessor())
    assert encoded == 12 and "is cut short or damaged: its rows are encoded again" in caplog.text
    assert_same_rows(rows, source)


def test_a_tokenizer_that_has_been_used_is_the_same_tokenizer(cached):
    processor = MoTProcessor()
    cached(processor, max_text_tokens=4)
    processor(text="one two three four five", text_kwargs={"truncation": True, "max_length": 3})
    assert cached(processor, max_text_tokens=4)[1] == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda p, split: (p.feature_extractor.__init__(mel_floor=1e-3), split)[1],
        lambda p, split: (setattr(p.image_processor, "image_mean", [0.1, 0.2, 0.3]), split)[1],
        lambda p, split: (p.tokenizer.add_tokens(["seven"]), split)[1],
        lambda p, split: split.select(range(11)),
        lambda p, split: split.remove_columns("audio"),
    ],
    ids=["mel", "image", "tokenizer", "rows", "columns"],
)
def test_another_processor_or_other_data_are_encoded_anew(change, cached, some_digits):
    cached(MoTProcessor())
    processor = MoTProcessor()
    split = change(processor, some_digits)
    rows, encoded, source = cached(processor, split)
    assert encoded == len(split)
    assert_same_rows(rows, source)


def test_other_limits_of_length_are_encoded_anew(cached):
    cached(MoTProcessor())
    for options in ({"max_audio_seconds": 0.2}, {"max_text_tokens": 4}):
        rows, encoded, source = cached(MoTProcessor(), **options)
        assert encoded == 12
        assert_same_rows(rows, source)


@pytest.mark.training
def test_processes_share_the_work_and_find_each_others_rows(cached):
    rows, encoded, source = cached(MoTProcessor(), num_proc=2)
    assert encoded == 12
    assert_same_rows(rows, source)
    assert cached(MoTProcessor(), num_proc=None)[1] == 0
    loader = torch.utils.data.DataLoader(rows, batch_size=4, num_workers=2, collate_fn=MoTCollator())
    assert torch.cat([batch["labels"] for batch in loader]).tolist() == [row["labels"] for row in rows]


def test_encoded_bytes_estimates_all_rows():
    rows = [{"text": "a " * (i % 5), "label": 0} for i in range(1, 101) if i % 5]
    dataset = EncodedDataset(rows, MoTProcessor())
    exact = sum(value.nbytes for i in range(len(dataset)) for value in dataset[i].values())
    assert encoded_bytes(dataset) == pytest.approx(exact, rel=0.2)
    assert encoded_bytes(dataset, samples=len(dataset)) == exact


# ---------------------------------------------------------------------------------------------------------------------
# Folders that cannot be written
# ---------------------------------------------------------------------------------------------------------------------


def exit_code_as_nobody(call) -> int:
    """That of a process of a user who may write nowhere here but into `/tmp`."""

    def child():
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        call()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture
def read_only(monkeypatch):
    """
    A folder that everybody may read, and a function after which nobody but root may write into it or what it holds.
    """
    folder = Path(tempfile.mkdtemp())

    def close():
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)

    yield folder, close
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_data_are_read_from_a_folder_that_cannot_be_written(read_only, monkeypatch):
    folder, close = read_only
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text("text,label\none,a\ntwo,b\n")
    close()

    def call():
        with tempfile.TemporaryDirectory() as cache:
            for name in ("HF_DATASETS_CACHE", "DOWNLOADED_DATASETS_PATH"):
                monkeypatch.setattr(datasets.config, name, Path(cache))
            assert load_splits(str(folder))["test"]["text"][:] == ["one", "two"]

    call()  # imports what may lie in a home that only its owner may read, such as a codec of Python's
    assert exit_code_as_nobody(call) == 0


def test_cached_features_are_read_from_a_folder_that_cannot_be_written(some_digits, read_only):
    folder, close = read_only
    cache_features(EncodedDataset(some_digits, MoTProcessor()), folder=str(folder / "features"))
    close()

    def call():
        rows = cache_features(EncodedDataset(some_digits, MoTProcessor()), folder=str(folder / "features"))
        assert len(rows) == len(some_digits) and "labels" in rows[0]

    assert exit_code_as_nobody(call) == 0


def test_features_that_cannot_be_kept_are_encoded_in_every_epoch(some_digits, read_only):
    folder, close = read_only
    close()

    def call():
        datasets.config.HF_DATASETS_CACHE = folder
        config, data = MoTConfig.of_size("tiny"), DataArguments(max_audio_seconds=30.0, max_text_tokens=128)
        rows = encode_split("train", some_digits, MoTProcessor(), config, data, 0)
        assert type(rows) is EncodedDataset and len(rows) == len(some_digits)

    assert exit_code_as_nobody(call) == 0
