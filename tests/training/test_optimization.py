# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which parameters learn and how fast: selectors, learning rates, freezing, adapters, early stopping; and that a plain
`Trainer` trains every head.
"""

import copy
import shutil

import pytest
import torch
from helpers import ARCHITECTURES, MODALITIES, VOCAB_SIZE, build, is_key_bias, make_inputs, tiny_config
from peft import PeftModel
from toy_trainers import toy_trainer
from transformers import BertConfig, Trainer, TrainingArguments, WhisperConfig

from mixture_of_transformers import (
    MoTConfig,
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
)
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.evaluation import mean_over_pairs
from mixture_of_transformers.training.optimization import (
    PARTS,
    add_lora,
    freeze,
    is_selected,
    learning_rate_of,
    place_of,
)
from mixture_of_transformers.training.trainer import MoTTrainer

HEADS = (MoTForSequenceClassification, MoTForRetrieval, MoTForPreTraining, MoTForMaskedLM)
every_head = pytest.mark.parametrize("head", HEADS)


def model_of(head, architecture="default", **fields):
    return build(head, tiny_config(architecture, num_labels=3, **fields)).train()


def rows_of(number: int = 12, labels: bool = True) -> list[dict]:
    """Rows of every modality, but that every third lacks one."""
    inputs = make_inputs(MODALITIES, masks=None)
    names = ("input_ids", "pixel_values", "input_features")
    rows = [{name: inputs[name][i % len(inputs[name])] for name in names} for i in range(number)]
    for i in range(0, number, 3):
        rows[i].pop(names[i // 3 % 3])
    return [row | {"labels": torch.tensor(i % 3)} if labels else row for i, row in enumerate(rows)]


def arguments(folder, cls=MoTTrainingArguments, **options):
    defaults = {"max_steps": 3, "learning_rate": 1e-2, "report_to": "none", "save_strategy": "no", "use_cpu": True}
    return cls(str(folder), per_device_train_batch_size=4, **defaults | options)


def trainer_of(folder, model, rows, **options):
    return MoTTrainer(model, arguments(folder, **options), MoTCollator(), rows, rows)


# Selectors


@every_head
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_modalities_and_parts_each_divide_the_parameters(head, architecture):
    model = model_of(head, architecture)
    for name, _ in model.named_parameters():
        assert sum(is_selected(name, part) for part in PARTS) == 1
        chosen = [m for m in MODALITIES if is_selected(name, m)]
        shared = any(part in name for part in ("global_layers", "fusion", "classifier", "contrastive."))
        assert len(chosen) == (0 if shared and not chosen else 1)
        assert all(m in name.split(".") for m in chosen)


@pytest.mark.parametrize(
    "name, place",
    [
        ("mot.embeddings.image.stem.0.weight", ("embeddings", "image", None)),
        ("modality_embeddings.text", ("embeddings", "text", None)),
        ("mot.encoders.audio.layers.3.attention.q_proj.weight", ("encoders", "audio", 3)),
        ("encoders.audio.final_norm.weight", ("encoders", "audio", None)),
        ("mot.joint_layers.1.experts.text.mlp.fc1.bias", ("joint_layers", "text", 1)),
        ("base_model.model.mot.global_layers.0.attention.v_proj.lora_A.default.weight", ("global_layers", None, 0)),
        ("mot.fusion.query", ("fusion", None, None)),
        ("classifier.weight", ("heads", None, None)),
        ("prediction_heads.text.decoder.weight", ("heads", "text", None)),
        ("prediction_heads.modules_to_save.default.imu.weight", ("heads", "imu", None)),
        ("mot.embeddings.layers.projection.weight", ("embeddings", "layers", None)),
        ("mot._orig_mod.encoders.fusion.layers.2.mlp.fc1.weight", ("encoders", "fusion", 2)),
        ("mot.encoders.mlp.projection.weight", ("encoders", "mlp", None)),
        ("mot.joint_layers.1.experts.global_layers.mlp.fc1.bias", ("joint_layers", "global_layers", 1)),
        ("mot.fusion.missing.query", ("fusion", "query", None)),
        ("mot.global_layers.0.layernorm.weight", ("global_layers", None, 0)),
        ("contrastive.projections.fused.1.weight", ("heads", None, None)),
        ("contrastive.log_scale.text-image", ("heads", None, None)),
    ],
)
def test_names_tell_part_modality_and_layer(name, place):
    assert place_of(name) == place


@pytest.mark.parametrize("selectors", [["txt"], ["text", "encoder"], ["text.layers"]])
def test_a_selector_that_names_nothing_is_an_error(selectors):
    with pytest.raises(ValueError, match="names no parameters .*text, image, audio"):
        freeze(model_of(MoTForSequenceClassification), selectors)


# Learning rates


def rates_of(trainer) -> dict[str, float]:
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    groups = trainer.create_optimizer().param_groups
    return {names[p]: group["lr"] for group in groups for p in group["params"]}


def test_the_selector_that_fits_best_decides_the_learning_rate(tmp_path):
    rates = {"text.encoders": 1e-5, "encoders": 1e-4, "text": 1e-3}
    trainer = trainer_of(tmp_path, model_of(MoTForSequenceClassification), rows_of(), learning_rates=rates)
    found = rates_of(trainer)
    assert set(found) == {name for name, _ in trainer.model.named_parameters()}
    for name, rate in found.items():
        expected = 1e-2
        if "encoders.text" in name:
            expected = 1e-5
        elif "embeddings.text" in name:
            expected = 1e-3
        elif "encoders" in name:
            expected = 1e-4
        assert rate == pytest.approx(expected), name


def test_layer_decay_counts_the_layers_up_to_the_head():
    config = tiny_config("uneven_towers")  # text 1, image 2, audio 3 layers; 1 joint and 2 global layers
    above = {
        "classifier.weight": 0,
        "mot.global_layers.1.layernorm.weight": 1,
        "mot.global_layers.0.mlp.fc1.weight": 2,
        "mot.joint_layers.0.experts.image.mlp.fc1.weight": 3,
        "mot.encoders.text.final_norm.weight": 3,
        "mot.encoders.text.layers.0.mlp.fc1.weight": 4,
        "mot.encoders.audio.layers.2.mlp.fc1.weight": 4,
        "mot.encoders.audio.layers.0.mlp.fc1.weight": 6,
        "mot.embeddings.text.word_embeddings.weight": 5,
        "mot.modality_embeddings.audio": 7,
    }
    for name, layers in above.items():
        assert learning_rate_of(name, config, 1.0, {}, 0.5) == pytest.approx(0.5**layers), name


def test_weight_decay_and_schedule_hold_in_every_group(tmp_path):
    options = {"learning_rates": '{"encoders": 1e-4}', "layer_decay": 0.9, "weight_decay": 0.1}
    trainer = trainer_of(tmp_path, model_of(MoTForSequenceClassification), rows_of(), **options)
    decayed = set(trainer.get_decay_parameter_names(trainer.model))
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    for group in trainer.create_optimizer().param_groups:
        assert {names[p] in decayed for p in group["params"]} == {group["weight_decay"] == 0.1}
    peaks = [group["lr"] for group in trainer.optimizer.param_groups]
    trainer.train()
    assert all(0 <= group["lr"] < peak for group, peak in zip(trainer.optimizer.param_groups, peaks))


# Freezing


@every_head
def test_what_is_frozen_stays_and_all_else_learns(head, tmp_path):
    model = model_of(head)
    before = copy.deepcopy(model.state_dict())
    trainer_of(tmp_path, model, masked(rows_of(), head), freeze=["text.encoders", "embeddings"]).train()
    for name, value in model.state_dict().items():
        if "encoders.text" in name or "embeddings" in name:
            assert torch.equal(value, before[name]), name
        elif head is MoTForSequenceClassification and not is_key_bias(name):  # others have parts that these rows lack
            assert not torch.equal(value, before[name]), name


def test_freezing_everything_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="leaves nothing to train"):
        trainer_of(tmp_path, model_of(MoTForSequenceClassification), rows_of(), freeze=list(PARTS))


# Adapters


@pytest.mark.parametrize("head", [MoTForSequenceClassification, MoTForRetrieval])
def test_adapters_and_the_head_learn_alone_and_merge(head, tmp_path):
    model = model_of(head)
    model.save_pretrained(tmp_path / "base")
    before = copy.deepcopy(model.state_dict())
    trainer = trainer_of(tmp_path, add_lora(model, rank=2), rows_of(), learning_rates={"heads": 1e-2})
    assert trainer.takes_subsets == (head is MoTForSequenceClassification)
    trainer.train()
    assert trainer.evaluate()["eval_loss"] > 0
    trainer.save_model(tmp_path / "adapter")
    assert not list((tmp_path / "adapter").glob("model*.safetensors"))

    base = head.from_pretrained(tmp_path / "base")
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    merged = copy.deepcopy(loaded).merge_and_unload()
    changed = {name for name, value in merged.state_dict().items() if not torch.equal(value, before[name])}
    assert any("encoders.audio.layers" in name for name in changed)
    assert any(place_of(name)[0] == "heads" for name in changed)
    assert not any("embeddings" in name or "layernorm" in name for name in changed if place_of(name)[0] != "heads")
    inputs = make_inputs(MODALITIES)
    with torch.no_grad():
        found = [m.eval()(**inputs) for m in (trainer.model, loaded, merged)]
    name = "logits" if head is MoTForSequenceClassification else "text_embeds"
    torch.testing.assert_close(found[1][name], found[0][name], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[2][name], found[0][name], atol=1e-4, rtol=1e-4)


def test_adapters_are_on_a_model_in_front_that_learns_and_on_none_that_stays(tmp_path):
    bert = BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=50)
    ears = {
        "d_model": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_layers": 1,
    }
    ears |= {"decoder_attention_heads": 2, "vocab_size": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    whisper = WhisperConfig(**ears, num_mel_bins=20, max_source_positions=50)  # whose projections are called as ours
    config = MoTConfig(
        text_config={"backbone_config": bert, "freeze_backbone": False, "num_hidden_layers": 1, "vocab_size": 50},
        audio_config={"backbone_config": whisper, "num_hidden_layers": 1, "num_mel_bins": 20},
        image_config=None,
        **{"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24, "num_labels": 3},
    )
    model = MoTForSequenceClassification(config)
    model.save_pretrained(tmp_path / "base")
    adapted = add_lora(model, rank=2).train()
    inputs = {"input_ids": torch.randint(1, 50, (3, 5)), "input_features": torch.randn(3, 100, 20)}
    adapted(**inputs, labels=torch.tensor([0, 1, 2])).loss.backward()
    learning = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in adapted.named_parameters() if parameter.grad is not None} == learning
    for layer in ("attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense"):
        assert any("text.backbone" in name and f"{layer}.lora_A" in name for name in learning)
    assert not any("lora_" in name and "audio.backbone" in name for name, _ in adapted.named_parameters())

    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:  # which begins as zero, so that adapters do nothing yet
                parameter.normal_()
        adapted.eval().save_pretrained(tmp_path / "adapter")
        loaded = PeftModel.from_pretrained(
            MoTForSequenceClassification.from_pretrained(tmp_path / "base"), tmp_path / "adapter"
        ).eval()
        assert loaded(**inputs).logits.equal(adapted(**inputs).logits)
        torch.testing.assert_close(loaded.merge_and_unload()(**inputs).logits, adapted(**inputs).logits)


@pytest.mark.parametrize("head", [MoTForSequenceClassification, MoTForRetrieval])
def test_words_that_were_added_learn_and_are_saved_with_the_adapter(head, tmp_path):
    model_of(head).save_pretrained(tmp_path / "base")
    model = head.from_pretrained(tmp_path / "base")
    model.resize_token_embeddings(VOCAB_SIZE + 3)
    rows = rows_of()
    rows[0]["input_ids"] = torch.tensor([3, VOCAB_SIZE, VOCAB_SIZE + 2])
    trainer = trainer_of(tmp_path, add_lora(model, rank=2), rows)
    fresh = model.get_input_embeddings().weight.detach().clone()
    trainer.train()
    learnt = model.get_input_embeddings().weight.detach()
    assert not torch.equal(learnt[VOCAB_SIZE], fresh[VOCAB_SIZE])
    trainer.save_model(tmp_path / "adapter")

    inputs = {"input_ids": torch.tensor([[VOCAB_SIZE, 5, VOCAB_SIZE + 2]])}
    name = "logits" if head is MoTForSequenceClassification else "text_embeds"
    with torch.no_grad():
        expected = trainer.model.eval()(**inputs)[name]
    config = MoTConfig.from_pretrained(tmp_path / "adapter")
    resized = head.from_pretrained(tmp_path / "base")
    resized.resize_token_embeddings(VOCAB_SIZE + 3)
    by_config = head.from_pretrained(tmp_path / "base", config=config, ignore_mismatched_sizes=True)
    for base in (resized, by_config):
        loaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
        merged = copy.deepcopy(loaded).merge_and_unload()
        with torch.no_grad():
            torch.testing.assert_close(loaded(**inputs)[name], expected)
            torch.testing.assert_close(merged(**inputs)[name], expected, atol=1e-4, rtol=1e-4)


def test_words_are_trained_where_it_is_asked_or_the_checkpoint_is_gone(tmp_path):
    def trains_words(model, **options) -> bool:
        names = [name for name, p in add_lora(model, rank=2, **options).named_parameters() if p.requires_grad]
        return any("word_embeddings" in name for name in names)

    model_of(MoTForSequenceClassification).save_pretrained(tmp_path / "base")

    def loaded():
        return MoTForSequenceClassification.from_pretrained(tmp_path / "base")

    model, lost = loaded(), loaded()
    assert not trains_words(loaded()) and trains_words(loaded(), train_words=True)
    model.resize_token_embeddings(VOCAB_SIZE + 3)
    assert not trains_words(model, train_words=False)
    shutil.rmtree(tmp_path / "base")
    assert trains_words(lost)


# A plain Trainer


def masked(rows: list[dict], head) -> list[dict]:
    """Rows for a head: masked language models want labels for tokens, and text in each row."""
    if head is not MoTForMaskedLM:
        return rows
    return [{"input_ids": row["input_ids"], "labels": row["input_ids"]} for row in rows if "input_ids" in row]


def plain_trainer(folder, model, rows, **options) -> Trainer:
    collator = MoTCollator(return_loss=isinstance(model, MoTForRetrieval | MoTForPreTraining))
    if collator.return_loss:
        options |= {"label_names": []}
    settings = arguments(folder, TrainingArguments, remove_unused_columns=False, **options)
    return Trainer(model, settings, collator, rows, rows)


@every_head
def test_a_plain_trainer_trains_and_evaluates(head, tmp_path):
    rows = masked(rows_of(labels=head is MoTForSequenceClassification), head)
    trainer = plain_trainer(tmp_path, model_of(head), rows, max_steps=20, learning_rate=3e-3)
    torch.manual_seed(0)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    torch.manual_seed(0)
    assert trainer.evaluate()["eval_loss"] < before
    assert trainer.predict(rows).predictions is not None


def test_accumulated_gradients_are_the_mean_of_the_batches(tmp_path):
    """A Trainer that took the model to scale its loss itself would step `accumulation` times too far."""
    rows, weights = rows_of(8), []
    for batch_size, steps in ((8, 1), (4, 2)):
        model = model_of(MoTForSequenceClassification)
        options = {"gradient_accumulation_steps": steps, "optim": "sgd", "max_grad_norm": 0.0, "max_steps": 1}
        settings = arguments(tmp_path, TrainingArguments, remove_unused_columns=False, **options)
        settings.per_device_train_batch_size = batch_size
        Trainer(model, settings, MoTCollator(), rows, rows).train()
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=1e-6, rtol=1e-4, msg=name)


# Early stopping and the metrics that it goes by


def test_evaluation_of_retrieval_ranks_the_whole_set(tmp_path):
    rows = rows_of(20, labels=False)
    trainer = trainer_of(tmp_path, model_of(MoTForRetrieval), rows, per_device_eval_batch_size=4)
    found = trainer.evaluate()
    means = mean_over_pairs(trainer.evaluate_retrieval(rows))
    assert "recall_at_1" in means and found["eval_loss"] > 0
    assert {name: found[f"eval_{name}"] for name in means} == pytest.approx(means)


def test_training_stops_early_and_keeps_the_best(tmp_path):
    options = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 1, "save_steps": 1, "max_steps": 50}
    options |= {"early_stopping_patience": 2, "metric_for_best_model": "recall_at_1", "learning_rate": 0.0}
    trainer = trainer_of(tmp_path, model_of(MoTForRetrieval), rows_of(labels=False), **options)
    trainer.train()
    assert trainer.state.global_step == 3  # the first is the best, two more are no better
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-1")


def test_early_stopping_without_evaluation_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="eval_strategy"):
        arguments(tmp_path, early_stopping_patience=2)


def test_other_arguments_are_refused(tmp_path):
    with pytest.raises(TypeError, match="MoTTrainingArguments"):
        MoTTrainer(model_of(MoTForSequenceClassification), arguments(tmp_path, TrainingArguments))


def test_weight_decay_spares_norms_biases_and_embeddings(tmp_path):
    trainer = toy_trainer(tmp_path)
    decayed = trainer.get_decay_parameter_names(trainer.model)
    assert "mot.encoders.text.layers.0.mlp.fc1.weight" in decayed
    spared = ("bias", "layernorm", "modality_embeddings", "word_embeddings")
    assert not [name for name in decayed if any(part in name for part in spared)]
