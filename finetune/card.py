# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The model card of a run: what the model is and takes, its numbers, its use, how it came to be, and its limits."""

import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from mixture_of_transformers.configuration_causal_mot import TEXT, MoTCausalConfig
from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.secrets import without_places
from mixture_of_transformers.finetune.record import Run
from mixture_of_transformers.finetune.table import COUNTS, section_of, subsets_line, table_of
from mixture_of_transformers.modalities_mot import modality_of

CARD = "README.md"
DESCRIPTIONS = {
    "classification": "that answers from any subset of its modalities",
    "regression": "that predicts a number from any subset of its modalities",
    "retrieval": "that finds, with any of its modalities or several together, what belongs to them",
    "pretraining": "pretrained without labels, to be fine-tuned",
    "generation": "that goes on with documents of its modalities, token by token",
}


def write_card(
    folder: Path,
    results: dict,
    usage: str,
    run: Run,
    config: MoTConfig,
    parameters: int,
    evaluated: str | None = None,
    samples: Sequence[dict[str, str]] = (),
) -> None:
    """
    Write the model card of a checkpoint into its folder.

    Args:
        results: what results.json holds.
        usage: the lines of Python that use the checkpoint.
        parameters: their number.
        evaluated: the dataset of the numbers, where it is not that of the run.
        samples: what the model has generated, as `write_samples` returns it.
    """
    description = DESCRIPTIONS[results["task"]]
    title = run.name.rpartition("/")[2]
    evaluated = evaluated or run.dataset
    text = f"""---
{card_data(title, results, usage, run, config, evaluated).to_yaml()}
---

# {plain(title)}

A [Mixture-of-Transformers](https://arxiv.org/abs/2411.04996) of {parameters:,} parameters {description}.

## Inputs

Any subset of these, another one in each row:

{input_lines(config)}

## Labels

{label_lines(results, config)}

## Results

On the {plain(results["split"])} split of {plain(evaluated)}, from this one checkpoint:

{table_lines(results)}
{sample_section(samples)}
## Use

```python
{usage}```

## Training

{training_lines(run)}

## Limits

It knows nothing beyond its training data, and the numbers above hold for data like theirs: other languages, speakers,
cameras and recording conditions were not tested, nor was what it does to different groups of people. Do not let it
decide about people.

## Licence

Apache-2.0 for the model and its code. What the training data allow is for their owners to say.
"""
    ModelCard(text).save(folder / CARD)


def card_data(title: str, results: dict, usage: str, run: Run, config: MoTConfig, evaluated: str) -> ModelCardData:
    """What the Hub reads of the card: the model's tags, its dataset and its numbers."""
    return ModelCardData(
        model_name=title,
        library_name="transformers",
        license="apache-2.0",
        datasets=run.hub_dataset and [run.hub_dataset],
        tags=["mixture-of-transformers", "multimodal", *config.modalities],
        pipeline_tag=pipeline_tag(results, usage),
        eval_results=[
            EvalResult(
                task_type=results["task"],
                dataset_type=evaluated,
                dataset_name=evaluated,
                dataset_split=results["split"],
                metric_type=metric,
                metric_name=f"{metric} ({name})",
                metric_value=round(number, 4),
            )
            for name, numbers in results[section_of(results)].items()
            for metric, number in numbers.items()
            if metric not in COUNTS and math.isfinite(number)  # the Hub takes no other numbers
        ],
    )


def pipeline_tag(results: dict, usage: str) -> str | None:
    """The library's pipeline that the checkpoint works in, if there is one for its task."""
    if "text->image" in results.get("pairs", {}):
        return "zero-shot-image-classification"
    if results["task"] == "generation":
        return "any-to-any"
    return "fill-mask" if '"fill-mask"' in usage else None


def table_lines(results: dict) -> str:
    """The numbers as a table of Markdown."""
    first, headings, rows = table_of(results)
    lines = [f"| {' | '.join([first, *headings])} |", f"|{'---|' * (len(headings) + 1)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    note = subsets_line(results)
    return "\n".join([*lines, "", note] if note else lines)


def sample_section(samples: Sequence[dict[str, str]]) -> str:
    """The samples as a section of Markdown, pictures shown; nothing without any."""
    if not samples:
        return ""
    rows = []
    for sample in samples:
        made = sample["made"]
        shown = (
            f"![]({made})" if made.endswith(".png") else f"[{made}]({made})" if made.endswith(".wav") else plain(made)
        )
        rows.append(f"| {plain(sample['template'])} | {plain(sample['prompt'])} | {shown} |")
    return "\n".join(["", "## Samples", "", "| document | prompt | generated |", "|---|---|---|", *rows, ""])


def input_lines(config: MoTConfig) -> str:
    """What each modality of a model takes, as a list of Markdown."""
    return "\n".join(f"- **{m}**: {taken}" for m, taken in describe_inputs(config).items())


def describe_inputs(config: MoTConfig | MoTCausalConfig) -> dict[str, str]:
    """What each modality of a model takes, by its name."""
    if isinstance(config, MoTCausalConfig):
        return {m: describe_tokens(config, m) for m in config.modalities}
    towers = {m: tower for m in config.modalities if (tower := config.modality_config(m)) is not None}
    return {m: modality_of(tower, m).describe(tower) for m, tower in towers.items()}


def describe_tokens(config: MoTCausalConfig, modality: str) -> str:
    """What the tokens of a modality are."""
    if modality == TEXT:
        return f"{config.vocab_size - sum(stop - start for _, start, stop in config.token_ranges):,} tokens"
    codes, number = len(config.codes(modality)), config.num_tokens.get(modality)
    made = [f"tokens of {codes:,} codes" + (f", {number} each" if number else "")] if codes else []
    return ", and ".join([*made, *(["raw input, which a tower reads"] if modality in config.encoders else [])])


def label_lines(results: dict, config: MoTConfig) -> str:
    """What the model answers with."""
    if results["task"] == "regression":
        return "One number for each row."
    if results["task"] == "pretraining":
        return "None: it was trained without labels."
    if results["task"] == "retrieval":
        return "None: it compares its inputs."
    if results["task"] == "generation":
        made = [m for m in config.modalities[1:] if len(config.codes(m))]
        return f"None: it writes text{''.join(f', and makes {m}' for m in made)}."
    kind = "Any number" if config.problem_type == "multi_label_classification" else "One"
    return f"{kind} of {config.num_labels} classes: {', '.join(map(plain, config.id2label.values()))}."


def training_lines(run: Run) -> str:
    """What the card says of how the model came to be, as far as it is known."""
    sizes = ", ".join(f"{number:,} rows of {plain(split)}" for split, number in run.rows.items())
    lines = [f"Data: {plain(run.dataset)}{f' ({sizes})' if sizes else ''}."]
    if run.command is not None:
        # How long a checkpoint within a run had trained is not known.
        time = f"{run.seconds:.0f} seconds of training" if run.seconds else "trained"
        lines.append(f"{code(command_of(run))}, seed {run.seed}, {time} with {run.versions}.")
        lines.append(f"The weights are those {run.weights}.")
    return "\n\n".join(lines)


def command_of(run: Run) -> str:
    """The command by which a run was started, with the names alone of what lies on its machine."""
    return shlex.join(without_places(shlex.split(run.command)))


def plain(text: str) -> str:
    """Any text, such as the name of a class, as Markdown that shows it as it is on one line, whatever it holds."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    line = re.sub(r"([\\`*\[\]<>|$&~#])|(?<!\w)_|_(?!\w)", lambda found: "\\" + found[0], line)
    return line.replace("://", "\\://").replace("www.", "www\\.")  # else a reader makes links of these


def code(text: str) -> str:
    """A text as inline code of Markdown."""
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence}{line}{fence}" if len(fence) == 1 else f"{fence} {line} {fence}"
