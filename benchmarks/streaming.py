# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A long stream: memory, the time to the first step, and the cost of a row, from the first rows to the last.

    python -m benchmarks.streaming                  200,000 rows; writes docs/streaming.svg and prints the figures
    python -m benchmarks.streaming --rows 20000     a quick look, without the picture
    python -m benchmarks.streaming --readers 4      what several readers read of files that they share

Parquet shards of 5,000 rows are written first: the embedded digits over and over, each row with a number of its own in
its sentence, its picture and its tone in noise (about 5 kB a row). Then `run_finetune.py --streaming` passes over them
once with a narrow model, so that what is measured is mostly reading, decoding and encoding. Memory is what its process
and its two workers have each for itself alone, time that of the processors they use.

With `--readers` parquet files of equal and of unequal size are read for an epoch by so many readers in turn, as
`split_dataset_by_node` shares them out and as `data/shares.py` does; what a reader has read is what the kernel says.
"""

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import datasets
import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.distributed import split_dataset_by_node
from transformers import TrainerCallback

import run_finetune
from mixture_of_transformers.data.digits import DIGITS_FEATURES, load_digits_dataset
from mixture_of_transformers.data.shares import Share, rows_of
from mixture_of_transformers.training.trainer import MoTTrainer

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "streaming.svg"
SHARD_ROWS, BATCH, RECORDED_EVERY = 5000, 50, 20
WAV_BYTES = 44 + 2 * 2100  # header and 0.13 s of 16 bits at 16 kHz
MODEL = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}
START = time.perf_counter()


def write_shards(folder: Path, rows: int) -> float:
    """Shards for training, and one each for validation and test; returns the kB of a training row."""
    digits = load_digits_dataset(missing_rate=0)["train"].data.table.to_pylist()
    for name, number in (("validation", 200), ("test", 200), ("train", rows)):
        for shard, start in enumerate(range(0, number, SHARD_ROWS)):
            table = [numbered(digits[i % len(digits)], i) for i in range(start, min(start + SHARD_ROWS, number))]
            table = pa.Table.from_pylist(table, schema=DIGITS_FEATURES.arrow_schema)
            pq.write_table(table, folder / f"{name}-{shard:05d}.parquet", row_group_size=100)
    return sum(path.stat().st_size for path in folder.glob("train-*")) / rows / 1000


def numbered(row: dict, number: int) -> dict:
    sound = short_wav(row["audio"]["bytes"])
    return row | {"text": f"{row['text']} Row {number}.", "audio": {"bytes": sound, "path": None}}


def short_wav(sound: bytes) -> bytes:
    """The first samples of a file, with the two sizes in its header put right."""
    sizes = [(size).to_bytes(4, "little") for size in (WAV_BYTES - 8, WAV_BYTES - 44)]
    return sound[:4] + sizes[0] + sound[8:40] + sizes[1] + sound[44:WAV_BYTES]


def processes() -> list[Path]:
    """This process and its children."""
    children = [pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()]
    return [Path("/proc") / pid for pid in ("self", *children)]


def own_memory() -> float:
    """MiB that the processes hold for themselves alone."""
    reports = [(process / "smaps_rollup").read_text() for process in processes()]
    return sum(int(kib) for report in reports for kib in re.findall(r"^Private_\w+: +(\d+)", report, re.M)) / 1024


def processor_seconds() -> float:
    """What the processes have used, whatever else the machine does."""
    states = [(process / "stat").read_text().rpartition(")")[2].split() for process in processes()]
    return sum(int(ticks) for state in states for ticks in state[11:13]) / os.sysconf("SC_CLK_TCK")


class Recorder(TrainerCallback):
    """(rows, seconds since the start, seconds of processors, MiB) every few steps."""

    points: list[tuple[int, float, float, float]] = []

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 1 or state.global_step % RECORDED_EVERY == 0:
            passed = time.perf_counter() - START
            self.points.append((state.global_step * BATCH, passed, processor_seconds(), own_memory()))


class RecordedTrainer(MoTTrainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.add_callback(Recorder)


def train(folder: Path, rows: int) -> np.ndarray:
    """(points, 4): what the recorder saw of one pass over the rows."""
    run_finetune.MoTTrainer = RecordedTrainer
    options = ["--dataset_name", folder, "--output_dir", folder / "out", "--streaming", "--max_steps", rows // BATCH]
    options += ["--per_device_train_batch_size", BATCH, "--dataloader_num_workers", 2]
    options += ["--use_cpu", "--disable_tqdm", "true"]
    options += ["--config_overrides", json.dumps(MODEL), "--objective", "given", "--logging_steps", 1000]
    run_finetune.main([str(option) for option in options])
    return np.array(Recorder.points)


def draw(rows: np.ndarray, mebibytes: np.ndarray, milliseconds: np.ndarray, text: str) -> None:
    style = {"svg.hashsalt": "mot", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context(style):
        figure, panels = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
        panels[0].plot(rows, mebibytes, color="#0072B2")
        panels[1].plot(rows, milliseconds, color="#D55E00")
        for panel, label in zip(panels, ("memory (MiB)", "processor time for a row (ms)")):
            panel.set_xlabel("rows read")
            panel.set_ylabel(label)
            panel.set_ylim(bottom=0)
            panel.grid(True, color="#dddddd", linewidth=0.6)
            panel.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
        figure.savefig(PICTURE, metadata={"Date": None, "Title": "A long stream"})
        plt.close(figure)
    svg = PICTURE.read_text(encoding="utf-8")
    PICTURE.write_text(svg.replace("</title>", f"</title>\n <desc>{text}</desc>", 1), encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------------
# What readers read
# ---------------------------------------------------------------------------------------------------------------------

# name -> rows of each file, and of its row groups
LAYOUTS = {
    "5 files of 500 to 2,500 rows": ([2000, 500, 1500, 1000, 2500], 2500),
    "the same in row groups of 50": ([2000, 500, 1500, 1000, 2500], 50),
    "33 files of 150 to 300 rows": ([150 + 150 * i // 32 for i in range(33)], 300),
}


def bytes_read() -> int:
    return int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])


def by_node(source: datasets.IterableDataset, reader: int, readers: int) -> Iterator[dict]:
    return iter(split_dataset_by_node(source, reader, readers))


def by_share(source: datasets.IterableDataset, reader: int, readers: int) -> Iterator[dict]:
    for piece in Share(reader, readers).pieces(source.num_shards, epoch=0):
        yield from rows_of(source.shard(source.num_shards, piece.shard), piece.part, piece.parts)


def compare_readers(readers: int) -> None:
    """Prints a table: how often the bytes of all files are read, and the fewest and the most rows of a reader."""
    names = {"split_dataset_by_node": by_node, "data/shares.py": by_share}
    print("| files | " + " | ".join(f"{name}: read | rows" for name in names) + " |\n" + "|---" * 5 + "|")
    for layout, (sizes, group_rows) in LAYOUTS.items():
        with tempfile.TemporaryDirectory() as folder:
            for number, size in enumerate(sizes):
                rows = [{"text": str(i), "picture": os.urandom(10_000)} for i in range(size)]
                pq.write_table(pa.Table.from_pylist(rows), f"{folder}/{number:02}.parquet", row_group_size=group_rows)
            files = sorted(map(str, Path(folder).glob("*.parquet")))
            source = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
            cells = []
            for share in names.values():
                read, numbers = 0, []
                for reader in range(readers):
                    before = bytes_read()
                    numbers.append(sum(1 for _ in share(source, reader, readers)))
                    read += bytes_read() - before
                whole = sum(Path(file).stat().st_size for file in files)
                cells += [f"{read / whole:.2f} times", f"{min(numbers):,} to {max(numbers):,}"]
        print(f"| {layout} | " + " | ".join(cells) + " |")


def main() -> None:
    global START
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--readers", type=int)
    arguments = parser.parse_args()
    if arguments.readers is not None:
        compare_readers(arguments.readers)
        return
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(1) as other:  # whose memory does not count
            kilobytes = other.submit(write_shards, Path(folder), arguments.rows).result()
        START = time.perf_counter()
        points = train(Path(folder), arguments.rows)
    rows, _, seconds, mebibytes = points[points[:, 0] > BATCH].T
    milliseconds = 1000 * np.gradient(seconds, rows)
    milliseconds = np.convolve(np.pad(milliseconds, 5, mode="edge"), np.ones(11) / 11, mode="valid")
    tenth = len(rows) // 10
    print(f"{arguments.rows:,} rows of {kilobytes:.1f} kB; first step after {points[0, 1]:.1f} s")
    for name, part in (("first", slice(tenth, 2 * tenth)), ("last", slice(-tenth, None))):
        cost = 1000 * (seconds[part][-1] - seconds[part][0]) / (rows[part][-1] - rows[part][0])
        print(f"{name} tenth: {mebibytes[part].mean():.0f} MiB, {cost:.2f} ms of processors for a row")
    if arguments.rows >= 100_000:
        draw(
            rows,
            mebibytes,
            milliseconds,
            "Neither the memory nor the time for a row grows from the first rows to the last.",
        )


if __name__ == "__main__":
    main()
