# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The page of a report: HTML that needs no other file and asks no one for anything, from the facts of a run.

A section is a function from the facts to its HTML; where there is nothing to show it gives the reason as plain text,
and the end of the page lists these. Every text is escaped as it is put in, and a policy in the head of the page
forbids browsers all that is not in the page itself.

Shapes: N rows, S subsets, C classes, M modalities.
"""

import base64
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig
from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.checks import count_by_kind
from mixture_of_transformers.data.column_types import SOUND
from mixture_of_transformers.data.secrets import place_name, without_secrets
from mixture_of_transformers.evaluation.calibration import reliability
from mixture_of_transformers.evaluation.intervals import COVERAGE, RESAMPLES
from mixture_of_transformers.evaluation.markup import Markup, element, joined
from mixture_of_transformers.evaluation.report_charts import (
    bar_chart,
    draw_bars,
    figure,
    interval_chart,
    line_chart,
    reliability_chart,
    scatter_chart,
)
from mixture_of_transformers.evaluation.report_rows import picture, sound
from mixture_of_transformers.evaluation.report_style import SCRIPT, STYLE
from mixture_of_transformers.finetune.card import DESCRIPTIONS, command_of, describe_inputs
from mixture_of_transformers.finetune.record import Record
from mixture_of_transformers.finetune.samples import MEDIA_OF_SAMPLES, SAMPLES
from mixture_of_transformers.finetune.table import COUNTS, section_of, subsets_line, table_of, written
from mixture_of_transformers.training.evaluation import SubsetAnswers, mean_over_pairs
from mixture_of_transformers.training.metrics import classification_metrics, scores_of_counts

MOST_CLASSES = 20  # of a confusion matrix, and of a table of classes
SCORES = ("precision", "recall", "f1")
MOST_LISTED = 60  # classes of a model
# What a log says of an evaluation beside its figures.
TIMES_OF_EVALUATION = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
WITHOUT_INTERVALS = {
    "retrieval": "There are no intervals: a query is compared with all other rows, which cannot be drawn one by one.",
    "pretraining": "There are no intervals: losses are means over batches.",
    "generation": "There are no intervals: losses are means over the tokens of all documents.",
}
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


@dataclass(frozen=True)
class Mistake:
    """
    A row that was answered wrongly.

    Args:
        row: its number in the split, from 0.
        said, truth: the answer and the label.
        degree: how sure or how far off the answer is.
        cells: what the row has, by the names of the cells.
        contributions: of each modality to the answer.
    """

    row: int
    said: str
    truth: str
    degree: str
    cells: Sequence[tuple[str, Markup]]
    contributions: Mapping[str, float]


@dataclass(frozen=True)
class Shares:
    """
    What each modality contributed to the answers to some rows.

    Args:
        modalities: their names (M).
        values: (N, M) Shapley values.
        present: (N, M) bool, which modalities each row has.
        is_right: (N,) bool, whether its answer is; None for numbers.
        unit: of the values.
    """

    modalities: tuple[str, ...]
    values: np.ndarray
    present: np.ndarray
    is_right: np.ndarray | None
    unit: str


@dataclass(frozen=True)
class Facts:
    """
    What a page tells.

    Args:
        record: which data the run had, and how its model came to be.
        config, architecture, parameters: of the model.
        evaluated: the name of the dataset of the results.
        results: what results.json holds; None without any.
        problem: why no rows could be read; None where they were.
        folder: of the checkpoint, for its samples.
        bad: split -> row -> why it was left out.
        log: the history of the training; `best_step`, that of the weights that were kept as the best.
        command, date, machine, versions: how, when, where and with what the page was made.
        intervals: name of a row of the results -> its figure -> the ends of the interval.
        answers: of a model that classifies or regresses.
    """

    record: Record
    config: MoTConfig | MoTCausalConfig
    architecture: str
    parameters: int
    evaluated: str
    results: dict | None
    problem: str | None
    folder: Path
    bad: Mapping[str, Mapping[int, str]]
    log: Sequence[dict]
    best_step: int | None
    samples: Sequence[Mapping[str, str]]
    command: str
    date: str
    machine: str
    versions: Mapping[str, str]
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    answers: SubsetAnswers | None = None
    mistakes: Sequence[Mistake] = ()
    shares: Shares | None = None
    rows_per_second: float | None = None

    @property
    def task(self) -> str:
        return self.record.data["task"]

    @property
    def has_one_class(self) -> bool:
        """Whether a row has one class among several."""
        return self.task == "classification" and self.config.problem_type != "multi_label_classification"

    @property
    def subsets(self) -> list[str]:
        """Those that any labelled row has all of, the largest last."""
        return [] if self.answers is None else [name for name in self.answers.subsets if len(self.answers.of(name)[1])]


def page(facts: Facts) -> str:
    """The whole page."""
    found = {title: make(facts) for title, make in SECTIONS.items()}
    shown = {title: content for title, content in found.items() if isinstance(content, Markup)}
    left_out = {title: reason for title, reason in found.items() if reason and title not in shown}
    name = place_name(facts.record.run.name)
    links = [element("a", title, href=f"#{anchor(title)}") for title in shown]
    sections = [
        element("section", element("h2", title), content, id=anchor(title)) for title, content in shown.items()
    ]
    if left_out:
        reasons = [[element("dt", title), element("dd", reason)] for title, reason in left_out.items()]
        sections.append(element("section", element("h2", "Left out"), element("dl", reasons)))
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{name}: report"),
        element("style", Markup(STYLE)),
    ]
    body = [
        element("header", element("h1", name), introduction(facts), tiles(facts), element("nav", links)),
        element("main", sections),
        element("script", Markup(SCRIPT)),
    ]
    html = element("html", element("head", head), element("body", body), lang="en")
    return without_secrets(f"<!DOCTYPE html>\n{html}\n")


def policy() -> str:
    """What a browser may do with the page: show what is in it, and run the one script that is known here."""
    known = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'sha256-{known}'; "
        "base-uri 'none'; form-action 'none'"
    )


def anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def pairs(rows: Mapping[str, object]) -> Markup:
    """Names with what they are, without those that are None."""
    return element("dl", [[element("dt", name), element("dd", v)] for name, v in rows.items() if v is not None])


def table(headings: Sequence[str], rows: Sequence[Sequence], class_: str | None = None) -> Markup:
    """A table that can be moved where it is too wide; all but the first column are numbers unless they are text."""
    numeric = [all(not isinstance(row[i], str) or is_number(row[i]) for row in rows) for i in range(len(headings))]
    kinds = ["number" if i and is_numeric else None for i, is_numeric in enumerate(numeric)]
    head = element("tr", [element("th", name, class_=kind) for name, kind in zip(headings, kinds)])
    lines = [element("tr", [element("td", cell, class_=kind) for cell, kind in zip(row, kinds)]) for row in rows]
    inner = element("table", element("thead", head), element("tbody", lines), class_=class_)
    return element("div", inner, class_="wide")


def is_number(cell: str) -> bool:
    """Whether a cell is a figure: those that bring an interval are."""
    return isinstance(cell, Markup) or re.fullmatch(r"-?[\d,.]+(e[+-]\d+)?", cell) is not None


# ---------------------------------------------------------------------------------------------------------------------
# The head of the page
# ---------------------------------------------------------------------------------------------------------------------


def introduction(facts: Facts) -> Markup:
    run = facts.record.run
    model = f"A Mixture-of-Transformers of {facts.parameters:,} parameters {DESCRIPTIONS[facts.task]}"
    trained = f", trained on {run.dataset}" if run.command is not None else ""
    where = f" The figures are of the {facts.results['split']} split of {facts.evaluated}." if facts.results else ""
    return element("p", f"{model}{trained}.{where} Made on {facts.date}.")


def tiles(facts: Facts) -> Markup:
    """The few figures that a reader looks for first."""
    run, shown = facts.record.run, []
    if facts.results is not None:
        shown += main_tile(facts)
    if facts.has_one_class and facts.subsets:
        name = facts.subsets[-1]
        error = reliability(*facts.answers.of(name)).expected_calibration_error
        shown.append((f"{error:.3f}", f"expected calibration error, {name}"))
    if run.rows:
        shown.append((f"{run.rows.get('train', sum(run.rows.values())):,}", "rows of training"))
    shown.append((f"{facts.parameters:,}", "parameters"))
    if run.seconds:
        shown.append((duration(run.seconds), "of training"))
    return element(
        "div", [element("div", element("b", n), element("span", said)) for n, said in shown], class_="figures"
    )


def main_tile(facts: Facts) -> list[tuple[str, str]]:
    """The figure of all modalities, or of a search the mean over its pairs; losses have none that stands for all."""
    found = {name: numbers for name, numbers in facts.results.get("subsets", {}).items() if main_figure(numbers)}
    if found:
        *_, (name, numbers) = found.items()
        metric = main_figure(numbers)
        ends = facts.intervals.get(name, {}).get(metric)
        return [
            (f"{numbers[metric]:.3f}", f"{metric}, {name}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else ""))
        ]
    means = mean_over_pairs(facts.results.get("pairs", {}))
    return [(f"{means[metric]:.3f}", f"{metric}, mean of the pairs") for metric in [main_figure(means)] if metric]


def main_figure(numbers: Mapping[str, float]) -> str | None:
    """The name of the figure that stands for a row of the results; None where the row has none."""
    return next((name for name in numbers if name not in COUNTS), None)


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# ---------------------------------------------------------------------------------------------------------------------
# What it is worth
# ---------------------------------------------------------------------------------------------------------------------


def results(facts: Facts) -> Markup | str:
    """The table of subsets, pairs, loss terms or targets, with intervals where there are any."""
    if facts.results is None:
        return f"{facts.problem} The run has left no results either."
    first, headings, rows = table_of(facts.results)
    section = facts.results[section_of(facts.results)]
    lines = []
    for name, *cells in rows:
        ends = facts.intervals.get(name, {})
        lines.append([name, *(with_interval(cell, ends.get(heading)) for heading, cell in zip(headings, cells))])
    metric = next((found for numbers in section.values() if (found := main_figure(numbers))), None)
    measured = {name: numbers[metric] for name, numbers in section.items() if metric in numbers}
    if facts.intervals:
        ends = {name: facts.intervals[name][metric] for name in measured}
        chart = interval_chart(metric, [(name, value, ends[name]) for name, value in measured.items()])
        note = (
            f"The ranges hold {COVERAGE:.0%} of a figure's values on {RESAMPLES:,} sets of rows drawn anew, with "
            "replacement, from the same ones. They speak of other rows of this kind, not of other training runs."
        )
    else:
        chart = bar_chart(metric, [*measured.items()]) if measured else None
        note = WITHOUT_INTERVALS.get(facts.task)
    if facts.problem is not None:
        note = f"{facts.problem} The figures are those that the run has left, without intervals."
    notes = [element("p", said, class_="note") for said in (note, subsets_line(facts.results)) if said]
    return joined(element("div", chart, table([first, *headings], lines), class_="beside"), notes)


def with_interval(cell: str, ends: tuple[float, float] | None) -> Markup:
    if cell == "nan":
        return element("span", "–")
    below = element("span", f"{ends[0]:.3f} to {ends[1]:.3f}", class_="interval-text") if ends else None
    return joined(element("span", cell), below)


def classes(facts: Facts) -> Markup | str | None:
    """Confusion, each class and calibration, of the subset that is chosen."""
    if facts.task != "classification":
        return f"There are no classes: the task is {facts.task}."
    if facts.answers is None:
        return facts.problem
    names = facts.subsets
    if not names:
        return "No row that was evaluated has a label."
    options = [element("option", name, value=name, selected=name == names[-1]) for name in names]
    choice = element(
        "p", element("label", "Answers from ", for_="subset"), element("select", options, id="subset"), hidden=True
    )
    blocks = [element("div", of_subset(facts, name), data_subset=name, hidden=name != names[-1]) for name in names]
    return joined(choice, blocks)


def of_subset(facts: Facts, subset: str) -> Markup:
    logits, labels = facts.answers.of(subset)
    names = [facts.config.id2label[i] for i in range(facts.config.num_labels)]
    said = f"{len(labels):,} rows with a label and all of {subset}."
    if not facts.has_one_class:
        shown, scores = most_mistaken(logits > 0, labels > 0.5), several_classes(logits > 0, labels > 0.5)
        matrix = None
    else:
        labels = labels.reshape(len(labels)).astype(int)
        answers, every = logits.argmax(axis=1), np.arange(len(names))
        shown = most_mistaken(answers[:, None] == every, labels[:, None] == every)
        scores = classification_metrics(logits, labels)["per_class"]
        first = element("div", element("h3", "Confusion matrix"), confusion(names, labels, answers, shown))
        matrix = element("div", first, calibration(logits, labels), class_="beside")
    if len(shown) < len(names):
        said += f" Of {len(names):,} classes those {len(shown)} are shown that have the most mistakes."
    rows = [[names[i], *(written(scores[i][key]) for key in SCORES), f"{scores[i]['support']:,}"] for i in shown]
    each = table(["class", *SCORES, "rows"], rows)
    return joined(element("p", said, class_="note"), matrix, element("h3", "Each class"), each)


def most_mistaken(answered: np.ndarray, true: np.ndarray) -> list[int]:
    """The classes with the most mistakes, at most so many as a page has room for, of bools (N, C)."""
    wrong = (answered != true).sum(axis=0)
    return sorted(np.argsort(-wrong, kind="stable")[:MOST_CLASSES].tolist())


def confusion(names: Sequence[str], labels: np.ndarray, answers: np.ndarray, shown: Sequence[int]) -> Markup:
    """How many rows of each label got each answer, of the classes that are shown."""
    head = element("tr", element("th", "label \\ answer"), [element("th", element("span", names[i])) for i in shown])
    lines = []
    for i in shown:
        of_label, cells = answers[labels == i], []
        for j in shown:
            count = int((of_label == j).sum())
            share = count / max(len(of_label), 1)
            kind = " ".join(["hit" if i == j else "miss", *(["full"] if share > 0.6 else [])])
            title = f"{count} of {len(of_label)} rows of {names[i]} were answered with {names[j]}"
            # A count that is small beside its row is still to be seen.
            tint = f"--share: {12 + 78 * share if count else 0:.0f}%"
            cells.append(element("td", count or "", class_=kind, style=tint, title=title))
        lines.append(element("tr", element("th", names[i]), cells))
    inner = element("table", element("thead", head), element("tbody", lines), class_="confusion")
    note = "Rows are labels, columns answers. The deeper the colour, the larger the share of the label's rows."
    return joined(element("div", inner, class_="wide"), element("p", note, class_="note"))


def calibration(logits: np.ndarray, labels: np.ndarray) -> Markup:
    """How often answers of each confidence are right."""
    found = reliability(logits, labels)
    note = (
        f"The expected calibration error is {found.expected_calibration_error:.4f}: how far the confidence of an "
        "answer is from how often such answers are right, on average over the rows. On the dashed line both are "
        f"equal; below it the model is too sure. A dot is as large as its bin, one of {len(found.rows)}, has rows."
    )
    chart = reliability_chart("How often answers are right, by their confidence", found)
    return element("div", element("h3", "Calibration"), chart, element("p", note, class_="note"))


def several_classes(answered: np.ndarray, true: np.ndarray) -> list[dict[str, float]]:
    """What `classification_metrics` says of each class, where rows may have several: of bools (N, C)."""
    support = true.sum(axis=0)
    scores = scores_of_counts((answered & true).sum(axis=0), answered.sum(axis=0), support)
    return [dict(zip((*SCORES, "support"), of_class)) for of_class in zip(*scores, support)]


def numbers(facts: Facts) -> Markup | str | None:
    """Answers of a regression beside the labels."""
    if facts.task != "regression":
        return None
    if facts.answers is None:
        return facts.problem
    charts = []
    for subset in facts.subsets:
        logits, labels = facts.answers.of(subset)
        answers, labels = logits.reshape(-1), labels.reshape(-1)
        known = np.isfinite(labels)
        charts.append(scatter_chart(subset, labels[known], answers[known]))
    note = "A dot is a row; on the dashed line the answer is the label."
    return joined(element("div", charts, class_="charts"), element("p", note, class_="note"))


def mistakes(facts: Facts) -> Markup | str:
    if facts.task not in ("classification", "regression"):
        return f"There are no answers to compare with labels: the task is {facts.task}."
    if facts.problem is not None:
        return facts.problem
    if not facts.mistakes:
        return "No row with a label was answered wrongly."
    what = "of which the model was most sure" if facts.task == "classification" else "that are furthest from the label"
    note = (
        f"The {len(facts.mistakes)} wrong answers {what}, from all that each row has. Pictures and sounds are made "
        "anew, small and cut. Bars: what each modality contributed to the answer."
    )
    return joined(
        element("p", note, class_="note"), element("div", [card(one) for one in facts.mistakes], class_="cards")
    )


def card(mistake: Mistake) -> Markup:
    bars = draw_bars("Contributions", [*mistake.contributions.items()], "{:+.3f}") if mistake.contributions else None
    return element(
        "article",
        element("h3", f"{mistake.said}, not {mistake.truth}"),
        element("p", f"row {mistake.row:,}, {mistake.degree}", class_="note"),
        [content for _, content in mistake.cells],
        bars,
        class_="card",
    )


def contributions(facts: Facts) -> Markup | str:
    """How much each modality moves the answers."""
    shares = facts.shares
    if facts.task not in ("classification", "regression"):
        return f"Contributions are those to an answer to a row, and the task is {facts.task}."
    if shares is None:
        return facts.problem or "The model has one modality."
    columns = [(m, shares.values[shares.present[:, i], i], i) for i, m in enumerate(shares.modalities)]
    columns = [(m, values, i) for m, values, i in columns if len(values)]
    title = f"Mean size of a contribution ({shares.unit})"
    chart = figure(title, draw_bars(title, [(m, float(np.abs(values).mean())) for m, values, _ in columns], "{:.3f}"))
    headings, rows = ["modality", "mean size", "mean", "rows"], []
    groups = {}
    if shares.is_right is not None:
        groups = {"mean where right": shares.is_right, "mean where wrong": ~shares.is_right}
        headings[2:3] = [*groups]
    for m, values, i in columns:
        means = [mean_written(shares.values[shares.present[:, i] & chosen, i]) for chosen in groups.values()]
        rows.append([m, written(np.abs(values).mean()), *(means or [written(values.mean())]), f"{len(values):,}"])
    target = "the class that the model chose" if facts.task == "classification" else "the number that the model gave"
    note = (
        f"Shapley values: what a modality adds to {target}, averaged over all orders in which the modalities of a row "
        f"may come, of {len(shares.values):,} rows. With the answer to nothing they sum to the answer."
    )
    return joined(element("div", chart, table(headings, rows), class_="beside"), element("p", note, class_="note"))


def mean_written(values: np.ndarray) -> str | Markup:
    return written(float(values.mean())) if len(values) else element("span", "–")


def samples(facts: Facts) -> Markup | str | None:
    """What a generator has made."""
    if facts.task != "generation":
        return None
    if not facts.samples:
        return "The run has left no samples."
    shown = []
    for sample in facts.samples:
        made = element("div", made_in_page(facts.folder, sample["made"]), class_="made")
        shown.append(
            element(
                "article",
                element("p", sample["template"], class_="note"),
                element("p", sample["prompt"], class_="words"),
                made,
                class_="card",
            )
        )
    note = (
        "Above a line is the document's template and the beginning that was given; below, what the model made of it."
    )
    return joined(element("p", note, class_="note"), element("div", shown, class_="cards"))


def made_in_page(folder: Path, made: str) -> Markup:
    """A text that was made, or the picture or sound of a file among the samples."""
    file = folder / SAMPLES / Path(made).name
    if made != f"{SAMPLES}/{file.name}" or file.suffix not in MEDIA_OF_SAMPLES or not file.is_file():
        return element("p", made or "(nothing)", class_="words")
    if MEDIA_OF_SAMPLES[file.suffix] == SOUND:
        samples, rate = soundfile.read(file, dtype="float32")
        return sound(samples, rate)
    with Image.open(file) as opened:
        return picture(opened, "generated")


# ---------------------------------------------------------------------------------------------------------------------
# How it came to be
# ---------------------------------------------------------------------------------------------------------------------


def training(facts: Facts) -> Markup | str:
    """Curves of every loss term and of every figure of the validation."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for entry in facts.log:
        for name, value in entry.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                curves.setdefault(name, []).append((entry["step"], float(value)))
    charts = []
    for title, total in (("Loss of training", "loss"), ("Loss of validation", "eval_loss")):
        terms = sorted(
            (name for name in curves if name.startswith(f"{total}/")), key=place_among(facts.config.modalities)
        )
        if total in curves:
            found = {total.removeprefix("eval_"): curves[total]} | {
                name.removeprefix(f"{total}/"): curves[name] for name in terms
            }
            charts.append(line_chart(title, found, facts.best_step))
    for name in [name.removeprefix("eval_") for name in curves if name.startswith("eval_")]:
        if name not in TIMES_OF_EVALUATION and name.partition("/")[0] != "loss":
            charts.append(line_chart(f"Validation: {name}", {name: curves[f"eval_{name}"]}, facts.best_step))
    if not charts:
        return "The checkpoint brings no history of its training (trainer_state.json)."
    weights = f"The weights are those {facts.record.run.weights}." if facts.record.run.weights else None
    note = "Terms are the losses of what stands beside them." + (
        " The dashed line is the step that was kept." if facts.best_step else ""
    )
    return joined(
        element("div", charts, class_="charts"), element("p", note, class_="note"), weights and element("p", weights)
    )


def place_among(modalities: Sequence[str]) -> Callable[[str], tuple]:
    """The order of loss terms: those of one modality first, in the order of the model's."""

    def place(term: str) -> tuple:
        parts = re.split(r"[+-]", term.rpartition("/")[2])
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


SECTIONS: dict[str, Callable[[Facts], Markup | str | None]] = {
    "Results": results,
    "Classes": classes,
    "Answers and labels": numbers,
    "Mistakes": mistakes,
    "Contributions": contributions,
    "Samples": samples,
    "Training": training,
    "Data": data,
    "Model": model,
    "How it was made": making,
}
