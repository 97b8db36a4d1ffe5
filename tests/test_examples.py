# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The examples run as their first lines say, and leave checkpoints that load."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from forked import run_script
from safetensors.torch import load_file
from transformers import AutoModel

import mixture_of_transformers  # noqa: F401  (registers the classes)

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
pytestmark = pytest.mark.training


def run(tmp_path, script: str, *options: str) -> str:
    done = run_script(EXAMPLES / script, tmp_path, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_quickstart_learns_and_answers(tmp_path):
    printed = run(tmp_path, "quickstart.py").splitlines()
    first, last = (float(line.rpartition(" ")[2]) for line in printed[:2])
    assert last < first and last < 2.3  # the logarithm of ten classes: chance
    assert "right is" in printed[2]


@pytest.mark.parametrize("task", ["classification", "retrieval"])
def test_a_plain_trainer_trains_evaluates_and_saves(task, tmp_path):
    printed = run(tmp_path, "train_with_trainer.py", "--task", task, "--max_steps", "2")
    assert "eval_loss" in printed
    assert AutoModel.from_pretrained(tmp_path / "outputs" / "example-trainer").config.architectures


def test_mot_trainer_stops_by_its_metric_and_prints_every_subset(tmp_path):
    steps = ["--max_steps", "2", "--eval_steps", "1", "--save_steps", "1", "--freeze", "text.encoders"]
    printed = run(tmp_path, "train_with_mot_trainer.py", *steps)
    assert "eval_accuracy" in printed and "text+image+audio" in printed
    assert (tmp_path / "outputs" / "example-mot-trainer" / "model.safetensors").exists()


def test_the_accelerate_loop_goes_on_from_its_state_as_if_never_interrupted(tmp_path):
    common = ["--max_steps", "6", "--batch_size", "8", "--accumulation", "2", "--save_steps", "4"]
    printed = run(tmp_path, "train_with_accelerate.py", *common, "--output_dir", "whole")
    assert "text+image+audio" in printed and "step 6: {'text': " in printed
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    (tmp_path / "whole" / "model.safetensors").unlink()  # what is left is the state after step 4
    run(tmp_path, "train_with_accelerate.py", *common, "--output_dir", "whole", "--resume")
    resumed = load_file(tmp_path / "whole" / "model.safetensors")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


@pytest.mark.slow
def test_the_accelerate_loop_runs_on_two_processes(tmp_path):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "mixture_of_transformers").symlink_to(
        EXAMPLES.parent, target_is_directory=True
    )  # where it is not installed
    environment = {"PYTHONPATH": str(tmp_path / "packages"), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    command += [str(EXAMPLES / "train_with_accelerate.py"), "--max_steps", "2", "--batch_size", "4"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("step 2: ") == 1


@pytest.mark.slow
def test_towers_that_were_trained_alone_begin_a_model(tmp_path):
    printed = run(tmp_path, "train_towers.py", "--epochs", "1", "--output_dir", "towers")
    assert printed.count("accuracy on validation") == 3
    options = [f"--{m}_model" if i == 0 else f"towers/{m}" for m in ("text", "image", "audio") for i in (0, 1)]
    options += ["--max_steps", "2", "--per_device_train_batch_size", "8", "--max_audio_seconds", "1"]
    options += ["--freeze", "encoders", "--output_dir", "out"]
    printed = run(tmp_path, "../run_finetune.py", *options)
    assert "text+image+audio" in printed
    source = load_file(tmp_path / "towers" / "audio" / "model.safetensors")
    tower = load_file(tmp_path / "out" / "model.safetensors")
    assert tower["mot.encoders.audio.layers.2.mlp.fc1.weight"].equal(source["encoder.layers.2.fc1.weight"])
    assert tower["mot.encoders.text.final_norm.bias"].equal(
        load_file(tmp_path / "towers" / "text" / "model.safetensors")["roberta_prelayernorm.LayerNorm.bias"]
    )
