# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows that would stop a training run are found before it, and named."""

import json
import logging

import datasets
import numpy as np
import pytest
import soundfile
from datasets import Dataset, Features
from helpers import tiny_config
from small_datasets import (
    GOOD_AUDIO,
    GOOD_IMAGE,
    MODALITIES,
    VECTORS,
    noise_png,
    tri_modal_dataset,
    write_rows,
)
from small_media import sound_bytes

from mixture_of_transformers import MoTForRetrieval, MoTImageProcessor, MoTProcessor
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.preparation import drop_bad_examples, prepare_split, prepare_splits
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.decoding_audio_mot import read_audio
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.finetune.rows import load_data
from mixture_of_transformers.search.commands import index as index_command
from mixture_of_transformers.search.index import Index
from mixture_of_transformers.serving.evaluate import read as read_held_out

FLIPPED_IMAGE = GOOD_IMAGE[:50] + bytes([GOOD_IMAGE[50] ^ 255]) + GOOD_IMAGE[51:]
BAD_ROWS = {
    "corrupt image": [("a", GOOD_IMAGE[:60], None), ("a", b"not a picture", None), ("a", FLIPPED_IMAGE, GOOD_AUDIO)],
    "corrupt audio clip": [("a", None, b"RIFF and nothing else"), ("a", GOOD_IMAGE, GOOD_IMAGE)],
    "empty audio clip": [("a", None, sound_bytes(np.zeros(0)))],
    "too short audio clip": [("a", None, sound_bytes(np.zeros(399))), ("a", None, sound_bytes(np.zeros(199), 8000))],
    "non-finite audio clip": [("a", None, sound_bytes([np.nan] * 800, subtype="FLOAT"))],
    "empty row": [(None, None, None), ("  ", None, None)],
}


def test_bad_rows_are_left_out_and_counted_in_one_warning(caplog):
    good = [("a", GOOD_IMAGE, GOOD_AUDIO), (None, GOOD_IMAGE, None), (None, None, sound_bytes(np.zeros(200), 8000))]
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
                (tmp_path / "folder" / split / f"{i}.png").write_bytes(noise_png(i))
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
        (tmp_path / "data" / "m" / f"{i}.png").write_bytes(noise_png(i))
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
        read_held_out(data, config, 0, "train", False, tmp_path / "bad_rows.jsonl", None, MoTProcessor())


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
