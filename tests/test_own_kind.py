# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A kind of a user's own, in a file of his own, is registered, trained, saved, and loaded where neither the package
nor his file exists."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from remote_steps import run_without_package
from safetensors.torch import load_file, save_file

from mixture_of_transformers import MoTConfig, MoTForPreTraining, MoTForSequenceClassification
from mixture_of_transformers.carrying_mot import carry
from mixture_of_transformers.modalities_mot import KINDS, register
from mixture_of_transformers.modality_mot import Modality, MoTModalityConfig

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "modality_sonar.py"
# What somebody does who has the folder alone; `work` is where the inputs lie and the answers go.
STRANGER = """
import pathlib, torch, transformers
from safetensors.torch import load_file, save_file
folder, work = map(pathlib.Path, sys.argv[1:3])
inputs = load_file(work / "inputs.safetensors")
found = {}
for name, source in (("loaded", folder), ("again", work / "again")):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(source, trust_remote_code=True).eval()
    assert type(model).__module__.startswith("transformers_modules."), type(model)
    with torch.no_grad():
        found[name] = model(**inputs).logits.contiguous()
    model.save_pretrained(work / "again")
save_file(found, work / "answers.safetensors")
"""


@pytest.fixture(scope="module")
def sonar(tmp_path_factory):
    """The user's module, imported from a folder that is gone afterwards but for its file's text in memory."""
    folder = tmp_path_factory.mktemp("user")
    file = folder / "modality_sonar.py"
    file.write_text((EXAMPLE).read_text())
    spec = importlib.util.spec_from_file_location("modality_sonar", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["modality_sonar"] = module
    spec.loader.exec_module(module)
    register(module.SonarModality)
    yield module
    del KINDS["sonar"], sys.modules["modality_sonar"]


def small_config():
    return MoTConfig(
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=3,
        text_config={"vocab_size": 20, "num_hidden_layers": 1},
        image_config=None,
        audio_config=None,
        front_config={"model_type": "sonar", "num_hidden_layers": 1},
    )


def small_inputs():
    torch.manual_seed(0)
    return {
        "input_ids": torch.randint(1, 20, (3, 5)),
        "front_values": torch.rand(3, 24),
        "front_mask": torch.tensor([1, 0, 1]),
    }


def test_an_unknown_kind_is_named_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"`front_config` .*one of mot_text, mot_image, mot_audio"):
        small_config()


def test_a_kind_of_a_users_own_trains_under_any_name_in_every_head(sonar):
    inputs = small_inputs()
    classifier = MoTForSequenceClassification(small_config()).train()
    classifier(**inputs, labels=torch.tensor([0, 1, 2])).loss.backward()
    pretraining = MoTForPreTraining(small_config()).train()
    output = pretraining(**inputs)
    assert output.losses["front"] > 0
    output.loss.backward()
    assert all(p.grad is not None for model in (classifier, pretraining) for p in model.parameters())


def test_it_loads_where_neither_the_package_nor_the_users_file_exists(sonar, tmp_path):
    model = MoTForSequenceClassification(small_config()).eval()
    model.save_pretrained(tmp_path / "saved")
    inputs = small_inputs()
    save_file(inputs, tmp_path / "inputs.safetensors")
    with torch.no_grad():
        expected = model(**inputs).logits
    run_without_package(STRANGER, tmp_path / "saved", tmp_path, folder=tmp_path)
    found = load_file(tmp_path / "answers.safetensors")
    for name in ("loaded", "again"):
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-6)


def test_a_folder_that_is_carried_to_twice_registers_the_kind_once(sonar, tmp_path):
    MoTForSequenceClassification(small_config()).save_pretrained(tmp_path)
    once = (tmp_path / "modalities_mot.py").read_text()
    carry(tmp_path)
    assert (tmp_path / "modalities_mot.py").read_text() == once
    assert once.count("register(SonarModality)") == 1


def test_a_file_that_imports_what_no_checkpoint_brings_along_is_named(sonar, tmp_path, monkeypatch):
    file = Path(sonar.__file__)
    text = file.read_text()
    file.write_text(f"import pandas\n{text}")
    with pytest.raises(ValueError, match=r"modality_sonar\.py imports pandas"):
        MoTForSequenceClassification(small_config()).save_pretrained(tmp_path)
    file.write_text(text)


def test_what_is_no_kind_or_has_the_name_of_another_is_refused(sonar):
    class Other(Modality):
        config_class = sonar.SonarConfig

    class Nameless(Modality):
        config_class = MoTModalityConfig

    for wrong in (Other, Nameless, Modality, "sonar"):
        with pytest.raises(ValueError, match="register|model_type"):
            register(wrong)


def test_the_page_shows_the_file():
    page = (HERE.parent / "docs" / "own_kind.md").read_text()
    shown = page.split("```py\n")[1].split("```")[0]
    assert EXAMPLE.read_text().endswith(shown)
