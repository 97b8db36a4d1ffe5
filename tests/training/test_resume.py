# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A resume loses nothing, and a finished run is neither trained any further nor lost."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_trainers import SAVING, assert_same_weights, logged, trainer_of, weights_of

from mixture_of_transformers.training.interruption import checkpoint_to_resume

pytestmark = pytest.mark.training


@pytest.mark.parametrize("accumulation", [1, 2])
def test_losses_since_the_last_log_survive_a_resume(accumulation, tmp_path):
    options = SAVING | {"logging_steps": 3, "max_steps": 9, "gradient_accumulation_steps": accumulation}
    options |= {"per_device_train_batch_size": 4}
    whole = trainer_of(tmp_path, **options)
    whole.train()
    for step in (4, 8):  # one step after a log, and two
        resumed = trainer_of(tmp_path / "resumed", **options)
        resumed.train(str(tmp_path / f"checkpoint-{step}"))
        assert logged(resumed) == logged(whole) and len(logged(whole)) == 3
        assert {"loss/text", "loss/image", "loss/audio"} <= set(logged(whole)[9])
        assert_same_weights(weights_of(resumed), weights_of(whole))


def test_a_second_training_logs_nothing_of_the_first(tmp_path):
    trainer = trainer_of(tmp_path, logging_steps=3, max_steps=4, learning_rate=0.0, objective="given")
    trainer.train()
    trainer.loss_terms["of the first"] = (1.0, 1)
    trainer.train()
    assert set(logged(trainer)[3]) == {"loss"}


def test_early_stopping_goes_on_counting_in_a_resumed_run(tmp_path):
    options = SAVING | {"eval_strategy": "steps", "eval_steps": 2, "early_stopping_patience": 3, "max_steps": 20}
    whole = trainer_of(tmp_path, learning_rate=0.0, **options)
    whole.train()
    assert whole.state.global_step == 8  # the first evaluation is the best, three more are no better
    resumed = trainer_of(tmp_path / "resumed", learning_rate=0.0, **options)
    resumed.train(str(tmp_path / "checkpoint-4"))
    assert resumed.state.global_step == 8


def test_early_stopping_may_begin_in_a_resumed_run(tmp_path):
    options = {"save_strategy": "epoch", "learning_rate": 0.0}  # of four steps
    trainer_of(tmp_path, **options).train()
    options |= {"eval_strategy": "epoch", "early_stopping_patience": 1, "max_steps": 20}
    resumed = trainer_of(tmp_path, **options)
    resumed.train("auto")
    assert resumed.state.global_step == 12 and (tmp_path / "checkpoint-12" / "trainer_state.json").exists()


def test_a_resumed_run_says_that_the_rates_of_the_checkpoint_stay(finished, tmp_path, caplog):
    more = trainer_of(tmp_path, max_steps=8, **SAVING | {"learning_rate": 0.5, "weight_decay": 0.3})
    with caplog.at_level("WARNING"):
        more.train("auto")
    assert "--learning_rate stays 0.001, that of the checkpoint" in caplog.text and "0.5 is not taken" in caplog.text
    assert "--weight_decay stays 0" in caplog.text and "adam_beta" not in caplog.text
    assert (more.args.learning_rate, more.args.weight_decay) == (pytest.approx(1e-3), 0.0)


# ---------------------------------------------------------------------------------------------------------------------
# Finished runs
# ---------------------------------------------------------------------------------------------------------------------


def files_of(folder) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def finished(tmp_path):
    """A run of 6 steps, in the middle of its second epoch, that left its model and its checkpoints."""
    trainer = trainer_of(tmp_path, max_steps=6, **SAVING)
    trainer.train()
    trainer.save_model()
    return trainer


@pytest.mark.parametrize("steps", [6, 3])
@pytest.mark.parametrize("saved", [True, False], ids=["model and checkpoints", "checkpoints"])
def test_a_finished_run_has_nothing_to_do(steps, saved, finished, tmp_path, caplog):
    """Also where fewer steps are asked for than were done."""
    if not saved:  # killed between its last checkpoint and the model
        for name in ("model.safetensors", "trainer_state.json"):
            (tmp_path / name).unlink()
    before = files_of(tmp_path)
    again = trainer_of(tmp_path, max_steps=steps, **SAVING)
    with caplog.at_level("WARNING"):
        output = again.train("auto")
    assert "Nothing to do" in caplog.text and "after 6 steps" in caplog.text
    assert again.is_finished == saved and output.global_step == again.state.global_step == 6
    assert files_of(tmp_path) == before
    assert_same_weights(weights_of(again), weights_of(finished))


@pytest.mark.parametrize("choice", [True, "checkpoint-6"])
def test_a_finished_run_has_nothing_to_do_however_its_checkpoint_is_named(choice, finished, tmp_path):
    again = trainer_of(tmp_path, max_steps=5, **SAVING)
    again.train(choice if choice is True else str(tmp_path / choice))
    assert again.state.global_step == 6
    assert_same_weights(weights_of(again), weights_of(finished))


@pytest.mark.parametrize("choice", [True, "true", "checkpoint-6"])
def test_nothing_to_do_leaves_every_file_however_the_last_checkpoint_is_named(choice, finished, tmp_path):
    before = files_of(tmp_path)
    again = trainer_of(tmp_path, max_steps=6, **SAVING)
    again.train(str(tmp_path / choice) if choice == "checkpoint-6" else choice)
    assert again.is_finished and files_of(tmp_path) == before


@pytest.mark.parametrize("choice", ["nothere", "checkpoint-4", "."])
def test_a_checkpoint_that_is_not_there_or_damaged_changes_no_file_of_a_finished_run(choice, finished, tmp_path):
    (tmp_path / "checkpoint-4" / "optimizer.pt").unlink()
    before = files_of(tmp_path)
    with pytest.raises(ValueError, match="No training can go on from .*(no such folder|optimizer.pt cannot)"):
        trainer_of(tmp_path, max_steps=8, **SAVING).train(str(tmp_path / choice))
    assert files_of(tmp_path) == before


def test_true_without_any_checkpoint_is_an_error_that_names_auto(tmp_path):
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(ValueError, match="no checkpoint to go on from: give --resume_from_checkpoint auto"):
            trainer_of(folder).train(True)


def test_a_training_that_cannot_begin_leaves_the_end_of_the_run_before_it(finished, tmp_path, monkeypatch):
    (tmp_path / "checkpoint-6" / "model.safetensors").write_bytes(b"")
    with pytest.raises(Exception):  # noqa: B017 (whatever reading them raises)
        again = trainer_of(tmp_path, max_steps=8, **SAVING)
        monkeypatch.setattr("mixture_of_transformers.training.interruption.damages", lambda path: iter(()))
        again.train(True)
    assert (tmp_path / "trainer_state.json").exists()


def test_a_finished_run_keeps_its_best_weights(tmp_path):
    options = SAVING | {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True}
    options |= {"max_steps": 6, "greater_is_better": True}  # the loss, which falls: the first is the best
    first = trainer_of(tmp_path, **options)
    first.train()
    assert first.state.best_model_checkpoint.endswith("checkpoint-2")
    again = trainer_of(tmp_path, **options)
    again.train("auto")
    assert not again.is_finished
    assert_same_weights(weights_of(again), weights_of(first))


def test_a_run_that_stopped_early_is_finished(tmp_path):
    options = SAVING | {"eval_strategy": "steps", "eval_steps": 2, "early_stopping_patience": 1, "max_steps": 20}
    trainer_of(tmp_path, learning_rate=0.0, **options).train()
    before = files_of(tmp_path)
    again = trainer_of(tmp_path, learning_rate=0.0, **options)
    again.train("auto")
    assert again.state.global_step == 4 and files_of(tmp_path) == before


def test_a_finished_run_goes_on_where_more_is_asked_for(finished, tmp_path):
    more = trainer_of(tmp_path, max_steps=8, **SAVING)
    more.train("auto")
    assert more.state.global_step == 8 and not more.is_finished
    assert [entry["step"] for entry in more.state.log_history if "loss" in entry] == list(range(1, 9))
    assert not (tmp_path / "trainer_state.json").exists()  # until its own model is saved


def test_epochs_count_as_the_steps_that_they_take(tmp_path):
    options = SAVING | {"max_steps": -1, "num_train_epochs": 2, "gradient_accumulation_steps": 3}  # 4 batches: 2 steps
    first = trainer_of(tmp_path, **options)
    first.train()
    first.save_model()
    assert first.state.global_step == first.number_of_steps() == 4
    again = trainer_of(tmp_path, **options)
    again.train("auto")
    assert again.is_finished


def test_a_finished_run_without_checkpoints_is_neither_trained_anew_nor_lost(tmp_path):
    first = trainer_of(tmp_path)
    first.train()
    first.save_model()
    before = files_of(tmp_path)
    again = trainer_of(tmp_path)
    again.train("auto")
    assert again.is_finished
    assert_same_weights(weights_of(again), weights_of(first))
    with pytest.raises(ValueError, match="ended after 4 steps and kept no checkpoint .*--model_name_or_path"):
        trainer_of(tmp_path, max_steps=8).train("auto")
    assert files_of(tmp_path) == before


def test_an_interrupted_run_is_not_finished_by_the_model_of_an_earlier_one(finished, tmp_path):
    second = trainer_of(tmp_path, max_steps=6)
    second.train()  # and was killed before it saved its model
    assert not (tmp_path / "trainer_state.json").exists()


def test_a_checkpoint_of_an_earlier_version_with_other_parameters_is_an_error_that_says_what_to_do(finished, tmp_path):
    checkpoint = tmp_path / "checkpoint-4"
    weights = load_file(checkpoint / "model.safetensors")
    save_file(weights | {"contrastive.log_scale.text-image": torch.ones(1)}, checkpoint / "model.safetensors")
    assert checkpoint_to_resume(str(checkpoint), tmp_path) == str(checkpoint)
    save_file(weights | {"contrastive.log_scale": torch.ones(7)}, checkpoint / "model.safetensors")
    shutil.rmtree(tmp_path / "checkpoint-6")
    for choice in ("auto", "true", str(checkpoint)):
        with pytest.raises(ValueError, match=rf"earlier version.* --model_name_or_path {checkpoint}"):
            checkpoint_to_resume(choice, tmp_path)
