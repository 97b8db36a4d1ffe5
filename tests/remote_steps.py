# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What people do with a saved model, in processes of their own, which `run_step` starts for the tests.

`python remote_steps.py use SOURCE WORK` is someone who never installed the package: every class, processor and
pipeline is loaded from SOURCE (a folder or a name on the Hub, where a classifier was saved) with
`trust_remote_code=True`, and what comes out is written to WORK/results.safetensors and WORK/results.json. `heads
FOLDER WORK` does so with the other heads, each in a folder of its own in FOLDER, and `embed FOLDER WORK` goes to a
retrieval model by sentence-transformers. `python remote_steps.py move WORK` saves again what was loaded from a folder
that is no longer there, and `python remote_steps.py twins WORK` loads two folders of one name. `python remote_steps.py
pinned WORK FOLDER...` asks the model of each folder what it says of the pinned row. `python remote_steps.py push
FOLDER NAME` is someone who has the package and shares a folder on the Hub.
"""

import copy
import importlib
import itertools
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

MODEL_CLASSES = (
    "AutoModel",
    "AutoModelForSequenceClassification",
    "AutoModelForImageClassification",
    "AutoModelForAudioClassification",
    "AutoModelForZeroShotImageClassification",
    "AutoModelForPreTraining",
    "AutoModelForMaskedLM",
)
# Which of them read the folder of each other head, whole.
READERS = {
    "MoTForRetrieval": ("AutoModel", "AutoModelForZeroShotImageClassification"),
    "MoTForPreTraining": ("AutoModelForPreTraining", "AutoModelForMaskedLM"),
    "MoTForMaskedLM": ("AutoModelForMaskedLM",),
}
# The Auto class that reads the pinned folder of each class.
PINNED_CLASSES = {
    "MoTModel": "AutoModel",
    "MoTForSequenceClassification": "AutoModelForSequenceClassification",
    "MoTForImageClassification": "AutoModelForImageClassification",
    "MoTForAudioClassification": "AutoModelForAudioClassification",
    "MoTForRetrieval": "AutoModelForZeroShotImageClassification",
    "MoTForPreTraining": "AutoModelForPreTraining",
    "MoTForMaskedLM": "AutoModelForMaskedLM",
}
PROCESSOR_CLASSES = ("AutoProcessor", "AutoTokenizer", "AutoImageProcessor", "AutoFeatureExtractor")
OUTPUTS = (
    *("last_hidden_state", "pooler_output", "logits"),
    *("text_embeds", "image_embeds", "audio_embeds", "logits_per_text", "logits_per_image", "logits_per_audio"),
    *("text_predictions", "image_predictions", "audio_predictions"),
)
SENTENCE = "a small red cat sings"
GAP = "a small [MASK] cat sings"
CANDIDATES = ["red cat", "small dog sings", "dog"]
WORDS = ("a", "small", "red", "cat", "dog", "sings")
RATE = 16000
PINNED = Path(__file__).with_name("pinned") / "classifier"
PINNED_ROW = {"text": SENTENCE, "images": str(PINNED / "cat.png"), "audio": str(PINNED / "cat.wav")}


class NotInstalled:
    """The first finder on `sys.meta_path`, where `mixture_of_transformers` ends: neither an installed nor a
    neighbouring one is found."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "mixture_of_transformers":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def forbid_mot():
    sys.meta_path.insert(0, NotInstalled)
    try:
        importlib.import_module("mixture_of_transformers")
    except ModuleNotFoundError:
        return
    raise AssertionError(
        "`mixture_of_transformers` can be imported, so this process would not notice code missing from the folder"
    )


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
# The same of the other heads, by the class that was saved.
HEAD_PIPELINES = {
    "MoTForRetrieval": {
        "zero-shot-image-classification": lambda ask, picture, waveform: scores(
            ask(picture, candidate_labels=CANDIDATES, hypothesis_template="{}")
        ),
        "zero-shot-audio-classification": lambda ask, picture, waveform: scores(
            ask(waveform, candidate_labels=CANDIDATES, hypothesis_template="{}")
        ),
    },
} | dict.fromkeys(
    ("MoTForMaskedLM", "MoTForPreTraining"),
    {"fill-mask": lambda ask, picture, waveform: {a["token_str"]: a["score"] for a in ask(GAP, top_k=len(WORDS))}},
)


def run_pipeline(name, source, work, questions=PIPELINES, **kwargs):
    """The answer of the pipeline that `name` begins with: label -> score, or nested lists of features."""
    task = name.replace(",", "").split()[0]
    ask = transformers.pipeline(task, model=str(source), **kwargs)
    return questions[name](ask, str(work / "picture.png"), np.load(work / "waveform.npy"))


def try_pipeline(name, source, work, questions=PIPELINES):
    """As `run_pipeline`; one that fails leaves its error, so that the others are still heard."""
    try:
        return run_pipeline(name, source, work, questions, trust_remote_code=True)
    except Exception:
        return {"error": traceback.format_exc()}


def saved_inputs(work):
    return {name: tensor.clone() for name, tensor in load_file(work / "inputs.safetensors").items()}


def use(source, work):
    """Everything that a stranger does with a model; see the module's docstring."""
    forbid_mot()
    work = Path(work)
    inputs = saved_inputs(work)
    tensors, report = {}, {"modules": {}, "keys": {}, "processors": {}}
    for name in MODEL_CLASSES:
        auto_class = getattr(transformers, name)
        model, info = auto_class.from_pretrained(source, trust_remote_code=True, output_loading_info=True)
        report["modules"][name] = f"{type(model).__module__}.{type(model).__name__}"
        report["keys"][name] = {kind: sorted(map(str, keys)) for kind, keys in info.items()}
        # A head that the folder lacks is new, and has nothing to say yet.
        tensors |= named(name, answers(model.mot if info["missing_keys"] else model, inputs))
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


def heads(folder, work):
    """What a stranger does with the folders of the other heads."""
    forbid_mot()
    folder, work = Path(folder), Path(work)
    inputs, tensors, report = saved_inputs(work), {}, {"modules": {}, "missing": {}, "pipelines": {}}
    for saved, auto_classes in READERS.items():
        for name in auto_classes:
            auto_class, key = getattr(transformers, name), f"{saved} {name}"
            model, info = auto_class.from_pretrained(folder / saved, trust_remote_code=True, output_loading_info=True)
            report["modules"][key] = f"{type(model).__module__}.{type(model).__name__}"
            report["missing"][key] = sorted(info["missing_keys"])
            tensors |= named(key, answers(model, inputs))
        questions = HEAD_PIPELINES[saved]
        report["pipelines"][saved] = {name: try_pipeline(name, folder / saved, work, questions) for name in questions}
    save_file(tensors, work / "results.safetensors")
    (work / "results.json").write_text(json.dumps(report))


def move(work):
    """What was loaded from `outputs/mine` is saved from another place, when that folder is called otherwise."""
    forbid_mot()
    work, name, trust = Path(work), "outputs/mine", {"trust_remote_code": True}
    os.chdir(work)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(name, **trust)
    classify = transformers.pipeline("multimodal-classification", name, **trust)
    parts = {kind: getattr(transformers, kind).from_pretrained(name, **trust) for kind in PROCESSOR_CLASSES}
    expected = classify({"text": SENTENCE})
    os.rename(name, "outputs/renamed")
    (work / "elsewhere").mkdir()
    os.chdir(work / "elsewhere")
    saved = {"model": model, "pipeline": classify, "config": model.config, **parts}
    for kind, thing in saved.items():
        thing.save_pretrained(str(work / "saved" / kind))
    again = transformers.pipeline("multimodal-classification", str(work / "saved" / "pipeline"), **trust)
    assert again({"text": SENTENCE}) == expected
    for kind in parts:
        getattr(transformers, kind).from_pretrained(work / "saved" / kind, **trust)
    config = transformers.AutoConfig.from_pretrained(work / "saved" / "config", **trust)
    transformers.AutoModelForSequenceClassification.from_config(config, **trust)


def twins(work):
    """The logits, and the answers of the pipeline, of `a/model` and of `b/model`, by one process."""
    forbid_mot()
    work, found = Path(work), {}
    for name in ("a", "b"):
        source = str(work / name / "model")
        model = transformers.AutoModelForSequenceClassification.from_pretrained(source, trust_remote_code=True)
        classify = transformers.pipeline("multimodal-classification", source, trust_remote_code=True)
        inputs = transformers.AutoProcessor.from_pretrained(source, trust_remote_code=True)(text=SENTENCE)
        found[name] = {"logits": model(**inputs).logits.tolist(), "says": classify({"text": SENTENCE})}
    (work / "found.json").write_text(json.dumps(found))


def examples(number=24):
    """
    Rows as sentence-transformers takes them: "text" -> sentences, "audio+image" -> dicts, and so on for each
    combination. Sentences differ in length, pictures in size, and clips in length.
    """
    rng = np.random.default_rng(0)
    columns = {
        "audio": [clip(rng.standard_normal(rng.integers(RATE // 10, RATE // 2)) / 4) for _ in range(number)],
        "image": [picture(rng.integers(0, 256, (*rng.integers(8, 40, size=2), 3))) for _ in range(number)],
        "text": [" ".join(rng.choice(WORDS, size=rng.integers(2, 9))) for _ in range(number)],
    }
    rows = dict(columns)
    for names in (*itertools.combinations(columns, 2), tuple(columns)):
        rows["+".join(names)] = [dict(zip(names, parts)) for parts in zip(*(columns[name] for name in names))]
    return rows


def clip(samples):
    return {"array": samples.astype(np.float32), "sampling_rate": RATE}


def picture(pixels):
    return Image.fromarray(pixels.astype(np.uint8))


def embed(folder, work):
    """What someone with sentence-transformers and without the package gets: embeddings, before and after saving
    again."""
    forbid_mot()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    work, rows = Path(work), examples()
    model = SentenceTransformer(folder, trust_remote_code=True, device="cpu")
    tensors = named("whole", {name: model.encode(values, convert_to_tensor=True) for name, values in rows.items()})
    tensors["alone.audio"] = model.encode(rows["audio"], batch_size=1, convert_to_tensor=True)
    model.save_pretrained(str(work / "resaved"))
    again = SentenceTransformer(str(work / "resaved"), trust_remote_code=True, device="cpu")
    tensors |= named("resaved", {name: again.encode(values, convert_to_tensor=True) for name, values in rows.items()})

    queries, corpus = ({str(i): row for i, row in enumerate(rows[name])} for name in ("text", "image"))
    ks = {"accuracy_at_k": [1, 5, 10], "precision_recall_at_k": [1, 5, 10]}
    evaluate = InformationRetrievalEvaluator(queries, corpus, {i: {i} for i in queries}, **ks)
    module = type(model.transformers_model).__module__
    report = {"module": module, "similarity": model.similarity_fn_name, "scores": evaluate(model)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, work / "results.safetensors")
    (work / "results.json").write_text(json.dumps(report))


def push(folder, name):
    import conftest  # noqa: F401  (makes the package importable in a clone that was never installed)

    from mixture_of_transformers import MoTForSequenceClassification, MoTProcessor

    MoTForSequenceClassification.from_pretrained(folder).push_to_hub(name)
    MoTProcessor.from_pretrained(folder).push_to_hub(name)


def answers_to_row(model, processor, row: dict[str, str]) -> dict[str, torch.Tensor]:
    """What a processor makes of a row, and what a model says of each modality of it and of all."""
    found = {f"inputs.{name}": value for name, value in processor(**row).items()}
    alone = ["text"] if type(model).__name__ == "MoTForMaskedLM" else row  # it answers to no row without text
    for names in [*([name] for name in alone), list(row)]:
        said = answers(model, processor(**{name: row[name] for name in names}))
        found |= {f"{output}.{'+'.join(names)}": value.clone() for output, value in said.items()}
    return found


def pinned(work, *folders):
    forbid_mot()
    for folder in map(Path, folders):
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
        auto_class = getattr(transformers, PINNED_CLASSES[config.architectures[0]])
        model = auto_class.from_pretrained(folder, trust_remote_code=True).eval()
        processor = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        save_file(answers_to_row(model, processor, PINNED_ROW), Path(work) / f"{folder.name}.safetensors")


def run_without_package(script, *arguments, folder):
    """
    A script of somebody who never installed the package, in a process of its own; `sys.argv[1:]` are the arguments.

    Args:
        folder: where it runs, with an empty cache.
    """
    first = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nimport remote_steps\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{first}remote_steps.forbid_mot()\nsys.path.pop(0)\n{script}", *map(str, arguments)],
        cwd=folder,
        env={
            "HF_HOME": str(folder / "home"),
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
            "HF_HUB_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def run_step(*arguments, home, timeout=200, **environment):
    """This file in a process with an empty cache and as many threads as here, so that sums have one order."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_", "PYTHON"))
    }
    kept |= {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    home.mkdir()
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        cwd=home,
        env=kept | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    {"use": use, "heads": heads, "embed": embed, "move": move, "twins": twins, "push": push, "pinned": pinned}[
        sys.argv[1]
    ](*sys.argv[2:])
