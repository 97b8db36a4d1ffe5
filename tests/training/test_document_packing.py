# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Packed documents are the documents: no token is lost, hardly any added, and none learns of its neighbours."""

import numpy as np
import pytest
import torch

from mixture_of_transformers import MoTCausalConfig, MoTForCausalLM
from mixture_of_transformers.training.packing import PackingCollator, pack

IGNORED = -100


def documents(number=12, least=3, most=20, seed=0):
    rng = np.random.default_rng(seed)
    return [{"input_ids": torch.from_numpy(rng.integers(3, 40, rng.integers(least, most)))} for _ in range(number)]


@pytest.mark.parametrize(("least", "most", "pack_length"), [(1, 10, 32), (30, 33, 32), (5, 60, 64), (40, 90, 50)])
def test_each_document_is_in_one_sequence_which_is_no_longer_than_asked(least, most, pack_length):
    lengths = np.random.default_rng(0).integers(least, most, 100).tolist()
    rows = pack(lengths, pack_length)
    assert sorted(document for row in rows for document in row) == list(range(100))
    longest = max(pack_length, *lengths)
    assert all(0 < sum(lengths[document] for document in row) <= longest for row in rows)


def test_sequences_are_about_as_long():
    lengths = np.random.default_rng(0).integers(20, 80, 200).tolist()
    rows = [sum(lengths[document] for document in row) for row in pack(lengths, 512)]
    assert len(rows) * max(rows) < 1.05 * sum(lengths)
    assert pack([7], 512) == [[0]] and pack([700, 7], 512) == [[0], [1]]


def test_positions_begin_anew_and_no_document_begins_with_a_target():
    given = documents()
    batch = PackingCollator(pad_token_id=0, pack_length=40)(given)
    found = []
    for ids, labels, positions in zip(batch["input_ids"], batch["labels"], batch["position_ids"]):
        starts = [*(positions == 0).nonzero()[:, 0].tolist(), len(ids)]
        for start, stop in zip(starts, starts[1:]):
            assert positions[start:stop].tolist() == list(range(stop - start)) and labels[start] == IGNORED
            if (ids[start:stop] == 0).all():
                assert (labels[start:stop] == IGNORED).all()  # padding
            else:
                assert torch.equal(labels[start + 1 : stop], ids[start + 1 : stop])
                found.append(ids[start:stop].tolist())
    assert sorted(found) == sorted(document["input_ids"].tolist() for document in given)


def test_raw_media_come_in_the_order_of_their_placeholders():
    place = 39
    given = documents(number=9, least=6, most=12)
    for i, document in enumerate(given):
        document["input_ids"] = document["input_ids"].clamp(max=38)
        if i % 3 == 0:
            document["input_ids"][2:4] = place  # two placeholders for a picture whose pixels are its number
            document["pixel_values"] = torch.full((1, 1, 2, 2), float(i))
        if i % 4 == 0:
            document["input_features"] = [torch.full((i + 1, 2), float(i))]
    numbers = {tuple(document["input_ids"].tolist()): i for i, document in enumerate(given)}
    batch = PackingCollator(pad_token_id=0, pack_length=30, placeholder_ids=(place,))(given)
    order = []
    for ids, positions in zip(batch["input_ids"], batch["position_ids"]):
        starts = [*(positions == 0).nonzero()[:, 0].tolist(), len(ids)]
        order += [tuple(ids[start:stop].tolist()) for start, stop in zip(starts, starts[1:])]
    order = [numbers[ids] for ids in order if ids in numbers]
    assert batch["pixel_values"][:, 0, 0, 0].tolist() == [i for i in order if i % 3 == 0]
    assert batch["input_features_mask"].sum(1).tolist() == [i + 1 for i in order if i % 4 == 0]
    assert (batch["labels"] != place).all()


def test_the_loss_is_that_of_the_documents_one_by_one():
    torch.manual_seed(0)
    config = MoTCausalConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        token_ranges=[["image", 20, 30], ["audio", 30, 40]],
    )
    model = MoTForCausalLM(config).eval()
    given = documents()
    packed = model(**PackingCollator(pad_token_id=0, pack_length=64)(given))
    packed.loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    targets = sum(len(document["input_ids"]) - 1 for document in given)
    total = 0.0
    for document in given:
        ids = document["input_ids"][None]
        loss = model(input_ids=ids, labels=ids, num_items_in_batch=targets).loss
        loss.backward()
        total += loss.item()
    assert packed.loss.item() == pytest.approx(total, abs=1e-5)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, gradients[name], atol=1e-5), name
