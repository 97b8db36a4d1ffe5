# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows that are longer or wider than a model takes: text and sound are cut, ready features are an error."""

import json

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import ASTConfig, ASTFeatureExtractor, BertConfig, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from mixture_of_transformers import MoTConfig, MoTFeatureExtractor, MoTProcessor
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.preparation import drop_bad_examples, prepare_split
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.finetune.batches import encode_split
from mixture_of_transformers.finetune.limits import check_splits, encoding_limits, fit_processor, set_limits
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.modality_audio_mot import frames_per_second
from mixture_of_transformers.training.encoded import EncodedDataset, StreamedDataset

READY = MoTConfig.of_size(
    "tiny",
    text_config={"feature_size": 3, "max_position_embeddings": 6},
    image_config={"feature_size": 2},
    audio_config={"feature_size": 4, "max_frames": 9},
)


def vectors(length: int, width: int) -> list:
    return np.ones((length, width), dtype=np.float32).tolist()


def split_of(kind=None, **columns) -> Dataset:
    split = Dataset.from_dict(columns)
    return split if kind is None else split.cast_column("text", kind)


KINDS = [
    datasets.List(datasets.List(datasets.Value("float32"))),
    datasets.LargeList(datasets.LargeList(datasets.Value("float64"))),
    datasets.Array2D((None, 3), "float32"),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
def test_ready_features_that_are_too_long_are_an_error_with_split_row_and_both_numbers(kind):
    text = [vectors(6, 3), None, vectors(1, 3), vectors(7, 3)]
    good = split_of(kind, text=text[:3])
    assert check_splits({"train": good}, READY)["train"] is good
    with pytest.raises(ValueError, match="Row 3 of split 'test' has 7 text features, but the model takes 6") as found:
        check_splits({"train": good, "test": split_of(kind, text=text)}, READY)
    override = str(found.value).rpartition("--config_overrides ")[2].strip(".'")
    assert json.loads(override) == {"text_config": {"max_position_embeddings": 7}}


@pytest.mark.parametrize("column, width", [("text", 3), ("image", 2), ("video", 2), ("audio", 4)])
def test_ready_features_of_another_width_are_an_error_with_split_row_and_both_numbers(column, width):
    rows = {column: [vectors(2, width), vectors(5, width + 1)]}
    with pytest.raises(
        ValueError, match=f"Row 1 of split 'validation' has {column} features of width {width + 1}, .* of {width} "
    ):
        check_splits({"validation": split_of(**rows)}, READY)


def test_rows_are_counted_as_in_the_dataset_with_its_bad_rows(tmp_path):
    ragged = [[1.0, 1.0, 1.0], [1.0]]
    split = split_of(text=[ragged, vectors(2, 3), ragged, vectors(9, 3)])
    report = tmp_path / "bad_rows.jsonl"
    split = drop_bad_examples(split, "skip", "test", report)
    with pytest.raises(ValueError, match="Row 3 of split 'test' has 9"):
        check_splits({"test": split}, READY, report)


def test_raw_data_for_a_model_of_ready_features_and_the_other_way_round_are_an_error():
    with pytest.raises(
        ValueError, match="text column of split 'train' holds raw text, but the model takes ready features"
    ):
        check_splits({"train": split_of(text=["a", "b"])}, READY)
    raw = MoTConfig.of_size("tiny", audio_config=None)
    with pytest.raises(ValueError, match="holds ready features, but the model takes raw text"):
        check_splits({"train": split_of(text=[vectors(2, 3)])}, raw)
    with pytest.raises(ValueError, match="takes text, image, and no audio: leave it out with --audio_column none"):
        check_splits({"train": split_of(audio=[vectors(2, 3)])}, raw)


def test_learned_positions_limit_the_features_and_the_frames_of_a_video():
    tower = {"position_embedding_type": "learned", "num_frames": 3}
    config = MoTConfig.of_size("tiny", image_config=tower | {"feature_size": 2})
    with pytest.raises(ValueError, match=r"4 image features, but the model takes 3 \(`image_config.num_frames`\)"):
        check_splits({"train": split_of(image=[vectors(4, 2)])}, config)
    processor = MoTProcessor()
    fit_processor(processor, MoTConfig.of_size("tiny", image_config=tower))
    assert processor.num_frames == 3


def test_text_and_sound_are_cut_at_what_was_asked_for_and_at_what_the_model_takes():
    config = MoTConfig.of_size("tiny", text_config={"max_position_embeddings": 8}, audio_config={"max_frames": 115})
    split = Dataset.from_dict({"text": ["word " * 40], "label": [0]}).add_column(
        "audio", [{"array": [0.0] * 48000, "sampling_rate": 16000}]
    )
    tokenizer = train_tokenizer(["word"] * 3)
    for asked, lengths in (((128, 30.0), (8, 115)), ((4, 0.29), (4, 29))):
        data = DataArguments(max_text_tokens=asked[0], max_audio_seconds=asked[1], cache_gigabytes=0)
        processor = MoTProcessor(tokenizer=tokenizer)
        row = encode_split("train", split, processor, config, data, 0)[0]
        assert (len(row["input_ids"]), len(row["input_features"])) == lengths


def test_a_model_in_front_is_given_as_many_tokens_as_its_tower_takes_and_any_seconds():
    fronts = {"text": BertConfig, "audio": ASTConfig}
    fronts = {m: {"backbone_config": kind(hidden_size=8, num_attention_heads=2)} for m, kind in fronts.items()}
    limits = {"text_config": {"max_position_embeddings": 20}, "audio_config": {"max_frames": 115}}
    config = MoTConfig.of_size("tiny", **{f"{m}_config": front | limits[f"{m}_config"] for m, front in fronts.items()})
    data = DataArguments()
    set_limits(data, config)
    assert (data.max_text_tokens, data.max_audio_seconds) == (20, 30.0)
    limits = encoding_limits(config, DataArguments(max_text_tokens=64, max_audio_seconds=2.5), MoTFeatureExtractor())
    assert limits == {"max_text_tokens": 20, "max_audio_seconds": 2.5}


def test_a_cut_in_seconds_knows_how_many_frames_each_extractor_gives():
    assert frames_per_second(MoTFeatureExtractor()) == frames_per_second(WhisperFeatureExtractor()) == 100
    assert frames_per_second(ASTFeatureExtractor()) == 100
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)  # which gives the samples themselves
    assert frames_per_second(extractor) == 16000
    rows = Dataset.from_list([{"audio": {"array": np.zeros(16000).tolist(), "sampling_rate": 16000}}])
    encoded = EncodedDataset(rows, MoTProcessor(feature_extractor=extractor), max_audio_seconds=0.5)
    assert len(encoded[0]["input_features"]) == 8000


def test_rows_of_a_stream_that_do_not_fit_are_bad_rows_when_they_are_met(tmp_path):
    text = [vectors(6, 3), vectors(7, 3), vectors(2, 3), vectors(2, 5)]
    stream = split_of(text=text, label=[0.0, 1.0, 2.0, 3.0]).to_iterable_dataset()
    stream, _ = prepare_split(stream, ModalityColumns(text="text", label="label"))
    stream = drop_bad_examples(stream, "skip", "train", tmp_path / "bad.jsonl")
    stream = check_splits({"train": stream}, READY)["train"]
    rows = iter(StreamedDataset(stream, MoTProcessor()))
    lengths = [len(next(rows)["text_features"]) for _ in range(2)]
    assert lengths == [6, 2]
    assert [row["label"] for row in stream] == [0.0, 2.0]
    reasons = {
        line["index"]: line["reason"] for line in map(json.loads, (tmp_path / "bad.jsonl").read_text().splitlines())
    }
    assert "7 vectors, the model takes 6" in reasons[1] and "width is 5, others' 3" in reasons[3]
    assert torch.is_tensor(next(rows)["labels"])
