# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Models that are moved, split, adapted or quantised answer as they did before.

accelerate keeps a parameter on the meta device but for the `forward` of the module that owns it, so an offloaded model
that answers reads every parameter there. Quantised layers that do not run here are acted by a layer with packed
weights.
"""

import copy
import importlib
import warnings

import pytest
import torch
from accelerate import cpu_offload, dispatch_model
from accelerate.utils import offload_state_dict
from helpers import MODALITIES, build, make_inputs, max_difference, tiny_config, without
from torch import nn

from mixture_of_transformers import (
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTModel,
)

peft = pytest.importorskip("peft")

HEADS = (MoTForSequenceClassification, MoTForRetrieval, MoTForPreTraining, MoTForMaskedLM)
EXACT = 1e-6
TOLERANCE = 1e-5

every_head = pytest.mark.parametrize("head_class", HEADS)

# Settings that together have every kind of parameter: all tables, vectors, stems, fusions and layers.
LEARNED = {"position_embedding_type": "learned", "use_cls_token": True, "num_register_tokens": 2}
LEARNED |= {"embedding_norm": True, "final_norm": True}
SETTINGS = {
    "early fusion": {"fusion_type": "early", "num_joint_layers": 1, "global_mlp": True},
    "learned positions": {"fusion_type": "attention", "every_tower": LEARNED},
    "uneven towers": {"architecture": "uneven_towers", "fusion_type": "hierarchical"},
    "sigmoid loss": {"contrastive_loss": "sigmoid"},
}


def model_of(head_class, setting="early fusion", features=False, **fields):
    fields = SETTINGS[setting] | fields
    return build(head_class, tiny_config(features=features, num_labels=3, **fields))


def answer_of(model, inputs):
    """All that a head says of a batch, one after another, with the draws of pretraining always the same."""
    torch.manual_seed(0)
    base = getattr(model, "base_model", model)
    names = {"MoTForRetrieval": "return_loss", "MoTForPreTraining": "return_loss"}
    options = {names[type(base).__name__]: True} if type(base).__name__ in names else {}
    output = model(**inputs, **options)
    wanted = ("loss", "logits", "text_embeds", "image_embeds", "audio_embeds", "last_hidden_state", "pooler_output")
    wanted += ("text_predictions", "image_predictions", "audio_predictions")
    return torch.cat([output[name].float().flatten() for name in wanted if output.get(name) is not None])


def batch_for(head_class, features=False):
    inputs = make_inputs(MODALITIES, features=features)
    if head_class is MoTForRetrieval:
        inputs["labels"] = torch.arange(len(inputs["attention_mask"]))
    if head_class is MoTForMaskedLM:
        inputs["labels"] = inputs["input_ids"].clone()
    if head_class is MoTForPreTraining and not features:
        inputs["text_labels"] = inputs["input_ids"].clone()
    return inputs


# Moved: parameters that are there only while their own module runs


@pytest.mark.parametrize(
    "head_class, setting",
    [*((MoTForSequenceClassification, setting) for setting in SETTINGS)]
    + [*zip((MoTForRetrieval, MoTForRetrieval, MoTForPreTraining, MoTForMaskedLM), (*SETTINGS,)[::-1])],
)
def test_a_model_answers_with_every_part_offloaded(head_class, setting):
    model, inputs = model_of(head_class, setting), batch_for(head_class)
    with torch.no_grad():
        expected = answer_of(model, inputs)
        offloaded = cpu_offload(copy.deepcopy(model), execution_device=torch.device("cpu"))
        assert all(parameter.is_meta for parameter in offloaded.parameters())
        assert max_difference(answer_of(offloaded, inputs), expected) < EXACT


@pytest.mark.parametrize("head_class", [MoTForSequenceClassification, MoTForPreTraining])
def test_a_model_of_ready_features_answers_with_every_part_offloaded(head_class):
    model, inputs = model_of(head_class, features=True), batch_for(head_class, features=True)
    with torch.no_grad():
        expected = answer_of(model, inputs)
        offloaded = cpu_offload(model, execution_device=torch.device("cpu"))
        assert max_difference(answer_of(offloaded, inputs), expected) < EXACT


@pytest.mark.parametrize("setting", ["early fusion", "learned positions"])
def test_stand_ins_of_what_a_batch_lacks_are_read_offloaded(setting):
    model = model_of(MoTForSequenceClassification, setting).train()
    inputs = without(without(make_inputs(MODALITIES), "image"), "audio")
    with torch.no_grad():
        expected = model(**inputs).logits
        subsets = model(**inputs, modality_subsets=[("text",), ("text", "image")]).logits
        offloaded = cpu_offload(model, execution_device=torch.device("cpu"))
        assert max_difference(offloaded(**inputs).logits, expected) < EXACT
        found = offloaded(**inputs, modality_subsets=[("text",), ("text", "image")]).logits
        assert max_difference(found, subsets) < EXACT


@pytest.mark.parametrize("head_class", [MoTForSequenceClassification, MoTForPreTraining])
def test_any_part_may_lie_on_disk(head_class, tmp_path):
    """Every other part, then those between."""
    model, inputs = model_of(head_class, "learned positions"), batch_for(head_class)
    parts = [f"mot.{name}" for name, _ in model.mot.named_children()]
    parts += [name for name, _ in model.named_children() if name != "mot"]
    parts = [part for part in parts if any(True for _ in model.get_submodule(part).parameters())]
    offload_state_dict(tmp_path, dict(model.state_dict()))
    with torch.no_grad():
        expected = answer_of(model, inputs)
        for kinds in (("disk", "cpu"), ("cpu", "disk")):
            places = {part: kinds[i % 2] for i, part in enumerate(parts)}
            moved = dispatch_model(
                copy.deepcopy(model), places, main_device="cpu", offload_dir=tmp_path, force_hooks=True
            )
            assert max_difference(answer_of(moved, inputs), expected) < EXACT


def test_times_stay_precise_in_half_precision():
    """In bfloat16 neighbouring moments of a long clip would fall together."""
    model = model_of(MoTModel, "early fusion", time_positions=True, audio_config={"max_frames": 3000}).to(
        torch.bfloat16
    )
    embeddings = model.embeddings["audio"]
    frames = torch.randn(1, 2900, 6, dtype=torch.bfloat16)
    times = embeddings.fill_times(frames, None, torch.arange(2900)[None] * 0.01)
    positions = embeddings.positions(1450, None, frames.device, times[:, ::2])
    assert times.dtype == torch.float32 and positions.dtype == torch.float32
    assert torch.unique(positions[0], dim=0).shape[0] == 1450


def test_a_model_on_the_meta_device_says_what_shapes_it_gives():
    config = tiny_config(num_labels=3)
    with torch.device("meta"):
        model = MoTForSequenceClassification(config).eval()
    inputs = {name: value.to("meta") for name, value in make_inputs(MODALITIES, masks=None).items()}
    assert model(**inputs).logits.shape == (len(inputs["input_ids"]), 3)


# Split: the replicas of nn.DataParallel, whose modules have no parameters, only tensors


@pytest.fixture
def replica_of(monkeypatch):
    """A replica as torch makes it, with copies on the processor where torch would make them on a second device."""
    replicate = importlib.import_module("torch.nn.parallel.replicate")
    monkeypatch.setattr(
        replicate,
        "_broadcast_coalesced_reshape",
        lambda tensors, devices, detach=False: [
            [tensor.detach().clone() if detach else tensor.clone() for tensor in tensors] for _ in devices
        ],
    )
    return lambda model: replicate.replicate(model, [0, 1])[1]


@every_head
def test_a_replica_learns_what_the_model_learns(head_class, replica_of):
    """A batch without audio, whose stand-in needs a device and a type, too."""
    inputs = without(batch_for(head_class), "audio")
    if head_class is MoTForSequenceClassification:
        inputs["labels"] = torch.arange(len(inputs["input_ids"])) % 3
    gradients = []
    for wrap in (lambda model: model, replica_of):
        model = model_of(head_class, "learned positions").train()
        torch.manual_seed(0)
        wrap(model)(**inputs).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    expected, found = gradients
    for name, gradient in expected.items():
        assert found[name] is not None, name
        assert max_difference(found[name], gradient) < TOLERANCE, name


# Adapted: peft around tables, grids and any layer


def adapted(model, **fields):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.get_peft_model(model, peft.LoraConfig(r=2, init_lora_weights=False, **fields))


ADAPTERS = {
    "words": {"target_modules": ["word_embeddings"]},
    "positions of text and audio": {"target_modules": r".*\.(text|audio)\.position_embeddings"},
    "the grid of an image": {"target_parameters": ["embeddings.image.position_embeddings"]},
    "the times of frames": {"target_parameters": ["embeddings.image.frame_position_embeddings"]},
    "the kinds": {"target_parameters": ["modality_embeddings.text", "modality_embeddings.audio"]},
    "every linear layer": {"target_modules": "all-linear"},
    "stems": {"target_modules": r".*embeddings\..*\.(projection|conv1|conv2)"},
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_learns_and_merges(name):
    """What is read past the layer that an adapter wraps would leave the adapter without gradients and without
    effect."""
    fields = {"target_modules": []} | ADAPTERS[name]
    model = model_of(MoTForSequenceClassification, "learned positions", audio_config={"stem": "conv"})
    inputs = make_inputs(MODALITIES)
    plain = copy.deepcopy(model)
    model = adapted(model, **fields)
    model(**inputs, labels=torch.arange(len(inputs["input_ids"])) % 3).loss.backward()
    adapters = {n: p for n, p in model.named_parameters() if "lora_" in n}
    assert adapters and all(p.grad is not None and p.grad.any() for p in adapters.values())
    with torch.no_grad():
        expected = model(**inputs).logits
        with model.disable_adapter():
            assert max_difference(model(**inputs).logits, plain(**inputs).logits) < TOLERANCE
        assert max_difference(expected, plain(**inputs).logits) > 1e-3
        assert max_difference(model.merge_and_unload()(**inputs).logits, expected) < TOLERANCE


def test_a_part_that_is_trained_whole_beside_adapters_is_read():
    parts = ["embeddings.image", "modality_embeddings", "fusion"]
    model = model_of(MoTForSequenceClassification, "learned positions")
    model = adapted(model, target_modules=["q_proj"], modules_to_save=parts)
    inputs = make_inputs(MODALITIES)
    model(**inputs, labels=torch.arange(len(inputs["input_ids"])) % 3).loss.backward()
    saved = {n: p for n, p in model.named_parameters() if "modules_to_save" in n}
    assert all(any(part in name for name in saved) for part in parts)
    assert all(p.grad is not None for p in saved.values())


@pytest.mark.parametrize(
    "config",
    [
        peft.TrainableTokensConfig(token_indices=[3, 4], target_modules=["word_embeddings"]),
        peft.LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=[3, 4]),
    ],
    ids=["tokens", "lora and tokens"],
)
@every_head
def test_single_words_are_trained(head_class, config):
    model = peft.get_peft_model(model_of(head_class), copy.deepcopy(config))
    inputs = batch_for(head_class)
    inputs["input_ids"][:, :2] = torch.tensor([3, 4])
    inputs["attention_mask"][:, :2] = 1
    answer_of(model, inputs).square().sum().backward()
    deltas = [p for n, p in model.named_parameters() if "trainable_tokens_delta" in n]
    assert deltas and all(p.grad.any() for p in deltas)
    with pytest.raises(ValueError, match="vocabulary"):
        model(**(inputs | {"input_ids": inputs["input_ids"] + 1000}))


def test_adapters_of_a_model_without_text_learn_under_reentrant_checkpointing():
    model = build(MoTForSequenceClassification, tiny_config(text_config=None, audio_config=None, num_labels=3)).train()
    model = adapted(model, target_modules=["q_proj"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.gradient_checkpointing_enable({"use_reentrant": True})
    inputs = make_inputs(("image",))
    model(**inputs, labels=torch.arange(len(inputs["pixel_values"])) % 3).loss.backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if "lora_B" in n)


# Words that are added


@every_head
def test_added_words_are_read_and_the_others_keep_their_meaning(head_class):
    model, inputs = model_of(head_class), batch_for(head_class)
    vocab_size = model.config.text_config.vocab_size
    added = inputs | {"input_ids": inputs["input_ids"].clone()}
    added["input_ids"][0, 0] = vocab_size + 2
    with torch.no_grad():
        embeds = model(**inputs).get("text_embeds")
        model.resize_token_embeddings(vocab_size + 3)
        assert model.config.text_config.vocab_size == model.config.vocab_size == vocab_size + 3
        assert model.get_input_embeddings().num_embeddings == vocab_size + 3
        output = model(**added)
        if embeds is not None:
            assert max_difference(model(**inputs).text_embeds, embeds) < EXACT
            assert max_difference(output.text_embeds[1:], embeds[1:]) < EXACT
            assert max_difference(output.text_embeds[:1], embeds[:1]) > 1e-3
        if model.get_output_embeddings() is not None:
            assert model.get_output_embeddings().weight.shape[0] == vocab_size + 3
        added["input_ids"][0, 0] = vocab_size + 3
        with pytest.raises(ValueError, match=str(vocab_size + 3)):
            model(**added)


def test_a_table_of_another_size_that_is_set_is_the_vocabulary():
    model = model_of(MoTModel)
    model.set_input_embeddings(nn.Embedding(70, 32))
    assert model.config.vocab_size == 70
    model(input_ids=torch.tensor([[69]]))


def test_added_words_survive_lora(tmp_path):
    """peft saves the table of words beside the adapter once `config.vocab_size` says that it has grown."""
    base = model_of(MoTForSequenceClassification)
    base.save_pretrained(tmp_path / "base")
    inputs = make_inputs(("text",))
    inputs["input_ids"][0, 0] = 51

    def enlarged(seed):
        torch.manual_seed(seed)
        model = MoTForSequenceClassification.from_pretrained(tmp_path / "base")
        model.resize_token_embeddings(52)
        return model

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        model = adapted(enlarged(1), target_modules=["q_proj"]).eval()
        expected = model(**inputs).logits
        model.save_pretrained(tmp_path / "adapter")
        loaded = peft.PeftModel.from_pretrained(enlarged(2), tmp_path / "adapter").eval()
        assert max_difference(loaded(**inputs).logits, expected) < EXACT


# Text that comes embedded


@every_head
def test_embedded_words_say_what_their_ids_say(head_class):
    model, inputs = model_of(head_class), batch_for(head_class)
    embedded = {name: value for name, value in inputs.items() if name != "input_ids"}
    with torch.no_grad():
        embedded["inputs_embeds"] = model.get_input_embeddings()(inputs["input_ids"])
        hidden = inputs["attention_mask"][..., None] == 0
        embedded["inputs_embeds"] = embedded["inputs_embeds"].masked_fill(hidden, torch.nan)  # never read
        assert max_difference(answer_of(model, embedded), answer_of(model, inputs)) < EXACT


def test_embedded_words_are_text_alone_in_retrieval():
    model, inputs = model_of(MoTForRetrieval), make_inputs(("text",))
    with torch.no_grad():
        embeds = model.get_input_embeddings()(inputs["input_ids"])
        found = model.get_text_features(inputs_embeds=embeds, attention_mask=inputs["attention_mask"])
        assert max_difference(found.pooler_output, model.get_text_features(**inputs).pooler_output) < EXACT
        with pytest.raises(ValueError, match="inputs_embeds"):
            model.get_image_features(**make_inputs(("image",)), inputs_embeds=embeds)


def test_prompts_in_front_of_the_text_are_tuned():
    model = build(MoTForSequenceClassification, tiny_config(num_labels=3))
    sizes = {"num_layers": 2, "num_attention_heads": 4, "token_dim": 32, "num_virtual_tokens": 2}
    tuned = peft.get_peft_model(model, peft.PromptTuningConfig(task_type="SEQ_CLS", **sizes))
    inputs = make_inputs(("text", "image"))
    tuned(**inputs, labels=torch.arange(len(inputs["input_ids"])) % 3).loss.backward()
    assert tuned.prompt_encoder["default"].embedding.weight.grad.any()


# Quantised


class Packed(nn.Module):
    """
    Acts a linear layer of bitsandbytes, torchao or quanto: its weights are whole numbers of a few bits with a scale
    for each row, kept as bytes; it computes in `compute_dtype` and answers in the type of its input.
    """

    def __init__(self, linear, bits):
        super().__init__()
        largest = 2 ** (bits - 1) - 1
        self.scale = nn.Buffer(
            linear.weight.detach().float().abs().amax(dim=1, keepdim=True).clamp(min=1e-9) / largest
        )
        numbers = (linear.weight.detach().float() / self.scale).round()
        self.weight = nn.Parameter(numbers.to(torch.int8).view(torch.uint8), requires_grad=False)
        self.bias, self.compute_dtype = linear.bias, linear.weight.dtype

    def unpacked(self):
        return (self.weight.view(torch.int8) * self.scale).to(self.compute_dtype)

    def forward(self, hidden_states):
        bias = None if self.bias is None else self.bias.to(self.compute_dtype)
        return nn.functional.linear(hidden_states.to(self.compute_dtype), self.unpacked(), bias).to(
            hidden_states.dtype
        )


def packed(model, bits):
    for name, module in list(model.named_modules()):
        if type(module) is nn.Linear:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, Packed(module, bits))
    return model


def rounded(model, bits):
    """The plain model whose weights are what those of the packed one stand for."""
    with torch.no_grad():
        for module in model.modules():
            if type(module) is nn.Linear:
                module.weight.copy_(Packed(module, bits).unpacked())
    return model


@pytest.mark.parametrize("bits, dtype", [(8, torch.float32), (4, torch.bfloat16)])
@pytest.mark.parametrize("features", [False, True], ids=["raw", "features"])
@every_head
def test_packed_weights_answer_as_what_they_stand_for(head_class, features, bits, dtype):
    if features and head_class is MoTForMaskedLM:
        pytest.skip("words are no features")
    model, inputs = model_of(head_class, features=features).to(dtype), batch_for(head_class, features)
    with torch.no_grad():
        expected = answer_of(rounded(copy.deepcopy(model), bits), inputs)
        assert torch.equal(answer_of(packed(model, bits), inputs), expected)


@pytest.mark.parametrize("features", [False, True], ids=["raw", "features"])
def test_dynamic_int8_of_torch_answers_within_its_precision(features):
    model = MoTForSequenceClassification(tiny_config(features=features, num_labels=3)).eval()
    inputs = make_inputs(MODALITIES, features=features)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = model(**inputs).logits
        quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear})
        assert not any(type(module) is nn.Linear for module in quantised.modules())
        assert max_difference(quantised(**inputs).logits, expected) < 0.05 * expected.abs().max().item()
