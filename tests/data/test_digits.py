# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The embedded dataset keeps what it promises."""

import hashlib
import inspect
import io
import re
import subprocess
import sys
import wave

import numpy as np
import pytest
from small_datasets import MODALITIES, TESTS

from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import DIGIT_NAMES, DIGITS_FEATURES, load_digits_dataset
from mixture_of_transformers.data.preparation import prepare_splits

KEYPAD = {"123": 697, "456": 770, "789": 852, "0": 941}, {"147": 1209, "2580": 1336, "369": 1477}


@pytest.fixture(scope="module")
def complete_digits():
    splits = load_digits_dataset(missing_rate=0)
    return prepare_splits(splits, ModalityColumns.guess(splits["train"].features))[0]


def test_another_seed_gives_other_rows(digits):
    other = load_digits_dataset(seed=1)
    assert all(not split.data.table.equals(other[name].data.table) for name, split in digits.items())


def test_splits_have_their_sizes_schema_and_share_of_each_digit(digits):
    assert {name: len(split) for name, split in digits.items()} == {"train": 1297, "validation": 200, "test": 300}
    for split in digits.values():
        assert split.features == DIGITS_FEATURES
        assert split.data.table.schema.equals(DIGITS_FEATURES.arrow_schema)
        counts = np.bincount(split["label"][:], minlength=10) / len(split)
        assert np.abs(counts - 0.1).max() < 0.01


def test_an_image_stands_in_one_split_only(complete_digits):
    images = [{row["image"]["bytes"] for row in split} for split in complete_digits.values()]
    assert sum(map(len, images)) == len(set.union(*images)) == 1797


def test_missing_rate_holds_for_training_rows_and_no_row_is_empty(prepared_digits):
    present = np.array([[row[name] is not None for name in MODALITIES] for row in prepared_digits["train"]])
    assert present.any(axis=1).all()
    assert (~present.all(axis=1)).sum() == round(0.3 * 1297)
    assert {tuple(row) for row in present.tolist()} >= {(False, True, True), (False, False, True), (True, False, True)}
    for name in ("validation", "test"):
        assert all(row[modality] is not None for row in prepared_digits[name] for modality in MODALITIES)


def test_missing_rate_changes_no_other_cell(prepared_digits, complete_digits):
    for row, whole in zip(prepared_digits["train"], complete_digits["train"]):
        assert row == {name: None if row[name] is None else cell for name, cell in whole.items()}
    with pytest.raises(ValueError, match="missing_rate.*1.5"):
        load_digits_dataset(missing_rate=1.5)


def test_sixty_percent_of_sentences_name_their_digit_and_the_others_no_digit(prepared_digits):
    for split in prepared_digits.values():
        named = []
        for row in split:
            if row["text"] is None:
                continue
            words = set(re.findall(r"\w+", row["text"].lower()))
            digits_named = {d for d, name in enumerate(DIGIT_NAMES) if name in words or str(d) in words}
            assert digits_named <= {row["label"]}
            named.append(bool(digits_named))
        assert 0.55 < np.mean(named) < 0.65


def test_the_clip_holds_the_two_tones_of_its_key(prepared_digits):
    clips = {digit: [] for digit in range(10)}
    for row in prepared_digits["test"]:
        with wave.open(io.BytesIO(row["audio"]["bytes"])) as file:
            assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (1, 16000, 2)
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(float)
        assert 0.3 * 16000 <= len(samples) <= 0.8 * 16000
        clips[row["label"]].append(samples)
    for digit, samples in clips.items():
        # Levels differ, so each clip's spectrum counts alike.
        spectra = [np.abs(np.fft.rfft(clip, 16000)) ** 2 for clip in samples]  # bin = Hz
        mean = np.mean([spectrum / spectrum.sum() for spectrum in spectra], axis=0)
        row_tone, column_tone = (next(hz for keys, hz in tones.items() if str(digit) in keys) for tones in KEYPAD)
        strongest = [max(tones.values(), key=lambda hz: mean[hz - 5 : hz + 6].sum()) for tones in KEYPAD]
        assert strongest == [row_tone, column_tone]
        assert mean[[row_tone, column_tone]].min() > 5 * np.median(mean)


def content_hash(splits):
    return hashlib.sha256(repr([split.data.table.to_pydict() for split in splits.values()]).encode()).hexdigest()


@pytest.mark.training
def test_another_process_without_torchcodec_gives_the_same_bits(digits):
    script = f"""
import hashlib, sys
import conftest  # the package under its name, installed or not
sys.modules["torchcodec"] = None  # every import of it fails
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import CLEAR_DB, load_digits_dataset
from mixture_of_transformers.data.preparation import drop_bad_examples, prepare_splits
{inspect.getsource(content_hash)}
splits = load_digits_dataset()
prepared, _ = prepare_splits(splits, ModalityColumns.guess(splits["train"].features))
print(content_hash(splits), len(drop_bad_examples(prepared["test"])), prepared["test"][0]["audio"]["bytes"][:4])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=TESTS)
    assert done.stdout.split() == [content_hash(digits), "300", "b'RIFF'"], done.stderr
