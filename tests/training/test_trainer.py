# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What `MoTTrainer` owes to each model that it makes, and to a machine with several devices."""

from types import SimpleNamespace

import pytest
import torch
from helpers import MODALITIES
from toy_trainers import assert_same_weights, model_of, trainer_of, weights_of
from transformers.trainer_utils import HPSearchBackend

from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.trainer import MoTTrainer

pytestmark = pytest.mark.training


def changed(trainer, before: dict) -> set[str]:
    return {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}


def test_frozen_parts_and_learning_rates_hold_for_each_model_of_model_init(tmp_path):
    before = model_of().state_dict()
    options = {"freeze": ["text"], "learning_rates": {"image": 0.0}, "layer_decay": 0.9}
    given = trainer_of(tmp_path, **options)
    made = trainer_of(tmp_path, model_init=lambda: model_of(), **options)
    for trainer in (given, made, made):
        trainer.train()
        names = changed(trainer, before)
        assert names and not [name for name in names if "text" in name or "image" in name]
    assert_same_weights(weights_of(made), weights_of(given))


def test_a_search_may_choose_what_is_frozen_and_when_to_stop(tmp_path, monkeypatch):
    """A trial sets its arguments after the model is made, and is not stopped by what an earlier one waited for."""
    monkeypatch.setattr("transformers.integrations.hp_params", vars)  # which reads trials of optuna and ray alone
    before = model_of().state_dict()
    options = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "max_steps": 9}
    options |= {"early_stopping_patience": 1, "greater_is_better": True}  # the loss, which falls
    trainer = trainer_of(tmp_path, model_init=lambda: model_of(), **options)
    trainer.hp_search_backend, trainer._report_to_hp_search = HPSearchBackend.OPTUNA, lambda *ignored: None
    for number, (frozen, patience) in enumerate((("text", 2), ("audio", 1))):
        chosen = {"freeze": [frozen], "early_stopping_patience": patience}
        trainer.hp_space = lambda trial: trial.params
        trainer.train(trial=SimpleNamespace(number=number, params=chosen))
        assert trainer.state.global_step == 1 + patience
        learnt = changed(trainer, before)
        assert learnt and not [name for name in learnt if frozen in name]
        assert {m for m in MODALITIES if any(f"encoders.{m}" in n for n in learnt)} == {*MODALITIES} - {frozen}


def test_one_process_with_several_gpus_says_torchrun(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run_finetune.py", "--dataset_name", "my clips"])
    arguments = MoTTrainingArguments(str(tmp_path), report_to="none", use_cpu=True)
    arguments._n_gpu = 2  # what the library sets where it finds two
    with pytest.raises(RuntimeError, match="torchrun --nproc_per_node 2 run_finetune.py --dataset_name 'my clips'"):
        MoTTrainer(model_of(), arguments)
    monkeypatch.setattr("sys.argv", ["/usr/bin/mot", "finetune"])
    with pytest.raises(RuntimeError, match="torchrun --nproc_per_node 2 --no-python /usr/bin/mot finetune"):
        MoTTrainer(model_of(), arguments)
