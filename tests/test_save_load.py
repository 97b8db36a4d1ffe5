# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Saved anywhere: a folder gives back bit-equal answers by class, by Auto class, and to people without the package.

A classifier and its processor are saved to one folder, with their code. `remote_steps.py` then uses that folder, and
the same one pushed to a Hub on localhost, in processes that cannot import the package, and writes down what it got;
the tests here compare it with what the classes give directly. The other heads are saved to a folder each and used
likewise.
"""

import ast
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers
from helpers import ARCHITECTURES, MODALITIES, build, make_inputs, tiny_config, without
from hub_server import Repository
from PIL import Image
from remote_steps import (
    CANDIDATES,
    GAP,
    HEAD_PIPELINES,
    PIPELINES,
    PROCESSOR_CLASSES,
    RATE,
    READERS,
    SENTENCE,
    WORDS,
    answers,
    raw_rows,
    run_pipeline,
    run_step,
)
from safetensors.torch import load_file, save_file
from transformers import BertTokenizer

from mixture_of_transformers import (
    MoTConfig,
    MoTForAudioClassification,
    MoTForImageClassification,
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTModel,
    MoTProcessor,
)

REPOSITORY = Path(__file__).resolve().parent.parent
HUB_NAME = "user/tiny-mot"
AUTO_MAP = {
    "AutoConfig": "configuration_mot.MoTConfig",
    "AutoModel": "modeling_mot.MoTModel",
    "AutoModelForSequenceClassification": "head_classification_mot.MoTForSequenceClassification",
    "AutoModelForImageClassification": "head_classification_mot.MoTForImageClassification",
    "AutoModelForAudioClassification": "head_classification_mot.MoTForAudioClassification",
    "AutoModelForZeroShotImageClassification": "head_retrieval_mot.MoTForRetrieval",
    "AutoModelForPreTraining": "head_pretraining_mot.MoTForPreTraining",
    "AutoModelForMaskedLM": "head_masked_lm_mot.MoTForMaskedLM",
}
CLASSES = {
    "AutoModel": MoTModel,
    "AutoModelForSequenceClassification": MoTForSequenceClassification,
    "AutoModelForImageClassification": MoTForImageClassification,
    "AutoModelForAudioClassification": MoTForAudioClassification,
    "AutoModelForZeroShotImageClassification": MoTForRetrieval,
    "AutoModelForPreTraining": MoTForPreTraining,
    "AutoModelForMaskedLM": MoTForMaskedLM,
}
CLASSIFIERS = (MoTForSequenceClassification, MoTForImageClassification, MoTForAudioClassification)
OTHER_HEADS = (MoTForRetrieval, MoTForPreTraining, MoTForMaskedLM)
LABELS = ("no", "maybe", "yes")
INFERENCE_PACKAGES = {"torch", "transformers", "numpy", "PIL", "huggingface_hub"}
WEIGHT_ENDINGS = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".npz")
CLASSIFIER = {"classifier.weight", "classifier.bias"}

every_class = pytest.mark.parametrize("auto_class", CLASSES)
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


# A model, its inputs and its folder


def other_head(head_class, **overrides):
    """A model whose words are those of `make_processor`."""
    towers = {"text_config": {"vocab_size": 5 + len(WORDS), "max_position_embeddings": 16}}
    return build(head_class, tiny_config(audio_config={"max_frames": 100}, **towers, **overrides))


def classifier(architecture="uneven_towers", seed=0, **overrides):
    overrides = {"audio_config": {"max_frames": 100}} | overrides
    config = tiny_config(
        architecture,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
        **overrides,
    )
    return build(MoTForSequenceClassification, config, seed=seed)


def make_processor(config):
    """As small as the model, with the default kinds of image processor and feature extractor."""
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)
    side = {"height": config.image_config.image_size, "width": config.image_config.image_size}
    default = MoTProcessor()
    return MoTProcessor(
        image_processor=type(default.image_processor)(size=side, do_convert_rgb=True),
        feature_extractor=type(default.feature_extractor)(feature_size=config.audio_config.num_mel_bins),
        tokenizer=BertTokenizer(
            vocab={word: i for i, word in enumerate(words)},
            model_max_length=config.text_config.max_position_embeddings,
            model_input_names=["input_ids", "attention_mask"],
        ),
    )


def assert_same(left, right):
    """Bit for bit, and of the same names and types."""
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert value.dtype == right[name].dtype, name
        assert torch.equal(value, right[name]), f"{name} differs by {(value - right[name]).abs().max()}"


def assert_same_weights(left, right):
    assert_same(left.state_dict(), right.state_dict())


def own_parameters(model):
    """The names of the weights of a head, without those of the model that it stands on."""
    return {name for name in model.state_dict() if not name.startswith("mot.")} if hasattr(model, "mot") else set()


def expected_answers(model, auto_class, inputs):
    """What a class loaded from the folder of `model`, a classifier, says; a head that it lacks has nothing to say."""
    return answers(model if CLASSES[auto_class] in CLASSIFIERS else model.mot, inputs)


@pytest.fixture(scope="module")
def model():
    return classifier()


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
def heads(tmp_path_factory):
    """A folder with a folder for each of the other heads, and the models by the names of their classes."""
    folder = tmp_path_factory.mktemp("heads")
    models = {head_class.__name__: other_head(head_class) for head_class in OTHER_HEADS}
    for name, model in models.items():
        model.save_pretrained(folder / name)
        make_processor(model.config).save_pretrained(folder / name)
    return folder, models


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a picture, a sound and tensors, as `remote_steps.use` expects them."""
    work, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(work / "picture.png")
    waveform = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)).astype(np.float32)
    soundfile.write(work / "sound.wav", waveform, RATE, subtype="FLOAT")
    np.save(work / "waveform.npy", waveform)
    save_file(make_inputs(MODALITIES), work / "inputs.safetensors")
    return work


# By class and by Auto class


@pytest.mark.parametrize("features", [False, True], ids=["raw", "features"])
@every_architecture
def test_saved_and_loaded_by_class_is_bit_equal(architecture, features, tmp_path):
    """With learned positions, whose special initial values must not come back instead of the saved ones."""
    learned = {"position_embedding_type": "learned", "use_cls_token": True}
    model = classifier(architecture, features=features, every_tower=learned)
    model.save_pretrained(tmp_path)
    loaded, info = MoTForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert_same_weights(loaded, model)
    inputs = make_inputs(MODALITIES, features=features)
    assert_same(answers(loaded, inputs), answers(model, inputs))


@every_class
def test_saved_and_loaded_by_auto_class_is_bit_equal(auto_class, tmp_path):
    model = build(CLASSES[auto_class], tiny_config("uneven_towers"))
    model.save_pretrained(tmp_path)
    loaded, info = getattr(transformers, auto_class).from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is CLASSES[auto_class] and not any(info.values()), info
    assert_same_weights(loaded, model)
    inputs = make_inputs(MODALITIES)
    assert_same(answers(loaded, inputs), answers(model, inputs))


@pytest.mark.parametrize("saved_class", CLASSES.values(), ids=lambda c: c.__name__)
def test_auto_model_means_the_base_model_except_for_retrieval(saved_class, tmp_path):
    model = build(saved_class, tiny_config())
    model.save_pretrained(tmp_path)
    loaded = transformers.AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is (MoTForRetrieval if saved_class is MoTForRetrieval else MoTModel)
    assert_same_weights(loaded, model if type(loaded) is saved_class else model.mot)


def test_auto_config_gives_an_equal_config(model, folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    assert type(config) is MoTConfig
    assert config.to_diff_dict() == model.config.to_diff_dict()
    assert config.id2label == dict(enumerate(LABELS))


@pytest.mark.parametrize("name", PROCESSOR_CLASSES)
def test_processor_and_its_parts_load_by_auto_class(processor, folder, name):
    parts = {"AutoProcessor": processor, "AutoTokenizer": processor.tokenizer}
    parts |= {"AutoImageProcessor": processor.image_processor, "AutoFeatureExtractor": processor.feature_extractor}
    assert type(getattr(transformers, name).from_pretrained(folder)) is type(parts[name])


def test_loaded_processor_gives_equal_tensors(processor, folder, files):
    loaded = transformers.AutoProcessor.from_pretrained(folder)
    for arguments in raw_rows(files).values():
        assert_same(dict(loaded(**arguments)), dict(processor(**arguments)))


@pytest.mark.parametrize("removed", MODALITIES)
def test_model_without_a_modality_is_bit_equal(removed, tmp_path):
    model = classifier(**{f"{removed}_config": None})
    model.save_pretrained(tmp_path)
    inputs = without(make_inputs(MODALITIES), removed)
    for auto_class in ("AutoModel", *(name for name, head in CLASSES.items() if head in CLASSIFIERS)):
        loaded, info = getattr(transformers, auto_class).from_pretrained(tmp_path, output_loading_info=True)
        assert type(loaded) is CLASSES[auto_class] and loaded.config.modality_config(removed) is None
        assert not info["missing_keys"] and not any(removed in name for name in loaded.state_dict())
        assert_same(answers(loaded, inputs), expected_answers(model, auto_class, inputs))


@pytest.mark.parametrize(
    "removed, head_class",
    [(m, head) for m in MODALITIES for head in OTHER_HEADS if (m, head) != ("text", MoTForMaskedLM)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_other_head_without_a_modality_is_bit_equal(removed, head_class, tmp_path):
    model = build(head_class, tiny_config(**{f"{removed}_config": None}))
    model.save_pretrained(tmp_path)
    loaded, info = head_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert not any(removed in name for name in loaded.state_dict())
    inputs = without(make_inputs(MODALITIES), removed)
    assert_same(answers(loaded, inputs), answers(model, inputs))


# The base model and the heads read each other's folders


def test_base_model_takes_all_its_weights_from_a_heads_folder(model, folder):
    base, info = MoTModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    assert info["unexpected_keys"] == CLASSIFIER
    assert_same_weights(base, model.mot)


@pytest.mark.parametrize("head_class", CLASSIFIERS, ids=lambda c: c.__name__)
def test_head_takes_all_but_the_classifier_from_a_base_models_folder(model, head_class, tmp_path):
    model.mot.save_pretrained(tmp_path)
    head, info = head_class.from_pretrained(tmp_path, num_labels=5, output_loading_info=True)
    assert info["missing_keys"] == CLASSIFIER and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert_same_weights(head.mot, model.mot)
    assert head.classifier.weight.shape[0] == 5


@pytest.mark.parametrize("head_class", CLASSIFIERS, ids=lambda c: c.__name__)
def test_every_classifier_reads_every_classifiers_folder(model, folder, head_class, tmp_path):
    head = head_class.from_pretrained(folder)
    head.save_pretrained(tmp_path)
    loaded, info = MoTForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert_same_weights(loaded, model)


@pytest.mark.parametrize("saved_class", [MoTModel, CLASSIFIERS[0], *OTHER_HEADS], ids=lambda c: c.__name__)
def test_every_class_reads_every_folder_and_lacks_only_its_own_head(saved_class, tmp_path):
    saved = build(saved_class, tiny_config())
    saved.save_pretrained(tmp_path)
    given, body = own_parameters(saved), getattr(saved, "mot", saved)
    for loaded_class in CLASSES.values():
        loaded, info = loaded_class.from_pretrained(tmp_path, output_loading_info=True)
        own = own_parameters(loaded)
        assert info["missing_keys"] == own - given and info["unexpected_keys"] == given - own
        assert not info["mismatched_keys"]
        assert_same_weights(getattr(loaded, "mot", loaded), body)
        shared = {name: (loaded.state_dict()[name], saved.state_dict()[name]) for name in own & given}
        assert all(torch.equal(*weights) for weights in shared.values()), loaded_class


# What lies in the folder


def relative_imports(path):
    """The siblings that a module imports, as file names."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {f"{node.module}.py" for node in nodes if node.level}


def code_for_inference():
    """modeling, processing, the pipeline and all that they import, directly or not."""
    found, waiting = set(), {"modeling_mot.py", "processing_mot.py", "pipeline_mot.py"}
    while waiting:
        found |= waiting
        waiting = {name for file in waiting for name in relative_imports(REPOSITORY / file)} - found
    return found


def imports_outside_try(node):
    """(level, module) of the imports below `node` that the library insists on when it loads the code."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((0, alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child.level, child.module
        elif not isinstance(child, ast.Try):
            yield from imports_outside_try(child)


def test_folder_holds_safetensors_the_code_for_inference_and_nothing_else(folder):
    names = {path.name for path in folder.iterdir()}
    assert not [name for name in names if name.endswith(WEIGHT_ENDINGS)]
    code = {name for name in names if name.endswith(".py")}
    assert code == code_for_inference()
    assert not [name for name in code if name.startswith(("training", "data", "run_", "retrieval", "app", "__"))]
    texts = {"config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert names - code == texts | {"model.safetensors"}


def test_saved_code_is_the_code_of_the_repository(folder):
    for path in folder.glob("*.py"):
        assert path.read_bytes() == (REPOSITORY / path.name).read_bytes()


@pytest.mark.parametrize("saved_class", CLASSES.values(), ids=lambda c: c.__name__)
def test_auto_map_names_every_class_whichever_was_saved(saved_class, tmp_path):
    saved_class._from_config(tiny_config()).save_pretrained(tmp_path)
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    is_retrieval = saved_class is MoTForRetrieval
    auto_model = {"AutoModel": "head_retrieval_mot.MoTForRetrieval"} if is_retrieval else {}
    assert auto_map.items() >= (AUTO_MAP | auto_model).items()
    for reference in auto_map.values():
        module, name = reference.split(".")
        body = ast.parse((tmp_path / f"{module}.py").read_text()).body
        assert name in [node.name for node in body if isinstance(node, ast.ClassDef)]


def test_auto_map_of_the_processor_names_its_class(folder):
    config = json.loads((folder / "processor_config.json").read_text())
    assert config["auto_map"]["AutoProcessor"] == "processing_mot.MoTProcessor"


def test_saved_code_needs_only_the_packages_of_inference(folder):
    allowed = INFERENCE_PACKAGES | set(sys.stdlib_module_names)
    for path in folder.glob("*.py"):
        for level, module in imports_outside_try(ast.parse(path.read_text())):
            if level == 0:
                assert module.partition(".")[0] in allowed, f"{path.name} imports {module}"
            else:  # the library copies siblings that are named as `from .sibling import ...`
                assert level == 1 and (folder / f"{module}.py").exists(), f"{path.name}: {'.' * level}{module}"


# By people who do not have the package: from the folder, and from the Hub


@pytest.fixture(scope="module", params=["folder", "hub"])
def remote(request, folder, files, tmp_path_factory):
    """What `remote_steps.use` got: (tensors, report, the folder where it worked)."""
    homes, work = tmp_path_factory.mktemp("homes"), tmp_path_factory.mktemp("work")
    shutil.copytree(files, work, dirs_exist_ok=True)
    if request.param == "folder":
        run_step("use", folder, work, home=homes / "user", HF_HUB_OFFLINE="1")
    else:
        environment = request.getfixturevalue("hub")
        run_step("push", folder, HUB_NAME, home=homes / "owner", **environment)
        run_step("use", HUB_NAME, work, home=homes / "user", **environment)
    return load_file(work / "results.safetensors"), json.loads((work / "results.json").read_text()), work


def part(tensors, prefix):
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


@every_class
def test_without_mot_every_class_is_bit_equal(remote, model, auto_class):
    tensors, report, _ = remote
    assert_same(part(tensors, auto_class), expected_answers(model, auto_class, make_inputs(MODALITIES)))
    assert report["modules"][auto_class].startswith("transformers_modules.")
    assert report["modules"][auto_class].endswith(f".{AUTO_MAP[auto_class]}")


def test_without_mot_no_weight_is_left_to_chance_but_those_of_a_head_that_was_not_saved(remote, model):
    _, report, _ = remote
    assert report["keys"].keys() == CLASSES.keys()
    for auto_class, keys in report["keys"].items():
        own = own_parameters(CLASSES[auto_class](model.config))
        assert set(keys.pop("missing_keys")) == own - CLASSIFIER
        assert set(keys.pop("unexpected_keys")) == CLASSIFIER - own
        assert not any(keys.values()), (auto_class, keys)


def test_without_mot_the_code_came_from_the_folder(remote):
    _, report, _ = remote
    here = [Path(file) for file in report["files"] if Path(file).parent == REPOSITORY]
    assert here == []


def test_without_mot_the_processor_and_its_parts_load(remote, processor):
    _, report, _ = remote
    parts = (processor, processor.tokenizer, processor.image_processor, processor.feature_extractor)
    expected = {name: type(part).__name__ for name, part in zip(PROCESSOR_CLASSES, parts)}
    assert report["processors"] == expected


@pytest.mark.parametrize("modality", [*MODALITIES, "all"])
def test_without_mot_a_sentence_a_png_and_a_wav_are_classified(remote, model, processor, files, modality):
    tensors, _, _ = remote
    expected = answers(model, processor(**raw_rows(files)[modality]))
    assert_same(part(tensors, f"files.{modality}"), expected)


def test_without_mot_a_folder_saved_again_is_as_good(remote, model, processor, files, folder):
    tensors, _, work = remote
    expected = answers(model, processor(**raw_rows(files)["all"]))
    assert_same(part(tensors, "resaved"), expected)
    assert {path.name for path in (work / "resaved").iterdir()} == {path.name for path in folder.iterdir()}
    for name in ("config.json", "processor_config.json"):
        text, original = ((place / name).read_text() for place in (work / "resaved", folder))
        assert json.loads(text)["auto_map"] == json.loads(original)["auto_map"]
        assert HUB_NAME not in text  # else the folder would need the place where it came from
    assert_same_weights(MoTForSequenceClassification.from_pretrained(work / "resaved"), model)


@pytest.mark.training
def test_what_was_loaded_from_a_folder_that_has_gone_is_saved_with_the_code_in_memory(
    folder, hub, hub_server, tmp_path
):
    """Neither from where the folder was nor from a stranger's repository that is called like it."""
    shutil.copytree(folder, tmp_path / "outputs" / "mine")
    stranger = hub_server.repositories["model", "outputs/mine"] = Repository(private=False)
    stranger.commit("main", {path.name: (b"raise SystemExit", False) for path in folder.glob("*.py")})
    run_step("move", tmp_path, home=tmp_path / "home", **hub)
    assert not [path for path in hub_server.asked if "outputs/mine" in path]
    code = {path.name: path.read_bytes() for path in folder.glob("*.py")}
    for kind in ("model", "pipeline", "config"):
        assert {path.name: path.read_bytes() for path in (tmp_path / "saved" / kind).glob("*.py")} == code
    assert "custom_pipelines" in json.loads((tmp_path / "saved" / "model" / "config.json").read_text())
    assert {path.name for path in (tmp_path / "saved" / "pipeline").iterdir()} == {
        path.name for path in folder.iterdir()
    }


@pytest.mark.training
def test_two_folders_of_one_name_are_two_models(folder, model, processor, tmp_path):
    """The library keeps remote code by the name of its folder."""
    shutil.copytree(folder, tmp_path / "a" / "model")
    shutil.copytree(folder, tmp_path / "b" / "model")
    other = classifier(seed=1)
    other.save_pretrained(tmp_path / "b" / "model")
    replace(tmp_path / "b/model/heads_mot.py", "def auto_map", "MARK = 1\n\n\ndef auto_map")
    replace(tmp_path / "b/model/head_classification_mot.py", "return logits if", "return 10 + logits if")
    replace(tmp_path / "b/model/pipeline_mot.py", '"score": scores[i].item()', '"score": -scores[i].item()')
    run_step("twins", tmp_path, home=tmp_path / "home", HF_HUB_OFFLINE="1")
    found, inputs = json.loads((tmp_path / "found.json").read_text()), processor(text=SENTENCE)
    for name, expected in {"a": answers(model, inputs)["logits"], "b": 10 + answers(other, inputs)["logits"]}.items():
        torch.testing.assert_close(torch.tensor(found[name]["logits"]), expected)
        scores = sorted(answer["score"] for answer in found[name]["says"])
        sign = 1 if name == "a" else -1
        assert scores == pytest.approx(sorted((sign * expected.softmax(-1)[0]).tolist()), abs=1e-5)


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_in_a_pipeline_a_head_that_the_folder_lacks_is_an_error(folder, heads):
    """Elsewhere it is a new one, that training begins with."""
    for source, tasks in {
        folder: ("zero-shot-image-classification", "zero-shot-audio-classification", "fill-mask"),
        heads[0] / "MoTForPreTraining": ("text-classification", "image-classification", "multimodal-classification"),
        heads[0] / "MoTForMaskedLM": ("zero-shot-image-classification", "audio-classification"),
    }.items():
        for task in tasks:
            with pytest.raises(ValueError, match=f"cannot answer '{task}', for which it lacks"):
                transformers.pipeline(task, str(source))
        model, info = MoTForRetrieval.from_pretrained(source, output_loading_info=True)
        assert info["missing_keys"] == own_parameters(model) - set(load_file(source / "model.safetensors"))


def expected_pipelines(model, processor, files):
    """What the five pipelines should say, from the model itself."""
    rows = raw_rows(files)
    inputs = {modality: processor(**rows[modality]) for modality in MODALITIES}
    scores = {}
    for modality in MODALITIES:
        probabilities = answers(model, inputs[modality])["logits"][0].softmax(-1).tolist()
        scores[modality] = dict(zip(LABELS, probabilities))
    text, image = (answers(model.mot, inputs[modality]) for modality in ("text", "image"))
    return {
        "text-classification": scores["text"],
        "image-classification": scores["image"],
        "audio-classification": scores["audio"],
        "audio-classification of a dict": scores["audio"],
        "feature-extraction": text["last_hidden_state"].tolist(),
        "image-feature-extraction": image["last_hidden_state"].tolist(),
        "image-feature-extraction, pooled": image["pooler_output"].tolist(),
    }


def assert_same_answer(found, expected):
    if isinstance(expected, dict):
        assert found == pytest.approx(expected, abs=1e-6), found.get("error")
    else:
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PIPELINES)
def test_without_mot_five_pipelines_work_on_the_one_source(remote, model, processor, files, name):
    _, report, _ = remote
    assert_same_answer(report["pipelines"][name], expected_pipelines(model, processor, files)[name])


@pytest.mark.parametrize("name", PIPELINES)
def test_with_mot_five_pipelines_need_no_trust_in_remote_code(model, processor, folder, files, name):
    assert_same_answer(run_pipeline(name, folder, files), expected_pipelines(model, processor, files)[name])


# The other heads, each from its own folder


@pytest.fixture(scope="module")
def remote_heads(heads, files, tmp_path_factory):
    """What `remote_steps.heads` got: (tensors, report)."""
    work = tmp_path_factory.mktemp("work")
    shutil.copytree(files, work, dirs_exist_ok=True)
    save_file(head_inputs(), work / "inputs.safetensors")
    run_step("heads", heads[0], work, home=tmp_path_factory.mktemp("homes") / "user", HF_HUB_OFFLINE="1")
    return load_file(work / "results.safetensors"), json.loads((work / "results.json").read_text())


def head_inputs():
    """With words that these heads know."""
    inputs = make_inputs(MODALITIES)
    return inputs | {"input_ids": inputs["input_ids"] % (5 + len(WORDS))}


@pytest.mark.training
@pytest.mark.parametrize("saved, auto_class", [(s, name) for s, names in READERS.items() for name in names])
def test_without_mot_other_heads_are_bit_equal(remote_heads, heads, saved, auto_class):
    (tensors, report), model, key = remote_heads, heads[1][saved], f"{saved} {auto_class}"
    loaded = CLASSES[auto_class] if auto_class != "AutoModel" else MoTForRetrieval
    assert report["modules"][key].startswith("transformers_modules.")
    assert report["modules"][key].endswith(f".{loaded.__module__.rpartition('.')[2]}.{loaded.__name__}")
    assert report["missing"][key] == []
    expected = answers(model, head_inputs())
    if loaded is not type(model):  # words alone, by the head that pretraining trained
        expected = {"logits": expected["text_predictions"]}
    assert_same(part(tensors, key), expected)


def expected_choice(model, processor, files, task):
    """What the pipelines of the other heads should say, from the model itself."""
    if task == "fill-mask":
        inputs = processor(text=[GAP])
        place = (inputs["input_ids"][0] == processor.tokenizer.mask_token_id).nonzero().item()
        found = answers(model, inputs)
        scores = found.get("logits", found.get("text_predictions"))[0, place].softmax(-1)
        best = scores.topk(len(WORDS))
        return {processor.tokenizer.decode([i]): p for i, p in zip(best.indices.tolist(), best.values.tolist())}
    modality = task.split("-")[2]
    rows = raw_rows(files)[modality]
    texts, other = processor(text=CANDIDATES), processor(**rows)
    similarities = answers(model, {**texts, **other})[f"logits_per_{modality}"]
    return dict(zip(CANDIDATES, similarities[0].softmax(-1).tolist()))


every_choice = pytest.mark.parametrize(
    "saved, task", [(saved, task) for saved, questions in HEAD_PIPELINES.items() for task in questions]
)


@pytest.mark.training
@every_choice
def test_without_mot_the_pipelines_of_other_heads_work(remote_heads, heads, files, saved, task):
    model = heads[1][saved]
    expected = expected_choice(model, make_processor(model.config), files, task)
    assert_same_answer(remote_heads[1]["pipelines"][saved][task], expected)


@every_choice
def test_with_mot_the_pipelines_of_other_heads_need_no_trust_in_remote_code(heads, files, saved, task):
    model = heads[1][saved]
    expected = expected_choice(model, make_processor(model.config), files, task)
    assert_same_answer(run_pipeline(task, heads[0] / saved, files, HEAD_PIPELINES[saved]), expected)


# Types, shards and broken files


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_other_floats_survive_the_round_trip(dtype, tmp_path):
    model = classifier().to(dtype)
    model.save_pretrained(tmp_path)
    loaded = MoTForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.dtype == dtype
    assert_same_weights(loaded, model)
    inputs = make_inputs(MODALITIES)
    assert_same(answers(loaded, inputs), answers(model, inputs))


def test_loading_as_bfloat16_rounds_the_saved_weights(folder):
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.bfloat16)
    assert_same_weights(loaded, classifier().bfloat16())


@pytest.fixture
def sharded(model, tmp_path):
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    return tmp_path


def test_sharded_folder_is_bit_equal(model, sharded):
    assert len(list(sharded.glob("model-*.safetensors"))) > 2
    assert not (sharded / "model.safetensors").exists()
    for auto_class, loaded_class in CLASSES.items():
        loaded, info = getattr(transformers, auto_class).from_pretrained(sharded, output_loading_info=True)
        assert type(loaded) is loaded_class
        assert info["missing_keys"] == own_parameters(loaded) - CLASSIFIER
        assert_same_weights(getattr(loaded, "mot", loaded), model.mot)
        if loaded_class in CLASSIFIERS:
            assert_same_weights(loaded, model)


def test_missing_shard_is_named(sharded):
    shard = sorted(sharded.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(OSError, match=shard.name):
        MoTForSequenceClassification.from_pretrained(sharded)


@pytest.mark.parametrize("kept", [0.5, 0.001, 0.0], ids=["half", "part of the header", "nothing"])
@pytest.mark.parametrize("load", [MoTForSequenceClassification, MoTModel, transformers.AutoModel])
def test_truncated_weights_are_an_error(folder, tmp_path, load, kept):
    """Never random weights in place of those that are lost."""
    broken = shutil.copytree(folder, tmp_path / "broken")
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: int(len(weights) * kept)])
    with pytest.raises(ValueError, match="Error while deserializing header.*model.safetensors is damaged") as caught:
        load.from_pretrained(broken)
    assert str(broken) in str(caught.value)


def test_missing_weights_are_an_error(folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    with pytest.raises(OSError, match="model.safetensors"):
        MoTForSequenceClassification.from_pretrained(broken)


# Adapters


@pytest.mark.parametrize("task_type", [None, "SEQ_CLS"])
def test_lora_trains_saves_and_reloads(folder, tmp_path, task_type):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=2, task_type=task_type)
    model = peft.get_peft_model(MoTForSequenceClassification.from_pretrained(folder), config).train()
    inputs = make_inputs(MODALITIES)
    before = answers(model.eval(), inputs)["logits"]
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert any("experts.audio" in name for name in trained) and any("global_layers" in name for name in trained)
    optimizer = torch.optim.SGD(trained.values(), lr=0.5)
    for _ in range(2):  # one half of a fresh adapter is zero, and so is the gradient of the other
        model.train()(**inputs, labels=torch.arange(len(before)) % len(LABELS)).loss.backward()
        assert all(parameter.grad is not None for parameter in trained.values())
        optimizer.step()
        optimizer.zero_grad()
    after = answers(model.eval(), inputs)["logits"]
    assert not torch.equal(before, after)

    model.save_pretrained(tmp_path)
    reloaded = peft.PeftModel.from_pretrained(MoTForSequenceClassification.from_pretrained(folder), tmp_path)
    assert torch.equal(answers(reloaded.eval(), inputs)["logits"], after)
    merged = answers(reloaded.merge_and_unload(), inputs)["logits"]
    assert (merged - after).abs().max() < 1e-4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("head_class", [MoTForSequenceClassification, MoTForRetrieval])
def test_weights_that_are_no_tensors_are_refused_before_anything_is_written(head_class, tmp_path):
    model = build(head_class, tiny_config())
    packed = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
    with pytest.raises(ValueError, match="is no tensor but a .*, which cannot be saved: nothing was written"):
        packed.save_pretrained(tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
    packed.save_pretrained(tmp_path / "given", state_dict=model.state_dict())
    assert head_class.from_pretrained(tmp_path / "given")
