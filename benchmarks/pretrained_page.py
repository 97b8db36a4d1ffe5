# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Writes `docs/pretrained.md` from the files that `benchmarks/pretrained.py` leaves: every figure on the page is
computed here."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .miniature_page import paragraph, table
from .page import ROOT

ARMS = {
    "logistic regression": "logistic regression on mean vectors of MiniLM",
    "frozen": "as they are, a small tower behind them",
    "lora": "with adapters of rank 8, the rest as in the next line",
    "whole": "all of them learn",
    "bert": "transformers' `BertForSequenceClassification`, all of it learns",
    "scratch": "no published weights",
}
Runs = dict[tuple[str, str, int], list[dict]]  # task, arm and rows -> a run for each seed

COMMANDS = """```bash
python -m benchmarks.published                                      # the weights, as folders that anything here reads
python -m benchmarks.pretrained --dataset_name path/to/digits3m     # an interrupted run goes on where it stopped
python -m benchmarks.pretrained --page                              # this page, of what was run
```"""

REVIEWS = """```bash
python run_finetune.py --dataset_name user/reviews --text_model sentence-transformers/all-MiniLM-L6-v2 \\
    --learning_rate 1e-3 --num_train_epochs 10
python run_finetune.py --dataset_name user/reviews --text_model intfloat/multilingual-e5-large \\
    --train_backbones text --learning_rate 1e-3 --learning_rates '{"embeddings": 2e-5}' --num_train_epochs 4
```"""

DIGITS = """```bash
python run_finetune.py --task retrieval --dataset_name user/captions \\
    --text_model sentence-transformers/all-MiniLM-L6-v2 --audio_model openai/whisper-large-v3 \\
    --freeze audio.encoders audio.embeddings
python run_finetune.py --task retrieval --dataset_name user/captions \\
    --text_model sentence-transformers/all-MiniLM-L6-v2 --audio_model openai/whisper-base --train_backbones text \\
    --learning_rate 1e-3 --learning_rates '{"embeddings": 5e-5, "audio.encoders": 5e-5}'
```"""


def write_page(folder: Path, planned: Iterable[tuple[str, str, int, int]], docs: Path = ROOT / "docs") -> None:
    """
    The page, of the runs that have their file in `folder`.

    Args:
        planned: task, arm, rows and seed of all runs; the page names those that are not there.

    Raises:
        ValueError: there are none.
    """
    results = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
    if not results:
        raise ValueError(f"{folder} holds no run: run the benchmark first.")
    runs: Runs = {}
    for result in results:
        runs.setdefault((result["task"], result["arm"], result["rows"]), []).append(result)
    tasks = {result["task"] for result in results}
    sections = [introduction(results)]
    if "reviews" in tasks:
        sections += [verdicts(runs)]
    if any(task.startswith("reviews cut") for task in tasks):
        sections += [cuts(runs)]
    if "digits" in tasks:
        sections += [digits(runs)]
    sections += [arrangement(results)]
    done = {(result["task"], result["arm"], result["rows"], result["seed"]) for result in results}
    if lacking := [run for run in planned if run not in done]:
        sections += [not_run(lacking)]
    (docs / "pretrained.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------------
# Figures
# ---------------------------------------------------------------------------------------------------------------------


def mean_of(runs: list[dict], name: str, number: int) -> str:
    """
    The mean of a share over seeds; with the standard error of the mean, or of one seed that of a share of `number`
    rows, in brackets with the number of seeds.
    """
    values = np.array([run[name] for run in runs])
    mean = values.mean()
    if len(values) > 1:
        return f"{mean:.3f} ± {values.std(ddof=1) / len(values) ** 0.5:.3f}"
    return f"{mean:.3f} (one seed, ± {(mean * (1 - mean) / number) ** 0.5:.3f})"


def thousands(number: int | None) -> str:
    return "" if number is None else f"{number / 1000:,.0f} k"


# ---------------------------------------------------------------------------------------------------------------------
# Sections
# ---------------------------------------------------------------------------------------------------------------------


def introduction(results: list[dict]) -> str:
    text = """
        What models that somebody else has trained are worth here, with weights that anybody can have without an
        account: all-MiniLM-L6-v2 (22 million parameters, Apache 2.0) and Whisper base (its encoder has 20 million,
        MIT), which packages of the Python package index carry. MiniLM stands in front of a text tower, since its
        layers cannot be a tower's; the audio tower begins as Whisper. Both give what transformers' own classes give
        (`tests/test_real_models.py`): MiniLM and Whisper in front bit for bit, the tower that begins as Whisper within
        rounding; and the Whisper that was converted writes down eight spoken digits of a speaker without an error.
    """
    return "\n\n".join(["# Published weights", paragraph(text), COMMANDS])


def verdicts(runs: Runs) -> str:
    numbers = sorted({rows for task, _, rows in runs if task == "reviews"})
    lines = []
    for arm, words in ARMS.items():
        of_arm = {rows: runs.get(("reviews", arm, rows)) for rows in numbers}
        known = next((found for found in of_arm.values() if found), None)
        if known is None:
            continue
        cells = ["" if found is None else mean_of(found, "accuracy", 400) for found in of_arm.values()]
        seconds = np.mean([run["seconds"] for run in of_arm[numbers[0]] or known])
        lines.append([words, *cells, thousands(known[0].get("learning")), f"{seconds:.0f}"])
    text = """
        Reviews of clothes, as many recommended as not, so that a coin has 0.5; 400 others to test on, the same for
        all.
        Means over seeds, which decide the rows, the new weights and the batches, with the standard error of the mean;
        400 rows themselves have one of 0.022, which all lines share. Seconds are processor time of the run of the
        fewest rows; where two lines learn from the same frozen vectors, the first of them pays for these.
    """
    head = ["published weights", *(f"{rows} rows" for rows in numbers), "learn", "seconds"]
    return "\n\n".join(["## The verdict of a review", paragraph(text), table(head, lines), REVIEWS])


def cuts(runs: Runs) -> str:
    lines = []
    places = {128: "reviews"}
    places |= {int(task.rpartition(" ")[2]): task for task, _, _ in runs if task.startswith("reviews cut")}
    for tokens, task in sorted(places.items()):
        found = [runs.get((task, arm, 200)) for arm in ("logistic regression", "frozen")]
        lines.append([str(tokens), *("" if each is None else mean_of(each, "accuracy", 400) for each in found)])
    text = """
        How much of a review is read decides what frozen weights are worth. Half of the reviews have more than 80
        tokens. A frozen model in front and a logistic regression on the mean of the same vectors lose together where
        reviews are cut: what is missing then is in the text, not in the tower.
    """
    head = ["tokens that are read", "logistic regression", "frozen, a small tower behind"]
    return "\n\n".join(["### Read the whole text", paragraph(text), table(head, lines)])


def digits(runs: Runs) -> str:
    lines = []
    of_task = {arm: runs[task, arm, rows] for task, arm, rows in runs if task == "digits"}
    some = next(iter(of_task.values()))[0]
    for arm, words in ARMS.items():
        if found := of_task.get(arm):
            seconds = np.mean([run["seconds"] for run in found])
            cells = [
                mean_of(found, "text_to_audio", some["sentences"]),
                mean_of(found, "audio_to_text", some["clips"]),
            ]
            lines.append([words, *cells, thousands(found[0]["learning"]), f"{seconds:.0f}"])
    text = f"""
        digits3m without its pictures: {some["rows"]} rows to train on, drawn by the seed, with their labels
        (`contrastive_positives="label"`); all {some["clips"]} recordings of the test split, whose speaker is in no
        other, and its {some["sentences"]} sentences that name their digit. Precision at 1: does the first clip say the
        digit that the sentence names, does the first sentence name the digit that the clip says; by chance, a tenth.
        The tower hears a clip of its own length, without the silence that Whisper was trained with.
    """
    head = ["published weights", "text → audio", "audio → text", "learn", "seconds"]
    return "\n\n".join(["## Sentences and spoken digits", paragraph(text), table(head, lines), DIGITS])


def arrangement(results: list[dict]) -> str:
    last = max(results, key=lambda result: result["date"])
    epochs = {arm: sorted({r["epochs"] for r in results if r["arm"] == arm and "epochs" in r}) for arm in ARMS}
    listed = "; ".join(f"{arm} {' or '.join(map(str, found))}" for arm, found in epochs.items() if found)
    text = f"""
        AdamW; the rate rises for a tenth of the steps and falls to 0, from 1e-3 for new parts and adapters, from 5e-5
        for published weights that learn; gradients are clipped at 1. The new part is 128 wide with one layer for each
        modality, or of a model from scratch two where it retrieves. Epochs: {listed}. Batches have 20 reviews or 40
        rows of digits, of like lengths. The rates are usual ones and were not tuned for a line, so that one may gain
        by a rate of its own. What does not change is computed once, as ready features. Of the runs the last was on
        {last["date"]}, commit {last["commit"]}, on {last["machine"]}, which others used at the same time;
        {last["software"]}, one thread.
    """
    return "\n\n".join(["## How it was done", paragraph(text)])


def not_run(lacking: list[tuple[str, str, int, int]]) -> str:
    seeds: dict[tuple[str, str, int], list[int]] = {}
    for *run, seed in lacking:
        seeds.setdefault(tuple(run), []).append(seed)
    lines = [[task, arm, str(rows), ", ".join(map(str, missing))] for (task, arm, rows), missing in seeds.items()]
    text = "`python -m benchmarks.pretrained` runs what is missing here:"
    return "\n\n".join(["## What was not run", paragraph(text), table(["task", "arm", "rows", "seeds"], lines)])
