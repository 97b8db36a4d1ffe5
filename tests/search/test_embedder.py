# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""An index knows what embedded it, and takes no other model or processor."""

import hashlib
import json

import pytest
import torch
from accelerate import disk_offload
from small_indices import contents, files, texts
from word_retriever import WORDS, make_model, make_processor

from mixture_of_transformers import MoTForRetrieval, MoTForSequenceClassification, MoTProcessor
from mixture_of_transformers.search.building import build_index
from mixture_of_transformers.search.embedder import check_embedder, fingerprint_of_weights
from mixture_of_transformers.search.index import Index


def other_parts():
    narrow, more_heads = make_model(projection_dim=4), make_model()
    more_heads.config.text_config.num_attention_heads = 4
    return {
        "weights": (make_model(seed=1), make_processor(), r"weights \(\w{12} and \w{12}\)"),
        "width": (narrow, make_processor(), r"width \(8 and 4\)"),
        "heads": (more_heads, make_processor(), r"config.text_config.num_attention_heads \(2 and 4\)"),
        "pictures": (make_model(), make_processor(image_mean=[0, 0, 0]), "processor.image_processor.image_mean"),
        "words": (make_model(), make_processor(WORDS[::2]), "processor.tokenizer"),
    }


@pytest.mark.parametrize("what", ["weights", "width", "heads", "pictures", "words"])
def test_another_model_or_processor_is_an_error_that_names_both(what, index):
    model, processor, difference = other_parts()[what]
    model.config._name_or_path = "user/other"
    message = f"embeddings of 'a model without a name', with which those of 'user/other' .*differ in {difference}"
    with pytest.raises(ValueError, match=message):
        Index.load(index.folder, model, processor)
    before = files(index.folder)
    index.model, index.processor = model, processor
    for use in (lambda: index.search(text="red"), lambda: index.add(texts("seven"))):
        with pytest.raises(ValueError, match=message):
            use()
    with pytest.raises(ValueError, match=message):
        build_index(texts(*WORDS[:6]), model, processor, index.folder, shard_rows=4)
    assert files(index.folder) == before


def test_a_model_without_a_retrieval_head_is_an_error(index, parts, tmp_path):
    model = MoTForSequenceClassification(parts[0].config)
    message = "MoTForSequenceClassification has no retrieval head: an index takes a MoTForRetrieval"
    with pytest.raises(ValueError, match=message):
        Index.load(index.folder, model, parts[1])
    with pytest.raises(ValueError, match=message):
        build_index(texts("red"), model, parts[1], tmp_path / "other")
    with pytest.raises(ValueError, match="has no processor"):
        Index.load(index.folder, parts[0])
    with pytest.raises(ValueError, match="has no model"):
        Index.load(index.folder).search(text="red")


def test_a_checkpoint_is_the_same_model_wherever_and_in_whatever_type_it_is_loaded(index, parts, tmp_path):
    model, processor = parts
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    saved = MoTProcessor.from_pretrained(tmp_path / "model")
    for dtype in (torch.float32, torch.bfloat16):
        loaded = MoTForRetrieval.from_pretrained(tmp_path / "model", dtype=dtype, attn_implementation="eager")
        found = Index.load(index.folder, loaded, saved).search(text=WORDS[2], k=6, modality="text")
        assert next(hit["score"] for hit in found if hit["id"] == 2) == pytest.approx(1, abs=0.02)


def test_weights_on_a_disk_are_the_same_weights(parts, tmp_path):
    offloaded = make_model()
    disk_offload(offloaded, tmp_path / "offloaded")
    assert any(parameter.is_meta for parameter in offloaded.parameters())
    assert fingerprint_of_weights(offloaded) == fingerprint_of_weights(parts[0])


def test_a_model_that_was_trained_since_is_another(parts, tmp_path):
    model, processor = make_model(), parts[1]
    index = build_index(texts("red", "blue"), model, processor, tmp_path / "index")
    assert index.search(text="red", k=1)
    with torch.no_grad():
        next(model.parameters()).add_(0.5)  # what an optimizer does
    with pytest.raises(ValueError, match="differ in weights"):
        index.search(text="red", k=1)


def test_a_setting_that_only_one_version_knows_is_no_difference(index, parts):
    description = index.description | {"settings": index.description["settings"] | {"config.of_tomorrow": 1}}
    check_embedder(index.folder, description, *parts)


def as_earlier_version(index, model):
    """The folder as versions left it that listed no shards."""
    description = {name: index.description[name] for name in ("fingerprint", "rows", "columns", "width", "model")}
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().float().numpy().tobytes())
    description |= {"weights": digest.hexdigest(), "removed": [1]}
    (index.folder / "index.json").write_text(json.dumps(description))


def test_an_index_of_an_earlier_version_is_read_and_changed(index, parts):
    as_earlier_version(index, parts[0])
    with pytest.raises(ValueError, match="differ in weights"):
        Index.load(index.folder, make_model(seed=1), parts[1])
    found = Index.load(index.folder, *parts)
    expected = dict(enumerate(WORDS[:6]))
    del expected[1]
    assert contents(found) == expected
    found.add(texts("nine")).remove([0])
    del expected[0]
    assert contents(Index.load(index.folder, *parts)) == expected | {6: "nine"}


def test_the_model_stays_in_the_mode_that_it_was_in(parts, tmp_path):
    model = make_model().train()
    model.mot.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    index = build_index(texts("red", "blue"), model, parts[1], tmp_path / "index")
    index.search(text="red")
    assert {name: module.training for name, module in model.named_modules()} == modes
