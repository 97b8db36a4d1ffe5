# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Writes `docs/missing.md` and its picture from the files that `benchmarks/missing_rates.py` leaves: every figure on
the page is computed here.

Shapes: N rows, M modalities.
"""

import json
import math
import shlex
from collections.abc import Iterable
from itertools import permutations
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

from mixture_of_transformers.evaluation.intervals import bootstrap_interval  # noqa: E402
from mixture_of_transformers.evaluation.missing import draw_absent  # noqa: E402
from mixture_of_transformers.subsets_mot import all_subsets, subset_name  # noqa: E402

from .miniature_page import paragraph, save_picture, table  # noqa: E402
from .page import ROOT  # noqa: E402

SETTINGS, PICTURE = "settings.json", "missing.svg"
TEST_RATES = tuple(rate / 10 for rate in range(10))
DRAWS = 20  # of what the test rows lack at a rate, whose mean is shown
CHANCE = 0.1  # the accuracy of a guess among ten digits
WITHOUT, OFTEN_MISSING = "alike-0", "alike-0.6"
KINDS = ("alike", "rare", "balanced", "balanced-long", "alone", "alone-short")  # what the name of an arm begins with
ALONE = {"in as many epochs": "alone-short", "in as many steps": "alone"}
MOST_LOST, MOST_BEHIND = 0.02, 0.05  # the bars: on complete rows, and of the rare modality alone
COLOURS = ("#000000", "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")  # Okabe and Ito's

Run = dict  # what a file of `missing_rates.keep` holds
Arms = dict[str, list[Run]]  # arm -> its runs, one for each seed


def write_page(folder: Path, known: Iterable[str], docs: Path = ROOT / "docs") -> None:
    """
    Args:
        known: the names of all arms, also of those that were not run.

    Raises:
        ValueError: the folder lacks the run without missing cells, which the others are compared with.
    """
    arms: Arms = {}
    for file in sorted(file for file in folder.glob("*.json") if file.name != SETTINGS):
        run = json.loads(file.read_text(encoding="utf-8"))
        arms.setdefault(run["arm"], []).append(run)
    if WITHOUT not in arms:
        raise ValueError(f"{folder} holds no run of {WITHOUT}, without missing cells: run the benchmark first.")
    arms = dict(sorted(arms.items(), key=lambda item: place_of(item[0])))
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    text = draw(arms, docs / PICTURE)
    alone = [rare(arms)] if any(name.startswith("alone") for name in arms) else []
    sections = [introduction(arms), crossed(arms, text), *alone, equity_of_arms(arms)]
    sections.append(arrangement(arms, settings, [name for name in known if name not in arms]))
    (docs / "missing.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------------
# Figures
# ---------------------------------------------------------------------------------------------------------------------


def modalities_of(runs: list[Run]) -> tuple[str, ...]:
    return tuple(runs[0]["rates"])


def accuracy(runs: list[Run], subset: str) -> float:
    """Of the complete test rows, from a subset of their modalities; the mean of the seeds."""
    return float(np.mean([run["test"][subset] for run in runs]))


def whole(runs: list[Run]) -> str:
    """The name of the subset of all modalities."""
    return subset_name(modalities_of(runs))


def difference(runs: list[Run], others: list[Run], subset: str) -> tuple[float, float, float]:
    """
    By how much runs are better than others on the complete test rows, the mean of the seeds, and the interval that
    holds 95 % of such differences on rows drawn anew.
    """
    right, other = (np.mean([run["test"][subset] for run in some], axis=0) for some in (runs, others))  # (N,)
    gains = right - other
    return float(gains.mean()), *bootstrap_interval(lambda rows: gains[rows].mean(), len(gains))


def accuracy_at(runs: list[Run], rate: float) -> float:
    """Of the test rows when each modality is missing at a rate alike, by what each row has left."""
    modalities, found = modalities_of(runs), []
    for draw_seed in range(DRAWS if rate else 1):
        for run in runs:
            present = np.ones((len(run["test"][modalities[0]]), len(modalities)), dtype=bool)
            left = present & ~draw_absent(present, dict.fromkeys(modalities, rate), draw_seed)
            names = [subset_name(m for m, has in zip(modalities, row) if has) for row in left]
            found.append(np.mean([run["test"][name][number] for number, name in enumerate(names)]))
    return float(np.mean(found))


def contributions(runs: list[Run]) -> dict[str, float]:
    """
    What each modality adds to the accuracy on complete test rows, the mean over the orders in which they may come (its
    Shapley value); nothing at all guesses.
    """
    modalities = modalities_of(runs)
    worth = {frozenset(subset): accuracy(runs, subset_name(subset)) for subset in all_subsets(modalities)}
    worth[frozenset()] = CHANCE
    added: dict[str, list[float]] = {m: [] for m in modalities}
    for order in permutations(modalities):
        for place, m in enumerate(order):
            added[m].append(worth[frozenset(order[: place + 1])] - worth[frozenset(order[:place])])
    return {m: float(np.mean(values)) for m, values in added.items()}


def equity(parts: dict[str, float]) -> float:
    """How evenly contributions are shared: their entropy as a share of the most that it can be, 1 if all are alike."""
    values = np.clip(list(parts.values()), 0, None)
    shares = values[values > 0] / values.sum()
    return float(-(shares * np.log(shares)).sum() / math.log(len(parts)))


# ---------------------------------------------------------------------------------------------------------------------
# Sections
# ---------------------------------------------------------------------------------------------------------------------


def signed(value: float, low: float, high: float) -> str:
    return f"{value:+.3f}, {low:+.3f} to {high:+.3f}"


def place_of(name: str) -> tuple[bool, str, int]:
    """Where an arm stands in a table: rates alike by their size, then each rare modality with its remedies."""
    kind, _, which = name.rpartition("-")
    return kind != "alike", which, KINDS.index(kind)


def described(name: str) -> str:
    """What the training rows of an arm lack, in words."""
    kind, _, which = name.rpartition("-")
    if kind == "alike":
        return f"{float(which):.0%} of each".replace("%", " %")
    remedies = {"balanced": ", balanced", "balanced-long": ", balanced, twice the steps"}
    return f"90 % of {which}, 10 % of the others" + remedies.get(kind, "")


def introduction(arms: Arms) -> str:
    question = """
        Rows of real data lack modalities: a microphone fails, nobody wrote a caption. How much does a model lose that
        learns from such rows, on complete rows and on rows that lack some, and what becomes of a modality that is
        seldom there? Cells were taken away from the training rows of the embedded digits, and
        `python -m benchmarks.missing_rates`, which wrote this page, trained the same recipe on what was left.
    """
    return "\n\n".join(["# Missing modalities in training and testing", paragraph(question), *verdicts(arms)])


def verdicts(arms: Arms) -> list[str]:
    """The bars, as far as their runs are there."""
    found = []
    if OFTEN_MISSING in arms:
        gain, low, high = difference(arms[OFTEN_MISSING], arms[WITHOUT], whole(arms[WITHOUT]))
        met = "met" if gain >= -MOST_LOST else "missed"
        text = f"""
            **With 60 % of every modality missing in training, complete test rows lose at most {MOST_LOST}: {met}.**
            The accuracy from all modalities changes by {signed(gain, low, high)} (behind a difference stands the
            interval of 95 % on test rows drawn anew).
        """
        found.append(paragraph(text))
    beginnings = {
        "rare": f"""**With 90 % of one modality missing and 10 % of the others, the rare one alone stays within
        {MOST_BEHIND} of a model that learns it alone from the same rows**""",
        "balanced": "With rows of a rare modality drawn more often (`--train_sampling_strategy balance_modalities`)",
    }
    for kind, beginning in beginnings.items():
        said = [f"{how} {compared}" for how, alone in ALONE.items() if (compared := rare_against(arms, kind, alone))]
        if said:
            found.append(paragraph(f"{beginning}: {'; '.join(said)}."))
    if compared := rare_against(arms, "balanced-long", "alone"):
        beginning = """In twice the steps such a run sees the rare modality about as often as the model that learns it
        alone in as many steps as the recipe has"""
        found.append(paragraph(f"{beginning}: {compared}."))
    return found


def rare_against(arms: Arms, kind: str, alone: str) -> str:
    """How a rare modality alone does in arms of one kind beside those of another; "" where none of these were run."""
    names = {m: (f"{kind}-{m}", f"{alone}-{m}") for m in modalities_of(arms[WITHOUT])}
    gains = {m: difference(*map(arms.get, pair), m) for m, pair in names.items() if arms.keys() >= {*pair}}
    missed = [m for m, (gain, *_) in gains.items() if gain < -MOST_BEHIND]
    met = f"missed for {' and '.join(missed)}" if missed else "met"
    return f"**{met}** ({', '.join(f'{m} {signed(*gain)}' for m, gain in gains.items())})" if gains else ""


def crossed(arms: Arms, text_of_picture: str) -> str:
    together = {name: runs for name, runs in arms.items() if not name.startswith("alone")}
    subsets = [subset_name(subset) for subset in all_subsets(modalities_of(arms[WITHOUT]))]
    by_subset = [[described(n), *(f"{accuracy(runs, s):.3f}" for s in subsets)] for n, runs in together.items()]
    by_rate = [[described(n), *(f"{accuracy_at(runs, r):.3f}" for r in TEST_RATES)] for n, runs in together.items()]
    first = f"""
        The accuracy on complete test rows ({len(arms[WITHOUT][0]["test"][subsets[0]])}), of which the model sees a
        subset of the modalities:
    """
    second = f"""
        The accuracy on test rows that lack each modality at a rate alike, by what each row has left (never nothing),
        the mean of {DRAWS} draws:
    """
    rates = [f"{rate:.0%}".replace("%", " %") for rate in TEST_RATES]
    return "\n\n".join(
        [
            "## Training crossed with testing",
            f"![{text_of_picture}]({PICTURE})",
            paragraph(first),
            table(["missing in training", *subsets], by_subset),
            paragraph(second),
            table(["missing in training", *rates], by_rate),
        ]
    )


def rare(arms: Arms) -> str:
    lines = []
    for m in modalities_of(arms[WITHOUT]):
        own = [arms.get(f"{kind}-{m}") for kind in KINDS[1:]]
        if alone := arms.get(f"alone-{m}"):
            cells = [f"{accuracy(runs, m):.3f}" if runs else "not run" for runs in own]
            lines.append([m, str(alone[0]["rows"]["train"]), *cells])
    text = """
        The accuracy of the rare modality alone, on complete test rows: of the model that learnt with all modalities;
        of one that drew rows of the rare modality more often, `--train_sampling_strategy balance_modalities`; and of
        models that learnt nothing but the rare one, from the same rows. In as many epochs these take a tenth of the
        steps; in as many steps they see each row ten times as often.
    """
    head = ["rare", "training rows", "with the others", "balanced", "balanced, twice the steps"]
    head += ["alone, as many steps", "alone, as many epochs"]
    return "\n\n".join(["## The rare modality alone", paragraph(text), table(head, lines)])


def equity_of_arms(arms: Arms) -> str:
    together = {name: runs for name, runs in arms.items() if not name.startswith("alone")}
    modalities, lines = modalities_of(arms[WITHOUT]), []
    for name, runs in together.items():
        parts = contributions(runs)
        lines.append([described(name), *(f"{parts[m]:.3f}" for m in modalities), f"{equity(parts):.3f}"])
    text = """
        MissBench (arXiv 2603.09874) asks beside the accuracy how evenly the modalities contribute over the
        configurations of missing ones. Here a modality's contribution is its Shapley value: what it adds to the
        accuracy on complete test rows, the mean over the orders in which the modalities may come, where nothing at all
        is right in one case of ten. Equity is the entropy of the three shares, divided by the most that it can be: 1
        if all contribute alike, 0 if one does all. The text names the digit in 60 % of the rows, so that it is below 1
        for any model.
    """
    return "\n\n".join(["## Equity", paragraph(text), table(["missing in training", *modalities, "equity"], lines)])


def arrangement(arms: Arms, settings: dict, not_run: list[str]) -> str:
    runs = [run for some in arms.values() for run in some]
    last = max(runs, key=lambda run: run["date"])
    seeds = sorted({run["seed"] for run in runs})
    more = {name: len(some) for name, some in arms.items() if len(some) > 1}
    counted = f" ({', '.join(f'{number} of {name}' for name, number in more.items())})" if more else ""
    is_smaller = """ They are smaller than the recipe's own, a tiny model that sees 64 rows in each of 525 steps, as
        the options below say: differences between them are what this page is about, and the accuracies are lower than
        what the recipe reaches."""
    items = [
        """**Rows** are those of the embedded digits, all complete before cells are taken away from the 1,297 training
        rows, by `evaluation/missing.py`: a row of which all would be missing keeps one, of the lowest rate.""",
        f"""**Each run** is one of `run_finetune.py`: a new model, {settings["steps"]} steps, or as many times that as
        a table says. Seeds:
        {", ".join(map(str, seeds))}{counted}, which decide the cells, the weights and the order of the rows.
        {is_smaller if settings["options"] else ""}""",
        """**The remedies** that were tried are `balance_modalities`, as it is, and with it twice the steps; nothing of
        them was tuned.""",
        """**Test rows that lack modalities** are answered as subsets of complete ones, which is the same to the model:
        what is missing has no token.""",
        *([f"**Not run yet**: {', '.join(not_run)}."] if not_run else []),
    ]
    rest = f"""
        The last run was on {last["date"]}, commit {last["commit"]}, on {last["machine"]}, shared with other work;
        {last["software"]}, one thread. 300 test rows: an error of one standard deviation is 2.8 points at 0.64 and 0.7
        at 0.985.
    """
    options = settings["options"]
    given = f" --steps {settings['steps']} --options={shlex.quote(options)}" if options else ""
    commands = f"""```bash
python -m benchmarks.missing_rates{given}
python -m benchmarks.missing_rates --page   # this page, of the runs that are there
```"""
    bullets = "\n".join(paragraph(item, bullet="- ") for item in items)
    return "\n\n".join(["## How it was done", bullets, paragraph(rest), commands])


# ---------------------------------------------------------------------------------------------------------------------
# The picture
# ---------------------------------------------------------------------------------------------------------------------


def draw(arms: Arms, file: Path) -> str:
    """The accuracy over missing rates in testing, a curve for each arm; returns what it shows."""
    panels = {"missing alike in training": "alike-", "one modality rare in training": ("rare-", "balanced-")}
    percent = [100 * rate for rate in TEST_RATES]
    with plt.rc_context({"svg.hashsalt": "mot", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = plt.subplots(1, len(panels), figsize=(9.0, 5.0), layout="constrained", sharey=True)
        for axis, (title, kinds) in zip(axes, panels.items()):
            curves = [name for name in arms if name == WITHOUT or name.startswith(kinds)]
            groups = list(dict.fromkeys(name.rpartition("-")[2] for name in curves))
            for name in curves:
                kind, _, which = name.rpartition("-")
                values = [accuracy_at(arms[name], rate) for rate in TEST_RATES]
                dashes = {"balanced": "--", "balanced-long": ":"}.get(kind, "-")
                axis.plot(percent, values, dashes, color=COLOURS[groups.index(which)], label=described(name))
            axis.set_title(title)
            axis.set_xlabel("missing in testing, % of each modality")
            axis.grid(True, color="#dddddd", linewidth=0.6)
            axis.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18))
        axes[0].set_ylabel("accuracy, test rows")
        text = "; ".join(
            f"{described(name)}: {accuracy_at(runs, 0):.3f} to {accuracy_at(runs, TEST_RATES[-1]):.3f}"
            for name, runs in arms.items()
            if not name.startswith("alone")
        )
        text = f"Accuracy over the missing rate in testing, from 0 to 90 %, by what was missing in training. {text}."
        save_picture(figure, file, "Missing modalities in training and testing", text)
    return text
