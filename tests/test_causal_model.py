# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The invariants of the causal model: equal to Algorithm 1 and to Llama and Qwen, however a row is cut, padded, packed
or cached; it learns from any batch, and keeps the meaning of every id.

Models are tiny with random parameters throughout; `causal_reference.py` computes the same slowly.
"""

import itertools
import json

import causal_distributed
import pytest
import torch
import transformers
from causal_helpers import SETTINGS, VOCAB_SIZE, causal_config, interleaved, padded, tokens_of
from causal_reference import modality_of, reference_logits
from forked import forked
from helpers import build, max_difference
from huggingface_hub.errors import StrictDataclassError
from remote_steps import run_without_package
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F
from transformers import DynamicCache, StaticCache

from mixture_of_transformers import MoTCausalModel, MoTForCausalLM

TOLERANCE = 1e-5
# Where nothing but rounding of another batch size or layout may differ.
EXACT = 1e-6
MODALITIES = ("text", "image", "audio")
IGNORED = -100

every_setting = pytest.mark.parametrize("setting", SETTINGS)
# The settings that differ in how tokens are routed.
some_settings = pytest.mark.parametrize("setting", ["all untied", "feed-forward untied", "audio left out"])


def model_for(setting="all untied", attention="sdpa", **overrides):
    return build(MoTForCausalLM, causal_config(setting, **overrides), attention)


@torch.no_grad()
def logits_of(model, row, **options):
    """(n, vocab_size) of a row, given as a list of ids."""
    return model(input_ids=torch.tensor([row]), **options).logits[0]


def cross_entropies(logits, row):
    """Of each token of a row but the first, from the logits of the token before."""
    return F.cross_entropy(logits[:-1].double(), torch.tensor(row[1:]), reduction="none")


def gradients(model, **inputs):
    model.zero_grad()
    model(**inputs).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_gradients_equal(found, expected, tolerance=TOLERANCE):
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert max_difference(gradient, expected[name]) < tolerance, name


# Equal to the reference


@every_setting
def test_every_interleaving_equals_algorithm_1(setting):
    model = model_for(setting)
    rows = [tokens_of(order, seed) for seed, order in enumerate(itertools.product(MODALITIES, repeat=4))]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(rows)).logits
    for row, found in zip(rows, logits):
        assert max_difference(found, reference_logits(model.state_dict(), model.config, row)) < TOLERANCE, row


@every_setting
def test_long_rows_of_segments_equal_algorithm_1(setting):
    model = model_for(setting)
    for row in interleaved([1, 19, 30]):
        expected = reference_logits(model.state_dict(), model.config, row)
        assert max_difference(logits_of(model, row), expected) < TOLERANCE


def test_the_reference_tells_settings_apart():
    """It would be no judge if it found the same for other ways to share the same weights."""
    row = tokens_of(["text", "image", "audio", "text", "image"])
    state_dict = model_for("all untied").state_dict()
    state_dict |= {name: value for name, value in model_for("nothing untied").state_dict().items() if "shared" in name}
    found = [reference_logits(state_dict, causal_config(setting), row) for setting in list(SETTINGS)[:5]]
    for one, other in itertools.combinations(found, 2):
        assert max_difference(one, other) > 1e-2


@every_setting
def test_embeddings_with_modalities_equal_the_ids(setting):
    model = model_for(setting)
    inputs = padded(interleaved([9, 14]))
    names = model.config.modalities
    modality_ids = torch.tensor(
        [[names.index(modality_of(token, model.config)) for token in row] for row in inputs["input_ids"].tolist()]
    )
    embeddings = model.get_input_embeddings()(inputs["input_ids"])
    with torch.no_grad():
        expected = model(**inputs).logits
        found = model(
            inputs_embeds=embeddings, modality_ids=modality_ids, attention_mask=inputs["attention_mask"]
        ).logits
    assert max_difference(found, expected) < EXACT


def test_embeddings_alone_are_text():
    model, row = model_for(), tokens_of(["text"] * 6)
    with torch.no_grad():
        found = model(inputs_embeds=model.get_input_embeddings()(torch.tensor([row]))).logits[0]
    assert max_difference(found, logits_of(model, row)) < EXACT


@some_settings
@pytest.mark.parametrize("modality", MODALITIES)
def test_a_known_modality_equals_the_routed_one(setting, modality):
    model = model_for(setting)
    prompt, row = interleaved([7])[0], tokens_of([modality] * 5)
    assert max_difference(logits_of(model, row, modality=modality), logits_of(model, row)) < EXACT
    caches = [model(torch.tensor([prompt]), use_cache=True).past_key_values for _ in range(2)]
    found = logits_of(model, row, modality=modality, past_key_values=caches[0])
    assert max_difference(found, logits_of(model, row, past_key_values=caches[1])) < EXACT


@every_setting
def test_parameters_have_the_names_of_llama_with_the_expert_between(setting):
    config = causal_config(setting)
    modules = {
        "norm": ["input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm"],
        "attention": [f"self_attn.{letter}_proj" for letter in "qkvo"],
        "mlp": [f"mlp.{part}_proj" for part in ("gate", "up", "down")],
    }
    expected = {"model.embed_tokens", "lm_head"}
    for part, names in modules.items():
        places = [f"experts.{e}" for e in config.expert_names] if part in config.untied else ["shared"]
        layers = itertools.product(range(config.num_hidden_layers), places, names)
        expected |= {f"model.layers.{layer}.{place}.{name}" for layer, place, name in layers}
        if part == "norm":
            expected |= {f"model.norms.{place.removeprefix('experts.')}" for place in places}
    if not config.qk_norm:
        expected = {name for name in expected if not name.endswith(("q_norm", "k_norm"))}
    state_dict = MoTForCausalLM(config).state_dict()
    assert {name for name in state_dict if name.endswith(".weight")} == {f"{name}.weight" for name in expected}
    biases = {name.removesuffix(".bias") for name in state_dict if name.endswith(".bias")}
    assert biases == ({name for name in expected if name.endswith("_proj")} if config.attention_bias else set())


# Equal to Llama and Qwen


def copied_to_every_expert(model, source):
    """The weights of a decoder of transformers, wherever `model` wants them."""
    weights, found = source.state_dict(), {}
    for name in model.state_dict():
        parts = name.split(".")
        if "norms" in parts:
            plain = "model.norm.weight"
        elif "experts" in parts:
            plain = ".".join(parts[:3] + parts[5:])
        else:
            plain = name.replace("shared.", "")
        found[name] = weights.pop(plain) if plain == name else weights[plain]
    model.load_state_dict(found)
    return model


DECODERS = {
    "Llama": (transformers.LlamaForCausalLM, {"qk_norm": False, "mlp_bias": True}),
    "Llama 3": (
        transformers.LlamaForCausalLM,
        {
            "qk_norm": False,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
    ),
    "Qwen2": (transformers.Qwen2ForCausalLM, {"qk_norm": False, "attention_bias": True, "head_dim": 4}),
    "Qwen3": (transformers.Qwen3ForCausalLM, {"qk_norm": True}),
}
ON_ONE_EXPERT = {
    "all on text": {"experts": {"image": "text", "audio": "text"}},
    "nothing untied": {"untied": []},
    "no other modality": {"token_ranges": []},
    "copied to every expert": {},
}


def twins(decoder, setting="all on text"):
    """A decoder of transformers, and a causal model with its weights."""
    decoder_class, fields = DECODERS[decoder]
    config = causal_config(**fields, **ON_ONE_EXPERT[setting])
    known = decoder_class.config_class().to_dict().keys() - {"model_type", "architectures"}
    fields = {name: value for name, value in config.to_dict().items() if name in known}
    source = build(decoder_class, decoder_class.config_class(**fields))
    return source, copied_to_every_expert(MoTForCausalLM(config).eval(), source)


@pytest.mark.parametrize("setting", ON_ONE_EXPERT)
@pytest.mark.parametrize("decoder", DECODERS)
def test_one_expert_is_the_dense_decoder(decoder, setting):
    source, model = twins(decoder, setting)
    inputs = padded(interleaved([9, 30, 17]))
    with torch.no_grad():
        found, expected = model(**inputs).logits, source(**inputs).logits
    real = inputs["attention_mask"].bool()
    assert max_difference(found[real], expected[real]) < TOLERANCE


@pytest.mark.parametrize("setting", ["all on text", "nothing untied", "no other modality"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_one_expert_generates_the_tokens_of_the_dense_decoder(decoder, setting):
    source, model = twins(decoder, setting)
    other_ids = [token for _, start, stop in model.config.token_ranges for token in range(start, stop)]
    inputs = padded(interleaved([9, 30, 17]))
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    expected = source.generate(**inputs, **options, suppress_tokens=other_ids or None)
    assert torch.equal(model.generate(**inputs, **options), expected)


@pytest.mark.parametrize("decoder", DECODERS)
def test_one_expert_learns_what_the_dense_decoder_learns(decoder):
    source, model = twins(decoder)
    inputs = padded(interleaved([9, 30]), side="right")
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, IGNORED)
    found, expected = (m(**inputs, labels=labels).loss for m in (model, source))
    assert max_difference(found, expected) < TOLERANCE
    found.backward()
    expected.backward()
    expected = source.model.layers[0].mlp.up_proj.weight.grad
    assert max_difference(model.model.layers[0].experts["text"].mlp.up_proj.weight.grad, expected) < TOLERANCE


# Cut anyhow, cached anyhow


CUTS = {
    "a token at a time": [1] * 20,
    "prompt, then tokens": [13] + [1] * 7,
    "uneven": [3, 1, 7, 2, 7],
    "two halves": [10, 10],
}
CACHES = {
    "dynamic": lambda config: DynamicCache(config=config),
    "static": lambda config: StaticCache(config=config, max_cache_len=24),
}


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("cut", CUTS)
@some_settings
def test_cached_logits_equal_those_of_the_whole_row(setting, cut, cache):
    """Rows of one batch have other modalities at the same place."""
    model = model_for(setting)
    rows = torch.tensor(interleaved([20, 20, 20]))
    past, found = CACHES[cache](model.config), []
    with torch.no_grad():
        expected = model(input_ids=rows).logits
        for part in rows.split(CUTS[cut], dim=1):
            found.append(model(input_ids=part, past_key_values=past, use_cache=True).logits)
    assert max_difference(torch.cat(found, dim=1), expected) < TOLERANCE


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("cut", CUTS)
def test_cached_rows_with_padding_on_the_left_equal_the_rows_alone(cut, cache):
    model, rows = model_for(), interleaved([20, 11, 6])
    inputs = padded(rows)
    positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    past, found, end = CACHES[cache](model.config), [], 0
    with torch.no_grad():
        for ids, places in zip(inputs["input_ids"].split(CUTS[cut], 1), positions.split(CUTS[cut], 1)):
            end += ids.shape[1]
            mask = inputs["attention_mask"][:, :end]
            output = model(ids, attention_mask=mask, position_ids=places, past_key_values=past, use_cache=True)
            found.append(output.logits)
    for row, logits in zip(rows, torch.cat(found, dim=1)):
        assert max_difference(logits[-len(row) :], logits_of(model, row)) < TOLERANCE


def test_the_cache_is_asked_for_by_the_config_or_the_call():
    model, row = model_for(), torch.tensor(interleaved([5]))
    assert model(row).past_key_values.get_seq_length() == 5
    assert model(row, use_cache=False).past_key_values is None
    assert model_for(use_cache=False)(row).past_key_values is None


def test_logits_to_keep_are_the_last_or_those_named():
    model, row = model_for(), torch.tensor(interleaved([9]))
    with torch.no_grad():
        expected = model(row).logits
        assert max_difference(model(row, logits_to_keep=2).logits, expected[:, -2:]) < EXACT
        named = torch.tensor([0, 4, 8])
        assert max_difference(model(row, logits_to_keep=named).logits, expected[:, named]) < EXACT


# Rows know nothing of each other, and nothing of what follows


@pytest.mark.parametrize("side", ["left", "right"])
@every_setting
def test_a_padded_row_equals_the_row_alone(setting, side):
    model, rows = model_for(setting), interleaved([20, 7, 1, 13])
    inputs = padded(rows, side)
    with torch.no_grad():
        logits = model(**inputs).logits
    for row, found, mask in zip(rows, logits, inputs["attention_mask"].bool()):
        assert max_difference(found[mask], logits_of(model, row)) < TOLERANCE


@some_settings
def test_permuting_rows_permutes_logits(setting):
    model, order = model_for(setting), torch.tensor([2, 0, 3, 1])
    inputs = padded(interleaved([20, 7, 1, 13]))
    with torch.no_grad():
        expected = model(**inputs).logits[order]
        found = model(**{name: value[order] for name, value in inputs.items()}).logits
    assert max_difference(found, expected) < EXACT


@some_settings
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_other_rows_and_the_ids_of_padding_change_nothing(setting, attention):
    model, rows = model_for(setting, attention), interleaved([20, 7, 13])
    inputs = padded(rows)
    other_ids = torch.randint(VOCAB_SIZE, inputs["input_ids"].shape)
    replaced = torch.where(inputs["attention_mask"].bool(), inputs["input_ids"], other_ids)
    replaced[0], mask = other_ids[0], inputs["attention_mask"].bool()
    with torch.no_grad():
        expected = model(**inputs).logits
        found = model(input_ids=replaced, attention_mask=inputs["attention_mask"]).logits
    assert max_difference(found[1:][mask[1:]], expected[1:][mask[1:]]) < EXACT
    assert max_difference(found[0], expected[0]) > 1e-2


@some_settings
@pytest.mark.parametrize("poison", [1e4, 1e30])
def test_what_follows_changes_nothing_before(setting, poison):
    """
    Not by other ids of any modality, and not by embeddings of any size. In double precision, since an expert with
    another number of tokens rounds its products otherwise.
    """
    model, row = model_for(setting).double(), interleaved([12])[0]
    expected = logits_of(model, row)
    for place in range(1, 12):
        for modality in MODALITIES:
            changed = row[:place] + tokens_of([modality] * (12 - place), seed=place)
            assert max_difference(logits_of(model, changed)[:place], expected[:place]) < EXACT
        embeddings = model.get_input_embeddings()(torch.tensor([row])).detach().clone()
        embeddings[:, place:] = poison
        modality_ids = torch.tensor([[MODALITIES.index(modality_of(token, model.config)) for token in row]])
        with torch.no_grad():
            found = model(inputs_embeds=embeddings, modality_ids=modality_ids).logits[0]
        assert max_difference(found[:place], expected[:place]) < EXACT


@some_settings
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_no_logit_has_a_gradient_from_a_later_token(setting, attention):
    model, row = model_for(setting, attention), interleaved([8])[0]
    modality_ids = torch.tensor([[MODALITIES.index(modality_of(token, model.config)) for token in row]])
    embeddings = model.get_input_embeddings()(torch.tensor([row])).detach().requires_grad_()
    logits = model(inputs_embeds=embeddings, modality_ids=modality_ids).logits[0]
    for place in range(8):
        (gradient,) = torch.autograd.grad(logits[place].sum(), embeddings, retain_graph=True)
        assert (gradient[0, : place + 1].abs().amax(dim=1) > 0).all()  # each token before, of any modality
        assert not gradient[0, place + 1 :].any()


# The loss


def expected_losses(model, rows):
    """Of each modality: the cross-entropies of the targets of rows, each read alone."""
    found = {modality: [] for modality in model.config.modalities}
    for row in rows:
        for token, loss in zip(row[1:], cross_entropies(logits_of(model, row), row)):
            found[modality_of(token, model.config)].append(loss)
    return {modality: torch.stack(losses) for modality, losses in found.items() if losses}


def labelled(rows, side="right"):
    inputs = padded(rows, side)
    return inputs | {"labels": inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, IGNORED)}


@pytest.mark.parametrize("side", ["left", "right"])
def test_losses_are_those_of_the_targets_by_modality(side):
    model, rows = model_for(), interleaved([20, 7, 13])
    output, expected = model(**labelled(rows, side)), expected_losses(model, rows)
    assert tuple(output.losses) == MODALITIES
    for modality, losses in expected.items():
        assert max_difference(output.losses[modality], losses.mean()) < TOLERANCE
        assert not output.losses[modality].requires_grad
    assert max_difference(output.loss, torch.cat(list(expected.values())).mean()) < TOLERANCE


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_no_target(side):
    """Even where its labels are ids, as those of a batch that is its own labels are."""
    model, inputs = model_for(), padded(interleaved([20, 7, 13]), side)
    found = model(**inputs, labels=inputs["input_ids"]).loss
    assert max_difference(found, model(**labelled(interleaved([20, 7, 13]), side)).loss) < EXACT


def test_weights_of_losses_are_of_the_targets_and_leave_their_number():
    model, rows = model_for(loss_weights={"image": 0.25, "audio": 3.0}), interleaved([20, 7, 13])
    output, expected = model(**labelled(rows)), expected_losses(model, rows)
    weights = {"text": 1.0, "image": 0.25, "audio": 3.0}
    weighted = sum(weights[modality] * losses.sum() for modality, losses in expected.items())
    assert max_difference(output.loss, weighted / sum(map(len, expected.values()))) < TOLERANCE
    assert max_difference(output.losses["audio"], expected["audio"].mean()) < TOLERANCE


def test_the_number_of_items_of_several_batches_divides_the_sum():
    """So that accumulated gradients are those of one batch."""
    model, rows = model_for().train(), interleaved([20, 7, 13])
    whole = gradients(model, **labelled(rows))
    number = sum(len(row) - 1 for row in rows)
    for items in (number, torch.tensor(number)):
        parts = [gradients(model, **labelled([row]), num_items_in_batch=items) for row in rows]
        assert_gradients_equal({name: sum(part[name] for part in parts) for name in whole}, whole)


def test_ignored_labels_are_no_targets():
    model, row = model_for(), interleaved([12])[0]
    inputs = labelled([row])
    inputs["labels"][0, [3, 4, 9]] = IGNORED
    losses = cross_entropies(logits_of(model, row), row)
    kept = [place for place in range(1, 12) if place not in (3, 4, 9)]
    assert max_difference(model(**inputs).loss, losses[[place - 1 for place in kept]].mean()) < TOLERANCE


def test_a_batch_without_targets_has_no_loss_and_zero_gradients():
    model = model_for().train()
    inputs = labelled(interleaved([6]))
    inputs["labels"][:] = IGNORED
    output = model(**inputs)
    assert output.loss == 0
    output.loss.backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


# Several documents in a row


def packed(rows):
    """Documents one after the other in a row, each with positions of its own."""
    ids = [token for row in rows for token in row]
    places = [place for row in rows for place in range(len(row))]
    return {"input_ids": torch.tensor([ids]), "position_ids": torch.tensor([places])}


DOCUMENTS = [interleaved([8, 3, 1, 12], seed=5), interleaved([4, 20], seed=7)]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@some_settings
def test_packed_documents_equal_the_documents_alone(setting, attention):
    model = model_for(setting, attention)
    parts = [packed(documents) for documents in DOCUMENTS]
    inputs = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    with torch.no_grad():
        logits = model(**inputs).logits
    for documents, found in zip(DOCUMENTS, logits):
        for row, part in zip(documents, found.split([len(row) for row in documents])):
            assert max_difference(part, logits_of(model, row)) < TOLERANCE


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@some_settings
def test_packed_documents_teach_what_the_documents_alone_teach(setting, attention, checkpointing):
    model = model_for(setting, attention).train()
    if checkpointing:
        model.activation_checkpointing_enable()
    parts = [packed(documents) for documents in DOCUMENTS]
    inputs = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    found = model(**inputs, labels=inputs["input_ids"])
    documents = [row for rows in DOCUMENTS for row in rows]
    alone = model(**labelled(documents))
    assert max_difference(found.loss, alone.loss) < TOLERANCE
    assert found.losses.keys() == alone.losses.keys()
    for modality, loss in found.losses.items():
        assert max_difference(loss, alone.losses[modality]) < TOLERANCE
    expected = gradients(model, **labelled(documents))
    assert_gradients_equal(gradients(model, **inputs, labels=inputs["input_ids"]), expected)


# Every batch trains every parameter


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@every_setting
def test_every_parameter_has_a_gradient_whatever_a_batch_lacks(setting, checkpointing):
    model = model_for(setting).train()
    if checkpointing:
        model.activation_checkpointing_enable()
    for modality in model.config.modalities:
        start = next((start for name, start, _ in model.config.token_ranges if name == modality), 0)
        ids = torch.arange(start, start + 3).repeat(2, 2)
        for options in ({}, {"modality": modality}, {"position_ids": torch.arange(6).repeat(2, 1) % 3}):
            found = gradients(model, input_ids=ids, labels=ids, **options)
            for name, gradient in found.items():
                expert = name.split("experts.")[-1].split(".")[0] if "experts." in name else None
                assert gradient.isfinite().all(), name
                assert expert in (None, model.config.experts[modality]) or not gradient.any(), name


@pytest.mark.parametrize("use_reentrant", [False, True])
@some_settings
def test_checkpointed_gradients_equal_plain_ones(setting, use_reentrant):
    model = model_for(setting).train()
    inputs = labelled(interleaved([20, 7, 13]))
    expected = gradients(model, **inputs)
    model.activation_checkpointing_enable({"use_reentrant": use_reentrant})
    assert_gradients_equal(gradients(model, **inputs), expected)


def test_dropout_of_attention_is_drawn_in_training_alone():
    model = model_for(attention_dropout=0.5)
    row = torch.tensor(interleaved([12]))
    with torch.no_grad():
        assert torch.equal(model(row).logits, model(row).logits)
        model.train()
        assert max_difference(model(row).logits, model(row).logits) > 1e-3


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What two processes, forked from one of their own, say of all engines."""
    return forked(causal_distributed.learn, ["two processes"], tmp_path_factory.mktemp("two_processes"))


@pytest.mark.training
@pytest.mark.parametrize("setting", causal_distributed.SETTINGS)
@pytest.mark.parametrize("engine", causal_distributed.ENGINES)
def test_two_processes_with_different_modalities_learn_what_one_would(two_processes, engine, setting):
    report = two_processes.stdout + two_processes.stderr
    for rank in (0, 1):
        assert f"{engine}, {setting}, rank {rank}: all parameters equal to one process" in report, report
    assert two_processes.returncode == 0, report


# Other ways to attend and to compute


@pytest.mark.parametrize("attention", ["eager", "flex_attention"])
@some_settings
def test_ways_to_attend_agree(setting, attention):
    documents = packed(DOCUMENTS[0])
    for inputs in (padded(interleaved([20, 7, 13])), {"input_ids": torch.tensor(interleaved([9, 9]))}, documents):
        real = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
        with torch.no_grad():
            found, expected = (
                model_for(setting, name, head_dim=16)(**inputs).logits[real] for name in (attention, "sdpa")
            )
        assert max_difference(found, expected) < TOLERANCE


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_half_precision_is_near(dtype):
    inputs = labelled(interleaved([20, 7, 13]))
    expected = model_for()(**inputs)
    output = model_for().to(dtype)(**inputs)
    assert output.logits.dtype == dtype
    real = inputs["attention_mask"].bool()
    assert max_difference(output.logits[real], expected.logits[real]) < 0.1 * expected.logits[real].abs().max().item()
    assert abs(output.loss.item() - expected.loss.item()) < 0.05 * expected.loss.item()
    output.loss.backward()


def test_autocast_is_near_and_gives_every_parameter_a_gradient():
    inputs, model = labelled(interleaved([20, 7, 13])), model_for()
    expected = model(**inputs).loss.item()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**inputs).loss
    loss.backward()
    assert abs(loss.item() - expected) < 0.05 * expected
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_inner_states_on_request(attention):
    model, row = model_for(attention=attention), torch.tensor(interleaved([9, 9]))
    with torch.no_grad():
        plain = model(row)
        output = model(row, output_hidden_states=True, output_attentions=attention == "eager")
    assert plain.hidden_states is None and plain.attentions is None
    assert [tuple(state.shape) for state in output.hidden_states] == [(2, 9, 16)] * 3
    assert max_difference(model.lm_head(output.hidden_states[-1]), plain.logits) < EXACT
    if attention == "eager":
        assert [tuple(weights.shape) for weights in output.attentions] == [(2, 4, 9, 9)] * 2
        assert not output.attentions[0].triu(1).any()


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("setting", ["all untied", "audio left out"])
def test_compiled_equals_eager(setting, backend):
    model = model_for(setting)
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    with torch.no_grad():
        for inputs in (padded(interleaved([20, 7, 13])), padded(interleaved([9, 11]))):
            found, expected = compiled(**inputs).logits, model(**inputs).logits
            real = inputs["attention_mask"].bool()
            assert max_difference(found[real], expected[real]) < TOLERANCE


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
@some_settings
def test_compiled_decoding_with_a_static_cache_is_one_graph(setting, backend):
    model, rows = model_for(setting), torch.tensor(interleaved([20, 20]))
    counted = CompileCounterWithBackend(backend)
    decode = torch.compile(model, fullgraph=True, backend=counted)
    past = StaticCache(config=model.config, max_cache_len=24)
    with torch.no_grad():
        expected = model(rows).logits
        found = [model(rows[:, :9], past_key_values=past).logits]
        for place in range(9, 20):
            output = decode(rows[:, place : place + 1], position_ids=torch.tensor([[place]] * 2), past_key_values=past)
            found.append(output.logits.clone())
    assert max_difference(torch.cat(found, dim=1), expected) < TOLERANCE
    assert counted.frame_count == 1


@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_training_step_is_one_graph():
    model, inputs = model_for().train(), labelled(interleaved([9, 12]))
    expected = gradients(model, **inputs)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    model.zero_grad()
    compiled(**inputs).loss.backward()
    assert_gradients_equal({name: parameter.grad for name, parameter in model.named_parameters()}, expected)


# Saved, loaded, resized: every id keeps its modality


def save(model, folder):
    model.save_pretrained(folder)
    return folder


@every_setting
def test_a_folder_gives_back_every_logit_by_class_and_by_auto_class(setting, tmp_path):
    model, row = model_for(setting), interleaved([20])[0]
    folder, expected = save(model, tmp_path), logits_of(model, row)
    readers = [transformers.AutoModelForCausalLM, transformers.AutoModelForMultimodalLM, MoTForCausalLM]
    for reader in readers:
        loaded, report = reader.from_pretrained(folder, output_loading_info=True)
        assert type(loaded) is MoTForCausalLM and not any(report.values()), report
        assert torch.equal(logits_of(loaded, row), expected)
        assert loaded.config.token_ranges == model.config.token_ranges
        assert [loaded.config.modality_of(token) for token in range(VOCAB_SIZE)] == [
            model.config.modality_of(token) for token in range(VOCAB_SIZE)
        ]
    decoder = transformers.AutoModel.from_pretrained(folder)
    assert type(decoder) is MoTCausalModel
    with torch.no_grad():
        hidden = decoder(torch.tensor([row])).last_hidden_state[0]
    assert max_difference(loaded.lm_head(hidden), expected) < EXACT


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_ranges_mean_the_same_in_any_order(order, tmp_path):
    """They are kept by their first id, and a saved config does not sort them by name."""
    ranges = [["video", 20, 25], ["image", 25, 30], ["audio", 30, 38]]
    config = causal_config(token_ranges=[ranges[i] for i in order], experts={"video": "image"})
    config.save_pretrained(tmp_path)
    loaded = transformers.AutoConfig.from_pretrained(tmp_path)
    assert loaded.modalities == config.modalities == ("text", "video", "image", "audio")
    assert loaded.expert_names == config.expert_names == ("text", "image", "audio")
    assert loaded.experts == config.experts
    model, row = build(MoTForCausalLM, config), interleaved([20])[0]
    expected = logits_of(build(MoTForCausalLM, causal_config(token_ranges=ranges, experts={"video": "image"})), row)
    assert torch.equal(logits_of(model, row), expected)
    assert torch.equal(logits_of(MoTForCausalLM.from_pretrained(save(model, tmp_path)), row), expected)


@some_settings
def test_a_larger_vocabulary_grows_text_alone(setting, tmp_path):
    model, row = model_for(setting), interleaved([20])[0]
    expected = logits_of(model, row)
    model.resize_token_embeddings(VOCAB_SIZE + 7)
    loaded = MoTForCausalLM.from_pretrained(save(model, tmp_path))
    for resized in (model, loaded):
        assert [resized.config.modality_of(token) for token in range(VOCAB_SIZE, VOCAB_SIZE + 7)] == ["text"] * 7
        found = logits_of(resized, row)
        assert found.shape == (20, VOCAB_SIZE + 7) and torch.equal(found[:, :VOCAB_SIZE], expected)
        grown = row[:10] + [VOCAB_SIZE + 6] + row[10:]
        reference = reference_logits(resized.state_dict(), resized.config, grown)
        assert max_difference(logits_of(resized, grown), reference) < TOLERANCE


def test_a_smaller_vocabulary_loses_text_alone():
    model, row = model_for(), interleaved([20])[0]
    row = [token % 38 for token in row]
    expected = logits_of(model, row)
    model.resize_token_embeddings(38)
    assert torch.equal(logits_of(model, row), expected[:, :38])
    with pytest.raises(ValueError, match="'audio'.*from 30 to below 38: keep at least 38"):
        model.resize_token_embeddings(37)


def test_a_config_names_no_code(tmp_path):
    """An implementation may be a kernel of the Hub, which would be fetched and run."""
    saved = causal_config().to_dict() | {"attn_implementation": "someone/kernel"}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(ValueError, match="names code on the Hub, someone/kernel"):
        transformers.AutoConfig.from_pretrained(tmp_path)


def test_no_vocabulary_loses_what_begins_or_ends_a_modality(tmp_path):
    model = model_for(begin_ids={"image": 3}, end_ids={"image": 38})
    with pytest.raises(ValueError, match="38, which begins or ends 'image': keep at least 39"):
        model.resize_token_embeddings(38)
    model.resize_token_embeddings(39)
    model.save_pretrained(tmp_path)
    assert MoTForCausalLM.from_pretrained(tmp_path).config.vocab_size == 39


def test_a_folder_serves_people_without_the_package(tmp_path):
    """By every Auto class, and to be saved again; a half-precision copy answers, too."""
    model, rows = model_for(), interleaved([12, 12])
    save(model, tmp_path / "saved")
    with torch.no_grad():
        expected = {"logits": model(torch.tensor(rows)).logits}
    expected["generated"] = model.generate(torch.tensor(rows), max_new_tokens=5, do_sample=False)
    torch.save(torch.tensor(rows), tmp_path / "rows.pt")
    script = """
import torch, transformers
folder, work = sys.argv[1:]
rows, found = torch.load(f"{work}/rows.pt"), {}
names = ("AutoModelForCausalLM", "AutoModelForMultimodalLM", "AutoModelForImageTextToText")
for name in names:
    model = getattr(transformers, name).from_pretrained(folder, trust_remote_code=True)
    assert type(model).__name__ == "MoTForCausalLM" and "transformers_modules" in type(model).__module__
    with torch.no_grad():
        found[name, "logits"] = model(rows).logits
    found[name, "generated"] = model.generate(rows, max_new_tokens=5, do_sample=False)
decoder = transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)
assert type(decoder).__name__ == "MoTCausalModel"
model.save_pretrained(f"{work}/again")
again = transformers.AutoModelForCausalLM.from_pretrained(f"{work}/again", trust_remote_code=True)
with torch.no_grad():
    found["again", "logits"] = again(rows).logits
torch.save(found, f"{work}/found.pt")
"""
    run_without_package(script, tmp_path / "saved", tmp_path, folder=tmp_path)
    found = torch.load(tmp_path / "found.pt")
    assert len(found) == 7
    for (_, name), value in found.items():
        assert torch.equal(value, expected[name])


# Bad input


@pytest.mark.parametrize(
    "ids, wrong", [([[1, 40]], 40), ([[1, -1]], -1), ([[10**6, 3]], 10**6)], ids=["past the end", "below 0", "far"]
)
def test_an_id_outside_the_vocabulary_is_named(ids, wrong):
    with pytest.raises(ValueError, match=f"`input_ids` has the id {wrong}, outside .* 0 to 39"):
        model_for()(torch.tensor(ids))


@pytest.mark.parametrize("wrong", [40, -1])
def test_a_label_outside_the_vocabulary_is_named(wrong):
    with pytest.raises(ValueError, match=f"`labels` has the id {wrong}, outside .* 0 to 39"):
        model_for()(torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, -100, wrong]]))


IDS_OF_TWO_ROWS = torch.tensor([[1, 25, 31], [3, 4, 5]])
EMBEDDINGS = torch.zeros(2, 3, 16)
BAD_CALLS = {
    "nothing": ({}, "exactly one of `input_ids` and `inputs_embeds`"),
    "both": ({"input_ids": IDS_OF_TWO_ROWS, "inputs_embeds": EMBEDDINGS}, "exactly one of"),
    "modalities of ids": (
        {"input_ids": IDS_OF_TWO_ROWS, "modality_ids": torch.zeros(2, 3, dtype=torch.long)},
        "`modality_ids` say what `inputs_embeds` are",
    ),
    "modalities twice": (
        {"inputs_embeds": EMBEDDINGS, "modality_ids": torch.zeros(2, 3, dtype=torch.long), "modality": "image"},
        "`modality_ids` say what `inputs_embeds` are",
    ),
    "modalities of another shape": (
        {"inputs_embeds": EMBEDDINGS, "modality_ids": torch.zeros(2, 4, dtype=torch.long)},
        r"`modality_ids` is of shape \(2, 4\), expected that of the tokens, \(2, 3\)",
    ),
    "a modality of no number": (
        {"inputs_embeds": EMBEDDINGS, "modality_ids": torch.full((2, 3), 3)},
        "`modality_ids` has the number 3, expected 0 to 2, for text, image, audio",
    ),
    "an unknown modality": (
        {"input_ids": IDS_OF_TWO_ROWS, "modality": "smell"},
        "Unknown modality 'smell': this model has text, image, audio",
    ),
    "labels of another shape": (
        {"input_ids": IDS_OF_TWO_ROWS, "labels": torch.zeros(2, 2, dtype=torch.long)},
        r"`labels` is of shape \(2, 2\), and there are logits of \(2, 3\)",
    ),
    "labels of logits that are not kept": (
        {"input_ids": IDS_OF_TWO_ROWS, "labels": IDS_OF_TWO_ROWS, "logits_to_keep": 1},
        "leave `logits_to_keep` at 0",
    ),
    "a row of ids": ({"input_ids": IDS_OF_TWO_ROWS[0]}, r"`input_ids` is of shape \(3,\), expected \(B, L\)"),
    "rows of no tokens": (
        {"input_ids": torch.zeros(2, 0, dtype=torch.long)},
        r"`input_ids` is of shape \(2, 0\), expected \(B, L\)",
    ),
    "embeddings of one row": ({"inputs_embeds": EMBEDDINGS[0]}, r"`inputs_embeds` is of shape \(3, 16\), expected"),
    "a mask of another length": (
        {"input_ids": IDS_OF_TWO_ROWS, "attention_mask": torch.ones(2, 2)},
        r"`attention_mask` is of shape \(2, 2\), expected \(2, 3\)",
    ),
    "a misspelt argument": (
        {"input_ids": IDS_OF_TWO_ROWS, "modalty": "image"},
        "has no argument `modalty`; did you mean `modality`",
    ),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_what_forward_cannot_take_is_an_error_that_says_so(case):
    arguments, message = BAD_CALLS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        model_for()(**arguments)


BAD_CONFIGS = {
    "overlapping ranges": ({"token_ranges": [["image", 20, 31], ["audio", 30, 38]]}, "'audio' the id 30"),
    "a range beyond the ids": ({"token_ranges": [["image", 20, 41]]}, "'image' the ids from 20 to below 41"),
    "an empty range": ({"token_ranges": [["image", 20, 20]]}, "at least one id"),
    "a range of three names": ({"token_ranges": [["image", "20", 30]]}, "`token_ranges` has"),
    "a range of text": ({"token_ranges": [["text", 20, 30]]}, "gives text a range"),
    "an expert of no modality": ({"experts": {"video": "image"}}, "`experts` names 'video'"),
    "an expert of a bad name": ({"experts": {"image": "a.b"}}, "a.b"),
    "an unknown part": ({"untied": ["mlps"]}, "`untied` names 'mlps'; the parts of a layer are attention, mlp, norm"),
    "a begin without an end": ({"begin_ids": {"image": 3}}, "what begins must end"),
    "a begin inside a range": ({"begin_ids": {"image": 25}, "end_ids": {"image": 4}}, "25 is not one"),
    "two that begin alike": (
        {"begin_ids": {"image": 3, "audio": 3}, "end_ids": {"image": 4, "audio": 5}},
        "`begin_ids` gives 'audio' the id 3, which begins 'image' already",
    ),
    "an end that begins": (
        {"begin_ids": {"image": 3, "audio": 4}, "end_ids": {"image": 4, "audio": 5}},
        "`begin_ids` gives 'audio' the id 4, which ends 'image' already",
    ),
    "a begin that ends documents": ({"begin_ids": {"image": 2}, "end_ids": {"image": 4}}, "2, which ends a document"),
    "an end of documents inside a range": ({"eos_token_id": [2, 25]}, "`eos_token_id` has 25, which is of 'image'"),
    "padding beyond the ids": ({"pad_token_id": 40}, "`pad_token_id` is 40, expected an id of 0 to 39"),
    "padding counted from the end": ({"pad_token_id": -1}, "`pad_token_id` is -1"),
    "a number of countless tokens": ({"num_tokens": {"image": 10**12}}, "`num_tokens` gives 'image' 1000000000000"),
    "heads of no width": ({"head_dim": 0}, "`MoTCausalConfig.head_dim` is 0"),
    "no heads of keys": ({"num_key_value_heads": 0}, "`MoTCausalConfig.num_key_value_heads` is 0"),
    "norms of the root of a negative": ({"rms_norm_eps": -1}, "`MoTCausalConfig.rms_norm_eps` is -1"),
    "unknown positions": ({"rope_parameters": {"rope_type": "os.system", "rope_theta": 1e4}}, "'os.system', expected"),
    "positions without their factor": ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "factor"),
    "a number of no tokens": ({"num_tokens": {"image": 0}}, "`num_tokens` gives 'image' 0"),
    "a weight below 0": ({"loss_weights": {"image": -1.0}}, "`loss_weights` gives 'image' -1.0"),
    "a weight of no modality": ({"loss_weights": {"video": 1.0}}, "`loss_weights` names 'video'"),
    "a placeholder elsewhere": ({"placeholder_ids": {"image": 31}}, "`placeholder_ids` gives 'image' the id 31"),
    "heads that do not divide": ({"num_key_value_heads": 3}, "`num_attention_heads` .4. must be a multiple"),
    "an odd head": ({"head_dim": 5}, "`head_dim` .5. must be even"),
    "a width below 1": ({"hidden_size": 0}, "hidden_size"),
    "no layers": ({"num_hidden_layers": -1}, "num_hidden_layers"),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_a_config_that_cannot_be_is_an_error_that_names_the_field(case, tmp_path):
    fields, message = BAD_CONFIGS[case]
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        causal_config(**fields)
    saved = causal_config().to_dict() | fields
    (tmp_path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=message):
        transformers.AutoConfig.from_pretrained(tmp_path)
