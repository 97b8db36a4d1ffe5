# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What was saved once loads for ever: names and shapes of parameters, and folders that answer as they did."""

import json
from functools import cache

import pytest
import torch
import transformers
from pinned import FOLDER, PARAMETERS, models, parameters, put_together
from remote_steps import PINNED_CLASSES, PINNED_ROW, answers_to_row, run_step
from safetensors.torch import load_file

import mixture_of_transformers

NAMES = json.loads(PARAMETERS.read_text())
ROUTES = ("class", "Auto class")


@pytest.fixture(scope="module")
def built():
    return models()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folder -> the class that saved it; the folders of earlier code have the name of the class."""
    found = {name: put_together(name, tmp_path_factory.mktemp("heads")) for name in PINNED_CLASSES}
    return found | {"classifier": FOLDER}


@pytest.fixture(scope="module")
def answers_by_own_code(folders, tmp_path_factory):
    """Folder -> its answers in a process that has no other code than the folder's."""
    work = tmp_path_factory.mktemp("own_code")
    run_step("pinned", work, *folders.values(), home=work / "home")
    return {name: load_file(work / f"{name}.safetensors") for name in folders}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_have_the_names_and_shapes_that_checkpoints_hold(name, built):
    assert parameters(built[name]) == NAMES[name]


@cache
def answers_on_route(route, name, folder):
    class_name = "MoTForSequenceClassification" if folder == FOLDER else name
    model_class = getattr(mixture_of_transformers, class_name)
    reader, processor_class = {
        "class": (model_class, mixture_of_transformers.MoTProcessor),
        "Auto class": (getattr(transformers, PINNED_CLASSES[class_name]), transformers.AutoProcessor),
    }[route]
    model = reader.from_pretrained(folder).eval()
    assert type(model) is model_class
    return answers_to_row(model, processor_class.from_pretrained(folder), PINNED_ROW)


def assert_agree(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


def assert_as_it_was(found, folder):
    """The answers were written on another processor, whose sums may differ by the tolerance."""
    assert_agree(found, load_file(folder / "answers.safetensors"), tolerance=1e-4)


@pytest.mark.parametrize("name", ["classifier", *PINNED_CLASSES])
@pytest.mark.parametrize("route", ROUTES)
def test_a_folder_that_was_saved_once_answers_as_it_did(route, name, folders):
    assert_as_it_was(answers_on_route(route, name, folders[name]), folders[name])


@pytest.mark.training
@pytest.mark.parametrize("name", ["classifier", *PINNED_CLASSES])
def test_a_folder_that_was_saved_once_answers_as_it_did_by_its_own_code(name, folders, answers_by_own_code):
    assert_as_it_was(answers_by_own_code[name], folders[name])


@pytest.mark.training
@pytest.mark.parametrize("name", ["classifier", *PINNED_CLASSES])
@pytest.mark.parametrize("route", ROUTES)
def test_code_of_now_and_code_of_then_say_the_same_of_a_folder(route, name, folders, answers_by_own_code):
    assert_agree(answers_on_route(route, name, folders[name]), answers_by_own_code[name], tolerance=1e-6)
