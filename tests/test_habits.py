# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What surrounds the code holds: the command answers at once, versions agree, pages are reachable, notebooks run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mixture_of_transformers
from mixture_of_transformers_command import COMMANDS

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
VERSION = re.search(r'^version = "(.+)"$', PROJECT, re.MULTILINE)[1]

# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------

# As the installed console script begins; a package that is imported in vain is named at the end.
SCRIPT = """
import sys
from mixture_of_transformers_command import main
sys.argv[0] = "mot"
try:
    main()
finally:
    print("imported:", *{"torch", "transformers", "mixture_of_transformers"} & set(sys.modules), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def mot(tmp_path_factory):
    """Runs `mot` in a process of its own, also where nothing is installed."""
    packages = tmp_path_factory.mktemp("packages")
    (packages / "mixture_of_transformers_command").symlink_to(REPOSITORY / "command", target_is_directory=True)

    def call(*arguments):
        environment = os.environ | {"PYTHONPATH": str(packages), "COLUMNS": "119"}
        command = [sys.executable, "-c", SCRIPT, *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)

    return call


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)], ids=["bare", "long", "short"])
def test_help_lists_every_verb_on_a_line_ends_with_0_and_imports_no_torch(mot, arguments):
    done = mot(*arguments)
    assert done.returncode == 0
    assert done.stderr == "imported:\n"
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("    ")]
    assert lines == [[name, purpose] for name, purpose in COMMANDS.items()]


def test_the_version_is_that_of_the_package_and_imports_no_torch(mot):
    done = mot("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mot {VERSION}\n", "imported:\n")


def test_an_unknown_verb_ends_with_2_and_imports_no_torch(mot):
    done = mot("serach")
    assert done.returncode == 2
    assert "'serach'" in done.stderr and done.stderr.endswith("imported:\n")


def test_the_version_is_the_same_wherever_it_is_written():
    assert mixture_of_transformers.__version__ == VERSION
