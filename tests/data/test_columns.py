# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which column is the text, a medium or the label: by its name, its type and what its cells hold."""

import json

import datasets
import numpy as np
import pytest
from datasets import Audio, Dataset, Features, Image, List, Value
from small_datasets import CLASSES, GOOD_AUDIO, GOOD_IMAGE, VECTORS

from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import DIGITS_FEATURES
from mixture_of_transformers.data.preparation import drop_bad_examples, prepare_split
from mixture_of_transformers.data.splits import cut_validation
from mixture_of_transformers.decoding_audio_mot import read_audio
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.finetune.rows import load_data


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
        "left out: column 'seconds' (float32), --extra_columns seconds=seconds would take it",
        "left out: column 'pages' (list of Image), several files in each row: --extra_columns "
        "pages=pages would take it",
        "left out: column 'vector' (list of float32), --text_column, --image_column or --audio_column would take it "
        "as ready features",
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
