# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The MoT beside what others would use, on the same rows; `docs/beside.md` says who wins.

    python -m benchmarks.beside --dataset_name path/to/digits3m    everything
    python -m benchmarks.beside                                    what needs no file
    python -m benchmarks.beside --quick                            smaller networks and fewer epochs on the digits
    python -m benchmarks.beside --peers mot linear --seeds 0       some of it
    python -m benchmarks.beside --page                             the page, of the runs that are there

A run is a problem, a learner and a seed, in a process of its own, forked off when all is imported. It leaves a file in
`--output_dir` when it is done, and what has its file is not run again: an interrupted command goes on. Learners whose
package is not installed are passed over.
"""

import argparse
import importlib.util
import json
import math
import sys
import time
from collections.abc import Iterator
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from mixture_of_transformers.subsets_mot import subset_name
from mixture_of_transformers.training.metrics import retrieval_metrics

from ..measure import peak_memory
from ..page import ROOT, conditions
from ..retrieve_digits import names_the_digit
from . import mixture, towers  # noqa: F401  (before the fork, so that no run has their import in its time)
from .classical import Answer
from .page import write_page
from .peers import PEERS
from .problems import NEEDS_FOLDER, PROBLEMS, Problem, labels_of, load, of_subset

SEEDS = (0, 1, 2)


def score(answers: np.ndarray, labels: np.ndarray, is_classes: bool) -> dict[str, float]:
    """The share that is right, or the mean absolute error, with the standard error that so many rows leave."""
    each = (answers.argmax(axis=1) == labels) if is_classes else np.abs(answers - labels)
    return {"value": float(each.mean()), "error": float(each.std() / math.sqrt(len(each))), "rows": len(each)}


def score_search(problem: Problem, answer: Answer, search: tuple[str, str]) -> dict[str, float]:
    """
    The precision at 1: the share of the queries whose nearest item is of their digit, with its standard error. Of the
    sentences only those that name a digit are asked, or looked for.
    """
    sides = []
    for modality in search:
        rows = of_subset(problem.test, (modality,))
        if problem.kinds[modality] == "text":
            rows = [row for row in rows if names_the_digit(row[modality], row["label"])]
        sides.append((answer(rows), labels_of(rows)))
    (queries, query_labels), (items, item_labels) = sides
    any_item = np.zeros(len(queries), dtype=int)  # precision does not ask for the one of the query's own row
    found = retrieval_metrics(queries, items, any_item, query_labels, item_labels)["precision_at_1"]
    return {"value": found, "error": math.sqrt(found * (1 - found) / len(queries)), "rows": len(queries)}


def compare(problem: Problem, name: str, seed: int) -> dict:
    """One run: what a learner is worth on each subset of the modalities or in each search, and what it took."""
    fitted, seconds = {}, {}

    def fit() -> None:
        start = time.process_time()
        fitted["answer"] = PEERS[name].fit(problem, seed)
        seconds["fit"] = time.process_time() - start

    memory = peak_memory(fit)
    start, scores, answer = time.process_time(), {}, fitted["answer"]
    for search in problem.searches:
        scores[" to ".join(search)] = score_search(problem, answer, search)
    for subset in problem.subsets if not problem.searches else ():
        rows = of_subset(problem.test, subset)
        scores[subset_name(subset)] = score(answer(rows), labels_of(rows), bool(problem.classes))
    seconds["answers"] = time.process_time() - start
    return {
        "problem": problem.name,
        "peer": name,
        "seed": seed,
        "rows": problem.digest(),
        "train_rows": len(problem.train),
        "is_classes": bool(problem.classes),
        "recipe": problem.recipe,
        "chosen": getattr(answer, "chosen", None),
        "scores": scores,
        "seconds": seconds,
        "mebibytes": memory,
        "date": date.today().isoformat(),
        **conditions(),
    }


def keep(name: str, seed: int, peer: str, arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    result = compare(load(name, seed, arguments.dataset_name, arguments.quick), peer, seed)
    file = file_of(name, peer, seed, arguments)
    file.with_suffix(".part").write_text(json.dumps(result, indent=1), encoding="utf-8")
    file.with_suffix(".part").rename(file)
    found = ", ".join(f"{subset} {each['value']:.3f}" for subset, each in result["scores"].items())
    print(f"{file.stem}: {found}; {result['seconds']['fit']:.0f} s", flush=True)


def file_of(name: str, peer: str, seed: int, arguments: argparse.Namespace) -> Path:
    return arguments.output_dir / f"{name}-{peer}-{seed}.json"


def is_installed(package: str | None) -> bool:
    return package is None or importlib.util.find_spec(package) is not None


def main(options: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.beside",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, help="all by default")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--dataset_name", help="a folder of digits3m")
    parser.add_argument("--quick", action="store_true", help="smaller networks and fewer epochs on the digits")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "outputs" / "beside")
    parser.add_argument("--page", action="store_true", help="write docs/beside.md of what is there")
    arguments = parser.parse_args(options)
    if arguments.page:
        return write_page(arguments.output_dir)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    if failed := [run for run in runs(arguments) if not run_apart(*run, arguments)]:
        sys.exit("Failed: " + ", ".join(f"{name}-{peer}-{seed}" for name, seed, peer in failed))


def runs(arguments: argparse.Namespace) -> Iterator[tuple[str, int, str]]:
    """Those that have no file yet: problem, seed and learner, the first seed of all problems before the second."""
    for seed in arguments.seeds:
        for name in arguments.problems or all_problems(arguments.dataset_name):
            problem = load(name, seed, arguments.dataset_name, arguments.quick)
            for peer in arguments.peers:
                is_there = PEERS[peer].takes(problem) and is_installed(PEERS[peer].package)
                if is_there and not is_done(file_of(name, peer, seed, arguments), problem):
                    yield name, seed, peer


def all_problems(folder: str | None) -> list[str]:
    """Those that need no folder, and with one the others, too."""
    return [name for name in PROBLEMS if folder is not None or name not in NEEDS_FOLDER]


def is_done(file: Path, problem: Problem) -> bool:
    """
    Raises:
        ValueError: the run that left the file was on other rows, or its networks had another recipe.
    """
    if not file.exists():
        return False
    run = json.loads(file.read_text(encoding="utf-8"))
    if (run["rows"], run["recipe"]) != (problem.digest(), problem.recipe):
        raise ValueError(f"{file} is a run on other rows, or of --quick or without it: name another `--output_dir`.")
    return True


def run_apart(name: str, seed: int, peer: str, arguments: argparse.Namespace) -> bool:
    """Whether a run in a process of its own succeeds."""
    process = get_context("fork").Process(target=keep, args=(name, seed, peer, arguments))
    process.start()
    process.join()
    return process.exitcode == 0


if __name__ == "__main__":
    main()
