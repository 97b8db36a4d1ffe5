# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The sections of a report that say how a model came to be: its training, its data, its sizes, and the commands.

Each takes the facts and gives its HTML, or as plain text why there is none.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence

from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig
from mixture_of_transformers.data.checks import count_by_kind
from mixture_of_transformers.evaluation.markup import Markup, element, joined, pairs, table
from mixture_of_transformers.evaluation.report_charts import line_chart
from mixture_of_transformers.evaluation.report_facts import Facts
from mixture_of_transformers.finetune.card import command_of, describe_inputs

MOST_LISTED = 60  # classes of a model
# What a log says of an evaluation beside its figures.
TIMES_OF_EVALUATION = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
SIZES = {
    "hidden_size": "Width",
    "num_attention_heads": "Attention heads",
    "intermediate_size": "Width of the feed-forward layers",
    "num_joint_layers": "Joint layers",
    "num_global_layers": "Global layers",
    "fusion_type": "Fusion",
}
SIZES_OF_GENERATOR = {
    "hidden_size": "Width",
    "num_attention_heads": "Attention heads",
    "intermediate_size": "Width of the feed-forward layers",
    "num_hidden_layers": "Layers",
    "vocab_size": "Tokens",
}


def curves_of(log: Sequence[Mapping]) -> dict[str, list[tuple[float, float]]]:
    """(step, value) of every number in the history of a training, by its name."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for entry in log:
        for name, value in entry.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                curves.setdefault(name, []).append((entry["step"], float(value)))
    return curves


def training(facts: Facts) -> Markup | str:
    """Curves of every loss term and of every figure of the validation."""
    curves, charts = curves_of(facts.log), []
    for title, total in (("Loss of training", "loss"), ("Loss of validation", "eval_loss")):
        terms = [name.partition("/")[2] for name in curves if name.startswith(f"{total}/")]
        terms.sort(key=place_among(facts.config.modalities))
        if total in curves:
            found = {"loss": curves[total]} | {facts.called(term): curves[f"{total}/{term}"] for term in terms}
            charts.append(line_chart(title, found, facts.best_step))
    for name in [name.removeprefix("eval_") for name in curves if name.startswith("eval_")]:
        if name not in TIMES_OF_EVALUATION and name.partition("/")[0] != "loss":
            charts.append(line_chart(f"Validation: {name}", {name: curves[f"eval_{name}"]}, facts.best_step))
    if not charts:
        return "The checkpoint brings no history of its training (trainer_state.json)."
    weights = f"The weights are those {facts.record.run.weights}." if facts.record.run.weights else None
    note = "The loss and its terms, each called by the modalities that it is of."
    if facts.best_step is not None:
        note += " The dashed line is the step whose weights were kept."
    return joined(
        element("div", charts, class_="charts"), element("p", note, class_="note"), weights and element("p", weights)
    )


def place_among(modalities: Sequence[str]) -> Callable[[str], tuple]:
    """The order of loss terms: those of one modality first, in the order of the model's."""

    def place(term: str) -> tuple:
        parts = re.split(r"[+-]", term)
        return len(parts), [modalities.index(part) if part in modalities else len(modalities) for part in parts], term

    return place


def data(facts: Facts) -> Markup | str:
    run, known = facts.record.run, facts.record.data
    if run.command is None and not run.rows:
        return "The checkpoint does not say what it was trained on (run.json)."
    revision = (known.get("dataset_revision") or "none was named") if run.hub_dataset else None
    facts_of_data = {
        "Dataset": run.hub_dataset or run.dataset,
        "Configuration": known.get("dataset_config"),
        "Revision": revision,
        "Groups kept together": known.get("group_column"),
        "Ordered by": known.get("time_column"),
        "Seed": run.seed,
    }
    rows = [[split, f"{number:,}", f"{len(facts.bad.get(split, {})):,}"] for split, number in run.rows.items()]
    reasons = {split: described_bad(found) for split, found in facts.bad.items() if found}
    left_out = [element("h3", "Rows left out"), pairs(reasons)] if reasons else []
    lines = [line.partition(": ")[::2] for line in known.get("column_lines") or ()]
    lines = lines or [(role, f"column '{name}'") for role, name in known.get("columns_found", {}).items()]
    columns = [element("h3", "Columns"), table(["became", "from"], lines)] if lines else []
    splits = [element("h3", "Splits"), table(["split", "rows", "left out"], rows)] if rows else []
    return joined(pairs(facts_of_data), splits, left_out, columns)


def described_bad(found: Mapping[int, str]) -> str:
    """How many rows were left out for which kind of reason; more words of it might name files of the machine."""
    kinds: dict[str, list[int]] = {}
    for row, reason in sorted(found.items()):
        kinds.setdefault(reason.partition(":")[0], []).append(row)
    return count_by_kind(kinds)


def model(facts: Facts) -> Markup:
    config = facts.config
    is_generator = isinstance(config, MoTCausalConfig)
    sizes = SIZES_OF_GENERATOR if is_generator else SIZES
    known: dict[str, object] = {"Class": facts.architecture, "Parameters": f"{facts.parameters:,}"}
    known |= {title: getattr(config, name) for name, title in sizes.items()}
    if is_generator:
        known["Weights of their own"] = ", ".join(config.untied) or "none"
    elif facts.task == "classification":
        names = [*config.id2label.values()]
        more = f" and {len(names) - MOST_LISTED:,} more" if len(names) > MOST_LISTED else ""
        known["Classes"] = f"{len(names)}: {', '.join(map(str, names[:MOST_LISTED]))}{more}"
    taken = describe_inputs(config)
    headings, rows = ["modality", "takes"], [[m, said] for m, said in taken.items()]
    if not is_generator:
        headings += ["width", "layers of its own"]
        towers = {m: config.modality_config(m) for m in taken}
        rows = [[*row, f"{towers[row[0]].hidden_size}", f"{towers[row[0]].num_hidden_layers}"] for row in rows]
    return joined(pairs(known), element("h3", "Modalities"), table(headings, rows))


def making(facts: Facts) -> Markup:
    """Time, machine, versions and commands."""
    run = facts.record.run
    speed = next(
        (entry["train_samples_per_second"] for entry in facts.log[::-1] if "train_samples_per_second" in entry), None
    )
    known = {
        "Training": f"{run.seconds:,.1f} s" + (f" on {run.machine}" if run.machine else "") if run.seconds else None,
        "Rows a second in training": f"{speed:,.0f}" if speed and run.seconds else None,
        "Versions in training": run.versions if run.command is not None else None,
        "This page": f"made on {facts.date} on {facts.machine}",
        "Rows a second in evaluation": f"{facts.rows_per_second:,.0f}" if facts.rows_per_second else None,
        "Versions here": ", ".join(f"{name} {version}" for name, version in facts.versions.items()),
    }
    commands = [command_of(run)] if run.command is not None else []
    blocks = [element("pre", command) for command in [*commands, facts.command]]
    return joined(pairs(known), element("h3", "Commands"), blocks)
