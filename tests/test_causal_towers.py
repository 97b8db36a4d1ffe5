# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Raw pictures and sounds in a causal model: their tokens stand at their placeholders, whatever else a batch has.

References: a loop that reads each picture alone and copies its tokens one by one; the model without a cache, a row
without its batch; transformers' own models with random weights, of which towers begin.
"""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    ResNetConfig,
    ResNetModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
    Wav2Vec2Config,
    WhisperConfig,
    WhisperModel,
)

from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig
from mixture_of_transformers.modeling_causal_mot import MoTCausalModel, MoTForCausalLM
from mixture_of_transformers.towers_causal_mot import encoder_from, num_tower_tokens

IMAGE = {"model_type": "mot_image", "image_size": 8, "patch_size": 4, "num_channels": 1, "num_hidden_layers": 1}
AUDIO = {"model_type": "mot_audio", "num_mel_bins": 6, "num_hidden_layers": 1, "hidden_size": 16, "max_frames": 40}
SERIES = {"model_type": "mot_series", "num_channels": 2, "num_hidden_layers": 1, "stem_stride": 2}
RANGES = [["image", 20, 30], ["audio", 30, 40], ["imu", 40, 50]]
PICTURE, SOUND, MOVEMENT = 29, 39, 49  # the placeholders
PATCHES = 4  # of a picture


def build(model_class=MoTForCausalLM, **fields):
    """A causal model with three towers and random weights."""
    torch.manual_seed(0)
    fields = {"encoders": {"image": IMAGE, "audio": AUDIO, "imu": SERIES}, "token_ranges": RANGES} | fields
    config = MoTCausalConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        initializer_range=0.2,  # so that what is wrong is not small
        **fields,
    )
    return model_class(config).eval()


@pytest.fixture(scope="module")
def model():
    return build()


def pictures(number: int) -> torch.Tensor:
    return torch.randn(number, 1, 8, 8, generator=torch.Generator().manual_seed(number))


def sounds(*lengths: int) -> dict[str, torch.Tensor]:
    """Clips of so many frames, padded on the right."""
    random = torch.Generator().manual_seed(sum(lengths))
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    frames = torch.randn(len(lengths), max(lengths), 6, generator=random) * mask[..., None]
    return {"input_features": frames, "input_features_mask": mask.long()}


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    """Rows, padded on the left, with a picture and a sound, two pictures, two sounds, text alone."""
    rows = [
        [1, *[PICTURE] * PATCHES, 2, *[SOUND] * 3, 3],
        [4, *[PICTURE] * PATCHES, 22, *[PICTURE] * PATCHES, 5],
        [6, *[SOUND] * 2, 7, *[SOUND] * 4],
        [8, 9, 33],
    ]
    length = max(map(len, rows))
    ids = torch.tensor([[0] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": pictures(3), **sounds(5, 3, 8)}


def rows_alone(batch: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Each row without its padding and with no raw input but its own."""
    alone = []
    for ids, mask, first, last, clips in zip(
        batch["input_ids"], batch["attention_mask"], (0, 1, 3, 3), (1, 3, 3, 3), ((0,), (), (1, 2), ())
    ):
        row = {"input_ids": ids[mask == 1][None]}
        if last > first:
            row["pixel_values"] = batch["pixel_values"][first:last]
        if clips:
            row |= {name: batch[name][list(clips)] for name in ("input_features", "input_features_mask")}
        alone.append(row)
    return alone


# ---------------------------------------------------------------------------------------------------------------------
# Placeholders
# ---------------------------------------------------------------------------------------------------------------------

KINDS = {
    "picture": ("image", IMAGE, (1, 8, 12)),
    "picture with cls and registers": ("image", IMAGE | {"use_cls_token": True, "num_register_tokens": 2}, (1, 8, 8)),
    "video": ("image", IMAGE, (3, 1, 8, 8)),
    "sound": ("audio", AUDIO, (7, 6)),
    "sound by a linear stem": ("audio", AUDIO | {"stem": "linear", "stem_stride": 3}, (7, 6)),
    "series": ("imu", SERIES, (9, 2)),
    "ready features": ("image", {"model_type": "mot_image", "feature_size": 5}, (6, 5)),
    "a model in front of pictures": (
        "image",
        {
            "model_type": "mot_image",
            "backbone_config": {"model_type": "resnet", "depths": [1], "hidden_sizes": [8], "embedding_size": 8},
        },
        (3, 32, 32),
    ),
    "a model in front of waveforms": (
        "audio",
        {
            "model_type": "mot_audio",
            "max_frames": 10**5,
            "backbone_config": Wav2Vec2Config(
                hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7
            ).to_dict(),
        },
        (2000, 1),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tower_makes_as_many_tokens_as_it_is_said_to(kind):
    modality, encoder, shape = KINDS[kind]
    model = build(MoTCausalModel, encoders={modality: encoder})
    names = model.towers.names(modality)
    name = names.features if encoder.get("feature_size") else names.raw
    with torch.no_grad():
        (tokens,) = model.towers(modality, **{name: torch.randn(1, *shape)}).pooler_output
    assert tokens.shape == (num_tower_tokens(modality, encoder, shape), 32)


def test_tokens_stand_at_their_placeholders_in_reading_order(model, batch):
    towers, embeds = model.model.towers, model.model.embed_tokens(batch["input_ids"])
    raw = {name: batch[name] for name in ("pixel_values", "input_features", "input_features_mask")}
    filled = towers.fill(embeds, batch["input_ids"], **raw)

    waiting = {PICTURE: [], SOUND: []}
    for picture in batch["pixel_values"]:
        waiting[PICTURE] += towers("image", pixel_values=picture[None]).pooler_output[0]
    for frames, mask in zip(batch["input_features"], batch["input_features_mask"]):
        waiting[SOUND] += towers("audio", input_features=frames[mask == 1][None]).pooler_output[0]
    for row, ids in enumerate(batch["input_ids"].tolist()):
        for column, token in enumerate(ids):
            expected = waiting[token].pop(0) if token in waiting else embeds[row, column]
            torch.testing.assert_close(filled[row, column], expected, atol=1e-5, rtol=1e-5)
    assert not any(waiting.values())


def test_padding_frames_give_no_token_and_reach_none(model):
    towers, clips = model.model.towers, sounds(5, 3, 8)
    expected = towers("audio", **clips).pooler_output
    assert [len(tokens) for tokens in expected] == [3, 2, 4]
    clips["input_features"][clips["input_features_mask"] == 0] = torch.nan
    left = {name: values.flip(1) for name, values in clips.items()}  # the padding stands in front
    left["input_features"] = left["input_features"].clone()
    for frames, mask in zip(left["input_features"], left["input_features_mask"].bool()):
        frames[mask] = frames[mask].flip(0)
    for given in (clips, left):
        for tokens, reference in zip(towers("audio", **given).pooler_output, expected):
            torch.testing.assert_close(tokens, reference, atol=1e-5, rtol=1e-5)


def test_features_are_what_fills_the_placeholders(model, batch):
    raw = ("pixel_values", "input_features", "input_features_mask")
    clips = {name: batch[name] for name in raw[1:]}
    outputs = {
        "image": model.get_image_features(batch["pixel_values"], output_hidden_states=True, output_attentions=True),
        "audio": model.model.get_audio_features(**clips),
    }
    assert outputs["image"].last_hidden_state.shape == (3, PATCHES, 32)
    assert [states.shape for states in outputs["image"].hidden_states] == [(3, PATCHES, 32)] * 2
    assert [weights.shape for weights in outputs["image"].attentions] == [(3, 1, PATCHES, PATCHES)]
    ids = {name: value for name, value in batch.items() if name not in raw}
    torch.testing.assert_close(model(**ids, mm_encoder_outputs=outputs).logits, model(**batch).logits)


def test_a_row_in_a_batch_is_the_row_alone(model, batch):
    logits = model(**batch).logits
    for row, alone in enumerate(rows_alone(batch)):
        expected = model(**alone).logits[0]
        torch.testing.assert_close(logits[row, -len(expected) :], expected, atol=1e-5, rtol=1e-5)


def test_documents_in_one_row_are_the_documents_alone(model, batch):
    alone = rows_alone(batch)
    lengths = [row["input_ids"].shape[1] for row in alone]
    packed = {
        "input_ids": torch.cat([row["input_ids"] for row in alone], dim=1),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
    }
    raw = {name: batch[name] for name in ("pixel_values", "input_features", "input_features_mask")}
    logits = model(**packed, **raw).logits[0].split(lengths)
    for row, own in zip(alone, logits):
        torch.testing.assert_close(own, model(**row).logits[0], atol=1e-5, rtol=1e-5)


def test_a_modality_of_any_name_is_read_by_its_kind(model):
    ids = torch.tensor([[1, *[MOVEMENT] * 5, 2]])
    values = torch.randn(1, 9, 2)
    first, second = model(ids, imu_values=values).logits, model(ids, imu_values=-values).logits
    assert torch.equal(first[:, 0], second[:, 0])  # what came before saw nothing of it
    assert (first[:, 1:] - second[:, 1:]).abs().amax(dim=-1).min() > 0
    read = {"imu": model.model.towers("imu", imu_values=values)}
    assert torch.equal(model(ids, mm_encoder_outputs=read).logits, first)
    beams = [
        model.generate(ids, num_beams=2, max_new_tokens=3, **{name: given}).tolist()
        for name, given in (("imu_values", values), ("mm_encoder_outputs", read))
    ]
    assert beams[0] == beams[1]


def test_the_tokens_of_a_tower_pass_the_expert_of_their_modality():
    model = build().train()
    model(torch.tensor([[PICTURE] * PATCHES]), pixel_values=pictures(1)).logits.sum().backward()
    layer = model.model.layers[0].experts
    gradients = {name: layer[name].mlp.up_proj.weight.grad.abs().sum().item() for name in layer}
    assert gradients["image"] > 0
    assert gradients["text"] == gradients["audio"] == gradients["imu"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_values": pictures(2)}, "12 placeholders of 'image'.*8 tokens of the 2 inputs"),
        ({"input_features": None}, "9 placeholders of 'audio'.*no `input_features` was given"),
        ({"pixel_values": pictures(1)[:, :, :7]}, "`patch_size` \\(4\\) must divide both"),
        ({"imu_values": torch.randn(1, 4, 2)}, "0 placeholders of 'imu'"),
        ({"input_ids": None, "inputs_embeds": torch.zeros(4, 10, 32)}, "without `input_ids`"),
        ({"mm_encoder_outputs": {"image": None}}, "leave one of them out"),
    ],
)
def test_raw_input_that_does_not_fit_is_an_error(model, batch, change, message):
    with pytest.raises(ValueError, match=message):
        model(**batch | change)
    if "inputs_embeds" not in change:
        with pytest.raises(ValueError, match=message):
            model.generate(**batch | change, max_new_tokens=2)


def test_raw_input_without_a_tower_is_an_error(batch):
    model = build(encoders={"audio": AUDIO})
    with pytest.raises(ValueError, match="`pixel_values` was given, but no tower of this model takes it"):
        model(**batch)
    with pytest.raises(ValueError, match="no tower that reads 'image'.*has audio"):
        model.get_image_features(batch["pixel_values"])


def test_a_tower_that_cannot_be_is_refused_with_the_config():
    with pytest.raises(StrictDataclassError, match="must divide `image_size`"):
        build(encoders={"image": IMAGE | {"patch_size": 3}})
    with pytest.raises(StrictDataclassError, match="`encoders` names 'depth'"):
        build(encoders={"depth": IMAGE})


# ---------------------------------------------------------------------------------------------------------------------
# Generation
# ---------------------------------------------------------------------------------------------------------------------

WAYS = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "chunked prefill": {"prefill_chunk_size": 4},
    "without a cache": {"use_cache": False},
    "static cache": {"cache_implementation": "static"},
    "prompt lookup": {"prompt_lookup_num_tokens": 2},
}


@pytest.mark.parametrize("way", WAYS)
def test_rows_with_raw_input_generate_as_they_do_alone(model, batch, way):
    rows = rows_alone(batch)
    if way == "prompt lookup":  # which takes one row at a time
        batch, rows = rows[2], rows[2:3]
    generated = model.generate(**batch, max_new_tokens=6, **WAYS[way])[:, batch["input_ids"].shape[1] :]
    for row, alone in zip(generated, rows):
        reference = {"num_beams": 3} if way == "beams" else {"use_cache": False}
        expected = model.generate(**alone, max_new_tokens=6, **reference)[0, alone["input_ids"].shape[1] :]
        assert row.tolist() == expected.tolist()


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}])
def test_a_tower_reads_once_however_many_rows_are_made_of_one(model, batch, options):
    calls = []
    hook = model.model.towers.register_forward_hook(lambda module, args, output: calls.append(args[0]))
    try:
        model.generate(**batch, max_new_tokens=3, **options)
    finally:
        hook.remove()
    assert sorted(calls) == ["audio", "image"]


def test_every_copy_of_a_row_sees_its_own_pictures(model, batch):
    torch.manual_seed(0)
    ids = batch["input_ids"]
    copies = model.generate(**batch, max_new_tokens=1, num_return_sequences=3, do_sample=True, top_k=1)
    greedy = model.generate(**batch, max_new_tokens=1)
    assert copies[:, ids.shape[1] :].tolist() == greedy[:, ids.shape[1] :].repeat_interleave(3, dim=0).tolist()


def test_a_later_turn_needs_what_it_adds_alone(model, batch):
    row = rows_alone(batch)[0]
    first = model.generate(**row, max_new_tokens=3, return_dict_in_generate=True)
    turn = torch.cat([first.sequences, torch.tensor([[10, 11]])], dim=1)
    expected = model.generate(**row | {"input_ids": turn}, max_new_tokens=4)
    assert model.generate(turn, past_key_values=first.past_key_values, max_new_tokens=4).tolist() == expected.tolist()


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------


def test_a_model_learns_what_its_towers_read():
    model = build().train()
    words = torch.arange(4, 12)[:, None]
    prompts = {
        "pixel_values": torch.tensor([[1, *[PICTURE] * PATCHES, 2]]).expand(8, -1),
        "input_features": torch.tensor([[1, *[SOUND] * 3, 2]]).expand(8, -1),
    }
    raw = {"pixel_values": pictures(8), "input_features": sounds(*[5] * 8)["input_features"]}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        for name, prompt in prompts.items():
            ids = torch.cat([prompt, words], dim=1)
            labels = ids.masked_fill(torch.arange(ids.shape[1]) < prompt.shape[1], -100)
            model(ids, **{name: raw[name]}, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, prompt in prompts.items():
        assert torch.equal(model.eval().generate(prompt, **{name: raw[name]}, max_new_tokens=1)[:, -1:], words)


@pytest.mark.parametrize("given", [(), ("pixel_values",), ("input_features", "input_features_mask")])
def test_every_parameter_has_a_gradient_whatever_a_batch_lacks(batch, given):
    model = build().train()
    row = {(): 3, ("pixel_values",): 1}.get(given, 2)
    inputs = rows_alone(batch)[row]
    assert set(inputs) == {"input_ids", *given}
    loss = model(**inputs, labels=inputs["input_ids"]).loss
    loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    own = {"pixel_values": "image", "input_features": "audio"}[given[0]] if given else None
    for modality, tower in model.model.towers.encoders.items():
        total = sum(parameter.grad.abs().sum() for parameter in tower.parameters())
        assert (total > 0) == (modality == own)
    assert torch.equal(loss, model.eval()(**inputs, labels=inputs["input_ids"]).loss)


def test_checkpointed_gradients_are_the_gradients(batch):
    gradients = []
    for checkpointed in (False, True):
        model = build().train()
        if checkpointed:
            model.gradient_checkpointing_enable()
            assert model.model.towers.encoders["image"].encoders["image"].layers[0].gradient_checkpointing
        model(**batch, labels=batch["input_ids"]).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_placeholders_are_no_targets(model, batch):
    ids = batch["input_ids"]
    labels = ids.masked_fill(batch["attention_mask"] == 0, -100)
    hidden = labels.masked_fill((ids == PICTURE) | (ids == SOUND), -100)
    losses = [model(**batch, labels=given).loss for given in (labels, hidden)]
    assert torch.equal(*losses)


# ---------------------------------------------------------------------------------------------------------------------
# Files, types, other models
# ---------------------------------------------------------------------------------------------------------------------


def test_a_saved_model_loads_with_its_towers(model, batch, tmp_path):
    model.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    assert list(content["encoders"]) == ["audio", "image", "imu"]  # JSON has another order than the model
    loaded = MoTForCausalLM.from_pretrained(tmp_path)
    assert [name for name, _ in loaded.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)


def test_towers_compute_in_the_type_of_the_model(model, batch, tmp_path):
    model.save_pretrained(tmp_path)
    half = MoTForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    (tokens, *_) = half.get_image_features(batch["pixel_values"]).pooler_output
    assert tokens.dtype == half(**batch).logits.dtype == torch.bfloat16
    full = model.get_image_features(batch["pixel_values"]).pooler_output[0]
    assert torch.nn.functional.cosine_similarity(tokens.float(), full, dim=-1).min() > 0.99


def test_towers_attend_as_the_model_does(batch):
    model = build()
    real = batch["attention_mask"] == 1
    expected = model(**batch).logits[real]
    model.set_attn_implementation("eager")
    tower = model.model.towers.encoders["image"]
    assert {module.config._attn_implementation for module in (tower, tower.encoders["image"])} == {"eager"}
    torch.testing.assert_close(model(**batch).logits[real], expected, atol=1e-5, rtol=1e-5)


VISION = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
VISION |= {"image_size": 8, "patch_size": 4}
WHISPER = WhisperConfig(
    d_model=16,
    encoder_layers=2,
    encoder_attention_heads=2,
    encoder_ffn_dim=24,
    decoder_layers=1,
    decoder_attention_heads=2,
    decoder_ffn_dim=24,
    num_mel_bins=6,
    max_source_positions=8,
    vocab_size=30,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=1,
)
SOURCES = {
    "siglip": ("image", SiglipVisionModel, SiglipVisionConfig(**VISION)),
    "clip": ("image", CLIPVisionModel, CLIPVisionConfig(**VISION)),
    "vit": ("image", ViTModel, ViTConfig(**VISION)),
    "whisper": ("audio", WhisperModel, WHISPER),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_tower_that_begins_as_another_model_computes_what_that_does(source, tmp_path):
    modality, model_class, config = SOURCES[source]
    torch.manual_seed(1)
    other = model_class(config).eval()
    other.save_pretrained(tmp_path / "other")
    encoder = encoder_from(modality, tmp_path / "other")
    model = build(encoders={modality: encoder} if source == "siglip" else {})
    model.load_towers(**{modality: tmp_path / "other"})

    inputs = torch.randn(2, 3, 8, 8) if modality == "image" else torch.randn(2, 16, 6)
    with torch.no_grad():
        if modality == "image":
            raw, token, number = {"pixel_values": inputs}, PICTURE, model.get_image_features(inputs)
            expected = other(**raw).last_hidden_state
        else:
            raw, token, number = {"input_features": inputs}, SOUND, model.get_audio_features(inputs)
            expected = other.get_encoder()(inputs.mT).last_hidden_state
        torch.testing.assert_close(number.last_hidden_state, expected, atol=1e-5, rtol=1e-5)
        length = number.last_hidden_state.shape[1]
        for known in (encoder, model.config.encoders[modality]):
            assert length == num_tower_tokens(modality, known, inputs.shape[1:])
        ids = torch.tensor([[1, *[token] * length, 2]] * 2)
        logits = model(ids, **raw).logits
        model.save_pretrained(tmp_path / "model")
        assert torch.equal(MoTForCausalLM.from_pretrained(tmp_path / "model")(ids, **raw).logits, logits)


def test_any_model_stands_frozen_in_front_of_a_tower(tmp_path):
    torch.manual_seed(1)
    other = ResNetModel(ResNetConfig(depths=[1, 1], hidden_sizes=[8, 16], embedding_size=8)).eval()
    other.save_pretrained(tmp_path)
    model = build(encoders={})
    model.load_towers(image_backbone=tmp_path, image_config={"num_hidden_layers": 0})
    model.train()
    pixels = torch.randn(1, 3, 32, 32)
    length = num_tower_tokens("image", model.config.encoders["image"], pixels.shape[1:])
    model(torch.tensor([[1, *[PICTURE] * length, 2]]), pixel_values=pixels).logits.sum().backward()
    embeddings = model.model.towers.encoders["image"].embeddings["image"]
    assert all(parameter.grad is None for parameter in embeddings.backbone.parameters())
    assert embeddings.projection.weight.grad.abs().sum() > 0
    with torch.no_grad():
        seen = embeddings.through_backbone(pixels, None, pixels.dtype)[0]
        torch.testing.assert_close(seen, other(pixels).last_hidden_state.flatten(2).mT)


def test_a_tower_needs_a_modality_with_ids_and_a_source_that_fits(tmp_path):
    model = build(encoders={})
    with pytest.raises(ValueError, match="`load_towers` names 'depth', expected modalities of image, audio, imu"):
        model.load_towers(depth="somewhere")
    ResNetModel(ResNetConfig(depths=[1], hidden_sizes=[8], embedding_size=8)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="cannot be|backbone"):
        model.load_towers(image=tmp_path)
