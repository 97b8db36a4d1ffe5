# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The benchmark of published weights: a Whisper of CTranslate2 is read as it was, frozen features are those of each
row alone, what was published stays where adapters learn, and the page has what was run."""

import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, WhisperConfig, WhisperForConditionalGeneration, WhisperModel

from mixture_of_transformers import MoTForSequenceClassification, MoTModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.pretrained import (  # noqa: E402
    DIGIT_ARMS,
    SIZES,
    WITHOUT_MEDIA,
    Length,
    SpokenDigits,
    batch_of,
    features_of,
    fit,
    front_of_text,
    is_published,
    runs,
    tower_of_audio,
    with_arm,
)
from benchmarks.pretrained_page import write_page  # noqa: E402
from benchmarks.published import write_whisper  # noqa: E402

# ---------------------------------------------------------------------------------------------------------------------
# CTranslate2's form of a Whisper
# ---------------------------------------------------------------------------------------------------------------------

WHISPER = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 24, "num_mel_bins": 10}
WHISPER |= {"decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 20, "vocab_size": 50300}
WHISPER |= {"max_source_positions": 8, "max_target_positions": 6}  # and a vocabulary with the ids of Whisper's marks


def tensors_of(model: WhisperModel) -> dict[str, np.ndarray]:
    """The tensors of a Whisper as CTranslate2's converter names and stacks them."""
    own = {name: value.numpy() for name, value in model.half().state_dict().items()}
    found = {"decoder/embeddings/weight": own["decoder.embed_tokens.weight"]}

    def put(ours: str, theirs: str, weight: str = "weight", bias: str = "bias") -> None:
        found[f"{theirs}/{weight}"], found[f"{theirs}/{bias}"] = own[f"{ours}.weight"], own[f"{ours}.bias"]

    def stack(ours: str, letters: str, theirs: str) -> None:
        biases = [own.get(f"{ours}.{x}_proj.bias", np.zeros(16, np.float16)) for x in letters]
        found[f"{theirs}/weight"] = np.concatenate([own[f"{ours}.{x}_proj.weight"] for x in letters])
        found[f"{theirs}/bias"] = np.concatenate(biases)

    for part, layers in (("encoder", 2), ("decoder", 1)):
        found[f"{part}/num_heads"] = np.array(4, np.int16)
        found[f"{part}/position_encodings/encodings"] = own[f"{part}.embed_positions.weight"]
        put(f"{part}.layer_norm", f"{part}/layer_norm", "gamma", "beta")
        for i in range(layers):
            ours, theirs = f"{part}.layers.{i}", f"{part}/layer_{i}"
            put(f"{ours}.self_attn_layer_norm", f"{theirs}/self_attention/layer_norm", "gamma", "beta")
            stack(f"{ours}.self_attn", "qkv", f"{theirs}/self_attention/linear_0")
            put(f"{ours}.self_attn.out_proj", f"{theirs}/self_attention/linear_1")
            put(f"{ours}.final_layer_norm", f"{theirs}/ffn/layer_norm", "gamma", "beta")
            put(f"{ours}.fc1", f"{theirs}/ffn/linear_0")
            put(f"{ours}.fc2", f"{theirs}/ffn/linear_1")
    put("decoder.layers.0.encoder_attn_layer_norm", "decoder/layer_0/attention/layer_norm", "gamma", "beta")
    stack("decoder.layers.0.encoder_attn", "q", "decoder/layer_0/attention/linear_0")
    stack("decoder.layers.0.encoder_attn", "kv", "decoder/layer_0/attention/linear_1")
    put("decoder.layers.0.encoder_attn.out_proj", "decoder/layer_0/attention/linear_2")
    for convolution in ("conv1", "conv2"):
        put(f"encoder.{convolution}", f"encoder/{convolution}")
    return found


def written(tensors: dict[str, np.ndarray], model: str = "WhisperSpec") -> bytes:
    """A file as CTranslate2 writes it: version 6, the model and its revision, the tensors, and no aliases."""
    kinds = {np.dtype(np.int8): 1, np.dtype(np.int16): 2, np.dtype(np.float16): 4}

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    parts = [struct.pack("<I", 6), text(model), struct.pack("<II", 3, len(tensors))]
    for name, array in tensors.items():
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        parts += [text(name), shape, struct.pack("<BI", kinds[array.dtype], array.nbytes), array.tobytes()]
    return b"".join([*parts, struct.pack("<I", 0)])


def test_a_whisper_of_ctranslate2_is_the_one_that_it_was_made_of(tmp_path):
    own = WhisperModel(WhisperConfig(**WHISPER)).eval()
    write_whisper(written(tensors_of(own)), tmp_path)
    found, report = WhisperForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    frames, ids = torch.randn(2, 10, 16), torch.randint(50300, (2, 5))
    with torch.no_grad():
        expected = own.float()(frames, decoder_input_ids=ids).last_hidden_state  # of the weights that half has left
        assert found.model.eval()(frames, decoder_input_ids=ids).last_hidden_state.equal(expected)


def test_what_is_no_float_whisper_of_ctranslate2_is_refused(tmp_path):
    tensors = tensors_of(WhisperModel(WhisperConfig(**WHISPER)))
    with pytest.raises(ValueError, match="holds a TransformerSpec, expected a WhisperSpec"):
        write_whisper(written(tensors, "TransformerSpec"), tmp_path)
    name = "encoder/layer_1/ffn/linear_0/weight"
    with pytest.raises(ValueError, match=f"{name} is quantised to int8: convert a float16 model"):
        write_whisper(written(tensors | {name: np.zeros((24, 16), np.int8)}), tmp_path)
    biased = "encoder/layer_0/self_attention/linear_0/bias"
    with pytest.raises(ValueError, match="keys of encoder/layer_0/self_attention have a bias"):
        write_whisper(written(tensors | {biased: np.ones(48, np.float16)}), tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# The runs
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bert(tmp_path):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(**sizes, vocab_size=40)).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_features_that_are_made_once_are_those_of_each_row_alone_in_the_order_of_the_rows(bert):
    encode = front_of_text(bert)
    lengths = [7, 2, 9, 2, 5]
    rows = [{"input_ids": torch.randint(1, 40, (n,)), "labels": torch.tensor(i)} for i, n in enumerate(lengths)]
    found = features_of(rows, ("input_ids", "text_features"), encode)
    model = BertModel.from_pretrained(bert).eval()
    for row, features in zip(rows, found, strict=True):
        with torch.no_grad():
            alone = model(row["input_ids"][None]).last_hidden_state[0]
        torch.testing.assert_close(features["text_features"], alone, atol=1e-5, rtol=1e-5)
        assert features["labels"] == row["labels"] and "input_ids" not in features


def test_what_the_tower_that_begins_as_whisper_gives_of_clips_together_it_gives_of_each_alone(tmp_path):
    write_whisper(written(tensors_of(WhisperModel(WhisperConfig(**WHISPER)))), tmp_path)
    rows = [{"input_features": torch.randn(length, 10)} for length in (9, 16, 4)]
    found = features_of(rows, ("input_features", "input_features"), tower_of_audio(tmp_path))
    tower = MoTModel.from_unimodal_pretrained(audio=tmp_path, text_config=None, image_config=None).eval()
    for row, features in zip(rows, found, strict=True):
        with torch.no_grad():
            alone = tower.encode(input_features=row["input_features"][None]).hidden_states["audio"][0]
        torch.testing.assert_close(features["input_features"], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("arm", DIGIT_ARMS)
def test_every_arm_learns_to_embed_sentences_and_sounds(arm, bert, tmp_path):
    write_whisper(written(tensors_of(WhisperModel(WhisperConfig(**WHISPER)))), tmp_path)
    owner = SimpleNamespace(minilm=bert, whisper=tmp_path, processor=SimpleNamespace(tokenizer=range(40)))
    model = with_arm(SpokenDigits.build(owner, arm), arm)
    frames, words = {"frozen": (512, "text_features"), "scratch": (80, "input_ids")}.get(arm, (10, "input_ids"))
    texts = [torch.randn(5, 384) if arm == "frozen" else torch.randint(1, 40, (5,)) for _ in range(4)]
    rows = [
        {words: text, "input_features": torch.randn(length, frames), "labels": torch.tensor(length % 2)}
        for text, length in zip(texts, (4, 9, 16, 7))
    ]
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    fit(model, arm, rows, Length(1, 2), 0, lambda batch: model(**batch, return_loss=True).loss)
    embeds = model(**{name: value for name, value in batch_of(rows).items() if name != "labels"}).modality_embeds
    assert {name: len(vectors) for name, vectors in embeds.items()} == {"text": 4, "audio": 4}
    published = [name for name in before if is_published(name, arm)]
    moved = {name for name, parameter in model.named_parameters() if not parameter.equal(before[name])}
    assert bool(published) == (arm in ("lora", "whole"))
    assert bool(moved & {*published}) == (arm == "whole")


def test_where_adapters_learn_what_was_published_stays_and_all_else_learns(bert):
    model = MoTForSequenceClassification.from_unimodal_pretrained(
        text_backbone=bert, text_config={"freeze_backbone": False}, **WITHOUT_MEDIA, **SIZES
    )
    new = {name for name, _ in model.named_parameters() if ".backbone." not in name}
    adapted = with_arm(model, "lora")
    learning = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    adapters = {name for name in learning if "lora_" in name}
    assert {name.removeprefix("base_model.model.") for name in learning - adapters} == new
    assert adapters and all(".backbone." in name and not is_published(name, "lora") for name in adapters)


def test_a_search_counts_first_items_with_the_digit_of_the_query():
    rng = np.random.default_rng(0)
    labels, names = rng.integers(0, 3, 40), rng.random(40) < 0.6
    vectors = {m: rng.normal(size=(40, 4)).astype(np.float32) for m in ("text", "audio")}
    vectors = {m: v / np.linalg.norm(v, axis=1, keepdims=True) for m, v in vectors.items()}
    found = SpokenDigits.searched(SimpleNamespace(names=names, labels=labels), vectors)

    def share(query, item, queries, items):
        best = [max(items, key=lambda j: vectors[item][j] @ vectors[query][i]) for i in queries]
        return np.mean([labels[i] == labels[j] for i, j in zip(queries, best)])

    named, every = np.flatnonzero(names), range(40)
    assert found["text_to_audio"] == pytest.approx(share("text", "audio", named, every))
    assert found["audio_to_text"] == pytest.approx(share("audio", "text", every, named))
    assert (found["sentences"], found["clips"]) == (len(named), 40)


def test_every_run_comes_once():
    listed = list(runs((0, 1, 2)))
    assert len(set(listed)) == len(listed) and {seed for *_, seed in listed} == {0, 1, 2}


def test_the_page_has_the_mean_over_the_seeds_that_were_run_and_says_where_there_is_one(tmp_path):
    common = {"task": "reviews", "rows": 200, "seconds": 12.0, "learning": 5000, "epochs": 3, "date": "2026-11-29"}
    common |= {"commit": "abc", "machine": "two cores", "software": "torch"}
    for seed, accuracy in enumerate((0.7, 0.8)):
        run = common | {"arm": "frozen", "seed": seed, "accuracy": accuracy}
        (tmp_path / f"frozen-{seed}.json").write_text(json.dumps(run))
    (tmp_path / "bert.json").write_text(json.dumps(common | {"arm": "bert", "seed": 0, "accuracy": 0.75}))
    write_page(tmp_path, [("reviews", "frozen", 200, seed) for seed in range(4)], tmp_path)
    page = (tmp_path / "pretrained.md").read_text()
    assert "| as they are, a small tower behind them | 0.750 ± 0.050 | 5 k | 12 |" in page
    assert "learns | 0.750 (one seed, ± 0.022) | 5 k | 12 |" in page
    assert "digits3m without its pictures" not in page
    assert page.endswith("| reviews | frozen | 200 | 2, 3 |\n")
    with pytest.raises(ValueError, match="holds no run: run the benchmark first"):
        write_page(tmp_path / "none", [], tmp_path)
