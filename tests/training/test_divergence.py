# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Where training diverges it stops, names what is not finite, and leaves the last good weights."""

import pytest
import torch
from safetensors.torch import load_file
from toy_trainers import SAVING, assert_same_weights, model_of, rows_of, trainer_of, weights_of
from transformers import TrainerCallback

pytestmark = pytest.mark.training


class Leap(TrainerCallback):
    """A step that is far too long, after the second."""

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step == 2:
            model.classifier.weight.data *= 1e38


def test_a_run_that_diverges_stops_and_leaves_the_last_good_checkpoint(tmp_path):
    options = SAVING | {"save_total_limit": 1}
    trainer_of(tmp_path / "good", max_steps=2, **options).train()
    diverging = trainer_of(tmp_path / "bad", max_steps=2, **options)
    diverging.args.max_steps = 9
    diverging.add_callback(Leap)
    with pytest.raises(
        FloatingPointError, match=r"near step 3: the loss is (inf|nan).*checkpoint-2 is whole.*--learning_r"
    ):
        diverging.train()
    (kept,) = (tmp_path / "bad").glob("checkpoint-*")
    assert all(value.isfinite().all() for value in load_file(kept / "model.safetensors").values())


def test_gradients_that_are_not_finite_never_reach_the_weights(tmp_path):
    model = model_of()
    trainer = trainer_of(tmp_path, model, learning_rate=0.1)
    before = weights_of(trainer)
    model.classifier.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(FloatingPointError, match="near step 1: the norm of the gradients is .*--warmup_steps"):
        trainer.train()
    assert_same_weights(weights_of(trainer), before)


def test_input_that_is_not_finite_is_named(tmp_path):
    rows = rows_of(6)
    rows[0]["pixel_values"] = rows[0]["pixel_values"] * torch.nan
    with pytest.raises(FloatingPointError, match="the loss is nan, for `pixel_values` of the batch"):
        trainer_of(tmp_path, rows=rows).train()


class BreakWeights(TrainerCallback):
    """What a step that is too long may do to the weights; no loss comes after the last one that would show."""

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        model.classifier.weight.data[0, 0] = torch.inf


@pytest.mark.parametrize("strategy", [{}, SAVING | {"save_steps": 1}], ids=["the model", "a checkpoint"])
def test_weights_that_are_not_finite_never_replace_good_ones(strategy, tmp_path):
    trainer_of(tmp_path).save_model()
    good = load_file(tmp_path / "model.safetensors")
    broken = trainer_of(tmp_path, max_steps=1, **strategy)
    broken.add_callback(BreakWeights)
    with pytest.raises(FloatingPointError, match="classifier.weight is not finite"):
        broken.train()
        broken.save_model()
    assert_same_weights(load_file(tmp_path / "model.safetensors"), good)
    assert not list(tmp_path.glob("checkpoint-*"))
