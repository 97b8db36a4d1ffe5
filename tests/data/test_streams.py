# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows that are read as they come are those that are kept."""

import json

import pytest
from datasets import Dataset
from small_datasets import GOOD_AUDIO, GOOD_IMAGE, shards, stream_of, texts, tri_modal_dataset

from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.preparation import drop_bad_examples, prepare_split
from mixture_of_transformers.run_finetune import main


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
