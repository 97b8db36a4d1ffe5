# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What was saved once loads for ever: names and shapes of parameters, and a folder that answers as it did."""

import json

import pytest
import torch
from pinned import FOLDER, PARAMETERS, ROW, models, parameters
from remote_steps import answers_to_row, run_step
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoProcessor

from mixture_of_transformers import MoTForSequenceClassification, MoTProcessor

NAMES = json.loads(PARAMETERS.read_text())


@pytest.fixture(scope="module")
def built():
    return models()


@pytest.mark.parametrize("name", NAMES)
def test_parameters_have_the_names_and_shapes_that_checkpoints_hold(name, built):
    assert parameters(built[name]) == NAMES[name]


def assert_as_it_was(found):
    """To what another processor's sums may differ by."""
    expected = load_file(FOLDER / "answers.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "model_class, processor_class",
    [
        (MoTForSequenceClassification, MoTProcessor),
        (AutoModelForSequenceClassification, AutoProcessor),
    ],
    ids=["class", "Auto class"],
)
def test_a_folder_that_was_saved_once_answers_as_it_did(model_class, processor_class):
    model = model_class.from_pretrained(FOLDER).eval()
    assert type(model) is MoTForSequenceClassification
    assert_as_it_was(answers_to_row(model, processor_class.from_pretrained(FOLDER), ROW))


@pytest.mark.training
def test_a_folder_that_was_saved_once_answers_as_it_did_by_its_own_code(tmp_path):
    run_step("pinned", FOLDER, tmp_path, home=tmp_path / "home")
    assert_as_it_was(load_file(tmp_path / "answers.safetensors"))
