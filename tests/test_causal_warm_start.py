# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A causal model that begins as a language model computes on text what that computes, bit for bit, and can be made one
again; what is frozen stays so, whatever trains the rest.

The references are transformers' own Llama, Qwen2 and Qwen3 with random weights.
"""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from distributed_steps import free_port
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.nn.parallel import DistributedDataParallel
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Trainer,
    TrainingArguments,
)

from mixture_of_transformers import MoTCausalConfig, MoTCausalProcessor, MoTForCausalLM

VOCAB_SIZE = 67  # of the sources
SIZES = {"vocab_size": VOCAB_SIZE, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
SIZES |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 16}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 16}

SOURCES = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES)),
    "llama, rope of Llama 3, tied": (
        LlamaForCausalLM,
        LlamaConfig(**SIZES, rope_parameters=LLAMA3, tie_word_embeddings=True),
    ),
    "llama, biases, wide heads, linear rope": (
        LlamaForCausalLM,
        LlamaConfig(
            **SIZES,
            attention_bias=True,
            mlp_bias=True,
            head_dim=12,
            rms_norm_eps=1e-3,
            hidden_act="gelu",
            rope_parameters={"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0},
        ),
    ),
    "llama, all heads alike, dynamic rope": (
        LlamaForCausalLM,
        LlamaConfig(
            **SIZES | {"num_key_value_heads": 4, "max_position_embeddings": 8},
            rope_parameters={"rope_type": "dynamic", "rope_theta": 100.0, "factor": 2.0},
        ),
    ),
    "qwen2, tied": (Qwen2ForCausalLM, Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "qwen2, yarn": (Qwen2ForCausalLM, Qwen2Config(**SIZES, rope_parameters=YARN)),
    "qwen3, tied": (Qwen3ForCausalLM, Qwen3Config(**SIZES, head_dim=12, tie_word_embeddings=True)),
    "qwen3, biases": (Qwen3ForCausalLM, Qwen3Config(**SIZES, head_dim=8, attention_bias=True)),
}
# A picture begins with an id of the source's and ends with a new one, as where a vocabulary is padded.
MODALITIES = {
    "token_ranges": [["image", 70, 82], ["audio", 82, 90]],
    "begin_ids": {"image": 65, "audio": 67},
    "end_ids": {"image": 68, "audio": 69},
    "num_tokens": {"image": 4},
}
every_source = pytest.mark.parametrize("name", SOURCES)
every_init = pytest.mark.parametrize("init", ["copy", "text_only"])
tied_or_not = pytest.mark.parametrize("name", ["qwen3, tied", "qwen2, yarn"])


def build_source(name, folder):
    """Save a language model with random weights of every kind."""
    model_class, config = SOURCES[name]
    torch.manual_seed(0)
    model = model_class(config)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            is_gain = parameter.ndim == 1 and parameter_name.endswith("weight")
            parameter.normal_(mean=1.0 if is_gain else 0.0, std=0.2)
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Gives (model, its folder) of a name. The model is loaded anew, since dynamic positions remember what it read."""
    folders = {name: tmp_path_factory.mktemp("source") for name in SOURCES}
    for name, folder in folders.items():
        build_source(name, folder)
    return lambda name: (SOURCES[name][0].from_pretrained(folders[name]), folders[name])


def ids_below(stop, start=3, shape=(3, 11), seed=1):
    return torch.randint(start, stop, shape, generator=torch.Generator().manual_seed(seed))


def logits_of(model, ids, **inputs):
    with torch.no_grad():
        return model.eval()(ids, **inputs).logits


def assert_text_is_the_sources(model, source):
    """Of rows of text, logits of the source's ids but for those that begin or end a modality, which mean another."""
    ids = ids_below(VOCAB_SIZE - 3)
    marks = {token for token in model.config.begin_ids.values() if token < VOCAB_SIZE}
    kept = [token for token in range(VOCAB_SIZE) if token not in marks]
    assert torch.equal(logits_of(model, ids)[..., kept], logits_of(source, ids)[..., kept])


# ---------------------------------------------------------------------------------------------------------------------
# From a language model
# ---------------------------------------------------------------------------------------------------------------------


@every_init
@every_source
def test_text_is_what_the_source_says_bit_for_bit(sources, name, init):
    source, folder = sources(name)
    model = MoTForCausalLM.from_causal_lm(folder, init=init, **MODALITIES)
    ids = ids_below(VOCAB_SIZE)
    assert torch.equal(logits_of(model, ids)[..., :VOCAB_SIZE], logits_of(source, ids))
    mask = torch.ones_like(ids)
    mask[0, :4] = mask[1, :1] = 0  # as rows of a batch are padded for generation
    found, expected = (logits_of(m, ids, attention_mask=mask) for m in (model, source))
    assert torch.equal(found[..., :VOCAB_SIZE][mask.bool()], expected[mask.bool()])
    ids = ids_below(VOCAB_SIZE - 3)
    # Where text is generated, no picture begins.
    options = {"max_new_tokens": 12, "do_sample": False, "attention_mask": mask, "suppress_tokens": [65]}
    assert torch.equal(model.generate(ids, **options), source.generate(ids, **options))


@pytest.mark.parametrize("freeze_text", [False, True])
def test_text_is_what_the_source_says_also_where_rounding_depends_on_the_size_of_a_product(freeze_text, tmp_path):
    """A row of one token is multiplied with a table of another number of rows by other means, if nothing is done."""
    torch.manual_seed(0)
    size = 4003
    source = LlamaForCausalLM(LlamaConfig(**SIZES | {"vocab_size": size, "hidden_size": 256, "head_dim": 16})).eval()
    source.save_pretrained(tmp_path)
    ranges = {
        "token_ranges": [["image", size + 7, size + 1031]],
        "begin_ids": {"image": 65},
        "end_ids": {"image": size},
    }
    model = MoTForCausalLM.from_causal_lm(tmp_path, freeze_text=freeze_text, **ranges)
    kept = [token for token in range(size) if token != 65]
    for shape in ((1, 1), (1, 7), (3, 1), (2, 30)):
        ids = ids_below(size, shape=shape)
        assert torch.equal(logits_of(model, ids)[..., kept], logits_of(source, ids)[..., kept])


@every_source
def test_with_all_experts_copied_every_token_passes_what_text_passes(sources, name):
    """Of the same embeddings, whatever their modalities, the source's logits come out."""
    source, folder = sources(name)
    model = MoTForCausalLM.from_causal_lm(folder, **MODALITIES)
    embeddings = torch.randn(3, 11, SIZES["hidden_size"], generator=torch.Generator().manual_seed(2))
    modality_ids = ids_below(3, start=0)
    found = logits_of(model, None, inputs_embeds=embeddings, modality_ids=modality_ids)[..., :VOCAB_SIZE]
    torch.testing.assert_close(found, logits_of(source, None, inputs_embeds=embeddings), atol=1e-5, rtol=1e-5)


def test_new_rows_begin_near_the_mean_of_the_sources(sources):
    source, folder = sources("llama")
    model = MoTForCausalLM.from_causal_lm(folder, **MODALITIES)
    for found, expected in ((model.model.embed_tokens, source.model.embed_tokens), (model.lm_head, source.lm_head)):
        assert torch.equal(found.weight[:VOCAB_SIZE], expected.weight)
        distances = (found.weight[VOCAB_SIZE:] - expected.weight.mean(0)) / expected.weight.std(0)
        assert 0.08 < distances.std() < 0.12 and distances.abs().max() < 0.5
    assert len(model.model.embed_tokens.weight.unique(dim=0)) == model.config.vocab_size == 90


def test_experts_that_begin_anew_have_nothing_of_the_source(sources):
    source, folder = sources("llama")
    torch.manual_seed(3)
    model = MoTForCausalLM.from_causal_lm(folder, init="text_only", **MODALITIES)
    for layer, other in zip(model.model.layers, source.model.layers):
        assert torch.equal(layer.experts["text"].mlp.up_proj.weight, other.mlp.up_proj.weight)
        for expert in ("image", "audio"):
            fresh = layer.experts[expert].mlp.up_proj.weight
            assert 0.9 < fresh.std() / model.config.initializer_range < 1.1
            assert layer.experts[expert].input_layernorm.weight.eq(1).all()


def test_experts_that_begin_anew_may_begin_as_the_identity(sources):
    _, folder = sources("llama, biases, wide heads, linear rope")
    model = MoTForCausalLM.from_causal_lm(folder, init="text_only", zero_init_new_layers=True, **MODALITIES)
    ids = torch.cat([ids_below(VOCAB_SIZE), ids_below(90, start=70)], dim=1)
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    is_text = ids < VOCAB_SIZE
    assert all(torch.equal(state[~is_text], states[0][~is_text]) for state in states[:-1])  # the last is normed
    assert not torch.equal(states[1][is_text], states[0][is_text])


@every_init
def test_no_weight_is_left_as_memory_was(sources, init):
    """Towers, experts and tables: where torch fills fresh memory with NaN, none is found."""
    _, folder = sources("llama")
    image = {"model_type": "mot_image", "image_size": 8, "patch_size": 4}
    kinds = {"image": image, "audio": {"model_type": "mot_audio"}}
    torch.use_deterministic_algorithms(True)
    try:
        for freeze_text in (False, True):
            model = MoTForCausalLM.from_causal_lm(
                folder, init=init, freeze_text=freeze_text, encoders=kinds, **MODALITIES
            )
            assert [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()] == []
    finally:
        torch.use_deterministic_algorithms(False)


def test_parts_that_are_not_untied_are_the_sources(sources):
    source, folder = sources("qwen3, biases")
    for untied in ([], ["mlp"], ["attention", "norm"]):
        model = MoTForCausalLM.from_causal_lm(folder, init="text_only", untied=untied, **MODALITIES)
        assert_text_is_the_sources(model, source)
    model = MoTForCausalLM.from_causal_lm(folder, init="text_only", experts={"audio": "text"}, **MODALITIES)
    assert model.config.expert_names == ("text", "image")
    assert_text_is_the_sources(model, source)


def test_a_checkpoint_in_shards_is_read_whole(sources, tmp_path):
    source, _ = sources("qwen2, yarn")
    source.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    assert_text_is_the_sources(MoTForCausalLM.from_causal_lm(tmp_path, **MODALITIES), source)


def test_the_dtype_is_the_sources_unless_another_is_asked_for(sources, tmp_path):
    LlamaForCausalLM.from_pretrained(sources("llama")[1], dtype=torch.bfloat16).save_pretrained(tmp_path)
    source = LlamaForCausalLM.from_pretrained(tmp_path)
    model = MoTForCausalLM.from_causal_lm(tmp_path, **MODALITIES)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert_text_is_the_sources(model, source)
    whole = MoTForCausalLM.from_causal_lm(tmp_path, dtype=torch.float32, **MODALITIES)
    assert {parameter.dtype for parameter in whole.parameters()} == {torch.float32} == {whole.config.dtype}
    assert_text_is_the_sources(whole, LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32))


def test_settings_of_generation_are_the_sources(sources, tmp_path):
    _, folder = sources("llama")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    GenerationConfig(eos_token_id=[2, 5], do_sample=True, temperature=0.6).save_pretrained(tmp_path)
    found = MoTForCausalLM.from_causal_lm(tmp_path, **MODALITIES).generation_config
    assert (found.eos_token_id, found.do_sample, found.temperature) == ([2, 5], True, 0.6)
    for given, expected in ((7, 7), (5, [2, 5]), (None, [2, 5])):  # a tokenizer names but one of several
        model = MoTForCausalLM.from_causal_lm(tmp_path, eos_token_id=given, **MODALITIES)
        assert model.generation_config.eos_token_id == expected


def test_what_is_saved_comes_back(sources, tmp_path):
    _, folder = sources("qwen3, tied")
    model = MoTForCausalLM.from_causal_lm(folder, **MODALITIES)
    model.save_pretrained(tmp_path)
    ids = ids_below(90)
    assert torch.equal(logits_of(MoTForCausalLM.from_pretrained(tmp_path), ids), logits_of(model, ids))


@pytest.mark.parametrize("num_rows", [150, 60])
def test_the_processor_moves_no_id_of_text(num_rows, tmp_path):
    """Whether the source's table is larger than its tokenizer's vocabulary, as Qwen's is, or has no row to spare."""
    words = ["a", "handwritten", "seven", "and", "an", "eight"]
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "<s>", "</s>", *words])}
    vocabulary |= {f"word{i}": i for i in range(len(vocabulary), 60)}
    backend = Tokenizer(WordLevel(vocabulary, "[UNK]"))
    backend.pre_tokenizer = Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    tokenizer.save_pretrained(tmp_path)
    config = Qwen3Config(**SIZES | {"vocab_size": num_rows, "bos_token_id": 2, "eos_token_id": 3})
    source = Qwen3ForCausalLM(config).eval()
    source.save_pretrained(tmp_path)

    pictures = SimpleNamespace(num_codes=16, num_tokens=4, encode=None, decode=None)
    processor = MoTCausalProcessor.from_causal_lm(tmp_path, image_tokenizer=pictures)
    assert processor.token_ranges == [["image", max(num_rows, 62), max(num_rows, 62) + 16]]
    model = MoTForCausalLM.from_causal_lm(tmp_path, **processor.config_fields)
    texts = ["a handwritten seven", "an eight and a seven"]
    batch = processor(text=texts, return_tensors="pt")
    rows = [tokenizer("<s>" + text, add_special_tokens=False)["input_ids"] for text in texts]
    assert [ids[mask.bool()].tolist() for ids, mask in zip(*batch.values())] == rows
    found, expected = (m.generate(**batch, max_new_tokens=5, suppress_tokens=[60, 61]) for m in (model, source))
    assert torch.equal(found, expected)
    assert processor.batch_decode(found) == tokenizer.batch_decode(expected)


def test_code_of_a_checkpoint_is_not_run(sources, tmp_path):
    source, folder = sources("llama")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("raise SystemExit('ran')")
    assert_text_is_the_sources(MoTForCausalLM.from_causal_lm(tmp_path, **MODALITIES), source)


# ---------------------------------------------------------------------------------------------------------------------
# What is refused
# ---------------------------------------------------------------------------------------------------------------------

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
OTHERS = {
    "norms multiply by 1 . weight": Gemma3TextConfig(**SMALL, head_dim=8),
    "one matrix, and so are both halves": Phi3Config(**SMALL, vocab_size=50, pad_token_id=0),
    "one matrix, and its norms are LayerNorms": GPTNeoXConfig(**SMALL),
    "positions are learned": GPT2Config(n_embd=32),
    "mixtures of experts": Qwen3MoeConfig(**SMALL),
    "are mixtures of experts": MixtralConfig(**SMALL),
    "sliding windows": Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=1),
    "do not attend to all tokens before": MistralConfig(**SMALL, sliding_window=4),
    "model type is 'mistral'": MistralConfig(**SMALL, sliding_window=None),
    "quantised": LlamaConfig(**SIZES, quantization_config={"quant_method": "fp8"}),
    "already, which `from_pretrained` loads": MoTCausalConfig(**SMALL),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_other_models_are_refused_with_the_reason(reason, tmp_path):
    OTHERS[reason].save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"cannot become .*{reason}.*Llama, Qwen2 and Qwen3 can"):
        MoTForCausalLM.from_causal_lm(tmp_path, **MODALITIES)


@pytest.mark.parametrize(
    "given, message",
    [
        (
            {"token_ranges": [["image", 60, 64], ["audio", 70, 80]]},
            "'image' the id 60, which is the source's: ranges begin at 67",
        ),
        ({"vocab_size": 50, "token_ranges": []}, "`source_vocab_size` is 67, expected .*: 0 to 50"),
        ({"source_vocab_size": 50}, "`source_vocab_size` is 50, but 67 in the source"),
        ({"hidden_size": 64}, "`hidden_size` is 64, but 32 in the source"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1.0}}, "`rope_parameters` is .* in the source"),
        ({"qk_norm": True}, "`qk_norm` is True, but False in the source"),
        ({"init": "all"}, "`init` is 'all', expected 'copy' or 'text_only'"),
        ({"zero_init_new_layers": True}, "`zero_init_new_layers` .* init='text_only'"),
        ({"freeze_text": True, "token_ranges": []}, "`token_ranges` is empty: nothing is left to learn"),
    ],
)
def test_what_cannot_be_asked_for_is_named(sources, given, message):
    fields = {} if given.get("token_ranges") == [] else MODALITIES
    with pytest.raises(ValueError, match=message):
        MoTForCausalLM.from_causal_lm(sources("llama")[1], **fields | given)


def test_weights_that_are_pickled_missing_or_damaged_are_named(sources, tmp_path):
    source, folder = sources("llama")

    def refused(path, message):
        with pytest.raises(ValueError, match=message):
            MoTForCausalLM.from_causal_lm(path, **MODALITIES)

    source.config.save_pretrained(tmp_path / "pickled")
    torch.save(source.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    refused(tmp_path / "pickled", "pickled weights alone")
    read = MoTForCausalLM.from_causal_lm(tmp_path / "pickled", allow_pickle=True, **MODALITIES)
    assert_text_is_the_sources(read, source)

    LlamaModel(source.config).save_pretrained(tmp_path / "headless")
    refused(tmp_path / "headless", "lacks .* weights of its language model.*saved without its head")

    shutil.copytree(folder, tmp_path / "other")
    LlamaConfig(**SIZES | {"hidden_size": 64}).save_pretrained(tmp_path / "other")
    refused(tmp_path / "other", r"has shape \(67, 32\), but its config says \(67, 64\): it is damaged")

    source.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    sorted((tmp_path / "shards").glob("*.safetensors"))[1].unlink()
    refused(tmp_path / "shards", "not all there.*00002-of-")


def test_weights_that_no_one_asks_for_are_told_of(sources, tmp_path, caplog):
    source, folder = sources("llama")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.layers.0.self_attn.sinks"] = torch.zeros(4)
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)  # of old checkpoints, computed anew
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with caplog.at_level("WARNING"):
        MoTForCausalLM.from_causal_lm(tmp_path, **MODALITIES)
    assert "1 weights of" in caplog.text and "self_attn.sinks" in caplog.text


# ---------------------------------------------------------------------------------------------------------------------
# Back to a language model
# ---------------------------------------------------------------------------------------------------------------------


@every_source
def test_what_is_exported_at_once_is_the_source(sources, name, tmp_path):
    source, folder = sources(name)
    ranges = {"token_ranges": [["image", VOCAB_SIZE, 80]]}
    MoTForCausalLM.from_causal_lm(folder, init="text_only", **ranges).export_text_expert(tmp_path)
    found, expected = (load_file(path / "model.safetensors") for path in (tmp_path, folder))
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(exported) is type(source)
    ids = ids_below(VOCAB_SIZE)
    assert torch.equal(logits_of(exported, ids), logits_of(source, ids))


@pytest.mark.parametrize("freeze_text", [False, True])
@tied_or_not
def test_what_is_exported_after_training_says_of_text_what_the_model_says(sources, name, freeze_text, tmp_path):
    model = MoTForCausalLM.from_causal_lm(sources(name)[1], freeze_text=freeze_text, **MODALITIES)
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
    model.export_text_expert(tmp_path)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = ids_below(VOCAB_SIZE)  # with what begins a picture
    found, expected = logits_of(exported, ids), logits_of(model, ids)[..., :VOCAB_SIZE]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    # Where text is frozen, the row of this mark is multiplied in a product of its own.
    kept = [token for token in range(VOCAB_SIZE) if token != 65 or not freeze_text]
    assert torch.equal(found[..., kept], expected[..., kept])


def test_all_text_before_the_first_range_may_be_exported(sources, tmp_path):
    model = MoTForCausalLM.from_causal_lm(sources("qwen2, yarn")[1], **MODALITIES)
    model.export_text_expert(tmp_path, vocab_size=70)
    exported, ids = AutoModelForCausalLM.from_pretrained(tmp_path), ids_below(70)
    torch.testing.assert_close(logits_of(exported, ids), logits_of(model, ids)[..., :70], atol=1e-6, rtol=1e-6)
    model = MoTForCausalLM(MoTCausalConfig(**SMALL, vocab_size=40, token_ranges=[["image", 30, 40]]))
    model.export_text_expert(tmp_path)  # of a model without a source
    exported, ids = AutoModelForCausalLM.from_pretrained(tmp_path), ids_below(30)
    torch.testing.assert_close(logits_of(exported, ids), logits_of(model, ids)[..., :30], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"qk_norm": True, "mlp_bias": True}, "no plain model with .*mlp_bias=True, qk_norm=True"),
        ({"qk_norm": False, "attention_output_bias": True}, "no plain model with .*attention_output_bias=True"),
        ({"token_ranges": [["image", 5, 9]], "vocab_size": 6}, "`vocab_size` is 6, .* before the first range: 1 to 5"),
        ({"token_ranges": [["image", 0, 9]]}, "`vocab_size` is 0"),
    ],
)
def test_what_no_plain_model_computes_is_not_exported(fields, message, tmp_path):
    vocab_size = fields.pop("vocab_size", None)
    model = MoTForCausalLM(MoTCausalConfig(**SMALL, vocab_size=20, **fields))
    with pytest.raises(ValueError, match=message):
        model.export_text_expert(tmp_path, vocab_size)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------------------------
# Frozen text
# ---------------------------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, weight_decay=10.0),
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=1e-2, momentum=0.9, weight_decay=1.0),
}


def mixed_batch(seed=0):
    """Texts with pictures and sounds between them, and the marks of these."""
    texts = [ids_below(VOCAB_SIZE - 3, shape=(4, 5), seed=seed + i) for i in range(2)]
    images, sounds = ids_below(82, 70, (4, 4), seed), ids_below(90, 82, (4, 3), seed)
    marks = {token: torch.full((4, 1), token) for token in (65, 68, 67, 69)}
    parts = [texts[0], marks[65], images, marks[68], texts[1], marks[67], sounds, marks[69]]
    return torch.cat(parts, dim=1)


def train(model, optimizer, steps=3):
    model.train()
    for step in range(steps):
        ids = mixed_batch(step)
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.whole_state_dict().items()}


def assert_only_what_is_new_learnt(before, after):
    """All of the other experts has moved, and of the tables the rows of new ids and of marks alone."""
    for name, tensor in after.items():
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            moved = (tensor != before[name]).any(dim=1).nonzero().flatten().tolist()
            assert moved == [65, *range(VOCAB_SIZE, 90)], name
        elif not name.endswith("learned"):
            assert torch.equal(tensor, before[name]) == (".text." in name or ".shared." in name), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@tied_or_not
def test_frozen_text_stays_equal_while_the_rest_learns(sources, name, optimizer, tmp_path):
    """Through training with weight decay, saving, loading, and training again."""
    source, folder = sources(name)
    model = MoTForCausalLM.from_causal_lm(folder, freeze_text=True, **MODALITIES)
    before = state_of(model)
    train(model, OPTIMIZERS[optimizer](model.parameters()))
    assert_only_what_is_new_learnt(before, state_of(model))
    assert_text_is_the_sources(model, source)

    model.save_pretrained(tmp_path)
    assert not [key for key in load_file(tmp_path / "model.safetensors") if "learned" in key]
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert {n: p.requires_grad for n, p in again.named_parameters()} == {
        n: p.requires_grad for n, p in model.named_parameters()
    }
    ids = mixed_batch()
    assert torch.equal(logits_of(again, ids), logits_of(model, ids))
    before = state_of(again)
    train(again, OPTIMIZERS[optimizer](again.parameters()))
    assert_only_what_is_new_learnt(before, state_of(again))
    assert_text_is_the_sources(again, source)


def test_a_frozen_model_computes_and_learns_what_a_plain_one_does(sources):
    """Of what learns, the gradients are those of a model with plain tables."""
    _, folder = sources("qwen2, yarn")
    models = []
    for freeze_text in (True, False):
        torch.manual_seed(4)
        models.append(MoTForCausalLM.from_causal_lm(folder, freeze_text=freeze_text, **MODALITIES).train())
    frozen, plain = models
    ids = mixed_batch()
    outputs = [model(ids, labels=ids) for model in models]
    torch.testing.assert_close(outputs[0].logits, outputs[1].logits, atol=1e-6, rtol=1e-5)
    for output in outputs:
        output.loss.backward()
    expected = {name: parameter.grad for name, parameter in plain.named_parameters()}
    for name, parameter in frozen.named_parameters():
        if name.endswith(".learned"):
            rows = expected[name.replace("learned", "weight")][[65, *range(VOCAB_SIZE, 90)]]
            torch.testing.assert_close(parameter.grad, rows, atol=1e-6, rtol=1e-4)
        elif parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, expected[name], atol=1e-6, rtol=1e-4)
    assert {name for name, p in frozen.named_parameters() if p.requires_grad and p.grad is None} == set()


def test_parts_that_text_shares_are_frozen_with_it(sources):
    source, folder = sources("qwen3, tied")
    model = MoTForCausalLM.from_causal_lm(folder, freeze_text=True, untied=["mlp"], **MODALITIES)
    before = state_of(model)
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1.0))
    assert_only_what_is_new_learnt(before, state_of(model))
    assert_text_is_the_sources(model, source)


@tied_or_not
def test_state_dicts_go_into_a_frozen_model(sources, name, tmp_path):
    """Its own, and that of a saved folder, as a run is resumed."""
    _, folder = sources(name)
    model = MoTForCausalLM.from_causal_lm(folder, freeze_text=True, **MODALITIES)
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
    model.save_pretrained(tmp_path)
    for state in (model.state_dict(), load_file(tmp_path / "model.safetensors")):
        other = MoTForCausalLM.from_causal_lm(folder, freeze_text=True, **MODALITIES)
        missing, unexpected = other.load_state_dict(state, strict=False)
        assert not unexpected and {*missing} <= {"lm_head.weight", "lm_head.learned"}  # tied, and stored once
        ids = mixed_batch()
        assert torch.equal(logits_of(other, ids), logits_of(model, ids))


@tied_or_not
def test_ids_that_are_added_to_a_frozen_vocabulary_learn(sources, name, tmp_path):
    source, folder = sources(name)
    model = MoTForCausalLM.from_causal_lm(folder, freeze_text=True, **MODALITIES)
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
    ids = mixed_batch()
    expected = logits_of(model, ids)
    model.resize_token_embeddings(96, mean_resizing=False)
    found = logits_of(model, ids)
    torch.testing.assert_close(found[..., :90], expected, atol=1e-6, rtol=1e-6)
    assert found.shape[-1] == model.config.vocab_size == 96
    before = state_of(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1.0)
    train(model, optimizer)
    after = state_of(model)
    for table in ("model.embed_tokens.weight", "lm_head.weight"):
        moved = (after[table] != before[table]).any(dim=1).nonzero().flatten().tolist()
        assert moved == [65, *range(VOCAB_SIZE, 96)]
    assert_text_is_the_sources(model, source)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits_of(MoTForCausalLM.from_pretrained(tmp_path), ids), logits_of(model, ids))


def test_text_that_a_model_learnt_itself_may_be_frozen(tmp_path):
    """All before the first range, but for what begins or ends a modality."""
    marks = {"begin_ids": {"image": 65, "audio": 66}, "end_ids": {"image": 67, "audio": 69}}
    MoTForCausalLM(MoTCausalConfig(**SIZES | MODALITIES | marks | {"vocab_size": 90})).save_pretrained(tmp_path)
    model = MoTForCausalLM.from_pretrained(tmp_path, freeze_text=True)
    before = state_of(model)
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1.0))
    for name, tensor in state_of(model).items():
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            moved = (tensor != before[name]).any(dim=1).nonzero().flatten().tolist()
            assert moved == [65, 66, 67, 69, *range(70, 90)]
        assert torch.equal(tensor, before[name]) or ".text." not in name
    model.save_pretrained(tmp_path)
    free = MoTForCausalLM.from_pretrained(tmp_path, freeze_text=False)
    assert all(parameter.requires_grad for parameter in free.parameters())
    torch.testing.assert_close(logits_of(free, mixed_batch()), logits_of(model, mixed_batch()), atol=1e-6, rtol=1e-6)


def test_the_ids_of_a_source_are_text():
    fields = {**SMALL, "vocab_size": 40, "token_ranges": [["image", 20, 40]], "source_vocab_size": 30}
    with pytest.raises(ValueError, match="`source_vocab_size` is 30, expected .*: 0 to 20"):
        MoTCausalConfig.from_dict(fields)


def test_a_frozen_model_decodes_as_it_reads(sources):
    """With a cache, and compiled in one graph."""
    _, folder = sources("qwen3, tied")
    model = MoTForCausalLM.from_causal_lm(folder, freeze_text=True, **MODALITIES)
    ids = mixed_batch()
    expected = logits_of(model, ids)
    past, steps = None, []
    with torch.no_grad():
        for i in range(ids.shape[1]):
            output = model(ids[:, i : i + 1], past_key_values=past, use_cache=True)
            past, steps = output.past_key_values, [*steps, output.logits]
        torch.testing.assert_close(torch.cat(steps, dim=1), expected, atol=1e-5, rtol=1e-5)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(ids, use_cache=False).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.training
def test_a_trainer_leaves_frozen_text_and_resumes(sources, tmp_path):
    source, folder = sources("qwen3, tied")
    rows = [{"input_ids": row, "labels": row} for row in mixed_batch()]

    def run(steps, **resuming):
        model = MoTForCausalLM.from_causal_lm(folder, freeze_text=True, **MODALITIES)
        arguments = TrainingArguments(
            str(tmp_path),
            max_steps=steps,
            per_device_train_batch_size=2,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            weight_decay=1.0,
            save_steps=2,
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            seed=5,
        )
        trainer = Trainer(model, arguments, train_dataset=rows)
        trainer.train(**resuming)
        return model

    torch.manual_seed(6)
    whole = run(4)
    shutil.rmtree(tmp_path / "checkpoint-4")
    torch.manual_seed(7)  # other new rows, which the checkpoint's replace
    resumed = run(4, resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    ids = mixed_batch()
    torch.testing.assert_close(logits_of(resumed, ids), logits_of(whole, ids), atol=1e-5, rtol=1e-5)
    loaded = MoTForCausalLM.from_pretrained(tmp_path / "checkpoint-4")
    assert torch.equal(logits_of(loaded, ids), logits_of(resumed, ids))
    for model in (whole, resumed, loaded):
        assert_text_is_the_sources(model, source)


def train_as_a_rank(rank, folder, port, outcome):
    """Rank 0 sees text alone, rank 1 pictures and sounds: see `test_ranks_...`."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.manual_seed(rank)  # new rows that differ, until rank 0's are sent around
    model = MoTForCausalLM.from_causal_lm(folder, freeze_text=True, **MODALITIES).train()
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(parallel.parameters(), lr=1e-2, weight_decay=1.0)
    for step in range(3):
        ids = ids_below(VOCAB_SIZE - 3, seed=step) if rank == 0 else mixed_batch(step)
        optimizer.zero_grad()
        parallel(ids, labels=ids).loss.backward()
        optimizer.step()
    torch.save(state_of(model), f"{outcome}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.training
@tied_or_not
def test_ranks_agree_and_leave_frozen_text(sources, name, tmp_path):
    source, folder = sources(name)
    arguments = (str(folder), free_port(), str(tmp_path))
    torch.multiprocessing.start_processes(train_as_a_rank, arguments, nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    model = MoTForCausalLM.from_causal_lm(folder, freeze_text=True, **MODALITIES)
    torch.manual_seed(0)
    assert not torch.equal(first["model.embed_tokens.learned"], model.state_dict()["model.embed_tokens.learned"])
    model.load_state_dict(first)
    assert_text_is_the_sources(model, source)
