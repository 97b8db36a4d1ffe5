# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The classification loss, the heads that share it, and what a plain `Trainer` of the library does with them.

Losses are held to PyTorch's and the library's own; the answers for several subsets of the modalities to calls with
only these modalities.
"""

import math
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import (
    ARCHITECTURES,
    MODALITIES,
    SUBSETS,
    build,
    make_inputs,
    max_difference,
    presence,
    subset_name,
    tiny_config,
    without,
)
from torch.nn import functional as F
from transformers import Trainer, TrainingArguments
from transformers.loss.loss_utils import ForSequenceClassificationLoss

from mixture_of_transformers import (
    MoTConfig,
    MoTForAudioClassification,
    MoTForImageClassification,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTModel,
)
from mixture_of_transformers.configuration_mot import SIZES
from mixture_of_transformers.loss_mot import IGNORED_LABEL, classification_loss

TOLERANCE = 1e-5
EXACT = 1e-6
NUM_ROWS = 6
HEADS = (MoTForSequenceClassification, MoTForImageClassification, MoTForAudioClassification)
PROBLEMS = ("single_label_classification", "multi_label_classification", "regression")
ARCHITECTURE_PAGE = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"

# One class is no problem of classes.
CASES = [(problem, n) for problem in PROBLEMS for n in (1, 3) if (problem, n) != ("single_label_classification", 1)]

every_problem = pytest.mark.parametrize("problem", PROBLEMS)
every_number_of_labels = pytest.mark.parametrize("num_labels", [1, 3])
every_case = pytest.mark.parametrize("problem, num_labels", CASES)


# The loss alone


def loss_config(problem_type=None, num_labels=3, regression_loss="mse"):
    fields = {"problem_type": problem_type, "num_labels": num_labels, "regression_loss": regression_loss}
    return SimpleNamespace(**fields, regression_std=1.0)


def logits_and_labels(problem, num_labels, flat=False):
    """Random logits (6, num_labels) that take gradients, and labels for them; `flat`: one number per row, (6,)."""
    logits = torch.randn(NUM_ROWS, num_labels, requires_grad=True)
    if problem == "single_label_classification":
        return logits, torch.arange(NUM_ROWS) % num_labels
    labels = torch.randn(NUM_ROWS, num_labels)
    labels = labels if problem == "regression" else (labels > 0).float()
    return logits, labels[:, 0] if flat else labels


def loss_of_torch(problem, logits, labels):
    """The mean over all rows and numbers, by PyTorch's own functions."""
    if problem == "single_label_classification":
        return F.cross_entropy(logits, labels)
    labels = labels.reshape(logits.shape)
    return (
        F.mse_loss(logits, labels) if problem == "regression" else F.binary_cross_entropy_with_logits(logits, labels)
    )


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits, retain_graph=True)[0]


def assert_same_loss(loss, expected, logits):
    assert loss.shape == ()
    assert max_difference(loss, expected) < EXACT
    assert max_difference(gradient(loss, logits), gradient(expected, logits)) < EXACT


@every_case
def test_plain_batches_give_the_losses_of_torch_and_of_transformers(problem, num_labels):
    logits, labels = logits_and_labels(problem, num_labels)
    config = loss_config(problem, num_labels)
    loss = classification_loss(logits, labels, config)
    assert_same_loss(loss, loss_of_torch(problem, logits, labels), logits)
    assert_same_loss(loss, ForSequenceClassificationLoss(labels, logits, config), logits)


@every_number_of_labels
def test_l1_regression_is_the_mean_absolute_error(num_labels):
    logits, labels = logits_and_labels("regression", num_labels)
    loss = classification_loss(logits, labels, loss_config("regression", num_labels, regression_loss="l1"))
    assert_same_loss(loss, F.l1_loss(logits, labels), logits)


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_one_number_per_row_is_not_broadcast_over_the_batch(problem):
    """Logits (B, 1) and labels (B,) broadcast to (B, B) in a careless loss."""
    logits, labels = logits_and_labels(problem, 1, flat=True)
    loss = classification_loss(logits, labels, loss_config(problem, 1))
    assert_same_loss(loss, loss_of_torch(problem, logits, labels), logits)


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_whole_numbers_are_labels_of_every_problem(problem):
    logits, _ = logits_and_labels(problem, 3)
    labels = torch.arange(NUM_ROWS * 3).reshape(NUM_ROWS, 3) % 2
    loss = classification_loss(logits, labels, loss_config(problem))
    assert_same_loss(loss, loss_of_torch(problem, logits, labels.float()), logits)


@pytest.mark.parametrize(
    "num_labels, labels, problem",
    [
        (1, torch.randn(NUM_ROWS), "regression"),
        (1, torch.arange(NUM_ROWS), "regression"),
        (3, torch.arange(NUM_ROWS) % 3, "single_label_classification"),
        (3, torch.arange(NUM_ROWS, dtype=torch.int32) % 3, "single_label_classification"),
        (3, torch.ones(NUM_ROWS, 3), "multi_label_classification"),
    ],
)
def test_the_problem_is_inferred_as_transformers_infers_it(num_labels, labels, problem):
    logits, _ = logits_and_labels(problem, num_labels)
    loss = classification_loss(logits, labels, loss_config(num_labels=num_labels))
    by_name = classification_loss(logits, labels, loss_config(problem, num_labels))
    assert_same_loss(loss, by_name, logits)
    theirs = loss_config(num_labels=num_labels)
    as_theirs = labels.long() if problem == "single_label_classification" else labels.float()
    ForSequenceClassificationLoss(as_theirs, logits, theirs)
    assert theirs.problem_type == problem


def test_half_precision_logits_give_a_float32_loss():
    logits, labels = logits_and_labels("single_label_classification", 3)
    half = logits.detach().bfloat16()
    loss = classification_loss(half, labels, loss_config())
    assert loss.dtype == torch.float32
    assert max_difference(loss, F.cross_entropy(half.float(), labels)) < EXACT


# Rows that do not count


def test_ignored_labels_are_left_out_of_the_mean():
    logits, labels = logits_and_labels("single_label_classification", 3)
    labels[[1, 4]] = IGNORED_LABEL
    loss = classification_loss(logits, labels, loss_config())
    assert_same_loss(loss, F.cross_entropy(logits, labels, ignore_index=IGNORED_LABEL), logits)
    assert gradient(loss, logits)[[1, 4]].eq(0).all()
    assert gradient(loss, logits)[[0, 2, 3, 5]].ne(0).all()


@every_case
def test_rows_that_do_not_count_are_left_out_of_the_mean(problem, num_labels):
    logits, labels = logits_and_labels(problem, num_labels)
    rows = torch.tensor([True, False, True, True, False, True])
    loss = classification_loss(logits, labels, loss_config(problem, num_labels), rows=rows)
    assert_same_loss(loss, loss_of_torch(problem, logits[rows], labels[rows]), logits)
    assert gradient(loss, logits)[~rows].eq(0).all()


@every_problem
def test_all_rows_counting_is_the_default(problem):
    logits, labels = logits_and_labels(problem, 3)
    everything = torch.ones(NUM_ROWS, dtype=torch.bool)
    loss = classification_loss(logits, labels, loss_config(problem), rows=everything)
    assert_same_loss(loss, classification_loss(logits, labels, loss_config(problem)), logits)


def test_rows_and_ignored_labels_combine():
    logits, labels = logits_and_labels("single_label_classification", 3)
    labels[[0, 3]] = IGNORED_LABEL
    rows = torch.tensor([True, True, False, False, True, True])
    loss = classification_loss(logits, labels, loss_config(), rows=rows)
    counted = [1, 4, 5]
    assert_same_loss(loss, F.cross_entropy(logits[counted], labels[counted]), logits)


@every_problem
def test_no_row_at_all_gives_zero_and_zero_gradients(problem):
    """Where PyTorch's own mean over nothing is NaN."""
    logits, labels = logits_and_labels(problem, 3)
    nothing = torch.zeros(NUM_ROWS, dtype=torch.bool)
    losses = [classification_loss(logits, labels, loss_config(problem), rows=nothing)]
    if problem == "single_label_classification":
        losses.append(classification_loss(logits, torch.full_like(labels, IGNORED_LABEL), loss_config(problem)))
    for loss in losses:
        assert loss.item() == 0
        assert gradient(loss, logits).eq(0).all()


# Labels of which a part is missing


def labels_with_gaps(problem, num_labels, gap):
    """Row 1 has no label, and of several numbers row 4 has only some."""
    logits, labels = logits_and_labels(problem, num_labels)
    labels[1] = gap
    if labels.dim() == 2 and num_labels > 1:
        labels[4, 0] = gap
        labels[5, 1:] = gap
    return logits, labels


def loss_of_rows(problem, logits, labels, regression_loss="mse"):
    """The mean over the rows with a label, each the mean over its numbers, one at a time."""
    rows = []
    for scores, row in zip(logits.double(), labels.double().reshape(len(labels), -1)):
        given = [i for i, value in enumerate(row.tolist()) if not math.isnan(value) and value != IGNORED_LABEL]
        if problem == "single_label_classification":
            losses = [-scores.log_softmax(dim=0)[int(row[i])] for i in given]
        elif problem == "multi_label_classification":
            losses = [-(row[i] * F.logsigmoid(scores[i]) + (1 - row[i]) * F.logsigmoid(-scores[i])) for i in given]
        else:
            power = 1 if regression_loss == "l1" else 2
            losses = [(scores[i] - row[i]).abs() ** power for i in given]
        if losses:
            rows.append(torch.stack(losses).mean())
    return torch.stack(rows).mean()


def gaps(cases):
    """Each case with what stands for a missing label; among whole numbers there is no NaN."""
    return [
        (*case, gap)
        for case in cases
        for gap in (math.nan, IGNORED_LABEL)
        if case[0] != "single_label_classification" or gap == IGNORED_LABEL
    ]


every_gap = pytest.mark.parametrize("gap", [math.nan, IGNORED_LABEL])
every_case_and_gap = pytest.mark.parametrize("problem, num_labels, gap", gaps(CASES))


@pytest.mark.parametrize("regression_loss", ["mse", "l1"])
@every_case_and_gap
def test_labels_that_are_missing_are_left_out(problem, num_labels, regression_loss, gap):
    logits, labels = labels_with_gaps(problem, num_labels, gap)
    loss = classification_loss(logits, labels, loss_config(problem, num_labels, regression_loss))
    assert_same_loss(loss, loss_of_rows(problem, logits, labels, regression_loss), logits)
    missing = labels.isnan() | (labels == IGNORED_LABEL)
    assert gradient(loss, logits)[missing].eq(0).all()


@every_gap
@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_one_number_per_row_may_be_missing(problem, gap):
    """Labels (B,) for logits (B, 1)."""
    logits, labels = logits_and_labels(problem, 1, flat=True)
    labels[[0, 3]] = gap
    counted = [1, 2, 4, 5]
    loss = classification_loss(logits, labels, loss_config(problem, 1))
    assert_same_loss(loss, loss_of_torch(problem, logits[counted], labels[counted]), logits)


@pytest.mark.parametrize("problem, gap", gaps([(problem,) for problem in PROBLEMS]))
def test_missing_labels_and_rows_that_do_not_count_combine(problem, gap):
    logits, labels = labels_with_gaps(problem, 3, gap)
    rows = torch.tensor([True, True, False, True, True, False])
    loss = classification_loss(logits, labels, loss_config(problem), rows=rows)
    assert_same_loss(loss, loss_of_rows(problem, logits[rows], labels[rows]), logits)


@every_case_and_gap
def test_no_label_at_all_gives_zero_and_zero_gradients(problem, num_labels, gap):
    logits, labels = logits_and_labels(problem, num_labels)
    loss = classification_loss(logits, torch.full_like(labels, gap), loss_config(problem, 3))
    assert loss.item() == 0
    assert gradient(loss, logits).eq(0).all()


# The heads


def head(head_class=MoTForSequenceClassification, architecture="default", **overrides):
    return build(head_class, tiny_config(architecture, **{"num_labels": 3} | overrides))


def run(model, inputs, **options):
    with torch.no_grad():
        return model(**inputs, **options)


def labels_for(inputs, num_labels=3):
    return torch.arange(len(next(iter(inputs.values())))) % num_labels


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_heads_share_their_parameters_and_so_their_logits(architecture):
    weights = head(architecture=architecture).state_dict()
    assert {"classifier.weight", "classifier.bias"} <= set(weights)
    assert all(name.startswith(("mot.", "classifier.")) for name in weights)
    inputs = make_inputs(MODALITIES)
    logits = []
    for head_class in HEADS:
        model = head_class(tiny_config(architecture, num_labels=3)).eval()
        model.load_state_dict(weights)  # strict: not one name more or less
        logits.append(run(model, inputs).logits)
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0], logits[2])


@pytest.mark.parametrize("head_class", HEADS)
@every_case
def test_every_head_has_the_loss_of_its_problem(head_class, problem, num_labels):
    model = head(head_class, problem_type=problem, num_labels=num_labels)
    inputs = make_inputs(MODALITIES)
    labels = labels_for(inputs, num_labels)
    if problem != "single_label_classification":
        labels = F.one_hot(labels, num_labels).float()
    output = run(model, inputs, labels=labels)
    assert output.logits.shape == (len(labels), num_labels)
    torch.testing.assert_close(output.loss, loss_of_torch(problem, output.logits, labels), rtol=EXACT, atol=EXACT)
    assert run(model, inputs).loss is None


def test_a_head_infers_its_problem_and_regresses_by_its_config():
    inputs = make_inputs(MODALITIES)
    ids, numbers = labels_for(inputs), torch.rand(len(labels_for(inputs)), 3)
    regressor = head(num_labels=1, regression_loss="l1")
    for labels, problem in ((ids, "single_label_classification"), (numbers, "multi_label_classification")):
        model = head()
        output = run(model, inputs, labels=labels)
        torch.testing.assert_close(output.loss, loss_of_torch(problem, output.logits, labels), rtol=EXACT, atol=EXACT)
        assert model.config.problem_type == problem  # pipelines answer by it
    output = run(regressor, inputs, labels=numbers[:, 0])
    assert max_difference(output.loss, F.l1_loss(output.logits[:, 0], numbers[:, 0])) < EXACT


def test_rows_without_a_label_leave_the_other_gradients_as_they_are():
    """A batch with unlabelled rows trains as the batch without them."""
    inputs = make_inputs(MODALITIES)
    labels = labels_for(inputs)
    labels[3:] = IGNORED_LABEL
    gradients = []
    for rows in (slice(None), slice(3)):
        model = head().train()
        model(**{name: value[rows] for name, value in inputs.items()}, labels=labels[rows]).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, expected in gradients[1].items():
        assert max_difference(gradients[0][name], expected) < TOLERANCE, name


# Several subsets of the modalities at once


def only(inputs, subset):
    """The batch called with these modalities alone; rows that have none of them stay, wholly masked."""
    for absent in set(MODALITIES) - set(subset):
        inputs = without(inputs, absent)
    return inputs


@pytest.mark.parametrize("masks", ["padding", "ones", None])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_of_a_subset_equal_the_call_with_that_subset(architecture, masks):
    model = head(architecture=architecture)
    inputs = make_inputs(MODALITIES, masks=masks)
    logits = run(model, inputs, modality_subsets=list(SUBSETS)).logits
    assert logits.shape == (len(inputs["input_ids"]), len(SUBSETS), 3)
    for index, subset in enumerate(SUBSETS):
        assert max_difference(logits[:, index], run(model, only(inputs, subset)).logits) < TOLERANCE, subset


def test_subset_answers_are_the_same_in_training():
    """Without dropout: what training adds for absent modalities is never seen."""
    model, inputs = head(architecture="uneven_towers"), make_inputs(MODALITIES)
    expected = run(model, inputs, modality_subsets=list(SUBSETS)).logits
    assert max_difference(run(model.train(), inputs, modality_subsets=list(SUBSETS)).logits, expected) < TOLERANCE


@pytest.mark.parametrize("masks", ["padding", "ones", None])
def test_each_subset_has_its_loss_and_the_loss_is_their_mean(masks):
    model, inputs = head(), make_inputs(MODALITIES, masks=masks)
    labels, rows = labels_for(inputs), presence(MODALITIES)
    output = run(model, inputs, labels=labels, modality_subsets=list(SUBSETS))
    assert list(output.losses) == [subset_name(subset) for subset in SUBSETS]
    for index, subset in enumerate(SUBSETS):
        counted = [i for i, row in enumerate(rows) if masks != "padding" or set(row) & set(subset)]
        expected = F.cross_entropy(output.logits[counted, index], labels[counted])
        assert max_difference(output.losses[subset_name(subset)], expected) < TOLERANCE, subset
    assert max_difference(output.loss, torch.stack(list(output.losses.values())).mean()) < EXACT


@every_problem
def test_one_subset_of_everything_is_the_plain_call(problem):
    model, inputs = head(problem_type=problem), make_inputs(MODALITIES)
    labels = labels_for(inputs)
    labels = labels if problem == "single_label_classification" else F.one_hot(labels, 3).float()
    plain = run(model, inputs, labels=labels)
    output = run(model, inputs, labels=labels, modality_subsets=[MODALITIES])
    assert max_difference(output.logits[:, 0], plain.logits) < EXACT
    assert max_difference(output.loss, plain.loss) < EXACT


def test_rows_without_the_subset_get_no_gradient_from_its_loss():
    """The text of a row trains nothing where only its picture and its sound are asked for."""
    model = head().train()
    inputs = make_inputs(MODALITIES)
    model(**inputs, labels=labels_for(inputs), modality_subsets=[("image", "audio")]).loss.backward()
    for name, parameter in model.named_parameters():
        if ".text." in name:
            assert parameter.grad is None or parameter.grad.eq(0).all(), name
    assert model.mot.encoders["image"].layers[0].mlp.fc1.weight.grad.ne(0).any()


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("given", [MODALITIES, ("text", "audio")], ids=subset_name)
def test_encoders_run_once_and_global_layers_once_for_each_subset(given, training):
    model, calls = head().train(training), Counter()

    def count(name):
        return lambda *_: calls.update([name])

    for modality, encoder in model.mot.encoders.items():
        encoder.register_forward_hook(count(modality))
    model.mot.global_layers[0].register_forward_hook(count("global"))
    inputs = make_inputs(given)
    output = model(**inputs, labels=labels_for(inputs), modality_subsets=list(SUBSETS))
    output.loss.backward()
    assert {modality: calls[modality] for modality in given} == dict.fromkeys(given, 1)
    assert max(calls[modality] for modality in MODALITIES) == 1  # an absent one, too, at most
    assert calls["global"] == len(SUBSETS)


@pytest.mark.parametrize(
    "subsets", [[("video",)], [("text", "video")], ["text"], "text", [()], []], ids=lambda subsets: repr(subsets)
)
def test_bad_subsets_are_named(subsets):
    with pytest.raises(ValueError, match="modality_subsets"):
        head()(**make_inputs(MODALITIES), modality_subsets=subsets)


def test_a_subset_of_a_modality_the_model_lacks_is_named():
    model = head(audio_config=None)
    with pytest.raises(ValueError, match=r"modality_subsets.*audio.*expected.*text, image"):
        model(**make_inputs(("text", "image")), modality_subsets=[("text",), ("audio",)])


# A plain `Trainer` of the library


def examples():
    """The rows of a batch as a dataset: full, padded, and lacking modalities."""
    inputs = make_inputs(MODALITIES)
    inputs["labels"] = labels_for(inputs)
    return [{name: values[i] for name, values in inputs.items()} for i in range(len(inputs["labels"]))]


def trainer_for(model, folder, compute_loss_func=None, **options):
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=3,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
        learning_rate=1e-2,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **options,
    )
    rows = examples()
    return Trainer(model, arguments, train_dataset=rows, eval_dataset=rows, compute_loss_func=compute_loss_func)


def cross_entropy_of(outputs, labels, num_items_in_batch=None):
    return F.cross_entropy(outputs.logits, labels, reduction="sum") / (num_items_in_batch or len(labels))


def expected_loss(logits, smoothing=0.0):
    """What `Trainer.evaluate` should report: the mean over all rows, however they are batched."""
    labels = torch.stack([row["labels"] for row in examples()])
    return F.cross_entropy(logits, labels, label_smoothing=smoothing).item()


@pytest.mark.parametrize(
    "options, smoothing",
    [({}, 0.0), ({"label_smoothing_factor": 0.1}, 0.1), ({"compute_loss_func": cross_entropy_of}, 0.0)],
    ids=["plain", "label_smoothing_factor", "compute_loss_func"],
)
def test_a_plain_trainer_trains_and_evaluates(tmp_path, options, smoothing):
    model = head()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    trainer = trainer_for(model, tmp_path, **options)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 3 and np.isfinite(losses).all()
    assert any(not torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    rows = examples()
    inputs = {name: torch.stack([row[name] for row in rows]) for name in rows[0] if name != "labels"}
    expected = expected_loss(run(model.eval(), inputs).logits, smoothing)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("options", [{}, {"output_hidden_states": True}], ids=["plain", "config.output_hidden_states"])
def test_predictions_of_a_plain_trainer_are_the_logits_alone(tmp_path, options):
    model = head(**options)
    prediction = trainer_for(model, tmp_path).predict(examples())
    assert isinstance(prediction.predictions, np.ndarray)
    inputs = make_inputs(MODALITIES)
    assert max_difference(torch.from_numpy(prediction.predictions), run(model, inputs).logits) < TOLERANCE
    assert prediction.label_ids.tolist() == labels_for(inputs).tolist()


def test_all_but_the_loss_and_the_logits_is_kept_from_a_trainer():
    """Every field of both outputs that a `Trainer` would gather over a whole evaluation set."""
    model, inputs = head(), make_inputs(MODALITIES)
    asked = {"output_hidden_states": True, "output_encoder_hidden_states": True}
    outputs = [
        run(model, inputs, labels=labels_for(inputs), **asked),
        run(model, inputs, labels=labels_for(inputs), modality_subsets=list(SUBSETS)),
        run(model.mot, inputs, **asked),
    ]
    kept = {name for output in outputs for name in output} - set(model.config.keys_to_ignore_at_inference)
    assert kept == {"loss", "logits", "pooler_output"}


# The named sizes


def documented_sizes():
    """Rows such as `| tiny | 128 | 4 | 256 | 3 | 5,012,345 |` of the page on the architecture."""
    found = {}
    for line in ARCHITECTURE_PAGE.read_text().splitlines():
        cells = [cell.strip(" `*") for cell in line.strip().strip("|").split("|")]
        if cells[0] in SIZES and all(re.fullmatch(r"[\d,]+", cell) for cell in cells[1:]):
            found[cells[0]] = [int(cell.replace(",", "")) for cell in cells[1:]]
    return found


@pytest.mark.parametrize("size", SIZES)
def test_documented_sizes_are_the_real_ones(size):
    config = MoTConfig.of_size(size)
    with torch.device("meta"):
        model = MoTModel(config)
    layers = {config.modality_config(modality).num_hidden_layers for modality in MODALITIES}
    assert len(layers) == 1
    widths = [config.hidden_size, config.num_attention_heads, config.intermediate_size, *layers]
    assert documented_sizes().get(size) == [*widths, sum(parameter.numel() for parameter in model.parameters())]


# What generic code reads of a model


@pytest.mark.parametrize(
    "fields, name",
    [
        ({}, "input_ids"),
        ({"image_config": None}, "input_ids"),
        ({"text_config": None}, "pixel_values"),
        ({"text_config": None, "image_config": None}, "input_features"),
        ({"features": True}, "text_features"),
        ({"features": True, "text_config": None}, "image_features"),
    ],
)
@pytest.mark.parametrize("head_class", [MoTModel, MoTForSequenceClassification, MoTForRetrieval, MoTForPreTraining])
def test_the_main_input_is_one_that_the_model_takes(head_class, fields, name):
    """By it the Trainer counts tokens and floating-point operations."""
    model = head_class(tiny_config(**fields))
    assert model.main_input_name == name
    inputs = make_inputs(model.config.modalities, features="features" in fields)
    assert Trainer.floating_point_ops(SimpleNamespace(model=model), inputs) > 0
