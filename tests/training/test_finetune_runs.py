# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The command line as a user runs it: every task leaves a checkpoint, results and a card that work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from forked import run_mot
from helpers import save_untrained
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoProcessor

from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.run_finetune import main as finetune_main

REPOSITORY = Path(__file__).resolve().parents[2]


def run_finetune(
    tmp_path, *options: str, check: bool = True, environment: dict | None = None
) -> subprocess.CompletedProcess:
    """A run in a folder; with an environment, by a real start of `run_finetune.py`."""
    if environment is None:
        done = run_mot(tmp_path, "finetune", "--output_dir", str(tmp_path / "out"), *options)
    else:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "hf")} | environment
        command = [
            sys.executable,
            str(REPOSITORY / "run_finetune.py"),
            "--output_dir",
            str(tmp_path / "out"),
            *options,
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def run_finetune_here(tmp_path, *options: str) -> dict:
    """In this process, for what ends before it has changed anything."""
    return finetune_main(["--output_dir", str(tmp_path / "out"), "--use_cpu", *options])


@pytest.mark.training
def test_finetune_leaves_a_checkpoint_results_and_a_card_that_work(tmp_path):
    done = run_finetune(tmp_path, "--max_steps", "3", "--per_device_train_batch_size", "8")
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text())
    assert {"task", "split", "seed", "seconds", "subsets"} <= set(results)
    assert list(results["subsets"])[-1] == "text+image+audio"
    assert results["subsets"]["text"]["rows"] == 300
    assert load_file(out / "model.safetensors")
    assert not [path for path in out.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    card = (out / "README.md").read_text()
    assert "mixture-of-transformers" in card
    assert f"{results['subsets']['text']['accuracy']:.4f}" in card
    answer = run_printed_lines(done, tmp_path)
    assert "max_length" not in answer.stderr  # no leftover of how the training texts were cut
    model = AutoModelForSequenceClassification.from_pretrained(out)
    assert answer.stdout.strip() in model.config.id2label.values()


def run_printed_lines(done: subprocess.CompletedProcess, tmp_path: Path) -> subprocess.CompletedProcess:
    """The printed lines, pasted into a process that cannot import the package."""
    lines = done.stdout.split("without this package:")[1]
    blocker = "import sys\nsys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
    check = "try:\n    import mixture_of_transformers\nexcept ImportError:\n    pass\n"
    check += "else:\n    raise SystemExit('mixture_of_transformers can be imported')\n"
    environment = os.environ | {"HF_HOME": str(tmp_path / "other"), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", blocker + check + lines], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return answer


@pytest.mark.training
@pytest.mark.parametrize(
    ("task", "section", "names", "metrics"),
    [
        ("regression", "subsets", {"text", "text+image+audio"}, {"mae", "pearson"}),
        ("retrieval", "pairs", {"text->image", "text+audio->image"}, {"recall_at_1", "median_rank", "precision_at_1"}),
        ("pretraining", "terms", {"text", "image", "audio", "contrastive/text-image"}, {"loss"}),
    ],
)
def test_every_task_ends_with_its_table_a_card_and_lines_that_run(task, section, names, metrics, tmp_path):
    done = run_finetune(tmp_path, "--task", task, "--max_steps", "2", "--per_device_train_batch_size", "8")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["task"] == task
    assert names <= set(results[section])
    for name, numbers in results[section].items():
        assert metrics <= set(numbers)
        assert name in done.stdout and name in (tmp_path / "out" / "README.md").read_text()
    assert run_printed_lines(done, tmp_path).stdout.strip()


@pytest.mark.training
def test_a_pretrained_checkpoint_starts_a_classifier_on_few_labels(tmp_path):
    save_untrained(tmp_path, "pretraining")
    options = ["--max_steps", "2", "--per_device_train_batch_size", "8", "--learning_rate", "0"]
    options += ["--model_name_or_path", str(tmp_path / "digits-pretraining"), "--max_train_samples", "20"]
    run_finetune(tmp_path, *options)
    first = load_file(tmp_path / "digits-pretraining" / "model.safetensors")
    second = load_file(tmp_path / "out" / "model.safetensors")
    assert set(second) == {name for name in first if name.startswith("mot.")} | {
        "classifier.weight",
        "classifier.bias",
    }
    assert all(torch.equal(first[name], second[name]) for name in second if name.startswith("mot."))


@pytest.mark.slow
def test_finetune_leaves_an_adapter_or_the_merged_model(tmp_path):
    options = ["--max_steps", "2", "--per_device_train_batch_size", "8"]
    run_finetune(tmp_path, *options)
    (tmp_path / "out").rename(tmp_path / "base")
    options += ["--model_name_or_path", str(tmp_path / "base"), "--lora", "--lora_rank", "2"]
    done = run_finetune(tmp_path, *options)
    assert " learn\n" in done.stdout
    weights = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert not (tmp_path / "out" / "model.safetensors").exists() and "classifier" in " ".join(weights)
    assert run_printed_lines(done, tmp_path).stdout.strip() in AutoConfig.from_pretrained(tmp_path / "out").label2id
    (tmp_path / "out").rename(tmp_path / "adapter")
    done = run_finetune(tmp_path, *options, "--merge_lora")
    merged, base = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "base"))
    assert set(merged) == set(base)
    assert not torch.equal(*(w["mot.encoders.text.layers.0.mlp.fc1.weight"] for w in (merged, base)))
    assert run_printed_lines(done, tmp_path).stdout.strip()


@pytest.mark.training
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lora"], "give --model_name_or_path"),
        (["--task", "retrieval", "--image_column", "none", "--audio_column", "none"], "two modalities"),
        (["--task", "pretraining", "--sentiment_metrics"], "sentiment_metrics are for --task regression"),
        (["--max_train_samples", "5000"], "has 1297 rows"),
    ],
)
def test_a_task_that_the_data_cannot_serve_is_an_error(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_finetune_here(tmp_path, *options)


@pytest.mark.training
def test_finetune_takes_any_local_dataset_and_continues_from_a_checkpoint(tmp_path):
    columns = {"text": "transcript", "image": "picture", "audio": "speech", "label": "mood"}
    for name, split in load_digits_dataset().items():
        (tmp_path / "clips").mkdir(exist_ok=True)
        split.select(range(60)).rename_columns(columns).to_parquet(tmp_path / "clips" / f"{name}.parquet")
    options = ["--dataset_name", str(tmp_path / "clips"), "--max_steps", "2", "--per_device_train_batch_size", "8"]
    options += [f"--{role}_column={name}" for role, name in columns.items() if role != "audio"]
    run_finetune(tmp_path, *options, "--audio_column", "none")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results["subsets"]) == ["text", "image", "text+image"]
    first = load_file(tmp_path / "out" / "model.safetensors")
    (tmp_path / "out").rename(tmp_path / "first")
    run_finetune(
        tmp_path, *options, "--audio_column=none", f"--model_name_or_path={tmp_path / 'first'}", "--learning_rate=0"
    )
    second = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert processor.tokenizer.vocab == AutoProcessor.from_pretrained(tmp_path / "first").tokenizer.vocab


@pytest.mark.training
def test_finetune_regresses_on_ready_features(tmp_path):
    """As in sentiment analysis: words, face and voice arrive as vectors, the label is a number."""
    rng = np.random.default_rng(0)
    widths = {"text": 12, "image": 5, "audio": 7}
    rows = [
        {name: rng.normal(size=(rng.integers(2, 6), width)).tolist() for name, width in widths.items()}
        | {"sentiment": float(rng.normal())}
        for _ in range(40)
    ]
    rows[3]["image"] = None
    (tmp_path / "clips").mkdir()
    for name in ("train", "validation", "test"):
        Dataset.from_list(rows).to_parquet(tmp_path / "clips" / f"{name}.parquet")
    options = ["--dataset_name", str(tmp_path / "clips"), "--label_column", "sentiment"]
    run_finetune(tmp_path, *options, "--max_steps", "2", "--per_device_train_batch_size", "8")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["task"] == "regression"
    assert results["subsets"]["image"]["rows"] == 39
    assert {"mae", "mse", "pearson"} <= set(results["subsets"]["text+image+audio"])


@pytest.mark.training
def test_finetune_names_the_columns_when_one_does_not_exist(tmp_path):
    with pytest.raises(ValueError, match=r"transcript.*'text' \(string\)"):
        run_finetune_here(tmp_path, "--text_column", "transcript")


@pytest.mark.slow
@pytest.mark.training
def test_finetune_runs_on_two_processes(tmp_path):
    """Started by torchrun, rows are split between the processes and each is evaluated once."""
    options = ["--max_steps", "2", "--per_device_train_batch_size", "8", "--output_dir", str(tmp_path / "out")]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HOME": str(tmp_path / "hf")}
    script = str(REPOSITORY / "run_finetune.py")
    done = subprocess.run(
        [*command, script, *options], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [numbers["rows"] for numbers in results["subsets"].values()] == [300] * 7
    assert done.stdout.count("one checkpoint:") == 1
