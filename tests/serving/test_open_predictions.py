# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`mot predict --dataset` and `mot evaluate` of a run on a table with further modalities: its columns are known again,
in other files too, and what a row lacks it is answered without."""

import json

import numpy as np
import pytest
from datasets import Dataset
from forked import run_mot
from open_rows import as_dataset, cells
from transformers import pipeline

from mixture_of_transformers.pipeline_mot import TASK
from mixture_of_transformers.processing_mot import load_processor

pytestmark = pytest.mark.training
OVERRIDES = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_encoder_layers": 1}
ROWS = 24


def labelled(folder) -> Dataset:
    split = as_dataset(cells(ROWS), folder / "pictures")
    return split.add_column("label", ["low", "high"] * (ROWS // 2))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with `rows.parquet` and `out`, what a run on it left."""
    folder = tmp_path_factory.mktemp("run")
    labelled(folder).to_parquet(folder / "rows.parquet")
    extra = ["--extra_columns", "depth:image=depth", "imu=acc", "vitals=age,bmi,sex"]
    steps = [
        "--max_steps",
        "2",
        "--per_device_train_batch_size",
        "4",
        "--config_overrides",
        json.dumps(OVERRIDES),
        "--use_cpu",
    ]
    done = run_mot(folder, "finetune", "--dataset_name", "rows.parquet", "--output_dir", "out", *extra, *steps)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def predict(run, *arguments) -> list[dict]:
    done = run_mot(run, "predict", "--model", "out", "--output", "answers.jsonl", *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    (run / "answers.jsonl").rename(run / "read.jsonl")
    return [json.loads(line) for line in (run / "read.jsonl").read_text().splitlines()]


def by_pipeline(run, rows) -> list[dict]:
    """The answers to rows one by one, as people have them."""
    classify = pipeline(TASK, model=str(run / "out"), processor=load_processor(run / "out"))
    return [classify(row, return_attribution=True, truncation=True) for row in rows]


def check_answers(found, expected):
    for answer, one in zip(found, expected, strict=True):
        scores = {pair["label"]: pair["score"] for pair in one["labels"]}
        assert answer["probabilities"] == pytest.approx(scores, abs=1e-5)


def without(rows, *names):
    """The same rows without some of their parts, or of the columns of their table."""
    for row in rows:
        kept = {name: cell for name, cell in row.items() if name not in names}
        if "vitals" in kept:
            kept["vitals"] = {name: value for name, value in kept["vitals"].items() if name not in names}
        yield kept


def test_every_row_gets_the_answer_and_the_contributions_that_the_pipeline_gives_it(run):
    record = json.loads((run / "out" / "run.json").read_text())["data"]
    assert record["extra_columns"] == ["depth:image=depth", "imu:series=acc", "vitals:table=age,bmi,sex", "none"]
    (run / "all.jsonl").write_text("\n".join(map(json.dumps, labelled(run).to_list())))
    found = predict(run, "--dataset", "all.jsonl", "--contributions")
    expected = by_pipeline(run, cells(ROWS))
    check_answers(found, expected)
    for answer, one in zip(found, expected):
        assert answer["contributions"] == pytest.approx(one["attribution"], abs=1e-4)


def test_a_file_without_some_of_the_columns_is_answered_without_them(run):
    labelled(run).remove_columns(["acc", "sex", "label"]).to_parquet(run / "less.parquet")
    found = predict(run, "--dataset", "less.parquet")
    check_answers(found, by_pipeline(run, without(cells(ROWS), "imu", "sex")))


def test_rows_that_all_lack_what_a_file_has_a_column_for_are_answered_without_it(run):
    lines = [{**row, "text": None, "acc": [], "sex": None, "depth": None} for row in labelled(run).to_list()]
    lines = [line for line, row in zip(lines, cells(ROWS)) if {"age", "bmi"} & row.get("vitals", {}).keys()]
    (run / "gaps.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = predict(run, "--dataset", "gaps.jsonl")
    expected = [row for row in without(cells(ROWS), "imu", "text", "depth", "sex") if row.get("vitals")]
    assert len(found) == len(expected) > 2
    check_answers(found, by_pipeline(run, expected))


def test_columns_of_other_names_are_named_as_in_training(run):
    other = labelled(run).rename_columns({"acc": "Walk", "age": "years"}).remove_columns(["label", "bmi"])
    other.to_parquet(run / "other.parquet")
    found = predict(run, "--dataset", "other.parquet", "--extra_columns", "imu=walk")
    check_answers(found, by_pipeline(run, without(cells(ROWS), "bmi", "age")))
    for wrong, message in (
        ("imus=walk", "beside the usual ones the model takes depth"),
        ("imu=acc", "no column 'acc'"),
    ):
        done = run_mot(
            run,
            "predict",
            "--model",
            "out",
            "--dataset",
            "other.parquet",
            "--extra_columns",
            wrong,
            "--output",
            "a.csv",
        )
        assert done.returncode == 1 and message in done.stderr, done.stderr[-2000:]


def test_evaluation_reads_the_same_columns(run):
    results = json.loads((run / "out" / "results.json").read_text())
    done = run_mot(run, "evaluate", "out")
    assert done.returncode == 0, done.stderr[-3000:]
    again = json.loads((run / "out" / "results.json").read_text())
    assert again["subsets"] == results["subsets"]
    (run / "test").mkdir()
    labelled(run).rename_columns({"acc": "walk"}).to_parquet(run / "test" / "test.parquet")
    asked = ["--dataset_name", "test", "--extra_columns", "imu=walk", "--allow_outside_paths"]
    done = run_mot(run, "evaluate", "out", "--output_dir", "o", *asked)
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = (run / "o").glob("results*.json")
    found = json.loads(file.read_text())["subsets"]
    assert {"text", "depth", "imu", "vitals", "text+depth+imu+vitals"} <= found.keys()
    assert np.isfinite(found["imu"]["accuracy"]) and found["imu"]["rows"] == sum("imu" in row for row in cells(ROWS))
