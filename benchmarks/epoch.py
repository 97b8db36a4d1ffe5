# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Where an epoch goes

The first epoch of `run_finetune.py` on one thread, at its sizes tiny and small: 320 training rows of the embedded
digits as files (a parquet table that names PNGs and WAVs) are encoded into an empty cache, and trained on in 5 steps
of 64. The first table of a size shows in which part the processor time passes; a part that calls another stands still
while that runs. Later epochs, and later runs, find the rows encoded: of them *encoding* is no part. What matrix
products take of forward and backward is told by torch's profiler, over three steps.

The second table compares this checkout with commit 97ed679, the last one before rows were encoded several at a time,
the attention of packed rows told its heads apart once for all rows, and the numbers that move a picture were no longer
tensors. Each checkout has a process of its own; they take turns, epoch by epoch.
Training has changed sounds more since then, which the loader pays for.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import numpy as np
from datasets import Dataset

from mixture_of_transformers.data.digits import load_digits_dataset

from .measure import Row, Table
from .page import ROOT

BEFORE = "97ed679"
SIZES = ("tiny", "small")
ROWS = {"train": 320, "validation": 64, "test": 64}
MEDIA = {"image": "png", "audio": "wav"}
LEAST_ROUNDS = 4
NOW, THEN = "this", "before"
# What is compared: of the names of parts, what they begin with.
COMPARED = {
    "encoding": "encoding",
    "augmentation of pictures": "loader: augmentation of pictures",
    "loader": "loader",
    "forward": "forward",
    "backward": "backward",
}


def write_digits(folder: Path) -> None:
    """The embedded digits as people have data: for each split a table that names its files."""
    for name, split in load_digits_dataset().items():
        for column, kind in (("image", datasets.Image), ("audio", datasets.Audio)):
            split = split.cast_column(column, kind(decode=False))
        (folder / name).mkdir(parents=True)
        rows = []
        for i, row in enumerate(split.select(range(ROWS[name]))):
            files = {f"{column}_file_name": None for column in MEDIA}
            for column, suffix in MEDIA.items():
                if row[column] is not None:
                    files[f"{column}_file_name"] = f"{i}.{suffix}"
                    (folder / name / f"{i}.{suffix}").write_bytes(row[column]["bytes"])
            rows.append({"text": row["text"], "label": row["label"]} | files)
        Dataset.from_list(rows).to_parquet(folder / name / "metadata.parquet")


def unpack_before(folder: Path) -> Path | None:
    """The commit before as a package in `folder`; None where its history is not at hand."""
    archive = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True)
    if archive.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder / "mixture_of_transformers", filter="data")
    return folder


@contextlib.contextmanager
def worker(folder: Path, data: Path, size: str, packages: Path) -> Iterator[Callable[[str], dict[str, float]]]:
    """
    What asks a process of its own, see `epoch_worker.py`.

    Args:
        folder: that it works in.
        packages: where it finds the package.
    """
    folder.mkdir(parents=True)
    options = ["--dataset_name", str(data), "--audio_kind", "sound", "--size", size]
    command = [sys.executable, "-m", "benchmarks.epoch_worker", str(folder), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(packages)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:

        def ask(what: str) -> dict[str, float]:
            process.stdin.write(f"{what}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                raise RuntimeError(f"A measuring process ended with {process.wait()}: what it printed is above.")
            return json.loads(answer)

        yield ask
        process.stdin.close()


def parts_table(size: str, rounds: list[dict[str, float]], products: dict[str, float]) -> Table:
    """Each part's share of an epoch; `rounds` are seconds by part."""
    totals = np.array([sum(seconds.values()) for seconds in rounds])
    table = Table(f"The first epoch, {size}, 1 thread", value="share")
    for part in rounds[0]:
        times = np.array([seconds[part] for seconds in rounds])
        details = {"a row": f"{1e3 * np.median(times) / ROWS['train']:.2f} ms"}
        table.rows.append(Row.of(part, times / totals, details=details))
    steps = sum(np.array([seconds[part] for seconds in rounds]) for part in ("forward", "backward"))
    for kind, share in products.items():
        table.rows.append(Row.of(f"forward and backward: {kind}", share * steps / totals))
    return table


def ratios_table(size: str, now: list[dict[str, float]], then: list[dict[str, float]]) -> Table:
    """What each took of what it took before, round by round."""
    table = Table(f"{size}: this checkout / commit {BEFORE}, 1 thread")

    def add(name: str, of_name: Callable[[str], bool]) -> None:
        taken = [np.array([sum(s for p, s in seconds.items() if of_name(p)) for seconds in x]) for x in (now, then)]
        details = {"time": f"{np.median(taken[0]):.2f} s", "rounds": str(len(now))}
        table.rows.append(Row.of(name, taken[0] / taken[1], details=details))

    for name, beginning in COMPARED.items():
        add(name, lambda part, beginning=beginning: part.startswith(beginning))
    add("first epoch", lambda part: True)
    add("later epochs", lambda part: not part.startswith("encoding"))
    return table


def tables(seconds: float) -> Iterator[Table]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_digits(folder / "digits")
        (folder / NOW).mkdir()
        (folder / NOW / "mixture_of_transformers").symlink_to(ROOT)
        packages = {NOW: folder / NOW, THEN: unpack_before(folder / THEN)}
        for size in SIZES:
            with contextlib.ExitStack() as stack:
                ask = {
                    name: stack.enter_context(worker(folder / f"{name}-{size}", folder / "digits", size, place))
                    for name, place in packages.items()
                    if place is not None
                }
                rounds: dict[str, list[dict[str, float]]] = {name: [] for name in ask}
                order = list(ask)
                for name in order:
                    ask[name]("epoch")  # the first one of a process is slower
                while len(rounds[NOW]) < LEAST_ROUNDS or total(rounds) < 10 * seconds:
                    for name in order:
                        rounds[name].append(ask[name]("epoch"))
                    order.reverse()
                yield parts_table(size, rounds[NOW], ask[NOW]("products"))
            if THEN in rounds:
                yield ratios_table(size, rounds[NOW], rounds[THEN])


def total(rounds: dict[str, list[dict[str, float]]]) -> float:
    """Seconds of all parts in all rounds."""
    return sum(sum(seconds.values()) for of_name in rounds.values() for seconds in of_name)
