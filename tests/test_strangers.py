# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints from strangers are data: nothing of them is run, what they promise is checked, what they lack is
said."""

import json
import resource
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig
from word_retriever import make_model, make_processor

from mixture_of_transformers import MoTConfig, MoTForRetrieval, MoTForSequenceClassification, MoTModel
from mixture_of_transformers.modality_audio_mot import MoTAudioConfig
from mixture_of_transformers.modality_image_mot import MoTImageConfig
from mixture_of_transformers.modality_text_mot import MoTTextConfig
from mixture_of_transformers.pipeline_mot import MultimodalClassificationPipeline
from mixture_of_transformers.processing_mot import load_processor
from mixture_of_transformers.search.embedder import load
from mixture_of_transformers.training.continuation import check_adapter, load_model, read_config
from mixture_of_transformers.training.loading import load_checkpoint
from mixture_of_transformers.validation_mot import BOUNDS, MOST_UNNAMED_LABELS

CONFIGS = (MoTConfig, MoTTextConfig, MoTImageConfig, MoTAudioConfig)


@pytest.fixture
def checkpoint(tmp_path):
    make_model().save_pretrained(tmp_path / "checkpoint")
    make_processor().save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def changed(file, **fields):
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


# ---------------------------------------------------------------------------------------------------------------------
# Code
# ---------------------------------------------------------------------------------------------------------------------


def spoil(folder, mark):
    """Every file of code leaves a mark when it is run."""
    for file in folder.glob("*.py"):
        file.write_text(f"open({str(mark)!r}, 'w').close()\n" + file.read_text())


def test_no_code_of_a_checkpoint_is_run(checkpoint, tmp_path):
    mark = tmp_path / "mark"
    (checkpoint / "evil.py").write_text("class Evil:\n    pass\n")
    spoil(checkpoint, mark)
    names = ["AutoConfig", "AutoModel", "AutoProcessor", "AutoImageProcessor", "AutoFeatureExtractor"]
    auto_map = dict.fromkeys(names, "evil.Evil") | {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    for file in ("config.json", "processor_config.json", "tokenizer_config.json"):
        changed(checkpoint / file, auto_map=auto_map)
    model, processor = load(str(checkpoint))
    assert isinstance(model, MoTForRetrieval) and processor(text=["red"])["input_ids"].shape[0] == 1
    assert len(list(checkpoint.glob("*.py"))) > 10 and not mark.exists()


def test_trusting_a_checkpoint_is_what_lets_its_code_run(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder, mark = tmp_path / "unknown", tmp_path / "mark"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}))
    (folder / "evil.py").write_text("class Evil:\n    pass\n")
    spoil(folder, mark)
    with pytest.raises(ValueError, match="holds a model of type 'evil'"):
        load_checkpoint(folder, MoTForRetrieval)
    with pytest.raises(ValueError, match="trust_remote_code|Unrecognized processing class"):
        load_processor(folder)
    assert not mark.exists()
    with pytest.raises(AttributeError):  # the class there is no config
        load_checkpoint(folder, MoTForRetrieval, trust_remote_code=True)
    assert mark.exists()


@pytest.mark.parametrize("where", ["config", "text", "backbone"])
def test_a_config_names_no_code_of_the_hub(where):
    private = {"_attn_implementation": "evil/kernel"}
    backbone = {"backbone_config": {"model_type": "bert", "attn_implementation": "evil/kernel"}}
    fields = {"config": private, "text": {"text_config": private}, "backbone": {"text_config": backbone}}[where]
    with pytest.raises(ValueError, match="attn_implementation"):
        MoTConfig(**fields)


# ---------------------------------------------------------------------------------------------------------------------
# Weights
# ---------------------------------------------------------------------------------------------------------------------


def test_pickled_weights_are_not_read_and_the_error_says_what_to_do(checkpoint):
    torch.save(load_file(checkpoint / "model.safetensors"), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    for read in (
        lambda: load_checkpoint(checkpoint, MoTForRetrieval),
        lambda: MoTForRetrieval.from_pretrained(checkpoint),
    ):
        with pytest.raises(OSError, match="from safetensors alone.*save the model anew, or convert it"):
            read()


@pytest.mark.parametrize("part", ["mot.encoders.text.layers.0.mlp.fc1.weight", "contrastive.log_scale.text-image"])
@pytest.mark.parametrize("how", ["missing", "misshapen"])
def test_what_answers_has_all_of_its_weights(part, how, checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    weight = weights.pop(part)
    if how == "misshapen":
        weights[part] = torch.cat([weight, weight])
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"1 weights of .* do not fit its config .{part}"):
        load(str(checkpoint))


def test_a_checkpoint_of_another_task_is_not_searched_with(tmp_path):
    MoTForSequenceClassification(make_model().config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds MoTForSequenceClassification, which has no retrieval head"):
        load(str(tmp_path))


def test_an_adapter_is_read_from_safetensors_and_of_the_rank_of_its_weights(checkpoint, tmp_path):
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(MoTForRetrieval.from_pretrained(checkpoint), LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.config.save_pretrained(tmp_path / "adapter")
    assert isinstance(load_checkpoint(tmp_path / "adapter", MoTForRetrieval), MoTForRetrieval)
    changed(tmp_path / "adapter/adapter_config.json", r=10**9)
    with pytest.raises(ValueError, match="names a rank of 1000000000"):
        load_checkpoint(tmp_path / "adapter", MoTForRetrieval)
    weights = load_file(tmp_path / "adapter/adapter_model.safetensors")
    torch.save(weights, tmp_path / "adapter/adapter_model.bin")
    (tmp_path / "adapter/adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match="has no adapter_model.safetensors.*save it anew"):
        load_checkpoint(tmp_path / "adapter", MoTForRetrieval)


def test_a_config_that_promises_more_than_the_weights_hold_takes_no_memory(checkpoint):
    changed(checkpoint / "config.json", hidden_size=2**17, intermediate_size=2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="promises .* weights that the checkpoint does not hold"):
        load_model(MoTForRetrieval, checkpoint, read_config(checkpoint), whole=True)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        MoTModel.from_pretrained(checkpoint)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024  # KiB


# ---------------------------------------------------------------------------------------------------------------------
# Configs
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", CONFIGS, ids=lambda owner: owner.__name__)
def test_every_number_of_a_config_has_bounds(owner):
    kinds = {"int", "float | int", "int | None", "float | int | None"}
    free = {
        "pad_token_id",
        "chunk_size_feed_forward",
        "mask_ratio",
        "temperature",
        "regression_mean",
        "regression_std",
    }
    names = {
        name
        for name, field in owner.__dataclass_fields__.items()
        if (field.type.__name__ if isinstance(field.type, type) else str(field.type)) in kinds
    }
    assert names - free <= BOUNDS.keys() and len(names) > 8
    for name in names & BOUNDS.keys():
        least, most = BOUNDS[name]
        for value in (least - 1, most + 1, 10**30, -(10**30)):
            with pytest.raises(ValueError, match=f"{owner.__name__}.{name}` is .*, expected {least} to {most}"):
                owner(**{name: value})
        if isinstance(getattr(owner, name, None), float) or "float" in str(owner.__dataclass_fields__[name].type):
            for value in (float("nan"), float("inf"), -float("inf")):
                with pytest.raises(ValueError, match=f"{name}`"):
                    owner(**{name: value})


@pytest.mark.parametrize(
    "fields, message",
    [
        (
            {"num_labels": 10**9},
            f"num_labels` is 1000000000, expected a whole number from 1 to {MOST_UNNAMED_LABELS}",
        ),
        ({"num_labels": True}, "num_labels` is True"),
        ({"num_labels": 0}, "num_labels` is 0"),
        ({"num_labels": "3"}, "num_labels` is 3"),
        ({"id2label": {"0": "a", "5": "b"}}, "id2label` is .* expected a name for each number from 0 on"),
        ({"id2label": {"x": "a"}}, "id2label`"),
        ({"id2label": {}}, "id2label`"),
        ({"id2label": [["a"]]}, "id2label`"),
        ({"id2label": {"0": ["a"]}}, "id2label` names a label"),
        ({"label2id": {"a": -1}, "id2label": {"0": "a"}}, "label2id` gives the number -1"),
        ({"label2id": [1]}, "label2id` is"),
        ({"problem_type": "ordinal"}, "problem_type` is ordinal, expected one of regression"),
        ({"hidden_act": "gelo"}, "`MoTConfig.hidden_act` is gelo: did you mean 'gelu'"),
        ({"dtype": "load"}, "dtype` is load, expected the name of a type of torch"),
        ({"torch_dtype": "nope"}, "dtype` is nope"),
        ({"architectures": "MoTModel"}, "architectures` is MoTModel, expected a list"),
        ({"return_dict": "yes"}, "return_dict` is yes, expected true or false"),
        ({"save_pretrained": 1}, "no field `save_pretrained`"),
        ({"modalities": ["text"]}, "no field `modalities`"),
        ({"modality_weights": {"text": float("nan")}}, "`modality_weights` gives a weight of 0 or more"),
        ({"audio_config": {"silence_value": float("nan")}}, "`silence_value` is a finite number"),
        ({"sparse_attention": {"block_size": 2**40}}, "block_size"),
        ({"text_config": {"vocab_size": 10**12}}, "`MoTTextConfig.vocab_size` is 1000000000000"),
        (
            {"text_config": {"backbone_config": {"model_type": "bert", "num_hidden_layers": 10**6}}},
            "num_hidden_layers",
        ),
        ({"hidden_size": "512"}, "'hidden_size' expected int, got str"),
        ({"hidden_size": True}, "'hidden_size' expected int, got bool"),
        ({"text_config": [[[]]]}, "'text_config'"),
    ],
)
def test_a_config_json_that_cannot_be_is_an_error_that_names_the_field(fields, message, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mot"} | fields))
    for read in (read_config, AutoConfig.from_pretrained):
        with pytest.raises(ValueError, match=message) as error:
            read(tmp_path)
        assert len(str(error.value)) < 500


def test_a_file_that_is_no_config_is_an_error_that_names_it(tmp_path):
    for text in ("[]", "3", "[" * 100_000):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match="config.json of .* is damaged"):
            read_config(tmp_path)


def test_more_labels_than_a_number_may_ask_for_are_given_by_their_names():
    names = {i: str(i) for i in range(MOST_UNNAMED_LABELS + 1)}
    assert MoTConfig(id2label=names).num_labels == len(names)


def test_a_field_that_was_set_later_is_checked_when_the_model_is_saved(tmp_path):
    model = make_model()
    model.config.problem_type = "ordinal"
    with pytest.raises(Exception, match="problem_type` is ordinal"):
        model.config.save_pretrained(tmp_path)
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(
    "file, content",
    [
        ("tokenizer.json", b"\xff"),
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b'{"version": "1.0", "added_tokens": [{"id": "x"}]}'),
        ("tokenizer_config.json", b"\xff"),
        (
            "tokenizer_config.json",
            b'{"auto_map": [1], "tokenizer_class": "BertTokenizer", "model_input_names": false}',
        ),
        ("processor_config.json", b"\xff"),
        ("processor_config.json", b'{"auto_map": 0, "processor_class": "MoTProcessor"}'),
    ],
)
def test_a_damaged_file_of_a_processor_is_named(checkpoint, file, content):
    (checkpoint / file).write_bytes(content)
    with pytest.raises((ValueError, OSError)) as caught:
        load_processor(checkpoint)
    assert str(checkpoint) in str(caught.value) and file in str(caught.value)


def test_a_damaged_adapter_is_named(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ValueError, match=f"adapter_model.safetensors of {tmp_path} is damaged"):
        check_adapter(tmp_path)


@pytest.mark.parametrize("owner", CONFIGS)
def test_a_field_that_the_library_keeps_is_named_with_the_config_that_has_it(owner):
    for name, value in {"dtype": 10**12, "problem_type": "x", "architectures": [True], "return_dict": 1}.items():
        with pytest.raises(Exception, match=f"`{owner.__name__}.{name}` is"):
            owner(**{name: value})
    with pytest.raises(Exception, match=f"`{owner.__name__}.label2id` gives the number -1 to the label a,"):
        owner(label2id={"a": -1}, id2label={"0": "a"})


def test_a_model_whose_weights_are_damaged_answers_with_an_error():
    model, processor = MoTForSequenceClassification(make_model().config).eval(), make_processor()
    with torch.no_grad():
        model.mot.embeddings["text"].word_embeddings.weight[:] = float("nan")
    classify = MultimodalClassificationPipeline(model=model, processor=processor)
    with pytest.raises(ValueError, match=r"rows\[0\]: .*not finite: the weights of the checkpoint"):
        classify([{"text": "red"}])
    (answer,) = classify([{"text": "red"}], on_error="skip")
    assert "not finite" in answer["error"]


def test_a_tokenizer_without_padding_is_named():
    processor = make_processor()
    processor.tokenizer.pad_token = None
    with pytest.raises(ValueError, match="no padding token.*tokenizer_config.json"):
        processor(text=["red", "green cat"])
