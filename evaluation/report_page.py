# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The page of a report: HTML that needs no other file and asks no one for anything, from the facts of a run.

A section is a function from the facts to its HTML; where there is nothing to show it gives the reason as plain text,
and the end of the page lists these. Every text is escaped as it is put in, and a policy in the head of the page
forbids browsers all that is not in the page itself.
"""

import base64
import hashlib
from collections.abc import Callable

from mixture_of_transformers.data.secrets import place_name, without_secrets
from mixture_of_transformers.evaluation.calibration import reliability
from mixture_of_transformers.evaluation.markup import Markup, element
from mixture_of_transformers.evaluation.report_facts import Facts
from mixture_of_transformers.evaluation.report_origin import data, making, model, training
from mixture_of_transformers.evaluation.report_style import SCRIPT, STYLE
from mixture_of_transformers.evaluation.report_worth import (
    classes,
    contributions,
    main_figure,
    mistakes,
    numbers,
    results,
    samples,
)
from mixture_of_transformers.finetune.card import DESCRIPTIONS
from mixture_of_transformers.training.evaluation import mean_over_pairs


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
        shown.append((f"{error:.3f}", f"expected calibration error, {facts.called(name)}"))
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
        said = f"{metric}, {facts.called(name)}"
        return [(f"{numbers[metric]:.3f}", f"{said} ({ends[0]:.3f} to {ends[1]:.3f})" if ends else said)]
    means = mean_over_pairs(facts.results.get("pairs", {}))
    return [(f"{means[metric]:.3f}", f"{metric}, mean of the pairs") for metric in [main_figure(means)] if metric]


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


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
