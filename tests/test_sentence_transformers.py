# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A saved retrieval model is one of sentence-transformers, too: every modality and combination gives its embedding.

`remote_steps.py` loads the folder with `SentenceTransformer`, in a process that cannot import the package, encodes the
rows of its `examples`, saves the model as sentence-transformers does, and encodes them again.
"""

import importlib.util
import json
from itertools import combinations

import pytest
import torch
from helpers import FEATURE_SIZES, MODALITIES, build, tiny_config
from open_rows import make_model
from remote_steps import WORDS, examples, run_step
from safetensors.torch import load_file
from test_save_load import make_processor

from mixture_of_transformers import MoTForRetrieval, MoTForSequenceClassification
from mixture_of_transformers.training.metrics import retrieval_metrics

FILES = ("modules.json", "sentence_bert_config.json")
COMBINATIONS = ["+".join(names) for size in (1, 2, 3) for names in combinations(sorted(MODALITIES), size)]
ARGUMENTS = {"text": "text", "image": "images", "audio": "audio"}

pytestmark = pytest.mark.training
every_combination = pytest.mark.parametrize("combination", COMBINATIONS)


# What lies in the folder


def methods(folder):
    config = json.loads((folder / "sentence_bert_config.json").read_text())
    return {names: entry["method"] for names, entry in config["modality_config"].items()}


@pytest.mark.parametrize("removed", MODALITIES)
@pytest.mark.parametrize("how", ["removed", "ready features"])
def test_folder_names_the_modalities_that_are_raw_and_their_combination(how, removed, tmp_path):
    change = None if how == "removed" else {"feature_size": FEATURE_SIZES[removed]}
    MoTForRetrieval(tiny_config(**{f"{removed}_config": change})).save_pretrained(tmp_path)
    first, second = sorted(set(MODALITIES) - {removed})
    assert methods(tmp_path) == {
        first: f"get_{first}_features",
        second: f"get_{second}_features",
        f"{first}+{second}": "get_fused_features",
    }


@pytest.mark.parametrize(
    "model_class, features", [(MoTForRetrieval, True), (MoTForSequenceClassification, False)], ids=["ready", "other"]
)
def test_folder_without_such_embeddings_names_none(model_class, features, tmp_path):
    model_class(tiny_config(features=features)).save_pretrained(tmp_path)
    assert not [name for name in FILES if (tmp_path / name).exists()]


def test_a_folder_names_no_modality_of_a_user_whose_names_are_not_those_of_sentence_transformers(tmp_path):
    make_model(MoTForRetrieval).save_pretrained(tmp_path / "with")
    assert methods(tmp_path / "with") == {"text": "get_text_features"}
    make_model(MoTForRetrieval, text_config=None).save_pretrained(tmp_path / "alone")
    assert not [name for name in FILES if (tmp_path / "alone" / name).exists()]


# What sentence-transformers makes of it


@pytest.fixture(scope="module")
def model():
    text = {"vocab_size": 5 + len(WORDS), "max_position_embeddings": 16}
    return build(MoTForRetrieval, tiny_config("uneven_towers", text_config=text, audio_config={"max_frames": 100}))


@pytest.fixture(scope="module")
def processor(model):
    return make_processor(model.config)


@pytest.fixture(scope="module")
def folder(model, processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "tiny-mot"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def embedded(folder, tmp_path_factory):
    """What `remote_steps.embed` got: (tensors, report, the folder that sentence-transformers saved)."""
    if importlib.util.find_spec("sentence_transformers") is None:
        pytest.skip("sentence-transformers is not installed")
    work = tmp_path_factory.mktemp("work")
    # Importing sentence-transformers takes long.
    run_step("embed", folder, work, home=work / "home", timeout=500, HF_HUB_OFFLINE="1")
    return load_file(work / "results.safetensors"), json.loads((work / "results.json").read_text()), work / "resaved"


@pytest.fixture(scope="module")
def expected(model, processor):
    """The embeddings of `examples` by the model itself."""

    @torch.no_grad()
    def embed(combination, rows):
        names = combination.split("+")
        columns = {name: [row[name] for row in rows] if len(names) > 1 else rows for name in names}
        inputs = processor(**{ARGUMENTS[name]: values for name, values in columns.items()})
        method = getattr(model, f"get_{names[0]}_features") if len(names) == 1 else model.get_fused_features
        return method(**inputs).pooler_output

    return {combination: embed(combination, rows) for combination, rows in examples().items()}


@every_combination
@pytest.mark.parametrize("source", ["whole", "resaved"])
def test_embeddings_are_those_of_the_model(embedded, expected, model, source, combination):
    found = embedded[0][f"{source}.{combination}"]
    torch.testing.assert_close(found, expected[combination], atol=1e-5, rtol=0)
    assert found.std(dim=0).mean() > 1e-3  # rows differ, so that a mixed-up order would be noticed
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(len(found)))


def test_clips_of_different_lengths_in_a_batch_encode_as_alone(embedded):
    torch.testing.assert_close(embedded[0]["whole.audio"], embedded[0]["alone.audio"], atol=1e-5, rtol=0)


def test_code_came_from_the_folder_and_similarity_is_cosine(embedded):
    _, report, _ = embedded
    assert report["module"].startswith("transformers_modules.") and report["similarity"] == "cosine"


@pytest.mark.parametrize("name", FILES)
def test_files_are_those_that_sentence_transformers_writes(embedded, folder, name):
    assert json.loads((folder / name).read_text()) == json.loads((embedded[2] / name).read_text())


def test_recall_is_that_of_our_metrics(embedded):
    tensors, report, _ = embedded
    ours = retrieval_metrics(tensors["whole.text"], tensors["whole.image"])
    found = {f"recall_at_{k}": report["scores"][f"cosine_recall@{k}"] for k in (1, 5, 10)}
    assert found == pytest.approx({name: ours[name] for name in found})
    assert 0 < found["recall_at_5"] < found["recall_at_10"] < 1
