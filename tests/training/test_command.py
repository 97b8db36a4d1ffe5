# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Every command ends in what was asked for, or in one line and a code."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from mixture_of_transformers.__main__ import main as mot
from mixture_of_transformers.training.command import RunError, run, without_debug
from mixture_of_transformers_command import COMMANDS

# A wrong argument of each: an option that there is not, and something that cannot be read.
UNKNOWN = {
    "finetune": ["--tusk", "retrieval"],
    "evaluate": ["nowhere/nothing", "--splitt"],
    "report": ["nowhere/nothing", "--splitt"],
    "robustness": ["nowhere/nothing", "--splitt"],
    "predict": ["--model", "nowhere", "--texts", "a"],
    "generate": ["--model", "nowhere", "--texts", "a"],
    "index": ["nowhere", "--model", "nowhere", "--output_dir", "out", "--tusk"],
    "search": ["nowhere", "--texts", "a"],
    "demo": ["--prot", "80"],
}
UNREADABLE = {
    "finetune": ["--dataset_name", "./nowhere.csv"],
    "evaluate": ["./nowhere"],
    "report": ["./nowhere"],
    "robustness": ["./nowhere"],
    "predict": ["--model", "./nowhere", "--text", "a"],
    "generate": ["--model", "./nowhere", "--text", "a"],
    "index": ["./nowhere.csv", "--model", "./nowhere", "--output_dir", "out"],
    "search": ["./nowhere", "--text", "a"],
    "demo": ["--model", "./nowhere", "--space_dir", "."],
}


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs `mot` in this process: its code, and what it writes to stderr, which is what SystemExit would print."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").write_text("")  # for the --space_dir of the demo
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["mot", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            mot()
        code, written = ended.value.code, capsys.readouterr().err
        return (1, written + code) if isinstance(code, str) else (code, written)

    return call


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_a_usage_error_of_code_2_that_names_it(command, name):
    code, written = command(name, *UNKNOWN[name])
    assert code == 2
    assert "error: " in written.splitlines()[-1]
    assert any(option in written for option in UNKNOWN[name] if option.startswith("--") and option not in ("--model",))


@pytest.mark.parametrize("name", COMMANDS)
def test_what_cannot_be_read_is_one_line_of_code_1_that_names_it(command, name):
    code, written = command(name, *UNREADABLE[name])
    assert code == 1
    assert "Traceback" not in written and "not foreseen" not in written
    assert ("nowhere" in written or "--space_dir" in written.splitlines()[-1]) and written.splitlines()[-1].count(
        "Error: "
    ) >= 1


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("place", ["first", "last"])
def test_debug_anywhere_in_any_command_shows_the_traceback(name, place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").write_text("")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    arguments = ["--debug", name, *UNREADABLE[name]] if place == "first" else [name, *UNREADABLE[name], "--debug"]
    monkeypatch.setattr(sys, "argv", ["mot", *arguments])
    with pytest.raises((ValueError, OSError)):
        mot()


def test_another_command_is_a_usage_error_that_lists_them(command):
    code, written = command("serach")
    assert code == 2 and "search" in written and "finetune" in written


def test_debug_of_transformers_stays_an_option_of_the_trainer():
    words = ["--debug", "underflow_overflow", "--seed", "1"]
    assert without_debug(words) == (words, False)
    assert without_debug(["--debug", *words, "--debug"]) == (words, True)
    assert without_debug(["--text", "--seed", "--debug"]) == (["--text", "--seed"], True)


def ended(error):
    """How a command ends that raises this error."""

    def fail(arguments):
        raise error

    with pytest.raises(SystemExit) as stop:
        run(fail, [])
    return stop.value.code


@pytest.mark.parametrize(
    "error", [ValueError("text[3] is 5"), FileNotFoundError("no a.csv"), ImportError("pip install av")]
)
def test_a_foreseen_error_is_one_line(error):
    assert ended(error) == f"{type(error).__name__}: {error}"
    assert ended(type(error)("first\n\n   second\n")) == f"{type(error).__name__}: first second"


def test_no_name_in_an_error_commands_the_terminal():
    assert ended(ValueError("no '\x1b]0;owned\x07'\n\u202eé 猫")) == r"ValueError: no '\x1b]0;owned\x07' \u202eé 猫"
    assert ended(RunError("stopped at \x1b[2J\n    mot finetune")) == "stopped at \\x1b[2J\n    mot finetune"


def test_an_unforeseen_error_names_its_type_and_keeps_its_traceback():
    line = ended(KeyError("mood"))
    assert line.startswith("KeyError: 'mood' (This was not foreseen") and "\n" not in line
    assert "--debug" in line and "SECURITY.md" in line
    kept = line.split("its traceback is in ")[1].split(". Run it")[0]
    assert "in fail\n    raise error" in Path(kept).read_text()
    assert os.stat(kept).st_mode & 0o077 == 0  # for nobody else
    os.remove(kept)


def test_an_error_without_a_word_is_unforeseen():
    line = ended(ValueError())
    assert "not foreseen" in line
    os.remove(line.split("its traceback is in ")[1].split(". Run it")[0])


def test_a_command_to_copy_keeps_its_line():
    assert (
        ended(RunError("Not done. Again:\n\n    mot evaluate out\n")) == "Not done. Again:\n\n    mot evaluate out\n"
    )


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, number):
        raise ValueError(f"rows[{number}]: no picture")


def test_an_error_of_a_process_that_loads_data_is_one_line_too():
    with pytest.raises(ValueError) as caught:
        list(DataLoader(Broken(), num_workers=1))
    assert "Original Traceback" in str(caught.value)
    assert ended(caught.value) == "ValueError: rows[0]: no picture"


def test_ctrl_c_ends_in_130_without_a_word(capsys):
    assert ended(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("hits", [3, 10_000])
def test_a_reader_that_leaves_ends_a_command_quietly(hits):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as output, contextlib.redirect_stdout(output), pytest.raises(SystemExit) as stop:
        run(lambda arguments: print("hit\n" * hits), [])
    assert stop.value.code == 141


def test_a_pipe_that_breaks_elsewhere_is_an_error():
    assert ended(BrokenPipeError(32, "Broken pipe", "worker")).startswith("BrokenPipeError: ")


@pytest.mark.slow
def test_a_script_and_its_processes_end_in_a_line_and_a_code(tmp_path):
    """Under a launcher of several processes as well."""
    script = os.path.join(os.path.dirname(__file__), "..", "..", "run_finetune.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    options = ["--dataset_name", "./nowhere.csv", "--output_dir", "out"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*launcher, script, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    own = [line for line in done.stderr.splitlines() if "nowhere.csv" in line]
    assert own and all(line.startswith(("OSError", "ValueError", "FileNotFoundError")) for line in own)
