# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Encoded rows to batches: padding, masks, labels, and what is random."""

import numpy as np
import pytest
import torch
from toy_trainers import encoded_row
from transformers import DataCollatorForLanguageModeling

from mixture_of_transformers import MoTImageProcessor, MoTProcessor
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.modality_audio_mot import AudioAugmentation, AudioModality
from mixture_of_transformers.modality_image_mot import ImageModality
from mixture_of_transformers.modality_mot import InputNames
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.objective import row_has
from mixture_of_transformers.training.samplers import length_of


def test_collator_pads_every_modality_and_masks_what_a_row_lacks():
    rows = [encoded_row(text=3, audio=5), encoded_row(image=True, label=1), encoded_row(text=4, image=True, audio=2)]
    batch = MoTCollator(pad_token_id=7)(rows)
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]
    assert batch["input_ids"][0, 3] == 7
    assert batch["pixel_mask"].tolist() == [0, 1, 1]
    assert batch["input_features_mask"].sum(dim=1).tolist() == [5, 0, 2]
    assert torch.equal(batch["input_features"][2, :2], rows[2]["input_features"])
    assert batch["labels"].tolist() == [0, 1, 0]


def test_a_modality_that_the_table_gains_is_padded_hidden_and_counted_as_the_others(monkeypatch):
    names = InputNames("depth_values", "depth_features", "depth_mask", times="depth_times", segments="depth_segments")
    monkeypatch.setitem(MODALITIES, "depth", ImageModality("depth", names))
    clips = [{"depth_values": torch.rand(n, 1, 4, 4), "depth_times": torch.arange(1.0, n + 1)} for n in (2, 3)]
    rows = [row | encoded_row(text=4) for row in clips] + [encoded_row(text=5)]
    batch = MoTCollator()(rows)
    assert torch.equal(batch["depth_values"][1], clips[1]["depth_values"])
    assert batch["depth_mask"].tolist() == [[1, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert batch["depth_times"].tolist() == [[1, 2, 0], [1, 2, 3], [0, 0, 0]]
    assert row_has(batch, ("text", "depth"), all).tolist() == [True, True, False]
    assert [length_of(row) for row in rows] == [6, 7, 5]
    hidden = [MoTCollator(modality_dropout=1.0, seed=seed)(rows[:1]) for seed in range(9)]
    assert {frozenset(found) - {"labels"} for found in hidden} == {
        frozenset({"input_ids", "attention_mask"}),
        frozenset({"depth_values", "depth_mask", "depth_times"}),
    }


def test_collator_pads_to_few_lengths():
    rows = [{"input_ids": torch.arange(n), "input_features": torch.ones(2 * n, 3)} for n in (3, 5)]
    batch = MoTCollator(pad_token_id=9, pad_to_multiple_of=4)(rows)
    assert batch["input_ids"].tolist() == [[0, 1, 2, 9, 9, 9, 9, 9], [0, 1, 2, 3, 4, 9, 9, 9]]
    assert batch["attention_mask"].sum(dim=1).tolist() == [3, 5]
    assert batch["input_features"].shape == (2, 12, 3) and batch["input_features_mask"].sum(dim=1).tolist() == [6, 10]


def test_rows_of_one_picture_and_of_several_make_the_batch_that_the_processor_makes_of_them():
    pictures = [np.full((8, 8, 3), shade, np.uint8) for shade in (10, 60, 120)]
    cells = [pictures[0], pictures, None, [pictures[2]]]
    processor = MoTProcessor(image_processor=MoTImageProcessor(size={"height": 8, "width": 8}))
    rows = [
        {n: v[0] for n, v in processor(images=[cell]).items() if n != "pixel_mask"}
        for cell in cells
        if cell is not None
    ]
    batch = MoTCollator()([*rows[:2], encoded_row(text=3), rows[2]])
    expected = processor(images=cells, text=[None, None, "a", None])
    for name in ("pixel_values", "pixel_mask", "pixel_segments"):
        assert torch.equal(batch[name], expected[name]), name


def test_collator_leaves_out_a_modality_that_no_row_has():
    assert set(MoTCollator()([encoded_row(text=3), encoded_row(text=2)])) == {"input_ids", "attention_mask", "labels"}


def test_collator_pads_videos_of_different_lengths():
    rows = [{"pixel_values": torch.randn(n, 3, 8, 8), "labels": torch.tensor(0)} for n in (2, 4)]
    batch = MoTCollator()(rows)
    assert batch["pixel_values"].shape == (2, 4, 3, 8, 8)
    assert batch["pixel_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_a_row_without_a_label_gets_one_that_does_not_count():
    rows = [encoded_row(text=3), encoded_row(text=2, label=2)]
    del rows[0]["labels"]
    assert MoTCollator()(rows)["labels"].tolist() == [-100, 2]
    rows[1]["labels"] = torch.tensor(0.5)
    assert MoTCollator()(rows)["labels"].isnan().tolist() == [True, False]


def test_modality_dropout_never_drops_the_last_modality():
    collator = MoTCollator(modality_dropout=0.9)
    rows = [encoded_row(text=2, image=True, audio=2), encoded_row(audio=2)] * 100
    random = torch.Generator().manual_seed(0)
    kept = [len(collator.drop_modalities(row, random)) - len({"labels"}) for row in rows]
    assert min(kept) == 1
    assert sum(count == 1 for count in kept) > 150  # three modalities are seldom kept at a rate of 0.9


def test_modality_dropout_rises_with_the_epoch():
    collator, rates = MoTCollator(modality_dropout=0.8, modality_dropout_warmup=4), []
    rows = [encoded_row(text=4, audio=4) for _ in range(400)]
    for epoch in (0, 1, 2, 4, 9):
        batch = collator([row | {"epoch": torch.tensor(epoch)} for row in rows])
        rates.append(1 - batch["attention_mask"].any(dim=1).float().mean().item())
    # Of two modalities one goes with probability 2 p (1 - p), or, where both would, with p ** 2.
    expected = [p * (1 - p) + p * p / 2 for p in (0.0, 0.2, 0.4, 0.8, 0.8)]
    assert rates == pytest.approx(expected, abs=0.08) and rates[0] == 0


def test_word_masking_hides_words_and_gives_them_as_labels():
    processor = MoTProcessor()
    masking = DataCollatorForLanguageModeling(processor.tokenizer, mlm_probability=1.0)
    rows = [encoded_row(text=6), encoded_row(text=4, audio=3), encoded_row(audio=2)]
    batch = MoTCollator(processor.tokenizer.pad_token_id, word_masking=masking)(rows)
    special = torch.tensor(processor.tokenizer.all_special_ids)
    for row, labels, mask in zip(rows, batch["text_labels"], batch["attention_mask"]):
        ids = row.get("input_ids", torch.tensor([], dtype=torch.long))
        expected = torch.where(torch.isin(ids, special), -100, ids)
        assert torch.equal(labels[: len(ids)], expected)
        assert (labels[mask == 0] == -100).all()


def test_augmented_audio_keeps_the_seconds_of_its_clip():
    row = encoded_row(audio=50) | {"input_features_times": torch.arange(50) * 0.01}
    rows = [row | {"epoch": torch.tensor(epoch)} for epoch in range(20)]
    batch = MoTCollator(audio_augmentation=AudioAugmentation(tempo=0.5))(rows)
    lengths = batch["input_features_mask"].sum(dim=1)
    assert len(set(lengths.tolist())) > 3
    for times, length in zip(batch["input_features_times"], lengths):
        assert times[:length].min() >= 0 and times[:length].max() <= 0.49
        assert times[:length].diff().min() >= 0


def test_modality_dropout_hides_each_modality_with_its_own_probability():
    kinds = {"text": MODALITIES["text"]} | {name: AudioModality.called(name) for name in ("imu", "vitals")}
    rates = {"imu": 1.0, "vitals": 0.5}
    row = {"input_ids": torch.ones(2).long(), "imu_values": torch.ones(3, 2), "vitals_values": torch.ones(1, 2)}
    batches = [MoTCollator(modality_dropout=rates, kinds=kinds, seed=seed)([row]) for seed in range(40)]
    assert all("input_ids" in batch and "imu_values" not in batch for batch in batches)
    assert 8 < sum("vitals_values" in batch for batch in batches) < 32
