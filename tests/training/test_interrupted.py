# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""An interrupted run goes on as if nothing had happened: killed, stopped by a signal, or with a damaged checkpoint."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from forked import run_mot
from killed_runs import STRATEGIES, TASKS, differences, run, run_with_kills, seconds_of
from safetensors.torch import load_file

from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.interruption import (
    check_folder,
    check_room,
    checkpoints_at_once,
    damages,
    newest_whole_checkpoint,
)

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 8
OPTIONS = ["--max_steps", str(STEPS), "--save_strategy", "steps", "--save_steps", "2", "--logging_steps", "1"]
OPTIONS += ["--per_device_train_batch_size", "8", "--config_overrides", '{"hidden_size": 32, "intermediate_size": 32}']


def start(folder: Path, *options: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    command = [sys.executable, *launcher, str(REPOSITORY / "run_finetune.py"), "--output_dir", str(folder), *OPTIONS]
    environment = {"OMP_NUM_THREADS": "1", "HF_HOME": str(folder.parent / "hf"), "HF_HUB_OFFLINE": "1"}
    environment |= {"ACCELERATE_USE_CPU": "true", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [*command, *options],
        env=os.environ | environment,
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process: subprocess.Popen, path: Path) -> None:
    """Until the run has made `path`, or ended."""
    while not path.exists() and process.poll() is None:
        time.sleep(0.002)


def finish(process: subprocess.Popen) -> str:
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed[-3000:]
    return printed


def losses(folder: Path) -> dict[int, float]:
    state = json.loads((folder / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    return {entry["step"]: entry["loss"] for entry in state["log_history"] if "loss" in entry}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    done = run_mot(folder.parent, "finetune", "--output_dir", folder, *OPTIONS, "--use_cpu")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def assert_as_uninterrupted(folder: Path, whole: Path) -> None:
    assert losses(folder) == losses(whole) and len(losses(whole)) == STEPS
    found, expected = (load_file(path / "model.safetensors") for path in (folder, whole))
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        "checkpoint-4/trainer_state.json",  # between two steps
        ".saving/checkpoint-4/model.safetensors",  # while a checkpoint is written
        ".saving/checkpoint-6/optimizer.pt",
        ".saving/checkpoint-2",  # while the first is
    ],
)
def test_a_killed_run_goes_on_to_the_same_losses_and_weights(moment, whole, tmp_path):
    process = start(tmp_path / "out")
    wait_for(process, tmp_path / "out" / moment)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "out" / "model.safetensors").exists()
    printed = finish(start(tmp_path / "out", "--resume_from_checkpoint", "auto"))
    assert "Going on from" in printed or "training starts anew" in printed
    assert_as_uninterrupted(tmp_path / "out", whole)


# Kills at random moments. A save takes a few tenths of a second here, so that many fall into one.

SHORT = [("classification", "group_by_length", 1), ("retrieval", "batch_rebalance", 2)]
# Every task, every strategy, with and without accumulation.
LONG = [(task, STRATEGIES[i % len(STRATEGIES)], 1 + i % 2) for i, task in enumerate(TASKS)]


@pytest.mark.training
@pytest.mark.parametrize("task, strategy, accumulation", SHORT)
def test_a_run_killed_within_a_step_or_a_save_ends_with_the_same_weights(task, strategy, accumulation, tmp_path):
    assert run(tmp_path / "whole", task, strategy, accumulation) == 0
    seconds = seconds_of(tmp_path / "again", task, strategy, accumulation, slowly=0.01)
    run_with_kills(tmp_path / "out", 2, 0, seconds, task, strategy, accumulation, slowly=0.01)
    assert not differences(tmp_path / "out", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("task, strategy, accumulation", LONG)
def test_a_run_killed_twenty_times_ends_with_the_same_weights(task, strategy, accumulation, tmp_path):
    """Where a run ended before the twentieth, another one is killed for the rest, and until one kill hit a save."""
    assert run(tmp_path / "whole", task, strategy, accumulation) == 0
    seconds, kills = seconds_of(tmp_path / "again", task, strategy, accumulation, slowly=0.02), []
    for seed in range(60):  # a machine that has more time than before ends many runs before they are killed
        folder = tmp_path / f"out{seed}"
        left = max(20 - len(kills), 1)
        kills += run_with_kills(folder, left, seed, seconds, task, strategy, accumulation, slowly=0.02)
        assert not differences(folder, tmp_path / "whole")
        if len(kills) >= 20 and any(kills):
            break
    print(f"{len(kills)} kills, {sum(kills)} in a save, {seed + 1} runs")
    assert len(kills) >= 20 and any(kills)


@pytest.mark.slow
def test_a_run_killed_while_it_pushes_ends_with_the_same_weights(hub_server, tmp_path):
    run_of = ("classification", "random", 1)
    assert run(tmp_path / "whole", *run_of) == 0
    pushes = {"hub": hub_server.endpoint, "hub_token": "hf_test", "hub_strategy": "all_checkpoints"}
    pushes |= {"hub_model_id": "user/killed", "push_training_state": True}
    seconds = seconds_of(tmp_path / "again", *run_of, **pushes)
    assert run_with_kills(tmp_path / "out", 8, 0, seconds, *run_of, **pushes)
    assert not differences(tmp_path / "out", tmp_path / "whole")


@pytest.mark.training
def test_ctrl_c_saves_and_says_how_to_go_on(whole, tmp_path):
    process = start(tmp_path / "out")
    wait_for(process, tmp_path / "out" / "checkpoint-2" / "trainer_state.json")
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT, printed[-3000:]
    assert "--resume_from_checkpoint auto" in printed
    newest = newest_whole_checkpoint(tmp_path / "out")
    assert f"saved in {newest}" in printed
    finish(start(tmp_path / "out", "--resume_from_checkpoint", "auto"))
    assert_as_uninterrupted(tmp_path / "out", whole)


@pytest.mark.slow
def test_sigterm_stops_two_processes_at_the_same_step(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone")
    process = start(tmp_path / "out", "--max_steps", "400", launcher=launcher)
    wait_for(process, tmp_path / "out" / "checkpoint-2" / "trainer_state.json")
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode != 0 and "Stopped after step" in printed, printed[-3000:]
    assert newest_whole_checkpoint(tmp_path / "out") is not None


# Damaged checkpoints


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "rng_state.pth")
# Without the last a Trainer goes on, with a warning of its own.
DAMAGES = [(cut, name) for name in FILES] + [(Path.unlink, name) for name in FILES[:-1]]


@pytest.mark.training
@pytest.mark.parametrize("damage, name", DAMAGES, ids=[f"{name} {damage.__name__}" for damage, name in DAMAGES])
def test_a_damaged_checkpoint_is_reported_and_passed_over(damage, name, whole, tmp_path, caplog):
    for step in (6, 8):
        shutil.copytree(whole / f"checkpoint-{step}", tmp_path / f"checkpoint-{step}")
    assert newest_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-8"
    damage(tmp_path / "checkpoint-8" / name)
    with caplog.at_level("WARNING"):
        assert newest_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-6"
    assert "checkpoint-8 is damaged" in caplog.text and name in caplog.text
    assert not list(damages(tmp_path / "checkpoint-6"))


def test_without_any_whole_checkpoint_there_is_none(tmp_path):
    (tmp_path / "checkpoint-3").mkdir()
    assert newest_whole_checkpoint(tmp_path) is None


# Room


def test_a_folder_that_cannot_be_written_is_an_error_before_training(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="cannot be written to .*--output_dir"):
        check_folder(tmp_path / "file" / "out")


def test_a_file_system_that_takes_no_bytes_is_an_error_before_training(tmp_path):
    """The kernel refuses every write, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot be written to"):
            check_folder(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_too_little_room_is_an_error_with_both_numbers(tmp_path):
    with torch.device("meta"):
        model = torch.nn.Linear(10**8, 10**8)  # 40 PB
    with pytest.raises(OSError, match=r"MiB left, and this run needs about [\d,]+.*2 checkpoints"):
        check_room(tmp_path, model, checkpoints=2)
    check_room(tmp_path, torch.nn.Linear(2, 2), checkpoints=2)


@pytest.mark.parametrize(
    "options, number",
    [
        ({"save_strategy": "no"}, 0),
        ({"save_strategy": "steps", "save_steps": 10}, 10),
        ({"save_strategy": "steps", "save_steps": 10, "save_total_limit": 2}, 3),
        ({"save_strategy": "epoch", "num_train_epochs": 4}, 4),
    ],
)
def test_the_checkpoints_of_a_run_are_counted(options, number, tmp_path):
    assert checkpoints_at_once(MoTTrainingArguments(str(tmp_path), **options), steps=100) == number
