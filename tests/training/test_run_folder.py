# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A run owns its folder: one at a time, its own checkpoints alone, and each of them whole, whatever ends it: a signal
that nobody can catch, a full disk, a clock that was set back."""

import json
import multiprocessing
import os
import resource
import signal
import subprocess
from pathlib import Path

import killed_runs
import pytest
from killed_runs import STEPS, differences, run, seconds_of

from mixture_of_transformers.training.interruption import (
    checkpoint_to_resume,
    damages,
    finished_state,
    newest_whole_checkpoint,
)
from mixture_of_transformers.training.run_folder import (
    LOCK,
    RUN_ID,
    SAVING,
    begin_run,
    delete_old_checkpoints,
    own_checkpoints,
    owned,
    put_in_place,
    run_of_folder,
)

forks = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nothing interrupted, with all of its checkpoints."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    seconds_of(folder, "classification", "random", save_total_limit=None)
    return folder


def checkpoint(folder: Path, step: int, run: str | None, time: int = 0) -> Path:
    """An empty one of a run, as old as `time` says."""
    place = folder / f"checkpoint-{step}"
    place.mkdir(parents=True)
    state = {"global_step": step, "stateful_callbacks": {} if run is None else {"run": run}}
    (place / "trainer_state.json").write_text(json.dumps(state))
    os.utime(place, (time, time))
    return place


def hold(folder: Path, pipe) -> None:
    with owned(folder):
        pipe.send("owned")
        signal.pause()


def test_a_second_run_in_a_folder_is_refused_until_the_first_ends_even_if_it_is_killed(tmp_path):
    ours, theirs = forks.Pipe()
    process = forks.Process(target=hold, args=(tmp_path / "out", theirs))
    process.start()
    assert ours.recv() == "owned"
    message = r"Another run is going on in .*out: wait .* or name another .* --output_dir"
    with pytest.raises(OSError, match=message), owned(tmp_path / "out"):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with owned(tmp_path / "out"), owned(tmp_path / "out"):  # the owner may ask again
        pass


def test_a_folder_says_of_which_run_it_is_and_an_earlier_ones_end_is_not_its_own(tmp_path):
    assert run_of_folder(tmp_path) is None
    first = begin_run(tmp_path)
    (tmp_path / "model.safetensors").touch()
    state = {"epoch": 1.0, "global_step": 4, "stateful_callbacks": {"run": first}}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    assert finished_state(tmp_path).global_step == 4
    second = begin_run(tmp_path)
    assert first != second == run_of_folder(tmp_path) and finished_state(tmp_path) is None


def test_checkpoints_are_those_of_the_folders_run_by_their_steps_whatever_the_clock_says(tmp_path):
    mine, theirs = "a" * 32, "b" * 32
    for step, run_id, time in ((2, mine, 900), (4, theirs, 800), (10, mine, 100), (12, theirs, 1000)):
        checkpoint(tmp_path, step, run_id, time)
    (tmp_path / "checkpoint-20.old").mkdir()
    begin_run(tmp_path, mine)
    assert [path.name for path in own_checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-10"]
    checkpoint(tmp_path, 11, mine, 50)
    delete_old_checkpoints(tmp_path, 1, best=tmp_path / "checkpoint-None", busy=set())
    names = {path.name for path in tmp_path.glob("checkpoint-*")}
    assert names == {"checkpoint-4", "checkpoint-12", "checkpoint-11", "checkpoint-20.old"}


def test_the_best_checkpoint_and_those_on_their_way_to_the_hub_stay(tmp_path):
    begin_run(tmp_path, "a")
    for step in (1, 2, 3, 4, 5):
        checkpoint(tmp_path, step, "a")
    delete_old_checkpoints(tmp_path, 2, best=tmp_path / "checkpoint-1", busy={tmp_path / "checkpoint-2"})
    assert {path.name[-1] for path in tmp_path.glob("checkpoint-*")} == {"1", "2", "5"}


def test_checkpoints_of_several_runs_in_a_folder_that_names_none_are_an_error(tmp_path):
    checkpoint(tmp_path, 2, "a")
    checkpoint(tmp_path, 4, "b")
    with pytest.raises(ValueError, match="checkpoints of 2 runs .*name a checkpoint with --resume_from_checkpoint"):
        checkpoint_to_resume("auto", tmp_path)


def test_checkpoints_from_before_runs_had_ids_go_on(tmp_path):
    checkpoint(tmp_path, 2, None)
    assert [path.name for path in own_checkpoints(tmp_path)] == ["checkpoint-2"]
    begin_run(tmp_path, "")
    assert run_of_folder(tmp_path) is None and own_checkpoints(tmp_path)


def test_a_folder_takes_its_place_whole_and_what_it_replaces_is_gone(tmp_path):
    for folder, text in ((tmp_path / "checkpoint-2", "old"), (tmp_path / SAVING / "checkpoint-2", "new")):
        folder.mkdir(parents=True)
        (folder / text).write_text(text)
    put_in_place(tmp_path / SAVING / "checkpoint-2", tmp_path / "checkpoint-2")
    assert [path.name for path in (tmp_path / "checkpoint-2").iterdir()] == ["new"]
    assert not list((tmp_path / SAVING).iterdir())


@pytest.mark.training
def test_a_finished_run_leaves_its_id_in_every_checkpoint_and_nothing_half_written(whole):
    run_id = run_of_folder(whole)
    assert [path.name for path in own_checkpoints(whole)] == [f"checkpoint-{step}" for step in (2, 4, 6, 8, STEPS)]
    states = [json.loads((path / "trainer_state.json").read_text()) for path in own_checkpoints(whole)]
    assert {state["stateful_callbacks"]["run"] for state in states} == {run_id}
    assert {path.name for path in whole.iterdir() if path.name.startswith(".")} == {LOCK, RUN_ID}


@pytest.mark.training
def test_a_run_that_keeps_the_best_checkpoint_alone_leaves_those_of_other_runs(tmp_path):
    begin_run(tmp_path)
    checkpoint(tmp_path, 3, run="another")
    options = {"save_total_limit": 1, "eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True}
    assert run(tmp_path, "classification", "random", greater_is_better=True, **options) == 0  # the loss only falls
    assert [path.name for path in own_checkpoints(tmp_path)] == ["checkpoint-2"]
    assert (tmp_path / "checkpoint-3").is_dir()


def train_within(limit: int, *arguments, **options) -> None:
    """A run whose files the kernel ends at so many bytes, as a disk that fills up does; its error goes to a file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    killed_runs.train(*arguments, **options)


def failing_run(limit: int, folder: Path) -> str:
    """What a run says that cannot write files above a limit."""
    ours, theirs = forks.Pipe()

    def target():
        try:
            train_within(limit, str(folder), "classification", "random", save_total_limit=None)
        except OSError as error:
            theirs.send(str(error))

    process = forks.Process(target=target)
    process.start()
    process.join()
    assert ours.poll(), "the run has not failed"
    return ours.recv()


@pytest.mark.training
@pytest.mark.parametrize("share", ["optimizer.pt", "model.safetensors"])
def test_a_disk_that_fills_up_loses_nothing_and_the_error_says_how_to_go_on(share, whole, tmp_path):
    """At the optimizer's state or at the weights: torch and safetensors have errors of their own for it."""
    limit = (whole / "checkpoint-2" / share).stat().st_size - 100
    message = failing_run(limit, tmp_path / "out")
    assert "could not be saved in" in message and "--resume_from_checkpoint auto" in message and "MiB left" in message
    assert not (tmp_path / "out" / SAVING).exists() and not own_checkpoints(tmp_path / "out")
    assert run(tmp_path / "out", "classification", "random") == 0  # when there is room again
    assert not differences(tmp_path / "out", whole)


@pytest.mark.training
def test_a_disk_that_fills_up_between_two_checkpoints_keeps_the_first(whole, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(path.stat().st_size for path in (whole / "checkpoint-2").rglob("*")) * 5 // 2
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this user cannot mount a small disk")
    try:
        message = failing_run(resource.RLIM_INFINITY, disk / "out")
        good = newest_whole_checkpoint(disk / "out")
        assert "No space left on device" in message or "could not be saved" in message
        assert f"{good} is whole and stays as it is" in message and not list(damages(good))
        subprocess.run(["mount", "-o", f"remount,size={size * 10}", disk], check=True)
        assert run(disk / "out", "classification", "random") == 0
        assert not differences(disk / "out", whole)
    finally:
        subprocess.run(["umount", disk], check=True)
