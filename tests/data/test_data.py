# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The data path: what the embedded dataset promises, and what becomes of other people's columns, labels and files."""

import hashlib
import inspect
import io
import json
import logging
import re
import subprocess
import sys
import wave
from itertools import islice
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Image, List, Value
from helpers import tiny_config
from PIL import Image as PILImage
from transformers import AutoTokenizer, DataCollatorForLanguageModeling, TrainerState

from mixture_of_transformers import MoTForRetrieval, MoTImageProcessor, MoTProcessor
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import DIGIT_NAMES, DIGITS_FEATURES, load_digits_dataset
from mixture_of_transformers.data.labels import LabelColumn, LabelSpec
from mixture_of_transformers.data.preparation import drop_bad_examples, prepare_split, prepare_splits
from mixture_of_transformers.data.sources import load_splits, with_features
from mixture_of_transformers.data.splits import cut_validation, draw_rows
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.decoding_mot import read_audio
from mixture_of_transformers.run_finetune import DataArguments, load_data, main
from mixture_of_transformers.search.commands import index as index_command
from mixture_of_transformers.search.index import Index
from mixture_of_transformers.serving.evaluate import read as read_held_out
from mixture_of_transformers.training.augmentation import AudioAugmentation, ImageAugmentation
from mixture_of_transformers.training.callbacks import EpochCallback
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EncodedDataset, StreamedDataset

TESTS = Path(__file__).resolve().parents[1]
MODALITIES = ("text", "image", "audio")
KEYPAD = {"123": 697, "456": 770, "789": 852, "0": 941}, {"147": 1209, "2580": 1336, "369": 1477}


@pytest.fixture(scope="module")
def digits():
    return load_digits_dataset()


@pytest.fixture(scope="module")
def prepared_digits(digits):
    return prepare_splits(digits, ModalityColumns.guess(digits["train"].features))[0]


@pytest.fixture(scope="module")
def complete_digits():
    splits = load_digits_dataset(missing_rate=0)
    return prepare_splits(splits, ModalityColumns.guess(splits["train"].features))[0]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets_cache"))


def png_bytes(level=128, size=(8, 6)):
    buffer = io.BytesIO()
    noise = np.random.default_rng(level).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    PILImage.fromarray(noise).save(buffer, format="PNG")
    return buffer.getvalue()


def wav_bytes(samples, rate=16000, subtype="PCM_16"):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(samples, dtype=np.float32), rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


def tri_modal_dataset(rows, label=None):
    """Rows of (text, image bytes, audio bytes) without the torchcodec that an Audio feature asks for."""
    columns = {"text": [], "image": [], "audio": []}
    for text, image, audio in rows:
        columns["text"].append(text)
        columns["image"].append(image and {"bytes": image, "path": None})
        columns["audio"].append(audio and {"bytes": audio, "path": None})
    features = Features({"text": Value("string"), "image": Image(decode=False), "audio": Audio(decode=False)})
    return Dataset(datasets.table.pa.Table.from_pydict(columns, schema=features.arrow_schema))


# ---- the embedded dataset ---------------------------------------------------------------------------------------


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
from mixture_of_transformers.data.preparation import *
{inspect.getsource(content_hash)}
splits = load_digits_dataset()
prepared, _ = prepare_splits(splits, ModalityColumns.guess(splits["train"].features))
print(content_hash(splits), len(drop_bad_examples(prepared["test"])), prepared["test"][0]["audio"]["bytes"][:4])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=TESTS)
    assert done.stdout.split() == [content_hash(digits), "300", "b'RIFF'"], done.stderr


# ---- any dataset ------------------------------------------------------------------------------------------------


def write_parquet_folder(splits, folder):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, split in splits.items():
        split.to_parquet(str(folder / "data" / f"{name}-00000-of-00001.parquet"))
    return str(folder)


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
    (tmp_path / "a.png").write_bytes(png_bytes())
    (tmp_path / "a.wav").write_bytes(wav_bytes(np.zeros(800)))
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


# ---- which column holds what ------------------------------------------------------------------------------------

VECTORS = List(List(Value("float32")))
CLASSES = ClassLabel(names=["no", "yes"])


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (DIGITS_FEATURES, {"text": "text", "image": "image", "audio": "audio", "label": "label"}),
        (
            {"id": Value("string"), "photo": Image(), "noise": Audio(), "speaker": Value("string"), "sort": CLASSES},
            {"image": "photo", "audio": "noise", "label": "sort"},
        ),
        ({"question_id": Value("string"), "review": Value("string")}, {"text": "review"}),
        ({"speech": Value("string"), "speaker": Value("string")}, {"text": "speech", "audio": None}),
        ({"sentence": Value("string"), "notes": Value("string")}, {"text": "sentence"}),
        ({"film": datasets.Video(), "targets": List(Value("string"))}, {"video": "film", "label": "targets"}),
        ({"audio": Image(), "score": Value("float32")}, {"image": None, "audio": "audio"}),
        (
            {"png": Image(), "wav": Value("binary"), "txt": Value("string"), "cls": Value("int64")},
            {"text": "txt", "image": "png", "audio": "wav", "label": "cls"},
        ),
        (
            {"jpg": Image(), "flac": Audio(), "mp4": datasets.Video()},
            {"image": "jpg", "audio": "flac", "video": "mp4"},
        ),
        ({"image": Audio(), "audio": Audio(), "score": Value("float32")}, {"image": "image", "audio": "audio"}),
        ({"image_features": VECTORS, "audio": datasets.Array2D((None, 8), "float32")}, {"image": "image_features"}),
        ({"text": Value("string"), "label": Value("string")}, {"text": "text", "label": "label"}),
    ],
)
def test_columns_are_guessed_by_name_then_type(features, expected):
    guessed = ModalityColumns.guess(Features(features))
    assert {role: getattr(guessed, role) for role in expected} == expected


def test_the_chosen_columns_are_named_with_their_types():
    features = Features({"transcript": Value("string"), "png": Image(), "mood": CLASSES, "clip": VECTORS})
    assert ModalityColumns("transcript", "png", "clip", label="mood").lines(features) == [
        "text: column 'transcript' (string)",
        "image: column 'png' (Image)",
        "audio: column 'clip' (list of list of float32)",
        "video: no column",
        "label: column 'mood' (ClassLabel)",
    ]


def test_named_columns_win_and_none_leaves_a_modality_out():
    features = Features({"title": Value("string"), "text": Value("string"), "image": Image(), "label": CLASSES})
    assert ModalityColumns.guess(features, text="title", image="none", label="none") == ModalityColumns(text="title")
    assert ModalityColumns.guess(features).modalities == ("text", "image")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"text": "caption"}, r"no column 'caption' to take the text from.*'title' \(string\)"),
        ({"image": "label"}, r"'label' \(ClassLabel\) cannot be the image"),
        ({"label": "photo"}, r"'photo' \(Image\) cannot be the label"),
        ({"text": "title", "label": "title"}, "named both as text and as label"),
        ({}, r"Several columns could be the text: \['title', 'body'\]"),
        ({"text": "none", "image": "none"}, "No column of text, image, audio or video"),
    ],
)
def test_a_wrong_or_ambiguous_column_is_an_error_that_names_the_columns(named, message):
    features = Features({"title": Value("string"), "body": Value("string"), "photo": Image(), "label": CLASSES})
    with pytest.raises(ValueError, match=message):
        ModalityColumns.guess(features, **named)


@pytest.mark.parametrize(
    "name",
    [
        "label",
        "Class",
        "emotion_label",
        "target_text",
        "categoryName",
        "sentiment",
        "json.category",
        "gold",
        "id",
        "clip_id",
        "videoId",
        "image_name",
        "speaker",
        "split",
        "fold",
        "mode",
        "set",
        "Dialogue_ID",
    ],
)
def test_a_column_named_like_a_label_an_id_or_a_split_is_no_input_unless_it_is_named(name):
    features = Features({"photo": Image(), name: Value("string"), "age": Value("int64")})
    assert ModalityColumns.guess(features).modalities == ("image",)
    assert ModalityColumns.guess(features, label="none").text is None
    assert ModalityColumns.guess(features, text=name).text == name


def test_a_picture_named_like_a_label_is_no_input():
    assert ModalityColumns.guess(Features({"photo": Image(), "target": Image()})).image == "photo"


def test_known_names_match_in_any_case():
    features = Features({"Utterance": Value("string"), "JPG": Image(), "Remark": Value("string"), "LABEL": CLASSES})
    assert ModalityColumns.guess(features) == ModalityColumns("Utterance", "JPG", label="LABEL")


def as_streams_too(split):
    return split, split.to_iterable_dataset()


def of_classes(**columns):
    """30 rows of three classes with other columns: a list or, for a class each, a tuple."""
    columns = {
        name: [values[i % 3] if isinstance(values, tuple) else values[i] for i in range(30)]
        for name, values in columns.items()
    }
    return Dataset.from_dict({"label": [i % 3 for i in range(30)], "voice": ["a.wav"] * 30} | columns)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (("glad", "sad", "sad"), "one value for each class of 'label'"),
        (
            ("It is a cat that I see here", "It is a dog that I see here", "a bird"),
            "one value for each class of 'label'",
        ),
        (["en"] * 30, "the same in every row"),
        (["north", "south"] * 15, "2 values in 30 rows, as classes have"),
    ],
)
def test_strings_that_repeat_as_classes_do_are_no_text(values, reason):
    for rows in as_streams_too(of_classes(remark=values)):
        columns = ModalityColumns.guess(rows.features, rows=rows)
        assert columns.text is None and columns.left_out["remark"] == reason
        assert ModalityColumns.guess(rows.features, rows=rows, text="remark").text == "remark"


MOODS = ("glad", "sad", "angry")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([f"folder_{MOODS[i % 3]}_{i}" for i in range(30)], "single words"),
        ([f"It is {MOODS[i % 3].title()}, take {i}" for i in range(30)], "names the class of 'label'"),
        ([f"2024-01-{i + 1:02} 10:00:{i:02}" for i in range(30)], "numbers or dates"),
        ([f"{i + 1} March 2024" for i in range(30)], "numbers or dates"),
        ([f"person{i}@example.org" for i in range(30)], "single words"),
        ([f"{i} 3 {i + 5} 7" for i in range(30)], "numbers or dates"),
    ],
)
@pytest.mark.parametrize("is_typed", [True, False])
def test_strings_that_name_the_class_or_record_the_row_are_no_text(values, reason, is_typed):
    split = of_classes(label=MOODS, remark=values)
    for rows in as_streams_too(split.class_encode_column("label") if is_typed else split):
        columns = ModalityColumns.guess(rows.features, rows=rows)
        assert columns.text is None and columns.left_out["remark"].startswith(reason)
        assert columns.left_out["remark"].endswith("--text_column remark would take it")
        assert ModalityColumns.guess(rows.features, rows=rows, text="remark").text == "remark"


@pytest.mark.parametrize(
    "values",
    [
        [f"猫が{i}匹います" for i in range(30)],
        [f"{MOODS[i % 3]} or {MOODS[(i + 1) % 3]}, take {i}" for i in range(30)],
        [f"{MOODS[i % 3] if i % 5 < 3 else 'hard'} to say, take {i}" for i in range(30)],
        [f"March {'on' if i % 2 else 'off'} {i}" for i in range(30)],
    ],
)
def test_texts_without_spaces_or_that_name_some_classes_are_taken(values):
    rows = of_classes(label=MOODS, remark=values)
    assert ModalityColumns.guess(rows.features, rows=rows).text == "remark"


def test_real_texts_of_any_name_are_taken_short_and_repeated_as_they_may_be(digits):
    for rows in as_streams_too(digits["train"].rename_column("text", "remark")):
        assert ModalityColumns.guess(rows.features, rows=rows).text == "remark"
    rows = of_classes(remark=[f"take number {i % 12}" for i in range(30)])
    assert ModalityColumns.guess(rows.features, rows=rows).text == "remark"


def test_a_known_text_that_gives_the_class_away_is_taken_with_a_warning(caplog):
    rows = of_classes(caption=("a cat", "a dog", "a bird"))
    assert ModalityColumns.guess(rows.features, rows=rows).text == "caption"
    assert "Column 'caption' has one value for each class of 'label'" in caplog.text


def test_a_named_column_is_taken_in_another_case_where_one_has_it_so():
    kinds = {"Kommentar": Value("string"), "Stimmung": CLASSES, "Titel": Value("string"), "TITEL": Value("string")}
    named = {"text": "kommentar", "label": "STIMMUNG"}
    columns = ModalityColumns.guess(Features(kinds), **named)
    assert (columns.text, columns.label) == ("Kommentar", "Stimmung")
    assert ModalityColumns.guess(Features(kinds), **(named | {"text": "TITEL"})).text == "TITEL"
    with pytest.raises(ValueError, match="There is no column 'titel'"):
        ModalityColumns.guess(Features(kinds), **(named | {"text": "titel"}))


def test_a_cut_finds_its_label_in_another_case():
    split = Dataset.from_dict({"Mood": ["a"] * 80 + ["b"] * 20})
    cuts = [cut_validation(split, seed, "mood")[1]["Mood"] for seed in range(5)]
    assert all(list(cut).count("b") == 2 for cut in cuts)


@pytest.mark.parametrize("task", ["pretraining", "retrieval"])
def test_pretraining_and_retrieval_read_no_label(task, tmp_path):
    rows = [{"picture": "a.png", "sound": "a.wav", "mood": ["glad", "sad", "angry"][i % 3]} for i in range(30)]
    (tmp_path / "a.png").write_bytes(GOOD_IMAGE), (tmp_path / "a.wav").write_bytes(GOOD_AUDIO)
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    splits, _ = load_data(DataArguments(task=task, dataset_name=str(tmp_path)), 0)
    assert set(splits["train"].column_names) == {"image", "audio"}


def test_every_column_is_listed_with_what_becomes_of_it():
    kinds = {
        "photo": Image(),
        "emotion": CLASSES,
        "label": CLASSES,
        "clip_id": Value("string"),
        "mode": Value("string"),
        "text": Value("string"),
        "notes": Value("string"),
        "seconds": Value("float32"),
        "pages": List(Image()),
        "vector": List(Value("float32")),
        "img": Image(),
    }
    columns = ModalityColumns.guess(Features(kinds))
    assert set(columns.left_out) == set(kinds) - {"img", "label", "text"}
    assert columns.lines(Features(kinds))[5:] == [
        "left out: column 'photo' (Image), the image is column 'img'",
        "left out: column 'emotion' (ClassLabel), named like a label: --label_column emotion would learn it",
        "left out: column 'clip_id' (string), named like an id, a path or another record of the row",
        "left out: column 'mode' (string), named like a split",
        "left out: column 'notes' (string), the text is column 'text'",
        "left out: column 'seconds' (float32), a type that is no input",
        "left out: column 'pages' (list of Image), several files in each row: give each a column of its own, or store them "
        "as a video",
        "left out: column 'vector' (list of float32), --text_column, --image_column or --audio_column would take it as ready "
        "features",
    ]


def test_an_error_that_finds_no_input_gives_the_reason_of_each_column():
    with pytest.raises(ValueError, match=r"(?s)No column of text.*'clip_id' \(string\), named like an id"):
        ModalityColumns.guess(Features({"clip_id": Value("string"), "label": CLASSES}))


def test_paths_of_files_are_the_medium_that_their_suffixes_say():
    paths = {
        "image_path": ["a.PNG", None, "b.jpg"],
        "file": ["a.wav", "b.flac", "c.txt"],
        "url": ["http://x/a.mp4?s=1"] * 3,
    }
    for rows in as_streams_too(Dataset.from_dict(paths)):
        columns = ModalityColumns.guess(rows.features, rows=rows)
        assert columns == ModalityColumns(image="image_path", audio="file", video="url")
    masks = Dataset.from_dict(paths | {"mask": ["a.png"] * 3})
    assert ModalityColumns.guess(masks.features, rows=masks).image == "image_path"
    with pytest.raises(ValueError, match=r"Several columns could be the image: \['left', 'right'\]"):
        both = Dataset.from_dict({"left": ["a.png"], "right": ["b.png"]})
        ModalityColumns.guess(both.features, rows=both)


def test_samples_with_their_rate_are_sound_and_an_embedding_is_a_sequence_of_one():
    samples = np.random.default_rng(0).uniform(-1, 1, 800).astype(np.float32)
    rows = [
        {"speech": {"array": samples, "sampling_rate": 8000}, "clip_image_embedding": [0.5, 1.5], "label": 0},
        {"speech": None, "clip_image_embedding": [2.5, 3.5], "label": 1},
    ]
    for split in as_streams_too(Dataset.from_list(rows)):
        columns = ModalityColumns.guess(split.features, rows=split)
        assert columns == ModalityColumns(image="clip_image_embedding", audio="speech", label="label")
        prepared, _ = prepare_split(split, columns)
        first, second = drop_bad_examples(prepared)
        read, rate = read_audio(first["audio"], "audio")
        assert rate == 8000 and np.array_equal(read, samples) and second["audio"] is None
        assert first["image"] == [[0.5, 1.5]] and second["image"] == [[2.5, 3.5]]


def test_a_blank_path_is_a_modality_that_the_row_lacks(tmp_path):
    (tmp_path / "a.png").write_bytes(GOOD_IMAGE)
    path = str(tmp_path / "a.png")
    for split in as_streams_too(Dataset.from_dict({"text": ["a", "b"], "image": [path, " "]})):
        prepared, _ = prepare_split(split, ModalityColumns.guess(split.features))
        assert [row["image"] for row in prepared] == [{"bytes": None, "path": path}, None]


# ---- one form for every dataset ---------------------------------------------------------------------------------


def prepare_labels(train, test=None, kind=None, **options):
    features = Features({"text": Value("string"), "target": kind}) if kind else None
    splits = DatasetDict(
        {
            name: Dataset.from_dict({"text": ["x"] * len(values), "target": values}, features=features)
            for name, values in (("test", test if test is not None else train), ("train", train))
        }
    )
    prepared, labels = prepare_splits(splits, ModalityColumns("text", label="target"), **options)
    assert (
        prepared["train"].column_names == ["text", "label"] and prepared["train"].features["label"] == labels.feature
    )
    return labels, prepared["train"]["label"][:], prepared["test"]["label"][:]


@pytest.mark.parametrize(
    ("values", "kind", "names", "ids"),
    [
        ([1, 0, 1], CLASSES, ("no", "yes"), [1, 0, 1]),
        (["dog", "cat", "dog"], None, ("cat", "dog"), [1, 0, 1]),
        ([9, 10, 9], None, ("9", "10"), [0, 1, 0]),
        ([True, False], None, ("False", "True"), [1, 0]),
    ],
)
def test_classes_become_ids(values, kind, names, ids):
    labels, train, _ = prepare_labels(values, kind=kind)
    assert labels == LabelSpec("single_label_classification", names)
    assert labels.id2label == dict(enumerate(names)) and labels.num_labels == len(names)
    assert train == ids


@pytest.mark.parametrize(
    ("values", "kind"),
    [([["b", "a"], [], ["b"]], List(Value("string"))), ([[1, 0], [], [1]], List(ClassLabel(names=["a", "b"])))],
)
def test_lists_of_classes_become_multi_hot(values, kind):
    labels, train, _ = prepare_labels(values, kind=kind)
    assert labels == LabelSpec("multi_label_classification", ("a", "b"))
    assert train == [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]


GAP = float("nan")
ARRAYS = {
    "integers": [[1, 0, 1], [0, 0, 0], [0, 1, 0]],
    "booleans": [[True, False, True], [False] * 3, [False, True, False]],
    "floats": [[1.0, 0.0, 1.0], [0.0] * 3, [0.0, 1.0, 0.0]],
}


def encoded_whole_and_streamed(values, **options):
    """The labels and the encoded rows, the same for a split that is kept and one that is streamed."""
    split = Dataset.from_dict({"text": ["x"] * len(values), "target": values})
    columns = ModalityColumns("text", label="target")
    whole, labels = prepare_split(split, columns, **options)
    stream, of_stream = prepare_split(split.to_iterable_dataset(), columns, **options)
    assert of_stream == labels
    assert [row["label"] for row in stream] == whole["label"][:]
    return labels, whole["label"][:]


@pytest.mark.parametrize("kind", ARRAYS)
def test_vectors_of_zeros_and_ones_are_multi_hot_of_any_type(kind):
    labels, encoded = encoded_whole_and_streamed([*ARRAYS[kind], None])
    assert labels == LabelSpec("multi_label_classification", ("0", "1", "2"), multi_hot=True)
    assert encoded == [[float(member) for member in vector] for vector in ARRAYS["integers"]] + [None]


def test_lists_of_whole_numbers_that_are_no_vectors_are_classes():
    labels, encoded = encoded_whole_and_streamed([[0, 1], [1], []])
    assert labels.names == ("0", "1") and encoded == [[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize("values", [[[0.3, 0.7], [1.0, 0.0]], [[0, 0, 2], [0, 1, 0]], [[True, False], [True]]])
def test_vectors_of_anything_else_are_an_error_that_names_the_row(values):
    with pytest.raises(
        ValueError, match="of row 0 of split 'train', column 'target', is neither a vector of zeros and ones"
    ):
        encoded_whole_and_streamed(values)


def test_a_vector_of_another_length_in_another_split_is_an_error_that_names_it():
    with pytest.raises(
        ValueError, match=r"Label \[1, 0\] of row 1 of split 'test', column 'target', is not a vector of 3 zeros"
    ):
        prepare_labels(ARRAYS["integers"], [[1, 0, 0], [1, 0]])


@pytest.mark.parametrize(
    ("values", "expected", "encoded"),
    [
        ([[3], [5], [3]], LabelSpec("single_label_classification", ("3", "5")), [0, 1, 0]),
        ([[True], [False], [True]], LabelSpec("single_label_classification", ("False", "True")), [1, 0, 1]),
    ],
)
def test_labels_of_shape_n_1_are_labels(values, expected, encoded):
    assert encoded_whole_and_streamed(values) == (expected, encoded)


def test_scores_of_shape_n_1_are_scores():
    labels, encoded = encoded_whole_and_streamed([[0.5], [2.0], [1.25]])
    assert labels.problem_type == "regression" and encoded == [0.5, 2.0, 1.25]


def test_whole_numbers_that_a_gap_turned_into_floats_are_classes(caplog):
    labels, encoded = encoded_whole_and_streamed([10.0, 9.0, GAP, 10.0])
    assert labels == LabelSpec("single_label_classification", ("9", "10")) and encoded == [1, 0, None, 1]
    assert "Column 'target' holds whole numbers" in caplog.text and "--task regression" in caplog.text


def test_a_gap_in_any_split_or_a_task_says_what_whole_floats_are():
    assert prepare_labels([1.0, 2.0], [1.0, GAP])[0].names == ("1", "2")
    assert prepare_labels([1, 2], [2.0, GAP])[2] == [1, None]
    assert prepare_labels([1.0, 2.0])[0].problem_type == "regression"
    assert prepare_labels([1.0, GAP, 2.0], problem_type="regression")[0].problem_type == "regression"
    assert prepare_labels([1.0, 2.0], problem_type="classification")[0].names == ("1", "2")
    with pytest.raises(ValueError, match="Label 0.5 of row 1 of split 'train', column 'target', .*--task regression"):
        prepare_labels([1.0, 0.5], problem_type="classification")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "a"], r"column 'label' of split 'train' mixes kinds of labels: 1 \(int, row 0\) and 'a' \(str, row 1\)"),
        ([1, "1"], "column 'label' of split 'train' mixes kinds of labels: numbers and text, such as 1 and '1'"),
        (["a", "1", "1.0"], "column 'label' of split 'train' mixes '1' and '1.0', which are one number"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_mixed_kinds_of_labels_are_an_error_that_says_what_is_mixed(values, message, streaming, tmp_path):
    lines = [json.dumps({"text": "x", "label": value}) + "\n" for value in values * 3]
    (tmp_path / "train.jsonl").write_text("".join(lines))
    split = datasets.load_dataset("json", data_files=str(tmp_path / "train.jsonl"), split="train", streaming=streaming)
    with pytest.raises(ValueError, match=f"(?i){message}"):
        prepare_split(with_features(split) if streaming else split, ModalityColumns.guess(split.features))


@pytest.mark.parametrize(
    ("train", "test", "kind"),
    [
        (["a", "b"], ["b", "c"], None),
        ([0, 1], [1, 2], ClassLabel(names=["a", "b", "c"])),
        ([["a"], ["b"]], [["b"], ["a", "c"]], List(ClassLabel(names=["a", "b", "c"]))),
    ],
)
def test_a_class_that_only_the_test_split_has_is_an_error_with_advice_however_it_is_typed(train, test, kind):
    if isinstance(kind, List):
        train, test = ([[kind.feature.str2int(name) for name in row] for row in rows] for rows in (train, test))
    with pytest.raises(
        ValueError, match="(?s)Label 'c' of row 1 of split 'test', column 'target', .*--test_split none"
    ):
        prepare_labels(train, test, kind)


@pytest.mark.parametrize(
    ("train", "unlabelled", "kind"),
    [
        ([0, 1], [-1, -1], CLASSES),
        ([0, 1], [-1, -1], Value("int64")),
        (["a", "b"], [None, " "], Value("string")),
        ([0.5, 1.5], [GAP, None], Value("float32")),
        (["a", "b"], None, Value("string")),
    ],
)
def test_a_test_split_without_labels_is_kept_without_them(train, unlabelled, kind, caplog):
    kinds = Features({"text": Value("string"), "target": kind})
    splits = DatasetDict(train=Dataset.from_dict({"text": ["x", "y"], "target": train}, features=kinds))
    splits["test"] = Dataset.from_dict({"text": ["z", "w"]})
    if unlabelled is not None:
        splits["test"] = Dataset.from_dict({"text": ["z", "w"], "target": unlabelled}, features=kinds)
    prepared, labels = prepare_splits(splits, ModalityColumns("text", label="target"))
    assert prepared["test"].column_names == ["text"] and prepared["train"].features["label"] == labels.feature
    assert "Split 'test' has no labels in column 'target'" in caplog.text
    with pytest.raises(ValueError, match="'validation'"):
        prepare_splits(
            DatasetDict(train=splits["train"], validation=splits["test"]), ModalityColumns("text", label="target")
        )


def test_an_id_beyond_the_names_of_a_class_label_is_an_error_that_names_the_row():
    with pytest.raises(
        ValueError, match="Label 7 of row 1 of split 'test', column 'label', is not the id of one of the 2"
    ):
        column = LabelColumn("label", CLASSES, "test")
        [column.read(row, cell) for row, cell in enumerate([0, 7])]


def test_floats_are_regression_and_whole_numbers_are_on_request():
    labels, train, _ = prepare_labels([0.5, 2.0])
    assert labels == LabelSpec("regression", mean=1.25, std=0.75) and labels.num_labels == 1 and train == [0.5, 2.0]
    labels, train, _ = prepare_labels([1, 5], problem_type="regression")
    assert labels.problem_type == "regression" and train == [1.0, 5.0]


def test_ids_follow_the_names_of_train_in_every_split():
    train = Dataset.from_dict({"text": ["x", "y"], "label": [0, 1]}).cast_column("label", CLASSES)
    test = Dataset.from_dict({"text": ["x"], "label": [0]}).cast_column("label", ClassLabel(names=["yes", "no"]))
    prepared, _ = prepare_splits(DatasetDict(test=test, train=train), ModalityColumns("text", label="label"))
    assert prepared["test"]["label"][:] == [1]


@pytest.mark.parametrize(
    ("train", "test", "kind", "message"),
    [
        (
            ["a", "b"],
            ["a", "c"],
            None,
            "Label 'c' of row 1 of split 'test', column 'target', is not among the 2 classes.*: a, b",
        ),
        ([["a", "b"]], [["a"], ["d"]], None, "Label 'd' of row 1 of split 'test'"),
        ([-1, -1], [0, 1], CLASSES, "No row of split 'train' has a label"),
        (["a", "a"], ["a"], None, "two classes or more"),
    ],
)
def test_an_unknown_label_or_a_split_without_any_is_an_error_that_names_it(train, test, kind, message):
    with pytest.raises(ValueError, match=message):
        prepare_labels(train, test, kind)


@pytest.mark.parametrize(
    ("values", "kind", "prepared"),
    [
        (["b", None, "a"], None, [1, None, 0]),
        (["b", "  ", "a"], None, [1, None, 0]),
        ([0.5, float("nan"), 1.5], None, [0.5, None, 1.5]),
        ([1, -1, 0], CLASSES, [1, None, 0]),
        ([["a"], None, ["b"]], None, [[1.0, 0.0], None, [0.0, 1.0]]),
    ],
)
def test_missing_labels_are_counted_and_left_empty(values, kind, prepared, caplog):
    assert prepare_labels(values, values, kind)[1] == prepared
    assert "1 of 3 rows of 'train' have no label and do not count (rows 1)." in caplog.text


def test_preparing_renames_even_where_names_change_places():
    swapped = Dataset.from_dict({"label": ["prose", "more"], "text": ["a", "b"], "other": [1, 2]})
    prepared, labels = prepare_split(swapped, ModalityColumns(text="label", label="text"))
    assert prepared[0] == {"text": "prose", "label": 0} and labels.names == ("a", "b")


@pytest.mark.parametrize("other", [" pos", "pos\t", "pos\u200b", "\ufeffpos"])
@pytest.mark.parametrize("is_typed", [True, False])
def test_classes_that_differ_only_invisibly_are_one(other, is_typed):
    names = ["pos", other, "neg"]
    values, kind = ([0, 1, 2], ClassLabel(names=names)) if is_typed else (names, None)
    labels, train, _ = prepare_labels(values, kind=kind)
    assert set(labels.names) == {"pos", "neg"}
    assert train[0] == train[1] == labels.label2id["pos"] and train[2] == labels.label2id["neg"]
    assert prepare_labels(["caf\u00e9", "cafe\u0301", "b c", "b\u00a0c"])[0].names == ("b c", "caf\u00e9")


def test_labels_of_a_checkpoint_are_found_by_the_names_it_has():
    split = Dataset.from_dict({"text": ["a", "b"], "label": [" pos", "neg"]})
    known = LabelSpec("single_label_classification", (" pos", "neg"))
    assert prepare_split(split, ModalityColumns("text", label="label"), known)[0]["label"][:] == [0, 1]


def test_classes_that_differ_only_by_case_are_named(caplog):
    assert prepare_labels(["no", "No", "yes"])[0].num_labels == 3
    assert "Classes of column 'target' differ only by case: ['No', 'no']" in caplog.text


@pytest.mark.parametrize("odd", ["-", "?"])
def test_a_word_among_numbers_is_an_error_that_names_its_row(odd):
    values = [str(i / 2) for i in range(19)]
    message = re.escape(f"Label '{odd}' of row 3 of split 'train', column 'target', is no number, as 19 of 20")
    mixed = [*values[:3], odd, *values[3:]]
    with pytest.raises(ValueError, match=message):
        prepare_labels(mixed)
    assert prepare_labels(mixed, problem_type="classification")[0].num_labels == 20


def test_scores_beyond_float32_are_missing_and_named(caplog):
    labels, train, _ = prepare_labels([0.5, 1e39, 1.5, float("-inf")])
    assert train == [0.5, None, 1.5, None] and (labels.mean, labels.std) == (1.0, 0.5)
    assert "2 of these are infinite or beyond float32, such as 1e+39 in row 1" in caplog.text


def test_the_text_of_a_list_is_one_class_with_a_warning(caplog):
    assert prepare_labels(["c", "['a','b']"])[0].names == ("['a','b']", "c")
    assert "row 1 of split 'train', column 'target', is the text of a list" in caplog.text


@pytest.mark.parametrize("kind", [str, int])
def test_labels_that_hardly_repeat_are_an_error_that_says_so(kind, tmp_path):
    rows = [{"text": f"row {i}", "label": kind(i)} for i in range(20)]
    with pytest.raises(ValueError, match="Most training rows have a label that no other has.*--label_column"):
        load_data(DataArguments(dataset_name=write_rows(tmp_path / "train.jsonl", rows)), 0)


def test_ready_features_pass_as_they_are():
    split = Dataset.from_dict({"image_features": [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]], "text": ["a", "b"]})
    prepared, labels = prepare_split(split, ModalityColumns.guess(split.features))
    assert labels is None and prepared["image"][:] == split["image_features"][:]


# ---- parts of a split -------------------------------------------------------------------------------------------


def share(rows, of_class):
    return sum(of_class in label if isinstance(label, list) else label == of_class for label in rows["label"][:])


COMMON_AND_RARE = {
    "strings": (["a"] * 80 + ["b"] * 20, "b"),
    "whole numbers": ([10] * 80 + [9] * 20, 9),
    "booleans": ([True] * 80 + [False] * 20, False),
    "floats": ([1.0] * 80 + [2.0] * 20, 2.0),
    "classes": (Dataset.from_dict({"label": ["a"] * 80 + ["b"] * 20}).class_encode_column("label")["label"][:], 1),
    "lists": ([["a"]] * 60 + [["a", "b"]] * 20 + [["c"]] * 20, "b"),
    "labels that are missing": (["a"] * 70 + [None] * 10 + ["b"] * 20, "b"),
}


@pytest.mark.parametrize("kind", COMMON_AND_RARE)
def test_a_cut_and_a_draw_keep_the_share_of_each_class_for_labels_of_every_type(kind):
    values, rare = COMMON_AND_RARE[kind]
    split = Dataset.from_dict({"label": values})
    for seed in range(5):
        train, validation = cut_validation(split, seed, "label")
        assert (len(train), len(validation)) == (90, 10) and share(validation, rare) == 2
        assert share(draw_rows(split, 50, seed), rare) == 10
    assert (
        len({tuple(cut_validation(split.add_column("row", range(100)), seed, "label")[1]["row"]) for seed in range(5)})
        > 1
    )


def test_vectors_of_zeros_and_ones_keep_the_share_of_each_class():
    vectors = [[1, 0, 0]] * 50 + [[0, 1, 1]] * 30 + [[0, 0, 1]] * 20
    _, validation = cut_validation(Dataset.from_dict({"label": vectors}), 0, "label")
    assert np.sum(validation["label"][:], axis=0).tolist() == [5, 3, 5]


def test_scores_are_cut_and_drawn_by_quantile():
    scores = np.random.default_rng(0).exponential(size=200)
    split = Dataset.from_dict({"label": scores})
    tenths = np.quantile(scores, np.linspace(0.1, 0.9, 9))
    for part in (cut_validation(split, 1, "label")[1], draw_rows(split, 40, 1)):
        counts = np.bincount(np.searchsorted(tenths, part["label"][:]), minlength=10)
        assert counts.tolist() == [len(part) // 10] * 10


@pytest.mark.parametrize("number", (2, 5, 12))
def test_a_few_scores_are_cut_too(number):
    train, validation = cut_validation(Dataset.from_dict({"label": np.arange(number) / 7}), 0, "label")
    assert len(validation) == -(-number // 10) and len(train) == number - len(validation)


@pytest.mark.parametrize("seed", range(5))
def test_the_last_row_of_a_class_stays_in_the_training_split(seed):
    rare = [f"rare {i}" for i in range(12)]
    split = Dataset.from_dict({"label": rare + ["a"] * 10 + ["b", "b"] + [None] * 6})
    train, validation = cut_validation(split, seed, "label")
    assert set(rare) < set(train["label"]) and set(validation["label"]) <= {"a", "b", None}
    assert len(draw_rows(split, 20, seed)) == 20


def test_labels_that_no_two_rows_share_are_no_classes():
    train, validation = cut_validation(Dataset.from_dict({"label": [f"row {i}" for i in range(20)]}), 0, "label")
    assert (len(train), len(validation)) == (18, 2)


def test_a_split_that_can_spare_no_row_is_an_error_that_says_what_to_give():
    with pytest.raises(ValueError, match="of 1 rows, of which none can be spared: give one.*--validation_split"):
        cut_validation(Dataset.from_dict({"label": ["a"]}), 0, "label")


@pytest.mark.parametrize(("number", "message"), [(0, "is 0, expected a number of rows from 1"), (6, "has 5 rows")])
def test_a_draw_of_rows_that_are_not_there_is_an_error_of_our_own(number, message):
    with pytest.raises(ValueError, match=f"--max_train_samples is {number}|{message}"):
        draw_rows(Dataset.from_dict({"label": list("aabbc")}), number, 0)


def test_none_leaves_out_a_split_of_the_dataset(tmp_path):
    rows = {"text": [f"row {i}" for i in range(20)], "label": list("ab") * 10}
    folder = write_parquet_folder(
        {name: Dataset.from_dict(rows) for name in ("train", "validation", "test")}, tmp_path
    )
    splits, _ = load_data(DataArguments(dataset_name=folder, test_split="none"), 0)
    assert {name: len(split) for name, split in splits.items()} == {"train": 20, "validation": 20}
    splits, _ = load_data(DataArguments(dataset_name=folder, validation_split="none"), 0)
    assert {name: len(split) for name, split in splits.items()} == {"train": 18, "validation": 2, "test": 20}


def test_no_label_column_is_an_error_that_lists_every_column(tmp_path):
    Dataset.from_dict({"text": [f"row {i}" for i in range(20)], "n": list(range(20))}).to_csv(tmp_path / "train.csv")
    with pytest.raises(ValueError, match=r"(?s)--label_column.*text: column 'text'.*left out: column 'n' \(int64\)"):
        load_data(DataArguments(dataset_name=str(tmp_path / "train.csv")), 0)


# ---- rows that would stop a training run ------------------------------------------------------------------------

GOOD_IMAGE, GOOD_AUDIO = png_bytes(), wav_bytes(np.zeros(800))
FLIPPED_IMAGE = GOOD_IMAGE[:50] + bytes([GOOD_IMAGE[50] ^ 255]) + GOOD_IMAGE[51:]
BAD_ROWS = {
    "corrupt image": [("a", GOOD_IMAGE[:60], None), ("a", b"not a picture", None), ("a", FLIPPED_IMAGE, GOOD_AUDIO)],
    "corrupt audio clip": [("a", None, b"RIFF and nothing else"), ("a", GOOD_IMAGE, GOOD_IMAGE)],
    "empty audio clip": [("a", None, wav_bytes(np.zeros(0)))],
    "too short audio clip": [("a", None, wav_bytes(np.zeros(399))), ("a", None, wav_bytes(np.zeros(199), 8000))],
    "non-finite audio clip": [("a", None, wav_bytes([np.nan] * 800, subtype="FLOAT"))],
    "empty row": [(None, None, None), ("  ", None, None)],
}


def test_bad_rows_are_left_out_and_counted_in_one_warning(caplog):
    good = [("a", GOOD_IMAGE, GOOD_AUDIO), (None, GOOD_IMAGE, None), (None, None, wav_bytes(np.zeros(200), 8000))]
    rows = [*good, *(row for rows in BAD_ROWS.values() for row in rows)]
    kept = drop_bad_examples(tri_modal_dataset(rows), split_name="train")
    assert len(kept) == 3 and kept["text"][:] == ["a", None, None]
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [
        "skipped 11 of 14 rows of 'train': 3 corrupt images (rows 3, 4, 5), 2 corrupt audio clips (rows 6, 7), "
        "1 empty audio clip (row 8), 2 too short audio clips (rows 9, 10), 1 non-finite audio clip (row 11), "
        "2 empty rows (rows 12, 13)"
    ]


@pytest.mark.parametrize(("kind", "row"), [(kind, row) for kind, rows in BAD_ROWS.items() for row in rows])
def test_bad_rows_raise_on_request(kind, row):
    split = tri_modal_dataset([("a", GOOD_IMAGE, GOOD_AUDIO), row])
    with pytest.raises(ValueError, match=f"Row 1 of split 'test' is a bad example, {kind}: "):
        drop_bad_examples(split, "raise", "test")


def test_missing_files_are_counted_and_real_files_are_read(tmp_path, caplog):
    (tmp_path / "a.png").write_bytes(GOOD_IMAGE)
    soundfile.write(tmp_path / "a.flac", np.zeros(800), 16000)
    split = Dataset.from_dict(
        {
            "image": [str(tmp_path / name) for name in ("a.png", "b.png", "a.png")],
            "audio": [str(tmp_path / name) for name in ("a.flac", "a.flac", "b.flac")],
        }
    )
    prepared, _ = prepare_split(split, ModalityColumns.guess(split.features))
    assert len(drop_bad_examples(prepared)) == 1
    assert "1 missing image file (row 1), 1 missing audio file (row 2)" in caplog.text


def test_a_folder_of_files_goes_all_the_way(tmp_path):
    """`datasets` types every file column of such a folder as one modality; the names say better."""
    for split, count in (("train", 12), ("test", 4)):
        (tmp_path / "folder" / split).mkdir(parents=True)
        with open(tmp_path / "folder" / split / "metadata.jsonl", "w") as metadata:
            for i in range(count):
                (tmp_path / "folder" / split / f"{i}.png").write_bytes(png_bytes(i))
                soundfile.write(tmp_path / "folder" / split / f"{i}.wav", np.zeros(800), 16000)
                files = {"image_file_name": f"{i}.png", "audio_file_name": f"{i}.wav"}
                metadata.write(
                    json.dumps({**files, "text": f"row {i}", "label": "even" if i % 2 == 0 else "odd"}) + "\n"
                )
    splits = load_splits(str(tmp_path / "folder"))
    splits, labels = prepare_splits(splits, ModalityColumns.guess(splits["train"].features))
    assert labels.names == ("even", "odd") and splits["train"].column_names == [*MODALITIES, "label"]
    assert [len(drop_bad_examples(splits[name], "raise")) for name in ("train", "validation", "test")] == [10, 2, 4]


def test_videos_are_decoded_to_the_end(tmp_path, caplog):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for level in range(10):
            picture = np.full((32, 32, 3), 20 * level, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:200])
    split = Dataset.from_dict({"video": [str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]})
    prepared, _ = prepare_split(split, ModalityColumns.guess(split.features))
    assert len(drop_bad_examples(prepared)) == 1 and "1 corrupt video (row 1)" in caplog.text


def write_video(path, sound):
    """One second at 10 frames a second, with a tone of 440 Hz or without sound."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 32
        tone = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for level in range(10):
            picture = np.full((32, 32, 3), 20 * level, dtype=np.uint8)
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(pictures.encode(None))
        if tone:
            samples = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000, dtype=np.float32)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(tone.encode(frame))
            container.mux(tone.encode(None))


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_the_sound_of_videos_is_audio_where_no_column_holds_sound(streaming, tmp_path):
    for name, sound in (("loud", True), ("silent", False)):
        write_video(tmp_path / f"{name}.mp4", sound)
    paths = [str(tmp_path / f"{name}.mp4") for name in ("silent", "loud", "silent")]
    split = Dataset.from_dict({"clip": paths}).cast_column("clip", datasets.Video())
    split = split.to_iterable_dataset() if streaming else split
    columns = ModalityColumns.guess(split.features)
    assert columns.modalities == ("video",)
    columns = columns.with_video_sound(split)
    assert columns.lines(split.features)[2:4] == [
        "audio: sound track of column 'clip' (Video)",
        "video: column 'clip' (Video)",
    ]
    rows = list(drop_bad_examples(prepare_split(split, columns)[0], "raise"))
    assert [row["audio"] is None for row in rows] == [True, False, True]
    samples, rate = read_audio(rows[1]["audio"], "audio")
    spectrum = np.abs(np.fft.rfft(samples[2000:14000]))
    assert spectrum.argmax() * rate / 12000 == pytest.approx(440, abs=2)


def test_silent_videos_and_videos_beside_sound_keep_their_columns(tmp_path):
    write_video(tmp_path / "silent.mp4", sound=False)
    split = Dataset.from_dict({"video": [str(tmp_path / "silent.mp4")], "audio": ["a.wav"]})
    for columns in (ModalityColumns(video="video"), ModalityColumns(video="video", audio="audio")):
        assert columns.with_video_sound(split) == columns


def test_broken_ready_features_are_counted_by_kind(caplog):
    cells = [[[1.0, 2.0]], [[1.0, float("nan")]], [], [[1.0, 2.0, 3.0]], [[1.0], [1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]]
    split = Dataset.from_dict({"audio": cells}, features=Features({"audio": VECTORS}))
    assert drop_bad_examples(split)["audio"][:] == [cells[0], cells[5]]
    for kind in ("non-finite", "empty", "mismatched", "ragged"):
        assert f"1 {kind} audio feature sequence" in caplog.text


def test_no_good_row_left_is_an_error():
    with pytest.raises(ValueError, match="No row is left: skipped 1 of 1"):
        drop_bad_examples(tri_modal_dataset([(None, None, None)]))


def test_no_good_row_left_gives_the_first_reason_and_the_report(tmp_path):
    prepared, _ = prepare_split(
        Dataset.from_dict({"image": ["no/such.png", "nor/this.png"]}), ModalityColumns(image="image")
    )
    report = tmp_path / "bad_rows.jsonl"
    message = rf"2 missing image files .*The first is row 0, missing image file: .*no/such\.png.*{report} names each"
    with pytest.raises(ValueError, match=message):
        drop_bad_examples(prepared, report=report)


def test_bad_rows_are_named_in_the_report_with_their_reason(tmp_path, caplog):
    split = tri_modal_dataset([("a", GOOD_IMAGE, None), ("a", b"not a picture", None), (None, None, None)])
    assert len(drop_bad_examples(split, split_name="train", report=tmp_path / "out" / "bad_rows.jsonl")) == 1
    lines = [json.loads(line) for line in (tmp_path / "out" / "bad_rows.jsonl").read_text().splitlines()]
    assert [(line["split"], line["index"]) for line in lines] == [("train", 1), ("train", 2)]
    assert (
        "corrupt image: image is not a picture that can be decoded" in lines[0]["reason"]
        and "empty row" in lines[1]["reason"]
    )
    assert str(tmp_path / "out" / "bad_rows.jsonl") in caplog.text


def tiny_retrieval_checkpoint(folder):
    processor = MoTProcessor(
        tokenizer=train_tokenizer(["a red bicycle"], model_max_length=16),
        image_processor=MoTImageProcessor(size={"height": 8, "width": 8}, do_convert_rgb=True),
    )
    config = tiny_config(audio_config=None, text_config={"vocab_size": len(processor.tokenizer)})
    MoTForRetrieval(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def test_an_index_holds_the_rows_that_a_run_reads(tmp_path, capsys):
    """By the same code: paths in a table, a caption, a bad row, a column that names the class."""
    rows = [{"Caption": f"a red bicycle {i}", "photo_path": f"m/{i}.png", "emotion": "ab"[i % 2]} for i in range(6)]
    (tmp_path / "data" / "m").mkdir(parents=True)
    for i in range(5):  # the last file is missing
        (tmp_path / "data" / "m" / f"{i}.png").write_bytes(png_bytes(i))
    table = tmp_path / "data" / "train.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    splits, _ = load_data(DataArguments(dataset_name=str(table), task="retrieval", on_bad_example="skip"), 0)
    read_by_run = {row["text"] for name in ("train", "validation") for row in splits[name]}

    model = tiny_retrieval_checkpoint(tmp_path / "model")
    index_command([str(table), "--model", model, "--output_dir", str(tmp_path / "index")])
    index = Index.load(tmp_path / "index")
    assert set(index.dataset["Caption"]) == read_by_run == {f"a red bicycle {i}" for i in range(5)}
    assert json.loads((tmp_path / "index" / "index.json").read_text())["columns"] == {
        "text": "Caption",
        "image": "photo_path",
    }
    assert index.dataset["emotion"][:] == list("ababa")
    assert "image: column 'photo_path' (string)" in capsys.readouterr().out

    index_command([str(table), "--model", model, "--output_dir", str(tmp_path / "texts"), "--image_column", "none"])
    assert json.loads((tmp_path / "texts" / "index.json").read_text())["columns"] == {"text": "Caption"}


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_run_whose_good_rows_have_no_label_stops(tmp_path):
    rows = [{"text": f"row {i}", "label": None} for i in range(18)]
    labels = [{"text": None, "label": "ab"[i % 2]} for i in range(18)]
    data = DataArguments(dataset_name=write_rows(tmp_path / "train.jsonl", rows + labels))
    with pytest.raises(ValueError, match="None of the 1. rows that are left of split 'train' has a label"):
        load_data(data, 0)


def test_an_evaluation_whose_good_rows_have_no_label_stops(tmp_path):
    table = [{"text": "a", "label": None}, {"text": None, "label": "a"}, {"text": None, "label": "b"}]
    data = DataArguments(dataset_name=write_rows(tmp_path / "test.jsonl", table), task="classification")
    config = tiny_config(id2label={0: "a", 1: "b"}, problem_type="single_label_classification")
    with pytest.raises(ValueError, match="None of the 1 rows that are left of split 'train' has a label"):
        read_held_out(data, config, 0, "train", False, tmp_path / "bad_rows.jsonl", with_labels=True)


def test_a_run_that_bad_rows_leave_with_one_class_stops(tmp_path):
    (tmp_path / "pos.png").write_bytes(GOOD_IMAGE)
    rows = [{"image": f"{name}.png", "label": name} for name in ("pos", "neg") * 10]
    with pytest.raises(ValueError, match=r"two classes.*all of \['pos'\], none of neg"):
        load_data(DataArguments(dataset_name=write_rows(tmp_path / "train.jsonl", rows), validation_split="none"), 0)


def test_classes_without_a_training_row_are_named(tmp_path, caplog):
    rows = [{"text": f"row {i}", "label": f"c{i % 5}"} for i in range(50)]
    data = DataArguments(dataset_name=write_rows(tmp_path / "train.jsonl", rows), max_train_samples=3)
    splits, labels = load_data(data, 0)
    lost = set(labels.names) - {labels.names[i] for i in splits["train"]["label"]}
    assert f"2 of 5 classes have no training row: {', '.join(sorted(lost))}." in caplog.text


# ---- rows that are read as they come ----------------------------------------------------------------------------


def shards(number, of_rows):
    """A streamed dataset; each row's text is its number."""
    rows = [{"text": str(i), "label": i % 2} for i in range(number * of_rows)]
    return Dataset.from_list(rows).to_iterable_dataset(num_shards=number)


def stream_of(source):
    return prepare_split(source, ModalityColumns.guess(source.features))[0]


def texts(rows):
    return [row["text"] for row in rows]


def test_a_stream_is_shuffled_anew_in_each_epoch_and_alike_for_one_seed():
    stream = stream_of(shards(2, of_rows=20))
    in_order = [str(i) for i in range(40)]
    assert texts(stream.rows(0)) == texts(stream.rows(1)) == in_order
    shuffled = stream.shuffle(seed=0, buffer_size=10)
    orders = [texts(shuffled.rows(epoch)) for epoch in range(2)] + [texts(stream.shuffle(1, 10))]
    assert all(sorted(order, key=int) == in_order for order in orders)
    assert len({tuple(order) for order in [*orders, in_order]}) == 4
    assert texts(stream.shuffle(seed=0, buffer_size=10).rows(1)) == orders[1]


def test_bad_rows_of_a_stream_are_skipped_and_reported_once(tmp_path, caplog):
    rows = [("a", GOOD_IMAGE, GOOD_AUDIO), ("b", b"not a picture", None), ("c", None, None), (None, None, None)]
    stream = stream_of(tri_modal_dataset(rows).to_iterable_dataset())
    checked = drop_bad_examples(stream, "skip", "train", tmp_path / "bad_rows.jsonl")
    assert [texts(checked.rows(epoch)) for epoch in range(2)] == [["a", "c"]] * 2
    lines = [json.loads(line) for line in (tmp_path / "bad_rows.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == [1, 3]
    assert caplog.text.count("skipped row 1 of 'train', corrupt image") == 1
    with pytest.raises(ValueError, match="Row 1 of split 'train' is a bad example, corrupt image"):
        list(drop_bad_examples(stream, "raise"))


def test_a_stream_learns_its_classes_from_the_label_column():
    rows = [{"text": "a", "mood": mood, "image": "no such file"} for mood in ("sad", "glad", "sad", None)]
    stream, labels = prepare_split(
        Dataset.from_list(rows).to_iterable_dataset(), ModalityColumns(text="text", label="mood")
    )
    assert labels.names == ("glad", "sad")
    assert [row["label"] for row in stream] == [1, 0, 1, None]


def test_the_first_row_of_a_stream_without_a_label_is_named_once(caplog):
    rows = [{"text": "a", "label": label} for label in ("sad", None, "glad", None)]
    stream = stream_of(Dataset.from_list(rows).to_iterable_dataset())
    for epoch in range(2):
        assert [row["label"] for row in stream.rows(epoch)] == [1, None, 0, None]
    assert caplog.text.count("has no label") == 1 and "row 1 of 'train' has no label in column 'label'" in caplog.text


def test_the_sample_of_a_stream_has_many_texts_and_few_media(monkeypatch):
    monkeypatch.setattr("mixture_of_transformers.data.streams.SAMPLE_MEDIA", 2)
    rows = [("a", b"not a picture", None), *[("b", GOOD_IMAGE, GOOD_AUDIO)] * 3, ("c", b"not a picture", None)]
    sample = stream_of(tri_modal_dataset(rows).to_iterable_dataset()).sample()
    assert sample["text"][:] == ["b", "b", "b", "c"]
    assert [row["image"] is None for row in sample] == [False, True, True, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset_name", "no/matter"], "--streaming needs --max_steps.*rows x epochs /"),
        (["--max_steps", "3"], "--streaming is for a dataset that is named with --dataset_name"),
    ],
)
def test_streaming_without_what_it_needs_is_an_error(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        main(["--streaming", "--output_dir", str(tmp_path), *options])


# ---- what is random depends on the seed, the epoch and the row alone --------------------------------------------


def augmenting_collator(processor, seed=0):
    masking = DataCollatorForLanguageModeling(processor.tokenizer, mlm_probability=0.5)
    return MoTCollator(
        0, ImageAugmentation(), AudioAugmentation(), modality_dropout=0.3, word_masking=masking, seed=seed
    )


def batches(dataset, collator, epoch=0, **options):
    dataset.set_epoch(epoch)
    return list(torch.utils.data.DataLoader(dataset, batch_size=8, collate_fn=collator, **options))


def are_equal(left, right):
    if [set(batch) for batch in left] != [set(batch) for batch in right]:
        return False
    return all(torch.equal(a[name], b[name]) for a, b in zip(left, right) for name in a)


@pytest.mark.training
def test_batches_are_the_same_whatever_the_workers_and_differ_between_epochs_and_seeds(prepared_digits):
    processor = MoTProcessor()
    dataset = EncodedDataset(prepared_digits["train"].select(range(24)), processor)
    collator = augmenting_collator(processor)
    expected = batches(dataset, collator)
    torch.manual_seed(1)
    assert are_equal(expected, batches(dataset, collator))
    assert are_equal(expected, batches(dataset, collator, num_workers=2))
    assert not are_equal(expected, batches(dataset, collator, epoch=1))
    assert not are_equal(expected, batches(dataset, augmenting_collator(processor, seed=1)))


@pytest.mark.training
def test_an_epoch_reaches_workers_that_live_on(prepared_digits):
    processor = MoTProcessor()
    dataset = EncodedDataset(prepared_digits["train"].select(range(16)), processor)
    collator = augmenting_collator(processor)
    expected = [batches(dataset, collator, epoch) for epoch in range(2)]
    dataset.set_epoch(0)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=8, collate_fn=collator, num_workers=1, persistent_workers=True
    )
    assert are_equal(list(loader), expected[0])
    dataset.set_epoch(1)
    assert are_equal(list(loader), expected[1])


def test_the_trainer_tells_the_rows_their_epoch_where_accelerate_does_not(prepared_digits):
    dataset = EncodedDataset(prepared_digits["test"].select(range(2)), MoTProcessor())
    state, loader = TrainerState(epoch=3.0), torch.utils.data.DataLoader(dataset)
    EpochCallback().on_epoch_begin(None, state, None, train_dataloader=loader)
    assert dataset[0]["epoch"] == dataset[1]["epoch"] == 3


@pytest.mark.training
def test_workers_of_a_stream_share_its_shards_and_the_others_end():
    """Three workers for two shards: in each epoch every row comes once."""
    processor = MoTProcessor(tokenizer=train_tokenizer(["0"]))
    dataset = StreamedDataset(stream_of(shards(2, of_rows=6)), processor)
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, collate_fn=list, num_workers=3)
    rows = [row for batch in islice(loader, 6) for row in batch]
    seen = [(row["epoch"].item(), tuple(row["input_ids"].tolist())) for row in rows]
    assert len(set(seen)) == len(seen) == 24
    assert sum(epoch == 0 for epoch, _ in seen) == 12


def test_a_stream_carries_the_epoch_and_equals_rows_that_are_kept():
    processor, source = MoTProcessor(), shards(2, of_rows=6)
    kept = EncodedDataset(Dataset.from_list(list(source)), processor)
    collator = augmenting_collator(processor)
    expected = batches(kept, collator, drop_last=True) + batches(kept, collator, epoch=1, drop_last=True)
    streamed = islice(StreamedDataset(stream_of(source), processor), 24)
    rows = list(streamed)
    assert are_equal([collator(rows[:8]), collator(rows[12:20])], expected)


# ---- tokenizer --------------------------------------------------------------------------------------------------


def test_tokenizer_learns_words_and_survives_saving(prepared_digits, tmp_path):
    tokenizer = train_tokenizer(prepared_digits["train"]["text"], vocab_size=1000, model_max_length=24)
    assert tokenizer.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) == [0, 1, 2, 3, 4]
    assert tokenizer.tokenize("SEVEN, Please.") == ["seven", ",", "please", "."]
    assert "[UNK]" not in tokenizer.tokenize("quartz xylophones (42)?")
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    encoded = loaded(["Press 7 to go on.", "word " * 50], truncation=True, padding=True)
    assert encoded == tokenizer(["Press 7 to go on.", "word " * 50], truncation=True, padding=True)
    assert set(encoded) == {"input_ids", "attention_mask"} and len(encoded["input_ids"][1]) == 24
    assert loaded.get_vocab() == tokenizer.get_vocab() and len(loaded) <= 1000


@pytest.mark.training
def test_tokenizer_is_the_same_in_every_process():
    """Else each run would have other ids, and none would find the rows that another has encoded."""
    texts = ["Naïve cafés, 数字 and €5!", "the number seven was written here", None, "seven numbers, never written"]
    script = f"""
import conftest
from mixture_of_transformers.data.preparation import train_tokenizer
print(sorted(train_tokenizer({texts!r}).get_vocab().items()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=TESTS)
    assert done.stdout.strip() == str(sorted(train_tokenizer(texts).get_vocab().items())), done.stderr


def test_tokenizer_without_text_is_an_error():
    with pytest.raises(ValueError, match="every text is None or blank"):
        train_tokenizer([None, " "])


@pytest.mark.parametrize(
    "words",
    [
        "ma má mà mạ mả mã",  # Vietnamese
        "कु के कै",  # Hindi
        "มา ม้า",  # Thai
        "كَتَبَ كُتُب",  # Arabic
        "かき かぎ",  # Japanese
        "ano año",  # Spanish
        "schon schön",  # German
        "가 각",  # Korean
    ],
)
def test_the_tokenizer_keeps_words_apart_that_differ_in_marks(words):
    tokenizer = train_tokenizer([words])
    encoded = [tuple(tokenizer(word)["input_ids"]) for word in words.split()]
    assert len(set(encoded)) == len(encoded) and tokenizer.unk_token_id not in sum(encoded, ())
    assert [tokenizer.decode(ids, skip_special_tokens=True) for ids in encoded] == words.split()


def test_a_letter_with_a_mark_is_one_however_it_was_typed():
    tokenizer = train_tokenizer(["caf\u00e9 caf\u00e9"])
    assert tokenizer.tokenize("CAFE\u0301") == tokenizer.tokenize("caf\u00e9") == ["caf\u00e9"]


def test_a_sentence_without_spaces_falls_into_pieces_however_long_it_is():
    sentence = "ผมชอบกินข้าวผัดมากเพราะอร่อย"
    tokenizer = train_tokenizer([sentence, "แมวกินปลา"] * 3)
    assert "[UNK]" not in tokenizer.tokenize("ปลากินแมว" + sentence * 10)
    assert tokenizer.tokenize("แมวกิน\u200bปลา") == tokenizer.tokenize("แมวกิน ปลา")


def test_a_character_never_met_is_unknown_by_itself(tmp_path):
    tokenizer = train_tokenizer(["日本の猫", "great days"] * 2)
    tokenizer.save_pretrained(tmp_path)
    for found in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert found.tokenize("日犬の great😀days") == ["日", "[UNK]", "の", "great", "[UNK]", "days"]


def test_every_character_of_the_texts_is_known():
    characters = [chr(0x4E00 + i) for i in range(3000)]
    tokenizer = train_tokenizer(["".join(characters)])
    assert tokenizer.unk_token_id not in tokenizer("".join(characters))["input_ids"]
