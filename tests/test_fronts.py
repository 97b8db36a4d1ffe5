# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Models of transformers in front of a tower give each row what they give it alone, whatever form they take it in.

Of every family that docs/warm_starts.md names, a small model with random weights; the references are transformers'
own models and image processors.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    ASTFeatureExtractor,
    AutoConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3nConfig,
    Gemma4UnifiedVisionConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    WhisperFeatureExtractor,
)
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from mixture_of_transformers import MoTForSequenceClassification, MoTModel, MoTProcessor
from mixture_of_transformers.backbones_mot import build_backbone, model_class_of, output_width
from mixture_of_transformers.conversion_mot import NotATower, describe
from mixture_of_transformers.fronts_mot import mel_bins, see, stand_in_length
from mixture_of_transformers.modalities_mot import MODALITIES

REPOSITORY = Path(__file__).resolve().parents[1]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
PICTURES = {"image_size": 32, "patch_size": 8}
QWEN = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "patch_size": 4, "out_hidden_size": 24}
WINDOWED = QWEN | {"fullatt_block_indexes": [1], "window_size": 16}
PLACED = QWEN | {"num_position_embeddings": 64}
STACKED = PLACED | {"deepstack_visual_indexes": [0]}
GEMMA4_VISION = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4}
GEMMA4_VISION |= {"head_dim": 8, "intermediate_size": 48, "patch_size": 4, "pooling_kernel_size": 2}
GEMMA4_AUDIO = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "output_proj_dims": 24}
GEMMA3N_AUDIO = {"hidden_size": 32, "conf_num_attention_heads": 4, "conf_num_hidden_layers": 2, "input_feat_size": 32}
EARS = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48, "num_mel_bins": 20}
WINDOWED_EARS = EARS | {"output_dim": 24, "downsample_hidden_size": 8, "n_window_infer": 100}
WORDS = {"decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 48, "vocab_size": 60, "pad_token_id": 0}
WORDS |= {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
WAVES = SIZES | {"conv_dim": [16, 16], "conv_kernel": [10, 3], "conv_stride": [5, 2], "num_feat_extract_layers": 2}
WAVES |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
MOONSHINE = {"encoder_num_hidden_layers": 2, "decoder_num_hidden_layers": 1, "encoder_num_attention_heads": 4}
SPECTROGRAM = {"num_mel_bins": 16, "max_length": 32, "patch_size": 8, "time_stride": 6, "frequency_stride": 6}
DECODER = SIZES | {"vocab_size": 60, "head_dim": 8, "num_key_value_heads": 2}

# modality -> model type -> the fields of a small one.
FAMILIES = {
    "text": {
        "bert": SIZES | {"vocab_size": 60},
        "roberta": SIZES | {"vocab_size": 60, "pad_token_id": 1, "max_position_embeddings": 40},
        "modernbert": SIZES | {"vocab_size": 60, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2},
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2},
        "t5": {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 60},
        "gemma3_text": DECODER,
        "qwen3": DECODER,
    },
    "image": {
        "qwen2_vl_vision": {"depth": 2, "embed_dim": 32, "hidden_size": 24, "num_heads": 4, "patch_size": 4},
        "qwen2_5_vl_vision": WINDOWED,
        "qwen2_5_omni_vision_encoder": WINDOWED,
        "qwen3_vl_vision": STACKED,
        "qwen3_vl_moe_vision": STACKED,
        "qwen3_omni_moe_vision_encoder": STACKED,
        "qwen3_5_vision": PLACED,
        "qwen3_5_moe_vision": PLACED,
        "qwen4_exp_vision": PLACED,
        "gemma4_vision": GEMMA4_VISION | {"position_embedding_size": 64},
        "dinov3_vit": SIZES | PICTURES,
        "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    },
    "audio": {
        "gemma3n_audio": GEMMA3N_AUDIO | {"sscp_conv_channel_size": [8, 4]},
        "gemma4_audio": GEMMA4_AUDIO | {"subsampling_conv_channels": [128, 4]},
        "qwen2_audio_encoder": EARS | {"max_source_positions": 50},
        "qwen2_5_omni_audio_encoder": EARS | {"n_window": 10, "output_dim": 24},
        "qwen3_omni_moe_audio_encoder": WINDOWED_EARS,
        "qwen3_asr_encoder": WINDOWED_EARS,
        "whisper": EARS | WORDS | {"max_source_positions": 50},
        "wav2vec2": WAVES,
        "hubert": WAVES | {"feat_extract_norm": "layer"},
        "wavlm": WAVES | {"num_buckets": 8, "max_bucket_distance": 16},
        "wav2vec2-bert": SIZES | {"feature_projection_input_dim": 20},
        "moonshine": SIZES | MOONSHINE | {"decoder_num_attention_heads": 4, "vocab_size": 60},
        "parakeet_encoder": SIZES | {"num_mel_bins": 16, "subsampling_conv_channels": 8},
        "audio-spectrogram-transformer": SIZES | SPECTROGRAM,
    },
}
EVERY = [(modality, kind) for modality, kinds in FAMILIES.items() for kind in kinds]
every_family = pytest.mark.parametrize("modality, kind", EVERY, ids=[kind for _, kind in EVERY])


def front(modality, kind):
    return AutoConfig.for_model(kind, **FAMILIES[modality][kind])


def model_with(modality, kind, model_class=MoTForSequenceClassification, **fields):
    torch.manual_seed(0)
    config = front(modality, kind)
    own = MODALITIES[modality].fields_of_front(config) | {"backbone_config": config, "num_hidden_layers": 1} | fields
    others = {f"{m}_config": None for m in MODALITIES if m != modality}
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_labels": 2}
    return model_class(model_class.config_class(**{f"{modality}_config": own}, **others, **sizes)).eval()


def rows_of(modality, kind):
    """Four rows of raw input, the third short, the last without any; and each row that has some, alone."""
    generator = torch.Generator().manual_seed(0)
    names = MODALITIES[modality].names
    if modality == "image":
        pixels = torch.rand(4, 3, 32, 32, generator=generator)
        return {names.raw: pixels, names.mask: torch.tensor([1, 1, 1, 0])}, [
            {names.raw: pixels[i : i + 1]} for i in range(3)
        ]
    config = front(modality, kind)
    if modality == "text":
        longest, short, values = 9, 4, torch.randint(3, 60, (4, 9), generator=generator)
    else:
        longest = {1: 3000}.get(mel_bins(config), 250 if kind.startswith("qwen3") else stand_in_length(config))
        short = longest if kind == "audio-spectrogram-transformer" else longest * 3 // 5
        values = torch.randn(4, longest, mel_bins(config), generator=generator)
    mask = torch.arange(longest) < torch.tensor([longest, longest, short, 0])[:, None]
    alone = [{names.raw: values[i : i + 1, : mask[i].sum()]} for i in range(3)]
    return {names.raw: values, names.mask: mask.long()}, alone


@every_family
def test_a_row_is_what_it_is_alone_and_poison_in_padding_changes_nothing(modality, kind):
    model, (batch, alone) = model_with(modality, kind, MoTModel), rows_of(modality, kind)
    with torch.no_grad():
        found = model(**batch)
        assert found.attention_mask[3].sum() == 0
        for i, row in enumerate(alone):
            expected, real = model(**row), found.attention_mask[i].bool()
            torch.testing.assert_close(
                found.last_hidden_state[i][real], expected.last_hidden_state[0], atol=1e-5, rtol=1e-5
            )
        raw, mask = MODALITIES[modality].names.raw, MODALITIES[modality].names.mask
        real = batch[mask].bool()
        poisoned = batch[raw].clone()
        poisoned[~real] = torch.nan if poisoned.is_floating_point() else -1
        assert model(**batch | {raw: poisoned}).last_hidden_state.equal(found.last_hidden_state)


@pytest.mark.parametrize("modality, kind", [pair for pair in EVERY if pair[0] != "image"], ids=lambda value: value)
def test_padding_may_stand_on_the_left(modality, kind):
    model, (batch, _) = model_with(modality, kind, MoTModel), rows_of(modality, kind)
    raw, mask = MODALITIES[modality].names.raw, MODALITIES[modality].names.mask
    padding = (batch[mask] == 0).sum(dim=1).tolist()
    moved = {raw: torch.stack([row.roll(number, 0) for row, number in zip(batch[raw], padding)])}
    moved[mask] = batch[mask].flip(1)
    with torch.no_grad():
        found, expected = model(**moved).pooler_output, model(**batch).pooler_output
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@every_family
def test_every_parameter_of_a_trained_front_gets_a_gradient_with_and_without_its_modality(modality, kind, tmp_path):
    model, (batch, _) = model_with(modality, kind, freeze_backbone=False), rows_of(modality, kind)
    model.save_pretrained(tmp_path)
    again = MoTForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        assert again(**batch).logits.equal(model(**batch).logits)
    model.train()(**batch, labels=torch.tensor([0, 1, 0, 1])).loss.backward()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    fixed = model_with(modality, kind).train()
    assert not any(p.requires_grad for name, p in fixed.named_parameters() if ".backbone." in name)
    assert not any(module.training for module in fixed.mot.embeddings[modality].backbone.modules())


@every_family
def test_the_width_of_a_front_is_known_from_its_config(modality, kind):
    model = model_with(modality, kind, MoTModel)
    batch, _ = rows_of(modality, kind)
    names = MODALITIES[modality].names
    features, _ = model.embeddings[modality].through_backbone(batch[names.raw], batch[names.mask], torch.float32)
    assert features.shape[-1] == output_width(front(modality, kind))


# Pictures in patches


def test_qwen_vl_sees_what_its_own_image_processor_gives():
    config = front("image", "qwen2_5_vl_vision")
    model = build_backbone(config).eval()
    pictures = [
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (32, 48, 3), dtype=np.uint8)) for i in (0, 1)
    ]
    own = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, do_resize=False)(pictures, return_tensors="pt")
    pixels = torch.stack([torch.tensor(np.array(picture)).permute(2, 0, 1) / 255 for picture in pictures])
    processor = Qwen2VLImageProcessorPil()
    mean, std = (torch.tensor(value)[:, None, None] for value in (processor.image_mean, processor.image_std))
    with torch.no_grad():
        expected = model(own["pixel_values"], grid_thw=own["image_grid_thw"]).pooler_output
        found = see(model, (pixels - mean) / std)
    torch.testing.assert_close(found.flatten(0, 1), expected, atol=1e-5, rtol=1e-5)


def test_gemma_4_sees_what_its_own_image_processor_gives():
    config = front("image", "gemma4_vision")
    model = build_backbone(config).eval()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8))
    own = Gemma4ImageProcessorPil(patch_size=4, pooling_kernel_size=2, do_resize=False)(picture, return_tensors="pt")
    pixels = torch.tensor(np.array(picture)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = model(own["pixel_values"], pixel_position_ids=own["image_position_ids"]).last_hidden_state
        found = see(model, pixels)[0]
    torch.testing.assert_close(found, expected.reshape(-1, expected.shape[-1])[: len(found)], atol=1e-5, rtol=1e-5)


def test_pictures_whose_sides_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match="30 x 32 pixels, but the model in front .qwen2_5_vl_vision. takes sides that 8"
    ):
        model_with("image", "qwen2_5_vl_vision", MoTModel)(pixel_values=torch.rand(1, 3, 30, 32))


@pytest.mark.parametrize(
    "own, side",
    [(Qwen2VLImageProcessorPil(patch_size=14, merge_size=2), 224), (Gemma4ImageProcessorPil(), 240)],
    ids=["qwen", "gemma"],
)
def test_a_processor_of_patches_gives_its_settings_to_one_of_whole_pictures(own, side, tmp_path):
    own.save_pretrained(tmp_path)
    processor = MoTProcessor.from_unimodal_pretrained(image_backbone=tmp_path)
    assert processor(images=Image.new("RGB", (50, 20)))["pixel_values"].shape == (1, 3, side, side)
    assert list(processor.image_processor.image_mean) == list(own.image_mean)


# Sound


def test_the_spectrogram_transformer_hears_the_frames_of_its_own_extractor(tmp_path):
    ASTFeatureExtractor(num_mel_bins=16, max_length=32).save_pretrained(tmp_path)
    processor = MoTProcessor.from_unimodal_pretrained(audio_backbone=tmp_path)
    sound = np.random.default_rng(0).normal(size=3000).astype(np.float32)
    batch = processor(audio=[sound, sound[:2000]], sampling_rate=16_000)
    expected = ASTFeatureExtractor(num_mel_bins=16, max_length=32)(sound, sampling_rate=16_000, return_tensors="pt")
    assert batch["input_features"][:1].equal(expected["input_values"])
    found = model_with("audio", "audio-spectrogram-transformer", MoTModel)(**batch)
    assert found.attention_mask.any(dim=1).tolist() == [True, True]


def test_whisper_in_front_hears_silence_behind_a_short_clip():
    """As its own extractor, which pads the waveform, but for the last frames, that see the end of the clip."""
    model = build_backbone(front("audio", "whisper")).eval()
    extractor = WhisperFeatureExtractor(feature_size=20, chunk_length=1)
    sound = np.random.default_rng(0).normal(size=9000).astype(np.float32)
    own = extractor(sound, sampling_rate=16_000, return_tensors="pt")["input_features"]
    short = extractor(sound, sampling_rate=16_000, padding="longest", return_tensors="pt")["input_features"].mT
    modality, config = MODALITIES["audio"], model_with("audio", "whisper", MoTModel).config.audio_config
    with torch.no_grad():
        filled, _ = modality.run_backbone(model, config, short[:, :52], None)
        expected, _ = modality.run_backbone(model, config, own.mT[:, :52], None)
    torch.testing.assert_close(filled, expected, atol=1e-4, rtol=1e-4)
    assert own[0, :, -1].unique().item() == pytest.approx(own.max().item() - 2, abs=1e-5)


def test_a_clip_too_short_for_a_model_of_waveforms_is_an_error_and_another_number_of_bins_too():
    model = model_with("audio", "wav2vec2", MoTModel)
    with pytest.raises(
        ValueError, match="A clip has 12 samples, of which the model in front .wav2vec2. makes no token"
    ):
        mask = (torch.arange(500) < torch.tensor([[500], [12]])).long()
        model(input_features=torch.randn(2, 500, 1), input_features_mask=mask)
    with pytest.raises(ValueError, match=r"\(2, 500, 3\), expected \(batch, frames, 1\).*which reads samples"):
        model(input_features=torch.randn(2, 500, 3))


# Parts of larger models

TEXT = DECODER | {"vocab_size": 300}
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
IDS = {"image_token_id": 290, "video_token_id": 291, "vision_start_token_id": 292, "vision_end_token_id": 293}


def test_the_tower_of_gemma_3_begins_as_the_siglip_that_it_sees_with(tmp_path):
    config = Gemma3Config(
        text_config=TEXT, vision_config=SIZES | PICTURES, mm_tokens_per_image=4, image_token_index=290
    )
    torch.manual_seed(0)
    whole = Gemma3ForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path)
    model = MoTModel.from_unimodal_pretrained(image=tmp_path, text_config=None, audio_config=None)
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = whole.model.vision_tower(pixels).last_hidden_state
        found = model.encode(pixel_values=pixels).hidden_states["image"]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


LARGER = {
    "image": lambda: Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config=TEXT | {"rope_parameters": ROPE}, vision_config=WINDOWED | {"out_hidden_size": 32}, **IDS
        )
    ),
    "audio": lambda: Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(text_config=TEXT | {"model_type": "qwen2"}, audio_config=EARS | {"max_source_positions": 50})
    ),
}
WHERE = {"image": "visual", "audio": "audio_tower"}


@pytest.mark.parametrize("modality", LARGER)
def test_a_part_of_a_larger_model_is_loaded_by_itself(modality, tmp_path, caplog):
    torch.manual_seed(0)
    whole = LARGER[modality]().eval()
    whole.save_pretrained(tmp_path)
    others = {f"{m}_config": None for m in MODALITIES if m != modality}
    with pytest.raises(ValueError, match=f"`{modality}_backbone=` or `fallback="):
        MoTModel.from_unimodal_pretrained(**{modality: tmp_path}, **others)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    model = MoTModel.from_unimodal_pretrained(**{modality: tmp_path}, **others, **sizes, fallback="backbone")
    expected = getattr(whole.model, WHERE[modality]).state_dict()
    found = model.embeddings[modality].backbone.state_dict()
    assert set(found) == set(expected) and all(found[name].equal(value) for name, value in expected.items())


def test_what_transformers_does_not_have_by_itself_is_said():
    with pytest.raises(ValueError, match="no model of type 'gemma4_unified_vision' by itself"):
        model_class_of(Gemma4UnifiedVisionConfig())
    assert (
        "timm"
        in type(Gemma3nConfig().vision_config).__module__ + str(model_class_of(Gemma3nConfig().vision_config)).lower()
    )


def test_a_declared_modality_begins_as_or_stands_behind_a_model(tmp_path):
    build_backbone(front("image", "resnet")).save_pretrained(tmp_path)
    fields = {"text_config": None, "image_config": None, "audio_config": None, "hidden_size": 16}
    fields |= {"num_attention_heads": 2, "intermediate_size": 16}
    depth = {"model_type": "mot_image", "num_hidden_layers": 1}
    for source in ({"depth_backbone": tmp_path}, {"depth": tmp_path, "fallback": "backbone"}):
        model = MoTModel.from_unimodal_pretrained(**source, depth_config=depth, **fields)
        assert model(depth_values=torch.rand(2, 3, 32, 32)).last_hidden_state.isfinite().all()
    with pytest.raises(ValueError, match="`depth` is .*nothing says what 'depth' is: give `depth_config="):
        MoTModel.from_unimodal_pretrained(depth=tmp_path, **fields)
    with pytest.raises(ValueError, match="`fallback` is 'front'"):
        MoTModel.from_unimodal_pretrained(image=tmp_path, fallback="front")


# The table of the page


def test_the_page_says_of_every_family_where_it_stands():
    page = (REPOSITORY / "docs" / "warm_starts.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    named = {kind for row in rows for kind in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert named >= {kind for _, kind in EVERY} | {"siglip_vision_model", "gemma3n_vision", "gemma4_unified_vision"}


@every_family
def test_no_family_of_the_table_of_fronts_could_be_a_tower_or_it_says_so(modality, kind):
    if kind == "whisper":
        assert describe(front(modality, kind), MODALITIES[modality])
        return
    with pytest.raises(NotATower) as refusal:
        describe(front(modality, kind), MODALITIES[modality])
    assert refusal.value.reason
