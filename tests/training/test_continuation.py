# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Going on from a checkpoint: its classes keep their weights by name, its limits and kind hold, and nothing of it is
lost or replaced without a word."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, TrainerState

from mixture_of_transformers import (
    MoTConfig,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    run_finetune,
)
from mixture_of_transformers.contrastive_mot import contrastive_pairs, scale_name
from mixture_of_transformers.data.labels import LabelSpec
from mixture_of_transformers.finetune.checks import check_lora
from mixture_of_transformers.finetune.commands import arguments_that_held
from mixture_of_transformers.finetune.limits import set_limits
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments, RunArguments
from mixture_of_transformers.finetune.recipe import build_model, checkpoint_config, leave_out_columns
from mixture_of_transformers.finetune.record import Record, Run, check_same_run
from mixture_of_transformers.training.continuation import load_model, read_config
from mixture_of_transformers.training.optimization import add_lora

NAMES = ("neg", "neu", "pos")
IDS = torch.arange(5, 15)[None]


def save_checkpoint(folder, names=NAMES, model_class=MoTForSequenceClassification, **fields):
    labels = {"num_labels": len(names), "id2label": dict(enumerate(names))} if names else {}
    labels |= {"label2id": {name: i for i, name in enumerate(names)}} if names else {}
    fields = {"problem_type": "single_label_classification", "image_config": None, "audio_config": None} | fields
    text = {"vocab_size": 100, "num_hidden_layers": 1} | fields.pop("text_config", {})
    config = MoTConfig(
        hidden_size=16, num_attention_heads=2, intermediate_size=16, text_config=text, **labels, **fields
    )
    model = model_class(config).eval()
    if hasattr(model, "classifier"):
        torch.nn.init.normal_(model.classifier.weight)
        torch.nn.init.normal_(model.classifier.bias)
    model.save_pretrained(folder)
    return model


def go_on(folder, labels, task="classification"):
    return build_model(None, DataArguments(task=task), labels, ModelArguments(model_name_or_path=str(folder))).eval()


def logits_by_name(model) -> dict[str, float]:
    with torch.no_grad():
        values = model(input_ids=IDS).logits[0].tolist()
    return {model.config.id2label[i]: value for i, value in enumerate(values)}


# ---------------------------------------------------------------------------------------------------------------------
# Classes, by name
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion_type", ["late", "early", "hierarchical", "attention"])
@pytest.mark.parametrize("kind", ["single_label_classification", "multi_label_classification"])
def test_known_classes_keep_their_weights_in_any_order_and_the_run_says_which_are_new_or_gone(
    fusion_type, kind, tmp_path, caplog
):
    before = logits_by_name(save_checkpoint(tmp_path, fusion_type=fusion_type, problem_type=kind))
    model = go_on(tmp_path, LabelSpec(kind, ("pos", "mixed", "neg")))
    after = logits_by_name(model)
    assert list(after) == ["pos", "mixed", "neg"] and model.config.label2id == {"pos": 0, "mixed": 1, "neg": 2}
    assert {name: after[name] for name in ("pos", "neg")} == pytest.approx({n: before[n] for n in ("pos", "neg")})
    assert model.classifier.bias[1] == 0 and model.classifier.weight[1].abs().max() < 0.2
    said = caplog.text
    assert "2 go on (pos, neg); 1 is new (mixed); 1 is left out, since the data have none of them (neu)" in said


def test_the_same_classes_go_on_as_they_are_and_nothing_is_said(tmp_path, caplog):
    old = save_checkpoint(tmp_path)
    new = go_on(tmp_path, LabelSpec("single_label_classification", NAMES))
    assert torch.equal(new.classifier.weight, old.classifier.weight) and "classes" not in caplog.text


def test_an_adapter_trains_on_the_matched_classes(tmp_path):
    before = logits_by_name(save_checkpoint(tmp_path))
    model = add_lora(go_on(tmp_path, LabelSpec("single_label_classification", NAMES[::-1])), 2)
    assert logits_by_name(model.eval()) == pytest.approx(before)


@pytest.mark.parametrize(
    "labels, said",
    [
        (LabelSpec("regression"), "by single_label_classification, this run by regression"),
        (LabelSpec("multi_label_classification", NAMES), "a classifier for 3 classes begins anew"),
    ],
)
def test_another_kind_of_labels_begins_with_a_new_classifier_and_the_run_says_so(labels, said, tmp_path, caplog):
    old = save_checkpoint(tmp_path)
    new = go_on(tmp_path, labels, "regression" if labels.problem_type == "regression" else "classification")
    assert said in caplog.text and new.config.problem_type == labels.problem_type
    assert new.classifier.weight.shape == (labels.num_labels, 16) and new.classifier.weight.abs().max() < 0.2
    assert torch.equal(
        new.mot.embeddings["text"].word_embeddings.weight, old.mot.embeddings["text"].word_embeddings.weight
    )


def test_scores_go_on_with_their_regressor(tmp_path):
    old = save_checkpoint(tmp_path, names=(), num_labels=1, problem_type="regression")
    new = go_on(tmp_path, LabelSpec("regression"), "regression")
    assert torch.equal(new(input_ids=IDS).logits, old(input_ids=IDS).logits)


def test_a_checkpoint_without_a_classifier_gets_one_and_the_run_says_so(tmp_path, caplog):
    save_checkpoint(tmp_path, names=(), model_class=MoTForPreTraining)
    model = go_on(tmp_path, LabelSpec("single_label_classification", NAMES))
    assert "has no classifier: one for 3 classes begins anew" in caplog.text
    assert model.config.id2label == dict(enumerate(NAMES))


# ---------------------------------------------------------------------------------------------------------------------
# All of its weights
# ---------------------------------------------------------------------------------------------------------------------


def without(weights: dict) -> None:
    del weights["mot.encoders.text.layers.0.mlp.fc1.weight"]


def narrower(weights: dict) -> None:
    weights["mot.encoders.text.layers.0.mlp.fc1.weight"] = torch.zeros(8, 16)


@pytest.mark.parametrize("change, problem", [(without, "missing"), (narrower, r"of shape \(8, 16\), not \(16, 16\)")])
def test_a_missing_or_misshapen_weight_is_an_error_that_names_it(change, problem, tmp_path):
    save_checkpoint(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"mlp.fc1.weight {problem}"):
        go_on(tmp_path, LabelSpec("single_label_classification", NAMES))


def test_a_head_that_is_evaluated_must_be_whole(tmp_path):
    save_checkpoint(tmp_path, names=(), model_class=MoTForPreTraining)
    with pytest.raises(ValueError, match="classifier.bias missing"):
        load_model(MoTForSequenceClassification, tmp_path, read_config(tmp_path), whole=True)


def test_another_model_is_an_error_that_says_how_to_begin_with_it(tmp_path):
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="of type 'bert'.*--text_model"):
        read_config(tmp_path)


def save_adapter(base, folder):
    model = add_lora(go_on(base, LabelSpec("single_label_classification", NAMES)), 2)
    for name, parameter in model.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    model.config.save_pretrained(folder)
    return model.eval()


def test_an_adapter_goes_on_merged_with_its_model(tmp_path):
    save_checkpoint(tmp_path / "base")
    adapter = logits_by_name(save_adapter(tmp_path / "base", tmp_path / "adapter"))
    model = go_on(tmp_path / "adapter", LabelSpec("single_label_classification", NAMES))
    assert isinstance(model, MoTForSequenceClassification)
    assert logits_by_name(model) == pytest.approx(adapter, abs=1e-5)


def test_an_adapter_of_retrieval_saved_with_scales_as_vectors_answers_as_it_did(tmp_path):
    fields = {"image_config": {"image_size": 8, "patch_size": 4, "num_hidden_layers": 1}}
    save_checkpoint(tmp_path / "base", names=(), model_class=MoTForRetrieval, **fields)
    base, _ = load_model(MoTForRetrieval, tmp_path / "base", read_config(tmp_path / "base"))
    model = add_lora(base, 2)
    for name, parameter in model.named_parameters():
        if "lora" in name or "log_scale" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path / "adapter")
    model.config.save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = load_file(file)
    for part in ("log_scale", "bias"):  # as they were: in the order of the pairs
        place = f"base_model.model.contrastive.{part}"
        pairs = [scale_name(*pair) for pair in contrastive_pairs(model.config.modalities)]
        weights[place] = torch.cat([weights.pop(f"{place}.{pair}") for pair in pairs])
    save_file(weights, file)
    inputs = {"input_ids": IDS, "pixel_values": torch.randn(1, 3, 8, 8)}
    loaded, fresh = load_model(MoTForRetrieval, tmp_path / "adapter", read_config(tmp_path / "adapter"))
    with torch.no_grad():
        expected, found = (m.eval()(**inputs).logits_per_text for m in (model, loaded))
    assert not fresh and torch.equal(found, expected)
    assert load_file(file).keys() == weights.keys()


def test_an_adapter_whose_model_is_gone_or_that_lacks_weights_is_an_error(tmp_path):
    save_checkpoint(tmp_path / "base")
    save_adapter(tmp_path / "base", tmp_path / "adapter")
    weights = load_file(tmp_path / "adapter/adapter_model.safetensors")
    whole = dict(weights)
    weights.pop(next(name for name in weights if "fc1.lora_A" in name))
    save_file(weights, tmp_path / "adapter/adapter_model.safetensors")
    labels = LabelSpec("single_label_classification", NAMES)
    with pytest.raises(ValueError, match="lacks 1 weights, such as .*fc1.lora_A"):
        go_on(tmp_path / "adapter", labels)
    save_file(whole, tmp_path / "adapter/adapter_model.safetensors")
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(OSError, match="is an adapter of .*base, which is not there"):
        go_on(tmp_path / "adapter", labels)


# ---------------------------------------------------------------------------------------------------------------------
# Its limits and kind
# ---------------------------------------------------------------------------------------------------------------------


def test_limits_are_those_of_the_checkpoint_unless_more_or_less_is_asked_for(tmp_path, caplog):
    audio = {"num_hidden_layers": 1, "max_frames": 115}
    save_checkpoint(tmp_path, text_config={"max_position_embeddings": 20}, audio_config=audio)
    config, data = read_config(tmp_path), DataArguments()
    set_limits(data, config)
    assert (data.max_text_tokens, data.max_audio_seconds) == (20, 1.15)
    data = DataArguments(max_text_tokens=8, max_audio_seconds=0.5)
    set_limits(data, config)
    assert (data.max_text_tokens, config.text_config.max_position_embeddings) == (8, 20)
    data = DataArguments(max_text_tokens=64, max_audio_seconds=2.0)
    set_limits(data, config)
    assert (config.text_config.max_position_embeddings, config.audio_config.max_frames) == (64, 200)
    assert "--max_text_tokens extends the checkpoint's `max_position_embeddings` from 20 to 64" in caplog.text
    model, _ = load_model(MoTForSequenceClassification, tmp_path, config)
    model(input_ids=torch.ones(1, 60, dtype=torch.long), input_features=torch.zeros(1, 190, 80))


def test_a_table_of_positions_cannot_be_extended(tmp_path):
    text = {"max_position_embeddings": 20, "position_embedding_type": "learned"}
    save_checkpoint(tmp_path, text_config=text)
    with pytest.raises(
        ValueError, match="--max_text_tokens asks for a `max_position_embeddings` of 64, .* built for 20"
    ):
        set_limits(DataArguments(max_text_tokens=64), read_config(tmp_path))


@pytest.mark.parametrize("option", ["max_text_tokens", "max_audio_seconds"])
def test_limits_of_nothing_are_an_error_and_those_of_a_new_model_are_documented(option):
    with pytest.raises(ValueError, match=f"--{option} is 0"):
        set_limits(DataArguments(**{option: 0}))
    data = DataArguments()
    set_limits(data)
    assert (data.max_text_tokens, data.max_audio_seconds) == (128, 30.0)


@pytest.mark.parametrize("is_speech", [True, False])
def test_the_kind_of_audio_is_that_of_the_checkpoint(is_speech, tmp_path):
    own, other = ("speech", "sound") if is_speech else ("sound", "speech")
    save_checkpoint(tmp_path, audio_config={"num_hidden_layers": 1, "mean_normalization": is_speech})
    model = ModelArguments(model_name_or_path=str(tmp_path))
    checkpoint_config(model, DataArguments())
    assert model.audio_kind == own
    with pytest.raises(ValueError, match=f"--audio_kind is {other}, but .* is one for {own}"):
        checkpoint_config(ModelArguments(model_name_or_path=str(tmp_path), audio_kind=other), DataArguments())


@pytest.mark.parametrize(
    "option, value", [("size", "small"), ("tokenizer_name", "x"), ("image_size", 32), ("patch_size", 4)]
)
def test_options_of_a_new_model_are_refused_beside_a_checkpoint(option, value, tmp_path):
    save_checkpoint(tmp_path)
    model = ModelArguments(model_name_or_path=str(tmp_path), **{option: value})
    with pytest.raises(ValueError, match=f"--{option} is for a new model"):
        checkpoint_config(model, DataArguments())


def test_overrides_change_the_config_of_a_checkpoint_and_ask_for_no_weights_that_it_lacks(tmp_path):
    old = save_checkpoint(tmp_path)
    overrides = {"drop_path_rate": 0.3, "text_config": {"max_position_embeddings": 700}}
    config = read_config(tmp_path, overrides)
    assert config.drop_path_rate == 0.3 and config.text_config.max_position_embeddings == 700
    assert (
        config.text_config.vocab_size == old.config.text_config.vocab_size and config.id2label == old.config.id2label
    )
    model = ModelArguments(model_name_or_path=str(tmp_path), config_overrides=json.dumps({"num_joint_layers": 1}))
    with pytest.raises(ValueError, match="--config_overrides asks for other layers"):
        build_model(None, DataArguments(task="classification"), LabelSpec("regression"), model)


def test_columns_that_the_checkpoint_lacks_are_left_out_and_it_grows_only_where_a_person_names_them(tmp_path, caplog):
    save_checkpoint(tmp_path)
    model, data = ModelArguments(model_name_or_path=str(tmp_path)), DataArguments()
    checkpoint_config(model, data)
    assert (data.text_column, data.image_column, data.video_column, data.audio_column) == (
        None,
        "none",
        "none",
        "none",
    )
    assert "takes text: columns of other kinds are left out" in caplog.text
    data = DataArguments(audio_column="speech")
    config = checkpoint_config(model, data)
    assert (data.audio_column, data.image_column) == ("speech", "none")
    with pytest.raises(ValueError, match="--audio_column is given, but .* takes text alone"):
        leave_out_columns(data, config, "a checkpoint that is evaluated")
    data = DataArguments(extra_columns=["auto"])
    checkpoint_config(model, data)
    assert (data.audio_column, data.image_column, data.extra_columns) == (None, None, [])


def test_a_rank_without_adapters_is_refused_and_the_default_is_8():
    with pytest.raises(ValueError, match="--lora_rank 4 is of the adapters that --lora trains"):
        check_lora(ModelArguments(lora_rank=4), "classification")
    assert ModelArguments().lora_rank is None and run_finetune.LORA_RANK == 8


def test_the_command_of_a_resumed_run_is_recorded_with_the_rate_that_held(tmp_path):
    args = RunArguments(str(tmp_path), learning_rate=0.001, use_cpu=True)
    for given, held in ((["--learning_rate", "0.5"], ["--learning_rate", "0.001"]), (["--seed", "3"],) * 2):
        assert arguments_that_held(given, args) == held
    assert arguments_that_held(["--learning-rate=0.5"], args) == ["--learning-rate=0.001"]


def test_a_run_goes_on_with_its_own_data_task_seed_and_classes_alone(tmp_path):
    model = save_checkpoint(tmp_path / "out")
    for name in ("data", "other"):
        (tmp_path / name).mkdir()
    own = DataArguments(task="classification", dataset_name=str(tmp_path / "data"))
    Record(asdict(own), {"seed": 3}, Run("out", "data")).write(tmp_path / "out")
    check_same_run(tmp_path / "out", own, 3, model)
    again = "out was trained on .*data for classification.*; you ask for "
    with pytest.raises(ValueError, match=again + ".*other.*Name another --output_dir"):
        check_same_run(tmp_path / "out", replace(own, dataset_name=str(tmp_path / "other")), 3)
    with pytest.raises(ValueError, match=again + ".*data for pretraining"):
        check_same_run(tmp_path / "out", replace(own, task="pretraining"), 3)
    with pytest.raises(
        ValueError, match="classification with seed 3; you ask for .* classification with seed 4. Name"
    ):
        check_same_run(tmp_path / "out", own, 4)
    changed = save_checkpoint(tmp_path / "changed", names=("neg", "pos"))
    with pytest.raises(ValueError, match="classes neg, neu, pos; you ask for .* classes neg, pos"):
        check_same_run(tmp_path / "out", own, 3, changed)
    (tmp_path / "data").rename(tmp_path / "moved")
    check_same_run(tmp_path / "out", own, 3)


def test_a_run_from_before_seeds_were_recorded_goes_on_with_any(tmp_path):
    own = DataArguments(task="classification", dataset_name=str(tmp_path))
    Record(asdict(own), {}, Run("out", "data")).write(tmp_path)
    check_same_run(tmp_path, own, 4)


def test_a_checkpoint_of_a_run_speaks_of_its_own_step(tmp_path):
    Record({}, {}, Run("out", "data", seconds=9.0, weights="of the last step, 6")).write(tmp_path)
    (tmp_path / "checkpoint-2").mkdir()
    TrainerState(global_step=2).save_to_json(str(tmp_path / "checkpoint-2/trainer_state.json"))
    run = Record.read(tmp_path / "checkpoint-2").run
    assert (run.weights, run.seconds) == ("of step 2", 0.0)  # how long it took is not known
    assert Record.read(tmp_path).run.weights == "of the last step, 6"


def test_a_run_does_not_overwrite_the_checkpoint_that_it_goes_on_from(tmp_path):
    save_checkpoint(tmp_path / "first")
    before = (tmp_path / "first/model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="would overwrite"):
        run_finetune.main(["--model_name_or_path", str(tmp_path / "first"), "--output_dir", f"{tmp_path}/./first/"])
    assert (tmp_path / "first/model.safetensors").read_bytes() == before
