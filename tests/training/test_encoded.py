# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows are encoded once: those of a dataset as far as they fit into memory, those of a stream as they come."""

from itertools import islice

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from small_media import png_bytes, sound_bytes

from mixture_of_transformers import MoTProcessor, decoding_audio_mot, decoding_image_mot
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.preparation import drop_bad_examples, prepare_split
from mixture_of_transformers.training.encoded import EncodedDataset, StreamedDataset


def test_encoded_dataset_keeps_what_fits_and_encodes_the_rest_again():
    encoded_labels = []

    class Counted(EncodedDataset):
        def encode(self, row):
            encoded_labels.append(row["label"])
            return super().encode(row)

    rows = [{"text": "a", "label": 0}, {"text": "b", "label": 1}]
    row_bytes = 3 * 8 + 8  # [CLS], the word, [SEP], and the label, each an int64
    dataset = Counted(rows, MoTProcessor(), cache_bytes=row_bytes)
    for _ in range(3):
        assert [dataset[i]["labels"].item() for i in range(2)] == [0, 1]
    assert encoded_labels == [0, 1, 1, 1]


def stream_of_clips(pictures: list[bytes], sounds: list[bytes]):
    """A streamed split of files, and the same split whole."""
    cells = {"image": [{"bytes": b, "path": None} for b in pictures]}
    cells |= {"audio": [{"bytes": b, "path": None} for b in sounds]}
    kinds = Features({"image": datasets.Image(decode=False), "audio": datasets.Audio(decode=False)})
    whole = Dataset(datasets.table.pa.Table.from_pydict(cells, schema=kinds.arrow_schema))
    columns = ModalityColumns.guess(whole.features)
    return prepare_split(whole.to_iterable_dataset(), columns)[0], prepare_split(whole, columns)[0]


@pytest.fixture
def clips():
    draw = np.random.default_rng(0)
    pictures = [png_bytes(draw.integers(0, 255, (9, 8, channels), "uint8")) for channels in (3, 4, 3, 3)]
    sounds = [sound_bytes(draw.normal(0, 0.1, (3000, channels)), 11_025) for channels in (1, 2, 1, 1)]
    return pictures, sounds


@pytest.mark.training
def test_a_streamed_row_is_decoded_once(clips, monkeypatch):
    """And is the row that a whole split gives."""
    stream, whole = stream_of_clips(*clips)
    processor, counted = MoTProcessor(), []
    for room, name in ((decoding_image_mot, "decode_image"), (decoding_audio_mot, "read_sound_file")):
        decode = getattr(room, name)
        spy = lambda *arguments, decode=decode, name=name: (counted.append(name), decode(*arguments))[1]  # noqa: E731
        monkeypatch.setattr(room, name, spy)
    rows = list(islice(StreamedDataset(drop_bad_examples(stream), processor), 4))
    assert sorted(counted) == ["decode_image"] * 4 + ["read_sound_file"] * 4
    for row, expected in zip(rows, (EncodedDataset(whole, processor)[i] for i in range(4))):
        assert row.keys() == expected.keys() and all(torch.equal(row[name], expected[name]) for name in row)


@pytest.mark.training
def test_a_streamed_row_that_cannot_be_decoded_is_reported_as_a_whole_split_reports_it(clips, tmp_path):
    pictures, sounds = clips
    pictures[1], sounds[2] = pictures[1][:60], sounds[2][:30]
    stream, whole = stream_of_clips(pictures, sounds)
    rows = StreamedDataset(drop_bad_examples(stream, "skip", "train", tmp_path / "stream"), MoTProcessor())
    assert len(list(islice(rows, 4))) == 4  # of two epochs
    drop_bad_examples(whole, "skip", "train", tmp_path / "whole")
    assert (tmp_path / "stream").read_text() == (tmp_path / "whole").read_text() != ""


@pytest.mark.training
def test_an_error_of_the_encoding_itself_is_no_bad_row(clips):
    stream, _ = stream_of_clips(*clips)

    def encode(row):
        raise ValueError("of the processor")

    with pytest.raises(ValueError, match="of the processor"):
        next(stream.rows(0, encode))
