# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The set of modalities is open: what a user declares is as good as what the library has by name.

Which test pins which rule of an open set:
- here: 3 a name changes nothing, 4 the order is stored, 5 three routes of loading, 6 what reaches declared towers, 7
  names that cannot be, 13 segments cost what rows cost;
- test_invariants.py by `helpers.OPEN_CASES`: 1 the equations, 2 absent is absent, poison, rows in another order, and
  with distributed_steps.py 14 two ranks that have other modalities;
- test_growing.py: 8 a modality that is added changes no answer without it;
- test_segments.py: 9 one is none, 10 they are a set, 11 they do not see each other, 12 none is absent;
- test_open_processing.py: 15 an unknown keyword of the processor; test_house.py: 16 nothing decides by a name.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from helpers import MODALITIES, OPEN_SETS, RAW_INPUTS, build, make_inputs, max_difference, run, tiny_config
from remote_steps import answers, run_without_package
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from mixture_of_transformers import (
    MoTConfig,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTModel,
    MoTProcessor,
)
from mixture_of_transformers.modality_table_mot import TableModality
from mixture_of_transformers.validation_mot import ARGUMENT_ENDS, RESERVED_NAMES

HERE = Path(__file__).parent
every_set = pytest.mark.parametrize("whole", OPEN_SETS, ids="+".join)


# 3. Renaming changes nothing

TWIN = {"text": "words", "image": "depth", "audio": "heart"}  # a name of the library's, and one of a user's
OUTPUTS = ("last_hidden_state", "pooler_output", "logits", "losses", "loss")


def renamed(name, modality, twin):
    """The name of a parameter where a modality is called otherwise."""
    return ".".join(
        "-".join(twin if part == modality else part for part in place.split("-")) for place in name.split(".")
    )


@pytest.mark.parametrize("head", [MoTForSequenceClassification, MoTForRetrieval, MoTForPreTraining])
@pytest.mark.parametrize("modality", MODALITIES)
def test_a_modality_under_a_users_name_answers_bit_for_bit_like_one_of_the_librarys(modality, head):
    """The two names stand at the same place of the joint sequence, behind a modality that is declared as well."""
    twin, fields = TWIN[modality], {"num_joint_layers": 1, "fusion_type": "early", "num_labels": 3}
    known = tiny_config(modalities=(modality,), **fields)
    tower = known.modality_config(modality).to_dict()
    known = tiny_config(modalities=(modality, "imu"), **fields)
    declared = tiny_config(modalities=("imu",), **fields, **{f"{twin}_config": tower})
    declared = MoTConfig.from_dict(declared.to_dict() | {"extra_modalities": [twin, "imu"]})
    models = [build(head, config) for config in (known, declared)]
    weights = {renamed(name, modality, twin): value for name, value in models[0].state_dict().items()}
    models[1].load_state_dict(weights)
    inputs = make_inputs((modality, "imu"))
    mask = {"text": "attention_mask", "image": "pixel_mask", "audio": "input_features_mask"}[modality]
    names = {RAW_INPUTS[modality]: f"{twin}_values", mask: f"{twin}_mask"}
    options = {"labels": torch.arange(len(inputs["imu_values"])) % 3}
    if head is MoTForPreTraining:
        options = {"return_loss": True}
    found = []
    for model, batch in zip(models, (inputs, {names.get(name, name): value for name, value in inputs.items()})):
        torch.manual_seed(0)  # what pretraining hides is drawn
        output = run(model, batch, **options)
        found.append({name: output[name] for name in OUTPUTS if name in output})
        found[-1] |= {f"loss {i}": loss for i, loss in enumerate((found[-1].pop("losses", None) or {}).values())}
    assert found[0] and found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


# 4. The order is that in which modalities were declared


def test_the_order_of_declared_modalities_survives_saving_loading_and_saving_again(tmp_path):
    """A config.json has its keys sorted."""
    names = ("zebra", "imu", "apple", "emg")
    series = {"model_type": "mot_series", "num_channels": 2, "num_hidden_layers": 1}
    config = tiny_config(modalities=("text",), **{f"{name}_config": series for name in names})
    model = build(MoTModel, config)
    for folder in ("first", "second"):
        model.save_pretrained(tmp_path / folder)
        assert json.loads((tmp_path / folder / "config.json").read_text())["extra_modalities"] == list(names)
        model = MoTModel.from_pretrained(tmp_path / folder)
        assert model.config.modalities == ("text", *names)
        assert [*model.encoders] == [*model.embeddings] == ["text", *names]


# 5. Three routes

STRANGER = """
import pathlib
import numpy as np, torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoProcessor
folder = pathlib.Path(sys.argv[1])
rows = dict(np.load(folder / "rows.npz"))
rows = {"imu": [rows["imu"], None], "depth": [None, rows["depth"]], "vitals": [{"age": 71, "sex": "f"}, {"sex": "m"}]}
batch = AutoProcessor.from_pretrained(folder, trust_remote_code=True)(**rows)
found = {f"inputs.{name}": value for name, value in batch.items()}
for auto in (AutoModel, AutoModelForSequenceClassification):
    model = auto.from_pretrained(folder, trust_remote_code=True)
    found |= {f"{auto.__name__}.{name}": value for name, value in remote_steps.answers(model, batch).items()}
save_file(found, folder / "found.safetensors")
"""


def assert_same(found, expected):
    """Bit for bit; an empty cell is NaN in both."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, equal_nan=True, msg=name)


@pytest.mark.training
def test_three_routes_give_bit_equal_answers_and_inputs_of_declared_modalities(tmp_path):
    """By class, by Auto class, and by people who have neither the package nor any code of the user's."""
    vitals = TableModality.called("vitals")
    learned = vitals.learn([{"age": 50 + i, "sex": "fm"[i % 2]} for i in range(20)])
    settings = {
        "imu": {"kind": "series", "sampling_rate": 50.0, "num_channels": 2, "mean": [1.0, 2.0], "std": [2.0, 3.0]},
        "depth": {"kind": "image", "size": 8, "num_channels": 1, "scale": 0.001},
        "vitals": {"kind": "table", **learned},
    }
    processor = MoTProcessor(modalities=settings)
    towers = {f"{name}_config": {"model_type": f"mot_{settings[name]['kind']}"} for name in settings}
    towers["imu_config"] |= {"num_channels": 2}
    towers["depth_config"] |= {"num_channels": 1, "image_size": 8, "patch_size": 4}
    towers["vitals_config"] |= vitals.config_fields(learned)
    model = build(MoTForSequenceClassification, tiny_config("uneven_towers", modalities=(), num_labels=3, **towers))
    MoTProcessor.register_for_auto_class()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    rng = np.random.default_rng(0)
    arrays = {"imu": rng.normal(size=(12, 2)), "depth": rng.integers(0, 4000, (8, 8)).astype(np.uint16)}
    np.savez(tmp_path / "rows.npz", **arrays)
    people = [{"age": 71, "sex": "f"}, {"sex": "m"}]
    rows = {"imu": [arrays["imu"], None], "depth": [None, arrays["depth"]], "vitals": people}
    batch = processor(**rows)
    expected = {f"inputs.{name}": value for name, value in batch.items()}
    for name, part in (("AutoModel", model.mot), ("AutoModelForSequenceClassification", model)):
        expected |= {f"{name}.{key}": value for key, value in answers(part, batch).items()}
        loaded = getattr(transformers, name).from_pretrained(tmp_path)
        assert type(loaded) is type(part)
        for key, value in answers(loaded, batch).items():
            assert torch.equal(value, expected[f"{name}.{key}"]), key
    loaded = transformers.AutoProcessor.from_pretrained(tmp_path)
    again = {f"inputs.{name}": value for name, value in loaded(**rows).items()}
    assert_same(again, {name: expected[name] for name in again})
    run_without_package(STRANGER, tmp_path, folder=tmp_path)
    assert_same(load_file(tmp_path / "found.safetensors"), expected)


# 6. What is said of a model reaches the towers of all its modalities


@every_set
def test_the_choice_of_attention_and_type_reaches_declared_towers(whole, tmp_path):
    config = tiny_config(modalities=whole)
    towers = [f"{name}_config" for name in whole]
    model = MoTModel._from_config(config, attn_implementation="eager", dtype=torch.bfloat16)
    assert {getattr(model.config, name)._attn_implementation for name in towers} == {"eager"}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    model.set_attn_implementation({towers[-1]: "sdpa"})
    chosen = [getattr(model.config, name)._attn_implementation for name in towers]
    assert chosen == ["eager"] * (len(whole) - 1) + ["sdpa"]
    assert [model.encoders[m].layers[0].config._attn_implementation for m in whole] == chosen
    model.save_pretrained(tmp_path)
    loaded = MoTModel.from_pretrained(tmp_path, attn_implementation={towers[-1]: "eager"}, dtype="auto")
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}
    assert getattr(loaded.config, towers[-1])._attn_implementation == "eager"
    assert {getattr(loaded.config, name).dtype for name in towers} == {torch.bfloat16}


@every_set
def test_checkpointed_gradients_of_declared_modalities_are_those_without(whole):
    model = build(MoTForSequenceClassification, tiny_config("uneven_towers", modalities=whole, num_labels=3)).train()
    inputs, gradients, calls = make_inputs(whole), [], []
    for name in whole:
        model.mot.encoders[name].layers[0].mlp.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    labels = torch.arange(len(inputs[RAW_INPUTS[whole[0]]])) % 3
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        calls.clear()
        model(**inputs, labels=labels).loss.backward()
        assert [calls.count(name) for name in whole] == [1 + checkpointing] * len(whole)
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert max_difference(gradients[1][name], gradient) < 1e-6, name


@every_set
def test_adapters_reach_declared_towers_by_the_names_of_their_layers(whole):
    peft = pytest.importorskip("peft")
    model = build(MoTForSequenceClassification, tiny_config(num_joint_layers=1, modalities=whole, num_labels=3))
    targets = rf".*\.({'|'.join(whole)})\..*q_proj"
    model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False))
    inputs = make_inputs(whole)
    model(**inputs, labels=torch.arange(len(inputs[RAW_INPUTS[whole[0]]])) % 3).loss.backward()
    adapters = {name: p.grad for name, p in model.named_parameters() if p.requires_grad and "lora_" in name}
    for name in whole:
        for part in (f"encoders.{name}.", f"experts.{name}."):
            found = [gradient for key, gradient in adapters.items() if part in key]
            assert found and all(gradient is not None and gradient.any() for gradient in found), part


# 7. Names

MALFORMED = ("2d", "a b", "a-b", "a.b", "", "_imu", "im__u", "é", "class", "x" * 65)
OF_MODULES = ("type", "values", "keys", "items", "pop", "update", "clear", "forward", "training", "children")
OF_ROWS = ("image", "images", "video", "videos", "picture", "sound", "documents")
ENDS = tuple(f"imu_{end}" for end in ARGUMENT_ENDS)
# Of these the config is one of the library's, or that of a modality which is there.
OTHERS = {"image", "quantization", "compression", "generation"}
SERIES = {"model_type": "mot_series", "num_channels": 2}


@pytest.mark.parametrize("name", sorted({*RESERVED_NAMES, *MALFORMED, *OF_MODULES, *OF_ROWS, *ENDS} - OTHERS))
def test_a_name_that_cannot_be_is_an_error_at_construction(name):
    with pytest.raises(ValueError, match="cannot be called|is something it computes"):
        MoTConfig(**{f"{name}_config": SERIES})


def test_a_modality_of_a_saved_config_is_left_out_by_none(tmp_path):
    MoTConfig(imu_config=SERIES, depth_config={"model_type": "mot_image"}).save_pretrained(tmp_path)
    config = MoTConfig.from_pretrained(tmp_path, imu_config=None)
    assert config.extra_modalities == ["depth"]


# 13. What segments cost


@pytest.mark.parametrize("modality, length, channels", [("imu", 32, 2), ("text", 16, None)])
def test_segments_cost_an_encoder_what_as_many_rows_cost(modality, length, channels):
    """In multiplications of its layers and its attention; joint and global layers see all segments, and are left
    out."""
    model, segments = build(MoTModel, tiny_config(modalities=(modality,), num_global_layers=0), "eager"), 8
    rows = torch.randint(0, 50, (segments, length)) if channels is None else torch.randn(segments, length, channels)
    numbers = torch.arange(segments).repeat_interleave(length)[None]
    names = model.config.kinds[modality].names
    batches = ({names.raw: rows}, {names.raw: rows.flatten(0, 1)[None], names.segments: numbers})
    counts = []
    for batch in batches:
        with FlopCounterMode(display=False) as counter:
            run(model, batch)
        counts.append(counter.get_total_flops())
    assert counts[0] > 0 and counts[1] <= 1.1 * counts[0]


def test_a_modality_that_is_set_on_a_config_after_it_was_made_is_refused_not_kept_unread():
    config = MoTConfig(imu_config={"model_type": "mot_series"})
    with pytest.raises(ValueError, match=r"`emg_config` .*`MoTConfig\(emg_config=...\)`, or `add_modality`"):
        config.emg_config = {"model_type": "mot_series"}
    config.imu_config = None
    assert config.modalities == ("text", "image", "audio")


def test_a_plain_trainer_gives_a_model_the_inputs_that_it_declares(tmp_path):
    """Its default drops the columns of a dataset that no argument of `forward` is called after."""
    config = tiny_config(image_config=None, audio_config=None, num_labels=2, imu_config=SERIES)
    model, given = build(MoTForSequenceClassification, config), {}
    model.register_forward_pre_hook(lambda module, args, kwargs: given.update(kwargs), with_kwargs=True)
    rows = [{"input_ids": [1, 2], "imu_values": [[0.1, 0.2]] * 5, "labels": i % 2, "other": 1} for i in range(4)]
    args = transformers.TrainingArguments(
        str(tmp_path), max_steps=1, per_device_train_batch_size=4, report_to=[], use_cpu=True
    )
    transformers.Trainer(model, args, train_dataset=rows).train()
    assert given.keys() == {"input_ids", "imu_values", "labels"}
