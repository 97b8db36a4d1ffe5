# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a run says of itself: the table of results, the lines of Python that use its checkpoint, and its model card.

`results` is what results.json holds: `task`, `split`, `seed`, `seconds`, and one section of rows, each a name with its
numbers: `subsets` of modalities, `pairs` of a search, or `terms` of a loss.
"""

from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

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
        + [f"{numbers.get(metric, float('nan')):.4f}" for metric in metrics]
        + [str(numbers[count]) for count in counts]
        for name, numbers in rows.items()
    ]
    return SECTIONS[section], [*metrics, *counts], cells


def print_table(results: dict) -> None:
    """The numbers of every row of the results, one line each."""
    first, headings, rows = table_of(results)
    print(f"\n{results['split']} split, one checkpoint:")
    widths = [max(len(heading), 8) + 2 for heading in headings]
    for name, *cells in [[first, *headings], *rows]:
        print(f"{name:<24}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths)))


def usage_lines(task: str, folder: str, config, example: dict[str, str], base: str | None = None) -> str:
    """
    The lines of Python that load a checkpoint and use it; `example` has a text and the paths of files. `base` is the
    checkpoint under an adapter, where the folder holds one.
    """
    names = {"text": "text", "image": "images", "audio": "audio"}
    arguments = {m: f"{names[m]}={example[m]!r}" for m in config.modalities}
    if task == "retrieval":
        return usage_of_retrieval(folder, arguments, base)
    if task == "pretraining":
        return usage_of_pretraining(folder, arguments, config)
    answer = {
        "regression": "print(logits.tolist())",
        "multi_label_classification": "print([model.config.id2label[i] for i in (logits[0] > 0).nonzero().flatten().tolist()])",
    }.get(config.problem_type, "print(model.config.id2label[logits.argmax(-1).item()])")
    return f"""\
{loading_lines("AutoModelForSequenceClassification", folder, base)}
inputs = processor({", ".join(arguments.values())}, return_tensors="pt")  # or any subset of these
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
    is_text = "text" in arguments and config.text_config.feature_size is None
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
    """The first test row of the embedded data as files, so that the printed lines run as they are."""
    example = {"text": row.get("text")}
    for modality, name in (("image", "example.png"), ("audio", "example.wav")):
        if modality in row:
            (folder / name).write_bytes(row[modality]["bytes"])
            example[modality] = str(folder / name)
    return example


def pipeline_tag(results: dict, usage: str) -> str | None:
    """The library's pipeline that the checkpoint works in, if there is one for its task."""
    if "text->image" in results.get("pairs", {}):
        return "zero-shot-image-classification"
    return "fill-mask" if '"fill-mask"' in usage else None


def write_card(folder: Path, results: dict, usage: str, dataset: str, command: str) -> None:
    """The checkpoint's model card: tags, numbers, how to load, how it was trained."""
    section = next(name for name in SECTIONS if name in results)
    data = ModelCardData(
        model_name=folder.name,
        library_name="transformers",
        license="apache-2.0",
        tags=["mixture-of-transformers", "multimodal", "text", "image", "audio"],
        pipeline_tag=pipeline_tag(results, usage),
        eval_results=[
            EvalResult(
                task_type=results["task"],
                dataset_type=dataset,
                dataset_name=dataset,
                dataset_split=results["split"],
                metric_type=metric,
                metric_name=f"{metric} ({name})",
                metric_value=round(number, 4),
            )
            for name, numbers in results[section].items()
            for metric, number in numbers.items()
            if metric not in COUNTS
        ],
    )
    first, headings, rows = table_of(results)
    lines = [f"| {' | '.join([first, *headings])} |", f"|{'---|' * (len(headings) + 1)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    table = "\n".join(lines)
    text = f"""---
{data.to_yaml()}
---

# {folder.name}

A [Mixture-of-Transformers](https://arxiv.org/abs/2411.04996) {DESCRIPTIONS[results["task"]]}.

## Results

On the {results["split"]} split of {dataset}, from this one checkpoint:

{table}

## Use

```python
{usage}```

## Training

`{command}`, seed {results["seed"]}, {results["seconds"]:.0f} seconds of training.
"""
    ModelCard(text).save(folder / "README.md")
