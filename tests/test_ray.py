# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`mot predict --ray` and `mot index --ray` leave the files of the plain commands, whoever of them is killed.

The cluster is a real one of two nodes on this machine, each with one core for one worker.
"""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import psutil
import pyarrow as pa
import pytest
import torch
from helpers import save_untrained
from small_files import as_lines, write, write_png
from small_indices import texts
from small_media import sound_bytes
from word_retriever import make_model, make_processor

from mixture_of_transformers.search import commands
from mixture_of_transformers.search.building import build_index
from mixture_of_transformers.search.description import read_description
from mixture_of_transformers.search.index import Index
from mixture_of_transformers.serving import predict_dataset
from mixture_of_transformers.training.workers import on_ray

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("own_cache")]
REPOSITORY = Path(__file__).resolve().parents[1]
WORDS = ("one", "two", "my answer is eight", "nothing that anybody has said before, and at some length")
ROWS, PART_ROWS = 96, 8
ray_data = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a cluster whose processes find the package."""
    pytest.importorskip("ray.data", reason="needs the extra `ray`")
    from ray.cluster_utils import Cluster

    packages = tmp_path_factory.mktemp("packages")
    (packages / "mixture_of_transformers").symlink_to(REPOSITORY, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(packages))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        torch.set_num_threads(1)
        node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
        found = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
        found.add_node(**node)
        found.wait_for_nodes()
        yield found.address
        found.shutdown()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """A folder with `digits`, which classifies, and `digits-retrieval`: of random weights, for all modalities."""
    outputs = tmp_path_factory.mktemp("outputs")
    save_untrained(outputs, "classification", "retrieval")
    return outputs


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    """Rows with every mix of the modalities, by paths; two of them cannot be read."""
    folder, rows = tmp_path_factory.mktemp("data"), []
    noise = np.random.default_rng(0).normal(0, 0.1, 8000).astype("float32")
    for i, shade in enumerate((40, 200)):
        write_png(folder / f"{i}.png", shade)
        (folder / f"{i}.wav").write_bytes(sound_bytes(noise[: 3000 * (i + 1)]))
    for i in range(ROWS):
        has = i % 7 + 1  # a bit for each modality
        row = {"id": f"r{i}", "text": WORDS[i % 4] if has & 1 else None}
        row["image"] = str(folder / f"{i % 2}.png") if has & 2 else None
        rows.append(row | {"audio": str(folder / f"{i % 2}.wav") if has & 4 else None})
    rows[40]["image"] = str(folder / "missing.png")
    rows[41] |= {"text": None, "image": None, "audio": None}
    return write(folder / "rows.jsonl", as_lines(rows))


def predict(model: Path, source: str, output: Path, *options) -> str:
    """`mot predict` in parts of few rows, in this process."""
    arguments = ["--model", model, "--dataset", source, "--output", output, "--batch_size", 8, "--keep_columns", "id"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(predict_dataset, "PART_ROWS", PART_ROWS)
        predict_dataset.main([str(argument) for argument in (*arguments, *options)])
    return printed.getvalue()


def index(model: Path, source: str, output: Path, *options) -> None:
    """`mot index` in shards of few rows, in this process."""
    arguments = [source, "--model", model, "--output_dir", output, "--batch_size", 4]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()):
        patch.setattr(commands, "build_index", partial(build_index, shard_rows=PART_ROWS))
        commands.index([str(argument) for argument in (*arguments, *options)])


def contents(folder: Path) -> dict[str, bytes]:
    """The files of an index."""
    return {path.name: path.read_bytes() for path in (folder / "index.json", *folder.glob("shard-*"))}


@contextmanager
def killing_a_worker(has_begun):
    """One worker of the cluster is killed while it computes, once something has begun; gives a list with it, then."""
    killed: list[psutil.Process] = []

    def kill():
        while not killed:
            for process in psutil.Process().children(recursive=True) if has_begun() else ():
                if not killed and re.match(r"ray::MapWorker.*\.submit", title_of(process)):
                    process.kill()
                    killed.append(process)
            time.sleep(0.005)

    threading.Thread(target=kill, daemon=True).start()
    yield killed


def title_of(process: psutil.Process) -> str:
    """What Ray calls a process, or nothing of one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def kill_the_driver(script: str, arguments: list, has_begun) -> None:
    """A script in a process of its own, killed as soon as something has begun."""
    environment = os.environ | {"HF_DATASETS_CACHE": str(datasets.config.HF_DATASETS_CACHE)}
    driver = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], env=environment)
    while not has_begun():
        assert driver.poll() is None
        time.sleep(0.005)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL


INDEX = f"""
import sys
from functools import partial
from mixture_of_transformers.search import commands
commands.build_index = partial(commands.build_index, shard_rows={PART_ROWS})
commands.index(sys.argv[1:])
"""
PREDICT = f"""
import sys
from mixture_of_transformers.serving import predict_dataset
predict_dataset.PART_ROWS = {PART_ROWS}
predict_dataset.main(sys.argv[1:])
"""


# --------------------------------------------------- predictions ---------------------------------------------------


@ray_data
def test_the_file_is_that_of_the_plain_command_byte_for_byte(cluster, checkpoints, source, tmp_path):
    plain, spread = tmp_path / "plain.jsonl", tmp_path / "spread.jsonl"
    predict(checkpoints / "digits", source, plain)
    printed = predict(checkpoints / "digits", source, spread, "--ray", "--ray_address", cluster)
    assert spread.read_bytes() == plain.read_bytes()
    assert "2 rows could not be answered" in printed


@ray_data
def test_a_killed_worker_loses_no_row_and_doubles_none(cluster, checkpoints, source, tmp_path):
    plain, spread = tmp_path / "plain.jsonl", tmp_path / "spread.jsonl"
    predict(checkpoints / "digits", source, plain)
    parts = tmp_path / ".spread.jsonl.unfinished"
    with killing_a_worker(lambda: any(parts.glob("part-*"))) as killed:
        predict(checkpoints / "digits", source, spread, "--ray", "--ray_address", cluster)
    assert len(killed) == 1 and spread.read_bytes() == plain.read_bytes()


@ray_data
def test_after_a_killed_driver_only_missing_parts_are_answered(cluster, checkpoints, source, tmp_path, monkeypatch):
    plain, spread = tmp_path / "plain.jsonl", tmp_path / "spread.jsonl"
    predict(checkpoints / "digits", source, plain)
    options = ["--model", checkpoints / "digits", "--dataset", source, "--batch_size", 8, "--keep_columns", "id"]
    options += ["--output", spread, "--ray", "--ray_address", cluster]
    parts = tmp_path / ".spread.jsonl.unfinished"
    kill_the_driver(PREDICT, options, lambda: len(list(parts.glob("part-*"))) >= 3)
    done = {path.name for path in parts.glob("part-*")}
    written, write_part = [], predict_dataset.PredictionFile.write_part
    monkeypatch.setattr(
        predict_dataset.PredictionFile,
        "write_part",
        lambda self, number, table: (written.append(self.part(number).name), write_part(self, number, table)),
    )
    predict(checkpoints / "digits", source, spread, "--ray", "--ray_address", cluster)
    assert spread.read_bytes() == plain.read_bytes()
    assert len(done) + len(written) == ROWS / PART_ROWS and not done & set(written)


@ray_data
def test_a_bad_row_stops_the_command_with_the_plain_error(cluster, checkpoints, source, tmp_path):
    with pytest.raises(ValueError, match=r"^Row 40 of split 'train' is a bad example, missing image file"):
        predict(
            *(checkpoints / "digits", source, tmp_path / "a.csv"),
            *("--ray", "--ray_address", cluster, "--on_bad_example", "raise"),
        )


def test_parts_that_are_done_in_another_order_are_taken_over(checkpoints, source, tmp_path):
    """As workers leave them, the first of which was killed."""
    plain, other = tmp_path / "plain.jsonl", tmp_path / "other.jsonl"
    predict(checkpoints / "digits", source, plain)
    inside = predict_dataset.PredictionFile.finish
    with pytest.MonkeyPatch.context() as patch:

        def lose_two(self, parts):
            for number in (0, 5):
                self.part(number).unlink()
            raise KeyboardInterrupt

        patch.setattr(predict_dataset.PredictionFile, "finish", lose_two)
        with pytest.raises(KeyboardInterrupt):
            predict(checkpoints / "digits", source, other)
    assert predict_dataset.PredictionFile.finish is inside
    assert f"{ROWS - 2 * PART_ROWS} rows were answered before" in predict(checkpoints / "digits", source, other)
    assert other.read_bytes() == plain.read_bytes()


def test_a_worker_that_finds_another_checkpoint_is_an_error(checkpoints, source, tmp_path, monkeypatch):
    """`on_ray` opens here what it would open there, after a weight has changed."""
    model = Path(shutil.copytree(checkpoints / "digits", tmp_path / "model"))

    def later(open_answer, *_):
        with open(model / "model.safetensors", "r+b") as weights:
            weights.seek(-4, os.SEEK_END)
            weights.write(np.float32(0.5).tobytes())
        return open_answer()

    monkeypatch.setattr(predict_dataset, "on_ray", later)
    with pytest.raises(ValueError, match="The checkpoint .*model on .* is another than where the command was started"):
        predict(model, source, tmp_path / "a.jsonl", "--ray")


def test_without_ray_the_error_names_the_extra(checkpoints, source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"--ray needs Ray: pip install 'mixture-of-transformers\[ray\]'"):
        predict(checkpoints / "digits", source, tmp_path / "a.jsonl", "--ray")


# ------------------------------------------------------ an index ---------------------------------------------------


@ray_data
def test_the_index_is_that_of_the_plain_command_byte_for_byte(cluster, checkpoints, source, tmp_path):
    index(checkpoints / "digits-retrieval", source, tmp_path / "plain")
    index(checkpoints / "digits-retrieval", source, tmp_path / "spread", "--ray", "--ray_address", cluster)
    assert contents(tmp_path / "spread") == contents(tmp_path / "plain")
    assert len(Index.load(tmp_path / "spread")) == ROWS - 2  # which cannot be read


@ray_data
def test_an_index_survives_a_killed_driver_and_then_a_killed_worker(cluster, checkpoints, source, tmp_path):
    model, folder = checkpoints / "digits-retrieval", tmp_path / "spread"
    index(model, source, tmp_path / "plain")

    def done() -> set[str]:
        if not (folder / "index.json").exists():
            return set()
        return {shard["file"] for shard in read_description(folder).get("pending", {}).get("shards", ())}

    options = ["--model", model, "--output_dir", folder, "--batch_size", 4, "--ray", "--ray_address", cluster]
    kill_the_driver(INDEX, [source, *options], lambda: len(done()) >= 2)
    before = {name: (folder / name).stat().st_mtime_ns for name in done()}
    with killing_a_worker(lambda: len(done()) > len(before)) as killed:
        index(model, source, folder, "--ray", "--ray_address", cluster)
    assert len(killed) == 1 and contents(folder) == contents(tmp_path / "plain")
    assert before == {name: (folder / name).stat().st_mtime_ns for name in before}


def test_a_model_that_was_never_saved_cannot_be_opened_elsewhere(tmp_path):
    with pytest.raises(ValueError, match="`spread` opens the checkpoint of `model`, which was loaded from none"):
        build_index(texts("red"), make_model(), make_processor(), tmp_path / "index", spread=on_ray)
    assert not (tmp_path / "index").exists()


# --------------------------------------------------- blocks of rows ------------------------------------------------


@ray_data
def test_a_block_that_is_done_waits_for_none_before_it_and_both_machines_answer(cluster, tmp_path):
    """The first block is not done before the second one has come."""
    come = tmp_path / "come"

    def open_answer():
        def answer(blocks):
            for number, rows in blocks.items():
                while number == 0 and not come.exists():
                    time.sleep(0.05)
                yield number, pa.table({"row": list(rows), "worker": [os.getpid()] * len(rows)})

        return answer

    blocks, found = {number: range(10 * number, 10 * number + 10) for number in range(4)}, {}
    for number, table in on_ray(open_answer, cluster)(blocks):
        assert number not in found
        found[number] = table.to_pydict()
        come.touch()
    assert {number: table["row"] for number, table in found.items()} == {n: list(rows) for n, rows in blocks.items()}
    assert len({worker for table in found.values() for worker in table["worker"]}) == 2
