# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A tower that begins as another model computes what that model computes.

The references are transformers' own models with random weights; every comparison is of their `last_hidden_state` (and
of the states between their layers) with the output of the tower, to 1e-5 in float32.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    ASTConfig,
    AutoModel,
    BertConfig,
    CLIPConfig,
    CLIPModel,
    CLIPVisionModel,
    DeiTConfig,
    DeiTModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    GPT2Config,
    ModernBertConfig,
    ResNetConfig,
    RobertaConfig,
    RobertaPreLayerNormConfig,
    RobertaPreLayerNormForMaskedLM,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from mixture_of_transformers import (
    MoTConfig,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTModel,
    MoTProcessor,
)
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.training.optimization import freeze

REPOSITORY = Path(__file__).resolve().parents[1]
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
PICTURES = {"image_size": 32, "patch_size": 8}
WHISPER = {"d_model": 32, "encoder_layers": 3, "encoder_attention_heads": 4, "encoder_ffn_dim": 48}
WHISPER |= {"decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 48, "vocab_size": 60}
WHISPER |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
WHISPER |= {"max_source_positions": 50, "num_mel_bins": 20}
ALONE = {"text_config": None, "image_config": None, "audio_config": None}


IMAGE_SOURCES = {
    "vit": (ViTForImageClassification, ViTConfig(**SIZES, **PICTURES), lambda model: model.vit),
    "vit without biases": (
        ViTForImageClassification,
        ViTConfig(**SIZES, **PICTURES, qkv_bias=False),
        lambda model: model.vit,
    ),
    "deit": (DeiTModel, DeiTConfig(**SIZES, **PICTURES), lambda model: model),
    "dinov2": (Dinov2Model, Dinov2Config(**SIZES, **PICTURES, mlp_ratio=2), lambda model: model),
    "dinov2 with registers": (
        Dinov2WithRegistersModel,
        Dinov2WithRegistersConfig(**SIZES, **PICTURES, mlp_ratio=2, num_register_tokens=3),
        lambda model: model,
    ),
    "clip": (
        CLIPModel,
        CLIPConfig(vision_config=SIZES | PICTURES, text_config=SIZES | {"vocab_size": 60}),
        lambda model: model.vision_model,
    ),
    "clip's vision model": (
        CLIPVisionModel,
        CLIPConfig(vision_config=SIZES | PICTURES).vision_config,
        lambda model: model,
    ),
    "siglip": (
        SiglipModel,
        SiglipConfig(vision_config=SIZES | PICTURES, text_config=SIZES | {"vocab_size": 60}),
        lambda model: model.vision_model,
    ),
}


def source(model_class, config, folder, seed=0):
    """A model of transformers with random weights of every kind, saved; in eval mode."""
    torch.manual_seed(seed)
    model = model_class(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_gain = parameter.ndim == 1 and name.endswith("weight")
            parameter.normal_(mean=1.0 if is_gain else 0.0, std=0.1)
    model.save_pretrained(folder)
    return model


def only(modality, folder, **fields):
    """A MoT of one tower, whose other parts give what it gives."""
    fields = {name: value for name, value in ALONE.items() if name != f"{modality}_config"} | fields
    return MoTModel.from_unimodal_pretrained(**{modality: folder}, **fields, zero_init_new_layers=True)


def fresh_and_reloaded(modality, folder):
    """The MoT of the source in a folder, and what comes back after it was saved."""
    model = only(modality, folder / "source")
    model.save_pretrained(folder / "mixture_of_transformers")
    return model, MoTModel.from_pretrained(folder / "mixture_of_transformers")


def assert_states_equal(output, modality, reference):
    """The tower's output, that of the whole model (which adds nothing yet), and the states between the layers."""
    real = output.attention_mask.bool()
    torch.testing.assert_close(
        output[f"{modality}_hidden_state"][real], reference.last_hidden_state[real], atol=1e-5, rtol=1e-5
    )
    # The last state of transformers' models is their last hidden state, after the norm.
    for ours, theirs in list(zip(output.encoder_hidden_states[modality], reference.hidden_states))[:-1]:
        torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=1e-5)


def assert_pictures_equal(model, reference, size, **options):
    pixels = torch.randn(3, 3, size, size + 16, generator=torch.Generator().manual_seed(1))
    pixels = pixels if size != PICTURES["image_size"] else pixels[..., :size]
    with torch.no_grad():
        expected = reference(pixels, output_hidden_states=True, **options)
        found = model(pixel_values=pixels, output_encoder_hidden_states=True)
    assert_states_equal(found, "image", expected)


@pytest.mark.parametrize("name", IMAGE_SOURCES)
def test_an_image_tower_equals_its_source(name, tmp_path):
    model_class, config, encoder = IMAGE_SOURCES[name]
    reference = encoder(source(model_class, config, tmp_path / "source"))
    for model in fresh_and_reloaded("image", tmp_path):
        assert_pictures_equal(model, reference, 32)
        interpolates = {} if "dino" in name else {"interpolate_pos_encoding": True}
        assert_pictures_equal(model, reference, 48, **interpolates)


def test_siglip_2_of_any_resolution_equals_its_source(tmp_path):
    config = Siglip2Config(
        vision_config=SIZES | {"patch_size": 8, "num_patches": 16}, text_config=SIZES | {"vocab_size": 60}
    )
    reference = source(Siglip2Model, config, tmp_path).vision_model
    model = only("image", tmp_path)
    for rows, columns in ((4, 4), (6, 3)):
        pixels = torch.randn(2, 3, 8 * rows, 8 * columns, generator=torch.Generator().manual_seed(1))
        # It takes patches, whose pixels stand in the order rows, columns, channels.
        patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).reshape(2, rows * columns, -1)
        shapes = torch.tensor([[rows, columns]] * 2)
        with torch.no_grad():
            expected = reference(patches, torch.ones(2, rows * columns), shapes, output_hidden_states=True)
            found = model(pixel_values=pixels, output_encoder_hidden_states=True)
        assert_states_equal(found, "image", expected)


TEXT_SOURCES = {
    "roberta-prelayernorm": (
        RobertaPreLayerNormForMaskedLM,
        RobertaPreLayerNormConfig(**SIZES, vocab_size=60, max_position_embeddings=22, pad_token_id=1),
        lambda model: model.roberta_prelayernorm,
    ),
    "siglip": (
        SiglipModel,
        SiglipConfig(
            vision_config=SIZES | PICTURES,
            text_config=SIZES | {"vocab_size": 60, "max_position_embeddings": 20, "pad_token_id": 1},
        ),
        lambda model: model.text_model,
    ),
    "siglip2": (
        Siglip2Model,
        Siglip2Config(
            vision_config=SIZES | {"patch_size": 8, "num_patches": 16},
            text_config=SIZES | {"vocab_size": 60, "max_position_embeddings": 20, "pad_token_id": 1},
        ),
        lambda model: model.text_model,
    ),
}


@pytest.mark.parametrize("name", TEXT_SOURCES)
def test_a_text_tower_equals_its_source(name, tmp_path):
    model_class, config, encoder = TEXT_SOURCES[name]
    reference = encoder(source(model_class, config, tmp_path / "source"))
    ids = torch.randint(2, 60, (3, 19), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(19) < torch.tensor([[19], [7], [1]])).long()
    ids = ids.masked_fill(mask == 0, 1)
    for model in fresh_and_reloaded("text", tmp_path):
        with torch.no_grad():
            expected = reference(ids, attention_mask=mask, output_hidden_states=True)
            found = model(input_ids=ids, attention_mask=mask, output_encoder_hidden_states=True)
        assert_states_equal(found, "text", expected)


def test_an_audio_tower_equals_whisper(tmp_path):
    reference = source(WhisperForConditionalGeneration, WhisperConfig(**WHISPER), tmp_path / "source").model.encoder
    frames = torch.randn(3, 100, 20, generator=torch.Generator().manual_seed(1))  # the longest clip it takes
    for model in fresh_and_reloaded("audio", tmp_path):
        with torch.no_grad():
            expected = reference(frames.transpose(1, 2), output_hidden_states=True)
            found = model(input_features=frames, output_encoder_hidden_states=True)
        assert_states_equal(found, "audio", expected)


# ---------------------------------------------------------------------------------------------------------------------
# Published sizes
# ---------------------------------------------------------------------------------------------------------------------

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
WHISPER_BASE = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048}
WHISPER_BASE |= {"decoder_layers": 1, "decoder_attention_heads": 8, "decoder_ffn_dim": 64, "vocab_size": 60}
WHISPER_BASE |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}


def published(model_class, config, folder):
    """With the initial weights of its class, in which a model of this size is trained."""
    torch.manual_seed(0)
    model = model_class(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.slow
def test_vit_base_equals_its_source(tmp_path):
    reference = published(ViTForImageClassification, ViTConfig(), tmp_path).vit
    pixels = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = reference(pixels, output_hidden_states=True)
        found = only("image", tmp_path)(pixel_values=pixels, output_encoder_hidden_states=True)
    assert_states_equal(found, "image", expected)


@pytest.mark.slow
def test_siglip_base_equals_its_source(tmp_path):
    model = published(SiglipModel, SiglipConfig(text_config={"vocab_size": 32000}, vision_config={}), tmp_path)
    pixels, ids = torch.randn(2, 3, 224, 224), torch.randint(2, 32000, (2, 64))
    with torch.no_grad():
        expected = model.vision_model(pixels, output_hidden_states=True)
        found = only("image", tmp_path)(pixel_values=pixels, output_encoder_hidden_states=True)
        assert_states_equal(found, "image", expected)
        expected = model.text_model(ids, output_hidden_states=True)
        found = only("text", tmp_path)(input_ids=ids, output_encoder_hidden_states=True)
        assert_states_equal(found, "text", expected)


@pytest.mark.slow
def test_whisper_base_equals_its_source(tmp_path):
    reference = published(WhisperForConditionalGeneration, WhisperConfig(**WHISPER_BASE), tmp_path).model.encoder
    frames = torch.randn(1, 3000, 80)  # 30 s
    with torch.no_grad():
        expected = reference(frames.transpose(1, 2), output_hidden_states=True)
        found = only("audio", tmp_path)(input_features=frames, output_encoder_hidden_states=True)
    assert_states_equal(found, "audio", expected)


@pytest.mark.slow
def test_roberta_base_equals_its_source(tmp_path):
    config = RobertaPreLayerNormConfig(max_position_embeddings=514, pad_token_id=1, layer_norm_eps=1e-5)
    reference = published(RobertaPreLayerNormForMaskedLM, config, tmp_path).roberta_prelayernorm
    ids, mask = torch.randint(2, 50265, (2, 512)), torch.ones(2, 512, dtype=torch.long)
    ids[1, 300:], mask[1, 300:] = 1, 0
    with torch.no_grad():
        expected = reference(ids, attention_mask=mask, output_hidden_states=True)
        found = only("text", tmp_path)(input_ids=ids, attention_mask=mask, output_encoder_hidden_states=True)
    assert_states_equal(found, "text", expected)


MEASURE = """
import sys
from pathlib import Path
import torch
from mixture_of_transformers import MoTModel

def status(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024

torch.set_num_threads(1)
torch.nn.Linear(8, 8)(torch.randn(8, 8))
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
model = MoTModel.from_unimodal_pretrained(
    image=sys.argv[1], text=sys.argv[1], audio_config=None, zero_init_new_layers=True
)
print((status("VmHWM") - before) / sum(p.numel() * p.element_size() for p in model.parameters()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
@pytest.mark.parametrize("shards", [1, 4])
def test_conversion_holds_little_more_than_the_weights(shards, tmp_path):
    """Peak memory of a process that converts both towers of a SigLIP of base size, over the size of the model."""
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config={"vocab_size": 32000}, vision_config={}))
    total = sum(p.numel() * p.element_size() for p in model.parameters())
    model.save_pretrained(tmp_path, max_shard_size=total // shards + 10**7)
    assert len(list(tmp_path.glob("*.safetensors"))) == shards
    done = run_python(MEASURE, str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert 0.9 < float(done.stdout) < 1.3


def run_python(code, *arguments, **environment):
    """A process that finds the package also where it is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "mixture_of_transformers").symlink_to(REPOSITORY, target_is_directory=True)
        environment = os.environ | {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"} | environment
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment
        )


# ---------------------------------------------------------------------------------------------------------------------
# Several towers
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """Folders of a ViT, a SigLIP and a Whisper of different widths and depths."""
    folder = tmp_path_factory.mktemp("towers")
    source(ViTForImageClassification, ViTConfig(**SIZES | {"hidden_size": 48}, **PICTURES), folder / "vit")
    text = {"vocab_size": 60, "max_position_embeddings": 20, "pad_token_id": 1, "num_hidden_layers": 2}
    config = SiglipConfig(vision_config=SIZES | PICTURES, text_config=SIZES | text)
    source(SiglipModel, config, folder / "siglip")
    source(WhisperForConditionalGeneration, WhisperConfig(**WHISPER), folder / "whisper")
    return {"text": folder / "siglip", "image": folder / "vit", "audio": folder / "whisper"}


def make_batch():
    generator = torch.Generator().manual_seed(2)
    return {
        "input_ids": torch.randint(2, 60, (2, 9), generator=generator),
        "attention_mask": torch.tensor([[1] * 9, [1] * 4 + [0] * 5]),
        "pixel_values": torch.randn(2, 3, 32, 32, generator=generator),
        "input_features": torch.randn(2, 60, 20, generator=generator),
        "input_features_mask": (torch.arange(60) < torch.tensor([[60], [31]])).long(),
    }


def assert_only_new_parts_learn(model, batch):
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    freeze(model, ["encoders", "embeddings"])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(2):
        model.train()(**batch, labels=torch.tensor([0, 2])).loss.backward()
        optimizer.step()
    changed = {name for name, parameter in model.named_parameters() if not parameter.equal(before[name])}
    assert changed == {
        name for name in before if not name.startswith(("mot.embeddings", "mot.encoders", "mot.modality"))
    }


def test_towers_of_different_widths_train_what_is_not_frozen(towers):
    model = MoTForSequenceClassification.from_unimodal_pretrained(**towers, hidden_size=32, num_labels=3)
    assert_only_new_parts_learn(model, make_batch())


@pytest.mark.slow
def test_towers_of_published_sizes_train_what_is_not_frozen(tmp_path):
    """ViT-base, the text tower of SigLIP-base and the encoder of Whisper-base: 768, 768 and 512 wide, 12, 12 and 6
    deep."""
    published(ViTForImageClassification, ViTConfig(), tmp_path / "image")
    siglip = SiglipConfig(text_config={"vocab_size": 32000}, vision_config=SIZES | PICTURES)
    published(SiglipModel, siglip, tmp_path / "text")
    published(WhisperForConditionalGeneration, WhisperConfig(**WHISPER_BASE), tmp_path / "audio")
    names = {m: tmp_path / m for m in ("text", "image", "audio")}
    model = MoTForSequenceClassification.from_unimodal_pretrained(**names, hidden_size=768, num_labels=3)
    assert [len(model.mot.encoders[m].layers) for m in names] == [12, 12, 6]
    batch = {"input_ids": torch.randint(2, 32000, (2, 20)), "pixel_values": torch.randn(2, 3, 224, 224)}
    batch |= {"input_features": torch.randn(2, 200, 80), "pixel_mask": torch.tensor([1, 0])}
    model.train()(**batch, labels=torch.tensor([0, 2])).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.zero_grad()
    assert_only_new_parts_learn(model, batch)


@pytest.mark.parametrize("model_class", [MoTModel, MoTForRetrieval, MoTForPreTraining, MoTForSequenceClassification])
def test_every_head_inherits_warm_starts(model_class, towers):
    model = model_class.from_unimodal_pretrained(
        text=towers["text"], audio=towers["audio"], image_config={"image_size": 32, "num_hidden_layers": 1}
    )
    base = getattr(model, "mot", model)
    assert base.config.hidden_size == 32 and base.config.image_config.num_hidden_layers == 1  # fresh
    same = MoTModel.from_unimodal_pretrained(text=towers["text"], image_config=None, audio_config=None)
    tower = base.encoders["text"].state_dict()
    assert all(tower[name].equal(value) for name, value in same.encoders["text"].state_dict().items())
    assert not base.modality_embeddings.text.any() and base.modality_embeddings.text.requires_grad
    assert base.modality_embeddings.image.any()


def test_new_layers_that_begin_at_zero_change_nothing(towers):
    options = {"hidden_size": 32, "num_joint_layers": 2, "global_mlp": True, "zero_init_new_layers": True}
    model = MoTModel.from_unimodal_pretrained(**towers, **options)
    output = model(**make_batch(), output_hidden_states=True)
    real = output.attention_mask.bool()
    assert output.last_hidden_state[real].equal(output.hidden_states[0][real])
    model.train()(**make_batch()).last_hidden_state.square().sum().backward()
    assert model.joint_layers[0].experts["text"].mlp.fc2.weight.grad.any()  # but they learn


def test_positions_and_vocabulary_come_to_another_size(towers, caplog):
    fields = {"text_config": {"vocab_size": 70, "max_position_embeddings": 12}, "image_config": {"image_size": 48}}
    with caplog.at_level("WARNING"):
        model = MoTModel.from_unimodal_pretrained(**towers, hidden_size=32, **fields)
    words, positions = (
        load_siglip(towers["text"], "token_embedding"),
        load_siglip(towers["text"], "position_embedding"),
    )
    text, image = model.embeddings["text"], model.embeddings["image"]
    assert text.word_embeddings.weight[:60].equal(words) and text.word_embeddings.weight[60:].any()
    assert text.position_embeddings.weight.equal(positions[:12])
    reference = ViTForImageClassification.from_pretrained(towers["image"]).vit
    pixels = torch.randn(1, 3, 48, 48)
    with torch.no_grad():
        expected = reference(pixels, interpolate_pos_encoding=True).last_hidden_state
        found = model.encode(pixel_values=pixels, output_encoder_hidden_states=True).encoder_hidden_states["image"][-1]
        found = model.encoders["image"].final_norm(found)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert image.position_embeddings.shape == (1, 36, 48)
    report = caplog.text
    for line in ("(60, 32) -> (70, 32)", "(20, 32) -> (12, 32)", "(1, 16, 48) -> (1, 36, 48)"):
        assert line in report
    for what in ("loaded", "renamed", "resized", "initialised", "left out"):
        assert f"\n  {what}" in report


def load_siglip(folder, part):
    return load_file(folder / "model.safetensors")[f"text_model.embeddings.{part}.weight"]


# ---------------------------------------------------------------------------------------------------------------------
# Where checkpoints come from
# ---------------------------------------------------------------------------------------------------------------------

TO_THE_HUB = """
import sys
from huggingface_hub import HfApi
HfApi().create_repo("user/vit", private=True)
HfApi().create_branch("user/vit", branch="v1")
HfApi().upload_folder(repo_id="user/vit", folder_path=sys.argv[1], revision="v1")
"""
FROM_THE_HUB = """
import sys
import torch
from mixture_of_transformers import MoTModel
model = MoTModel.from_unimodal_pretrained(image=sys.argv[1], text_config=None, audio_config=None)
print(sum(p.double().abs().sum() for p in model.encoders["image"].parameters()).item())
"""


@pytest.mark.slow
def test_over_the_hub_and_offline_from_its_cache(towers, hub, tmp_path):
    reference = ViTForImageClassification.from_pretrained(towers["image"])
    reference.save_pretrained(tmp_path / "sharded", max_shard_size="50KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    environment = hub | {"HF_HOME": str(tmp_path / "cache")}
    pushed = run_python(TO_THE_HUB, str(tmp_path / "sharded"), **environment)
    assert pushed.returncode == 0, pushed.stderr[-3000:]
    first = run_python(FROM_THE_HUB, "user/vit@v1", **environment)
    assert first.returncode == 0, first.stderr[-3000:]
    local = run_python(FROM_THE_HUB, str(towers["image"]))
    assert first.stdout == local.stdout and float(first.stdout) > 0
    offline = environment | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    again = run_python(FROM_THE_HUB, "user/vit@v1", **offline)
    assert again.stdout == first.stdout, again.stderr[-3000:]
    unknown = run_python(FROM_THE_HUB, "user/nothing", **environment)
    assert unknown.returncode and "user/nothing" in unknown.stderr


def test_older_and_newer_names_give_the_same(towers, tmp_path):
    """transformers writes the names of old, and has others in memory: a checkpoint may come with either."""
    model = ViTForImageClassification.from_pretrained(towers["image"])
    model.config.save_pretrained(tmp_path)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert set(model.state_dict()) != set(load_file(towers["image"] / "model.safetensors"))
    first, second = (
        MoTModel.from_unimodal_pretrained(image=folder, text_config=None, audio_config=None, zero_init_new_layers=True)
        for folder in (tmp_path, towers["image"])
    )
    for name, value in first.encoders["image"].state_dict().items():
        assert value.equal(second.encoders["image"].state_dict()[name])


# ---------------------------------------------------------------------------------------------------------------------
# What cannot be
# ---------------------------------------------------------------------------------------------------------------------


def wrong(modality, folder, message, **fields):
    with pytest.raises((ValueError, OSError), match=message) as caught:
        only(modality, folder, **fields)
    return str(caught.value)


@pytest.mark.parametrize(
    "modality, config, message",
    [
        ("text", BertConfig(), "norm after they add.*SigLIP or RoBERTa-PreLayerNorm.*text_backbone="),
        ("text", RobertaConfig(), "norm after they add"),
        ("text", GPT2Config(), "it is a decoder"),
        ("text", RobertaPreLayerNormConfig(is_decoder=True), "is a decoder"),
        ("text", CLIPConfig(), "causal"),
        ("text", ModernBertConfig(), "rotary"),
        ("text", ViTConfig(), "it encodes image: name it as `image=`"),
        ("image", DINOv3ViTConfig(), "rotary"),
        ("image", Dinov2Config(use_swiglu_ffn=True), "SwiGLU"),
        ("image", ResNetConfig(), "not known.*image_backbone="),
        ("image", ViTConfig(image_size=(32, 64)), "32 x 64"),
        ("audio", ASTConfig(), "overlap.*Use Whisper"),
        ("audio", Wav2Vec2Config(), "waveforms"),
        ("text", MoTConfig(), "is a MoT already"),
    ],
)
def test_a_source_that_cannot_be_a_tower_is_refused_with_the_reason(modality, config, message, tmp_path):
    config.save_pretrained(tmp_path)
    wrong(modality, tmp_path, f"(?s){message}")


def test_pickled_weights_are_refused_unless_a_flag_allows_them(towers, tmp_path):
    model = ViTForImageClassification.from_pretrained(towers["image"])
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    assert "allow_pickle=True" in wrong("image", tmp_path, "pickled weights alone")
    found, expected = only("image", tmp_path, allow_pickle=True), only("image", towers["image"])
    for part in ("embeddings", "encoders"):
        first, second = (getattr(model, part).state_dict() for model in (found, expected))
        assert all(value.equal(second[name]) for name, value in first.items())


def test_what_is_missing_or_damaged_is_named(towers, tmp_path):
    ViTConfig(**SIZES, **PICTURES).save_pretrained(tmp_path)
    wrong("image", tmp_path, "has no weights: neither model.safetensors nor pytorch_model.bin")
    whole = (towers["image"] / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    wrong("image", tmp_path, "model.safetensors of .* is damaged, or was not downloaded to its end")
    shards = tmp_path / "shards"
    ViTForImageClassification.from_pretrained(towers["image"]).save_pretrained(shards, max_shard_size="50KB")
    sorted(shards.glob("*.safetensors"))[1].unlink()
    wrong("image", shards, "not all there.*00002-of-")
    wrong("image", tmp_path / "nowhere", "nowhere")
    config = ViTConfig(**SIZES | {"num_hidden_layers": 5, "hidden_size": 48}, **PICTURES)
    config.save_pretrained(shutil.copytree(towers["image"], tmp_path / "other"))
    wrong("image", tmp_path / "other", "lacks .* of the tensors of its tower .image., such as encoders.image.layers.3")


@pytest.mark.parametrize(
    "modality, fields, shapes",
    [
        ("text", {"text_config": {"vocab_size": 50}}, ("(50, 32)", "(60, 32)")),
        ("text", {"text_config": {"max_position_embeddings": 30}}, ("(30, 32)", "(20, 32)")),
        ("text", {"text_config": {"hidden_size": 64}, "hidden_size": 64}, ("64", "32")),
        ("image", {"image_config": {"patch_size": 4}}, ("(48, 3, 4, 4)", "(48, 3, 8, 8)")),
    ],
)
def test_a_shape_that_cannot_fit_names_both(modality, fields, shapes, towers):
    message = wrong(modality, towers[modality], "does not fit this checkpoint", **fields)
    assert all(shape in message for shape in shapes)


def test_what_the_towers_do_not_say_must_be_given(towers):
    with pytest.raises(ValueError, match=r"differ in width \(text 32, image 48, audio 32\).*`hidden_size`"):
        MoTModel.from_unimodal_pretrained(**towers)
    with pytest.raises(ValueError, match="Name at least one checkpoint"):
        MoTModel.from_unimodal_pretrained(hidden_size=32)
    with pytest.raises(ValueError, match="A checkpoint is named for text, but `text_config` is None"):
        MoTModel.from_unimodal_pretrained(text=towers["text"], text_config=None)


# ---------------------------------------------------------------------------------------------------------------------
# Any other model in front of a tower
# ---------------------------------------------------------------------------------------------------------------------

BACKBONES = {
    "text": BertConfig(**SIZES, vocab_size=60),
    "image": ResNetConfig(embedding_size=8, hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1]),
    "audio": Wav2Vec2Config(
        **SIZES,
        conv_dim=[16, 16],
        conv_kernel=[10, 3],
        conv_stride=[5, 2],
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer",
    ),
}


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    """Folders of a BERT, a ResNet and a wav2vec2, and the models."""
    folder = tmp_path_factory.mktemp("backbones")
    torch.manual_seed(0)
    models = {m: AutoModel.from_config(config).eval() for m, config in BACKBONES.items()}
    for m, model in models.items():
        model.save_pretrained(folder / m)
    return folder, models


def with_backbones(backbones, model_class=MoTModel, **fields):
    folder, models = backbones
    names = {f"{m}_backbone": folder / m for m in models}
    return model_class.from_unimodal_pretrained(
        **names, hidden_size=32, num_attention_heads=4, intermediate_size=48, **fields
    )


def backbone_batch():
    generator = torch.Generator().manual_seed(3)
    return {
        "input_ids": torch.randint(1, 60, (3, 6), generator=generator),
        "attention_mask": torch.tensor([[1] * 6, [1] * 2 + [0] * 4, [0] * 6]),
        "pixel_values": torch.randn(3, 3, 64, 64, generator=generator),
        "pixel_mask": torch.tensor([1, 0, 1]),
        "input_features": torch.randn(3, 400, 1, generator=generator),  # waveforms
        "input_features_mask": (torch.arange(400) < torch.tensor([[400], [150], [0]])).long(),
    }


def test_what_a_backbone_gives_takes_the_place_of_ready_features(backbones):
    """The same tower on the features that the backbone computes outside."""
    model, batch = with_backbones(backbones), backbone_batch()
    _, others = backbones
    with torch.no_grad():
        text = others["text"](batch["input_ids"], attention_mask=torch.tensor([[1] * 6, [1] * 2 + [0] * 4, [1] * 6]))
        image = others["image"](batch["pixel_values"]).last_hidden_state.flatten(2).mT
        sound = others["audio"](batch["input_features"][:1, :, 0]).last_hidden_state  # the one row that is whole
        outside = {
            "text": (text.last_hidden_state, batch["attention_mask"]),
            "image": (image, batch["pixel_mask"][:, None].expand(image.shape[:2])),
            "audio": (sound, None),
        }
        arguments = {"text": "input_ids", "image": "pixel_values", "audio": "input_features"}
        masks = {"text": "attention_mask", "image": "pixel_mask", "audio": "input_features_mask"}
        config = MoTConfig(
            **{**model.config.to_dict(), **{f"{m}_config": None for m in others}}
            | {f"{m}_config": {**model.config.modality_config(m).to_dict(), "backbone_config": None} for m in others}
        )
        plain = MoTModel(config).eval()
        plain.load_state_dict({k: v for k, v in model.state_dict().items() if ".backbone." not in k})
        names = {"text": "text_features", "image": "image_features", "audio": "input_features"}
        for m, (features, mask) in outside.items():
            rows = slice(0, len(features))
            inside = {arguments[m]: batch[arguments[m]][rows], masks[m]: batch[masks[m]][rows]}
            given = {names[m]: features} | ({} if mask is None else {masks[m]: mask})
            found, expected = model(**inside), plain(**given)
            assert found.attention_mask.equal(expected.attention_mask)
            torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, atol=1e-5, rtol=1e-5)


def test_a_row_behind_a_backbone_does_not_depend_on_its_neighbours(backbones):
    model, batch = with_backbones(backbones), backbone_batch()
    together = model(**batch)
    real = together.attention_mask[1].bool()
    alone = model(input_ids=batch["input_ids"][1:2, :2], input_features=batch["input_features"][1:2, :150])
    torch.testing.assert_close(together.last_hidden_state[1][real], alone.last_hidden_state[0], atol=1e-5, rtol=1e-5)
    batch["input_features"][1, 150:], batch["pixel_values"][1] = torch.nan, torch.inf
    assert model(**batch).last_hidden_state[1].equal(together.last_hidden_state[1])


@pytest.mark.parametrize("is_frozen", [True, False])
def test_a_backbone_is_saved_with_the_model_and_trains_unless_frozen(is_frozen, backbones, tmp_path):
    fields = {f"{m}_config": {"freeze_backbone": is_frozen} for m in BACKBONES}
    model = with_backbones(backbones, MoTForSequenceClassification, num_labels=2, **fields)
    _, others = backbones
    for m, other in others.items():
        weights = model.mot.embeddings[m].backbone.state_dict()
        assert all(value.equal(weights[name]) for name, value in other.state_dict().items())
    model.save_pretrained(tmp_path)
    again = MoTForSequenceClassification.from_pretrained(tmp_path)
    assert again(**backbone_batch()).logits.equal(model(**backbone_batch()).logits)
    for model in (model, again):  # noqa: B020
        model.train()(input_ids=backbone_batch()["input_ids"], labels=torch.tensor([0, 1, 0])).loss.backward()
        for name, parameter in model.named_parameters():
            is_unused = ".pooler." in name or name.endswith("masked_spec_embed")
            is_trained = not (".backbone." in name and (is_frozen or is_unused))
            assert parameter.requires_grad == is_trained
            assert (parameter.grad is not None) == is_trained, name


def test_one_source_for_one_modality(towers, backbones):
    with pytest.raises(ValueError, match="`text=` and `text_backbone=` exclude each other"):
        MoTModel.from_unimodal_pretrained(text=towers["text"], text_backbone=backbones[0] / "text")
    with pytest.raises(ValueError, match="Pretraining cannot hide parts of text from the backbone"):
        with_backbones(backbones, MoTForPreTraining)


# ---------------------------------------------------------------------------------------------------------------------
# Processors
# ---------------------------------------------------------------------------------------------------------------------


def test_the_processor_is_that_of_the_sources(towers, tmp_path):
    folders = {m: shutil.copytree(folder, tmp_path / m) for m, folder in towers.items()}
    tokenizer = train_tokenizer(["a few words", "and some more"] * 9, model_max_length=20)
    pictures = ViTImageProcessorPil(size={"height": 32, "width": 32}, image_mean=[0.1] * 3, image_std=[0.7] * 3)
    sounds = WhisperFeatureExtractor(feature_size=20, chunk_length=1)
    for part, m in ((tokenizer, "text"), (pictures, "image"), (sounds, "audio")):
        part.save_pretrained(folders[m])
    processor = MoTProcessor.from_unimodal_pretrained(**folders)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))
    sound = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    batch = processor(
        text=["a few words", None], images=[picture, None], audio=[sound, sound[:9000]], sampling_rate=16_000
    )
    assert batch["input_ids"][0].tolist() == tokenizer("a few words")["input_ids"]
    torch.testing.assert_close(batch["pixel_values"][:1], pictures(picture, return_tensors="pt")["pixel_values"])
    expected = sounds(sound, sampling_rate=16_000, return_tensors="pt")["input_features"]
    torch.testing.assert_close(batch["input_features"][0].T, expected[0])
    assert batch["input_features_mask"].sum(dim=1).tolist() == [100, 57]
    model = MoTModel.from_unimodal_pretrained(**folders, hidden_size=32, text_config={"vocab_size": len(tokenizer)})
    assert model(**batch).last_hidden_state.isfinite().all()
    processor.save_pretrained(tmp_path / "saved")
    again = MoTProcessor.from_pretrained(tmp_path / "saved")(images=picture, text="a few words")
    assert again["pixel_values"].equal(batch["pixel_values"][:1])


def test_siglip_2_gets_whole_pictures(tmp_path):
    config = Siglip2Config(
        vision_config=SIZES | {"patch_size": 8, "num_patches": 16}, text_config=SIZES | {"vocab_size": 60}
    )
    source(Siglip2Model, config, tmp_path)
    Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16).save_pretrained(tmp_path)
    processor = MoTProcessor.from_unimodal_pretrained(image=tmp_path)
    pixels = processor(images=Image.new("RGB", (50, 20), (255, 0, 0)))["pixel_values"]
    assert pixels.shape == (1, 3, 32, 32)
    assert pixels[0, :, 0, 0].tolist() == [1.0, -1.0, -1.0]  # mean and standard deviation of one half
    only("image", tmp_path)(pixel_values=pixels)


def test_wav2vec2_gets_waveforms(backbones, tmp_path):
    folder = shutil.copytree(backbones[0] / "audio", tmp_path / "audio")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    processor = MoTProcessor.from_unimodal_pretrained(audio=folder)
    sound = np.random.default_rng(0).normal(size=800).astype(np.float32)
    batch = processor(audio=[sound, sound[:500]], sampling_rate=16_000)
    assert batch["input_features"].shape == (2, 800, 1)
    assert batch["input_features_mask"].sum(dim=1).tolist() == [800, 500]
    together = with_backbones(backbones)(**batch)
    alone = with_backbones(backbones)(**processor(audio=sound[:500], sampling_rate=16_000))
    rows = together.attention_mask[1].bool()
    assert rows.sum() == alone.attention_mask.sum()
    assert together.audio_hidden_state[1][rows].shape == alone.audio_hidden_state[0].shape
