# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Writes `docs/miniature.md` and its picture from the files that `benchmarks/miniature.py` leaves: every figure on the
page is computed here."""

import json
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

from .page import ROOT  # noqa: E402

DENSE, UNTIED = "dense", "all"
PARTS = {UNTIED: "all", "attention": "attention", "mlp": "feed-forward", "norm": "norms"}
SMOOTHED = 3  # evaluations, whose mean is a point of a curve
COLOURS = {DENSE: "#D55E00", UNTIED: "#0072B2"}  # Okabe and Ito's, which colour-blind readers tell apart
NAMES = {DENSE: "dense", UNTIED: "untied"}
DASHES = {DENSE: "--", UNTIED: "-"}
PICTURE = "miniature.svg"

Run = dict  # what `miniature.train` returns, with the conditions that it ran under
Runs = dict[tuple[str, int], Run]  # (arm, seed) -> its run


def write_page(folder: Path, docs: Path = ROOT / "docs") -> None:
    """
    Raises:
        ValueError: the folder lacks a pair of runs to compare.
    """
    files = sorted(file for file in folder.glob("*.json") if file.name != "settings.json")
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    pairs = [run for run in results if is_paired(run, results)]
    if not pairs:
        raise ValueError(f"{folder} holds no pair of a dense and an untied run: run the benchmark first.")
    grid = [run for run in pairs if run["seed"] == min(run["seed"] for run in pairs)]
    rate = choose_rate(grid)
    runs = {(run["arm"], run["seed"]): run for run in results if run["learning_rate"] == rate}
    seeds = sorted({run["seed"] for run in pairs if run["learning_rate"] == rate})
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    text = draw(runs, seeds, docs / PICTURE)
    sections = [
        introduction(runs, seeds, settings),
        f"![{text}]({PICTURE})",
        result(runs, seeds),
        parts(runs, seeds),
        losing(runs, seeds),
        arrangement(runs, seeds, grid, settings),
    ]
    (docs / "miniature.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------------
# Figures
# ---------------------------------------------------------------------------------------------------------------------


def is_paired(run: Run, results: list[Run]) -> bool:
    """Whether a run of the comparison has its counterpart: the other arm with the same seed and rate."""
    of = [other["arm"] for other in results if all(other[key] == run[key] for key in ("seed", "learning_rate"))]
    return run["arm"] in (DENSE, UNTIED) and {DENSE, UNTIED} <= set(of)


def choose_rate(grid: list[Run]) -> float:
    """The rate of the grid at which the two arms together end lowest, each modality counting alike."""
    rates = {run["learning_rate"] for run in grid}
    return min(rates, key=lambda rate: sum(mean_final(run) for run in grid if run["learning_rate"] == rate))


def mean_final(run: Run) -> float:
    return float(np.mean([final(run, modality) for modality in run["losses"]]))


def smooth(values: list[float]) -> np.ndarray:
    """Each the mean of a few that follow each other."""
    number = min(SMOOTHED, len(values))
    return np.convolve(values, np.ones(number) / number, mode="valid")


def final(run: Run, modality: str) -> float:
    return smooth(run["losses"][modality])[-1]


def share(run: Run, dense: Run, modality: str, over: str = "steps") -> float:
    """Where a run first has the last loss of the dense one, as a share of what that took; infinite if it never has."""
    costs, losses = smooth(run[over]), smooth(run["losses"][modality])
    target = final(dense, modality)
    reached = np.flatnonzero(losses <= target)
    if not len(reached):
        return np.inf
    first = reached[0]
    cost = costs[0] if first == 0 else np.interp(-target, -losses[first - 1 : first + 1], costs[first - 1 : first + 1])
    return float(cost / smooth(dense[over])[-1])


def behind_until(run: Run, dense: Run, modality: str) -> int:
    """The last step at which a run was evaluated and behind the dense one; 0 if it never was."""
    behind = np.flatnonzero(np.array(run["losses"][modality]) > np.array(dense["losses"][modality]))
    return run["steps"][behind[-1]] if len(behind) else 0


def percent(value: float) -> str:
    return "never" if np.isinf(value) else f"{100 * value:.0f} %"


def table(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])


# ---------------------------------------------------------------------------------------------------------------------
# Sections
# ---------------------------------------------------------------------------------------------------------------------


def paragraph(text: str, bullet: str = "") -> str:
    """The text in lines of the page's width."""
    indent = " " * len(bullet)
    lines = {"initial_indent": bullet, "subsequent_indent": indent}
    return textwrap.fill(" ".join(text.split()), 119, break_long_words=False, break_on_hyphens=False, **lines)


def introduction(runs: Runs, seeds: list[int], settings: dict) -> str:
    dense, untied = runs[DENSE, seeds[0]], runs[UNTIED, seeds[0]]
    question = f"""
        Does a transformer whose weights are untied by modality learn faster than a dense one that costs as much for
        each token? The Mixture-of-Transformers paper (arXiv 2411.04996) found so at up to 7 billion weights: its model
        needs 55.8 % of the dense model's operations where text and images are learnt, and 37.2 % for speech where
        that joins them. Here the question is asked again of the smallest models that can answer, on real pictures,
        real speech and real prose, by `python -m benchmarks.miniature`, which wrote this page. The dense model has
        {dense["weights"]:,} weights beside the embeddings, the untied one {untied["weights"]:,}; the linear layers
        take {dense["operations"]:,.0f} operations for a token in the one and {untied["operations"]:,.0f} in the other.
    """
    answer = f"""
        **Share of the dense model's operations at which the untied one has its last loss: {all_shares(runs, seeds)}**
        (median of seeds {", ".join(map(str, seeds))}; {settings["steps"]} steps).
    """
    return "\n\n".join(["# The paper in miniature", paragraph(question), paragraph(answer)])


def all_shares(runs: Runs, seeds: list[int]) -> str:
    modalities = runs[DENSE, seeds[0]]["losses"]
    return ", ".join(f"{percent(usual_share(runs, UNTIED, seeds, m))} for {m}" for m in modalities)


def usual_share(runs: Runs, arm: str, seeds: list[int], modality: str) -> float:
    """The median of the seeds."""
    return float(np.median([share(runs[arm, seed], runs[DENSE, seed], modality) for seed in seeds]))


def result(runs: Runs, seeds: list[int]) -> str:
    lines = []
    for modality in runs[DENSE, seeds[0]]["losses"]:
        of = {arm: [final(runs[arm, seed], modality) for seed in seeds] for arm in (DENSE, UNTIED)}
        shares = [percent(share(runs[UNTIED, seed], runs[DENSE, seed], modality)) for seed in seeds]
        gain = np.mean(of[DENSE]) - np.mean(of[UNTIED])
        losses = [" / ".join(f"{loss:.3f}" for loss in of[arm]) for arm in (DENSE, UNTIED)]
        lines.append([modality, *losses, f"{gain:+.3f}", " / ".join(shares)])
    head = ["", "dense, nats a token", "untied, nats a token", "mean gain", "share of the dense model's operations"]
    text = f"""
        Losses are on rows that are held out, by the target's modality, the mean of the last {SMOOTHED} evaluations;
        seeds {" / ".join(map(str, seeds))}. The share is the step at which the untied model's curve, smoothed alike,
        first has that loss of the dense one.
    """
    return "\n\n".join(["## The result", paragraph(text), table(head, lines)])


def parts(runs: Runs, seeds: list[int]) -> str:
    modalities, lines = list(runs[DENSE, seeds[0]]["losses"]), []
    for arm, name in PARTS.items():
        own = [seed for seed in seeds if (arm, seed) in runs]
        if not own:
            continue
        gains = [
            np.mean([final(runs[DENSE, seed], m) - final(runs[arm, seed], m) for seed in own]) for m in modalities
        ]
        shares = [percent(usual_share(runs, arm, own, m)) for m in modalities]
        weights = f"{runs[arm, own[0]]['weights']:,}"
        lines.append([name, weights, *(f"{s} ({g:+.3f})" for s, g in zip(shares, gains)), str(len(own))])
    text = """
        Only the part named is untied, the rest is shared: `MoTCausalConfig(untied=[...])`. The share of the dense
        model's operations, the median of the seeds that were run, and in brackets by how many nats the last loss is
        below the dense one's in their mean. Where a single seed was run, a difference within the spread of the table
        above is no result.
    """
    head = ["untied", "weights", *modalities, "seeds"]
    return "\n\n".join(["## Which part it is", paragraph(text), table(head, lines)])


def losing(runs: Runs, seeds: list[int]) -> str:
    modalities = list(runs[DENSE, seeds[0]]["losses"])
    pairs = {seed: (runs[UNTIED, seed], runs[DENSE, seed]) for seed in seeds}
    lines = []
    for modality in modalities:
        until = " / ".join(str(behind_until(*pair, modality)) for pair in pairs.values())
        in_time = " / ".join(percent(share(*pair, modality, over="seconds")) for pair in pairs.values())
        lines.append([modality, until, in_time])
    slower = np.median([untied["seconds"][-1] / dense["seconds"][-1] for untied, dense in pairs.values()])
    never = [f"{m} (seed {seed})" for m in modalities for seed, pair in pairs.items() if np.isinf(share(*pair, m))]
    verdict = f"never has the dense model's last loss for {', '.join(never)}" if never else "has it in every modality"
    text = f"""
        With these seeds the untied model {verdict}. It has
        {runs[UNTIED, seeds[0]]["weights"] / runs[DENSE, seeds[0]]["weights"]:.1f} times the weights, each of which
        sees only its modality's tokens, so that a short run can end behind: the table has the last step at which it
        was. A step took it {slower:.2f} times the dense model's processor time at this width, where slices cost most
        against products; counted in processor time instead of operations, the shares are those of the last column,
        and above 100 % it is no gain. (On a machine that others use at the same time, that column is rougher than the
        others.)
    """
    head = ["", "behind until step", "share of the dense model's processor time"]
    return "\n\n".join(["## Where it loses", paragraph(text), table(head, lines)])


def arrangement(runs: Runs, seeds: list[int], grid: list[Run], settings: dict) -> str:
    corpus, run = settings["corpus"], runs[UNTIED, seeds[-1]]
    modalities = list(run["losses"])
    items = [
        f"""**Prose** is the docstrings of {corpus["packages"]}: {corpus["characters"] / 1e6:.1f} million characters
        without code and tables, {corpus["train_prose"]:,} tokens of 512 byte pairs to train on and
        {corpus["held_out_prose"]:,} held out.""",
        f"""**Pictures and sounds** are those of {corpus["dataset"]}: {corpus["train_rows"]:,} rows to train on, and
        {corpus["held_out_rows"]:,} held out that share neither a picture nor a recording with them. A picture of
        28 x 28 pixels is 49 codes, the nearest of 256 patches of 4 x 4 pixels, which leave out
        {100 * corpus["image_error"]:.0f} % of the variance. A sound is a code every 20 ms, up to 32
        ({corpus["frames"]:.0f} on average), the nearest of 256 log-mel frames of 40 bins, which leave out
        {100 * corpus["audio_error"]:.0f} %. In training pictures move by up to a pixel, and sounds vary in their
        beginning and speed.""",
        """**A row** is 64 tokens of prose that end in the row's caption, the picture, the sound, and the tokens that
        begin and end them.""",
        """**The model** is `MoTForCausalLM`: width 64, 4 layers, 4 heads, gated feed-forward 176, QK norm, embeddings
        and head shared by all and by each other. The dense model is the same class with
        `experts={"image": "text", "audio": "text"}`.""",
        f"""**Training**: 16 rows a step, {settings["steps"]} steps, which is
        {16 * settings["steps"] / corpus["train_rows"]:.1f} times each row, AdamW (0.9, 0.95), weight decay 0.1 of
        matrices, gradients clipped at 1, 50 steps of warm-up, then a constant rate. Both models of a seed see the same
        batches.""",
        f"""**The learning rate**, {run["learning_rate"]:g}, is the one of these at which the two end lowest together,
        by the mean of the modalities; runs of full length with seed {grid[0]["seed"]}:""",
    ]
    lines = [
        [f"{trial['learning_rate']:g}", NAMES[trial["arm"]], *(f"{final(trial, m):.3f}" for m in modalities)]
        for trial in sorted(grid, key=lambda trial: (trial["learning_rate"], trial["arm"] != DENSE))
    ]
    rest = f"""
        Not controlled: decay of the learning rate, a dense model with as many weights (which would cost more for each
        token), more recordings than these, other widths and lengths of training. The last of these runs was on
        {run["date"]}, commit {run["commit"]}, on {run["machine"]}; {run["software"]}, one thread.
    """
    commands = """```bash
python -m benchmarks.miniature --dataset_name path/to/digits3m   # an interrupted run goes on where it stopped
python -m benchmarks.miniature --page                            # this page, of the runs that are there
```"""
    bullets = "\n".join(paragraph(item, bullet="- ") for item in items)
    grid_table = table(["rate", "model", *modalities], lines)
    return "\n\n".join(["## How it was done", bullets, grid_table, paragraph(rest), commands])


# ---------------------------------------------------------------------------------------------------------------------
# The picture
# ---------------------------------------------------------------------------------------------------------------------


def draw(runs: Runs, seeds: list[int], file: Path) -> str:
    """The curves of both models as an SVG; returns what it shows, for those who cannot see it."""
    modalities = list(runs[DENSE, seeds[0]]["losses"])
    text = (
        f"Held-out loss over training steps of the dense and the untied model for {', '.join(modalities)}; the untied "
        f"one has the dense one's last loss at {all_shares(runs, seeds)} of its operations."
    )
    with plt.rc_context({"svg.hashsalt": "mot", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, panels = plt.subplots(1, len(modalities), figsize=(9.0, 3.2), layout="constrained")
        for panel, modality in zip(panels, modalities):
            for arm in (DENSE, UNTIED):
                steps = runs[arm, seeds[0]]["steps"]
                losses = np.array([runs[arm, seed]["losses"][modality] for seed in seeds])
                panel.plot(steps, losses.mean(axis=0), DASHES[arm], color=COLOURS[arm], label=NAMES[arm])
                panel.fill_between(steps, losses.min(axis=0), losses.max(axis=0), color=COLOURS[arm], alpha=0.2)
            last = np.mean([final(runs[DENSE, seed], modality) for seed in seeds])
            panel.axhline(last, color="#888888", linewidth=0.7, linestyle=":")
            panel.set_title(modality)
            panel.set_xlabel("steps")
            panel.set_yscale("log")
            panel.grid(True, which="both", color="#dddddd", linewidth=0.6)
            panel.yaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%.1f"))
            panel.yaxis.set_minor_formatter(matplotlib.ticker.FormatStrFormatter("%.1f"))
        panels[0].set_ylabel("nats a token, held out")
        panels[0].legend(frameon=False)
        save_picture(figure, file, "The paper in miniature", text)
    return text


def save_picture(figure, file: Path, title: str, text: str) -> None:
    """
    A figure as an SVG that is the same each time.

    Args:
        text: what it shows, for those who cannot see it, which matplotlib itself does not write.
    """
    figure.savefig(file, metadata={"Date": None, "Title": title})
    plt.close(figure)
    svg = file.read_text(encoding="utf-8")
    file.write_text(svg.replace("</title>", f"</title>\n <desc>{text}</desc>", 1), encoding="utf-8")
