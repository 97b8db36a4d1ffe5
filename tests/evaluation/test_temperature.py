# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A temperature in the config: every way of asking answers by it, and `mot evaluate --calibrate` fits it to rows that
are not those of the results."""

import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from helpers import MODALITIES, build, make_inputs, tiny_config
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, TextClassificationPipeline

from mixture_of_transformers import MoTForSequenceClassification, MoTProcessor, run_finetune
from mixture_of_transformers.data.labels import LabelSpec
from mixture_of_transformers.evaluation.calibration import fit_temperature, reliability
from mixture_of_transformers.evaluation.evaluate import check_can_be_calibrated, evaluate
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments
from mixture_of_transformers.finetune.predictions import answers
from mixture_of_transformers.finetune.recipe import build_model
from mixture_of_transformers.pipeline_mot import MultimodalClassificationPipeline
from mixture_of_transformers.serving.evaluate import RowsArguments, open_checkpoint, parser_of

NAMES = ("neg", "neu", "pos")
LABELS = {"num_labels": 3, "id2label": dict(enumerate(NAMES)), "label2id": {n: i for i, n in enumerate(NAMES)}}
ONE_OF_THREE = {"problem_type": "single_label_classification"} | LABELS


def logits_of(model, **inputs) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs).logits


def at(temperature, **fields):
    return build(MoTForSequenceClassification, tiny_config(**ONE_OF_THREE | fields, logit_temperature=temperature))


# ---------------------------------------------------------------------------------------------------------------------
# The config
# ---------------------------------------------------------------------------------------------------------------------


def test_logits_are_divided_by_the_temperature_for_every_subset_and_their_order_stays():
    inputs = make_inputs(MODALITIES)
    plain, hot = logits_of(at(1.0), **inputs), logits_of(at(2.5), **inputs)
    torch.testing.assert_close(hot, plain / 2.5)
    assert torch.equal(hot.argmax(dim=-1), plain.argmax(dim=-1))
    by_subset = logits_of(at(2.5), **inputs, modality_subsets=[MODALITIES])[:, 0]
    torch.testing.assert_close(by_subset, hot)
    labels = torch.arange(len(plain)) % 3
    assert at(2.5)(**inputs, labels=labels).loss.item() == pytest.approx(F.cross_entropy(plain / 2.5, labels).item())


def test_a_checkpoint_whose_config_knows_no_temperature_answers_as_it_did(tmp_path):
    model, inputs = at(1.0), make_inputs(MODALITIES)
    model.save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    assert fields.pop("logit_temperature", 1.0) == 1.0
    (tmp_path / "config.json").write_text(json.dumps(fields))
    loaded = MoTForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.config.logit_temperature == 1.0
    assert torch.equal(logits_of(loaded, **inputs), logits_of(model, **inputs))


def test_the_temperature_is_saved_and_every_way_of_asking_answers_by_it(tmp_path):
    processor = MoTProcessor()
    text = {"vocab_size": len(processor.tokenizer)}
    at(3.0, text_config=text, image_config=None, audio_config=None).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert model.config.logit_temperature == 3.0
    inputs = processor(text="a house")
    model.config.logit_temperature = 1.0
    expected = (logits_of(model, **inputs) / 3.0).softmax(dim=-1)[0].tolist()
    model.config.logit_temperature = 3.0
    own = MultimodalClassificationPipeline(model=model, processor=processor)
    library = TextClassificationPipeline(model=model, tokenizer=processor.tokenizer)
    for found in (own({"text": "a house"}), library("a house", top_k=None)):
        assert {row["label"]: row["score"] for row in found} == pytest.approx(dict(zip(NAMES, expected)), abs=1e-6)
    (answer,) = answers(logits_of(model, **inputs).numpy(), model.config)
    assert list(answer["probabilities"].values()) == pytest.approx(expected, abs=1e-6)


def test_a_run_that_goes_on_begins_without_a_temperature(tmp_path):
    at(3.0).save_pretrained(tmp_path)
    spec = LabelSpec("single_label_classification", NAMES)
    for task, labels in (("classification", spec), ("retrieval", None)):
        model = build_model(None, DataArguments(task=task), labels, ModelArguments(model_name_or_path=str(tmp_path)))
        assert model.config.logit_temperature == 1.0
    inputs = make_inputs(MODALITIES)
    model = build_model(
        None, DataArguments(task="classification"), spec, ModelArguments(model_name_or_path=str(tmp_path))
    )
    torch.testing.assert_close(logits_of(model.eval(), **inputs), logits_of(at(1.0), **inputs))


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan")])
def test_bad_input_a_temperature_is_a_finite_number_above_zero(value):
    with pytest.raises(StrictDataclassClassValidationError, match="`logit_temperature` is a finite number above 0"):
        tiny_config(logit_temperature=value)


def test_bad_input_numbers_have_no_temperature():
    with pytest.raises(StrictDataclassClassValidationError, match="`logit_temperature` is for classes"):
        tiny_config(logit_temperature=2.0, problem_type="regression", num_labels=1)


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------


def write(folder: Path, **numbers: int) -> Path:
    """Splits of ready features, of which a row's class is hard to see, and which lack some text."""
    random, splits = np.random.default_rng(0), datasets.DatasetDict()
    for split, number in numbers.items():
        labels = random.integers(0, 3, size=number)
        parts = {m: labels[:, None] + random.normal(size=(number, 4)) * 1.5 for m in ("text", "image")}
        rows = [
            {"text": None if row % 7 == 0 else [text.tolist()], "image": [image.tolist()], "label": NAMES[label]}
            for row, (text, image, label) in enumerate(zip(parts["text"], parts["image"], labels))
        ]
        splits[split] = datasets.Dataset.from_list(rows)
    splits.save_to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a run that has learnt few rows by heart, so that it is too sure; its data lie in `data` beside."""
    root = tmp_path_factory.mktemp("trained")
    data = write(root / "data", train=24, tuning=150, test=200)
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    small |= {f"{m}_config": {"num_hidden_layers": 1} for m in ("text", "image")}
    options = [
        "--dataset_name",
        data,
        "--validation_split",
        "tuning",
        "--output_dir",
        root / "out",
        "--config_overrides",
        json.dumps(small),
    ]
    options += ["--max_steps", 80, "--learning_rate", 0.02, "--per_device_train_batch_size", 24]
    run_finetune.main([*map(str, options), "--cache_gigabytes", "0", "--disable_tqdm", "true"])
    return root / "out"


@pytest.fixture
def checkpoint(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "out"))


def logits_and_labels(folder: Path, split: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Subset -> what the model says to the rows of a split that have all of it, one by one, and their labels."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = datasets.load_from_disk(folder.parent / "data")[split].to_list()
    found = {}
    for names in (("text",), ("image",), ("text", "image")):
        whole = [row for row in rows if all(row[name] is not None for name in names)]
        features = {f"{name}_features": torch.tensor([row[name] for row in whole]).float() for name in names}
        labels = np.array([model.config.label2id[row["label"]] for row in whole])
        found["+".join(names)] = logits_of(model, **features).numpy(), labels
    return found


@pytest.mark.training
def test_calibrate_fits_a_temperature_to_the_validation_split_and_reports_another(trained, checkpoint, capsys):
    before = logits_and_labels(trained, "tuning")
    expected = fit_temperature(*map(np.concatenate, zip(*before.values())))
    run = json.loads((trained / "results.json").read_text())["subsets"]
    results = evaluate([str(checkpoint), "--calibrate"])
    old, new = (json.loads((folder / "config.json").read_text()) for folder in (trained, checkpoint))
    assert new == old | {"logit_temperature": pytest.approx(expected, rel=1e-3)} and expected > 1.3
    assert results["split"] == "test" and json.loads((checkpoint / "results.json").read_text()) == results
    for subset, (logits, labels) in logits_and_labels(trained, "test").items():
        row = results["subsets"][subset]
        assert row["accuracy"] == run[subset]["accuracy"]  # the answers are the same, and less sure
        errors = [reliability(logits / t, labels).expected_calibration_error for t in (1, expected)]
        assert [row["calibration_error_before"], row["calibration_error"]] == pytest.approx(errors, abs=1e-3)
        assert row["calibration_error"] < row["calibration_error_before"]
    card = (checkpoint / "README.md").read_text()
    assert "| calibration_error_before | calibration_error |" in card and "probabilities are calibrated" in card
    said = f"The temperature of the logits is {new['logit_temperature']:.4g}, by 406 answers to rows of"
    assert said in capsys.readouterr().out


@pytest.mark.training
def test_calibrating_again_begins_at_one_and_comes_to_the_same(checkpoint):
    arguments = [str(checkpoint), "--calibrate"]
    first = evaluate(arguments)["subsets"]
    once = json.loads((checkpoint / "config.json").read_text())["logit_temperature"]
    second = evaluate(arguments)["subsets"]
    again = json.loads((checkpoint / "config.json").read_text())["logit_temperature"]
    assert again == pytest.approx(once, rel=1e-3)
    for subset, row in second.items():
        assert row["calibration_error_before"] == pytest.approx(first[subset]["calibration_error"], abs=1e-3)
        assert row["calibration_error"] == pytest.approx(row["calibration_error_before"], abs=1e-3)


@pytest.mark.training
@pytest.mark.parametrize("split", ["validation", "tuning"])
def test_bad_input_a_temperature_is_not_fitted_to_the_split_that_is_reported_whatever_its_name(split, checkpoint):
    with pytest.raises(ValueError, match=f"'{split}' may be the same rows: name another split"):
        evaluate([str(checkpoint), "--calibrate", "--split", split])
    assert json.loads((checkpoint / "config.json").read_text())["logit_temperature"] == 1.0


@pytest.mark.training
def test_bad_input_what_does_not_choose_a_class_or_lies_on_the_hub_is_not_calibrated(checkpoint):
    opened = open_checkpoint(parser_of(RowsArguments, "mot evaluate", "CHECKPOINT", None), [str(checkpoint)])
    check_can_be_calibrated(opened, str(checkpoint))
    with pytest.raises(ValueError, match="user/model is on the Hub: bring it into a folder"):
        check_can_be_calibrated(opened, "user/model")
    opened.trainer.model.config.problem_type = "multi_label_classification"
    with pytest.raises(ValueError, match="one class among several, and .* is for multi_label_classification"):
        check_can_be_calibrated(opened, str(checkpoint))
    opened.data.task = "retrieval"
    with pytest.raises(ValueError, match="one class among several, and .* is for retrieval"):
        check_can_be_calibrated(opened, str(checkpoint))
