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
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.preparation import drop_bad_examples, prepare_split
from mixture_of_transformers.training.encoded import EncodedDataset, RowEncoder, StreamedDataset


def test_encoded_dataset_keeps_what_fits_and_encodes_the_rest_again():
    encoded_labels = []

    class Counted(EncodedDataset):
        def encode_rows(self, rows):
            encoded_labels.extend(row["label"] for row in rows)
            return super().encode_rows(rows)

    rows = [{"text": "a", "label": 0}, {"text": "b", "label": 1}]
    row_bytes = 3 * 8 + 8  # [CLS], the word, [SEP], and the label, each an int64
    dataset = Counted(rows, MoTProcessor(), cache_bytes=row_bytes)
    for _ in range(3):
        assert [dataset[i]["labels"].item() for i in range(2)] == [0, 1]
    assert encoded_labels == [0, 1, 1, 1]


def assert_same(left, right):
    assert left.keys() == right.keys()
    assert all(torch.equal(value, right[name]) and value.dtype == right[name].dtype for name, value in left.items())


@pytest.mark.parametrize("return_times", [False, True])
def test_rows_that_are_encoded_together_are_to_the_last_bit_what_each_is_alone(return_times):
    """Else a run that streams its rows, or finds them in a cache, would draw other random numbers."""
    digits = load_digits_dataset()["train"].select(range(30))
    for column, kind in (("image", datasets.Image), ("audio", datasets.Audio)):
        digits = digits.cast_column(column, kind(decode=False))
    rows = list(digits)
    picture, sound = (next(row[column] for row in rows if row[column]) for column in ("image", "audio"))
    rows += [{"text": "  ", "image": picture}, {"text": ["one", "two"], "label": 1}, {"text": None, "audio": sound}]
    encoder = RowEncoder(MoTProcessor(return_times=return_times), digits.features, 0.4, 6)
    for together, row in zip(encoder.encode_rows(rows), rows, strict=True):
        assert_same(together, encoder.encode(row))
    dataset = EncodedDataset(rows, encoder.processor, max_audio_seconds=0.4, max_text_tokens=6)
    for together, i in zip(dataset.__getitems__([3, 1, 3, 2]), (3, 1, 3, 2), strict=True):
        assert_same(together, dataset[i])


def test_plain_rows_share_a_call_and_others_have_their_own(monkeypatch):
    calls, call = [], MoTProcessor.__call__

    def counted(self, *args, **kwargs):
        calls.append(len(next(filter(None, kwargs.values()))))
        return call(self, *args, **kwargs)

    monkeypatch.setattr(MoTProcessor, "__call__", counted)
    rows = [{"text": "a"}, {"text": "b c"}, {"text": ["d", "e"]}, {"text": "f"}]
    RowEncoder(MoTProcessor()).encode_rows(rows)
    assert calls == [3, 1]
    padding = MoTProcessor()
    padding.tokenizer.init_kwargs["padding"] = "max_length"  # of a text alone, too
    calls.clear()
    RowEncoder(padding).encode_rows(rows)
    assert calls == [1] * 4


def test_a_row_that_cannot_be_encoded_raises_what_it_raises_alone(clips):
    rows = [{"image": {"bytes": content, "path": None}} for content in (*clips[0], b"no picture")]
    encoder, messages = RowEncoder(MoTProcessor()), []
    for encode, given in ((encoder.encode, rows[-1]), (encoder.encode_rows, rows)):
        with pytest.raises(ValueError) as error:
            encode(given)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


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
