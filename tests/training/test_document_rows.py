# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Documents in ids: what a template says, drawn by seed, epoch and row alone; media are encoded once, as they are."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_datasets import tri_modal_dataset
from small_media import png_bytes, sound_bytes

from mixture_of_transformers.data.document_columns import prepare_documents
from mixture_of_transformers.data.documents import read_templates
from mixture_of_transformers.data.tokenizers import train_writing_tokenizer
from mixture_of_transformers.decoding_image_mot import load_image
from mixture_of_transformers.modality_audio_mot import AudioAugmentation
from mixture_of_transformers.processing_causal_mot import CODES, MoTCausalProcessor
from mixture_of_transformers.tokens_mot import (
    MoTAudioTokenizer,
    MoTAudioTokenizerConfig,
    MoTImageTokenizer,
    MoTImageTokenizerConfig,
)
from mixture_of_transformers.training.document_rows import (
    DocumentDataset,
    DocumentEncoder,
    EveryDocumentDataset,
    codes_name,
)
from mixture_of_transformers.training.media_codes import (
    AS_RECORDED,
    CodeMaker,
    SoundVersions,
    add_codes,
    changed_picture,
)

KINDS = {"text": "text", "image": "image", "audio": "audio"}
TEMPLATES = ["{text} {image}", "{image} {text}", "{audio} {text}", "{image:raw} {text}", "{audio:raw}: {text}"]
TOWERS = {
    "image": {"model_type": "mot_image", "image_size": 8, "patch_size": 4},
    "audio": {"model_type": "mot_audio", "stem_stride": 4},
}


@pytest.fixture(scope="module")
def processor():
    torch.manual_seed(0)
    return MoTCausalProcessor(
        tokenizer=train_writing_tokenizer(["a seven", "an eight"]),
        image_tokenizer=MoTImageTokenizer(MoTImageTokenizerConfig(image_size=8, hidden_size=8)),
        audio_tokenizer=MoTAudioTokenizer(MoTAudioTokenizerConfig(hidden_size=8)),
        encoders={name: tower | {"num_hidden_layers": 1} for name, tower in TOWERS.items()},
    )


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(0)
    rows = []
    for i in range(6):
        picture = png_bytes(rng.integers(0, 256, (8, 8), dtype=np.uint8))
        sound = sound_bytes(0.1 * rng.standard_normal(1600 + 800 * i), 16_000)
        rows.append((["a seven", "an eight"][i % 2], None if i == 4 else picture, None if i == 5 else sound))
    prepared, _ = prepare_documents({"train": tri_modal_dataset(rows)}, KINDS)
    return prepared["train"]


@pytest.fixture(scope="module")
def encoder(processor):
    templates = read_templates(TEMPLATES, KINDS, KINDS)
    return DocumentEncoder(processor, templates, KINDS, {name: name for name in KINDS})


def maker_of(processor, versions=1):
    tokenizers = {name: codec.tokenizer for name, codec in processor.codecs.items()}
    return CodeMaker(tokenizers, {"image": "image", "audio": "audio"}, versions)


@pytest.fixture(scope="module")
def rows(split, processor, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        return add_codes(split, maker_of(processor, versions=3), ["text", "image", "audio"])


@pytest.mark.parametrize("number", range(len(TEMPLATES)))
def test_a_document_is_what_the_processor_makes_of_its_parts(number, rows, encoder, processor):
    template, row = encoder.templates[number], rows[1]
    parts = template.segments(encoder.cells(row), KINDS)
    parts = [
        part if "text" in part or part.get("raw") else {m: {CODES: v[0]} for m, v in part.items()} for part in parts
    ]
    expected = processor([parts], add_eos=True, return_tensors="pt")
    document = encoder.encode(row, template)
    assert torch.equal(document["input_ids"], expected["input_ids"][0])
    assert ("pixel_values" in document) == ("pixel_values" in expected)
    if "pixel_values" in expected:
        assert torch.equal(document["pixel_values"], expected["pixel_values"])
    if "input_features" in expected:
        assert torch.equal(document["input_features"][0], expected["input_features"][0])


def test_codes_are_those_of_the_media_and_their_versions_differ(rows, split, processor):
    pictures = [load_image(cell, "image", convert_rgb=False) for cell in split["image"] if cell is not None]
    expected = processor.codecs["image"].tokenizer.encode(pictures).tolist()
    found = [codes[0] for codes in rows[codes_name("image")] if codes is not None]
    assert [versions[0] for versions in found] == expected
    assert all(len(versions) == 3 for versions in found)
    assert any(versions[0] != versions[1] != versions[2] for versions in found)
    assert rows[4][codes_name("image")] is None and rows[5][codes_name("audio")] is None


def test_the_same_medium_has_the_same_versions_wherever_it_stands(split, processor):
    maker = maker_of(processor, versions=2)
    whole, alone = maker.of_batch(split[:4]), maker.of_batch(split[2:3])
    assert all(whole[name][2] == alone[name][0] for name in whole)


def test_a_draw_depends_on_seed_epoch_and_row_alone(rows, encoder):
    drawing = replace(encoder, prompt_dropout=0.5, augmentations={"audio": AudioAugmentation()})
    dataset = DocumentDataset(rows, drawing)
    dataset.set_epoch(3)
    first = [dataset[index]["input_ids"] for index in (2, 0, 1)]
    assert [ids.tolist() for ids in first] == [dataset[index]["input_ids"].tolist() for index in (2, 0, 1)]
    epochs, seeds = set(), set()
    for number in range(8):
        dataset.set_epoch(number)
        epochs.add(tuple(dataset[0]["input_ids"].tolist()))
        seeds.add(tuple(replace(drawing, seed=number).draw(rows[0], 0, 0)["input_ids"].tolist()))
    assert len(epochs) > 3 and len(seeds) > 3


def test_every_fitting_template_is_drawn_about_as_often(rows, encoder, monkeypatch):
    drawn = Counter()
    monkeypatch.setattr(encoder, "encode", lambda row, template, draw: drawn.update([template.written]))
    for epoch in range(400):
        encoder.draw(rows[4], epoch, 4)  # which has no picture
    assert set(drawn) == {"{audio} {text}", "{audio:raw}: {text}"} and min(drawn.values()) > 150


def test_a_sound_that_was_stretched_has_the_placeholders_of_its_frames(rows, encoder, processor):
    drawing = replace(encoder, augmentations={"audio": AudioAugmentation(tempo=0.5, silence_value=-10.0)})
    batches = [drawing.draw(rows[4], epoch, 4) for epoch in range(20)]
    model_input = [document for document in batches if "input_features" in document]
    lengths = {document["input_features"][0].shape[0] for document in model_input}
    assert len(lengths) > 3
    for document in model_input:
        frames = document["input_features"][0].shape[0]
        places = (document["input_ids"] == processor.placeholder_ids["audio"]).sum().item()
        assert places == -(-frames // 4)


def test_evaluation_has_each_row_as_each_template_that_it_fits(rows, encoder):
    dataset = EveryDocumentDataset(rows, replace(encoder, prompt_dropout=0.9))
    assert len(dataset) == 4 * 5 + 2 + 3
    assert torch.equal(dataset[0]["input_ids"], encoder.encode(rows[0], encoder.templates[0])["input_ids"])


def test_versions_keep_what_a_medium_is():
    rng = np.random.default_rng(0)
    picture = load_image(
        {"bytes": png_bytes(rng.integers(0, 256, (9, 7), dtype=np.uint8)), "path": None}, "x", convert_rgb=False
    )
    changed = changed_picture(picture, maker_augmentation(), torch.Generator().manual_seed(1))
    assert changed.size == picture.size and changed.mode == picture.mode
    sound = np.sin(np.arange(16_000) * 0.1).astype(np.float32)
    lengths = {len(SoundVersions()(sound, 16_000, torch.Generator().manual_seed(seed))) for seed in range(20)}
    assert len(lengths) > 3 and all(0.85 < length / 16_000 < 1.12 for length in lengths)
    for seed in range(20):  # at its own speed a sound begins later, and is the same from there on
        changed = SoundVersions(speeds=(AS_RECORDED,))(sound, 16_000, torch.Generator().manual_seed(seed))
        assert np.array_equal(changed, sound[len(sound) - len(changed) :])


def test_versions_are_the_medium_itself_where_nothing_changes_them():
    media = Image.new("L", (4, 4)), np.zeros(100, np.float32)
    maker = CodeMaker({}, {}, versions=3, pictures=None, sounds=None)
    assert all(maker.changed(medium, "image", 1) is medium for medium in media)


def maker_augmentation():
    return CodeMaker({}, {}).pictures
