# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What is random in a batch depends on the seed, the epoch and the row alone."""

from itertools import islice

import pytest
import torch
from datasets import Dataset
from small_datasets import shards, stream_of
from transformers import DataCollatorForLanguageModeling, TrainerState

from mixture_of_transformers import MoTProcessor
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.modality_audio_mot import AudioAugmentation
from mixture_of_transformers.modality_image_mot import ImageAugmentation
from mixture_of_transformers.training.callbacks import EpochCallback
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EncodedDataset, StreamedDataset


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
def test_workers_of_a_stream_share_its_shards():
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
