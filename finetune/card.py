# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a run says of itself: the table of results, the lines of Python that use its checkpoint, and its model card.

`results` is what results.json holds: `task`, `split`, `seed`, `seconds`, and one section of rows, each a name with its
numbers: `subsets` of modalities, `pairs` of a search, or `terms` of a loss.
"""

import math
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from mixture_of_transformers.data.secrets import without_places
from mixture_of_transformers.finetune.limits import length_limit

EXAMPLE = {"text": "a sentence", "image": "picture.png", "video": "clip.mp4", "audio": "sound.wav"}
SECTIONS = {"subsets": "modalities", "pairs": "search", "terms": "loss term"}
COUNTS = ("rows", "batches")
DESCRIPTIONS = {
    "classification": "that answers from any subset of its modalities",
    "regression": "that predicts a number from any subset of its modalities",
    "retrieval": "that finds, with any of its modalities or several together, what belongs to them",
    "pretraining": "pretrained without labels, to be fine-tuned",
}


def table_of(results: dict) -> tuple[str, list[str], list[list[str]]]:
    """The heading of the first column, the other headings, and the cells of each row, its name first."""
    section = next(name for name in SECTIONS if name in results)
    rows = results[section]
    counts = [name for name in COUNTS if any(name in numbers for numbers in rows.values())]
    metrics = [name for name in dict.fromkeys(n for numbers in rows.values() for n in numbers) if name not in counts]
    cells = [
        [name]
        + [written(numbers.get(metric, math.nan)) for metric in metrics]
        + [str(numbers.get(count, 0)) for count in counts]
        for name, numbers in rows.items()
    ]
    return SECTIONS[section], [*metrics, *counts], cells


def written(number: float) -> str:
    """To four decimals, or with an exponent where these would show nothing or run on."""
    is_plain = number == 0 or not math.isfinite(number) or 5e-5 <= abs(number) < 1e7
    return f"{number:.4f}" if is_plain else f"{number:.4e}"


def print_table(results: dict) -> None:
    """The numbers of every row of the results, one line each."""
    first, headings, rows = table_of(results)
    print(f"\n{results['split']} split, one checkpoint:")
    lines = [[first, *headings], *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines)]
    for name, *cells in lines:
        padded = [f"{cell:>{max(width, 8)}}" for cell, width in zip(cells, widths[1:])]
        print("  ".join([f"{name:<{widths[0]}}", *padded]))


def usage_lines(task: str, folder: str, config, example: dict[str, str] | None = None, base: str | None = None) -> str:
    """
    The lines of Python that load a checkpoint and use it. `example` has a text and the paths of files where there are
    any, a `video` in place of an `image` where the model has learned from videos. `base` is the checkpoint under an
    adapter, where the folder holds one.
    """
    arguments = example_arguments(config, example or {})
    lines = usage_of_task(task, folder, config, arguments, base)
    return ("import numpy as np\n" if "np." in "".join(arguments.values()) else "") + lines


def example_arguments(config, example: dict[str, str]) -> dict[str, str]:
    """modality -> the argument of a processor with an example of it: a sentence, a file, or vectors of the right width."""
    arguments = {}
    for modality in config.modalities:
        tower = config.modality_config(modality)
        kind = "video" if modality == "image" and example.get("video") else modality
        name = {"text": "text", "image": "images", "video": "videos", "audio": "audio"}[kind]
        arguments[modality] = f"{name}={example.get(kind) or EXAMPLE[kind]!r}"
        if not tower.takes_raw_input:
            length = min(8, length_limit(config, modality) or 8)
            arguments[modality] = f"{modality}_features=np.ones(({length}, {tower.feature_size}))"
    return arguments


def usage_of_task(task: str, folder: str, config, arguments: dict[str, str], base: str | None) -> str:
    if task == "retrieval":
        return usage_of_retrieval(folder, arguments, base)
    if task == "pretraining":
        return usage_of_pretraining(folder, arguments, config)
    vectors = ", with your own vectors" if "np.ones" in "".join(arguments.values()) else ""
    answer = {
        "regression": "print(logits.tolist())",
        "multi_label_classification": "print([model.config.id2label[i] for i in (logits[0] > 0).nonzero().flatten().tolist()])",
    }.get(config.problem_type, "print(model.config.id2label[logits.argmax(-1).item()])")
    return f"""\
{loading_lines("AutoModelForSequenceClassification", folder, base)}
inputs = processor({", ".join(arguments.values())}, return_tensors="pt")  # or any subset of these{vectors}
logits = model(**inputs).logits
{answer}
"""


def usage_of_retrieval(folder: str, arguments: dict[str, str], base: str | None) -> str:
    *others, item = arguments  # the last modality is searched with all the others
    query = ", ".join(arguments[m] for m in others)
    return f"""\
{loading_lines("AutoModel", folder, base)}
item = model.get_{item}_features(**processor({arguments[item]}, return_tensors="pt")).pooler_output
query = processor({query}, return_tensors="pt")  # one modality, or several together
similarity = model.get_fused_features(**query).pooler_output @ item.T
print(similarity.item())
"""


def usage_of_pretraining(folder: str, arguments: dict[str, str], config) -> str:
    is_text = "text" in arguments and config.text_config.takes_raw_input
    if is_text and config.modality_weights.get("text", 1):
        return f"""\
from transformers import pipeline

fill = pipeline("fill-mask", {folder!r}, trust_remote_code=True)
print(fill(f"This is a {{fill.tokenizer.mask_token}}.")[0]["token_str"])
"""
    return f"""\
{loading_lines("AutoModel", folder)}
inputs = processor({", ".join(arguments.values())}, return_tensors="pt")  # or any subset of these
print(model(**inputs).pooler_output.shape)
"""


def loading_lines(auto_class: str, folder: str, base: str | None = None) -> str:
    if base is not None:
        return f"""\
from transformers import {auto_class}, AutoConfig, AutoProcessor
from peft import PeftModel

processor = AutoProcessor.from_pretrained({folder!r}, trust_remote_code=True)
config = AutoConfig.from_pretrained({folder!r}, trust_remote_code=True)
model = {auto_class}.from_pretrained({base!r}, config=config, ignore_mismatched_sizes=True, trust_remote_code=True)
model = PeftModel.from_pretrained(model, {folder!r})"""
    return f"""\
from transformers import {auto_class}, AutoProcessor

processor = AutoProcessor.from_pretrained({folder!r}, trust_remote_code=True)
model = {auto_class}.from_pretrained({folder!r}, trust_remote_code=True)"""


def save_examples(folder: Path, row: dict) -> dict[str, str]:
    """A row of the embedded data as files, so that the printed lines run as they are; what it lacks stays unnamed."""
    example = {"text": row["text"]} if row.get("text") else {}
    for modality, name in (("image", "example.png"), ("audio", "example.wav")):
        if row.get(modality) is not None:
            (folder / name).write_bytes(row[modality]["bytes"])
            example[modality] = str(folder / name)
    return example


def pipeline_tag(results: dict, usage: str) -> str | None:
    """The library's pipeline that the checkpoint works in, if there is one for its task."""
    if "text->image" in results.get("pairs", {}):
        return "zero-shot-image-classification"
    return "fill-mask" if '"fill-mask"' in usage else None


@dataclass
class Run:
    """
    How a model came to be, for its card: `name` is what it is loaded by, `hub_dataset` the dataset's id, None for one that
    is not on the Hub.
    """

    name: str
    dataset: str
    hub_dataset: str | None = None
    rows: dict[str, int] = field(default_factory=dict)  # split -> rows that were used
    columns: list[str] = field(default_factory=list)  # "text", "image", "video", ...
    seed: int = 0
    command: str | None = None  # None where it is not known how the model was trained
    seconds: float = 0.0  # of training
    versions: str = f"torch {torch.__version__} and\ntransformers {transformers.__version__}"
    weights: str = ""  # of which step


def plain(text: str) -> str:
    """Any text, such as the name of a class, as Markdown that shows it as it is on one line, whatever it holds."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    line = re.sub(r"([\\`*\[\]<>|$&~#])|(?<!\w)_|_(?!\w)", lambda found: "\\" + found[0], line)
    return line.replace("://", "\\://").replace("www.", "www\\.")  # no link either


def code(text: str) -> str:
    """A text as inline code of Markdown."""
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence}{line}{fence}" if len(fence) == 1 else f"{fence} {line} {fence}"


def input_lines(config) -> list[str]:
    """What each modality of a model takes."""
    lines = []
    for modality in config.modalities:
        tower = config.modality_config(modality)
        if not tower.takes_raw_input:
            lines.append(f"- **{modality}**: ready features, vectors of width {tower.feature_size}")
            continue
        raw = {
            "text": lambda c: f"up to {c.max_position_embeddings} tokens of a vocabulary of {c.vocab_size:,}",
            "image": lambda c: f"pictures or video frames of {c.image_size} x {c.image_size} pixels",
            "audio": lambda c: f"sound of up to {c.max_frames / 100:g} seconds, as {c.num_mel_bins} log-mel bins",
        }
        lines.append(f"- **{modality}**: {raw[modality](tower)}")
    return lines


def label_lines(results: dict, config) -> str:
    if results["task"] == "regression":
        return "One number for each row."
    if results["task"] == "classification":
        kind = "Any number" if config.problem_type == "multi_label_classification" else "One"
        return f"{kind} of {config.num_labels} classes: {', '.join(map(plain, config.id2label.values()))}."
    return (
        "None: it was trained without labels." if results["task"] == "pretraining" else "None: it compares its inputs."
    )


def training_lines(run: Run) -> str:
    """What the card says of how the model came to be, as far as it is known."""
    sizes = ", ".join(f"{number:,} rows of {plain(split)}" for split, number in run.rows.items())
    lines = [f"Data: {plain(run.dataset)}{f' ({sizes})' if sizes else ''}."]
    if run.command is not None:
        time = (
            f"{run.seconds:.0f} seconds of training" if run.seconds else "trained"
        )  # of a checkpoint it is not known
        command = shlex.join(without_places(shlex.split(run.command)))
        lines.append(f"{code(command)}, seed {run.seed}, {time} with {run.versions}.")
        lines.append(f"The weights are those {run.weights}.")
    return "\n\n".join(lines)


def write_card(
    folder: Path, results: dict, usage: str, run: Run, config, parameters: int, evaluated: str | None = None
) -> None:
    """
    The checkpoint's model card: what it is and takes, numbers, how to load it, how it was trained, and its limits.
    `evaluated` is the dataset of the numbers, where it is not that of the run.
    """
    section, title = next(name for name in SECTIONS if name in results), run.name.rpartition("/")[2]
    data = ModelCardData(
        model_name=title,
        library_name="transformers",
        license="apache-2.0",
        datasets=run.hub_dataset and [run.hub_dataset],
        tags=["mixture-of-transformers", "multimodal", *config.modalities],
        pipeline_tag=pipeline_tag(results, usage),
        eval_results=[
            EvalResult(
                task_type=results["task"],
                dataset_type=evaluated or run.dataset,
                dataset_name=evaluated or run.dataset,
                dataset_split=results["split"],
                metric_type=metric,
                metric_name=f"{metric} ({name})",
                metric_value=round(number, 4),
            )
            for name, numbers in results[section].items()
            for metric, number in numbers.items()
            if metric not in COUNTS and math.isfinite(number)  # of which the Hub takes no other
        ],
    )
    first, headings, rows = table_of(results)
    lines = [f"| {' | '.join([first, *headings])} |", f"|{'---|' * (len(headings) + 1)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    table, inputs = "\n".join(lines), "\n".join(input_lines(config))
    text = f"""---
{data.to_yaml()}
---

# {plain(title)}

A [Mixture-of-Transformers](https://arxiv.org/abs/2411.04996) of {parameters:,} parameters {DESCRIPTIONS[results["task"]]}.

## Inputs

Any subset of these, another one in each row:

{inputs}

## Labels

{label_lines(results, config)}

## Results

On the {plain(results["split"])} split of {plain(evaluated or run.dataset)}, from this one checkpoint:

{table}

## Use

```python
{usage}```

## Training

{training_lines(run)}

## Limits

It knows nothing beyond its training data, and the numbers above hold for data like theirs: other languages, speakers,
cameras and recording conditions were not tested, nor was what it does to different groups of people. Do not let it decide
about people.

## Licence

Apache-2.0 for the model and its code. What the training data allow is for their owners to say.
"""
    ModelCard(text).save(folder / "README.md")
