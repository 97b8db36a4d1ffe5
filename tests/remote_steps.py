# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What people do with a saved model, in processes of their own; run by test_save_load.py.

`python remote_steps.py use SOURCE WORK` is someone who never installed `mot`: every class, processor and pipeline is
loaded from SOURCE (a folder or a name on the Hub) with `trust_remote_code=True`, and what comes out is written to
WORK/results.safetensors and WORK/results.json. `python remote_steps.py push FOLDER NAME` is someone who has it and
shares a folder on the Hub.
"""

import copy
import importlib
import json
import sys
import traceback
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

MODEL_CLASSES = (
    "AutoModel",
    "AutoModelForSequenceClassification",
    "AutoModelForImageClassification",
    "AutoModelForAudioClassification",
)
PROCESSOR_CLASSES = ("AutoProcessor", "AutoTokenizer", "AutoImageProcessor", "AutoFeatureExtractor")
OUTPUTS = ("last_hidden_state", "pooler_output", "logits")
SENTENCE = "a small red cat sings"


class NotInstalled:
    """The first finder on `sys.meta_path`, where `mot` ends: neither an installed nor a neighbouring one is found."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "mot":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def forbid_mot():
    sys.meta_path.insert(0, NotInstalled)
    try:
        importlib.import_module("mot")
    except ModuleNotFoundError:
        return
    raise AssertionError("`mot` can be imported, so this process would not notice code missing from the folder")


def raw_rows(work):
    """One example as arguments of a processor, for each modality alone and for all: a sentence, a PNG and a WAV."""
    rows = {"text": {"text": SENTENCE}}
    rows |= {"image": {"images": str(work / "picture.png")}, "audio": {"audio": str(work / "sound.wav")}}
    return rows | {"all": rows["text"] | rows["image"] | rows["audio"]}


@torch.no_grad()
def answers(model, inputs):
    """What a model says, by name. It speaks from a copy of its weights, which are then aligned in memory: those of a
    memory-mapped file are not, and some processors then add in another order."""
    output = copy.deepcopy(model)(**inputs)
    return {name: output[name].contiguous() for name in OUTPUTS if name in output}


def named(prefix, tensors):
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def scores(answers):
    return {answer["label"]: answer["score"] for answer in answers}


def with_rate(pipeline, waveform):
    return {"array": waveform, "sampling_rate": pipeline.feature_extractor.sampling_rate}


# What to ask of the library's pipelines, each from (the pipeline, a picture's path, a waveform).
PIPELINES = {
    "text-classification": lambda ask, picture, waveform: scores(ask(SENTENCE, top_k=None)),
    "image-classification": lambda ask, picture, waveform: scores(ask(picture)),
    "audio-classification": lambda ask, picture, waveform: scores(ask(waveform)),
    "audio-classification of a dict": lambda ask, picture, waveform: scores(ask(with_rate(ask, waveform))),
    "feature-extraction": lambda ask, picture, waveform: ask(SENTENCE),
    "image-feature-extraction": lambda ask, picture, waveform: ask(picture),
    "image-feature-extraction, pooled": lambda ask, picture, waveform: ask(picture, pool=True),
}


def run_pipeline(name, source, work, **kwargs):
    """The answer of the pipeline that `name` begins with: label -> score, or nested lists of features."""
    task = name.replace(",", "").split()[0]
    ask = transformers.pipeline(task, model=str(source), **kwargs)
    return PIPELINES[name](ask, str(work / "picture.png"), np.load(work / "waveform.npy"))


def try_pipeline(name, source, work):
    """As `run_pipeline`; one that fails leaves its error, so that the others are still heard."""
    try:
        return run_pipeline(name, source, work, trust_remote_code=True)
    except Exception:
        return {"error": traceback.format_exc()}


def use(source, work):
    """Everything that a stranger does with a model; see the module's docstring."""
    forbid_mot()
    work = Path(work)
    inputs = {name: tensor.clone() for name, tensor in load_file(work / "inputs.safetensors").items()}
    tensors, report = {}, {"modules": {}, "keys": {}, "processors": {}}
    for name in MODEL_CLASSES:
        auto_class = getattr(transformers, name)
        model, info = auto_class.from_pretrained(source, trust_remote_code=True, output_loading_info=True)
        report["modules"][name] = f"{type(model).__module__}.{type(model).__name__}"
        report["keys"][name] = {kind: sorted(map(str, keys)) for kind, keys in info.items()}
        tensors |= named(name, answers(model, inputs))
    for name in PROCESSOR_CLASSES:
        part = getattr(transformers, name).from_pretrained(source, trust_remote_code=True)
        report["processors"][name] = type(part).__name__

    model = transformers.AutoModelForSequenceClassification.from_pretrained(source, trust_remote_code=True)
    processor = transformers.AutoProcessor.from_pretrained(source, trust_remote_code=True)
    for name, arguments in raw_rows(work).items():
        tensors |= named(f"files.{name}", answers(model, processor(**arguments)))

    report["pipelines"] = {name: try_pipeline(name, source, work) for name in PIPELINES}

    model.save_pretrained(work / "resaved")
    processor.save_pretrained(work / "resaved")
    again = transformers.AutoModelForSequenceClassification.from_pretrained(work / "resaved", trust_remote_code=True)
    processor = transformers.AutoProcessor.from_pretrained(work / "resaved", trust_remote_code=True)
    tensors |= named("resaved", answers(again, processor(**raw_rows(work)["all"])))

    report["files"] = [file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
    save_file(tensors, work / "results.safetensors")
    (work / "results.json").write_text(json.dumps(report))


def push(folder, name):
    import conftest  # noqa: F401  (makes `mot` importable in a clone that was never installed)

    from mot import MoTForSequenceClassification, MoTProcessor

    MoTForSequenceClassification.from_pretrained(folder).push_to_hub(name)
    MoTProcessor.from_pretrained(folder).push_to_hub(name)


if __name__ == "__main__":
    {"use": use, "push": push}[sys.argv[1]](*sys.argv[2:])
