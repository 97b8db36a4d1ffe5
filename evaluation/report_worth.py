# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The sections of a report that say what a model is worth: its figures, its mistakes, and what moves its answers.

Each takes the facts and gives its HTML, or as plain text why there is none, or None where nobody would look for it.

Shapes: N rows, C classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mixture_of_transformers.attribution_mot import MOST_EXACT
from mixture_of_transformers.data.column_types import SOUND
from mixture_of_transformers.decoding_audio_mot import load_audio
from mixture_of_transformers.decoding_image_mot import load_image
from mixture_of_transformers.evaluation.calibration import reliability
from mixture_of_transformers.evaluation.intervals import COVERAGE, RESAMPLES
from mixture_of_transformers.evaluation.markup import Markup, element, joined, table
from mixture_of_transformers.evaluation.report_charts import (
    CURVE_COLORS,
    bar_chart,
    draw_bars,
    figure,
    interval_chart,
    reliability_chart,
    scatter_chart,
)
from mixture_of_transformers.evaluation.report_facts import Facts, Mistake
from mixture_of_transformers.evaluation.report_origin import described_bad
from mixture_of_transformers.evaluation.report_rows import NOT_SHOWN, SOUND_RATE, SOUND_SECONDS, picture, sound
from mixture_of_transformers.finetune.samples import MEDIA_OF_SAMPLES, SAMPLES
from mixture_of_transformers.finetune.table import COUNTS, section_of, subsets_line, table_of, written
from mixture_of_transformers.modalities_mot import CELLS
from mixture_of_transformers.training.metrics import classification_metrics, has_label, scores_of_counts

MOST_CLASSES = 20  # of a confusion matrix, and of a table of classes
SCORES = ("precision", "recall", "f1")
SEARCHED = " Only the queries are drawn; the items among which each finds its own stay all the same."
WITHOUT_INTERVALS = {
    "pretraining": "There are no intervals: losses are means over batches.",
    "generation": "There are no intervals: losses are means over the tokens of all documents.",
}


def main_figure(numbers: Mapping[str, float]) -> str | None:
    """The name of the figure that stands for a row of the results; None where the row has none."""
    return next((name for name in numbers if name not in COUNTS), None)


def results(facts: Facts) -> Markup | str:
    """The table of subsets, pairs, loss terms or targets, with intervals where there are any."""
    if facts.results is None:
        return f"{facts.problem} The run has left no results either."
    first, headings, rows = table_of(facts.results)
    section = facts.results[section_of(facts.results)]
    lines = []
    for name, *cells in rows:
        ends = facts.intervals.get(name, {})
        lines.append(
            [facts.called(name), *(with_interval(cell, ends.get(heading)) for heading, cell in zip(headings, cells))]
        )
    metric = next((found for numbers in section.values() if (found := main_figure(numbers))), None)
    measured = {name: numbers[metric] for name, numbers in section.items() if metric in numbers}
    if facts.intervals:
        ends = {name: facts.intervals[name][metric] for name in measured}
        chart = interval_chart(metric, [(facts.called(name), value, ends[name]) for name, value in measured.items()])
        note = (
            f"The ranges hold {COVERAGE:.0%} of a figure's values on {RESAMPLES:,} sets of rows drawn anew, with "
            "replacement, from the same ones. They speak of other rows of this kind, not of other training runs."
            + (SEARCHED if facts.task == "retrieval" else "")
        )
    else:
        bars = [(facts.called(name), value) for name, value in measured.items()]
        chart = bar_chart(metric, bars) if bars else None
        note = WITHOUT_INTERVALS.get(facts.task)
    if facts.problem is not None:
        note = f"{facts.problem} The figures are those that the run has left, without intervals."
    unread = f"Left out, since they cannot be read: {described_bad(facts.unread)}." if facts.unread else None
    notes = [element("p", said, class_="note") for said in (note, subsets_line(facts.results), unread) if said]
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
    options = [element("option", facts.called(name), value=name, selected=name == names[-1]) for name in names]
    choice = element(
        "p", element("label", "Answers from ", for_="subset"), element("select", options, id="subset"), hidden=True
    )
    blocks = [element("div", of_subset(facts, name), data_subset=name, hidden=name != names[-1]) for name in names]
    return joined(choice, blocks)


def of_subset(facts: Facts, subset: str) -> Markup:
    logits, labels = facts.answers.of(subset)
    names = [facts.config.id2label[i] for i in range(facts.config.num_labels)]
    said = f"{len(labels):,} rows with a label, from {facts.called(subset)}."
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
        known = has_label(labels)
        charts.append(scatter_chart(facts.called(subset), labels[known], answers[known]))
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
        element("p", note, class_="note"), element("div", [card(facts, one) for one in facts.mistakes], class_="cards")
    )


def card(facts: Facts, mistake: Mistake) -> Markup:
    shares = mistake.contributions
    bars = draw_bars("Contributions", [*shares.items()], "{:+.3f}", colors_of(facts, shares)) if shares else None
    # Words, a picture and a sound say themselves what they are.
    names = [None if name in CELLS else element("p", name, class_="note cell") for name, _ in mistake.cells]
    return element(
        "article",
        element("h3", f"{mistake.said}, not {mistake.truth}"),
        element("p", f"row {mistake.row:,}, {mistake.degree}", class_="note"),
        [[name, content] for name, (_, content) in zip(names, mistake.cells)],
        bars,
        class_="card",
    )


def colors_of(facts: Facts, modalities: Iterable[str]) -> list[str]:
    """One for each modality, the same all over the page."""
    return [CURVE_COLORS[facts.config.modalities.index(m) % len(CURVE_COLORS)] for m in modalities]


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
    bars = {m: float(np.abs(values).mean()) for m, values, _ in columns}
    chart = figure(title, draw_bars(title, [*bars.items()], "{:.3f}", colors_of(facts, bars)))
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
    if len(shares.modalities) > MOST_EXACT:
        note += " They are estimated from some of these orders."
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
    try:
        if MEDIA_OF_SAMPLES[file.suffix] == SOUND:
            return sound(load_audio(str(file), "generated", SOUND_RATE, None, SOUND_SECONDS)[0])
        return picture(load_image(str(file), "generated", convert_rgb=True), "generated")
    except (ValueError, OSError):  # a sound without any samples, say
        return element("p", NOT_SHOWN, class_="note")
