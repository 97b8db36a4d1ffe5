# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The page of `mot robustness`: robustness.json, its figures as tables, and curves where matplotlib is installed.

`found` holds `checkpoint`, `dataset`, `split`, `rows`, `seed` and `modalities`; `as_is`, subset -> numbers; `missing`
(of several modalities) with `alike`, `unequal` and `spread`; and `corruptions`, modality -> name -> its `unit` and
`severities`, each with its `value` and `subsets`. Numbers are `accuracy`, `expected_calibration_error` and `rows`.
"""

import json
import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from transformers.utils import logging

from mixture_of_transformers.explain.pictures import (
    FONT_SIZE,
    GREY,
    INK,
    LINES,
    MARKS,
    add_legend,
    look_of,
    new_axes,
    new_figure,
    plain,
)
from mixture_of_transformers.training.run_folder import write_whole

logger = logging.get_logger(__name__)

RESULTS, PAGE = "robustness.json", "robustness.md"
MISSING_PICTURE = "robustness_missing.png"
COLUMNS = 4  # of curves beside each other


def write_page(found: dict, folder: Path) -> None:
    """Write the figures as JSON and as a page of Markdown, with curves beside it."""
    write_whole(folder / RESULTS, json.dumps(found, indent=2) + "\n")
    has_curves = find_spec("matplotlib") is not None
    if has_curves:
        draw_curves(found, folder)
    else:
        logger.warning("The page has no curves: `pip install 'mixture-of-transformers[viz]'` brings matplotlib.")
    write_whole(folder / PAGE, "\n".join(page_lines(found, has_curves)) + "\n")


# ---------------------------------------------------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------------------------------------------------


def page_lines(found: dict, has_curves: bool) -> Iterator[str]:
    """The lines of the page."""
    yield f"# How robust {found['checkpoint']} is"
    yield ""
    yield (
        f"{found['rows']} rows of split '{found['split']}' of {found['dataset']}, seed {found['seed']}. ECE is the "
        "expected calibration error: how far, in the mean over the rows, confidence is from accuracy (15 bins)."
    )
    yield from section("As the data are")
    yield from table(
        ["modalities", "accuracy", "95 % interval", "ECE", "rows"],
        [
            [subset, share(of, "accuracy"), interval(of), share(of, "expected_calibration_error"), str(of["rows"])]
            for subset, of in found["as_is"].items()
        ],
    )
    if "missing" in found:
        yield from missing_lines(found, has_curves)
    for modality, corruptions in found["corruptions"].items():
        yield from corruption_lines(found, modality, corruptions, has_curves)


def missing_lines(found: dict, has_curves: bool) -> Iterator[str]:
    missing, modalities = found["missing"], found["modalities"]
    yield from section("Missing modalities")
    yield (
        "Each modality of a row is drawn at the rate, and a row of which all are drawn keeps one: so at a high rate "
        "fewer rows lack a modality than it says. The answer is to what each row then has."
    )
    yield ""
    if has_curves:
        yield from picture("accuracy by the rate of missing modalities", MISSING_PICTURE)
    headings = [*(f"{m} lost" for m in modalities), "accuracy", "95 % interval", "ECE"]
    yield from table(["rate of each", *headings], [[f"{of['rate']:.1f}", *at_rates(of)] for of in missing["alike"]])
    yield ""
    rates = missing["unequal"][0]["rates"].values()
    yield f"Unequal rates: {max(rates):.1f} for the rare one, {min(rates):.1f} for each other."
    yield ""
    yield from table(["the rare one", *headings], [[of["rare"], *at_rates(of)] for of in missing["unequal"]])
    yield ""
    yield (
        f"The spread, the highest of these accuracies less the lowest, is {missing['spread']:.3f}: 0 would say that "
        "it does not matter which modality is the rare one."
    )


def at_rates(of: dict) -> list[str]:
    lost = [f"{value:.2f}" for value in of["absent"].values()]
    return [*lost, share(of, "accuracy"), interval(of), share(of, "expected_calibration_error")]


def corruption_lines(found: dict, modality: str, corruptions: dict, has_curves: bool) -> Iterator[str]:
    """What one modality suffers: the accuracy of every subset that has it, and the ECE of it alone and of all."""
    yield from section(f"What {modality} suffers")
    subsets = subsets_of(corruptions)
    others = without(found, modality)
    if others is not None:
        name, of = others
        yield f"Without {modality}, {name} has an accuracy of {share(of, 'accuracy')}."
        yield ""
    if has_curves:
        yield from picture(f"accuracy by what {modality} suffers", picture_of(modality))
    ends = list(dict.fromkeys([subsets[0], subsets[-1]]))
    headings = ["", "", *subsets, *(f"ECE, {subset}" for subset in ends)]
    rows = [["as it is", "", *cells_of(found["as_is"], subsets, ends)]]
    for name, corruption in corruptions.items():
        for at in corruption["severities"]:
            value = f"{at['value']:g} {corruption['unit']}" if corruption["unit"] else ""
            rows.append([words(name), value, *cells_of(at["subsets"], subsets, ends)])
    yield from table(headings, rows)


def cells_of(numbers: dict, subsets: Sequence[str], ends: Sequence[str]) -> list[str]:
    accuracies = [share(numbers[subset], "accuracy") for subset in subsets]
    return accuracies + [share(numbers[subset], "expected_calibration_error") for subset in ends]


def subsets_of(corruptions: dict) -> list[str]:
    """The subsets that have the modality which suffers, it alone first and all last."""
    return list(next(iter(corruptions.values()))["severities"][0]["subsets"])


def without(found: dict, modality: str) -> tuple[str, dict] | None:
    """The subset of all modalities but one, with its numbers; None where there is no other."""
    name = "+".join(m for m in found["modalities"] if m != modality)
    return (name, found["as_is"][name]) if name else None


def section(title: str) -> list[str]:
    return ["", f"## {title}", ""]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|---" * len(headings) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def share(numbers: dict, name: str) -> str:
    return f"{numbers[name]:.3f}" if numbers["rows"] else ""


def interval(numbers: dict) -> str:
    return "{:.3f} to {:.3f}".format(*numbers["accuracy_interval"]) if numbers["rows"] else ""


def picture(title: str, file: str) -> list[str]:
    return [f"![{title}]({file})", ""]


def picture_of(modality: str) -> str:
    return f"robustness_{modality}.png"


def words(name: str) -> str:
    return name.replace("_", " ")


# ---------------------------------------------------------------------------------------------------------------------
# Curves
# ---------------------------------------------------------------------------------------------------------------------


def draw_curves(found: dict, folder: Path) -> None:
    """The pictures of the page."""
    if "missing" in found:
        draw_missing(found, folder / MISSING_PICTURE)
    for modality, corruptions in found["corruptions"].items():
        draw_corruptions(found, modality, corruptions, folder / picture_of(modality))


def draw_missing(found: dict, path: Path) -> None:
    """Accuracy and calibration error by the rate alike for all, and accuracy by which modality is the rare one."""
    alike, unequal = found["missing"]["alike"], found["missing"]["unequal"]
    whole = list(found["as_is"].values())[-1]
    with new_figure("Missing modalities", (9, 3), path) as figure:
        curve, error, bars = new_axes(figure, 1, 3)[0]
        for axis, name, label in (
            (curve, "accuracy", "accuracy"),
            (error, "expected_calibration_error", "expected calibration error"),
        ):
            points = [(0.0, whole), *((of["rate"], of) for of in alike)]
            rates, values = zip(*((rate, of.get(name, math.nan)) for rate, of in points))
            axis.plot(rates, values, color=INK, marker=MARKS[0], markersize=4)
            axis.set_xlabel("rate alike for all")
            axis.set_ylabel(label)
            axis.set_ylim(0, 1.02 if axis is curve else None)
        names, heights = [of["rare"] for of in unequal], [of["accuracy"] for of in unequal]
        bars.bar(range(len(names)), heights, color=[look_of(i, LINES)[0] for i in range(len(names))])
        bars.set_xticks(range(len(names)), [plain(name) for name in names])
        bars.set_ylim(0, 1.02)
        bars.set_xlabel("the rare modality, at unequal rates")
        bars.set_ylabel("accuracy")


def draw_corruptions(found: dict, modality: str, corruptions: dict, path: Path) -> None:
    """A small picture for each corruption: the accuracy of every subset that has the modality, from severity 0 on."""
    subsets, others = subsets_of(corruptions), without(found, modality)
    lines = -(-len(corruptions) // COLUMNS)
    title = f"Accuracy by what {plain(modality)} suffers (–: as the data are)"
    with new_figure(title, (10, 2.1 * lines + 0.6), path) as figure:
        axes = list(new_axes(figure, lines, COLUMNS, sharey=True).flat)
        for axis, (name, corruption) in zip(axes, corruptions.items()):
            severities = corruption["severities"]
            for number, subset in enumerate(subsets):
                values = [found["as_is"][subset], *(at["subsets"][subset] for at in severities)]
                color, line = look_of(number, LINES)
                look = {"color": color, "linestyle": line, "marker": MARKS[number % len(MARKS)], "markersize": 3}
                label = plain(subset) if axis is axes[0] else None
                axis.plot([of.get("accuracy", math.nan) for of in values], label=label, **look)
            if others is not None and others[1]["rows"]:
                label = plain(f"{others[0]} alone") if axis is axes[0] else None
                axis.axhline(others[1]["accuracy"], color=GREY, linestyle=":", label=label)
            axis.set_ylim(0, 1.02)
            ticks = [f"{at['value']:g}" if corruption["unit"] else "" for at in severities]
            axis.set_xticks(range(len(ticks) + 1), ["–", *ticks])
            axis.set_xlabel(corruption["unit"])
            axis.set_title(words(name), fontsize=FONT_SIZE, color=INK)
        for axis in axes[len(corruptions) :]:
            axis.set_axis_off()
        add_legend(figure)
