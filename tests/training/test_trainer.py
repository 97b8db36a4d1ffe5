# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What `MoTTrainer` owes to a run: evaluation that changes nothing, a resume that loses nothing, an end where training
diverges, and an error where an argument cannot be meant.
"""

import io
from itertools import islice
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset, Features
from helpers import MODALITIES, build, make_inputs, tiny_config
from PIL import Image
from safetensors.torch import load_file
from transformers import TrainerCallback
from transformers.trainer_utils import HPSearchBackend

from mixture_of_transformers import MoTForPreTraining, MoTForRetrieval, MoTForSequenceClassification, MoTProcessor
from mixture_of_transformers import decoding_mot as decoding
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.preparation import drop_bad_examples, prepare_split
from mixture_of_transformers.subsets_mot import all_subsets, subset_name
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EncodedDataset, EpochDataset, StreamedDataset
from mixture_of_transformers.training.metrics import compute_metrics
from mixture_of_transformers.training.trainer import MoTTrainer

pytestmark = pytest.mark.training
NAMES = ("input_ids", "pixel_values", "input_features")


def rows_of(number: int = 24, labels: bool = True) -> list[dict]:
    """Rows of every modality but that every second lacks one, text among them; the label is in the values."""
    generator, rows = torch.Generator().manual_seed(0), []
    inputs = make_inputs(MODALITIES, masks=None)
    for i in range(number):
        row = {name: inputs[name][i % len(inputs[name])] for name in NAMES}
        row["input_features"] = torch.randn(4 + i % 7, 6, generator=generator)
        if i % 2:
            row.pop(NAMES[i // 2 % 3])
        rows.append(row | {"labels": torch.tensor(i % 3)} if labels else row)
    return rows


class Rows(EpochDataset):
    """Rows that know their epoch, as encoded and cached ones do."""

    def __init__(self, rows: list[dict]):
        super().__init__()
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.in_epoch(self.rows[index])


def model_of(head=MoTForSequenceClassification, **fields):
    fields = {"num_labels": 3, "problem_type": "single_label_classification"} | fields
    return build(head, tiny_config(**fields)).train()


def trainer_of(folder, model=None, rows=None, eval_rows=None, collator=None, model_init=None, metrics=None, **options):
    defaults = {"max_steps": 4, "learning_rate": 1e-3, "save_strategy": "no", "logging_steps": 1, "report_to": "none"}
    defaults |= {"per_device_train_batch_size": 6, "per_device_eval_batch_size": 5, "use_cpu": True}
    rows = rows_of() if rows is None else rows
    return MoTTrainer(
        None if model_init else model or model_of(),
        MoTTrainingArguments(str(folder), disable_tqdm=True, **defaults | options),
        train_collator=collator,
        data_collator=MoTCollator(),
        train_dataset=rows,
        eval_dataset=rows if eval_rows is None else eval_rows,
        model_init=model_init,
        compute_metrics=metrics,
    )


def accuracy(prediction) -> dict:
    return compute_metrics(prediction.predictions, prediction.label_ids, "single_label_classification")


def weights_of(trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def assert_same_weights(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def logged(trainer) -> dict[int, dict[str, float]]:
    """step -> the losses of its log."""
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {entry["step"]: {n: v for n, v in entry.items() if n.startswith("loss")} for entry in entries}


# ---------------------------------------------------------------------------------------------------------------------
# Evaluation
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["random", "group_by_length", "batch_rebalance"])
def test_evaluation_keeps_the_rows_in_their_order_however_training_samples_them(strategy, tmp_path):
    """Also where rows lack the text that the library measures them by."""
    rows = Rows(rows_of())
    trainer = trainer_of(tmp_path, rows=rows, train_sampling_strategy=strategy, max_steps=1, metrics=accuracy)
    trainer.train()
    predicted = trainer.predict(rows)
    assert predicted.label_ids.tolist() == [row["labels"].item() for row in rows.rows]
    batch = MoTCollator()([rows[i] for i in range(len(rows))])
    with torch.no_grad():
        expected = trainer.model.eval()(**batch).logits
    np.testing.assert_allclose(predicted.predictions, expected.numpy(), atol=1e-5)
    found = trainer.evaluate({"a": rows.rows, "b": rows})
    assert found["eval_a_accuracy"] == found["eval_b_accuracy"] == predicted.metrics["test_accuracy"]
    complete = [sum(name in row for row in rows.rows) for name in NAMES]
    found = trainer.evaluate_subsets(rows)
    assert [found[modality]["rows"] for modality in MODALITIES] == complete and min(complete) < len(rows)


@pytest.mark.parametrize("head", [MoTForRetrieval, MoTForPreTraining])
def test_rows_grouped_by_length_are_evaluated_by_every_head(head, tmp_path):
    rows = Rows(rows_of(labels=False))
    grouped = trainer_of(tmp_path, model_of(head), rows, train_sampling_strategy="group_by_length", max_steps=1)
    plain = trainer_of(tmp_path, grouped.model, rows)
    grouped.train()
    evaluate = "evaluate_retrieval" if head is MoTForRetrieval else "evaluate_terms"
    assert getattr(grouped, evaluate)(rows) == getattr(plain, evaluate)(rows)
    keys = {key for key in grouped.evaluate() if key.startswith("eval_loss/")}
    assert "eval_loss/text-image" in keys or "eval_loss/image" in keys


def test_evaluating_the_training_rows_leaves_their_training_as_it_is(tmp_path):
    """Their epoch, what hides modalities by it, and every random number: the weights are bit-equal."""
    weights, losses = [], []
    for options in ({}, {"eval_strategy": "steps", "eval_steps": 3}):
        model = model_of(hidden_dropout=0.1)
        collator = MoTCollator(modality_dropout=0.5)
        trainer = trainer_of(tmp_path, model, Rows(rows_of()), collator=collator, max_steps=10, **options)
        torch.manual_seed(1)
        trainer.train()
        weights.append(weights_of(trainer))
        losses.append(logged(trainer))
    assert losses[0] == losses[1]
    assert_same_weights(*weights)


@pytest.mark.parametrize("head", [MoTForRetrieval, MoTForPreTraining])
def test_evaluations_of_one_model_are_equal(head, tmp_path):
    """Though what pretraining hides is drawn at random."""
    trainer = trainer_of(tmp_path, model_of(head), Rows(rows_of(labels=False)))
    first, second = ({k: v for k, v in trainer.evaluate().items() if "loss" in k or "recall" in k} for _ in range(2))
    assert first == second and len(first) > 2


def test_evaluating_no_rows_gives_no_numbers(tmp_path):
    subsets = {subset_name(subset): {"rows": 0} for subset in all_subsets(MODALITIES)}
    assert trainer_of(tmp_path).evaluate_subsets([]) == subsets
    pairs = trainer_of(tmp_path, model_of(MoTForRetrieval)).evaluate_retrieval([])
    assert set(pairs) >= {"text->image", "text+audio->image"} and all(n == {"rows": 0} for n in pairs.values())
    assert trainer_of(tmp_path, model_of(MoTForPreTraining)).evaluate_terms([]) == {}


def test_rows_without_labels_do_not_count_in_any_subset(tmp_path):
    unlabelled = rows_of(10, labels=False)
    assert all(numbers == {"rows": 0} for numbers in trainer_of(tmp_path).evaluate_subsets(unlabelled).values())
    some = trainer_of(tmp_path).evaluate_subsets(unlabelled + rows_of(10))
    assert some == trainer_of(tmp_path).evaluate_subsets(rows_of(10))


# ---------------------------------------------------------------------------------------------------------------------
# Resume
# ---------------------------------------------------------------------------------------------------------------------

SAVING = {"save_strategy": "steps", "save_steps": 2}


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


def test_rows_grouped_by_length_come_in_the_same_order_in_a_resumed_run(tmp_path):
    options = SAVING | {"train_sampling_strategy": "group_by_length", "max_steps": 10}
    whole = trainer_of(tmp_path, **options)
    whole.train()
    torch.rand(3)
    resumed = trainer_of(tmp_path / "resumed", **options)
    resumed.train(str(tmp_path / "checkpoint-6"))  # in the second epoch of four steps
    assert_same_weights(weights_of(resumed), weights_of(whole))


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


# Finished runs


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


def test_a_resumed_run_says_that_the_rates_of_the_checkpoint_stay(finished, tmp_path, caplog):
    more = trainer_of(tmp_path, max_steps=8, **SAVING | {"learning_rate": 0.5, "weight_decay": 0.3})
    with caplog.at_level("WARNING"):
        more.train("auto")
    assert "--learning_rate stays 0.001, that of the checkpoint" in caplog.text and "0.5 is not taken" in caplog.text
    assert "--weight_decay stays 0" in caplog.text and "adam_beta" not in caplog.text
    assert (more.args.learning_rate, more.args.weight_decay) == (pytest.approx(1e-3), 0.0)


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


# ---------------------------------------------------------------------------------------------------------------------
# Model_init
# ---------------------------------------------------------------------------------------------------------------------


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


# ---------------------------------------------------------------------------------------------------------------------
# Arguments and engines
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, labels, problem",
    [
        ({"problem_type": "regression", "num_labels": 1}, torch.tensor(0.5), "regression"),
        ({"problem_type": None, "num_labels": 1}, torch.tensor(0.5), "regression"),
        ({"problem_type": "multi_label_classification"}, torch.ones(3), "multi_label_classification"),
        ({"problem_type": None}, torch.ones(3), "multi_label_classification"),
    ],
)
def test_label_smoothing_without_one_class_a_row_is_an_error(fields, labels, problem, tmp_path):
    rows = [row | {"labels": labels} for row in rows_of(4)]
    model = model_of(**fields)
    with pytest.raises(ValueError, match=f"label_smoothing_factor .* problem_type is {problem}"):
        trainer_of(tmp_path, model, rows, label_smoothing_factor=0.1)


@pytest.mark.parametrize("head", [MoTForRetrieval, MoTForPreTraining])
def test_label_smoothing_of_a_loss_without_labels_is_an_error(head, tmp_path):
    with pytest.raises(ValueError, match=f"label_smoothing_factor is for classes, and {head.__name__}"):
        trainer_of(tmp_path, model_of(head), label_smoothing_factor=0.1)


def test_one_process_with_several_gpus_says_torchrun(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run_finetune.py", "--dataset_name", "my clips"])
    arguments = MoTTrainingArguments(str(tmp_path), report_to="none", use_cpu=True)
    arguments._n_gpu = 2  # what the library sets where it finds two
    with pytest.raises(RuntimeError, match="torchrun --nproc_per_node 2 run_finetune.py --dataset_name 'my clips'"):
        MoTTrainer(model_of(), arguments)
    monkeypatch.setattr("sys.argv", ["/usr/bin/mot", "finetune"])
    with pytest.raises(RuntimeError, match="torchrun --nproc_per_node 2 --no-python /usr/bin/mot finetune"):
        MoTTrainer(model_of(), arguments)


# ---------------------------------------------------------------------------------------------------------------------
# Divergence
# ---------------------------------------------------------------------------------------------------------------------


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


# ---------------------------------------------------------------------------------------------------------------------
# Streams
# ---------------------------------------------------------------------------------------------------------------------


def png(pixels: np.ndarray) -> bytes:
    Image.fromarray(pixels).save(file := io.BytesIO(), format="PNG")
    return file.getvalue()


def wav(samples: np.ndarray) -> bytes:
    soundfile.write(file := io.BytesIO(), samples, 11025, format="WAV")
    return file.getvalue()


def stream_of_clips(pictures: list[bytes], sounds: list[bytes]):
    """A streamed split of files, and the same split whole."""
    cells = {"image": [{"bytes": b, "path": None} for b in pictures]}
    cells |= {"audio": [{"bytes": b, "path": None} for b in sounds]}
    kinds = Features({"image": datasets.Image(decode=False), "audio": datasets.Audio(decode=False)})
    whole = Dataset(datasets.table.pa.Table.from_pydict(cells, schema=kinds.arrow_schema))
    columns = ModalityColumns.guess(whole.features)
    return prepare_split(whole.to_iterable_dataset(), columns)[0], prepare_split(whole, columns)[0]


@pytest.fixture
def clips():
    draw = np.random.default_rng(0)
    pictures = [png(draw.integers(0, 255, (9, 8, channels), "uint8")) for channels in (3, 4, 3, 3)]
    sounds = [wav(draw.normal(0, 0.1, (3000, channels))) for channels in (1, 2, 1, 1)]
    return pictures, sounds


def test_a_streamed_row_is_decoded_once(clips, monkeypatch):
    """And is the row that a whole split gives."""
    stream, whole = stream_of_clips(*clips)
    processor, counted = MoTProcessor(), []
    for name in ("decode_image", "read_sound_file"):
        decode = getattr(decoding, name)
        spy = lambda *arguments, decode=decode, name=name: (counted.append(name), decode(*arguments))[1]  # noqa: E731
        monkeypatch.setattr(decoding, name, spy)
    rows = list(islice(StreamedDataset(drop_bad_examples(stream), processor), 4))
    assert sorted(counted) == ["decode_image"] * 4 + ["read_sound_file"] * 4
    for row, expected in zip(rows, (EncodedDataset(whole, processor)[i] for i in range(4))):
        assert row.keys() == expected.keys() and all(torch.equal(row[name], expected[name]) for name in row)


def test_a_streamed_row_that_cannot_be_decoded_is_reported_as_a_whole_split_reports_it(clips, tmp_path):
    pictures, sounds = clips
    pictures[1], sounds[2] = pictures[1][:60], sounds[2][:30]
    stream, whole = stream_of_clips(pictures, sounds)
    rows = StreamedDataset(drop_bad_examples(stream, "skip", "train", tmp_path / "stream"), MoTProcessor())
    assert len(list(islice(rows, 4))) == 4  # of two epochs
    drop_bad_examples(whole, "skip", "train", tmp_path / "whole")
    assert (tmp_path / "stream").read_text() == (tmp_path / "whole").read_text() != ""


def test_an_error_of_the_encoding_itself_is_no_bad_row(clips):
    stream, _ = stream_of_clips(*clips)

    def encode(row):
        raise ValueError("of the processor")

    with pytest.raises(ValueError, match="of the processor"):
        next(stream.rows(0, encode))
